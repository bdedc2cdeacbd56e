"""`Predictor`: a Bundle's model applied to Records and to pictures of paper, through onnxruntime, without torch.

    predictor = Predictor.load()                  # the default model; or a name, or a path
    predictor.predict(record).labels              # {"NORM": 0.93, ...}
    predictor.predict_picture(rgb).labels         # of a photo or a scan; predict_file takes either, by its path

The manifest is a contract: what it asks for and the recording has not is refused or warned of, never filled up in silence.
B windows, L leads, T samples, H x W pixels, F features, K labels, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einthoven.exchange import shelf
from einthoven.exchange.bundle import MANIFEST, Bundle
from einthoven.exchange.manifest import FeaturesInput, ImageInput, SignalInput
from einthoven.exchange.windows import KNOWN, NEARLY, windows
from einthoven.record import EcgError, Record
from einthoven.signal.presets import Preset, apply

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from einthoven.represent.images import ImageForm

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

__all__ = ["KNOWN", "NEARLY", "Prediction", "Predictor", "loaded", "predicted", "session"]

_MEASURED_S = 8.0  # a model of measured features that gets less than this says so
_BATCH = 32  # windows that are run together


@dataclass(frozen=True)
class Prediction:
    """What the model says of one ECG. `labels` calibrated probabilities (in a regression: values) by name; `present` the
    labels that reach their threshold (no thresholds in the manifest: the most probable of "single", else none);
    `logits` (K,) and `embedding` (D,) before calibration, means over windows; `windows` how many; `warnings`."""

    labels: Mapping[str, float]
    present: tuple[str, ...]
    logits: Floats
    embedding: Floats
    windows: int
    warnings: tuple[str, ...]


class Predictor:
    """A model that is ready. Not for two threads at once with more than one thread each: batches run over processes.

    Args:
        bundle: see `load` for one by its name.
        threads: of onnxruntime; one is right where many ECGs are worked on side by side.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        if bundle.manifest.task == "language":
            raise EcgError("answers in words and gives no probabilities: it is asked, not run by predict", path=bundle.path)
        self._session = session(bundle.read("model.onnx"), threads=threads, path=bundle.path)
        self._calibrate = _calibration(bundle)
        given = {one.name for one in self._session.get_inputs()}
        asked = {one.name for one in self.manifest.inputs}
        if given != asked:
            told = f"its model.onnx takes {', '.join(sorted(given))}, its manifest says {', '.join(sorted(asked))}"
            raise EcgError(told, path=bundle.path)
        outputs = [one.name for one in self._session.get_outputs()]
        if "logits" not in outputs:
            raise EcgError(f"its model.onnx has no output logits (it has {', '.join(outputs)})", path=bundle.path)
        self._outputs = [name for name in ("logits", "embedding") if name in outputs]
        signal, image, features = self.manifest.signal, self.manifest.image, self.manifest.features
        self._preset = None if signal is None else signal.as_preset()
        self._form = None if image is None else _form(image, self._session, bundle)
        self._columns = None if features is None else _columns(features, bundle)

    @staticmethod
    def load(name: str | Path | None = None, *, threads: int = 1) -> Predictor:
        """A shipped or pulled model by its name, or any by its path; None: the default model."""
        return Predictor(shelf.load(name, verify=False), threads=threads)  # what is read is verified as it is read

    def predict(self, record: Record, *, measured: Floats | None = None) -> Prediction:
        """Calibrated probabilities of one ECG, over all of its windows.

        measured: `represent.features.features(record)`, where it is known already: most of the time goes there.

        Raises:
            EcgError: a lead is missing, the recording is too short, or nothing of it can be read.
        """
        record = record.ecg()
        inputs, told = self.inputs(record, measured=measured)
        return self._predicted(inputs, (*record.warnings, *told))

    def predict_picture(self, rgb: NDArray[np.uint8]) -> Prediction:
        """The same of a photo, a scan or a render of paper, (h, w, 3) uint8 of any size. A model of images looks at it as it
        is, where its manifest says so; for any other the traces are read off first (einthoven.paper.digitise).

        Raises:
            EcgError: no picture, one out of bounds, or traces that cannot be read.
        """
        image = self.manifest.image
        if image is None or self._form is None or image.pictures == "digitise":
            from einthoven.paper.entry import digitised

            return self.predict(digitised(rgb))
        from einthoven.represent.images import from_picture, scaled

        return self._predicted({image.name: scaled(self._form, from_picture(self._form, rgb)[None])}, ())

    def predict_file(self, path: str | Path, *, fs: float | None = None, unit: str | None = None) -> Prediction:
        """The same of a file of any format, a picture or a PDF. fs, unit: for recordings that do not say. Raises EcgError."""
        from einthoven.paper.entry import is_paper, picture_of, record_of

        if self.manifest.image is None or self.manifest.image.pictures == "digitise" or not is_paper(path):
            return self.predict(record_of(path, fs=fs, unit=unit))
        rgb, told = picture_of(path)
        made = self.predict_picture(rgb)
        return replace(made, warnings=(*told, *made.warnings))

    def _predicted(self, inputs: Mapping[str, Floats], warnings: Sequence[str]) -> Prediction:
        logits, embedding = self.run(inputs)
        whole = self._combine(self.probabilities(logits))
        labels = {name: float(p) for name, p in zip(self.manifest.names, whole, strict=True)}
        return Prediction(
            labels, self.present(whole), logits.mean(0), embedding.mean(0), len(logits), tuple(dict.fromkeys(warnings))
        )

    def inputs(self, record: Record, *, measured: Floats | None = None) -> tuple[dict[str, Floats], list[str]]:
        """The model's inputs for one ECG, by name, first axis windows; and what has to be said of them."""
        made: dict[str, Floats] = {}
        warnings: list[str] = []
        count = 1
        if self.manifest.signal is not None and self._preset is not None:
            made[self.manifest.signal.name], warnings = _signals(record, self.manifest.signal, self._preset)
            count = len(made[self.manifest.signal.name])
        if self.manifest.image is not None and self._form is not None:
            made[self.manifest.image.name], warnings = _pictures(record, self.manifest.image, self._form)
        if self.manifest.features is not None and self._columns is not None:
            from einthoven.represent.features import doubts, features

            measured = features(record) if measured is None else measured
            if record.duration < _MEASURED_S:
                told = f"{record.duration:g} s are little to measure: the model learned from 10 s, trust it less"
                warnings = [*warnings, told]
            try:
                warnings = [*warnings, *doubts(measured)]
            except EcgError as fault:
                raise EcgError(fault.what, path=record.source.path) from None
            made[self.manifest.features.name] = np.repeat(measured[self._columns][None], count, axis=0)
        return made, warnings

    def run(self, inputs: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Inputs as the manifest names them, first axis B -> logits (B, K) and embedding (B, D; D = 0 where there is none)."""
        count = len(next(iter(inputs.values())))
        parts = [
            self._session.run(
                self._outputs, {n: np.ascontiguousarray(x[i : i + _BATCH], np.float32) for n, x in inputs.items()}
            )
            for i in range(0, count, _BATCH)
        ]
        logits = np.concatenate([part[0] for part in parts])
        if logits.shape != (count, len(self.manifest.labels)):
            told = f"its model.onnx gives logits {logits.shape} for {count} inputs and {len(self.manifest.labels)} labels"
            raise EcgError(told, path=self.bundle.path)
        if not np.isfinite(logits).all():
            raise EcgError("its model.onnx gives no finite numbers for this input", path=self.bundle.path)
        embedding = np.concatenate([part[1] for part in parts]) if len(self._outputs) > 1 else np.zeros((count, 0), np.float32)
        return logits, embedding

    def probabilities(self, logits: Floats) -> Doubles:
        """logits (B, K) -> calibrated probabilities (B, K); in a regression, values."""
        made: Doubles = np.asarray(self._calibrate(logits), np.float64)
        return made

    def present(self, probabilities: Doubles) -> tuple[str, ...]:
        """The labels of one ECG (K,) that reach their threshold."""
        names, thresholds = self.manifest.names, self.manifest.thresholds
        if thresholds is not None:
            return tuple(
                n for n, p in zip(names, probabilities, strict=True) if n in thresholds.values and p >= thresholds.values[n]
            )
        return (names[int(np.argmax(probabilities))],) if self.manifest.task == "single" else ()

    def _combine(self, probabilities: Doubles) -> Doubles:
        cut = self.manifest.signal or self.manifest.image
        over = "mean" if cut is None else cut.windows.over
        made: Doubles = probabilities.max(0) if over == "max" else probabilities.mean(0)
        # The maxima of exclusive classes do not add up to one any more.
        return made / made.sum() if over == "max" and self.manifest.task == "single" else made


def predicted(path: str, *, model: str | None, fs: float | None = None, unit: str | None = None) -> dict[str, Any]:
    """The result line of one file: {"file", "model", "labels", "warnings"}. The model stays loaded. Raises EcgError."""
    predictor = loaded(model)
    made = predictor.predict_file(path, fs=fs, unit=unit)
    labels = {name: float(f"{value:.6g}") for name, value in made.labels.items()}
    return {"file": path, "model": predictor.manifest.name, "labels": labels, "warnings": list(made.warnings)}


def session(model: bytes | Path, *, threads: int = 1, path: Path | None = None) -> InferenceSession:
    """An ONNX model, on the CPU. Raises EcgError where onnxruntime does not take it.

    Only bytes are handed over, and a folder that is not there as the place of external data: an ONNX file can name any
    file of the disk as its weights.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/nonexistent/einthoven")
    data = model.read_bytes() if isinstance(model, Path) else model
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # onnxruntime's own exceptions share no base
        raise EcgError(f"onnxruntime does not take it: {fault}", path=path, where="model.onnx") from fault


def loaded(model: str | None) -> Predictor:
    """`Predictor.load`, which stays loaded as long as the Bundle is the same."""
    path = shelf.find(model)
    inner = path / MANIFEST
    return _loaded(path, (inner if inner.exists() else path).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int) -> Predictor:
    return Predictor.load(path)


def _signals(record: Record, wanted: SignalInput, preset: Preset) -> tuple[Floats, list[str]]:
    """The windows of a recording as the preset wants them, (B, L, T) with B >= 1, and what has to be said of them."""
    width = None if preset.length is None else preset.length / (preset.fs or record.fs)
    made, warnings = windows(
        record, wanted, preset.leads or record.leads, width, lambda part: np.nan_to_num(apply(preset, part), nan=0.0)
    )
    shortest = min(x.shape[1] for x in made)  # without a length in the preset, windows may differ by a sample
    return np.stack([x[:, :shortest] for x in made]), warnings


def _pictures(record: Record, wanted: ImageInput, form: ImageForm) -> tuple[Floats, list[str]]:
    """The windows of a recording drawn as the form wants them, (B, 3, H, W) with B >= 1, and what has to be said of them."""
    from einthoven.represent.images import draw, scaled

    made, warnings = windows(record, wanted, form.leads or record.leads, form.seconds, lambda part: draw(form, part)[0])
    return scaled(form, np.stack(made)), warnings


def _form(wanted: ImageInput, run: InferenceSession, bundle: Bundle) -> ImageForm:
    """How the input's images are made. Raises EcgError where the network takes none of that size."""
    form = wanted.as_form()
    shape = next(one.shape for one in run.get_inputs() if one.name == wanted.name)
    if len(shape) != 4 or any(isinstance(n, int) and n != own for n, own in zip(shape[1:], (3, *form.size), strict=True)):
        told = f"its model.onnx takes {wanted.name} {shape}, its manifest gives images of (3, {form.size[0]}, {form.size[1]})"
        raise EcgError(told, path=bundle.path)
    return form


def _columns(wanted: FeaturesInput, bundle: Bundle) -> NDArray[np.intp]:
    """Where the features that the model wants are among those that are measured."""
    from einthoven.represent.features import NAMES, VERSION

    at = {name: i for i, name in enumerate(NAMES)}
    lacking = [name for name in wanted.names if name not in at]
    if lacking or wanted.version != str(VERSION):
        told = f"made for version {wanted.version} of the measured features, this is version {VERSION}"
        raise EcgError(told + (f"; unknown: {', '.join(lacking[:5])}" if lacking else ""), path=bundle.path)
    return np.array([at[name] for name in wanted.names], np.intp)


def _calibration(bundle: Bundle) -> Any:
    """logits (B, K) -> probabilities (B, K), calibrated where the manifest says how."""
    manifest = bundle.manifest
    if manifest.calibration is not None:
        from einthoven.evaluate.calibration import Calibration

        try:
            calibration = Calibration.from_dict(manifest.calibration.words)
        except EcgError as fault:
            raise fault.at(bundle.path) from fault.__cause__
        lengths = {len(value) for value in calibration.parameters.values() if isinstance(value, list)}
        if lengths - {len(manifest.labels)}:
            raise EcgError(f"its calibration has {lengths} parameters for {len(manifest.labels)} labels", path=bundle.path)
        if calibration.task != manifest.task:
            raise EcgError(f"its calibration is for task {calibration.task}, not {manifest.task}", path=bundle.path)
        return calibration.apply
    return {"sigmoid": _sigmoid, "softmax": _softmax, "identity": lambda x: np.asarray(x, np.float64)}[manifest.activation]


def _sigmoid(logits: Floats) -> Doubles:
    x = np.asarray(logits, np.float64)
    made: Doubles = 0.5 * (1 + np.tanh(0.5 * x))  # does not overflow
    return made


def _softmax(logits: Floats) -> Doubles:
    x = np.asarray(logits, np.float64)
    x = np.exp(x - x.max(-1, keepdims=True))
    made: Doubles = x / x.sum(-1, keepdims=True)
    return made
