"""Architectures on signals, one file each. `model.py` is what they have in common, `einthoven.models.table` the list of all."""
