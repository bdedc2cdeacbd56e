"""The preprocessing of each paper, as data: a `Preset` is an ordered list of named steps with their numbers.

A model must see its input as it saw it in training, so a Bundle's manifest carries a preset (`to_dict`, `from_dict`) and
`apply` follows it to the letter. A preset never touches the Record that is measured and shown: `apply` returns an array in
the preset's own unit. Where a paper is silent, or its code does something else, there is one preset for each reading.

>>> apply("cardx", record).shape
(12, 1000)

L leads, T samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.record import STANDARD_LEADS, EcgError, Record, Signal, derive_limb_leads
from einthoven.signal.baseline import moving_median
from einthoven.signal.filters import bandpass_signal, notch_signal
from einthoven.signal.resample import resample_signal
from einthoven.signal.stretches import fill_gaps, over_stretches
from einthoven.signal.wavelet import denoise

_LONGEST = 10_000_000  # samples: more than five hours at 500 Hz is nothing a model takes

Number = float | int | str | bool | None | tuple[float, ...]
Trace = tuple[Signal, float]  # what goes from step to step: signal (L, T) and its rate in Hz


@dataclass(frozen=True)
class Step:
    """One operation by its name in `STEPS`, with its numbers."""

    name: str
    numbers: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """A model's way to prepare an ECG.

    `leads` in the order of the rows (None: as recorded), `fs` Hz and `length` samples of the result (None: as recorded),
    `unit` "mV", "z" (standard deviations) or "1" (min-max), `citation` who does it so, `notes` what to beware of.
    """

    name: str
    steps: tuple[Step, ...] = ()
    leads: tuple[str, ...] | None = None
    fs: float | None = None
    length: int | None = None
    unit: str = "mV"
    citation: str = ""
    notes: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for a manifest."""
        return {
            "name": self.name,
            "steps": [
                {"name": s.name, **{k: list(v) if isinstance(v, tuple) else v for k, v in s.numbers.items()}}
                for s in self.steps
            ],
            "leads": None if self.leads is None else list(self.leads),
            "fs": self.fs,
            "length": self.length,
            "unit": self.unit,
            "citation": self.citation,
            "notes": self.notes,
        }

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> Preset:
        """What `to_dict` wrote. Raises EcgError for a step that does not exist, or a part that is missing or wrong."""
        try:
            steps = tuple(
                Step(s["name"], {k: tuple(v) if isinstance(v, list) else v for k, v in s.items() if k != "name"})
                for s in words["steps"]
            )
            leads = words["leads"]
            preset = Preset(
                str(words["name"]),
                steps,
                None if leads is None else tuple(leads),
                None if words["fs"] is None else float(words["fs"]),
                None if words["length"] is None else int(words["length"]),
                str(words["unit"]),
                str(words.get("citation", "")),
                str(words.get("notes", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise EcgError(f"not a preset: {fault!r}") from fault
        for step in preset.steps:
            _operation(step)
        return preset


def apply(preset: Preset | str, record: Record) -> Signal:
    """`record` as the preset wants it: (L, T) float32 in `preset.unit`, rows by `preset.leads`.

    Limb leads that follow from others are derived. What was not recorded is NaN unless a step of the preset fills it.

    Raises:
        EcgError: no such preset, a lead that is not there, or a filter that the sampling rate does not allow.
    """
    preset = by_name(preset) if isinstance(preset, str) else preset
    if preset.leads is not None:
        record = (record if all(n in record for n in preset.leads) else derive_limb_leads(record)).pick(preset.leads)
    signal, fs = record.signal, record.fs
    for step in preset.steps:
        try:
            signal, fs = _operation(step)(signal, fs, **step.numbers)
        except EcgError as fault:
            raise EcgError(f"{preset.name}: {fault.what}", path=record.source.path) from fault
    return signal


def prepared(preset: Preset | str, record: Record) -> Record:
    """`apply`, as a Record. Only for presets that stay in millivolts and keep the time base: a Record is always mV."""
    preset = by_name(preset) if isinstance(preset, str) else preset
    if preset.unit != "mV":
        raise EcgError(f"preset {preset.name} leaves millivolts ({preset.unit}): use apply, which returns an array")
    leads = preset.leads or record.leads
    fs = record.fs if preset.fs is None else preset.fs
    known = tuple(n for n in record.derived if n in leads) + tuple(n for n in leads if n not in record.leads)
    return replace(record, signal=apply(preset, record), leads=leads, fs=fs, derived=known, resolution_uv=None)


def by_name(name: str) -> Preset:
    """The preset called `name`. Raises EcgError, which lists them, where there is none."""
    if name not in PRESETS:
        raise EcgError(f"no preset {name} (there are: {', '.join(PRESETS)})")
    return PRESETS[name]


# ---- the steps: (signal (L, T), fs, numbers) -> (signal, fs) ------------------------------------------------------------


def bandpass(signal: Signal, fs: float, *, low: float, high: float, order: int) -> Trace:
    """Zero-phase Butterworth, `order` of each slope in one pass."""
    return bandpass_signal(signal, fs, low, high, order), fs


def highpass(signal: Signal, fs: float, *, low: float, order: int) -> Trace:
    return bandpass_signal(signal, fs, low, None, order), fs


def lowpass(signal: Signal, fs: float, *, high: float, order: int) -> Trace:
    """Left out where the signal cannot hold anything above `high`."""
    return (bandpass_signal(signal, fs, None, high, order) if high < fs / 2 else signal), fs


def notch(signal: Signal, fs: float, *, hz: float, q: float) -> Trace:
    """Left out where the signal cannot hold `hz`."""
    return (notch_signal(signal, fs, hz, q) if hz < fs / 2 else signal), fs


def median_smooth(signal: Signal, fs: float, *, samples: int) -> Trace:
    """Each sample becomes the median of the `samples` around it; zeros are assumed beyond the ends (scipy.signal.medfilt)."""
    _within("samples", samples, 1, max(2 * signal.shape[1], 1))
    from scipy.ndimage import median_filter

    return over_stretches(signal, lambda x: median_filter(x, (1, samples), mode="constant")), fs


def median_baseline(signal: Signal, fs: float, *, window_s: float | tuple[float, ...], mode: str = "reflect") -> Trace:
    """Subtracts the moving median (several windows: each of the one before)."""
    return signal - moving_median(signal, fs, window_s, mode), fs


def clip_quantiles(signal: Signal, fs: float, *, q: float, reach: float) -> Trace:
    """Clips each lead to [low - reach * (high - low), high + reach * (high - low)] of its own quantiles q and 1 - q."""
    _within("q", q, 0, 0.5)
    out = signal.copy()
    for row in out:
        known = row[np.isfinite(row)]
        if known.size:
            low, high = np.quantile(known, [q, 1 - q])
            np.clip(row, low - reach * (high - low), high + reach * (high - low), out=row)
    return out, fs


def wavelet_denoise(signal: Signal, fs: float, *, levels: int) -> Trace:
    """db6, soft threshold median(|coarsest detail|) / 0.6745 on every detail band (wavelet.py)."""
    _within("levels", levels, 0, 16)
    return over_stretches(signal, lambda x: denoise(x, levels)), fs


def resample(signal: Signal, fs: float, *, to: float) -> Trace:
    """Polyphase, anti-aliased, no shift (resample.py)."""
    return resample_signal(signal, fs, to), to


def resample_fourier(signal: Signal, fs: float, *, to: float) -> Trace:
    """scipy.signal.resample: exact for a periodic signal, rings at the ends of any other."""
    from scipy.signal import resample as fourier_resample

    return _regrid(signal, _length(signal, fs, to), lambda x, n: fourier_resample(x, n, axis=1)), to


def resample_cubic(signal: Signal, fs: float, *, to: float) -> Trace:
    """Cubic interpolation on linspace(0, duration, n) with both ends: what ECG-Bench does. It stretches time by n / (n - 1)
    and aliases what lies above to / 2."""

    from scipy.interpolate import CubicSpline

    def cubic(x: NDArray[np.float64], n: int) -> NDArray[np.float64]:
        if x.shape[1] < 4:
            return np.repeat(x[:, :1], n, axis=1)
        out: NDArray[np.float64] = CubicSpline(np.linspace(0, 1, x.shape[1]), x, axis=1)(np.linspace(0, 1, n))
        return out

    return _regrid(signal, _length(signal, fs, to), cubic), to


def fit(signal: Signal, fs: float, *, length: int, fill: float | None) -> Trace:
    """The first `length` samples, followed by `fill` (None: not recorded) where the record is shorter."""
    _within("length", length, 1, _LONGEST)
    short = length - signal.shape[1]
    if short <= 0:
        return np.ascontiguousarray(signal[:, :length]), fs
    return np.pad(signal, ((0, 0), (0, short)), constant_values=np.nan if fill is None else fill), fs


def fill_missing(signal: Signal, fs: float, *, value: float) -> Trace:
    """What is not finite becomes `value`."""
    return np.where(np.isfinite(signal), signal, np.float32(value)), fs


def z_score(signal: Signal, fs: float, *, over: str, eps: float) -> Trace:
    """(x - mean) / sqrt(variance + eps), over each "lead" or over the whole "record"."""
    mean, var = _moments(signal, over)
    return ((signal - mean) / np.sqrt(var + eps)).astype(np.float32), fs


def standardize(signal: Signal, fs: float, *, mean: float, std: float) -> Trace:
    """(x - mean) / std with the numbers of a training set (mV): keeps amplitudes comparable between records."""
    if not std > 0:
        raise EcgError(f"a standard deviation is positive, not {std}")
    return ((signal - np.float32(mean)) / np.float32(std)), fs


def min_max(signal: Signal, fs: float, *, low: float, high: float, eps: float) -> Trace:
    """Scales the record, all leads together, to [low, high]. Amplitude, and with it voltage criteria, is lost."""
    known = signal[np.isfinite(signal)].astype(np.float64)
    if not known.size:
        return signal, fs
    bottom, span = known.min(), np.ptp(known) + eps
    if span == 0:
        return np.where(np.isfinite(signal), np.float32((low + high) / 2), signal), fs
    return (low + (signal - bottom) / span * (high - low)).astype(np.float32), fs


Operation = Callable[..., Trace]
STEPS: Mapping[str, Operation] = MappingProxyType(
    {
        f.__name__: f
        for f in (
            *(bandpass, highpass, lowpass, notch, median_smooth, median_baseline, clip_quantiles, wavelet_denoise),
            *(resample, resample_fourier, resample_cubic, fit, fill_missing, z_score, standardize, min_max),
        )
    }
)


def _operation(step: Step) -> Operation:
    """The function of a step, its numbers checked against what that function takes: a manifest may come from anywhere."""
    if step.name not in STEPS:
        raise EcgError(f"no step {step.name} (there are: {', '.join(STEPS)})")
    operation = STEPS[step.name]
    takes = {n: p for n, p in signature(operation).parameters.items() if p.kind is p.KEYWORD_ONLY}
    lacking = [n for n, p in takes.items() if p.default is p.empty and n not in step.numbers]
    strange = [n for n in step.numbers if n not in takes]
    wrong = [n for n, v in step.numbers.items() if n in takes and not _is_a(v, takes[n].annotation)]
    if lacking or strange or wrong:
        raise EcgError(f"step {step.name}: lacks {lacking}, does not take {strange}, cannot use {wrong}")
    return operation


def _is_a(value: object, annotation: str) -> bool:
    if isinstance(value, bool) or value is None:
        return value is None and "None" in annotation
    kinds: dict[str, tuple[type, ...]] = {"float": (int, float), "int": (int,), "str": (str,)}
    if isinstance(value, tuple):
        return "tuple" in annotation and all(_is_a(v, "float") for v in value)
    return isinstance(value, kinds[annotation.split(" ")[0]])


def _length(signal: Signal, fs: float, to: float) -> int:
    _within("the new rate", to, fs / 1000, fs * 1000)
    return int(signal.shape[1] * to / fs + 1e-6)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise EcgError(f"{name} must lie between {low} and {high}, not {value}")


def _regrid(signal: Signal, n: int, regrid: Callable[[NDArray[np.float64], int], NDArray[np.float64]]) -> Signal:
    """`regrid` on the signal with its gaps bridged; gaps are put back at the nearest new samples."""
    if not signal.shape[1] or n < 1:
        return signal[:, :0]
    filled, valid = fill_gaps(signal)
    out: Signal = regrid(filled, n).astype(np.float32)
    nearest = np.minimum(np.floor(np.arange(n) * (signal.shape[1] / n) + 0.5).astype(int), signal.shape[1] - 1)
    out[~valid[:, nearest]] = np.nan
    return out


def _moments(signal: Signal, over: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of what was recorded, shaped to broadcast over (L, T); 0 and 0 where nothing was."""
    if over not in ("lead", "record"):
        raise EcgError(f"a z-score is over each lead or over the record, not over {over!r}")
    axis = 1 if over == "lead" else None
    valid = np.isfinite(signal)
    x = np.where(valid, signal, 0).astype(np.float64)
    count = np.maximum(valid.sum(axis, keepdims=True), 1)
    mean = x.sum(axis, keepdims=True) / count
    var = (np.where(valid, x - mean, 0) ** 2).sum(axis, keepdims=True) / count
    return mean, var


# ---- the presets --------------------------------------------------------------------------------------------------------

_EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
_HEARTBEIT = "Vaid et al., A foundational vision transformer improves diagnostic performance for ECGs, npj Digit Med 2023"
_EXCHANGEAI = "ExChanGeAI / CardX"
_ECG_BENCH = "Han et al., ECG-Bench 2025, arXiv 2505.18847"
# ECG-Bench puts aVL before aVR (and, unlike here, hands PTB-XL on unpermuted).
_ECG_BENCH_LEADS = ("I", "II", "III", "aVL", "aVR", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_ECG_FM = "McKeen et al., ECG-FM: an open electrocardiogram foundation model, arXiv 2408.05178"


def _step(name: str, **numbers: Number) -> Step:
    return Step(name, numbers)


def _butterworth_05_40(order: int) -> Step:
    return _step("bandpass", low=0.5, high=40.0, order=order)


_FIVE_S = (_step("resample", to=500.0), _step("fit", length=2500, fill=None))
# The eps is as good as none, but keeps a constant lead at 0.
_ECG_FM_LEADS = (_step("resample", to=500.0), _step("z_score", over="lead", eps=1e-12), _step("fill_missing", value=0.0))
_ECG_FOUNDER = "Li et al., An electrocardiogram foundation model built on over 10 million recordings, NEJM AI 2025"
_ECG_FOUNDER_STEPS = (
    _step("resample", to=500.0),
    _step("fill_missing", value=0.0),
    _step("notch", hz=50.0, q=30.0),
    _step("bandpass", low=0.67, high=40.0, order=4),
    _step("median_baseline", window_s=0.4, mode="constant"),
    _step("z_score", over="record", eps=1e-12),
    _step("fit", length=5000, fill=0.0),
)
_ECG_BENCH_END = (_step("resample_cubic", to=250.0), _step("fit", length=1250, fill=0.0), _step("fill_missing", value=0.0))

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset("none", notes="The record as it is."),
            Preset(
                "diagnostic",
                (_step("highpass", low=0.05, order=1), _step("lowpass", high=150.0, order=2)),
                citation="Kligfield et al., AHA/ACC/HRS recommendations part I, Circulation 2007: 0.05-150 Hz",
                notes="-6 dB at the corners, because the filters run both ways. No low-pass where fs is 300 Hz or less.",
            ),
            Preset(
                "monitor",
                (_step("highpass", low=0.5, order=1), _step("lowpass", high=40.0, order=2)),
                citation="the usual monitoring bandwidth, 0.5-40 Hz (IEC 60601-2-27)",
                notes="Bends the ST segment and blunts QRS: to look at rhythm, not to measure ST or voltage.",
            ),
            Preset(
                "heartbeit",
                (*_FIVE_S, _butterworth_05_40(order=4), _step("median_smooth", samples=3)),
                leads=_EIGHT,
                fs=500.0,
                length=2500,
                citation=_HEARTBEIT,
                notes="Paper: first 2500 samples, Butterworth band-pass 0.5-40 Hz, then 'a median filter'. Order, phase and "
                "kernel are not given; this takes the words literally with scipy's own default kernel (3) and order 4.",
            ),
            Preset(
                "heartbeit-baseline",
                (*_FIVE_S, _butterworth_05_40(order=4), _step("median_baseline", window_s=(0.2, 0.6))),
                leads=_EIGHT,
                fs=500.0,
                length=2500,
                citation=_HEARTBEIT,
                notes="The other reading of the same sentence: the median filter estimates the baseline (200 ms, then 600 ms).",
            ),
            Preset(
                "cardx",
                (
                    _step("resample_fourier", to=100.0),
                    _step("median_baseline", window_s=0.2),
                    _step("clip_quantiles", q=0.01, reach=0.0),
                    _step("fit", length=1000, fill=0.0),
                ),
                leads=STANDARD_LEADS,
                fs=100.0,
                length=1000,
                citation=_EXCHANGEAI + ", section CardX (paper; its training code is not public)",
                notes="100 Hz by FFT, moving median of 200 ms subtracted (this lowers P and T waves too), each lead "
                "clipped to its quantiles .01 and .99 (this cuts R waves), no normalisation.",
            ),
            Preset(
                "exchangeai",
                (
                    _step("resample_fourier", to=100.0),
                    _step("clip_quantiles", q=0.01, reach=1.5),
                    _step("median_baseline", window_s=2.0),
                    _step("fit", length=1000, fill=0.0),
                ),
                leads=STANDARD_LEADS,
                fs=100.0,
                length=1000,
                citation=_EXCHANGEAI + ", the platform's code (repository VargheseLab/exchangeai)",
                notes="What the platform runs before every model: clip at q01 - 1.5 (q99 - q01) and q99 + 1.5 (q99 - q01), "
                "then a moving median of 2 s + 1 sample (the paper says 200 ms).",
            ),
            Preset(
                "exchangeai-minmax",
                (
                    _step("resample_fourier", to=100.0),
                    _step("clip_quantiles", q=0.01, reach=1.5),
                    _step("median_baseline", window_s=2.0),
                    _step("fit", length=1000, fill=0.0),
                    _step("min_max", low=-1.0, high=1.0, eps=0.0),
                ),
                leads=STANDARD_LEADS,
                fs=100.0,
                length=1000,
                unit="1",
                citation=_EXCHANGEAI + ", the platform's code with standardizer minMax",
                notes="Harmful: min-max per record destroys millivolts: voltage criteria and ST elevation lose their measure.",
            ),
            Preset(
                "dsail",
                (_step("fill_missing", value=0.0), _step("min_max", low=-1.0, high=1.0, eps=0.0)),
                leads=STANDARD_LEADS,
                unit="1",
                citation="DSAIL SNU, PhysioNet/CinC Challenge 2021",
                notes="Min-max to [-1, 1] over all leads of the record. Harmful: it destroys millivolts, and one spike "
                "rescales every lead. Here only so that the published model can be fed as it was trained. At the rate of the "
                "record; ExChanGeAI feeds it exchangeai-minmax at 100 Hz.",
            ),
            Preset(
                "ecg-fm",
                (*_ECG_FM_LEADS, _step("fit", length=2500, fill=0.0)),
                leads=STANDARD_LEADS,
                fs=500.0,
                length=2500,
                unit="z",
                citation=_ECG_FM + "; its preprocessing (fairseq-signals) and its notebook agree",
                notes="Each lead z-scored over the whole recording, then the first 5 s; a constant or missing lead is 0. "
                "Theirs resamples linearly. Every lead gets variance 1: relative sizes of the leads are lost.",
            ),
            Preset(
                "ecg-fm-10s",
                (*_ECG_FM_LEADS, _step("fit", length=5000, fill=0.0)),
                leads=STANDARD_LEADS,
                fs=500.0,
                length=5000,
                unit="z",
                citation=_ECG_FM,
                notes="ecg-fm's two windows of 5 s in one: for a model built with window=2500, which averages over them.",
            ),
            Preset(
                "ecg-fm-record",
                (*_FIVE_S, _step("fill_missing", value=0.0), _step("z_score", over="record", eps=1e-5)),
                leads=STANDARD_LEADS,
                fs=500.0,
                length=2500,
                unit="z",
                citation="fairseq-signals with normalize=true, which ECG-FM does not set",
                notes="First 5 s; one mean and one standard deviation over the 12 leads: the leads keep their relative size.",
            ),
            Preset(
                "ecg-fm-lead",
                (*_FIVE_S, _step("fill_missing", value=0.0), _step("z_score", over="lead", eps=1e-5)),
                leads=STANDARD_LEADS,
                fs=500.0,
                length=2500,
                unit="z",
                citation="PEFT of ECG-FM (papers/ecg-fm-peft): per-sample z-score, a sample there being one lead",
                notes="Every lead gets variance 1: relative sizes of the leads are lost.",
            ),
            Preset(
                "ecg-founder",
                _ECG_FOUNDER_STEPS,
                leads=STANDARD_LEADS,
                fs=500.0,
                length=5000,
                unit="z",
                citation=_ECG_FOUNDER + "; its code from 2025 on",
                notes="10 s; one mean and standard deviation over all leads. The median of 400 ms lowers P and T waves "
                "together with the wander. The code of 2024 did not filter.",
            ),
            Preset(
                "ecg-founder-1",
                _ECG_FOUNDER_STEPS,
                leads=("I",),
                fs=500.0,
                length=5000,
                unit="z",
                citation=_ECG_FOUNDER + "; its single-lead model",
            ),
            Preset(
                "st-mem",
                (
                    _step("resample", to=250.0),
                    _step("bandpass", low=0.67, high=40.0, order=5),
                    _step("fit", length=2250, fill=0.0),
                    _step("fill_missing", value=0.0),
                    _step("z_score", over="record", eps=1e-8),
                ),
                leads=STANDARD_LEADS,
                fs=250.0,
                length=2250,
                unit="z",
                citation="Na et al., Guiding masked representation learning (ST-MEM), ICLR 2024, arXiv 2402.09450",
                notes="The first 9 s (in its own pre-training any 9 s); one mean and standard deviation over all leads.",
            ),
            Preset(
                "ecg-bench",
                (
                    _step("notch", hz=50.0, q=30.0),
                    _step("notch", hz=60.0, q=30.0),
                    _step("bandpass", low=0.5, high=100.0, order=4),
                    _step("highpass", low=0.05, order=4),
                    _step("wavelet_denoise", levels=4),
                    *_ECG_BENCH_END,
                ),
                leads=_ECG_BENCH_LEADS,
                fs=250.0,
                length=1250,
                citation=_ECG_BENCH + "; code up to 0.0.4 and the papers",
                notes="First 5 s of a series of non-overlapping segments. Their resampling stretches time by n / (n - 1) and "
                "does not filter. Needs fs > 200 Hz. Their PTB-XL files keep aVR before aVL; here names decide.",
            ),
            Preset(
                "ecg-bench-head",
                _ECG_BENCH_END,
                leads=_ECG_BENCH_LEADS,
                fs=250.0,
                length=1250,
                citation=_ECG_BENCH + "; code from 0.0.5 on, which filters nothing",
            ),
        )
    }
)


def ecg_fm_global(mean_mv: float, std_mv: float) -> Preset:
    """ECG-FM's input under the PEFT paper's ablation "global z-score": mean and standard deviation (mV) of the training set."""
    base = PRESETS["ecg-fm-record"]
    steps = (*base.steps[:-1], _step("standardize", mean=mean_mv, std=std_mv))
    return replace(base, name="ecg-fm-global", steps=steps, citation=_ECG_FM + "; PEFT of ECG-FM, ablation", notes="")
