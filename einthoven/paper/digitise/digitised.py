"""What digitising a page gives: `Digitised`, and the strips' traces from which its record is put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from einthoven.paper.digitise.confidence import probability
from einthoven.paper.page import Floats, Page, Strip
from einthoven.record import EcgError, Record, Source, canonical_order, einthoven_residual
from einthoven.signal.spline import cubic

DIGITISED = "digitised"  # Source.format of what comes from paper


@dataclass(frozen=True)
class Trace:
    """One strip's curve on the sheet, mm: `x` (N,) rising, `y` (N,) with NaN where nothing was printed.

    ink: how surely the curve is the print, 0..1 (1 for vectors). signs: what along its path speaks for or against it
    (`digitise.confidence`); empty for vectors.
    """

    strip: Strip
    x: Floats
    y: Floats
    ink: float = 1.0
    signs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Digitised:
    """An ECG read off its paper.

    record: mV at `fs` Hz, NaN where nothing was printed; time 0 is where the leftmost trace begins.
    page: where everything lies on the rectified sheet (mm), as `einthoven.paper.render` would have laid it out.
    image: the rectified sheet, (H, W, 3) uint8 RGB at page.dpi.
    homography: (3, 3), pixels of the input -> pixels of `image`; None where there is no input image (vectors).
    confidence: for each lead 0..1. warnings: what a careful reader should know. means: "vectors" or "image".
    """

    record: Record
    page: Page
    traces: tuple[Trace, ...]
    image: NDArray[np.uint8]
    homography: Floats | None
    confidence: Mapping[str, float]
    warnings: tuple[str, ...]
    means: str
    facts: Mapping[str, float] = field(default_factory=dict)


def assemble(page: Page, traces: Sequence[Trace], fs: float, path: str | None, warnings: Sequence[str]) -> Record:
    """The record of the strips' traces at `fs` Hz. Where a lead stands in several strips, the longest is taken."""
    if not traces:
        raise EcgError("no trace was found on this page", path=path)
    last = max(t.strip.stop for t in traces)
    samples = int(np.floor(last * fs + 0.05)) + 1
    if samples > 50_000_000 / max(len(traces), 1):
        raise EcgError(f"{last:g} s at {fs:g} Hz are too many samples", path=path)
    leads = canonical_order(dict.fromkeys(t.strip.lead for t in traces))
    signal = np.full((len(leads), samples), np.nan, np.float32)
    for t in sorted(traces, key=lambda t: t.strip.stop - t.strip.start):
        seconds, mv = page.from_mm(t.strip, t.x, t.y)
        a = max(int(np.ceil(t.strip.start * fs - 0.05)), 0)
        b = min(int(np.floor(t.strip.stop * fs + 0.05)) + 1, samples)
        at = np.arange(a, b) / fs
        values = _between(at, seconds, mv)
        # Nothing is invented beyond the ends of the print.
        values[(at < seconds[0] - 0.05 / fs) | (at > seconds[-1] + 0.05 / fs)] = np.nan
        row = signal[leads.index(t.strip.lead)]
        good = np.isfinite(values)
        row[a:b][good] = values[good]
    return Record(signal, fs, leads, source=Source(path, DIGITISED), warnings=tuple(dict.fromkeys(warnings)))


def _between(at: Floats, seconds: Floats, mv: Floats) -> Floats:
    """A curve's values at other times; NaN on both sides of a gap.

    A pixel is 5 ms wide at 200 dpi, as long as half a QRS's flank: straight lines between them would cut its peaks. So a cubic
    is laid through each stretch (a spline follows band-limited curves, and monotone ones less so).
    """
    out = np.interp(at, seconds, mv)
    good = np.isfinite(mv)
    for a, b in np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8))).reshape(-1, 2):
        if b - a < 4:
            continue
        inner = (at >= seconds[a]) & (at <= seconds[b - 1])
        out[inner] = cubic(seconds[a:b], mv[a:b], at[inner])
    return np.asarray(out, np.float64)


def confidence_of(record: Record, traces: Sequence[Trace]) -> tuple[dict[str, float], list[str]]:
    """How far each lead can be trusted, 0..1, and warnings.

    Vectors: how much of the strip was drawn, times how well Einthoven's law holds. Images: by the signs of their traces
    (`digitise.confidence`); of two strips of a lead the longer counts, which is the one that the record has.
    The law (III = II - I; Goldberger's aVR, aVL, aVF) is only asked where the leads stand over the same stretch of time.
    """
    out: dict[str, float] = {}
    for t in traces:
        whole = float(np.isfinite(t.y).mean()) if len(t.y) else 0.0
        out[t.strip.lead] = max(out.get(t.strip.lead, 0.0), t.ink * whole)
    warnings: list[str] = []
    for lead, gap in _residual(record).items():
        if gap > 0.15:  # mV, root mean square: more than a line's width at 10 mm/mV several times over
            warnings.append(f"Einthoven's law is off by {gap:.2f} mV in {lead}: a limb lead is misread or misnamed")
        for name in ("I", "II", lead):
            out[name] = min(out[name], float(np.exp(-((gap / 0.3) ** 2))))
    for lead, signs in lead_signs(record, traces).items():
        out[lead] = probability(signs)
    return {name: round(value, 3) for name, value in out.items()}, warnings


def lead_signs(record: Record, traces: Sequence[Trace]) -> dict[str, dict[str, float]]:
    """For each lead read off an image the signs of its longest strip, and those that only all leads together show."""
    out: dict[str, dict[str, float]] = {}
    for t in sorted(traces, key=lambda t: t.strip.stop - t.strip.start):
        if t.signs:
            out[t.strip.lead] = dict(t.signs)
    if not out:
        return out
    gaps = _residual(record)
    for lead, signs in out.items():
        law = gaps.get(lead, max(gaps.values()) if lead in ("I", "II") and gaps else None)
        if law is not None:
            signs["law"] = float(np.log10(max(law, 1e-3) / max(float(np.nanstd(record.lead(lead))), 1e-3)))
        twice = [t for t in traces if t.strip.lead == lead]
        if len(twice) > 1:
            signs["strips"] = _apart(*sorted(twice, key=lambda t: t.strip.stop - t.strip.start)[-2:])
    return out


def _apart(short: Trace, long: Trace) -> float:
    """How far two strips of one lead are apart where they show one stretch of time (one stretch of the page's width), as
    log10 of a share of the lead's size; 0 where they have too little in common."""
    at = np.interp(short.x, long.x, np.where(np.isfinite(long.y), long.y, np.nan), left=np.nan, right=np.nan)
    one, two = (short.y - short.strip.baseline) * short.strip.sign, (at - long.strip.baseline) * long.strip.sign
    both = np.isfinite(one) & np.isfinite(two)
    if both.sum() < 0.3 * len(one):
        return 0.0
    gap, size = float(np.std((one - two)[both])), float(np.std(one[both]))
    return float(np.log10(np.clip(gap / max(size, 1e-6), 1e-3, 10.0)))


def _residual(record: Record) -> dict[str, float]:
    """Root mean square gap (mV) to Einthoven's law after the mean is taken out, of leads with at least 1 s in common."""
    if not einthoven_residual(record):
        return {}
    one, two = record.lead("I").astype(np.float64), record.lead("II").astype(np.float64)
    laws = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
    out: dict[str, float] = {}
    for name, (a, b) in laws.items():
        if name in record:
            gap = record.lead(name) - (a * one + b * two)
            gap = gap[np.isfinite(gap)]
            if len(gap) >= record.fs:
                out[name] = float(np.std(gap))
    return out
