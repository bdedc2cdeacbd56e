"""A pre-training run as numbered steps: what step n sees follows from the seed and n alone, so that a run that was killed ends
with the weights of one that was not. Shared by MERL's and ST-MEM's; larger objectives have loops of their own."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from einthoven.io.files import replacing
from einthoven.record import EcgError
from einthoven.train import checkpoint
from einthoven.train.schedule import rate_factor

STATE, FIGURES, RECIPE = "pretrain.pt", "metrics.jsonl", "pretrain.json"


class Steps(Protocol):
    """What this loop asks of a recipe."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def warmup(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def checkpoint_every(self) -> int: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def seed(self) -> int: ...

    def to_dict(self) -> dict[str, Any]: ...


def device_of(recipe: Steps) -> torch.device:
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise EcgError("there is no GPU here that torch can use (device: cuda)")
    return torch.device("cuda" if recipe.device != "cpu" and torch.cuda.is_available() else "cpu")


def run(
    net: nn.Module,
    recipe: Steps,
    folder: Path,
    batch_of: Callable[[int], Any],
    loss_of: Callable[[Any, torch.Generator], Mapping[str, Tensor]],
) -> None:
    """Trains `net` in place, from where `folder` says or from the start.

    Args:
        batch_of: number of a step -> tensors on the CPU. loss_of: of a batch, what is minimised ("loss") and further figures;
            what it draws comes from the generator.

    Raises EcgError where the folder holds a run of another recipe, or a loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = json.dumps(recipe.to_dict(), sort_keys=True)
    stated = folder / RECIPE
    if stated.exists() and stated.read_text(encoding="utf-8") != words:
        raise EcgError("holds a pre-training by another recipe: choose another folder", path=folder)
    with replacing(stated) as draft:
        draft.write_text(words, encoding="utf-8")
    device = device_of(recipe)
    net.to(device)
    optimizer = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad],
        recipe.learning_rate,
        betas=(0.9, 0.95),
        weight_decay=recipe.weight_decay,
    )
    first = 0
    if (folder / STATE).exists():
        state = checkpoint.read(folder / STATE)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        first = int(state["step"])
    _trim(folder / FIGURES, first)
    net.train()
    began = time.monotonic()
    for step in range(first, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate_factor("cosine", step, recipe.steps, 0, warmup=recipe.warmup)
        torch.manual_seed(recipe.seed * 1_000_003 + step)
        draw = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        batch = _moved(batch_of(step), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            found = loss_of(batch, draw)
        loss = found["loss"]
        if not math.isfinite(float(loss.detach())):
            raise EcgError(f"the loss is {float(loss.detach())} in step {step + 1}: lower learning_rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        with (folder / FIGURES).open("a", encoding="utf-8") as file:
            row = {
                "step": step + 1,
                **{k: round(float(v.detach()), 6) for k, v in found.items()},
                "seconds": round(time.monotonic() - began, 3),
            }
            file.write(json.dumps(row) + "\n")
        if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
            checkpoint.write(folder / STATE, {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1})
    net.eval()


def _trim(path: Path, steps: int) -> None:
    """Lines of steps that are done again go."""
    if path.exists():
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and json.loads(line)["step"] <= steps]
        with replacing(path) as draft:
            draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return type(value)(_moved(one, device) for one in value) if isinstance(value, list | tuple) else value
