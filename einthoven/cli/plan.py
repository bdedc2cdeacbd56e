"""The command that says what training a language model needs: plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import app, asked, is_a_file, print_json, stop, tell


@app.command()
def plan(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (YAML) with the line `objective: language`.")],
    gpu: Annotated[str, typer.Option(help="A100, H100, H200 or B200.")] = "H200",
    gpus: Annotated[int, typer.Option(help="How many.")] = 1,
    samples: Annotated[int, typer.Option(help="Conversations of an epoch.")] = 1_000_000,
    tokens: Annotated[int, typer.Option(help="Tokens of text of a conversation.")] = 256,
    mfu: Annotated[float, typer.Option(help="Share of the GPU's peak that is reached: an assumption.")] = 0.4,
    json: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
) -> None:
    """What training a language model by this recipe needs: parameters, memory by part, arithmetic, hours. All but the
    parameters is computed, not measured. No weights are loaded."""
    from einthoven.record import EcgError

    try:
        from einthoven.train.instruct.plan import plan as planned
        from einthoven.train.instruct.recipe import InstructRecipe
    except ImportError as fault:
        tell(f"error: this needs more packages: pip install 'einthoven[train,language]' ({fault})")
        raise typer.Exit(1) from fault
    with asked():
        wanted = InstructRecipe.read(is_a_file(recipe))
    try:
        made = planned(wanted, gpu, gpus=gpus, samples=samples, text=tokens, mfu=mfu)
    except EcgError as fault:
        stop(fault)
    print_json(made.to_dict()) if json else typer.echo(made.words())
