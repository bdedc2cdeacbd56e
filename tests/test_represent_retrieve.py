"""Nearest ECGs: the ones that are alike, never the patient's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from einthoven.data import Index
from einthoven.data.datasets.table import by_name
from einthoven.data.index import Origin, build
from einthoven.io import write
from einthoven.record import EcgError, Record
from einthoven.represent.retrieve import Shelf, in_words, measured, with_neighbours
from einthoven.synth import simulate

# Two hearts that beat slowly, two fast ones, two with LBBB; the last is the first patient's and a copy of his signal.
SET = (
    ("sinus_rhythm", 52, 1), ("sinus_rhythm", 55, 1), ("sinus_rhythm", 118, 3), ("sinus_rhythm", 121, 3), ("lbbb", 75, 5),
    ("lbbb", 78, 5), ("sinus_rhythm", 52, 1),
)  # fmt: skip


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    import csv

    folder = tmp_path_factory.mktemp("ptbxl")
    (folder / "records100").mkdir()
    with (folder / "ptbxl_database.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow("ecg_id patient_id age sex report scp_codes strat_fold filename_lr filename_hr".split())
        for i, (label, rate, seed) in enumerate(SET, 1):
            write(simulate(label, rate=rate, seed=seed, fs=100).record, folder / f"records100/{i}.hea", "wfdb")
            code = "{'CLBBB': 100.0}" if label == "lbbb" else "{'SR': 0.0}"
            text = "" if i == 4 else f"report  {i}"
            out.writerow([i, f"{1 if i == 7 else i}.0", 60, 0, text, code, i, f"records100/{i}", ""])
    return build([Origin(folder, by_name("ptbxl"))], folder / "index")


@pytest.fixture(scope="module")
def shelf(index: Index) -> Shelf:
    return Shelf.of(index)


def test_the_most_alike_are_found_and_never_oneself(index: Index, shelf: Shelf) -> None:
    assert len(shelf) == 7
    for row, other in ((0, "ptbxl:2"), (2, "ptbxl:4"), (4, "ptbxl:6"), (5, "ptbxl:5")):
        hits = shelf.nearest(index.record(row), k=2)
        assert hits[0].record == other and 0 < hits[0].distance < hits[1].distance
    assert {h.record for h in shelf.nearest(index.record(0), k=7)} == {f"ptbxl:{i}" for i in (2, 3, 4, 5, 6)}
    by_row = shelf.nearest_of_row(0, measured(index.record(0)), k=7)
    assert [h.record for h in by_row] == [h.record for h in shelf.nearest(index.record(0), k=7)]


def test_a_signal_without_a_patient_is_known_again(index: Index, shelf: Shelf) -> None:
    named = index.record(0)
    stranger = Record(named.signal, named.fs, named.leads)
    assert {h.record for h in shelf.nearest(stranger, k=7)} == {f"ptbxl:{i}" for i in (2, 3, 4, 5, 6)}
    assert "ptbxl:2" not in {h.record for h in shelf.nearest(stranger, k=7, patient="ptbxl:2")}


def test_a_models_embedding(index: Index) -> None:
    matrix = np.array([[0, 0], [1, 0], [5, 5], [6, 5], [0, 9], [np.nan, 9], [0, 0]], np.float32)
    own = Shelf.of(index, matrix=matrix)
    assert [h.record for h in own.nearest(np.array([5.2, 5], np.float32), k=2)] == ["ptbxl:3", "ptbxl:4"]
    with pytest.raises(EcgError, match="no way to embed"):
        own.nearest(index.record(0))
    with pytest.raises(EcgError, match="features asked for"):
        own.nearest(np.zeros(3, np.float32))
    with pytest.raises(EcgError, match="at least one"):
        own.nearest(np.zeros(2, np.float32), k=0)
    with pytest.raises(EcgError, match="for 7 records"):
        Shelf.of(index, matrix=matrix[:3])
    with pytest.raises(EcgError, match="no record has a feature"):
        Shelf.of(index, [0, 1], matrix=np.full((2, 2), np.nan))


def test_only_the_shelf_is_searched(index: Index) -> None:
    some = Shelf.of(index, [2, 3], embed=measured)
    assert {h.record for h in some.nearest(index.record(0), k=5)} == {"ptbxl:3", "ptbxl:4"}


def test_words_for_a_prompt(index: Index, shelf: Shelf) -> None:
    hits = shelf.nearest(index.record(2), k=2)
    told = in_words(hits)
    assert told.splitlines()[1] == "1. sinus rhythm" and told.splitlines()[2].startswith("2. report ")
    assert in_words(shelf.nearest(index.record(4), k=1), content="statements").endswith("1. Complete left bundle branch block")
    assert with_neighbours("What is it?", hits).endswith("\n\nWhat is it?") and with_neighbours("Q", []) == "Q"
    with pytest.raises(EcgError, match="no content"):
        in_words(hits, content="pictures")


def test_the_docs_path_is_public(tmp_path: Path) -> None:
    assert measured(simulate(seed=1, fs=100).record).ndim == 1
