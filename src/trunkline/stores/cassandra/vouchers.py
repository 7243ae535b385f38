"""The vouchers of a keyspace: batches, what is kept of each code, who has redeemed what, and who guessed wrong.

What two processes could do at once is done by light-weight transactions: a code belongs to one voucher, a voucher to
one order, and an order to one voucher. The secret from which codes are worked out lies in a file that every process
that serves has beside it; the keyspace knows only by what to tell that it is the same one.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from trunkline.charging.vouchers import MADE, code_of, digest_of, order_mark
from trunkline.ports import Redemption, Refused, VoucherBatch
from trunkline.stores.cassandra import tables
from trunkline.stores.cassandra.connection import Connection

MAKING = "making"  # state of a batch whose codes are not all there yet; nobody is shown it
CLAIMED, BOOKED = "claimed", "booked"
_TURNS = 64
_CODES_AT_ONCE = 2_000
_SAME = "voucher_secret"
_BATCH = ("batch", "balance", "amount", "valid_days", "expires_us", "size", "state", "made_us", "actor")


class CassandraVouchers:
    """The vouchers of a keyspace; any thread and any process may use it."""

    def __init__(self, connection: Connection, path: Path, secret: Callable[[], bytes]) -> None:
        """The connection's tables must be there; `secret` lies at `path`, and is made where there is none."""
        self._connection, self._path, self._secret = connection, path, secret

    # -- the secret -----------------------------------------------------------------------------------------

    def secret(self) -> bytes:
        """What codes are worked out from; made when it is first asked for anywhere. Raises `Refused`."""
        known = self._connection.ask(tables.META_TABLE.select("WHERE name = ?", ("value",)), (_SAME,))
        path = self._path
        if known and not path.exists():
            raise Refused(
                f"{path} is missing: vouchers were made by another process. Copy its {path.name} here, mode 600."
            )
        found = self._secret()
        same = int.from_bytes(hmac.digest(found, b"same", "sha256")[:8], "big", signed=True)
        if not known:
            self._connection.ask(tables.META_TABLE.insert() + " IF NOT EXISTS", (_SAME, same))
            known = self._connection.ask(tables.META_TABLE.select("WHERE name = ?", ("value",)), (_SAME,))
        if known[0].value != same:
            raise Refused(f"{path} is not the secret of this keyspace's vouchers. Copy the right one here.")
        return found

    # -- batches --------------------------------------------------------------------------------------------

    def make(self, batch: VoucherBatch) -> None:
        """Make a batch; who is interrupted makes the same again, and goes on."""
        secret, table = self.secret(), tables.VOUCHER_BATCH_TABLE
        self._connection.ask(
            table.insert(("shard", *_BATCH)) + " IF NOT EXISTS",
            (0, *(MAKING if name == "state" else getattr(batch, name) for name in _BATCH)),
        )
        begun = self.begun(batch.batch)
        if begun is None or replace(begun, state="", made_us=0, actor="") != replace(
            batch, state="", made_us=0, actor=""
        ):
            raise Refused(f"There is another batch {batch.batch}; take a new name.")
        waiting = [(number, 0) for number in range(1, batch.size + 1)]
        while waiting:
            waiting = self._keep(secret, batch.batch, waiting)
        self._connection.ask(
            f'UPDATE @{table.name} SET state = ? WHERE shard = 0 AND "batch" = ? IF state = ?',  # noqa: S608 -- our own names
            (MADE, batch.batch, MAKING),
        )

    def _keep(self, secret: bytes, batch: str, wanted: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Keep codes' digests; those that another voucher has, with the turn that gives another code."""
        statement = tables.VOUCHER_TABLE.insert() + " IF NOT EXISTS"
        again = []
        for first in range(0, len(wanted), _CODES_AT_ONCE):
            some = wanted[first : first + _CODES_AT_ONCE]
            asked = [
                (digest_of(secret, code_of(secret, batch, number, turn)), batch, number, turn)
                for number, turn in some
            ]
            for (number, turn), (answer,) in zip(
                some, self._connection.ask_all(statement, asked), strict=True
            ):
                mine = answer[0] or (answer.batch, answer.number) == (batch, number)
                if not mine:
                    assert turn + 1 < _TURNS, "64 codes in a row were taken"
                    turned = tables.VOUCHER_TURNED_TABLE.insert()
                    self._connection.ask(turned, (batch, number, turn + 1))
                    again.append((number, turn + 1))
        return again

    def batches(self) -> list[VoucherBatch]:
        """All batches, the newest first."""
        rows = self._connection.ask(tables.VOUCHER_BATCH_TABLE.select("WHERE shard = 0", _BATCH))
        found = [_batch(row) for row in rows if row.state != MAKING]
        return sorted(found, key=lambda each: (-each.made_us, each.batch))

    def batch(self, name: str) -> VoucherBatch | None:
        """One batch."""
        found = self.begun(name)
        return found if found is not None and found.state != MAKING else None

    def begun(self, name: str) -> VoucherBatch | None:
        """One batch, also when not all of its codes are there."""
        statement = tables.VOUCHER_BATCH_TABLE.select('WHERE shard = 0 AND "batch" = ?', _BATCH)
        rows = self._connection.ask(statement, (name,))
        return _batch(rows[0]) if rows else None

    def codes(self, batch: VoucherBatch) -> Iterator[tuple[int, str]]:
        """Number and code of every voucher of a batch, worked out once more."""
        secret = self.secret()
        rows = self._connection.ask(
            tables.VOUCHER_TURNED_TABLE.select('WHERE "batch" = ?', ("number", "turn")), (batch.batch,)
        )
        turns = {row.number: row.turn for row in rows}
        for number in range(1, batch.size + 1):
            yield number, code_of(secret, batch.batch, number, turns.get(number, 0))

    def set_state(self, batch: str, state: str) -> None:
        """Put a batch into circulation, or take it out."""
        self._connection.ask(
            f'UPDATE @{tables.VOUCHER_BATCH_TABLE.name} SET state = ? WHERE shard = 0 AND "batch" = ? IF EXISTS',  # noqa: S608 -- our own names
            (state, batch),
        )

    def block(self, batch: str, number: int, time_us: int, actor: str) -> None:
        """Take one voucher out of circulation."""
        self._connection.ask(tables.VOUCHER_BLOCKED_TABLE.insert(), (batch, number, time_us, actor))

    def unblock(self, batch: str, number: int) -> None:
        """Bring one voucher back into circulation."""
        self._connection.ask(
            f'DELETE FROM @{tables.VOUCHER_BLOCKED_TABLE.name} WHERE "batch" = ? AND number = ?',  # noqa: S608 -- our own names
            (batch, number),
        )

    def blocked(self, batch: str) -> set[int]:
        """Numbers of the vouchers of a batch that are blocked by themselves."""
        statement = tables.VOUCHER_BLOCKED_TABLE.select('WHERE "batch" = ?', ("number",))
        return {row.number for row in self._connection.ask(statement, (batch,))}

    # -- guessing -------------------------------------------------------------------------------------------

    def found(self, code: str) -> tuple[str, int] | None:
        """Batch and number of a code; None when there is none such."""
        statement = tables.VOUCHER_TABLE.select("WHERE digest = ?", ("batch", "number"))
        rows = self._connection.ask(statement, (digest_of(self.secret(), code),))
        return (str(rows[0].batch), int(rows[0].number)) if rows else None

    def wrong(self, subscriber: int, time_us: int) -> None:
        """Write down a wrong code."""
        self._connection.ask(tables.VOUCHER_WRONG_TABLE.insert(), (tables.stored_word(subscriber), time_us))

    def wrong_since(self, subscriber: int, time_us: int) -> list[int]:
        """When wrong codes were tried for a subscriber, oldest first."""
        statement = tables.VOUCHER_WRONG_TABLE.select("WHERE subscriber = ? AND time_us > ?", ("time_us",))
        rows = self._connection.ask(statement, (tables.stored_word(subscriber), time_us))
        return [int(row.time_us) for row in rows]

    # -- redeeming ------------------------------------------------------------------------------------------

    def claim(self, wanted: Redemption) -> Redemption | None:
        """Give a voucher to an order and the order to it; as it was claimed first, or None when another one has it.

        Raises `Refused` when the order has another voucher.
        """
        word = tables.stored_word(wanted.subscriber)
        ordered = tables.VOUCHER_ORDER_TABLE
        (mine,) = self._connection.ask(
            ordered.insert() + " IF NOT EXISTS", (word, wanted.mark, wanted.batch, wanted.number)
        )
        if not mine[0] and (mine.batch, mine.number) != (wanted.batch, wanted.number):
            raise Refused("The name of this order was used for another voucher; take a new one.")
        table = tables.REDEEMED_TABLE
        (answer,) = self._connection.ask(
            table.insert() + " IF NOT EXISTS",
            (
                wanted.batch, wanted.number, wanted.mark, word, wanted.balance, wanted.amount, wanted.valid_until_s,
                wanted.time_us, CLAIMED,
            ),
        )  # fmt: skip
        if answer[0]:
            return wanted
        found = _redemption(answer)
        if (found.subscriber, found.mark) == (wanted.subscriber, wanted.mark):
            return found
        self._forget_order(wanted)
        return None

    def booked(self, redemption: Redemption) -> None:
        """Say that the ledger has it."""
        self._connection.ask(
            f'UPDATE @{tables.REDEEMED_TABLE.name} SET state = ? WHERE "batch" = ? AND number = ? IF mark = ?',  # noqa: S608 -- our own names
            (BOOKED, redemption.batch, redemption.number, redemption.mark),
        )

    def release(self, redemption: Redemption) -> None:
        """Take a claim back that the ledger has refused: the voucher is free, and so is the order's name."""
        self._connection.ask(
            f'DELETE FROM @{tables.REDEEMED_TABLE.name} WHERE "batch" = ? AND number = ? IF mark = ? AND state = ?',  # noqa: S608 -- our own names
            (redemption.batch, redemption.number, redemption.mark, CLAIMED),
        )
        self._forget_order(redemption)

    def _forget_order(self, redemption: Redemption) -> None:
        self._connection.ask(
            f"DELETE FROM @{tables.VOUCHER_ORDER_TABLE.name} WHERE subscriber = ? AND mark = ?"  # noqa: S608 -- our own names
            ' IF "batch" = ? AND number = ?',
            (tables.stored_word(redemption.subscriber), redemption.mark, redemption.batch, redemption.number),
        )

    def claimed_before(self, time_us: int) -> list[Redemption]:
        """Claims of which nobody has said yet that they are booked, and that are older."""
        rows = self._connection.ask(tables.REDEEMED_TABLE.select("WHERE state = ?"), (CLAIMED,))
        return [_redemption(row) for row in rows if row.time_us < time_us]

    def used(self, batch: str) -> dict[int, Redemption]:
        """The vouchers of a batch that were redeemed, by number."""
        rows = self._connection.ask(tables.REDEEMED_TABLE.select('WHERE "batch" = ?'), (batch,))
        return {row.number: _redemption(row) for row in rows}

    def redeemed(self, batch: str, number: int) -> Redemption | None:
        """How one voucher was redeemed; None when it was not."""
        rows = self._connection.ask(
            tables.REDEEMED_TABLE.select('WHERE "batch" = ? AND number = ?'), (batch, number)
        )
        return _redemption(rows[0]) if rows else None

    def ordered(self, subscriber: int, redeem_id: str) -> Redemption | None:
        """What a subscriber redeemed by an order of this name, as far as it is booked."""
        mark = order_mark(redeem_id)
        statement = tables.VOUCHER_ORDER_TABLE.select(
            "WHERE subscriber = ? AND mark = ?", ("batch", "number")
        )
        for row in self._connection.ask(statement, (tables.stored_word(subscriber), mark)):
            found = self._connection.ask(
                tables.REDEEMED_TABLE.select('WHERE "batch" = ? AND number = ?'), (row.batch, row.number)
            )
            if found and found[0].state == BOOKED and found[0].mark == mark:
                return _redemption(found[0])
        return None


def _batch(row: Any) -> VoucherBatch:  # noqa: ANN401 -- the driver carries no types
    return VoucherBatch(**{name: getattr(row, name) for name in _BATCH})


def _redemption(row: Any) -> Redemption:  # noqa: ANN401 -- the driver carries no types
    return Redemption(
        row.mark,
        tables.word_of(row.subscriber),
        row.batch,
        row.number,
        row.balance,
        row.amount,
        row.valid_until_s,
        row.time_us,
    )
