"""A small operator whose months are over: with all that bills know, charged embedded and ready for a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.billing import small

MONTH, NEXT = 202410, 202411
DEARER = ('minute: {price: "0.1234"', 'minute: {price: "0.1934"')


@dataclass(frozen=True)
class Operator:
    """Its tariff, and what its switches told in October, later of October, and in November."""

    tariffs: Path
    october: list[bytes]
    late: list[bytes]
    november: list[bytes]

    def draft(self, folder: Path) -> Path:
        """A draft in which calls cost more."""
        folder.mkdir(parents=True)
        for path in self.tariffs.glob("*.yaml"):
            text = path.read_text()
            (folder / path.name).write_text(text.replace(*DEARER))
        return folder


def operator(folder: Path) -> Operator:
    """The operator of the bills' tests, two years earlier: so its periods are over for every clock on the wall."""
    tariffs = small.write(folder)
    for path in tariffs.iterdir():
        path.write_text(path.read_text().replace("2026-", "2024-"))
    return Operator(tariffs, lines(1, 28), lines(29, 31), lines(1, 20, 11))


def lines(first_day: int, last_day: int, month: int = 10) -> list[bytes]:
    """Usage of some days, a line a record."""
    found = (orjson.dumps(record) for record in small.records(first_day, last_day, month))
    return [line.replace(b"2026-", b"2024-") for line in found]
