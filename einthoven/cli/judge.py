"""Command judge: reports of a language model judged by another one, or by our own scorer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.door import AsJson, app, asked, faults, print_json, tell


@app.command("judge")
def judge(
    answers: Annotated[
        str,
        typer.Argument(metavar="ANSWERS", help="JSON lines: answers.jsonl of an examination, or {id, right, said} a line."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new folder, or one to go on with.", show_default=False)],
    url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server, .../v1. Its key: EINTHOVEN_API_KEY.", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Which model of the server.")] = "default",
    criteria: Annotated[
        str, typer.Option(help="pulse (three, 0-10), llama (four, 0-100), gem (eight axes of grounding).")
    ] = "pulse",
    offline: Annotated[bool, typer.Option("--offline", help="Our own scorer, without a server.")] = False,
    condition: Annotated[
        str, typer.Option(help="Of an examination: whose answers (model, zeros, noise, 'text only', ...).")
    ] = "model",
    kinds: Annotated[str, typer.Option(help="Of an examination: which kinds of samples, by commas.")] = "report",
    timeout: Annotated[float, typer.Option(help="Seconds a try.")] = 120.0,
    json: AsJson = False,
) -> None:
    """Judge reports by a model's word or by our own scorer; what failed is counted, and a stopped run goes on."""
    from einthoven.data.instruct.server import Server
    from einthoven.evaluate.judged import CRITERIA, pairs_of
    from einthoven.evaluate.judged import judge as judged
    from einthoven.record import WrongUse

    with asked():
        if criteria not in CRITERIA:
            raise WrongUse(f"no criteria {criteria!r} (there are: {', '.join(CRITERIA)})")
        if offline == (url is not None):
            raise WrongUse("who judges? --url of a server, or --offline")
        server = None if url is None else Server(url, model, timeout=timeout)
    with faults():
        pairs = pairs_of(answers, condition, [k.strip() for k in kinds.split(",")])
        output.mkdir(parents=True, exist_ok=True)
        name = "offline" if offline else criteria
        outcome = judged(pairs, server, name, output / f"{name}.jsonl")
        told = outcome.to_dict()
        (output / f"{name}.json").write_text(_dumps(told), encoding="utf-8")
        for why, count in outcome.failed.items():
            tell(f"failed: {why}: {count:,}")
        tell(f"{outcome.judged:,} of {len(pairs):,} reports judged by {outcome.judge}")
        if json:
            print_json(told)
        else:
            for figure, (mean, low, high, n) in outcome.figures.items():
                typer.echo(f"{figure:<32}{mean:8.2f}  ({low:.2f} to {high:.2f}, n = {n})")
    raise typer.Exit(1 if outcome.failed else 0)


def _dumps(value: object) -> str:
    import json

    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
