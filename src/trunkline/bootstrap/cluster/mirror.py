"""MirrorMaker 2: what one Kafka cluster has, kept in a second one, so that a site may be lost.

It runs beside the second cluster and writes nothing to the first. Topics keep their names, so whoever fails over
changes an address and nothing else. One direction at a time: two would send everything round in a circle.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trunkline.bootstrap.cluster import credentials
from trunkline.bootstrap.cluster.kafka import ARTIFACTS, LOG, Broker, Endpoint
from trunkline.bootstrap.cluster.place import LOOPBACK, Place, listens

HEAP_MB = 384
_EVERY_S = (
    2  # how often positions of groups and new topics are looked for; a site that is far away takes longer
)


@dataclass(frozen=True)
class Mirror:
    """Mirrors the topics of `source` whose names match into the brokers of this cluster folder."""

    source: Endpoint
    topics: str = "trunkline\\..*"  # a Java regular expression, as are the names of groups
    groups: str = "trunkline\\..*"
    name: str = "mirror"
    broker: Broker = field(default_factory=Broker)
    wave: int = 1

    @property
    def port_names(self) -> tuple[str, ...]:
        """For its own workers, who agree over it on what is whose."""
        return ("rest",)

    def command(self, place: Place) -> list[str]:
        """Write the configuration; how it is started."""
        conf = place.folder / "conf"
        conf.mkdir(exist_ok=True)
        (conf / "log4j2.yaml").write_text(LOG, "utf-8")
        path = credentials.keep(
            conf / "mirror.properties",
            "".join(f"{name}={value}\n" for name, value in self._settings(place).items()),
        )
        program, *options = place.java(ARTIFACTS, heap_mb=HEAP_MB)
        quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        log = f"-Dlog4j2.configurationFile={conf / 'log4j2.yaml'}"
        return [program, *quick, log, *options, "org.apache.kafka.connect.mirror.MirrorMaker", str(path)]

    def answers(self, place: Place) -> bool:
        """Whether it listens; what it mirrors is seen in the second cluster."""
        return listens(place.port("rest"))

    def settle(self, place: Place) -> None:
        """Nothing more."""

    def _settings(self, place: Place) -> dict[str, str | int]:
        copies = len(self.broker.group)
        settings: dict[str, str | int] = {
            "clusters": "first,second",
            **{f"first.{name}": value for name, value in self.source.java_settings().items()},
            **{
                f"second.{name}": value for name, value in self.broker.endpoint(place).java_settings().items()
            },
            "first->second.enabled": "true",
            "second->first.enabled": "false",
            "first->second.topics": self.topics,
            "first->second.groups": self.groups,
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "replication.factor": copies,
            "second.exactly.once.source.support": "enabled",
            "first.consumer.isolation.level": "read_committed",
            "first->second.offset-syncs.topic.location": "target",
            "first->second.sync.group.offsets.enabled": "true",
            "first->second.sync.group.offsets.interval.seconds": _EVERY_S,
            "first->second.emit.checkpoints.interval.seconds": _EVERY_S,
            "first->second.refresh.topics.interval.seconds": _EVERY_S,
            "first->second.refresh.groups.interval.seconds": _EVERY_S,
            "first->second.sync.topic.acls.enabled": "false",  # accounts of the two sites are not the same
            "first->second.offset.lag.max": 0,
            "consumer.auto.offset.reset": "earliest",
            "dedicated.mode.enable.internal.rest": "true",
            "listeners": f"http://{LOOPBACK}:{place.port('rest')}",
        }
        for topic in ("offset-syncs", "checkpoints", "heartbeats"):
            settings[f"{topic}.topic.replication.factor"] = copies
        for topic in ("offset", "config", "status"):
            settings[f"{topic}.storage.replication.factor"] = copies
        return settings
