"""A small network that reads a page of ECG paper: it looks for the leads first, then at each of them with the same eyes.

    image (B, 3, H, W) --4 x 4 pixels--> 1/4 --> 1/8 --> 1/16 map --> 1/32, attention --+
                                                     |  <-- what stands where, added ---+
                                                     +--> where each lead is (B, L, h, w) --softmax--> a look at each lead
    looks (B, L, E), page (B, C) --> embedding (B, D) --> logits (B, K)

Where a lead is printed changes from recorder to recorder, what a wave looks like does not. So the map is pooled lead by lead:
by weights that say where the lead's trace runs, which a render's truth can teach, and once more by weights sharpened for what
is worth looking at. Everything behind the pooling is the same for all leads, but for a vector that says which lead it is.

No normalisation over a batch: weights are standardised instead (Brock et al., ICLR 2021), which costs nothing on a processor,
and an ECG's result never depends on its neighbours. B batch, L leads, h x w cells of 16 pixels, E a look's width, C channels, D
width of the embedding, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from einthoven.models.image.model import Backbone, ImageModel, sides
from einthoven.record import EcgError

LEADS = 12
CELL = 16
_GAIN = 1.7139  # of a ReLU, so that what leaves a layer varies as much as what entered it


class Conv(nn.Conv2d):  # type: ignore[misc]
    """A convolution whose weights have mean 0 and variance 1 / fan-in in each output channel, times a learned gain."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        padding = kernel // 2 if kernel % 2 else 0
        super().__init__(inputs, outputs, kernel, stride, padding)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        w = w * (self.gain * torch.rsqrt(w.square().sum((1, 2, 3), keepdim=True) + 1e-5))
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


def active(x: Tensor) -> Tensor:
    return F.relu(x) * _GAIN


class Block(nn.Module):  # type: ignore[misc]
    """x + g f(x), f: 1 x 1, 3 x 3, 1 x 1 through `narrow` channels; g begins small."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Conv(width, narrow, 1), Conv(narrow, narrow, 3), Conv(narrow, width, 1)])
        self.share = nn.Parameter(torch.full((1,), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            y = layer(active(y))
        return x + self.share * y


class Look(nn.Module):  # type: ignore[misc]
    """A transformer's layer over the cells of 32 pixels: what stands elsewhere tells what stands here. (B, N, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + self.out(seen)
        out: Tensor = x + self.mlp(self.norms[1](x))
        return out


class PageNet(ImageModel):
    """See the head of this file.

    Args:
        channels: of the image. outputs: labels, K. size: (height, width), multiples of 32. widths: channels at 1/4, 1/8, 1/16
        and 1/32 of the size. blocks: residual blocks at 1/8 and 1/16. depth, heads: of the attention. look: E. focus: in how
        many ways a lead is looked at. width: D. dropout: of the embedding.
    """

    head: nn.Linear

    def __init__(
        self,
        *,
        channels: int = 3,
        outputs: int = 5,
        size: int | Sequence[int] = (352, 448),
        widths: Sequence[int] = (32, 96, 160, 192),
        blocks: Sequence[int] = (1, 2),
        depth: int = 2,
        heads: int = 6,
        look: int = 96,
        focus: int = 4,
        width: int = 320,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        height, wide = sides(size)
        if height % 32 or wide % 32:
            raise EcgError(f"page-net sees images whose sides are multiples of 32 pixels, not {height} x {wide}")
        a, b, c, d = widths
        if d % heads or c % focus:
            raise EcgError(f"page-net: {d} channels for {heads} heads, {c} for {focus} ways of looking")
        self.config = {
            "channels": channels,
            "outputs": outputs,
            "size": [height, wide],
            "widths": list(widths),
            "blocks": list(blocks),
            "depth": depth,
            "heads": heads,
            "look": look,
            "focus": focus,
            "width": width,
            "dropout": dropout,
        }
        self.size = (height, wide)
        self.stem = Conv(channels * 16, a, 1)
        self.quarter = Conv(a, b, 3, 2)
        self.near = nn.ModuleList([Block(b, b // 2) for _ in range(blocks[0])])
        self.down = Conv(b, c, 3, 2)
        self.blocks = nn.ModuleList([Block(c, c // 2) for _ in range(blocks[1])])
        self.far = Conv(c, d, 2, 2)
        self.place = nn.Parameter(torch.randn(1, height // 32 * (wide // 32), d) * 0.02)
        self.looks = nn.ModuleList([Look(d, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(d)
        self.back = nn.Linear(d, c)
        self.where = nn.Conv2d(c, LEADS, 1)
        self.what = nn.Conv2d(c, focus, 1)
        self.value = Conv(c, c, 1)
        self.which = nn.Parameter(torch.randn(LEADS, look) * 0.02)
        self.even = nn.LayerNorm(2 * c)
        self.enter = nn.Linear(2 * c, look)
        self.leave = nn.Linear(look, look)
        self.level = nn.LayerNorm(LEADS * look + d)
        self.join = nn.Linear(LEADS * look + d, width)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, outputs)

    def backbone(self, image: Tensor) -> Backbone:
        """-> (B, D); maps: at 1/8 and 1/16. aux: "where" (B, L, h, w) logits of where a lead is, "leads" (B, L, E)."""
        if tuple(image.shape[2:]) != self.size:
            raise EcgError(f"page-net was made for images of {self.size}, not {tuple(image.shape[2:])}")
        n = image.shape[0]
        h, w = self.size[0] // 4, self.size[1] // 4
        # 4 x 4 pixels a place, written so that memory in the order (B, H, W, C) is copied in pieces of whole rows
        x = image.permute(0, 2, 3, 1).reshape(n, h, 4, w, -1).transpose(2, 3).reshape(n, h, w, -1).permute(0, 3, 1, 2)
        x = self.quarter(active(self.stem(x)))
        for block in self.near:
            x = block(x)
        near = x
        x = self.down(active(x))
        for block in self.blocks:
            x = block(x)
        far = self.far(active(x))
        tokens = far.flatten(2).transpose(1, 2) + self.place
        for layer in self.looks:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        h, w = self.size[0] // 32, self.size[1] // 32
        back = self.back(tokens).view(n, h, 1, w, 1, -1).expand(n, h, 2, w, 2, -1).reshape(n, 2 * h, 2 * w, -1)
        maps = x + back.permute(0, 3, 1, 2)
        seen = active(maps)
        where = self.where(seen)
        leads = self._looks(seen, where)
        # Behind the pooling no ReLU: without many places to keep them alive, nine of ten units died in 300 steps (LOG.md).
        page = F.gelu(self.join(self.level(torch.cat([leads.flatten(1), tokens.mean(1).to(leads.dtype)], 1))))
        return Backbone(self.drop(page), (near, maps), {"where": where, "leads": leads})

    def _looks(self, seen: Tensor, where: Tensor) -> Tensor:
        """The map and where leads are -> (B, L, E)."""
        n, focus = seen.shape[0], self.config["focus"]
        places = where.flatten(2)  # (B, L, N)
        value = self.value(seen).flatten(2)  # (B, C, N)
        broad = places.softmax(-1) @ value.transpose(1, 2)  # (B, L, C)
        sharp = (places[:, None] + self.what(seen).flatten(2)[:, :, None]).softmax(-1)  # (B, focus, L, N)
        parts = value.reshape(n, focus, -1, value.shape[-1]).transpose(2, 3)  # (B, focus, N, C / focus)
        close = (sharp @ parts).transpose(1, 2).flatten(2)  # (B, L, C)
        entered = F.gelu(self.enter(self.even(torch.cat([broad, close], -1))) + self.which)
        return F.gelu(self.leave(entered))

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        self.head = nn.Linear(self.head.in_features, outputs)
