"""Einthoven reads any 12-lead ECG, measures it and interprets it. Research use only, not a medical device."""

__version__ = "0.1.0"
