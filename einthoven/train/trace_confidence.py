"""Learns what the signs along a digitised trace say of its SNR: einthoven/paper/digitise/confidence.json.

    python -m einthoven.train.trace_confidence --pages 12 --ptbxl FOLDER --out runs/confidence

Draws pages of simulated ECGs (seeds from 6,000,000) and of PTB-XL's folds 1 to 8, distorts them by each preset, digitises them,
and keeps for each lead its signs (`paper.digitise.confidence.SIGNS`) and its SNR; a line a page in OUT/pages.jsonl, gone on
with where it was left. Then a ridge regression of dB on signs and their squares, and a logistic curve from dB to the
probability of 10 dB. Rank correlation and Brier score are printed of ECGs left out (fifths of them), with the middle 95 % of
500 draws of ECGs. recipes/trace-confidence.yaml holds cost and figures.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.digitise.confidence import _CLIP, CURVED, DECIBELS, SIGNS, WEIGHTS, decibels, probability
from einthoven.record import EcgError, Record

Floats = NDArray[np.float64]

FIRST_SEED = 6_000_000
PRESETS = ("clean", "scan", "photo", "screen", "fax", "old-paper")
RANGE = (-5.0, 35.0)  # dB: what is worse or better is not told apart
_RIDGE = 1.0
_FOLDS = 5
_DRAWS = 500


def pages(count: int, folder: Path | None, first: int) -> Iterator[tuple[int, Record]]:
    """(seed, record), simulated and of PTB-XL's folds 1 to 8 in turns."""
    from einthoven.synth import random_simulation

    index: Any = None
    for seed in range(first, first + count):
        if seed % 2 and folder is not None:
            if index is None:
                from einthoven.data import load

                index = load(folder)
            rows = np.flatnonzero(np.asarray(index.column("fold")) <= 8)
            rng = np.random.default_rng([seed, 1])
            while True:
                record = index.record(int(rng.choice(rows)))
                if record.duration >= 9.9 and np.isfinite(record.signal).all():
                    break
            yield seed, record
        else:
            yield seed, random_simulation(np.random.default_rng(seed), noise=25.0).record


def read_page(record: Record, preset: str, seed: int) -> dict[str, Any]:
    """The signs and the SNR of each lead of a record that was drawn, distorted and digitised."""
    from einthoven.paper.digitise import digitize
    from einthoven.paper.digitise.digitised import lead_signs
    from einthoven.paper.digitise.snr import snr_db
    from einthoven.paper.distort import distort
    from einthoven.paper.render import render

    rng = np.random.default_rng([seed, 2])
    layout = str(rng.choice(["3x4+1", "3x4+1", "3x4+1", "3x4", "3x4+3", "6x2", "12x1"]))
    palette = str(rng.choice(["pink", "pink", "red", "blue", "green", "brown", "grey", "bw"]))
    image, page = render(record, palette=palette, layout=layout, size=str(rng.choice(["letter", "a4"])))
    if preset != "clean":
        image, _ = distort(image, page, preset, seed=seed)
    out: dict[str, Any] = {"seed": seed, "preset": preset, "layout": layout, "leads": {}}
    try:
        found = digitize(image)
    except EcgError as fault:
        return {**out, "fault": str(fault)}
    snr = snr_db(record, found.record)
    for lead, signs in lead_signs(found.record, found.traces).items():
        if np.isfinite(snr.get(lead, np.nan)):
            out["leads"][lead] = {"snr": round(float(snr[lead]), 3), "signs": {k: round(v, 5) for k, v in signs.items()}}
    return out


def fit(leads: Sequence[tuple[Mapping[str, float], float]]) -> dict[str, Any]:
    """The weights of `confidence.decibels` and `probability` for (signs, dB)."""
    from scipy.optimize import minimize

    table = np.array([[signs.get(name, np.nan) for name in SIGNS] for signs, _ in leads], np.float64)
    known = [column[np.isfinite(column)] for column in table.T]
    mean = np.array([column.mean() if len(column) else 0.0 for column in known])
    scale = np.array([column.std() if len(column) and column.std() > 1e-6 else 1.0 for column in known])
    z = np.clip(np.where(np.isfinite(table), (table - mean) / scale, 0.0), -_CLIP, _CLIP)
    x = np.concatenate([z, (z**2 - 1) * np.array([name in CURVED for name in SIGNS])], axis=1)
    y = np.clip([db for _, db in leads], *RANGE)
    weights = np.linalg.solve(x.T @ x + _RIDGE * len(SIGNS) * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    intercept = float(y.mean() - x.mean(axis=0) @ weights)
    n = len(SIGNS)
    out: dict[str, Any] = {
        "signs": list(SIGNS),
        "mean": [round(float(v), 6) for v in mean],
        "scale": [round(float(v), 6) for v in scale],
        "weights": [[round(float(weights[k]), 6), round(float(weights[n + k]), 6)] for k in range(n)],
        "intercept": round(intercept, 6),
    }
    said = np.array([decibels(signs, out) for signs, _ in leads])
    good = (y >= DECIBELS).astype(np.float64)

    def loss(p: Floats) -> float:
        logit = np.exp(p[0]) * (said - p[1])
        return float(np.mean(np.logaddexp(0, logit) - good * logit))

    slope, middle = minimize(loss, np.array([np.log(0.3), DECIBELS]), method="Nelder-Mead").x
    out["sure"] = {"slope": round(float(np.exp(slope)), 6), "middle": round(float(middle), 6)}
    return out


def left_out(table: Sequence[Sequence[tuple[Mapping[str, float], float]]]) -> list[list[tuple[float, float]]]:
    """(probability, dB) of each lead of each page, by weights that did not see the page."""
    out: list[list[tuple[float, float]]] = [[] for _ in table]
    for k in range(_FOLDS):
        weights = fit([lead for i, page in enumerate(table) if i % _FOLDS != k for lead in page])
        for i in range(k, len(table), _FOLDS):
            out[i] = [(probability(signs, weights), db) for signs, db in table[i]]
    return out


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's."""
    from scipy.stats import rankdata

    a, b = np.array(pairs).T
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pages", type=int, default=12, help="of each preset")
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--ptbxl", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    log = args.out / "pages.jsonl"
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known = {(p["seed"], p["preset"]) for p in done}
    for seed, record in pages(args.pages, args.ptbxl, args.seed):
        for preset in PRESETS:
            if (seed, preset) not in known:
                page = read_page(record, preset, seed)
                done.append(page)
                with log.open("a") as file:
                    file.write(json.dumps(page) + "\n")
    table = [[(lead["signs"], lead["snr"]) for lead in p["leads"].values()] for p in _by_seed(done) if p["leads"]]
    weights = fit([lead for page in table for lead in page])
    draft = args.out / (WEIGHTS + ".part")
    draft.write_text(json.dumps(weights, indent=1) + "\n")
    os.replace(draft, args.out / WEIGHTS)
    asked = left_out(table)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(_DRAWS):
        some = [asked[i] for i in rng.integers(0, len(asked), len(asked))]
        draws.append(rank_correlation([pair for page in some for pair in page]))
    low, high = np.percentile(draws, (2.5, 97.5))
    flat = [pair for page in asked for pair in page]
    good = np.array([db >= DECIBELS for _, db in flat])
    brier = float(np.mean((np.array([p for p, _ in flat]) - good) ** 2))
    drawn = sum(bool(p["leads"]) for p in done)
    print(f"{len(flat)} leads on {drawn} pages of {len(asked)} ECGs, {100 * good.mean():.0f} % {DECIBELS:g} dB or better")
    print(f"left out: rank correlation {rank_correlation(flat):.2f} ({low:.2f} - {high:.2f}), Brier score {brier:.3f}")
    for name, (one, two) in zip(weights["signs"], weights["weights"], strict=True):
        print(f"  {name:8} {one:+.2f} dB a standard deviation, {two:+.2f} its square")
    return 0


def _by_seed(done: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pages of one record become one, so that what is left out was not seen in another picture."""
    out: dict[int, dict[str, Any]] = {}
    for page in done:
        kept = out.setdefault(page["seed"], {"leads": {}})
        kept["leads"] |= {(page["preset"], lead): found for lead, found in page["leads"].items()}
    return list(out.values())


if __name__ == "__main__":
    raise SystemExit(main())
