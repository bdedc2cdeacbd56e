"""Every dataset reader through one contract, on a tiny tree in the official layout with planted truth; and on the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_examples import EXAMPLES, Example, ptbxl

from einthoven.data import Choice, Index, Origin, build, in_memory, labels_of, load
from einthoven.data.datasets.table import DATASETS, recognise
from einthoven.data.load import together
from einthoven.data.splits import check_between
from einthoven.record import EcgError


def test_every_reader_has_its_example() -> None:
    assert set(EXAMPLES) == set(DATASETS), "a reader without an example in data_examples.py is not tested"


def indexed(example: Example, folder: Path, jobs: int = 1) -> Index:
    row = recognise(example.path, example.choice)
    return build([Origin(example.path, row, example.choice)], folder, jobs=jobs)


@pytest.mark.parametrize("name", EXAMPLES)
def test_reader(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name](tmp_path / "set")
    assert recognise(example.path, example.choice).name == name
    index = indexed(example, tmp_path / "index")
    rows = {row["record"]: (i, row) for i, row in enumerate(index.table.to_pylist())}
    assert set(rows) == {p.record for p in example.planted}
    for planted in example.planted:
        i, row = rows[planted.record]
        assert tuple(row["leads"]) == planted.leads and row["fs"] == planted.fs
        assert np.array_equal(index.digital(i), planted.digital), "signals are what was planted, to the microvolt"
        record = index.record(i)
        assert np.array_equal(record.signal, planted.digital.astype(np.float32) / 1000)
        assert row["patient"] == planted.patient
        assert row["patient_known"] == (planted.patient != planted.record or name == "ludb")
        assert (None if np.isnan(row["age"]) else row["age"]) == planted.age and row["sex"] == planted.sex
        assert row["fold"] == planted.fold and tuple(row["codes"]) == planted.codes
        assert len(row["likelihoods"]) == len(row["codes"])
        assert (None if row["labels"] is None else tuple(row["labels"])) == planted.labels
        assert row["same_as"] == planted.same_as
        assert planted.text is None or row["text"] == planted.text
    told = [f["name"] for f in index.about["failed"]]
    assert len(told) == len(example.failed) and all(any(word in t for t in told) for word in example.failed)
    left = [f["name"] for f in index.about["absent"]]
    assert len(left) == len(example.absent) and all(any(word in t for t in left) for word in example.absent)


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_reader_takes_what_is_anothers(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name](tmp_path / "set")
    takers = [row.name for row in DATASETS.values() if row.matches(example.path)]
    assert takers == [name]


def test_ptbxl_at_both_rates(tmp_path: Path) -> None:
    example = ptbxl(tmp_path / "set")
    low, high = load(example.path), load(example.path, choice=Choice(rate=500))
    assert set(low.column("fs")) == {100.0} and set(high.column("fs")) == {500.0}
    assert np.array_equal(high.digital(0), example.planted[0].digital[:, ::-1])
    assert low.column("likelihoods")[1] == [35.0, 100.0, 0.0]
    with pytest.raises(EcgError, match="100 and at 500"):
        load(example.path, choice=Choice(rate=250))


def test_challenge_learns_ptbxl_patients_in_one_command(tmp_path: Path) -> None:
    one, other = ptbxl(tmp_path / "ptbxl"), EXAMPLES["challenge"](tmp_path / "challenge")
    paths = [other.path, one.path]
    both = in_memory(together(paths, [recognise(p) for p in paths]))
    rows = {row["record"]: row for row in both.table.to_pylist()}
    assert rows["challenge-ptbxl:HR00002"]["patient"] == rows["ptbxl:2"]["patient"] == "ptbxl:13243"
    # Even where nobody knows the patients, a copy is a copy.
    alone = load(other.path)
    with pytest.raises(EcgError, match="record ptbxl:2 is in both"):
        check_between(load(one.path), alone)


def test_nothing_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="no such file"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(EcgError, match="no dataset is recognised"):
        recognise(tmp_path)


@pytest.mark.parametrize("name", ["/etc/passwd", "../other/00001_lr", "records100/../../x"])
def test_a_table_names_nothing_outside_its_folder(name: str, tmp_path: Path) -> None:
    example = ptbxl(tmp_path / "set")
    table = example.path / "ptbxl_database.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("records100/00000/00001_lr", name), encoding="utf-8")
    with pytest.raises(EcgError, match="outside its folder"):
        load(example.path)


def test_real_ptbxl(shared_data: Path) -> None:
    import csv

    from einthoven.io import read

    index = load(shared_data / "ptbxl")
    with (shared_data / "ptbxl" / "ptbxl_database.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(index) == len(rows) and not index.about["failed"]
    labels = labels_of(index, "superclass")
    official = np.array([[float(r[f"label_{n}"]) for n in labels.names] for r in rows])
    assert np.array_equal(labels.matrix, official)
    sub = labels_of(index, "subclass")
    for row, stated in zip(rows, sub.matrix, strict=True):
        there = {n.strip("_") for n, v in zip(sub.names, stated, strict=True) if v}
        assert there == {n.strip("_") for n in row["label_subclass"].split()}
    for i in (0, 700, 1731):
        file_record = read(shared_data / "ptbxl" / (rows[i]["filename_lr"] + ".hea"))
        assert np.abs(index.record(i).signal - file_record.signal).max() < 1e-6


def test_real_challenge_copies_are_ptbxl_to_the_microvolt(shared_data: Path) -> None:
    challenge = load(shared_data / "challenge", choice=Choice(extra=str(shared_data / "ptbxl")))
    ptbxl500 = load(shared_data / "ptbxl", choice=Choice(rate=500))
    hashes = dict(zip(ptbxl500.column("record"), ptbxl500.column("hash"), strict=True))
    copies = [r for r in challenge.table.to_pylist() if r["same_as"] in hashes]
    assert copies and all(r["hash"] == hashes[r["same_as"]] for r in copies)


def test_real_ludb(shared_data: Path) -> None:
    index = load(shared_data / "ludb")
    there = len(list((shared_data / "ludb" / "data").glob("*.hea")))
    assert len(index) == there
    labels = labels_of(index, "superclass")
    assert np.isnan(labels.matrix[:, labels.names.index("NORM")]).all(), "LUDB never says normal ECG, so nobody is denied it"
