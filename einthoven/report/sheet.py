"""`Sheet`: a PDF page on which names stand in their own script.

PDF's standard fonts have Western letters alone. A line with others is drawn as a stencil by OpenCV's own fonts (Rubik and
WenQuanYi: Cyrillic, Greek, Chinese, Japanese, Korean), at 64 pixels to the em: 560 dpi for text of 2.9 mm. It cannot be
searched for. Scripts that run from right to left or that those fonts lack (Devanagari) stay question marks.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np

from einthoven.paper.pdf import MM, PdfPage, winansi

_EM = 64  # pixels


class Sheet(PdfPage):
    """A `PdfPage` that draws the lines that its fonts cannot write."""

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
        if not _foreign(text):
            super().text(x, y, size, text, bold=bold, anchor=anchor, colour=colour)
            return
        rows, wide, high, origin, advance = _stencil(text, bold)
        mm = size / _EM  # a pixel
        x -= advance * mm * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        left, bottom = (x - origin[0] * mm) * MM, (self.size[1] - y - (high - origin[1]) * mm) * MM
        ink = " ".join(f"{c / 255:.3f}" for c in colour)
        place = f"{wide * mm * MM:.3f} 0 0 {high * mm * MM:.3f} {left:.3f} {bottom:.3f} cm"
        image = f"BI /W {wide} /H {high} /IM true /BPC 1 /F /AHx ID\n{rows}>\nEI"
        self.operators.append(f"q {ink} rg {place}\n{image} Q")


def _foreign(text: str) -> bool:
    """Whether the standard fonts lack a letter that ours has."""
    lacking = [c for c in text if c.isprintable() and c != "?" and winansi(c) == b"?"]
    return bool(lacking) and not any(unicodedata.bidirectional(c) in ("R", "AL") for c in lacking)


@lru_cache(256)
def _stencil(text: str, bold: bool) -> tuple[str, int, int, tuple[int, int], int]:
    """The line as rows of bits in hexadecimal (0 is ink), its width and height, its origin in it, and its advance; pixels."""
    import cv2

    font, weight, pad = cv2.FontFace("sans"), 600 if bold else 400, _EM // 4
    line = "".join(c if c.isprintable() else " " for c in text)
    _, _, advance, _ = cv2.getTextSize((0, 0), line, (0, 0), font, _EM, weight)
    mask = np.zeros((2 * _EM, int(advance) + 2 * pad), np.uint8)
    origin = (pad, _EM + pad)
    cv2.putText(mask, line, origin, (255,), font, _EM, weight)
    return np.packbits(mask < 128, axis=1).tobytes().hex(), mask.shape[1], mask.shape[0], origin, int(advance)
