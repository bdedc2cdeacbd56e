"""Losses that leave out what is not known, and class weights.

A label that nobody gave is NaN and takes no part: neither as a "no" nor as a "yes". B batch, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from einthoven.record import EcgError

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Objective:
    """What the network is trained to. `task` "single" (softmax), "multilabel" (sigmoid) or "regression" (squared error of
    the standardised target); `weights` (K,): of a class (single) or of its positives (multilabel); ones for regression.

    A loss is a sum over what is known, divided by a total that numpy can count beforehand. So the parts of a batch, on as
    many processes as there are, add up to exactly the loss of the whole, however unevenly the unknown are spread.
    """

    task: str
    weights: F32

    def sum(self, logits: Tensor, truth: Tensor) -> Tensor:
        """logits, truth (B, K), NaN unknown, in single each row the shares of the classes -> the sum of the loss, scalar."""
        truth = truth.to(logits.dtype)
        weights = torch.as_tensor(self.weights, dtype=logits.dtype, device=logits.device)
        known = ~truth.isnan()
        if self.task == "single":
            known = known.all(1, keepdim=True)
        filled = torch.where(known, truth, torch.zeros_like(truth))
        if self.task == "single":
            each = -weights * filled * F.log_softmax(logits, 1)
        elif self.task == "multilabel":
            each = F.binary_cross_entropy_with_logits(logits, filled, pos_weight=weights, reduction="none")
        else:
            each = (logits - filled) ** 2
        return torch.where(known, each, torch.zeros_like(each)).sum()

    def total(self, truth: F32) -> float:
        """What the sum over `truth` (B, K) is to be divided by: known entries; in single, the known records' weights."""
        if self.task != "single":
            return float(np.isfinite(truth).sum())
        rows = truth[np.isfinite(truth).all(1)]
        return float((rows.astype(np.float64) * self.weights).sum())


def class_weights(truth: F32, task: str, kind: str) -> F32:
    """(N, K) training labels -> (K,) weights.

    "none": ones. "balanced": single N / (K n_k), the mean weight of a record is 1 (King and Zeng 2001; scikit-learn's
    "balanced"); multilabel negatives / positives, as in torch's pos_weight. "exchangeai": min(n) / n_k, as ExChanGeAI
    weights its cross-entropy.
    """
    ones = np.ones(truth.shape[1], np.float32)
    if kind == "none" or task == "regression":
        return ones
    known = np.isfinite(truth)
    count = np.where(known, truth, 0).sum(0, dtype=np.float64)
    if (count == 0).any():
        raise EcgError("class weights need a positive of every class in training")
    if kind == "exchangeai":
        return cast(F32, (count.min() / count).astype(np.float32))
    if kind != "balanced":
        raise EcgError(f"no class weights {kind} (there are: none, balanced, exchangeai)")
    if task == "single":
        return cast(F32, (count.sum() / (truth.shape[1] * count)).astype(np.float32))
    return cast(F32, ((known.sum(0) - count) / count).clip(1e-3, 1e3).astype(np.float32))
