"""Members of one account charge online at the same moment, over real HTTP/2, and the account pays for all of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.online.ear import Ear
from tests.online.world import ALICE, API, World, data_request, granted, running, usage
from tests.waiting import until
from trunkline.bootstrap.reconcile import reconcile
from trunkline.charging.sharing import shares
from trunkline.kernel.dial import to_key
from trunkline.ports import Movement
from trunkline.records.charging import NEVER_S, Cause, RowKind

MEMBERS = tuple(f"44770090001{at}" for at in range(4))
ROUNDS = int(os.environ.get("TRUNKLINE_TEST_ROUNDS", "5"))
EVER = (-(2**62), 2**62)
MB = 1_000_000
TARIFF = """
operator: {name: Example Mobile, currency: EUR, time_zone: UTC, country_code: "44"}
destinations: {uk: {prefixes: ["44"]}}
rates:
  data: {price: "0.01", per: 1MB, increments: [1KB]}
balances:
  main: {unit: money, main: true}
  pool: {unit: octets, grant: 60MB, every: month, usage: [data], priority: 10, shared: true, member_limit: 25MB}
"""
PLAN = """
plan: family
effective: 2026-01-01
includes: [pool]
prices:
  - {usage: data, to: any, rate: data}
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[World]:
    """Alice owns an account of one euro and sixty megabytes; four others use it."""
    tariffs = tmp_path / "tariffs"
    tariffs.mkdir()
    (tariffs / "operator.yaml").write_text(TARIFF)
    (tariffs / "family.yaml").write_text(PLAN)
    lines = ["subscriber,plan,balance,owner", f"{ALICE},family,1.00,"]
    lines += [f"{member},family,,{ALICE}" for member in MEMBERS]
    (tariffs / "subscribers.csv").write_text("\n".join(lines) + "\n")
    with running(tmp_path, {}) as world:
        yield world


def asking(who: str, at: int, number: int, **units: Any) -> dict[str, Any]:
    """A request of one member's session."""
    body = data_request(number, at=f"2026-11-22T10:00:{at:02d}Z", multipleUnitUsage=[usage(10, **units)])
    body["pDUSessionChargingInformation"]["userInformation"] = {"servedGPSI": f"msisdn-{who}"}
    return body


@pytest.mark.timeout(900)
def test_members_at_the_same_moment_never_exceed_the_pool_their_limits_or_the_money(family: World) -> None:
    """Each reports all that it was granted and asks for more, until nothing is left: then the account is used up."""
    used: dict[str, int] = dict.fromkeys((ALICE, *MEMBERS), 0)

    def session(who: str, at: int) -> None:
        with family.client() as smf:
            opened = smf.post(API, json=asking(who, at, 1, wanted={"totalVolume": 9 * MB}))
            place, last = opened.headers["location"], granted(opened)
            for number in range(2, 2 + ROUNDS):
                used[who] += last
                report = asking(who, at, number, used={"totalVolume": last}, wanted={"totalVolume": 9 * MB})
                last = granted(smf.post(f"{place}/update", json=report))
            used[who] += last
            smf.post(f"{place}/release", json=asking(who, at, 2 + ROUNDS, used={"totalVolume": last}))

    threads = [threading.Thread(target=session, args=(who, at)) for at, who in enumerate(used)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
        assert not thread.is_alive()
    owner = to_key(ALICE)

    def charged() -> int:
        return int(family.reader.usage(owner, *EVER, 10_000)["units"].sum())

    until(
        lambda: charged() == sum(used.values()), f"{sum(used.values())} octets charged, not {charged()}", 120
    )
    rows, catalogue = family.reader.account(owner), family.platform.catalogue
    taken = shares(rows, catalogue)
    assert all(share.used <= 25 * MB for share in taken)
    assert sum(share.used for share in taken) <= 60 * MB
    main = rows[(rows["kind"] == RowKind.BALANCE) & (rows["definition"] == catalogue.main_balance)]
    assert int(main["value"].sum()) >= 0
    by_member = family.reader.usage(owner, *EVER, 10_000).group_by("member").agg(units="units")
    words = catalogue.members.words_of(owner)
    found = {words[member or 0]: sum(units) for member, units in by_member.iter_rows()}
    assert found == {to_key(who): octets for who, octets in used.items() if octets}
    result = reconcile(family.reader, catalogue, family.platform.mappings)
    assert (result["differences"], result["account_differences"]) == (0, 0), result


@pytest.mark.timeout(600)
def test_a_member_is_told_when_the_owner_tops_up(family: World) -> None:
    """The owner's money is everybody's: whoever got the last units of it may ask again."""
    with family.client() as smf, Ear() as ear:
        body = asking(MEMBERS[0], 1, 1, wanted={"totalVolume": 900 * MB}) | {
            "notifyUri": f"{ear.root}/notify"
        }
        assert granted(smf.post(API, json=body)) == 125 * MB
        family.intake.move([
            Movement("m1", int(Cause.TOPUP), to_key(ALICE), "main", 5_000_000, 1_795_000_000_000_000, NEVER_S)
        ])  # fmt: skip
        assert ear.heard() == {
            "notificationType": "REAUTHORIZATION",
            "reauthorizationDetails": [{"ratingGroup": 10}],
        }
