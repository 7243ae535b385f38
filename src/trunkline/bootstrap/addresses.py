"""Addresses that we listen on: whether they stay on this machine, and taking them."""

from __future__ import annotations

import ipaddress
import socket

from trunkline.ports import Refused

BACKLOG = 2048  # connections that wait until they are taken


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bound(host: str, port: int, advice: str) -> socket.socket:
    """A socket that listens on an address, so that who comes early waits; raises `Refused`, with the advice."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        raise Refused(f"{host}:{port} is taken ({error.strerror}). {advice}") from error
    return taken
