"""From probability to yes or no: one threshold a label, chosen on validation records and never on those that are reported."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einthoven.evaluate.metrics import Floats, checked
from einthoven.record import EcgError

Rule = str  # "f1", "youden" or "sensitivity:0.9"


def _curve(y: Floats, s: Floats) -> tuple[Floats, Floats, Floats]:
    """For one label: the scores that occur, falling, and true and false positives at and above each."""
    order = np.argsort(-s, kind="stable")
    ends = np.append(s[order][1:] != s[order][:-1], True)[: len(s)]
    return s[order][ends], np.cumsum(y[order])[ends], np.cumsum(1 - y[order])[ends]


def choose_thresholds(truth: ArrayLike, probability: ArrayLike, rule: Rule = "f1", *, otherwise: float = 0.5) -> Floats:
    """(K,) thresholds; a record is positive where its probability reaches the threshold.

    rule "f1" the highest F1; "youden" the highest sensitivity + specificity - 1; "sensitivity:0.9" the highest threshold
    that finds 90 % of the positives. Each lies halfway between the lowest score it lets in and the next below, so that it
    does not stand on a record. A label without positives or negatives gets `otherwise`. Raises EcgError for another rule.
    """
    name, _, wanted = rule.partition(":")
    if name not in ("f1", "youden", "sensitivity"):
        raise EcgError(f"no rule {rule!r} for thresholds (there are: f1, youden, sensitivity:0.9)")
    try:
        sensitivity = float(wanted) if name == "sensitivity" else 0.0
    except ValueError as fault:
        raise EcgError(f"rule {rule!r}: {wanted!r} is no number") from fault
    if name == "sensitivity" and not 0 < sensitivity <= 1:
        raise EcgError(f"rule {rule!r}: sensitivity lies between 0 and 1")
    y, s = checked(truth, probability)
    found = np.full(y.shape[1], otherwise)
    for k in range(y.shape[1]):
        known = ~np.isnan(y[:, k])
        positives, negatives = (y[known, k] == 1).sum(), (y[known, k] == 0).sum()
        if not positives or not negatives:
            continue
        scores, tp, fp = _curve(y[known, k], s[known, k])
        if name == "f1":
            at = int(np.argmax(2 * tp / (tp + fp + positives)))
        elif name == "youden":
            at = int(np.argmax(tp / positives - fp / negatives))
        else:
            at = int(np.argmax(tp >= sensitivity * positives - 1e-9))
        below = scores[at + 1] if at + 1 < len(scores) else scores[at]
        middle = (scores[at] + below) / 2
        found[k] = middle if middle > below else scores[at]
    return found


def operating_points(truth: ArrayLike, probability: ArrayLike) -> list[dict[str, NDArray[np.float64]]]:
    """For each label the ROC and precision-recall curves: threshold, sensitivity, specificity, precision, at every score
    that occurs."""
    y, s = checked(truth, probability)
    curves = []
    for k in range(y.shape[1]):
        known = ~np.isnan(y[:, k])
        scores, tp, fp = _curve(y[known, k], s[known, k])
        p, n = y[known, k].sum(), known.sum() - y[known, k].sum()
        with np.errstate(invalid="ignore", divide="ignore"):
            curves.append({"threshold": scores, "sensitivity": tp / p, "specificity": 1 - fp / n, "precision": tp / (tp + fp)})
    return curves
