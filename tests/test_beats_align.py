"""Rlign: what is on the grid stays as it is, what is not is moved onto it, and a record that cannot be is told."""

from __future__ import annotations

import numpy as np
import pytest

from einthoven.beats.align import FEW, IRREGULAR, NONE, OK, VARIANTS, align
from einthoven.beats.fiducials import R_PEAK, Beats
from einthoven.record import EcgError, Record

LEADS = ("I", "II")


def beats_at(r: np.ndarray, duration: float) -> Beats:
    overall = np.full((len(r), 9), np.nan)
    overall[:, R_PEAK] = r
    return Beats(LEADS, np.repeat(overall[:, None], 2, 1), overall, ("N",) * len(r), duration)


def ecg(r: np.ndarray, fs: float, duration: float) -> Record:
    """P, R and T as bells at fixed places from R; lead II is lead I upside down."""
    t = np.arange(round(duration * fs)) / fs
    x = np.zeros(len(t))
    for at in r:
        for shift, width, height in ((-0.16, 0.02, 0.15), (0.0, 0.012, 1.0), (0.26, 0.04, 0.3)):
            x += height * np.exp(-0.5 * ((t - at - shift) / width) ** 2)
    return Record(np.stack([x, -x]).astype(np.float32), fs, LEADS)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("bpm", "fs"), [(60, 500.0), (75, 500.0), (100, 1000.0), (60, 100.0)])
def test_a_record_on_the_grid_is_returned_as_it_is(variant: str, bpm: int, fs: float) -> None:
    r = np.arange(0.01, 10, 60 / bpm)
    record = ecg(r, fs, 10)
    out = align(record, beats_at(r, 10), bpm=bpm, variant=variant)
    assert out.status == OK
    np.testing.assert_allclose(out.r, r, atol=1e-9)
    np.testing.assert_allclose(out.signal, record.signal, atol=2e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rr", [0.7, 0.83, 0.95])
def test_every_r_lands_on_the_grid(variant: str, rr: float) -> None:
    r = 0.3137 + np.cumsum(np.full(14, rr) + 0.03 * np.sin(np.arange(14)))
    record = ecg(r, 500.0, r[-1] + 1)
    out = align(record, beats_at(r, record.duration), variant=variant)
    assert out.status == OK
    assert out.filled == 10
    for at in out.r:
        k = round(at * 500)
        near = out.signal[0, max(k - 20, 0) : k + 21]
        assert int(near.argmax()) == k - max(k - 20, 0)
        # a grid without phase: the R peak is the same sample of the same height in every beat
        assert near.max() == pytest.approx(1.0, abs=0.01)
    assert np.isfinite(out.signal[:, 10:]).all()


def test_variant_1_2_leaves_qrs_as_it_was() -> None:
    r = np.arange(0.2, 14, 0.74)  # 81 bpm onto 60
    record = ecg(r, 500.0, 14)
    out = align(record, beats_at(r, 14), variant="1.2")
    for i in range(1, 9):
        a, b = round(r[i] * 500), round(out.r[i] * 500)
        np.testing.assert_allclose(out.signal[:, b - 17 : b + 27], record.signal[:, a - 17 : a + 27], atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "bpm", "t_end", "p_on"),
    # the fractions of RR that ../shared/reference/platform.md 2.3 gives for 1.2; those of 1.1 by its formula
    [("1.2", 60, 0.365, 0.809), ("1.2", 100, 0.495, 0.706), ("1.1", 60, 60 / 280 + 0.14, 0.96 - 60 / 330)],
)
def test_pieces_of_rr(variant: str, bpm: float, t_end: float, p_on: float) -> None:
    from einthoven.beats.align import _knots

    rr = 60 / bpm
    knots = _knots(np.array([rr]), bpm, variant)[0] / rr
    middle = (len(knots) - 2) // 2
    assert knots[middle : middle + 2] == pytest.approx([t_end, p_on], abs=6e-4)
    assert (np.diff(knots) > 0).all()


def test_what_cannot_be_aligned_is_told() -> None:
    r = np.arange(0.2, 10, 0.8)
    record = ecg(r, 500.0, 10)
    assert align(record, beats_at(r[:0], 10)).status == NONE
    one = align(record, beats_at(r[:1], 10))
    assert one.status == FEW
    assert np.isnan(one.signal).all()
    slow = align(record, beats_at(np.arange(0.5, 10, 1.5), 10))  # 40 bpm: 7 beats for 10 places
    assert slow.status == FEW
    assert np.isfinite(slow.signal[:, 10:3200]).all()
    assert np.isnan(slow.signal[:, -400:]).all()
    rng = np.random.default_rng(0)
    wild = 0.3 + np.cumsum(rng.uniform(0.4, 1.0, 16))
    assert align(ecg(wild, 500.0, 13), beats_at(wild, 13)).status == IRREGULAR


@pytest.mark.parametrize("bpm", [40, 100, 150, 180, 220])
def test_no_rate_leaves_a_hole(bpm: int) -> None:
    r = np.arange(0.3, 10, 60 / bpm)
    out = align(ecg(r, 500.0, 10), beats_at(r, 10))
    if bpm >= 60:
        assert np.isfinite(out.signal[:, 10:]).all()
    assert len(out.beats) == len(r) - 2  # the median is of all beats, not only of those that the grid has room for
    median = out.median_beat()
    assert median.signal.shape == (2, 500)
    assert int(median.signal[0].argmax()) == 500 // 3


def test_missing_leads_stay_missing() -> None:
    r = np.arange(0.2, 10, 0.8)
    record = ecg(r, 500.0, 10)
    record.signal[1] = np.nan
    out = align(record, beats_at(r, 10))
    assert np.isnan(out.signal[1]).all()
    assert np.isfinite(out.signal[0, 10:]).all()


def test_refuses_a_grid_that_is_none() -> None:
    r = np.arange(0.2, 10, 0.8)
    record = ecg(r, 500.0, 10)
    with pytest.raises(EcgError, match=r"no variant '2.0'"):
        align(record, beats_at(r, 10), variant="2.0")
    with pytest.raises(EcgError, match="holds no RR"):
        align(record, beats_at(r, 10), bpm=0)
    with pytest.raises(EcgError, match="no beat lies between"):
        align(record, beats_at(r[:0], 10)).median_beat()


@pytest.mark.parametrize(("theirs", "ours", "rms"), [("hrc", "1.2", 0.02), ("linear", "linear", 0.005)])
def test_agrees_with_rlign(theirs: str, ours: str, rms: float) -> None:
    """The published package (1.2, MIT), where it is installed: the same waves at the same places; it leaves the last RR
    empty."""
    rlign = pytest.importorskip("rlign")
    r = np.arange(0.4, 10, 0.8)
    record = ecg(r, 500.0, 10)
    aligner = rlign.Rlign(sampling_rate=500, select_lead=0, scale_method=theirs, num_workers=1)
    got = np.asarray(aligner.transform(record.signal[None].astype(float)))[0, :, :4400]
    gap = got - align(record, beats_at(r, 10), variant=ours).signal[:, :4400]
    assert np.isfinite(gap).mean() > 0.99
    assert np.sqrt(np.nanmean(gap**2)) < rms
