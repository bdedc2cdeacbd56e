"""ST-MEM's encoder (Na et al., ICLR 2024): a vision transformer on patches of each lead, which all look at one another.

    signal (B, L, T) --patches of a lead--> (B, L, N, D) + time + lead, SEP at both ends of each lead --transformer--> mean -->
    head

Re-implemented from the paper alone; pre-trained by hiding patches, einthoven pretrain with `objective: st-mem`
(train/pretrain_stmem.py). B batch, L leads, T samples, N patches of a lead, D width, K outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from einthoven.models.signal.model import Backbone, SignalModel
from einthoven.models.signal.patch_transformer import Layer
from einthoven.record import EcgError


class StMem(SignalModel):
    """See the head of this file; the defaults are the paper's ViT-B/75 of 9 s at 250 Hz."""

    def __init__(
        self,
        *,
        leads: int = 12,
        outputs: int = 5,
        samples: int = 2250,
        patch: int = 75,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if samples % patch or width % heads:
            raise EcgError(f"ST-MEM: {samples} samples must divide into patches of {patch}, {width} into {heads} heads")
        self.config = {
            "leads": leads, "outputs": outputs, "samples": samples, "patch": patch, "width": width, "depth": depth,
            "heads": heads, "dropout": dropout,
        }  # fmt: skip
        self.samples, self.patch, self.count = samples, patch, samples // patch
        self.enter = nn.Linear(patch, width)
        self.time = nn.Parameter(0.02 * torch.randn(1, 1, self.count, width))
        self.lead = nn.Parameter(0.02 * torch.randn(1, leads, 1, width))
        self.ends = nn.Parameter(0.02 * torch.randn(1, 1, 2, width))  # SEP before and behind each lead
        self.layers = nn.ModuleList([Layer(width, heads, 4, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def patches(self, signal: Tensor) -> Tensor:
        """(B, L, T) -> (B, L, N, P). Raises EcgError for another length."""
        if signal.shape[-1] != self.samples:
            raise EcgError(f"this ST-MEM was made for {self.samples} samples, not {signal.shape[-1]}")
        return signal.unflatten(-1, (self.count, self.patch))

    def tokens(self, patches: Tensor) -> Tensor:
        """(B, L, N, P) -> (B, L, N, D), each knowing when it is and of which lead."""
        return self.enter(patches) + self.time + self.lead

    def encode(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """(B, L, M, D), some or all patches of each lead -> what leaves each layer, (B, L, M, D), the last one normalised."""
        b, leads, m, _ = tokens.shape
        ends = (self.ends + self.lead).expand(b, -1, -1, -1)
        x = torch.cat([ends[:, :, :1], tokens, ends[:, :, 1:]], 2).flatten(1, 2)
        out = []
        for layer in self.layers:
            x = layer(x)
            out.append(x)
        out[-1] = self.norm(x)
        return tuple(y.unflatten(1, (leads, m + 2))[:, :, 1:-1] for y in out)

    def backbone(self, signal: Tensor) -> Backbone:
        """-> (B, D), the mean over all patches; maps: what leaves each layer, (B, D, L N)."""
        maps = [y.flatten(1, 2).transpose(1, 2) for y in self.encode(self.tokens(self.patches(signal)))]
        return Backbone(maps[-1].mean(-1), tuple(maps), {})

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        self.head = nn.Linear(self.head.in_features, outputs)
