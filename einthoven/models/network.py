"""What every model is, of signals and of images: a backbone that ends in the head's input, and a head that is put on anew.

    input (B, ...) --backbone--> head input, intermediates --head--> logits (B, K)

The split is what fine-tuning rests on: "head only" trains `model.head`, and because the backbone then never changes, its output
is computed once and cached.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn


class Output(NamedTuple):
    """What forward returns. `logits` (B, K) before any activation; `embedding` (B, D), one vector an ECG; `maps`, the
    intermediates in order, each (B, C, N) of a signal and (B, C, h, w) of an image, the last one nearest the head (saliency and
    probes need no hooks); `aux`, what a model's own training objective needs (router weights and the like), by name."""

    logits: Tensor
    embedding: Tensor
    maps: tuple[Tensor, ...]
    aux: dict[str, Tensor]


class Backbone(NamedTuple):
    """What `Network.backbone` returns: `head_input`, batch first, any shape; `maps` and `aux` as in Output."""

    head_input: Tensor
    maps: tuple[Tensor, ...]
    aux: dict[str, Tensor]


class Network(nn.Module, ABC):  # type: ignore[misc]
    """Base of all. A subclass takes keyword arguments that are plain values, keeps them in `config`, sets `head`, and
    writes `backbone`. `config` holds all arguments of the constructor: `type(model)(**model.config)` is the same architecture.
    """

    config: dict[str, Any]
    head: nn.Module
    still: frozenset[str] = frozenset()  # modules, by name, that stay in evaluation mode in training (tune/: what is frozen)

    @abstractmethod
    def backbone(self, x: Tensor, /) -> Backbone:
        """Input, batch first -> head input and intermediates."""

    @abstractmethod
    def new_head(self, outputs: int) -> None:
        """Puts a freshly initialised head for `outputs` labels in place of the old one (and notes it in `config`)."""

    def embedding(self, head_input: Tensor) -> Tensor:
        """Head input -> (B, D): the mean over positions where there are any."""
        return head_input if head_input.ndim == 2 else head_input.flatten(2).mean(-1)

    def look(self, x: NDArray[np.float32]) -> None:
        """Before a training from fresh weights: takes from the training inputs (N, ...) what the model keeps of them. Most keep
        nothing."""

    def fitted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of this architecture, perhaps of another size, as they go into this model."""
        return dict(state)

    def train(self, mode: bool = True) -> Network:
        """As in torch, but what is `still` stays in evaluation mode: the statistics of a frozen BatchNorm must not move."""
        super().train(mode)
        for name in self.still:
            self.get_submodule(name).training = False
        return self

    def forward(self, x: Tensor) -> Output:
        inner = self.backbone(x)
        return Output(self.head(inner.head_input), self.embedding(inner.head_input), inner.maps, inner.aux)
