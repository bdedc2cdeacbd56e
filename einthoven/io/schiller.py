"""Schiller XML (SEMA export, `eventdata/event/wavedata`) and Zoncare XML (root `zqecg`).

Facts: public readers of both; no file of either is at hand, so the tests make theirs. Schiller's channels are integers
parted by commas; Zoncare interleaves all leads and one more channel, 1000 steps to the mV.
"""

from __future__ import annotations

from datetime import datetime
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import File
from einthoven.io.finish import check_fs, distinct
from einthoven.io.format import Format, Options
from einthoven.io.person import age_in_years, full_name, moment, sex
from einthoven.io.xmltree import base64_int16, known, median_beat, need, number, numbers, parse, root_name, rows, step, text
from einthoven.record import STANDARD_LEADS, Device, EcgError, MedianBeat, Patient, Record, Signal

_MEASURED = {
    "rate_bpm": ("HR", "HEARTRATE", "HEART_RATE"),
    "rr_ms": ("RR", "RRINTERVAL", "RR_INTERVAL"),
    "p_ms": ("P", "PDURATION", "P_DURATION"),
    "pr_ms": ("PR", "PQ", "PRINTERVAL", "PR_INTERVAL"),
    "qrs_ms": ("QRS", "QRSDURATION", "QRS_DURATION"),
    "qt_ms": ("QT", "QTINTERVAL", "QT_INTERVAL"),
    "qtc_ms": ("QTC", "QTCB", "QTCINTERVAL", "QTC_INTERVAL"),
    "p_axis_deg": ("PAXIS", "P_AXIS"),
    "qrs_axis_deg": ("QRSAXIS", "QRS_AXIS", "RAXIS"),
    "t_axis_deg": ("TAXIS", "T_AXIS"),
}


def matches(file: File) -> bool:
    root = root_name(file)
    if root in ("", "RestingECG", "restingecgdata", "AnnotatedECG", "CardiologyXML", "zqecg"):
        return False
    data = file.data
    return file.size < 256 << 20 and data.find(b"<wavedata") >= 0 and data.find(b"<event") >= 0


def read(file: File, options: Options) -> Record:
    """The rhythm (`ECG_RHYTHMS`) of a Schiller file, (L, T) mV. Raises EcgError."""
    root, told = parse(bytes(file.data))
    warn = list(told)
    waves = list(root.iter("wavedata"))
    kinds = {(text(w, "type") or "").upper(): w for w in reversed(waves)}
    rhythm = kinds.get("ECG_RHYTHMS")
    if rhythm is None:
        raise EcgError(
            f"no wavedata of type ECG_RHYTHMS (there are: {', '.join(kinds) or 'none'})", where="eventdata/event/wavedata"
        )
    signal, fs, labels, scale = _waves(rhythm, options, warn)
    average = next((w for kind, w in kinds.items() if "AVERAGE" in kind or "MEDIAN" in kind), None)
    start = _start(root)
    return Record(
        signal=signal,
        fs=fs,
        leads=distinct(labels),
        start=start,
        patient=_patient(root.find(".//patdata"), start),
        device=Device(
            manufacturer="Schiller",
            model=text(root, ".//deviceid") or text(root, ".//device/name") or text(root, ".//devicename"),
            serial=text(root, ".//serialnumber") or text(root, ".//device/serialnumber"),
            software=text(root, ".//softwareversion"),
            institution=text(root, ".//institution") or text(root, ".//department"),
            highpass_hz=number(root, ".//highpassfilter") or number(rhythm, "filter/highpass"),
            lowpass_hz=number(root, ".//lowpassfilter") or number(rhythm, "filter/lowpass"),
            notch_hz=number(root, ".//mainsfilter") or number(rhythm, "filter/mains"),
        ),
        machine=_measurements(root),
        statements=_statements(root),
        median=_average(average, options, warn),
        warnings=tuple(warn),
        resolution_uv=(1000 * scale,) * len(labels),
    )


def _waves(waves: Element, options: Options, warn: list[str]) -> tuple[Signal, float, list[str], float]:
    """Signal (L, T) mV, its rate, its labels, and mV per step."""
    where = f"wavedata {text(waves, 'type')}"
    exponent = number(waves, "resolution/samplerate/exponent")
    if exponent not in (None, 1.0):
        raise EcgError(f"a sampling rate with the exponent {exponent:g} is not known", where=f"{where}/resolution/samplerate")
    fs = check_fs(need(waves, "resolution/samplerate/value", "sampling rate"), where=f"{where}/resolution/samplerate")
    scale = step(
        number(waves, "resolution/yres/unitperbit"),
        text(waves, "resolution/yres/units"),
        options,
        "uV",
        warn,
        f"{where}/resolution/yres",
    )
    labels, samples = [], []
    for index, channel in enumerate(waves.findall("channel")):
        label = text(channel, "name") or f"channel {index + 1}"
        kind = (text(channel, "datastype") or text(channel, "datatype") or "COMMASEPARATE").upper()
        if not kind.startswith(("COMMA", "SPACE", "TEXT")):
            raise EcgError(f"samples of type {kind!r} are not known", where=f"{where}/channel {label}")
        samples.append(numbers(text(channel, "data") or "", f"{where}/channel {label}"))
        labels.append(label)
    if not labels:
        raise EcgError("no channels", where=where)
    return rows(samples, [scale] * len(samples), warn), fs, labels, scale


def _average(waves: Element | None, options: Options, warn: list[str]) -> MedianBeat | None:
    if waves is None:
        return None
    try:
        signal, fs, labels, _ = _waves(waves, options, [])
    except EcgError as error:
        warn.append(f"the average beat cannot be read: {error}")
        return None
    return median_beat(signal, fs, labels)


def _start(root: Element) -> datetime | None:
    layouts = ("%Y%m%d %H%M%S", "%Y%m%d %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%Y%m%d", "%Y-%m-%d")
    for holder in (root.find(".//startdatetime"), root.find(".//examdatetime"), root.find(".//event")):
        if holder is not None:
            found = moment(text(holder, "date") or holder.get("date"), text(holder, "time") or holder.get("time"), *layouts)
            if found is not None:
                return found
    return None


def _patient(patient: Element | None, start: datetime | None) -> Patient:
    born = moment(text(patient, "birthdate") or text(patient, "dateofbirth"), None, "%Y%m%d", "%Y-%m-%d", "%d.%m.%Y")
    return Patient(
        id=text(patient, "id") or text(patient, "patientid"),
        name=full_name(text(patient, "lastname"), text(patient, "firstname")),
        age=age_in_years(number(patient, "age"), born, start),
        sex=sex(text(patient, "gender") or text(patient, "sex")),
        birth_date=None if born is None else born.date().isoformat(),
        height_cm=number(patient, "height") or None,
        weight_kg=number(patient, "weight") or None,
        extra={tag: words for tag in ("ethnic", "pacemaker") if (words := text(patient, tag))},
    )


def _measurements(root: Element) -> dict[str, float]:
    """Annotations and measurements that name themselves, by an element `name` or `type` beside a `value`."""
    found: dict[str, float] = {}
    for element in root.iter():
        if element.tag in ("measurement", "annotation", "interval"):
            name = text(element, "name") or text(element, "type") or element.get("name") or element.get("type")
            value = number(element, "value")
            if name and value is not None:
                found.setdefault(name.upper().replace(" ", "").replace("-", ""), value)
    return known(**{name: next((found[w] for w in words if w in found), None) for name, words in _MEASURED.items()})


def _statements(root: Element) -> tuple[str, ...]:
    said = [text(e, "text") or text(e) for tag in ("statement", "interpretation", "diagnosis") for e in root.iter(tag)]
    return tuple(dict.fromkeys(words for words in said if words))


def matches_zoncare(file: File) -> bool:
    return root_name(file) == "zqecg"


def read_zoncare(file: File, options: Options) -> Record:
    """A Zoncare file: the leads that its `lead` element counts, out of interleaved int16. Raises EcgError."""
    root, told = parse(bytes(file.data))
    warn = list(told)
    count = need(root, ".//lead", "number of leads")
    if count not in (1, 3, 6, 8, 12):
        raise EcgError(f"{count:g} leads are not known", where="zqecg/lead")
    fs = check_fs(need(root, ".//sample", "sampling rate"), where="zqecg/sample")
    flat = base64_int16(text(root, ".//data") or "", "zqecg/data")
    names = STANDARD_LEADS if count == 12 else ("I", "II", *STANDARD_LEADS[6:]) if count == 8 else STANDARD_LEADS[: int(count)]
    wide = len(names) + 1
    samples: list[NDArray[np.int16]] = list(flat[: len(flat) // wide * wide].reshape(-1, wide).T[: len(names)])
    promised = number(root, ".//second")
    if promised and abs(len(samples[0]) / fs - promised) > 1:
        warn.append(f"the file has {len(samples[0]) / fs:.1f} s of the {promised:g} s that it promises")
    return Record(
        signal=rows(samples, [1e-3] * len(names), warn),
        fs=fs,
        leads=names,
        device=Device(manufacturer="Zoncare"),
        patient=Patient(id=text(root, ".//patientid") or text(root, ".//id"), sex=sex(text(root, ".//sex"))),
        warnings=(*warn, "Zoncare: 1000 steps per mV, the one scale that the format is known with"),
        resolution_uv=(1.0,) * len(names),
    )


SCHILLER = Format("schiller", "Schiller XML", (".xml",), matches, read)
ZONCARE = Format("zoncare", "Zoncare XML", (".xml",), matches_zoncare, read_zoncare)
