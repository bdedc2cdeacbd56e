"""What is learned from, as arrays: ECGs by number, their figures, what a reader said of them, and what the teacher says.

Letters: N ECGs (real ones first, then simulated ones), F features, S superclasses, K labels (the superclasses first).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index
from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.record import STANDARD_LEADS, EcgError
from einthoven.represent.features import NAMES, VERSION
from einthoven.statements import SUPERCLASSES
from einthoven.synth import CONDITIONS
from einthoven.train.default import recipe as trees
from einthoven.train.default.members import Arrays, Floats, fit, grouped, logits
from einthoven.train.default.run import gather
from einthoven.train.default.simulated import superclasses
from einthoven.train.image_default.pool import Ecgs
from einthoven.train.image_default.recipe import Recipe

S = len(SUPERCLASSES)


@dataclass(frozen=True)
class Material:
    """features (N, F), NaN where not measured; truth (N, K) and teacher (N, S), probabilities, NaN where unknown; folds (N,),
    0 of simulated ECGs; patients of the real ones; the labels' names."""

    ecgs: Ecgs
    features: Floats
    truth: Floats
    teacher: Floats
    folds: NDArray[np.int64]
    patients: NDArray[Any]
    names: tuple[str, ...]

    def rows(self, folds: Sequence[int]) -> NDArray[np.intp]:
        return np.flatnonzero(np.isin(self.folds, folds))


def material(index: Index, recipe: Recipe, out: Path, jobs: int) -> Material:
    """Measures, fits the teacher and asks it. Test folds are left out: nothing here may look at them.

    Raises:
        EcgError: no record lies in the recipe's folds, or one cannot be measured.
    """
    folds = np.asarray(index.column("fold"), np.int64)
    index = index.select(np.flatnonzero(np.isin(folds, (*recipe.train_folds, *recipe.validation_folds))))
    own = trees.Recipe(
        train_folds=recipe.train_folds,
        test_folds=recipe.validation_folds,
        parts=recipe.teacher.parts,
        min_positives=recipe.min_positives,
        seed=recipe.seed,
        extra_trees=recipe.teacher.extra_trees,
    )
    found = gather(index, own, out, jobs)
    ecgs = Ecgs(index, recipe.pool.simulations, recipe.seed)
    teacher = _taught(found.views[0], found.truth, found.folds, own, out, jobs)
    figures, classes = _simulated(ecgs, out, jobs)
    features = np.concatenate([found.views[0], figures])
    truth = np.full((len(ecgs), len(found.names)), np.nan, np.float32)
    truth[: len(index)] = found.truth
    truth[len(index) :, :S] = classes
    more = np.full((len(figures), S), np.nan, np.float32)
    folds = np.concatenate([found.folds, np.zeros(len(figures), np.int64)])
    return Material(ecgs, features, truth, np.concatenate([teacher, more]), folds, found.patients, found.names)


# What a simulation's truth calls a figure, and what `features` calls it.
_FIGURES = {"rate_bpm": "rate_bpm", "rr_ms": "rr_ms", "p_ms": "p_ms", "pr_ms": "pr_ms", "qrs_ms": "qrs_ms", "qt_ms": "qt_ms"}
_AXES = {"axis_deg": "qrs_axis_deg", "t_axis_deg": "t_axis_deg"}
_LEADS = {"q_mv": "q_mv", "r_mv": "r_mv", "s_mv": "s_mv", "j_mv": "st_j_mv"}


def _simulated(ecgs: Ecgs, out: Path, jobs: int) -> tuple[Floats, Floats]:
    """`_planted` of all simulated ECGs: (M, F) and (M, S); kept in `out`."""
    words = [VERSION, len(ecgs.index), ecgs.simulations, ecgs.seed, {n: superclasses((n,)).tolist() for n in CONDITIONS}]
    path = out / f"planted-{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        work = partial(_planted, ecgs=Ecgs(ecgs.index.select([]), ecgs.simulations, ecgs.seed))
        made = list(ordered(work, range(ecgs.simulations), jobs=jobs, killed=_lost, chunk=32))
        figures = np.array([row for row, _ in made], np.float32).reshape(-1, len(NAMES))
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez(file, figures=figures, classes=np.array([y for _, y in made], np.float32).reshape(-1, S))
    with np.load(path, allow_pickle=False) as kept:
        return kept["figures"], kept["classes"]


def _planted(number: int, *, ecgs: Ecgs) -> tuple[Floats, Floats]:
    """What is true of a simulated ECG, where it is known without measuring: (F,) with NaN elsewhere, and superclasses (S,)."""
    made = ecgs.simulation(number)
    out = np.full(len(NAMES), np.nan, np.float32)
    for theirs, ours in _FIGURES.items():
        out[NAMES.index(ours)] = made.truth[theirs]
    out[NAMES.index("qtc_fridericia_ms")] = made.truth["qtc_ms"]
    for theirs, ours in _AXES.items():
        angle = np.radians(made.truth[theirs])
        out[NAMES.index(f"{ours}.cos")], out[NAMES.index(f"{ours}.sin")] = np.cos(angle), np.sin(angle)
    for theirs, ours in _LEADS.items():
        for lead in STANDARD_LEADS:
            out[NAMES.index(f"{lead}.{ours}")] = made.truth[theirs][lead]
    return out, superclasses(made.labels)


def _lost(number: int) -> tuple[Floats, Floats]:
    raise EcgError(f"the process that simulated ECG {number} was killed (out of memory?)")


def _taught(features: Floats, truth: Floats, folds: NDArray[np.int64], own: trees.Recipe, out: Path, jobs: int) -> Floats:
    """(N, S) the teacher's probabilities of training ECGs, by a forest fitted to the other parts of them; NaN of all others."""
    train = np.flatnonzero(np.isin(folds, own.train_folds))
    part = grouped(folds[train], own.train_folds, own.parts)
    words = json.dumps([own.parts, own.seed, own.extra_trees.__dict__])
    digest = hashlib.sha256(words.encode() + features.tobytes() + truth[train].tobytes()).hexdigest()[:16]
    path = out / f"teacher-{digest}.npy"
    if not path.exists():
        work = partial(_asked, features=features[train], truth=truth[train], part=part, own=own)
        told = np.full((len(features), S), np.nan, np.float32)
        for i, found in enumerate(ordered(work, range(own.parts), jobs=jobs, killed=_killed, chunk=1)):
            told[train[part == i]] = 1 / (1 + np.exp(-found))
        with replacing(path) as draft, draft.open("wb") as file:
            np.save(file, told, allow_pickle=False)
    return np.asarray(np.load(path, allow_pickle=False), np.float32)


def _asked(i: int, *, features: Floats, truth: Floats, part: NDArray[np.int64], own: trees.Recipe) -> Floats:
    """Logits of a forest that was fitted without part i, of part i's ECGs."""
    kept = part != i
    member: Arrays = fit("extra_trees", features[kept][None], truth[kept], S, replace(own, forget_patient=0.0))
    return logits("extra_trees", member, features[~kept])


def _killed(part: int) -> Floats:
    raise EcgError(f"the process that fitted the teacher without part {part} was killed (out of memory?)")
