"""A small operator whose customers charge online: a real platform, a real HTTP/2 server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from trunkline.api.access import Access, Role, Token, digest
from trunkline.bootstrap.online import SOURCE, OnlineLife
from trunkline.bootstrap.platform import Platform, opened
from trunkline.bootstrap.serve import MONEY
from trunkline.engines.embedded.intake import EngineIntake
from trunkline.engines.embedded.sources import LiveSources
from trunkline.settings import Folders, Online
from trunkline.stores.embedded.reader import EmbeddedReader

TOKEN, LOOKING_ON = "a token of tests alone", "another one"
API = "/nchf-convergedcharging/v3/chargingdata"
PATIENCE_S = 240.0  # a fresh checkout compiles first
ALICE, BOB = "447700900001", "447700900002"
TARIFF = """
operator: {name: Example Mobile, currency: EUR, time_zone: UTC, country_code: "44"}
destinations: {uk: {prefixes: ["44"]}, premium: {prefixes: ["449"]}}
rates:
  call: {price: "0.10", per: 60s, increments: [60s, 1s], connect_fee: "0.05"}
  data: {price: "0.01", per: 1MB, increments: [1KB]}
  text: {price: "0.08", per: 1}
balances:
  main: {unit: money, main: true}
  minutes: {unit: time, grant: 10m, every: month, usage: [voice], to: [uk], priority: 10}
"""
PLAN = """
plan: payg
effective: 2026-01-01
includes: [minutes]
prices:
  - {usage: voice, to: [uk], rate: call}
  - {usage: data, to: any, rate: data}
  - {usage: sms, to: any, rate: text}
"""


@dataclass
class World:
    """What a test has in its hands."""

    platform: Platform
    life: OnlineLife
    intake: EngineIntake
    reader: EmbeddedReader
    tokens: list[Token]
    counted: list[tuple[str, int]] = field(default_factory=list)

    def client(self, token: str = TOKEN) -> httpx.Client:
        """A client that speaks HTTP/2 with prior knowledge, as a network function does."""
        return httpx.Client(
            http1=False, http2=True, base_url=self.life.root, timeout=PATIENCE_S,
            headers={"Authorization": f"Bearer {token}"},
        )  # fmt: skip


def subscribers(folder: Path, balances: dict[str, str]) -> None:
    """A tariff folder with its subscribers beside it."""
    folder.mkdir(parents=True)
    (folder / "operator.yaml").write_text(TARIFF)
    (folder / "payg.yaml").write_text(PLAN)
    lines = [f"{number},payg,{balance}" for number, balance in balances.items()]
    (folder / "subscribers.csv").write_text("\n".join(["subscriber,plan,balance", *lines]) + "\n")


@contextmanager
def running(folder: Path, balances: dict[str, str], settings: Online | None = None) -> Iterator[World]:
    """A platform that charges online, from the moment it answers until the end of the block."""
    tariffs = folder / "tariffs"
    if not tariffs.exists():
        subscribers(tariffs, balances)
    stop = threading.Event()
    with opened(Folders(data=folder / "data", tariffs=str(tariffs))) as platform:
        store = platform.store
        sources = LiveSources(
            store, store.disk, [], platform.mappings.__getitem__, not_read=frozenset({SOURCE})
        )
        reader = EmbeddedReader(folder / "data")
        life = OnlineLife(platform.engine, reader, settings or Online(online_port=-1), ())
        tokens = [Token("smf", Role.BILLING, digest(TOKEN)), Token("eye", Role.VIEWER, digest(LOOKING_ON))]
        world = World(platform, life, EngineIntake(platform.engine, MONEY, sources), reader, tokens)
        works = life.works(
            Access(tokens, lambda: 0.0),
            lambda operation, status, _seconds: world.counted.append((operation, status)),
            stop,
        )

        def drive() -> None:
            platform.engine.drive(sources, stop)

        works.append(("engine", drive))
        threads = [threading.Thread(target=work, name=name) for name, work in works]
        for thread in threads:
            thread.start()
        try:
            yield world
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)


def data_request(number: int, *, at: str = "2026-11-22T10:00:00Z", **more: Any) -> dict[str, Any]:
    """A charging data request as an SMF sends it (TS 32.291 6.1.6.2.1.1, TS 32.255)."""
    return {
        "subscriberIdentifier": "imsi-234150000000001",
        "nfConsumerIdentification": {"nFName": "5d6f3c1e-0000-4000-8000-0123456789ab", "nodeFunctionality": "SMF"},
        "invocationTimeStamp": at,
        "invocationSequenceNumber": number,
        "pDUSessionChargingInformation": {
            "chargingId": 7,
            "userInformation": {"servedGPSI": f"msisdn-{ALICE}", "roamerInOut": "HOME"},
            "pduSessionInformation": {
                "pduSessionID": 5,
                "dnnId": "internet",
                "networkSlicingInfo": {"sNSSAI": {"sst": 1, "sd": "000001"}},
                "authorizedQoSInformation": {"5qi": 9},
            },
        },
    } | more  # fmt: skip


def call_request(number: int, *, at: str = "2026-11-22T10:00:00Z", **more: Any) -> dict[str, Any]:
    """A charging data request for a call (TS 32.260)."""
    return {
        "subscriberIdentifier": f"msisdn-{ALICE}",
        "nfConsumerIdentification": {"nFName": "6d6f3c1e-0000-4000-8000-0123456789ab", "nodeFunctionality": "IMS_Node"},
        "invocationTimeStamp": at,
        "invocationSequenceNumber": number,
        "iMSChargingInformation": {
            "userSessionID": "call-1",
            "callingPartyAddresses": [f"tel:+{ALICE}"],
            "calledPartyAddress": f"tel:+{BOB}",
        },
    } | more  # fmt: skip


def usage(
    group: int, *, used: dict[str, int] | None = None, wanted: dict[str, int] | None = None
) -> dict[str, Any]:
    """One `multipleUnitUsage`."""
    told: dict[str, Any] = {"ratingGroup": group}
    if used is not None:
        told["usedUnitContainer"] = [{"localSequenceNumber": 1, **used}]
    if wanted is not None:
        told["requestedUnit"] = wanted
    return told


def granted(answer: httpx.Response) -> int:
    """Octets that may be used now."""
    assert answer.status_code in (200, 201), answer.text
    (told,) = answer.json()["multipleUnitInformation"]
    return int(told.get("grantedUnit", {}).get("totalVolume", 0))
