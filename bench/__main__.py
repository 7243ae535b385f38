"""`python -m bench [NAME ...] [--quick]`: measure all figures or the named ones; `--quick` only sees that they run."""

from __future__ import annotations

import sys

from bench import bills, detector, live, network, online, throughput, volume, what_if
from bench.command import Measures, measure_named

MEASURES: Measures = {
    "end_to_end": (lambda work, size: throughput.end_to_end(work, size, 5), 4_000_000, 200_000),
    "kernel": (lambda work, size: throughput.kernel(work, size, 5), 2_000_000, 200_000),
    "tariff": (lambda work, size: throughput.tariff(work, size, 5), 20_000, 2_000),
    "live": (live.post_to_balance, 60, 5),
    "detector": (lambda work, size: detector.bands(work, size, 5), 1_000_000, 50_000),
    "detector_patterns": (detector.patterns, 20_000, 500),
    "detector_week": (detector.week, 10_000, 10),
    "network_period": (network.period, 100_000, 300),
    "network_events": (network.events, 720_000, 900),
    "network_readers": (network.readers, 500, 5),
    "network_week": (network.week, 200, 3),
    "volume": (volume.memory_and_history, 100_000_000, 500_000),
    "sessions": (volume.open_sessions, 2_000_000, 50_000),
    "accounts": (volume.many_accounts, 50_000_000, 200_000),
    "online": (online.requests, 2_100, 200),
    "bills": (bills.run, 1_000_000, 2_000),
    "what_if": (lambda work, size: what_if.pricing(work, size, 5), 2_000_000, 200_000),
}

if __name__ == "__main__":
    sys.exit(measure_named("python -m bench", __doc__, MEASURES))
