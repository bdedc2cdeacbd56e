"""SNOMED CT codes of the PhysioNet Challenges -> PTB-XL's hierarchy, where statements.py alone does not say it.

The codes and their words are those of dx_mapping_scored.csv and dx_mapping_unscored.csv (physionetchallenges/evaluation-2021).
Places are written as in icd.py: "" none, "?" one of its kind and nobody knows which.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Pairs that the Challenge of 2021 scores as the same diagnosis, written as the one that statements.py has.
SAME: Mapping[str, str] = MappingProxyType(
    {
        "59118001": "713427006",  # right bundle branch block
        "164909002": "733534002",  # left bundle branch block
        "63593006": "284470004",  # supraventricular premature beats
        "17338001": "427172004",  # ventricular premature beats
        "164884008": "427172004",  # ventricular ectopics
    }
)

# (superclass, subclass, SCP)
PLACES: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "6374002": ("CD", "?", "?"),  # bundle branch block, side not told
        "233917008": ("CD", "_AVB", "?"),  # AV block
        "204384007": ("CD", "_AVB", "?"),  # congenital incomplete AV block
        "82226007": ("CD", "?", "?"),  # diffuse intraventricular block
        "195060002": ("CD", "WPW", "WPW"),  # ventricular pre-excitation
        "164865005": ("MI", "?", "?"),  # myocardial infarction
        "57054005": ("MI", "?", "?"),  # acute
        "164867002": ("MI", "?", "?"),  # old
        "54329005": ("MI", "AMI", "AMI"),  # anterior
        "413444003": ("STTC", "?", "?"),  # acute myocardial ischaemia
        "413844008": ("STTC", "?", "?"),  # chronic myocardial ischaemia
        "428750005": ("STTC", "?", "?"),  # non-specific ST-T abnormality
        "164930006": ("STTC", "?", "?"),  # ST interval abnormal
        "164934002": ("STTC", "?", "?"),  # T wave abnormal: ExChanGeAI, table S5
        "59931005": ("STTC", "?", "INVT"),  # T wave inversion: table S5 (in PTB-XL a form without a superclass)
        "253352002": ("HYP", "LAO/LAE", "LAO/LAE"),  # left atrial abnormality
        "446813000": ("HYP", "LAO/LAE", "LAO/LAE"),  # left atrial hypertrophy
        "253339007": ("HYP", "RAO/RAE", "RAO/RAE"),  # right atrial abnormality
        "195126007": ("HYP", "?", "?"),  # atrial hypertrophy
        "266249003": ("HYP", "?", "?"),  # ventricular hypertrophy
        "704997005": ("", "", "STD_"),  # inferior ST depression
        "195080001": ("", "", "?"),  # atrial fibrillation and flutter
        "426749004": ("", "", "AFIB"),  # chronic
        "282825002": ("", "", "AFIB"),  # paroxysmal
        "314208002": ("", "", "AFIB"),  # rapid
        "251166008": ("", "", "SVTAC"),  # AV node re-entry tachycardia
        "233897008": ("", "", "SVTAC"),  # AV re-entry tachycardia
        "251168009": ("", "", "BIGU"),  # supraventricular bigeminy
        "251182009": ("", "", "PVC"),  # paired ventricular premature complexes
        "251170000": ("", "", "PAC"),  # blocked premature atrial contraction
    }
)
