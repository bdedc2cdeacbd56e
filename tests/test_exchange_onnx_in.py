"""Foreign ONNX files, made here with torch: read, equal to onnxruntime, fine-tuned, with a new head, and exported again."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from torch import nn  # noqa: E402

from einthoven.exchange.onnx_in import OnnxModel, open_onnx  # noqa: E402
from einthoven.exchange.onnx_out import export  # noqa: E402
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
        self.rnn = nn.GRU(12, 6, num_layers=2, bidirectional=True, batch_first=True)
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
