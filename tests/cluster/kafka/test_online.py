"""Online charging on a cluster: nothing is promised twice, whoever asks, wherever, and whoever dies."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.charging_online import CAROL, MB, MEMBERS, begun, client, doors, enrolled
from tests.cluster.kafka.running import Day
from tests.cluster.kafka.workers import TIMES, Workers, chance_of
from tests.online.ear import Ear
from tests.online.test_kill import SESSIONS, Session
from tests.online.world import ALICE, API, BOB, PATIENCE_S, data_request, granted, usage
from tests.waiting import until
from trunkline.bootstrap.online import SOURCE
from trunkline.bootstrap.reservations import OnlineReservations
from trunkline.bootstrap.tokens import add_token
from trunkline.engines.kafka.worker import Worker
from trunkline.kernel.dial import to_key
from trunkline.ports import NotReserved, Reservation
from trunkline.records import charging
from trunkline.records.charging import NEVER_S, Cause
from trunkline.settings import Online

KILLS = TIMES or 2
DAY_US = 86_400_000_000


@pytest.fixture
def day(kafka: Kafka, tmp_path: Path, request: pytest.FixtureRequest) -> Day:
    """Alice and Bob have a euro, Carol's family too, and sixty megabytes that all may use; nobody works yet."""
    prefix = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return begun(kafka, tmp_path, prefix[:60], {ALICE: "1.00", BOB: "1.00", CAROL: "1.00"})


@pytest.fixture
def worker(day: Day) -> Iterator[Worker]:
    """One worker in this process, and everybody is enrolled."""
    with day.running("one") as (worker,):
        enrolled(day)
        yield worker


def asking(at: int, number: int = 1, who: str = ALICE, **units: dict[str, int]) -> dict[str, object]:
    """A request of one of many sessions."""
    body = data_request(
        number, at=f"2026-11-22T10:{at // 60:02d}:{at % 60:02d}Z", multipleUnitUsage=[usage(10, **units)]
    )
    body["pDUSessionChargingInformation"]["userInformation"]["servedGPSI"] = f"msisdn-{who}"
    return body


@pytest.mark.timeout(900)
def test_a_session_goes_through_any_door_and_an_answer_is_given_once(day: Day, worker: Worker) -> None:
    """Opened at one door, updated at another, sent again at both: one promise, one charge."""
    with doors(day, 2) as (one, other), client(one.root) as smf, client(other.root) as amf:
        first = smf.post(API, json=asking(1, wanted={"totalVolume": 30 * MB}))
        again = amf.post(API, json=asking(1, wanted={"totalVolume": 30 * MB}))
        place = first.headers["location"].rsplit("/", 1)[1]
        assert (again.status_code, again.json(), again.headers["location"].rsplit("/", 1)[1]) == (
            201, first.json(), place,
        )  # fmt: skip
        report = asking(1, 2, used={"totalVolume": 30 * MB}, wanted={"totalVolume": 100 * MB})
        told = amf.post(f"{API}/{place}/update", json=report)
        assert granted(told) == 70 * MB
        assert told.json()["multipleUnitInformation"][0]["finalUnitIndication"]
        assert smf.post(f"{API}/{place}/update", json=report).json() == told.json()
        for each in (smf, amf, smf):
            ended = each.post(f"{API}/{place}/release", json=asking(1, 3, used={"totalVolume": 70 * MB}))
            assert ended.status_code == 204
        unknown = smf.post(f"{API}/{place[:-1]}e/update", json=report)
        assert unknown.status_code == 404
        until(lambda: day.accounts().get(SOURCE, [0])[0] == 2, "two records are charged", 120, 0.2)
        until(lambda: worker.status()["charger"].get("sessions") == 0, "no session is open", 120, 0.1)
    charged = day.rows(charging.CHARGED, 2)
    assert sorted(charged["charged_micros"]) == [300_000, 700_000]


@pytest.mark.timeout(900)
def test_many_ask_at_once_and_nothing_is_promised_twice(day: Day, worker: Worker) -> None:
    """Sessions of one account, and members of a family, ask at the same moment at two doors."""
    asked: list[tuple[str, int]] = [(ALICE, at) for at in range(8)]
    asked += [(who, 20 + at) for at, who in enumerate((CAROL, *MEMBERS, CAROL, *MEMBERS))]
    found: dict[tuple[str, int], int] = {}
    with doors(day, 2) as lives:
        start = threading.Barrier(len(asked))

        def ask(who: str, at: int) -> None:
            with client(lives[at % 2].root) as smf:
                start.wait(PATIENCE_S)
                found[who, at] = granted(
                    smf.post(API, json=asking(at, who=who, wanted={"totalVolume": 30 * MB}))
                )

        threads = [threading.Thread(target=ask, args=each) for each in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert len(found) == len(asked)
    assert sum(units for (who, _), units in found.items() if who == ALICE) == 100 * MB
    family = sum(units for (who, _), units in found.items() if who != ALICE)
    assert 100 * MB <= family <= 160 * MB  # the euro, and of the pool what the members' limits let them have
    assert worker.status()["charger"]["answered"] >= len(asked)


@pytest.mark.timeout(900)
def test_a_session_that_vanished_is_closed_and_its_function_is_told(day: Day, worker: Worker) -> None:
    """What it was promised is anybody's again; what it reports after all is charged."""
    assert worker.work.name == "one"
    brief = Online(online_port=-1, online_validity_s=1, online_grace_s=1)
    with Ear() as ear, doors(day, 1, brief) as (door,), client(door.root) as smf:
        opened = smf.post(
            API, json=asking(1, wanted={"totalVolume": 100 * MB}) | {"notifyUri": f"{ear.root}/told"}
        )
        assert granted(opened) == 100 * MB
        assert ear.heard() == {"notificationType": "ABORT_CHARGING"}
        assert granted(smf.post(API, json=asking(2, wanted={"totalVolume": 100 * MB}))) == 100 * MB
        place = opened.headers["location"].rsplit("/", 1)[1]
        late = smf.post(f"{API}/{place}/release", json=asking(1, 2, used={"totalVolume": 10 * MB}))
        assert late.status_code == 204
        until(lambda: day.accounts().get(SOURCE, [0])[0] == 1, "what it used is charged", 120, 0.2)


@pytest.mark.timeout(900)
def test_a_top_up_is_told_to_who_had_the_last_units(day: Day, worker: Worker) -> None:
    """The function asks again, and is granted the rest."""
    assert worker.work.name == "one"
    with Ear() as ear, doors(day) as (door,), client(door.root) as smf:
        opened = smf.post(
            API, json=asking(1, wanted={"totalVolume": 150 * MB}) | {"notifyUri": f"{ear.root}/told"}
        )
        assert granted(opened) == 100 * MB
        topped_up(day, "a-top-up", 500_000)
        assert ear.heard() == {
            "notificationType": "REAUTHORIZATION", "reauthorizationDetails": [{"ratingGroup": 10}],
        }  # fmt: skip
        place = opened.headers["location"].rsplit("/", 1)[1]
        more = smf.post(f"{API}/{place}/update", json=asking(1, 2, wanted={"totalVolume": 150 * MB}))
        assert granted(more) == 150 * MB


@pytest.mark.timeout(900)
def test_amounts_are_set_apart(day: Day, worker: Worker) -> None:
    """TMF654's reservations on a cluster: kept once, promised to nobody, given back, gone with their time."""
    now_us = worker.work.clock_us()
    with doors(day) as (door,), client(door.root) as smf:
        catalogue = day.work("reading").tables[charging.TARIFFS.name]
        port = OnlineReservations(door.door, door.reader, lambda: catalogue, worker.work.clock_us)  # type: ignore[arg-type,return-value]
        alice = to_key(ALICE)

        def order(name: str, amount: int, lasts_us: int = DAY_US) -> Reservation:
            return Reservation(name, alice, "main", amount, now_us, now_us + lasts_us)

        kept = port.reserve(order("ticket", 600_000))
        assert port.reserve(order("ticket", 600_000)) == kept
        with pytest.raises(NotReserved):
            port.reserve(order("another", 500_000))
        with pytest.raises(NotReserved):
            port.reserve(order("ticket", 100_000))
        assert [amount for _, amount in port.amounts(alice)] == [600_000]
        assert (port.of(alice), port.of(None), port.of(to_key(BOB))) == ([kept], [kept], [])
        assert granted(smf.post(API, json=asking(1, wanted={"totalVolume": 100 * MB}))) == 40 * MB
        assert port.release(alice, kept.name)
        assert not port.release(alice, kept.name)
        assert granted(smf.post(API, json=asking(2, wanted={"totalVolume": 100 * MB}))) == 60 * MB


class Lives:
    """A worker's process and a door's, each started again whenever it was killed; `Session` asks through the door."""

    def __init__(self, running: Workers, folder: Path) -> None:
        self._running, self._data = running, folder / "data"
        self.up, self.port = threading.Event(), 0
        self._door: subprocess.Popen[str] | None = None
        self._data.mkdir()
        self.token = add_token(self._data, "smf", "billing")

    def open_door(self) -> None:
        """A door's process; returns when it answers."""
        day, settings = self._running.day, self._running.settings
        self._door = subprocess.Popen(
            [sys.executable, "-c", "from trunkline.cli import main; main()", "door", "--data", str(self._data)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | {
                "PYTHONPATH": os.pathsep.join(sys.path), "TRUNKLINE_ONLINE_PORT": str(self.port or -1),
                "TRUNKLINE_KAFKA_BROKERS": str(settings["bootstrap.servers"]),
                "TRUNKLINE_KAFKA_PREFIX": day.plan.prefix, "TRUNKLINE_KAFKA_BUCKETS": str(day.plan.buckets),
            },
        )  # fmt: skip
        assert self._door.stdout is not None
        line = next(line for line in self._door.stdout if "answers network functions" in line)
        self.port = int(line.rstrip().rsplit(":", 1)[1])
        self.up.set()

    def break_door(self) -> None:
        """`kill -9` of the door."""
        assert self._door is not None
        self.up.clear()
        self._door.kill()
        self._door.wait(60)

    def break_worker(self) -> None:
        """`kill -9` of the worker; another life begins under its name."""
        self._running.kill("one")
        self._running.start("one")


@pytest.mark.timeout(900)
def test_kills_of_the_worker_and_of_the_door(day: Day, kafka: Kafka, tmp_path: Path) -> None:
    """Whoever dies while sessions ask: what was answered stays true, and what was used is charged once."""
    chance, running = chance_of("online"), Workers(day, dict(kafka.settings()), tmp_path)
    lives = Lives(running, tmp_path)
    over = threading.Event()
    try:
        running.start("one")
        enrolled(day)
        lives.open_door()
        sessions = [Session(lives, lives.token, at, over) for at in range(SESSIONS)]  # type: ignore[arg-type]
        threads = [threading.Thread(target=session.run) for session in sessions]
        for thread in threads:
            thread.start()
        breaks: list[Callable[[], None]] = [lives.break_worker, lives.break_door]
        for at in range(KILLS):
            over.wait(chance.uniform(0.2, 2.0))
            breaks[at % 2]()
            if at % 2:
                lives.open_door()
        over.wait(1.0)
        over.set()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        used = sum(session.used for session in sessions)
        assert used <= 100 * MB, "more was promised than there was"
        until(
            lambda: sum(day.rows(charging.CHARGED)["units"]) == used,
            f"{used} octets are charged, each once", 300, 0.5,
        )  # fmt: skip
    finally:
        over.set()
        lives.up.set()
        running.close()
        lives.break_door()
    charged = day.rows(charging.CHARGED)
    assert charged["record_id"].n_unique() == len(charged)
    assert int(charged["charged_micros"].sum()) <= 1_000_000
    assert day.accounts()[SOURCE][:2] == [len(charged), len(charged)]


def topped_up(day: Day, name: str, micros: int) -> None:
    """Hand in a top-up of Alice."""
    order = {
        "movement_id": name, "cause": int(Cause.TOPUP), "subscriber": to_key(ALICE), "balance": "main",
        "amount": micros, "time_us": 1_795_000_000_000_000, "valid_until_s": NEVER_S,
    }  # fmt: skip
    sender = day.producer()
    sender.produce(day.plan.topic(charging.MOVEMENTS), orjson.dumps(order))
    assert sender.flush(PATIENCE_S) == 0
