"""Levels of a flow whose rows change places: whatever the number of partitions, the rows are those of one process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import polars.testing
import pytest

from tests.cluster.parity.network_day import DAY, network_folder
from tests.network.watching import simulated
from trunkline import topology
from trunkline.bootstrap.network import load_telemetry_mappings, tables_of
from trunkline.bootstrap.network_cluster import PUBLISHED, plan_of, tick
from trunkline.bootstrap.replay import EVENTS, MEASURED, pieces
from trunkline.engines.loop import Carried, Carrier
from trunkline.engines.stages import Place, Staged
from trunkline.kernel.flow import Stream
from trunkline.kernel.grouped import Grouped, Keys, State
from trunkline.network.pulse import pulses_at
from trunkline.records import network
from trunkline.stores.embedded.table import Table

SMALL = replace(DAY, cells=24, hours=4)
PERIODS_A_BATCH = 4
QUIET_US = 400_000_000


class Memory:
    """State in memory."""

    def __init__(self) -> None:
        self._held: dict[str, Table] = {}

    def _of(self, state: State) -> Table:
        return self._held.setdefault(state.name, Table(state.dtype))

    def gather(self, state: State, keys: Keys) -> Grouped:
        """What keys hold."""
        return self._of(state).gather(keys)

    def put(self, state: State, groups: Grouped, _number: int) -> None:
        """What keys hold from now on."""
        self._of(state).put(groups)


class Partitions:
    """All places of a plan in one process, each with a memory of its own."""

    def __init__(self, plan: Staged, tables: dict[str, object]) -> None:
        self.plan, self._tables = plan, tables
        self._memories = [Memory() for _ in range(plan.buckets)]
        self.told_us = 0

    def carry(self, decoded: Carried, number: int, quiet_us: int = 0) -> list[Carried]:
        """One epoch; what each place has to tell."""
        plan = self.plan
        places = [
            Place(plan, kind, partition, self._memories[partition], self._tables)
            for kind in plan.kinds
            for partition in plan.hosts(kind)
        ]
        for entry in plan.entries:
            rows = decoded.rows(entry)
            part = pl.Series(plan.part(entry, rows), dtype=pl.Int64)
            for place in places[: plan.buckets]:
                place.carried.add(entry, rows.filter(part == place.partition))
        while any(place.is_ready for place in places):
            for place in places:
                if place.is_ready:
                    self._one(place, places, number, quiet_us)
        assert all(place.level is None for place in places)
        return [place.published() for place in places]

    def _one(self, place: Place, places: list[Place], number: int, quiet_us: int) -> None:
        plan, level = self.plan, place.level
        assert level is not None
        time = (place.kind, level) == plan.tells_time
        more = (
            {network.PULSES.name: tick(self.told_us, quiet_us, self._tables)} if time and quiet_us else None
        )
        parcels = place.carry(number, more)
        if time and not quiet_us and len(told := place.carried.rows(network.PULSES)):
            self.told_us = int(told["time_us"].max())  # type: ignore[arg-type]
        for kind in {to for _, to in plan.sends[place.kind, level]}:
            for other in places:
                if other.kind == kind:
                    sent = [(p.stream, p.rows) for p in parcels if (p.kind, p.to) == (kind, other.partition)]
                    other.hear((level, place.kind, place.partition), sent)


def same(stream: Stream, ours: list[pl.DataFrame], theirs: list[pl.DataFrame]) -> int:
    """Fail with the first differences; how many rows there are."""
    names = [name for name, dtype in stream.record.schema.items() if not isinstance(dtype, pl.List)]
    frames = [
        pl.concat([stream.record.empty(), *map(stream.record.conform, each)]).sort(names, nulls_last=True)
        for each in (ours, theirs)
    ]
    polars.testing.assert_frame_equal(*frames)
    return len(frames[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of a small network."""
    return simulated(tmp_path_factory.mktemp("stages") / "day", SMALL)


@pytest.fixture(scope="module")
def tables(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What its steps look up."""
    return tables_of(network_folder(folder, tmp_path_factory.mktemp("tables")), load_telemetry_mappings())


def decoded(folder: Path, carrier: Carrier) -> Iterator[Carried]:
    """The day behind its first step, batch by batch."""
    day = list(pieces(folder))
    for first in range(0, len(day), PERIODS_A_BATCH):
        part = day[first : first + PERIODS_A_BATCH]
        octets = {
            MEASURED: b"".join(piece.measured for piece in part),
            EVENTS: b"".join(piece.events for piece in part),
        }
        blocks = {
            "file": [0, 0], "source": ["ran", "elements"], "mapping": list(octets), "offset": [0, 0],
            "line": [1, 1], "bytes": list(octets.values()),
        }  # fmt: skip
        found = carrier.first(carrier.flow.steps[0].reads.record.conform(pl.DataFrame(blocks)))
        for entry in carrier.entries:
            rows = found.rows(entry).with_columns(seq=pl.int_range(pl.len(), dtype=pl.Int64))
            found.frames[entry.name] = [rows]
        yield found


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("buckets", [1, 3])
def test_any_number_of_partitions_gives_the_rows_of_one_process(
    folder: Path, tables: dict[str, object], buckets: int
) -> None:
    """Batch for batch and row for row, time that passes without telemetry included."""
    plan, memory = plan_of(buckets=buckets), Memory()
    partitions = Partitions(plan, tables)
    carrier = Carrier(topology.NETWORK, tables, memory, accounts=plan.accounts)
    theirs: dict[str, list[pl.DataFrame]] = {stream.name: [] for stream in PUBLISHED}
    ours: dict[str, list[pl.DataFrame]] = {stream.name: [] for stream in PUBLISHED}
    number = 0
    for number, batch in enumerate(decoded(folder, carrier), start=1):
        for places, into in (
            ([carrier.rest(batch, number)], theirs),
            (partitions.carry(batch, number), ours),
        ):
            for stream in PUBLISHED:
                into[stream.name] += [place.rows(stream) for place in places]
    lateness_us = tables[network.FORMULAS.name].lateness_us  # type: ignore[attr-defined]
    for quiet_us in (QUIET_US, 10 * QUIET_US):
        number += 1
        later = pulses_at(partitions.told_us + lateness_us + quiet_us)
        quiet = Carrier(topology.TIME, tables, memory).whole(later, number)
        for stream in PUBLISHED:
            theirs[stream.name].append(quiet.rows(stream))
        for place in partitions.carry(Carried(), number, quiet_us):
            for stream in PUBLISHED:
                ours[stream.name].append(place.rows(stream))
    counts = {stream.name: same(stream, ours[stream.name], theirs[stream.name]) for stream in PUBLISHED}
    for stream in (network.KPIS, network.HEAT, network.ANOMALIES, network.ALARMS, network.INCIDENTS):
        assert counts[stream.name], f"a day without {stream.name} proves nothing of it"


def test_levels_follow_from_the_map() -> None:
    """What every level waits for comes from the levels before it, and nothing is sent that nobody reads."""
    plan = plan_of(buckets=4)
    steps = [step for flow in plan.levels.values() for step in flow.steps[1:]]
    assert sorted(step.name for step in steps) == sorted(step.name for step in topology.NETWORK.steps[1:])
    for (kind, level), sent in plan.sends.items():
        for stream, to in sent:
            reads = [
                at
                for (other, at), flow in plan.levels.items()
                if other == to and any(step.reads.name == stream for step in flow.steps[1:])
            ]
            assert reads
            assert min(reads) > level, f"{stream} of {kind} {level}"
    waits = plan.awaited("component", 3, plan.told)
    assert {partition for _, _, partition in waits} == {0, 1, 2, 3}
    assert max(level for level, _, _ in waits) == 2
