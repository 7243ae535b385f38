"""TMF654 and TMF635: answers that fit TM Forum's own definitions, exact amounts, paging, filters, idempotency."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest

from tests.api.conftest import NUMBER, World
from tests.api.test_intake import CALL, NDJSON
from trunkline.api.access import Role
from trunkline.api.exact import read_json
from trunkline.kernel import dial

DATA = Path(__file__).parents[1] / "data" / "tmf"
PREPAY, USAGE = "/tmf-api/prepayBalanceManagement/v4", "/tmf-api/usageManagement/v4"
SPECIFICATION = {
    PREPAY: orjson.loads((DATA / "TMF654-PrepayBalance-v4.0.0.swagger.json").read_bytes()),
    USAGE: orjson.loads((DATA / "TMF635-UsageManagement-v4.0.0.swagger.json").read_bytes()),
}
TOPUP: dict[str, Any] = {
    "amount": {"amount": 10.25, "units": "EUR"},
    "usageType": "monetary",
    "bucket": {"id": "main"},
    "partyAccount": {"id": NUMBER},
}


def fits(api: str, name: str, item: Any) -> None:
    """Assert that a value is what TM Forum's definition of that name says."""
    definitions = SPECIFICATION[api]["definitions"]
    schema = {"$ref": f"#/definitions/{name}", "definitions": _strict(definitions)}
    validator = jsonschema_rs.Draft4Validator(schema, validate_formats=True)
    errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(item)]
    assert not errors, errors


def _strict(definitions: dict[str, Any]) -> dict[str, Any]:
    """Swagger's own marks, which are no JSON Schema, left out; unknown attributes refused, to catch a slip of ours."""
    return {
        name: {**{key: value for key, value in each.items() if key != "discriminator"}}
        | ({"additionalProperties": False} if "properties" in each else {})
        for name, each in definitions.items()
    }


async def handed_in(client: httpx.AsyncClient, count: int = 3) -> None:
    """Some usage of two subscribers."""
    lines = [
        {
            **CALL,
            "id": f"u{at}",
            "start": f"2026-11-18T08:{at:02d}:00Z",
            "subscriber": f"44770090000{1 + at % 2}",
        }
        | ({"type": "sms", "events": 1} if at % 3 == 0 else {})
        for at in range(count)
    ]
    body = b"\n".join(orjson.dumps(line) for line in lines)
    assert (await client.post("/api/v1/events", content=body, headers=NDJSON)).status_code == 202


@pytest.mark.anyio
async def test_all_resources_fit_their_definitions(world: World) -> None:
    """Every list, every single resource by its own href, nothing that the definition does not know."""
    resources = [
        (PREPAY, "bucket", "Bucket"),
        (PREPAY, "accumulatedBalance", "AccumulatedBalance"),
        (PREPAY, "topupBalance", "TopupBalance"),
        (PREPAY, "adjustBalance", "AdjustBalance"),
        (PREPAY, "balanceActionHistory", "BalanceActionHistory"),
        (USAGE, "usage", "Usage"),
        (USAGE, "usageSpecification", "UsageSpecification"),
    ]
    async with world.client() as client:
        await handed_in(client)
        until = {"validFor": {"endDateTime": "2027-01-31T23:00:00Z"}}
        data: dict[str, Any] = {
            "amount": {"amount": 1.5, "units": "GB"},
            "usageType": "data",
            "bucket": {"id": "data_1gb"},
        }
        for create, body in [
            ("topupBalance", TOPUP),
            ("topupBalance", {**TOPUP, **data, **until}),
            (
                "adjustBalance",
                {**TOPUP, "amount": {"amount": -0.000001, "units": "EUR"}, "reason": "goodwill"},
            ),
        ]:
            made = await client.post(f"{PREPAY}/{create}", json=body)
            assert made.status_code == 201, made.text
            fits(PREPAY, create[0].upper() + create[1:], made.json())
            assert made.headers["Location"] == made.json()["href"]
        for api, path, name in resources:
            listed = await client.get(f"{api}/{path}")
            assert listed.json(), path
            assert int(listed.headers["X-Result-Count"]) == len(listed.json())
            for item in listed.json():
                fits(api, name, item)
                one = await client.get(item["href"])
                assert one.json() == item
                assert re.fullmatch(r"http://127\.0\.0\.1:8450/tmf-api/\S+", item["href"])
                assert NUMBER not in item["href"]
            missing = await client.get(f"{api}/{path}/~0000000000000000.none")
            assert missing.status_code == 404
            fits(api if api == PREPAY else PREPAY, "Error", missing.json())


@pytest.mark.anyio
async def test_amounts_are_exact_both_ways(world: World) -> None:
    """A decimal that no float holds arrives to the micro-unit and leaves as it was written."""
    body = orjson.dumps(TOPUP).replace(b"10.25", b"9007199254.740993")
    async with world.client() as client:
        made = await client.post(
            f"{PREPAY}/topupBalance", content=body, headers={"Content-Type": "application/json"}
        )
        assert made.status_code == 201, made.text
        assert b'"amount":9007199254.740993' in made.content
        assert world.store.moved[-1]["amount"] == 9007199254740993
        buckets = read_json((await client.get(f"{PREPAY}/bucket?logicalResource.id={NUMBER}")).content)
        main = next(each for each in buckets if each["name"] == "main")
        assert main["remainingValue"]["amount"] == Decimal("9007199264.740993")
        for amount, code in [
            (b"0.0000001", "too_precise"),
            (b"1e30", "too_large"),
            (b"0", "bad_amount"),
            (b"-1", "bad_amount"),
        ]:
            answer = await client.post(
                f"{PREPAY}/topupBalance",
                content=orjson.dumps(TOPUP).replace(b"10.25", amount),
                headers={"Content-Type": "application/json"},
            )
            assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert len(world.store.moved) == 1


@pytest.mark.anyio
async def test_units_are_converted_or_refused(world: World) -> None:
    """Time and volume come in their usual units, whole; another currency is not ours."""
    cases = [
        ("minutes_100", 90, "s", 90_000), ("minutes_100", 1.5, "min", 90_000), ("minutes_100", 2, "h", 7_200_000),
        ("data_1gb", 1.5, "MiB", 1_572_864), ("data_1gb", 2, "GB", 2 * 10**9),
        ("main", 5, "USD", None), ("data_1gb", 0.5, "B", None), ("minutes_100", 1, "MB", None),
        ("none", 1, "EUR", None),
    ]  # fmt: skip
    async with world.client() as client:
        for balance, amount, units, moved in cases:
            body = {**TOPUP, "amount": {"amount": amount, "units": units}, "bucket": {"id": balance}}
            answer = await client.post(f"{PREPAY}/topupBalance", json=body)
            assert answer.status_code == (400 if moved is None else 201), (balance, units, answer.text)
            assert moved is None or world.store.moved[-1]["amount"] == moved


@pytest.mark.anyio
async def test_the_same_key_moves_money_once(world: World) -> None:
    """A repeated request gets the same answer; the key with another order is refused."""
    async with world.client(Role.BILLING, {"Idempotency-Key": "order-7"}) as client:
        first, second = [await client.post(f"{PREPAY}/topupBalance", json=TOPUP) for _ in range(2)]
        assert first.status_code == second.status_code == 201
        assert first.json() == second.json()
        other = await client.post(
            f"{PREPAY}/topupBalance", json={**TOPUP, "amount": {"amount": 1, "units": "EUR"}}
        )
        assert (other.status_code, other.json()["code"]) == (409, "key_reused")
        path = f"/api/v1/subscribers/{NUMBER}/topups"
        again = await client.post(path, json={"balance": "main", "amount": 10_250_000})
        assert again.json()["status"] == "repeated"
    async with world.client(Role.ADMIN, {"Idempotency-Key": "order-7"}) as client:
        assert (await client.post(f"{PREPAY}/topupBalance", json=TOPUP)).status_code == 201
    assert [row["amount"] for row in world.store.moved] == [10_250_000] * 2


@pytest.mark.anyio
async def test_whose_bucket_is_never_guessed(world: World) -> None:
    """All references in one order must mean one known subscriber; refused orders are told as such."""
    people = world.app.state.desk.people
    mine, other = (people.reference(dial.to_key(number)) for number in (NUMBER, "447700900002"))
    good: list[dict[str, Any]] = [
        {"bucket": {"id": f"{mine}.main"}},
        {"logicalResource": [{"id": NUMBER}]},
        {"partyAccount": {"id": mine}},
    ]
    bad: list[dict[str, Any]] = [
        {"bucket": {"id": f"{other}.main"}},
        {"logicalResource": [{"id": other}]},
        {"partyAccount": {"id": "447700999999"}},
        {"partyAccount": {"id": "somebody"}},
        {"bucket": {"id": "~zzz.main"}},
        {"validFor": {"endDateTime": "2020-01-01T00:00:00Z"}},
        {"validFor": {"endDateTime": "tomorrow"}},
    ]
    async with world.client() as client:
        for change in good:
            assert (
                await client.post(f"{PREPAY}/topupBalance", json={**TOPUP, **change})
            ).status_code == 201, change
        for change in bad:
            assert (
                await client.post(f"{PREPAY}/topupBalance", json={**TOPUP, **change})
            ).status_code == 400, change
        take = {**TOPUP, "amount": {"amount": -5, "units": "GB"}, "bucket": {"id": "data_1gb"}}
        refused = await client.post(f"{PREPAY}/adjustBalance", json=take)
        assert (refused.status_code, refused.json()["code"]) == (409, "not_enough")
        history = (await client.get(f"{PREPAY}/balanceActionHistory?status=failed")).json()
        assert [(each["status"], each["reason"]) for each in history] == [("failed", "not_enough")]
        for change in ({"isAutoTopup": True}, {"voucher": "123"}, {"recurringPeriod": "monthly"}):
            assert (await client.post(f"{PREPAY}/topupBalance", json={**TOPUP, **change})).status_code == 501


@pytest.mark.anyio
async def test_pages_add_up_to_the_list(world: World) -> None:
    """Whatever the page size, the pages hold the same as the whole list, with the same total."""
    async with world.client() as client:
        await handed_in(client, 25)
        for path in (f"{USAGE}/usage", f"{PREPAY}/bucket", f"{USAGE}/usage?usageType=sms"):
            glue = "&" if "?" in path else "?"
            whole = (await client.get(f"{path}{glue}limit=1000")).json()
            for size in (1, 4, 1000):
                paged: list[Any] = []
                for offset in range(0, len(whole), size):
                    answer = await client.get(f"{path}{glue}limit={size}&offset={offset}")
                    assert answer.headers["X-Total-Count"] == str(len(whole))
                    assert answer.headers["X-Total-Count-Is"] == "exact"
                    paged += answer.json()
                assert paged == whole
        beyond = await client.get(f"{USAGE}/usage?offset=100")
        assert (beyond.json(), beyond.headers["X-Total-Count"]) == ([], "25")
        for wrong in ("limit=0", "limit=1001", "offset=-1", "limit=ten", "offset=99999999999", "limit="):
            assert (await client.get(f"{USAGE}/usage?{wrong}")).status_code == 400, wrong


@pytest.mark.anyio
async def test_filters_and_fields(world: World) -> None:
    """Equality on any attribute, nested ones too, dates in between, several values; and only the fields asked for."""
    async with world.client() as client:
        await handed_in(client, 9)

        async def found(query: str) -> list[str]:
            answer = await client.get(f"{USAGE}/usage?{query}")
            assert answer.status_code == 200, answer.text
            return [each["usageDate"][14:16] for each in answer.json()]

        assert await found("usageType=sms") == ["06", "03", "00"]
        assert await found("usageType=sms,voice&status=rated&limit=2") == ["08", "07"]
        assert await found("status=billed") == []
        assert await found("usageDate.gte=2026-11-18T08:07:00Z") == ["08", "07"]
        assert await found("usageDate.gt=2026-11-18T08:07:00Z&usageDate.lt=2026-11-18T09:00:00+01:00") == []
        assert await found("usageDate.lte=2026-11-18T09:01:00%2B01:00") == ["01", "00"]
        assert await found("usageDate=2026-11-18T08:05:00Z") == ["05"]
        assert await found(f"relatedParty.id=%2B{NUMBER}&usageType=sms") == ["06", "00"]
        assert await found("relatedParty.id=nobody") == []
        assert await found("ratedProductUsage.taxExcludedRatingAmount.value=0.05") == ["06", "03", "00"]
        assert await found("ratedProductUsage.taxExcludedRatingAmount.value.gt=0.05&usageType=voice") == [
            "07",
            "05",
            "01",
        ]
        assert await found("ratedProductUsage.isBilled=false&limit=1") == ["08"]
        assert await found("usageType.ne=voice") == ["06", "03", "00"]
        assert await found("nothing.like.this=1") == []
        fields = (await client.get(f"{USAGE}/usage?fields=usageType,status&limit=1")).json()
        assert set(fields[0]) == {"id", "href", "usageType", "status"}
        assert set((await client.get(f"{fields[0]['href']}?fields=none")).json()) == {"id", "href"}
        for wrong in ("a..b=1", "usageDate.gte=now", "a b=1", ".=1"):
            assert (await client.get(f"{USAGE}/usage?{wrong}")).status_code == 400, wrong
        expensive = (
            await client.get(f"{PREPAY}/bucket?remainingValue.amount.gte=9&usageType=monetary")
        ).json()
        assert [each["remainingValue"]["amount"] for each in expensive] == [9.9]


@pytest.mark.anyio
async def test_usage_is_handed_in_and_found_again(world: World) -> None:
    """The id is known at once: rated when it was charged, rejected with its reason when it was not."""
    order: dict[str, Any] = {
        "usageType": "voice",
        "usageDate": "2026-11-18T08:15:30Z",
        "relatedParty": [{"id": NUMBER, "role": "subscriber", "@referredType": "Individual"}],
        "usageCharacteristic": [
            {"name": "called", "value": "447700900002"},
            {"name": "duration_ms", "value": 61000},
            {"name": "id", "value": "tmf-1"},
        ],
    }
    async with world.client() as client:
        made = await client.post(f"{USAGE}/usage", json=order)
        assert made.status_code == 201, made.text
        fits(USAGE, "Usage", made.json())
        assert made.json()["status"] == "rated"
        assert (await client.get(made.headers["Location"])).json() == made.json()
        unknown = {**order, "relatedParty": [{"id": "447999999999"}], "usageCharacteristic": []}
        made = await client.post(f"{USAGE}/usage", json=unknown)
        assert made.json()["status"] == "received"
        said = (await client.get(made.headers["Location"])).json()
        fits(USAGE, "Usage", said)
        assert (said["status"], said["description"]) == ("rejected", "unknown_subscriber")
        changed = order["usageCharacteristic"][:1] + [
            {"name": "duration_ms", "value": 5},
            {"name": "id", "value": "tmf-1"},
        ]
        await client.post(f"{USAGE}/usage", json={**order, "usageCharacteristic": changed})
        assert len(world.store.waiting) == 1
        wrong: list[dict[str, Any]] = [
            {"usageType": "fax"},
            {"usageDate": "yesterday"},
            {"usageDate": "2026-13-01T00:00:00Z"},
            {"relatedParty": []},
            {"usageCharacteristic": [{"name": "subscriber", "value": "1"}]},
            {"usageCharacteristic": [{"name": "called", "value": {"a": 1}}]},
            {"usageCharacteristic": [{"name": "id", "value": "a\u0000b"}]},
        ]
        for change in wrong:
            assert (await client.post(f"{USAGE}/usage", json={**order, **change})).status_code == 400, change
        world.store.busy = True
        assert (await client.post(f"{USAGE}/usage", json=order)).status_code == 429


@pytest.mark.anyio
async def test_everyones_list_says_when_it_stopped_counting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count that reading everything would take is told as a lower bound, not made up."""
    monkeypatch.setattr("trunkline.api.tmf.usage.SCANNED_MAX", 5)
    async with world.client() as client:
        await handed_in(client, 9)
        answer = await client.get(f"{USAGE}/usage?limit=2&usageType=voice")
        assert answer.headers["X-Total-Count-Is"] == "at-least"
        assert int(answer.headers["X-Total-Count"]) < 9
        answer = await client.get(f"{USAGE}/usage?limit=2")
        assert answer.headers["X-Total-Count"] == "9"
