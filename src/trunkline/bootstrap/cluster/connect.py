"""Kafka Connect: what brings data in from legacy systems and hands it out, with a password for those who configure it.

Its connectors come from files (`examples/connect`). Passwords of databases stand in none of them: a connector names
a file of the cluster's secrets and Connect reads it (`FileConfigProvider`).
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.cluster.artifacts import fetched, pinned
from trunkline.bootstrap.cluster.kafka import ARTIFACTS, LOG, Broker, Endpoint
from trunkline.bootstrap.cluster.place import LOOPBACK, Place, listens
from trunkline.ports import Refused

GROUP = "trunkline-connect"
USER = "connect"
HEAP_MB = 512
_ASK_S = 20.0
_BASIC_AUTH = "org.apache.kafka.connect.rest.basic.auth.extension"


@dataclass(frozen=True)
class Connect:
    """One distributed worker beside a broker of the same cluster folder."""

    name: str = "connect"
    broker: Broker = field(default_factory=Broker)
    wave: int = 1  # it needs the broker

    @property
    def port_names(self) -> tuple[str, ...]:
        """For those who configure it."""
        return ("rest",)

    def command(self, place: Place) -> list[str]:
        """Write the configuration; how the worker is started."""
        conf = place.folder / "conf"
        conf.mkdir(exist_ok=True)
        (conf / "log4j2.yaml").write_text(LOG, "utf-8")
        plugins = place.folder / "plugins"
        plugins.mkdir(exist_ok=True)
        debezium = plugins / "debezium"
        debezium.unlink(missing_ok=True)
        debezium.symlink_to(fetched(pinned("debezium"), place.jars))
        secret = credentials.password(place.secrets, f"{self.name}-{USER}")
        known = credentials.keep(place.secrets / f"{self.name}.users", f"{USER}: {secret}\n")
        module = f"{_BASIC_AUTH}.PropertyFileLoginModule"
        (conf / "jaas.conf").write_text(f'KafkaConnect {{ {module} required file="{known}"; }};\n', "utf-8")
        settings = self._settings(place, plugins)
        path = credentials.keep(
            conf / "connect.properties", "".join(f"{name}={value}\n" for name, value in settings.items())
        )
        program, *options = place.java(ARTIFACTS, heap_mb=HEAP_MB)
        said = [
            f"-Dlog4j2.configurationFile={conf / 'log4j2.yaml'}",
            f"-Djava.security.auth.login.config={conf / 'jaas.conf'}",
        ]
        quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [
            program,
            *quick,
            *said,
            *options,
            "org.apache.kafka.connect.cli.ConnectDistributed",
            str(path),
        ]

    def answers(self, place: Place) -> bool:
        """Whether the worker answers; raises `Refused` when it belongs to another Kafka."""
        if not listens(place.port("rest")):
            return False
        try:
            found = self.ask(place, "GET", "/")["kafka_cluster_id"]
            self.ask(place, "GET", "/connectors")
        except (Refused, OSError, KeyError):
            return False
        if found != place.cluster_id:
            raise Refused(
                f"Port {place.port('rest')} belongs to a Connect of the Kafka cluster {found}, not of ours."
            )
        return True

    def settle(self, place: Place) -> None:
        """Nothing more."""

    def put(self, place: Place, name: str, config: dict[str, str]) -> None:
        """Begin a connector, or change it; the same again changes nothing."""
        self.ask(place, "PUT", f"/connectors/{name}/config", config)

    def state(self, place: Place, name: str) -> list[str]:
        """State of a connector and of its tasks, such as RUNNING; empty while it is not known yet."""
        try:
            told = self.ask(place, "GET", f"/connectors/{name}/status")
        except Refused:
            return []
        return [told["connector"]["state"], *(task["state"] for task in told["tasks"])]

    def ask(self, place: Place, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 -- JSON
        """Ask the worker; raises `Refused` with its own words."""
        secret = credentials.password(place.secrets, f"{self.name}-{USER}")
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{place.port('rest')}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Content-Type": "application/json",
                "Authorization": "Basic " + base64.b64encode(f"{USER}:{secret}".encode()).decode(),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_ASK_S) as answer:  # noqa: S310 -- loopback
                octets = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(f"Connect: {error.read().decode('utf-8', 'replace')[:1000]}") from error
        return json.loads(octets) if octets else None

    def _settings(self, place: Place, plugins: Path) -> dict[str, str | int]:
        copies = len(self.broker.group)
        endpoint = self.endpoint(place)
        settings: dict[str, str | int] = {
            **endpoint.java_settings(),
            "group.id": GROUP,
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.storage.StringConverter",
            "listeners": f"http://{LOOPBACK}:{place.port('rest')}",
            "rest.extension.classes": f"{_BASIC_AUTH}.BasicAuthSecurityRestExtension",
            "exactly.once.source.support": "enabled",
            "plugin.path": str(plugins),
            "plugin.discovery": "hybrid_warn",
            "offset.flush.interval.ms": 2000,
            "config.providers": "file",
            "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
            "config.providers.file.param.allowed.paths": str(place.secrets),
        }
        for topic in ("offset", "config", "status"):
            settings[f"{topic}.storage.topic"] = f"{GROUP}-{topic}s"
            settings[f"{topic}.storage.replication.factor"] = copies
        settings["offset.storage.partitions"] = settings["status.storage.partitions"] = 1
        for role in ("producer", "consumer", "admin"):
            told = endpoint.java_settings()
            settings |= {
                f"{role}.{name}": value for name, value in told.items() if name != "bootstrap.servers"
            }
        return settings

    def endpoint(self, place: Place) -> Endpoint:
        """How it comes to the brokers."""
        return self.broker.endpoint(place)


def connector(path: Path, chosen: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Name and configuration of a connector's file, with some settings chosen."""
    told = json.loads(path.read_text("utf-8"))
    return str(told["name"]), {**told["config"], **chosen}
