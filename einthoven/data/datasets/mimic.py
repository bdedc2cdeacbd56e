"""MIMIC-IV-ECG: 800,035 ECGs of 161,352 patients (Gow et al. 2023, version 1.0), with the words of the machine.

Layout: record_list.csv (subject_id, study_id, file_name, ecg_time, path), machine_measurements.csv (report_0 ... report_17,
    cart_id, rr_interval, ...), files/p1000/p10000032/s40689238/40689238.hea and .dat
    (https://mimic.mit.edu/docs/iv/modules/ecg). The leads stand in the order I, II, III, aVR, aVF, aVL in the files; names
    decide here.

The machine's report becomes the text, and its statements (statements.py) become codes "statement:..."; a machine wrote them, so
`codes_from` says "machine". ICD-10 codes, ages, sexes and folds come from records_w_diag_icd10.csv of MIMIC-IV-ECG-Ext-ICD
(Strodthoff et al. 2024; its columns study_id, gender, age, strat_fold, all_diag_all with lists such as ['I2510', 'R4182']),
where it lies in the folder or is named with --extra. Those are diagnoses of the stay, not of the ECG.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path

from einthoven.data.entry import Choice, Dataset, Entry, Listing
from einthoven.data.rows import below, header, number, plain, rows, sex
from einthoven.statements import parse_statement

_REPORTS = tuple(f"report_{i}" for i in range(18))
_ICD_FILE = "records_w_diag_icd10.csv"
_QUOTED = re.compile(r"['\"]([A-Z][0-9A-Z.]+)['\"]")


def matches(path: Path) -> bool:
    return {"subject_id", "study_id", "path"} <= set(header(path / "record_list.csv"))


def entries(path: Path, choice: Choice) -> Listing:
    """Every row of record_list.csv."""
    words = _reports(path / "machine_measurements.csv")
    extra = Path(choice.extra) if choice.extra else path / _ICD_FILE
    stays = _stays(extra) if extra.is_file() or choice.extra else {}
    for row in rows(path / "record_list.csv", needs=("subject_id", "study_id", "path")):
        study = plain(row["study_id"]) or ""
        text, cart = words.get(study, (None, None))
        said = tuple(dict.fromkeys(f"statement:{s}" for line in (text or "").split("\n") for s in _statements(line)))
        diagnoses, age, who, fold = stays.get(study, ((), math.nan, None, -1))
        codes = (*said, *diagnoses)
        yield Entry(
            record=study,
            path=str(below(path, row["path"] + ".hea")),
            dataset="mimic",
            patient=plain(row["subject_id"]),
            age=age,
            sex=who,
            fold=fold,
            device=cart,
            codes=codes,
            likelihoods=(math.nan,) * len(codes),
            codes_from="machine" if not diagnoses else "machine and ICD-10 of the stay",
            text=text,
        )


@lru_cache(maxsize=65_536)
def _statements(line: str) -> tuple[str, ...]:
    """A machine says few things, many times."""
    return tuple(parse_statement(line))


def _reports(table: Path) -> dict[str, tuple[str | None, str | None]]:
    """study_id -> (the machine's report, the cart it came from)."""
    if not table.is_file():
        return {}
    out: dict[str, tuple[str | None, str | None]] = {}
    for row in rows(table, needs=("study_id", "report_0")):
        lines = (row.get(name, "") for name in _REPORTS)
        out[plain(row["study_id"]) or ""] = ("\n".join(w for w in lines if w) or None, plain(row.get("cart_id")))
    return out


def _stays(table: Path) -> dict[str, tuple[tuple[str, ...], float, str | None, int]]:
    """study_id -> (ICD-10 codes, age, sex, fold)."""
    names = header(table)
    column = next((n for n in ("all_diag_all", "all_diag_hosp") if n in names), "all_diag_all")
    out: dict[str, tuple[tuple[str, ...], float, str | None, int]] = {}
    for row in rows(table, needs=("study_id", column)):
        codes = tuple(dict.fromkeys(f"icd10:{c}" for c in _QUOTED.findall(row[column])))
        fold = number(row.get("strat_fold"), 0, 1000)
        out[plain(row["study_id"]) or ""] = (
            codes,
            number(row.get("age"), 0, 130),
            sex(row.get("gender")),
            -1 if math.isnan(fold) else int(fold),
        )
    return out


MIMIC = Dataset(
    "mimic",
    "MIMIC-IV-ECG",
    matches,
    entries,
    licence="ODbL 1.0 (waveforms); PhysioNet credentialed licence (ICD-10 labels)",
    citation="Gow et al., MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset (version 1.0), PhysioNet 2023",
    address="https://physionet.org/content/mimic-iv-ecg/1.0/",
    records=800_035,
    patients=161_352,
    gigabytes=90.4,
    notes="machine reports as text and statements; --extra records_w_diag_icd10.csv gives ICD-10, age, sex, folds",
)
