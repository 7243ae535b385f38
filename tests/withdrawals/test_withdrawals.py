"""A record that cancels or corrects another one reverses exactly what that one caused, whichever way and order."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tests.billing import small
from tests.rerating.small import balances, corrections, entries, history, reconciled
from tests.withdrawals.small import cancels, corrects, told
from trunkline.charging.corrections import corrected
from trunkline.stores.embedded.reader import EmbeddedReader

DAYS = list(small.records(1, 12))
LAST = list(small.records(13, 14))
WHOLE_MS = 600_000


def agrees(folder: Path) -> None:
    """Reconciliation finds nothing."""
    found = reconciled(folder)
    assert (found["differences"], found["account_differences"]) == (0, 0), found


def taken(folder: Path) -> dict[str, int]:
    """What each record came to in money, zero left out."""
    now = corrected(history(folder), corrections(folder))
    return {name: micros for name, micros in now.select("record_id", "charged_micros").iter_rows() if micros}


def test_the_identity(tmp_path: Path) -> None:
    """Charging records and cancelling them leaves every balance and counter as it was, and the sum of the ledger."""
    told(tmp_path / "one", DAYS)
    _, first, second = told(tmp_path / "two", DAYS, LAST, map(cancels, LAST))
    charged = {row["record_id"] for row in history(tmp_path / "two").iter_rows(named=True)} & {
        str(line["id"]) for line in LAST
    }
    assert first.totals.rated == len(charged) > 20
    assert second.withdrawn.cancelled == len(charged)
    assert second.withdrawn.waiting == len(LAST) - len(charged)
    assert second.totals.held == second.totals.received == len(LAST)
    extra = set(balances(tmp_path / "two")) - set(balances(tmp_path / "one"))
    assert {row[-1] for row in extra} == {WHOLE_MS}, (
        "the allowance of a period that a cancelled use asked for, whole"
    )
    assert set(balances(tmp_path / "one")) <= set(balances(tmp_path / "two"))
    assert taken(tmp_path / "one") == taken(tmp_path / "two")
    agrees(tmp_path / "two")


def test_in_the_middle(tmp_path: Path) -> None:
    """What others paid meanwhile stays; the books agree with charging everything once more."""
    gone = DAYS[5:200:7]
    told(tmp_path, DAYS, map(cancels, gone), LAST, map(cancels, LAST[:10]))
    agrees(tmp_path)
    now = taken(tmp_path)
    assert not {str(line["id"]) for line in gone} & now.keys()
    made = corrections(tmp_path)
    booked = entries(tmp_path).filter(pl.col("cause") == 9)
    assert set(booked["seq"]) <= set(made["seq"])
    assert all(name.startswith("cancel:x-") for name in made["correction_id"])


def test_a_corrected_record(tmp_path: Path) -> None:
    """The correcting record is charged under its own name, and names what it took the place of."""
    wrong = [
        line for line in DAYS[-60:] if line["type"] == "voice" and int(str(line["subscriber"])[-3:]) % 3 == 1
    ][:10]
    better = [corrects(line, duration_ms=61_000) for line in wrong]
    done = told(tmp_path, DAYS, better, better)
    assert done[1].withdrawn.corrected == len(wrong)
    assert done[2].totals.duplicate == len(wrong)
    now = taken(tmp_path)
    assert not {str(line["id"]) for line in wrong} & now.keys()
    units = dict(history(tmp_path).select("record_id", "units").iter_rows())
    assert all(units[line["id"]] == 61_000 for line in better)
    agrees(tmp_path)
    (again,) = told(tmp_path, [cancels(better[0])])
    assert again.withdrawn.cancelled == 1
    agrees(tmp_path)


def test_orders_of_arrival(tmp_path: Path) -> None:
    """Before its original it waits; twice it is a duplicate; a second one for the same original is rejected."""
    line = next(line for line in LAST if line["type"] == "sms")
    early, late = cancels(line), corrects(line, "other")
    done = told(tmp_path, DAYS, [early], [early], [line], [late], [late])
    assert done[1].withdrawn.waiting == 1
    assert (done[2].totals.duplicate, done[2].withdrawn.waiting) == (1, 1)
    assert (done[3].totals.rated, done[3].withdrawn.cancelled) == (1, 1)
    assert done[4].withdrawn.rejected == done[5].withdrawn.rejected == 1
    reader = EmbeddedReader(tmp_path / "data")
    assert reader.rejects(None, 1000)["reason"].to_list().count("already_corrected") == 2
    assert all(
        each.received == each.rated + each.duplicate + each.rejected + each.held
        for each in reader.accounting()
    )
    agrees(tmp_path)


def test_an_original_that_never_comes(tmp_path: Path) -> None:
    """After the days that names are remembered nobody waits any more."""
    lost = cancels({**DAYS[0], "id": "never"})
    done = told(tmp_path, DAYS, [lost], small.records(10, 11, month=11))
    assert done[1].withdrawn.waiting == 1
    assert (done[2].withdrawn.waiting, done[2].withdrawn.rejected) == (0, 1)
    reasons = EmbeddedReader(tmp_path / "data").rejects("original_unknown", 10)
    assert len(reasons) == 1
    agrees(tmp_path)
