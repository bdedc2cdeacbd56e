"""The platform under use: how soon it shows an ECG, how it draws, how it holds up under many, and a long recording.

    python bench/serve.py cold                   `einthoven serve` to the first ECG painted in Chromium; the page's size
    python bench/serve.py frames                 pictures a second while an ECG of 12 x 5000 samples is zoomed and measured
    python bench/serve.py load [--clients 50] [--minutes 10]    reads, uploads, predictions while a model is fine-tuned
    python bench/serve.py holter [--hours 24]    three leads at 200 Hz: time and bytes of ten seconds and of the whole

Issue 6's bars: 3 s, 50 pictures/s, no error and 95 % of reads within 500 ms with memory flat, a day that is never loaded
whole. All on loopback, browser and clients on the server's own cores.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from einthoven.io import write
from einthoven.record import Record
from einthoven.synth import simulate

STATIC = Path(__file__).resolve().parent.parent / "einthoven" / "serve" / "static"
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@contextmanager
def server(data: Path) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """(process, link, when it was started)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begun = time.perf_counter()
    words = ["-m", "einthoven", "serve", "--data-dir", str(data), "--no-browser", "--port", str(port)]
    running = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        assert running.stdout is not None
        link = running.stdout.readline().strip()
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.01)
        yield running, link, begun
    finally:
        running.terminate()
        running.wait(30)


@contextmanager
def client(link: str) -> Iterator[httpx.Client]:
    """Signed in by the link."""
    address = re.match(r"^http://[^/]+", link)[0]  # type: ignore[index]
    with httpx.Client(base_url=address, headers={"X-Einthoven": "1"}, timeout=120) as made:
        made.get(link.removeprefix(address))
        yield made


def memory(pid: int) -> dict[str, float]:
    """MB that the server, its helpers and its jobs hold."""
    held, waiting = {"server": 0.0, "helpers": 0.0, "jobs": 0.0}, [(pid, "server")]
    while waiting:
        one, whose = waiting.pop()
        try:
            status = Path(f"/proc/{one}/status").read_text()
            # a child is of those that started it, not of the thread that runs first
            children = [p for task in Path(f"/proc/{one}/task").iterdir() for p in (task / "children").read_text().split()]
            words = [Path(f"/proc/{p}/cmdline").read_text() for p in children]
        except OSError:
            continue
        for child, said in zip(children, words, strict=True):
            kind = "helpers" if "einthoven.serve.helpers" in said else "jobs"
            waiting.append((int(child), kind if whose == "server" else whose))
        found = re.search(r"VmRSS:\s+(\d+)", status)
        held[whose] += int(found[1]) / 1024 if found else 0.0
    return held


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running.new_page(viewport={"width": 1500, "height": 900})
        running.close()


# Painted: the canvas holds pixels that are not all of one colour, and a picture of the screen was made after that.
PAINTED = """() => { const c = document.querySelector('[data-testid=ecg]'); if (!c || !c.width) return false;
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let dark = 0;
  for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200 && d[i] + d[i + 1] + d[i + 2] < 150) dark++;
  return dark > 500; }"""


def cold() -> None:
    sizes = [len(gzip.compress(path.read_bytes())) for path in STATIC.rglob("*") if path.suffix in (".js", ".css", ".html")]
    print(f"page: {sum(sizes) / 1000:.1f} kB gzip")
    times = []
    with browser() as page:
        for _ in range(5):
            with tempfile.TemporaryDirectory() as place, server(Path(place) / "data") as (_, link, begun):
                page.goto(link)
                while not page.evaluate(PAINTED):
                    time.sleep(0.01)
                times.append(time.perf_counter() - begun)
                page.goto("about:blank")
    shown = ", ".join(f"{t:.2f}" for t in times)
    print(f"serve to first painted ECG, new data directory each: median {np.median(times):.2f} s ({shown})")


FRAMES = """async () => { const c = document.querySelector('[data-testid=ecg]'), sheet = c.closest('[tabindex]');
  const next = () => new Promise((done) => requestAnimationFrame(done));
  const run = async (act) => {
    for (let i = 0; i < 10; i++) { act(i); await next(); }
    const t = performance.now();
    for (let i = 0; i < 150; i++) { act(i); await next(); }
    return 150000 / (performance.now() - t); };
  const key = (k) => sheet.dispatchEvent(new KeyboardEvent('keydown', { key: k, bubbles: true }));
  const point = (type, x, y) => { const box = c.getBoundingClientRect();
    c.dispatchEvent(new PointerEvent(type, { pointerId: 1, clientX: box.x + x, clientY: box.y + y, bubbles: true })); };
  const zoom = await run((i) => key(i % 2 ? '+' : '-'));
  c.setPointerCapture = () => {};
  point('pointerdown', 100, 100);
  const drag = await run((i) => point('pointermove', 110 + i * 3, 140 + i));
  point('pointerup', 400, 300);
  const still = await run(() => {});
  return { zoom, drag, still, samples: window.einthoven.shown }; }"""


def frames() -> None:
    with browser() as page, tempfile.TemporaryDirectory() as place, server(Path(place) / "data") as (_, link, _begun):
        page.goto(link)
        page.wait_for_selector("[data-testid=conclusion]", timeout=120_000)
        for layout in ("12x1", "3x4+1"):
            page.select_option("label:has-text('Layout') select", layout)
            page.wait_for_timeout(300)
            found = page.evaluate(FRAMES)
            print(
                f"{layout}, 12 x {found['samples']} samples: zoom {found['zoom']:.0f}, calipers {found['drag']:.0f} pictures/s "
                f"(nothing to draw: {found['still']:.0f})"
            )


SHARES = (0.2, 0.35, 0.2, 0.2, 0.03, 0.02)


def load(clients: int, minutes: float) -> None:
    """Each client in turn: the list, a signal, a report, beats (reads); now and then an upload or a prediction."""
    with tempfile.TemporaryDirectory() as place, server(Path(place) / "data") as (running, link, _):
        with client(link) as boss:
            tokens = [
                boss.post("/api/tokens", json={"name": f"c{k}", "scope": "write"}).json()["token"] for k in range(clients)
            ]
            rows = ["file_name,label"]
            ids = []
            for k in range(60):
                path = Path(place) / f"e{k}.npz"
                write(simulate(rate=60 if k % 2 else 115, seed=k).record, path)
                (told,) = boss.post("/api/ecgs", files={"files": (path.name, path.read_bytes())}).json()
                ids.append(told["id"])
                rows.append(f"{path.name},{'slow' if k % 2 else 'fast'}")
            boss.post("/api/labels", files={"file": ("labels.csv", "\n".join(rows).encode())})
            fresh = []
            for k in range(200):
                path = Path(place) / f"n{k}.npz"
                write(simulate(rate=60 + k % 60, seed=1000 + k, fs=100.0).record, path)
                fresh.append(path.read_bytes())
            times: dict[str, list[float]] = defaultdict(list)
            faults: Counter[str] = Counter()
            until = time.monotonic() + 60 * minutes
            lock, uploads = threading.Lock(), iter(range(10**9))

            def one(k: int) -> None:
                rng = np.random.default_rng(k)
                address = str(boss.base_url)
                with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {tokens[k]}"}, timeout=120) as me:
                    while time.monotonic() < until:
                        ecg = ids[rng.integers(len(ids))]
                        what = rng.choice(
                            ["list", "signal", "report", "beats", "upload", "predict"], p=[0.2, 0.35, 0.2, 0.2, 0.03, 0.02]
                        )
                        begun = time.perf_counter()
                        try:
                            if what == "list":
                                answer = me.get("/api/ecgs")
                            elif what == "upload":
                                n = next(uploads)
                                answer = me.post("/api/ecgs", files={"files": (f"u{n}.npz", fresh[n % len(fresh)])})
                            elif what == "predict":
                                answer = me.post(f"/api/ecgs/{ecg}/predict?model=einthoven-12")
                            else:
                                answer = me.get(f"/api/ecgs/{ecg}/{what}")
                            if answer.status_code >= 400:
                                with lock:
                                    faults[f"{what}: {answer.status_code} {answer.text[:100]}"] += 1
                        except httpx.HTTPError as fault:
                            with lock:
                                faults[f"{what}: {type(fault).__name__}"] += 1
                        with lock:
                            times[what].append(time.perf_counter() - begun)
                        time.sleep(float(rng.exponential(2.0)))  # a person looks at what came

            tuned = 0

            def tune() -> None:
                """One fine-tuning after the other, so that one runs all the time."""
                nonlocal tuned
                if not tuned or boss.get(f"/api/jobs/{job[0]}").json()["state"] not in ("queued", "running"):
                    tuned += 1
                    args = {"name": f"under-load-{tuned}", "ecgs": ids}
                    job[:] = [boss.post("/api/jobs", json={"kind": "finetune", "args": args}).json()["id"]]

            job: list[str] = []
            tune()
            threads = [threading.Thread(target=one, args=(k,)) for k in range(clients)]
            for thread in threads:
                thread.start()
            held: list[dict[str, float]] = []
            while any(thread.is_alive() for thread in threads):
                time.sleep(5)
                tune()
                held.append(memory(running.pid))
            for thread in threads:
                thread.join()
            reads = np.array([t for what in ("list", "signal", "report", "beats") for t in times[what]])
            print(
                f"{clients} clients, {minutes:g} min: {sum(map(len, times.values())):,} requests, {sum(faults.values())} errors"
            )
            for fault, count in faults.most_common(5):
                print(f"  {count} x {fault}")
            for what, one_ in sorted(times.items()):
                median, late = np.percentile(one_, [50, 95])
                print(f"  {what:<8} {len(one_):6,}  median {1000 * median:6.0f} ms, 95 % within {1000 * late:6.0f} ms")
            print(f"reads: 95 % within {1000 * np.percentile(reads, 95):.0f} ms")
            third = max(len(held) // 3, 1)
            for whose in ("server", "helpers", "jobs"):
                row = [one[whose] for one in held]
                first, last = np.mean(row[:third]), np.mean(row[-third:])
                print(
                    f"memory, {whose}: {first:.0f} MB in the first third, {last:.0f} MB in the last, {max(row):.0f} MB at most"
                )
            states = Counter(one["state"] for one in boss.get("/api/jobs").json())
            print("fine-tunings:", ", ".join(f"{count} {state}" for state, count in states.items()))


def holter(hours: float) -> None:
    piece = simulate(rate=70, seed=3, duration=600.0, fs=200.0).record
    rows = [piece.leads.index(name) for name in ("II", "V1", "V5")]
    count = int(hours * 6)
    signal = np.tile(piece.signal[rows], (1, count))
    with tempfile.TemporaryDirectory() as place, server(Path(place) / "data") as (running, link, _):
        path = Path(place) / "day.npz"
        write(Record(signal, 200.0, ("II", "V1", "V5")), path)
        with client(link) as boss:
            begun = time.perf_counter()
            (told,) = boss.post("/api/ecgs", files={"files": (path.name, path.read_bytes())}).json()
            print(f"{hours:g} h, {signal.nbytes / 1e6:.0f} MB as floats: taken in {time.perf_counter() - begun:.1f} s")
            sent = []
            for start in np.linspace(0, hours * 3600 - 10, 20):
                begun = time.perf_counter()
                answer = boss.get(f"/api/ecgs/{told['id']}/signal?start={start:.0f}&end={start + 10:.0f}")
                sent.append((time.perf_counter() - begun, len(answer.content)))
            took = []
            for _ in range(5):
                begun = time.perf_counter()
                whole = boss.get(f"/api/ecgs/{told['id']}/signal?most=2000")
                took.append(1000 * (time.perf_counter() - begun))
            print(
                f"10 s of it: median {1000 * np.median([t for t, _ in sent]):.0f} ms, {sent[0][1] / 1000:.0f} kB; "
                f"the whole as 2,000 stretches: {took[0]:.0f} ms, again {np.median(took[1:]):.0f} ms, "
                f"{len(whole.content) / 1000:.0f} kB"
            )
            print("memory, MB:", ", ".join(f"{whose} {mb:.0f}" for whose, mb in memory(running.pid).items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cold", "frames", "load", "holter"))
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hours", type=float, default=24.0)
    args = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    if args.what == "load":
        load(args.clients, args.minutes)
    elif args.what == "holter":
        holter(args.hours)
    else:
        {"cold": cold, "frames": frames}[args.what]()


if __name__ == "__main__":
    main()
