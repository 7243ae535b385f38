"""The queue is in the order of harm, and incidents are measured in event time."""

from __future__ import annotations

import polars as pl

from tests.rooms.network.alarms.network_of_sites import BROKEN, S, network, signals
from tests.rooms.network.incidents.desk import Desk
from trunkline.network.incidents.measures import means, measures, queue

M = 1_000_000


def test_the_queue_begins_with_what_costs_most() -> None:
    """More money a minute stands first; at equal money the worse and then the older."""
    desk = Desk(network(sites=12))
    desk.watch([(100, "S5/C0", "raise", 3), (101, "S6/C0", "raise", 2), (102, "FW", "raise", 1, BROKEN)], 120)
    desk.watch([(140, "L7", "raise", 1)], 160)
    names = queue(desk.incidents)["root_name"].to_list()
    assert names == ["L7", "S6/C0", "S5/C0", "FW"]


def test_times_to_detect_to_own_and_to_repair() -> None:
    """From the beginning that the alarm tells, to the opening, to the first owner, to the end."""
    desk = Desk()
    frame = signals([(100, "S0/C0")]).with_columns(since_us=pl.lit(40 * S, dtype=pl.Int64))
    desk.watch(frame, 120)
    desk.watch([(500, "S0/C0", "clear")], 700)
    (incident,) = desk.incidents["incident_id"].unique().to_list()
    notes = pl.DataFrame(
        {
            "incident_id": [incident, incident, incident],
            "time_us": [200 * S, 150 * S, 130 * S],
            "action": ["own", "own", "note"],
        }
    )
    (row,) = measures(desk.incidents, notes).to_dicts()
    assert (row["began_us"], row["opened_us"], row["owned_us"], row["closed_us"]) == (
        40 * S,
        110 * S,
        150 * S,
        620 * S,
    )
    assert (row["detect_ms"], row["own_ms"], row["repair_ms"]) == (70_000, 40_000, 510_000)
    assert means(measures(desk.incidents, notes)) == {
        "mttd_ms": 70_000,
        "mtto_ms": 40_000,
        "mttr_ms": 510_000,
    }


def test_what_has_not_happened_is_not_measured() -> None:
    """An open incident has no time to repair, and no mean is made of nothing."""
    desk = Desk()
    desk.watch([(100, "S0/C0")], 120)
    (row,) = measures(desk.incidents).to_dicts()
    assert row["repair_ms"] is None
    assert row["own_ms"] is None
    assert means(measures(desk.incidents)) == {"mttd_ms": 10_000, "mtto_ms": None, "mttr_ms": None}
