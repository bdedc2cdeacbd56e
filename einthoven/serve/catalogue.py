"""Where the rows of a data directory lie: an SQLite file in it, or a PostgreSQL database that a department runs.

Statements are written in what both understand, with `?` for values; what PostgreSQL says otherwise is translated in one place
(`_translated`). Both keep one writer at a time (`change`), so that "the largest so far, and one more" is safe in both.

A data directory and a database belong together: the database holds a number that was drawn for the directory, and the
directory a note of it. Without that, a slip in an address would open an empty catalogue, and every file would look unused.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from einthoven.io.files import replacing
from einthoven.record import EcgError, WrongUse

CATALOGUE, ELSEWHERE = "catalogue.sqlite", "catalogue.json"
DATABASE = "EINTHOVEN_DATABASE"  # environment: its address, with the password that belongs into no list of processes
_WRITER = 0x45696E74  # PostgreSQL's lock of this number is held by whoever changes something

# One entry a version; never changed once released, only added to.
MIGRATIONS = (
    """
    CREATE TABLE file (sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, added REAL NOT NULL);
    CREATE TABLE ecg (
        id TEXT PRIMARY KEY, file TEXT NOT NULL REFERENCES file (sha256), name TEXT NOT NULL, kind TEXT NOT NULL,
        format TEXT NOT NULL, patient TEXT, age REAL, sex TEXT, start TEXT, fs REAL, duration REAL, leads TEXT NOT NULL,
        about TEXT NOT NULL, added REAL NOT NULL, owner TEXT NOT NULL
    );
    CREATE INDEX ecg_added ON ecg (added DESC, id);
    CREATE TABLE tag (ecg TEXT NOT NULL REFERENCES ecg (id) ON DELETE CASCADE, name TEXT NOT NULL, PRIMARY KEY (ecg, name));
    CREATE TABLE label (ecg TEXT NOT NULL REFERENCES ecg (id) ON DELETE CASCADE, name TEXT NOT NULL, PRIMARY KEY (ecg, name));
    CREATE TABLE result (
        ecg TEXT NOT NULL REFERENCES ecg (id) ON DELETE CASCADE, what TEXT NOT NULL, made REAL NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (ecg, what)
    );
    CREATE TABLE token (
        id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, user TEXT NOT NULL, name TEXT NOT NULL, scope TEXT NOT NULL,
        session INTEGER NOT NULL, created REAL NOT NULL, expires REAL NOT NULL
    );
    CREATE TABLE job (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL, args TEXT NOT NULL,
        created REAL NOT NULL, started REAL, ended REAL, beat REAL, pid INTEGER, result TEXT, error TEXT
    );
    CREATE INDEX job_state ON job (state, created);
    CREATE TABLE event (
        job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, seq INTEGER NOT NULL, at REAL NOT NULL, value TEXT NOT NULL,
        PRIMARY KEY (job, seq)
    );
    CREATE TABLE audit (at REAL NOT NULL, user TEXT NOT NULL, action TEXT NOT NULL, what TEXT NOT NULL);
    CREATE INDEX audit_at ON audit (at);
    """,
    """
    CREATE TABLE correction (
        seq INTEGER PRIMARY KEY, ecg TEXT NOT NULL REFERENCES ecg (id) ON DELETE CASCADE, user TEXT NOT NULL, at REAL NOT NULL,
        name TEXT NOT NULL, r REAL NOT NULL, "to" REAL, lead TEXT, every INTEGER NOT NULL
    );
    CREATE INDEX correction_ecg ON correction (ecg, seq);
    CREATE TABLE hint (ecg TEXT PRIMARY KEY REFERENCES ecg (id) ON DELETE CASCADE, value TEXT NOT NULL);
    CREATE TABLE answer (
        seq INTEGER PRIMARY KEY, ecg TEXT NOT NULL REFERENCES ecg (id) ON DELETE CASCADE, user TEXT NOT NULL,
        model TEXT NOT NULL, at REAL NOT NULL, asked TEXT NOT NULL, said TEXT NOT NULL, grounded TEXT,
        verdict INTEGER NOT NULL DEFAULT 0, better TEXT
    );
    CREATE INDEX answer_ecg ON answer (ecg, user, seq);
    """,
)
# In an order in which each finds the rows that it names.
TABLES = ("file", "ecg", "tag", "label", "result", "token", "job", "event", "audit", "correction", "hint", "answer")


class Rows(Protocol):
    """What a statement gives: rows that are read by the names of their columns."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A thread's connection."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Rows: ...
    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> object: ...
    def close(self) -> None: ...


class _Held:
    """A thread's connection, closed when the thread is gone: a server's threads come and go."""

    def __init__(self, db: Connection) -> None:
        self.db = db

    def __del__(self) -> None:
        self.db.close()


class Catalogue(ABC):
    """The tables above, made or brought up to date when it is opened. Each thread gets a connection of its own."""

    FROZEN = "BEGIN"  # begins a transaction that sees one moment

    def __init__(self) -> None:
        self._local = threading.local()
        self._all: weakref.WeakSet[_Held] = weakref.WeakSet()
        self._lock = threading.Lock()

    @abstractmethod
    def _connect(self) -> Connection: ...

    @abstractmethod
    def _begin(self, db: Connection) -> None:
        """Begins a transaction that no other may change something beside."""

    def _usable(self, db: Connection) -> bool:
        return True

    @property
    def db(self) -> Connection:
        """This thread's connection; it ends with its thread."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None or not self._usable(held.db):
            self._local.held = held = _Held(self._connect())
            with self._lock:
                self._all.add(held)
        return held.db

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """A transaction: all of it, or nothing."""
        db = self.db
        self._begin(db)
        try:
            yield db
        except BaseException:
            if self._usable(db):
                db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What this thread reads within is of one moment, whatever others write meanwhile."""
        db = self.db
        db.execute(self.FROZEN)
        try:
            yield
        finally:
            if self._usable(db):
                db.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            for held in list(self._all):
                held.db.close()
            self._all.clear()
        self._local = threading.local()


def catalogue_of(folder: Path, database: str | None = None) -> Catalogue:
    """The catalogue of a data directory. database: the address of a PostgreSQL database (postgresql://user@host/name); None:
    the SQLite file in the directory.

    Raises:
        EcgError: it cannot be reached, is of a newer Einthoven, or is not the one of this directory.
    """
    note = folder / ELSEWHERE
    if database is None:
        if note.exists():
            where = json.loads(note.read_text(encoding="utf-8"))["database"]
            raise WrongUse(f"its catalogue is in PostgreSQL ({where}): say its address, --database or {DATABASE}", path=folder)
        return Sqlite(folder / CATALOGUE)
    if (folder / CATALOGUE).exists():
        raise WrongUse("its catalogue is an SQLite file: `einthoven move-catalogue` moves it to PostgreSQL first", path=folder)
    return _joined(folder, Postgres(database))


def _joined(folder: Path, made: Postgres) -> Postgres:
    """Directory and database know each other by a number: drawn at the first meeting, compared at each other one."""
    note = folder / ELSEWHERE
    with made.change() as db:
        row = db.execute("SELECT id FROM directory").fetchone()
        if note.exists():
            known = json.loads(note.read_text(encoding="utf-8"))
            if row is None and not any((folder / "files").iterdir()):  # their first meeting was cut short
                db.execute("INSERT INTO directory VALUES (?)", (known["id"],))
            elif row is None or row["id"] != known["id"]:
                raise WrongUse(
                    f"belongs to another database ({known['database']}) than {made.shown}: a backup is a copy of both",
                    path=folder,
                )
        elif row is not None:
            raise WrongUse(f"{made.shown} is the catalogue of another data directory", path=folder)
        else:
            number = secrets.token_hex(16)
            db.execute("INSERT INTO directory VALUES (?)", (number,))
            with replacing(note) as draft:
                draft.write_text(json.dumps({"id": number, "database": made.shown}), encoding="utf-8")
    return made


def move(folder: Path, database: str) -> dict[str, int]:
    """The rows of a directory's SQLite file into an empty PostgreSQL database; the file stays beside as catalogue.moved.sqlite.
    While no server runs on it. -> rows a table.

    Raises:
        EcgError: there is no such file, or the database is not empty.
    """
    if not (folder / CATALOGUE).is_file():
        raise WrongUse(f"has no {CATALOGUE}", path=folder)
    old, new = Sqlite(folder / CATALOGUE), Postgres(database)
    try:
        if any(new.db.execute(f"SELECT 1 AS one FROM {table} LIMIT 1").fetchone() for table in (*TABLES, "directory")):
            raise WrongUse(f"{new.shown} is not empty", path=folder)
        counts = {}
        with new.change() as db:
            for table in TABLES:
                rows = [dict(row) for row in old.db.execute(f"SELECT * FROM {table} ORDER BY rowid")]
                counts[table] = len(rows)
                if rows:
                    names = ", ".join(f'"{name}"' for name in rows[0])
                    marks = ", ".join("?" * len(rows[0]))
                    db.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", [tuple(row.values()) for row in rows])
            for table in _NUMBERED:  # the next number follows the largest
                db.execute(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'seq'), "
                    f"(SELECT COALESCE(MAX(seq), 0) + 1 FROM {table}), false)"
                )
        old.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        old.close()
        _joined(folder, new)
        (folder / CATALOGUE).rename(folder / "catalogue.moved.sqlite")
        return counts
    finally:
        old.close()
        new.close()


# ---- SQLite -------------------------------------------------------------------------------------------------------------


class Sqlite(Catalogue):
    """A file in WAL mode; `PRAGMA user_version` counts the migrations."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        try:
            db: Any = self.db
            db.execute("PRAGMA journal_mode = WAL")
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            _check(version, path)
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
        except sqlite3.Error as fault:
            raise EcgError(f"cannot be used as a data directory: {fault}", path=path.parent) from fault

    def _connect(self) -> Connection:
        db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives the power cord, too
        return db

    def _begin(self, db: Connection) -> None:
        db.execute("BEGIN IMMEDIATE")


# ---- PostgreSQL ---------------------------------------------------------------------------------------------------------

_NUMBERED = ("correction", "answer")


class Postgres(Catalogue):
    """A database of PostgreSQL 13 or newer; its table `version` counts the migrations."""

    FROZEN = "BEGIN ISOLATION LEVEL REPEATABLE READ"

    def __init__(self, address: str) -> None:
        super().__init__()
        try:
            import psycopg
        except ImportError as fault:
            raise WrongUse(f"PostgreSQL needs one more package: pip install 'einthoven[postgres]' ({fault})") from fault
        parts = urlsplit(address)
        if parts.scheme not in ("postgresql", "postgres"):
            raise WrongUse(f"a database is given as postgresql://user@host/name, not as {parts.scheme or 'a name'}")
        self._address = address
        self.shown = f"{parts.hostname or 'local'}{f':{parts.port}' if parts.port else ''}{parts.path}"
        try:
            with self.change() as db:
                db.execute("CREATE TABLE IF NOT EXISTS version (number INTEGER NOT NULL)")
                db.execute("CREATE TABLE IF NOT EXISTS directory (id TEXT NOT NULL)")
                row = db.execute("SELECT number FROM version").fetchone()
                version = row["number"] if row else 0
                _check(version, self.shown)
                for script in MIGRATIONS[version:]:
                    for statement in filter(str.strip, _schema(script).split(";")):
                        db.execute(statement)
                db.execute("DELETE FROM version")
                db.execute("INSERT INTO version VALUES (?)", (len(MIGRATIONS),))
        except psycopg.Error as fault:
            raise EcgError(f"the database {self.shown} cannot be used: {str(fault).strip()}") from fault

    def _connect(self) -> Connection:
        import psycopg
        from psycopg.rows import dict_row

        # No prepared statements: a connection may go through a pooler (PgBouncer), where they would be another's.
        return _Postgres(psycopg.connect(self._address, autocommit=True, row_factory=dict_row, prepare_threshold=None))

    def _begin(self, db: Connection) -> None:
        db.execute("BEGIN")
        db.execute(f"SELECT pg_advisory_xact_lock({_WRITER})")

    def _usable(self, db: Connection) -> bool:
        """Not after the database was restarted: the next statement gets a connection of its own."""
        return not db.closed  # type: ignore[attr-defined]


class _Postgres:
    """A connection that takes SQLite's statements."""

    def __init__(self, db: Any) -> None:
        self._db = db

    @property
    def closed(self) -> bool:
        return bool(self._db.closed)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        rows: Rows = self._db.execute(_translated(sql), _plain(values))
        return rows if getattr(rows, "description", None) else _Nothing(rows.rowcount)

    def executemany(self, sql: str, values: Iterable[Sequence[Any]]) -> None:
        with self._db.cursor() as cursor:
            cursor.executemany(_translated(sql), [_plain(row) for row in values])

    def close(self) -> None:
        self._db.close()


class _Nothing:
    """What a statement gives that gives no rows."""

    def __init__(self, rowcount: int) -> None:
        self.rowcount = rowcount

    def fetchone(self) -> None:
        return None

    def __iter__(self) -> Iterator[Any]:
        return iter(())


@lru_cache(512)
def _translated(sql: str) -> str:
    """`user` is a word of PostgreSQL's own: unquoted it is the name of whoever is connected. LIKE heeds no case in SQLite."""
    return re.sub(r"\bLIKE\b", "ILIKE", _quoted(sql).replace("%", "%%").replace("?", "%s"))


def _schema(script: str) -> str:
    """Types that hold as much as SQLite's, and the order of letters that it has."""
    script = script.replace("INTEGER PRIMARY KEY", "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY")
    script = re.sub(r"\bINTEGER\b", "BIGINT", script)
    script = re.sub(r"\bREAL\b", "DOUBLE PRECISION", script)
    return re.sub(r"\bTEXT\b", 'TEXT COLLATE "C"', script)


def _quoted(sql: str) -> str:
    return re.sub(r'(?<!")\buser\b(?!")', '"user"', sql)


def _plain(values: Sequence[Any]) -> tuple[Any, ...]:
    """PostgreSQL's texts hold no zero byte."""
    return tuple(value.replace("\0", "") if isinstance(value, str) else value for value in values)


def _check(version: int, where: str | Path) -> None:
    if version > len(MIGRATIONS):
        raise EcgError(f"is of a newer Einthoven (catalogue {version}, this one reads {len(MIGRATIONS)})", path=where)
