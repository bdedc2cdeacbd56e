"""`Scene`: a sheet on its way into a picture. Distortions change it; it makes the one resampling between them.

Stages, in this order whatever the order in which distortions are asked for:

    PAPER     what happened to the sheet: marks, stains, age      changes `sheet` (the page's own pixels)
    GEOMETRY  how it lies and where it is seen from               adds `bends`, moves `matrix`, `lens`, `shape`
    LIGHT     what falls on it                                    multiplies `light`
    CAMERA    what the lens, the sensor or the fax makes of it    changes `image`
    FILE      how it is stored                                    changes `image`
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.distort.warp import Bend, Warp, spread
from einthoven.paper.page import Box, Floats, Page

Image = NDArray[np.uint8]
Rng = np.random.Generator

STEP = 4  # pixels between the nodes of map and light
_SMALLEST = 0.6  # of the page's scale: a picture below it is taken from a page that was averaged down first


class Stage(IntEnum):
    PAPER = 0
    GEOMETRY = 1
    LIGHT = 2
    CAMERA = 3
    FILE = 4


@dataclass(frozen=True)
class Distortion:
    """A row of the table: `apply(scene, rng, strength)`; strength 0 changes nothing, 1 is what is common, 2 is a lot."""

    name: str
    stage: Stage
    apply: Callable[[Scene, Rng, float], None]
    text: str


@dataclass
class Scene:
    """`sheet` (rows, columns, 3) RGB in the page's pixels; `image` the picture, from the LIGHT stage on.

    matrix: sheet as seen from above (mm) -> pixels of the picture, of `shape`. desk: the colour under the sheet;
    `desk_texture` its relief, 0 for none.
    """

    page: Page
    sheet: Image
    matrix: Floats
    shape: tuple[int, int]
    bends: list[Bend] = field(default_factory=list)
    distance: float = 400.0
    oblique: tuple[float, float] = (0.0, 0.0)
    lens: float = 0.0
    desk: tuple[float, float, float] = (255.0, 255.0, 255.0)
    desk_texture: float = 0.0
    desk_seed: int = 0
    image: Image = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    _light: NDArray[np.float32] | None = None

    @staticmethod
    def of(image: Image, page: Page) -> Scene:
        """A page as it was drawn."""
        warp = Warp.of(page)
        return Scene(page, image, np.array(warp.matrix).reshape(3, 3), warp.shape)

    # ---- geometry ----

    @property
    def middle(self) -> tuple[float, float]:
        """The picture's middle, pixels."""
        return (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2

    def move(self, matrix: Floats) -> None:
        """Moves the picture by a (3, 3) matrix of its pixels about its middle."""
        mx, my = self.middle
        to, back = np.array([[1, 0, mx], [0, 1, my], [0, 0, 1.0]]), np.array([[1, 0, -mx], [0, 1, -my], [0, 0, 1.0]])
        self.matrix = to @ matrix @ back @ self.matrix

    def frame(self, shape: tuple[int, int], scale: tuple[float, float], shift: tuple[float, float] = (0.0, 0.0)) -> None:
        """Another picture size: what was seen is scaled about the middle, which comes to the new middle plus `shift` px."""
        (mx, my), self.shape = self.middle, shape
        nx, ny = self.middle
        self.matrix = (
            np.array([[scale[0], 0, nx + shift[0] - scale[0] * mx], [0, scale[1], ny + shift[1] - scale[1] * my], [0, 0, 1.0]])
            @ self.matrix
        )

    def outline(self, box: Box) -> Floats:
        """(N, 2) pixels along the edges of a part of the sheet."""
        t = np.linspace(0, 1, 9)
        x, y = box.left + t * box.width, box.top + t * box.height
        xs = np.concatenate([x, x, 0 * t + box.left, 0 * t + box.right])
        ys = np.concatenate([0 * t + box.top, 0 * t + box.bottom, y, y])
        return np.stack(self._warp().forward(xs, ys), axis=1)

    def _warp(self) -> Warp:
        return Warp(
            self.page.size,
            self.shape,
            tuple(float(v) for v in self.matrix.reshape(-1)),
            tuple(self.bends),
            self.distance,
            self.oblique,
            self.lens,
        )

    # ---- from here on the geometry stands ----

    @cached_property
    def warp(self) -> Warp:
        return self._warp()

    @cached_property
    def moved(self) -> bool:
        """Whether the picture is anything else than the page as it was drawn."""
        still = Warp.of(self.page)
        near = self.shape == still.shape and np.allclose(self.matrix.reshape(-1), still.matrix, rtol=0, atol=1e-9)
        return bool(self.bends or self.lens or not near)

    @cached_property
    def grid(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where on the sheet (mm) the nodes of the picture lie."""
        return self.warp.nodes(STEP)

    @cached_property
    def px_per_mm(self) -> float:
        """The picture's scale in the sheet's middle."""
        w, h = self.page.size
        x, y = self.warp.forward([w / 2 - 5, w / 2 + 5, w / 2, w / 2], [h / 2, h / 2, h / 2 - 5, h / 2 + 5])
        return math.sqrt(abs((x[1] - x[0]) * (y[3] - y[2]) - (x[3] - x[2]) * (y[1] - y[0]))) / 10

    @cached_property
    def beyond(self) -> NDArray[np.float32]:
        """How far (mm) the nodes lie outside of the sheet; below 0 inside."""
        x, y = self.grid
        w, h = self.page.size
        out: NDArray[np.float32] = np.maximum(np.maximum(-x, x - w), np.maximum(-y, y - h))
        return out

    def take(self) -> None:
        """The one resampling: sheet -> image."""
        if not self.moved:
            self.image = self.sheet.copy()
            return
        import cv2

        scale = self.page.px_per_mm
        sheet = self.sheet
        if self.px_per_mm < _SMALLEST * scale:  # what is made smaller is averaged first, or thin lines break up
            smaller = max(self.px_per_mm / scale, 0.05)
            size = max(round(sheet.shape[1] * smaller), 1), max(round(sheet.shape[0] * smaller), 1)
            sheet = np.asarray(cv2.resize(sheet, size, interpolation=cv2.INTER_AREA), np.uint8)
        x, y = self.grid
        # Pixel centres are integers: the sheet's left edge is at -0.5, whatever its scale.
        kx, ky = sheet.shape[1] / self.sheet.shape[1] * scale, sheet.shape[0] / self.sheet.shape[0] * scale
        map_x, map_y = (
            spread(x * np.float32(kx) - np.float32(0.5), STEP, self.shape),
            spread(y * np.float32(ky) - np.float32(0.5), STEP, self.shape),
        )
        if self.beyond.max() > -0.5:
            self.image = self._desk()
            cv2.remap(sheet, map_x, map_y, cv2.INTER_LINEAR, self.image, cv2.BORDER_TRANSPARENT)
        else:
            self.image = np.asarray(cv2.remap(sheet, map_x, map_y, cv2.INTER_LINEAR), np.uint8)

    def _desk(self) -> Image:
        """What lies under the sheet: a colour with streaks."""
        import cv2

        rows, columns = self.shape
        if not self.desk_texture:
            return np.broadcast_to(np.round(self.desk).astype(np.uint8), (rows, columns, 3)).copy()
        rng = np.random.default_rng(self.desk_seed)
        fine = rng.standard_normal((max(rows // 4, 2), max(columns // 40, 2)), np.float32)
        wide = rng.standard_normal((5, 6), np.float32)
        relief = cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_LINEAR) + 1.5 * np.asarray(
            cv2.resize(wide, (columns, rows), interpolation=cv2.INTER_CUBIC)
        )
        shade = 1 + np.float32(self.desk_texture) * relief
        out = np.empty((rows, columns, 3), np.uint8)
        for c in range(3):
            out[..., c] = np.clip(shade * np.float32(self.desk[c]), 0, 255)
        return out

    # ---- light ----

    def shine(self, factor: NDArray[np.float32]) -> None:
        """Multiplies the light, (rows, columns) or (rows, columns, 3) at the nodes of `grid`."""
        if factor.ndim == 2:
            factor = factor[..., None]
        self._light = factor.astype(np.float32) if self._light is None else self._light * factor

    def expose(self) -> None:
        """The light falls on the image."""
        if self._light is None:
            return
        import cv2

        full = spread(self._light, STEP, self.shape)
        image = self.image
        if full.ndim == 2:  # one light for all three colours
            full = cv2.merge([full, full, full])
        self.image = np.asarray(cv2.multiply(image, full, dtype=cv2.CV_8U), np.uint8)
        self._light = None
