"""The one process that charges: it reads, carries batch after batch through the map, and commits each at once.

Three threads make a pipeline. One reads and decodes the next batch, the caller's carries the present one through
the remembering steps, one writes the last one down. Orders that are not usage (top-ups, new subscribers, decisions)
are carried between batches in the same one order, so that a balance is the sum of its entries whatever happens
at the same moment. Nothing is answered before it is durable.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import polars as pl

from trunkline.engines.embedded.files import Block, Framing, halved
from trunkline.engines.embedded.lanes import InLanes, Lanes
from trunkline.engines.loop import (
    POISON,
    Accounts,
    Carried,
    Carrier,
    Counting,
    Early,
    FileStopped,
    States,
    TooMuchPoison,
    counted,
)
from trunkline.kernel.flow import Flow, Stream
from trunkline.ports import Accounting, Commit, EngineStore, Movement, Progress, Settled

BATCH_RECORDS = 256_000
BATCH_OCTETS = 32 << 20  # smaller ones write the same accounts more often; docs/decisions/0017
SMALLEST_BATCH_OCTETS = 1 << 20
T = TypeVar("T")

LIVE_PAUSE_S = 0.04  # between live batches: what came meanwhile shares one commit
_LARGE_OCTETS = 2 << 20  # of a block that is worth a second thread
WATCHED_RECORDS = 1000  # of one file, before its share of rejects is judged
REJECTED_SHARE = 0.95


class Source(Protocol):
    """Where blocks come from; called by one thread."""

    def fill(self, octets: int) -> list[Block]:
        """Blocks of about so many octets that are there now; none when there is nothing."""

    def wait(self, timeout_s: float) -> None:
        """Return when there may be something, or when the time is over."""

    def drop(self, file: int, reason: str) -> None:
        """A file was stopped: read no more of it."""

    def committed(self, progress: Sequence[Progress]) -> None:
        """These positions are durable."""

    @property
    def exhausted(self) -> bool:
        """Nothing will ever come again."""


@dataclass(frozen=True)
class Settings:
    """How the engine behaves; the defaults are right for a machine of two cores and more."""

    batch_octets: int = BATCH_OCTETS
    batch_records: int = BATCH_RECORDS
    most_poison: int = 100
    live_pause_s: float = LIVE_PAUSE_S
    decoders: int = 1  # threads that decode one batch; more only where the other threads wait for it


@dataclass
class Totals:
    """What a run took in, for people and scripts."""

    received: int = 0
    rated: int = 0
    duplicate: int = 0
    rejected: int = 0
    held: int = 0
    charged_micros: int = 0
    alerts: int = 0
    batches: int = 0
    octets: int = 0
    measured: int = 0
    events: int = 0

    def add(self, counts: Sequence[Accounting]) -> None:
        """Add one batch."""
        for count in counts:
            self.received += count.received
            self.rated += count.rated
            self.duplicate += count.duplicate
            self.rejected += count.rejected
            self.held += count.held
            self.charged_micros += count.charged_micros
            self.measured += count.measured
            self.events += count.events


@dataclass
class Batch:
    """Blocks that were read together and what the first step made of them."""

    blocks: list[Block]
    decoded: Carried


Order = Callable[["Engine", int], tuple[Commit | None, Any]]
"""Carried between batches: given the engine and a commit number, returns what to commit and the answer."""

_Written = tuple[Commit | None, Callable[[], None], Callable[[BaseException], None]]


@dataclass
class _Running:
    """The shared part of one running pipeline."""

    decoded: queue.Queue[Batch | None] = field(default_factory=lambda: queue.Queue(1))
    commits: queue.Queue[_Written | None] = field(default_factory=lambda: queue.Queue(2))
    wake: threading.Condition = field(default_factory=threading.Condition)
    trouble: BaseException | None = None
    stopping: bool = False


class Engine:
    """Carries usage, or telemetry, and orders through the map's flows over one store.

    `usage` is the flow that begins with blocks of bytes. `accounts` says which streams are counted as what, `count`
    how; `framing` what reading must know of each mapping.
    """

    def __init__(
        self,
        store: EngineStore,
        usage: Flow,
        accounts: Accounts,
        tables: Mapping[str, object],
        framing: Callable[[str], Framing],
        settings: Settings | None = None,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        count: Counting = counted,
        lanes: Lanes | None = None,
        early: Early | None = None,
    ) -> None:
        """Build an engine; it does nothing before `drive` or an order."""
        self.store = store
        self.accounts = accounts
        self.framing = framing
        self.settings = settings or Settings()
        self.tables = dict(tables)
        self.totals = Totals()
        self.clock_us = clock_us
        self.states = store
        most = self.settings.most_poison
        self._usage = (
            Carrier(usage, self.tables, store, most, accounts)
            if lanes is None
            else InLanes(usage, self.tables, store, most, accounts, lanes, early)
        )
        self._usage.early, self._usage.tell_early = early, self._tell_early
        self._raw = usage.steps[0].reads
        self._received = usage.steps[0].writes
        self._count = count
        self.listeners: list[
            Callable[[Commit], None]
        ] = []  # called when a commit is durable; they do not wait
        self.early_listeners: list[
            Callable[[int, pl.DataFrame], None]
        ] = []  # called when something is told early, with the number of the commit that may come; they do not wait
        self.correcting = threading.Lock()  # what a record comes to changes at one hand's word at a time
        self._seen_of: dict[int, tuple[int, int]] = {}
        self._stopped_files: set[int] = set()
        self._number = store.number
        self._next_seq = store.next_seq
        self._octets_a_record = 250.0
        self._orders: deque[tuple[Order, Future[Any]]] = deque()
        self._quick: deque[tuple[Order, Future[Any]]] = deque()
        self._serial = threading.Lock()
        self._running: _Running | None = None
        self._failed: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether it stopped because something went wrong; nothing can be committed before it is opened again."""
        return self._failed is not None

    # -- orders -------------------------------------------------------------------------------------------

    def order(self, order: Order, *, quick: bool = False) -> Future[Any]:
        """Carry an order in its turn; the future is answered when everything it changed is durable.

        A `quick` one goes before others, and also while another order works `aside`.
        """
        answer: Future[Any] = Future()
        (self._quick if quick else self._orders).append((order, answer))
        with self._serial:
            if self._running is None:
                self._refuse_or_carry()
            else:
                with self._running.wake:
                    self._running.wake.notify_all()
        return answer

    def aside(self, work: Callable[[], T]) -> T:
        """Have an order's work done beside this thread, which carries quick orders meanwhile; what it returns.

        The work must put nothing and number nothing that a quick order could see; those come before the order that
        waits here, so it takes `next_number` when it goes on.
        """
        running = self._running
        if running is None:  # nobody drives, and whoever gives orders waits for them
            return work()
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except BaseException as error:  # noqa: BLE001 -- raised in the thread that waits
                answer.set_exception(error)
            with running.wake:
                running.wake.notify_all()

        worker = threading.Thread(target=run, name="aside")
        worker.start()
        while not answer.done():
            with running.wake:
                if not self._quick and not answer.done():
                    running.wake.wait(0.5)
            self._carry_quick(lambda *written: self._hand_over(written, running))
        worker.join()
        return answer.result()

    @property
    def next_number(self) -> int:
        """The number of the commit that comes next, within an order."""
        return self._number + 1

    def carry(self, flow: Flow, rows: pl.DataFrame) -> Future[Carried]:
        """Carry rows through another flow than usage (new subscribers); what it writes is kept like usage's."""

        def run(engine: Engine, number: int) -> tuple[Commit | None, Any]:
            carrier = Carrier(flow, engine.tables, engine.states)
            carried = carrier.whole(engine.numbered(rows), number)
            return engine.commit_of(number, carried), carried

        return self.order(run)

    def replace_table(self, name: str, value: object) -> Future[None]:
        """Use another version of a table from the next batch on."""

        def run(engine: Engine, _number: int) -> tuple[Commit | None, Any]:
            engine.tables[name] = value
            engine._usage.tables[name] = value
            return None, None

        return self.order(run)

    def numbered(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the next arrival numbers as `seq`."""
        base = self._next_seq
        self._next_seq += len(rows)
        return rows.with_columns(pl.int_range(base, base + len(rows), dtype=pl.Int64).alias("seq"))

    def commit_of(
        self,
        number: int,
        carried: Carried,
        *,
        progress: Sequence[Progress] = (),
        counts: Sequence[Accounting] = (),
        movements: Sequence[tuple[Movement, int, str, str]] = (),
        settled: Sequence[Settled] = (),
    ) -> Commit:
        """What a carried batch makes durable."""
        frames = {
            name: carried.rows(stream)
            for name, stream in self._streams(carried).items()
            if carried.frames.get(name)
        }
        return Commit(
            number,
            self.clock_us(),
            self._next_seq,
            frames,
            carried.states,
            progress,
            counts,
            movements,
            settled,
        )

    def carry_usage(
        self,
        blocks: list[Block],
        number: int,
        amend: Callable[[pl.DataFrame], pl.DataFrame],
        states: States | None = None,
    ) -> tuple[Carried, list[Accounting]]:
        """Carry blocks through usage within an order, over other `states` where some are given.

        `amend` may change the rows behind the first step.
        """
        return self._carry(self._decode_carefully(blocks), number, amend, states)

    # -- the pipeline -------------------------------------------------------------------------------------

    def drive(
        self,
        source: Source,
        stop: threading.Event | None = None,
        progress: Callable[[Totals], None] | None = None,
    ) -> Totals:
        """Read, charge and commit until the source is exhausted or `stop` is set; raises what went wrong."""
        stop = stop or threading.Event()
        if self._failed is not None:
            raise RuntimeError("the engine stopped; open the store again") from self._failed
        before = self.totals
        self.totals = Totals()
        running = _Running()
        with self._serial:
            self._running = running
        threads = [
            threading.Thread(
                target=self._guarded, args=(running, self._read, source, running, stop), name="read"
            ),
            threading.Thread(target=self._guarded, args=(running, self._write, running), name="write"),
        ]
        for thread in threads:
            thread.start()
        try:
            self._charge(running, source, progress)
        except BaseException as error:  # noqa: BLE001 -- raised again when the threads have ended
            self._fail(running, error)
        finally:
            self._finish(running, threads)
        if running.trouble is not None:
            raise running.trouble
        totals, self.totals = self.totals, before
        return totals

    def _read(self, source: Source, running: _Running, stop: threading.Event) -> None:
        """Read and decode ahead; blocks while the batch before waits to be charged."""
        while not running.stopping and not stop.is_set():
            began = time.monotonic()
            wanted = int(min(max(self.settings.batch_records * self._octets_a_record, SMALLEST_BATCH_OCTETS),
                             self.settings.batch_octets))  # fmt: skip
            blocks = source.fill(wanted)
            if blocks:
                self._put(running.decoded, self._decode_carefully(blocks), running)
                with running.wake:
                    running.wake.notify_all()
            elif source.exhausted:
                break
            if sum(len(block.octets) for block in blocks) < wanted // 2 and not source.exhausted:
                source.wait(max(0.0, self.settings.live_pause_s - (time.monotonic() - began)))
        self._put(running.decoded, None, running)
        with running.wake:
            running.wake.notify_all()

    def _charge(self, running: _Running, source: Source, progress: Callable[[Totals], None] | None) -> None:
        """Carry batches and, between them, orders, until nothing more will come."""
        while True:
            self._carry_orders(lambda *written: self._hand_over(written, running))
            with running.wake:
                if running.trouble is not None:
                    return
                if running.decoded.empty() and not self._orders and not self._quick:
                    running.wake.wait(0.5)
            if running.decoded.empty():
                continue
            batch = running.decoded.get()
            if batch is None:
                return
            self._charge_batch(batch, running, source, progress)

    def _charge_batch(
        self, batch: Batch, running: _Running, source: Source, progress: Callable[[Totals], None] | None
    ) -> None:
        if any(block.file.file in self._stopped_files for block in batch.blocks):
            batch = self._without_stopped(batch)
        if not batch.blocks:
            return
        number, seq = self._number + 1, self._next_seq
        try:
            carried, counts = self._carry(batch, number)
        except FileStopped as stopped:
            self._next_seq = seq
            self._stopped_files.add(stopped.file)
            source.drop(stopped.file, stopped.reason)
            self._charge_batch(batch, running, source, progress)
            return
        ends = self._ends(batch, carried)
        self._number = number
        self.totals.add(counts)
        if self.accounts.told is not None:
            self.totals.alerts += len(carried.rows(self.accounts.told))
        self.totals.batches += 1
        self.totals.octets += sum(len(block.octets) for block in batch.blocks)
        received = self._next_seq - seq
        if received:
            taken = sum(len(block.octets) for block in batch.blocks)
            self._octets_a_record = 0.5 * self._octets_a_record + 0.5 * taken / received
        commit = self.commit_of(number, carried, progress=ends, counts=counts)

        def durable() -> None:
            source.committed(ends)
            if progress is not None:
                progress(self.totals)

        self._hand_over((commit, durable, lambda _error: None), running)

    def _write(self, running: _Running) -> None:
        """Commit one after another."""
        while True:
            written = running.commits.get()
            if written is None:
                return
            commit, durable, failed = written
            try:
                self._make_durable(commit)
            except BaseException as error:
                failed(error)
                raise
            durable()

    def _make_durable(self, commit: Commit | None) -> None:
        if commit is None:
            return
        self.store.commit(commit)
        for listener in self.listeners:
            listener(commit)

    def _tell_early(self, number: int, rows: pl.DataFrame) -> None:
        for listener in self.early_listeners:
            listener(number, rows)

    # -- one batch ----------------------------------------------------------------------------------------

    def _decode(self, blocks: list[Block]) -> Carried:
        """The first step of all blocks; a large one is decoded in two threads when there are decoders for it."""
        if self.settings.decoders > 1 and len(blocks) == 1 and len(blocks[0].octets) >= _LARGE_OCTETS:
            blocks = halved(blocks[0], self.framing(blocks[0].file.mapping))
            with ThreadPoolExecutor(len(blocks), thread_name_prefix="decode") as pool:
                parts = list(pool.map(lambda block: self._decoded([block]), blocks))
            for part in parts[1:]:
                parts[0].join(part)
            return parts[0]
        return self._decoded(blocks)

    def _decoded(self, blocks: list[Block]) -> Carried:
        now = self.clock_us()
        raw = pl.DataFrame(
            {
                "file": pl.Series([block.file.file for block in blocks], dtype=pl.Int32),
                "source": pl.Series([block.file.source for block in blocks], dtype=pl.String),
                "mapping": pl.Series([block.file.mapping for block in blocks], dtype=pl.String),
                "offset": pl.Series([block.offset for block in blocks], dtype=pl.Int64),
                "line": pl.Series([block.line for block in blocks], dtype=pl.Int64),
                "bytes": pl.Series(
                    [block.octets for block in blocks], dtype=pl.Object
                ),  # as they lie, not copied
                "header": pl.Series([block.header for block in blocks], dtype=pl.Binary),
                "received_us": pl.Series([now] * len(blocks), dtype=pl.Int64),
                "newest_us": pl.Series([self.store.newest_us()] * len(blocks), dtype=pl.Int64),
            }
        )
        return self._usage.first(raw)

    def _decode_carefully(self, blocks: list[Block]) -> Batch:
        """Decode; when that breaks, halve the blocks until the record that breaks it stands alone and is held."""
        try:
            return Batch(blocks, self._decode(blocks))
        except (MemoryError, OSError):
            raise
        except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 -- whatever breaks it, one record is to blame
            decoded = Carried()
            for block in blocks:
                self._decode_halves(block, decoded, error)
            return Batch(blocks, decoded)

    def _decode_halves(self, block: Block, decoded: Carried, error: BaseException) -> None:
        halves = halved(block, self.framing(block.file.mapping))
        if len(halves) == 1:
            decoded.poisoned += 1
            if decoded.poisoned > self.settings.most_poison:
                raise TooMuchPoison(
                    f"more than {self.settings.most_poison} records of one batch broke decoding"
                ) from error
            decoded.add(self.accounts.held, _poisoned(block, self.accounts.held))
            return
        for half in halves:
            try:
                decoded.join(self._decode([half]))
            except (MemoryError, OSError):
                raise
            except (Exception, pl.exceptions.PanicException) as inner:  # noqa: BLE001 -- whatever breaks it, one record is to blame
                self._decode_halves(half, decoded, inner)

    def _carry(
        self,
        batch: Batch,
        number: int,
        amend: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
        states: States | None = None,
    ) -> tuple[Carried, list[Accounting]]:
        usage = self._usage if states is None else self._usage.over(states)
        entries = {entry.name for entry in self._usage.entries}
        decoded = Carried(
            {name: frames for name, frames in batch.decoded.frames.items() if name not in entries}
        )
        for entry in self._usage.entries:
            rows = batch.decoded.rows(entry)
            decoded.add(entry, self.numbered(rows if amend is None else amend(rows)))
        carried = usage.careful(
            decoded, number, self.accounts.held, lambda result: self._judge(batch, result)
        )
        received = (*self._received, *((self.accounts.held,) if batch.decoded.poisoned else ()))
        counts = self._count(carried, received, batch.decoded, self.accounts)
        for stream in (self.accounts.rejected, self.accounts.held):
            if carried.frames.get(stream.name):
                carried.frames[stream.name] = [
                    _with_raw(
                        carried.rows(stream).sort("file", "offset"),
                        batch.blocks,
                        self.accounts.raw_octets_max,
                    )
                ]
        return carried, counts

    def _judge(self, batch: Batch, carried: Carried) -> None:
        """Stop a file of which nearly everything is rejected, before anything of this batch is kept."""
        rejected = dict(_by_file(carried.rows(self.accounts.rejected)))
        if not rejected:
            return
        received = self._received_by_file(batch)
        for block in batch.blocks:
            file = block.file.file
            records, rejects = self._seen_of.get(file, (block.file.records, block.file.rejected))
            records, rejects = records + received.get(file, 0), rejects + rejected.get(file, 0)
            if (
                records >= WATCHED_RECORDS
                and rejects > REJECTED_SHARE * records
                and block.file.kind != "spool"
            ):
                reasons = carried.rows(self.accounts.rejected).filter(pl.col("file") == file)["reason"]
                often = reasons.value_counts(sort=True).row(0)[0]
                raise FileStopped(
                    file,
                    f"{block.file.path}: {rejects} of the first {records} records are rejected, mostly as {often!r}."
                    f" Is it the right mapping, and {self.accounts.advice}?"
                    f" Nothing more was taken; it goes on at octet {batch.blocks[0].offset} when it is offered again.",
                )

    def _received_by_file(self, batch: Batch) -> dict[int, int]:
        received: dict[int, int] = {}
        for stream in (*self._received, self.accounts.held):
            for file, count in _by_file(batch.decoded.rows(stream)):
                received[file] = received.get(file, 0) + count
        return received

    def _ends(self, batch: Batch, carried: Carried) -> list[Progress]:
        """How far each file of the batch is read when the batch is durable."""
        received = self._received_by_file(batch)
        rejected = dict(_by_file(carried.rows(self.accounts.rejected)))
        ends: dict[int, Progress] = {}
        for block in batch.blocks:
            file = block.file.file
            if file not in ends:
                known = self._seen_of.get(file, (block.file.records, block.file.rejected))
                known = known[0] + received.get(file, 0), known[1] + rejected.get(file, 0)
                self._seen_of[file] = known
            records, rejects = self._seen_of[file]
            ends[file] = Progress(
                file, block.end, block.line + block.lines, records, rejects, "done" if block.last else ""
            )
            if block.last:
                self._seen_of.pop(file, None)
        return list(ends.values())

    def _without_stopped(self, batch: Batch) -> Batch:
        blocks = [block for block in batch.blocks if block.file.file not in self._stopped_files]
        return self._decode_carefully(blocks) if blocks else Batch([], Carried())

    def _streams(self, carried: Carried) -> dict[str, Stream]:
        known = dict(self._usage.streams)
        return {name: known[name] for name in carried.frames if name in known}

    # -- orders and threads -------------------------------------------------------------------------------

    def _carry_orders(self, put: Callable[..., None]) -> None:
        self._carry_quick(put)
        while self._orders:
            self._carry_order(*self._orders.popleft(), put)
            self._carry_quick(put)

    def _carry_quick(self, put: Callable[..., None]) -> None:
        while self._quick:
            self._carry_order(*self._quick.popleft(), put)

    def _carry_order(self, order: Order, answer: Future[Any], put: Callable[..., None]) -> None:
        try:
            commit, result = order(self, self._number + 1)
        except Exception as error:  # noqa: BLE001 -- whoever gave the order is told, and nothing was changed
            answer.set_exception(error)
            return
        except BaseException as error:
            answer.set_exception(error)
            raise
        if commit is not None:
            assert commit.number == self._number + 1, "commits follow each other"
            self._number = commit.number
            self.totals.add(commit.counts)
        put(commit, lambda: answer.set_result(result), answer.set_exception)

    def _commit_here(
        self, commit: Commit | None, durable: Callable[[], None], failed: Callable[[BaseException], None]
    ) -> None:
        try:
            self._make_durable(commit)
        except BaseException as error:
            self._failed = error
            failed(error)
            raise
        durable()

    def _hand_over(self, written: _Written, running: _Running) -> None:
        if not self._put(running.commits, written, running):
            written[2](RuntimeError("the engine stopped before this was durable"))

    def _put(self, where: queue.Queue[Any], what: object, running: _Running) -> bool:
        """Wait for room; False when the pipeline has come to an end instead."""
        while running.trouble is None:
            try:
                where.put(what, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def _guarded(self, running: _Running, run: Callable[..., None], *arguments: object) -> None:
        try:
            run(*arguments)
        except BaseException as error:  # noqa: BLE001 -- handed to the thread that drives
            self._fail(running, error)

    def _fail(self, running: _Running, error: BaseException) -> None:
        with running.wake:
            if running.trouble is None:
                running.trouble = error
            running.wake.notify_all()
        self._failed = self._failed or error

    def _finish(self, running: _Running, threads: list[threading.Thread]) -> None:
        """Let what was charged become durable, or after trouble, which may come even now, let go of everything."""
        running.stopping = True
        if not self._put(running.commits, None, running):
            _emptied(running.commits)
            running.commits.put(None)
        for thread in threads:
            thread.join()
        _emptied(running.commits)
        with self._serial:
            self._running = None
            self._refuse_or_carry()

    def _refuse_or_carry(self) -> None:
        """Carry the orders that wait while nobody drives; none after trouble, which may have left states half done."""
        try:
            if self._failed is None:
                self._carry_orders(self._commit_here)
        finally:
            if self._failed is not None:
                for waiting in (self._quick, self._orders):
                    while waiting:
                        waiting.popleft()[1].set_exception(self._failed)


def _emptied(commits: queue.Queue[_Written | None]) -> None:
    while True:
        try:
            written = commits.get_nowait()
        except queue.Empty:
            return
        if written is not None:
            written[2](RuntimeError("the engine stopped before this was durable"))


def _poisoned(block: Block, held: Stream) -> pl.DataFrame:
    """The row of a record that broke decoding: only its place is known."""
    place = {"file": block.file.file, "line": block.line, "offset": block.offset, "length": len(block.octets)}
    return held.record.conform(pl.DataFrame([{**place, "source": block.file.source, "reason": POISON}]))


def _by_file(rows: pl.DataFrame) -> Iterator[tuple[int, int]]:
    if not len(rows):
        return
    files = rows.get_column("file")
    if files[0] == files[-1] and files.n_unique() == 1:
        yield int(files[0]), len(rows)
        return
    yield from rows.group_by("file").len().iter_rows()


def _with_raw(rows: pl.DataFrame, blocks: Sequence[Block], octets_max: int) -> pl.DataFrame:
    """Set-aside records with their own octets, or the first of them, out of the blocks they came in."""
    by_file: dict[int, list[Block]] = {}
    for block in blocks:
        by_file.setdefault(block.file.file, []).append(block)
    raw = []
    for file, offset, length in rows.select("file", "offset", "length").iter_rows():
        block = next(b for b in by_file[file] if b.offset <= offset < b.end)
        at = offset - block.offset
        raw.append(bytes(block.octets[at : at + min(length, octets_max)]))
    return rows.with_columns(raw=pl.Series(raw, dtype=pl.Binary))
