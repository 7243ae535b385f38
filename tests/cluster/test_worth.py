"""Whom cells serve is read when needed and once an hour; a read that failed is tried again soon, then less often."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import pairwise

import polars as pl
import pytest

pytest.importorskip(
    "confluent_kafka", reason="confluent-kafka is not installed: pip install trunkline[cluster]"
)

from confluent_kafka import KafkaError, KafkaException

from trunkline.bootstrap.network import NO_WORTH
from trunkline.bootstrap.network_worth import Worth

HOUR_S = 3600
KNOWN = NO_WORTH.clear(1).fill_null(7)


@dataclass
class Topic:
    """A topic that answers or does not, a clock beside it, and when it was asked."""

    now_s: int = 0
    answers: bool = True
    mine: bool = True
    asked_s: list[int] = field(default_factory=list)

    def read(self, stop: threading.Event) -> pl.DataFrame:
        """Answer, or not."""
        assert not stop.is_set()
        self.asked_s.append(self.now_s)
        if not self.answers:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return KNOWN


def watched(topic: Topic, worth: Worth, until_s: int) -> list[int]:
    """When the topic is asked while somebody looks every second up to a moment."""
    topic.asked_s = []
    while topic.now_s < until_s:
        worth.look(threading.Event())
        topic.now_s += 1
    return topic.asked_s


def of(topic: Topic) -> Worth:
    """What cells are worth by that topic."""
    return Worth(topic.read, lambda: topic.mine, lambda: float(topic.now_s))


def test_once_an_hour_while_it_is_needed() -> None:
    """And at once when it comes to be needed again."""
    topic = Topic()
    worth = of(topic)
    assert watched(topic, worth, 2 * HOUR_S) == [0, HOUR_S]
    topic.mine = False
    assert watched(topic, worth, 4 * HOUR_S) == []
    topic.mine = True
    assert watched(topic, worth, 4 * HOUR_S + 10) == [4 * HOUR_S]
    assert worth.read == 3


def test_a_failed_read_is_tried_again_sooner() -> None:
    """After seconds, twice as long after each further one, never longer than an hour; then hourly as before."""
    topic = Topic(answers=False)
    worth = of(topic)
    tried = watched(topic, worth, 20 * HOUR_S)
    waited = [later - earlier for earlier, later in pairwise(tried)]
    assert waited[:10] == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560]
    assert set(waited[10:]) == {HOUR_S}
    assert worth.table.equals(NO_WORTH)
    topic.answers = True
    back = watched(topic, worth, 23 * HOUR_S)
    assert back[0] - tried[-1] == HOUR_S
    assert back[1] - back[0] == HOUR_S
    assert worth.table.equals(KNOWN)
    topic.answers = False
    tried = watched(topic, worth, 24 * HOUR_S)
    assert tried[1] - tried[0] == 5
    assert worth.table.equals(KNOWN)


def test_what_was_known_stays_and_waiting_ends_with_ownership() -> None:
    """Whoever comes to own it anew does not wait for what the last owner's trouble left."""
    topic = Topic(answers=False)
    worth = of(topic)
    watched(topic, worth, HOUR_S)
    topic.mine = False
    watched(topic, worth, HOUR_S + 1)
    topic.mine = topic.answers = True
    assert watched(topic, worth, HOUR_S + 60) == [HOUR_S + 1]
