"""Tuning: of every model in the table and by every method exactly the right parameters move, and nothing else does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from einthoven.models.table import MODELS, build, by_name  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.represent.features import NAMES  # noqa: E402
from einthoven.tune import (  # noqa: E402
    Tuning,
    adapter_state,
    apply,
    check_gradients,
    head_inputs,
    load_adapter,
    merge,
    open_adapter,
    save_adapter,
    tuning_of,
)

torch.set_num_threads(1)
SIGNAL = [name for name, row in MODELS.items() if row.kind != "image"]  # and features; images: test_models_image.py

METHODS = {
    "full": Tuning("full"),
    "head": Tuning("head"),
    "lora": Tuning("lora", rank=2),
    "houlsby": Tuning("adapter", kind="houlsby", bottleneck=3),
    "pfeiffer": Tuning("adapter", kind="pfeiffer", bottleneck=3),
}


def tiny(name: str, seed: int = 0) -> Any:
    """A small model that has learnt something: no scale is zero, and the statistics of its norms are not those of the start."""
    torch.manual_seed(seed)
    model = build(name, outputs=3, **by_name(name).tiny)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.8, 1.2)
                if module.weight is not None:
                    module.weight.uniform_(0.8, 1.2)
    return model.eval()


def signals(name: str, n: int = 4, seed: int = 1) -> Any:
    """(n, 12, T); for a model of images (n, 3, side, side), of measured features (n, F)."""
    row = by_name(name)
    if getattr(row, "kind", "signal") == "features":
        return torch.randn(n, len(NAMES), generator=torch.Generator().manual_seed(seed))
    shape = (3, row.tiny_samples, row.tiny_samples) if getattr(row, "kind", "signal") == "image" else (12, row.tiny_samples)
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def step(model: Any, x: Any) -> None:
    """One step of training, large enough to be seen."""
    model.train()
    target = torch.tensor([[1.0, 0.0, 1.0]]).expand(len(x), 3)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.0)
    nn.functional.binary_cross_entropy_with_logits(model(x).logits, target).backward()
    check_gradients(model)
    optimiser.step()
    optimiser.zero_grad()


def everything(model: Any) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SIGNAL)
def test_only_the_right_parameters_move(name: str, method: str) -> None:
    model, row, x, tuning = tiny(name), by_name(name), signals(name), METHODS[method]
    base = model(x).logits.detach()
    names = set(model.state_dict())
    told = apply(model, tuning, row)
    assert names <= set(model.state_dict())  # tuning adds, and renames nothing
    torch.testing.assert_close(model.eval()(x).logits, base, rtol=0, atol=0)  # what is added starts as nothing
    before = everything(model)
    added, moved = set(before) - names, set[str]()
    for i in range(12):  # in the first, LoRA's A and an adapter's `down` stand still: the other one is zero
        if i > 1 and added <= moved:  # (a mixture of experts may need some steps until all are chosen)
            break
        step(model, x)
        moved = {key for key, old in before.items() if not torch.equal(old, model.state_dict()[key])}
    in_head = {key for key in before if key.startswith("head.")}
    if method == "full":
        assert not added and any(not key.startswith("head.") for key in moved)
        assert told.trainable == told.parameters
    else:
        assert moved <= added | in_head, "a frozen part has moved (parameters and BatchNorm's statistics alike)"
        assert moved >= added
    assert moved & in_head
    asked = {key for key, p in model.named_parameters() if p.requires_grad}
    assert told.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert method == "full" or asked <= moved, "a part that was to be trained has not moved"
    assert (method in ("full", "head")) == (not added)


@pytest.mark.parametrize("name", SIGNAL)
def test_merged_is_unmerged(name: str) -> None:
    model, x = tiny(name), signals(name)
    plain = {key: type(module) for key, module in model.named_modules()}
    apply(model, Tuning("lora", rank=2, alpha=8, dropout=0.1), by_name(name))
    step(model, x)
    step(model, x)
    tuned = model.eval()(x).logits.detach()
    merge(model)
    assert {key: type(module) for key, module in model.named_modules()} == plain
    assert not model.still and all(p.requires_grad for p in model.parameters())
    torch.testing.assert_close(model.eval()(x).logits, tuned, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SIGNAL)
def test_state_of_what_was_trained_is_all_of_it(name: str, method: str, tmp_path: Path) -> None:
    model, x, row, tuning = tiny(name), signals(name), by_name(name), METHODS[method]
    apply(model, tuning, row)
    step(model, x)
    save_adapter(model, tuning, tmp_path)
    again = tiny(name)
    apply(again, tuning, row)
    open_adapter(again, tmp_path)
    assert tuning_of(tmp_path) == tuning
    torch.testing.assert_close(again.eval()(x).logits, model.eval()(x).logits, rtol=0, atol=0)
    copied = copy.deepcopy(model)  # hooks of adapters belong to the copy
    step(copied, x)
    assert not torch.equal(copied.eval()(x).logits, model.eval()(x).logits)


@pytest.mark.parametrize("name", SIGNAL)
def test_head_inputs_are_those_of_the_frozen_backbone_in_training(name: str, tmp_path: Path) -> None:
    model, x = tiny(name), signals(name, 5)
    apply(model, Tuning("head"), by_name(name))
    model.train()
    with torch.no_grad():
        there = model.backbone(x).head_input.numpy()  # dropout, noise and batch statistics are off, for it is frozen
    np.testing.assert_allclose(head_inputs(model, x.numpy(), batch=2), there, rtol=1e-4, atol=1e-5)
    stored = head_inputs(model, x.numpy(), batch=5, path=tmp_path / "head.npy")
    assert isinstance(stored, np.memmap)
    np.testing.assert_allclose(stored, there, rtol=1e-4, atol=1e-5)
    assert model.head.training  # the mode is left as it was


def test_partial_trains_what_the_pattern_finds_and_the_head() -> None:
    model, x = tiny("inception-time"), signals("inception-time")
    told = apply(model, Tuning("partial", pattern=r"^blocks\.5\."), by_name("inception-time"))
    before = everything(model)
    step(model, x)
    moved = {key for key, old in before.items() if not torch.equal(old, model.state_dict()[key])}
    expected = {key for key in before if key.startswith(("blocks.5.", "head."))}
    assert moved == expected  # with the statistics of the one BatchNorm that trains
    assert 0 < told.share < 1
    with pytest.raises(EcgError, match="no parameter's name"):
        apply(tiny("inception-time"), Tuning("partial", pattern="nowhere"), by_name("inception-time"))


def test_head_alone_without_a_head_that_learns_is_told() -> None:
    model, x = tiny("inception-time"), signals("inception-time")
    told = apply(model, Tuning("lora", rank=2), by_name("inception-time"))
    assert "LoRA" in told.text() and "head" in told.text()
    model.blocks[3].requires_grad_(True)
    model.train()
    with torch.no_grad():
        inner = model.backbone(x)
    model.head(inner.head_input).sum().backward()  # the backbone is cut off
    with pytest.raises(EcgError, match="no gradient reaches"):
        check_gradients(model)


def test_a_gradient_of_exactly_zero_is_told() -> None:
    model, x = tiny("ecg-fm"), signals("ecg-fm")
    apply(model, Tuning("lora", rank=2), by_name("ecg-fm"))
    nn.init.zeros_(model.head.weight)  # nothing gets past it
    model.train()(x).logits.sum().backward()
    with pytest.raises(EcgError, match="exactly zero"):
        check_gradients(model)


class Toy(nn.Module):
    """Plain torch with a fused qkv Linear, convolutions dense, dilated, strided, grouped and depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Conv1d(3, 8, 5, stride=2, padding=2)
        self.dilated = nn.Conv1d(8, 8, 3, padding=2, dilation=2, bias=False)
        self.grouped = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv1d(8, 8, 3, padding=1, groups=8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)
        self.config = {"leads": 3}
        self.still: frozenset[str] = frozenset()

    def forward(self, x: Any) -> Any:
        x = self.depthwise(self.grouped(self.dilated(self.dense(x).relu()).relu())).transpose(1, 2)
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.head(self.out(nn.functional.scaled_dot_product_attention(q, k, v)).mean(1))


@pytest.mark.parametrize("rslora", [False, True])
def test_peft_loads_ours(rslora: bool, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base: Any = Toy()
    model, x = copy.deepcopy(base), torch.randn(4, 3, 40)
    tuning = Tuning("lora", rank=4, alpha=6, targets="qkv|out|dense", rslora=rslora)
    apply(model, tuning)
    for _ in range(3):
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.5)
        model(x).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    save_adapter(model, tuning, tmp_path)
    assert not torch.allclose(model(x), base(x), atol=1e-3)
    del base.config, base.still  # as plain as they come
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path)).eval()
    expected = model(x)
    torch.testing.assert_close(theirs(x), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(theirs.merge_and_unload()(x), merge(model)(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("rank", "module"), [(3, "dilated"), (4, "grouped"), (8, "depthwise")])
def test_a_grouped_convolution_is_adapted_exactly_or_left_out_and_said_so(rank: int, module: str) -> None:
    torch.manual_seed(0)
    model: Any = Toy()
    x = torch.randn(2, 3, 40)
    apply(model, Tuning("lora", rank=rank, targets=module))
    nn.init.normal_(model.get_submodule(module).lora_B.weight)
    y = model(x)
    torch.testing.assert_close(merge(model)(x), y, rtol=0, atol=1e-5)
    told = apply(model, Tuning("lora", rank=3, targets="qkv|grouped|depthwise"))
    assert told.left_out == ("grouped: 2 groups do not divide rank 3", "depthwise: 8 groups do not divide rank 3")
    assert "left out: grouped" in told.text()
    with pytest.raises(EcgError, match="nothing to adapt: grouped"):
        apply(Toy(), Tuning("lora", rank=3, targets="grouped"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tuning", "percent"),
    [
        (Tuning("lora", rank=48, targets=r".*[qv]_proj"), 1.92),
        (Tuning("lora", rank=48, targets=r".*[qkv]_proj"), 2.85),
        (Tuning("lora", rank=48, targets=r".*attention\.\w+_proj"), 3.77),
        (Tuning("adapter", kind="pfeiffer", bottleneck=256), 4.97),
        (Tuning("adapter", kind="houlsby", bottleneck=128), 4.98),
    ],
)
def test_shares_of_ecg_fm(tuning: Tuning, percent: float) -> None:
    with torch.device("meta"):
        model = build("ecg-fm")
    told = apply(model, tuning, by_name("ecg-fm"))
    added = sum(part.parameters for part in told.parts if part.name in ("LoRA", "adapters"))
    encoder = sum(part.parameters for part in told.parts if part.name == "encoder")
    assert encoder == 90_373_248
    assert round(100 * added / (encoder + added), 2) == percent


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model, row = tiny("ecg-fm"), by_name("ecg-fm")
    apply(model, Tuning("lora", rank=2), row)
    state = adapter_state(model)
    with pytest.raises(EcgError, match="merge it"):
        apply(model, Tuning("head"), row)
    with pytest.raises(EcgError, match=r"lacks head\.bias"):
        load_adapter(model, {key: value for key, value in state.items() if key != "head.bias"})
    with pytest.raises(EcgError, match="the model"):
        load_adapter(model, state | {"head.bias": torch.zeros(7)})
    with pytest.raises(EcgError, match="no adapter can be read"):
        open_adapter(model, tmp_path)
    with pytest.raises(EcgError, match="not known where adapters go"):
        apply(Toy(), Tuning("adapter"))  # type: ignore[arg-type]
    for wrong in ({"method": "some"}, {"rank": 0}, {"method": "partial"}, {"targets": "("}, {"dropout": 1.0}, {"kind": "x"}):
        with pytest.raises(EcgError):
            Tuning.from_dict(wrong)
    with pytest.raises(EcgError, match="has no ranks"):
        Tuning.from_dict({"ranks": 2})
    assert Tuning.from_dict(json.loads(json.dumps(Tuning("lora", rank=3).to_dict()))) == Tuning("lora", rank=3)
