"""The servers that others build on: they are ours, they are shut to strangers, and they leave nothing behind."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from tests.cluster.conftest import Cassandra, Kafka
from trunkline.bootstrap.cluster import artifacts, processes
from trunkline.bootstrap.cluster.kafka import Broker
from trunkline.bootstrap.cluster.place import free_ports
from trunkline.bootstrap.cluster.processes import Process
from trunkline.bootstrap.cluster.profile import Cluster
from trunkline.cli import app
from trunkline.ports import Refused

EXAMPLES = Path(__file__).parents[2] / "examples" / "connect"


def command_line(pid: int) -> str:
    """What every account of the machine may read of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_three_brokers_stand_in_three_racks(three_racks: Kafka) -> None:
    """Each broker says its rack, so that copies of a partition are spread over them."""
    admin = AdminClient(three_racks.settings())
    found = admin.describe_cluster(request_timeout=10).result(20)
    assert {node.rack for node in found.nodes} == {"rack-1", "rack-2", "rack-3"}
    assert found.cluster_id == three_racks.endpoint.cluster_id


def test_no_secret_is_readable_by_others(three_racks: Kafka, cassandra: Cassandra) -> None:
    """Every secret lies in a file of its owner alone, and in no command line."""
    for cluster in (three_racks.cluster, cassandra.cluster):
        secrets = [path for path in (cluster.folder / "secrets").iterdir() if path.name != "ca.pem"]
        assert secrets
        for path in secrets:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        passwords = [path.read_text() for path in secrets if path.suffix == ".password"]
        assert passwords
        for standing in cluster.status():
            assert standing.runs
            assert not any(secret in command_line(standing.pid) for secret in passwords)


def test_servers_listen_on_loopback_only(three_racks: Kafka, cassandra: Cassandra) -> None:
    """Nobody on the network can reach them."""
    ours = {
        port
        for cluster in (three_racks.cluster, cassandra.cluster)
        for standing in cluster.status()
        for port in standing.ports.values()
    }
    listening = [
        line.split()[1].split(":")
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert {port for _, port in listening if int(port, 16) in ours}
    assert [
        (address, int(port, 16))
        for address, port in listening
        if int(port, 16) in ours and address not in loopback
    ] == []


def test_a_second_up_starts_nothing(kafka: Kafka) -> None:
    """What runs is left alone."""
    before = kafka.cluster.status()
    assert kafka.cluster.up([Broker(secure=False)]) == []
    assert [each.pid for each in kafka.cluster.status()] == [each.pid for each in before]


def test_a_stranger_on_our_port_is_recognised(kafka: Kafka, tmp_path: Path) -> None:
    """Before anything is written the server is asked who it is; another cluster's is refused."""
    other = Cluster(tmp_path, kafka.cluster.jars)
    with other._changing() as known:
        known["ports"] = dict(kafka.cluster.place("kafka").ports)
    with pytest.raises(Refused, match="not to ours"):
        Broker(secure=False).answers(other.place("kafka"))
    with pytest.raises(Refused, match="is taken"):
        other.up([Broker(secure=False)])


def test_an_id_may_begin_with_a_dash(kafka: Kafka, tmp_path: Path) -> None:
    """Kafka's tools take such a word for an option; one cluster in sixty-four has such an id."""
    cluster = Cluster(tmp_path, kafka.cluster.jars)
    with cluster._changing() as known:
        known["id"] = "-rlepmgVmB2pfeByZxoTxw"
        known["ports"] = dict(kafka.cluster.place("kafka").ports)
    Broker(secure=False).command(cluster.place("kafka"))
    formatted = (tmp_path / "kafka" / "data" / "meta.properties").read_text().splitlines()
    assert "cluster.id=-rlepmgVmB2pfeByZxoTxw" in formatted


def test_a_reused_process_number_is_not_ours() -> None:
    """A number alone does not say that a process is ours; nothing is ever stopped by it."""
    stranger = Process(os.getpid(), "never")
    assert not processes.alive(stranger)
    processes.stop([stranger])
    processes.kill(stranger)


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    """One octet of difference, and nothing is started or kept."""
    pin = artifacts.pinned("debezium")
    name = next(iter(pin.sha256))
    wrong = artifacts.Artifacts("debezium", pin.coordinates, {**pin.sha256, name: "0" * 64})
    with pytest.raises(Refused, match=name):
        artifacts.fetched(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_free_ports_differ() -> None:
    """Ports that are asked for together are different ones."""
    assert len(set(free_ports(50))) == 50


def test_the_command_line_starts_tells_and_stops(servers: Cluster, server_folder: Path) -> None:
    """`cluster up` starts what was asked for and writes settings without secrets; `down` leaves nothing running."""
    folder = server_folder / "by-hand"

    def command(*words: str) -> Result:
        environment = {"TRUNKLINE_CLUSTER_FOLDER": str(folder), "TRUNKLINE_CLUSTER_JARS": str(servers.jars)}
        return CliRunner().invoke(app, ["cluster", *words], env=environment)

    try:
        assert "No server was started" in command("status").stdout
        assert isinstance(command("up", "--only", "oracle").exception, Refused)
        told = json.loads(command("up", "--only", "kafka", "--json").stdout)
        assert told["started"] == ["kafka"]
        known = Path(told["settings"]).read_text()
        secret = (folder / "secrets" / "kafka-admin.password").read_text()
        assert f"127.0.0.1:{told['servers'][0]['ports']['client']}" in known
        assert secret not in known
        assert secret not in (folder / "secrets" / "kafka.properties").read_text()
        assert [each["runs"] for each in json.loads(command("status", "--json").stdout)] == [True]
        refused = command("connector", str(EXAMPLES / "cdr_files.json"), "--set", "file=x")
        assert isinstance(refused.exception, Refused)
    finally:
        stopped = command("down", "--json").stdout
    assert json.loads(stopped) == {"stopped": ["kafka"]}
    assert "Nothing ran" in command("down").stdout
