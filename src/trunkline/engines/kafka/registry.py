"""The registry of schemas: a compacted topic that whoever may, reads, and that one writer at a time adds to.

Writers take turns by Kafka's own means: all of them write in transactions under one name, so whoever begins later
shuts out whoever began before. What one reads after beginning is therefore all that there is, and two can never give
the same number or version to different schemas. No other server is asked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

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
from trunkline.engines.plan import Plan
from trunkline.engines.schemas.book import Book, Entry, Incompatible, rule_entry
from trunkline.engines.schemas.compatible import Rule
from trunkline.engines.schemas.shapes import Schema, columns, layout

_TRIES = 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 3.0
_TURN_S = 30.0


@dataclass(frozen=True)
class Wanted:
    """A schema that is to be in the registry before anybody writes by it, and the rule for a new subject."""

    subject: str
    schema: Schema
    rule: Rule


def subject_of(topic: str, stream: str = "") -> str:
    """The subject of a topic's values, or of one stream's where a topic carries several.

    These are Confluent's TopicNameStrategy and TopicRecordNameStrategy.
    """
    return f"{topic}-{stream or 'value'}"


def of_plan(plan: Plan) -> list[Wanted]:
    """The schemas of everything that an engine writes or reads on its topics, raw octets and its own notes apart.

    Between our own steps old and new workers read each other while one after the other is replaced, so these change
    both ways or not at all; orders come from others, whom we must go on reading. A state's changelog is read as it
    lies, so another layout is another schema.
    """
    own, edge = Rule.FULL_TRANSITIVE, Rule.BACKWARD_TRANSITIVE
    orders = [stream for stream in plan.edges if stream is not plan.raw]
    return [
        *(Wanted(subject_of(plan.topic(s)), columns(s.record), edge) for s in orders),
        *(
            Wanted(subject_of(topic, s.name), columns(s.record), own)
            for topic, streams in plan.carries.items()
            for s in streams
        ),
        *(Wanted(subject_of(plan.topic(s)), columns(s.record), own) for s in (*plan.results, *plan.beside)),
        *(Wanted(subject_of(plan.changelog(s)), layout(s.dtype), own) for s in plan.kept),
    ]


class Registry:
    """The book of one prefix, as far as it was read; may be used by one thread."""

    def __init__(self, server: Server, plan: Plan) -> None:
        """Nothing is read before it is asked for."""
        self._server, self._topic = server, plan.schemas
        self._group = f"{plan.prefix}.follower"  # a name for rights; nothing is ever committed under it
        self._name = plan.schemas  # whoever writes to it takes the same turn
        self._site = f"{plan.prefix}.site"
        self.book = Book()

    def read(self) -> Book:
        """The book up to its end now; raises `Lost`."""
        reader = consumer(self._server, self._group, {"enable.partition.eof": True})
        try:
            reader.assign([TopicPartition(self._topic, 0, self.book.offset or OFFSET_BEGINNING)])
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                for message in reader.consume(500, 0.2):
                    trouble = message.error()
                    if trouble is None:
                        self.book.take(message.key(), message.value())
                        self.book.offset = (message.offset() or 0) + 1
                    elif trouble.code() == PARTITION_EOF:
                        return self.book
                    elif not trouble.retriable():
                        raise KafkaException(trouble)
            raise Lost(f"{self._topic} gave no answer within {PATIENCE_S:g} s")
        finally:
            reader.close()

    def schema(self, number: int, subject: str) -> Schema | None:
        """The schema of a number, if it is one of a subject's; what is not known yet is looked for once more."""
        for fresh in (False, True):
            book = self.read() if fresh else self.book
            for version in book.versions(subject):
                if version.number == number:
                    return version.schema
        return None

    def enter(self, wanted: Iterable[Wanted]) -> dict[str, int]:
        """Have schemas in the registry, all or none; the number of each by subject.

        Raises `Unfit` when one may not follow what was there before, and says what to do. What is there already
        is only read: an account that may not write the topic can still start.
        """
        wanted = list(wanted)
        numbers, entries = self._judged(self.read(), wanted)
        if not entries:
            return numbers
        return self._in_turn(lambda book: self._judged(book, wanted))

    def home(self) -> tuple[str, str]:
        """The brokers that these topics were made on or moved to (empty: nobody said so yet), and those that we asked.

        A mirror copies the first, so topics that were only copied are known by the two being different.
        """
        admin = AdminClient(self._server.common())
        return self.read().aliases.get(self._site, ""), str(admin.list_topics(timeout=PATIENCE_S).cluster_id)

    def move_in(self) -> None:
        """Write down that these topics live on these brokers from now on."""
        _, here = self.home()
        self._in_turn(lambda _book: ({}, [rule_entry(self._site, Rule.NONE, here)]))

    def rule(self, subject: str, rule: Rule) -> None:
        """Let a subject change by another rule from now on."""
        self._in_turn(lambda _book: ({}, [rule_entry(subject, rule)]))

    @staticmethod
    def _judged(book: Book, wanted: Iterable[Wanted]) -> tuple[dict[str, int], list[Entry]]:
        numbers: dict[str, int] = {}
        entries: list[Entry] = []
        fresh = Book(
            {name: dict(known) for name, known in book.subjects.items()}, {**book.rules}, {**book.numbers}
        )
        for each in wanted:
            try:
                version, added = fresh.enter(each.subject, each.schema, each.rule)
            except Incompatible as error:
                raise Unfit(str(error)) from error
            for entry in added:
                fresh.take(*entry)
            entries += added
            numbers[each.subject] = version.number
        return numbers, entries

    def _in_turn(self, change: Callable[[Book], tuple[dict[str, int], list[Entry]]]) -> dict[str, int]:
        """Take the writers' turn, look again, and write; who is shut out meanwhile begins anew.

        Whoever begins shuts the others out, so writers that all begin again at once would never end: each waits for
        a while that is drawn, and longer each time.
        """
        trouble = ""
        for attempt in range(_TRIES):
            if attempt:
                longest_s = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
                time.sleep(random.uniform(0, longest_s))  # noqa: S311 -- nothing is kept secret by it
            writer = producer(self._server, self._name, _TURN_S)
            numbers, entries = change(self.read())
            if not entries:
                return numbers
            try:
                patiently(writer.begin_transaction, "beginning a transaction")
                for key, value in entries:
                    writer.produce(self._topic, value, key, 0)
                patiently(lambda: writer.commit_transaction(PATIENCE_S), "committing schemas")  # noqa: B023 -- done at once
            except (Lost, KafkaException) as error:
                trouble = told(error) if isinstance(error, KafkaException) else str(error)
                continue
            self.read()
            return numbers
        raise Lost(f"{_TRIES} times somebody else wrote to {self._topic} meanwhile, or it failed: {trouble}")
