"""Signals as such: resampling, filters, baseline, the papers' preprocessing, and whether an ECG can be read at all."""
