"""python -m einthoven.train.default recipes/default.yaml --data PTBXL -o OUT [--test] [--threads 2]

Without --test: out-of-fold figures of the training folds, by which everything is chosen. With it: the members trained on all
training folds, one look at the test folds, and the Bundle OUT/<name>. What OUT has already is not trained again.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m einthoven.train.default", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="PTB-XL in its official layout, whole or a part of it")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument(
        "--test", action="store_true", help="train on all training folds, look at the test folds, write the Bundle"
    )
    parser.add_argument("--looks", type=int, default=1, help="how often the test folds have been looked at, this time included")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: every core")
    options = parser.parse_args()
    # Processes share the cores out; threads inside them would fight over them (set before numpy's libraries start).
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from einthoven.record import EcgError
    from einthoven.train.default.run import run

    try:
        run(options.recipe, options.data, options.out, test=options.test, looks=options.looks, jobs=options.jobs)
    except EcgError as fault:
        raise SystemExit(f"error: {fault}") from fault


if __name__ == "__main__":
    main()
