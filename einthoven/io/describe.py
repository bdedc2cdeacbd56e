"""What `einthoven info` says of a record: all that the file has but the samples, as JSON or as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from einthoven.record import Record, einthoven_residual


def describe(record: Record) -> dict[str, Any]:
    """The record without its samples, as plain JSON values; what the file does not say is left out or null."""
    finite = np.isfinite(record.signal)
    residual = einthoven_residual(record)
    median = record.median
    return {
        "path": record.source.path,
        "format": record.source.format,
        "version": record.source.version,
        "leads": list(record.leads),
        "derived": list(record.derived),
        "fs_hz": record.fs,
        "samples": record.signal.shape[1],
        "duration_s": round(record.duration, 6),
        "recorded": {n: round(float(row.mean()), 4) for n, row in zip(record.leads, finite) if not row.all()}
        if finite.size
        else {},
        "resolution_uv": dict(zip(record.leads, record.resolution_uv)) if record.resolution_uv else {},
        "start": record.start.isoformat() if record.start else None,
        "patient": _said(record.patient),
        "device": _said(record.device),
        "machine": {k: v for k, v in record.machine.items() if v == v},
        "statements": list(record.statements),
        "codes": list(record.codes),
        "median": {"leads": list(median.leads), "fs_hz": median.fs, "samples": median.signal.shape[1]} if median else None,
        "einthoven_residual_mv": {k: round(v, 6) for k, v in residual.items()},
        "warnings": list(record.warnings),
    }


def described(path: str) -> dict[str, Any]:
    """`describe` of a file. Raises EcgError."""
    from einthoven.io import read

    return describe(read(path))


def describe_text(record: Record) -> str:
    """The same for eyes."""
    lines = [record.source.path or "in memory"]

    def say(title: str, *parts: str) -> None:
        words = ", ".join(p for p in parts if p)
        if words:
            lines.append(f"  {title:<11}{words}")

    patient, device = record.patient, record.device
    say("format", " ".join(p for p in (record.source.format, record.source.version) if p))
    say("signal", f"{len(record.leads)} leads x {record.signal.shape[1]} samples, {record.duration:g} s at {record.fs:g} Hz")
    say("leads", " ".join(record.leads))
    say("derived", " ".join(record.derived))
    say("start", record.start.isoformat(sep=" ") if record.start else "")
    say(
        "patient",
        patient.shown_name,
        f"id {patient.id}" if patient.id else "",
        f"{patient.age:g} years" if patient.age is not None else "",
        patient.sex or "",
    )
    say(
        "device",
        device.manufacturer or "",
        device.model or "",
        f"high-pass {device.highpass_hz:g} Hz" if device.highpass_hz is not None else "",
        f"low-pass {device.lowpass_hz:g} Hz" if device.lowpass_hz is not None else "",
        f"notch {device.notch_hz:g} Hz" if device.notch_hz is not None else "",
    )
    say("measured", *(f"{name} {value:g}" for name, value in record.machine.items() if value == value))
    for words in record.statements:
        say("statement", words)
    say("codes", *record.codes)
    if record.median:
        say("median", f"{len(record.median.leads)} leads x {record.median.signal.shape[1]} samples at {record.median.fs:g} Hz")
    for words in record.warnings:
        say("warning", words)
    return "\n".join(lines)


def _said(part: Any) -> dict[str, Any]:
    """The fields of a dataclass that the file filled."""
    out: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if value is not None and value != {}:
            out[field.name] = dict(value) if isinstance(value, Mapping) else value
    return out
