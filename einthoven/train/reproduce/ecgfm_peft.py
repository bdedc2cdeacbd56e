"""Akramov, "Fine-tuning pre-trained ECG classification model using PEFT": ECG-FM on a binary task of one-lead segments, all of
it trained, with adapters, with LoRA; here also its head alone, and the global z-score as the paper's ablation.

The paper's data (df_segment2.csv: 65,425 segments of 600 samples and a label 0 or 1) are taken when they are given. Else
segments are cut: 6 s of lead II at 100 Hz, a normal ECG (superclass NORM and no other) against one with any other superclass
and not NORM.

N segments, T = 600 samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from einthoven import tune
from einthoven.data import Choice, Index, Labels, by_patient, check_leaks, labels_of
from einthoven.evaluate import evaluate
from einthoven.evaluate.calibration import activate
from einthoven.models.table import MODELS, build
from einthoven.record import EcgError
from einthoven.signal.presets import Preset, Step
from einthoven.signal.resample import resample
from einthoven.train.recipe import Recipe
from einthoven.train.reproduce.material import data_of, simulated, simulated_index
from einthoven.train.reproduce.sheet import Kept, Sheet, paragraphs
from einthoven.train.reproduce.trial import given, pretrained, run

F32 = NDArray[np.float32]
Rows = NDArray[np.int64]
Log = Callable[[str], None]

SAMPLES, FS = 600, 100.0


@dataclass(frozen=True)
class Arm:
    """`printed`: the paper's accuracy, precision, recall, F1, trainable share (%) in its table I."""

    name: str
    method: str
    rate: float
    tuning: Mapping[str, Any] = field(default_factory=dict)
    normalise: str = "per segment"
    printed: tuple[float, ...] | None = None


_ATTENTION = r"encoder\.layers\.\d+\.attention\.[qkv]_proj"
ARMS = (
    Arm("full", "full", 1e-3, printed=(0.8309, 0.7988, 0.8783, 0.8366, 100.0)),
    Arm("adapter", "adapter", 1.5e-3, {"kind": "houlsby", "bottleneck": 128}, printed=(0.7325, 0.6796, 0.8659, 0.7615, 5.66)),
    Arm(
        "LoRA", "lora", 2.5e-3, {"rank": 48, "alpha": 96.0, "dropout": 0.05, "targets": _ATTENTION},
        printed=(0.7561, 0.7028, 0.8756, 0.7798, 3.26),
    ),
    Arm("head", "head", 1e-3),
    Arm("full, global z-score", "full", 1e-3, normalise="global"),
)  # fmt: skip

NOTES = paragraphs("""
    The paper's figures are of its validation part (its text says so), ours of test patients that chose nothing: the epoch is
    chosen on validation. Ours have 95 % intervals, a bootstrap over patients.

    The paper contradicts itself. Full fine-tuning has 83.3 % accuracy and F1 .839 in section IV.A, 83.1 % and .837 under the
    figures and in table I; the abstract gives adapters and LoRA the 83.3 % that only full fine-tuning has (table I: 73.3 and
    75.6 %). LoRA trains "approximately 19 %" in section III.B and 3.26 % in table I. The adapters' rate is 0.001 in section
    III.C, 0.0015 in table I (here: 0.0015). "Three pre-trained models" are announced, one is named. It was run on Kaggle in
    section III, on Colab in section V.

    3.26 % and 5.66 % are not what any plain choice at rank 48 trains of ECG-FM; the second table counts the choices. Nearest at
    rank 48 are LoRA on q and fc1 (3.31 %) and on q, k, v (2.85 %), and Houlsby adapters of width 144 (5.57 %) or 128 (4.99 %).
    LoRA on q, k, v together with a head of two layers (768-384-2), counted against the encoder alone, is 3.26 %; rank 128 on
    every linear layer of the transformer is 19.0 %. The paper says none of it. The arms here: LoRA on q, k, v; Houlsby 128.

    Memory is what one training step holds (weights, gradients, Adam's moments, what is kept for the backward pass), counted
    from the tensors themselves, so it is the same on any machine. Trained shares of a reduced model are not ECG-FM's; the
    second table has those of ECG-FM at its own size.

    The paper does not say whose a segment is, so its split may have one person on both sides. Ours is by patient where the data
    say who it was.
""")


@dataclass(frozen=True)
class Size:
    """`options` of the model's constructor; `segments` at most; `start_epochs` of the stand-in for pre-training."""

    name: str
    words: str
    epochs: int
    batch: int
    options: Mapping[str, Any]
    segments: int | None
    start_records: int
    start_epochs: int


_TINY = dict(MODELS["ecg-fm"].tiny)
REDUCED = {"width": 96, "depth": 4, "heads": 4, "hidden": 384, "channels": 64, "kernel": 32, "groups": 4}
_SIZES = (
    Size("smoke", "the model of the tests, 96 segments, 2 epochs: shows that all of it runs", 2, 16, _TINY, 96, 40, 1),
    Size("short", "ECG-FM reduced to 4 layers of width 96, batch 32, 8 epochs", 8, 32, REDUCED, None, 240, 8),
    Size("paper", "ECG-FM at its own size, batch 128, 50 epochs, as in the paper", 50, 128, {}, None, 2400, 50),
)
SIZES: Mapping[str, Size] = MappingProxyType({size.name: size for size in _SIZES})


@dataclass(frozen=True)
class Settings:
    """`data`: df_segment2.csv (with `fs`, and `unit` where it is not mV), or a dataset of 12-lead ECGs with superclasses; None:
    simulated. `weights`: ECG-FM's, as .safetensors or Bundle; without them a stand-in is pre-trained on simulated segments."""

    data: str | None = None
    fs: float | None = None
    unit: str | None = None
    size: str = "short"
    weights: str | None = None
    arms: tuple[str, ...] = tuple(arm.name for arm in ARMS)
    epochs: int | None = None
    device: str = "auto"
    seed: int = 0
    jobs: int = 1

    def __post_init__(self) -> None:
        names = [arm.name for arm in ARMS]
        if self.size not in SIZES:
            raise EcgError(f"no size {self.size} (there are: {', '.join(SIZES)})")
        if wrong := [a for a in self.arms if a not in names]:
            raise EcgError(f"no arm {', '.join(wrong)} (there are: {', '.join(names)})")


def segments(index: Index, most: int | None) -> tuple[F32, Labels, Rows, str]:
    """(N, 1, T) in mV, their labels ("0", "1"), the rows of the index they are of, and in words what they are."""
    if set(index.column("leads")[0]) == {"I"} and any(r for r in index.column("labels")):
        positive = labels_of(index, "own").matrix[:, 0]
        words = f"{len(index)} segments of the file, with its own labels"
        x = np.stack([index.record(i).signal[0] for i in range(len(index))])
        if x.shape[1] < 16:
            raise EcgError(f"segments of {x.shape[1]} samples are too short")
    else:
        classes = labels_of(index, "superclass")
        stated = np.nan_to_num(classes.matrix)
        normal = stated[:, classes.names.index("NORM")] == 1
        other = stated.sum(1) - normal > 0
        positive = np.where(normal != other, other.astype(np.float32), np.nan).astype(np.float32)
        words = "6 s of lead II at 100 Hz from each record: 1 a superclass other than NORM, 0 NORM alone (not the paper's data)"
        x = np.full((len(index), SAMPLES), np.nan, np.float32)
        for i in np.flatnonzero(np.isfinite(positive)):
            record = index.record(int(i))
            if "II" in record.leads:
                lead = resample(record, FS).signal[record.leads.index("II"), :SAMPLES]
                x[i, : len(lead)] = lead
    good = np.flatnonzero(np.isfinite(positive) & np.isfinite(x).all(1)).astype(np.int64)
    if most is not None and len(good) > most:
        good = good[np.sort(np.random.default_rng(0).permutation(len(good))[:most])]
    if not len(good):
        raise EcgError("no segment without gaps has a label", path=index.folder)
    matrix = np.full((len(index), 2), np.nan, np.float32)
    matrix[good, 1], matrix[good, 0] = positive[good], 1 - positive[good]
    return x[good][:, None], Labels(("0", "1"), matrix, "single"), good, words


def z_scored(x: F32) -> F32:
    """Each segment by its own mean and standard deviation; a flat one becomes zero."""
    mean, std = x.mean(-1, keepdims=True), x.std(-1, keepdims=True)
    return np.asarray((x - mean) / np.where(std > 1e-6, std, 1), np.float32)


def spread(x: F32, leads: int) -> F32:
    """(N, 1, T) -> (N, leads, T): as it is for one lead, in the place of lead II among twelve."""
    if leads == 1:
        return x
    out = np.zeros((len(x), leads, x.shape[-1]), np.float32)
    out[:, 1] = x[:, 0]
    return out


def reproduce(settings: Settings, out: Path, *, fresh: bool = False, log: Log = print) -> Sheet:
    """All arms, one after the other; each that is done is kept. Writes ecgfm-peft.md, .csv, .json and .png into `out`."""
    started = time.perf_counter()
    size = SIZES[settings.size]
    epochs = settings.epochs or size.epochs
    kept = Kept(out, {"ecgfm-peft": asdict(settings)}, fresh=fresh)
    index = data_of(settings.data, out / "data", settings.jobs, Choice(fs=settings.fs, unit=settings.unit))
    x, labels, rows, words = segments(index, size.segments)
    split = by_patient(index, (0.7, 0.15, 0.15), labels=labels, rows=rows, seed=settings.seed)
    check_leaks(index, split)
    train, validation, test = (
        np.flatnonzero(np.isin(rows, part)).astype(np.int64) for part in (split.train, split.validation, split.test)
    )
    known = labels.select(rows)
    people = np.asarray(index.column("patient"))[rows]
    log(f"{len(rows)} segments ({int(known.matrix[:, 1].sum())} with label 1): {len(train)} / {len(validation)} / {len(test)}")
    leads = 12 if settings.weights else 1
    start = settings.weights or str(_start(settings, size, out, log))
    made = [
        kept.get(arm.name, lambda arm=arm: _arm(arm, x, known, train, validation, test, people, index, leads, start, settings,  # type: ignore[misc]
                                                 size, epochs, out, log))
        for arm in ARMS if arm.name in settings.arms
    ]  # fmt: skip
    patients = "by patient" if any(index.column("patient_known")) else "by segment, since nobody says whose they are"
    about = {
        "data": Path(settings.data).name if settings.data else "simulated ECGs: nothing here is about patients",
        "segments": f"{words}; {len(rows)} segments, {int(known.matrix[:, 1].sum())} with label 1",
        "split": f"{len(train)} / {len(validation)} / {len(test)} (70 / 15 / 15 %), {patients}",
        "size": f"{size.name}: {size.words}" + (f"; {settings.epochs} epochs" if settings.epochs else ""),
        "start": f"{Path(settings.weights).name}, the segment in the place of lead II"
        if settings.weights
        else f"no published weights were given: a stand-in, trained {size.start_epochs} epochs to tell eight kinds of "
        f"simulated one-lead segments apart ({size.start_records} records)",
        "training": "Adam, cross-entropy, rates of the paper's table I, constant",
    }
    sheet = Sheet(
        "PEFT of ECG-FM, table I: the paper's figures and ours", COLUMNS, tuple(made), about, NOTES,
        settings={**asdict(settings), "seconds": round(time.perf_counter() - started)},
        second=("What plain choices train of ECG-FM (12 leads, 2 outputs)", tuple(shares())),
    )  # fmt: skip
    sheet.write(out, "ecgfm-peft")
    _draw(made, out / "ecgfm-peft.png")
    return sheet


FIGURES = ("accuracy", "precision", "recall", "F1")
COLUMNS = (
    *("method", "epochs", "rate"),
    *(f"{who}{name}" for name in FIGURES for who in ("", "paper ")),
    *("trained %", "paper trained %", "trained parameters", "memory MB", "s an epoch", "CPU s an epoch"),
)


def _recipe(settings: Settings, size: Size, epochs: int, method: str, rate: float, **more: Any) -> Recipe:
    words = {
        "data": settings.data or "", "model": "ecg-fm", "options": dict(size.options), "method": method, "optimizer": "adam",
        "learning_rate": rate, "schedule": "constant", "weight_decay": 0.0, "epochs": epochs, "patience": 0,
        "batch": size.batch, "device": settings.device, "seed": settings.seed,
    }  # fmt: skip
    return Recipe.from_dict(words | more)


_STEP = Step("z_score", {"over": "lead", "eps": 1e-6})
_PRESET = Preset("segments", (_STEP,), leads=("II",), fs=FS, length=SAMPLES, unit="z")


def _arm(
    arm: Arm, x: F32, labels: Labels, train: Rows, validation: Rows, test: Rows, people: NDArray[Any], index: Index, leads: int,
    start: str, settings: Settings, size: Size, epochs: int, out: Path, log: Log,
) -> dict[str, Any]:  # fmt: skip
    seen = z_scored(x) if arm.normalise == "per segment" else x
    mean, std = (0.0, 1.0) if arm.normalise == "per segment" else (float(x[train].mean()), float(x[train].std()))
    data = given(index, labels, spread((seen - np.float32(mean)) / np.float32(std), leads), _PRESET, train, validation)
    recipe = _recipe(settings, size, epochs, arm.method, arm.rate, weights=start, **arm.tuning)
    made = run(recipe, data, {"test": test}, out / "work" / arm.name.replace(", ", "-").replace(" ", "-"), lambda words: None)
    found = evaluate(
        labels.matrix[test], activate(made.logits["test"], "single"), labels.names, "single", people[test],
        draws=500, seed=settings.seed,
    )  # fmt: skip
    ours = (found.figure("accuracy"), *(found.figure(name, "1") for name in ("precision", "recall", "f1")))
    printed = arm.printed or (None,) * 5
    row: dict[str, Any] = {"method": arm.name, "epochs": made.epochs, "rate": f"{arm.rate:g}"}
    for name, figure, paper in zip(FIGURES, ours, printed, strict=False):
        row[name] = [v if np.isfinite(v) else None for v in (figure.value, figure.low, figure.high)]
        row[f"paper {name}"] = paper
    row |= {
        "trained %": 100 * made.trained / made.parameters, "paper trained %": printed[4], "trained parameters": made.trained,
        "memory MB": made.memory / 2**20, "s an epoch": made.seconds / max(made.epochs, 1),
        "CPU s an epoch": made.cpu / max(made.epochs, 1),
    }  # fmt: skip
    log(f"{arm.name}: accuracy {ours[0]}, F1 {ours[3]}, {row['trained %']:.2f} % trained, {made.seconds:.0f} s")
    return row


def _start(settings: Settings, size: Size, out: Path, log: Log) -> Path:
    """A stand-in for published weights: the model trained to tell kinds of simulated segments apart, seeds of its own."""
    path = out / "start.safetensors"
    if path.exists():
        return path
    index = simulated_index(out / "simulated", simulated("synth-start", size.start_records, first=100_000))
    kinds = tuple(sorted({codes[0] for codes in index.column("codes")}))
    which = np.array([kinds.index(codes[0]) for codes in index.column("codes")])
    # Three segments of a record; what tells kinds apart is in every beat.
    pieces = [np.stack([index.record(i).signal[1, at : at + SAMPLES] for i in range(len(index))]) for at in (0, 200, 400)]
    x = z_scored(np.nan_to_num(np.concatenate(pieces))[:, None])
    labels = Labels(kinds, np.tile(np.eye(len(kinds), dtype=np.float32)[which], (3, 1)), "single")
    person = np.tile(np.arange(len(index)), 3)
    held = person % 10 == 9
    data = given(index, labels, x, _PRESET, np.flatnonzero(~held), np.flatnonzero(held))
    log(f"a start for ECG-FM: {len(x)} simulated segments of {len(kinds)} kinds")
    recipe = _recipe(settings, size, size.start_epochs, "full", 1e-3 if size.options else 1e-4)
    pretrained(recipe, data, path, out / "work" / "start", log)
    return path


def shares() -> list[dict[str, Any]]:
    """What plain choices train of ECG-FM at its own size, counted on the model itself (without memory for it)."""
    attention, ffn = r"encoder\.layers\.\d+\.attention\.", r"encoder\.layers\.\d+\.ffn\."
    choices = [
        ("LoRA r=48: q, v", {"rank": 48, "targets": attention + "[qv]_proj"}),
        ("LoRA r=48: q, k, v", {"rank": 48, "targets": attention + "[qkv]_proj"}),
        ("LoRA r=48: q, fc1", {"rank": 48, "targets": f"{attention}q_proj|{ffn}fc1"}),
        ("LoRA r=48: q, k, v, out", {"rank": 48, "targets": attention + r"\w+_proj"}),
        ("LoRA r=48: every linear layer", {"rank": 48, "targets": f"{attention}\\w+_proj|{ffn}fc[12]"}),
        ("LoRA r=128: every linear layer", {"rank": 128, "targets": f"{attention}\\w+_proj|{ffn}fc[12]"}),
        *((f"{k} adapters, width {b}", {"kind": k, "bottleneck": b}) for k, b in _ADAPTERS),
    ]
    rows = []
    for words, tuning in choices:
        with torch.device("meta"):
            model = build("ecg-fm", outputs=2)
            method = "lora" if "rank" in tuning else "adapter"
            made = tune.apply(model, tune.Tuning(method=method, **tuning), MODELS["ecg-fm"])  # type: ignore[arg-type]
        rows.append(
            {"choice": words, "trained parameters": made.trainable, "all": made.parameters, "share": f"{made.share:.2%}"}
        )
    return rows


_ADAPTERS = (("pfeiffer", 64), ("houlsby", 64), ("pfeiffer", 256), ("houlsby", 128), ("houlsby", 144))


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy and F1 with their intervals and the paper's beside them; memory and time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [r["method"] for r in rows]
    at = np.arange(len(rows))[::-1]
    figure = Figure(figsize=(11, 1.6 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4, sharey=True)
    for axis, name in zip(axes[:2], ("accuracy", "F1"), strict=True):
        for y, row in zip(at, rows, strict=True):
            value, low, high = row[name]
            if low is not None and high is not None:
                axis.plot([low, high], [y, y], color="#1f5a99", lw=1.5)
            axis.plot(value, y, "o", color="#1f5a99", ms=5)
            if row[f"paper {name}"] is not None:
                axis.plot(row[f"paper {name}"], y, "D", mfc="none", mec="black", ms=6)
        axis.set_xlim(0, 1)
        axis.set_title(f"{name}, test", fontsize=9)
    for axis, name in zip(axes[2:], ("memory MB", "CPU s an epoch"), strict=True):
        axis.barh(at, [r[name] for r in rows], height=0.5, color="#8aa9cc")
        axis.set_title(name.replace("MB", "of a step, MB").replace(" s an", " seconds an"), fontsize=9)
    for axis in axes:
        axis.grid(axis="x", color="#dddddd", lw=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8)
        axis.tick_params(axis="y", length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_yticks(at, [f"{n}\n({r['trained %']:.3g} % trained)" for n, r in zip(names, rows, strict=True)], fontsize=8)
    handles = [
        axes[0].plot([], [], "o-", color="#1f5a99", label="ours, 95 % interval")[0],
        axes[0].plot([], [], "D", mfc="none", mec="black", label="the paper, on its own data")[0],
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
