"""Measuring the cluster: `make bench-cluster` prints one JSON line a figure, with the broker on the same machine."""
