"""The training loop: epochs of batches, a validation after each, the best kept, and a place to go on from at any time.

On one core, one GPU, or many processes (torchrun, accelerate launch; DDP, FSDP or DeepSpeed, as accelerate is configured) a
step is always over `batch` records in all, and its loss is the sum over what is known divided by how much that is in the
whole batch: 2 processes take the step that 1 would take (BatchNorm apart, which sees its own process's share).

Randomness is a function of the seed, the epoch and the step, never of how the run got there.

N records, B batch, L leads, T samples, K outputs.
"""

from __future__ import annotations

import ctypes
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from einthoven.record import EcgError
from einthoven.train import checkpoint
from einthoven.train.augment import Augment
from einthoven.train.checkpoint import Progress
from einthoven.train.losses import Objective
from einthoven.train.lr_finder import STEPS, Found, find_rate
from einthoven.train.recipe import Recipe
from einthoven.train.schedule import rate_factor

F32 = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """x (N, ...) float32, an array or a memory map; y (N, K) float32, NaN unknown. The network sees (x - mean) / std.

    Where `seen` is given, x holds something smaller (images as bytes), and the network sees seen(x), of the shape (N, *shape).
    """

    x: Any
    y: F32
    mean: float = 0.0
    std: float = 1.0
    seen: Callable[[Any], F32] | None = None
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.shape:
            object.__setattr__(self, "shape", tuple(self.x.shape[1:]))

    def inputs(self, rows: Rows | slice) -> F32:
        """(B, ...) of these rows."""
        if self.seen is not None:
            return self.seen(self.x[rows])
        taken = np.asarray(self.x[rows], np.float32)
        return taken if (self.mean, self.std) == (0.0, 1.0) else (taken - np.float32(self.mean)) / np.float32(self.std)


class Feed(Dataset[tuple[Tensor, Tensor, float]]):  # type: ignore[misc]
    """What this process sees of an epoch: item n is part n % parts of step n // parts: x (B, ...), y (B, K), and what the
    loss of the whole step is to be divided by."""

    def __init__(
        self, examples: Examples, batches: Sequence[Rows], objective: Objective, *, seed: int, epoch: int,
        augment: Augment | None = None, parts: int = 1, rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self.examples, self.batches, self.objective = examples, batches, objective
        self.seed, self.epoch, self.augment = seed, epoch, augment or Augment()
        self.parts, self.rank, self.world = parts, rank, world

    def __len__(self) -> int:
        return len(self.batches) * self.parts

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor, float]:
        step, part = divmod(n, self.parts)
        rows = self.batches[step]
        y = self.examples.y[rows]
        partners, shares = rows, np.ones(len(rows), np.float32)
        if self.augment.mixup:
            rng = np.random.default_rng([self.seed, 1, self.epoch, step])
            order = rng.permutation(len(rows))
            partners = rows[order]
            shares = np.array([self.augment.share(rng) for _ in rows], np.float32)
            y = y * shares[:, None] + y[order] * (1 - shares[:, None])
        total = self.objective.total(y)
        mine = np.array_split(np.arange(len(rows)), self.parts * self.world)[self.rank * self.parts + part]
        x = self._augmented(rows[mine])
        if self.augment.mixup:
            share = shares[mine].reshape(-1, *[1] * (x.ndim - 1))
            x = x * share + self._augmented(partners[mine]) * (1 - share)
        return torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.ascontiguousarray(y[mine])), total

    def _augmented(self, rows: Rows) -> F32:
        x = self.examples.inputs(rows)
        if not (self.augment.crop or self.augment.lead_dropout or self.augment.noise):
            return x
        draws = (np.random.default_rng([self.seed, 2, self.epoch, int(row)]) for row in rows)
        return np.stack([self.augment.record(one, rng) for one, rng in zip(x, draws)])


def shuffled(rows: Rows, batch: int, seed: int, epoch: int) -> list[Rows]:
    """Rows in this epoch's order, cut into steps of at most `batch` and of nearly one size: none is left out, and none so
    small that its statistics mean nothing."""
    order = np.random.default_rng([seed, 0, epoch]).permutation(rows)
    return np.array_split(order, max(math.ceil(len(order) / batch), 1))


def logits_of(output: Any) -> Tensor:
    """A signal model's Output, or a head's plain tensor -> (B, K)."""
    return cast(Tensor, getattr(output, "logits", output))


def fit(
    net: nn.Module,
    examples: Examples,
    train: Rows,
    validation: Rows,
    objective: Objective,
    recipe: Recipe,
    accelerator: Accelerator,
    folder: Path,
    *,
    rate: float,
    after_first_backward: Callable[[nn.Module], None] | None = None,
    measure: Callable[[F32], dict[str, float]] | None = None,
    report: Callable[[dict[str, Any], int], None] | None = None,
    resumed: Callable[[list[dict[str, Any]]], None] | None = None,
    tick: Callable[[int, int, int, float], None] | None = None,
) -> Progress:
    """Trains `net` in place, from where a run in `folder` was cut off or from the start; ends with the best epoch's weights.

    Args:
        train, validation: rows of `examples`.
        rate: the peak learning rate.
        folder: checkpoints are kept here.
        after_first_backward: called with the bare network once, when the first gradients are there.
        measure: logits of `validation` (N, K) -> figures for the history.
        report: called after each epoch with its row of the history, and the best epoch so far.
        resumed: called once with the rows of a run that goes on, where there are any.
        tick: called after each step with epoch, step, steps, loss.

    Raises:
        EcgError: a loss that is not finite, or fewer records in a batch than processes.
    """
    if accelerator.device.type == "cpu":
        keep_memory()
    parts, world, rank = recipe.accumulate, accelerator.num_processes, accelerator.process_index
    bare = net.to(accelerator.device)
    optimizer = new_optimizer(bare, recipe, rate)
    _tell_deepspeed(accelerator, recipe)
    net, optimizer = accelerator.prepare(net, optimizer)
    done = checkpoint.restore(folder, accelerator, net, optimizer)
    if resumed is not None and done.history:
        resumed(done.history)
    steps = len(shuffled(train, recipe.batch, recipe.seed, 0))
    if len(train) // steps < parts * world:
        raise EcgError(f"{len(train)} training records are too few for {world} processes with {parts} parts each")
    unchecked = after_first_backward
    look = 1 if accelerator.device.type == "cpu" else 20  # steps between looks at the loss: a look makes a GPU wait
    augment = Augment(recipe.mixup, recipe.crop, recipe.lead_dropout, recipe.noise)

    while not done.finished:
        started, cpu = time.perf_counter(), time.process_time()
        batches = shuffled(train, recipe.batch, recipe.seed, done.epoch)
        feed = Feed(
            examples,
            batches,
            objective,
            seed=recipe.seed,
            epoch=done.epoch,
            augment=augment,
            parts=parts,
            rank=rank,
            world=world,
        )
        running = torch.tensor(done.loss if rank == 0 else 0.0, dtype=torch.float64, device=accelerator.device)
        first, norm = done.step, torch.zeros(())
        net.train()
        for n, (x, y, total) in zip(range(first * parts, len(feed)), loader(feed, first * parts, recipe.workers, accelerator)):
            step, part = divmod(n, parts)
            torch.manual_seed(_seed(recipe.seed, done.epoch, n, rank))
            now = rate * rate_factor(
                recipe.schedule,
                done.epoch * steps + step,
                recipe.epochs * steps,
                done.epoch,
                gamma=recipe.gamma,
                warmup=recipe.warmup,
                initial=recipe.initial,
            )
            for group in optimizer.param_groups:
                group["lr"] = now * group.get("share", 1.0)
            with accelerator.accumulate(net):
                with accelerator.autocast():
                    logits = logits_of(net(x.to(accelerator.device, non_blocking=True)))
                loss = objective.sum(logits.float(), y.to(accelerator.device, non_blocking=True)) / max(total, 1e-12)
                # Processes average their gradients and accelerate divides by the parts: both are sums here.
                accelerator.backward(loss * world * parts)
                if unchecked is not None:
                    if not checkpoint._sharded(accelerator):  # there, a process holds pieces of gradients
                        unchecked(accelerator.unwrap_model(net))
                    unchecked = None
                if accelerator.sync_gradients and recipe.clip:
                    norm = accelerator.clip_grad_norm_(net.parameters(), recipe.clip)
                optimizer.step()
                optimizer.zero_grad()
            running += loss.detach().double()
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
                checkpoint.save(folder, accelerator, net, optimizer, done)

        spent, busy = time.perf_counter() - started, time.process_time() - cpu
        logits = predict(net, examples, validation, accelerator, 2 * recipe.batch)
        held = examples.y[validation]
        loss_held = float(objective.sum(torch.from_numpy(logits).double(), torch.from_numpy(held))) / objective.total(held)
        row: dict[str, Any] = {
            "epoch": done.epoch + 1,
            "train_loss": done.loss / len(batches),
            "validation_loss": _finite(loss_held, done, now),
            **({} if measure is None else measure(logits)),
            "learning_rate": now,
            "gradient_norm": float(norm) if recipe.clip else None,
            "seconds": round(spent, 3),
            "records_per_s": round(sum(map(len, batches[first:])) / max(spent, 1e-9), 2),
            "cpu_per_wall": round(busy / max(spent, 1e-9), 3),
        }
        done.history.append(row)
        done.seconds += spent
        if loss_held < done.best or done.best_epoch < 0:
            done.best, done.best_epoch = loss_held, done.epoch
            checkpoint.save_best(folder, accelerator, net)
        waited = done.epoch - done.best_epoch
        done.epoch, done.step, done.loss = done.epoch + 1, 0, 0.0
        done.finished = done.epoch >= recipe.epochs or bool(recipe.patience and waited >= recipe.patience)
        checkpoint.save(folder, accelerator, net, optimizer, done)
        if report is not None:
            report(row, done.best_epoch)
    bare = accelerator.unwrap_model(net)
    checkpoint.load_best(folder, bare)
    bare.eval()
    return done


def keep_memory() -> None:
    """Has the C library keep what tensors leave behind: glibc gives blocks above 32 MB back to the system at once and asks for
    them anew, page by page, in every step (XceptionTime at batch 16: a sixth of the CPU time). Elsewhere it does nothing."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: every block from the heap
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap does not shrink below this


def loader(feed: Feed, first: int, workers: int, accelerator: Accelerator) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Items of `feed` from `first` on, prepared ahead by `workers` processes where there are any."""
    return iter(
        DataLoader(
            feed,
            batch_size=None,
            sampler=range(first, len(feed)),
            num_workers=workers,
            pin_memory=accelerator.device.type == "cuda",
        )
    )


def predict(net: nn.Module, examples: Examples, rows: Rows, accelerator: Accelerator, batch: int) -> F32:
    """Logits (N, K) of `rows`, in their order, on every process. The network is left in evaluation mode."""
    world, rank = accelerator.num_processes, accelerator.process_index
    padded = np.resize(rows, math.ceil(len(rows) / world) * world)  # every process has as many: the first rows come again
    net.eval()
    pieces = []
    mine = padded[rank::world]
    with torch.no_grad(), accelerator.autocast():
        for start in range(0, len(mine), batch):
            x = torch.from_numpy(examples.inputs(mine[start : start + batch])).to(accelerator.device)
            pieces.append(logits_of(net(x)).float())
    together = torch.cat(pieces)
    if world > 1:  # (world * n, K), process by process -> the order of `padded`
        together = accelerator.gather(together).reshape(world, len(mine), -1).transpose(0, 1).flatten(0, 1)
    return cast(F32, together[: len(rows)].cpu().numpy())


def learning_rate(
    net: nn.Module, examples: Examples, train: Rows, objective: Objective, recipe: Recipe, accelerator: Accelerator
) -> Found:
    """`find_rate` on training records alone; every process gets the main one's answer."""
    net.to(accelerator.device)
    size = min(max(4, len(train) // STEPS), recipe.batch, len(train))
    batches: list[Rows] = []
    while len(batches) < STEPS:
        batches += shuffled(train, size, recipe.seed, 1_000_000 + len(batches))
    augment = Augment(recipe.mixup, recipe.crop, recipe.lead_dropout, recipe.noise)
    feed = Feed(examples, batches, objective, seed=recipe.seed, epoch=1_000_000, augment=augment)

    def loss_of(step: int) -> Tensor:
        x, y, total = feed[step]
        torch.manual_seed(_seed(recipe.seed, 1_000_000, step, 0))
        with accelerator.autocast():
            logits = logits_of(net(x.to(accelerator.device)))
        return objective.sum(logits.float(), y.to(accelerator.device)) / max(total, 1e-12)

    modes = [(module, module.training) for module in net.modules()]
    net.train()
    found = find_rate(net, loss_of, low=recipe.finder_low, high=recipe.finder_high, weight_decay=recipe.weight_decay)
    for module, mode in modes:
        module.training = mode
    if accelerator.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        found = broadcast_object_list([found])[0]
    return found


def new_optimizer(net: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    """AdamW, or Adam with its L2 penalty, over what is trainable; with layer_decay a group for each layer, whose "share" of
    the rate falls from the head (1) down. Raises EcgError where there are no layers to tell apart."""
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
    named = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    if recipe.layer_decay == 1.0:
        return kind([p for _, p in named], lr=rate, weight_decay=recipe.weight_decay)
    heights = [_height(n) for n, _ in named]
    top = max((h for h in heights if h is not None), default=0) + 1
    if top == 1:
        raise EcgError(f"layer_decay wants a transformer's layers, which {type(net).__name__} has not", where="recipe")
    groups: dict[int, list[nn.Parameter]] = {}
    for (_, p), height in zip(named, heights, strict=True):
        groups.setdefault(top if height is None else height, []).append(p)
    made = [{"params": own, "share": recipe.layer_decay ** (top - height)} for height, own in sorted(groups.items())]
    return kind(made, lr=rate, weight_decay=recipe.weight_decay)


def _height(name: str) -> int | None:
    """Of a parameter's layer: 0 what makes tokens of the input, then the layers from 1, None what stands above them all."""
    found = re.match(r"layers\.(\d+)\.", name)
    if found:
        return int(found[1]) + 1
    return None if re.match(r"(head|norm)\.", name) else 0


def _finite(loss: float, done: Progress, rate: float) -> float:
    if not math.isfinite(loss):
        raise EcgError(
            f"the loss is {loss} in epoch {done.epoch + 1}, step {done.step} (learning rate {rate:.2g}): "
            "lower learning_rate or finder_high, or look for samples without sense in the data"
        )
    return loss


def _seed(*numbers: int) -> int:
    """One seed from many numbers, spread evenly."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _tell_deepspeed(accelerator: Accelerator, recipe: Recipe) -> None:
    """DeepSpeed wants to know the batch before it starts, which accelerate reads from a DataLoader that is not there."""
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    if plugin is not None:
        share = max(recipe.batch // (accelerator.num_processes * recipe.accumulate), 1)
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = share
        plugin.deepspeed_config["gradient_accumulation_steps"] = recipe.accumulate
