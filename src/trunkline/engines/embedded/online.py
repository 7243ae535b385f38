"""Requests for quota, answered when what they promise is durable.

Requests that come within a few milliseconds share one commit, which holds nothing but their sessions: what they are
promised, and what they used and still owe. What is owed is charged when nobody asks for a moment, or after a few
seconds at the latest: many together, through the usage flow like every other record, out of a spool of its own, in
the same commit that strikes them off. That is done beside the requests, which see the accounts as they were, and what
is owed by them, until both change at once: a promise never waits for a charge, and never overlooks one. A crash
before that commit leaves the records in the spool, where the next start finds and charges them; those that are owed
still come again under the same names and are told as duplicates.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import polars as pl

from trunkline.engines.embedded.engine import Engine
from trunkline.engines.embedded.files import Block, FileBlocks
from trunkline.engines.loop import Aside, Carried
from trunkline.engines.online import OnlineRules, Sessions
from trunkline.kernel.members import Members
from trunkline.ports import (
    Accounting,
    Commit,
    Progress,
    QuotaAnswer,
    QuotaRequest,
    SourceFile,
    Told,
    UnknownSession,
)

MOST_AT_ONCE = 1024
AHEAD = 2  # batches that are carried while others become durable
TOGETHER_S = 0.008  # requests that come within so long share a commit; one that comes alone does not wait
QUIET_S = 0.25  # nobody asked for so long: what is owed is charged
OWED_S = 2.0  # and after so long at the latest
TAIL_OCTETS = 4 << 20


def _nobody(_answer: Told) -> None:
    """The platform's own requests are answered to nobody."""


@dataclass(slots=True)
class _Waiting:
    """A request and whoever waits for its answer."""

    request: QuotaRequest
    answered: Callable[[Told], None] = _nobody


class EngineOnline:
    """The embedded engine's online charging (`ports.OnlineCharging`). Any thread may ask; one thread runs it."""

    def __init__(
        self,
        engine: Engine,
        rules: OnlineRules,
        opened: Sequence[tuple[int, int, int]] = (),
        owing: Sequence[int] = (),
        heard: Callable[[QuotaRequest, list[QuotaAnswer]], None] = lambda _request, _answers: None,
    ) -> None:
        """Build it over an engine that is driven elsewhere; nothing is answered before `run`.

        `opened` are the sessions of an earlier life: name, subscriber, and when they lapse (us; 0 or less: they are
        over); `owing` the subscribers who used what is not charged yet. `heard` is told of each answer.
        """
        self._engine, self._rules, self._heard = engine, rules, heard
        self._sessions = Sessions(rules, opened, owing, engine.clock_us())
        self._asked: deque[_Waiting] = deque()
        self._wake = threading.Event()
        self.ready = threading.Event()  # to answer; whoever listens waits for it
        self._began_s = 0.0  # when the last batch was put together
        self._late: list[_Waiting] = []
        self._ahead = threading.Semaphore(AHEAD)
        self._lines: dict[int, tuple[int, int, int]] = {}  # of each spool: end, lines, rejected
        self._charge_at_s = time.monotonic() if owing else None
        self._charging: Future[Any] | None = None

    def place(self, _subscriber: int) -> None:
        """All sessions lie here."""
        return

    def ask(self, request: QuotaRequest, answered: Callable[[Told], None]) -> None:
        """Ask for quota; `answered` is called in another thread when the answer is durable, or with what went wrong."""
        self._put(_Waiting(request, answered))

    def _put(self, waiting: _Waiting) -> None:
        self._asked.append(waiting)
        if not self._wake.is_set():
            self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Answer until told to stop; first charge what a crash left in the spool, and last what is owed."""
        self._make_ready()
        if not stop.is_set():
            self._charge_left()
        self.ready.set()
        while not stop.is_set():
            for lapse in self._sessions.lapsed(self._engine.clock_us()):
                self._put(_Waiting(lapse))
            batch = self._next(stop)
            if batch:
                self._ahead.acquire()
                self._engine.order(partial(self._carry, batch=batch), quick=True).add_done_callback(
                    partial(self._tell, batch=batch)
                )
                self._charge_at_s = self._charge_at_s or time.monotonic() + OWED_S
            self._charge_owed(idle=not batch)
        if not self._engine.failed:
            self._engine.order(self._charge).result()

    def _make_ready(self) -> None:
        """Compile what decides, and let the collector pass over all that stays: it would stop every answer for it."""
        self._rules.compiled(self._engine.tables)
        gc.collect()
        gc.freeze()

    def _charge_owed(self, *, idle: bool) -> None:
        """Have what is owed charged when it is time; one charge after another, and its trouble is raised here."""
        if self._charging is not None and self._charging.done():
            self._charging.result()
            self._charging = None
        due_s = self._charge_at_s
        if due_s is not None and self._charging is None and (idle or time.monotonic() >= due_s):
            self._charge_at_s = None
            self._charging = self._engine.order(self._charge)

    def _next(self, stop: threading.Event) -> list[_Waiting]:
        """The requests that are there now, one of each session; more of a session wait for the next batch."""
        if not self._late and not self._wake.wait(QUIET_S):
            return []
        stop.wait(max(0.0, self._began_s + TOGETHER_S - time.monotonic()))
        self._began_s = time.monotonic()
        self._wake.clear()
        waiting, self._late = self._late, []
        while self._asked and len(waiting) < MOST_AT_ONCE:
            waiting.append(self._asked.popleft())
        if self._asked:
            self._wake.set()
        batch: dict[int, _Waiting] = {}
        for each in waiting:
            if each.request.session in batch:
                self._late.append(each)
            else:
                batch[each.request.session] = each
        return list(batch.values())

    def _tell(self, done: Future[dict[int, list[QuotaAnswer]]], batch: Sequence[_Waiting]) -> None:
        self._ahead.release()
        error = done.exception()
        answers = {} if error is not None else done.result()
        for waiting in batch:
            request = waiting.request
            told: Told | None = error or answers.get(request.session)
            if told is None:
                told = UnknownSession(request.session)
            elif error is None:
                self._sessions.remember(request)
                self._heard(request, answers[request.session])
            waiting.answered(told)

    # -- carried by the engine ------------------------------------------------------------------------------

    def _carry(self, engine: Engine, number: int, batch: Sequence[_Waiting]) -> tuple[Commit | None, Any]:
        requests = [each.request for each in batch]
        left, answers = self._sessions.carry(requests, engine.states, engine.tables, number)
        if left is None:
            return None, answers
        return engine.commit_of(number, Carried(states=[(self._rules.sessions, left)])), answers

    def _charge(self, engine: Engine, number: int) -> tuple[Commit | None, Any]:
        """Charge what is owed and strike it off, while other requests are answered as if neither had happened."""
        keys = np.sort(np.fromiter(self._sessions.owing, np.uint64, len(self._sessions.owing)))
        self._sessions.owing.clear()
        owing = engine.states.gather(self._rules.sessions, keys)
        due = self._rules.owed(owing)
        if not len(due):
            return None, None
        states = Aside(engine.states)
        prepared = engine.aside(partial(self._prepared, engine, number, due, states))
        number = engine.next_number
        left = self._rules.struck(engine.states.gather(self._rules.sessions, keys), owing)
        for state, groups in (*states.kept, (self._rules.sessions, left)):
            engine.states.put(state, groups, number)
        return replace(prepared, number=number, states=[*prepared.states, (self._rules.sessions, left)]), None

    def _prepared(self, engine: Engine, number: int, due: pl.DataFrame, states: Aside) -> Commit:
        """What is owed carried through the usage flow, out of the spool where it is durable."""
        octets = self._rules.lines(due, cast("Members", engine.tables[self._rules.members.name]))
        file, end = engine.store.append(self._rules.mapping, self._rules.source, octets)
        known_end, lines, _ = self._lines.get(file.file, (0, 0, 0))
        assert known_end == end - len(octets), "nobody else writes to this spool"
        block = Block(file, end - len(octets), lines + 1, bytearray(octets), len(due), None, last=False)
        carried, counts, progress = self._carried(engine, number, block, ended="", states=states)
        return engine.store.prepare(engine.commit_of(number, carried, counts=counts, progress=progress))

    def _carried(
        self, engine: Engine, number: int, block: Block, ended: str, states: Aside | None = None
    ) -> tuple[Carried, list[Accounting], list[Progress]]:
        carried, counts = engine.carry_usage([block], number, lambda rows: rows, states)
        _, lines, rejected = self._lines.get(block.file.file, (0, block.line - 1, block.file.rejected))
        rejected += sum(count.rejected for count in counts)
        lines += block.lines
        self._lines[block.file.file] = block.end, lines, rejected
        return carried, counts, [Progress(block.file.file, block.end, lines + 1, lines, rejected, ended)]

    def _charge_left(self) -> None:
        """Charge what a crash left in spools between its being durable and its commit."""
        store = self._engine.store
        for file in store.open_files("spool"):
            if file.source != self._rules.source or store.durable_end(file.file) is not None:
                continue
            if (
                file.path.exists()
            ):  # a spool is written down before it is made: there may have been a crash between
                self._read_to_end(file)

    def _read_to_end(self, file: SourceFile) -> None:
        blocks = FileBlocks(file, self._engine.framing(file.mapping))
        while not blocks.ended:
            block = blocks.next(TAIL_OCTETS)
            assert block is not None, "a closed spool always has a last block"

            def run(engine: Engine, number: int, block: Block = block) -> tuple[Commit | None, Any]:
                carried, counts, progress = self._carried(engine, number, block, "done" if block.last else "")
                return engine.commit_of(number, carried, counts=counts, progress=progress), None

            self._engine.order(run).result()
            if block.last:
                blocks.close()
                return
