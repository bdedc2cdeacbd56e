"""What people leave on the sheet before it is photographed: handwriting, stamps, highlighter; and what the printer left out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.distort.scene import Rng, Scene
from einthoven.paper.distort.strokes import NOTES, loop, smooth, written
from einthoven.paper.page import Floats

_PENS = ((24, 34, 120), (20, 20, 28), (30, 60, 160), (165, 24, 30), (40, 40, 60))
_MARKERS = ((255, 245, 90), (170, 255, 140), (255, 170, 205), (140, 225, 255), (255, 205, 110))
_STAMPS = ("REVIEWED", "COPY", "RECEIVED", "EMERGENCY", "CARDIOLOGY", "CONFIRMED", "WARD 4", "FILED", "URGENT", "ECG LAB")


def handwriting(scene: Scene, rng: Rng, strength: float) -> None:
    """Notes by pen, rings around beats, underlines: about three at strength 1."""
    w, h = scene.page.size
    for _ in range(_count(rng, 3 * strength)):
        pen = _PENS[int(rng.integers(len(_PENS)))]
        width = rng.uniform(0.3, 0.65)
        kind = rng.choice(["note", "ring", "line"], p=[0.6, 0.25, 0.15])
        x, y = rng.uniform(0.04, 0.8) * w, rng.uniform(0.06, 0.95) * h
        if kind == "note":
            size = rng.uniform(3.0, 7.0)
            lean = rng.normal(0, 0.1)
            turn = np.array([[math.cos(lean), math.sin(lean)], [-math.sin(lean), math.cos(lean)]])
            strokes = [s * size @ turn for s in written(str(rng.choice(NOTES)), rng)]
        elif kind == "ring":
            strokes = [loop(rng.uniform(8, 35), rng.uniform(8, 22), rng)]
        else:
            long, n = rng.uniform(12, 60), 6
            bow = np.stack([np.linspace(0, long, n), rng.normal(0, 0.6, n)], axis=1)
            strokes = [smooth(bow)]
        _draw(scene, [s + [x, y] for s in strokes], width, pen, 0.9)


def stamp(scene: Scene, rng: Rng, strength: float) -> None:
    """A rubber stamp, askew and unevenly inked."""
    if strength <= 0:
        return
    import cv2

    scale = scene.page.px_per_mm
    for _ in range(max(round(strength), 1)):
        text, letters = str(rng.choice(_STAMPS)), max(rng.uniform(4.0, 7.0) * scale, 5)
        font: Any = cv2.FontFace("sans")
        _, _, wide, _ = cv2.getTextSize((0, 0), text, (0, 0), font, round(letters), 700)
        side = math.ceil(wide + 3.2 * letters)
        mask = np.zeros((side, side), np.uint8)
        cv2.putText(mask, text, (round((side - wide) / 2), round(side / 2 + 0.36 * letters)), (255,), font, round(letters), 700)
        left, top = round((side - wide) / 2 - 0.5 * letters), round(side / 2 - 0.9 * letters)
        line = max(round(0.5 * scale), 1)
        cv2.rectangle(mask, (left, top), (side - left, side - top), (255,), line, cv2.LINE_AA)
        about = cv2.getRotationMatrix2D((side / 2, side / 2), rng.normal(0, 12), 1.0)
        mask = np.asarray(cv2.warpAffine(mask, about, (side, side)), np.uint8)
        patches = cv2.resize(rng.uniform(-0.3, 1.3, (9, 9)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
        ink = mask * (0.75 * np.clip(patches, 0.25, 1) / 255).astype(np.float32)
        w, h = scene.page.size
        x, y = rng.uniform(0.15, 0.85) * w * scale - side / 2, rng.uniform(0.1, 0.9) * h * scale - side / 2
        colour = ((150, 30, 40), (40, 50, 140), (70, 40, 120))[int(rng.integers(3))]
        _blend(scene, ink, round(x), round(y), colour)


def highlighter(scene: Scene, rng: Rng, strength: float) -> None:
    """Broad strokes of a text marker, over words or over a lead: ink stays dark, paper takes the colour."""
    w, h = scene.page.size
    for _ in range(_count(rng, 2 * strength)):
        colour = np.array(_MARKERS[int(rng.integers(len(_MARKERS)))], np.float32) / 255
        if scene.page.texts and rng.random() < 0.6:
            text = scene.page.texts[int(rng.integers(len(scene.page.texts)))]
            x, y, long = text.x, text.y - 0.3 * text.size, max(0.5 * text.size * len(text.text), 8.0)
        else:
            x, y, long = rng.uniform(0.05, 0.7) * w, rng.uniform(0.1, 0.9) * h, rng.uniform(15, 80)
        line = smooth(np.stack([x + np.linspace(0, long, 4), y + rng.normal(0, 0.5, 4)], axis=1))
        mask, i, j = _mask(scene, [line], rng.uniform(3.5, 6.0))
        if mask.size:
            part = _part(scene, mask, i, j)
            share = mask.astype(np.float32)[..., None] / 255
            part[:] = np.round(part * (1 - share * (1 - colour)))


def faded(scene: Scene, rng: Rng, strength: float) -> None:
    """Old thermal paper or a worn ribbon: pale ink, and lines along the paper that the head left out."""
    if strength <= 0:
        return
    import cv2

    pale = min(0.3 * strength * rng.uniform(0.3, 1.2), 0.7)
    x = np.arange(256)
    scene.sheet = np.asarray(cv2.LUT(scene.sheet, np.round(x + (250 - x).clip(0) * pale).astype(np.uint8)), np.uint8)
    rows = scene.sheet.shape[0]
    for _ in range(int(rng.poisson(1.2 * strength))):
        j = int(rng.integers(rows))
        part = scene.sheet[j : j + max(round(0.12 * scene.page.px_per_mm), 1)]
        part[:] = np.maximum(part, 225)


def worn(scene: Scene, at: float, angle: float, rng: Rng) -> None:
    """The print rubbed off along a fold, here and there. at, angle: as in `Bend`."""
    w, h = scene.page.size
    c, s = math.cos(angle), math.sin(angle)
    half = math.hypot(w, h) / 2
    t = np.arange(-half, half, 1.5)
    line = np.stack([w / 2 + at * c - t * s, h / 2 + at * s + t * c], axis=1) + rng.normal(0, 0.08, (len(t), 2))
    gone = np.convolve(rng.random(len(t) + 6), np.ones(7) / 7, "valid") > 0.48
    edges = np.flatnonzero(np.diff(np.concatenate([[False], gone, [False]]).astype(np.int8))).reshape(-1, 2)
    pieces = [line[a:b] for a, b in edges.tolist() if b - a > 1]
    _draw(scene, pieces, rng.uniform(0.2, 0.5), (250, 248, 244), 0.6)


def _count(rng: Rng, mean: float) -> int:
    """How many: at least one where there are any at all."""
    return max(int(rng.poisson(mean)), 1) if mean > 0 else 0


def _draw(scene: Scene, strokes: list[Floats], width: float, colour: tuple[int, int, int], strength: float) -> None:
    """Strokes in mm on the sheet."""
    mask, i, j = _mask(scene, strokes, width)
    if mask.size:
        _blend(scene, mask * np.float32(strength / 255), i, j, colour)


def _mask(scene: Scene, strokes: list[Floats], width: float) -> tuple[NDArray[np.uint8], int, int]:
    """Strokes (mm) as a mask of the sheet's pixels 0..255, and where its upper left pixel lies; empty where all is outside."""
    import cv2

    scale = scene.page.px_per_mm
    lines = [s * scale - 0.5 for s in strokes]
    if not lines:
        return np.zeros((0, 0), np.uint8), 0, 0
    everything = np.concatenate(lines)
    pad = width * scale + 2
    low = np.maximum(np.floor(everything.min(0) - pad), 0).astype(int)
    high = np.minimum(np.ceil(everything.max(0) + pad), [scene.sheet.shape[1] - 1, scene.sheet.shape[0] - 1]).astype(int)
    if (high < low).any():
        return np.zeros((0, 0), np.uint8), 0, 0
    mask = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    paths = [np.round((line - low) * 16).astype(np.int32) for line in lines]
    cv2.polylines(mask, paths, False, (255,), max(round(width * scale), 1), cv2.LINE_AA, 4)
    return mask, int(low[0]), int(low[1])


def _part(scene: Scene, mask: NDArray[Any], i: int, j: int) -> NDArray[np.uint8]:
    return scene.sheet[j : j + mask.shape[0], i : i + mask.shape[1]]


def _blend(scene: Scene, share: NDArray[np.float32], i: int, j: int, colour: tuple[int, int, int]) -> None:
    """Lays ink of a share 0..1 over the sheet with its upper left at pixel (i, j); what falls outside is left out."""
    share = share[max(-j, 0) :, max(-i, 0) :]
    i, j = max(i, 0), max(j, 0)
    part = _part(scene, share, i, j)
    row, column = np.nonzero(
        share[: part.shape[0], : part.shape[1]]
    )  # strokes are thin: most of the room around them stays bare
    under = part[row, column]
    part[row, column] = np.round(under + share[row, column, None] * (np.array(colour, np.float32) - under))
