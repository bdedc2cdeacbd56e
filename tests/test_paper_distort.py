"""Distortions: planted marks are where the truth says, maps go there and back, strength 0 changes nothing, seeds decide."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from einthoven.paper.distort import DISTORTIONS, PRESETS, Bend, Step, Truth, Warp, distort
from einthoven.paper.distort.scene import Stage
from einthoven.paper.distort.truth import PAPER, STRIP
from einthoven.paper.page import Page
from einthoven.paper.render import render
from einthoven.record import EcgError
from tests.paper_examples import record_of

GEOMETRY = [name for name, row in DISTORTIONS.items() if row.stage == Stage.GEOMETRY]


@pytest.fixture(scope="module")
def drawn() -> tuple[NDArray[np.uint8], Page]:
    return render(record_of(), dpi=80)


def dots(page: Page, spread: float = 20.0) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A white sheet with black Gaussian dots, and their places in pixels (N, 2) of the sheet."""
    rows, columns = page.shape
    x, y = (
        g.reshape(-1) for g in np.meshgrid(np.arange(spread, columns - spread, 41.3), np.arange(spread, rows - spread, 41.3))
    )
    sheet = np.full((rows, columns), 255.0)
    for a, b in zip(x, y, strict=True):
        i, j = int(a), int(b)
        u, v = np.arange(i - 8, i + 9), np.arange(j - 8, j + 9)
        sheet[j - 8 : j + 9, i - 8 : i + 9] -= 220 * np.exp(-((u[None, :] - a) ** 2 + (v[:, None] - b) ** 2) / (2 * 1.8**2))
    grey = np.round(sheet).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), np.stack([x, y], axis=1)


def found(image: NDArray[np.uint8], at: NDArray[np.float64], reach: int = 6) -> NDArray[np.float64]:
    """The darkness's centre of gravity near each place; NaN where that is not wholly inside the image."""
    dark = np.clip(235.0 - image.mean(axis=2), 0, None)
    out = np.full_like(at, np.nan)
    for k, (x, y) in enumerate(at):
        i, j = round(x), round(y)
        if min(i, j) < reach + 2 or i >= image.shape[1] - reach - 2 or j >= image.shape[0] - reach - 2:
            continue
        patch = dark[j - reach : j + reach + 1, i - reach : i + reach + 1]
        v, u = np.mgrid[j - reach : j + reach + 1, i - reach : i + reach + 1]
        out[k] = (patch * u).sum() / patch.sum(), (patch * v).sum() / patch.sum()
    return out


def moved(page: Page, truth: Truth, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels of the sheet -> pixels of the picture."""
    x, y = ((at + 0.5) / page.px_per_mm).T
    return np.stack(truth.warp.forward(x, y), axis=1)


def off(page: Page, steps: Any, seed: int, **options: Any) -> NDArray[np.float64]:
    """How far (px) from the truth the dots are found that are inside the picture."""
    sheet, at = dots(page)
    picture, truth = distort(sheet, page, steps, seed=seed, **options)
    expected = moved(page, truth, at)
    gap = np.linalg.norm(found(picture, expected) - expected, axis=1)
    gap = gap[np.isfinite(gap)]
    assert len(gap) > 100
    return np.asarray(gap)


@pytest.mark.parametrize("name", GEOMETRY)
@pytest.mark.parametrize("strength", [0.3, 1.0, 1.5])
def test_planted_marks_are_where_the_truth_says(drawn: tuple[NDArray[np.uint8], Page], name: str, strength: float) -> None:
    gap = off(drawn[1], [Step(name, 1, strength, strength)], seed=3)
    assert gap.max() < 0.5 and gap.mean() < 0.12


@pytest.mark.parametrize("seed", range(6))
def test_all_geometry_together(drawn: tuple[NDArray[np.uint8], Page], seed: int) -> None:
    """All at once, in one map: the same bound holds."""
    steps = [Step(name, 1, 0.5, 1.0) for name in GEOMETRY]
    assert off(drawn[1], steps, seed).max() < 0.5


def test_another_size(drawn: tuple[NDArray[np.uint8], Page]) -> None:
    for fit in ("pad", "stretch"):
        gap = off(drawn[1], [Step("rotation"), Step("curl")], 1, size=(700, 700), fit=fit)
        assert gap.max() < 0.5


def test_there_and_back() -> None:
    """Pixels -> mm -> pixels is the identity, for every part of a warp at once."""
    bends = (
        Bend("wave", 0.4, 20, 8, 220),
        Bend("roll", 0.1, 60, 14, 60),
        Bend("fold", 1.5, -10, 4, 20),
        Bend("fold", 0.8, 5, -0.8, 4, 0.8, 20, 25),
    )
    warp = Warp((279.4, 215.9), (600, 800), (2.5, 0.1, 20, -0.2, 2.4, 30, 1e-4, -2e-4, 1), bends, 400, (0.2, -0.1), -0.03)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-50, 850, 4000), rng.uniform(-50, 650, 4000)
    back = warp.forward(*warp.inverse(x, y))
    np.testing.assert_allclose(back, (x, y), atol=1e-4)
    again = Warp.from_dict(json.loads(json.dumps(warp.to_dict())))
    assert again == warp


def test_truth_maps_potentials_there_and_back(drawn: tuple[NDArray[np.uint8], Page]) -> None:
    image, page = drawn
    _, truth = distort(image, page, "photo", seed=5)
    seconds, mv = np.linspace(0.1, 2.3, 50), np.linspace(-1, 1, 50)
    for strip in page.strips[:3]:
        np.testing.assert_allclose(truth.from_pixel(strip, *truth.to_pixel(strip, seconds, mv)), (seconds, mv), atol=1e-5)
    assert Truth.from_dict(json.loads(json.dumps(truth.to_dict()))) == truth


def test_flat_sheet_has_its_homography(drawn: tuple[NDArray[np.uint8], Page]) -> None:
    image, page = drawn
    _, truth = distort(image, page, [Step("perspective"), Step("rotation")], seed=2)
    x, y = np.array([10.0, 200.0, 90.0]), np.array([20.0, 50.0, 200.0])
    u, v, w = truth.warp.homography @ np.stack([x, y, np.ones(3)])
    np.testing.assert_allclose(truth.warp.forward(x, y), (u / w, v / w), atol=1e-9)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_strength_0_is_the_identity(drawn: tuple[NDArray[np.uint8], Page], name: str) -> None:
    from einthoven.paper.distort.scene import Scene

    image, page = drawn
    scene = Scene.of(image, page)
    row = DISTORTIONS[name]
    if row.stage > Stage.LIGHT:
        scene.take()
    row.apply(scene, np.random.default_rng(0), 0.0)
    if row.stage <= Stage.LIGHT:
        scene.take()
    assert np.array_equal(scene.image, image) and not scene.moved


def test_clean_is_the_page_itself(drawn: tuple[NDArray[np.uint8], Page]) -> None:
    image, page = drawn
    picture, truth = distort(image, page, "clean")
    assert np.array_equal(picture, image) and truth.warp == Warp.of(page)
    np.testing.assert_allclose(truth.to_pixel("V2", 0.5, 0.7), page.to_pixel("V2", 0.5, 0.7), atol=1e-9)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_distortion_does_something_by_its_seed_alone(drawn: tuple[NDArray[np.uint8], Page], name: str) -> None:
    image, page = drawn
    before = image.copy()
    steps = (
        [Step("rotation", 1, 0.5, 0.5), Step("curl"), Step(name, 1, 2, 2)]
        if name in ("relief", "bezel")
        else [Step(name, 1, 2, 2)]
    )
    a, first = distort(image, page, steps, seed=1)
    b, second = distort(image, page, steps, seed=1)
    c, _ = distort(image, page, steps, seed=2)
    assert np.array_equal(a, b) and first == second
    assert name == "grey" or a.shape != c.shape or not np.array_equal(a, c)  # there is one way to be grey
    assert a.shape != image.shape or not np.array_equal(a, image)
    assert np.array_equal(image, before)  # the page is not drawn on
    assert a.dtype == np.uint8 and a.shape == (*first.shape, 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_traces_lie_on_ink(drawn: tuple[NDArray[np.uint8], Page], preset: str) -> None:
    """The ink alone, without paper: what the truth calls trace is dark, and the mask says which strip it is."""
    record = record_of()
    image, page = render(record, dpi=150, palette="plain")
    geometry = [s for s in PRESETS[preset] if DISTORTIONS[s.name].stage == Stage.GEOMETRY and s.name != "turn"]
    picture, truth = distort(image, page, geometry, seed=4)
    grey = picture.min(axis=2)
    on = [np.round(line).astype(int) for lines in truth.traces(record) for line in lines]
    points = np.concatenate(on)
    inside = (points >= 1).all(axis=1) & (points[:, 0] < grey.shape[1] - 1) & (points[:, 1] < grey.shape[0] - 1)
    x, y = points[inside].T
    assert inside.sum() > 1000 and (grey[y, x] < 160).mean() > 0.99
    mask = truth.mask(record)
    assert mask.shape == truth.shape and (mask[y, x] >= STRIP).all()
    assert set(np.unique(mask)) >= {PAPER, STRIP, STRIP + len(page.strips) - 1}


def test_boxes_move_with_the_sheet(drawn: tuple[NDArray[np.uint8], Page]) -> None:
    image, page = drawn
    _, truth = distort(image, page, [Step("rotation", 1, 1, 1)], seed=1)
    label, corners = truth.lead_boxes[0]
    assert label == page.strips[0].label
    box = page.strips[0].box
    np.testing.assert_allclose(corners[2], np.stack(truth.warp.forward(box.right, box.bottom)))
    assert [t for t, _ in truth.words] == [t.text for t in page.texts]


def test_a_step_more_leaves_the_others_as_they_were(drawn: tuple[NDArray[np.uint8], Page]) -> None:
    image, page = drawn
    _, one = distort(image, page, [Step("rotation", 1, 0.2, 1)], seed=9)
    _, two = distort(image, page, [Step("jpeg"), Step("rotation", 1, 0.2, 1)], seed=9)
    assert one.warp == two.warp and one.steps[0] == two.steps[0]


@pytest.mark.parametrize(
    "steps, words",
    [("sepia", "no preset sepia"), ([Step("sepia")], "no distortion sepia"), ([Step("jpeg", 1, 2, 1)], "no range")],
)
def test_refusals(drawn: tuple[NDArray[np.uint8], Page], steps: Any, words: str) -> None:
    image, page = drawn
    with pytest.raises(EcgError, match=words):
        distort(image, page, steps)
    with pytest.raises(EcgError, match="the image is"):
        distort(image[1:], page)
