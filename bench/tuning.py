"""Memory and time of tuning: LoRA and adapters against full fine-tuning, cached head inputs against computing them anew.

    python bench/tuning.py [--batch 16] [--steps 2] [--records 32]

Memory: each method trains ECG-FM at its real size (90.4 M parameters, 12 x 2500 samples) for some steps of AdamW in a
process of its own, same batch, same data, float32, nothing recomputed. Printed is the peak resident memory of that process,
and the ratios are of that less what it held with torch imported and nothing built. For all methods alike, glibc is told to
give every tensor pages of its own (MALLOC_MMAP_THRESHOLD_), so that the peak is what is in use and not what lies fragmented
(with its defaults the fragments of both count, and LoRA was seen at 71 % instead of 59 %). Beside it stands what it is made
of: weights, gradients, the two moments of AdamW, and what the graph keeps for the backward pass, counted tensor by tensor.

With LoRA the convolutional front and all frozen weights need no gradient, so the graph keeps less, too: an input is kept only
where a weight behind it trains.

Time: an epoch of training the head alone, from cached head inputs and with the backbone run every time, which is what a loop
does that knows no cache. The cost of filling the cache, once, is said.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

METHODS = {
    "full": {"method": "full"},
    "LoRA r=48 q,v": {"method": "lora", "rank": 48, "alpha": 96},
    "adapters Pfeiffer 64": {"method": "adapter", "kind": "pfeiffer", "bottleneck": 64},
    "head": {"method": "head"},
}
MB = 1024 * 1024
SAMPLES = 2500


def peak() -> float:
    """Peak resident memory of this process so far, MB (Linux counts in kB, macOS in bytes)."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (MB if sys.platform == "darwin" else 1024)


def train(name: str, batch: int, steps: int) -> dict[str, float]:
    """One method in this process. -> MB: base, peak, and what it is made of; seconds a step (the last)."""
    import torch
    from torch import nn

    from einthoven.models.table import build, by_name
    from einthoven.tune import Tuning, apply, check_gradients

    torch.manual_seed(0)
    base = peak()
    model = build("ecg-fm")
    told = apply(model, Tuning.from_dict(METHODS[name]), by_name("ecg-fm"))
    model.train()
    moving = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(moving, lr=1e-5)
    x, y = torch.randn(batch, 12, SAMPLES), torch.randint(0, 2, (batch, 5)).float()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    seconds = 0.0
    for i in range(steps):
        start = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = nn.functional.binary_cross_entropy_with_logits(model(x).logits, y)
        loss.backward()
        if not i:
            check_gradients(model)
        if i < steps - 1:
            kept.clear()
        optimiser.step()
        optimiser.zero_grad()
        seconds = time.perf_counter() - start
    trainable = sum(p.numel() * p.element_size() for p in moving) / MB
    return {
        "base": base,
        "peak": peak(),
        "share": 100 * told.share,
        "weights": sum(p.numel() * p.element_size() for p in model.parameters()) / MB,
        "gradients": trainable,
        "optimizer": 2 * trainable,
        "activations": sum(kept.values()) / MB,
        "seconds": seconds,
    }


def memory(batch: int, steps: int) -> None:
    found: dict[str, dict[str, float]] = {}
    for name in METHODS:
        command = [sys.executable, __file__, "--one", name, "--batch", str(batch), "--steps", str(steps)]
        pages = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=pages)
        found[name] = json.loads(done.stdout)
    print(f"ECG-FM, batch {batch}, 12 x {SAMPLES}, float32, AdamW, {steps} steps, no recomputation; MB")
    columns = ("peak", "base", "weights", "gradients", "optimizer", "activations")
    print("method".ljust(22) + "".join(c.rjust(13) for c in columns) + "trainable %".rjust(13) + "s/step".rjust(9))
    for name, row in found.items():
        cells = "".join(f"{row[c]:13,.0f}" for c in columns)
        print(f"{name:22}{cells}{row['share']:13.2f}{row['seconds']:9.1f}")
    full = found.pop("full")
    for name, row in found.items():
        ours, theirs = row["peak"] - row["base"], full["peak"] - full["base"]
        whole = f"{100 * row['peak'] / full['peak']:.0f} % of it with torch itself counted"
        print(f"{name}: {100 * ours / theirs:.0f} % of the memory of full fine-tuning ({whole})")
        amounts = f"einthoven {name} {ours:.0f} MB/run   full fine-tuning {theirs:.0f} MB/run"
        print(f"memory, {name}, batch {batch}   {amounts}   ratio {theirs / ours:.2f}")


def cached(name: str, records: int, samples: int, batch: int = 16) -> None:
    """Prints an epoch of training the head, with and without the cache."""
    import numpy as np
    import torch
    from torch import nn

    from einthoven.models.table import build, by_name
    from einthoven.tune import Tuning, apply, head_inputs

    torch.manual_seed(0)
    model = build(name)
    apply(model, Tuning("head"), by_name(name))
    model.train()
    optimiser = torch.optim.AdamW(model.head.parameters(), lr=1e-3)
    x = np.random.default_rng(0).standard_normal((records, 12, samples), np.float32)
    y = torch.randint(0, 2, (records, 5)).float()

    def epoch(logits: Any) -> float:
        start = time.perf_counter()
        for first in range(0, records, batch):
            rows = slice(first, first + batch)
            nn.functional.binary_cross_entropy_with_logits(logits(rows), y[rows]).backward()
            optimiser.step()
            optimiser.zero_grad()
        return time.perf_counter() - start

    def anew(rows: slice) -> Any:
        return model(torch.from_numpy(x[rows])).logits

    start = time.perf_counter()
    stored = head_inputs(model, x, batch)
    filling = time.perf_counter() - start

    def from_cache(rows: slice) -> Any:
        return model.head(torch.from_numpy(stored[rows]))

    epoch(from_cache)  # warm
    slow, fast = epoch(anew), min(epoch(from_cache) for _ in range(5))
    amounts = f"einthoven cached {1000 * fast:.1f} ms/epoch   computed anew {1000 * slow:.0f} ms/epoch"
    print(f"head only, {name}, {records} records   {amounts}   ratio {slow / fast:.0f}")
    whole = 20 * slow / (filling + 20 * fast)
    print(f"  filling the cache, once: {filling:.1f} s; 20 epochs, that included, are {whole:.1f} times faster")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2, help="of the memory runs; AdamW's moments exist from the second on")
    parser.add_argument("--records", type=int, default=32, help="of an epoch of the head")
    parser.add_argument("--one", choices=METHODS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(train(arguments.one, arguments.batch, arguments.steps)))
        return
    memory(arguments.batch, arguments.steps)
    cached("ecg-fm", arguments.records, SAMPLES)
    cached("inception-time", 4 * arguments.records, 1000)


if __name__ == "__main__":
    main()
