"""Is the model as good for everyone? Figures by age, sex, device, site, quality, each against everybody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from einthoven.evaluate.bootstrap import Resamples, interval
from einthoven.evaluate.evaluation import FEW, Classification, Figure
from einthoven.evaluate.metrics import Task, checked
from einthoven.record import EcgError

SMALL = 50  # patients
AGES = (18, 40, 60, 75)


@dataclass(frozen=True)
class Subgroup:
    """One value of one grouping. `figures` inside it, `gaps` the group's figure less everybody else's; intervals of both
    over the same draws of patients. A gap whose interval holds 0 has not been shown to be one; of many groups, some will
    seem to be."""

    grouping: str
    value: str
    records: int
    patients: int
    figures: Mapping[str, Figure]
    gaps: Mapping[str, Figure]
    warnings: tuple[str, ...] = ()


def age_bands(ages: ArrayLike, bounds: Sequence[float] = AGES) -> list[str | None]:
    """Ages in years to "< 18", "18-39", ..., ">= 75"; None where unknown."""
    edges = list(bounds)
    words = [f"< {edges[0]:g}", *(f"{a:g}-{b - 1:g}" for a, b in pairwise(edges)), f">= {edges[-1]:g}"]
    return [None if np.isnan(a) else words[int(np.searchsorted(edges, a, side="right"))] for a in np.asarray(ages, np.float64)]


def subgroups(
    truth: ArrayLike,
    probability: ArrayLike,
    names: Sequence[str],
    groupings: Mapping[str, Sequence[str | None]],
    task: Task = "multilabel",
    patients: Sequence[Any] | NDArray[Any] | None = None,
    *,
    thresholds: ArrayLike | None = None,
    figures: Sequence[str] = ("macro_auroc", "macro_f1", "mean_ece"),
    draws: int = 500,
    seed: int = 0,
) -> tuple[Subgroup, ...]:
    """`groupings`: a name to each record's value (N,), None where unknown ("unknown" is a group, too). `figures` as
    `evaluate` names them. Warns of groups below 50 patients and of labels with fewer than 20 positives in a group. Raises
    EcgError as `evaluate` does.
    """
    y, p = checked(truth, probability)
    if y.shape[1] != len(names):
        raise EcgError(f"{y.shape[1]} labels in the arrays, {len(names)} names")
    limits = np.full(len(names), 0.5) if thresholds is None else np.asarray(thresholds, np.float64)
    measure = Classification(y, p, task, limits)
    resamples = Resamples.of(patients, len(y), draws, seed)
    everybody = measure(np.ones((1, len(y))))[0]
    absent = [name for name in figures if name not in everybody]
    if absent:
        raise EcgError(f"no figure {absent[0]} (there are: {', '.join(everybody)})")
    groups: list[tuple[str, str, NDArray[np.bool_]]] = []
    for grouping, values in groupings.items():
        if len(values) != len(y):
            raise EcgError(f"grouping {grouping} has {len(values)} values for {len(y)} records")
        words = np.asarray(["unknown" if v is None else str(v) for v in values])
        groups += [(grouping, str(value), words == value) for value in np.unique(words)]

    found = []
    for grouping, value, inside in groups:
        sides = (inside.astype(np.float64), (~inside).astype(np.float64))
        at = [measure(side[None])[0] for side in sides]
        drawn: list[list[dict[str, NDArray[np.float64]]]] = [[], []]
        for weights in resamples.weights():
            for side, kept in zip(sides, drawn, strict=True):
                kept.append(measure(weights * side)[0])
        inner, gaps = {}, {}
        for name in figures:
            here, there = (np.concatenate([block[name] for block in kept]) for kept in drawn)
            inner[name] = _figure(at[0][name][0], here)
            gaps[name] = _figure(at[0][name][0] - at[1][name][0], here - there)
        people = len(np.unique(resamples.patients[inside]))
        warnings = [f"{people} patients: too few to say much"] if people < SMALL else []
        few = [f"{n} {c}" for n, c in zip(names, (y[inside] == 1).sum(0), strict=True) if c < FEW]
        if few:
            warnings.append("few positives: " + ", ".join(few))
        found.append(Subgroup(grouping, value, int(inside.sum()), people, inner, gaps, tuple(warnings)))
    return tuple(found)


def _figure(value: float, drawn: NDArray[np.float64]) -> Figure:
    low, high, missing = interval(drawn)
    return Figure(float(value), float(low), float(high), int(missing))


def table(groups: Sequence[Subgroup]) -> str:
    """For people: a line a group."""
    lines = []
    for g in groups:
        figures = "; ".join(f"{name} {figure}" for name, figure in g.figures.items())
        lines.append(f"{g.grouping} {g.value}: {g.records} records, {g.patients} patients; {figures}")
        lines += [f"  warning: {w}" for w in g.warnings]
    return "\n".join(lines)
