"""The demonstration operator: a seeded country whose people call, text, surf and travel, with the truth beside it."""

from trunkline.simulator.bench import bench_lines, bench_subscribers
from trunkline.simulator.network_settings import NetworkSettings
from trunkline.simulator.settings import LIVELY_FAULTS, Settings
from trunkline.simulator.simulate import Chunk, Progress, simulate, stream, write_operator
from trunkline.simulator.usage import World, make_world

__all__ = [
    "LIVELY_FAULTS",
    "Chunk",
    "NetworkSettings",
    "Progress",
    "Settings",
    "World",
    "bench_lines",
    "bench_subscribers",
    "make_world",
    "simulate",
    "stream",
    "write_operator",
]
