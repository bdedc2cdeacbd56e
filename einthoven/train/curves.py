"""The pictures of a run: how it learned, and how good it is on patients it had not seen. Each is a PNG for report.html.

N records, K labels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # pictures go to files: no window is ever opened

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from einthoven.io.files import replacing

Floats = NDArray[np.floating[Any]]

# Okabe and Ito's colours, which the colour-blind can tell apart; black and yellow left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
SHOWN = 12  # labels that a picture with a curve each can hold; the rest is in the table
_STYLE = {
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.spines.top": False, "axes.spines.right": False,
    "axes.edgecolor": "#8a9099", "axes.labelcolor": "#333", "xtick.color": "#555", "ytick.color": "#555", "axes.grid": True,
    "grid.color": "#e4e7eb", "grid.linewidth": 0.7, "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8,
    "figure.dpi": 150, "savefig.dpi": 150, "figure.constrained_layout.use": True,
}  # fmt: skip


def png(figure: Figure) -> bytes:
    """The figure as a PNG, and closed."""
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor="white", bbox_inches="tight", pad_inches=0.08, metadata={"Software": None})
    plt.close(figure)
    return out.getvalue()


def write(path: Path, picture: bytes) -> Path:
    with replacing(path) as draft:
        draft.write_bytes(picture)
    return path


def learning(history: Sequence[Mapping[str, Any]], best: int, figure_name: str) -> bytes:
    """Losses, the validation's figure and the learning rate over the epochs. `best` the epoch that was kept, from 1."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(10, 2.9))
        epochs = [row["epoch"] for row in history]
        mark = "o" if len(epochs) < 15 else None
        axes[0].plot(epochs, [row["train_loss"] for row in history], color=COLOURS[0], label="training", marker=mark, ms=3)
        axes[0].plot(
            epochs, [row["validation_loss"] for row in history], color=COLOURS[1], label="validation", marker=mark, ms=3
        )
        axes[0].set_title("Loss")
        axes[1].plot(epochs, [_number(row.get(figure_name)) for row in history], color=COLOURS[1], marker=mark, ms=3)
        axes[1].set_title(f"Validation {figure_name.replace('_', ' ').replace('auroc', 'AUROC').replace('mae', 'MAE')}")
        axes[2].plot(epochs, [row["learning_rate"] for row in history], color=COLOURS[2], marker=mark, ms=3)
        axes[2].set_title("Learning rate at the epoch's end")
        axes[2].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        for ax in axes:
            ax.axvline(best, color="#8a9099", lw=1, ls=":")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            ax.set_xlabel("epoch")
        axes[0].plot([], [], color="#8a9099", lw=1, ls=":", label=f"kept: epoch {best}")
        axes[0].legend()
        return png(figure)


def finder(rates: Sequence[float], losses: Sequence[float], answer: float) -> bytes:
    """The smoothed loss over the rates that the finder tried, and its answer."""
    with plt.rc_context(_STYLE):
        figure, ax = plt.subplots(figsize=(4.6, 2.9))
        ax.plot(rates, losses, color=COLOURS[0])
        ax.axvline(answer, color=COLOURS[1], lw=1.2, label=f"taken: {answer:.2g}")
        ax.set(xlabel="learning rate", ylabel="smoothed training loss", title="Learning-rate finder (training records only)")
        ax.legend()
        return png(figure)


def confusion(table: NDArray[np.int64], names: Sequence[str]) -> bytes:
    """(K, K) records, a row a true class, a column the class that was answered; shaded by the share of the row."""
    with plt.rc_context({**_STYLE, "axes.grid": False}):
        k = len(names)
        side = min(max(0.62 * k + 2.2, 3.6), 11)
        figure, ax = plt.subplots(figsize=(side + 0.5, side))
        share = table / np.maximum(table.sum(1, keepdims=True), 1)
        image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i in range(k) if k <= 20 else ():
            for j in range(k):
                words = f"{table[i, j]:,}" + (f"\n{share[i, j]:.0%}" if k <= 8 and table[i].sum() else "")
                ax.text(j, i, words, ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.55 else "#222")
        short = [_short(n) for n in names]
        ax.set_xticks(
            range(k), short, rotation=0 if k <= 4 and max(map(len, short)) < 12 else 40, ha="center" if k <= 4 else "right"
        )
        ax.set_yticks(range(k), short)
        ax.set(xlabel="the model's answer", ylabel="the label", title="Confusion matrix (test patients)")
        for side_name in ("left", "bottom"):
            ax.spines[side_name].set_visible(False)
        figure.colorbar(image, ax=ax, shrink=0.75, label="share of the label's records")
        return png(figure)


def confusions(truth: Floats, present: NDArray[np.bool_], names: Sequence[str]) -> bytes:
    """One 2 x 2 table a label, for labels that may stand together. truth (N, K) with NaN unknown, present (N, K)."""
    with plt.rc_context({**_STYLE, "axes.grid": False}):
        k = min(len(names), 24)
        columns = min(k, 4 if k % 4 == 0 or k > 10 else 5)
        rows = math.ceil(k / columns)
        figure, grid = plt.subplots(rows, columns, figsize=(2.3 * columns + 0.4, 2.75 * rows + 0.3), squeeze=False)
        for n, ax in enumerate(grid.flat):
            if n >= k:
                ax.set_visible(False)
                continue
            yes, no = truth[:, n] == 1, truth[:, n] == 0
            said = present[:, n]
            table = np.array([[(no & ~said).sum(), (no & said).sum()], [(yes & ~said).sum(), (yes & said).sum()]])
            share = table / np.maximum(table.sum(1, keepdims=True), 1)
            ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
            for i in range(2):
                for j in range(2):
                    words = f"{table[i, j]:,}\n{share[i, j]:.0%}" if table[i].sum() else "0"
                    ax.text(j, i, words, ha="center", va="center", color="white" if share[i, j] > 0.55 else "#222")
            ax.set_xticks([0, 1], ["absent", "present"])
            ax.set_yticks([0, 1], ["absent", "present"], rotation=90, va="center")
            ax.set_title(_short(names[n], 24))
            for spine in ax.spines.values():
                spine.set_visible(False)
            if n % columns == 0:
                ax.set_ylabel("the label")
            if n + columns >= k:
                ax.set_xlabel("the model's answer")
        return png(figure)


def roc_pr(truth: Floats, probability: Floats, names: Sequence[str]) -> bytes:
    """ROC and precision-recall curves of every label (N, K), NaN unknown; the rarest of more than SHOWN are left out."""
    with plt.rc_context(_STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.3))
        for n, k in enumerate(_most_frequent(truth)):
            known = ~np.isnan(truth[:, k])
            curve = _curves(truth[known, k] == 1, probability[known, k])
            if curve is None:
                continue
            fpr, tpr, precision, auroc, ap = curve
            style = {"color": COLOURS[n % len(COLOURS)], "ls": ("-", "--")[n // len(COLOURS) % 2], "lw": 1.5}
            prevalence = float((truth[known, k] == 1).mean())
            left.plot(fpr, tpr, label=f"{_short(names[k])}  {auroc:.3f}", drawstyle="steps-post", **style)
            right.plot(tpr, precision, label=f"{_short(names[k])}  {ap:.3f}  (at chance {prevalence:.2f})", **style)
        left.plot([0, 1], [0, 1], color="#8a9099", lw=1, ls=":")
        left.set(title="ROC (test patients)", xlabel="1 − specificity", ylabel="sensitivity")
        right.set(title="Precision-recall (test patients)", xlabel="sensitivity (recall)", ylabel="precision")
        left.legend(title="AUROC", loc="lower right", title_fontsize=8)
        right.legend(title="average precision", loc="lower left", title_fontsize=8)
        for ax in (left, right):
            ax.set(aspect="equal", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
        return png(figure)


def reliability(truth: Floats, probability: Floats, names: Sequence[str], raw: Floats | None = None) -> bytes:
    """How often a label was there when the model gave it a probability: all labels together above, and where the probabilities
    lie below. `raw` (N, K): the same before calibration, drawn thinly."""
    with plt.rc_context(_STYLE):
        figure, (top, bottom) = plt.subplots(2, 1, figsize=(4.6, 5), sharex=True, gridspec_kw={"height_ratios": (4, 1)})
        top.plot([0, 1], [0, 1], color="#8a9099", lw=1, ls=":")
        for name, values, style in (
            ("before calibration", raw, {"color": COLOURS[4], "lw": 1, "marker": "."}),
            ("calibrated", probability, {"color": COLOURS[0], "lw": 1.6, "marker": "o", "ms": 4}),
        ):
            if values is None:
                continue
            known = ~np.isnan(truth)
            p, y = values[known], truth[known]
            bins = np.clip((p * 10).astype(int), 0, 9)
            count = np.bincount(bins, minlength=10)
            there = count >= 5  # fewer say nothing
            mean = np.bincount(bins, p, 10)[there] / count[there]
            seen = np.bincount(bins, y, 10)[there] / count[there]
            if name == "calibrated":
                low, high = _wilson(seen, count[there])
                top.errorbar(mean, seen, (seen - low, high - seen), fmt="none", ecolor=COLOURS[0], elinewidth=0.8, alpha=0.7)
            top.plot(mean, seen, label=name, **style)
        top.set(
            title=f"Calibration, {'all labels together' if len(names) > 1 else names[0]} (test patients)",
            ylabel="how often the label was there", xlim=(-0.02, 1.02), ylim=(-0.02, 1.04),
        )  # fmt: skip
        top.legend(loc="upper left")
        bottom.hist(probability[~np.isnan(truth)], bins=np.linspace(0, 1, 21), color=COLOURS[0], alpha=0.75)
        bottom.set(xlabel="the model's probability", ylabel="answers")
        bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        return png(figure)


def values(truth: Floats, predicted: Floats, names: Sequence[str]) -> bytes:
    """A regression: predicted against true, and the difference against the mean (Bland and Altman 1986), a row a value."""
    with plt.rc_context(_STYLE):
        figure, grid = plt.subplots(len(names), 2, figsize=(9, 3.9 * len(names)), squeeze=False)
        for k, name in enumerate(names):
            known = ~np.isnan(truth[:, k])
            y, p = truth[known, k], predicted[known, k]
            left, right = grid[k]
            dots = {"s": 14 if len(y) < 500 else 5, "alpha": 0.5 if len(y) < 500 else 0.25, "color": COLOURS[0], "lw": 0}
            ends = [float(min(y.min(), p.min())), float(max(y.max(), p.max()))] if len(y) else [0.0, 1.0]
            left.plot(ends, ends, color="#8a9099", lw=1, ls=":")
            left.scatter(y, p, **dots)
            left.set(title=f"{name}: predicted and true (test patients)", xlabel="true", ylabel="predicted")
            gap = p - y
            bias, spread = float(gap.mean()), float(gap.std(ddof=1)) if len(gap) > 1 else 0.0
            right.scatter((p + y) / 2, gap, **dots)
            for at, words in ((bias, "bias"), (bias - 1.96 * spread, "−1.96 SD"), (bias + 1.96 * spread, "+1.96 SD")):
                right.axhline(at, color=COLOURS[1], lw=1, ls="-" if words == "bias" else "--")
                right.annotate(
                    f"{words} {at:.3g}", (1, at), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8
                )
            right.set(title=f"{name}: limits of agreement", xlabel="mean of both", ylabel="predicted − true")
        return png(figure)


def _curves(truth: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats, Floats, float, float] | None:
    """(false positive rate, sensitivity, precision) at every threshold, and both areas; None without positives or negatives."""
    if truth.all() or not truth.any():
        return None
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.diff(score[order]) != 0, True)
    tp, fp = np.cumsum(truth[order])[ends], np.cumsum(~truth[order])[ends]
    tpr, fpr = np.append(0, tp / tp[-1]), np.append(0, fp / fp[-1])
    precision = np.append(1, tp / (tp + fp))
    auroc = float(np.trapezoid(tpr, fpr))
    return fpr, tpr, precision, auroc, float((np.diff(tpr) * precision[1:]).sum())


def _most_frequent(truth: Floats) -> list[int]:
    """Columns to show, in their order."""
    count = np.nansum(truth, 0)
    return sorted(np.argsort(-count, kind="stable")[:SHOWN].tolist())


def _wilson(share: Floats, count: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """95 % interval of a share (Wilson 1927)."""
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


def _short(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


__all__ = ["confusion", "confusions", "finder", "learning", "png", "reliability", "roc_pr", "values", "write"]
