"""python -m einthoven.train.image_default recipes/image-default.yaml --data PTBXL -o OUT [--test] [--workers 2]

Without --test: figures of the validation folds, by which everything is chosen. With it: one look at the test folds, and the
Bundle OUT/<name>. What OUT has already is not made again; a training that was cut off goes on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m einthoven.train.image_default", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="PTB-XL in its official layout, whole or a part of it")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--test", action="store_true", help="look at the test folds, write the Bundle")
    parser.add_argument("--looks", type=int, default=1, help="how often the test folds have been looked at, this time included")
    parser.add_argument("--jobs", type=int, default=0, help="processes that measure and draw; 0: every core")
    parser.add_argument("--workers", type=int, default=1, help="processes that train together")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from einthoven.record import EcgError
    from einthoven.train.image_default.run import run

    try:
        run(
            options.recipe,
            options.data,
            options.out,
            test=options.test,
            looks=options.looks,
            jobs=options.jobs,
            workers=options.workers,
        )
    except EcgError as fault:
        raise SystemExit(f"error: {fault}") from fault


if __name__ == "__main__":
    main()
