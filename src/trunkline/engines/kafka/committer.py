"""The one thread that writes: a turn's messages, its offsets and nothing else, in one transaction after another.

While it waits for the brokers the next turn is being carried. Offsets go with the group's member and generation as
the reading thread knows them, so a worker whose partitions have moved is refused by the broker, whatever it still
believes. A generation that went on while the partitions stayed is no trouble: the turn is written again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from trunkline.engines import wire
from trunkline.engines.kafka.client import PATIENCE_S, Lost, patiently, told

TURNS_AHEAD = 2
_FLUSH_S = 0.05
_PAUSE_S = 0.02
_RENEWED_S = 0.2
_GENERATION_S = 10.0  # for the reading thread to hear of a new generation
_STUCK_S = 4 * PATIENCE_S  # a turn's transaction is given up by the brokers long before


@dataclass
class Turn:
    """What becomes true at one moment, or not at all."""

    messages: Sequence[wire.Message]
    offsets: Sequence[TopicPartition]
    rows: int = 0
    acknowledged: Callable[[str, int, int], None] | None = (
        None  # topic, partition, offset of what was written
    )
    committed: Callable[[], None] | None = None


@dataclass
class Written:
    """Counts for people."""

    turns: int = 0
    rows: int = 0
    octets: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0


class Committer:
    """Writes turns in their order; after any trouble it writes no more, and `check` raises."""

    def __init__(self, producer: Producer, group: Callable[[], Any]) -> None:
        """`group` tells the consumer's member and generation; only the reading thread may ask."""
        self._producer, self._ask = producer, group
        self._known: Any = None
        self._turns: queue.Queue[Turn | None] = queue.Queue(TURNS_AHEAD)
        self._idle = threading.Condition()
        self._waiting = 0
        self._trouble: BaseException | None = None
        self._refused: KafkaError | None = None
        self.written = Written()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def renew(self) -> None:
        """Ask for the generation again. The reading thread does so at first, and when it reads or waits."""
        self._known = self._ask()

    def check(self) -> None:
        """Raise what went wrong."""
        if self._trouble is not None:
            raise self._trouble if isinstance(self._trouble, Lost) else Lost(repr(self._trouble))

    def put(self, turn: Turn) -> None:
        """Hand over a turn; waits while the brokers are slow, which is all the backpressure there is.

        Raises `Lost` when nothing moves any more: the client was seen to wait for ever where it was told not to.
        """
        if self._known is None:
            self.renew()
        with self._idle:
            self._waiting += 1
        deadline = time.monotonic() + _STUCK_S
        while True:
            self.check()
            try:
                self._turns.put(turn, timeout=_RENEWED_S)
            except queue.Full:
                self.renew()
                if time.monotonic() > deadline:
                    with self._idle:
                        self._trouble = Lost(f"no turn was committed within {_STUCK_S:g} s")
                continue
            return

    def drain(self, timeout_s: float = PATIENCE_S) -> None:
        """Return when everything that was handed over is committed; raises `Lost` when it will not be."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.renew()
            with self._idle:
                if self._idle.wait_for(lambda: self._waiting == 0 or self._is_over(), _RENEWED_S):
                    break
                if time.monotonic() > deadline:
                    self._trouble = Lost(f"{self._waiting} turns were not committed within {timeout_s:g} s")
        self.check()

    def cancel(self) -> None:
        """Commit nothing more."""
        with self._idle:
            self._trouble = self._trouble or Lost("the partitions were lost")

    def close(self) -> None:
        """End the thread; what was not committed is aborted."""
        self.cancel()
        self._turns.put(None) if not self._turns.full() else None
        self._thread.join(PATIENCE_S)

    def _is_over(self) -> bool:
        return self._trouble is not None

    def _run(self) -> None:
        while True:
            try:
                turn = self._turns.get(timeout=0.2)
            except queue.Empty:
                if self._is_over():
                    return
                continue
            if turn is None or self._is_over():
                return
            try:
                while not self._write(turn):
                    self.check()
                    time.sleep(_PAUSE_S)
            except BaseException as error:  # noqa: BLE001 -- handed to the thread that carries
                with self._idle:
                    self._trouble = self._trouble or error
                    self._idle.notify_all()
                return
            with self._idle:
                self._waiting -= 1
                self._idle.notify_all()

    def _write(self, turn: Turn) -> bool:
        """Write a turn; False when the group's generation went on meanwhile, and the turn is to be written again."""
        began = time.monotonic()
        producer, group = self._producer, self._known
        try:
            patiently(producer.begin_transaction, "beginning a transaction")
            for message in turn.messages:
                self._produce(message, turn)
            patiently(
                lambda: producer.send_offsets_to_transaction(list(turn.offsets), group, PATIENCE_S),
                "handing over offsets",
            )
            self.check()  # a turn whose partitions were lost meanwhile is not committed
            patiently(lambda: producer.commit_transaction(PATIENCE_S), "committing")
        except (Lost, KafkaException) as error:
            self._abort()
            if _generation_went_on(error) and self._renewed(group):
                return False
            raise error if isinstance(error, Lost) else Lost(told(error)) from error
        if self._refused is not None:
            raise Lost(f"a message was refused: {self._refused.name()}")
        seconds = time.monotonic() - began
        written = self.written
        written.turns += 1
        written.rows += turn.rows
        written.octets += sum(len(message.value) for message in turn.messages)
        written.seconds += seconds
        written.longest_s = max(written.longest_s, seconds)
        if turn.committed is not None:
            turn.committed()
        return True

    def _renewed(self, group: Any) -> bool:  # noqa: ANN401 -- the client's own type has no name
        """Wait until the reading thread knows a new generation, or that the partitions are lost."""
        deadline = time.monotonic() + _GENERATION_S
        while self._known is group and not self._is_over() and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        return not self._is_over() and self._known is not group

    def _produce(self, message: wire.Message, turn: Turn) -> None:
        def delivered(error: KafkaError | None, what: Message) -> None:
            if error is not None:
                self._refused = self._refused or error
            elif turn.acknowledged is not None:
                turn.acknowledged(what.topic() or "", what.partition() or 0, what.offset() or 0)

        while True:
            try:
                self._producer.produce(
                    message.topic, message.value, message.key, message.partition,
                    on_delivery=delivered, headers=message.headers,
                )  # fmt: skip
            except BufferError:
                self._producer.poll(_FLUSH_S)
                continue
            self._producer.poll(0)
            return

    def _abort(self) -> None:
        """Take back what was written; where even that fails, the broker does it when its time is over."""
        try:
            self._producer.abort_transaction(PATIENCE_S)
        except KafkaException as error:
            self._trouble = self._trouble or Lost(told(error))


_MOVED = (KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.UNKNOWN_MEMBER_ID)


def _generation_went_on(error: BaseException) -> bool:
    cause = error.__cause__ if isinstance(error, Lost) else error
    trouble = cause.args[0] if isinstance(cause, KafkaException) else None
    return isinstance(trouble, KafkaError) and trouble.code() in _MOVED
