"""HeartBEiT's pre-training: parts of an ECG's image are hidden, and a BEiT says what stood there.

    python -m einthoven.train.pretrain_heartbeit recipes/pretrain-heartbeit.yaml --out runs/heartbeit

Vaid A et al. HeartBEiT. npj Digit Med 2023;6:108; Bao H et al. BEiT. ICLR 2022. Of the 14 x 14 patches of an image some 40 %
(78; BEiT's published script, which the authors ran, 75) are hidden in blocks of 16 and more. The targets (`target`):

- words: the visual word of each hidden patch, by a discrete VAE that sees the whole image at 8 pixels a patch. The paper took
  DALL-E's of 8192 words, trained on photographs (`tokenizer`: a file of its encoder). Where no tokenizer is given, one is
  trained first on the same images, 512 words, below `out`.
- pixels: the patch itself, each patch by its own mean and deviation (`normalise_pixels`); no tokenizer. Xie Z et al. SimMIM.
  CVPR 2022 (hidden patches go through the encoder, one linear layer draws); He K et al. MAE. CVPR 2022 (normalised targets).
  `cells` a side, or (rows, columns): the patch as so many means of its pixels. A thin line at full sharpness is missed by a
  pixel as much as by ten; as grey levels of larger cells a near miss is nearly right. With `visible_only` as in MAE: what is
  hidden does not go through the encoder at all (models/image/mae.py), which is as much cheaper as more is hidden.

`masking` "blocks" is BEiT's, "patches" hides each patch alone, anywhere, as SimMIM and MAE do.

AdamW 5e-4, betas 0.9 and 0.999, weight decay 0.05 (none on vectors, positions and tokens), five epochs of warm-up from 1e-6, a
cosine to 1e-5, gradients cut to norm 3, 300 epochs; layer scale 0.1, stochastic depth 0.1, one relative position bias for all
layers. The image is neither cropped nor flipped, as the paper says (the script would do both). fp16 there is bf16 here, which
needs no loss scale. What PTB-XL's folds 9 and 10 hold is left out, and so are copies of another set's records.

What a step does follows from the seed and its number alone, so a run that was killed ends with the weights of one that was not.
The weights it leaves are for fine-tuning: each layer has its own position bias, begun from the shared one.

B images, N patches, V words.
"""

from __future__ import annotations

import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.models.convert import OBJECTIVE, load, objective, store
from einthoven.models.image.beit import MaskedHead
from einthoven.models.image.dvae import STEP, DiscreteVAE, dall_e
from einthoven.models.image.mae import Decoder
from einthoven.models.image.model import sides
from einthoven.models.image.transformer import PatchTransformer
from einthoven.models.table import build
from einthoven.record import EcgError
from einthoven.represent.images import ImageForm, Images, by_form, draw, images
from einthoven.train import checkpoint
from einthoven.train.recipes import from_file, from_words, to_words

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
STATE, WEIGHTS, FIGURES, SUMMARY = "pretrain.pt", "weights.safetensors", "metrics.jsonl", "pretrain.json"
TOKENIZER, TOKENIZER_STATE, TOKENIZER_FIGURES = "tokenizer.safetensors", "tokenizer.pt", "tokenizer.jsonl"
SMOKE: Mapping[str, Any] = {  # of any recipe: does it start here?
    "data": "synth",
    "records": 4,
    "batch": 2,
    "tokenizer_batch": 2,
    "epochs": 1,
    "tokenizer_epochs": 1,
    "warmup": 0.0,
    "device": "cpu",
    "precision": "fp32",
    "workers": 0,
}


@dataclass(frozen=True)
class PretrainRecipe:
    """One pre-training run. The defaults are the paper's where it, or BEiT's script, gives them."""

    # From what
    data: tuple[str, ...] = ("synth",)  # folders: Indexes, public sets, ECG files of one's own; "synth" alone or beside them
    records: int = 20_000  # synth: ECGs of each epoch; new ones where it stands alone, else the same, drawn once
    form: str = "heartbeit"  # of the image (represent/images.py)
    windows: int = 1  # of each record, drawn from starts that are spread over what it is longer than the form shows (s)
    validation: float = 0.05  # share of the patients (synth: of the records) that only judges
    leave_out_folds: tuple[int, ...] = (9, 10)  # official folds that others are tested on
    model: str = "beit-base"  # of the table: a BEiT or ViT
    options: Mapping[str, Any] = field(default_factory=dict)  # arguments of its constructor
    weights: str | None = None  # of an earlier run, to start from

    # What is hidden, and what is said of it
    target: Literal["words", "pixels"] = "words"
    masked: int = 78  # patches of an image: 40 % of 196; BEiT's script 75
    masking: Literal["blocks", "patches"] = "blocks"
    block: int = 16  # fewest patches of a block
    normalise_pixels: bool = True
    cells: int | tuple[int, int] | None = None  # of pixels: the patch as cells x cells means; None: every pixel
    visible_only: bool = False  # of pixels: the encoder sees what is not hidden, a decoder draws the rest
    decoder_width: int = 64
    decoder_depth: int = 2
    decoder_heads: int = 4
    tokenizer: str | None = None  # a file: an earlier run's tokenizer.safetensors, or DALL-E's encoder; None trains one
    codes: int = 512  # words of one that is trained; DALL-E 8192
    hidden: int = 32  # its width; DALL-E 256
    tokenizer_epochs: int = 10
    tokenizer_batch: int = 64
    tokenizer_rate: float = 1e-3
    temperature: tuple[float, float] = (1.0, 0.0625)  # of Gumbel's softmax, first and last (DALL-E's)
    usage: float = 0.1  # weight of the distance of the words' frequencies from equal ones: none is to lie idle

    # The optimiser
    learning_rate: float = 5e-4
    first_rate: float = 1e-6
    last_rate: float = 1e-5
    warmup: float = 5.0  # epochs
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 3.0
    epochs: int = 300
    batch: int = 64  # images of a step, over all processes together

    # The machine
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    workers: int = 0  # processes that make batches beside the training
    jobs: int = 0  # processes that draw an Index's records once; 0: every core
    checkpoint_every: int = 500  # steps
    seed: int = 0

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        for name in (
            "records",
            "epochs",
            "tokenizer_epochs",
            "checkpoint_every",
            "masked",
            "block",
            "windows",
            "batch",
            "tokenizer_batch",
            "decoder_width",
            "decoder_depth",
            "decoder_heads",
        ):
            if getattr(self, name) < 1:
                raise EcgError(f"{name} is at least 1, not {getattr(self, name)}", where="recipe")
        for name in ("usage", "weight_decay", "workers", "jobs", "warmup", "first_rate", "last_rate"):
            if getattr(self, name) < 0:
                raise EcgError(f"{name} is not negative", where="recipe")
        if min(self.temperature) <= 0 or min(self.learning_rate, self.tokenizer_rate, self.clip) <= 0:
            raise EcgError("temperature, learning_rate, tokenizer_rate and clip are positive", where="recipe")
        if not all(0 <= b < 1 for b in self.betas):
            raise EcgError("betas lie between 0 and 1", where="recipe")
        if not 0 < self.validation < 0.8:
            raise EcgError("validation lies between 0 and 0.8", where="recipe")
        if self.visible_only and self.target != "pixels":
            raise EcgError("visible_only draws pixels: target is pixels", where="recipe")
        if self.cells is not None and min(_both(self.cells)) < 1:
            raise EcgError("cells are at least 1 a side", where="recipe")
        if not self.data:
            raise EcgError("data is synth, or folders, or both", where="recipe")

    @staticmethod
    def from_dict(words: Mapping[str, Any]) -> PretrainRecipe:
        """Raises EcgError, which names the field, for an unknown name and a value of the wrong kind."""
        words = dict(words)
        if isinstance(words.get("data"), str):
            words["data"] = [words["data"]]
        return from_words(PretrainRecipe, words, "a pre-training recipe of heartbeit")

    @staticmethod
    def read(path: str | Path) -> PretrainRecipe:
        """From a YAML file; its line `objective: heartbeit` may stand there. Raises EcgError."""
        return from_file(path, PretrainRecipe.from_dict, "heartbeit")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every field written out."""
        return to_words(self)


# ---- what is hidden ------------------------------------------------------------------------------------------------------

ASPECT = 0.3  # of a block's sides, at the least; its reciprocal at the most (BEiT's)


class Hidden(NamedTuple):
    """`mask` (h, w) bool; `blocks` the rectangles it is made of: top, left, height, width."""

    mask: Mask
    blocks: tuple[tuple[int, int, int, int], ...]


def hide(rng: np.random.Generator, grid: tuple[int, int], masked: int, block: int = 16) -> Hidden:
    """BEiT's blockwise masking: rectangles of at least `block` patches, sides between 0.3 and 1/0.3 to each other, laid over
    each other until exactly `masked` patches are hidden. (BEiT's own stops a little short of it now and then, and
    rounds some blocks below the least.) Raises EcgError where that cannot be.
    """
    height, width = grid
    if not block <= masked <= height * width:
        raise EcgError(f"{masked} of {height} x {width} patches cannot be hidden in blocks of {block} and more")
    mask = np.zeros(grid, bool)
    blocks: list[tuple[int, int, int, int]] = []
    left, tries = masked, 0
    while left:
        tries += 1
        if tries > 200:  # what is left fits no drawn block
            mask, blocks, left, tries = np.zeros(grid, bool), [], masked, 0
        area = rng.uniform(block, max(block, left))
        aspect = math.exp(rng.uniform(math.log(ASPECT), -math.log(ASPECT)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h * w < block or h > height or w > width:
            continue
        top, first = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
        part = mask[top : top + h, first : first + w]
        new = h * w - int(part.sum())
        if 0 < new <= left:
            part[:] = True
            blocks.append((top, first, h, w))
            left, tries = left - new, 0
    return Hidden(mask, tuple(blocks))


def hidden(recipe: PretrainRecipe, rng: np.random.Generator, grid: tuple[int, int]) -> Mask:
    """(N,) which patches of an image are hidden, by the recipe's masking. Raises EcgError where so many cannot be."""
    count = grid[0] * grid[1]
    if recipe.masking == "blocks":
        return hide(rng, grid, recipe.masked, recipe.block).mask.ravel()
    if recipe.masked >= count:
        raise EcgError(f"{recipe.masked} of {count} patches cannot be hidden: one is to be seen", where="recipe")
    mask = np.zeros(count, bool)
    mask[rng.choice(count, recipe.masked, replace=False)] = True
    return mask


# ---- images --------------------------------------------------------------------------------------------------------------


class Source(ABC):
    """Images by number: `train` of them an epoch, `held` for validation; (H, W) grey or (H, W, 3) uint8."""

    train: int
    held: int

    @abstractmethod
    def example(self, epoch: int, place: int) -> Bytes:
        """The image at this place of an epoch."""

    @abstractmethod
    def kept(self, place: int) -> Bytes:
        """A held-out one."""


class Synth(Source):
    """Simulated ECGs, new ones in every epoch."""

    def __init__(self, recipe: PretrainRecipe) -> None:
        self.seed, self.form = recipe.seed, recipe.form
        self.train, self.held = recipe.records, max(2, round(recipe.records * recipe.validation))

    def example(self, epoch: int, place: int) -> Bytes:
        return self._made(1, epoch * self.train + place)

    def kept(self, place: int) -> Bytes:
        return self._made(2, place)

    def _made(self, part: int, number: int) -> Bytes:
        return _simulated(number, form=self.form, seed=self.seed, part=part)


class Indexed(Source):
    """Records of Indexes, each window of them drawn once, into shards below `folder`, which a later run finds again.
    `simulated` as many simulated ECGs to train on beside them."""

    def __init__(self, indexes: Sequence[Any], recipe: PretrainRecipe, folder: Path, simulated: int = 0) -> None:
        from einthoven.data.splits import by_patient

        self.shelves: list[Images | Bytes] = []
        train, held, self.left_out = [], [], 0
        form = by_form(recipe.form)
        for i, index in enumerate(indexes):
            failed: dict[int, str] = {}
            first = len(self.shelves)
            for start in starts(index, form.seconds, recipe.windows):
                looks = replace(form, start=start)
                self.shelves.append(images(index, looks, folder=folder / f"{i}", jobs=recipe.jobs, failed=failed))
            fold, copies = np.asarray(index.column("fold")), index.column("same_as")
            free = ~np.isin(fold, recipe.leave_out_folds) & np.array([not c for c in copies], bool)
            free[list(failed)] = False
            self.left_out += int((~free).sum())
            split = by_patient(
                index, (1 - recipe.validation, recipe.validation, 0.0), rows=np.flatnonzero(free), seed=recipe.seed
            )
            train += [(shelf, int(row)) for shelf in range(first, len(self.shelves)) for row in split.train]
            held += [(shelf, int(row)) for shelf in range(first, len(self.shelves)) for row in split.validation]
        if not train or not held:
            raise EcgError(f"{len(train)} records to train on, {len(held)} to judge by: more are needed", path=folder)
        if simulated:
            self.shelves.append(made(recipe, simulated, folder))
            train += [(len(self.shelves) - 1, row) for row in range(simulated)]
        self.rows, self.rows_kept, self.seed = train, held, recipe.seed
        self.train, self.held = len(train), len(held)
        self._epoch, self._order = -1, np.arange(0)

    def example(self, epoch: int, place: int) -> Bytes:
        if self._epoch != epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(self.train)
        return self._of(*self.rows[int(self._order[place])])

    def kept(self, place: int) -> Bytes:
        return self._of(*self.rows_kept[place])

    def _of(self, i: int, row: int) -> Bytes:
        picture: Bytes = self.shelves[i][row]
        return picture


def made(recipe: PretrainRecipe, count: int, folder: Path) -> Bytes:
    """(count, H, W) or (count, H, W, 3): simulated ECGs, those of Synth's first epoch, drawn once into a file of `folder`."""
    path = folder / f"synth-{recipe.form}-{recipe.seed}-{count}.npy"
    if not path.exists():
        drawn = ordered(partial(_simulated, form=recipe.form, seed=recipe.seed), range(count), jobs=recipe.jobs, killed=_killed)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft, draft.open("wb") as file:
            np.save(file, np.stack(list(drawn)), allow_pickle=False)
    pictures: Bytes = np.load(path, mmap_mode="r", allow_pickle=False)
    return pictures


def _simulated(number: int, *, form: str, seed: int, part: int = 1) -> Bytes:
    from einthoven.synth import random_simulation

    return draw(by_form(form), random_simulation(np.random.default_rng([seed, part, number])).record)[0]


def _killed(number: int) -> Bytes:
    raise EcgError(f"simulated ECG {number}: its process was killed while it was drawn (out of memory?)")


def starts(index: Any, seconds: float, windows: int) -> list[float]:
    """Where each of so many windows of `seconds` begins, spread evenly over the longest record: 0 first, the last ends with it.
    (A shorter record shows its end instead.)"""
    longest = max((n / fs for n, fs in zip(index.column("samples"), index.column("fs"), strict=True)), default=seconds)
    room = max(float(longest) - seconds, 0.0)
    return [round(room * i / (windows - 1), 3) if windows > 1 else 0.0 for i in range(windows if room else 1)]


def source_of(recipe: PretrainRecipe, folder: Path) -> Source:
    """Where the recipe's images come from. What is no Index yet is indexed below `folder` once. Raises EcgError."""
    if recipe.data == ("synth",):
        return Synth(recipe)
    from einthoven.data.load import load as load_data

    folders = [d for d in recipe.data if d != "synth"]
    indexes = [load_data(d, folder=folder / "index" / f"{i}", jobs=recipe.jobs) for i, d in enumerate(folders)]
    return Indexed(indexes, recipe, folder / "images", recipe.records if "synth" in recipe.data else 0)


class Batch(NamedTuple):
    """images (B, C, H, W) uint8, one channel or three; masked (B, N) bool."""

    images: Tensor
    masked: Tensor


class Feed(Dataset[Batch]):  # type: ignore[misc]
    """The batches of an epoch, or of validation (epoch -1): of each, the part that belongs to this process."""

    def __init__(
        self, source: Source, recipe: PretrainRecipe, grid: tuple[int, int], epoch: int, batch: int, rank: int, world: int
    ) -> None:
        self.source, self.recipe, self.grid, self.epoch = source, recipe, grid, epoch
        self.batch, self.rank, self.world = batch, rank, world

    def __len__(self) -> int:
        return self.source.train // self.batch if self.epoch >= 0 else -(-self.source.held // self.batch)

    def __getitem__(self, n: int) -> Batch:
        part = self.batch // self.world
        begin = n * self.batch + self.rank * part
        if self.epoch < 0:  # every process judges as many; the last batch is filled up from the one before
            begin = min(begin, max(self.source.held - part, 0))
        count = self.source.train if self.epoch >= 0 else self.source.held
        places = range(begin, min(begin + part, count))
        drawn = [self.source.kept(i) if self.epoch < 0 else self.source.example(self.epoch, i) for i in places]
        pictures = np.stack([p[None] if p.ndim == 2 else p.transpose(2, 0, 1) for p in drawn])
        seeds = ([self.recipe.seed, 3, self.epoch + 1, i] for i in places)
        masks = np.stack([hidden(self.recipe, np.random.default_rng(s), self.grid) for s in seeds])
        return Batch(torch.from_numpy(np.ascontiguousarray(pictures)), torch.from_numpy(masks))


# ---- the losses ----------------------------------------------------------------------------------------------------------


class Masking(nn.Module):  # type: ignore[misc]
    """Model, head and loss as one module, which a distributed run wraps. The tokenizer stands beside it and never moves."""

    def __init__(self, model: PatchTransformer, form: ImageForm, recipe: PretrainRecipe, tokenizer: DiscreteVAE | None) -> None:
        super().__init__()
        self.model, self.normalise = model, recipe.normalise_pixels
        self.grid = model.grid
        self.size, width = sides(model.config["patch"]), model.config["width"]
        channels = model.config["channels"]
        self.cells = self.size if recipe.cells is None else _both(recipe.cells)
        if any(cells > side for cells, side in zip(self.cells, self.size, strict=True)):
            raise EcgError(f"a patch of {self.size} pixels has no {self.cells} cells", where="recipe: cells")
        self.visible_only = recipe.visible_only
        if recipe.visible_only:  # a grey picture is drawn once, not in three equal channels
            self.own = 3 if form.colour else 1
            self.head: MaskedHead | Decoder = Decoder(
                model,
                math.prod(self.cells) * self.own,
                width=recipe.decoder_width,
                depth=recipe.decoder_depth,
                heads=recipe.decoder_heads,
            )
        else:
            answers = math.prod(self.cells) * channels if tokenizer is None else tokenizer.config["codes"]
            self.head = MaskedHead(width, answers)
        self.register_buffer("mean", torch.tensor(form.mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(form.std).reshape(1, -1, 1, 1), persistent=False)
        self.beside = [] if tokenizer is None else [tokenizer.eval().requires_grad_(False)]

    def forward(self, batch: Batch, _share: float) -> dict[str, Tensor]:
        """-> the terms, by name; "loss" is what is made small."""
        if self.visible_only:
            return self._drawn_from_the_rest(batch)
        pixels = batch.images.float() / 255
        seen = (pixels.expand(-1, self.model.config["channels"], -1, -1) - self.mean) / self.std
        said = self.head(self.model, seen, batch.masked).float()
        if not self.beside:
            return self._missed(said, self.drawn(seen)[batch.masked])
        words = self.words(pixels)[batch.masked]
        return {"loss": functional.cross_entropy(said, words), "accuracy": (said.argmax(1) == words).float().mean()}

    def _missed(self, said: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        if self.normalise:
            wanted = wanted - wanted.mean(1, keepdim=True)
            variance = wanted.square().sum(1, keepdim=True) / (wanted.shape[1] - 1)
            wanted = wanted * (variance + 1e-6).rsqrt()
        return {"loss": functional.mse_loss(said, wanted)}

    def _drawn_from_the_rest(self, batch: Batch) -> dict[str, Tensor]:
        """As MAE. Pixels become numbers patch by patch, where they are needed: what the model sees of the shown ones, what is
        to be drawn of the hidden ones."""
        high, broad = self.size
        cut = patches(batch.images, self.size).unflatten(2, (-1, high, broad))  # (B, N, C, P, P) uint8
        mean, std = self.mean[None], self.std[None]
        shown = cut[~batch.masked].unflatten(0, (len(cut), -1)).float() / 255
        shown = (shown.expand(-1, -1, self.model.config["channels"], -1, -1) - mean) / std
        assert isinstance(self.head, Decoder)
        said = self.head(self.model, shown.flatten(2), batch.masked).float()
        away = (cut[batch.masked].float() / 255 - self.mean[:, : self.own]) / self.std[:, : self.own]
        if self.cells != self.size:
            away = functional.interpolate(away, size=self.cells, mode="area")
        return self._missed(said, away.flatten(1))

    def drawn(self, seen: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, answers): the patches, each as all its pixels or as means of its cells."""
        if self.cells == self.size:
            return patches(seen, self.size)
        whole = [side * cells for side, cells in zip(self.grid, self.cells, strict=True)]
        return patches(functional.interpolate(seen, size=whole, mode="area"), self.cells)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def words(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, N), by the tokenizer, which sees 8 pixels of each patch."""
        tokenizer = self.beside[0].to(pixels.device)
        with torch.autocast(pixels.device.type, enabled=False):
            found: Tensor = tokenizer.words(smaller(pixels, self.size))
        return found


class Drawing(nn.Module):  # type: ignore[misc]
    """The tokenizer and its loss: the image drawn again, and words that are all in use."""

    def __init__(self, model: DiscreteVAE, patch: int | tuple[int, int], recipe: PretrainRecipe) -> None:
        super().__init__()
        self.model, self.patch, self.usage, self.temperature = model, patch, recipe.usage, recipe.temperature

    def forward(self, batch: Batch, share: float) -> dict[str, Tensor]:
        """`share` of the run that is done. "error": mean squared, in units of the images' variance."""
        pixels = smaller(batch.images.float() / 255, self.patch)
        first, last = self.temperature
        drawn, logits = self.model(pixels, first * (last / first) ** share)
        chosen = logits.float().softmax(1).mean((0, 2, 3))
        idle = (chosen * (chosen * len(chosen)).clamp_min(1e-9).log()).sum()
        error = (drawn.float() - pixels).square().mean() / pixels.var().clamp_min(1e-6)
        terms = {"loss": error + self.usage * idle, "error": error, "idle": idle}
        if not self.training:
            words = logits.argmax(1).flatten(1)
            again = self.model.drawn(words, (logits.shape[2], logits.shape[3]))
            used = torch.bincount(words.flatten(), minlength=logits.shape[1]).double() / words.numel()
            terms["error"] = (again.float() - pixels).square().mean() / pixels.var().clamp_min(1e-6)
            terms["perplexity"] = torch.exp(-(used * used.clamp_min(1e-12).log()).sum()).float()
        return terms


def _both(side: int | tuple[int, int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else side


def patches(image: Tensor, size: int | tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, N, C height width of a patch), row by row."""
    b, c, h, w = image.shape
    high, broad = _both(size)
    cut = image.reshape(b, c, h // high, high, w // broad, broad).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(b, (h // high) * (w // broad), c * high * broad)


def smaller(pixels: Tensor, patch: int | tuple[int, int]) -> Tensor:
    """The image at 8 pixels a patch each way, each the mean of those it stands for (BEiT: Lanczos)."""
    high, broad = _both(patch)
    if (high, broad) == (STEP, STEP):
        return pixels
    size = pixels.shape[2] * STEP // high, pixels.shape[3] * STEP // broad
    return functional.interpolate(pixels, size=size, mode="area")


def rate(recipe: PretrainRecipe, step: int, steps: int) -> float:
    """The learning rate at `step` (from 0), `steps` an epoch: a straight line up from the first rate, a cosine to the last."""
    total, rise = steps * recipe.epochs, round(steps * recipe.warmup)
    if step < rise:
        return recipe.first_rate + (recipe.learning_rate - recipe.first_rate) * step / max(rise - 1, 1)
    share = (step - rise) / max(total - rise - 1, 1)
    return recipe.last_rate + (recipe.learning_rate - recipe.last_rate) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


# ---- the run -------------------------------------------------------------------------------------------------------------


class Stage(NamedTuple):
    """One of the two trainings: what is trained, how long, in what steps, and where its state lies."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    epochs: int
    batch: int
    rate: Callable[[int, int], float]
    state: Path
    figures: Path


def pretrain(recipe: PretrainRecipe, out: str | Path, *, source: Source | None = None) -> Path:
    """Trains, and returns the file of the encoder's weights in `out` (safetensors, without a head; `models.convert.load` puts
    it into a model). The same call goes on where an earlier one was stopped, and refuses when the recipe has changed since.

    Raises EcgError: no data, a recipe that is not the one `out` was begun with, or a loss that is no longer a number.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        cpu=recipe.device == "cpu",
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        step_scheduler_with_optimizer=False,
    )
    model = new_model(recipe)
    hidden(recipe, np.random.default_rng(0), model.grid)  # refuses what cannot be
    if source is None:
        with accelerator.main_process_first():  # one process prepares, the others find it done
            source = source_of(recipe, folder)
    tokenizer = None
    if recipe.target == "words":
        tokenizer = (
            open_tokenizer(recipe.tokenizer) if recipe.tokenizer else trained_tokenizer(recipe, source, folder, accelerator)
        )
    torch.manual_seed(recipe.seed)
    net = Masking(model, by_form(recipe.form), recipe, tokenizer)
    if recipe.weights is not None:
        load(recipe.weights, model)
        kept = {k: v for k, v in objective(recipe.weights).items() if k in net.head.state_dict()}
        if kept and all(v.shape == net.head.state_dict()[k].shape for k, v in kept.items()):
            net.head.load_state_dict(kept)
    for part in (model.head, model.norm):  # the user's labels come later
        part.requires_grad_(False)
    optimizer = torch.optim.AdamW(groups(net, recipe.weight_decay), recipe.learning_rate, betas=recipe.betas)
    stage = Stage(
        net,
        optimizer,
        recipe.epochs,
        recipe.batch,
        lambda step, steps: rate(recipe, step, steps),
        folder / STATE,
        folder / FIGURES,
    )
    _run(stage, recipe, source, model.grid, accelerator)
    if accelerator.is_main_process:
        _finish(folder, recipe, source, net, tokenizer)
    accelerator.wait_for_everyone()
    return folder / WEIGHTS


def new_model(recipe: PretrainRecipe) -> PatchTransformer:
    """The recipe's transformer with its first weights, at the form's size; a BEiT's layers share one bias. Raises EcgError."""
    form = by_form(recipe.form)
    torch.manual_seed(recipe.seed)
    shared = {"positions": "shared"} if recipe.model.replace("_", "-").startswith("beit") else {}
    model = build(recipe.model, **{"size": list(form.size), **shared, **recipe.options})
    if not isinstance(model, PatchTransformer) or model.tiles != (1, 1):
        raise EcgError(f"patches are hidden from a ViT or BEiT of one tile, not from {recipe.model}", where="recipe: model")
    high, broad = sides(model.config["patch"])
    if model.grid != (form.size[0] // high, form.size[1] // broad):
        raise EcgError(f"images of {form.size[0]} x {form.size[1]} are not the model's {model.config['size']}", where="recipe")
    return model


def trained_tokenizer(recipe: PretrainRecipe, source: Source, folder: Path, accelerator: Accelerator) -> DiscreteVAE:
    """The tokenizer that an earlier call trained in `folder`, or one trained now on the same images."""
    path = folder / TOKENIZER
    if not path.exists():
        torch.manual_seed(recipe.seed)
        model = new_model(recipe)
        channels = 3 if by_form(recipe.form).colour else 1
        patch = sides(model.config["patch"])
        net = Drawing(DiscreteVAE(channels=channels, codes=recipe.codes, hidden=recipe.hidden), patch, recipe)
        optimizer = torch.optim.AdamW(groups(net, 0.0), recipe.tokenizer_rate)
        epochs, peak = recipe.tokenizer_epochs, recipe.tokenizer_rate
        stage = Stage(
            net,
            optimizer,
            epochs,
            recipe.tokenizer_batch,
            lambda step, steps: peak * (0.05 + 0.95 * (1 + math.cos(math.pi * step / max(steps * epochs - 1, 1))) / 2),
            folder / TOKENIZER_STATE,
            folder / TOKENIZER_FIGURES,
        )
        _run(stage, recipe, source, model.grid, accelerator)
        if accelerator.is_main_process:
            store(path, "dvae", net.model.config, net.model.state_dict(), source="einthoven.train.pretrain_heartbeit")
        accelerator.wait_for_everyone()
    return open_tokenizer(path)


def open_tokenizer(path: str | Path) -> DiscreteVAE:
    """A tokenizer that `pretrain` left, or DALL-E's encoder by its layout. Raises EcgError."""
    from einthoven.models.convert import contents, is_converted

    path = Path(path)
    if path.suffix == ".safetensors" and is_converted(path):
        state, name, config = contents(path)
        if name != "dvae":
            raise EcgError(f"holds {name}, no tokenizer", path=path)
        model = DiscreteVAE(**config)
        model.load_state_dict(state)
        model.eval()
    else:
        model = dall_e(path)
        model.eval()
    return model


def groups(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay; vectors, tokens and positions without, as BEiT does."""
    named = [(n, p) for n, p in net.named_parameters() if p.requires_grad]
    free = [p for n, p in named if p.ndim < 2 or n.endswith(("positions", "bias.table"))]
    return [
        {"params": [p for _, p in named if not any(p is q for q in free)], "weight_decay": decay},
        {"params": free, "weight_decay": 0.0},
    ]


def _run(stage: Stage, recipe: PretrainRecipe, source: Source, grid: tuple[int, int], accelerator: Accelerator) -> None:
    rank, world = accelerator.process_index, accelerator.num_processes
    if stage.batch % world:
        raise EcgError(f"a batch of {stage.batch} does not divide among {world} processes", where="recipe")
    steps = source.train // stage.batch
    if not steps:
        raise EcgError(f"{source.train} images to train on do not fill a batch of {stage.batch}", where="recipe")
    done = _restore(stage, recipe)
    net, optimizer = accelerator.prepare(stage.net, stage.optimizer)
    total, began = steps * stage.epochs, time.monotonic()
    for epoch in range(done // steps, stage.epochs):
        net.train()
        feed = Feed(source, recipe, grid, epoch, stage.batch, rank, world)
        for batch in _batches(feed, done - epoch * steps, recipe.workers):
            batch = Batch(*(x.to(accelerator.device, non_blocking=True) for x in batch))
            now = stage.rate(done, steps)
            for group in optimizer.param_groups:
                group["lr"] = now
            torch.manual_seed(_seed(recipe.seed, 4, done, rank))  # all that is drawn in a step follows from its number
            with accelerator.autocast():
                found = net(batch, done / max(total - 1, 1))
            accelerator.backward(found["loss"])
            norm = float(accelerator.clip_grad_norm_(net.parameters(), recipe.clip))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done += 1
            told = {name: float(value.detach()) for name, value in found.items()}
            if not math.isfinite(told["loss"]) or not math.isfinite(norm):
                raise EcgError(f"the loss is {told['loss']} at step {done}: a smaller rate, or fp32", path=stage.state.parent)
            if accelerator.is_main_process:
                row = {"step": done, "epoch": epoch + 1, **told, "gradient_norm": norm, "rate": now}
                _tell(stage.figures, {**row, "seconds": round(time.monotonic() - began, 3)})
                if done % recipe.checkpoint_every == 0 and done % steps:
                    _save(stage, recipe, done, accelerator.unwrap_model(net), optimizer)
        held = _judged(net, recipe, Feed(source, recipe, grid, -1, stage.batch, rank, world), accelerator)
        if accelerator.is_main_process:
            _tell(stage.figures, {"step": done, "epoch": epoch + 1, "validation": held})
            _save(stage, recipe, done, accelerator.unwrap_model(net), optimizer)
        accelerator.wait_for_everyone()


@torch.no_grad()  # type: ignore[untyped-decorator]
def _judged(net: nn.Module, recipe: PretrainRecipe, feed: Feed, accelerator: Accelerator) -> dict[str, float]:
    """The means of the terms over the held-out images."""
    net.eval()
    sums: dict[str, Tensor] = {}
    count = torch.zeros((), dtype=torch.float64, device=accelerator.device)
    for n, batch in enumerate(_batches(feed, 0, recipe.workers)):
        batch = Batch(*(x.to(accelerator.device) for x in batch))
        torch.manual_seed(_seed(recipe.seed, 5, n, feed.rank))
        with accelerator.autocast():
            found = net(batch, 1.0)
        for name, value in found.items():
            sums[name] = sums.get(name, torch.zeros_like(count)) + value.double() * len(batch.images)
        count += len(batch.images)
    means = accelerator.reduce(torch.stack([*sums.values(), count]), "sum")
    return {name: float(value / means[-1]) for name, value in zip(sums, means, strict=False)}


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


def _save(stage: Stage, recipe: PretrainRecipe, done: int, net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    state = {"net": net.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.write(stage.state, {"recipe": recipe.to_dict(), "step": done, **state})


def _restore(stage: Stage, recipe: PretrainRecipe) -> int:
    """Puts an earlier run's state in place; how many steps it had done. Figures it wrote beyond its checkpoint go."""
    if not stage.state.exists():
        stage.figures.unlink(missing_ok=True)
        return 0
    state = checkpoint.read(stage.state)
    idle = {"workers", "jobs", "checkpoint_every", "device"}
    then, now = state["recipe"], recipe.to_dict()
    changed = [f"{k}: {then.get(k)!r} -> {now[k]!r}" for k in now if k not in idle and then.get(k) != now[k]]
    if changed:
        raise EcgError(f"begun with another recipe ({'; '.join(changed)}): take another folder", path=stage.state.parent)
    stage.net.load_state_dict(state["net"])
    stage.optimizer.load_state_dict(state["optimizer"])
    if stage.figures.exists():
        lines = [line for line in stage.figures.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        kept = [line for line in lines if json.loads(line)["step"] <= state["step"]]
        stage.figures.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return int(state["step"])


def _tell(path: Path, row: Mapping[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _finish(folder: Path, recipe: PretrainRecipe, source: Source, net: Masking, tokenizer: DiscreteVAE | None) -> None:
    """The encoder for fine-tuning (each layer its own position bias) with what pre-training put on it under "objective.", and a
    summary of what it was trained on."""
    model, name = net.model, recipe.model.replace("_", "-")
    config = dict(model.config)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}
    if config.get("positions") == "shared":
        config["positions"] = "relative"
        with torch.device("meta"):
            state = build(name, **config).fitted(state)
    said = {OBJECTIVE + k: v for k, v in net.head.state_dict().items()}
    store(folder / WEIGHTS, name, config, state | said, source="einthoven.train.pretrain_heartbeit")
    lines = (folder / FIGURES).read_text(encoding="utf-8").splitlines()
    judged = [row for row in map(json.loads, lines) if "validation" in row]
    about = {
        "recipe": recipe.to_dict(),
        "form": by_form(recipe.form).to_dict(),
        "trained_on": source.train,
        "judged_by": source.held,
        "left_out": getattr(source, "left_out", 0),
        "tokenizer": None if tokenizer is None else tokenizer.config,
        "validation": judged[-1]["validation"] if judged else None,
        "note": "Research use only, not a medical device.",
    }
    with replacing(folder / SUMMARY) as draft:
        draft.write_text(json.dumps(about, indent=1), encoding="utf-8")


def main() -> None:
    """python -m einthoven.train.pretrain_heartbeit RECIPE.yaml --out FOLDER"""
    import argparse
    import sys

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", action="append", help="in place of the recipe's; more than once for more folders")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    parser.add_argument("--smoke", action="store_true", help="two steps on simulated ECGs: does the recipe start here?")
    o = parser.parse_args()
    try:
        recipe = PretrainRecipe.read(o.recipe)
        changes = {k: v for k, v in (("data", o.data), ("epochs", o.epochs)) if v is not None}
        changes |= SMOKE if o.smoke else {}
        print(pretrain(PretrainRecipe.from_dict({**recipe.to_dict(), **changes}), o.out))
    except EcgError as fault:
        sys.exit(f"error: {fault}")


if __name__ == "__main__":
    main()
