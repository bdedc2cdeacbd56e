"""PTB-XL: 21,799 ECGs of 10 s from 18,869 patients, at 500 and at 100 Hz (Wagner et al., Sci Data 2020; version 1.0.3).

Layout: ptbxl_database.csv, scp_statements.csv, records100/ and records500/ with WFDB files. `scp_codes` is a dictionary of
    statements and likelihoods. A likelihood of 0 does not mean "absent": it stands where the report gave no certainty (all
    rhythm and form statements have it). Like the PTB-XL benchmark (Strodthoff et al. 2021) a statement in the dictionary counts
    as stated whatever its likelihood; `labels_of(min_likelihood=...)` draws another line for diagnostic statements.

Subsets whose rows were completed from other sources say so in a column `scp_codes_source` ("official", "statements only":
likelihoods unknown, "reconstructed ...": codes stand for their diagnostic subclass).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from einthoven.data.entry import Choice, Dataset, Entry, Fault, Listing
from einthoven.data.rows import below, header, number, plain, rows

_CODE = re.compile(r"""['"]([^'"]+)['"]\s*:\s*(-?[\d.]+|nan)""")
_NEEDS = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", "filename_lr", "filename_hr")


def matches(path: Path) -> bool:
    return (path / "ptbxl_database.csv").is_file() and "scp_codes" in header(path / "ptbxl_database.csv")


def entries(path: Path, choice: Choice) -> Listing:
    """Every row of ptbxl_database.csv, at 100 Hz unless 500 is chosen."""
    column = {None: "filename_lr", 100: "filename_lr", 500: "filename_hr"}.get(choice.rate)
    if column is None:
        from einthoven.record import EcgError

        raise EcgError(f"PTB-XL comes at 100 and at 500 Hz, not at {choice.rate}", path=path)
    unlisted = 0
    for row in rows(path / "ptbxl_database.csv", needs=_NEEDS):
        ecg_id = plain(row["ecg_id"]) or ""
        if not row[column]:
            unlisted += 1
            continue
        source = row.get("scp_codes_source") or None
        codes = scp_codes(row["scp_codes"])
        known = source in (None, "official")
        age = number(row["age"], 0, 300)
        yield Entry(
            record=ecg_id,
            path=str(below(path, row[column] + ".hea")),
            dataset="ptbxl",
            patient=plain(row["patient_id"]),
            age=90.0 if age == 300 else age,  # 1.0.3 writes 300 for everybody over 89
            sex={"0": "male", "1": "female"}.get(plain(row["sex"]) or ""),
            fold=int(number(row["strat_fold"], 1, 10)) if row["strat_fold"] else -1,
            device=(row.get("device") or "").strip() or None,
            site=plain(row.get("site")),
            codes=tuple(f"scp:{c}" for c in codes),
            likelihoods=tuple(v if known else math.nan for v in codes.values()),
            codes_from=source,
            text=row.get("report") or None,
        )
    if unlisted:
        yield Fault(f"ptbxl at {choice.rate or 100} Hz", "the table names no file", unlisted, serious=False)


def scp_codes(words: str) -> dict[str, float]:
    """{'NORM': 100.0, 'SR': 0.0} -> the same as a dictionary, by a pattern and not by evaluating it."""
    return {code: float(value) for code, value in _CODE.findall(words)}


PTBXL = Dataset(
    "ptbxl",
    "PTB-XL",
    matches,
    entries,
    licence="CC BY 4.0",
    citation="Wagner et al., PTB-XL, a large publicly available electrocardiography dataset, Sci Data 2020, 7:154",
    address="https://physionet.org/content/ptb-xl/1.0.3/",
    records=21_799,
    patients=18_869,
    gigabytes=3.0,
    notes="official folds 1-8 train, 9 validation, 10 test; --rate 100 or 500",
)
