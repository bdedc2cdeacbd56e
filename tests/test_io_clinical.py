"""The clinical formats against truths from outside: other converters, other decoders, other formats of the same ECG, and
files that were encoded here. That every reader keeps the contract is test_io_contract.py."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import io_examples_clinical as make
import numpy as np
import pytest
import scp_encoder
from io_examples import truth

from einthoven.io import anonymize, read, read_all, write
from einthoven.record import STANDARD_LEADS, Device, EcgError, MedianBeat, Patient, Record, einthoven_residual


def steps(record: Record, size_uv: float) -> np.ndarray:
    """Samples in whole steps."""
    return np.rint(record.signal.astype(np.float64) * 1000 / size_uv).astype(np.int64)


def within(record: Record, size_uv: float, allowed: float = 2.0) -> None:
    """Einthoven's law to `allowed` steps, over the patient's ECG."""
    until = record.extra.get("ecg_until_s")
    gaps = einthoven_residual(record if until is None else record.crop(0, until))
    assert gaps and max(gaps.values()) * 1000 <= allowed * size_uv + 1e-3, gaps


# -- GE MUSE -----------------------------------------------------------------------------------------------------------------


def test_muse_reads_what_the_file_says(shared_data: Path) -> None:
    record = read(shared_data / "formats/ge-muse-xml/muse-sinus.xml")
    assert record.leads == STANDARD_LEADS and record.derived == ("III", "aVR", "aVL", "aVF")
    assert (record.fs, record.signal.shape) == (500.0, (12, 5000))
    assert record.start == datetime(2023, 4, 29, 22, 41, 16)
    assert record.patient == Patient(
        id="081486213", name="DOE^JOHN", age=43.0, sex="male", birth_date="1979-07-08", extra={"Race": "OTHER"}
    )
    assert record.device.model == "MV360" and record.device.notch_hz == 60 and record.device.highpass_hz == 0.56
    told = {"rate_bpm": 90, "pr_ms": 144, "qrs_ms": 86, "qt_ms": 402, "qtc_ms": 491, "p_axis_deg": 48, "t_axis_deg": 111}
    assert told.items() <= dict(record.machine).items() and record.machine["rr_ms"] == 663
    assert record.statements[:2] == ("Normal Sinus rhythm", "Anterior infarct, age undetermined")
    assert record.median is not None and record.median.signal.shape == (8, 600) and record.median.leads[:3] == ("I", "II", "V1")
    assert record.resolution_uv is not None and set(record.resolution_uv) == {4.88}
    assert np.abs(record.lead("III") + record.lead("I") - record.lead("II")).max() < 1e-6


def test_muse_agrees_with_an_independent_conversion(shared_data: Path) -> None:
    """The .dat beside it holds the same ECG in whole µV (its header says 200 steps per mV, five times too few)."""
    ours = read(shared_data / "formats/ge-muse-xml/muse-sinus.xml")
    theirs = read(shared_data / "formats/ge-muse-xml/muse-sinus.hea")
    assert theirs.fs == ours.fs and theirs.start == ours.start
    assert np.abs(1000 * ours.signal - 200 * theirs.pick(ours.leads).signal).max() < 0.5


def test_muse_without_unit_says_so_and_with_a_wrong_checksum_too() -> None:
    told = read(make.muse_text(unit="").encode("latin-1")).warnings
    assert any("unit" in w and "taken as uV" in w for w in told)
    assert np.array_equal(
        read(make.muse_text(unit="").encode("latin-1"), unit="uV").signal, read(make.muse_text().encode()).signal
    )
    damaged = make.muse_text().replace("<LeadDataCRC32>", "<LeadDataCRC32>1")
    assert any("checksum" in w for w in read(damaged.encode("latin-1")).warnings)
    with pytest.raises(EcgError, match="no voltage"):
        read(make.muse_text(unit="<LeadAmplitudeUnits>FURLONGS</LeadAmplitudeUnits>").encode("latin-1"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_the_encoding_is_that_of_the_bytes(encoding: str) -> None:
    """The declaration says ISO-8859-1 whatever the bytes are, as in files that a viewer has saved again."""
    record = read(make.muse_text().encode(encoding))
    assert record.fs == 250 and record.patient.id == "P-17"
    assert record.patient.name == "Müller^Jane"


# -- Philips -----------------------------------------------------------------------------------------------------------------

PHILIPS = ["129DYPRG.XML", "2020-5-18_15-48-11.xml", "ad4d3d80-d165_1-04_orig.xml", "repbeats_example.xml"]


@pytest.mark.parametrize("name", PHILIPS)
def test_philips_equals_the_published_decoder(name: str, shared_data: Path) -> None:
    """sierraecg 0.4.0 gives steps of 5 µV."""
    sierraecg = pytest.importorskip("sierraecg")
    path = shared_data / "formats/philips-sierra-xml" / name
    theirs, ours = sierraecg.read_file(str(path), include_repbeats=True), read(path)
    expected = np.stack([lead.samples for lead in theirs.leads])
    assert tuple(lead.label for lead in theirs.leads) == ours.leads == STANDARD_LEADS
    assert np.array_equal(steps(ours, 5.0), expected)
    assert np.array_equal(ours.signal, (expected * 0.005).astype(np.float32))
    if theirs.repbeats:
        assert ours.median is not None
        beats = np.stack([theirs.repbeats[n].samples for n in ours.median.leads])
        size = next(iter(theirs.repbeats.values())).resolution / 1000
        expected = np.where(beats == 32767, np.float32(np.nan), (beats * size).astype(np.float32))
        assert np.array_equal(ours.median.signal, expected, equal_nan=True)


@pytest.mark.parametrize("name", PHILIPS)
def test_philips_names_the_calibration_pulse_at_its_end(name: str, shared_data: Path) -> None:
    record = read(shared_data / "formats/philips-sierra-xml" / name)
    assert record.extra["ecg_until_s"] == 10.0 and record.extra["calibration_s"] == (10.7, 10.9)
    assert any("calibration" in w for w in record.warnings) and not any("contradict" in w for w in record.warnings)
    within(record, 5.0)


def test_philips_facts(shared_data: Path) -> None:
    record = read(shared_data / "formats/philips-sierra-xml/2020-5-18_15-48-11.xml")
    assert record.start == datetime(2020, 5, 18, 15, 48, 11) and record.source.version == "1.04.01"
    assert record.device == Device(
        "Philips", "PageWriter TC", "US71621374", "Philips Medical Products:860315:A.07.04.03", "PLACE", 0.05, 150.0, None
    )
    assert record.patient.age == 69 and record.patient.birth_date == "1951-01-01" and record.patient.sex is None
    assert record.machine["qrs_ms"] == 102 and record.machine["qtcf_ms"] == 408 and record.machine["rr_ms"] == 938
    assert record.statements == ("Sinus rhythm", "Abnormal R-wave progression, early transition", "OTHERWISE NORMAL ECG")
    assert record.extra["lead_measurements"]["I"]["pamp"] == 77
    first = read(shared_data / "formats/philips-sierra-xml/129DYPRG.XML")
    assert first.patient.age == 50 and first.patient.sex == "male" and first.machine["qtc_ms"] == 393


def test_philips_of_unknown_kind_is_refused(shared_data: Path) -> None:
    for name, told in (("invalid-doc-type.xml", "document type"), ("invalid-doc-version.xml", "version")):
        with pytest.raises(EcgError, match=told) as caught:
            read(shared_data / "formats/philips-sierra-xml" / name)
        assert str(caught.value).count(told) >= 1 and caught.value.path and caught.value.where


def test_xli_is_bounded() -> None:
    """A stream that expands far beyond the declared duration is stopped; sizes that lie are found."""
    import base64

    from einthoven.io.sierra import xli

    bomb = make.lzw(b"\0" * 2_000_000)
    with pytest.raises(EcgError, match="expand"):
        xli(struct.pack("<ihh", len(bomb), 0, 0) + bomb, 1, limit=10_000)
    with pytest.raises(EcgError, match="cut off"):
        xli(struct.pack("<ihh", 1 << 30, 0, 0) + bomb, 1, limit=10_000)
    text = make.sierra_text()
    at = text.index(">", text.index("<parsedwaveforms")) + 1
    short = text[:at] + base64.b64encode(struct.pack("<ihh", 4, 0, 0) + b"abcd").decode() + text[text.index("</parsedwave") :]
    with pytest.raises(EcgError, match="1 of 12 leads"):
        read(short.encode())


# -- HL7 aECG ----------------------------------------------------------------------------------------------------------------


def test_aecg_of_a_philips_file_is_the_philips_file(shared_data: Path) -> None:
    """Philips's own converter went through another filter: up to four steps of 5 µV apart, on average none."""
    one = read(shared_data / "formats/hl7-aecg/ad4d3d80-d165_1-04_converted.xml")
    other = read(shared_data / "formats/philips-sierra-xml/ad4d3d80-d165_1-04_orig.xml")
    assert one.leads == other.leads and one.fs == other.fs and one.start == other.start
    gap = steps(one, 5.0) - steps(other, 5.0)
    assert np.abs(gap).max() <= 4 and np.abs(gap.mean(axis=1)).max() < 0.5
    for name in ("rate_bpm", "rr_ms", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms"):
        assert one.machine[name] == other.machine[name]
    assert one.median is not None and other.median is not None
    assert np.array_equal(one.median.signal, other.median.signal, equal_nan=True)
    assert one.patient.age == other.patient.age and one.device.serial == other.device.serial


def test_aecg_facts(shared_data: Path) -> None:
    record = read(shared_data / "formats/hl7-aecg/Example aECG.xml")
    assert record.start == datetime(2002, 11, 22, 9, 10) and record.fs == 500 and record.signal.shape == (12, 5000)
    assert record.patient == Patient("SBJ-123", "Clark", 46.0, "male", "1953-05-08", extra={"race": "RaceWhite"})
    assert record.device.model == "ELI250" and record.device.lowpass_hz == 150 and record.device.notch_hz == 60
    assert record.machine == {
        "p_ms": 102, "pr_ms": 148, "qrs_ms": 120, "qt_ms": 420, "qtc_ms": 443, "p_axis_deg": 44, "qrs_axis_deg": -61,
        "t_axis_deg": 86,
    }  # fmt: skip
    assert record.statements == ("Sinus Rhythm",) and not record.warnings
    assert record.extra["p_onset_s"][:2] == (0.122, 0.912) and record.extra["qrs_offset_s"][0] == 0.39
    assert record.median is not None and record.median.signal.shape == (12, 599)
    within(record, 2.5)


def test_aecg_without_waveform_is_refused_and_a_stub_is_read_with_a_doubt(shared_data: Path) -> None:
    with pytest.raises(EcgError, match="without a waveform"):
        read(shared_data / "formats/hl7-aecg/empty.xml")
    stub = read(shared_data / "formats/hl7-aecg/minimum_aecg.xml")
    assert stub.leads == ("II",) and stub.signal.shape == (1, 13) and any("10 s" in w for w in stub.warnings)
    assert stub.lead("II")[0] == np.float32(-0.005)


def test_aecg_of_mindray_has_its_own_codes(shared_data: Path) -> None:
    record = read(shared_data / "formats/hl7-aecg/hl7aecg_example.xml")
    assert record.fs == 100 and record.device.model == "BeneHeart R12" and record.patient.id == "25060897140"
    assert record.machine["rate_bpm"] == 57 and record.machine["qtch_ms"] == 413 and record.machine["t_axis_deg"] == 11
    assert "qtc_ms" not in record.machine  # the file has 0 ms there
    assert record.statements[0] == "Rythme sinusal avec ESA"


# -- writers -----------------------------------------------------------------------------------------------------------------


def full() -> Record:
    """The truth with everything that the writers store."""
    base = truth()
    beat = MedianBeat(base.signal[:, :200].copy(), base.fs, base.leads)
    return replace(
        base,
        median=beat,
        machine={
            "rate_bpm": 75.0,
            "rr_ms": 800.0,
            "pr_ms": 160.0,
            "qrs_ms": 92.0,
            "qt_ms": 380.0,
            "qtc_ms": 424.9,
            "p_axis_deg": -30.0,
        },
        statements=("Sinus rhythm", "ST > 0.1 mV in V2 & V3 <acute>", "Überleitung normal"),
        device=Device("Acme & Söhne", "Ten", "S/N 1", "2.1", "St. Elsewhere", 0.05, 150.0, 50.0),
        patient=Patient(id="P<17>", name="Doe^Jane", age=63.0, sex="female", birth_date="1958-01-02"),
    )


@pytest.mark.parametrize("name", ["a.dcm", "a.xml"])
def test_what_is_written_is_read_again(name: str, tmp_path: Path) -> None:
    record = full()
    (path,) = write(record, tmp_path / name, {"a.dcm": "dicom", "a.xml": "aecg"}[name])
    again = read(path)
    assert np.array_equal(again.signal, record.signal) and again.leads == record.leads and again.fs == record.fs
    for part in ("start", "patient", "device", "machine", "statements", "resolution_uv", "warnings", "derived"):
        assert getattr(again, part) == getattr(record, part), part
    assert again.median is not None and record.median is not None
    assert np.array_equal(again.median.signal, record.median.signal) and again.median.leads == record.median.leads
    assert path.read_bytes() == write(record, tmp_path / f"b{name}", {"a.dcm": "dicom", "a.xml": "aecg"}[name])[0].read_bytes()


@pytest.mark.parametrize("format", ["dicom", "aecg"])
@pytest.mark.parametrize("fs", [100.0, 360.0, 500.0, 1000.0, 128.5])
@pytest.mark.parametrize("leads", [("II",), ("I", "II"), ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"), ("MLII", "V5")])
def test_any_rate_and_any_leads_are_written(format: str, fs: float, leads: tuple[str, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    signal = np.cumsum(rng.normal(0, 0.02, (len(leads), 700)), axis=1).astype(np.float32)
    record = Record(signal, fs, leads, resolution_uv=(0.0,) * len(leads))
    again = read(write(record, tmp_path / "some.file", format)[0])
    assert again.fs == pytest.approx(fs, rel=1e-12)
    kept = [n for n in again.leads if n not in again.derived]
    assert set(kept) == set(leads)
    for lead in leads:
        assert np.abs(again.lead(lead) - record.lead(lead)).max() <= 0.51e-3 * max(again.resolution_uv or (0,)) + 1e-6


def test_dicom_keeps_gaps_and_aecg_says_that_it_cannot(tmp_path: Path) -> None:
    record = truth()
    signal = record.signal.copy()
    signal[3, 100:200] = np.nan
    signal[7] = np.nan
    record = replace(record, signal=signal)
    again = read(write(record, tmp_path / "gap.dcm")[0])
    assert np.array_equal(again.signal, signal, equal_nan=True)
    with pytest.raises(EcgError, match=r"aVR.*missing samples"):
        write(record, tmp_path / "gap.xml", "aecg")
    assert not list(tmp_path.glob("*.part")) and not (tmp_path / "gap.xml").exists()
    whole = replace(record, signal=np.where(np.arange(12)[:, None] == 3, truth().signal, signal))
    again = read(write(whole, tmp_path / "lost.xml", "aecg")[0])
    assert "V2" not in again and len(again.leads) == 11


def test_dicom_is_readable_by_pydicom_and_names_what_it_holds(tmp_path: Path) -> None:
    import pydicom

    record = full()
    data = pydicom.dcmread(write(record, tmp_path / "a.dcm")[0])
    assert np.abs(data.waveform_array(0).T / 1000 - record.signal).max() < 1e-6
    assert data.SOPClassUID == "1.2.840.10008.5.1.4.1.1.9.1.1" and data.Modality == "ECG"
    assert data.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert [g.MultiplexGroupLabel for g in data.WaveformSequence] == ["RHYTHM", "MEDIAN BEAT"]
    sources = [c.ChannelSourceSequence[0] for c in data.WaveformSequence[0].ChannelDefinitionSequence]
    assert [s.CodeValue for s in sources] == [f"2:{n}" for n in (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)]
    long = replace(truth(), signal=np.tile(truth().signal, (1, 20)))
    assert pydicom.dcmread(write(long, tmp_path / "b.dcm")[0]).SOPClassUID.endswith(".9.1.2")


def test_the_anonymous_record_has_no_name_in_any_file(tmp_path: Path) -> None:
    record, _ = anonymize(full())
    for name, format in (("a.dcm", "dicom"), ("a.xml", "aecg")):
        data = write(record, tmp_path / name, format)[0].read_bytes()
        for secret in (b"Doe", b"Jane", b"P<17", b"P&lt;17", b"1958", b"S/N 1", b"Elsewhere", b"2021"):
            assert secret not in data, (name, secret)


# -- DICOM -------------------------------------------------------------------------------------------------------------------


def test_dicom_equals_pydicom(shared_data: Path) -> None:
    import pydicom

    path = shared_data / "formats/dicom/waveform_ecg.dcm"
    data, record = pydicom.dcmread(path), read(path)
    assert np.array_equal(record.signal, (data.waveform_array(0) * 1e-3).astype(np.float32).T)
    assert record.median is not None
    assert np.array_equal(record.median.signal, (data.waveform_array(1) * 1e-3).astype(np.float32).T)
    assert record.start == datetime(2013, 1, 25, 10, 59, 19) and record.fs == 1000 and record.device.lowpass_hz == 300
    assert record.patient == Patient("642341", "Anonymous", 42.0, "female", "1971-01-23")
    assert record.statements == ("RITMO SINUSALE", "ECG NORMALE")
    assert record.machine == {
        "rr_ms": 982, "pr_ms": 161, "qrs_ms": 75, "qt_ms": 368, "qtc_ms": 370, "p_axis_deg": 74, "qrs_axis_deg": 52,
        "t_axis_deg": 57,
    }  # fmt: skip
    assert len(record.extra["r_peak_s"]) == 10 and record.extra["r_peak_s"][0] == 0.526
    within(record, 1.25)


def dicom(folder: Path, change: Callable[[Any], None]) -> Path:
    return make.changed("changed.dcm", change)(folder)


def test_dicom_of_every_sample_type(tmp_path: Path) -> None:
    """8 bits and unsigned 16 bits, mV and V, a sensitivity that is not there."""

    def eight(data: Any) -> None:
        item = data.WaveformSequence[0]
        item.WaveformBitsAllocated, item.WaveformSampleInterpretation = 8, "SB"
        del item.WaveformPaddingValue
        item.WaveformData = (np.arange(12 * 1000) % 251 - 125).astype("i1").tobytes()
        for channel in item.ChannelDefinitionSequence:
            channel.ChannelSensitivity, channel.ChannelSensitivityUnitsSequence[0].CodeValue = "0.02", "mV"

    record = read(dicom(tmp_path, eight))
    assert record.lead("I")[:2] == pytest.approx([-2.5, -2.26]) and record.resolution_uv == (20.0,) * 12

    def volts(data: Any) -> None:
        item = data.WaveformSequence[0]
        raw = np.frombuffer(item.WaveformData, "<i2").astype(np.int32)
        item.WaveformSampleInterpretation = "US"
        item.WaveformPaddingValue = b"\xff\xff"
        item.WaveformData = (raw + 30_000).astype("<u2").tobytes()
        for channel in item.ChannelDefinitionSequence:
            channel.ChannelSensitivity, channel.ChannelBaseline = "0.000001", "-0.03"
            channel.ChannelSensitivityUnitsSequence[0].CodeValue = "V"

    assert np.abs(read(dicom(tmp_path, volts)).signal - truth().signal).max() < 1e-6

    def bare(data: Any) -> None:
        for channel in data.WaveformSequence[0].ChannelDefinitionSequence:
            del channel.ChannelSensitivity, channel.ChannelSensitivityUnitsSequence

    path = dicom(tmp_path, bare)
    assert any("without sensitivity" in w for w in read(path).warnings)
    assert np.abs(read(path, unit="mV").signal - 1000 * truth().signal).max() < 1e-3


def test_dicom_haemodynamic_leaves_pressures_out(tmp_path: Path) -> None:
    def pressure(data: Any) -> None:
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.2.1"
        channel = data.WaveformSequence[0].ChannelDefinitionSequence[11]
        unit = channel.ChannelSensitivityUnitsSequence[0]
        unit.CodeValue, unit.CodeMeaning = "mm[Hg]", "millimeter of mercury"
        channel.ChannelSourceSequence[0].CodeValue, channel.ChannelSourceSequence[0].CodeMeaning = "109016", "Aortic pressure"
        channel.ChannelLabel = "AO"

    record = read(dicom(tmp_path, pressure))
    assert len(record.leads) == 11 and any("not a voltage" in w and "AO" in w for w in record.warnings)
    assert record.source.version and "Hemodynamic" in record.source.version


def test_dicom_groups_of_other_rates_are_records_of_their_own(tmp_path: Path) -> None:
    import copy

    def second(data: Any) -> None:
        more = copy.deepcopy(data.WaveformSequence[0])
        more.SamplingFrequency, more.NumberOfWaveformSamples = "500", 500
        data.WaveformSequence = [data.WaveformSequence[0], more]

    records = list(read_all(dicom(tmp_path, second)))
    assert [(r.fs, r.signal.shape[1]) for r in records] == [(250.0, 1000), (500.0, 500)]


def test_dicom_groups_one_after_another_have_gaps(tmp_path: Path) -> None:
    def columns(data: Any) -> None:
        make.in_four_groups(data)
        for g, item in enumerate(data.WaveformSequence):
            item.MultiplexGroupTimeOffset = str(4000 * g)

    record = read(dicom(tmp_path, columns))
    assert record.signal.shape == (12, 4000) and record.leads == STANDARD_LEADS
    assert np.array_equal(record.lead("V4")[3000:], truth().lead("V4")) and np.isnan(record.lead("V4")[:3000]).all()


def test_dicom_groups_far_apart_are_two_recordings(tmp_path: Path) -> None:
    """Offsets that lie must not make an axis of years."""

    def apart(data: Any) -> None:
        make.in_four_groups(data)
        data.WaveformSequence[3].MultiplexGroupTimeOffset = "1e12"

    records = list(read_all(dicom(tmp_path, apart)))
    assert [len(r.leads) - len(r.derived) for r in records] == [9, 3] and {r.signal.shape[1] for r in records} == {1000}


def test_dicom_that_lies_or_has_no_waveform_is_refused(tmp_path: Path) -> None:
    def huge(data: Any) -> None:
        data.WaveformSequence[0].NumberOfWaveformSamples = 2**31

    with pytest.raises(EcgError, match="more than one record"):
        read(dicom(tmp_path, huge))

    def longer(data: Any) -> None:
        data.WaveformSequence[0].NumberOfWaveformSamples = 1_000_000

    assert any("cut off: 1,000 of 1,000,000" in w for w in read(dicom(tmp_path, longer)).warnings)

    def picture(data: Any) -> None:
        del data.WaveformSequence
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"

    with pytest.raises(EcgError, match=r"without a waveform.*PDF"):
        read(dicom(tmp_path, picture))


# -- SCP-ECG -----------------------------------------------------------------------------------------------------------------


def test_scp_of_an_aecg_file_is_the_aecg_file(shared_data: Path) -> None:
    """The public SCP file was made from HL7's example by another program: default Huffman table, second differences."""
    one, other = read(shared_data / "formats/scp-ecg/example.scp"), read(shared_data / "formats/hl7-aecg/Example aECG.xml")
    assert np.array_equal(one.signal, other.signal) and one.leads == other.leads and one.start == other.start
    assert one.median is not None and other.median is not None and np.array_equal(one.median.signal, other.median.signal)
    assert {k: one.machine[k] for k in other.machine} == other.machine
    assert (one.patient.id, one.patient.sex, one.patient.birth_date) == ("SBJ-123", "male", "1953-05-08")
    assert not one.warnings
    within(one, 2.5)


def test_scp_variant_of_heal_force_is_refused(shared_data: Path) -> None:
    with pytest.raises(EcgError, match="variant, not SCP-ECG") as caught:
        read(shared_data / "formats/scp-ecg-heal-force-variant/62.SCP")
    assert caught.value.where == "byte 16" and "62.SCP" in str(caught.value)


def test_scp_header(tmp_path: Path) -> None:
    record = read(make.scp()(tmp_path))
    assert record.patient == Patient("P-17", "Doe^Jane", 63.0, "female", "1958-01-02", 170.0, 6.5)
    assert record.device == Device("Acme", "Ten", "S/N 1", "2.1", None, 0.05, 150.0, 50.0)
    assert record.start == datetime(2021, 3, 4, 5, 6, 7) and record.statements == ("Sinus rhythm",)


def reference() -> tuple[np.ndarray, np.ndarray, list[scp_encoder.Beat]]:
    """Two leads of ten seconds: a beat of 300 samples five times on a ramp; and the beat; and where it lies."""
    at = np.arange(300)
    beat = np.rint(np.outer([900.0, -500.0], np.exp(-(((at - 150) / 6) ** 2)) + 0.2 * np.exp(-(((at - 230) / 25) ** 2))))
    beats = [scp_encoder.Beat(f, f - 149, f + 150, f - 23, f + 24) for f in (400, 1400, 2400, 3400, 4400)]
    x = np.outer([2, -2], np.arange(5000)).astype(np.int64)
    for b in beats:
        x[:, b.start - 1 : b.end] += beat.astype(np.int64)
    return x, beat.astype(np.int64), beats


def test_scp_reference_beats_are_added_again() -> None:
    x, beat, beats = reference()
    data = scp_encoder.encode(x, ("I", "II"), reference=beat, fiducial=150, beats=beats)
    plain = scp_encoder.encode(x, ("I", "II"))
    record = read(data)
    assert len(data) < len(plain)
    assert np.array_equal(steps(record, 1.0)[:2], x)
    assert record.median is not None and np.array_equal(np.rint(1000 * record.median.signal), beat) and record.median.fs == 500
    kept = [replace(b, kind=1) if i == 2 else b for i, b in enumerate(beats)]  # another type: not subtracted
    assert np.array_equal(steps(read(scp_encoder.encode(x, ("I", "II"), reference=beat, fiducial=150, beats=kept)), 1.0)[:2], x)


def test_scp_reference_beat_of_another_resolution() -> None:
    x, beat, beats = reference()
    data = scp_encoder.encode(x, ("I", "II"), reference=beat // 2 * 2 // 2, reference_nv=2000, fiducial=150, beats=beats)
    assert np.array_equal(steps(read(data), 1.0)[:2], x)


@pytest.mark.parametrize("coding", ["default", "own"])
@pytest.mark.parametrize("factor", [2, 4, 5])
def test_scp_bimodal_compression(coding: str, factor: int) -> None:
    """What is left beside the beats is a ramp, which averages and straight lines keep; the protected zones are exact."""
    x, beat, beats = reference()
    rng = np.random.default_rng(2)
    for b in beats:
        x[:, b.keep + 3 : b.till - 5] += rng.integers(-40, 40, (2, b.till - b.keep - 8))
    data = scp_encoder.encode(x, ("I", "II"), reference=beat, fiducial=150, beats=beats, factor=factor, coding=coding)
    record = read(data)
    assert record.fs == 500 and record.signal.shape[1] == 5000
    inside = np.zeros(5000, bool)
    for b in beats:
        inside[b.keep - 1 : b.till] = True
    got = record.signal[:2].astype(np.float64) * 1000
    assert np.array_equal(np.rint(got[:, inside]), x[:, inside])
    assert np.abs(got - x).max() <= ENDS[factor] + 1e-3


# Before the first and after the last middle of a group there is no line to follow: half a group of the ramp of 2 per sample.
ENDS = {2: 1.0, 4: 3.0, 5: 4.0}


def test_scp_bimodal_real_beat_stays_close() -> None:
    """The truth's own noise of a few µV is averaged away outside the zones; the QRS is untouched."""
    x = make.micro("I", "II")
    beats = [scp_encoder.Beat(f, f - 20, f + 20, f - 15, f + 16) for f in range(138, 960, 200)]
    still = np.zeros((2, 60), np.int64)
    record = read(scp_encoder.encode(x, ("I", "II"), fs=250, reference=still, fiducial=21, beats=beats, factor=4))
    off = np.abs(record.signal[:2] * 1000 - x)
    assert off.max() < 60 and np.sqrt((off**2).mean()) < 12
    for b in beats:
        assert off[:, b.keep - 1 : b.till].max() < 1e-3


def test_scp_leads_of_other_times_have_gaps() -> None:
    x = make.micro("I", "V1")[:, :500]
    record = read(scp_encoder.encode(x, ("I", "V1"), fs=250, first=[1, 501]))
    assert record.signal.shape == (2, 1000) and any("same time" in w for w in record.warnings)
    assert np.array_equal(np.rint(1000 * record.lead("V1")[500:]), x[1]) and np.isnan(record.lead("V1")[:500]).all()


def test_scp_measurements() -> None:
    body = struct.pack("<BBHH", 1, 1, 800, 29999)
    body += struct.pack("<5H3h", 100, 210, 260, 352, 640, 45, -30, 999) + struct.pack("<Hh", 90, 2000) + bytes(6)
    body += struct.pack("<H", 3) + b"\0\0\0" + struct.pack("<HHH", 75, 29999, 424)
    record = read(scp_encoder.encode(make.micro("I", "II"), ("I", "II"), fs=250, global_measurements=body))
    told = {
        "rr_ms": 800,
        "p_ms": 110,
        "pr_ms": 160,
        "qrs_ms": 92,
        "qt_ms": 380,
        "qtc_ms": 424,
        "rate_bpm": 75,
        "qrs_axis_deg": -30,
    }
    assert told.items() <= dict(record.machine).items()
    assert "t_axis_deg" not in record.machine and "pp_ms" not in record.machine and "atrial_rate_bpm" not in record.machine


def test_scp_tables_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    data = bytearray(make.scp("own")(tmp_path).read_bytes())
    at = struct.unpack_from("<I", data, 22 + 2 * 10 + 6)[0] - 1 + 16  # the body of section 2
    assert struct.unpack_from("<HH", data, at) == (len(scp_encoder.OWN), len(scp_encoder.OWN[0]))
    for offset, patch, told in (
        (4 + 9 + 5, struct.pack("<I", 2), "begins with another|is there twice"),  # 10 becomes 01: 0 is a code already
        (4, b"\x63", "bits"),
        (2, b"\xff\xff", "cut off"),
        (4 + 4 * 9 + 3, struct.pack("<h", 9), "switches to table 9 of 2"),
    ):
        bad = data.copy()
        bad[at + offset : at + offset + len(patch)] = patch
        with pytest.raises(EcgError, match=told):
            read(bytes(bad))


def test_scp_that_lies_is_refused_quickly(tmp_path: Path) -> None:
    data = bytearray(make.scp()(tmp_path).read_bytes())
    sections = {
        struct.unpack_from("<H", data, at)[0]: struct.unpack_from("<I", data, at + 6)[0] - 1 for at in range(22, 142, 10)
    }
    lies = {
        "ends before": (3, 16 + 2, struct.pack("<II", 9, 3)),
        "lie further apart": (3, 16 + 2, struct.pack("<II", 4_000_000_000, 4_000_000_900)),
        "impossible": (6, 16, struct.pack("<HHB", 0, 0, 7)),
        "cut off": (6, 16 + 6, b"\xff\xff" * 12),
    }
    for told, (number, offset, patch) in lies.items():
        bad = data.copy()
        at = sections[number] + offset
        bad[at : at + len(patch)] = patch
        with pytest.raises(EcgError, match=told):
            read(bytes(bad))
    flipped = data.copy()
    flipped[sections[6] + 300] ^= 0x10
    assert any("checksum" in w for w in read(bytes(flipped)).warnings)


# -- the others --------------------------------------------------------------------------------------------------------------


def test_cardiosoft_rest(tmp_path: Path) -> None:
    record = read(make.cardiosoft(tmp_path))
    assert record.patient == Patient("P-17", None, 63.0, "female", "1958-01-02", 170.0)
    assert record.start == datetime(2021, 3, 4, 5, 6, 7)
    assert record.device == Device("GE Healthcare", "CardioSoft", None, "V6.73", None, None, 40.0, 50.0)
    assert record.machine == {"rate_bpm": 75, "pr_ms": 160, "qtc_ms": 400, "qrs_axis_deg": 60}
    assert record.statements == ("Sinus rhythm",)
    assert record.median is not None and np.array_equal(record.median.signal, truth().signal[:, :200])


@pytest.mark.parametrize("blocks", [True, False])
def test_cardiosoft_exercise_in_either_order(blocks: bool, tmp_path: Path) -> None:
    whole, strip = read_all(make.exercise(tmp_path, blocks=blocks))
    for lead in ("I", "II", "V5"):
        assert np.array_equal(whole.lead(lead), truth().lead(lead))
        assert np.array_equal(strip.lead(lead), truth().lead(lead)[:500])
    assert any(("one second" if blocks else "sample by sample") in w for w in whole.warnings)
    assert whole.machine["max_rate_bpm"] == 150


def test_eli_schiller_zoncare_facts(tmp_path: Path) -> None:
    record = read(make.eli(tmp_path))
    assert record.patient == Patient("P-17", "Doe", 63.0, "female", "1958-01-02")
    assert record.device.model == "ELI 280" and record.device.serial == "42" and record.device.lowpass_hz == 150
    assert record.machine == {"rate_bpm": 75, "rr_ms": 800, "qrs_ms": 90, "p_axis_deg": 50, "qrs_count": 5}
    assert record.median is not None and np.array_equal(record.median.signal[0], truth().lead("I")[:250])
    assert record.derived == ("III", "aVR", "aVL", "aVF") and record.start == datetime(2021, 3, 4, 5, 6, 7)
    record = read(make.schiller(tmp_path))
    assert record.patient == Patient("P-17", "Doe^Jane", 63.0, "female", "1958-01-02")
    assert record.start == datetime(2021, 3, 4, 5, 6, 7) and record.machine == {"pr_ms": 160}
    assert record.median is not None and record.median.signal.shape == (12, 200)
    assert any("1000 steps" in w for w in read(make.zoncare(tmp_path)).warnings)


# -- XML that means harm -----------------------------------------------------------------------------------------------------

HARM = {
    "entities": '<!DOCTYPE RestingECG [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><RestingECG>&b;</RestingECG>',
    "external": '<!DOCTYPE RestingECG [<!ENTITY x SYSTEM "file:///etc/passwd">]><RestingECG>&x;</RestingECG>',
    "parameter": '<!DOCTYPE RestingECG [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]><RestingECG/>',
    "deep": "<RestingECG>" + "<a>" * 50_000 + "</a>" * 50_000 + "</RestingECG>",
    "unclosed": "<RestingECG><Waveform>",
    "no waveform": "<RestingECG/>",
    "bad base64": "<RestingECG><Waveform><WaveformType>Rhythm</WaveformType><SampleBase>500</SampleBase>"
    "<LeadData><LeadID>I</LeadID><WaveFormData>!!!!</WaveFormData></LeadData></Waveform></RestingECG>",
    "no such rate": "<RestingECG><Waveform><WaveformType>Rhythm</WaveformType><SampleBase>500</SampleBase><SampleExponent>99"
    "</SampleExponent></Waveform></RestingECG>",
    "encoding nobody has": '<?xml version="1.0" encoding="x-none"?><restingecgdata/>',
}


@pytest.mark.parametrize("kind", HARM)
def test_harmful_xml_is_one_clear_error(kind: str) -> None:
    with pytest.raises(EcgError) as caught:
        read(HARM[kind].encode())
    assert len(str(caught.value)) < 400


def test_a_message_has_an_end() -> None:
    bad = make.sierra_text().replace("PhilipsECG", "endless" * 10_000)
    with pytest.raises(EcgError, match="document type") as caught:
        read(bad.encode())
    assert len(str(caught.value)) < 1500
