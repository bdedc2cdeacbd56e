"""Pictures of ECGs per CPU second: drawn, distorted, with their truth, as JPEG; on full pages and straight to 448 x 448.

    python bench/distort.py [--pictures 24] [--presets clean,scan,photo,screen,fax,old-paper,ecginstruct]

Process time of one process with one thread, so that what else the machine does counts little; the median picture and the mean
over all of them, and the share of each stage for the photo. Records are simulated. A picture is everything that `einthoven
images` does for one: printing it in a varied look, the distortions, the truth as JSON, JPEG.
"""

# ruff: noqa: E402  (threads are limited before numpy is imported)
from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import cv2
import numpy as np

from einthoven.paper.dataset import Plan, picture, write_shard
from einthoven.paper.distort import PRESETS
from einthoven.record import Record
from einthoven.synth import simulate


def seconds(plan: Plan, records: list[Record], count: int, folder: Path) -> np.ndarray:
    """CPU seconds of each of `count` pictures, (count,)."""
    spent = []
    for k in range(count):
        begun = time.process_time()
        failed = write_shard(folder / "one.tar", plan, [k], lambda n: (str(n), records[n % len(records)]))
        spent.append(time.process_time() - begun)
        assert not failed, failed
    return np.array(spent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--presets", default=",".join(PRESETS))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    records = [simulate(rate=60 + 5 * i, seed=i, noise=20.0).record for i in range(8)]
    print(f"{records[0]!r}, numpy {np.__version__}, OpenCV {cv2.__version__}, Python {sys.version.split()[0]}, one thread")
    print(f"{'pictures per CPU second':<16}{'page, 200 dpi':>24}{'448 x 448':>24}")
    print(f"{'':<16}{'median':>12}{'mean':>12}{'median':>12}{'mean':>12}")
    slow = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for preset in args.presets.split(","):
            row = []
            for bar, plan in ((5.0, Plan(preset)), (60.0, Plan(preset, size=(448, 448)))):
                seconds(plan, records, 4, folder)  # compilations, letters
                spent = seconds(plan, records, args.pictures, folder)
                row += [1 / float(np.median(spent)), 1 / float(spent.mean())]
                if row[-1] < bar:
                    slow.append(f"{preset}: {row[-1]:.1f} < {bar:g}/s")
            print(f"{preset:<16}" + "".join(f"{v:>12.1f}" for v in row), flush=True)
    example = picture(records[0], Plan("photo"), 0)
    print(f"a page is {example.truth.page.shape[1]} x {example.truth.page.shape[0]} pixels; bars: 5 and 60 a CPU second")
    print("below the bar: " + ("; ".join(slow) or "none"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
