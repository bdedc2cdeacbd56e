"""SCP-ECG (EN 1064, ISO 11073-91064): Huffman coding, differences, reference-beat subtraction, bimodal compression.

Clause numbers below are those of EN 1064:2005. Everything is little-endian; samples are numbered from 1. A file is a
checksum, a length, and sections; section 0 points at the others. Tested on a public file, whose content is also there as
HL7 aECG, and against an encoder of our own (tests/scp_encoder.py).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import File
from einthoven.io.finish import check_fs, check_samples, distinct
from einthoven.io.format import Format, Options
from einthoven.io.person import age_in_years, full_name
from einthoven.io.xmltree import known, median_beat
from einthoven.record import Device, EcgError, MedianBeat, Patient, Record, Source

MAGIC = b"SCPECG"
LEADS = {
    1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 9: "V7", 10: "V2R", 11: "V3R", 12: "V4R", 13: "V5R",
    14: "V6R", 15: "V7R", 16: "X", 17: "Y", 18: "Z", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: "-aVR", 66: "V8", 67: "V9",
    68: "V8R", 69: "V9R",
}  # fmt: skip
DEFAULT_TABLE = 19999
MAX_LEADS = 64  # the standard numbers 184 leads; no recorder has more electrodes than body-surface mapping
MAX_ROWS = 1024  # of one Huffman table; the default one has 19
NOT_THERE = (29999, 29998, 19999, 999, 0x7FFF)  # not computed, lead rejected, wave absent, axis undefined

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class _Code:
    """One row of a Huffman table: the prefix as text of 0 and 1, how many bits follow it, the value or the next table."""

    prefix: str
    more: int
    value: int
    switch: bool


@dataclass(frozen=True)
class _Span:
    """A lead in section 3: samples `first` to `last` (from 1, both included)."""

    code: int
    first: int
    last: int


@dataclass(frozen=True)
class _Beat:
    """A beat in section 4: type (0 = reference beat subtracted), start, fiducial, end; protected from `keep` to `till`."""

    kind: int
    start: int
    fiducial: int
    end: int
    keep: int
    till: int


@dataclass(frozen=True)
class _Coded:
    """Section 5 or 6: nV per step, µs per sample, order of differences, whether bimodal, and one stream per lead."""

    nv: int
    interval_us: int
    order: int
    bimodal: bool
    streams: tuple[bytes, ...]


def matches(file: File) -> bool:
    """`SCPECG` in the header of section 0; or a section 0 that points at itself, which vendors' variants have too."""
    head = file.head(64)
    if head[16:22] == MAGIC:
        return True
    if len(head) < 32:
        return False
    ident, length = struct.unpack_from("<HI", head, 8)
    first, size, index = struct.unpack_from("<HII", head, 22)
    return ident == 0 and first == 0 and 36 <= length == size <= 4096 and (length - 16) % 10 == 0 and index in (6, 7)


def read(file: File, options: Options) -> Record:
    """The rhythm of an SCP-ECG file (sections 3 to 6), (L, T) mV. Raises EcgError."""
    data = bytes(file.data)
    if data[16:22] != MAGIC:
        raise EcgError("a vendor's variant, not SCP-ECG: the header of section 0 does not say SCPECG", where="byte 16")
    warn: list[str] = []
    sections = _sections(data, warn)
    if 3 not in sections or 6 not in sections:
        lacking = " and ".join(str(n) for n in (3, 6) if n not in sections)
        raise EcgError(f"no rhythm data (section {lacking} is missing)", where="section 0")
    spans, subtracted = _lead_definition(sections[3])
    tables = _huffman_tables(sections.get(2))
    beat_ms, beat_fiducial, beats = _beats(sections.get(4), warn)
    rhythm = _coded(sections[6], len(spans), 6)
    reference = _coded(sections[5], len(spans), 5) if 5 in sections else None
    factor, interval = _decimation(rhythm, reference, subtracted)
    fs = check_fs(1e6 / interval, where="section 6, byte 3")
    templates = _reference_beats(reference, beat_ms, tables, warn)
    leads = [
        _rhythm(stream, span, rhythm, factor, tables, beats, warn) * (rhythm.nv / 1e6)
        for stream, span in zip(rhythm.streams, spans, strict=True)
    ]
    if subtracted:
        if reference is None or not beats:
            raise EcgError("the reference beat was subtracted, but sections 4 and 5 do not give it", where="section 3")
        for lead, span, template in zip(leads, spans, templates, strict=True):
            _add_reference(lead, span, template * (reference.nv / 1e6), beat_fiducial, beats)
    labels = [LEADS.get(span.code, f"lead {span.code}") for span in spans]
    return Record(
        signal=_placed(leads, spans, warn),
        fs=fs,
        leads=distinct(labels),
        warnings=tuple(dict.fromkeys(warn)),
        median=_median(templates, reference, labels),
        resolution_uv=(rhythm.nv / 1000,) * len(spans),
        **_header(sections),
    )


# -- sections ----------------------------------------------------------------------------------------------------------------


def _sections(data: bytes, warn: list[str]) -> dict[int, bytes]:
    """Section number -> its body without the 16 bytes of header (5.2). Checksums that do not fit become warnings."""
    if len(data) < 6 + 16 + 10:
        raise EcgError(f"cut off: {len(data)} bytes", where="section 0")
    checksum, length = struct.unpack_from("<HI", data, 0)
    if length != len(data):
        warn.append(f"the file has {len(data):,} bytes and says {length:,}")
    elif _crc(data[2:]) != checksum:
        warn.append("the checksum of the file does not fit: it may be damaged")
    size = struct.unpack_from("<I", data, 6 + 4)[0]
    if not 16 <= size <= len(data) - 6:
        raise EcgError(f"impossible length {size:,}", where="section 0")
    out: dict[int, bytes] = {}
    for at in range(22, 6 + size - 9, 10):
        number, long, index = struct.unpack_from("<HII", data, at)
        if number == 0 or long <= 16 or number in out:
            continue
        start = index - 1
        if start < 0 or start + long > len(data):
            if number in (3, 6):
                raise EcgError(f"cut off: bytes {index:,} to {index + long:,} of {len(data):,}", where=f"section {number}")
            warn.append(f"section {number} lies outside the file and is not read")
            continue
        inner = struct.unpack_from("<H", data, start + 2)[0]
        if inner != number:
            warn.append(f"section {number} calls itself {inner}")
        if _crc(data[start + 2 : start + long]) != struct.unpack_from("<H", data, start)[0]:
            warn.append(f"the checksum of section {number} does not fit: it may be damaged")
        out[number] = data[start + 16 : start + long]
    return out


def _crc(data: bytes) -> int:
    """CRC-CCITT, polynomial 0x1021, start 0xFFFF (binascii's crc_hqx is this with the start given)."""
    import binascii

    return binascii.crc_hqx(data, 0xFFFF)


def _lead_definition(body: bytes) -> tuple[list[_Span], bool]:
    """Section 3 (5.6): which leads, which samples of them, and whether a reference beat was subtracted."""
    if len(body) < 2:
        raise EcgError("cut off", where="section 3")
    count, flags = body[0], body[1]
    if not 0 < count <= MAX_LEADS or len(body) < 2 + 9 * count:
        raise EcgError(f"says {count} leads in {len(body)} bytes", where="section 3")
    spans = [_Span(code, first, last) for first, last, code in struct.iter_unpack("<IIB", body[2 : 2 + 9 * count])]
    for span in spans:
        if span.last < span.first:
            raise EcgError(f"lead {LEADS.get(span.code, span.code)} ends before it begins", where="section 3")
    return spans, bool(flags & 1)


def _huffman_tables(body: bytes | None) -> list[list[_Code]] | None:
    """Section 2 (5.5): tables of codes, None where there is no section and samples are plain int16."""
    if body is None or len(body) < 2:
        return None
    count = struct.unpack_from("<H", body, 0)[0]
    if count == DEFAULT_TABLE:
        return [_default_table()]
    tables, at = [], 2
    for number in range(1, count + 1):
        if at + 2 > len(body):
            raise EcgError(f"table {number} of {count} is missing", where="section 2")
        rows = struct.unpack_from("<H", body, at)[0]
        at += 2
        if at + 9 * rows > len(body) or not 0 < rows <= MAX_ROWS:
            raise EcgError(f"table {number} has {rows} rows and is cut off", where="section 2")
        table = []
        for prefix, total, mode, value, code in struct.iter_unpack("<BBBhI", body[at : at + 9 * rows]):
            if not 1 <= prefix <= 32 or not prefix <= total <= 64:
                raise EcgError(f"table {number} has a code of {prefix} and {total} bits", where="section 2")
            # The first bit on the wire is the lowest of the stored code.
            more = 0 if mode == 0 else total - prefix
            table.append(_Code(format(code & (1 << prefix) - 1, f"0{prefix}b")[::-1], more, value, mode == 0))
        tables.append(table)
        at += 9 * rows
    return tables or None


def _default_table() -> list[_Code]:
    """The table of Annex C: 0; k ones, a zero and the sign for 1 to 8; ten bits before 8 and before 16 literal bits."""
    table = [_Code("0", 0, 0, False)]
    for k in range(1, 9):
        table += [_Code("1" * k + "00", 0, k, False), _Code("1" * k + "01", 0, -k, False)]
    return [*table, _Code("1111111110", 8, 0, False), _Code("1111111111", 16, 0, False)]


def _beats(body: bytes | None, warn: list[str]) -> tuple[int, int, list[_Beat]]:
    """Section 4 (5.7): length of the reference beat in ms, its fiducial sample, and the beats."""
    if body is None or len(body) < 6:
        return 0, 0, []
    length, fiducial, count = struct.unpack_from("<HHH", body, 0)
    if len(body) < 6 + 14 * count:
        raise EcgError(f"says {count} beats in {len(body)} bytes", where="section 4")
    beats = list(struct.iter_unpack("<HIII", body[6 : 6 + 14 * count]))
    rest = body[6 + 14 * count :]
    zones = list(struct.iter_unpack("<II", rest[: 8 * count])) if len(rest) >= 8 * count else [(0, 0)] * count
    if count and len(rest) < 8 * count:
        warn.append("section 4 has no protected zones")
    return length, fiducial, [_Beat(*beat, *zone) for beat, zone in zip(beats, zones, strict=True)]


def _coded(body: bytes, leads: int, number: int) -> _Coded:
    """Sections 5 and 6 (5.8, 5.9)."""
    if len(body) < 6 + 2 * leads:
        raise EcgError("cut off", where=f"section {number}")
    nv, interval, order, bimodal = struct.unpack_from("<HHBB", body, 0)
    if nv == 0 or interval == 0 or order > 2:
        raise EcgError(
            f"impossible: {nv} nV per step, {interval} µs per sample, differences of order {order}", where=f"section {number}"
        )
    sizes = struct.unpack_from(f"<{leads}H", body, 6)
    streams, at = [], 6 + 2 * leads
    for index, size in enumerate(sizes):
        if at + size > len(body):
            raise EcgError(f"the data of lead {index + 1} are cut off", where=f"section {number}")
        streams.append(body[at : at + size])
        at += size
    return _Coded(nv, interval, order, number == 6 and bimodal == 1, tuple(streams))


def _decimation(rhythm: _Coded, reference: _Coded | None, subtracted: bool) -> tuple[int, int]:
    """How many samples one coded residual stands for outside the protected zones, and µs per sample of the result.

    With bimodal compression section 6 gives the interval of the decimated samples and section 5 the original one.
    """
    if reference is None or not (rhythm.bimodal or subtracted) or rhythm.interval_us == reference.interval_us:
        return 1, rhythm.interval_us
    factor = round(rhythm.interval_us / reference.interval_us)
    if not 1 <= factor <= 20 or abs(factor * reference.interval_us - rhythm.interval_us) > factor:
        told = f"{rhythm.interval_us} µs is no multiple of the reference beat's {reference.interval_us} µs"
        raise EcgError(told, where="section 6, byte 3")
    return factor, reference.interval_us


# -- samples -----------------------------------------------------------------------------------------------------------------


def _decode(stream: bytes, count: int, tables: list[list[_Code]] | None) -> list[int]:
    """At most `count` values of a stream: Huffman-coded, or int16 where there is no table. Fewer where it ends early.

    A regular expression for each table cuts the bits into codes at the speed of C, and each distinct code is valued once.
    """
    if tables is None:
        return [int(v) for v in np.frombuffer(stream[: len(stream) // 2 * 2], "<i2")[:count]]
    bits = format(int.from_bytes(stream, "big"), f"0{8 * len(stream)}b") if stream else ""
    if not any(code.switch for code in tables[0]):
        words = _cutter(tables[0]).findall(bits)[:count]
        if bits.startswith("".join(words)):  # else findall has stepped over what is no code
            values = _values(set(words), tables[0])
            return [values[word] for word in words]
    return _decode_stepwise(bits, count, tables)


def _cutter(table: list[_Code]) -> re.Pattern[str]:
    """Matches one code of the table with the bits that follow it. Nested like the tree of the prefixes, so that long tables
    are no slower than short ones."""
    tree: dict[str, Any] = {}
    for code in table:
        at = tree
        for bit in code.prefix[:-1]:
            at = at.setdefault(bit, {})
            if not isinstance(at, dict):
                raise EcgError(f"code {code.prefix} begins with another code", where="section 2")
        if code.prefix[-1] in at:
            raise EcgError(f"code {code.prefix} is there twice", where="section 2")
        at[code.prefix[-1]] = code.more

    def pattern(node: dict[str, Any] | int) -> str:
        if isinstance(node, int):
            return f"[01]{{{node}}}" if node else ""
        return "(?:" + "|".join(bit + pattern(below) for bit, below in sorted(node.items())) + ")"

    return re.compile(pattern(tree))


def _values(words: set[str], table: list[_Code]) -> dict[str, int]:
    """What each distinct code stands for."""
    by_prefix = {code.prefix: code for code in table}
    lengths = sorted({len(p) for p in by_prefix})
    found = ((word, next(by_prefix[word[:n]] for n in lengths if word[:n] in by_prefix)) for word in words)
    return {word: _signed(word[len(code.prefix) :]) if code.more else code.value for word, code in found}


def _signed(bits: str) -> int:
    """Two's complement."""
    return int(bits, 2) - (1 << len(bits) if bits[0] == "1" else 0)


def _decode_stepwise(bits: str, count: int, tables: list[list[_Code]]) -> list[int]:
    """Code by code: tables may switch (a code names the table, from 1, that the rest is coded with), or the bits may end."""
    cutters = [_cutter(table) for table in tables]
    switches = [{code.prefix: code.value for code in table if code.switch} for table in tables]
    known: list[dict[str, int]] = [{} for _ in tables]
    out: list[int] = []
    at = now = 0
    while len(out) < count:
        found = cutters[now].match(bits, at)
        if found is None:
            break
        at, word = found.end(), found[0]
        if word in switches[now]:
            if not 1 <= switches[now][word] <= len(tables):
                raise EcgError(f"a code switches to table {switches[now][word]} of {len(tables)}", where="section 2")
            now = switches[now][word] - 1
            continue
        value = known[now].get(word)
        if value is None:
            value = known[now][word] = _values({word}, tables[now])[word]
        out.append(value)
    return out


def _undifferenced(values: list[int], order: int) -> Samples:
    """Sums of differences (5.8.3): the first (order 1) or the first two values (order 2) stand as they are."""
    x = np.array(values, np.float64)
    if order == 1:
        return np.cumsum(x)
    if order == 2 and len(x) > 1:
        slope = np.cumsum(np.concatenate([[x[1] - x[0]], x[2:]]))
        return np.concatenate([x[:1], x[0] + np.cumsum(slope)])
    return x


def _rhythm(
    stream: bytes,
    span: _Span,
    rhythm: _Coded,
    factor: int,
    tables: list[list[_Code]] | None,
    beats: list[_Beat],
    warn: list[str],
) -> Samples:
    """One lead of section 6 at the full rate, in steps."""
    length = span.last - span.first + 1
    most = 8 * len(stream) * factor  # a code has at least one bit: lengths beyond that are lies
    name = LEADS.get(span.code, str(span.code))
    if length > most:
        warn.append(f"lead {name} says {length:,} samples, which its {len(stream):,} bytes cannot hold")
        length = most
    if factor == 1:
        values = _undifferenced(_decode(stream, length, tables), rhythm.order)
    else:
        parts = _parts(span, length, beats if rhythm.bimodal else [])
        needed = sum(stop - start if full else -(-(stop - start) // factor) for start, stop, full in parts)
        values = _interpolated(_undifferenced(_decode(stream, needed, tables), rhythm.order), parts, factor)
    if len(values) == 0:
        raise EcgError(f"lead {name} has no samples", where="section 6")
    if len(values) < length:
        warn.append(f"lead {name} ends after {len(values):,} of {length:,} samples")
    return values


def _parts(span: _Span, length: int, beats: list[_Beat]) -> list[tuple[int, int, bool]]:
    """The lead cut at the protected zones: (start, stop, whether at the full rate), from 0, in order."""
    zones = sorted((max(b.keep - span.first, 0), min(b.till - span.first + 1, length)) for b in beats if b.keep)
    parts, at = [], 0
    for start, stop in zones:
        start = max(start, at)
        if start >= stop:
            continue
        if start > at:
            parts.append((at, start, False))
        parts.append((start, stop, True))
        at = stop
    if at < length:
        parts.append((at, length, False))
    return parts


def _interpolated(coded: Samples, parts: list[tuple[int, int, bool]], factor: int) -> Samples:
    """Decimated residuals (means of `factor` samples) to the full rate: straight lines between the middles of the groups."""
    times: list[NDArray[np.float64]] = []
    at, length = 0, 0
    for start, stop, full in parts:
        if at >= len(coded):
            break
        if full:
            middles = np.arange(start, stop, dtype=np.float64)
        else:
            edges = np.append(np.arange(start, stop, factor), stop)
            middles = (edges[:-1] + edges[1:] - 1) / 2
        middles = middles[: len(coded) - at]
        times.append(middles)
        at += len(middles)
        length = stop if len(middles) and at < len(coded) else min(stop, int(middles[-1]) + factor)
    if not times:
        return coded[:0]
    return np.interp(np.arange(length, dtype=np.float64), np.concatenate(times), coded[:at])


def _reference_beats(
    reference: _Coded | None, beat_ms: int, tables: list[list[_Code]] | None, warn: list[str]
) -> list[Samples]:
    """Section 5: the reference beat of each lead, in steps."""
    if reference is None:
        return []
    count = round(beat_ms * 1000 / reference.interval_us) if beat_ms else 0
    out = []
    for stream in reference.streams:
        most = min(count, 8 * len(stream)) if count else 8 * len(stream)
        out.append(_undifferenced(_decode(stream, most, tables), reference.order))
    if count and any(len(beat) < count for beat in out):
        warn.append("the reference beat is shorter than section 4 says")
    return out


def _add_reference(lead: Samples, span: _Span, template: Samples, fiducial: int, beats: list[_Beat]) -> None:
    """Adds the reference beat, its fiducial on each beat's fiducial, where it was subtracted (5.7.3). In place."""
    for beat in beats:
        if beat.kind != 0:
            continue
        start, stop = max(beat.start - span.first, 0), min(beat.end - span.first + 1, len(lead))
        into = fiducial - beat.fiducial + span.first - 1  # lead[i] gets template[i + into]
        start, stop = max(start, -into), min(stop, len(template) - into)
        if start < stop:
            lead[start:stop] += template[start + into : stop + into]


def _placed(leads: list[Samples], spans: list[_Span], warn: list[str]) -> NDArray[np.float32]:
    """Leads on one time axis: those that were not recorded together have NaN where they were not."""
    begin = min(span.first for span in spans)
    end = max(span.first + len(lead) for span, lead in zip(spans, leads, strict=True))
    if end - begin > sum(len(lead) for lead in leads):
        raise EcgError("impossible: the leads lie further apart than they are long", where="section 3")
    check_samples(len(leads), end - begin)
    signal = np.full((len(leads), end - begin), np.nan, np.float32)
    for row, lead, span in zip(signal, leads, spans, strict=True):
        row[span.first - begin : span.first - begin + len(lead)] = lead
    if any(span.first != spans[0].first for span in spans):
        warn.append("the leads were not recorded at the same time")
    return signal


def _median(templates: list[Samples], reference: _Coded | None, labels: list[str]) -> MedianBeat | None:
    if reference is None or not templates or not len(templates[0]) or len({len(t) for t in templates}) != 1:
        return None
    signal = np.stack(templates) * (reference.nv / 1e6)
    fs = 1e6 / reference.interval_us
    return median_beat(signal.astype(np.float32), fs, labels) if len(set(labels)) == len(labels) else None


# -- patient, device, measurements, statements ---------------------------------------------------------------------------------


def _header(sections: dict[int, bytes]) -> dict[str, Any]:
    """Record's fields out of sections 1, 7, 8, 10 and 11."""
    tags = _tags(sections.get(1, b""))
    start = _start(tags)
    machine = _global_measurements(sections.get(7, b""))
    extra: dict[str, object] = {}
    if lead_table := _lead_measurements(sections.get(10, b"")):
        extra["lead_measurements"] = lead_table
    if drugs := [_text(v[3:]) for v in tags.get(10, []) if len(v) > 3]:
        extra["drugs"] = tuple(drugs)
    if notes := [words for v in tags.get(30, []) if (words := _text(v))]:
        extra["notes"] = tuple(notes)
    version = tags.get(14, [b""])[0][14:15]
    return {
        "start": start,
        "patient": _patient(tags, start),
        "device": _device(tags),
        "machine": machine,
        "statements": _diagnosis(sections.get(8, b"")) or _universal(sections.get(11, b"")),
        "source": Source(version=f"{version[0] / 10:.1f}" if version and version[0] else None),
        "extra": extra,
    }


def _tags(body: bytes) -> dict[int, list[bytes]]:
    """Section 1 (5.4): tag -> its values; a tag may come again."""
    out: dict[int, list[bytes]] = {}
    at = 0
    while at + 3 <= len(body):
        tag, size = struct.unpack_from("<BH", body, at)
        if tag == 255:
            break
        out.setdefault(tag, []).append(body[at + 3 : at + 3 + size])
        at += 3 + size
    return out


def _text(value: bytes) -> str | None:
    """Text up to the first zero byte; UTF-8 where it is, else ISO-8859-1."""
    raw = value.partition(b"\0")[0]
    try:
        words = raw.decode("utf-8")
    except UnicodeDecodeError:
        words = raw.decode("latin-1")
    return words.strip() or None


def _first(tags: dict[int, list[bytes]], tag: int, size: int = 1) -> bytes | None:
    values = tags.get(tag)
    return values[0] if values and len(values[0]) >= size else None


def _date(value: bytes | None) -> date | None:
    if value is None:
        return None
    try:
        return date(*struct.unpack_from("<HBB", value))
    except ValueError:
        return None


def _start(tags: dict[int, list[bytes]]) -> datetime | None:
    day, clock = _date(_first(tags, 25, 4)), _first(tags, 26, 3)
    if day is None:
        return None
    hour, minute, second = clock[:3] if clock is not None else (0, 0, 0)
    try:
        return datetime(day.year, day.month, day.day, hour, minute, second)
    except ValueError:
        return datetime(day.year, day.month, day.day)


def _patient(tags: dict[int, list[bytes]], start: datetime | None) -> Patient:
    born = _date(_first(tags, 5, 4))
    age = None
    if (value := _first(tags, 4, 3)) is not None:
        amount, unit = struct.unpack_from("<HB", value)
        per_year = {1: 1.0, 2: 12.0, 3: 52.1775, 4: 365.25, 5: 8766.0}.get(unit)
        age = amount / per_year if per_year and amount else None
    sex = _first(tags, 8)
    return Patient(
        id=_text(_first(tags, 2) or b""),
        name=full_name(_text(_first(tags, 0) or b""), _text(_first(tags, 1) or b"")),
        age=age_in_years(age, born, start),
        sex={1: "male", 2: "female"}.get(sex[0]) if sex else None,
        birth_date=None if born is None else born.isoformat(),
        height_cm=_amount(_first(tags, 6, 3), {1: 1.0, 2: 2.54, 3: 0.1}),
        weight_kg=_amount(_first(tags, 7, 3), {1: 1.0, 2: 1e-3, 3: 0.45359237, 4: 0.0283495}),
    )


def _amount(value: bytes | None, factors: dict[int, float]) -> float | None:
    if value is None:
        return None
    amount, unit = struct.unpack_from("<HB", value)
    return amount * factors[unit] if amount and unit in factors else None


def _device(tags: dict[int, list[bytes]]) -> Device:
    """Tag 14, the acquiring device: model in bytes 8 to 13, from byte 36 on five strings with zeros between (5.4.5)."""
    value = _first(tags, 14, 36) or b""
    words = [w if w and w.lower() != "unknown" else None for w in map(_text, value[36:].split(b"\0"))] + [None] * 5
    high, low, notch = _first(tags, 27, 2), _first(tags, 28, 2), _first(tags, 29)
    return Device(
        manufacturer=words[4],
        model=_text(value[8:14]),
        serial=words[1],
        software=words[2] or words[0],
        institution=_text(_first(tags, 16) or b""),
        highpass_hz=struct.unpack_from("<H", high)[0] / 100 or None if high else None,
        lowpass_hz=float(struct.unpack_from("<H", low)[0]) or None if low else None,
        notch_hz=60.0 if notch and notch[0] & 1 else 50.0 if notch and notch[0] & 2 else None,
    )


def _there(value: int) -> float | None:
    return None if value in NOT_THERE else float(value)


def _global_measurements(body: bytes) -> dict[str, float]:
    """Section 7 (5.10): RR, PP, then per beat type the on- and offsets in ms and the axes; the first type is read."""
    if len(body) < 6:
        return {}
    kinds, spikes, rr, pp = struct.unpack_from("<BBHH", body, 0)
    out = {"rr_ms": _there(rr) or None, "pp_ms": _there(pp) or None}
    if kinds and len(body) >= 6 + 16:
        numbers = struct.unpack_from("<5H3h", body, 6)
        p_on, p_off, qrs_on, qrs_off, t_off = (_there(n) for n in numbers[:5])
        out |= {
            "p_ms": _between(p_on, p_off),
            "pr_ms": _between(p_on, qrs_on),
            "qrs_ms": _between(qrs_on, qrs_off),
            "qt_ms": _between(qrs_on, t_off),
            "p_axis_deg": _there(numbers[5]),
            "qrs_axis_deg": _there(numbers[6]),
            "t_axis_deg": _there(numbers[7]),
            "p_onset_ms": p_on,
            "p_offset_ms": p_off,
            "qrs_onset_ms": qrs_on,
            "qrs_offset_ms": qrs_off,
            "t_offset_ms": t_off,
        }
    at = 6 + 16 * kinds + 10 * spikes  # 4 bytes of time and amplitude and 6 of type for each pacing spike
    if at + 2 <= len(body):
        complexes = struct.unpack_from("<H", body, at)[0]
        at += 2 + complexes
        if complexes not in NOT_THERE and at + 6 <= len(body):
            ventricular, atrial, qtc = struct.unpack_from("<HHH", body, at)
            out["rate_bpm"] = float(ventricular) if 10 <= ventricular <= 400 else None
            out["atrial_rate_bpm"] = float(atrial) if 10 <= atrial <= 600 else None
            out["qtc_ms"] = float(qtc) if 150 <= qtc <= 900 else None
    return known(**out)


def _between(start: float | None, stop: float | None) -> float | None:
    return stop - start if start is not None and stop is not None and stop > start else None


def _diagnosis(body: bytes) -> tuple[str, ...]:
    """Section 8 (5.11): statements as text."""
    out = []
    at = 9  # status, date (4), time (3), count
    count = body[8] if len(body) >= 9 else 0
    for _ in range(count):
        if at + 3 > len(body):
            break
        size = struct.unpack_from("<H", body, at + 1)[0]
        out.append(_text(body[at + 3 : at + 3 + size]))
        at += 3 + size
    return tuple(words for words in out if words)


def _universal(body: bytes) -> tuple[str, ...]:
    """Section 11 (5.14): universal statement codes; type 1 is a code, type 2 text."""
    out = []
    at = 9
    count = body[8] if len(body) >= 9 else 0
    for _ in range(count):
        if at + 4 > len(body):
            break
        size = struct.unpack_from("<H", body, at + 1)[0]
        if body[at + 3] in (1, 2):
            out.append(" ".join(w for w in (_text(p) for p in body[at + 4 : at + 3 + size].split(b"\0")) if w))
        at += 3 + size
    return tuple(words for words in out if words)


# Section 10 (5.13), the first fields of each lead: durations in ms, amplitudes in µV.
_LEAD_FIELDS = (
    "p_ms", "pr_ms", "qrs_ms", "qt_ms", "q_ms", "r_ms", "s_ms", "r2_ms", "s2_ms", "q_uv", "r_uv", "s_uv", "r2_uv", "s2_uv",
    "j_uv", "p_plus_uv", "p_minus_uv", "t_plus_uv", "t_minus_uv", "st_slope_uv_s",
)  # fmt: skip


def _lead_measurements(body: bytes) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    if len(body) < 4:
        return out
    at = 4
    for _ in range(struct.unpack_from("<H", body, 0)[0]):
        if at + 4 > len(body):
            break
        lead, size = struct.unpack_from("<HH", body, at)
        numbers = (
            [n for (n,) in struct.iter_unpack("<h", body[at + 4 : at + 4 + size][: size // 2 * 2])]
            if at + 4 + size <= len(body)
            else []
        )
        values = {f: float(n) for f, n in zip(_LEAD_FIELDS, numbers, strict=False) if n not in NOT_THERE}
        if values:
            out[LEADS.get(lead, f"lead {lead}")] = values
        at += 4 + size
    return out


SCP = Format("scp", "SCP-ECG", (".scp",), matches, read)
