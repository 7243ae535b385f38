"""A small operator that lets things be handed on, and gives bonuses; its real engine over a real data folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.platform import Platform, ingest, opened
from trunkline.bootstrap.reconcile import reconcile
from trunkline.bootstrap.serve import Serving, prepare
from trunkline.bootstrap.transfers import FolderTransfers
from trunkline.kernel.dial import to_key
from trunkline.ports import Movement, Transfer
from trunkline.records.charging import ENTRIES, NEVER_S, Cause, RowKind
from trunkline.settings import Folders, Http, Keeping
from trunkline.stores.embedded.reader import EmbeddedReader

PEOPLE = 8
START_US = 1_790_000_000_000_000  # in September 2026
TARIFF = {
    "operator.yaml": """
operator: {name: Example Mobile, currency: EUR, time_zone: Europe/Berlin, country_code: "49"}
destinations: {germany: {prefixes: ["49"]}}
balances:
  main: {unit: money, main: true, low: ["1.00"]}
  data: {unit: octets, grant: 1GB, every: month, usage: [data], thresholds: [80]}
  spare: {unit: octets, usage: [data], priority: 50}
  gift: {unit: octets, usage: [data], priority: 5}
  thanks: {unit: money, priority: 5}
rates:
  minute: {price: "0.12", per: 60s, increments: [1s]}
  traffic: {price: "0.01", per: 1MB, increments: [1KB]}
transfers:
  main: {least: "1.00", most: "20.00", fee: "0.10", percent: "1.25", decimals: 2, rounding: half_up}
  data: {least: 1MB, most: 500MB, fee: "0.25"}
  spare: {least: 1MB, most: 5GB}
bonuses:
  big: {balance: gift, amount: 2GB, above: "20.00", valid: 30d, every: month}
  welcome: {balance: thanks, amount: "1.50", above: "5.00", valid: 7d, every: week, plans: [plain]}
""",
    "plain.yaml": """
plan: plain
includes: [data]
prices:
  - {usage: voice, to: any, rate: minute}
  - {usage: data, rate: traffic}
""",
    "billed.yaml": """
plan: billed
payment: postpaid
includes: [data]
prices:
  - {usage: voice, to: any, rate: minute}
  - {usage: data, rate: traffic}
""",
}


def number(at: int) -> str:
    """The n-th subscriber; the last one is billed."""
    return f"4915112346{at:03d}"


def word(at: int) -> int:
    """The n-th subscriber as the books know it."""
    return to_key(number(at))


def write(folder: Path) -> Path:
    """The tariff and its subscribers; the folder."""
    tariffs = folder / "tariffs"
    tariffs.mkdir(parents=True, exist_ok=True)
    for name, text in TARIFF.items():
        (tariffs / name).write_text(text)
    rows = []
    for at in range(PEOPLE):
        plan, payment = ("billed", "postpaid") if at == PEOPLE - 1 else ("plain", "prepaid")
        rows.append(f"{number(at)},{plan},{payment},30.00")
    (tariffs / "subscribers.csv").write_text("\n".join(["subscriber,plan,payment,balance", *rows]) + "\n")
    return tariffs


@contextmanager
def giving(folder: Path) -> Iterator[tuple[Platform, Serving, FolderTransfers]]:
    """The operator's platform, what serves it, and its transfers, in a folder that may have been used before."""
    with opened(Folders(data=folder / "data", tariffs=str(write(folder)))) as platform:
        serving = prepare(platform, Http(), Keeping())
        yield platform, serving, FolderTransfers(folder / "data", platform.engine)
        serving.audit.close()


def order(
    name: str, giver: int, receiver: int, amount: int, balance: str = "main", minute: int = 0
) -> Transfer:
    """A transfer to be booked."""
    return Transfer(name, word(giver), word(receiver), balance, amount, START_US + minute * 60_000_000)


def top_up(
    serving: Serving,
    name: str,
    at: int,
    amount: int,
    balance: str = "main",
    minute: int = 0,
    until_s: int = NEVER_S,
) -> str:
    """Top somebody up; what became of it."""
    when = START_US + minute * 60_000_000
    said = serving.intake.move([Movement(name, int(Cause.TOPUP), word(at), balance, amount, when, until_s)])
    return str(said[0]["status"])


def use_data(platform: Platform, path: Path, octets: dict[int, int], minute: int = 0) -> None:
    """Let subscribers use data."""
    second = START_US // 1_000_000 + minute * 60
    lines = [
        {
            "id": f"{path.name}-{at}", "source": "pgw", "type": "data", "subscriber": number(at), "service": "internet",
            "start": _iso(second), "octets_down": used,
        }
        for at, used in octets.items()
    ]  # fmt: skip
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    done = ingest(platform, [path], None, "pgw")
    assert done.totals.rated == len(octets), vars(done.totals)


def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def left(folder: Path, at: int, balance: str) -> int:
    """What somebody has of a balance, over all its rows."""
    catalogue = load_catalogue(folder / "data", None)
    rows = EmbeddedReader(folder / "data").account(word(at))
    mine = (rows["kind"] == RowKind.BALANCE) & (rows["definition"] == catalogue.balances.index(balance))
    return int(rows["value"][mine].sum())


def everything(folder: Path, balance: str) -> int:
    """What all have together of a balance."""
    return sum(left(folder, at, balance) for at in range(PEOPLE))


def entries(folder: Path) -> pl.DataFrame:
    """The ledger."""
    parts = list(EmbeddedReader(folder / "data").scan(ENTRIES, -(2**62), 2**62))
    return pl.concat([ENTRIES.record.empty(), *parts]).sort("seq", "part")


def reconciled(folder: Path) -> dict[str, Any]:
    """What reconciliation finds."""
    data = folder / "data"
    return reconcile(EmbeddedReader(data), load_catalogue(data, None), load_mappings())
