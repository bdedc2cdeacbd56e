"""Drawing into an image of palette indices: background kinds (paper, thin line, thick line, ...) under five strengths of ink.

An index is `strength * kinds + kind` for strengths 0..4 (0, 20, .. 80 % ink) and `5 * kinds` for full ink. Ink only ever gets
stronger, so strokes may cross in any order. With the three kinds of a plain sheet that makes 16 colours: a 4-bit PNG.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

STRENGTHS = 5


@dataclass(frozen=True)
class Indexed:
    """An image as palette indices, (H, W) uint8, and its colours, (K, 3) uint8 RGB."""

    index: Bytes
    colours: Bytes

    def rgb(self) -> Bytes:
        """(H, W, 3) uint8."""
        out = np.empty((*self.index.shape, 3), np.uint8)
        _colour(self.index, self.colours, out)
        return out


@lru_cache(8)
def inking(kinds: int) -> Bytes:
    """(5 * kinds + 1, 6) table: what index becomes when at least this strength of ink falls on it."""
    full = STRENGTHS * kinds
    table = np.empty((full + 1, STRENGTHS + 1), np.uint8)
    for index in range(full + 1):
        for strength in range(STRENGTHS + 1):
            there = index // kinds
            stronger = max(there, strength)
            table[index, strength] = full if stronger == STRENGTHS else stronger * kinds + index % kinds
    return table


def palette(kinds: NDArray[np.float64], ink: NDArray[np.float64]) -> Bytes:
    """(5 * K + 1, 3) colours for backgrounds (K, 3) and one ink (3,), blended linearly."""
    shades = [kinds + (ink - kinds) * strength / STRENGTHS for strength in range(STRENGTHS)]
    return np.round(np.concatenate([*shades, ink[None]])).astype(np.uint8)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _colour(index: Bytes, colours: Bytes, out: Bytes) -> None:
    flat, rgb = index.reshape(-1), out.reshape(-1)
    red, green, blue = colours[:, 0].copy(), colours[:, 1].copy(), colours[:, 2].copy()
    for i in range(len(flat)):
        k = flat[i]
        rgb[3 * i] = red[k]
        rgb[3 * i + 1] = green[k]
        rgb[3 * i + 2] = blue[k]


def indexed(image: Bytes) -> Indexed | None:
    """An RGB image (H, W, 3) as palette indices where it has at most 256 colours, else None. Drawings have few."""
    index, colours, count = _index(np.ascontiguousarray(image))
    return Indexed(index, colours[:count].copy()) if count else None


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _index(image: Bytes) -> tuple[Bytes, Bytes, int]:
    rows, columns = image.shape[:2]
    index = np.empty((rows, columns), np.uint8)
    colours = np.zeros((256, 3), np.uint8)
    count = at = 0
    for j in range(rows):
        for i in range(columns):
            r, g, b = image[j, i, 0], image[j, i, 1], image[j, i, 2]
            if not (count and r == colours[at, 0] and g == colours[at, 1] and b == colours[at, 2]):
                at = 0
                while at < count and (r != colours[at, 0] or g != colours[at, 1] or b != colours[at, 2]):
                    at += 1
                if at == count:
                    if count == 256:
                        return index, colours, 0
                    colours[count, 0], colours[count, 1], colours[count, 2] = r, g, b
                    count += 1
            index[j, i] = at
    return index, colours, count


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def stroke(
    image: Bytes,
    table: Bytes,
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    radius: float,
    left: float,
    top: float,
    right: float,
    bottom: float,
) -> None:
    """An anti-aliased polyline with round ends through pixel coordinates xs, ys (N,), clipped to a rectangle in pixels.

    A pixel's ink is its coverage, taken as clamp(radius + 1/2 - distance of its centre from the line).
    """
    rows, columns = image.shape
    reach = radius + 0.5
    i_low, i_high = max(0, int(np.ceil(left))), min(columns - 1, int(np.floor(right)))
    j_low, j_high = max(0, int(np.ceil(top))), min(rows - 1, int(np.floor(bottom)))
    n = len(xs)
    for s in range(max(n - 1, 1)):
        x0, y0 = xs[s], ys[s]
        x1, y1 = xs[min(s + 1, n - 1)], ys[min(s + 1, n - 1)]
        if x1 < x0:
            x0, y0, x1, y1 = x1, y1, x0, y0
        dx, dy = x1 - x0, y1 - y0
        length2 = dx * dx + dy * dy
        inverse = 1.0 / length2 if length2 > 0 else 0.0
        for i in range(max(i_low, int(np.ceil(x0 - reach))), min(i_high, int(np.floor(x1 + reach))) + 1):
            # The part of the segment within reach of this column, and so the rows worth looking at.
            if dx > 1e-9:
                from_ = min(max((i - reach - x0) / dx, 0.0), 1.0)
                to = min(max((i + reach - x0) / dx, 0.0), 1.0)
            else:
                from_, to = 0.0, 1.0
            ya, yb = y0 + from_ * dy, y0 + to * dy
            low, high = min(ya, yb) - reach, max(ya, yb) + reach
            if high < j_low or low > j_high:
                continue
            for j in range(max(j_low, int(np.ceil(max(low, -1.0)))), min(j_high, int(np.floor(min(high, rows + 1.0)))) + 1):
                px, py = i - x0, j - y0
                t = min(max((px * dx + py * dy) * inverse, 0.0), 1.0)
                ex, ey = px - t * dx, py - t * dy
                d2 = ex * ex + ey * ey
                if d2 < reach * reach:
                    cover = min(reach - np.sqrt(d2), 1.0)
                    image[j, i] = table[image[j, i], int(cover * 5 + 0.5)]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def stamp(image: Bytes, table: Bytes, mask: Bytes, x: int, y: int) -> None:
    """Ink of a mask (h, w) of 0..255 with its upper left pixel at (x, y); what falls outside the image is left out."""
    for j in range(max(0, -y), min(mask.shape[0], image.shape[0] - y)):
        for i in range(max(0, -x), min(mask.shape[1], image.shape[1] - x)):
            strength = (mask[j, i] * 5 + 127) // 255
            if strength:
                image[y + j, x + i] = table[image[y + j, x + i], strength]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def tint(image: Bytes, shift: int, base: int, x0: int, y0: int, x1: int, y1: int) -> None:
    """Moves the bare backgrounds (index < base) of a rectangle of pixels, ends included, by `shift` kinds."""
    for j in range(max(y0, 0), min(y1, image.shape[0] - 1) + 1):
        for i in range(max(x0, 0), min(x1, image.shape[1] - 1) + 1):
            if image[j, i] < base:
                image[j, i] += shift


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def pack4(index: Bytes) -> Bytes:
    """(H, W) indices < 16 as PNG scan lines of 4 bits a pixel, each line the difference to the one above (filter 2, "up")."""
    rows, columns = index.shape
    half = columns // 2
    out = np.empty((rows, (columns + 1) // 2 + 1), np.uint8)
    for j in range(rows):
        out[j, 0] = 2
        for i in range(half):
            out[j, 1 + i] = (index[j, 2 * i] << 4) | index[j, 2 * i + 1]
        if columns % 2:
            out[j, 1 + half] = index[j, columns - 1] << 4
    for j in range(rows - 1, 0, -1):
        for i in range(1, out.shape[1]):
            out[j, i] -= out[j - 1, i]
    return out
