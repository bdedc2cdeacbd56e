"""How sure a lead is: signs of trouble where trouble was made, and weights that say what they were taught."""

from __future__ import annotations

import numpy as np

from einthoven.paper.digitise.confidence import SIGNS, decibels, probability, signs_of
from einthoven.paper.digitise.follow import find_runs
from einthoven.paper.digitise.lattice import Field
from einthoven.train.trace_confidence import fit, left_out, rank_correlation


def signs(ink: Field) -> dict[str, float]:
    runs = find_runs(ink, np.zeros(ink.shape, np.uint8))
    y, pen, misfit, path = runs.traced(80.0, 300.0, 0, ink.shape[1], 1.5, others=np.zeros(1))
    return signs_of(runs, path, 0, y, pen, misfit)


def stroke() -> Field:
    """A wave of 5 mm's height, 3 pixels thick."""
    ink = np.zeros((160, 400), np.float32)
    y = np.round(80 + 20 * np.sin(np.arange(400) / 25)).astype(int)
    for down in (-1, 0, 1):
        ink[y + down, np.arange(400)] = 1
    return ink


def test_signs_are_where_trouble_is() -> None:
    plain = signs(stroke())
    assert plain["missing"] == plain["jumps"] == plain["crowd"] == plain["thick"] == 0
    gap = stroke()
    gap[:, 100:140] = 0
    assert round(signs(gap)["missing"], 6) == 0.1
    other = stroke()
    other[100:103, 150:250] = np.maximum(other[100:103, 150:250], 1)
    assert 0.1 < signs(other)["crowd"] + signs(other)["thick"] < 0.3
    rng = np.random.default_rng(0)
    rough = np.zeros((160, 400), np.float32)
    for x in range(400):
        at = round(80 + 20 * np.sin(x / 25) + rng.normal(0, 3))
        rough[at - 1 : at + 2, x] = 1
    assert signs(rough)["rough"] > plain["rough"] + 0.3


def test_the_weights_say_what_they_were_taught() -> None:
    """dB that fall by 4 with each standard deviation of one sign: found again, and of pages left out, too."""
    rng = np.random.default_rng(1)
    table = []
    for _ in range(40):
        page = []
        for _ in range(12):
            z = float(rng.normal())
            page.append(({"misfit": 0.5 + 0.2 * z, "crowd": float(rng.random())}, 15 - 4 * z + float(rng.normal(0, 1))))
        table.append(page)
    weights = fit([lead for page in table for lead in page])
    assert weights["signs"] == list(SIGNS)
    assert abs(weights["weights"][SIGNS.index("misfit")][0] + 4) < 0.5
    assert abs(decibels({"misfit": 0.5, "crowd": 0.5}, weights) - 15) < 1
    pairs = [pair for page in left_out(table) for pair in page]
    assert rank_correlation(pairs) > 0.9
    # Five of six of those that are said to be sure are 10 dB or better, and few of those that are not.
    sure = np.array([p for p, _ in pairs])
    good = np.array([db >= 10 for _, db in pairs])
    assert good[sure > 0.9].mean() > 0.85 and good[sure < 0.1].mean() < 0.15
    assert abs(sure.mean() - good.mean()) < 0.03


def test_what_is_not_known_says_as_much_as_the_mean() -> None:
    from einthoven.paper.digitise.confidence import _weights

    mean = dict(zip(_weights()["signs"], _weights()["mean"], strict=True))
    assert abs(probability({}) * (1 - mean["missing"]) - probability(mean)) < 1e-6
    assert probability({**mean, "missing": 1.0, "misfit": 3.0}) < probability({**mean, "missing": 0.0, "misfit": 0.1})
