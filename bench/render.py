"""Pages of ECG per CPU second: einthoven.paper against ecg_plot, side by side in one run.

    python bench/render.py [--pages 40] [--theirs 3]

Both draw the same 10 s 12-lead records on paper at 200 dpi and compress them to PNG: ours 2200 x 1700, ecg_plot the size that
it chooses. Process time of one process with one thread. Without ecg_plot the bench says so and prints our figures alone.
"""

# ruff: noqa: E402  (threads are limited before numpy is imported)
from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from einthoven.paper.render import png_bytes, render, render_png
from einthoven.record import Record
from einthoven.synth import simulate


def pages_per_second(work: Callable[[int], object], pages: int, passes: int = 3) -> tuple[float, float]:
    """(per CPU second, per second) of the best of some passes."""
    cpu, wall = [], []
    for _ in range(passes):
        a, b = time.process_time(), time.perf_counter()
        for i in range(pages):
            work(i)
        cpu.append(time.process_time() - a)
        wall.append(time.perf_counter() - b)
    return pages / min(cpu), pages / min(wall)


def theirs(records: list[Record], folder: Path) -> Callable[[int], object] | None:
    """ecg_plot's page as PNG at 200 dpi; None where it is not installed."""
    try:
        import ecg_plot
    except ImportError:
        return None

    def work(i: int) -> object:
        record = records[i % len(records)]
        chart = ecg_plot.plot(record.signal.astype(float), sample_rate=record.fs, lead_names=list(record.leads))
        return chart.save(folder / "peer.png", dpi=200)

    return work


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--theirs", type=int, default=3)
    args = parser.parse_args()

    records = [simulate(rate=60 + 5 * i, seed=i, noise=20.0).record for i in range(8)]
    slow = [Record(r.signal[:, ::5].copy(), r.fs / 5, r.leads) for r in records]  # for the clock only, not for the eye
    print(f"{records[0]!r}, {np.__name__} {np.__version__}, Python {sys.version.split()[0]}")
    figures: dict[str, float] = {}

    def array_and_png(i: int) -> bytes:
        image, page = render(records[i % 8])
        return png_bytes(image, page.dpi)

    rows: list[tuple[str, Callable[[int], object]]] = [
        ("ours, page and PNG", lambda i: render_png(records[i % 8])[0]),
        ("ours, page and PNG, 100 Hz", lambda i: render_png(slow[i % 8])[0]),
        ("ours, RGB array", lambda i: render(records[i % 8])[0]),
        ("ours, RGB array, then PNG of it", array_and_png),
        ("ours, page and PNG, 12x1", lambda i: render_png(records[i % 8], layout="12x1")[0]),
    ]
    for name, work in rows:
        work(0)
        figures[name], wall = pages_per_second(work, args.pages)
        print(f"{name:<36}{figures[name]:8.1f} pages per CPU second {wall:8.1f} per second")
    ours = figures["ours, page and PNG"]
    print(f"a PNG has {len(render_png(records[0])[0]) / 1000:.0f} kB")

    with tempfile.TemporaryDirectory() as folder:
        work = theirs(records, Path(folder))
        if work is None:
            print("ecg_plot is not installed (pip install 'ecg_plot[export]'): no comparison")
        else:
            work(0)
            peer, wall = pages_per_second(work, args.theirs, passes=2)
            print(f"{'ecg_plot, page and PNG':<36}{peer:8.2f} pages per CPU second {wall:8.2f} per second")
            print(f"ratio {ours / peer:.0f} (to be >= 30)")
    print("30 pages a second and core:", "yes" if ours >= 30 else "NO")
    return 0 if ours >= 30 else 1


if __name__ == "__main__":
    raise SystemExit(main())
