"""Commands that run the papers' experiments again: reproduce exchangeai, ecgfm-peft, heartbeit, llama-ecg, ecg-bench."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from einthoven.cli.door import app, stop, tell

group = typer.Typer(
    help="The papers' experiments on the data that is there: one table with the paper's figures beside ours, and one picture.",
    no_args_is_help=True,
)
app.add_typer(group, name="reproduce")

Out = Annotated[Path, typer.Option("--output", "-o", help="Folder for the table (.md, .csv, .json) and the picture.")]
SIZES = ("smoke", "short", "paper")
Size = Annotated[
    str,
    typer.Option(
        help="smoke, short (a quarter of an hour on two cores), or paper (wants a GPU).", callback=lambda name: _size(name)
    ),
]
Smoke = Annotated[bool, typer.Option("--smoke", help="The size of the tests: a minute; shows that all of it runs.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn.")]
Epochs = Annotated[int | None, typer.Option(help="Instead of the size's own.", show_default=False)]
Fresh = Annotated[bool, typer.Option("--fresh", help="Throw away results that the output folder holds.")]
AsJson = Annotated[bool, typer.Option("--json", help="The table as JSON to stdout, instead of Markdown.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", help="Processes that read the files; 0 takes every core.")]


Weights = Annotated[
    list[str] | None,
    typer.Option(
        "--weights", metavar="MODEL=PATH", help="What a model starts from; else pre-trained here.", show_default=False
    ),
]


@group.command()
def exchangeai(
    data: Annotated[
        str | None,
        typer.Option("--data", help="PTB-XL, or an Index with folds; without it simulated ECGs are used.", show_default=False),
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option("--test", help="Other data to test on; may be given more than once.", show_default=False)
    ] = None,
    out: Out = Path("reproduce-exchangeai"),
    size: Size = "short",
    smoke: Smoke = False,
    models: Annotated[str | None, typer.Option(help="Only these, parted by commas.", show_default=False)] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Of superclasses, infarcts, blocks: only these.", show_default=False)
    ] = None,
    weights: Weights = None,
    share: Annotated[float, typer.Option(help="Of the patients of the fold to fine-tune on.")] = 1.0,
    epochs: Epochs = None,
    device: Device = "auto",
    seed: Seed = 0,
    jobs: Jobs = 0,
    fresh: Fresh = False,
    json: AsJson = False,
) -> None:
    """ExChanGeAI's tables: five models, head and all layers, on superclasses, infarcts and bundle branch blocks.

    The same command goes on where it was cut off.
    """

    def work() -> Any:
        from einthoven.train.reproduce import exchangeai as experiment

        given: dict[str, Any] = {"data": data, "tests": tuple(test or ()), "size": "smoke" if smoke else size}
        given |= {
            "weights": _pairs(weights or []),
            "share": share,
            "epochs": epochs,
            "device": device,
            "seed": seed,
            "jobs": jobs,
        }
        given |= {name: tuple(v.split(",")) for name, v in (("models", models), ("tasks", tasks)) if v}
        return experiment.reproduce(experiment.Settings(**given), out, fresh=fresh, log=tell)

    _show(work, out, "exchangeai", json)


@group.command("ecgfm-peft")
def ecgfm_peft(
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="df_segment2.csv, or a dataset of 12-lead ECGs to cut segments from; else simulated.",
            show_default=False,
        ),
    ] = None,
    fs: Annotated[float | None, typer.Option(help="Sampling rate of a CSV of segments, Hz.", show_default=False)] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of a CSV of segments (mV, uV).", show_default=False)] = None,
    out: Out = Path("reproduce-ecgfm-peft"),
    size: Size = "short",
    smoke: Smoke = False,
    weights: Annotated[
        str | None, typer.Option(help="ECG-FM's weights (.safetensors or Bundle); else a stand-in.", show_default=False)
    ] = None,
    epochs: Epochs = None,
    device: Device = "auto",
    seed: Seed = 0,
    jobs: Jobs = 0,
    fresh: Fresh = False,
    json: AsJson = False,
) -> None:
    """The PEFT study of ECG-FM: full, adapter, LoRA and head on a binary task of one-lead segments.

    The same command goes on where it was cut off.
    """

    def work() -> Any:
        from einthoven.train.reproduce import ecgfm_peft as experiment

        given: dict[str, Any] = {"data": data, "fs": fs, "unit": unit, "size": "smoke" if smoke else size, "weights": weights}
        given |= {"epochs": epochs, "device": device, "seed": seed, "jobs": jobs or os.cpu_count() or 1}
        return experiment.reproduce(experiment.Settings(**given), out, fresh=fresh, log=tell)

    _show(work, out, "ecgfm-peft", json)


@group.command()
def heartbeit(
    data: Annotated[
        str | None,
        typer.Option("--data", help="PTB-XL, or an Index with labels; without it simulated ECGs are used.", show_default=False),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option("--unlabelled", help="Other ECGs to pre-train on; may be given more than once.", show_default=False),
    ] = None,
    out: Out = Path("reproduce-heartbeit"),
    size: Size = "short",
    smoke: Smoke = False,
    models: Annotated[str | None, typer.Option(help="Only these, parted by semicolons.", show_default=False)] = None,
    fractions: Annotated[
        str | None, typer.Option(help="Of 0.01,0.1,0.25,0.5,1: only these, parted by commas.", show_default=False)
    ] = None,
    weights: Weights = None,
    epochs: Epochs = None,
    rate: Annotated[
        float | None, typer.Option(help="Highest learning rate of fine-tuning.", show_default="the size's own")
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="Pictures to fine-tune on: heartbeit-448 has twice the pixels.", show_default=False)
    ] = None,
    tiles: Annotated[str, typer.Option(help="Rows x columns that BEiT and ViT cut them into (2x2).")] = "1x1",
    patch: Annotated[
        str | None, typer.Option(help="Pixels of their patches, height x width (56x28).", show_default="the size's own")
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(help="What BEiT's head sees: mean (of all patches), rows (of each).", show_default="the size's own"),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    jobs: Jobs = 0,
    workers: Annotated[int, typer.Option(help="Trials side by side, a process each.")] = 1,
    fresh: Fresh = False,
    json: AsJson = False,
) -> None:
    """HeartBEiT's tables: pre-training without labels, then STEMI and superclasses from 1 to 100 % of the labelled ECGs.

    The same command goes on where it was cut off.
    """

    def work() -> Any:
        from einthoven.explain.pictures import heat
        from einthoven.train.reproduce import heartbeit as experiment

        given: dict[str, Any] = {"data": data, "unlabelled": tuple(unlabelled or ()), "size": "smoke" if smoke else size}
        given |= {"weights": _pairs(weights or []), "epochs": epochs, "rate": rate, "device": device, "seed": seed}
        given |= {"jobs": jobs, "workers": workers, "form": form, "tiles": _sides("--tiles", tiles)}
        given |= {"patch": _sides("--patch", patch) if patch else None, "pool": pool}
        given |= {"arms": tuple(models.split(";"))} if models else {}
        given |= {"fractions": tuple(float(f) for f in fractions.split(","))} if fractions else {}
        return experiment.reproduce(experiment.Settings(**given), out, fresh=fresh, log=tell, saliency=heat)

    _show(work, out, "heartbeit", json)


LANGUAGE_SIZES = ("smoke", "tiny", "full")
LanguageSize = Annotated[
    str,
    typer.Option(
        help="smoke, tiny (a random model, on a processor), or full (the paper's weights, on GPUs).",
        callback=lambda name: _size(name, LANGUAGE_SIZES),
    ),
]
LanguageData = Annotated[
    str | None, typer.Option("--data", help="PTB-XL, or an Index with folds; else simulated ECGs.", show_default=False)
]
Arms = Annotated[str | None, typer.Option(help="Only these rows, parted by semicolons.", show_default=False)]
Weights1 = Annotated[str | None, typer.Option("--model", help="Name or path of the weights, size full.", show_default=False)]


@group.command("llama-ecg")
def llama_ecg(
    data: LanguageData = None,
    out: Out = Path("reproduce-llama-ecg"),
    size: LanguageSize = "tiny",
    smoke: Smoke = False,
    model: Weights1 = None,
    arms: Arms = None,
    epochs: Epochs = None,
    device: Device = "auto",
    seed: Seed = 0,
    jobs: Jobs = 0,
    fresh: Fresh = False,
    json: AsJson = False,
) -> None:
    """LoRA on Llama 3.2 Vision: table I and the ablations of rank, partial tuning and data, each beside its controls.

    The same command goes on where it was cut off.
    """

    def work() -> Any:
        from einthoven.train.reproduce import llama_ecg as experiment

        given: dict[str, Any] = {"data": data, "size": "smoke" if smoke else size, "epochs": epochs, "device": device}
        given |= {"seed": seed, "jobs": jobs or os.cpu_count() or 1} | ({"model": model} if model else {})
        given |= {"arms": tuple(a.strip() for a in arms.split(";"))} if arms else {}
        return experiment.reproduce(experiment.Settings(**given), out, fresh=fresh, log=tell)

    _show(work, out, "llama-ecg", json, (".md", ".csv", ".json"))


@group.command("ecg-bench")
def ecg_bench(
    data: LanguageData = None,
    questions: Annotated[
        str | None, typer.Option(help="ECG-QA's folder about these ECGs, a second dataset.", show_default=False)
    ] = None,
    out: Out = Path("reproduce-ecg-bench"),
    size: LanguageSize = "tiny",
    smoke: Smoke = False,
    model: Weights1 = None,
    arms: Arms = None,
    epochs: Epochs = None,
    device: Device = "auto",
    seed: Seed = 0,
    jobs: Jobs = 0,
    fresh: Fresh = False,
    json: AsJson = False,
) -> None:
    """ECG-Bench: signal, stacked signal, image, symbols, features and text, with and without encoders, each beside its
    controls.

    The same command goes on where it was cut off.
    """

    def work() -> Any:
        from einthoven.train.reproduce import ecg_bench as experiment

        given: dict[str, Any] = {"data": data, "questions": questions, "size": "smoke" if smoke else size, "model": model}
        given |= {"epochs": epochs, "device": device, "seed": seed, "jobs": jobs or os.cpu_count() or 1}
        given |= {"arms": tuple(a.strip() for a in arms.split(";"))} if arms else {}
        return experiment.reproduce(experiment.Settings(**given), out, fresh=fresh, log=tell)

    _show(work, out, "ecg-bench", json, (".md", ".csv", ".json"))


def _sides(option: str, words: str) -> tuple[int, int]:
    rows, _, columns = words.partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        tell(f"error: {option} wants two numbers (2x2), not {words}")
        raise typer.Exit(2)
    return int(rows), int(columns)


def _pairs(words: list[str]) -> dict[str, str]:
    made = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals:
            tell(f"error: --weights wants MODEL=PATH, not {word}")
            raise typer.Exit(2)
        made[name] = path
    return made


def _size(name: str, sizes: tuple[str, ...] = SIZES) -> str:
    if name not in sizes:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(sizes)}")
    return name


def _show(work: Any, out: Path, name: str, as_json: bool, kinds: tuple[str, ...] = (".md", ".csv", ".json", ".png")) -> None:
    from einthoven.record import EcgError

    try:
        sheet = work()
    except ModuleNotFoundError as fault:
        tell(f"error: this needs torch and its companions: pip install 'einthoven[train]' ({fault})")
        raise typer.Exit(1) from fault
    except EcgError as fault:
        stop(fault)
    typer.echo(sheet.json() if as_json else sheet.markdown())
    tell(f"written: {', '.join(str(out / f'{name}{suffix}') for suffix in kinds)}")
