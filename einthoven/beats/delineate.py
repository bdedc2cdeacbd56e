"""Where P, QRS and T begin, peak and end: a small network reads all leads at once, and what it says is turned into `Beats`.

The network (einthoven/models/delineator.py, trained by recipes/delineate.yaml on LUDB and synthetic ECGs) says two things: of
the record, at 125 Hz, which wave is going on; of each lead, at 250 Hz, how likely each of the nine fiducials is at
each sample. That a wave exists is decided for all leads together; each lead then places its own fiducials near it.

A fiducial is put where the likelihood within the tolerance of human readers is greatest, which is what maximises
agreement at that tolerance (CSE working party, Eur Heart J 1985; 6: 815-825), not at the mode and not at the mean.

Letters: L leads, T samples at 250 Hz, W waves, B beats.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from einthoven.beats.fiducials import FIDUCIALS, NORMAL, P_ON, QRS_OFF, QRS_ON, R_PEAK, T_ON, Beats
from einthoven.beats.spikes import pacing_spikes
from einthoven.record import Record, Signal
from einthoven.signal.kernels import forward_backward, lowpass_taps, polyphase

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FS = 250.0  # Hz, what the network reads
STRIDE = 16  # its input is a multiple of this many samples
P, QRS, T = 1, 2, 3  # its classes; 0 is none
WEIGHTS = "delineator.onnx"

WINDOW_S, MARGIN_S = 20.0, 3.0  # long records are read in windows that overlap by twice the margin
MIN_S = 0.5  # shorter than this holds no beat that could be measured
FLAT_MV = 1e-3  # a lead that moves less than this is not connected

# Half width of the window in which a fiducial's likelihood is summed, s: the CSE limits, and for T onset and the peaks, which
# have none, as the nearest of their kind; a little less than that, because the targets were blurred already.
TOLERANCE_S = 0.8 * np.array([0.0102, 0.008, 0.0127, 0.0065, 0.006, 0.0116, 0.030, 0.015, 0.0306])
# How far a lead's fiducial may lie from the bounds of the record's wave, s.
REACH_S = np.array([0.080, 0.0, 0.080, 0.060, 0.0, 0.080, 0.120, 0.0, 0.120])
# Of an R peak with two candidates (notched QRS) one is taken that has the other in reach, where that is possible: a little
# less than half the window of EC57.
SURVEY_S = np.array([0.0, 0.0, 0.0, 0.0, 0.065, 0.0, 0.0, 0.0, 0.0])
# Probability at which a wave begins to count, and down to which it goes on.
ENTER = np.array([1.0, 0.5, 0.5, 0.5])
STAY = np.array([1.0, 0.3, 0.3, 0.3])
# Where not most beats have a P wave that is seen beyond doubt, a doubtful one is none (fibrillation, noise).
ENTER_P, STAY_P = 0.75, 0.5
MOST = 0.6
SHORTEST_S = np.array([0.0, 0.032, 0.032, 0.056])
HARDLY = 0.03  # of the largest deflection
UNSEEN = 0.1  # a lead that never reaches this probability of a wave that the others show does not show it
# The median sureness of beats was 0.86 and more in simulated ECGs of any rhythm at 5 dB, 0.77 and less in noise of any colour.
BELIEVED = 0.79
DOUBTED = 0.55  # a single QRS below this is none
SPIKE_NEAR_S = 0.03  # a pacing spike this near to a QRS onset paces it
SPIKE_LASTS_S = 0.024  # with what the recorder's filters make of it
REFRACTORY_S = 0.16  # two QRS are not closer than this
PR_MAX_S = 0.45  # a P wave further from the QRS than this, or with another P between, does not conduct to it


def delineate(record: Record) -> Beats:
    """Finds every beat and its waves, in each lead and in all leads together.

    Any number of leads, any sampling rate, any length from half a second. Leads that are flat or missing (NaN) get NaN
    fiducials. A record without a beat (asystole, noise, nothing recorded) gives zero beats; nothing is raised.

    Args:
        record: the ECG, mV.

    Returns:
        Beats, all of kind "N" (einthoven.beats.classify tells them apart).
    """
    x, usable, fs = prepare(record.signal, record.fs)
    if not len(usable) or x.shape[1] < MIN_S * FS:
        return _no_beats(record)
    waves, marks, sure = _read(compress(x))
    return past_spikes(assemble(record, usable, fs, waves, marks, sure), record, x, usable, fs)


def prepare(signal: Signal, fs: float) -> tuple[F32, NDArray[np.intp], float]:
    """The leads that can be read, resampled and without wander.

    Args:
        signal: (L, N) mV, NaN where not recorded; fs: its rate in Hz.

    Returns:
        (U, T) mV of the U usable leads; their indices (U,); the exact rate, within 0.1 % of 250 Hz.
    """
    ratio = Fraction(FS / fs).limit_denominator(1000) if fs < 1e6 else Fraction(0)
    if signal.shape[1] < 2 or ratio == 0:
        return np.empty((0, 0), np.float32), np.empty(0, np.intp), FS
    known = np.isfinite(signal)
    usable = [j for j in range(len(signal)) if known[j].mean() > 0.5 and np.ptp(signal[j][known[j]]) > FLAT_MV]
    if not usable:
        return np.empty((0, 0), np.float32), np.empty(0, np.intp), FS
    x = signal[usable].astype(np.float32)
    for row, seen in zip(x, known[usable]):
        if not seen.all():
            row[~seen] = np.interp(np.flatnonzero(~seen), np.flatnonzero(seen), row[seen])
    x = np.clip(x - np.median(x, axis=1, keepdims=True), -1e6, 1e6)
    if ratio != 1:
        slower = max(ratio.numerator, ratio.denominator)
        taps = lowpass_taps(10 * slower, 1 / slower, 5.0).astype(np.float32)
        x = polyphase(x, taps, ratio.numerator, ratio.denominator, "level").astype(np.float32)
    if x.shape[1] > 30:
        # Butterworth, forward and backward: no shift in time.
        x = forward_backward(_highpass(), x, min(int(FS), x.shape[1] - 1)).astype(np.float32)
    return x, np.array(usable), fs * ratio.numerator / ratio.denominator


def compress(x: F32) -> F32:
    """mV to what the network reads: linear for P waves, logarithmic for QRS, so that the gain of a lead matters little."""
    out: F32 = np.arcsinh(5.0 * x, dtype=np.float32)
    return out


@lru_cache
def _highpass() -> F64:
    """Butterworth of second order, 0.5 Hz, by the bilinear transform: (1, 6)."""
    k = np.tan(np.pi * 0.5 / FS)
    b = 1 / (1 + np.sqrt(2) * k + k**2)
    return np.array([[b, -2 * b, b, 1.0, 2 * (k**2 - 1) * b, (1 - np.sqrt(2) * k + k**2) * b]])


@lru_cache
def session() -> InferenceSession:
    """The network, which stays loaded."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: batches run over processes, and a record takes milliseconds.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    weights = files("einthoven.beats").joinpath(WEIGHTS).read_bytes()
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])


def _read(x: F32, network: Any = None) -> tuple[F64, F64, F64]:
    """(L, T) compressed mV -> waves (W, 4), marks (W, L, 3) in samples, sure (W,): see `decode`. Windows are stitched."""
    run = network or _network
    t = x.shape[1]
    window, margin = int(WINDOW_S * FS), int(MARGIN_S * FS)
    if t <= window:
        return decode(x, *run(x))
    found = []
    step = window - 2 * margin
    for start in range(0, t - 2 * margin, step):
        stop = min(start + window, t)
        waves, marks, sure = decode(x[:, start:stop], *run(x[:, start:stop]))
        # Each window answers for its middle; the first and the last also for their ends.
        centre = start + waves[:, 2]
        low = -np.inf if start == 0 else start + margin
        high = np.inf if stop == t else start + margin + step
        keep = (centre >= low) & (centre < high)
        waves[:, 1:] += start
        found.append((waves[keep], marks[keep] + start, sure[keep]))
        if stop == t:
            break
    waves, marks, sure = (np.concatenate(part) for part in zip(*found))
    return waves, marks, sure


def _network(x: F32) -> tuple[F32, F32, F32, F32]:
    """(L, T) -> lead_waves (4, L, T/2), lead_marks (9, L, T), record_waves (4, T/2), record_marks (9, T): logits."""
    t = x.shape[1]
    padded = np.pad(x, ((0, 0), (0, -t % STRIDE)), mode="edge")[None]
    out = session().run(None, {"signal": padded})
    return tuple(np.asarray(part[0]) for part in out)  # type: ignore[return-value]


def decode(x: F32, lead_waves: F32, lead_marks: F32, record_waves: F32, record_marks: F32) -> tuple[F64, F64, F64]:
    """The network's logits to waves.

    Args:
        x: (L, T) compressed mV, which it read; lead_waves (4, L, T/2), lead_marks (9, L, T), record_waves (4, T/2),
            record_marks (9, T): what it said.

    Returns:
        waves (W, 4): kind (1 P, 2 QRS, 3 T), start, peak and stop of the wave over all leads, in samples;
        marks (W, L, 3): onset, peak, offset in each lead, in samples;
        sure (W,): how sure, 0..1.
    """
    of_record = _softmax(record_waves)
    of_leads = _softmax(lead_waves).mean(1)
    likely = 0.5 * (of_record + of_leads)
    waves, sure = _found(likely.astype(np.float64))
    marks = _place(waves, lead_marks, record_marks, TOLERANCE_S * FS, REACH_S * FS, SURVEY_S * FS)
    _deflect(x, waves, marks)
    marks[_absent(waves, _softmax(lead_waves))] = np.nan
    beats = sure[waves[:, 0] == QRS]
    if len(beats) and np.median(beats) < BELIEVED:  # noise looks like many doubtful beats
        return waves[:0], marks[:0], sure[:0]
    keep = (waves[:, 0] != QRS) | (sure >= DOUBTED)
    return waves[keep], marks[keep], sure[keep]


def _found(likely: F64) -> tuple[F64, F64]:
    """Probabilities (4, T/2) -> waves and sureness as `_runs` gives them, P waves by a measure that depends on the rhythm."""
    shortest = SHORTEST_S * FS / 2
    enter, stay = ENTER.copy(), STAY.copy()
    enter[P], stay[P] = ENTER_P, STAY_P
    waves, sure = _runs(likely, enter, stay, shortest)
    p, qrs = waves[waves[:, 0] == P, 3], waves[waves[:, 0] == QRS, 1]
    led = [bool(((q - p > -0.04 * FS) & (q - p < PR_MAX_S * FS)).any()) for q in qrs]
    if led and np.mean(led) >= MOST:
        waves, sure = _runs(likely, ENTER, STAY, shortest)
    return waves, sure


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _deflect(x: F32, waves: F64, marks: F64) -> None:
    """Moves an R peak that stands where the lead hardly leaves its level (in a QS complex) to the QRS's largest deflection."""
    for w in range(waves.shape[0]):
        if waves[w, 0] != QRS:
            continue
        for l in range(x.shape[0]):
            if not (marks[w, l, 0] == marks[w, l, 0] and marks[w, l, 2] == marks[w, l, 2]):
                continue
            a, b = max(int(marks[w, l, 0]), 0), min(int(np.ceil(marks[w, l, 2])), x.shape[1] - 1)
            level = np.sinh(x[l, a])
            top, largest = a, 0.0
            for i in range(a, b + 1):
                d = abs(np.sinh(x[l, i]) - level)
                if d > largest:
                    top, largest = i, d
            here = marks[w, l, 1]
            if not here == here or abs(np.sinh(x[l, min(round(here), x.shape[1] - 1)]) - level) < HARDLY * largest:
                marks[w, l, 1] = float(top)


def _absent(waves: F64, of_leads: F32) -> NDArray[np.bool_]:
    """(W, L): the lead shows nothing of this wave at any time, whatever the others show."""
    out = np.zeros((len(waves), of_leads.shape[1]), np.bool_)
    for w, (kind, start, _, stop) in enumerate(waves):
        out[w] = of_leads[int(kind), :, int(start / 2) : int(stop / 2)].max(1) < UNSEEN
    return out


def _softmax(x: F32) -> F32:
    e = np.exp(x - x.max(0, keepdims=True))
    out: F32 = e / e.sum(0, keepdims=True)
    return out


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _runs(likely: F64, enter: F64, stay: F64, shortest: F64) -> tuple[F64, F64]:
    """Probabilities (4, T/2) -> waves (W, 4) as kind, start, NaN, stop in samples at 250 Hz, in order of time; sure (W,)."""
    n = likely.shape[1]
    out = np.full((3 * n, 4), np.nan)
    sure = np.empty(3 * n)
    w = 0
    for kind in range(1, 4):
        p = likely[kind]
        i = 0
        while i < n:
            if p[i] < stay[kind]:
                i += 1
                continue
            start, top, total = i, 0.0, 0.0
            while i < n and p[i] >= stay[kind]:
                top = max(top, p[i])
                total += p[i]
                i += 1
            if top >= enter[kind] and total >= shortest[kind]:
                out[w, 0], out[w, 1], out[w, 3] = kind, 2.0 * start, 2.0 * i
                sure[w] = total / (i - start)
                w += 1
    order = np.argsort(out[:w, 1] + out[:w, 3])
    return out[:w][order], sure[:w][order]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _mass(p: F64, c: int, half: float) -> float:
    """The sum of p within +-half of c; the samples at the window's ends count by their share, so its width is exact."""
    whole = int(np.floor(half + 0.5))
    edge = half + 0.5 - whole
    total = 0.0
    for i in range(max(c - whole, 0), min(c + whole, p.shape[0] - 1) + 1):
        total += p[i] * (edge if abs(i - c) == whole and whole > 0 else 1.0)
    return total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _best(logits: F32, low: float, high: float, half: float, survey: float) -> float:
    """Where between low and high (samples) the likelihood within +-half is greatest; the centroid of what lies there.

    With survey > 0, only where the likelihood within +-survey is close to its greatest: of two candidates far apart the one
    that has the other in reach.
    """
    a = max(int(np.ceil(low)), 0)
    b = min(int(np.floor(high)), logits.shape[0] - 1)
    if not (low == low and high == high) or b < a:
        return np.nan
    reach = int(np.ceil(max(half, survey)))
    left, right = max(a - reach, 0), min(b + reach, logits.shape[0] - 1)
    p = np.empty(right - left + 1)
    for i in range(left, right + 1):
        p[i - left] = 1.0 / (1.0 + np.exp(-logits[i]))
    most = 0.0
    if survey > 0:
        for c in range(a, b + 1):
            most = max(most, _mass(p, c - left, survey))
    best, where = -1.0, a
    for c in range(a, b + 1):
        s = _mass(p, c - left, half)
        if s > best and (survey <= 0 or _mass(p, c - left, survey) >= 0.97 * most):
            best, where = s, c
    total, moment = 1e-12, 0.0
    whole = int(np.floor(half + 0.5))
    for d in range(-whole, whole + 1):
        i = where + d - left
        if 0 <= i < p.shape[0]:
            total += p[i]
            moment += p[i] * d
    return where + moment / total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _place(waves: F64, lead_marks: F32, record_marks: F32, tolerance: F64, reach: F64, survey: F64) -> F64:
    """Onset, peak and offset of every wave in every lead, (W, L, 3) in samples; the record's peak into `waves`."""
    w_count, l_count = waves.shape[0], lead_marks.shape[1]
    out = np.empty((w_count, l_count, 3))
    for w in range(w_count):
        start, stop = waves[w, 1], waves[w, 3]
        on, top, off = 3 * (int(waves[w, 0]) - 1), 3 * (int(waves[w, 0]) - 1) + 1, 3 * (int(waves[w, 0]) - 1) + 2
        middle = 0.5 * (start + stop)
        waves[w, 2] = _best(record_marks[top], start, stop, tolerance[top], 0.0)
        for l in range(l_count):
            a = _best(lead_marks[on, l], start - reach[on], min(start + reach[on], middle), tolerance[on], 0.0)
            b = _best(lead_marks[off, l], max(stop - reach[off], middle), stop + reach[off], tolerance[off], 0.0)
            out[w, l, 0], out[w, l, 2] = a, b
            out[w, l, 1] = _best(lead_marks[top, l], a, b, tolerance[top], survey[top])
    return out


def assemble(record: Record, usable: NDArray[np.intp], fs: float, waves: F64, marks: F64, sure: F64) -> Beats:
    """Waves to beats: each QRS takes the P before it and the T after it; a P that no QRS takes is a lone one."""
    kind = waves[:, 0].astype(int)
    qrs = _apart(np.flatnonzero(kind == QRS), waves[:, 2], sure)
    if not len(qrs):
        return _no_beats(record)
    b_count, l_count = len(qrs), len(record.leads)
    times = np.full((b_count, l_count, 9), np.nan)
    overall = np.full((b_count, 9), np.nan)
    here = waves[:, 2]

    def put(b: int, w: int, first: int) -> None:
        times[b, usable, first : first + 3] = marks[w] / fs
        overall[b, first : first + 3] = over_leads(marks[w], here[w]) / fs

    for b, w in enumerate(qrs):
        put(b, w, QRS_ON)
    r = here[qrs]
    taken = np.full(b_count, -1)
    lone = []
    for w in np.flatnonzero(kind == P):
        b = int(np.searchsorted(r, here[w]))
        if b < b_count and r[b] - here[w] <= PR_MAX_S * fs:
            if taken[b] >= 0:
                lone.append(taken[b])
            taken[b] = w
        else:
            lone.append(w)
    for b, w in enumerate(taken):
        if w >= 0:
            put(b, w, P_ON)
    best_t = np.full(b_count, -1)
    for w in np.flatnonzero(kind == T):
        b = int(np.searchsorted(r, here[w])) - 1
        if b >= 0 and (best_t[b] < 0 or sure[w] > sure[best_t[b]]):
            best_t[b] = w
    for b, w in enumerate(best_t):
        if w >= 0:
            put(b, w, T_ON)
    lone_times = np.full((len(lone), l_count, 3), np.nan)
    lone_overall = np.full((len(lone), 3), np.nan)
    for k, w in enumerate(sorted(lone)):
        lone_times[k, usable] = marks[w] / fs
        lone_overall[k] = over_leads(marks[w], here[w]) / fs
    end = record.duration
    return Beats(
        leads=record.leads,
        times=_within(times, end),
        overall=_within(overall, end),
        kinds=(NORMAL,) * b_count,
        duration=end,
        lone_p=_within(lone_times, end),
        lone_p_overall=_within(lone_overall, end),
        confidence=sure[qrs],
    )


def past_spikes(beats: Beats, record: Record, x: F32, usable: NDArray[np.intp], fs: float) -> Beats:
    """The same beats, but the R peak of a lead is no pacing spike: there it becomes the largest deflection after the spike.

    x: (len(usable), T) mV at fs, as `prepare` gives it. Only beats that begin with a spike (pacing_spikes) are looked at.
    """
    spikes = pacing_spikes(record)
    if not len(spikes) or not len(beats):
        return beats
    times = beats.times.copy()
    for b, onset in enumerate(beats.overall[:, QRS_ON]):
        spike = spikes[np.argmin(np.abs(spikes - onset))]
        if not abs(spike - onset) <= SPIKE_NEAR_S:
            continue
        level = x[:, max(round((spike - 0.02) * fs), 0)]
        for row, lead in enumerate(usable):
            peak, stop = times[b, lead, R_PEAK], times[b, lead, QRS_OFF]
            first, last = round((spike + SPIKE_LASTS_S) * fs), round(stop * fs) if stop == stop else -1
            if peak <= spike + SPIKE_LASTS_S and last - first >= 2:
                times[b, lead, R_PEAK] = (first + int(np.argmax(np.abs(x[row, first : last + 1] - level[row])))) / fs
    return replace(beats, times=times)


def over_leads(marks: F64, peak: float) -> F64:
    """(L, 3) onset, peak, offset per lead -> (3,): the earliest onset and the latest offset that leads agree on.

    The CSE working party took the earliest onset and the latest offset over leads. One lead in noise would then decide for
    all, so of many leads the outermost quarter is passed over (of 12 leads three, of 3 or fewer none).
    """
    on, off = np.sort(marks[np.isfinite(marks[:, 0]), 0]), np.sort(marks[np.isfinite(marks[:, 2]), 2])
    if not len(on) or not len(off):
        return np.array([np.nan, peak, np.nan])
    return np.array([on[len(on) // 4], peak, off[len(off) - 1 - len(off) // 4]])


def _apart(found: NDArray[np.intp], at: F64, sure: F64) -> NDArray[np.intp]:
    """Of QRS closer together than the refractory time, the surer one."""
    kept: list[int] = []
    for w in found:
        if kept and at[w] - at[kept[-1]] < REFRACTORY_S * FS:
            if sure[w] > sure[kept[-1]]:
                kept[-1] = int(w)
        else:
            kept.append(int(w))
    return np.array(kept, np.intp)


def _within(times: F64, end: float) -> F64:
    """Inside the record, and in the order of time: P gives way to QRS, and T to QRS."""
    out = np.clip(times, 0.0, end)
    if times.shape[-1] == len(FIDUCIALS):
        early, late = out[..., QRS_ON::-1], out[..., QRS_ON:]
        out[..., QRS_ON::-1] = np.fmin.accumulate(early, axis=-1)
        out[..., QRS_ON:] = np.fmax.accumulate(late, axis=-1)
    return np.where(np.isnan(times), np.nan, out)


def _no_beats(record: Record) -> Beats:
    l = len(record.leads)
    return Beats(
        leads=record.leads,
        times=np.empty((0, l, 9)),
        overall=np.empty((0, 9)),
        kinds=(),
        duration=record.duration,
        lone_p=np.empty((0, l, 3)),
        lone_p_overall=np.empty((0, 3)),
    )
