"""One training of one model on arrays that are ready: what it gives on each test set, what it cost, how much of it moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from einthoven import tune
from einthoven.data import Index, Labels
from einthoven.record import EcgError
from einthoven.signal.presets import Preset
from einthoven.train.finetune import Prepared, new_accelerator, trained_part
from einthoven.train.loop import Examples, fit, learning_rate, logits_of, predict
from einthoven.train.losses import Objective, class_weights
from einthoven.train.recipe import Recipe
from einthoven.train.start import new_model, tuning_of

F32 = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """`logits` (n, K) by test set, in the order of its rows; `held` those of the validation rows. `memory` bytes of a training
    step: weights, gradients, Adam's two moments, and what is kept for the backward pass of one batch (counted, not measured:
    the same on any machine). `seconds` of training by the clock, validation apart, and `cpu` of the processor, which others on
    the machine do not lengthen. `rate` the learning rate, `epochs` run, `best` the one that was kept."""

    logits: Mapping[str, F32]
    held: F32
    parameters: int
    trained: int
    memory: int
    seconds: float
    cpu: float
    epochs: int
    best: int
    rate: float


def given(
    index: Index, labels: Labels, x: F32, preset: Preset, train: Rows, validation: Rows, *, mean: float = 0.0, std: float = 1.0
) -> Prepared:
    """Arrays as the training functions want them: x (N, L, T) and labels (N, K) of the same rows."""
    if len(x) != len(labels):
        raise EcgError(f"{len(x)} records, {len(labels)} labels")
    y = labels.matrix.astype(np.float32)
    k, everything = len(labels.names), np.arange(len(x))
    return Prepared(
        index, labels, everything, train, validation, everything[:0], Examples(x, y, mean, std), preset, y,
        np.zeros(k, np.float32), np.ones(k, np.float32), "", {}, (),
    )  # fmt: skip


def run(recipe: Recipe, data: Prepared, tests: Mapping[str, Rows], work: Path, log: Callable[[str], None]) -> Trial:
    """Trains by `recipe` on data.train, keeps the epoch that is best on data.validation, and answers on `tests` (rows of data).

    `work` is this trial's own folder and is gone afterwards; a trial that was killed goes on in it. Raises EcgError as
    finetune does.
    """
    if not len(data.train) or not len(data.validation):
        raise EcgError(f"{len(data.train)} records to train on, {len(data.validation)} to choose with: both are needed")
    work.mkdir(parents=True, exist_ok=True)
    accelerator = new_accelerator(recipe)
    model, row = new_model(recipe, data.examples.shape, len(data.labels.names))
    trainable = tune.apply(model, tuning_of(recipe), row)
    net, examples = trained_part(model, data, recipe, work, accelerator, log)
    objective = Objective(data.labels.task, class_weights(examples.y[data.train], data.labels.task, recipe.class_weights))
    device = accelerator.device
    batch = data.train[: recipe.batch]
    x, y = (torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (examples.inputs(batch), examples.y[batch]))
    memory = step_memory(net.to(device), x, y, objective)
    if net is not model:  # the head alone is trained, but the frozen backbone has to be there, too
        memory += sum(p.numel() * p.element_size() for p in model.parameters()) - sum(
            p.numel() * p.element_size() for p in net.parameters()
        )
    rate = recipe.learning_rate
    if rate is None:
        kept = work / "rate.json"
        rate = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else None
        if rate is None:
            rate = learning_rate(net, examples, data.train, objective, recipe, accelerator).rate
            kept.write_text(json.dumps(rate), encoding="utf-8")
    done = fit(
        net, examples, data.train, data.validation, objective, recipe, accelerator, work,
        rate=rate, after_first_backward=_check,
    )  # fmt: skip
    bare = accelerator.unwrap_model(net)
    logits = {name: predict(bare, examples, rows, accelerator, 2 * recipe.batch) for name, rows in tests.items() if len(rows)}
    held = predict(bare, examples, data.validation, accelerator, 2 * recipe.batch)
    shutil.rmtree(work)
    cpu = sum(row["seconds"] * row["cpu_per_wall"] for row in done.history)
    counts = (trainable.parameters, trainable.trainable, memory)
    return Trial(logits, held, *counts, done.seconds, cpu, len(done.history), done.best_epoch + 1, rate)


def _check(net: nn.Module) -> None:
    """Raises EcgError where a part that should train has no gradient."""
    tune.check_gradients(net)


def pretrained(recipe: Recipe, data: Prepared, path: Path, work: Path, log: Callable[[str], None]) -> float:
    """Trains a whole model on data.train and keeps its weights in `path` (safetensors): what other trials start from.
    -> seconds of training."""
    from safetensors.torch import save_file

    accelerator = new_accelerator(recipe)
    model, row = new_model(recipe, data.examples.shape, len(data.labels.names))
    tune.apply(model, tuning_of(recipe), row)
    work.mkdir(parents=True, exist_ok=True)
    objective = Objective(data.labels.task, class_weights(data.examples.y[data.train], data.labels.task, recipe.class_weights))
    rate = recipe.learning_rate
    if rate is None:
        rate = learning_rate(model, data.examples, data.train, objective, recipe, accelerator).rate
    done = fit(model, data.examples, data.train, data.validation, objective, recipe, accelerator, work, rate=rate)
    log(f"  kept epoch {done.best_epoch + 1} of {len(done.history)}, {done.seconds:.0f} s")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    save_file({name: t.detach().cpu().clone().contiguous() for name, t in model.state_dict().items()}, draft)
    draft.replace(path)
    shutil.rmtree(work)
    return done.seconds


def step_memory(net: nn.Module, x: Tensor, y: Tensor, objective: Objective) -> int:
    """Bytes that a training step with Adam holds: the weights, a gradient and two moments for each that trains, and the
    distinct storages that autograd keeps of one forward pass."""
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return t

    before = {name: t.clone() for name, t in net.state_dict().items()}
    mode = net.training
    net.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = objective.sum(logits_of(net(x)).float(), y)
    held = sum(kept.values())
    del loss
    net.load_state_dict(before)  # running statistics of batch norms have seen a batch that is none of training's
    net.train(mode)
    size = [(p.numel() * p.element_size(), p.requires_grad) for p in net.parameters()]
    return int(held + sum(n for n, _ in size) + 3 * sum(n for n, trains in size if trains))
