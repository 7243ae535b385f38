"""The board of the map: whoever reads along, comes late or back, or was told ahead has the map that was committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.api import heat
from trunkline.api.heat import HeatBoard, Seen
from trunkline.ports import Commit
from trunkline.records.network import ALARMS, HEAT

VIEW, OTHER = ("h3:5", "PRBUsageDl"), ("area", "severity")
Tiles = dict[str, list[Any]]
Change = tuple[tuple[str, str], int, int, int]  # view, tile, value, time


class Stored:
    """What a store has to say to a board that begins."""

    def __init__(self, number: int = 0, tiles: pl.DataFrame | None = None) -> None:
        """Begin behind so many commits."""
        self.number, self.frame = number, HEAT.record.empty() if tiles is None else tiles

    def counts(self) -> dict[str, int]:
        """As of `NetworkReader`."""
        return {"commits": self.number, "newest_heat_us": 0}

    def tiles(self, *_wanted: object) -> pl.DataFrame:
        """As of `NetworkReader`."""
        return self.frame


def rows(changes: list[Change]) -> pl.DataFrame:
    """Changes as `HEAT`."""
    return HEAT.record.conform(
        pl.DataFrame(
            [(*view, tile, value, time, 6, 1) for view, tile, value, time in changes],
            schema=["layer", "metric", "tile", "value_milli", "time_us", "severity", "cells"],
            orient="row",
        )
        if changes
        else HEAT.record.empty()
    )


@cache
def alarm_rows(count: int) -> pl.DataFrame:
    """So many rows without content."""
    return ALARMS.record.empty().clear(count)


def begun(number: int = 0, tiles: pl.DataFrame | None = None) -> HeatBoard:
    """A board over a store."""
    board = HeatBoard(Stored(number, tiles))  # type: ignore[arg-type]
    board.load()
    return board


def commit(number: int, changes: list[Change], alarms: int = 0) -> Commit:
    """A commit of tiles, and of changes of alarms (whose content no board looks at)."""
    frames = {HEAT.name: rows(changes)} if changes else {}
    if alarms:
        frames[ALARMS.name] = alarm_rows(alarms)
    return Commit(number, 0, 0, frames)


@dataclass
class Reader:
    """A page: what it shows, and the number that it would come back with."""

    board: HeatBoard
    view: tuple[str, str] = VIEW
    seen: Seen = field(default_factory=Seen)
    shown: Tiles = field(default_factory=dict)
    seq: int | None = -1
    types: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Take what there is."""
        while True:
            self.seen, text = self.board.message(self.view, self.seen)
            if text is None:
                return
            said = orjson.loads(text)
            self.types.append(said["type"])
            self.seq = said["seq"]
            if said["type"] == "snapshot":
                self.shown = {}
            self.shown |= {tile: rest for tile, *rest in said["tiles"]}

    def come_back(self, board: HeatBoard) -> None:
        """Lose the connection, and ask with the last number."""
        self.board, self.seen = board, Seen(self.seq) if self.seq is not None else Seen()
        self.look()


def test_what_is_told_ahead_is_not_told_again() -> None:
    """The commit adds what was not known before, and gives the number to come back with."""
    board = begun()
    reader = Reader(board)
    reader.look()
    first, later = [(VIEW, 1, 10, 30), (VIEW, 2, 20, 30)], [(VIEW, 2, 21, 60), (OTHER, 3, 30, 30)]
    board.ahead(1, rows(first))
    reader.look()
    assert reader.shown == {"1": [10, 6, 1, 30], "2": [20, 6, 1, 30]}
    assert reader.seq is None
    board.commit(commit(1, first + later))
    seen, text = board.message(VIEW, reader.seen)
    assert orjson.loads(text or "")["tiles"] == [["2", 21, 6, 1, 60]]
    assert seen == Seen(1)
    late = Reader(board)
    late.look()
    reader.look()
    assert reader.shown == late.shown
    assert reader.types == ["snapshot", "delta", "delta"]


def test_a_view_of_which_nothing_is_told_ahead_waits_for_the_commit() -> None:
    """Alarms come with the commit, and nobody who looks at them alone hears of what was told ahead."""
    board = begun()
    reader = Reader(board, OTHER)
    reader.look()
    board.ahead(1, rows([(VIEW, 1, 10, 30)]))
    reader.look()
    assert reader.types == ["snapshot"]
    board.commit(commit(1, [(VIEW, 1, 10, 30), (OTHER, 3, 30, 30)]))
    reader.look()
    assert reader.shown == {"3": [30, 6, 1, 30]}
    assert reader.types == ["snapshot", "delta"]


def test_what_was_told_ahead_and_never_came_is_taken_back() -> None:
    """Whether the commit became another one, became nothing, or the process died."""
    for became in (commit(1, [(VIEW, 1, 11, 30)]), commit(1, [])):
        board = begun()
        reader = Reader(board)
        reader.look()
        board.ahead(1, rows([(VIEW, 1, 10, 30), (VIEW, 2, 20, 30)]))
        reader.look()
        assert len(reader.shown) == 2
        board.commit(became)
        reader.look()
        late = Reader(board)
        late.look()
        assert reader.shown == late.shown
        assert "2" not in reader.shown
    board = begun()
    reader = Reader(board)
    reader.look()
    board.ahead(1, rows([(VIEW, 2, 20, 30)]))
    reader.look()
    after = begun()
    after.commit(commit(1, [(VIEW, 1, 10, 30)]))
    reader.come_back(after)
    assert reader.shown == {"1": [10, 6, 1, 30]}


def test_only_the_next_commit_is_told_ahead() -> None:
    """Tiles of the one behind it would be overtaken by older ones."""
    board = begun()
    reader = Reader(board)
    reader.look()
    board.ahead(2, rows([(VIEW, 1, 10, 60)]))
    reader.look()
    board.commit(commit(1, [(VIEW, 1, 9, 30)]))
    reader.look()
    assert reader.shown == {"1": [9, 6, 1, 30]}


def test_old_steps_are_let_go_by_the_tiles_that_they_have() -> None:
    """What is kept of steps is bounded by tiles, too; who has missed more than that gets the whole map."""
    board = begun()
    many = [(VIEW, tile, tile, 30) for tile in range(1, 1001)]
    reader = Reader(board)
    reader.look()
    board.commit(commit(1, many[:1]))
    for number in range(2, 5):
        board.commit(commit(number, many))
    kept = heat.ROWS_KEPT
    heat.ROWS_KEPT = 2_000
    try:
        board.commit(commit(5, many))
    finally:
        heat.ROWS_KEPT = kept
    reader.look()
    assert reader.types == ["snapshot", "snapshot"]
    back = Reader(board, seq=3)
    back.come_back(board)
    assert back.types == ["delta"]
    assert reader.shown == back.shown


_CHANGES = st.lists(
    st.tuples(
        st.sampled_from([VIEW, OTHER]), st.integers(1, 4), st.integers(0, 9), st.sampled_from([30, 60])
    ),
    max_size=4,
)
_STEPS = st.lists(
    st.tuples(
        _CHANGES,  # told ahead
        _CHANGES,  # and with the commit
        st.sampled_from(["as told", "as told", "otherwise", "not told"]),
        st.lists(
            st.tuples(st.integers(0, 2), st.booleans()), max_size=4
        ),  # which readers look, and come back
        st.integers(0, 2),  # changes of alarms
    ),
    max_size=8,
)


@given(_STEPS, st.booleans())
@settings(max_examples=40, deadline=None)
def test_every_reader_ends_with_the_map_that_was_committed(steps: list[Any], fold: bool) -> None:
    """However often it looked, came back or was told ahead, and whether changes were put into the whole map or not."""
    board = begun(7, rows([(VIEW, 4, 1, 0)]))
    truth: dict[tuple[tuple[str, str], str], list[Any]] = {(VIEW, "4"): [1, 6, 1, 0]}
    readers = [Reader(board, VIEW), Reader(board, VIEW), Reader(board, OTHER)]
    kept = heat.ROWS_FOLDED
    heat.ROWS_FOLDED = 0 if fold else kept
    try:
        for number, (ahead, more, becomes, looks, alarms) in enumerate(steps, 8):
            if becomes != "not told" and ahead:
                board.ahead(number, rows(ahead))
            for which, back in looks:
                if back:
                    readers[which].come_back(board)
                readers[which].look()
            changes = more if becomes == "otherwise" else ahead + more
            board.commit(commit(number, changes, alarms))
            for view, tile, value, time in sorted(changes, key=lambda change: change[3]):
                truth[view, f"{tile:x}"] = [value, 6, 1, time]
            for which, back in looks[::-2]:
                if back:
                    readers[which].come_back(board)
                readers[which].look()
    finally:
        heat.ROWS_FOLDED = kept
    for reader in (*readers, Reader(board, VIEW), Reader(board, OTHER)):
        reader.look()
        assert reader.shown == {tile: row for (view, tile), row in truth.items() if view == reader.view}
