"""A foreign ONNX file: opened within bounds, nothing run, nothing read that lies outside its folder.

onnx's own checker sees it first; operators of other domains than ONNX's are refused, its own functions inlined. What
ExChanGeAI writes into the metadata is Python as text, and is read as literals.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einthoven.record import EcgError
from einthoven.signal.presets import Preset, Step

OPSETS = (11, 23)
LARGEST = 4 << 30  # bytes of a file with what lies beside it


@dataclass(frozen=True)
class Legacy:
    """What ExChanGeAI writes into a file's metadata: `labels` in the order of the outputs, `standardizer` "minMax", "meanStd"
    or None, `microvolts` whether it wants them, `fs` Hz."""

    labels: tuple[str, ...] = ()
    standardizer: str | None = None
    microvolts: bool = False
    fs: float = 100.0


def load(path: Path, largest: int = LARGEST) -> Any:
    """The ModelProto with its weights, functions of its own inlined. Nothing outside the file's folder is read.

    Raises EcgError as `open_onnx` does.
    """
    try:
        import onnx
        from onnx import inliner
    except ImportError as fault:
        raise EcgError(f"import needs onnx: pip install 'einthoven[train]' ({fault})") from fault
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not path.is_file():
        raise EcgError("no such file")
    if path.stat().st_size > largest:
        raise EcgError(f"{path.stat().st_size:,} bytes: more than {largest:,} are not read")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError) as fault:
        raise EcgError(f"not an ONNX file: {fault}") from fault
    _outside_weights(proto, path, largest)
    domains = {o.domain for o in proto.opset_import} | {n.domain for n in proto.graph.node}
    own = {f.domain for f in proto.functions}
    strange = sorted(domains - own - {"", "ai.onnx"})
    if any(n.domain in strange for n in _all_nodes(proto)):
        raise EcgError(f"operators of the domain {strange[0]} are not ONNX's own")
    try:
        onnx.checker.check_model(proto)
        if proto.functions:
            proto = inliner.inline_local_functions(proto)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as fault:
        raise EcgError(f"not valid ONNX: {str(fault).splitlines()[0]}") from fault
    opsets = [o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")]
    if not opsets or not OPSETS[0] <= opsets[0] <= OPSETS[1]:
        raise EcgError(f"opset {opsets[0] if opsets else 'unknown'}: {OPSETS[0]} to {OPSETS[1]} are read")
    return proto


def _all_nodes(proto: Any) -> Iterable[Any]:
    yield from proto.graph.node
    for function in proto.functions:
        yield from function.node


def _outside_weights(proto: Any, path: Path, largest: int) -> None:
    """Loads weights that lie beside the file, if they lie in its folder and are not too large."""
    from onnx import TensorProto, external_data_helper

    folder, total = path.resolve().parent, path.stat().st_size
    stored = [t for t in external_data_helper._get_all_tensors(proto) if t.data_location == TensorProto.EXTERNAL]
    for one in stored:
        where = external_data_helper.ExternalDataInfo(one)
        target = (folder / where.location).resolve()
        if Path(where.location).is_absolute() or ".." in Path(where.location).parts or not target.is_relative_to(folder):
            raise EcgError(f"its weights lie outside its folder: {where.location}")
        if not target.is_file():
            raise EcgError(f"its weights are missing: {where.location}")
        total += int(where.length or target.stat().st_size)
        if total > largest:
            raise EcgError(f"more than {largest:,} bytes with the weights beside it are not read")
    for one in stored:
        try:
            external_data_helper.load_external_data_for_tensor(one, str(folder))
        except (OSError, ValueError) as fault:
            raise EcgError(f"its weights cannot be read: {fault}") from fault
        one.data_location = TensorProto.DEFAULT
        del one.external_data[:]


def dims(info: Any) -> list[int | None]:
    return [d.dim_value if d.HasField("dim_value") else None for d in info.type.tensor_type.shape.dim]


def signal_input(proto: Any) -> Any:
    names = {i.name for i in proto.graph.initializer}
    inputs = [i for i in proto.graph.input if i.name not in names]
    if len(inputs) != 1:
        told = ", ".join(f"{i.name} {dims(i)}" for i in inputs)
        raise EcgError(f"a model of one signal is read; this one takes {told or 'nothing'}")
    if inputs[0].type.tensor_type.elem_type != 1:
        raise EcgError(f"its input {inputs[0].name} is not float32")
    return inputs[0]


def find_input(proto: Any, leads: int, samples: int | None) -> tuple[str, str, int]:
    """-> the input's name, its layout, and the number of samples."""
    info = signal_input(proto)
    shape = dims(info)
    at: dict[str, tuple[int, int]] = {"BLT": (1, 2), "BTL": (2, 1)} if len(shape) == 3 else {"B1LT": (2, 3), "BL1T": (1, 3)}
    fits = [
        layout
        for layout, (lead, _) in at.items()
        if len(shape) in (3, 4) and shape[lead] == leads and (len(shape) == 3 or shape[3 - lead] in (1, None))
    ]
    if len(fits) != 1:
        raise EcgError(f"its input {info.name} is {shape}: where its {leads} leads stand is not clear")
    if shape[0] is not None:
        raise EcgError(f"it takes {shape[0]} ECGs at a time, no more and no less: export it with a dynamic batch")
    length = shape[at[fits[0]][1]]
    if length is None and samples is None:
        raise EcgError("it leaves the number of samples open: say with how many to try it (samples)")
    if length is not None and samples is not None and length != samples:
        raise EcgError(f"it takes {length} samples, not {samples}")
    return info.name, fits[0], int(length or samples or 0)


def any_length(proto: Any, layout: str) -> bool:
    return dims(signal_input(proto))[1 if layout == "BTL" else -1] is None


def find_output(proto: Any, wanted: str | None) -> str:
    outputs = {o.name: dims(o) for o in proto.graph.output}
    if wanted is not None:
        if wanted not in outputs:
            raise EcgError(f"it has no output {wanted} (it has: {', '.join(outputs)})")
        return wanted
    if "logits" in outputs:
        return "logits"
    flat = [name for name, dims in outputs.items() if len(dims) == 2] or list(outputs)
    if len(flat) != 1:
        raise EcgError(f"which of its outputs holds the logits is not clear: {', '.join(flat)} (output)")
    name: str = flat[0]
    return name


def legacy(metadata: Mapping[str, str]) -> Legacy | None:
    """ExChanGeAI's metadata: Python values as text, read as literals and never run.

    Returns: None where there are none.
    Raises EcgError for values that are not what ExChanGeAI writes.
    """
    if "target_keys" not in metadata:
        return None
    try:
        labels = ast.literal_eval(metadata["target_keys"])
    except (ValueError, SyntaxError, MemoryError, RecursionError) as fault:
        raise EcgError("its target_keys are no Python list as text", where="target_keys") from fault
    if isinstance(labels, dict):
        labels = list(labels.values()) if all(isinstance(k, int) for k in labels) else list(labels)
    if not isinstance(labels, list | tuple) or not all(isinstance(v, str | int) for v in labels):
        raise EcgError("its target_keys are no list of names", where="target_keys")
    standardizer: str | None = metadata.get("standardizer", "None")
    standardizer = None if standardizer in ("None", "") else standardizer
    if standardizer not in (None, "minMax", "meanStd"):
        raise EcgError(f"no standardizer {standardizer} is known", where="standardizer")
    scale = metadata.get("scale", "milliVolt")
    if scale not in ("milliVolt", "mikroVolt", "microVolt"):
        raise EcgError(f"no scale {scale} is known", where="scale")
    try:
        fs = float(metadata.get("sampling_rate", "100"))
    except ValueError as fault:
        raise EcgError("its sampling_rate is no number", where="sampling_rate") from fault
    if not 0 < fs < 1e5:
        raise EcgError(f"a sampling_rate of {fs:g} Hz cannot be", where="sampling_rate")
    return Legacy(tuple(map(str, labels)), standardizer, scale != "milliVolt", fs)


def preset_of(words: Legacy, leads: Sequence[str], samples: int) -> Preset:
    """The preprocessing that ExChanGeAI runs before a model with such metadata.

    Args:
        leads: in the order of the model's rows (ExChanGeAI: I, II, III, aVR, aVL, aVF, V1-V6). samples: T that the model takes.
    """
    steps = [
        Step("resample_fourier", {"to": words.fs}),
        Step("clip_quantiles", {"q": 0.01, "reach": 1.5}),
        Step("median_baseline", {"window_s": 2.0}),
        Step("fit", {"length": samples, "fill": 0.0}),
    ]
    if words.microvolts:
        steps.append(Step("standardize", {"mean": 0.0, "std": 0.001}))  # mV -> microvolt
    if words.standardizer == "minMax":
        steps.append(Step("min_max", {"low": -1.0, "high": 1.0, "eps": 0.0}))
    if words.standardizer == "meanStd":
        steps.append(Step("z_score", {"over": "record", "eps": 0.0}))
    unit = {"minMax": "1", "meanStd": "z"}.get(words.standardizer or "", "uV" if words.microvolts else "mV")
    return Preset(
        "exchangeai-metadata", tuple(steps), tuple(leads), words.fs, samples, unit, "ExChanGeAI, from the file's metadata"
    )
