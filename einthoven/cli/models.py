"""einthoven models: what there is, what it is worth, and handing it on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from einthoven.cli.door import app, faults, is_a_file, print_json, tell

models = typer.Typer(
    help="Models: what there is, how good it is, fetch it, check it, hand it on.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models, name="models")

BundleName = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="A model's name, or the path of a Bundle (folder or ZIP).", show_default=False)
]
StoreAddress = Annotated[
    str,
    typer.Argument(metavar="STORE", help="A folder, https://..., davs://... or hf://owner/name.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="JSON to stdout.")]


@models.command("list")
def list_models(
    store: Annotated[str | None, typer.Option("--store", help="What a store has, instead of this machine.")] = None,
    json: Json = False,
) -> None:
    """List the architectures, and the trained models that are here; with --store, those of a store."""
    with faults():
        if store is not None:
            from einthoven.exchange.stores import open_store

            items = open_store(store).list()
            if json:
                print_json([item.model_dump(mode="json") for item in items])
                return
            rows: list[tuple[str, ...]] = [
                (i.name, i.version, _size(i.bytes), i.task, _few(i.labels), i.licence, i.created[:10], i.summary) for i in items
            ]
            _print(("model", "version", "size", "task", "labels", "licence", "made", "summary"), rows, "the store is empty")
            return

        from einthoven.exchange.bundle import Bundle
        from einthoven.exchange.shelf import DEFAULT, SHIPPED, shelved
        from einthoven.models.table import MODELS
        from einthoven.record import EcgError

        here = []
        for name, path in shelved():
            try:
                here.append((name, path, Bundle.open(path, verify=False).manifest))
            except EcgError as fault:  # the others are there all the same
                tell(f"error: {fault}")
        if json:
            trained = [
                {
                    "name": name,
                    "path": str(path),
                    "shipped": path.is_relative_to(SHIPPED),
                    "default": name == DEFAULT,
                    "version": said.version,
                    "task": said.task,
                    "labels": said.names,
                    "summary": said.summary,
                }
                for name, path, said in here
            ]
            kinds = [
                {"name": m.name, "parameters": m.parameters, "preset": m.preset, "citation": m.citation}
                for m in MODELS.values()
            ]
            print_json({"trained": trained, "architectures": kinds})
            return
        typer.echo("Trained models, ready for `einthoven predict --model NAME`:\n")
        rows = [
            (
                name + (" *" if name == DEFAULT else ""),
                said.version,
                "shipped" if path.is_relative_to(SHIPPED) else "pulled",
                said.task,
                _few(said.names),
                said.summary,
            )
            for name, path, said in here
        ]
        _print(
            ("model", "version", "from", "task", "labels", "summary"), rows, "  none yet; `einthoven models pull STORE NAME`"
        )
        if any(name == DEFAULT for name, _, _ in here):
            typer.echo("\n* the default")
        typer.echo(
            "\nArchitectures, to be trained by `einthoven finetune --model NAME` (parameters at 12 leads and 5 outputs):\n"
        )
        _print(
            ("architecture", "parameters", "preset", "after"),
            [(m.name, f"{m.parameters:,}", m.preset, m.citation) for m in MODELS.values()],
            "  none",
        )


@models.command()
def show(bundle: BundleName, json: Json = False) -> None:
    """Show a model's card: what it says, how good it is and on whom, what it was trained on."""
    from einthoven.exchange import card, shelf

    with faults():
        said = shelf.load(bundle).manifest
    if json:
        print_json(said.model_dump(mode="json"))
        return
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(card.text(said)))
    else:
        typer.echo(card.text(said))


@models.command()
def verify(bundle: BundleName) -> None:
    """Check a model: every file against its SHA-256, and that its network runs as the manifest says."""
    import numpy as np

    from einthoven.exchange import shelf
    from einthoven.exchange.predict import Predictor

    with faults():
        opened = shelf.load(bundle)
        for name, entry in opened.manifest.files.items():
            typer.echo(f"ok  {entry.sha256}  {_size(entry.bytes):>9}  {name}")
        predictor = Predictor(opened)
        given: dict[str, Any] = {}
        for one in opened.manifest.inputs:
            if one.kind == "features":
                given[one.name] = np.zeros((2, len(one.names)), np.float32)
            else:
                shape: tuple[int, ...]
                if one.kind == "image":
                    shape = (2, 3, *one.as_form().size)
                else:
                    preset = one.as_preset()
                    shape = (2, len(preset.leads or ()) or 12, preset.length or 1000)
                given[one.name] = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        predictor.probabilities(predictor.run(given)[0])
        typer.echo(f"ok  {opened.manifest.name} {opened.manifest.version} runs; manifest {opened.digest}")


@models.command()
def pull(
    store: StoreAddress,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name in the store.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option("--to", help="A folder to put it into; else among your models.", show_default=False)
    ] = None,
) -> None:
    """Fetch a model from a store, verified; what was cut off before goes on where it was."""
    from einthoven.exchange import shelf
    from einthoven.exchange.stores import open_store

    with faults():
        bundle = open_store(store).fetch(name, to if to is not None else shelf.place(name))
    tell(f"{bundle.manifest.name} {bundle.manifest.version}, {_size(bundle.size)}, manifest {bundle.digest}")
    typer.echo(bundle.path)


@models.command()
def push(bundle: BundleName, store: StoreAddress) -> None:
    """Publish a model in a store: a folder, WebDAV (davs://) or the Hugging Face Hub (hf://owner/name).

    WebDAV's user and password come from EINTHOVEN_WEBDAV_USER and EINTHOVEN_WEBDAV_PASSWORD or from the keyring.
    """
    from einthoven.exchange import shelf
    from einthoven.exchange.stores import open_store

    with faults():
        item = open_store(store).publish(shelf.load(bundle))
    tell(f"published {item.name} {item.version}, {_size(item.bytes)}")
    print_json(item.model_dump(mode="json"))


@models.command()
def export(
    bundle: BundleName,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="x.onnx the network alone, x.zip or a folder the whole Bundle.", show_default=False
        ),
    ],
    trainable: Annotated[
        bool, typer.Option("--trainable", help="The network to train on (BatchNorm kept), if it has one.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a model as ONNX, with the manifest in its metadata (ExChanGeAI reads it, too); or the Bundle as ZIP or folder."""
    from einthoven.exchange import shelf
    from einthoven.exchange.onnx_out import alone

    with faults():
        opened = shelf.load(bundle)
        if output.suffix.lower() == ".onnx":
            alone(opened, output, trainable=trainable, overwrite=overwrite)
        else:
            opened.copy(output, overwrite=overwrite)
    typer.echo(output)


@models.command()
def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="ECG-FM's or ECGFounder's published .pt or .safetensors.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Weights as safetensors.", show_default=False)],
    objective: Annotated[
        bool, typer.Option("--objective", help="Keep what only pre-training needs, to go on with it.")
    ] = False,
    heads: Annotated[int | None, typer.Option("--heads", help="Attention heads, where the checkpoint does not say.")] = None,
    leads: Annotated[
        str | None, typer.Option("--leads", help="Keep only these of the twelve (II, or I,II,V2), for reduced-lead ECGs.")
    ] = None,
) -> None:
    """Convert a published checkpoint (ECG-FM, ECGFounder) to safetensors that `einthoven finetune --weights` takes."""
    with faults():
        try:
            import torch  # noqa: F401
        except ImportError:
            from einthoven.record import EcgError

            raise EcgError("convert needs torch: pip install 'einthoven[train]'", path=checkpoint) from None
        from einthoven.models.convert import convert as converted

        chosen = tuple(name.strip() for name in leads.split(",")) if leads else None
        tell(converted(is_a_file(checkpoint), output, objective=objective, heads=heads, leads=chosen).text())
    typer.echo(output)


def _few(names: tuple[str, ...], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _print(head: tuple[str, ...], rows: list[tuple[str, ...]], nothing: str) -> None:
    """Columns, the last one as long as it is."""
    if not rows:
        typer.echo(nothing)
        return
    table = [head, *rows]
    widths = [max(len(row[j]) for row in table) for j in range(len(head))]
    for row in table:
        typer.echo("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
