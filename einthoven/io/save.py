"""What writers share: the steps in which samples are stored."""

from __future__ import annotations

import numpy as np

from einthoven.record import Record


def storage_steps(record: Record, *, largest: int = 2**31 - 1) -> tuple[float, ...]:
    """µV per step in which to store each lead, so that whole numbers of steps give the samples again.

    The record's own resolution, or half of it where leads were derived (aVR = -(I + II)/2 falls between the steps); where
    the source was floating point 0.1 µV, or what 16 bits allow. Coarser where the range would not fit `largest` steps.
    """
    own = record.resolution_uv or (0.0,) * len(record.leads)
    out = []
    for row, step in zip(record.signal, own, strict=True):
        values = np.abs(row[np.isfinite(row)].astype(np.float64)) * 1000
        size = step if step > 0 else 0.1
        if step > 0 and values.size and np.abs(values / size - np.rint(values / size)).max() > 0.25:
            size /= 2
        top = float(values.max(initial=0.0))
        out.append(size if top <= size * largest else top / largest)
    return tuple(out)
