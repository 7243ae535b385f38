"""Cancelled and corrected records: what was held until its original came is settled, each in the order of its arrival.

A record that takes another one back waits among the held ones, as durable as usage. Settling is a commit of its own:
the reversal's entries, the corrected usage, and that the held record is settled become true at one moment, so that a
kill leaves it waiting or done. What cannot be settled any more is rejected with its reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trunkline import topology
from trunkline.bootstrap.wishes import ACTOR, REMEMBERED_US, WAITING, Wish, read_again
from trunkline.charging.corrections import RECORD, corrected, taken_back
from trunkline.charging.parts import is_part, parts_beside
from trunkline.charging.reversal import reverse
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.embedded.engine import Engine
from trunkline.engines.embedded.files import Block, heading_of
from trunkline.engines.loop import Carried, Carrier
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.identity import identity_of
from trunkline.mediation.mapping import Mapping as Reading
from trunkline.ports import Accounting, Commit, Movement, Settled, SourceFile
from trunkline.records import charging, usage
from trunkline.records.charging import CORRECTIONS, NEVER_S, Cause
from trunkline.stores.embedded.reader import EmbeddedReader

AT_ONCE = 2_000
_ALL = 10**6  # more than one subscriber can use in a record's days


@dataclass(frozen=True)
class Withdrawn:
    """What became of records that take others back."""

    cancelled: int = 0
    corrected: int = 0
    rejected: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class _Caused:
    """What originals and `others` did: usage as its corrections left it, entries and corrections."""

    charged: pl.DataFrame
    entries: pl.DataFrame
    corrections: pl.DataFrame
    others: pl.DataFrame  # the other parts of their calls


class Withdrawals:
    """Settles what waits for its original. Any thread but the engine's own may call; one at a time does it."""

    def __init__(
        self,
        data: Path,
        engine: Engine,
        catalogue: Callable[[], Catalogue],
        mappings: Mapping[str, Reading],
        at_once: int = AT_ONCE,
    ) -> None:
        """`engine` is that of the one process that writes to the data folder."""
        self._data, self._engine, self._catalogue, self._mappings = data, engine, catalogue, dict(mappings)
        self._reader, self._at_once = EmbeddedReader(data), at_once
        self._news = threading.Event()
        self._news.set()  # what waited when the process before ended

    # -- while the platform runs ----------------------------------------------------------------------------

    def heard(self, commit: Commit) -> None:
        """Something is durable that may be waited for; called by the engine."""
        if usage.HELD.name in commit.frames or charging.CHARGED.name in commit.frames:
            self._news.set()

    def keep(self, stop: threading.Event, pause_s: float = 0.5) -> None:
        """Settle what can be, again and again, until asked to stop."""
        self._engine.listeners.append(self.heard)
        try:
            while not stop.is_set():
                if self._news.wait(pause_s) and not stop.is_set():
                    self._news.clear()
                    self.settle()
                    stop.wait(pause_s)
        finally:
            self._engine.listeners.remove(self.heard)

    # -- settling -------------------------------------------------------------------------------------------

    def settle(self) -> Withdrawn:
        """Settle all that can be settled now; what became of it, and how many go on waiting."""
        done = Withdrawn()
        if not len(self._reader.waiting(WAITING)):
            return done
        with self._engine.correcting:
            while True:
                # Everything that was carried before this order is durable when it is answered, so it can be read.
                self._engine.order(lambda _engine, _number: (None, None)).result()
                waiting = self._reader.waiting(WAITING)
                before = done
                for part in waiting.iter_slices(self._at_once):
                    done = self._settle_part(part, done)
                if done == before:
                    return replace(done, waiting=len(waiting))

    def _settle_part(self, waiting: pl.DataFrame, done: Withdrawn) -> Withdrawn:
        wishes = list(self._wishes(waiting))
        charged, entries, corrections = self._reader.caused(wish.original for wish in wishes)
        now = corrected(charged, corrections)
        judged = list(self._judged(wishes, now, corrections))
        caused_ = _Caused(now, entries, corrections, charging.CHARGED.record.empty())
        of_parts = set(now.filter(is_part()).select("identity", "check").rows())
        begin = 0
        for at in range(len(judged) + 1):
            wish = judged[at] if at < len(judged) and not judged[at].reason else None
            part = wish is not None and wish.original in of_parts
            if at == len(judged) or (wish is not None and (wish.corrects or part)):
                self._order(judged[begin:at], caused_)
                if wish is not None:
                    self._order([wish], self._with_other_parts(wish) if part else caused_)
                begin = at + 1
        fine = [wish for wish in judged if not wish.reason]
        return replace(
            done,
            cancelled=done.cancelled + sum(not wish.corrects for wish in fine),
            corrected=done.corrected + sum(wish.corrects for wish in fine),
            rejected=done.rejected + len(judged) - len(fine),
        )

    def _wishes(self, waiting: pl.DataFrame) -> Iterator[Wish]:
        """Held records as they were decoded; one that cannot be read any more goes on waiting for a person."""
        rows = waiting.filter(pl.col("mapping").is_in(list(self._mappings)))
        headings = [self._heading(row) for row in rows.iter_rows(named=True)]
        rows = rows.with_columns(pl.Series("header", headings, dtype=pl.Binary))
        by_place = {
            (row["file"], row["line"]): row for row in read_again(rows, self._mappings).iter_rows(named=True)
        }
        for row in rows.drop("header").iter_rows(named=True):
            said = by_place.get((row["file"], row["line"]))
            if said is not None:
                yield Wish(row, said, identity_of(str(said["source"]), said["of"]), said["record_id"])

    def _heading(self, row: Mapping[str, Any]) -> bytes:
        if not self._mappings[row["mapping"]].header_lines or row["kept"] is None:
            return b""
        return heading_of(self._data / row["kept"])

    def _judged(self, wishes: list[Wish], charged: pl.DataFrame, corrections: pl.DataFrame) -> Iterator[Wish]:
        """The wishes that are settled now, each with the reason why it cannot be done, if there is one."""
        reports = {
            (row[0], row[1]): row[2] for row in charged.select("identity", "check", "report").iter_rows()
        }
        before = taken_back(corrections)
        newest_us = self._engine.store.newest_us() or 0
        for wish in wishes:
            judged = wish.judged(reports.get(wish.original), before.get(wish.original), newest_us)
            if judged is not None:
                if not judged.reason:
                    before[wish.original] = wish.reversal_id
                yield judged

    def _with_other_parts(self, wish: Wish) -> _Caused:
        """What a part and the other parts of its call did, as all that was settled before has left it."""
        mine, _, _ = self._reader.caused([wish.original])
        begun_us, subscriber = int(mine["start_us"].item()), int(mine["subscriber"].item())
        usage_ = self._reader.usage(subscriber, begun_us - REMEMBERED_US, begun_us + REMEMBERED_US, _ALL)
        call = parts_beside(usage_, mine)
        charged, entries, corrections = self._reader.caused(call.select("identity", "check").iter_rows())
        others = corrected(charged, corrections).join(mine, on=RECORD, how="anti")
        return _Caused(corrected(mine, corrections), entries, corrections, others)

    # -- carried by the engine ------------------------------------------------------------------------------

    def _order(self, wishes: list[Wish], caused: _Caused) -> None:
        """One commit that settles some wishes: at most one of them is charged anew, or of a part of a call."""
        if wishes:
            self._engine.order(lambda engine, number: self._carry(engine, number, wishes, caused)).result()

    def _carry(
        self, engine: Engine, number: int, wishes: list[Wish], caused: _Caused
    ) -> tuple[Commit | None, None]:
        reversals = self._reversals(
            engine, [wish for wish in wishes if not wish.reason and not wish.done], caused
        )
        carried = Carried()
        if len(reversals):
            carried.join(Carrier(topology.CORRECTING, engine.tables, engine.states).whole(reversals, number))
        counts = []
        for wish in wishes:
            if wish.reason:
                carried.add(usage.REJECTED, wish.refused())
                counts.append(Accounting(wish.said["source"], 1, 0, 0, 1, 0, 0))
            if wish.reason or wish.corrects:
                carried.states.append((usage.SEEN, _forgotten(engine, wish.said, number)))
            if wish.corrects and not wish.reason:
                anew, counted = engine.carry_usage([self._block(wish)], number, _as_usage)
                carried.join(anew)
                counts += counted
        commit = engine.commit_of(
            number,
            carried,
            counts=counts,
            movements=_movements(reversals, self._catalogue()),
            settled=[Settled("held", wish.row["number"], wish.decision, ACTOR) for wish in wishes],
        )
        return replace(commit, frames={**commit.frames, CORRECTIONS.name: reversals}), None

    def _reversals(self, engine: Engine, wishes: list[Wish], caused: _Caused) -> pl.DataFrame:
        """What gives back what the originals took (`CORRECTIONS`), in the order of the wishes, numbered."""
        if not wishes:
            return CORRECTIONS.record.empty()
        now_us = engine.clock_us()
        named = pl.DataFrame(
            [(*wish.original, wish.reversal_id, wish.movement_id, now_us) for wish in wishes],
            schema={
                "identity": pl.UInt64, "check": pl.UInt64, "correction_id": pl.String, "movement_id": pl.String,
                "time_us": pl.Int64,
            },
            orient="row",
        )  # fmt: skip
        originals = named.join(caused.charged, on=("identity", "check"), how="inner", maintain_order="left")
        accounts = engine.states.gather(charging.ACCOUNTS, np.unique(originals["subscriber"].to_numpy()))
        made = reverse(
            originals, caused.entries, caused.corrections, accounts, self._catalogue(), caused.others
        )
        return CORRECTIONS.record.conform(engine.numbered(made.drop("seq")))

    def _block(self, wish: Wish) -> Block:
        row = wish.row
        path = self._data / (row["kept"] or "")
        file = SourceFile(
            row["file"], path, row["source"], row["mapping"], "held", row["offset"], row["line"]
        )
        return Block(file, row["offset"], row["line"], row["raw"], 1, self._heading(row), last=False)


def _as_usage(rows: pl.DataFrame) -> pl.DataFrame:
    """A correcting record as the usage that it tells."""
    return rows.with_columns(pl.lit(0, pl.UInt8).alias("action"))


def _forgotten(engine: Engine, said: Mapping[str, Any], number: int) -> Grouped:
    """Forget a waiting record's name: it may be charged under it, or come again when it was rejected."""
    held = engine.states.gather(usage.SEEN, np.array([said["identity"]], np.uint64))
    rows = held.rows[held.rows["check"] != np.uint64(said["check"])]
    groups = Grouped(held.keys, np.array([0, len(rows)], np.int64), rows)
    engine.states.put(usage.SEEN, groups, number)
    return groups


def _movements(reversals: pl.DataFrame, catalogue: Catalogue) -> list[tuple[Movement, int, str, str]]:
    """What each reversal moves of its account's money."""
    main = catalogue.balances[catalogue.main_balance]
    names = ("movement_id", "subscriber", "charged_micros", "time_us", "seq")
    return [
        (Movement(name, int(Cause.CORRECTION), word, main, -micros, time_us, NEVER_S), seq, "booked", "")
        for name, word, micros, time_us, seq in reversals.select(names).iter_rows()
    ]
