"""What ViT and BEiT share: patches as tokens, layers of attention, positions by a learned vector or by relative distance.

    image (B, 3, H, W) --patches of P x P--> (B, N, D) + class token --layers--> (B, 1 + N, D)

Dosovitskiy A et al. An image is worth 16x16 words. ICLR 2021. Bao H et al. BEiT. ICLR 2022: layer scale (Touvron H et al. ICCV
2021), stochastic depth (Huang G et al. ECCV 2016) and relative position bias (Raffel C et al. JMLR 2020). The layers are our
own: torch's TransformerEncoderLayer takes a fused path in eval that overlooks adapters on its parts.

Thin traces want more pixels than 224 x 224. A model takes any image whose sides are multiples of the patch: positions are
interpolated, as they are when weights of one size go into a model of another (`fitted`). Or `tiles` = (rows, columns) cuts the
image into as many parts, each seen alone with the full sharpness of the model; the head sees all their vectors side by side.

B batch, P patch, N patches = h w, D width, M heads, K outputs.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from einthoven.models.image.model import Backbone, ImageModel, sides
from einthoven.record import EcgError

SIZES: Mapping[str, dict[str, int]] = {  # Touvron H et al. DeiT. ICML 2021; base is Dosovitskiy's
    "tiny": {"width": 192, "depth": 12, "heads": 3},
    "small": {"width": 384, "depth": 12, "heads": 6},
    "base": {"width": 768, "depth": 12, "heads": 12},
}
EPS = 1e-6  # of the layer norms


class DropPath(nn.Module):  # type: ignore[misc]
    """Stochastic depth: in training a share of the examples goes past the branch, the rest counts for them, too."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0.0:
            return x
        kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.share
        return x * (kept / (1 - self.share)).to(x.dtype)


class RelativeBias(nn.Module):  # type: ignore[misc]
    """(M, 1 + N, 1 + N) added to attention's logits: a number for each distance in rows and columns and each head, and three
    for the class token (as asker, as asked, of itself)."""

    index: Tensor

    def __init__(self, grid: tuple[int, int], heads: int) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.zeros(distances(grid) + 3, heads))
        self.register_buffer("index", distance_index(grid), persistent=False)

    def forward(self, grid: tuple[int, int]) -> Tensor:
        same = grid == self.grid
        table = self.table if same else resized_table(self.table, self.grid, grid)
        index = self.index if same else distance_index(grid).to(table.device)
        return functional.embedding(index, table).permute(2, 0, 1).contiguous()


def distances(grid: tuple[int, int]) -> int:
    return (2 * grid[0] - 1) * (2 * grid[1] - 1)


def distance_index(grid: tuple[int, int]) -> Tensor:
    """(1 + N, 1 + N) int64: which row of the table stands for this pair of tokens; the class token is the first."""
    rows, columns = (n.flatten() for n in torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij"))
    down = rows[:, None] - rows[None, :] + grid[0] - 1
    right = columns[:, None] - columns[None, :] + grid[1] - 1
    index = torch.full((len(rows) + 1, len(rows) + 1), distances(grid))
    index[1:, 1:] = down * (2 * grid[1] - 1) + right
    index[1:, 0], index[0, 0] = distances(grid) + 1, distances(grid) + 2
    return index


def resized_table(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A relative position table of one grid for another: the same distances in parts of the image, bilinear."""
    inner = table[: distances(old)].reshape(1, 2 * old[0] - 1, 2 * old[1] - 1, -1).permute(0, 3, 1, 2)
    inner = functional.interpolate(inner, size=(2 * new[0] - 1, 2 * new[1] - 1), mode="bilinear")
    return torch.cat([inner.permute(0, 2, 3, 1).reshape(distances(new), -1), table[distances(old) :]])


def resized_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """(1 + N, D) learned positions of one grid for another, bicubic; the class token's stays."""
    inner = positions[1:].reshape(1, *old, -1).permute(0, 3, 1, 2)
    inner = functional.interpolate(inner, size=new, mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], inner.permute(0, 2, 3, 1).reshape(new[0] * new[1], -1)])


class Attention(nn.Module):  # type: ignore[misc]
    """(B, N, D) -> (B, N, D). `key_bias` False: as BEiT, which has none (it would shift all logits of a row alike)."""

    def __init__(self, width: int, heads: int, dropout: float, key_bias: bool) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=key_bias)
        self.out = nn.Linear(width, width)
        self.q_bias = None if key_bias else nn.Parameter(torch.zeros(width))
        self.v_bias = None if key_bias else nn.Parameter(torch.zeros(width))

    def _projected(self, x: Tensor) -> Tensor:
        if self.q_bias is None or self.v_bias is None:
            projected: Tensor = self.qkv(x)
            return projected
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        if type(self.qkv) is nn.Linear:  # in one go with the matrix
            return functional.linear(x, self.qkv.weight, bias)
        projected = self.qkv(x)  # adapted: LoRA
        return projected + bias.to(projected.dtype)

    def forward(self, x: Tensor, bias: Tensor | None = None, kept: list[Tensor] | None = None) -> Tensor:
        """`kept` takes up the weights (B, M, N, N), which then lie on the way to the result."""
        b, n, d = x.shape
        qkv = self._projected(x).reshape(b, n, 3, d)
        q, k, v = qkv.unbind(2)
        q, k, v = (y.reshape(b, n, self.heads, -1).transpose(1, 2) for y in (q, k, v))  # (B, M, N, D/M)
        dropout = self.dropout if self.training else 0.0
        if bias is not None:
            bias = bias.to(q.dtype)[None]  # of three axes torch's fast kernels take no mask
        # On CPUs the gradient of torch's fused kernel takes five times as long in bf16 as that of the same in plain words.
        slow = q.dtype == torch.bfloat16 and q.device.type == "cpu" and torch.is_grad_enabled()
        if kept is None and not slow:
            seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        else:
            logits = (q / math.sqrt(q.shape[-1])) @ k.transpose(2, 3)
            weights = (logits if bias is None else logits + bias).softmax(-1)
            if kept is not None:
                kept.append(weights)
            seen = functional.dropout(weights, dropout) @ v
        return self.out(seen.transpose(1, 2).reshape(b, n, d))


class Layer(nn.Module):  # type: ignore[misc]
    """(B, N, D) -> (B, N, D): attention, then two linear layers with GELU, each scaled and added to what came in."""

    def __init__(
        self,
        width: int,
        heads: int,
        wider: int,
        dropout: float,
        drop_path: float = 0.0,
        scale: float = 0.0,
        key_bias: bool = True,
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, EPS), Attention(width, heads, dropout, key_bias)
        self.norm2 = nn.LayerNorm(width, EPS)
        self.mlp = nn.Sequential(nn.Linear(width, wider * width), nn.GELU(), nn.Linear(wider * width, width))
        self.drop, self.path = nn.Dropout(dropout), DropPath(drop_path)
        self.scale1 = nn.Parameter(torch.full((width,), scale)) if scale else None
        self.scale2 = nn.Parameter(torch.full((width,), scale)) if scale else None
        self.bias = RelativeBias(grid, heads) if grid else None

    def forward(
        self, x: Tensor, grid: tuple[int, int], shared: Tensor | None = None, kept: list[Tensor] | None = None
    ) -> Tensor:
        bias = shared if self.bias is None else self.bias(grid)
        seen = self.drop(self.attention(self.norm1(x), bias, kept))
        x = x + self.path(seen if self.scale1 is None else self.scale1 * seen)
        found = self.drop(self.mlp(self.norm2(x)))
        return x + self.path(found if self.scale2 is None else self.scale2 * found)


class PatchTransformer(ImageModel):
    """Base of ViT and BEiT, which build the parts: `patch`, `token` (D,), `positions` (1 + N, D) or None, `bias` shared by all
    layers or None, `layers`, `norm`, `head`."""

    grid: tuple[int, int]  # of one tile, in patches
    tiles: tuple[int, int]
    patch: nn.Conv2d
    token: nn.Parameter
    positions: nn.Parameter | None
    bias: RelativeBias | None
    layers: nn.ModuleList
    norm: nn.LayerNorm
    head: nn.Linear

    def lay_grid(
        self, size: int | Sequence[int], patch: int | Sequence[int], tiles: Sequence[int], width: int, heads: int
    ) -> tuple[int, int]:
        """Sets `grid` and `tiles`; the patch as (height, width). Raises EcgError where the image does not divide."""
        height, wide = sides(size)
        high, broad = sides(patch)
        self.tiles = sides(tuple(tiles))
        rows, columns = self.tiles
        if height % (high * rows) or wide % (broad * columns) or width % heads:
            raise EcgError(
                f"an image of {height} x {wide} must divide into {rows} x {columns} tiles of patches of {high} x {broad}, "
                f"a width of {width} into {heads} heads"
            )
        self.grid = height // high // rows, wide // broad // columns
        return high, broad

    @abstractmethod
    def pooled(self, x: Tensor) -> Tensor:
        """(B, 1 + N, D) from the last layer -> (B, D), or (B, rows D)."""

    @abstractmethod
    def of_use(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        """Of what enters the first layer and leaves each, one map a layer: those that the head sees something of."""

    def tokens(
        self,
        image: Tensor,
        masked: Tensor | None = None,
        mask: Tensor | None = None,
        kept: list[Tensor] | None = None,
        maps: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + N, D), what leaves the last layer, not yet normalised.

        Args:
            masked: (B, N) bool, patches to hide behind the token `mask` (D,).
            kept: takes up each layer's attention weights (B, M, 1 + N, 1 + N).
            maps: takes up what enters the first layer and leaves each, (B, D, h, w), less the class token.

        Raises EcgError for an image that is not made of whole patches.
        """
        high, broad = self.patch.kernel_size
        if image.shape[2] % high or image.shape[3] % broad:
            raise EcgError(f"an image of {image.shape[2]} x {image.shape[3]} pixels is not made of patches of {high} x {broad}")
        grid = image.shape[2] // high, image.shape[3] // broad
        x = self.patch(image).flatten(2).transpose(1, 2)
        if masked is not None and mask is not None:
            x = torch.where(masked[:, :, None], mask.to(x.dtype), x)
        x = torch.cat([self.token.to(x.dtype).expand(x.shape[0], 1, -1), x], 1)
        if self.positions is not None:
            x = x + (self.positions if grid == self.grid else resized_positions(self.positions, self.grid, grid)).to(x.dtype)
        shared = None if self.bias is None else self.bias(grid)
        x = self._noted(x, grid, maps)
        for layer in self.layers:
            x = self._noted(layer(x, grid, shared, kept), grid, maps)
        return x

    def of_patches(self, cut: Tensor, which: Tensor) -> Tensor:
        """Some patches of each image alone: cut (B, n, C P P) in the order of the patch's weights, which (B, n) their numbers
        in the image, row by row -> (B, 1 + n, D), not yet normalised. Only for a model with positions of its own."""
        assert self.positions is not None  # mae.Decoder has asked
        x = functional.linear(cut, self.patch.weight.flatten(1), self.patch.bias) + self.positions[1:][which]
        x = torch.cat([(self.token + self.positions[0]).to(x.dtype).expand(x.shape[0], 1, -1), x], 1)
        for layer in self.layers:
            x = layer(x, self.grid)
        return x

    def _noted(self, x: Tensor, grid: tuple[int, int], maps: list[Tensor] | None) -> Tensor:
        """Puts the patches into `maps`; where a gradient may be asked of them, what goes on is made of that map."""
        if maps is None:
            return x
        maps.append(x[:, 1:].transpose(1, 2).unflatten(2, grid))
        if not torch.is_grad_enabled() or self.training:
            return x
        return torch.cat([x[:, :1], maps[-1].flatten(2).transpose(1, 2)], 1)

    def backbone(self, image: Tensor) -> Backbone:
        """-> (B, D), with tiles (B, tiles D), row by row; maps: `of_use`, tiles put together again."""
        rows, columns = self.tiles
        if rows * columns == 1:
            maps: list[Tensor] = []
            x = self.tokens(image, maps=maps)
            return Backbone(self.pooled(x), tuple(self.of_use(maps)), {})
        b, c, height, width = image.shape
        if height % rows or width % columns:
            raise EcgError(f"an image of {height} x {width} pixels does not divide into {rows} x {columns} tiles")
        cut = image.reshape(b, c, rows, height // rows, columns, width // columns).permute(0, 2, 4, 1, 3, 5)
        maps = []
        x = self.pooled(self.tokens(cut.flatten(0, 2), maps=maps))
        whole = (
            m.unflatten(0, (b, rows, columns)).permute(0, 3, 1, 4, 2, 5).reshape(b, m.shape[1], rows * m.shape[2], -1)
            for m in self.of_use(maps)
        )
        return Backbone(x.reshape(b, -1), tuple(whole), {})

    def attentions(self, image: Tensor) -> tuple[Tensor, ...]:
        """Each layer's attention weights (B, M, 1 + N, 1 + N), the class token first: for rollout. One tile only."""
        if self.tiles != (1, 1):
            raise EcgError("attention runs within each tile of this model: there is none over the whole image")
        kept: list[Tensor] = []
        self.tokens(image, kept=kept)
        return tuple(kept)

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        self.head = nn.Linear(self.head.in_features, outputs)
        self.start_head()

    def start_head(self) -> None:
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def start(self) -> None:
        """First weights, as BEiT's: normal with 0.02, cut far out, narrower with depth where they are added."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.token, std=0.02)
        with torch.no_grad():
            for depth, layer in enumerate(self.layers, start=1):
                layer.attention.out.weight.div_(math.sqrt(2 * depth))
                layer.mlp[2].weight.div_(math.sqrt(2 * depth))
        self.start_head()

    def fitted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Positions of another size are interpolated, a bias shared by all layers is given to each, and one that
        is the same in all of them to all. Raises EcgError for a size
        that cannot be told (of no square image)."""
        out = dict(state)
        own = self.state_dict()
        shared = out.get("bias.table")
        if shared is not None and "bias.table" not in own:
            del out["bias.table"]
            out |= {name: shared.clone() for name in own if re.fullmatch(r"layers\.\d+\.bias\.table", name)}
        elif shared is None and "bias.table" in own:
            each = {name: out.pop(name) for name in list(out) if re.fullmatch(r"layers\.\d+\.bias\.table", name)}
            first = next(iter(each.values()), None)
            if first is not None and any(not torch.equal(first, table) for table in each.values()):
                raise EcgError("each layer has a position bias of its own: one for all cannot be made of them")
            out |= {} if first is None else {"bias.table": first}
        for name, value in out.items():
            if name not in own or value.shape == own[name].shape:
                continue
            if name.endswith("bias.table") and value.shape[1] == own[name].shape[1]:
                side = math.isqrt(value.shape[0] - 3)
                old = (side + 1) // 2, (side + 1) // 2
                if distances(old) + 3 != value.shape[0]:
                    raise EcgError(f"{name}: {value.shape[0]} distances are of no square image: its size cannot be told")
                out[name] = resized_table(value, old, self.grid)
            elif name == "positions" and value.shape[1] == own[name].shape[1]:
                side = math.isqrt(value.shape[0] - 1)
                if side**2 + 1 != value.shape[0]:
                    raise EcgError(f"{name}: {value.shape[0] - 1} patches are of no square image: its size cannot be told")
                out[name] = resized_positions(value, (side, side), self.grid)
        return out
