"""What measuring and the rules alone answer: a model without a language model, examined with all its controls.

    einthoven data instruct INDEX -o samples.parquet
    python bench/rules_in_words.py INDEX samples.parquet --fold 8 [--most 400] [-o scores]

A language model on the same samples should do better; where it does not, the questions ask for what is measured. It is also a
check of the samples: where the rules contradict many answers, somebody should look at those.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

import numpy as np

from einthoven.data.index import Index
from einthoven.data.instruct.facts import Facts, _measured
from einthoven.data.instruct.reports import absent, report, rhythm, usable
from einthoven.data.instruct.sample import Sample, read
from einthoven.data.instruct.wording import CANNOT, QUANTITIES, axis_class, figure, label, place
from einthoven.evaluate.language import ecgs_of, examine
from einthoven.evaluate.language_table import markdown
from einthoven.record import EcgError, Record
from einthoven.statements import STATEMENTS, SUPERCLASSES, parse_statement


class Rules:
    name = "measurements and rules"

    def __init__(self) -> None:
        self.settings = {"model": "einthoven.findings"}
        self.known: dict[tuple[str, bytes], Facts] = {}

    def facts(self, record: Record) -> Facts:
        key = (str(record.source.path), record.signal[:, ::50].tobytes())
        if key not in self.known:
            seen = _measured(record)
            found = {n: 100.0 for n in seen.get("found", {})}
            upper = frozenset(s for n in found if (s := STATEMENTS[n].superclass))
            self.known[key] = Facts("", "", "", sex=record.patient.sex, stated=found, superclasses=upper, **seen)
        return self.known[key]

    def answer(self, prompts: Sequence[Sample], ecgs: Sequence[Sequence[Record]]) -> list[str]:
        return [self.one(s, [self.facts(r) for r in rs]) for s, rs in zip(prompts, ecgs, strict=True)]

    def log_likelihood(self, prompts, ecgs, candidates):  # type: ignore[no-untyped-def]
        raise EcgError("rules and measurements have no likelihoods: only what they answer is scored")

    def one(self, s: Sample, known: list[Facts]) -> str:
        if not known:
            return ""
        f, ask = known[0], s.question.lower()
        asked = next((n for n, q in QUANTITIES.items() if q.words.lower() in ask), None)
        if len(known) == 2:
            return self.two(s, known, asked)
        if s.kind == "report":
            told = report(f)
            return told[0] if told else ""
        if s.options == tuple(SUPERCLASSES):
            return "; ".join(n for n in SUPERCLASSES if n in (f.superclasses or ())) or "NORM"
        if s.kind == "verify":
            names = parse_statement(s.question)
            return "yes" if any(n in f.stated for n in names) else "no"
        if s.kind == "query":
            said = [o for o in s.options if any(label(n) == o for n in f.stated)]
            return "; ".join(said) or "none"
        if asked == "qrs_axis_deg" and s.kind == "closed":
            name = axis_class(f.figures[asked].value) if usable(f, asked) else None
            return label(name) if name else ""
        if asked is not None and not (s.kind == "choice" and not all(re.search(r"\d", o) for o in s.options)):
            return self.figure(s, f, asked)
        if s.kind == "choice":
            said = [o for o in s.options if set(parse_statement(o)) & f.stated.keys()]
            return said[0] if said else "none"
        if lead := re.search(r"(t wave|st segment) in lead (\w+)", ask):
            return self.wave(s, f, lead.group(1), next((n for n in f.leads if n.lower() == lead.group(2)), ""))
        if "taller than" in ask:
            ratio = [(n, f.leads[n].get("r_mv", 0) + f.leads[n].get("s_mv", 0)) for n in s.options if n in f.leads]
            return next((n for n, gap in ratio if gap > 0), "")
        told = rhythm(f)
        return told[0] if told else ""

    def figure(self, s: Sample, f: Facts, name: str) -> str:
        if not usable(f, name):
            return CANNOT if absent(f, name) else ""
        value = f.figures[name].value
        if s.kind == "choice":
            return min(s.options, key=lambda o: abs(float(re.findall(r"-?\d+", o)[0]) - value))
        if s.kind == "closed":
            low = place(name, value, f.sex) or "within"
            return f"{low} the normal range"
        return figure(name, value)

    def wave(self, s: Sample, f: Facts, which: str, lead: str) -> str:
        m = f.leads.get(lead, {})
        value = m.get("t_mv" if which == "t wave" else "st_j_mv")
        if value is None:
            return ""
        high, low = (0.06, -0.06) if which == "t wave" else (0.07, -0.05)
        return s.options[0] if value > high else s.options[2] if value < low else s.options[1]

    def two(self, s: Sample, known: list[Facts], asked: str | None) -> str:
        a, b = known
        if asked is None or len(s.options) == 2:
            names = parse_statement(s.question)
            return "yes" if any(n in b.stated and n not in a.stated for n in names) else "no"
        if not (usable(a, asked) and usable(b, asked)):
            return ""
        gap = b.figures[asked].value - a.figures[asked].value
        return s.options[2] if abs(gap) < 1.5 * QUANTITIES[asked].margin else s.options[1 if gap > 0 else 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index")
    parser.add_argument("samples")
    parser.add_argument("--fold", type=int, default=8)
    parser.add_argument("--most", type=int, default=400)
    parser.add_argument("-o", "--output")
    args = parser.parse_args()
    samples = read(args.samples)
    test = [s for s in samples if s.fold == args.fold and len(s.turns) == 2 and s.language == "en"]
    test = [s for s in test if not s.made["by"].startswith("template own-report") and "unanswerable" not in s.made["by"]]
    test = [test[i] for i in np.sort(np.random.default_rng(0).permutation(len(test))[: args.most])]
    train = [s for s in samples if s.fold is not None and s.fold < args.fold]
    told = examine(Rules(), test, ecgs_of(Index.open(args.index)), train=train)
    print(markdown(told))
    if args.output:
        told.save(args.output)


if __name__ == "__main__":
    main()
