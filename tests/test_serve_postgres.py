"""The platform on PostgreSQL: what holds for the file holds for the database, and the two are not mixed up."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
psycopg = pytest.importorskip("psycopg")

import test_serve_api as api  # noqa: E402
from serve_door import Door, put  # noqa: E402
from serve_postgres import TOOLS, postgres  # noqa: E402
from test_serve_api import files  # noqa: E402, F401  (a fixture)
from typer.testing import CliRunner  # noqa: E402

from einthoven.cli import app  # noqa: E402
from einthoven.record import EcgError, WrongUse  # noqa: E402
from einthoven.serve.catalogue import CATALOGUE, ELSEWHERE, MIGRATIONS, TABLES, Postgres  # noqa: E402
from einthoven.serve.store import Store  # noqa: E402
from einthoven.synth import simulate  # noqa: E402

pytestmark = pytest.mark.skipif(TOOLS is None, reason="no PostgreSQL is installed")
NUMBER = count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as address:
        yield address


@pytest.fixture
def database(server: str) -> str:
    """The address of a new database."""
    name = f"test{next(NUMBER)}"
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture
def door(tmp_path: Path, database: str) -> Iterator[Door]:
    made = Door(tmp_path / "data", database=database)
    with made.client:
        yield made


# The tests of the file, on the database: each takes the fixture `door` above.
for _name, _test in list(vars(api).items()):
    if _name.startswith("test_") and "door" in _test.__code__.co_varnames[: _test.__code__.co_argcount]:
        globals()[_name] = _test


def test_rows_say_the_same_as_in_a_file(tmp_path: Path, database: str) -> None:
    """Of every kind, with words that are words of SQL, large numbers, and letters in SQLite's order."""
    rows: dict[str, list[tuple[Any, ...]]] = {
        "file": [("ab" * 32, 5_000_000_000, 1764370000.123456)],
        "ecg": [
            (
                "e1",
                "ab" * 32,
                "Ä 50% user LIKE ?",
                "recording",
                "npz",
                None,
                61.5,
                "male",
                None,
                500.0,
                10.0,
                "[]",
                "{}",
                1.5,
                "me",
            )
        ],
        "tag": [("e1", "b"), ("e1", "B"), ("e1", "ä"), ("e1", "a")],
        "token": [("t", "hash", "Dr Example", "n", "read", 0, 1.0, 2.0)],
        "job": [("j", "predict", "me", "queued", "{}", 1.0, None, None, None, None, None, None)],
        "event": [("j", 1, 1.0, '{"state":"queued"}')],
        "audit": [(1.0, "me", "token", "x")],
    }
    asked = (
        ("SELECT name FROM tag WHERE ecg = ? ORDER BY name", ("e1",)),
        ("SELECT * FROM token WHERE user = ?", ("Dr Example",)),
        ("SELECT size, added FROM file", ()),
        ("SELECT name FROM ecg WHERE name LIKE ? ESCAPE '\\'", ("%USER%",)),
        ("SELECT name FROM ecg WHERE name LIKE ? ESCAPE '\\'", ("%5\\%%",)),
        ("SELECT COUNT(*) AS n FROM event WHERE value LIKE ?", ('{"state":%',)),
        ("SELECT COALESCE(MAX(seq), 0) + 1 AS n FROM event WHERE job = ?", ("j",)),
    )
    said = []
    for place, address in (("a", None), ("b", database)):
        store = Store(tmp_path / place, address)
        with store.change() as db:
            for table, values in rows.items():
                for row in values:
                    db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))}) ON CONFLICT DO NOTHING", row)
        with pytest.raises(ZeroDivisionError), store.change() as db:
            db.execute("DELETE FROM tag")
            raise ZeroDivisionError
        said.append([store.rows(*one) for one in asked])
        assert store.db.execute("UPDATE job SET state = 'running' WHERE id = ?", ("j",)).rowcount == 1
        assert store.row("SELECT 1 FROM job WHERE id = 'nobody'") is None
        with store.change() as db:
            db.execute("DELETE FROM ecg WHERE id = ?", ("e1",))
        assert store.rows("SELECT * FROM tag") == []  # with its ECG
        store.close()
    assert said[0] == said[1] and [row["name"] for row in said[0][0]] == ["B", "a", "b", "ä"]
    assert [len(answer) for answer in said[0]] == [4, 1, 1, 1, 0, 1, 1]


def test_one_writer_at_a_time(tmp_path: Path, database: str) -> None:
    store = Store(tmp_path / "data", database)
    store.db.execute("INSERT INTO job (id, kind, owner, state, args, created) VALUES ('j', 'k', 'me', 'queued', '{}', 0)")

    def say() -> None:
        for _ in range(25):
            with store.change() as db:
                db.execute(
                    "INSERT INTO event SELECT ?, COALESCE(MAX(seq), 0) + 1, ?, ? FROM event WHERE job = ?",
                    ("j", 0.0, "{}", "j"),
                )

    threads = [threading.Thread(target=say) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row["seq"] for row in store.rows("SELECT seq FROM event ORDER BY seq")] == list(range(1, 101))
    store.close()


def test_a_directory_and_its_database_belong_together(tmp_path: Path, server: str, database: str) -> None:
    store = Store(tmp_path / "data", database)
    kept, _ = store.put(b"kept")
    store.db.execute("INSERT INTO file VALUES (?, 4, 0)", (kept,))
    store.close()
    assert not (tmp_path / "data" / CATALOGUE).exists()
    with pytest.raises(WrongUse, match="its catalogue is in PostgreSQL"):
        Store(tmp_path / "data")
    with pytest.raises(WrongUse, match="belongs to another database"):
        Store(tmp_path / "data", server)  # empty: a sweep would take every file for unused
    with pytest.raises(WrongUse, match="catalogue of another data directory"):
        Store(tmp_path / "other", database)
    again = Store(tmp_path / "data", database)
    assert again.sweep() == 0 and again.path_of(kept).read_bytes() == b"kept"
    again.db.execute("UPDATE version SET number = ?", (len(MIGRATIONS) + 1,))
    again.close()
    with pytest.raises(EcgError, match="newer Einthoven"):
        Store(tmp_path / "data", database)


def test_a_first_meeting_that_was_cut_short_is_made_good(tmp_path: Path, database: str) -> None:
    Store(tmp_path / "data", database).close()
    made = Postgres(database)
    made.db.execute("DELETE FROM directory")
    made.close()
    store = Store(tmp_path / "data", database)
    known = json.loads((tmp_path / "data" / ELSEWHERE).read_text())["id"]
    assert store.row("SELECT id FROM directory") == {"id": known}
    store.close()


def test_a_database_that_was_restarted_is_found_again(tmp_path: Path, database: str) -> None:
    store = Store(tmp_path / "data", database)
    with psycopg.connect(database, autocommit=True) as other:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        other.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    with pytest.raises(psycopg.OperationalError):
        store.rows("SELECT 1 AS one")
    assert store.rows("SELECT 1 AS one") == [{"one": 1}]
    store.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [("mysql://x/y", "postgresql://"), ("catalogue", "postgresql://"), ("postgresql://nobody@127.0.0.1:1/x", "cannot be used")],
)
def test_a_wrong_address_is_told_without_a_password(tmp_path: Path, address: str, words: str) -> None:
    with pytest.raises(EcgError, match=words) as fault:
        Store(tmp_path / "data", address.replace("nobody@", "nobody:secret@"))
    assert "secret" not in str(fault.value)


def test_a_catalogue_moves_from_its_file_to_a_database(tmp_path: Path, database: str) -> None:
    """What the page shows is the same before and after; a new answer gets the next number."""
    here = tmp_path / "data"
    door = Door(here, welcome=False)
    with door.client:
        client = door.sign_in()
        mine = put(client, simulate("lbbb", seed=3).record, tmp_path)
        client.patch(f"/api/ecgs/{mine}", json={"tags": ["study A"], "labels": ["LBBB"]})
        bearer = door.token("admin")
        door.app.state.store.db.execute(
            "INSERT INTO answer (ecg, user, model, at, asked, said) VALUES (?, 'a program', 'm', 0, '[]', 'yes')", (mine,)
        )
        before = client.get(f"/api/ecgs/{mine}").json()
    run = CliRunner()
    done = run.invoke(app, ["move-catalogue", database, "--data-dir", str(here)])
    assert done.exit_code == 0, done.output
    assert "1 of ecg" in done.stderr and (here / "catalogue.moved.sqlite").exists() and not (here / CATALOGUE).exists()
    after = Door(here, welcome=False, database=database)
    with after.client:
        told = after.client.get(f"/api/ecgs/{mine}", headers=bearer)
        assert told.status_code == 200 and told.json() == before
        store = after.app.state.store
        [row] = store.db.execute(
            "INSERT INTO answer (ecg, user, model, at, asked, said) VALUES (?, 'me', 'm', 0, '[]', 'no') RETURNING seq", (mine,)
        )
        assert row["seq"] == 2
    token = run.invoke(app, ["token", "Dr Example", "--data-dir", str(here)], env={"EINTHOVEN_DATABASE": database})
    assert token.exit_code == 0 and token.stdout.strip()
    full = run.invoke(app, ["move-catalogue", database, "--data-dir", str(here)])
    assert full.exit_code == 2 and "has no catalogue.sqlite" in full.stderr
    Store(tmp_path / "new").close()
    full = run.invoke(app, ["move-catalogue", database, "--data-dir", str(tmp_path / "new")])
    assert full.exit_code == 2 and "is not empty" in full.stderr


def test_every_table_moves() -> None:
    made = {words.split()[0] for script in MIGRATIONS for words in script.split("CREATE TABLE ")[1:]}
    assert made == set(TABLES)
