"""What a lens and a sensor make of the light: blur, motion, noise, contrast, moire, coarse pixels, JPEG."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.distort.scene import STEP, Image, Rng, Scene
from einthoven.paper.distort.warp import spread

_PARTS = 28.0
_DRAWN = 7.87  # pixels to the millimetre at 200 dpi, for which strengths are meant


def contrast(scene: Scene, rng: Rng, strength: float) -> None:
    """What a camera's own curve leaves: blacks lifted, contrast a little lower or higher."""
    if strength <= 0:
        return
    lift = 38 * strength * rng.beta(1.2, 2.0)
    gamma = math.exp(0.25 * strength * rng.uniform(-1, 1))
    x = np.arange(256) / 255
    curve = np.clip(lift + (255 - lift) * x**gamma, 0, 255)
    scene.image = _mapped(scene.image, curve)


def defocus(scene: Scene, rng: Rng, strength: float) -> None:
    """Out of focus: a Gaussian of about 0.1 mm at strength 1."""
    if strength <= 0:
        return
    _blur(scene, 0.1 * strength * rng.uniform(0.4, 1.4) * scene.px_per_mm)


def motion(scene: Scene, rng: Rng, strength: float) -> None:
    """The hand moved: smeared along a straight line of about 0.35 mm at strength 1."""
    if strength <= 0:
        return
    import cv2

    length = 0.35 * strength * rng.uniform(0.3, 1.3) * scene.px_per_mm
    angle = rng.uniform(0, math.pi)
    if length < 0.7:
        return
    # A line of sub-pixel ends through the middle of a small kernel: points along it, each shared by its four neighbours.
    half = math.ceil(length / 2) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float64)
    for t in np.linspace(-length / 2, length / 2, 8 * half):
        x, y = half + t * math.cos(angle), half + t * math.sin(angle)
        i, j = int(x), int(y)
        a, b = x - i, y - j
        kernel[j : j + 2, i : i + 2] += np.outer([1 - b, b], [1 - a, a])
    scene.image = np.asarray(
        cv2.filter2D(scene.image, -1, (kernel / kernel.sum()).astype(np.float32), borderType=cv2.BORDER_REPLICATE), np.uint8
    )


def noise(scene: Scene, rng: Rng, strength: float) -> None:
    """A sensor's noise, Gaussian: mostly of brightness, some of colour, 4 of 255 at strength 1 and 200 dpi."""
    if strength <= 0:
        return
    import cv2

    sigma = 4.0 * strength * rng.uniform(0.4, 1.4) * min(scene.px_per_mm / _DRAWN, 1.0)
    rows, columns = scene.shape
    # Drawing 11 million Gaussians would take longer than all the rest: one tile of them, from anywhere in it, mirrored at will.
    tile = _grain()
    tall, wide = tile.shape[:2]
    j, i = int(rng.integers(max(tall - rows, 0) + 1)), int(rng.integers(max(wide - columns, 0) + 1))
    tile = tile[:: int(rng.choice([-1, 1])), :: int(rng.choice([-1, 1]))][j : j + rows, i : i + columns]
    table = np.clip(np.rint((np.arange(256) - 128) * (sigma / _PARTS)), -127, 127).astype(np.int8)
    grain = np.asarray(cv2.LUT(np.ascontiguousarray(tile), table))
    full = np.tile(grain, (math.ceil(rows / tall), math.ceil(columns / wide), 1))[:rows, :columns]
    scene.image = np.asarray(cv2.add(scene.image, full, dtype=cv2.CV_8U), np.uint8)


@lru_cache(1)
def _grain() -> Image:
    """(509, 769, 3) Gaussian noise about 128 of deviation _PARTS, three parts of brightness to one of colour."""
    noise = np.random.default_rng(509).standard_normal((509, 769, 4), np.float32)
    mixed = np.float32(0.866) * noise[..., :1] + np.float32(0.5) * noise[..., 1:]
    return np.clip(np.rint(128 + _PARTS * mixed), 0, 255).astype(np.uint8)


def salt_and_pepper(scene: Scene, rng: Rng, strength: float) -> None:
    """Single pixels all white or all black: 1 in 1000 at strength 1."""
    if strength <= 0:
        return
    rows, columns = scene.shape
    count = round(rows * columns * 0.001 * strength * rng.uniform(0.3, 1.5))
    at = rng.integers(0, rows * columns, count)
    scene.image = scene.image.copy()
    scene.image.reshape(-1, 3)[at] = np.where(rng.random(count) < 0.5, 0, 255).astype(np.uint8)[:, None]


def low_resolution(scene: Scene, rng: Rng, strength: float) -> None:
    """Sent small and shown large again: detail of 100 dpi at strength 1, 60 at 2. The picture keeps its size."""
    if strength <= 0:
        return
    import cv2

    wanted = 100 / 25.4 * rng.uniform(0.75, 1.25) / strength**0.7
    smaller = wanted / scene.px_per_mm
    if smaller >= 1:
        return
    rows, columns = scene.shape
    small = cv2.resize(
        scene.image, (max(round(columns * smaller), 8), max(round(rows * smaller), 8)), interpolation=cv2.INTER_AREA
    )
    scene.image = np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR), np.uint8)


def jpeg(scene: Scene, rng: Rng, strength: float) -> None:
    """Stored as JPEG and opened again: quality about 80 at strength 1, 60 at 2."""
    if strength <= 0:
        return
    import cv2

    quality = int(np.clip(100 - 20 * strength * rng.uniform(0.5, 1.5), 12, 98))
    bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
    scene.store(bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]))


def moire(scene: Scene, rng: Rng, strength: float) -> None:
    """A photographed screen: the camera's pixels beat with the screen's, whose red, green and blue stand side by side."""
    if strength <= 0:
        return
    import cv2

    x, y = scene.grid
    # Screen pixels to the camera's: near 1 or 1/2 the beat is slow enough to be seen.
    ratio = float(rng.choice([0.5, 1.0])) * rng.uniform(0.96, 1.04)
    pitch = np.float32(ratio * scene.px_per_mm * 256)
    depth = 16 * strength * rng.uniform(0.3, 1.2)
    wave = np.cos(np.arange(256) * 2 * math.pi / 256)
    columns, rows = (_phase(spread(v * pitch, STEP, scene.shape)) for v in (x, y))
    lines = np.asarray(cv2.LUT(rows, np.round(0.5 * depth * wave).astype(np.int8)))
    out = []
    for c in range(3):
        stripes = np.asarray(cv2.LUT(columns, np.round(depth * np.roll(wave, c * 256 // 3)).astype(np.int8)))
        out.append(cv2.add(lines, stripes))
    pattern = np.asarray(cv2.merge(out))
    if scene.beyond.max() > 0:  # what is not the screen does not shine
        pattern[spread(scene.beyond, STEP, scene.shape) > 0] = 0
    scene.image = np.asarray(cv2.add(scene.image, pattern, dtype=cv2.CV_8U), np.uint8)


def _phase(turns: NDArray[np.float32]) -> Image:
    """The fraction of 256ths of a turn, wrapped."""
    return turns.astype(np.int32).astype(np.uint8)


def _blur(scene: Scene, sigma: float) -> None:
    if sigma < 0.2:
        return
    import cv2

    size = 2 * math.ceil(2.5 * sigma) + 1
    scene.image = np.asarray(cv2.GaussianBlur(scene.image, (size, size), sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _mapped(image: Image, curve: NDArray[np.float64]) -> Image:
    import cv2

    return np.asarray(cv2.LUT(image, np.round(curve).astype(np.uint8)), np.uint8)
