"""XResNet-1D: ResNet with a stem of three convolutions, average pooling in the shortcut, and branches that start at zero.

    signal (B, L, T) --stem, maximum--> (B, 64, T/4) --4 stages--> (B, C, T/32) --pooling--> head input --head--> logits (B, K)

He T et al. Bag of tricks for image classification with convolutional neural networks. CVPR 2019:558; in one dimension by
fastai, and by tsai from there. Two classes:

- `XResNet` has fastai's widths, 64, 128, 256, 512 times four, with the kernel 5 and the pooling (maximum and mean over time)
  that ECGs are used with, and one linear layer: 33,042,309 parameters. fastai's and tsai's own default is kernel 3 and the
  mean alone, 28,281,989: `XResNet(kernel=3, both=False)`.
- `BenchmarkXResNet` is the PTB-XL benchmark's (Strodthoff N et al. IEEE J Biomed Health Inform 2021;25:1519): all widths 64
  times four, kernel 5, maximum and mean, a head with a layer of 128 between: 1,804,672 parameters before the head.

Every residual branch ends in a BatchNorm with scale zero, so that at the start only shortcuts speak: in the first backward the
convolutions behind it get a gradient of exactly zero, in the second no more.

B batch, L leads, T samples, C channels (the last width times `expansion`), K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from einthoven.models.signal.inception_time import batch_norm
from einthoven.models.signal.model import Backbone, SignalModel


def layer(c: int, d: int, kernel: int, *, stride: int = 1, relu: bool = True, zero: bool = False) -> nn.Sequential:
    """(B, c, T) -> (B, d, ceil(T / stride)): convolution, BatchNorm (its scale zero, if so asked), ReLU."""
    conv = nn.Conv1d(c, d, kernel, stride, (kernel - 1) // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    norm = batch_norm(d)
    nn.init.zeros_(norm.bias)  # fastai's init_cnn, which runs last, sets all offsets to zero
    if zero:
        nn.init.zeros_(norm.weight)
    return nn.Sequential(conv, norm, nn.ReLU()) if relu else nn.Sequential(conv, norm)


class Block(nn.Module):  # type: ignore[misc]
    """(B, c, T) -> (B, expansion w, ceil(T / stride)): bottleneck of three convolutions, or two where `expansion` is 1."""

    def __init__(self, c: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        d = expansion * width
        self.branch = nn.Sequential(
            *(
                (layer(c, width, kernel, stride=stride), layer(width, d, kernel, relu=False, zero=True))
                if expansion == 1
                else (
                    layer(c, width, 1),
                    layer(width, width, kernel, stride=stride),
                    layer(width, d, 1, relu=False, zero=True),
                )
            )
        )
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool1d(stride, ceil_mode=True))
        if c != d:
            self.shortcut.append(layer(c, d, 1, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        return (self.branch(x) + self.shortcut(x)).relu()


class XResNet(SignalModel):
    """See the head of this file; the defaults are XResNet1d101.

    Args:
        widths, depths: of the four stages; every stage but the first halves time. kernel: of the blocks. stem: widths of the
        first three convolutions. expansion: of the bottlenecks; 1 for blocks without (XResNet 18, 34).
        both: pool maximum and mean over time, not the mean alone. hidden: width of a layer in the head, 0 for none.
    """

    def __init__(
        self,
        *,
        leads: int = 12,
        outputs: int = 5,
        widths: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (3, 4, 23, 3),
        kernel: int = 5,
        stem: Sequence[int] = (32, 32, 64),
        expansion: int = 4,
        both: bool = True,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        self.config = {
            "leads": leads,
            "outputs": outputs,
            "widths": list(widths),
            "depths": list(depths),
            "kernel": kernel,
            "stem": list(stem),
            "expansion": expansion,
            "both": both,
            "hidden": hidden,
        }
        self.both, self.hidden = both, hidden
        self.stem = nn.Sequential(
            *(
                layer(c, d, kernel, stride=2 if i == 0 else 1)
                for i, (c, d) in enumerate(zip((leads, *stem[:-1]), stem, strict=True))
            ),
            nn.MaxPool1d(3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        c = stem[-1]
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(Block(c, width, kernel, 2 if i and j == 0 else 1, expansion))
                c = expansion * width
            self.stages.append(nn.Sequential(*blocks))
        self.features = 2 * c if both else c
        self.head: nn.Module
        self.new_head(outputs)

    def backbone(self, signal: Tensor) -> Backbone:
        """-> (B, C), or maximum and mean (B, 2C); maps: what leaves each stage, the first one (B, C1, T/4)."""
        x, maps = self.stem(signal), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        mean = x.mean(-1)
        return Backbone(torch.cat([x.amax(-1), mean], 1) if self.both else mean, tuple(maps), {})

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        last = nn.Linear(self.hidden or self.features, outputs)
        self.head = last
        if self.hidden:
            first = nn.Linear(self.features, self.hidden)
            self.head = nn.Sequential(
                nn.BatchNorm1d(self.features), nn.Dropout(0.25), first, nn.ReLU(),
                nn.BatchNorm1d(self.hidden), nn.Dropout(0.5), last,
            )  # fmt: skip
        for linear in self.head.modules():
            if isinstance(linear, nn.Linear):
                nn.init.kaiming_normal_(linear.weight)
                nn.init.zeros_(linear.bias)


class BenchmarkXResNet(XResNet):
    """XResNet1d101 as the PTB-XL benchmark trained it: the same arguments, other defaults."""

    def __init__(
        self,
        *,
        leads: int = 12,
        outputs: int = 5,
        widths: Sequence[int] = (64, 64, 64, 64),
        depths: Sequence[int] = (3, 4, 23, 3),
        kernel: int = 5,
        stem: Sequence[int] = (32, 32, 64),
        expansion: int = 4,
        both: bool = True,
        hidden: int = 128,
    ) -> None:
        super().__init__(
            leads=leads, outputs=outputs, widths=widths, depths=depths, kernel=kernel, stem=stem,
            expansion=expansion, both=both, hidden=hidden,
        )  # fmt: skip
