"""What a viewer draws, as numbers of two bytes behind a header: the signal, the median beat, all beats over each other, the
signal aligned by its R peaks.

The form of all of them: 4 bytes length of the header (little endian), the header as JSON, then int16 (rows, samples). A number
times `step_mv` is the voltage; -32768 was not recorded.

L leads, B beats, T samples.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.fiducials import FIDUCIALS, QRS_ON
from einthoven.record import EcgError, Record
from einthoven.serve.store import to_json
from einthoven.serve.unpacked import Unpacked

if TYPE_CHECKING:
    from einthoven.explain import Explanation
    from einthoven.interpretation import Report

_LOST = -32768  # a sample that was not recorded
_BEFORE_S, _AFTER_S = 0.3, 0.5  # of R, in the overlay
_MOST_BEATS = 60  # of the overlay: no eye tells more apart
_FINE_HZ = 250.0  # below this rate the overlay is interpolated


def samples(record: Record | Unpacked, start: float = 0.0, end: float | None = None, most: int | None = None) -> bytes:
    """A stretch of the signal, a row a lead.

    most: where the stretch has more samples than this, there are 2 `most`: lowest and highest of each of `most` equal parts, in
    turn (`pairs`), so that no QRS is lost in a long recording.

    Raises EcgError for a stretch outside the recording.
    """
    duration = float(record.signal.shape[1] / record.fs)
    end = duration if end is None else min(end, duration)
    if not 0 <= start < end:
        raise EcgError(f"a stretch lies within 0 and {duration:g} s, not from {start:g} to {end:g}")
    first, last = math.floor(start * record.fs), min(math.ceil(end * record.fs), record.signal.shape[1])
    part = record.signal[:, first:last]
    pairs = most is not None and part.shape[1] > 2 * most
    if pairs and most is not None:
        part = record.extremes(first, last, most) if isinstance(record, Unpacked) else extremes(part, most)
    head = {
        "leads": list(record.leads), "fs": record.fs, "start": first / record.fs, "end": last / record.fs, "pairs": bool(pairs),
        "duration": duration,
    }  # fmt: skip
    return packed(part, head)


def packed(rows: NDArray[np.float32], head: dict[str, Any], *, fine: bool = False, step_name: str = "step_mv") -> bytes:
    """Rows (R, N) in mV behind their header. fine: in steps of a 32,000th of the largest, not of a microvolt."""
    with np.errstate(invalid="ignore"):
        top = float(np.nanmax(np.abs(rows), initial=0.0))
    step = max(top, 1e-3) / 32_000 if fine or top >= 32.7 else 0.001
    known = np.isfinite(rows)
    numbers = np.where(known, np.round(np.where(known, rows, 0) / step), _LOST).astype("<i2")
    words = to_json({**head, step_name: step, "samples": int(numbers.shape[1]), "rows": int(numbers.shape[0])}).encode()
    return struct.pack("<I", len(words)) + words + numbers.tobytes()


def extremes(signal: NDArray[np.float32], parts: int) -> NDArray[np.float32]:
    """(L, T) -> (L, 2 parts): lowest and highest of each of `parts` stretches, in turn; NaN where all of one is."""
    bounds = np.linspace(0, signal.shape[1], parts + 1).astype(int)[:-1]
    out = np.empty((signal.shape[0], 2 * parts), np.float32)
    known = np.isfinite(signal)
    out[:, 0::2] = np.minimum.reduceat(np.where(known, signal, np.inf), bounds, axis=1)
    out[:, 1::2] = np.maximum.reduceat(np.where(known, signal, -np.inf), bounds, axis=1)
    out[~np.isfinite(out)] = np.nan
    return out


def median(report: Report) -> bytes:
    """The median beat, a row a lead; in the header its fiducials (s from its start), noise by lead and how many beats it is of.
    Raises EcgError without beats."""
    from einthoven.report.asjson import number

    made = report.median
    if not made:
        raise EcgError("there is no median beat: no beats were found")
    head = {
        "leads": list(made.leads), "fs": made.fs, "beats": len(made.beats), "kind": made.kind, "fiducials": list(FIDUCIALS),
        "at": [number(v) for v in made.overall], "noise_uv": [number(v) for v in made.noise_uv],
    }  # fmt: skip
    return packed(made.signal, head, fine=True)


def overlay(report: Report) -> bytes:
    """The beats over each other, by their R: rows lead by lead, and in each lead beat by beat, with the level just before QRS
    at 0. In the header which beats (at most 60, evenly chosen) and their classes; R stands `before` s from the start. Raises
    EcgError without beats."""
    from einthoven.beats.median import cut_beats

    record, beats = report.record, report.beats
    chosen = np.flatnonzero(np.isfinite(beats.r)) if len(beats) else np.zeros(0, int)
    if not len(chosen):
        raise EcgError("no beats were found")
    if len(chosen) > _MOST_BEATS:
        chosen = chosen[np.linspace(0, len(chosen) - 1, _MOST_BEATS).round().astype(int)]
    up = max(1, math.ceil(_FINE_HZ / record.fs))
    fs = record.fs * up
    r = beats.r[chosen]
    cut = cut_beats(record.signal, (r - _BEFORE_S) * record.fs, round((_BEFORE_S + _AFTER_S) * fs), up)  # (B, L, T)
    onset = beats.overall[chosen, QRS_ON]
    onset = np.where(np.isfinite(onset), onset - r, -0.05)
    for b, at in enumerate(onset):
        last = round((_BEFORE_S + at) * fs)
        level = cut[b, :, max(last - round(0.02 * fs), 0) : max(last, 1)]
        told = np.isfinite(level).any(1)
        cut[b, told] -= np.nanmean(level[told], 1, keepdims=True)
    head = {
        "leads": list(record.leads), "fs": fs, "before": _BEFORE_S, "beats": chosen.tolist(),
        "kinds": [beats.kinds[k] for k in chosen], "of": len(beats),
    }  # fmt: skip
    return packed(cut.transpose(1, 0, 2).reshape(-1, cut.shape[2]), head, fine=True)


def aligned(report: Report) -> bytes:
    """Ten seconds with the R peaks on a grid of 60 a minute (Rlign), a row a lead; in the header how it went."""
    from einthoven.beats.align import align
    from einthoven.report.asjson import number

    made = align(report.record, report.beats)
    head = {
        "leads": list(made.leads), "fs": made.fs, "start": 0.0, "end": made.signal.shape[1] / made.fs, "pairs": False,
        "duration": made.signal.shape[1] / made.fs, "r": [number(v) for v in made.r], "filled": made.filled,
        "status": made.status,
    }  # fmt: skip
    return packed(made.signal, head)


def heat(made: Explanation) -> bytes:
    """An explanation as it is drawn: -1 (against the label) to 1 (for it), a row a lead; in the header what it explains and its
    evidence by lead and wave."""
    from einthoven.report.asjson import number

    told = made.to_dict()
    head = {key: told[key] for key in told if key != "evidence"}
    head["facts"] = {name: number(value) for name, value in made.facts.items()}
    return packed(made.heat.astype(np.float32), {**head, "start": made.start, "end": made.stop}, fine=True, step_name="step")


def median_record(report: Report) -> Record:
    """The median beat as a recording of its own. Raises EcgError without beats."""
    if not report.median:
        raise EcgError("there is no median beat: no beats were found")
    return Record(report.median.signal, report.median.fs, report.median.leads, patient=report.record.patient)


def aligned_record(report: Report) -> Record:
    """The signal with its R peaks on a grid of 60 a minute, as a recording of its own."""
    from einthoven.beats.align import align

    made = align(report.record, report.beats)
    return Record(made.signal, made.fs, made.leads, patient=report.record.patient)


RECORDS = {"median": median_record, "aligned": aligned_record}
VIEWS = {"median": median, "overlay": overlay, "aligned": aligned}
