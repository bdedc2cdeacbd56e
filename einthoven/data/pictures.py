"""Pictures of an Index's ECGs, shard by shard: the work of `einthoven images`, for any process on any node."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einthoven.data.index import Index
from einthoven.paper import dataset
from einthoven.record import EcgError, Record, WrongUse

LISTING = "listing.txt"


def begin(index: Path, out: Path, plan: dataset.Plan, count: int, shard: int) -> Path:
    """The listing of a set of `count` pictures in shards of `shard`: a line "number first count" for each, beside the set.

    Raises EcgError where there is no index, or the folder holds a set that was begun otherwise.
    """
    rows = len(Index.open(index))
    if not rows:
        raise EcgError("an index of no records has no pictures", path=index)
    if count < 1 or shard < 1:
        raise WrongUse(f"{count} pictures in shards of {shard}: both 1 or more")
    try:
        dataset.begin(out, plan, {"records": rows, "count": count, "shard": shard})
    except EcgError as fault:  # the place is taken by another set
        raise WrongUse(fault.what, path=fault.path) from fault
    lines = [f"{k} {first} {min(shard, count - first)}" for k, first in enumerate(range(0, count, shard))]
    listing = out / LISTING
    listing.write_text("\n".join(lines) + "\n", encoding="ascii")
    return listing


def made(line: str, index: str, out: str, plan: dict[str, Any]) -> dict[str, Any]:
    """One shard of pictures, by its line of the listing. -> {"images", "failed": [...]}.

    Each record comes equally often: picture n shows the n-th record of an order that the seed shuffles.
    """
    shard, first, count = (int(word) for word in line.split())
    records, planned = _opened(index), dataset.Plan.from_dict(plan)
    order = _order(len(records), planned.seed)

    def record_of(number: int) -> tuple[str, Record]:
        row = int(order[number % len(order)])
        return str(records.table["record"][row]), records.record(row)

    target = dataset.shard_file(Path(out), shard)
    failed = dataset.write_shard(target, planned, range(first, first + count), record_of)
    return {"images": count - len(failed), "failed": failed}


@lru_cache(2)
def _opened(index: str) -> Index:
    return Index.open(index)


@lru_cache(2)
def _order(rows: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, 2]).permutation(rows)
