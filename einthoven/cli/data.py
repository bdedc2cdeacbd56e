"""Commands on datasets: data list, data index, data show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from einthoven.cli.door import AsJson, Jobs, app, print_json, stop, tell

data = typer.Typer(no_args_is_help=True, help="Datasets: what is known, index a folder, show what an index holds.")
app.add_typer(data, name="data")


@data.command("list")
def list_(json: AsJson = False) -> None:
    """List the datasets that are recognised: size, licence, citation, official address. --json: one line a dataset."""
    from einthoven.data.show import known_sets

    for row in known_sets():
        if json:
            print_json(row)
            continue
        size = f"{row['records']:,} records" if row["records"] else ""
        size += f", {row['patients']:,} patients" if row["patients"] else ""
        size += f", {row['gigabytes']:g} GB" if row["gigabytes"] else ""
        typer.echo(f"{row['name']:<11}{row['title']}" + (f": {size}" if size else ""))
        for key in ("licence", "citation", "address", "notes"):
            if row[key]:
                typer.echo(f"{'':<11}{row[key]}")
        typer.echo("")


@data.command("index")
def index(
    sources: Annotated[
        list[str], typer.Argument(metavar="SRC", help="Official dataset folders, folders of your own, CSVs of segments.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The index: a new folder.", show_default=False)],
    labels: Annotated[
        str | None, typer.Option(help="CSV of labels of a folder of your own (file_name,label,...).", show_default=False)
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="What the sources are, instead of looking (see `data list`).", show_default=False)
    ] = None,
    rate: Annotated[int | None, typer.Option(help="Hz, where a set comes in several (PTB-XL: 100 or 500).")] = None,
    patient: Annotated[
        str | None, typer.Option(help="Column of the labels that names the patient.", show_default=False)
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Column of the labels with a number to predict; may be repeated.")
    ] = None,
    fs: Annotated[float | None, typer.Option("--fs", help="Sampling rate in Hz, for files that do not say.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="Unit (mV, uV), for files that do not say.")] = None,
    extra: Annotated[
        str | None,
        typer.Option(
            help="A file beside the set: MIMIC's records_w_diag_icd10.csv; PTB-XL's folder for the Challenge's copies."
        ),
    ] = None,
    jobs: Jobs = 0,
    backend: Annotated[str, typer.Option(help="local: processes here. ray: a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster; else Ray on this machine.", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
    json: AsJson = False,
) -> None:
    """Read datasets into one index: a Parquet table and one file of all signals. Goes on where a killed run stopped."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from einthoven.data.datasets.table import by_name, recognise
    from einthoven.data.entry import Choice
    from einthoven.data.index import build, is_index
    from einthoven.data.load import together
    from einthoven.data.workers import on
    from einthoven.record import EcgError, WrongUse

    choice = Choice(rate, labels, patient, tuple(target or ()), fs, unit, extra)
    console = Console(stderr=True)
    try:
        paths = [Path(s).expanduser() for s in sources]
        origins = together(paths, [by_name(dataset) if dataset else recognise(p, choice) for p in paths], choice)
        if output.exists() and not (overwrite and is_index(output)):
            raise WrongUse("is there already: choose another place" + ("" if overwrite else ", or --overwrite"), path=output)
    except EcgError as fault:
        stop(fault)
    try:
        for origin in origins:
            tell(f"{origin.path}: {origin.dataset.title}")
        columns = (TextColumn("indexing {task.completed} records"), TimeElapsedColumn())
        with on(backend, address), Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("")
            made = build(
                origins,
                output,
                jobs=jobs,
                overwrite=overwrite,
                on_record=lambda done, failed: bar.update(task, completed=done),
            )
    except EcgError as fault:
        stop(fault)
    failed, absent = made.about["failed"], made.about["absent"]
    _tell_faults("failed", failed, 20, output)
    _tell_faults("left out", absent, 5, output)
    if made.about["clipped_records"]:
        told = f"{made.about['clipped']:,} samples of {made.about['clipped_records']:,} records"
        tell(f"warning: {told} lie beyond 32.767 mV and were clipped: check unit and gain")
    count = sum(f["count"] for f in failed)
    tell(f"{len(made):,} records indexed, {count:,} failed")
    if json:
        print_json({"index": str(output), "records": len(made), "failed": failed, "absent": absent})
    else:
        typer.echo(output)
    raise typer.Exit(1 if failed else 0)


@data.command("show")
def show(
    folder: Annotated[str, typer.Argument(metavar="INDEX", help="An index, or anything that can be indexed.")],
    labels: Annotated[str | None, typer.Option(help="CSV of labels of a folder of your own.", show_default=False)] = None,
    json: AsJson = False,
) -> None:
    """Show what an index holds: patients, ages, rates, labels with their counts, and what to beware of."""
    from einthoven.data.load import load
    from einthoven.data.show import summary, text
    from einthoven.record import EcgError

    try:
        held = load(folder, labels, jobs=0)
        print_json(summary(held)) if json else typer.echo(text(held))
    except EcgError as fault:
        stop(fault)


def _tell_faults(word: str, faults: list[dict[str, Any]], most: int, output: Path) -> None:
    for fault in faults[:most]:
        tell(f"{word}: {fault['name']}: {fault['why']}" + (f" ({fault['count']:,})" if fault["count"] > 1 else ""))
    if len(faults) > most:
        tell(f"... and {len(faults) - most} more {word}; {output / 'index.json'} names them all")
