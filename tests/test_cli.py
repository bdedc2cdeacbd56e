"""The command line as a newcomer meets it: exit codes, what goes where, and that the doors agree with each other."""

from __future__ import annotations

import csv
import json
import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import einthoven as ecg
from einthoven.cli import app, door
from einthoven.synth import simulate

run = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good ECGs in different formats, a text file that says it is one, and an empty one."""
    here = tmp_path_factory.mktemp("ecgs")
    ecg.write(simulate(rate=70, seed=1).record, here / "a.npz")
    ecg.write(simulate("lbbb", rate=80, seed=2).record, here / "b.hea")
    (here / "c.xml").write_text("not an ECG")
    (here / "d.edf").write_bytes(b"")
    return here


def test_info_reads_the_good_names_the_bad_and_exits_1(folder: Path) -> None:
    out = run.invoke(app, ["info", "--json", str(folder)])
    lines = [json.loads(line) for line in out.stdout.splitlines()]
    assert out.exit_code == 1
    assert [(Path(line["path"]).name, line["ok"]) for line in lines] == [
        ("a.npz", True),
        ("b.hea", True),
        ("c.xml", False),
        ("d.edf", False),
    ]
    assert lines[0]["fs_hz"] == 500 and lines[0]["leads"] == list(ecg.record.STANDARD_LEADS)
    assert "c.xml" in out.stderr and "2 of 4 inputs failed" in out.stderr


def test_info_text_names_leads_and_rate(folder: Path) -> None:
    out = run.invoke(app, ["info", str(folder / "a.npz")])
    assert out.exit_code == 0 and "12 leads x 5000 samples, 10 s at 500 Hz" in out.stdout


def test_wrong_use_is_exit_code_2(folder: Path) -> None:
    assert run.invoke(app, ["interpret"]).exit_code == 2
    assert run.invoke(app, ["interpret", str(folder / "a.npz"), "--format", "docx"]).exit_code == 2
    assert run.invoke(app, ["nonsense"]).exit_code == 2


def test_a_folder_without_ecgs_is_told_and_exits_1(tmp_path: Path) -> None:
    for asked in (["measure"], ["predict"], ["predict", "-o", str(tmp_path / "out.jsonl")]):
        (tmp_path / "empty").mkdir(exist_ok=True)
        out = run.invoke(app, [*asked, str(tmp_path / "empty")])
        assert out.exit_code == 1 and "empty: no ECG in it" in out.stderr


def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file where a folder is wanted")

    broken = typer.Typer(pretty_exceptions_enable=False)

    @broken.command()
    def writing() -> None:
        (tmp_path / "taken" / "below").mkdir()

    monkeypatch.setattr(door, "app", broken)
    monkeypatch.setattr(sys, "argv", ["einthoven"])
    with pytest.raises(SystemExit) as left:
        door.main()
    assert left.value.code == 1 and capsys.readouterr().err == f"error: {tmp_path / 'taken' / 'below'}: Not a directory\n"


def test_only_the_command_asked_for_is_made_and_the_others_are_there_again() -> None:
    every = [c.callback for c in app.registered_commands]
    with door._only(["interpret"]):
        assert [c.callback.__name__ for c in app.registered_commands if c.callback] == ["interpret"]
        assert run.invoke(app, ["interpret", "--help"]).exit_code == 0 and run.invoke(app, ["measure", "--help"]).exit_code == 2
    with door._only(["intepret"]):
        assert [c.callback for c in app.registered_commands] == every
    assert [c.callback for c in app.registered_commands] == every and run.invoke(app, ["models", "list"]).exit_code == 0


def test_missing_file_is_told_and_exits_1() -> None:
    out = run.invoke(app, ["measure", "nowhere.xml"])
    assert out.exit_code == 1 and "nowhere.xml" in out.stderr and "Traceback" not in out.output


def test_convert_keeps_the_signal_and_strips_the_patient(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.hea"
    out = run.invoke(app, ["convert", str(folder / "a.npz"), str(target), "--anonymize"])
    assert out.exit_code == 0, out.output
    assert str(target) in out.stdout and "removed: " in out.stderr and "patient id" in out.stderr
    before, after = ecg.read(folder / "a.npz"), ecg.read(target)
    assert after.patient.id is None and after.leads == before.leads
    step = max(after.resolution_uv or (0.0,)) / 1000
    assert np.abs(after.signal - before.signal).max() <= step


def test_delineate_writes_what_the_score_reads(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "beats.json"
    assert run.invoke(app, ["delineate", str(folder / "a.npz"), str(folder / "b.hea"), "-o", str(target)]).exit_code == 0
    found = json.loads(target.read_text())
    assert set(found) == {"a", "b"} and set(found["a"]) == {n.lower() for n in ecg.record.STANDARD_LEADS}
    assert found["a"]["ii"][0].keys() >= set(ecg.beats.fiducials.FIDUCIALS)


def test_measure_json_equals_python(folder: Path) -> None:
    out = run.invoke(app, ["measure", "--json", str(folder / "a.npz")])
    line = json.loads(out.stdout)
    record = ecg.read(folder / "a.npz")
    from einthoven.beats.classify import classify

    ours = ecg.measure(record, classify(record, ecg.delineate(record)))
    assert line["measurements"]["qrs_ms"]["value"] == pytest.approx(ours["qrs_ms"], abs=0.01)
    assert line["measurements"]["qrs_ms"]["unit"] == "ms"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_render_writes_each_format(folder: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"page.{suffix}"
    out = run.invoke(app, ["render", str(folder / "b.hea"), "-o", str(target), "--layout", "6x2", "--fiducials"])
    assert out.exit_code == 0, out.output
    assert target.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"<svg ", b"%PDF-")


@pytest.mark.parametrize("suffix", ["html", "pdf", "json", "txt"])
def test_interpret_one_ecg_into_a_report(folder: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"report.{suffix}"
    out = run.invoke(app, ["interpret", str(folder / "b.hea"), "-o", str(target)])
    assert out.exit_code == 0, out.output
    assert target.stat().st_size > 500 and out.stdout.strip() == str(target)


def test_interpret_to_stdout_as_text_json_and_fhir(folder: Path) -> None:
    text = run.invoke(app, ["interpret", str(folder / "b.hea")])
    assert text.exit_code == 0 and "left bundle branch block" in text.stdout.lower()
    line = json.loads(run.invoke(app, ["interpret", "--json", str(folder / "b.hea")]).stdout)
    assert any(f["name"] == "CLBBB" or f["scp"] == "CLBBB" for f in line["findings"])
    fhir = json.loads(run.invoke(app, ["interpret", "--format", "fhir", str(folder / "b.hea")]).stdout)
    assert fhir["resourceType"] in ("Bundle", "DiagnosticReport")


def test_interpret_a_folder_into_a_table(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    done = run.invoke(app, ["interpret", str(folder), "-o", str(out), "--jobs", "1", "--format", "json"])
    assert done.exit_code == 1 and "2 done, 2 failed" in done.stderr
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["ok"] for line in lines] == [True, True, False, False]
    assert all((out / line["report"]).is_file() for line in lines[:2])
    rows = list(csv.DictReader((out / "summary.csv").open(encoding="utf-8")))
    assert len(rows) == 4 and float(rows[1]["qrs_ms"]) >= 120 and "CLBBB" in rows[1]["scp"].split(";")

    again = run.invoke(app, ["interpret", str(folder), "-o", str(out), "--jobs", "1"])
    assert again.exit_code == 2 and "--resume" in again.stderr
    resumed = run.invoke(app, ["interpret", str(folder), "-o", str(out), "--jobs", "1", "--resume"])
    assert resumed.exit_code == 1 and "0 done, 0 failed, 4 from an earlier run" in resumed.stderr


def test_demo_writes_four_files(tmp_path: Path) -> None:
    out = run.invoke(app, ["demo", "--out", str(tmp_path / "demo")])
    assert out.exit_code == 0, out.output
    names = [Path(line).name for line in out.stdout.splitlines()[-4:]]
    assert names == ["report.html", "report.pdf", "report.json", "page.png"]
    assert all((tmp_path / "demo" / name).stat().st_size > 2000 for name in names)


def test_demo_ends_with_the_address_of_the_page_which_has_opened_and_is_ended_again(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    out = run.invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--platform", "once"])
    assert out.exit_code == 0, out.output
    address = out.stdout.splitlines()[-1].split()[0]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(address[:-1].rpartition(":")[2]))) != 0
    assert run.invoke(app, ["demo", "--platform", "perhaps"]).exit_code == 2


def test_scale_works_through_a_folder_and_goes_on(folder: Path, tmp_path: Path) -> None:
    from einthoven import scale

    arguments = ["scale", "info", str(folder), "-o", str(tmp_path / "out"), "--shard", "3", "--jobs", "1"]
    done = run.invoke(app, arguments)
    lines = list(scale.results(tmp_path / "out"))
    assert done.exit_code == 1
    assert [line["ok"] for line in lines] == [True, True, False, False]
    assert lines[0]["fs_hz"] == 500
    assert "c.xml" in done.stderr and "2 done, 2 failed" in done.stderr
    assert "4 from an earlier run" in run.invoke(app, arguments).stderr
