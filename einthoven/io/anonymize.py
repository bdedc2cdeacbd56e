"""Removes what identifies the patient from a record, and says what was removed."""

from __future__ import annotations

import re
from dataclasses import replace

from einthoven.record import Device, Patient, Record

# A statement with one of these names a person more often than a finding.
_PERSON = re.compile(
    r"\b(confirmed|reviewed|signed|edited|read|interpreted|overread|requested|referred|referring|ordered|acquired)\b.*\bby\b"
    r"|\b(dr|prof|mr|mrs|ms|md|do|rn)\b\.?|\b(physician|cardiologist|technician|operator|name|patient)\b\s*:",
    re.IGNORECASE,
)

# What this package found out about the signal, and needs: without it a pulse of calibration would become an ECG (Record.ecg).
_OURS = ("calibration_s", "ecg_until_s", "gain_factor")


def anonymize(record: Record) -> tuple[Record, list[str]]:
    """The record without its patient, and the list of what was removed.

    Kept: age (over 89 becomes 90, after HIPAA 45 CFR 164.514(b)(2)(i)(C)), sex, height, weight, the recorder's make, model
    and filters, measurements, codes, and statements unless they may name a person ("confirmed by", "Dr."). Removed: name, id,
    birth date, every free field of patient and file, date of recording (the time of day stays, on 1 January 1900), serial
    number, institution, path.
    """
    removed: list[str] = []
    patient, device = record.patient, record.device
    for what, value in (("name", patient.name), ("id", patient.id), ("birth date", patient.birth_date)):
        if value is not None:
            removed.append(f"patient {what}")
    removed += [f"patient {key}" for key in patient.extra]
    age = patient.age
    if age is not None and age > 89:
        age = 90.0
        removed.append("exact age over 89")
    for what, value in (("serial number", device.serial), ("institution", device.institution)):
        if value is not None:
            removed.append(f"device {what}")
    own = {key: value for key, value in record.extra.items() if key in _OURS}
    removed += [f"file field {key}" for key in record.extra if key not in own]
    start = record.start
    if start is not None:
        start = start.replace(year=1900, month=1, day=1, tzinfo=None)
        removed.append("date of recording")
    if record.source.path is not None:
        removed.append("path")
    statements = tuple(s for s in record.statements if not _PERSON.search(s))
    if len(statements) < len(record.statements):
        removed.append(f"{len(record.statements) - len(statements)} statement(s) that may name a person")
    clean = replace(
        record,
        patient=Patient(age=age, sex=patient.sex, height_cm=patient.height_cm, weight_kg=patient.weight_kg),
        device=Device(
            manufacturer=device.manufacturer, model=device.model, software=device.software,
            highpass_hz=device.highpass_hz, lowpass_hz=device.lowpass_hz, notch_hz=device.notch_hz,
        ),
        start=start,
        statements=statements,
        source=replace(record.source, path=None),
        extra=own,
    )  # fmt: skip
    return clean, removed
