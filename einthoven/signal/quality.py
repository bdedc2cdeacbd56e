"""`Quality`: whether an ECG can be read, lead by lead, before anybody measures it.

Nothing here knows where the beats are (that room comes later), so every figure is one that QRS complexes cannot disturb:
medians over windows, bands of the spectrum, runs of equal samples. bench/quality.py is how the limits were found (PTB-XL
subset, folds 1-8) and what they detect (fold 9).

Letters: L leads, T samples, W windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from einthoven.record import Record
from einthoven.signal.stretches import fill_gaps

Array = NDArray[np.float64]

# The limits at which a lead gets a flag (and its score falls to one half by that fault alone).
NOISE_UV = 30.0  # RMS above 40 Hz in the quieter part of each second
MAINS_UV = 40.0  # amplitude of the 50 or 60 Hz sine; 25 uV is a quarter of a millimetre on paper
WANDER_UV = 220.0  # RMS below 0.5 Hz
STEP_MV = 1.0  # a jump of the level within 0.2 s
LOW_MV, HIGH_MV = 0.1, 8.0  # peak-to-peak in 2 s: below is no ECG lead, above is a wrong gain
FLAT_MV, FLAT_RUN_S = 0.02, 1.0
SHORTEST_S = 2.0  # a lead with less recorded than this cannot be read

_MAINS_HZ = (50.0, 60.0)
_WINDOW_S, _MOST_WINDOWS = 10.0, 30


@dataclass(frozen=True)
class LeadQuality:
    """One lead: `score` 0 (useless) .. 1 (clean), `flags` among missing, flat, saturated, noisy, mains, baseline, gain,
    spikes, steps.

    noise_uv: RMS of muscle noise (above 40 Hz, between beats), mains_uv: amplitude at mains frequency, wander_uv: RMS
    below 0.5 Hz; NaN where the lead is too short for it.
    """

    score: float
    flags: tuple[str, ...] = ()
    noise_uv: float = float("nan")
    mains_uv: float = float("nan")
    wander_uv: float = float("nan")


@dataclass(frozen=True)
class Quality:
    """A whole record: `score` 0..1, `leads` by name, `flags` for the record (limb-lead reversal RA-LA, wrong gain, wrong
    sampling rate) and `readable`: "good", "limited" (some leads cannot be used) or "unreadable".
    """

    score: float
    readable: str
    leads: Mapping[str, LeadQuality] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def assess(record: Record) -> Quality:
    """The quality of a record of any length, lead set and sampling rate. Never raises.

    Records over 20 s are judged by up to 30 windows of 10 s spread over them; a flag stands when a third of the windows has it.
    """
    signal, fs = record.signal, record.fs
    if record.duration <= 2 * _WINDOW_S:
        return _assess(signal, fs, record.leads)
    window = round(_WINDOW_S * fs)
    count = min(_MOST_WINDOWS, int(record.duration / _WINDOW_S))
    starts = np.linspace(0, signal.shape[1] - window, count).astype(int)
    return _merged([_assess(signal[:, a : a + window], fs, record.leads) for a in starts], record.leads)


def _assess(signal: NDArray[np.float32], fs: float, names: tuple[str, ...]) -> Quality:
    x, valid = fill_gaps(signal)
    figures = _figures(x, valid, fs)
    leads = {name: _judge({k: float(v[i]) for k, v in figures.items()}, fs) for i, name in enumerate(names)}
    return _verdict(leads, _record_flags(x, figures, fs, names, leads))


def _figures(x: Array, valid: NDArray[np.bool_], fs: float) -> dict[str, Array]:
    """What is measured in each lead: name -> (L,), amplitudes in mV, shares 0..1, times in s."""
    leads, n = x.shape
    out = {"recorded_s": valid.sum(1) / fs, "missing": 1 - valid.mean(1) if n else np.ones(leads)}
    if n < 4 or not leads:
        return out
    steps = np.diff(x, axis=1)
    out["range"] = x.max(1) - x.min(1)
    out["still_s"] = _longest_run((steps == 0) & valid[:, 1:] & valid[:, :-1]) / fs
    out["rails_s"] = _time_on_rails(x, steps) / fs
    out["step"] = _largest_step(x, fs)
    out["spikes_per_s"] = _spikes(steps, fs) / np.maximum(out["recorded_s"], 1e-9)
    spectrum, f, length = _spectrum(x, fs)
    out["wander"] = _rms_of(spectrum[:, (f > 0) & (f < 0.5)], length) if n / fs >= SHORTEST_S else np.full(leads, np.nan)
    out["mains"] = np.max([_line(spectrum, f, hz, length) for hz in _MAINS_HZ], axis=0)
    out["noise"] = _noise(spectrum, f, fs, length, n)
    windows = max(n // max(round(2 * fs), 1), 1)
    out["swing"] = np.median(_windows(x, windows).max(2) - _windows(x, windows).min(2), axis=1)
    return out


def _windows(x: Array, count: int) -> Array:
    """(L, T) as (L, count, T // count), the remainder left out."""
    size = x.shape[1] // count
    return x[:, : size * count].reshape(x.shape[0], count, size)


def _spectrum(x: Array, fs: float) -> tuple[NDArray[np.complexfloating], Array, int]:
    """Spectrum (L, F) without the straight line through both ends, its frequencies (F,), and the length transformed."""
    n = x.shape[1]
    k = max(1, round(0.1 * fs))
    ends = np.stack([np.median(x[:, :k], axis=1), np.median(x[:, -k:], axis=1)], axis=1)
    line = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * np.linspace(0, 1, n)
    length = next_fast_len(n, real=True)
    return rfft((x - line).astype(np.float32), length, axis=1), rfftfreq(length, 1 / fs), length


def _rms_of(bins: NDArray[np.complexfloating], length: int) -> Array:
    """Root mean square (L,) of the part of the signal in these bins, over the transformed length."""
    out: Array = np.sqrt(2 * (np.abs(bins) ** 2).sum(1)) / length
    return out.astype(np.float64)


def _line(spectrum: NDArray[np.complexfloating], f: Array, hz: float, length: int) -> Array:
    """Amplitude (L,) of the sine at `hz` +- 0.3 Hz, less what the bands 1-4 Hz to each side would put there; 0 if it does
    not stand out of them."""
    near, far = np.abs(f - hz) <= 0.3, (np.abs(f - hz) >= 1) & (np.abs(f - hz) <= 4)
    if hz + 1 > f[-1] or not near.any() or not far.any():
        return np.zeros(spectrum.shape[0])
    power, floor = np.abs(spectrum[:, near]) ** 2, (np.abs(spectrum[:, far]) ** 2).mean(1)
    excess = np.where(power.max(1) > 8 * floor, power.sum(1) - floor * near.sum(), 0)
    out: Array = (2 / length * np.sqrt(np.maximum(excess, 0))).astype(np.float64)
    return out


def _noise(spectrum: NDArray[np.complexfloating], f: Array, fs: float, length: int, n: int) -> Array:
    """RMS (L,) above 40 Hz (0.3 fs for slow records), mains left out, in the quieter half of the 40 ms windows.

    QRS complexes fill less than half of the time, so they do not count; a muscle tremor does.
    """
    keep = (f >= min(40.0, 0.3 * fs)) & (np.abs((f + 5) % 10 - 5) > 1.0)
    for hz in range(10, int(f[-1]) + 10, 10):
        if hz % 50 and hz % 60:
            keep |= (np.abs(f - hz) <= 1.0) & (f >= min(40.0, 0.3 * fs))
    high = irfft(np.where(keep, spectrum, 0), length, axis=1)[:, :n]
    power = (_windows(high, max(int(n / fs / 0.04), 1)) ** 2).mean(2)
    out: Array = np.sqrt(np.median(power, axis=1)).astype(np.float64)
    return out


def _longest_run(still: NDArray[np.bool_]) -> Array:
    """Length (L,) of the longest run of True in each row of (L, T)."""
    n = still.shape[1]
    last = np.maximum.accumulate(np.where(still, -1, np.arange(n)), axis=1)
    longest: Array = (np.arange(n) - last).max(1).astype(np.float64)
    return longest


def _time_on_rails(x: Array, steps: Array) -> Array:
    """Samples (L,) that lie on the lead's highest or lowest value in runs of three or more: an R peak does not stay there."""
    out = np.zeros(x.shape[0])
    middle = np.median(x, axis=1)
    for rail in (x.max(1), x.min(1)):
        on = x == rail[:, None]
        run = on[:, 1:-1] & on[:, :-2] & on[:, 2:]
        out += np.where(np.abs(rail - middle) > 0.5, run.sum(1), 0)
    return out


def _largest_step(x: Array, fs: float) -> Array:
    """The largest lasting jump (L,): between the medians of the 0.8 s before and after an instant, and made within 0.2 s."""
    short = max(1, round(0.2 * fs))
    count = x.shape[1] // short
    if count < 9:
        return np.zeros(x.shape[0])
    levels = np.median(_windows(x[:, : count * short], count), axis=2)  # (L, W), one level each 0.2 s
    runs = np.lib.stride_tricks.sliding_window_view(levels, 4, axis=1)  # (L, W - 3, 4)
    middles = np.median(runs, axis=2)
    jump = np.abs(middles[:, 5:] - middles[:, :-5])
    # Wander gets from one level to the other gradually: it has moved as far again in the same time before or after.
    slope = np.maximum(np.ptp(runs, axis=2)[:, 5:], np.ptp(runs, axis=2)[:, :-5])
    largest: Array = np.max(jump - slope, axis=1, initial=0.0)
    return largest


def _spikes(steps: Array, fs: float) -> Array:
    """Single samples (L,) that stand out by more than 0.5 mV to both sides; not to be told from R peaks below 200 Hz."""
    if fs < 200:
        return np.zeros(steps.shape[0])
    turn = steps[:, 1:] * steps[:, :-1] < 0
    high = np.minimum(np.abs(steps[:, 1:]), np.abs(steps[:, :-1])) > 0.5
    count: Array = (turn & high).sum(1).astype(np.float64)
    return count


def _judge(v: Mapping[str, float], fs: float) -> LeadQuality:
    """Figures of one lead -> its flags and score."""
    if v["recorded_s"] * fs < 4:
        return LeadQuality(0.0, ("missing",))
    flags = []
    # Each fault has a severity that is 1 where its flag begins.
    severity = {
        "noisy": 1000 * v["noise"] / NOISE_UV,
        "mains": 1000 * v["mains"] / MAINS_UV,
        "baseline": 0.0 if np.isnan(v["wander"]) else 1000 * v["wander"] / WANDER_UV,
        "steps": v["step"] / STEP_MV,
        "spikes": v["spikes_per_s"] / 5,
        "saturated": v["rails_s"] / 0.04,
    }
    useless = v["recorded_s"] < SHORTEST_S
    if v["missing"] > 0.02:
        flags.append("missing")
    if v["range"] < FLAT_MV or v["still_s"] > FLAT_RUN_S:
        flags.append("flat")
        severity["saturated"] = 0.0
        useless = useless or v["range"] < FLAT_MV or v["still_s"] > v["recorded_s"] - SHORTEST_S
    flags += [name for name, s in severity.items() if s >= 1]
    if not useless and not LOW_MV <= v["swing"] <= HIGH_MV and "flat" not in flags:
        flags.append("gain")
        useless = v["swing"] < LOW_MV / 2
    score = 0.0 if useless else float(np.prod([1 / (1 + s**2) for s in severity.values()]))
    return LeadQuality(score, tuple(flags), 1000 * v["noise"], 1000 * v["mains"], 1000 * v["wander"])


def _record_flags(
    x: Array, figures: Mapping[str, Array], fs: float, names: tuple[str, ...], leads: Mapping[str, LeadQuality]
) -> tuple[str, ...]:
    """What can only be seen of all leads together."""
    flags = []
    sound = [i for i, n in enumerate(names) if leads[n].score > 0]
    if sound:
        swing = float(np.median(figures["swing"][sound]))
        if not 0.15 <= swing <= HIGH_MV:
            flags.append("wrong gain")
    return tuple(flags)


def _verdict(leads: Mapping[str, LeadQuality], flags: tuple[str, ...]) -> Quality:
    """Leads and record flags -> the whole: readable when every lead is, unreadable when less than a third is."""
    scores = [q.score for q in leads.values()]
    usable = float(np.mean([s >= 0.2 for s in scores])) if scores else 0.0
    readable = "unreadable" if usable < 1 / 3 else "limited" if usable < 1 or flags else "good"
    return Quality(float(np.mean(scores)) if scores else 0.0, readable, dict(leads), flags)


def _merged(parts: list[Quality], names: tuple[str, ...]) -> Quality:
    """The quality of a long record from that of its windows."""

    def common(flags: list[tuple[str, ...]]) -> tuple[str, ...]:
        seen = dict.fromkeys(f for part in flags for f in part)
        return tuple(f for f in seen if sum(f in part for part in flags) * 3 >= len(flags))

    def middle(values: list[float]) -> float:
        known = [v for v in values if not np.isnan(v)]
        return float(np.median(known)) if known else float("nan")

    leads = {}
    for name in names:
        q = [p.leads[name] for p in parts]
        kind = replace(q[0], score=middle([p.score for p in q]), flags=common([p.flags for p in q]))
        leads[name] = replace(
            kind,
            noise_uv=middle([p.noise_uv for p in q]),
            mains_uv=middle([p.mains_uv for p in q]),
            wander_uv=middle([p.wander_uv for p in q]),
        )
    return _verdict(leads, common([p.flags for p in parts]))
