"""The topics that a map asks for: how many partitions, how long things are kept, how many copies, and making them.

Everything follows from the map and a handful of numbers, so nobody creates a topic by hand and none is created by
writing to it. What exists is compared and never changed quietly: another number of buckets would tear subscribers
from their state. Partitions that somebody added behind the last bucket are passed over by everybody, for Kafka cannot
take them away again; how many buckets there are stands in the catalogue's versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewTopic

from trunkline.engines.kafka.client import MESSAGE_OCTETS, PATIENCE_S, Lost, Server, Unfit, told
from trunkline.engines.kafka.events import Doors
from trunkline.engines.plan import Plan
from trunkline.kernel.flow import Stream

DAY_MS = 86_400_000
SEGMENT_OCTETS = 64 << 20
PROGRESS_SEGMENT_OCTETS = 4 << 20  # small, so that compaction keeps a start short
WORK_DAYS = 7
ASKED_DAYS = 1  # who asked sends again long before, or not at all
SLACK_DAYS = 2  # identities are kept this much longer than promised; see `bucket.py`


@dataclass(frozen=True)
class Topic:
    """A topic as it should be."""

    name: str
    partitions: int
    text: str
    settings: dict[str, str] = field(default_factory=dict)
    fixed: bool = (
        True  # its number of partitions is the number of buckets; else more may be added at any time
    )


def topics(plan: Plan, edge_partitions: int, copies: int) -> tuple[Topic, ...]:
    """All topics of a plan, in the order of the data's way."""
    common = {
        "max.message.bytes": str(MESSAGE_OCTETS),
        "min.insync.replicas": str(max(1, copies - 1)),
        "segment.bytes": str(SEGMENT_OCTETS),
    }

    def kept(days: int) -> dict[str, str]:
        return {**common, "cleanup.policy": "delete", "retention.ms": str(days * DAY_MS)}

    compacted = {
        **common, "cleanup.policy": "compact", "segment.bytes": str(PROGRESS_SEGMENT_OCTETS),
        "min.cleanable.dirty.ratio": "0.1", "segment.ms": str(DAY_MS),
    }  # fmt: skip
    forever = {**common, "cleanup.policy": "delete", "retention.ms": "-1"}
    found = [
        Topic(plan.topic(s), edge_partitions, s.text, kept(s.record.days_kept), fixed=False)
        for s in plan.edges
    ]
    found += [Topic(name, plan.buckets, text, kept(WORK_DAYS)) for name, text in plan.between.items()]
    written = (*plan.results, *plan.beside)
    found += [Topic(plan.topic(s), plan.buckets, s.text, kept(s.record.days_kept)) for s in written]
    found.append(
        Topic(plan.answers, plan.buckets, "What became of each order that has a name.", kept(WORK_DAYS))
    )
    if plan.asks is not None:
        texts = {
            plan.requests: plan.asks.steps[0].reads.text,
            plan.replies: plan.asks.steps[-1].writes[0].text,
        }
        found += [Topic(name, plan.buckets, text, kept(ASKED_DAYS)) for name, text in texts.items()]
        text = "What was used by those who asked first, as the records that it was charged by."
        found.append(Topic(plan.reported, plan.buckets, text, kept(plan.raw.record.days_kept)))
    for state in plan.kept:
        settings = forever if state.days is None else kept(state.days + SLACK_DAYS + 1)
        found.append(Topic(plan.changelog(state), plan.buckets, state.text, settings))
    found.append(Topic(plan.progress, plan.buckets, "How far every bucket and edge is.", compacted))
    words = {**compacted, "cleanup.policy": "compact,delete", "retention.ms": str(DAY_MS)}
    found.append(Topic(plan.workers, 1, "What the workers say of themselves.", words))
    found.append(Topic(plan.undigested, plan.buckets, "What no worker could digest.", kept(365)))
    found.append(
        Topic(plan.catalogue, 1, "Every version of the tariff, and of the register of numbers.", forever)
    )
    found.append(Topic(plan.schemas, 1, "What each stream's messages look like.", compacted))
    return tuple(found)


def event_topics(doors: Doors, edge_partitions: int, copies: int) -> tuple[Topic, ...]:
    """Topics of the single events that others exchange with us."""
    common = {"max.message.bytes": str(MESSAGE_OCTETS), "min.insync.replicas": str(max(1, copies - 1))}

    def kept(stream: Stream) -> dict[str, str]:
        return {**common, "cleanup.policy": "delete", "retention.ms": str(stream.record.days_kept * DAY_MS)}

    entrances = [
        Topic(
            name,
            edge_partitions,
            f"As {kind.value}: {doors.handed_in.text}",
            kept(doors.handed_in),
            fixed=False,
        )
        for kind, name in doors.entrances()
    ]
    exits = [
        Topic(name, doors.plan.buckets, f"As {kind.value}: {stream.text}", kept(stream))
        for kind, stream, name in doors.exits()
    ]
    return (*entrances, *exits)


def make(server: Server, wanted: Sequence[Topic], copies: int) -> list[str]:
    """Create what is missing; names of what was created. Raises `Unfit` when what is there does not fit."""
    admin = AdminClient(server.common())
    there = {name: len(t.partitions) for name, t in admin.list_topics(timeout=PATIENCE_S).topics.items()}
    _judge(there, wanted)
    missing = [topic for topic in wanted if topic.name not in there]
    asked = admin.create_topics(
        [NewTopic(t.name, t.partitions, copies, config=t.settings) for t in missing],
        operation_timeout=PATIENCE_S,
        request_timeout=PATIENCE_S,
    ) if missing else {}  # fmt: skip
    for future in asked.values():
        try:
            future.result(PATIENCE_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another worker was quicker
                raise
    return [topic.name for topic in missing]


@dataclass(frozen=True)
class Difference:
    """Where a topic is not as it should be: `partitions` or a setting, what it is, and what it should be."""

    what: str
    found: str
    wanted: str


def differences(server: Server, wanted: Sequence[Topic]) -> dict[str, list[Difference] | None]:
    """What of each topic is not as it should be; None where there is no such topic. Raises `Lost`."""
    admin = AdminClient(server.common())
    try:
        there = admin.list_topics(timeout=PATIENCE_S).topics
        known = [topic for topic in wanted if topic.name in there]
        asked = [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in known]
        settings = {
            resource.name: {name: entry.value for name, entry in future.result(PATIENCE_S).items()}
            for resource, future in admin.describe_configs(asked, request_timeout=PATIENCE_S).items()
        } if asked else {}  # fmt: skip
    except KafkaException as error:
        raise Lost(f"asking for topics: {told(error)}") from error
    found: dict[str, list[Difference] | None] = dict.fromkeys((topic.name for topic in wanted), None)
    for topic in known:
        count = len(there[topic.name].partitions)
        enough = count == topic.partitions if topic.fixed else count >= topic.partitions
        found[topic.name] = [] if enough else [Difference("partitions", str(count), str(topic.partitions))]
        found[topic.name] += [  # type: ignore[operator]  # it was made a list the line before
            Difference(name, str(settings[topic.name].get(name)), value)
            for name, value in topic.settings.items()
            if settings[topic.name].get(name) != value
        ]
    return found


def settle(server: Server, wanted: Sequence[Topic]) -> None:
    """Give topics the settings that they should have; raises `Lost`."""
    asked = [
        ConfigResource(
            ConfigResource.Type.TOPIC,
            topic.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in topic.settings.items()
            ],
        )
        for topic in wanted
    ]
    if not asked:
        return
    admin = AdminClient(server.common())
    for future in admin.incremental_alter_configs(asked, request_timeout=PATIENCE_S).values():
        try:
            future.result(PATIENCE_S)
        except KafkaException as error:
            raise Lost(f"changing a topic's settings: {told(error)}") from error


def _judge(there: dict[str, int], wanted: Iterable[Topic]) -> None:
    for topic in wanted:
        count = there.get(topic.name, topic.partitions)
        if topic.fixed and count < topic.partitions:
            raise Unfit(
                f"The topic {topic.name} has {count} partitions and should have {topic.partitions}. Every subscriber's"
                " state lies in the bucket of its number; set kafka_buckets to what it was, or move to a new prefix"
                " (docs/operating/cluster-kafka.md, Growing)."
            )
