"""Every line of every bill of a month, compared with the second opinion's own bill."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.billing.small import NOVEMBER_US, billing, charge, records
from tests.opinion.bills import Contract, Line, Rules, Taken, bill
from trunkline.bootstrap.serve import prepare
from trunkline.kernel.dial import to_key
from trunkline.ports import Movement
from trunkline.records.bills import Charge, Section
from trunkline.records.charging import NEVER_S, Cause
from trunkline.records.usage import Kind
from trunkline.settings import Http, Keeping
from trunkline.stores.embedded.reader import EmbeddedReader

OLD_RATE_US, NEW_RATE_US = (
    int(datetime.fromisoformat(f"{day}T00:00:00+01:00").timestamp()) * 1_000_000
    for day in ("2026-01-01", "2026-11-02")
)
EVER = (-(2**62), 2**62)
PLACES = {0: "home", 20801: "eu", 31026: "world"}


def moment(us: int) -> datetime:
    """A moment in UTC."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)


def contracts(path: Path) -> dict[int, list[Contract]]:
    """The subscribers' file as the auditor reads it."""
    found: dict[int, list[Contract]] = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            since = None
            if len(row["from"]) > 10:
                since = datetime.fromisoformat(row["from"])
            elif row["from"]:
                since = Rules({"o.yaml": "operator: {currency: EUR, time_zone: Europe/Berlin}"}).moment(
                    date.fromisoformat(row["from"]), datetime.now(UTC)
                )
            found[to_key(row["subscriber"])].append(
                Contract(row["plan"], since, row["time_zone"], int(row["cycle_day"]))
            )
    return found


def taken(reader: EmbeddedReader) -> dict[int, list[Taken]]:
    """Movements of the main balance, with what each was for: the ledger that the second opinion agrees with."""
    found: dict[int, list[Taken]] = defaultdict(list)
    charged: dict[int, int] = defaultdict(int)
    used = {row["seq"]: row for row in reader.usage(None, *EVER, 10**7).iter_rows(named=True)}
    for row in reader.entries(None, *EVER, 10**7).iter_rows(named=True):
        if row["balance"] == "main" and row["cause"] == Cause.USAGE:
            charged[row["seq"]] += row["amount"]
        elif row["balance"] == "main" and row["cause"] != Cause.TOPUP:
            micros = -row["amount"] if row["credit"] == "balance" else row["amount"]
            what = Cause(row["cause"]).name.lower()
            found[row["subscriber"]].append(Taken(what, moment(row["time_us"]), micros))
    for seq, row in used.items():
        found[row["subscriber"]].append(
            Taken(
                "usage",
                moment(row["start_us"]),
                charged[seq],
                Kind(row["kind"]).name.lower(),
                PLACES[row["visited_plmn"]],
                row["destination"] or "",
            )
        )
    return found


def compared(lines: list[Line]) -> list[tuple[str, str, str, int, int]]:
    """Lines in an order of their own; usage summed by what it was, since the auditor writes each use."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    rest = []
    for line in lines:
        if line.section in ("usage", "discount"):
            key = (line.section, line.charge, line.name)
            sums.setdefault(key, [0])[0] += line.micros
        else:
            rest.append((line.section, line.charge, line.name, line.micros, line.tax_micros))
    return sorted([(*key, value, 0) for key, (value,) in sums.items()] + rest)


def ours(made: dict[str, Any]) -> list[Line]:
    """A bill's lines in the auditor's words."""
    return [
        Line(
            Section(line["section"]).name.lower(),
            Charge(line["charge"]).name.lower() if line["charge"] else "",
            line["name"],
            line["amount_micros"],
            line["tax_micros"],
        )
        for line in made["lines"]
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_line_of_a_month(tmp_path: Path, seed: int) -> None:
    """Fees by the day, discounts, minimum, taxes by date and place, rounding: the same to the micro-unit."""
    with billing(tmp_path) as (platform, bills):
        charge(platform, tmp_path / "a.ndjson", records(1, 31))
        chance = random.Random(seed)
        reader = EmbeddedReader(tmp_path / "data")
        serving = prepare(platform, Http(), Keeping())
        for at, word in enumerate(chance.sample(reader.subscribers(0, 100), 9)):
            cause = (Cause.ADJUSTMENT, Cause.REFUND, Cause.TOPUP)[at % 3]
            amount = chance.randrange(1, 9_999_999) * (-1 if at == 0 else 1)
            when_us = int(np.datetime64("2026-10-14T12:00", "us").astype(np.int64))
            [said] = serving.intake.move(
                [Movement(f"m{at}", int(cause), word, "main", amount, when_us, NEVER_S)]
            )
            assert said["status"] == "booked"
        serving.audit.close()
        movements = taken(reader)
        bills.run(202610)
        made = bills.bills(None, 202610, 1000)
    assert max(bill["until_us"] for bill in made) < NOVEMBER_US
    folder = tmp_path / "tariffs"
    rules = Rules({path.name: path.read_text() for path in folder.glob("*.yaml")})
    known = contracts(folder / "subscribers.csv")
    assert {bill["subscriber"] for bill in made} == set(known)
    for each in made:
        before = [one for one in movements[each["subscriber"]] if one.when < moment(each["until_us"])]
        expected = bill(rules, known[each["subscriber"]], before, 2026, 10)
        assert compared(ours(each)) == compared(expected.lines)
        assert each["total_micros"] == expected.total_micros
        told = each["payable"] and (each["payable"]["currency"], each["payable"]["micros"])
        assert told == expected.payable
    assert {each["payable"]["since_us"] for each in made if each["payable"]} == {OLD_RATE_US, NEW_RATE_US}
    sections = {line.section for each in made for line in ours(each)}
    assert sections >= {
        "recurring",
        "one_off",
        "usage",
        "discount",
        "minimum",
        "cap",
        "tax",
        "adjustment",
        "refund",
        "rounding",
    }
