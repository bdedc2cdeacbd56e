"""ICD-10 codes of diagnoses -> PTB-XL's superclasses, subclasses and SCP statements, by prefix; and ExChanGeAI's tables as they
stand.

A code of a hospital stay is no reading of an ECG: it says what the patient was treated for, at a time near the recording.
ExChanGeAI (table 3) takes it as the label all the same, and so does this map, which says so here. Longest prefix wins; codes
come with a dot ("I21.0") or without (MIMIC's "I2109").

The superclasses are the paper's (HYP: I11, I51.7; MI: I21, I22; CD: I44) with the rest of conduction (I45.0 to I45.6) added:
the paper leaves right bundle branch block (I45.1) out of CD and makes it a class of its own in its bundle-branch task, where
PTB-XL's CD has it. `EXCHANGEAI` holds the paper's prefixes to the letter.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# prefix -> (superclass, subclass, SCP); "" where the code does not tell, "?" where it is one of the superclass and nobody knows
# which.
PREFIXES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "I11": ("HYP", "?", ""),
        "I517": ("HYP", "?", ""),  # cardiomegaly
        "I21": ("MI", "?", "?"),
        "I210": ("MI", "AMI", "?"),
        "I211": ("MI", "IMI", "?"),
        "I22": ("MI", "?", "?"),
        "I220": ("MI", "AMI", "?"),
        "I221": ("MI", "IMI", "?"),
        "I44": ("CD", "?", "?"),
        "I440": ("CD", "_AVB", "1AVB"),
        "I441": ("CD", "_AVB", "2AVB"),
        "I442": ("CD", "_AVB", "3AVB"),
        "I443": ("CD", "_AVB", "?"),
        "I444": ("CD", "LAFB/LPFB", "LAFB"),
        "I445": ("CD", "LAFB/LPFB", "LPFB"),
        "I446": ("CD", "LAFB/LPFB", "?"),
        "I447": ("CD", "CLBBB", "CLBBB"),  # left bundle branch block, unspecified
        "I450": ("CD", "IRBBB", ""),  # right fascicular block
        "I451": ("CD", "CRBBB", "CRBBB"),  # other and unspecified right bundle branch block
        "I452": ("CD", "?", "?"),  # bifascicular
        "I453": ("CD", "?", "?"),  # trifascicular
        "I454": ("CD", "IVCD", "IVCD"),
        "I455": ("CD", "?", ""),
        "I456": ("CD", "WPW", "WPW"),
        "I4581": ("STTC", "STTC", "LNGQT"),
        "I48": ("", "", "?"),
        "I480": ("", "", "AFIB"),
        "I481": ("", "", "AFIB"),
        "I482": ("", "", "AFIB"),
        "I4891": ("", "", "AFIB"),
        "I483": ("", "", "AFLT"),
        "I484": ("", "", "AFLT"),
        "I4892": ("", "", "AFLT"),
        "I471": ("", "", "SVTAC"),
        "I491": ("", "", "PAC"),
        "I493": ("", "", "PVC"),
    }
)

# ExChanGeAI, table 3: task -> class -> ICD-10 prefixes. A record of two classes has no single label and is left out.
EXCHANGEAI: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "superclass": MappingProxyType({"HYP": ("I11", "I517"), "MI": ("I21", "I22"), "CD": ("I44",)}),
        "infarct": MappingProxyType({"AMI": ("I210",), "IMI": ("I211",)}),
        "bundle": MappingProxyType({"LBBB": ("I447",), "RBBB": ("I451",)}),
    }
)


def bare(code: str) -> str:
    """A code without its dot and blanks, in capitals: "I21.0" -> "I210"."""
    return code.replace(".", "").replace(" ", "").upper()


def dotted(code: str) -> str:
    """A code with its dot: "I447" -> "I44.7"."""
    return f"{code[:3]}.{code[3:]}" if len(code) > 3 else code


def place(code: str) -> tuple[str, str, str] | None:
    """(superclass, subclass, SCP) of an ICD-10 code, None where it means none of them."""
    word = bare(code)
    for length in range(len(word), 2, -1):
        if word[:length] in PREFIXES:
            return PREFIXES[word[:length]]
    return None
