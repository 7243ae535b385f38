"""The two ways to get the demonstration operator's usage: as files with the truth beside them, or as a paced stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.simulator import truth
from trunkline.simulator.arrivals import Arrivals, arrivals, lines_of
from trunkline.simulator.network import make_network, simulate_network
from trunkline.simulator.network_settings import NetworkSettings
from trunkline.simulator.provisioning import write_subscribers, write_tariffs
from trunkline.simulator.settings import Settings
from trunkline.simulator.usage import World, make_world

Progress = Callable[[int, int, int], None]

CHUNK_WALL_S = 0.5


def simulate(
    settings: Settings, out: Path, progress: Progress | None = None, network: NetworkSettings | None = None
) -> dict[str, Any]:
    """Write `cdrs/`, `tariffs/`, `subscribers.csv` and `truth/` into `out`; returns the summary.

    With `network`, the telemetry of its cells is written beside them (`network.simulate_network`), and nobody uses a
    cell that is dead. `progress(hours done, hours, lines so far)` is called after every hour. A folder that already
    holds a simulation is refused, because parts of two would be mixed.
    """
    if any((out / name).exists() for name in ("cdrs", "tariffs", "subscribers.csv", "truth")):
        raise FileExistsError(f"{out} already holds a simulation; name another folder or remove it first")
    world = make_world(settings)
    telemetry: dict[str, Any] = {}
    if network is not None:
        plant = make_network(world, network)
        world, telemetry = plant.world, {"network": simulate_network(plant, out)}
    write_operator(world, out)
    cdrs, usage = out / "cdrs", out / "truth" / "usage"
    cdrs.mkdir(parents=True)
    usage.mkdir(parents=True)
    truth.write_cells(world.country, out / "truth" / "cells.csv")
    truth.write_people(world.people, world.start_us, out / "truth" / "people.csv")
    tally = truth.Tally()
    with (out / "truth" / "faults.ndjson").open("wb") as faults:
        for born, arrived in arrivals(world):
            if born is not None:
                tally.add_born(born)
            tally.add_arrivals(arrived)
            with (cdrs / f"{truth.part_name(arrived.number)}.ndjson").open("wb") as lines:
                lines.writelines(lines_of(arrived.rows))
            truth.write_usage(arrived, usage)
            faults.write(truth.fault_lines(arrived))
            if progress is not None:
                progress(min(arrived.number + 1, settings.hours), settings.hours, sum(tally.lines_of_part))
    summary = tally.summary(settings) | telemetry
    truth.write_summary(summary, out / "truth" / "summary.json")
    return summary


def write_operator(world: World, out: Path) -> None:
    """The tariff and the subscribers alone, as a stream needs them before its first chunk."""
    out.mkdir(parents=True, exist_ok=True)
    write_tariffs(out / "tariffs")
    write_subscribers(world.settings, world.people, out / "subscribers.csv")


@dataclass(frozen=True)
class Chunk:
    """Lines that arrive within a short stretch of simulated time, and when to hand them on."""

    due_s: float  # seconds after the replay began, at the stream's speed
    until_us: int  # the stretch's end, in simulated time
    records: int
    text: bytes


def stream(
    settings: Settings, speed: float = 1.0, world: World | None = None, first_hour: int = 0
) -> Iterator[Chunk]:
    """The same lines as `simulate` writes, cut into stretches of half a second of the replay.

    It never looks at a clock: whoever hands the chunks on waits until `due_s`. What is still on its way when the
    last hour ends comes as the last chunk. Give the `world` to share it with `write_operator`, and a `first_hour`
    to begin in the morning: what began before it is left out.
    """
    if speed <= 0:
        raise ValueError("speed must be above 0: how many simulated seconds pass in one")
    world = make_world(settings) if world is None else world
    step_us = max(1_000_000, int(CHUNK_WALL_S * speed * 1_000_000))
    origin_us = world.hour(first_hour).start_us
    for _, arrived in arrivals(world, first_hour):
        yield from _cut(arrived, origin_us, step_us, speed)


def _cut(arrived: Arrivals, origin_us: int, step_us: int, speed: float) -> Iterator[Chunk]:
    """The hour in steps; an hour without length (the stragglers) is one chunk."""
    borders = [*range(arrived.start_us + step_us, arrived.end_us, step_us), arrived.end_us]
    rows = np.searchsorted(arrived.rows["due_us"].to_numpy(), np.array(borders), side="left")
    rows[-1] = len(arrived.rows)
    first = 0
    for until_us, last in zip(borders, rows.tolist(), strict=True):
        if last > first:
            text = b"".join(lines_of(arrived.rows.slice(first, last - first)))
            yield Chunk((until_us - origin_us) / 1_000_000 / speed, until_us, last - first, text)
        first = last
