"""InceptionTime: six modules of convolutions of three lengths side by side, a residual over every three.

    signal (B, L, T) --6 x Module--> (B, 4W, T) --mean over time--> head input (B, 4W) --Linear--> logits (B, K)

Ismail Fawaz H et al. InceptionTime: finding AlexNet for time series classification. Data Min Knowl Disc 2020;34:1936. The
layout is tsai's, the form in which ECG papers (ExChanGeAI among them) use it: one network instead of the paper's ensemble of
five, kernels 39, 19 and 9, a plain BatchNorm as the second shortcut. 457,605 parameters at 12 leads and 5 outputs.

B batch, L leads, T samples, W width, K outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from einthoven.models.signal.model import Backbone, SignalModel


def batch_norm(channels: int) -> nn.BatchNorm1d:
    """As fastai starts it: scale 1, offset 0.001."""
    norm = nn.BatchNorm1d(channels)
    nn.init.constant_(norm.bias, 1e-3)
    return norm


def kernels(longest: int) -> list[int]:
    """The longest, its half and its quarter, each made odd: 40 -> 39, 19, 9."""
    return [k - 1 + k % 2 for k in (longest // 2**i for i in range(3))]


class Module(nn.Module):  # type: ignore[misc]
    """(B, c, T) -> (B, 4W, T): 1x1 bottleneck, three convolutions of it, and the maximum of neighbours, side by side."""

    def __init__(self, c: int, width: int, longest: int) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(c, width, 1, bias=False) if c > 1 else nn.Identity()
        narrow = width if c > 1 else c
        self.convs = nn.ModuleList(nn.Conv1d(narrow, width, k, padding=k // 2, bias=False) for k in kernels(longest))
        self.pool = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(c, width, 1, bias=False))
        self.norm = batch_norm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.bottleneck(x)  # (B, W, T)
        x = torch.cat([*(conv(narrow) for conv in self.convs), self.pool(x)], 1)  # (B, 4W, T)
        return self.norm(x).relu()


class InceptionTime(SignalModel):
    """See the head of this file.

    Args:
        width: W, outputs of every convolution. depth: modules; after every third one there is a shortcut. longest: of the
        three kernels, before it is made odd.
    """

    def __init__(self, *, leads: int = 12, outputs: int = 5, width: int = 32, depth: int = 6, longest: int = 40) -> None:
        super().__init__()
        self.config = {"leads": leads, "outputs": outputs, "width": width, "depth": depth, "longest": longest}
        self.blocks = nn.ModuleList(Module(leads if i == 0 else 4 * width, width, longest) for i in range(depth))
        self.shortcuts = nn.ModuleList(
            batch_norm(4 * width)
            if i or leads == 4 * width
            else nn.Sequential(nn.Conv1d(leads, 4 * width, 1, bias=False), batch_norm(4 * width))
            for i in range(depth // 3)
        )
        self.head = nn.Linear(4 * width, outputs)

    def backbone(self, signal: Tensor) -> Backbone:
        """-> the mean over time (B, 4W); maps: what leaves each shortcut, (B, 4W, T)."""
        x = before = signal
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i % 3 == 2:
                x = before = (x + self.shortcuts[i // 3](before)).relu()
            if i % 3 == 2 or i == len(self.blocks) - 1:
                maps.append(x)
        return Backbone(x.mean(-1), tuple(maps), {})

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        self.head = nn.Linear(self.head.in_features, outputs)
