"""einthoven predict: ECGs to calibrated probabilities by a Bundle's model."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from einthoven.cli.door import Files, Jobs, Rate, Unit, app, dumps, find, stop, tell

if TYPE_CHECKING:
    from einthoven.exchange.manifest import Manifest

_FEW = 8  # inputs that are not worth the start of more processes


@app.command()
def predict(
    files: Files,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="A model's name (einthoven models list), or a Bundle's path; else the default model."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON to stdout: a list with one entry a file.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON Lines, written as it goes, for many files.", show_default=False)
    ] = None,
    jobs: Jobs = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an output that was stopped or killed.")] = False,
    fs: Rate = None,
    unit: Unit = None,
) -> None:
    """Predict: calibrated probabilities of a model's labels for ECGs of any format, and for photos, scans and PDFs of paper.

    A model of images looks at paper as it is (and takes pictures in folders, too); for any other paper is digitised first.
    A recording without the leads that the model needs is refused; what was averaged over windows or filled is said in warnings.
    """
    from einthoven.exchange.predict import loaded, predicted
    from einthoven.paper.entry import PICTURES
    from einthoven.record import EcgError

    try:
        manifest = loaded(model).manifest
    except EcgError as fault:
        stop(fault)
    looks = manifest.image is not None and manifest.image.pictures == "look"
    paths, failed = find(files, PICTURES if looks else ())
    work = partial(predicted, model=model, fs=fs, unit=unit)
    jobs = jobs or os.cpu_count() or 1
    if output:
        raise typer.Exit(_into(output, work, paths, jobs=jobs, resume=resume, model=manifest.name) or failed)

    from einthoven import batch

    lines: dict[str, Any] = {}
    for line in batch.results(work, paths, jobs=jobs if len(paths) > _FEW else 1):
        path = line["path"]
        if line["ok"]:
            lines[path] = {key: line[key] for key in ("file", "model", "labels", "warnings")}
        else:
            failed = 1
            lines[path] = {"file": path, "model": manifest.name, "labels": {}, "warnings": [], "error": line["error"]}
            tell(f"error: {line['error']}")
    ordered = [lines[path] for path in paths if path in lines]
    if json:
        typer.echo(dumps(ordered))
    else:
        for entry in ordered:
            if entry["labels"]:
                typer.echo(_text(entry, manifest) + "\n")
    raise typer.Exit(1 if failed else 0)


def _text(entry: dict[str, Any], manifest: Manifest) -> str:
    """One file's prediction for eyes: the likeliest first, * for what reaches its threshold."""
    texts = {label.name: label.text for label in manifest.labels}
    units = {label.name: label.unit for label in manifest.labels}
    limits = manifest.thresholds.values if manifest.thresholds else {}
    lines = [entry["file"], f"  {manifest.name} {manifest.version}: {manifest.use}"]
    for name, value in sorted(entry["labels"].items(), key=lambda pair: -pair[1]):
        if manifest.task == "regression":
            lines.append(f"    {name:12} {value:10.4g} {units[name]}  {texts[name]}".rstrip())
        else:
            mark = "*" if name in limits and value >= limits[name] else " "
            lines.append(f"  {mark} {name:12} {100 * value:5.1f} %  {texts[name]}".rstrip())
    if limits:
        lines.append(
            "  * reaches the threshold that was chosen on " + manifest.thresholds.chosen_on if manifest.thresholds else ""
        )
    return "\n".join(lines + [f"  ! {words}" for words in entry["warnings"]])


def _into(output: Path, work: Any, paths: list[str], *, jobs: int, resume: bool, model: str) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from einthoven import batch
    from einthoven.record import EcgError, WrongUse

    console = Console(stderr=True)
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(paths))

        def on_line(line: batch.Line) -> None:
            bar.advance(task)
            if not line["ok"]:
                bar.console.print(f"failed: {line['error']}", markup=False, highlight=False, soft_wrap=True)

        try:
            if resume and output.exists():
                others = {line["model"] for line in batch.finished(output).values() if line["ok"]} - {model}
                if others:
                    raise WrongUse(f"has predictions of {', '.join(sorted(others))}; this model is {model}", path=output)
            tally = batch.run(work, paths, output, jobs=jobs, resume=resume, on_line=on_line)
        except EcgError as fault:
            stop(fault)
    speed = f"{tally.seconds:.1f} s, {tally.done / tally.seconds if tally.seconds else 0.0:.1f} records/s"
    tell(f"{tally.done} done, {tally.failed} failed, {tally.earlier} from an earlier run; {speed}")
    typer.echo(output)
    return 0 if all(line["ok"] for line in batch.finished(output).values()) else 1
