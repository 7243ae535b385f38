"""The board of open incidents: what is remembered between batches, as objects that can be reasoned about and as rows.

A row is an incident, an alarm that belongs to one or waits for one, a change that time has not come to yet, or the
clock: the last moment that was judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.network.alarm_words import CARRIED, EVENT_TYPES, FREE, MAINTENANCE, held_numbers
from trunkline.network.causes.graph import problem_words
from trunkline.records.network import CORRELATED, Severity

Rows = npt.NDArray[Any]

CLOCK, INCIDENT, MEMBER, CHANGE = range(4)
ACTIONS = ("raise", "update", "clear", "suppress", "unsuppress")
SAID_OCTETS_MOST = 64
STEP_US = 10_000_000  # what is raised within one step is judged together, so that a cut is one incident and not forty
STANDS_US = 60_000_000  # so long a minor alarm stands before anybody is called: a port that flaps does not
SETTLES_US = 5_000_000  # so long a failure waits for its cause to speak, which may have a slower tongue
_OUTAGES = {
    EVENT_TYPES.index(f"{kind}Alarm")
    for kind in ("communications", "processingError", "environmental", "equipment")
}


@dataclass
class Member:
    """One life of an alarm, in the eyes of correlation."""

    alarm_key: int
    object: int
    problem: int
    raised_us: int
    since_us: int
    severity: int
    event_type: int
    security: bool
    held: int
    said: str
    cleared_us: int = 0
    incident: int = 0
    turned_us: int = (
        0  # when it became as serious, or as slight, as it is; its raise, unless that was changed later
    )

    @property
    def counts(self) -> bool:
        """Whether it stands and is not planned work."""
        return self.cleared_us == 0 and self.held != MAINTENANCE

    @property
    def is_outage(self) -> bool:
        """Whether it takes along what hangs on its object."""
        return self.counts and self.took_along

    @property
    def took_along(self) -> bool:
        """Whether it takes along what hangs on its object, or did until it ended."""
        serious = self.severity <= Severity.MAJOR and not self.security
        return self.held != MAINTENANCE and serious and self.event_type in _OUTAGES

    @property
    def opens_us(self) -> int:
        """From when on an incident is opened for it, if it still stands; what is minor must prove that it lasts."""
        return self.turned_us + _proof_us(self.severity, self.security)

    @property
    def is_serious(self) -> bool:
        """Whether it is worth an incident, by its severity; a warning joins one, and neither opens nor holds it."""
        return self.severity <= Severity.MINOR

    @property
    def opens(self) -> bool:
        """Whether an incident is opened for it: serious, and told or explained by another's outage."""
        return self.counts and self.is_serious and self.held in (FREE, CARRIED)


def _proof_us(severity: Any, security: Any) -> Any:  # noqa: ANN401 -- numbers, or many
    """How long alarms stand before an incident is opened for them."""
    return (SETTLES_US + (severity == Severity.MINOR) * (STANDS_US - SETTLES_US)) * (security == 0)


def opens_within(rows: Rows, after_us: int, until_us: int) -> bool:
    """Whether the time of an alarm that waits for an incident of its own comes within a stretch of steps."""
    waits = (rows["kind"] == MEMBER) & (rows["incident"] == 0) & (rows["cleared_us"] == 0)
    waits &= rows["severity"] <= Severity.MINOR
    turned_us = np.maximum(rows["time_us"], rows["raised_us"])
    opens_us = moment_of(turned_us + _proof_us(rows["severity"], rows["security"]))
    return bool((waits & (after_us < opens_us) & (opens_us <= until_us)).any())


def moment_of(time_us: Any) -> Any:  # noqa: ANN401 -- a number, or many
    """The end of the step a moment lies in."""
    return -(-time_us // STEP_US) * STEP_US


@dataclass
class Incident:
    """What belongs together."""

    word: int
    opened_us: int
    root: int
    cause: int = 0  # problem of the alarm that is held to be the cause; 0 when there is none
    said: str = ""  # by it
    told: int = 0  # digest of what was last told
    members: list[Member] = field(default_factory=list)


@dataclass(frozen=True)
class Change:
    """A change of an alarm that waits until time has come to it."""

    time_us: int
    action: str
    member: Member


@dataclass
class Board:
    """Everything remembered of one component."""

    clock_us: int = 0
    members: dict[tuple[int, int], Member] = field(default_factory=dict)
    incidents: dict[int, Incident] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    @classmethod
    def read(cls, rows: Rows) -> Board:
        """The board out of rows."""
        board = cls()
        names = rows.dtype.names or ()
        for values in rows.tolist():
            row = dict(zip(names, values, strict=True))
            if row["kind"] == CLOCK:
                board.clock_us = row["time_us"]
            elif row["kind"] == INCIDENT:
                board.incidents[row["incident"]] = Incident(
                    row["incident"],
                    row["time_us"],
                    row["object"],
                    row["problem"],
                    _text(row["said"]),
                    row["told"],
                )
            elif row["kind"] == CHANGE:
                board.changes.append(Change(row["time_us"], ACTIONS[row["action"]], _member(row)))
            else:
                member = _member(row)
                member.turned_us = max(row["time_us"], member.raised_us)
                board.members[member.alarm_key, member.raised_us] = member
        for member in board.members.values():
            if member.incident:
                board.incidents[member.incident].members.append(member)
        return board

    def write(self) -> Rows:
        """The board as rows, in an order that depends on nothing but what is on it."""
        rows = [_row(kind=CLOCK, time_us=self.clock_us)]
        rows += [
            _row(
                kind=INCIDENT, incident=i.word, time_us=i.opened_us, object=i.root, problem=i.cause,
                told=i.told, said=i.said.encode(),
            )
            for i in sorted(self.incidents.values(), key=lambda i: i.word)
        ]  # fmt: skip
        rows += [
            _row(kind=MEMBER, time_us=each.turned_us, **_fields(each))
            for _, each in sorted(self.members.items(), key=lambda item: item[0])
        ]
        rows += [
            _row(kind=CHANGE, time_us=each.time_us, action=ACTIONS.index(each.action), **_fields(each.member))
            for each in self.changes
        ]
        return np.array(rows, CORRELATED.dtype)


def waiting(alarms: pl.DataFrame) -> Rows:
    """Changes of alarms (`ALARMS`) as rows that wait; hands that only acknowledge or comment concern nobody here."""
    alarms = alarms.filter(pl.col("action").is_in(ACTIONS))
    rows = np.zeros(len(alarms), CORRELATED.dtype)
    rows["kind"] = CHANGE
    rows["problem"] = problem_words(alarms)
    rows["held"] = held_numbers(alarms["held_by"])
    rows["action"] = [ACTIONS.index(action) for action in alarms["action"].to_list()]
    rows["event_type"] = [
        EVENT_TYPES.index(kind) if kind in EVENT_TYPES else 0 for kind in alarms["event_type"].to_list()
    ]
    rows["raised_us"] = [int(name.partition("-")[2], 16) for name in alarms["alarm_id"].to_list()]
    said = alarms.select(
        pl.when(pl.col("specific_problem").fill_null("") != "")
        .then("specific_problem")
        .otherwise(pl.col("probable_cause").fill_null(""))
    ).to_series()
    rows["said"] = [_cut(text) for text in said.to_list()]
    for column in ("alarm_key", "object", "time_us", "severity", "security"):
        rows[column] = alarms[column].fill_null(0).to_numpy()
    rows["since_us"] = alarms["since_us"].fill_null(alarms["time_us"]).to_numpy()
    return rows


def _cut(text: str) -> bytes:
    """The first octets of a text, no letter cut in two."""
    return text.encode()[:SAID_OCTETS_MOST].decode(errors="ignore").encode()


def _text(octets: bytes) -> str:
    return octets.decode()


def _member(row: dict[str, Any]) -> Member:
    return Member(
        row["alarm_key"], row["object"], row["problem"], row["raised_us"], row["since_us"], row["severity"],
        row["event_type"], bool(row["security"]), row["held"], _text(row["said"]), row["cleared_us"], row["incident"],
        row["raised_us"],
    )  # fmt: skip


def _fields(member: Member) -> dict[str, Any]:
    fields = {**vars(member), "security": int(member.security), "said": member.said.encode()}
    del fields["turned_us"]  # it lies in the row's own time
    return fields


_BLANK = tuple(b"" if name == "said" else 0 for name in CORRELATED.dtype.names or ())


def _row(**values: Any) -> tuple[Any, ...]:  # noqa: ANN401 -- fields of a row
    blank = dict(zip(CORRELATED.dtype.names or (), _BLANK, strict=True))
    return tuple({**blank, **values}.values())
