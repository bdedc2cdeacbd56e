"""Mutation fuzzer over every reader: nothing but a Record or an EcgError may come out, within 2 s and 500 MB.

    python tests/fuzz.py --inputs 50000                 # all formats in turn
    python tests/fuzz.py --seconds 60 --format edf      # one format, by time
    python tests/fuzz.py --replay FINDING/              # what was found, once more, with its traceback

Seeds are the examples of io_examples.py and the real files of ../shared/data/formats (up to 300 kB). Input i is a function
of --seed and i alone, so a finding repeats. Work is done in child processes of a few hundred inputs, so that a crash in a C
library is a finding too. What is found is written to --out; the exit code is 1 where anything was found.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from conftest import data_folder
from io_examples import EXAMPLES, SHARED

from einthoven.io import FORMATS, File, read_all
from einthoven.record import EcgError, Record

SECONDS, MEGABYTES, WATCH, BATCH, LARGEST = 2.0, 500, 40.0, 400, 300_000
WORDS = [
    b"0",
    b"-1",
    b"1",
    b"",
    b"nan",
    b"inf",
    b"1e999",
    b"1e-320",
    b"65536",
    b"4294967296",
    b"-9223372036854775808",
    b"999999999",
]
WORDS += [
    b"0.0000001",
    b"9" * 400,
    b"\0",
    b"%s",
    b"../x",
    b"/",
    b"~",
    b"I",
    b"uV",
    b"1/0",
    b"\xff\xfe",
    b"<a>",
    b"&x;",
    b",",
    b";",
]
INTEGERS = [0, 1, -1, 2, 127, 128, 255, 256, 32767, -32768, 65535, 65536, 2**31 - 1, -(2**31), 2**32 - 1, 2**24, 1_000_000]


@dataclass(frozen=True)
class Seed:
    """A sound input: its format, the file to open, and all files that belong to it."""

    format: str
    main: str
    files: dict[str, bytes]


class Bundle(File):
    """Files in memory that can name each other."""

    def __init__(self, name: str, files: dict[str, bytes]) -> None:
        self.name, self.path, self.files = name, f"fuzz/{name}", files
        self.size = len(files[name])

    @property
    def data(self) -> bytes:
        return self.files[self.name]

    def sibling(self, name: str) -> File:
        if name not in self.files:
            raise EcgError(f"no companion {name[:60]!r}", path=self.path)
        return Bundle(name, self.files)


def seeds(formats: list[str]) -> list[Seed]:
    """Every example of these formats, and every real file of them that is small enough."""
    found: list[Seed] = []
    for name in formats:
        for make in EXAMPLES.get(name, []):
            with tempfile.TemporaryDirectory() as folder:
                path = make(Path(folder))
                files = {p.name: p.read_bytes() for p in Path(folder).iterdir() if p.is_file()}
                found.append(Seed(name, path.name, files))
    shared = data_folder()
    for name in formats:
        for pattern in SHARED.get(name, []) if shared.is_dir() else []:
            for path in sorted(shared.glob(pattern))[:6]:
                beside = [p for p in path.parent.glob(f"{path.stem}*") if p.is_file()] if path.suffix == ".hea" else [path]
                if sum(p.stat().st_size for p in beside) <= LARGEST:
                    found.append(Seed(name, path.name, {p.name: p.read_bytes() for p in beside}))
    return found


# -- mutations ---


def damage(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """One to four mutations; half of them within the first kilobyte, where headers are."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        if not out:
            out = bytearray(b"\0" * rng.randrange(1, 64))
        at = rng.randrange(min(len(out), 1024)) if rng.random() < 0.5 else rng.randrange(len(out))
        kind = rng.randrange(12)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at] = rng.choice((0, 1, 9, 10, 32, 45, 48, 57, 127, 128, 254, 255))
        elif kind in (2, 3):
            code = rng.choice(("<h", ">h", "<i", ">i", "<q", ">q", "<f", "<d"))
            value = rng.choice(INTEGERS)
            size = struct.calcsize(code)
            if code[1] in "fd":
                raw = struct.pack(
                    code, rng.choice((0.0, -1.0, 1e300 if code[1] == "d" else 1e38, float("nan"), float("inf"), 1e-40))
                )
            else:
                raw = (value % (1 << 8 * size)).to_bytes(size, "little" if code[0] == "<" else "big")
            out[at : at + size] = raw
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            del out[at : at + rng.choice((1, 2, 4, 16, 256, 4096))]
        elif kind == 6:
            size = rng.choice((1, 4, 64, 1024, 8192))
            out[at:at] = out[at : at + size] * rng.choice((1, 2, 16))
        elif kind == 7:
            other = rng.choice(others)
            b = rng.randrange(len(other) + 1)
            out[at : at + 4096] = other[b : b + 4096]
        elif kind == 8:
            out[at:at] = rng.choice((b"A", b"9", b"\0", b" ", b"\n", b"(", b"<b>")) * rng.choice((1, 20, 3000))
        else:
            out = _words(out, rng)
        if len(out) > 2 * LARGEST:
            del out[2 * LARGEST :]
    return bytes(out)


def _words(out: bytearray, rng: random.Random) -> bytearray:
    """A number, or a word, of text becomes another."""
    pattern = rb"-?\d+(?:\.\d+)?" if rng.random() < 0.7 else rb"[A-Za-z_]{1,24}"
    window = bytes(out[: 1 << 14]) if rng.random() < 0.7 else bytes(out)
    found = list(re.finditer(pattern, window))
    if found:
        one, other = rng.choice(found), rng.choice(found)
        word = rng.choice(WORDS) if rng.random() < 0.7 else other.group()
        out[one.start() : one.end()] = word
    return out


def mutate(seed: Seed, rng: random.Random, pool: list[Seed]) -> dict[str, bytes]:
    """The seed's files with one of them damaged; inside of archives and compressed streams as often as outside."""
    files = dict(seed.files)
    victim = seed.main if rng.random() < 0.7 else rng.choice(sorted(files))
    others = [s.files[s.main] for s in pool if s.format == seed.format]
    data = files[victim]
    if data[:2] == b"PK" and rng.random() < 0.7:
        data = _inside_zip(data, rng, others)
    elif data[:10] == b"MATLAB 5.0" and rng.random() < 0.7:
        data = _inside_mat(data, rng, others)
    else:
        data = damage(data, rng, others)
    files[victim] = data
    return files


def _inside_zip(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        entries = {n: old.read(n) for n in old.namelist()}
    name = rng.choice(sorted(entries))
    entries[name] = damage(entries[name], rng, others)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for key, value in entries.items():
            new.writestr(key, value)
    return out.getvalue()


def _inside_mat(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """The first compressed element of a MATLAB 5 file, damaged and compressed again."""
    kind, size = struct.unpack_from("<II", data, 128)
    if kind != 15:
        return damage(data, rng, others)
    body = zlib.compress(damage(zlib.decompress(data[136 : 136 + size]), rng, others))
    return data[:128] + struct.pack("<II", 15, len(body)) + body + data[136 + size :]


# -- running ---


def make(i: int, base: int, pool: list[Seed], formats: list[str]) -> tuple[Seed, dict[str, bytes], dict[str, Any]]:
    """Input i: the seed it comes from, its files, the options it is read with."""
    rng = random.Random(f"{base}:{i}")
    name = formats[i % len(formats)]
    seed = rng.choice([s for s in pool if s.format == name])
    files = mutate(seed, rng, pool)
    options: dict[str, Any] = {"format": name if rng.random() < 0.5 else None}
    options |= {"fs": 250.0, "unit": "uV"} if rng.random() < 0.5 else {}
    return seed, files, options


def attempt(main: str, files: dict[str, bytes], options: dict[str, Any]) -> str:
    """Reads one input -> "record" or "refused". Anything else is raised."""
    try:
        for n, record in enumerate(read_all(Bundle(main, files), **options)):
            assert isinstance(record, Record) and not np.isinf(record.signal).any(), "infinite samples"
            repr(record)
            if n == 2:
                break
    except EcgError as error:
        assert len(str(error)) > 5, "an error without words"
        assert len(str(error)) < 5000, "an endless error"
        return "refused"
    return "record"


def _late(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS:g} s")


def _status(key: str) -> int:
    """VmHWM or VmRSS of this process in kB, 0 where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)
    except OSError:
        return 0


def _forget_peak() -> int:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as out:
            out.write("5")
    except OSError:
        pass
    return _status("VmRSS")


def child(start: int, stop: int, base: int, pool: list[Seed], formats: list[str], progress: Any, pipe: Any) -> None:
    """Inputs start..stop; findings and counts go into the pipe, the running number into `progress`."""
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _late)
    counts: Counter[str] = Counter()
    before = _forget_peak()
    for i in range(start, stop):
        progress.value = i
        seed, files, options = make(i, base, pool, formats)
        began = time.process_time()  # of this process: a busy machine is no finding
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        told = ""
        try:
            counts[f"{seed.format} {attempt(seed.main, files, options)}"] += 1
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            here = next((f for f in reversed(frames) if "einthoven" in f.filename), frames[-1])
            told = f"{type(error).__name__} at {Path(here.filename).name}:{here.lineno}: {str(error)[:200]}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        took = time.process_time() - began
        if not told and took > SECONDS:
            told = f"slow: {took:.1f} s"
        grown = (_status("VmHWM") - before) / 1024
        if grown > MEGABYTES:
            told = told or f"memory: {grown:.0f} MB"
            before = _forget_peak()
        if told:
            pipe.send((i, told))
    pipe.send(("counts", dict(counts)))
    pipe.close()


def run(inputs: int, seconds: float, base: int, formats: list[str], out: Path | None, quiet: bool = False) -> dict[str, str]:
    """Fuzzes; returns what was found: input's name -> what happened."""
    pool = seeds(formats)
    missing = [f for f in formats if not any(s.format == f for s in pool)]
    assert not missing, f"no seeds for {missing}"
    context = multiprocessing.get_context("fork")
    found: dict[str, str] = {}
    unique: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    began, i = time.monotonic(), 0
    while i < inputs and (seconds <= 0 or time.monotonic() - began < seconds):
        stop = min(i + BATCH, inputs)
        progress = context.Value("q", i, lock=False)
        mine, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=child, args=(i, stop, base, pool, formats, progress, theirs))
        worker.start()
        theirs.close()
        news: list[tuple[Any, Any]] = []
        try:
            last = -1
            while True:
                if mine.poll(WATCH):
                    news.append(mine.recv())
                elif progress.value == last:  # a C library that no alarm reaches hangs
                    worker.kill()
                    break
                last = progress.value
        except EOFError:
            pass
        worker.join()
        done = stop
        if worker.exitcode != 0:
            news.append((progress.value, f"crash: exit code {worker.exitcode}"))
            done = progress.value + 1
        for what, told in news:
            if what == "counts":
                counts.update(told)
                continue
            seed, files, options = make(what, base, pool, formats)
            key = f"{seed.format}-{base}-{what}"
            found[key] = told
            kind = re.sub(r"\d+\.\d s|: .*", "", told)
            unique[f"{seed.format} {kind}"] += 1
            if out and unique[f"{seed.format} {kind}"] <= 3:
                folder = out / key
                folder.mkdir(parents=True, exist_ok=True)
                for name, data in files.items():
                    (folder / name).write_bytes(data)
                (folder / "finding.json").write_text(json.dumps({"main": seed.main, "options": options, "told": told}))
        i = done
        if not quiet and (i // BATCH) % 10 == 0:
            print(f"{i:,} inputs, {time.monotonic() - began:.0f} s, {len(found)} findings", file=sys.stderr, flush=True)
    if not quiet:
        for name in formats:
            print(f"{name:12} {counts[f'{name} record']:6} records {counts[f'{name} refused']:6} refused")
        for line, n in unique.most_common():
            print(f"FOUND {n:5} x {line}")
        print(f"{i:,} inputs in {time.monotonic() - began:.0f} s, {len(found)} findings{f' in {out}' if out and found else ''}")
    return found


def replay(folder: Path) -> None:
    about = json.loads((folder / "finding.json").read_text())
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "finding.json"}
    began = time.perf_counter()
    print(about["told"])
    try:
        print(attempt(about["main"], files, about["options"]))
    finally:
        print(f"{time.perf_counter() - began:.2f} s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=None, help="how many (default 50,000, or no limit with --seconds)")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--format", action="append", choices=list(FORMATS), help="only this format (repeatable)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="folder for findings (default: a temporary one)")
    parser.add_argument("--replay", type=Path, help="folder of one finding")
    args = parser.parse_args()
    if args.replay:
        replay(args.replay)
        return 0
    out = args.out or Path(tempfile.mkdtemp(prefix="einthoven-fuzz-"))
    inputs = args.inputs or (sys.maxsize if args.seconds else 50_000)
    found = run(inputs, args.seconds, args.seed, args.format or list(FORMATS), out)
    if not found and not args.out:
        os.rmdir(out)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
