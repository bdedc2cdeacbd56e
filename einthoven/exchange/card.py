"""The manifest in words that a clinician understands: how good, on whom, trained on what, and what it is not.

`text` is a Bundle's card.md; `front` is what the Hugging Face Hub wants at the head of its README.md. Every figure in it is
one of the manifest; nothing is said that is not there.
"""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from einthoven.exchange.manifest import Figure, ImageInput, Language, Manifest, Scores, SignalInput

# What the names of figures mean, in one line each.
MEANING = {
    "auroc": "chance that an ECG with the label gets a higher probability than one without it; 0.5 is a coin, 1 is perfect",
    "average_precision": "mean precision over all thresholds; a coin gives the share of ECGs that carry the label",
    "sensitivity": "share of the ECGs with the label that are found",
    "recall": "share of the ECGs with the label that are found",
    "specificity": "share of the ECGs without the label that are left alone",
    "precision": "share of the alarms that are right",
    "f1": "between precision and sensitivity, their harmonic mean",
    "accuracy": "share that is right",
    "ece": "how far a stated probability is from how often it comes true, on average; 0 is perfect",
    "ece_debiased": "the same less what the noise of few ECGs adds to it (Kumar et al. 2019)",
    "brier": "mean squared distance of probability and truth; 0 is perfect",
    "mae": "mean absolute error",
    "rmse": "root of the mean squared error",
    "r2": "share of the variance that is explained",
}
_SHOWN = ("auroc", "average_precision", "sensitivity", "specificity", "precision", "f1", "ece", "mae", "rmse", "r2")
_TASKS = {
    "multilabel": "several labels can be present at once; each has a probability of its own",
    "single": "exactly one of the labels; the probabilities add up to one",
    "regression": "a number",
    "language": "answers in words; a sentence is no measurement",
}


def text(manifest: Manifest) -> str:
    """The card, in Markdown."""
    parts = [
        f"# {manifest.name} {manifest.version}",
        f"**{manifest.use[:1].upper() + manifest.use[1:]}.** No diagnosis or treatment may rest on what it says.",
        manifest.summary,
        "## What it says of an ECG",
        f"Task: {manifest.task} ({_TASKS[manifest.task]}).",
        _labels(manifest),
        "## What it needs",
        _inputs(manifest),
        "## How good it is, and on whom",
        *([_scores(manifest, one) for one in manifest.metrics] or ["Nobody has measured it. Do not trust it before you have."]),
        _legend(manifest),
        "## Whether a probability means what it says",
        _calibration(manifest),
        "## What it was trained on",
        _training(manifest),
        "## What it is",
        _architecture(manifest),
        "## What to beware of",
        _beware(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def front(manifest: Manifest) -> str:
    """YAML front matter of a README.md on the Hugging Face Hub, with its results in the Hub's form (model-index)."""
    results = [
        {
            "task": {"type": "other", "name": f"ECG, {manifest.task}"},
            "dataset": {"type": "other", "name": one.data},
            "metrics": [{"type": f.name, "value": round(f.value, 4)} for f in one.figures if f.label is None],
        }
        for one in manifest.metrics
        if any(f.label is None for f in one.figures)
    ]
    words = {
        "license": manifest.licence.lower(),
        "library_name": "einthoven",
        "tags": ["ecg", "electrocardiogram", "onnx", "medical", "research-only"],
        **({"datasets": sorted({data.name for data in manifest.training.data})} if manifest.training.data else {}),
        **({"model-index": [{"name": manifest.name, "results": results}]} if results else {}),
    }
    return "---\n" + yaml.safe_dump(words, sort_keys=False, allow_unicode=True) + "---\n"


def readme(manifest: Manifest) -> str:
    """README.md for the Hub: front matter, card, and how to use it."""
    use = (
        "## How to use it\n\n"
        f"    pip install einthoven\n    einthoven models pull hf://OWNER/{manifest.name} {manifest.name}\n"
        f"    einthoven predict ecg.dcm --model {manifest.name}\n\n"
        "`manifest.json` names the SHA-256 of every file; `einthoven models verify` checks them."
    )
    return f"{front(manifest)}\n{text(manifest)}\n{use}\n"


def _labels(manifest: Manifest) -> str:
    if not manifest.labels:
        return "Whatever it is asked about an ECG."
    limits = manifest.thresholds.values if manifest.thresholds else {}
    rows = [
        (
            label.name,
            label.text + (f" ({label.unit})" if label.unit else ""),
            ", ".join(
                f"{system} {code}"
                for system, code in (("SCP", label.scp), ("SNOMED CT", label.snomed), ("ICD-10", label.icd10))
                if code
            ),
            f"{limits[label.name]:.3g}" if label.name in limits else "",
        )
        for label in manifest.labels
    ]
    made = table(("label", "in words", "codes", "counts as present from"), rows)
    if manifest.thresholds:
        by = f", by the rule {manifest.thresholds.rule}" if manifest.thresholds.rule else ""
        made += f"\n\nThresholds were chosen on {manifest.thresholds.chosen_on}{by}; they are no clinical cut-offs."
    return made


def _inputs(manifest: Manifest) -> str:
    if manifest.language is not None:
        return _views(manifest.language)
    said = []
    for one in manifest.inputs:
        if isinstance(one, SignalInput):
            said.append(_signal(one))
        elif isinstance(one, ImageInput):
            said.append(_image(one))
        else:
            said.append(
                f"- {len(one.names)} figures that Einthoven measures (intervals, amplitudes, axes; version {one.version})."
            )
    return "\n".join(said)


def _views(language: Language) -> str:
    """What a language model sees of an ECG."""
    lines = []
    for view in language.design.get("views", []):
        how = ", ".join(f"{name} {view[name]}" for name in ("encoder", "connector", "tokens") if view.get(name) is not None)
        lines.append(f"- The ECG as {view.get('represent')}" + (f" ({how})." if how else "."))
    whose = f"the weights of {language.base}, which are not in it" if language.base else "nothing beside what is in it"
    lines.append(f"- {language.limit:,} tokens at most, the ECG among them; it needs {whose}.")
    if language.generation:
        told = ", ".join(f"{name} {value}" for name, value in language.generation.items())
        lines.append(f"- Its answers are made so: {told}.")
    return "\n".join(lines)


_LONGER = {
    "mean": "a longer recording is read in windows, whose outputs are averaged",
    "max": "a longer recording is read in windows, of which the highest output counts",
    "first": "of a longer recording only the beginning is read",
}


def _signal(one: SignalInput) -> str:
    preset = one.as_preset()
    leads = ", ".join(preset.leads) if preset.leads else "all leads of the recording"
    rate = f" at {preset.fs:g} Hz" if preset.fs else ""
    length = f"{preset.length / preset.fs:g} s" if preset.length and preset.fs else "the whole recording"
    steps = " → ".join(step.name for step in preset.steps) or "nothing"
    missing = {
        "refuse": "A recording without one of the leads is refused.",
        "zero": "It was trained with leads left out: a missing lead is given as zero, with a warning.",
    }[one.missing_leads]
    unit = {"mV": "millivolts", "z": "standard deviations", "1": "a range of -1 to 1"}.get(preset.unit, preset.unit)
    return (
        f"- The ECG itself: {leads}; {length}{rate}, in {unit}; {_LONGER[one.windows.over]}. {missing}\n"
        f"- Preparation `{preset.name}`: {steps}." + (f" {preset.notes}" if preset.notes else "")
    )


def _image(one: ImageInput) -> str:
    form = one.as_form()
    colours = "colour" if form.colour else "grey"
    what = {
        "plot": f"a plot of {', '.join(form.leads) if form.leads else 'all leads'}, no paper",
        "page": f"a page of ECG paper ({form.layout}, {form.palette})",
        "photo": f"a whole sheet of {form.paper} paper ({form.layout}, {form.palette})",
    }[form.kind]
    missing = {
        "refuse": "A recording without one of the leads is refused.",
        "blank": "It was trained with leads left out: a missing lead is empty paper, with a warning.",
    }[one.missing_leads]
    pictures = {
        "look": "A photo or a scan is looked at as it is: whole, averaged down, its proportions kept, white around it.",
        "digitise": "Of a photo or a scan the traces are read off first, and drawn like a recording's.",
    }[one.pictures]
    return (
        f"- An image of {form.size[1]} x {form.size[0]} pixels in {colours}. A recording is drawn, "
        f"{form.seconds:g} s of it: {what}; {_LONGER[one.windows.over]}. {missing}\n- {pictures}"
    )


def _scores(manifest: Manifest, one: Scores) -> str:
    whom = f"{one.records:,} ECGs" + (f" of {one.patients:,} patients" if one.patients is not None else "")
    folds = f", folds {', '.join(map(str, one.folds))}" if one.folds else ""
    head = f"**{one.data}{folds}** ({one.role}): {whom}. In brackets the 95 % interval."
    lines = [head, "", *_summary(one)]
    by_label = {
        label.name: {f.name: f for f in one.figures if f.label == label.name}
        for label in manifest.labels
        if any(f.label == label.name for f in one.figures)
    }
    if by_label:
        columns = [name for name in _SHOWN if any(name in row for row in by_label.values())]
        columns += [n for row in by_label.values() for n in row if n not in columns and not columns]
        rows = []
        for name, row in by_label.items():
            positives = next((f.positives for f in row.values() if f.positives is not None), None)
            rows.append((name, "" if positives is None else f"{positives:,}", *(shown(row.get(c)) for c in columns)))
        lines += ["", table(("label", "ECGs with it", *columns), rows)]
    if one.notes:
        lines += ["", one.notes]
    if one.command:
        lines += ["", f"Measured by `{one.command}`."]
    return "\n".join(lines)


def _summary(one: Scores) -> list[str]:
    """The figures over all labels, as a list; the names of the first few are what people look for."""
    return [f"- {figure.name}: {shown(figure)}" for figure in one.figures if figure.label is None]


def _legend(manifest: Manifest) -> str:
    used = {
        f.name.removeprefix("macro_").removeprefix("weighted_").removeprefix("mean_")
        for s in manifest.metrics
        for f in s.figures
    }
    return "\n".join(f"- *{name}*: {meaning}" for name, meaning in MEANING.items() if name in used)


def _calibration(manifest: Manifest) -> str:
    if manifest.task == "language":
        return "What it says in words carries no probability."
    if manifest.task == "regression":
        return "It gives a value, not a probability."
    if manifest.calibration is None:
        return "It was not calibrated: read its probabilities as a ranking, not as frequencies."
    kind = manifest.calibration.words.get("kind", "unknown")
    on = f", fitted on {manifest.calibration.fitted_on}" if manifest.calibration.fitted_on else ""
    found = [
        f"{f.name} {shown(f)} on {s.data}"
        for s in manifest.metrics
        for f in s.figures
        if f.label is None and f.name.endswith(("ece", "ece_debiased"))
    ]
    measured = f" Measured afterwards: {'; '.join(found)}." if found else ""
    return (
        f"Calibration: {kind}{on}.{measured} Where a finding is more or less frequent than in those records, "
        "the probabilities are off again."
    )


def _training(manifest: Manifest) -> str:
    training = manifest.training
    lines = []
    for data in training.data:
        whom = f"{data.records:,} ECGs" + (f" of {data.patients:,} patients" if data.patients is not None else "")
        folds = f", folds {', '.join(map(str, data.folds))}" if data.folds else ""
        rights = "".join(f"; {word}" for word in (data.licence, data.citation) if word)
        lines.append(f"- {data.name}{folds} ({data.role}): {whom}{rights}")
    if not lines:
        lines.append("The manifest does not say.")
    if training.command:
        lines += ["", f"Made by `{training.command}`" + (f", seed {training.seed}." if training.seed is not None else ".")]
    return "\n".join(lines)


def _architecture(manifest: Manifest) -> str:
    what = manifest.architecture
    size = f", {what.parameters:,} parameters" if what.parameters is not None else ""
    tuning = f", tuned by {what.tuning.get('method', 'an unnamed method')}" if what.tuning else ""
    base = f", from {what.base}" if what.base else ""
    cite = f" {manifest.citation}" if manifest.citation else ""
    made = f" Made {manifest.created}." if manifest.created else ""
    return f"{what.model}{size}{tuning}{base}. Licence of the weights: {manifest.licence}.{made}{cite}"


def _beware(manifest: Manifest) -> str:
    lines = [
        "- It can say what is not so, in good English: hold every sentence against the measurements."
        if manifest.task == "language"
        else "- It knows the labels above and nothing else: an ECG without any of them is not for that reason normal.",
        "- It has seen the hospitals, recorders and patients named above. Elsewhere it can be worse: measure it there first.",
    ]
    if not any(one.role == "external test" for one in manifest.metrics):
        lines.append("- It was not tested on data from another source than its training data.")
    few = sorted(
        {f.label for s in manifest.metrics for f in s.figures if f.label and f.positives is not None and f.positives < 20}
    )
    if few:
        lines.append(f"- Fewer than 20 ECGs in a test carried {', '.join(few)}: those figures say little.")
    return "\n".join(lines)


def shown(figure: Figure | None) -> str:
    """0.931 (0.921-0.940); what is not a share gets four digits."""
    if figure is None:
        return ""
    digits = ".3f" if abs(figure.value) < 10 else ".1f"
    if figure.low is None or figure.high is None:
        return f"{figure.value:{digits}}"
    join = " to " if figure.low < 0 else "-"
    return f"{figure.value:{digits}} ({figure.low:{digits}}{join}{figure.high:{digits}})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is a table to the eye, too; columns without content are left out."""
    keep = [i for i in range(len(head)) if any(row[i] for row in rows)]
    cells = [[_cell(row[i]) for i in keep] for row in (head, *rows)]
    widths = [max(len(row[j]) for row in cells) for j in range(len(keep))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _cell(words: str) -> str:
    """Words of a manifest are anybody's: they must not end the cell or begin a tag."""
    return words.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
