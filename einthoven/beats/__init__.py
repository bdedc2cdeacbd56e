"""Beats: where they are (delineate), of what kind (classify), one that stands for all (median, align), measured (measure).

Each function is in the module of its name; `einthoven.delineate` and `einthoven.measure` are the doors.
"""
