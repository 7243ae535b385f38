"""Calls under way over all accounts, a stretch of accounts at a time, whoever asks."""

from __future__ import annotations

import numpy as np

from trunkline import ports
from trunkline.charging.under_way import OpenCall, open_calls
from trunkline.records.charging import RowKind

AT_ONCE = 20_000  # accounts that are read together
MOST_READ = 200_000  # and for one answer: whoever asks goes on behind them


def calls_after(
    reader: ports.Reader, after: int, limit: int, *, only_missing: bool = False
) -> tuple[list[tuple[int, OpenCall]], int | None]:
    """Calls of accounts above `after`, with whose account it is, and where to go on; None behind the last account.

    An account is told whole: there are fewer than `limit` calls only where the accounts end or many have none.
    """
    found: list[tuple[int, OpenCall]] = []
    for _ in range(MOST_READ // AT_ONCE):
        accounts = reader.accounts_after(after, AT_ONCE)
        of_calls = np.flatnonzero(accounts.rows["kind"] == RowKind.CALL)
        for at in np.unique(np.searchsorted(accounts.offsets, of_calls, side="right") - 1).tolist():
            after = int(accounts.keys[at])
            rows = accounts.rows[int(accounts.offsets[at]) : int(accounts.offsets[at + 1])]
            found += [(after, call) for call in open_calls(rows) if call.missing or not only_missing]
            if len(found) >= limit:
                return found, after
        if len(accounts) < AT_ONCE:
            return found, None
        after = int(accounts.keys[-1])
    return found, after
