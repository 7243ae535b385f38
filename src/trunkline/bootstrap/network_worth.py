"""Whom the cells of a watched cluster serve and what they pay, out of the rated usage in the other flow's topic.

Incidents are ordered by the money at stake, so whoever correlates must know it. One machine asks its history; on a
cluster the last day of what was charged is read from its topic by the worker that owns the partition in which alarms
hang together, when it comes to own it and once an hour. It is an estimate that nobody books by, so it is no version
that all must agree on: an epoch that is carried again by another owner may show other customers of the same incident.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import polars as pl
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from trunkline.bootstrap.network import DAY_US, MINUTES_A_DAY, NO_WORTH, WORTH_EVERY_S
from trunkline.engines.kafka.client import PARTITION_EOF, PATIENCE_S, Server, consumer
from trunkline.engines.wire import Unreadable, rows_in
from trunkline.kernel.identity import name_words
from trunkline.records.charging import CHARGED

log = logging.getLogger("trunkline.network")

HOUR_US = 3_600_000_000
HOURS = DAY_US // HOUR_US
LOOK_EVERY_S = 1.0
AGAIN_S = 5.0  # after the first read that failed; twice as long after each further one, an hour at most
_AT_ONCE, _WAIT_S = 500, 1.0
_PARTS = 64  # so many messages are added up together
_OF_HOUR = ["hour", "cell", "subscriber"]


def group_of(topic: str) -> str:
    """In whose name that topic is asked: a name for rights, under which nothing is ever committed."""
    return f"{topic}.worth"


def worth_in(server: Server, topic: str, now_ms: int, stop: threading.Event | None = None) -> pl.DataFrame:
    """Subscribers and money a minute of each cell (`WORTH`), out of what a topic of `CHARGED` was told in the last day.

    Of that the 24 hours of event time up to the newest one count. What is told while it is read is left for the next
    time. A topic that is not there tells nothing; raises `KafkaException` when it may not be read, which is not that.
    """
    with closing(consumer(server, group_of(topic), {"enable.partition.eof": True})) as asking:
        known = asking.list_topics(topic, PATIENCE_S).topics[topic]
        if known.error is not None:
            if known.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise KafkaException(known.error)
            return NO_WORTH
        since = [TopicPartition(topic, part, now_ms - DAY_US // 1000) for part in known.partitions]
        hours = [
            part for part in _hours(asking, asking.offsets_for_times(since, PATIENCE_S), stop) if len(part)
        ]
    return _of_hours(pl.concat(hours)) if hours else NO_WORTH


def _hours(
    asking: Consumer, parts: list[TopicPartition], stop: threading.Event | None
) -> Iterator[pl.DataFrame]:
    """What was charged by hour, cell and subscriber, some messages at a time, up to where the partitions end now."""
    ends = {part.partition: asking.get_watermark_offsets(part, PATIENCE_S)[1] for part in parts}
    left = {part.partition: part for part in parts if 0 <= part.offset < ends[part.partition]}
    asking.assign(list(left.values()))
    rows: list[pl.DataFrame] = []
    while left and not (stop and stop.is_set()):
        for message in asking.consume(_AT_ONCE, _WAIT_S):
            part, error = message.partition() or 0, message.error()
            if error is not None:
                if error.code() == PARTITION_EOF:
                    left.pop(part, None)
                continue
            if (message.offset() or 0) >= ends[part] - 1:
                left.pop(part, None)
            try:
                rows.append(_by_hour(rows_in(message.value() or b"", CHARGED.record)))
            except Unreadable:
                continue  # whoever delivers it sets it aside
        if len(rows) >= _PARTS or not left:
            yield _added(pl.concat(rows)) if rows else pl.DataFrame()
            rows = []


def _by_hour(rows: pl.DataFrame) -> pl.DataFrame:
    used = rows.filter(pl.col("cell").is_not_null()).select(
        "subscriber",
        "charged_micros",
        hour=pl.col("start_us") // HOUR_US,
        cell=pl.col("cell").cast(pl.String),
    )
    return _added(used)


def _added(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by(_OF_HOUR).agg(pl.col("charged_micros").sum())


def _of_hours(hours: pl.DataFrame) -> pl.DataFrame:
    """`WORTH` of the newest 24 hours."""
    cells = (
        hours.filter(pl.col("hour") > pl.col("hour").max() - HOURS)
        .group_by("cell")
        .agg(
            pl.col("subscriber").n_unique().cast(pl.Int64).alias("subscribers"),
            (pl.col("charged_micros").sum() // MINUTES_A_DAY)
            .cast(pl.Int64)
            .alias("micros_per_minute"),  # down
        )
    )
    words = pl.Series("object", name_words(cells["cell"]), dtype=pl.UInt64)
    return cells.with_columns(words).select(NO_WORTH.columns).sort("object")


def reading(server: Server, topic: str) -> Callable[[threading.Event], pl.DataFrame]:
    """How `Worth` reads a topic of `CHARGED`: the last day of it as of now."""
    return lambda stop: worth_in(server, topic, time.time_ns() // 1_000_000, stop)


class Worth:
    """What cells are worth by now; any thread may ask."""

    def __init__(
        self,
        read: Callable[[threading.Event], pl.DataFrame],
        is_mine: Callable[[], bool],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read before `following`; and then only while `is_mine` says that it is needed here."""
        self._read, self._is_mine, self._now_s = read, is_mine, now_s
        self.table = NO_WORTH
        self.read = 0  # how often it was read
        self._due_s: float | None = None  # when to read next; None: as soon as it is needed
        self._again_s = AGAIN_S  # how long to wait when that fails

    def look(self, stop: threading.Event) -> None:
        """Read when it comes to be needed, every hour while it is, and sooner where that failed."""
        if not self._is_mine():
            self._due_s, self._again_s = None, AGAIN_S
            return
        if self._due_s is not None and self._now_s() < self._due_s:
            return
        begun_s = self._now_s()
        try:
            self.table = self._read(stop)
        except KafkaException as error:
            log.warning(
                "whom cells serve could not be read; it stays as it was, and is tried again in %g s: %s",
                self._again_s, error,
            )  # fmt: skip
            self._due_s = self._now_s() + self._again_s
            self._again_s = min(2 * self._again_s, WORTH_EVERY_S)
        else:
            self.read += 1
            self._due_s, self._again_s = begun_s + WORTH_EVERY_S, AGAIN_S

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.wait(LOOK_EVERY_S):
            self.look(stop)


@contextmanager
def following(worth: Worth) -> Iterator[None]:
    """Keep what cells are worth up to date until the end of the block."""
    enough = threading.Event()
    thread = threading.Thread(target=worth.run, args=(enough,), name="worth")
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
