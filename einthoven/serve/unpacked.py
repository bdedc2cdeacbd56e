"""A long recording as a file that is mapped into memory: any ten seconds of a day are read alone, and the lowest and highest of
each stretch of it come from those of its blocks.

The form: 4 bytes length of the header (little endian), the header as JSON (leads, fs, samples), zeros up to a multiple of 4096;
then float32 mV (L, T), and lowest and highest of each `BLOCK` samples, (2, L, ceil(T / BLOCK)), NaN where nothing of one was
recorded. Little endian, as the numbers of the Record are: nothing is rounded.

L leads, T samples.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einthoven.record import EcgError, Record
from einthoven.serve.store import to_json

LONG_S = 60.0  # from this on a recording is kept unpacked, too
BLOCK = 64
_PAGE = 4096


@dataclass(frozen=True)
class Unpacked:
    """signal: (L, T) float32 mV, mapped. lowest, highest: (L, blocks) float32 mV, mapped."""

    leads: tuple[str, ...]
    fs: float
    signal: NDArray[np.float32]
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]

    def extremes(self, first: int, last: int, parts: int) -> NDArray[np.float32]:
        """Samples `first` to `last` -> (L, 2 parts): exactly what `sight.extremes` makes of them, from the blocks that lie
        whole in a part and the samples at its two ends. parts: not more than there are samples."""
        bounds = np.linspace(0, last - first, parts + 1).astype(int) + first
        a, b = bounds[:-1], bounds[1:]
        out = np.empty((len(self.leads), 2 * parts), np.float32)
        inner_a, inner_b = np.minimum(-(-a // BLOCK), b // BLOCK), b // BLOCK  # blocks that lie whole in a part
        whole = np.flatnonzero(inner_b > inner_a)
        ends = _ends(a, b)
        for k, (row, low, high) in enumerate(zip(self.signal, self.lowest, self.highest, strict=True)):
            loose = _finite(row[ends])  # (parts, 2 BLOCK): with repeats, which change no extreme
            with np.errstate(invalid="ignore"):
                lowest, highest = np.fmin.reduce(loose, axis=1), np.fmax.reduce(loose, axis=1)
                if len(whole):
                    cut = np.stack([inner_a[whole], inner_b[whole]], axis=1).reshape(-1)
                    # reduceat takes pairs of bounds, and what lies between two pairs as well, which is thrown away
                    for block, found, best in ((low, lowest, np.fmin), (high, highest, np.fmax)):
                        padded = np.append(block, np.float32(np.nan))
                        found[whole] = best(found[whole], best.reduceat(padded, cut)[::2])
            out[k, 0::2], out[k, 1::2] = lowest, highest
        return out


def _ends(a: NDArray[np.int_], b: NDArray[np.int_]) -> NDArray[np.int_]:
    """Of parts from a to b the samples before its first whole block and behind its last one, (parts, 2 BLOCK); where there
    are fewer, some again."""
    left = np.minimum(a[:, None] + np.arange(BLOCK), (b - 1)[:, None])
    right = np.maximum((b - 1)[:, None] - np.arange(BLOCK), a[:, None])
    return np.concatenate([left, right], axis=1)


def _finite(row: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(np.isfinite(row), row, np.float32(np.nan))


def size(record: Record) -> int:
    """Bytes of its file."""
    blocks = math.ceil(record.signal.shape[1] / BLOCK)
    taken: int = _PAGE + record.signal.nbytes + 8 * len(record.leads) * blocks
    return taken


def write(record: Record, path: Path) -> None:
    words = to_json({"leads": list(record.leads), "fs": record.fs, "samples": int(record.signal.shape[1])}).encode()
    with path.open("xb") as out:
        out.write(struct.pack("<I", len(words)) + words)
        out.write(bytes(-out.tell() % _PAGE))
        for row in record.signal:
            np.ascontiguousarray(row, "<f4").tofile(out)
        for best in (np.fmin, np.fmax):
            for row in record.signal:
                best.reduceat(_finite(row), np.arange(0, len(row), BLOCK)).astype("<f4").tofile(out)


def open_(path: Path) -> Unpacked:
    """Raises EcgError where the file is not of this form."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<I", file.read(4))
            head = json.loads(file.read(length))
        rows, samples = len(head["leads"]), int(head["samples"])
        start, blocks = -(-(4 + length) // _PAGE) * _PAGE, math.ceil(samples / BLOCK)
        signal = np.memmap(path, "<f4", "r", start, (rows, samples))
        low, high = np.memmap(path, "<f4", "r", start + signal.nbytes, (2, rows, blocks))
    except (OSError, ValueError, KeyError, TypeError, struct.error) as fault:
        raise EcgError(f"an unpacked recording is damaged: {fault}") from None
    return Unpacked(tuple(head["leads"]), float(head["fs"]), signal, low, high)
