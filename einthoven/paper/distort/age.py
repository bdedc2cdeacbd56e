"""What years and desks do to paper: yellowing, foxing, stains. They take from the light that the sheet gives back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.distort.scene import Rng, Scene


def yellowing(scene: Scene, rng: Rng, strength: float) -> None:
    """Paper turned cream or brown, more so at its edges, and not everywhere alike."""
    if strength <= 0:
        return
    near_edge = np.exp(np.minimum(scene.beyond, 0) / np.float32(rng.uniform(8, 30)))
    age = strength * (0.35 + 0.65 * rng.random()) * (0.7 + 0.25 * _mottled(scene, rng, 60.0) + 0.5 * near_edge)
    _dye(scene, np.clip(age, 0, 2.5).astype(np.float32), (0.05, 0.12, 0.28))


def stains(scene: Scene, rng: Rng, strength: float) -> None:
    """Rings of cups, drops, damp: brown where a liquid dried, darkest at its edge; and small spots of mould."""
    if strength <= 0:
        return
    x, y = scene.grid
    w, h = scene.page.size
    amount = np.zeros_like(x)
    for _ in range(max(int(rng.poisson(1.6 * strength)), 1)):
        cx, cy = rng.uniform(0, w), rng.uniform(0, h)
        rough = rng.normal(0, 0.05, 3)
        around = np.arctan2(y - cy, x - cx)
        radius = np.hypot(x - cx, y - cy) * (1 + rough[0] * np.cos(2 * around) + rough[1] * np.sin(3 * around + rough[2] * 50))
        dark = min(strength, 2.0) * rng.uniform(0.3, 1.0)
        if rng.random() < 0.5:  # a cup's ring
            size, wide = rng.uniform(28, 42), rng.uniform(0.8, 2.2)
            broken = 0.6 + 0.4 * np.sin(around * rng.integers(1, 3) + rng.uniform(0, 6))
            amount += dark * np.exp(-(((radius - size) / wide) ** 2)) * broken
        else:  # a spill
            size = rng.uniform(6, 50)
            inside = 1 / (1 + np.exp(np.clip((radius - size) / 0.8, -30, 30)))
            amount += dark * (0.4 * inside + 0.6 * np.exp(-(((radius - size) / 1.6) ** 2)))
    spots = int(rng.poisson(10 * strength)) if rng.random() < 0.4 else 0
    for _ in range(spots):
        cx, cy, size = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.5, 2.2)
        amount += 1.2 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / size**2)
    _dye(scene, amount.astype(np.float32), (0.22, 0.34, 0.5))


def _mottled(scene: Scene, rng: Rng, size: float) -> NDArray[np.float32]:
    """Smooth noise about 0 with patches of about `size` mm, at the grid's nodes, fixed to the sheet."""
    import cv2

    w, h = scene.page.size
    coarse = rng.standard_normal((math.ceil(h / size) + 3, math.ceil(w / size) + 3), np.float32)
    field = cv2.resize(coarse, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    x, y = scene.grid
    k = np.float32(8 / size)
    return np.asarray(cv2.remap(field, x * k + 8, y * k + 8, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _dye(scene: Scene, amount: NDArray[np.float32], colour: tuple[float, float, float]) -> None:
    """Takes these shares of red, green and blue away where amount is 1, on the sheet only."""
    scene.dim(np.exp(amount[..., None] * np.log1p(-np.array(colour, np.float32))))
