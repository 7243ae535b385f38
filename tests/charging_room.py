"""The platform's charging steps, driven from tests as an engine drives them: batch after batch, with their state.

What an engine does with the rows (storing, committing, crashing) is tested elsewhere; here only the rules of the trade
are at work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from tests.opinion.pricing import Use
from trunkline.charging import alerts, balances, movements, rate
from trunkline.charging.tariffs.catalogue import Catalogue, Register
from trunkline.charging.tariffs.compiling import compile_catalogue
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.identity import session_keys
from trunkline.kernel.members import NOBODY, Members
from trunkline.records.charging import (
    ACCOUNT_ROW,
    ACCOUNTS,
    ALARMED,
    ALERTS,
    CHARGED,
    ENTRIES,
    MOVEMENTS,
    NEVER_S,
    SUBSCRIBERS,
    Cause,
    RowKind,
)
from trunkline.records.usage import METERED, REJECTED, Direction, Kind, Report

ENROLLED = 1_000_000  # subscribers are loaded before the first use, which has number 0
NOTHING_REGISTERED = Register({}, {}, {}, {})


def metered(uses: Sequence[Use], members: Members = NOBODY) -> pl.DataFrame:
    """Uses as the rating step receives them."""
    placed = {each: members.account_of(to_key(each)) for each in {use.subscriber for use in uses}}
    rows = [
        {
            "file": 0,
            "line": use.seq,
            "offset": 0,
            "length": 0,
            "source": use.source,
            "record_id": use.record_id,
            "identity": use.seq,
            "check": 0,
            "payload": 0,
            "kind": int(Kind[use.kind.upper()]),
            "direction": int(Direction[use.direction.upper()]),
            "report": 0 if not use.session else int(Report.LAST if use.last else Report.PARTIAL),
            "part": use.part,
            "session": use.session or None,
            "session_start_us": use.begun_us or use.start_us,
            "subscriber": placed[use.subscriber][0],
            "member": placed[use.subscriber][1],
            "calling": to_key(use.calling),
            "called": to_key(use.called),
            "start_us": use.start_us,
            "duration_ms": use.units if use.kind == "voice" else 0,
            "octets_up": 0,
            "octets_down": use.units if use.kind == "data" else 0,
            "events": use.units if use.kind not in ("voice", "data") else 0,
            "amount_micros": use.amount_micros,
            "currency": use.currency or None,
            "visited_plmn": use.visited_plmn,
            "slice": use.slice,
            "five_qi": use.five_qi,
            "service": use.service or None,
            "session_key": int(session_keys(use.source, pl.Series([use.session]))[0]) if use.session else 0,
            "units": use.units,
        }
        for use in uses
    ]
    seq = pl.Series("seq", [use.seq for use in uses], dtype=pl.Int64)
    known = {name: dtype for name, dtype in METERED.record.schema.items() if not rows or name in rows[0]}
    return METERED.record.conform(pl.DataFrame(rows, schema=known)).with_columns(seq)


@lru_cache(maxsize=8)
def _compiled(files: tuple[tuple[str, str], ...]) -> Catalogue:
    """The catalogue of a tariff directory; tests compare platforms under one tariff, and it is only read."""
    return compile_catalogue(dict(files), NOTHING_REGISTERED)[0]


@dataclass
class Platform:
    """A catalogue and the accounts charged under it."""

    catalogue: Catalogue
    files: Mapping[str, str] = field(default_factory=dict)
    accounts: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)
    alarmed: dict[int, np.ndarray[Any, Any]] = field(default_factory=dict)
    charged: list[pl.DataFrame] = field(default_factory=list)
    entries: list[pl.DataFrame] = field(default_factory=list)
    alerts: list[pl.DataFrame] = field(default_factory=list)
    rejected: list[pl.DataFrame] = field(default_factory=list)

    @classmethod
    def under(cls, files: Mapping[str, str]) -> Platform:
        """An empty platform under a tariff directory given by file name."""
        return cls(_compiled(tuple(files.items())), files)

    def enrol(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Load subscribers: `subscriber`, `plan`, and optionally `from_s`, `time_zone`, `cycle_day`, amounts, owner."""
        rows = list(rows)
        self._join((row["subscriber"], row["owner"]) for row in rows if row.get("owner"))
        placed = [self.catalogue.members.account_of(to_key(row["subscriber"])) for row in rows]
        frame = pl.DataFrame(
            [
                {
                    "seq": at - ENROLLED,
                    "subscriber": placed[at][0],
                    "member": placed[at][1],
                    "number": to_key(row["subscriber"]) if placed[at][1] else 0,
                    "limits": [
                        {"balance": name, "most": most} for name, most in row.get("limits", {}).items()
                    ],
                    "plan": row["plan"],
                    "from_s": row.get("from_s", 0),
                    "payment": row.get("payment", "prepaid"),
                    "credit_limit_micros": row.get("credit_micros", 0),
                    "time_zone": row.get("time_zone"),
                    "cycle_day": row.get("cycle_day", self.catalogue.default_cycle_day),
                    "balance_micros": row.get("opening_micros", 0),
                }
                for at, row in enumerate(rows)
            ],
            schema=SUBSCRIBERS.record.schema,
        ).sort(pl.col("member") != 0, maintain_order=True)
        outcome = movements.enrol(frame, self._state(self.accounts, frame, ACCOUNTS.dtype), self.catalogue)
        self._keep(self.accounts, outcome.state)
        self.entries.extend(outcome.rows)

    def _join(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Give new members the next numbers of their owner's account."""
        known = self.catalogue.members
        rows = list(zip(known.words.tolist(), known.owners.tolist(), known.numbers.tolist(), strict=True))
        for member, owner in dict.fromkeys(pairs):
            word, account = to_key(member), to_key(owner)
            if word not in [each for each, _, _ in rows]:
                rows.append((word, account, 1 + sum(each == account for _, each, _ in rows)))
        self.catalogue = replace(self.catalogue, members=Members.of(rows))

    def open(
        self, subscriber: str, balance: str, value: int, until_s: int | None = None, *, own: bool = True
    ) -> None:
        """Put a balance into an account as it stands, without a movement; a member's own, or one that all share."""
        key, member = self.catalogue.members.account_of(to_key(subscriber))
        row = np.zeros(1, ACCOUNT_ROW)
        row["kind"] = RowKind.BALANCE
        row["definition"] = self.catalogue.balances.index(balance)
        row["value"] = row["granted"] = value
        row["valid_until_s"] = NEVER_S if until_s is None else until_s
        row["member"] = member if own else 0
        self.accounts[key] = np.concatenate([self.accounts.get(key, np.empty(0, ACCOUNT_ROW)), row])

    def charge(self, uses: Sequence[Use]) -> None:
        """One batch through rate, charge and watch."""
        batch = metered(uses, self.catalogue.members)
        state = self._state(self.accounts, batch, ACCOUNTS.dtype)
        rated, rejected = rate.rate(batch, state, self.catalogue).rows
        outcome = balances.charge(rated, state, self.catalogue)
        charged, entries, changes, blocked = outcome.rows
        self._keep(self.accounts, outcome.state)
        self._watch(changes)
        assert len(charged) + len(rejected) + len(blocked) == len(uses), "a record got lost"
        self.charged.append(charged)
        self.entries.append(entries)
        self.rejected += [rejected, blocked]

    def post(
        self,
        subscriber: str,
        balance: str,
        amount: int,
        seq: int,
        cause: Cause = Cause.TOPUP,
        until_s: int = NEVER_S,
    ) -> str:
        """One movement through post and watch; the reason when it is refused."""
        order = {
            "seq": seq,
            "movement_id": f"m{seq}",
            "cause": int(cause),
            "subscriber": to_key(subscriber),
            "time_us": 0,
            "balance": balance,
            "amount": amount,
            "valid_until_s": until_s,
        }
        frame = pl.DataFrame([order], schema=MOVEMENTS.record.schema)
        outcome = movements.post(frame, self._state(self.accounts, frame, ACCOUNTS.dtype), self.catalogue)
        entries, changes, refused = outcome.rows
        self._keep(self.accounts, outcome.state)
        self._watch(changes)
        self.entries.append(entries)
        return "" if refused.is_empty() else str(refused["reason"][0])

    def _watch(self, changes: pl.DataFrame) -> None:
        outcome = alerts.watch(changes, self._state(self.alarmed, changes, ALARMED.dtype), self.catalogue)
        self._keep(self.alarmed, outcome.state)
        self.alerts.extend(outcome.rows)

    def value(self, subscriber: str, balance: str) -> int:
        """What is left of a balance, over all its periods and members."""
        owner, _ = self.catalogue.members.account_of(to_key(subscriber))
        rows = self.accounts.get(owner, np.empty(0, ACCOUNT_ROW))
        mine = (rows["kind"] == RowKind.BALANCE) & (
            rows["definition"] == self.catalogue.balances.index(balance)
        )
        return int(rows["value"][mine].sum())

    def table(self, name: str) -> pl.DataFrame:
        """Everything that was written to one stream."""
        streams = {"charged": CHARGED, "entries": ENTRIES, "alerts": ALERTS, "rejected": REJECTED}
        frames: list[pl.DataFrame] = getattr(self, name)
        return pl.concat([streams[name].record.empty(), *frames], how="vertical_relaxed")

    def _state(
        self, held: dict[int, np.ndarray[Any, Any]], batch: pl.DataFrame, dtype: np.dtype[Any]
    ) -> Grouped:
        keys = sorted(set(batch["subscriber"].to_list()))
        groups = [held.get(key, np.empty(0, dtype)) for key in keys]
        offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
        rows = np.concatenate([np.empty(0, dtype), *groups])
        return Grouped(np.array(keys, np.uint64), offsets, rows)

    def _keep(self, held: dict[int, np.ndarray[Any, Any]], state: Grouped | None) -> None:
        for key in state.keys if state is not None else ():
            assert state is not None
            held[int(key)] = state.rows_of(int(key)).copy()
