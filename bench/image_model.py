"""How good the default image model is: writes the section "The default image model" of docs/accuracy.md.

    python bench/image_model.py --data ../shared/data/ptbxl [--work runs/image] [--model einthoven-paper-1]

Prints the records of the test folds as the recipe did (the same pictures: `--work` of the recipe's OUT draws none again), shows
them to the Bundle's model.onnx, and compares each preset with clean prints of the same records. Nothing is chosen here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from einthoven.data.labels import labels_of
from einthoven.data.load import load
from einthoven.evaluate.compare import compare
from einthoven.evaluate.evaluation import Evaluation, evaluate
from einthoven.exchange.predict import Predictor
from einthoven.represent.images import scaled
from einthoven.train.default.run import calibrated_to
from einthoven.train.image_default.pool import Ecgs, pool

ROOT = Path(__file__).resolve().parent.parent
HEAD = "## The default image model"
BEFORE = "## The default model"
DRAWS = 1000
_BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="einthoven-paper-1")
    parser.add_argument("--work", type=Path, help="where pictures are, or are to be kept")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "accuracy.md")
    options = parser.parse_args()
    predictor = Predictor.load(options.model)
    if options.work:
        lines = section(predictor, options.data, options.work, options.jobs)
    else:
        with TemporaryDirectory() as folder:
            lines = section(predictor, options.data, Path(folder), options.jobs)
    text = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
    options.out.write_text(put(text, lines), encoding="utf-8")
    print("\n".join(lines))


def put(text: str, lines: list[str]) -> str:
    """`text` with this section in place of its old one, else ahead of the section on the default model, else at the end."""
    start = text.find(HEAD + "\n")
    if start >= 0:
        end = text.find("\n## ", start)
        text = text[:start] + (text[end + 1 :] if end >= 0 else "")
    at = text.find(BEFORE + "\n")
    at = len(text) if at < 0 else at
    return text[:at].rstrip() + "\n\n" + "\n".join(lines).rstrip() + "\n\n" + text[at:].lstrip()


def section(predictor: Predictor, data: Path, work: Path, jobs: int) -> list[str]:
    manifest = predictor.manifest
    recipe = manifest.training.recipe
    folds, words, views = recipe["test_folds"], recipe["pool"], recipe["judged_views"]
    index = load(data, jobs=jobs)
    index = index.select(np.flatnonzero(np.isin(index.column("fold"), folds)))
    superclass, statement = labels_of(index, "superclass"), labels_of(index, "statement")
    five = superclass.names
    rest = tuple(n for n in manifest.names if n not in five)
    truth = np.concatenate([superclass.matrix, statement.matrix[:, [statement.names.index(n) for n in rest]]], axis=1)
    patients = np.array(index.column("patient"))
    numbers = np.tile(np.arange(len(index)), views)
    found = {}
    for preset in words["presets"]:
        shown = pool(
            Ecgs(index, 0, recipe["seed"]), numbers, (preset,), words["look"], (words["width"], words["height"]),
            recipe["seed"] + 1, work,
        )  # fmt: skip
        logits = []
        for shard in shown.drawn(jobs):
            kept = shown.read(shard)
            for start in range(0, len(kept), _BATCH):
                rows = range(start, min(start + _BATCH, len(kept)))
                assert predictor.manifest.image is not None
                logits.append(predictor.run({"image": scaled(predictor.manifest.image.as_form(), kept.images(rows))})[0])
        found[preset] = predictor.probabilities(np.concatenate(logits))
    y, whose = truth[numbers], patients[numbers]
    limits = manifest.thresholds
    at = np.array([limits.values.get(n, 0.5) if limits else 0.5 for n in manifest.names])

    def judge(p: NDArray[np.float64], part: slice, y: NDArray[np.float32], whose: NDArray[np.str_]) -> Evaluation:
        where = limits.chosen_on if limits else ""
        return evaluate(
            y[:, part], p[:, part], manifest.names[part], "multilabel", whose, thresholds=at[part], thresholds_from=where,
            draws=DRAWS,
        )  # fmt: skip

    k = len(five)
    lines = [
        HEAD,
        "",
        f"`{manifest.name}`; written by `python bench/image_model.py`, trained by `recipes/image-default.yaml`, "
        f"{manifest.architecture.parameters / 1e6:.1f} million weights, {words['width']} x {words['height']} pixels. "
        f"Fold {', '.join(map(str, folds))} of the PTB-XL subset (CC BY 4.0, Wagner et al. 2020, doi 10.13026/kfzx-aw45), "
        f"{len(index)} records of {len(set(patients.tolist()))} patients, printed {views} times each in varied layouts, "
        f"colours, speeds and gains, each print distorted by every preset. Intervals: 95 %, {DRAWS} draws of patients. "
        "Renders, not real paper. Research use only.",
        "",
        "| pictures | macro AUROC, five superclasses | less than clean, paired | statements, macro AUROC | mean ECE |",
        "|---|---|---|---|---|",
    ]
    clean = found["clean"]
    for preset, p in found.items():
        first, second = judge(p, slice(0, k), y, whose), judge(p, slice(k, None), y, whose)
        drop = "-"
        if preset != "clean":
            d = compare(y[:, :k], clean[:, :k], p[:, :k], five, whose, draws=DRAWS)[0]
            drop = f"{d.difference:+.3f} ({d.low:+.3f} - {d.high:+.3f})"
        cells = (first.figure("macro_auroc"), drop, second.figure("macro_auroc"), first.figure("mean_ece"))
        lines.append(f"| {preset} | " + " | ".join(map(str, cells)) + " |")
    every = np.concatenate(list(found.values()))
    y_all, whose_all = np.tile(y, (len(found), 1)), np.tile(whose, len(found))
    first, second = judge(every, slice(0, k), y_all, whose_all), judge(every, slice(k, None), y_all, whose_all)
    pooled, mean, floor = calibrated_to(y_all, every)
    lines += [
        "",
        f"All {len(y_all)} pictures together: macro AUROC **{first.figure('macro_auroc')}**. ECE {pooled:.3f} over all "
        f"pairs of picture and superclass; in the mean by superclass {mean:.3f} ({floor:.3f} if perfectly calibrated).",
        "",
        "| label | positive pictures | AUROC | average precision | sensitivity | specificity | ECE |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in (first, second):
        for name in one.names:
            figures = (str(one.figure(f, name)) for f in ("auroc", "average_precision", "sensitivity", "specificity", "ece"))
            lines.append(f"| {name} | {one.positives[name]} | " + " | ".join(figures) + " |")
    lines += ["", f"Thresholds: {limits.rule if limits else '-'}, {limits.chosen_on if limits else '-'}.", ""]
    return lines


if __name__ == "__main__":
    main()
