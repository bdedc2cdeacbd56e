"""LUDB: 200 ECGs of 10 s at 500 Hz, delineated by hand (Kalyakulina et al. 2020, version 1.0.1).

Layout: ludb.csv (ID, Sex, Age, Rhythms, Electric axis of the heart, Conduction abnormalities, Extrasystolies, Hypertrophies,
    Cardiac pacing, Ischemia, Non-specific repolarization abnormalities, Other states; a cell holds one statement a line) and
    data/<ID>.hea, .dat and the annotations .i ... .v6. Each record is of another person. The statements become the text, and
    codes as far as they have one.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from einthoven.data.entry import Choice, Dataset, Entry, Listing
from einthoven.data.rows import below, header, number, plain, rows, sex
from einthoven.statements import parse_statement

# What the words of statements.py do not cover: LUDB's own wordings, by their beginnings. Acute infarction is SNOMED CT's code;
# what may be ischaemia, scar or infarction ("undefined ...") says neither.
_OURS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"undefined ischemia", ()),
    (r"stemi:", ("snomed:57054005",)),
    (r"scar formation: (septal)", ("scp:ASMI",)),
    (r"scar formation: anterior", ("scp:AMI",)),
    (r"scar formation: inferior", ("scp:IMI",)),
    (r"scar formation: lateral", ("scp:LMI",)),
    (r"scar formation: posterior", ("scp:PMI",)),
    (r"scar formation", ("snomed:164867002",)),
    (r"ischemia: anterior", ("scp:ISCAN",)),
    (r"ischemia: septal", ("scp:ISCAS",)),
    (r"ischemia: inferior", ("scp:ISCIN",)),
    (r"ischemia: lateral", ("scp:ISCLA",)),
    (r"ischemia:", ("scp:ISC_",)),
    (r"ventricular extrasystole", ("scp:PVC",)),
    (r"atrial extrasystole", ("scp:PAC",)),
    (r".*pac(ing|emaker)|p-synchrony", ("scp:PACE",)),
    (r"left atrial overload", ("scp:LAO/LAE",)),
    (r"right atrial overload", ("scp:RAO/RAE",)),
    (r"left ventricular overload", ()),
    (r"non-specific intrav[ie]ntricular", ("scp:IVCD",)),
    (r"non-specific repolarization", ("scp:NST_",)),
    (r"electric axis of the heart: left", ("statement:axis_left",)),
    (r"electric axis of the heart: right", ("statement:axis_right",)),
    (r"electric axis of the heart: normal", ("statement:axis_normal",)),
    (r"electric axis", ()),
    (r"irregular sinus rhythm", ("scp:SARRH",)),
    (r"wandering atrial pacemaker", ()),
)


def matches(path: Path) -> bool:
    return {"ID", "Rhythms", "Electric axis of the heart"} <= set(header(path / "ludb.csv"))


def entries(path: Path, choice: Choice) -> Listing:
    """Every row of ludb.csv whose record is there."""
    for row in rows(path / "ludb.csv", needs=("ID", "Sex", "Age", "Rhythms")):
        name = plain(row["ID"]) or ""
        lines = [w.strip() for n, cell in row.items() if n not in ("ID", "Sex", "Age") for w in cell.splitlines() if w.strip()]
        codes = tuple(dict.fromkeys(c for line in lines for c in coded(line)))
        yield Entry(
            record=name,
            path=str(below(path, f"data/{name}.hea")),
            dataset="ludb",
            patient=name,
            age=number(row["Age"].lstrip(">"), 0, 130),
            sex=sex(row["Sex"]),
            codes=codes,
            likelihoods=(math.nan,) * len(codes),
            text="\n".join(lines) or None,
        )


def coded(line: str) -> tuple[str, ...]:
    """The codes of one statement of LUDB, () where it has none."""
    low = line.lower()
    for pattern, codes in _OURS:
        if re.match(pattern, low):
            return codes
    return tuple(f"statement:{name}" for name in parse_statement(line))


LUDB = Dataset(
    "ludb",
    "LUDB",
    matches,
    entries,
    licence="ODC-BY 1.0",
    citation="Kalyakulina et al., LUDB: a new open-access validation tool for ECG delineation algorithms, IEEE Access 2020",
    address="https://physionet.org/content/ludb/1.0.1/",
    records=200,
    patients=200,
    gigabytes=0.03,
)
