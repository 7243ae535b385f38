"""What can be chosen about the HTTP side; bootstrap fills it in from the settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ApiOptions:
    """Secure as it stands: loopback names only, notifications to loopback only, nothing kept across restarts."""

    # Host names under which we answer; any other is refused, so that a foreign page cannot rebind a name to us.
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")
    # The address that other systems see, such as https://charging.example; empty takes it from each request.
    public_url: str = ""
    # Largest body of one request, after decompression.
    body_octets_max: int = 16 * 1024 * 1024
    # Networks that notifications may be sent to besides loopback, such as 10.1.0.0/16.
    notify_networks: tuple[str, ...] = ()
    # File that keeps registered addresses, notifications not yet delivered, and the key of references; empty
    # keeps them in memory, and then ids that other systems remember die with the process.
    notices_path: str = ""
    # Secret behind the references that stand for subscribers in addresses; empty takes the kept one.
    reference_key: bytes = b""
    # How often the page is told what happens.
    live_period_s: float = 1.0
    # How long a new usage record may take until it is visible, before POST /usage answers "received" instead.
    usage_wait_s: float = 1.0
