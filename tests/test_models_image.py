"""Image models: what every row of the table promises, and that ViT and BEiT are those of transformers, number for number."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from einthoven import tune  # noqa: E402
from einthoven.models.convert import OBJECTIVE, load, store  # noqa: E402
from einthoven.models.count import parameters  # noqa: E402
from einthoven.models.image.beit import BEiT, MaskedHead  # noqa: E402
from einthoven.models.image.convnets import Convnet  # noqa: E402
from einthoven.models.image.model import ImageModel, Output  # noqa: E402
from einthoven.models.image.published import pretrained, renamed  # noqa: E402
from einthoven.models.image.transformer import distance_index, resized_table  # noqa: E402
from einthoven.models.image.vit import ViT  # noqa: E402
from einthoven.models.table import MODELS, build  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.represent.images import by_form  # noqa: E402

torch.set_num_threads(1)
FOLDER = Path(__file__).resolve().parent.parent / "einthoven" / "models" / "image"
IMAGE = [name for name, row in MODELS.items() if row.kind == "image"]
every_model = pytest.mark.parametrize("name", IMAGE)
TRANSFORMER = [n for n in IMAGE if n.startswith(("vit", "beit"))]


def tiny(name: str, outputs: int = 3, **options: Any) -> ImageModel:
    torch.manual_seed(0)
    model = build(name, outputs=outputs, **{**MODELS[name].tiny, **options})
    assert isinstance(model, ImageModel)
    return model


def pictures(name: str, count: int = 2, seed: int = 1, side: int | None = None) -> Tensor:
    side = side or MODELS[name].tiny_samples
    made = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))
    return made * torch.linspace(0.5, 2.0, count)[:, None, None, None]


def run_in(model: ImageModel, name: str) -> ImageModel:
    with torch.no_grad():
        for seed in range(3):
            model.train()(pictures(name, 8, seed))
    return model.eval()


def shaken(model: nn.Module) -> nn.Module:
    """Every parameter off its first value, so that nothing swapped goes unnoticed."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return model.eval()


# ---- what every row promises ---------------------------------------------------------------------------------------------


@every_model
def test_shapes(name: str) -> None:
    model, x = tiny(name).eval(), pictures(name)
    out, inner = model(x), model.backbone(x)
    assert isinstance(out, Output) and out.logits.shape == (2, 3)
    assert out.embedding.ndim == 2 and len(out.embedding) == 2
    assert out.maps and all(m.ndim == 4 and len(m) == 2 for m in out.maps)
    assert torch.equal(model.head(inner.head_input), out.logits)
    gradients = torch.autograd.grad(out.logits[:, 0].sum(), out.maps)  # what saliency asks for
    assert all(bool(g.any()) for g in gradients)


@every_model
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = tiny(name).train()
    with torch.no_grad():
        for p in model.parameters():
            if not p.any():
                p.normal_(0, 0.1)
    model(pictures(name, 16)).logits.square().sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all() or not p.grad.any()]
    assert not dead


@every_model
def test_saved_is_loaded(name: str, tmp_path: Path) -> None:
    model = run_in(tiny(name), name)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = type(model)(**json.loads(json.dumps(model.config))).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(model(pictures(name)).logits, other(pictures(name)).logits)


@every_model
def test_config_is_the_architecture(name: str) -> None:
    model = tiny(name)
    assert set(model.config) == {p for p in inspect.signature(type(model).__init__).parameters if p != "self"}
    twin = build(name, **json.loads(json.dumps(model.config)))
    assert {n: p.shape for n, p in twin.state_dict().items()} == {n: p.shape for n, p in model.state_dict().items()}


@every_model
def test_a_new_head(name: str) -> None:
    model = run_in(tiny(name), name)
    before = model.backbone(pictures(name)).head_input
    model.new_head(7)
    out = model.eval()(pictures(name))
    assert out.logits.shape == (2, 7) and model.config["outputs"] == 7
    assert torch.equal(model.backbone(pictures(name)).head_input, before)


@every_model
def test_a_picture_is_alone(name: str) -> None:
    model, x = run_in(tiny(name), name), pictures(name, 4)
    together = model(x).logits
    for i in range(4):
        torch.testing.assert_close(model(x[i : i + 1]).logits[0], together[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TRANSFORMER[:1] + TRANSFORMER[-1:])
def test_patches_need_not_be_square(name: str) -> None:
    square, both = tiny(name).eval(), tiny(name, patch=[8, 8]).eval()
    assert torch.equal(square(pictures(name)).logits, both(pictures(name)).logits)
    high = tiny(name, patch=[16, 4]).eval()
    assert high.grid == (2, 8) and high(pictures(name)).maps[0].shape[2:] == (2, 8)
    with pytest.raises(EcgError, match="patches of 12 x 8"):
        tiny(name, patch=[12, 8])
    with pytest.raises(EcgError, match="patches of 16 x 4"):
        high(torch.zeros(1, 3, 32, 30))


def test_the_head_may_see_each_row_for_itself() -> None:
    model, x = shaken(tiny("beit-base", pool="rows")), pictures("beit-base")
    assert model.head.in_features == 4 * 16 and model.grid == (4, 4)
    with torch.no_grad():
        tokens = model.tokens(x)[:, 1:].reshape(2, 4, 4, 16)
        by_hand = torch.cat([model.norm(tokens[:, row].mean(1)) for row in range(4)], 1)
        torch.testing.assert_close(model.backbone(x).head_input, by_hand)
    with pytest.raises(EcgError, match="pool is one of"):
        tiny("beit-base", pool="max")


@every_model
def test_parameters_as_the_table_says(name: str) -> None:
    with torch.device("meta"):
        assert parameters(build(name)) == MODELS[name].parameters


@every_model
def test_the_row(name: str) -> None:
    row, found = MODELS[name], dict(tiny(name).named_modules())
    assert by_form(row.preset).size == ((352, 448) if name == "page-net" else (224, 224))
    for expression in (row.adaptable, row.blocks, row.attention):
        assert not expression or any(re.fullmatch(expression, n) for n in found)
    assert build(name, **{**row.tiny, "channels": 1}).eval()(pictures(name)[:, :1]).logits.shape == (2, 5)


def test_no_model_is_missing_from_the_table() -> None:
    rows = {MODELS[name].where for name in IMAGE}
    for path in FOLDER.glob("*.py"):
        module = importlib.import_module(f"einthoven.models.image.{path.stem}")
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, ImageModel) and cls.__module__ == module.__name__:
                assert inspect.isabstract(cls) or f"image.{path.stem}:{cls.__name__}" in rows


@pytest.mark.parametrize("name", ["vit-tiny", "beit-tiny"])
def test_onnx_is_torch(name: str, tmp_path: Path) -> None:
    """With the batch left open."""
    onnxruntime, model, x = pytest.importorskip("onnxruntime"), shaken(tiny(name)), pictures(name, 2)
    batch = torch.export.Dim("batch", min=1)
    plain = Logits(model)
    with torch.no_grad():  # with gradients torch traces another attention, whose layout its exporter does not follow
        program = torch.onnx.export(
            plain, (x,), dynamo=True, input_names=["image"], dynamic_shapes=({0: batch},), verbose=False
        )
    program.save(str(tmp_path / "a.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        x = pictures(name, count)
        with torch.no_grad():
            assert np.allclose(session.run(None, {"image": x.numpy()})[0], plain(x).numpy(), atol=1e-5)


class Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x).logits


@every_model
@pytest.mark.parametrize("method", ["head", "lora", "adapter"])
def test_all_tuning_works(name: str, method: str) -> None:
    """The first output is the base model's; what trains gets a gradient; LoRA folds back into the weights."""
    model, row, x = run_in(tiny(name), name), MODELS[name], pictures(name)
    before = model(x).embedding
    tuning = tune.Tuning(method=method, **({"rank": 2, "alpha": 8} if method == "lora" else {}))  # type: ignore[arg-type]
    told = tune.apply(model, tuning, row)
    assert 0 < told.trainable < told.parameters
    torch.testing.assert_close(model.eval()(x).embedding, before)
    model.train()(pictures(name, 8)).logits.square().sum().backward()
    tune.check_gradients(model)
    if method == "lora":
        with torch.no_grad():
            for n, p in model.named_parameters():
                if "lora_B" in n:
                    p.normal_(0, 0.3)
        tuned = model.eval()(x).embedding
        assert not torch.equal(tuned, before)
        torch.testing.assert_close(tune.merge(model).eval()(x).embedding, tuned, rtol=1e-4, atol=1e-5)


# ---- transformers' numbers -----------------------------------------------------------------------------------------------

HF = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "image_size": 48,
    "patch_size": 8,
    "layer_norm_eps": 1e-6,
    "num_labels": 4,
}
OURS: dict[str, Any] = {"width": 32, "depth": 3, "heads": 2, "size": 48, "patch": 8, "outputs": 4}


def hf_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return shaken(ViTForImageClassification(ViTConfig(**HF)))


def hf_beit(shared: bool, masked: bool = False, **options: Any) -> nn.Module:
    from transformers import BeitConfig, BeitForImageClassification, BeitForMaskedImageModeling

    config = BeitConfig(
        **{**HF, **options},
        use_shared_relative_position_bias=shared,
        use_relative_position_bias=not shared,
        use_absolute_position_embeddings=False,
        use_mask_token=masked,
    )
    return shaken((BeitForMaskedImageModeling if masked else BeitForImageClassification)(config))


@pytest.mark.parametrize("side", [48, 64])
def test_vit_is_transformers(side: int) -> None:
    reference, model = hf_vit(), ViT(**OURS).eval()
    model.load_state_dict(renamed(reference.state_dict())[0])
    x = pictures("vit-tiny", side=side)
    with torch.no_grad():
        wanted = reference(x, interpolate_pos_encoding=side != 48).logits
        torch.testing.assert_close(model(x).logits, wanted, rtol=1e-5, atol=1e-6)
    assert parameters(model) == parameters(reference)


@pytest.mark.parametrize("side", [48, 64])
@pytest.mark.parametrize("shared", [True, False])
def test_beit_is_transformers(shared: bool, side: int) -> None:
    reference, model = hf_beit(shared), BEiT(**OURS, positions="shared" if shared else "relative").eval()
    model.load_state_dict(renamed(reference.state_dict())[0])
    x = pictures("beit-tiny", side=side)
    with torch.no_grad():
        torch.testing.assert_close(model(x).logits, reference(x).logits, rtol=1e-5, atol=1e-6)
    assert parameters(model) == parameters(reference)


def test_masked_beit_is_transformers() -> None:
    reference = hf_beit(True, masked=True, vocab_size=50)
    state, left_out = renamed(reference.state_dict())
    model, head = BEiT(**OURS, positions="shared").eval(), MaskedHead(32, 50).eval()
    head.load_state_dict({k.removeprefix(OBJECTIVE): v for k, v in state.items() if k.startswith(OBJECTIVE)})
    inner = {k: v for k, v in state.items() if not k.startswith(OBJECTIVE)}
    assert set(model.load_state_dict(inner, strict=False).missing_keys) == {
        f"{p}.{w}" for p in ("norm", "head") for w in ("weight", "bias")
    }
    assert not left_out
    x, masked = pictures("beit-tiny", side=48), torch.rand(2, 36, generator=torch.Generator().manual_seed(2)) < 0.4
    wanted = reference(x, bool_masked_pos=masked, labels=torch.arange(int(masked.sum())))
    said = head(model, x, masked)
    torch.testing.assert_close(said, wanted.logits[masked], rtol=1e-5, atol=1e-6)
    loss = nn.functional.cross_entropy(said, torch.arange(len(said)))
    torch.testing.assert_close(loss, wanted.loss, rtol=1e-5, atol=1e-6)
    loss.backward()
    wanted.loss.backward()
    torch.testing.assert_close(
        model.bias.table.grad, reference.beit.shared_position_bias.relative_position_bias_table.grad, rtol=1e-3, atol=1e-6
    )
    torch.testing.assert_close(head.mask.grad, reference.beit.embeddings.mask_token.grad.flatten(), rtol=1e-3, atol=1e-6)


def test_parameters_are_those_of_the_papers() -> None:
    with torch.device("meta"):
        beit, head = BEiT(positions="shared"), MaskedHead(768, 8192)
        del beit.head, beit.norm  # what masking does not need
        assert parameters(beit) + parameters(head) == 91_965_776
        from transformers import BeitConfig, BeitForMaskedImageModeling

        config = BeitConfig(
            vocab_size=8192, use_mask_token=True, use_shared_relative_position_bias=True, use_absolute_position_embeddings=False
        )
        assert parameters(BeitForMaskedImageModeling(config)) == parameters(beit) + parameters(head)
        torchvision = {"efficientnet-b4": 19_341_616, "resnet-152": 60_192_808, "convnext-tiny": 28_589_128}
        for name, count in torchvision.items():
            assert parameters(build(name, outputs=1000)) == count
        assert parameters(build("vit-base", outputs=1000)) == 86_567_656


def test_attentions_are_transformers() -> None:
    reference, model = hf_beit(False), BEiT(**OURS).eval()
    model.load_state_dict(renamed(reference.state_dict())[0])
    reference.set_attn_implementation("eager")
    x = pictures("beit-tiny", side=48)
    with torch.no_grad():
        ours, theirs = model.attentions(x), reference(x, output_attentions=True).attentions
    assert len(ours) == len(theirs) == 3
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


# ---- weights of others ---------------------------------------------------------------------------------------------------


def microsoft(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our BEiT's tensors under the names of Microsoft's unilm/beit, as its checkpoints have them."""
    names = {
        "token": "cls_token",
        "patch.": "patch_embed.proj.",
        "bias.table": "rel_pos_bias.relative_position_bias_table",
        "norm.": "fc_norm.",
    }
    layer = {
        "norm1": "norm1",
        "norm2": "norm2",
        "attention.qkv": "attn.qkv",
        "attention.q_bias": "attn.q_bias",
        "attention.v_bias": "attn.v_bias",
        "attention.out": "attn.proj",
        "mlp.0": "mlp.fc1",
        "mlp.2": "mlp.fc2",
        "scale": "gamma_",
        "bias.table": "attn.relative_position_bias_table",
    }
    out = {}
    for key, value in state.items():
        number, _, rest = key.removeprefix("layers.").partition(".")
        table = layer if key.startswith("layers.") else names
        word = rest if key.startswith("layers.") else key
        old = next((o for o in table if word.startswith(o)), None)
        new = word if old is None else table[old] + word.removeprefix(old)
        out[f"blocks.{number}.{new}" if key.startswith("layers.") else new] = value[None, None] if key == "token" else value
    return out | {"rel_pos_bias.relative_position_index": torch.zeros(3)}


@pytest.mark.parametrize("positions", ["relative", "shared"])
def test_microsoft_s_names(tmp_path: Path, positions: str) -> None:
    model = shaken(BEiT(**OURS, positions=positions))
    save_file({k: v.contiguous() for k, v in microsoft(model.state_dict()).items()}, tmp_path / "a.safetensors")
    torch.save({"model": microsoft(model.state_dict())}, tmp_path / "a.pth")
    x = pictures("beit-tiny", side=48)
    for file in ("a.safetensors", "a.pth"):
        other = pretrained(tmp_path / file, "beit-tiny", **OURS, positions=positions).eval()
        assert torch.equal(other(x).logits, model(x).logits)
    # Fine-tuning starts each layer's own bias from the shared one: the same function.
    own = pretrained(tmp_path / "a.pth", "beit-tiny", **OURS, positions="relative").eval()
    assert torch.equal(own(x).logits, model(x).logits)


def test_transformers_names_before_version_5(tmp_path: Path) -> None:
    reference = hf_vit()
    old = {}
    for key, value in reference.state_dict().items():
        key = re.sub(
            r"layers\.(\d+)\.attention\.([qkv])_proj",
            lambda m: f"encoder.layer.{m[1]}.attention.attention.{ {'q': 'query', 'k': 'key', 'v': 'value'}[m[2]] }",
            key,
        )
        key = re.sub(r"layers\.(\d+)\.attention\.o_proj", r"encoder.layer.\1.attention.output.dense", key)
        key = re.sub(r"layers\.(\d+)\.mlp\.fc1", r"encoder.layer.\1.intermediate.dense", key)
        key = re.sub(r"layers\.(\d+)\.mlp\.fc2", r"encoder.layer.\1.output.dense", key)
        old[re.sub(r"layers\.(\d+)\.layernorm", r"encoder.layer.\1.layernorm", key)] = value
    assert any("attention.attention.query" in k for k in old)
    save_file(old, tmp_path / "model.safetensors")
    model = pretrained(tmp_path, "vit-tiny", **OURS).eval()
    x = pictures("vit-tiny", side=48)
    torch.testing.assert_close(model(x).logits, reference(x).logits, rtol=1e-5, atol=1e-6)
    other = pretrained(tmp_path, "vit-tiny", **{**OURS, "outputs": 9})
    assert other(x).logits.shape == (2, 9)


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    save_file({"blocks.0.strange": torch.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(EcgError, match="unknown meaning"):
        pretrained(tmp_path / "a.safetensors", "vit-tiny", **OURS)
    save_file({"cls_token": torch.zeros(1, 1, 32)}, tmp_path / "b.safetensors")
    with pytest.raises(EcgError, match="does not fit vit-tiny: lacks positions"):
        pretrained(tmp_path / "b.safetensors", "vit-tiny", **OURS)
    torch.save({"model": np.float64}, tmp_path / "c.pth")
    with pytest.raises(EcgError, match="could run code"):
        pretrained(tmp_path / "c.pth", "vit-tiny", **OURS)
    with pytest.raises(EcgError, match="no file of weights"):
        pretrained(tmp_path / "none.safetensors", "vit-tiny", **OURS)


@pytest.mark.parametrize("name", ["efficientnet-b4", "resnet-152", "convnext-tiny"])
def test_convnets_from_a_local_folder(name: str, tmp_path: Path) -> None:
    model = run_in(tiny(name), name)
    assert isinstance(model, Convnet)
    model.body.save_pretrained(tmp_path)
    other = pretrained(tmp_path, name, outputs=3, **MODELS[name].tiny).eval()
    x = pictures(name)
    assert torch.equal(model.backbone(x).head_input, other.backbone(x).head_input)
    state = load_file(tmp_path / "model.safetensors")
    state.pop(next(iter(state)))
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EcgError, match="lacks"):
        pretrained(tmp_path, name, **MODELS[name].tiny)


# ---- sizes ---------------------------------------------------------------------------------------------------------------


def test_the_relative_index_is_its_definition() -> None:
    rows, columns = 2, 3
    index, inner = distance_index((rows, columns)), (2 * rows - 1) * (2 * columns - 1)
    for a in range(6):
        for b in range(6):
            down, right = a // 3 - b // 3, a % 3 - b % 3
            assert index[1 + a, 1 + b] == (down + rows - 1) * (2 * columns - 1) + right + columns - 1
    assert (
        index[0, 1:].unique().tolist() == [inner] and index[1:, 0].unique().tolist() == [inner + 1] and index[0, 0] == inner + 2
    )


def test_a_resized_table_keeps_distances_in_parts_of_the_image() -> None:
    """A bias that is linear in distance stays so: d rows of 14 are 2 d of 28."""
    down = torch.arange(-13.0, 14)[:, None, None].expand(27, 27, 1)
    table = torch.cat([down.reshape(-1, 1), torch.tensor([[7.0], [8.0], [9.0]])])
    new = resized_table(table, (14, 14), (28, 28))
    inner = new[:-3].reshape(55, 55)
    assert new[-3:].flatten().tolist() == [7, 8, 9]
    assert torch.allclose(inner[2:-2, 5], torch.arange(-25.0, 26) * 27 / 55, atol=1e-4)


@pytest.mark.parametrize("name", ["vit-tiny", "beit-tiny"])
def test_weights_go_to_another_size(name: str, tmp_path: Path) -> None:
    model = shaken(tiny(name))
    store(tmp_path / "a.safetensors", name, model.config, {k: v for k, v in model.state_dict().items()}, source="test")
    larger = tiny(name, size=64).eval()
    assert load(tmp_path / "a.safetensors", larger) == ()
    x = pictures(name, side=64)
    torch.testing.assert_close(larger(x).logits, model(x).logits, rtol=1e-4, atol=1e-5)  # as interpolated on the way
    wide = tiny(name, size=[32, 64]).eval()
    load(tmp_path / "a.safetensors", wide)
    assert wide(x[:, :, :32]).maps[-1].shape[2:] == (4, 8)


@pytest.mark.parametrize("name", ["vit-tiny", "beit-tiny"])
def test_tiles_are_each_seen_alone(name: str) -> None:
    whole = shaken(tiny(name))
    tiled = tiny(name, size=[32, 64], tiles=[1, 2]).eval()
    tiled.load_state_dict({**tiled.state_dict(), **{k: v for k, v in whole.state_dict().items() if not k.startswith("head.")}})
    x = torch.randn(3, 3, 32, 64, generator=torch.Generator().manual_seed(5))
    left, right, both = whole.backbone(x[..., :32]), whole.backbone(x[..., 32:]), tiled.backbone(x)
    torch.testing.assert_close(both.head_input, torch.cat([left.head_input, right.head_input], 1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both.maps[-1], torch.cat([left.maps[-1], right.maps[-1]], 3), rtol=1e-4, atol=1e-5)
    assert tiled(x).logits.shape == (3, 3)
    with pytest.raises(EcgError, match="within each tile"):
        tiled.attentions(x)


def test_images_that_do_not_divide_are_refused() -> None:
    with pytest.raises(EcgError, match="must divide"):
        tiny("vit-tiny", size=36)
    with pytest.raises(EcgError, match="not made of patches"):
        tiny("beit-tiny")(torch.zeros(1, 3, 32, 36))
    with pytest.raises(EcgError, match="positions are one of"):
        tiny("beit-tiny", positions="round")
    with pytest.raises(EcgError, match="32 pixels and more"):
        tiny("resnet-152")(torch.zeros(1, 3, 16, 64))


def test_stochastic_depth_keeps_the_mean() -> None:
    from einthoven.models.image.transformer import DropPath

    torch.manual_seed(0)
    path, x = DropPath(0.25).train(), torch.ones(4000, 1, 1)
    y = path(x)
    assert sorted({round(v, 5) for v in y.flatten().tolist()}) == [0.0, 1.33333] and float(y.mean()) == pytest.approx(
        1, abs=0.03
    )
    assert torch.equal(path.eval()(x), x)
