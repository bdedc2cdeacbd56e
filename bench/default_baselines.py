"""The baselines that the default model is tested against, trained like for like on folds 1-8: writes their scores on fold 9.

    python bench/default_baselines.py --data ../shared/data/ptbxl -o runs/baselines.npz [--only MiniRocket]

InceptionTime, XceptionTime: random crops of 250 samples at 100 Hz, AdamW, one-cycle to 2e-3, batch 64, bf16; a test record is
the mean logit of its four windows; the best of the epochs by macro AUROC on fold 9 itself is kept, which favours it. MiniRocket
(Dempster, Schmidt, Webb, KDD 2021; our own code, multivariate as in the authors'): 9,996 features and a ridge whose strength is
chosen on fold 9, which favours it, too. One seed each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.data.labels import labels_of
from einthoven.data.load import load
from einthoven.evaluate.metrics import auroc

Floats = NDArray[np.float32]
CROP, BATCH, RATE, EPOCHS = 250, 64, 2e-3, 26
RIDGES = (300.0, 1000.0, 3000.0, 10000.0, 30000.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--only", choices=list(BASELINES), help="only this one; the others' scores in OUT are kept")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    index = load(options.data)
    folds, truth = index.column("fold"), labels_of(index, "superclass").matrix
    signal = np.stack([index.record(i).signal for i in range(len(index))])  # (N, 12, 1000) mV
    train, test = np.flatnonzero((folds >= 1) & (folds <= 8)), np.flatnonzero(folds == 9)
    found: dict[str, Any] = {"record": np.array(index.column("record"))[test].astype(str)}
    if options.only and options.out.exists():
        kept = np.load(options.out, allow_pickle=False)
        if list(kept["record"]) == list(found["record"]):
            found |= {name: kept[name] for name in kept.files}
    for name, run in BASELINES.items():
        if options.only in (None, name):
            start = time.process_time()
            found[name] = run(signal, truth, train, test, options.threads)
            print(
                f"{name}: {macro(truth[test], found[name]):.4f} on fold 9, {time.process_time() - start:.0f} CPU s", flush=True
            )
            options.out.parent.mkdir(parents=True, exist_ok=True)
            np.savez(options.out, **found)


def macro(truth: Floats, score: Floats) -> float:
    return float(auroc(truth, score).mean())


# -- networks ----------------------------------------------------------------------------------------------------------------


def network(signal: Floats, truth: Floats, train: Any, test: Any, threads: int, *, name: str) -> Floats:
    """(test, 5) mean logits of four windows, of the best epoch."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from einthoven.models.table import build

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = torch.tensor((signal - signal[train].mean()) / signal[train].std())
    y = torch.tensor(truth)
    model = build(name, leads=12, outputs=5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * (len(train) // BATCH))
    best, kept = 0.0, np.empty(0, np.float32)
    for epoch in range(EPOCHS):
        model.train()
        order = rng.permutation(train)
        for batch in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
            starts = rng.integers(0, x.shape[2] - CROP + 1, BATCH)
            crops = torch.stack([x[i, :, s : s + CROP] for i, s in zip(batch.tolist(), starts.tolist(), strict=True)])
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(crops).logits
            loss = binary_cross_entropy_with_logits(logits.float(), y[torch.from_numpy(batch)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        model.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            windows = [model(x[test, :, s : s + CROP]).logits.float() for s in range(0, x.shape[2], CROP)]
        score = torch.stack(windows).mean(0).numpy()
        reached = macro(truth[test], score)
        print(f"epoch {epoch + 1}: {reached:.4f}", flush=True)
        if reached > best:
            best, kept = reached, score
    return kept


# -- MiniRocket --------------------------------------------------------------------------------------------------------------

KERNELS = np.array(list(combinations(range(9), 3)), np.int32)  # the places of the weight 2; all others weigh -1


def mini_rocket(signal: Floats, truth: Floats, train: Any, test: Any, threads: int) -> Floats:
    """(test, 5) scores of the best ridge."""
    from sklearn.linear_model import Ridge

    kernels = drawn(signal[train], np.random.default_rng(0))
    rows = np.concatenate([train, test])
    found = transformed(np.ascontiguousarray(signal[rows]), KERNELS, *kernels)
    mean, deviation = found[: len(train)].mean(0), found[: len(train)].std(0) + 1e-6
    found = (found - mean) / deviation
    scores = [
        Ridge(alpha=a).fit(found[: len(train)], truth[train]).predict(found[len(train) :]).astype(np.float32) for a in RIDGES
    ]
    return max(scores, key=lambda score: macro(truth[test], score))


def drawn(signal: Floats, rng: np.random.Generator, count: int = 10_000, most: int = 32) -> tuple[Any, ...]:
    """Dilations, features of each, biases, leads of each kernel and how many: as the authors' multivariate code draws them."""
    records, leads, samples = signal.shape
    each = count // len(KERNELS)
    kinds = min(each, most)
    dilations, many = np.unique(np.logspace(0, np.log2((samples - 1) / 8), kinds, base=2).astype(np.int32), return_counts=True)
    many = (many * each / kinds).astype(np.int32)
    for i in range(each - many.sum()):
        many[i % len(many)] += 1
    total = len(KERNELS) * len(dilations)
    sizes = (2 ** rng.uniform(0, np.log2(min(leads, 9) + 1), total)).astype(np.int32)
    which = np.zeros((total, 9), np.int32)
    for row, size in zip(which, sizes, strict=True):
        row[:size] = rng.choice(leads, size, replace=False)
    biases, passed, trace = [], 0, np.zeros(samples, np.float32)
    for i, dilation in enumerate(dilations):
        places = (np.arange(1, many[i] + 1) + passed) * (np.sqrt(5) + 1) / 2 % 1
        for k in range(len(KERNELS)):
            row = i * len(KERNELS) + k
            convolve(signal[rng.integers(records)], KERNELS[k], dilation, which[row], sizes[row], trace)
            biases.append(np.quantile(trace, places))
        passed += many[i]
    return dilations, many, np.concatenate(biases).astype(np.float32), which, sizes


@njit(cache=True, fastmath=True)
def convolve(x, kernel, dilation, leads, size, out):  # type: ignore[no-untyped-def]
    """Sum over leads of x (L, T) with the kernel, zeros beyond its ends, into out (T,)."""
    samples = x.shape[1]
    out[:] = 0
    for q in range(size):
        for j in range(9):
            weight = 2.0 if j == kernel[0] or j == kernel[1] or j == kernel[2] else -1.0
            away = (j - 4) * dilation
            for t in range(max(0, -away), min(samples, samples - away)):
                out[t] += weight * x[leads[q], t + away]


@njit(cache=True, fastmath=True)
def transformed(signal, kernels, dilations, many, biases, leads, sizes):  # type: ignore[no-untyped-def]
    """(N, features): the share of positive values above each bias; every second kernel without the padded ends."""
    records, _, samples = signal.shape
    out = np.zeros((records, len(biases)), np.float32)
    trace = np.zeros(samples, np.float32)
    for n in range(records):
        f = row = 0
        for i in range(len(dilations)):
            for k in range(len(kernels)):
                convolve(signal[n], kernels[k], dilations[i], leads[row], sizes[row], trace)
                a = 0 if (i + k) % 2 == 0 else 4 * dilations[i]
                for _ in range(many[i]):
                    above = 0
                    for t in range(a, samples - a):
                        above += trace[t] > biases[f]
                    out[n, f] = above / max(samples - 2 * a, 1)
                    f += 1
                row += 1
    return out


BASELINES: dict[str, Callable[[Floats, Floats, Any, Any, int], Floats]] = {
    "MiniRocket": mini_rocket,
    "InceptionTime": partial(network, name="inception-time"),
    "XceptionTime": partial(network, name="xception-time"),
}

if __name__ == "__main__":
    main()
