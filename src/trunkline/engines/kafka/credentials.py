"""Passwords that change while clients live: each learns the new one, and uses it at its next connection.

A client of Kafka is told its password once, when it is made. Connections that are open stay open when the password is
changed at the brokers; those that come later would be refused for ever. So whoever holds clients for long looks here
now and then.
"""

from __future__ import annotations

import logging
import time
from typing import Protocol

from trunkline.engines.kafka.client import Server
from trunkline.ports import Refused

log = logging.getLogger(__name__)

LOOK_S = 1.0


class Client(Protocol):
    """A producer, consumer or administrator."""

    def set_sasl_credentials(self, username: str, password: str) -> None:
        """Use these from the next connection on."""


class Credentials:
    """What some clients were told of their account. Who works with them looks; twice tells them the same."""

    def __init__(self, server: Server, *clients: Client) -> None:
        """The clients were made just now, with what the settings said."""
        self._server, self._clients = server, list(clients)
        self._told = self._said()
        self._looked_s = time.monotonic()

    def add(self, client: Client) -> None:
        """Another client, made with the same settings."""
        self._clients.append(client)

    def look(self) -> bool:
        """Tell the clients when the settings say another password, looking at most once a second; whether they do."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return False
        self._looked_s = now_s
        said = self._said()
        if said is None or said == self._told:
            return False
        for client in self._clients:
            client.set_sasl_credentials(*said)
        self._told = said
        return True

    def _said(self) -> tuple[str, str] | None:
        """Account and password; None where there is none, or while the file is being replaced."""
        try:
            properties = self._server.properties()
        except (OSError, Refused) as error:
            log.warning("the settings of Kafka's client cannot be read: %s", type(error).__name__)
            return None
        user, password = properties.get("sasl.username"), properties.get("sasl.password")
        return (user, password) if user and password else None
