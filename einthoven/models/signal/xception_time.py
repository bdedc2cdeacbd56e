"""XceptionTime: four modules of depthwise separable convolutions of three lengths, and a head of 1x1 convolutions.

    signal (B, L, T) --4 x Module--> (B, 32W, T) --mean to 50 positions--> head input (B, 32W, 50) --Head--> logits (B, K)

Rahimian E et al. XceptionTime: independent time-window XceptionTime architecture for hand gesture classification. ICASSP
2020:1304. The layout is tsai's, which ExChanGeAI uses: kernels 39, 19 and 9, no normalisation within a module, residual and
ReLU after every second one. 401,370 parameters at 12 leads and 5 outputs.

**Two logit variants.** In tsai the last 1x1 convolution, too, is followed by BatchNorm and ReLU (`last_relu=True`): its
logits are never negative, so a sigmoid is never below 0.5, and where ReLU is shut there is no gradient; with softmax and
cross-entropy it can live with that. `last_relu=False`, the default here and the one for sigmoid training, ends in the
convolution, with a bias: five parameters fewer at five outputs (401,365).

B batch, L leads, T samples, W width, N positions (50), K outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from einthoven.models.signal.inception_time import batch_norm, kernels
from einthoven.models.signal.model import Backbone, SignalModel


class Module(nn.Module):  # type: ignore[misc]
    """(B, c, T) -> (B, 4w, T): 1x1 bottleneck, three separable convolutions of it, the maximum of neighbours, side by side."""

    def __init__(self, c: int, width: int, longest: int) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(c, width, 1, bias=False)
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, k, padding=k // 2, groups=width, bias=False),
                nn.Conv1d(width, width, 1, bias=False),
            )
            for k in kernels(longest)
        )
        self.pool = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(c, width, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.bottleneck(x)  # (B, w, T)
        return torch.cat([*(conv(narrow) for conv in self.convs), self.pool(x)], 1)


def step(c: int, d: int) -> nn.Sequential:
    """(B, c, N) -> (B, d, N): 1x1 convolution, BatchNorm, ReLU; weights after He, as fastai starts them before a ReLU."""
    conv = nn.Conv1d(c, d, 1, bias=False)
    nn.init.kaiming_uniform_(conv.weight)
    return nn.Sequential(conv, batch_norm(d), nn.ReLU())


class Head(nn.Module):  # type: ignore[misc]
    """(B, c, N) -> (B, K): three 1x1 convolutions, then the mean over positions."""

    def __init__(self, c: int, outputs: int, last_relu: bool) -> None:
        super().__init__()
        self.last_relu = last_relu
        self.first, self.second = step(c, c // 2), step(c // 2, c // 4)
        self.last: nn.Module
        self.renew(c // 4, outputs)

    def renew(self, c: int, outputs: int) -> None:
        self.last = step(c, outputs) if self.last_relu else nn.Conv1d(c, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.first(x))).mean(-1)


class XceptionTime(SignalModel):
    """See the head of this file.

    Args:
        width: W, outputs of every convolution of the first module; each further one has twice as many. longest: of the three
        kernels, before it is made odd. positions: N, to which time is averaged. last_relu: the logit variant.
    """

    head: Head

    def __init__(
        self,
        *,
        leads: int = 12,
        outputs: int = 5,
        width: int = 16,
        longest: int = 40,
        positions: int = 50,
        last_relu: bool = False,
    ) -> None:
        super().__init__()
        self.config = {
            "leads": leads,
            "outputs": outputs,
            "width": width,
            "longest": longest,
            "positions": positions,
            "last_relu": last_relu,
        }
        widths = [width * 2**i for i in range(4)]  # of a module's branches; it has four of them
        self.blocks = nn.ModuleList(
            Module(c, w, longest) for c, w in zip([leads, *(4 * w for w in widths[:3])], widths, strict=True)
        )
        self.shortcuts = nn.ModuleList(
            nn.Sequential(nn.Conv1d(c, d, 1, bias=False), batch_norm(d))
            for c, d in ((leads, 4 * widths[1]), (4 * widths[1], 4 * widths[3]))
        )
        self.pool = nn.AdaptiveAvgPool1d(positions)
        self.head = Head(4 * widths[3], outputs, last_relu)

    def backbone(self, signal: Tensor) -> Backbone:
        """-> (B, 32W, N); maps: what leaves each shortcut, (B, 8W, T) and (B, 32W, T)."""
        x, maps = signal, []
        for i, shortcut in enumerate(self.shortcuts):
            x = (self.blocks[2 * i + 1](self.blocks[2 * i](x)) + shortcut(x)).relu()
            maps.append(x)
        return Backbone(self.pool(x), tuple(maps), {})

    def new_head(self, outputs: int) -> None:
        """Only the last 1x1 convolution is new: the two before it do not know how many labels there are, and keep what they
        have learnt (so does ExChanGeAI). "Head only" trains all three."""
        self.config["outputs"] = outputs
        self.head.renew(self.head.second[0].out_channels, outputs)
