"""Do explanations of a model point to where the difference is? The pointing game on simulated ECGs, against shuffled weights.

    python bench/pointing.py BUNDLE [--label STEMI] [--condition stemi_inferior] [--ecgs 24] [--methods ...] [--first 900000]
    python bench/pointing.py --write FOLDER [--condition all] [--ecgs 96] --first 700000    ECGs to fine-tune such a model on

A model of pictures sees the ECG as its form prints it; a place is then a point of a printed trace, and chance counts printed
places alone. "all" as condition is the three territories of STEMI, together.

For each method: how often the strongest place of the map lies in the waves and leads that make the condition (with Wilson's
95 % interval); how often the same method does on the same ECGs when the network's weights are shuffled, anew for each ECG (a
place that stands out in the ECG is pointed to by a network that knows nothing, too); how often a place drawn at random does;
and the rank correlation of the map with that of shuffled weights. The ECGs are of seeds that no recipe trains on (from 900000).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from einthoven.beats.delineate import delineate
from einthoven.exchange.predict import Predictor
from einthoven.explain import METHODS, Explanation, explain
from einthoven.explain.checks import CONDITIONS, chance, points, randomised, similarity, truth
from einthoven.explain.occlusion import by_lead_and_wave, score_of
from einthoven.io import write
from einthoven.record import EcgError, Record
from einthoven.synth import Noise, Simulation, simulate

FIRST_SEED = 900_000
PARTS = "parts"  # of a picture, as einthoven.explain.photo paints over a photo whose leads nobody knows
NOISE = Noise(wander=0.05, muscle=0.01)
STEMI = ("stemi_inferior", "stemi_anterior", "stemi_lateral")


def wilson(hits: int, n: int) -> tuple[float, float]:
    z = 1.96
    p, d = hits / n, 1 + z**2 / n
    middle, half = (p + z**2 / (2 * n)) / d, z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / d
    return float(middle - half), float(middle + half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--write", type=Path, default=None, help="write records and labels.csv (STEMI, normal) here instead")
    parser.add_argument("--label", default=None)
    parser.add_argument("--condition", default="stemi_inferior", choices=(*CONDITIONS, "all"))
    parser.add_argument("--ecgs", type=int, default=24, help="of each condition")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=(*METHODS, PARTS))
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first ECG")
    given = parser.parse_args()
    conditions = STEMI if given.condition == "all" else (given.condition,)
    if given.write is not None:
        write_set(given.write, conditions, given.ecgs, given.first)
        return
    if given.bundle is None:
        parser.error("a BUNDLE to play with, or --write FOLDER")
    predictor = Predictor.load(given.bundle)
    sims = [(simulate(c, noise=NOISE, seed=given.first + i), CONDITIONS[c]) for c in conditions for i in range(given.ecgs)]
    game = play if predictor.manifest.image is None else play_image
    for c in conditions:
        leads, waves = CONDITIONS[c]
        print(f"{predictor.manifest.name}, {c}: {', '.join(waves)} of {', '.join(leads)}; {given.ecgs} ECGs")
    print()
    print(
        "| method | points right | 95 % interval | shuffled | at random | like the map of shuffled |\n|---|---|---|---|---|---|"
    )
    for method in given.methods:
        try:
            rows = [game(predictor, sim, given.label, method, *where, seed) for seed, (sim, where) in enumerate(sims)]
        except EcgError as fault:
            print(f"| {method} | {fault.what} | | | | |")
            continue
        hits, others, by_chance, alike = (np.array(column) for column in zip(*rows, strict=True))
        low, high = wilson(int(hits.sum()), len(hits))
        like = "" if method == "occlusion" else f"{alike.mean():+.2f}"
        figures = f"{hits.mean():.0%} | {low:.0%} - {high:.0%} | {others.mean():.0%} | {by_chance.mean():.0%} | {like}"
        print(f"| {method} | {figures} |", flush=True)


def write_set(folder: Path, conditions: Sequence[str], n: int, first: int) -> None:
    """n simulated ECGs of each condition, labelled STEMI, and as many normal ones, each of a seed of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file_name,label"]
    for k, (condition, label) in enumerate([*(((c,), "STEMI") for c in conditions), *(((), "normal") for _ in conditions)]):
        for i in range(n):
            seed = first + k * n + i
            write(simulate(*condition, noise=NOISE, seed=seed).record, folder / f"{seed}.hea")
            rows.append(f"{seed}.hea,{label}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def play(
    predictor: Predictor,
    sim: Simulation,
    label: str | None,
    method: str,
    leads: tuple[str, ...],
    waves: tuple[str, ...],
    seed: int,
) -> tuple[bool, bool, float, float]:
    """One ECG: does the map point right, does that of shuffled weights, how often chance does; likeness of the two maps."""
    record = replace(sim.record, statements=())
    made = explain(record, predictor, label, method)
    right = truth(made, sim.beats, leads, waves)
    k = predictor.manifest.names.index(made.label)
    other = of_shuffled(predictor, record, k, method, made, seed)
    return points(made, right), points(other, right), chance(right), similarity(made.values, other.values)


def play_image(
    predictor: Predictor,
    sim: Simulation,
    label: str | None,
    method: str,
    leads: tuple[str, ...],
    waves: tuple[str, ...],
    seed: int,
) -> tuple[bool, bool, float, float]:
    """As `play`, of a model that sees the ECG as it is printed."""
    from einthoven.explain.ecg import explain_image
    from einthoven.explain.network import network
    from einthoven.explain.overlay import on_page

    manifest, record = predictor.manifest, replace(sim.record, statements=())
    if manifest.image is None:
        raise EcgError(f"{manifest.name} sees no pictures")
    form = manifest.image.as_form()
    told = predictor.predict(record).labels
    if label is not None and label not in told:
        raise EcgError(f"the model has no label {label} (it has: {', '.join(told)})")
    k = manifest.names.index(label or max(told, key=told.__getitem__))
    net = network(predictor.bundle)
    other_net = randomised(net, seed)
    if method == PARTS:
        made, seen = by_parts(record, net, form, k, manifest.task)
        other, _ = by_parts(record, other_net, form, k, manifest.task)
    else:
        made, seen = explain_image(record, net, form, k, method, task=manifest.task, beats=sim.beats)
        other, _ = explain_image(record, other_net, form, k, method, task=manifest.task, beats=sim.beats)
    right = truth(made, sim.beats, leads, waves)
    everywhere = np.ones(seen.picture.shape[:2])
    printed = on_page(everywhere, seen.page, made.leads, made.fs, made.values.shape[1])[0] > 0
    return points(made, right), points(other, right), chance(right[printed]), similarity(made.values, other.values)


def by_parts(record: Record, net: Any, form: Any, k: int, task: str) -> tuple[Explanation, Any]:
    """The whole picture in parts, mapped to (lead, time); the strongest place is the middle of the strongest part's trace."""
    import torch

    from einthoven.explain.explanation import Pictured, heat_of, shares
    from einthoven.explain.overlay import on_page
    from einthoven.explain.photo import without_parts
    from einthoven.represent import images

    picture, page = images.draw(form, record)

    def score(pictures: Any) -> Any:
        with torch.no_grad():
            parts = [net(torch.from_numpy(images.scaled(form, pictures[i : i + 8]))).logits for i in range(0, len(pictures), 8)]
        return score_of(torch.cat(parts).numpy(), k, task)

    whole, values, _ = without_parts(score, picture)
    leads, fs = tuple(dict.fromkeys(strip.lead for strip in page.strips)), 250.0
    smooth = gaussian_filter(values, min(values.shape) / 24)
    made, _ = on_page(smooth, page, leads, fs, round(record.duration * fs))
    none = np.zeros(made.shape, np.uint8)
    told = Explanation(PARTS, "", "", leads, fs, 0.0, made, heat_of(made, fs), whole, 0.0, shares(made, none, leads))
    return told, Pictured(picture, page, values)


def of_shuffled(predictor: Predictor, record: Record, k: int, method: str, made: Explanation, seed: int) -> Explanation:
    """The same explanation of the same network with shuffled weights."""
    import torch

    from einthoven.explain.evidence import evidence
    from einthoven.explain.gradients import label_score
    from einthoven.explain.network import network

    manifest = predictor.manifest
    net = randomised(network(predictor.bundle), seed)
    if method == "occlusion":

        def score(records: Sequence[Record]) -> np.ndarray:
            x = np.concatenate([predictor.inputs(one)[0][manifest.signal.name] for one in records])
            with torch.no_grad():
                return score_of(net(torch.from_numpy(x)).logits.numpy(), k, manifest.task)

        effects = by_lead_and_wave(score, record, delineate(record), made.leads)
        return replace(made, values=effects.values, heat=effects.heat)
    x = torch.from_numpy(predictor.inputs(record)[0][manifest.signal.name][:1])
    found = evidence(net, x, label_score(k, manifest.task), method)
    return replace(made, values=found.values, heat=found.heat(made.fs))


if __name__ == "__main__":
    main()
