"""The trace's ink on a rectified sheet: apart from paper, grid, and shade, by colour and by where the grid must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.digitise.lattice import SCALE, Field, Image, Lattice, paper_of, unseen
from einthoven.paper.page import Floats
from einthoven.record import EcgError

_SQUARE = 5 * SCALE
_BLACK = 0.5  # a grid's line as dark as this share of a trace hides what is drawn over it
_TILE = 8 * _SQUARE  # pixels over which the grid's darkness may be taken as one


def ink_of(sheet: Image, lattice: Lattice, source: Image) -> Field:
    """How much ink each pixel of the rectified sheet holds, (H, W) float32: 0 paper and grid, 1 the middle of a trace.

    Ink and grid have each their colour, as darkness in R, G, B against the paper; what is kept is the part of a pixel's
    darkness along the ink that is not along the grid. What is left of the grid then (grey grids) is taken out by place:
    the median of all pixels that stand alike to the lattice. Raises EcgError where nothing on the sheet is ink.
    """
    import cv2

    share = cv2.divide(sheet, paper_of(sheet, 4 * SCALE), scale=255)
    dark = 255 - share  # (H, W, 3) uint8
    outside = unseen(lattice, sheet.shape, source.shape)
    outside |= _blanked(sheet)
    dark[outside] = 0
    weights = _unmix(dark, outside)
    ink = _weighted(dark, weights)
    # Ink hides the grid under it: of a pixel on a line, what lies between the line's darkness and the ink's own counts.
    upright, flat = _of_grid(ink, lattice)
    darkest = max(float(np.percentile(ink[::3, ::3], 99.3)), 1e-3)
    black = upright > _BLACK * darkest, flat > _BLACK * darkest
    grid = np.minimum(np.maximum(upright, flat), 0.7 * darkest)
    ink = np.asarray((ink - grid) * (darkest / (darkest - grid)), np.float32)
    np.clip(ink, 0.0, 1.5, out=ink)
    for lines, part in ((black[0], ink), (black[1].T, ink.T)):
        _under_lines(part, lines)
    ink[outside] = 0
    # The middle of traces is 1: they cover one or two percent of a sheet.
    some = ink[::2, ::2][~outside[::2, ::2]]
    level = float(np.percentile(some, 99.3))
    if level < 0.08:
        raise EcgError("nothing on this paper is as dark as a trace")
    np.minimum(ink / level, 1.3, out=ink)
    return ink


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
    before = int((ink > 0.5).sum())
    for faint, flat in _FAINT:
        even = np.minimum(ink / np.clip(darkest, 2 * faint, 1.0), 1.3)
        mask = (even > 0.5).astype(np.uint8)
        if not flat:
            mask &= cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((_STEEP, 1), np.uint8)) | (ink > 0.5)
        _, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        dark = np.bincount(label.ravel(), (ink > 0.5).ravel(), len(stats))
        stroke = dark >= np.maximum(0.25 * stats[:, cv2.CC_STAT_AREA], 4)
        stroke[0] = False
        out = np.where(stroke[label], even, np.minimum(ink, even))
        if (out > 0.5).sum() < _GROWTH * before:
            return np.asarray(out, np.float32)
    return ink


def _weighted(dark: Image, weights: Floats) -> Field:
    import cv2

    planes = cv2.split(dark)
    out = planes[0].astype(np.float32) * np.float32(weights[0] / 255)
    for plane, weight in zip(planes[1:], weights[1:], strict=True):
        out += plane.astype(np.float32) * np.float32(weight / 255)
    return np.asarray(out, np.float32)


def _blanked(sheet: Image) -> NDArray[np.bool_]:
    """Where somebody has painted the paper pure white, and the rim around it in which the paper's own shade is not known: on
    paper that is not white itself."""
    import cv2

    palest = cv2.min(cv2.min(sheet[:, :, 0], sheet[:, :, 1]), sheet[:, :, 2])
    if np.median(palest) > 243:
        return np.zeros(palest.shape, np.bool_)
    white = cv2.morphologyEx((palest >= 251).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3 * SCALE, 3 * SCALE), np.uint8))
    return np.asarray(cv2.dilate(white, np.ones((10 * SCALE + 1, 10 * SCALE + 1), np.uint8)) > 0)


def _unmix(dark: Image, outside: NDArray[np.bool_]) -> Floats:
    """(3,): what to multiply a pixel's darkness in R, G, B by, so that ink gives 1 and grid little."""
    some = dark[::2, ::2][~outside[::2, ::2]].astype(np.float64)  # (N, 3)
    mean = some.mean(axis=1)
    palest = some.min(axis=1)  # of ink, every channel is dark
    order = palest + 0.3 * mean
    ink = np.median(some[order >= np.percentile(order, 99.3)], axis=0) / 255
    # Grid: what is darker than the paper's noise, and not as dark as ink.
    floor = np.percentile(mean, 50)
    middling = (mean > floor + 0.02 * 255) & (order < 0.5 * np.percentile(order, 99.3))
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


def _of_grid(ink: Field, lattice: Lattice) -> tuple[Field, Field]:
    """The part of upright and of level lines of the grid in each pixel, (H, W) each: in tiles of 40 mm, the median of what
    stands alike to the lattice."""
    import cv2

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
                    table[j, i] = np.median(part[at, a:b].reshape(len(at), -1, _SQUARE)[on], axis=0)
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
        map_y = np.ascontiguousarray(np.broadcast_to(centre_y[:, None], (rows, columns)))
        map_x = np.ascontiguousarray(np.broadcast_to(np.arange(columns, dtype=np.float32)[None], (rows, columns)))
        grid = cv2.remap(lines.astype(np.float32), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        out.append(np.asarray(grid if axis == 0 else grid.T, np.float32))
    return out[0], out[1]
