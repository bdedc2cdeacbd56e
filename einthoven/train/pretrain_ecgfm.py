"""ECG-FM's pre-training: wav2vec 2.0 on masked ECGs, contrast of two segments of a patient, random lead masking.

    einthoven pretrain recipes/pretrain-ecg-fm.yaml --data FOLDER --output runs/ecg-fm

A record gives two neighbouring windows of 5 s. Of each, leads are zeroed at random; spans of its tokens are replaced by a
learned vector; the encoder has to tell, for each masked token, its quantised features from those of 100 other masked tokens of
the same window (Baevski et al., wav2vec 2.0, arXiv:2006.11477; InfoNCE). The unmasked windows' mean tokens have to find the
other window of their patient among the batch (CMSC: Kiyasseh et al., CLOCS, ICML 2021; Oh et al., CHIL 2022 join them and
add random lead masking). Numbers and quirks are those of Jwoo5/fairseq-signals, with which ECG-FM was trained.

What a step does follows from the seed and its number alone, so a run that was killed ends with the weights of one that was not.

B windows, L leads, T samples, N tokens, M masked tokens of a window (the same for all), K negatives, C channels of the
convolutions, D width, F width of the contrast, G groups of V codes.
"""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from einthoven.models.convert import OBJECTIVE, load, store
from einthoven.models.convert import objective as kept_objective
from einthoven.models.signal.ecg_fm import WINDOW, EcgFm
from einthoven.record import STANDARD_LEADS, EcgError, Record
from einthoven.signal.presets import apply, by_name
from einthoven.train import checkpoint
from einthoven.train.recipes import from_file, from_words, to_words

if TYPE_CHECKING:
    from einthoven.data.index import Index

Bools = NDArray[np.bool_]

STATE, WEIGHTS, FIGURES = "pretrain.pt", "weights.safetensors", "metrics.jsonl"


@dataclass(frozen=True)
class PretrainRecipe:
    """One pre-training run. The defaults are ECG-FM's (fairseq-signals, w2v_cmsc_rlm.yaml), but for `steps` and `batch`."""

    # From what
    data: str | tuple[str, ...] = "synth"  # "synth", or folders: an Index, a public set, ECG files of one's own; or several
    records: int = 100_000  # synth: how many different ECGs there are
    window: int = WINDOW  # samples at 500 Hz; a record of less than two windows is left out
    model: Mapping[str, Any] = field(default_factory=dict)  # arguments of EcgFm (leads: the first so many); all dropouts 0.1
    weights: str | None = None  # a file of `einthoven models convert --objective` to go on from

    # The task
    mask_share: float = 0.65  # of the tokens, if spans did not overlap
    mask_length: int = 10  # tokens of a span
    lead_masking: float = 0.5  # probability of each lead to be zeroed
    lead_guard: bool = True  # one lead always stays; False: as in fairseq-signals, where all may go (2 windows in 10,000)
    negatives: int = 100
    temperature: float = 0.1  # of the cosines
    groups: int = 2
    codes: int = 320  # in each group
    code_width: int = 256
    contrast_width: int = 256
    hardening: tuple[float, float, float] = (2.0, 0.5, 0.999995)  # Gumbel temperature: first, last, factor a step
    feature_dropout: float = 0.1
    feature_gradient: float = 0.1  # the convolutions learn this much slower
    diversity: float = 0.1  # weight of using all codes
    penalty: float = 10.0  # weight of the features' mean square
    segments: float = 1.0  # weight of CMSC
    segment_temperature: float = 0.1

    # The optimiser
    learning_rate: float = 5e-5
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    steps: int = 10_000
    batch: int = 64  # pairs of windows, over all processes together
    accumulate: int = 1  # parts that a step's batch is cut into; negatives of CMSC are those of a part

    # The machine
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    workers: int = 0  # processes that prepare batches beside the training
    checkpoint_every: int = 500  # steps
    seed: int = 0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        for name in (
            "records",
            "steps",
            "batch",
            "accumulate",
            "checkpoint_every",
            "mask_length",
            "negatives",
            "groups",
            "codes",
        ):
            if getattr(self, name) < 1:
                raise EcgError(f"{name} is at least 1, not {getattr(self, name)}", where="recipe")
        for name, low, high in (("mask_share", 0.01, 1), ("lead_masking", 0, 0.99), ("feature_dropout", 0, 0.9)):
            if not low <= getattr(self, name) <= high:
                raise EcgError(f"{name} lies between {low} and {high}, not {getattr(self, name)}", where="recipe")
        if self.code_width % self.groups:
            raise EcgError(f"code_width {self.code_width} is not a multiple of groups {self.groups}", where="recipe")
        if self.batch % self.accumulate or self.batch // self.accumulate < 2:
            raise EcgError("accumulate cuts the batch into equal parts of two pairs or more: CMSC needs others", where="recipe")
        if self.window < 64:
            raise EcgError(f"a window of {self.window} samples has no tokens to mask", where="recipe")

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> PretrainRecipe:
        """Raises EcgError, which names the field, for an unknown name and a value of the wrong kind."""
        return from_words(PretrainRecipe, words, "a pre-training recipe of ecg-fm")

    @staticmethod
    def read(path: str | Path) -> PretrainRecipe:
        """From a YAML file. Raises EcgError."""
        return from_file(path, PretrainRecipe.from_dict, "ecg-fm")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every field written out."""
        return to_words(self)


# ---- masks --------------------------------------------------------------------------------------------------------------


def mask_tokens(rows: int, tokens: int, share: float, length: int, rng: np.random.Generator) -> Bools:
    """(B, N), True where a token is hidden: wav2vec 2.0's static spans, at least two, which may overlap; every row has as many
    (the row with the fewest sets how many, others lose some at random). The last token is never hidden, a quirk kept.

    share * N / length spans are drawn, so with 0.65 and 10 about half of the tokens are hidden.
    """
    spans = max(2, int(share * tokens / length + rng.random()))
    room = tokens - length if tokens - length > spans else spans + 1
    if room > tokens:
        raise EcgError(f"{tokens} tokens are too few to hide {spans} spans of {length}")
    hidden = []
    for _ in range(rows):
        starts = rng.choice(room, spans, replace=False)
        covered = np.unique(starts[:, None] + np.arange(length))
        hidden.append(covered[covered < tokens])
    fewest = min(len(covered) for covered in hidden)
    mask = np.zeros((rows, tokens), bool)
    for row, covered in zip(mask, hidden, strict=True):
        row[covered if len(covered) == fewest else rng.choice(covered, fewest, replace=False)] = True
    return mask


def mask_leads(rows: int, leads: int, probability: float, rng: np.random.Generator, *, guard: bool = True) -> Bools:
    """(B, L), True where a lead stays. `guard`: where all would go, one drawn at random stays."""
    stays = rng.random((rows, leads)) >= probability
    if guard:
        empty = np.flatnonzero(~stays.any(1))
        stays[empty, rng.integers(leads, size=len(empty))] = True
    return stays


def draw_negatives(rows: int, masked: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(B, M, K): for each hidden token the places, among the hidden tokens of its own row, of `count` others."""
    if masked < 2:
        raise EcgError("one hidden token has no others to be told from")
    drawn = rng.integers(masked - 1, size=(rows, masked, count))
    return drawn + (drawn >= np.arange(masked)[None, :, None])


# ---- the objective ------------------------------------------------------------------------------------------------------


class Losses(NamedTuple):
    """`total` what is minimised, a number for each hidden token; then its parts without their weights, and two figures:
    `accuracy`, the share of hidden tokens told right; `codes`, how many codes are in use (perplexity, of G * V)."""

    total: Tensor
    contrast: Tensor
    diversity: Tensor
    penalty: Tensor
    segments: Tensor
    accuracy: Tensor
    codes: Tensor


class Quantizer(nn.Module):  # type: ignore[misc]
    """Features (B, M, C) -> one of V codes in each of G groups, joined (B, M, code_width), and the perplexity of their choice.

    In training the choice is drawn (Gumbel softmax, straight through), otherwise it is the likeliest."""

    def __init__(self, channels: int, groups: int, codes: int, width: int) -> None:
        super().__init__()
        self.groups = groups
        self.codes = nn.Parameter(torch.rand(1, groups * codes, width // groups))
        self.choose = nn.Linear(channels, groups * codes)
        nn.init.normal_(self.choose.weight)
        nn.init.zeros_(self.choose.bias)

    def forward(self, x: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        logits = self.choose(x).float().unflatten(-1, (self.groups, -1))  # (B, M, G, V)
        usage = logits.softmax(-1).flatten(0, 1).mean(0)  # (G, V)
        perplexity = torch.exp(-(usage * torch.log(usage + 1e-7)).sum(-1)).sum()
        if self.training:
            chosen = F.gumbel_softmax(logits, tau=temperature, hard=True)
        else:
            chosen = F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
        codes = self.codes[0].unflatten(0, (self.groups, -1))  # (G, V, width / G)
        return torch.einsum("bmgv,gvw->bmgw", chosen.to(codes.dtype), codes).flatten(2), perplexity


class Objective(nn.Module):  # type: ignore[misc]
    """What ECG-FM's encoder is trained with, beside the encoder: 509,824 parameters at its sizes."""

    def __init__(self, channels: int, width: int, recipe: PretrainRecipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.mask = nn.Parameter(torch.rand(width))
        self.quantizer = Quantizer(channels, recipe.groups, recipe.codes, recipe.code_width)
        self.project_target = nn.Linear(recipe.code_width, recipe.contrast_width)
        self.project_context = nn.Linear(width, recipe.contrast_width)

    def forward(
        self, model: EcgFm, signal: Tensor, hidden: Tensor, negatives: Tensor, patients: Tensor, temperature: float
    ) -> Losses:
        """signal (2 P, L, T), first windows, then second ones; hidden (2 P, N); negatives (2 P, M, K); patients (P,)."""
        recipe, encoder = self.recipe, model.encoder
        features = encoder.features(signal)  # (B, C, N)
        features = features.detach() + (features - features.detach()) * recipe.feature_gradient  # same values, smaller gradient
        penalty = features.float().pow(2).mean()
        normal = encoder.features_norm(features.transpose(1, 2))  # (B, N, C)
        tokens = encoder.tokens(normal)  # (B, N, D)
        rows = len(tokens)

        targets = F.dropout(normal, recipe.feature_dropout, self.training)[hidden].unflatten(0, (rows, -1))  # (B, M, C)
        quantized, perplexity = self.quantizer(targets, temperature)
        targets = self.project_target(quantized)  # (B, M, F)
        masked = torch.where(hidden.unsqueeze(-1), self.mask.to(tokens.dtype), tokens)
        context = self.project_context(encoder.contextual(masked)[-1][hidden].unflatten(0, (rows, -1)))  # (B, M, F)
        contrast, accuracy = infonce(context, targets, negatives, recipe.temperature)

        pooled = encoder.contextual(tokens)[-1].mean(1)  # (B, D)
        segments = cmsc(pooled[: rows // 2], pooled[rows // 2 :], patients, recipe.segment_temperature)
        count = recipe.groups * recipe.codes
        diversity = (count - perplexity) / count
        total = contrast + recipe.diversity * diversity + recipe.penalty * penalty + recipe.segments * segments
        return Losses(total, contrast, diversity, penalty, segments, accuracy, perplexity)


def infonce(context: Tensor, targets: Tensor, negatives: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding each token's own target (B, M, F) among it and the `negatives` (B, M, K: places in its row) by
    cosine, mean over tokens; and the share that finds it. A negative that equals the target does not count."""
    rows = torch.arange(len(targets), device=targets.device)[:, None, None]
    others = targets[rows, negatives]  # (B, M, K, F)
    candidates = torch.cat([targets.unsqueeze(2), others], 2).float()  # (B, M, 1 + K, F)
    logits = F.cosine_similarity(context.float().unsqueeze(2), candidates, -1) / temperature
    same = (others == targets.unsqueeze(2)).all(-1)  # (B, M, K)
    logits = torch.cat([logits[..., :1], logits[..., 1:].masked_fill(same, float("-inf"))], -1)
    found = (logits.argmax(-1) == 0) & ~same.all(-1)
    return -logits.log_softmax(-1)[..., 0].mean(), found.float().mean()


def cmsc(first: Tensor, second: Tensor, patients: Tensor, temperature: float) -> Tensor:
    """Contrast of the two windows' pooled tokens (P, D): both ways, the mean over all pairs of one patient. As in
    fairseq-signals the length that vectors are divided by has no gradient."""

    def unit(x: Tensor) -> Tensor:
        return x.float() / x.detach().float().norm(dim=-1, keepdim=True).clamp_min(1e-8)

    logits = unit(first) @ unit(second).T / temperature  # (P, P)
    own = patients[:, None] == patients[None, :]
    return -(logits.log_softmax(1)[own].mean() + logits.T.log_softmax(1)[own.T].mean()) / 2


# ---- the data -----------------------------------------------------------------------------------------------------------


# ECG-FM's own preprocessing, but for the cut into windows, which is made here.
_WHOLE = replace(by_name("ecg-fm"), steps=by_name("ecg-fm").steps[:-1], length=None, name="ecg-fm-whole")


class Source(ABC):
    """Records by number, and whose they are."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, row: int) -> tuple[Record, str]: ...


class Synth(Source):
    """Simulated ECGs, each made when it is asked for; every one is of another patient."""

    def __init__(self, records: int, duration: float, seed: int) -> None:
        self.records, self.duration, self.seed = records, duration, seed

    def __len__(self) -> int:
        return self.records

    def __getitem__(self, row: int) -> tuple[Record, str]:
        from einthoven.synth import random_simulation

        made = random_simulation(np.random.default_rng([self.seed, 2, row]), duration=self.duration)
        return made.record, f"synth:{row}"


class Indexed(Source):
    """The records of an Index that are long enough and have twelve leads; read from its memory map when asked for."""

    def __init__(self, index: Index, seconds: float) -> None:
        long = np.asarray(index.column("samples")) / np.asarray(index.column("fs")) >= seconds - 1e-6
        enough = np.array([set(STANDARD_LEADS) <= set(leads) for leads in index.column("leads")], bool)
        self.rows = np.flatnonzero(long & enough)
        self.left_out = len(index) - len(self.rows)
        if len(self.rows) < 2:
            raise EcgError(f"none of {len(index)} records has twelve leads and {seconds:g} s", path=index.folder)
        self.index, self.patients = index, index.column("patient")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> tuple[Record, str]:
        at = int(self.rows[row])
        return self.index.record(at), str(self.patients[at])


class Joined(Source):
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources, self.ends = sources, np.cumsum([len(source) for source in sources])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, row: int) -> tuple[Record, str]:
        which = int(np.searchsorted(self.ends, row, side="right"))
        return self.sources[which][row - int(self.ends[which]) + len(self.sources[which])]


def source_of(recipe: PretrainRecipe, folder: Path) -> Source:
    """Where the recipe's records come from. A folder that is no Index yet is indexed below `folder` once. Raises EcgError."""
    from einthoven.data.load import load as load_data

    seconds = 2 * recipe.window / 500
    names = (recipe.data,) if isinstance(recipe.data, str) else recipe.data
    sources: list[Source] = []
    for i, name in enumerate(names):
        if name == "synth":
            sources.append(Synth(recipe.records, max(seconds, 10.0), recipe.seed))
        else:
            index = folder / ("index" if len(names) == 1 else f"index{i}")
            sources.append(Indexed(load_data(name, folder=index), seconds))
    if not sources:
        raise EcgError("no data", where="recipe")
    return sources[0] if len(sources) == 1 else Joined(sources)


class Batch(NamedTuple):
    """What one part of a step is made of; shapes as in Objective.forward."""

    signal: Tensor
    hidden: Tensor
    negatives: Tensor
    patients: Tensor


class Pairs(Dataset[Batch]):  # type: ignore[misc]
    """Item n is part n % parts of step n // parts, made from the seed and n alone."""

    def __init__(self, recipe: PretrainRecipe, source: Source, leads: int, rank: int = 0, world: int = 1) -> None:
        self.recipe, self.source, self.leads, self.rank, self.world = recipe, source, leads, rank, world
        self._order: tuple[int, NDArray[np.int64]] | None = None  # of one epoch

    def __len__(self) -> int:
        return self.recipe.steps * self.recipe.accumulate

    def __getitem__(self, n: int) -> Batch:
        recipe = self.recipe
        step, part = divmod(n, recipe.accumulate)
        size = recipe.batch // recipe.accumulate // self.world
        start = step * recipe.batch + (part * self.world + self.rank) * size
        rng = np.random.default_rng([recipe.seed, 1, n, self.rank])
        drawn = [self._pair(start + i, rng) for i in range(size)]
        signal = np.concatenate([np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn])])  # (2 P, L, T)
        stays = mask_leads(len(signal), signal.shape[1], recipe.lead_masking, rng, guard=recipe.lead_guard)
        hidden = mask_tokens(len(signal), recipe.window // 16, recipe.mask_share, recipe.mask_length, rng)
        negatives = draw_negatives(len(signal), int(hidden[0].sum()), recipe.negatives, rng)
        _, patients = np.unique([d[2] for d in drawn], return_inverse=True)
        return Batch(
            torch.from_numpy((signal * stays[:, :, None]).astype(np.float32)),
            torch.from_numpy(hidden),
            torch.from_numpy(negatives),
            torch.from_numpy(patients.astype(np.int64)),
        )

    def _pair(self, place: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
        """The `place`-th record of the run (epoch after epoch, each in its own order), two neighbouring windows of it."""
        epoch, at = divmod(place, len(self.source))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.recipe.seed, 0, epoch]).permutation(len(self.source))
        record, patient = self.source[int(self._order[1][at])]
        signal = apply(_WHOLE, record)[: self.leads]  # (L, T)
        window = self.recipe.window
        start = window * int(rng.integers(signal.shape[1] // window - 1))
        return signal[:, start : start + window], signal[:, start + window : start + 2 * window], patient


# ---- the run ------------------------------------------------------------------------------------------------------------


def pretrain(recipe: PretrainRecipe, out: str | Path, *, source: Source | None = None) -> Path:
    """Trains, and returns the file of weights in `out` (safetensors, with the objective's; `models.convert.pretrained`
    opens it). The same call goes on where an earlier one was stopped, and refuses when the recipe has changed since.

    Raises EcgError: no data, a recipe that is not the one `out` was begun with, or a loss that is no longer a number.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = _accelerator(recipe)
    with accelerator.main_process_first():  # which makes the index, where one is to be made
        source = source or source_of(recipe, folder)
    whole = make(recipe)
    optimizer = torch.optim.AdamW(
        whole.parameters(), recipe.learning_rate, betas=recipe.betas, eps=1e-6, weight_decay=recipe.weight_decay
    )
    net, optimizer = accelerator.prepare(whole, optimizer)
    done = _restore(folder / STATE, recipe, whole, optimizer)
    if accelerator.is_main_process:
        _trim(folder / FIGURES, done)
    net.train()

    pairs = Pairs(recipe, source, whole.model.config["leads"], accelerator.process_index, accelerator.num_processes)
    began = time.monotonic()
    for step, parts in _steps(pairs, done, recipe):
        _seed(recipe.seed, step, accelerator.process_index)
        temperature = max(recipe.hardening[0] * recipe.hardening[2] ** step, recipe.hardening[1])
        figures: dict[str, float] = {}
        for part in parts:
            batch = Batch(*(x.to(accelerator.device) for x in part))
            losses = net(*batch, temperature)
            accelerator.backward(losses.total / recipe.accumulate)
            for name, value in losses._asdict().items():
                figures[name] = figures.get(name, 0.0) + float(value.detach()) / recipe.accumulate
        if not np.isfinite(figures["total"]):
            raise EcgError(f"the loss is {figures['total']} at step {step}: a smaller learning rate, or fp32", path=folder)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if accelerator.is_main_process:
            _tell(folder / FIGURES, step, {**figures, "seconds": round(time.monotonic() - began, 3)})
            if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
                state = {"recipe": recipe.to_dict(), "step": step + 1}
                checkpoint.write(
                    folder / STATE,
                    {**state, "net": accelerator.unwrap_model(net).state_dict(), "optimizer": optimizer.state_dict()},
                )
    if accelerator.is_main_process:
        _store(accelerator.unwrap_model(net), folder / WEIGHTS)
    accelerator.wait_for_everyone()
    return folder / WEIGHTS


class Whole(nn.Module):  # type: ignore[misc]
    """Encoder and objective as one module, which is what a distributed run wraps."""

    def __init__(self, model: EcgFm, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, signal: Tensor, hidden: Tensor, negatives: Tensor, patients: Tensor, temperature: float) -> Losses:
        losses: Losses = self.objective(self.model, signal, hidden, negatives, patients, temperature)
        return losses


def make(recipe: PretrainRecipe) -> Whole:
    """The recipe's model and objective with their first weights: drawn from the seed, or from `weights`. Raises EcgError."""
    torch.manual_seed(recipe.seed)
    options = {"dropout": 0.1, "attention_dropout": 0.1, "input_dropout": 0.1, **recipe.model, "outputs": 1}
    try:
        model = EcgFm(**options)
    except TypeError as fault:
        raise EcgError(f"ecg-fm: {fault}", where="recipe: model") from fault
    objective = Objective(model.config["channels"], model.config["width"], recipe)
    if recipe.weights is not None:
        load(recipe.weights, model)
        state = kept_objective(recipe.weights)
        try:
            objective.load_state_dict(state)
        except RuntimeError as fault:
            raise EcgError(
                f"pre-training cannot go on from it (was it converted with its objective?): {fault}", path=recipe.weights
            ) from fault
    for p in model.head.parameters():
        p.requires_grad_(False)  # there is no label here
    return Whole(model, objective)


def _accelerator(recipe: PretrainRecipe) -> Accelerator:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        AcceleratorState._reset_state(reset_partial_state=True)  # it would keep the last run's choices otherwise
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise EcgError("there is no GPU here that torch can use (device: cuda)")
    accelerator = Accelerator(
        cpu=recipe.device == "cpu" or not torch.cuda.is_available(),
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
    )
    pairs, rest = divmod(recipe.batch, recipe.accumulate * accelerator.num_processes)
    if rest or pairs < 2:
        raise EcgError(
            f"a batch of {recipe.batch} cannot be dealt out to {accelerator.num_processes} processes", where="recipe"
        )
    return accelerator


def _steps(pairs: Pairs, done: int, recipe: PretrainRecipe) -> Iterator[tuple[int, list[Batch]]]:
    """The steps still to do, with the parts of each."""
    feed = DataLoader(
        pairs,
        batch_size=None,
        sampler=range(done * recipe.accumulate, len(pairs)),
        num_workers=recipe.workers,
        prefetch_factor=2 if recipe.workers else None,
    )
    parts: list[Batch] = []
    step = done
    for part in feed:
        parts.append(part)
        if len(parts) == recipe.accumulate:
            yield step, parts
            step, parts = step + 1, []


def _restore(path: Path, recipe: PretrainRecipe, whole: Whole, optimizer: torch.optim.Optimizer) -> int:
    """Puts an earlier run's state in place; how many steps it had done."""
    if not path.exists():
        return 0
    state = checkpoint.read(path)
    idle = {"workers", "checkpoint_every", "steps", "device"}
    then, now = state["recipe"], recipe.to_dict()
    changed = [f"{k}: {then.get(k)!r} -> {now[k]!r}" for k in now if k not in idle and then.get(k) != now[k]]
    if changed:
        raise EcgError(f"begun with another recipe ({'; '.join(changed)}): take another folder", path=path.parent)
    whole.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _trim(figures: Path, done: int) -> None:
    """What was written beyond the checkpoint is written again."""
    if figures.exists():
        kept = figures.read_text(encoding="utf-8").splitlines()[:done]
        figures.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _seed(seed: int, step: int, rank: int) -> None:
    """Dropout and the drawn codes of a step follow from its number."""
    torch.manual_seed(int(np.random.SeedSequence([seed, 3, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1)))


def _tell(path: Path, step: int, figures: Mapping[str, float]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **figures}) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _store(whole: Whole, path: Path) -> None:
    state = {k: v for k, v in whole.model.state_dict().items() if not k.startswith("head.")}
    state |= {OBJECTIVE + k: v for k, v in whole.objective.state_dict().items()}
    # What decides the weights' shapes; dropout and windows are for who fine-tunes to choose.
    plain = {k: v for k, v in whole.model.config.items() if not k.endswith("dropout") and k != "window"}
    store(path, "ecg-fm", plain, state, source="einthoven.train.pretrain_ecgfm")
