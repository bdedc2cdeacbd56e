"""BEiT, HeartBEiT's transformer: relative position bias, layer scale, stochastic depth; the mean of the patches is classified.

    image (B, 3, H, W) --16 x 16 patches--> (B, 1 + N, D) --layers--> mean of patches, norm (B, D) --Linear--> logits (B, K)

Bao H et al. BEiT: BERT pre-training of image transformers. ICLR 2022; Vaid A et al. HeartBEiT. npj Digit Med 2023. There is no
learned position. In pre-training all layers share one bias (`positions` "shared"); fine-tuning starts each layer's own from it
("relative"), which `fitted` does. Pre-training's parts (mask token, what says the visual words) stand apart: `MaskedHead`.

BEiT-base has 85.8 million parameters, with the mask's head of 8192 words 91.97 million.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from einthoven.models.image.transformer import EPS, Layer, PatchTransformer, RelativeBias
from einthoven.record import EcgError

POSITIONS = ("relative", "shared", "absolute", "waves")
POOLS = ("mean", "rows")


class BEiT(PatchTransformer):
    """See the head of this file.

    Args:
        size: pixels, or (height, width), of the whole image; `tiles` (rows, columns) that it is cut into. patch: pixels, or
        (height, width): one that is as high as a lead's row is never of two leads. positions: "relative" (each layer its own
        bias), "shared" (one for all), "absolute" (learned vectors) or "waves" (the same, begun as sines and cosines of row and
        column: a bias that starts from zero leaves all hidden patches alike until it has grown, which takes more steps than a
        short pre-training has). layer_scale: what each branch is multiplied by at the start; 0 leaves it out. drop_path: share
        of examples that go past the last layer's branches; less in earlier ones. head_scale: factor of a fresh head's weights.
        pool: "mean" of all patches, as BEiT, or "rows": of each row, side by side; where a row is a lead, the head then knows
        which lead said what.
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
        drop_path: float = 0.1,
        layer_scale: float = 0.1,
        positions: str = "relative",
        head_scale: float = 0.001,
        pool: str = "mean",
        tiles: Sequence[int] = (1, 1),
    ) -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise EcgError(f"positions are one of {', '.join(POSITIONS)}, not {positions}")
        if pool not in POOLS:
            raise EcgError(f"pool is one of {', '.join(POOLS)}, not {pool}")
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
            "layer_scale": layer_scale,
            "positions": positions,
            "head_scale": head_scale,
            "pool": pool,
            "tiles": list(tiles),
        }
        self.head_scale, self.pool = head_scale, pool
        self.patch = nn.Conv2d(channels, width, shape, shape)
        self.token = nn.Parameter(torch.zeros(width))
        count = 1 + self.grid[0] * self.grid[1]
        self.positions = nn.Parameter(torch.zeros(count, width)) if positions in ("absolute", "waves") else None
        self.bias = RelativeBias(self.grid, heads) if positions == "shared" else None
        self.layers = nn.ModuleList(
            Layer(
                width,
                heads,
                wider,
                dropout,
                drop_path * i / max(depth - 1, 1),
                layer_scale,
                key_bias=False,
                grid=self.grid if positions == "relative" else None,
            )
            for i in range(depth)
        )
        self.norm = nn.LayerNorm(width, EPS)
        rows = self.grid[0] if pool == "rows" else 1
        self.head = nn.Linear(width * rows * self.tiles[0] * self.tiles[1], outputs)
        self.start()
        if self.positions is not None:
            nn.init.trunc_normal_(self.positions, std=0.02)
        if positions == "waves" and self.positions is not None:
            with torch.no_grad():
                self.positions[1:] = waves(self.grid, width)

    def of_use(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """What leaves each layer."""
        return maps[1:]

    def pooled(self, x: Tensor) -> Tensor:
        """The mean of the patches, normalised; or of each row of patches, side by side."""
        if self.pool == "mean":
            return self.norm(x[:, 1:].mean(1))
        return self.norm(x[:, 1:].unflatten(1, (self.grid[0], -1)).mean(2)).flatten(1)

    def start_head(self) -> None:
        super().start_head()
        with torch.no_grad():
            self.head.weight.mul_(self.head_scale)


def waves(grid: tuple[int, int], width: int) -> Tensor:
    """(N, D) for the patches of a grid, row by row: a quarter of the numbers each sine and cosine of the row and of the column,
    in wavelengths from 2 pi patches up to 2 pi 10,000 (Vaswani A et al. NeurIPS 2017, in two dimensions as in MAE). Raises
    EcgError for a width that is not a multiple of 4."""
    if width % 4:
        raise EcgError(f"waves of two dimensions want a width that is a multiple of 4, not {width}")
    rates = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    rows, columns = (n.flatten().float() for n in torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij"))
    angles = [place[:, None] * rates for place in (rows, columns)]
    return torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], 1)


class MaskedHead(nn.Module):  # type: ignore[misc]
    """What pre-training puts on a ViT or BEiT: the token that stands for hidden patches, and what is said of each of them.

    `answers`: visual words to choose from, or pixels of a patch to draw.
    """

    def __init__(self, width: int, answers: int) -> None:
        super().__init__()
        self.mask = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width, EPS)
        self.say = nn.Linear(width, answers)
        nn.init.trunc_normal_(self.mask, std=0.02)
        nn.init.trunc_normal_(self.say.weight, std=0.02)
        nn.init.zeros_(self.say.bias)

    def forward(self, model: PatchTransformer, image: Tensor, masked: Tensor) -> Tensor:
        """image (B, 3, H, W), masked (B, N) bool -> (hidden patches of the batch in order, answers)."""
        x = model.tokens(image, masked, self.mask)[:, 1:]
        said: Tensor = self.say(self.norm(x[masked]))  # only what is hidden is asked for
        return said
