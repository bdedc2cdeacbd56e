"""Selective prediction: how wrong a model is on what it answers, when it may leave its least certain ECGs to a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from einthoven.evaluate.metrics import Floats, checked
from einthoven.record import EcgError


@dataclass(frozen=True)
class RiskCoverage:
    """`coverage` (M,) rising to 1 and `risk` (M,), the mean error of that share of records, most confident first; `aurc` the
    area under it (the mean risk over all coverages, Geifman & El-Yaniv, NeurIPS 2017), `excess` what lies above the best
    order there is."""

    coverage: Floats
    risk: Floats
    aurc: float
    excess: float

    def at(self, coverage: float) -> float:
        """The risk when this share of records is answered."""
        return float(np.interp(coverage, self.coverage, self.risk))

    def answerable(self, risk: float) -> float:
        """The largest coverage at which the risk is not above `risk`; 0 where there is none."""
        below = np.flatnonzero(self.risk <= risk + 1e-12)
        return float(self.coverage[below[-1]]) if len(below) else 0.0


def confidence(probability: ArrayLike, task: str = "multilabel") -> Floats:
    """(N,): of the chosen label with "single"; with "multilabel" the mean over labels of the probability of what is said,
    yes or no."""
    p = np.asarray(probability, np.float64)
    return np.asarray(p.max(1) if task == "single" else np.maximum(p, 1 - p).mean(1))


def mistakes(truth: ArrayLike, predicted: ArrayLike) -> Floats:
    """(N,): the share of known labels that are wrong; NaN where none is known."""
    y, p = checked(truth, predicted)
    known = ~np.isnan(y)
    n = known.sum(1)
    return np.where(n > 0, ((y != p) & known).sum(1) / np.maximum(n, 1), np.nan)


def _curve(error: Floats, order: Floats) -> Floats:
    """(n,) mean error of the first 1...n records by falling `order`; within a tie every order is as likely, so the tie's
    mean counts."""
    by = np.argsort(-order, kind="stable")
    _, group = np.unique(-order[by], return_inverse=True)
    smooth = (np.bincount(group, error[by]) / np.bincount(group))[group]
    return np.asarray(np.cumsum(smooth) / np.arange(1, len(error) + 1))


def risk_coverage(error: ArrayLike, certain: ArrayLike) -> RiskCoverage:
    """error (N,) of each record, 0...1, NaN = unknown and left out; certain (N,) the model's confidence in it.

    Raises EcgError where shapes differ or nothing is left.
    """
    e, c = np.asarray(error, np.float64), np.asarray(certain, np.float64)
    if e.shape != c.shape or e.ndim != 1:
        raise EcgError(f"errors have shape {e.shape}, confidences {c.shape}: both must be (records,)")
    e, c = e[~np.isnan(e)], c[~np.isnan(e)]
    if not len(e):
        raise EcgError("no record with a known label")
    risk = _curve(e, c)
    best = _curve(e, -e)
    return RiskCoverage(np.arange(1, len(e) + 1) / len(e), risk, float(risk.mean()), float(risk.mean() - best.mean()))
