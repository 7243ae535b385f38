"""The running platform: the engine drives what comes live, and the API and the page are served beside it.

One process, three kinds of threads: the engine's pipeline, the server's loop, and the demonstration when
asked for. When one of them fails, all stop in order, so that nothing is accepted that would not be charged.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from trunkline import topology
from trunkline.api.access import Role
from trunkline.api.app import create_app
from trunkline.api.desk import Watching
from trunkline.api.heat import HeatBoard
from trunkline.api.options import ApiOptions
from trunkline.api.sign_in import sign_in_link
from trunkline.api.studies import Studies
from trunkline.bootstrap.addresses import bound, is_loopback
from trunkline.bootstrap.alert_delivery import AlertDelivery, LedgerDeliveries
from trunkline.bootstrap.alert_ways import alert_delivery
from trunkline.bootstrap.bills import FolderBills
from trunkline.bootstrap.catalogues import remembered_tariff
from trunkline.bootstrap.listening import listeners_of
from trunkline.bootstrap.network import Network, NetworkHands, NetworkLife
from trunkline.bootstrap.online import SOURCE as CHARGED_ONLINE
from trunkline.bootstrap.online import OnlineLife
from trunkline.bootstrap.platform import Platform, chosen_mapping, let_go, withdrawals
from trunkline.bootstrap.reconcile import reconcile
from trunkline.bootstrap.rerating import FolderRerates
from trunkline.bootstrap.reservations import OnlineReservations
from trunkline.bootstrap.service import Service
from trunkline.bootstrap.shadow import FolderShadows
from trunkline.bootstrap.tokens import KeptTokens
from trunkline.bootstrap.transfers import FolderTransfers
from trunkline.bootstrap.vouchers import FolderVouchers
from trunkline.bootstrap.what_if import FolderWhatIfs
from trunkline.bootstrap.wishes import WAITING
from trunkline.engines.embedded.intake import EngineIntake, MoneyFlow, Spooling
from trunkline.engines.embedded.sources import LiveSources
from trunkline.engines.listeners.listeners import Listeners
from trunkline.ports import Refused
from trunkline.records import charging
from trunkline.settings import Delivery, Guessing, Http, Keeping, Listening, Online, Watched, read
from trunkline.stores.embedded.deliveries import EmbeddedDeliveries
from trunkline.stores.embedded.reader import EmbeddedAudit, EmbeddedReader

log = logging.getLogger("trunkline.serve")

DAY_S = 86_400
DAY_US = DAY_S * 1_000_000
MONEY = MoneyFlow(topology.MONEY, charging.REFUSED)


@dataclass
class Serving:
    """A platform that takes what comes: its ports, and the means to stop it."""

    platform: Platform
    http: Http
    keeping: Keeping
    intake: EngineIntake
    reader: EmbeddedReader
    audit: EmbeddedAudit
    sources: LiveSources
    stop: threading.Event = field(default_factory=threading.Event)
    watching: Watching | None = None
    network: NetworkLife | None = None
    listeners: Listeners | None = None
    online: OnlineLife | None = None
    deliveries: LedgerDeliveries | None = None
    telling: AlertDelivery | None = None
    trouble: BaseException | None = None

    @property
    def base_url(self) -> str:
        """Where the page is."""
        return self.http.public_url or f"http://{self.http.host}:{self.http.port}"


def prepare(platform: Platform, http: Http, keeping: Keeping, online: Online | None = None) -> Serving:
    """Put the ports over an opened platform; `online` when quota is asked for here, too."""
    assert_safe(http)
    watched = []
    if platform.folders.watch:
        folder = Path(platform.folders.watch)
        name = chosen_mapping(platform, folder, platform.folders.watch_mapping)
        watched.append((folder, name, platform.mappings[name].source))
    wanted = online is not None and online.online_port != 0
    not_read = frozenset({CHARGED_ONLINE} if wanted else ())
    sources = LiveSources(
        platform.store, platform.store.disk, watched, platform.mappings.__getitem__, not_read=not_read
    )
    intake = EngineIntake(platform.engine, MONEY, sources, keeping.spool_mb << 20, waiting=WAITING)
    data = platform.folders.data
    serving = Serving(
        platform,
        http,
        keeping,
        intake,
        EmbeddedReader(data),
        EmbeddedAudit(data, platform.store.disk),
        sources,
    )
    if online is not None and wanted:
        networks = tuple(filter(None, http.notify_networks.split(",")))
        serving.online = OnlineLife(platform.engine, serving.reader, online, networks)
    return serving


def watch_network(
    serving: Serving, network: Network, watched: Watched, listening: Listening | None = None
) -> None:
    """Let the platform watch a network, too: an engine of its own beside the one for money."""
    folders = []
    if watched.telemetry_watch:
        name = watched.telemetry_watch_mapping
        if name not in network.mappings:
            raise Refused(f'There is no mapping "{name}". Known are: {", ".join(sorted(network.mappings))}.')
        folders.append((Path(watched.telemetry_watch), name, network.mappings[name].source))
    sources = LiveSources(network.store, network.store.disk, folders, network.mappings.__getitem__)
    spooling = Spooling(network.engine, sources, serving.keeping.spool_mb << 20)
    board = HeatBoard(network.reader)
    board.load()
    network.engine.listeners.append(board.commit)
    network.engine.early_listeners.append(board.ahead)
    service = Service(serving.platform, network, serving.intake, serving.reader, serving.audit)
    serving.listeners = listeners_of(network, spooling, listening or Listening())
    heard = serving.listeners.status if serving.listeners is not None else list
    hands = NetworkHands(network, spooling)
    serving.watching = Watching(network.reader, hands, board, service, heard)
    serving.network = NetworkLife(network, sources, serving.reader, serving.stop, service.look)


def tell_customers(serving: Serving, chosen: Delivery) -> None:
    """Let the platform deliver alerts by the channels that are set up; raises `Refused`."""
    networks = tuple(filter(None, serving.http.notify_networks.split(",")))
    platform = serving.platform
    serving.deliveries, serving.telling = alert_delivery(
        lambda: EmbeddedDeliveries(platform.folders.data),
        serving.reader,
        lambda: platform.catalogue,
        chosen,
        networks,
    )


def assert_safe(http: Http) -> None:
    """Listening beyond loopback is a decision: whoever makes it names the hosts to answer to."""
    if not is_loopback(http.host) and not http.hosts:
        raise Refused(
            f"{http.host} is not loopback. Put a proxy with TLS before it,"
            " and name the host names to answer to with --hosts."
        )


def run(
    serving: Serving, started: Callable[[str], None], others: tuple[Callable[[], None], ...] = ()
) -> None:
    """Drive and serve until asked to stop (Ctrl-C, SIGTERM) or until something fails, which is raised."""
    listener, serving.http = listening(serving.http)
    app = _application(serving)
    server = http_server(app)
    threads = [threading.Thread(target=_guarded(serving, server, lambda: _drive(serving)), name="engine")]
    threads.append(threading.Thread(target=_guarded(serving, server, lambda: _keep(serving)), name="keeping"))
    taking_back = withdrawals(serving.platform)
    threads.append(
        threading.Thread(
            target=_guarded(serving, server, lambda: taking_back.keep(serving.stop)), name="withdrawals"
        )
    )
    threads += [
        threading.Thread(target=_guarded(serving, server, other), name="demonstration") for other in others
    ]
    if serving.network is not None:
        threads += [
            threading.Thread(target=_guarded(serving, server, serving.network.drive), name="network"),
            threading.Thread(target=_guarded(serving, server, serving.network.keep), name="network-keeping"),
        ]
    if serving.listeners is not None:
        hears = serving.listeners
        threads.append(
            threading.Thread(
                target=_guarded(serving, server, lambda: hears.run(serving.stop)), name="listeners"
            )
        )
    if serving.telling is not None:
        threads += [
            threading.Thread(target=_guarded(serving, server, work), name=name)
            for name, work in serving.telling.works(serving.stop)
        ]
    if serving.online is not None:
        threads += [
            threading.Thread(target=_guarded(serving, server, work), name=name)
            for name, work in serving.online.works(
                app.state.desk.access, app.state.desk.metrics.charged, serving.stop
            )
        ]
    for thread in threads:
        thread.start()
    started(sign_in_link(app.state.desk.access, serving.base_url, "operator", Role.ADMIN))
    try:
        server.run(sockets=[listener])
    finally:
        serving.stop.set()
        for thread in threads:
            thread.join()
        listener.close()
    if serving.trouble is not None:
        raise serving.trouble


def _drive(serving: Serving) -> None:
    serving.platform.engine.drive(serving.sources, serving.stop)


def _keep(serving: Serving) -> None:
    """Once a day, beginning with the start, let go of what was kept long enough."""
    while True:
        let_go(serving.platform, serving.keeping)
        if serving.deliveries is not None:
            serving.deliveries.let_go(time.time_ns() // 1000 - serving.keeping.usage_days * DAY_US)
        if serving.stop.wait(DAY_S):
            return


def listening(http: Http) -> tuple[socket.socket, Http]:
    """A socket that listens where the settings say, and the settings with the port that it has got."""
    advice = "Choose another with --port, or 0 for any."
    # It listens before the link is told: whoever opens it at once is kept waiting, not refused.
    listener = bound(http.host, http.port, advice)
    return listener, Http(**{**vars(http), "port": listener.getsockname()[1]})


def http_server(app: FastAPI) -> uvicorn.Server:
    """What serves the API and the page: silent about itself, and patient with requests when it is told to stop."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            ws_per_message_deflate=False,
        )
    )


def _guarded(serving: Serving, server: uvicorn.Server, work: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 -- it is raised again once all have stopped
            serving.trouble = serving.trouble or error
            serving.stop.set()
            server.should_exit = True

    return run


def _application(serving: Serving) -> FastAPI:
    http = serving.http
    options = ApiOptions(
        hosts=("127.0.0.1", "localhost", "::1", *filter(None, http.hosts.split(","))),
        public_url=http.public_url,
        notify_networks=tuple(filter(None, http.notify_networks.split(","))),
        notices_path=str(serving.platform.folders.data / "notices.sqlite"),
    )
    return create_app(
        serving.reader,
        serving.intake,
        serving.audit,
        lambda: serving.platform.catalogue,
        KeptTokens(serving.platform.folders.data),
        options,
        lambda: live_facts(serving),
        reconcile=lambda: kept_reconciliation(serving),
        tariff_files=lambda: remembered_tariff(serving.platform.folders.data),
        network=serving.watching,
        bill_port=_bills(serving),
        transfer_port=FolderTransfers(serving.platform.folders.data, serving.platform.engine),
        reservation_port=_reservations(serving),
        voucher_port=_vouchers(serving),
        rerate_port=_rerates(serving),
        delivery_port=serving.deliveries,
        studies=_studies(serving),
    )


def _reservations(serving: Serving) -> OnlineReservations | None:
    if serving.online is None:
        return None
    platform = serving.platform
    return OnlineReservations(
        serving.online.online, serving.reader, lambda: platform.catalogue, platform.engine.clock_us
    )


def _studies(serving: Serving) -> Studies:
    reader, mappings = serving.reader, serving.platform.mappings
    return Studies(FolderWhatIfs(reader, mappings), FolderShadows(reader, mappings))


def _bills(serving: Serving) -> FolderBills:
    platform = serving.platform
    return FolderBills(
        platform.folders.data, lambda: platform.catalogue, platform.engine, serving.intake.move
    )


def _now_us() -> int:
    return time.time_ns() // 1000


def _vouchers(serving: Serving) -> FolderVouchers:
    platform = serving.platform
    return FolderVouchers(platform.folders.data, _now_us, platform.engine, read(Guessing))


def _rerates(serving: Serving) -> FolderRerates:
    platform = serving.platform
    return FolderRerates(
        platform.folders.data, lambda: platform.catalogue, platform.mappings, platform.engine
    )


def live_facts(serving: Serving) -> dict[str, Any]:
    """What only this process knows, for the page."""
    return {"unread_octets": serving.sources.unread_octets}


def kept_reconciliation(serving: Serving) -> dict[str, Any]:
    """Reconcile everything and keep the result."""
    result = reconcile(serving.reader, serving.platform.catalogue, serving.platform.mappings)
    serving.audit.add_reconciliation(time.time_ns() // 1000, result)
    return result
