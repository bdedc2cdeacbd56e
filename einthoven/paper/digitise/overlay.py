"""What was read, drawn over the print: for eyes, which are the last judge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.digitise.digitised import Digitised

# Neighbouring strips differ; none is black, like ink, or pink, like paper. RGB.
_COLOURS = ((0, 90, 255), (230, 60, 0), (0, 150, 60), (170, 0, 200), (0, 150, 190), (190, 120, 0))

_ROOM = 20.0  # mm that a name wants over its trace, and beside it


def overlay(found: Digitised) -> NDArray[np.uint8]:
    """The rectified sheet, paled, with each strip's trace, name and confidence over it: (H, W, 3) uint8 RGB."""
    import cv2

    image = (255 - (255 - found.image.astype(np.uint16)) * 6 // 10).astype(np.uint8)
    scale = found.page.px_per_mm
    thick = max(round(scale / 8), 1)
    for k, trace in enumerate(found.traces):
        colour = _COLOURS[k % len(_COLOURS)]
        good = np.isfinite(trace.y)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8))).reshape(-1, 2)
        for a, b in edges:
            at = np.stack([trace.x[a:b] * scale - 0.5, trace.y[a:b] * scale - 0.5], axis=1)
            cv2.polylines(image, [np.round(at * 16).astype(np.int32)], False, colour, thick, cv2.LINE_AA, 4)
        strip = trace.strip
        # Over the beat where there is room, else at the strip's end; never off the sheet.
        words = f"{strip.label} {found.confidence.get(strip.lead, 0.0):.0%}"
        wide, high = found.page.size
        x, y = strip.x + 1, max(strip.box.top + 5, strip.baseline - 16, 5.0)
        beside = any(abs(other.strip.x - strip.box.right) < 3 for other in found.traces)
        if strip.box.height < _ROOM and not beside:
            x, y = min(strip.box.right + 1, wide - _ROOM), strip.baseline
        at_px = (round(x * scale), round(min(y, high - 2) * scale))
        cv2.putText(image, words, at_px, cv2.FONT_HERSHEY_SIMPLEX, scale / 10, (255, 255, 255), 4 * thick, cv2.LINE_AA)
        cv2.putText(image, words, at_px, cv2.FONT_HERSHEY_SIMPLEX, scale / 10, colour, 2 * thick, cv2.LINE_AA)
    return image
