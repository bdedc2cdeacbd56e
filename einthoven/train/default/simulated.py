"""Simulated ECGs for the networks to begin with: their superclasses are known, because they were planted."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np

from einthoven.data.workers import ordered
from einthoven.io.files import replacing
from einthoven.record import EcgError
from einthoven.represent.features import NAMES, VERSION, features
from einthoven.statements import BY_SCP, STATEMENTS, SUPERCLASSES
from einthoven.synth import CONDITIONS, random_simulation
from einthoven.train.default.members import Floats

# What a reader of PTB-XL would file under ST-T changes, though its code says less or something else.
_STTC = (
    "ischaemia_anterior",
    "ischaemia_inferior",
    "ischaemia_lateral",
    "digitalis",
    "hypokalaemia",
    "hyperkalaemia",
    "long_qt",
)
_SINUS = ("sinus_rhythm", "sinus_bradycardia", "sinus_tachycardia", "sinus_arrhythmia")
_OPEN = ("ventricular_tachycardia", "idioventricular_rhythm", "ventricular_pacing", "dual_pacing")
_FS = 100.0


def simulated(count: int, folder: Path, *, seed: int = 0, jobs: int = 0) -> tuple[Floats, Floats]:
    """Features (N, F) of `count` random simulations and their superclasses (N, S); kept in `folder`."""
    key = json.dumps([VERSION, NAMES, count, seed, {name: superclasses((name,)).tolist() for name in CONDITIONS}])
    path = folder / f"simulated-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        work = partial(_one, seed=seed)
        found = list(ordered(work, range(count), jobs=jobs, killed=_killed, chunk=32))
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez(file, features=np.stack([x for x, _ in found]), truth=np.stack([y for _, y in found]))
    with np.load(path, allow_pickle=False) as kept:
        return kept["features"], kept["truth"]


def _one(number: int, *, seed: int) -> tuple[Floats, Floats]:
    made = random_simulation(np.random.default_rng([seed, number]), fs=_FS)
    return features(made.record), superclasses(made.labels)


def _killed(number: int) -> tuple[Floats, Floats]:
    raise EcgError(f"the process that simulated ECG {number} was killed (out of memory?)")


def superclasses(labels: tuple[str, ...]) -> Floats:
    """(S,) what these conditions (names in CONDITIONS) count as, NaN where the ventricles' rhythm leaves that open.

    Normal is what has a sinus rhythm and nothing else but, maybe, exchanged cables.
    """
    if any(name in _OPEN for name in labels):
        return np.full(len(SUPERCLASSES), np.nan, np.float32)
    out = dict.fromkeys(SUPERCLASSES, 0.0)
    out["NORM"] = float(all(name in _SINUS or CONDITIONS[name].group == "cable" for name in labels))
    for name in labels:
        scp = CONDITIONS[name].scp
        found = "STTC" if name in _STTC else STATEMENTS[BY_SCP[scp]].superclass if scp in BY_SCP else None
        if found and found != "NORM":
            out[found] = 1.0
    return np.array(list(out.values()), np.float32)
