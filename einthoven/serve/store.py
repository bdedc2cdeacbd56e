"""One data directory: files by their SHA-256, and a catalogue of what they are.

    DATA/files/ab/cdef...     what was acknowledged is there, whole: written beside, synced, renamed
    DATA/catalogue.sqlite     what is known of them (serve/catalogue.py); an older directory is brought up to date. Or, where
    DATA/catalogue.json       lies in its place, that is in a PostgreSQL database
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
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from einthoven.record import EcgError, WrongUse
from einthoven.serve.catalogue import CATALOGUE, ELSEWHERE, Connection, catalogue_of

Row = dict[str, Any]
_PIECE = 1 << 20


class Store:
    """Opens or makes a data directory. One Store may be used from many threads, each gets a connection of its own.

    database: the address of its catalogue in PostgreSQL; None: an SQLite file in it.

    Raises:
        EcgError: the directory is of a newer Einthoven, is no data directory, or cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike[str], database: str | None = None) -> None:
        self.folder = Path(folder).expanduser().resolve()
        strange = self.folder.is_dir() and any(self.folder.iterdir()) and not is_data(self.folder)
        if strange or self.folder.is_file():
            raise WrongUse("is no data directory of Einthoven and not empty: choose another place", path=self.folder)
        try:
            for part in ("files", "models", "jobs", "incoming", "derived"):
                (self.folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as fault:
            raise EcgError(f"cannot be used as a data directory: {fault}", path=self.folder) from fault
        self.catalogue, self.database = catalogue_of(self.folder, database), database
        self.change, self.snapshot, self.close = self.catalogue.change, self.catalogue.snapshot, self.catalogue.close

    @property
    def db(self) -> Connection:
        """This thread's connection (serve/catalogue.py)."""
        return self.catalogue.db

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


def is_data(folder: Path) -> bool:
    """Whether this is a data directory."""
    return (folder / CATALOGUE).is_file() or (folder / ELSEWHERE).is_file()


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
