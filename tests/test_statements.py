"""The vocabulary against PTB-XL's own table, against the codes in the Challenge headers, and the reader of vendor wording."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from einthoven.statements import BY_SCP, GROUPS, STATEMENTS, SUPERCLASSES, is_a, parse_statement


def test_every_scp_statement_of_ptbxl_is_there_with_its_place(shared_data: Path) -> None:
    with (shared_data / "ptbxl" / "scp_statements.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 71
    for row in rows:
        s = STATEMENTS[BY_SCP[row[""]]]
        assert (s.scp, s.superclass or "", s.subclass or "") == (row[""], row["diagnostic_class"], row["diagnostic_subclass"])


def test_snomed_codes_are_those_of_the_challenge_headers(shared_data: Path) -> None:
    """Of the codes in the headers, those this vocabulary uses mean what the Challenge's table says."""
    meaning = {
        "284470004": "pac",
        "427084000": "sinus_tachycardia",
        "426783006": "sinus_rhythm",
        "164934002": "t_abnormal",
        "698252002": "ivcd",
        "426177001": "sinus_bradycardia",
        "427172004": "pvc",
        "59931005": "t_inversion",
        "164873001": "lvh",
        "55827005": "lvh_voltage",
        "429622005": "st_depression",
        "55930002": "nonspecific_st",
        "713422000": "atrial_tachycardia",
        "164890007": "atrial_flutter",
        "89792004": "rvh",
        "713427006": "crbbb",
        "713426002": "irbbb",
        "67741000119109": "lae",
        "446358003": "rae",
        "365413008": "poor_r_progression",
        "251146004": "low_voltage",
        "164947007": "prolonged_pr",
        "164917005": "q_waves",
        "164889003": "atrial_fibrillation",
        "111975006": "long_qt",
        "106068003": "ectopic_atrial_rhythm",
        "10370003": "paced",
        "427393009": "sinus_arrhythmia",
        "270492004": "first_degree_av_block",
    }
    headers = "\n".join(p.read_text(errors="replace") for p in (shared_data / "challenge").rglob("*.hea"))
    seen = {c for line in re.findall(r"^# ?Dx:(.*)$", headers, re.M) for c in re.findall(r"\d{6,}", line)}
    assert len(seen) > 40
    assert len(seen & set(meaning)) > 20
    for code, name in meaning.items():
        assert STATEMENTS[name].snomed == code


def test_table_is_consistent() -> None:
    for name, s in STATEMENTS.items():
        assert s.name == name and s.text and s.group in GROUPS
        assert s.severity in ("normal", "minor", "abnormal", "critical")
        assert s.superclass is None or s.superclass in SUPERCLASSES
        assert s.snomed is None or (s.snomed.isdigit() and _verhoeff(s.snomed)), s
        assert all(w == w.lower() and "-" not in w for w in s.words), name
    assert is_a("mi_inferolateral", "IMI") and is_a("mi_inferolateral", "MI") and not is_a("mi_inferior", "AMI")


def _verhoeff(code: str) -> bool:
    """The check digit that every SNOMED CT identifier ends with (Verhoeff 1969)."""
    turn = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    for _ in range(6):
        turn.append([turn[-1][turn[1][i]] for i in range(10)])
    check = 0
    for i, digit in enumerate(reversed(code)):
        check = _dihedral(check, turn[i % 8][int(digit)])
    return check == 0


def _dihedral(a: int, b: int) -> int:
    """Product in the group of the ten symmetries of the pentagon."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Sinus rhythm with 1st degree A-V block", ["sinus_rhythm", "first_degree_av_block"]),
        ("Incomplete right bundle branch block", ["irbbb"]),
        ("RBBB and left anterior fascicular block", ["crbbb", "lafb"]),
        ("No ST elevation, T wave inversion or acute infarct", []),
        ("No PVC, sinus rhythm", ["sinus_rhythm"]),
        ("Sinus rhythm without ST depression", ["sinus_rhythm"]),
        ("Atrial fibrillation has replaced Sinus rhythm", ["atrial_fibrillation"]),
        ("Left bundle branch block is no longer present", []),
        ("Left bundle branch block", ["clbbb"]),
        ("Inferior infarct, ruled out", ["mi_inferior"]),
        ("inferior infarct ruled out", []),
        ("Cannot rule out Anterior infarct, age undetermined", ["mi_anterior"]),
        ("an old anteroseptal infarct cannot be excluded", ["mi_anteroseptal"]),
        ("Abnormal ECG", ["abnormal_ecg"]),
        ("***Normal sinus rhythm***\nNormal ECG", ["sinus_rhythm", "normal_ecg"]),
        ("sinusrhythmus unvollstÄndiger rechtsschenkelblock sonst normales ekg", ["sinus_rhythm", "irbbb", "normal_ecg"]),
        ("Kein Linksschenkelblock", []),
        ("Vorhofflimmern ohne Extrasystolen. AV-Block 1. Grades", ["atrial_fibrillation", "first_degree_av_block"]),
        ("Verlängerte QT-Zeit nicht nachweisbar", []),
        ("nothing that anybody knows", []),
        ("", []),
    ],
)
def test_parse_statement(text: str, names: list[str]) -> None:
    assert parse_statement(text) == names


def test_every_wording_is_read_as_its_own_statement() -> None:
    """A wording of one statement is not swallowed by another's, except where two share it on purpose."""
    for s in STATEMENTS.values():
        for words in s.words:
            got = parse_statement(words)
            assert got, words
            if got != [s.name]:
                assert words in STATEMENTS[got[0]].words, (words, got, s.name)


def test_reports_of_ptbxl_name_the_labelled_rhythm(shared_data: Path) -> None:
    with (shared_data / "ptbxl" / "ptbxl_database.csv").open() as f:
        rows = [r for r in csv.DictReader(f) if r["report"]]
    flutter = [r for r in rows if "'AFIB'" in r["scp_codes"]]
    assert len(flutter) > 50
    assert all("atrial_fibrillation" in parse_statement(r["report"]) for r in flutter)
