"""Net1D of ECGFounder (Li et al., NEJM AI 2025, arXiv:2410.04133): a RegNet for one-dimensional signals.

    signal (B, L, T) --convolution, stride 2--> 7 stages, each halves the time --mean over time--> (B, 1024) --> head

A block is convolution 1 -> grouped convolution 16 -> convolution 1, squeeze-and-excitation, and a shortcut that is pooled and
filled with zero channels where shapes change. The published models (PKUDigitalHealth/ECGFounder, MIT; 150 labels; 12 leads,
or lead I) run without batch normalisation and dropout, though their files hold its (unused) weights: there is none here.
Re-implemented; weights come through `models/convert.py`. Input is the preset "ecg-founder": 500 Hz, 10 s.

B batch, L leads, T samples, C channels, N positions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from einthoven.models.signal.model import Backbone, SignalModel
from einthoven.record import EcgError

FILTERS = (64, 160, 160, 400, 400, 1024, 1024)
BLOCKS = (2, 2, 2, 3, 3, 4, 4)


class Block(nn.Module):  # type: ignore[misc]
    """(B, C, N) -> (B, C', N'), N' = ceil(N / 2) with `halve`. `bare`: the first of all does not activate its input again."""

    def __init__(self, inputs: int, outputs: int, kernel: int, group: int, *, halve: bool, bare: bool) -> None:
        super().__init__()
        self.halve, self.bare = halve, bare
        self.fill = outputs - inputs
        self.enter = nn.Conv1d(inputs, outputs, 1)
        self.conv = nn.Conv1d(outputs, outputs, kernel, 2 if halve else 1, groups=outputs // group)
        self.leave = nn.Conv1d(outputs, outputs, 1)
        self.squeeze = nn.Linear(outputs, outputs // 2)
        self.excite = nn.Linear(outputs // 2, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x if self.bare else F.silu(x))
        y = self.leave(F.silu(_same(F.silu(y), self.conv)))
        gate = self.excite(F.silu(self.squeeze(y.mean(-1)))).sigmoid()  # (B, C')
        y = y * gate.unsqueeze(-1)
        if self.halve:
            if x.shape[-1] % 2:  # the zero takes part in the maximum; as padding, onnxruntime would fuse it away to -infinity
                x = torch.cat([x, torch.zeros_like(x[..., :1])], -1)
            x = F.max_pool1d(x, 2)
        if self.fill:
            x = F.pad(x, (0, 0, self.fill // 2, self.fill - self.fill // 2))  # zero channels on both sides
        return y + x


class Net1D(SignalModel):
    """ECGFounder's Net1D. `filters` and `blocks` by stage; `group` channels in each group of the middle convolution."""

    def __init__(
        self,
        *,
        leads: int = 12,
        outputs: int = 5,
        width: int = 64,
        filters: tuple[int, ...] = FILTERS,
        blocks: tuple[int, ...] = BLOCKS,
        kernel: int = 16,
        group: int = 16,
    ) -> None:
        super().__init__()
        if len(filters) != len(blocks) or not filters or any(f % group or f % 2 for f in filters) or not all(blocks):
            raise EcgError(
                f"net1d: filters {filters} must be even multiples of {group}, with as many counts of blocks {blocks}"
            )
        if filters[0] < width or any(b < a for a, b in pairwise(filters)):
            raise EcgError(f"net1d: a shortcut can add channels, not take any away: {width}, {filters}")
        self.config: dict[str, Any] = {
            "leads": leads,
            "outputs": outputs,
            "width": width,
            "filters": tuple(filters),
            "blocks": tuple(blocks),
            "kernel": kernel,
            "group": group,
        }
        self.stem = nn.Conv1d(leads, width, kernel, 2)
        self.stages = nn.ModuleList()
        channels = width
        for i, (wide, count) in enumerate(zip(filters, blocks, strict=True)):
            stage = nn.Sequential()
            for j in range(count):
                stage.append(Block(channels, wide, kernel, group, halve=j == 0, bare=i == j == 0))
                channels = wide
            self.stages.append(stage)
        self.new_head(outputs)

    def backbone(self, signal: Tensor) -> Backbone:
        x = F.silu(_same(signal, self.stem))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return Backbone(x.mean(-1), tuple(maps), {})

    def new_head(self, outputs: int) -> None:
        self.head = nn.Linear(self.config["filters"][-1], outputs)
        self.config["outputs"] = outputs


def _same(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """`conv` with zeros on both sides so that ceil(N / stride) positions come out; an odd zero goes to the right."""
    n, stride = x.shape[-1], conv.stride[0]
    extra = max(0, (-(-n // stride) - 1) * stride + conv.kernel_size[0] - n)
    out: Tensor = conv(F.pad(x, (extra // 2, extra - extra // 2)))
    return out
