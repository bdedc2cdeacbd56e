"""Reads the lead names printed on a sheet, by the shapes of whole words in a few fonts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.digitise.lattice import SCALE, Field
from einthoven.paper.digitise.words import Name
from einthoven.paper.page import STANDARD_ORDER

_HIGH = 20  # pixels of a word as it is compared
_SURE = 0.45  # a correlation below this is no reading
_LETTER_MM = (1.1, 5.0)  # height of letters


def read_names(ink: Field, parts: NDArray[np.int32]) -> list[Name]:
    """The lead names among an ink image's small parts (boxes x, y, width, height): mm of the sheet, `sure` 0..1.

    A word that might be two names gives both, each with how sure it is.
    """
    import cv2

    out: list[Name] = []
    for x0, y0, x1, y1 in _words(parts):
        word = np.clip(ink[y0:y1, x0:x1], 0, 1)
        wide = max(round((x1 - x0) * _HIGH / (y1 - y0)), 3)
        if wide > 4.5 * _HIGH:
            continue
        seen = cv2.resize(word, (wide, _HIGH), interpolation=cv2.INTER_AREA if y1 - y0 > _HIGH else cv2.INTER_LINEAR)
        best: dict[tuple[str, int], float] = {}
        for (lead, sign), templates in _templates().items():
            for template in templates:
                ratio = template.shape[1] / wide
                if not 0.6 < ratio < 1.65:
                    continue
                fitted = cv2.resize(seen, (template.shape[1], _HIGH), interpolation=cv2.INTER_LINEAR)
                likeness = _correlation(fitted, template) - 0.5 * abs(np.log(ratio))
                best[lead, sign] = max(best.get((lead, sign), 0.0), likeness)
        top = max(best.values(), default=0.0)
        for (lead, sign), sure in best.items():
            if sure > max(_SURE, top - 0.25):
                out.append(Name(lead, sign, x0 / SCALE, y1 / SCALE, (x1 - x0) / SCALE, float(sure)))
    return out


def _words(parts: NDArray[np.int32]) -> list[tuple[int, int, int, int]]:
    """Boxes (x0, y0, x1, y1) of letters that stand side by side."""
    low, high = (v * SCALE for v in _LETTER_MM)
    letters = sorted(
        (int(x), int(y), int(x + w), int(y + h)) for x, y, w, h in parts if low <= h <= high and 0.15 * SCALE <= w <= 12 * SCALE
    )
    words: list[list[int]] = []
    for x0, y0, x1, y1 in letters[:4000]:
        for word in reversed(words[-60:]):
            tall = max(word[3] - word[1], y1 - y0)
            level = min(word[3], y1) - max(word[1], y0)
            if -0.2 * tall <= x0 - word[2] < 0.42 * tall and level > 0.6 * min(word[3] - word[1], y1 - y0):
                word[1], word[2], word[3] = min(word[1], y0), max(word[2], x1), max(word[3], y1)
                break
        else:
            words.append([x0, y0, x1, y1])
    return [(a, b, c, d) for a, b, c, d in words if c - a <= 14 * SCALE]


@lru_cache(1)
def _templates() -> dict[tuple[str, int], list[Field]]:
    """Each name as it is printed, cut to its letters and scaled to one height."""
    import cv2

    texts: dict[tuple[str, int], list[str]] = {(lead, 1): [lead] for lead in STANDARD_ORDER}
    for lead in ("aVR", "aVL", "aVF"):
        texts[lead, 1].append(lead.upper())
    texts["aVR", -1] = ["-aVR"]
    for k in range(1, 7):
        texts[f"V{k}", 1] += [f"C{k}", f"v{k}"]
    out: dict[tuple[str, int], list[Field]] = {}
    for key, words in texts.items():
        out[key] = []
        for text in words:
            for font, weight in ((f, w) for f in ("sans", "serif") for w in (400, 650)):
                canvas = np.zeros((160, 420), np.uint8)
                cv2.putText(canvas, text, (40, 110), (255,), cv2.FontFace(font), 72, weight)
                out[key].append(_cut(canvas))
            for old, thick in ((cv2.FONT_HERSHEY_SIMPLEX, 5), (cv2.FONT_HERSHEY_TRIPLEX, 4), (cv2.FONT_HERSHEY_SIMPLEX, 10)):
                canvas = np.zeros((160, 420), np.uint8)
                cv2.putText(canvas, text, (40, 110), old, 2.4, (255,), thick, cv2.LINE_AA)
                out[key].append(_cut(canvas))
    return out


def _cut(canvas: NDArray[np.uint8]) -> Field:
    import cv2

    ys, xs = np.flatnonzero(canvas.max(axis=1) > 60), np.flatnonzero(canvas.max(axis=0) > 60)
    part = canvas[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].astype(np.float32) / 255
    wide = max(round(part.shape[1] * _HIGH / part.shape[0]), 3)
    return cv2.GaussianBlur(cv2.resize(part, (wide, _HIGH), interpolation=cv2.INTER_AREA), (0, 0), 0.8)  # type: ignore[no-any-return]


def _correlation(a: Any, b: Any) -> float:
    """Of two images; a full block (the letter I) correlates by how full both are."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if a.shape[1] < 0.45 * _HIGH:  # a single stroke: its contrast is not inside, but around
        pad = ((0, 0), (_HIGH // 3, _HIGH // 3))
        a, b = np.pad(a, pad), np.pad(b, pad)
    p, q = a - a.mean(), b - b.mean()
    return float((p * q).sum() / np.sqrt((p * p).sum() * (q * q).sum() + 1e-12))
