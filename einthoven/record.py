"""`Record`, the noun that carries an ECG from file to report, and the small facts about leads that belong to it.

Letters used in shapes everywhere: L leads, T samples, B beats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]

LIMB_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF")
PRECORDIAL_LEADS = ("V1", "V2", "V3", "V4", "V5", "V6")
STANDARD_LEADS = LIMB_LEADS + PRECORDIAL_LEADS

# Each limb lead as a combination of I and II: III = II - I, aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2.
# Einthoven 1913; Goldberger 1942.
_FROM_I_AND_II: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"I": (1, 0), "II": (0, 1), "III": (-1, 1), "aVR": (-0.5, -0.5), "aVL": (1, -0.5), "aVF": (-0.5, 1)}
)


class EcgError(Exception):
    """The one exception of this package: which file, what is wrong with it, and where in it.

    Args:
        what: the fault, in words a user can act on.
        path: the file, or None for something in memory.
        where: the place inside it (a byte offset, an XML path, a header line, a lead).
    """

    def __init__(self, what: str, *, path: str | Path | None = None, where: str | None = None) -> None:
        # Words of a hostile file may be in it: a message has an end.
        self.what, self.where = what[:1000], None if where is None else where[:300]
        self.path = None if path is None else str(path)
        super().__init__(self.what)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.path, self.where, self.what) if part)

    def at(self, path: str | Path) -> EcgError:
        """The same fault, told of the file it was found in."""
        return type(self)(self.what, path=self.path or path, where=self.where)


class WrongUse(EcgError):
    """What was asked for is not on offer: a name, an option's value, a place that is taken. No file is at fault.

    The command line ends with 2 for it, and with 1 for an input that cannot be used.
    """


@dataclass(frozen=True)
class Patient:
    """What the file says of the patient. `age` in years, `sex` "male" or "female", None where the file is silent.

    `name` and `birth_date` identify; `einthoven convert --anonymize` removes them together with `id`.
    """

    id: str | None = None
    name: str | None = None
    age: float | None = None
    sex: str | None = None
    birth_date: str | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown_name(self) -> str:
        """The name for eyes, empty where there is none: DICOM and others part it by carets (Last^First^Middle^Prefix)."""
        return ", ".join(part.strip() for part in (self.name or "").split("^") if part.strip())


@dataclass(frozen=True)
class Device:
    """The recorder, and the filters it had already applied (Hz, None where unknown)."""

    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    software: str | None = None
    institution: str | None = None
    highpass_hz: float | None = None
    lowpass_hz: float | None = None
    notch_hz: float | None = None


@dataclass(frozen=True)
class Source:
    """Where a Record came from: `path` as the user gave it (`a.zip!b.xml` inside an archive), `format` as io names it."""

    path: str | None = None
    format: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class MedianBeat:
    """A median (representative) beat: `signal` (L, T) float32 mV at `fs` Hz, rows named by `leads`."""

    signal: Signal
    fs: float
    leads: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """An ECG: `signal` (L, T) float32 mV sampled at `fs` Hz, rows named by `leads`. NaN marks what was not recorded.

    `machine` holds the recorder's own measurements under this package's names with the unit in the name (`rate_bpm`,
    `pr_ms`, `qrs_ms`, `qt_ms`, `qtc_ms`, `p_axis_deg`, `qrs_axis_deg`, `t_axis_deg`, ...), `statements` its own words,
    `codes` labels that came with the file (SNOMED CT of the PhysioNet Challenges). `warnings` says what a careful
    reader should know: a unit that was not given, leads that were derived, a residual of Einthoven's law.

    `resolution_uv` is what one step of the storage is worth in each lead (0 where the storage is floating point), so
    that writers and tests know what "the same" means.
    """

    signal: Signal
    fs: float
    leads: tuple[str, ...]
    start: datetime | None = None
    patient: Patient = Patient()
    device: Device = Device()
    machine: Mapping[str, float] = field(default_factory=dict)
    statements: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    median: MedianBeat | None = None
    warnings: tuple[str, ...] = ()
    source: Source = Source()
    derived: tuple[str, ...] = ()
    resolution_uv: tuple[float, ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.signal.ndim != 2 or self.signal.dtype != np.float32:
            raise EcgError(f"signal must be float32 (lead, time), not {self.signal.dtype} {self.signal.shape}")
        if len(self.leads) != self.signal.shape[0]:
            raise EcgError(f"{len(self.leads)} lead names for {self.signal.shape[0]} rows of signal")
        if len(set(self.leads)) != len(self.leads):
            raise EcgError(f"lead names repeat: {', '.join(self.leads)}")
        if not (np.isfinite(self.fs) and self.fs > 0):
            raise EcgError(f"sampling rate must be positive, not {self.fs}")

    def __repr__(self) -> str:
        rows, columns = self.signal.shape
        size = f"{rows} leads x {columns} samples, {self.duration:g} s at {self.fs:g} Hz"
        return f"Record({size}, {self.source.format or 'in memory'})"

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return float(self.signal.shape[1] / self.fs)

    def __contains__(self, lead: str) -> bool:
        return lead in self.leads

    def lead(self, name: str) -> Signal:
        """One lead, (T,) float32 mV. Raises EcgError where it was not recorded."""
        if name not in self.leads:
            raise EcgError(f"no lead {name} (recorded: {', '.join(self.leads)})", path=self.source.path)
        row: Signal = self.signal[self.leads.index(name)]
        return row

    def pick(self, leads: Sequence[str], *, missing: str = "raise") -> Record:
        """These leads in this order. `missing="nan"` fills what was not recorded with NaN instead of raising."""
        if missing not in ("raise", "nan"):
            raise ValueError(f"missing must be 'raise' or 'nan', not {missing!r}")
        absent = np.full(self.signal.shape[1], np.nan, np.float32)
        rows = [absent if missing == "nan" and n not in self.leads else self.lead(n) for n in leads]
        steps = self.resolution_uv
        return replace(
            self,
            signal=np.stack(rows) if rows else self.signal[:0],
            leads=tuple(leads),
            derived=tuple(n for n in self.derived if n in leads),
            resolution_uv=steps and tuple(steps[self.leads.index(n)] if n in self.leads else 0.0 for n in leads),
        )

    def crop(self, start: float, stop: float) -> Record:
        """The part from `start` to `stop` seconds."""
        a, b = round(start * self.fs), round(stop * self.fs)
        return replace(self, signal=self.signal[:, max(a, 0) : b])

    def ecg(self) -> Record:
        """The ECG that was meant, for everybody who measures: without the calibration pulse that some recorders put at the
        end, and with the gain that a header known to be wrong should have had. `warnings` say so; readers keep what is there.
        """
        until, factor = self.extra.get("ecg_until_s"), self.extra.get("gain_factor")
        record = self if until is None else self.crop(0.0, float(until))
        if factor is not None:
            steps = record.resolution_uv
            rest = {k: v for k, v in record.extra.items() if k != "gain_factor"}
            record = replace(
                record,
                signal=record.signal * np.float32(factor),
                resolution_uv=steps and tuple(step * float(factor) for step in steps),
                extra=rest,
            )
        return record

    def warn(self, *words: str) -> Record:
        """The same record with more warnings."""
        return replace(self, warnings=self.warnings + tuple(w for w in words if w not in self.warnings))


def canonical_order(leads: Iterable[str]) -> tuple[str, ...]:
    """I, II, III, aVR, aVL, aVF, V1..V6 first, in that order; what else there is follows as it came."""
    leads = tuple(leads)
    return tuple(n for n in STANDARD_LEADS if n in leads) + tuple(n for n in leads if n not in STANDARD_LEADS)


def derive_limb_leads(record: Record) -> Record:
    """Adds the limb leads that follow from the two recorded ones, marks them as derived, and says so in a warning.

    Any two of I, II, III (or a limb lead and an augmented one) determine the frontal plane. A single limb lead does
    not; then the record comes back unchanged.
    """
    have = [n for n in LIMB_LEADS if n in record.leads]
    lacking = [n for n in LIMB_LEADS if n not in record.leads]
    base = _independent_pair(have)
    if not lacking or base is None:
        return record
    into_pair = np.linalg.inv(np.array([_FROM_I_AND_II[n] for n in base]))
    pair = np.stack([record.lead(n) for n in base]).astype(np.float64)
    made = np.array([_FROM_I_AND_II[n] for n in lacking]) @ into_pair @ pair
    steps = record.resolution_uv
    step = 0.0 if steps is None else max(steps[record.leads.index(n)] for n in base)
    grown = replace(
        record,
        signal=np.concatenate([record.signal, made.astype(np.float32)]),
        leads=record.leads + tuple(lacking),
        derived=record.derived + tuple(lacking),
        resolution_uv=steps and steps + (step,) * len(lacking),
    )
    told = f"derived from {base[0]} and {base[1]}: {', '.join(lacking)}"
    return grown.pick(canonical_order(grown.leads)).warn(told)


def _independent_pair(have: Sequence[str]) -> tuple[str, str] | None:
    for i, a in enumerate(have):
        for b in have[i + 1 :]:
            if abs(np.linalg.det(np.array([_FROM_I_AND_II[a], _FROM_I_AND_II[b]]))) > 1e-6:
                return a, b
    return None


def einthoven_residual(record: Record) -> dict[str, float]:
    """For each recorded limb lead but I and II: largest |lead - what I and II say of it| in mV over the record.

    0 to within the storage's resolution in a sound file; empty where I or II is missing.
    """
    if "I" not in record or "II" not in record:
        return {}
    pair = np.stack([record.lead("I"), record.lead("II")]).astype(np.float64)
    out: dict[str, float] = {}
    for name in LIMB_LEADS[2:]:
        if name in record and name not in record.derived:
            gap = np.abs(np.array(_FROM_I_AND_II[name]) @ pair - record.lead(name))
            if np.isfinite(gap).any():
                out[name] = float(np.nanmax(gap))
    return out
