"""Nchf_ConvergedCharging as network functions use it: messages of their shape over real HTTP/2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.online.ear import Ear
from tests.online.world import ALICE, API, LOOKING_ON, World, call_request, data_request, running, usage
from tests.waiting import until
from trunkline.bootstrap.reconcile import reconcile
from trunkline.kernel.dial import to_key
from trunkline.ports import Movement
from trunkline.records.charging import NEVER_S, Cause, RowKind
from trunkline.settings import Online

EVER = (-(2**62), 2**62)
MB = 1_000_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Alice has one euro."""
    with running(tmp_path, {ALICE: "1.00"}) as world:
        yield world


@pytest.fixture
def smf(world: World) -> Iterator[httpx.Client]:
    """A network function."""
    with world.client() as client:
        yield client


def main_balance(world: World) -> int:
    """Micro-units of Alice's main balance."""
    rows = world.reader.account(to_key(ALICE))
    catalogue = world.platform.catalogue
    mine = (rows["kind"] == RowKind.BALANCE) & (rows["definition"] == catalogue.main_balance)
    return int(rows["value"][mine].sum())


def assert_left(world: World, micros: int) -> None:
    """So much is left on Alice's main balance once what she used is charged, a moment after it was answered."""
    until(
        lambda: main_balance(world) == micros, f"{micros} on the main balance, not {main_balance(world)}", 60
    )


def assert_reconciled(world: World, records: int) -> None:
    """The books are right, computed again from the raw records."""
    until(
        lambda: len(world.reader.usage(to_key(ALICE), *EVER, 100)) == records,
        f"{records} charged records",
        60,
    )
    result = reconcile(world.reader, world.platform.catalogue, world.platform.mappings)
    assert (result["records"], result["differences"], result["account_differences"]) == (records, 0, 0), (
        result
    )


@pytest.mark.timeout(600)
def test_a_token_that_is_taken_away_is_out_within_a_moment(world: World, smf: httpx.Client) -> None:
    """The server looks up a token that it let in a moment ago again, and then refuses it on the same connection."""
    assert smf.post(API, json=data_request(1)).status_code == 201
    world.tokens.pop(0)
    until(lambda: smf.post(API, json=data_request(2)).status_code == 401, "the token to be refused")
    assert smf.post(API, json=data_request(3)).status_code == 401


@pytest.mark.timeout(600)
def test_a_data_session_from_its_first_quota_to_its_release(world: World, smf: httpx.Client) -> None:
    """Create, update, release: quota is granted until the money ends, and what was used is charged once."""
    created = smf.post(
        API, json=data_request(1, multipleUnitUsage=[usage(10, wanted={"totalVolume": 60 * MB})])
    )
    assert (created.status_code, created.http_version) == (201, "HTTP/2")
    place = created.headers["location"]
    assert place.startswith(f"{world.life.root}{API}/")
    (granted,) = created.json()["multipleUnitInformation"]
    assert granted["resultCode"] == "SUCCESS"
    assert granted["grantedUnit"] == {"totalVolume": 60 * MB}
    assert "finalUnitIndication" not in granted
    report = data_request(2, multipleUnitUsage=[
        usage(10, used={"uplinkVolume": 10 * MB, "downlinkVolume": 40 * MB}, wanted={"totalVolume": 60 * MB})
    ])  # fmt: skip
    updated = smf.post(f"{place}/update", json=report)
    assert updated.status_code == 200
    (last,) = updated.json()["multipleUnitInformation"]
    assert last["grantedUnit"] == {"totalVolume": 50 * MB}, "fifty cents are left"
    assert last["finalUnitIndication"] == {"finalUnitAction": "TERMINATE"}
    assert_left(world, 500_000)
    released = smf.post(f"{place}/release", json=data_request(3, multipleUnitUsage=[
        usage(10, used={"totalVolume": 20 * MB})
    ]))  # fmt: skip
    assert (released.status_code, released.content) == (204, b"")
    assert_left(world, 300_000)
    gone = smf.post(f"{place}/update", json=data_request(4))
    assert (gone.status_code, gone.headers["content-type"]) == (404, "application/problem+json")
    assert_reconciled(world, 2)


@pytest.mark.timeout(600)
def test_what_is_sent_again_is_answered_as_before_and_charged_once(world: World, smf: httpx.Client) -> None:
    """A retransmission changes nothing, whichever of the three it is."""
    create = data_request(1, multipleUnitUsage=[usage(10, wanted={"totalVolume": 60 * MB})])
    first, again = (smf.post(API, json=create | {"retransmissionIndicator": at}) for at in (False, True))
    assert first.headers["location"] == again.headers["location"]
    assert first.json() == again.json()
    place = first.headers["location"]
    report = data_request(2, multipleUnitUsage=[
        usage(10, used={"totalVolume": 50 * MB}, wanted={"totalVolume": 60 * MB})
    ])  # fmt: skip
    assert smf.post(f"{place}/update", json=report).json() == smf.post(f"{place}/update", json=report).json()
    release = data_request(3, multipleUnitUsage=[usage(10, used={"totalVolume": 20 * MB})])
    assert [smf.post(f"{place}/release", json=release).status_code for _ in range(2)] == [204, 204]
    assert_left(world, 300_000)
    assert_reconciled(world, 2)


@pytest.mark.timeout(600)
def test_a_call_is_priced_as_one_whole(world: World, smf: httpx.Client) -> None:
    """Three reports of one call cost what one record of it costs: allowance first, one connect fee at most."""
    created = smf.post(API, json=call_request(1, multipleUnitUsage=[usage(1, wanted={"time": 480})]))
    assert created.status_code == 201, created.text
    assert created.json()["multipleUnitInformation"][0]["grantedUnit"] == {"time": 480}
    place = created.headers["location"]
    updated = smf.post(f"{place}/update", json=call_request(2, multipleUnitUsage=[
        usage(1, used={"time": 480}, wanted={"time": 3600})
    ]))  # fmt: skip
    (last,) = updated.json()["multipleUnitInformation"]
    assert last["grantedUnit"] == {"time": 120 + 600}, (
        "two free minutes, and a euro's worth at ten cents a minute"
    )
    assert "finalUnitIndication" in last
    assert_left(world, 1_000_000)
    smf.post(f"{place}/release", json=call_request(3, multipleUnitUsage=[usage(1, used={"time": 180})]))
    assert_left(world, 900_000)
    charged = world.reader.usage(to_key(ALICE), *EVER, 10)
    assert charged["units"].to_list() == [660_000]
    assert charged["allowance_units"].to_list() == [600_000]
    assert charged["charged_micros"].to_list() == [100_000]
    assert_reconciled(world, 1)


@pytest.mark.timeout(600)
def test_two_sessions_share_one_account_and_are_promised_no_more_than_it_holds(
    world: World, smf: httpx.Client
) -> None:
    """What one session holds, another cannot have; what is given back, it can."""
    ask = [usage(10, wanted={"totalVolume": 70 * MB})]
    one, other = (
        smf.post(API, json=data_request(1, at=f"2026-11-22T10:00:0{at}Z", multipleUnitUsage=ask))
        for at in (1, 2)
    )
    volumes = [
        each.json()["multipleUnitInformation"][0]["grantedUnit"]["totalVolume"] for each in (one, other)
    ]
    assert volumes == [70 * MB, 30 * MB]
    third = smf.post(API, json=data_request(1, at="2026-11-22T10:00:03Z", multipleUnitUsage=ask))
    assert third.json()["multipleUnitInformation"] == [
        {"ratingGroup": 10, "resultCode": "QUOTA_LIMIT_REACHED"}
    ]
    smf.post(f"{one.headers['location']}/release", json=data_request(2))
    more = smf.post(f"{third.headers['location']}/update", json=data_request(2, multipleUnitUsage=ask))
    assert more.json()["multipleUnitInformation"][0]["grantedUnit"] == {"totalVolume": 70 * MB}


@pytest.mark.timeout(600)
def test_an_event_is_charged_at_once(world: World, smf: httpx.Client) -> None:
    """A message is one request: reserved and charged together."""
    sent = smf.post(API, json={
        "subscriberIdentifier": f"msisdn-{ALICE}",
        "nfConsumerIdentification": {"nFName": "smsf-1", "nodeFunctionality": "SMSF"},
        "invocationTimeStamp": "2026-11-22T10:00:00Z",
        "invocationSequenceNumber": 0,
        "oneTimeEvent": True,
        "oneTimeEventType": "IEC",
        "sMSChargingInformation": {"recipientInfo": [{"recipientGPSI": "msisdn-447700900002"}]},
        "multipleUnitUsage": [usage(3, wanted={"serviceSpecificUnits": 1})],
    })  # fmt: skip
    assert sent.json()["multipleUnitInformation"][0]["grantedUnit"] == {"serviceSpecificUnits": 1}
    assert_left(world, 920_000)
    assert_reconciled(world, 1)


@pytest.mark.timeout(600)
def test_requests_that_cannot_be_carried_out_say_why(world: World, smf: httpx.Client) -> None:
    """Problem details with the attribute that is wrong; nobody comes in without a token that may."""
    wrong = smf.post(API, json={**data_request(1), "invocationTimeStamp": "yesterday"})
    assert wrong.status_code == 400
    assert wrong.json()["invalidParams"][0]["param"] == "invocationTimeStamp"
    assert smf.post(API, content=b"{").json()["cause"] == "INVALID_MSG_FORMAT"
    assert smf.post(f"{API}/0123456789abcdef/update", json=data_request(2)).status_code == 404
    assert smf.get(API).status_code == 405
    stranger = data_request(1, multipleUnitUsage=[usage(1, wanted={})])
    stranger["pDUSessionChargingInformation"]["userInformation"] = {"servedGPSI": "msisdn-447700900999"}
    unknown = smf.post(API, json=stranger)
    assert (unknown.status_code, unknown.json()["cause"]) == (404, "USER_UNKNOWN")
    with world.client("wrong") as nobody, world.client(LOOKING_ON) as viewer:
        assert nobody.post(API, json=data_request(1)).status_code == 401
        assert viewer.post(API, json=data_request(1)).status_code == 403


@pytest.mark.timeout(600)
def test_a_session_is_told_when_money_comes(world: World, smf: httpx.Client) -> None:
    """Who got his last units and tops up is told that he may ask again, over HTTP/2."""
    with Ear() as ear:
        ask = [usage(10, wanted={"totalVolume": 200 * MB})]
        smf.post(API, json=data_request(1, multipleUnitUsage=ask, notifyUri=f"{ear.root}/notify"))
        world.intake.move([
            Movement("m1", int(Cause.TOPUP), to_key(ALICE), "main", 5_000_000, 1_795_000_000_000_000, NEVER_S)
        ])  # fmt: skip
        assert ear.heard() == {
            "notificationType": "REAUTHORIZATION",
            "reauthorizationDetails": [{"ratingGroup": 10}],
        }


@pytest.mark.timeout(600)
def test_a_session_that_vanished_gives_back_what_it_was_promised(tmp_path: Path) -> None:
    """What it reported is charged, its network function is told, and what it reports after all is charged, too."""
    brief = Online(online_port=-1, online_validity_s=1, online_grace_s=0)
    with running(tmp_path, {ALICE: "1.00"}, brief) as world, world.client() as smf, Ear() as ear:
        created = smf.post(API, json=call_request(
            1, notifyUri=f"{ear.root}/notify", multipleUnitUsage=[usage(1, used={"time": 660}, wanted={"time": 60})],
        ))  # fmt: skip
        assert created.status_code == 201
        assert ear.heard() == {"notificationType": "ABORT_CHARGING"}
        assert_left(world, 900_000)
        released = smf.post(f"{created.headers['location']}/release", json=call_request(
            2, multipleUnitUsage=[usage(1, used={"time": 60})]
        ))  # fmt: skip
        assert released.status_code == 204
        assert_left(world, 750_000)
        assert smf.post(f"{created.headers['location']}/update", json=call_request(3)).status_code == 404
        assert_reconciled(world, 2)
