"""`InstructRecipe`: all that decides a run of a language model on conversations about ECGs, in one typed table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict

from einthoven.models.language.build import Design, Init
from einthoven.record import EcgError
from einthoven.train.recipes import differences, from_file, from_words, to_words

OBJECTIVE = "language"  # the line of a recipe by which `einthoven finetune` knows whose it is


@dataclass(frozen=True)
class InstructRecipe:
    """One run. The defaults are those of the Llama 3.2 Vision paper where it gives any (papers/llama32-vision-lora-ecg)."""

    # From what
    data: str = ""  # ECGs: an Index, a public set's folder, a folder of files
    labels: str | None = None  # CSV of a folder of one's own
    rate: int | None = None  # Hz, for a set that comes at several
    ecgs: int | None = None  # of `data` at most so many, drawn by the seed from every fold alike
    samples: tuple[str, ...] | None = (
        None  # files of samples, folders of public sets, "made": by templates from `data`, as None
    )
    per_record: float = 10.0  # samples an ECG, where they are made here
    simulated: int = 0  # simulated ECGs beside, with samples made of what is known of them; training only
    sources: tuple[str, ...] | None = None  # only samples of these sources (data ablation); None: all
    mix: Mapping[str, float] = field(default_factory=dict)  # source -> weight in training; none: as many as there are
    kinds: tuple[str, ...] | None = None  # only these kinds of samples
    languages: tuple[str, ...] | None = None  # only samples in these languages ("en"); None: all
    most: int | None = None  # training samples at most, drawn by the seed
    train_folds: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)  # samples without a fold get one by their patient
    validation_folds: tuple[int, ...] = (8,)
    test_folds: tuple[int, ...] = (9,)

    # The model, and what it sees
    family: str = "mllama"  # a model type of transformers
    model: str | None = None  # name on the Hub or path; None: fresh weights of `options`
    options: Mapping[str, Any] = field(default_factory=dict)
    views: tuple[Mapping[str, Any], ...] = ()
    view_dropout: float = 0.0
    limit: int | None = None  # tokens
    vocabulary: int = 2048
    processor: Mapping[str, Any] = field(default_factory=dict)
    init: Init = "weights"  # tiny-random: the same classes, random and small
    weights: str | None = None  # a Bundle of this model to go on from

    # How much of it moves
    method: Literal["lora", "full", "connector", "projector+attention", "projector+layers"] = "lora"
    rank: int = 64
    alpha: float = 128.0
    dropout: float = 0.05
    targets: str | None = None  # regular expression over names of modules; None: every linear layer but the head
    rows: bool = True  # rows of ECG symbols train (False: as ECG-Bench, whose rows stay as they were drawn)
    gates: bool = False  # mllama's gates of cross-attention train, too: LoRA reaches linear layers alone

    # The encoder first, by labels: epochs of that before it is joined to the language model
    encoder_epochs: int = 0
    encoder_level: str = "superclass"
    encoder_rate: float = 1e-3

    # What is learned
    goal: Literal["answers", "preferences"] = "answers"  # preferences: DPO on pairs
    preferences: tuple[str, ...] = ()  # files of pairs (.jsonl)
    beta: float = 0.1

    # The optimiser
    learning_rate: float = 2e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.03  # share of the steps
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    clip: float = 1.0
    epochs: int = 3
    batch: int = 16  # conversations of one step, over all processes together
    accumulate: int = 1
    pack: int = 1  # conversations about one ECG that share its rows (models assembled here alone)
    by_length: bool = True  # conversations of like length make a batch
    patience: int = 0  # epochs without a better validation loss before the run stops; 0: never

    # Evaluation
    judge: bool = True  # after training: answers of test samples with controls
    judged: int = 200  # test samples at most
    ranked: int = 300  # test ECGs at most whose superclasses are ranked by likelihood; 0: none
    new_tokens: int = 128

    # What comes out
    merge: bool = False  # LoRA folded into the weights (float32), whole model beside the Bundle
    name: str | None = None
    licence: str = "not stated"

    # The machine
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpointing: bool = True  # layers are computed again in the backward pass
    chunk: int = 256  # labelled positions whose logits exist at once
    workers: int = 0
    jobs: int = 0  # processes that read and draw ECGs; 0: every core
    checkpoint_every: int = 500
    seed: int = 0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "pack", "checkpoint_every", "rank", "chunk", "judged", "new_tokens"):
            if getattr(self, name) < 1:
                raise EcgError(f"{name} is at least 1, not {getattr(self, name)}", where="recipe")
        for name in ("weight_decay", "patience", "workers", "jobs", "seed", "simulated", "encoder_epochs", "ranked"):
            if getattr(self, name) < 0:
                raise EcgError(f"{name} is not negative", where="recipe")
        for name, low, high in (("dropout", 0, 0.9), ("view_dropout", 0, 0.9), ("warmup", 0, 0.9)):
            if not low <= getattr(self, name) <= high:
                raise EcgError(f"{name} lies between {low} and {high}, not {getattr(self, name)}", where="recipe")
        if not 0 < self.learning_rate < 1 or not self.per_record > 0 or not self.beta > 0 or not self.alpha > 0:
            raise EcgError("learning_rate, per_record, beta and alpha are positive", where="recipe")
        folds = [set(self.train_folds), set(self.validation_folds), set(self.test_folds)]
        if not all(folds[:2]) or folds[0] & folds[1] or folds[0] & folds[2] or folds[1] & folds[2]:
            raise EcgError(
                "train_folds, validation_folds and test_folds share no fold, the first two are not empty", where="recipe"
            )
        if self.goal == "preferences" and not self.preferences:
            raise EcgError("goal preferences needs files of pairs (preferences)", where="recipe")
        if self.goal == "preferences" and self.pack > 1:
            raise EcgError("pairs are not packed: pack is 1", where="recipe")
        if self.pack > 1 and self.design.vision:
            raise EcgError(f"{self.family} cannot be packed: pack is 1", where="recipe")
        if self.method.startswith("projector+") and self.family != "mllama":
            raise EcgError(f"method {self.method} is of mllama's cross-attention, {self.family} has none", where="recipe")

    @property
    def design(self) -> Design:
        return Design(
            family=self.family, model=self.model, options=self.options, views=self.views, dropout=self.view_dropout,
            limit=self.limit, vocabulary=self.vocabulary, processor=self.processor,
        )  # fmt: skip

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> InstructRecipe:
        """Raises EcgError, which names the field, for an unknown name and a value of the wrong kind."""
        given = {name: value for name, value in words.items() if not (name == "objective" and value == OBJECTIVE)}
        return from_words(InstructRecipe, given, "a recipe of a language model")

    @staticmethod
    def read(path: str | Path) -> InstructRecipe:
        """From a YAML file. Raises EcgError."""
        return from_file(path, InstructRecipe.from_dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every field written out."""
        return to_words(self)

    def text(self) -> str:
        return yaml.safe_dump({"objective": OBJECTIVE, **self.to_dict()}, sort_keys=False, allow_unicode=True)

    def with_(self, **changes: Any) -> InstructRecipe:
        return InstructRecipe.from_dict({**self.to_dict(), **changes})

    def differences(self, other: InstructRecipe) -> list[str]:
        """Fields that decide the outcome and are not the same in both: what a run cannot be continued across."""
        idle = {"jobs", "workers", "checkpoint_every", "judge", "judged", "ranked", "new_tokens", "name", "licence", "merge"}
        return differences(self.to_dict(), other.to_dict(), idle)
