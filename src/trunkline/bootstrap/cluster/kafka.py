"""Kafka brokers: one, or three in three racks; secure (TLS, SCRAM, permissions) unless a bench asks for plaintext.

Each broker is also a controller (KRaft). Clients come with a password over TLS, brokers know each other by
certificate, and whoever was not given a permission may do nothing (`allow.everyone.if.no.acl.found=false`).
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.cluster.place import LOOPBACK, Place, listens
from trunkline.ports import Refused

ARTIFACTS = "kafka"
ADMIN = "admin"
HEAP_MB = 768
RACK_HEAP_MB = 448
FORMAT_S = 240
ASK_S = 5

LOG = """Configuration:
  Appenders:
    Console:
      name: STDOUT
      PatternLayout: {pattern: "[%d] %p %m (%c)%n"}
  Loggers:
    Root:
      level: WARN
      AppenderRef: {ref: STDOUT}
"""


@dataclass(frozen=True)
class Endpoint:
    """Where brokers are, and how one account comes to them."""

    bootstrap_servers: str
    cluster_id: str
    user: str = ""  # empty: plaintext, no account
    password_file: Path | None = None
    ca_file: Path | None = None

    def settings(self) -> dict[str, str | int | float | bool]:
        """Settings of a librdkafka client (confluent_kafka)."""
        if not self.user:
            return {"bootstrap.servers": self.bootstrap_servers}
        assert self.password_file is not None, "an account has a password"
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": self.user,
            "sasl.password": self.password_file.read_text("utf-8"),
            "ssl.ca.location": str(self.ca_file),
        }

    def java_settings(self) -> dict[str, str]:
        """Settings of a Java client (Connect, MirrorMaker, Spark without its prefix)."""
        if not self.user:
            return {"bootstrap.servers": self.bootstrap_servers}
        assert self.password_file is not None, "an account has a password"
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required"
            f' username="{self.user}" password="{self.password_file.read_text("utf-8")}";',
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.ca_file),
        }


@dataclass(frozen=True)
class Broker:
    """One broker of `group`, the brokers of one Kafka cluster in the order of their node ids."""

    name: str = "kafka"
    group: tuple[str, ...] = ("kafka",)
    secure: bool = True
    wave: int = 0
    quick: bool = True  # to be up; one that is to carry a load for long is better compiled whole

    @property
    def port_names(self) -> tuple[str, ...]:
        """For clients, for brokers among themselves, and for controllers."""
        return ("client", "internal", "controller")

    @property
    def node(self) -> int:
        """Its node id, from 1."""
        return self.group.index(self.name) + 1

    def command(self, place: Place) -> list[str]:
        """Write the configuration, format the data folder the first time; how the broker is started."""
        conf = place.folder / "conf"
        conf.mkdir(parents=True, exist_ok=True)
        (conf / "log4j2.yaml").write_text(LOG, "utf-8")
        settings = self._settings(place)
        path = conf / "broker.properties"
        credentials.keep(path, "".join(f"{name}={value}\n" for name, value in settings.items()))
        if not (place.folder / "data" / "meta.properties").exists():
            self._format(place, path)
        heap_mb = HEAP_MB if len(self.group) == 1 else RACK_HEAP_MB
        program, *options = place.java(ARTIFACTS, heap_mb=heap_mb)
        quick = ["-XX:+UseSerialGC", *(["-XX:TieredStopAtLevel=1"] if self.quick else [])]
        log = f"-Dlog4j2.configurationFile={conf / 'log4j2.yaml'}"
        return [program, *quick, log, *options, "kafka.Kafka", str(path)]

    def answers(self, place: Place) -> bool:
        """Whether the broker answers; raises `Refused` when another cluster does."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        if not listens(place.port("client")):
            return False
        settings = {**self.endpoint(place).settings(), "bootstrap.servers": self.address(place)}
        admin = AdminClient({**settings, "log_level": 0})
        try:
            found = admin.describe_cluster(request_timeout=ASK_S).result(2 * ASK_S)
        except (KafkaException, TimeoutError):
            return False
        if found.cluster_id != place.cluster_id:
            raise Refused(
                f"{self.address(place)} belongs to the Kafka cluster {found.cluster_id}, not to ours."
            )
        return len(found.nodes) == len(self.group)

    def settle(self, place: Place) -> None:
        """Nothing: the first account is made when the data folder is formatted."""

    def address(self, place: Place) -> str:
        """Where clients find this broker."""
        return f"{LOOPBACK}:{place.port('client')}"

    def endpoint(self, place: Place) -> Endpoint:
        """How the administrator comes to all brokers of the group."""
        servers = ",".join(f"{LOOPBACK}:{place.ports[f'{name}.client']}" for name in self.group)
        if not self.secure:
            return Endpoint(servers, place.cluster_id)
        return Endpoint(
            servers,
            place.cluster_id,
            ADMIN,
            credentials.password_file(place.secrets, f"kafka-{ADMIN}"),
            credentials.authority(place.secrets),
        )

    def _settings(self, place: Place) -> dict[str, str | int]:
        copies = len(self.group)
        client, internal, controller = (f"{LOOPBACK}:{place.port(name)}" for name in self.port_names)
        voters = (
            f"{at}@{LOOPBACK}:{place.ports[f'{name}.controller']}" for at, name in enumerate(self.group, 1)
        )
        protocols = ("SASL_SSL", "SSL", "SSL") if self.secure else ("PLAINTEXT",) * 3
        listeners = ("CLIENT", "INTERNAL", "CONTROLLER")
        spoken = ",".join(f"{name}:{protocol}" for name, protocol in zip(listeners, protocols, strict=True))
        settings: dict[str, str | int] = {
            "process.roles": "broker,controller",
            "node.id": self.node,
            "broker.rack": f"rack-{self.node}",
            "controller.quorum.voters": ",".join(voters),
            "listeners": f"CLIENT://{client},INTERNAL://{internal},CONTROLLER://{controller}",
            "advertised.listeners": f"CLIENT://{client},INTERNAL://{internal}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INTERNAL",
            "listener.security.protocol.map": spoken,
            "log.dirs": str(place.folder / "data"),
            "num.partitions": 4,
            "default.replication.factor": copies,
            "min.insync.replicas": max(1, copies - 1),
            "unclean.leader.election.enable": "false",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "log.segment.bytes": 256 << 20,
            # A broker that dies is noticed within seconds, not within the nine that Kafka waits by itself.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
        }
        for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
            settings[f"{topic}.replication.factor"] = copies
            settings[f"{topic}.num.partitions"] = 4
        for topic in ("transaction.state.log", "share.coordinator.state.topic"):
            settings[f"{topic}.min.isr"] = max(1, copies - 1)
        return {**settings, **self._security(place)} if self.secure else settings

    def _security(self, place: Place) -> dict[str, str | int]:
        key = place.secrets / f"{self.name}.pem"
        if not key.exists():
            credentials.issue(place.secrets, key.name, "broker")
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        return {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": scram,
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(key),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(credentials.authority(place.secrets)),
            "listener.name.internal.ssl.client.auth": "required",
            "listener.name.controller.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:CN=broker;User:{ADMIN}",
            "allow.everyone.if.no.acl.found": "false",
        }

    def _format(self, place: Place, path: Path) -> None:
        """Format the data folder; the first account's password goes in a file of arguments, never in the command."""
        identity = f"--cluster-id={place.cluster_id}"  # one word: an id may begin with a dash
        words = ["kafka.tools.StorageTool", "format", identity, "-c", str(path)]
        if self.secure:
            secret = credentials.password(place.secrets, f"kafka-{ADMIN}")
            words += ["--add-scram", f"SCRAM-SHA-512=[name={ADMIN},password={secret}]"]
        arguments = credentials.keep(place.folder / "format.args", "".join(f'"{word}"\n' for word in words))
        try:
            done = subprocess.run(  # noqa: S603 -- our own words
                [*place.java(ARTIFACTS, heap_mb=128), f"@{arguments}"],
                capture_output=True,
                text=True,
                timeout=FORMAT_S,
                check=False,
            )
        finally:
            arguments.unlink()
        if done.returncode != 0:
            raise Refused(f"Kafka could not format {place.folder / 'data'}: {done.stderr.strip()[-500:]}")
