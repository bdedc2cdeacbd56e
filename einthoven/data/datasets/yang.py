"""Yang and Feng, "Offline Test Set of ECG Multi-label Classification" (Science Data Bank 2023), a test set of ExChanGeAI.

Its files could not be seen here, and no public code that reads it was found, so its layout is not known: this reader takes what
its description and table 3 of ExChanGeAI allow, and refuses anything else rather than guess. It wants ECG files of any format
that is read here (500 Hz; `--fs` and `--unit` for .mat or .csv that do not say) and beside them a table whose first column
names the files and whose other columns are the classes with 0 and 1: HEH, IAVB, IIAVB, IIIAVB, CLBBB, CRBBB, IRBBB, LAFB, NICD,
... Another form goes in as a folder of one's own (labels.csv).
"""

from __future__ import annotations

import math
from pathlib import Path

from einthoven.data.entry import Choice, Dataset, Entry, Fault, Listing
from einthoven.data.rows import header, rows
from einthoven.record import EcgError

# ExChanGeAI, table 3: HEH (enlargement or hypertrophy of the heart) is HYP; the blocks are CD.
CODES = {
    "HEH": "snomed:266249003", "IAVB": "scp:1AVB", "IIAVB": "scp:2AVB", "IIIAVB": "scp:3AVB", "CLBBB": "scp:CLBBB",
    "CRBBB": "scp:CRBBB", "IRBBB": "scp:IRBBB", "ILBBB": "scp:ILBBB", "LAFB": "scp:LAFB", "NICD": "scp:IVCD",
    "RBBB": "snomed:59118001", "LBBB": "snomed:164909002", "AF": "scp:AFIB", "AFL": "scp:AFLT", "PVC": "scp:PVC",
    "PAC": "scp:PAC", "WPW": "scp:WPW", "NORM": "scp:NORM",
}  # fmt: skip
_ENOUGH = {"HEH", "IAVB", "IIAVB", "IIIAVB", "CLBBB", "CRBBB", "IRBBB", "LAFB", "NICD"}


def matches(path: Path) -> bool:
    return path.is_dir() and _table(path) is not None


def entries(path: Path, choice: Choice) -> Listing:
    """Every row of the table of classes, in its order."""
    from einthoven.data.folder import _Said, match
    from einthoven.io import find_inputs

    table = _table(path)
    if table is None:
        raise EcgError("no table with the classes of Yang et al. in its first line", path=path)
    names = header(table)
    said = {r[names[0]]: tuple(n for n in names[1:] if r[n] in ("1", "1.0")) for r in rows(table, separators=",;\t")}
    files = [f for f in find_inputs([path]) if Path(f) != table]
    found, absent, doubtful = match({n: _Said() for n in said}, files, path)
    for name, file in found.items():
        codes = tuple(CODES[n] for n in said[name] if n in CODES)
        yield Entry(
            record=name,
            path=file,
            dataset="yang",
            codes=codes,
            likelihoods=(math.nan,) * len(codes),
            labels=said[name],
        )
    for name in (*absent, *doubtful):
        yield Fault(f"yang:{name}", "no one file of the folder has this name")


def _table(path: Path) -> Path | None:
    tables = sorted(p for p in path.iterdir() if p.suffix.lower() in (".csv", ".tsv", ".txt"))
    return next((p for p in tables if len(_ENOUGH & set(header(p)[1:])) >= 3), None)


YANG = Dataset(
    "yang",
    "Yang et al. test set",
    matches,
    entries,
    licence="as the Science Data Bank states it there",
    citation="Yang & Feng, Offline Test Set of ECG Multi-label Classification, Science Data Bank 2023",
    address="https://www.scidb.cn/en/detail?dataSetId=58c4a92d5a01414390a78160d335380d",
    notes="its layout is not documented in public: files of any format beside a table of 0 and 1",
)
