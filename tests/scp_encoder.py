"""An SCP-ECG encoder for tests: what it writes is known, so what the decoder reads can be compared with the truth.

Written from EN 1064 like the decoder, but the other way round and without any of its code.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAD_CODES = {"I": 1, "II": 2, "V1": 3, "V2": 4, "V3": 5, "V4": 6, "V5": 7, "V6": 8, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64}


@dataclass(frozen=True)
class Beat:
    """1-based samples: subtracted from `start` to `end` with its fiducial at `fiducial`, protected from `keep` to `till`."""

    fiducial: int
    start: int
    end: int
    keep: int
    till: int
    kind: int = 0


def huffman(values: Sequence[int]) -> bytes:
    """The default table (Annex C)."""
    bits = []
    for v in values:
        if v == 0:
            bits.append("0")
        elif abs(v) <= 8:
            bits.append("1" * abs(v) + "0" + ("1" if v < 0 else "0"))
        elif -128 <= v <= 127:
            bits.append("1111111110" + format(v & 0xFF, "08b"))
        else:
            bits.append("1111111111" + format(v & 0xFFFF, "016b"))
    return packed("".join(bits))


# Two tables: small steps with a way to the second, which holds seven literal bits and the way back.
OWN = (
    (("0", 1, 1, 0), ("10", 2, 1, 1), ("110", 3, 1, -1), ("1110", 20, 1, 0), ("1111", 4, 0, 2)),
    (("0", 8, 1, 0), ("1", 1, 0, 1)),
)


def own_huffman(values: Sequence[int]) -> bytes:
    """The tables of OWN: five values or more in a row that fit seven bits go through the second table."""
    bits, at, values = [], 0, list(values)
    while at < len(values):
        run = at
        while run < len(values) and -64 <= values[run] < 64 and values[run] not in (0, 1, -1):
            run += 1
        if run - at >= 5:
            bits.append("1111" + "".join("0" + format(v & 127, "07b") for v in values[at:run]) + "1")
            at = run
            continue
        v = values[at]
        bits.append({0: "0", 1: "10", -1: "110"}.get(v, "1110" + format(v & 0xFFFF, "016b")))
        at += 1
    return packed("".join(bits))


def packed(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:] if bits else b""


def differences(x: np.ndarray, order: int) -> list[int]:
    x = np.asarray(x, np.int64)
    if order == 1:
        return [int(v) for v in np.concatenate([x[:1], np.diff(x)])]
    if order == 2:
        return [int(v) for v in np.concatenate([x[:2], np.diff(x, 2)])]
    return [int(v) for v in x]


def section(number: int, body: bytes) -> bytes:
    body += b"\0" * (len(body) % 2)
    head = struct.pack("<HIBB", number, 16 + len(body), 20, 20) + (b"SCPECG" if number == 0 else bytes(6))
    return struct.pack("<H", crc_hqx(head + body, 0xFFFF)) + head + body


def tag(number: int, value: bytes) -> bytes:
    return struct.pack("<BH", number, len(value)) + value


def encode(
    digital: np.ndarray,
    leads: Sequence[str],
    *,
    fs: int = 500,
    nv: int = 1000,
    order: int = 2,
    coding: str = "default",
    first: Sequence[int] | None = None,
    reference: np.ndarray | None = None,
    reference_nv: int | None = None,
    fiducial: int = 0,
    beats: Sequence[Beat] = (),
    factor: int = 1,
    tags: bytes = b"",
    statements: Sequence[str] = (),
    global_measurements: bytes = b"",
) -> bytes:
    """A file of `digital` (L, T) whole steps of `nv` nanovolts.

    `coding` is "default", "own" (two tables that switch) or "none" (int16, no section 2). A `reference` (L, B) is
    subtracted at `beats`; with `factor` above 1 the residual outside the protected zones is averaged over `factor` samples.
    """
    code = {"default": huffman, "own": own_huffman, "none": lambda v: np.array(v, "<i2").tobytes()}[coding]
    starts = list(first) if first is not None else [1] * len(leads)
    length = digital.shape[1]
    residual = digital.astype(np.int64).copy()
    if reference is not None:
        ratio = (reference_nv or nv) / nv
        for beat in beats:
            if beat.kind == 0:
                for s in range(beat.start, beat.end + 1):
                    residual[:, s - 1] -= np.rint(ratio * reference[:, fiducial - beat.fiducial + s - 1]).astype(np.int64)
    streams = []
    for row in residual:
        kept, at = [], 0
        while at < length:
            zone = next((b for b in beats if b.keep <= at + 1 <= b.till), None)
            if factor == 1 or zone is not None:
                kept.append(int(row[at]))
                at += 1
                continue
            stop = min([at + factor, length, *(b.keep - 1 for b in beats if b.keep - 1 > at)])
            kept.append(round(float(row[at:stop].mean())))
            at = stop
        streams.append(code(differences(np.array(kept), order)))
    interval = 1_000_000 // fs
    body = {1: tags + tag(255, b"")}
    if coding == "default":
        body[2] = struct.pack("<H", 19999)
    elif coding == "own":
        body[2] = struct.pack("<H", len(OWN)) + b"".join(
            struct.pack("<H", len(table))
            + b"".join(struct.pack("<BBBhI", len(p), total, mode, value, int(p[::-1], 2)) for p, total, mode, value in table)
            for table in OWN
        )
    flags = (1 if reference is not None else 0) | 4 | min(len(leads), 31) << 3
    body[3] = struct.pack("<BB", len(leads), flags) + b"".join(
        struct.pack("<IIB", s, s + length - 1, LEAD_CODES[n]) for n, s in zip(leads, starts, strict=True)
    )
    if reference is not None:
        ms = round(1000 * reference.shape[1] / fs)
        body[4] = struct.pack("<HHH", ms, fiducial, len(beats))
        body[4] += b"".join(struct.pack("<HIII", b.kind, b.start, b.fiducial, b.end) for b in beats)
        body[4] += b"".join(struct.pack("<II", b.keep, b.till) for b in beats)
        coded = [code(differences(row, order)) for row in reference]
        body[5] = struct.pack("<HHBB", reference_nv or nv, interval, order, 0)
        body[5] += struct.pack(f"<{len(coded)}H", *map(len, coded)) + b"".join(coded)
    body[6] = struct.pack("<HHBB", nv, interval * factor, order, 1 if factor > 1 else 0)
    body[6] += struct.pack(f"<{len(streams)}H", *map(len, streams)) + b"".join(streams)
    if global_measurements:
        body[7] = global_measurements
    if statements:
        texts = [s.encode("latin-1") + b"\0" for s in statements]
        body[8] = struct.pack("<BHBBBBBB", 0, 2021, 3, 4, 5, 6, 7, len(texts))
        body[8] += b"".join(struct.pack("<BH", i + 1, len(t)) + t for i, t in enumerate(texts))
    made = {n: section(n, b) for n, b in sorted(body.items())}
    at = 6 + 16 + 10 * 12 + 1
    pointers = b""
    for n in range(12):
        long = 16 + 10 * 12 if n == 0 else len(made.get(n, b""))
        pointers += struct.pack("<HII", n, long, 7 if n == 0 else at if long else 0)
        at += 0 if n == 0 else long
    whole = section(0, pointers) + b"".join(made.values())
    rest = struct.pack("<I", len(whole) + 6) + whole
    return struct.pack("<H", crc_hqx(rest, 0xFFFF)) + rest
