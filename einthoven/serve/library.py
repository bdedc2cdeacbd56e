"""Files that come in become ECGs of the library, and what is known of an ECG is told: its Record, its Report.

A recording is kept as what was read of it (NPZ: float32 mV by lead, exactly), a photo or PDF as the file it is. With
`anonymize`, which is how a library begins, no name, id, date or free text of a recording is ever kept (io/anonymize.py);
what a photo shows cannot be removed, and that is said.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einthoven import __version__
from einthoven.exchange import shelf
from einthoven.record import Device, EcgError, Record, Source
from einthoven.serve import corrections, unpacked
from einthoven.serve.derived import MOST as DERIVED
from einthoven.serve.derived import Derived
from einthoven.serve.store import Row, Store, new_id, to_json

if TYPE_CHECKING:
    from einthoven.interpretation import Report

DEMOS: tuple[tuple[str, tuple[str, ...], float | None], ...] = (
    ("Simulated: normal", (), 68),
    ("Simulated: left bundle branch block", ("lbbb",), 75),
    ("Simulated: inferior STEMI", ("stemi_inferior",), 72),
)
MOST = 20_000  # ECGs out of one upload
_REPORTS = 12  # that are kept at hand
_HAND = 64 << 20  # bytes of signals that are kept at hand, and of the longest whose report is
_SIGNAL = "signal"  # a long recording, unpacked
_PAPER_SAYS = "a picture is kept as it is: look whether it shows the patient's name"


@dataclass(frozen=True)
class Arrival:
    """What became of one input: `id` of the ECG (one that was there already: `known`), or why it is none."""

    name: str
    id: str | None = None
    error: str | None = None
    known: bool = False
    warnings: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Library:
    """The ECGs of a Store. Safe to be used from many threads."""

    def __init__(self, store: Store, derived: int = DERIVED) -> None:
        self.store = store
        self.derived = Derived(store.folder / "derived", derived)
        self._reports: OrderedDict[str, Report] = OrderedDict()
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        self._welcomed = threading.Event()
        self._welcomed.set()

    # ---- in ----

    def take(self, folder: Path, owner: str, *, anonymous: bool = True) -> Iterator[Arrival]:
        """Every ECG below a folder of uploaded files: companions are read with their headers, ZIPs looked into. One that cannot
        be read is told and costs no other."""
        from einthoven.io import (
            find_inputs,
            read_all,
        )  # the readers of all vendors: here, so that the page is there before them
        from einthoven.paper.entry import PICTURES, is_paper

        paths = find_inputs([str(folder)], also=PICTURES)
        taken = 0
        for path in paths:
            shown = _shown(path, folder)
            try:
                if is_paper(path):
                    yield self._take_paper(Path(path), shown, owner)
                    taken += 1
                    continue
                for number, record in enumerate(read_all(path)):
                    if taken >= MOST:
                        raise EcgError(f"more than {MOST:,} ECGs in one upload: the rest is left out")
                    yield self.take_record(record, shown if number == 0 else f"{shown} ({number + 1})", owner, anonymous)
                    taken += 1
            except EcgError as fault:
                yield Arrival(shown, error=_plain(fault, folder))

    def take_record(self, record: Record, name: str, owner: str, anonymous: bool) -> Arrival:
        """One that was read. Raises EcgError."""
        from einthoven.io import anonymize

        removed: list[str] = []
        record = record.ecg()  # the ECG that was meant
        source = Source(None, record.source.format, record.source.version)
        if anonymous:
            record, removed = anonymize(record)
        kept = io.BytesIO()
        _npz(record, kept)
        sha256, size = self.store.put(kept.getvalue())
        about = {
            "device": {k: v for k, v in asdict(record.device).items() if v is not None},
            "machine": {k: v for k, v in record.machine.items() if math.isfinite(v)},
            "warnings": list(record.warnings),
            "derived": list(record.derived),
            "version": source.version,
            "removed": removed,
        }
        fields = {
            "kind": "recording",
            "format": source.format or "",
            "patient": record.patient.id,
            "age": record.patient.age,
            "sex": record.patient.sex,
            "start": record.start.isoformat() if record.start and not anonymous else None,
            "fs": record.fs,
            "duration": record.duration,
            "leads": list(record.leads),
        }
        ecg, known = self._row(sha256, size, name, owner, fields, about)
        if is_long(fields) and not known:
            self._unpack(self.row(ecg), record)
        return Arrival(name, ecg, known=known, warnings=record.warnings, removed=tuple(removed))

    def _take_paper(self, path: Path, name: str, owner: str) -> Arrival:
        from einthoven.paper.entry import picture_of

        picture_of(path)  # a picture, or a PDF with a page; raises otherwise
        with path.open("rb") as file:
            sha256, size = self.store.put(file)
        format_ = "pdf" if path.read_bytes()[:1024].find(b"%PDF") >= 0 else "picture"
        fields = {"kind": "paper", "format": format_, "leads": []}
        ecg, known = self._row(sha256, size, name, owner, fields, {"warnings": [_PAPER_SAYS]})
        return Arrival(name, ecg, known=known, warnings=(_PAPER_SAYS,))

    def _row(
        self, sha256: str, size: int, name: str, owner: str, fields: Mapping[str, Any], about: Mapping[str, Any]
    ) -> tuple[str, bool]:
        """(the ECG's id, whether this owner had it already)."""
        now, ecg = time.time(), new_id()
        with self.store.change() as db:
            db.execute("INSERT INTO file VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (sha256, size, now))
            same = db.execute("SELECT id FROM ecg WHERE file = ? AND owner = ?", (sha256, owner)).fetchone()
            if same is not None:
                return str(same["id"]), True
            row = {
                "id": ecg, "file": sha256, "name": name[:200], "added": now, "owner": owner, "about": to_json(dict(about)),
                **fields, "leads": to_json(fields["leads"]),
            }  # fmt: skip
            names = ", ".join(row)
            db.execute(f"INSERT INTO ecg ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
        return ecg, False

    def welcome(self, owner: str) -> None:
        """Three simulated ECGs for whoever has none yet: a first start shows ECGs, never an empty page. They are made while the
        page loads; whoever asks what there is waits for them (`welcomed`)."""
        self._welcomed.clear()
        threading.Thread(target=self._welcome, args=(owner,), name="welcome", daemon=True).start()

    def welcomed(self) -> None:
        """Waits for the ECGs of the first start."""
        self._welcomed.wait(60)

    def _welcome(self, owner: str) -> None:
        try:
            from einthoven.synth import Noise, simulate

            noise = Noise(wander=0.05, muscle=0.01)
            for name, labels, rate in DEMOS:
                record = simulate(*labels, rate=rate, noise=noise, age=61, sex="male", seed=7).record
                arrival = self.take_record(record, name, owner, True)
                self.store.db.execute("INSERT INTO tag VALUES (?, 'simulated') ON CONFLICT DO NOTHING", (arrival.id,))
        finally:
            self._welcomed.set()

    # ---- out ----

    def row(self, ecg: str) -> Row:
        """Raises EcgError where there is no such ECG."""
        found = self.store.row("SELECT * FROM ecg WHERE id = ?", (ecg,))
        if found is None:
            raise EcgError("no such ECG")
        return found

    def told(self, row: Row) -> Row:
        """A row as the API tells it."""
        return self.told_all([row])[0]

    def told_all(self, rows: Sequence[Row]) -> list[Row]:
        """The same of many, asked for at once."""
        words: dict[str, dict[str, list[str]]] = {table: {row["id"]: [] for row in rows} for table in ("tag", "label")}
        ids = [row["id"] for row in rows]
        for table, held in words.items():
            for k in range(0, len(ids), 500):
                some = ids[k : k + 500]
                marks = ", ".join("?" * len(some))
                for found in self.store.rows(f"SELECT ecg, name FROM {table} WHERE ecg IN ({marks}) ORDER BY name", some):
                    held[found["ecg"]].append(found["name"])
        keys = ("id", "name", "kind", "format", "patient", "age", "sex", "start", "fs", "duration", "added")
        made = []
        for row in rows:
            about = json.loads(row["about"])
            made.append(
                {
                    **{key: row[key] for key in keys},
                    "leads": json.loads(row["leads"]),
                    "device": about.get("device", {}),
                    "warnings": about.get("warnings", []),
                    "removed": about.get("removed", []),
                    "tags": words["tag"][row["id"]],
                    "labels": words["label"][row["id"]],
                }
            )
        return made

    def path(self, row: Row) -> Path:
        return self.store.path_of(row["file"])

    def record(self, ecg: str) -> Record:
        """The Record as it was read; of paper as it was digitised. Raises EcgError."""
        from einthoven.io import read

        row = self.row(ecg)
        if row["kind"] == "paper":
            return self.report(ecg, automatic=True).record
        mark = self.mark(row)
        with self._lock:
            if mark in self._records:
                self._records.move_to_end(mark)
                return self._records[mark]
        about = json.loads(row["about"])
        made = read(self.path(row).read_bytes())
        made = replace(
            made,
            device=Device(**about.get("device", {})),
            machine=about.get("machine", {}),
            warnings=tuple(about.get("warnings", ())),
            derived=tuple(about.get("derived", ())),
            source=Source(row["name"], row["format"] or None, about.get("version")),
        )
        if not is_long(row):
            with self._lock:
                self._records[mark] = made
                while sum(one.signal.nbytes for one in self._records.values()) > _HAND:
                    self._records.popitem(last=False)
        return made

    def unpacked(self, row: Row) -> unpacked.Unpacked | None:
        """A long recording (`is_long`), mapped into memory; None where it is not unpacked (yet): `unpack`."""
        place = self.derived.path(row["id"], _SIGNAL, self.mark(row))
        return None if place is None else unpacked.open_(place)

    def unpack(self, ecg: str) -> None:
        row = self.row(ecg)
        self._unpack(row, self.record(ecg))

    def _unpack(self, row: Row, record: Record) -> None:
        self.derived.keep(
            row["id"], _SIGNAL, self.mark(row), lambda path: unpacked.write(record, path), unpacked.size(record),
            lambda: self.is_there(row["id"]),
        )  # fmt: skip

    def is_there(self, ecg: str) -> bool:
        return self.store.row("SELECT 1 FROM ecg WHERE id = ?", (ecg,)) is not None

    def mark(self, row: Row, rows: Sequence[Row] = ()) -> str:
        """Stands for all that a result follows from that is made of this ECG with these corrections: see serve/derived.py."""
        known = [row[key] for key in ("id", "file", "name", "kind", "format", "about")]
        words = to_json([_code(), _default_models(), *known, self.hints(row["id"]), list(rows)])
        return hashlib.sha256(words.encode()).hexdigest()[:32]

    def report(self, ecg: str, *, automatic: bool = False) -> Report:
        """Read, measured, interpreted; with what users corrected by hand, unless it is to be as it was found (`automatic`)."""
        row = self.row(ecg)
        found = self._kept(f"{ecg} {self.mark(row)}", lambda: self._read(ecg))
        rows = [] if automatic else corrections.listed(self.store, ecg)
        if not rows:
            return found
        return self._kept(f"{ecg} {self.mark(row, rows)}", lambda: corrections.applied(found, rows)[0])

    def _kept(self, key: str, make: Callable[[], Report]) -> Report:
        """The last ones are kept at hand. Two who ask for one report wait for one answer."""
        with self._lock:
            if key in self._reports:
                self._reports.move_to_end(key)
                return self._reports[key]
            mine = self._busy.setdefault(key, threading.Lock())
        try:
            with mine:
                with self._lock:
                    if key in self._reports:
                        return self._reports[key]
                made = make()
                with self._lock:
                    if made.record.signal.nbytes <= _HAND:
                        self._reports[key] = made
                    while len(self._reports) > _REPORTS:
                        self._reports.popitem(last=False)
                return made
        finally:
            with self._lock:
                self._busy.pop(key, None)

    def _read(self, ecg: str) -> Report:
        from einthoven.interpretation import interpret

        row = self.row(ecg)
        if row["kind"] != "paper":
            return interpret(self.record(ecg))
        from einthoven.paper.reading import Hints

        made = interpret(self.path(row), **asdict(Hints(**self.hints(ecg))))
        # under the name it came with, not that of a hash
        return replace(made, record=replace(made.record, source=replace(made.record.source, path=row["name"])))

    def hints(self, ecg: str) -> dict[str, Any]:
        """What users know of a page: `paper.reading.Hints` by name."""
        row = self.store.row("SELECT value FROM hint WHERE ecg = ?", (ecg,))
        return {} if row is None else dict(json.loads(row["value"]))

    def hint(self, ecg: str, known: Mapping[str, Any]) -> None:
        """Keeps what a user knows of a page, in place of what was known. Raises WrongUse where it fits no page."""
        from einthoven.paper.reading import Hints, checked

        checked(Hints(**known))
        with self.store.change() as db:
            db.execute("DELETE FROM hint WHERE ecg = ?", (ecg,))
            if known:
                db.execute("INSERT INTO hint VALUES (?, ?)", (ecg, to_json(dict(known))))
        self.forget(ecg)

    def forget(self, ecg: str) -> None:
        """What is at hand of an ECG that has changed or is deleted."""
        with self._lock:
            for key in [one for one in self._reports if one.startswith(f"{ecg} ")]:
                del self._reports[key]
            self._records.clear()  # by their marks, which tell no id; they are soon read again

    def delete(self, ecg: str) -> None:
        """For good: row, results and, where nobody else's ECG is the same, the file."""
        row = self.row(ecg)
        with self.store.change() as db:
            db.execute("DELETE FROM ecg WHERE id = ?", (ecg,))
        self.forget(ecg)
        self.derived.drop(ecg)  # after the row: who still works on one of them asks for the row when it is kept
        self.store.drop_unused(row["file"])

    def sweep(self) -> int:
        """Drafts, and results of ECGs that are no more, go. -> how many. Only while nothing else uses the directory."""
        return self.derived.sweep({row["id"] for row in self.store.rows("SELECT id FROM ecg")})


def is_long(row: Mapping[str, Any]) -> bool:
    """Whether a recording is kept unpacked, too."""
    return row["kind"] == "recording" and (row["duration"] or 0.0) > unpacked.LONG_S


@lru_cache
def _code() -> str:
    """Stands for this package's code and weights: another version computes other results."""
    root = Path(__file__).resolve().parents[1]
    held = hashlib.sha256(__version__.encode())
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".onnx", ".npz", ".json", ".safetensors"):
            about = path.stat()
            held.update(f"{path.relative_to(root)} {about.st_size} {about.st_mtime_ns}".encode())
    return held.hexdigest()


def _default_models() -> list[Any]:
    """Stands for the models that every report asks: a newer one may be pulled while the server runs."""
    path = shelf.find() / "manifest.json"
    return [str(path), path.stat().st_mtime_ns]


def labels_csv(text: str, names: Mapping[str, str]) -> tuple[dict[str, list[str]], list[str]]:
    """A labels.csv (`file_name,label[,label2,...]`) -> (id -> labels, faults). names: file name -> ECG's id. Raises EcgError
    where it is no such table."""
    import csv

    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error as fault:  # a cell of more than 131,072 characters
        raise EcgError(f"this is no table: {fault}") from None
    reader = iter(rows)
    head = [cell.strip().lower() for cell in next(reader, [])]
    if "file_name" not in head or not any(cell.startswith("label") for cell in head):
        raise EcgError("a labels.csv begins with file_name,label[,label2,...]")
    file, columns = head.index("file_name"), [i for i, cell in enumerate(head) if cell.startswith("label")]
    made: dict[str, list[str]] = {}
    faults: list[str] = []
    stems: dict[str, str | None] = {}
    for name, ecg in names.items():
        stem = Path(name).stem
        stems[stem] = None if stem in stems else ecg
    for number, cells in enumerate(reader, 2):
        if not any(cells):
            continue
        name = cells[file].strip() if file < len(cells) else ""
        found_id = names.get(name) or stems.get(Path(name).stem)
        if found_id is None:
            faults.append(f"line {number}: no ECG, or more than one, is called {name[:100]!r}")
            continue
        found = [cells[i].strip()[:100] for i in columns if i < len(cells) and cells[i].strip()]
        made.setdefault(found_id, []).extend(found)
    return made, faults


def _npz(record: Record, out: io.BytesIO) -> None:
    import tempfile

    from einthoven.io.arrays import write_npz

    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_npz(record, Path(folder) / "ecg.npz")
        out.write(path.read_bytes())


def _shown(path: str, folder: Path) -> str:
    """An input's name without the place it was put in."""
    text = str(path)
    root = str(folder)
    return text[len(root) :].lstrip("/\\") if text.startswith(root) else Path(text).name


def _plain(fault: EcgError, folder: Path) -> str:
    return str(fault).replace(str(folder) + "/", "").replace(str(folder), "")


def chosen(store: Store, ids: Sequence[str]) -> list[Row]:
    """Rows of these ECGs, in their order. Raises EcgError that names one that is not there."""
    out = []
    for ecg in ids:
        row = store.row("SELECT * FROM ecg WHERE id = ?", (ecg,))
        if row is None:
            raise EcgError(f"no such ECG: {ecg[:40]}")
        out.append(row)
    return out
