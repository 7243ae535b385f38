"""The platform hears: what real programs sent goes through sockets, spools and every step, and becomes alarms."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from tests.listeners.listening import running, send, stream
from tests.page.serve import served
from tests.rooms.network.telemetry.reading import captured
from tests.waiting import until
from trunkline.api.access import Role
from trunkline.api.desk import Watching
from trunkline.api.heat import HeatBoard
from trunkline.bootstrap.listening import TEMPLATES, listeners_of
from trunkline.bootstrap.network import Network, NetworkHands, opened_network
from trunkline.cli import app
from trunkline.engines.embedded.intake import Spooling
from trunkline.engines.embedded.sources import LiveSources
from trunkline.engines.listeners.listeners import Listeners
from trunkline.ports import Refused
from trunkline.settings import Listening

USERS = """
communities: [public]
users:
  - {user: noauth}
  - {user: authsha, engine: 80001f888001020304, auth: sha, auth_password: labauthpass}
  - {user: authmd5, auth: md5, auth_password: labauthpass}
  - {user: privaes, auth: sha, auth_password: labauthpass, privacy: aes, privacy_password: labprivpass}
  - {user: priv256, auth: sha256, auth_password: labauthpass, privacy: aes, privacy_password: labprivpass}
  - {user: privdes, auth: md5, auth_password: labauthpass, privacy: des, privacy_password: labprivpass}
"""


def free_port(kind: socket.SocketKind) -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def chosen(folder: Path) -> Listening:
    """Everything but TLS, with the captures' users."""
    users = folder / "users.yaml"
    users.write_text(USERS)
    users.chmod(0o600)
    udp = socket.SOCK_DGRAM
    return Listening(
        syslog_udp=free_port(udp), traps=free_port(udp), flows=free_port(udp), snmp_users=str(users),
        syslog_tcp=free_port(socket.SOCK_STREAM),
    )  # fmt: skip


@contextmanager
def hearing(network: Network, listening: Listening) -> Iterator[Listeners]:
    """The network's engine and its listeners at work."""
    sources = LiveSources(network.store, network.store.disk, [], network.mappings.__getitem__)
    listeners = listeners_of(network, Spooling(network.engine, sources), listening)
    assert listeners is not None
    stop = threading.Event()
    engine = threading.Thread(target=network.engine.drive, args=(sources, stop))
    engine.start()
    try:
        with running(listeners):
            yield listeners
    finally:
        stop.set()
        engine.join(60)


def received(network: Network) -> dict[str, tuple[int, int]]:
    """Received and rejected by source."""
    return {each.source: (each.received, each.rejected) for each in network.reader.accounting()}


def test_what_the_network_sends_becomes_alarms(tmp_path: Path) -> None:
    """Syslog in two transports, traps of three versions and flows, all accounted for; a port that came up clears."""
    listening = chosen(tmp_path)
    (counted,) = captured("syslog/rsyslog-5424-tcp-octet-0001.bin")
    flows = captured("netflow/netflow-v9-*.bin")
    with opened_network(tmp_path / "data") as network, hearing(network, listening):
        send(listening.syslog_udp, *captured("syslog/logger-udp-*.bin"))
        stream(listening.syslog_tcp, counted)
        send(listening.traps, *captured("snmp/trap-*.bin"))
        send(listening.flows, *flows)
        expected = {"syslog": (21, 0), "snmp": (19, 0), "netflow": (20, 0)}
        until(lambda: received(network) == expected, f"{expected} to be carried")
        alarms = {(each["name"], each["probable_cause"]) for each in network.reader.alarms(100, active=True)}
    assert {
        ("vm:ge-0/0/7", "linkDown"),
        ("edge1.lab.example", "bgpNeighborDown"),
        ("127.0.0.1:ge-0/0/4096", "linkDown"),
        ("127.0.0.1", "authenticationFailure"),
    } <= alarms
    assert ("127.0.0.1:ge-0/0/1", "linkDown") not in alarms
    assert not any(cause in ("local0", "snmpTrap", "restart") for _, cause in alarms)  # notices raise nothing
    # Templates are known after a restart: data alone are understood.
    assert (tmp_path / "data" / "network" / TEMPLATES).exists()
    with opened_network(tmp_path / "data") as network, hearing(network, listening):
        send(listening.flows, *flows[1:])
        until(lambda: received(network)["netflow"] == (35, 0), "the flows to be carried again")


def test_what_each_listener_took_and_refused_is_told(tmp_path: Path) -> None:
    """In the metrics, over the API, and to whoever asks the folder: received is taken and refused, with its reasons."""
    listening = chosen(tmp_path)
    with opened_network(tmp_path / "data") as network, hearing(network, listening) as listeners:
        board = HeatBoard(network.reader)
        board.load()
        watching = Watching(
            network.reader, NetworkHands(network, Spooling(network.engine)), board, None, listeners.status
        )
        with served(5, network=watching) as server:
            send(listening.syslog_udp, *captured("syslog/logger-udp-*.bin")[:2], b"<13>" + b"x" * 20_000)
            until(lambda: received(network).get("syslog") == (3, 1), "the three to be accounted for")
            headers = {"Authorization": f"Bearer {server.tokens[Role.VIEWER]}"}
            metrics = httpx.get(f"{server.url}/metrics", headers=headers, timeout=60).text
            said = httpx.get(f"{server.url}/api/v1/network", headers=headers, timeout=60).json()["said"]
    assert 'trunkline_listener_messages_total{listener="syslog_udp",outcome="taken"} 2.0' in metrics
    assert 'trunkline_listener_messages_total{listener="syslog_udp",outcome="oversize"} 1.0' in metrics
    assert 'trunkline_telemetry_records_total{outcome="rejected",source="syslog"} 1.0' in metrics
    (told,) = (each for each in said["listeners"] if each["listener"] == "syslog_udp")
    assert (told["received"], told["messages"], told["refused"], told["reasons"]) == (
        3,
        2,
        1,
        {"oversize": 1},
    )
    answer = CliRunner().invoke(app, ["network", "status", "--data", str(tmp_path / "data"), "--json"])
    assert answer.exit_code == 0, answer.output
    heard = {each["listener"]: each for each in json.loads(answer.output)["heard"]["listeners"]}
    assert heard["syslog_udp"] == told
    assert json.loads(answer.output)["rejected"] == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"snmp_users": "open"}, "mode 600"),
        ({"snmp_users": "missing"}, "cannot be read"),
        ({"snmp_users": "wrong"}, "fewer than 8"),
        ({"syslog_tls": 1}, "tls_certificate"),
        ({"syslog_tls": 1, "tls_certificate": "missing", "tls_key": "missing"}, "cannot be used"),
        ({"scrape": "r1=ftp://x/y"}, "no exporter"),
        ({"scrape": "r1=http://u:secret@127.0.0.1/metrics"}, "password"),
        ({"listen_host": "203.0.113.1", "traps": 16162}, "cannot be had"),
    ],
)
def test_what_cannot_be_listened_to_is_told(tmp_path: Path, change: dict[str, str | int], word: str) -> None:
    """Before anything starts, in a sentence that holds no secret."""
    for name, text, mode in (("open", USERS, 0o644), ("wrong", USERS.replace("labprivpass", "short"), 0o600)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    paths = {"snmp_users", "tls_certificate", "tls_key"}
    given = {key: str(tmp_path / str(value)) if key in paths else value for key, value in change.items()}
    with opened_network(tmp_path / "data") as network, pytest.raises(Refused, match=word) as caught:
        listeners_of(network, Spooling(network.engine), Listening(**given))  # type: ignore[arg-type]
    assert "labauthpass" not in str(caught.value)
    assert "secret@" not in str(caught.value)
