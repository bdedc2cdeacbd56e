"""How long a prediction takes: file to calibrated probabilities through ONNX, one after another and in bulk.

    python bench/predict.py [--model NAME|PATH] [--records 200] [--jobs 2]

Without --model the default model; where there is none, two stand-ins of untrained weights: InceptionTime (457,605
parameters, 12 x 1000), and the same with all measured features as a second input. Prints, for each:

    warm     reading, preparation, network, calibration of one 500 Hz file, one thread: median and 95th percentile of the wall
             clock, and CPU time, which other work on the machine does not touch
    batch    `einthoven predict FOLDER -o out.jsonl` as a whole, start of the processes included, and without the command's own
             start; CPU time of all processes

The machine's load stands beside each figure: with other work on the cores the wall clock says little.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from einthoven.exchange.bundle import Bundle, write_bundle
from einthoven.exchange.predict import Predictor
from einthoven.exchange.shelf import DEFAULT, find
from einthoven.io import read
from einthoven.record import EcgError

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("EINTHOVEN_DATA") or ROOT.parent / "shared" / "data")
CLASSES = ("NORM", "MI", "STTC", "CD", "HYP")


def stand_in(path: Path, *, measured: bool) -> Bundle:
    """A Bundle of untrained weights: as fast as a trained one."""
    import torch
    from torch import Tensor, nn

    from einthoven.exchange.manifest import labels, manifest
    from einthoven.exchange.onnx_out import export
    from einthoven.models.signal.model import Output
    from einthoven.models.table import MODELS, build
    from einthoven.represent.features import NAMES, VERSION
    from einthoven.signal.presets import by_name

    class Both(nn.Module):  # type: ignore[misc]
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.line = inner, nn.Linear(len(NAMES), len(CLASSES))

        def forward(self, signal: Tensor, features: Tensor) -> Output:
            out = self.inner(signal)
            return out._replace(logits=out.logits + self.line(torch.nan_to_num(features)))

    row = MODELS["inception-time"]
    model = build(row.name, leads=12, outputs=len(CLASSES)).eval()
    preset = by_name(row.preset)
    inputs = [{"kind": "signal", "preset": preset.to_dict()}]
    if measured:
        inputs.append({"kind": "features", "names": list(NAMES), "version": str(VERSION)})
    said = manifest(
        name="stand-in-with-features" if measured else "stand-in",
        task="multilabel",
        labels=labels(CLASSES),
        activation="sigmoid",
        inputs=inputs,
        calibration={"words": {"kind": "temperature", "task": "multilabel", "parameters": {"temperature": 1.5}}},
        architecture={"model": row.name, "config": model.config, "parameters": row.parameters},
        licence="Apache-2.0",
    )
    length = preset.length or 1000
    whole = Both(model) if measured else model
    onnx = export(
        whole, path.with_suffix(".onnx"), length, features=len(NAMES) if measured else 0, manifest=said, batches=(1, 3)
    )
    return write_bundle(path, said, {"model.onnx": onnx})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--records", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 2))
    args = parser.parse_args()
    files = [str(p) for p in sorted((DATA / "ptbxl" / "records500").glob("*/*.hea"))[: args.records]]
    if not files:
        raise SystemExit(f"no PTB-XL records at {DATA} (set EINTHOVEN_DATA)")
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundles = [Bundle.open(find(args.model))]
        except EcgError as fault:
            if args.model is not None:
                raise SystemExit(f"error: {fault}") from None
            print(f"no default model ({DEFAULT}) yet: stand-ins of untrained weights")
            bundles = [stand_in(Path(folder) / f"b{i}", measured=bool(i)) for i in range(2)]
        for bundle in bundles:
            print(f"{bundle.manifest.name}, {len(files)} records at 500 Hz, {os.cpu_count()} cores")
            warm(bundle, files)
            batch(bundle, files, args.jobs, Path(folder))


def warm(bundle: Bundle, files: list[str]) -> None:
    start = time.perf_counter()
    predictor = Predictor(bundle)
    predictor.predict(read(files[0]))
    first = time.perf_counter() - start
    for file in files[:5]:
        predictor.predict(read(file))
    wall, cpu = [], time.process_time()
    for file in files:
        start = time.perf_counter()
        predictor.predict(read(file))
        wall.append(1000 * (time.perf_counter() - start))
    cpu = 1000 * (time.process_time() - cpu) / len(files)
    middle, slow = np.percentile(wall, [50, 95])
    print(
        f"  warm    median {middle:6.1f} ms/record   95 % {slow:6.1f} ms   CPU {cpu:6.1f} ms   "
        f"(model loaded and first record: {first:.1f} s)   load {os.getloadavg()[0]:.1f}"
    )


def batch(bundle: Bundle, files: list[str], jobs: int, folder: Path) -> None:
    out = folder / f"{bundle.manifest.name}.jsonl"
    command = [sys.executable, "-m", "einthoven", "predict", *files, "-m", str(bundle.path), "-o", str(out), "-j", str(jobs)]
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(command, capture_output=True, text=True)
    took, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    if done.returncode:
        raise SystemExit(done.stderr)
    told = done.stderr.strip().splitlines()[-1].rpartition(", ")[2]
    print(
        f"  batch   {len(files) / took:6.1f} records/s as a whole command, {told} without its start   {jobs} processes   "
        f"CPU {1000 * cpu / len(files):.1f} ms/record with all starts   load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
