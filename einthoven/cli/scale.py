"""einthoven scale: the same commands over millions of records, in shards, here or on a cluster."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import Jobs, app, stop, tell

WORKS = ("info", "interpret", "predict")


@app.command()
def scale(
    what: Annotated[str, typer.Argument(metavar="|".join(WORKS), help="What is done with each record.", show_default=False)],
    listing: Annotated[
        Path, typer.Argument(metavar="LISTING", help="A text file, one path a line; or a folder, which is listed first.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of results: shard-*.jsonl.gz.", show_default=False)],
    backend: Annotated[str, typer.Option(help="local: processes here. ray: Ray Data.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster (auto: the one this machine belongs to).", show_default=False)
    ] = None,
    shard: Annotated[int, typer.Option(help="Records a shard.")] = 1000,
    jobs: Jobs = 0,
    model: Annotated[str | None, typer.Option("--model", "-m", help="For predict: a model's name or a Bundle's path.")] = None,
) -> None:
    """Work through millions of records in shards, on this machine or on a Ray cluster. The same command goes on after a stop.

    LISTING and OUT must lie on storage that every node of a cluster sees. docs/scaling.md has measured figures.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from einthoven import scale as room
    from einthoven.batch import Line, Work
    from einthoven.record import EcgError

    work: Work
    if what == "predict":
        from einthoven.exchange.predict import Predictor, predicted

        try:
            Predictor.load(model)  # one that is not there is told now, and not a million times
        except EcgError as fault:
            stop(fault)
        work = partial(predicted, model=model)
    elif what == "interpret":
        from einthoven.report.summary import interpreted

        work = partial(interpreted, out=None, format=None, fs=None, unit=None)
    elif what == "info":
        from einthoven.io.describe import described

        work = described
    else:
        raise typer.BadParameter(f"{what!r} is none of {', '.join(WORKS)}")

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        listed = _listed(listing, output) if listing.is_dir() else listing
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None)
            tally = room.run(
                work,
                listed,
                output,
                shard=shard,
                backend=backend,
                jobs=jobs or os.cpu_count() or 1,
                address=address,
                on_shard=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except EcgError as fault:
        stop(fault)
    rate = tally.done / tally.seconds if tally.seconds else 0.0
    tell(f"{tally.done} done, {tally.failed} failed, {tally.earlier} from an earlier run; {tally.seconds:.1f} s, {rate:.1f}/s")
    failed = 0
    for line in room.results(output):
        bad: Line | None = None if line["ok"] else line
        if bad is not None:
            failed += 1
            if failed <= 20:
                tell(f"failed: {bad['error']}")
    if failed > 20:
        tell(f'failed: {failed - 20} more, see the lines with "ok": false')
    typer.echo(output)
    raise typer.Exit(1 if failed else 0)


def _listed(folder: Path, out: Path) -> Path:
    """A folder's ECGs as a listing beside the results."""
    from einthoven.io import find_inputs
    from einthoven.io.files import replacing

    out.mkdir(parents=True, exist_ok=True)
    target = out / "listing.txt"
    if not target.exists():
        with replacing(target) as draft, draft.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{path}\n" for path in find_inputs([str(folder)]))
    return target
