"""One bucket's share of the work: its part of every state, and what a turn of it becomes.

A turn carries the rows that came, one after another in their order, through the same loop as the embedded engine.
What it changed is in memory at once and in the turn's messages; when they cannot be committed, the worker lets go
of the bucket and its next owner builds it again from the changelog. So memory is never right by itself, only the
log is.

The changelog begins again all the time: beside what changed, a turn writes down a slice of what did not. When the
slices have gone round, everything before the round is superseded and is cut off. There is no moment at which all
is written, no file on a worker's disk, and any worker may take over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from trunkline.engines.kafka.memory import Memory, NewHeld, Round
from trunkline.engines.loop import POISON, Carried, Carrier, counted, over
from trunkline.engines.orders import Answer, sort_out
from trunkline.engines.plan import CARRIED, PLACE_BITS, STREAM, Plan, numbered
from trunkline.engines.wire import Message, changes_out, progress_out, rows_out
from trunkline.kernel.flow import Flow, Stream
from trunkline.kernel.grouped import Grouped, Keys, State

ROUND_OCTETS = 16 << 20  # a round begins when so much, and twice the state, was written since the last began
SLICE_KEYS = 4_096
ASKED = "asked"  # in `more`: the next request of those who ask
MOST_LINES = 7 << 20  # octets of records that are made in one turn
_BLOCK = {
    "file": pl.Int32, "source": pl.String, "mapping": pl.String, "offset": pl.Int64, "line": pl.Int64,
    "bytes": pl.Binary, "header": pl.Binary, "received_us": pl.Int64, "newest_us": pl.Int64,
}  # fmt: skip

MOST_TRIES = (
    3  # of the same work by whichever workers, before it is taken apart to find the row that nobody digests
)
CAREFUL_MESSAGES = 200  # from there on, that are taken one by one


@dataclass
class Trying:
    """What is about to be carried, written down before it is: whoever finds it again knows that a worker died of it.

    Rows before `row` of the message at `position` are done; `width` rows from there were tried `tries` times. A
    width of 0 is an ordinary turn.
    """

    position: int
    row: int = 0
    width: int = 0
    tries: int = 0

    def again(self, rows: int) -> bool:
        """Narrow down after a death; whether the one row that is left has had all its tries."""
        if self.width == 0:  # died in an ordinary turn, of this message or of one beside it
            self.width, self.tries = rows, 0
        elif self.tries and self.width > 1:
            self.width, self.tries = max(1, self.width // 8), 0
        return self.width == 1 and self.tries > MOST_TRIES


class Bucket:
    """Everything that one owner of a bucket has in hand; the `States` of its carriers."""

    def __init__(self, number: int, plan: Plan, tables: dict[str, object], new_held: NewHeld) -> None:
        """Begin empty; `Follower` fills it."""
        self.number, self.plan, self._new_held = number, plan, new_held
        self.memories = {state.name: Memory(state, new_held(state)) for state in plan.kept}
        self.commit = 0
        self.arrivals = 0
        self.position = 0
        self.trying: Trying | None = None
        self.careful = 0  # messages that are still to be taken one by one
        self.accounts: dict[str, list[int]] = {}
        self.more: dict[str, int] = {}  # what else its next owner must know to go on
        self._usage = Carrier(plan.usage, tables, self, accounts=plan.accounts)
        self._orders = {
            flow.steps[0].reads.name: (flow, Carrier(flow, tables, self)) for flow in plan.carried_whole
        }
        self._carried: list[Carried] = []
        self._answers: list[Answer] = []
        self._told: list[Message] = []
        self._onward: list[
            tuple[Stream, pl.DataFrame]
        ] = []  # what other flows begin with, in whatever buckets

    # -- states -------------------------------------------------------------------------------------------

    def gather(self, state: State, keys: Keys) -> Grouped:
        """What ascending keys hold now."""
        groups: Grouped = self.memories[state.name].held.gather(keys)
        return groups

    def put(self, state: State, groups: Grouped, number: int) -> None:
        """What keys hold from now on; written with the turn."""
        assert number == self.commit + 1, "a turn is one commit"
        self.memories[state.name].put(groups)

    # -- carrying -----------------------------------------------------------------------------------------

    def carry(self, stream: str, rows: pl.DataFrame) -> None:
        """Carry rows of the work topic: usage behind its first step, or orders from their beginning."""
        if stream == self.plan.decoded.name:
            self._carry_usage(rows)
        else:
            self._carry_orders(*self._orders[stream], rows)

    def _carry_usage(self, rows: pl.DataFrame) -> None:
        entry, accounts = self.plan.decoded, self.plan.accounts
        decoded = Carried()
        decoded.add(entry, self._numbered(entry, rows))
        carried = self._usage.careful(decoded, self.commit + 1, accounts.held, lambda _result: None)
        for count in counted(carried, (entry,), decoded, accounts):
            sums = self.accounts.setdefault(count.source, [0] * 6)
            for place, value in enumerate(count.sums):
                sums[place] += value
        self._carried.append(carried)

    def _carry_orders(self, flow: Flow, carrier: Carrier, rows: pl.DataFrame) -> None:
        stream = flow.steps[0].reads
        name = self.plan.named.get(stream.name)
        if name is None:
            self._keep(flow, carrier.whole(self._numbered(stream, rows), self.commit + 1))
            return
        orders = sort_out(stream.name, name, rows, lambda keys: self.gather(CARRIED, keys))
        self._answers += orders.answers
        if not len(orders.new):
            return
        carried = carrier.whole(self._numbered(stream, orders.new), self.commit + 1)
        groups, answers = orders.remembered(name, carried, self.plan.refused)
        self.put(CARRIED, groups, self.commit + 1)
        carried.states.append((CARRIED, groups))
        self._keep(flow, carried)
        self._answers += answers

    def carry_lines(self, lines: bytes, mapping: str, source: str, now_us: int) -> None:
        """Carry records that were made here, all from their first step on; they are kept in a topic of their own.

        Their place is this bucket's, below zero as no edge is, and the number of the turn (`place_of_lines`).
        """
        assert 0 < len(lines) < MOST_LINES, "they fit into one message"
        file, offset = place_of_lines(self.number, self.commit + 1)
        told = {"file": file, "source": source, "mapping": mapping, "offset": offset, "line": 1, "bytes": lines,
                "header": None, "received_us": now_us, "newest_us": None}  # fmt: skip
        decoded = self._usage.first(pl.DataFrame([told], schema=_BLOCK))
        rejects = decoded.rows(self.plan.accounts.rejected)
        if len(rejects):
            sums = self.accounts.setdefault(source, [0] * 6)
            sums[0] += len(rejects)
            sums[3] += len(rejects)
            aside = Carried()
            aside.add(self.plan.accounts.rejected, rejects)
            self._carried.append(aside)
        rows = decoded.rows(self.plan.decoded)
        if len(rows):
            self._carry_usage(rows)
        headers: list[tuple[str, str | bytes | None]] = [("mapping", mapping), ("source", source)]
        self.tell(Message(self.plan.reported, self.number, lines, b"%d" % (self.commit + 1), headers))

    def keep(self, state: State, groups: Grouped) -> None:
        """What keys hold from now on, decided beside the flows; written with the turn."""
        self.put(state, groups, self.commit + 1)
        self.changed(state, groups)

    def changed(self, state: State, groups: Grouped) -> None:
        """Groups that were put already, to be written with the turn."""
        self._carried.append(Carried(states=[(state, groups)]))

    def tell(self, message: Message) -> None:
        """Have a message written with the turn."""
        self._told.append(message)

    def _keep(self, flow: Flow, carried: Carried) -> None:
        """Take what a flow made of some orders, and what it begins other flows with."""
        self._carried.append(carried)
        for stream in (stream for step in flow.steps for stream in step.writes):
            if stream.name in self.plan.passed_on and carried.frames.get(stream.name):
                self._onward.append((stream, carried.rows(stream)))

    def _passed_on(self) -> list[Message]:
        """What other flows begin with, as messages of the buckets that it belongs to."""
        messages = []
        for stream, rows in self._onward:
            headers: list[tuple[str, str | bytes | None]] = [(STREAM, stream.name)]
            buckets = self.plan.part(stream, rows)
            for number in np.unique(buckets).tolist():
                some = rows.filter(pl.Series(buckets == number, dtype=pl.Boolean))
                messages += [
                    Message(self.plan.work, number, value, headers=headers)
                    for value in rows_out(stream.record.conform(some))
                ]
        self._onward = []
        return messages

    def _numbered(self, stream: Stream, rows: pl.DataFrame) -> pl.DataFrame:
        several = self.plan.several.get(stream.name)
        found, self.arrivals = numbered(rows, self.arrivals, self.number, several)
        return found

    # -- a turn's messages --------------------------------------------------------------------------------

    def turn(
        self, position: int, trying: Trying | None = None, slice_keys: int = SLICE_KEYS
    ) -> list[Message]:
        """End the turn: everything that becomes true when these messages are committed, up to `position`.

        Of a state that is being written anew, at least `slice_keys` keys are written with it.
        """
        self.trying = trying
        carried = Carried()
        for part in self._carried:
            carried.join(part)
        answers, told = self._answers, self._told
        self._carried, self._answers, self._told = [], [], []
        self.commit += 1
        self.position = position
        messages = [
            Message(self.plan.topic(stream), self.number, value)
            for stream in self.plan.results
            if carried.frames.get(stream.name)
            for value in rows_out(stream.record.conform(carried.rows(stream)))
        ]
        messages += [Message(self.plan.answers, self.number, progress_out(answer)) for answer in answers]
        messages += told
        messages += self._passed_on()
        messages += self._changelog(carried, slice_keys)
        messages.append(self.progress())
        return messages

    def _changelog(self, carried: Carried, slice_keys: int) -> list[Message]:
        changed: dict[str, Grouped] = {}
        for state, groups in carried.states:
            earlier = changed.get(state.name)
            changed[state.name] = groups if earlier is None else over(earlier, groups)
        messages = []
        for name, memory in self.memories.items():
            slice_ = self._slice(memory, len(changed[name]) if name in changed else 0, slice_keys)
            parts = [part for part in (slice_, changed.get(name)) if part is not None and len(part)]
            if not parts:
                continue
            groups = parts[0] if len(parts) == 1 else over(*parts)
            memory.changed = self.commit
            for value in changes_out(groups, self.commit):
                memory.written += len(value)
                messages.append(Message(self.plan.changelog(memory.state), self.number, value))
            memory.forget(self._new_held)
        return messages

    def _slice(self, memory: Memory, changed: int, slice_keys: int) -> Grouped | None:
        """The next slice of a state that is kept for good; those that forget are kept by their topic's retention."""
        if memory.state.days is not None:
            return None
        if memory.round is None:
            if memory.written < max(ROUND_OCTETS, 2 * memory.held.octets):
                return None
            memory.round, memory.written = Round(memory.held.all_keys(), memory.tail), 0
        round_ = memory.round
        last = round_.at + max(slice_keys, 2 * changed)
        keys = round_.keys[round_.at : last]
        round_.at = last
        if last >= len(round_.keys):
            memory.image, memory.round = round_.begins, None
        groups: Grouped = memory.held.gather(keys)
        return groups

    def forget(self) -> None:
        """Let go of what is older than the windows of the states, as its owner does."""
        for memory in self.memories.values():
            memory.forget(self._new_held)

    def progress(self) -> Message:
        """How far this bucket is."""
        told = {
            "position": self.position,
            "commit": self.commit,
            "arrivals": self.arrivals,
            "changed": {name: memory.changed for name, memory in self.memories.items()},
            "images": {name: memory.image for name, memory in self.memories.items()},
            "accounts": self.accounts,
            "trying": vars(self.trying) if self.trying else None,
            "more": self.more,
        }
        return Message(self.plan.progress, self.number, progress_out(told), progress_key(self.number))

    def take_up(self) -> Message:
        """Begin to own: what is told now is found again by the next owner if this one dies of the work."""
        trying = self.trying
        if trying is None or trying.position != self.position:
            trying = Trying(self.position)
        trying.tries += 1
        self.trying = trying
        if trying.tries > MOST_TRIES or trying.row or trying.width:
            self.careful = CAREFUL_MESSAGES
        return self.progress()

    def set_aside(self, stream: str, row: pl.DataFrame) -> bool:
        """Hold a row of usage that nobody digests; False when it is an order, which nothing here can hold."""
        if stream != self.plan.decoded.name:
            return False
        held = self.plan.accounts.held
        carried = Carried()
        carried.add(held, held.record.conform(row.with_columns(reason=pl.lit(POISON))))
        for source in row.get_column("source").cast(pl.String):
            sums = self.accounts.setdefault(source or "", [0] * 6)
            sums[0] += 1
            sums[4] += 1
        self._carried.append(carried)
        return True

    def begin(self, told: dict[str, Any]) -> None:
        """Go on where the last owner stood."""
        self.trying = Trying(**told["trying"]) if told.get("trying") else None
        self.position, self.commit, self.arrivals = told["position"], told["commit"], told["arrivals"]
        self.accounts = {source: list(sums) for source, sums in told["accounts"].items()}
        self.more = dict(told.get("more", {}))
        for name, memory in self.memories.items():
            memory.changed, memory.image = told["changed"].get(name, 0), told["images"].get(name, 0)

    def status(self) -> dict[str, Any]:
        """What people may want to know of it."""
        return {
            "bucket": self.number,
            "position": self.position,
            "commit": self.commit,
            "state_octets": {name: memory.octets for name, memory in self.memories.items()},
            "changelog_messages": {
                name: memory.tail - memory.image for name, memory in self.memories.items()
            },
        }


def place_of_lines(bucket: int, commit: int) -> tuple[int, int]:
    """Where the first of the records lies that a bucket made in a turn: its file and its offset."""
    return -1 - bucket, commit << PLACE_BITS


def lines_at(file: int, offset: int) -> tuple[int, int]:
    """The bucket and the turn of a record that a bucket made."""
    return -1 - file, offset >> PLACE_BITS


def progress_key(bucket: int) -> bytes:
    """Key of a bucket's progress."""
    return b"bucket|%d" % bucket
