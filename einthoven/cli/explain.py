"""einthoven explain: which waves of an ECG speak for a model's label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from einthoven.cli.door import One, Rate, Unit, app, each, print_json, tell

if TYPE_CHECKING:
    from einthoven.exchange.predict import Predictor


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
    """Explain a prediction: which waves, in which leads, speak for a label, as a table and on the page.

    Of a photo or scan: which parts of it, by a model that looks at pictures (the one that ships, where none is named); by any
    other model what was read off it is explained.
    """
    from einthoven.explain import METHODS, save
    from einthoven.explain import explain as explained
    from einthoven.paper.entry import is_paper, record_of

    if method not in METHODS:
        raise typer.BadParameter(f"one of {', '.join(METHODS)}", param_hint="--method")
    if output is not None and output.suffix.lower() not in (".png", ".svg", ".json"):
        raise typer.BadParameter("a name that ends in .png, .svg or .json", param_hint="--output")

    def work(path: str) -> None:
        if is_paper(path) and (predictor := _looks(model)) is not None:
            _photo(path, predictor, label, method, output, json, named=model is not None)
            return
        record = record_of(path, fs=fs, unit=unit)
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


def _looks(model: str | None) -> Predictor | None:
    """The model, where it looks at pictures itself; of those that ship where none is named."""
    from einthoven.exchange.predict import loaded
    from einthoven.opinion import shipped_image_model

    place = shipped_image_model() if model is None else model
    predictor = None if place is None else loaded(str(place))
    image = predictor.manifest.image if predictor else None
    return predictor if image is not None and image.pictures == "look" else None


def _photo(
    path: str, predictor: Predictor, label: str | None, method: str, output: Path | None, json: bool, *, named: bool
) -> None:
    from einthoven.explain.photo import look
    from einthoven.paper.digitise.lattice import find_lattice
    from einthoven.paper.entry import picture_of
    from einthoven.record import WrongUse

    if method != "occlusion":
        raise WrongUse(f"a picture is explained by occlusion, not by {method}: its ECG is not known by lead and wave")
    if output is not None and output.suffix.lower() == ".svg":
        raise WrongUse("the explanation of a picture is a picture: a name that ends in .png or .json")
    rgb, told = picture_of(path)
    if not named:
        find_lattice(rgb)  # a model has something to say of any picture: by itself it is asked of millimetre paper alone
    made = look(predictor, rgb, label)
    for words in told:
        tell(f"! {words}")
    if json:
        print_json(made.to_dict(predictor.manifest.name))
    else:
        typer.echo(f"{path}\n{predictor.manifest.name}: {made.text} {made.probability:.1%}, score {made.score:+.2f}")
        typer.echo("occlusion: what the score loses when a part of the picture is painted over\n\n" + made.grid_text())
    if output is not None:
        made.save(output, predictor.manifest.name)
        tell(str(output)) if json else typer.echo(f"\n{output}")
