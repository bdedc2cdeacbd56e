"""A report in words held against what was measured and found: which sentence rests on what, which nothing supports.

    told = ground(text, report.measurements, report.findings, report.quality)
    for sentence in told.sentences:
        sentence.text, sentence.verdict, sentence.claims       # each claim with measurement, leads and beats

A sentence is taken apart into claims: statements asserted or denied (einthoven.statements), figures with unit and lead, and
"cannot be determined". Each claim is held against the findings of the rules, against the definition of the statement (a sinus
bradycardia of 84/min contradicts itself), and against the measured figure. Verdicts:

- supported: a rule found it, or the figures meet its definition; of a denial, that they do not.
- contradicted: the figures or another finding say otherwise.
- unsupported: the rules looked for it and did not find it.
- cannot be checked: there is no rule for it, or the signal or the leads do not allow one.

"Contradicted" and "unsupported" are by our measurements and rules, which err, too: they say where to look, not who is right.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from einthoven.beats.measurements import LeadMeasurements, Measurements
from einthoven.findings import RULES
from einthoven.findings.finding import Evidence, Finding
from einthoven.findings.rule import UNDETERMINED
from einthoven.signal.quality import Quality
from einthoven.statements import STATEMENTS, leads_in, mentioned, spoken

VERDICTS = ("contradicted", "unsupported", "cannot be checked", "supported", "no claim")
SUPPORTED, CONTRADICTED, UNSUPPORTED, UNCHECKED, NO_CLAIM = (
    "supported",
    "contradicted",
    "unsupported",
    "cannot be checked",
    "no claim",
)


@dataclass(frozen=True)
class Claim:
    """One thing that a sentence says. kind: "statement", "figure" or "abstention". name: of STATEMENTS, or of a measurement.
    asserted: False where it is denied. value, unit, leads: as they were said. evidence: what it was held against. why: in words
    for the reader."""

    kind: str
    name: str
    verdict: str
    asserted: bool = True
    value: float = math.nan
    unit: str = ""
    leads: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Sentence:
    """A sentence with its claims; `verdict` is the worst of theirs, "no claim" where it makes none."""

    text: str
    claims: tuple[Claim, ...]

    @property
    def verdict(self) -> str:
        return min((c.verdict for c in self.claims), key=VERDICTS.index, default=NO_CLAIM)


@dataclass(frozen=True)
class Grounded:
    """A report in sentences. abstain: why no report should be given of this ECG at all, "" where one may."""

    sentences: tuple[Sentence, ...]
    abstain: str = ""

    @property
    def counts(self) -> Mapping[str, int]:
        """Claims by verdict."""
        found = Counter(c.verdict for s in self.sentences for c in s.claims)
        return {v: found[v] for v in VERDICTS if v != NO_CLAIM}

    @property
    def supported(self) -> float:
        """Share of supported claims among those that can be checked; NaN of none."""
        c = self.counts
        checked = c[SUPPORTED] + c[UNSUPPORTED] + c[CONTRADICTED]
        return c[SUPPORTED] / checked if checked else math.nan

    @property
    def flagged(self) -> tuple[Sentence, ...]:
        """Sentences that a reader should look at."""
        return tuple(s for s in self.sentences if s.verdict in (CONTRADICTED, UNSUPPORTED))

    def to_dict(self) -> dict[str, Any]:
        return {
            "abstain": self.abstain or None,
            "supported": None if math.isnan(self.supported) else round(self.supported, 4),
            "claims": dict(self.counts),
            "sentences": [
                {"text": s.text, "verdict": s.verdict, "claims": [_claim(c) for c in s.claims]} for s in self.sentences
            ],
        }

    def to_text(self) -> str:
        """Each sentence with its verdict, and under it what it rests on."""
        out = [f"No report should be given: {self.abstain}."] if self.abstain else []
        for s in self.sentences:
            out.append(f"[{s.verdict}] {s.text}")
            out += [f"    {c.verdict}: {_said(c)}" + (f" ({c.why})" if c.why else "") for c in s.claims]
        return "\n".join(out)


def _said(c: Claim) -> str:
    name = STATEMENTS[c.name].text if c.name in STATEMENTS else c.name
    value = f" {c.value:g} {c.unit}".rstrip() if c.value == c.value else ""
    place = f" in {', '.join(c.leads)}" if c.leads else ""
    proof = "; ".join(_proof(e) for e in c.evidence)
    return ("" if c.asserted else "not ") + name + value + place + (f": {proof}" if proof else "")


def _proof(e: Evidence) -> str:
    beats = f", beats {_ranges(e.beats)}" if e.beats else ""
    return f"{e}{beats}"


def _ranges(beats: Sequence[int]) -> str:
    """ "1-4, 6" for (0, 1, 2, 3, 5): readers count from one."""
    out: list[list[int]] = []
    for b in sorted(beats):
        if out and b == out[-1][1]:
            out[-1][1] = b + 1
        else:
            out.append([b, b + 1])
    return ", ".join(f"{a + 1}" if z == a + 1 else f"{a + 1}-{z}" for a, z in out)


def _claim(c: Claim) -> dict[str, Any]:
    return {
        "kind": c.kind,
        "name": c.name,
        "asserted": c.asserted,
        "verdict": c.verdict,
        "value": None if math.isnan(c.value) else c.value,
        "unit": c.unit or None,
        "leads": list(c.leads),
        "why": c.why or None,
        "evidence": [
            {
                "measurement": e.measurement,
                "value": None if math.isnan(e.value) else e.value,
                "unit": e.unit,
                "threshold": e.threshold,
                "leads": list(e.leads),
                "beats": list(e.beats),
            }
            for e in c.evidence
        ],
    }


# -- definitions that figures decide
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Limit:
    """A statement's definition by one figure: from `low` to `high`; a value `margin` or more outside contradicts it."""

    figure: str
    low: float
    high: float
    margin: float


_INF = math.inf
# AHA/ACCF/HRS 2007 II, 2009 III and IV; margins are a measurement's error.
_LIMITS: Mapping[str, tuple[_Limit, ...]] = MappingProxyType(
    {
        "sinus_bradycardia": (_Limit("rate_bpm", 0, 60, 3),),
        "sinus_tachycardia": (_Limit("rate_bpm", 100, _INF, 3),),
        "first_degree_av_block": (_Limit("pr_ms", 200, _INF, 10),),
        "prolonged_pr": (_Limit("pr_ms", 200, _INF, 10),),
        "short_pr": (_Limit("pr_ms", 0, 120, 10),),
        "crbbb": (_Limit("qrs_ms", 120, _INF, 10),),
        "clbbb": (_Limit("qrs_ms", 120, _INF, 10),),
        "irbbb": (_Limit("qrs_ms", 90, 120, 10),),
        "ilbbb": (_Limit("qrs_ms", 100, 120, 10),),
        "ivcd": (_Limit("qrs_ms", 110, _INF, 8),),
        "long_qt": (_Limit("qtc_fridericia_ms", 450, _INF, 12),),
        "short_qt": (_Limit("qtc_fridericia_ms", 0, 350, 12),),
        "axis_normal": (_Limit("qrs_axis_deg", -30, 90, 10),),
        "axis_left": (_Limit("qrs_axis_deg", -90, -30, 10),),
        "axis_right": (_Limit("qrs_axis_deg", 90, 180, 10),),
        "supraventricular_tachycardia": (_Limit("rate_bpm", 100, _INF, 3), _Limit("qrs_ms", 0, 120, 15)),
        "ventricular_tachycardia": (_Limit("rate_bpm", 100, _INF, 3), _Limit("qrs_ms", 120, _INF, 10)),
        "wide_qrs_tachycardia": (_Limit("rate_bpm", 100, _INF, 3), _Limit("qrs_ms", 120, _INF, 10)),
    }
)
# What these figures decide alone; of the others they only forbid.
_DECIDED = frozenset(
    {"prolonged_pr", "short_pr", "first_degree_av_block", "long_qt", "short_qt", "axis_normal", "axis_left", "axis_right"}
)
# Waves of single leads: (figure of the lead, limit, what is asked, margin within which nobody can say).
_WAVES = MappingProxyType(
    {
        "st_elevation": ("st_j_mv", 0.1, ">= 0.1 mV", 0.02),
        "st_depression": ("st_j60_mv", -0.05, "<= -0.05 mV", 0.02),
        "t_inversion": ("t_mv", -0.1, "<= -0.1 mV", 0.03),
        "q_waves": ("q_ms", 30.0, ">= 30 ms", 5.0),
    }
)
# Of each group at most one holds.
_EXCLUSIVE = (
    frozenset({"sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia"}),
    frozenset({"atrial_fibrillation"}),
    frozenset({"atrial_flutter"}),
    frozenset({"ventricular_tachycardia", "wide_qrs_tachycardia"}),
    frozenset({"ventricular_fibrillation"}),
)
_PAIRS = (("normal_ecg", "abnormal_ecg"), ("crbbb", "clbbb"), ("axis_left", "axis_right"))
_RULED = frozenset(name for rule in RULES for name in rule.names) | {"normal_ecg", "abnormal_ecg", "borderline_ecg"}
_ABSTAINS = re.compile(
    r"(?i)\b(?:can ?not|can't|could not) (?:be )?(?:reliably )?(?:determined?|measured?|assess(?:ed)?|judged?|evaluated?)\b"
)
_OPEN = re.compile(r"(?i)not to be judged(?: \([^)]*\))?:(?P<what>.*)")
_FIGURES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "pr_ms": ("pr interval", "pq interval", "pr "), "qrs_ms": ("qrs duration",), "qt_ms": ("qt interval",),
        "qtc_fridericia_ms": ("qtc",), "qrs_axis_deg": ("axis",), "rate_bpm": ("heart rate", "ventricular rate"),
        "p_ms": ("p wave duration",),
    }
)  # fmt: skip


def ground(
    text: str,
    measurements: Measurements,
    findings: Iterable[Finding],
    quality: Quality | None = None,
) -> Grounded:
    """A report's text against one ECG: its sentences with claims and verdicts, and whether one should be given at all."""
    case = _Case(measurements, {f.name: f for f in findings}, quality)
    sentences = tuple(Sentence(words, tuple(case.claims(words))) for words in sentences_of(text))
    return Grounded(sentences, case.abstain())


# Small letters may begin a sentence (PTB-XL's reports), but not behind "i.e." or "approx.".
_ENDS = re.compile(r"(?<=[.!?;])(?<!prox\.)\s+(?=[^a-z\s])|(?<=[a-z0-9]{3}[.!?;])(?<!prox\.)\s+|(?<=\d[.;])\s+(?=[a-z])|\n+")


def sentences_of(text: str) -> list[str]:
    """A text's sentences: at full stops that a space follows (not those of figures), question marks and new lines."""
    parts = _ENDS.split(text.strip())
    return [p.strip() for p in parts if re.search(r"\w", p)]


@dataclass(frozen=True)
class _Case:
    m: Measurements
    found: Mapping[str, Finding]
    quality: Quality | None = None
    seen: frozenset[str] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        from einthoven.evaluate.reports import widened  # here: evaluate brings scipy's statistics, a second of loading

        sure = frozenset(n for n, f in self.found.items() if f.confidence != UNDETERMINED)
        object.__setattr__(self, "seen", widened(sure))

    def abstain(self) -> str:
        if self.quality is not None and self.quality.readable == "unreadable":
            return "the signal cannot be read"
        if not self.m.quantities or not (self.value("n_beats") > 0 or "n_beats" not in self.m.quantities):
            return "no beats were found"
        return ""

    def value(self, name: str) -> float:
        return self.m[name] if name in self.m.quantities else math.nan

    def proof(self, name: str, threshold: str = "") -> Evidence:
        q = self.m.quantities[name]
        return Evidence(name, round(q.value, 3), q.unit, threshold, beats=q.beats)

    def claims(self, words: str) -> Iterator[Claim]:
        gives_up = _ABSTAINS.search(words) is not None
        if match := _OPEN.match(words):  # our own conclusion's way: "Not to be judged (why): A, B"
            yield from (self.left_open(name) for name, _ in mentioned(match.group("what")))
            return
        for name, said in mentioned(words):
            if gives_up and not said:
                yield self.left_open(name)
            elif name == "normal_ecg" and re.search(r"(?i)\b(?:otherwise|sonst|eljest)\b", words):
                yield Claim("statement", name, UNCHECKED, said, why="but for what is said before")
            elif not (gives_up and name == "undetermined_rhythm"):
                yield self.statement(name, said, _leads_of(name, words))
        yield from self.figures(words)
        yield from self.amplitudes(words)
        if gives_up:
            yield from self.abstentions(words)

    # -- statements

    def left_open(self, name: str) -> Claim:
        """A statement that a sentence says cannot be judged: right where the rules cannot judge it either."""
        own = self.found.get(name)
        if own is None:
            return Claim("abstention", name, UNCHECKED, why="the rules do not find it")
        verdict = SUPPORTED if own.confidence == UNDETERMINED else UNSUPPORTED
        return Claim(
            "abstention", name, verdict, evidence=own.evidence, why="" if verdict == SUPPORTED else f"found: {own.text}"
        )

    def statement(self, name: str, said: bool, leads: tuple[str, ...]) -> Claim:
        if blocked := self.abstain():
            return Claim("statement", name, UNCHECKED, said, leads=leads, why=blocked)
        verdict, proof, why = self._judged(name, leads)
        if not said:
            # What no rule looks for, or a rule leaves open, cannot be denied either.
            verdict = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED, UNSUPPORTED: SUPPORTED}.get(verdict, verdict)
            if verdict == SUPPORTED and not why:
                why = "no rule finds it"
        return Claim("statement", name, verdict, said, leads=leads, evidence=proof, why=why)

    def _judged(self, name: str, leads: tuple[str, ...]) -> tuple[str, tuple[Evidence, ...], str]:
        """The verdict on a statement that is asserted."""
        from einthoven.evaluate.reports import widened

        if leads:
            return self._in_leads(_wave(name), leads)
        limits = [(limit, self.value(limit.figure)) for limit in _LIMITS.get(name, ())]
        known = [(limit, v) for limit, v in limits if v == v]
        against = [limit for limit, v in known if v < limit.low - limit.margin or v > limit.high + limit.margin]
        if against:
            return CONTRADICTED, tuple(self.proof(x.figure, _words(x)) for x in against), "by its definition"
        own = [f for f in self.found.values() if f.name == name or name in widened({f.name})]
        sure = [f for f in own if f.confidence != UNDETERMINED]
        if sure:
            best = next((f for f in sure if f.name == name), sure[0])
            return SUPPORTED, best.evidence, "" if best.confidence == "definite" else best.confidence
        if self._decides(name) and len(known) == len(limits) and all(x.low <= v <= x.high for x, v in known):
            return SUPPORTED, tuple(self.proof(x.figure, _words(x)) for x, _ in known), "by its definition"
        if rival := self._rival(name):
            return CONTRADICTED, rival.evidence, f"found: {rival.text}"
        if own:
            return UNCHECKED, own[0].evidence, own[0].text
        if limits and not known:
            return UNCHECKED, (), f"{limits[0][0].figure} could not be measured"
        if name not in _RULED:
            return UNCHECKED, (), "no rule looks for it"
        return UNSUPPORTED, tuple(self.proof(x.figure, _words(x)) for x, _ in known), "the rules do not find it"

    def _decides(self, name: str) -> bool:
        return name in _DECIDED

    def _rival(self, name: str) -> Finding | None:
        """A definite or probable finding that cannot be true beside this one."""
        sure = {n: f for n, f in self.found.items() if f.confidence in ("definite", "probable")}
        for group in _EXCLUSIVE:
            if name in group:
                for other in _EXCLUSIVE:
                    if other != group and (hit := next((sure[n] for n in sorted(other) if n in sure), None)):
                        return hit
        for a, b in _PAIRS:
            for one, two in ((a, b), (b, a)):
                if name == one and two in sure:
                    return sure[two]
        return None

    def _in_leads(self, name: str, leads: tuple[str, ...]) -> tuple[str, tuple[Evidence, ...], str]:
        """A wave in leads that are named: in all of them, in none, or in some."""
        figure, usual, asked, margin = _WAVES[name]
        sign = -1.0 if usual < 0 else 1.0
        limits = dict.fromkeys(leads, usual)
        if name == "q_waves":  # fourth universal definition of myocardial infarction, 2018: more than 20 ms in V2 and V3
            limits |= {n: 20.0 for n in ("V1", "V2", "V3") if n in leads}
        values = {n: float(getattr(self.m.leads.get(n, LeadMeasurements()), figure)) for n in leads}
        known = {n: v for n, v in values.items() if v == v}
        if not known:
            return UNCHECKED, (), f"{figure} could not be measured in {', '.join(leads)}"
        unit = "ms" if figure.endswith("_ms") else "mV"
        proof = tuple(
            Evidence(figure, round(v, 3), unit, asked if limits[n] == usual else f">= {limits[n]:g} ms", (n,))
            for n, v in known.items()
        )
        there = [n for n, v in known.items() if sign * v >= sign * limits[n]]
        near = [n for n, v in known.items() if n not in there and sign * v >= sign * limits[n] - margin]
        if there and len(there) + len(near) == len(known):
            return SUPPORTED, proof, f"hardly in {', '.join(near)}" if near else ""
        if not there and not near:
            return CONTRADICTED, proof, "in none of these leads"
        return UNSUPPORTED, proof, f"in {', '.join(there)} alone" if there else "hardly in any of these leads"

    # -- figures

    def figures(self, words: str) -> Iterator[Claim]:
        from einthoven.evaluate.reports import numbers

        for n in numbers(words, self.m):
            name = "qtc_fridericia_ms" if n.name == "qtc_ms" else n.name
            unit = "/min" if name == "rate_bpm" else "deg" if name.endswith("deg") else "ms"
            if n.right is None:
                why = self.m.quantities[name].why if name in self.m.quantities else "not measured"
                yield Claim("figure", name, UNCHECKED, value=n.said, unit=unit, why=why or "not measured")
            else:
                asked = f"within {n.tolerance:.3g} {unit} of what is said"
                proof = (Evidence(name, round(n.measured, 3), unit, asked, beats=self.m.quantities[name].beats),)
                yield Claim("figure", name, SUPPORTED if n.right else CONTRADICTED, value=n.said, unit=unit, evidence=proof)

    def amplitudes(self, words: str) -> Iterator[Claim]:
        """Heights with a lead: "ST elevation of 2 mm in V2", "R wave 1.8 mV in V5". 1 mm is 0.1 mV."""
        low = words.lower()
        for match in _AMPLITUDE.finditer(low):
            wave = "st_j_mv" if match.group("wave").startswith("st") else f"{match.group('wave')[0]}_mv"
            sign = -1.0 if "depression" in match.group("wave") else 1.0
            said = float(match.group("value")) * (0.1 if match.group("unit") == "mm" else 1.0) * sign
            for lead in leads_in(match.group("leads")):
                measured = float(getattr(self.m.leads.get(lead, LeadMeasurements()), wave))
                if measured != measured:
                    yield Claim("figure", wave, UNCHECKED, value=said, unit="mV", leads=(lead,), why="not measured")
                    continue
                gap = abs(measured - said) if wave.startswith("st") else abs(abs(measured) - abs(said))
                limit = max(0.1, 0.2 * abs(measured))
                proof = (Evidence(wave, round(measured, 3), "mV", f"within {limit:.2g} mV of what is said", (lead,)),)
                verdict = SUPPORTED if gap <= limit else CONTRADICTED
                yield Claim("figure", wave, verdict, value=said, unit="mV", leads=(lead,), evidence=proof)

    def abstentions(self, words: str) -> Iterator[Claim]:
        """ "The PR interval cannot be determined": right where it was not measured."""
        low = words.lower()
        for name, ways in _FIGURES.items():
            if name in self.m.quantities and any(w in low for w in ways):
                q = self.m.quantities[name]
                if q:
                    yield Claim("abstention", name, UNSUPPORTED, evidence=(self.proof(name),), why="it could be measured")
                else:
                    yield Claim("abstention", name, SUPPORTED, why=q.why or "not measured")
        if re.search(r"\brhythm\b", low):
            known = any(f.group == "rhythm" and f.confidence != UNDETERMINED for f in self.found.values())
            known = known and "undetermined_rhythm" not in self.seen
            yield Claim("abstention", "undetermined_rhythm", UNSUPPORTED if known else SUPPORTED)


_AMPLITUDE = re.compile(
    r"(?P<wave>st[- ]?(?:segment )?(?:elevation|depression)|\b[rsqtp][- ]waves?)(?: amplitude| height| depth)?"
    r"(?: of| is| measures| up to|:)* (?P<value>\d+(?:\.\d+)?) ?(?P<unit>mm|mv)\b(?P<leads> in (?:leads? )?[^.;]{1,60})"
)


# Where a text says a wave, as `spoken` writes it.
_SAID: Mapping[str, str] = MappingProxyType(
    {
        "st_elevation": r"st elevation",
        "st_depression": r"st depression|st segments are depressed",
        "t_inversion": r"t[- ]waves? inversions?|inver(?:ted|sion of) t|t[- ]waves? (?:is|are|was|were) (?:\w+ )?inverted"
        r"|t[- ]inversions?|negative t",
        "q_waves": r"q[- ]waves?|qs complex",
    }
)


def _wave(name: str) -> str:
    return "st_elevation" if name.startswith("st_elevation") else name


def _leads_of(name: str, words: str) -> tuple[str, ...]:
    """The leads in which a sentence sees a wave: those behind its words, up to the next wave; else those in front of the first
    one ("in II and III there is ST elevation"). () for what is no wave of single leads."""
    wave = _wave(name)
    if wave not in _SAID:
        return ()
    low = spoken(words)
    places = sorted((m.start(), m.end(), w) for w, pattern in _SAID.items() for m in re.finditer(rf"\b(?:{pattern})", low))
    for k, (start, end, which) in enumerate(places):
        if which == wave:
            stop = places[k + 1][0] if k + 1 < len(places) else len(low)
            return leads_in(low[end:stop]) or (leads_in(low[:start]) if k == 0 else ())
    return ()


def _words(limit: _Limit) -> str:
    if limit.high == _INF:
        return f">= {limit.low:g}"
    return f"<= {limit.high:g}" if limit.low == 0 else f"{limit.low:g} to {limit.high:g}"
