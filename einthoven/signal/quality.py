"""`Quality`: whether an ECG can be read, lead by lead, before anybody measures it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LeadQuality:
    """One lead: `score` 0 (useless) .. 1 (clean), `flags` among missing, flat, saturated, noisy, mains, baseline, gain, spikes.

    noise_uv: RMS of muscle noise (above 40 Hz or between beats), mains_uv: amplitude at mains frequency, wander_uv: RMS below 0.5 Hz.
    """

    score: float
    flags: tuple[str, ...] = ()
    noise_uv: float = float("nan")
    mains_uv: float = float("nan")
    wander_uv: float = float("nan")


@dataclass(frozen=True)
class Quality:
    """A whole record: `score` 0..1, `leads` by name, `flags` for the record (limb-lead reversal RA-LA, wrong gain, wrong sampling rate...)
    and `readable`: "good", "limited" (some leads cannot be used) or "unreadable".
    """

    score: float
    readable: str
    leads: Mapping[str, LeadQuality] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
