"""The demonstration's tariff prices everything that the demonstration's people do."""

from __future__ import annotations

import polars as pl

from tests.charging_room import Platform
from tests.rooms.mediation.reading import Mediation, blocks, shipped
from tests.simulator.week import Simulated
from trunkline.charging import movements
from trunkline.charging.rate import rate
from trunkline.charging.subscribers import read_subscribers, time_zones_of
from trunkline.charging.tariffs.compiling import compile_catalogue, empty_register, with_time_zones
from trunkline.mediation.decode import decode
from trunkline.records.charging import ACCOUNTS


def test_every_use_is_priced(week: Simulated) -> None:
    """Two days through mediation and rating: nothing is rejected, every plan and most kinds of price are met."""
    content = (week.folder / "subscribers.csv").read_bytes()
    files = {path.name: path.read_text() for path in (week.folder / "tariffs").iterdir()}
    register = with_time_zones(empty_register(), time_zones_of(content))
    catalogue, _ = compile_catalogue(files, register)
    platform, room, rated = Platform(catalogue), Mediation(), []
    subscribers = read_subscribers("subscribers.csv", content, catalogue)
    enrolled = movements.enrol(
        subscribers, platform._state(platform.accounts, subscribers, ACCOUNTS.dtype), catalogue
    )
    platform._keep(platform.accounts, enrolled.state)
    newest_us = int(week.truth()["end_us"].to_numpy().max())
    for part in week.parts[:48]:
        usage, damaged = decode(
            blocks("trunkline", part.read_bytes(), received_us=newest_us, newest_us=newest_us), shipped()
        ).rows
        assert damaged.is_empty()
        batch = room.run(usage).with_columns(seq=pl.int_range(len(usage), dtype=pl.Int64))
        accounts = platform._state(platform.accounts, batch, ACCOUNTS.dtype)
        priced, rejected = rate(batch, accounts, catalogue).rows
        assert rejected.is_empty(), rejected.select("reason", "detail").unique()
        rated.append(priced)
    priced = pl.concat(rated)
    assert len(priced) == sum(week.summary["lines_of_part"][:48])
    assert priced["node"].n_unique() > 30
    assert priced["line"].n_unique() > 80
