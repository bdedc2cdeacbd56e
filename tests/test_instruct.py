"""Language models that learn: runs go on where they were killed and end the same, what trains is what was asked for, and the
counts of Llama 3.2 Vision are the published ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from einthoven.data import Index
from einthoven.exchange.bundle import Bundle
from einthoven.exchange.language import open_language
from einthoven.models.language.build import Design, build
from einthoven.record import EcgError
from einthoven.train.instruct import loop, moves
from einthoven.train.instruct.material import Conversations, gather, packed
from einthoven.train.instruct.preferences import Pair, Preferences, read_pairs, write_pairs
from einthoven.train.instruct.recipe import InstructRecipe
from einthoven.train.instruct.run import instruct
from einthoven.train.instruct.store import seen
from einthoven.train.reproduce.material import simulated, simulated_index

PATCH = {"represent": "signal", "encoder": "patch", "options": {"patches": 10, "width": 16, "depth": 1, "heads": 2}}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return simulated_index(tmp_path_factory.mktemp("instruct") / "index", simulated(records=40))


@pytest.fixture(scope="module")
def samples(index: Index, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Made once for all runs."""
    from einthoven.data.instruct import write
    from einthoven.data.instruct.make import make

    path = tmp_path_factory.mktemp("samples") / "samples.jsonl"
    write(path, make(index, per_record=4))
    return str(path)


def recipe(index: Index, samples: str, **more: Any) -> InstructRecipe:
    words: dict[str, Any] = {
        "data": str(index.folder),
        "samples": [samples],
        "family": "llama",
        "init": "tiny-random",
        "views": [PATCH],
        "epochs": 2,
        "train_folds": [1, 2, 3],
        "validation_folds": [4],
        "test_folds": [5],
        "precision": "fp32",
        "jobs": 1,
        "judge": False,
        "rank": 4,
        "learning_rate": 1e-2,
        "checkpointing": False,
        "device": "cpu",
        "batch": 16,
    }
    return InstructRecipe.from_dict({**words, **more})


def weights(bundle: Path) -> dict[str, Any]:
    model, _ = open_language(bundle)
    return model.state_dict()


# ---- runs ---------------------------------------------------------------------------------------------------------------


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    index: Index, samples: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = recipe(index, samples, checkpoint_every=2, dropout=0.3, pack=3)
    whole = weights(instruct(wanted, tmp_path / "whole", quiet=True))
    saved, calls = loop.save, [0]

    def killed(*args: Any) -> None:
        saved(*args)
        calls[0] += 1
        if calls[0] in (1, 3):
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            instruct(wanted, tmp_path / "cut", quiet=True)
    monkeypatch.setattr(loop, "save", saved)
    cut = weights(instruct(wanted, tmp_path / "cut", quiet=True))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[k], cut[k]) for k in whole)
    assert calls[0] == 3
    # Finished is finished; another recipe in the same folder is refused.
    assert instruct(wanted, tmp_path / "cut", quiet=True) == tmp_path / "cut" / "bundle"
    with pytest.raises(EcgError, match="another recipe"):
        instruct(wanted.with_(learning_rate=1e-3), tmp_path / "cut", quiet=True)


def test_it_learns_what_the_ecg_alone_tells(index: Index, tmp_path: Path) -> None:
    """One question, answered by the ECG alone: after training the ECGs of training are told apart, and zeros are not."""
    from einthoven.data.instruct import Sample, Turn, write
    from einthoven.models.language.answer import Answers

    codes = index.column("codes")
    made = [
        Sample(
            f"s{k}",
            (name,),
            "synth",
            "verify",
            "morphology",
            (Turn("user", "<ecg>\nIs a left bundle branch block there?"), Turn("assistant", "yes" if lbbb else "no")),
            options=("yes", "no"),
            answers=("yes" if lbbb else "no",),
            made={"by": "t", "from": "statements"},
            group=name,
            fold=fold,
        )
        for k, (name, fold) in enumerate(zip(index.column("record"), index.column("fold").tolist()))
        for lbbb in ["scp:CLBBB" in codes[k] or "scp:CRBBB" in codes[k]]
    ]
    write(tmp_path / "one.jsonl", made)
    view = {"represent": "text"}
    wanted = recipe(
        index, str(tmp_path / "one.jsonl"), views=[view], epochs=30, method="full", batch=8, learning_rate=3e-3, warmup=0.1
    )
    bundle = instruct(wanted, tmp_path / "run", quiet=True)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert history[-1]["train_loss"] < 0.35 * history[0]["train_loss"]
    answers = Answers(open_language(bundle)[0], most=4)
    train = [s for s in made if s.fold in (1, 2, 3)]
    said = answers.answer(train, [[index.record(k)] for k, s in enumerate(made) if s.fold in (1, 2, 3)])
    assert np.mean([a == s.answer for a, s in zip(said, train)]) >= 0.75


def test_a_bundle_that_is_examined_again_gives_the_scores_of_its_run(index: Index, samples: str, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from einthoven.cli import app

    wanted = recipe(index, samples, judge=True, judged=20, ranked=0, new_tokens=4)
    bundle = instruct(wanted, tmp_path / "run", quiet=True)
    own = json.loads((tmp_path / "run" / "scores" / "scores.json").read_text())
    command = ["evaluate", "--model", str(bundle), "--data", str(index.folder), "--samples", samples, "--most", "20"]
    ran = CliRunner().invoke(app, [*command, "--new-tokens", "4", "-o", str(tmp_path / "again"), "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["questions_sha256"] == own["questions_sha256"] and told["scores"] == own["scores"]
    assert "were its training" in ran.stderr and "were its validation" in ran.stderr
    assert json.loads((tmp_path / "again" / "scores.json").read_text())["scores"] == own["scores"]
    # A model of labels is judged by labels, and folds that it was trained on are asked by nobody.
    named = CliRunner().invoke(app, [*command[:2], "einthoven-12", *command[3:]])
    assert named.exit_code == 1 and "does not answer in words" in named.stderr


def test_interpret_shows_what_a_language_model_writes_beside_the_rules(index: Index, samples: str, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from einthoven.cli import app
    from einthoven.grounding import ground
    from einthoven.interpretation import interpret
    from einthoven.io import write
    from einthoven.models.language.answer import Answers, Talk

    bundle = instruct(recipe(index, samples), tmp_path / "run", quiet=True)
    ecg = index.record(0)
    write(ecg, tmp_path / "ecg.npz")
    report = interpret(tmp_path / "ecg.npz", model=None, language=bundle)
    told = report.told
    said = Talk(Answers(open_language(bundle)[0]), [report.record]).ask("Write a report of this ECG.")
    assert told is not None and told.text == said
    assert told.grounded == ground(said, report.measurements, report.findings, report.quality)
    ran = CliRunner().invoke(app, ["interpret", str(tmp_path / "ecg.npz"), "-m", "none", "--language", str(bundle), "--json"])
    assert ran.exit_code == 0 and json.loads(ran.stdout)["told"]["text"] == said
    refused = CliRunner().invoke(app, ["interpret", str(tmp_path / "ecg.npz"), "--language", "einthoven-12"])
    assert refused.exit_code == 1 and "does not answer in words" in refused.stderr


@pytest.mark.parametrize("method", ["lora", "full", "projector+attention", "projector+layers"])
def test_llama_vision_tiny_on_pictures(method: str, index: Index, samples: str, tmp_path: Path) -> None:
    view = {"represent": "image", "form": "page"}
    wanted = recipe(
        index,
        samples,
        family="mllama",
        views=[view],
        method=method,
        epochs=1,
        most=12,
        batch=4,
        merge=method == "lora",
        checkpointing=True,
        precision="bf16",
    )
    bundle = Bundle.open(instruct(wanted, tmp_path / "run", quiet=True))
    assert bundle.manifest.task == "language" and bundle.manifest.language and bundle.manifest.language.family == "mllama"
    assert ("adapter_model.safetensors" in bundle) == (method == "lora")
    model, _ = open_language(bundle.path)
    if method == "lora":
        from transformers import AutoModelForImageTextToText

        merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "run" / "merged")
        ids = torch.tensor([[5, 6, 7]])
        with torch.no_grad():
            torch.testing.assert_close(merged(input_ids=ids).logits, model.lm(input_ids=ids).logits, rtol=1e-4, atol=1e-5)


def test_patients_on_two_sides_and_missing_parts_are_refused(index: Index, samples: str, tmp_path: Path) -> None:
    with pytest.raises(EcgError, match="no sample is left for validation"):
        instruct(recipe(index, samples, validation_folds=[9]), tmp_path / "a", quiet=True)
    with pytest.raises(EcgError, match="share no fold"):
        recipe(index, samples, test_folds=[3])
    with pytest.raises(EcgError, match="has no nonsense"):
        recipe(index, samples, nonsense=1)


# ---- what trains --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def eleven_b() -> Any:
    """Llama 3.2 Vision at its own size, without weights."""
    return build(Design("mllama"), init="meta")


# rank -> parameters of LoRA on every linear layer but lm_head: 4,210,176 a rank (mlstack.md, section 2)
@pytest.mark.parametrize("rank, parameters", [(16, 67_362_816), (32, 134_725_632), (64, 269_451_264), (128, 538_902_528)])
def test_lora_of_the_11b_model_trains_as_many_parameters_as_published(rank: int, parameters: int) -> None:
    model = build(Design("mllama"), init="meta")
    found = moves.apply(model, InstructRecipe(family="mllama", method="lora", rank=rank))
    assert found.trainable == parameters
    assert found.parameters - parameters == 10_642_941_475
    assert sum(1 for name, _ in model.named_modules() if name.endswith(".lora_A")) == 521
    assert {part.name: part.trainable for part in found.parts}["vision"] == 0


def test_partial_tuning_of_the_11b_model_in_both_readings(eleven_b: Any) -> None:
    attention = moves.apply(eleven_b, InstructRecipe(family="mllama", method="projector+attention"))
    assert attention.trainable == 367_007_760
    layers = moves.apply(eleven_b, InstructRecipe(family="mllama", method="projector+layers"))
    assert layers.trainable == 1_776_359_440
    whole = moves.apply(eleven_b, InstructRecipe(family="mllama", method="full"))
    assert whole.trainable == whole.parameters == 10_642_941_475


def test_every_part_that_is_to_train_gets_a_gradient_and_no_other(index: Index, samples: str, tmp_path: Path) -> None:
    wanted = recipe(index, samples, family="mllama", views=[{"represent": "image", "form": "page-112"}], gates=True)
    material = gather(wanted, tmp_path, lambda words: None)
    model = build(wanted.design, init="tiny-random", texts=material.texts())
    moves.apply(model, wanted)
    stores = dict.fromkeys(
        material.records("train")[:4], seen(index, material.records("train")[:4], model.looks, tmp_path, jobs=1)
    )
    some = [s for s in material.parts["train"] if all(r in stores for r in s.records)][:3]
    task = Conversations(model, some, stores)
    total, _ = task.loss(model, task.batch(np.arange(len(some))))
    total.backward()
    silent = moves.check_gradients(model)
    # B of LoRA is zero at the start, so A's gradient is; every B has one, the vision tower's too (the gates are open).
    for name, p in model.named_parameters():
        assert p.requires_grad == (".lora_" in name or name.endswith(("attn_gate", "mlp_gate", "gate_attn", "gate_ffn")))
        if ".lora_B." in name:
            assert float(p.grad.abs().max()) > 0, name
    assert not silent


# ---- units --------------------------------------------------------------------------------------------------------------


def test_units_and_steps(index: Index, samples: str, tmp_path: Path) -> None:
    wanted = recipe(index, samples)
    material = gather(wanted, tmp_path, lambda words: None)
    train = material.parts["train"]
    units = packed(train, 4, 0)
    assert sorted(k for unit in units for k in unit.samples) == list(range(len(train)))
    assert all(len({train[k].records for k in unit.samples}) == 1 for unit in units) and max(len(u.samples) for u in units) == 4
    lengths = np.arange(100)
    for by_length in (True, False):
        steps = loop.ordered(np.arange(100), lengths, 8, seed=1, epoch=0, by_length=by_length)
        assert sorted(np.concatenate(steps).tolist()) == list(range(100)) and max(map(len, steps)) <= 9
    spread = [int(np.ptp(lengths[s])) for s in loop.ordered(np.arange(100), lengths, 8, 1, 0, by_length=True)]
    assert max(spread) <= 9


def test_frozen_encoders_are_asked_once_and_say_the_same(index: Index, samples: str, tmp_path: Path) -> None:
    wanted = recipe(index, samples, views=[{**PATCH, "frozen": True}])
    material = gather(wanted, tmp_path, lambda words: None)
    model = build(wanted.design, init="tiny-random", texts=material.texts())
    some = material.parts["train"][:6]
    names = list(dict.fromkeys(r for s in some for r in s.records))
    stores = dict.fromkeys(names, seen(index, names, model.looks, tmp_path, jobs=1))
    task = Conversations(model, some, stores)
    model.train()
    before, _ = task.loss(model, task.batch(np.arange(6)))
    assert task.ask_encoders("cpu") == len(names)
    model.train()
    after, _ = task.loss(model, task.batch(np.arange(6)))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    assert model.views[0].encoder.training is False


def test_what_is_seen_is_kept_and_what_cannot_be_is_named(index: Index, tmp_path: Path) -> None:
    from einthoven.models.language.look import look_of

    names = index.column("record")[:3]
    looks = [look_of({"represent": "signal"}), look_of({"represent": "text"})]
    first = seen(index, names, looks, tmp_path, jobs=1)
    again = seen(index, names, looks, tmp_path, jobs=1)
    assert first.folder == again.folder and len(first) == 3
    signal, text = again[names[1]]
    assert np.array_equal(signal, looks[0](index.record(1))) and text.tobytes().decode().startswith("rate ")
    with pytest.raises(EcgError, match="not in the index"):
        seen(index, ["nobody"], looks, tmp_path, jobs=1)


# ---- preferences --------------------------------------------------------------------------------------------------------


def test_dpo_prefers_what_is_preferred(index: Index, samples: str, tmp_path: Path) -> None:
    wanted = recipe(index, samples)
    material = gather(wanted, tmp_path / "work", lambda words: None)
    verify = [s for part in ("train", "validation") for s in material.parts[part] if set(s.options) == {"yes", "no"}]
    pairs = [Pair(s, "no" if s.answer == "yes" else "yes") for s in verify if s.answer in ("yes", "no")]
    assert len(pairs) > 8
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs
    again = wanted.with_(goal="preferences", preferences=[str(tmp_path / "pairs.jsonl")], epochs=12, batch=8, dropout=0.0)
    bundle = instruct(again, tmp_path / "dpo", quiet=True)
    history = json.loads((tmp_path / "dpo" / "history.json").read_text())
    assert (
        history[0]["train_loss"] == pytest.approx(np.log(2), abs=0.15) and history[-1]["train_loss"] < history[0]["train_loss"]
    )
    assert bundle.is_dir()


def test_dpo_loss_is_that_of_the_paper(index: Index, samples: str, tmp_path: Path) -> None:
    wanted = recipe(index, samples)
    material = gather(wanted, tmp_path, lambda words: None)
    model = build(wanted.design, init="tiny-random", texts=material.texts())
    names = material.records()
    stores = dict.fromkeys(names, seen(index, names, model.looks, tmp_path, jobs=1))
    pairs = [Pair(s, "something worse") for part in ("train", "validation") for s in material.parts[part][:3]]
    task = Preferences(model, pairs, material, stores, wanted)
    task.refer("cpu")
    units = np.arange(4)
    with torch.no_grad():
        at_start, _ = task.loss(model, task.batch(units))
        assert float(at_start) == pytest.approx(4 * np.log(2), rel=1e-5)
        for p in model.lm.parameters():
            p += 0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
        loss, _ = task.loss(model, task.batch(units))
        margin = []
        for k in units.tolist():
            logp = []
            for answer in (pairs[k].sample.answer, pairs[k].rejected):
                found = model.loss(model.collate([task._example(pairs[k], answer)]))
                logp.append(-float(found.total))
            margin.append(wanted.beta * ((logp[0] - task.before[k, 0]) - (logp[1] - task.before[k, 1])))
    assert float(loss) == pytest.approx(float(np.sum(np.log1p(np.exp(-np.array(margin))))), rel=1e-4)


# ---- processes ----------------------------------------------------------------------------------------------------------


def test_two_processes_take_the_steps_of_one(index: Index, samples: str, tmp_path: Path) -> None:
    wanted = recipe(index, samples, dropout=0.0, epochs=1, method="full", views=[{"represent": "signal", "encoder": "linear"}])
    (tmp_path / "recipe.yaml").write_text(wanted.text())
    one = weights(instruct(wanted, tmp_path / "one", quiet=True))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "einthoven"]
    command += ["finetune", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "two")]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=900)
    two = weights(tmp_path / "two" / "bundle")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=2e-4)


def test_a_run_whose_process_was_killed_goes_on_and_ends_the_same(index: Index, samples: str, tmp_path: Path) -> None:
    """A real SIGKILL of `einthoven finetune`, behind the first checkpoint."""
    wanted = recipe(
        index, samples, checkpoint_every=1, dropout=0.3, epochs=3, views=[{"represent": "signal", "encoder": "linear"}]
    )
    (tmp_path / "recipe.yaml").write_text(wanted.text())
    whole = weights(instruct(wanted, tmp_path / "whole", quiet=True))
    command = [sys.executable, "-m", "einthoven", "finetune", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "cut")]
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        begun = time.monotonic()
        while not (tmp_path / "cut" / "work" / "state.pt").exists():
            assert running.poll() is None and time.monotonic() - begun < 600
            time.sleep(0.01)
        running.kill()
    assert not (tmp_path / "cut" / "bundle").exists()
    subprocess.run(command, check=True, env=env, capture_output=True, timeout=900)
    assert "goes on" in (tmp_path / "cut" / "log.txt").read_text()
    cut = weights(tmp_path / "cut" / "bundle")
    assert whole.keys() == cut.keys() and all(torch.equal(whole[k], cut[k]) for k in whole)


@pytest.mark.skipif("EINTHOVEN_DEEPSPEED" not in os.environ, reason="set EINTHOVEN_DEEPSPEED=1 to try ZeRO-2 (compiles)")
def test_zero_2(index: Index, samples: str, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    wanted = recipe(index, samples, epochs=1, precision="bf16")
    (tmp_path / "recipe.yaml").write_text(wanted.text())
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(root / "recipes/accelerate-zero2.yaml")]
    command += ["--num_processes", "2", "--cpu", "-m", "einthoven", "finetune", str(tmp_path / "recipe.yaml")]
    command += ["-o", str(tmp_path / "run")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    subprocess.run(command, check=True, env=env, timeout=900)
    assert (tmp_path / "run" / "bundle" / "manifest.json").is_file()


def test_llama_visions_tower_is_asked_once_where_it_stands_still(index: Index, samples: str, tmp_path: Path) -> None:
    view = {"represent": "image", "form": "page"}
    wanted = recipe(index, samples, family="mllama", views=[view], method="projector+attention")
    material = gather(wanted, tmp_path, lambda words: None)
    model = build(wanted.design, init="tiny-random", texts=material.texts())
    some = material.parts["train"][:4]
    names = list(dict.fromkeys(r for s in some for r in s.records))
    stores = dict.fromkeys(names, seen(index, names, model.looks, tmp_path, jobs=1))
    task = Conversations(model, some, stores)
    assert task.ask_encoders("cpu") == 0  # its tower may move still
    moves.apply(model, wanted)
    before, _ = task.loss(model, task.batch(np.arange(4)))
    gradient = torch.autograd.grad(before, [p for p in model.parameters() if p.requires_grad])
    assert task.ask_encoders("cpu") == len(names)
    after, _ = task.loss(model, task.batch(np.arange(4)))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    again = torch.autograd.grad(after, [p for p in model.parameters() if p.requires_grad])
    for a, b in zip(gradient, again):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_bundle_of_words_says_so_and_nothing_else() -> None:
    from einthoven.exchange.manifest import manifest

    words: dict[str, Any] = {
        "name": "tiny",
        "task": "language",
        "activation": "identity",
        "licence": "none",
        "architecture": {"model": "llama"},
        "language": {"family": "llama", "design": {}, "limit": 128},
    }
    assert manifest(**words).language is not None
    for wrong, told in (
        ({"language": None}, "says of which language model"),
        ({"labels": [{"name": "NORM"}]}, "no labels"),
        ({"activation": "sigmoid"}, "goes with activation"),
        ({"task": "multilabel", "activation": "sigmoid"}, "says of which language model"),
        ({"language": {"family": "llama", "design": {}, "limit": 128, "foo": 1}}, "Extra inputs"),
    ):
        with pytest.raises(EcgError, match=told):
            manifest(**{**words, **wrong})
