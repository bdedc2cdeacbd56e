"""A batch names what fails, does the rest, and goes on after a kill with what was done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from einthoven import batch
from einthoven.record import EcgError


def square(path: str) -> batch.Line:
    """The work of these tests: what it does depends on the input's name."""
    if path == "bad":
        raise EcgError("no ECG", path=path, where="byte 3")
    if path == "bug":
        raise ZeroDivisionError("planted")
    if path == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": int(path) ** 2}


def read_lines(path: Path) -> list[batch.Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_failed_records_are_named_and_the_rest_is_done(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    tally = batch.run(square, ["1", "bad", "2", "bug", "3"], out, jobs=1)
    assert (tally.done, tally.failed, tally.earlier) == (3, 2, 0)
    lines = {line["path"]: line for line in read_lines(out)}
    assert [lines[p]["value"] for p in "123"] == [1, 4, 9]
    assert lines["bad"]["error"] == "bad: byte 3: no ECG" and lines["bad"]["where"] == "byte 3"
    assert "internal error" in lines["bug"]["error"] and "planted" in lines["bug"]["traceback"]


def test_a_record_that_kills_its_process_costs_nobody_else(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    paths = [str(i) for i in range(12)]
    paths.insert(4, "killer")
    tally = batch.run(square, paths, out, jobs=2)
    assert (tally.done, tally.failed) == (12, 1)
    lines = {line["path"]: line for line in read_lines(out)}
    assert set(lines) == set(paths) and "killed" in lines["killer"]["error"]
    assert all(lines[p]["value"] == int(p) ** 2 for p in paths if p != "killer")


def test_resume_does_only_what_is_missing_and_drops_a_cut_line(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    batch.run(square, ["1", "2"], out, jobs=1)
    with out.open("a") as file:
        file.write('{"path": "3", "ok": true, "val')  # the kill came here
    tally = batch.run(square, ["1", "2", "3", "4"], out, jobs=1, resume=True)
    assert (tally.done, tally.earlier) == (2, 2)
    assert [line["value"] for line in read_lines(out)] == [1, 4, 9, 16]


def test_results_are_not_overwritten_and_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    batch.run(square, ["1"], out, jobs=1)
    with pytest.raises(EcgError, match="--resume"):
        batch.run(square, ["1"], out, jobs=1)
    foreign = tmp_path / "notes.jsonl"
    foreign.write_text("my notes\n")
    with pytest.raises(EcgError, match="not a results file"):
        batch.run(square, ["1"], foreign, jobs=1, resume=True)
    assert foreign.read_text() == "my notes\n"


def test_kill_9_loses_at_most_the_records_in_hand(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    code = (
        "import time\nfrom pathlib import Path\nfrom einthoven import batch\n"
        "def slow(path):\n    time.sleep(0.02)\n    return {'value': int(path)}\n"
        f"batch.run(slow, [str(i) for i in range(500)], Path({str(out)!r}), jobs=1)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while (not out.exists() or out.stat().st_size < 200) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.kill()
    child.wait()
    before = len(batch.finished(out))
    assert 0 < before < 500
    paths = [str(i) for i in range(500)]
    tally = batch.run(square, paths, out, jobs=1, resume=True)
    assert tally.earlier == before and tally.done == 500 - before
    assert [line["path"] for line in read_lines(out)] == paths


def own_pid(path: str) -> batch.Line:
    time.sleep(0.02)
    return {"pid": os.getpid()}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc")
def test_workers_end_with_their_killed_parent(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from einthoven import batch\nimport test_batch\n"
        "if __name__ == '__main__':\n"
        f"    batch.run(test_batch.own_pid, [str(i) for i in range(5000)], Path({str(out)!r}), jobs=2)\n"
    )
    script = tmp_path / "batch_of_two.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    while (not out.exists() or out.stat().st_size < 500) and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    workers = {line["pid"] for line in batch.finished(out).values()}
    assert workers
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
