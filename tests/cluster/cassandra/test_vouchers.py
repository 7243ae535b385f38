"""Vouchers kept in Cassandra: each once, whoever redeems at the same moment and wherever somebody dies."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tests.delivery.small import NOON_US, Clock
from trunkline.bootstrap.intake import ClusterIntake
from trunkline.bootstrap.voucher_serving import OLD_US, ClusterVouchers
from trunkline.charging.vouchers import code_of
from trunkline.kernel.dial import to_key
from trunkline.ports import Busy, Movement, NotRedeemed, Refused, VoucherBatch
from trunkline.settings import Guessing
from trunkline.stores.cassandra import vouchers as stored
from trunkline.stores.cassandra.connection import Connection, Unreachable
from trunkline.stores.cassandra.vouchers import CassandraVouchers
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.vouchers import SECRET, secret_in

ANNA, BERT = to_key("447700900001"), to_key("447700900002")
BATCH = VoucherBatch("spring", "main", 10_000_000, None, NOON_US + 10**12, 6, "made", NOON_US, "tests")


class Ledger:
    """As much of a cluster as vouchers ask: a name is booked once, or refused for good, and an answer may be lost."""

    def __init__(self) -> None:
        self.booked: dict[str, Movement] = {}
        self.unknown: set[int] = set()
        self.lost = 0
        self._lock = threading.Lock()

    def move(self, movements: Sequence[Movement]) -> list[dict[str, Any]]:
        """One answer each."""
        with self._lock:
            (movement,) = movements
            name = movement.movement_id
            if movement.subscriber in self.unknown:
                return [{"movement_id": name, "status": "refused", "reason": "unknown_subscriber"}]
            status = "repeated" if name in self.booked else "booked"
            self.booked[name] = movement
            if self.lost:
                self.lost -= 1
                raise Busy(1)
            return [{"movement_id": name, "status": status, "reason": ""}]


def desk(connection: Connection, folder: Path, ledger: Ledger, clock: Clock) -> ClusterVouchers:
    """One of the processes that serve."""
    kept = CassandraVouchers(connection, folder / SECRET, lambda: secret_in(folder, Disk()))
    return ClusterVouchers(kept, cast("ClusterIntake", ledger), clock, Guessing(3, 24))


def active(vouchers: ClusterVouchers) -> list[str]:
    """A batch in circulation; its codes."""
    assert vouchers.make(BATCH)
    assert not vouchers.make(BATCH)
    vouchers.change("spring", None, "activate", "tests")
    return [code for _, code in vouchers.codes("spring")]


def test_each_voucher_is_redeemed_once(connection: Connection, tmp_path: Path) -> None:
    """Many redeem the same code at the same moment, at two processes: one has it, the others are told so."""
    ledger, clock = Ledger(), Clock()
    desks = [desk(connection, tmp_path, ledger, clock) for _ in range(2)]
    code = active(desks[0])[0]
    begin, answers = threading.Barrier(4), list[str]()

    def go(at: int) -> None:
        begin.wait(60)
        for _ in range(100):
            try:
                done, _repeated = desks[at % 2].redeem(f"order-{at}", (ANNA, BERT)[at // 2], code)
                answers.append(done.mark)
            except NotRedeemed as error:
                answers.append(error.reason)
            except Unreachable:  # a slow machine: whoever redeems asks again under the same name
                continue
            return

    threads = [threading.Thread(target=go, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert answers.count("voucher_used") == 3
    assert len(ledger.booked) == 1
    _, counts = desks[1].batch("spring")
    assert (counts.made, counts.unused, counts.used) == (6, 5, 1)


def test_an_order_that_was_interrupted_goes_on(connection: Connection, tmp_path: Path) -> None:
    """Asked again under its name it is told as it was; when nobody asks, another process books what was claimed."""
    ledger, clock = Ledger(), Clock()
    one, other = (desk(connection, tmp_path, ledger, clock) for _ in range(2))
    codes = active(one)
    ledger.lost = 1
    with pytest.raises(Busy):
        one.redeem("k1", ANNA, codes[0])
    clock.us += 5_000_000
    done, repeated = other.redeem("k1", ANNA, codes[0])
    assert (repeated, done.time_us) == (True, NOON_US)
    assert one.redeem("k1", ANNA, codes[0]) == (done, True)
    with pytest.raises(Refused, match="another voucher"):
        one.redeem("k1", ANNA, codes[1])
    ledger.lost = 1
    with pytest.raises(Busy):
        one.redeem("k2", BERT, codes[1])
    assert other.go_on() == 0
    clock.us += OLD_US + 1
    assert (other.go_on(), other.go_on()) == (1, 0)
    assert one.redeem("k2", BERT, codes[1])[1]
    assert len(ledger.booked) == 2


def test_what_the_ledger_refuses_is_free_again(connection: Connection, tmp_path: Path) -> None:
    """The voucher is not used up by somebody whom nobody knows, nor is the name of his order."""
    ledger = Ledger()
    one = desk(connection, tmp_path, ledger, Clock())
    codes = active(one)
    ledger.unknown = {BERT}
    with pytest.raises(NotRedeemed, match="no such subscriber"):
        one.redeem("k", BERT, codes[0])
    assert one.voucher("spring", 1).state == "active"
    assert one.redeem("k", ANNA, codes[0])[1] is False
    ledger.unknown = set()
    assert one.redeem("k", BERT, codes[1])[0].number == 2
    assert one.voucher("spring", 1).redeemed is not None


def test_refused_in_words(connection: Connection, tmp_path: Path) -> None:
    """Blocked, not yet in circulation, expired, guessed: as where the vouchers lie in a data folder."""
    clock = Clock()
    one = desk(connection, tmp_path, Ledger(), clock)
    assert one.make(BATCH)
    codes = [code for _, code in one.codes("spring")]

    def why(code: str) -> str:
        with pytest.raises(NotRedeemed) as refused:
            one.redeem("k", ANNA, code)
        return refused.value.reason

    assert why(codes[0]) == "voucher_made"
    one.change("spring", None, "activate", "tests")
    one.change("spring", 2, "block", "tests")
    assert why(codes[1]) == "voucher_blocked"
    assert why(codes[0][:-1]) == "mistyped_voucher"
    with pytest.raises(Refused, match="another batch"):
        one.make(VoucherBatch("spring", "main", 1, None, NOON_US + 10**12, 6, "made", NOON_US, "tests"))
    for guess in range(3):
        clock.us += 1
        assert why(code_of(b"x", "x", guess, 0)) == "unknown_voucher"
    assert why(codes[0]) == "too_many_wrong"
    clock.us += 10**12
    assert why(codes[0]) == "voucher_expired"
    one.change("spring", 2, "unblock", "tests")
    _, counts = one.batch("spring")
    assert (counts.made, counts.unused, counts.used, counts.blocked, counts.expired) == (6, 0, 0, 0, 6)


def test_a_code_belongs_to_one_voucher(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two vouchers would have the same code, the later one has the next; the codes are told as they are kept."""

    def narrow(secret: bytes, batch: str, number: int, turn: int) -> str:
        return code_of(secret, "all", (number + 1) // 2 if turn == 0 else number + 100, turn)

    monkeypatch.setattr(stored, "code_of", narrow)
    one = desk(connection, tmp_path, Ledger(), Clock())
    codes = active(one)
    assert len(set(codes)) == 6
    assert [one.redeem(f"k{at}", ANNA, code)[0].number for at, code in enumerate(codes)] == [1, 2, 3, 4, 5, 6]


def test_all_processes_have_the_same_secret(connection: Connection, tmp_path: Path) -> None:
    """One that has another secret, or none, says what to copy, and makes no codes that nobody could redeem."""
    for name in ("one", "none", "other"):
        (tmp_path / name).mkdir()
    active(desk(connection, tmp_path / "one", Ledger(), Clock()))
    secret_in(tmp_path / "other", Disk())
    for name, words in (("none", "is missing"), ("other", "is not the secret")):
        with pytest.raises(Refused, match=words):
            list(desk(connection, tmp_path / name, Ledger(), Clock()).codes("spring"))
    assert not (tmp_path / "none" / SECRET).exists()
