"""Warm copies of another worker's buckets: whoever takes over goes on from them, and charges the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.kafka.conftest import Truth
from tests.cluster.kafka.workers import Workers, handing_in
from tests.waiting import until
from trunkline.engines.kafka.standby import chosen

WAIT_S = 240.0


@pytest.mark.timeout(900)
def test_a_copy_takes_over(workers: Callable[..., Workers], truth: Truth) -> None:
    """When a worker dies for good, each of its buckets goes on from the copy that another kept."""
    running = workers("victim", named=False)
    day, half = running.day, running.day.plan.buckets // 2
    truth.begun(day)
    with day.running("heir", standby=1) as (heir,), handing_in(day, truth.rest, 2) as load:
        until(lambda: day.owners() == {"victim": half, "heir": half}, "both have buckets", WAIT_S, 0.5)
        until(lambda: len(heir.status()["standby"]["level"]) == half, "the copies are level", WAIT_S, 0.2)
        until(lambda: not heir.status()["charger"]["building"], "its own are built", WAIT_S, 0.2)
        before = heir.status()["charger"]["built"]
        load.goes_on("both are charging")
        running.kill("victim")
        until(lambda: len(heir.status()["charger"]["buckets"]) == 2 * half, "it has all buckets", WAIT_S, 0.2)
        assert heir.status()["charger"]["built"] == {**before, "warm": before["warm"] + half}
        until(lambda: heir.status()["standby"]["buckets"] == [], "nothing is left to copy", WAIT_S, 0.2)
        running.start("another", named=False)
        until(lambda: len(heir.status()["standby"]["level"]) == half, "it copies again", WAIT_S, 0.2)
    truth.finished(day)


def test_whose_copies() -> None:
    """As many others as there are to be copies keep one, never the owner; all work out the same; one that goes moves
    no other's.
    """
    names = frozenset("abcdef")
    owners = {number: (sorted(names)[number % 6], names) for number in range(60)}
    kept = {name: chosen(owners, name, 2) for name in names}
    for number, (owner, _) in owners.items():
        assert number not in kept[owner]
        assert sum(number in numbers for numbers in kept.values()) == 2
    assert all(kept.values()), "nobody stands idle"
    fewer = {number: each for number, each in owners.items() if each[0] != "f"}
    without = {number: (owner, names - {"f"}) for number, (owner, _) in fewer.items()}
    for name in names - {"f"}:
        assert kept[name] & set(fewer) <= chosen(without, name, 2)
