"""How far a lead that was read off an image can be trusted: signs of trouble along its path, weighed by what they were worth on
pages whose truth is known (`einthoven.train.trace_confidence`, confidence.json).

The answer is the probability that the lead's SNR against the signal that was printed is `DECIBELS` or better, as learned from
our own renders, times the share of its strip that was found at all; of real paper nobody knows the truth, and such
probabilities are a guess from the same signs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from einthoven.paper.digitise.follow import DROPPED, Ints, Runs
from einthoven.paper.digitise.lattice import SCALE
from einthoven.paper.page import Floats

WEIGHTS = "confidence.json"
DECIBELS = 10.0  # a lead that is nearer to its print than this is a lead that can be measured

# What is looked at. Along the trace: see `signs_of`. On the whole page: the share of lead names read. In the record: how far
# Einthoven's law is off, and how far a lead's two strips are apart, as logarithms of shares of the lead's own size.
SIGNS = (
    "missing", "misfit", "jumps", "crowd", "thick", "faint", "swing", "fine", "rough", "pen", "names", "law", "strips",
)  # fmt: skip
CURVED = frozenset({"swing", "fine", "rough", "law", "strips"})  # those whose square counts, too; of the others more is worse
_CLIP = 4.0  # standard deviations


def signs_of(runs: Runs, path: Ints, left: int, y: Floats, pen: float, misfit: float) -> dict[str, float]:
    """The signs along a curve y (W,) that follows the runs `path` (W,) from column `left` on.

    missing: share of columns without ink. misfit: pixels by which the pen's edges miss the ink's. jumps: steps between strokes
    that do not touch, each 100 columns. crowd: share of columns with other ink within 4 mm. thick: share of columns with ink
    taller than the pen's stroke would be there. faint: share of columns where the path has only what is too small for a trace.
    swing: the curve's standard deviation, mm, as a logarithm to the base of 10. fine: what of it is left after a running mean
    over 1 mm, likewise. rough: the curve's second difference, pixels, likewise. pen: half the pen's width, mm.
    """
    on = np.flatnonzero(path >= 0)
    good = np.isfinite(y)
    if len(on) < 8 or good.sum() < 8:
        return {"missing": 1.0, "misfit": 3.0}
    top, bottom = runs.top[path[on]], runs.bottom[path[on]]
    gap = np.maximum(top[1:] - bottom[:-1], top[:-1] - bottom[1:])
    first, last = runs.first[left], runs.first[left + len(path)]
    column = np.repeat(np.arange(len(path)), np.diff(runs.first[left : left + len(path) + 1]))
    others = np.arange(first, last)
    here = y[column]
    near = np.maximum(runs.top[first:last] - here, here - runs.bottom[first:last]) < 4 * SCALE
    solid = (runs.tiny[first:last] != DROPPED) & (runs.bottom[first:last] - runs.top[first:last] > 0.15 * SCALE)
    crowd = np.unique(column[near & solid & (path[column] != others)])
    slope = np.gradient(np.interp(np.arange(len(y)), np.flatnonzero(good), y[good]))[on]
    stroke = 2 * pen * np.sqrt(1 + slope**2) + np.abs(slope) * 0.5
    filled = np.interp(np.arange(len(y)), np.flatnonzero(good), y[good])
    mean = np.convolve(filled, np.ones(SCALE) / SCALE, "same")[SCALE:-SCALE]
    return {
        "missing": 1.0 - len(on) / len(path),
        "misfit": float(misfit),
        "jumps": 100.0 * float((gap > 1.5).sum()) / len(path),
        "crowd": len(crowd) / len(path),
        "thick": float((bottom - top > stroke + 3.0).mean()),
        "faint": float((runs.tiny[path[on]] == 1).mean()),
        "swing": _log(float(np.std(y[good])) / SCALE),
        "fine": _log(float(np.std(filled[SCALE:-SCALE] - mean)) / SCALE) if len(mean) else -2.0,
        "rough": _log(float(np.sqrt(np.mean(np.diff(filled, 2) ** 2)))),
        "pen": pen / SCALE,
    }


def _log(value: float) -> float:
    return float(np.log10(max(value, 1e-3)))


def decibels(signs: Mapping[str, float], weights: Mapping[str, Any] | None = None) -> float:
    """The SNR that a lead with these signs may have, dB; a sign that is not known says nothing."""
    w = _weights() if weights is None else weights
    total = float(w["intercept"])
    for name, mean, scale, (one, two) in zip(w["signs"], w["mean"], w["scale"], w["weights"], strict=True):
        z = float(np.clip((signs.get(name, mean) - mean) / scale, -_CLIP, _CLIP))
        total += one * z + two * (z * z - 1.0)
    return total


def probability(signs: Mapping[str, float], weights: Mapping[str, Any] | None = None) -> float:
    """How likely a lead with these signs is DECIBELS or better, times the share of its strip that was found, 0..1."""
    w = _weights() if weights is None else weights
    z = w["sure"]["slope"] * (decibels(signs, w) - w["sure"]["middle"])
    return float((1 - signs.get("missing", 0.0)) / (1 + np.exp(-np.clip(z, -30, 30))))


@lru_cache(1)
def _weights() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((files("einthoven.paper.digitise") / WEIGHTS).read_text("utf-8"))
    return found
