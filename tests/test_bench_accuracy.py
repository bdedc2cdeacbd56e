"""The arithmetic of bench/accuracy.py against counts done by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PATH = Path(__file__).resolve().parent.parent / "bench" / "accuracy.py"


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accuracy", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["accuracy"] = module
    spec.loader.exec_module(module)
    return module


def test_counts_and_rates(accuracy: ModuleType) -> None:
    def row(patient: str, found: str, label: bool, exact: bool = True) -> object:
        return accuracy.Labelled(
            patient, patient, {"pvc": found} if found else {}, frozenset(["PVC"] if label else []), 1, exact
        )

    rows = [
        row("a", "definite", True),
        row("a", "possible", True),
        row("b", "cannot be determined", True),  # counts as not made
        row("c", "probable", False),
        row("d", "", False),
        row("e", "definite", False, exact=False),  # the label does not hold for this row
    ]
    target = accuracy.Target("PVC", ("PVC",), ("pvc",), "exact")
    counts = accuracy.counts(rows, target)
    assert counts.sum(0).tolist() == [2, 1, 1, 1]
    assert accuracy.rates(counts.sum(0)) == pytest.approx([2 / 3, 1 / 2, 2 / 3, 2 / 3])


def test_intervals_draw_patients_not_records(accuracy: ModuleType) -> None:
    """Fifty records of one patient are one piece of evidence: with two patients the sensitivity is 0, 0.5 or 1."""
    right = [accuracy.Labelled("x", "one", {"pvc": "definite"}, frozenset(["PVC"])) for _ in range(50)]
    wrong = [accuracy.Labelled("y", "two", {}, frozenset(["PVC"])) for _ in range(50)]
    rows = right + wrong
    low, high = accuracy.intervals(rows, accuracy.counts(rows, accuracy.Target("PVC", ("PVC",), ("pvc",))))
    assert low[0] == 0 and high[0] == 1


def test_measured_rows_give_the_findings_of_the_record(accuracy: ModuleType, shared_data: Path) -> None:
    """What is kept of a record is all that the rules look at."""
    from einthoven.interpretation import interpret

    path = shared_data / "ptbxl" / "records100" / "00000" / "00001_lr.hea"
    row = accuracy.measured(str(path))
    report = interpret(path)
    kept = {f.name: f.confidence for f in accuracy.findings_of(row)}
    assert kept == {f.name: f.confidence for f in report.findings}
    assert np.isfinite(row["ms"])
