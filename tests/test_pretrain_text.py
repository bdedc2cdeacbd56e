"""MERL's and ST-MEM's pre-training: losses with known values, runs that go on, scores of one ECG alone, weights that others
open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from einthoven.models.signal.st_mem import StMem
from einthoven.models.table import MODELS
from einthoven.train import pretrain_merl as merl
from einthoven.train import pretrain_steps
from einthoven.train import pretrain_stmem as stmem

TINY = dict(MODELS["st-mem"].tiny)


def stmem_recipe(**more: Any) -> stmem.PretrainRecipe:
    words = {"model": TINY, "decoder": [16, 1, 2], "steps": 4, "batch": 3, "records": 5, "checkpoint_every": 2, "device": "cpu"}
    return stmem.PretrainRecipe.from_dict({**words, "learning_rate": 1e-3, **more})


def test_the_encoder_sees_no_hidden_patch() -> None:
    torch.manual_seed(0)
    net = stmem.Masked(StMem(**TINY), stmem_recipe()).eval()
    seen: list[Any] = []
    whole = net.model.encode
    net.model.encode = lambda tokens: seen.append(tokens) or whole(tokens)
    signal = torch.randn(2, 12, 250)
    loss = net(signal, torch.Generator().manual_seed(1))
    assert seen[0].shape == (2, 12, 2, 16)  # a quarter of ten patches
    patches = net.model.tokens(net.model.patches(signal))
    for b in range(2):
        for lead in range(12):
            assert all(any(torch.equal(t, p) for p in patches[b, lead]) for t in seen[0][b, lead])
    assert float(loss["power"].detach()) == pytest.approx(1.0, abs=0.1) and float(loss["loss"].detach()) > 0.5


def test_st_mem_learns_what_repeats() -> None:
    """Leads that are one wave, at phases of their own: hidden patches follow from seen ones."""
    torch.manual_seed(0)
    net = stmem.Masked(StMem(**{**TINY, "dropout": 0.0}), stmem_recipe())
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    t = torch.arange(250) / 25
    draw = torch.Generator().manual_seed(0)
    losses = []
    for step in range(60):
        phase = torch.rand(8, 12, 1, generator=draw)
        found = net(torch.sin(2 * np.pi * (t + phase)), torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append(float(found["loss"].detach()))
    assert losses[0] > 0.9 and np.mean(losses[-5:]) < 0.5


@pytest.mark.parametrize("objective", ["st-mem", "merl"])
def test_a_killed_run_ends_the_same(objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room: Any = stmem if objective == "st-mem" else merl
    wanted = stmem_recipe() if objective == "st-mem" else merl_recipe(steps=4, checkpoint_every=2)
    more = {} if objective == "st-mem" else {"reports": reports()}
    whole = room.pretrain(wanted, tmp_path / "whole", **more)
    write = pretrain_steps.checkpoint.write

    def killed(path: Path, state: Any) -> None:
        write(path, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrain_steps.checkpoint, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        room.pretrain(wanted, tmp_path / "cut", **more)
    monkeypatch.setattr(pretrain_steps.checkpoint, "write", write)
    assert room.pretrain(wanted, tmp_path / "cut", **more).read_bytes() == whole.read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]


def test_weights_open_in_the_table_and_in_a_view(tmp_path: Path) -> None:
    from einthoven.models.convert import load, objective
    from einthoven.models.language.view import View
    from einthoven.models.table import build
    from einthoven.train.instruct.start import load_encoder

    path = stmem.pretrain(stmem_recipe(), tmp_path)
    model = build("st-mem", outputs=3, **TINY)
    assert all(name.startswith("head.") for name in load(path, model))
    assert "mask" in objective(path)
    view = View({"represent": "signal", "preset": _preset(), "encoder": "st-mem", "options": TINY}, 8)
    load_encoder(view, str(path))
    assert torch.equal(view.encoder.net.enter.weight, model.enter.weight)


def _preset() -> dict[str, Any]:
    from einthoven.models.language.look import LANGUAGE

    words = LANGUAGE.to_dict()
    steps = [{**s, "length": 250} if s["name"] == "fit" else s for s in words["steps"]]
    return {**words, "steps": steps, "length": 250, "name": "short"}


# ---- MERL ---------------------------------------------------------------------------------------------------------------


def merl_recipe(**more: Any) -> merl.PretrainRecipe:
    words = {
        "model": "inception-time",
        "options": {"width": 4},
        "tower": [16, 1, 2],
        "width": 16,
        "batch": 8,
        "steps": 30,
        "device": "cpu",
        "held": 0.3,
        "learning_rate": 3e-3,
        "words": 8,
    }
    return merl.PretrainRecipe.from_dict({**words, **more})


def reports(count: int = 48) -> merl.Reports:
    """Two kinds of ECGs that one look tells apart, and reports that say which."""
    rng = np.random.default_rng(0)
    kind = np.arange(count) % 2
    signal = (0.3 * rng.normal(size=(count, 12, 100))).astype(np.float32)
    signal[kind == 1] += np.sin(np.arange(100) / 3).astype(np.float32)
    texts = ["atrial fibrillation is seen here" if k else "complete left bundle branch block" for k in kind]
    truth = np.stack([kind, 1 - kind], 1).astype(np.float32)
    return merl.Reports(signal, texts, [f"p{k}" for k in range(count)], truth, ("AFIB", "CLBBB"))


def test_contrast_of_known_vectors() -> None:
    a = torch.eye(4)
    assert float(merl.contrast(a, a, 0.07)) == pytest.approx(
        float(-torch.log_softmax(torch.tensor([1, 0, 0, 0]) / 0.07, 0)[0]), abs=1e-6
    )
    same = torch.ones(4, 4) / 2
    assert float(merl.contrast(same, same, 0.07)) == pytest.approx(np.log(4), rel=1e-5)


def test_merl_classifies_without_labels(tmp_path: Path) -> None:
    merl.pretrain(merl_recipe(), tmp_path, reports=reports())
    found = json.loads((tmp_path / "zero-shot.json").read_text())
    assert found["records"] == 14 and found["macro_auroc"] == 1.0 and set(found["auroc"]) == {"AFIB", "CLBBB"}


def test_a_score_is_of_one_ecg_alone() -> None:
    made = reports()
    net = merl.make(merl_recipe(), (12, 100), 300)
    prompts = torch.tensor([[5, 6, 7, 0], [8, 9, 0, 0]])
    every = merl.zero_shot(net, made.signal[:6], prompts)
    alone = np.concatenate([merl.zero_shot(net, made.signal[k : k + 1], prompts) for k in range(6)])
    np.testing.assert_allclose(every, alone, atol=1e-5)
    short = merl.zero_shot(net, made.signal[:2], prompts[:, :3])  # padding is nothing
    np.testing.assert_allclose(short[:, 1], every[:2, 1], atol=1e-5)


def test_simulated_ecgs_have_reports_of_what_is_simulated(tmp_path: Path) -> None:
    made = merl.reports_of(merl_recipe(data="synth", records=24, batch=4), tmp_path)
    assert len(made.texts) >= 4 and all(len(text.split()) >= merl.LEAST for text in made.texts)
    assert made.signal.shape[1:] == (12, 1000) and len(made.names) > 20
