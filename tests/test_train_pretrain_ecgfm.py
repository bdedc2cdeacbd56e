"""ECG-FM's pre-training: its losses re-computed with numpy, its masks counted, its runs continued to the same weights."""

from __future__ import annotations

import json
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from torch import Tensor  # noqa: E402

from einthoven.models.convert import objective, pretrained  # noqa: E402
from einthoven.models.table import MODELS  # noqa: E402
from einthoven.record import STANDARD_LEADS, EcgError, Record  # noqa: E402
from einthoven.train import pretrain_ecgfm as room  # noqa: E402
from einthoven.train import start  # noqa: E402
from einthoven.train.pretrain_ecgfm import (  # noqa: E402
    Objective,
    Pairs,
    PretrainRecipe,
    Source,
    Synth,
    cmsc,
    draw_negatives,
    infonce,
    make,
    mask_leads,
    mask_tokens,
    pretrain,
    source_of,
)

torch.set_num_threads(1)
RECIPES = Path(__file__).resolve().parent.parent / "recipes"

TINY = PretrainRecipe(
    model={**MODELS["ecg-fm"].tiny, "dropout": 0.0, "attention_dropout": 0.0, "input_dropout": 0.0},
    window=320,
    mask_length=3,
    negatives=5,
    codes=7,
    code_width=8,
    contrast_width=6,
    batch=4,
    steps=6,
    checkpoint_every=2,
    device="cpu",
)


class Toy(Source):
    """Twelve leads of waves whose periods tell one record from another."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, row: int) -> tuple[Record, str]:
        t = np.arange(800) / 500
        waves = [np.sin(2 * np.pi * (3 + row) * t * (1 + k % 3)) + 0.3 * np.cos(2 * np.pi * 11 * t + k) for k in range(12)]
        return Record(np.array(waves, np.float32), 500.0, STANDARD_LEADS), f"p{row // 2}"


# ---- size ---------------------------------------------------------------------------------------------------------------


def test_as_many_parameters_as_published() -> None:
    """The README's 90.9 M: encoder 90,373,248 and 509,824 for the task."""
    with torch.device("meta"):
        whole = make(PretrainRecipe())
    assert sum(p.numel() for p in whole.objective.parameters()) == 509_824
    assert sum(p.numel() for p in whole.parameters() if p.requires_grad) == 90_883_072


# ---- masks --------------------------------------------------------------------------------------------------------------


def test_tokens_are_hidden_as_often_as_specified() -> None:
    """0.65 * 156 / 10 = 10.14 spans; starts are drawn without replacement from 146, so how often a token is hidden is known."""
    rng = np.random.default_rng(0)
    shares = np.zeros(156)
    draws = 4000
    for _ in range(draws):
        mask = mask_tokens(1, 156, 0.65, 10, rng)
        shares += mask[0] / draws
    ways = [min(t, 145) - max(0, t - 9) + 1 if t < 155 else 0 for t in range(156)]
    expected = np.array(
        [sum(p * (1 - comb(146 - w, k) / comb(146, k)) for k, p in ((10, 0.86), (11, 0.14))) if w else 0 for w in ways]
    )
    assert shares == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(draws))
    assert shares.mean() == pytest.approx(expected.mean(), abs=0.003) and 0.48 < expected.mean() < 0.52
    assert shares[-1] == 0


def test_every_row_hides_as_many_and_a_row_of_spans() -> None:
    rng = np.random.default_rng(1)
    for rows, tokens, length in ((8, 156, 10), (3, 15, 10), (5, 20, 3), (2, 37, 10)):
        mask = mask_tokens(rows, tokens, 0.65, length, rng)
        assert mask.shape == (rows, tokens) and len(set(mask.sum(1))) == 1 and 1 < mask[0].sum() < tokens
    alone = mask_tokens(1, 156, 0.65, 10, rng)[0]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], alone, [0]])))
    assert (edges[1::2] - edges[::2]).min() >= 10
    with pytest.raises(EcgError, match="too few"):
        mask_tokens(1, 2, 0.65, 10, rng)


def test_a_lead_stays() -> None:
    rng = np.random.default_rng(2)
    guarded, free = mask_leads(20_000, 3, 0.5, rng), mask_leads(20_000, 3, 0.5, rng, guard=False)
    assert guarded.any(1).all()
    assert (~free.any(1)).mean() == pytest.approx(1 / 8, abs=0.01) and free.mean() == pytest.approx(0.5, abs=0.01)
    assert guarded.mean() == pytest.approx(0.5 + 1 / 24, abs=0.01)
    assert guarded.mean(0) == pytest.approx(guarded.mean(), abs=0.015)


def test_negatives_are_others_and_all_others() -> None:
    drawn = draw_negatives(3, 4, 3000, np.random.default_rng(3))
    assert drawn.shape == (3, 4, 3000)
    for token in range(4):
        counts = np.bincount(drawn[:, token].ravel(), minlength=4)
        assert counts[token] == 0 and np.delete(counts, token) == pytest.approx(3000, rel=0.1)
    with pytest.raises(EcgError):
        draw_negatives(1, 1, 5, np.random.default_rng(0))


# ---- losses, with numpy -------------------------------------------------------------------------------------------------


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def numpy_infonce(context: np.ndarray, targets: np.ndarray, negatives: np.ndarray) -> float:
    losses = []
    for b in range(len(context)):
        for m in range(context.shape[1]):
            own = targets[b, m]
            kept = [own] + [targets[b, k] for k in negatives[b, m] if not np.array_equal(targets[b, k], own)]
            cosines = [context[b, m] @ y / np.linalg.norm(context[b, m]) / np.linalg.norm(y) for y in kept]
            losses.append(-log_softmax(np.array(cosines) / 0.1)[0])
    return float(np.mean(losses))


def numpy_cmsc(first: np.ndarray, second: np.ndarray, patients: list[int]) -> float:
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second))
    logits = a @ b.T / 0.1
    own = np.equal.outer(patients, patients)
    return float(-(log_softmax(logits)[own].mean() + log_softmax(logits.T)[own.T].mean()) / 2)


def test_infonce_is_numpys() -> None:
    rng = np.random.default_rng(4)
    context, targets = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 5, 3))
    targets[1, 3] = targets[1, 0]  # two tokens of one code: no negatives of each other
    negatives = draw_negatives(2, 5, 6, rng)
    loss, accuracy = infonce(torch.tensor(context), torch.tensor(targets), torch.tensor(negatives), 0.1)
    assert float(loss) == pytest.approx(numpy_infonce(context, targets, negatives), rel=1e-5)
    assert 0 <= float(accuracy) <= 1
    found, right = infonce(torch.tensor(targets), torch.tensor(targets), torch.tensor(negatives), 0.1)
    assert float(found) < float(loss) and float(right) == 1


def test_cmsc_is_numpys_and_knows_patients() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
    for patients in ([0, 1, 2, 3], [0, 1, 0, 2]):
        loss = cmsc(torch.tensor(first), torch.tensor(second), torch.tensor(patients), 0.1)
        assert float(loss) == pytest.approx(numpy_cmsc(first, second, patients), rel=1e-5)
    x = torch.tensor(first, requires_grad=True)
    cmsc(x, torch.tensor(second), torch.arange(4), 0.1).backward()
    assert not torch.allclose((x.grad * x).sum(1), torch.zeros(4, dtype=x.dtype), atol=1e-3)  # the length has no gradient


def test_the_whole_loss_is_its_parts() -> None:
    """From the encoder's own pieces to the total, once more in numpy; the codes chosen are the likeliest (eval)."""
    torch.manual_seed(0)
    whole = make(TINY).eval()
    model, task = whole.model, whole.objective
    batch = Pairs(TINY, Toy(), 12)[3]
    with torch.no_grad():
        losses = whole(*batch, temperature=2.0)
        features = model.encoder.features(batch.signal)
        normal = model.encoder.features_norm(features.mT)
        tokens = model.encoder.tokens(normal)
        masked = tokens.clone()
        masked[batch.hidden] = task.mask
        seen = model.encoder.contextual(masked)[-1]
        pooled = model.encoder.contextual(tokens)[-1].mean(1).numpy()
        context = task.project_context(seen[batch.hidden].view(8, -1, 16)).numpy()
        logits = task.quantizer.choose(normal[batch.hidden]).view(-1, 2, 7).numpy()
        codes = task.quantizer.codes[0].view(2, 7, 4).numpy()
        weight, bias = task.project_target.weight.numpy(), task.project_target.bias.numpy()
    chosen = logits.argmax(-1)
    quantized = np.concatenate([codes[g][chosen[:, g]] for g in (0, 1)], -1)
    targets = (quantized @ weight.T + bias).reshape(8, -1, 6)
    usage = np.exp(log_softmax(logits)).mean(0)
    perplexity = np.exp(-(usage * np.log(usage + 1e-7)).sum(-1)).sum()
    contrast = numpy_infonce(context, targets, batch.negatives.numpy())
    segments = numpy_cmsc(pooled[:4], pooled[4:], batch.patients.tolist())
    penalty = float((features.double() ** 2).mean())
    assert float(losses.contrast) == pytest.approx(contrast, rel=1e-4)
    assert float(losses.segments) == pytest.approx(segments, rel=1e-4)
    assert float(losses.penalty) == pytest.approx(penalty, rel=1e-5)
    assert float(losses.codes) == pytest.approx(perplexity, rel=1e-5)
    total = contrast + 0.1 * (14 - perplexity) / 14 + 10 * penalty + segments
    assert float(losses.total) == pytest.approx(total, rel=1e-4)


def test_the_convolutions_learn_slower() -> None:
    def gradient(share: float) -> Tensor:
        whole = make(replace(TINY, feature_gradient=share)).eval()
        whole(*Pairs(TINY, Toy(), 12)[0], temperature=2.0).total.backward()
        assert whole.objective.mask.grad is not None and whole.model.head.weight.grad is None
        return whole.model.encoder.features.convs[1].weight.grad

    assert torch.allclose(gradient(0.1), 0.1 * gradient(1.0), rtol=1e-4, atol=1e-7)


def test_codes_are_drawn_in_training_and_codebook_and_choice_learn() -> None:
    task = Objective(8, 16, TINY).train()
    x = torch.randn(1, 50, 8)
    first, second = (task.quantizer(x, 2.0)[0] for _ in range(2))
    assert not torch.equal(first, second)
    first.square().sum().backward()
    assert task.quantizer.codes.grad.abs().sum() > 0 and task.quantizer.choose.weight.grad.abs().sum() > 0
    assert torch.equal(task.eval().quantizer(x, 2.0)[0], task.quantizer(x, 0.5)[0])


# ---- data ---------------------------------------------------------------------------------------------------------------


def test_pairs_are_neighbours_of_one_record_and_follow_from_their_number() -> None:
    recipe = replace(TINY, lead_masking=0.0)
    one, again = Pairs(recipe, Toy(), 12), Pairs(recipe, Toy(), 12)
    for n in (5, 0):
        assert all(torch.equal(a, b) for a, b in zip(one[n], again[n], strict=True))
    batch = one[0]
    assert batch.signal.shape == (8, 12, 320) and batch.hidden.shape == (8, 20)
    wholes = [room.apply(room._WHOLE, Toy()[row][0]) for row in range(12)]
    for i in range(4):
        joined = torch.cat([batch.signal[i], batch.signal[4 + i]], 1).numpy()
        assert any(np.array_equal(joined, whole[:, :640]) for whole in wholes)
    seen = [tuple(signal[0, :4].tolist()) for n in range(3) for signal in one[n].signal[:4]]
    assert len(set(seen)) == 12  # an epoch of 12 records is three batches of four
    masked = Pairs(TINY, Toy(), 12)[0].signal
    assert 0.2 < float((masked.abs().sum(2) == 0).float().mean()) < 0.8


def test_simulated_ecgs_never_end() -> None:
    source = Synth(10**9, 10.0, seed=3)
    (record, patient), (again, _) = source[999_999_999], source[999_999_999]
    assert record.signal.shape == (12, 5000) and np.array_equal(record.signal, again.signal, equal_nan=True)
    assert patient != source[5][1]


def test_an_index_gives_its_long_twelve_lead_records(tmp_path: Path) -> None:
    from einthoven.io import write
    from einthoven.synth import simulate

    (tmp_path / "ecgs").mkdir()
    for i, (duration, leads) in enumerate(((10.0, 12), (10.0, 12), (3.0, 12), (10.0, 2))):
        record = simulate(seed=i, duration=duration).record
        write(record.pick(STANDARD_LEADS[:leads]) if leads < 12 else record, tmp_path / "ecgs" / f"r{i}.csv")
    (tmp_path / "ecgs" / "labels.csv").write_text("file_name,label\n" + "".join(f"r{i}.csv,any\n" for i in range(4)))
    recipe = replace(TINY, data=str(tmp_path / "ecgs"), window=2500, batch=2, mask_length=10)
    source = source_of(recipe, tmp_path / "run")
    assert len(source) == 2 and getattr(source, "left_out") == 2  # noqa: B009
    assert (tmp_path / "run" / "index").is_dir()
    batch = Pairs(recipe, source, 12)[0]
    assert batch.signal.shape == (4, 12, 2500) and batch.patients.tolist() in ([0, 1], [1, 0])
    both = source_of(replace(recipe, data=("synth", str(tmp_path / "ecgs")), records=3), tmp_path / "other")
    assert len(both) == 5 and both[2][1] == "synth:2" and both[3][1] == source[0][1] and both[4][1] == source[1][1]
    with pytest.raises(EcgError, match="twelve leads"):
        source_of(replace(recipe, window=5000), tmp_path / "run")


# ---- runs ---------------------------------------------------------------------------------------------------------------


def weights(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_a_toy_is_learned(tmp_path: Path) -> None:
    recipe = replace(TINY, steps=60, batch=6, learning_rate=3e-3, lead_masking=0.2, checkpoint_every=1000)
    pretrain(recipe, tmp_path, source=Toy())
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(60))
    for part in ("total", "contrast", "segments"):
        first, last = (np.mean([row[part] for row in some]) for some in (rows[:10], rows[-10:]))
        assert last < 0.9 * first, part


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(TINY, model=dict(MODELS["ecg-fm"].tiny), accumulate=2)  # with dropout, and in parts
    whole = weights(pretrain(recipe, tmp_path / "whole", source=Toy()))

    tell = room._tell

    def killed(path: Path, step: int, figures: Any) -> None:
        tell(path, step, figures)
        if step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(room, "_tell", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(recipe, tmp_path / "cut", source=Toy())
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    cut = weights(pretrain(recipe, tmp_path / "cut", source=Toy()))
    one, two = (tmp_path / name / "weights.safetensors" for name in ("whole", "cut"))
    assert one.read_bytes() == two.read_bytes()
    assert whole.keys() == cut.keys() and all(torch.equal(v, cut[k]) for k, v in whole.items())
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(6))
    with pytest.raises(EcgError, match="seed"):
        pretrain(replace(recipe, seed=1), tmp_path / "cut", source=Toy())


def test_what_comes_out_is_fine_tuned_or_trained_on(tmp_path: Path) -> None:
    path = pretrain(replace(TINY, steps=1), tmp_path / "one", source=Toy())
    model = pretrained(path, outputs=3)
    assert model.config["dropout"] == 0.0 and model.config["outputs"] == 3
    assert model(torch.zeros(1, 12, 320)).logits.shape == (1, 3)
    config, state = start._plain_weights(path, "ecg-fm")  # what `einthoven finetune --weights` starts from
    assert {k: config[k] for k in TINY.model if "dropout" not in k} == MODELS["ecg-fm"].tiny and "window" not in config
    assert state.keys() == {k for k in model.state_dict() if not k.startswith("head.")}
    with pytest.raises(EcgError, match="holds ecg-fm"):
        start._plain_weights(path, "ecg-founder")
    further = make(replace(TINY, weights=str(path)))
    assert torch.equal(further.objective.mask, objective(path)["mask"])
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(further.model.encoder.state_dict()[key], value)
    with pytest.raises(EcgError):
        make(replace(TINY, weights=str(path), codes=9))


# ---- recipes ------------------------------------------------------------------------------------------------------------


def test_the_recipe_that_ships() -> None:
    recipe = PretrainRecipe.read(RECIPES / "pretrain-ecg-fm.yaml")
    assert PretrainRecipe.from_dict(recipe.to_dict()) == recipe
    defaults = PretrainRecipe()
    same = ("mask_share", "mask_length", "lead_masking", "negatives", "diversity", "penalty", "hardening", "betas", "window")
    assert all(getattr(recipe, name) == getattr(defaults, name) for name in same)


@pytest.mark.parametrize(
    "wrong",
    [
        {"leraning_rate": 1e-3},
        {"steps": 0},
        {"steps": "many"},
        {"mask_share": 0.0},
        {"batch": 3, "accumulate": 2},
        {"batch": 2, "accumulate": 2},
        {"code_width": 255},
        {"window": 10},
    ],
)
def test_a_slip_of_the_pen_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(EcgError):
        PretrainRecipe.from_dict(wrong)
    (tmp_path / "r.yaml").write_text(json.dumps(wrong))
    with pytest.raises(EcgError, match=r"r\.yaml"):
        PretrainRecipe.read(tmp_path / "r.yaml")


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(EcgError, match="dpeth"):
        make(replace(TINY, model={"dpeth": 3}))
