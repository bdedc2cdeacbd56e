"""einthoven pretrain: train an encoder on ECGs without labels, by the recipe's objective."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from einthoven.cli.door import app, is_a_file, print_json, stop, tell

# objective -> module that has PretrainRecipe (from_dict, to_dict) and pretrain(recipe, folder) -> file of weights
OBJECTIVES = {
    "cardx": "einthoven.train.pretrain_cardx",
    "ecg-fm": "einthoven.train.pretrain_ecgfm",
    "heartbeit": "einthoven.train.pretrain_heartbeit",
    "merl": "einthoven.train.pretrain_merl",
    "st-mem": "einthoven.train.pretrain_stmem",
}


@app.command()
def pretrain(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (YAML), say recipes/pretrain-cardx.yaml.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder for weights, figures and checkpoint.")] = Path(
        "pretrained"
    ),
    objective: Annotated[
        str | None,
        typer.Option(help="cardx, ecg-fm, heartbeit, merl or st-mem; else the recipe's line `objective`.", show_default=False),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="In place of the recipe's: synth, an Index, a public set, a folder.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any other line of a recipe.", show_default=False)
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Two steps on simulated ECGs: does this recipe start here?")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
) -> None:
    """Pre-train CardX, ECG-FM, HeartBEiT, MERL or ST-MEM on simulated or on your own ECGs, without labels.

    The same command goes on with a run that was cut off. The weights are for `einthoven finetune --weights`. On many GPUs:
    `accelerate launch -m einthoven pretrain ...`.
    """
    from einthoven.record import EcgError
    from einthoven.train.recipes import from_pairs, table

    try:
        words = table(is_a_file(recipe))
    except EcgError as fault:
        _stop(str(fault), 2)
    named = words.pop("objective", None)
    chosen = objective or named
    if chosen not in OBJECTIVES:
        what = "has no line `objective`" if chosen is None else f"wants the objective {chosen}"
        _stop(f"the recipe {what}: there are {', '.join(OBJECTIVES)} ({recipe})", 2)
    try:
        words |= from_pairs(set_ or [])
    except EcgError as fault:
        _stop(str(fault), 2)
    if data:
        words["data"] = data if len(data) > 1 else data[0]
    try:
        room: Any = import_module(OBJECTIVES[chosen])
    except ImportError as fault:
        _stop(f"pre-training needs more packages: pip install 'einthoven[train]' ({fault})", 1)
    if smoke:
        if not hasattr(room, "SMOKE"):
            _stop(f"--smoke is of {', '.join(n for n in OBJECTIVES if n == 'heartbeit')}, not of {chosen}", 2)
        words |= room.SMOKE
    try:
        made = room.PretrainRecipe.from_dict(words)
    except EcgError as fault:
        _stop(f"{fault} ({recipe})", 2)
    try:
        weights = room.pretrain(made, out)
    except EcgError as fault:
        stop(fault)
    if os.environ.get("RANK", "0") != "0":  # of the processes that a launcher started, one speaks
        return
    if as_json:
        print_json({"objective": chosen, "weights": str(weights), "folder": str(out), "recipe": made.to_dict()})
    else:
        typer.echo(str(weights))


def _stop(words: str, code: int) -> NoReturn:
    tell(f"error: {words}")
    raise typer.Exit(code)
