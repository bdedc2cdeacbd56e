"""How the default model's small networks on the figures and the median beat learn (models/measured/beat_figures.py).

B batch, A figures, T samples of the beat, K labels, W width, Q knots.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from einthoven.models.measured.beat_figures import KNOTS, L, Member, T, knots
from einthoven.represent.features import BEAT_FS as FS
from einthoven.represent.features import BEFORE_S
from einthoven.train.default.recipe import Network

__all__ = ["KNOTS", "BeatFigures", "Several", "train"]

Floats = NDArray[np.float32]

_AVERAGE = 0.99  # weights are averaged over about a hundred steps


class BeatFigures(Member):
    """A member with a head of its own: (B, A + 8 T) -> logits (B, K), embedding (B, 256)."""

    def __init__(self, outputs: int, knots: Floats, width: int = 48) -> None:
        super().__init__(knots, width)
        self.head = nn.Linear(256, outputs)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        embedding = super().forward(features)
        return self.head(embedding), embedding


class Several(nn.Module):  # type: ignore[misc]
    """Networks of different seeds: the mean of their logits, the embedding of the first."""

    def __init__(self, members: list[BeatFigures]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        found = [member(features) for member in self.members]
        return torch.stack([logits for logits, _ in found]).mean(0), found[0][1]


def train(
    views: Floats, truth: Floats, superclasses: int, how: Network, seed: int, first: tuple[Floats, Floats] | None = None
) -> BeatFigures:
    """Trains one network.

    Args:
        views: (V, N, F) the features of N records in V views; which view a record shows is drawn anew every epoch.
        truth: (N, K), NaN where unknown; the first `superclasses` columns count fully.
        first: features (M, F) and superclasses (M, S) of simulated ECGs to begin with.
    Returns:
        the network with averaged weights, in evaluation mode.
    """
    torch.manual_seed(seed)
    net = BeatFigures(truth.shape[1], knots(views))
    if first is not None and how.first_epochs:
        known = np.full((len(first[0]), truth.shape[1]), np.nan, np.float32)
        known[:, :superclasses] = first[1]
        net = _trained(net, first[0][None], known, superclasses, replace(how, epochs=how.first_epochs), seed + 50)
    return _trained(net, views, truth, superclasses, how, seed)


def _trained(net: BeatFigures, views: Floats, truth: Floats, superclasses: int, how: Network, seed: int) -> BeatFigures:
    """`net` trained on; what is returned is the average of its weights."""
    torch.manual_seed(seed)
    draw, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    net.eval()
    with torch.inference_mode():
        parts = [net.split(torch.tensor(view)) for view in views]
    figures, beats = (torch.stack([p[i] for p in parts]).clone() for i in (0, 1))  # (V, N, A), (V, N, 8, T)
    y = torch.tensor(np.nan_to_num(truth))
    weight = torch.tensor(np.isfinite(truth) * np.where(np.arange(truth.shape[1]) < superclasses, 1.0, how.helpers)).float()
    average = copy.deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=how.rate, weight_decay=how.decay)
    per_epoch = max(truth.shape[0] // how.batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.rate, total_steps=how.epochs * per_epoch, pct_start=0.2)
    net.train()
    for step in range(how.epochs * per_epoch):
        if step % per_epoch == 0:
            order = rng.permutation(len(truth))
        rows = torch.from_numpy(order[step % per_epoch * how.batch :][: how.batch])
        which = torch.from_numpy(rng.integers(len(views), size=len(rows)))
        x, beat = _shaken_figures(figures[which, rows], draw), _shaken(beats[which, rows], draw)
        mix, other = float(rng.beta(how.mixup, how.mixup)), torch.randperm(len(rows), generator=draw)
        x, beat, aim = (mix * a + (1 - mix) * a[other] for a in (x, beat, y[rows]))
        counts = torch.minimum(weight[rows], weight[rows][other])
        logits = net.head(net.embed(x, beat))
        loss = (binary_cross_entropy_with_logits(logits, aim, reduction="none") * counts).sum() / len(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        _follow(average, net, min(_AVERAGE, step / (step + 10)))
    average.eval()
    return average


def _shaken_figures(x: Tensor, draw: torch.Generator) -> Tensor:
    """A little noise; age and sex, the first two, unknown (0) in three of ten."""
    x = x + 0.1 * torch.randn(x.shape, generator=draw)
    x[:, :2] *= (torch.rand(len(x), 1, generator=draw) >= 0.3).float()
    return x


def _shaken(beat: Tensor, draw: torch.Generator) -> Tensor:
    """(B, 8, T): gain of the record and of each lead, a heart that lies a little otherwise, time about R stretched, noise."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(len(beat), *shape, generator=draw)

    beat = beat * torch.exp(0.08 * normal(1, 1) + 0.08 * normal(L, 1))
    beat = beat + torch.einsum("bij,bjt->bit", 0.03 * normal(L, L), beat)
    r = BEFORE_S * FS
    at = (torch.arange(T) - r) * torch.exp(0.04 * normal(1)) + r + 0.7 * normal(1)
    at = at.clamp(0, T - 1.001)
    low = at.long()
    share = (at - low)[:, None]
    index = low[:, None].expand(-1, L, -1)
    beat = beat.gather(2, index) * (1 - share) + beat.gather(2, index + 1) * share
    return beat + 0.015 * normal(L, T)


@torch.no_grad()  # type: ignore[untyped-decorator]
def _follow(average: nn.Module, net: nn.Module, keep: float) -> None:
    """average <- keep * average + (1 - keep) * net; counters are copied, the tables of ranks left alone."""
    state: dict[str, Any] = net.state_dict()
    for name, kept in average.state_dict().items():
        if name.startswith("ranks."):
            continue
        if kept.dtype.is_floating_point:
            kept.mul_(keep).add_(state[name], alpha=1 - keep)
        else:
            kept.copy_(state[name])
