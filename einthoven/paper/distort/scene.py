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
from numba import njit
from numpy.typing import NDArray

from einthoven.paper.distort.warp import Bend, Warp, pitch
from einthoven.paper.page import Box, Floats, Page

Image = NDArray[np.uint8]
Packed = NDArray[np.uint64]
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
    """`sheet` (rows, columns, 3) RGB in the page's pixels; `image` the picture, from the CAMERA stage on.

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
    file: bytes = b""  # of the image, where it was stored as JPEG and nothing came after
    _image: Image = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    _light: NDArray[np.float32] | None = None
    _under: NDArray[np.float32] | None = None

    @staticmethod
    def of(image: Image, page: Page) -> Scene:
        """A page as it was drawn."""
        warp = Warp.of(page)
        return Scene(page, image, np.array(warp.matrix).reshape(3, 3), warp.shape)

    @property
    def image(self) -> Image:
        """The picture, (rows, columns, 3) RGB; opened from its file where it was stored."""
        if self.file and not self._image.size:
            import cv2

            opened = cv2.imdecode(np.frombuffer(self.file, np.uint8), cv2.IMREAD_COLOR_RGB)
            self._image = np.asarray(opened, np.uint8)
        return self._image

    @image.setter
    def image(self, image: Image) -> None:
        self._image, self.file = image, b""

    def store(self, file: bytes) -> None:
        """The picture is from now on what this JPEG file holds."""
        self._image, self.file = np.zeros((0, 0, 3), np.uint8), file

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
            pitch(self.page),
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

    # ---- light ----

    def shine(self, factor: NDArray[np.float32]) -> None:
        """Multiplies the light, (rows, columns) or (rows, columns, 3) at the nodes of `grid`."""
        if factor.ndim == 2:
            factor = factor[..., None]
        self._light = factor.astype(np.float32) if self._light is None else self._light * factor

    def dim(self, factor: NDArray[np.float32]) -> None:
        """Multiplies what the sheet alone gives back, as `shine`; so it has no edge of its own where the sheet ends."""
        self.shine(factor)
        self.under(np.float32(1) / factor.astype(np.float32))

    def under(self, factor: NDArray[np.float32]) -> None:
        """Multiplies what the desk alone gives back."""
        if factor.ndim == 2:
            factor = factor[..., None]
        self._under = factor if self._under is None else self._under * factor

    def take(self) -> None:
        """The one resampling: sheet, desk and the light on them -> image."""
        if not self.moved and self._light is None:
            self.image = self.sheet.copy()
            return
        import cv2

        scale = self.page.px_per_mm
        sheet = self.sheet
        if self.px_per_mm < _SMALLEST * scale:  # what is made smaller is averaged first, or thin lines break up
            n = min(max(round(scale / self.px_per_mm), 2), 16)  # whole pixels to one, which is several times as fast
            tall, wide = sheet.shape[0] // n, sheet.shape[1] // n
            sheet = np.asarray(cv2.resize(sheet[: tall * n, : wide * n], (wide, tall), interpolation=cv2.INTER_AREA), np.uint8)
            scale /= n
        x, y = self.grid
        # Pixel centres are integers: the sheet's left edge is at -0.5, whatever its scale.
        light = np.ones((1, 1, 1), np.float32) if self._light is None else self._light
        out = np.empty((*self.shape, 3), np.uint8)
        _take(
            _packed(np.ascontiguousarray(sheet)),
            x * np.float32(scale) - np.float32(0.5),
            y * np.float32(scale) - np.float32(0.5),
            np.ascontiguousarray(np.broadcast_to(light, (*x.shape, 3))),
            self._desk() if self.beyond.max() > -1 else np.zeros((1, 1, 3), np.float32),
            STEP,
            out,
        )
        self.image, self._light = out, None

    def _desk(self) -> NDArray[np.float32]:
        """What lies under the sheet, a colour with streaks: (rows, columns, 3) at the nodes of `grid`."""
        import cv2

        rows, columns = self.grid[0].shape
        shade = np.ones((rows, columns), np.float32)
        if self.desk_texture:
            rng = np.random.default_rng(self.desk_seed)
            fine = rng.standard_normal((rows, max(columns // 10, 2)), np.float32)
            wide = rng.standard_normal((5, 6), np.float32)
            streaks = np.asarray(cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_LINEAR))
            patches = np.asarray(cv2.resize(wide, (columns, rows), interpolation=cv2.INTER_CUBIC))
            shade += np.float32(self.desk_texture) * (streaks + np.float32(1.5) * patches)
        desk = np.clip(shade[..., None] * np.array(self.desk, np.float32), 0, 255)
        if self._under is not None:
            desk = desk * self._under
        return np.ascontiguousarray(desk, np.float32)


_LANE, _FINE = 21, 64  # bits to a colour of a packed pixel; steps between two pixels
_FULL = _FINE * _FINE


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _packed(sheet: Image) -> Packed:
    """Red, green and blue of each pixel in one number, each with room to be multiplied by _FULL: three sums in one."""
    height, width = sheet.shape[:2]
    out = np.empty((height, width), np.uint64)
    for j in range(height):
        for i in range(width):
            r, g, b = np.uint64(sheet[j, i, 0]), np.uint64(sheet[j, i, 1]), np.uint64(sheet[j, i, 2])
            out[j, i] = r | g << np.uint64(_LANE) | b << np.uint64(2 * _LANE)
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _between(nodes: NDArray[np.float32], j: int, i: int, c: int, down: float, across: float) -> float:
    """A channel between four nodes."""
    above = nodes[j, i, c] + across * (nodes[j, i + 1, c] - nodes[j, i, c])
    below = nodes[j + 1, i, c] + across * (nodes[j + 1, i + 1, c] - nodes[j + 1, i, c])
    return float(above + down * (below - above))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _take(
    sheet: Packed,
    xs: NDArray[np.float32],
    ys: NDArray[np.float32],
    light: NDArray[np.float32],
    desk: NDArray[np.float32],
    step: int,
    out: Image,
) -> None:
    """Picture from sheet (as `_packed`): places, light and desk linear between nodes, the sheet linear between its pixels.

    xs, ys (rows, columns): the nodes' places in the sheet's pixels. light, desk (rows, columns, 3); a desk of one node is not
    seen. A pixel at the sheet's edge is shared.
    """
    height, width = sheet.shape
    rows, columns = out.shape[:2]
    n = xs.shape[1]
    bare = desk.shape[0] > 1
    one = np.float32(1)
    pixels, stride = sheet.reshape(-1), np.uint64(width)
    lane = np.uint64((1 << _LANE) - 1)
    # x, y, red, green, blue of the light at the first pixel behind each node, and how they change from pixel to pixel: in 2^-16
    # pixels and 2^-12 of the light, for whole numbers are fast.
    first, change = np.empty((5, n - 1), np.int64), np.empty((5, n - 1), np.int64)
    line = np.empty((5, n), np.float32)
    units = (np.float32(65536), np.float32(65536), np.float32(4096), np.float32(4096), np.float32(4096))
    near = np.float32(0.5 / step)
    right, low = np.int64(width - 1) << 16, np.int64(height - 1) << 16
    for j in range(rows):
        v = np.float32((j + 0.5) / step + 0.5)
        k = int(v)
        b = v - np.float32(k)
        a = one - b
        for i in range(n):
            line[0, i] = a * xs[k, i] + b * xs[k + 1, i]
            line[1, i] = a * ys[k, i] + b * ys[k + 1, i]
            line[2, i] = a * light[k, i, 0] + b * light[k + 1, i, 0]
            line[3, i] = a * light[k, i, 1] + b * light[k + 1, i, 1]
            line[4, i] = a * light[k, i, 2] + b * light[k + 1, i, 2]
        for c in range(5):
            unit = units[c]
            for m in range(n - 1):
                slope = line[c, m + 1] - line[c, m]
                first[c, m] = np.int64(unit * (line[c, m] + near * slope))
                change[c, m] = np.int64(unit * slope / np.float32(step))
        for m in range(n - 1):
            begin = m * step - step // 2
            x, y, r, g, u = first[0, m], first[1, m], first[2, m], first[3, m], first[4, m]
            dx, dy, dr, dg, du = change[0, m], change[1, m], change[2, m], change[3, m], change[4, m]
            end_x, end_y = x + step * dx, y + step * dy
            inside = min(x, end_x) >= 0 and max(x, end_x) < right and min(y, end_y) >= 0 and max(y, end_y) < low
            if begin < 0:
                x, y, r, g, u = x - begin * dx, y - begin * dy, r - begin * dr, g - begin * dg, u - begin * du
            for i in range(max(begin, 0), min(begin + step, columns)):
                px, py, share = x, y, one
                if not inside:
                    share = max(min(np.float32(min(x, right - x)) / 65536 + one, one), np.float32(0))
                    share *= max(min(np.float32(min(y, low - y)) / 65536 + one, one), np.float32(0))
                    px, py = min(max(x, 0), right - 1), min(max(y, 0), low - 1)
                fx, fy = np.uint64(px >> 10 & 63), np.uint64(py >> 10 & 63)
                w11 = fx * fy
                w01, w10 = (fx << np.uint64(6)) - w11, (fy << np.uint64(6)) - w11
                w00 = np.uint64(_FULL) - w01 - w10 - w11
                at = np.uint64(py >> 16) * stride + np.uint64(px >> 16)  # unsigned: no check for indices from the end
                under = at + stride
                mixed = (
                    w00 * pixels[at]
                    + w01 * pixels[at + np.uint64(1)]
                    + w10 * pixels[under]
                    + w11 * pixels[under + np.uint64(1)]
                )
                red = np.int64(mixed & lane)
                green = np.int64(mixed >> np.uint64(_LANE) & lane)
                blue = np.int64(mixed >> np.uint64(2 * _LANE))
                if share < one and bare:
                    t = np.float32((i + 0.5) / step + 0.5 - m)
                    bare_r = _between(desk, k, m, 0, b, t)
                    bare_g = _between(desk, k, m, 1, b, t)
                    bare_b = _between(desk, k, m, 2, b, t)
                    rest = (one - share) * np.float32(_FULL)
                    red = np.int64(share * red + rest * bare_r)
                    green = np.int64(share * green + rest * bare_g)
                    blue = np.int64(share * blue + rest * bare_b)
                out[j, i, 0] = np.uint8(min((red * r + 8388608) >> 24, 255))
                out[j, i, 1] = np.uint8(min((green * g + 8388608) >> 24, 255))
                out[j, i, 2] = np.uint8(min((blue * u + 8388608) >> 24, 255))
                x, y, r, g, u = x + dx, y + dy, r + dr, g + dg, u + du
