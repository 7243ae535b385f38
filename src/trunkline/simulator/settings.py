"""What the demonstration operator is made of: every choice that changes a byte of its output, and the chance it rolls.

Two runs with equal settings write equal bytes. So all chance comes from here, in streams that are named by
what they decide and by the hour they decide it for; nothing else in the simulator may ask for a random number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import date
from enum import IntEnum
from typing import Any

import numpy as np


def setting(default: Any, doc: str) -> Any:  # noqa: ANN401 -- the field's own annotation says the type
    """A field with its sentence, from which `--help` and the reference are made."""
    return field(default=default, metadata={"doc": doc})


FIRST_DAY = date(2026, 11, 2)


@dataclass(frozen=True)
class Settings:
    """The size of the operator, its calendar, and how often its switches misbehave."""

    seed: int = setting(1, "Number from which all chance follows; the same settings write the same bytes.")
    subscribers: int = setting(5_000, "People and machines with a number of this operator.")
    cells: int = setting(200, "Radio cells, placed around real cities by population.")
    hours: int = setting(24, "Length of the simulated time in hours; usage that begins in it is written.")
    start: date = setting(FIRST_DAY, "First day; it begins at local midnight of the country.")  # noqa: RUF009 -- it makes a field
    country: str = setting(
        "DE", "ISO code of the country whose cities are used; numbers are always invented."
    )
    machines: float = setting(0.08, "Share of the subscribers that are meters, vehicles and robots.")
    roamers: float = setting(0.03, "Share of the people who are abroad for a part of the time.")
    duplicates: float = setting(0.0, "Share of the records that come a second time, the same to the letter.")
    late: float = setting(0.0, "Share of the records that arrive five minutes to three days late.")
    corrupt: float = setting(0.0, "Share of the records whose line is damaged, so that it must be rejected.")
    conflicts: float = setting(
        0.0, "Share of the records followed by another that has their id but says something else."
    )
    out_of_order: float = setting(
        0.0, "Share of the records overtaken by others for half a minute to ten minutes."
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated, all mistakes at once."""
        mistakes = [
            f"{name} must be at least {lowest}"
            for name, lowest in (("seed", 0), ("subscribers", 1), ("cells", 1), ("hours", 1))
            if getattr(self, name) < lowest
        ]
        if self.subscribers > SUBSCRIBERS_MOST:
            mistakes.append(
                f"subscribers must be at most {SUBSCRIBERS_MOST}: the invented numbering range ends there"
            )
        if self.cells > CELLS_MOST:
            mistakes.append(f"cells must be at most {CELLS_MOST}")
        mistakes += [
            f"{name} must be between 0 and 1"
            for name in ("machines", "roamers", *FAULT_SETTINGS)
            if not 0.0 <= getattr(self, name) <= 1.0
        ]
        if sum(getattr(self, name) for name in FAULT_SETTINGS) > 1.0:
            mistakes.append(
                f"{', '.join(FAULT_SETTINGS)} must not exceed 1 together: a record has one fault at most"
            )
        if mistakes:
            raise ValueError("; ".join(mistakes))


SUBSCRIBERS_MOST = 50_000_000
CELLS_MOST = 9_999
FAULT_SETTINGS = ("duplicates", "late", "corrupt", "conflicts", "out_of_order")

# What `trunkline run --demo` switches on: enough of each fault to be seen within a minute.
LIVELY_FAULTS: dict[str, Any] = {
    "duplicates": 0.004,
    "late": 0.003,
    "corrupt": 0.001,
    "conflicts": 0.0003,
    "out_of_order": 0.01,
}


class Purpose(IntEnum):
    """What a stream of chance decides; the numbers are part of the output and never change."""

    CELLS = 1
    PEOPLE = 2
    FRIENDS = 3
    VOICE = 4
    SMS = 5
    DATA = 6
    IOT = 7
    CONTENT = 8
    FAULTS = 9
    DAMAGE = 10
    BENCH = 11
    NETWORK = 12
    NETWORK_FAULTS = 13
    NETWORK_NOISE = 14


def chance(seed: int, purpose: Purpose, *keys: int) -> np.random.Generator:
    """The stream of chance for one purpose (and hour); streams do not depend on each other."""
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence([seed, int(purpose), *keys])))


def describe(settings: Settings) -> dict[str, Any]:
    """The settings as plain values, as the summary records them."""
    values = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return values | {"start": settings.start.isoformat()}
