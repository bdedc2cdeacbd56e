"""Philips Sierra XML, 1.03 to 1.04.02 (root `restingecgdata`): XLI-compressed rhythm, representative beats, measurements.

Facts: the published decoder sierraecg (MIT) and real files of versions 1.03, 1.04 and 1.04.01. XLI is, per lead, LZW with
10-bit codes over the high bytes and then the low bytes of int16 second differences; four limb leads come as what their
prediction from I, II and III leaves over.
"""

from __future__ import annotations

import struct
from datetime import datetime
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from einthoven.io import calibration
from einthoven.io.files import File
from einthoven.io.finish import check_fs, check_samples, distinct, lead_name
from einthoven.io.format import Format, Options
from einthoven.io.person import age_in_years, full_name, moment, sex
from einthoven.io.xmltree import (
    as_number,
    base64_bytes,
    base64_int16,
    known,
    median_beat,
    number,
    parse,
    root_name,
    rows,
    step,
    text,
)
from einthoven.record import STANDARD_LEADS, Device, EcgError, MedianBeat, Patient, Record, Source

KINDS, VERSIONS = ("SierraECG", "PhilipsECG"), ("1.03", "1.04", "1.04.01", "1.04.02")
MAX_SECONDS = 3600.0  # a resting recorder; bounds what LZW may expand to

Counts = NDArray[np.int64]


def matches(file: File) -> bool:
    return root_name(file) == "restingecgdata"


def read(file: File, options: Options) -> Record:
    """The continuous waveform of a Philips file, (12 leads, 5500 samples of 500 Hz as a rule) mV. Raises EcgError."""
    root, told = parse(bytes(file.data))
    warn = list(told)
    kind, version = text(root, "documentinfo/documenttype"), text(root, "documentinfo/documentversion")
    if kind not in KINDS:
        raise EcgError(f"document type {kind!r} is not one of {', '.join(KINDS)}", where="documentinfo/documenttype")
    if version not in VERSIONS:
        raise EcgError(f"version {version!r} is not one of {', '.join(VERSIONS)}", where="documentinfo/documentversion")
    acquired, waves = root.find("dataacquisition"), root.find("waveforms/parsedwaveforms")
    signal_facts = None if acquired is None else acquired.find("signalcharacteristics")
    if waves is None:
        raise EcgError("no waveforms", where="waveforms/parsedwaveforms")

    def fact(*names: str) -> str | None:
        """A fact of the signal: an attribute of the waveform (1.04) or an element of the acquisition (1.03)."""
        return next((found for n in names if (found := waves.get(n) or text(signal_facts, n))), None)

    fs = check_fs(as_number(fact("samplespersecond", "samplingrate")) or 0.0, where="samplingrate")
    resolution = as_number(fact("resolution", "signalresolution"))
    scale = step(resolution, "uV", options, "uV", warn, "resolution")  # the format knows no other unit
    labels = _labels(waves, fact)
    if not labels:
        raise EcgError("no leads", where="waveforms/parsedwaveforms/@leadlabels")
    leads = _waveforms(waves, labels, fs, warn)
    start = _start(acquired)
    interpretation = root.find("interpretations/interpretation")
    signal = rows(leads, [scale] * len(leads), warn)
    pulse, where = calibration.told(signal, fs)
    return Record(
        signal=signal,
        fs=fs,
        leads=distinct(labels),
        start=start,
        patient=_patient(root.find("patient/generalpatientdata"), start),
        device=_device(root, acquired, fact),
        machine=_measurements(root, interpretation),
        statements=_statements(interpretation),
        median=_beats(root.find("waveforms/repbeats"), fs, resolution or 0.0, warn),
        warnings=(*warn, *pulse),
        source=Source(version=version),
        resolution_uv=(1000 * scale,) * len(leads),
        extra=_extra(root, interpretation) | where,
    )


def _labels(waves: Element, fact: object) -> list[str]:
    """Lead names: listed since 1.04; in 1.03 the twelve standard ones, where the acquisition type says so."""
    assert callable(fact)
    listed = (waves.get("leadlabels") or "").split()
    if listed:
        count = as_number(waves.get("numberofleads"))
        return listed[: int(count)] if count and 0 < count <= len(listed) else listed
    count = as_number(fact("numberchannelsallocated")) or 0.0
    if not 0 < count <= 64:
        raise EcgError(f"impossible number of leads: {count:g}", where="signalcharacteristics/numberchannelsallocated")
    standard = fact("acquisitiontype") in ("STD-12", "10-WIRE")
    return [STANDARD_LEADS[i] if standard and i < 12 else f"Channel {i + 1}" for i in range(int(count))]


def _waveforms(waves: Element, labels: list[str], fs: float, warn: list[str]) -> list[Counts]:
    """The samples of each lead in steps."""
    where = "waveforms/parsedwaveforms"
    encoding = waves.get("dataencoding") or "Base64"
    if encoding != "Base64":
        raise EcgError(f"data encoding {encoding!r} is not Base64", where=where)
    raw = base64_bytes(text(waves) or "", where)
    seconds = (as_number(waves.get("durationperchannel")) or 0.0) / 1000
    if not 0 < seconds <= MAX_SECONDS:
        raise EcgError(f"impossible duration {seconds:g} s", where=f"{where}/@durationperchannel")
    expected = int(seconds * fs)
    check_samples(len(labels), expected)
    method = waves.get("compressmethod") or waves.get("compression") or "Uncompressed"
    if method == "XLI":
        leads = xli(raw, len(labels), limit=4 * expected + 64)
        leads = _restore_limb_leads(labels, leads)
    elif method == "Uncompressed":
        flat = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.int64)
        leads = [flat[i * expected : (i + 1) * expected] for i in range(len(labels))]
    else:
        raise EcgError(f"compression {method!r} is not known (XLI or none)", where=where)
    shortest = min(len(lead) for lead in leads)
    if shortest < expected:
        warn.append(f"the waveforms end after {shortest} of {expected} samples")
    return leads


def xli(data: bytes, leads: int, *, limit: int) -> list[Counts]:
    """Decompresses XLI: `leads` chunks of [int32 size, int16, int16 start delta, LZW codes] -> their int16 samples.

    `limit` bounds the bytes that one lead may expand to. Raises EcgError where the chunks end early.
    """
    out: list[Counts] = []
    offset = 0
    for index in range(leads):
        if offset + 8 > len(data):
            raise EcgError(f"the waveforms hold {index} of {leads} leads", where="waveforms/parsedwaveforms")
        size, _, start = struct.unpack_from("<ihh", data, offset)
        offset += 8
        if size < 0 or offset + size > len(data):
            raise EcgError(f"lead {index + 1} of the waveforms is cut off", where="waveforms/parsedwaveforms")
        packed = _lzw(data[offset : offset + size], limit)
        offset += size
        if len(packed) % 2:
            packed += b"\0"
        halves = np.frombuffer(packed, np.uint8).reshape(2, -1)
        steps = (halves[0].astype(np.uint16) << 8 | halves[1]).view(np.int16).astype(np.int64)
        out.append(_integrated(steps, start))
    return out


def _lzw(data: bytes, limit: int) -> bytes:
    """LZW with 10-bit codes, most significant bit first, no clear code; 1023 ends, the table is full at 1022."""
    count = len(data) * 8 // 10
    padded = np.zeros(count // 4 * 5 + 5, np.uint16)
    padded[: len(data)] = np.frombuffer(data, np.uint8)[: len(padded)]
    five = padded.reshape(-1, 5)  # five bytes hold four codes
    codes = np.empty((len(five), 4), np.uint16)
    codes[:, 0] = five[:, 0] << 2 | five[:, 1] >> 6
    codes[:, 1] = (five[:, 1] & 63) << 4 | five[:, 2] >> 4
    codes[:, 2] = (five[:, 2] & 15) << 6 | five[:, 3] >> 2
    codes[:, 3] = (five[:, 3] & 3) << 8 | five[:, 4]
    table = [bytes((i,)) for i in range(256)]
    out: list[bytes] = []
    size, previous = 0, b""
    for code in codes.ravel()[:count].tolist():
        if code < len(table):
            entry = table[code]
        elif code == 1023 or not previous:
            break
        else:
            entry = previous + previous[:1]
        out.append(entry)
        size += len(entry)
        if size > limit:
            raise EcgError("the compressed waveforms expand far beyond their declared duration", where="waveforms")
        if previous and len(table) <= 1022:
            table.append(previous + entry[:1])
        previous = entry
    return b"".join(out)


def _integrated(steps: Counts, start: int) -> Counts:
    """Second differences back to samples: z[n] = 2 z[n-1] - z[n-2] - s[n-1], s[1] = start, s[n] = steps[n] - 64."""
    if len(steps) < 3:
        return steps
    bend = np.concatenate([[-start], 64 - steps[2:-1]])
    slope = np.cumsum(np.concatenate([[steps[1] - steps[0]], bend]))
    samples = np.concatenate([steps[:1], steps[0] + np.cumsum(slope)])
    return samples.astype(np.int16).astype(np.int64)  # the recorder's arithmetic is that of int16


def _restore_limb_leads(labels: list[str], leads: list[Counts]) -> list[Counts]:
    """Adds the prediction to the four leads that are stored as what it leaves over; by name, not by place."""
    at = {lead_name(label)[0]: i for i, label in enumerate(labels)}
    if not {"I", "II", "III"} <= at.keys():
        return leads
    out = list(leads)
    length = min(len(lead) for lead in leads)
    i, ii, iii = (leads[at[n]][:length] for n in ("I", "II", "III"))
    iii = ii - i - iii
    out[at["III"]] = iii
    if "aVR" in at:
        out[at["aVR"]] = -leads[at["aVR"]][:length] - (i + ii) // 2
    if "aVL" in at:
        out[at["aVL"]] = (i - iii) // 2 - leads[at["aVL"]][:length]
    if "aVF" in at:
        out[at["aVF"]] = (ii + iii) // 2 - leads[at["aVF"]][:length]
    return out


def _beats(beats: Element | None, fs: float, resolution: float, warn: list[str]) -> MedianBeat | None:
    """The representative beat of each lead."""
    if beats is None:
        return None
    rate = as_number(beats.get("samplespersec")) or fs
    scale = (as_number(beats.get("resolution")) or resolution) / 1000
    names, samples = [], []
    for beat in beats.findall("repbeat"):
        name = beat.get("leadname")
        wave = beat.find("waveform")
        words = text(beat if wave is None else wave)
        if name and words:
            try:
                samples.append(base64_int16(words, f"repbeat {name}"))
            except EcgError as error:
                warn.append(f"representative beat left out: {error}")
                return None
            names.append(name)
    if not names or scale <= 0 or not 1 <= rate <= 200_000 or len({len(s) for s in samples}) != 1 or not len(samples[0]):
        return None
    stored = np.stack(samples).astype(np.float64)
    stored[np.abs(stored) >= 32767] = np.nan  # the mark for samples beyond the beat
    return median_beat((stored * scale).astype(np.float32), rate, names)


def _start(acquired: Element | None) -> datetime | None:
    if acquired is None:
        return None
    return moment(acquired.get("date"), acquired.get("time"), "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d")


def _patient(patient: Element | None, start: datetime | None) -> Patient:
    born = text(patient, "age/dateofbirth") or text(patient, "dateofbirth")
    day = moment(born, None, "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d")
    # `defaultage` is what the criteria assume of everyone, not this patient's age.
    age = age_in_years(number(patient, "age/years"), day, start)
    inches, pounds = number(patient, "height/inch"), number(patient, "weight/lb")
    centimetres, kilograms = number(patient, "height/cm"), number(patient, "weight/kg")
    extra = {tag: words for tag in ("pacestatus", "race", "MRN") if (words := text(patient, tag))}
    return Patient(
        id=text(patient, "patientid"),
        name=full_name(text(patient, "name/lastname"), text(patient, "name/firstname")),
        age=age,
        sex=sex(text(patient, "sex")),
        birth_date=None if day is None else day.date().isoformat(),
        height_cm=centimetres if centimetres is not None else None if inches is None else 2.54 * inches,
        weight_kg=kilograms if kilograms is not None else None if pounds is None else 0.45359237 * pounds,
        extra=extra,
    )


def _device(root: Element, acquired: Element | None, fact: object) -> Device:
    """The acquisition's own filters count (hipass, lowpass), not those of the printed report."""
    assert callable(fact)
    machine = None if acquired is None else acquired.find("machine")
    band = (fact("signalbandwidth") or "").split("-")
    low, high = (as_number(band[0]), as_number(band[1])) if len(band) == 2 else (None, None)
    filtered = (fact("notchfiltered") or "").lower() == "true"
    return Device(
        manufacturer="Philips",
        model=text(machine),
        serial=None if machine is None else machine.get("machineid") or None,
        software=None if machine is None else machine.get("detaildescription") or None,
        institution=text(acquired, "acquirer/institutionname"),
        highpass_hz=as_number(fact("hipass")) or low,
        lowpass_hz=as_number(fact("lowpass")) or high,
        notch_hz=as_number(fact("notchfilterfreqs")) if filtered else None,
    )


def _measurements(root: Element, interpretation: Element | None) -> dict[str, float]:
    tables = [
        None if interpretation is None else interpretation.find("globalmeasurements"),
        None if interpretation is None else interpretation.find("interpretationmeasurements"),
        root.find("measurements/globalmeasurements"),
        root.find("internalmeasurements/crossleadmeasurements"),
    ]

    def first(*tags: str) -> float | None:
        found = (number(table, tag) for table in tables if table is not None for tag in tags)
        return next((value for value in found if value is not None), None)

    return known(
        rate_bpm=first("heartrate", "meanventrate"),
        atrial_rate_bpm=first("atrialrate"),
        rr_ms=first("rrint"),
        p_ms=first("pdur"),
        pr_ms=first("print", "meanprint"),
        qrs_ms=first("qrsdur", "meanqrsdur"),
        qt_ms=first("qtint", "meanqtint"),
        qtc_ms=first("qtcb", "meanqtc"),
        qtcf_ms=first("qtcf"),
        p_axis_deg=first("pfrontaxis"),
        qrs_axis_deg=first("qrsfrontaxis"),
        t_axis_deg=first("tfrontaxis"),
        st_axis_deg=first("stfrontaxis"),
        qrs_count=first("numberofcomplexes"),
        qt_dispersion_ms=first("qtintdispersion"),
    )


def _statements(interpretation: Element | None) -> tuple[str, ...]:
    """The left halves (what is said; the right halves say why) and the severity."""
    if interpretation is None:
        return ()
    said = [text(s, "leftstatement") for s in interpretation.findall("statement")]
    severity = (text(interpretation, "severity") or "").strip("- ")
    return tuple(words for words in (*said, severity) if words)


def _extra(root: Element, interpretation: Element | None) -> dict[str, object]:
    out: dict[str, object] = {}
    statements = interpretation.findall("statement") if interpretation is not None else []
    if statements:
        out["statement_reasons"] = tuple(text(s, "rightstatement") or "" for s in statements)
        out["statement_codes"] = tuple(text(s, "statementcode") or "" for s in statements)
    lead_table: dict[str, dict[str, float]] = {}
    for lead in root.iter("leadmeasurement"):
        values = {child.tag: value for child in lead if (value := number(child)) is not None}
        if values:
            lead_table[lead_name(lead.get("leadname") or "?")[0]] = values
    if lead_table:
        out["lead_measurements"] = lead_table  # Philips' names: amplitudes in µV, durations in ms
    quality = next((words for q in root.iter("qaactioncode") if (words := text(q))), None)
    if quality:
        out["quality"] = quality
    return out


SIERRA = Format("sierra", "Philips Sierra XML", (".xml",), matches, read)
