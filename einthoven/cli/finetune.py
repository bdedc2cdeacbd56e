"""Commands that make a model and judge one: finetune, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from einthoven.cli.door import app, is_a_file, print_json, stop, tell

Data = Annotated[
    str | None,
    typer.Option("--data", help="Folder of ECGs of any vendor, an Index, or a public set's folder.", show_default=False),
]
LabelFile = Annotated[
    str | None,
    typer.Option("--labels", help="CSV: file_name,label[,...][,patient]. Not needed for a public set.", show_default=False),
]
Level = Annotated[
    str | None,
    typer.Option(help="Which labels: own, superclass, subclass, statement, form, rhythm, target.", show_default=False),
]


@app.command()
def finetune(
    recipe: Annotated[Path | None, typer.Argument(metavar="[RECIPE]", help="A recipe (YAML).", show_default=False)] = None,
    data: Data = None,
    labels: LabelFile = None,
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder for the Bundle, the report and the rest.")] = Path(
        "finetuned"
    ),
    model: Annotated[str | None, typer.Option(help="A model of `einthoven models list`.", show_default=False)] = None,
    method: Annotated[str | None, typer.Option(help="full, head, partial, lora or adapter.", show_default=False)] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="A model's name, a Bundle, .safetensors or .onnx to begin with.", show_default=False),
    ] = None,
    level: Level = None,
    names: Annotated[str | None, typer.Option(help="Only these labels, parted by commas.", show_default=False)] = None,
    task: Annotated[
        str | None, typer.Option(help="single (softmax), multilabel (sigmoid) or regression.", show_default=False)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="At most so many.", show_default=False)] = None,
    batch: Annotated[int | None, typer.Option(help="Records of one step.", show_default=False)] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Learning rate; else it is looked for.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn.", show_default=False)] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Of a language model: weights, or tiny-random (the same classes, small and random, offline).",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other line of a recipe.", show_default=False)
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw away an earlier run in the output folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A summary as JSON to stdout.")] = False,
) -> None:
    """Fine-tune a model on ECGs with labels: raw files to a model with its report, in one go.

    The same command goes on with a run that was cut off. Ends with 1 where records could not be used (failed.txt names
    them). On many GPUs: `accelerate launch --multi_gpu -m einthoven finetune ...`. A recipe with the line `objective: language`
    fine-tunes a language model on conversations about ECGs.
    """
    from einthoven.record import EcgError

    if recipe is not None and _objective(recipe) == "language":
        own: dict[str, Any] = {"data": data, "labels": labels, "model": model, "method": method, "weights": weights}
        own |= {"epochs": epochs, "batch": batch, "learning_rate": lr, "device": device, "seed": seed, "init": init}
        others = {"--level": level, "--names": names, "--task": task}
        if strange := [name for name, value in others.items() if value is not None]:
            _stop(f"{strange[0]} is not of language models ({recipe})", 2)
        return _language(recipe, own, set_ or [], out, fresh=fresh, as_json=json)
    if init is not None:
        _stop("--init is of language models: a recipe with the line `objective: language`", 2)
    try:
        from einthoven.train.finetune import finetune as run
        from einthoven.train.recipe import Recipe
        from einthoven.train.recipes import from_pairs
        from einthoven.train.start import settled
    except ImportError as fault:
        _stop(f"fine-tuning needs more packages: pip install 'einthoven[train]' ({fault})")
    given: dict[str, Any] = {
        "data": data, "labels": labels, "model": model, "method": method, "weights": weights, "level": level, "task": task,
        "names": names.split(",") if names else None, "epochs": epochs, "batch": batch, "learning_rate": lr, "device": device,
        "seed": seed,
    }  # fmt: skip
    try:
        words = Recipe.read(is_a_file(recipe)).to_dict() if recipe else {}
        words |= {name: value for name, value in given.items() if value is not None} | from_pairs(set_ or [])
        made = Recipe.from_dict(settled(words))
        if not made.data:
            raise EcgError("a recipe needs data: a folder of ECGs, an Index, or a public set's folder (--data)")
    except EcgError as fault:
        _stop(str(fault), 2)  # whatever is wrong with a recipe
    try:
        bundle = run(made, out, fresh=fresh, quiet=False)
        if _first():
            print_json(summary(bundle)) if json else typer.echo(bundle)
        failed = out / "failed.txt"
        if failed.exists():
            tell(f"some records could not be used: {failed}")
            raise typer.Exit(1)
    except EcgError as fault:
        stop(fault)


def _objective(recipe: Path) -> str | None:
    """The recipe's line `objective`; None where there is none, or no recipe: then the reader of recipes says what is wrong."""
    import yaml

    try:
        words = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return words.get("objective") if isinstance(words, dict) else None


def _language(recipe: Path, given: dict[str, Any], pairs: list[str], out: Path, *, fresh: bool, as_json: bool) -> None:
    from einthoven.record import EcgError

    try:
        from einthoven.train.instruct.recipe import InstructRecipe
        from einthoven.train.instruct.run import instruct
        from einthoven.train.recipes import from_pairs
    except ImportError as fault:
        _stop(f"language models need more packages: pip install 'einthoven[train,language]' ({fault})")
    try:
        words = InstructRecipe.read(recipe).to_dict()
        words |= {name: value for name, value in given.items() if value is not None} | from_pairs(pairs)
        made = InstructRecipe.from_dict(words)
        if not made.data:
            raise EcgError("a recipe needs data: a folder of ECGs, an Index, or a public set's folder (--data)")
    except EcgError as fault:
        _stop(str(fault), 2)
    try:
        bundle = instruct(made, out, fresh=fresh)
    except EcgError as fault:
        stop(fault)
    if _first():
        print_json(summary(bundle)) if as_json else typer.echo(bundle)


@app.command()
def evaluate(
    data: Data = None,
    labels: LabelFile = None,
    model: Annotated[
        str | None, typer.Option("--model", help="A Bundle, or a model's name; else the default model.", show_default=False)
    ] = None,
    level: Level = None,
    samples: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a language model: questions, a file of samples, a public set's folder, or made. May be repeated.",
            show_default=False,
        ),
    ] = None,
    most: Annotated[
        int | None, typer.Option(help="Of a language model: at most so many questions.", show_default=False)
    ] = None,
    rank: Annotated[
        str | None,
        typer.Option(
            help="Of a language model: also rank ECGs by likelihood of each superclass or statement.", show_default=False
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Of a language model: where the weights lie that it was made for.", show_default=False),
    ] = None,
    new_tokens: Annotated[int, typer.Option("--new-tokens", help="Of a language model: the longest answer.")] = 128,
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for figures and answers.", show_default=False)
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of patients behind the intervals.")] = 1000,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes; 0 takes every core.")] = 0,
    backend: Annotated[str, typer.Option(help="local: processes here. ray: a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster; else Ray on this machine.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="All figures as JSON to stdout.")] = False,
) -> None:
    """Judge a model on ECGs that it has not seen: every figure with its interval.

    A model of labels by the labels of the data; a language model by its answers to --samples, beside zeros, noise, another
    patient's ECG, the words alone and the most frequent answer.
    """
    from einthoven.record import EcgError

    if data is None:
        _stop("needs --data", 2)
    if samples:
        _examine(model, data, samples, base, most, rank, new_tokens, out, draws, jobs, json)
        return
    try:
        from einthoven.data.workers import on
        from einthoven.train.judge import evaluate_bundle

        with on(backend, address):
            found = evaluate_bundle(model, data, labels, level=level, out=out, draws=draws, jobs=jobs, tell=tell)
    except EcgError as fault:
        stop(fault)
    print_json(found.to_dict()) if json else typer.echo(found.text())


def _examine(
    model: str | None, data: str, samples: list[str], base: str | None, most: int | None, rank: str | None,
    new_tokens: int, out: Path | None, draws: int, jobs: int, json: bool,
) -> None:  # fmt: skip
    """The answers of a language model."""
    from einthoven.record import EcgError

    if model is None:
        _stop("which language model answers the samples? --model", 2)
    try:
        from einthoven.evaluate.language_table import as_json, markdown
        from einthoven.train.instruct.examined import examine_bundle

        found = examine_bundle(
            model, data, samples, base=base, most=most, rank=rank, new_tokens=new_tokens, out=out, draws=draws,
            jobs=jobs or 1, tell=tell,
        )  # fmt: skip
    except ImportError as fault:
        _stop(f"this needs more packages: pip install 'einthoven[train,language]' ({fault})", 1)
    except EcgError as fault:
        stop(fault)
    print_json(as_json(found)) if json else typer.echo(markdown(found))


def summary(bundle: Path) -> dict[str, Any]:
    """What a program wants to know of a finished run."""
    from einthoven.exchange.bundle import Bundle

    made = Bundle.open(bundle, verify=False).manifest
    figures = [f for scores in made.metrics for f in scores.figures]
    return {
        "bundle": str(bundle),
        "report": str(bundle / ("card.md" if made.task == "language" else "report.html")),
        "model": made.name,
        "task": made.task,
        "labels": list(made.names),
        "records": made.metrics[0].records if made.metrics else None,
        "patients": made.metrics[0].patients if made.metrics else None,
        "figures": {f.name: {"value": f.value, "low": f.low, "high": f.high} for f in figures if f.label is None},
    }


def _first() -> bool:
    """Is this the first of the processes that a launcher started?"""
    import os

    return os.environ.get("RANK", "0") == "0"


def _stop(words: str, code: int = 1) -> NoReturn:
    tell(f"error: {words}")
    raise typer.Exit(code)
