"""Listeners put together: which ports, whose certificates, whom to believe, and into which spools it all goes.

Every listener is off until its port is named. All listen on loopback unless another address is named: syslog, traps of
v1 and v2c and flows over UDP prove nothing about who sent them, so a wider address belongs behind a firewall.
"""

from __future__ import annotations

import json
import ssl
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trunkline.bootstrap.network import Network
from trunkline.engines.embedded.intake import Spooling
from trunkline.engines.listeners import datagrams
from trunkline.engines.listeners.listeners import Listeners
from trunkline.engines.listeners.scrape import Exporter
from trunkline.kernel.mappings import MappingError
from trunkline.network.telemetry.templates import Templates
from trunkline.network.telemetry.users import parse_users
from trunkline.ports import Refused
from trunkline.settings import Listening
from trunkline.stores.embedded.disk import Disk

TEMPLATES = "flow-templates.txt"
COUNTS = "listeners.json"


def listeners_of(network: Network, spooling: Spooling, chosen: Listening) -> Listeners | None:
    """The listeners that are chosen, with their datagram ports open; None when none is. Raises `Refused`."""
    believe(network, chosen)
    listeners = Listeners(spooling.usage)
    templates = remembered_templates(network.folder / TEMPLATES)
    for name, port, mapping, limits, wrap in (
        ("syslog_udp", chosen.syslog_udp, "syslog", datagrams.SYSLOG_LIMITS, datagrams.texts),
        ("traps", chosen.traps, "snmp_traps", datagrams.TRAP_LIMITS, datagrams.octets),
        ("flows", chosen.flows, "netflow", datagrams.FLOW_LIMITS, datagrams.octets_with(templates.needed)),
    ):
        if port:
            try:
                listeners.add_datagrams(name, (chosen.listen_host, port), mapping, limits, wrap)
            except OSError as error:
                raise Refused(
                    f"{name}: {chosen.listen_host}:{port} cannot be had ({error.strerror})."
                ) from error
    if chosen.syslog_tcp:
        listeners.add_stream("syslog_tcp", (chosen.listen_host, chosen.syslog_tcp), "syslog")
    if chosen.syslog_tls:
        listeners.add_stream(
            "syslog_tls", (chosen.listen_host, chosen.syslog_tls), "syslog", tls=tls_of(chosen)
        )
    exporters = exporters_of(chosen.scrape)
    if exporters:
        listeners.add_scraper("scrape", "prometheus", exporters, chosen.scrape_every_s, chosen.scrape_metrics)
    listeners.keep(keeper_of(network, templates))
    listeners.keep(teller_of(network, listeners))
    return listeners if listeners.status() else None


def believe(network: Network, chosen: Listening) -> None:
    """Let the mappings of traps know whom to believe."""
    if not chosen.snmp_users:
        return
    path = Path(chosen.snmp_users)
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Refused(f"{path} holds passwords and may be read by others. Give it mode 600.")
        users, communities = parse_users(path.name, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}).") from error
    except (MappingError, UnicodeDecodeError) as error:
        raise Refused(str(error) if isinstance(error, MappingError) else f"{path} is not UTF-8.") from error
    for name, mapping in network.mappings.items():
        if mapping.kind == "snmp":
            network.mappings[name] = mapping.with_users(users, communities)


def tls_of(chosen: Listening) -> ssl.SSLContext:
    """The server's side of TLS (RFC 5425): its certificate, and whose certificates it asks for."""
    if not chosen.tls_certificate or not chosen.tls_key:
        raise Refused("Syslog over TLS needs tls_certificate and tls_key, two PEM files.")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        tls.load_cert_chain(chosen.tls_certificate, chosen.tls_key)
        if chosen.tls_clients:
            tls.load_verify_locations(chosen.tls_clients)
            tls.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise Refused(f"The certificate for syslog over TLS cannot be used ({error.strerror}).") from error
    return tls


def exporters_of(text: str) -> tuple[Exporter, ...]:
    """Exporters out of `name=address` pairs, separated by commas."""
    found = []
    for pair in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, url = pair.partition("=")
        parts = urlsplit(url)
        if (
            not equals
            or not name
            or " " in name
            or parts.scheme not in ("http", "https")
            or not parts.hostname
        ):
            raise Refused(f"{pair!r} is no exporter. Write name=http://host:port/metrics.")
        if parts.username or parts.password:
            raise Refused(
                f"The address of exporter {name!r} holds a password. Put it behind a proxy instead."
            )
        found.append(Exporter(name, url))
    return tuple(found)


def remembered_templates(path: Path) -> Templates:
    """What flow exporters' data mean, as it was known when the platform stopped."""
    try:
        return Templates.read(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Templates()
    except ValueError as error:
        raise Refused(f"{path} is damaged. Remove it: exporters send their templates again.") from error


def keeper_of(network: Network, templates: Templates) -> Callable[[], None]:
    """Writes templates down when something was learnt."""
    path, disk = network.folder / TEMPLATES, network.store.disk
    known = templates.changes

    def keep() -> None:
        nonlocal known
        changes = templates.changes
        if changes == known:
            return
        _replace(disk, path, templates.written().encode())
        known = changes

    return keep


def teller_of(network: Network, listeners: Listeners) -> Callable[[], None]:
    """Writes down what listeners took and refused, when that changed, for those who ask the folder (`status`)."""
    path, disk = network.folder / COUNTS, network.store.disk
    known: list[dict[str, Any]] = []

    def keep() -> None:
        nonlocal known
        told = listeners.status()
        if told != known:
            _replace(disk, path, json.dumps({"time_us": time.time_ns() // 1000, "listeners": told}).encode())
            known = told

    return keep


def listeners_told(folder: Path) -> dict[str, Any]:
    """What the listeners of a network's folder last told: `time_us` and `listeners`; none when there were none."""
    try:
        told: dict[str, Any] = json.loads((folder / COUNTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {"time_us": 0, "listeners": []}
    return told


def _replace(disk: Disk, path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    disk.remove(fresh)
    disk.write(fresh, [content])
    disk.rename(fresh, path)
