"""An ECG on millimetre paper as an image: `render` for arrays, `png_bytes` for files (vector forms: einthoven.paper.vector).

The sheet is drawn as palette indices (einthoven.paper.raster): the grid from a cache, then strokes and letters. 200 dpi letter
landscape takes some 10 ms on one core, its PNG as much again; `make bench` prints it beside ecg_plot.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import Beats
from einthoven.beats.measurements import Measurements
from einthoven.paper import raster
from einthoven.paper.header import write_header
from einthoven.paper.page import MM_PER_INCH, Box, Layout, Page, lay_out
from einthoven.paper.palette import RULE_MM, THICK_MM, TRACE_MM, WAVES, bands, colours, mix
from einthoven.paper.raster import Bytes, Indexed
from einthoven.paper.trace import trace
from einthoven.record import Record


def prepare(
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
    measurements: Measurements | None = None,
    conclusions: Sequence[str] = (),
    software: str = "Einthoven",
) -> Page:
    """The whole sheet of a record, geometry and words; arguments as in `render`."""
    page = lay_out(
        record,
        layout=layout,
        speed=speed,
        gain=gain,
        dpi=dpi,
        size=size,
        order=order,
        rhythm=rhythm,
        start=start,
        header=header,
    )
    return write_header(page, record, measurements, conclusions, header=header, software=software)


def render(
    record: Record, *, palette: str = "pink", fiducials: Beats | None = None, **options: Any
) -> tuple[NDArray[np.uint8], Page]:
    """A record on paper: RGB image (H, W, 3) uint8 and the Page with the truth of every trace.

    Options (keyword arguments of `prepare`): layout "3x4+1", "12x1", "6x2", "3x4", "3x4+3", "1x1:II", ... or "auto" by what
    was recorded; speed mm/s; gain mm/mV; dpi; size "letter", "a4" or (width, height) mm; order "standard" or "cabrera";
    rhythm: leads of the rhythm strips; start: first second shown; header; measurements and conclusions for the header.
    palette: a name in palette.PALETTES. fiducials: shades P (blue), QRS (yellow) and T (green).
    Raises EcgError for a layout, palette or lead that cannot be.
    """
    page = prepare(record, **options)
    return draw(record, page, palette=palette, fiducials=fiducials).rgb(), page


def render_png(record: Record, *, palette: str = "pink", fiducials: Beats | None = None, **options: Any) -> tuple[bytes, Page]:
    """As `render`, but a PNG file's bytes: indexed colours, resolution in pHYs."""
    page = prepare(record, **options)
    return png_bytes(draw(record, page, palette=palette, fiducials=fiducials), page.dpi), page


def draw(record: Record, page: Page, *, palette: str = "pink", fiducials: Beats | None = None) -> Indexed:
    """The page as an image of palette indices."""
    marks = bands(page, fiducials)
    kinds = 12 if marks else 3
    image = _grid(page.shape, page.px_per_mm, page.grid).copy()
    table, scale = raster.inking(kinds), page.px_per_mm
    for k, box in marks:
        x0, x1 = round(box.left * scale - 0.5), round(box.right * scale - 0.5)
        raster.tint(image, 3 * (k + 1), 3, x0, round(box.top * scale - 0.5), x1, round(box.bottom * scale - 0.5))

    def line(xs: NDArray[np.float64], ys: NDArray[np.float64], width: float, box: Box) -> None:
        x0, y0, x1, y1 = (v * scale - 0.5 for v in (box.left, box.top, box.right, box.bottom))
        raster.stroke(image, table, xs * scale - 0.5, ys * scale - 0.5, max(width * scale, 1.0) / 2, x0, y0, x1, y1)

    for width, lines in ((RULE_MM, page.rules), (TRACE_MM, page.pulses)):
        for points in lines:
            xs, ys = np.array(points, np.float64).T
            line(np.ascontiguousarray(xs), np.ascontiguousarray(ys), width, page.grid)
    for strip in page.strips:
        for xs, ys in trace(record, page, strip, scale):
            line(xs, ys, TRACE_MM, page.grid)
    for text in page.texts:
        mask, dx, dy, wide = _letters(text.text, round(text.size * scale, 1), text.bold)
        shift = {"start": 0.0, "middle": wide / 2, "end": float(wide)}[text.anchor]
        raster.stamp(image, table, mask, round(text.x * scale - 0.5 - shift) - dx, round(text.y * scale - 0.5) - dy)
    return Indexed(image, _colours(palette, kinds))


@lru_cache(64)
def _colours(name: str, kinds: int) -> Bytes:
    *paper, ink = colours(name)
    tinted = [mix(under, wave.colour) for wave in WAVES for under in paper]
    backgrounds = [*paper, *tinted] if kinds == 12 else paper
    return raster.palette(np.array(backgrounds, np.float64), np.array(ink, np.float64))


@lru_cache(4)
def _grid(shape: tuple[int, int], scale: float, box: Box) -> Bytes:
    """Blank millimetre paper as kinds 0 paper, 1 thin, 2 thick; every line is at the pixel next to its true place."""
    image = np.zeros(shape, np.uint8)
    rows = slice(round(box.top * scale - 0.5), round(box.bottom * scale - 0.5) + 1)
    columns = slice(round(box.left * scale - 0.5), round(box.right * scale - 0.5) + 1)
    thick = max(round(THICK_MM * 1.1 * scale), 1)
    for kind in (1, 2):
        if kind == 1 and scale < 3:  # below 3 pixels to the millimetre thin lines would be a grey mush
            continue
        step, width = (1.0, 1) if kind == 1 else (5.0, thick)
        for k in range(round(box.width / step) + 1):
            i = round((box.left + k * step) * scale - 0.5 - (width - 1) / 2)
            image[rows, max(i, 0) : i + width] = kind
        for k in range(round(box.height / step) + 1):
            j = round((box.top + k * step) * scale - 0.5 - (width - 1) / 2)
            band = image[max(j, 0) : j + width, columns]
            np.maximum(band, kind, out=band)
    # Thin lines drawn after thick columns would cut them; kinds only grow.
    return image


@lru_cache(2048)
def _letters(text: str, size: float, bold: bool) -> tuple[Bytes, int, int, int]:
    """A line of text as a mask (h, w) 0..255, the origin's place (dx, dy) in it, and its advance width in pixels."""
    import cv2

    font, weight = _font(), 600 if bold else 400
    height = max(round(size), 5)
    _, _, wide, _ = cv2.getTextSize((0, 0), text, (0, 0), font, height, weight)
    pad = 2 + height // 4
    mask = np.zeros((2 * height + 2 * pad, int(wide) + 2 * pad), np.uint8)
    cv2.putText(mask, text, (pad, height + pad), (255,), font, height, weight)
    return mask, pad, height + pad, int(wide)


@lru_cache(1)
def _font() -> Any:
    import cv2

    return cv2.FontFace("sans")  # Rubik (SIL Open Font Licence), with WenQuanYi for what it lacks; part of OpenCV 5


def png_bytes(image: Indexed | NDArray[np.uint8], dpi: float = 200.0) -> bytes:
    """A PNG file of an indexed image (4 or 8 bits a pixel) or of uint8 RGB (H, W, 3) or grey (H, W), with its resolution.

    RGB of at most 256 colours is written as indices, which is smaller and faster, and decodes to the same.
    """
    chunks: list[tuple[bytes, bytes]] = []
    if not isinstance(image, Indexed) and image.ndim == 3:
        image = raster.indexed(image) or image
    if isinstance(image, Indexed):
        height, width = image.index.shape
        depth, kind = (4, 3) if len(image.colours) <= 16 else (8, 3)
        lines = raster.pack4(image.index) if depth == 4 else _up(image.index)
        chunks.append((b"PLTE", image.colours.tobytes()))
    else:
        height, width = image.shape[:2]
        depth, kind = 8, 2 if image.ndim == 3 else 0
        lines = _up(image.reshape(height, -1))
    metre = round(dpi / MM_PER_INCH * 1000)
    # Differences between lines of a drawing are mostly runs of zeros, which run lengths find as well as a full search does.
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    body = packer.compress(lines.tobytes()) + packer.flush()
    head = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    parts = [head, (b"pHYs", struct.pack(">IIB", metre, metre, 1)), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data)) for tag, data in parts
    )


def _up(lines: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """PNG scan lines (H, W) with filter 2 before each: (H, 1 + W)."""
    out = np.full((lines.shape[0], lines.shape[1] + 1), 2, np.uint8)
    out[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=out[1:, 1:])
    return out
