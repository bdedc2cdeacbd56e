"""What every signal model is: a backbone that ends in the head's input, and a head that is put on anew for new labels.

    signal (B, L, T) --backbone--> head input, intermediates --head--> logits (B, K)

The split is what fine-tuning rests on: "head only" trains `model.head`, and because the backbone then never changes, its output
is computed once and cached. B batch, L leads, T samples, C channels, N positions, D width, K outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor, nn


class Output(NamedTuple):
    """What forward returns. `logits` (B, K) before any activation; `embedding` (B, D), one vector an ECG; `maps`, the
    intermediates in order, each (B, C, N), the last one nearest the head (saliency and probes need no hooks); `aux`, what
    a model's own training objective needs (router weights and the like), by name."""

    logits: Tensor
    embedding: Tensor
    maps: tuple[Tensor, ...]
    aux: dict[str, Tensor]


class Backbone(NamedTuple):
    """What `SignalModel.backbone` returns: `head_input`, batch first, any shape; `maps` and `aux` as in Output."""

    head_input: Tensor
    maps: tuple[Tensor, ...]
    aux: dict[str, Tensor]


class SignalModel(nn.Module, ABC):  # type: ignore[misc]
    """Base of all. A subclass takes keyword arguments that are plain values, keeps them in `config`, sets `head`, and
    writes `backbone`. `config` holds all arguments of the constructor: `type(model)(**model.config)` is the same architecture.

    Every constructor takes `leads` and `outputs`; one whose weights depend on the length takes `samples`, too.
    """

    config: dict[str, Any]
    head: nn.Module
    still: frozenset[str] = frozenset()  # modules, by name, that stay in evaluation mode in training (tune/: what is frozen)

    @abstractmethod
    def backbone(self, signal: Tensor) -> Backbone:
        """signal (B, L, T) -> head input and intermediates."""

    @abstractmethod
    def new_head(self, outputs: int) -> None:
        """Puts a freshly initialised head for `outputs` labels in place of the old one (and notes it in `config`)."""

    def embedding(self, head_input: Tensor) -> Tensor:
        """Head input -> (B, D): the mean over positions where there are any."""
        return head_input if head_input.ndim == 2 else head_input.flatten(2).mean(-1)

    def train(self, mode: bool = True) -> SignalModel:
        """As in torch, but what is `still` stays in evaluation mode: the statistics of a frozen BatchNorm must not move."""
        super().train(mode)
        for name in self.still:
            self.get_submodule(name).training = False
        return self

    def forward(self, signal: Tensor) -> Output:
        inner = self.backbone(signal)
        return Output(self.head(inner.head_input), self.embedding(inner.head_input), inner.maps, inner.aux)
