"""Redeeming: once and for all, in words when not, and every voucher accounted for."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.giving.small import PEOPLE, entries, left, reconciled
from tests.vouchers.small import HOUR_US, START_US, Clock, batch, codes, vouching, word
from trunkline.bootstrap.vouchers import FolderVouchers
from trunkline.charging.vouchers import code_of, read_code
from trunkline.ports import FolderDamaged, NotRedeemed, Refused
from trunkline.records.charging import NEVER_S, Cause


def test_money_comes_to_the_main_balance(tmp_path: Path) -> None:
    """A movement and an entry of the ledger; the same order again is told as it was booked, also later."""
    with vouching(tmp_path) as (_, _, vouchers):
        assert vouchers.make(batch())
        code = codes(vouchers)[0]
        done, repeated = vouchers.redeem("r1", word(0), f"{code[:4]} {code[4:8]}-{code[8:]}")
        assert (done.batch, done.number, done.amount, repeated) == ("b", 1, 5_000_000, False)
        assert vouchers.redeem("r1", word(0), code) == (done, True)
    with vouching(tmp_path) as (_, _, vouchers):
        assert vouchers.redeem("r1", word(0), code) == (done, True)
        with pytest.raises(NotRedeemed, match="used already"):
            vouchers.redeem("r2", word(0), code)
        with pytest.raises(Refused, match="another voucher"):
            vouchers.redeem("r1", word(0), codes(vouchers)[1])
    assert left(tmp_path, 0, "main") == 35_000_000
    booked = entries(tmp_path).filter(pl.col("cause") == int(Cause.VOUCHER))
    assert booked.select(pl.col("debit", "credit").cast(pl.String)).rows() == [("vouchers", "balance")]
    found = reconciled(tmp_path)
    assert (found["differences"], found["account_differences"]) == (0, 0)


def test_units_have_an_end_and_large_money_its_bonus(tmp_path: Path) -> None:
    """A movement and an entry of the ledger; the same order again is told as it was booked."""
    with vouching(tmp_path) as (_, serving, vouchers):
        vouchers.make(batch("data", 1, 10**9, "spare", 7))
        vouchers.make(batch("rich", 1, 25_000_000))
        done, _ = vouchers.redeem("r1", word(0), codes(vouchers, "data")[0])
        assert done.valid_until_s == START_US // 1_000_000 + 7 * 86_400
        assert vouchers.redeem("r2", word(1), codes(vouchers, "rich")[0])[0].valid_until_s == NEVER_S
        rows = serving.reader.account(word(0))
        assert done.valid_until_s in rows["valid_until_s"].tolist()
    assert left(tmp_path, 0, "spare") == 10**9
    assert (left(tmp_path, 1, "gift"), left(tmp_path, 1, "thanks")) == (2 * 10**9, 1_500_000)


def _told(vouchers: FolderVouchers, name: str, who: int, code: str) -> str:
    """What redeeming a code comes to, in a word."""
    try:
        return "repeated" if vouchers.redeem(name, word(who), code)[1] else "booked"
    except NotRedeemed as error:
        return error.reason


def test_two_at_the_same_moment(tmp_path: Path) -> None:
    """However many redeem a code at once, one has it and the others are told so; names at once are one order."""
    with vouching(tmp_path) as (_, _, vouchers):
        vouchers.make(batch(size=8))
        given = codes(vouchers)

        def ask(said: tuple[str, int, str]) -> str:
            return _told(vouchers, *said)

        with ThreadPoolExecutor(8) as pool:
            for code in given[:4]:
                told = sorted(pool.map(ask, [(f"{code}{at}", at, code) for at in range(8)]))
                assert told == ["booked", *["voucher_used"] * 7]
            for code in given[4:]:
                told = sorted(pool.map(ask, [(f"{code}", 3, code)] * 8))
                assert told == ["booked", *["repeated"] * 7]
        assert vars(vouchers.batch("b")[1]) == {"made": 8, "unused": 0, "used": 8, "blocked": 0, "expired": 0}
    assert sum(left(tmp_path, at, "main") for at in range(PEOPLE)) == PEOPLE * 30_000_000 + 8 * 5_000_000


def test_who_guesses_waits(tmp_path: Path) -> None:
    """Three unknown codes within two hours block the subscriber, others not; slips are not counted."""
    clock = Clock()
    with vouching(tmp_path, clock) as (_, _, vouchers):
        vouchers.make(batch(size=4))
        given = codes(vouchers)
        guesses = [code_of(b"another secret", "b", number, 0) for number in range(5)]
        slip = given[0][:-1] + str((int(given[0][-1]) + 1) % 10)
        for guess in (slip, "12", guesses[0], slip, guesses[1]):
            with pytest.raises(NotRedeemed) as refused:
                vouchers.redeem("g", word(0), guess)
            assert refused.value.reason in ("mistyped_voucher", "unknown_voucher")
        vouchers.redeem("r1", word(0), given[0])
        clock.us += HOUR_US
        with pytest.raises(NotRedeemed, match="no voucher with this code"):
            vouchers.redeem("g", word(0), guesses[2])
    with vouching(tmp_path, clock) as (_, _, vouchers):  # and it is not forgotten
        with pytest.raises(NotRedeemed, match=r"again from 2026-09-21T.*Z on"):
            vouchers.redeem("r2", word(0), given[1])
        assert vouchers.redeem("r1", word(0), given[0])[1], "what was answered before is answered again"
        vouchers.redeem("r3", word(1), given[2])
        clock.us += HOUR_US
        vouchers.redeem("r2", word(0), given[1])


def test_states_and_what_is_refused(tmp_path: Path) -> None:
    """Not before it is active, not when it is blocked or expired, not twice made; what is used stays used."""
    clock = Clock()
    with vouching(tmp_path, clock) as (_, _, vouchers):
        vouchers.make(batch(state="made"))
        given = codes(vouchers)

        def told(number: int) -> str:
            with pytest.raises(NotRedeemed) as refused:
                vouchers.redeem(f"r{number}", word(0), given[number - 1])
            assert refused.value.reason == f"voucher_{vouchers.voucher('b', number).state}"
            return refused.value.reason

        assert told(1) == "voucher_made"
        vouchers.change("b", None, "activate", "clerk")
        vouchers.change("b", 2, "block", "clerk")
        assert told(2) == "voucher_blocked"
        vouchers.redeem("r1", word(0), given[0])
        with pytest.raises(Refused, match="used already"):
            vouchers.change("b", 1, "block", "clerk")
        vouchers.change("b", 2, "unblock", "clerk")
        vouchers.redeem("r2", word(0), given[1])
        vouchers.change("b", None, "block", "clerk")
        assert told(3) == "voucher_blocked"
        vouchers.change("b", None, "unblock", "clerk")
        clock.us += 100 * HOUR_US
        assert told(3) == "voucher_expired"
        assert vars(vouchers.batch("b")[1]) == {
            "made": 10,
            "unused": 0,
            "used": 2,
            "blocked": 0,
            "expired": 8,
        }
        assert vouchers.voucher("b", 1).state == "used"
        assert not vouchers.make(batch(state="made"))
        for wrong in (
            batch(amount=1),
            batch("x:y"),
            batch("late", hours=1),
            batch("none", 0),
            batch("many", 2 * 10**6),
        ):
            with pytest.raises(Refused):
                vouchers.make(wrong)
        clock.us = START_US
        vouchers.make(batch("odd", 1, balance="gone"))
        with pytest.raises(NotRedeemed, match="no longer has the balance"):
            vouchers.redeem("r9", word(0), codes(vouchers, "odd")[0])
        with pytest.raises(NotRedeemed, match="no such subscriber"):
            vouchers.redeem("r9", word(0) + 1, given[3])
        assert vouchers.voucher("odd", 1).state == "active", "what was refused may be tried again"


def test_no_code_is_kept(tmp_path: Path) -> None:
    """Neither files nor ledger nor audit hold a code or the secret; only the owner may read; without it all stops."""
    with vouching(tmp_path) as (_, _, vouchers):
        vouchers.make(batch(size=50))
        given = codes(vouchers)
        vouchers.redeem("r1", word(0), given[0])
    secret = tmp_path / "data" / "vouchers.key"
    for path in (secret, tmp_path / "data" / "vouchers.sqlite"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file() and path != secret:
            octets = path.read_bytes()
            assert secret.read_bytes() not in octets
            assert not any(code.encode() in octets for code in given), path
    secret.chmod(0o644)
    with vouching(tmp_path) as (_, _, vouchers), pytest.raises(FolderDamaged, match="chmod 600"):
        vouchers.redeem("r2", word(0), given[1])
    secret.unlink()
    with vouching(tmp_path) as (_, _, vouchers), pytest.raises(FolderDamaged, match="from a backup"):
        vouchers.redeem("r2", word(0), given[1])


@given(st.binary(min_size=32, max_size=32), st.text(max_size=40), st.integers(1, 10**6), st.integers(0, 15))
def test_codes_are_told_apart(secret: bytes, name: str, number: int, at: int) -> None:
    """A code is the same each time it is worked out, and one wrong digit anywhere is noticed."""
    code = code_of(secret, name, number, 0)
    assert code == code_of(secret, name, number, 0) == read_code(f" {code[:8]}-{code[8:]} ")
    assert len({code_of(secret, name, number, turn) for turn in range(8)}) == 8
    for digit in set("0123456789") - {code[at]}:
        assert read_code(code[:at] + digit + code[at + 1 :]) is None


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("redeem"), st.integers(1, 6), st.integers(0, 2)),
        st.tuples(st.sampled_from(["block", "unblock"]), st.integers(1, 6), st.just(0)),
        st.tuples(st.sampled_from(["block all", "unblock all", "wait"]), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None)
@given(_STEPS)
def test_all_are_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    """Whatever is done in whatever order: each voucher is in one state, and the ledger has what was used."""
    folder, clock = tmp_path_factory.mktemp("steps"), Clock()
    used: set[int] = set()
    with vouching(folder, clock) as (_, _, vouchers):
        vouchers.make(batch(size=6, hours=3))
        given = codes(vouchers)
        for at, (step, number, who) in enumerate(steps):
            if step == "wait":
                clock.us += HOUR_US
            elif step == "redeem":
                expected = vouchers.voucher("b", number).state
                told = _told(vouchers, f"r{at}", who, given[number - 1])
                assert told == ("booked" if expected == "active" else f"voucher_{expected}")
                assert told != "booked" or number not in used
                used |= {number} if told == "booked" else set()
            elif not (step == "block" and number in used):
                vouchers.change("b", number or None, step.split()[0], "clerk")
            states = [vouchers.voucher("b", each).state for each in range(1, 7)]
            counts = vouchers.batch("b")[1]
            assert counts.used == len(used) == states.count("used")
            assert (counts.blocked, counts.expired) == (states.count("blocked"), states.count("expired"))
            assert counts.made == counts.unused + counts.used + counts.blocked + counts.expired
    money = entries(folder).filter(pl.col("cause") == int(Cause.VOUCHER))["amount"].sum()
    assert money == 5_000_000 * len(used)
