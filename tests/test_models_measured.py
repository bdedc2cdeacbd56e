"""Contract of models on measured features: what they are, what tuning does, how they go to ONNX; where weights begin."""

from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from einthoven.exchange.bundle import Bundle  # noqa: E402
from einthoven.exchange.onnx_out import export  # noqa: E402
from einthoven.exchange.predict import Predictor  # noqa: E402
from einthoven.exchange.shelf import find  # noqa: E402
from einthoven.io import read, write  # noqa: E402
from einthoven.models.count import parameters  # noqa: E402
from einthoven.models.measured.beat_figures import KNOTS, A, BeatFigures, knots  # noqa: E402
from einthoven.models.table import MODELS, Model, build  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.represent.features import NAMES, features  # noqa: E402
from einthoven.synth import Noise, simulate  # noqa: E402
from einthoven.train.finetune import finetune  # noqa: E402
from einthoven.train.recipe import Recipe  # noqa: E402
from einthoven.train.start import new_model, settled  # noqa: E402

torch.set_num_threads(1)
MEASURED = [name for name, row in MODELS.items() if row.kind == "features"]
every_model = pytest.mark.parametrize("name", MEASURED)


def vectors(n: int, seed: int = 0) -> Any:
    """(n, F), a fifth of it unknown."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, len(NAMES))).astype(np.float32)
    x[rng.random(x.shape) < 0.2] = np.nan
    return x


def test_every_kind_of_model_has_a_contract() -> None:
    """Signals: test_models_contract.py; images: test_models_image.py; features: here."""
    assert set(get_args(get_type_hints(Model)["kind"])) == {"signal", "image", "features"}
    assert {row.where for row in MODELS.values() if row.kind == "features"} == {"measured.beat_figures:BeatFigures"}


@every_model
def test_forward_config_and_count(name: str) -> None:
    assert parameters(build(name)) == MODELS[name].parameters
    model = build(name, outputs=3, **MODELS[name].tiny).eval()
    out = model(torch.from_numpy(vectors(4)))
    assert out.logits.shape == (4, 3) and out.embedding.ndim == 2 and torch.isfinite(out.logits).all()
    again = type(model)(**model.config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(torch.from_numpy(vectors(4))).logits, out.logits)
    model.new_head(7)
    assert model(torch.from_numpy(vectors(2))).logits.shape == (2, 7) and model.config["outputs"] == 7


@every_model
def test_onnx_computes_what_torch_does(name: str, tmp_path: Path) -> None:
    model = build(name, outputs=3, **MODELS[name].tiny)
    model.look(vectors(40))
    export(model, tmp_path / "m.onnx", features=len(NAMES))  # proves itself at 1e-4, with figures that are unknown


def test_ranks_are_those_of_the_training_records() -> None:
    """A figure at the q-th of its training values becomes what a normal distribution has there."""
    from scipy.special import ndtri

    x = np.tile(np.linspace(0, 100, 1001, dtype=np.float32)[:, None], (1, len(NAMES)))
    model = BeatFigures(outputs=2, members=2, width=4)
    model.look(x)
    assert knots(x).shape == (KNOTS, A)
    for member in model.members:
        at = member.ranks(torch.tensor([[25.0], [50.0], [75.0]]).expand(-1, A))
        np.testing.assert_allclose(at[:, 0], ndtri([0.25, 0.5, 0.75]), atol=1e-4)


def test_it_begins_with_the_default_models_networks() -> None:
    """Before any training, with the head kept: the mean of what the networks of einthoven-12 say."""
    from safetensors.torch import load

    from einthoven.train.default.members import network

    bundle = Bundle.open(find("einthoven-12"))
    state = load(bundle.read("weights.safetensors"))
    x = torch.from_numpy(np.stack([features(simulate(rate=70, seed=1).record), features(simulate("lbbb", seed=2).record)]))
    members = [
        network({k.removeprefix(f"network{i}."): v.numpy() for k, v in state.items() if k.startswith(f"network{i}.")})
        for i in range(3)
    ]
    with torch.no_grad():
        wanted = torch.stack([member(x)[0] for member in members]).mean(0)
        model = BeatFigures(outputs=wanted.shape[1], members=3).eval()
        model.load_state_dict(model.fitted(state))
        torch.testing.assert_close(model(x).logits, wanted, rtol=1e-4, atol=1e-4)

    recipe = Recipe.from_dict(settled({"data": "x", "weights": "einthoven-12"}))
    assert recipe.model == "beat-figures"
    begun, row = new_model(recipe, (len(NAMES),), 2)
    assert row.kind == "features" and begun.config == {"outputs": 2, "members": 3, "width": 48}
    torch.testing.assert_close(begun.eval()(x).embedding, model(x).embedding)
    assert begun(x).logits.shape == (2, 2)


@pytest.mark.parametrize("weights", ["einthoven-12", None])
def test_from_raw_files_to_a_bundle(weights: str | None, tmp_path: Path) -> None:
    """Twenty-four ECGs, two labels that the rate alone tells; the Bundle answers for a file what the run wrote down."""
    rows = ["file_name,label"]
    for i in range(24):
        made = simulate(rate=60 if i % 2 else 110, noise=Noise(wander=0.05), seed=i)
        write(made.record, tmp_path / f"{i}.hea")
        rows.append(f"{i}.hea,{'slow' if i % 2 else 'fast'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    words = {"data": str(tmp_path), "labels": str(tmp_path / "labels.csv"), "jobs": 1, "device": "cpu", "learning_rate": 3e-3}
    words |= {"epochs": 3, "batch": 8, "validation": 0.25, "test": 0.25}
    given = {"weights": weights, "method": "head"} if weights else {"model": "beat-figures", "options": {"members": 1}}
    out = tmp_path / "run"
    bundle = finetune(Recipe.from_dict(settled({**words, **given})), out, quiet=True)
    predictor = Predictor.load(bundle)
    assert predictor.manifest.features is not None and predictor.manifest.names == ("fast", "slow")
    for line in (out / "predictions.csv").read_text().splitlines()[1:4]:
        name, *_, fast, slow, _ = line.split(",")
        told = predictor.predict(read(tmp_path / name.partition(":")[2]))
        assert told.labels["fast"] == pytest.approx(float(fast), abs=1e-4)
        assert told.labels["slow"] == pytest.approx(float(slow), abs=1e-4)


@pytest.mark.parametrize("more", [{"preset": "none"}, {"normalise": "lead"}, {"crop": 0.1}, {"noise": 0.1}, {"mixup": 0.2}])
def test_what_only_signals_have_is_refused(more: dict[str, Any]) -> None:
    from einthoven.train.seen import seen_of

    with pytest.raises(EcgError, match="measured"):
        seen_of(Recipe.from_dict({"data": "x", "model": "beat-figures", **more}), MODELS["beat-figures"])
