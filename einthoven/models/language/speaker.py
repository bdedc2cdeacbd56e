"""What every ECG-language model is here: a language model that is given an ECG, can be trained on answers, and speaks.

    example = model.example(turns, arrays)          tokens and what is seen, of one conversation
    batch = model.collate([example, ...])           padded
    loss, tokens = model.loss(batch)                cross-entropy summed over the labelled tokens
    ids = model.generate(model.collate(prompts, left=True), most=64)

The logits of a batch never exist at once: the loss runs over the labelled positions alone, some hundred of them at a time, and
computes each piece again in the backward pass.

B conversations, T tokens, D width, V vocabulary, M labelled positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from einthoven.data.instruct.sample import Turn
from einthoven.models.language.chat import SKIP, Chat
from einthoven.models.language.look import Look
from einthoven.record import EcgError

CHUNK = 256  # labelled positions whose logits exist at once

Arrays = Sequence[Sequence[NDArray[Any] | None]]  # of each ECG, of each view


@dataclass(frozen=True)
class Example:
    """One conversation: ids, labels (T,) and what a model's own `collate` needs beside them (`seen`)."""

    ids: list[int]
    labels: list[int]
    seen: Any = None


@dataclass
class Batch:
    """ids, mask, labels (B, T); `more`: tensors, and lists of them, of what is seen. `to` moves all of it."""

    ids: Tensor
    mask: Tensor
    labels: Tensor
    more: dict[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Batch:
        def moved(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=True)
            if isinstance(value, list | tuple):
                return type(value)(moved(one) for one in value)
            return value

        return Batch(
            self.ids.to(device), self.mask.to(device), self.labels.to(device), {k: moved(v) for k, v in self.more.items()}
        )

    @property
    def learned(self) -> int:
        """Labelled positions that a token before foretells."""
        return int((self.labels[:, 1:] != SKIP).sum())


class Loss(NamedTuple):
    """`total`: cross-entropy summed over `tokens` labelled positions; `each` (B,) the same of each conversation, `counts`
    (B,)."""

    total: Tensor
    tokens: int
    each: Tensor
    counts: Tensor


class Speaker(nn.Module, ABC):  # type: ignore[misc]
    """Base of all. `lm` is a model of transformers, `chat` its tokenizer and template, `looks` what is computed of an ECG."""

    lm: Any
    chat: Chat
    looks: tuple[Look, ...]
    still: frozenset[str] = frozenset()
    limit: int  # tokens at most

    @abstractmethod
    def example(self, turns: Sequence[Turn], arrays: Arrays, *, ask: bool = False) -> Example:
        """A conversation about ECGs of which `arrays` are what the looks saw. `ask`: up to where the last answer begins."""

    @abstractmethod
    def collate(self, examples: Sequence[Example], *, left: bool = False) -> Batch:
        """Padded on the right to learn, on the `left` to speak."""

    @abstractmethod
    def hidden(self, batch: Batch) -> Tensor:
        """(B, T, D): what the head of the language model is given."""

    @abstractmethod
    def generate(self, batch: Batch, most: int, *, temperature: float = 0.0, seed: int = 0) -> list[list[int]]:
        """New ids of each conversation, its end among them where it came; the likeliest ones, or drawn at `temperature`."""

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V) float32."""
        found = self.lm.get_output_embeddings()(hidden).float()
        cap = getattr(self.lm.config.get_text_config(), "final_logit_softcapping", None)
        return torch.tanh(found / cap) * cap if cap else found

    def loss(self, batch: Batch, *, chunk: int = CHUNK) -> Loss:
        """Cross-entropy of the labelled tokens. Raises EcgError where there is none."""
        hidden = self.hidden(batch)[:, :-1]
        wanted = batch.labels[:, 1:]
        at = (wanted != SKIP).nonzero()  # (M, 2)
        if not len(at):
            raise EcgError("no token of this batch is to be learned")
        chosen, targets = hidden[at[:, 0], at[:, 1]], wanted[at[:, 0], at[:, 1]]
        pieces = []
        for begin in range(0, len(at), chunk):
            part = slice(begin, begin + chunk)
            if torch.is_grad_enabled() and chosen.requires_grad:
                pieces.append(checkpoint(self._piece, chosen[part], targets[part], use_reentrant=False))
            else:
                pieces.append(self._piece(chosen[part], targets[part]))
        every = torch.cat(pieces)
        each = torch.zeros(len(hidden), device=every.device).index_add(0, at[:, 0], every)
        counts = torch.bincount(at[:, 0], minlength=len(hidden))
        return Loss(every.sum(), len(at), each, counts)

    def _piece(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(hidden), targets, reduction="none")

    def train(self, mode: bool = True) -> Speaker:
        """As in torch, but what is `still` stays in evaluation mode."""
        super().train(mode)
        for name in self.still:
            self.get_submodule(name).train(False)
        return self

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def check_head(self) -> None:
        """Is `logits(hidden)` what the language model itself says? Raises EcgError where it scales its logits in a way that is
        not known here: it would be trained for something else than it does."""
        ids = torch.tensor([[self.chat.pad, 1, 2]], device=self.device)
        mode = self.lm.training
        self.lm.eval()
        with torch.no_grad():
            own = self.lm(input_ids=ids).logits.float()
            ours = self.logits(base_of(self.lm)(input_ids=ids).last_hidden_state)
        self.lm.train(mode)
        if own.shape != ours.shape or not torch.allclose(own, ours, atol=1e-3 * float(own.abs().max().clamp_min(1.0))):
            raise EcgError(f"{type(self.lm).__name__} does something to its logits that is not known here")


def base_of(lm: Any) -> Any:
    """The language model without its head."""
    return lm.base_model


def padded(examples: Sequence[Example], pad: int, *, left: bool) -> Batch:
    """ids, mask, labels of one length."""
    most = max(len(one.ids) for one in examples)

    def row(values: Sequence[int], fill: int) -> list[int]:
        gap = [fill] * (most - len(values))
        return [*gap, *values] if left else [*values, *gap]

    return Batch(
        torch.tensor([row(one.ids, pad) for one in examples]),
        torch.tensor([row([1] * len(one.ids), 0) for one in examples]),
        torch.tensor([row(one.labels, SKIP) for one in examples]),
    )
