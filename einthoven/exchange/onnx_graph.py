"""`OnnxModel`: a graph of ONNX operators as a SignalModel, in two halves that are plain JSON.

B batch, L leads, T samples, C channels, N positions, K outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from einthoven.exchange.onnx_ops import OPERATORS, STATIC, Value, padded, pads_of, tensor
from einthoven.models.signal.model import Backbone, SignalModel
from einthoven.record import EcgError

LAYOUTS = ("BLT", "BTL", "B1LT", "BL1T")  # how the file wants its input


@dataclass(frozen=True, eq=False)
class Node:
    """An operator: names of what goes in ("" for what is left out) and of what comes out; `module` the name of the torch
    module that does it, where one does."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    how: Mapping[str, Any] = field(default_factory=dict)
    module: str = ""


class AnyBatchNorm(_BatchNorm):  # type: ignore[misc]
    """BatchNorm over axis 1 of any number of axes, as in ONNX."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class Recurrent(nn.Module):  # type: ignore[misc]
    """ONNX's GRU or LSTM: X (T, B, I), initial states -> Y (T, directions, B, H), last states (directions, B, H)."""

    def __init__(self, kind: str, inputs: int, hidden: int, direction: str, bias: bool) -> None:
        super().__init__()
        self.backwards, self.directions = direction == "reverse", 2 if direction == "bidirectional" else 1
        made = {"GRU": nn.GRU, "LSTM": nn.LSTM}[kind]
        self.rnn = made(inputs, hidden, bias=bias, bidirectional=self.directions == 2)

    def forward(self, x: Tensor, h: Tensor | None, c: Tensor | None = None) -> tuple[Tensor, ...]:
        start = None
        if h is not None:
            start = h if isinstance(self.rnn, nn.GRU) else (h, torch.zeros_like(h) if c is None else c)
        y, last = self.rnn(x.flip(0) if self.backwards else x, start)
        y = y.flip(0) if self.backwards else y
        y = y.reshape(y.shape[0], y.shape[1], self.directions, -1).permute(0, 2, 1, 3)
        return (y, *(last if isinstance(last, tuple) else (last,)))


class Graph(nn.Module):  # type: ignore[misc]
    """Operators in the order they run. `spec` is plain JSON: inputs, outputs, nodes, tensors (what lies in the state dict:
    shape, type, and whether it trains), constants (small ones, with their values). Weights are fresh until they are loaded."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__()
        self.inputs, self.outputs = tuple(spec["inputs"]), tuple(spec["outputs"])
        self.nodes = [Node(n["op"], tuple(n["in"]), tuple(n["out"]), from_json(n["how"]), n["module"]) for n in spec["nodes"]]
        self.keys: dict[str, str] = {}  # name -> attribute of this module
        self.known: dict[str, Any] = {}  # name -> host value
        self.numbers: dict[str, Any] = {}  # name -> constant of floats, as an array
        for name, words in spec["tensors"].items():
            key = self.keys[name] = words["key"]
            kind = getattr(torch, words["type"])
            if words["train"]:
                start = torch.ones if words.get("start") == 1 else torch.zeros
                self.register_parameter(key, nn.Parameter(start(words["shape"], dtype=kind)))
            else:
                self.register_buffer(key, torch.zeros(words["shape"], dtype=kind))
        for i, (name, words) in enumerate(spec["constants"].items()):
            value = from_json(words)
            if value.dtype.kind == "f":
                self.numbers[name], self.keys[name] = value, f"constant_{i}"
                self.register_buffer(self.keys[name], torch.from_numpy(value.copy()), persistent=False)
            else:
                self.known[name] = value
        for node in self.nodes:
            if node.module and not hasattr(self, node.module):
                self.add_module(node.module, _module(node))
        last: dict[str, int] = {name: i for i, node in enumerate(self.nodes) for name in node.inputs}
        self.done = [
            [name for name in {*node.inputs, *node.outputs} if last.get(name, i) == i and name not in self.outputs]
            for i, node in enumerate(self.nodes)
        ]

    def forward(self, *given: Tensor) -> tuple[Value, ...]:
        values: dict[str, Value] = dict(zip(self.inputs, given, strict=True))

        def value(name: str, static: bool) -> Value:
            if not name:
                return None
            if name in values:
                return values[name]
            if name in self.known:
                return self.known[name]
            if static and name in self.numbers:
                return self.numbers[name]
            return getattr(self, self.keys[name])

        for node, done in zip(self.nodes, self.done, strict=True):
            x = [value(name, i in STATIC.get(node.op, ())) for i, name in enumerate(node.inputs)]
            try:
                out = self._run(node, x)
            except (RuntimeError, ValueError, TypeError, IndexError, KeyError, ZeroDivisionError) as fault:
                raise EcgError(f"{node.op}: {fault}", where=node.outputs[0]) from fault
            for name, made in zip(node.outputs, out if isinstance(out, tuple) else (out,)):
                values[name] = made
            for name in done:
                values.pop(name, None)
        return tuple(value(name, False) for name in self.outputs)

    def _run(self, node: Node, x: list[Value]) -> Value:
        if not node.module:
            return OPERATORS[node.op](node.how, *x)
        module = self.get_submodule(node.module)
        if node.op == "Conv" and "around" in node.how:
            return module(padded(x[0], pads_of(node.how["around"], x[0], node.how["kernel"])))
        if node.op in ("GRU", "LSTM"):
            return module(x[0], *x[1:])
        return module(tensor(x[0]))


def _module(node: Node) -> nn.Module:
    how = node.how
    if node.op == "Linear":
        return nn.Linear(how["c"], how["d"], how["bias"])
    if node.op in ("Conv", "ConvTranspose"):
        kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d), (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        made: Any = kinds[node.op == "ConvTranspose"][len(how["kernel"]) - 1]
        more = {"output_padding": how["more"]} if node.op == "ConvTranspose" else {}
        return made(
            how["c"], how["d"], how["kernel"], how["stride"], how["pad"],
            dilation=how["dilation"], groups=how["groups"], bias=how["bias"], **more,
        )  # fmt: skip
    if node.op == "BatchNormalization":
        return AnyBatchNorm(how["c"], eps=how["eps"], momentum=how["momentum"])
    if node.op == "Dropout":
        return nn.Dropout(how["p"])
    return Recurrent(node.op, how["c"], how["d"], how["direction"], how["bias"])


class OnnxModel(SignalModel):
    """A foreign graph. Made by `open_onnx`; `OnnxModel(**model.config)` is the same architecture with fresh weights.

    Args:
        leads, samples: of the input, samples None where the file takes any number. layout: how the file wants it (LAYOUTS).
        body, tail: the two halves as plain JSON (Graph). linear: the module of the last linear operator, in `tail`.
    """

    def __init__(
        self,
        *,
        leads: int,
        outputs: int,
        samples: int | None,
        layout: str,
        body: dict[str, Any],
        tail: dict[str, Any],
        linear: str,
    ) -> None:
        super().__init__()
        words = {"leads": leads, "outputs": outputs, "samples": samples, "layout": layout, "linear": linear}
        self.config = copy.deepcopy({**words, "body": body, "tail": tail})
        self.body = Graph(body)
        self.head = Head(tail)

    def backbone(self, signal: Tensor) -> Backbone:
        """-> what enters the last linear operator; maps: what leaves the last convolution before it, (B, C, N), if any."""
        if self.config["samples"] is not None and signal.shape[-1] != self.config["samples"]:
            raise EcgError(f"this ONNX model takes {self.config['samples']} samples, not {signal.shape[-1]}")
        head_input, *maps = self.body(laid_out(signal, self.config["layout"]))
        return Backbone(head_input, tuple(maps), {})

    def embedding(self, head_input: Tensor) -> Tensor:
        """(B, D): the mean over positions, which stand last before a convolution and in the middle before a Linear."""
        if head_input.ndim <= 2:
            return head_input
        positions_last = not isinstance(self.head.get_submodule(self.config["linear"]), nn.Linear)
        return head_input.flatten(2).mean(-1) if positions_last else head_input.flatten(1, -2).mean(1)

    def new_head(self, outputs: int) -> None:
        """The last linear operator anew, and behind it whatever is as wide as the old number of outputs."""
        tail = resized(self.config["tail"], self.config["linear"], int(self.config["outputs"]), outputs)
        head = Head(tail)
        head.to(next(self.parameters()).device)
        self.config |= {"tail": tail, "outputs": outputs}
        self.head = head


class Head(Graph):
    """The last linear operator and what follows: head input -> logits (B, K)."""

    def forward(self, *given: Tensor) -> Tensor:
        logits: Tensor = super().forward(*given)[0]
        return logits


def laid_out(signal: Tensor, layout: str) -> Tensor:
    """(B, L, T) -> as the file wants it."""
    if layout == "BTL":
        return signal.transpose(1, 2)
    return {"BLT": signal, "B1LT": signal.unsqueeze(1), "BL1T": signal.unsqueeze(2)}[layout]


def resized(tail: Mapping[str, Any], linear: str, old: int, new: int) -> dict[str, Any]:
    """The tail for another number of outputs. Raises EcgError where that cannot be done without a guess."""
    spec: dict[str, Any] = copy.deepcopy(dict(tail))
    shapes = {
        name for node in spec["nodes"] if node["op"] in ("Reshape", "Expand") for name in node["in"][1:2]
    }  # sizes among the constants
    for node in spec["nodes"]:
        how = node["how"]
        if node["module"] == linear:
            if how["d"] != old or how.get("groups", 1) != 1:
                raise EcgError(f"its last linear layer has {how['d']} outputs, the model {old}: no new head can be put on")
            how["d"] = new
        elif node["op"] == "BatchNormalization" and how["c"] == old:
            how["c"] = new
    for name, words in spec["tensors"].items():
        shape = words["shape"]
        if shape.count(old) == 1 and all(n in (1, old) for n in shape):
            words["shape"] = [new if n == old else n for n in shape]
            factor = any(node["op"] in ("Mul", "Div") and name in node["in"] for node in spec["nodes"])
            words["start"] = 1 if factor else 0
    for name in shapes & set(spec["constants"]):
        values = spec["constants"][name]["values"]
        spec["constants"][name]["values"] = [new if v == old else v for v in values]
    head = Head(spec).eval()
    with torch.no_grad():
        logits = head(torch.zeros(2, *tail["entry"]))
    if list(logits.shape) != [2, new]:
        raise EcgError(f"with {new} outputs its head gives {list(logits.shape)} for two ECGs: no new head can be put on")
    return spec


def to_json(value: Any) -> Any:
    """Arrays as {"type", "shape", "values"}, floats as text (JSON has no infinity)."""
    if isinstance(value, Mapping):
        return {k: to_json(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        kind = {"f": str(value.dtype), "b": "bool"}.get(value.dtype.kind, "int64")
        values = [repr(float(v)) if value.dtype.kind == "f" else int(v) for v in value.ravel().tolist()]
        return {"type": kind, "shape": list(value.shape), "values": values}
    return value


def from_json(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"type", "shape", "values"}:
        kind = np.dtype(value["type"])
        values = [float(v) for v in value["values"]] if kind.kind == "f" else value["values"]
        return np.array(values, kind).reshape(value["shape"])
    return {k: from_json(v) for k, v in value.items()} if isinstance(value, Mapping) else value
