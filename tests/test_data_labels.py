"""Labels: levels and vocabularies against PTB-XL's own table and planted codes."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from einthoven.data import Index, Labels, icd, labels_of, snomed
from einthoven.data.index import COLUMNS
from einthoven.data.labels import AHA, DIAGNOSTIC, FORM, RHYTHM, SUPERCLASSES, classes, exchangeai, meanings, placed, translate
from einthoven.record import EcgError
from einthoven.statements import BY_SCP, STATEMENTS

ROW = {
    "patient_known": True, "path": "", "same_as": None, "age": math.nan, "sex": None, "fold": -1, "device": None, "site": None,
    "fs": 100.0, "leads": ["I"], "samples": 1, "offset": 0, "codes_from": None, "labels": None, "text": None, "hash": "",
    "clipped": 0, "warnings": [],
}  # fmt: skip


def index_of(*rows: dict[str, object], **columns: list[float]) -> Index:
    """An index in memory of records that have only what matters here."""
    import pyarrow as pa

    from einthoven.data.index import _arrow

    lines = []
    for i, row in enumerate(rows):
        line = {**ROW, "record": f"set:{i}", "patient": f"set:{i}", "dataset": "ptbxl", "codes": [], **row}
        line.setdefault("likelihoods", [math.nan] * len(line["codes"]))  # type: ignore[arg-type]
        lines.append(line)
    schema = pa.schema([(n, _arrow(t)) for n, t in COLUMNS.items()])
    made = pa.Table.from_pylist(lines, schema)
    for name, values in columns.items():
        made = made.append_column(f"target:{name}", pa.array(values, pa.float64()))
    return Index(made, np.zeros(1, np.int16))


def stated(labels: Labels, row: int) -> set[str]:
    return {n for n, v in zip(labels.names, labels.matrix[row], strict=True) if v == 1}


def unknown(labels: Labels, row: int) -> set[str]:
    return {n for n, v in zip(labels.names, labels.matrix[row], strict=True) if np.isnan(v)}


def test_the_hierarchy_is_ptbxls(shared_data: Path) -> None:
    with (shared_data / "ptbxl" / "scp_statements.csv").open(encoding="utf-8") as file:
        rows = {r[""]: r for r in csv.DictReader(file)}
    for kind, ours in (("diagnostic", DIAGNOSTIC), ("form", FORM), ("rhythm", RHYTHM)):
        assert set(ours) == {code for code, r in rows.items() if r[kind]} and len(ours) == len(set(ours))
    for code in DIAGNOSTIC:
        statement = STATEMENTS[BY_SCP[code]]
        assert (statement.superclass, statement.subclass) == (rows[code]["diagnostic_class"], rows[code]["diagnostic_subclass"])
    assert {(r["AHA code"], code) for code, r in rows.items() if r["AHA code"]} == set(AHA.items())
    assert len(classes("superclass")) == 5 and len(classes("subclass")) == 23
    assert (len(DIAGNOSTIC), len(FORM), len(RHYTHM), len(classes("statement"))) == (44, 19, 12, 71)


def test_ptbxl_states_everything() -> None:
    index = index_of({"codes": ["scp:IMI", "scp:LAFB", "scp:AFIB", "scp:NDT"]}, {"codes": ["scp:NORM", "scp:SR"]})
    superclass = labels_of(index, "superclass")
    assert superclass.names == tuple(SUPERCLASSES) and superclass.task == "multilabel"
    assert stated(superclass, 0) == {"MI", "CD", "STTC"} and stated(superclass, 1) == {"NORM"}
    assert not np.isnan(superclass.matrix).any()
    assert stated(labels_of(index, "subclass"), 0) == {"IMI", "LAFB/LPFB", "STTC"}
    assert stated(labels_of(index, "diagnostic"), 0) == {"IMI", "LAFB", "NDT"}
    assert stated(labels_of(index, "form"), 0) == {"NDT"} and stated(labels_of(index, "rhythm"), 0) == {"AFIB"}
    assert stated(labels_of(index, "statement"), 0) == {"IMI", "LAFB", "AFIB", "NDT"}


def test_likelihoods() -> None:
    index = index_of(
        {"codes": ["scp:IMI", "scp:LAFB", "scp:SR"], "likelihoods": [35.0, 100.0, 0.0]},
        {"codes": ["scp:NORM", "scp:SR"], "likelihoods": [math.nan, math.nan]},  # likelihoods unknown
        {"codes": ["scp:IMI", "scp:ASMI"], "likelihoods": [15.0, 80.0]},
    )
    assert stated(labels_of(index, "superclass"), 0) == {"MI", "CD"}, "0 counts all, as PTB-XL's benchmark does"
    strict = labels_of(index, "superclass", min_likelihood=50)
    assert stated(strict, 0) == {"CD"} and unknown(strict, 0) == {"MI"}, "unsure is not denied"
    assert unknown(strict, 1) == {"NORM"}
    assert stated(strict, 2) == {"MI"} and unknown(strict, 2) == set()
    assert stated(labels_of(index, "rhythm", min_likelihood=50), 0) == {"SR"}, "rhythms have no likelihoods"


def test_reconstructed_rows_are_known_down_to_their_subclass() -> None:
    index = index_of(
        {"codes": ["scp:ASMI", "scp:CRBBB", "scp:SR"], "codes_from": "reconstructed from subclass, form and rhythm"}
    )
    assert stated(labels_of(index, "subclass"), 0) == {"AMI", "CRBBB"}
    labels = labels_of(index, "diagnostic")
    assert stated(labels, 0) == {"CRBBB"}
    assert unknown(labels, 0) == {"ASMI", "AMI", "ALMI", "INJAS", "INJAL", "INJLA"}


def test_snomed() -> None:
    index = index_of(
        {"dataset": "georgia", "codes": ["snomed:59118001", "snomed:164865005"]},  # RBBB, MI
        {"dataset": "georgia", "codes": ["snomed:713427006", "snomed:164934002"]},  # CRBBB, T abnormal
        {"dataset": "georgia", "codes": ["snomed:426783006"]},  # sinus rhythm and nothing else
        {"dataset": "georgia", "codes": ["snomed:426783006", "snomed:111975006"]},  # long QT
        {"dataset": "georgia", "codes": []},
    )
    labels = labels_of(index, "superclass")
    assert [stated(labels, i) for i in range(5)] == [{"CD", "MI"}, {"CD", "STTC"}, {"NORM"}, {"STTC"}, set()]
    assert unknown(labels, 0) == {"HYP"}, "a set that never says HYP has not denied it"
    assert unknown(labels, 4) == set(labels.names)
    assert labels.known.tolist() == [0, 1, 2, 3]
    subclass = labels_of(index, "subclass")
    assert "CRBBB" in stated(subclass, 0) and "CRBBB" in stated(subclass, 1), "the Challenge scores the two codes as one"
    assert {"IMI", "AMI", "LMI", "PMI"} <= unknown(subclass, 0), "an infarct of nobody knows where"


def test_every_code_of_the_maps_has_a_place() -> None:
    supers, subs = set(SUPERCLASSES), set(classes("subclass"))
    for source in (icd.PREFIXES, snomed.PLACES):
        for superclass, subclass, scp in source.values():
            assert superclass in supers | {""} and subclass in subs | {"", "?"} and scp in set(classes("statement")) | {"", "?"}
            if scp in DIAGNOSTIC:
                statement = STATEMENTS[BY_SCP[scp]]
                assert (statement.superclass, statement.subclass) == (superclass, subclass)
    assert all(meanings(f"snomed:{code}") for code in snomed.SAME.values())


def test_codes_that_mean_nothing_are_shown() -> None:
    from einthoven.data.show import summary

    index = index_of({"codes": ["scp:IMI", "scp:NEW"]}, {"codes": ["snomed:53741008", "icd10:R41.82", "snomed:6374002"]})
    assert not placed("scp:NEW") and placed("snomed:6374002") and placed("icd10:I44.7")
    (told,) = (w for w in summary(index)["warnings"] if "codes mean nothing" in w)
    assert told.startswith("2 codes") and "scp:NEW (1)" in told and "snomed:53741008 (1)" in told


def test_icd10() -> None:
    assert icd.place("I21.09") == icd.place("I2109") == ("MI", "AMI", "?")
    assert icd.place("I45.10") == ("CD", "CRBBB", "CRBBB") and icd.place("R41.82") is None
    index = index_of(
        {"dataset": "mimic", "codes": ["statement:sinus_rhythm", "icd10:I2109"]},
        {"dataset": "mimic", "codes": ["statement:lvh", "icd10:I447"]},
        {"dataset": "mimic", "codes": ["icd10:R4182"]},
    )
    both = labels_of(index, "superclass")
    assert stated(both, 0) == {"MI"} and stated(both, 1) == {"HYP", "CD"}
    only = labels_of(index, "superclass", vocabulary="icd10")
    assert stated(only, 1) == {"CD"} and stated(only, 2) == set()


@pytest.mark.parametrize(
    ("code", "vocabulary", "same"),
    [
        ("scp:CLBBB", "snomed", ("snomed:733534002", "snomed:164909002")),
        ("scp:CLBBB", "icd10", ("icd10:I44.7",)),
        ("icd10:I45.10", "scp", ("scp:CRBBB",)),
        ("icd10:I44.0", "snomed", ("snomed:270492004",)),
        ("snomed:164889003", "scp", ("scp:AFIB",)),
        ("snomed:17338001", "scp", ("scp:PVC",)),
        ("aha:104", "statement", ("statement:clbbb",)),
        ("scp:IMI", "snomed", ()),  # SNOMED CT's infarction has no place
        ("snomed:164865005", "scp", ()),
        ("icd10:I21.1", "scp", ()),  # inferior, but which of five statements?
        ("icd10:R41.82", "scp", ()),
    ],
)
def test_translate(code: str, vocabulary: str, same: tuple[str, ...]) -> None:
    assert translate(code, vocabulary) == same


def test_scp_to_snomed_and_back() -> None:
    for scp in classes("statement"):
        for code in translate(f"scp:{scp}", "snomed") + translate(f"scp:{scp}", "icd10"):
            assert translate(code, "scp") == (f"scp:{scp}",), code


def test_exchangeai_tasks() -> None:
    index = index_of(
        {"codes": ["scp:ASMI", "scp:SR"]},
        {"codes": ["scp:IMI", "scp:IRBBB"]},  # two superclasses: not a single label
        {"codes": ["scp:NORM"]},
        {"dataset": "mimic", "codes": ["statement:lvh", "icd10:I21.1"]},
        {"dataset": "mimic", "codes": ["icd10:I45.1"]},
        {"dataset": "georgia", "codes": ["snomed:164909002"]},
    )
    labels = exchangeai(index, "superclass")
    assert labels.task == "single" and labels.names == ("MI", "STTC", "CD", "HYP")
    assert [stated(labels, i) for i in range(6)] == [{"MI"}, set(), set(), {"MI"}, set(), {"CD"}]
    assert np.isnan(labels.matrix[[1, 2, 4]]).all(), "I45.1 is not in the paper's CD"
    assert [stated(exchangeai(index, "infarct"), i) for i in (0, 1, 3)] == [{"AMI"}, {"IMI"}, {"IMI"}]
    assert [stated(exchangeai(index, "bundle"), i) for i in (1, 4, 5)] == [{"RBBB"}, {"RBBB"}, {"LBBB"}]


def test_own_labels_single_and_multi() -> None:
    single = labels_of(index_of({"labels": ["a"]}, {"labels": ["b"]}, {"labels": None}), "own")
    assert single.task == "single" and single.names == ("a", "b")
    assert single.matrix[:2].tolist() == [[1, 0], [0, 1]] and np.isnan(single.matrix[2]).all()
    multi = labels_of(index_of({"labels": ["a", "b"]}, {"labels": []}), "own")
    assert multi.task == "multilabel" and multi.matrix.tolist() == [[1, 1], [0, 0]]
    forced = labels_of(index_of({"labels": ["a", "b"]}, {"labels": ["b"]}), "own", task="single")
    assert np.isnan(forced.matrix[0]).all() and forced.matrix[1].tolist() == [0, 1]
    binary = labels_of(index_of({"labels": ["1"]}, {"labels": []}), "own")
    assert binary.task == "multilabel" and binary.matrix.tolist() == [[1], [0]]


def test_targets() -> None:
    index = index_of({"age": 60.0}, {"age": 30.0}, lvef=[45.0, math.nan])
    labels = labels_of(index, "target", names=["lvef", "age"])
    assert labels.task == "regression" and labels.matrix[0].tolist() == [45, 60] and np.isnan(labels.matrix[1, 0])
    assert labels.positives.tolist() == [1, 2] and index.targets == ("lvef",)


def test_few_positives_and_choice_of_names() -> None:
    index = index_of({"codes": ["scp:IMI"]}, {"codes": ["scp:IMI", "scp:LVH"]})
    assert labels_of(index, "superclass", min_positives=2).names == ("MI",)
    assert labels_of(index, "superclass", names=["HYP", "MI"]).matrix.tolist() == [[0, 1], [1, 1]]
    assert labels_of(index, "superclass").only(["HYP"]).names == ("HYP",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "klass"}, "no level"),
        ({"level": "own"}, "no record has a label of its own"),
        ({"level": "target"}, "no target"),
        ({"level": "superclass", "names": ["STEMI"]}, "no superclass STEMI"),
        ({"level": "superclass", "min_positives": 9}, "no superclass has 9"),
        ({"level": "superclass", "task": "regression"}, "a regression needs"),
        ({"level": "superclass", "vocabulary": "icd10"}, "no record has a code"),
    ],
)
def test_wrong_use_is_told(options: dict[str, object], words: str) -> None:
    with pytest.raises(EcgError, match=words):
        labels_of(index_of({"codes": ["scp:IMI"]}), **options)  # type: ignore[arg-type]
