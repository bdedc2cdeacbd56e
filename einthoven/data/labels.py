"""Labels of an Index at a chosen level: names, a matrix (N, K) with NaN where nobody knows, and what kind of task they make.

Codes come in five vocabularies, one word before the colon: `scp:` (PTB-XL), `snomed:` (PhysioNet Challenges), `icd10:`
(hospital diagnoses), `aha:` (SPH) and `statement:` (names of statements.py, from the words of a machine's report or of a
reader). The levels superclass, subclass, statement, diagnostic, form and rhythm are PTB-XL's; every vocabulary is mapped on
them as far as it goes:

- SNOMED CT by statements.py, with the pairs that the Challenge of 2021 scores as one (complete and "plain" bundle branch
  blocks, two codes each of premature beats), and by ExChanGeAI's table S5 for the superclasses (T-wave abnormality and
  inversion are STTC).
- "myocardial infarction" of SNOMED CT and I21 of ICD-10 say MI and not where: the subclasses of MI are unknown (NaN) in that
record.
- A record whose only code is sinus rhythm counts as NORM where its vocabulary has no word for a normal ECG: that is how CPSC
  2018 and the Challenge's copy of PTB-XL write it.

What a record does not state is 0 only where its dataset uses that word somewhere in the index; a set that never says
"hypertrophy" has not denied it, and gets NaN. PTB-XL states everything, so there 0 means no.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data import icd, snomed
from einthoven.data.index import TARGET, Index
from einthoven.record import EcgError, WrongUse
from einthoven.statements import BY_SCP, STATEMENTS, SUPERCLASSES

LEVELS = ("superclass", "subclass", "statement", "diagnostic", "form", "rhythm", "own", "target")
TASKS = ("multilabel", "single", "regression")

# PTB-XL's three kinds (scp_statements.csv, 71 statements); four are diagnostic and form at once.
FORM = (
    *("NDT", "NST_", "DIG", "LNGQT", "ABQRS", "PVC", "STD_", "VCLVH", "QWAVE", "LOWT", "NT_", "PAC", "LPR", "INVT", "LVOLT"),
    *("HVOLT", "TAB_", "STE_", "PRC(S)"),
)
RHYTHM = ("SR", "AFIB", "STACH", "SARRH", "SBRAD", "PACE", "SVARR", "BIGU", "AFLT", "SVTAC", "PSVT", "TRIGU")
DIAGNOSTIC = tuple(scp for scp, name in BY_SCP.items() if STATEMENTS[name].superclass)
_SCP = tuple(dict.fromkeys((*DIAGNOSTIC, *FORM, *RHYTHM)))

# Sets that were read for every statement of the hierarchy: what they do not state is not there.
COMPLETE = frozenset({"ptbxl"})
_SINUS_RHYTHM = "snomed:426783006"

# AHA/ACC/HRS statement numbers of SPH -> SCP, as far as PTB-XL's scp_statements.csv (column "AHA code") pairs them.
AHA: Mapping[str, str] = MappingProxyType(
    {
        "1": "NORM", "20": "SR", "21": "STACH", "22": "SBRAD", "23": "SARRH", "30": "PAC", "50": "AFIB", "51": "AFLT",
        "55": "SVTAC", "60": "PVC", "82": "LPR", "88": "3AVB", "101": "LAFB", "102": "LPFB", "104": "CLBBB", "105": "IRBBB",
        "106": "CRBBB", "107": "IVCD", "140": "LAO/LAE", "141": "RAO/RAE", "142": "LVH", "143": "RVH", "145": "NST_",
        "147": "TAB_", "148": "LNGQT", "160": "AMI", "161": "IMI", "162": "PMI", "163": "LMI", "165": "ASMI", "205": "DIG",
        "226": "ISC_", "227": "ANEUR", "366": "LOWT", "367": "INVT", "501": "STE_", "502": "STD_",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """`names` of K classes (or targets) and `matrix` (N, K) float32: 1 stated, 0 not, NaN unknown; numbers for a regression.

    `task`: "multilabel" (each class for itself), "single" (exactly one class a record: rows are one-hot, or all NaN) or
    "regression".
    """

    names: tuple[str, ...]
    matrix: NDArray[np.float32]
    task: str

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.matrix.shape[1] != len(self.names) or self.task not in TASKS:
            raise EcgError(f"labels: {len(self.names)} names, a matrix {self.matrix.shape}, task {self.task!r}")

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def known(self) -> NDArray[np.int64]:
        """Rows of which something is known."""
        rows: NDArray[np.int64] = np.flatnonzero(np.isfinite(self.matrix).any(axis=1)).astype(np.int64)
        return rows

    @property
    def positives(self) -> NDArray[np.int64]:
        """How often each class is stated, (K,); for a regression: how often the number is given."""
        stated = np.isfinite(self.matrix) if self.task == "regression" else self.matrix == 1
        counts: NDArray[np.int64] = stated.sum(axis=0, dtype=np.int64)
        return counts

    def select(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Labels:
        """The labels of these rows."""
        return Labels(self.names, self.matrix[np.asarray(rows, np.int64)], self.task)

    def only(self, names: Sequence[str]) -> Labels:
        """These classes, in this order. Raises EcgError for one that is not there."""
        lacking = [n for n in names if n not in self.names]
        if lacking:
            raise WrongUse(f"no label {', '.join(lacking)} (there are: {', '.join(self.names[:40])})")
        return Labels(tuple(names), self.matrix[:, [self.names.index(n) for n in names]], self.task)


def labels_of(
    index: Index,
    level: str,
    *,
    names: Sequence[str] | None = None,
    min_positives: int = 0,
    min_likelihood: float = 0.0,
    vocabulary: str | None = None,
    task: str | None = None,
) -> Labels:
    """The labels of every record of the index.

    Args:
        level: one of LEVELS. `own` are the labels of the user's CSV, `target` the numbers of its target columns.
        names: these classes only (a class that nobody has is then a column of zeros and NaN, not an error, except for `own`).
        min_positives: leave out classes that fewer records state.
        min_likelihood: PTB-XL gives 0 to 100 with a diagnostic statement; one below this does not count as stated (nor as
            denied: it is unknown). 0 counts all, as PTB-XL's own benchmark does. Form and rhythm have no likelihoods: they are
            always 0 there.
        vocabulary: take only codes of this one ("icd10" of a hospital stay, say, and not the machine's statements).
        task: "single" keeps records that state exactly one of the classes, one-hot, the others NaN. By default levels of codes
            are multilabel, and one's own labels single where every labelled record has just one.

    Raises:
        EcgError: no such level, no labels at it, or a task that does not go with it.
    """
    if level not in LEVELS:
        raise WrongUse(f"no level {level!r} (there are: {', '.join(LEVELS)})")
    if level == "target":
        return _targets(index, names, task)
    found = _own(index, names) if level == "own" else _coded(index, level, names, min_likelihood, vocabulary)
    if min_positives:
        found = found.only([n for n, count in zip(found.names, found.positives, strict=True) if count >= min_positives])
        if not found.names:
            raise EcgError(f"no {level} has {min_positives} records")
    if task is None:
        one = found.matrix[found.known].sum(axis=1) == 1
        task = "single" if level == "own" and len(found.names) > 1 and one.all() else "multilabel"
    if task == "single":
        return _single(found)
    if task == "regression":
        raise WrongUse(f"{level} labels are classes: a regression needs target columns")
    return found


def _single(labels: Labels) -> Labels:
    if len(labels.names) < 2:
        raise EcgError(f"a single label is one of several classes; there is only {', '.join(labels.names) or 'none'}")
    matrix = np.nan_to_num(labels.matrix)
    matrix[matrix.sum(axis=1) != 1] = np.nan
    return Labels(labels.names, matrix.astype(np.float32), "single")


def _targets(index: Index, names: Sequence[str] | None, task: str | None) -> Labels:
    if task not in (None, "regression"):
        raise WrongUse(f"target columns are numbers: a regression, not {task}")
    wanted = tuple(names) if names is not None else index.targets
    lacking = [n for n in wanted if n not in index.targets and n != "age"]
    if lacking or not wanted:
        raise WrongUse(f"no target {', '.join(lacking) or 'column'} (there are: {', '.join(index.targets) or 'none'}, age)")
    columns = [index.column("age" if n == "age" and n not in index.targets else TARGET + n) for n in wanted]
    return Labels(wanted, np.stack(columns, axis=1).astype(np.float32), "regression")


def _own(index: Index, names: Sequence[str] | None) -> Labels:
    stated: list[list[str] | None] = index.column("labels")
    there = sorted({label for row in stated if row for label in row})
    if not there:
        raise EcgError(
            "no record has a label of its own (a labels.csv gives them); try a level of codes: superclass", path=index.folder
        )
    wanted = tuple(there) if names is None else tuple(names)
    lacking = [n for n in wanted if n not in there]
    if lacking:
        raise WrongUse(f"no record has the label {', '.join(lacking)} (there are: {', '.join(there[:40])})")
    matrix = np.zeros((len(stated), len(wanted)), np.float32)
    column = {n: k for k, n in enumerate(wanted)}
    for i, row in enumerate(stated):
        if row is None:
            matrix[i] = np.nan
        else:
            matrix[i, [column[n] for n in row if n in column]] = 1
    return Labels(wanted, matrix, "multilabel")


def classes(level: str) -> tuple[str, ...]:
    """The classes of a level of codes, in the order of the vocabulary."""
    if level == "superclass":
        return tuple(SUPERCLASSES)
    if level == "subclass":
        subclasses = (STATEMENTS[BY_SCP[scp]].subclass for scp in DIAGNOSTIC)
        return tuple(dict.fromkeys(s for s in subclasses if s))
    return {"statement": _SCP, "diagnostic": DIAGNOSTIC, "form": FORM, "rhythm": RHYTHM}[level]


def _coded(index: Index, level: str, names: Sequence[str] | None, min_likelihood: float, vocabulary: str | None) -> Labels:
    wanted = classes(level) if names is None else tuple(names)
    strange = [n for n in wanted if n not in classes(level)]
    if strange:
        raise WrongUse(f"no {level} {', '.join(strange)} (there are: {', '.join(classes(level))})")
    column = {n: k for k, n in enumerate(wanted)}
    codes: list[list[str]] = index.column("codes")
    likelihoods: list[list[float]] = index.column("likelihoods")
    origin: list[str | None] = index.column("codes_from")
    datasets: list[str] = index.column("dataset")
    matrix = np.zeros((len(codes), len(wanted)), np.float32)
    words: Counter[tuple[str, str]] = Counter()  # (dataset, class): said at least once
    for i, (row, sure) in enumerate(zip(codes, likelihoods, strict=True)):
        if vocabulary is not None:
            kept = [k for k, code in enumerate(row) if code.startswith(vocabulary + ":")]
            row, sure = [row[k] for k in kept], [sure[k] for k in kept]
        said, maybe = _meant(tuple(row), level)
        if not row:
            matrix[i] = np.nan
            continue
        if min_likelihood > 0 and level in ("superclass", "subclass", "diagnostic", "statement"):
            firm, weak = _firm(row, sure, min_likelihood)
            strong, _ = _meant(tuple(firm), level)
            maybe = maybe | (_meant(tuple(weak), level)[0] - strong)
            said = strong | (said - _meant(tuple(weak), level)[0])
        if level in ("statement", "diagnostic") and (origin[i] or "").startswith("reconstructed"):
            said, maybe = _blurred(said, maybe)
        for name in said | maybe:
            words[datasets[i], name] += 1
        matrix[i, [column[n] for n in maybe if n in column]] = np.nan
        matrix[i, [column[n] for n in said if n in column]] = 1
    silent = {d: [k for n, k in column.items() if not words[d, n]] for d in set(datasets) - COMPLETE}
    for i, dataset in enumerate(datasets):
        if silent.get(dataset):
            matrix[i, silent[dataset]] = np.nan
    if not np.isfinite(matrix).any():
        raise EcgError(f"no record has a code that means a {level}", path=index.folder)
    return Labels(wanted, matrix, "multilabel")


def _firm(row: Sequence[str], sure: Sequence[float], least: float) -> tuple[list[str], list[str]]:
    """Codes that count as stated, and diagnostic ones whose likelihood is too small or unknown."""
    firm: list[str] = []
    weak: list[str] = []
    for code, likelihood in zip(row, sure, strict=True):
        judged = code.startswith("scp:") and code[4:] in DIAGNOSTIC
        (weak if judged and not (likelihood >= least) else firm).append(code)
    return firm, weak


def _blurred(said: frozenset[str], maybe: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """A code that stands for its subclass: which of the subclass's statements it is, is unknown where there are several."""
    blurred = set(maybe)
    for scp in said:
        subclass = STATEMENTS[BY_SCP[scp]].subclass
        kin = [s for s in DIAGNOSTIC if STATEMENTS[BY_SCP[s]].subclass == subclass] if subclass else []
        if len(kin) > 1:
            blurred.update(kin)
    return frozenset(said - blurred), frozenset(blurred)


@lru_cache(maxsize=65_536)
def _meant(codes: tuple[str, ...], level: str) -> tuple[frozenset[str], frozenset[str]]:
    """Codes of one record -> (classes they state, classes they may mean: one of these, and nobody knows which)."""
    said: set[str] = set()
    maybe: set[str] = set()
    for code in codes:
        sure, open_ = _class_of(code, level)
        said.update(sure)
        maybe.update(open_)
    if level in ("superclass", "subclass", "diagnostic", "statement") and codes and set(codes) == {_SINUS_RHYTHM}:
        said.add("NORM")
    return frozenset(said), frozenset(maybe - said)


@lru_cache(maxsize=65_536)
def _class_of(code: str, level: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One code -> (the class it states, the classes between which it leaves a choice)."""
    kind, _, word = code.partition(":")
    if kind == "icd10":
        return _class_at(icd.place(word), level)
    if kind == "snomed" and word in snomed.PLACES:
        return _class_at(snomed.PLACES[word], level)
    found = {_class(name, level) for name in meanings(code)}
    real = tuple(c for c in classes(level) if c in found)
    return (real, ()) if len(found) == 1 else ((), real)


def _class_at(place: tuple[str, str, str] | None, level: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A place in PTB-XL's hierarchy, as icd.py and snomed.py write it -> the same pair."""
    if place is None:
        return (), ()
    superclass, subclass, scp = place
    if level == "superclass":
        return ((superclass,), ()) if superclass else ((), ())
    within = [s for s in DIAGNOSTIC if STATEMENTS[BY_SCP[s]].superclass == superclass]
    if level == "subclass":
        if subclass == "?":
            return (), tuple(dict.fromkeys(str(STATEMENTS[BY_SCP[s]].subclass) for s in within))
        return ((subclass,), ()) if subclass else ((), ())
    if scp == "?":
        kin = [s for s in within if subclass == "?" or STATEMENTS[BY_SCP[s]].subclass == subclass]
        return (), tuple(s for s in (kin if superclass else ("AFIB", "AFLT")) if s in classes(level))
    return ((scp,), ()) if scp in classes(level) else ((), ())


def _class(name: str, level: str) -> str | None:
    """The class of a statement at a level, None where it has none."""
    statement = STATEMENTS[name]
    if level == "superclass":
        return statement.superclass
    if level == "subclass":
        return statement.subclass
    return statement.scp if statement.scp in classes(level) else None


def meanings(code: str) -> tuple[str, ...]:
    """The statements (names of statements.py) that a code may mean; () for a code that is not known."""
    kind, _, word = code.partition(":")
    if kind == "scp":
        return (BY_SCP[word],) if word in BY_SCP else ()
    if kind == "aha":
        return (BY_SCP[AHA[word]],) if word in AHA else ()
    if kind == "statement":
        return (word,) if word in STATEMENTS else ()
    if kind == "snomed":
        return _BY_SNOMED.get(snomed.SAME.get(word, word), ())
    return ()


def placed(code: str) -> bool:
    """Whether a code means something at any level here."""
    kind, _, word = code.partition(":")
    return (
        bool(meanings(code))
        or (kind == "snomed" and word in snomed.PLACES)
        or (kind == "icd10" and icd.place(word) is not None)
    )


def _by_snomed() -> dict[str, tuple[str, ...]]:
    out: dict[str, tuple[str, ...]] = {}
    for statement in STATEMENTS.values():
        if statement.snomed:
            out[statement.snomed] = (*out.get(statement.snomed, ()), statement.name)
    return out


_BY_SNOMED: Mapping[str, tuple[str, ...]] = MappingProxyType(_by_snomed())


# ExChanGeAI's tasks (its section 4.7): task -> class -> the SCP subclasses or superclasses that PTB-XL has for it.
_EXCHANGEAI_SCP: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        "superclass": ("superclass", {"MI": ("MI",), "STTC": ("STTC",), "CD": ("CD",), "HYP": ("HYP",)}),
        "infarct": ("subclass", {"AMI": ("AMI",), "IMI": ("IMI",)}),
        "bundle": ("statement", {"LBBB": ("CLBBB", "ILBBB"), "RBBB": ("CRBBB", "IRBBB")}),
    }
)


def exchangeai(index: Index, task: str) -> Labels:
    """The labels of a task of ExChanGeAI, single: "superclass" (four, no NORM), "infarct" (AMI, IMI), "bundle" (LBBB, RBBB).

    By SCP, SNOMED CT and AHA codes through PTB-XL's hierarchy, and by the ICD-10 prefixes of its table 3, to the letter, in
    records that have such codes. Like the paper, complete and incomplete right bundle branch block are one class. Records of no
    class, or of two, are all NaN.
    """
    if task not in _EXCHANGEAI_SCP:
        raise WrongUse(f"no task {task!r} (there are: {', '.join(_EXCHANGEAI_SCP)})")
    level, groups = _EXCHANGEAI_SCP[task]
    prefixes = icd.EXCHANGEAI[task]
    matrix = np.zeros((len(index), len(groups)), np.float32)
    for i, row in enumerate(index.column("codes")):
        diagnoses = [icd.bare(c[6:]) for c in row if c.startswith("icd10:")]
        stated = _meant(tuple(c for c in row if not c.startswith("icd10:")), level)[0] if not diagnoses else frozenset()
        for k, (name, members) in enumerate(groups.items()):
            by_icd = any(d.startswith(p) for d in diagnoses for p in prefixes.get(name, ()))
            matrix[i, k] = by_icd or bool(stated & set(members))
    return _single(Labels(tuple(groups), matrix, "multilabel"))


def translate(code: str, vocabulary: str) -> tuple[str, ...]:
    """A code in another vocabulary ("scp", "snomed", "icd10", "aha", "statement"), as far as both mean the same statement.

    translate("scp:CLBBB", "snomed") is ("snomed:733534002", "snomed:164909002"), translate("icd10:I44.7", "scp") is
    ("scp:CLBBB",); () where the other has no word as exact: SNOMED CT's "myocardial infarction" is not IMI.
    """
    (names, open_) = _class_of(code, "statement")
    known = set(meanings(code)) if not names else {BY_SCP[n] for n in names}
    if open_ or len(known) != 1:
        return ()
    (name,) = known
    statement = STATEMENTS[name]
    if vocabulary == "statement":
        return (f"statement:{name}",)
    if vocabulary == "scp":
        return (f"scp:{statement.scp}",) if statement.scp else ()
    if vocabulary == "aha":
        return tuple(f"aha:{number}" for number, scp in AHA.items() if scp == statement.scp)
    if vocabulary == "icd10":
        exact = (p for p, (_, _, scp) in icd.PREFIXES.items() if scp == statement.scp and statement.scp)
        return tuple(f"icd10:{icd.dotted(p)}" for p in exact)
    if vocabulary == "snomed":
        own = statement.snomed if statement.snomed and _BY_SNOMED[statement.snomed] == (name,) else None
        same = [c for c, canonical in snomed.SAME.items() if own and canonical == own]
        more = [c for c, (_, _, scp) in snomed.PLACES.items() if scp == statement.scp and scp]
        return tuple(f"snomed:{c}" for c in dict.fromkeys([*([own] if own else []), *same, *more]))
    raise WrongUse(f"no vocabulary {vocabulary!r} (there are: scp, snomed, icd10, aha, statement)")
