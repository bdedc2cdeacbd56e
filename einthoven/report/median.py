"""The median beat of every lead on a small sheet at 50 mm/s, with P, QRS and T shaded and J and J + 60 ms ticked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from einthoven.beats.fiducials import QRS_OFF, Beats
from einthoven.beats.median import MedianBeats
from einthoven.paper.page import Layout, Page, lay_out
from einthoven.record import Record, canonical_order

SPEED, GAIN = 50.0, 10.0


def median_page(
    median: MedianBeats, width: float = 287.0, row: float = 30.0, speed: float = SPEED
) -> tuple[Record, Page, Beats]:
    """(the median beat as a Record, its Page, its fiducials as Beats of one beat).

    width: the widest sheet, mm; it has as many columns as that holds. row: least height of a row, mm. speed: mm/s.
    """
    leads = canonical_order(median.leads)
    record = Record(np.ascontiguousarray(median.signal, np.float32), median.fs, median.leads).pick(leads)
    # Leads recorded for a part of the time (paper) have no marks of their own: they are measured by those of all leads.
    unmarked = np.isnan(median.times).all(axis=1, keepdims=True)
    beats = Beats(
        leads=median.leads,
        times=np.where(unmarked, median.overall, median.times)[None],
        overall=median.overall[None],
        kinds=(median.kind,),
        duration=record.duration,
    )
    beat = math.ceil(record.duration * speed / 5) * 5.0  # whole squares
    columns = int(min(max((width - 25) // beat, 1), 6, len(leads)))
    rows = -(-len(leads) // columns)
    columns = -(-len(leads) // rows)
    heights = [max(row, _extent(record, leads[r::rows]) + 4.0) for r in range(rows)]
    size = (min(columns * beat + 25, width), math.ceil(sum(heights) / 5) * 5.0 + 14)
    layout = Layout(rows, columns, leads=leads)
    page = lay_out(record, layout=layout, speed=speed, gain=GAIN, size=size, header=False)
    ticks = []
    for strip in page.strips:
        j = float(median.times[median.leads.index(strip.lead), QRS_OFF])
        j = j if np.isfinite(j) else float(median.overall[QRS_OFF])
        for at in (j, j + 0.060):
            if np.isfinite(at) and strip.start <= at <= strip.stop:
                mv = np.interp(at, np.arange(record.signal.shape[1]) / record.fs, record.lead(strip.lead))
                x, y = page.to_mm(strip, at, mv)
                if np.isfinite(y):
                    ticks.append(((float(x), float(y) - 1.6), (float(x), float(y) + 1.6)))
    return record, replace(page, rules=(*page.rules, *ticks)), beats


def _extent(record: Record, leads: Sequence[str]) -> float:
    """From the lowest to the highest point of these leads, mm; at most 6 mV, as a lone spike may need."""
    values = np.concatenate([record.lead(name) for name in leads])
    values = values[np.isfinite(values)]
    return min(float(values.max() - values.min()), 6.0) * GAIN if len(values) else 0.0
