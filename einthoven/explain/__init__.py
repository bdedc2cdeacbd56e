"""Why a model says what it says of an ECG: evidence by (lead, time), on the page, and by lead and wave.

    made = explain(record, "my-bundle", "STEMI", "integrated-gradients")
    made.shares.text(); save(record, made, "why.png")

What each method says and does not say: docs/explain.md. torch is needed for all but occlusion.
"""

from einthoven.explain.ecg import METHODS, explain
from einthoven.explain.explanation import Explanation, Shares
from einthoven.explain.overlay import save

__all__ = ["METHODS", "Explanation", "Shares", "explain", "save"]
