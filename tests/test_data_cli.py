"""einthoven data list, index, show: as a newcomer runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_examples import EXAMPLES, ptbxl
from typer.testing import CliRunner

from einthoven.cli import app
from einthoven.data.datasets.table import DATASETS

RUN = CliRunner()


def test_list() -> None:
    shown = RUN.invoke(app, ["data", "list"])
    assert shown.exit_code == 0 and all(row.title in shown.stdout for row in DATASETS.values())
    lines = [json.loads(line) for line in RUN.invoke(app, ["data", "list", "--json"]).stdout.splitlines()]
    assert {line["name"] for line in lines} == set(DATASETS)
    public = [line for line in lines if line["address"]]
    assert len(public) == 7 and all(line["licence"] and line["citation"] for line in public)


def test_index_and_show(tmp_path: Path) -> None:
    example = ptbxl(tmp_path / "set")
    out = tmp_path / "index"
    made = RUN.invoke(app, ["data", "index", str(example.path), "-o", str(out), "-j", "1"])
    assert made.exit_code == 0 and made.stdout.strip() == str(out) and "3 records indexed, 0 failed" in made.stderr
    shown = RUN.invoke(app, ["data", "show", str(out)])
    assert shown.exit_code == 0
    assert "3 records of 2 patients" in shown.stdout and "below 30 positives" in shown.stdout
    told = json.loads(RUN.invoke(app, ["data", "show", str(out), "--json"]).stdout)
    assert told["labels"]["superclass"]["positives"] == {"NORM": 1, "MI": 1, "CD": 1, "HYP": 1}
    assert told["folds"] == {"3": 1, "9": 1, "10": 1} and told["fs"] == {"100": 3}
    again = RUN.invoke(app, ["data", "index", str(example.path), "-o", str(out), "-j", "1"])
    assert again.exit_code == 2 and "is there already" in again.stderr


@pytest.mark.parametrize("name", ["mimic", "folder"])
def test_some_failed(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name](tmp_path / "set")
    made = RUN.invoke(app, ["data", "index", str(example.path), "-o", str(tmp_path / "index"), "-j", "1", "--json"])
    assert made.exit_code == 1
    told = json.loads(made.stdout)
    assert len(told["failed"]) == 1 and example.failed[0] in told["failed"][0]["name"]
    assert f"failed: {told['failed'][0]['name']}" in made.stderr


def test_wrong_use(tmp_path: Path) -> None:
    for code, words in (
        (1, ["data", "index", str(tmp_path), "-o", str(tmp_path / "i")]),
        (2, ["data", "index", str(tmp_path), "-o", str(tmp_path / "i"), "--dataset", "nonsense"]),
        (1, ["data", "show", str(tmp_path / "nowhere")]),
    ):
        done = RUN.invoke(app, words)
        assert done.exit_code == code and done.stderr.startswith("error: ") and "Traceback" not in done.output
