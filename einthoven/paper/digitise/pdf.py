"""A PDF's page as a drawing: stroked polylines with colour and width, words with their places, all in mm from the upper left.

Read by PDFium (pypdfium2). A PDF is untrusted: its size, pages, objects and points are bounded, and nothing in it is run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.page import MM_PER_INCH, Floats
from einthoven.record import EcgError

MAX_BYTES = 128 << 20
MAX_OBJECTS = 400_000
MAX_POINTS = 4_000_000
MAX_PAGES = 2_000
_MOST_PIXELS = 60e6
_MM = MM_PER_INCH / 72
_DEPTH = 8  # of forms within forms

Matrix = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Line:
    """A stroked polyline, (N, 2) mm."""

    points: Floats
    colour: tuple[int, int, int]
    width: float


@dataclass(frozen=True)
class Word:
    """A word: its first letter's origin on the base line, mm, and the letters' height (em)."""

    text: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Drawing:
    """`size` (width, height) of the sheet in mm."""

    size: tuple[float, float]
    lines: tuple[Line, ...]
    words: tuple[Word, ...]
    images: int


class Pdf:
    """An open PDF; close it, or use it as a context. Raises EcgError for what PDFium cannot open."""

    def __init__(self, data: bytes, path: str | None = None) -> None:
        import pypdfium2

        self.path = path
        if len(data) > MAX_BYTES:
            raise EcgError(f"{len(data):,} bytes are too many for a PDF of an ECG (at most {MAX_BYTES:,})", path=path)
        try:
            self._pdf = pypdfium2.PdfDocument(data)
            self.pages = len(self._pdf)
        except (pypdfium2.PdfiumError, ValueError) as fault:
            raise EcgError(f"not a PDF that can be opened ({str(fault)[:100]})", path=path) from None
        if not 1 <= self.pages <= MAX_PAGES:
            self.close()
            raise EcgError(f"{self.pages} pages in this PDF (1 to {MAX_PAGES} can be)", path=path)

    def __enter__(self) -> Pdf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._pdf.close()

    def drawing(self, number: int) -> Drawing:
        """What is drawn on a page (0 is the first)."""
        import pypdfium2.raw as raw

        page = self._page(number)
        try:
            reader = _Reader(page, raw, self.path)
            lines = tuple(reader.lines())
            return Drawing(reader.size, lines, tuple(_words(page, raw, reader)), reader.images)
        finally:
            page.close()

    def image(self, number: int, dpi: float = 250.0) -> NDArray[np.uint8]:
        """The page as RGB (H, W, 3), at `dpi` or less where that would be too many pixels."""
        page = self._page(number)
        try:
            width, height = page.get_size()
            if not (0 < width < 20_000 and 0 < height < 20_000):
                raise EcgError(f"a page of {width:g} x {height:g} points cannot be drawn", path=self.path)
            scale = min(dpi / 72, float(np.sqrt(_MOST_PIXELS / (width * height))))
            bitmap = page.render(scale=scale, rev_byteorder=True, prefer_bgrx=False)
            return np.ascontiguousarray(bitmap.to_numpy()[:, :, :3]).copy()
        finally:
            page.close()

    def _page(self, number: int) -> Any:
        import pypdfium2

        if not 0 <= number < self.pages:
            raise EcgError(f"no page {number + 1}: the PDF has {self.pages}", path=self.path)
        try:
            return self._pdf[number]
        except pypdfium2.PdfiumError as fault:
            raise EcgError(f"page {number + 1} cannot be opened ({str(fault)[:100]})", path=self.path) from None


class _Reader:
    """Walks the objects of one page, forms within forms, and turns points into mm of the page as it is shown."""

    def __init__(self, page: Any, raw: Any, path: str | None) -> None:
        self.page, self.raw, self.path = page, raw, path
        self.images = self._objects = self._points = 0
        left, bottom, right, top = page.get_cropbox(fallback_ok=True) or (0.0, 0.0, 612.0, 792.0)
        turn = page.get_rotation() % 360
        wide, high = (right - left) * _MM, (top - bottom) * _MM
        self.size = (high, wide) if turn in (90, 270) else (wide, high)
        # Page space (points, y up) -> mm as shown (y down), after the page's own rotation.
        m = _MM
        self._base: Matrix = {
            0: (m, 0, 0, -m, -left * m, top * m),
            90: (0, m, m, 0, -bottom * m, -left * m),
            180: (-m, 0, 0, m, right * m, -bottom * m),
            270: (0, -m, -m, 0, top * m, right * m),
        }[turn]

    def lines(self) -> Iterator[Line]:
        raw = self.raw
        yield from self._walk(self.page.raw, raw.FPDFPage_CountObjects, raw.FPDFPage_GetObject, self._base, 0)

    def to_mm(self, points: Floats) -> Floats:
        return _through(points, self._base)

    def _walk(self, holder: Any, count: Any, get: Any, under: Matrix, depth: int) -> Iterator[Line]:
        raw = self.raw
        for i in range(max(count(holder), 0)):
            self._objects += 1
            if self._objects > MAX_OBJECTS:
                raise EcgError(f"more than {MAX_OBJECTS:,} objects on a page", path=self.path)
            thing = get(holder, i)
            kind = raw.FPDFPageObj_GetType(thing)
            if kind == raw.FPDF_PAGEOBJ_IMAGE:
                self.images += 1
            elif kind == raw.FPDF_PAGEOBJ_FORM and depth < _DEPTH:
                yield from self._walk(
                    thing, raw.FPDFFormObj_CountObjects, raw.FPDFFormObj_GetObject, _then(self._matrix(thing), under), depth + 1
                )
            elif kind == raw.FPDF_PAGEOBJ_PATH:
                yield from self._path(thing, under)

    def _matrix(self, thing: Any) -> Matrix:
        m = self.raw.FS_MATRIX()
        if not self.raw.FPDFPageObj_GetMatrix(thing, m):
            return (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
        return (m.a, m.b, m.c, m.d, m.e, m.f)

    def _path(self, thing: Any, under: Matrix) -> Iterator[Line]:
        raw = self.raw
        fill, stroke = ctypes.c_int(), ctypes.c_int()
        raw.FPDFPath_GetDrawMode(thing, fill, stroke)
        if not stroke.value:
            return
        matrix = _then(self._matrix(thing), under)
        r, g, b, a = (ctypes.c_uint() for _ in range(4))
        raw.FPDFPageObj_GetStrokeColor(thing, r, g, b, a)
        width = ctypes.c_float()
        raw.FPDFPageObj_GetStrokeWidth(thing, width)
        wide = float(width.value) * float(np.sqrt(abs(matrix[0] * matrix[3] - matrix[1] * matrix[2])))
        colour = (int(r.value), int(g.value), int(b.value))
        for points in self._polylines(thing):
            yield Line(_through(np.array(points, np.float64), matrix), colour, wide)

    def _polylines(self, thing: Any) -> Iterator[list[tuple[float, float]]]:
        raw = self.raw
        x, y = ctypes.c_float(), ctypes.c_float()
        points: list[tuple[float, float]] = []
        curve: list[tuple[float, float]] = []
        count = max(raw.FPDFPath_CountSegments(thing), 0)
        self._points += count
        if self._points > MAX_POINTS:
            raise EcgError(f"more than {MAX_POINTS:,} points on a page", path=self.path)
        for i in range(count):
            segment = raw.FPDFPath_GetPathSegment(thing, i)
            kind = raw.FPDFPathSegment_GetType(segment)
            raw.FPDFPathSegment_GetPoint(segment, x, y)
            at = (float(x.value), float(y.value))
            if kind == raw.FPDF_SEGMENT_MOVETO:
                if len(points) > 1:
                    yield points
                points, curve = [at], []
            elif kind == raw.FPDF_SEGMENT_BEZIERTO:
                curve.append(at)
                if len(curve) == 3:
                    points += _bezier(points[-1] if points else curve[0], *curve)
                    curve = []
            else:
                points.append(at)
            if raw.FPDFPathSegment_GetClose(segment) and points:
                points.append(points[0])
        if len(points) > 1:
            yield points


def _bezier(p0: tuple[float, float], *control: tuple[float, float]) -> list[tuple[float, float]]:
    """Eight points along a cubic Bezier curve, without its beginning."""
    t = np.arange(1, 9)[:, None] / 8
    p = [np.array(q) for q in (p0, *control)]
    curve = (1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t**2 * p[2] + t**3 * p[3]
    return [(float(a), float(b)) for a, b in curve]


def _then(first: Matrix, second: Matrix) -> Matrix:
    """The map that does `first`, then `second`."""
    a, b, c, d, e, f = first
    A, B, C, D, E, F = second
    return (a * A + b * C, a * B + b * D, c * A + d * C, c * B + d * D, e * A + f * C + E, e * B + f * D + F)


def _through(points: Floats, m: Matrix) -> Floats:
    """Points (N, 2) through a PDF matrix."""
    a, b, c, d, e, f = m
    moved: Floats = points @ np.array([[a, b], [c, d]]) + np.array([e, f])
    return moved


def _words(page: Any, raw: Any, reader: _Reader) -> Iterator[Word]:
    """The page's words: letters that follow each other on one base line without a gap."""
    sheet = page.get_textpage()
    try:
        count = min(sheet.count_chars(), 50_000)
        x, y = ctypes.c_double(), ctypes.c_double()
        left, right, bottom, top = (ctypes.c_double() for _ in range(4))
        word, start, end, size = "", np.zeros(2), np.zeros(2), 1.0
        for i in range(count):
            letter = chr(raw.FPDFText_GetUnicode(sheet.raw, i))
            raw.FPDFText_GetCharOrigin(sheet.raw, i, x, y)
            raw.FPDFText_GetCharBox(sheet.raw, i, left, right, bottom, top)
            origin, stop = reader.to_mm(np.array([[x.value, y.value], [right.value, y.value]]))
            em = float(raw.FPDFText_GetFontSize(sheet.raw, i)) * _MM or 1.0
            apart = bool(word) and (abs(origin[1] - end[1]) > 0.3 * size or not -0.5 * size < origin[0] - end[0] < 0.3 * size)
            if (letter.isspace() or not letter.isprintable() or apart) and word:
                yield Word(word, float(start[0]), float(start[1]), size)
                word = ""
            if letter.isprintable() and not letter.isspace():
                if not word:
                    start, size = origin, em
                word, end = word + letter, stop
        if word:
            yield Word(word, float(start[0]), float(start[1]), size)
    finally:
        sheet.close()
