"""How near digitised pages come to their records: SNR by kind of picture, with time and memory.

    python bench/digitise.py [--pages 24] [--presets pdf,clean,scan,photo,screen,fax,old-paper] [--ptbxl FOLDER] [--show 0]

Half of the pages are of simulated ECGs whose seeds nothing else uses (from 9,000,000), half of PTB-XL's fold 9 (subset, 500 Hz
where it is there), in the layouts, palettes and sizes that `einthoven.paper.render` has, then distorted by a preset. SNR is
10 log10(sum x^2 / sum (x - found)^2), each lead aligned best, mean over the leads that were found; a page on which fewer than
12 leads are found counts against the share. One process; time is CPU time.
"""

# ruff: noqa: E402  (threads are limited before numpy is imported)
from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import cv2
import numpy as np

from einthoven.paper.digitise import digitize
from einthoven.paper.digitise.snr import snr_db
from einthoven.paper.distort import distort
from einthoven.paper.render import draw, prepare
from einthoven.paper.vector import to_pdf
from einthoven.record import EcgError, Record

FIRST_SEED = 9_000_000
NOISE_DB = 25.0  # of the simulated records: what is faster than the print can show is no fault of the reader
BARS = {"pdf": 40.0, "clean": 28.0, "scan": 20.0, "photo": 15.0}


def records(count: int, folder: Path | None) -> Iterator[tuple[str, Record]]:
    """(name, record): simulated, and of PTB-XL's fold 9 where the folder is there, in turns."""
    from einthoven.synth import random_simulation

    real = _fold_9(folder) if folder else iter(())
    for k in range(count):
        found = next(real, None) if k % 2 else None
        rng = np.random.default_rng(FIRST_SEED + k)
        yield found or (f"seed {FIRST_SEED + k}", random_simulation(rng, noise=NOISE_DB).record)


def _fold_9(folder: Path) -> Iterator[tuple[str, Record]]:
    from einthoven.data import load

    index = load(folder)
    rows = np.flatnonzero(np.asarray(index.column("fold")) == 9)
    for i in rows[:: max(len(rows) // 400, 1)]:
        record = index.record(int(i))
        if record.duration >= 9.9 and np.isfinite(record.signal).all():
            yield str(index.column("record")[int(i)]), record


def look(k: int) -> tuple[dict[str, object], str]:
    """Layout, size and palette of page k."""
    rng = np.random.default_rng(FIRST_SEED + k)
    layout = str(rng.choice(["3x4+1", "3x4+1", "3x4+1", "3x4", "3x4+3", "6x2", "12x1"]))
    palette = str(rng.choice(["pink", "pink", "red", "blue", "green", "brown", "grey", "bw"]))
    return {"layout": layout, "size": str(rng.choice(["letter", "a4"]))}, palette


def lead_is_there(record: Record, lead: str) -> bool:
    return bool(np.nanstd(record.lead(lead)) > 0.005)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pages", type=int, default=24)
    parser.add_argument("--presets", default="pdf,clean,scan,photo,screen,fax,old-paper")
    parser.add_argument("--ptbxl", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "ptbxl")
    parser.add_argument("--show", type=float, default=-99.0, help="name pages whose SNR is below this")
    args = parser.parse_args()
    pages = list(records(args.pages, args.ptbxl if args.ptbxl.is_dir() else None))
    print(
        f"{'preset':<10}{'mean dB':>9}{'median':>8}{'10 %':>8}{'12 leads':>10}{'refused':>9}{'CPU s':>8}{'most':>7}"
        f"   ({len(pages)} pages)"
    )
    missed = []
    for preset in args.presets.split(","):
        means, times, whole, refused = [], [], 0, 0
        for k, (name, record) in enumerate(pages):
            options, palette = look(k)
            page = prepare(record, **options)  # type: ignore[arg-type]
            source: bytes | np.ndarray
            if preset == "pdf":
                source = to_pdf(record, page, palette=palette)
            else:
                source = draw(record, page, palette=palette).rgb()
                if preset != "clean":
                    source, _ = distort(source, page, preset, seed=FIRST_SEED + k)
            begun = time.process_time()
            try:
                found = digitize(source)
                snr = snr_db(record, found.record)
            except EcgError as fault:
                refused += 1
                if args.show > -99:
                    print(f"  {preset} {k} {name} {options['layout']} {palette}: {fault}")
                continue
            finally:
                times.append(time.process_time() - begun)
            values = np.array([v for v in snr.values() if np.isfinite(v)])
            mean = float(values.mean()) if len(values) else float("nan")
            means.append(mean)
            whole += len(values) >= sum(lead_is_there(record, lead) for lead in record.leads)
            if mean < args.show or (args.show > -99 and len(values) < 11):
                each = " ".join(f"{lead}:{v:.0f}" for lead, v in snr.items())
                print(f"  {preset} {k} {name} {options['layout']} {palette}: {mean:.1f} dB as {found.page.layout}; {each}")
        got = np.array(means)
        print(
            f"{preset:<10}{np.nanmean(got):9.1f}{np.nanmedian(got):8.1f}{np.nanpercentile(got, 10):8.1f}"
            f"{100 * whole / len(pages):9.0f}%{refused:9d}{np.mean(times):8.2f}{np.max(times):7.2f}"
        )
        if preset in BARS and (np.nanmean(got) < BARS[preset] or whole < 0.95 * len(pages)):
            missed.append(preset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory {peak:.0f} MB; OpenCV {cv2.__version__}, {cv2.getNumThreads()} threads")
    print(
        "bars "
        + ", ".join(f"{k} {v:g} dB" for k, v in BARS.items())
        + ": "
        + (f"missed by {', '.join(missed)}" if missed else "met")
    )
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
