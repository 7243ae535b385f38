"""A conflict that is let be charged comes through the router in its place, under its own name; no server is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import polars as pl
from confluent_kafka import Message as Kafkas

from trunkline.bootstrap.catalogues import load_mappings
from trunkline.bootstrap.kafka import plan_of
from trunkline.engines.kafka.router import MAPPING, SOURCE, Edge, Router
from trunkline.engines.naming import mark_of, reading
from trunkline.engines.plan import PLACE_BITS
from trunkline.engines.wire import rows_in
from trunkline.kernel.identity import identities
from trunkline.kernel.members import NOBODY
from trunkline.records import usage

LINE = (
    '{"id":"%s","type":"voice","source":"msc","subscriber":"4915112340001","called":"4915112340002",'
    '"start":"2026-09-21T10:00:00Z","duration_ms":60000}\n'
)


@dataclass
class Taken:
    """A message as a consumer hands it out."""

    at: int
    name: str
    mapping: str

    def value(self) -> bytes:
        """What it holds."""
        return (LINE % self.name).encode()

    def headers(self) -> list[tuple[str, bytes]]:
        """What stands beside it."""
        return [(MAPPING, self.mapping.encode()), (SOURCE, b"msc")]

    def offset(self) -> int:
        """Where it lies."""
        return self.at


def routed(*told: Taken) -> pl.DataFrame:
    """Usage that a router makes of messages of one edge partition."""
    plan, mappings = plan_of("t", 1), load_mappings()
    tables: dict[str, object] = {usage.MAPPINGS.name: mappings, usage.MEMBERS.name: NOBODY}
    router = Router(plan, tables, mappings.__getitem__, lambda: 1_790_000_000_000_000)
    edge = Edge(plan.topic(usage.RAW), 0, 0, None, {})
    messages = router.turn([(edge, [cast("Kafkas", each) for each in told])])
    assert edge.accounts == {"msc": [len(told), len(told), 0, 0]}
    parts = [rows_in(each.value or b"", usage.DECODED.record) for each in messages if each.topic == plan.work]
    return pl.concat(parts)


def test_it_keeps_its_place_and_has_its_own_name() -> None:
    """Between others, in their order, and only those whose header says so; the same mark gives the same name."""
    assert reading("trunkline") == ("trunkline", "")
    said = f"trunkline{mark_of(7)}"
    assert reading(said) == ("trunkline", "~7")
    rows = routed(
        Taken(3, "a", "trunkline"), Taken(4, "b", said), Taken(5, "c", "trunkline"), Taken(6, "b", said)
    )
    names = ["a", "b~7", "c", "b~7"]
    assert rows["record_id"].to_list() == names
    assert (rows["offset"] // (1 << PLACE_BITS)).to_list() == [3, 4, 5, 6]
    wanted = [half.tolist() for half in identities("msc", pl.Series(names))]
    assert [rows["identity"].to_list(), rows["check"].to_list()] == wanted
