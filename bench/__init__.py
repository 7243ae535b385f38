"""Measuring trunkline: `make bench` prints one JSON line a figure, each beside its yardstick of the same run."""
