"""What the looks of a model saw of each ECG, computed once over all cores and kept on disk.

    store = seen(index, records, model.looks, folder, jobs=0)
    store["ptbxl:00001"]                 one array a look

A folder of two files: `seen.bin`, array after array, and `seen.json`, where each lies and of what kind it is; the second is
written last. Arrays of all kinds and lengths go in; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index, millivolts
from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.models.language.look import Look
from einthoven.record import EcgError, Patient, Record, Source

FORMAT = 1
_Task = tuple[str, NDArray[np.int16], float, tuple[str, ...], float | None, str | None]
_KINDS = ("<f4", "|u1", "<i4")


class Store(Mapping[str, tuple[NDArray[Any], ...]]):
    """Arrays by the name of the record, one a look. `failed`: records that could not be seen, and why."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
        self.folder, self._where = folder, about["where"]
        self.failed: dict[str, str] = about["failed"]
        self._bytes: NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None}  # a worker opens its own

    def __getitem__(self, record: str) -> tuple[NDArray[Any], ...]:
        if self._bytes is None:
            path = self.folder / "seen.bin"
            self._bytes = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        if record not in self._where:
            why = self.failed.get(record)
            raise EcgError(f"cannot be seen: {why}" if why else "is not among the ECGs that were looked at", path=record)
        made = []
        for kind, shape, begin in self._where[record]:
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            made.append(np.frombuffer(self._bytes[begin : begin + size].tobytes(), kind).reshape(shape))
        return tuple(made)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, record: object) -> bool:
        return record in self._where


def seen(
    index: Index, records: Sequence[str], looks: Sequence[Look], folder: str | os.PathLike[str], *, jobs: int = 1
) -> Store:
    """What each look sees of these records of the index; taken from `folder` where it lies there already.

    Raises EcgError for a record that the index has not. One that cannot be seen is kept with the reason (`Store.failed`).
    """
    names = list(dict.fromkeys(records))
    rows = {name: row for row, name in enumerate(index.column("record"))}
    if lacking := [name for name in names if name not in rows]:
        raise EcgError(
            f"{len(lacking)} records of the samples are not in the index: {', '.join(lacking[:3])}", path=index.folder
        )
    place = Path(folder) / _fingerprint(index, [rows[name] for name in names], looks)
    if not (place / "seen.json").is_file():
        place.mkdir(parents=True, exist_ok=True)
        _compute(index, names, rows, looks, place, jobs)
    return Store(place)


def _fingerprint(index: Index, rows: Sequence[int], looks: Sequence[Look]) -> str:
    part = index.select(rows)
    words = [FORMAT, [look.to_dict() for look in looks], part.column("record"), part.column("hash"), part.column("fs").tolist()]
    return hashlib.blake2b(json.dumps(words, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()


def _compute(
    index: Index, names: Sequence[str], rows: Mapping[str, int], looks: Sequence[Look], place: Path, jobs: int
) -> None:
    where: dict[str, list[tuple[str, list[int], int]]] = {}
    failed: dict[str, str] = {}
    begin = 0
    with replacing(place / "seen.bin") as draft, draft.open("wb") as out:
        for name, result in ordered(partial(_look, looks=tuple(looks)), _tasks(index, names, rows), jobs=jobs, killed=_killed):
            if isinstance(result, str):
                failed[name] = result
                continue
            entries = []
            for array in result:
                entries.append((array.dtype.str, list(array.shape), begin))
                begin += out.write(np.ascontiguousarray(array).tobytes())
            where[name] = entries
    if not where:
        raise EcgError(f"no ECG can be seen: {next(iter(failed.values()), 'there is none')}", path=index.folder)
    with replacing(place / "seen.json") as draft:
        draft.write_text(json.dumps({"format": FORMAT, "where": where, "failed": failed}), encoding="utf-8")


def _tasks(index: Index, names: Sequence[str], rows: Mapping[str, int]) -> Iterator[_Task]:
    fs, leads, age, sex = (index.column(n) for n in ("fs", "leads", "age", "sex"))
    for name in names:
        k = rows[name]
        years = None if np.isnan(age[k]) else float(age[k])
        yield name, np.array(index.digital(k)), float(fs[k]), tuple(leads[k]), years, sex[k]


def _look(task: _Task, *, looks: Sequence[Look]) -> tuple[str, list[NDArray[Any]] | str]:
    name, stored, fs, leads, age, sex = task
    record = Record(millivolts(stored), fs, leads, patient=Patient(age=age, sex=sex), source=Source(name, "index"))
    try:
        arrays = [np.asarray(look(record)) for look in looks]
    except EcgError as fault:
        return name, str(fault)
    for array in arrays:
        if array.dtype.str not in _KINDS:
            raise TypeError(f"a look gave {array.dtype}, which is not kept")
    return name, arrays


def _killed(task: _Task) -> tuple[str, str]:
    return task[0], "its process was killed while it was looked at (out of memory?)"
