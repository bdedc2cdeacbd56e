"""EDF, EDF+ and BDF: an ASCII header, then data records of 16- or 24-bit samples, channel after channel.

Kemp et al. 1992 (doi 10.1016/0013-4694(92)90009-7), Kemp & Olivan 2003 (doi 10.1016/S1388-2457(03)00123-8), https://www.edfplus.info.
These files hold any biosignal: only channels whose label says ECG are taken, and a file without one is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import File, replacing
from einthoven.io.finish import check_fs, check_samples, distinct, is_ecg, level, millivolts
from einthoven.io.format import Format, Options
from einthoven.record import Device, EcgError, Patient, Record, Signal, Source

_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # of each signal, field after field
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14((?:[^\x00\x14]*\x14)*)\x00")
# The 32 reserved bytes of a signal are where our writer notes what EDF has no place for.
_NOTE = re.compile(r"einthoven( nan)?( pad=(\d+))?")


@dataclass(frozen=True)
class _Channel:
    label: str
    unit: str
    low: float  # physical
    high: float
    floor: int  # digital
    ceiling: int
    filters: str
    samples: int  # per data record
    start: int  # sample within the data record
    note: str


@dataclass(frozen=True)
class _Header:
    bdf: bool
    patient: str
    recording: str
    when: str
    kind: str  # "", EDF+C, EDF+D, BDF+C, ...
    bytes: int
    records: int
    duration: float
    channels: tuple[_Channel, ...]
    width: int  # samples of one data record


def matches(file: File) -> bool:
    """`0` and seven spaces, or 0xFF BIOSEMI."""
    head = file.head(8)
    return head == b"0       " or head == b"\xffBIOSEMI"


def read(file: File, options: Options) -> Record:
    """The ECG channels. Pauses of a discontinuous file (EDF+D) become NaN; annotations go to `extra["annotations"]`.

    Equal to pyedflib in float32 for channels in mV (tests/test_io_research.py).
    """
    header = _header(file)
    chosen = [c for c in header.channels if is_ecg(c.label)]
    annotations = [c for c in header.channels if c.label in ("EDF Annotations", "BDF Annotations")]
    if not chosen or header.records == 0 or header.duration <= 0:
        told = ", ".join(c.label for c in header.channels[:12]) or "no channels at all"
        raise EcgError(f"no ECG channel: {told}", path=file.path)
    warnings: list[str] = []
    other = [c.label for c in header.channels if c not in chosen and c not in annotations]
    if other:
        warnings.append(f"not ECG, left out: {', '.join(other[:20])}")
    check_samples(len(chosen), max(c.samples for c in chosen) * header.records, file)
    fs = check_fs(max(c.samples for c in chosen) / header.duration, file, "samples per data record")
    data = _samples(file, header)  # (records, width)
    onsets, events = _annotations(file, header, annotations)
    rows, steps = [], []
    for channel in chosen:
        row, step = _physical(data, channel, header, options, warnings)
        rows.append(row)
        steps.append(step)
    if len({len(row) for row in rows}) > 1:
        warnings.append("channels have different sampling rates: the slower ones are interpolated")
    signal = level(rows)
    if header.kind.endswith("+D") and len(onsets) == header.records:
        signal = _spread(signal, onsets, header, file, warnings)
    note = _NOTE.match(chosen[0].note)
    if note and note[3] and int(note[3]) < signal.shape[1]:
        signal = signal[:, : signal.shape[1] - int(note[3])]
    start = _start(header)
    if start and onsets and 0 < onsets[0] < 1:
        start += timedelta(seconds=onsets[0])
    statements = tuple(text[11:] for _, _, text in events if text.startswith("statement: "))
    events = [e for e in events if not e[2].startswith("statement: ")]
    return Record(
        signal=np.ascontiguousarray(signal),
        fs=fs,
        leads=distinct([c.label for c in chosen]),
        start=start,
        patient=_patient(header),
        device=_device(header, chosen),
        statements=statements,
        warnings=tuple(warnings),
        resolution_uv=tuple(steps),
        source=Source(version=header.kind or ("BDF" if header.bdf else "EDF")),
        extra={"annotations": tuple(events)} if events else {},
    )


def _header(file: File) -> _Header:
    head = file.head(256)
    if len(head) < 256:
        raise EcgError(f"truncated: {len(head)} of 256 header bytes are there", path=file.path)
    count = _whole(head[252:256], "number of signals", file)
    if not 0 < count <= 4096:
        raise EcgError(f"{count} signals", path=file.path, where="number of signals")
    size = 256 * (count + 1)
    text = file.head(size)
    if len(text) < size:
        raise EcgError(f"truncated: {len(text)} of {size} header bytes are there", path=file.path)
    declared = _whole(head[184:192], "header bytes", file)
    if declared != size:
        raise EcgError(
            f"header says it has {declared} bytes, {count} signals need {size}", path=file.path, where="header bytes"
        )
    columns: list[list[bytes]] = []
    at = 256
    for width in _FIELDS:
        columns.append([text[at + i * width : at + (i + 1) * width] for i in range(count)])
        at += width * count
    bdf = head[:1] == b"\xff"
    channels: list[_Channel] = []
    start = 0
    for i, (label, _, unit, low, high, floor, ceiling, filters, samples, note) in enumerate(zip(*columns, strict=True)):
        where = f"signal {i} ({_text(label)})"
        per = _whole(samples, where, file)
        if not 0 <= per <= 10_000_000:
            raise EcgError(f"{per} samples per data record", path=file.path, where=where)
        numbers = (
            _number(low, where, file),
            _number(high, where, file),
            _whole(floor, where, file),
            _whole(ceiling, where, file),
        )
        channels.append(_Channel(_text(label), _text(unit), *numbers, _text(filters), per, start, _text(note)))
        start += per
    records, duration = _whole(head[236:244], "number of data records", file), _number(head[244:252], "duration", file)
    width = start * (3 if bdf else 2)
    there = (file.size - size) // width if width else 0
    if records == -1:  # still being recorded when it was saved: as many as there are
        records = there
    if records < 0 or records > there:
        raise EcgError(f"truncated: {max(there, 0):,} of {records:,} data records are there", path=file.path)
    return _Header(
        bdf=bdf,
        patient=_text(head[8:88]),
        recording=_text(head[88:168]),
        when=_text(head[168:184]),
        kind=_text(head[192:236])[:5] if _text(head[192:196]) in ("EDF+", "BDF+") else "",
        bytes=size,
        records=records,
        duration=duration,
        channels=tuple(channels),
        width=start,
    )


def _samples(file: File, header: _Header) -> NDArray[np.generic]:
    """All data records, (records, samples of a record): int16, or for BDF the bytes (records, 3 samples)."""
    kind, factor = ("u1", 3) if header.bdf else ("<i2", 1)
    flat: NDArray[np.generic] = np.frombuffer(file.data, kind, header.records * header.width * factor, header.bytes)
    return flat.reshape(header.records, header.width * factor)


def _digital(data: NDArray[np.generic], channel: _Channel, bdf: bool) -> NDArray[np.int32]:
    """One channel's samples in a row."""
    a, b = channel.start, channel.start + channel.samples
    if not bdf:
        return data[:, a:b].reshape(-1).astype(np.int32)
    out = np.zeros((len(data), channel.samples, 4), np.uint8)
    out[:, :, 1:] = data[:, 3 * a : 3 * b].reshape(len(data), channel.samples, 3)
    return out.view("<i4").reshape(-1) >> 8


def _physical(
    data: NDArray[np.generic], channel: _Channel, header: _Header, options: Options, warnings: list[str]
) -> tuple[Signal, float]:
    """One channel in mV, and what one step is worth in µV."""
    if channel.ceiling == channel.floor or channel.high == channel.low:
        raise EcgError("its range is empty: no gain", where=f"signal {channel.label}")
    unit = options.unit or channel.unit
    factor = millivolts(unit)
    if factor is None:
        factor = 1.0
        warnings.append(f"unit {unit!r} of {channel.label} is unknown: taken as mV")
    step = (channel.high - channel.low) / (channel.ceiling - channel.floor)
    offset = channel.high / step - channel.ceiling
    digital = _digital(data, channel, header.bdf)
    values = step * (digital + offset) * factor
    note = _NOTE.match(channel.note)
    if note and note[1]:
        values[digital == channel.floor] = np.nan
    return values.astype(np.float32), abs(step) * factor * 1000


def _annotations(
    file: File, header: _Header, channels: Sequence[_Channel]
) -> tuple[list[float], list[tuple[float, float | None, str]]]:
    """Onset of each data record, and all events (onset s, duration s, text), from the time-stamped lists."""
    onsets: list[float] = []
    events: list[tuple[float, float | None, str]] = []
    size = 3 if header.bdf else 2
    data = file.data
    for r in range(header.records if channels else 0):
        base = header.bytes + r * header.width * size
        for n, channel in enumerate(channels):
            raw = bytes(data[base + channel.start * size : base + (channel.start + channel.samples) * size])
            for i, found in enumerate(_TAL.finditer(raw)):
                onset = float(found[1])
                if not n and not i:
                    onsets.append(onset)
                length = float(found[2]) if found[2] else None
                for text in found[3].split(b"\x14"):
                    if text and len(events) < 100_000:
                        events.append((onset, length, text.decode("utf-8", "replace")))
    return onsets, events


def _spread(signal: Signal, onsets: Sequence[float], header: _Header, file: File, warnings: list[str]) -> Signal:
    """The data records of a discontinuous file at their times, NaN between them."""
    per = signal.shape[1] // header.records
    fs = per / header.duration
    places = [round((onset - onsets[0]) * fs) for onset in onsets]
    if places == list(range(0, per * header.records, per)):
        return signal
    if any(b - a < per for a, b in pairwise(places)):
        raise EcgError("data records overlap or run backwards in time", path=file.path)
    check_samples(len(signal), places[-1] + per, file)
    out = np.full((len(signal), places[-1] + per), np.nan, np.float32)
    for i, place in enumerate(places):
        out[:, place : place + per] = signal[:, i * per : (i + 1) * per]
    warnings.append("discontinuous recording (EDF+D): pauses are missing samples")
    return out


def _start(header: _Header) -> datetime | None:
    """Date and time. The two digits of the year mean 1985 to 2084; EDF+ says the year in full."""
    found = re.match(r"(\d\d)[.\-/:](\d\d)[.\-/:](\d\d)(\d\d)[.\-/:](\d\d)[.\-/:](\d\d)", header.when)
    if not found:
        return None
    day, month, year, hour, minute, second = map(int, found.groups())
    if header.recording.startswith("Startdate X") and (day, month, year) == (1, 1, 85):
        return None  # EDF+: how a date that is not known is written
    year += 1900 if year >= 85 else 2000
    full = re.match(r"Startdate (\d\d)-([A-Z]{3})-(\d{4})", header.recording)
    if full and full[2] in _MONTHS:
        day, month, year = int(full[1]), _MONTHS.index(full[2]) + 1, int(full[3])
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None


def _patient(header: _Header) -> Patient:
    """EDF+: code, sex, birth date, name, and our own age=. Plain EDF: free text, kept as the name."""
    if not header.kind:
        return Patient(name=header.patient or None)
    words = (header.patient.split() + ["X"] * 4)[:4]
    code, sex, birth, name = (None if w == "X" else w.replace("_", " ") for w in words)
    age = re.search(r"\bage=(\d+(?:\.\d+)?)\b", header.patient)
    return Patient(
        id=code,
        name=name,
        age=float(age[1]) if age else None,
        sex={"M": "male", "F": "female"}.get(sex or ""),
        birth_date=_birth(birth),
    )


def _birth(word: str | None) -> str | None:
    found = re.fullmatch(r"(\d\d)-([A-Z]{3})-(\d{4})", word or "")
    if not found or found[2] not in _MONTHS:
        return word
    return f"{found[3]}-{_MONTHS.index(found[2]) + 1:02}-{found[1]}"


def _device(header: _Header, channels: Sequence[_Channel]) -> Device:
    """Filters where every channel has the same; the equipment's code of EDF+."""
    limits: list[float | None] = []
    for key in ("HP", "LP", "N"):
        said = {m[1] if (m := re.search(rf"\b{key}:\s*(\d{{1,5}}(?:\.\d{{1,6}})?)", c.filters)) else None for c in channels}
        word = said.pop() if len(said) == 1 else None
        limits.append(float(word) if word else None)
    words = header.recording.split()
    model = words[4].replace("_", " ") if header.kind and len(words) > 4 and words[4] != "X" else None
    return Device(model=model, highpass_hz=limits[0], lowpass_hz=limits[1], notch_hz=limits[2])


def _text(data: bytes) -> str:
    return data.decode("utf-8" if data.isascii() else "iso-8859-1").replace("\0", " ").strip()


def _number(data: bytes, where: str, file: File) -> float:
    try:
        value = float(_text(data).replace(",", "."))
    except ValueError:
        raise EcgError(f"{_text(data)!r} is no number", path=file.path, where=where) from None
    if not math.isfinite(value):
        raise EcgError(f"{_text(data)!r} is no number", path=file.path, where=where)
    return value


def _whole(data: bytes, where: str, file: File) -> int:
    value = _number(data, where, file)
    if value != int(value):
        raise EcgError(f"{_text(data)!r} is no whole number", path=file.path, where=where)
    return int(value)


# -- writer ------------------------------------------------------------------------------------------------------------------


def write(record: Record, path: Path) -> list[Path]:
    """EDF+C in µV, 16 bits at the record's own resolution where they hold it, else as fine as 16 bits allow.

    NaN is stored as the lowest digital value, and noted in the reserved field for our own reader. Age, statements and
    annotations go into the header's patient field and the annotation channel.
    """
    per, duration = _block(record.fs)
    total = record.signal.shape[1]
    blocks = max(-(-total // per), 1)
    pad = blocks * per - total
    gone = ~np.isfinite(record.signal)
    steps = record.resolution_uv or (0.0,) * len(record.leads)
    digital = np.empty((len(record.leads), blocks * per), "<i2")
    columns: list[tuple[str, ...]] = []
    for i, lead in enumerate(record.leads):
        row = np.where(gone[i], 0.0, record.signal[i].astype(np.float64) * 1000)
        high, ceiling = _range(steps[i], float(np.abs(row).max(initial=0.0)))
        step = 2 * float(high) / (2 * ceiling)
        values = np.clip(np.rint(row / step), -ceiling, ceiling)
        # One step below the scale is free for what was not recorded.
        values[gone[i]] = -ceiling - 1
        digital[i, :total] = values
        digital[i, total:] = values[-1] if total else 0
        note = "einthoven" + (" nan" if gone[i].any() else "") + (f" pad={pad}" if pad else "")
        low, floor = f"-{high}", -ceiling
        if gone[i].any():
            low, floor = _fit(-(ceiling + 1) * step), -ceiling - 1
        columns.append((_label(lead), "", "uV", low, high, str(floor), str(ceiling), _filters(record.device), str(per), note))
    lists = [_tal(i * per / record.fs, record if i == 0 else None) for i in range(blocks)]
    width = max(len(t) for t in lists)
    width += width % 2
    columns.append(("EDF Annotations", "", "", "-1", "1", "-32768", "32767", "", str(width // 2), ""))
    head = _head(record, len(columns), blocks, duration)
    for f, size in enumerate(_FIELDS):
        head += b"".join(_ascii(c[f], size) for c in columns)
    with replacing(path) as draft, open(draft, "wb") as out:
        out.write(head)
        for i in range(blocks):
            out.write(digital[:, i * per : (i + 1) * per].tobytes())
            out.write(lists[i].ljust(width, b"\0"))
    return [path]


def _block(fs: float) -> tuple[int, str]:
    """Samples and duration of a data record such that their quotient is the sampling rate."""
    for seconds in (1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 40, 50, 64, 80, 100):
        if abs(fs * seconds - round(fs * seconds)) < 1e-9 * fs and fs * seconds < 20_000:
            return round(fs * seconds), str(seconds)
    per = max(round(10 * fs), 1)
    return per, _fit(per / fs)


def _range(step: float, peak: float) -> tuple[str, int]:
    """Physical maximum (8 characters) and digital maximum, so that one step is worth `step` µV and `peak` µV fits."""
    if step > 0 and peak <= step * 32766:
        for ceiling in (32766, 32000, 30000, 25000, 20000, 16384, 10000, 8192):
            word = _fit(step * ceiling)
            if peak <= step * ceiling and float(word) == step * ceiling:
                return word, ceiling
        return _fit(step * 32766), 32766
    word = _fit(max(peak, 1.0) * 1.00001)
    return word, 32766


def _fit(value: float) -> str:
    """The number in at most 7 characters and a sign, as exactly as they allow."""
    for digits in range(10, 0, -1):
        word = np.format_float_positional(value, precision=digits, unique=False, fractional=False, trim="-")
        if len(word.lstrip("-")) <= 7:
            return word
    raise EcgError(f"{value:g} does not fit into an EDF header")


def _label(lead: str) -> str:
    return lead if re.match(r"(ecg|ekg)\b", lead, re.IGNORECASE) else f"ECG {lead}"


def _filters(device: Device) -> str:
    parts = (("HP", device.highpass_hz), ("LP", device.lowpass_hz), ("N", device.notch_hz))
    return " ".join(f"{key}:{value:g}Hz" for key, value in parts if value is not None)


def _tal(onset: float, record: Record | None) -> bytes:
    """The time-stamped list of one data record; the first also carries statements and annotations."""
    out = b"+" + f"{onset:.6f}".rstrip("0").rstrip(".").encode() + b"\x14\x14\0"
    if record is None:
        return out
    events = [(0.0, None, f"statement: {s}") for s in record.statements]
    events += [e for e in record.extra.get("annotations", ()) if isinstance(e, tuple) and len(e) == 3]
    for at, length, text in events:
        stamp = f"{float(at):+.6f}".rstrip("0").rstrip(".")
        if length:
            stamp += "\x15" + f"{float(length):.6f}".rstrip("0").rstrip(".")
        out += stamp.encode() + b"\x14" + re.sub(r"[\x00-\x1f]", " ", str(text)).encode() + b"\x14\0"
    return out


def _head(record: Record, channels: int, blocks: int, duration: str) -> bytes:
    start, patient = record.start, record.patient
    sex = {"male": "M", "female": "F"}.get(patient.sex or "", "X")
    words = [_word(patient.id), sex, _born(patient.birth_date), _word(patient.name)]
    if patient.age is not None:
        words.append(f"age={patient.age:g}")
    when = f"{start.day:02}-{_MONTHS[start.month - 1]}-{start.year:04}" if start else "X"
    recording = f"Startdate {when} X X {_word(record.device.model)}"
    if start and 1985 <= start.year <= 2084:
        clock = start.strftime("%d.%m.%y%H.%M.%S")
    else:
        clock = f"01.01.85{start.strftime('%H.%M.%S') if start else '00.00.00'}"
    return b"".join(
        (
            _ascii("0", 8), _ascii(" ".join(words), 80), _ascii(recording, 80), _ascii(clock, 16),
            _ascii(str(256 * (channels + 1)), 8), _ascii("EDF+C", 44), _ascii(str(blocks), 8), _ascii(duration, 8),
            _ascii(str(channels), 4),
        )
    )  # fmt: skip


def _word(text: str | None) -> str:
    return re.sub(r"\s+", "_", text.strip()) if text and text.strip() else "X"


def _born(date: str | None) -> str:
    found = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", date or "")
    return f"{found[3]}-{_MONTHS[int(found[2]) - 1]}-{found[1]}" if found and 1 <= int(found[2]) <= 12 else "X"


def _ascii(text: str, size: int) -> bytes:
    return text.encode("ascii", "replace")[:size].ljust(size)


EDF = Format("edf", "EDF, EDF+, BDF", (".edf", ".bdf"), matches, read, write=write)
