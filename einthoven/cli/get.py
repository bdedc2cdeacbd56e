"""einthoven data get: public data sets from their official addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.data import data
from einthoven.cli.door import stop, tell


@data.command("get")
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="ptbxl, challenge2021, mimic-iv-ecg, code15, sph, ludb, ...")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder; files in it are verified and kept.", show_default=False)
    ],
    only: Annotated[
        list[str] | None, typer.Option(help="Only files that match (records100/*, *.csv); may be repeated.", show_default=False)
    ] = None,
    address: Annotated[str | None, typer.Option(help="A mirror with the same layout.", show_default=False)] = None,
    connections: Annotated[int, typer.Option(help="Files fetched at once.")] = 8,
    recheck: Annotated[bool, typer.Option("--recheck", help="Hash the files that are there again.")] = False,
) -> None:
    """Fetch a public data set from its official address: resumed after any stop, every file checked against its published sum.

    Its licence is yours to keep: `einthoven data list` names it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from einthoven.data.get import ORIGINS
    from einthoven.data.get import get as fetch
    from einthoven.record import EcgError

    if name in ORIGINS:
        tell(f"{ORIGINS[name].title}, {ORIGINS[name].licence}, from {address or ORIGINS[name].address}")
    console = Console(stderr=True)
    columns = (TextColumn("fetching"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None)
            got = fetch(
                name,
                output,
                only=tuple(only or ()),
                address=address,
                connections=connections,
                recheck=recheck,
                on_file=lambda _, done, total: bar.update(task, completed=done, total=total),
            )
    except EcgError as fault:
        stop(fault)
    for file, why in list(got.failed.items())[:20]:
        tell(f"failed: {file}: {why}")
    tell(
        f"{got.fetched:,} files fetched ({got.bytes / 1e6:,.1f} MB), {got.present:,} there already, {len(got.failed):,} failed"
    )
    typer.echo(output)
    raise typer.Exit(1 if got.failed else 0)
