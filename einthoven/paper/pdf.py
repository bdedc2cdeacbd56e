"""A small PDF writer: pages of vector paths and Helvetica, in millimetres from the upper left corner. ISO 32000-1:2008.

Only what an ECG report needs: filled rectangles, polylines, lines of text in the two standard fonts every reader has, JPEG
pictures. Streams are Flate compressed. Same calls, same bytes: no date or random id is written.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from einthoven.paper.page import Floats

MM = 72 / 25.4  # points to the millimetre

# Advance widths of Helvetica and Helvetica-Bold in 1/1000 em for codes 32..126 (Adobe Core 14 font metrics).
_REGULAR = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 278 "
    "584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667 944 "
    "667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556 333 500 "
    "278 556 500 722 500 500 500 334 260 334 584"
)
_BOLD = (
    "278 333 474 556 556 889 722 238 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 333 333 "
    "584 584 584 611 975 722 722 722 722 667 611 778 722 278 556 722 611 833 722 778 667 778 722 667 611 722 667 944 "
    "667 667 611 333 278 333 584 556 333 556 611 556 611 556 333 611 611 278 278 556 278 889 611 611 611 611 389 556 "
    "333 611 556 778 556 556 500 389 280 389 584"
)
_MORE = {"°": 400, "·": 278, "–": 556, "—": 1000, "…": 1000, "±": 584, "µ": 576, "²": 333, "•": 350, "×": 584, "ß": 611}
_WIDTHS: Mapping[bool, Mapping[str, int]] = {
    bold: {**_MORE, **{chr(32 + i): int(w) for i, w in enumerate(table.split())}}
    for bold, table in ((False, _REGULAR), (True, _BOLD))
}
_INSTEAD = {"≥": ">=", "≤": "<=", "−": "-", "→": "->", "Δ": "delta ", "√": "root ", "\u00a0": " ", "\u202f": " ", "\u2009": " "}


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of a line set in Helvetica, in the unit of `size` (the em)."""
    widths = _WIDTHS[bold]
    return sum(widths.get(c) or widths.get(unicodedata.normalize("NFD", c)[0], 556) for c in text) * size / 1000


def winansi(text: str) -> bytes:
    """Text in the encoding of PDF's standard fonts; what it lacks is written plainly (>= for the sign), else as "?"."""
    out = b""
    for c in text:
        ways = (c, _INSTEAD.get(c, c), unicodedata.normalize("NFD", c)[0], "?")
        plain = next(way for way in ways if way.isprintable() and _in_winansi(way)) if c.isprintable() else ""
        out += (plain or _INSTEAD.get(c, "")).encode("cp1252")
    return out


def _in_winansi(text: str) -> bool:
    try:
        text.encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


Line = tuple[Floats | Sequence[float], Floats | Sequence[float]]  # x, y


class PdfPage:
    """One page: paint it from back to front. Colours are (r, g, b) of 0..255; lengths mm, x right and y down."""

    def __init__(self, width: float, height: float) -> None:
        self.size = width, height
        self.operators: list[str] = []
        self.pictures: list[tuple[bytes, tuple[int, int]]] = []

    def _at(self, x: float, y: float) -> str:
        return f"{_number(x * MM)} {_number((self.size[1] - y) * MM)}"

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
        wide, high = (right - left) * MM, (bottom - top) * MM
        self.operators.append(f"{_colour(colour)} rg {self._at(left, bottom)} {_number(wide)} {_number(high)} re f")

    def lines(
        self,
        lines: Iterable[tuple[Floats | Iterable[float], Floats | Iterable[float]]],
        width: float,
        colour: tuple[int, int, int],
    ) -> None:
        """Polylines (x, y) with round joins."""
        parts = [f"{_colour(colour)} RG {_number(width * MM)} w 1 J 1 j"]
        for xs, ys in lines:
            points = [self._at(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
            if points:
                parts.append(
                    " l ".join([points[0] + " m " + (points[1] if len(points) > 1 else points[0]), *points[2:]]) + " l"
                )
        if len(parts) > 1:
            self.operators.append("\n".join([*parts, "S"]))

    def text(
        self,
        x: float,
        y: float,
        size: float,
        text: str,
        *,
        bold: bool = False,
        anchor: str = "start",
        colour: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        """A line of text with its base line at y; `anchor` "start", "middle" or "end" of it lies at x."""
        words = winansi(text)
        x -= text_width(words.decode("cp1252"), size, bold) * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        escaped = words.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)").decode("latin-1")
        font = "/F2" if bold else "/F1"
        self.operators.append(f"BT {_colour(colour)} rg {font} {_number(size * MM)} Tf {self._at(x, y)} Td ({escaped}) Tj ET")

    def picture(self, jpeg: bytes, shape: tuple[int, int], left: float, top: float, right: float, bottom: float) -> None:
        """A JPEG file of RGB with `shape` (rows, columns) in a rectangle."""
        wide, high = _number((right - left) * MM), _number((bottom - top) * MM)
        self.pictures.append((jpeg, shape))
        self.operators.append(f"q {wide} 0 0 {high} {self._at(left, bottom)} cm /Im{len(self.pictures)} Do Q")

    def clip(self, left: float, top: float, right: float, bottom: float) -> None:
        """What is painted until `unclip` stays inside this rectangle."""
        wide, high = (right - left) * MM, (bottom - top) * MM
        self.operators.append(f"q {self._at(left, bottom)} {_number(wide)} {_number(high)} re W n")

    def shift(self, x: float, y: float) -> None:
        """What is painted until `unclip` lies x mm further right and y mm further down."""
        self.operators.append(f"q 1 0 0 1 {_number(x * MM)} {_number(-y * MM)} cm")

    def unclip(self) -> None:
        """Ends the last `clip` or `shift`."""
        self.operators.append("Q")


def write_pdf(pages: Iterable[PdfPage], title: str = "ECG", producer: str = "Einthoven") -> bytes:
    """The file of these pages."""
    objects: list[bytes] = [b"", b""]  # 1 catalog, 2 page tree: filled in at the end

    def add(body: bytes) -> int:
        objects.append(body)
        return len(objects)

    fonts = [
        add(f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>".encode())
        for name in ("Helvetica", "Helvetica-Bold")
    ]
    info = add(b"<< /Title (%s) /Producer (%s) >>" % (_plain(title), _plain(producer)))
    kids: list[int] = []
    for page in pages:
        packed = zlib.compress("\n".join(page.operators).encode("latin-1"), 6)
        content = add(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed))
        box = f"[0 0 {_number(page.size[0] * MM)} {_number(page.size[1] * MM)}]"
        resources = f"<< /Font << /F1 {fonts[0]} 0 R /F2 {fonts[1]} 0 R >>{_pictures(page, add)} >>"
        leaf = f"<< /Type /Page /Parent 2 0 R /MediaBox {box} /Resources {resources} /Contents {content} 0 R >>"
        kids.append(add(leaf.encode()))
    objects[0] = b"<< /Type /Catalog /Pages 2 0 R >>"
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{k} 0 R' for k in kids)}] >>".encode()

    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for i, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (i, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, info, start)
    return bytes(out)


def _pictures(page: PdfPage, add: Callable[[bytes], int]) -> str:
    """The page's pictures as objects of the file, named as `picture` does."""
    named = []
    for k, (jpeg, (rows, columns)) in enumerate(page.pictures, 1):
        kind = f"/Type /XObject /Subtype /Image /Width {columns} /Height {rows} /ColorSpace /DeviceRGB /BitsPerComponent 8"
        head = f"<< {kind} /Filter /DCTDecode /Length {len(jpeg)} >>\nstream\n".encode()
        number = add(head + jpeg + b"\nendstream")
        named.append(f"/Im{k} {number} 0 R")
    return f" /XObject << {' '.join(named)} >>" if named else ""


def _number(value: float) -> str:
    """To 1/1000 point (0.35 micrometres), without needless zeros."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _colour(colour: tuple[int, int, int]) -> str:
    return " ".join(_number(c / 255) for c in colour)


def _plain(text: str) -> bytes:
    return winansi(text).replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
