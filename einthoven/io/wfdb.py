"""WFDB: a text header (.hea) that describes signal files in one of a dozen sample formats; and the Challenges' form of it.

After the WFDB Applications Guide, header(5) and signal(5), https://physionet.org/physiotools/wag. The reader is our own: it
gives what `wfdb.rdrecord` gives to the last bit (tests/test_io_wfdb.py), ten times faster (bench/read.py), from a folder or an
archive, and trusts no number of the header before it has been checked against the size of the signal file.

Letters: L signals, N frames, S samples per frame.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import File, decode, replacing
from einthoven.io.finish import check_fs, check_samples, distinct, is_ecg, level, millivolts
from einthoven.io.format import Format, Options
from einthoven.record import EcgError, Patient, Record, Signal, Source

# Format -> (numpy type as stored, bits, value that means "missing").
_ALIGNED = {"16": "<i2", "61": ">i2", "32": "<i4", "80": "u1", "160": "<u2", "8": "i1"}
_MISSING = {
    "16": -(1 << 15),
    "61": -(1 << 15),
    "160": -(1 << 15),
    "516": -(1 << 15),
    "80": -(1 << 7),
    "508": -(1 << 7),
    "8": None,
}
_MISSING |= {
    "0": None,
    "8": None,
    "212": -(1 << 11),
    "310": -(1 << 9),
    "311": -(1 << 9),
    "24": -(1 << 23),
    "524": -(1 << 23),
    "32": -(1 << 31),
}
_FLAC = {"508": 8, "516": 16, "524": 24}
# Bytes that a number of samples takes.
_BYTES = {"16": 2.0, "61": 2.0, "160": 2.0, "32": 4.0, "80": 1.0, "8": 1.0, "24": 3.0, "212": 1.5, "310": 4 / 3, "311": 4 / 3}

_FORMAT = re.compile(r"(\d{1,4})(?:x(\d{1,6}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?")
_GAIN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?)?(?:\((-?\d{1,12})\))?(?:/(\S*))?")
_RECORD = re.compile(r"\s*[^\s#/]+(?:/\d+)?\s+\d{1,6}(\s+[\d.]|\s*$)")
_SIGNAL = re.compile(r"\s*\S+\s+\d{1,4}(x\d+)?(:\d+)?(\+\d+)?(\s|$)")
_SEGMENT = re.compile(r"\s*\S+\s+\d+\s*$")
MAX_SIGNALS = 1024
MAX_SEGMENTS = 100_000


@dataclass(frozen=True)
class _Layout:
    """What the signal lines of a header say, file names and first values apart; shared by all headers that say the same."""

    formats: tuple[str, ...]
    frames: tuple[int, ...]  # samples per frame
    skews: tuple[int, ...]
    offsets: tuple[int, ...]  # bytes before the first sample
    gains: NDArray[np.float64]
    baselines: NDArray[np.float64]
    gains32: Signal  # (L, 1), for the plain case
    baselines32: Signal | None  # (L, 1), None where all are 0
    factors: tuple[float | None, ...]  # mV per unit; None where it is no voltage
    units: tuple[str, ...]
    labels: tuple[str, ...]
    steps_uv: tuple[float, ...]
    plain: bool  # one format, one sample per frame, no skew, no offset but a common one, mV everywhere
    exact: bool  # float32 arithmetic gives what float64 arithmetic rounded to float32 gives
    told: tuple[str, ...]


@dataclass(frozen=True)
class _Header:
    name: str
    segments: tuple[tuple[str, int], ...]  # of a multi-segment record: (name, frames)
    signals: int
    fs: float
    frames: int | None
    when: tuple[str, ...]
    layout: _Layout | None
    files: tuple[str, ...]
    first: tuple[str, ...]  # initial value of each signal, as it is written
    comments: tuple[str, ...]


def matches(file: File) -> bool:
    """A header by its first two lines, or a signal file that has its header beside it."""
    if file.suffix == ".hea":
        head = file.head(64)
        return b"\0" not in head and not head.startswith((b"<", b"{", b"%PDF", b"\x89", b"\xff", b"PK"))
    if file.suffix in (".dat", ".mat", ".xyz") and file.has(file.stem + ".hea"):
        return True
    head = file.head(2048)
    if b"\0" in head:
        return False
    lines = [line for line in decode(head).splitlines() if line.strip() and not line.startswith("#")][:2]
    if len(lines) < 2 or not _RECORD.match(lines[0]):
        return False
    named = "/" in lines[0].split()[0]
    second = (_SEGMENT if named else _SIGNAL).match(lines[1])
    return second is not None and re.search(r"[A-Za-z_~]", lines[1].split()[0]) is not None


def read(file: File, options: Options) -> Record:
    """A WFDB record from its header (or from a signal file with the header beside it).

    Channels that are no voltage are left out and named in a warning. Where ECG channels have several samples per frame, the
    record has the rate of the fastest. Equal to `wfdb.rdrecord(smooth_frames=False)` in float32, bit for bit.
    """
    if file.suffix != ".hea" and not _is_header(file):
        file = file.sibling(file.stem + ".hea")
    header = _header(file)
    if header.segments:
        return _read_segments(file, header, options)
    if header.layout is None:
        raise EcgError("header without signals", path=file.path)
    warnings: list[str] = list(header.layout.told)
    if header.layout.plain and len(set(header.files)) == 1 and not options.unit:
        signal = _read_plain(file, header, warnings)
        labels, steps, fs = header.layout.labels, header.layout.steps_uv, header.fs
    else:
        fs, labels, rows, steps = _read_channels(file, header, options, warnings)
        signal = np.stack(rows) if len({len(r) for r in rows}) == 1 else level(rows)
    about = _about(header.comments) if header.comments else _NOTHING
    extra, told = _erratum(header)
    return Record(
        signal=signal,
        fs=fs,
        leads=labels,
        start=_when(header.when) if header.when else None,
        patient=about.patient,
        statements=about.statements,
        codes=about.codes,
        warnings=(*warnings, *told),
        resolution_uv=steps,
        extra={**about.extra, **extra},
    )


# Gains of the first release of the PhysioNet Challenge 2020, in units per mV, over integers that are microvolts: the second
# release says 1000. Georgia's integers are multiples of MUSE's 4.88 uV, cut to whole microvolts; PTB's are its samples / 2.
_MICROVOLTS_ALL_THE_SAME = (4880.0, 2_000_000.0)
# ... and of PTB-XL's records (HR00001 is ecg_id 1) in that release: PTB-XL's own headers say 1000 over the same integers. The
# name belongs to it, because 200/mV is a gain that others have with right.
_PTBXL_GAIN, _PTBXL_NAME = 200.0, re.compile(r"HR\d{5}")


def _erratum(header: _Header) -> tuple[dict[str, object], tuple[str, ...]]:
    """`extra` and a warning for a header whose gain is known to be wrong. The samples stay as the header has them: `Record.ecg`
    gives the ECG that was meant."""
    layout = header.layout
    if layout is None or not header.files[0].endswith(".mat") or set(layout.offsets) != {24}:
        return {}, ()
    gain = float(layout.gains[0])
    ptbxl = gain == _PTBXL_GAIN and _PTBXL_NAME.fullmatch(header.name)
    if not (ptbxl or gain in _MICROVOLTS_ALL_THE_SAME) or (layout.gains != gain).any() or (layout.baselines != 0).any():
        return {}, ()
    words = (
        f"gain {gain:.0f}/mV is a known fault of the Challenge's first release: measured as 1000/mV, as its second release says"
    )
    return {"gain_factor": gain / 1000}, (words,)


# -- header ------------------------------------------------------------------------------------------------------------------


def _is_header(file: File) -> bool:
    head = file.head(512)
    return (
        b"\0" not in head and _RECORD.match(decode(head).lstrip("\ufeff")) is not None and file.suffix not in (".mat", ".dat")
    )


def _header(file: File) -> _Header:
    if file.size > 16 << 20:
        raise EcgError(f"{file.size:,} bytes are too many for a header", path=file.path)
    lines: list[str] = []
    comments: list[str] = []
    for line in decode(bytes(file.data)).splitlines():
        line = line.strip()
        if line.startswith("#"):
            comments.append(line[1:].strip())
        elif line:
            lines.append(line)
    if not lines:
        raise EcgError("header without a record line", path=file.path)
    words = lines[0].split()
    name, slash, count = words[0].partition("/")
    try:
        segments = int(count) if slash else 0
        signals = int(words[1]) if len(words) > 1 else -1
        fs = _rate(words[2]) if len(words) > 2 else 250.0  # header(5): 250 Hz where it is left out
        frames = int(words[3]) if len(words) > 3 and words[3].isdigit() else None
    except ValueError:
        raise EcgError(f"record line cannot be understood: {lines[0][:80]!r}", path=file.path, where="line 1") from None
    if not 0 <= signals <= MAX_SIGNALS or not 0 <= segments <= MAX_SEGMENTS:
        raise EcgError(f"record line names {signals} signals in {segments} segments", path=file.path, where="line 1")
    check_fs(fs, file, "line 1")
    when = tuple(words[4:6] if frames is not None else words[3:5])
    if slash:
        if len(lines) - 1 < segments or segments == 0:
            raise EcgError(f"record line names {segments} segments, {len(lines) - 1} follow", path=file.path, where="line 1")
        parts = tuple(_segment(line, file, i) for i, line in enumerate(lines[1 : 1 + segments]))
        return _Header(name, parts, signals, fs, frames, when, None, (), (), tuple(comments))
    if len(lines) - 1 < signals:
        raise EcgError(f"record line names {signals} signals, {len(lines) - 1} follow", path=file.path, where="line 1")
    if signals == 0:
        return _Header(name, (), 0, fs, frames, when, None, (), (), tuple(comments))
    files, key, first = [], [], []
    for line in lines[1 : 1 + signals]:
        words = line.split(None, 8)  # file format gain resolution zero first checksum block label
        if len(words) < 2:
            raise EcgError(f"signal line cannot be understood: {line[:80]!r}", path=file.path, where="header")
        files.append(words[0])
        words += [""] * (9 - len(words))
        key.append((words[1], words[2], words[4], words[8]))
        first.append(words[5])
    try:
        layout = _layout(tuple(key))
    except EcgError as error:
        raise error.at(file.path) from None
    return _Header(name, (), signals, fs, frames, when, layout, tuple(files), tuple(first), tuple(comments))


def _rate(word: str) -> float:
    """Sampling rate from `360`, `62.4725/999.56`, `250/24000(0)`: what comes before the counter frequency."""
    return float(word.partition("/")[0].partition("(")[0])


def _segment(line: str, file: File, i: int) -> tuple[str, int]:
    words = line.split()
    if len(words) < 2 or not words[1].isdigit() or len(words[1]) > 12:
        raise EcgError(f"segment line cannot be understood: {line[:80]!r}", path=file.path, where=f"segment {i + 1}")
    return words[0], int(words[1])


@lru_cache(maxsize=256)
def _layout(lines: tuple[tuple[str, str, str, str], ...]) -> _Layout:
    formats, frames, skews, offsets = [], [], [], []
    gains, baselines, factors, units, labels, told = [], [], [], [], [], []
    for i, (how, gain, zero, label) in enumerate(lines):
        where = f"signal {i}" + (f" ({label})" if label else "")
        found = _FORMAT.fullmatch(how)
        if not found:
            raise EcgError(f"sample format cannot be understood: {how[:40]!r}", where=where)
        code, spf, skew, offset = found.groups()
        if code not in _MISSING:
            raise EcgError(f"unknown sample format {code}", where=where)
        value = _GAIN.fullmatch(gain)
        if not value:
            raise EcgError(f"gain cannot be understood: {gain[:40]!r}", where=where)
        number, baseline, unit = value.groups()
        per_unit = float(number) if number else 0.0
        if per_unit == 0:  # header(5): 200 stands for an amplitude that was never calibrated
            per_unit = 200.0
            if number is not None:
                told.append(f"gain of {label or f'signal {i}'} is 0 (not calibrated): taken as 200 per mV")
            else:
                told.append(f"gain of {label or f'signal {i}'} is not given: taken as 200 per mV")
        if not np.isfinite(per_unit):
            raise EcgError(f"impossible gain {gain[:40]!r}", where=where)
        try:
            center = int(baseline) if baseline else (int(zero) if zero else 0)  # header(5): the zero level where it is left out
        except ValueError:
            raise EcgError(f"ADC zero cannot be understood: {zero[:40]!r}", where=where) from None
        if abs(center) >= 1 << 40:
            raise EcgError(f"impossible baseline {str(center)[:40]}", where=where)
        formats.append(code)
        frames.append(int(spf) if spf else 1)
        skews.append(int(skew) if skew else 0)
        offsets.append(int(offset) if offset else 0)
        gains.append(per_unit)
        baselines.append(float(center))
        units.append(unit or "mV")
        factors.append(millivolts(unit) if unit else 1.0)
        labels.append(label.strip() or f"signal {i}")
    if min(frames) < 1 or max(frames) > 100_000:
        raise EcgError(f"{max(frames)} samples per frame", where="header")
    g, b = np.array(gains), np.array(baselines)
    same = len(set(formats)) == 1 and len(set(offsets)) == 1
    small = formats[0] not in ("32", "8") and bool((np.abs(b) <= 1 << 23).all())
    return _Layout(
        formats=tuple(formats),
        frames=tuple(frames),
        skews=tuple(skews),
        offsets=tuple(offsets),
        gains=g,
        baselines=b,
        gains32=g.astype(np.float32)[:, None],
        baselines32=b.astype(np.float32)[:, None] if b.any() else None,
        factors=tuple(factors),
        units=tuple(units),
        labels=distinct(labels),
        steps_uv=tuple(float(1000 * (f or 0.0) / abs(v)) for f, v in zip(factors, gains, strict=True)),
        plain=same and set(frames) == {1} and set(skews) == {0} and set(factors) == {1.0} and formats[0] not in _FLAC,
        # A quotient rounded to 53 bits and then to 24 is the quotient rounded to 24 bits, since 53 >= 2 * 24 + 2
        # (Figueroa 1995): where samples, baseline and gain are exact in float32, so is the division.
        exact=small and bool((g.astype(np.float32) == g).all()),
        told=tuple(told),
    )


# -- samples -----------------------------------------------------------------------------------------------------------------


def _read_plain(file: File, header: _Header, warnings: list[str]) -> Signal:
    """All signals in one file, one sample per frame, mV: (L, N) float32."""
    layout = header.layout
    assert layout is not None
    digital = _digital(file, header, tuple(range(header.signals)), warnings)  # (N, L)
    if layout.exact:
        signal = np.ascontiguousarray(digital.T, np.float32)
        if layout.baselines32 is not None:
            signal -= layout.baselines32
        signal /= layout.gains32
    else:
        signal = ((digital.T - layout.baselines[:, None]) / layout.gains[:, None]).astype(np.float32)
    missing = _MISSING[layout.formats[0]]
    if missing is not None and digital.size and digital.min() == missing:
        signal[digital.T == missing] = np.nan
    return signal


def _read_channels(
    file: File, header: _Header, options: Options, warnings: list[str], every: bool = False
) -> tuple[float, tuple[str, ...], list[Signal], tuple[float, ...]]:
    """The general case: several files, formats, rates, skews, units -> (fs, labels, rows, steps)."""
    layout = header.layout
    assert layout is not None
    keep, factors = _voltages(layout, options, warnings, every)
    if not keep:
        told = ", ".join(f"{n} ({u})" for n, u in zip(layout.labels, layout.units, strict=True))
        raise EcgError(f"no ECG channel: {told}", path=file.path)
    rows: dict[int, Signal] = {}
    for name in dict.fromkeys(header.files):
        group = tuple(i for i, n in enumerate(header.files) if n == name)
        if not any(i in keep for i in group):
            continue
        digital = _digital(file, header, group, warnings)  # (N, S)
        at = 0
        for i in group:
            width = layout.frames[i]
            if i in keep:
                rows[i] = _physical(digital[:, at : at + width], layout, i, factors[i])
            at += width
    rate = max(layout.frames[i] for i in keep)
    slow = [layout.labels[i] for i in keep if layout.frames[i] != rate]
    if slow:
        warnings.append(f"sampled more slowly than the rest and interpolated: {', '.join(slow)}")
    labels = tuple(layout.labels[i] for i in keep)
    steps = tuple(float(1000 * factors[i] / abs(layout.gains[i])) for i in keep)
    return header.fs * rate, labels, [rows[i] for i in keep], steps


def _voltages(layout: _Layout, options: Options, warnings: list[str], every: bool) -> tuple[tuple[int, ...], dict[int, float]]:
    """Which signals are kept, and the mV per unit of each."""
    factors: dict[int, float] = {}
    other: list[str] = []
    known = any(is_ecg(label) for label in layout.labels)
    given = millivolts(options.unit) if options.unit else None
    if options.unit and given is None:
        raise EcgError(f"unit {options.unit[:40]!r} is no voltage (mV, uV, nV or V)")
    for i, (label, factor, unit) in enumerate(zip(layout.labels, layout.factors, layout.units, strict=True)):
        if factor is not None and (every or not known or is_ecg(label)):
            factors[i] = factor
        elif factor is None and is_ecg(label):
            factors[i] = given or 1.0
            if given is None:
                warnings.append(f"unit {unit} of {label} is unknown: taken as mV")
        else:
            other.append(f"{label} ({unit})")
    if other and factors:
        warnings.append(f"not ECG, left out: {', '.join(other)}")
    return tuple(factors), factors


def _physical(samples: NDArray[Any], layout: _Layout, i: int, factor: float) -> Signal:
    """Digital samples (N, S) of signal i -> mV (N S + nothing,), skew taken out, missing samples NaN."""
    flat = samples.reshape(-1)
    out = (flat.astype(np.float64) - layout.baselines[i]) / layout.gains[i]
    if factor != 1.0:
        out *= factor
    missing = _MISSING[layout.formats[i]]
    if missing is not None:
        out[flat == missing] = np.nan
    late = layout.skews[i] * layout.frames[i]
    if late:  # the file holds this signal `skew` frames late: signal(5)
        out[: max(len(out) - late, 0)] = out[late:].copy()
        out[max(len(out) - late, 0) :] = np.nan
    signal: Signal = out.astype(np.float32)
    return signal


def _digital(file: File, header: _Header, group: tuple[int, ...], warnings: list[str]) -> NDArray[Any]:
    """The samples of the signals that share a file: (N frames, S samples per frame of the group), integers."""
    layout = header.layout
    assert layout is not None
    name, code = header.files[group[0]], layout.formats[group[0]]
    per_frame = len(group) if layout.plain else sum(layout.frames[i] for i in group)
    if not layout.plain and {layout.formats[i] for i in group} != {code}:
        raise EcgError(f"signals of {name} are in different sample formats", path=file.path, where="header")
    if code == "0":
        raise EcgError("signals without samples (format 0): the layout of a multi-segment record", path=file.path)
    source = file.sibling(name)
    offset = layout.offsets[group[0]]
    frames = header.frames
    if code in _FLAC:
        return _flac(file, source, code, offset, frames, tuple(layout.frames[i] for i in group))
    there = source.size - offset
    if frames is None:
        frames = max(int(there / (_BYTES[code] * per_frame)), 0)
    check_samples(per_frame, frames, file)
    samples = frames * per_frame
    needed = _needed(code, samples)
    if needed > there:
        fit = max(int(there / (_BYTES[code] * per_frame)), 0)
        raise EcgError(f"truncated: {fit:,} of {frames:,} samples are there", path=source.path)
    if there - needed >= _BYTES[code] * per_frame + 4 and header.frames is not None:
        warnings.append(f"{name} holds {int(there / (_BYTES[code] * per_frame)):,} samples, its header says {frames:,}")
    data = source.data
    kind = _ALIGNED.get(code)
    flat: NDArray[Any]
    if kind is not None:
        flat = np.frombuffer(data, kind, samples, offset)
        if code == "80":
            flat = flat.astype(np.int16) - np.int16(128)
        elif code == "160":
            flat = (flat.astype(np.int32) - 32768).astype(np.int16)
        elif code == "8":
            try:
                first = [int(header.first[i] or 0) for i in range(header.signals)]
            except ValueError:
                raise EcgError("a signal line's initial value is no number", path=file.path, where="header") from None
            if any(abs(v) >= 1 << 31 for v in first):
                raise EcgError("a signal line's initial value has more than 32 bits", path=file.path, where="header")
            return _differences(flat.reshape(frames, per_frame), layout, first, group)
    else:
        flat = _UNALIGNED[code](np.frombuffer(data, np.uint8, needed, offset), samples)
    return flat.reshape(frames, per_frame)


def _needed(code: str, samples: int) -> int:
    """Bytes that hold this many samples. Format 311 may stop within its last 4-byte group, 310 not."""
    if code == "212":
        return (samples * 3 + 1) // 2
    if code == "310" and samples % 3 == 2:
        return (samples * 4 // 3 + 4) // 4 * 4
    if code in ("310", "311"):
        return -(-samples * 4 // 3)
    return int(samples * _BYTES[code])


def _differences(steps: NDArray[Any], layout: _Layout, first: Sequence[int], group: tuple[int, ...]) -> NDArray[Any]:
    """Format 8: first differences that start from the header's initial value."""
    out = np.empty(steps.shape, np.int32)
    at = 0
    for i in group:
        width = layout.frames[i]
        part = steps[:, at : at + width]
        out[:, at : at + width] = (part.reshape(-1).cumsum(dtype=np.int64) + first[i]).astype(np.int32).reshape(part.shape)
        at += width
    return out


def _padded(data: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The bytes in whole groups of `size`, zeros at the end."""
    lack = -len(data) % size
    return (np.concatenate([data, np.zeros(lack, np.uint8)]) if lack else data).reshape(-1, size)


def _from_212(data: NDArray[np.uint8], samples: int) -> NDArray[np.int16]:
    """Two 12-bit samples in three bytes: low byte, two high nibbles, low byte."""
    triples = _padded(data, 3)
    out = np.empty((len(triples), 2), np.int16)
    middle = triples[:, 1].astype(np.int16)
    # Shifted to the top of the 16 bits and back, the sign comes by itself.
    np.left_shift(middle, 12, out=out[:, 0])
    np.left_shift(middle & 0xF0, 8, out=out[:, 1])
    out[:, 0] |= triples[:, 0].astype(np.int16) << 4
    out[:, 1] |= triples[:, 2].astype(np.int16) << 4
    out >>= 4
    return out.reshape(-1)[:samples]


def _from_310(data: NDArray[np.uint8], samples: int) -> NDArray[np.int16]:
    """Three 10-bit samples in two little-endian words: bits 1-10 of each, and the two upper fives together."""
    words = _padded(data, 4).astype(np.int16)
    out = np.empty((len(words), 3), np.int16)
    out[:, 0] = (words[:, 0] >> 1) + ((words[:, 1] & 7) << 7)
    out[:, 1] = (words[:, 2] >> 1) + ((words[:, 3] & 7) << 7)
    out[:, 2] = ((words[:, 1] >> 3) & 31) + (((words[:, 3] >> 3) & 31) << 5)
    out[out > 511] -= 1024
    return out.reshape(-1)[:samples]


def _from_311(data: NDArray[np.uint8], samples: int) -> NDArray[np.int16]:
    """Three 10-bit samples in the lower 30 bits of a little-endian word."""
    words = _padded(data, 4).view("<u4").reshape(-1)
    out: NDArray[np.int16] = np.stack([words & 1023, (words >> 10) & 1023, (words >> 20) & 1023], axis=1).astype(np.int16)
    out[out > 511] -= 1024
    return out.reshape(-1)[:samples]


def _from_24(data: NDArray[np.uint8], samples: int) -> NDArray[np.int32]:
    """Little-endian two's complement of three bytes."""
    out = np.zeros((samples, 4), np.uint8)
    out[:, 1:] = data[: samples * 3].reshape(samples, 3)
    return out.view("<i4").reshape(-1) >> 8


_UNALIGNED: dict[str, Callable[[NDArray[np.uint8], int], NDArray[Any]]] = {
    "212": _from_212,
    "310": _from_310,
    "311": _from_311,
    "24": _from_24,
}


def _flac(file: File, source: File, code: str, offset: int, frames: int | None, widths: tuple[int, ...]) -> NDArray[Any]:
    """Formats 508, 516, 524: a FLAC stream with one channel per signal."""
    import soundfile

    if len(set(widths)) != 1:
        raise EcgError("signals of one FLAC file have different samples per frame", path=file.path, where="header")
    width = widths[0]
    if source.head(4) != b"fLaC":
        raise EcgError("not a FLAC file, though its header says so", path=source.path)
    try:
        with soundfile.SoundFile(io.BytesIO(bytes(source.data))) as stream:
            bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(stream.subtype, 99)
            if bits > _FLAC[code] or stream.channels != len(widths):
                told = f"FLAC of {stream.channels} channels, {bits} bits; its header says {len(widths)} of {_FLAC[code]} bits"
                raise EcgError(told, path=source.path)
            if frames is None:
                frames = max(stream.frames - offset, 0) // width
            check_samples(sum(widths), frames, file)
            if offset + frames * width > stream.frames:
                raise EcgError(
                    f"truncated: {stream.frames - offset:,} of {frames * width:,} samples are there", path=source.path
                )
            stream.seek(offset)
            kind = "int32" if bits == 24 else "int16"
            # Chunks: libsndfile fails on blocks of more than 2^24 samples (its issue 431).
            parts = [
                stream.read(min(1 << 20, frames * width - at), kind, always_2d=True) for at in range(0, frames * width, 1 << 20)
            ]
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError) as error:
        raise EcgError(f"broken FLAC: {error}", path=source.path) from None
    data = np.concatenate(parts) if parts else np.empty((0, len(widths)), np.int16)
    if len(data) != frames * width:
        raise EcgError(f"truncated: {len(data):,} of {frames * width:,} samples are there", path=source.path)
    if bits in (8, 24):  # soundfile puts 8 bits into the upper half of 16, 24 into the upper part of 32
        data = data >> 8
    # (N width, L) -> (N, L width): as the uncompressed formats lie in a frame
    return data.reshape(frames, width, len(widths)).transpose(0, 2, 1).reshape(frames, len(widths) * width)


# -- multi-segment -----------------------------------------------------------------------------------------------------------


def _read_segments(file: File, header: _Header, options: Options) -> Record:
    """Segments one after another; in the variable layout, signals come and go, gaps are NaN."""
    total = sum(count for _, count in header.segments)
    frames = header.frames if header.frames is not None else total
    if frames != total:
        raise EcgError(f"segments have {total:,} samples together, the record line says {frames:,}", path=file.path)
    check_samples(max(header.signals, 1), total, file)
    variable = header.segments[0][1] == 0
    warnings: list[str] = []
    shape: _Header | None = None
    if variable:
        shape = _header(file.sibling(header.segments[0][0] + ".hea"))
        if shape.segments or shape.layout is None:
            raise EcgError("layout segment without signals", path=file.path)
    parts: list[tuple[int, int, float, tuple[str, ...], list[Signal], tuple[float, ...]]] = []
    at = 0
    for i, (name, count) in enumerate(header.segments):
        if name != "~" and not (variable and i == 0):
            inner = file.sibling(name + ".hea")
            part = _header(inner)
            if part.segments:
                raise EcgError(f"segment {name} has segments itself", path=file.path)
            if part.layout is not None and count:
                if part.frames is not None and part.frames != count:
                    told = f"segment {name} has {part.frames:,} samples, the record says {count:,}"
                    raise EcgError(told, path=file.path)
                try:
                    fs, labels, rows, steps = _read_channels(inner, part, options, warnings)
                except EcgError as error:
                    if not error.what.startswith("no ECG channel"):
                        raise
                else:
                    parts.append((at, count, fs, labels, rows, steps))
                    shape = shape or part
        at += count
    if not parts:
        raise EcgError("no ECG channel in any segment", path=file.path)
    rate = max(fs for _, _, fs, _, _, _ in parts) / header.fs
    wide = round(rate)
    labels = tuple(dict.fromkeys(label for _, _, _, names, _, _ in parts for label in names))
    if shape is not None and shape.layout is not None:  # the order of the layout
        labels = tuple(n for n in shape.layout.labels if n in labels) + tuple(n for n in labels if n not in shape.layout.labels)
    check_samples(len(labels), total * wide, file)
    signal = np.full((len(labels), total * wide), np.nan, np.float32)
    coarsest = dict.fromkeys(labels, 0.0)
    for at, count, _, names, rows, steps in parts:
        for label, row, step in zip(names, rows, steps, strict=True):
            full = row if len(row) == count * wide else level([row, np.empty(count * wide, np.float32)])[0]
            signal[labels.index(label), at * wide : (at + count) * wide] = full
            coarsest[label] = max(coarsest[label], step)
    about = _about(header.comments)
    return Record(
        signal=signal,
        fs=header.fs * wide,
        leads=labels,
        start=_when(header.when),
        patient=about.patient,
        statements=about.statements,
        codes=about.codes,
        warnings=tuple(dict.fromkeys(warnings)),
        resolution_uv=tuple(coarsest.values()),
        extra=about.extra,
        source=Source(version=f"{len(header.segments)} segments"),
    )


# -- what the comments say -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _About:
    patient: Patient = field(default_factory=Patient)
    statements: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


_FIELD = re.compile(r"<\s*([\w .-]{1,40}?)\s*>\s*:\s*([^<]*)")
_PAIR = re.compile(r"([A-Za-z][\w .()/-]{0,60}?)\s*:\s*(.*)")
_MITBIH = re.compile(r"(\d{1,3}|-1)\s+([MF])\s+\d+\s+\d+\s+\S+")


@lru_cache(maxsize=256)
def _about(comments: tuple[str, ...]) -> _About:
    """Patient, statements and codes from comment lines, in the manners of LUDB, PTB, the Challenges and MIT-BIH."""
    fields: dict[str, str] = {}
    statements: list[str] = []
    listing = ""
    for line in comments:
        if not line:
            continue
        pairs = _FIELD.findall(line)
        old = _MITBIH.match(line)
        single = _PAIR.fullmatch(line)
        if pairs:
            for key, value in pairs:
                fields[key.strip().lower()] = value.strip()
                listing = key.strip().lower() if not value.strip() else ""
        elif listing.startswith("diagnos"):
            statements.append(line)  # LUDB: one statement per line after "<diagnoses>:"
        elif old:
            fields |= {"age": old[1], "sex": old[2]}
        elif single:
            fields[single[1].strip().lower()] = single[2].strip()
        else:
            fields.setdefault("remark", line)
    codes: tuple[str, ...] = ()
    if fields.get("dx"):
        codes = tuple(c for c in re.split(r"[,\s]+", fields["dx"]) if re.fullmatch(r"\d{5,18}", c))
        if not codes and fields["dx"].lower() not in ("unknown", "n/a"):
            statements.append(fields["dx"])
    for key in ("diagnoses", "reason for admission", "acute infarction (localization)", "former infarction (localization)"):
        value = fields.get(key, "")
        if value and value.lower() not in ("unknown", "n/a", "no", "(none)", "none"):
            statements.append(value)
    told = {
        k: v
        for k, v in fields.items()
        if k not in ("age", "sex", "dx", "diagnoses") and v and v.lower() not in ("unknown", "n/a")
    }
    patient = Patient(
        age=_number(fields.get("age"), 0, 130),
        sex={"m": "male", "male": "male", "f": "female", "female": "female"}.get(fields.get("sex", "").lower()),
        height_cm=_number(fields.get("height"), 20, 260),
        weight_kg=_number(fields.get("weight"), 0.3, 600),
    )
    return _About(patient, tuple(statements), codes, told)


_NOTHING = _About()


def _number(word: str | None, low: float, high: float) -> float | None:
    try:
        value = float(word) if word else None
    except ValueError:
        return None
    return value if value is not None and low <= value <= high else None


_CLOCKS = ("%H:%M:%S.%f", "%H:%M:%S", "%H:%M", "%M:%S.%f")
_DAYS = ("%d/%m/%Y", "%d-%b-%Y", "%d-%B-%Y", "%Y-%m-%d")


def _when(words: tuple[str, ...]) -> datetime | None:
    """Start from `17:27:45 15/08/1994` or the Challenges' `05-May-2020 14:50:55`; None without a date."""
    if len(words) != 2:
        return None
    clock, day = words if ":" in words[0] else words[::-1]
    for one in _DAYS:
        for other in _CLOCKS:
            try:
                return datetime.strptime(f"{day} {clock}", f"{one} {other}")
            except ValueError:
                continue
    return None


# -- writer ------------------------------------------------------------------------------------------------------------------


def write(record: Record, path: Path) -> list[Path]:
    """A header and one signal file: format 16 at the record's own resolution where 16 bits hold it, else format 32.

    Without a known resolution (floating-point storage) 0.1 µV or the finest step that fits into 31 bits is used. NaN is
    stored as the format's missing value. Start, age, sex, codes and statements go into the header.
    """
    stem = path.with_suffix("") if path.suffix.lower() in (".hea", ".dat") else path
    if not re.fullmatch(r"[\w-]+", stem.name):
        raise EcgError("a WFDB record's name has only letters, digits, - and _", path=path)
    steps = record.resolution_uv or (0.0,) * len(record.leads)
    signal = record.signal.astype(np.float64)
    finite = np.where(np.isfinite(signal), signal, 0.0)
    gains = np.array([1000 / s if s > 0 else 10_000.0 for s in steps])
    peak = np.abs(finite).max(axis=1, initial=0.0)
    gains = np.where(peak * gains < (1 << 31) - 2, gains, ((1 << 31) - 2) / np.maximum(peak, 1e-12))
    digital = np.rint(finite * gains[:, None])
    wide = bool(np.abs(digital).max(initial=0) > (1 << 15) - 1)
    code, kind, missing = ("32", "<i4", -(1 << 31)) if wide else ("16", "<i2", -(1 << 15))
    digital[~np.isfinite(signal)] = missing
    samples = digital.astype(kind)
    lines = [_first_line(stem.name, record)]
    for i, lead in enumerate(record.leads):
        row = samples[i]
        total = int(row.astype(np.int64).sum()) & 0xFFFF
        total -= 0x10000 if total > 0x7FFF else 0
        first = int(row[0]) if len(row) else 0
        gain = _shortest(float(gains[i]))
        lines.append(f"{stem.name}.dat {code} {gain}(0)/mV {32 if wide else 16} 0 {first} {total} 0 {_line(lead)}")
    lines += _comments(record)
    data, header = stem.with_suffix(".dat"), stem.with_suffix(".hea")
    with replacing(data) as draft:
        draft.write_bytes(np.ascontiguousarray(samples.T).tobytes())
    with replacing(header) as draft:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [header, data]


def _shortest(value: float) -> str:
    """The shortest text that reads back as this number, without a sign in its exponent that old readers reject."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _first_line(name: str, record: Record) -> str:
    line = f"{name} {len(record.leads)} {_shortest(record.fs)} {record.signal.shape[1]}"
    return line + record.start.strftime(" %H:%M:%S.%f %d/%m/%Y") if record.start else line


def _line(text: str) -> str:
    return re.sub(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+", " ", text).strip()


def _comments(record: Record) -> Iterator[str]:
    patient = record.patient
    if patient.age is not None:
        yield f"# <age>: {_shortest(patient.age)}"
    if patient.sex:
        yield f"# <sex>: {patient.sex}"
    if patient.height_cm is not None:
        yield f"# <height>: {_shortest(patient.height_cm)}"
    if patient.weight_kg is not None:
        yield f"# <weight>: {_shortest(patient.weight_kg)}"
    if record.codes:
        yield f"# Dx: {','.join(record.codes)}"
    if record.statements:
        yield "# <diagnoses>:"
        yield from (f"# {_line(s)}" for s in record.statements if _line(s))


WFDB = Format("wfdb", "WFDB (PhysioNet)", (".hea", ".dat"), matches, read, write=write)
