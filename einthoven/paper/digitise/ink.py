"""The trace's ink on a rectified sheet: apart from paper, grid, and shade, by colour and by where the grid must be."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.paper.digitise.lattice import SCALE, Field, Image, Lattice, paper_of, unseen
from einthoven.paper.page import Floats
from einthoven.record import EcgError

Mask = NDArray[np.uint8]
Ints = NDArray[np.int32]

_SQUARE = 5 * SCALE
_BLACK = 0.5  # a grid's line as dark as this share of a trace hides what is drawn over it
_ALL_BLACK = 0.02  # share of a sheet's pixels: a line of one pixel in each square is 0.025
_TILE = 8 * _SQUARE  # pixels over which the grid's darkness may be taken as one


def ink_of(sheet: Image, lattice: Lattice, source: Image) -> tuple[Field, bool]:
    """How much ink each pixel of the rectified sheet holds, (H, W) float32: 0 paper and grid, 1 the middle of a trace; and
    whether the grid's upright lines are as black as a trace nearly everywhere.

    Ink and grid have each their colour, as darkness in R, G, B against the paper; what is kept is the part of a pixel's
    darkness along the ink that is not along the grid. What is left of the grid then (grey grids) is taken out by place:
    the median of all pixels that stand alike to the lattice. Raises EcgError where nothing on the sheet is ink.
    """
    import cv2

    dark = cv2.bitwise_not(cv2.divide(sheet, paper_of(sheet, 4 * SCALE), scale=255))  # (H, W, 3) uint8
    outside = unseen(lattice, sheet.shape, source.shape)
    outside |= _blanked(sheet)
    weights = _unmix(dark, outside)
    ink = _weighted(dark, outside, weights / 255)
    # Ink hides the grid under it: of a pixel on a line, what lies between the line's darkness and the ink's own counts.
    upright, flat = _of_grid(ink, lattice)
    darkest = max(float(np.percentile(ink[::3, ::3], 99.3)), 1e-3)
    lines = _without_grid(ink, *upright, *flat, np.float32(0.7 * darkest), np.float32(darkest), np.float32(_BLACK * darkest))
    black = float((lines & 1).mean()) > _ALL_BLACK
    if lines.any():
        _under_lines(ink, (lines & 1).astype(bool))
        _under_lines(ink.T, (lines & 2).astype(bool).T)
    # The middle of traces is 1: they cover one or two percent of a sheet.
    some = ink[::2, ::2][~outside[::2, ::2]]
    level = float(np.percentile(some, 99.3))
    if level < 0.08:
        raise EcgError("nothing on this paper is as dark as a trace")
    ink[outside] = 0
    return cv2.min(cv2.multiply(ink, 1 / level), 1.3), black


# What of a trace's ink is still a stroke, and whether it may lie flat: the first that does not find the grid as well is taken.
_FAINT = ((0.2, True), (0.2, False), (0.4, False))
_STEEP = 5  # pixels
_GROWTH = 1.33  # what makes that much more ink has found the grid


def evened(ink: Field) -> Field:
    """Ink in which a stroke that pales along its way (a pen that moves fast, a blurred flank) is as dark as the rest of it.

    Ink is measured against the darkest that is within two pixels. A piece that is nowhere as dark as half a trace is not part
    of a stroke, but of a grid, and stays as it was.
    """
    import cv2

    darkest = cv2.dilate(ink, np.ones((5, 5), np.uint8))
    before = cv2.countNonZero(cv2.compare(ink, 0.5, cv2.CMP_GT))
    for faint, flat in _FAINT:
        even, mask = _evened(ink, darkest, np.float32(2 * faint))
        if not flat:
            steep = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((_STEEP, 1), np.uint8))
            mask &= steep | cv2.min(cv2.compare(ink, 0.5, cv2.CMP_GT), 1)
        count, label = cv2.connectedComponents(mask, connectivity=8)
        out, after = _of_strokes(ink, even, label, count)
        if after < _GROWTH * before:
            return np.asarray(out, np.float32)
    return ink


_LINE_MM = 16.0  # an upright line of the grid is straight over this height
_HAIR = 3  # pixels: as wide as it is at most, and as far from where the lattice has it


def take_lines(ink: Field, lattice: Lattice) -> None:
    """Takes what is left of the grid's upright lines out of evened ink, between traces: a hair that stands on the lattice,
    dead straight. A beat's flank leans, and mostly is wider; so only of a grid as black as a trace, where little is lost by
    it. (Level ones stay: a base line looks like them.)"""
    import cv2

    mask = cv2.compare(ink, 0.5, cv2.CMP_GT)
    upright = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((round(_LINE_MM * SCALE) | 1, 1), np.uint8))
    off = (np.arange(ink.shape[1]) + 0.5 - lattice.origin[0] * SCALE + _SQUARE / 2) % _SQUARE - _SQUARE / 2
    upright[:, np.abs(off) > _HAIR] = 0
    across = np.ones((1, _HAIR + 1), np.uint8)  # even: the way back is by its other end, or all would move by a pixel
    wide = cv2.dilate(cv2.erode(mask, across, anchor=(0, 0)), across, anchor=(_HAIR, 0))
    ink[cv2.bitwise_and(upright, cv2.bitwise_not(wide)) > 0] = 0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _evened(ink: Field, darkest: Field, least: float) -> tuple[Field, Mask]:
    """Ink over the darkest nearby, and where that is ink."""
    h, w = ink.shape
    even, mask = np.empty((h, w), np.float32), np.empty((h, w), np.uint8)
    for i in range(h):
        for j in range(w):
            value = min(ink[i, j] / min(max(darkest[i, j], least), np.float32(1.0)), np.float32(1.3))
            even[i, j] = value
            mask[i, j] = value > 0.5
    return even, mask


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _of_strokes(ink: Field, even: Field, label: NDArray[np.int32], count: int) -> tuple[Field, int]:
    """`even` in the pieces that are a stroke's, elsewhere the lesser of both; and how many pixels of that are ink."""
    h, w = ink.shape
    area, dark = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for i in range(h):
        for j in range(w):
            area[label[i, j]] += 1
            dark[label[i, j]] += ink[i, j] > 0.5
    out, after = np.empty((h, w), np.float32), 0
    for i in range(h):
        for j in range(w):
            k = label[i, j]
            stroke = k > 0 and dark[k] >= max(0.25 * area[k], 4)
            out[i, j] = even[i, j] if stroke else min(ink[i, j], even[i, j])
            after += out[i, j] > 0.5
    return out, after


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _weighted(dark: Image, outside: NDArray[np.bool_], weights: Floats) -> Field:
    """The weighted sum of darkness in R, G, B; 0 outside."""
    h, w = outside.shape
    a, b, c = np.float32(weights[0]), np.float32(weights[1]), np.float32(weights[2])
    out = np.zeros((h, w), np.float32)
    for i in range(h):
        for j in range(w):
            if not outside[i, j]:
                out[i, j] = dark[i, j, 0] * a + dark[i, j, 1] * b + dark[i, j, 2] * c
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _without_grid(
    ink: Field,
    upright: Field,
    low_y: Ints,
    share_y: Field,
    flat: Field,
    low_x: Ints,
    share_x: Field,
    most: float,
    darkest: float,
    black: float,
) -> Mask:
    """Takes the grid out of the ink, and says where an upright (1) or a level (2) line is as dark as a trace.

    upright: (tiles, W), what of upright lines is in each column, known at some heights; low_y (H,), share_y (H,): between which
    of them a row lies, and where. flat: (tiles, H), low_x, share_x: the same of level lines.
    """
    h, w = ink.shape
    lines = np.zeros((h, w), np.uint8)
    last_y, last_x = len(upright) - 1, len(flat) - 1
    for i in range(h):
        a, f = low_y[i], share_y[i]
        b = min(a + 1, last_y)
        for j in range(w):
            u = upright[a, j] * (1 - f) + upright[b, j] * f
            c, g = low_x[j], share_x[j]
            v = flat[c, i] * (1 - g) + flat[min(c + 1, last_x), i] * g
            grid = min(max(u, v), most)
            ink[i, j] = min(max((ink[i, j] - grid) * (darkest / (darkest - grid)), np.float32(0.0)), np.float32(1.5))
            lines[i, j] = (u > black) + 2 * (v > black)
    return lines


def _blanked(sheet: Image) -> NDArray[np.bool_]:
    """Where somebody has painted the paper pure white, and the rim around it in which the paper's own shade is not known: on
    paper that is not white itself."""
    import cv2

    planes = cv2.split(sheet)
    palest = cv2.min(cv2.min(planes[0], planes[1]), planes[2])
    none = np.zeros(palest.shape, np.bool_)
    if np.median(palest[::3, ::3]) > 243:
        return none
    white = cv2.compare(palest, 250, cv2.CMP_GT)
    # A blank is 3 mm wide at least: where the mean over that is nowhere white, there is none.
    if cv2.blur(white, (3 * SCALE, 3 * SCALE)).max() < 255:
        return none
    white = cv2.morphologyEx(white, cv2.MORPH_OPEN, np.ones((3 * SCALE, 3 * SCALE), np.uint8))
    return np.asarray(cv2.dilate(white, np.ones((10 * SCALE + 1, 10 * SCALE + 1), np.uint8)) > 0)


def _unmix(dark: Image, outside: NDArray[np.bool_]) -> Floats:
    """(3,): what to multiply a pixel's darkness in R, G, B by, so that ink gives 1 and grid little."""
    some = dark[::2, ::2][~outside[::2, ::2]]  # (N, 3)
    whole = some[:, 0].astype(np.uint16) + some[:, 1] + some[:, 2]
    # Of ink, every channel is dark: the least of them and 0.3 of their mean, times ten.
    order = 10 * np.minimum(np.minimum(some[:, 0], some[:, 1]), some[:, 2]).astype(np.uint16) + whole
    darkest = np.percentile(order, 99.3)
    ink = np.median(some[order >= darkest], axis=0) / 255
    # Grid: what is darker than the paper's noise, and not as dark as ink.
    middling = (whole > np.percentile(whole, 50) + 0.06 * 255) & (order < 0.5 * darkest)
    grid = np.mean(some[middling], axis=0) / 255 if middling.sum() > 100 else np.zeros(3)
    if np.linalg.norm(ink) < 0.05:
        raise EcgError("nothing on this paper is as dark as a trace")
    direction = grid / max(float(np.linalg.norm(grid)), 1e-9)
    normal = ink / np.linalg.norm(ink)
    # Least squares for w: w . ink = 1, w . grid = 0, and small, so that noise does not grow.
    matrix = np.outer(normal, normal) + 4.0 * np.outer(direction, direction) * (grid.any()) + 0.3 * np.eye(3)
    w = np.linalg.solve(matrix, normal)
    w = np.maximum(w, 0.0)  # a channel never counts against ink: shade and coloured pens would become holes
    return np.asarray(w / (w @ ink))


def _under_lines(ink: Field, lines: NDArray[np.bool_]) -> None:
    """On upright lines (H, W) as dark as a trace, ink is what stands to one side of them at least."""
    y, x = np.nonzero(lines)
    best = np.zeros(len(y), np.float32)
    for side in (-1, 1):
        found = np.zeros(len(y), np.bool_)
        for away in range(1, SCALE):
            at = np.clip(x + side * away, 0, ink.shape[1] - 1)
            new = ~found & ~lines[y, at]
            best[new] = np.maximum(best[new], ink[y[new], at[new]])
            found |= new
            if found.all():
                break
    ink[y, x] = np.minimum(ink[y, x], best)


def _spread(table: Field, known: NDArray[np.bool_]) -> Field:
    """A table (h, w, n) with what is known of the nearest entry where an entry is not known."""
    if known.all() or not known.any():
        return table
    at, out = np.argwhere(known), table.copy()
    for i, j in np.argwhere(~known):
        out[i, j] = table[tuple(at[np.argmin((at[:, 0] - i) ** 2 + (at[:, 1] - j) ** 2)])]
    return out


def _of_grid(ink: Field, lattice: Lattice) -> tuple[tuple[Field, Ints, Field], tuple[Field, Ints, Field]]:
    """The part of upright and of level lines of the grid in each pixel: in tiles of 40 mm, the median of what stands alike to
    the lattice. For upright lines (tiles down, W), and for each row between which tiles it lies (H,), and where (H,); for level
    ones (tiles across, H), (W,), (W,)."""
    # A square is printed where the crossings at its corners are.
    corners = lattice.on_grid()
    h, w = (-(-v // _SQUARE) for v in ink.shape)
    corners = np.pad(corners, ((0, max(h + 1 - corners.shape[0], 0)), (0, max(w + 1 - corners.shape[1], 0))), "edge")
    on_grid = corners[:h, :w] & corners[1 : h + 1, :w] & corners[:h, 1 : w + 1] & corners[1 : h + 1, 1 : w + 1]
    out = []
    for axis in (0, 1):
        part = ink if axis == 0 else np.ascontiguousarray(ink.T)
        rows, columns = part.shape
        printed = on_grid if axis == 0 else on_grid.T
        # Vertical lines: pixels of one x in a square are alike over all squares of the tile, and along the line.
        tiles_y, tiles_x = max(rows // _TILE, 1), max(columns // _TILE, 1)
        table = np.zeros((tiles_y, tiles_x, _SQUARE), np.float32)
        known = np.zeros((tiles_y, tiles_x), np.bool_)
        for j in range(tiles_y):
            at = np.arange(j * rows // tiles_y, (j + 1) * rows // tiles_y, 3)
            for i in range(tiles_x):
                a = i * columns // tiles_x // _SQUARE * _SQUARE
                b = min(a + _TILE, columns // _SQUARE * _SQUARE)
                if b - a < _SQUARE:
                    continue
                # What is beside the millimetre paper has no lines, and says nothing of theirs.
                on = printed[np.minimum(at // _SQUARE, len(printed) - 1), a // _SQUARE : b // _SQUARE]
                if on.sum() > 2 * _SQUARE:
                    alike = np.ascontiguousarray(part[at, a:b].reshape(len(at), -1, _SQUARE)[on].T)
                    middle = alike.shape[1] // 2
                    table[j, i] = np.partition(alike, middle, axis=1)[:, middle]
                    known[j, i] = True
        table = _spread(table, known)
        table -= np.minimum(table.min(axis=2, keepdims=True), 0.0)
        phase = np.arange(columns) % _SQUARE
        centre_x = np.clip((np.arange(columns) + 0.5) / columns * tiles_x - 0.5, 0, tiles_x - 1).astype(np.float32)
        centre_y = np.clip((np.arange(rows) + 0.5) / rows * tiles_y - 0.5, 0, tiles_y - 1).astype(np.float32)
        low = np.floor(centre_x).astype(int)
        high = np.minimum(low + 1, tiles_x - 1)
        f = centre_x - low
        lines = table[:, low, phase] * (1 - f) + table[:, high, phase] * f  # (tiles_y, columns)
        first = np.floor(centre_y).astype(np.int32)
        out.append((lines.astype(np.float32), first, (centre_y - first).astype(np.float32)))
    return out[0], out[1]
