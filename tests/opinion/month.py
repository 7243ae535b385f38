"""A simulated month with copies, conflicts, late and damaged lines, every record agreed by the second opinion.

    python -m tests.opinion.month [SUBSCRIBERS [DAYS [SEED]]]

tells how many records, entries, alerts and balances were compared; it stops at the first that differs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from tests.opinion.test_simulated_days import DAY_HOURS, assert_agreed, charged

BEGINS = date(2026, 10, 15)  # a month with the end of a calendar month and of summer time in it


def main(arguments: list[str]) -> int:
    """Simulate, charge, audit, compare."""
    if len(arguments) > 3 or not all(each.isdigit() for each in arguments):
        print(__doc__, file=sys.stderr)
        return 2
    people, days, seed = (*map(int, arguments), *(100, 31, 21)[len(arguments) :])
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcome = charged(
            Path(folder), True, seed=seed, subscribers=people, cells=20, hours=days * DAY_HOURS, start=BEGINS
        )
        assert_agreed(outcome)
    books = outcome.audit.books
    balances = sum(len(account.balances) for account in books.accounts.values())
    print(
        f"{people} subscribers, {days} days, seed {seed}: {outcome.audit.intake.received:,} records,"
        f" {len(books.ledger):,} entries, {len(books.alerts):,} alerts and {balances:,} balances agreed"
        f" in {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
