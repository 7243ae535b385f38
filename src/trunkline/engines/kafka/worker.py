"""A worker: it takes its share of the edges and of the buckets, and carries them until it is told to stop.

Two roles, each with its own group and its own transactions: the router and the charger. A life of a role begins
with joining the group and ends with trouble or at the end; then nothing is left of it but what was committed, and
the next life begins. Nothing is ever repaired in place.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from trunkline.engines import wire
from trunkline.engines.kafka.bucket import Bucket, Trying
from trunkline.engines.kafka.client import (
    PATIENCE_S,
    Lost,
    Server,
    Unfit,
    consumer,
    producer,
    told,
    without_notices,
)
from trunkline.engines.kafka.committer import Committer, Turn
from trunkline.engines.kafka.credentials import Credentials
from trunkline.engines.kafka.follower import Follower, last_progress
from trunkline.engines.kafka.memory import NewHeld
from trunkline.engines.kafka.router import Edge, Router, aside, edge_key
from trunkline.engines.kafka.standby import Standbys
from trunkline.engines.loop import POISON
from trunkline.engines.plan import STREAM, Framing, Plan
from trunkline.engines.wire import Unreadable, rows_in, rows_out

log = logging.getLogger(__name__)

ROUTED_MESSAGES = 40_000
TURN_ROWS = 200_000
TAKEN_MESSAGES = 24
PAUSE_S = 0.02
ROUTED_S = (
    0.1  # messages are gathered for so long: each turn costs the brokers a transaction over many partitions
)
MEASURED_EVERY_S = 1.0
LONGEST_REST_S = 5.0
MOST_BARREN_LIVES = 3  # of one worker, when it is not the servers' fault


@dataclass(frozen=True)
class Work:
    """What a worker is made of, put together by bootstrap."""

    server: Server
    plan: Plan
    tables: dict[str, object]
    framing: Callable[[str], Framing]
    new_held: NewHeld
    name: str
    mapping: str = "trunkline"
    clock_us: Callable[[], int] = lambda: time.time_ns() // 1000
    named: bool = False  # it has this name after a restart, too
    transaction_s: float = 10.0
    standbys: Standbys | None = None  # copies of buckets that others own


class _Group(ABC):
    """Belonging to a consumer group: partitions come and go, and nothing is taken along that was not committed."""

    def __init__(self, work: Work, role: str, topics: list[str]) -> None:
        self.work, self.role = work, role
        self.rebalances = 0
        self.lag: dict[str, int] = {}
        self._measured_s = 0.0
        plan = work.plan
        # A worker that keeps its name keeps its partitions over a restart, and nobody else is disturbed.
        static = {"group.instance.id": f"{work.name}.{role}"} if work.named else {}
        known = {**static, "client.id": work.name}  # which is how the others see who is there
        self.consumer: Consumer = consumer(work.server, f"{plan.prefix}.{role}", known)
        try:
            self.producer = producer(work.server, f"{plan.prefix}.{role}.{work.name}", work.transaction_s)
        except BaseException:
            self.consumer.close()
            raise
        self.credentials = Credentials(work.server, self.consumer, self.producer)
        self.committer = Committer(self.producer, self._generation)
        self.written = self.committer.written
        self.lost = self.closing = False
        self._trouble: Exception | None = None
        given, taken, lost = map(self._heard, (self._on_assign, self._on_revoke, self._on_lost))
        self.consumer.subscribe(topics, on_assign=given, on_revoke=taken, on_lost=lost)

    def _generation(self) -> Any:  # noqa: ANN401 -- the client's own type has no name
        """Our member and generation. Whoever waits for the brokers asks again and again, and so hears of a password
        that changed meanwhile: the answer that it waits for may need a new connection.
        """
        self.credentials.look()
        return self.consumer.consumer_group_metadata()

    def _heard(self, act: Callable[[list[TopicPartition]], None]) -> Callable[..., None]:
        """What the client may call. Trouble is kept for `take` to raise: let out of a callback, the client makes of its
        own exceptions something that is none, and that no `except` catches.
        """

        def hear(_consumer: Consumer, parts: list[TopicPartition]) -> None:
            try:
                act(parts)
            except Exception as error:  # noqa: BLE001 -- raised again by `take`
                self._trouble = self._trouble or error

        return hear

    def _on_assign(self, given: list[TopicPartition]) -> None:
        self.rebalances += 1
        self.committer.renew()
        # Nothing is read before its past is known: partitions are taken up one by one when they are ready.
        self.consumer.incremental_assign([])
        for part in given:
            self.begin(part)

    def _on_revoke(self, taken: list[TopicPartition]) -> None:
        self.rebalances += 1
        if self.closing:  # nothing is asked of a consumer that is being closed
            return
        self.committer.drain()
        ours = {(part.topic, part.partition) for part in self.consumer.assignment()}
        self.consumer.incremental_unassign([part for part in taken if (part.topic, part.partition) in ours])
        for part in taken:
            self.end(part)

    def _on_lost(self, taken: list[TopicPartition]) -> None:
        self.lost = True
        self.committer.cancel()
        for part in taken:
            self.end(part)

    @abstractmethod
    def begin(self, part: TopicPartition) -> None:
        """A partition was given to us."""

    @abstractmethod
    def end(self, part: TopicPartition) -> None:
        """A partition was taken away."""

    def take(self, most: int, timeout_s: float) -> list[Message]:
        """Messages that are there, without the client's own notices."""
        found = without_notices(self.consumer.consume(most, timeout_s))
        if self.lost:
            raise Lost("the group went on without us")
        if self._trouble is not None:
            raise self._trouble
        self.committer.renew()
        self._measure()
        return found

    def _measure(self) -> None:
        """Messages behind each partition's end, as far as the brokers have told; only the reading thread may ask."""
        now = time.monotonic()
        if now - self._measured_s < MEASURED_EVERY_S:
            return
        self._measured_s = now
        self.credentials.look()
        found = {}
        parts = self.consumer.assignment()
        for part in self.consumer.position(parts) if parts else []:
            _, high = self.consumer.get_watermark_offsets(part, cached=True)
            if high >= 0 and part.offset >= 0:
                found[f"{part.topic}/{part.partition}"] = max(0, high - part.offset)
        self.lag = found

    def close(self) -> None:
        """Leave; a life that ends well has drained before."""
        self.closing = True
        self.credentials.look()
        self.committer.close()
        self.consumer.close()


def committed_at(asking: Consumer, part: TopicPartition) -> int:
    """How far a group is, when nothing is under way any more; negative when it never was anywhere."""
    found = asking.committed([TopicPartition(part.topic, part.partition)], PATIENCE_S)[0]
    if found.error is not None:
        raise Lost(f"asking for offsets: {found.error}")
    return int(found.offset)


def commit_at(asking: Consumer, part: TopicPartition) -> tuple[int, int]:
    """How far a group is, and the bucket's last commit that it knows of; 0 when none was told."""
    found = asking.committed([TopicPartition(part.topic, part.partition)], PATIENCE_S)[0]
    if found.error is not None:
        raise Lost(f"asking for offsets: {found.error}")
    said = found.metadata or ""
    return int(found.offset), int(said) if said.isdigit() else 0


def position_of(plan: Plan, bucket: Bucket) -> TopicPartition:
    """How far a bucket is, for the group: its position in the work topic, and its commit beside it."""
    return TopicPartition(plan.work, bucket.number, bucket.position, str(bucket.commit))


def _by_partition(messages: Iterable[Message]) -> dict[tuple[str, int], list[Message]]:
    """Messages of each partition, in their order; they come in runs, and there may be a hundred thousand a second."""
    found: dict[tuple[str, int], list[Message]] = {}
    run: list[Message] = []
    topic: str | None = None
    partition: int | None = None
    for message in messages:
        if message.partition() != partition or message.topic() != topic:
            topic, partition = message.topic(), message.partition()
            run = found.setdefault((topic or "", partition or 0), [])
        run.append(message)
    return found


class RouterLife(_Group):
    """One life of the router."""

    def __init__(self, work: Work) -> None:
        """Join."""
        self._edges: dict[tuple[str, int], Edge] = {}
        self._router = Router(work.plan, work.tables, work.framing, work.clock_us, work.mapping)
        self._reader = consumer(work.server, f"{work.plan.prefix}.follower", {"enable.partition.eof": True})
        super().__init__(work, "router", [work.plan.topic(stream) for stream in work.plan.edges])
        self.credentials.add(self._reader)

    def begin(self, part: TopicPartition) -> None:
        """Take up an edge partition where the group stands, with the counts that were committed there."""
        committed = committed_at(self.consumer, part)
        plan, key = self.work.plan, edge_key(part.topic, part.partition)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            told_ = last_progress(self._reader, plan, part.partition % plan.buckets, key)
            if (told_["position"] if told_ else 0) >= committed:
                break
            if time.monotonic() > deadline:
                raise Lost(f"the progress of {part.topic}/{part.partition} stays behind its offset")
        edge = Edge(part.topic, part.partition, 0, None, {})
        if told_:
            edge.position, edge.newest_us = told_["position"], told_["newest_us"]
            edge.accounts = {source: list(sums) for source, sums in told_["accounts"].items()}
        self._edges[part.topic, part.partition] = edge
        self.consumer.incremental_assign([TopicPartition(part.topic, part.partition, edge.position)])

    def end(self, part: TopicPartition) -> None:
        """Forget an edge partition."""
        self._edges.pop((part.topic, part.partition), None)

    def run(self, stop: threading.Event) -> None:
        """Route until stopped."""
        while not stop.is_set():
            self.committer.check()
            self.wait_for_room(stop)
            taken = _by_partition(self.take(ROUTED_MESSAGES, ROUTED_S))
            if not taken:
                continue
            before = self._router.rows
            edges = [(self._edges[where], what) for where, what in taken.items() if where in self._edges]
            if not edges:
                continue
            messages = self._router.turn(edges)
            offsets = [TopicPartition(edge.topic, edge.partition, edge.position) for edge, _ in edges]
            self.committer.put(Turn(messages, offsets, self._router.rows - before))
        self.committer.drain()

    def wait_for_room(self, stop: threading.Event) -> None:
        """Return when more may be routed; the work topic of usage takes whatever there is."""

    def close(self) -> None:
        """Leave."""
        super().close()
        self._reader.close()

    def status(self) -> dict[str, Any]:
        """Facts for people."""
        return {"edges": [vars(edge) for edge in list(self._edges.values())]}


class ChargerLife(_Group):
    """One life of the charger."""

    def __init__(self, work: Work) -> None:
        """Join."""
        self._buckets: dict[int, Bucket] = {}
        self._building: dict[int, tuple[Future[Bucket], threading.Event]] = {}
        self._builders = ThreadPoolExecutor(2, "build")
        self.last_build_s = 0.0
        self.built = {"warm": 0, "cold": 0}  # buckets, from a copy that was kept, and from the beginning
        self.passed_over: set[int] = set()
        plan = work.plan
        self._streams = {
            s.name: s for s in (plan.decoded, *(flow.steps[0].reads for flow in plan.carried_whole))
        }
        self._changelogs = {plan.changelog(state): state.name for state in plan.kept}
        self._cut: dict[tuple[str, int], int] = {}
        self.pause_s, self.turn_rows = PAUSE_S, TURN_ROWS
        self._admin = AdminClient(work.server.common())
        super().__init__(work, "charger", [work.plan.work])
        self.credentials.add(self._admin)

    def begin(self, part: TopicPartition) -> None:
        """Build the bucket beside the work on others; a partition that is no bucket is passed over."""
        plan = self.work.plan
        if part.partition >= plan.buckets:
            self.passed_over.add(part.partition)
            log.warning(
                "partition %d of %s is passed over: there are %d buckets, and nothing of ours is ever written behind"
                " them (docs/operating/cluster-kafka.md, Growing)", part.partition, plan.work, plan.buckets,
            )  # fmt: skip
            return
        stop = threading.Event()
        self._building[part.partition] = self._builders.submit(self._build, part, stop), stop

    def _build(self, part: TopicPartition, stop: threading.Event) -> Bucket:
        began = time.monotonic()
        work = self.work
        asking = consumer(work.server, f"{work.plan.prefix}.{self.role}")
        try:
            committed, commit = commit_at(asking, part)
        finally:
            asking.close()
        follower = work.standbys.take(part.partition) if work.standbys else None
        warm = follower is not None
        follower = follower or Follower(work.server, work.plan, self.new_bucket(part.partition))
        try:
            bucket = follower.finish(committed, stop, commit)
        except BaseException:
            follower.close()
            raise
        self.last_build_s = time.monotonic() - began
        self.built["warm" if warm else "cold"] += 1
        return bucket

    def new_bucket(self, number: int) -> Bucket:
        """A bucket that is still empty."""
        work = self.work
        return Bucket(number, work.plan, work.tables, work.new_held)

    def _ready(self) -> None:
        """Take up the buckets that are built."""
        for number, (future, _) in list(self._building.items()):
            if not future.done():
                continue
            del self._building[number]
            bucket = future.result()
            self._buckets[number] = bucket
            self._tell(bucket, [bucket.take_up()])
            self.consumer.incremental_assign(self.reads(bucket))

    def reads(self, bucket: Bucket) -> list[TopicPartition]:
        """What the owner of a bucket reads, and from where."""
        return [TopicPartition(self.work.plan.work, bucket.number, bucket.position)]

    def end(self, part: TopicPartition) -> None:
        """Let go of a bucket."""
        self.passed_over.discard(part.partition)
        building = self._building.pop(part.partition, None)
        if building is not None:
            building[1].set()
        self._buckets.pop(part.partition, None)

    def run(self, stop: threading.Event) -> None:
        """Carry until stopped."""
        while not stop.is_set():
            self.committer.check()
            self._ready()
            turn = self._turn()
            if turn is not None:
                self.committer.put(turn)
        self.committer.drain()

    def _turn(self) -> Turn | None:
        """What is there, carried: neighbours of one stream in one bucket together, all in their order."""
        ends: dict[int, int] = {}
        rows = 0
        waiting: dict[tuple[int, str], list[pl.DataFrame]] = {}
        unread: dict[int, list[wire.Message]] = {}
        timeout_s = self.pause_s
        while rows < self.turn_rows:
            taken = self.take(TAKEN_MESSAGES, timeout_s)
            for message in taken:
                number, offset = message.partition() or 0, message.offset() or 0
                if number in self._buckets and self._buckets[number].careful:
                    self._carry_carefully(self._buckets[number], message)
                    continue
                ends[number] = offset + 1
                try:
                    stream, frame = self._rows(message)
                except Unreadable as error:
                    plan = self.work.plan
                    value = message.value() or b""
                    unread.setdefault(number, []).append(
                        aside(plan, plan.work, number, offset, value, str(error))
                    )
                    continue
                for other in [key for key in waiting if key[0] == number and key[1] != stream]:
                    self._carry(*other, waiting.pop(other))
                waiting.setdefault((number, stream), []).append(frame)
                rows += len(frame)
            if len(taken) < TAKEN_MESSAGES:
                break
            timeout_s = 0.0
        for (number, stream), frames in waiting.items():
            self._carry(number, stream, frames)
        ends = {number: end for number, end in ends.items() if number in self._buckets}
        if not ends:
            return None
        messages: list[wire.Message] = []
        for number, end in ends.items():
            messages += unread.get(number, [])
            messages += self._buckets[number].turn(end)
        offsets = [position_of(self.work.plan, self._buckets[number]) for number in ends]
        images = self._superseded(ends)
        return Turn(
            messages, offsets, rows, self._acknowledged, (lambda: self._cut_off(images)) if images else None
        )

    def _tell(self, bucket: Bucket, messages: list[wire.Message]) -> None:
        """Write down how far a bucket is."""
        where = [position_of(self.work.plan, bucket)]
        self.committer.put(Turn(messages, where, acknowledged=self._acknowledged))

    def _carry_carefully(self, bucket: Bucket, message: Message) -> None:
        """Carry one message in slices, each announced before it is tried, until the row that kills stands alone."""
        bucket.careful -= 1
        plan, offset, value = self.work.plan, message.offset() or 0, message.value() or b""
        try:
            stream, rows = self._rows(message)
        except Unreadable as error:
            self._tell(
                bucket,
                [aside(plan, plan.work, bucket.number, offset, value, str(error)), *bucket.turn(offset + 1)],
            )
            return
        found, at = bucket.trying, bucket.position
        trying = found if found and found.position == at else Trying(at)
        hopeless = trying.again(len(rows))
        while trying.row < len(rows):
            messages: list[wire.Message] = []
            part = rows[trying.row : trying.row + trying.width]
            if hopeless:
                hopeless = False
                if not bucket.set_aside(stream, part):
                    messages.append(
                        aside(plan, plan.work, bucket.number, offset, next(rows_out(part)), POISON)
                    )
            else:
                bucket.trying = trying
                self._tell(bucket, [bucket.progress()])
                self.committer.drain()
                bucket.carry(stream, part)
            trying = Trying(at, trying.row + len(part), 2 * trying.width)
            ended = trying.row >= len(rows)
            messages += bucket.turn(offset + 1 if ended else at, None if ended else trying)
            self._tell(bucket, messages)

    def _rows(self, message: Message) -> tuple[str, pl.DataFrame]:
        headers = dict(message.headers() or [])
        name = headers.get(STREAM, b"")
        stream = self._streams.get(name.decode() if isinstance(name, bytes) else name or "")
        if stream is None:
            raise Unreadable(f"it does not name a stream of the map in its header {STREAM!r}")
        return stream.name, rows_in(message.value() or b"", stream.record)

    def _carry(self, number: int, stream: str, frames: list[pl.DataFrame]) -> None:
        bucket = self._buckets.get(number)
        if bucket is not None:  # else it was taken away while the turn was gathered
            bucket.carry(stream, frames[0] if len(frames) == 1 else pl.concat(frames))

    def _acknowledged(self, topic: str, partition: int, offset: int) -> None:
        state, bucket = self._changelogs.get(topic), self._buckets.get(partition)
        if state is not None and bucket is not None:
            memory = bucket.memories[state]
            memory.tail = max(memory.tail, offset + 1)

    def _superseded(self, numbers: Iterable[int]) -> dict[tuple[str, int], int]:
        """Where the changelogs of some buckets begin to count, where that has moved."""
        found = {}
        for number in numbers:
            for topic, state in self._changelogs.items():
                image = self._buckets[number].memories[state].image
                if image > self._cut.get((topic, number), 0):
                    found[topic, number] = image
        return found

    def _cut_off(self, images: dict[tuple[str, int], int]) -> None:
        """Let the brokers forget what a whole round has written again; where they do not, the next round asks again."""
        self._cut |= images
        wanted = [TopicPartition(topic, number, image) for (topic, number), image in images.items()]
        self._admin.delete_records(wanted, request_timeout=PATIENCE_S)

    def close(self) -> None:
        """Leave; what is being built is let go of."""
        for _, stop in self._building.values():
            stop.set()
        self._builders.shutdown(wait=True, cancel_futures=True)
        super().close()

    def status(self) -> dict[str, Any]:
        """Facts for people."""
        return {
            "buckets": [bucket.status() for bucket in list(self._buckets.values())],
            "building": sorted(self._building),
            "last_build_s": round(self.last_build_s, 3),
            "built": dict(self.built),
            "passed_over": sorted(self.passed_over),
        }


Roles = Mapping[str, Callable[[Work], RouterLife | ChargerLife]]
ROLES: Roles = {"router": RouterLife, "charger": ChargerLife}


class Worker:
    """Both roles, life after life."""

    def __init__(self, work: Work, roles: Iterable[str] | None = None, kinds: Roles = ROLES) -> None:
        """Join nothing before `run`. All the roles there are, unless some are named."""
        self.work, self._kinds = work, kinds
        self.roles = tuple(kinds if roles is None else roles)
        self.lives = dict.fromkeys(self.roles, 0)
        self.last_trouble = ""
        self._living: dict[str, RouterLife | ChargerLife] = {}
        self._failed: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Work until stopped; raises what no further life would change."""
        lives: dict[str, Callable[[threading.Event], None]] = {
            role: partial(self._live, role) for role in self.roles
        }
        if self.work.standbys is not None:
            lives["standby"] = self.work.standbys.run
        threads = [
            threading.Thread(target=self._guarded, args=(live, stop), name=name)
            for name, live in lives.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failed is not None:
            raise self._failed

    def _guarded(self, live: Callable[[threading.Event], None], stop: threading.Event) -> None:
        try:
            live(stop)
        except BaseException as error:  # noqa: BLE001 -- raised again by `run`
            self._failed = self._failed or error
        finally:
            stop.set()  # nobody works on without one of the roles, however that ended

    def _live(self, role: str, stop: threading.Event) -> None:
        """One life after another; a rest between those that came to nothing."""
        barren = 0
        while not stop.is_set():
            self.lives[role] += 1
            life: RouterLife | ChargerLife | None = None
            try:
                life = self._living[role] = self._kinds[role](self.work)
                life.run(stop)
            except (Lost, KafkaException) as error:
                text = told(error) if isinstance(error, KafkaException) else str(error)
                self.last_trouble = f"{role}: {text}"
                log.warning("a life of the %s is over: %s", role, text)
            except (
                Exception
            ) as error:  # the same batch will come again: perhaps it was the machine, perhaps not
                self.last_trouble = f"{role}: {type(error).__name__}: {error}"
                log.exception("a life of the %s is over", role)
                if isinstance(error, Unfit) or barren + 1 >= MOST_BARREN_LIVES:
                    raise
            finally:
                self._living.pop(role, None)
                if life is not None:
                    life.close()
            barren = 0 if life is not None and life.written.turns else barren + 1
            stop.wait(min(LONGEST_REST_S, 0.05 * 2 ** min(barren, 7)))

    def status(self) -> dict[str, Any]:
        """Facts for people: what each role has, how far behind it is, how it writes."""
        found: dict[str, Any] = {"name": self.work.name, "last_trouble": self.last_trouble}
        for role in self.roles:
            life = self._living.get(role)
            known: dict[str, Any] = {"lives": self.lives[role]}
            if life is not None:
                known |= {
                    "rebalances": life.rebalances, "lag": life.lag, "written": vars(life.written), **life.status()
                }  # fmt: skip
            found[role] = known
        if self.work.standbys is not None:
            found["standby"] = self.work.standbys.status()
        return found
