"""DICOM waveforms (PS3.3 A.34): 12-lead, general and ambulatory ECG, haemodynamic and electrophysiology; writer of ECGs.

A file holds multiplex groups: channels of one rate. Groups that complement each other (the same rate, other leads) make one
record; a median beat is a group of its own. pydicom parses, the samples are scaled here with its arithmetic.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.io import calibration
from einthoven.io.files import File, replacing
from einthoven.io.finish import check_fs, check_samples, distinct, lead_name, millivolts
from einthoven.io.format import Format, Options
from einthoven.io.person import age_in_years
from einthoven.io.save import storage_steps
from einthoven.io.scp import LEADS
from einthoven.io.xmltree import median_beat
from einthoven.record import Device, EcgError, MedianBeat, Patient, Record, Signal, Source

TWELVE_LEAD, GENERAL, AMBULATORY = (f"1.2.840.10008.5.1.4.1.1.9.1.{n}" for n in (1, 2, 3))
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
MAX_INFLATED = 512 << 20

_TYPES = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4"}

# Measurements: code value (SCP-ECG clause and byte, MDC reference id, LOINC), the words of CodeMeaning, our name.
_CODES = {
    "5.10.2.1-3": "rr_ms", "2:16168": "rr_ms",
    "5.10.2.1-5": "pp_ms", "2:16140": "pp_ms",
    "5.13.5-5": "p_ms", "2:16184": "p_ms",
    "5.13.5-7": "pr_ms", "2:15872": "pr_ms",
    "5.13.5-9": "qrs_ms", "2:16156": "qrs_ms",
    "5.13.5-11": "qt_ms", "2:16160": "qt_ms",
    "5.10.2.5-5": "qtc_ms", "2:15876": "qtc_ms", "2:15880": "qtc_ms",
    "2:15892": "qtcf_ms",
    "5.10.3-11": "p_axis_deg", "2:16128": "p_axis_deg",
    "5.10.3-13": "qrs_axis_deg", "2:16132": "qrs_axis_deg",
    "5.10.3-15": "t_axis_deg", "2:16136": "t_axis_deg",
    "5.10.2.5-1": "rate_bpm", "8867-4": "rate_bpm", "2:16016": "rate_bpm",
    "5.10.2.5-3": "atrial_rate_bpm", "2:16020": "atrial_rate_bpm",
}  # fmt: skip
_MEANINGS = {
    "rr interval": "rr_ms", "rr interval global": "rr_ms", "pp interval": "pp_ms", "pp interval global": "pp_ms",
    "p duration": "p_ms", "p duration global": "p_ms", "pr interval": "pr_ms", "pr interval global": "pr_ms",
    "qrs duration": "qrs_ms", "qrs duration global": "qrs_ms", "qt interval": "qt_ms", "qt interval global": "qt_ms",
    "qtc interval": "qtc_ms", "qtc interval global": "qtc_ms", "p axis": "p_axis_deg", "qrs axis": "qrs_axis_deg",
    "t axis": "t_axis_deg", "heart rate": "rate_bpm", "ventricular heart rate": "rate_bpm", "ventricular rate": "rate_bpm",
    "vent. heart rate": "rate_bpm", "atrial heart rate": "atrial_rate_bpm", "atrial rate": "atrial_rate_bpm",
}  # fmt: skip
# What the writer uses: code value, scheme, meaning, UCUM unit.
_WRITTEN = {
    "rate_bpm": ("8867-4", "LN", "Heart rate", "/min"),
    "atrial_rate_bpm": ("5.10.2.5-3", "SCPECG", "Atrial heart rate", "/min"),
    "rr_ms": ("2:16168", "MDC", "RR interval global", "ms"),
    "pp_ms": ("2:16140", "MDC", "PP interval global", "ms"),
    "p_ms": ("2:16184", "MDC", "P duration global", "ms"),
    "pr_ms": ("2:15872", "MDC", "PR interval global", "ms"),
    "qrs_ms": ("2:16156", "MDC", "QRS duration global", "ms"),
    "qt_ms": ("2:16160", "MDC", "QT interval global", "ms"),
    "qtc_ms": ("2:15876", "MDC", "QTc interval global", "ms"),
    "qtcf_ms": ("2:15892", "MDC", "QTc global using Fredericia formula", "ms"),
    "p_axis_deg": ("2:16128", "MDC", "P Axis", "deg"),
    "qrs_axis_deg": ("2:16132", "MDC", "QRS axis", "deg"),
    "t_axis_deg": ("2:16136", "MDC", "T axis", "deg"),
}
_MARKS = {
    "p onset": "p_onset_s", "p offset": "p_offset_s", "qrs onset": "qrs_onset_s", "qrs offset": "qrs_offset_s",
    "fiducial point": "r_peak_s", "t onset": "t_onset_s", "t offset": "t_offset_s",
}  # fmt: skip
_LEAD_CODES = {name: code for code, name in LEADS.items() if not name.startswith("-")}


def matches(file: File) -> bool:
    """`DICM` after 128 bytes; or, in files without a header, a first element that only DICOM has, and a waveform."""
    head = file.head(160)
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16 or head[:2] not in (b"\x08\x00", b"\x02\x00") or head[3] != 0:
        return False
    plain = head[4:6] in (b"UI", b"UL", b"CS", b"SH", b"DA", b"OB", b"LO", b"TM")
    implicit = struct.unpack_from("<I", head, 4)[0]
    return (plain or (implicit <= 64 and implicit % 2 == 0)) and file.data.find(b"\x00\x54\x00\x01") > 0


def read(file: File, options: Options) -> Record:
    """The main ECG of a DICOM file, (L, T) mV. Raises EcgError, also for DICOM that holds no waveform."""
    return next(read_all(file, options))


def read_all(file: File, options: Options) -> Iterator[Record]:
    """Every ECG: one record for each set of multiplex groups that belong together, the largest first."""
    data = bytes(file.data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom tells of each odd value; what matters here is told in the record
            records = _records(data, options)
    except EcgError:
        raise
    except RecursionError:
        raise EcgError("damaged DICOM: sequences nest without end") from None
    except Exception as error:  # pydicom lets out whatever its parsing meets; a damaged file is one error here
        raise EcgError(f"damaged DICOM: {type(error).__name__}: {str(error)[:200]}") from error
    yield from records


def _records(data: bytes, options: Options) -> list[Record]:
    from pydicom import config

    with config.disable_value_validation():
        dataset, big = _parse(data)
        sequence = dataset.get("WaveformSequence")
        if not sequence:
            raise EcgError(f"DICOM without a waveform: {_kind(dataset)}", where="WaveformSequence (5400,0100)")
        warn: list[str] = []
        groups: list[_Group] = []
        for index, item in enumerate(sequence):
            group = _group(item, index, big, options, warn)
            if group is not None:
                groups.append(group)
        if not groups:
            raise EcgError("no channel with a voltage" + (f" ({warn[0]})" if warn else ""), where="WaveformSequence")
        rhythms = [g for g in groups if not g.median] or groups
        medians = [] if rhythms is groups else [g for g in groups if g.median]
        beat = _beat(medians)
        joined = sorted(_join(rhythms), key=lambda g: -g.signal.size)
        return [_record(dataset, group, beat, medians, warn) for group in joined]


def _kind(dataset: Any) -> str:
    uid = dataset.get("SOPClassUID")
    name = getattr(uid, "name", None) or "no SOP class"
    return f"{name}: digitize and interpret read ECGs on paper, this does not" if "PDF" in str(name) else str(name)


def _parse(data: bytes) -> tuple[Any, bool]:
    """The data set, and whether it is big-endian. Deflated files are inflated here, within bounds."""
    import pydicom
    from pydicom.filereader import read_dataset, read_preamble

    if data[128:132] == b"DICM":
        stream = io.BytesIO(data)
        read_preamble(stream, force=False)
        meta = pydicom.filereader._read_file_meta_info(stream)
        syntax = str(meta.get("TransferSyntaxUID", ""))
        if syntax == DEFLATED:
            engine = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                inflated = engine.decompress(data[stream.tell() :], MAX_INFLATED)
            except zlib.error as error:
                raise EcgError(f"broken deflated DICOM: {error}") from error
            if engine.unconsumed_tail or len(inflated) > max(64 << 20, 200 * len(data)):
                raise EcgError("deflated DICOM expands beyond all measure")
            return read_dataset(io.BytesIO(inflated), is_implicit_VR=False, is_little_endian=True), False
        return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True), syntax == BIG_ENDIAN
    return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True), False


# -- samples -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Group:
    """A multiplex group in mV; `offset_ms` after the start of the recording, `trigger` the fiducial sample of a median."""

    signal: Signal
    fs: float
    labels: tuple[str, ...]
    steps_uv: tuple[float, ...]
    median: bool
    offset_ms: float
    trigger: int | None
    filters: tuple[float | None, float | None, float | None]
    recorded: int


def _group(item: Any, index: int, big: bool, options: Options, warn: list[str]) -> _Group | None:
    """One item of the WaveformSequence; None where it has no channel with a voltage."""
    where = f"WaveformSequence item {index}"
    raw = _raw(item, big, where, warn)
    fs = check_fs(float(item.get("SamplingFrequency") or 0.0), where=f"{where}/SamplingFrequency")
    padding = _padding(item, raw.dtype)
    label = str(item.get("MultiplexGroupLabel") or "").upper()
    median = "MEDIAN" in label or "BEAT" in label or ("AVERAGE" in label and "RHYTHM" not in label)
    rows, names, steps = [], [], []
    definitions = list(item.get("ChannelDefinitionSequence") or [])[: raw.shape[1]]
    for column in range(raw.shape[1]):
        channel = definitions[column] if column < len(definitions) else None
        name = _channel_name(channel, column)
        scale = _unit(channel, name, options, warn)
        if scale is None:
            continue
        sensitivity, correction, baseline = (
            (1.0, 1.0, 0.0)
            if channel is None
            else (
                _float(channel.get("ChannelSensitivity"), 1.0),
                _float(channel.get("ChannelSensitivityCorrectionFactor"), 1.0),
                _float(channel.get("ChannelBaseline"), 0.0),
            )
        )
        counts = raw[:, column]
        values = (counts.astype(np.float64) * sensitivity * correction + baseline) * scale
        if padding is not None:
            values[counts == padding] = np.nan
        with np.errstate(over="ignore"):  # what no float32 holds becomes infinite, and a warning in finish()
            rows.append(values.astype(np.float32))
        names.append(name)
        steps.append(abs(1000 * sensitivity * correction * scale))
    if not rows:
        return None
    signal = np.stack(rows)
    first = definitions[0] if definitions else None
    trigger = item.get("TriggerSamplePosition")
    return _Group(
        signal=signal,
        fs=fs,
        labels=tuple(names),
        steps_uv=tuple(steps),
        median=median,
        offset_ms=_float(item.get("MultiplexGroupTimeOffset"), 0.0),
        trigger=int(trigger) if isinstance(trigger, int) else None,
        filters=(
            _positive(first, "FilterLowFrequency"),
            _positive(first, "FilterHighFrequency"),
            _positive(first, "NotchFilterFrequency"),
        ),
        recorded=signal.shape[1],
    )


def _raw(item: Any, big: bool, where: str, warn: list[str]) -> NDArray[Any]:
    """Stored counts, (samples, channels). The sizes that the item declares are checked against its bytes."""
    samples, channels = int(item.get("NumberOfWaveformSamples") or 0), int(item.get("NumberOfWaveformChannels") or 0)
    bits, kind = int(item.get("WaveformBitsAllocated") or 0), str(item.get("WaveformSampleInterpretation") or "")
    if (bits, kind) not in _TYPES:
        raise EcgError(f"samples of {bits} bits and interpretation {kind!r} are not known", where=where)
    if samples <= 0 or not 0 < channels <= 512:
        raise EcgError(f"impossible: {channels} channels of {samples} samples", where=where)
    check_samples(channels, samples)
    data = item.get("WaveformData")
    if not isinstance(data, bytes):
        raise EcgError("no samples", where=f"{where}/WaveformData")
    frame = channels * bits // 8
    whole = min(samples, len(data) // frame)
    if whole == 0:
        raise EcgError("no samples", where=f"{where}/WaveformData")
    if whole < samples:
        warn.append(f"multiplex group cut off: {whole:,} of {samples:,} samples")
    order = ">" if big else "<"
    flat = np.frombuffer(data, np.dtype(order + _TYPES[bits, kind]), count=whole * channels)
    return flat.reshape(whole, channels)


def _padding(item: Any, kind: np.dtype[Any]) -> int | None:
    """WaveformPaddingValue, in the type of the samples."""
    value = item.get("WaveformPaddingValue")
    if isinstance(value, bytes) and len(value) >= kind.itemsize:
        return int(np.frombuffer(value[: kind.itemsize], kind)[0])
    return int(value) if isinstance(value, int) else None


def _float(value: Any, default: float) -> float:
    """A number of the file; the default where it is empty. Raises EcgError where it is not finite."""
    if value is None or value == "":
        return default
    number = float(value)
    if not math.isfinite(number):
        raise EcgError(f"not a finite number: {value}", where="ChannelDefinitionSequence")
    return number


def _positive(channel: Any, keyword: str) -> float | None:
    if channel is None:
        return None
    value = channel.get(keyword)
    return float(value) if value not in (None, "") and math.isfinite(float(value)) and float(value) > 0 else None


def _code(holder: Any, keyword: str) -> tuple[str, str, str]:
    """Code value, scheme and meaning of the first item of a code sequence."""
    items = holder.get(keyword) if holder is not None else None
    if not items:
        return "", "", ""
    first = items[0]
    value = first.get("CodeValue") or first.get("LongCodeValue") or ""
    return str(value).strip(), str(first.get("CodingSchemeDesignator") or ""), str(first.get("CodeMeaning") or "").strip()


def _channel_name(channel: Any, column: int) -> str:
    """The lead: its MDC ("2:1") or SCP-ECG ("5.6.3-9-1") code, which share their numbers; else its meaning or label."""
    value, _, meaning = _code(channel, "ChannelSourceSequence")
    found = re.fullmatch(r"(?:2:|5\.6\.3-9-)(\d+)", value)
    if found and int(found[1]) in LEADS:
        return LEADS[int(found[1])]
    label = str(channel.get("ChannelLabel") or "").strip() if channel is not None else ""
    return label or meaning or value or f"channel {column + 1}"


def _unit(channel: Any, name: str, options: Options, warn: list[str]) -> float | None:
    """mV per unit of a channel, None where it is no voltage."""
    value, _, meaning = _code(channel, "ChannelSensitivityUnitsSequence")
    unit = value or meaning
    if not unit or channel is None or channel.get("ChannelSensitivity") in (None, ""):
        if channel is not None and channel.get("ChannelSensitivity") not in (None, "") and options.unit:
            return millivolts(options.unit)
        told = "taken as " + (options.unit or "uV")
        words = f"channels without sensitivity or unit: the counts are {told}"
        if words not in warn:
            warn.append(words)
        return millivolts(options.unit or "uV")
    factor = millivolts(unit) or millivolts(meaning)
    if factor is None:
        warn.append(f"not a voltage, left out: {name} ({unit})")
    return factor


def _join(groups: list[_Group]) -> list[_Group]:
    """Groups of one rate whose leads differ become one (leads recorded one after another have NaN elsewhere)."""
    out: list[_Group] = []
    for group in groups:
        names = {lead_name(n)[0] for n in group.labels}
        for i, other in enumerate(out):
            if other.fs == group.fs and not names & {lead_name(n)[0] for n in other.labels} and len(other.labels) < 512:
                both = _joined(other, group)
                if both is not None:
                    out[i] = both
                    break
        else:
            out.append(group)
    return out


def _joined(a: _Group, b: _Group) -> _Group | None:
    """Both on one time axis; None where they lie further apart than they are long, for then they are two recordings."""
    start = min(a.offset_ms, b.offset_ms)
    at = [(g.offset_ms - start) * g.fs / 1000 for g in (a, b)]
    recorded = a.recorded + b.recorded
    length = max(at[0] + a.signal.shape[1], at[1] + b.signal.shape[1])
    if length > 1.5 * recorded:
        return None
    first, second, length = round(at[0]), round(at[1]), math.ceil(length)
    signal = np.full((len(a.labels) + len(b.labels), length), np.nan, np.float32)
    signal[: len(a.labels), first : first + a.signal.shape[1]] = a.signal
    signal[len(a.labels) :, second : second + b.signal.shape[1]] = b.signal
    return replace(
        a, signal=signal, labels=a.labels + b.labels, steps_uv=a.steps_uv + b.steps_uv, offset_ms=start, recorded=recorded
    )


def _beat(medians: list[_Group]) -> MedianBeat | None:
    if not medians:
        return None
    best = max(_join(medians), key=lambda g: g.signal.size)
    return median_beat(best.signal, best.fs, best.labels)


# -- what stands around them ---------------------------------------------------------------------------------------------------


def _record(dataset: Any, group: _Group, beat: MedianBeat | None, medians: list[_Group], warn: list[str]) -> Record:
    start = _start(dataset)
    pulse, where = calibration.told(group.signal, group.fs)
    statements, machine, marks = _annotations(dataset, group.fs, {g.trigger for g in medians if g.trigger is not None})
    return Record(
        signal=group.signal,
        fs=group.fs,
        leads=distinct(group.labels),
        start=start,
        patient=_patient(dataset, start),
        device=Device(
            manufacturer=_words(dataset, "Manufacturer"),
            model=_words(dataset, "ManufacturerModelName"),
            serial=_words(dataset, "DeviceSerialNumber"),
            software=_words(dataset, "SoftwareVersions"),
            institution=_words(dataset, "InstitutionName"),
            highpass_hz=group.filters[0],
            lowpass_hz=group.filters[1],
            notch_hz=group.filters[2],
        ),
        machine=machine,
        statements=statements,
        median=beat,
        warnings=tuple(dict.fromkeys((*warn, *pulse))),
        source=Source(version=str(getattr(dataset.get("SOPClassUID"), "name", "") or "") or None),
        resolution_uv=group.steps_uv,
        extra=marks | where,
    )


def _words(dataset: Any, keyword: str) -> str | None:
    value = dataset.get(keyword)
    if value is None:
        return None
    if not isinstance(value, str) and hasattr(value, "__iter__") and not hasattr(value, "components"):
        value = "\\".join(str(v) for v in value)
    return str(value).strip() or None


def _start(dataset: Any) -> datetime | None:
    """AcquisitionDateTime, else the dates and times of acquisition, content, series or study."""
    whole = _moment(_words(dataset, "AcquisitionDateTime"))
    if whole is not None:
        return whole
    for kind in ("Acquisition", "Content", "Series", "Study"):
        day = _words(dataset, f"{kind}Date")
        if day and (found := _moment(day.replace(".", "") + (_words(dataset, f"{kind}Time") or "").replace(":", ""))):
            return found
    return None


def _moment(stamp: str | None) -> datetime | None:
    """DT: YYYYMMDD[HH[MM[SS[.FFFFFF]]]][&ZZXX]."""
    found = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(\d\d)?(\d\d)?(\d\d)?(?:\.(\d{1,6}))?([+-]\d{4})?", stamp or "")
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    micro = int((fraction or "0").ljust(6, "0"))
    try:
        offset = None if zone is None else timezone(timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:])))
        return datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micro, offset)
    except ValueError:
        return None


def _patient(dataset: Any, start: datetime | None) -> Patient:
    born = _moment(_words(dataset, "PatientBirthDate"))
    found = re.fullmatch(r"(\d{1,3})([YMWD])", _words(dataset, "PatientAge") or "")
    age = int(found[1]) / {"Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.25}[found[2]] if found else None
    metres, kilograms = _float(dataset.get("PatientSize"), 0.0), _float(dataset.get("PatientWeight"), 0.0)
    return Patient(
        id=_words(dataset, "PatientID"),
        name=_words(dataset, "PatientName"),
        age=age_in_years(age, born, start),
        sex={"M": "male", "F": "female"}.get(_words(dataset, "PatientSex") or ""),
        birth_date=None if born is None else born.date().isoformat(),
        height_cm=100 * metres or None,
        weight_kg=kilograms or None,
    )


def _annotations(dataset: Any, fs: float, triggers: set[int]) -> tuple[tuple[str, ...], dict[str, float], dict[str, object]]:
    """Statements, measurements, and marks in s from the start of the recording (those of the median beat are left out)."""
    statements: list[str] = []
    machine: dict[str, float] = {}
    groups: dict[int, list[tuple[str, int]]] = {}
    for item in dataset.get("WaveformAnnotationSequence") or []:
        value, _, meaning = _code(item, "ConceptNameCodeSequence")
        words = _words(item, "UnformattedTextValue")
        number = item.get("NumericValue")
        position = item.get("ReferencedSamplePositions")
        if words and not value:
            statements.append(words)
        elif words:
            statements.append(words if "interpretation" in meaning.lower() or not meaning else f"{meaning}: {words}")
        elif number not in (None, ""):
            name = _CODES.get(value) or _MEANINGS.get(meaning.lower())
            amount = _float(number if not hasattr(number, "__len__") or isinstance(number, str) else number[0], 0.0)
            if _code(item, "MeasurementUnitsCodeSequence")[0] == "s" and name and name.endswith("_ms"):
                amount *= 1000
            if name and (amount or name.endswith("_deg")):  # 0 ms says that nothing was measured
                machine.setdefault(name, amount)
        elif position is not None and (mark := _MARKS.get(meaning.lower())):
            one = position if isinstance(position, int) else next(iter(position), None)
            if one is not None:
                groups.setdefault(int(item.get("AnnotationGroupNumber") or 0), []).append((mark, int(one)))
    marks: dict[str, list[float]] = {}
    for found in groups.values():
        if not any(mark == "r_peak_s" and position in triggers for mark, position in found):
            for mark, position in found:
                marks.setdefault(mark, []).append((position - 1) / fs)  # sample positions count from 1
    return tuple(dict.fromkeys(statements)), machine, {mark: tuple(times) for mark, times in marks.items()}


# -- writer ------------------------------------------------------------------------------------------------------------------


def write(record: Record, path: Path) -> list[Path]:
    """Writes a DICOM ECG, explicit VR little endian, int16 in µV steps; NaN becomes the padding value.

    The SOP class is 12-lead ECG where its limits are kept (13 leads, 16,384 samples, 200 to 1000 Hz), else general or
    ambulatory ECG. Measurements and statements become annotations, the median beat a second multiplex group. Identifiers
    are made from the content, so that the same record gives the same file.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    leads, samples = record.signal.shape
    if not leads or not samples:
        raise EcgError("nothing to write: the record has no samples", path=path)
    if leads > 512:
        raise EcgError(f"{leads} leads do not fit into one multiplex group", path=path)
    usual = 200 <= record.fs <= 1000
    sop = TWELVE_LEAD if usual and leads <= 13 and samples <= 16_384 else GENERAL if usual and leads <= 24 else AMBULATORY
    seed = hashlib.sha256(
        np.ascontiguousarray(record.signal).tobytes() + repr((record.fs, record.leads, record.start)).encode()
    )

    def uid(part: str) -> str:
        return str(generate_uid(entropy_srcs=[seed.hexdigest(), part]))

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop
    meta.MediaStorageSOPInstanceUID = uid("instance")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = Dataset()
    whole.file_meta = meta
    whole.SpecificCharacterSet = "ISO_IR 192"
    whole.SOPClassUID, whole.SOPInstanceUID = sop, meta.MediaStorageSOPInstanceUID
    _about(whole, record, uid)
    groups = [_written_group(record, "RHYTHM", "ORIGINAL")]
    if record.median is not None:
        beat = record.median
        steps = record.resolution_uv or (0.0,) * leads
        own = tuple(steps[record.leads.index(n)] if n in record.leads else 0.0 for n in beat.leads)
        groups.append(_written_group(Record(beat.signal, beat.fs, beat.leads, resolution_uv=own), "MEDIAN BEAT", "DERIVED"))
    whole.WaveformSequence = groups
    annotations = [_statement(words) for words in record.statements]
    annotations += [_measurement(name, value) for name, value in record.machine.items() if name in _WRITTEN]
    if annotations:
        whole.WaveformAnnotationSequence = annotations
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with replacing(path) as draft, contextlib.closing(draft.open("wb")) as out:
            whole.save_as(out, enforce_file_format=True)
    return [path]


def _about(whole: Any, record: Record, uid: Any) -> None:
    """Patient, study, series, equipment and acquisition context modules."""
    person, device = record.patient, record.device
    start = record.start or datetime(1970, 1, 1)
    day, clock = start.strftime("%Y%m%d"), start.strftime("%H%M%S.%f")
    whole.StudyDate = whole.SeriesDate = whole.ContentDate = day
    whole.StudyTime = whole.SeriesTime = whole.ContentTime = clock
    whole.AcquisitionDateTime = day + clock + start.strftime("%z")[:5]
    whole.AccessionNumber = ""
    whole.Modality = "ECG"
    whole.Manufacturer = _short(device.manufacturer)
    whole.InstitutionName = _short(device.institution)
    whole.ReferringPhysicianName = ""
    whole.ManufacturerModelName = _short(device.model)
    whole.PatientName = _short(person.name).replace("=", " ")
    whole.PatientID = _short(person.id)
    born = (person.birth_date or "").replace("-", "")
    whole.PatientBirthDate = born if re.fullmatch(r"\d{8}", born) else ""
    whole.PatientSex = {"male": "M", "female": "F"}.get(person.sex or "", "")
    if person.age is not None and 0 <= person.age < 1000:
        whole.PatientAge = f"{int(person.age):03d}Y" if person.age >= 1 else f"{int(person.age * 365.25):03d}D"
    if person.height_cm:
        whole.PatientSize = f"{person.height_cm / 100:.6g}"
    if person.weight_kg:
        whole.PatientWeight = f"{person.weight_kg:.6g}"
    whole.DeviceSerialNumber = _short(device.serial)
    whole.SoftwareVersions = _short(device.software)
    whole.StudyInstanceUID, whole.SeriesInstanceUID = uid("study"), uid("series")
    whole.StudyID, whole.SeriesNumber, whole.InstanceNumber = "1", 1, 1
    placement = _coded("5.4.5-33-1", "SCPECG", "Electrode Placement", "1.3")
    unknown = _coded("5.4.5-33-1-0", "SCPECG", "Unspecified", "1.3")
    from pydicom.dataset import Dataset

    context = Dataset()
    context.ValueType = "CODE"
    context.ConceptNameCodeSequence = [placement]
    context.ConceptCodeSequence = [unknown]
    whole.AcquisitionContextSequence = [context]


def _short(words: str | None) -> str:
    """At most 64 characters (VR LO), without the backslash that parts values."""
    return (words or "").replace("\\", "/")[:64]


def _coded(value: str, scheme: str, meaning: str, version: str | None = None) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    if version:
        item.CodingSchemeVersion = version
    return item


def _written_group(record: Record, label: str, originality: str) -> Any:
    from pydicom.dataset import Dataset

    group = Dataset()
    group.MultiplexGroupTimeOffset = "0"
    group.WaveformOriginality = originality
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = record.signal.shape
    group.SamplingFrequency = f"{record.fs:.10g}"
    group.MultiplexGroupLabel = label
    steps = [float(f"{size:.9g}") for size in storage_steps(record, largest=32_766)]
    missing = ~np.isfinite(record.signal)
    counts = np.rint(np.where(missing, 0.0, record.signal.astype(np.float64)) * 1000 / np.array(steps)[:, None])
    counts[missing] = -32_768
    group.ChannelDefinitionSequence = [_written_channel(n, s, record.device) for n, s in zip(record.leads, steps, strict=True)]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformPaddingValue = struct.pack("<h", -32_768)
    group["WaveformPaddingValue"].VR = "OW"
    group.WaveformData = np.ascontiguousarray(counts.T.astype("<i2")).tobytes()
    group["WaveformData"].VR = "OW"
    return group


def _written_channel(name: str, step_uv: float, device: Device) -> Any:
    from pydicom.dataset import Dataset

    channel = Dataset()
    channel.ChannelLabel = name[:16]
    number = _LEAD_CODES.get(name, 0)
    channel.ChannelSourceSequence = [_coded(f"2:{number}", "MDC", f"Lead {name}"[:64] if number else "Unspecified lead")]
    channel.ChannelSensitivity = f"{step_uv:.9g}"
    channel.ChannelSensitivityUnitsSequence = [_coded("uV", "UCUM", "microvolt", "1.4")]
    channel.ChannelSensitivityCorrectionFactor = "1"
    channel.ChannelBaseline = "0"
    channel.ChannelSampleSkew = "0"
    channel.WaveformBitsStored = 16
    for keyword, value in (
        ("FilterLowFrequency", device.highpass_hz),
        ("FilterHighFrequency", device.lowpass_hz),
        ("NotchFilterFrequency", device.notch_hz),
    ):
        if value is not None:
            setattr(channel, keyword, f"{value:.10g}")
    return channel


def _statement(words: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.UnformattedTextValue = words[:1024]
    item.ReferencedWaveformChannels = [1, 0]
    item.AnnotationGroupNumber = 0
    return item


def _measurement(name: str, value: float) -> Any:
    from pydicom.dataset import Dataset

    code, scheme, meaning, unit = _WRITTEN[name]
    item = Dataset()
    item.ConceptNameCodeSequence = [_coded(code, scheme, meaning)]
    item.MeasurementUnitsCodeSequence = [_coded(unit, "UCUM", unit, "1.4")]
    item.NumericValue = f"{value:.10g}"
    item.ReferencedWaveformChannels = [1, 0]
    item.AnnotationGroupNumber = 1
    return item


DICOM = Format("dicom", "DICOM waveform", (".dcm", ".dicom"), matches, read, read_all, write)
