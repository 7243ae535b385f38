"""The bill as tests ask for it: of a platform in memory, and its lines in the words of the second opinion."""

from __future__ import annotations

import numpy as np
import polars as pl

from tests.charging_room import Platform
from trunkline.charging.bills.bill import bills
from trunkline.charging.bills.cycles import LAST_BILLS, cycles
from trunkline.kernel.grouped import Grouped
from trunkline.records.bills import Charge, Section
from trunkline.records.charging import ACCOUNT_ROW

KEY = b"a key of the tests"


def grouped(platform: Platform) -> Grouped:
    """All accounts of a platform."""
    keys = sorted(platform.accounts)
    groups = [platform.accounts[key] for key in keys]
    offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
    return Grouped(np.array(keys, np.uint64), offsets, np.concatenate([np.empty(0, ACCOUNT_ROW), *groups]))


def billed(
    platform: Platform, period: int, *, cut_seq: int = 2**40, last: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The bills of a period."""
    before = pl.DataFrame(schema=LAST_BILLS) if last is None else last.select(LAST_BILLS.names())
    due = cycles(grouped(platform), before, platform.catalogue, period)
    usage, entries = platform.table("charged"), platform.table("entries")
    return bills(due, usage, entries, platform.catalogue, period, cut_seq, 0, KEY)


def told(bill: dict[str, object]) -> list[tuple[str, str, str, int, int]]:
    """A bill's lines: section, charge, name, amount, tax."""
    lines = bill["lines"]
    assert isinstance(lines, list)
    return [
        (
            Section(line["section"]).name.lower(),
            Charge(line["charge"]).name.lower() if line["charge"] else "",
            line["name"],
            line["amount_micros"],
            line["tax_micros"],
        )
        for line in lines
    ]
