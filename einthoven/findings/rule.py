"""`Rule`: one criterion of a society as data and a small function, and `Case`: all that a rule may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from einthoven.beats.fiducials import NORMAL, Beats, Times
from einthoven.beats.measurements import LeadMeasurements, Measurements
from einthoven.findings.finding import Evidence, Finding
from einthoven.record import LIMB_LEADS, Record, einthoven_residual
from einthoven.signal.quality import Quality

DEFINITE, PROBABLE, POSSIBLE, UNDETERMINED = "definite", "probable", "possible", "cannot be determined"

# What hides a statement, and what the reader is told (Rule.unless).
SECONDARY = {
    "clbbb": "ST and T follow the left bundle branch block",
    "ventricular_paced": "the ventricles are paced",
    "preexcitation": "pre-excitation changes Q, ST and T",
    "wide_qrs_tachycardia": "the QRS is not conducted normally",
    "ventricular_tachycardia": "the QRS is not conducted normally",
    "idioventricular_rhythm": "the QRS is not conducted normally",
    "accelerated_idioventricular": "the QRS is not conducted normally",
}
REVERSED = {"limb_lead_reversal": "the limb leads seem to be reversed"}


@dataclass(frozen=True)
class Met:
    """A criterion that is met: by which evidence and how surely. `name` where the rule has several, `detail` is added to the
    text.
    """

    evidence: tuple[Evidence, ...]
    confidence: str = DEFINITE
    name: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Rule:
    """One criterion.

    name: the statement it makes (key of STATEMENTS); `also` names the other statements its test may give.
    source: the paper, with the section where it is long.
    test: what of the case meets the criterion; None or nothing where it is not met.
    unless: statements that hide this one, with the reason for the reader. A rule that would fire is then reported as "cannot be
        determined"; where the reason is empty it is left out, because the other statement says it already.
    leads: without these the rule cannot be judged; `say` tells the reader so.
    """

    name: str
    source: str
    test: Callable[[Case], Met | Iterable[Met] | None]
    unless: Mapping[str, str] = field(default_factory=dict)
    leads: tuple[str, ...] = ()
    say: bool = False
    also: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.also)

    def mets(self, case: Case) -> tuple[Met, ...]:
        got = self.test(case)
        return () if got is None else (got,) if isinstance(got, Met) else tuple(got)


@dataclass(frozen=True)
class Case:
    """One ECG as the rules see it. `found` grows while the rules run, in the order of the table."""

    record: Record
    beats: Beats
    m: Measurements
    quality: Quality
    found: dict[str, Finding] = field(default_factory=dict)

    @property
    def age(self) -> float | None:
        return self.record.patient.age

    @property
    def sex(self) -> str | None:
        return self.record.patient.sex

    def has(self, *names: str) -> bool:
        """Whether one of these statements was made (not merely left undetermined)."""
        return any(n in self.found and self.found[n].confidence != UNDETERMINED for n in names)

    def value(self, name: str) -> float:
        """A quantity; NaN, which meets no threshold, where it could not be measured."""
        return self.m[name] if name in self.m.quantities else float("nan")

    def fact(self, name: str, threshold: str = "") -> Evidence:
        """A quantity as evidence, with its unit and beats."""
        q = self.m.quantities[name]
        return Evidence(name, round(q.value, 3), q.unit, threshold, beats=q.beats)

    @cached_property
    def leads(self) -> Mapping[str, LeadMeasurements]:
        """The leads whose QRS could be measured and whose quality carries a reading."""
        poor = unusable(self.quality)
        return {n: x for n, x in self.m.leads.items() if n not in poor and x.qrs_peak_to_peak_mv == x.qrs_peak_to_peak_mv}

    def lead(self, name: str) -> LeadMeasurements:
        """One lead; all NaN where it is missing or cannot be used."""
        return self.leads.get(name, _NOTHING)

    def of(self, field_name: str, lead: str, threshold: str = "") -> Evidence:
        """One figure of one lead as evidence."""
        unit = (
            "ms"
            if field_name.endswith("_ms")
            else "mV ms"
            if field_name.endswith("_mvms")
            else "mV"
            if "_mv" in field_name
            else ""
        )
        return Evidence(field_name, round(float(getattr(self.lead(lead), field_name)), 3), unit, threshold, (lead,))

    @cached_property
    def contradiction_mv(self) -> float:
        """The largest gap between a recorded limb lead and what I and II say of it, where it is more than a tenth of the
        QRS; else 0.

        0.1 mV and a tenth of the largest limb QRS lie far above what storage and filters do: such leads were scaled one by one,
        or mixed up. Leads read off paper (source "digitised") lie a pixel apart in time, which is a millivolt at the slope of a
        QRS; whoever digitised them has asked the law already, and warns.
        """
        if self.record.source.format == "digitised":
            return 0.0
        gap = max(einthoven_residual(self.record).values(), default=0.0)
        size = max((self.lead(n).qrs_peak_to_peak_mv for n in LIMB_LEADS if n in self.leads), default=0.0)
        return gap if gap > max(0.1, 0.1 * size) else 0.0

    @cached_property
    def nn_ms(self) -> Times:
        """RR intervals in ms between neighbouring beats that are both normal, without those that hold a P wave of their own."""
        b = self.beats
        lone = b.lone_p_overall[:, 0] if len(b.lone_p_overall) else np.empty(0)
        keep = [
            b.kinds[i] == NORMAL == b.kinds[i + 1] and not ((lone > b.r[i]) & (lone < b.r[i + 1])).any()
            for i in range(len(b) - 1)
        ]
        return np.asarray(b.rr[np.array(keep, bool)] * 1000)


_NOTHING = LeadMeasurements()


def unusable(quality: Quality) -> set[str]:
    """Leads that cannot be read."""
    return {n for n, q in quality.leads.items() if not q.usable}


def net(x: LeadMeasurements) -> float:
    """Largest positive plus largest negative QRS deflection, mV: the sign of the QRS."""
    return max(x.r_mv, x.r2_mv) + min(x.q_mv, x.s_mv, x.s2_mv)


def contiguous(leads: Iterable[str], order: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Those of `leads` that have a neighbour among them in one of the orders (chains of neighbouring leads)."""
    have = set(leads)
    kept = {n for chain in order for pair in pairwise(chain) if set(pair) <= have for n in pair}
    return tuple(n for chain in order for n in chain if n in kept)


# Neighbours on the chest and, Cabrera's order, around the frontal plane (Wagner 2009, part VI: contiguous leads; -aVR is left
# out
# because it is not recorded as such).
CONTIGUOUS = (("V1", "V2", "V3", "V4", "V5", "V6"), ("aVL", "I"), ("II", "aVF", "III"))
