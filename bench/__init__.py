"""Measuring trunkline: `make bench` prints one JSON line a figure, each beside its yardstick of the same run."""

import trunkline as trunkline  # before Polars, as in the real process: it says how freed memory is kept
