"""WebSockets: what happens now, for the page, and alerts to follow without missing one.

A socket is let in by a bearer token (header, subprotocol `bearer.<token>`, or a first message) or by the
page's session, then only from our own page. A reader that is slow is slow alone: the live socket skips to the
newest sample, the alert socket reads on from the store at its reader's pace.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from trunkline.api.access import READ_PERSON, WATCH, WATCH_NETWORK, Access, Caller, Right
from trunkline.api.balances import account_view, sharing_view
from trunkline.api.desk import SESSION_COOKIE, Desk
from trunkline.api.heat import HeatBoard, Seen
from trunkline.api.live import FOREVER_US, Live, Sample
from trunkline.api.shown import alert_rows, person, usage_rows
from trunkline.api.v1.overview import accounting_view

routes = APIRouter()

PROTOCOL = "trunkline.v1"
NOT_SIGNED_IN, NOT_ALLOWED, NOT_FOUND, TOO_SLOW = 4401, 4403, 4404, 1013
FIRST_MESSAGE_S = 5.0
SEND_S = 20.0
QUIET_S = 15.0
ALERTS_A_TURN = 500
WATCHED_USAGE = 25
MESSAGE_OCTETS_MAX = 4096


class _Leave(Exception):
    """The socket is to be closed with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@routes.websocket("/api/v1/live")
async def live(socket: WebSocket) -> None:
    """Samples as they come; send {"watch": reference} to follow one subscriber, {"watch": null} to stop."""
    feed: Live = socket.app.state.live
    async with _admitted(socket, "/api/v1/live") as caller:
        feed.watchers += 1
        watching = _Watching()
        listener = asyncio.create_task(_listen(socket, caller, watching))
        try:
            await _send_samples(socket, feed, caller, watching, listener)
        finally:
            feed.watchers -= 1
            listener.cancel()


@routes.websocket("/api/v1/alerts/stream")
async def alerts(socket: WebSocket, after: Annotated[int, Query(ge=0, le=2**62)] = 0) -> None:
    """Every alert with a number above `after`, in the order of commit, then each new one."""
    feed: Live = socket.app.state.live
    desk: Desk = socket.app.state.desk
    async with _admitted(socket, "/api/v1/alerts/stream") as caller:
        leaving = asyncio.create_task(_until_gone(socket))
        seen = 0
        try:
            while not leaving.done():
                _still_in(desk, caller)
                frame = await asyncio.to_thread(desk.reader.alerts, after, ALERTS_A_TURN)
                for row in alert_rows(frame, desk.people, desk.catalogue().currency, full=False):
                    await _send(socket, {"type": "alert", **row})
                    after = row["number"]
                if len(frame) < ALERTS_A_TURN:
                    sample = await feed.after(seen, QUIET_S)
                    seen = sample.number if sample else seen
        finally:
            leaving.cancel()


@routes.websocket("/api/v1/network/heat")
async def heat(socket: WebSocket) -> None:
    """The map: send {"layer", "metric"} and, to go on after a lost connection, {"after": last seq}.

    Answered by a snapshot (or what came since), then by deltas as they come, each with the number `seq` to go on from.
    A delta without such a number is told ahead of its commit: whoever loses the connection behind it asks without
    `after`. Whoever reads slowly gets several steps in one delta, and a snapshot when that is shorter.
    """
    desk: Desk = socket.app.state.desk
    async with _admitted(socket, "/api/v1/network/heat", WATCH_NETWORK) as caller:
        if desk.network is None:
            raise _Leave(NOT_FOUND)
        board, looking = desk.network.board, _Looking()
        listener = asyncio.create_task(_follow_view(socket, looking))
        listener.add_done_callback(lambda _: looking.news.set())
        try:
            with board.waking(looking.news):
                await _send_heat(socket, desk, board, caller, looking, listener)
        finally:
            listener.cancel()


class _Looking:
    """Which view this reader looks at, what it has seen of it, and whether there may be something to say."""

    def __init__(self) -> None:
        self.view: tuple[str, str] | None = None
        self.seen = Seen()
        self.news = asyncio.Event()


async def _follow_view(socket: WebSocket, looking: _Looking) -> None:
    """Which view the reader asks for; ends when the reader goes."""
    try:
        while True:
            said = _message(await socket.receive_text())
            if isinstance(said.get("layer"), str) and isinstance(said.get("metric"), str):
                after = said.get("after")
                looking.view = said["layer"][:20], said["metric"][:100]
                looking.seen = Seen(after) if isinstance(after, int) else Seen()
                looking.news.set()
    except WebSocketDisconnect:
        return


async def _send_heat(
    socket: WebSocket,
    desk: Desk,
    board: HeatBoard,
    caller: Caller,
    looking: _Looking,
    listener: asyncio.Task[None],
) -> None:
    """Say what is new whenever something may be; a message is put together once, and no task is made for each."""
    while not listener.done():
        _still_in(desk, caller)
        looking.news.clear()
        text = None
        if looking.view is not None:
            view, seen = looking.view, looking.seen
            known, text = board.message(view, seen)
            if text is not None:
                async with asyncio.timeout(SEND_S):
                    await socket.send_text(text)
            if looking.view is view and looking.seen is seen:  # nothing else was asked for meanwhile
                looking.seen = known
        if text is not None:
            continue
        try:
            async with asyncio.timeout(QUIET_S):
                await looking.news.wait()
        except TimeoutError:
            if looking.view is None:
                break
    if listener.done():
        listener.result()


class _Watching:
    """Whom this page looks at, and what it was last told."""

    def __init__(self) -> None:
        self.subscriber = 0
        self.told = b""


async def _send_samples(
    socket: WebSocket, feed: Live, caller: Caller, watching: _Watching, listener: asyncio.Task[None]
) -> None:
    desk: Desk = socket.app.state.desk
    history = [list(each) for each in feed.samples]
    await _send(socket, {"type": "history", "period_s": feed.period_s, "samples": history})
    seen = 0
    while not listener.done():
        _still_in(desk, caller)
        sample = await feed.after(seen, QUIET_S)
        if sample is None:
            continue
        seen = sample.number
        await _send(socket, _sample_view(desk, sample))
        if watching.subscriber:
            await _tell_watched(socket, desk, watching)
    listener.result()


def _sample_view(desk: Desk, sample: Sample) -> dict[str, Any]:
    currency = desk.catalogue().currency
    return {
        "type": "sample",
        "number": sample.number,
        "time_us": sample.time_us,
        "records_per_s": sample.records_per_s,
        "money_micros_per_s": sample.money_micros_per_s,
        "accounting": accounting_view(sample.accounting, currency),
        "status": sample.status,
        "usage": None
        if sample.usage is None
        else usage_rows(sample.usage, desk.people, full=False, whereabouts=False),
        "alerts": alert_rows(sample.alerts, desk.people, currency, full=False)[::-1],
    }


async def _tell_watched(socket: WebSocket, desk: Desk, watching: _Watching) -> None:
    """The watched subscriber's account and newest usage, when they changed."""
    view = await asyncio.to_thread(_watched, desk, watching.subscriber)
    text = orjson.dumps(view)
    if text != watching.told:
        watching.told = text
        await _send(socket, view)


def _watched(desk: Desk, word: int) -> dict[str, Any]:
    frame, rows = desk.usage(word, 0, FOREVER_US, WATCHED_USAGE), desk.account(word)
    who = person(desk.people, word, full=False)
    return {
        "type": "subscriber",
        "subscriber": who,
        "account": {"subscriber": who}
        | account_view(rows, desk.catalogue(), desk.now_us())
        | sharing_view(desk, word, rows, full=False),
        "usage": usage_rows(
            frame,
            desk.people,
            full=False,
            whereabouts=True,
            corrections=desk.reader.corrections_of(frame),
            who=desk.who,
        ),
    }


async def _listen(socket: WebSocket, caller: Caller, watching: _Watching) -> None:
    """What the page asks for while it is told; ends when the page goes."""
    desk: Desk = socket.app.state.desk
    try:
        while True:
            said = _message(await socket.receive_text())
            word = desk.people.word(said["watch"]) if isinstance(said.get("watch"), str) else None
            if word and not caller.may(READ_PERSON):
                raise _Leave(NOT_ALLOWED)
            if word:
                await asyncio.to_thread(desk.saw, caller, "watch", word)
            watching.subscriber, watching.told = word or 0, b""
    except WebSocketDisconnect:
        return


async def _until_gone(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive()
            if socket.client_state is WebSocketState.DISCONNECTED:
                return
    except (WebSocketDisconnect, RuntimeError):
        return


@asynccontextmanager
async def _admitted(socket: WebSocket, route: str, right: Right = WATCH) -> AsyncIterator[Caller]:
    """Accept the socket for a caller who has the right; close it politely whatever ends it."""
    desk: Desk = socket.app.state.desk
    try:
        caller = _let_in(await _admit(socket), right)
        with desk.metrics.sockets.labels(route).track_inprogress():
            yield caller
    except WebSocketDisconnect:
        return
    except _Leave as leave:
        await _close(socket, leave.code)
    except TimeoutError:
        await _close(socket, TOO_SLOW)
    else:
        await _close(socket, 1000)


def _let_in(caller: Caller | None, right: Right) -> Caller:
    """The caller, if there is one who has the right."""
    if caller is None:
        raise _Leave(NOT_SIGNED_IN)
    if not caller.may(right):
        raise _Leave(NOT_ALLOWED)
    return caller


async def _admit(socket: WebSocket) -> Caller | None:
    """The caller behind a socket, which is accepted; None when nobody valid stands behind it."""
    access: Access = socket.app.state.desk.access
    offered = [each.strip() for each in socket.headers.get("sec-websocket-protocol", "").split(",")]
    await socket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return access.by_token(token.strip())
    for each in offered:
        if each.startswith("bearer."):
            return access.by_token(each.removeprefix("bearer."))
    secret = socket.cookies.get(SESSION_COOKIE)
    if secret is not None:
        return access.by_session(secret) if _own_page(socket) else None
    try:
        said = _message(await asyncio.wait_for(socket.receive_text(), FIRST_MESSAGE_S))
    except TimeoutError:
        return None
    return access.by_token(said["token"]) if isinstance(said.get("token"), str) else None


def _own_page(socket: WebSocket) -> bool:
    """Whether our own page opens the socket: a browser sends cookies along for any page, but names its origin."""
    return urlsplit(socket.headers.get("origin", "")).netloc == socket.headers.get("host", "")


def _message(text: str) -> dict[str, Any]:
    if len(text) > MESSAGE_OCTETS_MAX:
        raise _Leave(1009)
    try:
        said = orjson.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise _Leave(1003)
    return said


def _still_in(desk: Desk, caller: Caller) -> None:
    if not desk.access.still_in(caller):
        raise _Leave(NOT_SIGNED_IN)


def _send(socket: WebSocket, view: dict[str, Any]) -> Awaitable[None]:
    """Send, or give up on a reader that does not take it for `SEND_S` seconds."""
    return asyncio.wait_for(socket.send_text(orjson.dumps(view, default=str).decode()), SEND_S)


async def _close(socket: WebSocket, code: int) -> None:
    if (
        socket.client_state is WebSocketState.CONNECTED
        and socket.application_state is WebSocketState.CONNECTED
    ):
        await socket.close(code)
