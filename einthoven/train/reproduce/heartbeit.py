"""HeartBEiT's tables 2 and 3 on PTB-XL: STEMI (and the superclasses) from 1, 10, 25, 50 and 100 % of the labelled ECGs, four
models.

Vaid A et al. HeartBEiT. npj Digit Med 2023;6:108. A BEiT is pre-trained on pictures of ECGs without labels, then fine-tuned
beside a ViT, an EfficientNet and a ResNet. Beside the paper's four models stands a fifth, the same BEiT from random weights:
only it tells what the pre-training is worth, which the second table says with a paired bootstrap.

The paper has no validation part: it reports the epoch that is best on the test. Here validation patients choose the epoch; the
paper's way stands beside it ("best epoch on test"), and is no estimate of anything. Where the head comes first, epoch 0 is that
head on the frozen network, which stays where no later epoch does better on the validation patients.

N images, K labels.
"""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data import Index, Labels, by_patient, labels_of
from einthoven.data.splits import fraction
from einthoven.evaluate import Resamples, interval, paired_bootstrap
from einthoven.evaluate.metrics import areas, macro
from einthoven.models.image.beit import POOLS
from einthoven.models.table import MODELS as TABLE
from einthoven.record import EcgError
from einthoven.represent.images import ImageForm, by_form, images
from einthoven.train.loop import Examples
from einthoven.train.recipe import Recipe
from einthoven.train.reproduce.material import data_of
from einthoven.train.reproduce.sheet import Kept, Sheet, paragraphs

F32 = NDArray[np.float32]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Log = Callable[[str], None]
Saliency = Callable[[Any, F32, int], tuple[Floats, str]]  # network, image (3, H, W), label -> (H, W) and the method's name

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
STEMI = "STEMI"
FRACTIONS = (0.01, 0.1, 0.25, 0.5, 1.0)
RATE = 1e-3  # the highest of fine-tuning, the paper's
DRAWS = 500  # of the bootstrap, the paper's
LEAST = 4  # patients of a fraction
ACUTE = ("Stadium I", "Stadium I-II")
INFARCTS = ("AMI", "ASMI", "ALMI", "IMI", "ILMI", "IPMI", "IPLMI", "LMI", "PMI")


@dataclass(frozen=True)
class Arm:
    """`table` the row of models/table.py; `pretrained`: starts from the pre-training's weights; `paper` its column there."""

    name: str
    table: str
    pretrained: bool = False
    paper: str = ""
    optimizer: str = "adam"


ARMS: Mapping[str, Arm] = MappingProxyType(
    {
        arm.name: arm
        for arm in (
            Arm("heartbeit", "beit-base", True, "heartbeit", "adamw"),
            Arm("beit, not pre-trained", "beit-base", False, "", "adamw"),
            Arm("vit", "vit-base", False, "vit"),
            Arm("efficientnet", "efficientnet-b4", False, "efficientnet"),
            Arm("resnet", "resnet-152", False, "resnet"),
        )
    }
)
FRESH = "beit, not pre-trained"

# STEMI, PTB-XL, "internal testing": AUROC (table 2) and AUPRC (table 3) at FRACTIONS.
PRINTED_AUROC: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "vit": (0.80, 0.81, 0.79, 0.77, 0.79),
        "efficientnet": (0.84, 0.88, 0.91, 0.92, 0.93),
        "resnet": (0.84, 0.89, 0.92, 0.93, 0.94),
        "heartbeit": (0.88, 0.92, 0.93, 0.94, 0.95),
    }
)
PRINTED_AUPRC: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "vit": (0.27, 0.26, 0.20, 0.15, 0.17),
        "efficientnet": (0.40, 0.54, 0.60, 0.62, 0.64),
        "resnet": (0.47, 0.56, 0.58, 0.59, 0.68),
        "heartbeit": (0.56, 0.58, 0.65, 0.64, 0.67),
    }
)

NOTES = paragraphs("""
    Intervals are 95 %, 500 bootstraps over patients (the paper's over records: most of its intervals are one value). The epoch
    is the one with the lowest loss on validation patients, who are the same at every fraction and are labels, too. "Best epoch
    on test" is the highest test figure of any epoch, as the paper reports: it has seen the test, and is here to be compared
    with the paper's figures only.

    AUPRC is printed twice: by trapezoids, as in the paper, which interpolates where no threshold leads (Davis and Goadrich
    2006), and as average precision, which does not.

    What a STEMI is in PTB-XL the paper does not say, and its label's file is not public; it counts 5.7 %. Here: a statement of
    infarction of which the reader gave stage I or I-II (infarction_stadium1, infarction_stadium2), or a statement of injury
    (INJAS, INJAL, INJIN, INJIL, INJLA). PTB-XL calls the latter subendocardial injury, which is no ST elevation by the
    textbook; and STE_ (unspecific ST elevation) is not counted.

    The baselines of the paper come trained on ImageNet; no such weights are at hand (--weights MODEL=FILE takes them), so they
    start from random numbers unless the line "start" says otherwise. Nothing here speaks for or against transfer from
    photographs.

    "beit, not pre-trained" is the same network as HeartBEiT, trained in the same way on the same ECGs: the difference between
    the two is what the pre-training is worth, with the interval of a paired bootstrap over the test's patients, of the mean
    over several draws of the labelled patients where so stated. The paper has no such arm.

    The paper contradicts itself. Its text has HeartBEiT ahead of EfficientNet by 1.1 % and of ResNet by 2.2 % for STEMI at all
    ECGs; table 2 has it the other way round (.95 to .93 and .94). Its text has an AUPRC of .68 for EfficientNet there; table 3
    has it for ResNet. Patches are 16 pixels in the text and 14 in figure 1 (which are 14 x 14 in number). 17,449 and 4,352 ECGs
    are 21,801, of 21,799. "Adam for all" in the text; the published code takes AdamW for HeartBEiT, as here.
""")


@dataclass(frozen=True)
class Size:
    """How much is trained. `options` by row of the table; `epochs` by fraction of the labelled ECGs; `draws` by fraction: on
    how many draws of patients HeartBEiT and the same network without pre-training are compared; `apart`: a network for STEMI
    and one for the superclasses (one for both else); `records` at most of each part; `pretraining` and, by arm, `tuning`
    what differs from the recipe's own."""

    name: str
    words: str
    form: str
    batch: int
    epochs: Mapping[float, int]
    draws: Mapping[float, int] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    apart: bool = False
    records: int | None = None
    precision: str = "bf16"
    split: str = "last fold"


_BLOCKS: Mapping[str, Any] = {"patch": [28, 14], "width": 128, "depth": 6, "heads": 4}
_HEAD_FIRST: Mapping[str, Any] = {
    **{"head_first": True, "learning_rate": 3e-4},
    "epochs": {0.01: 8, 0.1: 8, 0.25: 8, 0.5: 6, 1.0: 5},
}
SHORT_EFFICIENTNET: Mapping[str, Any] = {
    **{"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640, "depthwise_padding": [], "dropout_rate": 0.2},
    **{"kernel_sizes": [3, 3, 5, 3], "in_channels": [32, 16, 24, 40], "out_channels": [16, 24, 40, 80]},
    **{"strides": [2, 2, 2, 2], "num_block_repeats": [1, 2, 2, 2], "expand_ratios": [1, 6, 6, 6]},
}
SHORT_RESNET: Mapping[str, Any] = {"embedding_size": 16, "hidden_sizes": [32, 64, 128, 256], "depths": [1, 1, 1, 1]}
_SIZES = (
    Size(
        "smoke", "models of the tests at 32 x 32 pixels, one epoch: shows that all of it runs",
        form="heartbeit-32", batch=8, epochs=dict.fromkeys(FRACTIONS, 1), draws={0.1: 2},
        options={a.table: dict(TABLE[a.table].tiny) for a in ARMS.values()},
        pretraining={"batch": 4, "epochs": 1, "warmup": 0, "masked": 6, "block": 2, "target": "pixels"},
        records=48, precision="fp32",
    ),
    Size(
        "short",
        "tiny counterparts at 224 x 224: BEiT and ViT of 6 layers of width 128 with patches of 28 x 14 pixels (one lead high, "
        "0.3 s long), EfficientNet and ResNet at a fraction of their width and depth; batch 16; 12, 12, 8, 4, 4 epochs at "
        "1e-3; BEiT from either start: the mean of each row of patches to the head, the head first by logistic regression, "
        "then all layers for 8, 8, 8, 6, 5 epochs at 3e-4; pre-training for 10 epochs of 9 windows of each record, hidden "
        "patches drawn as in MAE",
        form="heartbeit", batch=16, epochs={0.01: 12, 0.1: 12, 0.25: 8, 0.5: 4, 1.0: 4}, draws={0.01: 5, 0.1: 5, 0.25: 3},
        options={
            "beit-base": {**_BLOCKS, "drop_path": 0.0, "layer_scale": 0.0, "positions": "waves", "pool": "rows"},
            "vit-base": _BLOCKS,
            "efficientnet-b4": {"options": SHORT_EFFICIENTNET},
            "resnet-152": {"options": SHORT_RESNET},
        },
        pretraining={
            "windows": 9, "target": "pixels", "visible_only": True, "masking": "patches", "masked": 96,
            "learning_rate": 1.5e-3, "betas": (0.9, 0.95), "warmup": 0.5, "epochs": 10, "batch": 64, "precision": "bf16",
            "checkpoint_every": 100,
        },
        tuning={"heartbeit": _HEAD_FIRST, FRESH: _HEAD_FIRST},
    ),
    Size(
        "paper", "as in the paper: BEiT-base, ViT-B/16, EfficientNet-B4, ResNet-152, 30 epochs, batch 32, one cycle to 1e-3; "
        "pre-training by recipes/pretrain-heartbeit.yaml; a network for each outcome",
        form="heartbeit", batch=32, epochs=dict.fromkeys(FRACTIONS, 30), draws={0.01: 5, 0.1: 3, 0.25: 3},
        pretraining={"options": {"layer_scale": 0.1, "drop_path": 0.1}, "codes": 8192, "hidden": 64, "precision": "bf16",
                     "workers": 8},
        apart=True, split="patients",
    ),
)  # fmt: skip
SIZES: Mapping[str, Size] = MappingProxyType({size.name: size for size in _SIZES})


@dataclass(frozen=True)
class Settings:
    """`data` a dataset of labelled ECGs (PTB-XL), None: simulated; `unlabelled` others to pre-train on beside it; `weights` by
    arm, what to start from: of heartbeit a pre-training's, which then is not run; `workers` trials side by side.

    Where they are not the size's own: `epochs` and `rate` of fine-tuning; `form` the pictures to fine-tune on (heartbeit-448:
    thin traces keep twice the pixels); `tiles` (rows, columns) that BEiT and ViT cut them into; `patch` (height, width) of
    their patches; `pool` what BEiT's head sees of them. Pre-training stays at the size's own, and its positions are
    interpolated or, where a tile is as large as its picture, taken as they are."""

    data: str | None = None
    unlabelled: tuple[str, ...] = ()
    size: str = "short"
    arms: tuple[str, ...] = tuple(ARMS)
    fractions: tuple[float, ...] = FRACTIONS
    weights: Mapping[str, str] = field(default_factory=dict)
    epochs: int | None = None
    rate: float | None = None
    form: str | None = None
    tiles: tuple[int, int] = (1, 1)
    patch: tuple[int, int] | None = None
    pool: str | None = None
    device: str = "auto"
    seed: int = 0
    jobs: int = 1
    workers: int = 1

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise EcgError(f"no size {self.size} (there are: {', '.join(SIZES)})")
        for arm in (*self.arms, *self.weights):
            if arm not in ARMS:
                raise EcgError(f"no model {arm} (there are: {', '.join(ARMS)})")
        if FRESH in self.weights:
            raise EcgError(f"{FRESH} starts from random weights: none can be given")
        wrong = [f for f in self.fractions if f not in FRACTIONS]
        if wrong or not self.fractions:
            raise EcgError(f"fractions are of {', '.join(map(str, FRACTIONS))}, not {', '.join(map(str, wrong)) or 'none'}")
        if self.workers < 1:
            raise EcgError(f"{self.workers} trials side by side: one at least")
        if self.pool not in (None, *POOLS):
            raise EcgError(f"pool is one of {', '.join(POOLS)}, not {self.pool}")
        if self.patch is not None and min(self.patch) < 1:
            raise EcgError(f"a patch has one pixel at least, not {self.patch[0]} x {self.patch[1]}")
        if min(self.tiles) < 1:
            raise EcgError(f"an image is cut into one tile at least, not {self.tiles[0]} x {self.tiles[1]}")
        if self.form is not None:
            by_form(self.form)


class Pictures(Examples):
    """x (N, H, W) uint8, scaled as the image form says when a batch is made of them."""

    form: ImageForm

    def inputs(self, rows: Rows | slice) -> F32:
        from einthoven.represent.images import scaled

        return scaled(self.form, np.asarray(self.x[rows], np.uint8))


def pictures(form: ImageForm, x: NDArray[np.uint8], y: F32) -> Pictures:
    made = Pictures(x, y)
    object.__setattr__(made, "form", form)
    return made


@dataclass(frozen=True)
class Task:
    """`title`, and which columns of the labels a network learns."""

    title: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One training, as plain values, so that another process can do it. `pixels` an .npy of (N, H, W), `labels` of (N, K)."""

    arm: str
    task: Task
    share: float
    draw: int
    size: str
    form: str
    tiles: tuple[int, int]
    epochs: int
    rate: float
    device: str
    seed: int
    weights: str | None
    pixels: str
    labels: str
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    work: str
    model: str | None  # where the trained network is kept, for the saliency
    pool: str | None = None
    patch: tuple[int, int] | None = None

    @property
    def key(self) -> str:
        return f"{self.task.title}/{self.arm}/{self.share:g}/{self.draw}"


def _options(arm: Arm, size: Size, form: ImageForm, of: Settings | Job) -> dict[str, Any]:
    """What the arm's network is built with."""
    own: dict[str, Any] = {}
    if arm.table in ("beit-base", "vit-base"):
        own |= {"tiles": list(of.tiles)} if of.tiles != (1, 1) else {}
        own |= {"patch": list(of.patch)} if of.patch else {}
    if arm.table == "beit-base" and of.pool:
        own["pool"] = of.pool
    return {**size.options.get(arm.table, {}), "size": list(form.size), **own}


def trial(job: Job) -> dict[str, Any]:
    """Trains by `job` and answers on the test: "logits" (n, K) of the epoch that validation chose, "each" those of every epoch
    (draw 0), and what it cost."""
    import torch

    from einthoven.models.convert import load
    from einthoven.models.table import build
    from einthoven.train.finetune import new_accelerator
    from einthoven.train.head_first import head_first
    from einthoven.train.loop import fit, predict
    from einthoven.train.losses import Objective

    size, arm = SIZES[job.size], ARMS[job.arm]
    form = by_form(job.form)
    words = {k: v for k, v in size.tuning.get(job.arm, {}).items() if k not in ("epochs", "learning_rate")}
    begins = words.pop("head_first", False)
    recipe = Recipe.from_dict(
        {
            "model": arm.table, "optimizer": arm.optimizer, "learning_rate": job.rate, "schedule": "onecycle",
            "epochs": job.epochs, "patience": 0, "batch": size.batch, "device": job.device, "precision": size.precision,
            "seed": job.seed + job.draw, "weight_decay": 0.05 if arm.optimizer == "adamw" else 0.0,
            **words,
        }
    )  # fmt: skip
    if recipe.device == "cpu":
        torch.set_num_threads(max(1, torch.get_num_threads()))
    accelerator = new_accelerator(recipe)
    torch.manual_seed(recipe.seed)
    net = build(arm.table, outputs=len(job.task.names), **_options(arm, size, form, job))
    if job.weights is not None:
        load(job.weights, net)
    x = np.load(job.pixels, mmap_mode="r", allow_pickle=False)
    y = np.load(job.labels, allow_pickle=False)
    data = pictures(form, x, y)
    train, validation, test = (np.asarray(rows, np.int64) for rows in (job.train, job.validation, job.test))
    work = Path(job.work)
    work.mkdir(parents=True, exist_ok=True)
    each: list[Any] = []
    still: tuple[float, Any] | None = None
    if begins:
        _, loss = head_first(net, data, train, validation, accelerator, batch=4 * recipe.batch)
        still = loss, {name: t.detach().clone() for name, t in net.state_dict().items()}

    def report(row: dict[str, Any], best: int) -> None:
        if job.draw == 0:
            each.append(predict(net, data, test, accelerator, 4 * recipe.batch).round(5).tolist())
            net.train()

    done = fit(
        net, data, train, validation, Objective("multilabel", np.ones(y.shape[1], np.float32)), recipe, accelerator, work,
        rate=job.rate, report=report
    )  # fmt: skip
    bare = accelerator.unwrap_model(net)
    if still is not None and still[0] < done.best:  # nothing that came after was better on the validation patients
        bare.load_state_dict(still[1])
        done.best_epoch = -1
    logits = predict(bare, data, test, accelerator, 4 * recipe.batch)
    if job.model is not None:
        from safetensors.torch import save_file

        path = Path(job.model)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.detach().cpu().clone().contiguous() for name, t in bare.state_dict().items()}, path)
    shutil.rmtree(work)
    return {
        "logits": logits.round(5).tolist(), "each": each, "parameters": sum(p.numel() for p in bare.parameters()),
        "epochs": len(done.history), "best": done.best_epoch + 1, "seconds": round(done.seconds, 1),
    }  # fmt: skip


# ---- data ----------------------------------------------------------------------------------------------------------------


def stemi(index: Index, folder: str | None) -> NDArray[np.bool_]:
    """(N,) see NOTES. The stages stand in PTB-XL's table only: `folder` has it, or they are not known and do not count."""
    stages = stages_of(Path(folder)) if folder else {}
    said = []
    for record, codes in zip(index.column("record"), index.column("codes"), strict=True):
        own = {code.removeprefix("scp:") for code in codes if code.startswith("scp:")}
        acute = bool(stages.get(record, set()) & set(ACUTE)) and bool(own & set(INFARCTS))
        said.append(acute or any(code.startswith("INJ") for code in own))
    return np.array(said, bool)


def stages_of(folder: Path) -> dict[str, set[str]]:
    """Record -> the stages of infarction that PTB-XL's table gives it; empty where there is no such table."""
    table = folder / "ptbxl_database.csv"
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8", newline="") as file:
        return {
            f"ptbxl:{row['ecg_id']}": {row.get("infarction_stadium1") or "", row.get("infarction_stadium2") or ""} - {""}
            for row in csv.DictReader(file)
        }


def labelled(index: Index, folder: str | None) -> Labels:
    """The superclasses, and STEMI where any record is one."""
    found = labels_of(index, "superclass", names=SUPERCLASSES)
    there = [n for n, count in zip(found.names, found.positives, strict=True) if count]
    found = found.only(there)
    acute = stemi(index, folder).astype(np.float32)
    if not acute.any():
        return found
    acute[~np.isfinite(found.matrix).any(1)] = np.nan
    return Labels((*found.names, STEMI), np.concatenate([found.matrix, acute[:, None]], 1), "multilabel")


@dataclass(frozen=True)
class Parts:
    """Rows of the Index: `pool` labelled ECGs to draw fractions of, `validation` (chooses the epoch), `test`."""

    pool: Rows
    validation: Rows
    test: Rows
    words: str


def parts_of(index: Index, labels: Labels, how: str, seed: int) -> Parts:
    """`how` "last fold": the last official fold is the test (patients are whole in folds), or "patients": a fifth of the
    patients by the paper's seed, 42. An eighth of the other patients chooses the epoch. Without folds: "patients"."""
    folds, known = np.asarray(index.column("fold")), labels.known
    there = sorted(set(folds.tolist()) - {-1})
    if how == "last fold" and len(there) > 1:
        test = known[folds[known] == there[-1]]
        words = f"test: fold {there[-1]} ({len(test)} ECGs), the others' patients to train and choose with"
    else:
        test = by_patient(index, (0.8, 0.0, 0.2), rows=known, seed=42).test
        words = f"test: a fifth of the patients, drawn with seed 42 ({len(test)} ECGs)"
    rest = known[~np.isin(known, test)]
    split = by_patient(index, (0.875, 0.125, 0.0), labels=labels, rows=rest, seed=seed)
    return Parts(split.train, split.validation, test, f"{words}; {len(split.train)} and {len(split.validation)} ECGs")


def reproduce(
    settings: Settings, out: Path, *, fresh: bool = False, log: Log = print, saliency: Saliency | None = None
) -> Sheet:
    """Pre-trains, then all trials; each that is done is kept, and the same call after a kill goes on. Writes heartbeit.md,
    .csv, .json, .png and, with `saliency`, heartbeit-saliency.png into `out`. Raises EcgError for data without labels, and
    settings that are not those of `out`."""
    started = time.perf_counter()
    size = SIZES[settings.size]
    said = {k: v for k, v in asdict(settings).items() if k not in ("jobs", "workers", "device", "arms", "fractions")}
    kept = Kept(out, {"heartbeit": said}, fresh=fresh)
    index = data_of(settings.data, out / "data", settings.jobs)
    labels = labelled(index, settings.data)
    parts = parts_of(index, labels, size.split, settings.seed)
    if size.records is not None:
        some = (parts.pool[: size.records], parts.validation[: size.records // 2], parts.test[: size.records])
        parts = Parts(*some, f"{parts.words}; at most {size.records} of each")
    log(parts.words)
    weights = dict(settings.weights)
    if "heartbeit" in settings.arms and "heartbeit" not in weights:
        weights["heartbeit"] = str(_pretrained(settings, size, index, parts, out, log))
    pixels, truth = _arrays(index, labels, settings.form or size.form, out, settings.jobs)
    tasks = _tasks(labels, size.apart)
    jobs = _jobs(settings, size, index, labels, parts, tasks, weights, pixels, truth, out)
    for job, result in _all(jobs, kept, settings.workers, log):
        log(f"  {job.key}: epoch {result['best']} of {result['epochs']}, {result['seconds']:.0f} s")
    results = {job.key: (job, kept.done[job.key]) for job in jobs}
    people = np.asarray(index.column("patient"))[parts.test]
    held = np.asarray(labels.matrix[parts.test], np.float64)
    rows = _rows(settings, labels, held, people, results)
    sheet = Sheet(
        "HeartBEiT, tables 2 and 3: the paper's figures and ours", COLUMNS, tuple(rows),
        _about(settings, size, index, labels, parts, weights), NOTES,
        settings={**asdict(settings), "seconds": round(time.perf_counter() - started)},
        second=("What the pre-training is worth", tuple(_worth(settings, labels, held, people, results))),
    )  # fmt: skip
    sheet.write(out, "heartbeit")
    _draw(rows, out / "heartbeit.png")
    if saliency is not None:
        _saliency(saliency, settings, size, labels, parts, results, pixels, out / "heartbeit-saliency.png", log)
    return sheet


def _pretrained(settings: Settings, size: Size, index: Index, parts: Parts, out: Path, log: Log) -> Path:
    """The weights of a BEiT that saw the pictures of all that is neither test nor a copy of it, without labels."""
    from einthoven.train.pretrain_heartbeit import Indexed, PretrainRecipe, pretrain

    row = ARMS["heartbeit"].table
    words = {
        "data": [settings.data or "synth", *settings.unlabelled] if settings.data else ["synth"],
        "form": size.form, "model": row, "validation": 0.05, "device": settings.device, "seed": settings.seed,
        "jobs": settings.jobs, **({"options": dict(size.options[row])} if row in size.options else {}), **size.pretraining,
    }  # fmt: skip
    recipe = PretrainRecipe.from_dict(words)
    from einthoven.data.load import load

    place = out / "pretraining"
    own = index.select(np.setdiff1d(np.arange(len(index)), parts.test))
    held = set(index.select(parts.test).column("record"))
    others = []
    for i, path in enumerate(settings.unlabelled):
        other = load(path, folder=out / f"unlabelled-{i}", jobs=settings.jobs)
        free = [same not in held for same in other.column("same_as")]
        others.append(other.select(np.flatnonzero(free)))
    recipe = replace(recipe, leave_out_folds=())  # the test is left out by name
    source = Indexed([own, *others], recipe, place / "images")
    log(f"pre-training on {source.train} pictures without labels, {recipe.epochs} epochs")
    return pretrain(recipe, place, source=source)


def _arrays(index: Index, labels: Labels, form: str, out: Path, jobs: int) -> tuple[Path, Path]:
    """All pictures and labels as .npy, drawn once. What cannot be drawn has no label."""
    pixels, truth = out / "inputs" / f"{form}.npy", out / "inputs" / "labels.npy"
    if not (pixels.exists() and truth.exists()):
        failed: dict[int, str] = {}
        drawn = images(index, form, folder=out / "inputs", jobs=jobs, failed=failed)[:]
        matrix = labels.matrix.astype(np.float32)
        matrix[list(failed)] = np.nan
        for path, array in ((pixels, drawn), (truth, matrix)):
            draft = path.with_name(path.name + ".part.npy")
            np.save(draft, array, allow_pickle=False)
            draft.replace(path)
    return pixels, truth


def _tasks(labels: Labels, apart: bool) -> list[Task]:
    if not apart or STEMI not in labels.names:
        return [Task("together", labels.names)]
    return [Task(STEMI, (STEMI,)), Task("superclasses", tuple(n for n in labels.names if n != STEMI))]


def _jobs(
    settings: Settings, size: Size, index: Index, labels: Labels, parts: Parts, tasks: Sequence[Task],
    weights: Mapping[str, str], pixels: Path, truth: Path, out: Path,
) -> list[Job]:  # fmt: skip
    """HeartBEiT and its counterpart first, so that what a run that is stopped has is of use."""
    made = []
    for task in tasks:
        columns = truth
        if task.names != labels.names:
            columns = truth.with_name(f"labels-{task.title}.npy")
            its = [labels.names.index(n) for n in task.names]
            np.save(columns, np.load(truth, allow_pickle=False)[:, its], allow_pickle=False)
        for arm in settings.arms:
            for share in settings.fractions:
                compared, own = arm in ("heartbeit", FRESH), size.tuning.get(arm, {})
                for draw in range(size.draws.get(share, 1) if compared else 1):
                    most = max(share, min(LEAST / len(parts.pool), 1.0))  # batch norm has no statistics of one record
                    chosen = fraction(index, parts.pool, most, labels=labels, seed=settings.seed + draw)
                    name = f"{task.title}-{arm}-{share:g}-{draw}".replace(" ", "-").replace(",", "")
                    made.append(
                        Job(
                            arm=arm,
                            task=task,
                            share=share,
                            draw=draw,
                            size=size.name,
                            form=settings.form or size.form,
                            tiles=settings.tiles,
                            epochs=settings.epochs or own.get("epochs", size.epochs)[share],
                            rate=settings.rate or own.get("learning_rate") or RATE,
                            device=settings.device,
                            seed=settings.seed,
                            weights=weights.get(arm),
                            pixels=str(pixels),
                            labels=str(columns),
                            train=tuple(chosen.tolist()),
                            validation=tuple(parts.validation.tolist()),
                            test=tuple(parts.test.tolist()),
                            work=str(out / "work" / name),
                            pool=settings.pool,
                            patch=settings.patch,
                            model=str(out / "models" / f"{name}.safetensors") if share == 1.0 and draw == 0 else None,
                        )
                    )  # fmt: skip
    return made


def _all(jobs: Sequence[Job], kept: Kept, workers: int, log: Log) -> list[tuple[Job, dict[str, Any]]]:
    """The trials that are not done yet, `workers` side by side; each is kept as it ends."""
    todo = [job for job in jobs if job.key not in kept.done]
    log(f"{len(todo)} of {len(jobs)} trials are to be run")
    if workers == 1:
        return [(job, kept.get(job.key, lambda job=job: trial(job))) for job in todo]  # type: ignore[misc]
    done = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(trial, job): job for job in todo}
        for future in as_completed(waiting):
            job = waiting[future]
            result = future.result()
            done.append((job, kept.get(job.key, lambda result=result: result)))  # type: ignore[misc]
    return done


# ---- tables --------------------------------------------------------------------------------------------------------------

COLUMNS = (
    *("outcome", "model", "share", "ECGs trained on", "AUROC", "paper AUROC", "AUPRC trapezoid", "paper AUPRC"),
    *("average precision", "best epoch on test: AUROC", "best epoch on test: AUPRC", "parameters", "epoch", "seconds"),
)


def _rows(
    settings: Settings, labels: Labels, held: Floats, people: NDArray[Any], results: Mapping[str, tuple[Job, Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """A row an outcome, model and fraction (draw 0): STEMI, the mean of the superclasses, each superclass."""
    resamples = Resamples.of(people, len(held), DRAWS, settings.seed)
    classes = tuple(n for n in labels.names if n != STEMI)
    made = []
    for job, result in results.values():
        if job.draw:
            continue
        score = np.asarray(result["logits"], np.float64)
        truth = held[:, [labels.names.index(n) for n in job.task.names]]
        learned = np.load(job.labels, allow_pickle=False)[list(job.train)]
        groups_ = [(STEMI, (STEMI,)), ("superclasses, mean", classes), *((n, (n,)) for n in classes)]
        for outcome, names in groups_:
            if not set(names) <= set(job.task.names):
                continue
            at = [job.task.names.index(n) for n in names]
            if outcome == STEMI and not (learned[:, at] == 1).any():
                continue  # nobody to learn it from: the figure would be of random numbers
            y, s = truth[:, at], score[:, at]

            def figures_of(w: NDArray[np.float64], y: Any = y, s: Any = s) -> Any:
                return np.stack([macro(a) for a in areas(y, s, w)], -1)

            drawn = resamples.apply(figures_of)
            low, high, _ = interval(drawn)
            value = [float(macro(a)) for a in areas(y, s)]
            figures = [_bounds(v, lo, hi) for v, lo, hi in zip(value, low, high, strict=True)]
            best = [areas(y, np.asarray(e, np.float64)[:, at]) for e in result["each"]]
            place = FRACTIONS.index(job.share)
            printed = ARMS[job.arm].paper if outcome == STEMI else ""
            made.append(
                {
                    "outcome": outcome, "model": job.arm, "share": f"{job.share:.0%}", "ECGs trained on": len(job.train),
                    "AUROC": figures[0], "paper AUROC": PRINTED_AUROC[printed][place] if printed else None,
                    "AUPRC trapezoid": figures[2], "paper AUPRC": PRINTED_AUPRC[printed][place] if printed else None,
                    "average precision": figures[1],
                    "best epoch on test: AUROC": max(float(macro(b.auroc)) for b in best),
                    "best epoch on test: AUPRC": max(float(macro(b.auprc_trapezoid)) for b in best),
                    "parameters": result["parameters"], "epoch": result["best"], "seconds": result["seconds"],
                }
            )  # fmt: skip
    order = {o: i for i, o in enumerate((STEMI, "superclasses, mean", *classes))}
    arms = {a: i for i, a in enumerate(settings.arms)}
    return sorted(made, key=lambda r: (order[r["outcome"]], FRACTIONS.index(_share(r["share"])), arms[r["model"]]))


def _share(word: str) -> float:
    return float(word.rstrip("%")) / 100


def _bounds(value: float, low: float, high: float) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in (value, low, high)]


def _worth(
    settings: Settings, labels: Labels, held: Floats, people: NDArray[Any], results: Mapping[str, tuple[Job, Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """HeartBEiT less the same network without pre-training, mean AUROC of the superclasses, over all draws of a fraction."""
    classes = tuple(n for n in labels.names if n != STEMI)
    made = []
    for share in settings.fractions:
        pairs = []
        for job, result in results.values():
            if job.arm != "heartbeit" or job.share != share or not set(classes) <= set(job.task.names):
                continue
            other = results.get(f"{job.task.title}/{FRESH}/{share:g}/{job.draw}")
            if other is not None:
                at = [job.task.names.index(n) for n in classes]
                pairs.append([np.asarray(r["logits"], np.float64)[:, at] for r in (result, other[1])])
        if not pairs:
            continue
        truth = np.tile(held[:, [labels.names.index(n) for n in classes]], len(pairs))
        # Each draw's scores are columns of their own: the mean over all columns is the mean over draws of the macro AUROC.
        ours, theirs = (np.concatenate([pair[i] for pair in pairs], 1) for i in (0, 1))
        found = paired_bootstrap(truth, ours, theirs, _macro_auroc, "macro AUROC", people, draws=2000, seed=settings.seed)
        sample = next(job for job, _ in results.values() if job.arm == "heartbeit" and job.share == share)
        made.append(
            {
                "share": f"{share:.0%}", "ECGs trained on": len(sample.train), "draws": len(pairs),
                "pre-trained": found.a, "not pre-trained": found.b,
                "difference": found.difference, "95 % from": found.low, "to": found.high, "p": found.p,
            }
        )  # fmt: skip
    return made


def _macro_auroc(truth: Floats, score: Floats, weights: Floats) -> Floats:
    return macro(areas(truth, score, weights).auroc)


def _about(
    settings: Settings, size: Size, index: Index, labels: Labels, parts: Parts, weights: Mapping[str, str]
) -> dict[str, Any]:
    counts = {n: int((labels.matrix[:, k] == 1).sum()) for k, n in enumerate(labels.names)}
    about = {
        "data": (
            Path(settings.data).name if settings.data else "simulated ECGs (einthoven.synth): nothing here is about patients"
        )
        + f" ({len(index)} records)",
        "parts": parts.words,
        "size": f"{size.name}: {size.words}" + (f"; {settings.epochs} epochs" if settings.epochs else ""),
        "labels": ", ".join(f"{n} {c}" for n, c in counts.items()),
    }
    if STEMI in labels.names:
        k = labels.names.index(STEMI)
        pool, test = (int((labels.matrix[rows, k] == 1).sum()) for rows in (parts.pool, parts.test))
        about["STEMI"] = f"{pool} to learn from, {test} in the test" + (
            ": a figure from so few says next to nothing, whatever its interval; the superclasses are what can be looked at"
            if test < 30
            else ""
        )
    else:
        about["STEMI"] = "no record is one: only the superclasses are judged"
    starts = [f"{a}: pre-trained here without labels" for a in settings.arms if a == "heartbeit" and a not in settings.weights]
    starts += [f"{a}: {Path(p).parent.name}/{Path(p).name}" for a, p in settings.weights.items()]
    starts += [f"{a}: random weights" for a in settings.arms if a not in weights]
    about["start"] = "; ".join(starts)
    form = by_form(settings.form or size.form)
    about["pictures"] = f"{form.name}, {form.size[0]} x {form.size[1]} pixels" + (
        f"; BEiT and ViT see {settings.tiles[0]} x {settings.tiles[1]} tiles" if settings.tiles != (1, 1) else ""
    )
    if settings.patch:
        about["pictures"] += f"; patches of BEiT and ViT {settings.patch[0]} x {settings.patch[1]}"
    if settings.pool:
        about["pictures"] += (
            f"; BEiT's head sees the mean of {'all patches' if settings.pool == 'mean' else 'each row of patches'}"
        )
    about["settings"] = (
        (f"rate {settings.rate:g}" if settings.rate else "rates as the size says")
        + ", one cycle"
        + (f"; pre-training also on {', '.join(Path(p).name for p in settings.unlabelled)}" if settings.unlabelled else "")
    )
    return about


# ---- figures -------------------------------------------------------------------------------------------------------------

_COLOURS = ("#b2452f", "#1f5a99", "#3c7d3f", "#7a5195", "#8a6d1f")


def _draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """AUROC over the share of labelled ECGs, a line a model: STEMI (the paper's beside it) and the superclasses' mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [o for o in (STEMI, "superclasses, mean") if any(r["outcome"] == o for r in rows)]
    arms = list(dict.fromkeys(r["model"] for r in rows))
    figure = Figure(figsize=(4.6 * len(panels) + 0.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, outcome in zip(axes, panels, strict=True):
        for i, arm in enumerate(arms):
            own = [r for r in rows if r["outcome"] == outcome and r["model"] == arm]
            x = np.array([_share(r["share"]) * 100 for r in own]) * (1 + 0.05 * (i - len(arms) / 2))
            colour = _COLOURS[i % len(_COLOURS)]
            value, low, high = (np.array([np.nan if r["AUROC"][j] is None else r["AUROC"][j] for r in own]) for j in range(3))
            axis.vlines(x, low, high, color=colour, lw=1.2, alpha=0.6)
            axis.plot(x, value, "o-", color=colour, ms=4, lw=1.4, label=arm)
            if outcome == STEMI and ARMS[arm].paper:
                axis.plot([100 * f for f in FRACTIONS], PRINTED_AUROC[ARMS[arm].paper], ":", color=colour, lw=1)
        axis.set_xscale("log")
        axis.set_xticks([1, 10, 25, 50, 100], ["1", "10", "25", "50", "100"])
        axis.minorticks_off()
        axis.set_xlabel("% of the labelled ECGs", fontsize=9)
        axis.set_ylabel("AUROC", fontsize=9)
        axis.set_ylim(0.3, 1)
        axis.set_title(outcome + (" (dotted: the paper, on its own data)" if outcome == STEMI else ""), fontsize=9)
        axis.grid(color="#dddddd", lw=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    handles, names = axes[-1].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 3), fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)


def _saliency(
    saliency: Saliency, settings: Settings, size: Size, labels: Labels, parts: Parts,
    results: Mapping[str, tuple[Job, Mapping[str, Any]]], pixels: Path, path: Path, log: Log,
) -> None:  # fmt: skip
    """One test ECG with the outcome (the one of which the models together are surest), and on it what speaks for it in each
    model that was trained on all ECGs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from safetensors.torch import load_file

    from einthoven.models.table import build
    from einthoven.represent.images import scaled

    full = [(job, result) for job, result in results.values() if job.model is not None and Path(job.model).exists()]
    outcome = STEMI if STEMI in labels.names and (labels.matrix[parts.test, labels.names.index(STEMI)] == 1).any() else "MI"
    full = [(job, result) for job, result in full if outcome in job.task.names]
    if not full:
        log("no saliency: no model was trained on all ECGs")
        return
    sure = np.mean([np.asarray(r["logits"])[:, j.task.names.index(outcome)] for j, r in full], axis=0)
    known = labels.matrix[parts.test, labels.names.index(outcome)] == 1
    row = int(parts.test[np.flatnonzero(known)[sure[known].argmax()]]) if known.any() else int(parts.test[sure.argmax()])
    form = by_form(settings.form or size.form)
    picture = np.array(np.load(pixels, mmap_mode="r", allow_pickle=False)[row])
    x = scaled(form, picture[None])[0]
    columns = min(len(full), 3)
    lines = -(-len(full) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.9 * lines + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (job, result) in zip(axes, full, strict=False):
        net = build(
            ARMS[job.arm].table,
            outputs=len(job.task.names),
            **_options(ARMS[job.arm], size, form, settings),
        )  # fmt: skip
        net.load_state_dict(load_file(str(job.model)))
        net.eval()
        k = job.task.names.index(outcome)
        found, method = saliency(net, x, k)
        heat = np.maximum(found, 0)
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.imshow(heat, cmap="inferno_r", alpha=np.clip(heat / max(float(heat.max()), 1e-12), 0, 1) * 0.7)
        place = list(parts.test).index(row)
        chance = 1 / (1 + np.exp(-float(np.asarray(result["logits"])[place, k])))
        axis.set_title(f"{job.arm}\n{outcome}: {chance:.2f}, {method}", fontsize=9)
    figure.savefig(path, dpi=120)
