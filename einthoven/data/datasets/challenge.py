"""PhysioNet/CinC Challenges 2020 and 2021: WFDB records (.hea + .mat), SNOMED CT codes in a comment `#Dx:`, eight sets.

Layout (1.0.3): training/<set>/g<n>/<record>.hea and .mat; in 2020 one folder a set. The set a record is from follows from its
name: A CPSC 2018, Q CPSC 2018 extra, I INCART, S PTB, HR PTB-XL, E Georgia, JS Chapman-Shaoxing (to JS10646) and Ningbo (from
JS10647). Headers of the first release call CPSC's nine classes by words (AF, RBBB, ...), not by codes: they are translated as
the second release codes them (dx_mapping_scored.csv and dx_mapping_unscored.csv of physionetchallenges/evaluation-2021).

Nobody says which records are of one patient. Of PTB-XL's (HR) it is known all the same: HR00001 is ecg_id 1. They are marked as
copies (`same_as` "ptbxl:1"), and get PTB-XL's patient where its table is at hand (`--extra PTB-XL-FOLDER`, or PTB-XL indexed in
the same command). INCART's 74 records are of 32 patients and PTB's 516 of fewer people, too: do not split these two by record.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from einthoven.data.entry import Choice, Dataset, Entry, Fault, Listing, read_file
from einthoven.data.rows import number, plain, rows, sex

_NAME = re.compile(r"(A|Q|I|S|HR|E|JS)(\d{4,5})")
_SETS = {"A": "cpsc2018", "Q": "cpsc2018-extra", "I": "incart", "S": "ptb", "HR": "challenge-ptbxl", "E": "georgia"}
_LAST_OF_CHAPMAN = 10_646
_CPSC = {
    "normal": "426783006", "af": "164889003", "i-avb": "270492004", "lbbb": "164909002", "rbbb": "59118001",
    "pac": "284470004", "pvc": "164884008", "std": "429622005", "ste": "164931005",
}  # fmt: skip
_COMMENT = re.compile(r"^#\s*(Age|Sex|Dx)\s*:\s*(.*)$", re.MULTILINE)


def matches(path: Path) -> bool:
    """A folder in which the first headers found have the names and the `#Dx:` of the Challenges."""
    if not path.is_dir():
        return False
    for i, header in enumerate(_headers(path)):
        if _NAME.fullmatch(header.stem) and "Dx:" in _text(header):
            return True
        if i >= 20:
            break
    return False


def entries(path: Path, choice: Choice) -> Listing:
    """Every header below the folder, in the order of names."""
    patients = ptbxl_patients(Path(choice.extra)) if choice.extra else {}
    strange = 0
    for header in _headers(path):
        named = _NAME.fullmatch(header.stem)
        if named is None:
            strange += 1
            continue
        about = dict(_COMMENT.findall(_text(header)))
        codes = dx(about.get("Dx", ""))
        number_ = int(named[2])
        ptbxl = str(number_) if named[1] == "HR" else None
        yield Entry(
            record=header.stem,
            path=str(header),
            dataset=set_of(named[1], number_),
            patient=f"ptbxl:{patients[ptbxl]}" if ptbxl in patients else None,
            age=number(about.get("Age", "").strip(), 0, 130),
            sex=sex(about.get("Sex")),
            codes=codes,
            likelihoods=(float("nan"),) * len(codes),
            same_as=f"ptbxl:{ptbxl}" if ptbxl else None,
        )
    if strange:
        yield Fault(str(path), "headers whose names are none of the Challenge's", strange, serious=False)


def set_of(prefix: str, index: int) -> str:
    """The set a record is from, by its name."""
    if prefix == "JS":
        return "chapman" if index <= _LAST_OF_CHAPMAN else "ningbo"
    return _SETS[prefix]


def dx(words: str) -> tuple[str, ...]:
    """The codes of a `#Dx:` comment, each once, with the words of CPSC's nine classes translated."""
    found = (w.strip() for w in words.split(","))
    codes = (w if re.fullmatch(r"\d{5,18}", w) else _CPSC.get(w.lower()) for w in found if w)
    return tuple(dict.fromkeys(f"snomed:{c}" for c in codes if c))


def ptbxl_patients(folder: Path) -> dict[str, str]:
    """PTB-XL's ecg_id -> patient_id, from its table."""
    table = folder / "ptbxl_database.csv" if folder.is_dir() else folder
    needs = ("ecg_id", "patient_id")
    return {plain(r["ecg_id"]) or "": plain(r["patient_id"]) or "" for r in rows(table, needs=needs) if r["patient_id"]}


def _headers(path: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(path):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(here) / n for n in sorted(files) if n.endswith(".hea"))


def _text(header: Path) -> str:
    try:
        with header.open(encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""


CHALLENGE = Dataset(
    "challenge",
    "PhysioNet/CinC Challenge 2020 and 2021",
    matches,
    entries,
    read_file,
    licence="CC BY 4.0",
    citation="Reyna et al., Will two do? Varying dimensions in electrocardiography: the PhysioNet/CinC Challenge 2021; "
    "Perez Alday et al., Physiol Meas 2020, 41:124003",
    address="https://physionet.org/content/challenge-2021/1.0.3/",
    records=88_253,
    gigabytes=11.0,
    notes="CPSC 2018 and Extra, INCART, PTB, PTB-XL, Georgia, Chapman-Shaoxing, Ningbo; patients are not told (but PTB-XL's)",
)
