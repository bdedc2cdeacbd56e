"""Fiducials that users corrected by hand: kept beside the ECG, one line a correction, undone from the last one back.

The delineation itself is never changed: what is told of an ECG is its own with the corrections applied (`beats.correct`), and
says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from einthoven.beats.correct import ADDED, Corrected, Correction, check, corrected
from einthoven.record import WrongUse
from einthoven.serve.store import Row, Store

if TYPE_CHECKING:
    from einthoven.interpretation import Report

MOST = 2000  # of one ECG


def listed(store: Store, ecg: str) -> list[Row]:
    """The corrections of an ECG, in their order, as rows."""
    rows = store.rows('SELECT seq, user, at, name, r, "to", lead, every FROM correction WHERE ecg = ? ORDER BY seq', (ecg,))
    return [{**row, "every": bool(row["every"])} for row in rows]


def of(rows: Sequence[Row]) -> list[Correction]:
    return [Correction(row["name"], row["r"], row["to"], row["lead"], row["every"]) for row in rows]


def add(store: Store, ecg: str, user: str, automatic: Report, beat: int, one: Correction) -> None:
    """Keeps a correction of beat number `beat` as it is shown now (its `r` is found here). Raises WrongUse where it cannot be
    made."""
    before = of(listed(store, ecg))
    if len(before) >= MOST:
        raise WrongUse(f"more than {MOST} corrections of one ECG: undo some")
    if one.name == ADDED:
        if one.to is None:
            raise WrongUse("a beat is added by the time of its R")
        one = replace(one, r=one.to)
    else:
        homes = corrected(automatic.beats, before).homes
        if not 0 <= beat < len(homes):
            raise WrongUse(f"there is no beat {beat + 1}: there are {len(homes)}")
        one = replace(one, r=float(homes[beat]))
    check(automatic.beats, one, before)
    store.db.execute(
        'INSERT INTO correction (ecg, user, at, name, r, "to", lead, every) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
        (ecg, user, time.time(), one.name, one.r, one.to, one.lead, int(one.every)),
    )


def undo(store: Store, ecg: str, *, every: bool = False) -> int:
    """Takes the last correction back, or all; how many."""
    which = "" if every else "AND seq = (SELECT MAX(seq) FROM correction WHERE ecg = ?)"
    return store.db.execute(f"DELETE FROM correction WHERE ecg = ? {which}", (ecg,) if every else (ecg, ecg)).rowcount


def applied(automatic: Report, rows: Sequence[Row]) -> tuple[Report, Corrected]:
    """The report that rests on the corrected fiducials: measured and interpreted again, the models' opinions beside it as they
    were (they look at the ECG, not at the corrections)."""
    from einthoven.interpretation import interpret
    from einthoven.opinion import held_against

    made = corrected(automatic.beats, of(rows))
    report = interpret(automatic.record, beats=made.beats, model=None, image_model=None)
    who = ", ".join(sorted({row["user"] for row in rows}))
    count = f"{len(rows)} correction{'s' if len(rows) > 1 else ''} by {who}"
    told = (f"fiducials were corrected by hand ({count}): measurements and findings rest on them", *made.told)
    opinions = tuple(held_against(one, report.findings) for one in automatic.opinions)
    return replace(report, paper=automatic.paper, opinions=opinions, warnings=(*told, *report.warnings)), made
