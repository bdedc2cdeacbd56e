"""Calibration pulses that some recorders leave behind the patient's ECG."""

from __future__ import annotations

import math

import numpy as np

from einthoven.record import Signal


def calibration_pulse(signal: Signal, fs: float) -> tuple[float, float] | None:
    """Start and end in s of a calibration pulse in a signal (L, T) mV of three leads or more; None where there is none.

    For 50 ms or longer every lead holds the same value of 0.4 mV or more. No heart does that: limb leads add up to zero.
    """
    if signal.shape[0] < 3:
        return None
    low, high = signal.min(axis=0), signal.max(axis=0)
    same = (high - low < 0.012) & (low >= 0.4)  # a step or two of the storage apart
    if not same.any():
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    longest = int(np.argmax(stops - starts))
    if stops[longest] - starts[longest] < 0.05 * fs:
        return None
    return float(starts[longest] / fs), float(stops[longest] / fs)


def told(signal: Signal, fs: float) -> tuple[tuple[str, ...], dict[str, object]]:
    """A warning and `extra` entries for a record whose end is a calibration pulse; both empty where there is none.

    Philips stores 11 s: the ECG, a gap, a pulse of 1 mV; its clinical strip is the first 10 s. The samples stay as they are.
    `ecg_until_s` says where the patient's ECG ends: whole seconds before the pulse.
    """
    pulse = calibration_pulse(signal, fs)
    if pulse is None or pulse[0] < 1:
        return (), {}
    until = float(math.floor(pulse[0]))
    words = f"calibration pulse in all leads from {pulse[0]:.2f} to {pulse[1]:.2f} s: the ECG is the first {until:g} s"
    return (words,), {"calibration_s": pulse, "ecg_until_s": until}
