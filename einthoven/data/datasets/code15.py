"""CODE-15%: 345,779 exams of 233,770 patients, 400 Hz (Ribeiro et al. 2021, Zenodo 4916206).

Layout: exams.csv (exam_id, age, is_male, 1dAVb, RBBB, LBBB, SB, ST, AF, patient_id, normal_ecg, trace_file, ...) and
exams_part<i>.hdf5 with `exam_id` (N,) and `tracings` (N, 4096, 12); an exam of 7 or 10 s lies in the middle of 4096 samples
with zeros before and behind, which are cut off here. The leads are I, II, III, aVR, aVL, aVF, V1 ... V6 (DI, DII, ...). An
array of 7 columns has the limb leads and V1.

The unit is 1e-4 V: the authors say so of the test set in the same form (antonior92/automatic-ecg-diagnosis, data/README.md),
and the spread of the values fits nothing else (standard deviations of 1.5 to 2.7 a lead are 0.15 to 0.27 mV). `--unit` says
otherwise.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from einthoven.data.entry import Choice, Dataset, Entry, Fault, Listing, finished
from einthoven.data.rows import header, number, plain, rows
from einthoven.record import STANDARD_LEADS, EcgError, Record

FS = 400.0
_MV = 0.1  # 1e-4 V
# The six classes and the codes they mean; bundle branch blocks are not told to be complete (SNOMED CT has a code for that).
_CLASSES = {
    "1dAVb": "snomed:270492004", "RBBB": "snomed:59118001", "LBBB": "snomed:164909002",
    "SB": "snomed:426177001", "ST": "snomed:427084000", "AF": "snomed:164889003",
}  # fmt: skip
# Which leads an array of so many columns has: twelve, or the limb leads and one of the chest.
_LEADS = {12: STANDARD_LEADS, 7: STANDARD_LEADS[:7]}


def matches(path: Path) -> bool:
    return {"exam_id", "trace_file", "1dAVb"} <= set(header(path / "exams.csv"))


def entries(path: Path, choice: Choice) -> Listing:
    """Every exam of exams.csv whose part is in the folder; parts that are not are told, with the number of their exams."""
    absent: dict[str, int] = {}
    for row in rows(path / "exams.csv", needs=("exam_id", "patient_id", "trace_file", *_CLASSES)):
        part, exam = row["trace_file"], plain(row["exam_id"]) or ""
        if not (path / part).is_file() or "/" in part or "\\" in part:
            absent[part] = absent.get(part, 0) + 1
            continue
        place = _places(str(path / part)).get(exam)
        if place is None:
            yield Fault(f"code15:{exam}", f"is not in {part}, though exams.csv says so")
            continue
        stated = tuple(name for name in _CLASSES if _true(row[name]))
        normal = ("statement:normal_ecg",) if _true(row.get("normal_ecg", "")) else ()
        codes = (*(_CLASSES[name] for name in stated), *normal)
        yield Entry(
            record=exam,
            path=str(path / part),
            part=place,
            dataset="code15",
            patient=plain(row["patient_id"]),
            age=number(row.get("age"), 0, 130),
            sex={True: "male", False: "female"}[_true(row["is_male"])] if row.get("is_male") else None,
            codes=codes,
            likelihoods=(math.nan,) * len(codes),
            labels=stated,
        )
    for part, count in sorted(absent.items()):
        yield Fault(part, "not in the folder", count, serious=False)


def read(entry: Entry, choice: Choice) -> Record:
    """One exam without its padding, in mV."""
    from einthoven.io.finish import millivolts

    file = _open(entry.path)
    samples = np.asarray(file["tracings"][entry.part], np.float32).T  # (L, T)
    leads = _LEADS.get(samples.shape[0])
    if leads is None:
        raise EcgError(f"{samples.shape[0]} leads, not 12 or 7", path=entry.path, where=f"row {entry.part}")
    moving = np.flatnonzero((samples != 0).any(axis=0))
    if not len(moving):
        raise EcgError("nothing but zeros", path=entry.path, where=f"exam {entry.record}")
    factor = _MV if choice.unit is None else millivolts(choice.unit)
    if factor is None:
        raise EcgError(f"unit {choice.unit!r} is no voltage (mV, uV, nV or V)", path=entry.path)
    signal = np.ascontiguousarray(samples[:, moving[0] : moving[-1] + 1]) * np.float32(factor)
    told = () if choice.unit else ("unit not given in the file: 0.1 mV, as its authors say",)
    return finished(Record(signal, choice.fs or FS, leads, warnings=told), entry, "code15")


def _true(word: str) -> bool:
    return word.strip().lower() in ("true", "1", "1.0")


@lru_cache(maxsize=32)
def _places(path: str) -> dict[str, int]:
    return {str(int(exam)): i for i, exam in enumerate(_open(path)["exam_id"][()])}


@lru_cache(maxsize=4)
def _open(path: str) -> Any:
    """The part, kept open: a process reads thousands of exams from it."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as fault:
        raise EcgError(f"not HDF5: {fault}", path=path) from None
    lacking = [n for n in ("exam_id", "tracings") if n not in file]
    if lacking or file["tracings"].ndim != 3 or len(file["exam_id"]) != len(file["tracings"]):
        raise EcgError(f"not a part of CODE-15%: lacks {', '.join(lacking) or '(N, T, L) tracings'}", path=path)
    return file


CODE15 = Dataset(
    "code15",
    "CODE-15%",
    matches,
    entries,
    read,
    licence="CC BY 4.0",
    citation="Ribeiro et al., CODE-15%: a large scale annotated dataset of 12-lead ECGs, Zenodo 4916206, 2021",
    address="https://zenodo.org/records/4916206",
    records=345_779,
    patients=233_770,
    gigabytes=60.0,
    notes="six classes (own labels) and normal_ecg; unpack exams_part*.zip beside exams.csv",
)
