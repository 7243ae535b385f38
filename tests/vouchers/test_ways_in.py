"""Vouchers by HTTP, TMF654 and the command line: for the roles that may, written down without a code."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.api.test_tmf import PREPAY, fits
from tests.giving.small import left, number, word
from tests.giving.test_ways_in import Asked
from tests.vouchers.small import Clock, batch, codes, vouching
from trunkline.api.access import Role
from trunkline.charging.vouchers import code_of
from trunkline.cli import app as commands
from trunkline.ports import Refused

BATCH = {"batch": "spring", "size": 4, "amount": 10_000_000, "expires": "2099-01-01T00:00:00Z"}


def test_over_http(tmp_path: Path) -> None:
    """Made, printed, activated, redeemed, blocked and counted; a code stands in no audit and no answer but its own."""
    with vouching(tmp_path, Clock()) as (_, serving, vouchers):
        ask = Asked(serving, None, vouchers)
        assert ask("POST", "/api/v1/vouchers", BATCH, Role.CARE).status_code == 403
        made = ask("POST", "/api/v1/vouchers", BATCH)
        assert (made.status_code, made.json()["status"], made.json()["unused"]) == (201, "made", 4), made.text
        assert ask("POST", "/api/v1/vouchers", BATCH).json()["status"] == "repeated"
        assert ask("POST", "/api/v1/vouchers", BATCH | {"size": 5}).status_code == 409
        assert ask("POST", "/api/v1/vouchers", BATCH | {"batch": "x", "balance": "gold"}).status_code == 400
        assert ask("POST", "/api/v1/vouchers/none/codes").status_code == 404
        assert ask("POST", "/api/v1/vouchers/spring/codes", role=Role.CARE).status_code == 403
        given = [row["code"] for row in ask("POST", "/api/v1/vouchers/spring/codes").json()["items"]]
        path = f"/api/v1/subscribers/{number(0)}/vouchers"
        early = ask("POST", path, {"code": given[0]})
        assert (early.status_code, early.json()["code"]) == (409, "voucher_made")
        changed = ask("POST", "/api/v1/vouchers/spring/change", {"action": "activate"})
        assert changed.json()["state"] == "active"
        assert ask("POST", path, {"code": given[0]}, Role.CARE).status_code == 403
        done = ask("POST", path, {"code": given[0]}, key="k")
        assert (done.status_code, done.json()["status"], done.json()["voucher"]) == (
            201,
            "booked",
            "spring-1",
        )
        assert ask("POST", path, {"code": given[0]}, key="k").json()["status"] == "repeated"
        assert ask("POST", path, {"code": given[1]}, key="k").json()["code"] == "key_reused"
        assert ask("POST", path, {"code": given[0]}).json()["code"] == "voucher_used"
        for guess in range(3):
            wrong = ask("POST", path, {"code": code_of(b"x", "x", guess, 0)})
            assert (wrong.status_code, wrong.json()["code"]) == (409, "unknown_voucher")
        waits = ask("POST", path, {"code": given[1]})
        assert (waits.status_code, waits.json()["code"]) == (429, "too_many_wrong")
        one = "/api/v1/vouchers/spring/2"
        assert ask("POST", f"{one}/change", {"action": "block"}).json()["state"] == "blocked"
        assert ask("GET", "/api/v1/vouchers/spring/1").json()["state"] == "used"
        assert ask("GET", "/api/v1/vouchers/spring/9").status_code == 404
        row = ask("GET", "/api/v1/vouchers").json()["items"][0]
        assert [row[name] for name in ("made", "unused", "used", "blocked", "expired")] == [4, 2, 1, 1, 0]
        assert ask("GET", f"/api/v1/subscribers/{number(0)}/balances").json()["can_redeem"]
        audit = serving.reader.audit(200)
        assert {"make_vouchers", "read_voucher_codes", "voucher_redeemed", "voucher_refused"} <= set(
            audit["action"]
        )
        assert not any(code in detail for code in given for detail in audit["detail"])
    assert left(tmp_path, 0, "main") == 40_000_000


def test_where_vouchers_cannot_be(tmp_path: Path) -> None:
    """A process that cannot put all who redeem into one line says so."""
    with vouching(tmp_path) as (_, serving, _):
        ask = Asked(serving, None)
        refused = ask("POST", f"/api/v1/subscribers/{number(0)}/vouchers", {"code": "1"})
        assert (refused.status_code, refused.json()["code"]) == (501, "no_vouchers")
        assert ask("GET", "/api/v1/vouchers").status_code == 501
        assert ask("GET", f"/api/v1/subscribers/{number(0)}/balances").json()["can_redeem"] is False


def test_tmf654(tmp_path: Path) -> None:
    """TopupBalance with a voucher: what it is worth is in the answer and in the list, its code is not."""
    with vouching(tmp_path) as (_, serving, vouchers):
        vouchers.make(batch())
        code = codes(vouchers)[0]
        ask = Asked(serving, None, vouchers)
        order: dict[str, Any] = {
            "amount": {"amount": 0, "units": "EUR"}, "usageType": "monetary", "bucket": {"id": "main"},
            "partyAccount": {"id": number(2)}, "voucher": code, "channel": {"id": "shop"},
        }  # fmt: skip
        made = ask("POST", f"{PREPAY}/topupBalance", order, key="k")
        assert made.status_code == 201, made.text
        fits(PREPAY, "TopupBalance", made.json())
        assert (made.json()["amount"], made.json()["voucher"]) == ({"amount": 5, "units": "EUR"}, "b-1")
        assert code not in made.text
        assert ask("POST", f"{PREPAY}/topupBalance", order, key="k").json()["id"] == made.json()["id"]
        assert ask("POST", f"{PREPAY}/topupBalance", order).json()["code"] == "voucher_used"
        one = ask("GET", made.json()["href"].removeprefix("http://127.0.0.1:8450"))
        assert one.json()["voucher"] == "b-1"
        listed = ask("GET", f"{PREPAY}/topupBalance?partyAccount.id={number(2)}").json()
        assert [each["id"] for each in listed] == [made.json()["id"]]
    assert left(tmp_path, 2, "main") == 35_000_000


def test_at_the_command_line(tmp_path: Path) -> None:
    """A clerk makes, prints, activates, redeems and counts; codes go through files and inputs of their owner alone."""
    with vouching(tmp_path):
        pass
    data = ["--data", str(tmp_path / "data")]

    def run(*words: str, said: str | None = None) -> str:
        answer = CliRunner().invoke(commands, ["voucher", *words, *data], input=said)
        if answer.exception is not None:
            raise answer.exception
        return answer.stdout

    printed = tmp_path / "codes.csv"
    make = (
        "make",
        "gift",
        "--size",
        "3",
        "--amount",
        "5GB",
        "--balance",
        "spare",
        "--valid",
        "30d",
        "--expires",
        "2099-01-01",
    )
    assert "made: 3 vouchers" in run(*make)
    assert "made before" in run(*make)
    run("codes", "gift", "--to", str(printed))
    assert stat.S_IMODE(printed.stat().st_mode) == 0o600
    with pytest.raises(Refused, match="there already"):
        run("codes", "gift", "--to", str(printed))
    given = [line.split(",")[1] for line in printed.read_text().splitlines()[1:]]
    with pytest.raises(Refused, match="circulation"):
        run("redeem", number(1), said=given[0])
    run("activate", "gift")
    for status in ("booked", "repeated"):
        told = json.loads(run("redeem", number(1), "--id", "mine", "--json", said=given[0]))
        assert (told["status"], told["amount"], told["voucher"]) == (status, 5 * 10**9, "gift-1")
    run("block", "gift", "2")
    assert "blocked" in run("show", "gift", "2")
    (row,) = json.loads(run("list", "--json"))
    assert [row[name] for name in ("made", "unused", "used", "blocked", "expired")] == [3, 1, 1, 1, 0]
    with pytest.raises(Refused, match="has no balance"):
        run("make", "x", "--size", "1", "--amount", "1", "--balance", "gold", "--expires", "2099-01-01")
    with pytest.raises(Refused, match="No vouchers were made"):
        run("make", "x", "--size", "1", "--amount", "ten", "--expires", "2099-01-01")
    assert left(tmp_path, 1, "spare") == 5 * 10**9
    assert word(1)
