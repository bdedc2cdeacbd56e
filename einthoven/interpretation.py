"""From an ECG to a `Report`: the one path that command line, Python, web and tests share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from einthoven import __version__
from einthoven.beats.fiducials import Beats
from einthoven.beats.measurements import Measurements
from einthoven.findings import Finding
from einthoven.opinion import Opinion
from einthoven.paper.entry import record_of
from einthoven.record import Record, derive_limb_leads
from einthoven.signal.quality import Quality

if TYPE_CHECKING:
    from einthoven.beats.median import MedianBeats  # numba comes with it

DEFAULT_MODEL = "default"


@dataclass(frozen=True)
class Report:
    """What Einthoven has to say of one ECG, with all that it rests on.

    findings: most important first. conclusion: the findings in two or three sentences.
    median: the median beat of the dominant beat class (None without beats).
    opinion: what a model says beside the rules, and where the two disagree (None where no model was asked).
    software: name and version of what made the report. created: when, ISO 8601 with time zone.
    """

    record: Record
    beats: Beats
    measurements: Measurements
    quality: Quality
    findings: tuple[Finding, ...]
    conclusion: str
    median: MedianBeats | None = None
    opinion: Opinion | None = None
    warnings: tuple[str, ...] = ()
    software: str = f"Einthoven {__version__}"
    created: str = ""


def interpret(
    ecg: str | Path | Record, *, fs: float | None = None, unit: str | None = None, model: str | Path | None = DEFAULT_MODEL
) -> Report:
    """Reads, measures and interprets one ECG.

    Args:
        ecg: a path, or a Record. A picture or a PDF of an ECG on paper is digitised first.
        model: whose opinion stands beside the rules: a model's name or a Bundle's path; "default" the one that ships;
            None asks none.
        fs: sampling rate in Hz, for files that do not say (CSV without a time column).
        unit: "mV", "uV", ... for files that do not say.

    Raises:
        EcgError: the file cannot be read as an ECG, or there is no such model. A readable file always gives a Report: what
            its quality or its leads do not allow is said there ("cannot be determined").
    """
    from einthoven.beats.classify import classify
    from einthoven.beats.delineate import delineate
    from einthoven.beats.measure import measure
    from einthoven.beats.median import median_beats
    from einthoven.findings import conclude, find
    from einthoven.opinion import opinion
    from einthoven.represent.features import FS, vector
    from einthoven.signal.quality import assess

    record = (ecg if isinstance(ecg, Record) else record_of(ecg, fs=fs, unit=unit)).ecg()
    record = derive_limb_leads(record)  # files come with them; a Record made in memory may not
    quality = assess(record)
    beats = classify(record, delineate(record))
    median = median_beats(record, beats)
    measurements = measure(record, beats, median)
    findings = find(record, beats, measurements, quality)
    said = None
    if model is not None:
        # The model's features are those of 100 Hz; a record that comes at that rate has just been measured.
        known = vector(record, beats, median, measurements, quality, findings) if record.fs == FS else None
        said = opinion(record, findings, None if model == DEFAULT_MODEL else model, measured=known)
    return Report(
        record=record,
        beats=beats,
        measurements=measurements,
        quality=quality,
        findings=findings,
        conclusion=conclude(findings),
        median=median or None,
        opinion=said,
        warnings=record.warnings + measurements.warnings + against_the_recorder(record, measurements),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


# How far two careful measurements of one ECG may lie apart before somebody should look: rate as a ratio, intervals in ms.
_RATE_RATIO, _INTERVALS_MS = 1.2, {"pr_ms": 60.0, "qrs_ms": 40.0, "qt_ms": 80.0}


def against_the_recorder(record: Record, measurements: Measurements) -> tuple[str, ...]:
    """Warnings where the recorder's own figures and ours cannot both be right: a wrong sampling rate shows itself here."""
    out = []
    theirs, ours = record.machine.get("rate_bpm", float("nan")), measurements["rate_bpm"]
    if theirs > 0 and ours > 0 and not 1 / _RATE_RATIO <= theirs / ours <= _RATE_RATIO:
        out.append(f"the recorder measured {theirs:.0f}/min, here it is {ours:.0f}/min: is the file's sampling rate right?")
    for name, limit in _INTERVALS_MS.items():
        theirs, ours = record.machine.get(name, float("nan")), measurements[name]
        if abs(theirs - ours) > limit:
            what = name.removesuffix("_ms").upper()
            out.append(f"the recorder measured {what} {theirs:.0f} ms, here it is {ours:.0f} ms: look at the trace")
    return tuple(out)
