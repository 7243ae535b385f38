"""Handing on by HTTP, TMF654 and the command line: for the roles that may, masked, written down, once for each key."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from tests.api.test_tmf import PREPAY, fits
from tests.giving.small import giving, left, number, word
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions
from trunkline.bootstrap.serve import Serving
from trunkline.bootstrap.transfers import FolderTransfers
from trunkline.bootstrap.vouchers import FolderVouchers
from trunkline.cli import app as commands
from trunkline.ports import Refused

TOKENS = {role: f"{role.name.lower()}-token-of-the-tests" for role in Role}


class Asked:
    """The application over a serving platform, asked in one role after the other."""

    def __init__(
        self, serving: Serving, transfers: FolderTransfers | None, vouchers: FolderVouchers | None = None
    ) -> None:
        self.app = create_app(
            serving.reader,
            serving.intake,
            serving.audit,
            lambda: serving.platform.catalogue,
            [Token(role.name.lower(), role, digest(text)) for role, text in TOKENS.items()],
            ApiOptions(reference_key=b"k" * 32),
            transfer_port=transfers,
            voucher_port=vouchers,
        )

    def __call__(
        self, method: str, path: str, body: Any = None, role: Role = Role.BILLING, key: str | None = None
    ) -> httpx.Response:
        return asyncio.run(self._ask(method, path, body, role, key))

    async def _ask(self, method: str, path: str, body: Any, role: Role, key: str | None) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {TOKENS[role]}"} | ({"Idempotency-Key": key} if key else {})
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8450", headers=headers
        ) as client:
            return await client.request(method, path, json=body)


def test_over_http(tmp_path: Path) -> None:
    """Ordered, repeated, listed, refused in words; nobody's number stands in an answer that did not ask for it."""
    path = f"/api/v1/subscribers/{number(0)}/transfers"
    body = {"to": number(1), "balance": "main", "amount": 2_000_000}
    with giving(tmp_path) as (_, serving, transfers):
        ask = Asked(serving, transfers)
        assert ask("POST", path, body, Role.VIEWER).status_code == 403
        made = ask("POST", path, body, key="k1")
        assert (made.status_code, made.json()["status"]) == (201, "booked"), made.text
        assert made.json()["fee_micros"] == 130_000
        assert number(1) not in made.text
        assert ask("POST", path, body, key="k1").json()["status"] == "repeated"
        reused = ask("POST", path, body | {"amount": 3_000_000}, key="k1")
        assert (reused.status_code, reused.json()["code"]) == (409, "key_reused")
        refused = ask("POST", path, body | {"amount": 30_000_000})
        assert (refused.status_code, refused.json()["code"]) == (409, "above_most")
        assert ask("POST", path, body | {"to": "4999999999999"}).json()["code"] == "unknown_subscriber"
        assert left(tmp_path, 1, "main") == 32_000_000
        for at in (0, 1):
            listed = ask("GET", f"/api/v1/subscribers/{number(at)}/transfers", role=Role.CARE)
            assert [row["transfer_id"] for row in listed.json()["items"]] == [made.json()["transfer_id"]]
            assert number(0) not in listed.text
        full = ask("GET", f"{path}?numbers=full", role=Role.CARE).json()["items"][0]
        assert (full["giver"]["number"], full["receiver"]["number"]) == (number(0), number(1))
        view = ask("GET", f"/api/v1/subscribers/{number(0)}/balances").json()
        assert [each["name"] for each in view["can_transfer"]] == ["main", "data", "spare"]
        seen = serving.reader.audit(100)
        assert {"transfer_out", "transfer_in", "read_transfers"} <= set(seen["action"])
        assert word(1) in seen.filter(seen["action"] == "transfer_in")["subscriber"].to_list()


def test_where_none_are_booked(tmp_path: Path) -> None:
    """A process that books no transfers says so, and offers nothing."""
    with giving(tmp_path) as (_, serving, _):
        ask = Asked(serving, None)
        body = {"to": number(1), "balance": "main", "amount": 2_000_000}
        refused = ask("POST", f"/api/v1/subscribers/{number(0)}/transfers", body)
        assert (refused.status_code, refused.json()["code"]) == (501, "no_transfers")
        assert ask("GET", f"{PREPAY}/transferBalance").status_code == 501
        assert ask("GET", f"/api/v1/subscribers/{number(0)}/balances").json()["can_transfer"] == []


def test_tmf654(tmp_path: Path) -> None:
    """TransferBalance as the specification has it: created, found by its href, listed by person, exact."""
    order: dict[str, Any] = {
        "amount": {"amount": 2.5, "units": "EUR"}, "bucket": {"id": "main"}, "receiverBucket": {"id": "main"},
        "usageType": "monetary", "receiverBucketUsageType": "monetary", "reason": "a present",
        "channel": {"id": "app"}, "logicalResource": [{"id": number(2)}], "receiverLogicalResource": {"id": number(3)},
    }  # fmt: skip
    with giving(tmp_path) as (_, serving, transfers):
        ask = Asked(serving, transfers)
        made = ask("POST", f"{PREPAY}/transferBalance", order, key="k")
        assert made.status_code == 201, made.text
        fits(PREPAY, "TransferBalance", made.json())
        assert made.json()["reason"] == "a present"
        assert ask("POST", f"{PREPAY}/transferBalance", order, key="k").json()["id"] == made.json()["id"]
        one = ask("GET", made.json()["href"].removeprefix("http://127.0.0.1:8450"))
        fits(PREPAY, "TransferBalance", one.json())
        assert one.json()["amount"] == {"amount": 2.5, "units": "EUR"}
        assert one.json()["transferCost"] == {"unit": "EUR", "value": 0.13}
        everyone = ask("GET", f"{PREPAY}/transferBalance").json()
        hers = ask("GET", f"{PREPAY}/transferBalance?logicalResource.id={number(3)}").json()
        assert [each["id"] for each in everyone] == [each["id"] for each in hers] == [made.json()["id"]]
        assert ask("GET", f"{PREPAY}/transferBalance?logicalResource.id={number(4)}").json() == []
        wrong: list[tuple[dict[str, Any], int]] = [
            ({"receiverBucket": {"id": "spare"}}, 400), ({"logicalResource": []}, 400),
            ({"bucket": {"id": "gold"}}, 400),
            ({"amount": {"amount": 0, "units": "EUR"}}, 400), ({"amount": {"amount": 1, "units": "GB"}}, 400),
            ({"amount": {"amount": 99, "units": "EUR"}}, 409),
        ]  # fmt: skip
        assert [ask("POST", f"{PREPAY}/transferBalance", order | each).status_code for each, _ in wrong] == [
            status for _, status in wrong
        ]
        assert ask("GET", f"{PREPAY}/transferBalance/none").status_code == 404
    assert left(tmp_path, 3, "main") == 32_500_000


def test_at_the_command_line(tmp_path: Path) -> None:
    """A clerk hands on, does it again by mistake under the same name, and asks for too much."""
    with giving(tmp_path):
        pass
    words = ["transfer", number(0), number(1), "3.00", "--id", "mine", "--data", str(tmp_path / "data")]
    for status in ("booked", "repeated"):
        answer = CliRunner().invoke(commands, [*words, "--json"])
        assert answer.exit_code == 0, answer.output or answer.exception
        told = json.loads(answer.stdout)
        assert (told["status"], told["amount"], told["fee_micros"]) == (status, 3_000_000, 140_000)
    assert "handed on, for a fee of 0.14" in CliRunner().invoke(commands, words).stdout
    words[3], words[5] = "25.00", "other"
    answer = CliRunner().invoke(commands, words)
    assert isinstance(answer.exception, Refused)
    with pytest.raises(Refused, match="more than the tariff lets"):
        raise answer.exception
    assert left(tmp_path, 0, "main") == 30_000_000 - 3_140_000
