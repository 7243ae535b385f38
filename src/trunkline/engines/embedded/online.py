"""Requests for quota, answered when what they promise is durable.

Requests that come while others are being answered wait a moment and share the next commit. Usage that they report
goes into a spool of its own and through the usage flow like every other record, in the same commit as the promises:
after a crash either both are there, or neither, and the request comes again. What stood in the spool without a commit
is charged at the next start; its records have the names that the repeated request would give them.
"""

from __future__ import annotations

import queue
import threading
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
# A request that says nothing of who uses what; its session has said so before.
SILENT = dict.fromkeys(
    ("kind", "direction", "subscriber", "calling", "called", "start_us", "visited_plmn", "slice", "five_qi"),
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

    def __init__(self, engine: Engine, rules: OnlineRules) -> None:
        """Build it over an engine that is driven elsewhere; nothing is answered before `run`."""
        self._engine, self._rules = engine, rules
        self._asked: queue.Queue[_Waiting] = queue.Queue()
        self._late: list[_Waiting] = []
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
                waiting.answer.set_result(done.result()[waiting.request.session])
            else:
                waiting.answer.set_exception(UnknownSession(waiting.request.session))

    # -- carried by the engine ------------------------------------------------------------------------------

    def _carry(self, engine: Engine, number: int, batch: Sequence[_Waiting]) -> tuple[Commit | None, Any]:
        keys = distinct(np.array([each.request.session for each in batch], np.uint64))
        sessions = engine.states.gather(self._rules.sessions, keys)
        rows = self._rows(batch, sessions)
        if not len(rows):
            return None, {}
        rows = engine.numbered(rows)
        charged = self._rules.used(rows, sessions)
        carried, counts, progress = self._charge(engine, number, charged)
        carrier = Carrier(self._rules.flow, engine.tables, engine.states)
        carried.join(carrier.whole(rows, number))
        answers: dict[int, list[QuotaAnswer]] = {}
        told = carried.rows(self._rules.answers)
        for session, group, invocation, wanted, granted, reason in told.iter_rows():
            answers.setdefault(session, []).append(
                QuotaAnswer(group, invocation, wanted, granted, reason or "")
            )
        for session in rows["session"].unique():
            answers.setdefault(session, [])
        return engine.commit_of(number, carried, counts=counts, progress=progress), answers

    def _rows(self, batch: Sequence[_Waiting], sessions: Grouped) -> pl.DataFrame:
        """A row for each rating group of the requests whose session is known or begins."""
        rows: list[dict[str, Any]] = []
        for each in batch:
            request = each.request
            held = sessions.rows_of(request.session)
            still = held["group"][held["until_us"] > 0].tolist()
            answered = len(held) and int(held["invocation"].max()) >= request.invocation
            if not (answered or request.begins or still):
                continue
            groups = {group: (used, wanted) for group, used, wanted in request.groups}
            if request.action == self._rules.release:
                groups = dict.fromkeys(still, (0, 0)) | groups
            rows += [
                {
                    "session": request.session,
                    "group": group,
                    "hold": hold_of(request.session, group),
                    "invocation": request.invocation,
                    "action": request.action,
                    "time_us": request.time_us,
                    "until_us": request.until_us,
                    "says": bool(request.said),
                    "used": used,
                    "wanted": wanted,
                    "amount_micros": 0,
                    **(request.said or SILENT),
                }
                for group, (used, wanted) in groups.items()
            ]
        return _framed(self._rules.flow.steps[0].reads, rows)

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


def hold_of(session: int, group: int) -> int:
    """Name of the promise of one rating group: the session's digest, turned by the group (an odd multiplier)."""
    return (session ^ (group + 1) * 0x9E3779B97F4A7C15) & 0x7FFF_FFFF_FFFF_FFFF
