"""A foreign ONNX file as a Bundle: proven, described by what its metadata and the user say of it, and ready to train on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from safetensors.torch import save

from einthoven.exchange import card
from einthoven.exchange.bundle import Bundle, write_bundle
from einthoven.exchange.manifest import labels, manifest
from einthoven.exchange.onnx_file import preset_of
from einthoven.exchange.onnx_in import Foreign
from einthoven.exchange.onnx_out import export
from einthoven.record import STANDARD_LEADS, EcgError
from einthoven.signal.presets import Preset, by_name

_TASKS = {"softmax": "single", "sigmoid": "multilabel"}
_ACTIVATIONS = {"single": "softmax", "multilabel": "sigmoid", "regression": "identity"}


def write_foreign(
    foreign: Foreign,
    target: str | Path,
    *,
    name: str,
    names: Sequence[str] = (),
    preset: str | None = None,
    task: str | None = None,
    licence: str = "not stated",
    source: str = "",
    overwrite: bool = False,
) -> Bundle:
    """Writes a Bundle at `target` (folder or .zip).

    Args:
        names: of the outputs, in order. preset: the preprocessing that the model was trained with. task: single,
            multilabel or regression. Each may be left out where the file says it: ExChanGeAI's metadata name labels
            and preprocessing, a softmax or a sigmoid at the end the task.
        source: where the file came from, for the card.

    Raises EcgError for what is neither said nor in the file, and for what does not fit the model.
    """
    config, words = foreign.model.config, foreign.legacy
    leads, samples = int(config["leads"]), config["samples"]
    named = tuple(names) or (words.labels if words else ())
    if len(named) != config["outputs"]:
        told = f"{len(named)} are named" if named else "the file does not name them"
        raise EcgError(f"it has {config['outputs']} outputs, {told}: say what they are (labels)")
    task = task or (_TASKS.get(foreign.activation) or ("single" if words else None))  # ExChanGeAI knows softmax only
    if task is None:
        raise EcgError("it ends in numbers: say what they are (task: single, multilabel or regression)")
    if task not in _ACTIVATIONS:
        raise EcgError(f"no task {task} (there are: {', '.join(_ACTIVATIONS)})")
    prepared = _preset(foreign, preset, leads)
    if prepared.leads is not None and len(prepared.leads) != leads:
        raise EcgError(f"preset {prepared.name} has {len(prepared.leads)} leads, the model {leads}")
    length = prepared.length if samples is None else samples
    if length is None or (prepared.length or length) != length:
        raise EcgError(f"preset {prepared.name} gives {prepared.length or 'any number of'} samples, the model takes {samples}")
    described = manifest(
        name=name,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        summary="Imported from an ONNX file that others made. How good it is, and on whom, is not known here.",
        task=task,
        labels=labels(named),
        activation=_ACTIVATIONS[task],
        inputs=[{"name": "signal", "kind": "signal", "preset": prepared.to_dict()}],
        architecture={"model": "onnx", "config": config, "parameters": foreign.trainable, "base": source},
        licence=licence,
    )
    with tempfile.TemporaryDirectory() as folder:
        network = export(foreign.model, Path(folder) / "model.onnx", int(length), leads, manifest=described)
        weights = save({key: value.contiguous() for key, value in foreign.model.state_dict().items()})
        files = {"model.onnx": network, "weights.safetensors": weights, "card.md": card.text(described)}
        return write_bundle(target, described, files, overwrite=overwrite)


def _preset(foreign: Foreign, named: str | None, leads: int) -> Preset:
    if named is not None:
        return by_name(named)
    if foreign.legacy is None:
        raise EcgError("the file does not say how its input was prepared: name a preset (signal/presets.py)")
    samples = foreign.model.config["samples"]
    if leads != len(STANDARD_LEADS) or samples is None:
        raise EcgError("ExChanGeAI's metadata tell of twelve leads and a fixed length only: name a preset")
    return preset_of(foreign.legacy, STANDARD_LEADS, int(samples))
