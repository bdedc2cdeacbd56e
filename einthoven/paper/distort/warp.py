"""`Warp`: where each point of a sheet lies in a picture of it, and back. Every geometric distortion is a part of it.

    sheet, mm --bends--> as seen from above, mm --matrix--> picture, px --lens--> picture, px

Forward is closed form (the bends are a table with linear interpolation, which is the definition, not an approximation of
it). Backward, lens and bends are contractions and solved by fixed-point iteration to 1e-6 of a millimetre. Pixel centres are
integers, as in `Page`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from einthoven.paper.page import Floats, Page

FINE_MM, COARSE_MM = 1.25, 2.5  # pitch of the table of bends, for pages of any size and for small ones
_CLOSE, _DRAWN = 1e-6, 1e-4  # mm; a picture's ink is spread over a thousand times that


@dataclass(frozen=True)
class Bend:
    """One way in which a sheet leaves its plane, a height z in mm along the direction `angle` (radians) of the sheet.

    wave: z = height * sin(2 pi (s - at) / length); roll: z = height * (max(s - at, 0) / length)^2, an end that curls up;
    fold: z = height * exp(-q / length), q = sqrt((s - at)^2 + round^2), a ridge (below 0 a valley) whose tip is `round` mm
    wide. s, t: mm along and across the direction from the sheet's middle. A finite `width` makes it fade as a Gaussian around
    t = `middle`: the short folds of which a crumpled sheet consists.
    """

    kind: str
    angle: float
    at: float
    height: float
    length: float
    round: float = 0.8
    middle: float = 0.0
    width: float = math.inf

    def z(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Height in mm at x, y mm from the sheet's middle."""
        c, s = np.float32(math.cos(self.angle)), np.float32(math.sin(self.angle))
        along = x * c + y * s - np.float32(self.at)
        height, length = np.float32(self.height), np.float32(self.length)
        z: NDArray[np.float32]
        if self.kind == "wave":
            z = height * np.sin(np.float32(2 * math.pi) / length * along)
        elif self.kind == "roll":
            z = height * np.square(np.maximum(along, 0) / length)
        else:
            z = height * np.exp(-np.sqrt(np.square(along) + np.float32(self.round**2)) / length)
        if math.isfinite(self.width):
            across = (y * c - x * s - np.float32(self.middle)) / np.float32(self.width)
            z *= np.exp(np.float32(-0.5) * np.square(across))
        return z


def pitch(page: Page) -> float:
    """How fine the table of bends is for pictures of a page, mm."""
    return FINE_MM if page.px_per_mm >= 5 else COARSE_MM


@dataclass(frozen=True)
class Warp:
    """The map from a sheet of `size` (width, height) mm to a picture of `shape` (rows, columns) pixels, and back.

    matrix: row by row, 3 x 3, from the sheet as seen from above (mm) to pixels. distance: of the eye above the sheet, mm;
    oblique: how much a height of 1 mm shifts a point along x and y for an eye that looks at a slant. lens: k of
    r -> r (1 + k r^2), r from the picture's middle in half diagonals (above 0 a pincushion, below 0 a barrel). pitch: of the
    nodes, mm, between which bends are linear.
    """

    size: tuple[float, float]
    shape: tuple[int, int]
    matrix: tuple[float, ...]
    bends: tuple[Bend, ...] = ()
    distance: float = 400.0
    oblique: tuple[float, float] = (0.0, 0.0)
    lens: float = 0.0
    pitch: float = FINE_MM

    @staticmethod
    def of(page: Page) -> Warp:
        """The page as it is drawn: nothing moved."""
        k = page.px_per_mm
        return Warp(page.size, page.shape, (k, 0.0, -0.5, 0.0, k, -0.5, 0.0, 0.0, 1.0), pitch=pitch(page))

    @property
    def heights(self) -> NDArray[np.float32]:
        """Height of the sheet in mm at nodes `pitch` apart, (rows, columns); the first node is its upper left corner."""
        return _heights(self.size, self.bends, self.pitch)

    @property
    def shifts(self) -> Floats:
        """(rows, columns, 2) mm by which the bends move the nodes of `heights`, as seen from above."""
        return _shifts(self.size, self.bends, self.pitch, self.distance, self.oblique)

    @cached_property
    def _matrices(self) -> tuple[Floats, Floats]:
        forward = np.array(self.matrix, np.float64).reshape(3, 3)
        return forward, np.asarray(np.linalg.inv(forward), np.float64)

    @property
    def _lens(self) -> tuple[float, float, float]:
        """Middle of the picture and k for radii in pixels."""
        rows, columns = self.shape
        return (columns - 1) / 2, (rows - 1) / 2, self.lens / (0.25 * (rows**2 + columns**2))

    def forward(self, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """x, y in mm on the sheet -> pixels in the picture. Any shape."""
        return self._each(_forward, x, y, self._matrices[0])

    def inverse(self, x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
        """Pixels in the picture -> x, y in mm on the sheet. Any shape."""
        return self._each(_inverse, x, y, self._matrices[1], _CLOSE)

    def _each(self, function: Any, x: ArrayLike, y: ArrayLike, matrix: Floats, *close: float) -> tuple[Floats, Floats]:
        xs, ys = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        a, b = np.ascontiguousarray(xs).reshape(-1).copy(), np.ascontiguousarray(ys).reshape(-1).copy()
        function(a, b, self.shifts, self.pitch, matrix, bool(self.bends), *self._lens, *close)
        return a.reshape(xs.shape), b.reshape(xs.shape)

    def nodes(self, step: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where on the sheet (mm) the picture's pixels lie, every `step` pixels: x, y (rows, columns) as `spread` takes them.

        Node k lies at pixel (k - 1/2) step - 1/2, so that there is one beyond each edge.
        """
        rows, columns = (math.ceil(n / step) + 2 for n in self.shape)
        at = ((np.arange(columns) - 0.5) * step - 0.5)[None, :], ((np.arange(rows) - 0.5) * step - 0.5)[:, None]
        x, y = self._each(_inverse, *at, self._matrices[1], _DRAWN)
        return x.astype(np.float32), y.astype(np.float32)

    @cached_property
    def homography(self) -> Floats:
        """(3, 3) matrix from mm on the sheet to pixels: exact for a flat sheet without lens, else the least squares fit."""
        if not self.bends and not self.lens:
            return np.asarray(self._matrices[0] / self._matrices[0][2, 2])
        import cv2

        x, y = (g.reshape(-1) for g in np.meshgrid(np.linspace(0, self.size[0], 15), np.linspace(0, self.size[1], 12)))
        fit, _ = cv2.findHomography(np.stack([x, y], 1), np.stack(self.forward(x, y), 1))
        return np.asarray(fit, np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Warp.from_dict` reads them back."""
        # Not by dataclasses.asdict, which copies every number of every bend with care.
        out: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        out["bends"] = tuple(dict(vars(bend)) for bend in self.bends)
        for bend in out["bends"]:
            if not math.isfinite(bend["width"]):
                del bend["width"]
        return out

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Warp:
        return cls(
            size=(d["size"][0], d["size"][1]),
            shape=(d["shape"][0], d["shape"][1]),
            matrix=tuple(float(v) for v in d["matrix"]),
            bends=tuple(Bend(**bend) for bend in d["bends"]),
            distance=d["distance"],
            oblique=(d["oblique"][0], d["oblique"][1]),
            lens=d["lens"],
            pitch=d["pitch"],
        )


@lru_cache(4)
def _heights(size: tuple[float, float], bends: tuple[Bend, ...], pitch: float) -> NDArray[np.float32]:
    nx, ny = (math.ceil(side / pitch) + 1 for side in size)
    x = np.arange(nx, dtype=np.float32)[None, :] * np.float32(pitch) - np.float32(size[0] / 2)
    y = np.arange(ny, dtype=np.float32)[:, None] * np.float32(pitch) - np.float32(size[1] / 2)
    z = np.zeros((ny, nx), np.float32)
    for bend in bends:
        z += bend.z(x, y)
    z.flags.writeable = False
    return z


@lru_cache(4)
def _shifts(
    size: tuple[float, float], bends: tuple[Bend, ...], pitch: float, distance: float, oblique: tuple[float, float]
) -> Floats:
    """Paper does not stretch: seen from above it is shorter by the square of its slope over two. What is nearer to the eye is
    larger, and an eye that looks at a slant sees heights shifted.
    """
    if not bends:
        return np.zeros((2, 2, 2))
    z = _heights(size, bends, pitch).astype(np.float64)
    ny, nx = z.shape
    moved = np.empty((ny, nx, 2))
    above = z - z[ny // 2, nx // 2]
    larger = 1 / (1 - above / distance)
    for axis, count in ((0, nx), (1, ny)):
        along = 1 - axis
        lost = np.zeros((ny, nx))
        steps = np.diff(z, axis=along)
        shorter = np.cumsum(pitch - np.sqrt(pitch**2 - np.minimum(steps**2, 0.5 * pitch**2)), axis=along)
        lost[(slice(None), slice(1, None)) if along else (slice(1, None), slice(None))] = shorter
        place = np.arange(count) * pitch - size[axis] / 2
        place = place[None, :] if along else place[:, None]
        middle = np.take(lost, [count // 2], axis=along)
        moved[..., axis] = (place + middle - lost + above * oblique[axis]) * larger - place
    moved.flags.writeable = False
    return moved


def spread(nodes: NDArray[np.float32], step: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Values at the nodes of `Warp.nodes` (rows, columns[, channels]) to every pixel of `shape`, linearly."""
    import cv2

    rows, columns = nodes.shape[:2]
    full = cv2.resize(nodes, (columns * step, rows * step), interpolation=cv2.INTER_LINEAR)
    out: NDArray[np.float32] = np.asarray(full)[step : step + shape[0], step : step + shape[1]]
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _shift(shifts: NDArray[np.float64], pitch: float, x: float, y: float) -> tuple[float, float]:
    """The shift at x, y mm, linear between nodes, that of the nearest edge outside."""
    ny, nx = shifts.shape[:2]
    u, v = min(max(x / pitch, 0.0), nx - 1.0), min(max(y / pitch, 0.0), ny - 1.0)
    i, j = min(int(u), nx - 2), min(int(v), ny - 2)
    a, b = u - i, v - j
    w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    dx = w00 * shifts[j, i, 0] + w01 * shifts[j, i + 1, 0] + w10 * shifts[j + 1, i, 0] + w11 * shifts[j + 1, i + 1, 0]
    dy = w00 * shifts[j, i, 1] + w01 * shifts[j, i + 1, 1] + w10 * shifts[j + 1, i, 1] + w11 * shifts[j + 1, i + 1, 1]
    return dx, dy


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _forward(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    shifts: NDArray[np.float64],
    pitch: float,
    m: NDArray[np.float64],
    bent: bool,
    mx: float,
    my: float,
    k: float,
) -> None:
    """In place, mm to pixels."""
    for n in range(len(xs)):
        x, y = xs[n], ys[n]
        if bent:
            dx, dy = _shift(shifts, pitch, x, y)
            x, y = x + dx, y + dy
        w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
        px, py = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w
        if k != 0.0:
            grow = 1 + k * ((px - mx) ** 2 + (py - my) ** 2)
            px, py = mx + (px - mx) * grow, my + (py - my) * grow
        xs[n], ys[n] = px, py


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _inverse(
    xs: NDArray[np.float64],
    ys: NDArray[np.float64],
    shifts: NDArray[np.float64],
    pitch: float,
    m: NDArray[np.float64],
    bent: bool,
    mx: float,
    my: float,
    k: float,
    close: float,
) -> None:
    """In place, pixels to mm, to `close` mm. Points come in rows: the last one's shift is a good first guess for the next."""
    dx = dy = 0.0
    for n in range(len(xs)):
        px, py = xs[n], ys[n]
        if k != 0.0:
            rx, ry = px - mx, py - my
            for _ in range(50):
                grow = 1 + k * (rx * rx + ry * ry)
                nx, ny = (px - mx) / grow, (py - my) / grow
                moved = abs(nx - rx) + abs(ny - ry)
                rx, ry = nx, ny
                if moved < close:
                    break
            px, py = mx + rx, my + ry
        w = m[2, 0] * px + m[2, 1] * py + m[2, 2]
        x, y = (m[0, 0] * px + m[0, 1] * py + m[0, 2]) / w, (m[1, 0] * px + m[1, 1] * py + m[1, 2]) / w
        if bent:
            for _ in range(100):
                nx, ny = _shift(shifts, pitch, x - dx, y - dy)
                moved = abs(nx - dx) + abs(ny - dy)
                dx, dy = nx, ny
                if moved < close:
                    break
            x, y = x - dx, y - dy
        xs[n], ys[n] = x, y
