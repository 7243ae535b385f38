"""A network that is watched for real: store, engine and hands in a folder of the test, and a simulated day to play."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from tests.waiting import until
from trunkline.api.desk import Watching
from trunkline.api.heat import HeatBoard
from trunkline.bootstrap import network as watched
from trunkline.bootstrap.network import Network, NetworkHands
from trunkline.bootstrap.replay import EVENTS, MEASURED, TICKETS, Piece, pieces
from trunkline.engines.embedded.intake import Spooling
from trunkline.engines.embedded.sources import LiveSources
from trunkline.simulator import Settings, make_world
from trunkline.simulator.network import make_network, simulate_network
from trunkline.simulator.network_settings import NetworkSettings
from trunkline.stores.embedded.network import FOLDER

DAY = Settings(seed=7, subscribers=2_000, cells=60, hours=10, start=date(2026, 11, 3))


def simulated(folder: Path, settings: Settings = DAY, period_s: int = 300) -> Path:
    """A day of a small network with every kind of fault, and its truth."""
    simulate_network(make_network(make_world(settings), NetworkSettings(period_s=period_s)), folder)
    return folder


@dataclass
class Watch:
    """A network that is being watched, and the way to its telemetry."""

    network: Network
    watching: Watching

    def tell(self, piece: Piece) -> None:
        """Hand in what one period told."""
        self.watching.intake.telemetry(MEASURED, piece.measured, "ran")
        if piece.events:
            self.watching.intake.telemetry(EVENTS, piece.events, "elements")
        if piece.tickets:
            self.watching.intake.telemetry(TICKETS, piece.tickets, "care")

    def settle(self) -> None:
        """Wait until everything that was handed in is carried and committed."""
        files = self.network.store.files

        def read() -> bool:
            return all(
                file.offset >= file.path.stat().st_size
                for file in files.open_files("spool")
                if file.path.exists()
            )

        until(read, "all telemetry is committed", 900)

    def play(self, folder: Path) -> list[Piece]:
        """Hand in a whole day, in its order."""
        day = list(pieces(folder))
        for piece in day:
            self.tell(piece)
        self.settle()
        return day


@contextmanager
def watch(data: Path, inventory: Path) -> Iterator[Watch]:
    """Watch a network with the given inventory until the end of the block."""
    (data / FOLDER).mkdir(parents=True, exist_ok=True)
    watched.keep_inventory(data / FOLDER, watched.inventory_files([inventory]))
    with watched.opened_network(data) as network:
        sources = LiveSources(network.store, network.store.disk, (), network.mappings.__getitem__)
        board = HeatBoard(network.reader)
        board.load()
        network.engine.listeners.append(board.commit)
        network.engine.early_listeners.append(board.ahead)
        watching = Watching(network.reader, NetworkHands(network, Spooling(network.engine, sources)), board)
        stop, trouble = threading.Event(), list[BaseException]()

        def drive() -> None:
            try:
                network.engine.drive(sources, stop)
            except BaseException as error:  # noqa: BLE001 -- raised again by the test
                trouble.append(error)

        driving = threading.Thread(target=drive)
        driving.start()
        try:
            yield Watch(network, watching)
        finally:
            stop.set()
            driving.join()
        assert not trouble, trouble


def truth(folder: Path) -> pl.DataFrame:
    """What went wrong on a simulated day, and when."""
    return pl.read_csv(folder / "truth" / "network_faults.csv")
