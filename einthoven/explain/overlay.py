"""An explanation drawn on the ECG's page: a marker pen's stroke under the trace, orange for the label, blue against it.

A method that cannot tell leads apart colours the time in all strips alike. `on_page` is the way back from a heat map over the
pixels of a page to (lead, time).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.explain.explanation import Doubles, Explanation
from einthoven.io.files import replacing
from einthoven.paper.page import Page, Strip
from einthoven.paper.palette import rgb
from einthoven.record import Record, WrongUse

FOR, AGAINST = "#ff5a00", "#1f78ff"
FORMATS = (".png", ".svg", ".json")
_PEN_MM = 3.6  # width of the marker pen
_LEVELS = 12  # strengths of colour
_WASH = 0.45  # of full colour, at most, where whole stretches of time are coloured
_FAINT = 0.06  # what is weaker is not drawn
_ABOVE_MM, _BELOW_MM = 12.0, 8.0  # of the baseline, what a time is coloured over


def save(record: Record, made: Explanation, path: str | Path, *, dpi: float = 150, palette: str = "grey") -> None:
    """Draws the explanation into a PNG or SVG, or writes it as JSON, by the suffix. Raises EcgError for another one."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise WrongUse(f"an explanation is written as {', '.join(FORMATS)}, not {suffix or 'without a suffix'}", path=path)
    if suffix == ".json":
        import json

        data = (json.dumps(made.to_dict(), ensure_ascii=False, allow_nan=False) + "\n").encode()
    elif suffix == ".svg":
        data = to_svg(record, made, palette=palette).encode()
    else:
        from einthoven.paper.render import png_bytes

        data = png_bytes(draw(record, made, dpi=dpi, palette=palette)[0], dpi)
    with replacing(path) as draft:
        draft.write_bytes(data)


def prepare(record: Record, made: Explanation, *, dpi: float = 150, **options: Any) -> Page:
    """The sheet of the record with the explanation's words in its header; options as in paper.render.prepare."""
    from einthoven.paper import render

    return render.prepare(record, dpi=dpi, start=_start(record, made), conclusions=words(made), **options)


def words(made: Explanation) -> tuple[str, ...]:
    """What a reader has to know of the picture."""
    what = made.text or made.label
    most, least = (_named(made.shares.largest(count, sign)) for count, sign in ((4, 1), (2, -1)))
    colours = "orange: for it, blue: against it" if made.signed else "orange: what counts for it"
    where = "" if made.per_lead else ", leads not told apart"
    return (
        f"{made.model}: {what} {_value(made)}",
        f"Coloured: {made.method}{where}; {colours}.",
        f"For it: {most or 'nothing'}." + (f" Against: {least}." if least else ""),
    )


def _named(found: list[tuple[str, str, float]]) -> str:
    return ", ".join(f"{wave} {'' if lead == 'all' else f'in {lead} '}{share:.0%}" for lead, wave, share in found)


def _value(made: Explanation) -> str:
    return f"{made.probability:.0%}" if 0 <= made.probability <= 1 else f"{made.probability:.3g}"


def _start(record: Record, made: Explanation) -> float:
    return made.start if 0 < made.start < record.duration else 0.0


def draw(
    record: Record, made: Explanation, *, dpi: float = 150, palette: str = "grey", **options: Any
) -> tuple[NDArray[np.uint8], Page]:
    """-> RGB (H, W, 3) uint8 and its Page. Options as in paper.render.prepare."""
    from einthoven.paper import render

    page = prepare(record, made, dpi=dpi, **options)
    image = render.draw(record, page, palette=palette).rgb()
    return tinted(image, *pen(record, page, made)), page


def tinted(image: NDArray[np.uint8], positive: Doubles, negative: Doubles) -> NDArray[np.uint8]:
    """The image (H, W, 3) under two transparent inks, 0..1 (H, W) each: what is printed stays readable."""
    out = image.astype(np.float32)
    for ink, colour in ((positive, FOR), (negative, AGAINST)):
        keep = 1 - ink[..., None].astype(np.float32) * (1 - np.array(rgb(colour), np.float32) / 255)
        out *= keep
    made: NDArray[np.uint8] = np.round(out).astype(np.uint8)
    return made


def pen(record: Record, page: Page, made: Explanation) -> tuple[Doubles, Doubles]:
    """Strength of the two inks, for and against, at each pixel of the page: (H, W) 0..1."""
    import cv2

    inks = np.zeros((2, *page.shape), np.uint8)
    scale = page.px_per_mm
    for strip in page.strips:
        for sign, level, xs, ys in _runs(record, page, strip, made):
            ink, value = inks[0 if sign > 0 else 1], round(255 * (1.0 if made.per_lead else _WASH) * level / _LEVELS)
            if made.per_lead:
                points = np.round((np.stack([xs, ys], 1) * scale - 0.5) * 16).astype(np.int32)
                # Runs come weakest first, so the strongest ink stays on top.
                cv2.polylines(ink, [points], False, (value,), max(round(_PEN_MM * scale), 1), cv2.LINE_AA, 4)
            else:
                top, bottom = (max(round(v * scale), 0) for v in _band(strip))
                left, right = round(xs[0] * scale), round(xs[-1] * scale) + 1
                ink[top:bottom, left:right] = np.maximum(ink[top:bottom, left:right], value)
    soft = [cv2.GaussianBlur(ink, (0, 0), max(0.35 * scale, 0.5)) for ink in inks]
    return soft[0].astype(np.float64) / 255, soft[1].astype(np.float64) / 255


def to_svg(record: Record, made: Explanation, *, palette: str = "grey", inline: bool = False, **options: Any) -> str:
    """The page with the explanation as SVG."""
    from einthoven.paper import vector

    page = prepare(record, made, **options)
    svg = vector.to_svg(record, page, palette=palette, inline=inline)
    strokes = []
    for strip in page.strips:
        for sign, level, xs, ys in _runs(record, page, strip, made):
            colour, opacity = FOR if sign > 0 else AGAINST, (0.85 if made.per_lead else _WASH) * level / _LEVELS
            if made.per_lead:
                at = " ".join(f"{x:.2f},{y:.2f}" for x, y in zip(*vector.simplify(xs, ys, 0.1), strict=True))
                strokes.append(f'<polyline points="{at}" stroke="{colour}" stroke-opacity="{opacity:.2f}"/>')
            else:
                top, bottom = _band(strip)
                strokes.append(
                    f'<rect x="{xs[0]:.2f}" y="{top:.2f}" width="{max(xs[-1] - xs[0], 0.05):.2f}" height="{bottom - top:.2f}" '
                    f'fill="{colour}" fill-opacity="{opacity:.2f}" stroke="none"/>'
                )
    group = (
        f'<g class="evidence" style="mix-blend-mode:multiply" fill="none" stroke-width="{_PEN_MM:g}" stroke-linejoin="round" '
        f'stroke-linecap="butt">{"".join(strokes)}</g>\n'
    )
    before, mark, after = svg.partition("<clipPath")  # after the grid, before the traces
    return before + group + mark + after


def _band(strip: Strip) -> tuple[float, float]:
    return max(strip.baseline - _ABOVE_MM, strip.box.top), min(strip.baseline + _BELOW_MM, strip.box.bottom)


def _runs(record: Record, page: Page, strip: Strip, made: Explanation) -> list[tuple[int, int, Doubles, Doubles]]:
    """Stretches of a strip's trace of one colour: (sign, level 1.._LEVELS, x mm, y mm), the weakest first."""
    from einthoven.paper.trace import trace

    if strip.lead not in made.leads and made.per_lead:
        return []
    heat = made.heat[made.leads.index(strip.lead) if made.per_lead else 0]
    grid = made.start + np.arange(len(heat)) / made.fs
    found: list[tuple[int, int, Doubles, Doubles]] = []
    for xs, ys in trace(record, page, strip):
        seconds, _ = page.from_mm(strip, xs, ys)
        here = np.interp(seconds, grid, heat, left=0.0, right=0.0)
        level = np.where(np.abs(here) < _FAINT, 0, np.sign(here) * np.ceil(np.abs(here) * _LEVELS)).astype(int)
        edges = np.flatnonzero(np.diff(level)) + 1
        for part in np.split(np.arange(len(level)), edges):
            if level[part[0]]:
                # One point more, so that neighbouring stretches meet.
                part = np.arange(part[0], min(part[-1] + 2, len(level)))
                found.append((int(np.sign(level[part[0]])), abs(int(level[part[0]])), xs[part], ys[part]))
    return sorted(found, key=lambda run: run[1])


def on_page(
    heat: Doubles, page: Page, leads: tuple[str, ...], fs: float, samples: int, start: float = 0.0
) -> tuple[Doubles, float]:
    """A map over the page's pixels (H, W) -> evidence by (lead, time), (L, T), and the share of it off all strips.

    Every column of a strip's box is summed up and given to the lead that is drawn there, at its time; a lead drawn twice gets
    both. Evidence outside the boxes (header, margins) belongs to no lead.
    """
    out = np.zeros((len(leads), samples))
    scale = page.px_per_mm
    taken = np.zeros(heat.shape, bool)
    for strip in page.strips:
        if strip.lead not in leads:
            continue
        rows = slice(max(round(strip.box.top * scale), 0), round(strip.box.bottom * scale))
        first = max(round(strip.box.left * scale), 0)
        last = min(round((strip.x + (strip.stop - strip.start) * page.speed) * scale), heat.shape[1])
        columns = np.arange(first, last)
        free = ~taken[rows, first:last]
        taken[rows, first:last] = True
        column = (heat[rows, first:last] * free).sum(0)
        seconds, _ = page.from_pixel(strip, columns, np.zeros(len(columns)))
        # A pixel covers several samples, or a part of one: its evidence is spread over the time that it covers.
        edges = np.concatenate([seconds - 0.5 / (scale * page.speed), seconds[-1:] + 0.5 / (scale * page.speed)])
        total = np.interp(start + (np.arange(samples + 1) - 0.5) / fs, edges, np.concatenate([[0.0], np.cumsum(column)]))
        out[leads.index(strip.lead)] += np.diff(total)
    all_of_it = float(np.abs(heat).sum())
    return out, 1 - float(np.abs(heat[taken]).sum()) / all_of_it if all_of_it else 0.0
