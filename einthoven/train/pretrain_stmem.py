"""ST-MEM's pre-training: three quarters of each lead's patches are hidden, and said by a small decoder, lead by lead.

    einthoven pretrain recipes/pretrain-st-mem.yaml --data FOLDER --output runs/st-mem

Na et al., Guiding masked representation learning to capture spatio-temporal relationship of electrocardiogram, ICLR 2024. The
encoder sees what is left of all leads; the decoder is one for all leads and sees one at a time. The loss is the mean squared
error of hidden patches, each scaled to mean 0 and deviation 1. Re-implemented from the paper: its code may not be distributed.

B windows, L leads, T samples, N patches of a lead, P samples of a patch, M of them seen, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from einthoven.models.convert import OBJECTIVE, store
from einthoven.models.signal.patch_transformer import Layer
from einthoven.models.signal.st_mem import StMem
from einthoven.record import EcgError, Record
from einthoven.signal.presets import apply, by_name
from einthoven.train.pretrain_ecgfm import Indexed, Source, Synth
from einthoven.train.pretrain_steps import run
from einthoven.train.recipes import from_words, to_words

WEIGHTS = "weights.safetensors"
SECONDS = 9.0


@dataclass(frozen=True)
class PretrainRecipe:
    """One run; the defaults are the paper's, but for `steps` and `batch`."""

    data: str = "synth"
    records: int = 10_000  # synth: how many different ECGs there are
    model: Mapping[str, Any] = field(default_factory=dict)  # arguments of StMem
    hidden: float = 0.75  # share of each lead's patches
    decoder: tuple[int, int, int] = (256, 4, 4)  # width, layers, heads
    learning_rate: float = 1.5e-4
    weight_decay: float = 0.01
    warmup: float = 0.05
    steps: int = 10_000
    batch: int = 64
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_every: int = 500
    seed: int = 0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if not 0 < self.hidden < 1:
            raise EcgError(f"hidden is a share between 0 and 1, not {self.hidden}", where="recipe")
        if min(self.steps, self.batch, self.records, self.checkpoint_every) < 1:
            raise EcgError("steps, batch, records and checkpoint_every are at least 1", where="recipe")

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> PretrainRecipe:
        return from_words(PretrainRecipe, words, "a pre-training recipe of st-mem")

    def to_dict(self) -> dict[str, Any]:
        return to_words(self) | {"model": dict(self.model)}


class Masked(nn.Module):  # type: ignore[misc]
    """Encoder and decoder."""

    def __init__(self, model: StMem, recipe: PretrainRecipe) -> None:
        super().__init__()
        width, depth, heads = recipe.decoder
        self.model, self.hidden = model, recipe.hidden
        self.enter = nn.Linear(model.config["width"], width)
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        self.time = nn.Parameter(0.02 * torch.randn(1, model.count, width))
        self.layers = nn.ModuleList([Layer(width, heads, 4, 0.0) for _ in range(depth)])
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, model.patch)

    def forward(self, signal: Tensor, draw: torch.Generator) -> dict[str, Tensor]:
        """signal (B, L, T) -> "loss" over hidden patches, and "power", what saying nothing (zeros) would cost."""
        patches = self.model.patches(signal)  # (B, L, N, P)
        b, leads, n, _ = patches.shape
        order = torch.rand(b, leads, n, generator=draw).argsort(-1).to(signal.device)
        keep = max(round(n * (1 - self.hidden)), 1)
        seen, hidden = order[..., :keep], order[..., keep:]
        tokens = self.model.tokens(patches)
        encoded = self.model.encode(_taken(tokens, seen))[-1]  # (B, L, M, D)
        small = self.enter(encoded)
        canvas = self.mask.to(small.dtype).expand(b, leads, n, -1)
        canvas = canvas.scatter(2, seen[..., None].expand(-1, -1, -1, small.shape[-1]), small)
        x = (canvas + self.time[:, None].to(small.dtype)).flatten(0, 1)  # a lead at a time
        for layer in self.layers:
            x = layer(x)
        said = _taken(self.leave(self.norm(x)).unflatten(0, (b, leads)), hidden).float()
        wanted = _taken(patches, hidden).float()
        wanted = (wanted - wanted.mean(-1, keepdim=True)) / (wanted.var(-1, keepdim=True) + 1e-6).sqrt()
        return {"loss": (said - wanted).square().mean(), "power": wanted.square().mean().detach()}


def _taken(x: Tensor, at: Tensor) -> Tensor:
    """(B, L, N, D) and places (B, L, M) -> (B, L, M, D)."""
    return x.gather(2, at[..., None].expand(-1, -1, -1, x.shape[-1]))


_WHOLE = replace(
    by_name("st-mem"), name="st-mem-whole", length=None, steps=tuple(s for s in by_name("st-mem").steps if s.name != "fit")
)


def windows(recipe: PretrainRecipe, source: Source, samples: int) -> Any:
    """Step -> (B, L, T): records in each epoch's order, any window of each."""

    def batch_of(step: int) -> tuple[Tensor]:
        rng = np.random.default_rng([recipe.seed, 1, step])
        made = []
        for i in range(recipe.batch):
            epoch, at = divmod(step * recipe.batch + i, len(source))
            row = int(np.random.default_rng([recipe.seed, 0, epoch]).permutation(len(source))[at])
            signal = _prepared(source[row][0], samples)
            begin = int(rng.integers(signal.shape[1] - samples + 1))
            made.append(signal[:, begin : begin + samples])
        return (torch.from_numpy(np.stack(made).astype(np.float32)),)

    return batch_of


def _prepared(record: Record, samples: int) -> Any:
    signal = apply(_WHOLE, record)
    if signal.shape[1] < samples:
        raise EcgError(f"is shorter than the {samples} samples of a window", path=record.source.path)
    return signal


def pretrain(recipe: PretrainRecipe, out: str | Path, *, source: Source | None = None) -> Path:
    """Trains, and returns the file of weights in `out`. The same call goes on where an earlier one was stopped. Raises
    EcgError."""
    from einthoven.data.load import load

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if source is None:
        source = (
            Synth(recipe.records, 10.0, recipe.seed)
            if recipe.data == "synth"
            else Indexed(load(recipe.data, folder=folder / "index"), SECONDS)
        )
    torch.manual_seed(recipe.seed)
    model = StMem(**{"outputs": 1, **recipe.model})
    net = Masked(model, recipe)
    run(net, recipe, folder, windows(recipe, source, model.samples), lambda batch, draw: net(batch[0], draw))
    state = {
        name.removeprefix("model."): t
        for name, t in net.state_dict().items()
        if name.startswith("model.") and ".head." not in name
    }
    extra = {f"{OBJECTIVE}{name}": t for name, t in net.state_dict().items() if not name.startswith("model.")}
    options = {k: v for k, v in model.config.items() if k != "outputs"}
    store(
        folder / WEIGHTS,
        "st-mem",
        options,
        {**state, **extra},
        source=f"pre-trained by ST-MEM's objective, {recipe.steps} steps",
    )
    return folder / WEIGHTS
