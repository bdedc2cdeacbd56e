"""What machines that copy paper do to it: scanner, photocopier, fax."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.paper.distort.scene import Image, Rng, Scene


def scanner(scene: Scene, rng: Rng, strength: float) -> None:
    """Dust on the glass draws faint lines along the way of the sheet; the sheet's edge lies in a shadow; white is not white."""
    if strength <= 0:
        return
    columns = scene.shape[1]
    more = np.zeros((columns, 3), np.int16)
    for _ in range(int(rng.poisson(1.2 * strength))):
        i, wide = int(rng.integers(columns)), int(rng.integers(1, 3))
        more[i : i + wide] += np.round(rng.normal(0, 14 * strength, 3)).astype(np.int16)
    edge = np.arange(columns, dtype=np.float32) / max(0.02 * columns, 1)
    if rng.random() < 0.5:
        edge = edge[::-1]
    dark = np.round(-45 * min(strength, 2.0) * rng.random() * np.exp(-edge)).astype(np.int16)
    white = round(-10 * min(strength, 2.0) * rng.random())
    more += dark[:, None] + np.int16(white)
    scene.image = _added(np.ascontiguousarray(scene.image), more)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _added(image: Image, more: NDArray[np.int16]) -> Image:
    """An image (rows, columns, 3) with something added to each column (columns, 3), within 0 and 255."""
    rows, columns = image.shape[:2]
    out = np.empty((rows, 3 * columns), np.uint8)
    flat, add = image.reshape(rows, 3 * columns), more.reshape(-1)
    for j in range(rows):
        for i in range(3 * columns):
            out[j, i] = np.uint8(min(max(np.int16(flat[j, i]) + add[i], 0), 255))
    return out.reshape(image.shape)


def grey(scene: Scene, rng: Rng, strength: float) -> None:
    """Without colour: a grey scan."""
    if strength > 0:
        scene.image = _coloured(_grey(scene.image))


def photocopy(scene: Scene, rng: Rng, strength: float) -> None:
    """Copied, perhaps twice: no greys to speak of, thin grid lines gone, toner dust, a dark edge, bands of weak toner."""
    if strength <= 0:
        return
    import cv2

    plain = _grey(scene.image).astype(np.float32)
    rows, columns = plain.shape
    steep, middle = 3.0 + 6.0 * min(strength, 2.0) * rng.uniform(0.4, 1.0), rng.uniform(150, 205)
    x = np.arange(256)
    s = 1 / (1 + np.exp(-(x - middle) / 255 * steep * 2))
    s = (s - s[0]) / (s[-1] - s[0])
    curve = np.round(20 + 235 * s).astype(np.uint8)
    copied = np.asarray(cv2.LUT(plain.astype(np.uint8), curve)).astype(np.int16)
    bands = cv2.resize(rng.standard_normal((1, 9), np.float32), (columns, 1), interpolation=cv2.INTER_CUBIC)
    copied += np.round(8 * strength * np.clip(bands, -2, 2)).astype(np.int16)
    out = np.clip(copied, 0, 255).astype(np.uint8)
    for _ in range(int(rng.poisson(60 * strength))):
        at = int(rng.integers(columns)), int(rng.integers(rows))
        cv2.circle(out, at, int(rng.integers(0, max(round(0.15 * scene.px_per_mm), 1) + 1)), (int(rng.integers(20, 120)),), -1)
    if rng.random() < 0.4:
        wide = max(round(rng.uniform(0.5, 4) * scene.px_per_mm), 1)
        side = slice(0, wide) if rng.random() < 0.5 else slice(columns - wide, columns)
        out[:, side] = np.minimum(out[:, side], 40)
    scene.image = _coloured(out)


def fax(scene: Scene, rng: Rng, strength: float) -> None:
    """Sent by fax: 204 dots to the inch across and 196 or 98 lines down, each black or white; specks, lines that were lost."""
    if strength <= 0:
        return
    import cv2

    rows, columns = scene.shape
    across = min(204 / 25.4 / scene.px_per_mm, 1.0)
    down = min((98 if rng.random() < 0.5 * strength else 196) / 25.4 / scene.px_per_mm, 1.0)
    size = max(round(columns * across), 8), max(round(rows * down), 8)
    small = np.asarray(cv2.resize(_grey(scene.image), size, interpolation=cv2.INTER_AREA)).astype(np.float32)
    # Black or white against the paper around: what is a little darker than its surroundings is print.
    paper = np.asarray(cv2.blur(small, (61, 61)))
    limit = paper * np.float32(rng.uniform(0.72, 0.86)) + rng.normal(0, 5 * strength, (1, 1)).astype(np.float32)
    if across == 1.0:  # a picture coarser than the fax: its dots are averaged, and greys again
        soft = np.round(255 * np.clip((small - limit) / np.float32(70.0) + np.float32(0.5), 0, 1)).astype(np.uint8)
        # The lines may still be coarser than the picture's: they are as far apart on the sheet as they were.
        scene.image = _coloured(np.asarray(cv2.resize(soft, (columns, rows), interpolation=cv2.INTER_LINEAR), np.uint8))
        return
    if rng.random() < 0.35:  # a machine that paints greys as a pattern of dots
        bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) * 9 - 60
        limit = limit + np.tile(bayer, (size[1] // 4 + 1, size[0] // 4 + 1))[: size[1], : size[0]]
    out = np.where(small < limit, np.uint8(0), np.uint8(255))
    count = round(out.size * 0.0006 * strength * rng.uniform(0.2, 1.5))
    out.reshape(-1)[rng.integers(0, out.size, count)] = rng.choice(np.array([0, 0, 255], np.uint8), count)
    for _ in range(int(rng.poisson(1.5 * strength))):
        j, i = int(rng.integers(size[1])), int(rng.integers(size[0]))
        out[j : j + int(rng.integers(1, 3)), i:] = 255
    mode = cv2.INTER_NEAREST if out.shape == (rows, columns) else cv2.INTER_LINEAR
    scene.image = _coloured(np.asarray(cv2.resize(out, (columns, rows), interpolation=mode), np.uint8))


def _grey(image: Image) -> Image:
    import cv2

    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _coloured(plain: Image) -> Image:
    import cv2

    return np.asarray(cv2.merge([plain, plain, plain]), np.uint8)
