"""Fine-tuning: losses, weights, schedules and finder against formulas; a planted problem from raw files to a Bundle."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from accelerate import Accelerator  # noqa: E402
from torch import nn  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from einthoven import data, tune  # noqa: E402
from einthoven.cli import app  # noqa: E402
from einthoven.exchange.bundle import Bundle  # noqa: E402
from einthoven.exchange.predict import Predictor  # noqa: E402
from einthoven.io import read, write  # noqa: E402
from einthoven.models.network import Network  # noqa: E402
from einthoven.models.table import MODELS, Model, build  # noqa: E402
from einthoven.record import EcgError  # noqa: E402
from einthoven.represent.features import NAMES  # noqa: E402
from einthoven.represent.images import by_form, scaled  # noqa: E402
from einthoven.signal.presets import apply  # noqa: E402
from einthoven.synth import simulate  # noqa: E402
from einthoven.train import checkpoint  # noqa: E402
from einthoven.train.augment import Augment  # noqa: E402
from einthoven.train.finetune import finetune, fold_into_head, prepare  # noqa: E402
from einthoven.train.judge import evaluate_bundle  # noqa: E402
from einthoven.train.loop import Examples, Feed, fit, learning_rate, predict, shuffled  # noqa: E402
from einthoven.train.losses import Objective, class_weights  # noqa: E402
from einthoven.train.lr_finder import find_rate  # noqa: E402
from einthoven.train.recipe import Recipe  # noqa: E402
from einthoven.train.schedule import rate_factor  # noqa: E402
from einthoven.train.start import new_model, settled  # noqa: E402

torch.set_num_threads(1)
NAN = float("nan")
SMALL = {"model": "inception-time", "options": {"width": 4}, "device": "cpu", "jobs": 1, "batch": 8}


def ones(k: int) -> np.ndarray:
    return np.ones(k, np.float32)


# ---- the recipe ---------------------------------------------------------------------------------------------------------


def test_a_recipe_comes_back_from_yaml(tmp_path: Path) -> None:
    recipe = Recipe(data="ecgs", names=("A", "B"), options={"width": 8}, method="lora", rank=4, learning_rate=1e-3)
    (tmp_path / "r.yaml").write_text(recipe.text(), encoding="utf-8")
    assert Recipe.read(tmp_path / "r.yaml") == recipe
    assert recipe.with_(seed=3).differences(recipe) == ["seed: 0 -> 3"]
    assert not recipe.with_(jobs=5, checkpoint_every=7).differences(recipe)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"learning_rat": 1e-3}, "learning_rat"),
        ({"epochs": "many"}, "epochs"),
        ({"epochs": 0}, "epochs"),
        ({"method": "magic"}, "method"),
        ({"validation": 0.0}, "validation"),
        ({"bootstrap": 20}, "bootstrap"),
        ({"finder_low": 1.0}, "finder_low"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(words: dict[str, object], named: str) -> None:
    with pytest.raises(EcgError, match=named):
        Recipe.from_dict(words)


def test_shipped_recipes_are_recipes() -> None:
    found = sorted((Path(__file__).resolve().parent.parent / "recipes").glob("finetune-*.yaml"))
    assert found
    for path in found:
        Recipe.read(path)


# ---- losses -------------------------------------------------------------------------------------------------------------


def numpy_loss(task: str, z: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """The mean loss of what is known, written out."""
    top = bottom = 0.0
    for i in range(len(y)):
        if task == "single":
            if np.isnan(y[i]).any():
                continue
            log_p = z[i] - np.log(np.exp(z[i]).sum())
            top += -(w * y[i] * log_p).sum()
            bottom += (w * y[i]).sum()
            continue
        for k in range(y.shape[1]):
            if np.isnan(y[i, k]):
                continue
            p = 1 / (1 + np.exp(-z[i, k]))
            top += (
                (z[i, k] - y[i, k]) ** 2
                if task == "regression"
                else -(w[k] * y[i, k] * np.log(p) + (1 - y[i, k]) * np.log(1 - p))
            )
            bottom += 1
    return top / bottom


@pytest.mark.parametrize("task", ["single", "multilabel", "regression"])
def test_unknown_labels_take_no_part(task: str) -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20, 3)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 20)] if task == "single" else (z[::-1] > 0).astype(np.float32)
    y[rng.random(y.shape) < 0.2] = NAN
    w = np.array([1.0, 2.0, 0.5], np.float32) if task != "regression" else ones(3)
    objective = Objective(task, w)
    logits = torch.tensor(z, requires_grad=True)
    loss = objective.sum(logits, torch.from_numpy(y)) / objective.total(y)
    assert loss.item() == pytest.approx(numpy_loss(task, z, y, w), rel=1e-5)
    loss.backward()
    unknown = np.isnan(y).any(1, keepdims=True) | np.zeros(y.shape, bool) if task == "single" else np.isnan(y)
    assert (logits.grad.numpy()[unknown] == 0).all() and np.isfinite(logits.grad.numpy()).all()
    # The parts of a batch add up to the whole, however the unknown are spread.
    parts = sum(float(objective.sum(torch.from_numpy(z[i::3]), torch.from_numpy(y[i::3]))) for i in range(3))
    assert parts / objective.total(y) == pytest.approx(loss.item(), rel=1e-5)


def test_losses_are_torchs_where_all_is_known() -> None:
    rng = np.random.default_rng(1)
    z, which = torch.from_numpy(rng.standard_normal((9, 4)).astype(np.float32)), torch.from_numpy(rng.integers(0, 4, 9))
    w = np.array([0.2, 1, 3, 0.7], np.float32)
    hot = nn.functional.one_hot(which, 4).float()
    single, multi = Objective("single", w), Objective("multilabel", w)
    wanted = nn.functional.cross_entropy(z, which, torch.from_numpy(w))
    assert float(single.sum(z, hot) / single.total(hot.numpy())) == pytest.approx(float(wanted), rel=1e-6)
    wanted = nn.functional.binary_cross_entropy_with_logits(z, hot, pos_weight=torch.from_numpy(w))
    assert float(multi.sum(z, hot) / multi.total(hot.numpy())) == pytest.approx(float(wanted), rel=1e-6)


def test_class_weights_are_their_formulas() -> None:
    y = np.eye(3, dtype=np.float32)[[0] * 6 + [1] * 3 + [2]]
    assert class_weights(y, "single", "none") == pytest.approx([1, 1, 1])
    assert class_weights(y, "single", "exchangeai") == pytest.approx([1 / 6, 1 / 3, 1])
    from sklearn.utils.class_weight import compute_class_weight

    wanted = compute_class_weight("balanced", classes=np.arange(3), y=y.argmax(1))
    assert class_weights(y, "single", "balanced") == pytest.approx(wanted)
    y[0] = NAN  # unknown: counts neither way
    assert class_weights(y, "multilabel", "balanced") == pytest.approx([4 / 5, 6 / 3, 8 / 1])
    with pytest.raises(EcgError, match="positive"):
        class_weights(np.zeros((4, 2), np.float32), "multilabel", "balanced")


# ---- learning rates -----------------------------------------------------------------------------------------------------


def test_schedules_are_torchs() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=40, cycle_momentum=False)
    for step in range(40):
        assert rate_factor("onecycle", step, 40, 0) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        theirs.step() if step < 39 else None
    # HeartBEiT's: from 3e-4 to 1e-3 and down (div_factor 1 / 0.3).
    optimizer = torch.optim.Adam([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=40, div_factor=1 / 0.3, cycle_momentum=False)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(3e-4)
    for step in range(40):
        factor = rate_factor("onecycle", step, 40, 0, initial=0.3)
        assert 1e-3 * factor == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        theirs.step() if step < 39 else None
    assert [rate_factor("exponential", 0, 9, e, gamma=0.9) for e in range(3)] == pytest.approx([1, 0.9, 0.81])
    cosine = [rate_factor("cosine", s, 100, 0, warmup=0.1) for s in range(100)]
    assert max(cosine) == cosine[10] == 1 and cosine[0] < 0.1 and cosine[-1] < 1e-3
    assert sorted(cosine[10:], reverse=True) == cosine[10:]


def everything(net: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t.detach().clone() for n, t in (*net.named_parameters(), *net.named_buffers())}


def test_the_finder_leaves_no_trace() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 6, 1))
    net.register_buffer("passing", torch.ones(2), persistent=False)
    net[1].eval()
    before, random = everything(net), torch.get_rng_state().clone()
    x, y = torch.randn(16, 2, 8, generator=torch.Generator().manual_seed(1)), torch.ones(16, 1)

    def loss_of(step: int) -> torch.Tensor:
        net.train()
        net.passing += 1
        return nn.functional.binary_cross_entropy_with_logits(net(x), y)

    found = find_rate(net, loss_of, low=1e-4, high=1e-2, steps=30)
    after = everything(net)
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert torch.equal(random, torch.get_rng_state())
    assert not net[1].training and net[0].training and all(p.grad is None for p in net.parameters())
    assert found.fell and 1e-4 <= found.rate <= 1e-2 and len(found.rates) == 30


def test_the_finder_stops_where_the_loss_explodes_and_says_where_it_never_falls() -> None:
    net = nn.Linear(1, 1)
    rising = find_rate(net, lambda step: net.weight.sum() * 0 + 2.0**step, steps=50)
    assert not rising.fell and rising.rate == 1e-4 and len(rising.rates) < 50


def toy(n: int = 48, labels: int = 1, seed: int = 0) -> Examples:
    """Inputs (n, 3, 20) whose first lead's mean is the label."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3, 20)).astype(np.float32)
    y = (x[:, :1].mean(2) > 0).astype(np.float32).repeat(labels, 1)
    return Examples(x + np.float32(0.4) * (2 * y[:, :1, None] - 1), y)


def plain_net(outputs: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(60, 8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, outputs))


@pytest.mark.parametrize("middle", [60, 100, 140])
def test_the_finder_is_not_led_by_the_noise_of_a_batch(middle: int) -> None:
    """Losses that fall along a planted curve, steepest in the middle, with noise that from step to step is far steeper."""
    torch.manual_seed(0)
    noise, net = 0.3 * torch.randn(200), torch.nn.Linear(2, 1)
    curve = 3 - 2 * torch.sigmoid((torch.arange(200) - middle) / 12) + noise
    found = find_rate(net, lambda step: net.weight.sum() * 0 + curve[step])
    at = int(np.argmin(np.abs(np.array(found.rates) - found.rate)))
    assert abs(at - middle) < 25 and found.fell  # the smoothing itself lags by about 20 steps


def test_neither_finder_nor_training_looks_at_what_is_not_for_training() -> None:
    examples = toy()
    spoiled = Examples(examples.x.copy(), examples.y)
    spoiled.x[32:] = NAN  # whoever looks at one of these gets NaN
    found = learning_rate(
        plain_net(), spoiled, np.arange(32), Objective("multilabel", ones(1)), Recipe(batch=8), Accelerator(cpu=True)
    )
    assert np.isfinite(found.losses).all() and len(found.losses) == 200


# ---- batches ------------------------------------------------------------------------------------------------------------


def test_every_record_once_in_steps_of_nearly_one_size() -> None:
    rows = np.arange(100, 141)
    steps = shuffled(rows, 8, seed=3, epoch=1)
    assert sorted(np.concatenate(steps)) == rows.tolist() and {len(s) for s in steps} == {6, 7}
    assert not np.array_equal(np.concatenate(steps), np.concatenate(shuffled(rows, 8, seed=3, epoch=2)))


def test_processes_share_out_exactly_what_one_would_see() -> None:
    examples = toy()
    objective = Objective("multilabel", ones(1))
    augment = Augment(mixup=0.4, crop=0.2, lead_dropout=0.3, noise=0.1)
    steps = shuffled(np.arange(48), 7, 0, 0)
    one = Feed(examples, steps, objective, seed=1, epoch=2, augment=augment)
    many = [Feed(examples, steps, objective, seed=1, epoch=2, augment=augment, parts=2, rank=r, world=2) for r in range(2)]
    for step in range(len(steps)):
        x, y, total = one[step]
        pieces = [feed[2 * step + part] for feed in many for part in range(2)]
        assert torch.equal(x, torch.cat([p[0] for p in pieces])) and torch.equal(y, torch.cat([p[1] for p in pieces]))
        assert {p[2] for p in pieces} == {total}


def test_augmentation_keeps_what_it_promises() -> None:
    x = np.random.default_rng(0).standard_normal((12, 50)).astype(np.float32)
    rng = np.random.default_rng(1)
    for _ in range(50):
        lost = Augment(lead_dropout=0.95).record(x, rng)
        assert (lost != 0).any() and all(np.array_equal(a, b) or not a.any() for a, b in zip(lost, x))
    moved = Augment(crop=0.5).record(x, np.random.default_rng(5))
    shift = next(
        s for s in range(-25, 26) if np.array_equal(moved[:, max(s, 0) : 50 + min(s, 0)], x[:, max(-s, 0) : 50 - max(s, 0)])
    )
    assert shift and not moved[:, :shift].any() if shift > 0 else not moved[:, shift:].any()
    assert all(0.5 <= Augment(mixup=0.2).share(rng) <= 1 for _ in range(20))
    assert not Augment() and np.array_equal(Augment().record(x, rng), x)


# ---- the loop -----------------------------------------------------------------------------------------------------------


def run(net: nn.Module, folder: Path, examples: Examples, recipe: Recipe, rate: float = 0.01, **more: object):  # type: ignore[no-untyped-def]
    rows = np.arange(len(examples.x))
    objective = Objective("multilabel", ones(examples.y.shape[1]))
    return fit(net, examples, rows[:32], rows[32:], objective, recipe, Accelerator(cpu=True), folder, rate=rate, **more)  # type: ignore[arg-type]


def test_the_loop_learns_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    net, examples = plain_net(), toy()
    done = run(net, tmp_path, examples, Recipe(batch=8, epochs=8, schedule="constant"))
    losses = [row["validation_loss"] for row in done.history]
    assert done.best == min(losses) == losses[done.best_epoch] and losses[-1] < losses[0]
    rows = np.arange(32, 48)
    objective = Objective("multilabel", ones(1))
    logits = predict(net, examples, rows, Accelerator(cpu=True), 5)
    assert float(objective.sum(torch.from_numpy(logits).double(), torch.from_numpy(examples.y[rows]))) / 16 == pytest.approx(
        done.best
    )


def test_a_run_stops_early_and_always_ends_with_a_model(tmp_path: Path) -> None:
    net = plain_net()
    start = everything(net)
    done = run(net, tmp_path, toy(), Recipe(batch=8, epochs=30, patience=2, weight_decay=0), rate=0.0)
    assert len(done.history) == 3 and done.best_epoch == 0 and (tmp_path / "best.pt").exists()
    assert all(torch.equal(t, start[n]) for n, t in everything(net).items())  # at rate 0 nothing moved


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    examples = toy()
    examples.x[3] = np.inf
    with pytest.raises(EcgError, match=r"the loss is .*epoch 1, step"):
        run(plain_net(), tmp_path, examples, Recipe(batch=8, epochs=2))


def test_accumulated_parts_make_the_same_step(tmp_path: Path) -> None:
    examples = toy(labels=2)
    examples.y[:7, 1] = NAN
    nets = []
    for parts in (1, 2):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(60, 8), nn.GELU(), nn.Linear(8, 2))
        folder = tmp_path / str(parts)
        folder.mkdir()
        recipe = Recipe(batch=8, epochs=2, accumulate=parts)
        objective = Objective("multilabel", ones(2))
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=parts)
        fit(net, examples, np.arange(32), np.arange(32, 48), objective, recipe, accelerator, folder, rate=0.01)
        nets.append(everything(net))
    assert all(torch.allclose(nets[0][n], nets[1][n], atol=1e-5) for n in nets[0])


# ---- from raw files to a Bundle -----------------------------------------------------------------------------------------


def planted(folder: Path, count: int) -> Path:
    """Normal ECGs and complete left bundle branch blocks, in files of four formats, two records a patient."""
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "label", "patient", "target:rate"])
        for i in range(count):
            blocked = i % 4 > 1
            rate = 50 + 5 * (i % 16)
            made = simulate(*(["lbbb"] if blocked else []), rate=rate, seed=i, fs=125, duration=10, noise=15)
            name = f"e{i:03d}" + (".csv", ".edf", ".dcm", ".npz")[i % 4]
            write(made.record, folder / name)
            table.writerow([name, "LBBB" if blocked else "normal", f"p{i // 2}", rate if i % 5 else ""])
    return folder


@pytest.fixture(scope="module")
def ecgs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("planted") / "ecgs", 64)


@pytest.fixture(scope="module")
def index(ecgs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index") / "index"
    data.load(ecgs, folder=place)
    return place


def silent(words: str) -> None:
    pass


def started(recipe: Recipe, folder: Path) -> tuple[Network, Model]:
    made = prepare(recipe, folder / "work", silent)
    return new_model(recipe, made.examples.shape, len(made.labels.names))


def test_one_command_from_raw_files_to_a_bundle(ecgs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["finetune", "--data", str(ecgs), "--labels", str(ecgs / "labels.csv"), "--model", "inception_time", "-o", str(out)]
    words += ["--epochs", "5", "--batch", "6", "--lr", "0.01", "--device", "cpu", "--set", "options={width: 4}", "--json"]
    done = CliRunner().invoke(app, [*words, "--set", "jobs=1"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["figures"]["macro_auroc"]["value"] > 0.9
    for name in ("metrics.jsonl", "curves.png", "confusion.png", "roc_pr.png", "calibration.png", "report.html", "log.txt"):
        assert (out / name).stat().st_size > 100
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 5 and not (out / "work").exists()
    log = (out / "log.txt").read_text()
    assert log.index("trainable") < log.index("epoch   1")  # what trains is said before the first step
    page = (out / "report.html").read_text()
    assert "http" not in page.replace('http-equiv="Content', "") and page.count("data:image/png") == 4

    # The Bundle answers for the files what the table of the test patients says.
    bundle = Bundle.open(out / "bundle")
    predictor = Predictor(bundle)
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == told["records"]
    for row in rows[:6]:
        made = predictor.predict(read(ecgs / row["record"].partition(":")[2]))
        for name in ("LBBB", "normal"):
            assert made.labels[name] == pytest.approx(float(row[f"probability:{name}"]), abs=1e-4)
    trained = bundle.manifest.training
    assert {d.role for d in trained.data} == {"training", "validation"} and trained.recipe["data"] == "ecgs"
    assert bundle.manifest.calibration and bundle.manifest.metrics[0].role == "test"

    # The same command does nothing more; another recipe is not mixed in; evaluate finds the same figures.
    assert finetune(Recipe.read(out / "recipe.yaml"), out, quiet=True) == out / "bundle"
    with pytest.raises(EcgError, match=r"another recipe.*seed"):
        finetune(Recipe.read(out / "recipe.yaml").with_(seed=5), out, quiet=True)
    warnings: list[str] = []
    again = evaluate_bundle(out / "bundle", ecgs, jobs=1, draws=500, tell=warnings.append)
    assert again.records == 64 and again.figure("macro_auroc").value > 0.9
    assert any("has seen records of ecgs" in w for w in warnings)


def test_training_in_bf16_ends_in_a_bundle_of_float32_whose_figures_are_its_own(index: Path, tmp_path: Path) -> None:
    words = {**SMALL, "data": str(index), "precision": "bf16", "epochs": 1, "learning_rate": 1e-3}
    bundle = finetune(Recipe.from_dict(words), tmp_path / "run", quiet=True)
    with (tmp_path / "run" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stored = data.Index.open(index)
    predictor = Predictor.load(bundle)
    ids = list(stored.column("record"))
    for row in rows[:4]:
        made = predictor.predict(stored.record(ids.index(row["record"])))
        for name, value in made.labels.items():
            assert value == pytest.approx(float(row[f"probability:{name}"]), abs=1e-4)


@pytest.mark.parametrize("method", ["head", "lora"])
def test_every_way_of_tuning_ends_in_a_bundle(method: str, index: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_dict(
        {**SMALL, "data": str(index), "method": method, "epochs": 1, "learning_rate": 1e-3, "normalise": "global", "seed": 2}
    )
    bundle = Bundle.open(finetune(recipe, tmp_path / "run", quiet=True))
    assert bundle.manifest.architecture.tuning and bundle.manifest.architecture.tuning["method"] == method
    assert ("adapter.safetensors" in bundle) == (method == "lora")
    last = bundle.manifest.inputs[0].preset["steps"][-1]  # type: ignore[union-attr]
    assert last["name"] == "standardize" and last["std"] > 0
    # Only what was to move has moved: the rest is as the seed made it.
    from safetensors.torch import load

    after = load(bundle.read("weights.safetensors"))
    torch.manual_seed(recipe.seed)
    before = build("inception-time", leads=12, outputs=2, width=4).state_dict()
    moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == ({"head"} if method == "head" else {"head", "blocks", "shortcuts"})


def test_a_regression_answers_in_the_unit_of_its_target(index: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_dict(
        {**SMALL, "data": str(index), "task": "regression", "names": ["rate"], "epochs": 2, "learning_rate": 0.01}
    )
    made = Bundle.open(finetune(recipe, tmp_path / "run", quiet=True)).manifest
    figures = {f.name: f.value for f in made.metrics[0].figures if f.label is None}
    assert made.task == "regression" and made.activation == "identity" and figures["mean_mae"] < 40
    assert (tmp_path / "run" / "values.png").exists()


def test_scale_and_offset_go_into_the_head() -> None:
    torch.manual_seed(0)
    model = build("inception-time", leads=12, outputs=2, width=4).eval()
    x = torch.randn(3, 12, 100)
    before = model(x).logits.detach().numpy()
    fold_into_head(model, np.array([400, 60], np.float32), np.array([30, 15], np.float32), (12, 100))
    assert model(x).logits.detach().numpy() == pytest.approx(before * [30, 15] + [400, 60], rel=1e-4)


def test_what_cannot_be_learned_is_refused(index: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_dict({**SMALL, "data": str(index)})
    table = data.Index.open(index)
    few = data.Labels(("LBBB", "normal"), data.labels_of(table, "own").matrix.copy(), "single")
    sick = np.flatnonzero(few.matrix[:, 0] == 1)
    few.matrix[sick[1:]] = NAN  # one patient alone has it: it cannot be in three parts

    from einthoven.train import finetune as module

    known = module._labelled
    module._labelled = lambda *a: (table, few)
    try:
        with pytest.raises(EcgError, match="LBBB has no positive in training") as told:
            for seed in range(20):
                prepare(recipe.with_(seed=seed), tmp_path / "work", silent)
        assert "cannot be learned" in str(told.value)
    finally:
        module._labelled = known


def test_a_run_that_never_trained_makes_room(ecgs: Path, tmp_path: Path) -> None:
    """Labels put right and a misspelt name corrected go into the same folder, as long as nothing was trained there."""
    labels, out = tmp_path / "labels.csv", tmp_path / "out"
    labels.write_text("file_name,label\ne000,LBBB\ne001,normal\n")
    recipe = Recipe(data=str(ecgs), labels=str(labels), device="cpu", method="head", jobs=1)
    with pytest.raises(EcgError, match="no preset foo"):
        finetune(recipe.with_(preset="foo"), out, quiet=True)
    assert not (out / "work" / "index").exists()  # told before the data is read
    with pytest.raises(EcgError, match="more patients are needed"):
        finetune(recipe, out, quiet=True)
    labels.write_text((ecgs / "labels.csv").read_text())
    made = prepare(recipe, out / "work", silent)
    assert len(made.index) == 64 and "drawn at random" in made.warnings[0]
    (out / "work" / checkpoint.STATE).mkdir()  # from here on there is something to lose
    labels.write_text("file_name,label\ne000,LBBB\ne001,normal\n")
    with pytest.raises(EcgError, match="--fresh begins anew"):
        prepare(recipe, out / "work", silent)


def test_global_moments_are_those_of_training_patients(index: Path, tmp_path: Path) -> None:
    recipe = Recipe.from_dict({**SMALL, "data": str(index), "normalise": "global"})
    made = prepare(recipe, tmp_path / "work", silent)
    x = np.asarray(made.examples.x[made.train], np.float64)
    assert (made.examples.mean, made.examples.std) == pytest.approx((x.mean(), x.std()), rel=1e-6)
    people = made.patients
    parts = [{people[i] for i in rows} for rows in (made.train, made.validation, made.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    # What the Bundle's user computes by the preset is what the network was trained on.
    row = int(made.rows[made.test[0]])
    assert apply(made.seen, made.index.record(row)) == pytest.approx(made.examples.inputs(made.test[:1])[0], abs=1e-5)


def test_it_starts_from_given_weights_with_a_new_head(index: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(7)
    base = build("inception-time", leads=12, outputs=26, width=4)
    save_file(base.state_dict(), tmp_path / "base.safetensors")
    recipe = Recipe.from_dict({**SMALL, "data": str(index), "weights": str(tmp_path / "base.safetensors")})
    model, row = started(recipe, tmp_path)
    state = model.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in base.state_dict().items() if not k.startswith("head."))
    assert state["head.weight"].shape[0] == 2 and tune.apply(model, tune.Tuning("head"), row).trainable == 2 * 17
    with pytest.raises(EcgError, match="no weights of"):
        started(recipe.with_(options={"width": 8}), tmp_path)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["full", "head", "lora", "adapter"])
def test_every_model_takes_a_step_in_every_way(name: str, method: str, tmp_path: Path) -> None:
    row = MODELS[name]
    torch.manual_seed(0)
    image = row.kind == "image"
    model = build(name, outputs=2, **({"leads": 12} if row.kind == "signal" else {}), **row.tiny)
    tune.apply(model, tune.Tuning(method, rank=2, bottleneck=4), row)
    held = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    rng = np.random.default_rng(0)
    y = np.eye(2, dtype=np.float32)[rng.integers(0, 2, 12)]
    if image:  # bytes, scaled as they are taken
        side = row.tiny_samples
        pictures = rng.integers(0, 256, (12, side, side), np.uint8)
        examples = Examples(pictures, y, shape=(3, side, side), seen=partial(scaled, by_form(row.preset)))
    else:
        shape = (len(NAMES),) if row.kind == "features" else (12, row.tiny_samples)
        examples = Examples(rng.standard_normal((12, *shape)).astype(np.float32), y)
    checked: list[object] = []
    done = fit(
        model, examples, np.arange(8), np.arange(8, 12), Objective("single", ones(2)), Recipe(batch=8, epochs=1),
        Accelerator(cpu=True), tmp_path, rate=1e-3, after_first_backward=lambda net: checked.append(tune.check_gradients(net)),
    )  # fmt: skip
    assert len(checked) == 1 and np.isfinite(done.best)
    assert all(torch.equal(p, held[n]) for n, p in model.named_parameters() if n in held)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_foreign_onnx_file_is_fine_tuned(index: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(nn.Conv1d(12, 4, 9, 4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 7))
    path = tmp_path / "theirs.onnx"
    torch.onnx.export(theirs, (torch.zeros(2, 12, 1000),), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})
    recipe = Recipe.from_dict(
        {**SMALL, "data": str(index), "weights": str(path), "options": {}, "epochs": 1, "learning_rate": 1e-3}
    )
    with pytest.raises(EcgError, match="does not say how its input is prepared"):
        finetune(recipe, tmp_path / "run", quiet=True)
    bundle = Bundle.open(finetune(recipe.with_(preset="exchangeai"), tmp_path / "run", fresh=True, quiet=True))
    assert bundle.manifest.architecture.model == "onnx" and len(bundle.manifest.labels) == 2
    # And what came of it can be trained on.
    more = recipe.with_(model="onnx", weights=str(bundle.path), method="head")
    model, _ = started(more, tmp_path)
    assert model.config["outputs"] == 2


def test_wrong_use_says_so(tmp_path: Path) -> None:
    for words in (["finetune", "--set", "epochs"], ["finetune", "--method", "magic"], ["evaluate"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2 and "error:" in done.stderr
    done = CliRunner().invoke(app, ["finetune", "-o", str(tmp_path / "x"), "--data", "no/such/folder"])
    assert done.exit_code == 1 and "no/such/folder" in done.stderr


def test_weights_are_found_by_a_model_s_name_and_say_which_model_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from einthoven.exchange.shelf import find

    shipped = find("einthoven-paper-1")
    named = {"data": "x", "weights": "einthoven-paper-1"}
    assert settled(named) == {"data": "x", "weights": str(shipped), "model": "page-net"}
    assert settled({**named, "model": "vit"})["model"] == "vit"  # what is said stays, and is refused later, by name
    with pytest.raises(EcgError, match=r"neither a file nor a model .*einthoven-paper-1"):
        settled({"weights": "einthoven-paper-0"})

    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.safetensors").write_bytes(b"")
    assert settled({"weights": "own.safetensors"}) == {"weights": "own.safetensors"}
    assert settled({"data": "x"}) == {"data": "x"}
