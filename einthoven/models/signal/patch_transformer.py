"""A transformer over patches of time, all leads of a patch in one token: small, and the fastest of all to train on a CPU.

    signal (B, L, T) --patches of P samples--> (B, N, D) + positions --layers--> mean (B, D) --Linear--> logits (B, K)

Dosovitskiy A et al. An image is worth 16x16 words. ICLR 2021, in one dimension. Normalisation stands before attention and
before the two-layer network (Xiong R et al. ICML 2020: it trains without warm-up); the last one has no scale of its own, since
the head's weights follow. 2,726,021 parameters with six layers of 192, patches of 20 of 1000 samples, 12 leads, 5 outputs.

Positions are learned, or tAPE: sinusoids whose frequencies are scaled by D / N, so that neighbours stay distinct in short
series of wide tokens (Foumani NM et al. Data Min Knowl Disc 2024;38:22).

The layers are our own: torch's TransformerEncoderLayer takes a fused path in eval that overlooks adapters on its parts.

B batch, L leads, T samples, P samples per patch, N patches, D width, H heads, K outputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from einthoven.models.signal.model import Backbone, SignalModel
from einthoven.record import EcgError

POSITIONS = ("learned", "tape")


def tape(count: int, width: int) -> Tensor:
    """(N, D) time absolute position encoding: sine in even columns, cosine in odd ones."""
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width)) * (width / count)  # (D/2,)
    angle = torch.arange(count)[:, None] * frequency  # (N, D/2)
    return torch.stack([angle.sin(), angle.cos()], 2).reshape(count, -1)[:, :width]


class Attention(nn.Module):  # type: ignore[misc]
    """(B, N, D) -> (B, N, D): every token looks at every token, `heads` times."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)  # (B, H, N, D/H) each
        dropout = self.dropout if self.training else 0.0
        seen = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.out(seen.transpose(1, 2).reshape(b, n, d))


class Layer(nn.Module):  # type: ignore[misc]
    """(B, N, D) -> (B, N, D): attention, then two linear layers with GELU, each added to what came in."""

    def __init__(self, width: int, heads: int, wider: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, wider * width), nn.GELU(), nn.Linear(wider * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class PatchTransformer(SignalModel):
    """See the head of this file.

    Args:
        samples: T, a multiple of `patch`; other lengths are refused. width: D. depth: layers. wider: of the two-layer network,
        in widths. positions: "learned" or "tape".
    """

    def __init__(
        self,
        *,
        leads: int = 12,
        outputs: int = 5,
        samples: int = 1000,
        patch: int = 20,
        width: int = 192,
        depth: int = 6,
        heads: int = 6,
        wider: int = 4,
        dropout: float = 0.1,
        positions: str = "learned",
    ) -> None:
        super().__init__()
        if samples % patch or width % heads or positions not in POSITIONS:
            raise EcgError(
                f"patch transformer: {samples} samples must divide into patches of {patch}, {width} into {heads} heads, "
                f"and positions be one of {', '.join(POSITIONS)} (not {positions})"
            )
        self.config = {
            "leads": leads,
            "outputs": outputs,
            "samples": samples,
            "patch": patch,
            "width": width,
            "depth": depth,
            "heads": heads,
            "wider": wider,
            "dropout": dropout,
            "positions": positions,
        }
        self.samples, self.count = samples, samples // patch
        self.patch = nn.Conv1d(leads, width, patch, patch)
        self.positions: Tensor
        if positions == "learned":
            self.positions = nn.Parameter(0.02 * torch.randn(self.count, width))
        else:
            self.register_buffer("positions", tape(self.count, width), persistent=False)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, heads, wider, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.head = nn.Linear(width, outputs)

    def backbone(self, signal: Tensor) -> Backbone:
        """-> (B, D); maps: what leaves each layer, (B, D, N), the last one normalised. Raises EcgError for another length."""
        if signal.shape[-1] != self.samples:
            raise EcgError(f"patch transformer for {self.samples} samples got {signal.shape[-1]}")
        x = self.drop(self.patch(signal).transpose(1, 2) + self.positions)  # (B, N, D)
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x.transpose(1, 2))
        x = self.norm(x)
        maps[-1] = x.transpose(1, 2)
        return Backbone(x.mean(1), tuple(maps), {})

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        self.head = nn.Linear(self.head.in_features, outputs)
