"""`distort`: a page's image and what went wrong with it -> the picture, and where everything in it lies."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from einthoven.paper.distort.presets import PRESETS, Step
from einthoven.paper.distort.scene import Image, Scene, Stage
from einthoven.paper.distort.table import DISTORTIONS, ORDER
from einthoven.paper.distort.truth import Truth
from einthoven.paper.page import LETTER, MM_PER_INCH, Box, Page
from einthoven.record import EcgError


def distort(
    image: Image,
    page: Page,
    preset: str | Sequence[Step] = "photo",
    *,
    seed: int | Sequence[int] = 0,
    size: tuple[int, int] | None = None,
    fit: str = "pad",
) -> tuple[Image, Truth]:
    """A picture of a page, and the truth of it.

    Args:
        image: (rows, columns, 3) uint8 RGB, as `render` draws it. page: what it shows.
        preset: a name in PRESETS, or steps; they happen in the order of the table, each with random numbers of its own, so
            that a step more leaves the others as they were.
        seed: the same seed, page and steps give the same bytes.
        size: (width, height) of the picture in pixels, where it is not to be that of the page. fit: "pad" keeps the proportions
            and fills up with the desk, "stretch" does not.

    Raises:
        EcgError: no such preset or distortion, a strength below 0, or an image that is not the page's.
    """
    scene, truth = shoot(image.copy(), page, preset, seed=seed, size=size, fit=fit)
    return scene.image, truth


def shoot(
    image: Image,
    page: Page,
    preset: str | Sequence[Step] = "photo",
    *,
    seed: int | Sequence[int] = 0,
    size: tuple[int, int] | None = None,
    fit: str = "pad",
) -> tuple[Scene, Truth]:
    """As `distort`, but the finished scene: its `file` is there where the picture was stored as JPEG at the end.

    The image is taken over: marks are made on it.
    """
    steps = _steps(preset)
    if image.shape != (*page.shape, 3) or image.dtype != np.uint8:
        raise EcgError(f"the image is {image.shape} {image.dtype}, the page {(*page.shape, 3)} uint8")
    if fit not in ("pad", "stretch"):
        raise EcgError(f"fit must be pad or stretch, not {fit!r}")
    seeds = [seed] if isinstance(seed, (int, np.integer)) else list(seed)

    scene = Scene.of(image, page)
    taken: list[tuple[str, float]] = []
    stage = Stage.PAPER
    for step in steps:
        row = DISTORTIONS[step.name]
        _reach(scene, stage, row.stage, size, fit)
        stage = max(stage, row.stage)
        rng = np.random.default_rng([*seeds, zlib.crc32(step.name.encode())])
        there, strength = rng.random() < step.chance, float(rng.uniform(step.low, step.high))
        if there and strength > 0:
            row.apply(scene, rng, strength)
            taken.append((step.name, round(strength, 4)))
    _reach(scene, stage, Stage.FILE, size, fit)
    return scene, Truth(page, scene.warp, tuple(taken))


def framed(image: Image, size: tuple[int, int]) -> Image:
    """A picture that exists, whole, in one of `size` (width, height) pixels: what `shoot` makes of a page to which nothing
    happens. Averaged down, its proportions kept, in the middle of white.

    image: (rows, columns, 3) uint8 RGB; not changed.
    """
    rows, columns = image.shape[:2]
    per_mm = max(rows, columns) / max(LETTER)  # taken for a sheet of paper; what lies on it does not matter
    sheet = columns / per_mm, rows / per_mm
    page = Page(25.0, 10.0, per_mm * MM_PER_INCH, sheet, "", Box(0.0, 0.0, *sheet), ())
    return shoot(image, page, "clean", size=size)[0].image


def _steps(preset: str | Sequence[Step]) -> list[Step]:
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise EcgError(f"no preset {preset} (there are: {', '.join(PRESETS)})")
        preset = PRESETS[preset]
    for step in preset:
        if step.name not in DISTORTIONS:
            raise EcgError(f"no distortion {step.name} (there are: {', '.join(DISTORTIONS)})")
        if not 0 <= step.low <= step.high:
            raise EcgError(f"{step.name}: strengths from {step.low} to {step.high} are no range")
    return sorted(preset, key=lambda step: ORDER[step.name])


def _reach(scene: Scene, now: Stage, then: Stage, size: tuple[int, int] | None, fit: str) -> None:
    """What lies between two stages: the final size after the geometry, the resampling after the light."""
    if now <= Stage.GEOMETRY < then:
        if size is not None:
            rows, columns = scene.shape
            x, y = size[0] / columns, size[1] / rows
            scene.frame((size[1], size[0]), (x, y) if fit == "stretch" else (min(x, y), min(x, y)))
    if now <= Stage.LIGHT < then:
        scene.take()
