"""A foreign ONNX file as a model that can be trained: our own reading of the graph, proven against onnxruntime.

    file --load: bounded, checked, nothing outside its folder--> nodes and constants, in the spelling of opset 20
         --fold what is constant, make Conv, Linear, BatchNorm, GRU, LSTM modules of torch--> one list of operators
         --cut at the last linear operator--> body and head --> OnnxModel, a SignalModel as any other

Every float initialiser is a parameter, but for the statistics of BatchNorm, single numbers and what is not finite (masks).
Constants inside the graph stay what they are. A softmax or sigmoid at the end is taken off: a model ends in logits.

ExChanGeAI converts with a parser of its own and onnx2torch, finds the head by its name and replaces every initialiser with a
dimension of the old number of classes, whoever it belongs to; here only what stands behind the last linear operator changes.

B batch, L leads, T samples, K outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from einthoven.exchange.onnx_file import LARGEST, Legacy, any_length, find_input, find_output, legacy, load, signal_input
from einthoven.exchange.onnx_graph import Graph, Node, OnnxModel, laid_out, to_json
from einthoven.exchange.onnx_ops import OPERATORS, STATIC, Value
from einthoven.record import EcgError

TOLERANCE = 1e-4  # of the largest output, or of 1 where that is smaller
_INLINE = 4096  # integers that travel with the graph; longer ones, and floats, with the weights
_ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_LINEAR = ("Conv", "Linear")
_STEPS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "ArgMax", "ArgMin", "Sign", "Floor", "Ceil", "Round")
_AXES_MOVED = {  # operators whose axes became an input, and the opset it came with
    "Squeeze": 13, "Unsqueeze": 13, "ReduceSum": 13,
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"), 18),
    **dict.fromkeys(("ReduceProd", "ReduceSumSquare"), 18),
}  # fmt: skip
_MODULES = ("Conv", "ConvTranspose", "BatchNormalization", "GRU", "LSTM", "Linear")
Constants = dict[str, NDArray[Any]]
State = dict[str, Tensor]  # "module.weight" or the key of a tensor -> value
Made = tuple[Node, dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Foreign:
    """An imported file. `activation` is what stood behind the logits ("softmax", "sigmoid" or "identity"); `difference` the
    largest one to onnxruntime; `trainable` of `weights` numbers are parameters, the rest are statistics and constants;
    `head` the name of the last linear operator's module; `legacy` ExChanGeAI's metadata, None where there are none."""

    model: OnnxModel
    opset: int
    activation: str
    head: str
    difference: float
    trainable: int
    weights: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    legacy: Legacy | None = None

    @property
    def share(self) -> float:
        return self.trainable / self.weights

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: all but the graph."""
        config = {key: value for key, value in self.model.config.items() if key not in ("body", "tail")}
        words = {"opset": self.opset, "activation": self.activation, "head": self.head, "difference": self.difference}
        counts = {"trainable": self.trainable, "weights": self.weights}
        return config | words | counts | {"labels": list(self.legacy.labels) if self.legacy else []}

    def text(self) -> str:
        config = self.model.config
        return "\n".join(
            [
                f"opset {self.opset}, {config['leads']} leads, {config['samples'] or 'any number of'} samples, "
                f"{config['outputs']} outputs ({self.activation}), head {self.head}",
                f"trainable {self.trainable:,} of {self.weights:,} numbers ({100 * self.share:.2f} %)",
                f"differs from onnxruntime by {self.difference:.1g}",
            ]
        )


def open_onnx(
    path: str | Path,
    *,
    leads: int = 12,
    samples: int | None = None,
    output: str | None = None,
    largest: int = LARGEST,
) -> Foreign:
    """A foreign ONNX file as a trainable SignalModel that computes what onnxruntime does with it (TOLERANCE, random input).

    Args:
        leads: how many the model takes; says which axis of its input they stand on.
        samples: to try it with, where the file leaves the length open.
        output: name of the output with the logits (or probabilities); default "logits", or the only one of shape (B, K).
        largest: bytes, with data that lie beside the file.

    Raises:
        EcgError: too large, not ONNX, weights outside its folder, operators that are not ONNX's own, an operator, opset or
        shape that is not supported (it is named), or a result that is not onnxruntime's.
    """
    path = Path(path)
    try:
        return _open(path, leads, samples, output, largest)
    except EcgError as fault:
        raise fault.at(path) from fault


def _open(path: Path, leads: int, samples: int | None, output: str | None, largest: int) -> Foreign:
    proto = load(path, largest)
    opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    nodes, constants, trained = _read(proto, opset)
    given, layout, length = find_input(proto, leads, samples)
    shape = (leads, length)
    target = find_output(proto, output)
    nodes, constants, trained = _fold(nodes, constants, trained)
    target, activation, nodes = _without_activation(target, nodes)
    nodes = _needed(nodes, [target])
    lowered, state, spare = _lower(nodes, constants, trained)
    probe = laid_out(torch.zeros(2, *shape), layout)
    logits = _try(lowered, spare, trained, state, given, [target], probe)[0]
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(probe):
        raise EcgError(f"its output is {list(np.shape(logits))} for {len(probe)} ECGs, not ({len(probe)}, outputs)")
    body, tail, linear = _cut(lowered, spare, trained, given, target, probe)
    fixed = None if any_length(proto, layout) else length
    model = OnnxModel(
        leads=leads, outputs=int(logits.shape[1]), samples=fixed, layout=layout, body=body, tail=tail, linear=linear
    )
    _load(model.body, state, spare)
    _load(model.head, state, spare)
    model.eval()
    trainable = sum(p.numel() for p in model.parameters())
    difference = _verify(proto, model, shape, target)
    return Foreign(
        model,
        opset,
        activation,
        linear,
        difference,
        trainable,
        trainable + sum(b.numel() for b in model.buffers() if b.is_floating_point()),
        {p.key: p.value for p in proto.metadata_props},
        legacy({p.key: p.value for p in proto.metadata_props}),
    )


def _read(proto: Any, opset: int) -> tuple[list[Node], Constants, set[str]]:
    """-> nodes as of opset 20, without Constant and Identity; all constants; those of them that are to be trained."""
    from onnx import numpy_helper

    constants: Constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    trained = {name for name, v in constants.items() if v.dtype == np.float32 and v.size > 1 and np.isfinite(v).all()}
    if proto.graph.sparse_initializer:
        raise EcgError("sparse weights are not supported")
    nodes: list[Node] = []
    alias: dict[str, str] = {}
    for raw in proto.graph.node:
        how = {a.name: _attribute(a, raw.op_type) for a in raw.attribute}
        inputs = tuple(alias.get(name, name) for name in raw.input)
        if raw.op_type == "Constant":
            value = next(iter(how.values()))
            constants[raw.output[0]] = np.asarray(value, np.float32 if _floats(value) else None)
        elif raw.op_type == "Identity":
            alias[raw.output[0]] = inputs[0]
        else:
            node = Node(raw.op_type, inputs, tuple(raw.output), how)
            nodes.append(_modern(node, opset, constants))
    kept = {o.name for o in proto.graph.output}
    nodes += [Node("Identity", (alias[name],), (name,)) for name in kept if name in alias]
    for node in nodes:  # numbers that say how, not weights
        trained -= {node.inputs[i] for i in STATIC.get(node.op, ()) if i < len(node.inputs)}
    steered = {name for node in nodes if node.op not in _STEPS for name in node.inputs}
    trained &= steered | {o.name for o in proto.graph.output}  # what is only compared with has no gradient
    missing = sorted({n.op for n in nodes} - set(OPERATORS) - set(_MODULES))
    if missing:
        raise EcgError(f"operators that are not supported: {', '.join(missing)}")
    return nodes, constants, trained


def _floats(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, list) and any(isinstance(v, float) for v in value))


def _attribute(attribute: Any, op: str) -> Any:
    from onnx import AttributeProto, helper, numpy_helper

    if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        raise EcgError(f"{op} is not supported: a graph that takes branches cannot be trained as one")
    value = helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if attribute.type == AttributeProto.STRINGS:
        return [v.decode("utf-8", "replace") for v in value]
    return list(value) if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


def _modern(node: Node, opset: int, constants: Constants) -> Node:
    """The same operator in the spelling of opset 20."""
    how = dict(node.how)
    inputs = list(node.inputs)

    def as_input(name: str, value: Any) -> str:
        key = f"{node.outputs[0]}/{name}"
        constants[key] = np.asarray(value, np.int64)
        return key

    if node.op in _AXES_MOVED and opset < _AXES_MOVED[node.op] and "axes" in how:
        inputs = [inputs[0], as_input("axes", how.pop("axes"))]
    if node.op == "Split":
        if "split" in how:
            inputs = [inputs[0], as_input("split", how.pop("split"))]
        how["outputs"] = len(node.outputs)
    if node.op in ("Softmax", "LogSoftmax") and opset < 13:
        how = {"flatten": how.get("axis", 1)}
    if node.op == "Dropout" and "ratio" in how:
        how["p"] = float(how["ratio"])
    return replace(node, inputs=tuple(inputs), how=how)


def _fold(nodes: list[Node], constants: Constants, trained: set[str]) -> tuple[list[Node], Constants, set[str]]:
    """Computes what depends on constants alone. What is made of weights is a weight: W transposed trains as W."""
    constants, trained, left = dict(constants), set(trained), []
    used = _uses(nodes)
    for node in nodes:
        named = [name for name in node.inputs if name]
        tied = any(name in trained and used[name] > 1 for name in named)  # a weight in two places stays one weight
        plain = node.op in OPERATORS and node.op not in ("Dropout", "Shape", "Size")
        shape_of = node.op in ("Shape", "Size") and named[0] in constants
        if not shape_of and (not plain or tied or not named or any(name not in constants for name in named)):
            left.append(node)
            continue
        x = [_constant(constants[name], i in STATIC.get(node.op, ())) if name else None for i, name in enumerate(node.inputs)]
        try:
            with torch.no_grad():
                out = OPERATORS[node.op](node.how, *x)
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as fault:
            raise EcgError(f"{node.op}: {fault}", where=node.outputs[0]) from fault
        for name, value in zip(node.outputs, out if isinstance(out, tuple) else (out,)):
            constants[name] = value.numpy() if isinstance(value, Tensor) else value
            if any(n in trained for n in named) and constants[name].dtype == np.float32 and constants[name].size > 1:
                trained.add(name)
    return left, constants, trained


def _constant(value: NDArray[Any], static: bool) -> Value:
    if static or (value.dtype.kind in "iub" and value.size <= _INLINE):
        return value.astype(np.int64) if value.dtype.kind in "iu" else value
    return torch.from_numpy(np.array(value))


def _uses(nodes: Iterable[Node]) -> dict[str, int]:
    uses: dict[str, int] = {}
    for node in nodes:
        for name in node.inputs:
            uses[name] = uses.get(name, 0) + 1
    return uses


def _needed(nodes: list[Node], targets: Iterable[str]) -> list[Node]:
    """Those that the targets depend on, in order."""
    wanted, kept = set(targets), []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted |= set(node.inputs)
    return kept[::-1]


def _without_activation(target: str, nodes: list[Node]) -> tuple[str, str, list[Node]]:
    """Takes softmax or sigmoid off the end. -> the name of the logits, the activation's name, the nodes."""
    maker = {name: node for node in nodes for name in node.outputs}
    activation = "identity"
    while target in maker and maker[target].op in ("Identity", *_ACTIVATIONS):
        node = maker[target]
        if node.op in _ACTIVATIONS:
            if activation != "identity":
                break
            activation = _ACTIVATIONS[node.op]
        target = node.inputs[0]
    return target, activation, nodes


def _key(name: str, taken: set[str]) -> str:
    """A name that torch takes for an attribute: "blocks.0.conv.weight" -> "blocks_0_conv"."""
    word = re.sub(r"\W+", "_", re.sub(r"[./](weight|kernel|W)(_\w+)?$", "", name)).strip("_") or "node"
    word = word if not word[0].isdigit() else f"n{word}"
    key, i = word, 1
    while key in taken or hasattr(nn.Module, key):
        i += 1
        key = f"{word}_{i}"
    taken.add(key)
    return key


def _lower(nodes: list[Node], constants: Constants, trained: set[str]) -> tuple[list[Node], State, Constants]:
    """Operators with weights of their own become modules. -> nodes, what the modules hold, the constants that are left."""
    uses, state = _uses(nodes), State()
    taken = {"inputs", "outputs", "nodes", "keys", "known", "numbers", "done"}
    lowered: list[Node] = []
    followers = {name: node for node in nodes for name in node.inputs}
    merged: set[int] = set()
    shared: dict[Any, str] = {}
    for node in nodes:
        if id(node) in merged:
            continue
        alone = all(uses[name] == 1 for name in node.inputs[1:] if name)
        at = [constants.get(name) if name else None for name in node.inputs]
        made: tuple[Node, dict[str, NDArray[Any]]] | None = None
        key_from = node.inputs[1] if len(node.inputs) > 1 and node.inputs[1] else node.outputs[0]
        if (
            node.op in ("Conv", "ConvTranspose")
            and at[1] is not None
            and all(v is not None for v, name in zip(at[2:], node.inputs[2:]) if name)
        ):
            made = _conv(node, at)
        elif node.op == "MatMul" and alone and len(at) == 2 and at[1] is not None and at[1].ndim == 2 and at[0] is None:
            node, bias, add = _with_bias(node, at[1].shape[1], followers, uses, constants, trained)
            merged |= {id(add)} if add is not None else set()
            made = _linear(node, at[1].T, bias)
        elif node.op == "Gemm" and alone and at[0] is None and at[1] is not None and not node.how.get("transA", 0):
            made = _gemm(node, at)
        elif node.op == "BatchNormalization" and all(v is not None for v in at[1:]):
            made = _batch_norm(node, at)
        elif node.op in ("GRU", "LSTM"):
            made = _recurrent(node, at)
        elif node.op == "Dropout":
            ratio = node.how.get("p", at[1] if len(at) > 1 and at[1] is not None else 0.5)
            made = replace(node, inputs=node.inputs[:1], outputs=node.outputs[:1], how={"p": float(np.asarray(ratio))}), {}
        if made is None:
            if node.op not in OPERATORS:
                raise EcgError(f"{node.op} whose weights are computed is not supported", where=node.outputs[0])
            lowered.append(node)
            continue
        changed, weights = made
        # The same convolution in two places is one module; equal biases that an exporter has made one are not.
        same = (node.op, node.inputs[1:], repr(changed.how)) if node.op in ("Conv", "ConvTranspose") else None
        if same in shared:
            lowered.append(replace(changed, module=shared[same]))
            continue
        if same is not None and any(weight == node.inputs[1] for _, (weight, *_), _ in shared):
            raise EcgError("a weight of two different convolutions is not supported", where=node.outputs[0])
        key = _key(key_from, taken)
        if same is not None:
            shared[same] = key
        lowered.append(replace(changed, module=key))
        state |= {f"{key}.{name}": torch.from_numpy(np.array(value, copy=True)) for name, value in weights.items()}
    spare = {name: constants[name] for node in lowered for name in node.inputs if name in constants}
    return lowered, state, spare


def _conv(node: Node, at: list[NDArray[Any] | None]) -> Made:
    weight, bias = at[1], at[2] if len(at) > 2 else None
    assert weight is not None
    a, transposed = node.how, node.op == "ConvTranspose"
    kernel, groups = [int(k) for k in weight.shape[2:]], int(a.get("group", 1))
    n = len(kernel)
    if not 1 <= n <= 3:
        raise EcgError(f"a convolution over {n} axes is not supported", where=node.outputs[0])
    pads, auto = list(a.get("pads") or [0] * (2 * n)), a.get("auto_pad", "NOTSET")
    how: dict[str, Any] = {
        "c": int(weight.shape[0 if transposed else 1]) * (1 if transposed else groups),
        "d": int(weight.shape[1]) * groups if transposed else int(weight.shape[0]),
        "kernel": kernel,
        "stride": list(a.get("strides") or [1] * n),
        "dilation": list(a.get("dilations") or [1] * n),
        "groups": groups,
        "bias": bias is not None,
        "pad": [0] * n,
    }
    if auto in ("NOTSET", "VALID") and (pads[:n] == pads[n:] or auto == "VALID"):
        how["pad"] = pads[:n] if auto == "NOTSET" else [0] * n
    elif transposed:
        raise EcgError("ConvTranspose with uneven or automatic padding is not supported", where=node.outputs[0])
    else:
        how["around"] = {"auto_pad": auto, "pads": pads, "strides": how["stride"], "dilations": how["dilation"]}
    if transposed:
        if a.get("output_shape"):
            raise EcgError("ConvTranspose with output_shape is not supported", where=node.outputs[0])
        how["more"] = list(a.get("output_padding") or [0] * n)
    weights = {"weight": weight} | ({} if bias is None else {"bias": bias})
    return replace(node, inputs=node.inputs[:1], how=how), weights


def _linear(node: Node, weight: NDArray[Any], bias: NDArray[Any] | None) -> Made:
    d, c = weight.shape
    how = {"c": int(c), "d": int(d), "bias": bias is not None}
    weights = {"weight": np.ascontiguousarray(weight)} | ({} if bias is None else {"bias": bias.reshape(d)})
    return Node("Linear", node.inputs[:1], node.outputs[:1], how), weights


def _with_bias(
    node: Node,
    width: int,
    followers: Mapping[str, Node],
    uses: Mapping[str, int],
    constants: Constants,
    trained: set[str],
) -> tuple[Node, NDArray[Any] | None, Node | None]:
    """x W, followed by nothing but + b: together they are a Linear."""
    name = node.outputs[0]
    add = followers.get(name)
    if add is not None and add.op == "Add" and uses.get(name) == 1:
        other = add.inputs[1] if add.inputs[0] == name else add.inputs[0]
        if other in trained and uses[other] == 1 and constants[other].shape == (width,):
            return replace(node, outputs=add.outputs), constants[other], add
    return node, None, None


def _gemm(node: Node, at: list[NDArray[Any] | None]) -> Made | None:
    weight, bias = at[1], at[2] if len(at) > 2 else None
    assert weight is not None
    weight = weight if node.how.get("transB", 0) else weight.T
    named = len(node.inputs) > 2 and bool(node.inputs[2])
    if named and (bias is None or bias.size != weight.shape[0]):
        return None
    bias = None if bias is None else np.float32(node.how.get("beta", 1.0)) * bias
    return _linear(node, np.float32(node.how.get("alpha", 1.0)) * weight, bias)


def _batch_norm(node: Node, at: list[NDArray[Any] | None]) -> Made:
    weight, bias, mean, var = at[1:5]
    assert weight is not None and bias is not None and mean is not None and var is not None
    how = {
        "c": int(weight.size),
        "eps": float(node.how.get("epsilon", 1e-5)),
        "momentum": 1 - float(node.how.get("momentum", 0.9)),
    }
    weights = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": var}
    return replace(node, inputs=node.inputs[:1], outputs=node.outputs[:1], how=how), weights


def _recurrent(node: Node, at: list[NDArray[Any] | None]) -> Made:
    """Gates in torch's order: ONNX has z, r, h for a GRU (torch r, z, n) and i, o, f, c for an LSTM (torch i, f, g, o)."""
    a, where = node.how, node.outputs[0]
    w, r = at[1], at[2]
    names = [*node.inputs, *[""] * (8 - len(node.inputs))]
    if w is None or r is None or (names[3] and at[3] is None):
        raise EcgError(f"{node.op} whose weights are computed is not supported", where=where)
    if names[4] or names[7] or a.get("layout", 0) or a.get("clip") or a.get("input_forget", 0):
        raise EcgError(f"{node.op} with lengths, peepholes, clipping or layout 1 is not supported", where=where)
    usual = {"GRU": ["sigmoid", "tanh"], "LSTM": ["sigmoid", "tanh", "tanh"]}[node.op]
    if [str(f).lower() for f in a.get("activations", usual * w.shape[0])] != usual * int(w.shape[0]):
        raise EcgError(f"{node.op} with other activations is not supported", where=where)
    if node.op == "GRU" and not a.get("linear_before_reset", 0):
        raise EcgError("GRU that resets before its linear layer is not torch's: not supported", where=where)
    order = (1, 0, 2) if node.op == "GRU" else (0, 2, 3, 1)
    hidden = int(a.get("hidden_size", r.shape[2]))

    def gates(x: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([x[i * hidden : (i + 1) * hidden] for i in order])

    bias = at[3] if names[3] else None
    weights: dict[str, NDArray[Any]] = {}
    for direction, end in zip(range(int(w.shape[0])), ("", "_reverse")):
        weights |= {f"rnn.weight_ih_l0{end}": gates(w[direction]), f"rnn.weight_hh_l0{end}": gates(r[direction])}
        if bias is not None:
            half = bias.shape[1] // 2
            weights |= {
                f"rnn.bias_ih_l0{end}": gates(bias[direction][:half]),
                f"rnn.bias_hh_l0{end}": gates(bias[direction][half:]),
            }
    how = {"c": int(w.shape[2]), "d": hidden, "direction": a.get("direction", "forward"), "bias": bias is not None}
    states = (names[5],) if node.op == "GRU" else (names[5], names[6])
    return replace(node, inputs=(names[0], *states), how=how), weights


def _spec(nodes: list[Node], constants: Constants, trained: set[str], inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    """Plain JSON for `Graph`."""
    used = {name for node in nodes for name in node.inputs} | set(outputs)
    taken = {node.module for node in nodes} | {"inputs", "outputs", "nodes", "keys", "known", "numbers", "done"}
    tensors: dict[str, Any] = {}
    inline: dict[str, Any] = {}
    for name in sorted(used & set(constants)):
        value = constants[name]
        small = value.size <= (_INLINE if value.dtype.kind in "iub" else 16)
        if small and name not in trained:
            inline[name] = to_json(value)
        else:
            kind = {"f": str(value.dtype), "b": "bool"}.get(value.dtype.kind, "int64")
            key = _key(f"{name}_", taken)
            tensors[name] = {"key": key, "shape": list(value.shape), "type": kind, "train": name in trained}
    described = [
        {"op": n.op, "in": list(n.inputs), "out": list(n.outputs), "how": to_json(dict(n.how)), "module": n.module}
        for n in nodes
    ]
    return {"inputs": inputs, "outputs": outputs, "nodes": described, "tensors": tensors, "constants": inline}


def _try(
    nodes: list[Node], constants: Constants, trained: set[str], state: State, given: str, wanted: list[str], x: Tensor
) -> tuple[Value, ...]:
    """What some names hold for an input."""
    graph = Graph(_spec(_needed(nodes, wanted), constants, trained, [given], wanted)).eval()
    _load(graph, state, constants)
    with torch.no_grad():
        out: tuple[Value, ...] = graph(x)
    return out


def _load(graph: Graph, state: State, constants: Mapping[str, NDArray[Any]]) -> None:
    own = graph.state_dict()
    for key in own:
        if key in state:
            own[key] = state[key]
    for name, key in graph.keys.items():
        if key in own and name in constants:
            own[key] = torch.from_numpy(np.array(constants[name]))
    graph.load_state_dict(own)


def _cut(
    nodes: list[Node], constants: Constants, trained: set[str], given: str, target: str, x: Tensor
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Body and tail, apart at the last linear operator, and that operator's module.

    Raises EcgError where there is none, or where what follows it needs more of the body than what enters it.
    """
    last = next((i for i in reversed(range(len(nodes))) if nodes[i].op in _LINEAR and nodes[i].module), None)
    if last is None:
        raise EcgError("it has no linear layer or convolution that could be a head")
    linear = nodes[last]
    entry = linear.inputs[0]
    behind = {name for name in linear.outputs}
    tail = [linear]
    for node in nodes[last + 1 :]:
        if behind & set(node.inputs):
            behind |= set(node.outputs)
            tail.append(node)
    in_tail = set(tail)
    ahead = [node for node in nodes if node not in in_tail]
    made_ahead = {name for node in ahead for name in node.outputs} | {given}
    foreign = sorted({name for node in tail for name in node.inputs if name in made_ahead and name != entry})
    tail, constants_of_tail = _sizes_of_the_body(ahead, tail, constants, trained, given, entry, foreign, x)
    body = _needed(ahead, [entry])
    maps = [node.outputs[0] for node in body if node.op == "Conv" and node.module and len(node.how["kernel"]) == 1][-1:]
    if maps and maps[0] == entry:
        maps = []
    first = _spec(body, constants, trained, [given], [entry, *maps])
    second = _spec(tail, constants | constants_of_tail, trained, [entry], [target])
    second["entry"] = list(_try(ahead, constants, trained, {}, given, [entry], x)[0].shape[1:])  # of the head's input
    return first, second, linear.module


def _sizes_of_the_body(
    ahead: list[Node],
    tail: list[Node],
    constants: Constants,
    trained: set[str],
    given: str,
    entry: str,
    names: list[str],
    x: Tensor,
) -> tuple[list[Node], Constants]:
    """What the tail takes from the body beside the head's input may be sizes only: the batch, or numbers that never change."""
    if not names:
        return tail, {}
    fixed: Constants = {}
    added: list[Node] = []
    found = []
    for batch in (2, 3):
        signal = torch.zeros(batch, *x.shape[1:])
        found.append(_try(ahead, constants, trained, {}, given, names, signal))
    for name, two, three in zip(names, *found, strict=True):
        if not all(isinstance(v, np.ndarray) and v.dtype.kind == "i" for v in (two, three)):
            raise EcgError(f"what follows its last linear layer needs {name}, too: it has no head that could be exchanged")
        moves = two != three
        if not moves.any():
            fixed[name] = two
        elif (two[moves] == 2).all() and (three[moves] == 3).all():
            added.append(Node("BatchSize", (entry,), (name,), {"sizes": np.where(moves, 0, two)}))
        else:
            raise EcgError(f"what follows its last linear layer depends on {name} of the batch")
    return [*added, *tail], fixed


def _verify(proto: Any, model: OnnxModel, shape: tuple[int, int], logits: str) -> float:
    """The largest difference to onnxruntime on random input, at two sizes of the batch.

    Raises EcgError where it exceeds TOLERANCE, or onnxruntime cannot run the file.
    """
    import onnxruntime as ort

    given, rng, worst = signal_input(proto).name, np.random.default_rng(0), 0.0
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(_for_inference(proto, logits), options, providers=["CPUExecutionProvider"])
    except Exception as fault:  # onnxruntime's exceptions share no base
        raise EcgError(f"onnxruntime does not load it: {str(fault).splitlines()[0]}") from fault
    for batch in (2, 3):
        x = torch.from_numpy(rng.standard_normal((batch, *shape), np.float32))
        with torch.no_grad():
            ours = model(x).logits.numpy()
        try:
            theirs = session.run([logits], {given: laid_out(x, model.config["layout"]).contiguous().numpy()})[0]
        except Exception as fault:
            raise EcgError(f"onnxruntime does not run it on {batch} ECGs: {str(fault).splitlines()[0]}") from fault
        if ours.shape != theirs.shape:
            raise EcgError(f"it gives {list(ours.shape)}, with onnxruntime {list(theirs.shape)}")
        gap = float(np.abs(ours - theirs).max())
        if not gap <= TOLERANCE * max(1.0, float(np.abs(theirs).max())):
            raise EcgError(f"what was read of it differs from onnxruntime by {gap:.2g} at batch {batch}: not imported")
        worst = max(worst, gap)
    return worst


def _for_inference(proto: Any, logits: str) -> bytes:
    """The file for onnxruntime: nothing in training mode, the logits among its outputs."""
    import onnx

    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    truth = copied.graph.initializer.add()
    truth.CopyFrom(onnx.numpy_helper.from_array(np.array(False), "einthoven/inference"))
    for node in copied.graph.node:
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            for attribute in node.attribute:
                if attribute.name == "training_mode":
                    attribute.i = 0
        elif node.op_type == "Dropout" and len(node.input) > 2:
            node.input[2] = "einthoven/inference"
    if logits not in {o.name for o in copied.graph.output}:
        copied.graph.output.add().name = logits
    return copied.SerializeToString()  # type: ignore[no-any-return]
