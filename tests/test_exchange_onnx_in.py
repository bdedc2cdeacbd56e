"""Foreign ONNX files, made here with torch: read, equal to onnxruntime, fine-tuned, with a new head, and exported again."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from safetensors.torch import load as safetensors_load  # noqa: E402
from torch import nn  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from einthoven.cli import app  # noqa: E402
from einthoven.exchange.bundle import Bundle  # noqa: E402
from einthoven.exchange.onnx_file import Legacy, legacy, preset_of  # noqa: E402
from einthoven.exchange.onnx_in import OnnxModel, open_onnx  # noqa: E402
from einthoven.exchange.onnx_out import export  # noqa: E402
from einthoven.exchange.predict import Predictor  # noqa: E402
from einthoven.record import STANDARD_LEADS, EcgError  # noqa: E402
from einthoven.signal.presets import Preset  # noqa: E402
from einthoven.signal.presets import apply as prepare  # noqa: E402
from einthoven.synth import simulate  # noqa: E402
from einthoven.tune import Tuning, apply, check_gradients, merge  # noqa: E402

torch.set_num_threads(1)
T = 32


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv1d(12, 8, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(8, 16, 3, padding=1, groups=2),
            nn.GELU(),
            nn.GroupNorm(4, 16),
            nn.Dropout(0.1),
        )
        self.head = nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        return self.head(self.convs(x).mean(-1))


class Inception(nn.Module):
    """Branches, an uneven kernel, an average pool, a head of a convolution with BatchNorm and ReLU before the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(12, 4, 1, bias=False)
        self.convs = nn.ModuleList(nn.Conv1d(4, 4, k, padding="same", bias=False) for k in (8, 5, 3))
        self.pool = nn.Sequential(nn.AvgPool1d(3, 1, 1), nn.Conv1d(12, 4, 1, bias=False))
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Sequential(nn.Conv1d(16, 4, 1), nn.BatchNorm1d(4), nn.LeakyReLU(0.2))

    def forward(self, x: Any) -> Any:
        narrow = self.narrow(x)
        y = self.norm(torch.cat([*(conv(narrow) for conv in self.convs), self.pool(x)], 1)).relu()
        return self.head(y).mean(-1).reshape(x.size(0), -1).softmax(-1)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(12 * 8, 16)
        self.position = nn.Parameter(torch.randn(1, T // 8 + 1, 16))
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        b = x.shape[0]
        x = self.patch(x.reshape(b, 12, T // 8, 8).transpose(1, 2).flatten(2))
        x = torch.cat([self.first.expand(b, -1, -1), x], 1) + self.position
        q, k, v = (y.reshape(b, -1, 2, 8).transpose(1, 2) for y in self.qkv(self.norms[0](x)).chunk(3, -1))
        x = x + self.out((q @ k.transpose(-1, -2) / 8**0.5).softmax(-1).matmul(v).transpose(1, 2).flatten(2))
        x = x + self.mlp(self.norms[1](x))
        return self.head(x[:, 0])


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(12, 6, bidirectional=True, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x.transpose(1, 2))[0][:, -1])


# name: the network, the exporter, the opset, and whether BatchNorm and all that is constant is folded
FILES: dict[str, tuple[type[nn.Module], bool, int, bool]] = {
    "cnn, dynamo, opset 20": (Cnn, True, 20, True),
    "inception, TorchScript, opset 17": (Inception, False, 17, True),
    "cnn, dynamo, not optimised": (Cnn, True, 18, False),
    "transformer, dynamo": (Transformer, True, 20, True),
    "transformer, TorchScript, opset 13": (Transformer, False, 13, True),
    "gru, TorchScript, opset 12": (Gru, False, 12, True),
}


def write(model: nn.Module, path: Path, dynamo: bool, opset: int, optimised: bool = True) -> Path:
    x = torch.randn(2, 12, T)
    names = {"input_names": ["ecg"], "output_names": ["y"], "opset_version": opset}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            batch = torch.export.Dim("batch", min=1)
            how = {"dynamic_shapes": ({0: batch},), "optimize": optimised, "external_data": False, "verbose": False}
            torch.onnx.export(model.eval(), (x,), str(path), dynamo=True, **names, **how)
        else:
            how = {"dynamic_axes": {"ecg": {0: "batch"}, "y": {0: "batch"}}}
            torch.onnx.export(model.eval(), (x,), str(path), dynamo=False, **names, **how)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[nn.Module, Path]]:
    folder, made = tmp_path_factory.mktemp("foreign"), {}
    for i, (name, (network, dynamo, opset, optimised)) in enumerate(FILES.items()):
        torch.manual_seed(i)
        model = network()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.running_mean.uniform_(-0.5, 0.5)
                    module.running_var.uniform_(0.5, 2)
        made[name] = model, write(model, folder / f"{i}.onnx", dynamo, opset, optimised)
    return made


def logits_of(model: nn.Module, x: Any) -> Any:
    y = model(x)
    return y.log() if isinstance(model, Inception) else y


@pytest.mark.parametrize("name", FILES)
def test_what_is_read_is_the_network(name: str, files: Any) -> None:
    model, path = files[name]
    foreign = open_onnx(path)
    assert foreign.difference <= 1e-4
    x = torch.randn(5, 12, T)
    ours, theirs = foreign.model(x).logits, logits_of(model, x)
    if isinstance(model, Inception):  # a softmax was taken off
        assert foreign.activation == "softmax"
        ours = ours.log_softmax(-1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    parameters = sum(p.numel() for p in model.parameters())
    statistics = sum(b.numel() for b in model.buffers() if b.is_floating_point())
    # Folding a BatchNorm into the convolution before it takes its weights with it; zero states of a GRU are no weights.
    assert foreign.trainable <= parameters + statistics and foreign.trainable >= 0.9 * parameters, foreign.text()
    if name == "cnn, dynamo, not optimised":
        assert foreign.trainable == parameters
        assert "BatchNorm" in str(foreign.model)
    assert foreign.share == foreign.trainable / foreign.weights > 0.9
    assert "trainable" in foreign.text()


@pytest.mark.parametrize("name", FILES)
def test_it_is_fine_tuned_with_a_new_head_and_exported_again(name: str, files: Any, tmp_path: Path) -> None:
    foreign = open_onnx(files[name][1])
    model = foreign.model
    before = {key: value.clone() for key, value in model.body.state_dict().items()}
    model.new_head(7)
    for key, value in model.body.state_dict().items():
        assert torch.equal(value, before[key])  # a change of the number of classes hits nothing but the head
    assert model.config["outputs"] == 7
    x, y = torch.randn(8, 12, T), (torch.rand(8, 7, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    assert model(x).logits.shape == (8, 7) and model(x).embedding.ndim == 2
    apply(model, Tuning("full"))
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
    losses = []
    for i in range(15):
        loss = nn.functional.binary_cross_entropy_with_logits(model.train()(x).logits, y)
        loss.backward()
        if not i:
            assert check_gradients(model) == ()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    again = OnnxModel(**json.loads(json.dumps(model.config)))  # as every SignalModel: its config is the architecture
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(x).logits, model.eval()(x).logits, rtol=0, atol=0)
    export(model, tmp_path / "again.onnx", T)  # raises where ONNX is not torch


@pytest.mark.parametrize("name", ["cnn, dynamo, opset 20", "transformer, TorchScript, opset 13"])
def test_lora_on_a_foreign_model(name: str, files: Any) -> None:
    model, x = open_onnx(files[name][1]).model, torch.randn(4, 12, T)
    told = apply(model, Tuning("lora", rank=2))
    assert any(part.name == "LoRA" for part in told.parts)
    model.train()(x).logits.square().sum().backward()
    check_gradients(model)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                parameter.normal_()
    tuned = model.eval()(x).logits.detach()
    torch.testing.assert_close(merge(model)(x).logits, tuned, rtol=1e-4, atol=1e-4)


def simple(
    path: Path, nodes: list[Any], weights: dict[str, Any], opset: int, shape: tuple[Any, ...] = ("batch", 12, 16), ir: int = 8
) -> Path:
    """signal -> nodes -> "z" -> Flatten -> Gemm -> "logits", the size of z as onnxruntime has it."""
    import onnxruntime as ort

    def model(nodes: list[Any], weights: dict[str, Any], output: str) -> Any:
        signal = helper.make_tensor_value_info("signal", TensorProto.FLOAT, shape)
        out = helper.make_empty_tensor_value_info(output)
        stored = [numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()]
        graph = helper.make_graph(nodes, "g", [signal], [out], stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)

    rng = np.random.default_rng(0)
    alone = ort.InferenceSession(model(nodes, weights, "z").SerializeToString(), providers=["CPUExecutionProvider"])
    z = alone.run(None, {"signal": rng.standard_normal([2, *shape[1:]], np.float32)})[0]
    head = {
        "W_head": rng.standard_normal((3, z[0].size), np.float32) / max(z[0].size, 1) ** 0.5,
        "b_head": np.ones(3, np.float32),
    }
    end = [
        helper.make_node("Cast", ["z"], ["z_float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["z_float"], ["flat"]),
        helper.make_node("Gemm", ["flat", "W_head", "b_head"], ["logits"], transB=1),
    ]
    proto = model([*nodes, *end], {**weights, **head}, "logits")
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 3)))
    onnx.save(proto, str(path))
    return path


def weight(*shape: int) -> Any:
    return (np.random.default_rng(1).standard_normal(shape) / 4).astype(np.float32)


def n(op: str, inputs: str, outputs: str = "z", **attributes: Any) -> Any:
    """ "_" stands for an input that is left out."""
    return helper.make_node(op, ["" if i == "_" else i for i in inputs.split()], outputs.split(), **attributes)


def i64(*values: int) -> Any:
    return np.array(values, np.int64)


S = "signal"
# name: nodes, weights, opset
OPERATIONS: dict[str, tuple[list[Any], dict[str, Any], int]] = {
    "conv same upper": (
        [n("Conv", f"{S} w b", auto_pad="SAME_UPPER", strides=[3])],
        {"w": weight(4, 12, 4), "b": weight(4)},
        11,
    ),
    "conv same lower": ([n("Conv", f"{S} w", auto_pad="SAME_LOWER")], {"w": weight(4, 12, 4)}, 12),
    "conv uneven, dilated": ([n("Conv", f"{S} w", pads=[1, 3], dilations=[2])], {"w": weight(4, 12, 3)}, 13),
    "conv depthwise": ([n("Conv", f"{S} w", group=12)], {"w": weight(12, 1, 5)}, 17),
    "conv transposed": (
        [n("ConvTranspose", f"{S} w b", strides=[2], pads=[1, 1], output_padding=[1])],
        {"w": weight(12, 4, 4), "b": weight(4)},
        17,
    ),
    "conv transposed, grouped": ([n("ConvTranspose", f"{S} w", group=3)], {"w": weight(12, 2, 3)}, 20),
    "batch norm, epsilon": (
        [n("BatchNormalization", f"{S} w b m v", epsilon=0.1)],
        {"w": weight(12), "b": weight(12), "m": weight(12), "v": weight(12) ** 2 + 1},
        11,
    ),
    "layer norm": ([n("LayerNormalization", f"{S} w b")], {"w": weight(16), "b": weight(16)}, 17),
    "layer norm of two axes": ([n("LayerNormalization", f"{S} w", axis=1)], {"w": weight(12, 16)}, 18),
    "instance norm": ([n("InstanceNormalization", f"{S} w b")], {"w": weight(12), "b": weight(12)}, 11),
    "group norm": ([n("GroupNormalization", f"{S} w b", num_groups=3)], {"w": weight(12), "b": weight(12)}, 21),
    "max pool": ([n("MaxPool", S, kernel_shape=[3], strides=[2], pads=[1, 1], dilations=[2])], {}, 12),
    "max pool uneven": ([n("MaxPool", S, kernel_shape=[4], strides=[3], auto_pad="SAME_UPPER")], {}, 12),
    "max pool ceil": ([n("MaxPool", S, kernel_shape=[3], strides=[2], ceil_mode=1)], {}, 12),
    "mean pool": ([n("AveragePool", S, kernel_shape=[3], pads=[1, 1])], {}, 11),
    "mean pool that counts padding": ([n("AveragePool", S, kernel_shape=[3], pads=[1, 1], count_include_pad=1)], {}, 19),
    "mean pool uneven": ([n("AveragePool", S, kernel_shape=[4], strides=[2], pads=[0, 2])], {}, 11),
    "global pools": ([n("GlobalAveragePool", S, "a"), n("GlobalMaxPool", S, "b"), n("Concat", "a b", axis=1)], {}, 13),
    "squeeze of 11": ([n("ReduceMean", S, "a", axes=[2]), n("Squeeze", "a", axes=[2])], {}, 11),
    "squeeze of 13": ([n("GlobalMaxPool", S, "a"), n("Squeeze", "a x")], {"x": i64(-1)}, 13),
    "unsqueeze of 11": ([n("Unsqueeze", S, axes=[1, -1])], {}, 11),
    "unsqueeze of 13": ([n("Unsqueeze", f"{S} x")], {"x": i64(1)}, 13),
    "reduce of 11": ([n("ReduceSum", S, "a", axes=[1], keepdims=0), n("ReduceMax", "a", axes=[-1])], {}, 11),
    "reduce of 13": ([n("ReduceSum", f"{S} x", keepdims=0)], {"x": i64(2)}, 13),
    "reduce of 18": (
        [n("ReduceL2", f"{S} x", "a"), n("ReduceLogSumExp", f"{S} x", "b"), n("ReduceMin", f"{S} x", "c"), n("Sum", "a b c")],
        {"x": i64(-1)},
        18,
    ),
    "softmax of 11": ([n("Softmax", S, axis=1)], {}, 11),
    "softmax of 13": ([n("Softmax", S, axis=1)], {}, 13),
    "split of 11": ([n("Split", S, "a b", axis=1, split=[4, 8]), n("Concat", "b a", axis=1)], {}, 11),
    "split of 13": ([n("Split", f"{S} s", "a b", axis=2), n("Concat", "b a", axis=2)], {"s": i64(5, 11)}, 13),
    "split of 18": ([n("Split", S, "a b c", axis=2, num_outputs=3), n("Concat", "c b a", axis=2)], {}, 18),
    "slice": (
        [n("Slice", f"{S} s e x t")],
        {"s": i64(-1, 1), "e": i64(-(2**63) + 1, 2**63 - 1), "x": i64(2, 1), "t": i64(-2, 3)},
        13,
    ),
    "gather": ([n("Gather", f"{S} i", axis=1)], {"i": np.array([[0, -1], [3, 2]], np.int64)}, 13),
    "gather one": ([n("Gather", f"{S} i", axis=2)], {"i": np.array(-1, np.int64)}, 13),
    "gather elements": (
        [n("Shape", S, "h"), n("Expand", "i h", "j"), n("GatherElements", f"{S} j", axis=2)], {"i": i64(3)[:, None, None]}, 13,
    ),
    "pad": ([n("Pad", f"{S} p v")], {"p": i64(0, 1, 2, 0, 0, 3), "v": np.array(0.5, np.float32)}, 13),
    "pad reflect": ([n("Pad", f"{S} p", mode="reflect")], {"p": i64(0, 0, 2, 0, 0, 3)}, 11),
    "pad edge, axes": ([n("Pad", f"{S} p _ x", mode="edge")], {"p": i64(2, 1), "x": i64(2)}, 18),
    "resize nearest": (
        [n("Resize", f"{S} _ s", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"s": np.array([1, 1, 2], np.float32)},
        13,
    ),
    "resize linear": ([n("Resize", f"{S} _ s", mode="linear")], {"s": np.array([1, 1, 2], np.float32)}, 18),
    "resize to a size": (
        [
            n("Shape", S, "h", end=2),
            n("Concat", "h t", "s", axis=0),
            n("Resize", f"{S} _ _ s", mode="linear", coordinate_transformation_mode="align_corners"),
        ],
        {"t": i64(24)},
        19,
    ),
    "shapes": (
        [
            n("Shape", S, "h"),
            n("Gather", "h i", "b"),
            n("Unsqueeze", "b x", "bb"),
            n("Concat", "bb m", "to", axis=0),
            n("Reshape", f"{S} to"),
        ],
        {"i": np.array(0, np.int64), "x": i64(0), "m": i64(4, -1)},
        13,
    ),
    "reshape with zeros": ([n("Reshape", f"{S} to")], {"to": i64(0, -1, 4)}, 14),
    "constant of shape, range, where": (
        [
            n("Shape", S, "h"),
            n("ConstantOfShape", "h", "ones", value=numpy_helper.from_array(np.array([2.0], np.float32))),
            n("Gather", "h i", "t"),
            n("Range", "o t l", "r"),
            n("Less", "r five", "c"),
            n("Where", f"c {S} ones"),
        ],
        {"i": np.array(2, np.int64), "o": np.array(0, np.int64), "l": np.array(1, np.int64), "five": np.array(5, np.int64)},
        17,
    ),
    "expand, tile": (
        [n("ReduceMean", S, "a", axes=[2]), n("Expand", "a to", "e"), n("Tile", "e k")],
        {"to": i64(1, 12, 4), "k": i64(1, 2, 3)},
        13,
    ),
    "einsum": ([n("Einsum", f"{S} w", equation="blt,ld->btd")], {"w": weight(12, 5)}, 13),
    "gemm scaled": (
        [n("ReduceMean", S, "a", axes=[2], keepdims=0), n("Gemm", "a w b", alpha=0.5, beta=2.0)],
        {"w": weight(12, 7), "b": weight(1, 7)},
        13,
    ),
    "matmul and bias": ([n("MatMul", f"{S} w", "a"), n("Add", "b a")], {"w": weight(16, 7), "b": weight(7)}, 13),
    "matmul from the left": ([n("MatMul", f"w {S}")], {"w": weight(5, 12)}, 13),
    "gelu": ([n("Gelu", S, "a", approximate="tanh"), n("Gelu", "a")], {}, 20),
    "gelu of erf": (
        [n("Div", f"{S} r", "a"), n("Erf", "a", "e"), n("Add", "e o", "p"), n("Mul", f"{S} p", "m"), n("Mul", "m h")],
        {"r": np.float32(2**0.5), "o": np.float32(1), "h": np.float32(0.5)},
        13,
    ),
    "activations": (
        [
            n("HardSwish", S, "a"), n("HardSigmoid", "a", "b", alpha=0.3), n("Elu", "b", "c", alpha=0.7), n("Selu", "c", "d"),
            n("LeakyRelu", "d", "e", alpha=0.3), n("Softplus", "e", "f"), n("Celu", "f", "g", alpha=0.6),
            n("PRelu", "g s", "h"), n("Mish", "h", "i"), n("ThresholdedRelu", "i", "j", alpha=0.1),
            n("Softsign", "j", "k"), n("Clip", "k lo hi"),
        ],
        {"s": weight(12, 1), "lo": np.float32(-0.2), "hi": np.float32(0.4)},
        18,
    ),
    "arithmetic": (
        [
            n("Pow", f"{S} two", "a"), n("Sqrt", "a", "b"), n("Max", f"b {S}", "c"), n("Min", "c a b", "d"),
            n("Mean", "d a", "e"), n("Neg", "e", "f"), n("Exp", "f", "g"), n("Log", "g", "h"), n("Reciprocal", "g", "i"),
            n("Sub", "h i", "j"), n("Mod", "j m", "k", fmod=1), n("Floor", "k", "l"), n("Sign", "h", "o"), n("Mul", "l o"),
        ],
        {"two": np.float32(2), "m": np.float32(1.3)},
        13,
    ),
    "logic": (
        [
            n("Greater", f"{S} w", "a"), n("LessOrEqual", f"{S} w", "b"), n("Or", "a b", "c"), n("Not", "a", "d"),
            n("And", "c d", "e"), n("Xor", "e a", "f"), n("Cast", "f", "g", to=TensorProto.FLOAT), n("Mul", f"g {S}"),
        ],
        {"w": weight(12, 1)},
        13,
    ),
    "cumulative sum, top k, triangle": (
        [n("CumSum", f"{S} x", "a"), n("TopK", "a k", "b _", axis=-1), n("Trilu", "b", upper=0)],
        {"x": np.array(2, np.int64), "k": i64(12)},
        14,
    ),
    "argmax": ([n("ArgMax", S, axis=2, keepdims=0)], {}, 13),
    "transposed weights": (
        [n("Transpose", "w", "wt", perm=[1, 0]), n("Mul", "wt h", "wh"), n("MatMul", f"{S} wh")],
        {"w": weight(5, 16), "h": np.float32(0.5)},
        13,
    ),
    "embedding of positions": (
        [n("Shape", S, "h", start=2), n("Slice", "p o h l", "q"), n("Add", f"{S} q")],
        {"p": weight(1, 1, 16), "o": i64(0), "l": i64(2)},
        15,
    ),
    "lstm": (
        [n("Transpose", S, "t", perm=[2, 0, 1]), n("LSTM", "t w r b", "_ y", hidden_size=3, direction="bidirectional"),
         n("Transpose", "y", perm=[1, 0, 2])],
        {"w": weight(2, 12, 12), "r": weight(2, 12, 3), "b": weight(2, 24)},
        14,
    ),
    "gru backwards": (
        [n("Transpose", S, "t", perm=[2, 0, 1]),
         n("GRU", "t w r b", "y", hidden_size=3, direction="reverse", linear_before_reset=1),
         n("Transpose", "y", perm=[2, 0, 1, 3])],
        {"w": weight(1, 9, 12), "r": weight(1, 9, 3), "b": weight(1, 18)},
        13,
    ),
    "one convolution in two places": (
        [n("Conv", f"{S} w b", "a", pads=[1, 1]), n("Conv", "a w b", pads=[1, 1])],
        {"w": weight(12, 12, 3), "b": weight(12)}, 13,
    ),
    "weight norm": (
        [n("ReduceL2", "v", "l", axes=[1, 2]), n("Div", "v l", "u"), n("Mul", "u g", "k"),
         n("Conv", f"{S} k v2", pads=[1, 2])],
        {"v": weight(4, 12, 3), "g": weight(4, 1, 1), "v2": weight(4)},
        13,
    ),
    "a weight in two places": ([n("MatMul", f"{S} w", "a"), n("MatMul", "a w")], {"w": weight(16, 16)}, 13),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operators_are_those_of_onnxruntime(name: str, tmp_path: Path) -> None:
    nodes, weights, opset = OPERATIONS[name]
    foreign = open_onnx(simple(tmp_path / "m.onnx", nodes, weights, opset))
    assert foreign.difference <= 1e-5 and foreign.opset == opset
    floats = {key for key, value in weights.items() if np.asarray(value).dtype == np.float32 and np.asarray(value).size > 1}
    statistics = {"m", "v"} if "batch norm" in name else {"s"} if "resize" in name else set()
    statistics |= {"w"} if name == "logic" else set()  # a threshold has no gradient
    wanted = sum(np.asarray(weights[key]).size for key in floats - statistics)
    inside = sum(p.numel() for p in foreign.model.body.parameters())
    assert inside == wanted
    model = foreign.model.train()
    model(torch.randn(4, 12, 16)).logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters()), "a weight that does not train"


def test_a_new_head_changes_what_is_behind_the_last_linear_layer_and_nothing_else(tmp_path: Path) -> None:
    # Everything is three wide: as many channels as classes, which is where a search for the number of classes goes wrong.
    nodes = [
        n("Conv", f"{S} w wb", "a", pads=[1, 1]), n("Relu", "a", "r"), n("Conv", "r c cb", "l"),
        n("BatchNormalization", "l g s m v", "o"), n("Mul", "o k", "p"), n("GlobalAveragePool", "p", "q"),
        n("Reshape", "q to", "logits"), n("Sigmoid", "logits", "probability"),
    ]  # fmt: skip
    weights = {
        "w": weight(3, 12, 3), "wb": weight(3), "c": weight(3, 3, 1), "cb": weight(3), "g": weight(3), "s": weight(3),
        "m": weight(3), "v": weight(3) ** 2 + 1, "k": weight(1, 3, 1), "to": i64(-1, 3),
    }  # fmt: skip
    foreign = open_onnx(graph_file(tmp_path / "m.onnx", nodes, weights, ["probability"]))
    model = foreign.model
    assert foreign.activation == "sigmoid" and foreign.head == "c"
    body = {key: value.clone() for key, value in model.body.state_dict().items()}
    x = torch.randn(2, 12, 16)
    head_input = model.backbone(x).head_input
    model.new_head(5)
    assert model(x).logits.shape == (2, 5)
    assert {key: tuple(value.shape) for key, value in model.body.state_dict().items()} == {
        key: tuple(value.shape) for key, value in body.items()
    }
    assert all(torch.equal(model.body.state_dict()[key], value) for key, value in body.items())
    torch.testing.assert_close(model.backbone(x).head_input, head_input, rtol=0, atol=0)
    assert model(x).embedding.shape == (2, 3)
    assert sorted(tuple(p.shape) for p in model.head.parameters()) == [(1, 5, 1), (5,), (5,), (5,), (5, 3, 1)]


def graph_file(
    path: Path,
    nodes: list[Any],
    weights: dict[str, Any],
    outputs: list[str],
    shape: tuple[Any, ...] = ("batch", 12, 16),
    opset: int = 17,
    domain: str = "",
    metadata: dict[str, str] | None = None,
) -> Path:
    signal = helper.make_tensor_value_info("signal", TensorProto.FLOAT, shape)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", "outputs")) for name in outputs]
    stored = [numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()]
    graph = helper.make_graph(nodes, "g", [signal], ends, stored)
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    helper.set_model_props(proto, metadata or {})
    onnx.save(proto, str(path))
    return path


LINEAR = [n("ReduceMean", S, "mean", axes=[2], keepdims=0), n("Gemm", "mean w b", "logits", transB=1)]
WEIGHTS = {"w": weight(3, 12), "b": weight(3)}


def test_sizes_that_the_tail_takes_from_the_body(tmp_path: Path) -> None:
    nodes = [
        n("Shape", S, "h"), n("Slice", "h z o", "batch"), n("Concat", "batch k", "to", axis=0),
        n("Conv", f"{S} w b", "c"), n("ReduceMean", "c", "m", axes=[2]), n("Reshape", "m to", "logits"),
    ]  # fmt: skip
    weights = {"z": i64(0), "o": i64(1), "k": i64(3), "w": weight(3, 12, 3), "b": weight(3)}
    model = open_onnx(graph_file(tmp_path / "m.onnx", nodes, weights, ["logits"])).model
    assert model(torch.randn(7, 12, 16)).logits.shape == (7, 3)
    head_input = model.backbone(torch.randn(7, 12, 16)).head_input
    assert model.head(head_input).shape == (7, 3)  # from the cache, too


@pytest.mark.parametrize(("layout", "shape"), [("BTL", ("b", 16, 12)), ("B1LT", ("b", 1, 12, 16)), ("BL1T", ("b", 12, 1, 16))])
def test_other_layouts_of_the_signal(layout: str, shape: tuple[Any, ...], tmp_path: Path) -> None:
    axes = {"BTL": [1], "B1LT": [1, 3], "BL1T": [2, 3]}[layout]
    nodes = [n("ReduceMean", S, "mean", axes=axes, keepdims=0), LINEAR[1]]
    path = graph_file(tmp_path / "m.onnx", nodes, WEIGHTS, ["logits"], shape)
    model, x = open_onnx(path).model, torch.randn(4, 12, 16)
    plain = open_onnx(graph_file(tmp_path / "p.onnx", LINEAR, WEIGHTS, ["logits"])).model
    assert model.config["layout"] == layout
    torch.testing.assert_close(model(x).logits, plain(x).logits)


def test_a_length_that_is_left_open(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "m.onnx", LINEAR, WEIGHTS, ["logits"], ("b", 12, "t"))
    with pytest.raises(EcgError, match="how many to try"):
        open_onnx(path)
    assert open_onnx(path, samples=20).model(torch.randn(1, 12, 33)).logits.shape == (1, 3)
    with pytest.raises(EcgError, match="takes 16 samples, not 20"):
        open_onnx(graph_file(path, LINEAR, WEIGHTS, ["logits"]), samples=20)


def test_weights_beside_the_file_only_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = graph_file(tmp_path / "in" / "m.onnx", LINEAR, WEIGHTS, ["logits"])
    want = open_onnx(path).model(torch.ones(1, 12, 16)).logits
    proto = onnx.load(str(path))
    onnx.save(proto, str(path), save_as_external_data=True, location="w.bin", size_threshold=0, convert_attribute=False)
    assert (tmp_path / "in" / "w.bin").is_file()
    torch.testing.assert_close(open_onnx(path).model(torch.ones(1, 12, 16)).logits, want)
    with pytest.raises(EcgError, match="weights beside it"):
        open_onnx(path, largest=path.stat().st_size + 10)
    (tmp_path / "w.bin").write_bytes((tmp_path / "in" / "w.bin").read_bytes())
    for where in ("../w.bin", str(tmp_path / "w.bin")):
        proto = onnx.load(str(path), load_external_data=False)
        for one in proto.graph.initializer:
            for entry in one.external_data:
                if entry.key == "location":
                    entry.value = where
        onnx.save(proto, str(tmp_path / "in" / "bad.onnx"))
        with pytest.raises(EcgError, match="outside its folder"):
            open_onnx(tmp_path / "in" / "bad.onnx")
    (tmp_path / "in" / "link.bin").symlink_to(tmp_path / "w.bin")
    (tmp_path / "in" / "w.bin").unlink()
    with pytest.raises(EcgError, match="are missing"):
        open_onnx(path)
    (tmp_path / "in" / "w.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(EcgError, match="outside its folder"):
        open_onnx(path)


@pytest.mark.parametrize(
    ("fault", "nodes", "how"),
    [
        ("domain com.acme", [helper.make_node("Own", [S], ["logits"], domain="com.acme")], {"domain": "com.acme"}),
        ("not supported: NonZero", [n("NonZero", S, "i"), *LINEAR, n("Cast", "i", "logits2", to=1)], {}),
        ("no linear layer", [n("ReduceMean", S, "logits", axes=[2], keepdims=0)], {}),
        ("opset 9", [n("Relu", S, "logits")], {"opset": 9}),
        ("3 ECGs at a time", LINEAR, {"shape": (3, 12, 16)}),
        ("leads stand is not clear", LINEAR, {"shape": ("b", 8, 16)}),
        ("leads stand is not clear", LINEAR, {"shape": ("b", 12, 12)}),
        ("for 2 ECGs, not", [n("Conv", f"{S} k", "logits")], {}),
        ("needs m, too", [n("Relu", S, "r"), n("Conv", "r k", "c"), n("ReduceMean", "r", "m", axes=[1]),
                          n("Mul", "c m", "p"), n("ReduceMean", "p", "logits", axes=[2], keepdims=0)], {}),
        ("too large", [n("ConstantOfShape", "huge", "h"), n("ReduceMean", "h", "o", keepdims=1), n("Mul", f"{S} o", "x"),
                       n("ReduceMean", "x", "mean", axes=[2], keepdims=0), LINEAR[1]], {}),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_and_named(fault: str, nodes: list[Any], how: dict[str, Any], tmp_path: Path) -> None:
    weights = WEIGHTS | {"k": weight(4, 12, 1), "huge": i64(1 << 20, 1 << 20)}
    used = {name for node in nodes for name in node.input}
    weights = {name: value for name, value in weights.items() if name in used}
    path = graph_file(tmp_path / "m.onnx", nodes, weights, ["logits"], **how)
    with pytest.raises(EcgError, match=fault) as caught:
        open_onnx(path)
    assert caught.value.path == str(path)


def test_not_an_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(EcgError, match="no such file"):
        open_onnx(path)
    path.write_bytes(b"I'm no protobuf" * 9)
    with pytest.raises(EcgError, match=r"not an ONNX file|not valid ONNX"):
        open_onnx(path)
    with pytest.raises(EcgError, match="more than 9 are not read"):
        open_onnx(path, largest=9)


def test_metadata_of_exchangeai(tmp_path: Path) -> None:
    words = {"target_keys": "['NORM', 'MI', 'STTC']", "standardizer": "minMax", "scale": "mikroVolt", "sampling_rate": "500"}
    foreign = open_onnx(graph_file(tmp_path / "m.onnx", LINEAR, WEIGHTS, ["logits"], metadata=words))
    assert foreign.legacy == Legacy(("NORM", "MI", "STTC"), "minMax", True, 500.0)
    record = simulate(seed=1).record
    preset = preset_of(Legacy(("a",), None, True, 100.0), STANDARD_LEADS, 1000)
    assert Preset.from_dict(preset.to_dict()) == preset
    np.testing.assert_allclose(prepare(preset, record), 1000 * prepare("exchangeai", record), rtol=1e-5, atol=1e-3)
    preset = preset_of(Legacy(("a",), "minMax", True, 100.0), STANDARD_LEADS, 1000)
    np.testing.assert_allclose(prepare(preset, record), prepare("exchangeai-minmax", record), atol=1e-5)
    assert legacy({}) is None and legacy({"target_keys": "('a',)"}) == Legacy(("a",))
    ran = tmp_path / "ran"
    hostile = f"__import__('pathlib').Path({str(ran)!r}).touch()"
    for key, value in (
        ("target_keys", hostile),
        ("target_keys", "3"),
        ("standardizer", "eval"),
        ("scale", "kV"),
        ("sampling_rate", "x"),
    ):
        with pytest.raises(EcgError):
            legacy({"target_keys": "['a']"} | {key: value})
    assert not ran.exists()


def test_import_makes_a_bundle_that_predicts_without_torch_and_trains_again(tmp_path: Path) -> None:
    words = {"target_keys": "['NORM', 'MI', 'STTC']", "standardizer": "None", "sampling_rate": "100"}
    path = graph_file(tmp_path / "m.onnx", LINEAR, WEIGHTS, ["logits"], ("b", 12, 1000), metadata=words)
    runner = CliRunner()
    done = runner.invoke(app, ["models", "import", str(path), "--json"])
    assert done.exit_code == 0 and json.loads(done.stdout)["labels"] == ["NORM", "MI", "STTC"]
    done = runner.invoke(app, ["models", "import", str(path), "-o", str(tmp_path / "mine")])
    assert done.exit_code == 0, done.output
    bundle = Bundle.open(tmp_path / "mine")
    record = simulate(seed=3).record
    x = prepare("exchangeai", record)[None]
    want = (x.mean(-1) @ WEIGHTS["w"].T + WEIGHTS["b"])[0]
    want = np.exp(want) / np.exp(want).sum()
    said = Predictor(bundle).predict(record).labels
    np.testing.assert_allclose([said[name] for name in ("NORM", "MI", "STTC")], want, atol=1e-5)
    assert bundle.manifest.architecture.model == "onnx"
    model = OnnxModel(**bundle.manifest.architecture.config)
    model.load_state_dict(safetensors_load(bundle.read("weights.safetensors")))
    np.testing.assert_allclose(model(torch.from_numpy(x)).logits.softmax(1).detach()[0], want, atol=1e-5)
    plain = graph_file(tmp_path / "p.onnx", LINEAR, WEIGHTS, ["logits"], ("b", 12, 1000))
    for more, fault in (
        ([], "outputs"), (["--labels", "a,b,c"], "task"), (["--labels", "a,b,c", "--task", "multilabel"], "preset"),
        (["--labels", "a,b,c", "--task", "multilabel", "--preset", "ecg-fm"], "samples"),
    ):  # fmt: skip
        done = runner.invoke(app, ["models", "import", str(plain), "-o", str(tmp_path / "other"), *more])
        assert done.exit_code == 1 and fault in done.stderr
    done = runner.invoke(
        app,
        ["models", "import", str(plain), "-o", str(tmp_path / "x.zip"), "--labels", "a,b,c", "--task", "multilabel"]
        + ["--preset", "cardx"],
    )
    assert done.exit_code == 0, done.output
