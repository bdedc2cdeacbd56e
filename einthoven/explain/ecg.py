"""`explain`: which waves of an ECG speak for a label, by any method, of any Bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from einthoven.exchange.predict import NEARLY, Prediction, Predictor, loaded
from einthoven.explain.explanation import Doubles, Explanation, heat_of, shares
from einthoven.explain.occlusion import by_lead_and_wave, predictor_score, score_of
from einthoven.explain.waves import regions
from einthoven.record import EcgError, Record, derive_limb_leads

if TYPE_CHECKING:
    from einthoven.beats.fiducials import Beats

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
        raise EcgError(f"no method {method} (there are: {', '.join(METHODS)})")
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
        effects = by_lead_and_wave(predictor_score(predictor, k), part, beats, _those(leads, part))
        found = Explanation(
            **common,
            leads=effects.leads,
            fs=part.fs,
            values=effects.values,
            heat=effects.heat,
            score=effects.score,
            shares=shares(effects.values, effects.where, effects.leads),
            facts={f"without {wave}": float(f) for wave, f in zip(("P", "QRS", "ST", "T", "between"), effects.by_wave)}
            | {f"without {lead}": float(f) for lead, f in zip(effects.leads, effects.by_lead)},
        )
        return found
    return _by_network(part, predictor, k, method, beats, common)


def _by_network(part: Record, predictor: Predictor, k: int, method: str, beats: Beats, common: dict[str, Any]) -> Explanation:
    """By gradients and attention, through torch."""
    try:
        import torch

        from einthoven.explain import fullgrad, gradients
        from einthoven.explain.network import check_same, network
        from einthoven.explain.rollout import rollout
    except ImportError as fault:
        raise EcgError(f"{method} needs torch: pip install 'einthoven[train]', or take occlusion ({fault})") from fault
    manifest = predictor.manifest
    net = network(predictor.bundle)
    if manifest.signal is None:
        raise EcgError(f"{manifest.name} reads no signal", path=predictor.bundle.path)
    preset = manifest.signal.as_preset()
    signal = predictor.inputs(part)[0][manifest.signal.name][:1]  # (1, L, T)
    logits, _ = predictor.run({manifest.signal.name: signal})
    check_same(net, signal, logits, predictor.bundle)
    score, x = gradients.label_score(k, manifest.task), torch.from_numpy(signal)
    samples = signal.shape[2]
    facts: dict[str, float] = {}
    told: list[str] = []
    per_lead = signed = True
    if method == "integrated-gradients":
        made = gradients.integrated_gradients(net, x, score)
        found = made.values[0]
        facts = {"difference to a flat line": made.difference, "gap": made.gap, "steps": float(made.steps)}
        if made.gap > 0.01:
            told.append(f"integrated gradients miss {made.gap:.0%} of the score: the model jumps on the way from a flat line")
    elif method == "gradient":
        found = gradients.gradient(net, x, score)[0]
    elif method == "gradient-x-input":
        found = gradients.gradient_x_input(net, x, score)[0]
    elif method == "smoothgrad":
        found = gradients.smoothgrad(net, x, score)[0]
    elif method == "fullgrad":
        parts = fullgrad.fullgrad(net, x, score)
        found = fullgrad.time_map(parts, samples)
        facts = {"of the signal": float(parts.input.sum()), "of biases": parts.total - float(parts.input.sum())}
    else:
        per_lead = signed = False
        row = gradients.gradcam(net, x, score) if method == "gradcam" else rollout(net, x, score)
        # A position covers a stretch of time; between their middles the map goes straight.
        at = (np.arange(samples) + 0.5) / samples * len(row) - 0.5
        found = torch.from_numpy(np.tile(np.interp(at, np.arange(len(row)), row.double().numpy()), (signal.shape[1], 1)))
    values: Doubles = found.double().numpy()
    leads = preset.leads or part.leads
    fs = preset.fs or part.fs
    where = regions(beats, leads, fs, samples)
    return Explanation(
        **{**common, "warnings": (*common["warnings"], *told)},
        leads=leads,
        fs=fs,
        values=values,
        heat=heat_of(values, fs),
        score=float(score_of(logits, k, manifest.task)[0]),
        shares=shares(values, where, leads, per_lead=per_lead),
        per_lead=per_lead,
        signed=signed,
        facts=facts,
    )


def _label(label: str | None, made: Prediction, predictor: Predictor) -> int:
    names = predictor.manifest.names
    if label is None:
        return max(range(len(names)), key=lambda i: made.labels[names[i]])
    if label not in names:
        raise EcgError(f"the model has no label {label} (it has: {', '.join(names)})", path=predictor.bundle.path)
    return names.index(label)


def _window(record: Record, predictor: Predictor, start: float) -> tuple[Record, float, list[str]]:
    """The stretch that is explained: what the model takes in at once, from `start` on."""
    preset = predictor.manifest.signal.as_preset() if predictor.manifest.signal else None
    width = preset.length / (preset.fs or record.fs) if preset and preset.length else record.duration
    if not 0 <= start < record.duration:
        raise EcgError(f"start must lie within the record's {record.duration:g} s, not at {start:g} s", path=record.source.path)
    start = max(min(start, record.duration - width), 0.0)
    if start == 0 and record.duration * NEARLY <= width:
        return record, 0.0, []
    told = f"explained: {start:g} to {start + width:g} s; the probability is of all {record.duration:g} s"
    return record.crop(start, start + width), start, [told]


def _those(leads: tuple[str, ...] | None, record: Record) -> tuple[str, ...]:
    return record.leads if leads is None else tuple(name for name in leads if name in record)
