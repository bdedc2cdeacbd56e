"""What one photo costs from the command's start to its end: seconds and memory, each photo in a process of its own.

    python bench/photo.py [--photos 6] [--seed 9400000] [--cores 2] [IMAGE...]

Photos are simulated ECGs drawn in the usual layouts and distorted by the preset `photo` (12 megapixels with --large), or the
images that are named. Timed are `einthoven digitize` and `einthoven interpret` (which also measures, and asks
the shipped models), as a user calls them: with starting Python. Bars of issue 4: 3 s, 1.5 GB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

SECONDS, MEGABYTES = 3.0, 1500.0


def photos(count: int, first: int, large: bool, folder: Path) -> list[Path]:
    from einthoven.paper.distort import distort
    from einthoven.paper.render import render
    from einthoven.synth import random_simulation

    out = []
    for seed in range(first, first + count):
        image, page = render(random_simulation(np.random.default_rng(seed), noise=25.0).record)
        size = (4000, 3000) if large else None
        picture, _ = distort(image, page, "photo", seed=seed, size=size)
        out.append(folder / f"photo-{seed}.jpg")
        out[-1].write_bytes(cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return out


def cost(arguments: list[str], cores: int) -> tuple[float, float, float, int]:
    """(seconds by the clock, CPU seconds, most megabytes, exit code) of a command."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled; not to be would be timed, too
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "einthoven", *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(child.pid, sorted(os.sched_getaffinity(0))[:cores])
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, child.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("images", type=Path, nargs="*")
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--seed", type=int, default=9_400_000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--large", action="store_true")
    args = parser.parse_args()
    over = False
    with tempfile.TemporaryDirectory() as folder:
        images = args.images or photos(args.photos, args.seed, args.large, Path(folder))
        print("| command | photos | s, median | s, worst | CPU s, median | MB, worst | failed |")
        print("|---|---|---|---|---|---|---|")
        for command, suffix in (("digitize", "csv"), ("interpret", "html")):
            cost([command, str(images[0]), "-o", str(Path(folder) / f"first.{suffix}")], args.cores)  # files into the cache
            each = [cost([command, str(p), "-o", str(Path(folder) / f"{p.stem}.{suffix}")], args.cores) for p in images]
            wall, cpu, memory, code = (np.array(v) for v in zip(*each, strict=True))
            told = f"{np.median(wall):.2f} | {wall.max():.2f} | {np.median(cpu):.2f} | {memory.max():.0f}"
            print(f"| {command} | {len(each)} | {told} | {int((code != 0).sum())} |")
            over |= bool(np.median(wall) > SECONDS or memory.max() > MEGABYTES)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"{args.cores} cores, machine's load {load:.1f}. Bars ({SECONDS:g} s, {MEGABYTES:g} MB): {'missed' if over else 'met'}."
    )
    return int(over)


if __name__ == "__main__":
    raise SystemExit(main())
