"""A flow whose rows change places on their way, on Kafka: epochs that all partitions carry, level by level.

The owner of the one partition where everything hangs together begins an epoch by writing its number into every
partition of the work topic: what lies before that mark belongs to the epoch. Within it, partitions send each other rows
over the exchange topic and wait for each other; at its end, each commits its results, its changes of state, its
progress and its offsets in one transaction. An owner that dies before has changed nothing: the next one carries the
epoch again from the same rows, with the same tables, to the same result, and whoever has heard its parcels passes over
them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from confluent_kafka import OFFSET_BEGINNING, Message, TopicPartition

from trunkline.engines import wire
from trunkline.engines.kafka.bucket import Bucket
from trunkline.engines.kafka.client import PATIENCE_S, Unfit, consumer
from trunkline.engines.kafka.committer import Turn
from trunkline.engines.kafka.router import NOTE, aside
from trunkline.engines.kafka.worker import PAUSE_S, ChargerLife, Roles, RouterLife, Work, committed_at
from trunkline.engines.loop import Carried
from trunkline.engines.plan import STREAM
from trunkline.engines.stages import Place, Sent, Staged
from trunkline.engines.wire import Unreadable, progress_in, progress_out, rows_in, rows_out

BEGIN = "begin"  # header of a work message that marks an epoch
PARCEL = "parcel"  # header of an exchange message: epoch, level, kind and partition it is from, kind it is for, part
TICK_S = 10.0  # how often time goes on by itself once it does
TAKEN_MESSAGES = 2_000
MESSAGES_AHEAD = 64  # of what routers tell the clock's owner, before they wait for the epochs
_LOOK_S = 0.5

Tables = Mapping[str, object]


@dataclass(frozen=True)
class EpochWork(Work):
    """What a worker of a staged flow is made of besides: its tables by version, and the newest version there is."""

    tables_at: Callable[[int], Tables] = lambda _version: {}
    version: Callable[[], int] = lambda: 0
    quiet_s: float = 30.0  # without anything, before time goes on by itself

    @property
    def staged(self) -> Staged:
        """The plan, which is staged."""
        assert isinstance(self.plan, Staged), "only a staged plan is carried in epochs"
        return self.plan


@dataclass(frozen=True)
class _Waiting:
    """One message of the work topic that no epoch has taken yet."""

    offset: int
    stream: str = ""
    rows: pl.DataFrame | None = None
    begins: dict[str, int] = field(default_factory=dict)


class Shard(Bucket):
    """One partition's share of the epochs: its part of every state, what waits for the next one, and how far it is."""

    def __init__(self, number: int, work: EpochWork) -> None:
        """Begin empty; `Follower` fills it."""
        super().__init__(number, work.plan, work.tables, work.new_held)
        self._work, self._plan = work, work.staged
        self._waiting: list[_Waiting] = []
        self._begun: dict[str, int] = {}
        self._tables: Tables = {}
        self._places: list[Place] = []
        self._parts: dict[tuple[int, str, Sent], dict[int, tuple[int, list[tuple[str, pl.DataFrame]]]]] = {}
        self._heard_to: dict[int, int] = {}  # by epoch, where its messages of the exchange end
        self._streams = {
            s.name: s for flow in work.plan.flows for t in flow.steps for s in (t.reads, *t.writes)
        }
        self.rows_carried = 0

    @property
    def epoch(self) -> int:
        """The last epoch that was carried to its end."""
        return self.more.get("epoch", 0)

    @property
    def is_idle(self) -> bool:
        """Whether no epoch is under way here."""
        return not self._begun

    @property
    def has_news(self) -> bool:
        """Whether something came since the last epoch began, and no epoch after it is waiting."""
        return bool(self._waiting) and not any(each.begins for each in self._waiting)

    # -- in -----------------------------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """Take a message of the work or the exchange topic; raises `Unreadable`."""
        headers: dict[str, Any] = dict(message.headers() or ())
        offset, value = message.offset() or 0, message.value() or b""
        if message.topic() == self._plan.exchange:
            self._take_parcel(_text(headers.get(PARCEL)), _text(headers.get(STREAM)), offset, value)
            return
        name = _text(headers.get(STREAM))
        if name == NOTE:
            self._waiting.append(_Waiting(offset))
        elif name == BEGIN:
            begins = progress_in(value)
            if begins["epoch"] > self.epoch:
                self._waiting.append(_Waiting(offset, begins=begins))
        elif name in self._streams:
            self._waiting.append(_Waiting(offset, name, rows_in(value, self._streams[name].record)))
        else:
            raise Unreadable(f"it does not name a stream of the map in its header {STREAM!r}")

    def _take_parcel(self, said: str, name: str, offset: int, value: bytes) -> None:
        epoch, level, kind, of, to, index, count = said.split("|")
        number = int(epoch)
        if number <= self.epoch:
            return
        self._heard_to[number] = offset + 1
        sent = int(level), kind, int(of)
        rows = [(name, rows_in(value, self._streams[name].record))] if name else []
        parts = self._parts.setdefault((number, to, sent), {})
        parts.setdefault(int(index), (int(count), rows))

    # -- an epoch -----------------------------------------------------------------------------------------

    def advance(self) -> list[wire.Message]:
        """Carry what can be carried now; what is to be written of it."""
        if self.is_idle and not self._begin():
            return []
        messages: list[wire.Message] = []
        moved = True
        while moved:
            self._hand_out()
            moved = False
            for place in self._places:
                while place.is_ready:
                    messages += self._carry(place)
                    moved = True
        if all(place.level is None for place in self._places):
            messages += self._finish()
        return messages

    def _begin(self) -> bool:
        """Take everything before the next mark, if there is one."""
        # An owner of the clock that took over may have marked once more what was marked: the first mark counts.
        waiting = [each for each in self._waiting if not each.begins or each.begins["epoch"] > self.epoch]
        at = next((at for at, each in enumerate(waiting) if each.begins), None)
        if at is None:
            self._waiting = waiting
            return False
        mark, mine, self._waiting = waiting[at], waiting[:at], waiting[at + 1 :]
        if mark.begins["epoch"] != self.epoch + 1:
            raise Unfit(
                f"Partition {self.number} of {self.plan.work} has carried epoch {self.epoch} and finds the mark of"
                f" {mark.begins['epoch']} next. The log has lost what was written; see"
                " docs/operating/cluster-network.md."
            )
        self._begun = {**mark.begins, "position": mark.offset + 1}
        self._tables = self._work.tables_at(mark.begins["tables"])
        self._places = [
            Place(self._plan, kind, self.number, self, self._tables)
            for kind in self._plan.kinds
            if self.number in self._plan.hosts(kind)
        ]
        entries = {stream.name for stream in self._plan.entries}
        for each in mine:
            if each.rows is not None:
                place = self._places[0 if each.stream in entries else -1]
                place.carried.add(self._streams[each.stream], self._numbered_if(each.stream, each.rows))
        return True

    def _numbered_if(self, stream: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with an arrival number, where their stream has one."""
        self.rows_carried += len(rows)
        known = self._streams[stream]
        return self._numbered(known, rows) if "seq" in known.record.schema else rows

    def _hand_out(self) -> None:
        """Give the places what was heard whole of this epoch."""
        for (epoch, to, sent), parts in list(self._parts.items()):
            if epoch == self.epoch + 1 and len(parts) == next(iter(parts.values()))[0]:
                for place in self._places:
                    if place.kind == to:
                        place.hear(sent, [row for at in sorted(parts) for row in parts[at][1]])

    def _carry(self, place: Place) -> list[wire.Message]:
        level = place.level
        assert level is not None, "a place that is ready has a level"
        plan, first = self._plan, level == 0 and place.kind == self._plan.kinds[0]
        before = Carried({name: list(frames) for name, frames in place.carried.frames.items()})
        parcels = place.carry(
            self.commit + 1, self._time() if (place.kind, level) == plan.tells_time else None
        )
        if first:
            for count in plan.count(place.carried, plan.entries, before, plan.accounts):
                sums = self.accounts.setdefault(count.source, [0] * 6)
                counts = (
                    count.received,
                    count.measured,
                    count.events,
                    count.duplicate,
                    count.rejected,
                    count.held,
                )
                for at, value in enumerate(counts):
                    sums[at] += value
        if (place.kind, level) == plan.tells_time and plan.clock is not None and not self._begun["quiet_us"]:
            told = place.carried.rows(plan.clock)
            if len(told):
                self.more["told_us"] = int(told.get_column("time_us").max())  # type: ignore[arg-type]
        messages = []
        for kind in sorted({to for _, to in plan.sends[place.kind, level]}):
            for to in plan.hosts(kind):
                found = [
                    (parcel.stream, value)
                    for parcel in parcels
                    if parcel.to == to and parcel.kind == kind
                    for value in rows_out(parcel.rows)
                ]
                messages += list(self._sent(level, place.kind, kind, to, found or [("", b"")]))
        return messages

    def _time(self) -> dict[str, pl.DataFrame] | None:
        """How far the clock has come by itself, when nothing came."""
        plan, begun = self._plan, self._begun
        if plan.clock is None or plan.tick is None or not begun["quiet_us"]:
            return None
        return {plan.clock.name: plan.tick(begun["told_us"], begun["quiet_us"], self._tables)}

    def _sent(
        self, level: int, of: str, kind: str, to: int, values: list[tuple[str, bytes]]
    ) -> Iterator[wire.Message]:
        for index, (name, value) in enumerate(values):
            said = f"{self.epoch + 1}|{level}|{of}|{self.number}|{kind}|{index}|{len(values)}"
            yield wire.Message(self._plan.exchange, to, value, headers=[(PARCEL, said), (STREAM, name)])

    def _finish(self) -> list[wire.Message]:
        """End the epoch: everything that becomes true when these messages are committed."""
        epoch = self._begun["epoch"]
        for place in self._places:
            self._carried.append(place.published())
        self.more["epoch"] = epoch
        self.more["exchange"] = self._heard_to.pop(epoch, self.more.get("exchange", 0))
        self._heard_to = {number: end for number, end in self._heard_to.items() if number > epoch}
        self._parts = {key: parts for key, parts in self._parts.items() if key[0] > epoch}
        position, self._begun, self._places = self._begun["position"], {}, []
        return self.turn(position)

    # -- beginning epochs ---------------------------------------------------------------------------------

    def mark(self, quiet_us: int = 0) -> list[wire.Message]:
        """The marks of the next epoch for every partition; `quiet_us` after the last thing came, when nothing did."""
        begins = {
            "epoch": self.epoch + 1, "tables": self._work.version(), "quiet_us": quiet_us,
            "told_us": self.more.get("told_us", 0),
        }  # fmt: skip
        return [
            wire.Message(self._plan.work, to, progress_out(begins), headers=[(STREAM, BEGIN)])
            for to in range(self._plan.buckets)
        ]

    def status(self) -> dict[str, Any]:
        """What people may want to know of it."""
        return {**super().status(), "epoch": self.epoch, "waiting": len(self._waiting)}


class EpochLife(ChargerLife):
    """One life of the owner of some partitions."""

    work: EpochWork

    def __init__(self, work: Work) -> None:
        """Join."""
        assert isinstance(work, EpochWork), "epochs need to know their tables"
        self._marked = 0  # the last epoch that this life began
        self._heard_s = self._ticked_s = time.monotonic()
        super().__init__(work)

    def new_bucket(self, number: int) -> Bucket:
        """A partition that is still empty."""
        return Shard(number, self.work)

    def reads(self, bucket: Bucket) -> list[TopicPartition]:
        """The work, and what others send."""
        begins = bucket.more.get("exchange", 0) or OFFSET_BEGINNING
        return [*super().reads(bucket), TopicPartition(self.work.staged.exchange, bucket.number, begins)]

    def end(self, part: TopicPartition) -> None:
        """Let go of a partition."""
        other = TopicPartition(self.work.staged.exchange, part.partition)
        reads = {(each.topic, each.partition) for each in self.consumer.assignment()}
        if not self.closing and not self.lost and (other.topic, other.partition) in reads:
            self.consumer.incremental_unassign([other])
        super().end(part)

    def _turn(self) -> Turn | None:
        """What is there, taken, and whatever can be carried now."""
        messages: list[wire.Message] = []
        touched: set[int] = set()
        taken = self.take(1, PAUSE_S)
        for message in [*taken, *(self.take(TAKEN_MESSAGES, 0.0) if taken else ())]:
            shard = self._shard(message.partition() or 0)
            if shard is None:
                continue
            try:
                shard.take(message)
            except Unreadable as error:
                where = message.topic() or "", message.partition() or 0, message.offset() or 0
                messages.append(aside(self.work.plan, *where, message.value() or b"", str(error)))
                touched.add(shard.number)
        rows = 0
        for number in list(self._buckets):
            shard = self._shard(number)
            assert shard is not None, "it is among ours"
            before = shard.rows_carried
            found = shard.advance()
            if number == self.work.staged.told:
                found += self._marks(shard)
            rows += shard.rows_carried - before
            if found:
                touched.add(number)
                messages += found
        if not touched:
            return None
        offsets = [
            TopicPartition(self.work.plan.work, each, self._buckets[each].position) for each in touched
        ]
        images = self._superseded(touched)
        return Turn(
            messages, offsets, rows, self._acknowledged, (lambda: self._cut_off(images)) if images else None
        )

    def _shard(self, number: int) -> Shard | None:
        found = self._buckets.get(number)
        assert found is None or isinstance(found, Shard), "our buckets are shards"
        return found

    def _marks(self, shard: Shard) -> list[wire.Message]:
        """Begin the next epoch when something came, or when nothing came for so long that time must be told."""
        now_s = time.monotonic()
        if not shard.is_idle or self._marked > shard.epoch:
            return []
        quiet_us = 0
        if shard.has_news:
            self._heard_s = self._ticked_s = now_s
        else:
            quiet_s = now_s - self._heard_s
            if (
                quiet_s < self.work.quiet_s
                or now_s - self._ticked_s < TICK_S
                or not shard.more.get("told_us")
            ):
                return []
            self._ticked_s, quiet_us = now_s, int(quiet_s * 1_000_000)
        self._marked = shard.epoch + 1
        return shard.mark(quiet_us)


class EpochRouterLife(RouterLife):
    """One life of the router, which does not run far ahead of the epochs: they have no end but a mark."""

    def __init__(self, work: Work) -> None:
        """Join."""
        self._looked_s = 0.0
        self._asking = consumer(work.server, f"{work.plan.prefix}.charger")
        super().__init__(work)
        self.credentials.add(self._asking)

    def wait_for_room(self, stop: threading.Event) -> None:
        """Return when the epochs have come near."""
        if time.monotonic() - self._looked_s < _LOOK_S:
            return
        while not stop.is_set() and self._ahead() > MESSAGES_AHEAD:
            self.credentials.look()
            stop.wait(PAUSE_S)
        self._looked_s = time.monotonic()

    def _ahead(self) -> int:
        plan = self.work.plan
        assert plan.told is not None, "a staged plan has a place where everything hangs together"
        part = TopicPartition(plan.work, plan.told)
        low, high = self._asking.get_watermark_offsets(part, PATIENCE_S)
        return high - max(low, committed_at(self._asking, part))

    def close(self) -> None:
        """Leave."""
        super().close()
        self._asking.close()


ROLES: Roles = {"router": EpochRouterLife, "charger": EpochLife}


def _text(value: Any) -> str:  # noqa: ANN401 -- a header's value is octets or text
    return value.decode() if isinstance(value, bytes) else str(value or "")
