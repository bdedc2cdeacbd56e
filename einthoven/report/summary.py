"""A report in one line, and the lines of a batch as a table for a spreadsheet."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einthoven.interpretation import DEFAULT_MODEL, Report, interpret
from einthoven.io.files import replacing
from einthoven.opinion import Opinion
from einthoven.report.asjson import paper_json

if TYPE_CHECKING:
    from einthoven.told import Told

# The columns of summary.csv that come from Measurements.
COLUMNS = (
    "rate_bpm", "pr_ms", "p_ms", "qrs_ms", "qt_ms", "qtc_fridericia_ms", "qtc_bazett_ms",
    "p_axis_deg", "qrs_axis_deg", "t_axis_deg", "n_beats", "n_ventricular", "n_supraventricular", "n_paced",
)  # fmt: skip
SUFFIX = {"json": ".json", "fhir": ".fhir.json", "html": ".html", "pdf": ".pdf", "text": ".txt"}


def line_of(report: Report) -> dict[str, Any]:
    """A report without beats and figures of single leads: what a study needs of each of ten thousand ECGs."""
    return {
        "conclusion": report.conclusion,
        "findings": [
            {
                "name": f.name,
                "text": f.text,
                "group": f.group,
                "confidence": f.confidence,
                "severity": f.severity,
                "scp": f.scp,
                "snomed": f.snomed,
                "evidence": [str(e) for e in f.evidence],
                "source": f.source,
            }
            for f in report.findings
        ],
        "opinion": None if report.opinion is None else opinion_line(report.opinion),
        "opinions": [{"sees": one.sees, **opinion_line(one)} for one in report.opinions],
        "told": None if report.told is None else told_line(report.told),
        "paper": None if report.paper is None else paper_json(report.paper),
        "measurements": {name: _number(q.value) for name, q in report.measurements.quantities.items()},
        "quality": {
            "score": _number(report.quality.score),
            "readable": report.quality.readable,
            "flags": list(report.quality.flags),
        },
        "warnings": list(report.warnings),
        "software": report.software,
    }


def opinion_line(opinion: Opinion) -> dict[str, Any]:
    return {
        "model": opinion.model,
        "labels": {one.name: _number(one.probability) for one in opinion.labels},
        "present": [one.name for one in opinion.labels if one.present],
        "disagreements": list(opinion.disagreements),
    }


def told_line(told: Told) -> dict[str, Any]:
    return {
        "model": told.model,
        "text": told.text,
        "claims": dict(told.grounded.counts),
        "flagged": [s.text for s in told.grounded.flagged],
    }


def interpreted(
    path: str,
    *,
    out: str | None,
    format: str | None,
    fs: float | None,
    unit: str | None,
    model: str | None = DEFAULT_MODEL,
    image_model: str | None = DEFAULT_MODEL,
    language: str | None = None,
    hints: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The result line of one input; with `format`, its whole report too, under OUT/reports. Raises EcgError.

    `hints`: layout, speed, ... of paper, as `interpret` takes them. A picture that cannot be read is a line that says so, not
    ok, and has its report.
    """
    report = interpret(path, fs=fs, unit=unit, model=model, image_model=image_model, language=language, **(hints or {}))
    line = line_of(report)
    if report.unread:
        line |= {"ok": False, "error": f"{path}: cannot be read: {report.unread}", "what": report.unread, "where": None}
    if out and format:
        from einthoven.report import save

        folder = Path(out) / "reports"
        folder.mkdir(parents=True, exist_ok=True)
        # Inputs of one name lie in different folders; the hash of the path keeps their reports apart.
        name = f"{Path(path.split('!')[-1]).stem}-{hashlib.sha256(path.encode()).hexdigest()[:8]}{SUFFIX[format]}"
        save(report, folder / name, format)
        line["report"] = f"reports/{name}"
    return line


def write_summary(results: Path, table: Path) -> int:
    """results.jsonl -> a CSV with a row an input. Returns how many inputs failed."""
    failed = 0
    with (
        replacing(table) as draft,
        results.open(encoding="utf-8") as lines,
        draft.open("w", newline="", encoding="utf-8") as file,
    ):
        rows = csv.writer(file)
        said_of = ("findings", "scp", "snomed", "conclusion", "quality", "model", "disagreements", "error")
        rows.writerow(["path", "ok", *COLUMNS, *said_of])
        for raw in lines:
            line = json.loads(raw)
            if not line["ok"]:
                failed += 1
                rows.writerow([_cell(line["path"]), 0, *[""] * (len(COLUMNS) + 7), _cell(line["error"])])
                continue
            found = [f for f in line["findings"] if f["confidence"] != "cannot be determined"]
            figures = ["" if line["measurements"].get(c) is None else line["measurements"][c] for c in COLUMNS]
            names = [";".join(dict.fromkeys(f[key] for f in found if f[key])) for key in ("name", "scp", "snomed")]
            said = line.get("opinion") or {"present": [], "disagreements": []}
            model = [";".join(said["present"]), _cell("; ".join(said["disagreements"]))]
            quality = line["quality"]["readable"]
            rows.writerow([_cell(line["path"]), 1, *figures, *names, _cell(line["conclusion"]), quality, *model, ""])
    return failed


def _number(value: float) -> float | None:
    return round(float(value), 4) if value == value else None


def _cell(words: str) -> str:
    """Text that a spreadsheet must not take for a formula (file names are untrusted input, too)."""
    return "'" + words if words[:1] in ("=", "+", "-", "@", "\t", "\r") else words
