"""The SE-ResNet of DSAIL SNU: a pre-activation wide ResNet with squeeze-and-excitation, second in PhysioNet Challenge 2021.

    signal (B, L, T) --stem, 4 stages--> (B, 128, T/64) --maximum over time, 5 features--> (B, 133) --Linear--> logits (B, K)

Han H et al. Towards high generalization performance on electrocardiogram classification. CinC 2021. 1,814,556 parameters
with 26 outputs.

**Five features.** The last layer also sees age, sex (two ways) and whether each is known. Here, as in ExChanGeAI, they are
constants of the architecture: what their code takes for a patient of whom nothing is known. They add nothing but a constant
to each logit; without (`features=()`) the model loses 5 K parameters that its bias can replace.

B batch, L leads, T samples, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from einthoven.models.signal.model import Backbone, SignalModel

UNKNOWN_PATIENT = (0.603661872, 0.47138388, 0.52861612, 1.0, 1.0)  # scaled age, sex, sex, and "is known" of age and sex


def conv(c: int, d: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """(B, c, T) -> (B, d, floor(T / stride)): zeros at both ends, the odd one to the right."""
    pad = kernel - stride
    return nn.Sequential(nn.ConstantPad1d((pad // 2, pad - pad // 2), 0.0), nn.Conv1d(c, d, kernel, stride, bias=False))


class Block(nn.Module):  # type: ignore[misc]
    """(B, c, T) -> (B, d, T / stride). In the network's `first` block the shortcut, too, starts behind BatchNorm and ReLU."""

    def __init__(self, c: int, d: int, kernel: int, stride: int, reduction: int, dropout: float, first: bool) -> None:
        super().__init__()
        self.first = first
        self.norm1, self.conv1 = nn.BatchNorm1d(c), conv(c, d, kernel, stride)
        self.norm2, self.drop, self.conv2 = nn.BatchNorm1d(d), nn.Dropout(dropout), conv(d, d, kernel)
        self.squeeze = nn.Conv1d(d, d // reduction, 1, bias=False)
        self.excite = nn.Conv1d(d // reduction, d, 1, bias=False)
        self.shrink = nn.MaxPool1d(stride) if stride > 1 else nn.Identity()
        self.new_channels = d - c

    def forward(self, x: Tensor) -> Tensor:
        active = self.norm1(x).relu()
        if self.first:
            x = active
        y = self.conv2(self.drop(self.norm2(self.conv1(active)).relu()))  # (B, d, T / stride)
        weight = self.excite(self.squeeze(y.mean(-1, keepdim=True)).relu()).sigmoid()  # (B, d, 1)
        return y * weight + nn.functional.pad(self.shrink(x), (0, 0, 0, self.new_channels))


class SEResNet(SignalModel):
    """See the head of this file.

    Args:
        widths: of the stem and the stages. depth: blocks a stage. kernel: of all convolutions. stride: between stages.
        reduction: by which the squeeze narrows; in the first stage it leaves one channel, whose ReLU may be shut for every ECG:
        then the first stage's gates stand at one half, and learn once the channel opens.
        features: constants that the head sees beside the signal.
    """

    def __init__(
        self,
        *,
        leads: int = 12,
        outputs: int = 5,
        widths: Sequence[int] = (16, 32, 64, 128),
        depth: int = 3,
        kernel: int = 15,
        stride: int = 4,
        reduction: int = 16,
        dropout: float = 0.2,
        features: Sequence[float] = UNKNOWN_PATIENT,
    ) -> None:
        super().__init__()
        self.config = {
            "leads": leads,
            "outputs": outputs,
            "widths": list(widths),
            "depth": depth,
            "kernel": kernel,
            "stride": stride,
            "reduction": reduction,
            "dropout": dropout,
            "features": list(features),
        }
        self.stem = conv(leads, widths[0], kernel)
        self.stages = nn.ModuleList()
        c = widths[0]
        for i, width in enumerate(widths):
            blocks = []
            for j in range(depth):
                blocks.append(Block(c, width, kernel, stride if i and j == 0 else 1, reduction, dropout, first=i == j == 0))
                c = width
            self.stages.append(nn.Sequential(*blocks))
        self.norm, self.drop = nn.BatchNorm1d(c), nn.Dropout(dropout)
        self.width = c
        self.features: Tensor
        self.register_buffer("features", torch.tensor([list(features)], dtype=torch.float32), persistent=False)  # (1, F)
        self.head = nn.Linear(c + len(features), outputs)

    def backbone(self, signal: Tensor) -> Backbone:
        """-> (B, 128 + F), the features last; maps: what leaves each stage, the first one (B, 16, T)."""
        x, maps = self.stem(signal), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x = self.drop(self.norm(x).relu()).amax(-1)
        return Backbone(torch.cat([x, self.features.expand(x.shape[0], -1).to(x.dtype)], 1), tuple(maps), {})

    def embedding(self, head_input: Tensor) -> Tensor:
        """(B, 128): without the constants."""
        return head_input[:, : self.width]

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        self.head = nn.Linear(self.head.in_features, outputs)
