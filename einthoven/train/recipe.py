"""The recipe of a fine-tuning run: everything that decides its outcome, in one typed table, saved beside the weights.

A recipe is a YAML file of these names; a name that is not here is refused, so that a slip of the pen never trains the
wrong thing in silence. `einthoven finetune RECIPE.yaml` runs it; every field may be set on the command line, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict

from einthoven.record import EcgError
from einthoven.train.recipes import differences, from_file, from_words, to_words


@dataclass(frozen=True)
class Recipe:
    """One fine-tuning run. Paths are as the user gave them; None means "by the data", "by the model" or "not used"."""

    # What is learned, and from what
    data: str = ""  # folder of ECG files of any vendor, an Index, or a public set in its official layout
    labels: str | None = None  # CSV: file_name,label[,...]; None: the labels that came with the data
    rate: int | None = None  # Hz, for a set that comes at several (PTB-XL: 100 or 500); None: the set's first
    level: str = "own"  # own | superclass | subclass | statement | diagnostic | form | rhythm | target (numbers)
    names: tuple[str, ...] | None = None  # of the labels (or columns of numbers), only these; None: all
    task: Literal["single", "multilabel", "regression"] | None = None  # softmax, sigmoid or regression; None: as the labels are
    minimum: int = 1  # a label with fewer positives in training is left out, and said so (1: only what cannot be learned)

    # Who is trained on, who chooses, who is tested on: always whole patients
    split: Literal["auto", "official", "patient"] = "auto"  # auto: the official folds where the data has them
    validation: float = 0.15  # share of patients that choose the epoch, the thresholds and the calibration
    test: float = 0.15  # share of patients that only the report sees
    fraction: float = 1.0  # of the training patients, nested: the 10 % are among the 25 %

    # The model, and what it sees
    model: str = "inception-time"  # a row of `einthoven models list`, or onnx
    options: Mapping[str, Any] = field(default_factory=dict)  # arguments of the model's constructor
    weights: str | None = None  # to start from: a Bundle or .safetensors of this model, or any .onnx of signals
    preset: str | None = None  # preprocessing, or image form (heartbeit, page-448, photo); None: the model's own
    normalise: Literal["preset", "none", "lead", "record", "global"] = "preset"  # z-score; global: of the training patients

    # How much of it moves (tune/)
    method: Literal["full", "head", "partial", "lora", "adapter"] = "full"
    pattern: str | None = None  # partial: regular expression over names of parameters
    rank: int | None = None  # LoRA
    alpha: float | None = None  # LoRA: the update is scaled by alpha / rank
    dropout: float | None = None  # LoRA and adapters
    targets: str | None = None  # LoRA: regular expression over names of modules; None: the model's own
    kind: Literal["houlsby", "pfeiffer"] | None = None  # adapters
    bottleneck: int | None = None  # adapters: width

    # The optimiser
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float | None = None  # None: the finder's answer (lr_finder.py), from training data alone
    finder_low: float = 1e-4  # the finder tries rates from here
    finder_high: float = 1e-2  # to here
    weight_decay: float = 0.01
    layer_decay: float = 1.0  # of a transformer: each layer's rate is that of the one above by this factor (BEiT: 0.65)
    schedule: Literal["exponential", "onecycle", "cosine", "constant"] = "exponential"
    gamma: float = 0.9  # exponential: the rate's factor from epoch to epoch
    initial: float = 0.04  # onecycle: the first rate, as a share of the highest
    warmup: float = 0.05  # cosine: share of the steps in which the rate rises from 0
    epochs: int = 50
    patience: int = 10  # epochs without a better validation loss before the run stops; 0: never
    batch: int = 32  # records of one step, over all processes together
    accumulate: int = 1  # parts that a step's batch is cut into, where memory is short
    clip: float | None = 1.0  # norm that gradients are cut to
    class_weights: Literal["none", "balanced", "exchangeai"] = "none"  # losses.py; weights shift probabilities

    # Augmentation, of training records only
    mixup: float = 0.0  # alpha of the Beta distribution two records are mixed by; 0: off
    crop: float = 0.0  # largest share of a record that is moved out at one end (zeros come in at the other)
    lead_dropout: float = 0.0  # probability of each lead to be zero
    noise: float = 0.0  # standard deviation of white noise, as a share of the record's own

    # What is reported, and under what name
    name: str | None = None  # of the Bundle; None: after the model and the output folder
    licence: str = "not stated"  # under which the weights may be used: that of the data may bind them
    calibration: Literal["none", "temperature", "platt", "isotonic"] = "temperature"  # fitted on validation
    bootstrap: int = 500  # draws of patients behind every interval

    # The machine
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    workers: int = 0  # processes that prepare batches beside the training
    jobs: int = 0  # processes that read the files; 0: every core
    checkpoint_every: int = 500  # steps between checkpoints inside an epoch; one is written at each epoch's end anyway
    seed: int = 0  # of everything that is drawn: split, new weights, order, dropout, augmentation, bootstrap

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        shares = {"validation": self.validation, "test": self.test}
        for name, share in shares.items():
            if not 0 < share < 0.8:
                raise EcgError(f"{name} is a share of the patients between 0 and 0.8, not {share}", where="recipe")
        if sum(shares.values()) > 0.9:
            raise EcgError("validation and test leave fewer than a tenth of the patients to train on", where="recipe")
        least = dict.fromkeys(("epochs", "batch", "accumulate", "checkpoint_every", "minimum"), 1) | {"bootstrap": 500}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise EcgError(f"{name} is at least {low}, not {getattr(self, name)}", where="recipe")
        for name in ("weight_decay", "patience", "mixup", "noise", "workers", "jobs", "seed"):
            if getattr(self, name) < 0:
                raise EcgError(f"{name} is not negative", where="recipe")
        for name, bottom, top in (
            ("crop", 0, 0.9),
            ("lead_dropout", 0, 0.95),
            ("warmup", 0, 0.9),
            ("initial", 1e-6, 1),
            ("layer_decay", 1e-3, 1),
            ("fraction", 1e-6, 1),
        ):
            if not bottom <= getattr(self, name) <= top:
                raise EcgError(f"{name} lies between {bottom} and {top}, not {getattr(self, name)}", where="recipe")
        if not 0 < self.finder_low < self.finder_high:
            raise EcgError("finder_low is positive and below finder_high", where="recipe")
        if self.learning_rate is not None and not 0 < self.learning_rate < 10:
            raise EcgError(f"a learning rate is positive, not {self.learning_rate}", where="recipe")

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> Recipe:
        """Raises EcgError, which names the field, for a name that is not a recipe's and a value of the wrong kind."""
        return from_words(Recipe, words)

    @staticmethod
    def read(path: str | Path) -> Recipe:
        """A recipe from its YAML file. Raises EcgError."""
        return from_file(path, Recipe.from_dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every field written out, so that a saved recipe does not follow a change of defaults."""
        return to_words(self)

    def text(self) -> str:
        """YAML, in the order of the fields."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    def with_(self, **changes: Any) -> Recipe:
        """The same recipe but for `changes`, checked again."""
        return Recipe.from_dict({**self.to_dict(), **changes})

    def differences(self, other: Recipe) -> list[str]:
        """Fields that decide the outcome and are not the same in both: what a run cannot be continued across."""
        idle = {"jobs", "workers", "checkpoint_every", "bootstrap", "name", "licence"}
        return differences(self.to_dict(), other.to_dict(), idle)
