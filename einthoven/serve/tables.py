"""Predictions of many ECGs as one table: a job that is `einthoven predict` over copies, and the CSV that comes of it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from einthoven.record import EcgError, WrongUse
from einthoven.serve.library import Library, chosen
from einthoven.serve.store import Row

MOST = 20_000  # ECGs of one job
LINES, NAMES, TABLE = "predictions.jsonl", "names.json", "predictions.csv"


def check(library: Library, args: Mapping[str, Any]) -> dict[str, Any]:
    """{"ecgs": [ids], "model": name} -> the same. Raises WrongUse, EcgError."""
    if strange := set(args) - {"ecgs", "model"}:
        raise WrongUse(f"predicting takes no {', '.join(sorted(strange))} (it takes: ecgs, model)")
    ecgs = args.get("ecgs")
    if not isinstance(ecgs, list) or not 1 <= len(ecgs) <= MOST or not all(isinstance(one, str) for one in ecgs):
        raise WrongUse(f"predicting takes 1 to {MOST:,} ECGs")
    chosen(library.store, ecgs)
    return {"name": f"predictions of {len(set(ecgs))} ECGs", "ecgs": list(dict.fromkeys(ecgs)), "model": str(args.get("model"))}


def write_out(library: Library, ecgs: list[str], folder: Path) -> list[str]:
    """The ECGs as files, under their ids; names.json, once all are there: what each is called. Paper stays the picture it is.
    -> what `einthoven predict` is given: the folder of the recordings, and each picture (folders are not searched for them)."""
    data, paper = folder / "data" / "recordings", folder / "data" / "paper"
    if not (folder / NAMES).exists():
        _write_out(library, ecgs, folder, data, paper)
    pictures = [str(one) for one in sorted(paper.iterdir())]
    return [str(data), *pictures] if any(data.iterdir()) else pictures


def _write_out(library: Library, ecgs: list[str], folder: Path, data: Path, paper: Path) -> None:
    from einthoven.io.arrays import write_npz
    from einthoven.io.files import replacing

    shutil.rmtree(folder / "data", ignore_errors=True)
    data.mkdir(parents=True)
    paper.mkdir()
    names: dict[str, Row] = {}
    for ecg in ecgs:
        row = library.row(ecg)
        if row["kind"] == "paper":
            suffix = ".pdf" if row["format"] == "pdf" else ".png"  # a picture is known by its content
            shutil.copyfile(library.path(row), paper / f"{ecg}{suffix}")
        else:
            write_npz(library.record(ecg), data / f"{ecg}.npz")
        names[ecg] = {"name": row["name"], "labels": library.told(row)["labels"]}
    with replacing(folder / NAMES) as draft:
        draft.write_text(json.dumps(names), encoding="utf-8")


def write_table(folder: Path) -> dict[str, int]:
    """predictions.csv: a row an ECG, a column a label. -> how many are done, how many failed."""
    from einthoven.io.files import replacing

    names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    lines = {Path(line["path"]).stem: line for line in _lines(folder / LINES)}
    labels = list(dict.fromkeys(label for line in lines.values() if line["ok"] for label in line["labels"]))
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(["file_name", "id", "own_labels", "model", *labels, "warnings", "error"])
    failed = 0
    for ecg, known in names.items():
        line = lines.get(ecg, {"ok": False, "error": "was not predicted"})
        failed += not line["ok"]
        told = line["labels"] if line["ok"] else {}
        words = "; ".join(line.get("warnings", ())) if line["ok"] else ""
        error = "" if line["ok"] else re.sub(re.escape(str(folder / "data")) + r"/\w+/", "", str(line["error"]))
        figures = [f"{told[label]:.6g}" if label in told else "" for label in labels]
        own = "; ".join(known["labels"])
        rows.writerow([_plain(known["name"]), ecg, _plain(own), line.get("model", ""), *figures, _plain(words), _plain(error)])
    with replacing(folder / TABLE) as draft:
        draft.write_text(out.getvalue(), encoding="utf-8", newline="")
    return {"done": len(names) - failed, "failed": failed}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        raise EcgError("nothing was predicted")
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _plain(words: str) -> str:
    """A cell that no spreadsheet takes for a formula: names of files are their senders' words."""
    return f"'{words}" if words[:1] in ("=", "+", "-", "@", "\t", "\r") else words
