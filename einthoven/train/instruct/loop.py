"""The loop over conversations: as train/loop.py in all that matters, with tokens in place of labels.

A step is over `batch` conversations in all, whatever the number of processes and parts; its loss is the sum over all labelled
tokens divided by their number in the whole step, so that 2 processes take the step that 1 would take. What is drawn follows
from the seed, the epoch and the step, and checkpoints hold what trains, nothing of what is frozen: a run that was killed ends
with the weights of one that was not.

B conversations, T tokens.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from einthoven.models.language.speaker import Speaker
from einthoven.record import EcgError
from einthoven.train import checkpoint
from einthoven.train.checkpoint import Progress
from einthoven.train.instruct.moves import put_state, trainable_state
from einthoven.train.instruct.recipe import InstructRecipe
from einthoven.train.loop import _seed, keep_memory
from einthoven.train.schedule import rate_factor

Rows = NDArray[np.int64]
Log = Callable[[str], None]


class Task(Protocol):
    """What is learned: units (a conversation, a pack of them, a pair) by number."""

    lengths: Rows  # tokens of each unit, to make batches of like ones
    learned: NDArray[np.float64]  # what a unit counts in the step's loss: labelled tokens, or 1 a pair

    def batch(self, units: Rows) -> Any:
        """What `loss` takes, on the CPU."""

    def loss(self, net: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The sum of the loss over what is learned, and figures for the log (sums)."""


class Feed(Dataset[Any]):  # type: ignore[misc]
    """What this process sees of an epoch: item n is part n % parts of step n // parts, and what the step counts in all."""

    def __init__(self, task: Task, batches: Sequence[Rows], *, parts: int, rank: int, world: int) -> None:
        self.task, self.batches, self.parts, self.rank, self.world = task, batches, parts, rank, world

    def __len__(self) -> int:
        return len(self.batches) * self.parts

    def __getitem__(self, n: int) -> tuple[Any, float]:
        step, part = divmod(n, self.parts)
        units = self.batches[step]
        mine = np.array_split(units, self.parts * self.world)[self.rank * self.parts + part]
        return self.task.batch(mine), float(self.task.learned[units].sum())


def ordered(rows: Rows, lengths: Rows, batch: int, seed: int, epoch: int, *, by_length: bool) -> list[Rows]:
    """Steps of `batch` units (the last ones a little smaller, none left out): shuffled, or of like length, shuffled within
    stretches of 50 steps, so that little is padded and every epoch's batches are others."""
    rng = np.random.default_rng([seed, 0, epoch])
    order = rng.permutation(rows)
    count = max(math.ceil(len(order) / batch), 1)
    if not by_length:
        return list(np.array_split(order, count))
    made: list[Rows] = []
    for stretch in np.array_split(order, max(count // 50, 1)):
        like = stretch[np.argsort(lengths[stretch], kind="stable")]
        made += np.array_split(like, max(round(len(like) / batch), 1))
    return [made[k] for k in rng.permutation(len(made))]


def fit(
    net: Speaker,
    task: Task,
    train: Rows,
    validation: Rows,
    recipe: InstructRecipe,
    accelerator: Accelerator,
    folder: Path,
    *,
    after_first_backward: Callable[[nn.Module], None] | None = None,
    measure: Callable[[], dict[str, float]] | None = None,
    report: Callable[[dict[str, Any], int], None] | None = None,
    tick: Callable[[int, int, int, float], None] | None = None,
) -> Progress:
    """Trains `net` in place, from where a run in `folder` was cut off or from the start; ends with the best epoch's weights,
    by validation loss.

    Raises EcgError for a loss that is not finite, or fewer units than processes.
    """
    if accelerator.device.type == "cpu":
        keep_memory()
    parts, world, rank = recipe.accumulate, accelerator.num_processes, accelerator.process_index
    bare = net.to(accelerator.device)
    optimizer = torch.optim.AdamW(
        groups(bare, recipe), lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay
    )
    _tell_deepspeed(accelerator, recipe)
    wrapped, optimizer = accelerator.prepare(_Loss(bare, task), optimizer)
    done = restore(folder, accelerator, bare, wrapped, optimizer)
    steps = len(ordered(train, task.lengths, recipe.batch, recipe.seed, 0, by_length=recipe.by_length))
    if len(train) < parts * world:
        raise EcgError(f"{len(train)} training conversations are too few for {world} processes with {parts} parts each")
    unchecked = after_first_backward
    look = 1 if accelerator.device.type == "cpu" else 20

    while not done.finished:
        started, cpu, tokens = time.perf_counter(), time.process_time(), 0.0
        batches = ordered(train, task.lengths, recipe.batch, recipe.seed, done.epoch, by_length=recipe.by_length)
        steps = len(batches)
        feed = Feed(task, batches, parts=parts, rank=rank, world=world)
        running = torch.tensor(done.loss if rank == 0 else 0.0, dtype=torch.float64, device=accelerator.device)
        first, now = done.step, recipe.learning_rate
        norm = torch.zeros(())
        wrapped.train()
        for n, (batch, total) in zip(range(first * parts, len(feed)), _loader(feed, first * parts, recipe, accelerator)):
            step, part = divmod(n, parts)
            torch.manual_seed(_seed(recipe.seed, done.epoch, n, rank))
            now = recipe.learning_rate * rate_factor(
                recipe.schedule, done.epoch * steps + step, recipe.epochs * steps, done.epoch, warmup=recipe.warmup
            )
            for group in optimizer.param_groups:
                group["lr"] = now
            with accelerator.accumulate(wrapped):
                with accelerator.autocast():
                    summed, _ = wrapped(batch.to(accelerator.device))
                loss = summed / max(total, 1e-12)
                accelerator.backward(loss * world * parts)  # processes average, accelerate divides by the parts: both are sums
                if unchecked is not None:
                    if not checkpoint._sharded(accelerator):
                        unchecked(bare)
                    unchecked = None
                if accelerator.sync_gradients and recipe.clip:
                    norm = accelerator.clip_grad_norm_([p for p in bare.parameters() if p.requires_grad], recipe.clip)
                optimizer.step()
                optimizer.zero_grad()
            running += loss.detach().double()
            tokens += float(task.learned[batches[step]].sum()) if part == 0 else 0.0
            if part + 1 < parts:
                continue
            done.step = step + 1
            last = done.step == len(batches)
            save_now = done.step % recipe.checkpoint_every == 0 and not last
            if last or save_now or done.step % look == 0:
                done.loss = _finite(float(accelerator.reduce(running, "sum")), done, now)
                if tick is not None:
                    tick(done.epoch, done.step, len(batches), done.loss / done.step)
            if save_now:
                save(folder, accelerator, bare, wrapped, optimizer, done)

        spent, busy = time.perf_counter() - started, time.process_time() - cpu
        held = validate(wrapped, task, validation, recipe, accelerator)
        row: dict[str, Any] = {
            "epoch": done.epoch + 1,
            "train_loss": done.loss / len(batches),
            "validation_loss": _finite(held, done, now),
            **({} if measure is None else measure()),
            "learning_rate": now,
            "gradient_norm": float(norm) if recipe.clip else None,
            "seconds": round(spent, 3),
            "learned_per_s": round(tokens / max(spent, 1e-9), 2),
            "cpu_per_wall": round(busy / max(spent, 1e-9), 3),
        }
        done.history.append(row)
        done.seconds += spent
        if held < done.best or done.best_epoch < 0:
            done.best, done.best_epoch = held, done.epoch
            save_best(folder, accelerator, bare)
        waited = done.epoch - done.best_epoch
        done.epoch, done.step, done.loss = done.epoch + 1, 0, 0.0
        done.finished = done.epoch >= recipe.epochs or bool(recipe.patience and waited >= recipe.patience)
        save(folder, accelerator, bare, wrapped, optimizer, done)
        if report is not None:
            report(row, done.best_epoch)
    put_state(bare, checkpoint.read(folder / checkpoint.BEST))
    bare.eval()
    return done


class _Loss(nn.Module):  # type: ignore[misc]
    """The network behind one forward call that ends in the loss, so that whatever wraps it (DDP, DeepSpeed) sees all of it."""

    def __init__(self, net: Speaker, task: Task) -> None:
        super().__init__()
        self.net, self.task = net, task

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        return self.task.loss(self.net, batch)


def groups(net: nn.Module, recipe: InstructRecipe) -> list[dict[str, Any]]:
    """What trains; weight decay is for matrices alone."""
    moving = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in moving if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in moving if p.ndim <= 1], "weight_decay": 0.0},
    ]


def validate(wrapped: nn.Module, task: Task, rows: Rows, recipe: InstructRecipe, accelerator: Accelerator) -> float:
    """Mean loss over all that is to be foretold in `rows`, on every process. The network is left in evaluation mode."""
    world, rank = accelerator.num_processes, accelerator.process_index
    wrapped.eval()
    order = rows[np.argsort(task.lengths[rows], kind="stable")]
    mine = order[rank::world]
    total = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    size = max(recipe.batch // (world * recipe.accumulate), 1)
    bare = accelerator.unwrap_model(wrapped)
    with torch.no_grad(), accelerator.autocast():
        for begin in range(0, len(mine), size):
            units = mine[begin : begin + size]
            summed, _ = bare(task.batch(units).to(accelerator.device))
            total[0] += summed.double()
            total[1] += float(task.learned[units].sum())
    total = accelerator.reduce(total, "sum")
    return float(total[0] / total[1].clamp_min(1e-12))


def _loader(feed: Feed, first: int, recipe: InstructRecipe, accelerator: Accelerator) -> Any:
    return iter(DataLoader(feed, batch_size=None, sampler=range(first, len(feed)), num_workers=recipe.workers))


# ---- checkpoints: what trains, the optimiser, the place -----------------------------------------------------------------


def save(folder: Path, accelerator: Accelerator, bare: nn.Module, wrapped: nn.Module, optimizer: Any, done: Progress) -> None:
    """Every process calls it."""
    if checkpoint._sharded(accelerator):
        draft = folder / ".state.part"
        kwargs = {"exclude_frozen_parameters": True} if _is_deepspeed(accelerator) else {}
        accelerator.save_state(str(draft), **kwargs)
        if accelerator.is_main_process:
            (draft / "progress.json").write_text(json.dumps(asdict(done)), encoding="utf-8")
            checkpoint.put_in_place(draft, folder / checkpoint.SHARDED)
    elif accelerator.is_main_process:
        state = {"net": trainable_state(bare), "optimizer": optimizer.state_dict(), "progress": asdict(done)}
        checkpoint.write(folder / checkpoint.STATE, state)
    accelerator.wait_for_everyone()


def restore(folder: Path, accelerator: Accelerator, bare: nn.Module, wrapped: nn.Module, optimizer: Any) -> Progress:
    """Goes on from what `save` left; a fresh Progress where there is nothing. Every process calls it."""
    if checkpoint._sharded(accelerator):
        place = folder / checkpoint.SHARDED
        if not (place / "progress.json").exists():
            return Progress()
        accelerator.load_state(str(place), **({"load_module_strict": False} if _is_deepspeed(accelerator) else {}))
        return Progress(**json.loads((place / "progress.json").read_text(encoding="utf-8")))
    if not (folder / checkpoint.STATE).exists():
        return Progress()
    state = checkpoint.read(folder / checkpoint.STATE)
    put_state(bare, state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])


def save_best(folder: Path, accelerator: Accelerator, bare: nn.Module) -> None:
    """ZeRO-2 shards gradients and the optimiser, not parameters: each process has them all."""
    if accelerator.is_main_process:
        checkpoint.write(folder / checkpoint.BEST, trainable_state(bare))
    accelerator.wait_for_everyone()


def _is_deepspeed(accelerator: Accelerator) -> bool:
    return getattr(accelerator.state, "deepspeed_plugin", None) is not None


def _tell_deepspeed(accelerator: Accelerator, recipe: InstructRecipe) -> None:
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    if plugin is not None:
        share = max(recipe.batch // (accelerator.num_processes * recipe.accumulate), 1)
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = share
        plugin.deepspeed_config["gradient_accumulation_steps"] = recipe.accumulate


def _finite(loss: float, done: Progress, rate: float) -> float:
    if not math.isfinite(loss):
        raise EcgError(f"the loss is {loss} in epoch {done.epoch + 1}, step {done.step} (rate {rate:.2g}): lower learning_rate")
    return loss
