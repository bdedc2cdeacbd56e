"""The order of things: measure, out-of-fold predictions, calibration, final members, one look at the test folds, Bundle."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index
from einthoven.data.labels import labels_of
from einthoven.data.load import load
from einthoven.data.workers import ordered
from einthoven.evaluate import calibration
from einthoven.evaluate.calibration import Calibration
from einthoven.evaluate.evaluation import Evaluation, evaluate
from einthoven.evaluate.metrics import auroc
from einthoven.evaluate.thresholds import choose_thresholds
from einthoven.io.files import replacing
from einthoven.record import EcgError
from einthoven.represent.features import NAMES, VERSION
from einthoven.statements import SUPERCLASSES
from einthoven.train.default.members import Arrays, Floats, blend, fit, grouped, logits, names
from einthoven.train.default.recipe import Recipe
from einthoven.train.default.simulated import simulated
from einthoven.train.default.views import measured

if TYPE_CHECKING:
    from einthoven.exchange.bundle import Bundle
    from einthoven.exchange.manifest import Manifest

S = len(SUPERCLASSES)
DRAWS = 1000
WHOLE = 15_000  # training records: more than this is PTB-XL and not a part of it
THRESHOLDS = "highest F1, out of fold in the training folds"
PTBXL_CITATION = "Wagner P et al. PTB-XL, a large publicly available electrocardiography dataset. Sci Data 2020;7:154"


@dataclass(frozen=True)
class Material:
    """What is learned from: N records, V views, K labels of which the first S are the superclasses.

    views (V, N, F); truth (N, K), NaN unknown; folds, patients (N,); the labels' names.
    """

    views: Floats
    truth: Floats
    folds: NDArray[np.int64]
    patients: NDArray[Any]
    names: tuple[str, ...]

    def rows(self, folds: Sequence[int]) -> NDArray[np.intp]:
        return np.flatnonzero(np.isin(self.folds, folds))


def run(recipe_path: Path, data: Path, out: Path, *, test: bool, looks: int, jobs: int) -> None:
    """See __main__. Prints what it finds; writes out-of-fold.npz and, with `test`, test.npz and the Bundle."""
    recipe = Recipe.read(recipe_path)
    index = load(data, jobs=jobs)
    material = gather(index, recipe, out, jobs)
    train = material.rows(recipe.train_folds)
    print(f"{len(train)} records of {len(set(material.patients[train]))} patients to train on, {len(material.names)} labels")
    own = material.truth[train]
    part = grouped(material.folds[train], recipe.train_folds, recipe.parts)
    tasks = [(i, name) for i in range(recipe.parts) for name in names(recipe)] + (
        [(-1, name) for name in names(recipe)] if test else []
    )
    fitted = _fitted(material, train, part, tasks, recipe, out, jobs)
    held = out_of_fold(material.views[0, train], part, fitted, recipe)
    for name, value in held.items():
        area = auroc(own[:, :S], value[:, :S]).mean()
        print(f"out of fold, {name}: macro AUROC {area:.4f}")
    union = blend(held, S)
    areas = auroc(own, union)
    print(f"out of fold, all together: macro AUROC {areas[:S].mean():.4f}")
    kept = np.array([k for k, area in enumerate(areas) if k < S or area >= recipe.least_auroc])
    if dropped := [name for k, name in enumerate(material.names) if k not in kept]:
        print(f"not told, below {recipe.least_auroc}: {', '.join(dropped)}")
    own, union = own[:, kept], union[:, kept]
    material = replace(material, truth=material.truth[:, kept], names=tuple(material.names[k] for k in kept))
    found = calibration.fit("platt", own, union)
    probability = cross_calibrated(own, union, part)
    told = judged(own, probability, material.patients[train], material.names)
    print(f"\nOut of fold, folds {_list(recipe.train_folds)}, calibrated across parts\n{_shown(told)}", flush=True)
    np.savez(out / "out-of-fold.npz", rows=train, truth=own, logits=union, probability=probability, part=part, **held)  # type: ignore[arg-type]
    if test:
        members = {name: fitted[-1, name] for name in names(recipe)}
        finish(index, material, members, kept, found, told, probability, recipe, out, looks)


def gather(index: Index, recipe: Recipe, out: Path, jobs: int) -> Material:
    """Features and labels of every record of the training and test folds. Raises EcgError: there are none, or no folds."""
    folds = np.asarray(index.column("fold"), np.int64)
    rows = np.flatnonzero(np.isin(folds, (*recipe.train_folds, *recipe.test_folds)))
    if not len(rows):
        raise EcgError("no record lies in the recipe's folds: is this PTB-XL?", path=index.folder)
    index = index.select(rows)
    folds = folds[rows]
    start = time.perf_counter()
    views = measured(index, recipe.views, out, seed=recipe.seed, jobs=jobs)
    print(f"{len(index)} records measured in {len(recipe.views)} views: {time.perf_counter() - start:.0f} s", flush=True)
    superclasses, statements = labels_of(index, "superclass"), labels_of(index, "statement")
    training = np.isin(folds, recipe.train_folds)
    counts = np.nansum(statements.matrix[training], axis=0)
    often = [k for k, n in enumerate(statements.names) if counts[k] >= recipe.min_positives and n not in superclasses.names]
    truth = np.concatenate([superclasses.matrix, statements.matrix[:, often]], axis=1)
    patients = np.asarray(index.column("patient"))
    _no_leak(patients, folds)
    return Material(views, truth, folds, patients, (*superclasses.names, *(statements.names[k] for k in often)))


def _no_leak(patients: NDArray[Any], folds: NDArray[np.int64]) -> None:
    first: dict[str, int] = {}
    for patient, fold in zip(patients.tolist(), folds.tolist(), strict=True):
        if first.setdefault(patient, fold) != fold:
            raise EcgError(f"patient {patient} is in folds {first[patient]} and {fold}")


# -- fitting -----------------------------------------------------------------------------------------------------------------


def _fitted(
    material: Material,
    train: NDArray[np.intp],
    part: NDArray[np.int64],
    tasks: Sequence[tuple[int, str]],
    recipe: Recipe,
    out: Path,
    jobs: int,
) -> dict[tuple[int, str], Arrays]:
    """Every (part left out, member) of `tasks`; -1 leaves none out. What is in `out` already is read from there."""
    words = {k: v for k, v in asdict(recipe).items() if k not in ("name", "test_folds", "least_auroc")}  # change no member
    key = json.dumps([words, VERSION, material.names])
    seen = material.truth[train].tobytes() + material.views[:, train].tobytes()
    digest = hashlib.sha256(key.encode() + seen).hexdigest()[:16]
    folder = out / f"members-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    first: dict[str, Floats] = {}
    if recipe.network.simulations:
        found = simulated(recipe.network.simulations, out, seed=recipe.seed, jobs=jobs)
        first = {"simulated": found[0], "planted": found[1]}
    np.savez(folder / "material.npz", views=material.views[:, train], truth=material.truth[train], part=part, **first)  # type: ignore[arg-type]
    paths = {task: folder / f"{task[1]}-{'all' if task[0] < 0 else task[0]}.npz" for task in tasks}
    todo = [task for task in tasks if not paths[task].exists()]
    start = time.perf_counter()
    work = partial(_fit, folder=folder, recipe=recipe)
    for task in ordered(work, [(*task, paths[task]) for task in todo], jobs=jobs, killed=_killed, chunk=1):
        print(f"{task}, {time.perf_counter() - start:.0f} s", flush=True)
    return {task: dict(np.load(path, allow_pickle=False)) for task, path in paths.items()}


def _fit(task: tuple[int, str, Path], *, folder: Path, recipe: Recipe) -> str:
    without, name, path = task
    import torch

    torch.set_num_threads(1)
    with np.load(folder / "material.npz", allow_pickle=False) as all_of_it:
        rows = all_of_it["part"] != without
        first = (all_of_it["simulated"], all_of_it["planted"]) if "planted" in all_of_it else None
        member = fit(name, all_of_it["views"][:, rows], all_of_it["truth"][rows], S, recipe, first)
    with replacing(path) as draft, draft.open("wb") as file:
        np.savez(file, **member)  # type: ignore[arg-type]
    return f"{name} {'on all' if without < 0 else f'without part {without}'}"


def _killed(task: tuple[int, str, Path]) -> str:
    raise EcgError(f"the process that fitted {task[1]} was killed (out of memory?)")


def out_of_fold(
    features: Floats, part: NDArray[np.int64], fitted: Mapping[tuple[int, str], Arrays], recipe: Recipe
) -> dict[str, Floats]:
    """Logits (N, K) of each member for records that it has not seen."""
    found: dict[str, Floats] = {}
    for name in names(recipe):
        parts = [logits(name, fitted[i, name], features[part == i]) for i in range(recipe.parts)]
        found[name] = np.empty((len(part), parts[0].shape[1]), np.float32)
        for i, value in enumerate(parts):
            found[name][part == i] = value
    return found


def cross_calibrated(truth: Floats, union: Floats, part: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, K) probabilities, each part's calibrated by the others: what calibration is worth on records it was not fitted to."""
    out = np.empty(union.shape)
    for i in np.unique(part):
        out[part == i] = calibration.fit("platt", truth[part != i], union[part != i]).apply(union[part == i])
    return out


# -- the end -----------------------------------------------------------------------------------------------------------------


def finish(
    index: Index,
    material: Material,
    members: Mapping[str, Arrays],
    kept: NDArray[np.intp],
    calibrated: Calibration,
    validation: tuple[Evaluation, Evaluation],
    probability: NDArray[np.float64],
    recipe: Recipe,
    out: Path,
    looks: int,
) -> None:
    """One look at the test folds with the graph that ships, then the Bundle."""
    import onnx

    from einthoven.exchange.onnx_out import metadata
    from einthoven.exchange.predict import Predictor
    from einthoven.train.default.graph import build

    model = build(members, S, kept)
    train, test = material.rows(recipe.train_folds), material.rows(recipe.test_folds)
    features = material.views[0, test]
    ours = blend({name: logits(name, member, features) for name, member in members.items()}, S)[:, kept]
    shown = _onnx_logits(model.SerializeToString(), features)
    if (gap := float(np.abs(ours - shown).max())) > 1e-3:
        raise EcgError(f"ONNX differs from the members by {gap:g}")
    print(f"ONNX and members differ by at most {gap:.1g}")
    thresholds = choose_thresholds(material.truth[train], probability, "f1")
    told = judged(material.truth[test], calibrated.apply(shown), material.patients[test], material.names, thresholds)
    errors = calibrated_to(material.truth[test], calibrated.apply(shown))
    print(f"\nFolds {_list(recipe.test_folds)}, look {looks}\n{_shown(told)}\nECE {_errors(errors)}", flush=True)
    np.savez(
        out / "test.npz",
        record=np.array(index.column("record"))[np.isin(index.column("fold"), recipe.test_folds)].astype(str),
        patient=material.patients[test].astype(str),
        names=np.array(material.names),
        truth=material.truth[test],
        probability=calibrated.apply(shown),
        logits=shown,
    )
    manifest = _manifest(material, recipe, calibrated, thresholds, validation, told, errors, members, looks)
    onnx.helper.set_model_props(model, metadata(manifest))
    bundle = _write(out / recipe.name, manifest, model.SerializeToString(), members)
    again = Predictor(bundle)
    if not np.allclose(again.probabilities(again.run({"features": features})[0]), calibrated.apply(shown), atol=1e-5):
        raise EcgError("the Bundle does not say what its graph said", path=bundle.path)
    print(f"{bundle.path}: {bundle.size / 1e6:.1f} MB")


def _onnx_logits(model: bytes, features: Floats) -> Floats:
    from einthoven.exchange.predict import session

    found: Floats = session(model).run(["logits"], {"features": features})[0]
    return found


def judged(
    truth: Floats,
    probability: NDArray[np.float64],
    patients: NDArray[Any],
    labels: Sequence[str],
    thresholds: NDArray[np.float64] | None = None,
) -> tuple[Evaluation, Evaluation]:
    """The superclasses and the statements, each as one evaluation with intervals over patients."""
    limits = np.full(len(labels), 0.5) if thresholds is None else thresholds
    chosen = "0.5, not chosen" if thresholds is None else THRESHOLDS
    first, second = (
        evaluate(
            truth[:, part],
            probability[:, part],
            labels[part],
            "multilabel",
            patients,
            thresholds=limits[part],
            thresholds_from=chosen,
            draws=DRAWS,
        )
        for part in (slice(0, S), slice(S, None))
    )
    return first, second


def _shown(told: tuple[Evaluation, Evaluation]) -> str:
    lines = []
    for what, one in zip(("superclasses", "statements"), told, strict=True):
        lines.append(f"{what}: macro AUROC {one.figure('macro_auroc')}, mean ECE {one.figure('mean_ece')}")
        for name in one.names:
            positives = one.positives[name]
            lines.append(f"  {name:8} {positives:5} AUROC {one.figure('auroc', name)}  ECE {one.figure('ece', name)}")
    return "\n".join(lines)


def calibrated_to(truth: Floats, probability: NDArray[np.float64]) -> tuple[float, float, float]:
    """Of the superclasses: ECE over all pairs of record and label, mean ECE by label, and what the latter would be of a model
    that is perfectly calibrated, on as many records: each bin's noise counts as error, the more the fewer there are."""
    y, p = truth[:, :S], probability[:, :S]
    known = np.isfinite(y)
    pooled = calibration.ece(y[known][:, None], p[known][:, None])[0]
    rng = np.random.default_rng(0)
    drawn = [calibration.ece(np.where(known, rng.random(p.shape) < p, np.nan), p).mean() for _ in range(200)]
    return float(pooled), float(calibration.ece(y, p).mean()), float(np.mean(drawn))


def _errors(found: tuple[float, float, float]) -> str:
    pooled, mean, floor = found
    return (
        f"{pooled:.3f} over all pairs of record and label, {mean:.3f} in the mean by label, where a perfectly calibrated model "
        f"would show {floor:.3f} on so few records"
    )


def _list(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds))


def _manifest(
    material: Material,
    recipe: Recipe,
    calibrated: Calibration,
    thresholds: NDArray[np.float64],
    validation: tuple[Evaluation, Evaluation],
    told: tuple[Evaluation, Evaluation],
    errors: tuple[float, float, float],
    members: Mapping[str, Arrays],
    looks: int,
) -> Manifest:
    from einthoven.exchange.manifest import labels, manifest, scores

    train = material.rows(recipe.train_folds)
    command = "python -m einthoven.train.default recipes/default.yaml --data PTBXL -o OUT --test"
    seen = "once" if looks == 1 else f"{looks} times"
    weak = (
        "most records were read by one reader, whose words are the truth here; thresholds of the rules and the delineator's P "
        "waves (einthoven.findings, einthoven.beats), on which the figures rest, had seen labels of folds 1-8 before, and the "
        "author of the rules had looked at their figures on fold 9"
    )
    kinds = ("the five superclasses", "statements")
    metrics = [
        scores(
            one.to_dict(),
            data=f"PTB-XL, {what}",
            role="test",
            folds=recipe.test_folds,
            notes=f"looked at {seen}, nothing was chosen by it; ECE of the superclasses: {_errors(errors)}; {weak}",
            command=command,
        )
        for what, one in zip(kinds, told, strict=True)
    ] + [
        scores(
            one.to_dict(),
            data=f"PTB-XL, {what}, out of fold",
            role="validation",
            folds=recipe.train_folds,
            notes=f"{recipe.parts} parts of whole folds, each predicted and calibrated by the others; everything was chosen by "
            "these figures, so that they are a little too good",
            command=command,
        )
        for what, one in zip(kinds, validation, strict=True)
    ]
    sizes = {name: int(sum(v.size for v in member.values())) for name, member in members.items()}
    return manifest(
        name=recipe.name,
        summary=(
            "The default model: what a reader of PTB-XL would say of an ECG, in five superclasses and the statements that had "
            "enough examples, from some seven hundred measured figures and the median beat. Forests, boosted trees and small "
            "networks; the mean of their logits."
        ),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task="multilabel",
        labels=[one.model_dump() for one in labels(material.names)],
        activation="sigmoid",
        inputs=[{"name": "features", "kind": "features", "names": list(NAMES), "version": str(VERSION)}],
        thresholds={
            "values": {name: float(t) for name, t in zip(material.names, thresholds, strict=True)},
            "chosen_on": f"PTB-XL folds {_list(recipe.train_folds)}, out of fold",
            "rule": THRESHOLDS,
        },
        calibration={
            "words": calibrated.to_dict(),
            "fitted_on": f"PTB-XL folds {_list(recipe.train_folds)}, out of fold ({len(train)} records)",
        },
        training={
            "data": [
                {
                    "name": "PTB-XL 1.0.3" + ("" if len(train) > WHOLE else ", a part of it"),
                    "records": len(train),
                    "patients": len(set(material.patients[train].tolist())),
                    "folds": list(recipe.train_folds),
                    "licence": "CC BY 4.0",
                    "citation": PTBXL_CITATION,
                },
                *(
                    [{"name": "einthoven.synth", "role": "pre-training", "records": recipe.network.simulations}]
                    if recipe.network.simulations
                    else []
                ),
            ],
            "recipe": asdict(recipe),
            "command": command,
            "seed": recipe.seed,
            "software": {name: version(name) for name in ("einthoven", "scikit-learn", "torch", "onnx", "numpy")}
            | {"python": platform.python_version()},
        },
        metrics=[one.model_dump() for one in metrics],
        architecture={"model": "onnx", "config": {"members": sizes}, "parameters": sum(sizes.values())},
        licence="CC-BY-4.0 (weights learned from PTB-XL, CC BY 4.0, Wagner et al. 2020, doi 10.13026/kfzx-aw45)",
        citation=PTBXL_CITATION,
    )


def _write(path: Path, manifest: Manifest, model: bytes, members: Mapping[str, Arrays]) -> Bundle:
    from safetensors.numpy import save

    from einthoven.exchange.bundle import write_bundle
    from einthoven.exchange.card import text

    # Of the networks alone: nobody trains a tree on, and the graph has them.
    arrays = {
        f"{name}.{key}": np.ascontiguousarray(value)
        for name, member in members.items()
        if name.startswith("network")
        for key, value in member.items()
    }
    files: dict[str, bytes | str | Path] = {"model.onnx": model, "weights.safetensors": save(arrays), "card.md": text(manifest)}
    return write_bundle(path, manifest, files, overwrite=True)
