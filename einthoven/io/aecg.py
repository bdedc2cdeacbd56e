"""HL7 annotated ECG (`AnnotatedECG`, urn:hl7-org:v3), also as MegaCare writes it: reader and writer.

Facts: Brown & Badilini, HL7 aECG Implementation Guide (2005), its example file, and files of Philips and Mindray. A series
holds sequence sets; in each, one sequence is time and the others are leads: digits x scale + origin.
"""

from __future__ import annotations

import hashlib
import html
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from einthoven.io import calibration
from einthoven.io.files import File, replacing
from einthoven.io.finish import check_fs, distinct, lead_name, millivolts
from einthoven.io.format import Format, Options
from einthoven.io.person import age_in_years, sex
from einthoven.io.save import storage_steps
from einthoven.io.xmltree import as_number, known, median_beat, numbers, parse, root_name, rows, step, text
from einthoven.record import Device, EcgError, MedianBeat, Patient, Record, Signal, Source

_LEAD = re.compile(r"(?:MDC|NOM)_ECG_(?:LEAD|ELEC_POTL)_", re.IGNORECASE)
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "": 1.0}

# Measurement codes, without the vendor's prefix, and this package's names. The first code that a file has wins.
_CODES: dict[str, tuple[str, ...]] = {
    "rate_bpm": ("ECG_HEART_RATE", "ECG_HEART_RATE_VENT", "ECG_CARD_BEAT_RATE"),
    "atrial_rate_bpm": ("ECG_HEART_RATE_ATRIAL", "ECG_ATRIAL_RATE"),
    "rr_ms": ("ECG_TIME_PD_RR",),
    "pp_ms": ("ECG_TIME_PD_PP",),
    "p_ms": ("ECG_TIME_PD_P",),
    "pr_ms": ("ECG_TIME_PD_PR", "ECG_TIME_PD_PQ"),
    "qrs_ms": ("ECG_TIME_PD_QRS",),
    "qt_ms": ("ECG_TIME_PD_QT",),
    "qtc_ms": ("ECG_TIME_PD_QTC", "ECG_TIME_PD_QTCB"),
    "qtcf_ms": ("ECG_TIME_PD_QTCF",),
    "qtch_ms": ("ECG_TIME_PD_QTCH",),
    "p_axis_deg": ("ECG_ANGLE_P_FRONT", "ECG_P_AXIS"),
    "qrs_axis_deg": ("ECG_ANGLE_QRS_FRONT", "ECG_QRS_AXIS"),
    "t_axis_deg": ("ECG_ANGLE_T_FRONT", "ECG_T_AXIS"),
}
# What the writer calls them, and their unit.
_WRITTEN = {
    "rate_bpm": ("MDC_ECG_HEART_RATE", "bpm"),
    "rr_ms": ("MDC_ECG_TIME_PD_RR", "ms"),
    "pp_ms": ("MDC_ECG_TIME_PD_PP", "ms"),
    "p_ms": ("MDC_ECG_TIME_PD_P", "ms"),
    "pr_ms": ("MDC_ECG_TIME_PD_PR", "ms"),
    "qrs_ms": ("MDC_ECG_TIME_PD_QRS", "ms"),
    "qt_ms": ("MDC_ECG_TIME_PD_QT", "ms"),
    "qtc_ms": ("MDC_ECG_TIME_PD_QTc", "ms"),
    "qtcf_ms": ("MDC_ECG_TIME_PD_QTcF", "ms"),
    "p_axis_deg": ("MDC_ECG_ANGLE_P_FRONT", "deg"),
    "qrs_axis_deg": ("MDC_ECG_ANGLE_QRS_FRONT", "deg"),
    "t_axis_deg": ("MDC_ECG_ANGLE_T_FRONT", "deg"),
    "atrial_rate_bpm": ("MDC_ECG_HEART_RATE_ATRIAL", "bpm"),
}


def matches(file: File) -> bool:
    return root_name(file) == "AnnotatedECG"


def read(file: File, options: Options) -> Record:
    """The first rhythm series of an annotated ECG. Raises EcgError, also where there is no waveform."""
    return next(read_all(file, options))


def read_all(file: File, options: Options) -> Iterator[Record]:
    """Every rhythm series, one Record each."""
    root, told = parse(bytes(file.data))
    series = root.findall("component/series")
    rhythm = [s for s in series if "RHYTHM" in _code(s).upper()] or [s for s in series if s.find(".//digits") is not None]
    if not rhythm:
        raise EcgError("an annotated ECG without a waveform", where="AnnotatedECG/component/series")
    for one in rhythm:
        yield _record(root, one, options, list(told))


@dataclass
class _Set:
    """A sequence set: leads on one time base."""

    signal: Signal
    fs: float
    labels: list[str] = field(default_factory=list)
    steps_mv: list[float] = field(default_factory=list)
    head: str | None = None


def _record(root: Element, series: Element, options: Options, warn: list[str]) -> Record:
    sets = [s for found in series.findall("component/sequenceSet") if (s := _sequences(found, options, warn)) is not None]
    if not sets:
        raise EcgError("a series without a waveform", where="series/component/sequenceSet")
    main = max(sets, key=lambda s: s.signal.size)
    if len(sets) > 1:
        warn.append(f"the series has {len(sets)} sequence sets: the largest is read")
    start = _moment(main.head) or _effective(series) or _effective(root)
    derived = [d for d in series.findall("derivation/derivedSeries") if "BEAT" in _code(d).upper() or len(d)]
    machine = _measurements(series, derived)
    pulse, where = calibration.told(main.signal, main.fs)
    promised = _seconds(series)
    if promised is not None and abs(promised - main.signal.shape[1] / main.fs) > max(0.5, 0.02 * promised):
        warn.append(f"the series lasts {promised:g} s by its effectiveTime, its samples {main.signal.shape[1] / main.fs:g} s")
    return Record(
        signal=main.signal,
        fs=main.fs,
        leads=distinct(main.labels),
        start=start,
        patient=_patient(root, start),
        device=_device(root, series),
        machine=machine,
        statements=_statements(series),
        median=_median(derived, options, warn),
        warnings=(*warn, *pulse),
        source=Source(version=root.get("schemaLocation", "").rpartition("/")[2].partition(" ")[0] or None),
        resolution_uv=tuple(1000 * s for s in main.steps_mv),
        extra=_extra(root, series, _moment(main.head)) | where,
    )


def _code(element: Element | None) -> str:
    code = None if element is None else element.find("code")
    return "" if code is None else code.get("code") or ""


def _sequences(sequences: Element, options: Options, warn: list[str]) -> _Set | None:
    """The leads of one sequence set; None where it has none. Time is found by its code, wherever it stands."""
    fs, head = options.fs, None
    labels, samples, scales = [], [], []
    for sequence in sequences.findall("component/sequence"):
        code, value = _code(sequence), sequence.find("value")
        if value is None:
            continue
        if code.startswith("TIME_"):
            increment = value.find("increment")
            unit = (increment.get("unit") or "").strip() if increment is not None else ""
            every = as_number(increment.get("value")) if increment is not None else None
            if every is None or every <= 0 or unit not in _SECONDS:
                raise EcgError(f"impossible time increment {every} {unit!r}", where=f"sequence {code}/increment")
            fs = 1 / (every * _SECONDS[unit])
            fs = round(fs) if abs(fs - round(fs)) < 1e-6 * fs else fs
            found = value.find("head")
            head = found.get("value") if found is not None and code == "TIME_ABSOLUTE" else None
        elif (digits := text(value, "digits")) is not None:
            raw, scale = _digits(value, digits, code, options, warn)
            samples.append(raw)
            scales.append(scale)
            labels.append(_LEAD.sub("", code) or "?")
    if not samples:
        return None
    if fs is None:
        raise EcgError("no time sequence, so the sampling rate is unknown (give --fs)", where="sequenceSet/component/sequence")
    check_fs(fs, where="sequence TIME/increment")
    return _Set(rows(samples, [1.0] * len(samples), warn), float(fs), labels, scales, head)


def _digits(value: Element, digits: str, code: str, options: Options, warn: list[str]) -> tuple[NDArray[np.float64], float]:
    """Samples of one lead in mV, and mV per step."""
    where = f"sequence {code or '?'}"
    scale, origin = value.find("scale"), value.find("origin")
    size = None if scale is None else as_number(scale.get("value"))
    unit = None if scale is None else scale.get("unit")
    factor = step(size, unit, options, "uV", warn, f"{where}/scale")
    zero = 0.0 if origin is None else as_number(origin.get("value")) or 0.0
    if zero:
        zero *= millivolts(origin.get("unit") or unit or options.unit or "uV") or 0.0 if origin is not None else 0.0
    return numbers(digits, f"{where}/digits") * factor + zero, factor


def _median(derived: list[Element], options: Options, warn: list[str]) -> MedianBeat | None:
    for series in derived:
        for found in series.findall("component/sequenceSet"):
            try:
                beat = _sequences(found, options, [])
            except EcgError as error:
                warn.append(f"the representative beat cannot be read: {error}")
                return None
            if beat is not None:
                top = np.array(beat.steps_mv)[:, None] * 32766.5  # Philips marks samples beyond the beat with 32767
                signal = np.where(np.abs(beat.signal) > top, np.float32(np.nan), beat.signal).astype(np.float32)
                return median_beat(signal, beat.fs, beat.labels)
    return None


def _moment(stamp: str | None) -> datetime | None:
    """An HL7 time stamp, YYYYMMDD[HHMM[SS[.fff]]][+ZZZZ]."""
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?(\.\d+)?)?([+-]\d{4})?", (stamp or "").strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        offset = None if zone is None else timezone(timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:])))
        whole = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=offset)
    except ValueError:
        return None
    return whole + timedelta(seconds=round(float(fraction or 0), 6))


def _effective(element: Element) -> datetime | None:
    for tag in ("low", "center", "high"):
        found = element.find(f"effectiveTime/{tag}")
        if found is not None and tag != "high" and (when := _moment(found.get("value"))) is not None:
            return when
    whole = element.find("effectiveTime")
    return None if whole is None else _moment(whole.get("value"))


def _seconds(series: Element) -> float | None:
    """Length of a series by its effectiveTime."""
    low, high = series.find("effectiveTime/low"), series.find("effectiveTime/high")
    ends = [None if e is None else _moment(e.get("value")) for e in (low, high)]
    if ends[0] is None or ends[1] is None or (ends[0].tzinfo is None) != (ends[1].tzinfo is None):
        return None
    return (ends[1] - ends[0]).total_seconds()


def _patient(root: Element, start: datetime | None) -> Patient:
    subject = root.find(".//trialSubject")
    person = None if subject is None else subject.find("subjectDemographicPerson")
    ident = None if subject is None else subject.find("id")
    gender = None if person is None else person.find("administrativeGenderCode")
    birth = None if person is None else person.find("birthTime")
    born = _moment(birth.get("value")) if birth is not None else None
    race = None if person is None else person.find("raceCode")
    name = text(person, "name")
    if (
        name is None
        and person is not None
        and (parts := [p for tag in ("family", "given") if (p := text(person, f"name/{tag}"))])
    ):
        name = "^".join(parts)
    return Patient(
        id=(None if ident is None else ident.get("extension")) or text(person, "PatientID"),
        name=name if name and name.strip(" -") else None,
        age=age_in_years(_reported_age(root), born, start),
        sex=None if gender is None else sex(gender.get("code")),
        birth_date=None if born is None else born.date().isoformat(),
        extra={} if race is None or not race.get("displayName") else {"race": race.get("displayName", "")},
    )


def _reported_age(root: Element) -> float | None:
    """LOINC 21612-7, in years ("a"), months or days."""
    for observation in root.iter("relatedObservation"):
        value = observation.find("value")
        if _code(observation) == "21612-7" and value is not None:
            age = as_number(value.get("value"))
            per_year = {"a": 1.0, "mo": 12.0, "wk": 52.1775, "d": 365.25}.get(value.get("unit") or "a")
            return None if age is None or per_year is None else age / per_year
    return None


def _device(root: Element, series: Element) -> Device:
    author = series.find("author/seriesAuthor")
    made = None if author is None else author.find("manufacturedSeriesDevice")
    serial = None if author is None else author.find("id")
    within = None if made is None else made.find("id")
    return Device(
        manufacturer=text(author, "manufacturerOrganization/name"),
        model=text(made, "manufacturerModelName"),
        serial=(None if serial is None else serial.get("extension"))
        or text(made, "SerialNumber")
        or (None if within is None else within.get("extension")),
        software=text(made, "softwareName"),
        institution=text(root, ".//trialSite/location/name"),
        highpass_hz=_filter(series, "HIGH_PASS", "CUTOFF_FREQ"),
        lowpass_hz=_filter(series, "LOW_PASS", "CUTOFF_FREQ"),
        notch_hz=_filter(series, "NOTCH", "NOTCH_FREQ"),
    )


def _filter(series: Element, kind: str, what: str) -> float | None:
    for outer in series.findall("controlVariable/controlVariable"):
        if _code(outer).endswith(f"FILTER_{kind}"):
            for inner in outer.iter("controlVariable"):
                value = inner.find("value")
                if _code(inner).endswith(what) and value is not None:
                    return as_number(value.get("value")) or None
    return None


def _short(code: str) -> str:
    """A code without its vendor: MDC_ECG_TIME_PD_PR and MINDRAY_ECG_TIME_PD_PR are one thing."""
    return "ECG_" + code.upper().partition("_ECG_")[2] if "_ECG_" in code.upper() else code.upper()


def _measurements(series: Element, derived: list[Element]) -> dict[str, float]:
    """Global values first, then those of the representative beat, then those of the first beat that has them."""
    found: dict[str, float] = {}
    outer = series.findall("subjectOf/annotationSet/component/annotation")
    sources = [a for a in outer if "BEAT" not in _code(a).upper()]
    for one in derived:
        sources += one.findall("subjectOf/annotationSet/component/annotation")
    sources += [a for a in outer if a not in sources]
    for annotation in sources:
        for inner in annotation.iter("annotation"):
            value = inner.find("value")
            amount = None if value is None else as_number(value.get("value"))
            if value is None or amount is None:
                continue
            unit = (value.get("unit") or "").strip()
            found.setdefault(_short(_code(inner)), 1000 * amount if unit == "s" else amount)
    out = {name: next((found[c] for c in codes if c in found), None) for name, codes in _CODES.items()}
    return known(**{n: v for n, v in out.items() if v or n.endswith("_deg")})  # 0 ms is Mindray's "not measured"


def _statements(series: Element) -> tuple[str, ...]:
    """What the device says: interpretation statements, else the rhythm it annotated."""
    said: list[str] = []
    rhythm: list[str] = []
    for annotation in series.iter("annotation"):
        code, value = _code(annotation), annotation.find("value")
        if value is None:
            continue
        words = text(value) or value.get("displayName") or ""
        words = words.strip(" ,") if words.startswith("(") else words  # Philips: "(SB) SINUS BRADYCARDIA, V-rate<60, "
        if words and "INTERPRETATION" in code.upper() and "CONFIRM" not in code.upper():
            said.append(words)
        elif words and code == "MDC_ECG_RHY":
            rhythm.append(words)
    return tuple(dict.fromkeys(said or rhythm))


def _extra(root: Element, series: Element, start: datetime | None) -> dict[str, object]:
    """Onsets and offsets that the file marks, in s from its start; the comment on the finding; the trial."""
    out: dict[str, object] = {}
    marks: dict[str, list[float]] = {}
    for annotation in series.iter("annotation"):
        value = annotation.find("value")
        kind = "" if value is None else (value.get("code") or "").upper()
        wave = next((w for w in ("P", "QRS", "T") if kind.endswith(f"WAVC_{w}WAVE")), None)
        if wave is None or start is None:
            continue
        boundary = annotation.find("support/supportingROI/component/boundary/value")
        for tag, side in (("low", "onset"), ("high", "offset")):
            found = None if boundary is None else boundary.find(tag)
            when = None if found is None else _moment(found.get("value"))
            if when is not None and (when.tzinfo is None) == (start.tzinfo is None):
                marks.setdefault(f"{wave.lower()}_{side}_s", []).append(round((when - start).total_seconds(), 6))
    out.update({name: tuple(values) for name, values in marks.items()})
    comment = text(root, "pertainsTo/subjectFindingComment/text")
    if comment:
        out["comment"] = comment
    trial = text(root, ".//clinicalTrial/title")
    if trial:
        out["trial"] = trial
    return out


def write(record: Record, path: Path) -> list[Path]:
    """Writes an annotated ECG: MDC lead codes, SLIST_PQ in µV, demographics, filters, measurements, statements, median beat.

    Samples are rounded to the record's own resolution. A lead that was not recorded is left out; a gap inside a lead
    cannot be said in this format and raises EcgError.
    """
    document = _document(record).encode("utf-8", "replace")
    with replacing(path) as draft:
        draft.write_bytes(document)
    return [path]


def _document(record: Record) -> str:
    start = record.start or datetime(1970, 1, 1)
    stamp, end = _stamp(start), _stamp(start + timedelta(seconds=record.duration))
    person, device = record.patient, record.device
    born = (person.birth_date or "").replace("-", "")[:8]
    seed = hashlib.sha256(np.ascontiguousarray(record.signal).tobytes()).hexdigest()
    age = "" if person.age is None else _AGE.format(age=f"{person.age:g}")
    median = ""
    if record.median is not None:
        whole = Record(record.median.signal, record.median.fs, record.median.leads, resolution_uv=_median_steps(record))
        head = '<head value="0" unit="s"/>'
        median = (
            '<derivation><derivedSeries><id root="{}"/><code code="REPRESENTATIVE_BEAT" codeSystem="2.16.840.1.113883.5.4"'
            ' codeSystemName="ActCode"/><effectiveTime><low value="{}"/><high value="{}"/></effectiveTime>{}'
            "</derivedSeries></derivation>"
        ).format(
            uuid.uuid5(uuid.NAMESPACE_OID, seed + "median"), stamp, end, _sequence_set(whole, "TIME_RELATIVE", "GLIST_PQ", head)
        )
    return _FILE.format(
        root=uuid.uuid5(uuid.NAMESPACE_OID, seed),
        series=uuid.uuid5(uuid.NAMESPACE_OID, seed + "series"),
        low=stamp,
        high=end,
        subject=f"<id extension={quoteattr(person.id)}/>" if person.id else "<id/>",
        name=f"<name>{escape(person.name)}</name>" if person.name else "",
        gender={"male": "M", "female": "F"}.get(person.sex or "", "UN"),
        birth=f'<birthTime value="{born}"/>' if born.isdigit() else "",
        age=age,
        site=f"<name>{escape(device.institution)}</name>" if device.institution else "",
        author=_author(record),
        filters="".join(
            _FILTER.format(kind=kind, what=what, value=f"{value:g}")
            for kind, what, value in (
                ("LOW_PASS", "CUTOFF_FREQ", device.lowpass_hz),
                ("HIGH_PASS", "CUTOFF_FREQ", device.highpass_hz),
                ("NOTCH", "NOTCH_FREQ", device.notch_hz),
            )
            if value is not None
        ),
        waves=_sequence_set(record, "TIME_ABSOLUTE", "GLIST_TS", f'<head value="{stamp}"/>'),
        annotations=_annotations(record, stamp),
        median=median,
    )


# What XML 1.0 cannot hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def escape(words: str) -> str:
    """Text as XML."""
    return html.escape(_FORBIDDEN.sub(" ", words), quote=False)


def quoteattr(words: str) -> str:
    """An attribute as XML, with its quotes."""
    return f'"{html.escape(_FORBIDDEN.sub(" ", words))}"'


def _stamp(when: datetime) -> str:
    zone = when.strftime("%z")[:5]
    return when.strftime("%Y%m%d%H%M%S.") + f"{when.microsecond // 1000:03d}" + zone


def _median_steps(record: Record) -> tuple[float, ...]:
    assert record.median is not None
    steps = record.resolution_uv
    if steps is None:
        return (0.0,) * len(record.median.leads)
    return tuple(steps[record.leads.index(n)] if n in record.leads else 0.0 for n in record.median.leads)


def _sequence_set(record: Record, time_code: str, time_type: str, head: str) -> str:
    parts = [
        f'<component><sequenceSet><component><sequence><code code="{time_code}" codeSystem="2.16.840.1.113883.5.4" '
        f'codeSystemName="ActCode"/><value xsi:type="{time_type}">{head}'
        f'<increment value="{1 / record.fs:.15g}" unit="s"/></value>'
        "</sequence></component>"
    ]
    for name, row, size in zip(record.leads, record.signal, storage_steps(record), strict=True):
        missing = ~np.isfinite(row)
        if missing.all():
            continue
        if missing.any():
            raise EcgError(f"{int(missing.sum())} missing samples cannot be written as HL7 aECG", where=f"lead {name}")
        digits = np.rint(row.astype(np.float64) * 1000 / size).astype(np.int64)
        code = "MDC_ECG_LEAD_" + re.sub(r"[^A-Z0-9_]", "_", lead_name(name)[0].upper())
        parts.append(
            f'<component><sequence><code code="{code}" codeSystem="2.16.840.1.113883.6.24" codeSystemName="MDC"'
            f' displayName={quoteattr(name)}/><value xsi:type="SLIST_PQ"><origin value="0" unit="uV"/>'
            f'<scale value="{size:.12g}" unit="uV"/><digits>{" ".join(map(str, digits.tolist()))}</digits></value>'
            "</sequence></component>\n"
        )
    return "".join(parts) + "</sequenceSet></component>"


def _author(record: Record) -> str:
    device = record.device
    inner = "".join(
        f"<{tag}>{escape(words)}</{tag}>"
        for tag, words in (("manufacturerModelName", device.model), ("softwareName", device.software))
        if words
    )
    serial = f"<id extension={quoteattr(device.serial)}/>" if device.serial else ""
    made = (
        f"<manufacturerOrganization><name>{escape(device.manufacturer)}</name></manufacturerOrganization>"
        if device.manufacturer
        else ""
    )
    made = f"<manufacturedSeriesDevice>{inner}</manufacturedSeriesDevice>{made}"
    return f"<author><seriesAuthor>{serial}{made}</seriesAuthor></author>"


def _annotations(record: Record, stamp: str) -> str:
    parts = [
        f'<component><annotation><code code="{_WRITTEN[name][0]}" codeSystem="2.16.840.1.113883.6.24" codeSystemName="MDC"/>'
        f'<value xsi:type="PQ" value="{value:.12g}" unit="{_WRITTEN[name][1]}"/></annotation></component>\n'
        for name, value in record.machine.items()
        if name in _WRITTEN
    ]
    if record.statements:
        said = "".join(
            '<component><annotation><code code="MDC_ECG_INTERPRETATION_STATEMENT" codeSystem="2.16.840.1.113883.6.24" '
            f'codeSystemName="MDC"/><value xsi:type="ST">{escape(words)}</value></annotation></component>\n'
            for words in record.statements
        )
        parts.append(
            '<component><annotation><code code="MDC_ECG_INTERPRETATION" codeSystem="2.16.840.1.113883.6.24" '
            f'codeSystemName="MDC"/>{said}</annotation></component>'
        )
    if not parts:
        return ""
    return f'<subjectOf><annotationSet><activityTime value="{stamp}"/>{"".join(parts)}</annotationSet></subjectOf>'


_AGE = (
    '<controlVariable><relatedObservation><code code="21612-7" codeSystem="2.16.840.1.113883.6.1" codeSystemName="LOINC" '
    'displayName="Reported Age"/><value xsi:type="PQ" value="{age}" unit="a"/></relatedObservation></controlVariable>'
)
_FILTER = (
    '<controlVariable><controlVariable><code code="MDC_ECG_CTL_VBL_ATTR_FILTER_{kind}" codeSystem="2.16.840.1.113883.6.24" '
    'codeSystemName="MDC"/><component><controlVariable><code code="MDC_ECG_CTL_VBL_ATTR_FILTER_{what}" '
    'codeSystem="2.16.840.1.113883.6.24" codeSystemName="MDC"/><value xsi:type="PQ" value="{value}" unit="Hz"/>'
    "</controlVariable></component></controlVariable></controlVariable>\n"
)
_FILE = """<?xml version="1.0" encoding="UTF-8"?>
<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:voc="urn:hl7-org:v3/voc" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="urn:hl7-org:v3 PORT_MT020001.xsd" type="Observation">
<id root="{root}"/>
<code code="93000" codeSystem="2.16.840.1.113883.6.12" codeSystemName="CPT-4"/>
<effectiveTime><low value="{low}" inclusive="true"/><high value="{high}" inclusive="false"/></effectiveTime>
<componentOf><timepointEvent><componentOf><subjectAssignment>
<subject><trialSubject>{subject}<subjectDemographicPerson>{name}\
<administrativeGenderCode code="{gender}" codeSystem="2.16.840.1.113883.5.1"/>{birth}\
</subjectDemographicPerson></trialSubject></subject>
<componentOf><clinicalTrial><id root="{root}" extension="none"/><location><trialSite><id root="{root}" extension="none"/>\
<location>{site}</location></trialSite></location></clinicalTrial></componentOf>
</subjectAssignment></componentOf></timepointEvent></componentOf>
{age}
<component><series><id root="{series}"/>
<code code="RHYTHM" codeSystem="2.16.840.1.113883.5.4" codeSystemName="ActCode" displayName="Rhythm Waveforms"/>
<effectiveTime><low value="{low}" inclusive="true"/><high value="{high}" inclusive="false"/></effectiveTime>
{author}
{filters}{waves}
{annotations}
{median}
</series></component>
</AnnotatedECG>
"""


AECG = Format("aecg", "HL7 annotated ECG", (".xml", ".aecg"), matches, read, read_all, write)
