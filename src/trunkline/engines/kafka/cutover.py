"""Going on at another site, on topics that a mirror copied there: positions are found again, and what is torn is told.

A mirror copies messages and not offsets, and topic by topic. So what a bucket says of its position means nothing on
other brokers, and its changelogs may have come further than its progress or less far. Positions are taken from the
groups', which the mirror translates a little early rather than late: what is carried again is recognised as seen. A
bucket is only taken when each of its changelogs ends with the very commit that its progress names; else it is torn,
and nobody charges on half a state.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from trunkline.engines.kafka.bucket import ASKED, progress_key
from trunkline.engines.kafka.client import (
    PARTITION_EOF,
    PATIENCE_S,
    Lost,
    Server,
    Unfit,
    consumer,
    patiently,
    producer,
    told,
)
from trunkline.engines.kafka.router import edge_key
from trunkline.engines.plan import Plan
from trunkline.engines.wire import change_in, progress_in, progress_out

_SILENCE_S = 60.0
_TRANSACTION_S = 30.0
ROLES = ("router", "charger")


@dataclass
class Standing:
    """How one partition stands: of the work topic (a bucket), or of an edge."""

    topic: str
    partition: int
    position: int  # where its group goes on, on these brokers
    behind: int  # messages from there on
    progress: dict[str, Any] | None
    torn: dict[str, tuple[int, int]] = field(
        default_factory=dict
    )  # changelog: commit it ends with, commit wanted

    @property
    def key(self) -> bytes:
        """Key of its progress."""
        return b""


class Bucket(Standing):
    """A bucket."""

    @property
    def key(self) -> bytes:
        """Key of its progress."""
        return progress_key(self.partition)


class Edge(Standing):
    """A partition of an edge."""

    @property
    def key(self) -> bytes:
        """Key of its progress."""
        return edge_key(self.topic, self.partition)


@dataclass
class Site:
    """What was found on these brokers."""

    buckets: list[Bucket]
    edges: list[Edge]
    active: list[str]  # groups of workers that run here

    @property
    def torn(self) -> list[Bucket]:
        """Buckets that nobody may take."""
        return [each for each in self.buckets if each.torn]

    @property
    def behind(self) -> int:
        """Messages that are still to be carried."""
        return sum(each.behind for each in (*self.buckets, *self.edges))


def look(server: Server, plan: Plan) -> Site:
    """How the copies stand; changes nothing. Raises `Lost` when the brokers do not answer."""
    try:
        with closing(consumer(server, f"{plan.prefix}.follower", {"enable.partition.eof": True})) as reader:
            progress = _progress(reader, plan)
            known = reader.list_topics(timeout=PATIENCE_S).topics
            buckets = [
                Bucket(plan.work, number, *_position(server, reader, plan, "charger", plan.work, number),
                       progress.get(progress_key(number)))
                for number in range(plan.buckets)
            ]  # fmt: skip
            for bucket in buckets:
                bucket.torn = _torn(reader, plan, bucket)
            edges = [
                Edge(topic, part, *_position(server, reader, plan, "router", topic, part),
                     progress.get(edge_key(topic, part)))
                for topic in map(plan.topic, plan.edges) for part in sorted(known[topic].partitions)
            ]  # fmt: skip
        return Site(buckets, edges, _active(server, plan))
    except KafkaException as error:
        raise Lost(f"looking at the site: {told(error)}") from error


def go_on(server: Server, plan: Plan, site: Site, again_since_ms: int | None = None) -> None:
    """Let workers go on here: write every position anew, in progress and in the groups.

    Edges begin with the first message since `again_since_ms` (of the messages' own time) where that is earlier: what
    the other site had routed may not have been copied. Raises `Unfit` when a worker runs here or a bucket is torn.
    """
    if site.active:
        raise Unfit(f"Workers of {', '.join(site.active)} run on these brokers. Stop them first.")
    if site.torn:
        raise Unfit("\n".join(words(each) for each in site.torn))
    try:
        if again_since_ms is not None:
            _rewind(server, plan, site.edges, again_since_ms)
        _write(server, plan, site)
        _set_group(server, f"{plan.prefix}.router", site.edges)
        _set_group(server, f"{plan.prefix}.charger", site.buckets)
    except KafkaException as error:
        raise Lost(f"writing positions: {told(error)}") from error


def carried_by(server: Server, plan: Plan) -> str:
    """The engine that was anywhere in a plan's topics: `kafka`, `spark`, or nobody (empty); raises `Lost`.

    Both write down counts, but a position only the first: Spark's are in its checkpoint. Who only began to own a
    bucket was nowhere.
    """
    try:
        with closing(consumer(server, f"{plan.prefix}.follower", {"enable.partition.eof": True})) as reader:
            if plan.progress not in reader.list_topics(timeout=PATIENCE_S).topics:
                return ""
            told_ = _progress(reader, plan).values()
    except KafkaException as error:
        raise Lost(f"looking at the site: {told(error)}") from error
    if any(each.get("position", 0) > 0 for each in told_):
        return "kafka"
    return "spark" if any("position" not in each for each in told_) else ""


def words(bucket: Bucket) -> str:
    """A torn bucket in a sentence."""
    ends = ", ".join(
        f"{topic} ends with {found} instead of {wanted}" for topic, (found, wanted) in bucket.torn.items()
    )
    return (
        f"Bucket {bucket.partition} was copied in part: by commit, {ends}. Nobody can charge on it here"
        " (docs/operating/cluster-sites.md, Torn)."
    )


def _progress(reader: Consumer, plan: Plan) -> dict[bytes, dict[str, Any]]:
    parts = [TopicPartition(plan.progress, number, OFFSET_BEGINNING) for number in range(plan.buckets)]
    found = {}
    for message in _messages(reader, parts):
        if message.key() is not None:
            found[message.key() or b""] = progress_in(message.value() or b"")
    return found


def _messages(reader: Consumer, parts: list[TopicPartition]) -> Iterable[Message]:
    """Everything committed in some partitions up to their ends."""
    reader.assign(parts)
    ended: set[tuple[str | None, int | None]] = set()
    deadline = time.monotonic() + _SILENCE_S
    while len(ended) < len(parts):
        if time.monotonic() > deadline:
            raise Lost(f"{parts[0].topic} gave no answer within {_SILENCE_S:g} s")
        for message in reader.consume(200, 0.2):
            trouble = message.error()
            if trouble is None:
                yield message
            elif trouble.code() == PARTITION_EOF:
                ended.add((message.topic(), message.partition()))
            elif not trouble.retriable():
                raise KafkaException(trouble)
            deadline = time.monotonic() + _SILENCE_S


def _position(
    server: Server, reader: Consumer, plan: Plan, role: str, topic: str, partition: int
) -> tuple[int, int]:
    """Where a group goes on in a partition, and how many messages lie from there on."""
    with closing(consumer(server, f"{plan.prefix}.{role}")) as asking:
        committed = asking.committed([TopicPartition(topic, partition)], PATIENCE_S)[0].offset
        low, _ = asking.get_watermark_offsets(TopicPartition(topic, partition), PATIENCE_S)
    position = max(low, committed)
    behind = sum(1 for _ in _messages(reader, [TopicPartition(topic, partition, position)]))
    return position, behind


def _torn(reader: Consumer, plan: Plan, bucket: Bucket) -> dict[str, tuple[int, int]]:
    """Changelogs that do not end with the commit that the bucket's progress names."""
    wanted = bucket.progress["changed"] if bucket.progress else {}
    found: dict[str, tuple[int, int]] = {}
    for state in plan.kept:
        topic = plan.changelog(state)
        last, parts, whole = 0, 0, 0
        for message in _messages(reader, [TopicPartition(topic, bucket.partition, OFFSET_BEGINNING)]):
            change = change_in(message.value() or b"", state)
            last, parts = change.number, parts + 1 if change.number == last else 1
            whole = last if parts == change.parts else whole
        forgotten = state.days is not None and last == 0  # all that was written is older than its window
        if not forgotten and (whole, last) != (wanted.get(state.name, 0),) * 2:
            found[topic] = (last, wanted.get(state.name, 0))
    return found


def _active(server: Server, plan: Plan) -> list[str]:
    admin = AdminClient(server.common())
    names = [f"{plan.prefix}.{role}" for role in ROLES]
    found = []
    for name, future in admin.describe_consumer_groups(names, request_timeout=PATIENCE_S).items():
        state = future.result(PATIENCE_S).state
        if state not in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD):
            found.append(name)
    return found


def _rewind(server: Server, plan: Plan, edges: list[Edge], since_ms: int) -> None:
    with closing(consumer(server, f"{plan.prefix}.router")) as asking:
        asked = [TopicPartition(each.topic, each.partition, since_ms) for each in edges]
        for edge, part in zip(edges, asking.offsets_for_times(asked, PATIENCE_S), strict=True):
            if 0 <= part.offset < edge.position:
                edge.position = part.offset


def _write(server: Server, plan: Plan, site: Site) -> None:
    writer = producer(server, f"{plan.prefix}.cutover", _TRANSACTION_S)
    patiently(writer.begin_transaction, "beginning a transaction")
    for each in (*site.buckets, *site.edges):
        if each.progress is None:
            continue
        anew = {**each.progress, "position": each.position}
        if isinstance(
            each, Bucket
        ):  # changelogs are read from their beginning here, and nothing was tried yet
            anew |= {"images": dict.fromkeys(each.progress["images"], 0), "trying": None}
            if plan.asks is not None:  # who was not answered there has given up, or sends again
                anew["more"] = {**each.progress.get("more", {}), ASKED: _end(server, plan, each.partition)}
        writer.produce(plan.progress, progress_out(anew), each.key, each.partition % plan.buckets)
    patiently(lambda: writer.commit_transaction(PATIENCE_S), "committing positions")


def _end(server: Server, plan: Plan, partition: int) -> int:
    """Where requests for quota end here; 0 where nobody ever asked."""
    with closing(consumer(server, f"{plan.prefix}.follower")) as reader:
        if plan.requests not in reader.list_topics(timeout=PATIENCE_S).topics:
            return 0
        return int(reader.get_watermark_offsets(TopicPartition(plan.requests, partition), PATIENCE_S)[1])


def _set_group(server: Server, group: str, parts: Iterable[Standing]) -> None:
    where = [TopicPartition(each.topic, each.partition, each.position) for each in parts]
    asked = [ConsumerGroupTopicPartitions(group, where)]
    admin = AdminClient(server.common())
    for future in admin.alter_consumer_group_offsets(asked, request_timeout=PATIENCE_S).values():
        for part in future.result(PATIENCE_S).topic_partitions:
            if part.error is not None:
                raise Lost(f"{group} could not be moved: {part.error}")
