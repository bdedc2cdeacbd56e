"""Report -> JSON, text, HTML, PDF, FHIR. `save(report, path)` picks by the suffix."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from einthoven.report.asjson import measurements_json, to_json
    from einthoven.report.fhir import to_fhir
    from einthoven.report.files import save
    from einthoven.report.html import to_html
    from einthoven.report.pdf import to_pdf
    from einthoven.report.plain import measurements_text, to_text

__all__ = ["measurements_json", "measurements_text", "save", "to_fhir", "to_html", "to_json", "to_pdf", "to_text"]

# Drawing needs numba and the PDF a good deal of code: each is imported when it is first asked for.
_HOME = {
    "measurements_json": "asjson",
    "measurements_text": "plain",
    "save": "files",
    "to_fhir": "fhir",
    "to_html": "html",
    "to_json": "asjson",
    "to_pdf": "pdf",
    "to_text": "plain",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'einthoven.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"einthoven.report.{_HOME[name]}"), name)
