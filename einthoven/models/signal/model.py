"""What every signal model is: a backbone that ends in the head's input, and a head that is put on anew for new labels.

    signal (B, L, T) --backbone--> head input, intermediates --head--> logits (B, K)

What signal and image models share stands in models/network.py. B batch, L leads, T samples, C channels, N positions, D width,
K outputs.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from einthoven.models.network import Backbone, Network, Output

__all__ = ["Backbone", "Output", "SignalModel"]


class SignalModel(Network):
    """Base of all. Every constructor takes `leads` and `outputs`; one whose weights depend on the length takes
    `samples`, too."""

    @abstractmethod
    def backbone(self, signal: Tensor) -> Backbone:
        """signal (B, L, T) -> head input and intermediates."""

    def train(self, mode: bool = True) -> SignalModel:
        super().train(mode)
        return self

    def forward(self, signal: Tensor) -> Output:
        return super().forward(signal)
