"""Explanations by gradients: gradient, gradient x input, SmoothGrad, integrated gradients, GradCAM. Needs torch.

All take a network, one input x (1, ...) and `score`, which turns its logits (B, K) into (B,); they work on signals (1, L, T)
and on images (1, 3, H, W) alike. The network is used as it is: put it into evaluation mode first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from einthoven.record import EcgError

Score = Callable[[Tensor], Tensor]
_BATCH = 16  # points that go through the network together


def label_score(k: int, task: str) -> Score:
    """As occlusion.score_of, of tensors: logits (B, K) -> (B,)."""

    def score(logits: Tensor) -> Tensor:
        if task != "single" or logits.shape[1] == 1:
            return logits[:, k]
        others = torch.cat([logits[:, :k], logits[:, k + 1 :]], 1)
        return logits[:, k] - others.logsumexp(1)

    return score


def gradient(net: nn.Module, x: Tensor, score: Score) -> Tensor:
    """x (B, ...) -> d score / d x, the same shape: how much the score rises where a sample rises."""
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        total = score(net(x).logits).sum()
    made: Tensor = torch.autograd.grad(total, x)[0]
    return made


def gradient_x_input(net: nn.Module, x: Tensor, score: Score) -> Tensor:
    """The gradient times the input: each sample's share, were the score linear in x (Shrikumar A et al. arXiv:1605.01713)."""
    return gradient(net, x, score) * x


def smoothgrad(net: nn.Module, x: Tensor, score: Score, *, samples: int = 32, noise: float = 0.15, seed: int = 0) -> Tensor:
    """The mean gradient over `samples` copies of x with normal noise of `noise` times its range (Smilkov D, arXiv:1706.03825),
    times the input, so that it has a sign to be read: positive speaks for the label."""
    generator = torch.Generator().manual_seed(seed)
    size = noise * float(x.max() - x.min())
    total = torch.zeros_like(x)
    done = 0
    while done < samples:
        count = min(_BATCH, samples - done)
        noisy = x + size * torch.randn((count, *x.shape[1:]), generator=generator).to(x)
        total += gradient(net, noisy, score).sum(0, keepdim=True)
        done += count
    return total / samples * x


@dataclass(frozen=True)
class Integrated:
    """`values` as x; `difference` the score at x less that at the baseline, which the values sum up to but for `gap` (a share
    of the difference); `steps` that it took."""

    values: Tensor
    difference: float
    gap: float
    steps: int


def integrated_gradients(
    net: nn.Module,
    x: Tensor,
    score: Score,
    *,
    baseline: Tensor | None = None,
    steps: int = 32,
    most: int = 1024,
    tolerance: float = 0.01,
) -> Integrated:
    """The gradient along the straight line from the baseline to x, times the way (Sundararajan M et al. ICML 2017).

    The values sum up to the difference of the scores. That is an integral, summed in the middles of `steps` intervals; the
    intervals are halved until the sum is right to `tolerance`, or there are `most`. Where the network jumps (a router that
    sends the ECG to another expert) no number of steps is enough, and `gap` says so.

    Args:
        x: (1, ...). baseline: what stands for "nothing there"; zeros where none is given: for an ECG the flat line.
    """
    start = torch.zeros_like(x) if baseline is None else baseline
    with torch.no_grad():
        ends = score(net(torch.cat([x, start])).logits).double()
    difference = float(ends[0] - ends[1])
    way = (x - start).double()
    while True:
        total = torch.zeros_like(way)
        # The way is u^3, so that the points lie close at its beginning: a network that scales its input by the input's own
        # deviation does nearly all it does there.
        middles = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
        for u in middles.split(_BATCH):
            shape = (-1, *([1] * (x.ndim - 1)))
            at = start + (u**3).to(x).view(shape) * (x - start)
            total += (gradient(net, at, score).double() * (3 * u**2).view(shape).to(total)).sum(0, keepdim=True)
        values = way * total / steps
        gap = abs(float(values.sum()) - difference) / max(abs(difference), 1e-6)
        if gap <= tolerance or 2 * steps > most:
            return Integrated(values, difference, gap, steps)
        steps *= 2


def gradcam(net: nn.Module, x: Tensor, score: Score, *, layer: int = -1) -> Tensor:
    """Where the maps of one layer speak for the label: channels weighted by their mean gradient, summed, negatives cut off
    (Selvaraju RR et al. ICCV 2017). x (1, ...) -> (N,) or (H', W'), as the layer has positions.

    Raises EcgError where the layer's maps are not on the way to the logits.
    """
    with torch.enable_grad():
        out = net(x.detach().requires_grad_(True))
        maps = out.maps[layer]
        total = score(out.logits).sum()
        slope = torch.autograd.grad(total, maps, retain_graph=True, allow_unused=True)[0]
        if slope is None and maps._base is not None:
            # A model may hand out a transposed view of what it goes on with; the gradient then is the base's.
            slope = torch.autograd.grad(total, maps._base, allow_unused=True)[0]
            slope = None if slope is None else slope.as_strided(maps.shape, maps.stride(), maps.storage_offset())
    if slope is None:
        raise EcgError(f"GradCAM: what this model shows of layer {layer} is not what its logits come from; take another method")
    axes = tuple(range(2, maps.ndim))
    weight = slope.mean(axes, keepdim=True)  # (1, C, 1...)
    made: Tensor = (weight * maps).sum(1)[0].relu().detach()
    return made
