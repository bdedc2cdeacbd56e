"""How much a model's score moves from one data set, or task, to another: the lower rows of ExChanGeAI's tables 1 and S4."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from einthoven.record import EcgError


@dataclass(frozen=True)
class Robustness:
    """`iqr` interquartile range and `cv` coefficient of variation (no unit); lower is more robust, though a model that is bad
    everywhere is robust, too."""

    scores: int
    mean: float
    median: float
    iqr: float
    cv: float


def robustness(scores: Iterable[float]) -> Robustness:
    """Of one score a data set; NaN (not measured) is left out.

    Quartiles by linear interpolation between order statistics (numpy's default) and the sample standard deviation (n - 1):
    these give all 24 aggregates of table 1 from its nine rows to the printed digit. Of table S4 they give mean, IQR and CV,
    too, while its printed medians are those of the nine rows without the first. Raises EcgError for fewer than two scores.
    """
    s = np.asarray([v for v in scores if not np.isnan(v)], np.float64)
    if len(s) < 2:
        raise EcgError(f"robustness over {len(s)} data sets: at least two are needed")
    low, high = np.percentile(s, [25, 75])
    mean = float(s.mean())
    return Robustness(len(s), mean, float(np.median(s)), float(high - low), float(s.std(ddof=1) / mean) if mean else np.nan)
