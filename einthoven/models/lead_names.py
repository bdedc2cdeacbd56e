"""The network that reads lead names off a sheet's ink: a few convolutions, everywhere at once. 60,000 parameters."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from einthoven.paper.digitise.names import CLASSES


class LeadNames(nn.Module):  # type: ignore[misc]
    """Ink (B, 1, H, W) at 4 pixels to the millimetre -> (B, 1 + C + 2, H/4, W/4).

    For each millimetre: the logits of "no name's middle is here" and of each name (`CLASSES`), then the name's
    width and height in mm.
    """

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        sizes = [
            (1, 16, 2, 1),
            (16, 24, 1, 1),
            (24, width, 2, 1),
            (width, width, 1, 1),
            (width, width, 1, 2),
            (width, width, 1, 1),
        ]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride, dilation, dilation, bias=False), nn.BatchNorm2d(b))
            for a, b, stride, dilation in sizes
        )
        self.out = nn.Conv2d(width, 1 + len(CLASSES) + 2, 1)

    def forward(self, ink: Tensor) -> Tensor:
        x = ink
        for layer in self.layers:
            x = F.relu(layer(x))
        y: Tensor = self.out(x)
        return y
