"""Which wave of the ECG a sample belongs to, and what the ECG would be without it.

L leads, T samples.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import P_OFF, P_ON, QRS_OFF, QRS_ON, T_OFF, T_ON, Beats
from einthoven.record import Record

WAVES = ("P", "QRS", "ST", "T", "between")
P, QRS, ST, T, BETWEEN = range(5)

_ST_S = 0.08  # ST where no T wave says where it ends
_PQ_S = 0.02  # before QRS, over which the isoelectric level is taken
_EDGE_S = 0.02  # over which a wave that is taken out fades into what stays


def regions(beats: Beats, leads: tuple[str, ...], fs: float, samples: int, start: float = 0.0) -> NDArray[np.uint8]:
    """(L, T) indices into WAVES, each lead by its own fiducials; where it has none, by those of all leads.

    ST runs from the end of QRS to the onset of T. "between" is everything else: the PR segment, U waves, the baseline
    between beats, and all of an ECG without beats. Sample i lies at `start` + i / `fs` s.
    """
    out = np.full((len(leads), samples), BETWEEN, np.uint8)

    def paint(row: NDArray[np.uint8], wave: int, on: float, off: float) -> None:
        if on == on and off == off:
            a, b = round((on - start) * fs), round((off - start) * fs)
            row[max(a, 0) : max(b, 0)] = wave

    for row, lead in zip(out, leads, strict=True):
        times, lone = beats.overall, beats.lone_p_overall
        if lead in beats.leads:
            own = beats.lead(lead)
            times = np.where(np.isnan(own), beats.overall, own)
            if len(beats.lone_p):
                lone = np.where(
                    np.isnan(beats.lone_p[:, beats.leads.index(lead)]), lone, beats.lone_p[:, beats.leads.index(lead)]
                )
        # Where fiducials of two beats overlap, the wave that is harder to mistake stands above the other.
        for t in times:
            paint(row, ST, t[QRS_OFF], t[T_ON] if t[T_ON] == t[T_ON] else t[QRS_OFF] + _ST_S)
        for t in times:
            paint(row, T, t[T_ON], t[T_OFF])
        for on, off in [(t[P_ON], t[P_OFF]) for t in times] + [(p[0], p[2]) for p in lone]:
            paint(row, P, on, off)
        for t in times:
            paint(row, QRS, t[QRS_ON], t[QRS_OFF])
    return out


def isoelectric(record: Record, beats: Beats) -> NDArray[np.float64]:
    """(L, T) mV: the level just before each QRS, straight lines between; the lead's median where there is no beat."""
    x = record.signal.astype(np.float64)
    at = np.arange(x.shape[1]) / record.fs
    out = np.zeros_like(x)
    onsets = beats.overall[:, QRS_ON]
    for row, lead in zip(out, x, strict=True):
        if not np.isfinite(lead).any():
            continue
        found = []
        for onset in onsets[np.isfinite(onsets)]:
            piece = lead[max(round((onset - _PQ_S) * record.fs), 0) : max(round(onset * record.fs), 1)]
            if np.isfinite(piece).any():
                found.append((onset, float(np.nanmedian(piece))))
        times, levels = [t for t, _ in found], [v for _, v in found]
        row[:] = np.interp(at, times, levels) if found else np.nanmedian(lead)
    return out


def without(record: Record, mask: NDArray[np.bool_], level: NDArray[np.float64]) -> Record:
    """The record with the samples of `mask` (L, T) brought to `level` (L, T), its edges faded, so that no step is made that
    a filter would ring on. What was not recorded stays so."""
    from scipy.ndimage import uniform_filter1d

    # Half of an edge lies inside: what two neighbours lose then adds up to what there was.
    gone = uniform_filter1d(mask.astype(np.float64), 2 * max(round(_EDGE_S * record.fs / 2), 1) + 1, axis=1)
    signal = (record.signal * (1 - gone) + level * gone).astype(np.float32)
    return replace(record, signal=signal)
