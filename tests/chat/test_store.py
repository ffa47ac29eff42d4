"""Keys and ledger, in SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gigafactory.chat.engine import Usage
from gigafactory.chat.keys import Allowance, Key, Period, Scope
from gigafactory.chat.opening import add_key, list_keys, revoke_key
from gigafactory.chat.store import journal_folder, open_store
from gigafactory.chat.usage import Entry, Outcome
from gigafactory.describe.errors import InputError

KEY = Key(
    id="key-1",
    name="alice",
    digest="ab" * 32,
    scopes=frozenset({Scope.CHAT, Scope.METRICS}),
    allowance=Allowance(tokens_per_min=5, budget_tokens=2**40, budget_period=Period.DAY),
    created_s=1.5,
)


def entry(ident: str, at_s: float = 5.0, key_id: str = "key-1") -> Entry:
    return Entry(id=ident, key_id=key_id, model="m", route="chat", at_s=at_s, prompt_tokens=7,
                 completion_tokens=3, outcome=Outcome.DONE)  # fmt: skip


def server_programs() -> Path | None:
    """Debian keeps initdb and postgres out of the path, a folder a version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    near = shutil.which("initdb")
    return found[-1].parent if found else Path(near).parent if near else None


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server started for these tests, in a folder of its own, on a socket."""
    programs = server_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here: make postgres (Debian package postgresql)")
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    folder = Path(
        subprocess.check_output(["mktemp", "-d", "/tmp/giga-pg-XXXXXX"], text=True).strip()
    )
    as_user: list[str] = []
    if os.getuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        if not os.stat("/dev/null").st_mode & 0o002:  # on some machines only root may write there
            as_user += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    data = folder / "data"
    initdb = [programs / "initdb", "-D", data, "-U", "giga", "-A", "trust", "--no-sync",
              "-E", "UTF8", "--locale", "C"]  # fmt: skip
    subprocess.run([*as_user, *map(str, initdb)], check=True, capture_output=True, cwd=folder)
    server = [programs / "postgres", "-D", data, "-k", folder, "-h", "", "-F"]
    process = subprocess.Popen([*as_user, *map(str, server)], cwd=folder, stderr=subprocess.PIPE)
    assert process.stderr is not None
    while b"ready to accept" not in (line := process.stderr.readline()):
        assert line, "the server did not start"
    yield f"postgresql://giga@/postgres?host={folder}"
    process.terminate()
    process.stderr.close()
    process.wait(30)
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "chat.db")
    address: str = request.getfixturevalue("postgres")
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS keys, usage")
    return address


def test_a_key_comes_back_as_it_was(where: str) -> None:
    with open_store(where) as store:
        before = store.revision()
        store.add_key(KEY)
        assert store.all_keys() == store.good_keys() == [KEY]
        assert store.revision() != before


def test_a_key_is_revoked_once(where: str) -> None:
    with open_store(where) as store, open_store(where) as other:
        store.add_key(KEY)
        before = other.revision()
        assert store.revoke_key("key-1", at_s=9.0)
        assert not store.revoke_key("key-1", at_s=10.0)
        assert not store.revoke_key("key-2", at_s=10.0)
        assert other.revision() != before
        assert other.all_keys()[0].revoked_s == 9.0
        assert other.good_keys() == []


def test_a_line_of_the_ledger_counts_once(where: str) -> None:
    with open_store(where) as store:
        store.append([entry("a"), entry("b", at_s=8.0), entry("c", key_id="key-2")])
        store.append([entry("a"), entry("d", at_s=9.0)])
        assert [e.id for e in store.entries()] == ["a", "c", "b", "d"]
        assert store.entries(key_id="key-2").__next__() == entry("c", key_id="key-2")
        assert store.spent_tokens("key-1", since_s=6.0) == 20
        assert store.spent_tokens("nobody", since_s=0.0) == 0


@pytest.mark.parametrize("sql", ["UPDATE usage SET prompt_tokens = 0", "DELETE FROM usage"])
def test_the_ledger_only_grows(where: str, sql: str) -> None:
    with open_store(where) as store:
        store.append([entry("a")])
        with pytest.raises(Exception, match="only grows"):
            store._write(sql, [()])
        assert list(store.entries()) == [entry("a")]


def test_many_writers_at_once_lose_nothing(where: str) -> None:
    program = (
        "import sys; from gigafactory.chat.store import open_store;"
        "from gigafactory.chat.usage import *;"
        "s = open_store(sys.argv[1]);"
        "[s.append([Entry(id=f'{sys.argv[2]}-{i}', key_id='k', model='m', route='chat', at_s=1.0,"
        "prompt_tokens=1, completion_tokens=1, outcome=Outcome.DONE)]) for i in range(60)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, where, str(i)]) for i in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with open_store(where) as store:
        assert store.spent_tokens("k", since_s=0.0) == 3 * 60 * 2


def test_the_secret_is_nowhere_kept(tmp_path: Path) -> None:
    where = str(tmp_path / "chat.db")
    key, secret = add_key(where, "bob")
    assert secret.startswith("giga-")
    for path in tmp_path.rglob("*"):
        assert secret.encode() not in path.read_bytes()
    [listed] = list_keys(where)
    assert secret not in str(listed)
    assert key.digest not in str(listed)
    with pytest.raises(InputError, match=key.id):
        revoke_key(where, "key-nobody")
    revoke_key(where, key.id)
    assert list_keys(where)[0]["revoked_s"]


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no SQLite store"):
        open_store(str(tmp_path / "no" / "folder.db"))
    with pytest.raises(InputError, match="SQLite file or postgresql"):
        open_store("mysql://x")
    assert journal_folder("a/chat.db") == Path("a/chat.usage")


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    with pytest.raises(InputError) as caught:
        open_store("postgresql://giga:hunter2@127.0.0.1:9/x")
    assert "hunter2" not in str(caught.value)


def test_counts_add_up() -> None:
    assert Usage(3, 4, 2).body["total_tokens"] == 7
