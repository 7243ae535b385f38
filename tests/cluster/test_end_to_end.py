"""Usage over HTTP into a cluster: a worker charges it, and the API answers with it out of Cassandra."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import Cassandra, Kafka
from tests.waiting import until
from trunkline.bootstrap.cluster.cassandra import Node
from trunkline.bootstrap.cluster.kafka import Broker
from trunkline.bootstrap.cluster.servers import settings_file
from trunkline.bootstrap.tokens import add_token

ROOT = Path(__file__).parents[2]
CALL = (
    '{"id":"%s","type":"voice","subscriber":"447700900001","called":"447700900002",'
    '"start":"2026-11-20T09:00:00Z","duration_ms":61000}\n'
)


@contextmanager
def process(words: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`trunkline WORDS`, ended by SIGTERM as a service would be; it must end well."""
    with log.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, "-c", "from trunkline.cli import main; main()", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield running
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0, log.read_text()[-2000:]
    finally:
        if running.poll() is None:
            running.kill()
            running.wait(30)


def said(running: subprocess.Popen[bytes], log: Path, words: str) -> re.Match[str]:
    """What a process says, once it says it."""

    def look() -> re.Match[str] | None:
        assert running.poll() is None, log.read_text()[-2000:]
        return re.search(words, log.read_text())

    found = until(look, words, 300)
    assert found is not None
    return found


@pytest.mark.timeout(1200)
def test_usage_and_money_go_through_a_cluster(kafka: Kafka, cassandra: Cassandra, tmp_path: Path) -> None:
    """Posted, charged, topped up, rejected, corrected: each answer is there soon, and only for those with a token."""
    told = settings_file(kafka.cluster, (Broker(secure=False), Node()))
    environment = dict(line.split("=", 1) for line in told.read_text().splitlines())
    environment |= {
        "TRUNKLINE_KAFKA_PREFIX": "whole", "TRUNKLINE_KAFKA_BUCKETS": "2", "TRUNKLINE_KAFKA_EDGE_PARTITIONS": "2",
        "TRUNKLINE_CASSANDRA_KEYSPACE": "whole", "TRUNKLINE_CASSANDRA_BUCKETS": "4",
    }  # fmt: skip
    token = add_token(tmp_path / "serve", "tester", "admin")
    tariffs = str(ROOT / "examples" / "live_call" / "tariffs")
    work = ["run", "--engine", "kafka", "--tariffs", tariffs, "--data", str(tmp_path / "work")]
    serve = ["serve", "--port", "0", "--data", str(tmp_path / "serve")]
    work_log, serve_log = tmp_path / "work.log", tmp_path / "serve.log"
    with process(work, environment, work_log) as working:
        said(working, work_log, "is charging on Kafka")
        with process(serve, environment, serve_log) as serving:
            url = said(serving, serve_log, r"The page: (http://127\.0\.0\.1:\d+)/").group(1)
            assert httpx.get(f"{url}/api/v1/accounting", timeout=60).status_code == 401
            assert httpx.get(f"{url}/schema-registry/subjects", timeout=60).status_code == 401
            with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as api:
                walk(api)
                assert_watched(api, environment)


def walk(api: httpx.Client) -> None:
    """What a sender and a person do, one after the other."""
    wrong = (CALL % "c").replace('"called":"447700900002"', '"called":"12"')
    lines = CALL % "a" + CALL % "a" + CALL % "b" + wrong
    assert "whole.CustomerAlerts-value" in api.get("/schema-registry/subjects").json()
    kind = {"Content-Type": "application/x-ndjson"}
    posted = api.post("/api/v1/events", content=lines, headers=kind)
    assert posted.status_code == 202, posted.text

    def counted() -> dict[str, int]:
        total = api.get("/api/v1/accounting").json()["total"]
        return {name: total[name] for name in ("received", "rated", "duplicate", "rejected", "held")}

    until(lambda: counted()["received"] == 4, "four records are accounted for", 240, 0.5)
    assert counted() == {"received": 4, "rated": 2, "duplicate": 1, "rejected": 1, "held": 0}
    person = "/api/v1/subscribers/447700900001"
    until(lambda: len(api.get(f"{person}/usage").json()["items"]) == 2, "history is there", 240, 0.5)
    rejects = until(lambda: api.get("/api/v1/rejects").json()["items"], "the reject is shown", 240, 0.5)
    assert [each["reason"] for each in rejects] == ["tariff_not_found"]
    before = money(api, person)
    order = {"balance": "main", "amount": 5_000_000}
    keyed = {"Idempotency-Key": "once"}
    assert api.post(f"{person}/topups", json=order, headers=keyed).json()["status"] == "booked"
    assert api.post(f"{person}/topups", json=order, headers=keyed).json()["status"] == "repeated"
    until(lambda: money(api, person) == before + 5_000_000, "the top-up is in the balance, once", 240, 0.5)
    number = rejects[0]["number"]
    corrected = api.post(f"/api/v1/rejects/{number}/correct", json={"text": CALL % "c"})
    assert corrected.status_code == 204, corrected.text
    until(lambda: counted()["rated"] == 3, "the corrected record is charged", 240, 0.5)
    assert api.get("/api/v1/rejects").json()["items"] == []


def assert_watched(api: httpx.Client, environment: dict[str, str]) -> None:
    """How the worker and the deliveries are is in the API, in /metrics and in `trunkline status`, in their words."""

    def caught_up() -> dict[str, dict[str, Any]]:
        items = {each["engine"]: each for each in api.get("/api/v1/workers").json()["items"]}
        if not {"kafka", "delivery"} <= set(items) or items["kafka"]["lag_messages"]:
            return {}
        named = {place.rpartition("/")[0] for place in items["kafka"]["lag"]}
        return items if {"whole.usage.raw", "whole.work"} <= named else {}

    told = until(caught_up, "the worker has said that nothing waits anywhere", 240, 0.5)["kafka"]
    assert told["rebalances"] > 0
    assert told["state_octets"] > 0
    assert told["checkpoint_age_s"] is not None
    lines = api.get("/metrics").text.splitlines()
    assert any(line.startswith("trunkline_worker_lag_messages{") and "whole.work" in line for line in lines)
    done = subprocess.run(
        [sys.executable, "-c", "from trunkline.cli import main; main()", "status", "--engine", "kafka", "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}, capture_output=True, text=True,
        timeout=300, check=True,
    )  # fmt: skip
    said_too = json.loads(done.stdout)["workers"]
    assert told["name"] in [each["name"] for each in said_too]


def money(api: httpx.Client, person: str) -> int:
    """What is left of the main balance."""
    items = api.get(f"{person}/balances").json()["balances"]
    return int(next(each["left"] for each in items if each["name"] == "main"))
