"""SPH: 25,770 ECGs of 24,666 patients of Shandong Provincial Hospital, 10 to 60 s at 500 Hz (Liu et al., Sci Data 2022, 9:272).

Layout: metadata.csv (ECG_ID, AHA_Code, Patient_ID, Age, Sex, N, Date), code.csv, records/A00001.h5 ... with one array `ecg`
    (12, N) in mV, leads I, II, III, aVR, aVL, aVF, V1 ... V6 (as torch_ecg's reader of it has them). AHA_Code holds primary
    statements of the AHA/ACC/HRS recommendations parted by ";", each with its modifiers behind "+": "60+310;147". The primary
    ones become codes "aha:60".
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from einthoven.data.entry import Choice, Dataset, Entry, Listing, finished
from einthoven.data.rows import below, header, number, plain, rows, sex
from einthoven.record import STANDARD_LEADS, EcgError, Record

FS = 500.0


def matches(path: Path) -> bool:
    return {"ECG_ID", "AHA_Code", "Patient_ID"} <= set(header(path / "metadata.csv"))


def entries(path: Path, choice: Choice) -> Listing:
    """Every row of metadata.csv."""
    for row in rows(path / "metadata.csv", needs=("ECG_ID", "AHA_Code", "Patient_ID")):
        codes = tuple(dict.fromkeys(f"aha:{c.partition('+')[0].strip()}" for c in row["AHA_Code"].split(";") if c.strip()))
        yield Entry(
            record=row["ECG_ID"],
            path=str(below(path, f"records/{row['ECG_ID']}.h5")),
            dataset="sph",
            patient=plain(row["Patient_ID"]),
            age=number(row.get("Age"), 0, 130),
            sex=sex(row.get("Sex")),
            codes=codes,
            likelihoods=(math.nan,) * len(codes),
        )


def read(entry: Entry, choice: Choice) -> Record:
    """One record, mV."""
    import h5py

    from einthoven.io.finish import check_samples

    if not Path(entry.path).is_file():
        raise EcgError("no such file", path=entry.path)
    try:
        with h5py.File(entry.path, "r") as file:
            if "ecg" not in file or file["ecg"].ndim != 2 or file["ecg"].shape[0] != len(STANDARD_LEADS):
                raise EcgError("has no array `ecg` of 12 leads", path=entry.path)
            check_samples(*file["ecg"].shape)
            signal = np.asarray(file["ecg"][()], np.float32)
    except OSError as fault:
        raise EcgError(f"not HDF5: {fault}", path=entry.path) from None
    return finished(Record(signal, choice.fs or FS, STANDARD_LEADS), entry, "sph")


SPH = Dataset(
    "sph",
    "SPH (Shandong Provincial Hospital)",
    matches,
    entries,
    read,
    licence="CC BY 4.0",
    citation="Liu et al., A large-scale multi-label 12-lead electrocardiogram database with standardized diagnostic "
    "statements, Sci Data 2022, 9:272",
    address="https://springernature.figshare.com/collections/_/5779802",
    records=25_770,
    patients=24_666,
    gigabytes=4.2,
    notes="AHA statements, mapped to SCP as far as PTB-XL's table pairs them",
)
