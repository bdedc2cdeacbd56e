"""The command that asks a language model about an ECG: chat."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from einthoven.cli.door import One, Rate, Unit, app, print_json, stop, tell


@app.command()
def chat(
    file: One,
    model: Annotated[str, typer.Option("--model", "-m", help="A Bundle of a language model.", show_default=False)],
    question: Annotated[
        list[str] | None,
        typer.Option("--question", "-q", help="Asked in turn; without any, lines are read.", show_default=False),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Where the weights lie that the Bundle was made for.", show_default=False)
    ] = None,
    grounded: Annotated[bool, typer.Option(help="Hold each sentence against measurements and findings.")] = True,
    fs: Rate = None,
    unit: Unit = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON to stdout, a line an answer.")] = False,
) -> None:
    """Ask a language model about an ECG. It can say what is not so: each sentence is held against what was measured."""
    from einthoven.record import EcgError

    try:
        from einthoven.exchange import shelf
        from einthoven.exchange.language import open_language
        from einthoven.interpretation import interpret
        from einthoven.models.language.answer import Answers, Talk
    except ImportError as fault:
        tell(f"error: this needs more packages: pip install 'einthoven[train,language]' ({fault})")
        raise typer.Exit(1) from fault
    try:
        report = interpret(file, fs=fs, unit=unit, model=None, image_model=None)
        if report.unread:
            raise EcgError(f"no ECG could be read from it: {report.unread}", path=file)
        speaker, _ = open_language(shelf.find(model), base=base)
        talk = Talk(Answers(speaker, model), [report.record])
        for asked in question or _lines():
            _say(asked, talk.ask(asked), report, grounded=grounded, as_json=as_json)
    except EcgError as fault:
        stop(fault)


def _lines() -> Iterator[str]:
    """Questions from the terminal, until it is closed or says nothing."""
    if sys.stdin.isatty():
        tell("Ask about the ECG; an empty line ends. Research use only, not a medical device.")
    for line in sys.stdin:
        if not line.strip():
            return
        yield line.strip()


def _say(question: str, answer: str, report: Any, *, grounded: bool, as_json: bool) -> None:
    from einthoven.grounding import ground

    held = ground(answer, report.measurements, report.findings, report.quality) if grounded and answer else None
    if as_json:
        print_json({"question": question, "answer": answer, "grounded": None if held is None else held.to_dict()})
    else:
        told = answer or "(the model said nothing)"
        typer.echo(told if held is None else held.to_text() or told)
