"""GE CardioSoft XML, as UK Biobank hands it out: resting ECG (field 20205) and exercise test (field 6025).

Facts: UK Biobank's showcase of both fields, the CardioSoft XML interface manual, and public readers of the files. Samples
are integers parted by commas, in microvolts per step ("uVperLsb").
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import File
from einthoven.io.finish import check_fs, check_samples, distinct
from einthoven.io.format import Format, Options
from einthoven.io.person import age_in_years, full_name, moment, sex
from einthoven.io.xmltree import known, median_beat, need, number, numbers, parse, root_name, rows, step, text
from einthoven.record import Device, EcgError, MedianBeat, Patient, Record, Signal, Source


def matches(file: File) -> bool:
    """The root CardiologyXML, or any other XML with StripData or FullDisclosure in it."""
    root = root_name(file)
    if root in ("", "RestingECG", "restingecgdata", "AnnotatedECG"):
        return root == "CardiologyXML"
    if root == "CardiologyXML":
        return True
    data = file.data
    return file.size < 256 << 20 and (data.find(b"<StripData") >= 0 or data.find(b"<FullDisclosureData") >= 0)


def read(file: File, options: Options) -> Record:
    """The resting strip, or of an exercise test the full disclosure (its strips come with read_all). Raises EcgError."""
    return next(read_all(file, options))


def read_all(file: File, options: Options) -> Iterator[Record]:
    """The continuous recording first, then each strip of an exercise test."""
    root, told = parse(bytes(file.data))
    warn = list(told)
    start, full, strips = _start(root), root.find("FullDisclosure"), root.find("StripData")
    found = False
    if full is not None and text(full, "FullDisclosureData"):
        found = True
        yield _full_disclosure(root, full, start, options, warn)
    if strips is not None:
        each = strips.findall("Strip") or [strips]
        for strip in each:
            if strip.find("WaveformData") is not None:
                found = True
                yield _strip(root, strips, strip, start, options, list(told), "StripData")
    if not found:
        raise EcgError("no waveform", where="CardiologyXML/StripData/WaveformData")


def _record(root: Element, signal: Signal, fs: float, labels: list[str], steps_uv: list[float], warn: list[str]) -> Record:
    start = _start(root)
    return Record(
        signal=signal,
        fs=fs,
        leads=distinct(labels),
        start=start,
        patient=_patient(root.find("PatientInfo"), start),
        device=_device(root),
        machine=_measurements(root),
        statements=_statements(root),
        median=_median(root, fs, warn),
        warnings=tuple(warn),
        source=Source(version=text(root, "ClinicalInfo/DeviceInfo/SoftwareVer")),
        resolution_uv=tuple(steps_uv),
        extra=_extra(root),
    )


def _scale(holder: Element, options: Options, warn: list[str], where: str) -> float:
    """mV per step. The unit is the attribute `units="uVperLsb"`."""
    found = holder.find("Resolution")
    unit = None if found is None else (found.get("units") or "").replace("perLsb", "").replace("PerLsb", "").strip()
    return step(number(found), unit or None, options, "uV", warn, f"{where}/Resolution")


def _strip(
    root: Element, strips: Element, strip: Element, start: datetime | None, options: Options, warn: list[str], where: str
) -> Record:
    """Leads that stand one after another. Facts that a strip lacks are those of all strips."""
    fs_holder = strip if strip.find("SampleRate") is not None else strips
    scale_holder = strip if strip.find("Resolution") is not None else strips
    fs = check_fs(need(fs_holder, "SampleRate", "sampling rate"), where=f"{where}/SampleRate")
    scale = _scale(scale_holder, options, warn, where)
    labels, samples = _leads(strip, where)
    expected = number(scale_holder, "ChannelSampleCountTotal")
    if expected is not None and expected > max(len(s) for s in samples):
        warn.append(f"the strip has {max(len(s) for s in samples)} of the {expected:g} samples that the file promises")
    return _record(root, rows(samples, [scale] * len(samples), warn), fs, labels, [1000 * scale] * len(samples), warn)


def _leads(holder: Element, where: str) -> tuple[list[str], list[NDArray[np.float64]]]:
    labels, samples = [], []
    for index, wave in enumerate(holder.findall("WaveformData")):
        label = wave.get("lead") or f"channel {index + 1}"
        samples.append(numbers(text(wave) or "", f"{where}/WaveformData {label}"))
        labels.append(label)
    if not labels:
        raise EcgError("no leads", where=f"{where}/WaveformData")
    return labels, samples


def _full_disclosure(root: Element, full: Element, start: datetime | None, options: Options, warn: list[str]) -> Record:
    """The whole exercise test, in few leads that are interleaved.

    UK Biobank's files hold blocks of one second (one second of lead 1, of lead 2, ...); the manual describes sample by
    sample. The wrong reading makes the trace jump, so the smoother of the two is right, and which one it was is said.
    """
    where = "FullDisclosure"
    labels = [name.strip() for name in (text(full, "LeadOrder") or "").split(",") if name.strip()]
    count = number(full, "NumberOfChannels")
    if not labels and count and 0 < count <= 64:
        labels = [f"channel {i + 1}" for i in range(int(count))]
    if not labels or len(labels) > 64:
        raise EcgError("the order of the leads is missing", where=f"{where}/LeadOrder")
    fs = check_fs(need(full, "SampleRate", "sampling rate"), where=f"{where}/SampleRate")
    scale = _scale(full, options, warn, where)
    parts = [words for data in full.findall("FullDisclosureData") if (words := text(data))]
    flat = numbers(" ".join(parts), f"{where}/FullDisclosureData")
    leads, block = len(labels), round(fs)
    check_samples(leads, len(flat) // leads)
    single = flat[: len(flat) // leads * leads].reshape(-1, leads).T
    whole = len(flat) // (leads * block)
    blocks = flat[: whole * leads * block].reshape(whole, leads, block).transpose(1, 0, 2).reshape(leads, -1)
    rest = flat[whole * leads * block :]
    if len(rest) and len(rest) % leads == 0:  # the last second may be a short block
        blocks = np.concatenate([blocks, rest.reshape(leads, -1)], axis=1)
    if leads == 1:
        chosen = single
    elif blocks.shape[1] > 1 and _roughness(blocks) <= _roughness(single):
        chosen = blocks
        warn.append("full disclosure: the leads are interleaved in blocks of one second (the smoother reading)")
    else:
        chosen = single
        warn.append("full disclosure: the leads are interleaved sample by sample (the smoother reading)")
    lost = len(flat) - chosen.size
    if lost:
        warn.append(f"full disclosure: the last {lost} values make no whole block and are left out")
    if chosen.shape[1] == 0:
        raise EcgError("no samples", where=f"{where}/FullDisclosureData")
    record = _record(root, rows(list(chosen), [scale] * leads, warn), fs, labels, [1000 * scale] * leads, warn)
    minute, second = number(full, "StartTime/Minute"), number(full, "StartTime/Second")
    offset = 60 * (minute or 0.0) + (second or 0.0)
    if start is not None and 0 < offset < 86_400:
        from dataclasses import replace

        record = replace(record, start=start + timedelta(seconds=offset))
    return record


def _roughness(leads: NDArray[np.float64]) -> float:
    return float(np.abs(np.diff(leads, axis=1)).mean()) if leads.shape[1] > 1 else np.inf


def _median(root: Element, fs: float, warn: list[str]) -> MedianBeat | None:
    """The median of a resting ECG; of an exercise test the first one (the resting state)."""
    holder = root.find("RestingECGMeasurements/MedianSamples")
    outer = holder
    if holder is None and (outer := root.find("MedianData")) is not None:
        holder = outer.find("Median")
    if holder is None or outer is None:
        return None
    try:
        labels, samples = _leads(holder, "MedianSamples")
        resolution = number(holder, "Resolution") or number(outer, "Resolution") or number(root, "StripData/Resolution")
        rate = number(holder, "SampleRate") or number(outer, "SampleRate") or fs
        if not resolution or resolution <= 0 or not 1 <= rate <= 200_000:
            raise EcgError("its resolution or sampling rate is missing")
        return median_beat(rows(samples, [resolution / 1000] * len(samples), warn), rate, labels)
    except EcgError as error:
        warn.append(f"the median beat cannot be read: {error}")
        return None


def _start(root: Element) -> datetime | None:
    when = root.find("ObservationDateTime")
    parts = [number(when, tag) for tag in ("Year", "Month", "Day", "Hour", "Minute", "Second")]
    if any(p is None for p in parts[:3]):
        return None
    year, month, day, hour, minute, second = (int(p or 0) for p in parts)
    try:
        return datetime(year, month, day, hour, minute, second)
    except (ValueError, OverflowError):
        return None


def _patient(patient: Element | None, start: datetime | None) -> Patient:
    parts = [text(patient, f"BirthDateTime/{tag}") or "" for tag in ("Year", "Month", "Day")]
    born = moment("-".join(parts), None, "%Y-%m-%d")
    extra = {tag: words for tag in ("PaceMaker", "Race") if (words := text(patient, tag))}
    return Patient(
        id=text(patient, "PID"),
        name=full_name(text(patient, "Name/FamilyName"), text(patient, "Name/GivenName")),
        age=age_in_years(number(patient, "Age"), born, start),
        sex=sex(text(patient, "Gender")),
        birth_date=None if born is None else born.date().isoformat(),
        height_cm=_in(patient, "Height", {"cm": 1.0, "in": 2.54, "inch": 2.54, "m": 100.0}),
        weight_kg=_in(patient, "Weight", {"kg": 1.0, "lb": 0.45359237, "lbs": 0.45359237}),
        extra=extra,
    )


def _in(patient: Element | None, tag: str, units: dict[str, float]) -> float | None:
    found = None if patient is None else patient.find(tag)
    value = number(found)
    factor = units.get((found.get("units") or next(iter(units))).lower()) if found is not None else None
    return None if not value or factor is None else value * factor


def _device(root: Element) -> Device:
    about, filters = root.find("ClinicalInfo/DeviceInfo"), root.find("FilterSetting")
    on = {tag: (text(filters, tag) or "").lower() in ("yes", "true", "on", "1") for tag in ("Filter50Hz", "Filter60Hz")}
    return Device(
        manufacturer="GE Healthcare",
        model=text(about, "Desc") or text(root, "Device-Type"),
        software=text(about, "SoftwareVer"),
        institution=text(root, "ClinicalInfo/InstitutionName") or text(root, "PatientVisit/AssignedPatientLocation/Facility"),
        highpass_hz=number(filters, "HighPass") or None,
        lowpass_hz=number(filters, "LowPass") or None,
        notch_hz=50.0 if on["Filter50Hz"] else 60.0 if on["Filter60Hz"] else None,
    )


def _measurements(root: Element) -> dict[str, float]:
    table, test = root.find("RestingECGMeasurements"), root.find("ExerciseMeasurements")
    return known(
        rate_bpm=number(table, "VentricularRate"),
        atrial_rate_bpm=number(table, "AtrialRate"),
        pr_ms=number(table, "PQInterval") or number(table, "PRInterval"),
        p_ms=number(table, "PDuration"),
        qrs_ms=number(table, "QRSDuration"),
        qt_ms=number(table, "QTInterval"),
        qtc_ms=number(table, "QTCInterval"),
        rr_ms=number(table, "RRInterval"),
        pp_ms=number(table, "PPInterval"),
        p_axis_deg=number(table, "PAxis"),
        qrs_axis_deg=number(table, "RAxis"),
        t_axis_deg=number(table, "TAxis"),
        qrs_count=number(table, "QRSNum"),
        qt_dispersion_ms=number(table, "QTDispersion"),
        p_onset_ms=number(table, "POnset"),
        p_offset_ms=number(table, "POffset"),
        qrs_onset_ms=number(table, "QOnset"),
        qrs_offset_ms=number(table, "QOffset"),
        t_offset_ms=number(table, "TOffset"),
        max_rate_bpm=number(test, "MaxHeartRate"),
        max_predicted_rate_bpm=number(test, "MaxPredictedHR"),
        max_workload_w=number(test, "MaxWorkload"),
    )


def _statements(root: Element) -> tuple[str, ...]:
    """The device's statements, and the physician's conclusion after them."""
    said = [text(s, "StmtText") or text(s) for s in root.iter("DiagnosisStatement")] or [
        text(c) for c in root.findall("Interpretation/Diagnosis")
    ]
    said += [text(c) for c in root.findall("Interpretation/Conclusion/ConclusionStatement")]
    return tuple(dict.fromkeys(words for words in said if words))


def _extra(root: Element) -> dict[str, object]:
    out: dict[str, object] = {}
    phases = []
    for entry in root.findall("TrendData/TrendEntry"):
        values = {c.tag: v for c in entry if (v := number(c)) is not None}
        minute, second = number(entry, "EntryTime/Minute"), number(entry, "EntryTime/Second")
        if minute is not None or second is not None:
            values["time_s"] = 60 * (minute or 0.0) + (second or 0.0)
        if values:
            phases.append(values)
    if phases:
        out["trend"] = tuple(phases)
    if (kind := text(root, "ObservationType")) is not None:
        out["ObservationType"] = kind
    return out


CARDIOSOFT = Format("cardiosoft", "GE CardioSoft XML (UK Biobank)", (".xml",), matches, read, read_all)
