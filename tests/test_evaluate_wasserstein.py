"""Distances of images against closed forms, SciPy's own, and the assignment they are a case of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance
from typer.testing import CliRunner

from einthoven.cli import app
from einthoven.evaluate.wasserstein import between, distances, ink, levels, mean_of_pairs
from einthoven.record import EcgError
from einthoven.represent.galleries import gallery, texture


def noise(n: int, size: tuple[int, int] = (8, 8), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *size), dtype=np.uint8)


def test_levels_are_scipys_and_the_assignment_of_sorted_pixels() -> None:
    a, b = noise(3), noise(2, (4, 6), 1)
    found = levels(a, b)
    theirs = [[wasserstein_distance(x.ravel(), y.ravel()) for y in b] for x in a]
    np.testing.assert_allclose(found, theirs, rtol=1e-12)
    same = noise(1, seed=2)
    cost = np.abs(a[0].ravel().astype(float)[:, None] - same[0].ravel()[None])
    rows, columns = linear_sum_assignment(cost)
    assert levels(a[:1], same)[0, 0] == pytest.approx(cost[rows, columns].mean(), abs=1e-12)
    # One pixel of 64 goes from 0 to 255: 255 / 64. Where it stands is nothing.
    black = np.zeros((2, 8, 8), np.uint8)
    black[1, 3, 5] = 255
    assert levels(black[:1], black[1:])[0, 0] == pytest.approx(255 / 64)
    assert levels(black[1:], black[1:, ::-1])[0, 0] == 0


def test_ink_is_how_far_it_has_to_move() -> None:
    dot = np.full((3, 10, 20), 255, np.uint8)
    dot[0, 4, 2] = dot[1, 4, 12] = dot[2, 7, 2] = 0
    found = ink(dot, dot)
    # Ten of twenty columns, none of the rows; then three of ten rows.
    np.testing.assert_allclose(found[0], [0, 0.25, 0.15], atol=1e-12)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    # Twice as sharp, it stands in the same place, to within the old pixel.
    assert ink(dot, dot.repeat(2, 1).repeat(2, 2))[0, 0] < 0.05
    with pytest.raises(EcgError, match="no ink"):
        ink(np.full((1, 4, 4), 255, np.uint8), dot)


def test_sets_are_matched_one_to_one() -> None:
    a = np.stack([np.full((4, 4), v, np.uint8) for v in (10, 100, 200)])
    b = np.stack([np.full((4, 4), v, np.uint8) for v in (205, 12, 100)])
    value, chosen = between(a, b)
    assert value == pytest.approx((2 + 0 + 5) / 3) and chosen.tolist() == [1, 2, 0]
    assert between(a, a)[0] == pytest.approx(0, abs=1e-6)
    with pytest.raises(EcgError, match="as many"):
        between(a, b[:2])


def test_the_mean_of_pairs_leaves_out_an_image_with_itself() -> None:
    values = np.array([0.0, 1.0, 3.0])
    pairs = np.abs(values[:, None] - values[None])
    mean, low, high = mean_of_pairs(pairs, same=True, draws=500)
    assert mean == pytest.approx((1 + 3 + 2) / 3) and low <= mean <= high
    # A bootstrap's spread of a mean difference is what theory says: two sets whose pairs differ only by what is added.
    rng = np.random.default_rng(0)
    x, y = rng.normal(10, 1, 200), rng.normal(0, 1, 200)
    mean, low, high = mean_of_pairs(x[:, None] - y[None], same=False, draws=2000)
    assert mean == pytest.approx(x.mean() - y.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(x.var() / 200 + y.var() / 200), rel=0.1)
    with pytest.raises(EcgError, match="two at least"):
        mean_of_pairs(pairs[:1], same=False)
    with pytest.raises(EcgError, match="too few"):
        mean_of_pairs(pairs, same=True, draws=100)


def test_galleries_come_from_everywhere(tmp_path: Path) -> None:
    import cv2

    for i in range(3):
        picture = np.full((300, 400, 3), 60 * i, np.uint8)
        (tmp_path / "deep").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "deep" / f"{i}.png"), picture)
    found = gallery(tmp_path, 5, "heartbeit-32")
    assert found.shape == (3, 32, 32) and sorted(found[:, 0, 0].tolist()) == [0, 60, 120]
    for name in ("synth", "texture", "photos"):
        if name == "photos":
            pytest.importorskip("sklearn")
        made = gallery(name, 4, "heartbeit-32", seed=1)
        assert made.shape == (4, 32, 32) and np.array_equal(made, gallery(name, 4, "heartbeit-32", seed=1))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(EcgError, match=r"broken\.jpg"):
        gallery(tmp_path, 5, "heartbeit-32")
    with pytest.raises(EcgError, match="two at least"):
        gallery("texture", 1)


def test_the_texture_falls_as_one_over_frequency() -> None:
    rng = np.random.default_rng(3)
    power = np.mean([np.abs(np.fft.fft2(texture(rng, (64, 64)).astype(float))) ** 2 for _ in range(60)], 0)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    inside = (frequency > 0.03) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0]
    assert slope == pytest.approx(-2, abs=0.25)  # power; amplitude -1


def test_the_command_prints_every_distance() -> None:
    ran = CliRunner().invoke(app, ["data", "distance", "synth", "texture", "-n", "6", "--form", "heartbeit-32", "--json"])
    assert ran.exit_code == 0, ran.output
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [(r["kind"], r["a"], r["b"]) for r in rows[:3]] == [
        ("levels", "synth", "synth"),
        ("levels", "texture", "texture"),
        ("levels", "synth", "texture"),
    ]
    assert {r["kind"] for r in rows} == {"levels", "ink", "matched"}
    assert all(r["low"] is None or r["low"] <= r["value"] <= r["high"] for r in rows)
    assert rows[2]["value"] > rows[0]["value"]  # white paper beside grey
    again = CliRunner().invoke(app, ["data", "distance", "nowhere", "texture"])
    assert again.exit_code == 1 and "nowhere" in again.output


def test_two_sets_of_one_kind_are_as_near_as_their_halves() -> None:
    a, b = gallery("texture", 40, "heartbeit-32", seed=1), gallery("texture", 40, "heartbeit-32", seed=2)
    rows = distances("a", a, "b", b, draws=500)
    matched = [r.value for r in rows if r.kind == "matched"]
    assert matched[2] == pytest.approx((matched[0] + matched[1]) / 2, rel=0.1)
