"""Requests for quota, answered when what they promise is durable.

Requests that come while others are being answered wait a moment and share the next commit. Usage that they report
goes into a spool of its own and through the usage flow like every other record, in the same commit as the promises:
after a crash either both are there, or neither, and the request comes again. What stood in the spool without a commit
is charged at the next start; its records have the names that the repeated request would give them.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from trunkline.engines.embedded.engine import Engine
from trunkline.engines.embedded.files import Block, FileBlocks
from trunkline.engines.loop import Carried, Carrier, distinct
from trunkline.kernel.flow import Flow, Stream
from trunkline.kernel.grouped import Grouped, State
from trunkline.ports import (
    Accounting,
    Commit,
    Progress,
    QuotaAnswer,
    QuotaRequest,
    SourceFile,
    UnknownSession,
)

MOST_AT_ONCE = 1024
AHEAD = 2  # batches that are carried while others become durable
TAIL_OCTETS = 4 << 20
FORGOTTEN_US = 86_400_000_000  # so long after its end is a session still known by its name
# A request that says nothing of who uses what; its session has said so before.
SILENT = dict.fromkeys(
    ("kind", "direction", "calling", "called", "start_us", "visited_plmn", "slice", "five_qi"),
    0,
)


@dataclass(frozen=True)
class OnlineRules:
    """What the trade says about quota; the engine carries it without knowing."""

    flow: Flow  # its first step reads requests
    sessions: State
    answers: Stream
    used: Callable[[pl.DataFrame, Grouped], pl.DataFrame]  # what of the requests is charged now
    lines: Callable[[pl.DataFrame], bytes]  # that as records of `mapping`
    release: int  # the action that ends a session
    lapse: int  # the action that ends the promises of one that vanished
    refusals: tuple[str, ...]  # names of what stops a promise besides money, by number
    mapping: str = "trunkline"
    source: str = "online"


@dataclass
class _Waiting:
    """A request and whoever waits for its answer."""

    request: QuotaRequest
    answer: Future[list[QuotaAnswer]] = field(default_factory=Future)


class EngineOnline:
    """The embedded engine's online charging (`ports.OnlineCharging`). Any thread may ask; one thread runs it."""

    def __init__(
        self,
        engine: Engine,
        rules: OnlineRules,
        opened: Sequence[tuple[int, int, int]] = (),
        heard: Callable[[QuotaRequest, list[QuotaAnswer]], None] = lambda _request, _answers: None,
    ) -> None:
        """Build it over an engine that is driven elsewhere; nothing is answered before `run`.

        `opened` are the sessions of an earlier life: name, subscriber, and when they lapse (us; 0 or less: they are
        over). `heard` is told of each answer.
        """
        self._engine, self._rules, self._heard = engine, rules, heard
        self._over = (rules.release, rules.lapse)
        self._payers = {session: subscriber for session, subscriber, _ in opened}
        self._until_us = {session: until_us for session, _, until_us in opened if until_us > 0}
        self._lapses = [(until_us, session) for session, until_us in self._until_us.items()]
        heapq.heapify(self._lapses)
        self._ended = deque((engine.clock_us(), each) for each in self._payers if each not in self._until_us)
        self._asked: queue.Queue[_Waiting] = queue.Queue()
        self._late: list[_Waiting] = []
        self._lapsing = threading.Lock()
        self._ahead = threading.Semaphore(AHEAD)
        self._lines: dict[int, tuple[int, int, int]] = {}  # of each spool: end, lines, rejected

    def ask(self, request: QuotaRequest) -> Future[list[QuotaAnswer]]:
        """Ask for quota; the answer comes when it is durable, or `UnknownSession` is raised."""
        waiting = _Waiting(request)
        self._asked.put(waiting)
        return waiting.answer

    def run(self, stop: threading.Event) -> None:
        """Answer until told to stop; first charge what a crash left in the spool."""
        self._charge_left()
        while not stop.is_set():
            self._close_lapsed()
            batch = self._next()
            if batch:
                self._ahead.acquire()
                self._engine.order(partial(self._carry, batch=batch)).add_done_callback(
                    partial(self._tell, batch=batch)
                )

    def _next(self) -> list[_Waiting]:
        """The requests that are there now, one of each session; more of a session wait for the next batch."""
        waiting, self._late = self._late, []
        if not waiting:
            try:
                waiting = [self._asked.get(timeout=0.2)]
            except queue.Empty:
                return []
        while len(waiting) < MOST_AT_ONCE and not self._asked.empty():
            waiting.append(self._asked.get())
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
        for waiting in batch:
            if error is not None:
                waiting.answer.set_exception(error)
            elif waiting.request.session in done.result():
                answers = done.result()[waiting.request.session]
                self._remember(waiting.request)
                self._heard(waiting.request, answers)
                waiting.answer.set_result(answers)
            else:
                waiting.answer.set_exception(UnknownSession(waiting.request.session))

    # -- sessions that vanished ------------------------------------------------------------------------------

    def _remember(self, request: QuotaRequest) -> None:
        """When a session lapses unless it is heard of again."""
        with self._lapsing:
            if request.action in self._over:
                self._until_us.pop(request.session, None)
                self._ended.append((request.time_us, request.session))
            else:
                self._until_us[request.session] = request.until_us
                heapq.heappush(self._lapses, (request.until_us, request.session))

    def _close_lapsed(self) -> None:
        """Let go of what was promised to sessions that were not heard of in time; forget those that ended long ago."""
        now_us = self._engine.clock_us()
        with self._lapsing:
            while self._lapses and self._lapses[0][0] <= now_us:
                until_us, session = heapq.heappop(self._lapses)
                if self._until_us.get(session) == until_us:
                    del self._until_us[session]
                    lapse = QuotaRequest(
                        0,
                        session,
                        0,
                        self._rules.lapse,
                        begins=False,
                        time_us=now_us,
                        until_us=now_us,
                        groups=(),
                    )
                    self._asked.put(_Waiting(lapse))
            while self._ended and self._ended[0][0] < now_us - FORGOTTEN_US:
                _, session = self._ended.popleft()
                if session not in self._until_us:
                    self._payers.pop(session, None)

    # -- carried by the engine ------------------------------------------------------------------------------

    def _carry(self, engine: Engine, number: int, batch: Sequence[_Waiting]) -> tuple[Commit | None, Any]:
        for each in batch:
            if each.request.begins:
                self._payers.setdefault(each.request.session, each.request.subscriber)
        known = [each.request for each in batch if each.request.session in self._payers]
        keys = distinct(np.array([self._payers[request.session] for request in known], np.uint64))
        sessions = engine.states.gather(self._rules.sessions, keys)
        rows, answers = self._rows(known, sessions)
        if not len(rows):
            return None, answers
        charged = self._rules.used(rows, sessions)
        carried, counts, progress = self._charge(engine, number, charged)
        carrier = Carrier(self._rules.flow, engine.tables, engine.states)
        carried.join(carrier.whole(rows, number))
        told = carried.rows(self._rules.answers).select(
            "session", "group", "invocation", "wanted", "granted", "refusal"
        )
        for session, group, invocation, wanted, granted, refusal in told.iter_rows():
            answer = QuotaAnswer(group, invocation, wanted, granted, self._rules.refusals[refusal])
            answers[session].append(answer)
        return engine.commit_of(number, carried, counts=counts, progress=progress), answers

    def _rows(
        self, requests: Sequence[QuotaRequest], sessions: Grouped
    ) -> tuple[pl.DataFrame, dict[int, list[QuotaAnswer]]]:
        """A row for each rating group of the requests whose session is open or begins, and room for their answers."""
        rows: list[dict[str, Any]] = []
        answers: dict[int, list[QuotaAnswer]] = {}
        for request in requests:
            payer = self._payers[request.session]
            held = sessions.rows_of(payer)
            held = held[held["session"] == request.session]
            still = held["group"][held["until_us"] != 0].tolist()
            answered = len(held) > 0 and int(held["invocation"].max()) >= request.invocation
            again = answered and (request.begins or request.action == self._rules.release)
            if not (still or again or (request.begins and not answered)):
                continue
            answers[request.session] = []
            groups = {group: (used, wanted) for group, used, wanted in request.groups}
            if request.action in self._over:
                groups = dict.fromkeys(still, (0, 0)) | groups
            rows += [
                {
                    "subscriber": payer,
                    "session": request.session,
                    "group": group,
                    "invocation": request.invocation,
                    "action": request.action,
                    "time_us": request.time_us,
                    "until_us": request.until_us,
                    "says": bool(request.said),
                    "used": used,
                    "wanted": wanted,
                    **(request.said or SILENT),
                }
                for group, (used, wanted) in groups.items()
            ]
        return _framed(self._rules.flow.steps[0].reads, rows), answers

    def _charge(
        self, engine: Engine, number: int, charged: pl.DataFrame
    ) -> tuple[Carried, list[Accounting], list[Progress]]:
        """Carry what was used through the usage flow, out of the spool where it is durable."""
        if not len(charged):
            return Carried(), [], []
        octets = self._rules.lines(charged)
        file, end = engine.store.append(self._rules.mapping, self._rules.source, octets)
        known_end, lines, _ = self._lines.get(file.file, (0, 0, 0))
        assert known_end == end - len(octets), "nobody else writes to this spool"
        block = Block(file, end - len(octets), lines + 1, bytearray(octets), len(charged), None, last=False)
        return self._carried(engine, number, block, ended="")

    def _carried(
        self, engine: Engine, number: int, block: Block, ended: str
    ) -> tuple[Carried, list[Accounting], list[Progress]]:
        carried, counts = engine.carry_usage([block], number, lambda rows: rows)
        _, lines, rejected = self._lines.get(block.file.file, (0, block.line - 1, block.file.rejected))
        rejected += sum(count.rejected for count in counts)
        lines += block.lines
        self._lines[block.file.file] = block.end, lines, rejected
        return carried, counts, [Progress(block.file.file, block.end, lines + 1, lines, rejected, ended)]

    def _charge_left(self) -> None:
        """Charge what a crash left in spools between its being durable and its commit."""
        for file in self._engine.store.open_files("spool"):
            if file.source == self._rules.source and self._engine.store.durable_end(file.file) is None:
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


def _framed(stream: Stream, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame of the stream; a column that none of them has is null."""
    return pl.DataFrame(
        [
            pl.Series(name, [row.get(name) for row in rows], dtype=dtype)
            for name, dtype in stream.record.schema.items()
        ]
    )
