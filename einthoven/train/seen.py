"""What the model of a run sees: prepared signals, images in a form, or measured features; computed once, kept on disk.

N records, L leads, T samples, H x W pixels, F features.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data import Index
from einthoven.data.workers import ordered
from einthoven.exchange.bundle import Bundle
from einthoven.io.files import replacing
from einthoven.models.table import Model
from einthoven.record import EcgError, Record
from einthoven.represent.features import NAMES, VERSION, Figures, doubts, features
from einthoven.represent.images import ImageForm, by_form, images, scaled
from einthoven.represent.signals import inputs
from einthoven.signal.presets import Preset, Step
from einthoven.signal.presets import by_name as preset_by_name
from einthoven.train.loop import Examples
from einthoven.train.recipe import Recipe

F32 = NDArray[np.float32]
Rows = NDArray[np.int64]
Seen = Preset | ImageForm | Figures


def seen_of(recipe: Recipe, row: Model) -> Seen:
    """How the model of a run sees an ECG: the recipe's choice, that of the weights it starts from, or the model's own. Raises
    EcgError for what does not go with it."""
    if row.kind == "features":
        return figures_of(recipe, row)
    return form_of(recipe, row) if row.kind == "image" else preset_of(recipe, row)


def examples_of(index: Index, seen: Seen, rows: Rows, y: F32, folder: Path, *, jobs: int, failed: dict[int, str]) -> Examples:
    """What the network gets of these rows, in their order, on disk below `folder`; `failed` takes up row -> why not.

    Signals lie there as float32, images as bytes, which the loop scales.
    """
    if isinstance(seen, Preset):
        return Examples(inputs(index, seen, rows, folder / "inputs", jobs=jobs, failed=failed), y)
    if isinstance(seen, Figures):
        return Examples(measured(index, rows, folder / "measured", jobs=jobs, failed=failed), y)
    drawn = images(index, seen, rows, folder / "images", jobs=jobs, failed=failed)
    return Examples(drawn, y, shape=(3, *seen.size), seen=partial(scaled, seen))


def input_of(seen: Seen, index: Index, rows: Rows, recipe: Recipe) -> dict[str, Any]:
    """The manifest's words for the input of a model that was trained on these rows of the index."""
    if isinstance(seen, Figures):
        return {"kind": "features", "names": list(NAMES), "version": str(seen.version)}
    words: dict[str, Any] = {
        # The model was trained on beginnings, and its figures are those of beginnings.
        "windows": {"over": "first"},
        "shortest_s": _shortest(seen, index, rows),
    }
    if isinstance(seen, Preset):
        missing = "zero" if recipe.lead_dropout else "refuse"
        return {"kind": "signal", "preset": seen.to_dict(), "missing_leads": missing, **words}
    there = index.column("leads")
    lacking = any(set(seen.leads or ()) - set(there[int(row)]) for row in rows)
    return {
        "kind": "image",
        "form": seen.to_dict(),
        "missing_leads": "blank" if lacking else "refuse",  # as it was in training
        "pictures": "digitise" if seen.kind == "plot" else "look",
        **words,
    }


def seen_words(seen: Seen, shape: Sequence[int]) -> str:
    """The input, of this shape, in words."""
    if isinstance(seen, Preset):
        return f"{shape[0]} leads, {shape[1]} samples by preset {seen.name} ({seen.unit})"
    if isinstance(seen, Figures):
        return f"{shape[0]:,} measured features of version {seen.version}: figures and the median beat"
    what = {"plot": "plots", "page": "pages", "photo": "whole sheets of paper"}[seen.kind]
    return f"{what} of {shape[2]} x {shape[1]} pixels, {seen.seconds:g} s, by image form {seen.name}"


def _shortest(seen: Preset | ImageForm, index: Index, rows: Rows) -> float | None:
    """Seconds of the shortest training record, where that is less than the half of an input that a model takes anyway."""
    samples, fs = (np.asarray(index.column(n), np.float64)[rows] for n in ("samples", "fs"))
    if isinstance(seen, Preset):
        if seen.length is None:
            return None
        width = seen.length / (seen.fs or float(fs.min()))
    else:
        width = seen.seconds
    least = float((samples / fs).min())
    return least if least < width / 2 else None


# ---- measured features --------------------------------------------------------------------------------------------------


def figures_of(recipe: Recipe, row: Model) -> Figures:
    """Raises EcgError for a recipe that changes features as only signals and images can be changed."""
    if recipe.normalise != "preset" or recipe.preset:
        raise EcgError(f"preset and normalise are of signals and images, {row.name} sees what was measured", where="recipe")
    for name in ("crop", "lead_dropout", "noise", "mixup"):
        if getattr(recipe, name):
            raise EcgError(f"{name} is of signals and images, {row.name} sees what was measured", where="recipe")
    return Figures()


def measured(index: Index, rows: Rows, folder: Path, *, jobs: int, failed: dict[int, str]) -> F32:
    """(N, F) features of these rows; `failed` takes up row -> why not: an ECG in which no beat is found teaches nothing."""
    part = index.select(rows)
    key = json.dumps([VERSION, NAMES, part.column("record"), part.column("hash")])
    array = folder / f"{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}.npy"
    about = array.with_suffix(".json")
    if not about.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        out, faults = np.full((len(rows), len(NAMES)), np.nan, np.float32), {}
        for i, found in enumerate(ordered(_measured, (index.record(int(row)) for row in rows), jobs=jobs, killed=_killed)):
            if isinstance(found, str):
                faults[i] = found
            else:
                out[i] = found
        with replacing(array) as draft, draft.open("wb") as file:
            np.save(file, out, allow_pickle=False)
        with replacing(about) as draft:  # written last: without it the array is not whole
            draft.write_text(json.dumps({"failed": faults}), encoding="utf-8")
    failed.update({int(rows[int(i)]): why for i, why in json.loads(about.read_text(encoding="utf-8"))["failed"].items()})
    return np.asarray(np.load(array, mmap_mode="r", allow_pickle=False))


def _measured(record: Record) -> F32 | str:
    try:
        found = features(record)
        doubts(found)
    except EcgError as fault:
        return str(fault)
    return found


def _killed(record: Record) -> str:
    return "its process was killed while it was measured"


# ---- images -------------------------------------------------------------------------------------------------------------


def form_of(recipe: Recipe, row: Model) -> ImageForm:
    """The image form of a run. Raises EcgError for a recipe that changes images as only signals can be changed."""
    if recipe.normalise != "preset":
        raise EcgError(f"normalise: {recipe.normalise} is of signals; an image form fixes gain and colours", where="recipe")
    for name in ("crop", "lead_dropout"):
        if getattr(recipe, name):
            raise EcgError(f"{name} is of signals, {row.name} sees images", where="recipe")
    return by_form(recipe.preset) if recipe.preset else _form_of_file(recipe) or by_form(row.preset)


def _form_of_file(recipe: Recipe) -> ImageForm | None:
    """The images that the weights have seen: of a Bundle, or of a pre-training whose summary lies beside its weights."""
    if not recipe.weights:
        return None
    path = Path(recipe.weights)
    if path.suffix != ".safetensors":
        if path.is_dir() and not (path / "manifest.json").exists():
            return None  # a folder of transformers
        image = Bundle.open(path).manifest.image if path.suffix not in (".pt", ".pth") else None
        return image.as_form() if image else None
    try:
        told = json.loads(path.with_name("pretrain.json").read_text(encoding="utf-8"))
        return ImageForm.from_dict(told["form"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


# ---- signals ------------------------------------------------------------------------------------------------------------


def preset_of(recipe: Recipe, row: Model) -> Preset:
    """The preprocessing: the recipe's or the model's own, with the normalisation that was asked for in place of its own.
    "global" ends in millivolts here; its z-score follows when the training patients' moments are known."""
    preset = preset_by_name(recipe.preset) if recipe.preset else _preset_of_file(recipe) or preset_by_name(row.preset)
    if recipe.normalise == "preset":
        return preset
    steps = tuple(s for s in preset.steps if s.name not in ("z_score", "standardize", "min_max"))
    steps = (*(s for s in steps if s.name != "fill_missing"), Step("fill_missing", {"value": 0.0}))
    unit = "mV" if recipe.normalise in ("none", "global") else "z"
    if recipe.normalise in ("lead", "record"):
        steps = (*steps, Step("z_score", {"over": recipe.normalise, "eps": 1e-5}))
    return replace(preset, name=f"{preset.name}-{recipe.normalise}", steps=steps, unit=unit, notes="")


def _preset_of_file(recipe: Recipe) -> Preset | None:
    """How the ONNX file or the Bundle that is started from wants its input. Raises EcgError for a file that does not say."""
    if not recipe.weights or recipe.weights.endswith(".safetensors"):
        return None
    if not recipe.weights.endswith(".onnx"):
        signal = Bundle.open(recipe.weights).manifest.signal
        return signal.as_preset() if signal else None
    from einthoven.exchange.onnx_file import legacy
    from einthoven.exchange.onnx_file import load as read_onnx

    told = legacy({p.key: p.value for p in read_onnx(Path(recipe.weights)).metadata_props})
    if told is None or told.microvolts or told.fs != 100:
        raise EcgError("does not say how its input is prepared: name a preset (--set preset=...)", path=recipe.weights)
    base = preset_by_name("exchangeai-minmax" if told.standardizer == "minMax" else "exchangeai")
    if told.standardizer == "meanStd":
        return replace(base, steps=(*base.steps, Step("z_score", {"over": "record", "eps": 1e-5})), unit="z")
    return base


def moments(x: F32, rows: Rows) -> tuple[float, float]:
    """Mean and standard deviation of all samples of these rows."""
    count, total, squares = 0, 0.0, 0.0
    for start in range(0, len(rows), 256):
        part = np.asarray(x[rows[start : start + 256]], np.float64)
        count, total, squares = count + part.size, total + float(part.sum()), squares + float((part**2).sum())
    mean = total / count
    return mean, max(math.sqrt(max(squares / count - mean**2, 0.0)), 1e-6)
