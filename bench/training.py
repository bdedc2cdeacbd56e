"""Training throughput: einthoven's loop and models against the reference implementation's step, side by side in one run.

    python bench/training.py [--records 192] [--rounds 5] [--batch 16] [--threads 1]

ExChanGeAI trains tsai's InceptionTime and XceptionTime. tsai cannot be installed beside this package (it wants fastai, which
wants torchvision, and scikit-learn < 1.8), so the reference here is tsai's layout and a fastai-like loop written out again
from their code, without what fastai adds on top (callbacks, tensor subclasses, an optimiser that walks over the parameters
in Python): a plain loop is the faster opponent. Both sides: 12 x 1000 float32, cross-entropy with 5 classes, AdamW, the same
batch size, the same threads. Ours is the whole of `einthoven.train.loop.fit` (sampling, gradient clipping, checks that the
loss is finite, accelerate), its validation and checkpoint left out of the time as the reference has none. Each side has a
process of its own, and they run in turn.

Prints records per second, CPU time per wall time beside it (a machine that is shared shows below 1 per thread), and the ratio
ours / reference of each round, of which the median counts: absolute figures are those of one machine, ratios are not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from einthoven.models.table import build
from einthoven.train.loop import Examples, fit
from einthoven.train.losses import Objective
from einthoven.train.recipe import Recipe

# ---- tsai's layout, written out again (tsai/models/InceptionTime.py, XceptionTime.py, layers.py; Apache-2.0) ------------


def conv(c: int, d: int, k: int = 1) -> nn.Conv1d:
    return nn.Conv1d(c, d, k, padding=k // 2, bias=False)


def odd(longest: int) -> list[int]:
    return [k if k % 2 else k - 1 for k in (longest // 2**i for i in range(3))]


class Concat(nn.Module):
    def forward(self, pieces: list[Tensor]) -> Tensor:
        return torch.cat(pieces, dim=1)


class InceptionModule(nn.Module):
    def __init__(self, c: int, nf: int) -> None:
        super().__init__()
        self.bottleneck = conv(c, nf)
        self.convs = nn.ModuleList(conv(nf, nf, k) for k in odd(40))
        self.maxconvpool = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), conv(c, nf))
        self.concat, self.bn, self.act = Concat(), nn.BatchNorm1d(nf * 4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        before = x
        x = self.bottleneck(x)
        return self.act(self.bn(self.concat([layer(x) for layer in self.convs] + [self.maxconvpool(before)])))


class InceptionTime(nn.Module):
    def __init__(self, c: int = 12, outputs: int = 5, nf: int = 32) -> None:
        super().__init__()
        self.inception = nn.ModuleList(InceptionModule(c if i == 0 else nf * 4, nf) for i in range(6))
        self.shortcut = nn.ModuleList(
            [nn.Sequential(conv(c, nf * 4), nn.BatchNorm1d(nf * 4)), nn.Sequential(nn.BatchNorm1d(nf * 4))]
        )
        self.add_act, self.fc = nn.ReLU(), nn.Linear(nf * 4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        before = x
        for i, layer in enumerate(self.inception):
            x = layer(x)
            if i % 3 == 2:
                before = x = self.add_act(x + self.shortcut[i // 3](before))
        return self.fc(x.mean(-1))


class Separable(nn.Module):
    def __init__(self, c: int, d: int, k: int) -> None:
        super().__init__()
        self.depthwise_conv = nn.Conv1d(c, c, k, padding=k // 2, groups=c, bias=False)
        self.pointwise_conv = nn.Conv1d(c, d, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


class XceptionModule(nn.Module):
    def __init__(self, c: int, nf: int) -> None:
        super().__init__()
        self.bottleneck = conv(c, nf)
        self.convs = nn.ModuleList(Separable(nf, nf, k) for k in odd(40))
        self.maxconvpool = nn.Sequential(nn.MaxPool1d(3, stride=1, padding=1), conv(c, nf))
        self.concat = Concat()

    def forward(self, x: Tensor) -> Tensor:
        before = x
        x = self.bottleneck(x)
        return self.concat([layer(x) for layer in self.convs] + [self.maxconvpool(before)])


def block(c: int, d: int) -> nn.Sequential:
    return nn.Sequential(conv(c, d), nn.BatchNorm1d(d), nn.ReLU())


class XceptionTime(nn.Module):
    def __init__(self, c: int = 12, outputs: int = 5, nf: int = 16) -> None:
        super().__init__()
        widths = [nf * 2**i for i in range(4)]
        ends = [c, *(4 * w for w in widths)]
        self.xception = nn.ModuleList(XceptionModule(ends[i], widths[i]) for i in range(4))
        self.shortcut = nn.ModuleList(nn.Sequential(conv(ends[i], ends[i + 2]), nn.BatchNorm1d(ends[i + 2])) for i in (0, 2))
        self.add_act = nn.ReLU()
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool1d(50),
            block(ends[4], ends[4] // 2),
            block(ends[4] // 2, ends[4] // 4),
            block(ends[4] // 4, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        before = x
        for i, layer in enumerate(self.xception):
            x = layer(x)
            if i % 2:
                before = x = self.add_act(x + self.shortcut[i // 2](before))
        return self.head(x).mean(-1)


# ---- one epoch of each ------------------------------------------------------------------------------------------------------


def reference(net: nn.Module, x: np.ndarray, y: np.ndarray, batch: int, rate: float) -> tuple[float, float]:
    """An epoch as fastai's Learner goes through it. -> (wall, CPU) seconds."""
    data = TensorDataset(torch.from_numpy(x), torch.from_numpy(y.argmax(1)))
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=len(x) // batch)
    net.train()
    wall, cpu = time.perf_counter(), time.process_time()
    for inputs, which in DataLoader(data, batch, shuffle=True, drop_last=True):
        loss = F.cross_entropy(net(inputs), which)
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss.item()  # the recorder's smoothed loss
    return time.perf_counter() - wall, time.process_time() - cpu


def ours(net: nn.Module, x: np.ndarray, y: np.ndarray, batch: int, rate: float) -> tuple[float, float]:
    """An epoch of `fit`, as its own history tells it: validation and checkpoint are not in it. -> (wall, CPU) seconds."""
    rows = np.arange(len(x))
    recipe = Recipe(batch=batch, epochs=1, schedule="onecycle")
    objective = Objective("single", np.ones(5, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        done = fit(net, Examples(x, y), rows, rows[:2], objective, recipe, Accelerator(cpu=True), Path(folder), rate=rate)
    row = done.history[0]
    return row["seconds"], row["seconds"] * row["cpu_per_wall"]


MODELS = {
    "inception-time": (InceptionTime, {}),
    "xception-time": (XceptionTime, {"last_relu": True}),  # tsai's variant
}


def side(pipe: Connection, who: str, name: str, records: int, batch: int, threads: int) -> None:
    """A process of one side: an epoch each time it is asked for one (what `fit` asks of the C library holds for a process)."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((records - records % batch, 12, 1000), np.float32)
    y = np.eye(5, dtype=np.float32)[rng.integers(0, 5, len(x))]
    theirs, options = MODELS[name]
    net, work = (build(name, leads=12, outputs=5, **options), ours) if who == "ours" else (theirs(), reference)
    work(net, x[: 2 * batch], y[: 2 * batch], batch, 1e-3)  # warm
    pipe.send(sum(p.numel() for p in net.parameters()))
    while pipe.recv():
        pipe.send(work(net, x, y, batch, 1e-3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    count = args.records - args.records % args.batch
    print(f"{count} records of 12 x 1000, batch {args.batch}, {args.threads} threads, torch {torch.__version__}", flush=True)
    context = get_context("spawn")
    for name in MODELS:
        pipes, sizes = {}, {}
        for who in ("ours", "reference"):
            pipes[who], other = context.Pipe()
            context.Process(target=side, args=(other, who, name, count, args.batch, args.threads), daemon=True).start()
            sizes[who] = pipes[who].recv()
        assert len(set(sizes.values())) == 1, sizes
        by_wall, by_cpu = [], []
        for number in range(args.rounds):
            times = {}
            for who in sorted(pipes, reverse=bool(number % 2)):  # who is first changes; never both at once
                pipes[who].send(True)
                times[who] = pipes[who].recv()
            by_wall.append(times["reference"][0] / times["ours"][0])
            by_cpu.append(times["reference"][1] / times["ours"][1])
            told = "  ".join(f"{who} {count / w:6.1f}/s (cpu/wall {c / w:.2f})" for who, (w, c) in sorted(times.items()))
            print(f"{name:<15} {told}  ratio {by_wall[-1]:.2f}, by CPU time {by_cpu[-1]:.2f}", flush=True)
        medians = f"{median(by_wall):.2f} by wall time, {median(by_cpu):.2f} by CPU time"
        print(f"{name:<15} {sizes['ours']:,} parameters; ours / reference, median of {args.rounds}: {medians}", flush=True)
        for pipe in pipes.values():
            pipe.send(False)


if __name__ == "__main__":
    main()
