"""GE MUSE XML (root `RestingECG`): eight leads as base64, median beats, measurements, statements.

Facts: reference of the public converters muse2wfdb and GEMuse, and a real file (MUSE 9). The four limb leads that
follow from I and II are not stored.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import File
from einthoven.io.finish import check_fs
from einthoven.io.format import Format, Options
from einthoven.io.person import age_in_years, full_name, moment, sex
from einthoven.io.xmltree import base64_bytes, known, median_beat, need, number, parse, root_name, rows, step, text
from einthoven.record import Device, EcgError, Patient, Record, Source

# PatientAge comes with its unit; years in one of it.
_YEARS = {"YEARS": 1.0, "MONTHS": 1 / 12, "WEEKS": 7 / 365.25, "DAYS": 1 / 365.25, "HOURS": 1 / 8766}


def matches(file: File) -> bool:
    return root_name(file) == "RestingECG"


def read(file: File, options: Options) -> Record:
    """The rhythm strip of a MUSE file, (8 or more leads, T) mV. Raises EcgError."""
    root, told = parse(bytes(file.data))
    warn = list(told)
    kinds = {(text(w, "WaveformType") or "").lower(): w for w in reversed(root.findall("Waveform"))}  # the first of a kind
    if "rhythm" not in kinds:
        raise EcgError("no rhythm waveform", where="RestingECG/Waveform")
    rhythm = _waveform(kinds["rhythm"], options, warn)
    beat = None
    if "median" in kinds:
        try:
            stored = _waveform(kinds["median"], options, warn)
            beat = median_beat(stored.signal, stored.fs, stored.leads)
        except EcgError as error:
            warn.append(f"the median beat cannot be read: {error}")
    patient, test = root.find("PatientDemographics"), root.find("TestDemographics")
    return Record(
        signal=rhythm.signal,
        fs=rhythm.fs,
        leads=rhythm.leads,
        start=moment(
            text(test, "AcquisitionDate"), text(test, "AcquisitionTime"), "%m-%d-%Y %H:%M:%S", "%m-%d-%Y %H:%M", "%m-%d-%Y"
        ),
        patient=_patient(patient),
        device=Device(
            manufacturer="GE Healthcare",
            model=text(test, "AcquisitionDevice"),
            serial=text(root, "PharmaData/PharmaCartID") or text(test, "CartNumber"),
            software=text(test, "AcquisitionSoftwareVersion"),
            institution=text(test, "SiteName"),
            highpass_hz=rhythm.highpass_hz,
            lowpass_hz=rhythm.lowpass_hz,
            notch_hz=rhythm.notch_hz,
        ),
        machine=_measurements(root, rhythm.fs),
        statements=_statements(root.find("Diagnosis")) or _statements(root.find("OriginalDiagnosis")),
        median=beat,
        warnings=tuple(warn),
        source=Source(version=text(root, "MuseInfo/MuseVersion")),
        resolution_uv=rhythm.resolution_uv,
        extra=_extra(root),
    )


@dataclass(frozen=True)
class _Waveform:
    signal: NDArray[np.float32]
    fs: float
    leads: tuple[str, ...]
    resolution_uv: tuple[float, ...]
    highpass_hz: float | None
    lowpass_hz: float | None
    notch_hz: float | None


def _waveform(waveform: Element, options: Options, warn: list[str]) -> _Waveform:
    kind = text(waveform, "WaveformType") or "?"
    exponent = number(waveform, "SampleExponent") or 0.0
    if abs(exponent) > 6:
        raise EcgError(f"impossible sampling rate: exponent {exponent:g}", where=f"Waveform {kind}/SampleExponent")
    fs = check_fs(need(waveform, "SampleBase", "sampling rate") * 10.0**exponent, where=f"Waveform {kind}/SampleBase")
    names, samples, scales = [], [], []
    for lead in waveform.findall("LeadData"):
        name = text(lead, "LeadID")
        if name is None:
            raise EcgError("a lead without a name", where=f"Waveform {kind}/LeadData/LeadID")
        where = f"Waveform {kind}, lead {name}"
        samples.append(_samples(lead, where, warn))
        scales.append(
            step(number(lead, "LeadAmplitudeUnitsPerBit"), text(lead, "LeadAmplitudeUnits"), options, "uV", warn, where)
        )
        names.append(name)
        late = number(lead, "LeadTimeOffset") or number(lead, "LeadOffsetFirstSample")
        if late:
            warn.append(f"lead {name} begins later than the others by what the file calls {late:g}; it is not shifted")
        if (text(lead, "LeadOff") or "").upper() == "TRUE":
            warn.append(f"the recorder says that the electrode of lead {name} was off")
    if not names:
        raise EcgError("no leads", where=f"Waveform {kind}")
    high = number(waveform, "HighPassFilter")
    return _Waveform(
        signal=rows(samples, scales, warn),
        fs=fs,
        leads=tuple(names),
        resolution_uv=tuple(1000 * s for s in scales),
        highpass_hz=None if high is None else high / 100,  # MUSE writes hundredths of a hertz: 5 is 0.05 Hz
        lowpass_hz=number(waveform, "LowPassFilter") or None,
        notch_hz=number(waveform, "ACFilter") or None,
    )


def _samples(lead: Element, where: str, warn: list[str]) -> NDArray[np.float64]:
    """The samples of one lead, in steps from the baseline."""
    size = number(lead, "LeadSampleSize") or 2
    kind = {1: "i1", 2: "<i2", 4: "<i4"}.get(int(size))
    if kind is None:
        raise EcgError(f"samples of {size:g} bytes", where=where)
    raw = base64_bytes(text(lead, "WaveFormData") or "", where)
    if len(raw) % int(size):
        raise EcgError(f"{len(raw)} bytes are no whole number of samples", where=where)
    crc = number(lead, "LeadDataCRC32")
    if crc and int(crc) & 0xFFFFFFFF not in (zlib.crc32(raw), zlib.crc32(raw) ^ 0xFFFFFFFF):
        warn.append(f"the checksum (CRC-32) of {where} does not fit its samples")
    values = np.frombuffer(raw, kind).astype(np.float64)
    told = number(lead, "LeadSampleCountTotal")
    if told is not None and 0 <= told < len(values):
        values = values[: int(told)]
    elif told is not None and told > len(values):
        warn.append(f"{where} has {len(values)} of the {told:g} samples that the file promises")
    return values + (number(lead, "FirstSampleBaseline") or 0.0)


def _patient(patient: Element | None) -> Patient:
    age, unit = number(patient, "PatientAge"), (text(patient, "AgeUnits") or "YEARS").upper()
    extra = {tag: words for tag in ("Race", "PatientType") if (words := text(patient, tag))}
    centimetres, kilograms = number(patient, "HeightCM"), number(patient, "WeightKG")
    inches, pounds = number(patient, "HeightIN"), number(patient, "WeightLBS")
    return Patient(
        id=text(patient, "PatientID"),
        name=full_name(text(patient, "PatientLastName"), text(patient, "PatientFirstName")),
        age=age_in_years(None if age is None or unit not in _YEARS else age * _YEARS[unit]),
        sex=sex(text(patient, "Gender")),
        birth_date=_date(text(patient, "DateofBirth")),
        height_cm=centimetres if centimetres is not None else None if inches is None else inches * 2.54,
        weight_kg=kilograms if kilograms is not None else None if pounds is None else pounds * 0.45359237,
        extra=extra,
    )


def _date(words: str | None) -> str | None:
    found = moment(words, None, "%m-%d-%Y", "%Y-%m-%d")
    return found.date().isoformat() if found else None


def _measurements(root: Element, fs: float) -> dict[str, float]:
    """RestingECGMeasurements, else the original ones. Onsets come in samples of the median beat, and become ms."""
    table = root.find("RestingECGMeasurements")
    table = root.find("OriginalRestingECGMeasurements") if table is None else table
    base = number(table, "ECGSampleBase") or fs
    rate = base * 10.0 ** max(-6.0, min(6.0, number(table, "ECGSampleExponent") or 0.0))

    def at(tag: str) -> float | None:
        value = number(table, tag)
        return None if value is None or rate <= 0 else 1000 * value / rate

    onset, offset = at("POnset"), at("POffset")
    return known(
        rate_bpm=number(table, "VentricularRate"),
        atrial_rate_bpm=number(table, "AtrialRate"),
        pr_ms=number(table, "PRInterval"),
        qrs_ms=number(table, "QRSDuration"),
        qt_ms=number(table, "QTInterval"),
        qtc_ms=number(table, "QTCorrected"),
        qtcf_ms=number(table, "QTcFrederica"),
        p_ms=None if onset is None or offset is None or offset <= onset else offset - onset,
        p_axis_deg=number(table, "PAxis"),
        qrs_axis_deg=number(table, "RAxis"),
        t_axis_deg=number(table, "TAxis"),
        qrs_count=number(table, "QRSCount"),
        rr_ms=number(root, "QRSTimesTypes/GlobalRR"),
        p_onset_ms=onset,
        p_offset_ms=offset,
        qrs_onset_ms=at("QOnset"),
        qrs_offset_ms=at("QOffset"),
        t_offset_ms=at("TOffset"),
    )


def _statements(diagnosis: Element | None) -> tuple[str, ...]:
    """Fragments joined to lines: a statement ends where its flag says ENDSLINE."""
    out, line = [], ""
    for statement in diagnosis.iter("DiagnosisStatement") if diagnosis is not None else ():
        words = text(statement, "StmtText") or ""
        line = line + words if words.startswith((",", ".", ";")) or not line else f"{line} {words}"
        if any((text(flag) or "").upper() == "ENDSLINE" for flag in statement.findall("StmtFlag")):
            out.append(line.strip())
            line = ""
    return tuple(words for words in (*out, line.strip()) if words)


def _extra(root: Element) -> dict[str, object]:
    """R times in ms with their types, the original statements where a human changed them, site and order numbers."""
    out: dict[str, object] = {}
    times = [(number(q, "Time"), number(q, "Type")) for q in root.findall("QRSTimesTypes/QRS")]
    if times:
        out["qrs_times_ms"] = tuple(t for t, _ in times if t is not None)
        out["qrs_types"] = tuple(int(k or 0) for t, k in times if t is not None)
    final, first = _statements(root.find("Diagnosis")), _statements(root.find("OriginalDiagnosis"))
    if final and first and first != final:
        out["original_statements"] = first
    for tag in ("Status", "Priority", "LocationName", "AnalysisSoftwareVersion", "DataType"):
        if words := text(root, f"TestDemographics/{tag}"):
            out[tag] = words
    return out


MUSE = Format("muse", "GE MUSE XML", (".xml",), matches, read)
