"""The families of questions: each takes the facts of many ECGs and gives about as many questions as it is asked for.

What is asked in a closed set is asked in balance: for each "yes" to a statement the same words are put to another ECG whose
answer is "no", for each choice every answer is once the right one. Whoever answers from the words alone is right as often as
chance (the control that ECG-QA lacks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from einthoven.data.instruct import wording
from einthoven.data.instruct.facts import Facts, evidence, recased
from einthoven.data.instruct.kinship import BASIC, PARTS, basic, denied, known
from einthoven.data.instruct.reports import absent, conclusion, intervals, of_figure, of_statement, report, rhythm, usable
from einthoven.data.instruct.wording import CANNOT, QUANTITIES, axis_class, figure, label, place, said
from einthoven.statements import STATEMENTS, SUPERCLASSES, parse_statement

Rng = np.random.Generator
Pool = Sequence[Facts]


@dataclass(frozen=True)
class Draft:
    """A sample before it has an id: `talk` is pairs of question and answer."""

    facts: tuple[Facts, ...]
    kind: str
    topic: str
    talk: tuple[tuple[str, str], ...]
    by: str
    origin: str
    evidence: Sequence[Mapping[str, Any]] = ()
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    language: str = "en"
    more: Mapping[str, Any] | None = None


Family = Callable[[Pool, int, Rng], Iterator[Draft]]


def _pick(rng: Rng, words: Sequence[str]) -> tuple[int, str]:
    k = int(rng.integers(len(words)))
    return k, words[k]


def _shuffled(rng: Rng, items: Iterable[Any]) -> list[Any]:
    given = list(items)
    return [given[i] for i in rng.permutation(len(given))]


def _topic(name: str) -> str:
    group = STATEMENTS[name].group
    return "rhythm" if group in ("rhythm", "pacing") else "diagnosis" if name == "normal_ecg" else "morphology"


def _names(pool: Pool) -> list[str]:
    """Statements that somebody in the pool has and somebody else has not, in the order of the vocabulary."""
    stated = {name for f in pool for name in f.stated if f.certain(name)}
    return [name for name in STATEMENTS if name in stated and any(denied(f, name) for f in pool)]


def _shares(counts: Sequence[int], total: int) -> list[int]:
    """How many each gets of `total`, by the square root of how often it is there: what is common does not drown the rest."""
    weights = np.sqrt(np.asarray(counts, np.float64))
    if not len(weights) or weights.sum() == 0:
        return [0] * len(counts)
    wanted = np.minimum(np.ceil(total * weights / weights.sum()), counts)
    return [int(x) for x in wanted]


# -- yes, no, not sure
# --------------------------------------------------------------------------------------------------------------------


def verify(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """Pairs of yes and no about a statement (ECG-QA's single-verify)."""
    names = _names(pool)
    have = {name: [f for f in pool if f.certain(name)] for name in names}
    have_not = {name: [f for f in pool if denied(f, name)] for name in names}
    wanted = _shares([min(len(have[n]), len(have_not[n])) for n in names], (count + 1) // 2)
    for name, pairs in zip(names, wanted, strict=True):
        yes, no = _shuffled(rng, have[name])[:pairs], _shuffled(rng, have_not[name])[:pairs]
        for f, other in zip(yes, no, strict=True):
            k, question = _verify(rng, name)
            question += " Options: yes, no." if rng.random() < 0.3 else ""
            for one, answer in ((f, "yes"), (other, "no")):
                yield Draft(
                    (one,), "verify", _topic(name), ((question, answer),), f"verify-{k}", "statements",
                    of_statement(one, name), ("yes", "no"), (answer,), more={"statement": name},
                )  # fmt: skip


def _verify(rng: Rng, name: str) -> tuple[int, str]:
    k, words = _pick(rng, wording.VERIFY_NORMAL if name == "normal_ecg" else wording.VERIFY)
    return k, words.format(said(name))


def verify_unsure(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """Yes, no and not sure, where the set itself gives a likelihood between 0 and 100 (ECG-QA's first template)."""
    names = [n for n in _names(pool) if any(f.uncertain(n) for f in pool)]
    three = {
        n: (
            [f for f in pool if f.certain(n)],
            [f for f in pool if denied(f, n)],
            [f for f in pool if f.uncertain(n) and f.stated[n] <= 80],
        )
        for n in names
    }
    wanted = _shares([min(map(len, three[n])) for n in names], (count + 2) // 3)
    options = ("yes", "no", "not sure")
    for name, times in zip(names, wanted, strict=True):
        drawn = [_shuffled(rng, part)[:times] for part in three[name]]
        for each in zip(*drawn, strict=True):
            k, question = _verify(rng, name)
            question += " Options: yes, no, not sure."
            for one, answer in zip(each, options, strict=True):
                yield Draft(
                    (one,), "verify", _topic(name), ((question, answer),), f"verify-unsure-{k}", "statements",
                    of_statement(one, name), options, (answer,), more={"statement": name},
                )  # fmt: skip


# -- choices
# --------------------------------------------------------------------------------------------------------------------


def choose(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """One of two statements, or neither: each is once the answer (ECG-QA's single-choose)."""
    names = [n for n in _names(pool) if n not in ("normal_ecg", "sinus_rhythm")]
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(STATEMENTS[name].group, []).append(name)
    pairs = [(a, b) for members in groups.values() for a in members for b in members if a < b]
    given = 0
    for a, b in _shuffled(rng, pairs * (1 + 8 * count // max(3 * len(pairs), 1))):
        if given >= count:
            return
        sides = (
            [f for f in pool if f.certain(a) and denied(f, b)],
            [f for f in pool if f.certain(b) and denied(f, a)],
            [f for f in pool if denied(f, a) and denied(f, b)],
        )
        if not all(sides):
            continue
        k, words = _pick(rng, wording.CHOOSE)
        first, second = (label(a), label(b)) if rng.random() < 0.5 else (label(b), label(a))
        options = (first, second, "none")
        question = words.format(first, second) + f" Options: {first}, {second}, none."
        for side, answer, shown in zip(sides, (label(a), label(b), "none"), ((a,), (b,), (a, b)), strict=True):
            f = side[int(rng.integers(len(side)))]
            proof = [p for name in shown for p in of_statement(f, name)]
            yield Draft(
                (f,), "choice", _topic(a), ((question, answer),), f"choose-{k}", "statements", proof, options, (answer,),
            )  # fmt: skip
            given += 1


def choose_rhythm(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """The rhythm among four: each of the four is once the right one."""
    have = {name: [f for f in pool if basic(f) == name and f.certain(name)] for name in BASIC}
    there = [name for name in BASIC if have[name]]
    if len(there) < 4:
        return
    weights = np.sqrt([len(have[name]) for name in there])
    for _ in range((count + 3) // 4):
        four = [there[i] for i in rng.choice(len(there), 4, replace=False, p=weights / weights.sum())]
        question = "What is the rhythm?\n" + _lettered([_cap(label(name)) for name in four])
        for k, name in enumerate(four):
            f = have[name][int(rng.integers(len(have[name])))]
            options = tuple(_cap(label(n)) for n in four)
            yield Draft(
                (f,), "choice", "rhythm", ((question, f"{'ABCD'[k]}. {options[k]}"),), "rhythm-choice", "statements",
                of_statement(f, name), options, (options[k],),
            )  # fmt: skip


def choose_value(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """A figure among four; where the right one stands is drawn, so that the middle tells nothing."""
    names = [n for n in QUANTITIES if n != "qrs_axis_deg"]
    for f in _some(rng, pool, count):
        name = names[int(rng.integers(len(names)))]
        if not usable(f, name):
            continue
        q, value = QUANTITIES[name], f.figures[name].value
        step = q.step * (1.0 + 0.3 * rng.random())
        ranks = [k for k in range(4) if value - k * step >= q.least and value + (3 - k) * step <= q.most]
        if not ranks:
            continue
        rank = ranks[int(rng.integers(len(ranks)))]
        values = [round(value + (k - rank) * step) for k in range(4)]
        order = _shuffled(rng, range(4))
        options = tuple(figure(name, values[i]) for i in order)
        right = figure(name, round(value))
        j, words = _pick(rng, wording.VALUE_CHOICE)
        question = words.format(q.words) + "\n" + _lettered(options)
        yield Draft(
            (f,), "choice", "feature", ((question, f"{'ABCD'[options.index(right)]}. {right}"),), f"value-choice-{j}",
            "measurements", of_figure(f, name), options, (right,),
        )  # fmt: skip


def _lettered(options: Sequence[str]) -> str:
    return "\n".join(f"{'ABCDEFGH'[i]}. {option}" for i, option in enumerate(options))


def _cap(text: str) -> str:
    return text[:1].upper() + text[1:]


def _some(rng: Rng, pool: Pool, count: int) -> Iterator[Facts]:
    """`count` ECGs, each before any comes again."""
    while count > 0 and pool:
        yield from _shuffled(rng, pool)[:count]
        count -= len(pool)


# -- sets and classes
# --------------------------------------------------------------------------------------------------------------------


def query(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """All statements of a part: form, rhythm, diagnostic (ECG-QA's single-query)."""
    for f in _some(rng, pool, count):
        parts = [p for p in PARTS if known(f, p)]
        if not parts or not f.stated:
            continue
        part = parts[int(rng.integers(len(parts)))]
        names = [n for n in PARTS[part] if n in f.stated]
        k, words = _pick(rng, wording.QUERY[part])
        answers = tuple(dict.fromkeys(label(n) for n in names)) or ("none",)
        proof = [p for n in names for p in of_statement(f, n)]
        topic = {"rhythm": "rhythm", "form": "morphology", "diagnostic": "diagnosis"}[part]
        options = tuple(dict.fromkeys([*(label(n) for n in PARTS[part]), "none"]))
        yield Draft(
            (f,), "query", topic, ((f"{words} Include uncertain ones.", "; ".join(answers)),), f"query-{part}-{k}",
            "statements", proof, options, answers,
        )  # fmt: skip


def superclasses(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """PTB-XL's five superclasses, several at once (ECGBench's ptb-test)."""
    usable_ = [f for f in pool if f.superclasses]
    for f in _some(rng, usable_, min(count, len(usable_))):
        there = tuple(name for name in SUPERCLASSES if name in (f.superclasses or ()))
        k, words = _pick(rng, wording.SUPERCLASSES_ASKED)
        proof = [p for n in f.stated if STATEMENTS[n].superclass in there for p in of_statement(f, n)]
        yield Draft(
            (f,), "closed", "diagnosis", ((words, "; ".join(there)),), f"superclass-{k}", "statements", proof,
            tuple(SUPERCLASSES), there,
        )  # fmt: skip


def rhythm_open(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """The rhythm in a sentence, or in a gap. Common rhythms are asked less often than they come."""
    named = [(f, basic(f)) for f in pool]
    have = {name: [f for f, b in named if b == name] for name in BASIC}
    for name, many in zip(BASIC, _shares([len(have[n]) for n in BASIC], count), strict=True):
        for f in _shuffled(rng, have[name])[:many]:
            told = rhythm(f)
            if told is None:
                continue
            if rng.random() < 0.3 and f.certain(name):
                k, words = _pick(rng, wording.RHYTHM_FILL)
                yield Draft(
                    (f,), "fill-in", "rhythm", ((words, label(name)),), f"rhythm-fill-{k}", "statements",
                    of_statement(f, name), answers=(label(name),),
                )  # fmt: skip
            else:
                k, words = _pick(rng, wording.RHYTHM_OPEN)
                yield Draft((f,), "open", "rhythm", ((words, told[0]),), f"rhythm-open-{k}", "statements", told[1])


# -- figures
# --------------------------------------------------------------------------------------------------------------------


def value(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """A figure in words, or in a gap; "cannot be determined" where it is not there (at most one answer in five)."""
    names = list(QUANTITIES)
    missing = [(f, n, why) for f in pool for n in names if (why := absent(f, n))]
    for f, name, why in _shuffled(rng, missing)[: count // 5]:
        q = QUANTITIES[name]
        k, words = _pick(rng, wording.VALUE)
        yield Draft(
            (f,), "open", "feature", ((words.format(q.words), f"The {q.words} {CANNOT}: {why}."),), f"value-{k}",
            "measurements", [evidence(name, float("nan"), f.figures[name].unit)], answers=(CANNOT,),
        )  # fmt: skip
    for f in _some(rng, pool, count - min(len(missing), count // 5)):
        name = names[int(rng.integers(len(names)))]
        if not usable(f, name):
            continue
        q, amount = QUANTITIES[name], f.figures[name].value
        if rng.random() < 0.3:
            k, words = _pick(rng, wording.VALUE_FILL)
            short = f"{amount:.0f}"
            yield Draft(
                (f,), "fill-in", "feature", ((words.format(q.words, q.unit), short),), f"value-fill-{k}", "measurements",
                of_figure(f, name), answers=(short,),
            )  # fmt: skip
        else:
            k, words = _pick(rng, wording.VALUE)
            answer = f"The {q.words} is {figure(name, amount)}."
            yield Draft(
                (f,), "open", "feature", ((words.format(q.words), answer),), f"value-{k}", "measurements", of_figure(f, name),
                answers=(figure(name, amount),),
            )  # fmt: skip


def normal_range(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """Below, within or above the normal range, each as often as there are ECGs for it; and "cannot be determined"."""
    options = ("below", "within", "above", CANNOT)
    lists: list[list[tuple[Facts, str]]] = []
    names = [n for n, q in QUANTITIES.items() if (q.low is not None or q.high is not None) and n != "qrs_axis_deg"]
    for name in names:
        sides: dict[str, list[Facts]] = {option: [] for option in options}
        for f in pool:
            if usable(f, name):
                side = place(name, f.figures[name].value, f.sex)
                if side is not None:
                    sides[side].append(f)
            elif absent(f, name):
                sides[CANNOT].append(f)
        odd = sorted((len(v) for k, v in sides.items() if k != "within" and v), reverse=True)
        most = max(odd[0] if odd else 0, 1)
        lists.append([(f, side) for side, fs in sides.items() for f in _shuffled(rng, fs)[:most]])
    for name, asked, many in zip(names, lists, _shares([len(a) for a in lists], count), strict=True):
        q = QUANTITIES[name]
        for f, side in _balanced(rng, asked, many):
            k, words = _pick(rng, wording.NORMAL_RANGE)
            answer = side if side == CANNOT else f"{side} the normal range"
            question = words.format(q.words) + (" Say so if it cannot be determined." if rng.random() < 0.5 else "")
            yield Draft(
                (f,), "closed", "feature", ((question, answer),), f"range-{k}", "measurements", of_figure(f, name),
                tuple(o if o == CANNOT else f"{o} the normal range" for o in options), (answer,), more={"figure": name},
            )  # fmt: skip


def _balanced(rng: Rng, asked: Sequence[tuple[Facts, str]], many: int) -> list[tuple[Facts, str]]:
    """`many` of them, the sides in turn as long as they last."""
    sides: dict[str, list[tuple[Facts, str]]] = {}
    for one in _shuffled(rng, asked):
        sides.setdefault(one[1], []).append(one)
    out: list[tuple[Facts, str]] = []
    while len(out) < many and any(sides.values()):
        for side in list(sides):
            if sides[side] and len(out) < many:
                out.append(sides[side].pop())
    return out


_CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")


def axis(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """The frontal QRS axis as a class."""
    asked = []
    for f in pool:
        if usable(f, "qrs_axis_deg") and (name := axis_class(f.figures["qrs_axis_deg"].value, 8)):
            asked.append((f, name))
    names = ("axis_normal", "axis_left", "axis_right", "axis_extreme")
    options = tuple(label(n) for n in names)
    for f, name in _balanced(rng, asked, count):
        question = "What is the direction of the QRS axis? Options: " + ", ".join(options) + "."
        yield Draft(
            (f,), "closed", "feature", ((question, label(name)),), "axis-0", "measurements", of_figure(f, "qrs_axis_deg"),
            options, (label(name),),
        )  # fmt: skip


def leads(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """Waves of one lead: T upright, flat or inverted; ST elevated, level or depressed; where R outgrows S."""
    t_asked: dict[str, list[tuple[Facts, str]]] = {}
    st_asked: dict[str, list[tuple[Facts, str]]] = {}
    for f in pool:
        for lead, m in f.leads.items():
            if lead not in ("aVR", "V1", "III") and (t := _t_side(m)):
                t_asked.setdefault(lead, []).append((f, t))
            if lead != "aVR" and (st := _st_side(lead, m)):
                st_asked.setdefault(lead, []).append((f, st))
    each = max(count // 24, 1)
    for lead, asked in t_asked.items():
        for f, side in _balanced(rng, asked, each):
            yield Draft(
                (f,), "closed", "morphology", ((f"Is the T wave in lead {lead} upright, flat or inverted?", side),), "t-0",
                "measurements", [evidence("t_mv", f.leads[lead]["t_mv"], "mV", (lead,))],
                ("upright", "flat", "inverted"), (side,), more={"lead": lead},
            )  # fmt: skip
    for lead, asked in st_asked.items():
        for f, side in _balanced(rng, asked, each):
            yield Draft(
                (f,), "closed", "morphology",
                ((f"Is the ST segment in lead {lead} elevated, isoelectric or depressed?", side),),
                "st-0", "measurements", [evidence("st_j_mv", f.leads[lead]["st_j_mv"], "mV", (lead,))],
                ("elevated", "isoelectric", "depressed"), (side,), more={"lead": lead},
            )  # fmt: skip
    turning = [(f, first) for f in pool if (first := _transition(f))]
    for f, lead in _balanced(rng, turning, count // 6):
        yield Draft(
            (f,), "closed", "morphology",
            (("In which chest lead does the R wave first become taller than the S wave is deep?", lead),),
            "transition-0", "measurements",
            [evidence(n, f.leads[lead][n], "mV", (lead,)) for n in ("r_mv", "s_mv")], _CHEST, (lead,),
        )  # fmt: skip


def _t_side(m: Mapping[str, float]) -> str | None:
    t, r = m.get("t_mv"), m.get("r_mv", 0.0)
    if t is None:
        return None
    if t >= 0.15 and m.get("t_negative_mv", 0.0) > -0.05:
        return "upright"
    if t <= -0.12:
        return "inverted"
    return "flat" if abs(t) < 0.04 and r > 0.4 and m.get("t_negative_mv", 0.0) > -0.05 else None


# J point: 0.1 mV, in V2 and V3 up to 0.25 mV by sex and age (fourth universal definition of myocardial infarction, 2018).
# Only what is elevated for everybody is asked, and what lies near a limit is not.
def _st_side(lead: str, m: Mapping[str, float]) -> str | None:
    j, later = m.get("st_j_mv"), m.get("st_j60_mv")
    if j is None or later is None:
        return None
    up = 0.25 if lead in ("V1", "V2", "V3") else 0.12
    if j >= up and later >= up * 0.8:
        return "elevated"
    if j <= -0.07 and later <= -0.07:
        return "depressed"
    return "isoelectric" if abs(j) < 0.03 and abs(later) < 0.03 else None


def _transition(f: Facts) -> str | None:
    """The first chest lead where R is larger than S, if all leads can be read, R is small ahead of it and clear in it."""
    ratios = []
    for lead in _CHEST:
        m = f.leads.get(lead)
        if m is None or "r_mv" not in m or "s_mv" not in m or m.get("qs", 0.0):
            return None
        ratios.append((m["r_mv"] + 0.01) / (abs(m["s_mv"]) + 0.01))
    for k, ratio in enumerate(ratios):
        if ratio > 1.25 and all(r > 1 for r in ratios[k:]):
            return _CHEST[k]
        if ratio > 0.8:
            return None
    return None


# -- reports and talk
# --------------------------------------------------------------------------------------------------------------------


def reports(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """A report in English from statements and measurements, with a line of figures or without."""
    for f in _some(rng, pool, min(count, len(pool))):
        figures = bool(rng.random() < 0.6)
        told = report(f, figures=figures)
        if told is None:
            continue
        k, words = _pick(rng, wording.REPORT)
        ask = words + (" Give the intervals." if figures else " Leave out the intervals.")
        yield Draft((f,), "report", "report", ((ask, told[0]),), f"report-{k}", "statements", told[1])


def own_reports(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """The report that came with the record, in its own language; its translation, where there is one."""
    for f in _some(rng, [g for g in pool if parse_statement(g.text)], count):
        if f.language != "en" and f.text_en and rng.random() < 0.5:
            k, words = _pick(rng, wording.REPORT_OF["en"])
            yield Draft(
                (f,), "report", "report", ((words, recased(f.text_en, "en")),), f"own-report-translated-{k}", "report",
                more={"original": f.text, "original_language": f.language},
            )  # fmt: skip
            continue
        k, words = _pick(rng, wording.REPORT_OF[f.language])
        yield Draft(
            (f,), "report", "report", ((words, recased(f.text, f.language)),), f"own-report-{k}", "report", language=f.language
        )


def talks(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """Two to four turns: rhythm, intervals, what else, and perhaps what no ECG says."""
    for f in _some(rng, pool, count):
        first, second, last = rhythm(f), intervals(f), conclusion(f)
        steps = []
        if first is not None:
            steps.append(("What is the rhythm?", *first))
        if second is not None:
            steps.append(("And the intervals?", *second))
        if last is not None:
            steps.append(("What else does it show? Conclude.", *last))
        if rng.random() < 0.2:
            k = int(rng.integers(len(wording.UNANSWERABLE)))
            ask, why = wording.UNANSWERABLE[k]
            steps.append((ask, f"That {CANNOT} from this ECG: {why}.", []))
        if len(steps) < 2:
            continue
        talk = tuple((q, a) for q, a, _ in steps)
        yield Draft((f,), "open", "report", talk, f"talk-{len(steps)}", "statements", [p for *_, ps in steps for p in ps])


def unanswerable(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """What no ECG says."""
    for f in _some(rng, pool, count):
        k = int(rng.integers(len(wording.UNANSWERABLE)))
        ask, why = wording.UNANSWERABLE[k]
        yield Draft(
            (f,), "open", "feature", ((ask, f"That {CANNOT} from this ECG: {why}."),), f"unanswerable-{k}", "measurements",
            answers=(CANNOT,),
        )  # fmt: skip


# -- two ECGs
# --------------------------------------------------------------------------------------------------------------------


def _order(f: Facts) -> tuple[str, int, str]:
    """PTB-XL numbers its ECGs in the order of their dates; elsewhere the name must do, and nothing is called newer."""
    tail = f.record.rpartition(":")[2]
    return f.source, int(tail) if tail.isdigit() else 0, f.record


def compare(pool: Pool, count: int, rng: Rng) -> Iterator[Draft]:
    """Two ECGs of one patient: what is on one and not on the other, which has the higher rate; rates of two patients, too."""
    whose: dict[str, list[Facts]] = {}
    for f in pool:
        whose.setdefault(f.group, []).append(f)
    pairs = [(a, b) for many in whose.values() if len(many) > 1 for a, b in pairwise(sorted(many, key=_order))]
    yield from _appeared(pairs, count // 2, rng)
    others = [(f, g) for f, g in zip(_shuffled(rng, pool), _shuffled(rng, pool), strict=True) if f.group != g.group]
    yield from _higher([*pairs, *others[: max(count - len(pairs), 0)]], count - count // 2, rng)


def _appeared(pairs: Sequence[tuple[Facts, Facts]], count: int, rng: Rng) -> Iterator[Draft]:
    """ "Is it on the second ECG and not on the first?", yes and no in balance, statement by statement."""
    names = sorted({n for pair in pairs for f in pair for n in f.stated if f.certain(n) and n != "normal_ecg"})
    given = 0
    for name in _shuffled(rng, names):
        yes = [(a, b) for a, b in pairs if denied(a, name) and b.certain(name)]
        no = [(a, b) for a, b in pairs if (a.certain(name) and b.certain(name)) or (denied(a, name) and denied(b, name))]
        many = min(len(yes), len(no))
        for right, wrong in zip(_shuffled(rng, yes)[:many], _shuffled(rng, no)[:many], strict=True):
            if given >= count:
                return
            question = f"Does the second ECG show {said(name)} that the first ECG does not show?"
            for (a, b), answer in ((right, "yes"), (wrong, "no")):
                proof = [{**p, "ecg": k} for k, f in ((1, a), (2, b)) for p in of_statement(f, name)]
                yield Draft(
                    (a, b), "compare", _topic(name), ((question, answer),), "appeared-0", "statements", proof, ("yes", "no"),
                    (answer,), more={"pair": "one patient", "statement": name},
                )  # fmt: skip
                given += 1


def _higher(pairs: Sequence[tuple[Facts, Facts]], count: int, rng: Rng) -> Iterator[Draft]:
    options = ("first ECG", "second ECG", "about the same")
    asked: list[tuple[Facts, Facts, str, str]] = []
    for a, b in pairs:
        for name in ("rate_bpm", "pr_ms", "qrs_ms", "qtc_fridericia_ms"):
            if usable(a, name) and usable(b, name):
                gap, margin = b.figures[name].value - a.figures[name].value, QUANTITIES[name].margin
                if abs(gap) > 3 * margin:
                    asked.append((a, b, name, options[1] if gap > 0 else options[0]))
                elif abs(gap) < margin / 2:
                    asked.append((a, b, name, options[2]))
    sides: dict[str, list[tuple[Facts, Facts, str, str]]] = {}
    for one in _shuffled(rng, asked):
        sides.setdefault(one[3], []).append(one)
    each = min((len(v) for v in sides.values()), default=0) if len(sides) == 3 else 0
    for side in options:
        for a, b, name, answer in sides.get(side, [])[: min(each, count // 3)]:
            q = QUANTITIES[name]
            question = f"Which ECG has the {q.more} {q.words}? Options: {', '.join(options)}."
            proof = [{**p, "ecg": k} for k, f in ((1, a), (2, b)) for p in of_figure(f, name)]
            pair = "one patient" if a.group == b.group else "two patients"
            yield Draft(
                (a, b), "compare", "feature", ((question, answer),), "larger-0", "measurements", proof, options, (answer,),
                more={"pair": pair, "figure": name},
            )  # fmt: skip


# Of `per_record` questions about an ECG, how many come from each family; and the kinds that the family gives.
FAMILIES: tuple[tuple[str, Family, float, frozenset[str]], ...] = (
    ("verify", verify, 2.0, frozenset({"verify"})),
    ("unsure", verify_unsure, 0.5, frozenset({"verify"})),
    ("choose", choose, 0.8, frozenset({"choice"})),
    ("choose-rhythm", choose_rhythm, 0.5, frozenset({"choice"})),
    ("choose-value", choose_value, 0.6, frozenset({"choice"})),
    ("query", query, 0.8, frozenset({"query"})),
    ("superclass", superclasses, 1.0, frozenset({"closed"})),
    ("range", normal_range, 0.6, frozenset({"closed"})),
    ("axis", axis, 0.3, frozenset({"closed"})),
    ("lead", leads, 0.7, frozenset({"closed"})),
    ("rhythm", rhythm_open, 0.6, frozenset({"open", "fill-in"})),
    ("value", value, 1.2, frozenset({"open", "fill-in"})),
    ("talk", talks, 0.4, frozenset({"open"})),
    ("unanswerable", unanswerable, 0.1, frozenset({"open"})),
    ("report", reports, 1.0, frozenset({"report"})),
    ("own-report", own_reports, 0.5, frozenset({"report"})),
    ("compare", compare, 0.6, frozenset({"compare"})),
)
