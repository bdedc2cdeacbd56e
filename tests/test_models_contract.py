"""What every row of the table of models promises, on tiny models: shapes, gradients, files, heads, and one ECG's answer that
no other ECG in the batch changes. A model that is not in the table fails, too."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402

from einthoven.models.count import parameters  # noqa: E402
from einthoven.models.signal.model import Output, SignalModel  # noqa: E402
from einthoven.models.table import MODELS, build, by_name  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.signal import presets  # noqa: E402

torch.set_num_threads(1)
FOLDER = Path(__file__).resolve().parent.parent / "einthoven" / "models" / "signal"

SIGNAL = [name for name, row in MODELS.items() if row.kind == "signal"]  # images: test_models_image.py
every_model = pytest.mark.parametrize("name", SIGNAL)


def tiny(name: str, outputs: int = 3) -> SignalModel:
    torch.manual_seed(0)
    return build(name, outputs=outputs, **MODELS[name].tiny)


def ecgs(name: str, count: int = 2, seed: int = 1) -> torch.Tensor:
    """(B, 12, T), the last ones louder, so that whoever looks across the batch is seen."""
    made = torch.randn(count, 12, MODELS[name].tiny_samples, generator=torch.Generator().manual_seed(seed))
    return made * torch.linspace(0.5, 2.0, count)[:, None, None]


def run_in(model: SignalModel, name: str) -> SignalModel:
    """Running statistics that are not those of a fresh model; and in eval."""
    with torch.no_grad():
        for seed in range(3):
            model.train()(ecgs(name, 8, seed))
    return model.eval()


@every_model
def test_shapes(name: str) -> None:
    model, x = tiny(name).eval(), ecgs(name, 2)
    out, inner = model(x), model.backbone(x)
    assert isinstance(out, Output) and out.logits.shape == (2, 3)
    assert out.embedding.ndim == 2 and len(out.embedding) == 2
    assert out.maps and all(m.ndim == 3 and len(m) == 2 for m in out.maps)
    assert torch.equal(model.head(inner.head_input), out.logits)  # what head-only training may cache
    assert torch.isfinite(out.logits).all()


@every_model
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = tiny(name).train()
    with torch.no_grad():  # what starts at zero on purpose holds back the gradient of what stands before it
        for p in model.parameters():
            if not p.any():
                p.fill_(0.1)
    out = model(ecgs(name, 16))
    (out.logits.square().sum() + sum(v.float().sum() for k, v in out.aux.items() if k.endswith("loss"))).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all() or not p.grad.any()]
    assert not dead


@every_model
def test_saved_is_loaded(name: str, tmp_path: Path) -> None:
    model = run_in(tiny(name), name)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = type(model)(**model.config).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    x = ecgs(name)
    assert torch.equal(model(x).logits, other(x).logits)


@every_model
def test_config_is_the_architecture(name: str) -> None:
    """All arguments of the constructor stand in the config, as plain values, and give the same parts."""
    import json

    model = tiny(name)
    assert set(model.config) == {p for p in inspect.signature(type(model).__init__).parameters if p != "self"}
    config = json.loads(json.dumps(model.config))
    twin = type(model)(**config)
    assert {n: p.shape for n, p in twin.state_dict().items()} == {n: p.shape for n, p in model.state_dict().items()}


@every_model
def test_a_new_head(name: str) -> None:
    model = run_in(tiny(name), name)
    before = model.backbone(ecgs(name)).head_input
    model.new_head(7)
    model.eval()
    out = model(ecgs(name))
    assert out.logits.shape == (2, 7) and model.config["outputs"] == 7
    assert torch.equal(model.backbone(ecgs(name)).head_input, before)
    assert type(model)(**model.config)(ecgs(name)).logits.shape == (2, 7)


@every_model
def test_an_ecg_is_alone(name: str) -> None:
    """In eval the answer to one ECG does not depend on the others of its batch."""
    model, x = run_in(tiny(name), name), ecgs(name, 5)
    together = model(x).logits
    for i in range(5):
        torch.testing.assert_close(model(x[i : i + 1]).logits[0], together[i], rtol=1e-4, atol=1e-5)


@every_model
def test_parameters_as_the_table_says(name: str) -> None:
    with torch.device("meta"):
        assert parameters(build(name)) == MODELS[name].parameters


@every_model
def test_the_row(name: str) -> None:
    """Its preset exists and gives what the model takes; its expressions find modules; its leads are an option."""
    import re

    row, model = MODELS[name], tiny(name)
    preset = presets.by_name(row.preset)
    assert preset.leads is not None and len(preset.leads) == 12
    found = dict(model.named_modules())
    layers = [m for n, m in found.items() if re.fullmatch(row.adaptable, n)]
    assert any(isinstance(m, (torch.nn.Linear, torch.nn.Conv1d)) for m in layers)
    for expression in (row.blocks, row.attention):
        assert not expression or any(re.fullmatch(expression, n) for n in found)
    assert not any(re.fullmatch(row.adaptable, n) for n in found if n.startswith("head") and row.adaptable != ".*")
    x = ecgs(name)[:, :8]
    assert build(name, **{**row.tiny, "leads": 8, "outputs": 2}).eval()(x).logits.shape == (2, 2)


def test_no_model_is_missing_from_the_table() -> None:
    rows = {MODELS[name].where for name in SIGNAL}
    for path in FOLDER.glob("*.py"):
        module = importlib.import_module(f"einthoven.models.signal.{path.stem}")
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, SignalModel) and cls.__module__ == module.__name__:
                where = f"signal.{path.stem}:{cls.__name__}"
                assert inspect.isabstract(cls) or where in rows, f"{where} stands in no row of einthoven/models/table.py"
    assert len(SIGNAL) == len(rows)


def test_wrong_names_and_options_are_told() -> None:
    with pytest.raises(EcgError, match="there are: inception-time"):
        by_name("transformer-xxl")
    with pytest.raises(EcgError, match=r"inception-time: .*colour"):
        build("inception-time", colour="red")
