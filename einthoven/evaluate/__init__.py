"""How good, on whom, and how sure: metrics, intervals, calibration, comparisons."""

from einthoven.evaluate.bootstrap import Resamples, interval
from einthoven.evaluate.calibration import Calibration
from einthoven.evaluate.evaluation import Evaluation, Figure, evaluate
from einthoven.evaluate.thresholds import choose_thresholds

__all__ = ["Calibration", "Evaluation", "Figure", "Resamples", "choose_thresholds", "evaluate", "interval"]
