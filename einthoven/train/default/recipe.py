"""What decides the outcome of the default model's training, as typed tables; a key that is not here is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import ConfigDict

from einthoven.record import EcgError
from einthoven.train.recipes import from_file, from_words

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class View:
    """One way in which a record is measured: cut to [start, stop) s, its gain drawn about 1, white noise added."""

    start: float = 0.0
    stop: float | None = None
    gain: float = 0.0  # standard deviation of the logarithm
    noise_mv: float = 0.0

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class ExtraTrees:
    """Extremely randomised trees (Geurts et al., Mach Learn 2006; 63: 3), one forest a superclass."""

    trees: int = 100
    leaf: int = 8  # least records (views count) in a leaf
    share: float = 0.1  # of the figures that each split may choose from

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Boosting:
    """Boosted trees on binned figures, one ensemble a label; superclasses get `bags` of them, the others one."""

    bags: int = 3
    rounds: int = 150
    rate: float = 0.05
    leaves: int = 8
    leaf: int = 60
    l2: float = 5.0
    share: float = 0.1

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Network:
    """A perceptron on the figures and a convolutional network on the median beat, one head; the mean over `seeds` counts.

    `helpers`: weight in the loss of every label that is not a superclass. Each network begins with `first_epochs` on the
    superclasses of `simulations` ECGs of einthoven.synth.
    """

    seeds: int = 3
    epochs: int = 40
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.05
    mixup: float = 0.2
    helpers: float = 0.3
    simulations: int = 0
    first_epochs: int = 15

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Recipe:
    """See recipes/default.yaml, which explains each key where it sets it."""

    name: str = "einthoven-12"
    train_folds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    test_folds: tuple[int, ...] = (9,)
    parts: int = 4
    min_positives: int = 20
    least_auroc: float = 0.7
    seed: int = 0
    views: tuple[View, ...] = (View(),)
    forget_patient: float = 0.5
    extra_trees: ExtraTrees = field(default_factory=ExtraTrees)
    boosting: Boosting = field(default_factory=Boosting)
    network: Network = field(default_factory=Network)

    __pydantic_config__ = _STRICT

    @staticmethod
    def read(path: str | Path) -> Recipe:
        """From a YAML file. Raises EcgError, which names the key, for one that is not there or a value of the wrong kind."""
        return from_file(path, partial(from_words, Recipe))

    def __post_init__(self) -> None:
        if set(self.train_folds) & set(self.test_folds):
            raise EcgError("a fold is trained on or tested on, not both", where="recipe")
        if not 2 <= self.parts <= len(self.train_folds):
            raise EcgError(f"parts lies between 2 and the {len(self.train_folds)} training folds", where="recipe")
