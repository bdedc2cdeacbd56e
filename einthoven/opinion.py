"""Models' opinions of an ECG, held against what the rules found and against each other: where they agree, where they do not.

Rules, a model of the signal and a model of the picture look at the same ECG by different ways. Where they say the same, a
reader may be surer; where they disagree, the reader should look at the trace. None overrules another here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from einthoven.findings import Finding
from einthoven.record import EcgError, Record
from einthoven.statements import BY_SCP, STATEMENTS, SUPERCLASSES

if TYPE_CHECKING:
    from einthoven.exchange.manifest import Manifest
    from einthoven.exchange.predict import Prediction, Predictor
    from einthoven.explain.photo import Looked

# What a finding's confidence has to be for a model that says nothing of it to be a disagreement.
FIRM = ("definite", "probable")


@dataclass(frozen=True)
class Likelihood:
    """One label of the model. `probability` calibrated where `Opinion.calibrated`; `threshold` from which on the model means it
    (NaN where its manifest has none); `rules` what the findings say of the same: "present", "possible", "absent", or "" where
    no rule knows of it."""

    name: str
    text: str
    probability: float
    threshold: float = float("nan")
    rules: str = ""
    scp: str | None = None
    snomed: str | None = None

    @property
    def present(self) -> bool:
        return self.probability >= self.threshold

    @property
    def disputed(self) -> bool:
        """Whether model and rules contradict each other: "possible" contradicts nobody."""
        return self.threshold == self.threshold and (
            (self.present and self.rules == "absent") or (not self.present and self.rules == "present")
        )


@dataclass(frozen=True)
class Opinion:
    """What one model says of one ECG. `labels` the likeliest first, none where it could not be applied (`warnings` say why);
    `scores` how good it is, as its manifest has it; `unit` of the values where it is a regression ("");
    `sees` what it looked at: "signal", "picture" (a photo, a scan) or "drawing" (of the signal, by a model of images); `looked`
    which parts of a picture its likeliest label rests on, where that was asked for."""

    model: str
    labels: tuple[Likelihood, ...] = ()
    calibrated: bool = False
    scores: str = ""
    warnings: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    sees: str = "signal"
    looked: Looked | None = None

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Sentences, one for each label of which model and rules say the opposite."""
        return tuple(_dispute(one) for one in self.labels if one.disputed)


def _dispute(one: Likelihood) -> str:
    limit = f"{one.probability:.0%}, threshold {one.threshold:.0%}"
    if one.present:
        return f"{one.text}: the model reaches its threshold ({limit}), the rules do not find it"
    return f"{one.text}: the rules find it, the model does not reach its threshold ({limit})"


@dataclass(frozen=True)
class Row:
    """One statement, and what each voice says of it. `rules`: "present", "possible", "absent" or "" (no rule, or not judged);
    `models`: of each opinion its label, None where that model has none for it."""

    name: str
    text: str
    rules: str
    models: tuple[Likelihood | None, ...]

    @property
    def said(self) -> tuple[bool, ...]:
        """Yes and no of the voices that have decided: "possible" and a model without a threshold have not."""
        rules = {"present": (True,), "absent": (False,)}.get(self.rules, ())
        return (*rules, *(one.present for one in self.models if one is not None and one.threshold == one.threshold))

    @property
    def verdict(self) -> str:
        """ "agree", "disagree", or "" where fewer than two voices have decided."""
        said = self.said
        return "" if len(said) < 2 else "agree" if len(set(said)) == 1 else "disagree"


def together(opinions: Sequence[Opinion]) -> tuple[Row, ...]:
    """What rules and models say, statement by statement: the superclasses in PTB-XL's order, then the likeliest first.

    Values of a regression are no statements and are left out.
    """
    labels = [{one.name: one for one in each.labels if one.name not in each.units} for each in opinions]
    rows = []
    for name in dict.fromkeys(name for each in labels for name in each):
        models = tuple(each.get(name) for each in labels)
        first = next(one for one in models if one is not None)
        rows.append(Row(name, first.text, first.rules, models))
    order = list(SUPERCLASSES)
    return tuple(
        sorted(
            rows,
            key=lambda row: (
                order.index(row.name) if row.name in order else len(order),
                -max(one.probability for one in row.models if one is not None),
            ),
        )
    )


@dataclass(frozen=True)
class Seen:
    """What a model of images says of a picture, which needs no ECG: it can be asked while the traces are read off. `fault`: why
    it cannot be applied."""

    prediction: Prediction | None
    looked: Looked | None = None
    fault: str = ""


def look_at(picture: NDArray[np.uint8], model: str | Path, looks: bool = False) -> Seen | None:
    """The picture (H, W, 3) uint8 RGB as the model `model` of images sees it; None where it looks at what is read off pictures.
    looks: `Seen.looked`, too. Raises EcgError: there is no such model, or its Bundle is damaged."""
    predictor = loaded(model)
    if predictor.manifest.image is None or predictor.manifest.image.pictures != "look":
        return None
    try:
        prediction = predictor.predict_picture(picture)
    except EcgError as fault:
        return Seen(None, fault=fault.what)
    return Seen(prediction, _looked(predictor, picture, prediction) if looks else None)


def opinion(
    record: Record | None,
    findings: Sequence[Finding],
    model: str | Path | None = None,
    *,
    measured: NDArray[np.float32] | None = None,
    picture: NDArray[np.uint8] | None = None,
    looks: bool = False,
    seen: Seen | None = None,
) -> Opinion:
    """The opinion of `model` (a name, a Bundle's path; None: the default one) on an ECG with these findings.

    `measured`: `represent.features.features(record)`, where it is known already. `picture`: the photo or scan that the record
    was read from, (H, W, 3) uint8 RGB: a model of images looks at it, and at a drawing of the record where there is none.
    `record` None: only the picture is there. looks: `Opinion.looked`, too (a second or two). seen: `look_at` of
    that picture, where it is known already.

    A model that cannot be applied to this ECG (a lead is missing, it is too short) has no labels, and a warning.

    Raises:
        EcgError: there is no such model, or its Bundle is damaged.
    """
    predictor = loaded(model)
    manifest = predictor.manifest
    name = f"{manifest.name} {manifest.version}"
    sees = "signal" if manifest.image is None else "drawing"
    try:
        if picture is not None and manifest.image is not None and (manifest.image.pictures == "look" or record is None):
            sees = "picture"
            if seen is not None and seen.prediction is None:
                raise EcgError(seen.fault)
            prediction = predictor.predict_picture(picture) if seen is None or seen.prediction is None else seen.prediction
        elif record is None:
            raise EcgError("there is no signal")
        else:
            prediction = predictor.predict(record, measured=measured)
    except EcgError as fault:
        told = f"the model {name} cannot be applied: {fault.what}"
        return Opinion(name, warnings=(told,), scores=scores_of(manifest), sees=sees)
    limits = dict(manifest.thresholds.values) if manifest.thresholds else {}
    made = [
        Likelihood(
            label.name,
            label.text[:1].upper() + label.text[1:] or label.name,
            float(prediction.labels[label.name]),
            float(limits.get(label.name, float("nan"))),
            _said(label.name, label.scp, findings) if manifest.task != "regression" else "",
            label.scp,
            label.snomed,
        )
        for label in manifest.labels
    ]
    looked = None
    if looks and picture is not None and sees == "picture":
        looked = _looked(predictor, picture, prediction) if seen is None else seen.looked
    own = tuple(w for w in prediction.warnings if record is None or w not in record.warnings)
    return Opinion(
        name,
        tuple(sorted(made, key=lambda one: -one.probability)),
        manifest.calibration is not None,
        scores_of(manifest),
        own,
        {label.name: label.unit for label in manifest.labels if label.unit},
        sees,
        looked,
    )


def held_against(said: Opinion, findings: Sequence[Finding]) -> Opinion:
    """The same opinion, beside other findings than those it was formed with."""
    if said.units:  # a regression: no rule says its values
        return said
    return replace(said, labels=tuple(replace(one, rules=_said(one.name, one.scp, findings)) for one in said.labels))


def _looked(predictor: Predictor, picture: NDArray[np.uint8], told: Prediction) -> Looked | None:
    from einthoven.explain.photo import look

    look_at_it = predictor.manifest.image is not None and predictor.manifest.image.pictures == "look"
    return look(predictor, picture, told=told) if look_at_it and predictor.manifest.task != "regression" else None


def shipped_image_model() -> Path | None:
    """The Bundle of a model of pictures that ships with the package; None where there is none."""
    from einthoven.exchange import shelf
    from einthoven.exchange.bundle import Bundle

    for path in sorted(shelf.SHIPPED.iterdir()) if shelf.SHIPPED.is_dir() else ():
        if (path / "manifest.json").is_file() and Bundle.open(path, verify=False).manifest.image is not None:
            return path
    return None


def scores_of(manifest: Manifest) -> str:
    """The manifest's first overall figure from a test, in one line; "" where it has none."""
    for scores in manifest.metrics:
        for figure in scores.figures:
            if figure.label is None and scores.role != "validation":
                sure = figure.low is not None and figure.high is not None
                bounds = f" ({figure.low:.3f}-{figure.high:.3f})" if sure else ""
                name = figure.name.replace("_", " ").replace("auroc", "AUROC")
                return f"{name} {figure.value:.3f}{bounds} on {scores.records} ECGs of {scores.data}"
    return ""


_CHAPTERS = {"MI": "infarction", "STTC": "st-t", "CD": "conduction", "HYP": "hypertrophy"}
_ALSO = {"MI": ("stemi", "ste_mi_equivalent_lbbb")}


def _said(name: str, scp: str | None, findings: Sequence[Finding]) -> str:
    """What the rules say of a model's label: of a superclass any statement that falls under it, else the statement itself.

    PTB-XL files what is seen of ST and T, and an infarct in evolution, under no superclass (they are its "forms"); a reader
    would not take "no" for an answer beside them. STEMI is an infarction here, a form of a superclass's chapter "possible".
    """
    akin: set[str] = set()
    if name in SUPERCLASSES:
        known = {s.name for s in STATEMENTS.values() if s.superclass == name or s.name in _ALSO.get(name, ())}
        akin = {s.name for s in STATEMENTS.values() if s.group == _CHAPTERS.get(name) and s.severity != "normal"}
    else:
        known = {s.name for s in STATEMENTS.values() if name in (s.name, s.scp, s.subclass) or (scp and s.scp == scp)}
        if scp is not None and scp in BY_SCP:
            known.add(BY_SCP[scp])
    if not known:
        return ""
    sure = [f.confidence for f in findings if f.name in known]
    if any(c in FIRM for c in sure):
        return "present"
    if "possible" in sure or any(f.name in akin and f.confidence in FIRM for f in findings):
        return "possible"
    return "" if "cannot be determined" in sure or _unreadable(findings) else "absent"


def _unreadable(findings: Sequence[Finding]) -> bool:
    """Whether the rules could not judge at all: then their silence denies nothing."""
    return not any(f.confidence != "cannot be determined" for f in findings)


def loaded(model: str | Path | None) -> Predictor:
    """The model by its name or path (None: the default one), which stays loaded while it is the same. Raises EcgError."""
    from einthoven.exchange import predict

    return predict.loaded(None if model is None else str(model))
