"""The page's geometry: its map to pixels is exact, its layouts show what they say."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paper_examples import record_of

from einthoven.paper.page import A4, LETTER, Page, lay_out, parse_layout
from einthoven.record import STANDARD_LEADS, EcgError, Record, canonical_order

LAYOUTS = ("3x4+1", "3x4+3", "3x4", "6x2", "12x1", "6x2+1", "4x3+2")


@given(
    layout=st.sampled_from(LAYOUTS),
    speed=st.sampled_from([12.5, 25.0, 50.0]),
    gain=st.sampled_from([5.0, 10.0, 20.0]),
    dpi=st.floats(60, 600),
    which=st.integers(0, 11),
    seconds=st.floats(-1, 11),
    mv=st.floats(-20, 20),
    order=st.sampled_from(["standard", "cabrera"]),
)
def test_the_map_to_pixels_and_back_is_exact(
    layout: str, speed: float, gain: float, dpi: float, which: int, seconds: float, mv: float, order: str
) -> None:
    page = lay_out(record_of(fs=100), layout=layout, speed=speed, gain=gain, dpi=dpi, order=order)
    strip = page.strips[which % len(page.strips)]
    x, y = page.to_pixel(strip, seconds, mv)
    back = page.from_pixel(strip, x, y)
    assert np.allclose(back, (seconds, mv), rtol=0, atol=1e-9)
    # A second is speed mm and a millivolt gain mm, upwards (downwards for -aVR), in pixels of 25.4 mm / dpi.
    x1, y1 = page.to_pixel(strip, seconds + 1, mv + 1)
    assert float(x1 - x) == pytest.approx(speed * dpi / 25.4, rel=1e-9)
    assert float(y1 - y) == pytest.approx(-strip.sign * gain * dpi / 25.4, rel=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_lead_is_on_the_page_once_and_rhythm_strips_are_below(layout: str) -> None:
    page = lay_out(record_of(), layout=layout)
    plan = parse_layout(layout)
    body = [s for s in page.strips if not s.rhythm]
    assert [s.lead for s in sorted(body, key=lambda s: (s.x, s.baseline))] == list(STANDARD_LEADS)
    assert len(page.strips) - len(body) == plan.rhythm
    assert all(s.baseline > max(b.baseline for b in body) for s in page.strips if s.rhythm)
    for s in page.strips:
        assert page.grid.left < s.x <= page.grid.right and page.grid.top < s.baseline < page.grid.bottom
        assert s.x + (s.stop - s.start) * page.speed <= page.grid.right + 1e-9


def test_columns_show_successive_stretches_of_time() -> None:
    page = lay_out(record_of())
    starts = {s.lead: (s.start, s.stop) for s in page.strips if not s.rhythm}
    assert starts["I"] == (0.0, 2.5) and starts["aVR"] == (2.5, 5.0) and starts["V1"] == (5.0, 7.5)
    assert starts["V6"][0] == 7.5 and page.notes == ()


def test_a_page_that_shows_a_part_says_so() -> None:
    assert lay_out(record_of(), speed=50).notes == ("shown: 0-5 s of 10 s",)
    later = lay_out(record_of(seconds=60), start=30)
    assert later.strips[0].start == 30 and later.notes == ("shown: 30-40 s of 60 s",)


def test_a_short_record_shows_its_last_stretch_in_every_column() -> None:
    page = lay_out(record_of(seconds=2.5))
    assert {(s.start, s.stop) for s in page.strips} == {(0.0, 2.5)}


def test_cabrera_order_turns_avr_over() -> None:
    page = lay_out(record_of(), layout="12x1", order="cabrera")
    assert [s.label for s in page.strips][:6] == ["aVL", "I", "-aVR", "II", "aVF", "III"]
    assert page.strip("aVR").sign == -1
    y_up, y_down = (float(page.to_mm(page.strip("aVR"), 0.0, mv)[1]) for mv in (-1.0, 1.0))
    assert y_up < y_down


@pytest.mark.parametrize(
    ("leads", "layout", "rows"),
    [
        (("II",), "1x1:II", 1),
        (("I", "II"), "2x1", 2),
        (("I", "II", "V5"), "3x1", 3),
        (("I", "II", "III", "aVR", "aVL", "aVF"), "6x1", 6),
        (("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"), "4x2+1", 5),
        (STANDARD_LEADS, "3x4+1", 4),
        ((*STANDARD_LEADS, "V7", "V8", "V9"), "3x5+1", 4),
    ],
)
def test_few_or_many_leads_get_a_layout_that_shows_them_all(leads: tuple[str, ...], layout: str, rows: int) -> None:
    page = lay_out(record_of(leads))
    assert page.layout == layout and len({s.baseline for s in page.strips}) == rows
    assert {s.lead for s in page.strips} == set(leads) and page.notes == ()


def test_leads_of_any_name_are_drawn() -> None:
    for leads in (("sig 0, fmt 8",), ("a:b", "-x", "-aVR", "aVR"), ("", ",")):
        assert [s.lead for s in lay_out(record_of(leads)).strips] == list(canonical_order(leads))
        assert all(s.sign == 1 for s in lay_out(record_of(leads)).strips)


def test_a_long_single_lead_runs_on_in_lines() -> None:
    page = lay_out(record_of(("I",), seconds=30))
    assert [(s.start, s.stop) for s in page.strips] == [(0, 10), (10, 20), (20, 30)]


def test_what_is_missing_is_noted_and_what_was_named_must_be_there() -> None:
    page = lay_out(record_of(STANDARD_LEADS[:9]), layout="3x4+1")
    assert page.notes == ("not recorded: V4, V5, V6",) and page.strip("V1").start == 5.0
    with pytest.raises(EcgError, match="no lead V6"):
        lay_out(record_of(("I", "II")), layout="1x1:V6")


def test_an_offset_is_taken_out_and_said() -> None:
    record = record_of(("I", "II"))
    record = Record(record.signal + np.float32([[2.0], [0.1]]), record.fs, record.leads)
    page = lay_out(record)
    assert page.strip("I").zero_mv == pytest.approx(2.0, abs=0.01) and page.strip("II").zero_mv == 0  # noqa: B005
    assert page.notes == ("offset not drawn: I +2.00 mV",)
    y = page.to_mm(page.strip("I"), 0.0, record.lead("I")[0])[1]
    assert float(y) == pytest.approx(page.strip("I").baseline, abs=0.1)


def test_a_trace_that_leaves_the_paper_is_named() -> None:
    record = record_of()
    tall = record.signal.copy()
    tall[7, 3000:3005] = 30.0  # V2 between 5 and 7.5 s
    assert lay_out(Record(tall, record.fs, record.leads)).notes == ("runs off the paper: V2",)


def test_traces_of_neighbouring_rows_do_not_meet_where_there_is_room() -> None:
    record = record_of()
    tall = record.signal.copy()
    tall[1] *= 3.0  # II reaches far
    record = Record(tall, record.fs, record.leads)
    page = lay_out(record, layout="6x2", gain=10)
    for upper, lower in zip(page.strips, page.strips[1:], strict=False):
        if upper.x == lower.x:
            bottom = page.to_mm(upper, 0.0, record.lead(upper.lead))[1]
            top = page.to_mm(lower, 0.0, record.lead(lower.lead))[1]
            assert (bottom < top).all()


@pytest.mark.parametrize("size", ["letter", "a4", (200.0, 120.0)])
def test_sheets_keep_whole_squares_inside_their_edges(size: str | tuple[float, float]) -> None:
    page = lay_out(record_of(), size=size)
    w, h = {"letter": LETTER, "a4": A4}.get(size, size) if isinstance(size, str) else size
    assert page.size == (w, h)
    assert page.grid.left >= 5 - 1e-9 and page.grid.right <= w - 5 + 1e-9 and page.grid.bottom <= h
    assert page.grid.width % 5 == pytest.approx(0, abs=1e-9) and page.grid.height % 5 == pytest.approx(0, abs=1e-9)


def test_letter_at_200_dpi_is_2200_by_1700() -> None:
    assert lay_out(record_of()).shape == (1700, 2200)


def test_pages_travel_as_json() -> None:
    page = lay_out(record_of(), layout="3x4+3", order="cabrera")
    assert Page.from_dict(json.loads(json.dumps(page.to_dict()))) == page


@pytest.mark.parametrize("layout", ["", "3", "x", "3x", "0x4", "3x4+9", "99x1", "3x4+", "3x4+x", "²x1"])
def test_layouts_that_cannot_be_are_refused(layout: str) -> None:
    if layout == "3x4+":
        assert parse_layout(layout) == parse_layout("3x4")
        return
    with pytest.raises(EcgError, match="layout"):
        parse_layout(layout)


@pytest.mark.parametrize(
    "wrong",
    [
        {"speed": 0},
        {"gain": -1},
        {"dpi": float("nan")},
        {"order": "random"},
        {"size": "a3"},
        {"size": (20.0, 20.0)},
        {"start": -1},
        {"start": 10},
        {"dpi": 1e6},
        {"rhythm": ("V9",)},
        {"rhythm": ("II", "V1")},
    ],
)
def test_figures_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(EcgError):
        lay_out(record_of(), **wrong)  # type: ignore[arg-type]


def test_lead_names_stand_clear_of_each_other() -> None:
    for layout in LAYOUTS:
        labels = lay_out(record_of(), layout=layout).texts
        boxes = [(t.x, t.y - 2.5, t.x + 2.0 * len(t.text), t.y) for t in labels]
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
