"""einthoven models import: an ONNX file that others made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import faults, is_a_file, print_json, tell
from einthoven.cli.models import Json, models


@models.command("import")
def import_onnx(
    path: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="An ONNX file of any origin.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a Bundle there (folder or .zip).", show_default=False)
    ] = None,
    leads: Annotated[int, typer.Option(help="How many leads the model takes.")] = 12,
    samples: Annotated[
        int | None, typer.Option(help="How many samples to try it with, where it takes any.", show_default=False)
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Its outputs in order, parted by commas, where the file has no names.", show_default=False),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="The preprocessing it was trained with, where the file does not say.", show_default=False)
    ] = None,
    task: Annotated[str | None, typer.Option(help="single, multilabel or regression.", show_default=False)] = None,
    licence: Annotated[str, typer.Option(help="Under which the weights may be used.")] = "not stated",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    json: Json = False,
) -> None:
    """Read a foreign ONNX file, prove it against onnxruntime, tell how much of it trains; with -o make a Bundle of it."""
    with faults():
        try:
            from einthoven.exchange.onnx_bundle import write_foreign
            from einthoven.exchange.onnx_in import open_onnx
        except ImportError as fault:
            from einthoven.record import EcgError

            raise EcgError(f"import needs torch and onnx: pip install 'einthoven[train]' ({fault})", path=path) from None
        foreign = open_onnx(is_a_file(path), leads=leads, samples=samples)
        if output is not None:
            named = tuple(name.strip() for name in labels.split(",")) if labels else ()
            bundle = write_foreign(
                foreign, output, name=output.name.removesuffix(".zip"), names=named, preset=preset, task=task, licence=licence,
                source=path.name, overwrite=overwrite,
            )  # fmt: skip
            tell(f"wrote {bundle.path}")
    if json:
        print_json(foreign.to_dict())
    else:
        typer.echo(foreign.text())
