"""ONNX out: every model of the table computes with onnxruntime what it does in torch, and the file says what it is."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from exchange_bundles import network  # noqa: E402
from torch import nn  # noqa: E402

from einthoven.exchange.manifest import Manifest, labels  # noqa: E402
from einthoven.exchange.manifest import manifest as made  # noqa: E402
from einthoven.exchange.onnx_out import export  # noqa: E402
from einthoven.exchange.predict import session  # noqa: E402
from einthoven.models.signal.model import Output  # noqa: E402
from einthoven.models.table import MODELS, build  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.signal.presets import by_name  # noqa: E402

torch.set_num_threads(1)
SIGNAL = [name for name, row in MODELS.items() if row.kind == "signal"]  # images: test_models_image.py


def lively(model: nn.Module) -> nn.Module:
    """Random statistics and weights everywhere: a fresh model's BatchNorm does nothing, and then any folding of it is right."""
    torch.manual_seed(7)
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_floating_point():
            fresh = torch.rand_like(value) + 0.5 if "running_var" in name else value + 0.1 * torch.randn_like(value)
            value.data.copy_(fresh)
    return model.eval()


@pytest.mark.parametrize("name", SIGNAL)
def test_onnx_is_torch(name: str, tmp_path: Path) -> None:
    row = MODELS[name]
    model = lively(build(name, leads=12, outputs=3, **row.tiny))
    path = export(model, tmp_path / "model.onnx", row.tiny_samples)  # itself compares at batches 1, 2 and 5
    run = session(path)
    assert [(i.name, i.shape[1:]) for i in run.get_inputs()] == [("signal", [12, row.tiny_samples])]
    assert [o.name for o in run.get_outputs()] == ["logits", "embedding"]
    x = torch.randn(3, 12, row.tiny_samples)  # a batch that the export never saw
    with torch.no_grad():
        want = model(x)
    logits, embedding = run.run(None, {"signal": x.numpy()})
    assert np.abs(logits - want.logits.numpy()).max() < 1e-4 * max(1, want.logits.abs().max().item())
    assert np.abs(embedding - want.embedding.numpy()).max() < 1e-4 * max(1, want.embedding.abs().max().item())


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    return lively(build("inception-time", leads=12, outputs=2, width=4))


def manifest(**more: Any) -> Manifest:
    words: dict[str, Any] = {
        "name": "tiny",
        "task": "multilabel",
        "labels": labels(["NORM", 'd\'Arc "x"']),
        "activation": "sigmoid",
        "inputs": [{"kind": "signal", "preset": by_name("exchangeai-minmax").to_dict()}],
        "architecture": {"model": "inception-time"},
        "licence": "Apache-2.0",
    }
    return made(**words | more)


def test_trainable_keeps_batch_norm_and_metadata_tell_the_manifest(tiny: nn.Module, tmp_path: Path) -> None:
    said = manifest()
    tiny.train()
    folded = onnx.load(str(export(tiny, tmp_path / "model.onnx", 250, manifest=said)))
    kept = onnx.load(str(export(tiny, tmp_path / "train.onnx", 250, trainable=True)))
    assert tiny.training  # left as it was
    tiny.eval()
    operators = [{n.op_type for n in g.graph.node} for g in (folded, kept)]
    assert "BatchNormalization" not in operators[0] or sum(n.op_type == "BatchNormalization" for n in kept.graph.node) > sum(
        n.op_type == "BatchNormalization" for n in folded.graph.node
    )
    norms = sum(isinstance(m, nn.BatchNorm1d) for m in tiny.modules())
    assert sum(n.op_type == "BatchNormalization" for n in kept.graph.node) == norms
    floats = {i.name for i in kept.graph.initializer if i.data_type == onnx.TensorProto.FLOAT}
    assert {f"model.{name}" for name, _ in tiny.named_parameters()} <= floats  # so that an importer finds the head by its name

    words = {p.key: p.value for p in folded.metadata_props}
    assert Manifest.model_validate_json(words["einthoven"]) == said
    # What ExChanGeAI reads, as it reads it: a Python list as text (there with eval, here without).
    assert ast.literal_eval(words["target_keys"]) == ["NORM", 'd\'Arc "x"']
    assert (words["standardizer"], words["sampling_rate"]) == ("minMax", "100")
    assert json.loads(words["einthoven"])["use"] == "research use only, not a medical device"


class Mixed(nn.Module):  # type: ignore[misc]
    """Signal and features; `deaf`: to features that could not be measured."""

    def __init__(self, deaf: bool = True) -> None:
        super().__init__()
        self.deaf, self.line = deaf, nn.Linear(12 + 3, 2)

    def forward(self, signal: torch.Tensor, features: torch.Tensor) -> Output:
        if self.deaf:
            features = torch.where(torch.isnan(features), torch.zeros_like(features), features)
        x = torch.cat([signal.mean(-1), features], 1)
        return Output(self.line(x), x, (), {})


def test_features_are_a_second_input_and_may_be_missing(tmp_path: Path) -> None:
    path = export(Mixed(), tmp_path / "model.onnx", 100, features=3)
    assert [i.name for i in session(path).get_inputs()] == ["signal", "features"]
    with pytest.raises(EcgError, match="logits"):  # NaN in, NaN out
        export(Mixed(deaf=False), tmp_path / "other.onnx", 100, features=3)
    assert not (tmp_path / "other.onnx").exists()


class Bordered(nn.Module):  # type: ignore[misc]
    """Zeros beside negative values, and the maximum of both."""

    def forward(self, signal: torch.Tensor) -> Output:
        x = -signal.abs() - 1
        x = torch.nn.functional.max_pool1d(torch.nn.functional.pad(x, (0, 1)), 2)
        return Output(x[..., -1], x.flatten(1), (), {})


def test_the_file_does_not_say_where_it_was_made(tiny: nn.Module, tmp_path: Path) -> None:
    """torch writes each node's stack into it: paths of whoever exports, which travel with a Bundle."""
    import einthoven

    data = export(tiny, tmp_path / "model.onnx", 250).read_bytes()
    assert str(Path(einthoven.__file__).parent).encode() not in data and b".py" not in data


def test_a_border_of_zeros_stays_one_of_zeros(tmp_path: Path) -> None:
    # onnxruntime merges the border into the pooling, where it would count as minus infinity.
    run = session(export(Bordered(), tmp_path / "model.onnx", 51))
    assert np.abs(run.run(["logits"], {"signal": np.ones((1, 12, 51), np.float32)})[0]).max() < 1e-30


class Drifting(nn.Module):  # type: ignore[misc]
    """Says something else each time it is asked: what was exported cannot be what torch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, signal: torch.Tensor) -> Output:
        self.calls += 1
        x = signal.mean(-1) + self.calls
        return Output(x, x, (), {})


def test_a_difference_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="ONNX differs from torch: logits"):
        export(Drifting(), tmp_path / "model.onnx", 50)
    assert not list(tmp_path.iterdir())


def test_external_weights_are_not_followed(tmp_path: Path) -> None:
    graph = onnx.load_from_string(network())
    onnx.save(graph, str(tmp_path / "outside.onnx"), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").exists()
    with pytest.raises(EcgError, match="onnxruntime does not take it"):
        session(tmp_path / "outside.onnx")
    with pytest.raises(EcgError, match="onnxruntime does not take it"):
        session(b"not a model")
