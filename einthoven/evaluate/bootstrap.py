"""Intervals by the bootstrap over patients: whoever is drawn brings all their ECGs, since these are not independent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einthoven.record import EcgError

Floats = NDArray[np.float64]
LEAST = 500  # fewer draws give bounds that another seed moves


@dataclass(frozen=True)
class Resamples:
    """`draws` draws of patients with replacement, as how often each record counts. The same seed gives the same draws, so two
    models, or two metrics, are measured on the same patients."""

    patients: NDArray[np.intp]  # (N,) each record's patient, 0...
    draws: int = 1000
    seed: int = 0

    @classmethod
    def of(cls, patients: Sequence[Any] | NDArray[Any] | None, records: int, draws: int = 1000, seed: int = 0) -> Resamples:
        """`patients` (N,) names; without them every record is its own patient. Raises EcgError for fewer than 500 draws."""
        if draws < LEAST:
            raise EcgError(f"{draws} bootstrap draws are too few for an interval (at least {LEAST})")
        if patients is None:
            return cls(np.arange(records), draws, seed)
        if len(patients) != records:
            raise EcgError(f"{len(patients)} patients named for {records} records")
        which = np.unique(np.asarray([str(p) for p in patients]), return_inverse=True)[1] if records else np.zeros(0, np.intp)
        return cls(which.astype(np.intp).ravel(), draws, seed)

    @property
    def count(self) -> int:
        """How many patients."""
        return int(self.patients.max()) + 1 if len(self.patients) else 0

    def weights(self, megabytes: int = 64) -> Iterator[Floats]:
        """Blocks (r, N) of weights, together `draws` rows; memory stays below `megabytes` or so a block."""
        rng = np.random.default_rng(self.seed)
        n = self.count
        rows = int(np.clip(megabytes * 2**20 // max(8 * max(len(self.patients), n), 1), 1, self.draws))
        left = self.draws
        while left > 0 and n:
            # One row at a time from the generator, so that the draws do not depend on the size of a block.
            block = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(min(rows, left))])
            yield block[:, self.patients].astype(np.float64)
            left -= len(block)

    def apply(self, metric: Callable[[Floats], Floats]) -> Floats:
        """`metric` (r, N) -> (r, ...), over all draws: (draws, ...)."""
        blocks = [np.asarray(metric(weights)) for weights in self.weights()]
        if not blocks:
            raise EcgError("no records to resample")
        return np.concatenate(blocks)


def interval(values: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Percentile interval of (draws, ...): low, high (...), and in how many draws there was no figure (a label without
    positives).

    Those draws are left out of the bounds. Bounds are NaN where more than half of the draws have none: too few positives for
    any.
    """
    v = np.asarray(values, np.float64)
    missing = np.isnan(v).sum(0)
    tail = 50 * (1 - level)
    ordered = np.where(missing * 2 > len(v), np.nan, v)
    if not np.isnan(ordered).any():
        low, high = np.percentile(ordered, [tail, 100 - tail], axis=0)
        return low, high, missing
    flat = ordered.reshape(len(v), -1)
    bounds = np.full((2, flat.shape[1]), np.nan)
    for j in range(flat.shape[1]):
        there = flat[~np.isnan(flat[:, j]), j]
        if len(there):
            bounds[:, j] = np.percentile(there, [tail, 100 - tail])
    return bounds[0].reshape(v.shape[1:]), bounds[1].reshape(v.shape[1:]), missing
