"""Whether what buckets have committed by now is delivered: asked by whoever reads history and then acts on it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing

from confluent_kafka import Consumer, TopicPartition

from trunkline.bootstrap.delivery import HISTORY
from trunkline.engines.kafka.client import PARTITION_EOF, PATIENCE_S, Server, consumer
from trunkline.engines.plan import Plan
from trunkline.kernel.flow import Stream

Place = tuple[str, int]  # topic and partition


def is_delivered(server: Server, plan: Plan, streams: Iterable[Stream], buckets: Iterable[int]) -> bool:
    """Whether all that some buckets had written of these streams when this was asked has been delivered."""
    topics = [plan.topic(stream) for stream in streams]
    wanted = [TopicPartition(topic, bucket) for bucket in buckets for topic in topics]
    group = f"{plan.prefix}.cassandra.{HISTORY}"
    with closing(consumer(server, group, {"enable.partition.eof": True})) as reader:
        ends = {_place(part): reader.get_watermark_offsets(part, PATIENCE_S) for part in wanted}
        behind = {}
        for part in reader.committed(wanted, PATIENCE_S):
            low, high = ends[_place(part)]
            begin = max(low, part.offset)  # below zero where nothing was ever delivered
            if begin < high:
                behind[_place(part)] = begin, high
        return not behind or _nothing_between(reader, behind)


def _nothing_between(reader: Consumer, bounds: dict[Place, tuple[int, int]]) -> bool:
    """Whether only marks of transactions lie between these offsets."""
    reader.assign([TopicPartition(*place, begin) for place, (begin, _) in bounds.items()])
    left, deadline = dict(bounds), time.monotonic() + PATIENCE_S
    while left and time.monotonic() < deadline:
        for message in reader.consume(100, 0.1):
            place, trouble = (message.topic() or "", message.partition() or 0), message.error()
            if trouble is not None and trouble.code() != PARTITION_EOF:
                return False
            if trouble is None and place in left and (message.offset() or 0) < left[place][1]:
                return False
            left.pop(place, None)
    return not left


def _place(part: TopicPartition) -> Place:
    return part.topic, part.partition
