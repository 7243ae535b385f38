"""A small operator whose customers charge online on real brokers: workers, doors, and a script of sessions."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day
from tests.online.world import (
    ALICE,
    API,
    BOB,
    LOOKING_ON,
    PATIENCE_S,
    TARIFF,
    TOKEN,
    call_request,
    data_request,
    usage,
)
from tests.waiting import until
from trunkline.api.access import Access, Role, Token, digest
from trunkline.bootstrap.agreed import Agreed
from trunkline.bootstrap.online_cluster import DoorLife
from trunkline.bootstrap.together import run_together
from trunkline.kernel.dial import to_key
from trunkline.settings import Online

CAROL = "447700900003"
MEMBERS = tuple(f"44770090001{at}" for at in range(3))
MB = 1_000_000
SHARED_TARIFF = f"""{TARIFF.rstrip()}
  pool: {{unit: octets, grant: 60MB, every: month, usage: [data], priority: 10, shared: true, member_limit: 25MB}}
"""
PLANS = {
    "payg": "includes: [minutes]",
    "family": "includes: [pool]",
}
PLAN = """
plan: {name}
effective: 2026-01-01
{includes}
prices:
  - {{usage: voice, to: [uk], rate: call}}
  - {{usage: data, to: any, rate: data}}
  - {{usage: sms, to: any, rate: text}}
"""


def operator(folder: Path, balances: dict[str, str]) -> Path:
    """Tariffs and subscribers; Carol has a family, the others pay for themselves."""
    tariffs = folder / "tariffs"
    tariffs.mkdir(parents=True)
    (tariffs / "operator.yaml").write_text(SHARED_TARIFF)
    for name, includes in PLANS.items():
        (tariffs / f"{name}.yaml").write_text(PLAN.format(name=name, includes=includes))
    lines = ["subscriber,plan,balance,owner"]
    lines += [
        f"{number},{'family' if number == CAROL else 'payg'},{held}," for number, held in balances.items()
    ]
    if CAROL in balances:
        lines += [f"{member},family,,{CAROL}" for member in MEMBERS]
    for place in (tariffs, folder):
        (place / "subscribers.csv").write_text("\n".join(lines) + "\n")
    return folder


def begun(kafka: Kafka, folder: Path, prefix: str, balances: dict[str, str], buckets: int = 3) -> Day:
    """A small operator with its topics and its subscribers handed in; nobody works yet."""
    day = Day.made(operator(folder, balances), kafka.settings(), prefix, buckets)
    day.enrol()
    return day


@contextmanager
def doors(day: Day, count: int = 1, settings: Online | None = None) -> Iterator[Sequence[DoorLife]]:
    """Doors of a cluster in this process, from the moment they answer until the end of the block."""
    agreed, stop = Agreed(day.server, day.plan), threading.Event()
    tokens = [Token("smf", Role.BILLING, digest(TOKEN)), Token("eye", Role.VIEWER, digest(LOOKING_ON))]
    lives = [
        DoorLife(day.server, day.plan, agreed.catalogue, settings or Online(online_port=-1), ())
        for _ in range(count)
    ]
    works = [
        work
        for life in lives
        for work in life.works(Access(tokens, lambda: 0.0), lambda _operation, _status, _seconds: None, stop)
    ]
    wait = run_together(works, stop)
    try:
        for life in lives:
            assert life.door.ready.wait(PATIENCE_S)
        yield lives
    finally:
        stop.set()
        wait()


def client(root: str, token: str = TOKEN) -> httpx.Client:
    """A client that speaks HTTP/2 with prior knowledge, as a network function does."""
    return httpx.Client(
        http1=False, http2=True, base_url=root, timeout=PATIENCE_S, headers={"Authorization": f"Bearer {token}"}
    )  # fmt: skip


def enrolled(day: Day) -> None:
    """Wait until every account is there; somebody must be working."""
    lines = (day.operator / "subscribers.csv").read_text().splitlines()[1:]
    owners = {to_key(owner or number) for number, _, _, owner in (line.split(",") for line in lines)}
    with doors(day) as (door,):
        until(
            lambda: all(len(door.reader.account(each)) for each in owners), "every account is there", 300, 0.2
        )


def script(seed: int, sessions: int = 14) -> list[tuple[int, str, dict[str, Any]]]:
    """Requests in their order: which session they belong to, what they are, and their bodies.

    Data, calls, messages and members; retransmissions; reports of more than was granted; sessions left open.
    """
    chance = random.Random(seed)
    steps: list[tuple[int, str, dict[str, Any]]] = []
    waiting = []
    for at in range(sessions):
        who = chance.choice([ALICE, BOB, CAROL, *MEMBERS])
        kind = chance.choice(["data", "data", "call", "event"])
        when = f"2026-11-22T10:{at:02d}:00Z"
        waiting.append(_session(chance, at, who, kind, when))
    while waiting:
        mine = chance.choice(waiting)
        steps.append(mine.pop(0))
        if chance.random() < 0.15:
            steps.append(steps[-1])  # the answer was lost on its way
        waiting = [each for each in waiting if each]
    return steps


def _session(
    chance: random.Random, at: int, who: str, kind: str, when: str
) -> list[tuple[int, str, dict[str, Any]]]:
    asked = {"data": "totalVolume", "call": "time", "event": "serviceSpecificUnits"}[kind]
    most = {"data": 40 * MB, "call": 400, "event": 2}[kind]

    def units() -> dict[str, int]:
        return {asked: chance.randint(1, most)}

    def body(number: int, **more: Any) -> dict[str, Any]:
        if kind == "call":
            made = call_request(number, at=when, **more)
            made["subscriberIdentifier"] = f"msisdn-{who}"
            made["iMSChargingInformation"] = {
                "userSessionID": f"call-{at}",
                "callingPartyAddresses": [f"tel:+{who}"],
                "calledPartyAddress": f"tel:+{BOB if who != BOB else ALICE}",
            }
            return made
        made = data_request(number, at=when, **more)
        if kind == "event":
            del made["pDUSessionChargingInformation"]
            made |= {
                "oneTimeEvent": True, "oneTimeEventType": chance.choice(["IEC", "PEC"]),
                "sMSChargingInformation": {
                    "originatorInfo": {"originatorGPSI": f"msisdn-{who}"},
                    "recipientInfo": [{"recipientGPSI": f"msisdn-{BOB}"}],
                },
            }  # fmt: skip
            made["subscriberIdentifier"] = f"msisdn-{who}"
            return made
        made["pDUSessionChargingInformation"]["chargingId"] = at
        made["pDUSessionChargingInformation"]["userInformation"]["servedGPSI"] = f"msisdn-{who}"
        return made

    if kind == "event":
        wanted = {"used": units()} if chance.random() < 0.3 else {"wanted": units()}
        return [(at, "create", body(1, multipleUnitUsage=[usage(1, **wanted)]))]
    groups = [10, 20] if kind == "data" and chance.random() < 0.4 else [10]
    steps = [(at, "create", body(1, multipleUnitUsage=[usage(each, wanted=units()) for each in groups]))]
    for number in range(2, 2 + chance.randint(0, 3)):
        told = [usage(each, used=units(), wanted=units()) for each in groups]
        steps.append((at, "update", body(number, multipleUnitUsage=told)))
    if chance.random() < 0.8:
        told = [usage(each, used=units()) for each in groups]
        steps.append((at, "release", body(9, multipleUnitUsage=told)))
    return steps


def played(root: str, steps: Sequence[tuple[int, str, dict[str, Any]]]) -> list[tuple[int, Any]]:
    """What a charging function answers to a script: status and body of each."""
    places: dict[int, str] = {}
    found: list[tuple[int, Any]] = []
    with client(root) as smf:
        for session, operation, body in steps:
            path = API if operation == "create" else f"{API}/{places.get(session, 'none')}/{operation}"
            answer = smf.post(path, json=body)
            if "location" in answer.headers:
                places[session] = answer.headers["location"].rsplit("/", 1)[1]
            found.append((answer.status_code, answer.json() if answer.content else None))
    return found
