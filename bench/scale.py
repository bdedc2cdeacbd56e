"""A listing of a million records through `einthoven.scale`: orchestration alone, memory bounded, both backends the same.

    python bench/scale.py [--lines 1000000] [--shard 10000] [--backend local|ray|both]

The work on each line is to look at its name, so that what is measured is what `scale` itself costs: reading the listing,
tasks in processes, one result line a record, shards written and renamed. What real work costs a record stands in
bench/predict.py and bench/read.py; docs/scaling.md has the sum of both.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
import time
from pathlib import Path

from einthoven import scale
from einthoven.batch import Line


def look(path: str) -> Line:
    return {"length": len(path)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--shard", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--backend", choices=("local", "ray", "both"), default="both")
    o = parser.parse_args()
    backends = ("local", "ray") if o.backend == "both" else (o.backend,)
    digests = {}
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "listing.txt"
        with listing.open("w", encoding="utf-8") as file:
            file.writelines(f"records/{i // 1000:05d}/{i:07d}.hea\n" for i in range(o.lines))
        for backend in backends:
            out = Path(folder) / backend
            begun, cpu = time.perf_counter(), time.process_time()
            tally = scale.run(look, listing, out, shard=o.shard, backend=backend, jobs=o.jobs)
            took = time.perf_counter() - begun
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            digest = hashlib.sha256()
            for path in sorted(out.glob("shard-*")):
                digest.update(path.read_bytes())
            digests[backend] = digest.hexdigest()
            print(
                f"{backend}: {tally.done:,} of {o.lines:,} lines in {took:.0f} s = {tally.done / took:,.0f} lines/s on "
                f"{o.jobs} processes; {tally.shards} shards; driver {time.process_time() - cpu:.0f} CPU s, "
                f"peak memory {peak:.0f} MiB",
                flush=True,
            )
            begun = time.perf_counter()
            again = scale.run(look, listing, out, shard=o.shard, backend=backend, jobs=o.jobs)
            print(f"  the same command again: {again.earlier:,} there already, {time.perf_counter() - begun:.1f} s", flush=True)
    if len(digests) == 2:
        print(f"same bytes from both backends: {len(set(digests.values())) == 1}")


if __name__ == "__main__":
    main()
