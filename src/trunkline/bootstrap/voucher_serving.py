"""Vouchers of a served cluster: kept in Cassandra, booked by whichever worker has the subscriber.

An order takes the voucher first, by a light-weight transaction, and then sends the movement, whose name follows from
both. Who dies in between leaves a claim: whoever asks again under the same name goes on from it, and so does every
process that serves, once it is old. The ledger books a name once, so it does not matter how many go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from trunkline.bootstrap.intake import ClusterIntake
from trunkline.bootstrap.vouchers import Batches, not_redeemed
from trunkline.charging.vouchers import ACTIVE, names_begin, order_mark, read_code, valid_until_s
from trunkline.ports import Movement, NotRedeemed, Redemption, Refused
from trunkline.records.charging import NEVER_S, Cause
from trunkline.settings import Guessing
from trunkline.stores.cassandra.vouchers import CassandraVouchers

log = logging.getLogger("trunkline.vouchers")

OLD_US = 60_000_000  # of a claim: whoever made it has been answered, or will never be


class ClusterVouchers(Batches):
    """Vouchers of a cluster (`ports.Vouchers`)."""

    def __init__(
        self,
        kept: CassandraVouchers,
        intake: ClusterIntake,
        now_us: Callable[[], int],
        guessing: Guessing | None = None,
    ) -> None:
        """`now_us` is the clock."""
        super().__init__(kept, kept, now_us, guessing)
        self._kept, self._intake = kept, intake

    def redeem(self, redeem_id: str, subscriber: int, code: str) -> tuple[Redemption, bool]:
        """Redeem a code for a subscriber: what it brought, and whether this order had done so before."""
        read = read_code(code)
        if read is None:
            raise not_redeemed("mistyped_voucher")
        found = self._kept.found(read)
        before = self._kept.ordered(subscriber, redeem_id)
        if before is not None:
            if found != (before.batch, before.number):
                raise Refused("The name of this order was used for another voucher; take a new one.")
            return before, True
        now_us = self._now_us()
        self.refuse_guessers(subscriber, now_us)
        if found is None:
            self._kept.wrong(subscriber, now_us)
            raise not_redeemed("unknown_voucher")
        batch, mark = self.known(found[0]), order_mark(redeem_id)
        claimed = self._kept.redeemed(*found)
        mine = claimed is not None and (claimed.subscriber, claimed.mark) == (subscriber, mark)
        blocked = found[1] in self._kept.blocked(batch.batch)
        state = self.state(batch, blocked=blocked, used=claimed is not None)
        if state != ACTIVE and not mine:
            raise not_redeemed(f"voucher_{state}")
        wanted = Redemption(
            mark, subscriber, *found, batch.balance, batch.amount,
            valid_until_s(now_us, batch.valid_days, NEVER_S), now_us,
        )  # fmt: skip
        kept = self._kept.claim(wanted)
        if kept is None:
            raise not_redeemed("voucher_used")
        return kept, self._book(kept) == "repeated"

    def go_on(self) -> int:
        """Book what was claimed and never booked, as far as anybody knows; how many there were."""
        old = self._kept.claimed_before(self._now_us() - OLD_US)
        for each in old:
            try:
                self._book(each)
            except NotRedeemed as error:
                log.warning("a voucher that was claimed is free again: %s", error.reason)
        return len(old)

    def _book(self, redemption: Redemption) -> str:
        """Send the movement of a claim; booked or repeated. What the ledger refuses is not claimed any more."""
        name = f"{names_begin(redemption.batch, redemption.number)}{redemption.mark}"
        movement = Movement(
            name, int(Cause.VOUCHER), redemption.subscriber, redemption.balance, redemption.amount, redemption.time_us,
            redemption.valid_until_s,
        )  # fmt: skip
        (answer,) = self._intake.move([movement])
        if answer["status"] == "refused":
            self._kept.release(redemption)
            raise not_redeemed(answer["reason"])
        self._kept.booked(redemption)
        return str(answer["status"])
