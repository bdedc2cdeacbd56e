"""Datasets: readers of the public sets and of the user's own folder into one Index; labels, splits, downloads."""
