"""How near digitised pages come to their records: SNR by kind of picture, what confidence is worth, intervals, time and memory.

    python bench/digitise.py [--pages 24] [--presets pdf,clean,scan,photo,screen,fax,old-paper] [--seed 9500000] [--skip 60]
                             [--ptbxl FOLDER] [--show 0] [--json FILE]
    python bench/digitise.py --table FILE...      the table of docs/accuracy.md out of such files; confidence is that of the
                                                  weights shipped now, by the signs that the files hold

Half of the pages are of simulated ECGs whose seeds nothing else uses, half of PTB-XL's fold 9 (subset, 500 Hz where it is
there; the first `--skip` records were looked at in development), in the layouts, palettes and sizes that
`einthoven.paper.render` has, then distorted by a preset. SNR is 10 log10(sum x^2 / sum (x - found)^2), each lead aligned
best, mean over the leads that were found; a page on which fewer than 12 leads are found counts against the share. Intervals:
the middle 95 % of 500 draws of pages with replacement. One process; time is CPU time.
"""

# ruff: noqa: E402  (threads are limited before numpy is imported)
from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import cv2
import numpy as np

from einthoven.beats.measure import measure
from einthoven.paper.digitise import digitize
from einthoven.paper.digitise.confidence import probability
from einthoven.paper.digitise.digitised import lead_signs
from einthoven.paper.digitise.snr import snr_db
from einthoven.paper.distort import distort
from einthoven.paper.render import draw, prepare
from einthoven.paper.vector import to_pdf
from einthoven.record import EcgError, Record

FIRST_SEED = 9_500_000
DRAWS = 500
NOISE_DB = 25.0  # of the simulated records: what is faster than the print can show is no fault of the reader
BARS = {"pdf": 40.0, "clean": 28.0, "scan": 20.0, "photo": 15.0}
INTERVALS = {"pr_ms": 10.0, "qrs_ms": 10.0, "qt_ms": 15.0}  # bars of issue 4, clean pages
MARKS = "12.15 dB (Challenge 2024's winner, scans), 17.0 (its cross-validation), 19.65 (Open-ECG-Digitizer, hospital scans)"


def records(count: int, folder: Path | None, first: int, skip: int) -> Iterator[tuple[str, Record]]:
    """(name, record): simulated, and of PTB-XL's fold 9 where the folder is there, in turns."""
    from einthoven.synth import random_simulation

    real = _fold_9(folder, skip) if folder else iter(())
    for k in range(count):
        found = next(real, None) if k % 2 else None
        rng = np.random.default_rng(first + k)
        yield found or (f"seed {first + k}", random_simulation(rng, noise=NOISE_DB).record)


def _fold_9(folder: Path, skip: int) -> Iterator[tuple[str, Record]]:
    from einthoven.data import load

    index = load(folder)
    rows = np.flatnonzero(np.asarray(index.column("fold")) == 9)
    for i in rows[skip:]:
        record = index.record(int(i))
        if record.duration >= 9.9 and np.isfinite(record.signal).all():
            yield str(index.column("record")[int(i)]), record


def look(seed: int) -> tuple[dict[str, object], str]:
    """Layout, size and palette of a page."""
    rng = np.random.default_rng(seed)
    layout = str(rng.choice(["3x4+1", "3x4+1", "3x4+1", "3x4", "3x4+3", "6x2", "12x1"]))
    palette = str(rng.choice(["pink", "pink", "red", "blue", "green", "brown", "grey", "bw"]))
    return {"layout": layout, "size": str(rng.choice(["letter", "a4"]))}, palette


def lead_is_there(record: Record, lead: str) -> bool:
    return bool(np.nanstd(record.lead(lead)) > 0.005)


def read_page(record: Record, preset: str, seed: int) -> dict[str, Any]:
    """What came of one page: SNR and confidence by lead, whether all leads are there, differences of intervals, CPU s."""
    options, palette = look(seed)
    page = prepare(record, **options)  # type: ignore[arg-type]
    source: bytes | np.ndarray
    if preset == "pdf":
        source = to_pdf(record, page, palette=palette)
    else:
        source = draw(record, page, palette=palette).rgb()
        if preset != "clean":
            source, _ = distort(source, page, preset, seed=seed)
    out: dict[str, Any] = {"preset": preset, "layout": options["layout"], "palette": palette}
    begun = time.process_time()
    try:
        found = digitize(source)
    except EcgError as fault:
        return {**out, "fault": str(fault), "cpu_s": time.process_time() - begun}
    out["cpu_s"] = time.process_time() - begun
    snr = {lead: v for lead, v in snr_db(record, found.record).items() if np.isfinite(v)}
    out |= {"as": found.page.layout, "snr": snr, "mean": float(np.mean(list(snr.values()))) if snr else float("nan")}
    out["sure"] = {lead: found.confidence[lead] for lead in snr}
    signs = lead_signs(found.record, found.traces)
    out["signs"] = {lead: {k: round(v, 5) for k, v in signs[lead].items()} for lead in snr if lead in signs}
    out["whole"] = len(snr) >= sum(lead_is_there(record, lead) for lead in record.leads)
    if preset == "clean":
        truth, mine = measure(record), measure(found.record)
        out["intervals"] = {name: float(abs(truth[name] - mine[name])) for name in INTERVALS}
    return out


Pages = Sequence[dict[str, Any]]


def drawn(pages: Pages, value: Callable[[Pages], float]) -> tuple[float, float, float]:
    """A figure of pages, with the middle 95 % of DRAWS draws of pages with replacement."""
    rng = np.random.default_rng(0)
    if not pages:
        return (float("nan"),) * 3
    values = [value([pages[i] for i in rng.integers(0, len(pages), len(pages))]) for _ in range(DRAWS)]
    low, high = np.nanpercentile(values, (2.5, 97.5))
    return value(pages), float(low), float(high)


def mean_snr(pages: Pages) -> float:
    return float(np.mean([p["mean"] for p in pages if "mean" in p] or [np.nan]))


def whole(pages: Pages) -> float:
    return 100 * float(np.mean([bool(p.get("whole")) for p in pages]))


def rank_correlation(pages: Pages) -> float:
    """Spearman's, of the leads' confidence and SNR."""
    pairs = np.array([(p["sure"][lead], p["snr"][lead]) for p in pages if "snr" in p for lead in p["snr"]]).reshape(-1, 2)
    if len(pairs) < 3 or np.ptp(pairs, axis=0).min() == 0:
        return float("nan")
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(pairs[:, 0]), rankdata(pairs[:, 1]))[0, 1])


def table(pages: Pages) -> list[str]:
    """The figures as a Markdown table, and the lines under it."""
    out = [
        "| pages | n | SNR, dB | median | worst tenth | all 12 leads, % | refused | confidence and SNR, rank correlation | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    missed = []
    for preset in dict.fromkeys(p["preset"] for p in pages):
        mine = [p for p in pages if p["preset"] == preset]
        means = [p["mean"] for p in mine if "mean" in p]
        snr, share, rank = (drawn(mine, f) for f in (mean_snr, whole, rank_correlation))
        bar = f" (bar {BARS[preset]:g})" if preset in BARS else ""
        out.append(
            f"| {preset}{bar} | {len(mine)} | {snr[0]:.1f} ({snr[1]:.1f} - {snr[2]:.1f}) | {np.nanmedian(means):.1f} | "
            f"{np.nanpercentile(means, 10):.1f} | {share[0]:.0f} ({share[1]:.0f} - {share[2]:.0f}) | "
            f"{sum('fault' in p for p in mine)} | {rank[0]:.2f} ({rank[1]:.2f} - {rank[2]:.2f}) | "
            f"{np.mean([p['cpu_s'] for p in mine]):.1f} |"
        )
        if preset in BARS and (snr[0] < BARS[preset] or share[0] < 95):
            missed.append(preset)
    images = [p for p in pages if p["preset"] != "pdf"]
    rank = drawn(images, rank_correlation)
    out += ["", f"Confidence and SNR over all images: rank correlation {rank[0]:.2f} ({rank[1]:.2f} - {rank[2]:.2f})."]
    clean = [p for p in pages if "intervals" in p]
    for name, most in INTERVALS.items() if clean else ():
        figure = drawn(clean, lambda some, name=name: float(np.nanmedian([p["intervals"][name] for p in some])))
        known = sum(np.isfinite(p["intervals"][name]) for p in clean)
        out.append(
            f"{name} of the page against the signal's, clean: median absolute difference {figure[0]:.1f} ({figure[1]:.1f} - "
            f"{figure[2]:.1f}) ms in the {known} of {len(clean)} where both are measured; bar {most:g}."
        )
        if figure[0] > most:
            missed.append(name)
    out.append(f"Marks to beat, on other people's data: {MARKS}.")
    out.append("Bars: " + (f"missed by {', '.join(missed)}" if missed else "met") + ".")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pages", type=int, default=24)
    parser.add_argument("--presets", default="pdf,clean,scan,photo,screen,fax,old-paper")
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--skip", type=int, default=60)
    parser.add_argument("--ptbxl", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data" / "ptbxl")
    parser.add_argument("--show", type=float, default=-99.0, help="name pages whose SNR is below this")
    parser.add_argument("--json", type=Path, help="a line a page, added")
    parser.add_argument("--table", type=Path, nargs="+", help="print the table of such files")
    args = parser.parse_args()
    pages: list[dict[str, Any]] = []
    if args.table:
        pages = [json.loads(line) for path in args.table for line in path.read_text().splitlines()]
        for page in pages:
            if page.get("signs"):
                page["sure"] = {lead: probability(signs) for lead, signs in page["signs"].items()}
    else:
        for k, (name, record) in enumerate(
            records(args.pages, args.ptbxl if args.ptbxl.is_dir() else None, args.seed, args.skip)
        ):
            for preset in args.presets.split(","):
                page = {"page": k, "name": name, **read_page(record, preset, args.seed + k)}
                pages.append(page)
                if page.get("mean", -98.0) < args.show:
                    told = page.get("fault") or f"{page['mean']:.1f} dB as {page['as']}; {page['snr']}"
                    print(f"  {preset} {k} {name} {page['layout']} {page['palette']}: {told}", flush=True)
                if args.json:
                    with args.json.open("a") as out:
                        out.write(json.dumps(page) + "\n")
        pages.sort(key=lambda p: args.presets.split(",").index(p["preset"]))
    lines = table(pages)
    print("\n".join(lines))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory {peak:.0f} MB; OpenCV {cv2.__version__}, {cv2.getNumThreads()} threads")
    return 0 if lines[-1] == "Bars: met." else 1


if __name__ == "__main__":
    raise SystemExit(main())
