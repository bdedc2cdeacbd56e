"""Corrections by hand: what is moved moves, what rests on it follows, nothing else does."""

from dataclasses import replace

import numpy as np
import pytest

from einthoven.beats.correct import ADDED, Correction, check, corrected
from einthoven.beats.fiducials import FIDUCIALS, P_OFF, P_ON, P_PEAK, QRS_ON, T_OFF
from einthoven.beats.measure import measure
from einthoven.record import WrongUse
from einthoven.synth import Simulation, simulate


@pytest.fixture(scope="module")
def truth() -> Simulation:
    return simulate(rate=70, seed=5)


def test_every_t_end_by_the_same_shift_moves_qt_by_it_and_nothing_else(truth: Simulation) -> None:
    beats = truth.beats
    before = measure(truth.record, beats)
    one = Correction("t_off", beats.r[4], beats.overall[4, T_OFF] + 0.03, every=True)
    made = corrected(beats, [one])
    assert made.told == () and made.kept.tolist() == list(range(len(beats)))
    after = measure(truth.record, made.beats)
    assert after["qt_ms"] - before["qt_ms"] == pytest.approx(30)
    assert all(after[name] == before[name] for name in ("pr_ms", "qrs_ms", "rate_bpm", "p_ms", "qrs_axis_deg"))
    assert np.array_equal(beats.overall, truth.beats.overall)  # what came in is as it was
    back = Correction("t_off", beats.r[2], beats.overall[2, T_OFF], every=True)
    assert measure(truth.record, corrected(beats, [one, back]).beats)["qt_ms"] == pytest.approx(before["qt_ms"])


def test_one_beat_one_fiducial_and_the_leads_stay_inside(truth: Simulation) -> None:
    beats = truth.beats
    later = float(np.nanmax(beats.times[3, :, QRS_ON])) + 0.002
    made = corrected(beats, [Correction("qrs_on", beats.r[3], later)]).beats
    moved = np.argwhere(~np.isclose(made.overall, beats.overall, equal_nan=True))
    assert moved.tolist() == [[3, QRS_ON]] and made.overall[3, QRS_ON] == later
    assert np.nanmin(made.times[3, :, QRS_ON]) == later
    lead = corrected(beats, [Correction("qrs_on", beats.r[3], later, lead="V2")]).beats
    j = beats.leads.index("V2")
    assert lead.times[3, j, QRS_ON] == later and np.array_equal(lead.overall, beats.overall, equal_nan=True)


def test_a_wave_and_a_beat_are_taken_away(truth: Simulation) -> None:
    beats = truth.beats
    made = corrected(beats, [Correction("p_peak", beats.r[0], None, every=True)])
    assert np.isnan(made.beats.overall[:, [P_ON, P_PEAK, P_OFF]]).all() and np.isnan(made.beats.times[..., :3]).all()
    told = measure(truth.record, made.beats)
    assert told["pr_ms"] != told["pr_ms"] and told["p_fraction"] == 0
    fewer = corrected(beats, [Correction("r_peak", beats.r[2], None), Correction("t_off", beats.r[2], None)])
    assert len(fewer.beats) == len(beats) - 1 and 2 not in fewer.kept and len(fewer.told) == 1
    with pytest.raises(WrongUse, match="beat by beat"):
        check(beats, Correction("qrs_on", beats.r[2], None, every=True))


def test_a_wave_that_was_not_there_is_put_in_by_its_distance_from_r(truth: Simulation) -> None:
    none = corrected(truth.beats, [Correction("p_on", truth.beats.r[0], None, every=True)]).beats
    b = len(none) // 2
    made = corrected(none, [Correction("p_on", none.r[b], none.r[b] - 0.17, every=True)])
    gaps = made.beats.r - made.beats.overall[:, P_ON]
    assert gaps[1:] == pytest.approx(0.17) and not made.told


def test_what_would_leave_the_order_of_the_waves_is_refused(truth: Simulation) -> None:
    beats = truth.beats
    row = dict(zip(FIDUCIALS, beats.overall[3], strict=True))
    for name, to, why in (
        ("t_off", row["t_peak"] - 0.01, "not before t_peak"),
        ("qrs_on", row["r_peak"] + 0.01, "not behind r_peak"),
        ("t_off", beats.r[4] + 0.01, "not behind"),
        ("t_off", 99.0, "outside the recording"),
        ("x_on", 1.0, "no fiducial"),
    ):
        with pytest.raises(WrongUse, match=why):
            check(beats, Correction(name, beats.r[3], to))
    with pytest.raises(WrongUse, match="no beat at 55"):
        check(beats, Correction("t_off", 55.0, 1.0))
    with pytest.raises(WrongUse, match="no lead 'V9'"):
        check(beats, Correction("t_off", beats.r[3], 1.0, lead="V9"))
    gone = [Correction("r_peak", beats.r[3], None)]
    with pytest.raises(WrongUse, match="no beat"):
        check(beats, Correction("t_off", beats.r[3], row["t_off"]), gone)
    assert "left out" in corrected(beats, [Correction("t_off", beats.r[3], 0.0)]).told[0]


def test_a_beat_that_was_missed_is_added_and_corrected_like_any_other(truth: Simulation) -> None:
    """Taken out of the truth and put back by its R: rate, QRS and all but its P and T are as they were; these are put there."""
    beats, gone = truth.beats, 4
    keep = [k for k in range(len(beats)) if k != gone]
    less = replace(beats, times=beats.times[keep], overall=beats.overall[keep], kinds=tuple(beats.kinds[k] for k in keep))
    r = float(beats.r[gone])
    made = corrected(less, [Correction(ADDED, r, r)])
    assert made.told == () and made.kept.tolist() == [0, 1, 2, 3, -1, *range(4, len(less))]
    assert np.array_equal(made.beats.r, beats.r) and np.array_equal(made.homes, beats.r)
    assert made.beats.overall[gone, [QRS_ON, 5]] == pytest.approx(beats.overall[gone, [QRS_ON, 5]], abs=0.004)
    assert np.isnan(made.beats.overall[gone, [P_ON, P_PEAK, P_OFF, T_OFF]]).all() and len(less) == len(beats) - 1
    before, after = measure(truth.record, beats), measure(truth.record, made.beats)
    assert after["rate_bpm"] == before["rate_bpm"] != measure(truth.record, less)["rate_bpm"]
    more = [Correction(name, r, float(beats.overall[gone, FIDUCIALS.index(name)])) for name in ("p_on", "p_off", "t_off")]
    full = corrected(less, [Correction(ADDED, r, r), *more])
    assert full.told == () and np.isfinite(full.beats.overall[gone, [P_ON, P_OFF, T_OFF]]).all()
    none = corrected(less, [Correction(ADDED, r, r), Correction("r_peak", r, None), Correction(ADDED, r, r)])
    assert none.told == () and len(none.beats) == len(beats)  # taken away, and added once more
    for wrong, why in ((r + 0.1, "a beat already"), (1e6, "outside"), (-1.0, "outside"), (None, "by the time")):
        with pytest.raises(WrongUse, match=why):
            check(less, Correction(ADDED, r, wrong), [Correction(ADDED, r, r)])
    empty = replace(beats, times=beats.times[:0], overall=beats.overall[:0], kinds=())
    alone = corrected(empty, [Correction(ADDED, 1.0, 1.0)]).beats
    assert len(alone) == 1 and alone.overall[0, QRS_ON] < 1 < alone.overall[0, 5]
