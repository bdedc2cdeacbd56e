"""What falls on the sheet: relief shading, uneven light, shadows, glare, and the colour of the light."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.distort.scene import Rng, Scene


def relief(scene: Scene, rng: Rng, strength: float) -> None:
    """A sheet that is not flat is brighter where it faces the lamp; one on a desk throws a narrow shadow."""
    if strength <= 0:
        return
    import cv2

    x, y = scene.grid
    towards = rng.uniform(0, 2 * math.pi)
    if scene.bends:
        z = scene.warp.heights
        down, across = np.gradient(z, scene.warp.pitch)
        slope = across * np.float32(math.cos(towards)) + down * np.float32(math.sin(towards))
        # Lambert's law for a lamp 45 degrees up, relative to the flat sheet; a slope of 0.1 makes 10 %.
        shade = (1 + slope) / np.sqrt(1 + across**2 + down**2)
        seen = cv2.remap(
            np.clip(1 + strength * (shade - 1), 0.35, 1.5).astype(np.float32),
            x / np.float32(scene.warp.pitch),
            y / np.float32(scene.warp.pitch),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        scene.dim(np.asarray(seen, np.float32))
    if scene.beyond.max() > 0:
        wide = np.float32(rng.uniform(2, 7))
        dark = np.float32(min(0.35 * strength, 0.8))
        scene.under(1 - dark * np.exp(-np.maximum(scene.beyond, 0) / wide))


def uneven(scene: Scene, rng: Rng, strength: float) -> None:
    """One lamp to the side: light falls off across the picture, and towards its corners."""
    if strength <= 0:
        return
    u, v = _place(scene)
    towards = rng.uniform(0, 2 * math.pi)
    slope = 0.22 * strength * rng.uniform(0.2, 1.0)
    corner = 0.18 * strength * rng.uniform(0.0, 1.0)
    light = 1 + slope * (u * math.cos(towards) + v * math.sin(towards)) - corner * (u * u + v * v)
    scene.shine(np.clip(light, 0.15, 1.4).astype(np.float32))


def shadow(scene: Scene, rng: Rng, strength: float) -> None:
    """The shadow of a hand, a phone, a window frame: one to three soft-edged dark places."""
    if strength <= 0:
        return
    u, v = _place(scene)
    light = np.ones_like(u)
    for _ in range(int(rng.integers(1, 4))):
        dark = min(0.35 * strength * rng.uniform(0.3, 1.0), 0.8)
        soft = rng.uniform(0.15, 0.9)
        angle = rng.uniform(0, 2 * math.pi)
        c, s = math.cos(angle), math.sin(angle)
        if rng.random() < 0.5:  # an edge: everything beyond a wavy line
            line = (
                (u * c + v * s) - rng.uniform(0.1, 0.8) + 0.12 * np.sin((v * c - u * s) * rng.uniform(1, 5) + rng.uniform(0, 6))
            )
        else:  # a blob
            a, b = rng.uniform(0.2, 0.6), rng.uniform(0.3, 1.0)
            x, y = rng.uniform(-1, 1), rng.uniform(-1, 1)
            line = 1 - np.sqrt((((u - x) * c + (v - y) * s) / a) ** 2 + (((v - y) * c - (u - x) * s) / b) ** 2)
        light *= 1 - dark / (1 + np.exp(np.clip(-line / (0.4 * soft), -30, 30)))
    scene.shine(light.astype(np.float32))


def glare(scene: Scene, rng: Rng, strength: float) -> None:
    """A lamp mirrored by a glossy sheet or screen: a bright patch that washes the print out."""
    if strength <= 0:
        return
    import cv2

    u, v = _place(scene)
    x, y, a, b = rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9), rng.uniform(0.15, 0.5), rng.uniform(0.1, 0.3)
    patch = np.exp(-(((u - x) / a) ** 2) - ((v - y) / b) ** 2) * min(0.45 * strength * rng.uniform(0.3, 1.0), 1.0)
    from einthoven.paper.distort.scene import STEP
    from einthoven.paper.distort.warp import spread

    share = spread(patch.astype(np.float32), STEP, scene.shape)
    full = cv2.merge([share, share, share])
    scene.image = np.asarray(
        cv2.add(scene.image, cv2.multiply(cv2.subtract(255, scene.image), full, dtype=cv2.CV_8U)), np.uint8
    )


def white_balance(scene: Scene, rng: Rng, strength: float) -> None:
    """The colour of a lamp that the camera did not correct: warm, cold, greenish; and how bright the picture is."""
    if strength <= 0:
        return
    warm = 0.13 * strength * rng.uniform(-0.6, 1.0)
    green = 0.03 * strength * rng.normal()
    bright = 1 - 0.28 * min(strength, 2.0) * rng.beta(1.2, 1.6)
    gain = np.array([1 + warm * 0.6, 1 + green, 1 - warm], np.float32) * np.float32(bright)
    scene.shine(np.broadcast_to(gain / max(float(gain.max()), 1.0), (*scene.grid[0].shape, 3)))


def _place(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The nodes' place in the picture, -1..1 from edge to edge."""
    rows, columns = scene.grid[0].shape
    u, v = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    return u, v
