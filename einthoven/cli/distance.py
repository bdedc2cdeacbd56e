"""einthoven data distance: how far two sets of images lie from each other."""

from __future__ import annotations

from typing import Annotated

import typer

from einthoven.cli.data import data
from einthoven.cli.door import AsJson, Jobs, print_json, stop, tell


@data.command("distance")
def distance(
    a: Annotated[str, typer.Argument(metavar="A", help="ECGs (index, set, files), a folder of pictures, or synth.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The same, or texture, photos: what needs no files.")] = "texture",
    count: Annotated[int, typer.Option("--count", "-n", help="Images of each set, at most; the paper took 1000.")] = 200,
    form: Annotated[str, typer.Option(help="Image form that ECGs are drawn in, and the size of all images.")] = "heartbeit",
    draws: Annotated[int, typer.Option(help="Of the bootstrap over images, 500 at least.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the images drawn, and of the bootstrap.")] = 0,
    jobs: Jobs = 1,
    json: AsJson = False,
) -> None:
    """Wasserstein distances within and between two sets of images, as HeartBEiT has them, with 95 % intervals.

    levels: of the grey values, wherever they stand (the paper's). ink: of where the ink stands. matched: of the sets
    themselves."""
    from pathlib import Path

    from einthoven.evaluate.wasserstein import distances
    from einthoven.record import EcgError
    from einthoven.represent.galleries import gallery

    try:
        first, second = (gallery(s, count, form, seed=seed + i, jobs=jobs) for i, s in enumerate((a, b)))
        names = [Path(s).name or s for s in (a, b)]
        if names[0] == names[1]:
            names = [f"{names[0]} (A)", f"{names[1]} (B)"]
        found = distances(names[0], first, names[1], second, draws=draws, seed=seed)
    except EcgError as fault:
        stop(fault)
    tell(f"{len(first)} images of {a}, {len(second)} of {b}, {first.shape[1]} x {first.shape[2]} pixels")
    for row in found:
        if json:
            print_json(row.to_dict())
            continue
        figure = f"{row.value:8.3f}" if row.unit.startswith("grey") else f"{row.value:8.4f}"
        digits = 3 if row.unit.startswith("grey") else 4
        bounds = f" ({row.low:.{digits}f}-{row.high:.{digits}f})" if row.low == row.low else ""
        typer.echo(f"{row.kind:<8}{row.a + ' - ' + row.b:<44}{figure}{bounds}  {row.unit}, {row.pairs:,} pairs")
