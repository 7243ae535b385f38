"""The example of shared accounts does what its page says, and what cannot be done is said clearly."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.examples.pages import ROOT
from tests.giving.test_ways_in import Asked
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.platform import ingest, opened
from trunkline.bootstrap.reconcile import reconcile
from trunkline.bootstrap.serve import prepare
from trunkline.bootstrap.transfers import FolderTransfers
from trunkline.charging import online
from trunkline.charging.sharing import concerning, shares
from trunkline.charging.subscribers import SubscribersError
from trunkline.kernel.dial import to_key
from trunkline.kernel.grouped import Grouped
from trunkline.ports import Refused
from trunkline.records.charging import ACCOUNTS, RowKind
from trunkline.records.online import ASKED
from trunkline.settings import Folders, Http, Keeping
from trunkline.stores.embedded.reader import EmbeddedReader

HERE = ROOT / "examples" / "shared_accounts"
OWNER, SECOND, THIRD, COMPANY = "447700900001", "447700900002", "447700900003", "447700900100"
HEADER = "subscriber,plan,owner,limits,balance\n"


def charged(folder: Path) -> tuple[EmbeddedReader, Any]:
    """The example, charged in a data folder of its own."""
    with opened(folders(folder)) as platform:
        done = ingest(platform, [HERE / "usage.ndjson"], None, None)
    assert (done.totals.received, done.totals.rated) == (6, 6)
    return EmbeddedReader(folder / "data"), load_catalogue(folder / "data", None)


def folders(folder: Path, subscribers: Path | None = None) -> Folders:
    """Where the example's files are."""
    people = str(subscribers or HERE / "subscribers.csv")
    return Folders(data=folder / "data", tariffs=str(HERE / "tariffs"), subscribers=people)


def load(folder: Path, text: str) -> None:
    """Open the platform with a subscribers file of its own."""
    file = folder / "people.csv"
    file.write_text(text)
    with opened(folders(folder, file)):
        pass


def test_each_sees_what_concerns_it(tmp_path: Path) -> None:
    """The third one's limit holds, the owner sees who took how much, and a member sees nobody else's balances."""
    reader, catalogue = charged(tmp_path)
    rows = reader.account(to_key(OWNER))
    taken = {
        (each.member, catalogue.balances[each.balance]): (each.used, each.limit)
        for each in shares(concerning(rows, 0, catalogue), catalogue)
    }
    assert taken == {
        (0, "family_data"): (2_000_000_000, 12_000_000_000),
        (1, "family_data"): (1_000_000_000, 12_000_000_000),
        (2, "family_data"): (5_000_000_000, 5_000_000_000),
        (1, "family_minutes"): (600_000, None),
    }
    seen = concerning(rows, 2, catalogue)
    held = {catalogue.balances[row["definition"]] for row in seen[seen["kind"] == RowKind.BALANCE]}
    assert held == {"own_100mb", "family_data", "family_minutes"}
    assert set(seen[seen["kind"] == RowKind.DRAWN]["member"].tolist()) == {2}
    assert concerning(rows, 9, catalogue).tolist() == []
    mine = reader.usage(to_key(OWNER), 0, 2**62, 100, 0, 1)
    assert sorted(mine["record_id"]) == ["s2", "s4"]
    pool = reader.account(to_key(COMPANY))
    left = pool[pool["kind"] == RowKind.BALANCE]
    assert left[left["definition"] == catalogue.balances.index("factory_pool")]["granted"].tolist() == [
        30_000_000
    ]
    books = reconcile(reader, catalogue, load_mappings())
    assert (books["records"], books["differences"]) == (6, 0)


def test_over_http_each_sees_what_concerns_it(tmp_path: Path) -> None:
    """The owner sees who took how much; a member sees itself, and is not offered what only the owner may order."""
    charged(tmp_path)
    with opened(folders(tmp_path)) as platform:
        serving = prepare(platform, Http(), Keeping())
        ask = Asked(serving, FolderTransfers(tmp_path / "data", platform.engine))
        owner = ask("GET", f"/api/v1/subscribers/{OWNER}/balances").json()
        member = ask("GET", f"/api/v1/subscribers/{THIRD}/balances").json()
        used = ask("GET", f"/api/v1/subscribers/{THIRD}/usage").json()["items"]
        buckets = ask("GET", f"/tmf-api/prepayBalanceManagement/v4/bucket?logicalResource.id={THIRD}").json()
        refused = ask(
            "POST", f"/api/v1/subscribers/{THIRD}/topups", {"balance": "main", "amount": 1_000_000}, key="k1"
        )
        serving.audit.close()
    assert OWNER not in json.dumps([owner, member, used])
    assert owner["owner"] == owner["subscriber"] == member["owner"] != member["subscriber"]
    data = {
        row["subscriber"]["ref"]: row["used"] for row in owner["shares"] if row["balance"] == "family_data"
    }
    assert sorted(data.values()) == [1_000_000_000, 2_000_000_000, 5_000_000_000]
    assert {each["ref"] for each in owner["members"]} | {owner["owner"]["ref"]} == set(data)
    assert [row["used"] for row in member["shares"]] == [data[member["subscriber"]["ref"]]] == [5_000_000_000]
    assert [each["name"] for each in owner["can_top_up"]]
    assert not member["can_top_up"]
    assert [row["kind"] for row in used] == ["data"]
    assert {each["name"]: each["isShared"] for each in buckets} == {
        "own_100mb": False, "family_data": True, "family_minutes": True,
    }  # fmt: skip
    assert (refused.status_code, refused.json()["code"]) == (409, "member_of_account"), refused.text


def test_a_folder_of_before_there_were_members_is_read(tmp_path: Path) -> None:
    """Rows of accounts lie as they lay; only what a part of them is called has changed."""
    charged(tmp_path)
    (former,) = ACCOUNTS.formerly
    assert former.itemsize == ACCOUNTS.dtype.itemsize
    row = np.zeros(1, former)
    row["period"], row["value"] = 20_454, 7
    assert np.frombuffer(row.tobytes(), ACCOUNTS.dtype)[["period", "member", "value"]].tolist() == [
        (20_454, 0, 7)
    ]
    with sqlite3.connect(next((tmp_path / "data").glob("*.sqlite"))) as manifest:
        manifest.execute(
            "UPDATE states SET dtype = ? WHERE name = ?", (json.dumps(former.descr), ACCOUNTS.name)
        )
    with opened(folders(tmp_path)):
        pass
    assert len(EmbeddedReader(tmp_path / "data").account(to_key(OWNER)))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("1,family,1,,\n", "nobody is a member of the own account"),
        ("1,family_member,2,,\n", "the owner needs a row of its own"),
        ("1,family,,,\n2,family_member,1,,\n3,family_member,2,,\n", "the owner needs a row of its own"),
        ("1,family,,,\n3,family,,,\n2,family_member,1,,\n2,family_member,3,,\n", "name the same owner"),
        ("1,family,,,\n2,family_member,1,,5.00\n", "the owner pays for a member"),
        ("1,family,,,\n2,family_member,1,own_100mb=1GB,\n", "of a shared balance"),
        ("1,family,,,\n2,family_member,1,family_data=10m,\n", "counts"),
        ("1,family,,family_data=1GB,\n", "only who shares an account has limits"),
    ],
)
def test_a_wrong_group_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    """Nothing is taken from a file with a mistake, and no number is given to any member."""
    with pytest.raises(SubscribersError, match=said):
        load(tmp_path, HEADER + rows)
    register = tmp_path / "data" / "catalogue" / "register.json"
    assert not register.exists() or json.loads(register.read_text())["members"] == {}


def test_nobody_moves_between_accounts(tmp_path: Path) -> None:
    """Who has an account cannot join another one, and a member cannot change its owner or leave."""
    load(tmp_path, HEADER + "1,family,,,\n2,family_member,1,,\n3,family,,,5.00\n4,family,,,\n")
    with pytest.raises(Refused, match="have accounts of their own already"):
        load(tmp_path, HEADER + "1,family,,,\n3,family_member,1,,\n")
    with pytest.raises(SubscribersError, match="member of another account already"):
        load(tmp_path, HEADER + "4,family,,,\n2,family_member,4,,\n")
    with pytest.raises(SubscribersError, match="member of another account already"):
        load(tmp_path, HEADER + "2,family,,,\n")
    load(tmp_path, HEADER + "1,family,,,\n2,family_member,1,,\n5,family_member,1,,\n")
    members = load_catalogue(tmp_path / "data", None).members
    assert members.account_of(to_key("5")) == (to_key("1"), 2)
    assert members.account_of(to_key("3")) == (to_key("3"), 0)


def test_a_member_is_charged_online_from_its_owners_account(tmp_path: Path) -> None:
    """A member's promise is asked of the owner's account, by the member's own plan; a stranger's number has none."""
    _, catalogue = charged(tmp_path)
    reader = EmbeddedReader(tmp_path / "data")
    keys = np.array([to_key(OWNER)], np.uint64)
    rows = reader.account(to_key(OWNER))
    account = Grouped(keys, np.array([0, len(rows)]), rows)
    row = {
        "subscriber": to_key(OWNER), "session": 1, "group": 1, "invocation": 1, "asked": True, "units": 1000,
        "kind": 3, "direction": 1, "start_us": 1_795_262_400_000_000, "calling": 0, "called": 0, "visited_plmn": 0,
        "slice": 0, "five_qi": 0, "service": "internet.example", "amount_micros": 0, "owed": False,
    }  # fmt: skip
    _, member = catalogue.members.account_of(to_key(SECOND))
    schema = {"subscriber": pl.UInt64}
    for number, promised, refusal in ((member, 1000, 0), (member + 1000, 0, 2)):
        asked = ASKED.record.conform(pl.DataFrame([row | {"member": number}], schema_overrides=schema))
        told = online.reserve(asked, account, catalogue).rows[0]
        assert (told["promised"].to_list(), told["refusal"].to_list()) == ([promised], [refusal])


def test_what_is_taken_back_is_taken_back_from_the_member_too(tmp_path: Path) -> None:
    """A cancelled use gives back what it took of the shared balance, and the member may take it again."""
    charged(tmp_path)
    cancel = {"id": "c1", "action": "cancel", "of": "s2", "type": "data", "subscriber": SECOND,
              "start": "2026-11-20T09:00:00Z"}  # fmt: skip
    (tmp_path / "more.ndjson").write_text(json.dumps(cancel) + "\n")
    with opened(folders(tmp_path)) as platform:
        assert not ingest(platform, [tmp_path / "more.ndjson"], None, None).troubles
    reader, catalogue = EmbeddedReader(tmp_path / "data"), load_catalogue(tmp_path / "data", None)
    rows = reader.account(to_key(OWNER))
    taken = {(each.member, catalogue.balances[each.balance]): each.used for each in shares(rows, catalogue)}
    assert (taken[1, "family_data"], taken[2, "family_data"]) == (0, 5_000_000_000)
    held = rows[(rows["kind"] == RowKind.BALANCE) & (rows["member"] == 1)]
    assert held["value"].tolist() == [100_000_000]
    books = reconcile(reader, catalogue, load_mappings())
    assert books["differences"] == 0
