"""The order of things: measure, teacher, pictures, training, validation, one look at the test folds, Bundle."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index
from einthoven.data.labels import labels_of
from einthoven.data.load import load
from einthoven.evaluate import calibration
from einthoven.evaluate.evaluation import Evaluation, evaluate
from einthoven.evaluate.metrics import auroc
from einthoven.evaluate.thresholds import choose_thresholds
from einthoven.record import EcgError
from einthoven.train.default.run import PTBXL_CITATION, WHOLE, calibrated_to
from einthoven.train.image_default.learn import fresh, learn, predicted
from einthoven.train.image_default.material import Material, S, material
from einthoven.train.image_default.pool import Ecgs, Pool, many, pool
from einthoven.train.image_default.recipe import Recipe

if TYPE_CHECKING:
    from einthoven.exchange.manifest import Manifest, Scores
    from einthoven.models.image.page_net import PageNet
    from einthoven.represent.images import ImageForm

DRAWS = 1000
THRESHOLDS = "highest F1 on the validation pictures"
FORM = "photo"


@dataclass(frozen=True)
class Judged:
    """M pictures of some folds: logits and truth (M, K), whose they are, how they were distorted, the record's row (M,)."""

    logits: NDArray[np.float32]
    truth: NDArray[np.float32]
    patients: NDArray[Any]
    preset: NDArray[Any]
    record: NDArray[Any]

    def told(self, kept: NDArray[np.intp]) -> Judged:
        return replace(self, logits=self.logits[:, kept], truth=self.truth[:, kept])


def run(recipe_path: Path, data: Path, out: Path, *, test: bool, looks: int, jobs: int, workers: int) -> None:
    """See __main__. Prints what it finds; writes validation.npz and, with `test`, test.npz and the Bundle."""
    recipe = Recipe.read(recipe_path)
    index = load(data, jobs=jobs)
    start = time.perf_counter()
    found = material(index, recipe, out, jobs)
    train = found.rows(recipe.train_folds)
    told = f"{len(train)} real and {found.ecgs.simulations} simulated ECGs to train on, {len(found.names)} labels"
    print(f"{told}; {time.perf_counter() - start:.0f} s", flush=True)
    pictures = training_pool(found, recipe, out)
    weights = learn(pictures, found, recipe, out / f"learned-{_digest(recipe, pictures)}", workers, jobs)
    net = trained(weights, recipe, len(found.names))
    held = judge(net, index, found.names, recipe, recipe.validation_folds, out, jobs)
    finish(net, held, index, found, recipe, out, test=test, looks=looks, jobs=jobs)


def _digest(recipe: Recipe, pictures: Pool) -> str:
    """Of all that decides the weights, but how long is learned (learn.py)."""
    learned = {key: value for key, value in asdict(recipe.training).items() if key != "steps"}
    words = [recipe.train_folds, recipe.min_positives, recipe.seed, recipe.model]
    words += [asdict(recipe.teacher), learned, pictures.folder.name]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def training_pool(found: Material, recipe: Recipe, out: Path) -> Pool:
    words = recipe.pool
    real = found.rows(recipe.train_folds)
    numbers = many(real, words.views, found.ecgs, words.simulated_views, recipe.seed)[: words.pictures]
    return pool(found.ecgs, numbers, words.presets, words.look, (words.width, words.height), recipe.seed, out)


def trained(weights: Path, recipe: Recipe, outputs: int) -> PageNet:
    from einthoven.train.checkpoint import read

    net = fresh(recipe, outputs).net
    net.load_state_dict(read(weights))
    net.eval()
    return net


def judge(
    net: PageNet, index: Index, names: Sequence[str], recipe: Recipe, folds: Sequence[int], out: Path, jobs: int
) -> Judged:
    """Every record of these folds, `judged_views` times with each preset, looked at by the network."""
    index = index.select(np.flatnonzero(np.isin(index.column("fold"), folds)))
    if not len(index):
        raise EcgError(f"no record lies in folds {_list(folds)}: is this PTB-XL?", path=index.folder)
    superclasses, statements = labels_of(index, "superclass"), labels_of(index, "statement")
    columns = [statements.names.index(name) for name in names[S:]]
    truth = np.concatenate([superclasses.matrix, statements.matrix[:, columns]], axis=1)
    patients = np.asarray(index.column("patient"))
    ecgs, words = Ecgs(index, 0, recipe.seed), recipe.pool
    numbers = np.tile(np.arange(len(index)), recipe.judged_views)
    parts = []
    for preset in words.presets:  # the same numbers: every preset distorts the same prints
        shown = pool(ecgs, numbers, (preset,), words.look, (words.width, words.height), recipe.seed + 1, out)
        for _ in shown.drawn(jobs):
            pass
        logits, ecg, _ = predicted(net, shown)
        parts.append((logits, truth[ecg], patients[ecg], np.full(len(ecg), preset), np.asarray(index.column("record"))[ecg]))
        print(f"folds {_list(folds)}, {preset}: macro AUROC {auroc(truth[ecg][:, :S], logits[:, :S]).mean():.4f}", flush=True)
    return Judged(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def finish(
    net: PageNet,
    held: Judged,
    index: Index,
    found: Material,
    recipe: Recipe,
    out: Path,
    *,
    test: bool,
    looks: int,
    jobs: int,
) -> None:
    """Calibration and thresholds by the validation folds; with `test`, one look at the test folds and the Bundle."""
    areas = auroc(held.truth, held.logits)
    kept = np.array([k for k, area in enumerate(areas) if k < S or area >= recipe.least_auroc])
    names = tuple(found.names[k] for k in kept)
    if dropped := [name for k, name in enumerate(found.names) if k not in kept]:
        print(f"not told, below {recipe.least_auroc}: {', '.join(dropped)}")
    held = held.told(kept)
    calibrated = calibration.fit("platt", held.truth, held.logits)
    probability = cross_calibrated(held)
    thresholds = choose_thresholds(held.truth, probability, "f1")
    validation = _evaluated(held, probability, names, thresholds)
    print(f"\nFolds {_list(recipe.validation_folds)}, {_per_record(recipe)}\n{shown(validation)}", flush=True)
    _save(out / "validation.npz", held, probability, names)
    if not test:
        return
    _keep(net, kept)
    looked = judge_test(net, index, names, recipe, out, jobs)
    told = calibrated.apply(looked.logits)
    tested = _evaluated(looked, told, names, thresholds)
    print(f"\nFolds {_list(recipe.test_folds)}, look {looks}, {_per_record(recipe)}\n{shown(tested)}", flush=True)
    errors = calibrated_to(looked.truth, told)
    _save(out / "test.npz", looked, told, names)
    manifest = _manifest(found, names, recipe, calibrated, thresholds, validation, tested, errors, held, looked, net, looks)
    bundle = _write(out / recipe.name, manifest, net, recipe)
    print(f"{bundle.path}: {bundle.size / 1e6:.1f} MB")


def judge_test(net: PageNet, index: Index, names: Sequence[str], recipe: Recipe, out: Path, jobs: int) -> Judged:
    return judge(net, index, names, recipe, recipe.test_folds, out, jobs)


def _keep(net: PageNet, kept: NDArray[np.intp]) -> None:
    """The head tells the labels `kept` and no others."""
    import torch

    old = net.head
    net.new_head(len(kept))
    rows = torch.from_numpy(kept)
    with torch.no_grad():
        net.head.weight.copy_(old.weight[rows])
        net.head.bias.copy_(old.bias[rows])
    net.eval()


def cross_calibrated(held: Judged, parts: int = 5) -> NDArray[np.float64]:
    """(M, K) probabilities, each fifth of the patients calibrated by the others."""
    whose = np.unique(held.patients, return_inverse=True)[1]
    part = np.random.default_rng(0).permutation(whose.max() + 1)[whose] % parts
    out = np.empty(held.logits.shape)
    for i in range(parts):
        fitted = calibration.fit("platt", held.truth[part != i], held.logits[part != i])
        out[part == i] = fitted.apply(held.logits[part == i])
    return out


Told = Mapping[str, tuple[Evaluation, Evaluation]]


def _evaluated(seen: Judged, probability: NDArray[np.float64], names: Sequence[str], thresholds: NDArray[np.float64]) -> Told:
    """All pictures together ("all"), and those of each preset: superclasses and statements, bootstrap over patients."""
    found = {}
    for preset in ("all", *dict.fromkeys(seen.preset.tolist())):
        rows = np.ones(len(seen.preset), bool) if preset == "all" else seen.preset == preset
        first, second = (
            evaluate(
                seen.truth[rows, part],
                probability[rows, part],
                names[part],
                "multilabel",
                seen.patients[rows],
                thresholds=thresholds[part],
                thresholds_from=THRESHOLDS,
                draws=DRAWS,
            )
            for part in (slice(0, S), slice(S, None))
        )
        found[preset] = (first, second)
    return found


def shown(told: Told) -> str:
    lines = []
    for preset, (first, second) in told.items():
        lines.append(
            f"{preset:10} superclasses: macro AUROC {first.figure('macro_auroc')}, ECE {first.figure('mean_ece')}; "
            f"statements: {second.figure('macro_auroc')}"
        )
    for one in told["all"]:
        lines += [
            f"  {name:8} {one.positives[name]:5} AUROC {one.figure('auroc', name)}  ECE {one.figure('ece', name)}"
            for name in one.names
        ]
    return "\n".join(lines)


def _save(path: Path, seen: Judged, probability: NDArray[np.float64], names: Sequence[str]) -> None:
    np.savez(
        path,
        record=seen.record.astype(str),
        patient=seen.patients.astype(str),
        preset=seen.preset.astype(str),
        names=np.array(names),
        truth=seen.truth,
        logits=seen.logits,
        probability=probability,
    )


def _list(folds: Sequence[int]) -> str:
    return ", ".join(map(str, folds))


def _per_record(recipe: Recipe) -> str:
    return f"{recipe.judged_views} prints of each record, each with every preset ({', '.join(recipe.pool.presets)})"


def _form(recipe: Recipe) -> ImageForm:
    from einthoven.represent.images import by_form

    return by_form(FORM).at((recipe.pool.height, recipe.pool.width))


def _manifest(
    found: Material,
    names: Sequence[str],
    recipe: Recipe,
    calibrated: calibration.Calibration,
    thresholds: NDArray[np.float64],
    validation: Told,
    tested: Told,
    errors: tuple[float, float, float],
    held: Judged,
    looked: Judged,
    net: PageNet,
    looks: int,
) -> Manifest:
    from einthoven.exchange.manifest import labels, manifest, scores

    train = found.rows(recipe.train_folds)
    command = "python -m einthoven.train.image_default recipes/image-default.yaml --data PTBXL -o OUT --test"
    seen = "once" if looks == 1 else f"{looks} times"
    weak = (
        f"{_per_record(recipe)}, intervals over patients; most records were read by one reader, whose words are the truth; "
        "pictures are our own renders: real paper has not been scored"
    )
    pooled, mean, floor = errors
    ece = f"ECE {pooled:.3f} over all pairs, {mean:.3f} in the mean by superclass, {floor:.3f} of a perfectly calibrated model"

    def scored(told: Told, role: str, folds: Sequence[int], notes: str) -> list[Scores]:
        return [
            scores(
                one.to_dict(),
                data=f"PTB-XL as pictures ({preset}), {what}",
                role=role,
                folds=folds,
                notes=notes,
                command=command,
            )
            for preset, both in told.items()
            for what, one in zip(("the five superclasses", "statements"), both, strict=True)
            if preset == "all" or what != "statements"
        ]

    return manifest(
        name=recipe.name,
        summary=(
            "The default model of pictures: what a reader of PTB-XL would say of an ECG on paper, from a photo, a scan, a fax "
            "or a render as it is, without reading the traces off first. A small network looks for the leads, then at each."
        ),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task="multilabel",
        labels=[one.model_dump() for one in labels(names)],
        activation="sigmoid",
        inputs=[{"name": "image", "kind": "image", "form": _form(recipe).to_dict(), "missing_leads": "blank"}],
        thresholds={
            "values": {name: float(t) for name, t in zip(names, thresholds, strict=True)},
            "chosen_on": f"PTB-XL folds {_list(recipe.validation_folds)}, {len(held.preset)} pictures",
            "rule": THRESHOLDS,
        },
        calibration={
            "words": calibrated.to_dict(),
            "fitted_on": f"PTB-XL folds {_list(recipe.validation_folds)}, {len(held.preset)} pictures of "
            f"{len(set(held.record.tolist()))} records",
        },
        training={
            "data": [
                {
                    "name": "PTB-XL 1.0.3" + ("" if len(train) > WHOLE else ", a part of it"),
                    "records": len(train),
                    "patients": len(set(found.patients[train].tolist())),
                    "folds": list(recipe.train_folds),
                    "licence": "CC BY 4.0",
                    "citation": PTBXL_CITATION,
                },
                {"name": "einthoven.synth", "role": "training", "records": found.ecgs.simulations},
            ],
            "recipe": asdict(recipe),
            "command": command,
            "seed": recipe.seed,
            "software": {name: version(name) for name in ("einthoven", "torch", "onnx", "numpy", "opencv-python-headless")}
            | {"python": platform.python_version()},
        },
        metrics=[
            one.model_dump()
            for one in (
                *scored(tested, "test", recipe.test_folds, f"looked at {seen}, nothing was chosen by it; {ece}; {weak}"),
                *scored(
                    validation,
                    "validation",
                    recipe.validation_folds,
                    f"calibrated across fifths of the patients; calibration, thresholds, statements were chosen here; {weak}",
                ),
            )
        ],
        architecture={"model": "page-net", "config": net.config, "parameters": sum(p.numel() for p in net.parameters())},
        licence="CC-BY-4.0 (weights learned from PTB-XL, CC BY 4.0, Wagner et al. 2020, doi 10.13026/kfzx-aw45)",
        citation=PTBXL_CITATION,
    )


def _write(path: Path, manifest: Manifest, net: PageNet, recipe: Recipe) -> Any:
    import tempfile

    from safetensors.torch import save

    from einthoven.exchange.bundle import write_bundle
    from einthoven.exchange.card import text
    from einthoven.exchange.onnx_out import export

    with tempfile.TemporaryDirectory() as folder:
        model = export(
            net, Path(folder) / "model.onnx", image=(recipe.pool.height, recipe.pool.width), manifest=manifest
        ).read_bytes()
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    files: dict[str, bytes | str | Path] = {"model.onnx": model, "weights.safetensors": save(state), "card.md": text(manifest)}
    return write_bundle(path, manifest, files, overwrite=True)
