"""Words about alarms that more than one step of the network uses: kinds of events, and what may hold an alarm back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

EVENT_TYPES = (
    "",
    "communicationsAlarm",
    "processingErrorAlarm",
    "environmentalAlarm",
    "qualityOfServiceAlarm",
    "equipmentAlarm",
    "integrityViolation",
    "operationalViolation",
    "physicalViolation",
    "securityServiceOrMechanismViolation",
    "timeDomainViolation",
)  # X.733 8.1.1 and X.736 8.1.1; the numbers are remembered

FREE, MAINTENANCE, FLAPPING, CARRIED = range(4)  # remembered, too
_HELD = {MAINTENANCE: "maintenance:", FLAPPING: "flapping", CARRIED: "carried_by:"}


def held_by(rule: int, name: str) -> str:
    """By which rule an alarm is held back, as it is told: `maintenance:<window>`, `flapping`, `carried_by:<object>`."""
    return _HELD[rule] + (name if rule != FLAPPING else "") if rule else ""


def on_the_map(told: pl.Expr) -> pl.Expr:
    """Whether an alarm of which `held_by` is told so is drawn: planned work and what comes and goes are not.

    What is dark behind a cut is: that somebody else's alarm explains it gives its customers no service.
    """
    text = told.fill_null("")
    return (text == "") | text.str.starts_with(_HELD[CARRIED])


def held_numbers(told: pl.Series) -> npt.NDArray[Any]:
    """The number of the rule in each text that `held_by` has made."""
    texts = told.fill_null("")
    numbers = np.zeros(len(texts), np.uint8)
    for number, beginning in _HELD.items():
        numbers[texts.str.starts_with(beginning).to_numpy()] = number
    return numbers
