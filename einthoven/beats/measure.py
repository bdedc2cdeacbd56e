"""`measure`: from a record and its beats to every figure of `Measurements`.

Intervals rest on the fiducials over all leads (earliest onset, latest offset) of the dominant beats: AHA/ACCF/HRS 2007 part I
(Kligfield et al., J Am Coll Cardiol 2007; 49: 1109), CSE working party (Eur Heart J 1985; 6: 815). Amplitudes come from the
median beat.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from einthoven.beats.atrial import f_waves
from einthoven.beats.classify import classify
from einthoven.beats.fiducials import (
    P_OFF,
    P_ON,
    P_PEAK,
    PACED,
    QRS_OFF,
    QRS_ON,
    SUPRAVENTRICULAR,
    T_OFF,
    T_ON,
    VENTRICULAR,
    Beats,
    Times,
)
from einthoven.beats.measurements import NAN, LeadMeasurements, Measurements, Quantity
from einthoven.beats.median import MedianBeats, median_beats
from einthoven.beats.morphology import lead_measurements
from einthoven.beats.spikes import pacing_spikes
from einthoven.record import LIMB_LEADS, Record, derive_limb_leads

_OVER = "over all leads, mean of the middle half of the dominant beats"

# name: (unit, definition with its source).
DEFINITIONS: dict[str, tuple[str, str]] = {
    "rate_bpm": ("/min", "ventricular rate: 60 s over the mean RR interval of all beats"),
    "rr_ms": ("ms", "mean RR interval of all beats"),
    "rr_min_ms": ("ms", "shortest RR interval"),
    "rr_max_ms": ("ms", "longest RR interval"),
    "rr_sd_ms": ("ms", "standard deviation of normal-to-normal RR (SDNN; ESC/NASPE task force, Circulation 1996)"),
    "rr_rmssd_ms": ("ms", "root mean square of successive differences of normal-to-normal RR (ESC/NASPE task force 1996)"),
    "rr_irregularity": (
        "",
        "mean |difference of successive RR| / mean RR, RR that touch a premature or ventricular beat left out",
    ),
    "atrial_rate_bpm": ("/min", "60 s over the median PP interval, P waves that no QRS follows included"),
    "p_fraction": ("", "share of QRS with a P wave before them; ventricular and paced ones left out where there are others"),
    "p_per_qrs": ("", "number of P waves, those without QRS included, per QRS"),
    "pr_ms": ("ms", f"earliest P onset to earliest QRS onset {_OVER} (AHA/ACCF/HRS 2007 I)"),
    "pr_sd_ms": ("ms", "standard deviation of the PR interval over the dominant beats"),
    "p_ms": ("ms", f"earliest P onset to latest P offset {_OVER} (AHA/ACCF/HRS 2007 I)"),
    "qrs_ms": ("ms", f"earliest QRS onset to latest QRS offset {_OVER} (AHA/ACCF/HRS 2009 III)"),
    "qt_ms": ("ms", f"earliest QRS onset to latest T offset {_OVER}, of all where RR is irregular (AHA/ACCF/HRS 2009 IV)"),
    "jt_ms": ("ms", "QT less QRS (AHA/ACCF/HRS 2009 IV)"),
    "qtc_bazett_ms": ("ms", "QT / sqrt(RR in s) (Bazett, Heart 1920)"),
    "qtc_fridericia_ms": ("ms", "QT / cbrt(RR in s) (Fridericia, Acta Med Scand 1920)"),
    "qtc_framingham_ms": ("ms", "QT + 154 ms (1 - RR in s) (Sagie et al., Am J Cardiol 1992)"),
    "qtc_hodges_ms": ("ms", "QT + 1.75 (rate - 60) (Hodges et al., J Am Coll Cardiol 1983)"),
    "p_axis_deg": ("deg", "frontal axis of the net area of P above the line between its ends, in I and aVF"),
    "qrs_axis_deg": ("deg", "frontal axis of the net area of QRS in I and aVF"),
    "t_axis_deg": (
        "deg",
        "frontal axis of the net area of T above the line between its ends, in I and aVF (without an ST shift)",
    ),
    "qrs_t_angle_deg": ("deg", "angle between the frontal axes of QRS and T, 0..180"),
    "f_wave_hz": (
        "Hz",
        "dominant atrial frequency, 3..12 Hz, in V1 or the inferior leads: after QRS-T cancellation where RR is irregular, "
        "between T and QRS where it is regular",
    ),
    "f_wave_power": (
        "",
        "share of the power that f_wave_hz stands for: where RR is irregular, +- 0.75 Hz and first harmonic in 1..20 Hz after "
        "QRS-T cancellation; where it is regular, the variance between T and QRS (P waves included) that it explains",
    ),
    "spikes": ("", "pacing spikes found in the signal"),
    "n_beats": ("", "QRS complexes found"),
    "n_ventricular": ("", "ventricular beats"),
    "n_supraventricular": ("", "premature supraventricular beats"),
    "n_paced": ("", "ventricular beats after a pacing spike"),
}

_IRREGULAR = 0.10  # rr_irregularity above which QT is averaged over all beats
_P_LEAST = 0.5  # share of dominant beats that must show P for PR and P to be told


def measure(record: Record, beats: Beats | None = None, median: MedianBeats | None = None) -> Measurements:
    """Measures a record.

    Args:
        record: any leads, any rate, any length. Leads that are NaN or flat are left out.
        beats: its beats, with `kinds` set by `classify`; None finds and classifies them.
        median: their median beat, where the caller has made it already.
    Returns:
        every quantity that `Measurements` names - NaN with a reason (`why`) where it cannot be measured - and every lead's
        waves.
    """
    if beats is None:
        from einthoven.beats.delineate import delineate

        beats = classify(record, delineate(record))
    if median is None:
        median = median_beats(record, beats)
    sheet = _Sheet()
    _count(sheet, record, beats)
    _rhythm(sheet, beats)
    _atria(sheet, record, beats)
    p_seen = _intervals(sheet, beats, median)
    t_seen = bool(median) and bool(np.isfinite(median.overall[T_OFF]))
    leads = lead_measurements(median, p=p_seen, t=t_seen)
    _axes(sheet, median, p_seen)
    return Measurements(sheet.done(), leads, _warnings(beats, leads))


class _Sheet:
    """The figures as they are found."""

    def __init__(self) -> None:
        self.found: dict[str, Quantity] = {}

    def put(self, name: str, value: float, beats: Iterable[int] = (), why: str = "") -> None:
        unit, definition = DEFINITIONS[name]
        value = float(value)
        self.found[name] = Quantity(value, unit, definition, tuple(int(b) for b in beats), why if value != value else "")

    def __getitem__(self, name: str) -> float:
        return self.found[name].value

    def done(self) -> dict[str, Quantity]:
        """All quantities in the order of DEFINITIONS."""
        return {name: self.found[name] for name in DEFINITIONS}


# -- counting and rhythm -----------------------------------------------------------------------------------------------------


def _count(sheet: _Sheet, record: Record, beats: Beats) -> None:
    kinds = np.array(beats.kinds, dtype="U1")
    sheet.put("n_beats", len(beats), range(len(beats)))
    for name, kind in (("n_ventricular", VENTRICULAR), ("n_supraventricular", SUPRAVENTRICULAR), ("n_paced", PACED)):
        sheet.put(name, int((kinds == kind).sum()), np.flatnonzero(kinds == kind))
    sheet.put("spikes", len(pacing_spikes(record)))


def _rhythm(sheet: _Sheet, beats: Beats) -> None:
    rr = beats.rr * 1000
    good = np.isfinite(rr) & (rr > 0)
    everyone = range(len(beats)) if good.any() else ()
    few = "fewer than two beats"
    mean = rr[good].mean() if good.any() else NAN
    sheet.put("rr_ms", mean, everyone, few)
    sheet.put("rate_bpm", 60000 / mean, everyone, few)
    sheet.put("rr_min_ms", rr[good].min() if good.any() else NAN, everyone, few)
    sheet.put("rr_max_ms", rr[good].max() if good.any() else NAN, everyone, few)
    # normal-to-normal: neither end is premature or ventricular, nor does the interval contain the pause after one
    early = np.isin(np.array(beats.kinds, dtype="U1"), (SUPRAVENTRICULAR, VENTRICULAR))
    if early.all():
        early[:] = False  # a ventricular rhythm is regular or not in its own right
    normal = good & ~early[1:] & ~early[:-1]
    both = normal[1:] & normal[:-1]
    nn, steps = rr[normal], np.diff(rr)[both]
    who = np.flatnonzero(np.append(normal, False) | np.append(False, normal))
    why = "fewer than three normal beats in a row"
    sheet.put("rr_sd_ms", nn.std(ddof=1) if len(nn) > 1 else NAN, who, why)
    sheet.put("rr_rmssd_ms", np.sqrt((steps**2).mean()) if len(steps) else NAN, who, why)
    sheet.put("rr_irregularity", np.abs(steps).mean() / nn.mean() if len(steps) else NAN, who, why)


def _atria(sheet: _Sheet, record: Record, beats: Beats) -> None:
    p = np.isfinite(beats.overall[:, P_PEAK])
    # a P wave before the first QRS may lie before the record began
    first = beats.r > 0.35 if len(beats) else np.zeros(0, bool)
    own = first & ~np.isin(np.array(beats.kinds, dtype="U1"), (VENTRICULAR, PACED))
    asked = own if own.any() else first
    none = "no beats"
    sheet.put("p_fraction", p[asked].mean() if asked.any() else NAN, np.flatnonzero(asked), none)
    lone = beats.lone_p_overall[:, 1] if len(beats.lone_p_overall) else np.empty(0)
    sheet.put("p_per_qrs", (p.sum() + np.isfinite(lone).sum()) / len(beats) if len(beats) else NAN, np.flatnonzero(p), none)
    peaks = np.sort(np.concatenate([beats.overall[p, P_PEAK], lone[np.isfinite(lone)]]))
    pp = np.diff(peaks)
    told = len(pp) >= 2 and sheet["p_per_qrs"] >= _P_LEAST
    sheet.put("atrial_rate_bpm", 60 / np.median(pp) if told else NAN, np.flatnonzero(p), "too few P waves")
    hz, power, _, why = f_waves(record, beats)
    sheet.put("f_wave_hz", hz, range(len(beats)), why)
    sheet.put("f_wave_power", power, range(len(beats)), why)


# -- intervals ---------------------------------------------------------------------------------------------------------------


def _intervals(sheet: _Sheet, beats: Beats, median: MedianBeats) -> bool:
    """PR, P, QRS, QT and what follows from them. Returns whether the dominant beats have P waves."""
    chosen = np.array(median.beats, int)
    marks = beats.overall[chosen] * 1000  # (B, 9) ms
    told = np.isfinite(marks)
    share = float(told[:, P_PEAK].mean()) if len(chosen) else 0.0
    p_seen = share >= _P_LEAST
    for name, a, b in (("pr_ms", P_ON, QRS_ON), ("p_ms", P_ON, P_OFF), ("qrs_ms", QRS_ON, QRS_OFF)):
        of_p = a == P_ON
        have = told[:, a] & told[:, b]
        spans = marks[have, b] - marks[have, a]
        why = (
            "no beats"
            if not len(chosen)
            else f"P waves before {share:.0%} of the beats"
            if of_p
            else "no onset or offset of QRS"
        )
        sheet.put(name, _middle_mean(spans) if len(spans) and (p_seen or not of_p) else NAN, chosen[have], why)
        if name == "pr_ms":
            sheet.put(
                "pr_sd_ms", spans.std(ddof=1) if len(spans) > 1 and p_seen else NAN, chosen[have], "fewer than two PR intervals"
            )
    have = told[:, QRS_ON] & told[:, T_OFF]
    spans = marks[have, T_OFF] - marks[have, QRS_ON]
    irregular = sheet["rr_irregularity"] > _IRREGULAR
    qt = (spans.mean() if irregular else _middle_mean(spans)) if len(spans) else NAN
    sheet.put("qt_ms", qt, chosen[have], "no end of T" if len(chosen) else "no beats")
    sheet.put("jt_ms", qt - sheet["qrs_ms"], chosen[have], "no QT or no QRS")
    rr = _rr_of(beats, chosen[have])
    why = "no QT interval" if qt != qt else "fewer than two beats"
    s = rr / 1000
    sheet.put("qtc_bazett_ms", qt / np.sqrt(s), chosen[have], why)
    sheet.put("qtc_fridericia_ms", qt / np.cbrt(s), chosen[have], why)
    sheet.put("qtc_framingham_ms", qt + 154 * (1 - s), chosen[have], why)
    sheet.put("qtc_hodges_ms", qt + 1.75 * (60 / s - 60), chosen[have], why)
    return p_seen


def _middle_mean(values: Times) -> float:
    """Mean of the middle half: nearly as exact as the mean, and one strayed beat in four cannot move it."""
    values = np.sort(values)
    cut = len(values) // 4
    return float(values[cut : len(values) - cut].mean())


def _rr_of(beats: Beats, chosen: np.ndarray) -> float:
    """Mean RR in ms that QT is corrected by: between successive dominant beats, all beats where there are no such."""
    rr = beats.rr * 1000
    inside = np.zeros(len(beats), bool)
    inside[chosen] = True
    both = inside[1:] & inside[:-1] & np.isfinite(rr)
    rr = rr[both] if both.any() else rr[np.isfinite(rr)]
    return float(rr.mean()) if len(rr) else NAN


# -- axes --------------------------------------------------------------------------------------------------------------------


def _axes(sheet: _Sheet, median: MedianBeats, p_seen: bool) -> None:
    frontal = _frontal(median)
    at, fs = median.overall, median.fs
    t_on = at[T_ON] if np.isfinite(at[T_ON]) else at[QRS_OFF] + 0.04
    for name, on, off, seen, least in (
        ("p_axis_deg", at[P_ON], at[P_OFF], p_seen, 0.005),
        ("qrs_axis_deg", at[QRS_ON], at[QRS_OFF], True, 0.01),
        ("t_axis_deg", t_on, at[T_OFF], True, 0.008),
    ):
        value, why = NAN, "needs two limb leads" if median else "no beats"
        if frontal is not None:
            why = "the wave is absent"
            if seen and np.isfinite([on, off]).all():
                value, why = _axis(frontal, on, off, fs, least, ramp=name != "qrs_axis_deg")
        sheet.put(name, value, median.beats, why)
    gap = abs(sheet["qrs_axis_deg"] - sheet["t_axis_deg"]) % 360
    sheet.put("qrs_t_angle_deg", min(gap, 360 - gap) if gap == gap else NAN, median.beats, "needs the axes of QRS and T")


def _frontal(median: MedianBeats) -> np.ndarray | None:
    """(2, T) the heart vector to the left (I) and to the feet (aVF, on the scale of I), from any two limb leads; None
    without two."""
    if not median:
        return None
    good = [n for n in LIMB_LEADS if n in median.leads and np.ptp(np.nan_to_num(median.signal[median.leads.index(n)])) > 1e-3]
    whole = derive_limb_leads(Record(median.signal, median.fs, median.leads).pick(good))
    if "I" not in whole or "aVF" not in whole:
        return None
    return np.stack([whole.lead("I"), whole.lead("aVF") * (2 / np.sqrt(3))]).astype(np.float64)


def _axis(frontal: np.ndarray, on: float, off: float, fs: float, least: float, *, ramp: bool) -> tuple[float, str]:
    """Direction in degrees of the mean vector between `on` and `off`, -180 < axis <= 180; NaN where it is shorter than
    `least` mV."""
    a, b = max(round(on * fs), 0), min(round(off * fs), frontal.shape[1] - 1)
    y = frontal[:, a : b + 1]
    if y.shape[1] < 3 or not np.isfinite(y).all():
        return NAN, "the wave is not whole"
    if ramp:
        k = max(1, round(0.006 * fs))
        left, right = frontal[:, max(a - k, 0) : a + 1].mean(1), frontal[:, b : b + k + 1].mean(1)
        y = y - left[:, None] - (right - left)[:, None] * np.linspace(0, 1, y.shape[1])
    x, f = y.mean(1)
    if np.hypot(x, f) < least:
        return NAN, "positive and negative parts cancel out: no direction"
    return float(np.degrees(np.arctan2(f, x))), ""


def _warnings(beats: Beats, leads: dict[str, LeadMeasurements]) -> tuple[str, ...]:
    told = []
    if not len(beats):
        told.append("no beats found")
    lost = [n for n, m in leads.items() if m.r_mv != m.r_mv]
    if len(beats) and lost:
        told.append(f"not measured: {', '.join(lost)}")
    return tuple(told)
