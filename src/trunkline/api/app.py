"""The application: routes, their rights, the page, and what runs behind them, put together.

Nothing here knows which engine or store stands behind the ports. Every route either names the right it needs
or stands in `PUBLIC` with the reason; anything else stops the start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from trunkline import __version__, ports
from trunkline.api import describe, problems, sign_in, sockets
from trunkline.api.access import Access, Token
from trunkline.api.desk import Desk, Needs, Reconcile, TariffFiles, Watching
from trunkline.api.guard import Guard
from trunkline.api.live import Live
from trunkline.api.metrics import Metrics
from trunkline.api.notices import Notices
from trunkline.api.options import ApiOptions
from trunkline.api.people import People
from trunkline.api.studies import Studies
from trunkline.api.tmf import alarm as tmf_alarm
from trunkline.api.tmf import bill as tmf_bill
from trunkline.api.tmf import hub, prepay
from trunkline.api.tmf import reserve as tmf_reserve
from trunkline.api.tmf import transfer as tmf_transfer
from trunkline.api.tmf import usage as tmf_usage
from trunkline.api.v1 import (
    alerts,
    bills,
    calls,
    deliveries,
    intake,
    network,
    network_credits,
    network_settling,
    overview,
    rerating,
    reservations,
    settling,
    shadow,
    subscribers,
    tariffs,
    transfers,
    vouchers,
    what_if,
)
from trunkline.api.workers import Workers
from trunkline.charging.tariffs.catalogue import Catalogue

ROUTERS = (
    overview.routes,
    intake.routes,
    subscribers.routes,
    transfers.routes,
    vouchers.routes,
    reservations.routes,
    calls.routes,
    alerts.routes,
    settling.routes,
    tariffs.routes,
    sign_in.routes,
    prepay.routes,
    tmf_transfer.routes,
    tmf_reserve.routes,
    tmf_usage.routes,
    hub.routes,
    network.routes,
    network_settling.routes,
    network_credits.routes,
    tmf_alarm.routes,
    bills.routes,
    tmf_bill.routes,
    rerating.routes,
    deliveries.routes,
    what_if.routes,
    shadow.routes,
)

# Routes that ask for no token, each with the reason.
PUBLIC = {
    "/": "the page's files hold no data; the page asks people in",
    "/favicon.ico": "as the page",
    "/signin": "it is how people come in; the code is the proof",
    "/api/v1/session": "its body holds the token (signing out asks as usual)",
    "/healthz": "it tells nothing but that somebody answers",
}


def _now_us() -> int:
    return time.time_ns() // 1000


def create_app(
    reader: ports.Reader,
    intake_port: ports.Intake,
    audit: ports.AuditTrail,
    catalogue_source: Callable[[], Catalogue],
    tokens: Sequence[Token],
    settings: ApiOptions,
    live: Callable[[], dict[str, Any]] | None = None,
    *,
    reconcile: Reconcile | None = None,
    tariff_files: TariffFiles | None = None,
    network: Watching | None = None,
    bill_port: ports.Bills | None = None,
    transfer_port: ports.Transfers | None = None,
    reservation_port: ports.Reservations | None = None,
    voucher_port: ports.Vouchers | None = None,
    rerate_port: ports.Rerates | None = None,
    delivery_port: ports.Deliveries | None = None,
    studies: Studies | None = None,
    workers: Workers = tuple,
    now_us: Callable[[], int] = _now_us,
) -> FastAPI:
    """The application over a platform. `live` tells facts that only the running process knows, for the page;
    `workers` the last words of a cluster's workers.

    `app.state.desk.access.issue_code(name, role)` makes a sign-in code; `sign_in.sign_in_link` a whole link.
    """
    metrics = Metrics(reader, now_us, workers, network, delivery_port)
    notices = Notices(settings, metrics, now_us)
    desk = Desk(
        reader=reader,
        intake=intake_port,
        audit=audit,
        catalogue=catalogue_source,
        access=Access(tokens, lambda: now_us() / 1e6),
        people=People(settings.reference_key or notices.reference_key()),
        options=settings,
        metrics=metrics,
        now_us=now_us,
        reconcile=reconcile,
        tariff_files=tariff_files,
        network=network,
        bills=bill_port,
        transfers=transfer_port,
        reservations=reservation_port,
        vouchers=voucher_port,
        rerates=rerate_port,
        deliveries=delivery_port,
        studies=studies,
        workers=workers,
    )
    app = FastAPI(
        title="trunkline",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_life,
    )
    app.state.desk = desk
    app.state.live = Live(reader, now_us, settings.live_period_s, live)
    app.state.notices = notices
    app.state.runs = overview.Runs()
    problems.install(app)
    for router in ROUTERS:
        _assert_guarded(router.routes)
        app.include_router(router)
    app.include_router(sockets.routes)
    app.mount("/page", sign_in.PageFiles(directory=sign_in.PAGE), name="page")
    app.state.description = lambda: describe.response(ROUTERS, PUBLIC)
    app.add_middleware(Guard, options=settings, metrics=metrics)
    return app


def _assert_guarded(routes: Sequence[Any]) -> None:
    for route in routes:
        assert isinstance(route, APIRoute), f"not a route: {route}"
        asks = any(isinstance(each.call, Needs) for each in route.dependant.dependencies)
        assert asks or route.path in PUBLIC, f"{route.path} asks for no right"


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    """Sampling and notifying go on while the application runs."""
    app.state.notices.open()
    watching = app.state.desk.network
    if watching is not None:
        watching.board.bind()
    tasks = [
        asyncio.create_task(app.state.live.run()),
        asyncio.create_task(app.state.notices.run(app.state.desk.reader)),
    ]
    if watching is not None:
        tasks.append(asyncio.create_task(tmf_alarm.tell(app.state.notices, watching)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        app.state.notices.close()
