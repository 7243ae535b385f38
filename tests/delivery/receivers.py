"""Receivers on loopback that remember what they were told, and can be told how to answer."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Told:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpReceiver:
    """What came, and what is answered: `answer` is given each request and gives a status and headers."""

    url: str = ""
    told: list[Told] = field(default_factory=list)
    answer: Callable[[Told], tuple[int, dict[str, str]]] = lambda _told: (204, {})
    hang: threading.Event = field(default_factory=threading.Event)  # set it to let go of those who hang


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    """A receiver of webhooks and text messages, for as long as it is needed."""
    state = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told = Told(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            state.told.append(told)
            status, headers = state.answer(told)
            if status == 0:
                state.hang.wait(60)
                return
            while (
                status < 0 and not state.hang.is_set()
            ):  # it drips, one sign at a time, and never comes to an end
                self.wfile.write(b"H")
                state.hang.wait(0.02)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/alerts"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.hang.set()
        server.shutdown()
        server.server_close()


@dataclass
class MailReceiver:
    """Mails that came; `refuse` maps a command to what is answered instead of yes."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    logins: list[tuple[bytes, bool]] = field(default_factory=list)  # what was said, and whether over TLS


@contextmanager
def mail_receiver(context: ssl.SSLContext | None = None, *, later: bool = False) -> Iterator[MailReceiver]:
    """A relay that speaks as much of RFC 5321 as a client needs; over TLS at once, or `later`, when it is asked to."""
    state = MailReceiver()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if context is not None and not later:
                self._encrypt()
            self._say("220 relay.test")
            while line := self.rfile.readline():
                verb = line.split(b":")[0].split()[0].decode().upper()
                if verb in state.refuse:
                    self._say(state.refuse[verb])
                elif verb == "EHLO":
                    safe = isinstance(self.connection, ssl.SSLSocket)
                    self._say("250-relay.test")
                    self._say(
                        "250 STARTTLS" if context is not None and later and not safe else "250 AUTH PLAIN"
                    )
                elif verb == "STARTTLS":
                    self._say("220 begin")
                    self._encrypt()
                elif verb == "AUTH":
                    state.logins.append((line, isinstance(self.connection, ssl.SSLSocket)))
                    self._say("235 come in")
                elif verb == "DATA":
                    self._say("354 go on")
                    self._take()
                elif verb == "QUIT":
                    self._say("221 bye")
                    return
                else:
                    if verb == "RCPT":
                        state.recipients.append(line.decode().partition("<")[2].partition(">")[0])
                    self._say("250 fine")

        def _encrypt(self) -> None:
            assert context is not None
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)

        def _take(self) -> None:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            mail = message_from_bytes(b"".join(lines), policy=policy.default)
            assert isinstance(mail, EmailMessage)
            state.mails.append(mail)
            self._say("250 taken")

        def _say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
