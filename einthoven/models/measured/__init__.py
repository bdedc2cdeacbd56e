"""Networks on measured features, one file each."""
