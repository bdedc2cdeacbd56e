"""The user's own folder: any format, any usual form of labels.csv; and segments as rows of a CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_examples import beat, code15, ptbxl, put

from einthoven.data import Choice, Index, labels_of, load
from einthoven.data.datasets.table import recognise
from einthoven.io import write
from einthoven.record import STANDARD_LEADS, EcgError, Patient, Record


def ward(folder: Path, labels: str, names: tuple[str, ...] = ("a.hea", "b.hea", "c.hea")) -> Path:
    for i, name in enumerate(names):
        put((folder / name).with_suffix(".hea"), beat(i))
    (folder / "labels.csv").write_text(labels, encoding="utf-8")
    return folder


def said(index: Index) -> dict[str, set[str]]:
    return {r.split(":")[1]: set(w) for r, w in zip(index.column("record"), index.column("labels"), strict=True)}


@pytest.mark.parametrize(
    "labels",
    [
        "file_name,label\na.hea,AF\nb.hea,SR\nc.hea,SR\n",
        "file_name;label\na.hea;AF\nb.hea;SR\nc.hea;SR\n",
        "file_name\tlabel\na.hea\tAF\nb.hea\tSR\nc.hea\tSR\n",
        "\ufefffile_name,label,ICD-10\r\na,AF,I48.0\r\nb,SR,\r\nc,SR,\r\n",  # ExChanGeAI's three columns, as Excel saves them
        "Filename,Label\n a.hea , AF \n./b.hea,SR\nc.dat,SR\n\n",
    ],
)
def test_forms_of_a_single_label(tmp_path: Path, labels: str) -> None:
    index = load(ward(tmp_path / "ward", labels))
    assert said(index) == {"a.hea": {"AF"}, "b.hea": {"SR"}, "c.hea": {"SR"}} and not index.about["failed"]
    assert labels_of(index, "own").task == "single"


@pytest.mark.parametrize(
    "labels",
    [
        "file_name,label,label2\na.hea,AF,old\nb.hea,SR,\nc.hea,,\n",
        "file_name,label\na.hea,AF\na.hea,old\nb.hea,SR\nc.hea,\n",
        "file_name,labels\na.hea,AF|old\nb.hea,SR\nc.hea,\n",
        'file_name,label\na.hea,"AF;old"\nb.hea,SR\nc.hea,\n',
    ],
)
def test_forms_of_several_labels(tmp_path: Path, labels: str) -> None:
    index = load(ward(tmp_path / "ward", labels))
    assert said(index) == {"a.hea": {"AF", "old"}, "b.hea": {"SR"}, "c.hea": set()}
    assert labels_of(index, "own").task == "multilabel"


def test_any_format_in_subfolders(tmp_path: Path) -> None:
    folder = tmp_path / "ward"
    record = Record((beat(1) / 1000).astype(np.float32), 500.0, STANDARD_LEADS, resolution_uv=(1.0,) * 12)
    (folder / "x").mkdir(parents=True)
    for name in ("x/one.dcm", "two.xml", "x/three.edf", "four.csv", "five.npz"):
        write(record, folder / name, "aecg" if name.endswith("xml") else None)
    (folder / "labels.csv").write_text(
        "file_name,label\none,A\ntwo.xml,B\nthree,A\nfour.csv,B\nx/../five.npz,A\n", encoding="utf-8"
    )
    index = load(folder)
    assert {r.split(":")[1] for r in index.column("record")} == {"x/one.dcm", "two.xml", "x/three.edf", "four.csv"}
    assert all(np.abs(index.digital(i)[:, :200].astype(int) - beat(1)).max() <= 1 for i in range(len(index)))
    assert [f["name"] for f in index.about["failed"]] == ["x/../five.npz"], "a path that leaves the folder is no file of it"


def test_the_files_own_patient_keeps_ecgs_together_and_is_not_named(tmp_path: Path) -> None:
    folder = tmp_path / "ward"
    folder.mkdir()
    for i, who in enumerate(("Smith-77", "Smith-77", "Jones-3", "ANONYMOUS", None)):
        record = Record((beat(i) / 1000).astype(np.float32), 500.0, STANDARD_LEADS, patient=Patient(id=who))
        write(record, folder / f"{i}.dcm")
    (folder / "labels.csv").write_text("file_name,label\n" + "".join(f"{i}.dcm,{i % 2}\n" for i in range(5)), encoding="utf-8")
    index = load(folder)
    patients = index.column("patient")
    assert patients[0] == patients[1] != patients[2] and patients[3:] == ["ward:3.dcm", "ward:4.dcm"]
    assert index.column("patient_known").tolist() == [True, True, True, False, False]
    assert "Smith" not in repr(index.table.to_pylist())


def test_icd10_patient_age_sex_fold(tmp_path: Path) -> None:
    text = (
        "file_name,label,ICD-10,patient_id,age,sex,fold\na.hea,x,I21.0|I45.1,7,61,F,2\nb.hea,y,,7,,m,\nc.hea,y,i44.7,8,200,,9\n"
    )
    index = load(ward(tmp_path / "ward", text))
    assert index.column("codes") == [["icd10:I21.0", "icd10:I45.1"], [], ["icd10:I44.7"]]
    assert index.column("patient") == ["ward:7", "ward:7", "ward:8"]
    assert index.column("sex") == ["female", "male", None] and index.column("fold").tolist() == [2, -1, 9]
    ages = index.column("age")
    assert ages[0] == 61 and np.isnan(ages[1:]).all(), "an age of 200 is none"
    labels = labels_of(index, "superclass")
    assert [n for n, v in zip(labels.names, labels.matrix[0], strict=True) if v == 1] == ["MI", "CD"]


def test_targets(tmp_path: Path) -> None:
    text = "file_name,lvef,QTc (ms)\na.hea,55,412\nb.hea,,398.5\nc.hea,30,\n"
    folder = ward(tmp_path / "ward", text)
    index = load(folder, folder / "labels.csv", choice=Choice(targets=("lvef", "QTc (ms)")))
    labels = labels_of(index, "target")
    assert labels.names == ("lvef", "QTc (ms)") and labels.matrix[0].tolist() == [55, 412]
    assert np.isnan(labels.matrix[1, 0]) and np.isnan(labels.matrix[2, 1])
    bad = ward(tmp_path / "bad", "file_name,lvef\na.hea,high\n")
    with pytest.raises(EcgError, match=r"labels.csv: line 2: lvef is no number: 'high'"):
        load(bad, bad / "labels.csv", choice=Choice(targets=("lvef",)))


def test_what_does_not_fit_together_is_named(tmp_path: Path) -> None:
    folder = ward(
        tmp_path / "ward", "file_name,label\na.hea,x\ngone.hea,x\nb,y\n", ("a.hea", "one/b.hea", "two/b.hea", "rest.hea")
    )
    index = load(folder)
    assert index.column("record") == ["ward:a.hea"]
    failed = {f["name"]: f["why"] for f in index.about["failed"]}
    assert "no such ECG" in failed["gone.hea"] and "several files fit" in failed["b"]
    assert {Path(f["name"]).name for f in index.about["absent"]} == {"b.hea", "rest.hea"}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("name of file,label\na,b\n", "no column file_name"),
        ("file_name,finding\na,b\n", "no column label"),
        ("file_name,label\n,b\n", "line 2: no file name"),
        ("file_name,label,patient\na.hea,x,1\na.hea,y,2\n", "belongs to two patients"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, labels: str, words: str) -> None:
    folder = ward(tmp_path / "ward", labels)
    with pytest.raises(EcgError, match=words):
        load(folder, folder / "labels.csv")


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\0", b'"never closed', b"\xff\xfe\x00", b"file_name,label\n" + b"\0" * 50, b"a," * 9000]
)
def test_broken_tables_are_one_clear_error(tmp_path: Path, content: bytes) -> None:
    folder = ward(tmp_path / "ward", "")
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(EcgError):
        load(folder)
    with pytest.raises(EcgError):
        load(folder, folder / "labels.csv")
    with pytest.raises(EcgError):
        load(folder / "labels.csv", choice=Choice(fs=100.0))


def test_labels_beside_or_elsewhere(tmp_path: Path) -> None:
    folder = ward(tmp_path / "ward", "")
    other = tmp_path / "mine.csv"
    other.write_text("file_name,label\na.hea,x\nb.hea,y\n", encoding="utf-8")
    assert len(load(folder, other)) == 2
    (folder / "by_me.csv").write_text("file_name,label\na.hea,x\n", encoding="utf-8")
    assert len(load(folder, "by_me.csv")) == 1
    with pytest.raises(EcgError, match="no such CSV"):
        load(folder, "nowhere.csv")


def test_a_public_set_under_own_labels_keeps_patients_and_folds(tmp_path: Path) -> None:
    place = ptbxl(tmp_path / "set").path
    mine = tmp_path / "mine.csv"
    mine.write_text("file_name,label,lvef\n1,STEMI,40\n00003_lr,no,60\n99,no,50\n", encoding="utf-8")
    choice = Choice(targets=("lvef",))
    direct = load(place, mine, choice=choice)
    kept = load(place, folder=tmp_path / "kept")
    later = load(tmp_path / "kept", mine, choice=choice)
    for index in (direct, later):
        assert index.column("record") == ["ptbxl:1", "ptbxl:3"] and index.column("labels") == [["STEMI"], ["no"]]
        assert index.column("patient") == ["ptbxl:15709"] * 2 and index.column("fold").tolist() == [3, 10]
        assert labels_of(index, "target").matrix[:, 0].tolist() == [40, 60]
        assert [f["name"] for f in index.about["failed"]] == ["99"]
        assert np.array_equal(index.digital(1), kept.digital(2))
        assert "scp:NORM" in index.column("codes")[0]
    mine.write_text("file_name,label\nx,a\n", encoding="utf-8")
    with pytest.raises(EcgError, match="names no record of the index"):
        load(tmp_path / "kept", mine)


def test_exams_in_array_files_are_labelled_by_their_names(tmp_path: Path) -> None:
    place = code15(tmp_path / "set").path
    (tmp_path / "mine.csv").write_text("record,label\n71,a\n72,b\n", encoding="utf-8")
    index = load(place, tmp_path / "mine.csv")
    assert index.column("record") == ["code15:71", "code15:72"] and index.column("labels") == [["a"], ["b"]]
    assert index.column("samples").tolist() == [4000, 2800]


def test_a_kept_index_knows_when_its_labels_changed(tmp_path: Path) -> None:
    folder = ward(tmp_path / "ward", "file_name,label\na,x\nb,y\n")
    load(folder, folder=tmp_path / "kept")
    (folder / "labels.csv").write_text("file_name,label\na,y\nb,x\n", encoding="utf-8")
    with pytest.raises(EcgError, match="of other labels"):
        load(folder, folder=tmp_path / "kept")


def test_segments_need_their_rate(tmp_path: Path) -> None:
    path = tmp_path / "df_segment2.csv"
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.3, (20, 600)).round(3)
    path.write_text("\n".join(",".join([*map(str, v), str(i % 2)]) for i, v in enumerate(values)) + "\n", encoding="utf-8")
    assert recognise(path).name == "segments"
    with pytest.raises(EcgError, match="sampling rate of segments"):
        load(path)
    index = load(path, choice=Choice(fs=125.0))
    assert len(index) == 20 and set(index.column("fs")) == {125.0} and set(index.column("samples")) == {600}
    assert np.abs(index.record(7).signal[0] - values[7]).max() < 1e-6
    assert "unit not given: taken as mV" in index.column("warnings")[0]
    labels = labels_of(index, "own")
    assert labels.matrix[:, 0].tolist() == [float(i % 2) for i in range(20)] and labels.task == "multilabel"
    micro = load(path, choice=Choice(fs=125.0, unit="uV"))
    assert np.abs(micro.record(7).signal).max() < 0.01


def test_segments_with_patients_and_faults(tmp_path: Path) -> None:
    path = tmp_path / "segments.csv"
    head = ",".join(["person", *(f"s{i}" for i in range(60)), "label"])
    rows = [["7", *["0.1"] * 30, *["0.2"] * 30, "1"], ["8", *["x"] * 60, "0"], ["9", "0.1", "1"]]
    path.write_text("\n".join([head, *(",".join(r) for r in rows)]) + "\n", encoding="utf-8")
    index = load(path, choice=Choice(fs=100.0, patient="person"))
    assert index.column("patient") == ["segments:7"] and index.column("samples").tolist() == [60]
    assert len(index.about["failed"]) == 2
