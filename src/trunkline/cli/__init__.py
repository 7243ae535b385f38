"""The command line: `trunkline --help` is a tour of what can be done.

Every command takes `--json` and ends with one of the exit codes below; every error says what to do next.
"""

from __future__ import annotations

import sys

from trunkline.cli import (
    bill,
    brokers,
    calls,
    causes,
    cluster,
    delivery,
    keeping,
    keyspace,
    money,
    network,
    network_people,
    publishing,
    rerating,
    reservations,
    running,
    serving,
    setting_aside,
    shadow,
    sites,
    tariffs,
    vouchers,
    what_if,
)
from trunkline.cli.app import EXIT_CODES, app, failed

__all__ = [
    "EXIT_CODES",
    "app",
    "bill",
    "brokers",
    "calls",
    "causes",
    "cluster",
    "delivery",
    "keeping",
    "keyspace",
    "main",
    "money",
    "network",
    "network_people",
    "publishing",
    "rerating",
    "reservations",
    "running",
    "serving",
    "setting_aside",
    "shadow",
    "sites",
    "tariffs",
    "vouchers",
    "what_if",
]


def main() -> None:
    """Run a command; trouble becomes a sentence and an exit code, never a trace."""
    try:
        app(standalone_mode=True)
    except Exception as error:  # noqa: BLE001 -- the last place where trouble can be told in words
        sys.exit(failed(error))
