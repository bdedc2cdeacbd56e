"""CardX's pre-training: draw the ECG again with its beats on a grid, and say its QTc, its dataset and its prevalent findings.

    python -m einthoven.train.pretrain_cardx recipes/pretrain-cardx.yaml --out runs/cardx

Bickmann L et al., ExChanGeAI, sections 4.5 and 4.6. The input is the ECG as it is; the picture to be drawn from its embedding
is the same ECG aligned by Rlign to 60 beats per minute (beats/align.py), so that no number of the embedding is spent on where
the beats happened to fall. The terms of the loss, each with its weight in the recipe (the paper gives none; these make all
of order one at the start, the drawing first):

- reconstruction: mean squared error, in units of the variance of what is to be drawn; what the ECG was too short to fill is
  not asked for.
- mmd: maximum mean discrepancy (Gretton A et al. J Mach Learn Res 2012;13:723) between embeddings and as many draws from the
  normal distribution: unbiased, Gaussian kernels of five widths around the distance that two such draws have.
- qtc (squared error in units of 40 ms), dataset (cross-entropy), features (binary cross-entropy): of the ECGs where they are
  known.
- balance, entropy: the router's (models/signal/cardx.py), whose Gumbel temperature sinks from 2 to 0.5 over the run.

AdamW 1e-3, gradients cut to norm 2 ("clip-value of 2" there), rate x 0.98 an epoch, batch 768, a random fifth held out: here of
patients, not of records; the paper's fp16 is bf16 here, which needs no loss scale. What PTB-XL's folds 9 and 10 hold is left
out, and so are copies of another set's records.

What a step does follows from the seed and its number alone, so a run that was killed ends with the weights of one that was not.

B ECGs, L leads, T samples, D embedding, F features.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from einthoven.beats.align import align
from einthoven.beats.fiducials import Beats
from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.models.convert import load, store
from einthoven.models.signal.cardx import CardX, Heads
from einthoven.record import EcgError, Record
from einthoven.signal.presets import by_name, prepared
from einthoven.train import checkpoint
from einthoven.train.recipes import from_file, from_words, to_words

if TYPE_CHECKING:
    from einthoven.data.index import Index

F32 = NDArray[np.float32]
STATE, WEIGHTS, FIGURES, SUMMARY = "pretrain.pt", "weights.safetensors", "metrics.jsonl", "pretrain.json"
TERMS = ("reconstruction", "mmd", "qtc", "dataset", "features", "balance", "entropy")
GRID_BPM = 60.0
QTC_MS, QTC_UNIT_MS, QTC_RANGE_MS = 420.0, 40.0, (250.0, 700.0)  # what QTc is told from and in; beyond it is no QTc
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, in squared distances of two normal draws


@dataclass(frozen=True)
class PretrainRecipe:
    """One pre-training run. The defaults are the paper's where it gives them."""

    # From what
    data: tuple[str, ...] = ("synth",)  # "synth" alone, or folders: Indexes, public sets, ECG files of one's own
    records: int = 20_000  # synth: new ECGs of each epoch
    preset: str = "cardx"
    validation: float = 0.2  # share of the patients (synth: of the records) that only judges
    leave_out_folds: tuple[int, ...] = (9, 10)  # official folds that others are tested on
    prevalent: float = 0.01  # a code is a feature where this share of the training records has it
    model: Mapping[str, Any] = field(default_factory=dict)  # arguments of CardX
    weights: str | None = None  # of an earlier run, to start from

    # Weights of the terms
    reconstruction: float = 1.0
    mmd: float = 0.5
    qtc: float = 0.1
    dataset: float = 0.1
    features: float = 0.5
    balance: float = 0.1
    entropy: float = 0.01
    temperature: tuple[float, float] = (2.0, 0.5)  # of the router's Gumbel-softmax, first and last

    # The optimiser
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    gamma: float = 0.98  # factor of the rate from epoch to epoch
    clip: float = 2.0
    epochs: int = 200
    batch: int = 768  # ECGs of a step, over all processes together

    # The machine
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    workers: int = 0  # processes that make batches beside the training
    jobs: int = 0  # processes that align and measure an Index's records once; 0: every core
    checkpoint_every: int = 500  # steps
    seed: int = 0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        for name in ("records", "epochs", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise EcgError(f"{name} is at least 1, not {getattr(self, name)}", where="recipe")
        if self.batch < 2:
            raise EcgError("batch is at least 2: mmd compares ECGs", where="recipe")
        for name in (*TERMS, "weight_decay", "workers", "jobs"):
            if getattr(self, name) < 0:
                raise EcgError(f"{name} is not negative", where="recipe")
        if not 0 < self.validation < 0.8 or not 0 < self.prevalent <= 1:
            raise EcgError("validation lies between 0 and 0.8, prevalent between 0 and 1", where="recipe")
        if min(self.temperature) <= 0 or self.learning_rate <= 0 or self.clip <= 0 or not 0 < self.gamma <= 1:
            raise EcgError("temperature, learning_rate and clip are positive, gamma lies between 0 and 1", where="recipe")
        if not self.data or ("synth" in self.data and len(self.data) > 1):
            raise EcgError("data is synth, or one folder or more", where="recipe")

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> PretrainRecipe:
        """Raises EcgError, which names the field, for an unknown name and a value of the wrong kind."""
        words = dict(words)
        if isinstance(words.get("data"), str):
            words["data"] = [words["data"]]
        return from_words(PretrainRecipe, words, "a pre-training recipe of cardx")

    @staticmethod
    def read(path: str | Path) -> PretrainRecipe:
        """From a YAML file; its line `objective: cardx` may stand there. Raises EcgError."""
        return from_file(path, PretrainRecipe.from_dict, "cardx")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every field written out."""
        return to_words(self)


# ---- what is to be said of an ECG ----------------------------------------------------------------------------------------


class Example(NamedTuple):
    """signal (L, T) mV; aligned (L, T) mV, NaN where there are no beats to fill it; qtc ms or NaN; dataset, a number, -1
    unknown; features (F,) 0, 1 or NaN."""

    signal: F32
    aligned: F32
    qtc: float
    dataset: int
    features: F32


class Batch(NamedTuple):
    """Examples stacked: signal, aligned (B, L, T), qtc (B,), dataset (B,) int64, features (B, F)."""

    signal: Tensor
    aligned: Tensor
    qtc: Tensor
    dataset: Tensor
    features: Tensor


def stack(examples: Sequence[Example]) -> Batch:
    signal, aligned, features = (
        torch.from_numpy(np.stack([getattr(e, name) for e in examples])) for name in ("signal", "aligned", "features")
    )
    qtc = torch.tensor([e.qtc for e in examples], dtype=torch.float32)
    return Batch(signal.float(), aligned.float(), qtc, torch.tensor([e.dataset for e in examples]), features.float())


def picture(record: Record, beats: Beats, preset: str) -> tuple[F32, F32]:
    """(L, T) what the model sees, zero where nothing was recorded, and (L, T) what it is to draw. Raises EcgError."""
    seen = prepared(preset, record)
    drawn = align(seen, beats, bpm=GRID_BPM, seconds=seen.signal.shape[1] / seen.fs).signal
    return np.nan_to_num(seen.signal).astype(np.float32), drawn.astype(np.float32)


def sensible(qtc: float) -> float:
    """A QTc in ms, or NaN for one that no heart has."""
    return qtc if QTC_RANGE_MS[0] <= qtc <= QTC_RANGE_MS[1] else math.nan


class Source(ABC):
    """Examples by number: `train` of them an epoch, `held` for validation; what datasets and features are called; `spread`,
    mV, the standard deviation of what is to be drawn, by which reconstruction is scaled."""

    train: int
    held: int
    datasets: tuple[str, ...]
    features: tuple[str, ...]
    spread: float

    @abstractmethod
    def example(self, epoch: int, place: int) -> Example:
        """The example at this place of an epoch."""

    @abstractmethod
    def kept(self, place: int) -> Example:
        """A held-out one."""

    def scale(self) -> float:
        """Standard deviation (mV) of the first pictures."""
        first = [self.kept(i).aligned for i in range(min(self.held, 64))]
        known = np.concatenate([a[np.isfinite(a)] for a in first])
        return float(known.std()) if len(known) and known.std() > 0 else 1.0


class Synth(Source):
    """Simulated ECGs, new ones in every epoch; beats, QTc and labels are the simulator's truth."""

    def __init__(self, recipe: PretrainRecipe) -> None:
        from einthoven.synth import CONDITIONS

        self.seed, self.preset = recipe.seed, recipe.preset
        self.train, self.held = recipe.records, max(2, round(recipe.records * recipe.validation))
        self.datasets, self.features = ("synth",), tuple(CONDITIONS)
        self.spread = self.scale()

    def example(self, epoch: int, place: int) -> Example:
        return self._made(1, epoch * self.train + place)

    def kept(self, place: int) -> Example:
        return self._made(2, place)

    def _made(self, part: int, number: int) -> Example:
        from einthoven.synth import random_simulation

        made = random_simulation(np.random.default_rng([self.seed, part, number]))
        features = np.array([name in made.labels for name in self.features], np.float32)
        return Example(*picture(made.record, made.beats, self.preset), sensible(made.truth["qtc_ms"]), 0, features)


class Indexed(Source):
    """Records of Indexes. Each is aligned and measured once, into memory maps below `folder`, which a later run finds again."""

    def __init__(self, indexes: Sequence[Index], recipe: PretrainRecipe, folder: Path) -> None:
        from einthoven.data.splits import by_patient

        preset = by_name(recipe.preset)
        self.shelves = [Shelf(folder / f"{i}", index, preset.name, recipe.jobs) for i, index in enumerate(indexes)]
        train, held, self.left_out = [], [], 0
        for i, (index, shelf) in enumerate(zip(indexes, self.shelves, strict=True)):
            fold, copies = np.asarray(index.column("fold")), index.column("same_as")
            free = ~np.isin(fold, recipe.leave_out_folds) & np.array([not c for c in copies], bool) & (shelf.state == 1)
            self.left_out += int((~free).sum())
            split = by_patient(
                index, (1 - recipe.validation, recipe.validation, 0.0), rows=np.flatnonzero(free), seed=recipe.seed
            )
            train += [(i, int(row)) for row in split.train]
            held += [(i, int(row)) for row in split.validation]
        if not train or len(held) < 2:
            raise EcgError(f"{len(train)} records to train on, {len(held)} to judge by: more are needed", path=folder)
        self.rows, self.rows_kept, self.seed = train, held, recipe.seed
        self.train, self.held = len(train), len(held)
        names = [index.column("dataset") for index in indexes]
        codes = [index.column("codes") for index in indexes]
        self.datasets = tuple(sorted({names[i][row] for i, row in train}))
        counts = Counter(code for i, row in train for code in set(codes[i][row] or ()))
        self.features = tuple(sorted(c for c, n in counts.items() if n >= recipe.prevalent * len(train)))
        self._names, self._codes = names, codes
        self._epoch, self._order = -1, np.arange(0)
        self.spread = self.scale()

    def example(self, epoch: int, place: int) -> Example:
        if self._epoch != epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(self.train)
        return self._of(*self.rows[int(self._order[place])])

    def kept(self, place: int) -> Example:
        return self._of(*self.rows_kept[place])

    def _of(self, i: int, row: int) -> Example:
        signal, aligned, qtc = self.shelves[i][row]
        codes = self._codes[i][row]
        known = [float(f in codes) if codes else math.nan for f in self.features] or [math.nan]
        name = self._names[i][row]
        dataset = self.datasets.index(name) if name in self.datasets else -1
        return Example(signal, aligned, qtc, dataset, np.array(known, np.float32))


class Shelf:
    """What of an Index was prepared: memory maps of signal and picture (N, L, T) float16 mV, QTc (N,) ms, and a state (N,):
    0 not done, 1 done, 2 failed (why stands in failed.jsonl)."""

    def __init__(self, folder: Path, index: Index, preset: str, jobs: int) -> None:
        chosen = by_name(preset)
        if chosen.leads is None or chosen.length is None or chosen.unit != "mV":
            raise EcgError(f"preset {preset} does not give the same leads and length of every ECG, in mV", where="recipe")
        of = hashlib.sha256("\n".join([preset, *index.column("record")]).encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        about = folder / "shelf.json"
        if about.exists() and json.loads(about.read_text(encoding="utf-8")) != {"of": of}:
            raise EcgError("prepared from other records or by another preset: take another folder", path=folder)
        shape = (len(index), len(chosen.leads), chosen.length)
        self.signal = _map(folder / "signal.f16", np.float16, shape)
        self.aligned = _map(folder / "aligned.f16", np.float16, shape)
        self.qtc = _map(folder / "qtc.f32", np.float32, shape[:1])
        self.state = _map(folder / "state.u8", np.uint8, shape[:1])
        about.write_text(json.dumps({"of": of}), encoding="utf-8")
        todo = np.flatnonzero(self.state == 0)
        tasks = ((int(row), preset, index.record(int(row))) for row in todo)
        for row, found in ordered(_prepare, tasks, jobs=jobs, killed=lambda task: (task[0], "its process was killed")):
            if isinstance(found, str):
                with open(folder / "failed.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps({"record": index.column("record")[row], "error": found}) + "\n")
            else:
                self.signal[row], self.aligned[row], self.qtc[row] = found
            self.state[row] = 2 if isinstance(found, str) else 1

    def __getitem__(self, row: int) -> tuple[F32, F32, float]:
        return self.signal[row].astype(np.float32), self.aligned[row].astype(np.float32), float(self.qtc[row])


def _map(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """The memory map at `path`, made (all zero) where it is not there."""
    if not path.exists():
        return np.memmap(path, kind, "w+", shape=shape)
    if path.stat().st_size != math.prod(shape) * np.dtype(kind).itemsize:
        raise EcgError("prepared from other records or by another preset: take another folder", path=path)
    return np.memmap(path, kind, "r+", shape=shape)


def _prepare(task: tuple[int, str, Record]) -> tuple[int, tuple[F32, F32, float] | str]:
    """Row -> signal, picture and QTc (Fridericia), or why not."""
    from einthoven.beats.delineate import delineate
    from einthoven.beats.measure import measure

    row, preset, record = task
    try:
        beats = delineate(record)
        seen, drawn = picture(record, beats, preset)
        qtc = measure(record, beats)["qtc_fridericia_ms"]
    except EcgError as fault:
        return row, str(fault)
    return row, (seen, drawn, sensible(qtc))


def source_of(recipe: PretrainRecipe, folder: Path) -> Source:
    """Where the recipe's examples come from. What is no Index yet is indexed below `folder` once. Raises EcgError."""
    if recipe.data == ("synth",):
        return Synth(recipe)
    from einthoven.data.load import load as load_data

    indexes = [load_data(d, folder=folder / "index" / f"{i}", jobs=recipe.jobs) for i, d in enumerate(recipe.data)]
    return Indexed(indexes, recipe, folder / "prepared")


# ---- the loss ------------------------------------------------------------------------------------------------------------


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples (B, D) each, unbiased (so it may be a little below zero).

    The kernel is the mean of five Gaussians exp(-d^2 / (w 2D)), w = 0.25 ... 4: 2D is the mean squared distance of two draws
    from the D-dimensional normal distribution.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        distance = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0) / (2 * a.shape[1])
        return torch.stack([torch.exp(-distance / w) for w in WIDTHS]).mean(0)

    def within(a: Tensor) -> Tensor:
        n = a.shape[0]
        return (kernel(a, a).sum() - n) / (n * (n - 1))  # the diagonal is one

    return within(x) + within(y) - 2 * kernel(x, y).mean()


def mean_where(error: Tensor, known: Tensor) -> Tensor:
    """Mean of `error` where `known`; zero where nothing is."""
    return torch.where(known, error, 0.0).sum() / known.sum().clamp_min(1)


class Whole(nn.Module):  # type: ignore[misc]
    """Model, heads and loss as one module, which is what a distributed run wraps."""

    def __init__(self, model: CardX, heads: Heads, spread: float) -> None:
        super().__init__()
        self.model, self.heads, self.spread = model, heads, spread

    def forward(self, batch: Batch, prior: Tensor) -> dict[str, Tensor]:
        """`prior` (B, D) normal draws -> the terms of the loss, by name (TERMS)."""
        inner = self.model.backbone(batch.signal)
        said = self.heads(inner.head_input)
        return terms(inner.head_input, said, inner.aux, batch, prior, self.spread)


def terms(
    embedding: Tensor, said: Mapping[str, Tensor], aux: Mapping[str, Tensor], batch: Batch, prior: Tensor, spread: float
) -> dict[str, Tensor]:
    """The terms of the loss, each a number, unweighted; `spread` (mV) is the unit of the reconstruction's error."""
    drawn, asked = batch.aligned.isfinite(), batch.aligned.nan_to_num()
    timed, qtc = batch.qtc.isfinite(), ((batch.qtc - QTC_MS) / QTC_UNIT_MS).nan_to_num()
    known, truth = batch.features.isfinite(), batch.features.nan_to_num()
    with torch.autocast(embedding.device.type, enabled=False):  # distances want all their digits
        of = functional.cross_entropy(said["dataset"].float(), batch.dataset.clamp_min(0), reduction="none")
        found = functional.binary_cross_entropy_with_logits(said["features"].float(), truth, reduction="none")
        return {
            "reconstruction": mean_where((said["aligned"].float() - asked).square(), drawn) / spread**2,
            "mmd": mmd(embedding.float(), prior),
            "qtc": mean_where((said["qtc"].float() - qtc).square(), timed),
            "dataset": mean_where(of, batch.dataset >= 0),
            "features": mean_where(found, known),
            "balance": aux["balance_loss"].float(),
            "entropy": aux["entropy_loss"].float(),
        }


# ---- the run -------------------------------------------------------------------------------------------------------------


class Feed(Dataset[Batch]):  # type: ignore[misc]
    """The batches of an epoch, or of validation (epoch -1): of each, the part that belongs to this process."""

    def __init__(self, source: Source, epoch: int, batch: int, rank: int = 0, world: int = 1) -> None:
        self.source, self.epoch, self.batch, self.rank, self.world = source, epoch, batch, rank, world

    def __len__(self) -> int:
        return self.source.train // self.batch if self.epoch >= 0 else -(-self.source.held // self.batch)

    def __getitem__(self, n: int) -> Batch:
        if self.epoch < 0:
            return stack([self.source.kept(i) for i in self._places(n, self.source.held)])
        return stack([self.source.example(self.epoch, i) for i in self._places(n, self.source.train)])

    def _places(self, n: int, count: int) -> range:
        part = self.batch // self.world
        begin = n * self.batch + self.rank * part
        if self.epoch < 0:  # the last batch is filled up from the one before: mmd needs two at least
            begin = min(begin, max(count - part, 0))
        return range(begin, min(begin + part, count))


def pretrain(recipe: PretrainRecipe, out: str | Path, *, source: Source | None = None) -> Path:
    """Trains, and returns the file of the encoder's weights in `out` (safetensors, without a head; `models.convert.load` puts
    it into a model). The same call goes on where an earlier one was stopped, and refuses when the recipe has changed since.

    Raises EcgError: no data, a recipe that is not the one `out` was begun with, or a loss that is no longer a number.
    """
    from accelerate import Accelerator

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        cpu=recipe.device == "cpu",
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        step_scheduler_with_optimizer=False,
    )
    rank, world = accelerator.process_index, accelerator.num_processes
    if recipe.batch % world or recipe.batch // world < 2:
        raise EcgError(f"a batch of {recipe.batch} does not divide among {world} processes, two each", where="recipe")
    if source is None:
        with accelerator.main_process_first():  # one process prepares, the others find it done
            source = source_of(recipe, folder)
    steps = source.train // recipe.batch
    if not steps:
        raise EcgError(f"{source.train} records to train on do not fill a batch of {recipe.batch}", where="recipe")
    whole = make(recipe, source)
    optimizer = torch.optim.AdamW(whole.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    weights = {name: getattr(recipe, name) for name in TERMS}
    done = _restore(folder / STATE, recipe, whole, optimizer)  # steps
    net, optimizer = accelerator.prepare(whole, optimizer)

    def prior(part: int, number: int, batch: Batch) -> Tensor:
        """Everything that is drawn at random in a step, the normal draws of mmd first, follows from its number."""
        torch.manual_seed(_seed(recipe.seed, part, number, rank))
        return torch.randn(batch.signal.shape[0], whole.heads.spread.in_features).to(accelerator.device)

    began = time.monotonic()
    for epoch in range(done // steps, recipe.epochs):
        first, last = recipe.temperature
        net.train()
        feed = Feed(source, epoch, recipe.batch, rank, world)
        for batch in _batches(feed, done - epoch * steps, recipe.workers):
            batch = Batch(*(x.to(accelerator.device) for x in batch))
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * recipe.gamma**epoch
            whole.model.temperature.fill_(first * (last / first) ** (done / max(steps * recipe.epochs - 1, 1)))
            draws = prior(3, done, batch)
            with accelerator.autocast():
                found = net(batch, draws)
            loss = sum((weights[name] * value for name, value in found.items()), torch.zeros((), device=draws.device))
            accelerator.backward(loss)
            norm = float(accelerator.clip_grad_norm_(net.parameters(), recipe.clip))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done += 1
            figures = {"loss": float(loss.detach()), **{name: float(value.detach()) for name, value in found.items()}}
            if not math.isfinite(figures["loss"]) or not math.isfinite(norm):
                raise EcgError(f"the loss is {figures['loss']} at step {done}: a smaller learning rate, or fp32", path=folder)
            if accelerator.is_main_process:
                seconds = round(time.monotonic() - began, 3)
                _tell(
                    folder / FIGURES, {"step": done, "epoch": epoch + 1, **figures, "gradient_norm": norm, "seconds": seconds}
                )
                if done % recipe.checkpoint_every == 0 and done % steps:
                    _save(folder / STATE, recipe, done, accelerator.unwrap_model(net), optimizer)
        net.eval()
        sums = torch.zeros(len(TERMS) + 1, dtype=torch.float64, device=accelerator.device)
        with torch.no_grad():
            for n, batch in enumerate(_batches(Feed(source, -1, recipe.batch, rank, world), 0, recipe.workers)):
                batch = Batch(*(x.to(accelerator.device) for x in batch))
                with accelerator.autocast():
                    found = net(batch, prior(4, n, batch))
                row = torch.stack([found[name] for name in TERMS] + [torch.ones((), device=accelerator.device)])
                sums += row.double() * batch.signal.shape[0]
        sums = accelerator.reduce(sums, "sum").cpu()
        held = {name: float(value / sums[-1]) for name, value in zip(TERMS, sums, strict=False)}
        held = {"loss": sum(weights[name] * value for name, value in held.items()), **held}
        if accelerator.is_main_process:
            _tell(folder / FIGURES, {"step": done, "epoch": epoch + 1, "validation": held})
            _save(folder / STATE, recipe, done, accelerator.unwrap_model(net), optimizer)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _finish(folder, recipe, source, whole)
    accelerator.wait_for_everyone()
    return folder / WEIGHTS


def make(recipe: PretrainRecipe, source: Source) -> Whole:
    """The recipe's model and heads with their first weights: drawn from the seed, the model's perhaps from `weights`."""
    torch.manual_seed(recipe.seed)
    leads, samples = source.kept(0).signal.shape
    try:
        model = CardX(**{**recipe.model, "leads": leads, "samples": samples})
    except TypeError as fault:
        raise EcgError(f"cardx: {fault}", where="recipe: model") from fault
    if recipe.weights is not None:
        load(recipe.weights, model)
    model.head.requires_grad_(False)  # the user's labels come later
    heads = Heads(
        embedding=model.config["embedding"],
        leads=leads,
        samples=samples,
        datasets=len(source.datasets),
        features=max(len(source.features), 1),
    )
    return Whole(model, heads, source.spread)


def _batches(feed: Feed, begin: int, workers: int) -> Iterator[Batch]:
    yield from DataLoader(
        feed,
        batch_size=None,
        sampler=range(begin, len(feed)),
        num_workers=workers,
        prefetch_factor=2 if workers else None,
    )


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _save(path: Path, recipe: PretrainRecipe, done: int, whole: Whole, optimizer: torch.optim.Optimizer) -> None:
    state = {"net": whole.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.write(path, {"recipe": recipe.to_dict(), "step": done, **state})


def _restore(path: Path, recipe: PretrainRecipe, whole: Whole, optimizer: torch.optim.Optimizer) -> int:
    """Puts an earlier run's state in place; how many steps it had done. Figures it wrote beyond its checkpoint go."""
    figures = path.parent / FIGURES
    if not path.exists():
        figures.unlink(missing_ok=True)
        return 0
    state = checkpoint.read(path)
    idle = {"workers", "jobs", "checkpoint_every", "device"}
    then, now = state["recipe"], recipe.to_dict()
    changed = [f"{k}: {then.get(k)!r} -> {now[k]!r}" for k in now if k not in idle and then.get(k) != now[k]]
    if changed:
        raise EcgError(f"begun with another recipe ({'; '.join(changed)}): take another folder", path=path.parent)
    whole.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    if figures.exists():
        lines = [line for line in figures.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        kept = [line for line in lines if json.loads(line)["step"] <= state["step"]]
        figures.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return int(state["step"])


def _tell(path: Path, row: Mapping[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _finish(folder: Path, recipe: PretrainRecipe, source: Source, whole: Whole) -> None:
    """The encoder without head and without what pre-training put on it, and a summary of what it was trained on."""
    state = {k: v for k, v in whole.model.state_dict().items() if not k.startswith("head.")}
    store(folder / WEIGHTS, "cardx", whole.model.config, state, source="einthoven.train.pretrain_cardx")
    lines = (folder / FIGURES).read_text(encoding="utf-8").splitlines()
    judged = [row for row in map(json.loads, lines) if "validation" in row]
    about = {
        "recipe": recipe.to_dict(),
        "trained_on": source.train,
        "judged_by": source.held,
        "left_out": getattr(source, "left_out", 0),
        "datasets": source.datasets,
        "features": source.features,
        "validation": judged[-1]["validation"] if judged else None,
        "note": "Research use only, not a medical device.",
    }
    with replacing(folder / SUMMARY) as draft:
        draft.write_text(json.dumps(about, indent=1), encoding="utf-8")


def main() -> None:
    """python -m einthoven.train.pretrain_cardx RECIPE.yaml --out FOLDER"""
    import argparse
    import sys

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", action="append", help="in place of the recipe's; more than once for more folders")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    o = parser.parse_args()
    try:
        recipe = PretrainRecipe.read(o.recipe)
        changes = {k: v for k, v in (("data", o.data), ("epochs", o.epochs)) if v is not None}
        print(pretrain(PretrainRecipe.from_dict({**recipe.to_dict(), **changes}), o.out))
    except EcgError as fault:
        sys.exit(f"error: {fault}")


if __name__ == "__main__":
    main()
