"""A report against what is known of its ECG, without a judge: statements by axis, and numbers against what was measured.

    score = score_report("Sinus rhythm, 72 bpm. LBBB.", truth=("sinus_rhythm", "clbbb"), measured=measurements)
    score.f1, score.axes["rhythm"], score.numbers

Statements are read with denials (einthoven.statements), so "no LBBB" is not LBBB. A special statement says the general one, too
("ST elevation in anterior leads" is ST elevation): who says the general one alone has said half. How often the reading agrees
with pairs that were scored by hand is in tests/test_evaluate_reports.py. It cannot judge prose, or what the vocabulary lacks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from einthoven.beats.measurements import Measurements
from einthoven.record import EcgError
from einthoven.statements import STATEMENTS, parse_statement

AXES: Mapping[str, str] = MappingProxyType(  # group of the vocabulary -> axis
    {
        "summary": "summary",
        "rhythm": "rhythm",
        "pacing": "rhythm",
        "conduction": "conduction",
        "axis": "axis",
        "hypertrophy": "hypertrophy",
        "infarction": "infarction",
        "st-t": "st-t",
        "quality": "quality",
    }
)
_GENERAL: Mapping[str, str] = MappingProxyType(
    {
        "first_degree_av_block": "prolonged_pr",
        "mobitz_1": "second_degree_av_block",
        "mobitz_2": "second_degree_av_block",
        "av_block_2_1": "second_degree_av_block",
        "ventricular_paced": "paced",
        "atrial_paced": "paced",
        "ventricular_bigeminy": "bigeminy",
        "atrial_bigeminy": "bigeminy",
        "ventricular_trigeminy": "trigeminy",
        "junctional_escape": "junctional_rhythm",
        "psvt": "supraventricular_tachycardia",
        "pericarditis": "st_elevation",
        "brugada": "st_elevation",
        "ste_mi_equivalent_lbbb": "st_elevation",
    }
)


@dataclass(frozen=True)
class Tally:
    """Statements said rightly, said wrongly, and left out, by name."""

    right: frozenset[str]
    wrong: frozenset[str]
    missed: frozenset[str]

    @property
    def f1(self) -> float:
        """NaN where nothing was there and nothing was said."""
        total = 2 * len(self.right) + len(self.wrong) + len(self.missed)
        return 2 * len(self.right) / total if total else float("nan")

    @property
    def precision(self) -> float:
        said = len(self.right) + len(self.wrong)
        return len(self.right) / said if said else float("nan")

    @property
    def recall(self) -> float:
        there = len(self.right) + len(self.missed)
        return len(self.right) / there if there else float("nan")


@dataclass(frozen=True)
class Number:
    """A figure that a report gives: `name` of Measurements, in its unit; `measured` NaN where it could not be measured.
    `right`: within `tolerance`; None where there is nothing to compare with."""

    name: str
    said: float
    measured: float
    tolerance: float
    words: str

    @property
    def right(self) -> bool | None:
        if math.isnan(self.measured):
            return None
        gap = abs(self.said - self.measured)
        if self.name.endswith("axis_deg"):
            gap = min(gap % 360, 360 - gap % 360)
        return gap <= self.tolerance


@dataclass(frozen=True)
class ReportScore:
    """`whole` over all axes, `axes` one each; `numbers` in the order of the text."""

    whole: Tally
    axes: Mapping[str, Tally]
    numbers: tuple[Number, ...]

    @property
    def f1(self) -> float:
        return self.whole.f1

    @property
    def numbers_right(self) -> float:
        """Share of the figures that can be checked. NaN where there are none."""
        told = [n.right for n in self.numbers if n.right is not None]
        return sum(told) / len(told) if told else float("nan")


def score_report(text: str, truth: Iterable[str], measured: Measurements | None = None) -> ReportScore:
    """A report's text against the statements that are true of its ECG (names of einthoven.statements) and its measurements.

    Raises EcgError for a truth that is not in the vocabulary.
    """
    true = frozenset(truth)
    if strange := sorted(true - STATEMENTS.keys()):
        raise EcgError(f"not in the vocabulary: {', '.join(strange)}")
    there, said = widened(true), widened(parse_statement(text))
    axes = {}
    for axis in dict.fromkeys(AXES.values()):
        a, b = (frozenset(n for n in names if AXES[STATEMENTS[n].group] == axis) for names in (there, said))
        axes[axis] = Tally(a & b, b - a, a - b)
    return ReportScore(Tally(there & said, said - there, there - said), axes, numbers(text, measured))


def widened(names: Iterable[str]) -> frozenset[str]:
    """Statements with the general ones that they say, too."""
    out = set(names)
    for name in names:
        for general in ("st_elevation", "ischaemia"):
            if name.startswith(f"{general}_"):
                out.add(general)
        if name in _GENERAL:
            out.add(_GENERAL[name])
    return frozenset(out)


# Figures: how far from ours they may lie (rate: 5 % where that is more), and how they are said, in which unit, and how far
# from ours they are still right (rate 5 %, at least 3/min). Chosen here.
TOLERANCE: Mapping[str, float] = MappingProxyType(
    {"rate_bpm": 3, "pr_ms": 20, "p_ms": 20, "qrs_ms": 20, "qt_ms": 30, "qtc_fridericia_ms": 30, "qrs_axis_deg": 20}
)
_TO = r"[\s:=,*]{0,4}(?:(?:interval|duration|time|is|was|of|at|measures|approximately|about|around)[\s:=,*]{1,4}){0,5}"
_MS = r"(\d{2,3}(?:\.\d+)?|0?\.\d{2,3})\s*(ms|msec|milliseconds|s|sec|seconds)\b"
_SAID: tuple[tuple[str, str, float], ...] = (
    ("rate_bpm", r"(?<![a-z])(?:heart rate|ventricular rate|rate|hr)" + _TO + r"(\d{2,3})(?!\d|\s*ms)", 3),
    ("rate_bpm", r"(?<![\d.])(\d{2,3})\s*(?:bpm|beats per minute|beats/min|/\s*min\b|per minute)", 3),
    ("pr_ms", r"(?<![a-z])p[rq]" + _TO + _MS, 20),
    ("qrs_ms", r"(?<![a-z])qrs" + _TO + _MS, 20),
    ("qt_ms", r"(?<![a-z])qt" + _TO + _MS, 30),
    ("qtc_ms", r"(?<![a-z])qtc" + _TO + r"(?:\((?:bazett|fridericia|framingham|hodges)\)" + _TO + ")?" + _MS, 30),
    ("qrs_axis_deg", r"(?<![a-z])(?:qrs |electrical |frontal )?axis" + _TO + r"([+-]?\d{1,3})\s*(?:°|deg)", 20),
)
_RATE_SHARE = 0.05
_FORMULAS = ("bazett", "fridericia", "framingham", "hodges")


def numbers(text: str, measured: Measurements | None = None) -> tuple[Number, ...]:
    """The figures that a text gives for rate, PR, QRS, QT, QTc and QRS axis, beside those that were measured. A QTc is held
    against the formula that the text names, or else against the nearest of the four."""
    low = text.lower().replace("−", "-").replace("–", "-")
    found: dict[int, tuple[int, Number]] = {}
    for name, pattern, tolerance in _SAID:
        for match in re.finditer(pattern, low):
            said = float(match.group(1))
            if match.re.groups > 1 and match.group(2) in ("s", "sec", "seconds"):
                said *= 1000
            true = float("nan") if measured is None else _measured(name, said, match.group(), measured)
            within = max(tolerance, _RATE_SHARE * true) if name == "rate_bpm" and true == true else tolerance
            # One figure can be met by two patterns ("rate 72 bpm"): the place of its digits is what it is.
            found.setdefault(match.start(1), (match.start(1), Number(name, said, true, within, match.group().strip())))
    return tuple(number for _, number in sorted(found.values(), key=lambda pair: pair[0]))


def _measured(name: str, said: float, words: str, measured: Measurements) -> float:
    if name != "qtc_ms":
        return float(measured[name])
    named = [formula for formula in _FORMULAS if formula in words]
    values = [float(measured[f"qtc_{formula}_ms"]) for formula in named or _FORMULAS]
    known = [value for value in values if value == value]
    return min(known, key=lambda value: abs(value - said)) if known else float("nan")
