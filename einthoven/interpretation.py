"""From an ECG to a `Report`: the one path that command line, Python, web and tests share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from einthoven import __version__
from einthoven.beats.fiducials import Beats
from einthoven.beats.measurements import Measurements
from einthoven.findings import Finding
from einthoven.opinion import Opinion
from einthoven.record import Record, Source, derive_limb_leads
from einthoven.signal.quality import Quality

if TYPE_CHECKING:
    from concurrent.futures import Future

    from einthoven.beats.median import MedianBeats  # numba comes with it
    from einthoven.opinion import Seen
    from einthoven.paper.reading import Reading
    from einthoven.told import Told

DEFAULT_MODEL = "default"


@dataclass(frozen=True)
class Report:
    """What Einthoven has to say of one ECG, with all that it rests on.

    findings: most important first. conclusion: the findings in two or three sentences.
    median: the median beat of the dominant beat class (None without beats).
    opinions: what models say beside the rules, that of the signal first; none where none was asked.
    paper: what the picture gave that the record was read from (None for a digital file). Where `paper.why` is not empty, no ECG
        could be read from it: the record has no leads, and there are no findings.
    told: the report that a language model wrote, its sentences held against all this (None where none was asked).
    software: name and version of what made the report. created: when, ISO 8601 with time zone.
    """

    record: Record
    beats: Beats
    measurements: Measurements
    quality: Quality
    findings: tuple[Finding, ...]
    conclusion: str
    median: MedianBeats | None = None
    opinions: tuple[Opinion, ...] = ()
    paper: Reading | None = None
    told: Told | None = None
    warnings: tuple[str, ...] = ()
    software: str = f"Einthoven {__version__}"
    created: str = ""

    @property
    def opinion(self) -> Opinion | None:
        """That of the model of the signal."""
        return next((one for one in self.opinions if one.sees == "signal"), None)

    @property
    def unread(self) -> str:
        """Why the paper cannot be read; "" where it could, and for a digital file."""
        return "" if self.paper is None else self.paper.why


def interpret(
    ecg: str | Path | Record,
    *,
    fs: float | None = None,
    unit: str | None = None,
    model: str | Path | None = DEFAULT_MODEL,
    image_model: str | Path | None = DEFAULT_MODEL,
    layout: str | None = None,
    speed: float | None = None,
    gain: float | None = None,
    corners: Sequence[tuple[float, float]] | None = None,
    page: int | None = None,
    looks: bool = False,
    language: str | Path | None = None,
    beats: Beats | None = None,
) -> Report:
    """Reads, measures and interprets one ECG.

    Args:
        ecg: a path, or a Record. A picture or a PDF of an ECG on paper is digitised first.
        model: whose opinion stands beside the rules: a model's name or a Bundle's path; "default" the one that ships;
            None asks none.
        image_model: the same of a model that looks at the picture. "default": the one that ships, if one does, and only
            where a picture with millimetre paper came in; one that is named looks at a drawing of a digital file, too.
        fs: sampling rate in Hz, for files that do not say (CSV without a time column).
        unit: "mV", "uV", ... for files that do not say.
        layout, speed, gain, corners, page: of paper, where they are known, as in `digitize`.
        language: a language model (a Bundle's name or path) that writes a report beside the rules (`Report.told`).
        beats: of a Record, where its fiducials are known, or were corrected by hand (`beats.correct`).
        looks: of a picture, also which parts of it the image model's likeliest label rests on (`Opinion.looked`); 1 to 2 s.

    Raises:
        EcgError: the file cannot be read as an ECG or a picture, or there is no such model. A readable file always gives a
            Report: what its quality or its leads do not allow is said there ("cannot be determined"), and a picture in which no
            ECG can be read gives one that says why (`Report.unread`) and has no findings.
    """
    from einthoven.paper.entry import is_paper

    reading, picture, read, beside = None, None, None, None
    if isinstance(ecg, Record):
        read = ecg
    elif is_paper(ecg):
        from einthoven.paper.reading import Hints, read_paper

        beside = _Beside(model, image_model, looks)
        read, reading, picture = read_paper(ecg, Hints(layout, speed, gain, corners, page), seen=beside.start)
    else:
        from einthoven.io import read as read_file

        read = read_file(ecg, fs=fs, unit=unit)
    if read is None:
        # A model has something to say of any picture: by itself it is not asked of one that seems to hold no ECG.
        seen = picture if reading is not None and (reading.grid or image_model != DEFAULT_MODEL) else None
        return _unread(str(ecg), reading, _opinions(None, (), None, model, image_model, seen, looks, beside))
    from einthoven.beats.classify import classify
    from einthoven.beats.delineate import delineate
    from einthoven.beats.measure import measure
    from einthoven.beats.median import median_beats
    from einthoven.findings import conclude, find
    from einthoven.represent.features import FS, vector
    from einthoven.signal.quality import assess

    record = derive_limb_leads(read.ecg())  # files come with them; a Record made in memory may not
    quality = assess(record)
    by_hand = beats is not None
    beats = classify(record, delineate(record)) if beats is None else beats
    median = median_beats(record, beats)
    measurements = measure(record, beats, median)
    findings = find(record, beats, measurements, quality)
    told = None
    if language is not None:
        from einthoven.told import tell

        told = tell(record, measurements, findings, quality, language)
    # The model's features are those of 100 Hz; a record that comes at that rate has just been measured, as the model
    # is used to: by our own delineation.
    known = vector(record, beats, median, measurements, quality, findings) if record.fs == FS and not by_hand else None
    return Report(
        record=record,
        beats=beats,
        measurements=measurements,
        quality=quality,
        findings=findings,
        conclusion=conclude(findings),
        median=median or None,
        opinions=_opinions(record, findings, known, model, image_model, picture, looks, beside),
        paper=reading,
        told=told,
        warnings=record.warnings + measurements.warnings + against_the_recorder(record, measurements),
        created=_now(),
    )


def _opinions(
    record: Record | None,
    findings: tuple[Finding, ...],
    known: NDArray[np.float32] | None,
    model: str | Path | None,
    image_model: str | Path | None,
    picture: NDArray[np.uint8] | None,
    looks: bool,
    beside: _Beside | None = None,
) -> tuple[Opinion, ...]:
    """What the models say that are asked; of a picture without a signal those alone that look at pictures."""
    from einthoven.opinion import opinion, shipped_image_model

    asked: list[str | Path | None] = []
    if model is not None and (record is not None or model != DEFAULT_MODEL):
        asked.append(None if model == DEFAULT_MODEL else model)
    if image_model == DEFAULT_MODEL:
        image_model = None if picture is None else shipped_image_model()
    if image_model is not None and image_model not in asked:
        asked.append(image_model)
    seen = None if beside is None or picture is None else beside.seen()
    return tuple(
        opinion(
            record,
            findings,
            name,
            measured=known,
            picture=picture,
            looks=looks,
            seen=seen if name == image_model else None,
        )
        for name in asked
    )


class _Beside:
    """What can be done while a photo's traces are read off, in a thread beside: the model of pictures looks at the photo
    (onnxruntime lets other threads work meanwhile), then what measures the ECG is loaded. Nothing is different for it."""

    def __init__(self, model: str | Path | None, image_model: str | Path | None, looks: bool) -> None:
        self._asked, self._image_model, self._looks = model, image_model, looks
        self._seen: Future[Seen | None] | None = None

    def start(self, picture: NDArray[np.uint8]) -> None:
        """Begins, with the whole picture."""
        from concurrent.futures import ThreadPoolExecutor

        thread = ThreadPoolExecutor(1, "beside")
        if self._image_model is not None:
            self._seen = thread.submit(self._look, picture)
        thread.submit(self._load)
        thread.shutdown(wait=False)

    def seen(self) -> Seen | None:
        """What the model of pictures says. Raises EcgError where it cannot be loaded."""
        return None if self._seen is None else self._seen.result()

    def _look(self, picture: NDArray[np.uint8]) -> Seen | None:
        from einthoven.opinion import look_at, shipped_image_model

        name = shipped_image_model() if self._image_model == DEFAULT_MODEL else self._image_model
        return None if name is None else look_at(picture, name, self._looks)

    def _load(self) -> None:
        import einthoven.beats.classify
        import einthoven.beats.measure
        import einthoven.findings
        import einthoven.represent.features
        import einthoven.signal.quality  # noqa: F401
        from einthoven.beats.delineate import session
        from einthoven.opinion import loaded

        session()
        if self._asked is not None:
            loaded(None if self._asked == DEFAULT_MODEL else self._asked)


def _unread(path: str, reading: Reading | None, opinions: tuple[Opinion, ...]) -> Report:
    """The report of a picture in which no ECG can be read."""
    why = "" if reading is None else reading.why
    told = f"Cannot be read: {why}."
    record = Record(np.zeros((0, 0), np.float32), 500.0, (), source=Source(path, "paper"))
    return Report(
        record=record,
        beats=Beats((), np.zeros((0, 0, 9)), np.zeros((0, 9)), (), 0.0),
        measurements=Measurements({}, {}),
        quality=Quality(0.0, "unreadable"),
        findings=(),
        conclusion=told,
        opinions=opinions,
        paper=reading,
        warnings=() if reading is None else reading.warnings,
        created=_now(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
