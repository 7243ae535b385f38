"""Real senders of telemetry, started by the test: net-snmp, softflowd and rsyslog are heard and understood."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.listeners.listening import LOOPBACK, Spool, running
from tests.rooms.network.telemetry.reading import Read, block, shipped
from tests.waiting import until
from trunkline.engines.listeners.datagrams import (
    FLOW_LIMITS,
    SYSLOG_LIMITS,
    TRAP_LIMITS,
    octets,
    octets_with,
    texts,
)
from trunkline.engines.listeners.listeners import Listeners
from trunkline.network.telemetry.templates import Templates

PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def program(name: str) -> str:
    """Where a program is; the test is left out where it is not."""
    found = shutil.which(name, path=PATH)
    if found is None:
        pytest.skip(f"{name} is not installed; make test installs it where it may")
    return found


def understood(spool: Spool, mapping: str) -> Read:
    """Everything that was spooled for a mapping, decoded without any other clock than the listener's."""
    return Read(
        block(b"".join(o for name, o in spool.appended if name == mapping), mapping, received_us=None),
        shipped(),
    )


@pytest.mark.parametrize(
    "manner",
    [
        ("-v", "2c", "-c", "public"),
        ("-v", "3", "-e", "0x80001f888001020304", "-u", "privaes", "-l", "authPriv", "-a", "SHA", "-A", "labauthpass",
         "-x", "AES", "-X", "labprivpass"),
        ("-v", "3", "-e", "0x80001f888001020304", "-u", "priv256", "-l", "authPriv", "-a", "SHA-256",
         "-A", "labauthpass", "-x", "AES", "-X", "labprivpass"),
    ],
    ids=["v2c", "v3-sha-aes", "v3-sha256-aes"],
)  # fmt: skip
def test_net_snmp_is_heard(manner: tuple[str, ...], tmp_path: Path) -> None:
    """A port goes down and comes up: one alarm, raised and cleared, by a sender of today."""
    snmptrap, spool = program("snmptrap"), Spool()
    listeners = Listeners(spool.take)
    listeners.add_datagrams("traps", LOOPBACK, "snmp_traps", TRAP_LIMITS, octets)
    with running(listeners):
        for trap, state in (("5.3", "2"), ("5.4", "1")):
            column = ".1.3.6.1.2.1.2.2.1"
            subprocess.run(
                [snmptrap, *manner, f"127.0.0.1:{listeners.ports['traps']}", "", f".1.3.6.1.6.3.1.1.{trap}",
                 f"{column}.1.9", "i", "9", f"{column}.2.9", "s", "xe-0/0/9", f"{column}.8.9", "i", state],
                check=True, timeout=60, env={"PATH": PATH, "MIBS": "", "SNMP_PERSISTENT_DIR": str(tmp_path)},
            )  # fmt: skip
        until(lambda: len(spool.envelopes("snmp_traps")) == 2, "two traps")
    found = understood(spool, "snmp_traps")
    assert found.events.select("name", "severity").rows() == [
        ("127.0.0.1:xe-0/0/9", 2),
        ("127.0.0.1:xe-0/0/9", 6),
    ]
    assert found.events.get_column("alarm_key").n_unique() == 1
    assert found.reasons == []


def packets(path: Path, count: int) -> int:
    """A capture file of UDP datagrams to as many ports, and the octets of its IP packets."""
    total = 0
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for n in range(count):
            payload = b"x" * (100 + n)
            udp = struct.pack("!HHHH", 40_000, 1_000 + n, 8 + len(payload), 0) + payload
            ip = struct.pack(
                "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), n, 0, 64, 17, 0, b"\x64\x40\0\1", b"\x64\x40\0\2"
            )
            frame = b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + ip + udp
            file.write(struct.pack("<IIII", 1_795_334_400 + n // 10, n, len(frame), len(frame)) + frame)
            total += len(ip) + len(udp)
    return total


@pytest.mark.parametrize("version", ["5", "9", "10"])
def test_softflowd_is_heard(version: str, tmp_path: Path) -> None:
    """What it exports of a capture adds up to the capture's own octets, packets and ports."""
    softflowd, spool, templates = program("softflowd"), Spool(), Templates()
    total = packets(tmp_path / "lab.pcap", 50)
    listeners = Listeners(spool.take)
    listeners.add_datagrams("flows", LOOPBACK, "netflow", FLOW_LIMITS, octets_with(templates.needed))
    with running(listeners):

        def flows() -> int:
            """Flows that were understood so far."""
            if not spool.appended:
                return 0
            read = understood(spool, "netflow").measured.filter(counter="IF.Flows")
            return int(read.get_column("value_milli").sum()) // 1000

        subprocess.run(
            [softflowd, "-r", str(tmp_path / "lab.pcap"), "-v", version, "-n", f"127.0.0.1:{listeners.ports['flows']}",
             "-p", str(tmp_path / "pid"), "-c", "none", "-d"],
            check=True, timeout=60, capture_output=True, env={"PATH": PATH},
        )  # fmt: skip
        until(lambda: flows() >= 50, "fifty flows", 60)
    found = understood(spool, "netflow")
    told = {
        name: found.measured.filter(counter=name).get_column("value_milli").sum()
        for name in ("IF.FlowOctets", "IF.FlowPackets", "IF.Flows")
    }
    assert told == {"IF.FlowOctets": total, "IF.FlowPackets": 50_000, "IF.Flows": 50_000}
    assert set(found.reasons) <= {"not_telemetry"}


def test_rsyslog_is_heard(tmp_path: Path) -> None:
    """The same messages in both formats over UDP, and over TCP in both framings."""
    rsyslogd, logger, spool = program("rsyslogd"), program("logger"), Spool()
    listeners = Listeners(spool.take)
    listeners.add_datagrams("udp", LOOPBACK, "syslog", SYSLOG_LIMITS, texts)
    listeners.add_stream("tcp", LOOPBACK, "syslog")
    with running(listeners):
        forward = "".join(
            f'*.* action(type="omfwd" target="127.0.0.1" port="{listeners.ports[protocol]}" protocol="{protocol}"'
            f' template="RSYSLOG_{template}"{framing})\n'
            for protocol, template, framing in (
                ("udp", "TraditionalForwardFormat", ""),
                ("udp", "SyslogProtocol23Format", ""),
                ("tcp", "SyslogProtocol23Format", ' TCP_Framing="traditional"'),
                ("tcp", "SyslogProtocol23Format", ' TCP_Framing="octet-counted"'),
            )
        )
        (tmp_path / "rsyslog.conf").write_text(
            f'global(workDirectory="{tmp_path}" localHostname="edge1.lab.example")\n'
            'module(load="imuxsock" SysSock.Use="off")\n'
            f'input(type="imuxsock" Socket="{tmp_path}/log" RateLimit.Interval="0")\n{forward}'
        )
        with subprocess.Popen(
            [rsyslogd, "-n", "-f", str(tmp_path / "rsyslog.conf"), "-i", str(tmp_path / "pid")],
            env={"PATH": PATH},
        ) as sender:
            try:
                until((tmp_path / "log").exists, "rsyslog to be ready", 60)
                said = "neighbor 127.0.0.9 Down - holdtimer expired"
                subprocess.run([logger, "-u", str(tmp_path / "log"), "-p", "local0.err", "-t", "bgpd", said],
                               check=True, timeout=60)  # fmt: skip
                until(
                    lambda: sum(said.encode() in one for one in spool.messages()) == 4,
                    "the message four times",
                )
            finally:
                sender.terminate()
    events = understood(spool, "syslog").events.filter(probable_cause="bgpNeighborDown")
    assert events.select("name", "specific_problem", "severity").unique().rows() == [
        ("edge1.lab.example", "127.0.0.9", 2)
    ]
    assert len(events) == 4
