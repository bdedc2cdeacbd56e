"""`explain`: which waves of an ECG speak for a label, by any method, of any Bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from einthoven.exchange.predict import NEARLY, Prediction, Predictor, loaded
from einthoven.explain.explanation import Doubles, Explanation, Pictured, heat_of, shares
from einthoven.explain.occlusion import by_lead_and_wave, predictor_score, score_of
from einthoven.explain.waves import WAVES, regions
from einthoven.record import EcgError, Record, WrongUse, derive_limb_leads

if TYPE_CHECKING:
    from einthoven.beats.fiducials import Beats
    from einthoven.represent.images import ImageForm

# What each method is, in a line; those after occlusion need torch.
METHODS = {
    "occlusion": "what the score loses when a wave, a lead or both are taken out",
    "integrated-gradients": "the score divided up among all samples, measured from a flat line",
    "gradient": "where the score would rise or fall most with the signal",
    "gradient-x-input": "gradient times signal",
    "smoothgrad": "gradient times signal, its noise averaged away",
    "fullgrad": "the score divided up among the signal and all biases of the network",
    "gradcam": "when the last layer's maps speak for the label (no leads)",
    "rollout": "what attention lets through to the output, for this label (transformers; no leads)",
}


def explain(
    record: Record,
    model: str | Path | Predictor | None = None,
    label: str | None = None,
    method: str = "occlusion",
    *,
    start: float = 0.0,
    beats: Beats | None = None,
) -> Explanation:
    """Which waves of which leads speak for a label.

    Args:
        model: a name, a Bundle's path, a Predictor; None: the default model.
        label: a name of the model's labels; None: the one that it holds for likeliest.
        method: one of METHODS.
        start: s, where in a recording longer than the model's input the explained stretch begins.
        beats: of the record, if they are known already.

    Raises:
        EcgError: no such label or method, the model cannot be applied to this ECG, or the method not to this model.
    """
    if method not in METHODS:
        raise WrongUse(f"no method {method} (there are: {', '.join(METHODS)})")
    predictor = model if isinstance(model, Predictor) else loaded(None if model is None else str(model))
    manifest = predictor.manifest
    record = derive_limb_leads(record.ecg())
    whole = predictor.predict(record)
    k = _label(label, whole, predictor)
    name = manifest.labels[k].name
    part, start, told = _window(record, predictor, start)
    if beats is None or start > 0 or part is not record:
        from einthoven.beats.delineate import delineate

        beats = delineate(part)

    common: dict[str, Any] = {
        "method": method,
        "model": f"{manifest.name} {manifest.version}",
        "label": name,
        "text": manifest.labels[k].text,
        "start": start,
        "probability": whole.labels[name],
        "warnings": tuple(dict.fromkeys((*whole.warnings, *told))),
    }
    if method == "occlusion":
        leads = manifest.signal.as_preset().leads if manifest.signal else None
        leads = manifest.image.as_form().leads if manifest.image else leads
        effects = by_lead_and_wave(predictor_score(predictor, k), part, beats, _those(leads, part))
        parts = dict(zip((*WAVES, *effects.leads), (*effects.by_wave.tolist(), *effects.by_lead.tolist()), strict=True))
        if lost := [name for name, fall in parts.items() if fall != fall]:
            common["warnings"] += (f"the model has no answer without {', '.join(lost)}",)
        return Explanation(
            **common,
            leads=effects.leads,
            fs=part.fs,
            values=effects.values,
            heat=effects.heat,
            score=effects.score,
            shares=shares(effects.values, effects.where, effects.leads),
            facts={f"without {name}": fall for name, fall in parts.items() if fall == fall},
        )
    return _by_network(part, predictor, k, method, beats, common)


def _by_network(part: Record, predictor: Predictor, k: int, method: str, beats: Beats, common: dict[str, Any]) -> Explanation:
    """By gradients and attention, through torch."""
    manifest = predictor.manifest
    try:
        import torch

        from einthoven.explain.evidence import evidence
        from einthoven.explain.gradients import label_score
        from einthoven.explain.network import check_same, network
    except ImportError as fault:
        raise EcgError(f"{method} needs torch: pip install 'einthoven[train]', or take occlusion ({fault})") from fault
    net = network(predictor.bundle)
    if manifest.image is not None:
        drawn = predictor.inputs(part)[0][manifest.image.name][:1]  # (1, 3, H, W)
        check_same(net, drawn, predictor.run({manifest.image.name: drawn})[0], predictor.bundle)
        found, _ = explain_image(part, net, manifest.image.as_form(), k, method, task=manifest.task, beats=beats)
        told = tuple(dict.fromkeys((*common["warnings"], *found.warnings)))
        return replace(found, **{**common, "warnings": told})
    if manifest.signal is None:
        raise EcgError(f"{manifest.name} reads no signal", path=predictor.bundle.path)
    preset = manifest.signal.as_preset()
    signal = predictor.inputs(part)[0][manifest.signal.name][:1]  # (1, L, T)
    logits, _ = predictor.run({manifest.signal.name: signal})
    check_same(net, signal, logits, predictor.bundle)
    made = evidence(net, torch.from_numpy(signal), label_score(k, manifest.task), method)
    leads, fs = preset.leads or part.leads, preset.fs or part.fs
    where = regions(beats, leads, fs, signal.shape[2])
    return Explanation(
        **{**common, "warnings": (*common["warnings"], *made.warnings)},
        leads=leads,
        fs=fs,
        values=made.values,
        heat=made.heat(fs),
        score=float(score_of(logits, k, manifest.task)[0]),
        shares=shares(made.values, where, leads, per_lead=made.per_lead),
        per_lead=made.per_lead,
        signed=made.signed,
        facts=made.facts,
    )


def explain_image(
    record: Record,
    net: Any,
    form: ImageForm | str,
    k: int,
    method: str = "integrated-gradients",
    *,
    task: str = "multilabel",
    label: str = "",
    name: str = "",
    beats: Beats | None = None,
) -> tuple[Explanation, Pictured]:
    """The same of an image model: the evidence over the pixels it saw, and that evidence by (lead, time), through the Page.

    Args:
        net: in evaluation mode, (B, 3, H, W) -> Output. form: how its pictures are made (represent/images.py).
        k, label, name: the output, and what it and the model are called.

    Evidence on pixels that belong to no lead is told in `facts`. What the picture does not show (other leads, later seconds)
    has none.

    Raises:
        EcgError: as `explain`, and where the record cannot be drawn in this form.
    """
    import torch

    from einthoven.explain.evidence import evidence
    from einthoven.explain.gradients import label_score
    from einthoven.explain.overlay import on_page
    from einthoven.represent import images

    form = images.by_form(form) if isinstance(form, str) else form
    record = derive_limb_leads(record.ecg())
    if beats is None:
        from einthoven.beats.delineate import delineate

        beats = delineate(record)

    def scores(records: Sequence[Record]) -> Doubles:
        pictures = np.stack([images.draw(form, one)[0] for one in records])
        with torch.no_grad():
            parts = [net(torch.from_numpy(images.scaled(form, pictures[i : i + 8]))).logits for i in range(0, len(pictures), 8)]
        return score_of(torch.cat(parts).numpy(), k, task)

    picture, page = images.draw(form, record)
    score = float(scores([record])[0])
    common: dict[str, Any] = {
        "method": method,
        "model": name or type(net).__name__,
        "label": label or f"output {k}",
        "start": 0.0,
        "score": score,
        "probability": score if task == "regression" else 0.5 * (1 + float(np.tanh(0.5 * score))),
    }
    shown = tuple(dict.fromkeys(strip.lead for strip in page.strips))
    if method == "occlusion":
        effects = by_lead_and_wave(scores, record, beats, shown)
        made = Explanation(
            **common, leads=effects.leads, fs=record.fs, values=effects.values, heat=effects.heat,
            shares=shares(effects.values, effects.where, effects.leads),
        )  # fmt: skip
        return made, Pictured(picture, page, np.zeros(picture.shape[:2]))
    found = evidence(net, torch.from_numpy(images.scaled(form, picture[None])), label_score(k, task), method)
    fs = 250.0  # finer than a pixel
    values, off = on_page(found.over_mean() if found.even else found.values, page, shown, fs, round(record.duration * fs))
    made = Explanation(
        **common, leads=shown, fs=fs, values=values, heat=heat_of(values, fs),
        shares=shares(values, regions(beats, shown, fs, values.shape[1]), shown),
        signed=found.signed, facts={**found.facts, "off all leads": off}, warnings=found.warnings,
    )  # fmt: skip
    return made, Pictured(picture, page, found.values)


def _label(label: str | None, made: Prediction, predictor: Predictor) -> int:
    names = predictor.manifest.names
    if label is None:
        return max(range(len(names)), key=lambda i: made.labels[names[i]])
    if label not in names:
        raise WrongUse(f"{predictor.manifest.name} has no label {label} (it has: {', '.join(names)})")
    return names.index(label)


def _window(record: Record, predictor: Predictor, start: float) -> tuple[Record, float, list[str]]:
    """The stretch that is explained: what the model takes in at once, from `start` on."""
    signal, image = predictor.manifest.signal, predictor.manifest.image
    preset = signal.as_preset() if signal else None
    width = preset.length / (preset.fs or record.fs) if preset and preset.length else record.duration
    if image:
        width = min(image.as_form().seconds, record.duration)
    if not 0 <= start < record.duration:
        raise WrongUse(f"start must lie within the record's {record.duration:g} s, not at {start:g} s", path=record.source.path)
    start = max(min(start, record.duration - width), 0.0)
    if start == 0 and record.duration * NEARLY <= width:
        return record, 0.0, []
    told = f"explained: {start:g} to {start + width:g} s; the probability is of all {record.duration:g} s"
    return record.crop(start, start + width), start, [told]


def _those(leads: tuple[str, ...] | None, record: Record) -> tuple[str, ...]:
    return record.leads if leads is None else tuple(name for name in leads if name in record)
