"""Small Bundles for tests, whose networks compute something that is known. Needs onnx, not torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from einthoven.exchange.bundle import Bundle, write_bundle
from einthoven.exchange.manifest import Manifest, labels
from einthoven.exchange.manifest import manifest as made
from einthoven.record import Record
from einthoven.signal.presets import Preset, Step

LEADS = ("I", "II", "V1")
FS, SECONDS = 100.0, 4


def preset(**more: Any) -> Preset:
    """Resamples to 100 Hz and takes 4 s; zeros where the recording is shorter."""
    steps = (Step("resample", {"to": FS}), Step("fit", {"length": int(FS * SECONDS), "fill": 0.0}))
    words: dict[str, Any] = {"steps": steps, "leads": LEADS, "fs": FS, "length": int(FS * SECONDS)}
    return Preset("test", **(words | more))


def manifest(*names: str, **more: Any) -> Manifest:
    words: dict[str, Any] = {
        "name": "mean-of-leads",
        "task": "multilabel",
        "labels": labels(names or ("NORM", "MI", "other")),
        "activation": "sigmoid",
        "inputs": [{"kind": "signal", "preset": preset().to_dict()}],
        "architecture": {"model": "onnx"},
        "licence": "Apache-2.0",
    }
    return made(**words | more)


def network(leads: int = 3, features: int = 0, *, gain: float = 1.0) -> bytes:
    """ONNX whose logits are `gain` times the mean of each lead (mV), followed by the features; the embedding is the same."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    inputs = [helper.make_tensor_value_info("signal", TensorProto.FLOAT, ["batch", leads, int(FS * SECONDS)])]
    nodes = [
        helper.make_node("ReduceMean", ["signal", "axis"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "gain"], ["scaled"]),
    ]
    last = "scaled"
    if features:
        inputs.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", features]))
        nodes.append(helper.make_node("Concat", ["scaled", "features"], ["all"], axis=1))
        last = "all"
    nodes += [helper.make_node("Identity", [last], [name]) for name in ("logits", "embedding")]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", leads + features]) for n in ("logits", "embedding")
    ]
    constants = [
        numpy_helper.from_array(np.array([2]), "axis"),
        numpy_helper.from_array(np.array(gain, np.float32), "gain"),
    ]
    graph = helper.make_graph(nodes, "mean", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def bundle(path: Path, said: Manifest | None = None, **files: bytes) -> Bundle:
    """A Bundle at `path`; `files` beside or instead of model.onnx, by names with _ for the dot."""
    content: dict[str, bytes] = {"model.onnx": network()} | {name.replace("_", "."): data for name, data in files.items()}
    return write_bundle(path, said or manifest(), content)


def record(levels: dict[str, float], seconds: float = SECONDS, fs: float = 500.0) -> Record:
    """Flat lines at the given levels, mV."""
    rows = [np.full(round(seconds * fs), level, np.float32) for level in levels.values()]
    return Record(np.stack(rows), fs, tuple(levels))
