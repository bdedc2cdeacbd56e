"""Mortara (Burdick, Baxter) ELI XML: a root with one CHANNEL element per lead, the samples in an attribute.

Facts: public readers of EL250/ELI 280 exports. mV = (raw + OFFSET) / UNITS_PER_MV; some files hold eight leads only.
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
from einthoven.io.xmltree import as_number, base64_bytes, known, median_beat, parse, root_name, rows, text
from einthoven.record import Device, EcgError, MedianBeat, Patient, Record, Source

# Depth of a sample -> numpy's type.
_TYPES = {(8, True): "i1", (8, False): "u1", (16, True): "<i2", (16, False): "<u2", (32, True): "<i4", (32, False): "<u4"}

# Attributes of the root and of TYPICAL_CYCLE, and this package's names.
_MEASURED = {
    "rate_bpm": ("VENT_RATE", "VENTRICULAR_RATE"),
    "rr_ms": ("AVERAGE_RR", "RR_INT", "RR_INTERVAL"),
    "pr_ms": ("PR_INT", "PR_INTERVAL", "PR_DURATION"),
    "p_ms": ("P_DURATION", "P_DUR"),
    "qrs_ms": ("QRS_DURATION", "QRS_DUR"),
    "qt_ms": ("QT_INT", "QT_INTERVAL", "QT_DURATION"),
    "qtc_ms": ("QTC_INT", "QTC_INTERVAL", "QTC", "QT_CORRECTED"),
    "qtcf_ms": ("QTCF",),
    "p_axis_deg": ("P_AXIS",),
    "qrs_axis_deg": ("QRS_AXIS",),
    "t_axis_deg": ("T_AXIS",),
    "qrs_count": ("NUM_QRS",),
}


def matches(file: File) -> bool:
    if not root_name(file):
        return False
    data = file.data
    at = data.find(b"<CHANNEL")
    return at >= 0 and data.find(b"UNITS_PER_MV", at, at + 4096) >= 0


def read(file: File, options: Options) -> Record:
    """The CHANNELs of an ELI file, (L, T) mV. Raises EcgError."""
    root, told = parse(bytes(file.data))
    warn = list(told)
    channels = root.findall("CHANNEL") or list(root.iter("CHANNEL"))
    labels, samples, scales, rates = [], [], [], []
    for index, channel in enumerate(channels):
        label = channel.get("NAME") or f"channel {index + 1}"
        raw, per_mv = _channel(channel, channel, f"CHANNEL {label}", warn)
        samples.append(raw)
        scales.append(1 / per_mv)
        labels.append(label)
        rates.append(as_number(channel.get("SAMPLE_FREQ")) or 0.0)
    if not labels:
        raise EcgError("no CHANNEL", where=root.tag)
    if len(set(rates)) != 1:
        raise EcgError(f"leads of different sampling rates ({sorted(set(rates))} Hz)", where="CHANNEL/@SAMPLE_FREQ")
    fs = check_fs(rates[0], where="CHANNEL/@SAMPLE_FREQ")
    start = moment(
        root.get("ACQUISITION_TIME"), None, "%Y%m%d%H%M%S", "%Y%m%d%H%M%S.%f", "%Y-%m-%dT%H:%M:%S", "%m/%d/%Y %H:%M:%S"
    )
    source, cycle = root.find("SOURCE"), root.find("TYPICAL_CYCLE")
    return Record(
        signal=rows(samples, scales, warn),
        fs=fs,
        leads=distinct(labels),
        start=start,
        patient=_patient(root, start),
        device=Device(
            manufacturer=_attribute(source, "MANUFACTURER") or "Mortara Instrument",
            model=_attribute(source, "MODEL"),
            serial=_attribute(source, "ACQUIRING_DEVICE_SERIAL_NUMBER", "SERIAL_NUMBER"),
            software=_attribute(source, "SOFTWARE_VERSION", "VERSION"),
            institution=_attribute(source, "INSTITUTION", "SITE"),
            highpass_hz=as_number(_attribute(source, "HIGH_PASS_FILTER")) or None,
            lowpass_hz=as_number(_attribute(source, "LOW_PASS_FILTER")) or None,
            notch_hz=as_number(_attribute(source, "NOTCH_FILTER", "AC_FILTER")) or None,
        ),
        machine=_measurements(root, cycle),
        statements=_statements(root),
        median=_cycle(cycle, fs, warn),
        warnings=tuple(warn),
        source=Source(version=root.get("VERSION")),
        resolution_uv=tuple(1000 * s for s in scales),
    )


def _attribute(element: Element | None, *names: str) -> str | None:
    found = (element.get(n) for n in names) if element is not None else ()
    return next((words.strip() for words in found if words and words.strip()), None)


def _channel(channel: Element, facts: Element, where: str, warn: list[str]) -> tuple[NDArray[np.float64], float]:
    """Samples in steps from the zero line, and steps per mV."""
    per_mv = as_number(facts.get("UNITS_PER_MV"))
    if per_mv is None or per_mv <= 0:
        raise EcgError(f"UNITS_PER_MV is missing or not positive: {facts.get('UNITS_PER_MV')!r}", where=where)
    bits = as_number(facts.get("BITS")) or 16.0
    kind = _TYPES.get((int(bits), (facts.get("FORMAT") or "SIGNED").upper() != "UNSIGNED"))
    encoding = (facts.get("ENCODING") or "BASE64").upper()
    if kind is None or encoding != "BASE64":
        raise EcgError(f"samples of {bits:g} bits, {facts.get('FORMAT')}, {encoding} are not known", where=where)
    raw = base64_bytes(channel.get("DATA") or text(channel) or "", where)
    size = np.dtype(kind).itemsize
    if len(raw) % size:
        raise EcgError(f"{len(raw)} bytes are no whole number of samples", where=where)
    values = np.frombuffer(raw, kind).astype(np.float64)
    told = as_number(facts.get("DURATION"))
    if told is not None and 0 < told < len(values):
        values = values[: int(told)]
    elif told is not None and told > len(values):
        warn.append(f"{where} has {len(values)} of the {told:g} samples that the file promises")
    return values + (as_number(facts.get("OFFSET")) or 0.0), per_mv


def _cycle(cycle: Element | None, fs: float, warn: list[str]) -> MedianBeat | None:
    """The typical cycle: its facts stand on the element, or on each of its channels."""
    if cycle is None:
        return None
    labels, samples, scales = [], [], []
    try:
        for channel in cycle.iter("TYPICAL_CYCLE_CHANNEL"):
            label = channel.get("NAME") or "?"
            facts = channel if channel.get("UNITS_PER_MV") else cycle
            raw, per_mv = _channel(channel, facts, f"TYPICAL_CYCLE {label}", warn)
            labels.append(label)
            samples.append(raw)
            scales.append(1 / per_mv)
        rate = as_number(cycle.get("SAMPLE_FREQ")) or fs
        if not labels or not 1 <= rate <= 200_000:
            return None
        return median_beat(rows(samples, scales, warn), rate, labels)
    except EcgError as error:
        warn.append(f"the typical cycle cannot be read: {error}")
        return None


def _measurements(root: Element, cycle: Element | None) -> dict[str, float]:
    def first(names: tuple[str, ...]) -> float | None:
        found = (as_number(e.get(n)) for e in (root, cycle) if e is not None for n in names)
        return next((value for value in found if value is not None), None)

    return known(**{name: first(attributes) for name, attributes in _MEASURED.items()})


def _statements(root: Element) -> tuple[str, ...]:
    out = []
    for element in root.iter():
        tag = element.tag.upper()
        if "STATEMENT" in tag or tag in ("INTERPRETATION", "DIAGNOSIS", "CONCLUSION"):
            words = element.get("TEXT") or element.get("VALUE") or element.get("DESCRIPTION") or text(element)
            if words and words.strip():
                out.append(words.strip())
    return tuple(dict.fromkeys(out))


def _patient(root: Element, start: datetime | None) -> Patient:
    """Demographic fields, each with the label that the site chose for it ("Last:", "ID:", "Age&yr" ...)."""
    fields: dict[str, str] = {}
    for item in root.iter("DEMOGRAPHIC_FIELD"):
        label = (item.get("LABEL") or item.get("NAME") or "").strip().rstrip(":&,").lower()
        value = (item.get("VALUE") or text(item) or "").strip()
        if label and value:
            fields.setdefault(label, value)

    def field(*labels: str) -> str | None:
        return next((v for k, v in fields.items() for label in labels if k.partition("&")[0].rstrip(":") == label), None)

    born = moment(field("dob", "birth date", "date of birth"), None, "%Y%m%d", "%m/%d/%Y", "%Y-%m-%d", "%d.%m.%Y")
    subject = root.find("SUBJECT")
    return Patient(
        id=field("id", "patient id") or _attribute(subject, "ID"),
        name=full_name(
            field("last", "name", "last name") or _attribute(subject, "LAST_NAME"),
            field("first", "fname", "first name") or _attribute(subject, "FIRST_NAME"),
        ),
        age=age_in_years(as_number(field("age") or _attribute(subject, "AGE")), born, start),
        sex=sex(field("sex", "gender") or _attribute(subject, "GENDER", "SEX")),
        birth_date=None if born is None else born.date().isoformat(),
        extra={} if (race := field("race")) is None else {"race": race},
    )


ELI = Format("eli", "Mortara ELI XML", (".xml",), matches, read)
