"""How far two sets of images lie from each other: Wasserstein distances, exact, with intervals.

HeartBEiT (Vaid et al., npj Digit Med 2023;6:108) averages the distance over all pairs of one image from each set: 2.14 among
ECGs, 45.48 among ImageNet's photographs, 128.44 between the two. It does not print its code; SciPy's `wasserstein_distance`,
which it had, takes the values of two images and forgets where they stand, and 128 of 255 between white paper and photographs is
of the size that this has. So it is here: the distance of the grey levels, `levels`. It knows how white
a picture is and nothing of what is drawn on it.

`ink` is the same distance of where the ink stands: each image as a heap of darkness of mass 1, moved along x and along y, each
in shares of the side. `matched` compares sets rather than pairs: every image of one is given its own image of the other, so
that the mean difference in pixels is least (optimal transport of equal masses is an assignment).

N, M images, H x W pixels, G = 256 grey levels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.evaluate.bootstrap import LEAST
from einthoven.record import EcgError

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
LEVELS = 256


@dataclass(frozen=True)
class Distance:
    """`value` in `unit`, with a 95 % interval of a bootstrap over images (NaN: none), over `pairs` pairs."""

    kind: str
    a: str
    b: str
    value: float
    low: float
    high: float
    unit: str
    pairs: int

    def to_dict(self) -> dict[str, Any]:
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(self).items()}


def levels(a: Bytes, b: Bytes) -> Floats:
    """(N, H, W), (M, H, W) uint8 -> (N, M) grey levels: for each pair the least mean change that turns one image's pixels into
    the other's, wherever they stand. On a line this is the area between the two cumulated distributions, exactly; the images
    may differ in size."""
    return _along(_cumulated(a), _cumulated(b))


def ink(a: Bytes, b: Bytes) -> Floats:
    """(N, H, W), (M, H', W') uint8 -> (N, M): how far the darkness of one image has to move to become the other's, along x and
    along y, each in shares of its side; the mean of the two. Only the projections on the sides count, for which the distance is
    exact. Raises EcgError for an image without ink."""
    found = []
    for axis in (1, 2):  # projected on x, on y
        x, y = (_heap(s, axis) for s in (a, b))
        n = max(x.shape[1], y.shape[1])
        found.append(_along(_stretched(x, n), _stretched(y, n)) / n)
    return np.asarray((found[0] + found[1]) / 2, np.float64)


def between(a: Bytes, b: Bytes) -> tuple[float, NDArray[np.int64]]:
    """The distance of two sets of as many images each, (N, H, W) of one size, in grey levels (root mean square over the
    pixels), and which image of `b` each of `a` is given. Raises EcgError for sets of other sizes."""
    from scipy.optimize import linear_sum_assignment

    if a.shape != b.shape:
        raise EcgError(f"sets of {a.shape} and {b.shape}: as many images of the same size are wanted on both sides")
    x, y = (s.reshape(len(s), -1).astype(np.float64) for s in (a, b))
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    cost = np.sqrt(np.maximum(squares, 0) / x.shape[1])
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean()), columns.astype(np.int64)


def mean_of_pairs(pairs: Floats, *, same: bool, draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """(N, M) distances -> their mean and its 95 % interval, by a bootstrap over the images of both sets. `same`: both are one
    set; then an image is not paired with itself (the paper's million pairs among a thousand images may hold a thousand zeros),
    nor, in a draw, with its own copy. Raises EcgError for fewer than two images a set."""
    if min(pairs.shape) < 2:
        raise EcgError(f"{pairs.shape[0]} and {pairs.shape[1]} images make no interval: two at least")
    if draws < LEAST:
        raise EcgError(f"{draws} bootstrap draws are too few for an interval (at least {LEAST})")
    rng = np.random.default_rng(seed)
    n, m = pairs.shape
    apart = ~np.eye(n, dtype=bool) if same else np.ones((n, m), bool)
    held = np.where(apart, pairs, 0.0)
    drawn = np.empty(draws)
    for i in range(draws):
        u = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        v = u if same else np.bincount(rng.integers(0, m, m), minlength=m).astype(np.float64)
        drawn[i] = float(u @ held @ v) / max(float(u @ apart @ v), 1e-12)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(held.sum() / apart.sum()), float(low), float(high)


def distances(name_a: str, a: Bytes, name_b: str, b: Bytes, *, draws: int = 1000, seed: int = 0) -> tuple[Distance, ...]:
    """All of it of two sets (N, H, W), (M, H, W) of one size: pairs within each and between both, by grey levels and by where
    the ink stands; and the two sets matched, beside each set's own halves matched, which is how far two sets of the same kind
    lie apart. A set without ink (an image all white) has no `ink`."""
    found = []
    parts = [(name_a, name_a, a, a, True), (name_b, name_b, b, b, True), (name_a, name_b, a, b, False)]
    for kind, of, unit in (("levels", levels, "grey levels of 255"), ("ink", ink, "shares of the side")):
        for one, two, x, y, same in parts:
            try:
                pairs = of(x, y)
            except EcgError:
                continue
            value, low, high = mean_of_pairs(pairs, same=same, draws=draws, seed=seed)
            count = pairs.size - (len(x) if same else 0)
            found.append(Distance(kind, one, two, value, low, high, unit, count))
    half = min(len(a), len(b)) // 2
    rng = np.random.default_rng(seed)
    a, b = a[rng.permutation(len(a))], b[rng.permutation(len(b))]
    sets = [(f"{name_a}, half", f"{name_a}, other half", a[:half], a[half : 2 * half])]
    sets += [(f"{name_b}, half", f"{name_b}, other half", b[:half], b[half : 2 * half])]
    sets += [(name_a, name_b, a[:half], b[:half])]
    if half:
        for one, two, x, y in sets:
            value = between(x, y)[0]
            found.append(Distance("matched", one, two, value, float("nan"), float("nan"), "grey levels of 255, rms", half))
    return tuple(found)


def _cumulated(images: Bytes) -> Floats:
    """(N, H, W) -> (N, G): the share of pixels at or below each grey level."""
    flat = _checked(images).reshape(len(images), -1)
    counts = np.stack([np.bincount(x, minlength=LEVELS) for x in flat])
    return np.asarray(counts.cumsum(1) / flat.shape[1], np.float64)


def _heap(images: Bytes, axis: int) -> Floats:
    """(N, H, W) -> (N, W or H): cumulated darkness along one side, summed over the other (`axis`), of mass 1."""
    dark = (255.0 - _checked(images)).sum(axis)
    total = dark.sum(1, keepdims=True)
    if (total == 0).any():
        raise EcgError(f"{int((total == 0).sum())} images have no ink: nothing can be moved", where="images")
    return np.asarray((dark / total).cumsum(1), np.float64)


def _stretched(cumulated: Floats, n: int) -> Floats:
    """The cumulated distribution over as many as n equal steps of the side."""
    if cumulated.shape[1] == n:
        return cumulated
    at = np.arange(1, n + 1) / n
    steps = np.arange(0, cumulated.shape[1] + 1) / cumulated.shape[1]
    return np.stack([np.interp(at, steps, np.append(0.0, c)) for c in cumulated])


def _along(a: Floats, b: Floats) -> Floats:
    """Cumulated distributions (N, G), (M, G) -> (N, M): the area between each two, in steps."""
    return np.stack([np.abs(row - b).sum(1) for row in a])


def _checked(images: Bytes) -> Bytes:
    if images.ndim != 3 or images.dtype != np.uint8 or not images.size:
        raise EcgError(f"images are (N, H, W) uint8 grey, not {images.shape} {images.dtype}")
    return images
