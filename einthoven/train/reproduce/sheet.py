"""A table of results with the paper's figures beside ours: Markdown for people, CSV and JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from einthoven.io.files import replacing
from einthoven.record import EcgError


@dataclass(frozen=True)
class Sheet:
    """`rows`: a mapping each, all with the keys of `columns`; a figure with an interval is (value, low, high), what is not
    there None. `about`: what was run on what; `aggregates` and `second` (a title and its rows): further tables; `notes`: how to
    read it, and where the paper contradicts itself; `settings`: the run's own, for the JSON."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    about: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    aggregates: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    second: tuple[str, tuple[Mapping[str, Any], ...]] = ("", ())

    def markdown(self) -> str:
        lines = [f"# {self.title}", "", *(f"- **{name}**: {value}" for name, value in self.about.items()), ""]
        lines += _table(self.columns, self.rows)
        if self.aggregates:
            lines += ["", "## Over all tasks and test sets", "", *_table(tuple(self.aggregates[0]), self.aggregates)]
        if self.second[1]:
            lines += ["", f"## {self.second[0]}", "", *_table(tuple(self.second[1][0]), self.second[1])]
        if self.notes:
            lines += ["", "## How to read this", "", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """A figure with an interval takes three columns."""
        wide = {c for c in self.columns if any(isinstance(r.get(c), tuple | list) for r in self.rows)}
        head = [n for c in self.columns for n in ((c, f"{c} low", f"{c} high") if c in wide else (c,))]
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(head)
        for row in self.rows:
            cells: list[Any] = []
            for c in self.columns:
                value = row.get(c)
                if c in wide:
                    value = value if value is not None else (None, None, None)
                    cells += [_plain(v) for v in value]
                else:
                    cells.append(_plain(value))
            table.writerow(["" if v is None else v for v in cells])
        return text.getvalue()

    def json(self) -> str:
        parts = {
            "title": self.title,
            "about": dict(self.about),
            "rows": [{c: _plain(r.get(c)) for c in self.columns} for r in self.rows],
            "aggregates": [{k: _plain(v) for k, v in r.items()} for r in self.aggregates],
            **({self.second[0]: [dict(r) for r in self.second[1]]} if self.second[1] else {}),
            "notes": list(self.notes),
            "settings": dict(self.settings),
        }
        return json.dumps(parts, indent=1, ensure_ascii=False, allow_nan=False)

    def write(self, folder: Path, name: str) -> list[Path]:
        made = []
        for suffix, text in ((".md", self.markdown()), (".csv", self.csv()), (".json", self.json())):
            path = folder / f"{name}{suffix}"
            with replacing(path) as draft:
                draft.write_text(text, encoding="utf-8")
            made.append(path)
        return made


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _word(value: Any) -> str:
    value = _plain(value)
    if value is None or value == []:
        return "-"
    if isinstance(value, list):
        middle, low, high = value
        if middle is None:
            return "-"
        return f"{middle:.3f}" + ("" if low is None or high is None else f" ({low:.3f}-{high:.3f})")
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return lines + ["| " + " | ".join(_word(row.get(c)) for c in columns) + " |" for row in rows]


class Kept:
    """Results of finished trials in a file, a line each, so that a run that was killed goes on with the next trial.

    Raises EcgError where the folder holds a run with other settings."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, fresh: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, wanted = folder / "trials.jsonl", json.dumps(settings, sort_keys=True)
        stated = folder / "settings.json"
        if stated.exists() and stated.read_text(encoding="utf-8") != wanted and not fresh:
            raise EcgError("holds a run with other settings: choose another folder, or --fresh", path=folder)
        if fresh or not stated.exists():
            self.path.unlink(missing_ok=True)
            with replacing(stated) as draft:
                draft.write_text(wanted, encoding="utf-8")
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.done: dict[str, Any] = {}
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the line that was being written when the run was killed
                continue
            self.done[entry["trial"]] = entry["result"]

    def get(self, trial: str, work: Callable[[], Any]) -> Any:
        """The result of `trial`: kept, or worked out now and kept."""
        if trial not in self.done:
            self.done[trial] = json.loads(json.dumps(work(), allow_nan=False))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"trial": trial, "result": self.done[trial]}) + "\n")
        return self.done[trial]


def paragraphs(text: str) -> tuple[str, ...]:
    """Text as it stands in a source file -> its paragraphs, each one line."""
    return tuple(" ".join(part.split()) for part in text.strip().split("\n\n"))
