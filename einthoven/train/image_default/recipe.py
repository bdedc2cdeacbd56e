"""What decides the outcome of the default image model's training, as typed tables; a key that is not here is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from einthoven.record import EcgError
from einthoven.train.default.recipe import ExtraTrees
from einthoven.train.recipes import from_file, from_words

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Pool:
    """The pictures that are learned from: `views` of each real ECG, `simulated_views` of each of `simulations` simulated ones,
    mixed; of these the first `pictures`.

    presets, look: as of a Plan of paper/dataset.py. width, height in pixels, multiples of 32.
    """

    presets: tuple[str, ...] = ("clean", "scan", "photo", "screen", "fax", "old-paper")
    look: str = "varied"
    width: int = 448
    height: int = 352
    views: int = 6
    simulations: int = 2000
    simulated_views: int = 3
    pictures: int = 12_000

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Teacher:
    """A forest on measured figures (train/default): what it says of ECGs it was not fitted to is learned beside the labels."""

    parts: int = 4
    extra_trees: ExtraTrees = field(default_factory=ExtraTrees)

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Training:
    """steps: of `batch` pictures each, the first of `warm` with a rising rate; it falls to nothing in the last `fall` of them.

    leads (where each lead stands), figures, beat, superclasses, statements: weights of the loss's parts. told: the share of a
    superclass's target that is its label, the rest is what the teacher says. simulated: weight of what is said of simulated
    ECGs. average: what a step leaves of the averaged weights.
    """

    steps: int = 4000
    batch: int = 32
    warm: int = 200
    fall: float = 0.3
    rate: float = 1e-3
    decay: float = 0.05
    leads: float = 0.3
    figures: float = 1.0
    beat: float = 1.0
    superclasses: float = 1.0
    statements: float = 0.5
    told: float = 0.5
    simulated: float = 0.3
    average: float = 0.998

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Recipe:
    """See recipes/image-default.yaml, which explains each key where it sets it."""

    name: str = "einthoven-paper-1"
    train_folds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    validation_folds: tuple[int, ...] = (8,)
    test_folds: tuple[int, ...] = (9,)
    min_positives: int = 20
    least_auroc: float = 0.7
    seed: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    pool: Pool = field(default_factory=Pool)
    teacher: Teacher = field(default_factory=Teacher)
    training: Training = field(default_factory=Training)
    judged_views: int = 2

    __pydantic_config__ = _STRICT

    @staticmethod
    def read(path: str | Path) -> Recipe:
        """From a YAML file. Raises EcgError, which names the key, for one that is not there or a value of the wrong kind."""
        return from_file(path, partial(from_words, Recipe))

    def __post_init__(self) -> None:
        folds = (*self.train_folds, *self.validation_folds, *self.test_folds)
        if len(set(folds)) != len(folds):
            raise EcgError("a fold is trained on, chosen by or tested on, not two of these", where="recipe")
        if self.pool.width % 32 or self.pool.height % 32:
            raise EcgError("the sides of pictures are multiples of 32 pixels", where="recipe")
        if not 2 <= self.teacher.parts <= len(self.train_folds):
            raise EcgError(f"parts lies between 2 and the {len(self.train_folds)} training folds", where="recipe")
