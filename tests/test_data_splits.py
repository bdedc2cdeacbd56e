"""Splits: no patient and no signal on two sides, strata kept, fractions nested, leaks named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_data_labels import index_of

from einthoven.data import (
    Index,
    Labels,
    Split,
    by_patient,
    check_leaks,
    fraction,
    k_folds,
    labels_of,
    load,
    official,
)
from einthoven.data.splits import FRACTIONS, check_between, groups
from einthoven.record import EcgError


def crowd(patients: int = 300, seed: int = 0) -> tuple[Index, Labels]:
    """An index of patients with one to three records each, a common class, a rarer one and a rare one."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for p in range(patients):
        codes = ["scp:NORM"] if p % 2 else ["scp:IMI"]
        codes += ["scp:LVH"] * (p % 10 == 0) + ["scp:3AVB"] * (p % 50 == 0)
        rows += [{"patient": f"set:{p}", "codes": codes, "hash": f"{p}-{k}"} for k in range(rng.integers(1, 4))]
    index = index_of(*rows)
    return index, labels_of(index, "superclass")


def patients_of(index: Index, rows: np.ndarray) -> set[str]:
    names = index.column("patient")
    return {names[i] for i in rows}


def share(index: Index, labels: Labels, rows: np.ndarray, name: str) -> float:
    """The share of the patients who have the class."""
    column = labels.matrix[:, labels.names.index(name)]
    return len(patients_of(index, rows[column[rows] == 1])) / len(patients_of(index, rows))


def test_by_patient() -> None:
    index, labels = crowd()
    split = by_patient(index, (0.6, 0.2, 0.2), labels=labels, seed=3)
    check_leaks(index, split)
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(len(index)))
    for part, wanted in ((split.train, 180), (split.validation, 60), (split.test, 60)):
        assert len(patients_of(index, part)) == wanted
        assert share(index, labels, part, "HYP") == pytest.approx(0.1, abs=0.018)
        assert share(index, labels, part, "CD") == pytest.approx(0.02, abs=0.018)
    again = by_patient(index, (0.6, 0.2, 0.2), labels=labels, seed=3)
    assert np.array_equal(again.train, split.train), "same seed, same split"
    other = by_patient(index, (0.6, 0.2, 0.2), labels=labels, seed=4)
    assert not np.array_equal(other.train, split.train)


def test_few_patients_leave_no_part_empty() -> None:
    index = index_of(*({} for _ in range(6)))
    split = by_patient(index)
    assert (len(split.train), len(split.validation), len(split.test)) == (4, 1, 1)


def test_k_folds() -> None:
    index, labels = crowd()
    folds = k_folds(index, 5, labels=labels)
    assert sorted(i for f in folds for i in f.test) == list(range(len(index))), "each record is reported on once"
    for fold in folds:
        check_leaks(index, fold)
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(index)
        assert len(patients_of(index, fold.test)) == 60
        assert share(index, labels, fold.test, "HYP") == pytest.approx(0.1, abs=0.018)
    with pytest.raises(EcgError, match="3 at least"):
        k_folds(index, 2)


def test_fractions_are_nested_by_patient_and_stratified() -> None:
    index, labels = crowd(1000)
    train = by_patient(index, (0.8, 0.1, 0.1), labels=labels).train
    inner: set[int] = set()
    for f in FRACTIONS:
        rows = fraction(index, train, f, labels=labels, seed=1)
        assert inner <= set(rows.tolist()) <= set(train.tolist())
        assert not patients_of(index, rows) & patients_of(index, np.setdiff1d(train, rows)), "patients are whole"
        assert len(patients_of(index, rows)) == pytest.approx(f * 800, abs=1)
        if f >= 0.1:
            assert share(index, labels, rows, "HYP") == pytest.approx(0.1, abs=0.02)
        inner = set(rows.tolist())
    assert inner == set(train.tolist())
    assert len(fraction(index, train[:1], 0.01)) == 1, "one patient at least"


def test_copies_stay_together() -> None:
    index = index_of(
        {"patient": "a:1", "hash": "x"},
        {"patient": "b:1", "hash": "x"},  # the same signal under another name
        {"patient": "b:2", "hash": "y"},
        {"patient": "c:1", "hash": "z", "same_as": "set:2"},  # a copy of the third
        {"patient": "c:1", "hash": ""},
        {"patient": "d:1", "hash": ""},  # flat records are not the same ECG
    )
    assert [len(set(groups(index)[rows])) for rows in ([0, 1], [2, 3, 4], [0, 2, 5])] == [1, 1, 3]
    for seed in range(10):
        check_leaks(index, by_patient(index, (0.5, 0.3, 0.2), seed=seed))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"patient": "p"}, "patient p is in train .set:0. and in test .set:1."),
        ({"hash": "feedbeef"}, "the signal feedbeef"),
        ({"same_as": "set:0"}, "record set:0"),
    ],
)
def test_leaks_are_named(row: dict[str, object], words: str) -> None:
    index = index_of({"patient": "p", "hash": "feedbeef"}, {"patient": "q", "hash": "other", **row})
    with pytest.raises(EcgError, match=words):
        check_leaks(index, Split(np.array([0]), np.array([], int), np.array([1])))
    with pytest.raises(EcgError, match="is in both"):
        check_between(index.select([0]), index.select([1]))


def test_a_row_in_two_parts_or_twice_in_one() -> None:
    index = index_of({}, {})
    with pytest.raises(EcgError, match="leak"):
        check_leaks(index, Split(np.array([0, 1]), np.array([1]), np.array([], int)))
    with pytest.raises(EcgError, match="twice in train"):
        check_leaks(index, Split(np.array([0, 0]), np.array([1]), np.array([], int)))


def test_official_folds() -> None:
    index = index_of(*({"fold": f} for f in (1, 8, 9, 10, 3)))
    split = official(index)
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == ([0, 1, 4], [2], [3])
    own = official(index, train=[1, 3], validation=[8], test=[9])
    assert (own.train.tolist(), own.validation.tolist(), own.test.tolist()) == ([0, 4], [1], [2])
    with pytest.raises(EcgError, match="fold 9 is in two parts"):
        official(index, test=[9])
    with pytest.raises(EcgError, match="no official folds"):
        official(index_of({}, {}))
    with pytest.raises(EcgError, match="leak: patient p"):
        official(index_of({"fold": 1, "patient": "p"}, {"fold": 9, "patient": "p"}))


def test_each_dataset_has_its_own_folds() -> None:
    index = index_of(
        *({"dataset": d, "fold": f} for d, f in (("ptbxl", 9), ("mimic", 9), ("mimic", 18), ("mimic", 19), ("ptbxl", -1)))
    )
    split = official(index)
    assert (split.train.tolist(), split.validation.tolist(), split.test.tolist()) == ([1], [0, 2], [3])


def test_regression_is_stratified_by_fifths() -> None:
    index = index_of(*({"age": float(a)} for a in range(100)))
    split = by_patient(index, (0.5, 0.25, 0.25), labels=labels_of(index, "target", names=["age"]))
    fifths = np.bincount(split.train // 20, minlength=5)
    assert np.abs(fifths - 10).max() <= 1


def test_real_folds_do_not_leak(shared_data: Path) -> None:
    index = load(shared_data / "ptbxl")
    split = official(index, train=range(1, 8), validation=[8], test=[9])
    assert len(split.test) == (np.asarray(index.column("fold")) == 9).sum()
    check_leaks(index, split)
