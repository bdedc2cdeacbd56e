"""Do explanations of a model point to where the difference is? The pointing game on simulated ECGs, and randomised weights.

    python bench/pointing.py BUNDLE [--label STEMI] [--condition stemi_inferior] [--ecgs 24]

For each method: how often the strongest place of the map lies in the waves and leads that make the condition (Wilson's 95 %
interval), how often a map that knows nothing would, and the rank correlation of the map with that of the same network with
its weights shuffled. The simulated ECGs are of seeds that no recipe trains on (from 900000).
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from einthoven.exchange.predict import Predictor
from einthoven.explain import METHODS, explain
from einthoven.explain.checks import CONDITIONS, chance, points, randomised, similarity, truth
from einthoven.record import EcgError
from einthoven.synth import Noise, simulate

FIRST_SEED = 900_000


def wilson(hits: int, n: int) -> tuple[float, float]:
    z = 1.96
    p, d = hits / n, 1 + z**2 / n
    middle, half = (p + z**2 / (2 * n)) / d, z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / d
    return float(middle - half), float(middle + half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--label", default=None)
    parser.add_argument("--condition", default="stemi_inferior", choices=CONDITIONS)
    parser.add_argument("--ecgs", type=int, default=24)
    given = parser.parse_args()
    leads, waves = CONDITIONS[given.condition]
    predictor = Predictor.load(given.bundle)
    noise = Noise(wander=0.05, muscle=0.01)
    sims = [simulate(given.condition, noise=noise, seed=FIRST_SEED + i) for i in range(given.ecgs)]
    print(f"{predictor.manifest.name}, {given.condition}: {', '.join(waves)} of {', '.join(leads)}; {given.ecgs} ECGs\n")
    print("| method | points right | 95 % interval | by chance | like that of shuffled weights |\n|---|---|---|---|---|")
    for method in METHODS:
        try:
            hits, by_chance, alike = [], [], []
            for i, sim in enumerate(sims):
                record = replace(sim.record, statements=())
                made = explain(record, predictor, given.label, method)
                right = truth(made, sim.beats, leads, waves)
                hits.append(points(made, right))
                by_chance.append(chance(right))
                if method != "occlusion" and i < 4:
                    alike.append(similarity(made.values, of_shuffled(predictor, record, given.label, method)))
        except EcgError as fault:
            print(f"| {method} | {fault.what} | | | |")
            continue
        low, high = wilson(sum(hits), len(hits))
        like = f"{np.mean(alike):+.2f}" if alike else ""
        print(f"| {method} | {np.mean(hits):.0%} | {low:.0%} - {high:.0%} | {np.mean(by_chance):.0%} | {like} |", flush=True)


def of_shuffled(predictor: Predictor, record: object, label: str | None, method: str) -> np.ndarray:
    """The map of the same network with shuffled weights, of the same input."""
    import torch

    from einthoven.explain.evidence import evidence
    from einthoven.explain.gradients import label_score
    from einthoven.explain.network import network

    manifest = predictor.manifest
    net = randomised(network(predictor.bundle))
    x = torch.from_numpy(predictor.inputs(record)[0][manifest.signal.name][:1])
    names = manifest.names
    k = names.index(label) if label else max(range(len(names)), key=lambda i: predictor.predict(record).labels[names[i]])
    return evidence(net, x, label_score(k, manifest.task), method).values


if __name__ == "__main__":
    main()
