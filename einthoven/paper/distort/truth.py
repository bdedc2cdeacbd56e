"""`Truth`: what a picture of a sheet shows, and where: traces, lead boxes, words, masks, in its own pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einthoven.paper.distort.warp import Warp
from einthoven.paper.page import Box, Floats, Page, Strip
from einthoven.paper.palette import RULE_MM, TRACE_MM
from einthoven.paper.pdf import text_width
from einthoven.paper.trace import trace
from einthoven.record import Record

# Values of `mask`: what is seen at a pixel. Strip k of the page is STRIP + k.
DESK, PAPER, GRID, MARK, TEXT, STRIP = 0, 1, 2, 3, 4, 16


@dataclass(frozen=True)
class Truth:
    """A `page`, the `warp` by which it became a picture, and which distortions were applied, as (name, strength)."""

    page: Page
    warp: Warp
    steps: tuple[tuple[str, float], ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the picture."""
        return self.warp.shape

    @property
    def px_per_mm(self) -> float:
        """The scale in the middle of the sheet."""
        w, h = self.page.size
        x, y = self.warp.forward([w / 2 - 5, w / 2 + 5, w / 2, w / 2], [h / 2, h / 2, h / 2 - 5, h / 2 + 5])
        return float(np.sqrt(abs((x[1] - x[0]) * (y[3] - y[2]) - (x[3] - x[2]) * (y[1] - y[0])))) / 10

    def to_pixel(self, strip: Strip | str, seconds: ArrayLike, mv: ArrayLike) -> tuple[Floats, Floats]:
        """(strip or lead, s, mV) -> x, y in the picture's pixels, as `Page.to_pixel` for a page that was not distorted."""
        found = self.page.strip(strip) if isinstance(strip, str) else strip
        return self.warp.forward(*self.page.to_mm(found, seconds, mv))

    def from_pixel(self, strip: Strip | str, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """The inverse of to_pixel: pixels -> seconds, mV."""
        found = self.page.strip(strip) if isinstance(strip, str) else strip
        return self.page.from_mm(found, *self.warp.inverse(x, y))

    def traces(self, record: Record, points_per_mm: float = 8.0) -> list[list[Floats]]:
        """For each strip its polylines (N, 2) in pixels, one for every stretch without NaN, clipped to the paper as the ink is.

        Points beyond the picture's edge are kept: they are where the trace would go on.
        """
        top, bottom = self.page.grid.top, self.page.grid.bottom
        return [
            [
                np.stack(self.warp.forward(x, np.clip(y, top, bottom)), axis=1)
                for x, y in trace(record, self.page, s, points_per_mm)
            ]
            for s in self.page.strips
        ]

    def outline(self, box: Box, points: int = 16) -> Floats:
        """(4 * points, 2) pixels around a rectangle of the sheet, clockwise from its upper left corner."""
        t = np.arange(points) / points
        x = np.concatenate(
            [box.left + t * box.width, np.full(points, box.right), box.right - t * box.width, np.full(points, box.left)]
        )
        y = np.concatenate(
            [np.full(points, box.top), box.top + t * box.height, np.full(points, box.bottom), box.bottom - t * box.height]
        )
        return np.stack(self.warp.forward(x, y), axis=1)

    def corners(self, box: Box) -> Floats:
        """(4, 2) pixels of a rectangle's corners, clockwise from the upper left."""
        return self.outline(box, 1)

    @property
    def sheet(self) -> Floats:
        """(4, 2) pixels of the sheet's corners."""
        return self.corners(Box(0.0, 0.0, *self.page.size))

    @property
    def lead_boxes(self) -> list[tuple[str, Floats]]:
        """(label, corners) of each strip's box."""
        return [(strip.label, self.corners(strip.box)) for strip in self.page.strips]

    @property
    def words(self) -> list[tuple[str, Floats]]:
        """(text, corners) of each line of words on the sheet, from the descenders to the capitals."""
        return [(t.text, self.corners(_text_box(self.page, k))) for k, t in enumerate(self.page.texts)]

    def mask(self, record: Record) -> NDArray[np.uint8]:
        """(rows, columns) uint8: DESK, PAPER, GRID (its area), TEXT (its boxes), MARK (pulses, rules), STRIP + k (traces)."""
        import cv2

        bits = 4
        out = np.zeros(self.shape, np.uint8)

        def area(points: Floats, value: int) -> None:
            cv2.fillPoly(out, [np.round(points * (1 << bits)).astype(np.int32)], (value,), shift=bits)

        def line(points: Floats, width: float, value: int) -> None:
            thick = max(round(width * self.px_per_mm), 1)
            cv2.polylines(out, [np.round(points * (1 << bits)).astype(np.int32)], False, (value,), thick, shift=bits)

        area(self.outline(Box(0.0, 0.0, *self.page.size)), PAPER)
        area(self.outline(self.page.grid), GRID)
        for k in range(len(self.page.texts)):
            area(self.corners(_text_box(self.page, k)), TEXT)
        for width, lines in ((RULE_MM, self.page.rules), (TRACE_MM, self.page.pulses)):
            for corners in lines:
                line(np.stack(self.warp.forward(*np.array(corners).T), axis=1), width, MARK)
        for k, stretches in enumerate(self.traces(record)):
            for points in stretches:
                line(points, TRACE_MM, STRIP + k)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Truth.from_dict` reads them back."""
        return {"page": self.page.to_dict(), "warp": self.warp.to_dict(), "steps": [list(step) for step in self.steps]}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Truth:
        steps = tuple((str(name), float(strength)) for name, strength in d["steps"])
        return cls(Page.from_dict(d["page"]), Warp.from_dict(d["warp"]), steps)


def _text_box(page: Page, k: int) -> Box:
    """The room that a line of words takes on the sheet, mm."""
    text = page.texts[k]
    wide = text_width(text.text, text.size, text.bold) * 1.08  # the letters of the image run wider than Helvetica
    left = text.x - {"start": 0.0, "middle": wide / 2, "end": wide}[text.anchor]
    return Box(left, text.y - 0.76 * text.size, left + wide, text.y + 0.24 * text.size)
