"""Long work: a queue in the catalogue that outlives the server, a process group a job, events that can be heard again.

queued -> running -> done | failed | cancelled. A job is a command of this package in a process of its own, so that its memory
and its crashes cannot touch the server; its folder is DATA/jobs/ID, what it says is kept line by line as events. After a
restart whatever was running is queued again and goes on where it was: `einthoven finetune` continues from its checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from einthoven.record import EcgError, WrongUse
from einthoven.serve import tables
from einthoven.serve.catalogue import DATABASE
from einthoven.serve.library import Library, chosen
from einthoven.serve.store import Row, Store, new_id, to_json

OVER = ("done", "failed", "cancelled")
_LOOK_S = 0.25
_NICE = 10  # steps behind the server: whoever reads an ECG does not wait for a training
_METHODS = ("head", "full", "lora", "adapter")
_MORE: Mapping[str, tuple[float, float]] = {  # lines of a recipe that may be sent, and within what they lie
    "batch": (1, 4096), "patience": (0, 1000), "learning_rate": (1e-8, 1.0), "gamma": (0.01, 1.0), "finder_high": (1e-7, 1.0),
}  # fmt: skip


class Jobs:
    """The queue of a Store, and the thread that works on it, one job at a time (a GPU or the cores are one slot)."""

    def __init__(self, store: Store, library: Library) -> None:
        self.store, self.library = store, library
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None

    # ---- what the API asks ----

    def add(self, kind: str, owner: str, args: Mapping[str, Any]) -> str:
        """-> the job's id. Raises WrongUse for arguments that no such job takes."""
        if kind not in KINDS:
            raise WrongUse(f"no kind of job {kind!r} (there are: {', '.join(KINDS)})")
        checked = KINDS[kind][0](self, dict(args))
        job = new_id()
        with self.store.change() as db:
            db.execute(
                "INSERT INTO job (id, kind, owner, state, args, created) VALUES (?, ?, ?, 'queued', ?, ?)",
                (job, kind, owner, to_json(checked), time.time()),
            )
        self.say(job, {"state": "queued"})
        return job

    def row(self, job: str) -> Row:
        """Raises EcgError where there is no such job."""
        found = self.store.row("SELECT * FROM job WHERE id = ?", (job,))
        if found is None:
            raise EcgError("no such job")
        return found

    @staticmethod
    def told(row: Row) -> Row:
        keys = ("id", "kind", "owner", "state", "created", "started", "ended", "error")
        result = json.loads(row["result"]) if row["result"] else None
        return {**{key: row[key] for key in keys}, "args": json.loads(row["args"]), "result": result}

    def cancel(self, job: str) -> None:
        """A queued or running job ends; one that is over stays what it is."""
        row = self.row(job)
        with self.store.change() as db:
            changed = db.execute(
                "UPDATE job SET state = 'cancelled', ended = ? WHERE id = ? AND state IN ('queued', 'running')",
                (time.time(), job),
            ).rowcount
        if changed:
            if row["pid"]:
                _kill(int(row["pid"]))
            self.say(job, {"state": "cancelled"})

    def events(self, job: str, after: int = 0) -> list[tuple[int, dict[str, Any]]]:
        """(number, event) of those behind number `after`."""
        rows = self.store.rows("SELECT seq, value FROM event WHERE job = ? AND seq > ? ORDER BY seq LIMIT 1000", (job, after))
        return [(int(row["seq"]), json.loads(row["value"])) for row in rows]

    def say(self, job: str, event: Mapping[str, Any]) -> None:
        with self.store.change() as db:
            db.execute(
                "INSERT INTO event SELECT ?, COALESCE(MAX(seq), 0) + 1, ?, ? FROM event WHERE job = ?",
                (job, time.time(), to_json(dict(event)), job),
            )
        with self._news:
            self._news.notify_all()

    def wait(self, seconds: float) -> None:
        """Until something is said, or so long."""
        with self._news:
            self._news.wait(seconds)

    # ---- the work ----

    def start(self) -> None:
        """Takes up what a server that was killed left running, and works on the queue from now on."""
        for row in self.store.rows("SELECT id, pid FROM job WHERE state = 'running'"):
            if row["pid"]:
                _kill(int(row["pid"]))  # it would write into the folder beside its successor
            self.store.db.execute("UPDATE job SET state = 'queued', pid = NULL WHERE id = ?", (row["id"],))
            self.say(row["id"], {"state": "queued", "why": "the server was restarted"})
        waiting = {
            json.loads(row["args"]).get("file") for row in self.store.rows("SELECT args FROM job WHERE state = 'queued'")
        }
        for place in (self.store.folder / "jobs").glob("*.onnx"):
            if place.stem not in waiting:  # its job was cancelled, or the server killed before there was one
                place.unlink()
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the work; what was running is taken up by the next server."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while not self._stop.is_set():
            row = self.store.row("SELECT * FROM job WHERE state = 'queued' ORDER BY created LIMIT 1")
            if row is None:
                self._stop.wait(_LOOK_S)
                continue
            with self.store.change() as db:
                taken = db.execute(
                    "UPDATE job SET state = 'running', started = COALESCE(started, ?), beat = ? "
                    "WHERE id = ? AND state = 'queued'",
                    (time.time(), time.time(), row["id"]),
                ).rowcount
            if taken:
                self._run(row)

    def _run(self, row: Row) -> None:
        job = row["id"]
        self.say(job, {"state": "running"})
        try:
            result = KINDS[row["kind"]][1](self, row, json.loads(row["args"]))
            state, words, error = "done", to_json(result), None
        except _Interrupted:
            return  # cancelled, which has been said, or the server stops and the next one goes on
        except EcgError as fault:
            state, words, error = "failed", None, str(fault)
        except Exception as fault:  # a fault of ours must not end the thread that all jobs wait for
            state, words, error = "failed", None, f"{type(fault).__name__}: {fault}"
        with self.store.change() as db:
            db.execute(
                "UPDATE job SET state = ?, ended = ?, result = ?, error = ?, pid = NULL WHERE id = ? AND state = 'running'",
                (state, time.time(), words, error, job),
            )
        self.say(job, {"state": state, **({"error": error} if error else {})})

    def command(self, job: str, args: list[str], folder: Path, made: Path, metrics: Path, finder: Path | None = None) -> None:
        """Runs `einthoven ARGS` in a process group of its own; its lines, the rows of `metrics` and what `finder` holds once it
        is there become events. Raises EcgError with its last line where it fails: `made` is what must be there at the end."""
        log = folder / "output.txt"
        # What was written while no server listened (the work outlives one that is killed) is told now, and nothing twice.
        seen = _Tail(metrics, _after_lines(metrics, self._said(job, "metrics")))
        with log.open("ab") as out:
            start = out.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "einthoven", *args],
                stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**{k: v for k, v in os.environ.items() if k != DATABASE}, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
            )  # fmt: skip
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        lines, looked_for = _Tail(log, start), None if self._said(job, "finder") else finder
        self.store.db.execute("UPDATE job SET pid = ? WHERE id = ?", (process.pid, job))
        last = ""
        while True:
            over = process.poll() is not None
            for line in lines.new():
                last = line.strip() or last
                self.say(job, {"line": line})
            for line in seen.new():
                with contextlib.suppress(ValueError):
                    self.say(job, {"metrics": json.loads(line)})
            if looked_for is not None and looked_for.exists():
                with contextlib.suppress(ValueError, OSError):
                    self.say(job, {"finder": json.loads(looked_for.read_text(encoding="utf-8"))})
                looked_for = None
            if over:
                break
            state = self.row(job)["state"]
            if self._stop.is_set() or state != "running":
                _kill(process.pid)
                process.wait()
                raise _Interrupted
            self.store.db.execute("UPDATE job SET beat = ? WHERE id = ?", (time.time(), job))
            time.sleep(_LOOK_S)
        if self.row(job)["state"] != "running":
            raise _Interrupted
        last = last.replace(f"{self.store.folder / 'jobs'}{os.sep}", "")  # where the server keeps it is nobody's business
        if process.returncode not in (0, 1):
            raise EcgError(f"ended with {process.returncode}: {last[:300]}")
        if process.returncode == 1 and not made.exists():
            raise EcgError(last[:500].removeprefix("error: "))

    def _said(self, job: str, key: str) -> int:
        """How many events of this kind the job has said."""
        return len(self.store.rows("SELECT 1 FROM event WHERE job = ? AND value LIKE ?", (job, f'{{"{key}":%')))


class _Interrupted(Exception):
    """The job was cancelled, or the server stops."""


class _Tail:
    """What is added to a file, line by line."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self.path, self.at, self.rest = path, start, b""

    def new(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                file.seek(self.at)
                data = file.read(1 << 20)
        except OSError:
            return []
        self.at += len(data)
        *whole, self.rest = (self.rest + data).split(b"\n")
        return [line.decode("utf-8", "replace")[:2000] for line in whole]


def _after_lines(path: Path, count: int) -> int:
    """Where line number `count` (from 0) of a file begins; 0 where there is no file."""
    try:
        with path.open("rb") as file:
            return sum(len(line) for line in islice(file, count))
    except OSError:
        return 0


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


# ---- fine-tuning ----------------------------------------------------------------------------------------------------------


def _check_finetune(jobs: Jobs, args: dict[str, Any]) -> dict[str, Any]:
    """{"name", "ecgs": [...], "weights" or "model", "method", "task", "epochs", "seed", and of _MORE} -> the same, whole.
    Raises WrongUse."""
    from einthoven.exchange.manifest import plain_name

    known = {"name", "ecgs", "weights", "model", "method", "task", "epochs", "seed", *_MORE}
    if strange := set(args) - known:
        raise WrongUse(f"fine-tuning takes no {', '.join(sorted(strange))} (it takes: {', '.join(sorted(known))})")
    try:
        name = plain_name(str(args.get("name", "")))
    except ValueError as fault:
        raise WrongUse(f"the new model's name: {fault}") from None
    if (jobs.store.folder / "models" / name).exists():
        raise WrongUse(f"there is a model {name} already: choose another name")
    ecgs = args.get("ecgs")
    if not isinstance(ecgs, list) or len(ecgs) < 10 or not all(isinstance(one, str) for one in ecgs):
        raise WrongUse("fine-tuning needs ten labelled ECGs at least")
    chosen(jobs.store, ecgs)
    method = args.get("method", "head")
    if method not in _METHODS:
        raise WrongUse(f"no method {method!r} (there are: {', '.join(_METHODS)})")
    epochs, seed = args.get("epochs", 30), args.get("seed", 0)
    if not (isinstance(epochs, int) and 1 <= epochs <= 1000 and isinstance(seed, int) and 0 <= seed < 2**31):
        raise WrongUse("epochs lie within 1 and 1000, and a seed is a whole number that is not negative")
    task = args.get("task")
    if task not in (None, "single", "multilabel"):
        raise WrongUse("a task is single or multilabel")
    made = {"name": name, "ecgs": list(dict.fromkeys(ecgs)), "method": method, "epochs": epochs, "seed": seed, "task": task}
    for key, (low, high) in _MORE.items():
        value = args.get(key)
        if value is None:
            continue
        whole = key in ("batch", "patience")
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
            raise WrongUse(f"{key} is a {'whole ' if whole else ''}number within {low:g} and {high:g}")
        made[key] = value
    if args.get("model"):
        from einthoven.models.table import by_name

        made["model"] = by_name(str(args["model"])).name
    else:
        made["weights"] = str(args.get("weights") or "einthoven-12")
        model_path(jobs.store, made["weights"])
    return made


def _finetune(jobs: Jobs, row: Row, args: dict[str, Any]) -> dict[str, Any]:
    """Writes the ECGs and their labels out, trains, and puts the Bundle among the models."""
    folder = jobs.store.folder / "jobs" / row["id"]
    data = folder / "data"
    if not (data / "labels.csv").exists():
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True)
        _write_out(jobs, args["ecgs"], data)
    words = ["finetune", "--data", str(data), "--labels", str(data / "labels.csv"), "-o", str(folder / "run")]
    words += ["--method", args["method"], "--epochs", str(args["epochs"]), "--seed", str(args["seed"])]
    words += ["--set", f"name={args['name']}"]
    for key in _MORE:
        if key in args:
            words += ["--set", f"{key}={args[key]}"]
    if args.get("task"):
        words += ["--task", args["task"]]
    if "model" in args:
        words += ["--model", args["model"]]
    else:
        words += ["--weights", str(model_path(jobs.store, args["weights"]))]
    run = folder / "run"
    jobs.command(row["id"], words, folder, run / "bundle", run / "metrics.jsonl", run / "work" / "rate.json")
    place = jobs.store.folder / "models" / args["name"]
    draft = place.with_name(f".{args['name']}.part")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(folder / "run" / "bundle", draft)
    os.replace(draft, place)
    shutil.rmtree(data, ignore_errors=True)  # copies; the ECGs themselves stay in the library
    evaluation = json.loads((folder / "run" / "evaluation.json").read_text(encoding="utf-8"))
    return {"model": args["name"], "evaluation": evaluation}


def _write_out(jobs: Jobs, ecgs: list[str], data: Path) -> None:
    from einthoven.io.arrays import write_npz
    from einthoven.io.files import replacing

    lines = ["file_name,label,patient"]
    most = 1
    rows = []
    for ecg in ecgs:
        row = jobs.library.row(ecg)
        labels = jobs.library.told(row)["labels"]
        if not labels:
            raise EcgError(f"{row['name']}: has no label")
        record = jobs.library.record(ecg)
        if not record.leads:
            raise EcgError(f"{row['name']}: no ECG can be read from it")
        write_npz(record, data / f"{ecg}.npz")
        rows.append((ecg, labels, row["patient"] or ecg))
        most = max(most, len(labels))
    lines = [",".join(["file_name", *(f"label{i or ''}" for i in range(most)), "patient"])]
    for ecg, labels, patient in rows:
        cells = [f"{ecg}.npz", *labels, *[""] * (most - len(labels)), patient]
        lines.append(",".join('"' + cell.replace('"', '""') + '"' for cell in cells))
    with replacing(data / "labels.csv") as draft:
        draft.write_text("\n".join(lines) + "\n", encoding="utf-8")


# ---- predicting many ------------------------------------------------------------------------------------------------------


def _check_predict(jobs: Jobs, args: dict[str, Any]) -> dict[str, Any]:
    made = tables.check(jobs.library, args)
    model_path(jobs.store, made["model"])
    return made


def _predict(jobs: Jobs, row: Row, args: dict[str, Any]) -> dict[str, Any]:
    """Writes the ECGs out, predicts them one by one, and puts the answers into a table."""
    folder = jobs.store.folder / "jobs" / row["id"]
    lines = folder / tables.LINES
    words = ["predict", *tables.write_out(jobs.library, args["ecgs"], folder)]
    words += ["--model", str(model_path(jobs.store, args["model"])), "--output", str(lines), "--resume", "--jobs", "1"]
    jobs.command(row["id"], words, folder, lines, folder / "none")
    told = tables.write_table(folder)
    shutil.rmtree(folder / "data", ignore_errors=True)
    return {"table": tables.TABLE, **told}


# ---- a foreign model ------------------------------------------------------------------------------------------------------


def _check_import(jobs: Jobs, args: dict[str, Any]) -> dict[str, Any]:
    """{"name", "file": as `upload_place` named it, "labels": [...], "task", "preset", "licence"}. Raises WrongUse."""
    from einthoven.exchange.manifest import plain_name

    if strange := set(args) - {"name", "file", "labels", "task", "preset", "licence"}:
        raise WrongUse(f"importing takes no {', '.join(sorted(strange))}")
    try:
        name = plain_name(str(args.get("name", "")))
    except ValueError as fault:
        raise WrongUse(f"the model's name: {fault}") from None
    if (jobs.store.folder / "models" / name).exists():
        raise WrongUse(f"there is a model {name} already: choose another name")
    file = str(args.get("file", ""))
    if not re.fullmatch(r"[0-9a-f]{24}", file) or not upload_place(jobs.store, file).is_file():
        raise WrongUse("no such upload: send the file to /api/models")
    labels = args.get("labels") or []
    if not isinstance(labels, list) or not all(isinstance(one, str) and one.strip() and "," not in one for one in labels):
        raise WrongUse("labels are words without a comma")
    words = {key: str(args[key])[:200] for key in ("task", "preset", "licence") if args.get(key)}
    if dashed := [one for one in (*labels, *words.values()) if one.startswith("-")]:
        raise WrongUse(f"nothing begins with a dash: {dashed[0][:40]!r}")
    return {"name": name, "file": file, "labels": labels, **words}


def _import(jobs: Jobs, row: Row, args: dict[str, Any]) -> dict[str, Any]:
    """`einthoven models import` in a process of its own: a hostile file costs that process, not the server."""
    folder, source = jobs.store.folder / "jobs" / row["id"], upload_place(jobs.store, args["file"])
    made = folder / args["name"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    words = ["models", "import", str(source), "--output", str(made)]
    if args["labels"]:
        words += ["--labels", ",".join(args["labels"])]
    for key in ("task", "preset", "licence"):
        if key in args:
            words += [f"--{key}", args[key]]
    try:
        jobs.command(row["id"], words, folder, made, folder / "none")
    except EcgError:
        source.unlink(missing_ok=True)
        raise
    os.replace(made, jobs.store.folder / "models" / args["name"])
    source.unlink()
    return {"model": args["name"]}


def upload_place(store: Store, file: str) -> Path:
    """Where an ONNX file waits for its job; 24 hexadecimal digits name it."""
    return store.folder / "jobs" / f"{file}.onnx"


def model_path(store: Store, name: str) -> Path:
    """The Bundle of this name: of this data directory first, then those that ship or were pulled. Raises EcgError."""
    from einthoven.exchange.manifest import plain_name
    from einthoven.exchange.shelf import shelved

    try:
        own = store.folder / "models" / plain_name(name)
    except ValueError as fault:
        raise WrongUse(str(fault)) from None
    if (own / "manifest.json").is_file():
        return own
    found = dict(shelved()).get(name)
    if found is None:
        raise WrongUse(f"no model {name!r}")
    return found


def models(store: Store) -> dict[str, Path]:
    """Every model by its name; one of this data directory stands before another of the same name."""
    from einthoven.exchange.shelf import shelved

    own = {
        p.name: p for p in sorted((store.folder / "models").iterdir()) if (p / "manifest.json").is_file() and p.name[0] != "."
    }
    return {**dict(shelved()), **own}


Check = Callable[[Jobs, dict[str, Any]], dict[str, Any]]
Work = Callable[[Jobs, Row, dict[str, Any]], dict[str, Any]]
KINDS: Mapping[str, tuple[Check, Work]] = {
    "finetune": (_check_finetune, _finetune), "predict": (_check_predict, _predict), "import": (_check_import, _import),
}  # fmt: skip
