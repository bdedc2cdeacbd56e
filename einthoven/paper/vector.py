"""The same page as `render` draws, as vectors true to the millimetre: SVG sized in mm, PDF in points."""

from __future__ import annotations

import zlib
from html import escape

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.beats.fiducials import Beats
from einthoven.paper.page import Box, Floats, Page
from einthoven.paper.palette import RULE_MM, THICK_MM, THIN_MM, TRACE_MM, WAVES, bands, colours, mix
from einthoven.paper.pdf import PdfPage, write_pdf
from einthoven.paper.trace import trace
from einthoven.record import Record

_STEP = 100  # units of SVG paths to the millimetre
_FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"


def to_svg(
    record: Record,
    page: Page,
    *,
    palette: str = "pink",
    fiducials: Beats | None = None,
    tolerance: float = 0.01,
    inline: bool = False,
) -> str:
    """The page as SVG, 1 user unit = 1 mm; paths are in 1/100 mm under a scale.

    tolerance: how far (mm) a point left out of a path may lie from it.
    inline: for HTML, without XML head, as wide as its place.
    """
    paper, thin, thick, ink = colours(palette)
    w, h = page.size
    g = page.grid
    sized = f'width="{w:g}mm" height="{h:g}mm" ' if not inline else ""
    label = escape(f"ECG, {', '.join(dict.fromkeys(s.label for s in page.strips))}")
    out = [] if inline else ['<?xml version="1.0" encoding="UTF-8"?>']
    out += [
        f'<svg xmlns="http://www.w3.org/2000/svg" {sized}viewBox="0 0 {w:g} {h:g}" role="img" aria-label="{label}">',
        f'<rect width="{w:g}" height="{h:g}" fill="{_hex(paper)}"/>',
    ]
    for k, box in bands(page, fiducials):
        tinted = _hex(mix(paper, WAVES[k].colour))
        out.append(
            f'<rect x="{box.left:.2f}" y="{box.top:.2f}" width="{box.width:.2f}" height="{box.height:.2f}" fill="{tinted}"/>'
        )
    for step, width, colour in ((1, THIN_MM, thin), (5, THICK_MM, thick)):
        across = "".join(f"M{g.left + k * step:.6g} {g.top:.6g}v{g.height:.6g}" for k in range(round(g.width / step) + 1))
        down = "".join(f"M{g.left:.6g} {g.top + k * step:.6g}h{g.width:.6g}" for k in range(round(g.height / step) + 1))
        out.append(f'<path d="{across}{down}" fill="none" stroke="{_hex(colour)}" stroke-width="{width:g}"/>')
    clip = f"grid-{zlib.crc32(repr((page.size, g)).encode()):x}"  # several pages may stand in one HTML
    out.append(
        f'<clipPath id="{clip}">{_rectangle(g)}</clipPath><g clip-path="url(#{clip})"><g transform="scale({1 / _STEP:g})" '
        f'fill="none" stroke="{_hex(ink)}" stroke-linejoin="round" stroke-linecap="round">'
    )
    for name, width, lines in (("rule", RULE_MM, page.rules), ("pulse", TRACE_MM, page.pulses)):
        d = "".join(_path(*np.array(points, np.float64).T) for points in lines)
        if d:
            out.append(f'<path class="{name}" d="{d}" stroke-width="{width * _STEP:g}"/>')
    for i, strip in enumerate(page.strips):
        d = "".join(_path(*simplify(xs, ys, tolerance)) for xs, ys in trace(record, page, strip))
        if d:
            out.append(f'<path class="trace" data-strip="{i}" d="{d}" stroke-width="{TRACE_MM * _STEP:g}"/>')
    out.append("</g></g>")
    out.append(f'<g font-family="{_FONT}" fill="{_hex(ink)}">')
    for t in page.texts:
        weight = ' font-weight="600"' if t.bold else ""
        anchor = f' text-anchor="{t.anchor}"' if t.anchor != "start" else ""
        out.append(f'<text x="{t.x:.2f}" y="{t.y:.2f}" font-size="{t.size:g}"{weight}{anchor}>{escape(t.text)}</text>')
    out.append("</g></svg>")
    return "\n".join(out) + "\n"


def to_pdf(
    record: Record, page: Page, *, palette: str = "pink", fiducials: Beats | None = None, tolerance: float = 0.005
) -> bytes:
    """The page as a one-page PDF of vectors, true to the millimetre when printed at 100 %."""
    sheet = PdfPage(*page.size)
    paint(sheet, record, page, palette=palette, fiducials=fiducials, tolerance=tolerance)
    return write_pdf([sheet])


def paint(
    sheet: PdfPage,
    record: Record,
    page: Page,
    *,
    palette: str = "pink",
    fiducials: Beats | None = None,
    tolerance: float = 0.005,
) -> None:
    """Paints an ECG's page onto a sheet of PDF."""
    paper, thin, thick, ink = colours(palette)
    g = page.grid
    sheet.rectangle(g.left, g.top, g.right, g.bottom, paper)
    for k, box in bands(page, fiducials):
        sheet.rectangle(box.left, box.top, box.right, box.bottom, mix(paper, WAVES[k].colour))
    for step, width, colour in ((1, THIN_MM, thin), (5, THICK_MM, thick)):
        across = [((g.left + k * step,) * 2, (g.top, g.bottom)) for k in range(round(g.width / step) + 1)]
        down = [((g.left, g.right), (g.top + k * step,) * 2) for k in range(round(g.height / step) + 1)]
        sheet.lines(across + down, width, colour)
    sheet.clip(g.left, g.top, g.right, g.bottom)
    for width, lines in ((RULE_MM, page.rules), (TRACE_MM, page.pulses)):
        sheet.lines([tuple(np.array(points, np.float64).T) for points in lines], width, ink)
    for strip in page.strips:
        sheet.lines([simplify(xs, ys, tolerance) for xs, ys in trace(record, page, strip)], TRACE_MM, ink)
    sheet.unclip()
    for t in page.texts:
        sheet.text(t.x, t.y, t.size, t.text, bold=t.bold, anchor=t.anchor, colour=ink)


def simplify(xs: Floats, ys: Floats, tolerance: float) -> tuple[Floats, Floats]:
    """The polyline without points nearer than `tolerance` to the line through those kept (Douglas and Peucker 1973)."""
    if tolerance <= 0 or len(xs) < 3:
        return xs, ys
    keep = _keep(xs, ys, tolerance)
    return xs[keep], ys[keep]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _keep(xs: NDArray[np.float64], ys: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    n = len(xs)
    keep = np.zeros(n, np.bool_)
    keep[0] = keep[n - 1] = True
    stack = np.empty((n, 2), np.int64)
    stack[0, 0], stack[0, 1] = 0, n - 1
    depth = 1
    while depth > 0:
        depth -= 1
        a, b = stack[depth, 0], stack[depth, 1]
        dx, dy = xs[b] - xs[a], ys[b] - ys[a]
        length = np.sqrt(dx * dx + dy * dy)
        farthest, at = tolerance, -1
        for i in range(a + 1, b):
            ex, ey = xs[i] - xs[a], ys[i] - ys[a]
            gap = abs(ex * dy - ey * dx) / length if length > 0 else np.sqrt(ex * ex + ey * ey)
            if gap > farthest:
                farthest, at = gap, i
        if at >= 0:
            keep[at] = True
            stack[depth, 0], stack[depth, 1] = a, at
            stack[depth + 1, 0], stack[depth + 1, 1] = at, b
            depth += 2
    return keep


def _path(xs: Floats, ys: Floats) -> str:
    """An SVG path in 1/100 mm: the first point absolute, then steps (of rounded positions, so that no error adds up)."""
    x, y = np.round(np.asarray(xs) * _STEP).astype(int), np.round(np.asarray(ys) * _STEP).astype(int)
    steps = " ".join(f"{a} {b}" for a, b in zip(np.diff(x).tolist(), np.diff(y).tolist(), strict=True))
    return f"M{x[0]} {y[0]}l{steps.replace(' -', '-')}" if steps else f"M{x[0]} {y[0]}h0"


def _rectangle(box: Box, more: str = "") -> str:
    return f'<rect x="{box.left:.6g}" y="{box.top:.6g}" width="{box.width:.6g}" height="{box.height:.6g}"{more}/>'


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
