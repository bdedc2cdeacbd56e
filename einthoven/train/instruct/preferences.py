"""Direct preference optimisation: of two answers to one question the better is made likelier than it was, the worse less
likely.

    loss = -log sigmoid(beta * ((better - better_before) - (worse - worse_before)))

in log-probabilities of whole answers (Rafailov et al., NeurIPS 2023). What the model said before it is computed once, so that
no second model is held. Pairs are files of JSON lines: a sample (data/instruct), whose last turn is the better answer, and in
the same line "rejected", the worse one.

B pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from einthoven.data.instruct.sample import Sample, Turn, as_json, from_json
from einthoven.io.files import replacing
from einthoven.models.language.chat import SKIP
from einthoven.models.language.speaker import Batch, Example, Speaker
from einthoven.record import EcgError
from einthoven.train.instruct.material import Material, fold_of
from einthoven.train.instruct.recipe import InstructRecipe

Rows = NDArray[np.int64]
LARGEST = 4 << 20  # bytes of a line


@dataclass(frozen=True)
class Pair:
    """A sample whose last turn is the better answer, and the worse one."""

    sample: Sample
    rejected: str


def read_pairs(path: str | Path) -> list[Pair]:
    """Raises EcgError, which names the row, for one that is no pair."""
    place, pairs = Path(path), []
    if not place.is_file():
        raise EcgError("no such file", path=place)
    with place.open("rb") as file:
        for number, line in enumerate(file, 1):
            if len(line) > LARGEST:
                raise EcgError(f"a line beyond {LARGEST >> 20} MB", path=place, where=f"row {number}")
            if not line.strip():
                continue
            try:
                words = json.loads(line)
                rejected = words.pop("rejected")
                if not isinstance(rejected, str) or not rejected.strip():
                    raise EcgError("rejected is the words of an answer")
                pairs.append(Pair(from_json(words), rejected))
            except (ValueError, KeyError, AttributeError, RecursionError) as fault:
                raise EcgError(f"no pair: {fault!r}", path=place, where=f"row {number}") from None
            except EcgError as fault:
                raise EcgError(fault.what, path=place, where=f"row {number}") from None
    return pairs


def write_pairs(path: str | Path, pairs: Sequence[Pair]) -> None:
    with replacing(Path(path)) as draft, draft.open("w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps({**as_json(pair.sample), "rejected": pair.rejected}, ensure_ascii=False) + "\n")


@dataclass
class PairBatch:
    """Conversations with the better answers, then the same with the worse ones; and what the model said of them before."""

    batch: Batch
    before: Tensor  # (2 B,) log-probability of each answer

    def to(self, device: Any) -> PairBatch:
        return PairBatch(self.batch.to(device), self.before.to(device))


class Preferences:
    """The task of preferring (loop.Task); a unit is a pair, and counts 1."""

    def __init__(
        self, model: Speaker, pairs: Sequence[Pair], material: Material, stores: Mapping[str, Any], recipe: InstructRecipe
    ) -> None:
        self.model, self.stores, self.beta, self.chunk = model, stores, recipe.beta, recipe.chunk
        self.pairs = [p for p in pairs if all(r in stores for r in p.sample.records)]
        folds = np.array([fold_of(p.sample) for p in self.pairs], np.int64)
        self.train = np.flatnonzero(np.isin(folds, recipe.train_folds))
        self.validation = np.flatnonzero(np.isin(folds, recipe.validation_folds))
        if not len(self.train) or not len(self.validation):
            raise EcgError(
                f"{len(self.train)} pairs to learn from and {len(self.validation)} to choose by: both are needed; "
                "pairs are about "
                "ECGs that the samples are about, too"
            )
        self.lengths = np.array([len(self._example(p, p.sample.answer).ids) for p in self.pairs], np.int64)
        self.learned = np.ones(len(self.pairs))
        self.before = np.zeros((len(self.pairs), 2), np.float32)

    def _example(self, pair: Pair, answer: str) -> Example:
        """Only the last answer is labelled."""
        turns = (*pair.sample.turns[:-1], Turn("assistant", answer))
        arrays = [self.stores[r][r] for r in pair.sample.records]
        begin = len(self.model.example(turns, arrays, ask=True).ids)
        made = self.model.example(turns, arrays)
        return Example(made.ids, [*[SKIP] * begin, *made.labels[begin:]], made.seen)

    def batch(self, units: Rows) -> PairBatch:
        some = [self.pairs[k] for k in units.tolist()]
        examples = [self._example(p, p.sample.answer) for p in some] + [self._example(p, p.rejected) for p in some]
        return PairBatch(self.model.collate(examples), torch.from_numpy(self.before[units].T.reshape(-1).copy()))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def refer(self, device: Any, size: int = 8) -> None:
        """What the model says before it is trained."""
        self.model.to(device).eval()
        for begin in range(0, len(self.pairs), size):
            units = np.arange(begin, min(begin + size, len(self.pairs)))
            said = self.model.loss(self.batch(units).to(device).batch, chunk=self.chunk).each
            self.before[units] = -said.float().cpu().numpy().reshape(2, -1).T

    def loss(self, net: nn.Module, batch: PairBatch) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(net, Speaker)
        said = -net.loss(batch.batch, chunk=self.chunk).each - batch.before
        better, worse = said.chunk(2)
        margin = self.beta * (better - worse)
        return -F.logsigmoid(margin).sum(), {"preferred": float((margin > 0).sum())}
