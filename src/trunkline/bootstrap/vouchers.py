"""Vouchers over a data folder: made beside the ledger, redeemed in the engine's one order of arrival.

Whoever redeems names the order. The same name is redeemed once: ordered again, it is told as it was booked, also when
the first order is still on its way to the disk. Two orders for one voucher stand in one line, so one of them is
second, and a process that dies has booked the movement or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from trunkline import topology
from trunkline.charging.vouchers import (
    ACTIVE,
    BLOCKED,
    EXPIRED,
    MADE,
    MOST_IN_BATCH,
    USED,
    VOUCHER_REASONS,
    Standing,
    movement_name,
    order_mark,
    read_code,
    state_of,
    valid_until_s,
)
from trunkline.engines.embedded.engine import Engine
from trunkline.engines.loop import Carrier
from trunkline.ports import (
    Commit,
    Movement,
    NotRedeemed,
    Redemption,
    Refused,
    Voucher,
    VoucherBatch,
    VoucherCounts,
)
from trunkline.records.charging import MOVEMENTS, NEVER_S, REFUSED, Cause
from trunkline.settings import Guessing
from trunkline.stores.embedded.vouchers import EmbeddedVouchers, RedeemedVouchers

_TEXTS = {reason.name: reason.text for reason in VOUCHER_REASONS}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_HOUR_US = 3_600_000_000
_HIGHEST = 2**62
_MOST_DAYS = 3660


class Kept(Protocol):
    """Where batches, digests of codes, blocks and wrong guesses are kept; any thread may ask."""

    def make(self, batch: VoucherBatch) -> None:
        """Write down a batch and what is kept of its codes."""

    def batches(self) -> list[VoucherBatch]:
        """All batches, the newest first."""

    def batch(self, name: str) -> VoucherBatch | None:
        """One batch."""

    def codes(self, batch: VoucherBatch) -> Iterator[tuple[int, str]]:
        """Number and code of every voucher of a batch, worked out once more."""

    def set_state(self, batch: str, state: str) -> None:
        """Put a batch into circulation, or take it out."""

    def block(self, batch: str, number: int, time_us: int, actor: str) -> None:
        """Take one voucher out of circulation."""

    def unblock(self, batch: str, number: int) -> None:
        """Bring one voucher back into circulation."""

    def blocked(self, batch: str) -> set[int]:
        """Numbers of the vouchers of a batch that are blocked by themselves."""

    def wrong_since(self, subscriber: int, time_us: int) -> list[int]:
        """When wrong codes were tried for a subscriber, oldest first."""


class Used(Protocol):
    """Where it stands which vouchers were redeemed; any thread may ask."""

    def used(self, batch: str) -> dict[int, Redemption]:
        """The vouchers of a batch that were redeemed, by number."""

    def redeemed(self, batch: str, number: int) -> Redemption | None:
        """How one voucher was redeemed; None when it was not."""


class Batches:
    """All of `ports.Vouchers` but redeeming, over whatever keeps it."""

    def __init__(self, kept: Kept, used: Used, now_us: Callable[[], int], guessing: Guessing | None) -> None:
        """`now_us` is the clock."""
        self._of_batches, self._of_ledger, self._now_us = kept, used, now_us
        self._guessing = guessing or Guessing()

    # -- batches --------------------------------------------------------------------------------------------

    def make(self, batch: VoucherBatch) -> bool:
        """Make a batch; False when it was made before."""
        self._check(batch)
        known = self._of_batches.batch(batch.batch)
        if known is None:
            self._of_batches.make(batch)
            return True
        if _said(known) != _said(batch):
            raise Refused(f"There is another batch {batch.batch}; take a new name.")
        return False

    def _check(self, batch: VoucherBatch) -> None:
        """Refuse what cannot be made, in words."""
        if not _NAME.fullmatch(batch.batch):
            raise Refused("A batch is named by 1 to 40 letters, digits, - and _.")
        if not 1 <= batch.size <= MOST_IN_BATCH:
            raise Refused(f"A batch has 1 to {MOST_IN_BATCH:,} vouchers.")
        if not 0 < batch.amount < _HIGHEST:
            raise Refused("A voucher is worth more than nothing.")
        if batch.valid_days is not None and not 1 <= batch.valid_days <= _MOST_DAYS:
            raise Refused(f"What a voucher brings is valid for 1 to {_MOST_DAYS} days, or for ever.")
        if self._of_batches.batch(batch.batch) is None and batch.expires_us <= self._now_us():
            raise Refused("These vouchers would be expired before they are made.")

    def batches(self) -> list[tuple[VoucherBatch, VoucherCounts]]:
        """All batches with their accounting, the newest first."""
        return [(each, self._counts(each)) for each in self._of_batches.batches()]

    def batch(self, name: str) -> tuple[VoucherBatch, VoucherCounts]:
        """One batch with its accounting."""
        batch = self.known(name)
        return batch, self._counts(batch)

    def codes(self, name: str) -> Iterator[tuple[int, str]]:
        """Number and code of every voucher of a batch."""
        return self._of_batches.codes(self.known(name))

    def voucher(self, name: str, number: int) -> Voucher:
        """One voucher."""
        batch = self.known(name)
        if not 1 <= number <= batch.size:
            raise Refused(f"The vouchers of {name} have the numbers 1 to {batch.size}.")
        redeemed = self._of_ledger.redeemed(name, number)
        blocked = number in self._of_batches.blocked(name)
        return Voucher(name, number, self.state(batch, blocked=blocked, used=redeemed is not None), redeemed)

    def change(self, name: str, number: int | None, action: str, actor: str) -> None:
        """Activate, block or unblock a batch, or block or unblock one voucher of it."""
        batch = self.known(name)
        if number is not None:
            self._change_one(self.voucher(name, number), action, actor)
        elif action == "activate" and batch.state in (MADE, ACTIVE):
            self._of_batches.set_state(name, ACTIVE)
        elif action == "block":
            self._of_batches.set_state(name, BLOCKED)
        elif action == "unblock" and batch.state in (BLOCKED, ACTIVE):
            self._of_batches.set_state(name, ACTIVE)
        else:
            raise Refused(f"A batch that is {batch.state} cannot be changed so: {action}.")

    def _change_one(self, voucher: Voucher, action: str, actor: str) -> None:
        if action == "block" and voucher.state == USED:
            raise Refused("This voucher was used already, so blocking it changes nothing.")
        if action == "block":
            self._of_batches.block(voucher.batch, voucher.number, self._now_us(), actor)
        elif action == "unblock":
            self._of_batches.unblock(voucher.batch, voucher.number)
        else:
            raise Refused("One voucher can be blocked or unblocked; a batch is put into circulation whole.")

    def known(self, name: str) -> VoucherBatch:
        """The batch of a name; raises `Refused` when there is none."""
        batch = self._of_batches.batch(name)
        if batch is None:
            raise Refused(f"There is no batch {name}.")
        return batch

    def state(self, batch: VoucherBatch, *, blocked: bool, used: bool) -> str:
        """What a voucher of a batch is now."""
        standing = Standing(batch.state, blocked, batch.expires_us)
        return state_of(standing, self._now_us(), used=used)

    def _counts(self, batch: VoucherBatch) -> VoucherCounts:
        """The state of every voucher, added up without looking at each: most differ in nothing."""
        used = self._of_ledger.used(batch.batch)
        single = self._of_batches.blocked(batch.batch) - set(used)
        rest = batch.size - len(used) - len(single)
        found = dict.fromkeys((MADE, ACTIVE, BLOCKED, EXPIRED), 0)
        found[self.state(batch, blocked=False, used=False)] += rest
        found[BLOCKED] += len(single)
        counts = VoucherCounts(
            batch.size, found[MADE] + found[ACTIVE], len(used), found[BLOCKED], found[EXPIRED]
        )
        assert counts.made == counts.unused + counts.used + counts.blocked + counts.expired, (
            "a voucher got lost"
        )
        return counts

    def refuse_guessers(self, subscriber: int, now_us: int) -> None:
        """Refuse whoever tried too many wrong codes, and say until when."""
        most, hours = self._guessing.voucher_wrong_most, self._guessing.voucher_wrong_hours
        tries = self._of_batches.wrong_since(subscriber, now_us - hours * _HOUR_US)
        if len(tries) >= most:
            again_us = tries[-most] + hours * _HOUR_US
            moment = datetime.fromtimestamp(again_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            raise NotRedeemed(
                "too_many_wrong",
                f"{len(tries)} wrong codes were tried within {hours} hours for this subscriber; vouchers can be"
                f" redeemed again from {moment} on.",
            )


class FolderVouchers(Batches):
    """Vouchers of a data folder (`ports.Vouchers`). Without an engine nothing can be redeemed."""

    def __init__(
        self,
        data: Path,
        now_us: Callable[[], int],
        engine: Engine | None = None,
        guessing: Guessing | None = None,
    ) -> None:
        """`engine` carries redemptions; it comes from the one process that writes. `now_us` is the clock."""
        self._ledger, self._engine = RedeemedVouchers(data), engine
        self._kept = EmbeddedVouchers(data)
        self._on_its_way: dict[tuple[str, int], Redemption] = {}
        super().__init__(self._kept, self._ledger, now_us, guessing)

    def redeem(self, redeem_id: str, subscriber: int, code: str) -> tuple[Redemption, bool]:
        """Redeem a code for a subscriber: what it brought, and whether this order had done so before."""
        if self._engine is None:
            raise Refused("This process only reads; redeem it at the one that writes to the data folder.")
        read = read_code(code)
        if read is None:
            raise not_redeemed("mistyped_voucher")
        place: list[tuple[str, int]] = []
        try:
            redemption, repeated = self._engine.order(
                lambda engine, number: self._redeemed(engine, number, redeem_id, subscriber, read, place)
            ).result()
        finally:
            for each in place:
                self._on_its_way.pop(each, None)
        return redemption, repeated

    def _redeemed(
        self,
        engine: Engine,
        number: int,
        redeem_id: str,
        subscriber: int,
        code: str,
        place: list[tuple[str, int]],
    ) -> tuple[Commit | None, tuple[Redemption, bool]]:
        """One redemption in its turn; `place` takes what is on its way to the disk from here on."""
        found = self._kept.found(code)
        before = self._ordered(subscriber, redeem_id)
        if before is not None:
            if found != (before.batch, before.number):
                raise Refused("The name of this order was used for another voucher; take a new one.")
            return None, (before, True)
        now_us = self._now_us()
        self.refuse_guessers(subscriber, now_us)
        if found is None:
            self._kept.wrong(subscriber, now_us)
            raise not_redeemed("unknown_voucher")
        batch = self.known(found[0])
        used = found in self._on_its_way or self._ledger.redeemed(*found) is not None
        state = self.state(batch, blocked=found[1] in self._kept.blocked(batch.batch), used=used)
        if state != ACTIVE:
            raise not_redeemed(f"voucher_{state}")
        redemption = Redemption(
            order_mark(redeem_id), subscriber, *found, batch.balance, batch.amount,
            valid_until_s(now_us, batch.valid_days, NEVER_S), now_us,
        )  # fmt: skip
        commit = self._booked(engine, number, redemption, movement_name(*found, redeem_id))
        self._on_its_way[found] = redemption
        place.append(found)
        return commit, (redemption, False)

    def _ordered(self, subscriber: int, redeem_id: str) -> Redemption | None:
        """What this order redeemed before, on its way to the disk or there."""
        mark = order_mark(redeem_id)
        for each in self._on_its_way.values():
            if (each.subscriber, each.mark) == (subscriber, mark):
                return each
        return self._ledger.ordered(subscriber, redeem_id)

    @staticmethod
    def _booked(engine: Engine, number: int, redemption: Redemption, name: str) -> Commit:
        """The commit of the movement that redeems a voucher; raises `NotRedeemed` where the ledger refuses it."""
        movement = Movement(
            name, int(Cause.VOUCHER), redemption.subscriber, redemption.balance, redemption.amount, redemption.time_us,
            redemption.valid_until_s,
        )  # fmt: skip
        schema = MOVEMENTS.record.schema
        types = {name: dtype for name, dtype in schema.items() if name in vars(movement)}
        rows = engine.numbered(pl.DataFrame([vars(movement)], schema_overrides=types))
        carried = Carrier(topology.MONEY, engine.tables, engine.states).whole(
            MOVEMENTS.record.conform(rows), number
        )
        refused = carried.rows(REFUSED)
        if len(refused):
            raise not_redeemed(str(refused["reason"][0]))
        return engine.commit_of(number, carried, movements=[(movement, int(rows["seq"][0]), "booked", "")])


def not_redeemed(reason: str) -> NotRedeemed:
    """Why a voucher was not redeemed, in words."""
    return NotRedeemed(reason, _TEXTS.get(reason, reason))


def _said(batch: VoucherBatch) -> VoucherBatch:
    """What an order for a batch says, without when and by whom."""
    return replace(batch, state="", made_us=0, actor="")
