"""Occlusion: what a model says when a wave, a lead or both are taken out of the ECG. Needs no gradients, hence no torch.

A wave is taken out of the record itself, in millivolts, by bringing it to the isoelectric level; then everything that the
Bundle does follows as ever: preprocessing, measured features, the network. The effect of a wave is how much the label's score
falls when it goes. Zeiler MD, Fergus R. Visualizing and understanding convolutional networks. ECCV 2014.

L leads, T samples, W waves, N records, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import Beats
from einthoven.exchange.predict import Predictor
from einthoven.explain.waves import WAVES, isoelectric, regions, without
from einthoven.record import EcgError, Record

Doubles = NDArray[np.float64]
Score = Callable[[Sequence[Record]], Doubles]  # N records -> (N,)


@dataclass(frozen=True)
class Effects:
    """How much the score falls without a part of the ECG (negative: it rises).

    cells: (L, W) one wave in one lead, all beats. by_lead: (L,) a whole lead. by_wave: (W,) a wave in all leads.
    NaN: the model has no answer without it. score: of the ECG as it is. where: (L, T) as `waves.regions` gives it.
    """

    leads: tuple[str, ...]
    cells: Doubles
    by_lead: Doubles
    by_wave: Doubles
    score: float
    where: NDArray[np.uint8]

    @property
    def values(self) -> Doubles:
        """(L, T) each cell's effect spread over its samples, so that it sums up to the effect."""
        out = np.zeros(self.where.shape)
        for i, j in np.ndindex(self.cells.shape):
            mask = self.where[i] == j
            if mask.any():
                out[i, mask] = np.nan_to_num(self.cells[i, j]) / mask.sum()
        return out

    @property
    def heat(self) -> Doubles:
        """(L, T) -1..1: each wave in the colour of its effect, however long it lasts."""
        cells = np.nan_to_num(self.cells)
        top = float(np.abs(cells).max(initial=0.0)) or 1.0
        return np.asarray(cells[np.arange(len(self.leads))[:, None], self.where] / top)


def by_lead_and_wave(score: Score, record: Record, beats: Beats, leads: tuple[str, ...] | None = None) -> Effects:
    """Takes out every wave of every lead in turn, every lead, and every wave of all leads.

    Args:
        score: of N records at once.
        leads: those to take out; others stay as they are. None: all.
    """
    leads = leads or record.leads
    where = regions(beats, record.leads, record.fs, record.signal.shape[1])
    level = isoelectric(record, beats)
    rows = [record.leads.index(name) for name in leads]
    of_lead = np.zeros((len(rows), *where.shape), bool)
    of_lead[np.arange(len(rows)), rows] = True
    any_lead = of_lead.any(0)

    masks = [of_lead[i] & (where == w) for i in range(len(rows)) for w in range(len(WAVES))]
    masks += list(of_lead) + [any_lead & (where == w) for w in range(len(WAVES))]
    there = [mask for mask in masks if mask.any()]
    found = score([record, *(without(record, mask, level) for mask in there)])
    falls = iter((found[0] - found[1:]).tolist())
    effects = np.array([next(falls) if mask.any() else 0.0 for mask in masks])
    n = len(rows) * len(WAVES)
    cells = effects[:n].reshape(len(rows), len(WAVES))
    by_lead, by_wave = effects[n : n + len(rows)], effects[n + len(rows) :]
    return Effects(leads, cells, by_lead, by_wave, float(found[0]), where[rows])


def occlude_patches(
    score: Callable[[NDArray[np.float32]], Doubles],
    x: NDArray[np.float32],
    size: tuple[int, ...],
    fill: float | NDArray[np.float32] = 0.0,
) -> Doubles:
    """The effect of each patch of an array's last axes, in the array's shape without its first axis.

    Args:
        score: (N, C, ...) -> (N,).
        x: (C, T) or (C, H, W); a patch goes through all C.
        size: of a patch along the other axes; the last ones are cut where they reach the end.
        fill: what stands in a patch that is taken out.
    """
    shape = x.shape[1:]
    out = np.zeros(shape)
    before = float(score(x[None])[0])
    for at in np.ndindex(*(-(-n // s) for n, s in zip(shape, size, strict=True))):
        window = tuple(slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(at, size, shape, strict=True))
        changed = x.copy()
        part = (slice(None), *window)
        changed[part] = fill if np.isscalar(fill) else np.broadcast_to(fill, x.shape)[part]
        out[window] = (before - float(score(changed[None])[0])) / out[window].size
    return out


def score_of(logits: NDArray[np.float32], k: int, task: str) -> Doubles:
    """What is explained of logits (N, K): label k's own; where classes exclude each other, its log-odds against all others
    (there, a logit says nothing by itself). -> (N,)"""
    z = np.asarray(logits, np.float64)
    if task != "single" or z.shape[1] == 1:
        return z[:, k]
    others = np.delete(z, k, 1)
    top = others.max(1)
    made: Doubles = z[:, k] - top - np.log(np.exp(others - top[:, None]).sum(1))
    return made


def predictor_score(predictor: Predictor, k: int) -> Score:
    """Scores of records by a Bundle, through onnxruntime; of several windows the mean. The first record is the ECG as it is; of
    the others NaN where the model cannot be applied to what is left."""

    def score(records: Sequence[Record]) -> Doubles:
        out = np.full(len(records), np.nan)
        made: list[tuple[int, dict[str, NDArray[np.float32]]]] = []
        for i, record in enumerate(records):
            try:
                made.append((i, predictor.inputs(record)[0]))
            except EcgError:  # a model that rests on measurements has none without QRS
                if i == 0:
                    raise
        counts = [len(next(iter(one.values()))) for _, one in made]
        logits, _ = predictor.run({name: np.concatenate([one[name] for _, one in made]) for name in made[0][1]})
        each = score_of(logits, k, predictor.manifest.task)
        for (i, _), part in zip(made, np.split(each, np.cumsum(counts)[:-1]), strict=True):
            out[i] = part.mean()
        return out

    return score
