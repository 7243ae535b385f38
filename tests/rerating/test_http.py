"""Re-rating over HTTP: for the role that may move money, masked, written down, booked once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from tests.billing.small import number
from tests.rerating.small import NOW_US, charged, rerating
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions
from trunkline.bootstrap.serve import prepare
from trunkline.settings import Http, Keeping

TOKENS = {role: f"{role.name.lower()}-token-of-the-tests" for role in Role}
OCTOBER = {"from": "2026-10-01", "to": "2026-10-31"}


async def asked(app: Any, role: Role, method: str, path: str, body: Any = None) -> httpx.Response:
    """What a caller of a role is answered."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {TOKENS[role]}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8450", headers=headers
    ) as client:
        return await client.request(method, path, json=body)


def test_rerating_over_http(tmp_path: Path) -> None:
    """Preview, list, records and booking; who only cares for customers may do none of it."""
    charged(tmp_path, right=False, last=12)
    with rerating(tmp_path, right=True) as (platform, rerates):
        serving = prepare(platform, Http(), Keeping())
        app = create_app(
            serving.reader,
            serving.intake,
            serving.audit,
            lambda: platform.catalogue,
            [Token(role.name.lower(), role, digest(text)) for role, text in TOKENS.items()],
            ApiOptions(reference_key=b"k" * 32),
            rerate_port=rerates,
            now_us=lambda: NOW_US,
        )

        def ask(method: str, path: str, body: Any = None, role: Role = Role.BILLING) -> httpx.Response:
            return asyncio.run(asked(app, role, method, path, body))

        assert ask("POST", "/api/v1/rerates", OCTOBER, Role.CARE).status_code == 403
        bad = ask("POST", "/api/v1/rerates", OCTOBER | {"to": "2026-02-30"})
        assert (bad.status_code, ask("GET", f"/api/v1/rerates/{'0' * 16}").status_code) == (400, 404)
        refused = ask("POST", "/api/v1/rerates", OCTOBER | {"plan": "none such"})
        assert (refused.status_code, refused.json()["code"]) == (409, "refused")
        made = ask("POST", "/api/v1/rerates", OCTOBER)
        assert made.status_code == 201, made.text
        told = made.json()
        assert not any(number(at) in made.text for at in range(24))
        assert told["accounts_differing"] > 5
        path = f"/api/v1/rerates/{told['rerate_id']}"
        lines = ask("GET", f"{path}/records").text.splitlines()
        assert len(lines) == told["records_differing"] + 1
        assert number(0) in ask("GET", f"{path}/records?numbers=full").text
        done = ask("POST", f"{path}/bookings", {}).json()
        assert (done["booked"], done["moved"]) == (told["accounts_differing"], 0)
        assert ask("POST", f"{path}/bookings", {}).json()["repeated"] == done["booked"]
        assert [each["state"] for each in ask("GET", "/api/v1/rerates").json()["items"]] == ["booked"]
        assert ask("GET", path).json()["booked_micros"] == told["difference_micros"]
        actions = serving.reader.audit(50)["action"].to_list()
        assert {"preview_rerate", "export_rerate", "book_rerate", "list_rerates", "read_rerate"} <= set(
            actions
        )
        serving.audit.close()
