"""The training: one loop in each of W processes, which add up their gradients after every step.

What a step sees follows from the recipe and the step: first every picture once, in the pool's order, as soon as it is drawn;
then again and again in an order drawn anew each time. A run that was cut off goes on at its last checkpoint.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from einthoven.models.image.page_net import PageNet
from einthoven.models.table import build
from einthoven.record import EcgError
from einthoven.represent.features import BEAT_SAMPLES
from einthoven.train.checkpoint import read, write
from einthoven.train.image_default.material import Material, S
from einthoven.train.image_default.pool import SHARD, Pictures, Pool
from einthoven.train.image_default.recipe import Recipe, Training
from einthoven.train.image_default.targets import BEAT_ROWS, LEAD_NAMES, PAGE_NAMES, targets

SAVED_EVERY = 50
TOLD_EVERY = 10
_WAIT_S, _PATIENCE_S = 1.0, 3600.0
_HIDDEN = 160
_CLIP = 1.0


class Pupil(nn.Module):  # type: ignore[misc]
    """The network, and what it must tell in training beyond the labels: figures and median beat. Only `net` is kept."""

    def __init__(self, net: PageNet) -> None:
        super().__init__()
        self.net = net
        look, width = net.config["look"], net.config["width"]
        self.lead = nn.Sequential(nn.Linear(look, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, len(LEAD_NAMES) + BEAT_SAMPLES))
        self.own = nn.Parameter(torch.zeros(len(net.which), len(LEAD_NAMES) + BEAT_SAMPLES))  # of each lead what is usual there
        self.page = nn.Linear(width, len(PAGE_NAMES))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        out = self.net(image)
        lead = self.lead(out.aux["leads"]) + self.own
        return {
            "logits": out.logits.float(),
            "where": out.aux["where"].flatten(2).float(),
            "lead": lead[..., : len(LEAD_NAMES)].float(),
            "beat": lead[:, list(BEAT_ROWS), len(LEAD_NAMES) :].float(),
            "page": self.page(out.embedding).float(),
        }


def scaled(images: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in -1 to 1, in memory as it was; as represent.images.scaled by halves."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


class Feed:
    """Batches by step: picture numbers, and from the shards on disk the pictures themselves with their targets."""

    def __init__(self, pool: Pool, material: Material, recipe: Recipe) -> None:
        self.pool, self.recipe = pool, recipe
        self.count = len(pool.ecg)
        self.open: dict[int, Pictures] = {}
        train = material.rows(recipe.train_folds)
        own = targets(material.features, train)
        real = np.arange(len(material.folds)) < len(material.ecgs.index)
        told = recipe.training.told
        classes = np.where(real[:, None], told * material.truth[:, :S] + (1 - told) * material.teacher, material.truth[:, :S])
        self.arrays = {
            "lead": torch.from_numpy(own.lead),
            "page": torch.from_numpy(own.page),
            "beat": torch.from_numpy(own.beat),
            "labels": torch.from_numpy(np.concatenate([classes, material.truth[:, S:]], 1).astype(np.float32)),
            "weight": torch.from_numpy(np.where(real, 1.0, recipe.training.simulated).astype(np.float32)),
        }

    def numbers(self, step: int) -> NDArray[np.int64]:
        """Which pictures step `step` sees."""
        batch = self.recipe.training.batch
        found = []
        for k in range(step * batch, (step + 1) * batch):
            epoch, place = divmod(k, self.count)
            found.append(place if epoch == 0 else int(self._order(epoch)[place]))
        return np.array(found)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if getattr(self, "_known", (-1, None))[0] != epoch:
            self._known = (epoch, np.random.default_rng([self.recipe.seed, 11, epoch]).permutation(self.count))
        return np.asarray(self._known[1])

    def batch(self, numbers: NDArray[np.int64]) -> tuple[Tensor, dict[str, Tensor]]:
        images, leads, ecg = [], [], []
        for n in numbers.tolist():
            shard = self._shard(n // SHARD)
            row = n % SHARD
            images.append(shard.images([row])[0])
            leads.append(shard.leads[row])
            ecg.append(int(shard.ecg[row]))
        rows = torch.tensor(ecg)
        told = {name: values[rows] for name, values in self.arrays.items()}
        told["where"] = torch.from_numpy(np.stack(leads)).flatten(2).float() / 255
        return scaled(np.stack(images)), told

    def _shard(self, number: int) -> Pictures:
        if number not in self.open:
            waited = 0.0
            while not self.pool.path(number).exists():
                time.sleep(_WAIT_S)
                waited += _WAIT_S
                if waited > _PATIENCE_S:
                    raise EcgError(f"{_PATIENCE_S:.0f} s went by without a new picture", path=self.pool.path(number))
            self.open[number] = self.pool.read(number)
        return self.open[number]


def loss_of(out: dict[str, Tensor], told: dict[str, Tensor], words: Training) -> tuple[Tensor, dict[str, float]]:
    """The sum of the parts, each a mean over what is known, and the parts by name."""
    where = told["where"]
    shown = where.sum(-1)
    parts = {
        "leads": -(where * out["where"].log_softmax(-1)).sum() / shown.sum().clamp(min=1),
        "figures": (_off(out["lead"], told["lead"]) + _off(out["page"], told["page"])) / 2,
        "beat": _off(out["beat"], told["beat"]),
        "superclasses": _crossed(out["logits"][:, :S], told["labels"][:, :S], told["weight"]),
        "statements": _crossed(out["logits"][:, S:], told["labels"][:, S:], told["weight"]),
    }
    total = sum(getattr(words, name) * value for name, value in parts.items())
    assert isinstance(total, Tensor)
    return total, {name: float(value.detach()) for name, value in parts.items()}


def _off(out: Tensor, wanted: Tensor) -> Tensor:
    known = torch.isfinite(wanted)
    off = F.smooth_l1_loss(out, torch.where(known, wanted, out.detach()), reduction="none", beta=0.5)
    return off.sum() / known.sum().clamp(min=1)


def _crossed(out: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    known = torch.isfinite(wanted)
    each = F.binary_cross_entropy_with_logits(out, torch.where(known, wanted, torch.zeros_like(wanted)), reduction="none")
    heavy = known * weight[:, None]
    return (each * heavy).sum() / heavy.sum().clamp(min=1)


def rate_at(step: int, words: Training) -> float:
    if step < words.warm:
        return words.rate * (step + 1) / words.warm
    left = (words.steps - step) / max(words.fall * words.steps, 1)
    return words.rate * min(left, 1.0)


def falls_at(words: Training) -> int:
    """The first step whose rate is below the full one."""
    return words.steps - int(words.fall * words.steps)


def _before(folder: Path, state: dict[str, Any], words: Training) -> dict[str, Any]:
    """The state to go on with: the last one, unless its rate has begun to fall on the way to another number of steps.

    Raises EcgError where the run is past the step at which its rate should have begun to fall.
    """
    if int(state.get("steps", words.steps)) == words.steps:
        return state
    level = folder / "level.pt"
    kept = read(level) if level.exists() else state
    if int(kept["step"]) > falls_at(words):
        raise EcgError(
            f"is at step {kept['step']} already, and for {words.steps} steps its rate falls before that", path=folder
        )
    return kept


def learn(pool: Pool, material: Material, recipe: Recipe, folder: Path, workers: int = 1, jobs: int = 1) -> Path:
    """Draws what is not drawn, trains to the recipe's last step (several workers begin with what is there already); -> the file
    with the averaged weights of the network. What `folder` has is gone on with; the recipe's steps may have changed meanwhile,
    since the rate stays where it is until it falls, and the state from before the fall is kept (`level.pt`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = folder / f"weights-{recipe.training.steps}.pt"
    if end.exists():
        return end
    if workers == 1:
        _draw(pool, jobs)
        _loop(0, 1, pool, material, recipe, folder)
    else:
        import torch.multiprocessing as mp

        meeting = folder / "meeting"
        meeting.unlink(missing_ok=True)
        learning = mp.spawn(_joined, args=(workers, pool, material, recipe, folder), nprocs=workers, join=False)
        _draw(pool, jobs)
        while not learning.join():
            pass
    return end


def _draw(pool: Pool, jobs: int) -> None:
    start = time.perf_counter()
    for shard in pool.drawn(jobs):
        if (shard + 1) % 10 == 0:
            print(f"{shard + 1} of {pool.shards} shards drawn, {time.perf_counter() - start:.0f} s", flush=True)


def _joined(rank: int, workers: int, pool: Pool, material: Material, recipe: Recipe, folder: Path) -> None:
    import torch.distributed as dist

    _die_with_parent()
    dist.init_process_group("gloo", init_method=(folder / "meeting").absolute().as_uri(), rank=rank, world_size=workers)
    try:
        _loop(rank, workers, pool, material, recipe, folder)
    finally:
        dist.destroy_process_group()


def _die_with_parent() -> None:
    """A worker outlives a parent that was killed; nobody would wait for what it learns."""

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(_WAIT_S)
        os._exit(1)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


def fresh(recipe: Recipe, outputs: int) -> Pupil:
    torch.manual_seed(recipe.seed)
    net = build("page-net", outputs=outputs, size=(recipe.pool.height, recipe.pool.width), **recipe.model)
    assert isinstance(net, PageNet)
    return Pupil(net)


def _loop(rank: int, workers: int, pool: Pool, material: Material, recipe: Recipe, folder: Path) -> None:
    torch.set_num_threads(1)
    words = recipe.training
    pupil = fresh(recipe, len(material.names)).to(memory_format=torch.channels_last)
    with torch.no_grad():  # what is usual, so that the first steps are not spent on it
        known = material.truth[material.rows(recipe.train_folds)]
        share = np.clip(np.nanmean(known, 0), 0.005, 0.995)
        pupil.net.head.bias.copy_(torch.from_numpy(np.log(share / (1 - share)).astype(np.float32)))
    average = {name: value.detach().clone() for name, value in pupil.net.state_dict().items()}
    groups = [
        {"params": [p for p in pupil.parameters() if p.ndim > 1], "weight_decay": words.decay},
        {"params": [p for p in pupil.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=words.rate, betas=(0.9, 0.98))
    state = folder / "state.pt"
    first = 0
    if state.exists():
        kept = _before(folder, read(state), words)
        pupil.load_state_dict(kept["pupil"])
        optimizer.load_state_dict(kept["optimizer"])
        average, first = kept["average"], int(kept["step"])
    feed = Feed(pool, material, recipe)
    parameters = list(pupil.parameters())
    start, seen = time.perf_counter(), 0
    told: dict[str, float] = {}
    for step in range(first, words.steps):
        numbers = feed.numbers(step)[rank::workers]
        image, wanted = feed.batch(numbers)
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, words)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            out = pupil(image)
        total, parts = loss_of(out, wanted, words)
        total.backward()
        if workers > 1:
            _summed(parameters, workers)
        norm = float(nn.utils.clip_grad_norm_(parameters, _CLIP))
        if not math.isfinite(norm):
            raise EcgError(f"the loss was no number at step {step}")
        optimizer.step()
        share = min(words.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, value in pupil.net.state_dict().items():
                average[name].lerp_(value, 1 - share)
        seen += len(numbers) * workers
        for name, value in parts.items():
            told[name] = 0.95 * told.get(name, value) + 0.05 * value
        if rank == 0 and (step + 1) % TOLD_EVERY == 0:
            speed = seen / (time.perf_counter() - start)
            print(f"step {step + 1}: {', '.join(f'{n} {v:.3f}' for n, v in told.items())}; {speed:.1f} pictures/s", flush=True)
        if rank == 0 and ((step + 1) % SAVED_EVERY == 0 or step + 1 == words.steps):
            now = {"pupil": pupil.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            whole = {**now, "step": step + 1, "steps": words.steps}
            write(state, whole)
            if step + 1 <= falls_at(words):
                write(folder / "level.pt", whole)
    if rank == 0:
        write(folder / f"weights-{words.steps}.pt", average)


def _summed(parameters: list[nn.Parameter], workers: int) -> None:
    """The mean of all processes' gradients in place of each one's own."""
    import torch.distributed as dist

    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    flat /= workers
    place = 0
    for p in parameters:
        if p.grad is not None:
            p.grad.copy_(flat[place : place + p.grad.numel()].view_as(p.grad))
            place += p.grad.numel()


def batches(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def predicted(net: PageNet, pool: Pool, size: int = 16) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]:
    """Logits (M, K) of the pool's pictures, drawn already, in their order; their ECGs (M,) and presets (M,)."""
    net.eval()
    logits, ecg, preset = [], [], []
    for number in range(pool.shards):
        shard = pool.read(number)
        for part in batches(len(shard), size):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                logits.append(net(scaled(shard.images(range(part.start, part.stop)))).logits.float().numpy())
        ecg.append(shard.ecg)
        preset.append(shard.preset)
    return np.concatenate(logits), np.concatenate(ecg), np.concatenate(preset)
