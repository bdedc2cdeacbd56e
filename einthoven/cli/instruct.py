"""Commands on instruction data: data instruct."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einthoven.cli.data import data
from einthoven.cli.door import AsJson, Jobs, faults, print_json, tell


@data.command("instruct")
def instruct(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Samples: .parquet or .jsonl; with --hub or --bench a new folder.", show_default=False
        ),
    ],
    source: Annotated[
        str | None,
        typer.Argument(metavar="[INDEX]", help="An index, or anything that can be indexed.", show_default=False),
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            help="Other samples beside those of INDEX: FILE=WEIGHT, of samples or of a public set (ECG-QA, ECGInstruct, "
            "ECGBench, ECG-Chat, ECG-Grounding); index=WEIGHT weighs those of INDEX. May be repeated.",
            show_default=False,
        ),
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option(help="Of closed, open, fill-in, choice, verify, query, compare, report, by commas.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
    per_record: Annotated[float, typer.Option("--per-record", help="About how many samples an ECG gets.")] = 10,
    translations: Annotated[
        str | None,
        typer.Option(help="CSV of English reports: columns record (or ecg_id), report_en.", show_default=False),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Make so many folds by patient, instead of the official ones.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="URL of an OpenAI-compatible server (.../v1): its model writes more samples.", show_default=False),
    ] = None,
    model_name: Annotated[str, typer.Option("--model-name", help="Which model of the server.")] = "default",
    hub: Annotated[bool, typer.Option("--hub", help="A folder for the Hub: data/*.parquet and a card.")] = False,
    bench: Annotated[bool, typer.Option("--bench", help="The same in ECG-Bench's columns and folds (needs --folds).")] = False,
    jobs: Jobs = 0,
    json: AsJson = False,
) -> None:
    """Make instruction data: conversations about the ECGs of an index, by templates, alone or mixed with public sets."""
    from einthoven.data.instruct.compose import compose
    from einthoven.data.instruct.sample import KINDS, write
    from einthoven.data.instruct.server import Server
    from einthoven.data.instruct.sets import counted, ecg_bench, publish
    from einthoven.data.load import load
    from einthoven.record import WrongUse

    with faults():
        wanted = tuple(k.strip() for k in kinds.split(",") if k.strip()) if kinds else KINDS
        if strange := sorted(set(wanted) - set(KINDS)):
            raise WrongUse(f"no kind {', '.join(strange)} (there are: {', '.join(KINDS)})")
        if source is None and not mix:
            raise WrongUse("samples of what? Name an index, or --mix FILE=WEIGHT")
        if per_record <= 0:
            raise WrongUse("--per-record is above 0")
        if bench and folds is None:
            raise WrongUse("--bench needs --folds 5")
        if not (hub or bench) and output.suffix.lower() not in (".parquet", ".jsonl"):
            raise WrongUse("a file of samples ends in .parquet or .jsonl", path=output)
        if output.exists() and (hub or bench):
            raise WrongUse("is there already: choose another place", path=output)
        server = Server(model, model_name) if model else None
        samples = compose(
            None if source is None else load(source, None, jobs=jobs),
            server=server,
            weights=dict(map(_weighed, mix or [])),
            kinds=wanted,
            per_record=per_record,
            seed=seed,
            translations=translations,
            folds=folds,
            jobs=jobs,
            tell=tell,
        )
        about = counted(samples)
        title = f"Instruction data made with Einthoven ({', '.join(about['source'])})"
        if bench:
            ecg_bench(samples, output, title)
        elif hub:
            publish(samples, output, title)
        else:
            write(output, samples)
        tell(f"{about['samples']:,} samples about {about['records']:,} ECGs of {about['patients']:,} patients")
        if json:
            print_json({"output": str(output), **about})
        else:
            typer.echo(output)


def _weighed(words: str) -> tuple[str, float]:
    from einthoven.record import WrongUse

    name, _, weight = words.rpartition("=")
    try:
        return name or words, float(weight) if name else 1.0
    except ValueError:
        raise WrongUse(f"--mix takes FILE=WEIGHT, not {words!r}") from None
