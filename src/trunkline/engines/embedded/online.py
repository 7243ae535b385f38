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
import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.engines.embedded.engine import Engine
from trunkline.engines.embedded.files import Block, FileBlocks
from trunkline.engines.loop import Aside, Carried, distinct
from trunkline.kernel.flow import Table
from trunkline.kernel.grouped import Grouped, Rows, State
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
TOGETHER_S = 0.004  # requests that come within so long share a commit; one that comes alone does not wait
QUIET_S = 0.25  # nobody asked for so long: what is owed is charged
OWED_S = 2.0  # and after so long at the latest
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

    sessions: State
    accounts: State
    tariffs: Table
    members: Table
    request: np.dtype[Any]  # a request as a row
    # requests, sessions, accounts, tariffs: rows of sessions that answer, and the sessions from now on
    decide: Callable[[Rows, Grouped, Grouped, Any], tuple[Rows, Grouped]]
    owed: Callable[[Grouped], pl.DataFrame]  # what of the sessions is charged now
    struck: Callable[[Grouped, Grouped], Grouped]  # sessions without what an earlier look at them owed
    owing: Callable[[Rows], npt.NDArray[np.bool_]]  # which rows of sessions are owed
    lines: Callable[[pl.DataFrame, Members], bytes]  # what is owed as records of `mapping`
    release: int  # the action that ends a session
    lapse: int  # the action that ends the promises of one that vanished
    example: Rows  # a request that nobody asks, so that everything is compiled before somebody does
    refusals: tuple[str, ...]  # names of what stops a promise besides money, by number
    mapping: str = "trunkline"
    source: str = "online"


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
        self._over = (rules.release, rules.lapse)
        self._payers = {session: subscriber for session, subscriber, _ in opened}
        self._until_us = {session: until_us for session, _, until_us in opened if until_us > 0}
        self._lapses = [(until_us, session) for session, until_us in self._until_us.items()]
        heapq.heapify(self._lapses)
        self._ended = deque((engine.clock_us(), each) for each in self._payers if each not in self._until_us)
        self._asked: deque[_Waiting] = deque()
        self._wake = threading.Event()
        self.ready = threading.Event()  # to answer; whoever listens waits for it
        self._began_s = 0.0  # when the last batch was put together
        self._late: list[_Waiting] = []
        self._lapsing = threading.Lock()
        self._ahead = threading.Semaphore(AHEAD)
        self._lines: dict[int, tuple[int, int, int]] = {}  # of each spool: end, lines, rejected
        self._owing = set(owing)  # touched by the engine's own thread alone, once it runs
        self._charge_at_s = time.monotonic() if owing else None
        self._charging: Future[Any] | None = None

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
            self._close_lapsed()
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
        keys = np.zeros(1, np.uint64)
        sessions, accounts = (
            Grouped.empty(state.dtype, keys) for state in (self._rules.sessions, self._rules.accounts)
        )
        self._rules.decide(
            self._rules.example, sessions, accounts, self._engine.tables[self._rules.tariffs.name]
        )
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
                self._remember(request)
                self._heard(request, answers[request.session])
            waiting.answered(told)

    # -- sessions that vanished ------------------------------------------------------------------------------

    def _remember(self, request: QuotaRequest) -> None:
        """When a session lapses unless it is heard of again."""
        with self._lapsing:
            if request.action in self._over:
                self._until_us.pop(request.session, None)
                self._ended.append((request.time_us, request.session))
            else:
                if request.session not in self._until_us:
                    heapq.heappush(self._lapses, (request.until_us, request.session))
                self._until_us[request.session] = request.until_us

    def _close_lapsed(self) -> None:
        """Let go of what was promised to sessions that were not heard of in time; forget those that ended long ago."""
        now_us = self._engine.clock_us()
        with self._lapsing:
            while self._lapses and self._lapses[0][0] <= now_us:
                _, session = heapq.heappop(self._lapses)
                until_us = self._until_us.get(session, 0)
                if until_us > now_us:  # it was heard of since
                    heapq.heappush(self._lapses, (until_us, session))
                elif until_us:
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
                    self._put(_Waiting(lapse))
            while self._ended and self._ended[0][0] < now_us - FORGOTTEN_US:
                _, session = self._ended.popleft()
                if session not in self._until_us:
                    self._payers.pop(session, None)

    # -- carried by the engine ------------------------------------------------------------------------------

    def _carry(self, engine: Engine, number: int, batch: Sequence[_Waiting]) -> tuple[Commit | None, Any]:
        who = self._place([each.request for each in batch if each.request.begins], engine)
        known = [each.request for each in batch if each.request.session in self._payers]
        keys = distinct(np.array([self._payers[request.session] for request in known], np.uint64))
        sessions = engine.states.gather(self._rules.sessions, keys)
        rows, answers = self._rows(known, sessions, who)
        if not rows:
            return None, answers
        accounts = engine.states.gather(self._rules.accounts, keys)
        tariffs = engine.tables[self._rules.tariffs.name]
        told, left = self._rules.decide(np.array(rows, self._rules.request), sessions, accounts, tariffs)
        engine.states.put(self._rules.sessions, left, number)
        self._owing.update(left.keys[self._owes(left)].tolist())
        names = ("session", "group", "invocation", "wanted", "granted", "refusal")
        for session, group, invocation, wanted, granted, refusal in zip(
            *(told[name].tolist() for name in names), strict=True
        ):
            answer = QuotaAnswer(group, invocation, wanted, granted, self._rules.refusals[refusal])
            answers[session].append(answer)
        return engine.commit_of(number, Carried(states=[(self._rules.sessions, left)])), answers

    def _place(self, begun: Sequence[QuotaRequest], engine: Engine) -> dict[int, int]:
        """Which member of an account opens each session; from now on the session is known to be the owner's."""
        members = cast("Members", engine.tables[self._rules.members.name])
        owners, numbers = members.place(np.array([request.subscriber for request in begun], np.uint64))
        for request, owner in zip(begun, owners.tolist(), strict=True):
            self._payers.setdefault(request.session, owner)
        return dict(zip([request.session for request in begun], numbers.tolist(), strict=True))

    def _owes(self, sessions: Grouped) -> npt.NDArray[np.bool_]:
        """Which of the subscribers owe anything."""
        owners = np.repeat(np.arange(len(sessions)), np.diff(sessions.offsets))
        return np.bincount(owners[self._rules.owing(sessions.rows)], minlength=len(sessions)) > 0

    def _rows(
        self, requests: Sequence[QuotaRequest], sessions: Grouped, who: Mapping[int, int]
    ) -> tuple[list[tuple[Any, ...]], dict[int, list[QuotaAnswer]]]:
        """A row for each rating group of the requests whose session is open or begins, and room for their answers."""
        rows: list[tuple[Any, ...]] = []
        answers: dict[int, list[QuotaAnswer]] = {}
        every = list(zip(*(sessions.rows[name].tolist() for name in ("session", "group", "invocation", "until_us")),
                         self._rules.owing(sessions.rows).tolist(), strict=True))  # fmt: skip
        begins = dict(zip(sessions.keys.tolist(), range(len(sessions)), strict=True))
        offsets = sessions.offsets.tolist()
        for request in requests:
            payer = self._payers[request.session]
            at = begins[payer]
            held = [each for each in every[offsets[at] : offsets[at + 1]]
                    if each[0] == request.session and not each[4]]  # fmt: skip
            still = [group for _, group, _, until_us, _ in held if until_us != 0]
            answered = any(invocation >= request.invocation for _, _, invocation, _, _ in held)
            again = answered and (request.begins or request.action == self._rules.release)
            if not (still or again or (request.begins and not answered)):
                continue
            answers[request.session] = []
            groups = {group: (used, wanted) for group, used, wanted in request.groups}
            if request.action in self._over:
                groups = dict.fromkeys(still, (0, 0)) | groups
            said = request.said or SILENT
            use = *(said[name] for name in SILENT), str(said.get("service") or "").encode()
            rows += [
                (payer, request.session, group, request.invocation, request.action, request.time_us,
                 request.until_us, bool(request.said), *use, used, wanted, who.get(request.session, 0))
                for group, (used, wanted) in groups.items()
            ]  # fmt: skip
        return rows, answers

    def _charge(self, engine: Engine, number: int) -> tuple[Commit | None, Any]:
        """Charge what is owed and strike it off, while other requests are answered as if neither had happened."""
        keys = np.sort(np.fromiter(self._owing, np.uint64, len(self._owing)))
        self._owing.clear()
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
