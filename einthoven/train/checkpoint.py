"""Checkpoints that survive kill -9: written under another name, put in place by one rename, read without pickle's powers.

What a step draws at random follows from the seed, the epoch and the step (loop.py), so there is no state of a random
generator to save: weights, optimiser, place in the run and what was measured so far are all there is.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError  # what torch says of a file with more than tensors in it; nothing is unpickled here
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from einthoven.record import EcgError

STATE, BEST, SHARDED = "state.pt", "best.pt", "state"


@dataclass
class Progress:
    """Where a run stands: `epoch` and `step` are the next to be done, `loss` the epoch's running sum over all processes,
    `best` the lowest validation loss and `best_epoch` where it was, `history` a row of figures per finished epoch."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best: float = float("inf")
    best_epoch: int = -1
    seconds: float = 0.0
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def save(folder: Path, accelerator: Accelerator, net: nn.Module, optimizer: torch.optim.Optimizer, done: Progress) -> None:
    """Puts the run's state into `folder`. Every process calls it."""
    if _sharded(accelerator):  # weights and optimiser lie in pieces on many devices: accelerate knows where
        draft = folder / f".{SHARDED}.part"
        accelerator.save_state(str(draft))
        if accelerator.is_main_process:
            (draft / "progress.json").write_text(json.dumps(asdict(done)), encoding="utf-8")
            for old in (folder / f".{SHARDED}.old", folder / SHARDED):
                if old.exists() and old.name == SHARDED:
                    os.replace(old, folder / f".{SHARDED}.old")
                else:
                    shutil.rmtree(old, ignore_errors=True)
            os.replace(draft, folder / SHARDED)
            shutil.rmtree(folder / f".{SHARDED}.old", ignore_errors=True)
    elif accelerator.is_main_process:
        state = {
            "net": accelerator.unwrap_model(net).state_dict(),
            "optimizer": optimizer.state_dict(),
            "progress": asdict(done),
        }
        write(folder / STATE, state)
    accelerator.wait_for_everyone()


def restore(folder: Path, accelerator: Accelerator, net: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Continues from what `save` left in `folder`; a fresh Progress where there is nothing. Every process calls it."""
    if _sharded(accelerator):
        place = next((p for p in (folder / SHARDED, folder / f".{SHARDED}.old") if (p / "progress.json").exists()), None)
        if place is None:
            return Progress()
        accelerator.load_state(str(place))
        return Progress(**json.loads((place / "progress.json").read_text(encoding="utf-8")))
    if not (folder / STATE).exists():
        return Progress()
    state = read(folder / STATE)
    accelerator.unwrap_model(net).load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])


def save_best(folder: Path, accelerator: Accelerator, net: nn.Module) -> None:
    """The weights of the best epoch so far. Written before the checkpoint that speaks of them: a run that is cut off
    between the two does the epoch once more."""
    if _sharded(accelerator):
        state: dict[str, Tensor] = accelerator.get_state_dict(net)
    else:
        state = accelerator.unwrap_model(net).state_dict()
    if accelerator.is_main_process:
        write(folder / BEST, state)
    accelerator.wait_for_everyone()


def load_best(folder: Path, net: nn.Module) -> None:
    """Puts the best epoch's weights into `net` (unwrapped)."""
    net.load_state_dict(read(folder / BEST))


def write(path: Path, state: dict[str, Any]) -> None:
    """torch.save to a draft, flushed to the disk, renamed: `path` is the old state or the new one, never a piece."""
    draft = path.with_name(f".{path.name}.part")
    try:
        with open(draft, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as fault:
        raise EcgError(f"checkpoint cannot be written: {fault.strerror or fault}", path=path) from fault


def read(path: Path) -> dict[str, Any]:
    """Tensors and plain values, nothing that could run. Raises EcgError."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as fault:
        raise EcgError(f"no checkpoint: {fault}", path=path) from fault
    return state


def _sharded(accelerator: Accelerator) -> bool:
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def put_in_place(draft: Path, place: Path) -> None:
    """Renames a folder to `place`; what lay there stays beside it until the new one is there."""
    old = place.with_name(f".{place.name}.old")
    if place.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(place, old)
    os.replace(draft, place)
    shutil.rmtree(old, ignore_errors=True)
