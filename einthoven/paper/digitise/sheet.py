"""From rows of traces to a Page: calibration pulses, where strips begin and end, which lead is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from einthoven.paper.digitise.bars import Bar, columns_of
from einthoven.paper.digitise.confidence import signs_of
from einthoven.paper.digitise.digitised import Trace
from einthoven.paper.digitise.follow import DROPPED, Runs
from einthoven.paper.digitise.lattice import SCALE
from einthoven.paper.digitise.rows import Pulse, Row, bridged, level_of
from einthoven.paper.digitise.words import GAINS, Name
from einthoven.paper.page import ORDERS, RHYTHM, Box, Floats, Layout, Page, Strip, Text, parse_layout
from einthoven.record import EcgError

_DPI = SCALE * 25.4


def read_sheet(
    runs: Runs,
    rows: Sequence[Row],
    alone: Sequence[Pulse],
    names: Sequence[Name],
    size: tuple[float, float],
    grid: Box,
    *,
    layout: str | None = None,
    speed: float | None = None,
    gain: float | None = None,
    bars: Sequence[Bar] = (),
) -> tuple[Page, list[Trace], list[str]]:
    """Page, traces and warnings of a sheet's rows. What the caller knows (layout, speed, gain) is taken as it is; bars stand
    where one lead ends and the next begins."""
    warnings: list[str] = []
    pulses = _assigned(rows, alone) if alone else []
    if not any(pulses):
        pulses = [find_pulse(row) for row in rows]
    seen = _gain_of([p for p in pulses if p is not None])
    if gain is None:
        gain = seen or 10.0
        if seen is None:
            warnings.append("no calibration pulse could be measured: 10 mm/mV was taken")
    elif seen is not None and abs(seen - gain) > 0.01:
        warnings.append(f"the calibration pulse is {seen:g} mm high, not {gain:g}")
    if speed is None:
        speed = 25.0
        warnings.append("paper speed was not read: 25 mm/s was taken")

    spans = _spans(rows, pulses)
    plan, slots, sure = _plan(rows, spans, names, layout, warnings, size[0] * SCALE, speed, columns_of(bars))
    slots = _at_bars(slots, rows, bars)
    feet = [
        p.foot if p is not None else level_of(row.y[round(a) : round(b)])
        for row, p, (a, b) in zip(rows, pulses, spans, strict=True)
    ]
    runs = _without_bars(
        runs, feet, {v for s in slots if not s.rhythm for v in (s.left, s.right)} - {min(s.left for s in slots)}
    )
    origin = min(slot.left for slot in slots)
    edges = [grid.top, *((feet[k] + feet[k + 1] + 1) / 2 / SCALE for k in range(len(feet) - 1)), grid.bottom]
    strips: list[Strip] = []
    traces: list[Trace] = []
    for slot in slots:
        row, foot = rows[slot.row], (feet[slot.row] + 0.5) / SCALE
        left, right = (slot.left + 0.5) / SCALE, (slot.right + 0.5) / SCALE
        x0 = (origin + 0.5) / SCALE
        box = Box(left, edges[slot.row], right, edges[slot.row + 1])
        start, stop = (left - x0) / speed, (right - x0) / speed
        strip = Strip(slot.lead, start, stop, left, foot, box, slot.sign, rhythm=slot.rhythm)
        others = [s for s in slots if s.row == slot.row]
        shared = tuple(
            any(abs(at - edge) < 2 * SCALE for edge in edges_of)
            for at, edges_of in ((slot.left, [s.right for s in others]), (slot.right, [s.left for s in others]))
        )
        across, down, kept, signs = _strip_of(
            runs,
            row,
            slot,
            (shared[0], shared[1]),
            np.array([r.baseline for r in rows if r is not row]),
        )
        x, y = (across + 0.5) / SCALE, (down + 0.5) / SCALE
        if np.isfinite(y).sum() < 2 * SCALE:
            warnings.append(f"{strip.label}: nothing printed was found where it should be")
            continue
        strips.append(strip)
        traces.append(Trace(strip, x, y, kept * sure, {**signs, "names": sure}))
    if not strips:
        raise EcgError("no lead's trace could be told apart on this paper")
    texts = tuple(Text(n.x, n.y, 3.4, n.lead) for n in names if n.sure > 0.6)
    shapes = tuple(_shape(p) for p in pulses if p is not None)
    page = Page(speed, gain, _DPI, size, str(plan), grid, tuple(strips), texts, shapes)
    return page, traces, warnings


def _assigned(rows: Sequence[Row], alone: Sequence[Pulse]) -> list[Pulse | None]:
    """Each row's pulse of those that stand alone: the one whose foot is nearest to its base line."""
    out: list[Pulse | None] = []
    for row in rows:
        near = min(alone, key=lambda p: abs(p.foot - row.baseline))
        others = min(abs(near.foot - other.baseline) for other in rows)
        out.append(near if abs(near.foot - row.baseline) <= min(others + 1e-6, 8 * SCALE) else None)
    return out


def find_pulse(row: Row) -> Pulse | None:
    """A rectangle at a row's left or right end: two vertical strokes, a flat top between 2 and 12 mm wide."""
    first, last = row.ends
    y = row.y
    for a, b in ((first, min(first + 26 * SCALE, last)), (max(last - 26 * SCALE, first), last)):
        part = y[a : b + 1]
        good = np.isfinite(part)
        if good.sum() < 3 * SCALE:
            continue
        foot = row.baseline
        up = foot - part
        high = good & (up > 2.0 * SCALE)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]]).astype(np.int8))).reshape(-1, 2)
        for i, j in edges:
            if not 1.8 * SCALE <= j - i <= 12 * SCALE:
                continue
            inner = up[i + round(0.4 * SCALE) : j - round(0.4 * SCALE)]
            top = float(np.median(inner))
            flat = float(np.mean(np.abs(inner - top) < 0.35 * SCALE))
            around = np.concatenate([part[max(i - 2 * SCALE, 0) : max(i - 2, 0)], part[j + 3 : j + 2 * SCALE]])
            around = around[np.isfinite(around)]
            if flat < 0.85 or top > 45 * SCALE or not len(around):
                continue
            base = float(np.median(around))
            height = base - (foot - top)
            if height > 2.0 * SCALE:
                return Pulse(a + int(i), a + int(j) - 1, height, base)
    return None


def _gain_of(pulses: Sequence[Pulse]) -> float | None:
    """mm/mV by the median pulse, where it is near a gain that recorders have (the pulse is 1 mV)."""
    if not pulses:
        return None
    height = float(np.median([p.height for p in pulses])) / SCALE
    near = min(GAINS, key=lambda g: abs(np.log(height / g)))
    return near if abs(height - near) < 0.12 * near + 0.2 else None


def _shape(pulse: Pulse) -> tuple[tuple[float, float], ...]:
    xs = [
        (v + 0.5) / SCALE for v in (pulse.start - SCALE, pulse.start, pulse.start, pulse.stop, pulse.stop, pulse.stop + SCALE)
    ]
    low, high = (pulse.foot + 0.5) / SCALE, (pulse.foot - pulse.height + 0.5) / SCALE
    return tuple(zip(xs, (low, low, high, high, low, low), strict=True))


def _spans(rows: Sequence[Row], pulses: Sequence[Pulse | None]) -> list[tuple[float, float]]:
    """Where each row's traces begin and end, pixels, without the calibration pulse. Rows begin and end together, nearly.

    A pen's line reaches half its width beyond the trace.
    """
    spans = []
    for row, pulse in zip(rows, pulses, strict=True):
        first, last = row.ends
        a, b = first - 0.5 + row.pen, last + 0.5 - row.pen
        good = np.isfinite(row.y)
        if pulse is not None and pulse.start < (first + last) / 2:
            # The pulse's own foot is a millimetre or two; what begins after a gap is the trace.
            at = pulse.stop + 2
            holes = np.flatnonzero(~good[at : at + 5 * SCALE])
            a = at + float(holes[-1]) + 0.5 + row.pen if len(holes) else float(at)
        elif pulse is not None:
            at = pulse.start - 2
            holes = np.flatnonzero(~good[max(at - 5 * SCALE, 0) : at])
            b = max(at - 5 * SCALE, 0) + float(holes[0]) - 0.5 - row.pen if len(holes) else float(at)
        spans.append((a, b))
    # A row that begins or ends with a word, or lacks its first faint millimetres, is set right by the others; rows whose
    # pulse was seen know best where the trace begins.
    sure = [span for span, pulse in zip(spans, pulses, strict=True) if pulse is not None] or spans
    left, right = (float(np.median(side)) for side in zip(*sure, strict=True))
    return [(left, right)] * len(spans)


def _strip_of(
    runs: Runs, row: Row, slot: _Slot, shared: tuple[bool, bool], others: Floats
) -> tuple[Floats, Floats, float, dict[str, float]]:
    """A strip's curve, x and y in pixels, followed anew between its ends (a row's path may end in the neighbour's beat); how
    surely it is the print, 0..1: by how well the pen's edges fit the ink, and how much of it is ink; and the signs of that."""
    a, b = max(int(np.ceil(slot.left)), 0), min(int(np.floor(slot.right)), len(row.y) - 1)
    y, pen, misfit, path = runs.traced(row.baseline, row.reach, a, b + 1, row.pen, shared, others)
    there = float(np.isfinite(y).mean()) if len(y) else 0.0
    signs = signs_of(runs, path, a, y, pen, misfit)
    y = bridged(y, 1.0)
    # Where two leads meet, half a pen's width holds ink of both, and a bar hides what is under it: nothing is told of it.
    near, far = (int(np.ceil(max(pen if both else 0.0, bar))) for both, bar in zip(shared, slot.bars, strict=True))
    y[:near] = np.nan
    y[len(y) - far :] = np.nan
    return np.arange(a, b + 1, dtype=np.float64), y, there * float(np.exp(-((misfit / _MISFIT) ** 2))), signs


_MISFIT = 1.0  # pixels by which the pen's edges may miss the ink's
_BAR_MM = 3.0  # a line between two leads is as tall as this
_BLUNT = 2.0  # pixels


def _without_bars(runs: Runs, feet: Sequence[float], borders: set[float]) -> Runs:
    """Without the upright lines that some recorders print between leads: near a border, of the same height in most rows (over
    and under their base lines), or one line through several rows. A beat is not as alike in all leads."""
    drop = np.zeros(len(runs.tiny), bool)
    base = np.array(feet)
    width = len(runs.first) - 1
    for border in borders:
        for x in range(max(round(border - 2 * SCALE), 0), min(round(border + 2 * SCALE) + 1, width)):
            k = np.arange(runs.first[x], runs.first[x + 1])
            k = k[(runs.bottom[k] - runs.top[k] > _BAR_MM * SCALE) & (runs.bottom[k] - runs.top[k] < 150 * SCALE)]
            # A line's ends are blunt: the next column has them, too, while a beat's flank climbs.
            beside = np.concatenate([np.arange(runs.first[v], runs.first[v + 1]) for v in (x - 1, x + 1) if 0 <= v < width])
            climb = np.maximum(
                np.abs(runs.top[k][:, None] - runs.top[beside][None]),
                np.abs(runs.bottom[k][:, None] - runs.bottom[beside][None]),
            )
            k = k[climb.min(axis=1, initial=np.inf) < _BLUNT]
            if len(k) == 0:
                continue
            middle = 0.5 * (runs.top[k] + runs.bottom[k])
            row = np.abs(middle[:, None] - base[None]).argmin(axis=1)
            ends = np.stack([runs.top[k], runs.bottom[k]], axis=1) - base[row][:, None]
            alike = (np.abs(ends[:, None] - ends[None]).max(axis=2) < 0.5 * SCALE) & (row[:, None] != row[None])
            rows = np.array([len({*row[a], r}) for a, r in zip(alike, row, strict=True)])
            crossed = ((runs.top[k][:, None] < base[None]) & (runs.bottom[k][:, None] > base[None])).sum(axis=1)
            tall = runs.bottom[k] - runs.top[k] > 1.2 * np.min(np.diff(np.sort(base)), initial=60 * SCALE)
            drop[k[(rows >= max(2, round(0.6 * min(len(base), 3)))) | ((crossed >= 2) & tall)]] = True
    if not drop.any():
        return runs
    return replace(runs, tiny=np.where(drop, np.uint8(DROPPED), runs.tiny))


@dataclass(frozen=True)
class _Slot:
    """A strip's place: its lead, row, ends (pixels), and how far a bar at each end reaches into it."""

    lead: str
    sign: int
    row: int
    left: float
    right: float
    rhythm: bool = False
    bars: tuple[float, float] = (0.0, 0.0)


_NEAR_MM = 2.5  # a bar that is nearer to a border than this is the border


def _at_bars(slots: Sequence[_Slot], rows: Sequence[Row], bars: Sequence[Bar]) -> list[_Slot]:
    """The slots with their inner borders where bars stand."""
    out = []
    for slot in slots:
        ends, reach = [slot.left, slot.right], [0.0, 0.0]
        neighbours = [s for s in slots if s.row == slot.row and s is not slot]
        for k, others in ((0, [s.right for s in neighbours]), (1, [s.left for s in neighbours])):
            if slot.rhythm or not any(abs(v - ends[k]) < SCALE for v in others):
                continue
            foot = rows[slot.row].baseline
            near = [b for b in bars if b.top - 5 * SCALE < foot < b.bottom + 5 * SCALE]
            bar = min(near, key=lambda b: abs(b.middle - ends[k]), default=None)
            if bar is not None and abs(bar.middle - ends[k]) < _NEAR_MM * SCALE:
                ends[k], reach[k] = bar.middle, bar.half + 2.0
        out.append(replace(slot, left=ends[0], right=ends[1], bars=(reach[0], reach[1])))
    return out


# Layouts by the number of rows, the most usual first.
_PLANS: dict[int, tuple[str, ...]] = {
    1: ("1x1",),
    2: ("2x1", "3x4", "1x6+1", "2x6"),  # 3x4: two rows of a sheet of which the picture shows a part
    3: ("3x4", "3x1", "2x6+1"),
    4: ("3x4+1", "4x1"),
    5: ("3x4+2", "5x1"),
    6: ("3x4+3", "6x2", "6x1"),
    7: ("6x2+1",),
    8: ("6x2+2", "8x1"),
    12: ("12x1",),
}


def _plan(
    rows: Sequence[Row],
    spans: Sequence[tuple[float, float]],
    names: Sequence[Name],
    wanted: str | None,
    warnings: list[str],
    width: float,
    speed: float,
    bars: Sequence[float] = (),
) -> tuple[Layout, list[_Slot], float]:
    """The layout that the printed names and Einthoven's law bear out best, its slots, and how sure it is."""
    n = len(rows)
    if wanted is not None:
        plans = [parse_layout(wanted)]
        if plans[0].rows + plans[0].rhythm != n:
            raise EcgError(f"layout {wanted} has {plans[0].rows + plans[0].rhythm} rows, {n} were found on the paper")
    else:
        if n > 12:
            raise EcgError(f"{n} rows of traces seem to be on this paper: its grid or its shade could not be told from ink")
        plans = [parse_layout(text) for text in _PLANS.get(n, (f"{n}x1",))]
    best: tuple[float, Layout, list[_Slot], int, tuple[float, float]] | None = None
    for place, plan in enumerate(plans):
        for first, step in _columns(plan, spans, width, speed, bars):
            borders = first + step * np.arange(1, plan.columns)
            marked = [min(abs(x - b) for b in borders) < 1.5 * SCALE for x in bars] if len(borders) else []
            for order in ("standard", "cabrera"):
                for leads in _leads(plan, order):
                    slots = _slots(plan, leads, rows, spans, first, step)
                    score, named, offset = _borne_out(slots, rows, names)
                    score += 3.0 * _lawful(slots, rows) + (2.0 * float(np.mean(marked)) if marked else 0.0)
                    # What is rarer needs more to speak for it.
                    score -= (2.0 if plan.columns == 1 and n < 7 else 0.3) * place + 1.0 * (order == "cabrera")
                    if best is None or score > best[0]:
                        best = (score, plan, slots, named, offset)
    if best is None:
        raise EcgError(f"no layout is known for {n} rows of traces")
    _, plan, slots, named, offset = best
    main = [s for s in slots if not s.rhythm]
    if named < 0.34 * len(main) and wanted is None:
        warnings.append(f"the lead names could hardly be read ({named} of {len(main)}): the usual order of {plan} was taken")
    slots = _rhythm(slots, rows, names, offset)
    return plan, slots, float(np.clip(0.7 + 0.3 * named / max(len(main), 1), 0, 1))


def _columns(
    plan: Layout, spans: Sequence[tuple[float, float]], width: float, speed: float, bars: Sequence[float] = ()
) -> list[tuple[float, float]]:
    """Where the first column may begin, and how wide columns may be, pixels: all alike; where bars stand between them; or 10 s
    a row, of which the image shows a part."""
    a, b = spans[0]
    out = [(a, _column(b - a, plan.columns))]
    if 2 < plan.columns == len(bars) + 1:
        step = (bars[-1] - bars[0]) / (len(bars) - 1)
        if np.ptp(np.diff(bars)) < 0.04 * step and bars[0] - step > a - 6 * SCALE and bars[-1] < b:
            out.insert(0, (bars[0] - step, step))
    whole = 10.0 * speed * SCALE / plan.columns
    if plan.columns in (2, 4) and b - a < plan.columns * whole - 3 * SCALE:
        edge = 6 * SCALE
        if b > width - edge and b - a > 1.05 * whole:
            out.insert(0, (a, whole))
        if a < edge and b - a > 1.05 * whole:
            out.append((b - plan.columns * whole, whole))
    return out


# The limb leads as sums of I and II.
_LIMB = {"I": (1, 0), "II": (0, 1), "III": (-1, 1), "aVR": (-0.5, -0.5), "aVL": (1, -0.5), "aVF": (-0.5, 1)}


def _lawful(slots: Sequence[_Slot], rows: Sequence[Row]) -> float:
    """How well limb leads of one time obey Einthoven's law as they are named, 0..1, mean over such groups; 0.5 where there are
    none."""
    groups: dict[tuple[float, float], list[_Slot]] = {}
    for slot in slots:
        if not slot.rhythm and slot.lead in _LIMB:
            groups.setdefault((slot.left, slot.right), []).append(slot)
    found = []
    for (left, right), group in groups.items():
        a, b = max(round(left) + 4, 0), round(right) - 4
        y = np.array([rows[s.row].y[a:b] * s.sign for s in group])
        y = y[:, np.isfinite(y).all(axis=0)]
        if len(group) < 3 or y.shape[1] < 10 * SCALE:
            continue
        y = y - np.median(y, axis=1, keepdims=True)
        y = np.clip(y, -12 * SCALE, 12 * SCALE)  # a tall stroke misread is one fault, not all of the sum
        basis = np.array([_LIMB[s.lead] for s in group], np.float64)
        rest = y - basis @ (np.linalg.pinv(basis) @ y)
        share = float((rest**2).sum() / max(float((y**2).sum()), 1e-9)) * len(group) / (len(group) - 2)
        found.append(max(1 - share, 0.0))
    return float(np.mean(found)) if found else 0.5


def _leads(plan: Layout, order: str) -> list[tuple[tuple[str, int], ...]]:
    """What may stand in a layout's places, column by column."""
    signed = tuple((name.lstrip("-"), -1 if name.startswith("-") else 1) for name in ORDERS[order])
    if plan.leads:
        return [tuple((name.lstrip("-"), -1 if name.startswith("-") else 1) for name in plan.leads)]
    places = plan.rows * plan.columns
    if places >= 12:
        return [signed]
    if places == 6:
        return [signed[:6], signed[6:]]
    if places == 1:
        return [(("II", 1),), *(((lead, 1),) for lead in ORDERS["standard"])]
    return [signed[k : k + places] for k in range(0, 12 - places + 1, 1 if places < 4 else 3)]


def _slots(
    plan: Layout,
    leads: Sequence[tuple[str, int]],
    rows: Sequence[Row],
    spans: Sequence[tuple[float, float]],
    first: float,
    step: float,
) -> list[_Slot]:
    out = []
    for place in range(min(plan.rows * plan.columns, len(leads))):
        c, r = divmod(place, plan.rows)
        if r < len(rows):
            a, b = spans[r]
            left, right = max(first + c * step, a), min(first + (c + 1) * step, b + 0.5 * SCALE)
            if right - left > 5 * SCALE:
                out.append(_Slot(*leads[place], r, left, right))
    for k in range(plan.rhythm):
        r = plan.rows + k
        if r < len(rows):
            a, b = spans[r]
            out.append(_Slot(RHYTHM[plan.rhythm][k], 1, r, a, b, True))
    return out


def _column(width: float, columns: int) -> float:
    """A column's width, pixels: whole 2.5 mm over all columns where that is near, for recorders print round seconds."""
    whole = round(width / SCALE / 2.5) * 2.5 * SCALE
    return (whole if abs(whole - width) < 1.0 * SCALE else width) / columns


def _borne_out(slots: Sequence[_Slot], rows: Sequence[Row], names: Sequence[Name]) -> tuple[float, int, tuple[float, float]]:
    """How well the names that were read stand where a layout would have them: the sum of how sure they are, how many, and how
    far (mm) they stand from where their strips begin. A recorder prints all names alike."""
    main = [s for s in slots if not s.rhythm]
    best, count, at = 0.0, 0, (0.0, 0.0)
    if not names or not main:
        return best, count, at
    dx = np.array([n.x for n in names])[None] - np.array([s.left for s in main])[:, None] / SCALE
    dy = np.array([n.y for n in names])[None] - np.array([rows[s.row].baseline for s in main])[:, None] / SCALE
    same = np.array([[n.lead == s.lead and n.sign == s.sign for n in names] for s in main], bool)
    sure = np.where(same, np.array([n.sure for n in names])[None], 0.0)
    for across in np.arange(-12.0, 32.0, 2.0):
        near = np.where(np.abs(dx - across) < 3.5, sure, 0.0)
        if near.max(axis=1).sum() <= best:
            continue
        for down in np.arange(-18.0, 16.5, 1.5):
            each = np.where(np.abs(dy - down) < 3.5, near, 0.0).max(axis=1)
            # Names stand near the beginning, rather than far inside.
            total = float(each.sum()) - 0.01 * abs(across) - 0.03 * max(across - 10.0, 0.0)
            if total > best:
                best, count, at = total, int((each > 0.3).sum()), (float(across), float(down))
    return best, count, at


def _rhythm(slots: list[_Slot], rows: Sequence[Row], names: Sequence[Name], offset: tuple[float, float]) -> list[_Slot]:
    """Rhythm strips named: by the name printed, and by which lead's strip they repeat, for both show the same time."""
    main = [s for s in slots if not s.rhythm]
    out = list(main)
    for slot in (s for s in slots if s.rhythm):
        y = rows[slot.row].y
        best, lead = 0.0, slot.lead
        read: dict[str, float] = {}
        printed: dict[str, float] = {}  # where this sheet's names stand
        for n in names:
            dx, dy = n.x - slot.left / SCALE, n.y - rows[slot.row].baseline / SCALE
            placed = abs(dx - offset[0]) < 6 and abs(dy - offset[1]) < 5
            if placed or (abs(dx) < 12 and abs(dy) < 9):
                # What stands elsewhere than this sheet's names may be a pulse.
                read[n.lead] = max(read.get(n.lead, 0.0), n.sure if placed else 0.5 * n.sure)
            if placed:
                printed[n.lead] = max(printed.get(n.lead, 0.0), n.sure)
        like: dict[str, float] = {}
        for other in main:
            a, b = round(other.left) + SCALE, round(other.right) - SCALE
            likeness = like[other.lead] = _likeness(y[a:b], rows[other.row].y[a:b]) * other.sign
            # A name that the curve contradicts was misread.
            named = 0.8 * read.get(other.lead, 0.0) if likeness > 0.4 else 0.0
            score = max(likeness, 0.0) + named + 0.25 * (other.lead == slot.lead)
            if score > best:
                best, lead = score, other.lead
        # Some recorders print the strip of another time. Then nothing is like it, and the name stands.
        told = max(printed, key=lambda name: printed[name], default="")
        if told in like and printed[told] > 0.9 and max(like.values()) < 0.9 and best < 1.5:
            out.append(replace(slot, lead=told))
            continue
        out.append(replace(slot, lead=lead) if best > 0.8 else slot)
    return out


def _likeness(a: Floats, b: Floats) -> float:
    """How far one curve is the other, -1..1, the height of their waves with it."""
    n = min(len(a), len(b))
    good = np.isfinite(a[:n]) & np.isfinite(b[:n])
    if good.sum() < 10 * SCALE:
        return 0.0
    p, q = a[:n][good] - a[:n][good].mean(), b[:n][good] - b[:n][good].mean()
    return float(2 * (p @ q) / (p @ p + q @ q + 1e-9))
