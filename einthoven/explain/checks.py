"""Is a map an explanation? Three questions that a picture cannot answer.

- *Does it depend on what the model has learnt?* A map that is the same for a network of random weights shows the ECG, not the
  model (Adebayo J et al. Sanity checks for saliency maps. NeurIPS 2018): `randomised`, `similarity`.
- *Does it add up?* `Integrated.gap`, and FullGrad, which refuses to give parts that do not.
- *Does it point to the right place?* On simulated ECGs that place is known (the pointing game: Zhang J et al. Int J Comput Vis
  2018;126:1084): `points`, `chance`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from einthoven.explain.explanation import Doubles, Explanation
from einthoven.explain.waves import WAVES, regions
from einthoven.record import STANDARD_LEADS

if TYPE_CHECKING:
    from torch import nn

    from einthoven.beats.fiducials import Beats


# Where a simulated condition (einthoven.synth.CONDITIONS) shows most: leads and waves. Findings by the leads of their territory
# as in findings/infarction.py; of a block or a pre-excitation, QRS wherever it is.
CONDITIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "stemi_inferior": (("II", "III", "aVF"), ("ST", "T")),
    "stemi_anterior": (("V1", "V2", "V3", "V4"), ("ST", "T")),
    "stemi_lateral": (("I", "aVL", "V5", "V6"), ("ST", "T")),
    "ischaemia_anterior": (("V1", "V2", "V3", "V4"), ("ST", "T")),
    "old_mi_inferior": (("II", "III", "aVF"), ("QRS",)),
    "old_mi_anterior": (("V1", "V2", "V3", "V4"), ("QRS",)),
    "lbbb": (STANDARD_LEADS, ("QRS",)),
    "rbbb": (STANDARD_LEADS, ("QRS",)),
    "wpw": (STANDARD_LEADS, ("QRS",)),
    "left_atrial_enlargement": (STANDARD_LEADS, ("P",)),
}


def randomised(net: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of the network with the values of every tensor of weights shuffled: each keeps its distribution (so that the
    signal neither dies nor explodes on the way), and forgets what it has learnt."""
    import torch

    made = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in made.parameters():
            flat = value.detach().flatten()
            value.copy_(flat[torch.randperm(len(flat), generator=generator)].view_as(value))
    return made


def similarity(a: Doubles, b: Doubles, *, signs: bool = True) -> float:
    """Rank correlation (Spearman) of two maps: 1 the same evidence at the same places, 0 unrelated.

    Without `signs`, of their strengths alone. Where a method multiplies by the signal, strength is large wherever the ECG is,
    whatever the weights: such maps of unrelated networks are alike to 0.7 and more, which says how little strengths say.
    """
    from scipy.stats import spearmanr

    first, second = (m.ravel() if signs else np.abs(m).ravel() for m in (a, b))
    if not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return 0.0
    return float(spearmanr(first, second).statistic)


def truth(made: Explanation, beats: Beats, leads: Sequence[str], waves: Sequence[str]) -> NDArray[np.bool_]:
    """(L, T) the places that a map of this ECG should point to: these waves in these leads."""
    where = regions(beats, made.leads, made.fs, made.values.shape[1], made.start)
    right = np.isin(where, [WAVES.index(name) for name in waves])
    right &= np.isin(made.leads, leads)[:, None] if made.per_lead else True
    return right


def points(made: Explanation, right: NDArray[np.bool_]) -> bool:
    """Whether the strongest place of the map, as it is drawn, is one of `right` (L, T)."""
    return bool(right.flat[int(np.argmax(made.heat))])


def chance(right: NDArray[np.bool_]) -> float:
    """How often a map that knows nothing would point to `right`."""
    return float(right.mean())
