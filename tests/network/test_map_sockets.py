"""The map over real sockets: told ahead, lost and found again, and a reader that does not read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.network.cells import inventory
from tests.network.test_board import OTHER, VIEW, Change, commit, rows
from tests.page.serve import Served, served
from trunkline.api.access import Role
from trunkline.api.desk import Watching
from trunkline.api.heat import HeatBoard
from trunkline.bootstrap.network import NetworkHands, keep_inventory, opened_network
from trunkline.engines.embedded.intake import Spooling
from trunkline.stores.embedded.network import FOLDER

STEPS, TILES = 60, 10_000  # more than what lies between two sockets holds
PATIENCE_S = 15


@dataclass
class Shown:
    """A board that tests commit to, and a server that shows it."""

    board: HeatBoard
    served: Served


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    """The board of a network in which nothing has happened yet."""
    (tmp_path / FOLDER).mkdir()
    keep_inventory(tmp_path / FOLDER, inventory(2))
    with opened_network(tmp_path) as network:
        board = HeatBoard(network.reader)
        board.load()
        hands = NetworkHands(network, Spooling(network.engine))
        with served(20, network=Watching(network.reader, hands, board)) as server:
            yield Shown(board, server)


@contextmanager
def looking(shown: Shown, **more: Any) -> Iterator[ClientConnection]:
    """A socket to the map, before anything was asked."""
    url = shown.served.url.replace("http", "ws") + "/api/v1/network/heat"
    headers = {"Authorization": f"Bearer {shown.served.tokens[Role.VIEWER]}"}
    with connect(
        url, additional_headers=headers, proxy=None, max_size=None, compression=None, **more
    ) as socket:
        yield socket


def ask(socket: ClientConnection, after: int | None = None) -> None:
    """Ask for the view, and for what came behind a number."""
    wanted = {"layer": VIEW[0], "metric": VIEW[1]} | ({} if after is None else {"after": after})
    socket.send(orjson.dumps(wanted).decode())


def heard(socket: ClientConnection) -> dict[str, Any]:
    """The next message."""
    return cast("dict[str, Any]", orjson.loads(socket.recv(timeout=PATIENCE_S)))


def change(tile: int, value: int, time: int = 1) -> Change:
    """A tile of the view moves."""
    return VIEW, tile, value, time


def tiles_of(message: dict[str, Any]) -> dict[str, int]:
    """Values by tile."""
    return {tile: value for tile, value, *_ in message["tiles"]}


def test_what_is_told_ahead_has_no_number_to_come_back_to(shown: Shown) -> None:
    """`seq` is null ahead of a commit; who is lost then asks without `after` and has the map that came of it."""
    board = shown.board
    board.commit(commit(1, [change(1, 10), change(2, 20)]))
    with looking(shown) as socket:
        ask(socket)
        first = heard(socket)
        assert (first["type"], first["seq"], tiles_of(first)) == ("snapshot", 1, {"1": 10, "2": 20})
        board.ahead(2, rows([change(1, 11, 2)]))
        early = heard(socket)
        assert (early["type"], early["seq"], early["after"]) == ("delta", None, 1)
        assert tiles_of(early) == {"1": 11}
    board.commit(commit(2, [change(1, 11, 2), change(2, 22, 2)]))
    with looking(shown) as socket:
        ask(socket)
        again = heard(socket)
        assert (again["type"], again["seq"], tiles_of(again)) == ("snapshot", 2, {"1": 11, "2": 22})
    with looking(shown) as socket:
        ask(socket, after=1)
        missed = heard(socket)
        assert (missed["type"], missed["after"], missed["seq"]) == ("delta", 1, 2)
        assert tiles_of(missed) == {"1": 11, "2": 22}


def test_who_was_told_ahead_of_another_commit_is_given_the_whole_map(shown: Shown) -> None:
    """What was told ahead and did not come is taken back, on the same connection."""
    shown.board.commit(commit(1, [change(1, 10)]))
    with looking(shown) as socket:
        ask(socket)
        heard(socket)
        shown.board.ahead(2, rows([change(1, 99, 2)]))
        assert tiles_of(heard(socket)) == {"1": 99}
        shown.board.commit(commit(2, [change(3, 30, 2)]))
        whole = heard(socket)
        assert (whole["type"], whole["seq"], tiles_of(whole)) == ("snapshot", 2, {"1": 10, "3": 30})


@pytest.mark.timeout(300)
def test_a_reader_that_does_not_read_holds_nobody_up(shown: Shown) -> None:
    """A quick reader gets every step while another reads nothing; that one then gets all of it in fewer pieces."""
    board = shown.board
    board.commit(commit(1, [change(0, 0)]))
    with looking(shown) as quick, looking(shown, max_queue=1) as slow:
        ask(quick)
        ask(slow)
        assert heard(quick)["seq"] == heard(slow)["seq"] == 1
        wanted: dict[str, int] = {}
        for number in range(2, STEPS + 2):
            moved = [change(tile, number * TILES + tile, number) for tile in range(TILES)]
            board.commit(commit(number, [*moved, (OTHER, 1, number, number)]))
            step = heard(quick)
            assert (step["after"], step["seq"]) == (number - 1, number)
            wanted = tiles_of(step)
        assert len(wanted) == TILES
        seen: dict[str, int] = {}
        pieces, seq = 0, 1
        while seq < STEPS + 1:
            late = heard(slow)
            assert late["after"] == seq
            pieces, seq = pieces + 1, late["seq"]
            seen |= tiles_of(late)
    assert seen == wanted
    assert pieces < STEPS, "steps that were missed come in one piece"
