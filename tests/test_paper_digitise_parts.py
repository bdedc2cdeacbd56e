"""The digitiser's parts on small arrays with a known truth."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from einthoven.paper.digitise.digitised import Trace, assemble
from einthoven.paper.digitise.follow import find_runs
from einthoven.paper.digitise.ink import evened, take_lines
from einthoven.paper.digitise.lattice import SCALE, Lattice
from einthoven.paper.digitise.names import read_names
from einthoven.paper.digitise.rows import Pulse, Row, _with_pulses, find_rows, peaks_of, take_parts
from einthoven.paper.digitise.sheet import _columns, _lawful, _Slot, _without_bars
from einthoven.paper.digitise.snr import snr_db
from einthoven.paper.page import Box, Page, Strip, parse_layout
from einthoven.record import Record


def test_a_curve_between_pixels_is_not_cut_off() -> None:
    """A 20 Hz wave, seen every 5 ms, as every 2 ms: straight lines would miss it by 2 %, the cubic by a thousandth."""
    strip = Strip("II", 0.0, 2.0, 10.0, 50.0, Box(10, 0, 60, 100))
    page = Page(25, 10, 200, (100, 100), "1x1", Box(0, 0, 100, 100), (strip,))
    x = 10 + np.arange(0, 50.01, 0.125)
    y = 50 - 10 * np.sin(2 * np.pi * 20 * (x - 10) / 25)
    record = assemble(page, [Trace(strip, x, y)], 500, None, ())
    truth = np.sin(2 * np.pi * 20 * np.arange(len(record.signal[0])) / 500)
    assert np.abs(record.signal[0] - truth)[5:-5].max() < 2e-3
    gap = y.copy()
    gap[200:210] = np.nan
    holes = assemble(page, [Trace(strip, x, gap)], 500, None, ()).signal[0]
    assert np.isnan(holes[502:522]).all() and np.isfinite(holes[:498]).all()


def test_snr_forgives_a_shift_and_an_offset_and_nothing_else() -> None:
    t = np.arange(2000) / 500
    wave = np.sin(2 * np.pi * 5 * t).astype(np.float32)
    late = np.sin(2 * np.pi * 5 * (t - 0.0147)).astype(np.float32)  # 7.35 samples
    truth = Record(wave[None], 500, ("II",))
    assert snr_db(truth, Record(late[None] + np.float32(0.3), 500, ("II",)))["II"] > 40
    assert snr_db(truth, Record(0.9 * wave[None], 500, ("II",)))["II"] == pytest.approx(20.0, abs=0.05)
    assert np.isnan(snr_db(truth, Record(wave[None], 500, ("V1",)))["II"])


def test_a_stroke_that_pales_is_followed_and_a_pale_grid_is_not() -> None:
    ink = np.zeros((120, 160), np.float32)
    for y in range(20, 100):  # a steep stroke that pales from its foot to its tip
        ink[y, 80:83] = 0.25 + 0.75 * (y - 20) / 80
    ink[98:101, 10:150] = 1.0
    ink[::8] = np.maximum(ink[::8], 0.3)
    out = evened(ink)
    assert (out[30:100, 81] > 0.5).all() and (ink[30:60, 81] < 0.5).any()
    assert (out[8::8, 10:70][:10] < 0.5).all()


def test_bars_between_leads_are_no_trace_and_beats_are() -> None:
    ink = np.zeros((480, 400), np.float32)
    for foot in (120, 360):
        ink[foot - 1 : foot + 2] = 1
        ink[foot - 30 : foot + 30, 200:204] = 1  # the same bar in both rows, at the border
        for k in range(8):  # a beat near it, of another height in each row
            ink[foot - (3 + foot // 20) * k : foot, 210 + k] = 1
    runs = _without_bars(find_runs(ink, np.zeros(ink.shape, np.uint8)), [120.0, 360.0], {201.0})
    columns = np.repeat(np.arange(400), np.diff(runs.first))
    assert sorted(set(columns[runs.tiny == 2])) == [200, 201, 202, 203]


def test_no_trace_follows_another_row() -> None:
    """A trace that is missing for 3 mm, over another that is not: the gap stays a gap."""
    ink = np.zeros((240, 300), np.float32)
    ink[40:43, :130] = ink[40:43, 160:] = ink[150:153] = 1
    runs = find_runs(ink, np.zeros(ink.shape, np.uint8))
    y, _, _ = runs.trace(41.0, 200.0, 0, 300, 1.2, others=np.array([151.0]))
    assert np.isnan(y[131:159]).all() and np.abs(y[:130] - 41).max() < 0.5


def test_the_law_tells_standard_from_cabrera() -> None:
    t = np.arange(800)
    one, two = 20 * np.sin(t / 17), 30 * np.sin(t / 23 + 1)
    limb = {"I": one, "II": two, "III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    rows = [Row(100 - limb[lead], 100.0, 1.0, 1.2, 100.0) for lead in ("aVR", "aVL", "aVF")]

    def asked(leads: tuple[str, ...]) -> float:
        return _lawful([_Slot(lead, 1, r, 0.0, 800.0) for r, lead in enumerate(leads)], rows)

    assert asked(("aVR", "aVL", "aVF")) == pytest.approx(1.0, abs=0.02)
    assert asked(("II", "aVF", "III")) < 0.6


def test_columns_are_two_and_a_half_seconds_where_the_image_ends_early() -> None:
    span = (10.0 * SCALE, 240.0 * SCALE)
    columns = _columns(parse_layout("3x4"), [span], 241.0 * SCALE, 25.0)
    assert (10.0 * SCALE, 62.5 * SCALE) in columns
    assert _columns(parse_layout("3x4"), [(80.0, 80.0 + 250 * SCALE)], 300.0 * SCALE, 25.0) == [(80.0, 62.5 * SCALE)]


def test_names_are_read_where_they_stand() -> None:
    from einthoven.paper.render import render
    from einthoven.synth import simulate

    image, page = render(simulate(rate=70, seed=2, noise=30.0).record, layout="3x4", palette="bw")
    ink = np.clip((255 - image.mean(axis=2)) / 200, 0, 1).astype(np.float32)
    names = read_names(np.where(ink > 0.6, ink, 0).astype(np.float32))
    right = 0
    for text in page.texts:
        if text.text in {s.lead for s in page.strips}:
            near = [n for n in names if abs(n.x - text.x) < 3 and abs(n.y - text.y) < 3]
            right += bool(near) and max(near, key=lambda n: n.sure).lead == text.text
    assert right >= 7  # of twelve; the layout and Einthoven's law do the rest


def test_peaks_are_those_that_scipy_finds() -> None:
    from scipy.signal import find_peaks

    rng = np.random.default_rng(3)
    for wide in (1, 3, 9):
        y = np.abs(np.convolve(rng.normal(size=400), np.ones(wide), "same"))
        y[50:53] = y.max() + 1  # a flat top
        for distance, share in ((1, 0.05), (12, 0.2), (40, 0.5)):
            there, _ = find_peaks(y, height=0.3 * y.max(), distance=distance, prominence=share * y.max())
            assert peaks_of(y, 0.3 * y.max(), distance, share * y.max()) == there.tolist()


def test_lone_letters_are_no_pulses() -> None:
    """Three pulses over each other and one rectangle elsewhere: only the three are pulses."""
    ink = np.zeros((900, 600), np.float32)

    def pulse(x: int, foot: int) -> None:
        ink[foot - 80 : foot + 2, x : x + 3] = ink[foot - 80 : foot + 2, x + 40 : x + 43] = 1
        ink[foot - 80 : foot - 77, x : x + 43] = 1

    for foot in (200, 500, 800):
        pulse(60, foot)
    pulse(400, 350)
    assert sorted(p.start // 10 for p in take_parts(ink).pulses) == [6, 6, 6]


def test_a_row_has_the_base_line_that_it_lies_on() -> None:
    """A dashed line of the grid over a trace: what is followed from the line's height is the trace, whose height counts."""
    ink = np.zeros((800, 2400), np.float32)
    x = np.arange(100, 2300)
    y = 500 - 20 * np.sin(x / 60) - 120 * np.exp(-((((x % 220) - 110) / 6) ** 2))
    for i, (a, b) in enumerate(pairwise(y)):
        ink[int(min(a, b)) - 1 : int(max(a, b)) + 2, x[i]] = 1
    for left in range(60, 2360, 100):
        ink[300:302, left : left + 50] = 1
    on = np.ones((21, 61), bool)
    rows = find_rows(find_runs(ink, np.zeros(ink.shape, np.uint8)), ink.shape, on, np.ones(21), ())
    assert len(rows) == 1 and abs(rows[0].baseline - 500) < 25 and rows[0].ends == (100, 2298)


def test_a_row_that_begins_far_behind_the_others_pulses_is_none() -> None:
    def row(baseline: float, first: int) -> Row:
        y = np.full(2000, np.nan)
        y[first:1900] = baseline + 10 * np.sin(np.arange(first, 1900) / 9)
        return Row(y, baseline, 1.0, 2.0, 400.0)

    pulses = [Pulse(100, 140, 80.0, float(h)) for h in (200, 400, 600, 800, 1000)]
    rows = [row(200, 60), row(400, 60), row(600, 60), row(700, 900), row(800, 60), row(1000, 60)]
    assert [r.baseline for r in _with_pulses(rows, pulses)] == [200, 400, 600, 800, 1000]


def test_hairs_on_the_lattice_are_taken_and_strokes_are_not() -> None:
    ink = np.zeros((400, 400), np.float32)
    ink[20:380, 79:81] = 1.0  # on a line of the lattice
    ink[20:380, 100:102] = 1.0  # between its lines
    ink[100:140, 159:161] = 1.0  # short, as a beat
    ink[20:380, 238:243] = 1.0  # as wide as a pen
    ink[200:203, :] = 1.0  # a trace that crosses them all
    wanted = ink.copy()
    wanted[20:200, 79:81] = wanted[203:380, 79:81] = 0
    take_lines(ink, Lattice(np.eye(3), np.zeros((11, 11, 2), np.float32), (50.0, 50.0)))
    assert np.array_equal(ink, wanted)
