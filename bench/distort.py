"""Pictures of ECGs per CPU second: drawn, distorted, with their truth, as JPEG; on full pages and straight to 448 x 448.

    python bench/distort.py [--pictures 16] [--passes 3] [--presets clean,scan,photo,screen,fax,old-paper,ecginstruct]

Process time of one process with one thread, best of some passes, so that what else the machine does counts little. Records are
simulated, and the same pictures are made in each pass. A picture is everything that `einthoven
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


def per_second(plan: Plan, records: list[Record], count: int, folder: Path) -> float:
    """Pictures a CPU second, of a shard of `count`."""
    begun = time.process_time()
    failed = write_shard(folder / "one.tar", plan, range(count), lambda n: (str(n), records[n % len(records)]))
    assert not failed, failed
    return count / (time.process_time() - begun)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=16)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--presets", default=",".join(PRESETS))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    records = [simulate(rate=60 + 5 * i, seed=i, noise=20.0).record for i in range(8)]
    print(f"{records[0]!r}, numpy {np.__version__}, OpenCV {cv2.__version__}, Python {sys.version.split()[0]}, one thread")
    print(f"{'preset':<16}{'page, 200 dpi':>16}{'448 x 448':>16}   pictures a CPU second, best of {args.passes} passes")
    slow = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for preset in args.presets.split(","):
            row = []
            for bar, count, plan in (
                (5.0, args.pictures, Plan(preset)),
                (60.0, 4 * args.pictures, Plan(preset, size=(448, 448))),
            ):
                per_second(plan, records, 8, folder)  # compilations, letters
                row.append(max(per_second(plan, records, count, folder) for _ in range(args.passes)))
                if row[-1] < bar:
                    slow.append(f"{preset}: {row[-1]:.1f} < {bar:g}/s")
            print(f"{preset:<16}" + "".join(f"{v:>16.1f}" for v in row), flush=True)
    example = picture(records[0], Plan("photo"), 0)
    print(f"a page is {example.truth.page.shape[1]} x {example.truth.page.shape[0]} pixels; bars: 5 and 60 a CPU second")
    print("below the bar: " + ("; ".join(slow) or "none"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
