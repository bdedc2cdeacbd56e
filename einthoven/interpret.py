"""From an ECG to a `Report`: the one path that command line, Python, web and tests share."""

from __future__ import annotations

from dataclasses import dataclass

from einthoven.beats.fiducials import Beats
from einthoven.beats.measurements import Measurements
from einthoven.findings import Finding
from einthoven.record import Record
from einthoven.signal.quality import Quality


@dataclass(frozen=True)
class Report:
    """What Einthoven has to say of one ECG, with all that it rests on.

    findings: most important first. conclusion: the findings in two or three sentences. median: (L, T) float32 mV median beat of
    the dominant beat class, `median_fs` Hz, starting `median_start_s` before its R peak; rows as in record.leads.
    """

    record: Record
    beats: Beats
    measurements: Measurements
    quality: Quality
    findings: tuple[Finding, ...]
    conclusion: str
    warnings: tuple[str, ...] = ()
    software: str = ""
    created: str = ""
