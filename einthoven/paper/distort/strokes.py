"""A hand: letters as strokes of a pen, drawn by ourselves, each time a little different."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from einthoven.paper.distort.scene import Rng
from einthoven.paper.page import Floats

# Strokes of each letter as pairs of digits x y: x 0..4 to the right, y 0 ascender, 3 x-height, 6 base line, 9 descender.
GLYPHS: Mapping[str, str] = {
    "a": "4323130405163645 4346",
    "b": "0006 0413334445361605",
    "c": "4433130405163645",
    "d": "4046 4433130405163645",
    "e": "044433130405163645",
    "f": "41302126 0343",
    "g": "4433130405163645 4348391908",
    "h": "0006 0413334446",
    "i": "2326 2122",
    "j": "23281908 2122",
    "k": "0006 4305 1546",
    "l": "20253646",
    "m": "0306 04132426 24334446",
    "n": "0306 0413334446",
    "o": "130405163645443313",
    "p": "0309 0413334445361605",
    "q": "4349 4433130405163645",
    "r": "0306 04132343",
    "s": "433313043445361605",
    "t": "20253645 0343",
    "u": "0305163645 4346",
    "v": "032643",
    "w": "0316243643",
    "x": "0346 4306",
    "y": "0325 4309",
    "z": "03430646",
    "0": "100105163645413010",
    "1": "113036",
    "2": "01103041420646",
    "3": "0110304123 233445361605",
    "4": "300444 3036",
    "5": "400003334445361605",
    "6": "301204051636454433130405",
    "7": "004016",
    "8": "2011023344453616050413314120",
    "9": "413213020110304146",
    "/": "4006",
    ":": "2324 2526",
    ".": "2526",
    "-": "1434",
    "+": "0444 2226",
    "?": "01103041322324 2526",
    "=": "0343 0545",
}

NOTES = (
    "no chest pain",
    "chest pain 2 h",
    "bp 140/85",
    "seen 14:20",
    "stemi?",
    "old mi?",
    "repeat in 20 min",
    "compare with old",
    "lead v3 off",
    "af - new?",
    "lvh?",
    "normal",
    "cath lab",
    "k+ 5.9",
    "on digoxin",
    "bed 12",
    "dr wong",
    "ok",
    "lbbb old",
    "tn neg",
)


def written(text: str, rng: Rng) -> list[Floats]:
    """Strokes of a line of handwriting, each (N, 2), in heights of a capital, from the start of the base line (0, 0)."""
    slant, wobble, size = rng.normal(0.15, 0.15), rng.uniform(0.05, 0.22), 1 / 6
    rise, spacing = rng.normal(0, 0.03), rng.uniform(4.6, 5.8)
    out: list[Floats] = []
    x0 = 0.0
    for letter in text.lower():
        wide = rng.uniform(0.8, 1.1)
        for stroke in GLYPHS.get(letter, "").split():
            points = np.array([[int(a), int(b) - 6] for a, b in zip(stroke[::2], stroke[1::2], strict=True)], np.float64)
            points += rng.normal(0, wobble, points.shape)
            points[:, 0] = x0 + wide * points[:, 0] - slant * points[:, 1]
            points[:, 1] += rise * points[:, 0]
            out.append(smooth(points) * size)
        x0 += spacing * wide * (0.7 if letter in "il1:. " else 1.0)
    return out


def loop(width: float, height: float, rng: Rng) -> Floats:
    """A ring drawn by hand, a little more than once around: (N, 2) about its middle."""
    t = np.linspace(0, 2 * math.pi * rng.uniform(1.0, 1.15), 60) + rng.uniform(0, 6)
    grow = 1 + 0.05 * np.sin(t * 1.7 + rng.uniform(0, 6)) + np.linspace(0, rng.normal(0, 0.08), len(t))
    return np.stack([width / 2 * grow * np.cos(t), height / 2 * grow * np.sin(t)], axis=1)


def smooth(points: Floats, between: int = 5) -> Floats:
    """The points with a Catmull-Rom curve through them."""
    if len(points) < 3:
        return points
    p = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    t = np.linspace(0, 1, between, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])
