"""Measured features: what a model may see of an ECG besides its samples, as one vector of named figures.

Delineation, measurement and the rules of the societies run first; what they find is written down in a fixed order. A few
hundred figures that a cardiologist would look at teach more from a thousand ECGs than the same number of samples.

    names = NAMES                        # F of them
    vector = features(record)            # (F,) float32, NaN where it cannot be measured

The record is brought to 100 Hz first, the rate of most of PTB-XL, so that a figure does not depend on how finely a recorder
sampled. Letters: L leads, T samples, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import P_OFF, P_ON, QRS_OFF, QRS_ON, R_PEAK, T_OFF, Beats
from einthoven.beats.measurements import LeadMeasurements, Measurements
from einthoven.findings import RULES
from einthoven.findings.finding import Finding
from einthoven.record import STANDARD_LEADS, EcgError, Record, derive_limb_leads
from einthoven.signal.quality import Quality

if TYPE_CHECKING:
    from einthoven.beats.median import MedianBeats

Floats = NDArray[np.float64]
Vector = NDArray[np.float32]

VERSION = 1  # counts up whenever a name, its order or its meaning changes
FS = 100.0

QUANTITIES = (
    "rate_bpm rr_ms rr_min_ms rr_max_ms rr_sd_ms rr_rmssd_ms rr_irregularity atrial_rate_bpm p_fraction p_per_qrs pr_ms "
    "pr_sd_ms p_ms qrs_ms qt_ms jt_ms qtc_bazett_ms qtc_fridericia_ms qtc_framingham_ms qtc_hodges_ms p_axis_deg "
    "qrs_axis_deg t_axis_deg qrs_t_angle_deg f_wave_hz f_wave_power"
).split()
_COUNTS = ("spikes", "n_beats", "n_ventricular", "n_supraventricular", "n_paced")
_AXES = ("p_axis_deg", "qrs_axis_deg", "t_axis_deg")
LEAD_FIGURES = tuple(f.name for f in fields(LeadMeasurements))
_LEAD_MORE = ("peak_to_peak_mv", "net_mv", "r_share", "qrs_area_mvms", "st_area_mvms", "t_area_mvms", "t_over_r")
STATEMENTS_ASKED = tuple(dict.fromkeys(name for rule in RULES for name in rule.names))
_SURE = {"cannot be determined": 0.2, "possible": 0.4, "probable": 0.7, "definite": 1.0}

# The median beat itself: the eight leads that do not follow from others, from BEFORE_S ahead of R to AFTER_S behind it.
BEAT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
BEAT_FS, BEFORE_S, AFTER_S = 125.0, 0.32, 0.576
BEAT_SAMPLES = round((BEFORE_S + AFTER_S) * BEAT_FS)

# Frank's X (left), Y (down), Z (to the back) from V1..V6, I, II: the inverse Dower transform (Edenbrandt & Pahlm, J
# Electrocardiol 1988; 21: 361).
_DOWER_LEADS = ("V1", "V2", "V3", "V4", "V5", "V6", "I", "II")
_DOWER = np.array(
    [
        [-0.172, -0.074, 0.122, 0.231, 0.239, 0.194, 0.156, -0.010],
        [0.057, -0.019, -0.106, -0.022, 0.041, 0.048, -0.227, 0.887],
        [-0.229, -0.310, -0.246, -0.063, 0.055, 0.108, 0.022, 0.102],
    ]
)
_TERRITORIES = {
    "septal": ("V1", "V2"),
    "anterior": ("V2", "V3", "V4"),
    "lateral": ("I", "aVL", "V5", "V6"),
    "inferior": ("II", "III", "aVF"),
}


@dataclass(frozen=True)
class Figures:
    """That a model sees all measured features of a version, in their order: what a preset is for signals."""

    name: str = "measured features"
    version: int = VERSION


def features(record: Record) -> Vector:
    """(F,) float32 in the order of NAMES, NaN where a figure cannot be measured.

    Args:
        record: any leads, rate and length; limb leads that follow from others are derived. Age and sex are taken from
            `record.patient`, NaN where it is silent.
    """
    e = examined(record)
    return vector(e.record, e.beats, e.median, e.measurements, e.quality, e.findings)


@dataclass(frozen=True)
class Examined:
    """An ECG at 100 Hz, and all that was found in it."""

    record: Record
    beats: Beats
    median: MedianBeats
    measurements: Measurements
    quality: Quality
    findings: tuple[Finding, ...]


_last: list[tuple[Record, Examined]] = []  # several representations of one ECG ask for the same, one after the other


def examined(record: Record) -> Examined:
    """Delineated, measured and judged by the rules at FS; of the last ECG it is kept."""
    from einthoven.beats.classify import classify
    from einthoven.beats.delineate import delineate
    from einthoven.beats.measure import measure
    from einthoven.beats.median import median_beats
    from einthoven.findings import find
    from einthoven.signal.quality import assess
    from einthoven.signal.resample import resample

    for known, found in _last:
        if known is record:
            return found
    given, record = record, derive_limb_leads(record.ecg())
    if record.fs != FS:
        record = resample(record, FS)
    quality = assess(record)
    beats = classify(record, delineate(record))
    median = median_beats(record, beats)
    measurements = measure(record, beats, median)
    made = Examined(record, beats, median, measurements, quality, find(record, beats, measurements, quality))
    _last[:] = [(given, made)]
    return made


def doubts(measured: Vector) -> list[str]:
    """What must be said of a model's answer that rests on these features (F,): leads that it could not see, a poor signal.

    Raises:
        EcgError: no beat was found. A model would answer with what is usual, and that is "normal".
    """
    if not measured[NAMES.index("n_beats_in_10_s")] > 0:
        raise EcgError("no beats were found, so nothing could be measured that the model could judge")
    lost = [lead for lead in STANDARD_LEADS if np.isnan(measured[NAMES.index(f"{lead}.r_mv")])]
    if len(lost) == len(STANDARD_LEADS):
        raise EcgError("no lead could be measured, so there is nothing that the model could judge")
    told = [f"not measured: {', '.join(lost)}; the model takes what is usual there, trust it less"] if lost else []
    if max(measured[NAMES.index(f"rule.{name}")] for name in ("unreadable", "poor_quality")) > 0:
        told.append("the signal is poor, and so is what the model says of it")
    return told


def vector(
    record: Record,
    beats: Beats,
    median: MedianBeats,
    measurements: Measurements,
    quality: Quality,
    findings: tuple[Finding, ...],
) -> Vector:
    """`features` of a record that has been measured already."""
    told = dict(_told(record, beats, median, measurements, quality, findings))
    return np.array([told[name] for name in FIGURES] + list(_beat(median).ravel()), np.float32)


def _told(
    record: Record, beats: Beats, median: MedianBeats, m: Measurements, quality: Quality, findings: tuple[Finding, ...]
) -> Iterator[tuple[str, float]]:
    """Every figure but the beat's samples, by name, in the order of NAMES."""
    age, sex = record.patient.age, record.patient.sex
    yield "age", np.nan if age is None else min(float(age), 90.0)
    yield "male", {"male": 1.0, "female": 0.0}.get(sex or "", np.nan)
    for name in QUANTITIES:
        yield name, m[name]
    for name in _COUNTS:  # so that a long recording has no more of them than a short one
        yield f"{name}_in_10_s", m[name] * 10 / record.duration if record.duration else np.nan
    for name in _AXES:
        yield f"{name}.cos", float(np.cos(np.radians(m[name])))
        yield f"{name}.sin", float(np.sin(np.radians(m[name])))
    yield from _rhythm(beats)
    leads = {name: m.leads.get(name, LeadMeasurements()) for name in STANDARD_LEADS}
    areas = _areas(median)
    for name, lead in leads.items():
        for figure in LEAD_FIGURES:
            yield f"{name}.{figure}", float(getattr(lead, figure))
        yield from ((f"{name}.{k}", v) for k, v in _more(lead, areas.get(name, (np.nan,) * 3)).items())
    yield from _voltages(leads, m["qrs_ms"]).items()
    yield from _regions(leads).items()
    yield from _loops(median).items()
    made = {f.name: _SURE[f.confidence] for f in findings}
    for name in STATEMENTS_ASKED:
        yield f"rule.{name}", made.get(name, 0.0)
    yield "quality", quality.score
    for name in STANDARD_LEADS:
        yield f"{name}.quality", quality.leads[name].score if name in quality.leads else 0.0


def _rhythm(beats: Beats) -> Iterator[tuple[str, float]]:
    """How RR intervals are spread: what tells fibrillation, ectopy and sinus arrhythmia from each other."""
    rr = beats.rr[np.isfinite(beats.rr)]
    mean = float(rr.mean()) if len(rr) else np.nan
    spread = np.sort(rr) / mean if len(rr) > 2 else np.full(3, np.nan)
    steps = np.abs(np.diff(rr)) / mean if len(rr) > 2 else np.full(1, np.nan)
    yield "rr.shortest_share", float(spread[0])
    yield "rr.longest_share", float(spread[-1])
    yield "rr.middle_half_share", float(np.quantile(spread, 0.75) - np.quantile(spread, 0.25))
    yield "rr.median_step_share", float(np.median(steps))
    yield "rr.largest_step_share", float(steps.max())
    yield "confidence", float(np.median(beats.confidence)) if len(beats.confidence) else np.nan


def _more(lead: LeadMeasurements, areas: tuple[float, float, float]) -> dict[str, float]:
    up, down = max(lead.r_mv, lead.r2_mv), min(lead.q_mv, lead.s_mv, lead.s2_mv)
    span = up - down
    return dict(
        zip(
            _LEAD_MORE,
            (
                span,
                up + down,
                up / span if span > 0 else np.nan,
                *areas,
                lead.t_mv / max(span, 0.1) if span == span else np.nan,
            ),
            strict=True,
        )
    )


def _areas(median: MedianBeats) -> dict[str, tuple[float, float, float]]:
    """Net areas, mV ms, of QRS, of the 80 ms after it, and from there to the end of T, lead by lead."""
    on, off, end = (float(median.overall[k]) for k in (QRS_ON, QRS_OFF, T_OFF))
    if not median or not np.isfinite([on, off]).all():
        return {}
    end = end if np.isfinite(end) else off + 0.25
    cuts = [max(round(t * median.fs), 0) for t in (on, off, off + 0.08, max(end, off + 0.1))]
    ms = 1000 / median.fs
    parts = [np.nansum(median.signal[:, a:b], axis=1) * ms for a, b in pairwise(cuts)]
    return {name: (float(parts[0][i]), float(parts[1][i]), float(parts[2][i])) for i, name in enumerate(median.leads)}


def _voltages(leads: Mapping[str, LeadMeasurements], qrs_ms: float) -> dict[str, float]:
    """The sums of the hypertrophy criteria and the growth of R over the chest.

    Sokolow & Lyon, Am Heart J 1949; Casale et al. (Cornell), J Am Coll Cardiol 1985; Lewis, Heart 1914; Peguero et al., J Am
    Coll Cardiol 2017.
    """
    r = {n: max(x.r_mv, x.r2_mv) for n, x in leads.items()}
    s = {n: -min(x.q_mv if x.qs else 0.0, x.s_mv, x.s2_mv) for n, x in leads.items()}
    span = {n: x.qrs_peak_to_peak_mv for n, x in leads.items()}
    chest = [f"V{i}" for i in range(1, 7)]
    share = np.array([r[n] / (r[n] + s[n]) if r[n] + s[n] > 0 else np.nan for n in chest])
    past = np.flatnonzero(share >= 0.5)
    cornell = r["aVL"] + s["V3"]
    return {
        "sokolow_lyon_mv": s["V1"] + max(r["V5"], r["V6"]),
        "sokolow_lyon_right_mv": r["V1"] + max(s["V5"], s["V6"]),
        "cornell_mv": cornell,
        "cornell_product_mvms": cornell * qrs_ms,
        "lewis_mv": r["I"] + s["III"] - s["I"] - r["III"],
        "peguero_mv": max(s.values()) + s["V4"],
        "r_avl_mv": r["aVL"],
        "largest_chest_mv": max(span[n] for n in chest),
        "largest_limb_mv": max(span[n] for n in STANDARD_LEADS[:6]),
        "smallest_limb_mv": min(span[n] for n in STANDARD_LEADS[:6]),
        "sum_mv": sum(span.values()),
        "r_growth.v1_v3_mv": r["V3"] - r["V1"],
        "r_growth.v1_v4_mv": r["V4"] - r["V1"],
        "r_growth.least_step_mv": float(np.min(np.diff([r[n] for n in chest[:4]]))),
        "r_growth.loss_v4_v6": r["V6"] / r["V4"] if r["V4"] > 0 else np.nan,
        "r_growth.transition": float(past[0]) if len(past) else 6.0,
    }


def _regions(leads: Mapping[str, LeadMeasurements]) -> dict[str, float]:
    """Q, ST and T by territory: the worst two neighbours decide, as the criteria ask for contiguous leads."""
    out: dict[str, float] = {}
    for region, names in _TERRITORIES.items():
        own = [leads[n] for n in names]
        out[f"{region}.q_depth_mv"] = _second([x.q_mv for x in own], low=True)
        out[f"{region}.q_ms"] = _second([x.q_ms for x in own], low=False)
        out[f"{region}.q_over_r"] = _second([-x.q_mv / max(x.r_mv, 0.05) for x in own], low=False)
        out[f"{region}.st_up_mv"] = _second([x.st_j60_mv for x in own], low=False)
        out[f"{region}.st_down_mv"] = _second([x.st_j60_mv for x in own], low=True)
        out[f"{region}.t_low_mv"] = _second([x.t_mv for x in own], low=True)
        out[f"{region}.t_high_mv"] = _second([x.t_mv for x in own], low=False)
    every = [leads[n] for n in STANDARD_LEADS if n not in ("aVR", "V1")]
    out["t_inverted_leads"] = float(sum(x.t_mv < -0.1 for x in every))
    out["t_flat_leads"] = float(sum(abs(x.t_mv) < 0.1 * max(x.r_mv, 0.5) for x in every))
    out["st_down_leads"] = float(sum(x.st_j60_mv < -0.05 for x in every))
    out["st_up_leads"] = float(sum(x.st_j60_mv > 0.1 for x in every))
    out["q_leads"] = float(sum(x.q_ms >= 30 and -x.q_mv >= 0.1 for x in every))
    out["notched_leads"] = float(sum(x.notches > 0 for x in every))
    out["r_peak_time_left_ms"] = float(np.nanmax([leads[n].r_peak_time_ms for n in ("V5", "V6")] + [-1.0]))
    out["r_peak_time_right_ms"] = float(np.nanmax([leads[n].r_peak_time_ms for n in ("V1", "V2")] + [-1.0]))
    return out


def _second(values: list[float], *, low: bool) -> float:
    """The second smallest (or largest) of what could be measured."""
    known = sorted(v for v in values if v == v)
    if len(known) < 2:
        return np.nan
    return known[1] if low else known[-2]


def _loops(median: MedianBeats) -> dict[str, float]:
    """Vectors of QRS and T in space (inverse Dower): size, direction, the angle between them, how round the loops are.

    The spatial QRS-T angle and the ventricular gradient: Man et al., J Electrocardiol 2011; 44: 376.
    """
    names = ("size", "x", "y", "z", "flatness", "roundness")
    out = {f"{wave}.{name}": np.nan for wave in ("p_loop", "qrs_loop", "t_loop") for name in names}
    out |= {
        "qrs_t_spatial_deg": np.nan,
        "gradient_mvms": np.nan,
        "gradient.x": np.nan,
        "gradient.y": np.nan,
        "gradient.z": np.nan,
    }
    if not median or any(n not in median.leads for n in _DOWER_LEADS):
        return out
    eight = median.signal[[median.leads.index(n) for n in _DOWER_LEADS]].astype(float)
    frank = _DOWER @ np.nan_to_num(eight)  # (3, T)
    means: dict[str, Floats] = {}
    on, off, end = (float(median.overall[k]) for k in (QRS_ON, QRS_OFF, T_OFF))
    spans = {
        "p_loop": (float(median.overall[P_ON]), float(median.overall[P_OFF])),
        "qrs_loop": (on, off),
        "t_loop": (off + 0.06, end),
    }
    for wave, (a, b) in spans.items():
        if not np.isfinite([a, b]).all() or b - a < 0.02:
            continue
        y = frank[:, max(round(a * median.fs), 0) : round(b * median.fs) + 1]
        means[wave] = y.sum(1) * 1000 / median.fs
        size = np.linalg.norm(y, axis=0)
        k = int(size.argmax())
        axes: Floats = np.linalg.svd(y, compute_uv=False)
        figures = (size[k], *(y[:, k] / max(size[k], 1e-3)), axes[2] / max(axes[0], 1e-6), axes[1] / max(axes[0], 1e-6))
        out |= {f"{wave}.{n}": float(v) for n, v in zip(names, figures, strict=True)}
    if "qrs_loop" in means and "t_loop" in means:
        q, t = means["qrs_loop"], means["t_loop"]
        cos = float(q @ t) / max(float(np.linalg.norm(q)) * float(np.linalg.norm(t)), 1e-9)
        out["qrs_t_spatial_deg"] = float(np.degrees(np.arccos(np.clip(cos, -1, 1))))
        whole = q + t
        out["gradient_mvms"] = float(np.linalg.norm(whole))
        out |= {f"gradient.{n}": float(v) for n, v in zip("xyz", whole / max(float(np.linalg.norm(whole)), 1e-3))}
    return out


def _beat(median: MedianBeats) -> Vector:
    """(8, BEAT_SAMPLES) mV of the median beat, R at BEFORE_S, NaN where no beat tells."""
    out = np.full((len(BEAT_LEADS), BEAT_SAMPLES), np.nan, np.float32)
    if not median or not np.isfinite(median.overall[R_PEAK]):
        return out
    t = (np.arange(BEAT_SAMPLES) / BEAT_FS - BEFORE_S + float(median.overall[R_PEAK])) * median.fs
    at = np.arange(median.signal.shape[1])
    for i, name in enumerate(BEAT_LEADS):
        if name in median.leads:
            out[i] = np.interp(t, at, median.signal[median.leads.index(name)], left=np.nan, right=np.nan)
    return out


@lru_cache
def _names() -> tuple[str, ...]:
    """The names of an ECG in which nothing could be found."""
    from einthoven.beats.measurements import Quantity
    from einthoven.beats.median import MedianBeats

    nothing = np.full((0, 9), np.nan)
    beats = Beats((), np.empty((0, 0, 9)), nothing, (), 0.0)
    blank = Measurements({name: Quantity(np.nan, "", "") for name in (*QUANTITIES, *_COUNTS)})
    median = MedianBeats(np.empty((0, 0), np.float32), 500.0, ())
    record = Record(np.empty((0, 0), np.float32), FS, ())
    return tuple(name for name, _ in _told(record, beats, median, blank, Quality(0.0, "unreadable"), ()))


FIGURES: tuple[str, ...] = _names()
BEAT = tuple(f"beat.{lead}.{i}" for lead in BEAT_LEADS for i in range(BEAT_SAMPLES))
NAMES: tuple[str, ...] = FIGURES + BEAT
