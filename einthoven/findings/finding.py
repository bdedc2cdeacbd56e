"""`Finding`: one statement about an ECG, with the evidence it rests on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Evidence:
    """One measured fact for a finding: `measurement` `value` `unit`, held against `threshold` (as text, ">= 120"), in these
    leads and beats.
    """

    measurement: str
    value: float
    unit: str
    threshold: str = ""
    leads: tuple[str, ...] = ()
    beats: tuple[int, ...] = ()

    def __str__(self) -> str:
        places = f" in {', '.join(self.leads)}" if self.leads else ""
        limit = f" ({self.threshold})" if self.threshold else ""
        return f"{self.measurement} {self.value:g} {self.unit}".rstrip() + places + limit


@dataclass(frozen=True)
class Finding:
    """One statement about an ECG.

    name: this package's key in statements.STATEMENTS. text: the sentence for the reader. group: "rhythm", "conduction",
    "axis", "hypertrophy", "infarction", "st-t", "pacing", "quality", "summary".
    confidence: "definite", "probable", "possible" or "cannot be determined" (then `evidence` says what forbids it).
    source: the rule's citation or the model's name. probability and calibrated: for findings of a model.
    severity: "normal", "minor", "abnormal", "critical" - how the page marks it.
    """

    name: str
    text: str
    group: str
    confidence: str = "definite"
    evidence: tuple[Evidence, ...] = ()
    source: str = ""
    scp: str | None = None
    snomed: str | None = None
    probability: float | None = None
    calibrated: bool = False
    severity: str = "abnormal"
