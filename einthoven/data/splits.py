"""Splits by patient, and the check that no ECG and no patient is on two sides of one.

Two records belong together where they have the same patient, the same signal, or where one is a copy of the other from another
set (the Challenge's HR records are PTB-XL's). Such a group is never torn apart here.

Stratified means: patients are ordered within strata (a patient's stratum is the rarest class it has), every patient gets a
place in [0, 1) that spreads each stratum evenly, and parts are cut out of that line. So any part has its share of each stratum
to within one patient, and a smaller fraction is always inside a larger one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index
from einthoven.data.labels import Labels
from einthoven.record import EcgError

Rows = NDArray[np.int64]
# Folds to train on, to choose with, to report on. PTB-XL's authors; MIMIC-IV-ECG-Ext-ICD's (18 : 1 : 1); PTB-XL's way for one's
# own.
OFFICIAL: Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]] = MappingProxyType(
    {"ptbxl": (range(1, 9), (9,), (10,)), "mimic": (range(18), (18,), (19,))}
)
FRACTIONS = (0.01, 0.10, 0.25, 0.50, 1.0)


@dataclass(frozen=True)
class Split:
    """Rows of an index to train on, to choose with (early stopping, thresholds, calibration), to report on; int64."""

    train: Rows
    validation: Rows
    test: Rows

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            object.__setattr__(self, name, np.sort(np.asarray(getattr(self, name), np.int64)))

    def __repr__(self) -> str:
        return f"Split({len(self.train)} train, {len(self.validation)} validation, {len(self.test)} test)"


def official(
    index: Index,
    *,
    train: Iterable[int] | None = None,
    validation: Iterable[int] | None = None,
    test: Iterable[int] | None = None,
) -> Split:
    """The official folds: of each dataset its own (OFFICIAL), or those given, for all. Where fold 10 is not there, report on
    another and say so: `test` is empty else. Records without a fold are in no part.

    Raises:
        EcgError: the index has no official folds, a fold is in two parts, nothing is left to train on, or the folds leak.
    """
    folds = np.asarray(index.column("fold"))
    if not (folds >= 0).any():
        raise EcgError("these records have no official folds: split by patient", path=index.folder)
    datasets = np.array(index.column("dataset"))
    given = [None if part is None else set(part) for part in (train, validation, test)]
    rows: list[list[int]] = [[], [], []]
    for dataset in np.unique(datasets):
        usual = OFFICIAL.get(str(dataset), OFFICIAL["ptbxl"])
        parts = [set(own) if part is None else part for part, own in zip(given, usual, strict=True)]
        twice = (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
        if twice:
            raise EcgError(f"fold {', '.join(map(str, sorted(twice)))} is in two parts of the split")
        for into, part in zip(rows, parts, strict=True):
            into += np.flatnonzero((datasets == dataset) & np.isin(folds, sorted(part))).tolist()
    split = Split(*(np.array(r, np.int64) for r in rows))
    if not len(split.train):
        raise EcgError("no record is in the folds to train on", path=index.folder)
    check_leaks(index, split)
    return split


def by_patient(
    index: Index,
    sizes: tuple[float, float, float] = (0.7, 0.15, 0.15),
    *,
    labels: Labels | None = None,
    rows: Sequence[int] | Rows | None = None,
    seed: int = 0,
) -> Split:
    """Patients shuffled into three parts of these shares, stratified by `labels` where they are given.

    Args:
        rows: split these only.
    """
    if len(sizes) != 3 or min(sizes) < 0 or not 0 < sum(sizes) <= 1 + 1e-9:
        raise EcgError(f"three shares that sum up to 1 at most, not {sizes}")
    of, place = _line(index, labels, rows, seed)
    a, b, c = np.cumsum(sizes)
    at = place + 1e-12
    return Split(of[at < a], of[(at >= a) & (at < b)], of[(at >= b) & (at < c)])


def k_folds(
    index: Index, k: int = 5, *, labels: Labels | None = None, rows: Sequence[int] | Rows | None = None, seed: int = 0
) -> list[Split]:
    """Stratified k-fold by patient: fold i to report on, the next one to choose with, the rest to train on.

    Raises:
        EcgError: k below 3 (one part each), or more folds than patients.
    """
    of, place = _line(index, labels, rows, seed)
    if not 3 <= k <= len(np.unique(place)):
        raise EcgError(f"{k} folds of {len(np.unique(place))} patients: 3 at least, one patient in each")
    fold = (place * k).astype(np.int64)
    return [Split(of[(fold != i) & (fold != (i + 1) % k)], of[fold == (i + 1) % k], of[fold == i]) for i in range(k)]


def fraction(index: Index, rows: Sequence[int] | Rows, share: float, *, labels: Labels | None = None, seed: int = 0) -> Rows:
    """This share of the patients among `rows`, stratified; a smaller share is inside a larger one. One patient at least."""
    if not 0 < share <= 1:
        raise EcgError(f"a fraction lies above 0 and is 1 at most, not {share}")
    of, place = _line(index, labels, rows, seed)
    if not len(of):
        return of
    chosen: Rows = np.sort(of[place < max(share, place.min() + 1e-9)])
    return chosen


def groups(index: Index) -> NDArray[np.int64]:
    """A number a record, (N,): the same for all that belong together (patient, same signal, copies from another set)."""
    first: dict[str, int] = {}
    parent = list(range(len(index)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, keys in enumerate(_keys(index)):
        for key in keys:
            j = first.setdefault(key, i)
            parent[root(i)] = root(j)
    return np.array([root(i) for i in range(len(index))], np.int64)


def _keys(index: Index) -> list[list[str]]:
    """What a record shares with those it belongs to."""
    columns = (index.column(n) for n in ("record", "patient", "hash", "same_as"))
    return [
        [f"record {same or record}", f"patient {patient}", *([f"signal {h}"] if h else [])]
        for record, patient, h, same in zip(*columns, strict=True)
    ]


def _line(
    index: Index, labels: Labels | None, rows: Sequence[int] | Rows | None, seed: int
) -> tuple[Rows, NDArray[np.float64]]:
    """(rows, the place of each in [0, 1)): one place a group, so that groups stay whole."""
    of = np.arange(len(index)) if rows is None else np.unique(np.asarray(rows, np.int64))
    if labels is not None and len(labels) != len(index):
        raise EcgError(f"{len(labels)} labels for {len(index)} records")
    group, member = np.unique(groups(index)[of], return_inverse=True)
    stratum = np.zeros(len(group), np.int64) if labels is None else _strata(labels, of, member, len(group))
    rng = np.random.default_rng(seed)
    place = np.empty(len(group))
    # Systematic sampling: the members of a stratum sit at equal distances, from a start of its own.
    for value in np.unique(stratum):
        inside = rng.permutation(np.flatnonzero(stratum == value))
        place[inside] = (np.arange(len(inside)) + rng.random()) / len(inside)
    # Ranks instead of places, so that shares of all patients come out exactly.
    order = np.argsort(place, kind="stable")
    place[order] = (np.arange(len(group)) + 0.5) / max(len(group), 1)
    return of, place[member]


def _strata(labels: Labels, of: Rows, member: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The stratum of each group: the rarest class among its records; one more for those without any. Targets: fifths of their
    range.
    """
    matrix = labels.matrix[of]
    if labels.task == "regression":
        value = np.full(count, np.nan)
        np.fmax.at(value, member, matrix[:, 0].astype(np.float64))
        cuts = np.nanquantile(value, [0.2, 0.4, 0.6, 0.8]) if np.isfinite(value).any() else np.zeros(4)
        return np.where(np.isfinite(value), np.searchsorted(cuts, value), 5)
    has = np.zeros((count, len(labels.names)), bool)
    np.logical_or.at(has, member, matrix == 1)
    rarity = np.argsort(has.sum(axis=0), kind="stable")  # the rarest first
    ranked = has[:, rarity]
    return np.where(ranked.any(axis=1), ranked.argmax(axis=1), len(labels.names))


def check_leaks(index: Index, split: Split) -> None:
    """Raises EcgError, which names them, where a patient, a signal or a copy of it is in two parts of the split, or a row
    twice.
    """
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    owners: dict[str, tuple[str, str]] = {}
    keys, records = _keys(index), index.column("record")
    leaks: dict[str, None] = {}
    for part, rows in parts.items():
        if len(np.unique(rows)) != len(rows):
            raise EcgError(f"a record is twice in {part}", path=index.folder)
        for i in rows.tolist():
            for key in keys[i]:
                other, record = owners.setdefault(key, (part, records[i]))
                if other != part:
                    leaks[f"{_words(key)} is in {other} ({record}) and in {part} ({records[i]})"] = None
    _complain(leaks, index)


def check_between(train: Index, test: Index) -> None:
    """Raises EcgError where a patient, a signal or a copy of it is in both indexes: one to train on, one to report on."""
    records = train.column("record")
    owners: dict[str, Any] = {key: records[i] for i, keys in enumerate(_keys(train)) for key in keys}
    leaks: dict[str, None] = {}
    for keys, record in zip(_keys(test), test.column("record"), strict=True):
        leaks.update({f"{_words(k)} is in both ({owners[k]}, {record})": None for k in keys if k in owners})
    _complain(leaks, test)


def _words(key: str) -> str:
    kind, _, name = key.partition(" ")
    return f"the signal {name[:8]}" if kind == "signal" else key


def _complain(leaks: dict[str, None], index: Index) -> None:
    if leaks:
        shown = "; ".join(list(leaks)[:5]) + (f"; and {len(leaks) - 5} more" if len(leaks) > 5 else "")
        raise EcgError(f"leak: {shown}", path=index.folder)
