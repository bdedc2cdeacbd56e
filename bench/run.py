"""All side-by-side speed benchmarks, each in a process of its own, and one table at the end.

    python bench/run.py              # what `make bench` does
    python bench/run.py read render  # only these

A benchmark prints one line per case: `case   ours   peer   ratio N`, each amount with its unit (records/s, ms/record).
Exit code 1 if one fails; the others run all the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LINE = re.compile(r"(\S.*?) {2,}(einthoven .*?\S/\S+) {2,}(\S.*?/\S+) +ratio +([\d.,]+)")
SPEED = ("read", "delineate", "render", "tuning")


def main() -> int:
    wanted = sys.argv[1:] or [name for name in SPEED if (HERE / f"{name}.py").exists()]
    unknown = [name for name in wanted if not (HERE / f"{name}.py").exists()]
    if unknown:
        print(f"no benchmark {', '.join(unknown)} in {HERE}", file=sys.stderr)
        return 2
    single = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    rows: list[tuple[str, ...]] = []
    failed = []
    for name in wanted:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, HERE / f"{name}.py"], env=os.environ | single, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="", flush=True)
        if done.returncode:
            failed.append(name)
        for line in done.stdout.splitlines():
            if case := LINE.match(line):
                rows.append((name, *(" ".join(part.split()) for part in case.groups())))
            elif bare := re.match(r"ratio +([\d.,]+)", line):  # its amounts stand in the lines above
                rows.append((name, "", "", "", bare[1]))
    if rows:
        table = [("benchmark", "case", "this package", "peer", "ratio"), *rows]
        widths = [max(len(row[i]) for row in table) for i in range(5)]
        print()
        for row in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
