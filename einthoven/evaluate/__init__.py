"""How good, on whom, and how sure: metrics, intervals, calibration, comparisons."""
