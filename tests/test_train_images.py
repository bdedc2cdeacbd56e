"""Fine-tuning on images: raw files to a Bundle in one call, which answers for recordings and for pictures of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from typer.testing import CliRunner  # noqa: E402

from einthoven import data  # noqa: E402
from einthoven.cli import app  # noqa: E402
from einthoven.exchange.bundle import Bundle  # noqa: E402
from einthoven.exchange.onnx_out import export  # noqa: E402
from einthoven.exchange.predict import Predictor  # noqa: E402
from einthoven.explain import explain  # noqa: E402
from einthoven.explain.network import network  # noqa: E402
from einthoven.io import read, write  # noqa: E402
from einthoven.models import convert  # noqa: E402
from einthoven.models.table import MODELS, build  # noqa: E402
from einthoven.paper.render import render  # noqa: E402
from einthoven.record import STANDARD_LEADS, EcgError, Record  # noqa: E402
from einthoven.represent.images import by_form, from_picture, scaled  # noqa: E402
from einthoven.train.finetune import finetune, prepare  # noqa: E402
from einthoven.train.judge import evaluate_bundle  # noqa: E402
from einthoven.train.recipe import Recipe  # noqa: E402
from einthoven.train.start import new_model  # noqa: E402

torch.set_num_threads(1)
SIDE = 48
FORM = f"photo-{SIDE}"
BEIT = {"patch": 8, "width": 16, "depth": 2, "heads": 2}
SMALL: dict[str, Any] = {
    "model": "beit-tiny",
    "options": BEIT,
    "preset": FORM,
    "device": "cpu",
    "jobs": 1,
    "batch": 8,
    "epochs": 2,
    "learning_rate": 3e-3,
}
IMAGE = [name for name, row in MODELS.items() if row.kind == "image"]


@pytest.fixture(scope="module")
def ecgs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 recordings of 10 s at 100 Hz, half of them so large and fast that they are bars of ink."""
    folder = tmp_path_factory.mktemp("drawn") / "ecgs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    time = np.arange(1000) / 100
    rows = []
    for k in range(24):
        size = (0.02, 1.0)[k % 2]
        waves = size * np.sin(2 * np.pi * (20 * time + rng.random((12, 1))))
        write(Record(waves.astype(np.float32), 100.0, STANDARD_LEADS), folder / f"{k}.csv")
        rows.append((f"{k}.csv", ("small", "large")[k % 2], k, 20 + 2 * k))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "label", "patient", "target:age"), *rows])
    return folder


@pytest.fixture(scope="module")
def index(ecgs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index") / "index"
    data.load(ecgs, ecgs / "labels.csv", folder=place)
    return place


def recipe(index: Path, **more: Any) -> Recipe:
    return Recipe.from_dict({**SMALL, "data": str(index), **more})


def silent(words: str) -> None:
    pass


def logits(net: Any, pictures: Any, form: str = FORM) -> Any:
    with torch.no_grad():
        return net(torch.from_numpy(scaled(by_form(form), pictures))).logits.numpy()


def test_one_command_from_raw_files_to_a_bundle_of_images(ecgs: Path, tmp_path: Path) -> None:
    words = ["finetune", "--data", str(ecgs), "--labels", str(ecgs / "labels.csv"), "--model", "beit-tiny", "--lr", "1e-2"]
    words += ["--epochs", "10", "--batch", "4", "--set", "schedule=constant", "-o", str(tmp_path / "run"), "--device", "cpu"]
    words += ["--set", f"preset={FORM}", "--set", f"options={BEIT}", "--set", "jobs=1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    bundle = tmp_path / "run" / "bundle"
    predictor = Predictor.load(bundle)
    said = predictor.manifest
    assert said.image is not None and said.image.as_form() == by_form(FORM)
    assert (said.image.pictures, said.image.missing_leads, said.image.windows.over) == ("look", "refuse", "first")
    figures = {f.name: f.value for f in said.metrics[0].figures if f.label is None}
    assert figures["macro_auroc"] == 1.0  # it is seen at a glance
    # A user's prediction of a file is the one that the report has of it.
    with (tmp_path / "run" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        made = predictor.predict(read(ecgs / row["record"].partition(":")[2]))
        for name in said.names:
            assert made.labels[name] == pytest.approx(float(row[f"probability:{name}"]), abs=5e-3)
    # A photo of the paper gets what torch says of it.
    page = render(read(ecgs / "1.csv"), dpi=100)[0]
    wanted = logits(network(Bundle.open(bundle)), from_picture(FORM, page)[None])[0]
    np.testing.assert_allclose(predictor.predict_picture(page).logits, wanted, atol=1e-4)
    assert predictor.predict_picture(page).present == ("large",)
    assert f"{SIDE} x {SIDE} pixels" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    found = evaluate_bundle(bundle, ecgs, ecgs / "labels.csv", draws=500, jobs=1, tell=silent)
    assert found.overall["macro_auroc"].value == 1.0
    # The same command again does nothing; bytes lay on disk, and are gone.
    assert not (tmp_path / "run" / "work").exists()
    assert "finished" in CliRunner().invoke(app, words).output


@pytest.mark.parametrize("way", ["head", "lora", "adapter", "regression"])
def test_every_way_of_tuning_ends_in_a_bundle(way: str, index: Path, tmp_path: Path) -> None:
    method = "full" if way == "regression" else way
    more = {"task": "regression", "names": ["age"]} if way == "regression" else {"rank": 2, "bottleneck": 4}
    made = recipe(index, method=method, epochs=1, bootstrap=500, **more)
    bundle = Bundle.open(finetune(made, tmp_path / "run", quiet=True))
    assert bundle.manifest.image is not None and (bundle.manifest.architecture.tuning or {})["method"] == method
    assert ("adapter.safetensors" in bundle.manifest.files) == (method in ("lora", "adapter"))
    record = data.Index.open(index).record(0)
    predictor = Predictor(bundle)
    inputs = predictor.inputs(record)[0]
    with torch.no_grad():
        wanted = network(bundle)(torch.from_numpy(inputs["image"])).logits.numpy()
    np.testing.assert_allclose(predictor.run(inputs)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", IMAGE)
def test_every_model_of_images_is_exported_as_it_is(name: str, tmp_path: Path) -> None:
    row = MODELS[name]
    torch.manual_seed(0)
    model = build(name, outputs=2, **row.tiny)
    side = row.tiny_samples
    export(model, tmp_path / "a.onnx", image=(side, side))  # compares, to 1e-4, and says where it differs


@pytest.mark.parametrize("method", ["occlusion", "integrated-gradients", "gradcam"])
def test_a_bundle_of_images_is_explained(method: str, index: Path, tmp_path: Path) -> None:
    bundle = finetune(recipe(index, epochs=1), tmp_path / "run", quiet=True)
    record = data.Index.open(index).record(1)
    made = explain(record, bundle, "large", method)
    assert made.probability == pytest.approx(Predictor.load(bundle).predict(record).labels["large"], abs=1e-6)
    assert made.leads and np.isfinite(made.score)
    if method == "integrated-gradients":
        assert made.values.shape[0] == len(made.leads) and "off all leads" in made.facts


def test_it_starts_from_a_pre_training_s_weights_at_another_size(index: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    base = build("beit-tiny", outputs=5, size=32, **BEIT)
    held = {k: v for k, v in base.state_dict().items() if not k.startswith("head.")}
    convert.store(tmp_path / "weights.safetensors", "beit-tiny", base.config, held, source="test")
    made = recipe(index, weights=str(tmp_path / "weights.safetensors"), options={})
    examples = prepare(made, tmp_path / "work", silent).examples
    model, _ = new_model(made, examples.shape, 2)
    state = model.state_dict()
    assert model.config["size"] == [SIDE, SIDE] and model.head.weight.shape[0] == 2
    same = [k for k, v in held.items() if state[k].shape == v.shape]
    assert len(same) > len(held) / 2 and all(torch.equal(held[k], state[k]) for k in same)
    with pytest.raises(EcgError, match="holds beit-tiny"):
        new_model(made.with_(model="vit-tiny"), examples.shape, 2)


def test_images_lie_on_disk_as_bytes_and_are_scaled_in_the_loop(index: Path, tmp_path: Path) -> None:
    made = prepare(recipe(index), tmp_path / "work", silent)
    assert made.examples.x[0].dtype == np.uint8 and made.examples.shape == (3, SIDE, SIDE)
    rows = made.train[:2]
    assert np.array_equal(made.examples.inputs(rows), scaled(by_form(FORM), made.examples.x[rows]))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"normalise": "lead"}, "normalise"),
        ({"lead_dropout": 0.2}, "lead_dropout"),
        ({"crop": 0.2}, "crop"),
        ({"preset": "exchangeai"}, "no image form exchangeai"),
    ],
)
def test_what_only_signals_have_is_refused(more: dict[str, Any], told: str, index: Path, tmp_path: Path) -> None:
    with pytest.raises(EcgError, match=told):
        finetune(recipe(index, **more), tmp_path / "run", quiet=True)


def test_layer_decay_is_a_share_of_the_rate_for_each_layer(index: Path, tmp_path: Path) -> None:
    from einthoven.train.loop import new_optimizer

    net = build("beit-tiny", size=SIDE, head_scale=1.0, **BEIT)
    chosen = recipe(index, layer_decay=0.5)
    shares = {id(p): g["share"] for g in new_optimizer(net, chosen, 1e-3).param_groups for p in g["params"]}
    found = {n: shares[id(p)] for n, p in net.named_parameters()}
    assert found["patch.weight"] == found["token"] == 0.125
    assert {v for n, v in found.items() if n.startswith("layers.0.")} == {0.25}
    assert {v for n, v in found.items() if n.startswith("layers.1.")} == {0.5}
    assert found["norm.weight"] == found["head.bias"] == 1.0 and len(found) == len(shares)
    # A step of Adam moves each number by its rate: what is lower moves less.
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    optimizer = new_optimizer(net, recipe(index, layer_decay=0.5, weight_decay=0.0), 1e-3)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3 * group["share"]
    net(torch.randn(4, 3, SIDE, SIDE)).logits.square().sum().backward()
    optimizer.step()
    moved = {n: float((p.detach() - before[n]).abs().max()) for n, p in net.named_parameters()}
    assert moved["head.bias"] == pytest.approx(1e-3, rel=1e-2)
    assert moved["layers.0.mlp.2.bias"] == pytest.approx(0.25e-3, rel=1e-2)
    with pytest.raises(EcgError, match="layer_decay wants"):
        new_optimizer(build("resnet-152", **MODELS["resnet-152"].tiny), chosen, 1e-3)


def test_the_head_comes_first_where_logistic_regression_puts_it(index: Path) -> None:
    from accelerate import Accelerator
    from sklearn.linear_model import LogisticRegression

    from einthoven.train.head_first import head_first
    from einthoven.train.loop import Examples

    rng = np.random.default_rng(0)
    net = build("beit-tiny", size=SIDE, outputs=2, **BEIT)
    x = rng.normal(size=(40, 3, SIDE, SIDE)).astype(np.float32)
    x[:20, :, ::8] += 2
    y = np.stack([np.arange(40) < 20, rng.random(40) < 0.5], 1).astype(np.float32)
    y[3, 1] = np.nan
    train, held = np.arange(0, 40, 2), np.arange(1, 40, 2)
    body = {n: p.detach().clone() for n, p in net.named_parameters() if not n.startswith("head.")}
    penalty, loss = head_first(net, Examples(x, y), train, held, Accelerator(cpu=True), batch=7)
    assert all(torch.equal(p, dict(net.named_parameters())[n]) for n, p in body.items())
    with torch.no_grad():
        seen, logits = (getattr(net.eval()(torch.from_numpy(x)), n).double().numpy() for n in ("embedding", "logits"))
    known = np.isfinite(y[held])
    each = np.logaddexp(0, logits[held]) - np.nan_to_num(y[held]) * logits[held]
    assert loss == pytest.approx(each[known].mean(), rel=1e-4)
    # scikit-learn's C is one over the penalty of the sum of losses.
    scaled_ = (seen - seen[train].mean(0)) / seen[train].std(0, ddof=1)
    theirs = LogisticRegression(C=1 / (penalty * len(train)), tol=1e-8, max_iter=2000).fit(scaled_[train], y[train, 0])
    np.testing.assert_allclose(logits[held, 0], theirs.decision_function(scaled_[held]), rtol=2e-2, atol=2e-2)
    with pytest.raises(EcgError, match="no linear layer"):
        head_first(torch.nn.Module(), Examples(x, y), train, held, Accelerator(cpu=True), batch=7)  # type: ignore[arg-type]
