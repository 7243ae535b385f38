"""Alarms with one cause are one incident with that cause; others are not mixed in."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.rooms.network.alarms.network_of_sites import (
    ATTACK,
    BAD_SERVICE,
    BROKEN,
    HOT,
    LOSS,
    S,
    network,
    signals,
    window,
)
from tests.rooms.network.incidents.desk import Desk
from trunkline.network.alarms.rules import AlarmRules
from trunkline.network.causes.graph import CausalGraph, problem_words
from trunkline.network.sla import Agreement, Agreements


def cells(*sites: int, at: int = 100, kind: str = LOSS, every: int = 3) -> list[tuple[Any, ...]]:
    """All cells of sites fall silent."""
    return [(at, f"S{site}/C{cell}", "raise", 1, kind) for site in sites for cell in range(every)]


def roots(desk: Desk) -> list[str]:
    """Names of the roots of open incidents."""
    return [incident["root_name"] for incident in desk.open]


def test_one_cell_is_one_incident() -> None:
    """A cell that fails alone is its own cause, and its customers and money are told."""
    desk = Desk()
    told = desk.watch([(100, "S0/C0")], 120).to_dicts()
    assert [row["action"] for row in told] == ["open"]
    incident = told[0]
    assert incident["root_name"] == "S0/C0"
    assert incident["time_us"] == incident["opened_us"] == 110 * S, "its cause may speak yet"
    assert (incident["alarms"], incident["subscribers"], incident["micros_per_minute"]) == (1, 100, 10_000)
    assert "nothing that carries it" in incident["why"]


def test_a_cut_is_one_incident_with_the_link_as_root() -> None:
    """Link and cells alarm within the same seconds: one incident, rooted at the link, hitting all its cells."""
    desk = Desk()
    desk.watch([(101, "S0/C0"), (103, "S0/C2"), (104, "L0", "raise", 1)], 120)
    (incident,) = desk.open
    assert incident["root_name"] == "L0"
    assert desk.names(incident["objects"]) == {"L0", "S0", "S0/C0", "S0/C1", "S0/C2"}
    assert (incident["alarms"], incident["subscribers"], incident["severity"]) == (3, 300, 1)
    assert incident["cause"] == "cause"
    assert "raised an alarm itself" in incident["why"]


def test_a_silent_carrier_is_found_by_what_hangs_on_it() -> None:
    """When nearly all cells behind a link fail at once and it says nothing, it is the cause all the same."""
    inventory = network(sites=8)
    desk = Desk(inventory)
    desk.watch([row for row in cells(0, 1, 3, 4, 5, 6, 7) if row[1] != "S4/C1"], 120)
    (incident,) = desk.open
    assert incident["root_name"] == "LC"  # the link to the core, and not the router behind it
    assert "20 of the 21 cells" in incident["why"]
    assert "no alarm itself" in incident["why"]


def test_two_failures_at_once_are_two_incidents() -> None:
    """Sites that fail in the same second for reasons of their own are not thrown together."""
    desk = Desk(network(sites=12))
    desk.watch(cells(0) + [(101, "S5/C1")], 120)
    assert sorted(roots(desk)) == ["L0", "S5/C1"]


def test_a_root_that_speaks_late_takes_over() -> None:
    """Cells first, one after the other, then the link's own alarm: one incident, and the link is its root."""
    desk = Desk(network(sites=12))
    desk.watch([(100, "S0/C0")], 130)
    desk.watch([(140, "S0/C1")], 160)
    assert len(desk.open) == 1
    desk.watch([(170, "L0", "raise", 1), (171, "S0/C2")], 200)
    assert roots(desk) == ["L0"]
    assert desk.open[0]["opened_us"] == 110 * S


def test_cells_that_fail_just_before_a_look_wait_for_their_link() -> None:
    """Two cells at the end of one step, their link at the start of the next: one incident from the first."""
    desk = Desk(network(sites=12))
    told = desk.watch([(108, "S0/C0"), (109, "S1/C1"), (112, "AGG", "raise", 1, BROKEN)], 130)
    assert told["action"].to_list().count("open") == 1
    assert roots(desk) == ["AGG"]


def test_incidents_that_turn_out_to_be_one_merge_into_the_oldest() -> None:
    """Two sites fail minutes apart; then the router that carries both says that it is the cause."""
    desk = Desk(network(sites=12))
    desk.watch(cells(0, at=100), 130)
    desk.watch(cells(1, at=200), 230)
    first, second = (incident["incident_id"] for incident in desk.open)
    told = desk.watch([(210, "AGG", "raise", 1, BROKEN)], 250)
    (incident,) = desk.open
    assert (incident["incident_id"], incident["root_name"]) == (first, "AGG")
    closed = told.filter(pl.col("action") == "close").to_dicts()
    assert [row["incident_id"] for row in closed] == [second]
    assert first in closed[0]["why"]


def test_recovery_takes_nothing_back() -> None:
    """While cells come back one after the other, the root stays; when all are back, the incident closes."""
    desk = Desk(network(sites=12))
    desk.watch(cells(0, at=100), 120)
    desk.watch([(200, "S0/C0", "clear")], 220)
    assert roots(desk) == ["L0"]
    assert desk.open[0]["subscribers"] == 200
    desk.watch([(300, "S0/C1", "clear"), (310, "S0/C2", "clear")], 400)
    assert len(desk.open) == 1, "two minutes of quiet are waited for"
    told = desk.until(440).to_dicts()
    assert [(row["action"], row["time_us"], row["subscribers"]) for row in told] == [("close", 430 * S, 300)]
    assert len(desk.correlated.rows) == 1, "nothing but the clock is remembered"


def test_a_return_within_the_quiet_goes_on() -> None:
    """A cell that fails again before its incident is closed stays in that incident."""
    desk = Desk()
    desk.watch([(100, "S0/C0"), (150, "S0/C0", "clear"), (200, "S0/C0")], 600)
    (incident,) = desk.open
    assert incident["alarms"] == 2


def test_slight_trouble_opens_nothing_but_joins() -> None:
    """Warnings alone are no incident; beside a failure they belong to it."""
    desk = Desk()
    desk.watch([(100, "S0/C0", "raise", 4, BAD_SERVICE)], 120)
    assert desk.open == []
    desk.watch([(130, "L0", "raise", 1)], 150)
    (incident,) = desk.open
    assert (incident["root_name"], incident["alarms"]) == ("L0", 2)


def test_slight_trouble_that_nobody_ends_holds_no_incident_open() -> None:
    """A complaint is never cleared; the incident is over when its failure is, and the next one is one of its own."""
    desk = Desk()
    desk.watch([(100, "S0/C0"), (130, "S0/C0", "raise", 4, BAD_SERVICE)], 150)
    (incident,) = desk.open
    assert incident["alarms"] == 2
    told = desk.watch([(300, "S0/C0", "clear")], 500)
    assert [(row["action"], row["time_us"]) for row in told.to_dicts()][-1] == ("close", 420 * S)
    desk.watch([(600, "S0/C0")], 620)
    (second,) = desk.open
    assert second["incident_id"] != incident["incident_id"]


@pytest.mark.parametrize("after", [300, 3_600, 100_000])
def test_a_warning_that_becomes_serious_opens_an_incident(after: int) -> None:
    """However long it was a warning; when it is one again the incident is over, and the next time there is another."""
    desk = Desk()
    desk.watch([(100, "S0/C0", "raise", 4, BAD_SERVICE)], 100 + after - 10)
    assert desk.open == []
    desk.watch([(100 + after, "S0/C0", "raise", 1, BAD_SERVICE)], 130 + after)
    assert roots(desk) == ["S0/C0"]
    told = desk.watch([(200 + after, "S0/C0", "raise", 4, BAD_SERVICE)], 400 + after)
    assert [(row["action"], row["time_us"]) for row in told.to_dicts()][-1] == ("close", (320 + after) * S)
    desk.watch([(500 + after, "S0/C0", "raise", 1, BAD_SERVICE)], 530 + after)
    assert [incident["opened_us"] for incident in desk.open] == [(510 + after) * S]


def test_a_warning_explains_nothing() -> None:
    """A fan that failed long before beside a cell that fails now: the cell is the cause, and began when it failed."""
    desk = Desk()
    desk.watch([(100, "S0/C1", "raise", 4, HOT), (110, "S0/C0", "raise", 4, BAD_SERVICE)], 490)
    desk.watch([(500, "S0/C0")], 520)
    (incident,) = desk.open
    assert (incident["root_name"], incident["alarms"]) == ("S0/C0", 2)
    assert incident["began_us"] == 500 * S


def test_what_is_minor_must_last_and_a_port_that_flaps_does_not() -> None:
    """A minor alarm opens an incident when it has stood for a minute; one that comes and goes opens none."""
    desk = Desk()
    flaps = [(100 + 30 * turn, "S0", ("raise", "clear")[turn % 2], 3, BROKEN) for turn in range(8)]
    desk.watch([*flaps, (110, "S1", "raise", 3, BROKEN)], 165)
    assert desk.open == []
    told = desk.until(600)
    assert told.filter(pl.col("action") == "open")["opened_us"].to_list() == [170 * S]
    assert roots(desk) == ["S1"]


def test_what_an_outage_leaves_behind_belongs_to_it() -> None:
    """A rate over the whole of an outage comes to light as it ends: no incident of its own."""
    desk = Desk()
    desk.watch([(100, "L0", "raise", 1), (500, "L0", "clear")], 510)
    desk.watch([(505, "S0/C0", "raise", 2, BAD_SERVICE)], 540)
    (incident,) = desk.open
    assert (incident["root_name"], incident["alarms"]) == ("L0", 2)


def test_an_area_opens_no_incident() -> None:
    """What is wrong in an area is wrong in its cells; the sum over them calls nobody a second time."""
    desk = Desk()
    name = desk.inventory.targets.names[0]
    assert desk.watch([(100, name, "raise", 2, BAD_SERVICE)], 200).is_empty()


def test_planned_work_is_no_incident_until_it_outlasts_its_window() -> None:
    """What maintenance holds back opens nothing; what still stands when the window ends does."""
    desk = Desk(rules=AlarmRules(windows=(window("upgrade", ["L0"], 0, 500),)))
    desk.watch(cells(0), 400)
    assert desk.open == []
    desk.watch([(450, "S0/C1", "clear"), (450, "S0/C2", "clear")], 600)
    assert roots(desk) == ["S0/C0"]


def test_a_short_failure_is_an_alarm_but_no_incident() -> None:
    """What is over before it is judged opens nothing."""
    desk = Desk()
    assert desk.watch([(101, "S0/C0"), (105, "S0/C0", "clear")], 130).is_empty()


def test_an_attack_is_an_incident_of_its_own() -> None:
    """A security event on a firewall beside failing cells is never mixed with them."""
    desk = Desk()
    desk.watch([(100, "AGG", "raise", 1, ATTACK), *cells(0, 1, 3)], 120)
    assert len(desk.open) == 2
    attack = next(incident for incident in desk.open if "security" in incident["why"])
    assert (attack["root_name"], attack["alarms"]) == ("AGG", 1)


def graph(cause: str, effect: str) -> CausalGraph:
    """A graph of one edge between alarms of two event types."""
    frame = signals([(0, "x", "raise", 1, cause), (0, "x", "raise", 1, effect)])
    one, other = problem_words(frame)
    return CausalGraph(
        np.array([one]), np.array([other]), np.array([400]), np.array([90_000]),
        {int(one): "cooling failed", int(other): "board failed"},
    )  # fmt: skip


@pytest.mark.parametrize(("known", "incidents"), [(True, 1), (False, 2)])
def test_what_is_known_to_follow_belongs_together(*, known: bool, incidents: int) -> None:
    """Heat at one end of a link and a broken router at the other are one incident if that is known to happen."""
    causes = graph(HOT, BROKEN) if known else CausalGraph.empty()
    desk = Desk(causes=causes)
    desk.watch([(100, "L2b", "raise", 3, HOT), (130, "S2", "raise", 3, BROKEN)], 200)
    assert len(desk.open) == incidents
    if known:
        assert desk.open[0]["root_name"] == "L2b"
        assert "known to bring about" in desk.open[0]["why"]


def test_effects_do_not_come_before_their_causes() -> None:
    """The same two alarms the other way round in time stay apart."""
    desk = Desk(causes=graph(HOT, BROKEN))
    desk.watch([(100, "S2", "raise", 3, BROKEN), (160, "L2b", "raise", 3, HOT)], 230)
    assert len(desk.open) == 2


def test_promises_at_risk_are_named() -> None:
    """An agreement is at risk when more of its cells are affected than its error budget allows for."""
    agreements = Agreements(
        (
            Agreement("gold", "bank", "network", 0, "accessibility", None, 999_000, 30),
            Agreement("bronze", "shop", "network", 0, "accessibility", None, 500_000, 30),
        )
    )
    desk = Desk(network(sites=12), agreements=agreements)
    desk.watch([(100, "S0/C0")], 120)
    assert desk.open[0]["at_risk"] == "gold"


def test_devices_outside_the_inventory_have_incidents() -> None:
    """A device nobody has listed is its own cause."""
    desk = Desk()
    desk.watch([(100, "meter-7", "raise", 2, BROKEN)], 120)
    (incident,) = desk.open
    assert incident["root_name"] is None
    assert incident["subscribers"] == 0


def test_slow_batches_and_quick_ones_give_the_same_incidents() -> None:
    """A day in one batch, and the same day pulse by pulse, tell the same at the same moments."""
    chance = np.random.default_rng(4)
    rows: list[tuple[Any, ...]] = []
    for at in sorted(chance.integers(0, 20_000, 150).tolist()):
        site, cell = int(chance.integers(0, 6)), int(chance.integers(0, 3))
        name = [f"S{site}/C{cell}", f"S{site}", f"L{site}", "AGG"][
            int(chance.choice(4, p=[0.7, 0.1, 0.15, 0.05]))
        ]
        kind = (LOSS, BAD_SERVICE, BROKEN, HOT)[int(chance.integers(4))]
        rows += [
            (at, name, "raise", int(chance.integers(1, 5)), kind),
            (at + int(chance.integers(5, 900)), name, "clear", 6, kind),
        ]
    rows.sort(key=lambda row: row[0])
    inventory = network(sites=6)
    whole, parts = Desk(inventory), Desk(inventory)
    whole.watch(rows, 30_000)
    for second in range(0, 30_000, 200):
        mine = [row for row in rows if second < row[0] <= second + 200]
        parts.watch(mine, second + 200)
    assert len(whole.incidents) > 50
    columns = [name for name in whole.incidents.columns if name != "objects"]
    assert whole.incidents.select(columns).sort(columns).equals(parts.incidents.select(columns).sort(columns))
    assert whole.correlated.rows.tobytes() == parts.correlated.rows.tobytes()
    closed = set(whole.incidents.filter(pl.col("action") == "close")["incident_id"])
    assert closed == set(whole.incidents.filter(pl.col("action") == "open")["incident_id"]), "all end"
