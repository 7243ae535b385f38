"""The vouchers of a data folder: batches, what is kept of each code, what is blocked, and who guessed wrong.

It is a file of its own beside the manifest, so that making a million vouchers never stands in the way of money. Whether
a voucher was used is not in it: the ledger's movements say that, and there is one place where it becomes true. The
secret from which codes are worked out lies in another file, which its owner alone may read.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from trunkline.charging.vouchers import SECRET_OCTETS, code_of, digest_of, names_begin, order_mark
from trunkline.ports import FolderDamaged, Redemption, VoucherBatch
from trunkline.records.charging import Cause
from trunkline.stores.embedded.beside import BesideManifest
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.manifest import stored_word, word_of
from trunkline.stores.embedded.reader import EmbeddedReader

NAME, SECRET = "vouchers.sqlite", "vouchers.key"
OTHERS_MAY = 0o077
_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    batch TEXT PRIMARY KEY, balance TEXT NOT NULL, amount INTEGER NOT NULL, valid_days INTEGER,
    expires_us INTEGER NOT NULL, size INTEGER NOT NULL, state TEXT NOT NULL, made_us INTEGER NOT NULL,
    actor TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vouchers (
    digest BLOB PRIMARY KEY, batch TEXT NOT NULL, number INTEGER NOT NULL, turn INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS turned (
    batch TEXT NOT NULL, number INTEGER NOT NULL, turn INTEGER NOT NULL, PRIMARY KEY (batch, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocked (
    batch TEXT NOT NULL, number INTEGER NOT NULL, time_us INTEGER NOT NULL, actor TEXT NOT NULL,
    PRIMARY KEY (batch, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wrong (subscriber INTEGER NOT NULL, time_us INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS wrong_by_subscriber ON wrong (subscriber, time_us);
"""
_BATCH = ("batch", "balance", "amount", "valid_days", "expires_us", "size", "state", "made_us", "actor")


def secret_in(folder: Path, disk: Disk) -> bytes:
    """The secret that lies in a folder, made when there is none; whoever else may read it is told of."""
    path = folder / SECRET
    if not path.exists():
        _new_secret(path, disk)
    if path.stat().st_mode & OTHERS_MAY:
        raise FolderDamaged(f"{path} may be read by others than its owner; take that right away: chmod 600")
    found = path.read_bytes()
    if len(found) != SECRET_OCTETS:
        raise FolderDamaged(f"{path} is not whole. Bring it back from a backup.")
    return found


def _new_secret(path: Path, disk: Disk) -> None:
    """Whole or not at all, also when two processes make one: the first that is in place counts."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    disk.write(draft, [secrets.token_bytes(SECRET_OCTETS)])
    disk.fsync(draft)
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    disk.remove(draft)
    disk.fsync_folder(path.parent)


class EmbeddedVouchers(BesideManifest):
    """The vouchers of a data folder; any thread and any process may use it."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Open or make it; nobody else of this machine may read it."""
        super().__init__(folder / NAME, _SCHEMA, disk)
        self._folder = folder

    # -- the secret -----------------------------------------------------------------------------------------

    def secret(self) -> bytes:
        """What codes are worked out from; made when it is first asked for, and never told anybody."""
        if not (self._folder / SECRET).exists() and self._rows("SELECT 1 FROM batches LIMIT 1"):
            raise FolderDamaged(
                f"{self._folder / SECRET} is missing; without it no voucher can be read. Bring it back from a backup."
            )
        return secret_in(self._folder, self._disk)

    # -- batches --------------------------------------------------------------------------------------------

    def make(self, batch: VoucherBatch) -> None:
        """Write down a batch and what is kept of its codes, all at once or nothing."""
        secret = self.secret()
        with self._transaction() as connection:
            connection.execute(
                f"INSERT INTO batches ({', '.join(_BATCH)}) VALUES ({', '.join('?' * len(_BATCH))})",  # noqa: S608 -- our own names
                tuple(getattr(batch, name) for name in _BATCH),
            )
            for number in range(1, batch.size + 1):
                self._keep(connection, secret, batch.batch, number)

    def _keep(self, connection: sqlite3.Connection, secret: bytes, batch: str, number: int) -> None:
        """Keep one code's digest; a code that another voucher has gives way to the next."""
        for turn in range(64):
            digest = digest_of(secret, code_of(secret, batch, number, turn))
            done = connection.execute(
                "INSERT OR IGNORE INTO vouchers (digest, batch, number, turn) VALUES (?, ?, ?, ?)",
                (digest, batch, number, turn),
            )
            if done.rowcount:
                if turn:
                    connection.execute("INSERT INTO turned VALUES (?, ?, ?)", (batch, number, turn))
                return
        raise AssertionError("64 codes in a row were taken")

    def batches(self) -> list[VoucherBatch]:
        """All batches, the newest first."""
        rows = self._rows(f"SELECT {', '.join(_BATCH)} FROM batches ORDER BY made_us DESC, batch")  # noqa: S608
        return [VoucherBatch(**dict(zip(_BATCH, row, strict=True))) for row in rows]

    def batch(self, name: str) -> VoucherBatch | None:
        """One batch."""
        rows = self._rows(f"SELECT {', '.join(_BATCH)} FROM batches WHERE batch = ?", name)  # noqa: S608
        return VoucherBatch(**dict(zip(_BATCH, rows[0], strict=True))) if rows else None

    def codes(self, batch: VoucherBatch) -> Iterator[tuple[int, str]]:
        """Number and code of every voucher of a batch, worked out once more."""
        secret = self.secret()
        turns = dict(self._rows("SELECT number, turn FROM turned WHERE batch = ?", batch.batch))
        for number in range(1, batch.size + 1):
            yield number, code_of(secret, batch.batch, number, turns.get(number, 0))

    def set_state(self, batch: str, state: str) -> None:
        """Put a batch into circulation, or take it out."""
        with self._transaction() as connection:
            connection.execute("UPDATE batches SET state = ? WHERE batch = ?", (state, batch))

    def block(self, batch: str, number: int, time_us: int, actor: str) -> None:
        """Take one voucher out of circulation."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO blocked (batch, number, time_us, actor) VALUES (?, ?, ?, ?)",
                (batch, number, time_us, actor),
            )

    def unblock(self, batch: str, number: int) -> None:
        """Bring one voucher back into circulation."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM blocked WHERE batch = ? AND number = ?", (batch, number))

    def blocked(self, batch: str) -> set[int]:
        """Numbers of the vouchers of a batch that are blocked by themselves."""
        return {number for (number,) in self._rows("SELECT number FROM blocked WHERE batch = ?", batch)}

    # -- redeeming ------------------------------------------------------------------------------------------

    def found(self, code: str) -> tuple[str, int] | None:
        """Batch and number of a code; None when there is none such."""
        rows = self._rows(
            "SELECT batch, number FROM vouchers WHERE digest = ?", digest_of(self.secret(), code)
        )
        return (str(rows[0][0]), int(rows[0][1])) if rows else None

    def wrong(self, subscriber: int, time_us: int) -> None:
        """Write down a wrong code."""
        with self._transaction() as connection:
            connection.execute("INSERT INTO wrong VALUES (?, ?)", (stored_word(subscriber), time_us))

    def wrong_since(self, subscriber: int, time_us: int) -> list[int]:
        """When wrong codes were tried for a subscriber, oldest first."""
        rows = self._rows(
            "SELECT time_us FROM wrong WHERE subscriber = ? AND time_us > ? ORDER BY time_us",
            stored_word(subscriber),
            time_us,
        )
        return [int(when) for (when,) in rows]

    def _rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()


class RedeemedVouchers(EmbeddedReader):
    """What the ledger says of vouchers; any thread may ask."""

    def used(self, batch: str) -> dict[int, Redemption]:
        """The vouchers of a batch that were redeemed, by number."""
        return {each.number: each for each in self._redemptions(names_begin(batch))}

    def redeemed(self, batch: str, number: int) -> Redemption | None:
        """How one voucher was redeemed; None when it was not."""
        return next(iter(self._redemptions(names_begin(batch, number))), None)

    def used_count(self, batch: str) -> int:
        """How many vouchers of a batch were redeemed."""
        begin = names_begin(batch)
        ((count,),) = self._rows(
            "SELECT count(*) FROM movements WHERE status = 'booked' AND movement_id >= ? AND movement_id < ?",
            begin,
            _behind(begin),
        )
        return int(count)

    def ordered(self, subscriber: int, redeem_id: str) -> Redemption | None:
        """What a subscriber redeemed by an order of this name."""
        return next(
            _put_together(
                self._rows(
                    f"SELECT {', '.join(_MOVED)} FROM movements WHERE subscriber = ? AND cause = ?"  # noqa: S608
                    " AND status = 'booked' AND movement_id LIKE ?",
                    stored_word(subscriber),
                    int(Cause.VOUCHER),
                    f"voucher:%:{order_mark(redeem_id)}",
                )
            ),
            None,
        )

    def _redemptions(self, begin: str) -> Iterator[Redemption]:
        return _put_together(
            self._rows(
                f"SELECT {', '.join(_MOVED)} FROM movements WHERE status = 'booked'"  # noqa: S608
                " AND movement_id >= ? AND movement_id < ? ORDER BY number",
                begin,
                _behind(begin),
            )
        )


_MOVED = ("movement_id", "subscriber", "balance", "amount", "valid_until_s", "time_us")


def _behind(begin: str) -> str:
    """The first text that does not begin so; what begins so ends in a colon."""
    return begin[:-1] + chr(ord(begin[-1]) + 1)


def _put_together(rows: Iterable[tuple[Any, ...]]) -> Iterator[Redemption]:
    for name, subscriber, balance, amount, valid_until_s, time_us in rows:
        _, batch, number, mark = str(name).split(":")
        yield Redemption(
            mark, word_of(subscriber), batch, int(number), balance, amount, valid_until_s, time_us
        )
