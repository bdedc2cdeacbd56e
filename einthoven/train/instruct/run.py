"""From a recipe to a Bundle: ECGs and conversations -> model -> what of it moves -> the loop -> answers with controls ->
Bundle.

`instruct` reads downwards in that order. Test samples are looked at once, at the end. The same call after a kill goes on where
it was cut off.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from einthoven import __version__
from einthoven.exchange import card
from einthoven.exchange.language import language_of, write_language
from einthoven.exchange.manifest import RESEARCH_ONLY, Manifest, manifest
from einthoven.io.files import replacing
from einthoven.models.language.answer import Answers
from einthoven.models.language.build import Design
from einthoven.models.language.elm import Elm
from einthoven.models.language.speaker import Speaker
from einthoven.record import EcgError
from einthoven.train import checkpoint
from einthoven.train.checkpoint import Progress
from einthoven.train.finetune import Log
from einthoven.train.instruct import moves
from einthoven.train.instruct.loop import Task, fit
from einthoven.train.instruct.material import Conversations, Material, gather
from einthoven.train.instruct.preferences import Preferences, read_pairs
from einthoven.train.instruct.recipe import InstructRecipe
from einthoven.train.instruct.start import start, teach_encoders
from einthoven.tune.trainable import Trainable

RECIPE, BUNDLE, WORK, SCORES, MERGED = "recipe.yaml", "bundle", "work", "scores", "merged"
OUTPUTS = (RECIPE, "log.txt", "history.json", "progress.json")


def instruct(recipe: InstructRecipe, out: str | os.PathLike[str], *, fresh: bool = False, quiet: bool = False) -> Path:
    """Runs `recipe`; everything it makes goes into the folder `out`. -> the path of the Bundle.

    Where `out` holds a run of the same recipe that was cut off, it goes on; where that run was finished, nothing is done.

    Raises:
        EcgError: no samples, a patient on two sides, an ECG and a question that do not fit into the model, a loss that is not
            finite, a recipe that is not the one in `out`.
    """
    out = Path(out)
    accelerator = new_accelerator(recipe)
    if accelerator.is_main_process:
        _open_folder(recipe, out, fresh)
    accelerator.wait_for_everyone()
    bundle, work = out / BUNDLE, out / WORK
    log = Log(out / "log.txt", main=accelerator.is_main_process, quiet=quiet)
    if (bundle / "manifest.json").exists():
        log(f"{out}: this run is finished (--fresh runs it once more)")
        return bundle
    log(f"einthoven {__version__}, {RESEARCH_ONLY}")
    with accelerator.main_process_first():  # who comes second finds everything made
        material = gather(recipe, work, log)
        model, design = start(recipe, material, work, log)
        stores = material.see(model, work / "seen", recipe.jobs, log)
    material = material.without(stores)
    if isinstance(model, Elm):
        teach_encoders(model, material, stores, recipe, log)
    model.check_head()
    trainable = moves.apply(model, recipe)
    log(f"\n{design.family}, {recipe.method}\n{trainable.text()}\n")
    if recipe.checkpointing:
        _checkpoint_layers(model)
    task, train, validation = _task(recipe, model, material, stores, accelerator, log)
    done = _loop(recipe, model, task, train, validation, accelerator, out, log)
    if accelerator.is_main_process:
        finish(recipe, model, design, material, trainable, done, out, log)
        shutil.rmtree(work, ignore_errors=True)
        log(f"model:  {bundle}")
    accelerator.wait_for_everyone()
    return bundle


def new_accelerator(recipe: InstructRecipe) -> Accelerator:
    """accelerate as the launcher set it up (torchrun, accelerate launch, DeepSpeed), on the recipe's device."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise EcgError("there is no GPU here that torch can use (device: cuda)")
    spare = DistributedDataParallelKwargs(find_unused_parameters=True)  # a batch without an ECG leaves connectors out
    return Accelerator(
        cpu=recipe.device == "cpu" or not torch.cuda.is_available(),
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        gradient_accumulation_steps=recipe.accumulate,
        kwargs_handlers=[spare],
    )


def _open_folder(recipe: InstructRecipe, out: Path, fresh: bool) -> None:
    saved = out / RECIPE
    if out.exists() and not out.is_dir():
        raise EcgError("is a file: choose another place for the run", path=out)
    if out.exists() and not saved.exists() and any(out.iterdir()):
        raise EcgError("is not empty and holds no run: choose another folder", path=out)
    begun = (out / BUNDLE).exists() or any((out / WORK / name).exists() for name in (checkpoint.STATE, checkpoint.SHARDED))
    if saved.exists():
        changed = [] if fresh else recipe.differences(InstructRecipe.read(saved))
        if fresh or (changed and not begun):
            for name in (*OUTPUTS, BUNDLE, WORK, SCORES, MERGED):
                place = out / name
                shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        elif changed:
            raise EcgError(f"holds a run of another recipe ({'; '.join(changed)}): choose another -o, or --fresh", path=out)
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with replacing(saved) as draft:
        draft.write_text(recipe.text(), encoding="utf-8")


def _checkpoint_layers(model: Speaker) -> None:
    """Layers are computed again in the backward pass: memory for time."""
    enable = getattr(model.lm, "activation_checkpointing_enable", None) or model.lm.gradient_checkpointing_enable
    enable(**({} if enable.__name__.startswith("activation") else {"gradient_checkpointing_kwargs": {"use_reentrant": False}}))


def _task(
    recipe: InstructRecipe, model: Speaker, material: Material, stores: Any, accelerator: Accelerator, log: Log
) -> tuple[Task, Any, Any]:
    """The task, and which of its units train and validate."""
    if recipe.goal == "preferences":
        pairs = [pair for path in recipe.preferences for pair in read_pairs(path)]
        preferences = Preferences(model, pairs, material, stores, recipe)
        preferences.refer(accelerator.device)
        log(f"{len(preferences.train):,} pairs to learn from, {len(preferences.validation):,} to choose by")
        return preferences, preferences.train, preferences.validation
    train, held = material.parts["train"], material.parts["validation"]
    task = Conversations(model, [*train, *held], stores, pack=recipe.pack, seed=recipe.seed, chunk=recipe.chunk)
    asked = task.ask_encoders(accelerator.device)
    if asked:
        log(f"frozen encoders were asked once about {asked:,} ECGs")
    of_train = np.array([max(unit.samples) < len(train) for unit in task.units])
    log(f"{int(task.lengths[of_train].sum()):,} tokens an epoch, {int(task.learned[of_train].sum()):,} of them learned")
    return task, np.flatnonzero(of_train), np.flatnonzero(~of_train)


def _loop(
    recipe: InstructRecipe,
    model: Speaker,
    task: Task,
    train: Any,
    validation: Any,
    accelerator: Accelerator,
    out: Path,
    log: Log,
) -> Progress:
    def checked(net: Any) -> None:
        silent = moves.check_gradients(net)
        if silent:
            more = f" and {len(silent) - 5} more" if len(silent) > 5 else ""
            log(f"no gradient at the first step: {', '.join(silent[:5])}{more}")

    def told(row: dict[str, Any], best: int) -> None:
        log(
            f"epoch {row['epoch']}: loss {row['train_loss']:.4f}, validation {row['validation_loss']:.4f} "
            f"(best: epoch {best + 1}), "
            f"{row['learned_per_s']:.0f} learned tokens/s, {row['seconds']:.0f} s"
        )
        if accelerator.is_main_process:
            _note(out, row)

    last = [0.0]

    def tick(epoch: int, step: int, steps: int, loss: float) -> None:
        import time

        if time.monotonic() - last[0] > 30 or step == steps:
            last[0] = time.monotonic()
            log(f"epoch {epoch + 1}, step {step}/{steps}: loss {loss:.4f}")

    if any((out / WORK / name).exists() for name in (checkpoint.STATE, checkpoint.SHARDED)):
        log("goes on from its last checkpoint")
    return fit(
        model, task, train, validation, recipe, accelerator, out / WORK, after_first_backward=checked, report=told, tick=tick
    )


def _note(out: Path, row: dict[str, Any]) -> None:
    path = out / "history.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    rows = [r for r in rows if r["epoch"] < row["epoch"]] + [row]
    with replacing(path) as draft:
        draft.write_text(json.dumps(rows, indent=1), encoding="utf-8")


# ---- the end ------------------------------------------------------------------------------------------------------------


def finish(
    recipe: InstructRecipe, model: Speaker, design: Design, material: Material, trainable: Trainable, done: Progress, out: Path,
    log: Log,
) -> None:  # fmt: skip
    """Answers of test samples beside the controls, the Bundle, and the merged model where the recipe wants one."""
    answers = Answers(model, recipe.name or f"{design.family}-ecg", most=recipe.new_tokens, batch=16)
    told = judge(recipe, answers, material, out, log) if recipe.judge and material.parts["test"] else None
    written = manifest_of(recipe, model, design, material, trainable, done, answers, told)
    more: dict[str, bytes | str | Path] = {"recipe.yaml": recipe.text(), "history.json": json.dumps(done.history, indent=1)}
    more["card.md"] = card.text(written)
    for name in ("table.md", "scores.json"):
        if (out / SCORES / name).exists():
            more[name] = out / SCORES / name
    tuning = moves.tuning_of(recipe) if recipe.method == "lora" else None
    write_language(out / BUNDLE, written, model, design, tuning=tuning, more=more, overwrite=True)
    if recipe.merge:
        merged(model, out / MERGED)
        log(f"merged (float32): {out / MERGED}")


class Before:
    """The same model without its LoRA: what it said before it was fine-tuned."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.name = answers, f"{answers.name} before fine-tuning"

    def _asked(self, work: Callable[[], Any]) -> Any:
        from einthoven.tune.lora import adapted

        layers = [layer for _, layer in adapted(self.answers.model.lm)]
        scales = [layer.scale for layer in layers]
        try:
            for layer in layers:
                layer.scale = 0.0
            return work()
        finally:
            for layer, scale in zip(layers, scales, strict=True):
                layer.scale = scale

    def answer(self, prompts: Any, ecgs: Any) -> list[str]:
        said: list[str] = self._asked(lambda: self.answers.answer(prompts, ecgs))
        return said

    def log_likelihood(self, prompts: Any, ecgs: Any, candidates: Any) -> list[list[float]]:
        found: list[list[float]] = self._asked(lambda: self.answers.log_likelihood(prompts, ecgs, candidates))
        return found


def judge(recipe: InstructRecipe, answers: Answers, material: Material, out: Path, log: Callable[[str], None]) -> Any:
    """Test samples (at most `judged`, drawn by the seed), once, with every control; and ECGs ranked by the likelihood of each
    superclass (at most `ranked`). Written to the folder `scores`."""
    from einthoven.evaluate.language import examine

    every = material.parts["test"]
    rng = np.random.default_rng([recipe.seed, 14])
    chosen = [every[k] for k in np.sort(rng.permutation(len(every))[: recipe.judged])]
    log(f"answering {len(chosen):,} test samples, with controls")
    adapter = recipe.method == "lora" and not isinstance(answers.model, Elm)
    before = Before(answers) if adapter else None  # a model assembled here could say nothing before
    found = examine(answers, chosen, material.record, train=material.parts["train"], before=before, seed=recipe.seed)
    more = _ranked(recipe, answers, material, log) if recipe.ranked else ()
    found = replace(found, rows=(*found.rows, *more))
    found.save(str(out / SCORES))
    for row in found.rows:
        log(f"{row.group}, {row.figure}: {row.value:.3f} ({row.low:.3f}-{row.high:.3f}), n {row.n}")
    return found


def _ranked(recipe: InstructRecipe, answers: Answers, material: Material, log: Callable[[str], None]) -> tuple[Any, ...]:
    """AUROC of the superclasses from likelihoods, on test ECGs whose set says them."""
    from einthoven.evaluate.language import ranking_of

    index = material.indices[0]
    place = {name: k for k, name in enumerate(index.column("record"))}
    rows = sorted(place[r] for r in material.records("test") if r in place)
    rng = np.random.default_rng([recipe.seed, 16])
    rows = sorted(rows[k] for k in rng.permutation(len(rows))[: recipe.ranked])
    log(f"ranking {len(rows):,} test ECGs by the likelihood of each superclass, with controls")
    try:
        found, _ = ranking_of(answers, index, rows, seed=recipe.seed)
    except EcgError as fault:
        log(f"not ranked: {fault}")
        return ()
    return tuple(found)


def manifest_of(
    recipe: InstructRecipe, model: Speaker, design: Design, material: Material, trainable: Trainable, done: Progress,
    answers: Answers, told: Any,
) -> Manifest:  # fmt: skip
    parts = material.parts
    metrics = []
    if told is not None and told.rows:
        figures = [
            {"name": f"{row.group}: {row.figure}"[:200], "value": row.value, "low": _known(row.low), "high": _known(row.high)}
            for row in told.rows
            if np.isfinite(row.value)
        ]
        records = {r for s in told.samples for r in s.records}
        metrics.append(
            {
                "data": _name(recipe.data), "role": "test", "folds": list(recipe.test_folds), "records": len(records),
                "patients": len({s.group for s in told.samples if s.group}) or None, "figures": figures,
                "notes": "Without the controls beside them (table.md) these figures say little.",
            }
        )  # fmt: skip
    # A set is called what its records say of it, so that it is known again (train/judge.py, `unseen`).
    name = ", ".join(sorted(set(material.indices[0].column("dataset")))) or _name(recipe.data)
    real = set(material.indices[0].column("record"))
    own = {part: real & set(material.records(part)) for part in ("train", "validation")}
    data: list[dict[str, Any]] = [
        {
            "name": name,
            "role": "training" if part == "train" else "validation",
            "records": len(own[part]),
            "patients": len({s.group for s in parts[part] if s.group and set(s.records) <= own[part]}) or None,
            "folds": list(recipe.train_folds if part == "train" else recipe.validation_folds),
            "licence": recipe.licence,
        }
        for part in ("train", "validation")
    ]
    if recipe.simulated:
        data.append({"name": "einthoven.synth", "role": "training", "records": recipe.simulated})
    return manifest(
        name=recipe.name or f"{design.family}-ecg",
        summary=f"Answers questions about an ECG and writes reports; {design.family}, {recipe.method}, best of "
        f"{len(done.history)} epochs by validation loss.",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task="language",
        activation="identity",
        language=language_of(model, design, answers.settings),
        training={
            "data": data,
            "recipe": recipe.to_dict(),
            "command": "einthoven finetune recipe.yaml",
            "seed": recipe.seed,
            "software": {"einthoven": __version__, "torch": torch.__version__},
        },
        metrics=metrics,
        architecture={
            "model": design.family, "config": design.to_dict(), "parameters": trainable.parameters, "base": design.model or "",
            "tuning": moves.tuning_of(recipe).to_dict() if recipe.method == "lora" else {"method": recipe.method},
        },
        licence=recipe.licence,
    )  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _name(path: str) -> str:
    """What a manifest calls the data: a folder's own name, not where it lies."""
    return Path(path).name or path


def merged(model: Speaker, folder: Path) -> None:
    """LoRA folded into float32 weights, written as transformers writes a model; the model here is merged, too."""
    from einthoven.tune.lora import merge_lora

    model.lm.float()
    merge_lora(model.lm)
    folder.mkdir(parents=True, exist_ok=True)
    model.lm.save_pretrained(folder)
    (getattr(model, "processor", None) or model.chat.tokenizer).save_pretrained(folder)
