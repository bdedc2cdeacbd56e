"""An image of an ECG on paper, from pixels to page and traces: lattice, ink, rows, names, layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from einthoven.paper.digitise.bars import find_bars, take_bars
from einthoven.paper.digitise.digitised import Trace
from einthoven.paper.digitise.follow import find_runs
from einthoven.paper.digitise.ink import evened, ink_of, take_lines
from einthoven.paper.digitise.lattice import SCALE, Image, Lattice, find_lattice, rectify
from einthoven.paper.digitise.names import read_names
from einthoven.paper.digitise.rows import find_rows, take_parts
from einthoven.paper.digitise.sheet import read_sheet
from einthoven.paper.page import Box, Floats, Page


@dataclass(frozen=True)
class Scan:
    """sheet: the rectified image, RGB. homography: (3, 3) pixels of the input -> pixels of the sheet, without the bend."""

    page: Page
    traces: list[Trace]
    warnings: list[str]
    sheet: Image
    homography: Floats
    lattice: Lattice


def read_scan(
    image: Image,
    *,
    layout: str | None = None,
    speed: float | None = None,
    gain: float | None = None,
    corners: Floats | None = None,
) -> Scan:
    """Page and traces of an RGB image (H, W, 3). Raises EcgError, with the reason, where it cannot be read."""
    lattice = find_lattice(image, corners)
    sheet = rectify(image, lattice)
    ink, black = ink_of(sheet, lattice, image)
    bars = find_bars(ink)
    take_bars(ink, bars)
    parts = take_parts(ink)
    runs = find_runs(ink, parts.small)
    rows = find_rows(runs, ink.shape, lattice.on_grid(), lattice.by_height(), parts.pulses)
    # Rows, pulses, and where traces end are told by what is surely ink; names and strokes by what is paler, too.
    ink = evened(ink)
    if black:
        take_lines(ink, lattice)
    names = read_names(ink)
    runs = find_runs(ink, take_parts(ink).small)
    page, traces, warnings = read_sheet(
        runs, rows, parts.pulses, names, lattice.size, _grid_box(lattice), layout=layout, speed=speed, gain=gain, bars=bars
    )
    to_sheet = np.array([[SCALE, 0, -0.5], [0, SCALE, -0.5], [0, 0, 1]]) @ np.linalg.inv(lattice.homography)
    return Scan(page, traces, warnings, sheet, to_sheet / to_sheet[2, 2], lattice)


def _grid_box(lattice: Lattice) -> Box:
    """The large squares that are printed, as a rectangle."""
    on = lattice.on_grid()
    found = []
    for axis, start, size in ((0, lattice.origin[0], lattice.size[0]), (1, lattice.origin[1], lattice.size[1])):
        share = on.mean(axis=axis)
        at = np.flatnonzero(share > 0.5 * share.max())
        # A line's clearness is spread over its neighbours; the outermost third is outside.
        low, high = (5.0 * float(at[0]) + 5, 5.0 * float(at[-1]) - 5) if len(at) > 6 else (0.0, size)
        low = low if low > 9 else 0.0
        high = high if high < size - 9 else size
        found.append((start + 5 * np.ceil((low - start) / 5), start + 5 * np.floor((high - start) / 5)))
    return Box(float(found[0][0]), float(found[1][0]), float(found[0][1]), float(found[1][1]))
