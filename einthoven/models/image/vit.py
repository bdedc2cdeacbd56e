"""ViT: a class token and patches with learned positions; the class token, normalised, is what the head sees.

    image (B, 3, H, W) --16 x 16 patches--> (B, 1 + N, D) + positions --layers--> class token (B, D) --Linear--> logits (B, K)

Dosovitskiy A et al. An image is worth 16x16 words. ICLR 2021. ViT-B/16 at 224 x 224 is HeartBEiT's baseline of 86 million
parameters (85,798,656 and the head's); 5.5 million tiny, 21.7 million small.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from einthoven.models.image.transformer import EPS, Layer, PatchTransformer


class ViT(PatchTransformer):
    """See the head of this file.

    Args:
        size: pixels, or (height, width), of the whole image; `tiles` (rows, columns) that it is cut into. wider: of the
        two-layer network, in widths. drop_path: share of examples that go past the last layer's branches.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        outputs: int = 5,
        size: int | Sequence[int] = 224,
        patch: int | Sequence[int] = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        wider: int = 4,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        tiles: Sequence[int] = (1, 1),
    ) -> None:
        super().__init__()
        shape = self.lay_grid(size, patch, tiles, width, heads)
        self.config = {
            "channels": channels,
            "outputs": outputs,
            "size": size if isinstance(size, int) else list(size),
            "patch": patch if isinstance(patch, int) else list(patch),
            "width": width,
            "depth": depth,
            "heads": heads,
            "wider": wider,
            "dropout": dropout,
            "drop_path": drop_path,
            "tiles": list(tiles),
        }
        self.patch = nn.Conv2d(channels, width, shape, shape)
        self.token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(1 + self.grid[0] * self.grid[1], width))
        self.bias = None
        self.layers = nn.ModuleList(
            Layer(width, heads, wider, dropout, drop_path * i / max(depth - 1, 1)) for i in range(depth)
        )
        self.norm = nn.LayerNorm(width, EPS)
        self.head = nn.Linear(width * self.tiles[0] * self.tiles[1], outputs)
        self.start()
        nn.init.trunc_normal_(self.positions, std=0.02)

    def of_use(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """What enters each layer: of the last one's patches the class token learns nothing any more."""
        return maps[:-1]

    def pooled(self, x: Tensor) -> Tensor:
        """The class token, normalised."""
        return self.norm(x[:, 0])
