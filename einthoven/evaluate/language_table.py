"""The scores of an examination as files: JSON with all that they rest on, the answers one by one, a table (Markdown, HTML)."""

from __future__ import annotations

import hashlib
import html
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from einthoven import __version__
from einthoven.evaluate.language import LOWER, Examination, Row
from einthoven.io.files import replacing
from einthoven.record import WrongUse

# What a table shows first; ROUGE and the like come last, since they say least.
_LATE = ("BLEU-4", "ROUGE-1", "ROUGE-2", "ROUGE-L", "METEOR", "token F1", "exact")


def as_json(told: Examination) -> dict[str, Any]:
    """Scores with everything they rest on; NaN is null."""
    asked = "\n".join(f"{s.id}\t{s.question}\t{s.answer}" for s in told.samples)
    return {
        "model": told.model,
        "software": f"Einthoven {__version__}",
        "samples": len(told.samples),
        "patients": len({s.group for s in told.samples}),
        "questions_sha256": hashlib.sha256(asked.encode()).hexdigest(),
        "settings": told.settings,
        "scores": [{k: _plain(v) for k, v in asdict(row).items()} | {"earned": row.earned} for row in told.rows],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if not math.isfinite(value) else round(value, 6)
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def each_answer(told: Examination) -> Iterator[dict[str, Any]]:
    """Every prompt with the right answer and those that were given."""
    for i, s in enumerate(told.samples):
        yield {
            "id": s.id,
            "kind": s.kind,
            "group": s.group,
            "records": list(s.records),
            "prompt": [{"role": t.role, "content": t.content} for t in s.prompt],
            "right": s.answer,
            "answers": {condition or "model": said[i] for condition, said in told.answers.items()},
        }


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Rows as a table shows them: groups as they come, in each the figures that say most first."""
    groups = list(dict.fromkeys(row.group for row in rows))
    return sorted(rows, key=lambda r: (groups.index(r.group), r.figure == "unread", r.figure in _LATE))


def cells(told: Examination) -> tuple[list[str], list[list[str]]]:
    """Head and body of the table."""
    conditions = list(dict.fromkeys(c for row in told.rows for c in row.controls))
    head = ["questions", "figure", "n", told.model, "signal gain", *conditions]
    body = []
    for row in ordered(told.rows):
        shown = [_number(row.controls.get(c, math.nan)) + (" *" if c == row.best else "") for c in conditions]
        gain = f"{row.gain:+.3f} ({row.gain_low:+.3f} to {row.gain_high:+.3f})" if row.gain == row.gain else ""
        name = row.figure + (" (lower is better)" if row.figure in LOWER else "")
        own = f"{_number(row.value)} ({_number(row.low)} to {_number(row.high)})"
        body.append([row.group, name, str(row.n), own, gain, *shown])
    return head, body


def _number(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value:.3f}"


_NOTE = (
    "In brackets: 95 % intervals of a bootstrap over patients. Signal gain: the score less the best control (*), in each "
    "resample the best of that resample; where its interval holds 0 the ECG has earned nothing. An answer that cannot be read "
    "is wrong, and never guessed."
)


def markdown(told: Examination) -> str:
    head, body = cells(told)
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *(_escaped(row) for row in body))]
    left = told.settings.get("left out") or []
    more = f" Left out: {', '.join(left)}." if left else ""
    return "\n".join([f"# {told.model}", "", *lines, "", _NOTE + more, ""])


def _escaped(row: list[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in row]


def page(told: Examination) -> str:
    head, body = cells(told)
    rows = "\n".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in body)
    top = "".join(f"<th>{html.escape(c)}</th>" for c in head)
    settings = html.escape(json.dumps(told.settings, indent=1, default=str))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(told.model)}</title>'
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:90rem}table{border-collapse:collapse}"
        "td,th{padding:.25rem .7rem;border-bottom:1px solid #ccc;text-align:left;white-space:nowrap;"
        "font-variant-numeric:tabular-nums}"
        "pre{white-space:pre-wrap}@media (prefers-color-scheme:dark){body{background:#111;color:#ddd}td,th{border-color:#444}}"
        "div{overflow-x:auto}</style>"
        f"<h1>{html.escape(told.model)}</h1><div><table><tr>{top}</tr>\n{rows}</table></div><p>{html.escape(_NOTE)}</p>"
        f"<h2>Settings</h2><pre>{settings}</pre></html>\n"
    )


def save(told: Examination, folder: str) -> None:
    """scores.json, answers.jsonl, table.md and table.html in a new folder."""
    place = Path(folder)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise WrongUse("is there already: choose another place", path=place)
    place.mkdir(parents=True, exist_ok=True)
    files = {
        "scores.json": json.dumps(as_json(told), indent=1, ensure_ascii=False, allow_nan=False, default=str),
        "answers.jsonl": "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in each_answer(told)),
        "table.md": markdown(told),
        "table.html": page(told),
    }
    for name, text in files.items():
        with replacing(place / name) as draft:
            draft.write_text(text, encoding="utf-8")
