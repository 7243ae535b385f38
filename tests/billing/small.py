"""A small operator with everything that bills know, charged by the real engine in a real data folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson

from trunkline.bootstrap.bills import FolderBills
from trunkline.bootstrap.platform import Platform, ingest, opened
from trunkline.bootstrap.serve import prepare
from trunkline.settings import Folders, Http, Keeping

PEOPLE = 24
TARIFF = {
    "operator.yaml": """
operator: {name: Example Mobile, currency: EUR, time_zone: Europe/Berlin, home_plmn: [26201], country_code: "49"}
zones: {eu: {mcc: [208]}, world: {default: true}}
destinations: {germany: {prefixes: ["49"]}, france: {prefixes: ["33"]}}
balances:
  main: {unit: money, main: true, low: ["1.00"]}
  gift: {unit: money, priority: 1}
  minutes: {unit: time, grant: 10m, every: month, usage: [voice], to: [germany], zones: any}
rates:
  minute: {price: "0.1234", per: 60s, increments: [1s]}
  message: {price: "0.07", per: 1}
  data: {price: "0.0031", per: 1MB, increments: [1KB]}
billing: {rounding: half_even, due: 20d, payable: {KWD: {rounding: up}}}
exchange:
  rates:
    - {currency: KWD, since: 2026-01-01, buys: "0.355371", source: Example Bank}
    - {currency: KWD, since: 2026-11-02, rate: "2.80001", source: Example Bank}
discounts:
  volume: {of: [usage], tiers: [{from: "1.00", percent: "2.5"}, {from: "3.00", percent: "7.125"}]}
  loyal: {of: [fees, voice], percent: "3", after: 6}
taxes:
  vat: {label: VAT, percent: "19", zones: [home, eu], until: 2026-10-16}
  vat_after: {label: VAT, percent: "16", zones: [home, eu], from: 2026-10-16}
  levy: {percent: "0.5", of: [data], included: true, decimals: 6, rounding: down}
  island: {percent: "4", time_zones: [Atlantic/Canary], of: [fees]}
""",
    "plain.yaml": """
plan: plain
includes: [minutes]
fees: {monthly: "9.99", insurance: {amount: "1.50", pro_rata: none}, activation: {amount: "19.90", once: true}}
discounts: [volume, loyal]
prices:
  - {usage: voice, zones: any, to: any, rate: minute}
  - {usage: sms, zones: any, to: any, rate: message}
  - {usage: data, zones: any, rate: data}
""",
    "saver.yaml": """
plan: saver
billed_in: KWD
minimum: "400.00"
discounts: [volume]
fallback: [free]
""",
    "free.yaml": """
plan: free
prices:
  - {usage: voice, zones: any, to: any, rate: minute}
  - {usage: sms, zones: any, to: any, rate: message}
  - {usage: data, zones: any, rate: data}
""",
}
LATER = """
plan: plain
effective: 2026-10-20
includes: [minutes]
fees: {monthly: "12.49"}
discounts: [volume]
cap: "125.00"
prices:
  - {usage: voice, zones: any, to: any, rate: minute}
  - {usage: sms, zones: any, to: any, rate: message}
  - {usage: data, zones: any, rate: data}
"""
ZONES = ("Europe/Berlin", "Atlantic/Canary", "America/New_York")
NOVEMBER_US = int(datetime(2026, 11, 30, tzinfo=UTC).timestamp()) * 1_000_000


def number(at: int) -> str:
    """The n-th subscriber."""
    return f"4915112345{at:03d}"


def write(folder: Path) -> Path:
    """The tariff and its subscribers; the folder."""
    tariffs = folder / "tariffs"
    tariffs.mkdir(parents=True, exist_ok=True)
    for name, text in {**TARIFF, "later.yaml": LATER}.items():
        (tariffs / name).write_text(text)
    (tariffs / "subscribers.csv").write_text(
        "\n".join(["subscriber,plan,from,payment,time_zone,cycle_day", *_people()]) + "\n"
    )
    return tariffs


def _people() -> Iterator[str]:
    for at in range(PEOPLE):
        plan, payment = (
            ("plain", "plain", "saver", "plain", "plain", "free")[at % 6],
            ("postpaid", "prepaid")[at % 4 == 3],
        )
        since = ("", "2026-03-20", "2026-10-11T13:00:00Z")[at % 3]
        yield f"{number(at)},{plan},{since},{payment},{ZONES[at % 3]},{1 + 5 * (at % 4)}"
        if at % 6 == 5:
            yield f"{number(at)},plain,2026-10-19T20:00:00Z,{payment},{ZONES[at % 3]},{1 + 5 * (at % 4)}"


def records(first_day: int, last_day: int, month: int = 10) -> Iterator[dict[str, object]]:
    """Usage of some days, the same every time."""
    for day in range(first_day, last_day + 1):
        for at in range(PEOPLE):
            turn = day * 31 + at * 17
            kind = ("voice", "voice", "sms", "data")[turn % 4]
            said: dict[str, object] = {
                "id": f"{month}-{day}-{at}", "source": "msc", "type": kind, "subscriber": number(at),
                "start": f"2026-{month:02d}-{day:02d}T{turn % 24:02d}:{turn % 60:02d}:07Z",
            }  # fmt: skip
            if kind == "voice":
                said |= {
                    "called": ("4917012345678", "33123456789")[turn % 5 == 0],
                    "duration_ms": 1000 * (turn % 700),
                }
            if kind == "sms":
                said |= {"called": "4917012345678"}
            if kind == "data":
                said |= {"octets_down": turn * 7_777_777, "service": "internet"}
            if turn % 7 == 0:
                said["visited_plmn"] = ("20801", "31026")[turn % 2]
            yield said


def charge(platform: Platform, path: Path, lines: Iterator[dict[str, object]]) -> None:
    """Charge records."""
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    done = ingest(platform, [path], None, "msc")
    assert not done.troubles
    assert done.totals.rated > done.totals.rejected, "some of them use it before their plan begins"


@contextmanager
def billing(
    folder: Path, now_us: int = NOVEMBER_US, at_once: int = 10
) -> Iterator[tuple[Platform, FolderBills]]:
    """The operator's platform and its bills, in a folder that may have been used before."""
    tariffs = write(folder)
    with opened(Folders(data=folder / "data", tariffs=str(tariffs))) as platform:
        serving = prepare(platform, Http(), Keeping())
        yield (
            platform,
            FolderBills(
                folder / "data",
                lambda: platform.catalogue,
                platform.engine,
                serving.intake.move,
                lambda: now_us,
                at_once=at_once,
            ),
        )
        serving.audit.close()
