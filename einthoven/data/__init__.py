"""Datasets: readers of the public sets and of the user's own folder into one Index; labels, splits, downloads.

index = load("ptb-xl/")                       # an official folder, a folder of yours with labels.csv, or an Index
labels = labels_of(index, "superclass")       # (N, K) with NaN where nobody knows
split = official(index)                       # rows for training, validation, test; no patient on two sides
"""

from einthoven.data.entry import Choice
from einthoven.data.index import Index, Origin, build, in_memory, is_index
from einthoven.data.labels import Labels, labels_of
from einthoven.data.load import load
from einthoven.data.splits import Split, by_patient, check_leaks, fraction, k_folds, official

__all__ = [
    "Choice",
    "Index",
    "Labels",
    "Origin",
    "Split",
    "build",
    "by_patient",
    "check_leaks",
    "fraction",
    "in_memory",
    "is_index",
    "k_folds",
    "labels_of",
    "load",
    "official",
]
