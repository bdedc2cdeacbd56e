"""Noise as it arises, at the electrodes: whatever it is, the limb leads keep Einthoven's law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from einthoven.record import STANDARD_LEADS
from einthoven.synth.waves import ELECTRODES, Floats


@dataclass(frozen=True)
class Noise:
    """How much noise of each kind, mV (root mean square at each electrode).

    mains: hum at `mains_hz` with a third harmonic.
    wander: baseline wander below 0.7 Hz (respiration, electrode drift).
    muscle: surface electromyogram, 15-150 Hz, that swells and fades.
    motion: steps of single electrodes that decay in 0.2-1.5 s; here mV of their height.
    white: amplifier noise.
    lost: leads whose cable fell off: a flat line.
    """

    mains: float = 0.0
    wander: float = 0.0
    muscle: float = 0.0
    motion: float = 0.0
    white: float = 0.0
    mains_hz: float = 50.0
    lost: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [n for n in self.lost if n not in STANDARD_LEADS]
        if unknown:
            raise ValueError(f"lost leads must be of the standard twelve, not {', '.join(unknown)}")


def make_noise(noise: Noise, samples: int, fs: float, rng: np.random.Generator) -> Floats:
    """(12, T) mV in the standard leads, the lost ones not yet flat."""
    t = np.arange(samples) / fs
    at = np.zeros((9, samples))
    if noise.mains:
        phase, much = rng.uniform(0, 2 * np.pi), noise.mains * np.sqrt(2) * rng.standard_normal(9)
        drift = 0.05 * np.sin(2 * np.pi * 0.11 * t + rng.uniform(0, 6))
        hum = np.sin(2 * np.pi * (noise.mains_hz * t + drift) + phase)
        if 3 * noise.mains_hz < fs / 2:
            hum = hum + 0.15 * np.sin(2 * np.pi * 3 * (noise.mains_hz * t + drift) + 3 * phase)
        at += much[:, None] * hum
    if noise.wander:
        at += noise.wander * _slow(9, t, 0.05, 0.7, 1.0, rng)
        breath = np.sin(2 * np.pi * rng.uniform(0.15, 0.35) * t + rng.uniform(0, 6))
        at += noise.wander * rng.normal(0, 0.8, (9, 1)) * breath
    if noise.muscle:
        swell = np.exp(0.7 * _slow(9, t, 0.1, 1.5, 0.0, rng) - 0.25)
        at += noise.muscle * swell * _coloured(9, samples, fs, 15.0, min(150.0, 0.48 * fs), rng)
    if noise.motion:
        for _ in range(rng.poisson(samples / fs / 4) + 1):
            which, begin, length = rng.integers(9), rng.uniform(0, t[-1] if samples else 0), rng.uniform(0.2, 1.5)
            u = (t - begin) / length
            shape = np.where(u > 0, np.minimum(u / 0.08, 1.0) * np.exp(-2.5 * np.maximum(u, 0)), 0.0) * np.cos(
                3 * rng.uniform() * u
            )
            at[which] += noise.motion * rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.5) * shape
    if noise.white:
        at += noise.white * rng.standard_normal((9, samples), np.float32)
    out: Floats = ELECTRODES @ at
    return out


def draw_mixture(rng: np.random.Generator, level: float = 1.0) -> Noise:
    """A plausible mixture: log-normal amounts, so that most ECGs are quiet and a few are bad."""
    much = level * np.exp(rng.normal(0, 0.8, 4))
    return Noise(
        mains=float(0.004 * much[0]) if rng.random() < 0.6 else 0.0,
        wander=float(0.03 * much[1]),
        muscle=float(0.008 * much[2]),
        motion=float(0.15 * much[3]) if rng.random() < 0.15 else 0.0,
        white=float(0.003 * level),
        mains_hz=float(rng.choice([50.0, 60.0])),
    )


def _coloured(rows: int, samples: int, fs: float, low: float, high: float, rng: np.random.Generator) -> Floats:
    """(rows, T) noise of unit power between `low` and `high` Hz whose power falls as 1/f."""
    length = -(-max(samples, 1) // 256) * 256  # a length that is quick to transform
    f = np.fft.rfftfreq(length, 1 / fs)
    first, last = np.searchsorted(f, [low, high])
    shape = np.zeros((rows, len(f)), np.complex64)
    weight = (f[first:last] ** -0.5).astype(np.float32)
    drawn = rng.standard_normal((rows, last - first, 2), np.float32).view(np.complex64)[..., 0]
    shape[:, first:last] = drawn * (weight * (length / (2 * np.sqrt((weight**2).sum()))))
    out: Floats = np.fft.irfft(shape, length)[:, :samples].astype(np.float64)
    return out


def _slow(rows: int, t: Floats, low: float, high: float, slope: float, rng: np.random.Generator) -> Floats:
    """(rows, T) noise of unit power: ten sinusoids between `low` and `high` Hz, power falling as 1/f**`slope`; made
    every 20 ms and joined by straight lines, which is exact to 0.5 % at 1.5 Hz."""
    knots = np.arange(0, t[-1] + 0.02, 0.02) if len(t) else t
    f = np.exp(rng.uniform(np.log(low), np.log(high), 10))
    turn = 2 * np.pi * f[:, None] * knots
    weight = f ** ((1 - slope) / 2)  # drawn evenly in log f, so each stands for a band as wide as f
    much = rng.standard_normal((rows, 20)) * np.tile(weight / np.sqrt((weight**2).sum()), 2)
    coarse = much @ np.concatenate([np.sin(turn), np.cos(turn)])
    return np.stack([np.interp(t, knots, row) for row in coarse])
