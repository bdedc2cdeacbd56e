"""The report of a run for whoever decides whether to trust the model: one page that needs nothing else, and the Bundle's card.

First what it does and how good that is, on whom; then what it must not be used for; then how it came about.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from einthoven import __version__
from einthoven.evaluate import Evaluation, Figure
from einthoven.exchange.manifest import RESEARCH_ONLY, Manifest
from einthoven.train.checkpoint import Progress
from einthoven.train.recipe import Recipe
from einthoven.train.seen import seen_words

if TYPE_CHECKING:
    from einthoven.train.finetune import Judged, Prepared
    from einthoven.tune import Trainable

# Figure -> (what a reader calls it, what it means in one line).
WORDS: Mapping[str, tuple[str, str]] = {
    "macro_auroc": ("AUROC, mean of the labels", "how often a record with a label is ranked above one without; 0.5 is chance"),
    "macro_average_precision": (
        "Average precision, mean of the labels",
        "precision over all sensitivities; chance is the label's share",
    ),
    "accuracy": ("Accuracy", "share of records whose most probable class is the right one"),
    "macro_f1": ("F1, mean of the labels", "balance of sensitivity and precision at the threshold"),
    "weighted_f1": ("F1, weighted by frequency", ""),
    "exact_match": ("Exact match", "share of records with every label right"),
    "hamming": ("Hamming loss", "share of single answers that are wrong"),
    "mean_ece": ("Calibration error (ECE), mean of the labels", "mean distance of stated probability and what happened"),
    "mean_ece_debiased": ("The same less the noise of few records", "Kumar et al. 2019; what more patients would leave of it"),
    "mean_brier": ("Brier score, mean of the labels", "mean squared distance of probability and truth"),
    "mean_mae": ("Mean absolute error", "in the unit of the value"),
    "mean_rmse": ("Root mean squared error", "in the unit of the value"),
    "mean_bias": ("Bias", "mean of predicted minus true"),
    "mean_r2": ("R²", "share of the variance that is explained; 0 is always answering the mean"),
    "mean_pearson": ("Correlation (Pearson)", ""),
}
OF_LABEL = {
    "single": ("auroc", "average_precision", "sensitivity", "specificity", "precision", "f1", "ece"),
    "multilabel": ("auroc", "average_precision", "sensitivity", "specificity", "precision", "f1", "ece"),
    "regression": ("mae", "rmse", "bias", "r2", "pearson"),
}
HEADS = {
    "auroc": "AUROC", "average_precision": "Average precision", "sensitivity": "Sensitivity", "specificity": "Specificity",
    "precision": "Precision (PPV)", "f1": "F1", "ece": "ECE", "mae": "MAE", "rmse": "RMSE", "bias": "Bias", "r2": "R²",
    "pearson": "Correlation",
}  # fmt: skip
CAPTIONS = {
    "confusion.png": "What the model answers, by what the record's label is. Rows sum up to 100 %.",
    "roc_pr.png": "Left: sensitivity against false alarms at every threshold. Right: how many of the alarms are right, "
    "which depends on how frequent the label is among these patients.",
    "calibration.png": "Of the answers with a stated probability near 0.8 about eight in ten should be right: the points "
    "should lie on the dotted line. Bars are 95 % intervals; groups of fewer than 5 answers are left out.",
    "values.png": "Left: each point a record. Right: the difference against the mean; 95 % of the differences lie between the "
    "dashed lines if they are normally distributed.",
    "curves.png": "How it learned. The epoch with the lowest validation loss was kept; test patients had no part in that.",
    "finder.png": "How the learning rate was chosen.",
}

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1d22;--soft:#5c626c;--line:#d9dce1;--card:#fff;--back:#f4f5f7;--warn:#8a4b00;
--warnback:#fff4e0;--stop:#a4000f;--stopback:#fdecea;--good:#1f7a3d}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a5acb8;--line:#3b4049;--card:#1f2227;--back:#15171a;
--warn:#f5c27b;--warnback:#3a2c12;--stop:#ff9a90;--stopback:#43201d;--good:#6fcf8e}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
main{max-width:1080px;margin:0 auto;padding:22px}
header{margin-bottom:14px}h1{font-size:1.4rem;margin:0 0 2px}h2{font-size:1.05rem;margin:0 0 8px}
.soft{color:var(--soft)}p{margin:0 0 8px}
section,figure{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 18px;margin:0 0 14px}
.lead{font-size:1.1rem}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:12px 0 4px}
.tile{border:1px solid var(--line);border-radius:8px;padding:10px 16px;min-width:190px;flex:1}
.tile b{display:block;font-size:1.65rem;font-weight:650;line-height:1.2;font-variant-numeric:tabular-nums}
.tile small{color:var(--soft);display:block}
.stop{background:var(--stopback);border-color:var(--stop)}.stop h2{color:var(--stop)}
.warn{background:var(--warnback);border-color:var(--warn)}.warn h2{color:var(--warn)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:5px 12px 5px 0;vertical-align:top;border-bottom:1px solid var(--line)}
tr:last-child>*{border-bottom:0}thead th{color:var(--soft);font-weight:600;font-size:.85rem;vertical-align:bottom}
tbody th{font-weight:550}td.n,th.n{text-align:right;white-space:nowrap}
td small,th small{font-weight:400;color:var(--soft);display:block;font-size:.8rem}
.scroll{overflow-x:auto}
.scroll table{font-size:.9rem}.scroll small{font-size:.74rem}
.scroll th,.scroll td{padding-right:7px}.scroll td:last-child{padding-right:0}
figure.small img{width:470px}
figure{padding:14px}figure img{display:block;max-width:100%;height:auto;margin:0 auto;background:#fff;border-radius:4px}
figcaption{color:var(--soft);font-size:.88rem;padding-top:8px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:14px;align-items:start}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 18px;margin:0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
ul{margin:0;padding-left:20px}summary{cursor:pointer;color:var(--soft)}
pre{font-size:.82rem;overflow-x:auto;margin:8px 0 0;white-space:pre-wrap}
footer{color:var(--soft);font-size:.85rem;text-align:center;padding:6px 0 16px}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--line:#bbb;--card:#fff;--back:#fff}body{font-size:10pt}
main{max-width:none;padding:0}section,figure{break-inside:avoid}}
"""


def to_html(
    described: Manifest, data: Prepared, judged: Judged, done: Progress, trainable: Trainable, recipe: Recipe, rate: float,
    pictures: Mapping[str, bytes],
) -> str:  # fmt: skip
    """The run as one self-contained page."""
    found = judged.evaluation
    head = (pictures.get("values.png") and "values.png") or "confusion.png"
    body = [
        f"<header><h1>{escape(described.name)}</h1><div class=soft>{escape(described.summary)}<br>"
        f"{escape(described.created[:10])} · {escape(RESEARCH_ONLY)}</div></header>",
        _verdict(found, data),
        _not_for(data, described),
        _warnings([*cautions(found), *data.warnings, *found.warnings]),
        _labels(found, described, judged),
        f'<div class="pair">{_figure(head, pictures)}{_figure("calibration.png", pictures)}</div>'
        if found.task == "single"
        else _figure(head, pictures) + _figure("calibration.png", pictures),
        _figure("roc_pr.png", pictures),
        _overall(found) if len(found.names) > 1 or found.task != "regression" else "",
        _whom(data),
        _how(data, done, trainable, recipe, rate, described),
        _figure("curves.png", pictures),
        _figure("finder.png", pictures),
        "<section><details><summary>The recipe, which <code>einthoven finetune</code> repeats</summary>"
        f"<pre>{escape(_recipe(recipe))}</pre></details></section>",
        f"<footer>einthoven {escape(__version__)} · {escape(RESEARCH_ONLY)}</footer>",
    ]
    return page(described.name, body)


def page(title: str, body: Iterable[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _verdict(found: Evaluation, data: Prepared) -> str:
    """How good, in three tiles and a sentence."""
    names = [n for n in headline(found) if n in found.overall]
    tiles = "".join(
        f'<div class="tile"><small>{escape(WORDS[n][0])}</small><b>{_value(found.overall[n])}</b>'
        f"<small>{_interval(found.overall[n])}</small></div>"
        for n in names
    )
    return (
        '<section><h2>How good it is</h2><p class="lead">'
        f"Measured on <b>{found.records:,} records of {found.patients:,} patients</b> that had no part in training, nor in "
        f"choosing the epoch{'' if found.task == 'regression' else ', the thresholds and the calibration'}.</p>"
        f'<div class="tiles">{tiles}</div>'
        f'<p class="soft">Intervals are 95 %, by {found.draws:,} draws of patients.</p></section>'
    )


def headline(found: Evaluation) -> tuple[str, ...]:
    """The figures to name first."""
    return {
        "single": ("macro_auroc", "accuracy", "macro_f1", "mean_ece"),
        "multilabel": ("macro_auroc", "macro_average_precision", "macro_f1", "mean_ece"),
        "regression": ("mean_mae", "mean_bias", "mean_r2"),
    }[found.task]


def _not_for(data: Prepared, described: Manifest) -> str:
    rules = limits(data, described)
    return f'<section class="stop"><h2>What it must not be used for</h2><ul>{_items(rules)}</ul></section>'


def limits(data: Prepared, described: Manifest) -> list[str]:
    """What the model cannot do, from what it was trained and tested on."""
    ages = np.array([a for a in np.asarray(data.index.column("age"))[data.rows[data.train]] if np.isfinite(a)])
    sets = sorted({str(d) for d in np.array(data.index.column("dataset"))[data.rows]})
    rules = [
        "Decisions about a patient: it is no medical device, and nobody has tested it in care.",
        f"Patients, recorders or hospitals unlike those of {', '.join(sets)}: the test patients come from the same source as "
        "the training patients, and figures elsewhere are usually lower. Test it on labelled ECGs of your own first "
        "(einthoven evaluate).",
        f"Anything but the value of: {', '.join(data.labels.names)}."
        if data.labels.task == "regression"
        else f"Anything but: {', '.join(data.labels.names)}. Every ECG gets one of these answers, whatever it shows."
        if data.labels.task == "single"
        else f"Anything but: {', '.join(data.labels.names)}. What is not on this list it does not see.",
    ]
    if len(ages) >= 20:
        low, high = np.quantile(ages, [0.01, 0.99])
        rules.append(f"Ages outside {low:.0f} to {high:.0f} years, where nearly all of the training patients lie.")
    else:
        rules.append("Children: the ages of the training patients are not known.")
    preset = described.signal.as_preset() if described.signal else None
    reach = preset.length / preset.fs if preset and preset.fs and preset.length else 0.0
    if described.image is not None:
        reach = described.image.as_form().seconds
        if described.image.pictures == "look":
            rules.append(
                "Photos of paper, before it is tested on photos: it was trained and judged on pictures drawn from recordings."
            )
    if reach:
        rules.append(f"What happens after the first {reach:g} s of a recording: it does not look there.")
    return rules


def cautions(found: Evaluation) -> list[str]:
    """What the figures themselves forbid to believe."""
    told = []
    auroc = found.overall.get("macro_auroc")
    if auroc is not None and not auroc.low > 0.5:
        told.append(
            "The interval of the AUROC reaches down to chance (0.5): nothing shows that the model has learned anything."
        )
    r2 = found.overall.get("mean_r2")
    if r2 is not None and not r2.low > 0:
        told.append("The interval of R² reaches 0: nothing shows that it does better than always answering the mean.")
    ece = found.overall.get("mean_ece")
    if ece is not None and not ece.low <= ece.value <= ece.high:
        told.append(
            "The interval of the calibration error lies above its value: in a small sample, resampling adds error of its own."
        )
    if found.patients < 100:
        told.append(f"Only {found.patients} test patients: another {found.patients} would give other figures.")
    return told


def _warnings(words: Sequence[str]) -> str:
    return f'<section class="warn"><h2>To beware of</h2><ul>{_items(dict.fromkeys(words))}</ul></section>' if words else ""


def _labels(found: Evaluation, described: Manifest, judged: Judged) -> str:
    """A row a label."""
    texts = {label.name: label.text for label in described.labels if label.text != label.name}
    shown = [n for n in OF_LABEL[found.task] if any(n in f for f in found.labels.values())]
    regression = found.task == "regression"
    heads = "".join(f'<th class="n">{HEADS[n]}</th>' for n in shown)
    rows = []
    for k, name in enumerate(found.names):
        cells = "".join(
            f'<td class="n">{_value(found.labels[name][n])}<small>{_interval(found.labels[name][n])}</small></td>'
            if n in found.labels[name]
            else '<td class="n">–</td>'
            for n in shown
        )
        many = found.records - found.unknown.get(name, 0) if regression else found.positives.get(name, 0)
        at = f'<td class="n">{judged.thresholds[k]:.2f}</td>' if found.task == "multilabel" else ""
        words = f"<small>{escape(texts[name])}</small>" if texts.get(name) else ""
        rows.append(f'<tr><th>{escape(name)}{words}</th><td class="n">{many:,}</td>{at}{cells}</tr>')
    heads = ('<th class="n">Threshold</th>' if found.task == "multilabel" else "") + heads
    counted = "Records" if regression else "With the label"
    rule = f"<p class=soft>Sensitivity, specificity, precision and F1 are those of {escape(_decision(judged))}.</p>"
    return (
        f"<section><h2>By {'value' if regression else 'label'}, on the test patients</h2><div class=scroll><table><thead><tr>"
        f'<th></th><th class="n">{counted}</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f"{'' if regression else rule}</section>"
    )


def _decision(judged: Judged) -> str:
    if judged.evaluation.task == "single":
        return "the most probable class"
    return f"the threshold, chosen for {judged.rule}"


def _overall(found: Evaluation) -> str:
    rows = "".join(
        f"<tr><th>{escape(WORDS[n][0])}</th><td class=n>{_value(f)}</td><td class=n>{_interval(f)}</td>"
        f"<td class=soft>{escape(WORDS[n][1])}</td></tr>"
        for n, f in found.overall.items()
        if n in WORDS
    )
    return (
        "<section><h2>All labels together</h2><table><thead><tr><th></th><th class=n>Value</th><th class=n>95 % interval</th>"
        f"<th></th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _whom(data: Prepared) -> str:
    """Whom it was trained, chosen and tested on."""
    index, people = data.index, data.patients
    age, sex = np.asarray(index.column("age")), index.column("sex")
    heads, columns = [], []
    for title, rows in (("Training", data.train), ("Validation", data.validation), ("Test", data.test)):
        mine = data.rows[rows]
        ages = age[mine][np.isfinite(age[mine])]
        told = [sex[i] for i in mine if sex[i]]
        counts = []
        for k in range(len(data.labels.names)):
            column = data.truth[rows, k]
            known = column[np.isfinite(column)]
            if data.labels.task == "regression":
                counts.append(f"{known.mean():.4g} ± {known.std():.3g}" if len(known) else "–")
            else:
                counts.append(f"{int(known.sum()):,} ({100 * known.mean():.0f} %)" if len(known) else "–")
        heads.append(f"<th class=n>{title}</th>")
        columns.append(
            [
                f"{len(rows):,}",
                f"{len({people[i] for i in rows}):,}",
                "{:.0f} ({:.0f} to {:.0f})".format(*np.quantile(ages, [0.5, 0.05, 0.95])) if len(ages) else "not known",
                f"{100 * sum(s == 'female' for s in told) / len(told):.0f} %" if told else "not known",
                *counts,
            ]
        )
    labels = ["Records", "Patients", "Age, median (90 % between)", "Women", *map(escape, data.labels.names)]
    rows_ = "".join(
        f"<tr><th>{label}</th>{''.join(f'<td class=n>{column[i]}</td>' for column in columns)}</tr>"
        for i, label in enumerate(labels)
    )
    failed = f"<p class=soft>{len(data.failed)} records could not be used; failed.txt names them.</p>" if data.failed else ""
    return (
        f"<section><h2>Whom it was trained and tested on</h2><table><thead><tr><th></th>{''.join(heads)}</tr></thead>"
        f"<tbody>{rows_}</tbody></table><p class=soft>Split: {escape(data.split)}. "
        f"No patient is in two parts (checked).</p>{failed}</section>"
    )


def _how(data: Prepared, done: Progress, trainable: Trainable, recipe: Recipe, rate: float, described: Manifest) -> str:
    chosen = "given" if recipe.learning_rate is not None else "by the finder, on training records"
    best = done.history[done.best_epoch]
    facts = {
        "Model": f"{described.summary.partition(', for ')[0]} ({described.citation})",
        "Trained parameters": f"{trainable.trainable:,} of {trainable.parameters:,} ({100 * trainable.share:.2f} %)",
        "Input": seen_words(data.seen, data.examples.shape),
        "Epochs": f"{len(done.history)} run, number {done.best_epoch + 1} kept (validation loss {best['validation_loss']:.4f})",
        "Learning rate": f"{rate:.2g} at the most ({chosen}), {recipe.schedule}, {recipe.optimizer}, batch {recipe.batch}",
        "Calibration": f"{recipe.calibration}, fitted on the validation patients"
        if data.labels.task != "regression"
        else "none",
        "Time": f"{done.seconds:.0f} s of training",
        "Seed": str(recipe.seed),
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<section><h2>How it came about</h2><dl>{rows}</dl></section>"


def _figure(name: str, pictures: Mapping[str, bytes]) -> str:
    if name not in pictures:
        return ""
    data = base64.b64encode(pictures[name]).decode()
    width = int.from_bytes(pictures[name][16:20], "big") // 2  # drawn at 150 dpi, shown at 75
    caption = escape(CAPTIONS[name])
    return (
        f'<figure><img width="{round(width * 1.28)}" src="data:image/png;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _value(figure: Figure) -> str:
    return "–" if np.isnan(figure.value) else _number(figure.value)


def _interval(figure: Figure) -> str:
    if np.isnan(figure.value):
        return ""
    low, high = ("?" if np.isnan(v) else _number(v, like=figure.value) for v in (figure.low, figure.high))
    return f"{low} to {high}" if figure.low < 0 else f"{low}–{high}"


def _number(value: float, *, like: float | None = None) -> str:
    """Three places below 10, one above; a bound has as many as its figure (`like`)."""
    return f"{value:.3f}" if abs(value if like is None else like) < 10 else f"{value:.1f}"


def _items(words: Iterable[str]) -> str:
    return "".join(f"<li>{escape(w)}</li>" for w in words)


def _recipe(recipe: Recipe) -> str:
    from einthoven.train.finetune import shared_recipe

    return shared_recipe(recipe).text()
