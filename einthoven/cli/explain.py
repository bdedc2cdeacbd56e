"""einthoven explain: which waves of an ECG speak for a model's label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import One, Rate, Unit, app, each, print_json, tell


@app.command()
def explain(
    file: One,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A model's name (einthoven models list), or a Bundle's path; else the default."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", "-l", help="Of the model's labels; else its likeliest.", show_default=False)
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="occlusion, integrated-gradients, gradient, gradient-x-input, smoothgrad, fullgrad, gradcam or rollout; "
            "all but occlusion need torch."
        ),
    ] = "occlusion",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG or SVG: the page with the evidence on it; or JSON.")
    ] = None,
    start: Annotated[float, typer.Option(help="Of a long recording, where the explained stretch begins, s.")] = 0.0,
    dpi: Annotated[int, typer.Option(help="Resolution of a PNG.")] = 150,
    json: Annotated[bool, typer.Option("--json", help="All of it as JSON to stdout.")] = False,
    fs: Rate = None,
    unit: Unit = None,
) -> None:
    """Explain a prediction: which waves, in which leads, speak for a label, as a table and on the page."""
    from einthoven.explain import METHODS, save
    from einthoven.explain import explain as explained
    from einthoven.io import read

    if method not in METHODS:
        raise typer.BadParameter(f"one of {', '.join(METHODS)}", param_hint="--method")
    if output is not None and output.suffix.lower() not in (".png", ".svg", ".json"):
        raise typer.BadParameter("a name that ends in .png, .svg or .json", param_hint="--output")

    def work(path: str) -> None:
        record = read(path, fs=fs, unit=unit)
        made = explained(record, model, label, method, start=start)
        for words in made.warnings:
            tell(f"! {words}")
        if json:
            print_json(made.to_dict())
        else:
            value = f"{made.probability:.1%}" if 0 <= made.probability <= 1 else f"{made.probability:.4g}"
            typer.echo(f"{path}\n{made.model}: {made.text or made.label} {value}, score {made.score:+.2f}")
            typer.echo(f"{method}: {METHODS[method]}\n\n{made.shares.text()}")
            if made.signed:
                typer.echo("\nshare of all evidence, per cent; what is negative speaks against")
        if output is not None:
            save(record, made, output, dpi=dpi)
            tell(str(output)) if json else typer.echo(f"\n{output}")

    each([file], work, expand=False)
