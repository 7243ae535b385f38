"""The network's workers on brokers that let nobody do anything unless it is allowed: what the map gives is enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from tests.cluster.conftest import Kafka
from tests.cluster.kafka.running import Day
from tests.cluster.kafka.test_rights import read, refused, sent
from tests.cluster.parity.network_day import DAY, batches, charged, hand_in, network_folder
from tests.cluster.security.test_prepare import Desk, administrator
from tests.network.watching import simulated
from tests.waiting import until
from trunkline.bootstrap import network as watched
from trunkline.bootstrap import network_cluster
from trunkline.bootstrap.brokers import Wish, wish_of
from trunkline.bootstrap.kafka import plan_of as plan_of_usage
from trunkline.bootstrap.network_worth import worth_in
from trunkline.engines.kafka.worker import Worker
from trunkline.records import charging, network, usage
from trunkline.settings import Folders, Watched
from trunkline.settings import Kafka as KafkaSettings

NAME = "guarded"
ACCOUNTS = {
    "engine": "guarded-watcher", "server": "guarded-serve", network.TELEMETRY.name: "guarded-ran",
}  # fmt: skip
SMALL = replace(DAY, cells=20, hours=5)
PERIODS_A_BATCH = 20
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def desk(three_racks: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Three racks on which `cluster prepare --flow network` made topics, accounts and rights."""
    made = administrator(three_racks, tmp_path_factory.mktemp("guarded"), NAME)
    roles = [word for role, account in ACCOUNTS.items() for word in ("--for", f"{role}={account}")]
    words = ["prepare", "--flow", "network", *roles, "--accounts", str(made.folder / "accounts")]
    made.run(*words)

    def settled() -> bool:  # brokers hear of an account and a right in their own time
        found = made.run(*words, "--dry-run")
        return not found["rights"]["missing"] and set(found["accounts"].values()) == {"there"}

    until(settled, "everything is as it should be", 120, 0.5)
    return made


@pytest.fixture(scope="module")
def wish(desk: Desk) -> Wish:
    """What the brokers were asked for, and the administrator's way to them."""
    return wish_of(desk.chosen, ACCOUNTS, network=True)


@contextmanager
def watching(data: Path, chosen: KafkaSettings) -> Iterator[None]:
    """`trunkline run --engine kafka --flow network` in this process; what ended it breaks the test."""
    stop, workers, troubles = threading.Event(), list[Worker](), list[BaseException]()

    def live() -> None:
        try:
            network_cluster.run(Folders(data=data), chosen, Watched(), stop, workers.append)
        except BaseException as error:  # noqa: BLE001 -- raised again by the test's own thread
            troubles.append(error)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        until(lambda: workers or troubles, "the worker begins", PATIENCE_S, 0.1)
        yield
    finally:
        stop.set()
        thread.join(60)
    if troubles:
        raise troubles[0]
    assert workers[0].last_trouble == ""


@pytest.mark.timeout(1200)
def test_a_worker_with_only_its_rights(desk: Desk, wish: Wish, tmp_path: Path) -> None:
    """What the map gives the engine is enough to watch a day from telemetry to incidents, on three copies."""
    folder = simulated(tmp_path / "day", SMALL)
    network_folder(folder, tmp_path / "cluster")
    day = Day(folder, wish.server, wish.plan)
    chosen = replace(
        desk.chosen, kafka_properties=str(desk.folder / "accounts" / f"{ACCOUNTS['engine']}.properties")
    )
    handed = batches(folder, PERIODS_A_BATCH)
    with watching(tmp_path / "cluster", chosen):
        for batch in handed:
            hand_in(desk.server(ACCOUNTS[network.TELEMETRY.name]), wish.plan, batch)

        def carried() -> bool:
            routed = sum(sums[1] for sums in day.edges().values())
            read_to = sum(each["position"] for each in day.progress(b"edge|"))
            return read_to == len(handed) and routed == sum(sums[0] for sums in day.accounts().values())

        until(carried, "everything that was handed in is carried", PATIENCE_S, 0.5)
    for stream in (network.KPIS, network.HEAT, network.ALARMS, network.INCIDENTS):
        assert len(day.rows(stream, 1)), stream.name


def test_no_more_than_that(desk: Desk, wish: Wish, tmp_path: Path) -> None:
    """Who watches hands nothing in, reads of usage only what was charged; an element hands in and reads nothing."""
    plan, house = wish.plan, plan_of_usage(NAME)
    worker, element, server = (desk.server(account) for account in
                               (ACCOUNTS["engine"], ACCOUNTS[network.TELEMETRY.name], ACCOUNTS["server"]))  # fmt: skip
    cells = watched.load_inventory(network_folder(simulated(tmp_path / "day", SMALL), tmp_path)).cells["name"]
    charged(wish.server, NAME, cells.to_list())
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED
    for who, topic in (
        (worker, plan.topic(network.TELEMETRY)),
        (worker, house.topic(charging.CHARGED)),
        (element, plan.topic(network.SIGNALS)),
        (element, plan.work),
        (server, plan.topic(network.ALARMS)),
    ):
        refused(lambda who=who, topic=topic: sent(who, topic), denied)  # type: ignore[misc]
    refused(lambda: read(worker, house.topic(usage.RAW), f"{plan.prefix}.follower"), denied)
    refused(lambda: read(element, plan.topic(network.KPIS), f"{plan.prefix}.follower"), denied)
    found = worth_in(worker, house.topic(charging.CHARGED), time.time_ns() // 1_000_000)
    assert len(found) == len(cells), "whom the cells serve is read from the other flow's topic"
    refused(lambda: worth_in(element, house.topic(charging.CHARGED), 0), denied)
