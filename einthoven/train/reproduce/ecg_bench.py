"""ECG-Bench (Han et al., and its encoder-free successors): representations x models x datasets, each beside its controls.

The published tables of accuracy stand in pictures or behind abstracts; what is printed in text is beside ours. The question
that the authors leave open, whether such models use the ECG at all, is answered in every row: signal gain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from einthoven.record import WrongUse
from einthoven.train.instruct.recipe import InstructRecipe
from einthoven.train.reproduce.language import Ground, figures, gain, ground, interval, spread, trained
from einthoven.train.reproduce.sheet import Kept, Sheet, paragraphs

Log = Callable[[str], None]
TITLE = "ECG-Bench: representations, models and datasets, with controls"

_PATCH = {"patches": 10, "width": 32, "depth": 2, "heads": 2}
_VIT = {"patch": 16, "width": 32, "depth": 2, "heads": 2}


@dataclass(frozen=True)
class Arm:
    """`representation` as ECG-Bench has it, `elm` how it reaches the language model, `views` of the recipe; `small` what
    changes in them at sizes smoke and tiny. `printed`: accuracy by dataset that a paper prints."""

    representation: str
    elm: str
    views: tuple[Mapping[str, Any], ...]
    small: tuple[Mapping[str, Any], ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    printed: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.representation}, {self.elm}"


ARMS = (
    Arm("signal", "encoder-free, linear", ({"represent": "signal", "encoder": "linear"},)),
    Arm(
        "signal",
        "encoder-free, one row",
        ({"represent": "signal", "encoder": "linear", "options": {"places": 1}, "tokens": 1},),
    ),
    Arm("signal", "encoder-free, patches", ({"represent": "signal", "encoder": "patches"},)),
    Arm("signal", "encoder-free, convolution", ({"represent": "signal", "encoder": "convolution"},)),
    Arm(
        "signal",
        "encoder, linear",
        ({"represent": "signal", "encoder": "patch", "connector": "linear"},),
        ({"represent": "signal", "encoder": "patch", "options": _PATCH, "connector": "linear"},),
    ),
    Arm(
        "signal",
        "encoder, resampler",
        ({"represent": "signal", "encoder": "patch", "connector": "resampler"},),
        ({"represent": "signal", "encoder": "patch", "options": _PATCH, "connector": "resampler"},),
    ),
    Arm(
        "stacked signal",
        "encoder, MLP",
        ({"represent": "stacked", "encoder": "vit-tiny"},),
        ({"represent": "stacked", "size": 64, "encoder": "vit-tiny", "options": _VIT},),
    ),
    Arm(
        "image",
        "encoder, MLP",
        ({"represent": "image", "form": "page-448", "encoder": "vit-tiny"},),
        ({"represent": "image", "form": "page-64", "encoder": "vit-tiny", "options": _VIT},),
    ),
    Arm(
        "symbols, as published",
        "rows as drawn",
        ({"represent": "symbols", "tokenizer": "ecg-byte-record", "merges": 3500, "seconds": 2},),
        ({"represent": "symbols", "tokenizer": "ecg-byte-record", "merges": 200, "seconds": 1},),
        {"rows": False},
        {"ecg-qa": 0.3703},
    ),
    Arm(
        "symbols, ours",
        "rows learned",
        ({"represent": "symbols", "tokenizer": "einthoven", "merges": 3500, "seconds": 2},),
        ({"represent": "symbols", "tokenizer": "einthoven", "merges": 200, "seconds": 1},),
    ),
    Arm(
        "measured features",
        "network",
        ({"represent": "features", "encoder": "figures"},),
        ({"represent": "features", "encoder": "figures", "options": {"width": 64}},),
    ),
    Arm("measurements as text", "none", ({"represent": "text", "leads": True},)),
)

NOTES = paragraphs("""
    Accuracy is equality of sets, over closed questions; an answer that cannot be read is wrong. ECG-Bench compares strings,
    drops pairs whose gold or output is empty, and chooses the epoch by the training loss. Its five "folds" are random
    re-splits, and its PTB-XL "patients" are records: a patient can be on both sides. Here folds are PTB-XL's, by patient, and
    the epoch is chosen on a fold of its own.

    Signal gain is the score less the best of the controls (zeros, noise, another patient's ECG, text only, the most frequent
    answer to the same question). ECG-Bench's own question, whether a model uses the signal, has this answer in each row. Where
    the interval holds 0, the ECG has earned nothing, whatever the score.

    37.03 % is ECG-Byte with Llama-3.2-1B on ECG-QA (PTB-XL), without retrieval (arXiv 2510.00261); its split is not ours. The
    tables of arXiv 2505.18847 and 2601.18798 were not available in text: their cells are empty here, not guessed.

    ECG-Byte's 10 s are some 4,000 tokens; as published its ECG is cut to what is left of 1,024, which loses most leads. Here
    nothing is
    cut: the symbols are of the first seconds of all leads, and what does not fit is an error.

    At sizes smoke and tiny the language model is small and random: figures compare representations with one another and their
    controls, not with the papers.
""")


@dataclass(frozen=True)
class Size:
    name: str
    words: str
    family: str
    model: str | None
    options: Mapping[str, Any]
    ecgs: int | None
    per_record: float
    epochs: int
    batch: int
    judged: int
    new_tokens: int
    small: bool


_SMALL = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
SIZES: Mapping[str, Size] = MappingProxyType(
    {
        s.name: s
        for s in (
            Size(
                "smoke",
                "a tiny random model, 60 ECGs: shows that all of it runs",
                "llama",
                None,
                {**_SMALL, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
                60,
                3,
                1,
                8,
                12,
                8,
                True,
            ),
            Size("tiny", "three layers of width 128 from fresh weights", "llama", None, _SMALL, None, 8, 6, 16, 400, 24, True),
            Size(
                "full",
                "Llama-3.2-1B-Instruct by LoRA 16: wants a GPU and the weights",
                "llama",
                "meta-llama/Llama-3.2-1B-Instruct",
                {},
                None,
                10,
                1,
                16,
                2000,
                128,
                False,
            ),
        )
    }
)


@dataclass(frozen=True)
class Settings:
    """`data`: PTB-XL, or an Index with folds; None: simulated. `questions`: the folder of ECG-QA about it, a second dataset."""

    data: str | None = None
    questions: str | None = None
    size: str = "tiny"
    model: str | None = None
    arms: tuple[str, ...] = tuple(arm.name for arm in ARMS)
    epochs: int | None = None
    device: str = "auto"
    seed: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise WrongUse(f"no size {self.size} (there are: {', '.join(SIZES)})")
        if wrong := [a for a in self.arms if a not in {arm.name for arm in ARMS}]:
            raise WrongUse(f"no arm {', '.join(wrong)} (there are: {'; '.join(arm.name for arm in ARMS)})")

    @property
    def datasets(self) -> tuple[str, ...]:
        return ("made", "ecg-qa") if self.questions else ("made",)


def recipe_of(settings: Settings, arm: Arm) -> InstructRecipe:
    size = SIZES[settings.size]
    own = settings.model or size.model
    words: dict[str, Any] = {
        "family": size.family,
        "model": own,
        "options": dict(size.options),
        "views": [dict(v) for v in (size.small and arm.small) or arm.views],
        "init": "weights",
        "method": "lora" if own else "full",
        "rank": 16,
        "alpha": 32.0,
        "dropout": 0.05,
        "learning_rate": 1e-4 if own else 1e-3,
        "epochs": settings.epochs or size.epochs,
        "batch": size.batch,
        "limit": 4096,
        "kinds": ["closed", "choice", "verify", "query"],
        "device": settings.device,
        "seed": settings.seed,
        "jobs": settings.jobs,
        "precision": "bf16",
        "checkpointing": bool(own),
    }
    return InstructRecipe.from_dict({**words, **arm.changes})


def reproduce(settings: Settings, out: Path, *, fresh: bool = False, log: Log = lambda words: None) -> Sheet:
    """Runs what is not yet there, and writes the table to `out`. Raises EcgError."""
    size = SIZES[settings.size]
    kept = Kept(out, asdict(settings) | {"arms": None}, fresh=fresh)
    place = ground(
        settings.data,
        out / "work",
        ecgs=size.ecgs,
        per_record=size.per_record,
        seed=settings.seed,
        jobs=settings.jobs,
        questions=settings.questions,
        log=log,
    )
    results: dict[tuple[str, str], Mapping[str, Any]] = {}
    for dataset in settings.datasets:
        for arm in ARMS:
            if arm.name in settings.arms:
                log(f"{dataset}: {arm.name}")
                results[dataset, arm.name] = kept.get(
                    f"{dataset}: {arm.name}",
                    lambda arm=arm, dataset=dataset: _trial(settings, arm, dataset, place, out, log),  # type: ignore[misc]
                )
    sheet = _sheet(settings, place, results)
    sheet.write(out, "ecg-bench")
    return sheet


def _trial(settings: Settings, arm: Arm, dataset: str, place: Ground, out: Path, log: Log) -> dict[str, Any]:
    size = SIZES[settings.size]
    recipe = recipe_of(settings, arm)
    name = "".join(c if c.isalnum() else "-" for c in f"{dataset} {arm.name}".lower())
    bundle = trained(recipe, place, [dataset], out / "work" / name, log)
    every = [s for s in place.samples(dataset, place.test) if recipe.kinds is None or s.kind in recipe.kinds]
    chosen = spread(every, size.judged, settings.seed)
    train = place.samples(dataset, place.train)
    found = figures(bundle, place, chosen, train, most=size.new_tokens, ranked=0, seed=settings.seed)
    return {"figures": {k: v for k, v in found.items() if k.startswith("all closed questions")}}


def _sheet(settings: Settings, place: Ground, results: Mapping[tuple[str, str], Mapping[str, Any]]) -> Sheet:
    rows: list[dict[str, Any]] = []
    controls = ("zeros", "noise", "another patient", "text only", "majority")
    for (dataset, name), result in results.items():
        arm = next(a for a in ARMS if a.name == name)
        found = result["figures"]
        own = found.get("all closed questions: accuracy") or {}
        unread = found.get("all closed questions: unread") or {}
        rows.append(
            {
                "dataset": dataset,
                "representation": arm.representation,
                "model": arm.elm,
                "published": arm.printed.get(dataset),
                "accuracy": interval(found, "all closed questions: accuracy"),
                **{c: own.get("controls", {}).get(c) for c in controls},
                "signal gain": gain(found, "all closed questions: accuracy"),
                "unread": unread.get("value"),
                "n": own.get("n"),
            }
        )
    columns = ("dataset", "representation", "model", "published", "accuracy", *controls, "signal gain", "unread", "n")
    size = SIZES[settings.size]
    about = {
        "data": settings.data or "simulated ECGs (no data set was given)",
        "questions": settings.questions or "made by templates",
        "size": f"{size.name}: {size.words}",
        "folds": f"{place.train[0]}-{place.train[-1]} train, {place.validation[0]} chooses the epoch, {place.test[0]} tests",
        "seed": settings.seed,
    }
    return Sheet(TITLE, columns, tuple(rows), about, NOTES, settings=asdict(settings))
