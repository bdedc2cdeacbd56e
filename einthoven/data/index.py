"""`Index`: a table of ECGs (Parquet) beside one file of all their signals (int16 microvolts, memory-mapped).

A folder of three files: `records.parquet` (one row a record, see COLUMNS), `signals.i16` (record after record, each (L, T) row
by row) and `index.json` (what it was made from, what failed). What cannot be read is named and counted there and costs nothing
else its place. An index is built in a draft folder beside its place and renamed when it is whole; the same command after a kill
goes on where it stopped.

L leads, T samples.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.entry import DEFAULT, Choice, Dataset, Entry, Fault
from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.record import Device, EcgError, Patient, Record, Source

if TYPE_CHECKING:
    import pyarrow as pa

MISSING = -32768  # in signals: not recorded
LARGEST = 32767  # microvolts: what is larger is clipped to it, counted, and told
TARGET = "target:"

# The columns of the table and their Arrow types; then come float64 columns "target:<name>".
COLUMNS: Mapping[str, str] = {
    "record": "string",  # unique, "<dataset>:<its name there>"
    "patient": "string",  # "<dataset>:<patient>"; else a hash of the file's patient id, else the record's own name
    "patient_known": "bool",
    "dataset": "string",
    "path": "string",
    "same_as": "string",  # the record of another set that this is a copy of
    "age": "float64",
    "sex": "string",
    "fold": "int32",  # the official one, -1 unknown
    "device": "string",
    "site": "string",
    "fs": "float64",
    "leads": "list<string>",
    "samples": "int64",
    "offset": "int64",  # of the first sample, counted in int16 numbers
    "codes": "list<string>",
    "likelihoods": "list<float64>",  # 0..100 beside each code, NaN where nobody said
    "codes_from": "string",
    "labels": "list<string>",  # the user's own; null where the record has none to be had
    "text": "string",
    "hash": "string",  # of the signal: two records of the same hash are the same ECG; "" for one without any deflection
    "clipped": "int64",  # samples beyond +-32.767 mV
    "warnings": "list<string>",
}


@dataclass(frozen=True)
class Index:
    """ECGs and what is known of each: `table` (one row a record, see COLUMNS) and `signals` (all samples, int16 microvolts).

    `folder` is where it lies, None for one in memory; `about` what index.json says. Rows are chosen with `select`, which shares
    the signals.
    """

    table: pa.Table
    signals: NDArray[np.int16]
    folder: Path | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def open(folder: str | os.PathLike[str]) -> Index:
        """The index in this folder. Raises EcgError where there is none, or where it is not whole."""
        import pyarrow.parquet as pq

        place = Path(folder)
        if not is_index(place):
            raise EcgError("no index: `einthoven data index SRC -o OUT` makes one", path=place)
        try:
            about = json.loads((place / "index.json").read_text(encoding="utf-8"))
            table = pq.read_table(place / "records.parquet", memory_map=True)
        except (OSError, ValueError) as fault:
            raise EcgError(f"index cannot be read: {fault}", path=place) from None
        types = {field.name: field.type for field in table.schema}
        wrong = [name for name, kind in COLUMNS.items() if types.get(name) != _arrow(kind)]
        if wrong or not isinstance(about, dict):
            raise EcgError(
                f"no index: columns {', '.join(wrong)} are missing or of another type", path=place / "records.parquet"
            )
        size = (place / "signals.i16").stat().st_size // 2
        mapped: NDArray[np.int16] = (
            np.memmap(place / "signals.i16", "<i2", "r", shape=(size,)) if size else np.zeros(0, np.int16)
        )
        index = Index(table, mapped, place, about)
        ends = index.column("offset") + index.column("samples") * np.array([len(x) for x in index.column("leads")], np.int64)
        if len(index) and (ends.max() > size or index.column("offset").min() < 0):
            raise EcgError(f"signals.i16 holds {size:,} samples, the table names {ends.max():,}", path=place)
        return index

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        return f"Index({len(self)} records of {', '.join(sorted(set(self.column('dataset')))) or 'no dataset'})"

    def column(self, name: str) -> Any:
        """A column: numbers as a numpy array (missing ones NaN), everything else as a list. Raises EcgError for an unknown
        name.
        """
        import pyarrow as pa

        if name not in self.table.column_names:
            raise EcgError(f"no column {name} (there are: {', '.join(self.table.column_names)})", path=self.folder)
        column = self.table.column(name)
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
            return column.to_numpy()
        return column.to_pylist()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the numbers there are to predict, without their prefix."""
        return tuple(n.removeprefix(TARGET) for n in self.table.column_names if n.startswith(TARGET))

    def select(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Index:
        """These rows, in this order (or those where a mask is true), over the same signals."""
        import pyarrow as pa

        chosen = np.asarray(rows)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return Index(self.table.take(pa.array(chosen)), self.signals, self.folder, self.about)

    @cached_property
    def _layout(self) -> tuple[NDArray[np.int64], NDArray[np.int64], list[list[str]], NDArray[np.float64]]:
        return self.column("offset"), self.column("samples"), self.column("leads"), self.column("fs")

    def digital(self, row: int) -> NDArray[np.int16]:
        """The signal of a row as it is stored: (L, T) int16 microvolts, -32768 where nothing was recorded."""
        offset, samples, leads, _ = self._layout
        size = len(leads[row]) * samples[row]
        part: NDArray[np.int16] = self.signals[offset[row] : offset[row] + size]
        return part.reshape(len(leads[row]), -1)

    def record(self, row: int) -> Record:
        """The ECG of a row: float32 mV, NaN where nothing was recorded; with age, sex, device, codes and the report's text."""
        about = self.table.slice(row, 1).to_pylist()[0]
        _, _, leads, fs = self._layout
        age = about["age"]
        return Record(
            millivolts(self.digital(row)),
            float(fs[row]),
            tuple(leads[row]),
            patient=Patient(id=about["patient"], age=None if age is None or math.isnan(age) else age, sex=about["sex"]),
            device=Device(model=about["device"], institution=about["site"]),
            statements=(about["text"],) if about["text"] else (),
            codes=tuple(about["codes"]),
            warnings=tuple(about["warnings"]),
            source=Source(about["record"], "index"),
            resolution_uv=(1.0,) * len(leads[row]),
        )


def millivolts(stored: NDArray[np.int16]) -> NDArray[np.float32]:
    """Stored microvolts as float32 mV, NaN where nothing was recorded."""
    signal = stored.astype(np.float32)
    signal /= 1000
    signal[stored == MISSING] = np.nan
    return signal


def microvolts(signal: NDArray[np.float32]) -> tuple[NDArray[np.int16], int]:
    """mV as they are stored, and how many samples were clipped to +-32.767 mV."""
    scaled = np.rint(signal.astype(np.float64) * 1000)
    beyond = int((np.abs(scaled) > LARGEST).sum())
    known = np.isfinite(scaled)
    stored = np.where(known, np.clip(np.where(known, scaled, 0), -LARGEST, LARGEST), MISSING).astype("<i2")
    return stored, beyond


def hashed(stored: NDArray[np.int16], leads: Sequence[str]) -> str:
    """The hash of a signal, whatever the order of its leads; "" where nothing moves (such records are not the same ECG)."""
    if not any(np.ptp(row) for row in stored):
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(leads):
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(stored[list(leads).index(name)], "<i2").tobytes())
    return digest.hexdigest()


def is_index(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("index.json", "records.parquet", "signals.i16"))


# -- building
# --------------------------------------------------------------------------------------------------------------------

Progress = Callable[[int, int], None]  # (records done, records failed)


@dataclass(frozen=True)
class Origin:
    """A source of records: a folder or file, what dataset it is, and what was chosen about it."""

    path: Path
    dataset: Dataset
    choice: Choice = DEFAULT


def build(
    origins: Sequence[Origin],
    out: str | os.PathLike[str],
    *,
    jobs: int = 1,
    overwrite: bool = False,
    on_record: Progress | None = None,
) -> Index:
    """Reads every record of the origins into an index at `out`; goes on where an earlier run with the same origins was killed.

    Args:
        jobs: processes; 0 takes every core.
        overwrite: replace an index that is there.

    Raises:
        EcgError: the place is taken, or nothing could be read at all. Single records that fail are named in
            `index.about["failed"]`.
    """
    place = Path(out)
    if place.exists():
        if not is_index(place):
            raise EcgError("exists and is no index: choose another place", path=place)
        if not overwrite:
            raise EcgError("there is an index already: choose another place, or --overwrite", path=place)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.draft")
    plan = json.dumps(described(origins), sort_keys=True)
    with _alone(place):
        if is_index(place) and not overwrite:  # somebody built it while this process waited for its turn
            return Index.open(place)
        _prepare(draft, plan)
        done = _resume(draft)
        _gather(origins, draft, done, jobs=jobs, on_record=on_record)
        _write_table(draft, origins)
        old = place.with_name(f".{place.name}.old")
        if place.exists():
            os.replace(place, old)
        os.replace(draft, place)
        shutil.rmtree(old, ignore_errors=True)
        for name in _WORKING:
            (place / name).unlink(missing_ok=True)
    return Index.open(place)


def in_memory(origins: Sequence[Origin], *, jobs: int = 1) -> Index:
    """`build` into a temporary folder that is gone when the program ends."""
    keeper = tempfile.TemporaryDirectory(prefix="einthoven-index-")
    _KEPT.append(keeper)
    return build(origins, Path(keeper.name) / "index", jobs=jobs)


_WORKING = ("rows.jsonl", "faults.json", "plan.json")
_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """One process at a time builds here, others wait; the system lets go of the lock when its owner dies."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks; there two builds at one place are the user's to avoid
        yield
        return
    lock = place.with_name(f".{place.name}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)


def _prepare(draft: Path, plan: str) -> None:
    """A draft folder for this plan; one of another plan is thrown away."""
    stated = draft / "plan.json"
    if draft.exists() and (not stated.is_file() or stated.read_text(encoding="utf-8") != plan):
        if any(draft.iterdir()) and not stated.is_file():
            raise EcgError("is in the way of the index that is to be built here", path=draft)
        shutil.rmtree(draft)
    draft.mkdir(exist_ok=True)
    with replacing(stated) as part:
        part.write_text(plan, encoding="utf-8")


def _resume(draft: Path) -> set[str]:
    """Records that an earlier run has finished; what it left half written is cut off."""
    done: set[str] = set()
    end = kept = 0
    rows = draft / "rows.jsonl"
    if rows.exists():
        with rows.open("rb+") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                row = json.loads(line)
                done.add(row["record"])
                kept += len(line)
                end = max(end, row["offset"] + row["samples"] * len(row["leads"]))
            file.truncate(kept)
    with (draft / "signals.i16").open("ab") as signals:
        if signals.tell() < 2 * end:  # the machine went down, and the disk kept the rows but not the samples: begin anew
            rows.unlink()
            done, end = set(), 0
        signals.truncate(2 * end)
    return done


Done = tuple[dict[str, Any], bytes] | Fault


def _gather(origins: Sequence[Origin], draft: Path, done: set[str], *, jobs: int, on_record: Progress | None) -> None:
    """Reads what is not done yet: signals first, then the row that says where they are: no row promises too much."""
    faults: list[Fault] = []
    counted = len(done)
    listed: set[str] = set()
    with (draft / "rows.jsonl").open("a", encoding="utf-8") as rows, (draft / "signals.i16").open("ab") as signals:
        offset = signals.tell() // 2
        for origin in origins:

            def fresh(origin: Origin = origin) -> Iterator[Entry]:
                for entry in origin.dataset.entries(origin.path, origin.choice):
                    if isinstance(entry, Fault):
                        faults.append(entry)
                        continue
                    name = f"{entry.dataset}:{entry.record}"
                    if name in listed:
                        faults.append(Fault(name, "listed twice: the first is taken"))
                        continue
                    listed.add(name)
                    if name not in done:
                        yield entry

            work = partial(_read, reader=origin.dataset.read, choice=origin.choice)
            for result in ordered(work, fresh(), jobs=jobs, killed=_killed):
                if isinstance(result, Fault):
                    faults.append(result)
                else:
                    row, samples = result
                    signals.write(samples)
                    signals.flush()
                    rows.write(json.dumps({**row, "offset": offset}) + "\n")
                    rows.flush()
                    offset += len(samples) // 2
                    counted += 1
                if on_record:
                    on_record(counted, sum(f.count for f in faults if f.serious))
    with replacing(draft / "faults.json") as part:
        part.write_text(json.dumps([asdict(f) for f in faults]), encoding="utf-8")


def _killed(entry: Entry) -> Done:
    return Fault(f"{entry.dataset}:{entry.record}", "its process was killed while it was read (out of memory?)")


def _read(entry: Entry, *, reader: Callable[[Entry, Choice], Record], choice: Choice) -> Done:
    """One record: its row without the offset, and its samples. A bad file is a Fault, never an exception."""
    name = f"{entry.dataset}:{entry.record}"
    try:
        record = reader(entry, choice)
    except EcgError as fault:
        return Fault(name, str(fault if fault.path else fault.at(entry.path)))
    except Exception as fault:  # one record must not cost the others their place; the words say that the fault is ours
        return Fault(name, f"{entry.path}: internal error, please report it: {type(fault).__name__}: {fault}")
    stored, clipped = microvolts(record.signal)
    told = (f"{clipped} samples beyond {LARGEST / 1000:g} mV were clipped",) if clipped else ()
    codes = entry.codes or tuple(f"snomed:{c}" for c in record.codes)
    patient = entry.patient or _pseudonym(record.patient.id)
    age = entry.age if not math.isnan(entry.age) else record.patient.age
    row = {
        "record": name,
        "patient": name if patient is None else patient if ":" in patient else f"{entry.dataset}:{patient}",
        "patient_known": patient is not None,
        "dataset": entry.dataset,
        "path": entry.path,
        "same_as": entry.same_as,
        "age": None if age is None or math.isnan(age) else float(age),
        "sex": entry.sex or record.patient.sex,
        "fold": entry.fold,
        "device": entry.device or record.device.model,
        "site": entry.site,
        "fs": record.fs,
        "leads": list(record.leads),
        "samples": record.signal.shape[1],
        "codes": list(codes),
        "likelihoods": [None if math.isnan(x) else x for x in entry.likelihoods or (math.nan,) * len(codes)],
        "codes_from": entry.codes_from,
        "labels": None if entry.labels is None else list(entry.labels),
        "text": entry.text or "\n".join(record.statements) or None,
        "hash": hashed(stored, record.leads),
        "clipped": clipped,
        "warnings": [*record.warnings, *told],
        "targets": dict(entry.targets),
    }
    return row, stored.tobytes()


_NOBODY = frozenset(
    ("", "0", "1", "id", "none", "unknown", "anonymous", "anonymized", "anonymised", "anon", "test", "patient", "n/a")
)


def _pseudonym(identity: str | None) -> str | None:
    """A file's own patient id as a hash: it keeps a person's ECGs together and names nobody. None for a placeholder."""
    word = (identity or "").strip()
    if word.lower() in _NOBODY or len(set(word)) < 2:
        return None
    return "id-" + hashlib.blake2b(word.encode(), digest_size=8).hexdigest()


def _write_table(draft: Path, origins: Sequence[Origin]) -> None:
    """rows.jsonl -> records.parquet, and index.json that says how it went; the working files are removed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    counts = {"records": 0, "clipped": 0, "clipped_records": 0}
    names: dict[str, None] = {}
    for row in _rows(draft):
        names.update(dict.fromkeys(row["targets"]))
        counts["records"] += 1
        counts["clipped"] += row["clipped"]
        counts["clipped_records"] += bool(row["clipped"])
    faults = json.loads((draft / "faults.json").read_text(encoding="utf-8"))
    if not counts["records"]:
        told = "; ".join(f"{f['name']}: {f['why']}" for f in faults[:3])
        raise EcgError(f"no record could be read ({told or 'nothing is listed'})", path=origins[0].path if origins else None)
    schema = pa.schema([(n, _arrow(t)) for n, t in COLUMNS.items()] + [(TARGET + n, pa.float64()) for n in names])
    with pq.ParquetWriter(draft / "records.parquet", schema, compression="zstd") as writer:
        for batch in _batches(_rows(draft), 20_000):
            for row in batch:
                row["likelihoods"] = [math.nan if x is None else x for x in row["likelihoods"]]
                row["age"] = math.nan if row["age"] is None else row["age"]
                values = row.pop("targets")
                row.update({TARGET + n: values.get(n, math.nan) for n in names})
            writer.write_table(pa.Table.from_pylist(batch, schema))
    about = {
        "schema": 1,
        "sources": described(origins),
        **counts,
        "failed": [f for f in faults if f["serious"]],
        "absent": [f for f in faults if not f["serious"]],
    }
    (draft / "index.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")


def described(origins: Sequence[Origin]) -> list[dict[str, Any]]:
    """The origins as index.json has them: where, what, what was chosen, and a hash of the user's labels, which may change."""
    return [
        {
            "path": str(o.path.resolve()),
            "dataset": o.dataset.name,
            "choice": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(o.choice).items() if v},
            "labels": _digest(o),
        }
        for o in origins
    ]


def _digest(origin: Origin) -> str | None:
    """The hash of the CSV of labels that an origin has, None where it has none."""
    given = origin.choice.labels
    places = [Path(given), origin.path / given] if given else [origin.path / "labels.csv", origin.path]
    table = next((p for p in places if p.is_file()), None)
    if table is None or table.stat().st_size > 1 << 30:
        return None
    return hashlib.sha256(table.read_bytes()).hexdigest()


def _rows(draft: Path) -> Iterator[dict[str, Any]]:
    with (draft / "rows.jsonl").open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _batches(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _arrow(kind: str) -> Any:
    import pyarrow as pa

    return pa.list_(_arrow(kind[5:-1])) if kind.startswith("list<") else getattr(pa, kind if kind != "bool" else "bool_")()
