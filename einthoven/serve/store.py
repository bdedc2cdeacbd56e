"""One data directory: files by their SHA-256, and an SQLite catalogue of what they are.

    DATA/files/ab/cdef...     what was acknowledged is there, whole: written beside, synced, renamed
    DATA/catalogue.sqlite     WAL; `PRAGMA user_version` counts the migrations below, an older directory is brought up to date
    DATA/models/NAME          Bundles that were trained or pulled here
    DATA/jobs/ID              what a job works in
    DATA/derived/ab/ab12...   what was computed of an ECG (serve/derived.py); may be left out of a copy

Everything of a user's is in this directory: copying it while the server is stopped is a backup.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from einthoven.record import EcgError, WrongUse

Row = dict[str, Any]
CATALOGUE = "catalogue.sqlite"
_PIECE = 1 << 20

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


class _Connection:
    """A thread's connection, closed when the thread is gone: a server's threads come and go."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __del__(self) -> None:
        self.db.close()


class Store:
    """Opens or makes a data directory. One Store may be used from many threads, each gets a connection of its own.

    Raises:
        EcgError: the directory is of a newer Einthoven, is no data directory, or cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser().resolve()
        strange = self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / CATALOGUE).exists()
        if strange or self.folder.is_file():
            raise WrongUse("is no data directory of Einthoven and not empty: choose another place", path=self.folder)
        self._local = threading.local()
        self._all: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        try:
            for part in ("files", "models", "jobs", "incoming", "derived"):
                (self.folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._migrate()
        except (OSError, sqlite3.Error) as fault:
            raise EcgError(f"cannot be used as a data directory: {fault}", path=self.folder) from fault

    def _migrate(self) -> None:
        db = self.db
        db.execute("PRAGMA journal_mode = WAL")
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise EcgError(f"is of a newer Einthoven (catalogue {version}, this one reads {len(MIGRATIONS)})", path=self.folder)
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            db.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")

    @property
    def db(self) -> sqlite3.Connection:
        """This thread's connection; it ends with its thread."""
        held: _Connection | None = getattr(self._local, "held", None)
        if held is None:
            db = sqlite3.connect(self.folder / CATALOGUE, timeout=30, isolation_level=None, check_same_thread=False)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives the power cord, too
            self._local.held = held = _Connection(db)
            with self._lock:
                self._all.add(held)
        return held.db

    def close(self) -> None:
        with self._lock:
            for held in list(self._all):
                held.db.close()
            self._all.clear()
        self._local = threading.local()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it, or nothing."""
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What this thread reads within is of one moment, whatever others write meanwhile."""
        self.db.execute("BEGIN")
        try:
            yield
        finally:
            self.db.execute("COMMIT")

    def rows(self, sql: str, values: Iterable[Any] = ()) -> list[Row]:
        return [dict(row) for row in self.db.execute(sql, tuple(values))]

    def row(self, sql: str, values: Iterable[Any] = ()) -> Row | None:
        found = self.db.execute(sql, tuple(values)).fetchone()
        return None if found is None else dict(found)

    # ---- files ----

    def path_of(self, sha256: str) -> Path:
        """Where the file of this hash lies. The hash is one of the catalogue's, never a user's words."""
        return self.folder / "files" / sha256[:2] / sha256[2:]

    def put(self, source: BinaryIO | bytes) -> tuple[str, int]:
        """(SHA-256, size) of what is kept now. The row of the catalogue is the caller's: it belongs into the same transaction
        as what the file is for."""
        digest, size = hashlib.sha256(), 0
        draft = self.folder / "incoming" / f"{secrets.token_hex(12)}.part"
        try:
            with draft.open("xb") as out:
                for piece in _pieces(source):
                    digest.update(piece)
                    size += len(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            place = self.path_of(digest.hexdigest())
            place.parent.mkdir(exist_ok=True)
            os.replace(draft, place)
        finally:
            draft.unlink(missing_ok=True)
        return digest.hexdigest(), size

    def drop_unused(self, sha256: str) -> None:
        """Deletes a file that no ECG needs any more, for good."""
        with self.change() as db:
            if db.execute("SELECT 1 FROM ecg WHERE file = ?", (sha256,)).fetchone() is None:
                db.execute("DELETE FROM file WHERE sha256 = ?", (sha256,))
                self.path_of(sha256).unlink(missing_ok=True)

    def sweep(self) -> int:
        """After a kill: drafts, and files that no row names, go. -> how many. Only while nothing else uses the directory."""
        gone = 0
        for draft in (self.folder / "incoming").iterdir():
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()  # uploads come into a folder each
            gone += 1
        known = {row["sha256"] for row in self.rows("SELECT sha256 FROM file")}
        for place in (self.folder / "files").glob("*/*"):
            if place.parent.name + place.name not in known:
                place.unlink()
                gone += 1
        return gone

    # ---- words that are asked for everywhere ----

    def note(self, user: str, action: str, what: str = "") -> None:
        """A line of the audit log."""
        self.db.execute("INSERT INTO audit VALUES (?, ?, ?, ?)", (time.time(), user, action, what[:300]))


def to_json(value: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def new_id() -> str:
    """16 letters and digits that cannot be guessed."""
    return secrets.token_hex(8)


def _pieces(source: BinaryIO | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    while piece := source.read(_PIECE):
        yield piece
