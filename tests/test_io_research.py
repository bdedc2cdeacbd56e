"""Research formats against their oracles (pyedflib, scipy), and read(write(x)) = x to the storage's resolution."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from io_examples import EXAMPLES, micro, truth

from einthoven.io import FORMATS, anonymize, find_inputs, lead_name, read, read_all, write
from einthoven.record import STANDARD_LEADS, EcgError, Patient, Record

WRITERS = {name: row for name, row in FORMATS.items() if row.write and name in ("wfdb", "edf", "csv", "npz", "parquet")}


@st.composite
def ecgs(draw: st.DrawFn) -> Record:
    """Any set of leads (limb leads in full or not at all, so that nothing is derived), rate, length, resolution, gaps."""
    chest = draw(st.lists(st.sampled_from(STANDARD_LEADS[6:]), unique=True, min_size=1))
    leads = (STANDARD_LEADS[:6] if draw(st.booleans()) else ()) + tuple(n for n in STANDARD_LEADS if n in chest)
    samples = draw(st.integers(20, 700))
    step = draw(st.sampled_from([1.0, 2.5, 4.88, 5.0, 0.5, 1000 / 1716]))
    digital = draw(nps.arrays(np.int16, (len(leads), samples), elements=st.integers(-6000, 6000)))
    signal = (digital * (step / 1000)).astype(np.float32)
    if draw(st.booleans()):
        signal[draw(st.integers(0, len(leads) - 1)), draw(st.integers(0, samples - 1)) :] = np.nan
    words = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="<>#:,\"'"), min_size=2, max_size=12)
    return Record(
        signal=signal,
        fs=draw(st.sampled_from([100.0, 128.0, 250.0, 257.0, 360.0, 500.0, 512.0, 977.0, 1000.0, 62.5])),
        leads=leads,
        start=draw(
            st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)).map(lambda t: t.replace(microsecond=0))
        ),
        patient=Patient(
            age=draw(st.none() | st.integers(0, 120).map(float)), sex=draw(st.sampled_from([None, "male", "female"]))
        ),
        statements=tuple("a " + w for w in draw(st.lists(words, max_size=3))),
        resolution_uv=(step,) * len(leads),
    )


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(record=ecgs())
def test_what_is_written_is_read_back(name: str, record: Record, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("back")
    files = write(record, folder / f"back{FORMATS[name].extensions[0]}")
    assert all(f.is_file() for f in files) and len(list(folder.iterdir())) == len(files)
    again = read(files[0])
    assert again.leads == record.leads and again.derived == ()
    assert again.fs == pytest.approx(record.fs, rel=1e-7 if name == "edf" else 1e-12)
    assert np.array_equal(np.isnan(again.signal), np.isnan(record.signal))
    assert record.resolution_uv is not None and again.resolution_uv is not None
    half = np.array([max(r, 0.0) / 2000 for r in record.resolution_uv])[:, None]
    allowed = 1e-6 + (1.01 * half if name == "edf" else 0)
    assert np.nanmax(np.abs(again.signal - record.signal) - allowed, initial=0) <= 0
    assert again.start == record.start
    assert (again.patient.age, again.patient.sex) == (record.patient.age, record.patient.sex)
    assert again.statements == record.statements


def test_edf_equals_pyedflib(tmp_path: Path, shared_data: Path) -> None:
    import pyedflib

    for path in (EXAMPLES["edf"][0](tmp_path), EXAMPLES["edf"][1](tmp_path)):
        ours, theirs = read(path), pyedflib.EdfReader(str(path))
        labels = theirs.getSignalLabels()
        for i, label in enumerate(labels):
            name, _ = lead_name(label)
            if name in ours.leads:
                values = (theirs.readSignal(i) * 1e-3).astype(np.float32)
                assert np.array_equal(values, ours.lead(name))
        assert theirs.getStartdatetime() == ours.start
        theirs.close()
    record = read(shared_data / "formats/wfdb/test_generator_2.edf")
    wfdb = read(shared_data / "formats/wfdb/test_generator_2.hea")
    assert record.leads == wfdb.leads == ("ECG",)
    assert np.abs(record.signal - wfdb.signal).max() < 2e-4


def test_pauses_of_a_discontinuous_edf_are_gaps(tmp_path: Path) -> None:
    path = EXAMPLES["edf"][0](tmp_path)
    whole = read(path)
    data = path.read_bytes().replace(b"EDF+C", b"EDF+D")
    data = data.replace(b"+2\x14\x14", b"+7\x14\x14").replace(b"+3\x14\x14", b"+8\x14\x14")
    path.write_bytes(data)
    gap = read(path)
    fs = int(whole.fs)
    assert gap.signal.shape[1] == 9 * fs and np.isnan(gap.signal[:, 2 * fs : 7 * fs]).all()
    assert np.array_equal(gap.signal[:, 7 * fs :], whole.signal[:, 2 * fs :])
    assert any("pauses" in w for w in gap.warnings)


def test_matlab_equals_scipy(tmp_path: Path) -> None:
    import scipy.io

    for make in EXAMPLES["mat"]:
        path = make(tmp_path)
        held = scipy.io.loadmat(path, squeeze_me=True)
        theirs = np.asarray(held["ecg"]["data"].item() if "ecg" in held else held["val"], float)
        theirs = theirs if theirs.shape[0] == 12 else theirs.T
        assert np.array_equal(read(path).signal, (theirs * 1e-3).astype(np.float32))


def test_several_ecgs_in_one_file(tmp_path: Path) -> None:
    path = EXAMPLES["hdf5"][1](tmp_path)
    found = list(read_all(path))
    assert len(found) == 2 and np.array_equal(found[1].signal, truth(seed=1).signal)
    assert np.array_equal(read(path).signal, found[0].signal)


def test_npz_with_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", signal=np.array([{"a": 1}], object), fs=250)
    with pytest.raises(EcgError, match="Python objects"):
        read(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("text", "fs", "leads"),
    [
        ("I,II\n" + "\n".join(f"{i % 7},{i % 5}" for i in range(40)), None, ("I", "II")),
        ("time,I,II\n" + "\n".join(f"{i / 200},{i % 7},{i % 5}" for i in range(40)), 200, ("I", "II")),
        ("time (ms)\tI\tII\n" + "\n".join(f"{i * 2}\t{i % 7}\t{i % 5}" for i in range(40)), 500, ("I", "II")),
        (",I,II\n" + "\n".join(f"{i},{i % 7},{i % 5}" for i in range(40)), None, ("I", "II")),
        ("t;I;II\n" + "\n".join(f"{i / 100:.2f};{i % 7},5;{i % 5},25".replace(".", ",") for i in range(40)), 100, ("I", "II")),
        ("fs = 128\nI;II\nmV;mV\n" + "\n".join(f"{i % 7};{i % 5}" for i in range(40)), 128, ("I", "II")),
        ("\n".join(f"10:00:{i / 50:06.3f},{i % 7},{i % 5}" for i in range(60)), 50, ("ECG 1", "ECG 2")),
        ("\n".join(str(i % 7) for i in range(60)), None, ("ECG",)),
    ],
)
def test_tables_of_many_manners(text: str, fs: float | None, leads: tuple[str, ...]) -> None:
    if fs is None:
        with pytest.raises(EcgError, match="--fs"):
            read(text.encode())
    record = read(text.encode(), fs=fs or 250)
    assert record.fs == (fs or 250)
    assert tuple(n for n in record.leads if n not in record.derived) == leads
    first = record.lead(leads[0])[:40]
    assert np.allclose(first, [i % 7 + (0.5 if ",5;" in text else 0) for i in range(len(first))])


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("MDC_ECG_LEAD_AVR", "aVR"), ("NOM_ECG_LEAD_V3", "V3"), ("Lead I (Einthoven)", "I"), ("AVL", "aVL"), ("avf", "aVF"),
        ("V1 (µV)", "V1"), ("ECG II", "II"), ("MLII", "MLII"), ("lead_v6", "V6"), ("ECG 1", "ECG 1"), ("V4R", "V4R"),
        ("MDC_ECG_LEAD_III", "III"), ("EKG aVR [mV]", "aVR"), ("1", "1"), ("D2", "II"),
    ],
)  # fmt: skip
def test_lead_labels(label: str, name: str) -> None:
    assert lead_name(label) == (name, 1)
    assert lead_name("-aVR") == ("aVR", -1)


def test_an_inverted_lead_is_turned_and_said_so(tmp_path: Path) -> None:
    signal = micro(truth())
    lines = ["# fs=250", ",".join(f"{n} (uV)" for n in ("I", "II", "III", "-aVR", "aVL", "aVF"))]
    turned = np.vstack([signal[:3], -signal[3], signal[4:6]])
    lines += [",".join(map(str, row)) for row in turned.T.tolist()]
    record = read("\n".join(lines).encode())
    assert np.array_equal(record.lead("aVR"), truth().lead("aVR"))
    assert any("inverted" in w for w in record.warnings) and not any("contradict" in w for w in record.warnings)


def test_limb_leads_that_contradict_each_other_are_told() -> None:
    swapped = truth().pick(("I", "III", "II", *STANDARD_LEADS[3:]))
    lines = ["# fs=250", ",".join(f"{n} (mV)" for n in STANDARD_LEADS)]
    lines += [",".join(map(str, row)) for row in swapped.signal.T.tolist()]
    assert any("contradict" in w for w in read("\n".join(lines).encode()).warnings)


def test_anonymize_lists_what_it_removes() -> None:
    clean, removed = anonymize(truth())
    assert clean.patient == Patient(age=63.0, sex="female", height_cm=170.0)
    assert clean.device.serial is None and clean.device.institution is None and clean.device.model == "Ten"
    assert clean.start is not None and clean.start.year == 1900 and clean.start.hour == 5
    for word in ("name", "id", "birth date", "serial", "institution", "date of recording"):
        assert any(word in line for line in removed), word
    named = Record(truth().signal, 250.0, STANDARD_LEADS, statements=("Sinus rhythm", "Confirmed by Who, Doctor", "Dr. Who"))
    assert anonymize(named)[0].statements == ("Sinus rhythm",)
    old = Record(truth().signal, 250.0, STANDARD_LEADS, patient=Patient(age=95.0))
    assert anonymize(old)[0].patient.age == 90


def test_anonymising_keeps_what_was_found_out_about_the_signal() -> None:
    """Without it a calibration pulse becomes an ECG, and a gain that was wrong stays wrong."""
    found = {"ecg_until_s": "8", "gain_factor": "2", "calibration_s": "0.4"}
    record = replace(truth(), extra={**found, "operator": "A. Name"})
    clean, removed = anonymize(record)
    assert dict(clean.extra) == found and "file field operator" in removed
    assert np.array_equal(clean.ecg().signal, record.ecg().signal)


def test_folders_give_one_entry_per_record(shared_data: Path, tmp_path: Path) -> None:
    assert len(find_inputs([shared_data / "ludb"])) == 140
    assert len(find_inputs([shared_data / "ptbxl"])) == 1732 + 422
    assert len(find_inputs([shared_data / "challenge/*"])) == 101
    segments = find_inputs([shared_data / "formats/wfdb/multi-segment/041s"])
    assert [Path(p).name for p in segments] == ["041s.hea"]
    with pytest.raises(EcgError, match="pattern"):
        find_inputs([tmp_path / "*.xyz"])
