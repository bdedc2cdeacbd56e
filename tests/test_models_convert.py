"""Published checkpoints, built here in their authors' layout with a forward of their own, give the same once converted."""

from __future__ import annotations

import argparse
import io
import math
import pickle
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from einthoven.models import convert as room  # noqa: E402
from einthoven.models.convert import convert, load, objective, pretrained  # noqa: E402
from einthoven.models.table import build  # noqa: E402
from einthoven.record import STANDARD_LEADS, EcgError  # noqa: E402

torch.set_num_threads(1)

WIDTH, HEADS, CHANNELS = 16, 2, 8
CFG = {"model": {"_name": "wav2vec2_cmsc", "encoder_attention_heads": HEADS}, "task": {"normalize": False}}


class FairseqLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.ModuleDict({f"{n}_proj": nn.Linear(WIDTH, WIDTH) for n in ("k", "v", "q", "out")})
        self.self_attn_layer_norm = nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.final_layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.self_attn[f"{n}_proj"](x).view(*x.shape[:2], HEADS, -1) for n in "qkv")
        weight = torch.einsum("bnhd,bmhd->bhnm", q, k).div(math.sqrt(WIDTH // HEADS)).softmax(-1)
        mixed = torch.einsum("bhnm,bmhd->bnhd", weight, v).reshape(x.shape)
        x = self.self_attn_layer_norm(x + self.self_attn["out_proj"](mixed))
        return self.final_layer_norm(x + self.fc2(F.gelu(self.fc1(x))))


class Fairseq(nn.Module):
    """The encoder of reference/mlstack.md section 5, with the names of its checkpoint."""

    def __init__(self, old_spelling: bool, leads: int = 12) -> None:
        super().__init__()
        norm = nn.utils.weight_norm if old_spelling else nn.utils.parametrizations.weight_norm
        self.feature_extractor = nn.Module()
        self.feature_extractor.conv_layers = nn.ModuleList()
        for i in range(4):
            conv = nn.Conv1d(leads if i == 0 else CHANNELS, CHANNELS, 2, 2, bias=False)
            self.feature_extractor.conv_layers.append(
                nn.Sequential(conv, nn.Dropout(0.0), *([nn.GroupNorm(CHANNELS, CHANNELS)] if i == 0 else []), nn.GELU())
            )
        self.layer_norm = nn.LayerNorm(CHANNELS)
        self.post_extract_proj = nn.Linear(CHANNELS, WIDTH)
        self.conv_pos = nn.Module()
        self.conv_pos.pos_conv = nn.Sequential(norm(nn.Conv1d(WIDTH, WIDTH, 8, padding=4, groups=2), dim=2), nn.GELU())
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(FairseqLayer() for _ in range(2))
        self.encoder.layer_norm = nn.LayerNorm(WIDTH)

    def forward(self, signal: Tensor) -> Tensor:
        x = signal
        for conv in self.feature_extractor.conv_layers:
            x = conv(x)
        x = self.post_extract_proj(self.layer_norm(x.mT))
        x = x + F.gelu(self.conv_pos.pos_conv[0](x.mT)[..., :-1]).mT
        x = self.encoder.layer_norm(x)
        for layer in self.encoder.layers:
            x = layer(x)
        return x


class FineTuned(nn.Module):
    def __init__(self, old_spelling: bool) -> None:
        super().__init__()
        self.encoder = Fairseq(old_spelling)
        self.proj = nn.Linear(WIDTH, 3)

    def forward(self, signal: Tensor) -> Tensor:
        x = self.encoder(signal)
        return self.proj(x.sum(1) / (x != 0).sum(1))


def pre_training_parts() -> dict[str, Tensor]:
    shapes = {
        "mask_emb": (WIDTH,),
        "quantizer.vars": (1, 10, 4),
        "quantizer.weight_proj.weight": (10, CHANNELS),
        "quantizer.weight_proj.bias": (10,),
        "project_q.weight": (8, 8),
        "project_q.bias": (8,),
        "final_proj.weight": (8, WIDTH),
        "final_proj.bias": (8,),
    }
    return {name: torch.randn(shape) for name, shape in shapes.items()}


@pytest.fixture
def signal() -> Tensor:
    return torch.randn(2, 12, 250, generator=torch.Generator().manual_seed(1))


def shaken(model: nn.Module) -> nn.Module:
    """Every parameter off its initial value, so that no swapped norm or bias goes unnoticed."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model.eval()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("old_spelling", [True, False])
def test_fine_tuned_ecg_fm(tmp_path: Path, signal: Tensor, old_spelling: bool) -> None:
    published = shaken(FineTuned(old_spelling))
    spelt = "weight_g" if old_spelling else "parametrizations.weight.original0"
    assert f"encoder.conv_pos.pos_conv.0.{spelt}" in published.state_dict()
    torch.save({"cfg": CFG, "model": published.state_dict(), "args": None}, tmp_path / "a.pt")
    done = convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert (done.model, done.head, done.options["outputs"], done.left_out) == ("ecg-fm", True, 3, {})
    assert done.parameters == sum(p.numel() for p in published.parameters())
    model = pretrained(tmp_path / "a.safetensors").eval()
    with torch.no_grad():
        assert torch.allclose(model(signal).logits, published(signal), atol=1e-6)
    assert "3 outputs" in done.text()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("old_spelling", [True, False])
def test_pre_trained_ecg_fm(tmp_path: Path, signal: Tensor, old_spelling: bool) -> None:
    published, parts = shaken(Fairseq(old_spelling)), pre_training_parts()
    torch.save({"cfg": CFG, "model": {**published.state_dict(), **parts}}, tmp_path / "a.pt")
    done = convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert not done.head and set(done.left_out) == set(parts)
    assert "fresh" in done.text() and "mask_emb" in done.text()
    model = pretrained(tmp_path / "a.safetensors", outputs=4).eval()
    with torch.no_grad():
        out = model(signal)
        tokens = published(signal)
    assert out.logits.shape == (2, 4)
    assert torch.allclose(out.maps[-1].mT, tokens, atol=1e-6) and torch.allclose(out.embedding, tokens.mean(1), atol=1e-6)
    assert objective(tmp_path / "a.safetensors") == {}

    convert(tmp_path / "a.pt", tmp_path / "b.safetensors", objective=True)
    kept = objective(tmp_path / "b.safetensors")
    assert torch.equal(kept["mask"], parts["mask_emb"]) and torch.equal(kept["quantizer.codes"], parts["quantizer.vars"])
    assert len(kept) == len(parts)
    other = build("ecg-fm", **model.config)
    assert load(tmp_path / "b.safetensors", other) == ("head.weight", "head.bias")
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in other.state_dict().items() if not k.startswith("head."))


def test_fewer_leads_are_the_others_at_zero(tmp_path: Path, signal: Tensor) -> None:
    torch.save({"cfg": CFG, "model": shaken(FineTuned(False)).state_dict()}, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    whole, one = pretrained(tmp_path / "a.safetensors").eval(), pretrained(tmp_path / "a.safetensors", leads=("V2",)).eval()
    row = STANDARD_LEADS.index("V2")
    masked = torch.zeros_like(signal)
    masked[:, row] = signal[:, row]
    with torch.no_grad():
        assert torch.allclose(one(signal[:, [row]]).logits, whole(masked).logits, atol=1e-6)
    done = convert(tmp_path / "a.pt", tmp_path / "one.safetensors", leads=("V2",))
    assert done.options["leads"] == 1
    assert all(torch.equal(v, one.state_dict()[k]) for k, v in pretrained(done.out).state_dict().items())
    with pytest.raises(EcgError, match="V9"):
        pretrained(tmp_path / "a.safetensors", leads=("V9",))
    with pytest.raises(EcgError, match="twelve"):
        pretrained(done.out, leads=("V2",))


# ---- ECGFounder ---------------------------------------------------------------------------------------------------------


def founder(leads: int) -> dict[str, Tensor]:
    """A small Net1D's state dict with the names of PKUDigitalHealth/ECGFounder: widths 8; 8, 16; blocks 1, 2; groups of 4."""
    generator = torch.Generator().manual_seed(2)
    state: dict[str, Tensor] = {}

    def tensor(name: str, *shape: int) -> None:
        state[name] = 0.5 * torch.randn(shape, generator=generator)

    def norm(name: str, channels: int) -> None:
        state.update({f"{name}.{part}": torch.zeros(channels) for part in ("bias", "running_mean")})
        state.update({f"{name}.{part}": torch.ones(channels) for part in ("weight", "running_var")})
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    tensor("first_conv.conv.weight", 8, leads, 4)
    tensor("first_conv.conv.bias", 8)
    norm("first_bn", 8)
    before = 8
    for stage, (wide, blocks) in enumerate(((8, 1), (16, 2))):
        for block in range(blocks):
            at = f"stage_list.{stage}.block_list.{block}"
            for i, (inputs, group, kernel) in enumerate(((before, before, 1), (wide, 4, 4), (wide, wide, 1)), start=1):
                norm(f"{at}.bn{i}", inputs)
                tensor(f"{at}.conv{i}.conv.weight", wide, group, kernel)
                tensor(f"{at}.conv{i}.conv.bias", wide)
            tensor(f"{at}.se_fc1.weight", wide // 2, wide)
            tensor(f"{at}.se_fc1.bias", wide // 2)
            tensor(f"{at}.se_fc2.weight", wide, wide // 2)
            tensor(f"{at}.se_fc2.bias", wide)
            before = wide
    tensor("dense.weight", 6, 16)
    tensor("dense.bias", 6)
    return state


def founder_forward(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """net1d.py with use_bn=False, use_do=False, written out for the sizes above."""

    def swish(x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)

    def conv(name: str, x: Tensor, stride: int, groups: int = 1) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        length = x.shape[-1]
        pad = max(0, ((length + stride - 1) // stride - 1) * stride + weight.shape[-1] - length)
        return F.conv1d(F.pad(x, (pad // 2, pad - pad // 2)), weight, state[f"{name}.conv.bias"], stride, groups=groups)

    x = swish(conv("first_conv", x, 2))
    for stage, (wide, blocks) in enumerate(((8, 1), (16, 2))):
        for block in range(blocks):
            at = f"stage_list.{stage}.block_list.{block}"
            stride = 2 if block == 0 else 1
            y = conv(f"{at}.conv1", x if stage == block == 0 else swish(x), 1)
            y = conv(f"{at}.conv2", swish(y), stride, wide // 4)
            y = conv(f"{at}.conv3", swish(y), 1)
            gate = F.linear(y.mean(-1), state[f"{at}.se_fc1.weight"], state[f"{at}.se_fc1.bias"])
            gate = torch.sigmoid(F.linear(swish(gate), state[f"{at}.se_fc2.weight"], state[f"{at}.se_fc2.bias"]))
            if stride == 2:
                x = F.max_pool1d(F.pad(x, (0, 1)), 2)
            missing = wide - x.shape[1]
            zeros = x.new_zeros(x.shape[0], missing // 2, x.shape[2])
            x = torch.cat([zeros, x, zeros], 1) + y * gate[:, :, None]
    return F.linear(x.mean(-1), state["dense.weight"], state["dense.bias"])


@pytest.mark.parametrize(("leads", "samples"), [(12, 250), (12, 251), (1, 600)])
def test_ecg_founder(tmp_path: Path, leads: int, samples: int) -> None:
    state = founder(leads)
    torch.save({"step": 10000, "state_dict": state, "val_auroc": 0.92}, tmp_path / "a.pth")
    done = convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert (done.model, done.options["leads"], done.options["outputs"]) == ("ecg-founder", leads, 6)
    assert len(done.left_out) == sum("bn" in k for k in state) and "never runs" in done.text()
    model = pretrained(tmp_path / "a.safetensors").eval()
    x = torch.randn(2, leads, samples, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.allclose(model(x).logits, founder_forward(state, x), atol=1e-5)


def test_a_net1d_that_used_its_batch_norms_is_another_model(tmp_path: Path) -> None:
    state = founder(12)
    state["first_bn.num_batches_tracked"] = torch.tensor(400)
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    with pytest.raises(EcgError, match="batch normalisation"):
        convert(tmp_path / "a.pth", tmp_path / "a.safetensors")


# ---- strict, and safe ---------------------------------------------------------------------------------------------------


def test_data_parallel_and_plain_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = founder(12)
    save_file({f"module.{k}": v for k, v in state.items()}, tmp_path / "plain.safetensors")
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "a.pth")
    one = convert(tmp_path / "plain.safetensors", tmp_path / "one.safetensors")
    two = convert(tmp_path / "a.pth", tmp_path / "two.safetensors")
    assert one.renamed == two.renamed
    first, second = pretrained(one.out).state_dict(), pretrained(two.out).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("change", ["more", "fewer", "shape", "twice"])
def test_what_does_not_fit_is_refused(tmp_path: Path, change: str) -> None:
    state = shaken(FineTuned(False)).state_dict()
    if change == "more":
        state["encoder.secret"] = torch.zeros(3)
    elif change == "fewer":
        del state["encoder.encoder.layers.1.fc2.bias"]
    elif change == "shape":
        state["encoder.encoder.layers.1.fc2.bias"] = torch.zeros(3)
    else:
        state["encoder.conv_pos.pos_conv.0.weight_g"] = state["encoder.conv_pos.pos_conv.0.parametrizations.weight.original0"]
    torch.save({"cfg": CFG, "model": state}, tmp_path / "a.pt")
    with pytest.raises(EcgError, match=r"secret|fc2\.bias|spellings"):
        convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_heads_are_asked_for_where_nothing_tells_them(tmp_path: Path) -> None:
    torch.save({"model": FineTuned(False).state_dict()}, tmp_path / "a.pt")
    with pytest.raises(EcgError, match="heads"):
        convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert convert(tmp_path / "a.pt", tmp_path / "a.safetensors", heads=HEADS).options["heads"] == HEADS


def test_a_pre_norm_wav2vec_is_another_model(tmp_path: Path) -> None:
    cfg = {"model": {**CFG["model"], "layer_norm_first": True}}
    torch.save({"cfg": cfg, "model": FineTuned(False).state_dict()}, tmp_path / "a.pt")
    with pytest.raises(EcgError, match="ECG-FM is not"):
        convert(tmp_path / "a.pt", tmp_path / "a.safetensors")


def test_configuration_objects_are_replaced_by_stand_ins(tmp_path: Path) -> None:
    """A Namespace of the authors' command line is common; so are numpy's numbers (a score)."""
    import numpy as np

    held = {"args": argparse.Namespace(lr=1e-3), "score": np.float64(0.9), "state_dict": founder(12)}
    torch.save(held, tmp_path / "a.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)
    allowed = set(torch.serialization.get_safe_globals())
    assert convert(tmp_path / "a.pth", tmp_path / "a.safetensors").model == "ecg-founder"
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_a_configuration_of_a_package_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("omegaconf")
    package.DictConfig = type("DictConfig", (dict,), {"__module__": "omegaconf", "__reduce__": reduced})  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "omegaconf", package)
        torch.save({"cfg": package.DictConfig(), "model": FineTuned(False).state_dict()}, tmp_path / "a.pt")
    assert convert(tmp_path / "a.pt", tmp_path / "a.safetensors", heads=HEADS).model == "ecg-fm"


def reduced(config: Any) -> tuple[Any, ...]:
    """How an object of attributes is pickled: made empty, then given its state."""
    return type(config), (), {"_content": {"a": 1}, "_metadata": None}


class Trap:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call, self.arguments


@pytest.mark.parametrize("call", [eval, exec, print, getattr, Path.touch])
def test_nothing_of_a_checkpoint_is_run(tmp_path: Path, call: Any) -> None:
    flag = tmp_path / "flag"
    argument = f"open({str(flag)!r}, 'w')" if call in (eval, exec, print) else flag
    trap = Trap(call, argument, "touch") if call is getattr else Trap(call, argument)
    torch.save({"state_dict": founder(12), "more": trap}, tmp_path / "a.pth")
    with pytest.raises(EcgError, match=r"not loaded.*safetensors"):
        convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert not flag.exists()


def test_even_an_allowed_module_only_gives_its_stand_in(tmp_path: Path) -> None:
    """numpy is on the list of modules, and numpy holds functions that act: none of them is ever called."""
    import numpy as np

    flag = tmp_path / "flag.npy"
    torch.save({"state_dict": founder(12), "more": Trap(np.save, str(flag), [1])}, tmp_path / "a.pth")
    assert convert(tmp_path / "a.pth", tmp_path / "a.safetensors").model == "ecg-founder"
    assert not flag.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps([1, 2]), b"PK\x03\x04 broken"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_checkpoint_is_an_ecg_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(EcgError) as fault:
        convert(path, tmp_path / "b.safetensors")
    assert str(path) in str(fault.value)
    with pytest.raises(EcgError):
        convert(tmp_path / "missing.pt", tmp_path / "b.safetensors")


def test_other_contents_are_an_ecg_error(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for held in ([1, 2], {"a": 1}, {"model": {"some.weight": torch.zeros(2)}}):
        torch.save(held, tmp_path / "a.pt")
        with pytest.raises(EcgError):
            convert(tmp_path / "a.pt", tmp_path / "b.safetensors")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("hello.txt", "hello")
    (tmp_path / "c.pt").write_bytes(archive.getvalue())
    with pytest.raises(EcgError):
        convert(tmp_path / "c.pt", tmp_path / "b.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "d.safetensors")
    with pytest.raises(EcgError, match="convert"):
        pretrained(tmp_path / "d.safetensors")


def test_every_layout_is_of_a_model_in_the_table() -> None:
    from einthoven.models.table import MODELS

    for layout in room._LAYOUTS:
        assert layout.first in build(layout.model, **MODELS[layout.model].tiny).state_dict()
