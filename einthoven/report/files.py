"""A Report into a file: the format by its name or by the path's suffix."""

from __future__ import annotations

import json
from pathlib import Path

from einthoven.interpretation import Report
from einthoven.io.files import replacing
from einthoven.record import WrongUse

# Suffix -> format; the longer suffix is asked first.
SUFFIXES = {
    ".fhir.json": "fhir",
    ".json": "json",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".txt": "text",
}


def save(report: Report, path: str | Path, format: str | None = None) -> None:
    """Writes a report as "json", "fhir", "html", "pdf" or "text", by default as the suffix says (.fhir.json is FHIR).

    Raises EcgError for a suffix or format that is none of these, and where the file cannot be written. The file appears whole
    or not at all.
    """
    path = Path(path)
    chosen = format or next((kind for suffix, kind in SUFFIXES.items() if path.name.lower().endswith(suffix)), None)
    if chosen is None or chosen not in SUFFIXES.values():
        asked = format or path.suffix or "without a suffix"
        raise WrongUse(f"a report is written as {', '.join(SUFFIXES)}, not {asked}", path=path)
    data = to_bytes(report, chosen)
    with replacing(path) as draft:
        draft.write_bytes(data)


def to_bytes(report: Report, format: str) -> bytes:
    """The report's file in one of these formats."""
    if format == "pdf":
        from einthoven.report.pdf import to_pdf

        return to_pdf(report)
    if format == "html":
        from einthoven.report.html import to_html

        return to_html(report).encode()
    if format == "text":
        from einthoven.report.plain import to_text

        return (to_text(report) + "\n").encode()
    if format == "fhir":
        from einthoven.report.fhir import to_fhir

        return _dump(to_fhir(report))
    from einthoven.report.asjson import to_json

    return _dump(to_json(report))


def _dump(values: object) -> bytes:
    return (json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()
