"""Commands on instruction data: data instruct."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from einthoven.cli.data import data
from einthoven.cli.door import AsJson, Jobs, faults, print_json, tell

if TYPE_CHECKING:
    from einthoven.data.index import Index
    from einthoven.data.instruct.sample import Sample


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
    from einthoven.data.instruct import facts as known
    from einthoven.data.instruct.make import from_facts
    from einthoven.data.instruct.sample import KINDS, write
    from einthoven.data.instruct.server import Server
    from einthoven.data.instruct.sets import counted, ecg_bench, folded, publish, ties_of
    from einthoven.data.instruct.sets import mix as mixed
    from einthoven.data.instruct.written import by_model
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
        weights = {name: weight for name, weight in map(_weighed, mix or [])}
        parts: dict[str, list[Sample]] = {}
        index: Index | None = None
        if source is not None:
            index = load(source, None, jobs=jobs)
            english = known.translations(translations) if translations else {}
            gathered = list(known.facts(index, jobs=jobs, translations=english))
            parts["index"] = from_facts(gathered, kinds=wanted, per_record=per_record, seed=seed)
            tell(f"{len(parts['index']):,} samples of {len(index):,} ECGs by templates")
            if server is not None:
                written = by_model(server, gathered)
                tell(f"{len(written.samples):,} samples by {server.model}")
                for why, count in written.failed.most_common():
                    tell(f"failed: {why}: {count:,}")
                parts["index"] += written.samples
        elif server is not None:
            raise WrongUse("--model writes about the ECGs of an index: name one")
        for name in weights:
            if name != "index":
                parts[name] = _read(name, index, wanted)
        if weights:
            weights.setdefault("index", 1.0) if "index" in parts else None
            samples = mixed(parts, weights, seed=seed)
        else:
            samples = parts["index"]
        if folds is not None:
            given = len(samples)
            samples = folded(samples, folds, seed, ties={} if index is None else ties_of(index))
            if given > len(samples):
                tell(f"left out: comparisons of two patients whose folds differ: {given - len(samples):,}")
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


def _read(name: str, index: Index | None, kinds: Collection[str]) -> list[Sample]:
    """Samples of our own, or of a public set in its own files."""
    from einthoven.data.instruct.readers import is_ours, read_set
    from einthoven.data.instruct.sample import read

    place = Path(name)
    if is_ours(place):
        return [s for s in read(place) if s.kind in kinds]
    loaded = read_set(place, index=index)
    for why, count in sorted(loaded.skipped.items()):
        tell(f"left out of {name}: {why}: {count:,}")
    return [s for s in loaded.samples if s.kind in kinds]
