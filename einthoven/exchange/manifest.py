"""`Manifest`: everything that somebody who was not there needs to know to use a model, and to judge it.

It is `manifest.json` of a Bundle. A key that is not in it is refused, so that a misspelt threshold is an error and not a
default. Its JSON Schema is published beside this file (bundle.schema.json, written by `python -m einthoven.exchange.manifest`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from einthoven.record import EcgError
from einthoven.signal.presets import Preset

if TYPE_CHECKING:
    from einthoven.represent.images import ImageForm

SCHEMA_VERSION: Literal[1] = 1
SCHEMA_FILE = Path(__file__).with_name("bundle.schema.json")
RESEARCH_ONLY: Literal["research use only, not a medical device"] = "research use only, not a medical device"

# Names that travel into paths, URLs and ONNX: nothing that any of them could take for something else.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_SHA256 = r"^[0-9a-f]{64}$"

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Task = Literal["multilabel", "single", "regression", "language"]
Activation = Literal["sigmoid", "softmax", "identity"]


class Part(BaseModel):
    """Base of all: frozen, and strange keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Label(Part):
    """One output. `text` for the reader; the codes where there are any; `unit` of a regression's value."""

    name: str = Field(min_length=1, max_length=200)
    text: str = ""
    scp: str | None = None
    snomed: str | None = None
    icd10: str | None = None
    unit: str = ""


class Windows(Part):
    """What is done with a recording longer than the input: windows one input long, every `stride_s` seconds (null: one after
    the other), and their outputs combined. "mean" and "max" are over the probabilities (the values, in a regression); "first"
    takes the first window alone, for a model that was trained on beginnings."""

    over: Literal["mean", "max", "first"] = "mean"
    stride_s: float | None = Field(default=None, gt=0)


class SignalInput(Part):
    """An ONNX input (B, L, T): `preset` is einthoven.signal.presets.Preset.to_dict().

    `missing_leads`: a recording without a lead that the preset names is refused, or ("zero", for a model trained with
    leads left out) gets zeros there, and a warning. `shortest_s`: what is shorter is refused; null: half a window.
    """

    name: str = "signal"
    kind: Literal["signal"] = "signal"
    preset: dict[str, Any]
    windows: Windows = Windows()
    missing_leads: Literal["refuse", "zero"] = "refuse"
    shortest_s: float | None = Field(default=None, ge=0)

    @field_validator("preset")
    @classmethod
    def _is_preset(cls, words: dict[str, Any]) -> dict[str, Any]:
        try:
            Preset.from_dict(words)
        except EcgError as fault:
            raise ValueError(fault.what) from fault
        return words

    def as_preset(self) -> Preset:
        return Preset.from_dict(self.preset)


class ImageInput(Part):
    """An ONNX input (B, 3, H, W): `form` is einthoven.represent.images.ImageForm.to_dict(), how a recording is drawn; a window
    is as long as a form shows.

    `pictures`: what is done with a photo or a scan. "look": the model sees it as it is, whole, averaged down and padded
    (`from_picture`); "digitise": its traces are read off and drawn, for a form that does not look like paper. `missing_leads`:
    a recording without a lead that the form has a place for is refused, or ("blank", for a model trained with such) has
    empty paper there, and a warning. `shortest_s`: what is shorter is refused; null: half of what the form shows.
    """

    name: str = "image"
    kind: Literal["image"] = "image"
    form: dict[str, Any]
    windows: Windows = Windows()
    pictures: Literal["look", "digitise"] = "look"
    missing_leads: Literal["refuse", "blank"] = "refuse"
    shortest_s: float | None = Field(default=None, ge=0)

    @field_validator("form")
    @classmethod
    def _is_form(cls, words: dict[str, Any]) -> dict[str, Any]:
        from einthoven.represent.images import ImageForm  # numba comes with it

        try:
            ImageForm.from_dict(words)
        except EcgError as fault:
            raise ValueError(f"{fault.where}: {fault.what}" if fault.where else fault.what) from fault
        return words

    def as_form(self) -> ImageForm:
        from einthoven.represent.images import ImageForm

        return ImageForm.from_dict(self.form)


class FeaturesInput(Part):
    """An ONNX input (B, F) of measured features, in the order of `names`; `version` is that of einthoven.represent.features."""

    name: str = "features"
    kind: Literal["features"] = "features"
    names: tuple[str, ...] = Field(min_length=1)
    version: str


class Language(Part):
    """A model that answers in words. `family` a model type of transformers; `base` whose weights it needs beside its own ("":
    none); `design` einthoven.models.language.Design as a dict, its `views` what it sees of an ECG; `limit` tokens at most;
    `generation` how its answers are made, as they were scored."""

    family: str = Field(min_length=1)
    base: str = ""
    design: dict[str, Any]
    limit: Annotated[int, Field(ge=16)]
    generation: dict[str, Any] = {}
    languages: tuple[str, ...] = ("en",)


Input = Annotated[SignalInput | ImageInput | FeaturesInput, Field(discriminator="kind")]


class Thresholds(Part):
    """From which probability on a label counts as present; `chosen_on` which records, `rule` how."""

    values: dict[str, Share]
    chosen_on: str = Field(min_length=1)
    rule: str = ""


class Calibrated(Part):
    """`words` is einthoven.evaluate.calibration.Calibration.to_dict(); `fitted_on` which records."""

    words: dict[str, Any]
    fitted_on: str = ""


class TrainingData(Part):
    """One set that the weights have seen, in training or in choosing among trained models (`role`)."""

    name: str
    role: Literal["training", "validation", "pre-training"] = "training"
    records: Count
    patients: Count | None = None
    folds: tuple[int, ...] = ()
    licence: str = ""
    citation: str = ""


class Training(Part):
    data: tuple[TrainingData, ...] = ()
    recipe: dict[str, Any] = {}
    command: str = ""
    seed: int | None = None
    software: dict[str, str] = {}


class Figure(Part):
    """One metric with its 95 % interval. `label` null: over all labels. `positives`: how many records carry the label."""

    name: str
    value: Finite
    low: Finite | None = None
    high: Finite | None = None
    label: str | None = None
    positives: Count | None = None


class Scores(Part):
    """Figures from one test: on which records (`data`, `folds`), how many, and what to beware of (`notes`)."""

    data: str
    role: Literal["test", "validation", "external test"] = "test"
    folds: tuple[int, ...] = ()
    records: Count
    patients: Count | None = None
    figures: tuple[Figure, ...] = Field(min_length=1)
    notes: str = ""
    command: str = ""


class Architecture(Part):
    """`model` a name in einthoven.models.table.MODELS (or "onnx" for a foreign graph), `config` its constructor's arguments,
    `tuning` how it was fine-tuned (einthoven.tune.Tuning as a dict), `base` what it was fine-tuned from."""

    model: str
    config: dict[str, Any] = {}
    tuning: dict[str, Any] | None = None
    parameters: Count | None = None
    base: str = ""


class Entry(Part):
    """A file of the Bundle: its SHA-256 and its size."""

    sha256: str = Field(pattern=_SHA256)
    bytes: Count


class Manifest(Part):
    """See the head of this file. `files` names every file of the Bundle but the manifest itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Einthoven Bundle manifest")

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    version: str = "1"
    summary: str = ""
    created: str = ""
    task: Task
    labels: tuple[Label, ...] = ()
    activation: Activation
    inputs: tuple[Input, ...] = ()
    language: Language | None = None
    thresholds: Thresholds | None = None
    calibration: Calibrated | None = None
    training: Training = Training()
    metrics: tuple[Scores, ...] = ()
    architecture: Architecture
    licence: str
    citation: str = ""
    use: Literal["research use only, not a medical device"] = RESEARCH_ONLY
    files: dict[str, Entry] = {}

    @field_validator("name", "version")
    @classmethod
    def _is_name(cls, name: str) -> str:
        return plain_name(name)

    @model_validator(mode="after")
    def _agrees(self) -> Manifest:
        names = [label.name for label in self.labels]
        inputs = [one.name for one in self.inputs]
        fits = {
            "multilabel": ("sigmoid",),
            "single": ("softmax", "sigmoid"),
            "regression": ("identity",),
            "language": ("identity",),
        }[self.task]
        if (self.task == "language") != (self.language is not None):
            raise ValueError("a model of task language, and no other, says of which language model it is (language)")
        if self.language is None and not (self.labels and self.inputs):
            raise ValueError("labels and inputs: at least one each")
        if self.language is not None and (self.labels or self.inputs or self.thresholds or self.calibration):
            raise ValueError("a language model has no labels, inputs, thresholds or calibration: its design says what it sees")
        if len(set(names)) != len(names):
            raise ValueError("label names repeat")
        if len(set(inputs)) != len(inputs):
            raise ValueError("input names repeat")
        if sum(one.kind == "signal" for one in self.inputs) > 1 or sum(one.kind == "features" for one in self.inputs) > 1:
            raise ValueError("at most one signal and one features input")
        if len(self.inputs) > 1 and any(one.kind == "image" for one in self.inputs):
            raise ValueError("an image is the only input")
        if self.activation not in fits:
            raise ValueError(f"task {self.task} goes with activation {' or '.join(fits)}, not {self.activation}")
        if self.thresholds and (strange := set(self.thresholds.values) - set(names)):
            raise ValueError(f"thresholds for labels that there are not: {', '.join(sorted(strange))}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names, in the order of the outputs."""
        return tuple(label.name for label in self.labels)

    @property
    def signal(self) -> SignalInput | None:
        return next((one for one in self.inputs if isinstance(one, SignalInput)), None)

    @property
    def image(self) -> ImageInput | None:
        return next((one for one in self.inputs if isinstance(one, ImageInput)), None)

    @property
    def features(self) -> FeaturesInput | None:
        return next((one for one in self.inputs if isinstance(one, FeaturesInput)), None)

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes, path: str | Path | None = None) -> Manifest:
        """Raises EcgError that names the first part that is wrong and why."""
        try:
            return Manifest.model_validate_json(text)
        except ValidationError as fault:
            first = fault.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or None
            more = f" (and {fault.error_count() - 1} more)" if fault.error_count() > 1 else ""
            raise EcgError(f"not a manifest: {first['msg']}{more}", path=path, where=where) from None


def manifest(**parts: Any) -> Manifest:
    """`Manifest(**parts)`, whose faults are EcgErrors that name the part."""
    return Manifest.from_json(json.dumps(parts, default=_plain))


def plain_name(name: str) -> str:
    """`name`, where it can be a file's and a URL's; ValueError otherwise."""
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise ValueError(f"{name[:80]!r} is no plain name (letters, digits, '.', '_', '-'; at most 80)")
    return name


def labels(names: Iterable[str]) -> tuple[Label, ...]:
    """Labels with the words and codes that einthoven.statements knows for them: by their SCP acronym, name or superclass."""
    from einthoven.statements import STATEMENTS, SUPERCLASSES

    by_scp = {s.scp: s for s in STATEMENTS.values() if s.scp}
    made = []
    for name in names:
        known = by_scp.get(name) or STATEMENTS.get(name)
        if name in SUPERCLASSES:
            made.append(Label(name=name, text=SUPERCLASSES[name]))
        elif known:
            made.append(Label(name=name, text=known.text, scp=known.scp, snomed=known.snomed))
        else:
            made.append(Label(name=name))
    return tuple(made)


def scores(evaluation: Mapping[str, Any], *, data: str, role: str = "test", folds: Iterable[int] = (), **more: str) -> Scores:
    """What einthoven.evaluate's Evaluation.to_dict() says, for a manifest: figures that have a value, each with its interval.

    `data` the records it was measured on, `more`: notes, command. The evaluation's warnings join the notes.
    """
    positives: Mapping[str, int] = evaluation["positives"]
    figures = [_figure(name, found, None, None) for name, found in evaluation["overall"].items()]
    for label, row in evaluation["labels"].items():
        figures += [_figure(name, found, label, positives.get(label)) for name, found in row.items()]
    notes = "; ".join(filter(None, [more.pop("notes", ""), *evaluation.get("warnings", ())]))
    words = {
        "data": data,
        "role": role,
        "folds": list(folds),
        "records": evaluation["records"],
        "patients": evaluation["patients"],
        "figures": [figure for figure in figures if figure is not None],
        "notes": notes,
        **more,
    }
    return Scores.model_validate_json(json.dumps(words, default=_plain))


def _figure(name: str, found: Mapping[str, Any], label: str | None, positives: int | None) -> Figure | None:
    value, low, high = (finite(found[key]) for key in ("value", "low", "high"))
    return None if value is None else Figure(name=name, value=value, low=low, high=high, label=label, positives=positives)


def schema() -> str:
    """The JSON Schema of a manifest, as published in bundle.schema.json."""
    words = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}
    return json.dumps(words, indent=1, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """What json cannot write by itself: models, mappings, numpy's numbers."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not fit into a manifest")


def finite(value: float | None) -> float | None:
    """JSON has no NaN: what could not be computed is null."""
    return None if value is None or not math.isfinite(value) else float(value)


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema(), encoding="utf-8")
