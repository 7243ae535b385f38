"""Carrying a batch through a flow, for every engine that keeps state itself.

The map says everything: streams are routed by name, a step that remembers is given the groups of the keys in its
batch, and what a batch changes is put into the state only when all its steps have gone through. Reading and
committing are the engine's own; nothing here waits, writes or knows what the steps do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Flow, Outcome, Step, Stream
from trunkline.kernel.grouped import Grouped, Keys, Offsets, Rows, State
from trunkline.kernel.grouping import locate
from trunkline.ports import Accounting

POISON = "poison"
_FEW = 4096


PLACE = ["file", "offset"]  # where a record stands


class FileStopped(Exception):
    """Nearly all of a file is rejected: carry the batch again without it, and tell a person."""

    def __init__(self, file: int, reason: str) -> None:
        """Say which file, and what was found."""
        super().__init__(reason)
        self.file = file
        self.reason = reason


# Trouble around us, or a decision: no record is to blame, and trying halves helps nobody.
_OUTSIDE = (MemoryError, OSError, FileStopped)


class TooMuchPoison(Exception):
    """So many records broke a step that the fault is ours, not theirs; nothing of the batch was kept."""


class States(Protocol):
    """Where state is kept."""

    def gather(self, state: State, keys: Keys) -> Grouped:
        """What ascending keys hold now."""

    def put(self, state: State, groups: Grouped, number: int) -> None:
        """What keys hold from now on, durable with commit `number`."""


@dataclass(frozen=True)
class Accounts:
    """Which streams count as what; what the first step writes is received, and all of it comes out somewhere."""

    rated: Stream
    duplicate: Stream
    rejected: Stream
    held: Stream
    charged: str = "charged_micros"  # column of `rated`
    told: Stream | None = None  # what customers are told, for the totals of a run
    takes_back: bool = True  # a record that a later step rejects leaves no trace in an earlier one's state
    raw_octets_max: int = 64 << 20  # of a record that is set aside, what is kept beside it
    advice: str = "do the tariffs and subscribers belong to it"  # where nearly everything is rejected


@dataclass(frozen=True)
class Early:
    """What may be told of a batch that is still being carried: the rows of a stream, once a step has been carried.

    Nothing behind the step adds rows that belong to those. What is told early is not durable and may never become so;
    who is told must know that. Batches of fewer than `least_rows` rows are through before it would be worth it.
    """

    step: Callable[..., Outcome]
    stream: Stream
    least_rows: int = 20_000


@dataclass
class Carried:
    """What a batch became: rows by stream name, changed state, and the records that broke a step."""

    frames: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    states: list[tuple[State, Grouped]] = field(default_factory=list)
    poisoned: int = 0

    def add(self, stream: Stream, rows: pl.DataFrame) -> None:
        """Append rows to a stream."""
        if len(rows):
            self.frames.setdefault(stream.name, []).append(rows)

    def rows(self, stream: Stream) -> pl.DataFrame:
        """All rows of a stream."""
        frames = self.frames.get(stream.name, [])
        if not frames:
            return stream.record.empty()
        return frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")

    def join(self, later: Carried) -> None:
        """Append what a later part of the batch became."""
        for name, frames in later.frames.items():
            self.frames.setdefault(name, []).extend(frames)
        self.states += later.states
        self.poisoned += later.poisoned


def _content(_carried: Carried) -> None:
    """Accept every result."""


def _nobody(_number: int, _rows: pl.DataFrame) -> None:
    """Nobody is told."""


class Aside:
    """States as a batch sees them that is carried beside others: what it puts is kept back until all is ready.

    Whoever carries the others meanwhile changes nothing that this batch looks at; `kept` is put when it is its turn.
    """

    def __init__(self, states: States) -> None:
        """Look at these."""
        self._states = states
        self.kept: list[tuple[State, Grouped]] = []

    def gather(self, state: State, keys: Keys) -> Grouped:
        """What ascending `keys` hold, with what was put here."""
        groups = self._states.gather(state, keys)
        for name, mine in self.kept:
            if name is state:
                groups = over(groups, _some(mine, keys))
        return groups

    def put(self, state: State, groups: Grouped, _number: int) -> None:
        """Keep it back."""
        self.kept.append((state, groups))


class Carrier:
    """Carries batches through one flow. Tables may be replaced between batches."""

    def __init__(
        self,
        flow: Flow,
        tables: Mapping[str, object],
        states: States,
        most_poison: int = 100,
        accounts: Accounts | None = None,
    ) -> None:
        """Take the flow as it stands on the map; `accounts` when its records are accounted for."""
        accounts = accounts if accounts and accounts.takes_back else None
        self._rejected = accounts.rejected if accounts else None
        self._remembering = next((s for s in flow.steps if accounts and accounts.duplicate in s.writes), None)
        self.flow = flow
        self.entries = tuple(
            s for s in flow.steps[0].writes if any(s is later.reads for later in flow.steps[1:])
        )
        self.tables = dict(tables)
        self._states = states
        self._most_poison = most_poison
        self.early: Early | None = None
        self.tell_early: Callable[[int, pl.DataFrame], None] = _nobody
        self.streams = {s.name: s for step in flow.steps for s in (step.reads, *step.writes)}

    def over(self, states: States) -> Carrier:
        """The same flow over other states."""
        other = copy.copy(self)
        other._states = states  # noqa: SLF001 -- of its own kind
        return other

    def first(self, batch: pl.DataFrame) -> Carried:
        """The first step alone, which remembers nothing and may therefore run ahead."""
        step = self.flow.steps[0]
        assert step.state is None, "a first step that remembers cannot run ahead"
        carried = Carried()
        self._run(step, batch, carried, {})
        return carried

    def rest(self, carried: Carried, number: int, judge: Callable[[Carried], None] = _content) -> Carried:
        """The other steps over what the first one wrote; state is put when all have gone through.

        `judge` sees the result before anything is put, and may refuse it by raising.
        """
        return self._onward(self.flow.steps[1:], carried, number, judge)

    def whole(self, batch: pl.DataFrame, number: int) -> Carried:
        """Every step over one batch."""
        carried = Carried()
        carried.add(self.flow.steps[0].reads, batch)
        return self._onward(self.flow.steps, carried, number, _content)

    def careful(
        self, carried: Carried, number: int, held: Stream, judge: Callable[[Carried], None]
    ) -> Carried:
        """As `rest`; when a step breaks, halve the batch until the record that breaks it stands alone and is held."""
        try:
            return self.rest(carried, number, judge)
        except _OUTSIDE:
            raise
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 -- whatever breaks it, one record is to blame
            names = {entry.name for entry in self.entries}
            result = Carried(
                {name: list(parts) for name, parts in carried.frames.items() if name not in names}
            )
            given = [(entry, carried.rows(entry)) for entry in self.entries if carried.frames.get(entry.name)]
            self._halve(given, number, held, result, error)
            return result

    def _halve(
        self,
        given: Sequence[tuple[Stream, pl.DataFrame]],
        number: int,
        held: Stream,
        result: Carried,
        error: BaseException,
    ) -> None:
        """Carry each half by itself; of two streams that came together, each is a half."""
        entry, rows = given[0]
        if len(given) == 1 and len(rows) == 1:
            result.poisoned += 1
            if result.poisoned > self._most_poison:
                raise TooMuchPoison(
                    f"more than {self._most_poison} records of one batch broke a step"
                ) from error
            result.add(held, held.record.conform(rows.with_columns(reason=pl.lit(POISON))))
            return
        middle = len(rows) // 2
        halves = (
            ([given[0]], list(given[1:]))
            if len(given) > 1
            else ([(entry, rows[:middle])], [(entry, rows[middle:])])
        )
        for half in halves:
            part = Carried()
            for stream, some in half:
                part.add(stream, some)
            try:
                result.join(self.rest(part, number))
            except _OUTSIDE:
                raise
            except (Exception, pl.exceptions.PanicException) as inner:  # noqa: BLE001 -- whatever breaks it, one record is to blame
                self._halve(half, number, held, result, inner)

    def _onward(
        self, steps: Sequence[Step], carried: Carried, number: int, judge: Callable[[Carried], None]
    ) -> Carried:
        given = carried
        carried = Carried({name: list(frames) for name, frames in given.frames.items()})
        rejected_before = len(carried.frames.get(self._rejected.name, [])) if self._rejected else 0
        overlay: dict[str, Grouped] = {}
        changed: dict[str, State] = {}
        for step in steps:
            rows = carried.rows(step.reads)
            if len(rows):
                self._run(step, rows, carried, overlay, changed)
            if self._tells_behind(step):
                self._told(carried, given, number)
        refused = self._refused(carried, rejected_before)
        if refused is not None and self._left_a_trace(steps, carried, refused):
            return self._onward(steps, self._without(given, steps[0].reads, carried, refused), number, judge)
        self._forget(carried, refused, overlay)
        judge(carried)
        for name, state in changed.items():
            self._states.put(state, overlay[name], number)
            carried.states.append((state, overlay[name]))
        return carried

    def _tells_behind(self, step: Step) -> bool:
        return self.early is not None and step.run is self.early.step

    def _told(self, carried: Carried, given: Carried, number: int) -> None:
        """Tell early what is known by now of a batch that is large enough."""
        assert self.early is not None, "there is something to tell"
        came = max((len(given.rows(entry)) for entry in self.entries), default=0)
        rows = carried.rows(self.early.stream)
        if len(rows) and came >= self.early.least_rows:
            self.tell_early(number, rows)

    def _run(
        self,
        step: Step,
        rows: pl.DataFrame,
        carried: Carried,
        overlay: dict[str, Grouped],
        changed: dict[str, State] | None = None,
    ) -> None:
        looked_up = [self.tables[table.name] for table in step.looks_up]
        remembered: list[Any] = []
        if step.state is not None:
            column = rows.get_column(step.state.key).drop_nulls().to_numpy()
            overlay[step.state.name] = self._groups(step.state, column, overlay.get(step.state.name))
            remembered = [overlay[step.state.name]]
        outcome: Outcome = step.run(rows, *remembered, *looked_up)
        assert len(outcome.rows) == len(step.writes), f"{step.name} writes {len(step.writes)} streams"
        for stream, written in zip(step.writes, outcome.rows, strict=True):
            carried.add(stream, written)
        if step.state is not None and outcome.state is not None and changed is not None:
            changed[step.state.name] = step.state
            overlay[step.state.name] = over(overlay[step.state.name], outcome.state)

    def _refused(self, carried: Carried, rejected_before: int) -> pl.DataFrame | None:
        """Places of the records that a later step rejected; None when there are none."""
        rejected = carried.frames.get(self._rejected.name, [])[rejected_before:] if self._rejected else []
        return pl.concat([rows.select(PLACE) for rows in rejected]) if rejected else None

    def _left_a_trace(self, steps: Sequence[Step], carried: Carried, refused: pl.DataFrame) -> bool:
        """Whether a record that was rejected has moved what an earlier step remembers (key 0 remembers nothing)."""
        for step in steps:
            if step.state is None or step is self._remembering or self._rejected in step.writes:
                continue
            rows = carried.rows(step.reads)
            if set(PLACE) <= set(rows.columns) and bool(
                (rows.join(refused, on=PLACE, how="semi").get_column(step.state.key) != 0).any()
            ):
                return True
        return False

    def _without(self, given: Carried, entry: Stream, carried: Carried, refused: pl.DataFrame) -> Carried:
        """The batch as if the rejected records had never come, with them set aside; carried once more, it is right."""
        assert self._rejected is not None, "somebody rejected them"
        frames = {name: list(parts) for name, parts in given.frames.items() if name != entry.name}
        frames[self._rejected.name] = list(carried.frames[self._rejected.name])
        again = Carried(frames)
        again.add(entry, given.rows(entry).join(refused, on=PLACE, how="anti", maintain_order="left"))
        return again

    def _forget(self, carried: Carried, refused: pl.DataFrame | None, overlay: dict[str, Grouped]) -> None:
        """A record that a later step rejected was not charged: it may come again, corrected, under its own name.

        So what the step that knows duplicates has just remembered of it is taken back.
        """
        step = self._remembering
        if step is None or step.state is None or refused is None or step.state.name not in overlay:
            return
        again = carried.rows(step.reads).join(refused, on=PLACE, how="semi")
        keys = distinct(again.get_column(step.state.key).to_numpy())
        overlay[step.state.name] = over(overlay[step.state.name], self._states.gather(step.state, keys))

    def _groups(self, state: State, column: Keys, held: Grouped | None) -> Grouped:
        """The groups of a column's keys: those this batch has already if they are enough, else gathered."""
        if held is None:
            return self._states.gather(state, distinct(column))
        found = locate(held.keys, column)
        if len(found) == 0 or int(found.min()) >= 0:
            return held
        missing = self._states.gather(state, distinct(column[found < 0]))
        return over(missing, held)


def over(lower: Grouped, upper: Grouped) -> Grouped:
    """What keys hold when some of them were given anew."""
    if len(lower.keys) == len(upper.keys) and np.array_equal(lower.keys, upper.keys):
        return upper
    keys = np.empty(len(lower.keys) + len(upper.keys), np.uint64)
    offsets = np.zeros(len(keys) + 1, np.int64)
    rows = np.empty(len(lower.rows) + len(upper.rows), upper.rows.dtype)
    count = _over(
        lower.keys, lower.offsets, _octets(lower.rows), upper.keys, upper.offsets, _octets(upper.rows),
        rows.dtype.itemsize, keys, offsets, _octets(rows),
    )  # fmt: skip
    return Grouped(keys[:count], offsets[: count + 1], rows[: int(offsets[count])])


def _some(groups: Grouped, keys: Keys) -> Grouped:
    """The groups of those ascending keys that there are groups of."""
    at = locate(groups.keys, keys)
    at = at[at >= 0]
    counts = np.diff(groups.offsets)[at]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    index = np.repeat(groups.offsets[at] - offsets[:-1], counts) + np.arange(offsets[-1])
    return Grouped(groups.keys[at], offsets, groups.rows[index])


def _octets(rows: Rows) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(rows).view(np.uint8)


@nb.njit(nogil=True, cache=True)
def _over(
    lower_keys: Keys,
    lower_offsets: Offsets,
    lower_rows: npt.NDArray[np.uint8],
    upper_keys: Keys,
    upper_offsets: Offsets,
    upper_rows: npt.NDArray[np.uint8],
    width: int,
    keys: Keys,
    offsets: Offsets,
    rows: npt.NDArray[np.uint8],
) -> int:
    """Walk both in step; where both have a key, the upper one's rows are taken. How many keys there are."""
    low, up, count, at = 0, 0, 0, 0
    while low < len(lower_keys) or up < len(upper_keys):
        if up < len(upper_keys) and (low == len(lower_keys) or upper_keys[up] <= lower_keys[low]):
            if low < len(lower_keys) and lower_keys[low] == upper_keys[up]:
                low += 1
            keys[count] = upper_keys[up]
            for octet in range(upper_offsets[up] * width, upper_offsets[up + 1] * width):
                rows[at] = upper_rows[octet]
                at += 1
            up += 1
        else:
            keys[count] = lower_keys[low]
            for octet in range(lower_offsets[low] * width, lower_offsets[low + 1] * width):
                rows[at] = lower_rows[octet]
                at += 1
            low += 1
        count += 1
        offsets[count] = at // width
    return count


def distinct(column: Keys) -> Keys:
    """The different values of a column, ascending."""
    if len(column) > _FEW and int(column.max()) < _FEW:  # buckets: many rows, few keys
        seen = np.zeros(_FEW, np.bool_)
        seen[column] = True
        return np.flatnonzero(seen).astype(np.uint64)
    ordered = np.sort(column)
    return ordered[: _distinct(ordered)].copy()


@nb.njit(nogil=True, cache=True)
def _distinct(ordered: Keys) -> int:
    """Move the different ones of ascending values to the front; how many they are."""
    count = 0
    for at in range(len(ordered)):
        if at == 0 or ordered[at] != ordered[count - 1]:
            ordered[count] = ordered[at]
            count += 1
    return count


Counting = Callable[["Carried", Sequence[Stream], "Carried", Accounts], list[Accounting]]
"""The accounting of a batch: what it became, the streams that are received, what the first step made of it."""


def tallied(measured: Stream, binned: Stream) -> Counting:
    """The accounting of telemetry: what was measured and not set aside was binned, and each event was heard.

    `measured` rows that came out must be as many as the `readings` that the rows of `binned` say they are made of.
    """

    def count(
        carried: Carried, received: Sequence[Stream], before: Carried, accounts: Accounts
    ) -> list[Accounting]:
        sums: dict[str, list[int]] = {}
        parts = [(0, before.rows(stream)) for stream in received]
        parts += [
            (place, carried.rows(stream))
            for place, stream in enumerate(
                (accounts.rated, accounts.duplicate, accounts.rejected, accounts.held), 1
            )
        ]
        for place, rows in parts:
            for source, rows_of_it in _by_source(rows):
                sums.setdefault(source, [0] * 5)[place] += rows_of_it
        counts = [
            Accounting(
                source,
                got,
                0,
                duplicate,
                rejected,
                held,
                0,
                got - events - duplicate - rejected - held,
                events,
            )
            for source, (got, events, duplicate, rejected, held) in sorted(sums.items())
        ]
        readings = int(carried.rows(binned).get_column("readings").sum())
        used = sum(each.measured for each in counts)
        assert readings == used, (
            f"of {len(before.rows(measured))} measurements {readings} were binned, not {used}"
        )
        assert all(each.measured >= 0 for each in counts), f"more came out than was received: {counts}"
        return counts

    return count


def _by_source(rows: pl.DataFrame) -> list[tuple[str, int]]:
    """How many rows each source has."""
    if not len(rows):
        return []
    sources = rows.get_column("source")
    if sources[0] is not None and bool((sources == sources[0]).all()) and not sources.null_count():
        return [(str(sources[0]), len(rows))]
    return [
        (str(source or ""), int(count)) for source, count in rows.group_by("source").agg(pl.len()).iter_rows()
    ]


def counted(
    carried: Carried, received: Sequence[Stream], before: Carried, accounts: Accounts
) -> list[Accounting]:
    """The accounting of a batch by source; asserts that everything received came out somewhere."""
    sums: dict[str, list[int]] = {}

    def count(place: int, rows: pl.DataFrame, amount: Callable[[], pl.Expr] | None = None) -> None:
        if not len(rows):
            return
        source = pl.col("source").cast(pl.String).fill_null("")
        if rows.get_column("source").n_unique() == 1:
            value = len(rows) if amount is None else rows.select(amount()).item()
            sums.setdefault(rows.get_column("source")[0] or "", [0] * 6)[place] += value
            return
        by_source = rows.group_by(source.alias("source")).agg(
            (pl.len() if amount is None else amount()).alias("sum")
        )
        for name, value in by_source.iter_rows():
            sums.setdefault(name, [0] * 6)[place] += value

    for stream in received:
        count(0, before.rows(stream))
    rated = carried.rows(accounts.rated)
    count(1, rated)
    count(2, carried.rows(accounts.duplicate))
    count(3, carried.rows(accounts.rejected))
    count(4, carried.rows(accounts.held))
    count(5, rated, lambda: pl.col(accounts.charged).sum())
    for name, (got, *out) in sums.items():
        assert got == sum(out[:4]), f"of {got} records of {name!r}, {sum(out[:4])} came out: {out}"
    return [Accounting(name, *numbers) for name, numbers in sorted(sums.items())]
