"""What-ifs over HTTP: handed in, worked out in the background, listed, read and exported; roles, masking, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from tests.api.conftest import TOKENS
from tests.api.memory_store import MemoryStore
from tests.api.small_catalogue import CATALOGUE
from tests.waiting import until
from tests.what_if.day import DEARER, Day, studies_of
from tests.what_if.old_system import compared
from trunkline.api.access import Role, Token, digest
from trunkline.api.app import create_app
from trunkline.api.options import ApiOptions
from trunkline.bootstrap.catalogues import tariff_files

NOW_US = 1_796_000_000_000_000
LIST = "/api/v1/what-ifs"


class Desk:
    """An application that compares tariffs, and a client for each role."""

    def __init__(self, day: Day) -> None:
        self.store = MemoryStore(lambda: NOW_US)
        self.studies = studies_of(day.data)
        self.app = create_app(
            self.store, self.store, self.store, lambda: CATALOGUE,
            [Token(role.name.lower(), role, digest(text)) for role, text in TOKENS.items()],
            ApiOptions(reference_key=b"k" * 32), studies=self.studies, now_us=lambda: NOW_US,
        )  # fmt: skip

    def client(self, role: Role = Role.BILLING) -> httpx.AsyncClient:
        """A client with this role's token."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {TOKENS[role]}"}
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8450", headers=headers)

    def done(self) -> None:
        """Wait for what is under way."""
        until(lambda: not self.studies.background.running, "the what-if is done", 300)


@pytest.fixture
def desk(day: Day) -> Desk:
    """A fresh desk over the day."""
    return Desk(day)


def draft(day: Day, tmp_path: Path) -> dict[str, Any]:
    """An order for a dearer tariff."""
    return {"files": tariff_files(day.draft(tmp_path / "draft", DEARER))}


@pytest.mark.anyio
async def test_from_the_draft_to_the_table(desk: Desk, day: Day, tmp_path: Path) -> None:
    """A draft is taken at once; its answer is listed, read, masked, exported, and each look written down."""
    async with desk.client() as client:
        started = await client.post(LIST, json=draft(day, tmp_path))
        assert (started.status_code, started.json()) == (202, {"running": True})
        desk.done()
        listed = (await client.get(LIST)).json()
        assert (listed["running"], listed["trouble"]) == (False, "")
        first = listed["items"][0]
        assert first["difference_micros"] > 0
        assert (first["actor"], first["from"], first["to"]) == ("billing", None, None)
        answer = (await client.get(f"{LIST}/{first['id']}")).json()
        assert answer["ledger"]["agrees"]
        shown = [row["subscriber"]["number"] for row in answer["most_more"]]
        assert shown
        assert all("•" in number for number in shown)
        full = (await client.get(f"{LIST}/{first['id']}?numbers=full")).json()
        assert all(row["subscriber"]["number"].isdigit() for row in full["most_more"])
        file = await client.get(f"{LIST}/{first['id']}/file")
        assert file.headers["content-type"].startswith("text/csv")
        rows = pl.read_csv(file.content, infer_schema=False)
        assert all("•" in name for name in rows.filter(pl.col("part") == "subscriber")["name"])
    actions = desk.store.audit(10)["action"].to_list()
    assert actions == ["export_what_if", "read_what_if", "read_what_if", "what_if"]


@pytest.mark.anyio
async def test_refusals(desk: Desk, day: Day, tmp_path: Path) -> None:
    """Mistakes, foreign money, odd days, strange names and lower roles are refused before any work begins."""
    order = draft(day, tmp_path)
    files = order["files"]
    name = next(name for name, text in files.items() if "currency: EUR" in text)
    wrong = {
        "bad_tariff": {"files": {name: "plan: ["}},
        "refused": {"files": files | {name: files[name].replace("currency: EUR", "currency: USD")}},
        "invalid_body": order | {"from": "soon"},
    }
    async with desk.client() as client:
        for code, body in wrong.items():
            answer = await client.post(LIST, json=body)
            assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
        backwards = await client.post(LIST, json=order | {"from": "2026-11-03", "to": "2026-11-01"})
        assert "before it begins" in backwards.json()["message"]
        assert (await client.get(f"{LIST}/0123456789abcdef")).status_code == 404
        assert (await client.get(f"{LIST}/manifest")).status_code == 404
    async with desk.client(Role.CARE) as client:
        assert (await client.post(LIST, json=order)).status_code == 403
        assert (await client.get(LIST)).status_code == 403


@pytest.mark.anyio
async def test_trouble_is_told(desk: Desk, day: Day, tmp_path: Path) -> None:
    """Days without usage end the work with a sentence in the list, and the next order is taken."""
    order = draft(day, tmp_path)
    async with desk.client() as client:
        assert (await client.post(LIST, json=order | {"from": "2031-01-01"})).status_code == 202
        desk.done()
        assert "choose other days" in (await client.get(LIST)).json()["trouble"]
        assert (await client.post(LIST, json=order)).status_code == 202
        desk.done()
        assert (await client.get(LIST)).json()["trouble"] == ""


@pytest.fixture
def anyio_backend() -> str:
    """The API runs on asyncio."""
    return "asyncio"


@pytest.mark.anyio
async def test_shadow_runs_are_shown(day: Day, tmp_path: Path) -> None:
    """A comparison made by the command is listed, read with masked numbers and exported; care may not see it."""
    compared(day, tmp_path)
    desk = Desk(day)
    async with desk.client() as client:
        (item,) = (await client.get("/api/v1/shadows")).json()["items"]
        assert not item["gate"]["passes"]
        path = f"/api/v1/shadows/{item['id']}"
        answer = (await client.get(path)).json()
        assert answer["counts"] == item["counts"]
        assert all("•" in row["subscriber"]["number"] for row in answer["bills_most"])
        file = await client.get(f"{path}/file")
        assert file.text.startswith("part,name,records,here,there,difference,currency\n")
        assert "•" in file.text
        assert (await client.get("/api/v1/shadows/0123456789abcdef")).status_code == 404
    async with desk.client(Role.CARE) as client:
        assert (await client.get("/api/v1/shadows")).status_code == 403
    assert desk.store.audit(2)["action"].to_list() == ["export_shadow", "read_shadow"]
