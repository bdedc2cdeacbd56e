"""`Page`: an ECG's sheet of paper as pure geometry, in millimetres, with the exact map (lead, s, mV) -> pixel and back.

Renderer, digitiser, web viewer and PDF share it. Lengths are mm from the upper left corner of the sheet, x right, y down.

Pixel convention: pixel (row j, column i) of an image has its centre at coordinates x = i, y = j (as in OpenCV and numpy)
and covers half a pixel to each side. The sheet's left edge is therefore at x = -0.5, and x_px = x_mm * dpi / 25.4 - 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einthoven.record import EcgError, Record, Signal, canonical_order

Floats = NDArray[np.float64]

MM_PER_INCH = 25.4
LETTER, A4 = (279.4, 215.9), (297.0, 210.0)  # landscape, mm
SIZES: Mapping[str, tuple[float, float]] = {"letter": LETTER, "a4": A4}

# The limb leads as recorded since Goldberger, and by their angle in the frontal plane (Cabrera; AHA/ACCF/HRS 2007 part I).
STANDARD_ORDER = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
CABRERA_ORDER = ("aVL", "I", "-aVR", "II", "aVF", "III", "V1", "V2", "V3", "V4", "V5", "V6")
ORDERS: Mapping[str, tuple[str, ...]] = {"standard": STANDARD_ORDER, "cabrera": CABRERA_ORDER}
RHYTHM: Mapping[int, tuple[str, ...]] = {0: (), 1: ("II",), 2: ("II", "V1"), 3: ("V1", "II", "V5")}

_PULSE_MM = 10.0  # what the calibration pulse and its margins take at the left of each row
_MARGIN_MM = 5.0
_HEADER_MM, _FOOTER_MM = 31.0, 9.0
_MOST_PIXELS = 250e6
_LABEL_MM = 3.4  # letter height (em) of lead labels


@dataclass(frozen=True)
class Box:
    """A rectangle on the sheet, mm."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True)
class Strip:
    """One lead's trace on the sheet, from `start` to `stop` seconds of the record.

    `x` is where `start` lies, `baseline` where `zero_mv` lies (0 unless a constant offset is taken out of the drawing; then
    the page's notes say so). `sign` is -1 for -aVR. `box` is the room the strip has; a tall QRS may leave it, as on a recorder.
    """

    lead: str
    start: float
    stop: float
    x: float
    baseline: float
    box: Box
    sign: int = 1
    zero_mv: float = 0.0
    rhythm: bool = False

    @property
    def label(self) -> str:
        return f"-{self.lead}" if self.sign < 0 else self.lead


@dataclass(frozen=True)
class Text:
    """Words on the sheet: `x`, `y` of the base line's start ("start"), middle or end, `size` the letters' em in mm."""

    x: float
    y: float
    size: float
    text: str
    bold: bool = False
    anchor: str = "start"


@dataclass(frozen=True)
class Page:
    """A sheet: `size` (width, height) mm, the `grid`'s box, and what lies on it.

    speed mm/s, gain mm/mV, dpi pixels per inch. pulses: calibration pulses, rules: lead separators, polylines in mm.
    notes: what a careful reader of this sheet should know (a lead not recorded, an offset taken out, a part not shown).
    """

    speed: float
    gain: float
    dpi: float
    size: tuple[float, float]
    layout: str
    grid: Box
    strips: tuple[Strip, ...]
    texts: tuple[Text, ...] = ()
    pulses: tuple[tuple[tuple[float, float], ...], ...] = ()
    rules: tuple[tuple[tuple[float, float], ...], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def px_per_mm(self) -> float:
        return self.dpi / MM_PER_INCH

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the page's image."""
        return round(self.size[1] * self.px_per_mm), round(self.size[0] * self.px_per_mm)

    def strip(self, lead: str, at: float | None = None) -> Strip:
        """The first strip of a lead, or the first that shows it at `at` seconds. Raises EcgError where there is none."""
        for strip in self.strips:
            if strip.lead == lead and (at is None or strip.start <= at <= strip.stop):
                return strip
        raise EcgError(f"lead {lead} is not on this page" + ("" if at is None else f" at {at:g} s"))

    def to_mm(self, strip: Strip, seconds: ArrayLike, mv: ArrayLike) -> tuple[Floats, Floats]:
        """Times in s and potentials in mV of a strip's lead -> x, y in mm."""
        x = strip.x + (np.asarray(seconds, np.float64) - strip.start) * self.speed
        y = strip.baseline - strip.sign * (np.asarray(mv, np.float64) - strip.zero_mv) * self.gain
        return x, y

    def from_mm(self, strip: Strip, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """The inverse of to_mm: x, y in mm -> seconds, mV."""
        seconds = strip.start + (np.asarray(x, np.float64) - strip.x) / self.speed
        mv = strip.zero_mv + (strip.baseline - np.asarray(y, np.float64)) / (self.gain * strip.sign)
        return seconds, mv

    def to_pixel(self, strip: Strip | str, seconds: ArrayLike, mv: ArrayLike) -> tuple[Floats, Floats]:
        """(strip or lead, s, mV) -> x, y in pixels (integers are pixel centres)."""
        x, y = self.to_mm(self.strip(strip) if isinstance(strip, str) else strip, seconds, mv)
        return x * self.px_per_mm - 0.5, y * self.px_per_mm - 0.5

    def from_pixel(self, strip: Strip | str, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """The inverse of to_pixel: pixels -> seconds, mV."""
        x_mm = (np.asarray(x, np.float64) + 0.5) / self.px_per_mm
        y_mm = (np.asarray(y, np.float64) + 0.5) / self.px_per_mm
        return self.from_mm(self.strip(strip) if isinstance(strip, str) else strip, x_mm, y_mm)

    def framed(self, shape: tuple[int, int]) -> Page:
        """The page of a picture (rows, columns) that shows this one whole, in its proportions and in the middle: a larger
        sheet, on which everything lies where it lies in the picture."""
        tall, wide = self.shape
        scale = min(shape[1] / wide, shape[0] / tall)  # pixels of the picture to one of the page
        per_mm = scale * self.px_per_mm
        dx, dy = (shape[1] - scale * wide) / 2 / per_mm, (shape[0] - scale * tall) / 2 / per_mm

        def box(b: Box) -> Box:
            return Box(b.left + dx, b.top + dy, b.right + dx, b.bottom + dy)

        def lines(given: tuple[tuple[tuple[float, float], ...], ...]) -> tuple[tuple[tuple[float, float], ...], ...]:
            return tuple(tuple((x + dx, y + dy) for x, y in line) for line in given)

        return replace(
            self,
            dpi=per_mm * MM_PER_INCH,
            size=(shape[1] / per_mm, shape[0] / per_mm),
            grid=box(self.grid),
            strips=tuple(replace(s, x=s.x + dx, baseline=s.baseline + dy, box=box(s.box)) for s in self.strips),
            texts=tuple(replace(t, x=t.x + dx, y=t.y + dy) for t in self.texts),
            pulses=lines(self.pulses),
            rules=lines(self.rules),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Page.from_dict` reads them back."""
        # Not dataclasses.asdict, which copies every number by itself and takes longer than drawing a small page.
        strips = [{**vars(strip), "box": dict(vars(strip.box))} for strip in self.strips]
        texts = [dict(vars(text)) for text in self.texts]
        return {**vars(self), "grid": dict(vars(self.grid)), "strips": strips, "texts": texts}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Page:
        def lines(name: str) -> tuple[tuple[tuple[float, float], ...], ...]:
            return tuple(tuple((float(x), float(y)) for x, y in line) for line in d[name])

        return cls(
            speed=d["speed"],
            gain=d["gain"],
            dpi=d["dpi"],
            size=(d["size"][0], d["size"][1]),
            layout=d["layout"],
            grid=Box(**d["grid"]),
            strips=tuple(Strip(**{**s, "box": Box(**s["box"])}) for s in d["strips"]),
            texts=tuple(Text(**t) for t in d["texts"]),
            pulses=lines("pulses"),
            rules=lines("rules"),
            notes=tuple(d["notes"]),
        )


@dataclass(frozen=True)
class Layout:
    """`rows` x `columns` leads (filled column by column), `rhythm` strips over the whole width below; `leads` where named."""

    rows: int
    columns: int
    rhythm: int = 0
    leads: tuple[str, ...] = ()

    def __str__(self) -> str:
        rhythm = f"+{self.rhythm}" if self.rhythm else ""
        return f"{self.rows}x{self.columns}{rhythm}" + (f":{','.join(self.leads)}" if self.leads else "")


def parse_layout(text: str) -> Layout:
    """ "3x4+1" -> Layout(3, 4, 1); "1x1:II" and "2x1:II,V1" name their leads. Raises EcgError for anything else."""
    form, _, named = text.partition(":")
    grid, _, rhythm = form.lower().partition("+")
    rows, cross, columns = grid.partition("x")
    numbers = (rows, columns, rhythm or "0")
    if not cross or not all(n.isascii() and n.isdigit() for n in numbers):
        raise EcgError(f"layout {text!r} is not ROWSxCOLUMNS[+RHYTHM][:LEAD,LEAD] (3x4+1, 12x1, 1x1:II)")
    layout = Layout(int(rows), int(columns), int(rhythm or 0), tuple(n for n in named.split(",") if n))
    if not (1 <= layout.rows <= 24 and 1 <= layout.columns <= 6 and layout.rhythm <= 3):
        raise EcgError(f"layout {text!r}: at most 24 rows, 6 columns and 3 rhythm strips, at least 1x1")
    return layout


def auto_layout(leads: Sequence[str], seconds: float, width_s: float) -> Layout:
    """The usual layout for what was recorded: 12 leads 3x4+1, 8 leads 4x2+1, few leads a row each, one long lead in lines."""
    n = len(leads)
    if n == 1:
        return Layout(min(max(math.ceil(seconds / width_s - 1e-6), 1), 6), 1, leads=tuple(leads))
    if n <= 6:
        return Layout(n, 1)
    if n <= 8:
        return Layout(math.ceil(n / 2), 2, 1)
    if n <= 12:
        return Layout(3, 4, 1)
    return Layout(3, math.ceil(n / 3), 1) if n <= 18 else Layout(12, 2)


def lay_out(
    record: Record,
    *,
    layout: str | Layout = "auto",
    speed: float = 25,
    gain: float = 10,
    dpi: float = 200,
    size: str | tuple[float, float] = "letter",
    order: str = "standard",
    rhythm: Sequence[str] = (),
    start: float = 0.0,
    header: bool = True,
) -> Page:
    """Where everything of a record lies on a sheet; texts but the lead labels are added by `header.write_header`.

    Columns show successive stretches of time, as recorders print them; where the record is too short for that, each column
    shows its last stretch. Raises EcgError for a layout that cannot be and for figures that are not positive.
    """
    for name, value in (("speed", speed), ("gain", gain), ("dpi", dpi)):
        if not (math.isfinite(value) and value > 0):
            raise EcgError(f"{name} must be positive, not {value}")
    if not 0 <= start < max(record.duration, 1e-9):
        raise EcgError(f"start must lie within the record's {record.duration:g} s, not at {start} s", path=record.source.path)
    if order not in ORDERS:
        raise EcgError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    if isinstance(size, str) and size not in SIZES:
        raise EcgError(f"paper size must be one of {', '.join(SIZES)} or (width, height) in mm, not {size!r}")
    sheet = SIZES[size] if isinstance(size, str) else (float(size[0]), float(size[1]))
    if sheet[0] * sheet[1] * (dpi / MM_PER_INCH) ** 2 > _MOST_PIXELS:
        raise EcgError(f"{sheet[0]:g} x {sheet[1]:g} mm at {dpi:g} dpi are more than {_MOST_PIXELS / 1e6:.0f} million pixels")
    if not record.leads:
        raise EcgError("a record without leads cannot be drawn", path=record.source.path)

    # The grid: whole 5 mm squares, wide enough for 10 s (or the record) where the sheet is, centred.
    room = math.floor((sheet[0] - 2 * _MARGIN_MM) / 5) * 5.0
    width = min(room - _PULSE_MM - 5, max(math.ceil(record.duration * speed / 5 - 1e-6) * 5.0, 10 * speed))
    top = _HEADER_MM if header else _MARGIN_MM
    height = math.floor((sheet[1] - top - _FOOTER_MM) / 5) * 5.0
    if width < 20 or height < 20:
        raise EcgError(f"no room for an ECG on {sheet[0]:g} x {sheet[1]:g} mm")
    left = (sheet[0] - width - _PULSE_MM - 5) / 2
    grid = Box(left, top, left + width + _PULSE_MM + 5, top + height)

    if isinstance(layout, Layout):
        plan = layout
    elif layout == "auto":
        plan = auto_layout(canonical_order(record.leads), record.duration - start, width / speed)
    else:
        plan = parse_layout(layout)
    notes: list[str] = []
    rows = _rows(record, plan, order, tuple(rhythm), start, width / speed, notes)
    slots = [slot for row in rows for slot in row]
    shown = min(slot.start for slot in slots), max(slot.start + slot.seconds for slot in slots)
    offsets = {name: _offset(record, name, *shown) for name in dict.fromkeys(slot.lead for slot in slots)}
    moved = [f"{name} {mv:+.2f}" for name, mv in offsets.items() if mv]
    notes += [f"offset not drawn: {', '.join(moved)} mV"] if moved else []

    placed: list[Strip] = []
    for row, (baseline, upper, lower) in zip(rows, _baselines(record, rows, offsets, grid, gain, width / speed), strict=True):
        step = width / (1 if row[0].rhythm else plan.columns)
        for slot in row:
            x = grid.left + _PULSE_MM + slot.column * step
            box = Box(x, upper, x + step, lower)
            stop = min(slot.start + step / speed, record.duration)
            placed.append(Strip(slot.lead, slot.start, stop, x, baseline, box, slot.sign, offsets[slot.lead], slot.rhythm))
    notes += _part_shown(record, placed)
    off = dict.fromkeys(strip.label for strip in placed if _leaves(record, strip, grid, gain))
    notes += [f"runs off the paper: {', '.join(off)}"] if off else []

    # A calibration pulse in every row where it does not run into the row above.
    pulses: list[tuple[tuple[float, float], ...]] = []
    above = -math.inf
    for baseline in dict.fromkeys(s.baseline for s in placed):
        if not pulses or baseline - gain > above + 0.5:
            pulses.append(_pulse(grid.left + 1.5, baseline, gain, speed))
            above = baseline
    rules = [
        ((strip.x, strip.baseline + s * 2.0), (strip.x, strip.baseline + s * 4.5))
        for strip in placed
        if strip.x > grid.left + _PULSE_MM + 1e-6
        for s in (-1, 1)
    ]
    page = Page(speed, gain, dpi, sheet, str(plan), grid, tuple(placed), (), tuple(pulses), tuple(rules), tuple(notes))
    return replace(page, texts=_labels(record, page))


@dataclass(frozen=True)
class _Slot:
    lead: str
    sign: int
    column: int
    start: float
    seconds: float
    rhythm: bool = False


def _rows(
    record: Record, plan: Layout, order: str, rhythm: tuple[str, ...], start: float, width_s: float, notes: list[str]
) -> list[list[_Slot]]:
    """What stands in each row; slots of leads that were not recorded stay empty and are noted."""
    if plan.leads:
        wanted = plan.leads
    else:
        known = [n for n in ORDERS[order] if _signed(record, n)[0] in record.leads]
        # A 12-lead form keeps its places; a form for fewer leads takes what there is, in order.
        whole = plan.rows * plan.columns >= 12
        wanted = (ORDERS[order] if whole and len(known) >= 6 else tuple(known)) + tuple(
            n for n in record.leads if n not in STANDARD_ORDER
        )
    slots = plan.rows * plan.columns
    if len(set(wanted)) == 1 and slots > 1:  # one lead in lines of successive time
        lead, sign = _signed(record, wanted[0])
        record.lead(lead)
        step = width_s / plan.columns
        starts = [start + k * step for k in range(slots)]
        lines = [
            [_Slot(lead, sign, c, starts[r * plan.columns + c], step) for c in range(plan.columns)] for r in range(plan.rows)
        ]
        kept = [[s for s in row if s.start < record.duration] for row in lines]
        return [row for row in kept if row] or lines[:1]
    if len(wanted) > slots:
        notes.append(f"not shown: {', '.join(wanted[slots:])}")
        wanted = wanted[:slots]
    absent = [n for n in wanted if _signed(record, n)[0] not in record.leads]
    if plan.leads:
        for name in absent:
            record.lead(_signed(record, name)[0])  # raises, naming what was recorded
    if absent:
        notes.append(f"not recorded: {', '.join(absent)}")
    step = width_s / plan.columns
    rows: list[list[_Slot]] = []
    for r in range(plan.rows):
        row = []
        for c in range(plan.columns):
            place = c * plan.rows + r
            if place < len(wanted) and wanted[place] not in absent:
                lead, sign = _signed(record, wanted[place])
                begin = min(start + c * step, max(record.duration - step, start, 0.0))
                row.append(_Slot(lead, sign, c, begin, step))
        if row:
            rows.append(row)
    if rhythm and len(rhythm) != plan.rhythm:
        raise EcgError(f"{len(rhythm)} rhythm leads for a layout with {plan.rhythm} rhythm strips")
    chosen = [n for n in rhythm or RHYTHM[plan.rhythm] if n in record.leads or n in rhythm]
    spare = [n for n in ("II", "V1", "V5", *record.leads) if n in record.leads and n not in chosen]
    for name in (*chosen, *spare)[: plan.rhythm]:
        record.lead(name)
        rows.append([_Slot(name, 1, 0, start, width_s, True)])
    if not rows:
        raise EcgError("none of the layout's leads was recorded", path=record.source.path)
    return rows


def _signed(record: Record, name: str) -> tuple[str, int]:
    """A name in a layout as (lead, sign): -aVR is aVR turned over, unless a lead of that very name was recorded."""
    return (name[1:], -1) if name.startswith("-") and name not in record.leads else (name, 1)


def _stretch(record: Record, lead: str, start: float, seconds: float) -> Signal:
    a = max(math.floor(start * record.fs), 0)
    return record.lead(lead)[a : max(math.ceil((start + seconds) * record.fs) + 1, a)]


def _offset(record: Record, lead: str, start: float, stop: float) -> float:
    """Paper has no absolute zero (recorders are AC coupled): a median beyond 0.3 mV is an electrode's, not the heart's."""
    x = _stretch(record, lead, start, stop - start)
    x = x[np.isfinite(x)]
    middle = float(np.median(x)) if len(x) else 0.0
    return round(middle, 3) if abs(middle) > 0.3 else 0.0


def _baselines(
    record: Record, rows: list[list[_Slot]], offsets: Mapping[str, float], grid: Box, gain: float, seconds: float
) -> list[tuple[float, float, float]]:
    """(baseline, top, bottom) mm of each row: evenly spaced where no traces meet so, else rows share the room by their need.

    Baselines lie on millimetre lines. seconds: what the paper's width shows.
    """
    n, room = len(rows), grid.height
    bins = 128  # of the paper's width; the first is the calibration pulse
    up, down = np.full((n, bins), 2.0), np.full((n, bins), 2.0)
    for r, row in enumerate(rows):
        up[r, 0], down[r, 0] = min(gain, 0.9 * room / n) + 1.0, 0.0
        for slot in row:
            x = _stretch(record, slot.lead, slot.start, slot.seconds).astype(np.float64)
            mm = slot.sign * (x - offsets[slot.lead]) * gain
            good = np.isfinite(mm)
            if not good.any():
                continue
            place = (slot.column * slot.seconds + np.arange(len(mm)) / record.fs) / seconds
            k = np.clip((place * (bins - 1)).astype(int) + 1, 1, bins - 1)[good]
            begin = np.flatnonzero(np.diff(k, prepend=-1))  # of each bin's samples, which follow one another
            for e, high in ((up[r], mm[good] + 1.0), (down[r], 1.0 - mm[good])):
                e[k[begin]] = np.maximum(e[k[begin]], np.maximum.reduceat(high, begin))
    # A line between two samples may cross a bin, so each bin sees its neighbours.
    for e in (up, down):
        wide = np.maximum(e[:, 1:-1], np.maximum(e[:, :-2], e[:, 2:]))
        e[:, 2:-1] = np.maximum(e[:, 2:-1], wide[:, 1:])
    between = (down[:-1] + up[1:]).max(axis=1)
    need = np.concatenate([[up[0].max()], between, [down[-1].max()]])
    ys = np.round(np.cumsum(_share(need, room)[:-1]))
    depth, height = down.max(axis=1), up.max(axis=1)
    inner = [ys[i] + (ys[i + 1] - ys[i]) * depth[i] / (depth[i] + height[i + 1]) for i in range(n - 1)]
    edges = [0.0, *(float(e) for e in inner), room]
    return [(grid.top + float(ys[i]), grid.top + edges[i], grid.top + edges[i + 1]) for i in range(n)]


def _share(need: Floats, room: float) -> Floats:
    """Distances (n + 1,) edge - rows - edge that fill `room`: what is needed, and the rest so that small ones become equal.

    Edges count half. Where the need is more than the room, the greatest give way, equally.
    """
    weight = np.ones(len(need))
    weight[[0, -1]] = 0.5
    enough = need.sum() <= room
    low, high = 0.0, room * 2
    for _ in range(50):  # bisection for the level that fills the room
        level = (low + high) / 2
        given = np.maximum(need, level * weight) if enough else np.minimum(need, level * weight)
        low, high = (level, high) if given.sum() < room else (low, level)
    return given


def _pulse(x: float, baseline: float, gain: float, speed: float) -> tuple[tuple[float, float], ...]:
    """The calibration pulse, 1 mV for 200 ms (at most 5 mm, its place), with 1 mm of base line to each side."""
    wide = min(0.2 * speed, 5.0)
    ys = (baseline, baseline, baseline - gain, baseline - gain, baseline, baseline)
    return tuple(zip((x, x + 1, x + 1, x + 1 + wide, x + 1 + wide, x + 2 + wide), ys, strict=True))


_PLACES = tuple((dx, dy) for dx in (1.0, 4.0, 8.0, 12.0, 16.0, 20.0) for dy in (-5.5, -3.5, -2.0)) + (
    (1.0, -8.0),
    (1.0, 5.5),
)


def _labels(record: Record, page: Page) -> tuple[Text, ...]:
    """Each lead's name near the beginning of its strip, above the base line, where it crosses no trace (or the fewest)."""
    lines = []
    for strip in page.strips:
        x = _stretch(record, strip.lead, strip.start, strip.stop - strip.start).astype(np.float64)
        at, y = page.to_mm(strip, strip.start + np.arange(len(x)) / record.fs, x)
        low, high = np.minimum(y[1:], y[:-1]), np.maximum(y[1:], y[:-1])
        if np.isfinite(low).any():
            lines.append((at, low, high, float(np.nanmin(low)), float(np.nanmax(high))))
    texts: list[Text] = []
    for strip in page.strips:
        width = 2.2 * len(strip.label)
        near = []
        for x, low, high, least, most in lines:
            if x[-1] < strip.x - 1 or x[0] > strip.x + 34 or most < strip.baseline - 12 or least > strip.baseline + 8:
                continue  # out of any place's reach
            a, b = np.searchsorted(x, strip.x - 1, "right"), np.searchsorted(x, strip.x + 34, "left")
            if b - a > 1:
                near.append((x[a : b - 1], x[a + 1 : b], low[a : b - 1], high[a : b - 1]))
        best, fewest = (1.0, -5.5), math.inf
        for dx, dy in _PLACES:
            left, bottom = strip.x + dx - 0.6, strip.baseline + dy + 0.5
            right, top = left + width + 1.2, bottom - _LABEL_MM * 0.72 - 1.0
            if top < page.grid.top or bottom > page.grid.bottom or right > strip.box.right:
                continue
            crossed = sum(_crossings(*steps, left, top, right, bottom) for steps in near)
            crossed += 99 * sum(left < t.x + 2.2 * len(t.text) and t.x < right and abs(bottom - t.y) < 4 for t in texts)
            if crossed < fewest:
                best, fewest = (dx, dy), crossed
            if not crossed:
                break
        texts.append(Text(strip.x + best[0], strip.baseline + best[1], _LABEL_MM, strip.label, bold=True))
    return tuple(texts)


def _crossings(
    begin: Floats, end: Floats, low: Floats, high: Floats, left: float, top: float, right: float, bottom: float
) -> int:
    """How many steps of a polyline touch a rectangle; begin, end: in x; low, high: in y."""
    return int(np.count_nonzero((end > left) & (begin < right) & (high > top) & (low < bottom)))


def _leaves(record: Record, strip: Strip, grid: Box, gain: float) -> bool:
    """Whether some of the strip's trace lies above or below the paper, where it is not drawn."""
    x = _stretch(record, strip.lead, strip.start, strip.stop - strip.start)
    x = x[np.isfinite(x)]
    if not len(x):
        return False
    ends = [strip.baseline - strip.sign * (float(mv) - strip.zero_mv) * gain for mv in (x.min(), x.max())]
    return min(ends) < grid.top or max(ends) > grid.bottom


def _part_shown(record: Record, strips: Sequence[Strip]) -> list[str]:
    """A page that does not show the whole record says which part it shows."""
    if not strips:
        return []
    first, last = min(s.start for s in strips), max(s.stop for s in strips)
    if last - first >= record.duration - 0.05:
        return []
    return [f"shown: {first:g}-{last:g} s of {round(record.duration, 2):.10g} s"]
