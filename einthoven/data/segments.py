"""One-lead segments as rows of a CSV: n samples and a last column with a label 0 or 1.

The form of `df_segment2.csv` of the PEFT study of ECG-FM: 65,425 rows and 601 columns, 600 samples and one binary label, one
lead. The paper gives neither unit nor sampling rate nor lead: they must be said (`--fs`, `--unit`), and without a unit the
numbers are taken as mV with a warning. The patient of a segment is not known either, unless a column says it: segments of one
recording may then fall on both sides of a split.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einthoven.data.entry import Choice, Dataset, Entry, Fault, Listing, finished
from einthoven.data.rows import header, plain
from einthoven.record import EcgError, Record

_LABELS = ("label", "class", "target", "y")
MIN_SAMPLES = 50


def matches(path: Path) -> bool:
    """A CSV whose rows are long, whose first row or header ends (or begins) with a label."""
    if not path.is_file() or path.suffix.lower() not in (".csv", ".tsv"):
        return False
    names = header(path)
    return len(names) > MIN_SAMPLES and _layout(names) is not None


def _layout(names: tuple[str, ...]) -> tuple[bool, int] | None:
    """(whether the first line is a header, the column of the label); None where this is no table of segments."""
    try:
        values = [float(n) for n in names]
    except ValueError:
        low = [n.lower() for n in names]
        named = [i for i, n in enumerate(low) if n in _LABELS]
        return (True, named[0]) if named else None
    if values == list(range(len(values))):  # pandas writes 0, 1, 2, ... where columns have no names
        return True, len(values) - 1
    return (False, len(values) - 1) if values[-1] in (0, 1) else None


def entries(path: Path, choice: Choice) -> Listing:
    """One entry a row; rows of another length, or with a label that is not 0 or 1, are named."""
    names = header(path)
    found = _layout(names)
    if found is None:
        raise EcgError("no table of segments: samples and a label 0 or 1 in every row", path=path)
    if choice.fs is None:
        raise EcgError("the sampling rate of segments is not in the file: say it (--fs)", path=path)
    headed, column = found
    who = names.index(choice.patient) if choice.patient and headed and choice.patient in names else -1
    if choice.patient and who < 0:
        raise EcgError(f"no column {choice.patient}", path=path)
    for i, cells in enumerate(_lines(str(path))):
        if headed and i == 0:
            continue
        name = str(i + 1)  # the line of the file
        if len(cells) != len(names):
            yield Fault(f"{path.name} line {name}", f"{len(cells)} cells where the first line has {len(names)}")
            continue
        label = cells[column].strip()
        if label not in ("0", "1", "0.0", "1.0"):
            yield Fault(f"{path.name} line {name}", f"label {label[:20]!r} is neither 0 nor 1")
            continue
        yield Entry(
            record=name,
            path=str(path),
            dataset=path.stem,
            patient=plain(cells[who]) if who >= 0 else None,
            part=i - headed,
            labels=("1",) if float(label) == 1 else (),
        )


def read(entry: Entry, choice: Choice) -> Record:
    """One segment as a record of one lead, named by what the user says (or "I": nobody knows)."""
    from einthoven.io.finish import millivolts

    values = _samples(entry.path, entry.part, choice.patient)
    factor = millivolts(choice.unit) if choice.unit else 1.0
    if factor is None:
        raise EcgError(f"unit {choice.unit!r} is no voltage (mV, uV, nV or V)", path=entry.path)
    told = ["lead not given in the file: called I"]
    if choice.unit is None:
        told.append("unit not given: taken as mV")
    fs = choice.fs if choice.fs is not None else math.nan
    signal = (values * factor).astype(np.float32)[None]
    return finished(Record(signal, fs, ("I",), warnings=tuple(told)), entry, "segments")


def _lines(path: str) -> Iterator[list[str]]:
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            yield from csv.reader(file)
    except (OSError, csv.Error) as fault:
        raise EcgError(f"not a CSV file: {fault}", path=path) from None


@lru_cache(maxsize=2)
def _table(path: str, patient: str | None) -> NDArray[np.float32]:
    """All segments of the file, (N, T) float32, NaN where a row cannot be read; 65,425 x 600 are 157 MB."""
    names = header(Path(path))
    found = _layout(names)
    if found is None:
        raise EcgError("no table of segments", path=path)
    headed, column = found
    keep = [i for i, n in enumerate(names) if i != column and n != patient]
    out: list[NDArray[np.float32]] = []
    for i, cells in enumerate(_lines(path)):
        if headed and i == 0:
            continue
        try:
            out.append(np.array([cells[k] for k in keep], np.float32))
        except (ValueError, IndexError):
            out.append(np.full(len(keep), np.nan, np.float32))
    return np.stack(out)


def _samples(path: str, part: int, patient: str | None) -> NDArray[np.float32]:
    values: NDArray[np.float32] = _table(path, patient)[part]
    if np.isnan(values).all():
        raise EcgError("samples are no numbers", path=path, where=f"row {part + 1}")
    return values


SEGMENTS = Dataset(
    "segments",
    "one segment a row (CSV)",
    matches,
    entries,
    read,
    citation="df_segment2.csv of the PEFT study of ECG-FM: 600 samples and a label 0 or 1 in every row",
    notes="needs --fs (and --unit where it is not mV)",
)
