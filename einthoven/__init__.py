"""Einthoven reads any 12-lead ECG, measures it and interprets it. Research use only, not a medical device.

    import einthoven as ecg

    record = ecg.read("patient.xml")     # any format, content decides
    beats = ecg.delineate(record)        # Beats
    figures = ecg.measure(record)        # Measurements
    image, page = ecg.render(record)     # uint8 (H, W, 3), Page
    found = ecg.digitize("photo.jpg")    # Digitised: found.record, found.page
    report = ecg.interpret(record)       # Report; ecg.save(report, "report.html")

What a name needs is imported when it is first used, so that `import einthoven` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einthoven.beats.delineate import delineate
    from einthoven.beats.fiducials import Beats
    from einthoven.beats.measure import measure
    from einthoven.beats.measurements import Measurements
    from einthoven.findings import Evidence, Finding
    from einthoven.interpretation import Report, interpret
    from einthoven.io import read, read_all, write
    from einthoven.paper.digitise import Digitised, digitize
    from einthoven.paper.page import Page
    from einthoven.paper.render import render
    from einthoven.record import Device, EcgError, Patient, Record
    from einthoven.report import save
    from einthoven.signal.quality import assess
    from einthoven.synth import simulate

__version__ = "0.1.0"

# name -> the module that holds it
_FRONT = {
    "Beats": "beats.fiducials",
    "Device": "record",
    "Digitised": "paper.digitise",
    "EcgError": "record",
    "Evidence": "findings",
    "Finding": "findings",
    "Measurements": "beats.measurements",
    "Page": "paper.page",
    "Patient": "record",
    "Record": "record",
    "Report": "interpretation",
    "assess": "signal.quality",
    "delineate": "beats.delineate",
    "digitize": "paper.digitise",
    "interpret": "interpretation",
    "measure": "beats.measure",
    "read": "io",
    "read_all": "io",
    "render": "paper.render",
    "save": "report",
    "simulate": "synth",
    "write": "io",
}

__all__ = [
    "Beats",
    "Device",
    "Digitised",
    "EcgError",
    "Evidence",
    "Finding",
    "Measurements",
    "Page",
    "Patient",
    "Record",
    "Report",
    "assess",
    "delineate",
    "digitize",
    "interpret",
    "measure",
    "read",
    "read_all",
    "render",
    "save",
    "simulate",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _FRONT:
        raise AttributeError(f"module 'einthoven' has no attribute {name!r}")
    return getattr(importlib.import_module(f"einthoven.{_FRONT[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FRONT})
