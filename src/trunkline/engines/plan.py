"""The map as this engine needs it: which flows there are, by what their work is parted, and what it is called on Kafka.

All that one subscriber's money depends on lies in one bucket: a bucket is a partition of the work topic, of every
changelog and of every result, and is owned by one worker at a time. So a flow's remembering steps share one
transaction and the loop's rules about rejected records hold as they do embedded (docs/decisions/0030).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.engines.loop import Accounts
from trunkline.kernel.flow import Flow, Stream
from trunkline.kernel.grouped import Keys, State

MOST_BUCKETS = 1 << 10  # a row's arrival number has ten bits for its bucket
BUCKET_BITS = 10
PLACE_BITS = 24  # of a record's offset: the octet within its message
STREAM = "stream"  # header of a work message: which stream its rows are of


class Framing(Protocol):
    """What reading must know of a mapping: where its records end, and whose they are."""

    @property
    def source(self) -> str:
        """Name of the system that writes such records, when nobody says another."""

    @property
    def header_lines(self) -> int:
        """How many lines at the head of a file are no records; such a mapping cannot read messages."""

    def record_end(self, data: bytes) -> int:
        """How many octets at the head of `data` are whole records."""


@dataclass(frozen=True)
class Plan:
    """The flows of one worker, and how their rows are parted.

    `usage` begins with blocks of bytes and is accounted for; its first step runs in the router. `orders` begin with
    rows (top-ups, subscribers) and are carried whole in their bucket. `bucket` is the column that says whose money
    it is. `inner` begin with rows that other flows write, perhaps in another bucket, and that nobody hands in.
    `named` are the streams whose rows are orders with a name of their own, by the column of that name: the
    same name is carried once. A row of `several` takes as many arrival numbers as the list in its column is long.
    `beside` is what an engine writes besides the flows' own results, such as sums of them;
    `consulted` names topics of other flows that workers read, and the group in whose name they ask.
    """

    usage: Flow
    accounts: Accounts
    orders: tuple[Flow, ...]
    bucket: str
    inner: tuple[Flow, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    several: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[Stream, ...] = ()
    buckets: int = 12
    prefix: str = "trunkline"
    newest: str = "start_us"  # column of the decoded that tells an edge the time; empty: it need not know
    asks: Flow | None = None  # whose answers somebody waits for; it remembers who asked with its first step
    beside: tuple[Stream, ...] = ()
    consulted: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Assert what the layout of arrival numbers relies on."""
        assert 0 < self.buckets <= MOST_BUCKETS, f"from 1 to {MOST_BUCKETS} buckets"

    @property
    def flows(self) -> tuple[Flow, ...]:
        """All flows."""
        return (self.usage, *self.orders, *self.inner)

    @property
    def carried_whole(self) -> tuple[Flow, ...]:
        """The flows that begin with rows."""
        return (*self.orders, *self.inner)

    @property
    def passed_on(self) -> frozenset[str]:
        """Names of the streams with which one of these flows ends and another one begins."""
        begun = {flow.steps[0].reads.name for flow in self.carried_whole}
        written = {s.name for flow in self.carried_whole for step in flow.steps for s in step.writes}
        return frozenset(begun & written)

    @property
    def raw(self) -> Stream:
        """Blocks of bytes as they come."""
        return self.usage.steps[0].reads

    @property
    def decoded(self) -> Stream:
        """What the router makes of them."""
        return self.usage.steps[1].reads

    @property
    def entries(self) -> tuple[Stream, ...]:
        """Everything that the router makes of them and passes on."""
        first, *later = self.usage.steps
        return tuple(s for s in first.writes if any(s is step.reads for step in later))

    @property
    def told(self) -> int | None:
        """The partition whose owner is told whenever something was routed; None: nobody needs to know."""
        return None

    def part(self, stream: Stream, rows: pl.DataFrame) -> npt.NDArray[np.int64]:
        """The bucket of each row."""
        del stream
        return buckets_of(rows.get_column(self.bucket).to_numpy(), self.buckets)

    @property
    def edges(self) -> tuple[Stream, ...]:
        """Where others hand in."""
        return tuple(flow.steps[0].reads for flow in (self.usage, *self.orders))

    @property
    def results(self) -> tuple[Stream, ...]:
        """What the flows write and no step reads."""
        read = {step.reads.name for flow in self.flows for step in flow.steps}
        written = {s.name: s for flow in self.flows for step in flow.steps for s in step.writes}
        return tuple(stream for name, stream in written.items() if name not in read)

    @property
    def states(self) -> tuple[State, ...]:
        """Everything that the flows remember, each once, and the names of the orders that were carried."""
        found = {step.state.name: step.state for flow in self.flows for step in flow.steps if step.state}
        return (*found.values(), *((CARRIED,) if self.named else ()))

    @property
    def asking(self) -> State | None:
        """What is remembered of those who asked; None when nobody can."""
        return self.asks.steps[0].state if self.asks else None

    @property
    def kept(self) -> tuple[State, ...]:
        """Everything that a bucket remembers: of the flows, and of those who ask."""
        return (*self.states, *((self.asking,) if self.asking else ()))

    def topic(self, stream: Stream) -> str:
        """Name of a stream's topic."""
        return f"{self.prefix}.{stream.name}"

    @property
    def work(self) -> str:
        """Topic between the router and the buckets."""
        return f"{self.prefix}.work"

    @property
    def between(self) -> dict[str, str]:
        """Topics between the workers, and what travels there."""
        return {self.work: "What is to be carried, by bucket: usage and orders."}

    @property
    def carries(self) -> dict[str, tuple[Stream, ...]]:
        """The streams whose rows travel in each topic between the workers."""
        return {self.work: (*self.entries, *(flow.steps[0].reads for flow in self.carried_whole))}

    @property
    def served(self) -> tuple[State, ...]:
        """States whose changes are read where people are answered: those of whoever the money is."""
        return tuple(state for state in self.states if state.key == self.bucket)

    @property
    def progress(self) -> str:
        """Topic of how far everybody is; the last message of a key counts."""
        return f"{self.prefix}.progress"

    @property
    def answers(self) -> str:
        """Topic of what became of named orders."""
        return f"{self.prefix}.answers"

    @property
    def requests(self) -> str:
        """Topic of what is asked, by bucket; only where the plan `asks`."""
        assert self.asks is not None, "nobody can ask"
        return self.topic(self.asks.steps[0].reads)

    @property
    def replies(self) -> str:
        """Topic of the answers; only where the plan `asks`."""
        assert self.asks is not None, "nobody can ask"
        return self.topic(self.asks.steps[-1].writes[0])

    @property
    def reported(self) -> str:
        """Topic of what those who asked have used, as the records that it was charged by; where the plan `asks`."""
        assert self.asks is not None, "nobody can ask"
        return f"{self.prefix}.{self.asks.name}.usage"

    @property
    def undigested(self) -> str:
        """Topic of the messages and rows that no worker could digest, with the reason."""
        return f"{self.prefix}.undigested"

    @property
    def catalogue(self) -> str:
        """Topic of the tariff's versions, which all workers charge by."""
        return f"{self.prefix}.catalogue"

    @property
    def schemas(self) -> str:
        """Topic of the registry: what each stream's messages look like, version by version."""
        return f"{self.prefix}.schemas"

    @property
    def workers(self) -> str:
        """Topic of what the workers say of themselves; the last word of each counts."""
        return f"{self.prefix}.workers"

    def changelog(self, state: State) -> str:
        """Topic of a state's changes."""
        return f"{self.prefix}.changelog.{state.name}"


CARRIED = State(
    "engine.carried",
    "name",
    np.dtype([("check", "u8"), ("refused", "u1"), ("reason", "S31")]),
    "Names of the orders that were carried, so that each is carried once and answered the same again.",
)


@nb.njit(nogil=True, cache=True)
def _buckets_of(keys: Keys, buckets: int, found: npt.NDArray[np.int64]) -> None:
    for at in range(len(keys)):
        key = keys[at]
        mixed = (key ^ (key >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        found[at] = np.int64((mixed ^ (mixed >> np.uint64(32))) % np.uint64(buckets))


def buckets_of(keys: Keys, buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each key; a multiplicative hash (as in `stores.embedded.table`), so that neighbours are spread."""
    found = np.empty(len(keys), np.int64)
    _buckets_of(np.ascontiguousarray(keys, np.uint64), buckets, found)
    return found


def numbered(
    rows: pl.DataFrame, first: int, bucket: int, several: str | None = None
) -> tuple[pl.DataFrame, int]:
    """Rows with their bucket's next arrival numbers as `seq`, and where the next rows begin.

    With a list column `several`, a row has a number for each item of it as `seqs`, and the first of them as `seq`.
    """
    if several is None:
        count = pl.int_range(first, first + len(rows), dtype=pl.Int64)
        return rows.with_columns(seq=count * (1 << BUCKET_BITS) + bucket), first + len(rows)
    lengths = rows.get_column(several).list.len().fill_null(0).clip(1).to_numpy()
    ends = first + np.cumsum(lengths, dtype=np.int64)
    begins, end = ends - lengths, int(ends[-1]) if len(ends) else first
    place = pl.int_ranges(pl.Series(begins), pl.Series(ends)) * (1 << BUCKET_BITS) + bucket
    return rows.with_columns(seqs=place).with_columns(seq=pl.col("seqs").list.first()), end


class Held(Protocol):
    """Groups of rows in memory under keys; `stores.embedded.table.Table` is one."""

    @property
    def octets(self) -> int:
        """Memory in use."""

    def gather(self, keys: Keys) -> Any:  # noqa: ANN401 -- kernel.grouped.Grouped
        """The rows of `keys`."""

    def put(self, groups: Any) -> None:  # noqa: ANN401 -- kernel.grouped.Grouped
        """What the keys hold from now on."""

    def all_keys(self) -> Keys:
        """Every key, ascending."""
