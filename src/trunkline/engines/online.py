"""Sessions that ask for quota, as every engine knows them: by name, with who pays, when they lapse, and what is owed.

What may be promised is the trade's business (`OnlineRules`); keeping it is the engine's. Between the two lies what is
the same wherever it runs: a request finds its account by its session, a session that was not heard of in time is let
go of, and whoever used something owes it until it is charged.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.engines.loop import States, distinct
from trunkline.kernel.flow import Table
from trunkline.kernel.grouped import Grouped, Rows, State
from trunkline.kernel.members import Members
from trunkline.ports import QuotaAnswer, QuotaRequest

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

    def compiled(self, tables: Mapping[str, object]) -> None:
        """Decide what nobody asked, so that everything is compiled before somebody does."""
        keys = np.zeros(1, np.uint64)
        sessions, accounts = (Grouped.empty(state.dtype, keys) for state in (self.sessions, self.accounts))
        self.decide(self.example, sessions, accounts, tables[self.tariffs.name])


class Sessions:
    """The sessions of some accounts by their names. Who carries and who remembers may be two threads."""

    def __init__(
        self,
        rules: OnlineRules,
        opened: Sequence[tuple[int, int, int]],
        owing: Sequence[int],
        now_us: int,
    ) -> None:
        """`opened` are the sessions of an earlier life: name, subscriber, and when they lapse (us; 0 or less: they
        are over); `owing` the subscribers who used what is not charged yet.
        """
        self._rules = rules
        self._over = (rules.release, rules.lapse)
        self._payers = {session: subscriber for session, subscriber, _ in opened}
        self._until_us = {session: until_us for session, _, until_us in opened if until_us > 0}
        self._lapses = [(until_us, session) for session, until_us in self._until_us.items()]
        heapq.heapify(self._lapses)
        self._ended = deque((now_us, each) for each in self._payers if each not in self._until_us)
        self._lapsing = threading.Lock()
        self.owing = set(owing)

    @property
    def open(self) -> int:
        """How many sessions lapse unless they are heard of."""
        return len(self._until_us)

    # -- sessions that vanished ------------------------------------------------------------------------------

    def remember(self, request: QuotaRequest) -> None:
        """When a session lapses unless it is heard of again."""
        with self._lapsing:
            if request.action in self._over:
                self._until_us.pop(request.session, None)
                self._ended.append((request.time_us, request.session))
            else:
                if request.session not in self._until_us:
                    heapq.heappush(self._lapses, (request.until_us, request.session))
                self._until_us[request.session] = request.until_us

    def lapsed(self, now_us: int) -> list[QuotaRequest]:
        """What lets go of the promises of sessions that were not heard of in time; who ended long ago is forgotten."""
        found = []
        with self._lapsing:
            while self._lapses and self._lapses[0][0] <= now_us:
                _, session = heapq.heappop(self._lapses)
                until_us = self._until_us.get(session, 0)
                if until_us > now_us:  # it was heard of since
                    heapq.heappush(self._lapses, (until_us, session))
                elif until_us:
                    del self._until_us[session]
                    found.append(
                        QuotaRequest(
                            0,
                            session,
                            0,
                            self._rules.lapse,
                            begins=False,
                            time_us=now_us,
                            until_us=now_us,
                            groups=(),
                        )
                    )
            while self._ended and self._ended[0][0] < now_us - FORGOTTEN_US:
                _, session = self._ended.popleft()
                if session not in self._until_us:
                    self._payers.pop(session, None)
        return found

    # -- carried --------------------------------------------------------------------------------------------

    def carry(
        self, requests: Sequence[QuotaRequest], states: States, tables: Mapping[str, object], number: int
    ) -> tuple[Grouped | None, dict[int, list[QuotaAnswer]]]:
        """Answer requests, at most one of each session: the sessions that changed, which are put, and the answers.

        Who is given no answer names a session that is not open.
        """
        rules = self._rules
        who = self._place([each for each in requests if each.begins], tables)
        known = [each for each in requests if each.session in self._payers]
        keys = distinct(np.array([self._payers[request.session] for request in known], np.uint64))
        sessions = states.gather(rules.sessions, keys)
        rows, answers = self._rows(known, sessions, who)
        if not rows:
            return None, answers
        accounts = states.gather(rules.accounts, keys)
        told, left = rules.decide(
            np.array(rows, rules.request), sessions, accounts, tables[rules.tariffs.name]
        )
        states.put(rules.sessions, left, number)
        self.owing.update(left.keys[self._owes(left)].tolist())
        names = ("session", "group", "invocation", "wanted", "granted", "refusal")
        for session, group, invocation, wanted, granted, refusal in zip(
            *(told[name].tolist() for name in names), strict=True
        ):
            answers[session].append(QuotaAnswer(group, invocation, wanted, granted, rules.refusals[refusal]))
        return left, answers

    def _place(self, begun: Sequence[QuotaRequest], tables: Mapping[str, object]) -> dict[int, int]:
        """Which member of an account opens each session; from now on the session is known to be the owner's."""
        members = cast("Members", tables[self._rules.members.name])
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


def opened(kept: Grouped) -> list[tuple[int, int, int]]:
    """Sessions of an earlier life: name, subscriber, and when each lapses (us)."""
    payers = np.repeat(kept.keys, np.diff(kept.offsets)).tolist()
    found: dict[int, tuple[int, int, int]] = {}
    for payer, session, until_us in zip(
        payers, kept.rows["session"].tolist(), kept.rows["until_us"].tolist(), strict=True
    ):
        latest = found.get(session, (session, payer, until_us))[2]
        found[session] = session, payer, max(until_us, latest)
    return list(found.values())


def owing(kept: Grouped, rules: OnlineRules) -> list[int]:
    """The subscribers of an earlier life who used what is not charged yet."""
    payers = np.repeat(kept.keys, np.diff(kept.offsets))
    return [int(each) for each in distinct(payers[rules.owing(kept.rows)])]
