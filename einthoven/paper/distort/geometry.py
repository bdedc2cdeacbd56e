"""How a sheet lies and from where it is seen: turn, rotation, skew, perspective, lens, curl, folds, creases, crop."""

from __future__ import annotations

import math

import numpy as np

from einthoven.paper.distort.marks import worn
from einthoven.paper.distort.scene import Rng, Scene
from einthoven.paper.distort.warp import Bend
from einthoven.paper.page import Box


def turn(scene: Scene, rng: Rng, strength: float) -> None:
    """The sheet on its side or head: a quarter, half or three quarters of a turn."""
    if strength <= 0:
        return
    quarters = int(rng.integers(1, 4))
    rows, columns = scene.shape
    if quarters % 2:
        scene.frame((columns, rows), (1.0, 1.0))
    c, s = (0, 1, 0, -1)[(quarters + 1) % 4], (0, 1, 0, -1)[quarters]
    scene.move(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]))


def rotation(scene: Scene, rng: Rng, strength: float) -> None:
    """Not quite straight: about 4 degrees at strength 1."""
    a = math.radians(4.0) * strength * rng.uniform(-1, 1)
    scene.move(np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1.0]]))


def skew(scene: Scene, rng: Rng, strength: float) -> None:
    """Sheared and stretched, as by a feeder that slips: up to 3 % each at strength 1."""
    a, b, u, v = 0.03 * strength * rng.uniform(-1, 1, 4)
    scene.move(np.array([[1 + u, a, 0], [b, 1 + v, 0], [0, 0, 1.0]]))


def perspective(scene: Scene, rng: Rng, strength: float) -> None:
    """Seen from the side: about 12 degrees of tilt in any direction at strength 1, 45 at most."""
    if strength <= 0:
        return
    tilt = min(math.radians(12.0) * strength * math.sqrt(rng.uniform(0.1, 1.0)), math.radians(45.0))
    towards = rng.uniform(0, 2 * math.pi)
    # A pinhole at a distance of 1.6 picture widths: turn the plane about an axis in it, then project.
    far = 1.6 * max(scene.shape)
    c, s = math.cos(towards), math.sin(towards)
    shorter, nearer = math.cos(tilt), math.sin(tilt) / far
    spin = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
    scene.move(spin.T @ np.array([[shorter, 0, 0], [0, 1, 0], [nearer, 0, 1.0]]) @ spin)
    scene.oblique = (scene.oblique[0] + math.tan(tilt) * c, scene.oblique[1] + math.tan(tilt) * s)


def lens(scene: Scene, rng: Rng, strength: float) -> None:
    """The barrel or pincushion of a small lens: up to 2 % at the corners at strength 1."""
    scene.lens += 0.02 * strength * rng.uniform(-1, 1)


def curl(scene: Scene, rng: Rng, strength: float) -> None:
    """A sheet that does not lie flat: a long wave, and often one edge that rises."""
    if strength <= 0:
        return
    w, h = scene.page.size
    scene.bends.append(
        Bend("wave", rng.uniform(0, math.pi), rng.uniform(-100, 100), strength * rng.uniform(1.5, 6.0), rng.uniform(200, 450))
    )
    if rng.random() < 0.6:
        angle = rng.choice([0.0, 0.5, 1.0, 1.5]) * math.pi + rng.normal(0, 0.25)
        reach = abs(w / 2 * math.cos(angle)) + abs(h / 2 * math.sin(angle))
        length = rng.uniform(40, 110)
        scene.bends.append(Bend("roll", angle, reach - length, strength * rng.uniform(3, 14), length))


def folds(scene: Scene, rng: Rng, strength: float) -> None:
    """Folded once or twice for a pocket or an envelope, and opened again: ridges or valleys across the sheet, ink worn off."""
    if strength <= 0:
        return
    w, h = scene.page.size
    for _ in range(int(rng.integers(1, 3))):
        upright = rng.random() < 0.6
        side = w if upright else h
        at = side * rng.choice([-1 / 6, 0.0, 0.0, 1 / 6]) + rng.normal(0, 4)
        angle = (0.0 if upright else math.pi / 2) + rng.normal(0, 0.01)
        height = strength * rng.uniform(1.5, 4.5) * rng.choice([-1.0, 1.0])
        scene.bends.append(Bend("fold", angle, at, height, rng.uniform(15, 45), rng.uniform(0.5, 1.2)))
        worn(scene, at, angle, rng)


def wrinkles(scene: Scene, rng: Rng, strength: float) -> None:
    """Crumpled and smoothed out: many short shallow creases in all directions."""
    if strength <= 0:
        return
    w, h = scene.page.size
    for _ in range(round(rng.uniform(8, 16) * min(strength, 2.0))):
        angle = rng.uniform(0, math.pi)
        x, y = rng.uniform(-w / 2, w / 2), rng.uniform(-h / 2, h / 2)
        c, s = math.cos(angle), math.sin(angle)
        height = min(strength, 1.5) * rng.uniform(0.25, 0.9) * rng.choice([-1.0, 1.0])
        width = rng.uniform(8, 45)
        scene.bends.append(
            Bend("fold", angle, x * c + y * s, height, rng.uniform(2.0, 8.0), rng.uniform(0.6, 2.0), y * c - x * s, width)
        )


def crop(scene: Scene, rng: Rng, strength: float) -> None:
    """Taken from too near: the picture shows a part of the sheet, up to 15 % less of each side at strength 1."""
    if strength <= 0:
        return
    lost = 1 - 0.15 * strength * rng.uniform(0.2, 1.0)
    lost = max(lost, 0.4)
    rows, columns = scene.shape
    room = (1 / lost - 1) / 2
    shift = columns * room * rng.uniform(-1, 1), rows * room * rng.uniform(-1, 1)
    scene.frame(scene.shape, (1 / lost, 1 / lost), shift)


def bezel(scene: Scene, rng: Rng, strength: float) -> None:
    """What is not the sheet is black: the frame of a screen, or the lid of a scanner that stood open."""
    if strength > 0:
        dark = float(rng.uniform(6, 40))
        scene.desk, scene.desk_texture = (dark, dark, dark), 0.0


def camera(scene: Scene, rng: Rng, strength: float) -> None:
    """A picture of a phone's shape: the whole sheet and some desk around it, or only its ECG, as most people take it."""
    if strength <= 0:
        return
    near = rng.random() < 0.5
    w, h = scene.page.size
    outline = scene.outline(scene.page.grid if near else Box(0.0, 0.0, w, h))
    low, high = outline.min(0), outline.max(0)
    wide, tall = (high - low).tolist()
    long_side = max(scene.shape)
    # A phone's 4:3 or 16:9, or cut to the sheet by its owner.
    own = max(wide, tall) / min(wide, tall)
    aspect = float(rng.choice([4 / 3, 16 / 9, own], p=[0.4, 0.1, 0.5]))
    short_side = round(long_side / aspect)
    shape = (short_side, long_side) if wide >= tall else (long_side, short_side)
    margin = 1 + strength * (rng.uniform(-0.03, 0.12) if near else rng.uniform(-0.05, 0.2))  # below 1 edges are cut
    scale = min(shape[1] / wide, shape[0] / tall) / margin
    mx, my = scene.middle
    cx, cy = (low + high) / 2
    slack = 0.5 * np.maximum(np.array([shape[1] - scale * wide, shape[0] - scale * tall]), 0) * rng.uniform(-0.8, 0.8, 2)
    scene.frame(shape, (scale, scale), (scale * (mx - cx) + slack[0], scale * (my - cy) + slack[1]))
    tone = rng.uniform(0.12, 0.85)
    tint = np.array([1.0, rng.uniform(0.82, 1.0), rng.uniform(0.6, 1.05)])
    if rng.random() < 0.25:
        tint = tint[::-1]
    red, green, blue = np.clip(255 * tone * tint, 0, 255).tolist()
    scene.desk = red, green, blue
    scene.desk_texture = float(rng.uniform(0.01, 0.06))
    scene.desk_seed = int(rng.integers(1 << 31))
