"""How good, on whom, and how sure: metrics, intervals, calibration, comparisons."""

from einthoven.evaluate.bootstrap import Resamples, interval
from einthoven.evaluate.calibration import Calibration
from einthoven.evaluate.compare import Difference, compare, delong, paired_bootstrap
from einthoven.evaluate.evaluation import Evaluation, Figure, evaluate
from einthoven.evaluate.robustness import Robustness, robustness
from einthoven.evaluate.selective import RiskCoverage, risk_coverage
from einthoven.evaluate.subgroups import Subgroup, age_bands, subgroups
from einthoven.evaluate.thresholds import choose_thresholds

__all__ = [
    "Calibration",
    "Difference",
    "Evaluation",
    "Figure",
    "Resamples",
    "RiskCoverage",
    "Robustness",
    "Subgroup",
    "age_bands",
    "choose_thresholds",
    "compare",
    "delong",
    "evaluate",
    "interval",
    "paired_bootstrap",
    "risk_coverage",
    "robustness",
    "subgroups",
]
