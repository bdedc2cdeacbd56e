"""Models that answer in words: what they must be able to do, how their answers are marked, and the controls beside every score.

    told = examine(model, samples, ecgs_of(index), train=train_samples)
    told.rows                      # figure by figure: model, controls, signal gain with its interval
    told.save("scores/")           # scores.json, answers.jsonl, table.md, table.html

A score of a model that reads questions says little: the words alone often give the answer away (ECG-Bench's models answer as
well from zeros). So each is shown beside the same model on zeros, on noise, on another patient's ECG and on text only, and
beside the most frequent answer to the same question. **Signal gain** is the score less the best of these, in each resample of
patients the best of that resample; where its interval holds 0 the ECG has earned nothing.

N samples, R resamples, K labels.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from einthoven.beats.measurements import Measurements, Quantity
from einthoven.data.index import Index
from einthoven.data.instruct.sample import ECG, Sample, Turn
from einthoven.evaluate import metrics
from einthoven.evaluate.answers import chosen, labels, letter
from einthoven.evaluate.bootstrap import Resamples, interval
from einthoven.evaluate.reports import TOLERANCE, numbers, score_report, widened
from einthoven.evaluate.text import bleu_counts, bleu_of, meteor, rouge, token_f1, tokens
from einthoven.record import EcgError, Record
from einthoven.statements import STATEMENTS, parse_statement

if TYPE_CHECKING:
    from einthoven.data.labels import Labels

Floats = NDArray[np.float64]
Ecgs = Sequence[Sequence[Record]]
CANNOT = re.compile(
    r"(?i)\b(?:can ?not|can't|could not|not possible to) (?:be )?(?:reliably )?"
    r"(?:determined?|measured?|assess(?:ed)?|judged?)\b"
)


class Answerer(Protocol):
    """An answering model. The last turn of each prompt is what is asked for and must not be looked at."""

    name: str

    def answer(self, prompts: Sequence[Sample], ecgs: Ecgs) -> list[str]:
        """The last turn of each prompt in the model's words. `ecgs`: the records of each, in the order of its `<ecg>`."""

    def log_likelihood(self, prompts: Sequence[Sample], ecgs: Ecgs, candidates: Sequence[Sequence[str]]) -> list[list[float]]:
        """Mean log-probability a token of each candidate as the last turn."""


# -- controls
# --------------------------------------------------------------------------------------------------------------------

CONTROLS = ("zeros", "noise", "another patient", "text only", "majority")


def controlled(control: str, samples: Sequence[Sample], ecgs: Ecgs, seed: int = 0) -> tuple[list[Sample], list[list[Record]]]:
    """The prompts and ECGs that a control shows in place of the true ones ("majority" shows nothing: see `Majority`).

    "noise" is white, of each lead's own spread. "another patient" is an ECG of the same set whose patient is another one.
    Raises EcgError for a control that is not on offer, or where there is only one patient.
    """
    rng = np.random.default_rng(seed)
    if control == "zeros":
        return list(samples), [[_same(r, np.zeros_like(r.signal)) for r in rs] for rs in ecgs]
    if control == "noise":
        return list(samples), [[_same(r, _noise(r.signal, rng)) for r in rs] for rs in ecgs]
    if control == "text only":
        return [_without(s) for s in samples], [[] for _ in samples]
    if control == "another patient":
        return list(samples), _exchanged(samples, ecgs, rng)
    raise EcgError(f"no control {control!r} (there are: {', '.join(CONTROLS)})")


def _same(record: Record, signal: NDArray[np.float32]) -> Record:
    """The record with another signal, and without words of its own."""
    return replace(record, signal=signal.astype(np.float32), statements=(), codes=(), machine={}, median=None)


def _noise(signal: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    spread = np.nan_to_num(np.nanstd(np.where(np.isfinite(signal), signal, 0), axis=1, keepdims=True))
    return np.asarray(rng.normal(0, 1, signal.shape) * spread, np.float32)


def _without(s: Sample) -> Sample:
    first = next(i for i, turn in enumerate(s.turns) if turn.role == "user")
    turns = [replace(t, content=re.sub(rf"(?:(?:First|Second) ECG: )?{ECG}\n?", "", t.content)) for t in s.turns]
    if not turns[first].content.strip():
        turns[first] = replace(turns[first], content="What does the ECG show?")
    return replace(s, records=(), turns=tuple(turns))


def _exchanged(samples: Sequence[Sample], ecgs: Ecgs, rng: np.random.Generator) -> list[list[Record]]:
    """Of each sample the ECGs of another one of another patient, with as many ECGs; shifted by one place in a random order."""
    out: list[list[Record]] = [[] for _ in samples]
    sizes: dict[int, list[int]] = defaultdict(list)
    for i, rs in enumerate(ecgs):
        sizes[len(rs)].append(i)
    for size, rows in sizes.items():
        if size == 0:
            continue
        # In order of patients, shifted by the largest patient's number of samples: nobody gets an ECG of his own.
        count = Counter(_patient(samples[i]) for i in rows)
        names = list(count)
        order = {name: k for k, name in enumerate(names[i] for i in rng.permutation(len(names)))}
        within = dict(zip(rows, rng.permutation(len(rows)).tolist(), strict=True))
        by = sorted(rows, key=lambda i: (order[_patient(samples[i])], within[i]))
        shift = max(count.values())
        if 2 * shift > len(by):
            raise EcgError("another patient's ECG: one patient has more than half of the samples")
        for k, i in enumerate(by):
            out[i] = list(ecgs[by[(k + shift) % len(by)]])
    return out


def _patient(s: Sample) -> str:
    return s.group or (s.records[0] if s.records else s.id)


@dataclass
class Majority:
    """The most frequent answer to the same question in the training data; to the same template, the same kind, where the
    question is new. It has never seen an ECG."""

    name: str = "majority"
    said: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, train: Iterable[Sample]) -> Majority:
        out = cls()
        for s in train:
            for key in _asked(s):
                out.said.setdefault(key, Counter())[s.answer] += 1
        return out

    def answer(self, prompts: Sequence[Sample], ecgs: Ecgs = ()) -> list[str]:
        return [self._best(s) for s in prompts]

    def log_likelihood(self, prompts: Sequence[Sample], ecgs: Ecgs, candidates: Sequence[Sequence[str]]) -> list[list[float]]:
        out = []
        for s, words in zip(prompts, candidates, strict=True):
            counts = next((self.said[key] for key in _asked(s) if key in self.said), Counter[str]())
            out.append([math.log((counts[w] + 1) / (counts.total() + len(words))) for w in words])
        return out

    def _best(self, s: Sample) -> str:
        for key in _asked(s):
            if counts := self.said.get(key):
                return max(counts, key=lambda words: (counts[words], words))
        return ""


def _asked(s: Sample) -> tuple[str, str, str]:
    question = s.question.replace(ECG, "").strip()
    return f"question {question}", f"template {s.source} {s.made.get('by')}", f"kind {s.kind}"


# -- marking one answer
# --------------------------------------------------------------------------------------------------------------------

SETS = ("closed", "choice", "verify", "query", "compare")


# Labels of PTB-XL's superclasses and of ECGBench's tasks, and what else they are called.
WORDINGS: Mapping[str, tuple[str, ...]] = {
    "NORM": ("normal ECG", "normal electrocardiogram"),
    "ABNORMAL": ("abnormal ECG",),
    "MI": ("myocardial infarction",),
    "STTC": ("ST/T change", "ST-T change", "ST-T changes", "ST/T changes"),
    "CD": ("conduction disturbance", "conduction disturbances"),
    "HYP": ("hypertrophy",),
    "AF": ("atrial fibrillation", "AFIB"),
    "I-AVB": ("first-degree AV block", "first degree atrioventricular block", "1st degree AV block"),
    "1dAVb": ("first-degree AV block", "first degree atrioventricular block", "1st degree AV block"),
    "LBBB": ("left bundle branch block",),
    "RBBB": ("right bundle branch block",),
    "SB": ("sinus bradycardia",),
    "ST": ("sinus tachycardia",),
    "PAC": ("premature atrial contraction", "premature atrial complex", "premature atrial complexes", "PACs"),
    "PVC": ("premature ventricular contraction", "premature ventricular complex", "premature ventricular complexes", "PVCs"),
    "STD": ("ST depression", "ST-segment depression"),
    "STE": ("ST elevation", "ST-segment elevation"),
}


@dataclass(frozen=True)
class Mark:
    """What one answer is worth: `figures` by name, `said` the options that were read (None: it cannot be read)."""

    figures: Mapping[str, float]
    said: frozenset[str] | None = None


def mark(s: Sample, answer: str) -> Mark:
    """An answer to a sample. Closed sets by equality of sets, an answer that cannot be read is wrong and counted; figures by
    tolerance; reports and free words by statements, figures and overlap."""
    if s.kind in SETS and s.options and s.answers:
        said = _read(s, answer)
        return Mark({"accuracy": float(said == frozenset(s.answers)), "unread": float(said is None)}, said)
    out: dict[str, float] = {}
    truth = _figure(s)
    if s.kind == "report":
        out |= _report(s, answer)
    elif truth is not None or CANNOT.search(s.answer):
        return Mark(_figures(s, answer, truth))  # how alike the words are says nothing of a figure
    else:
        if there := widened(parse_statement(s.answer)):
            out["statement F1"] = _f1(widened(parse_statement(answer)), there)
        out["exact"] = float(_low(answer) == _low(s.answer))
    out |= _overlap(answer, s.answer)
    return Mark(out)


def _read(s: Sample, answer: str) -> frozenset[str] | None:
    if s.kind == "choice" and re.search(r"(?m)^\(?A[.):]", s.question) and len(s.options) <= 26:
        found = letter(answer, len(s.options))
        if found is not None:
            return frozenset({s.options[ord(found) - 65]})
    if len(s.options) > 2 and all(option in WORDINGS for option in s.options):
        return _labelled_answer(answer, s.options)
    return chosen(answer, s.options)


# ECG words that hold a label ("ST" is sinus tachycardia in CODE-15%) and mean something else.
_DECOYS = (
    "ST segment", "ST segments", "ST T", "ST T changes", "ST changes", "ST/T change", "ST elevation", "ST depression",
    "ST abnormality",
    "ST T wave changes", "non-specific ST changes",
)  # fmt: skip


def _labelled_answer(answer: str, options: Sequence[str]) -> frozenset[str] | None:
    wordings = {option: WORDINGS[option] for option in options}
    taken = {re.sub(r"[^a-z0-9]+", " ", w.lower()) for words in wordings.values() for w in words}
    decoys = tuple(d for d in _DECOYS if re.sub(r"[^a-z0-9]+", " ", d.lower()) not in taken)
    said = labels(answer, {**wordings, "no label": decoys})
    if said == frozenset({"no label"}):
        return None
    return None if said is None else said - {"no label"}


def _low(text: str) -> str:
    return re.sub(r"\s+", " ", text.strip().strip(".").lower())


def _f1(said: frozenset[str], there: frozenset[str]) -> float:
    return 2 * len(said & there) / (len(said) + len(there)) if said or there else math.nan


_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def _figure(s: Sample) -> tuple[str, float] | None:
    """The one figure that is asked for: name and value."""
    if s.kind not in ("open", "fill-in") or len(s.evidence) != 1 or len(s.turns) > 3:
        return None
    name, value = str(s.evidence[0]["name"]), s.evidence[0].get("value")
    return (name, float(value)) if name in TOLERANCE and isinstance(value, int | float) else None


def _figures(s: Sample, answer: str, truth: tuple[str, float] | None) -> dict[str, float]:
    """Right where the first figure that is said lies within the tolerance, or where both say that there is none."""
    none = CANNOT.search(answer) is not None
    found = None if none else _NUMBER.search(answer.replace("−", "-"))
    if truth is None:
        return {"figure right": float(none), "unread": float(not none and found is None)}
    name, value = truth
    if found is None:
        return {"figure right": 0.0, "unread": float(not none)}
    gap = abs(float(found.group()) - value)
    if name.endswith("axis_deg"):
        gap = min(gap % 360, 360 - gap % 360)
    limit = max(TOLERANCE[name], 0.05 * value) if name == "rate_bpm" else TOLERANCE[name]
    return {"figure right": float(gap <= limit), "figure error": gap, "unread": 0.0}


def truth_of(s: Sample) -> frozenset[str]:
    """The statements that are true of a sample's ECG: those its evidence states; else those its answer makes."""
    stated = {str(e["name"]) for e in s.evidence if e.get("stated") and e["name"] in STATEMENTS}
    return frozenset(stated or parse_statement(s.answer))


def measured_of(s: Sample) -> Measurements | None:
    """The figures of a sample's evidence, as far as a report gives them."""
    values = {
        str(e["name"]): e.get("value") for e in s.evidence if not e.get("leads") and isinstance(e.get("value"), int | float)
    }
    names = (*TOLERANCE, *(f"qtc_{f}_ms" for f in ("bazett", "fridericia", "framingham", "hodges")))
    if not values.keys() & set(names):
        return None
    return Measurements({n: Quantity(float(values.get(n) if values.get(n) is not None else math.nan), "", "") for n in names})  # type: ignore[arg-type]


def _report(s: Sample, answer: str) -> dict[str, float]:
    truth = truth_of(s)
    measured = measured_of(s)
    score = score_report(answer, truth, measured)
    out = {"report F1": 0.0 if math.isnan(score.f1) else score.f1}
    if measured is not None:
        told = [n for n in numbers(s.answer, measured) if n.right is not None]
        if told:  # what the true report gives is asked for: a figure that is left out is not right
            names = {n.name for n in told}
            right = {n.name for n in score.numbers if n.right}
            out["figures right"] = len(right & names) / len(names)
    return out


def _overlap(answer: str, truth: str) -> dict[str, float]:
    one, two, longest = rouge(answer, truth)
    return {
        "ROUGE-1": one, "ROUGE-2": two, "ROUGE-L": longest, "METEOR": meteor(tokens(answer)[:400], tokens(truth)[:400]),
        "token F1": token_f1(answer, truth),
    }  # fmt: skip


# -- many answers
# --------------------------------------------------------------------------------------------------------------------

Of = Callable[[Floats], Floats]  # weights (R, N) -> (R,)
LOWER = ("unread", "Hamming loss", "figure error")


def group_of(s: Sample) -> str:
    """What a sample is counted under: ECG-QA's question type, ECGBench's task, the family of a template, or the kind."""
    named = s.made.get("question_type") or s.made.get("task")
    if named:
        return f"{s.source}: {named}"
    by = str(s.made.get("by", ""))
    family = re.sub(r"(?:-\d+)+$", "", by.removeprefix("template ")) if by.startswith("template ") else ""
    return f"{s.kind}: {family}" if family else s.kind


def figures_of(samples: Sequence[Sample], answers: Sequence[str]) -> dict[str, Of]:
    """The figures of a group of samples as functions of their weights."""
    marks = [mark(s, a) for s, a in zip(samples, answers, strict=True)]
    out: dict[str, Of] = {}
    for name in dict.fromkeys(name for m in marks for name in m.figures):
        values = np.array([m.figures.get(name, math.nan) for m in marks])
        out[name] = _mean(values)
    if any("ROUGE-L" in m.figures for m in marks):
        free = np.array(["ROUGE-L" in m.figures for m in marks])
        counts = np.stack([bleu_counts(tokens(a), [tokens(s.answer)]) for s, a in zip(samples, answers, strict=True)])
        counts[~free] = 0
        out["BLEU-4"] = lambda w, counts=counts: bleu_of(w @ counts)  # type: ignore[misc]
    out |= _labelled(samples, marks)
    return out


def _mean(values: Floats) -> Of:
    there = np.isfinite(values)
    kept = np.where(there, values, 0.0)

    def of(w: Floats) -> Floats:
        total = w @ there
        return np.asarray(np.divide(w @ kept, total, out=np.full(len(w), np.nan), where=total > 0))

    return of


def _labelled(samples: Sequence[Sample], marks: Sequence[Mark]) -> dict[str, Of]:
    """Macro F1 and Hamming loss where all samples ask for the same labels, several at once."""
    options = samples[0].options
    if len(options) < 3 or any(s.options != options for s in samples) or all(len(s.answers) == 1 for s in samples):
        return {}
    truth = np.array([[o in s.answers for o in options] for s in samples], float)
    said = np.array([[o in (m.said or ()) for o in options] for m in marks], float)
    return {
        "macro F1": lambda w: metrics.macro(metrics.f1(metrics.count(truth, said, w))),
        "Hamming loss": lambda w: metrics.hamming(truth, said, w),
    }


def answers_of(
    model: Answerer,
    samples: Sequence[Sample],
    ecgs: Callable[[str], Record],
    control: str = "",
    *,
    batch: int = 16,
    seed: int = 0,
) -> list[str]:
    """The model's answers, on the true ECGs or under a control; ECGs are read a batch at a time."""
    out: list[str] = []
    if control in ("", "zeros", "noise", "text only"):
        for start in range(0, len(samples), batch):
            part = list(samples[start : start + batch])
            shown: Ecgs = [[] if control == "text only" else [ecgs(r) for r in s.records] for s in part]
            if control:
                part, shown = controlled(control, part, shown, seed + start)
            out += _checked(model, model.answer(part, shown), len(part))
        return out
    # Of another patient: names are exchanged first, the ECGs read afterwards.
    names = [[_named(r) for r in s.records] for s in samples]
    _, others = controlled(control, samples, names, seed)
    for start in range(0, len(samples), batch):
        part = list(samples[start : start + batch])
        shown = [[ecgs(str(r.source.path)) for r in rs] for rs in others[start : start + batch]]
        out += _checked(model, model.answer(part, shown), len(part))
    return out


def _named(name: str) -> Record:
    from einthoven.record import Source

    return Record(np.zeros((0, 0), np.float32), 1.0, (), source=Source(name))


def _checked(model: Answerer, answers: list[str], count: int) -> list[str]:
    if len(answers) != count or not all(isinstance(a, str) for a in answers):
        raise EcgError(f"{model.name} gave {len(answers)} answers to {count} questions")
    return answers


def ecgs_of(index: Index) -> Callable[[str], Record]:
    """A record of an index by its name."""
    place = {name: i for i, name in enumerate(index.column("record"))}

    def read(name: str) -> Record:
        if name not in place:
            raise EcgError(f"no record {name!r:.80} in the index", path=index.folder)
        return index.record(place[name])

    return read


@dataclass(frozen=True)
class Row:
    """One figure of one group: the model's with its interval, the controls', and the signal gain with its interval."""

    group: str
    figure: str
    n: int
    value: float
    low: float
    high: float
    controls: Mapping[str, float]
    best: str = ""
    gain: float = math.nan
    gain_low: float = math.nan
    gain_high: float = math.nan

    @property
    def earned(self) -> bool:
        """Whether the whole interval of the gain lies above 0."""
        return self.gain_low > 0


@dataclass(frozen=True)
class Examination:
    """All rows, and what they rest on: samples, the answers under each condition ("" the true ECG), the settings."""

    model: str
    rows: tuple[Row, ...]
    samples: tuple[Sample, ...]
    answers: Mapping[str, Sequence[str]]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def row(self, group: str, figure: str) -> Row:
        found = next((r for r in self.rows if (r.group, r.figure) == (group, figure)), None)
        if found is None:
            raise EcgError(f"no figure {figure!r} of {group!r}")
        return found

    def save(self, folder: str) -> None:
        """scores.json, answers.jsonl, table.md, table.html."""
        from einthoven.evaluate.language_table import save

        save(self, folder)


def examine(
    model: Answerer,
    samples: Sequence[Sample],
    ecgs: Callable[[str], Record],
    *,
    train: Iterable[Sample] = (),
    controls: Sequence[str] = CONTROLS,
    before: Answerer | None = None,
    draws: int = 1000,
    seed: int = 0,
    batch: int = 16,
) -> Examination:
    """A model's answers to samples, marked, beside the controls.

    Args:
        ecgs: a record by its name (`ecgs_of(index)`).
        train: what "majority" counts; without it the control is left out (and said so in the settings).
        before: the same model before fine-tuning: a column more, and no control.
        draws: resamples of patients for the intervals.
    """
    if not samples:
        raise EcgError("no samples to answer")
    answers: dict[str, list[str]] = {"": answers_of(model, samples, ecgs, batch=batch)}
    majority = Majority.of(train)
    used = [c for c in controls if c != "majority" or majority.said]
    for control in used:
        answers[control] = (
            majority.answer(samples)
            if control == "majority"
            else answers_of(model, samples, ecgs, control, batch=batch, seed=seed)
        )
    if before is not None:
        answers["before"] = answers_of(before, samples, ecgs, batch=batch)
    settings = {
        "generation": dict(getattr(model, "settings", {})),
        "controls": list(used),
        "left out": [c for c in controls if c not in used],
        "draws": draws,
        "seed": seed,
    }
    return Examination(model.name, tuple(rows_of(samples, answers, draws, seed)), tuple(samples), answers, settings)


def rows_of(samples: Sequence[Sample], answers: Mapping[str, Sequence[str]], draws: int = 1000, seed: int = 0) -> list[Row]:
    """Figures with controls and gains, of each group and of all closed questions together."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, s in enumerate(samples):
        groups[group_of(s)].append(i)
        if s.kind in SETS and s.options and s.answers:
            groups["all closed questions"].append(i)
    out: list[Row] = []
    for name, rows in sorted(groups.items(), key=lambda pair: (pair[0] != "all closed questions", pair[0])):
        part = [samples[i] for i in rows]
        of = {condition: figures_of(part, [said[i] for i in rows]) for condition, said in answers.items()}
        draw = Resamples.of([_patient(s) for s in part], len(part), draws, seed)
        weights = np.concatenate(list(draw.weights()))
        for figure, own in of[""].items():
            rest = {c: of[c][figure] for c in of if c and figure in of[c]}
            out.append(_row(name, figure, len(part), own, rest, weights))
    return out


def _row(group: str, figure: str, n: int, own: Of, rest: Mapping[str, Of], weights: Floats) -> Row:
    once = np.ones((1, n))
    drawn = own(weights)
    low, high, _ = interval(drawn)
    value = float(own(once)[0])
    shown = {c: float(f(once)[0]) for c, f in rest.items()}
    judged = [c for c in rest if c != "before"]
    if figure == "unread" or not judged:
        return Row(group, figure, n, value, float(low), float(high), shown)
    sign = -1.0 if figure in LOWER else 1.0
    there = {c: sign * rest[c](weights) for c in judged}
    best = max(judged, key=lambda c: sign * shown[c] if shown[c] == shown[c] else -math.inf)
    with np.errstate(invalid="ignore"):
        gains = sign * drawn - np.fmax.reduce(list(there.values()))
    gain_low, gain_high, _ = interval(gains)
    gain = sign * (value - shown[best])
    return Row(group, figure, n, value, float(low), float(high), shown, best, gain, float(gain_low), float(gain_high))


# -- ranking by likelihood
# --------------------------------------------------------------------------------------------------------------------


def ranking(
    model: Answerer,
    records: Sequence[str],
    patients: Sequence[str],
    labels: Labels,
    ecgs: Callable[[str], Record],
    question: str,
    wordings: Mapping[str, str],
    *,
    verify: bool = False,
    controls: Sequence[str] = CONTROLS[:4],
    draws: int = 1000,
    seed: int = 0,
    batch: int = 16,
) -> tuple[list[Row], Mapping[str, Floats]]:
    """AUROC of each label, and their mean, from log-likelihoods: a true ranking over ECGs.

    Args:
        labels: (N, K) of the records; NaN is left out. question: put to each ECG. wordings: label -> its words. verify: the
        question has a {} for the words, and the score is the log-likelihood of "yes" less that of "no" (one question a
            label). Without it the words of all labels are answers to one question, and the score is the likelihood of each.
    Returns:
        rows ("macro AUROC" first), and the scores (N, K) under each condition.
    """
    lacking = [n for n in labels.names if n not in wordings]
    if lacking or len(labels) != len(records) or len(patients) != len(records):
        raise EcgError(f"no words for {', '.join(lacking)}" if lacking else "labels, records and patients differ in number")
    words = [wordings[n] for n in labels.names]
    scores: dict[str, Floats] = {}
    for control in ("", *controls):
        if verify:
            columns = []
            for word in words:
                said = _likelihoods(
                    model, _asked_of(records, patients, question.format(word)), ecgs, ("yes", "no"), control, batch, seed
                )
                columns.append(said[:, 0] - said[:, 1])
            scores[control] = np.stack(columns, axis=1)
        else:
            scores[control] = _likelihoods(model, _asked_of(records, patients, question), ecgs, words, control, batch, seed)
    truth = labels.matrix.astype(np.float64)
    weights = np.concatenate(list(Resamples.of(patients, len(records), draws, seed).weights()))

    def macro(score: Floats) -> Of:
        return lambda w: metrics.macro(metrics.auroc(truth, score, w))

    def one(score: Floats, k: int) -> Of:
        return lambda w: metrics.auroc(truth[:, [k]], score[:, [k]], w)[:, 0]

    out = [_row("ranking", "macro AUROC", len(records), macro(scores[""]), {c: macro(scores[c]) for c in controls}, weights)]
    for k, name in enumerate(labels.names):
        column = truth[:, k]
        if (column == 1).any() and (column == 0).any():
            rest = {c: one(scores[c], k) for c in controls}
            out.append(_row("ranking", f"AUROC {name}", len(records), one(scores[""], k), rest, weights))
    return out, scores


def ranking_of(
    model: Answerer, index: Index, rows: Sequence[int], level: str = "superclass", **more: Any
) -> tuple[list[Row], Mapping[str, Floats]]:
    """`ranking` of rows of an index at a level of labels: "superclass" (five, as answers to one question) or "statement" (all
    71 of PTB-XL, a yes or no each, in the words of our own samples)."""
    from einthoven.data.instruct import wording
    from einthoven.data.labels import labels_of
    from einthoven.statements import BY_SCP

    found = labels_of(index, level).select(rows)
    records, patients = ([index.column(n)[int(i)] for i in rows] for n in ("record", "patient"))
    if level == "superclass":
        words = {name: name for name in found.names}
        return ranking(model, records, patients, found, ecgs_of(index), wording.SUPERCLASSES_ASKED[0], words, **more)
    words = {name: wording.said(BY_SCP.get(name, name)) if name in BY_SCP else name for name in found.names}
    return ranking(model, records, patients, found, ecgs_of(index), wording.VERIFY[0], words, verify=True, **more)


def _asked_of(records: Sequence[str], patients: Sequence[str], question: str) -> list[Sample]:
    return [
        Sample(
            f"{r}/rank", (r,), "ranking", "closed", "diagnosis", (Turn("user", f"{ECG}\n{question}"), Turn("assistant", "?")),
            made={"by": "ranking", "from": "statements"}, group=p,
        )
        for r, p in zip(records, patients, strict=True)
    ]  # fmt: skip


def _likelihoods(
    model: Answerer,
    asked: Sequence[Sample],
    ecgs: Callable[[str], Record],
    words: Sequence[str],
    control: str,
    batch: int,
    seed: int,
) -> Floats:
    """(N, words) of the same answers to each question, under a control."""
    names = [[_named(r) for r in s.records] for s in asked]
    if control == "another patient":
        _, names = controlled(control, asked, names, seed)
    out: list[list[float]] = []
    for start in range(0, len(asked), batch):
        part = list(asked[start : start + batch])
        shown: Ecgs = [[ecgs(str(r.source.path)) for r in rs] for rs in names[start : start + batch]]
        if control in ("zeros", "noise", "text only"):
            part, shown = controlled(control, part, shown, seed + start)
        out += model.log_likelihood(part, shown, [list(words)] * len(part))
    found = np.array(out, np.float64)
    if found.shape != (len(asked), len(words)):
        raise EcgError(f"{model.name} gave likelihoods {found.shape}, not {(len(asked), len(words))}")
    return found


# -- agreement of a model with itself
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Consistency:
    """How far two ways of showing the same ECGs get the same answers. `agreement` with its interval; `chance`: the agreement of
    answers to the same question about other ECGs; `n` questions."""

    group: str
    n: int
    agreement: float
    low: float
    high: float
    chance: float


def consistency(
    samples: Sequence[Sample], a: Sequence[str], b: Sequence[str], *, draws: int = 1000, seed: int = 0
) -> list[Consistency]:
    """Answers to the same questions from signal and image, from two layouts, two paper speeds: closed ones the same set (two
    that cannot be read do not agree), free ones the F1 of their statements."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, s in enumerate(samples):
        groups[group_of(s)].append(i)
    rng = np.random.default_rng(seed)
    out = []
    for name, rows in sorted(groups.items()):
        part = [samples[i] for i in rows]
        same = np.array([_alike(samples[i], a[i], b[i]) for i in rows])
        other: list[float] = []
        asked: dict[str, list[int]] = defaultdict(list)
        for i in rows:
            asked[samples[i].question].append(i)
        for many in asked.values():
            mixed = rng.permutation(many)
            other += [_alike(samples[i], a[i], b[int(j)]) for i, j in zip(many, mixed, strict=True) if i != j]
        of = _mean(same)
        weights = np.concatenate(list(Resamples.of([_patient(s) for s in part], len(part), draws, seed).weights()))
        low, high, _ = interval(of(weights))
        chance = float(np.nanmean(other)) if other else math.nan
        out.append(Consistency(name, len(part), float(of(np.ones((1, len(part))))[0]), float(low), float(high), chance))
    return out


def _alike(s: Sample, a: str, b: str) -> float:
    if s.kind in SETS and s.options:
        one, two = _read(s, a), _read(s, b)
        return float(one is not None and one == two)
    one, two = widened(parse_statement(a)), widened(parse_statement(b))
    return _f1(one, two) if one or two else float(_low(a) == _low(b))
