"""A recording cut into what a model takes in at once. The leads that it must have, gaps, what is too short or too long.

L leads, T samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from einthoven.exchange.manifest import ImageInput, SignalInput
from einthoven.paper.digitise.digitised import DIGITISED
from einthoven.record import EcgError, Record, derive_limb_leads

NEARLY = 0.99  # of a window: a recording of 9.95 s is a recording of 10 s
KNOWN = 0.5  # of each lead in a window must have been recorded, or the window is left out

_Made = TypeVar("_Made")


def windows(
    record: Record,
    wanted: SignalInput | ImageInput,
    leads: tuple[str, ...],
    width: float | None,
    make: Callable[[Record], _Made],
) -> tuple[list[_Made], list[str]]:
    """What `make` makes of each window of a recording (one at least), and what has to be said of them.

    Args:
        leads: that the model needs. width: of a window in s; None: the whole recording.

    Raises:
        EcgError: a lead is missing, the recording is too short, or no stretch of it holds every lead.
    """
    path = record.source.path
    empty = "zeros" if isinstance(wanted, SignalInput) else "empty paper"
    warnings: list[str] = []
    if any(name not in record for name in leads):
        derived = derive_limb_leads(record)
        if own := [name for name in leads if name in derived and name not in record]:
            warnings.append(f"derived from the other limb leads: {', '.join(own)}")
        record = derived
    known = {name: np.isfinite(record.lead(name)).mean() if name in record else 0.0 for name in leads}
    missing = [name for name, share in known.items() if share == 0]
    if missing:
        told = f"{', '.join(missing)} not recorded"
        if wanted.missing_leads == "refuse":
            raise EcgError(f"the model needs leads that are not there: {told}", path=path)
        if len(missing) == len(leads):
            raise EcgError("none of the model's leads was recorded", path=path)
        warnings.append(f"{told}: the model sees {empty} there, as it did in training; trust it less")
        record = record.pick(leads, missing="nan")

    spans, width = _spans(record, wanted, width, warnings)
    rows = [record.leads.index(name) for name in leads if name not in missing]
    made, lost, gaps = [], 0, 0
    for start, stop in spans:
        part = record if start == 0 and stop >= record.duration else record.crop(start, stop)
        share = np.isfinite(part.signal[rows]).mean(1)
        if share.min(initial=1.0) < KNOWN:
            lost += 1
            continue
        gaps += bool((share < 1).any())
        made.append(make(part))
    if not made:
        told = f"no stretch of {width:g} s in which every lead was recorded"
        if record.source.format == DIGITISED:
            told += ": the print shows too little of each lead; a model of images looks at the print itself"
        raise EcgError(told, path=path)
    if lost:
        warnings.append(f"{lost} of {len(spans)} windows left out: a lead is missing for more than half of them")
    if gaps:
        shown = "the baseline" if isinstance(wanted, SignalInput) else empty
        warnings.append(f"gaps in the recording: the model sees {shown} there")
    return made, warnings


def _spans(
    record: Record, wanted: SignalInput | ImageInput, width: float | None, warnings: list[str]
) -> tuple[list[tuple[float, float]], float]:
    """(start, stop) in seconds of each window, and how long one is. Adds to `warnings`. Raises EcgError: too short."""
    whole = record.duration
    if width is None:
        return [(0.0, whole)], whole
    least = width / 2 if wanted.shortest_s is None else wanted.shortest_s
    if whole < least:
        told = f"{whole:g} s are too short: the model reads {width:g} s and takes no less than {least:g} s"
        raise EcgError(told, path=record.source.path)
    if whole < NEARLY * width:
        rest = "filled up" if isinstance(wanted, SignalInput) else "empty paper"
        warnings.append(f"the recording lasts {whole:g} s, the model reads {width:g} s: the rest is {rest}")
        return [(0.0, whole)], width
    stride = wanted.windows.stride_s or width
    count = 1 if wanted.windows.over == "first" else 1 + int((whole - NEARLY * width) / stride)
    starts = [i * stride for i in range(count)]
    # What remains at the end is read, too, in a window that overlaps the one before, unless it is little.
    if wanted.windows.over != "first" and whole - (starts[-1] + width) > width / 2:
        starts.append(whole - width)
    if len(starts) > 1:
        warnings.append(f"{whole:g} s: the {wanted.windows.over} of {len(starts)} windows of {width:g} s")
    elif whole > width / NEARLY:
        warnings.append(f"{whole:g} s: the model reads the first {width:g} s alone")
    return [(start, start + width) for start in starts], width
