"""FullGrad: a logit as the exact sum of what the input and what every bias of the network contribute.

    logit = <d logit / d x, x> + sum over operations <d logit / d out, bias of the operation>

Srinivas S, Fleuret F. Full-gradient representation for neural network visualization. NeurIPS 2019. The bias of an operation
out = h(z) is what it gives beyond its own linear part, h(z) - J z. For a Linear or a convolution that is its bias; for
BatchNorm in evaluation offset - mean * scale / deviation; for positions that are added, the positions; for LayerNorm its offset
and, since its linear part is zero (it forgets the scale of z), all the rest as well. Nobody has to list them: each operation of
the forward pass is run once more with z as its own direction of derivative, and the remainder is the bias. pytorch-grad-cam,
with which HeartBEiT's figures were made, takes Conv2d and BatchNorm2d with a bias only: of a ViT, the patch embedding alone.

`hold`: LayerNorm, attention and smooth gates (GELU, sigmoid) make bias out of nearly everything, and the sum then says where
the last LayerNorm stands. Held at their values for this ECG (deviations, attention weights, z -> gate(z) z), they are linear,
as ReLU is anyway: the sum is exact as before, and biases are those that are written in the network (Ali A et al. XAI for
transformers. ICML 2022). For networks of ReLU and BatchNorm both readings are one.

B batch (1), C channels, N positions, T samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from einthoven.record import EcgError

_INEXACT = 1e-3  # of the largest part: what the sum may miss by rounding


@dataclass(frozen=True)
class Parts:
    """The score as a sum. `input` as x: gradient times input; `biases` (name of the operation, its contribution in the shape of
    what it returns) in the order of the forward pass; `score` their sum; `positions` of the last map of the network."""

    input: Tensor
    biases: tuple[tuple[str, Tensor], ...]
    score: float
    positions: tuple[int, ...]

    @property
    def total(self) -> float:
        """What the parts sum up to."""
        return float(self.input.double().sum()) + sum(float(part.double().sum()) for _, part in self.biases)


def fullgrad(net: nn.Module, x: Tensor, score: Callable[[Tensor], Tensor], *, hold: bool = True) -> Parts:
    """The parts of the score of x (1, ...). Raises EcgError where they do not sum up to it: an operation hides its input."""
    x = x.detach().clone().requires_grad_(True)
    with torch.enable_grad(), _Remainders(hold) as seen:
        out = net(x)
        total = score(out.logits).sum()
    slopes = torch.autograd.grad(total, [x, *(tensor for _, tensor, _ in seen.found)], allow_unused=True)
    parts = [
        (name, (slope * rest).detach())
        for (name, _, rest), slope in zip(seen.found, slopes[1:], strict=True)
        if slope is not None
    ]
    made = Parts(
        (slopes[0] * x).detach(), tuple(parts), float(total.detach()), tuple(out.maps[-1].shape[2:]) if out.maps else ()
    )
    scale = max(float(made.input.abs().sum()), *(float(p.abs().sum()) for _, p in parts), abs(made.score), 1e-6)
    if not abs(made.total - made.score) <= _INEXACT * scale:
        raise EcgError(f"FullGrad: the parts sum up to {made.total:.4g}, the score is {made.score:.4g}")
    return made


class _Remainders(TorchFunctionMode):  # type: ignore[misc]
    """Notes (name, output, remainder) of every operation on what depends on the input."""

    def __init__(self, hold: bool) -> None:
        super().__init__()
        self.hold = hold
        self.found: list[tuple[str, Tensor, Tensor]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", str(func))
        if not any(_live(a) for a in (*_flat(args), *_flat(kwargs.values()))) or name in _LOOKS:
            return func(*args, **kwargs)
        run = _HELD.get(name, func) if self.hold else _PLAIN.get(name, func)
        with torch.no_grad(), forward_ad.dual_level():
            duals = _mapped(lambda t: forward_ad.make_dual(t.detach().clone(), t.detach().clone()), args, kwargs)
            moved = [forward_ad.unpack_dual(t) for t in _flat((run(*duals[0], **duals[1]),)) if _floats(t)]
            rests = [(pair.primal if pair.tangent is None else pair.primal - pair.tangent).detach().clone() for pair in moved]
        out = run(*args, **kwargs)
        for tensor, rest in zip((t for t in _flat((out,)) if _floats(t)), rests, strict=True):
            if tensor.requires_grad and bool(rest.any()):
                self.found.append((name, tensor, rest))
        return out


# Questions about a tensor, which compute nothing.
_LOOKS = frozenset(
    {"__get__", "size", "dim", "numel", "is_floating_point", "requires_grad_", "stride", "__len__", "is_complex"}
)


def _live(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _floats(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _flat(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found += _flat(value) if isinstance(value, tuple | list) else [value]
    return found


def _mapped(change: Callable[[Tensor], Tensor], args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    def go(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(go(v) for v in value)
        return change(value) if _live(value) else value

    return tuple(go(a) for a in args), {k: go(v) for k, v in kwargs.items()}


# ---- operations as they run here ----------------------------------------------------------------------------------------


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, scale: float | None) -> Tensor:
    """(..., N, d), (..., M, d) -> (..., N, M), as scaled_dot_product_attention has them."""
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        keep = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        scores = scores.masked_fill(~keep, float("-inf"))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> Tensor:
    """Written out: the fused one has no forward derivative."""
    return attention_weights(q, k, attn_mask, is_causal, scale) @ v


def _held_attention(q: Tensor, k: Tensor, v: Tensor, *more: Any, **how: Any) -> Tensor:
    return _attention(q.detach(), k.detach(), torch.eye(k.shape[-2], dtype=v.dtype), *more, **how).detach() @ v


def _held_layer_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    axes = tuple(range(-len(tuple(shape)), 0))
    centred = x - x.mean(axes, keepdim=True)
    y = centred * (centred.detach().square().mean(axes, keepdim=True) + eps).rsqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _held_group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    parted = x.unflatten(1, (groups, -1)).flatten(2)
    y = _held_layer_norm(parted, parted.shape[2:], eps=eps).reshape(x.shape)
    shape = (1, -1, *([1] * (x.ndim - 2)))
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


def _held(gate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """z -> (gate(z) / z held) z"""

    def run(x: Tensor, *more: Any, **how: Any) -> Tensor:
        value = x.detach()
        small = value.abs() < 1e-6
        ratio = gate(value, *more, **how) / torch.where(small, torch.ones_like(value), value)
        return torch.where(small, torch.full_like(ratio, 0.5), ratio).detach() * x

    return run


def _constant(func: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What only weighs (a sigmoid of squeeze-and-excitation, a softmax over experts): held as it is."""
    return lambda *args, **how: func(*args, **how).detach()


_PLAIN: Mapping[str, Callable[..., Any]] = {"scaled_dot_product_attention": _attention}
_HELD: Mapping[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": _held_attention,
    "layer_norm": _held_layer_norm,
    "group_norm": _held_group_norm,
    "gelu": _held(functional.gelu),
    "silu": _held(functional.silu),
    "hardswish": _held(functional.hardswish),
    "sigmoid": _constant(torch.sigmoid),
    "softmax": _constant(torch.softmax),
}


# ---- from parts to a map ------------------------------------------------------------------------------------------------


def place_map(parts: Parts) -> Tensor:
    """The parts as (L, T) or, of an image, (H, W): the input's own, and each bias spread over the places that its position
    covers. A bias of time knows no lead and goes to all of them alike; one without a position goes everywhere. It sums up to
    the score."""
    own = parts.input[0].double()
    if own.ndim == 2:
        spread = own.new_zeros(own.shape[1])
        for _, part in parts.biases:
            spread += resized(at_places(part.double(), parts.positions), own.shape[1])
        return own + spread / own.shape[0]
    total = own.sum(0)  # (3, H, W) -> (H, W)
    for _, part in parts.biases:
        there = at_places(part.double(), parts.positions)
        there = there if there.ndim == 2 else there.sum().view(1, 1)
        rows = torch.stack([resized(column, total.shape[0]) for column in there.T], 1)
        total += torch.stack([resized(row, total.shape[1]) for row in rows])
    return total


def at_places(part: Tensor, positions: tuple[int, ...]) -> Tensor:
    """A bias' part (1, ...) summed over channels, heads and the tokens' widths: (n,) or, of an image, (h, w); (1,) of what has
    no position. A class token's share, which has none either, is spread over all."""
    count = math.prod(positions)
    tokens: Tensor | None = None
    if part.ndim == 4 and part.shape[2] in (count, count + 1) and positions:  # (1, heads, N, d)
        tokens = part.sum((0, 1, 3))
    elif part.ndim == 3 and part.shape[1] in (count, count + 1) and part.shape[1] != part.shape[2] and positions:  # (1, N, D)
        tokens = part.sum((0, 2))
    if tokens is not None:
        if len(tokens) == count + 1:
            tokens = tokens[1:] + tokens[0] / count
        return tokens.reshape(positions)
    if part.ndim >= 4 and len(positions) == 2:  # (1, C, h, w)
        return part.flatten(0, -3).sum(0)
    if part.ndim >= 3 and len(positions) < 2:  # (1, C, n)
        return part.flatten(0, -2).sum(0)
    return part.sum().reshape(1)


def resized(values: Tensor, count: int) -> Tensor:
    """(n,) -> (count,) with the same sum: each position over its share."""
    edges = torch.cat([values.new_zeros(1), values.cumsum(0)])
    at = torch.linspace(0, len(values), count + 1, dtype=values.dtype)
    low = at.floor().long().clamp(max=len(values) - 1)
    made: Tensor = (edges[low] + (at - low) * (edges[low + 1] - edges[low])).diff()
    return made
