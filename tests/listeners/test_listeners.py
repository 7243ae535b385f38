"""Listeners: what real senders send is spooled with its reception and sender, and too much of anything is told."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import errno
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.listeners.listening import LOOPBACK, Spool, running, send, stream
from tests.rooms.network.telemetry.reading import NOW_US, Read, block, captured, shipped
from tests.waiting import until
from trunkline.engines.listeners.datagrams import (
    FLOW_LIMITS,
    SYSLOG_LIMITS,
    TRAP_LIMITS,
    Limits,
    Wrap,
    octets,
    octets_with,
)
from trunkline.engines.listeners.datagrams import texts as text_lines
from trunkline.engines.listeners.listeners import Listeners
from trunkline.engines.listeners.scrape import Exporter
from trunkline.engines.listeners.shares import Shares
from trunkline.engines.listeners.streams import Frames, StreamLimits
from trunkline.kernel.envelope import unescaped
from trunkline.network.telemetry.templates import Templates


def udp(spool: Spool, limits: Limits = SYSLOG_LIMITS, most_octets: int = 8 << 20) -> Listeners:
    """A syslog listener over UDP."""
    listeners = Listeners(spool.take, most_octets)
    listeners.add_datagrams("syslog_udp", LOOPBACK, "syslog", limits, text_lines)
    return listeners


def tcp(spool: Spool, limits: StreamLimits | None = None, tls: ssl.SSLContext | None = None) -> Listeners:
    """A syslog listener over TCP or TLS."""
    listeners = Listeners(spool.take)
    listeners.add_stream("syslog_tcp", LOOPBACK, "syslog", limits, tls)
    return listeners


def test_datagrams_are_spooled_as_they_came() -> None:
    """Every octet, with the sender's address and a time of reception."""
    spool = Spool()
    sent = [*captured("syslog/*-udp-*.bin"), b"", b"two\nlines\\n\0", bytes(range(256))]
    with running(udp(spool)) as listeners:
        send(listeners.ports["syslog_udp"], *sent)
        until(lambda: len(spool.messages()) == len(sent), "all datagrams")
    assert spool.messages() == sent
    assert {one.peer for one in spool.envelopes()} == {"127.0.0.1"}
    assert all(one.received_us > NOW_US - 10**15 for one in spool.envelopes())


def test_what_was_taken_is_durable_when_listeners_stop() -> None:
    """Stopping waits for the spool: nothing that was received is forgotten."""
    spool = Spool()
    with running(udp(spool)) as listeners:
        send(listeners.ports["syslog_udp"], *(b"<13>%d" % n for n in range(1000)))
        until(lambda: listeners.status()[0]["messages"] == 1000, "all to be taken")
    assert len(spool.messages()) == 1000


@pytest.mark.parametrize(
    "name", ["rsyslog-5424-tcp-lf-0001", "rsyslog-5424-tcp-octet-0001", "logger-tcp-0001", "logger-tcp-0002"]
)
def test_both_framings_of_real_senders_are_read(name: str) -> None:
    """Newlines and octet counts, with and without newlines between; the text of both is the same."""
    (octets_sent,) = captured(f"syslog/{name}.bin")
    spool = Spool()
    with running(tcp(spool)) as listeners:
        stream(listeners.ports["syslog_tcp"], octets_sent)
        expected = 7 if "rsyslog" in name else 3
        until(lambda: len(spool.messages()) == expected, "all messages")
    assert spool.notices() == {}
    found = Read(block(spool.appended[0][1], "syslog"), shipped())
    assert (len(found.events), found.reasons) == (expected, [])


# How datagrams are spooled, how they are read back, and what the other sender has to say.
FLOODS: dict[str, tuple[Wrap, Callable[[bytes], bytes], Callable[[], list[bytes]]]] = {
    "syslog": (text_lines, unescaped, lambda: [b"<13>%d" % n for n in range(50)]),
    "snmp_traps": (octets, base64.b64decode, lambda: captured("snmp/trap-*.bin")),
}


@pytest.mark.parametrize("mapping", FLOODS)
def test_a_flood_is_refused_and_slows_nobody_else(mapping: str) -> None:
    """One sender's flood is cut to its share and told as one; another sender's messages all come through."""
    spelt, read_back, of_the_other = FLOODS[mapping]
    wanted = of_the_other()
    spool = Spool()
    listeners = Listeners(spool.take)
    listeners.add_datagrams("port", LOOPBACK, mapping, Limits(8_192, rate_per_s=1, burst=100), spelt)
    with running(listeners):
        port = listeners.ports["port"]
        for _ in range(20):
            send(port, *[wanted[0]] * 100)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.2", 0))
            for message in wanted:
                other.sendto(message, ("127.0.0.1", port))
        until(
            lambda: sum(one.peer == "127.0.0.2" for one in spool.envelopes(mapping)) == len(wanted),
            "the other sender's messages",
        )
        until(lambda: spool.notices(mapping).get("flood"), "the flood to be told")
    told = listeners.status()[0]
    assert told["received"] == told["messages"] + told["refused"] == 2000 + len(wanted)
    assert sum(told["reasons"].values()) == told["refused"]
    assert told["reasons"]["flood"] == spool.notices(mapping)["flood"]
    assert set(told["reasons"]) <= {"flood", "dropped"}
    others = [one for one in spool.envelopes(mapping) if one.peer == "127.0.0.2"]
    assert [read_back(one.message) for one in others] == wanted
    flooded = [one for one in spool.envelopes(mapping) if one.peer == "127.0.0.1"]
    taken = sum(not one.notice for one in flooded)
    assert 100 <= taken <= 200
    dropped = spool.notices(mapping).get("busy", 0)  # by the kernel, which says so
    assert taken + spool.notices(mapping)["flood"] + dropped == 2000
    events = Read(block(b"".join(octets for _, octets in spool.appended), mapping), shipped()).events
    flood = events.filter(probable_cause="telemetryFlood")
    assert flood.select("name", "security").unique().rows() == [("127.0.0.1", 1)]


def test_what_is_too_long_is_refused_with_its_beginning() -> None:
    """A datagram above the limit, a line without end, and a count beyond it: each is told, and the next is read."""
    spool = Spool()
    with running(udp(spool)) as listeners:
        send(listeners.ports["syslog_udp"], b"<13>" + b"x" * 20_000, b"<13>next")
        until(spool.notices, "the refusal")
    assert (spool.messages(), spool.notices()) == ([b"<13>next"], {"oversize": 20_004})
    assert listeners.status()[0]["reasons"] == {"oversize": 1}
    assert spool.envelopes()[-1].message.startswith(b"<13>xxx")
    spool = Spool()
    with running(tcp(spool, StreamLimits(message_octets=1000))) as listeners:
        port = listeners.ports["syslog_tcp"]
        stream(port, b"<13>" + b"x" * 5_000_000 + b"\n<13>after\n5000 " + b"y" * 5000 + b"4 <1>z")
        until(lambda: len(spool.messages()) == 2 and spool.notices(), "the messages behind")
    assert (spool.messages(), spool.notices()) == ([b"<13>after", b"<1>z"], {"oversize": 5_005_004})


def test_without_room_memory_stays_bounded_and_it_is_told() -> None:
    """While the platform catches up, UDP is refused and counted, and TCP waits: what was taken all comes out."""
    spool = Spool(full=True)
    listeners = udp(spool, Limits(8_192, 10**6, 10**6), most_octets=64 << 10)
    listeners.add_stream("syslog_tcp", LOOPBACK, "syslog", StreamLimits(rate_per_s=10**6, burst=10**6))
    with running(listeners):
        sent = []

        def refused() -> int:
            """Send some more until there is no room."""
            send(listeners.ports["syslog_udp"], *[b"<13>" + b"u" * 1000] * 20)
            sent.append(20)
            return int(listeners.status()[0]["refused"])

        slow = threading.Thread(
            target=stream,
            args=(listeners.ports["syslog_tcp"], b"".join(b"<13>%06d\n" % n for n in range(50_000))),
        )
        slow.start()
        until(refused, "datagrams to be refused")
        spool.full = False
        slow.join(60)
        until(lambda: sum(one.startswith(b"<13>0") for one in spool.messages()) == 50_000, "the whole stream")
        until(lambda: spool.notices().get("busy"), "the refusal to be told")
    datagrams = sum(one.startswith(b"<13>u") for one in spool.messages())
    assert datagrams + spool.notices()["busy"] == sum(sent)
    assert datagrams < sum(sent)
    lines = [one for one in spool.messages() if one.startswith(b"<13>0")]
    assert lines == sorted(lines)


def test_connections_are_bounded() -> None:
    """More connections than one sender may have are closed and told; the others go on."""
    spool = Spool()
    with (
        running(tcp(spool, StreamLimits(connections_of_one=3))) as listeners,
        contextlib.ExitStack() as stack,
    ):
        address = ("127.0.0.1", listeners.ports["syslog_tcp"])
        three = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(3)]
        for one in three:
            one.sendall(b"<13>hello\n")
        until(lambda: len(spool.messages()) == 3, "three connections to be heard")
        fourth = stack.enter_context(socket.create_connection(address, timeout=30))
        assert fourth.recv(1) == b""
        three[-1].sendall(b"<13>still\n")
        until(lambda: len(spool.messages()) == 4, "the third connection to go on")
        until(spool.notices, "the refusal to be told")
    assert spool.notices() == {"busy": 1}


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own for loopback, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def test_tls_asks_for_a_certificate(tmp_path: Path) -> None:
    """RFC 5425: octet-counted over TLS; who has no certificate that is trusted is not read."""
    server, client = certificate(tmp_path, "server"), certificate(tmp_path, "client")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client[0]))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(*server)
    spool = Spool()
    with running(tcp(spool, tls=tls)) as listeners:
        address = ("127.0.0.1", listeners.ports["syslog_tcp"])
        known = ssl.create_default_context(cafile=str(server[0]))
        stranger = ssl.create_default_context(cafile=str(server[0]))
        known.load_cert_chain(*client)
        with (
            contextlib.suppress(ssl.SSLError, ConnectionError),
            socket.create_connection(address, timeout=30) as raw,
            stranger.wrap_socket(raw, server_hostname="127.0.0.1") as out,
        ):
            out.sendall(b"11 <13>strange")
            assert out.recv(1) == b""
        stream(address[1], b"11 <13>in clear")
        with socket.create_connection(address, timeout=30) as raw, known.wrap_socket(
            raw, server_hostname="127.0.0.1"
        ) as out:  # fmt: skip
            out.sendall(b"10 <13>secret10 <13>second")
            until(lambda: len(spool.messages()) == 2, "two messages over TLS")
    assert spool.messages() == [b"<13>secret", b"<13>second"]


def test_traps_and_flows_are_read_from_their_spool() -> None:
    """Datagrams of net-snmp and softflowd through sockets, spool and decoding, templates beside the data."""
    spool, templates = Spool(), Templates()
    listeners = Listeners(spool.take)
    listeners.add_datagrams("traps", LOOPBACK, "snmp_traps", TRAP_LIMITS, octets)
    listeners.add_datagrams("flows", LOOPBACK, "netflow", FLOW_LIMITS, octets_with(templates.needed))
    flows = captured("netflow/netflow-v9-*.bin")
    with running(listeners):
        send(listeners.ports["traps"], *captured("snmp/trap-*.bin"))
        send(listeners.ports["flows"], *flows)
        until(
            lambda: sum(octets.count(b"\n") for _, octets in spool.appended) == 19 + len(flows),
            "all datagrams",
        )
    traps = Read(block(b"".join(o for m, o in spool.appended if m == "snmp_traps"), "snmp_traps"), shipped())
    assert (len(traps.events), traps.reasons) == (19, [])
    (*_, last) = b"".join(o for m, o in spool.appended if m == "netflow").splitlines(keepends=True)
    alone = Read(block(last, "netflow"), shipped())
    assert alone.values()["127.0.0.1:0", "IF.Flows"] == 16_000


class Page(BaseHTTPRequestHandler):
    """An exporter's page."""

    def do_GET(self) -> None:
        """Answer, or send elsewhere."""
        body = b'# TYPE up gauge\nup 1\nnode_load1 0.25\nsecret_total{a="b"} 7\n'
        self.send_response(200 if self.path == "/metrics" else 302)
        self.send_header("Location", "/metrics")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def test_exporters_are_scraped() -> None:
    """What is wanted is spooled, nothing else; an exporter that is away or sends elsewhere gives nothing."""
    spool = Spool()
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        listeners = Listeners(spool.take)
        exporters = (
            Exporter("r1", f"{url}/metrics"),
            Exporter("r2", f"{url}/other"),
            Exporter("r3", "http://127.0.0.1:9"),
        )
        listeners.add_scraper("scrape", "prometheus", exporters, 3600.0, "node_.*|up")
        with running(listeners):
            until(lambda: len(spool.messages("prometheus")) == 2, "two samples")
            until(lambda: listeners.status()[0]["unanswered"] == 2, "both that do not answer")
        server.shutdown()
        thread.join()
    found = Read(block(b"".join(octets for _, octets in spool.appended), "prometheus"), shipped())
    assert found.values() == {("r1", "up"): 1_000, ("r1", "node_load1"): 250}


def test_a_port_that_is_taken_is_told() -> None:
    """Nobody believes that a listener listens which does not."""
    spool = Spool()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(LOOPBACK)
        with pytest.raises(OSError) as caught:
            Listeners(spool.take).add_datagrams(
                "syslog", other.getsockname(), "syslog", SYSLOG_LIMITS, text_lines
            )
    assert caught.value.errno == errno.EADDRINUSE


def test_a_disk_that_fails_ends_the_listeners() -> None:
    """A spool that cannot be written is trouble that is raised, not a line in a log."""

    def broken(_mapping: str, _octets: bytes) -> None:
        raise OSError(errno.EIO, "broken")

    listeners = Listeners(broken)
    listeners.add_datagrams("syslog", LOOPBACK, "syslog", SYSLOG_LIMITS, text_lines)

    def heard() -> None:
        with running(listeners):
            send(listeners.ports["syslog"], b"<13>x")
            until(listeners._stopping.is_set, "the listeners to stop")

    with pytest.raises(OSError, match="broken"):
        heard()


@pytest.mark.skipif(shutil.which("logger") is None, reason="util-linux logger is not installed")
def test_the_real_logger_is_heard() -> None:
    """util-linux logger over UDP and TCP, in both formats and both framings."""
    spool = Spool()
    listeners = udp(spool)
    listeners.add_stream("syslog_tcp", LOOPBACK, "syslog")
    with running(listeners):
        for options in (
            ("-d", "--rfc3164"), ("-d", "--rfc5424"), ("-T", "--rfc5424"), ("-T", "--rfc5424", "--octet-count")
        ):  # fmt: skip
            port = listeners.ports["syslog_udp" if "-d" in options else "syslog_tcp"]
            subprocess.run(
                ["logger", "-n", "127.0.0.1", "-P", str(port), *options, "-p", "local0.err", "-t", "edge1",
                 "ge-0/0/7 carrier lost"], check=True, timeout=30,
            )  # fmt: skip
        until(lambda: len(spool.messages()) == 4, "four messages")
    found = Read(block(b"".join(o for _, o in spool.appended), "syslog", received_us=None), shipped())
    assert found.events.get_column("probable_cause").to_list() == ["linkDown"] * 4


@settings(max_examples=300, deadline=None)
@given(
    messages=st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=60)), max_size=12),
    cuts=st.lists(st.integers(1, 17), min_size=1),
)
def test_framing_is_found_however_the_network_cuts(
    messages: list[tuple[bool, bytes]], cuts: list[int]
) -> None:
    """Counted and plain messages in one stream, in pieces of any size: the same messages, none lost or doubled."""
    wire, expected, refused = b"", [], 0
    for counted, text in messages:
        message = b"<" + text.replace(b"\n", b" ")
        wire += b"%d %s" % (len(message), message) if counted else message + b"\n"
        if len(message) <= 40:
            expected.append(message)
        else:
            refused += 1
    frames, got, at, turn = Frames(longest=40), [], 0, 0
    while at < len(wire):
        piece = wire[at : at + cuts[turn % len(cuts)]]
        got += list(frames.feed(piece))
        at, turn = at + len(piece), turn + 1
        assert len(frames._held) <= 60
    assert frames.end() == b""
    assert got == expected
    assert [notice for notice, _, _ in frames.refused] == ["oversize"] * refused


@settings(max_examples=300, deadline=None)
@given(octets=st.binary(max_size=300), cut=st.integers(1, 50))
def test_framing_never_falls_over(octets: bytes, cut: int) -> None:
    """Any octets in any pieces: messages, refusals, or both, and never more held than one message and a piece."""
    frames = Frames(longest=40)
    for at in range(0, len(octets), cut):
        list(frames.feed(octets[at : at + cut]))
        assert len(frames._held) <= 41 + 8 + cut or frames.broken
    frames.end()


def test_inventing_senders_gains_nothing() -> None:
    """More senders at once than are remembered share one bucket; those who were there keep theirs."""
    shares = Shares(rate_per_s=1, burst=10, most_senders=100)
    assert all(shares.take(f"10.0.0.{n}", 0.0) for n in range(100))
    assert sum(shares.take(f"10.1.{n}.1", 0.0) for n in range(200)) == 10
    assert shares.take("10.0.0.5", 0.0)
    assert shares.take("10.9.9.9", 100.0)
