"""What is done to every record after its reader: one set of lead names, one order, units, and the doubts worth saying."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from einthoven.io.files import MAX_DECODED, File
from einthoven.record import (
    LIMB_LEADS,
    STANDARD_LEADS,
    EcgError,
    Record,
    Signal,
    Source,
    canonical_order,
    derive_limb_leads,
    einthoven_residual,
)

# Millivolts per unit. µ is both U+00B5 and U+03BC in the wild, and Ã‚Âµ-like damage where Latin-1 met UTF-8.
_MILLIVOLTS = {
    "v": 1e3, "volt": 1e3, "volts": 1e3,
    "mv": 1.0, "millivolt": 1.0, "millivolts": 1.0,
    "uv": 1e-3, "microvolt": 1e-3, "microvolts": 1e-3, "mcv": 1e-3,
    "nv": 1e-6, "nanovolt": 1e-6, "nanovolts": 1e-6,
}  # fmt: skip

# Electrodes of the 10-20 system, alone or against a reference.
_EEG = re.compile(r"^(fp[12z]|f[3478z]|c[34z]|t[3-8]|p[3478z]|o[12z]|a[12]|m[12]|[flr]oc)(\s*-\s*\w+)?$", re.IGNORECASE)

# What shares a recording with an ECG and is none: left out, and said so.
_NOT_ECG = re.compile(
    r"""^(eeg|eog|emg|eng|mea|erg|erp|vep|resp\w*|imp|pneum\w*|thor\w*|abdo\w*|airflow|flow|snore|nasal|oral|
    spo2|sao2|pleth\w*|ppg\w*|abp\w*|bp|art\w*|nbp\w*|cvp|pap|icp|uap|uvp|rap|lap|press\w*|temp\w*|t\s?blood|tblood|co2|etco2|
    o2|cap|rate|hr|pulse\w*|pr|st\w*|gsr|eda|acc\w*|gyr\w*|pcg|sound|light|body|pos\w*|position|event\w*|trigger|status|marker\w*|
    annotations?|edf\sannotations|bdf\sannotations|saturation|hgb|scg|bcg|foot\w*|hand\w*|marker|battery|pat|ptt|sv|c\.o\.)
    \b""",
    re.IGNORECASE | re.VERBOSE,
)


def millivolts(unit: str | None) -> float | None:
    """How many mV one `unit` is; None where the unit is unknown or no voltage."""
    if not unit:
        return None
    word = unit.strip().lower().replace("µ", "u").replace("μ", "u").replace("â", "").replace("ã", "").replace("\u201a", "")
    return _MILLIVOLTS.get(word.replace("Â", "").replace("â", "").strip())


@lru_cache(maxsize=4096)
def lead_name(label: str) -> tuple[str, int]:
    """A label as files write it -> (name of the lead, +1, or -1 where the file holds the lead upside down).

    "MDC_ECG_LEAD_AVR", "Lead I (Einthoven)", "ECG V1", "avr", "V1 (µV)", "V1[uV]", "-aVR" are all understood; a label that is
    no standard lead (MLII, V4R, X) comes back tidied of the decoration only.
    """
    label = label[:200]  # no label is longer, and the patterns below were not made for text that is
    word = " ".join(label.strip().strip("'\"").split())
    word = re.sub(r"[\(\[][^()\[\]]*[\)\]]", " ", word).strip() or word  # a unit or remark in brackets
    word = re.sub(r"^\d+:\d+:", "", word)
    word = re.sub(r"^(MDC_ECG_LEAD_|NOM_ECG_ELEC_POTL_|NOM_ECG_LEAD_|MDC_ECG_ELEC_POTL_)", "", word, flags=re.IGNORECASE)
    word = re.sub(r"^((ecg|ekg|lead|ableitung|channel|derivation)[\s_:.\-]*)+(?=[\w\-])", "", word, flags=re.IGNORECASE)
    word = re.sub(r"[\s_\-]*(lead|ref|mv|uv|µv|ecg|ekg)$", "", word, flags=re.IGNORECASE).strip() or word
    sign = 1
    if word.startswith(("-", "\u2212")) and len(word) > 1:
        word, sign = word[1:].strip(), -1
    name = _STANDARD.get(re.sub(r"[\s_]", "", word).upper())
    if name:
        return name, sign
    if _LEAD_LIKE.match(word):
        return word, sign
    return (" ".join(label.split()) or "?")[:64], 1


_STANDARD = {name.upper(): name for name in STANDARD_LEADS}
_STANDARD |= {"D1": "I", "D2": "II", "D3": "III", "DI": "I", "DII": "II", "DIII": "III", "VR": "aVR", "VL": "aVL", "VF": "aVF"}
# Not understood on purpose: "1".."12" (column numbers), "C3" (an EEG electrode as often as a chest electrode).


def is_standard(label: str) -> bool:
    """Whether the label means one of the twelve leads."""
    return lead_name(label)[0] in STANDARD_LEADS


_LEAD_LIKE = re.compile(
    r"""^(m?l(i{1,3})|m(od)?\.?\s?v?[1-6]|mcl\d?r?|c[ms]\d?|v([789]|[1-9]r|1[0-2])?|v?[xyz]|es|as|ai|nehb.?[dai]|[daji]|cr\d|cc\d)$""",
    re.IGNORECASE | re.VERBOSE,
)


@lru_cache(maxsize=4096)
def is_ecg(label: str) -> bool:
    """Whether a channel's label says ECG: a standard lead, another known one (MLII, V4R, X, MCL1), or "ECG..."."""
    if re.search(r"ecg|ekg|electrocardio", label[:200], re.IGNORECASE) or is_standard(label):
        return True
    return _LEAD_LIKE.match(lead_name(label)[0]) is not None


def is_other(label: str) -> bool:
    """Whether a channel's label says that it is something else than an ECG (breathing, pressure, EEG, ...)."""
    return not is_ecg(label) and (
        _NOT_ECG.match(label[:200].strip()) is not None or _EEG.match(label[:200].strip()) is not None
    )


def distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels with the second "X" called "X 2", so that rows keep names of their own."""
    seen: dict[str, int] = {}
    out: list[str] = []
    for label in labels:
        word = label.strip() or "?"
        seen[word] = seen.get(word, 0) + 1
        name = word if seen[word] == 1 else f"{word} {seen[word]}"
        while name in out:
            name += "'"
        out.append(name)
    return tuple(out)


def check_samples(leads: int, samples: int, file: File | None = None) -> None:
    """Refuses what would decode to more than MAX_DECODED bytes, before anything of that size is allocated."""
    if leads < 0 or samples < 0 or leads * samples * 4 > MAX_DECODED:
        told = f"{leads:,} leads of {samples:,} samples are more than one record may hold ({MAX_DECODED // 4:,} samples)"
        raise EcgError(told, path=file.path if file else None)


def check_fs(fs: float, file: File | None = None, where: str | None = None) -> float:
    """A sampling rate that an ECG can have (1 Hz to 200 kHz), or EcgError."""
    if not (np.isfinite(fs) and 1 <= fs <= 200_000):
        raise EcgError(f"impossible sampling rate {fs:g} Hz", path=file.path if file else None, where=where)
    return float(fs)


def finish(record: Record, file: File, format: str) -> Record:
    """Names, order, derived leads, doubts. Every record passes here once, after its reader.

    Lead labels become standard names (a lead stored upside down is turned and said so); channels that are no ECG are left
    out and said so; missing limb leads are derived and said so; then each doubt (flat lead, limb leads that contradict
    Einthoven's law, an amplitude no heart makes) becomes a warning.
    """
    if record.signal.shape[1] == 0 or record.signal.shape[0] == 0:
        raise EcgError("no samples", path=file.path)
    names, signs, keep, warnings = _plan(record.leads)
    if not keep:
        raise EcgError(f"no ECG channel: {', '.join(record.leads[:12])}", path=file.path)
    signal, steps = np.ascontiguousarray(record.signal), record.resolution_uv
    if steps is None:
        steps = (0.0,) * len(record.leads)
    derived = tuple(lead_name(n)[0] for n in record.derived) if record.derived else ()
    if -1 in signs:
        signal = signal * np.array(signs, np.float32)[:, None]
    if keep != tuple(range(len(names))):
        signal = np.ascontiguousarray(signal[list(keep)])
        names, steps = tuple(names[i] for i in keep), tuple(steps[i] for i in keep)
    with np.errstate(all="ignore"):
        spans: list[float] = (signal.max(axis=1) - signal.min(axis=1)).tolist()
        if not all(map(math.isfinite, spans)):
            signal, spans, gaps = _gaps(signal, names)
            warnings += gaps
        # What dataclasses.replace does, in a third of its time: this runs for every record read.
        changed = {
            "signal": signal,
            "leads": names,
            "resolution_uv": steps,
            "derived": derived,
            "source": Source(file.path, format, record.source.version),
            "warnings": record.warnings + warnings,
        }
        out = Record(**(vars(record) | changed))
        if any(n in names for n in LIMB_LEADS) and not all(n in names for n in LIMB_LEADS):
            out = derive_limb_leads(out)
        flat = [n for n, span in zip(names, spans, strict=True) if span == 0]
        doubts = [f"flat: {', '.join(flat)}"] if flat else []
        doubts += _law(out)
        doubts += _size(sorted(s for s in spans if s > 0))
    return out.warn(*doubts) if doubts else out


@lru_cache(maxsize=1024)
def _plan(labels: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    """Labels of the rows -> (names, signs, which rows to keep in which order, warnings)."""
    names, signs = map(list, zip(*(lead_name(label) for label in labels), strict=True)) if labels else ([], [])
    warnings: list[str] = []
    # Beside channels that are known to be an ECG, one of an unknown name is taken to be something else.
    known = any(is_ecg(label) for label in labels)
    other = [i for i, label in enumerate(labels) if (not is_ecg(label) if known else is_other(label))]
    if other:
        warnings.append(f"not ECG, left out: {', '.join(labels[i] for i in other[:20])}")
    for i, name in enumerate(names):
        if i not in other and name in names[:i]:
            first = names.index(name)
            names[i] = distinct([*names[:i], name])[-1]
            warnings.append(f"lead {labels[i]} is there twice (first as {labels[first]}): the second is called {names[i]}")
        if i not in other and signs[i] < 0:
            warnings.append(f"lead {labels[i]} is stored inverted: turned and called {names[i]}")
    kept = [n for i, n in enumerate(names) if i not in other]
    order = tuple(names.index(n) for n in canonical_order(kept))
    return tuple(names), tuple(signs), order, tuple(warnings)


# Rows of this matrix times the six limb leads are zero in a sound record. Einthoven 1913; Goldberger 1942.
_LAWS: NDArray[np.float32] = np.array(
    [[1, -1, 1, 0, 0, 0], [0.5, 0.5, 0, 1, 0, 0], [-1, 0.5, 0, 0, 1, 0], [0.5, -1, 0, 0, 0, 1]], np.float32
)


def _gaps(signal: Signal, names: Sequence[str]) -> tuple[Signal, list[float], tuple[str, ...]]:
    """What is missing -> (the signal with NaN for infinity, span of each lead in mV or NaN for an empty one, warnings).

    Lead by lead, so that a recording of days is not in memory three times.
    """
    told: list[str] = []
    spans: list[float] = []
    if np.isinf(signal).any():
        told.append(f"{int(np.isinf(signal).sum()):,} samples are infinite: taken as missing")
        signal = np.where(np.isinf(signal), np.float32(np.nan), signal)
    rest = 0
    for row in signal:
        there = row[~np.isnan(row)]
        spans.append(float(there.max()) - float(there.min()) if len(there) else math.nan)
        rest += len(row) - len(there) if len(there) else 0
    empty = [n for n, span in zip(names, spans, strict=True) if math.isnan(span)]
    if empty:
        told.append(f"nothing recorded in {', '.join(empty)}")
    if rest:
        told.append(f"{rest:,} samples are missing (NaN)")
    return signal, spans, tuple(told)


def _law(record: Record) -> list[str]:
    """Einthoven's law: two steps of the storage or 20 µV, whichever is larger, is what rounding explains."""
    until = record.extra.get("ecg_until_s")  # a calibration pulse after that obeys no law
    record = record if until is None else record.crop(0, until)
    if record.leads[:6] == LIMB_LEADS and not record.derived:
        measured: Sequence[str] = LIMB_LEADS
    else:
        measured = [n for n in LIMB_LEADS if n in record.leads and n not in record.derived]
        if len(measured) < 3 or "I" not in measured or "II" not in measured:
            return []
    steps = record.resolution_uv or ()
    allowed = max(20.0, 2 * max((steps[record.leads.index(n)] for n in measured), default=0.0))
    if len(measured) == 6:
        gap = _LAWS @ record.signal[:6]
        if max(float(gap.max()), -float(gap.min())) * 1000 <= allowed:  # false for NaN
            return []
    gaps = einthoven_residual(record)
    bad = {n: 1000 * g for n, g in gaps.items() if 1000 * g > allowed}
    if not bad:
        return []
    told = ", ".join(f"{n} {g:.0f} µV" for n, g in bad.items())
    return [f"limb leads contradict Einthoven's law (largest gap: {told}; {allowed:.0f} µV expected at most)"]


def _size(spans: list[float]) -> list[str]:
    """Leads of an ECG span 0.6 to 5 mV (PTB-XL: median lead 0.62 to 4.7 mV); far outside, unit or gain are wrong."""
    middle = spans[len(spans) // 2] if spans else 0.0
    if middle <= 0 or 0.35 <= middle <= 6:
        return []
    words = f"{middle:.3g} mV" if middle >= 0.1 else f"only {1000 * middle:.3g} µV"
    if 0.1 <= middle <= 20:
        return [f"unusual amplitude: leads span {words}; check the file's unit and gain"]
    return [f"implausible amplitude: leads span {words}; the file's unit or gain is probably wrong"]


def level(rows: Sequence[Signal]) -> Signal:
    """Rows of different rates (each a divisor of the fastest) at the fastest: straight lines between samples, NaN stays."""
    most = max(len(r) for r in rows)
    out = np.empty((len(rows), most), np.float32)
    for i, row in enumerate(rows):
        out[i] = row if len(row) == most else np.interp(np.arange(most) * (len(row) / most), np.arange(len(row)), row)
    return out


def scale(
    values: NDArray[np.generic], unit: str | None, given: str | None, file: File
) -> tuple[Signal, float, tuple[str, ...]]:
    """Numbers in `unit` (the user's `given` wins) -> (mV as float32, mV per unit, warnings).

    A unit that neither the file nor the user names is taken for mV, with a warning. Raises EcgError for a unit that is
    no voltage.
    """
    told: tuple[str, ...] = ()
    word = given or unit
    if not word:
        factor, told = 1.0, ("unit not given in the file: taken as mV",)
    else:
        known = millivolts(word)
        if known is None:
            raise EcgError(f"unit {word[:40]!r} is no voltage (mV, uV, nV or V)", path=file.path)
        factor = known
    if factor == 1.0:
        return np.ascontiguousarray(values, np.float32), factor, told
    return (values.astype(np.float64) * factor).astype(np.float32), factor, told
