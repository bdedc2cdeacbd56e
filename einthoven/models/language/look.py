"""What is computed of an ECG before a network sees it: once an ECG, without torch, so that it can be kept and done by workers.

    look = look_of({"represent": "signal", "preset": "language"})
    array = look(record)

The five inputs of ECG-Bench and two more: `signal` in millivolts, `stacked` (the signal as a grey picture, a row a lead),
`image` (drawn or photographed paper), `symbols` (ECG-Byte's tokens, or ours), `text` (measurements in words), `features` (the
figures and the median beat of the default model), and any of them together, as views of one model.

L leads, T samples, H x W pixels, N tokens, F figures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.record import STANDARD_LEADS, EcgError, Record, WrongUse
from einthoven.represent.images import ImageForm, by_form, draw
from einthoven.represent.symbols import Tokenizer
from einthoven.signal.presets import PRESETS, Preset, Step, apply
from einthoven.signal.presets import by_name as preset_by_name

Array = NDArray[Any]

# The preset of models that bring none: millivolts by a fixed scale, 10 s, nothing filtered away.
LANGUAGE = Preset(
    "language",
    (Step("resample", {"to": 100.0}), Step("fit", {"length": 1000, "fill": 0.0}), Step("fill_missing", {"value": 0.0})),
    leads=STANDARD_LEADS,
    fs=100.0,
    length=1000,
    notes="Millivolts as they are at 100 Hz, the first 10 s.",
)
CLIP = 5.0  # mV: what an artefact may reach in a network's input


@dataclass(frozen=True)
class Look(ABC):
    """Callable: Record -> array. `to_dict` is what a Bundle's manifest says of it."""

    @abstractmethod
    def __call__(self, record: Record) -> Array:
        """Raises EcgError where the record cannot be seen so."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class SignalLook(Look):
    """(L, T) float32 by a preset, zero where nothing was recorded; a lead that is missing altogether is zero, too."""

    preset: Preset = LANGUAGE

    def __call__(self, record: Record) -> Array:
        record = record.ecg()
        missing = [lead for lead in self.preset.leads or () if lead not in record]
        if missing:
            record = _with_empty(record, missing)
        signal = apply(self.preset, record)
        out = np.where(np.isnan(signal), np.float32(0), signal).astype(np.float32)
        return np.clip(out, -CLIP, CLIP) if self.preset.unit == "mV" else out

    def to_dict(self) -> dict[str, Any]:
        return {"represent": "signal", "preset": self.preset.to_dict()}


def _with_empty(record: Record, missing: list[str]) -> Record:
    """The record with these leads, of which nothing was recorded, unless they follow from others."""
    from einthoven.record import derive_limb_leads

    record = derive_limb_leads(record)
    missing = [lead for lead in missing if lead not in record]
    if len(missing) == 12 or not record.leads:
        raise EcgError("none of the leads that the model looks at is in this ECG", path=record.source.path)
    empty = np.full((len(missing), record.signal.shape[1]), np.nan, np.float32)
    return replace(record, signal=np.concatenate([record.signal, empty]), leads=(*record.leads, *missing), resolution_uv=None)


@dataclass(frozen=True)
class StackedLook(Look):
    """(3, H, W) float32 in -1 to 1: the signal as a picture, a band of rows a lead, grey by millivolts on a fixed scale.

    ECG-Bench stretches each record from its own least to its largest; here a grey is a voltage."""

    preset: Preset = LANGUAGE
    size: tuple[int, int] = (224, 224)
    reach: float = 2.0  # mV that are white, and black below

    def __call__(self, record: Record) -> Array:
        signal = SignalLook(self.preset)(record)
        rows = (np.arange(self.size[0]) * len(signal) // self.size[0]).clip(0, len(signal) - 1)
        at = np.linspace(0, signal.shape[1] - 1, self.size[1])
        grey = np.stack([np.interp(at, np.arange(signal.shape[1]), lead) for lead in signal])[rows]
        return np.repeat((np.clip(grey / self.reach, -1, 1))[None], 3, 0).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {"represent": "stacked", "preset": self.preset.to_dict(), "size": list(self.size), "reach": self.reach}


@dataclass(frozen=True)
class ImageLook(Look):
    """(H, W) or (H, W, 3) uint8 by an image form."""

    form: ImageForm

    def __call__(self, record: Record) -> Array:
        return draw(self.form, record.ecg())[0]

    def to_dict(self) -> dict[str, Any]:
        return {"represent": "image", "form": self.form.to_dict()}


@dataclass(frozen=True)
class SymbolLook(Look):
    """(N,) int32: ids of a tokenizer of represent/symbols.py, of the first `seconds`."""

    tokenizer: Tokenizer
    seconds: float = 10.0

    def __call__(self, record: Record) -> Array:
        record = record.ecg()
        return self.tokenizer.encode(record.crop(0.0, min(self.seconds, record.duration))).ids

    def to_dict(self) -> dict[str, Any]:
        return {"represent": "symbols", "sha256": self.tokenizer.sha256, "seconds": self.seconds}


@dataclass(frozen=True)
class FeatureLook(Look):
    """(F,) float32: represent.features, NaN where a figure cannot be measured. Age and sex are left out: no ECG shows them."""

    patient: bool = False

    def __call__(self, record: Record) -> Array:
        from einthoven.represent.features import NAMES, features

        vector = features(record).copy()
        if not self.patient:
            vector[[NAMES.index("age"), NAMES.index("male")]] = np.nan
        return vector

    def to_dict(self) -> dict[str, Any]:
        from einthoven.represent.features import VERSION

        return {"represent": "features", "version": VERSION, "patient": self.patient}


@dataclass(frozen=True)
class TextLook(Look):
    """(n,) uint8, UTF-8: measurements in words (represent/words.py)."""

    leads: bool = False
    findings: bool = False
    limits: bool = False
    quality: bool = False

    def __call__(self, record: Record) -> Array:
        from einthoven.represent.words import words

        return np.frombuffer(words(record, **self._parts).encode(), np.uint8).copy()

    @property
    def _parts(self) -> dict[str, bool]:
        return {"leads": self.leads, "findings": self.findings, "limits": self.limits, "quality": self.quality}

    def to_dict(self) -> dict[str, Any]:
        return {"represent": "text", **self._parts}


def look_of(words: Mapping[str, Any], folder: Path | None = None) -> Look:
    """The look that a view's words name. `folder`: where a tokenizer's file lies, if its name is relative.

    Raises EcgError for a representation that there is not, and options that it has not.
    """
    given = dict(words)
    kind = given.pop("represent", None)
    makers = {
        "signal": lambda preset="language": SignalLook(_preset(preset)),
        "stacked": lambda preset="language", size=(224, 224), reach=2.0: StackedLook(
            _preset(preset), _size(size), float(reach)
        ),
        "image": lambda form="page": ImageLook(_form(form)),
        "symbols": lambda tokenizer, seconds=10.0: SymbolLook(_tokenizer(tokenizer, folder), float(seconds)),
        "features": lambda patient=False: FeatureLook(bool(patient)),
        "text": lambda leads=False, findings=False, limits=False, quality=False: TextLook(
            bool(leads), bool(findings), bool(limits), bool(quality)
        ),
    }
    if kind not in makers:
        raise WrongUse(f"no representation {kind} (there are: {', '.join(makers)})")
    try:
        return makers[kind](**given)  # type: ignore[no-any-return,operator]
    except TypeError as fault:
        raise WrongUse(f"representation {kind}: {fault}") from fault


REPRESENTATIONS = ("signal", "stacked", "image", "symbols", "features", "text")


def _preset(given: str | Mapping[str, Any]) -> Preset:
    if isinstance(given, Mapping):
        return Preset.from_dict(given)
    return LANGUAGE if given == LANGUAGE.name and given not in PRESETS else preset_by_name(given)


def _size(given: Any) -> tuple[int, int]:
    return (int(given), int(given)) if isinstance(given, int) else (int(given[0]), int(given[1]))


def _form(given: str | Mapping[str, Any]) -> ImageForm:
    return ImageForm.from_dict(given) if isinstance(given, Mapping) else by_form(given)


def _tokenizer(given: Any, folder: Path | None) -> Tokenizer:
    if isinstance(given, Tokenizer):
        return given
    path = Path(str(given))
    return Tokenizer.load(folder / path if folder is not None and not path.is_absolute() else path)
