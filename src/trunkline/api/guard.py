"""What every request passes first: the host it names, the headers it leaves with, and the line it leaves in the log."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trunkline.api.metrics import Metrics
from trunkline.api.options import ApiOptions
from trunkline.api.problems import Problem, answer

log = logging.getLogger("trunkline.http")

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_BAD_HOST = Problem(
    421, "unknown_host", "We do not answer under this host name. Add it to the settings if it is one of ours."
)


class Guard:
    """ASGI middleware, written plainly so that streams and sockets pass through untouched."""

    def __init__(self, app: ASGIApp, options: ApiOptions, metrics: Metrics) -> None:
        """Stand before `app`."""
        self.app = app
        self.hosts = frozenset(host.lower() for host in options.hosts)
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, pass on, write down."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if host_name(Headers(scope=scope).get("host", "")) not in self.hosts:
            await self._refuse(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        await self._serve(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "unknown host"})
            return
        await answer(_BAD_HOST)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s, status, begun = time.perf_counter(), 500, False

        async def send_on(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                begun, status = True, message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, send_on)
        except Exception:
            log.exception("a request failed", extra={"route": _route(scope)})
            if begun:
                raise
            await answer(_OUR_MISTAKE)(scope, receive, send_on)
        finally:
            self._write_down(scope, status, time.perf_counter() - began_s)

    def _write_down(self, scope: Scope, status: int, took_s: float) -> None:
        route = _route(scope)
        method = scope["method"] if scope["method"] in _METHODS else "(other)"
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(took_s)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self.metrics.busy.inc()
        caller = scope.get("state", {}).get("caller")
        log.info(
            "request",
            extra={
                "method": method,
                "route": route,
                "status": status,
                "took_ms": round(took_s * 1000, 1),
                "caller": caller.name if caller else "",
            },
        )


_OUR_MISTAKE = Problem(
    500, "our_mistake", "This is our mistake, not yours; the log holds the details. Trying again may help."
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _route(scope: Scope) -> str:
    """The pattern of the address, which holds nobody's number."""
    return getattr(scope.get("route"), "path", "") or "(none)"


def host_name(header: str) -> str:
    """The name in a Host header, without its port and brackets, in small letters."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
