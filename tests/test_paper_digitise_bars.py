"""Upright lines between leads: found where they were drawn, and no trace follows them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from einthoven.paper.digitise import digitize
from einthoven.paper.digitise.bars import find_bars, take_bars
from einthoven.paper.digitise.ink import _under_lines
from einthoven.paper.digitise.lattice import SCALE, Field
from einthoven.paper.page import Page
from einthoven.paper.render import draw, prepare
from einthoven.synth import simulate

RECORD = simulate(rate=80, seed=4, noise=30.0).record


def with_bars(page: Page, kind: str) -> Page:
    """The page with other separators than its own: through all rows, or one for each row."""
    main = [s for s in page.strips if not s.rhythm]
    xs = sorted({s.x for s in main})[1:]
    feet = [s.baseline for s in main]
    if kind == "through":
        rules = tuple(((x, min(feet) - 6), (x, max(feet) + 6)) for x in xs)
    else:
        rules = tuple(((s.x, s.baseline - 5), (s.x, s.baseline + 5)) for s in main if s.x in xs)
    return replace(page, rules=rules)


@pytest.mark.parametrize("kind", ["through", "each"])
def test_bars_between_columns_enter_no_trace(kind: str) -> None:
    """The same page with its own small ticks and with bars: the curves are the same to a tenth of a millivolt, but for 20 ms
    beside a bar, where this record has a QRS complex half under it."""
    plain = prepare(RECORD, layout="3x4+1")
    truth = digitize(draw(RECORD, plain, palette="pink").rgb())
    found = digitize(draw(RECORD, with_bars(plain, kind), palette="pink").rgb())
    assert found.record.leads == truth.record.leads and found.page.layout == "3x4+1"
    for lead in truth.record.leads:
        a, b = truth.record.lead(lead), found.record.lead(lead)
        n = min(len(a), len(b))  # where the last sample falls on the sheet's edge, one page may have it and the other not
        a, b = a[:n], b[:n]
        both = np.isfinite(a) & np.isfinite(b)
        assert both.sum() > 0.97 * np.isfinite(a).sum(), lead
        ends = np.flatnonzero(np.diff(both)) if both.sum() < len(a) - 20 else np.zeros(0, int)
        for end in ends:
            both[max(end - 9, 0) : end + 10] = False
        assert np.abs(a - b)[both].max() < 0.1, lead


def sheet() -> Field:
    """Two rows of beats: a trace 3 pixels thick with QRS 12 mm high, whose flanks lean, in every 100 pixels."""
    ink = np.zeros((640, 1000), np.float32)
    for foot in (180, 480):
        x = np.arange(1000)
        beat = np.clip(1 - np.abs((x - 50) % 100 - 50 + 40) / 4, 0, 1) * 12 * SCALE
        for i in x:
            low = foot - beat[max(i - 1, 0) : i + 2].max()
            ink[round(low) - 1 : foot - round(float(beat[max(i - 1, 0) : i + 2].min())) + 2, i] = 1
    return ink


def test_bars_are_found_and_beats_are_not() -> None:
    ink = sheet()
    assert find_bars(ink) == []
    bars = ink.copy()
    for x in (325, 735):
        bars[60:600, x : x + 2] = 1
    found = find_bars(bars)
    assert sorted(round(b.middle - 0.5) for b in found) == [325, 735]
    assert all(abs(b.top - 60) <= 1 and abs(b.bottom - 599) <= 1 for b in found)
    take_bars(bars, found)
    # What is left is the sheet without bars: the traces go on under them, and nothing else stands there.
    assert (bars[:, 320:335] > 0.5).sum() == (ink[:, 320:335] > 0.5).sum()
    assert np.array_equal(bars[:, :300], ink[:, :300])


def test_one_bar_for_each_row() -> None:
    bars = sheet()
    for foot in (180, 480):
        bars[foot - 40 : foot + 40, 500:502] = 1
    assert [round(b.middle - 0.5) for b in find_bars(bars)] == [500, 500]


def test_under_a_black_line_of_the_grid_a_trace_goes_on() -> None:
    """Upright lines as black as the trace: only where ink stands beside them is ink under them."""
    ink = np.zeros((60, 80), np.float32)
    ink[30:33] = 1
    lines = np.zeros(ink.shape, np.bool_)
    lines[:, 20:22] = lines[:, 60:62] = True
    black = np.where(lines, 1, ink).astype(np.float32)
    _under_lines(black, lines)
    assert np.array_equal(black, ink)
