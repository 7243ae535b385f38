"""Transfers and alerts of a cluster over HTTP, with `kill -9` of its processes: each once, and nothing is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.cluster.conftest import Cassandra, Kafka
from tests.cluster.test_end_to_end import ROOT
from tests.delivery.receivers import HttpReceiver, Told, http_receiver
from tests.giving.small import PEOPLE, number, write
from tests.waiting import until
from trunkline.bootstrap.cluster.cassandra import Node
from trunkline.bootstrap.cluster.kafka import Broker
from trunkline.bootstrap.cluster.servers import settings_file
from trunkline.bootstrap.tokens import add_token

KILLS = int(os.environ.get("TRUNKLINE_TEST_KILLS", "2"))
TRANSFERS = int(os.environ.get("TRUNKLINE_TEST_TRANSFERS", "16"))
OPENED, AMOUNT, FEE = 30_000_000, 1_000_000, 110_000  # 0.10 and 1.25 % of 1.00, rounded half up to a cent
MOST, FEE_OF_MOST = 20_000_000, 350_000
POOR = PEOPLE - 2  # gives all that he has in the end
PATIENCE_S = 900.0


class Processes:
    """The cluster's processes, started again after they were killed; all end with the test."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment, self._folder = environment, folder
        self.living: dict[str, subprocess.Popen[bytes]] = {}
        self._lives: Counter[str] = Counter()

    def start(self, name: str, words: list[str], said: str) -> str:
        """A process, once it says so; what it says."""
        self._lives[name] += 1
        log = self._folder / f"{name}-{self._lives[name]}.log"
        with log.open("wb") as out:
            started = subprocess.Popen(
                [sys.executable, "-c", "from trunkline.cli import main; main()", *words],
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **self._environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.living[name] = started

        def look() -> re.Match[str] | None:
            assert started.poll() is None, log.read_text()[-3000:]
            return re.search(said, log.read_text())

        found = until(look, f"{name} says {said}", PATIENCE_S, 0.1)
        assert found is not None
        return found.group(found.lastindex or 0)

    def kill(self, name: str) -> None:
        """`kill -9`."""
        self.living[name].kill()
        self.living.pop(name).wait(60)

    def end(self) -> None:
        """Whatever is left."""
        for name in list(self.living):
            self.kill(name)


class Client:
    """Somebody who orders over HTTP and asks again, under the same key, until there is an answer."""

    def __init__(self, token: str) -> None:
        self.url, self._headers = "", {"Authorization": f"Bearer {token}"}

    def ask(self, method: str, path: str, key: str = "", **more: object) -> httpx.Response:
        """The answer, when there is one."""
        headers = self._headers | ({"Idempotency-Key": key} if key else {})

        def look() -> httpx.Response | None:
            try:
                found = httpx.request(method, self.url + path, headers=headers, timeout=60, **more)  # type: ignore[arg-type]
            except httpx.TransportError:
                return None
            return None if found.status_code in (429, 502, 503) else found

        answer = until(look, f"an answer to {method} {path}", PATIENCE_S, 0.2)
        assert answer is not None
        return answer

    def money(self, at: int) -> int:
        """What somebody has."""
        balances = self.ask("GET", f"/api/v1/subscribers/{number(at)}/balances").json()["balances"]
        return int(next(each["left"] for each in balances if each["name"] == "main"))


@pytest.mark.timeout(2700)
def test_nothing_is_lost_between_two_sides(kafka: Kafka, cassandra: Cassandra, tmp_path: Path) -> None:
    """Workers and servers die while transfers go around: each is booked once on both sides, and each alert told."""
    told = settings_file(kafka.cluster, (Broker(secure=False), Node()))
    environment = dict(line.split("=", 1) for line in told.read_text().splitlines())
    (tmp_path / "key").write_text("k" * 40)
    (tmp_path / "key").chmod(0o600)
    with http_receiver() as receiver:
        environment |= {
            "TRUNKLINE_KAFKA_PREFIX": "giving", "TRUNKLINE_KAFKA_BUCKETS": "4", "TRUNKLINE_KAFKA_EDGE_PARTITIONS": "2",
            "TRUNKLINE_CASSANDRA_KEYSPACE": "giving", "TRUNKLINE_CASSANDRA_BUCKETS": "4",
            "TRUNKLINE_ALERT_CHANNELS": "webhook", "TRUNKLINE_ALERT_WEBHOOK": receiver.url,
            "TRUNKLINE_ALERT_WEBHOOK_KEY_FILE": str(tmp_path / "key"), "TRUNKLINE_ALERT_PER_SECOND": "200",
        }  # fmt: skip
        running, client = (
            Processes(environment, tmp_path),
            Client(add_token(tmp_path / "serve", "tester", "admin")),
        )
        work = [
            "run",
            "--engine",
            "kafka",
            "--tariffs",
            str(write(tmp_path)),
            "--data",
            str(tmp_path / "work"),
        ]
        serve = ["serve", "--port", "0", "--data", str(tmp_path / "serve")]

        def begin(name: str) -> None:
            said = "is charging on Kafka" if name == "worker" else r"The page: (http://127\.0\.0\.1:\d+)/"
            found = running.start(name, work if name == "worker" else serve, said)
            client.url = client.url if name == "worker" else found

        try:
            for name in ("worker", "server"):
                begin(name)
            until(lambda: len(everybody(client)) == PEOPLE, "all are enrolled", PATIENCE_S, 0.5)
            refused_in_words(client)
            answers = handed_around(client, running, begin)
            assert Counter(answers.values()) == Counter({201: TRANSFERS})
            balanced(client)
            told_once(client, receiver, running, begin)
        finally:
            running.end()


def everybody(client: Client) -> list[int]:
    """An answer for everybody who has an account by now."""
    answers = [client.ask("GET", f"/api/v1/subscribers/{number(at)}/balances") for at in range(PEOPLE)]
    return [answer.status_code for answer in answers if answer.status_code == 200]


def ordered(client: Client, giver: int, receiver: int, key: str, amount: int = AMOUNT) -> httpx.Response:
    """A transfer."""
    body = {"to": number(receiver), "balance": "main", "amount": amount}
    return client.ask("POST", f"/api/v1/subscribers/{number(giver)}/transfers", key, json=body)


def refused_in_words(client: Client) -> None:
    """As where both accounts lie together."""
    for amount, reason in ((30_000_000, "above_most"), (1, "below_least")):
        answer = ordered(client, 0, 1, f"refused-{amount}", amount)
        assert (answer.status_code, answer.json()["code"]) == (409, reason), answer.text
    assert ordered(client, 0, 0, "to-himself").json()["code"] == "same_subscriber"
    assert client.money(0) == OPENED


def handed_around(client: Client, running: Processes, begin: Callable[[str], None]) -> dict[str, int]:
    """Everybody gives to the next one while processes die; what was answered to each."""
    pairs = [(at % PEOPLE, (at + 1) % PEOPLE) for at in range(TRANSFERS)]
    answers: dict[str, int] = {}
    done = threading.Event()

    def go(at: int) -> None:
        answers[f"t{at}"] = ordered(client, *pairs[at], f"t{at}").status_code

    def enough(wanted: int) -> bool:
        return len(answers) >= wanted

    def break_things() -> None:
        for at in range(KILLS):
            name = ("worker", "server")[at % 2]
            wanted = (at + 1) * TRANSFERS // (KILLS + 2)
            until(partial(enough, wanted), "some are answered")
            running.kill(name)
            begin(name)
        done.set()

    with ThreadPoolExecutor(4) as pool:
        breaking = pool.submit(break_things)
        for each in [pool.submit(go, at) for at in range(TRANSFERS)]:
            each.result(PATIENCE_S * 2)
        breaking.result(PATIENCE_S)
    assert done.is_set()
    again = ordered(client, *pairs[0], "t0")
    assert (again.status_code, again.json()["status"]) == (201, "repeated"), again.text
    other = ordered(client, *pairs[0], "t0", 2 * AMOUNT)
    assert (other.status_code, other.json()["code"]) == (409, "key_reused"), other.text
    return answers


def balanced(client: Client) -> None:
    """Everybody has what he gave less and what he got more; the lists and the ledger say the same."""
    wanted = dict.fromkeys(range(PEOPLE), OPENED)
    for at in range(TRANSFERS):
        wanted[at % PEOPLE] -= AMOUNT + FEE
        wanted[(at + 1) % PEOPLE] += AMOUNT
    until(
        lambda: [client.money(at) for at in range(PEOPLE)] == list(wanted.values()),
        "all agree",
        PATIENCE_S,
        0.5,
    )
    names: set[str] = set()
    for at in range(PEOPLE):
        items = client.ask("GET", f"/api/v1/subscribers/{number(at)}/transfers?limit=200").json()["items"]
        assert len(items) == len({each["transfer_id"] for each in items}) == 2 * TRANSFERS // PEOPLE
        assert {(each["amount"], each["fee_micros"]) for each in items} == {(AMOUNT, FEE)}
        names |= {each["transfer_id"] for each in items}
    assert len(names) == TRANSFERS
    listed = client.ask("GET", "/tmf-api/prepayBalanceManagement/v4/transferBalance?limit=100").json()
    assert {each["id"] for each in listed} == names


def told_once(
    client: Client, receiver: HttpReceiver, running: Processes, begin: Callable[[str], None]
) -> None:
    """The poor one's balance is low: told though the server dies of telling it, marked, and counted once."""
    left = OPENED + (AMOUNT - AMOUNT - FEE) * (TRANSFERS // PEOPLE)
    killed = threading.Event()

    def answer(_told: Told) -> tuple[int, dict[str, str]]:
        if not killed.is_set():
            running.kill("server")  # it was received, and nobody will ever know there
            killed.set()
        return 204, {}

    receiver.answer = answer
    assert ordered(client, POOR, 0, "most", MOST).status_code == 201
    rest = int((left - MOST - FEE_OF_MOST - 600_000) / 1.0125) // 10_000 * 10_000
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(ordered, client, POOR, 0, "rest", rest)
        assert killed.wait(PATIENCE_S), "the alert is told"
        begin("server")
        assert last.result(PATIENCE_S).status_code == 201

    def whole() -> bool:
        status = client.ask("GET", "/api/v1/deliveries/status").json()
        return bool(status["states"].get("webhook") == {"sent": 1} and status["behind"] == 0)

    until(whole, "the alert is told once, as far as anybody can know", PATIENCE_S, 0.5)
    (row,) = client.ask("GET", "/api/v1/deliveries?limit=100").json()["items"]
    assert (row["kind"], row["attempts"]) == ("low_balance", 2)
    assert {each.headers["idempotency-key"] for each in receiver.told} == {f"{row['alert_id']}.webhook"}
    assert [each.headers["trunkline-attempt"] for each in receiver.told] == ["1", "2"]
