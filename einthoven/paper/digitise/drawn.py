"""From a PDF's drawing to page and traces, exactly: grid lines give the millimetre, words the leads, paths the signals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from einthoven.paper.digitise.digitised import Trace
from einthoven.paper.digitise.pdf import Drawing, Line, Word
from einthoven.paper.digitise.words import GAINS, Name, lead_of, match, speed_and_gain
from einthoven.paper.page import STANDARD_ORDER, Box, Floats, Page, Strip, Text
from einthoven.record import EcgError

_DPI = 200.0
_STRAIGHT = 0.02  # mm: what is as straight as a grid line
_SHORTEST = 8.0  # mm of paper that a trace runs over at least
_CURVE = 20  # points that a trace has at least
_NEAR = 0.03  # mm to each side of a cut between leads that belong to neither


@dataclass(frozen=True)
class _Piece:
    """A trace's path in true millimetres of the paper, with where its base line lies."""

    x: Floats
    y: Floats
    baseline: float

    @property
    def left(self) -> float:
        return float(self.x[0])

    @property
    def right(self) -> float:
        return float(self.x[-1])


def read_drawing(
    drawing: Drawing, *, speed: float | None = None, gain: float | None = None, path: str | None = None
) -> tuple[Page, list[Trace], list[str]]:
    """Page, traces and warnings of a drawing. Raises EcgError where no ECG is drawn in it as lines."""
    scale_x, scale_y, box, grid_colours = _grid(drawing)
    scale = np.array([scale_x, scale_y])
    lines = [replace(line, points=line.points / scale) for line in drawing.lines if line.colour not in grid_colours]
    words = [Word(w.text, w.x / scale_x, w.y / scale_y, w.size / scale_y) for w in drawing.words]
    warnings: list[str] = []
    if box is None:
        box = Box(0, 0, drawing.size[0] / scale_x, drawing.size[1] / scale_y)
        warnings.append("no grid on this page: the PDF's own millimetres were taken for the paper's")
    elif max(abs(scale_x - 1), abs(scale_y - 1)) > 2e-3:
        warnings.append(f"the page is drawn at {100 * scale_x:.1f} % of its true size; its grid gave the scale")

    pulses, rules, curves = _sort(_chain(lines))
    pieces = [_Piece(x, y, _level(y)) for x, y in curves]
    if not pieces:
        raise EcgError("no traces are drawn on this page as lines", path=path)
    told_speed, told_gain = speed_and_gain(w.text for w in words)
    shown_gain = _gain_of(pulses)
    if gain is None:
        gain = told_gain or shown_gain
        if told_gain and shown_gain and told_gain != shown_gain:
            warnings.append(f"the words say {told_gain:g} mm/mV, the calibration pulse is {shown_gain:g} mm high")
        if gain is None:
            gain = 10.0
            warnings.append("gain is not said on the page: 10 mm/mV was taken")
    if speed is None:
        speed = told_speed
        if speed is None:
            speed = 25.0
            warnings.append("paper speed is not said on the page: 25 mm/s was taken")

    rows = _rows(pieces, pulses)
    names = [
        Name(found[0], found[1], w.x, w.y, 0.65 * w.size * len(w.text)) for w in words if (found := lead_of(w.text)) is not None
    ]
    placed = _name(rows, names, warnings)
    origin = min(piece.left for _, _, piece in placed)
    longest = max(piece.right - piece.left for _, _, piece in placed)
    strips, traces = [], []
    edges = _edges([row[0].baseline for row in rows], box)
    for (lead, sign), r, piece in placed:
        start, stop = (piece.left - origin) / speed, (piece.right - origin) / speed
        room = Box(piece.left, edges[r], piece.right, edges[r + 1])
        rhythm = len(rows[r]) == 1 and piece.right - piece.left > 0.9 * longest and len(placed) > len(rows)
        strip = Strip(lead, start, stop, piece.left, piece.baseline, room, sign, rhythm=rhythm)
        strips.append(strip)
        traces.append(Trace(strip, piece.x, piece.y))
    page = Page(
        speed,
        gain,
        _DPI,
        (drawing.size[0] / scale_x, drawing.size[1] / scale_y),
        _layout_name(rows, strips),
        box,
        tuple(strips),
        tuple(Text(w.x, w.y, w.size, w.text) for w in words),
        tuple(tuple((float(a), float(b)) for a, b in p) for p in pulses),
        tuple(tuple((float(a), float(b)) for a, b in p) for p in rules),
    )
    return page, traces, warnings


def _grid(drawing: Drawing) -> tuple[float, float, Box | None, set[tuple[int, int, int]]]:
    """What a paper's mm measures in x and y (mm of the PDF), the grid's box in paper mm, and the grid's colours."""
    across: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    down: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for line in drawing.lines:
        span = np.ptp(line.points, axis=0)
        if span[0] < _STRAIGHT and span[1] > 10:
            across[line.colour].append(float(line.points[0, 0]))
        elif span[1] < _STRAIGHT and span[0] > 10:
            down[line.colour].append(float(line.points[0, 1]))
    # A grid's colour has many lines both ways; a trace's colour has separators and underlines at most.
    colours = {c for c in across if len(across[c]) >= 8 and len(down.get(c, ())) >= 8}
    if not colours:
        return 1.0, 1.0, None, set()
    xs = np.unique(np.round([v for c in colours for v in across[c]], 2))
    ys = np.unique(np.round([v for c in colours for v in down[c]], 2))
    scale_x, scale_y = _step(xs), _step(ys)
    box = Box(xs[0] / scale_x, ys[0] / scale_y, xs[-1] / scale_x, ys[-1] / scale_y)
    return scale_x, scale_y, box, colours


def _step(at: Floats) -> float:
    """What a millimetre measures between lines at these places: every millimetre one, or every fifth."""
    gaps = np.diff(at)
    gaps = gaps[gaps > 0.15]
    step = float(np.median(gaps))
    # Least squares over all lines that lie on the lattice.
    k = np.round((at - at[0]) / step)
    step = float(np.polyfit(k, at, 1)[0])
    scale = step / (5.0 if step > 2.5 else 1.0)
    return 1.0 if abs(scale - 1) < 3e-4 else scale


def _chain(lines: Sequence[Line]) -> list[Line]:
    """Lines that go on where the last one of their colour ended become one: some writers stroke every segment alone.

    Whole curves that happen to touch stay apart: they are neighbouring leads.
    """
    out: list[list[Floats]] = []
    kinds: list[Line] = []
    for line in lines:
        short = len(line.points) < _CURVE and out and len(out[-1][-1]) < _CURVE
        if short and kinds[-1].colour == line.colour and np.abs(out[-1][-1][-1] - line.points[0]).max() < 1e-3:
            out[-1].append(line.points[1:])
        else:
            out.append([line.points])
            kinds.append(line)
    return [replace(kind, points=np.concatenate(parts)) for kind, parts in zip(kinds, out, strict=True)]


def _sort(lines: Sequence[Line]) -> tuple[list[Floats], list[Floats], list[tuple[Floats, Floats]]]:
    """Calibration pulses, rules (separators, underlines), and traces (x, y) with x rising."""
    pulses, rules, curves = [], [], []
    for line in lines:
        p = line.points
        steps = np.diff(p, axis=0)
        span = np.ptp(p, axis=0)
        square = bool((np.abs(steps).min(axis=1) < _STRAIGHT).all())
        if len(p) == 2:
            if span[0] < _SHORTEST or span[1] < _STRAIGHT:
                rules.append(p)
            continue
        if square and 4 <= len(p) <= 8 and span[0] < 15 and span[1] >= 2:
            pulses.append(p)
            continue
        if (steps[:, 0] > -1e-3).mean() < 0.98:
            if (steps[:, 0] < 1e-3).mean() < 0.98:
                continue
            p = p[::-1]
        if span[0] >= _SHORTEST and len(p) >= _CURVE:
            x = np.maximum.accumulate(p[:, 0])
            first = np.concatenate([[True], np.diff(x) > 0])
            curves.append((x[first], p[first, 1]))
    return pulses, rules, curves


def _level(y: Floats) -> float:
    """Where a trace lies most of the time: the middle of its densest half millimetre."""
    s = np.sort(y)
    n = np.searchsorted(s, s + 0.5, side="right") - np.arange(len(s))
    i = int(np.argmax(n))
    return float(np.median(s[i : i + max(int(n[i]), 1)]))


def _gain_of(pulses: Sequence[Floats]) -> float | None:
    """mm/mV of the calibration pulses, where they are 1 mV high and agree."""
    found = set()
    for p in pulses:
        high = float(np.ptp(p[:, 1]))
        found |= {g for g in GAINS if abs(high - g) < 0.04 * g}
    return found.pop() if len(found) == 1 else None


def _rows(pieces: Sequence[_Piece], pulses: Sequence[Floats]) -> list[list[_Piece]]:
    """Pieces in rows from the top, each from the left. A row's base line is its calibration pulse's foot where it has one."""
    rows: list[list[_Piece]] = []
    # A row's pieces stand side by side; who stands over or under another is in another row. The tallest strips decide least.
    for piece in sorted(pieces, key=lambda p: p.baseline):
        best: list[_Piece] | None = None
        for row in rows[-2:]:
            free = all(piece.left > other.right - 1 or piece.right < other.left + 1 for other in row)
            if free and abs(piece.baseline - float(np.median([o.baseline for o in row]))) < 12:
                best = row
        if best is None:
            rows.append([piece])
        else:
            best.append(piece)
    levels = [float(np.median([p.baseline for p in row])) for row in rows]
    feet = [float(p[:, 1].max()) for p in pulses]
    out = []
    for row, level in zip(rows, levels, strict=True):
        # Crowded rows have no pulse of their own: a foot belongs to the row whose level is nearest.
        mine = [y for y in feet if abs(y - level) < 8 and abs(y - level) <= min(abs(y - other) for other in levels)]
        foot = min(mine, key=lambda y: abs(y - level)) if mine else level
        out.append([replace(p, baseline=foot) for p in sorted(row, key=lambda p: p.left)])
    return sorted(out, key=lambda row: row[0].baseline)


def _name(
    rows: Sequence[Sequence[_Piece]], names: Sequence[Name], warnings: list[str]
) -> list[tuple[tuple[str, int], int, _Piece]]:
    """Each piece with its lead: the name printed at its beginning; a piece under which several names stand is cut there."""
    out: list[tuple[tuple[str, int], int, _Piece]] = []
    pieces = _cut(rows, names)
    unnamed: list[tuple[int, _Piece]] = []
    for (r, piece), name in zip(pieces, match([(p.left, p.baseline) for _, p in pieces], names), strict=True):
        if name is None:
            unnamed.append((r, piece))
        else:
            out.append(((name.lead, name.sign), r, piece))
    if unnamed and len(out) + len(unnamed) == 12 and not out:
        # Twelve nameless pieces stand in the order that recorders print, column by column.
        columns = max(len(row) for row in rows)
        for r, row in enumerate(rows):
            for c, piece in enumerate(row):
                out.append(((STANDARD_ORDER[c * (12 // columns) + r], 1), r, piece))
        warnings.append("no lead names on the page: the standard order was taken")
    elif unnamed:
        warnings.append(f"{len(unnamed)} traces have no lead name and were left out")
    if not out:
        raise EcgError("no trace on this page has a lead's name")
    return out


def _cut(rows: Sequence[Sequence[_Piece]], names: Sequence[Name]) -> list[tuple[int, _Piece]]:
    """(row, piece); a row that is one path with several names along it is cut into as many equal columns."""
    starts = np.sort([n.x for n in names])
    columns = 1 + int((np.diff(starts) > 25).sum()) if len(starts) else 1
    wide = [(r, row[0]) for r, row in enumerate(rows) if len(row) == 1]
    parts = {r: np.linspace(p.left, p.left + _whole(p.right - p.left), columns + 1) for r, p in wide}
    slots = [(r, c) for r, _ in wide for c in range(columns)]
    found = match([(parts[r][c], rows[r][0].baseline) for r, c in slots], names)
    named = [r for (r, _), name in zip(slots, found, strict=True) if name is not None]
    out: list[tuple[int, _Piece]] = []
    for r, row in enumerate(rows):
        if columns == 1 or named.count(r) < 2:
            out += [(r, piece) for piece in row]
            continue
        piece, edges = row[0], parts[r]
        for a, b in pairwise(edges):
            k = (piece.x > a + _NEAR) & (piece.x < b - _NEAR)
            if k.sum() >= 2:
                out.append((r, replace(piece, x=piece.x[k], y=piece.y[k])))
    return out


def _whole(width: float) -> float:
    """A row's width with the sample that its end lacks: rows are multiples of 2.5 mm wide."""
    whole = float(np.ceil(width / 2.5 - 1e-3) * 2.5)
    return whole if whole - width < 0.3 else width


def _edges(baselines: Sequence[float], box: Box) -> list[float]:
    """Where each row's room begins and ends."""
    inner = [(a + b) / 2 for a, b in pairwise(baselines)]
    return [box.top, *inner, box.bottom]


def _layout_name(rows: Sequence[Sequence[_Piece]], strips: Sequence[Strip]) -> str:
    """ "3x4+1" as Page names layouts."""
    rhythm = sum(s.rhythm for s in strips)
    columns = max(round((len(strips) - rhythm) / max(len(rows) - rhythm, 1)), 1)
    return f"{len(rows) - rhythm}x{columns}" + (f"+{rhythm}" if rhythm else "")
