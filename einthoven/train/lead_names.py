"""Trains the network that reads lead names off paper, on drawn names over drawn traces, and ships it.

    python -m einthoven.train.lead_names --out runs/names            trains, scores on drawings not seen, writes ONNX and JSON

Nothing but drawings: names in many fonts, sizes and slants, among other words, traces, calibration pulses, dotted lines, and
what is left of a grid. recipes/lead-names.yaml holds cost and figures.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from einthoven.models.lead_names import LeadNames
from einthoven.paper.digitise.names import CLASSES, PER_MM

F32 = NDArray[np.float32]

H, W = 96, 192  # pixels of a drawing: 24 x 48 mm
_FINE = 2  # drawn at twice that
FONTS = Path("/usr/share/fonts/truetype")  # Liberation and DejaVu (free fonts), where they are installed
_WORDS = (
    "25 mm/s|10 mm/mV|mm/mV|Vent. rate|PR interval|QRS duration|QT/QTc|P-R-T axes|ms|BPM|ABNORMAL ECG|Sinus rhythm|40 Hz|150 Hz"
    "|12SL|V|aV|L|R|F|VI|IV|IX|Vx|2|3|4|5|6|ID:|Page 1 of 1|Room:|Male|Female|F 60~|0.05|A|a|H|N|P|T|QRS|X|/|-|L1|VL|VR|"
    "E|W|Q|V7|V8|aVX|mV|mm|Dr|No|(V|Lead|07|8|90|+|:"
).split("|")


@lru_cache(1)
def _faces() -> list[Any]:
    paths = sorted(p for p in FONTS.rglob("*.ttf") if p.name.startswith(("Liberation", "DejaVu")) and "Math" not in p.name)
    return [cv2.FontFace("sans"), cv2.FontFace("serif"), *(cv2.FontFace(str(p)) for p in paths if "Extra" not in p.name)]


_HERSHEY = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def word(text: str, rng: np.random.Generator) -> F32:
    """A word's ink (h, w), cut to its letters, 8 pixels to the millimetre, in a face and size drawn at random."""
    canvas = np.zeros((150, 80 + 60 * len(text)), np.uint8)
    spaced = " ".join(text) if len(text) > 1 and rng.random() < 0.06 else text
    if rng.random() < 0.12:
        font = int(rng.choice(_HERSHEY))
        cv2.putText(canvas, spaced, (20, 100), font, 1.7, (255,), int(rng.integers(2, 7)), cv2.LINE_AA)
    else:
        faces = _faces()
        face = faces[0 if rng.random() < 0.1 else 1 if rng.random() < 0.1 else int(rng.integers(len(faces)))]
        cv2.putText(canvas, spaced, (20, 100), (255,), face, 56, int(rng.choice([0, 300, 400, 500, 700])))
    ys, xs = np.flatnonzero(canvas.max(axis=1) > 40), np.flatnonzero(canvas.max(axis=0) > 40)
    if not len(ys):
        return np.zeros((4, 4), np.float32)
    part = canvas[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    tall = np.exp(rng.uniform(np.log(1.5), np.log(4.6))) * 8
    scale = tall / max(part.shape[0], 8)
    wide = scale * float(np.exp(rng.normal(0, 0.14)))
    slant, turn = float(rng.normal(0, 0.06)), float(np.deg2rad(rng.normal(0, 2.0)))
    h, w = part.shape
    matrix = np.array([[wide, -slant * scale - turn * scale, 0], [turn * wide, scale, 0]])
    corners = np.array([[0, 0], [w, 0], [0, h], [w, h]]) @ matrix[:, :2].T
    matrix[:, 2] = 2 - corners.min(axis=0)
    size = np.ceil(np.ptp(corners, axis=0) + 4).astype(int)
    out = cv2.warpAffine(part, matrix, (int(size[0]), int(size[1])), flags=cv2.INTER_AREA).astype(np.float32) / 255
    thick = rng.random()
    if thick < 0.15:
        out = cv2.dilate(out, np.ones((2, 2), np.uint8))
    elif thick < 0.2:
        out = cv2.erode(out, np.ones((2, 2), np.uint8))
    return np.asarray(out, np.float32)


def drawing(rng: np.random.Generator) -> tuple[F32, list[tuple[int, float, float, float, float]]]:
    """Ink (H, W) and its names: (class, middle x, middle y, width, height), mm."""
    h, w = H * _FINE, W * _FINE
    ink = np.zeros((h, w), np.float32)
    lines = np.zeros((h, w), np.uint8)
    names: list[tuple[int, float, float, float, float]] = []
    taken = np.zeros((h, w), bool)

    def place(part: F32, label: int | None) -> None:
        ph, pw = part.shape
        if ph >= h or pw >= w:
            return
        y, x = int(rng.integers(0, h - ph)), int(rng.integers(0, w - pw))
        if taken[y : y + ph, max(x - 6, 0) : x + pw + 6].any():
            return
        taken[y : y + ph, x : x + pw] = True
        part = part * float(rng.uniform(0.55, 1.1))
        ink[y : y + ph, x : x + pw] = np.maximum(ink[y : y + ph, x : x + pw], part)
        if label is not None:
            names.append((label, (x + pw / 2) / 8, (y + ph / 2) / 8, pw / 8, ph / 8))

    spelt = {name: [name] for name in CLASSES}
    for name in ("aVR", "aVL", "aVF"):
        spelt[name] += [name, name.upper()]
    spelt["-aVR"] += ["-aVR", "–aVR"]
    for k in range(1, 7):
        spelt[f"V{k}"] += [f"V{k}", f"V{k}", f"C{k}", f"v{k}"]
    for _ in range(int(rng.integers(1, 5))):
        label = int(rng.integers(len(CLASSES)))
        place(word(str(rng.choice(spelt[CLASSES[label]])), rng), label)
    for _ in range(int(rng.integers(0, 5))):
        text = str(rng.choice(_WORDS))
        if rng.random() < 0.3:
            text = "".join(
                rng.choice(list("abcdefghijklmnopqrstuwxyzABCDEGHJKMNOPQRSTUWXYZ0123456789"), int(rng.integers(1, 6)))
            )
        if text:
            place(word(text, rng), None)
    # Traces: a wandering line with waves and spikes; and what else stands on ECG paper.
    pen = int(rng.integers(1, 5))
    for _ in range(int(rng.choice([0, 1, 1, 2]))):
        x = np.arange(-5, w + 5, 1.0)
        y = rng.uniform(0.1, 0.9) * h + 8 * np.cumsum(rng.normal(0, 0.01, len(x))) + rng.normal(0, 0.4 * rng.random(), len(x))
        at, step = rng.uniform(0, 100), rng.uniform(60, 220)
        r, s, t = rng.normal(0, 70), rng.normal(0, 40), rng.normal(0, 18)
        while at < w:
            y -= r * np.exp(-0.5 * ((x - at) / rng.uniform(1.3, 4)) ** 2) + t * np.exp(-0.5 * ((x - at - 55) / 12) ** 2)
            y += s * np.exp(-0.5 * ((x - at - 7) / 3) ** 2)
            at += step
        cv2.polylines(lines, [np.round(np.stack([x, y], 1) * 16).astype(np.int32)], False, (255,), pen, cv2.LINE_AA, 4)
    if rng.random() < 0.25:  # a dotted or dashed line between leads
        left, period = int(rng.integers(4, w - 4)), int(rng.integers(5, 24))
        for top in range(0, h, period):
            cv2.line(lines, (left, top), (left, top + period // 2), (255,), int(rng.integers(1, 4)))
    if rng.random() < 0.3:  # a bar between leads, or a stroke that is part of no letter
        left, top = int(rng.integers(4, w - 4)), int(rng.integers(0, h - 30))
        cv2.line(lines, (left, top), (left, top + int(rng.integers(15, 90))), (255,), int(rng.integers(1, 5)))
    if rng.random() < 0.25:
        left, foot = int(rng.integers(-10, w - 50)), int(rng.integers(80, h))
        corner = np.array([[-12, 0], [0, 0], [0, -80], [40, -80], [40, 0], [52, 0]]) + [left, foot]
        cv2.polylines(lines, [corner.astype(np.int32)], False, (255,), pen, cv2.LINE_AA)
    ink = np.maximum(ink, lines.astype(np.float32) / 255 * float(rng.uniform(0.7, 1.1)))
    if rng.random() < 0.5:  # what is left of a grid: lines or dots
        rest = np.zeros((h, w), np.float32)
        a, b = rng.integers(0, 8, 2)
        if rng.random() < 0.5:
            rest[a::8, b::8] = 1
        else:
            rest[a :: int(rng.choice([8, 40]))] = 1
            rest[:, b :: int(rng.choice([8, 40]))] = 1
        ink = np.maximum(ink, rest * float(rng.uniform(0.05, 0.45)) * (rng.random((h, w)) < rng.uniform(0.3, 1)))
    ink = cv2.GaussianBlur(ink, (0, 0), float(rng.uniform(0.3, 1.6)))
    ink *= float(rng.uniform(0.8, 1.5)) / max(float(np.percentile(ink, 99.5)), 0.2)
    if rng.random() < 0.3:
        ink = (ink > rng.uniform(0.3, 0.6)).astype(np.float32)
    ink += rng.normal(0, rng.uniform(0, 0.08), ink.shape).astype(np.float32)
    if rng.random() < 0.3:
        ink = np.where(rng.random(ink.shape) < 0.01, 1.0, ink).astype(np.float32)
    ink = np.clip(ink, 0, 1)
    return cv2.resize(ink, (W, H), interpolation=cv2.INTER_AREA), names


def batch(rng: np.random.Generator, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ink (B, 1, H, W); label (B, H/4, W/4): class + 1, 0 none, -1 not judged; extent (B, 2, H/4, W/4) mm, 0 where none."""
    x = np.zeros((size, 1, H, W), np.float32)
    label = np.zeros((size, H // 4, W // 4), np.int64)
    extent = np.zeros((size, 2, H // 4, W // 4), np.float32)
    for b in range(size):
        x[b, 0], names = drawing(rng)
        for k, cx, cy, w, h in names:
            i, j = min(int(cy), H // 4 - 1), min(int(cx), W // 4 - 1)
            around = label[b, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            around[around == 0] = -1
            label[b, i, j] = k + 1
            extent[b, :, i, j] = w, h
    return torch.from_numpy(x), torch.from_numpy(label), torch.from_numpy(extent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pool", type=int, default=3000, help="Drawings made; each is seen several times, its ink varied.")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(args.seed)
    model = LeadNames()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, args.steps)
    # A name's middle is one cell in four hundred.
    weight = torch.full((1 + len(CLASSES),), 60.0)
    weight[0] = 1.0
    begun = time.process_time()
    pool = batch(rng, args.pool)
    print(f"{args.pool} drawings  CPU {time.process_time() - begun:.0f} s", flush=True)
    for step in range(args.steps):
        some = torch.from_numpy(rng.integers(0, args.pool, args.batch))
        x, label, extent = (part[some] for part in pool)
        gain = torch.from_numpy(rng.uniform(0.7, 1.3, (args.batch, 1, 1, 1)).astype(np.float32))
        x = (x * gain + 0.03 * torch.randn(x.shape)).clip(0, 1)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x.contiguous(memory_format=torch.channels_last)).float()
        loss = F.cross_entropy(out[:, :-2], label, weight, ignore_index=-1)
        at = label > 0
        gap = (out[:, -2:] - extent).abs().sum(1)[at].mean()
        optimizer.zero_grad()
        (loss + 0.02 * gap).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            right = (out[:, 1:-2].argmax(1) + 1 == label)[at].float().mean()
            line = f"{step + 1} loss {loss.item():.4f} named right {right.item():.2f} extent {gap.item():.2f} mm"
            print(f"{line}  CPU {time.process_time() - begun:.0f} s", flush=True)
    model.eval()
    args.out.mkdir(parents=True, exist_ok=True)
    export(model, args.out / "lead_names.onnx")
    figures = score(model, np.random.default_rng(args.seed + 1_000_003))
    told = {"steps": args.steps, "batch": args.batch, "seed": args.seed, "cpu_s": round(time.process_time() - begun), **figures}
    told["parameters"] = sum(p.numel() for p in model.parameters())
    draft = args.out / "lead_names.json.part"
    draft.write_text(json.dumps({"classes": CLASSES, "px_per_mm": PER_MM, "licence": "Apache-2.0", **told}, indent=1) + "\n")
    os.replace(draft, args.out / "lead_names.json")
    print(json.dumps(told))
    return 0


def score(model: LeadNames, rng: np.random.Generator, count: int = 400) -> dict[str, float]:
    """Of names on drawings not seen: the share read right, and how many of the readings are wrong, at a probability of 0.5."""
    right = total = wrong = read = 0
    with torch.no_grad():
        for _ in range(count // 20):
            x, label, _ = batch(rng, 20)
            p = torch.softmax(model(x)[:, :-2], 1)
            top, kind = p[:, 1:].max(1)
            peak = (top > 0.5) & (top == F.max_pool2d(top[:, None], 5, 1, 2)[:, 0])
            for b, i, j in torch.nonzero(peak).tolist():
                near = label[b, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
                hit = bool((near == kind[b, i, j] + 1).any())
                read, right, wrong = read + 1, right + hit, wrong + (not hit)
            total += int((label > 0).sum())
    return {"read_right": round(right / total, 4), "readings_wrong": round(wrong / max(read, 1), 4), "names": total}


def export(model: LeadNames, path: Path) -> None:
    """ONNX with any height and width."""
    draft = path.with_suffix(".part")
    model.requires_grad_(False)
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, H, W),),
        str(draft),
        input_names=["ink"],
        output_names=["names"],
        dynamic_axes={"ink": {2: "height", 3: "width"}, "names": {2: "rows", 3: "columns"}},
        opset_version=17,
        dynamo=False,
    )
    os.replace(draft, path)


if __name__ == "__main__":
    raise SystemExit(main())
