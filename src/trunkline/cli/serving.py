"""`trunkline serve`: the API and the page of a cluster, and the delivery of its results into Cassandra."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline import settings
from trunkline.api.logs import configure
from trunkline.cli.app import app, err, out
from trunkline.settings import Cassandra, Folders, Http, Kafka, Online, Watched

if TYPE_CHECKING:
    from trunkline.bootstrap.delivery import Delivery

TOLD_EVERY_S = 5.0


@app.command()
def serve(
    data: Annotated[
        Path | None,
        typer.Option(envvar="TRUNKLINE_DATA", help="Folder of tokens and registered notifications."),
    ] = None,
    mappings: Annotated[Path | None, typer.Option(help="Folder of mapping files of your own.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    hosts: Annotated[
        str | None, typer.Option(help="Further host names to answer to, separated by commas.")
    ] = None,
) -> None:
    """Serve a cluster: carry results from Kafka into Cassandra, and answer over HTTP and on the page from there.

    Where the servers are stands in the settings (Kafka, Cassandra). Several may run beside each other.
    """
    from trunkline.bootstrap.serving import serve as serve_cluster

    folders = settings.read(Folders, data=data, mappings=mappings)
    http = settings.read(Http, host=host, port=port, hosts=hosts)
    stop, watch = _stopping()

    def started(url: str, link: str, roles: list[Delivery]) -> None:
        watch()
        out.print(f"\n[bold]trunkline[/] serves the cluster. The page: {url}/", highlight=False)
        out.print(f"Sign in (once, within the hour): {link}", highlight=False, soft_wrap=True)
        threading.Thread(target=_tell, args=(roles, stop), name="progress", daemon=True).start()

    serve_cluster(
        folders, http, settings.read(Kafka), settings.read(Cassandra), stop, started, settings.read(Watched),
        settings.read(Online), settings.read(settings.Delivery),
    )  # fmt: skip


@app.command()
def door(
    data: Annotated[
        Path | None, typer.Option(envvar="TRUNKLINE_DATA", help="Folder of the tokens of network functions.")
    ] = None,
) -> None:
    """Answer network functions on a cluster: requests for quota over HTTP/2 (Nchf_ConvergedCharging), and nothing else.

    Where the brokers are and where to listen stands in the settings (Kafka, Online). Several may run beside each other.
    """
    from trunkline.bootstrap.online_cluster import DoorLife, run

    folders, http = settings.read(Folders, data=data), settings.read(Http)
    stop, watch = _stopping()

    def started(life: DoorLife) -> None:
        watch()
        out.print(f"trunkline answers network functions: {life.root}", highlight=False, soft_wrap=True)

    run(folders, http, settings.read(Kafka), settings.read(Online), stop, started)


def _stopping() -> tuple[threading.Event, Callable[[], None]]:
    """What is set when we are asked to stop, and a function from whose call on we listen."""
    configure(logging.WARNING)
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    def watch() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, asked)

    return stop, watch


def _tell(roles: list[Delivery], stop: threading.Event) -> None:
    """A line of figures every few seconds, for whoever watches the terminal."""
    before = 0
    while not stop.wait(TOLD_EVERY_S):
        rows = sum(role.delivered.rows for role in roles)
        behind = sum(sum(role.delivered.lag.values()) for role in roles)
        err.print(
            f"{datetime.now(UTC):%H:%M:%S}  {(rows - before) / TOLD_EVERY_S:,.0f} rows/s delivered,"
            f" {behind:,} messages behind",
            highlight=False,
        )
        before = rows
