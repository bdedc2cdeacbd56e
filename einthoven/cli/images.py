"""einthoven images: a set of pictures of an index's ECGs, with the truth of each, in shards."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import Jobs, app, asked, stop, tell


@app.command()
def images(
    index: Annotated[
        Path, typer.Argument(metavar="INDEX", help="An index of ECGs: `einthoven data index`.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the set: images-*.tar.", show_default=False)],
    count: Annotated[int, typer.Option("--count", "-n", help="How many pictures; each record comes equally often.")] = 1000,
    preset: Annotated[
        str, typer.Option(help="clean, scan, photo, screen, fax, old-paper, ecginstruct; several with commas are mixed.")
    ] = "photo",
    look: Annotated[
        str | None,
        typer.Option(help="Layouts, colours, speeds of the pages: standard, varied, ecginstruct.", show_default=False),
    ] = None,
    clean: Annotated[float | None, typer.Option(help="Share of pictures left as they were drawn.", show_default=False)] = None,
    size: Annotated[str | None, typer.Option(help="Pixels of a picture, 448x448; the page's own when not given.")] = None,
    fit: Annotated[str, typer.Option(help="pad keeps the proportions, stretch fills the size.")] = "pad",
    dpi: Annotated[int, typer.Option(help="Resolution of the drawn pages.")] = 200,
    format: Annotated[str, typer.Option("--format", help="jpg or png.")] = "jpg",
    extra: Annotated[
        list[str] | None, typer.Option("--with", help="Beside each picture: mask, lines. May be repeated.", show_default=False)
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Print the report in the header; a model would read it there.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same set.")] = 0,
    shard: Annotated[int, typer.Option(help="Pictures a tar.")] = 500,
    backend: Annotated[str, typer.Option(help="local: processes here. ray: Ray Data.")] = "local",
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster.", show_default=False)] = None,
    jobs: Jobs = 0,
) -> None:
    """Make a set of pictures of ECGs on paper, scanned, photographed, faxed, with the exact truth of every trace.

    The set is WebDataset tars (picture, truth as JSON). The same command goes on after a stop. docs/images.md says more.
    """
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from einthoven import scale
    from einthoven.data import pictures
    from einthoven.paper.dataset import PLANS, Plan
    from einthoven.record import EcgError

    console = Console(stderr=True)
    columns = (TextColumn("shards"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with asked():
        usual = PLANS.get(preset, Plan())
        plan = replace(
            usual,
            preset=preset,
            look=look or usual.look,
            clean=usual.clean if clean is None else clean,
            seed=seed,
            dpi=dpi,
            size=_size(size),
            fit=fit,
            format=format,
            words=words,
            extras=tuple(extra or ()),
        )
    try:
        listing = pictures.begin(index, output, plan, count, shard)
        work = partial(pictures.made, index=str(index.resolve()), out=str(output.resolve()), plan=plan.to_dict())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None)
            tally = scale.run(
                work,
                listing,
                output,
                shard=1,
                backend=backend,
                jobs=jobs or os.cpu_count() or 1,
                address=address,
                on_shard=lambda done, total: bar.update(task, completed=done, total=total),
            )
    except EcgError as fault:
        stop(fault)
    pictures_done, failures = 0, []
    for line in scale.results(output):
        if line["ok"]:
            pictures_done += line["images"]
            failures += [f"picture {f['number']} of {f['record']}: {f['error']}" for f in line["failed"]]
        else:
            failures.append(line["error"])
    for told in failures[:20]:
        tell(f"failed: {told}")
    if len(failures) > 20:
        tell(f"failed: {len(failures) - 20} more, see the shard-*.jsonl.gz")
    tell(f"{pictures_done} pictures in {tally.shards} tars, {tally.earlier} of them from an earlier run; {tally.seconds:.1f} s")
    typer.echo(output)
    raise typer.Exit(1 if failures else 0)


def _size(text: str | None) -> tuple[int, int] | None:
    from einthoven.record import WrongUse

    if text is None:
        return None
    width, cross, height = text.lower().partition("x")
    if not cross or not (width.isdecimal() and height.isdecimal()):
        raise WrongUse(f"size {text!r} is not WIDTHxHEIGHT (448x448)")
    return int(width), int(height)
