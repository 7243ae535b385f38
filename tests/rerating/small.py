"""A small operator whose tariff was wrong: charged by the real engine, put right later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from tests.billing import small
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.platform import Platform, opened
from trunkline.bootstrap.reconcile import reconcile
from trunkline.bootstrap.rerating import FolderRerates
from trunkline.kernel.flow import Stream
from trunkline.records.charging import CHARGED, CORRECTIONS, ENTRIES
from trunkline.settings import Folders
from trunkline.stores.embedded.reader import EmbeddedReader

FROM_US, UNTIL_US = -(2**62), 2**62
NOW_US = small.NOVEMBER_US
# What was wrong: the price of a minute, that of data, and what is included.
CORRECTED = (
    ('price: "0.1234"', 'price: "0.0999"'),
    ('price: "0.0031"', 'price: "0.0047"'),
    ("grant: 10m", "grant: 25m"),
)


def tariff(folder: Path, *, right: bool) -> Path:
    """The tariff's folder, as it was or as it should have been."""
    tariffs = small.write(folder)
    if right:
        path = tariffs / "operator.yaml"
        text = path.read_text()
        for wrong, better in CORRECTED:
            assert wrong in text
            text = text.replace(wrong, better)
        path.write_text(text)
    return tariffs


@contextmanager
def rerating(folder: Path, *, right: bool, at_once: int = 5) -> Iterator[tuple[Platform, FolderRerates]]:
    """The platform under one of both tariffs, and its re-ratings, in a folder that may have been used before."""
    tariffs = tariff(folder, right=right)
    with opened(Folders(data=folder / "data", tariffs=str(tariffs))) as platform:
        yield (
            platform,
            FolderRerates(
                folder / "data",
                lambda: platform.catalogue,
                platform.mappings,
                platform.engine,
                lambda: NOW_US,
                at_once=at_once,
            ),
        )


def charged(folder: Path, *, right: bool, first: int = 1, last: int = 31) -> None:
    """Charge October under one of both tariffs."""
    with rerating(folder, right=right) as (platform, _):
        small.charge(platform, folder / f"{first}.ndjson", small.records(first, last))


def reconciled(folder: Path) -> dict[str, Any]:
    """What reconciliation finds under the tariff that the folder was given last."""
    data = folder / "data"
    return reconcile(EmbeddedReader(data), load_catalogue(data, None), load_mappings())


def balances(folder: Path) -> list[tuple[int, ...]]:
    """Every row of every account that is worth something: key, kind, definition, period, end, value."""
    groups = EmbeddedReader(folder / "data").accounts()
    found = []
    for key in groups.keys.tolist():
        for row in groups.rows_of(key):
            if row["value"] or row["kind"] == 1:
                fields = ("kind", "definition", "period", "valid_until_s", "value")
                found.append((key, *(int(row[name]) for name in fields)))
    return sorted(found)


def history(folder: Path, stream: Stream = CHARGED) -> pl.DataFrame:
    """All rows of a stream."""
    parts = list(EmbeddedReader(folder / "data").scan(stream, -(2**62), 2**62))
    return pl.concat([stream.record.empty(), *parts]).sort("seq")


def entries(folder: Path) -> pl.DataFrame:
    """The ledger."""
    return history(folder, ENTRIES)


def corrections(folder: Path) -> pl.DataFrame:
    """What was corrected."""
    return history(folder, CORRECTIONS)
