"""What answers of reservations share, whichever API asks."""

from __future__ import annotations

from trunkline import ports
from trunkline.api.desk import Desk
from trunkline.api.problems import Problem


def reservations_of(desk: Desk) -> ports.Reservations:
    """What is set apart and promised; a problem where this process does no online charging."""
    if desk.reservations is None:
        raise Problem(
            501,
            "no_reservations",
            "Reservations are kept by online charging, which this process does not do: set TRUNKLINE_ONLINE_PORT.",
        )
    return desk.reservations


def not_reserved(error: ports.NotReserved) -> Problem:
    """Why nothing was set apart or given back, as an answer."""
    return Problem(503 if error.reason == "no_answer" else 409, error.reason, str(error))
