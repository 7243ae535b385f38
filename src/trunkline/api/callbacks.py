"""Addresses that others ask us to call: never anywhere but where the settings let us go.

A name is resolved once, every address behind it is judged, and the very address that was judged is called, so that a
name that leads elsewhere a moment later leads nowhere.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from trunkline.api.problems import Problem

PATIENCE_S = 5.0
LONGEST_S = 30.0  # of a whole answer, however it drips
_REFUSED = (
    "The callback must be an http or https address that leads to this machine, "
    "or into a network that the setting for notifications names."
)


@dataclass(frozen=True)
class Answered:
    """What came back from an address: the status, and after how many seconds to come again (0: not said)."""

    status: int
    retry_after_s: int = 0


class Callbacks:
    """What may be called besides this machine itself: addresses in `networks`, and the very ones that are trusted."""

    def __init__(self, networks: Sequence[str], trusted: Sequence[str] = ()) -> None:
        """Name the networks, such as 10.1.0.0/16; trusted is what the settings themselves name, over TLS."""
        self._networks = [ipaddress.ip_network(each) for each in networks]
        self._trusted = frozenset(each for each in trusted if each.startswith("https://"))

    def allowed(self, callback: str) -> tuple[str, int]:
        """Address and port behind a callback, when every address of its name may be reached; answers 400 otherwise."""
        refused = Problem(400, "callback_not_allowed", _REFUSED)
        try:
            parts = urlsplit(callback)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise refused from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise refused
        try:
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise refused from error
        addresses = [str(each[4][0]) for each in found]
        trusted = callback in self._trusted
        if not addresses or not (trusted or all(self._reachable(address) for address in addresses)):
            raise refused
        return addresses[0], port

    def connected(self, callback: str, protocols: Sequence[str] = ()) -> socket.socket:
        """A line to the address behind a callback, with TLS where it asks for it (`protocols`: for ALPN)."""
        parts = urlsplit(callback)
        plain = socket.create_connection(self.allowed(callback), PATIENCE_S)
        if parts.scheme != "https":
            return plain
        context = ssl.create_default_context()
        if protocols:
            context.set_alpn_protocols(list(protocols))
        try:
            return context.wrap_socket(plain, server_hostname=parts.hostname or "")
        except BaseException:
            plain.close()
            raise

    def post(self, callback: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        """Send one body to the very address that was judged, and follow nothing.

        Raises `Problem` where it may not be called, and `OSError` or `HTTPException` when nobody answers.
        """
        parts = urlsplit(callback)
        line = self.connected(callback)
        line.settimeout(PATIENCE_S)
        connection = http.client.HTTPConnection(parts.hostname or "", timeout=PATIENCE_S)
        connection.sock = line
        cutting = threading.Timer(LONGEST_S, _cut, [line])
        cutting.daemon = True
        cutting.start()
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", target, body, {"Host": parts.netloc, **headers})
            answer = connection.getresponse()
            after = answer.headers.get("Retry-After", "")
            return Answered(answer.status, int(after) if after.isascii() and after.isdigit() else 0)
        finally:
            cutting.cancel()
            connection.close()

    def _reachable(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or any(address in network for network in self._networks)


def _cut(line: socket.socket) -> None:
    """End a line that another thread waits on; it then finds the other side gone."""
    with suppress(OSError):  # it may be over already
        socket.socket.shutdown(line, socket.SHUT_RDWR)
