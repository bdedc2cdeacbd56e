"""A network on what was measured of an ECG: the figures and the median beat of represent/features.py. What the default model's
networks are made of, and so the one that begins with their weights.

    figures (B, A) --rank to normal--> perceptron ---------------------+
    beat (B, 8, T) --arcsinh--> convolutions, positions kept --> 128 --+--> 256 a member --> logits (B, K)

The beats are aligned, so a position in them means something and is not averaged away. B batch, A figures, T samples of the
beat, F = A + 8 T features, M members, K labels, W width, Q knots.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor, nn

from einthoven.models.network import Backbone, Network
from einthoven.represent.features import BEAT_LEADS, BEAT_SAMPLES, FIGURES

Floats = NDArray[np.float32]

A, L, T = len(FIGURES), len(BEAT_LEADS), BEAT_SAMPLES
KNOTS = 17


class Ranks(nn.Module):  # type: ignore[misc]
    """(B, A) figures -> what a normal distribution has at their rank among the training records; unknown becomes 0.

    Piecewise linear between Q knots, written so that ONNX can say it.
    """

    def __init__(self, knots: Floats) -> None:
        super().__init__()
        share = np.linspace(0, 1, len(knots))
        levels = ndtri(np.clip(share, 0.004, 0.996)).astype(np.float32)
        self.register_buffer("start", torch.tensor(knots[:-1].T[None]))  # (1, A, Q - 1)
        self.register_buffer("width", torch.tensor(np.maximum(np.diff(knots, axis=0), 1e-6).T[None]))
        # A figure that most records share (0, mostly) stands at the middle of its ranks, not at their end.
        self.register_buffer("rise", torch.tensor(np.diff(levels)[None, None]))
        self.bottom = float(levels[0])
        tied = np.array([_middle(knots[:, a], levels) for a in range(knots.shape[1])], np.float32)
        self.register_buffer("shift", torch.tensor(tied[None]))

    def forward(self, figures: Tensor) -> Tensor:
        unknown = torch.isnan(figures)
        x = torch.where(unknown, torch.zeros_like(figures), figures)
        steps = ((x[..., None] - self.start) / self.width).clamp(0, 1)  # (B, A, Q - 1)
        y = (steps * self.rise).sum(-1) + self.bottom - self.shift
        return torch.where(unknown, torch.zeros_like(y), y)


def _middle(knots: Floats, levels: Floats) -> float:
    """Where the median's value stands: subtracted, so that what is usual is 0."""
    usual = knots[len(knots) // 2]
    steps = np.clip((usual - knots[:-1]) / np.maximum(np.diff(knots), 1e-6), 0, 1)
    return float((steps * np.diff(levels)).sum() + levels[0])


class Residual(nn.Module):  # type: ignore[misc]
    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Member(nn.Module):  # type: ignore[misc]
    """(B, A + 8 T) features, in the order of represent.features.NAMES -> (B, 256)."""

    def __init__(self, knots: Floats, width: int = 48) -> None:
        super().__init__()
        self.ranks = Ranks(knots)
        self.figures = nn.Sequential(
            nn.Dropout(0.2),
            *(nn.Linear(A, 128), nn.BatchNorm1d(128), nn.SiLU(), nn.Dropout(0.5)),
            *(nn.Linear(128, 128), nn.BatchNorm1d(128), nn.SiLU(), nn.Dropout(0.5)),
        )
        positions = -(-T // 8)
        self.beat = nn.Sequential(
            *(nn.Conv1d(L, width, 7, padding=3, bias=False), nn.BatchNorm1d(width), Residual(width, 7)),
            *(nn.Conv1d(width, width, 3, stride=2, padding=1), Residual(width, 5)),
            *(nn.Conv1d(width, width, 3, stride=2, padding=1), Residual(width, 3)),
            *(nn.Conv1d(width, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3)),
            *(nn.Linear(32 * positions, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.3)),
        )

    def split(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, A + 8 T) -> ranked figures (B, A) and the beat (B, 8, T) on a scale that gain changes little."""
        beat = features[:, A:].reshape(-1, L, T)
        beat = torch.where(torch.isnan(beat), torch.zeros_like(beat), beat)
        return self.ranks(features[:, :A]), torch.asinh(2 * beat)

    def embed(self, figures: Tensor, beat: Tensor) -> Tensor:
        return torch.cat([self.figures(figures), self.beat(beat)], 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.embed(*self.split(features))


class BeatFigures(Network):
    """(B, F) measured features, NaN where a figure is unknown -> logits (B, K), embedding (B, 256 M).

    Members are networks of different seeds; the head sees them all. With fresh weights the ranks are those of the records that
    it is trained on (`look`).
    """

    def __init__(self, *, outputs: int = 5, members: int = 3, width: int = 48) -> None:
        super().__init__()
        self.config = {"outputs": outputs, "members": members, "width": width}
        level = np.zeros((KNOTS, A), np.float32)
        self.members = nn.ModuleList(Member(level, width) for _ in range(members))
        self.head = nn.Linear(256 * members, outputs)

    def backbone(self, x: Tensor, /) -> Backbone:
        return Backbone(torch.cat([member(x) for member in self.members], 1), (), {})

    def new_head(self, outputs: int) -> None:
        self.config["outputs"] = outputs
        self.head = nn.Linear(self.head.in_features, outputs)

    def look(self, x: Floats) -> None:
        made = Ranks(knots(x))
        for member in self.members:
            member.ranks.load_state_dict(made.state_dict())

    def fitted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The networks of a default model (network0.*, ...) are members here. Their heads, one each, become one that says the
        mean of what they said."""
        found = sorted({key.partition(".")[0] for key in state if key.startswith("network")})
        if not found:
            return dict(state)
        scalar = {key for key, value in self.state_dict().items() if value.ndim == 0}
        out = {}
        for i, name in enumerate(found):
            for key, value in state.items():
                if key.startswith(f"{name}.") and not key.startswith(f"{name}.head."):
                    to = f"members.{i}.{key.removeprefix(f'{name}.')}"
                    out[to] = value.reshape(()) if to in scalar else value
        out["head.weight"] = torch.cat([state[f"{name}.head.weight"] for name in found], 1) / len(found)
        out["head.bias"] = torch.stack([state[f"{name}.head.bias"] for name in found]).mean(0)
        return out


def knots(views: Floats) -> Floats:
    """(Q, A) quantiles of the figures over all records and views; where none is known, 0."""
    rows = views[..., :A].reshape(-1, A)
    known = np.isfinite(rows).any(0)
    out = np.zeros((KNOTS, A), np.float32)
    out[:, known] = np.nanquantile(rows[:, known], np.linspace(0, 1, KNOTS), axis=0)
    return out
