"""Delineation and measurements of 12 leads: this package against neurokit2's dwt, in one run on the same LUDB records.

    python bench/delineate.py [--records 20]

The time is CPU time of the process (so more threads win nothing), median over the records, after one record to warm up.
neurokit2 is called as its documentation does, lead by lead: ecg_clean, ecg_peaks, ecg_delineate(method="dwt"). It
delineates only: no classification, no median beat, no measurements.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import einthoven
from einthoven.record import Record

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("EINTHOVEN_DATA") or ROOT.parent / "shared" / "data")


def ours(record: Record) -> bool:
    """Delineation, classification of beats, median beats and all measurements."""
    einthoven.measure(record)
    return True


def neurokit_dwt(record: Record) -> bool:
    """False where neurokit2 gives up on a lead (it then costs less, so this is to its favour)."""
    import neurokit2 as nk

    rate, whole = int(record.fs), True
    for lead in record.signal:
        try:
            clean = nk.ecg_clean(lead.astype(np.float64), sampling_rate=rate)
            peaks = nk.ecg_peaks(clean, sampling_rate=rate)[1]
            nk.ecg_delineate(clean, peaks, sampling_rate=rate, method="dwt")
        except (ValueError, IndexError, ZeroDivisionError, TypeError, KeyError):
            whole = False
    return whole


def milliseconds(work: Callable[[Record], bool], records: list[Record]) -> tuple[float, int]:
    """Median CPU time of a record, and how many records were done in full."""
    work(records[0])
    times, done = [], 0
    for record in records:
        start = time.process_time()
        done += work(record)
        times.append(1000 * (time.process_time() - start))
    return float(np.median(times)), done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20)
    arguments = parser.parse_args()
    paths = sorted((DATA / "ludb" / "data").glob("*.hea"), key=lambda p: int(p.stem))[: arguments.records]
    if not paths:
        raise SystemExit(f"no LUDB records at {DATA} (set EINTHOVEN_DATA)")
    records = [einthoven.read(p) for p in paths]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs_ms, theirs_done = milliseconds(neurokit_dwt, records)
    ours_ms, _ = milliseconds(ours, records)
    quality_ms, _ = milliseconds(lambda r: einthoven.assess(r) is not None, records)
    fast, slow = f"einthoven delineate + measure {ours_ms:.1f} ms/record", f"neurokit2 dwt {theirs_ms:.1f} ms/record"
    print(f"LUDB 12 leads ({len(records)} records)   {fast}   {slow}   ratio {theirs_ms / ours_ms:.1f}")
    print(f"neurokit2 finished {theirs_done} of {len(records)} records in all leads")
    print(f"assess, the quality of the 12 leads, takes {quality_ms:.1f} ms/record more")


if __name__ == "__main__":
    main()
