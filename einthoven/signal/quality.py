"""`Quality`: whether an ECG can be read, lead by lead, before anybody measures it.

Nothing here knows where the beats are (that room comes later), so every figure is one that QRS complexes cannot disturb:
medians over windows, bands of the spectrum, runs of equal samples. bench/quality.py is how the limits were found (PTB-XL
subset, folds 1-8) and what they detect (fold 9).

Letters: L leads, T samples, W windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.fft import irfft, rfft, rfftfreq
from numpy.typing import NDArray

from einthoven.record import LIMB_LEADS, Record
from einthoven.signal.stretches import fill_gaps

Array = NDArray[np.float64]

# The limits at which a lead gets a flag.
# Noise, mains and wander: where measurements begin to leave their tolerance in simulated ECGs (bench/quality.py --simulated):
# of the Q and T amplitudes 2 % are 0.05 mV away at 16-20 uV of noise, 7 % at 20-30 uV; of ST 8 % at 200-300 uV of wander.
# Wander and steps are also passed by 2 to 5 % of the leads that PTB-XL's readers made no remark on (--fit).
NOISE_UV = 16.0  # RMS above 25 Hz between the beats
BURST_UV = 25.0  # the same in the worst second
NOISE_SHARE = 0.006  # of the lead's swing: tall leads bear more noise, and in a ventricular tachycardia no time is quiet
MAINS_UV = 25.0  # amplitude of the 50 or 60 Hz sine; 25 uV is a quarter of a millimetre on paper
WANDER_UV = 200.0  # RMS below 0.5 Hz
STEP_MV = 0.3  # a lasting jump of the level within 0.2 s
LOW_MV, HIGH_MV = 0.1, 8.0  # peak-to-peak in 2 s: below is no ECG lead, above is a wrong gain
FLAT_MV, FLAT_RUN_S = 0.02, 1.0
# What a lead must not pass to be usable. RMS above 25 Hz, mains too, in half of its seconds: at 50 uV ST leaves 0.05 mV in one
# lead of ten (--simulated); beyond 4 % of the swing no reader saw QRS shapes (--eye), but never less than what is noise.
VEIL_UV, VEIL_SHARE, VEIL_TALL = 50.0, 0.04, 0.012
CLIPPED = 0.03  # of the time on the rails: each QRS is cut; a pulse or a jump at the record's end lasts less
MOST_SPIKES = 5.0  # in half of the seconds
SHORTEST_S = 2.0  # a lead with less recorded than this cannot be read

LEAST_MV, MOST_MV = 0.3, 4.5  # median swing of the leads; PTB-XL subset: 0.46 to 3.3
LEAST_FS = 80.0  # Hz; below, QRS complexes lose their shape
DEAD_SHARE = 0.005  # power of a limb lead without voltage, as a share of the largest; PTB-XL subset: above 0.027
RATE_LOW, RATE_HIGH = -7.0, 3.0  # standard deviations; PTB-XL subset: -6.6 to 2.6

# Noise and burst (uV) at which the score falls to one half: nearly every recording lies below.
_SCORE_NOISE_UV, _SCORE_BURST_UV = 8.0, 15.0  # part of the shipped model's inputs, so they stay what it was trained on

_ABSURD_MV = 1e6  # cut there, so that no square overflows
_MAINS_HZ = (50.0, 60.0)
_WINDOW_S, _MOST_WINDOWS = 10.0, 30

_EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
# (I, II) as measured -> as they would be without the interchange. Each is its own inverse.
_INTERCHANGE = {"RA-LA": ((-1.0, 0.0), (-1.0, 1.0)), "RA-LL": ((1.0, -1.0), (0.0, -1.0))}
# Fitted by `python bench/quality.py --fit` on the PTB-XL subset, folds 1-8 (CC BY 4.0, Wagner et al. 2020).
_REVERSAL_BANDS = ((0.7, 6.0), (6.0, 35.0))
_FROM_CHEST = (
    np.array([[-0.529, 0.219, 0.017, -0.073, 0.158, 0.251], [-0.093, -0.017, 0.095, 0.101, 0.157, 0.274]]),
    np.array([[-0.684, 0.273, 0.071, -0.081, 0.039, 0.321], [-0.035, -0.149, 0.119, 0.116, 0.052, 0.341]]),
)
_REVERSAL_WEIGHTS = {"RA-LA": np.array([0.57, 1.54, 2.03, 3.60]), "RA-LL": np.array([3.01, 0.83, 3.33, 1.77])}
_REVERSAL_LIMIT = {"RA-LA": 1.51, "RA-LL": 1.16}  # passed by 0.2 % of the records as they are
_WIDE_HZ = 10.0  # wider QRS complexes than 98 % of the PTB-XL subset have
_RATE_MEAN = np.array([2.907, -0.166])  # log of the two figures of `pace_figures`
_RATE_WEIGHTS = np.array([4.648, -2.023])


@dataclass(frozen=True)
class LeadQuality:
    """One lead: `score` 0 (useless) .. 1 (clean), `flags` among missing, flat, saturated, noisy, mains, baseline, gain,
    spikes, steps: what a reader would remark on. `usable`: whether he would read QRS and ST in it nonetheless.

    noise_uv: RMS of muscle noise (above 25 Hz, between beats), mains_uv: amplitude at mains frequency, wander_uv: RMS
    below 0.5 Hz; NaN where the lead is too short for it.
    """

    score: float
    flags: tuple[str, ...] = ()
    noise_uv: float = float("nan")
    mains_uv: float = float("nan")
    wander_uv: float = float("nan")
    usable: bool = True


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
        stretches = _stretches(np.isfinite(signal), fs)
        if len(stretches) > 1:
            return _staggered(signal, fs, record.leads, stretches)
        return _assess(signal, fs, record.leads)
    window = round(_WINDOW_S * fs)
    count = min(_MOST_WINDOWS, int(record.duration / _WINDOW_S))
    starts = np.linspace(0, signal.shape[1] - window, count).astype(int)
    return _merged([_assess(signal[:, a : a + window], fs, record.leads) for a in starts], record.leads)


def _stretches(valid: NDArray[np.bool_], fs: float) -> dict[tuple[int, int], list[int]]:
    """Rows by the stretch (start, stop) in which they were recorded, to a tenth of a second: on paper each column of leads has
    its own. Rows with gaps inside, or next to nothing, count as recorded all along."""
    samples, step = valid.shape[1], max(round(fs / 10), 1)
    found: dict[tuple[int, int], list[int]] = {}
    for i, row in enumerate(valid):
        known = np.flatnonzero(row)
        a, b = (int(known[0]), int(known[-1]) + 1) if known.size else (0, samples)
        whole = known.size < max(SHORTEST_S * fs, 0.98 * (b - a))
        a, b = (0, samples) if whole else (a // step * step, min(-(-b // step) * step, samples))
        found.setdefault((a, b), []).append(i)
    return found


def _staggered(
    signal: NDArray[np.float32], fs: float, names: tuple[str, ...], stretches: Mapping[tuple[int, int], list[int]]
) -> Quality:
    """Leads judged over the stretch in which they were recorded; "missing" says that it is not all of the record."""
    leads: dict[str, LeadQuality] = {}
    flags: list[str] = []
    for (a, b), rows in stretches.items():
        part = _assess(signal[rows, a:b], fs, tuple(names[i] for i in rows))
        short = b - a < 0.98 * signal.shape[1]
        for name, q in part.leads.items():
            leads[name] = replace(q, flags=("missing", *q.flags)) if short and "missing" not in q.flags else q
        flags += part.flags
    return _verdict({name: leads[name] for name in names}, tuple(dict.fromkeys(flags)))


def _assess(signal: NDArray[np.float32], fs: float, names: tuple[str, ...]) -> Quality:
    x, valid = fill_gaps(signal)
    leads, n = x.shape
    if n < 4 or not leads:
        return _verdict({name: LeadQuality(0.0, ("missing",), usable=False) for name in names}, ())
    samples = np.clip(x, -_ABSURD_MV, _ABSURD_MV).astype(np.float32)
    spectrum = _spectrum(samples, fs)
    figures = _figures(samples, valid, fs, spectrum)
    quality = {name: _judge(name, {k: float(v[i]) for k, v in figures.items()}, fs) for i, name in enumerate(names)}
    return _verdict(quality, _record_flags(figures, spectrum, names, quality))


@dataclass(frozen=True)
class _Spectrum:
    """Bins (L, F) at `f` (F,) Hz of `n` samples at `fs` Hz, transformed over `length`."""

    bins: NDArray[np.complexfloating]
    f: Array
    fs: float
    n: int
    length: int

    def band(self, gain: Array) -> Array:
        """The signal (L, T) with each frequency weighted by `gain` (F,)."""
        out: Array = irfft(self.bins * gain.astype(np.float32), self.length, axis=1)[:, : self.n]
        return out


def _spectrum(x: NDArray[np.float32], fs: float) -> _Spectrum:
    """Spectrum without the straight line through both ends, which would ring at all frequencies."""
    n = x.shape[1]
    k = max(1, round(0.1 * fs))
    first, last = np.median(x[:, :k], axis=1, keepdims=True), np.median(x[:, -k:], axis=1, keepdims=True)
    length = _smooth_length(n)
    bins = rfft(x - (first + (last - first) * np.linspace(0, 1, n, dtype=np.float32)), length, axis=1)
    return _Spectrum(bins, np.asarray(rfftfreq(length, 1 / fs), np.float64), fs, n, length)


def _smooth_length(n: int) -> int:
    """The least length from n on that is a product of 2, 3 and 5, for which transforms are fast."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def _figures(x: NDArray[np.float32], valid: NDArray[np.bool_], fs: float, spectrum: _Spectrum) -> dict[str, Array]:
    """What is measured in each lead: name -> (L,), amplitudes in mV, shares 0..1, times in s."""
    leads, n = x.shape
    recorded = valid.sum(1) / fs
    steps = np.diff(x, axis=1)
    pieces = _windows(x, max(n // max(round(2 * fs), 1), 1))
    high, low = pieces.max(2), pieces.min(2)
    steady, worst, veil = _noise(spectrum)
    spikes = _spikes(steps, fs)
    wander = spectrum.bins[:, (spectrum.f > 0) & (spectrum.f < 0.5)]
    return {
        "recorded_s": recorded,
        "missing": 1 - recorded * fs / n,
        "range": x.max(1) - x.min(1),
        "still_s": _still((steps == 0) & valid[:, 1:] & valid[:, :-1], fs),
        "rails_s": _time_on_rails(x) / fs,
        "step": _largest_step(x, fs),
        "spikes_per_s": spikes.sum((1, 2)) / np.maximum(recorded, 1e-9),
        "spiky": np.median(spikes.sum(2), axis=1),
        "wander": np.sqrt(2 * (np.abs(wander) ** 2).sum(1)) / spectrum.length
        if n / fs >= SHORTEST_S
        else np.full(leads, np.nan),
        "mains": np.max([_line(spectrum, hz) for hz in _MAINS_HZ], axis=0),
        "noise": steady,
        "burst": worst,
        "veil": veil,
        "swing": np.median(high - low, axis=1),
    }


def _windows(x: NDArray[Any], count: int) -> NDArray[Any]:
    """(L, T) as (L, count, T // count), the remainder left out; one sample a window where T is less than `count`."""
    count = min(count, x.shape[1])
    size = x.shape[1] // count
    return np.asarray(x[:, : size * count].reshape(x.shape[0], count, size))


def _line(spectrum: _Spectrum, hz: float) -> Array:
    """Amplitude (L,) of the sine at `hz` +- 0.3 Hz, less what the bands 1-4 Hz to each side would put there; 0 if it does
    not stand out of them."""
    away = np.abs(spectrum.f - hz)
    near, far = away <= 0.3, (away >= 1) & (away <= 4)
    if hz + 1 > spectrum.f[-1] or not near.any() or not far.any():
        return np.zeros(spectrum.bins.shape[0])
    power, floor = np.abs(spectrum.bins[:, near]) ** 2, (np.abs(spectrum.bins[:, far]) ** 2).mean(1)
    excess = np.where(power.max(1) > 8 * floor, power.sum(1) - floor * near.sum(), 0)
    out: Array = (2 / spectrum.length * np.sqrt(np.maximum(excess, 0))).astype(np.float64)
    return out


def _noise(spectrum: _Spectrum) -> tuple[Array, Array, Array]:
    """RMS (L,) above 25 Hz: of the whole record and of its worst second, mains left out; of the median second with mains.

    Taken in windows of 40 ms, and of these the one that a quarter stays below: QRS complexes never fill the rest, not even
    at 200 a minute, so they do not count; a muscle tremor does. The band sets in gradually (20-30 Hz), for a sharp edge
    would ring from every QRS into the quiet time.
    """
    f = spectrum.f
    high = 0.5 - 0.5 * np.cos(np.pi * np.clip((f - 20) / 10, 0, 1))
    gain = high.copy()
    for hz in _MAINS_HZ:
        for multiple in np.arange(hz, min(f[-1], 500.0), hz):
            gain *= 1 - np.exp(-((f - multiple) ** 2))

    def power(weights: Array) -> Array:
        windows = _windows(spectrum.band(weights), max(round(spectrum.n / spectrum.fs / 0.04), 1))
        out: Array = (windows**2).mean(2)
        return out

    def seconds(p: Array) -> Array:
        return np.asarray(_windows(p, max(p.shape[1] // 25, 1)))  # (L, W, 25)

    def quiet(p: Array) -> Array:
        k = int(0.25 * p.shape[-1])
        out: Array = np.partition(p, k, axis=-1)[..., k]
        return out

    noise, veil = power(gain), power(high)
    return np.sqrt(quiet(noise)), np.sqrt(quiet(seconds(noise)).max(1)), np.sqrt(np.median(quiet(seconds(veil)), axis=1))


def _still(still: NDArray[np.bool_], fs: float) -> Array:
    """Seconds (L,) that the lead stays on one value. What all leads do together counts from 4 s on: noise apart, it may be
    a pause of the heart."""
    longest = _longest_run(still) / fs
    if len(still) == 1:
        return longest
    return np.where(longest > 4, longest, _longest_run(still & ~still.all(0)) / fs)


def _longest_run(still: NDArray[np.bool_]) -> Array:
    """Length (L,) of the longest run of True in each row of (L, T)."""
    n = still.shape[1]
    last = np.maximum.accumulate(np.where(still, -1, np.arange(n)), axis=1)
    longest: Array = (np.arange(n) - last).max(1).astype(np.float64)
    return longest


def _time_on_rails(x: NDArray[np.float32]) -> Array:
    """Samples (L,) that lie on the lead's highest or lowest value in runs of three or more: an R peak does not stay there."""
    out = np.zeros(x.shape[0])
    for rail in (x.max(1, keepdims=True), x.min(1, keepdims=True)):
        on = x == rail
        for i in np.flatnonzero(on.sum(1) >= 3):
            if np.abs(rail[i, 0] - np.median(x[i])) > 0.5:
                out[i] += (on[i, 1:-1] & on[i, :-2] & on[i, 2:]).sum()
    return out


def _largest_step(x: NDArray[np.float32], fs: float) -> Array:
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


def _spikes(steps: NDArray[np.float32], fs: float) -> NDArray[np.bool_]:
    """Single samples that stand out by more than 0.5 mV to both sides, (L, seconds, samples); not to be told from R peaks
    below 200 Hz."""
    turn = steps[:, 1:] * steps[:, :-1] < 0
    high = np.minimum(np.abs(steps[:, 1:]), np.abs(steps[:, :-1])) > 0.5
    return _windows(turn & high & (fs >= 200), max(round(steps.shape[1] / fs), 1))


def _judge(name: str, v: Mapping[str, float], fs: float) -> LeadQuality:
    """Figures of one lead -> its flags, its score and whether it can be used."""
    if v["recorded_s"] * fs < 4:
        return LeadQuality(0.0, ("missing",), usable=False)
    flags, bearable = [], NOISE_SHARE * v["swing"]
    # Each fault has a severity that is 1 where its flag begins.
    severity = {
        "noisy": _noisiness(v, NOISE_UV, BURST_UV, bearable),
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
    # A limb lead that the heart's axis stands upright on has next to no voltage, and nothing is wrong with it.
    least = 0.0 if name in LIMB_LEADS else LOW_MV
    if not useless and "flat" not in flags:
        severity["gain"] = max(least / max(v["swing"], 1e-9), v["swing"] / HIGH_MV) ** 2
    flags += [fault for fault, s in severity.items() if s >= 1]
    useless = useless or v["swing"] < least / 2
    graded = {**severity, "noisy": _noisiness(v, _SCORE_NOISE_UV, _SCORE_BURST_UV, bearable)}
    score = 0.0 if useless else float(np.prod([1 / (1 + s**2) for s in graded.values()]))
    usable = not useless and _can_be_read(v)
    return LeadQuality(score, tuple(flags), 1000 * v["noise"], 1000 * v["mains"], 1000 * v["wander"], usable)


def _noisiness(v: Mapping[str, float], noise_uv: float, burst_uv: float, bearable: float) -> float:
    """How many times a lead's noise, or that of its worst second, is the limit."""
    return max(v["noise"] / max(noise_uv / 1000, bearable), v["burst"] / max(burst_uv / 1000, bearable))


def _can_be_read(v: Mapping[str, float]) -> bool:
    """Whether a reader would use the lead: in half of its time noise does not veil it, it is not cut, and it moves.

    Wander and steps do not count: a beat here and there is lost, the waves of the others are where they were. Each fault counts
    for itself, for two small ones do not make a large one.
    """
    share = VEIL_SHARE * v["swing"]
    most = max(min(share, VEIL_UV / 1000), NOISE_UV / 1000, VEIL_TALL * v["swing"])
    return (
        v["veil"] <= most
        and v["rails_s"] <= CLIPPED * v["recorded_s"]
        and v["still_s"] <= v["recorded_s"] / 2
        and v["spiky"] <= MOST_SPIKES
        and v["swing"] <= 2.5 * HIGH_MV
    )


def _record_flags(
    figures: Mapping[str, Array], spectrum: _Spectrum, names: tuple[str, ...], leads: Mapping[str, LeadQuality]
) -> tuple[str, ...]:
    """What can only be seen of all leads together."""
    flags = []
    moving = (figures["recorded_s"] >= SHORTEST_S) & (figures["range"] > 0) & (figures["still_s"] <= FLAT_RUN_S)
    if moving.any() and not LEAST_MV <= np.median(figures["swing"][moving]) <= MOST_MV:
        flags.append("wrong gain")
    if spectrum.fs < LEAST_FS:
        flags.append("low sampling rate")
    sound = [i for i, n in enumerate(names) if leads[n].score > 0]
    if sound and not RATE_LOW <= rate_error(spectrum, sound) <= RATE_HIGH:
        flags.append("wrong sampling rate")
    recorded = dict(zip(names, figures["recorded_s"], strict=True))
    if all(recorded.get(n, 0) >= SHORTEST_S and (leads[n].score > 0 or n in ("I", "II")) for n in _EIGHT):
        flags += [f"limb-lead reversal {pair}" for pair in reversals(spectrum, names)]
    return tuple(flags)


def rate_error(spectrum: _Spectrum, rows: list[int]) -> float:
    """How far the record lies from ECGs in the direction in which a wrong sampling rate moves it, in standard deviations.

    A rate that is stated k times too high multiplies every frequency by k and divides the RR interval by k.
    """
    figures = pace_figures(spectrum, rows)
    return 0.0 if figures is None else float(_RATE_WEIGHTS @ (np.log(figures) - _RATE_MEAN))


def pace_figures(spectrum: _Spectrum, rows: list[int]) -> tuple[float, float] | None:
    """`slope_hz` and the period (s) of the QRS band's envelope; None where either cannot be told."""
    half, period = slope_hz(spectrum, rows), _period(spectrum, rows)
    return None if half is None or period is None else (half, period)


def slope_hz(spectrum: _Spectrum, rows: list[int]) -> float | None:
    """The frequency (Hz) that halves the power of the derivative within 1-40 Hz: the narrower QRS, the higher."""
    inside = (spectrum.f >= 1) & (spectrum.f <= 40)
    power = np.abs(spectrum.bins[rows][:, inside]) ** 2
    total = power.sum(1, keepdims=True)
    slope = np.cumsum(np.median(power / np.where(total > 0, total, 1), axis=0) * spectrum.f[inside] ** 2)
    if not slope.size or slope[-1] <= 0:
        return None
    return float(spectrum.f[inside][np.searchsorted(slope, slope[-1] / 2)])


def _period(spectrum: _Spectrum, rows: list[int]) -> float | None:
    """The shortest period (s) at which the envelope of 8-30 Hz repeats itself, 0.12-5 s; None where it does not."""
    f, fs = spectrum.f, spectrum.fs
    count = int(spectrum.n / fs * 50)
    if count < 100 or f[-1] < 15:
        return None
    narrow = _Spectrum(spectrum.bins[rows], f, fs, spectrum.n, spectrum.length)
    energy = (narrow.band(((f > 8) & (f < 30)).astype(np.float64)) ** 2).sum(0)
    edges = (np.arange(count) * (fs / 50)).astype(int)
    envelope = np.sqrt(np.add.reduceat(energy, edges) / np.maximum(np.diff(np.append(edges, energy.size)), 1))
    envelope = np.convolve(envelope - envelope.mean(), np.ones(5) / 5, "same")
    lags = irfft(np.abs(rfft(envelope, 2 * count)) ** 2)[: min(count // 2, 250)]
    peaks = np.flatnonzero((lags[1:-1] >= lags[:-2]) & (lags[1:-1] > lags[2:])) + 1
    peaks = peaks[peaks >= 6]
    if not peaks.size or lags[peaks].max() <= 0:
        return None
    return float(peaks[lags[peaks] > 0.7 * lags[peaks].max()][0] / 50)


def reversals(spectrum: _Spectrum, names: tuple[str, ...]) -> list[str]:
    """The interchange of limb electrodes that explains the record best, if one explains it clearly better than none does,
    and those with the right-leg electrode, which leave a lead without voltage."""
    dead = [pair for pair, share in dead_leads(spectrum, names).items() if share < DEAD_SHARE]
    hz = slope_hz(spectrum, [names.index(n) for n in _EIGHT])
    if dead or hz is None or hz < _WIDE_HZ:  # ventricular and paced beats go where they like
        return dead
    excess = {}
    for pair, gain in gains_by_undoing(spectrum, names).items():
        # P and T must agree with QRS on it: an axis deviation turns QRS alone.
        if gain[:2].sum() > 0 and gain[2:].sum() > 0:
            excess[pair] = _REVERSAL_WEIGHTS[pair] @ gain - _REVERSAL_LIMIT[pair]
    best = max(excess, key=lambda pair: excess[pair], default=None)
    return [best] if best is not None and excess[best] > 0 else []


def gains_by_undoing(spectrum: _Spectrum, names: tuple[str, ...]) -> dict[str, Array]:
    """For each interchange of limb electrodes that can be detected: by how much undoing it improves the agreement of I and
    II with the chest leads: the gain in correlation (4,) of I, II in the band of P and T (0.7-6 Hz) and I, II in that of
    QRS (6-35 Hz).

    I and II are predicted from V1..V6 with fixed weights (after Kors & van Herpen, Am J Cardiol 88:396, 2001). LA-LL is
    not among them: what it makes of a normal heart is another normal heart.
    """
    gains: dict[str, list[Array]] = {pair: [] for pair in _INTERCHANGE}
    for (low, high), weights in zip(_REVERSAL_BANDS, _FROM_CHEST, strict=True):
        covariance = _covariance(spectrum, names, low, high)
        into = np.block([[np.eye(2), np.zeros((2, 6))], [np.zeros((2, 2)), weights]])  # I, II, I from V, II from V
        c = into @ covariance @ into.T  # (4, 4)
        for pair, undo in _INTERCHANGE.items():
            gains[pair].append(_agreement(c, np.array(undo)) - _agreement(c, np.eye(2)))
    return {pair: np.concatenate(parts) for pair, parts in gains.items()}


def dead_leads(spectrum: _Spectrum, names: tuple[str, ...]) -> dict[str, float]:
    """Power of the limb lead that an interchange with RL leaves without voltage (II for RA-RL, III for LA-RL; Haisty et al.,
    Am J Cardiol 71:1490, 1993), as a share of the largest of I, II, III."""
    c = _covariance(spectrum, names, 0.7, 35.0)
    one, two, three = c[0, 0], c[1, 1], c[0, 0] + c[1, 1] - 2 * c[0, 1]
    most = float(max(one, two, three))
    return {"RA-RL": float(two / most), "LA-RL": float(three / most)} if most > 0 else {}


def _covariance(spectrum: _Spectrum, names: tuple[str, ...], low: float, high: float) -> Array:
    """Covariances (8, 8) of I, II, V1..V6 within a band, to a common factor."""
    rows = [names.index(n) for n in _EIGHT]
    bins = spectrum.bins[rows][:, (spectrum.f >= low) & (spectrum.f < high)].astype(np.complex128)
    out: Array = (bins @ bins.conj().T).real
    return out


def _agreement(c: Array, undo: Array) -> Array:
    """Correlation of I and of II, `undo` (2, 2) applied, with their prediction; `c` (4, 4) their covariances with it."""
    into = np.block([[undo, np.zeros((2, 2))], [np.zeros((2, 2)), np.eye(2)]])
    k = into @ c @ into.T
    power = np.diag(k)
    out: Array = np.array([k[i, i + 2] / np.sqrt(max(power[i] * power[i + 2], 1e-12)) for i in (0, 1)])
    return out


def _verdict(leads: Mapping[str, LeadQuality], flags: tuple[str, ...]) -> Quality:
    """Leads and record flags -> the whole: readable when every lead is, unreadable when less than a third is."""
    scores = [q.score for q in leads.values()]
    usable = float(np.mean([q.usable for q in leads.values()])) if scores else 0.0
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
        score = sorted(p.score for p in q)[(len(q) - 1) // 3]  # a third of the windows may be worse
        usable = sorted(p.usable for p in q)[(len(q) - 1) // 3]
        kind = replace(q[0], score=score, flags=common([p.flags for p in q]), usable=usable)
        leads[name] = replace(
            kind,
            noise_uv=middle([p.noise_uv for p in q]),
            mains_uv=middle([p.mains_uv for p in q]),
            wander_uv=middle([p.wander_uv for p in q]),
        )
    return _verdict(leads, common([p.flags for p in parts]))
