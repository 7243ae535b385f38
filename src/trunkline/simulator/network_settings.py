"""What the simulated network's telemetry is made of: every choice that changes a byte of it."""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.simulator.settings import setting


@dataclass(frozen=True)
class NetworkSettings:
    """How often cells report, how much load people bring, and how much goes wrong."""

    period_s: int = setting(30, "Granularity period of the performance counters, in seconds.")
    people_each: float = setting(
        100.0, "Customers that each simulated person stands for in the load of a cell."
    )
    faults: float = setting(1.0, "Multiple of the usual number of network faults; 0 for none.")
    quiet_hours: int = setting(3, "Hours at the beginning in which nothing goes wrong.")
    nuisances: float = setting(20.0, "Warnings without consequence, for each thousand cells a day.")

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated, all mistakes at once."""
        mistakes = []
        if self.period_s < 1 or 3_600 % self.period_s:
            mistakes.append("period_s must divide an hour")
        mistakes += [
            f"{name} must not be below 0"
            for name in ("people_each", "faults", "quiet_hours", "nuisances")
            if getattr(self, name) < 0
        ]
        if mistakes:
            raise ValueError("; ".join(mistakes))
