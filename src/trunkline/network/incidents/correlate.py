"""Correlation: alarms that have one cause become one incident, with that cause, the reason, and whom it hits.

Changes of alarms wait until the data's clock has come to them; then everything raised within one step of ten seconds is
judged together, so that a cut of a link that takes forty cells is one incident and not forty. What belongs together is
found by topology (`explain`), by time (an incident takes alarms in for a quarter of an hour beside its root, and merges
with another that turns out to have the same cause), and by what is known of which alarm brings which about
(`causes`). Security events are never mixed with failures. What is wrong in a whole area is wrong in its cells, and they
open the incident.

Only times of events decide, so the same alarms give the same incidents, however they are cut into batches. The words
that are told are made from what is known then; nobody has to believe a root without its reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.identity import digest_of
from trunkline.network.alarm_words import EVENT_TYPES, MAINTENANCE
from trunkline.network.carriage import Carriage, carriage_of
from trunkline.network.causes.graph import CausalGraph
from trunkline.network.incidents.board import (
    ACTIONS,
    CHANGE,
    CLOCK,
    INCIDENT,
    MEMBER,
    Board,
    Incident,
    Member,
    moment_of,
    opens_within,
    waiting,
)
from trunkline.network.incidents.explain import Explained, Trouble, explain
from trunkline.network.incidents.impact import Promises, Stakes
from trunkline.network.incidents.links import causal_links
from trunkline.network.inventory import Inventory
from trunkline.records.network import CORRELATED, INCIDENTS, Severity

YOUNG_US = 900_000_000  # so long an incident may find another root, or merge
JOINS_US = 86_400_000_000  # so long it takes in what hangs on its root
QUIET_US = 120_000_000  # so long after its last alarm's end it is closed
LOST = EVENT_TYPES.index("communicationsAlarm")
FORGOTTEN_US = 86_400_000_000  # alarms too slight for an incident are let go


@dataclass(frozen=True)
class _World:
    """The tables of one call."""

    carriage: Carriage
    causes: CausalGraph
    stakes: Stakes
    sums: frozenset[
        int
    ]  # areas, technologies, the network: what is wrong in them is wrong in cells of theirs

    def opens(self, member: Member, moment_us: int) -> bool:
        """Whether an incident is opened for an alarm at a moment."""
        return member.opens and moment_of(member.opens_us) <= moment_us and member.object not in self.sums


@dataclass
class _Group:
    """Alarms with one cause, before it is known which incident they belong to."""

    root: int  # object
    explained: Explained | None
    members: list[Member]
    security: bool = False


def collect(alarms: pl.DataFrame, correlated: Grouped) -> Outcome:
    """Put changes of alarms (`ALARMS`) aside until time has come to them."""
    waits = waiting(alarms)
    component = alarms.filter(pl.col("action").is_in(ACTIONS))["component"].to_numpy()
    groups = [
        np.concatenate([correlated.rows[begin:end], waits[component == key]])
        for key, begin, end in zip(
            correlated.keys, correlated.offsets[:-1], correlated.offsets[1:], strict=True
        )
    ]
    return Outcome((), _grouped(correlated, groups))


def correlate(
    pulses: pl.DataFrame,
    correlated: Grouped,
    inventory: Inventory,
    causes: CausalGraph,
    worth: pl.DataFrame,
    agreements: Promises,
) -> Outcome:
    """Judge everything that time (`PULSES`) has come to: `INCIDENTS` that open, change, merge and close."""
    sums = frozenset(inventory.targets.objects.tolist())
    world = _World(carriage_of(inventory), causes, Stakes(inventory, worth, agreements), sums)
    until = dict(pulses.group_by("component").agg(pl.col("time_us").max()).iter_rows())
    groups, told = [], []
    for key, begin, end in zip(
        correlated.keys.tolist(), correlated.offsets[:-1], correlated.offsets[1:], strict=True
    ):
        rows = correlated.rows[begin:end]
        if key in until and _something_due(rows, until[key]):
            board = Board.read(rows)
            told += [{**row, "component": key} for row in _judged(board, until[key], world)]
            rows = board.write()
        groups.append(rows)
    frame = pl.DataFrame(told, schema=INCIDENTS.record.schema, orient="row", infer_schema_length=None)
    return Outcome((frame,), _grouped(correlated, groups))


def _grouped(before: Grouped, groups: list[np.ndarray[Any, Any]]) -> Grouped:
    offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
    return Grouped(before.keys, offsets, np.concatenate([*groups, np.empty(0, CORRELATED.dtype)]))


def _something_due(rows: np.ndarray[Any, Any], until_us: int) -> bool:
    """Whether there is anything to judge; most of the time there is not."""
    due = (rows["kind"] == CHANGE) & (moment_of(rows["time_us"]) <= until_us)
    stands = (rows["kind"] == MEMBER) & (rows["cleared_us"] == 0) & (rows["held"] != MAINTENANCE)
    stands &= rows["severity"] <= Severity.MINOR
    quiet = (rows["kind"] == INCIDENT) & ~np.isin(rows["incident"], rows["incident"][stands])
    clock_us = int(rows["time_us"][rows["kind"] == CLOCK].max(initial=0))
    return bool(due.any() or quiet.any()) or opens_within(rows, clock_us, until_us)


def _judged(board: Board, until_us: int, world: _World) -> list[dict[str, Any]]:
    """What is told of each moment up to `until_us` at which something is due."""
    told: list[dict[str, Any]] = []
    while True:
        dues = [max(moment_of(change.time_us), board.clock_us) for change in board.changes]
        dues += [moment_of(due) for due in map(_closes_us, board.incidents.values()) if due is not None]
        dues += [moment_of(each.opens_us) for each in board.members.values() if _waits(each, board.clock_us)]
        moment_us = min(dues, default=until_us + 1)
        if moment_us > until_us:
            return told
        moment_us = board.clock_us = max(moment_us, board.clock_us)
        touched = _apply(board, moment_us)
        told += _judge(board, touched, moment_us, world)


def _waits(member: Member, clock_us: int) -> bool:
    """Whether an incident may be opened for an alarm later, if it still stands then."""
    return not member.incident and member.opens and moment_of(member.opens_us) > clock_us


def _closes_us(incident: Incident) -> int | None:
    """When an incident is over; None while anything serious of it stands: many warnings are ended by nobody."""
    if any(member.counts and member.is_serious for member in incident.members):
        return None
    return max(member.cleared_us or member.turned_us for member in incident.members) + QUIET_US


def _apply(board: Board, moment_us: int) -> set[int]:
    """Let the changes up to a moment come true, in the order of their times; the incidents they touch."""
    touched = set()
    due = [change for change in board.changes if moment_of(change.time_us) <= moment_us]
    board.changes = [change for change in board.changes if moment_of(change.time_us) > moment_us]
    for change in sorted(due, key=lambda change: change.time_us):
        said, key = change.member, (change.member.alarm_key, change.member.raised_us)
        if change.action == "raise":
            board.members[key] = said
        elif (known := board.members.get(key)) is not None:
            known.held = said.held
            touched.add(known.incident)
            if change.action == "clear":
                known.cleared_us = change.time_us
            else:
                was_serious, known.severity = known.is_serious, said.severity
                if known.is_serious != was_serious:
                    known.turned_us = change.time_us
        elif change.action == "update" and said.is_serious:  # let go as a warning
            said.turned_us = change.time_us
            board.members[key] = said
    board.members = {
        key: member
        for key, member in board.members.items()
        if member.incident or (member.cleared_us == 0 and moment_us - member.turned_us < FORGOTTEN_US)
    }
    return touched


# -- one moment ------------------------------------------------------------------------------------------------


def _judge(board: Board, touched: set[int], moment_us: int, world: _World) -> list[dict[str, Any]]:
    """Group what is new with what is young, give each group to its incident, and tell what has changed."""
    told: list[dict[str, Any]] = []
    young = {i.word for i in board.incidents.values() if moment_us - i.opened_us <= YOUNG_US}
    open_members = [
        member
        for member in board.members.values()
        if member.counts
        and (member.incident in young or (not member.incident and moment_us - member.turned_us <= YOUNG_US))
    ]
    if any(not member.incident for member in open_members):
        by_root: dict[int, list[Incident]] = {}
        for incident in board.incidents.values():
            by_root.setdefault(incident.root, []).append(incident)
        for group in _groups(open_members, world):
            told += _given_to_incident(board, group, by_root, moment_us, world)
            touched |= {member.incident for member in group.members}
    for incident in sorted(board.incidents.values(), key=lambda i: (i.opened_us, i.word)):
        closes_us = _closes_us(incident)
        if closes_us is not None and moment_of(closes_us) <= moment_us:
            told.append(_row(incident, "close", moment_us, world, "Nothing serious of it stands any more."))
            _let_go(board, incident)
        elif incident.word in touched:
            told += _changed(incident, moment_us, world)
    return told


def _groups(members: Iterable[Member], world: _World) -> list[_Group]:
    """Members by their cause, the earliest first."""
    members = sorted(members, key=lambda m: (m.raised_us, m.alarm_key))
    place = {m.object: int(p) for m, p in zip(members, world.carriage.places(_words(members)), strict=True)}
    failing = [m for m in members if not m.security]
    explained = explain(
        (
            Trouble(place[m.object], m.raised_us, m.is_outage, m.is_serious)
            for m in failing
            if place[m.object] >= 0
        ),
        world.carriage,
    )
    groups: dict[tuple[bool, int, int], _Group] = {}
    for member in members:
        why = explained.get(place[member.object]) if not member.security else None
        root = int(world.carriage.objects[why.root]) if why is not None else member.object
        key = (member.security, root, member.problem if member.security else 0)
        group = groups.setdefault(key, _Group(root, why, [], security=member.security))
        group.members.append(member)
    return _joined_by_cause(list(groups.values()), world)


def _words(members: Iterable[Member]) -> np.ndarray[Any, Any]:
    return np.array([member.object for member in members], np.uint64)


def _joined_by_cause(groups: list[_Group], world: _World) -> list[_Group]:
    """Groups of which one is known to bring about the other become one, with the first one's root."""
    failing = [group for group in groups if not group.security]
    links = causal_links([group.members for group in failing], world.carriage, world.causes)
    joined: dict[int, _Group] = dict(enumerate(failing))
    for effect, cause in sorted(links.items(), reverse=True):
        joined[cause].members += joined.pop(effect).members
    return [*joined.values(), *(group for group in groups if group.security)]


def _given_to_incident(
    board: Board, group: _Group, by_root: dict[int, list[Incident]], moment_us: int, world: _World
) -> list[dict[str, Any]]:
    """Put a group's alarms into the incident they belong to: one of theirs, one that has their root, or a new one."""
    own = {member.incident for member in group.members if member.incident}
    own |= {word for word in _with_root(by_root, group, moment_us, world) if word in board.incidents}
    known = sorted(own, key=lambda word: (board.incidents[word].opened_us, word))
    told: list[dict[str, Any]] = []
    if known:
        incident = board.incidents[known[0]]
        if len(known) > 1 or _better_root(incident, group, world):
            incident.root = group.root
    elif any(world.opens(member, moment_us) for member in group.members):
        first = min(group.members, key=lambda m: (m.raised_us, m.alarm_key))
        name = f"{group.root}|{moment_us}|{first.alarm_key}|{first.raised_us}"
        incident = Incident(digest_of(name)[0], moment_us, group.root)
        board.incidents[incident.word] = incident
    else:
        return []
    for member in group.members:
        if not member.incident:
            member.incident = incident.word
            incident.members.append(member)
    for word in known[1:]:
        other = board.incidents[word]
        told.append(
            _row(
                other,
                "close",
                moment_us,
                world,
                f"It has the same cause as {incident.word:016x} and goes on there.",
            )
        )
        for member in other.members:
            member.incident = incident.word
        incident.members += other.members
        other.members = []
        del board.incidents[word]
    return told


def _better_root(incident: Incident, group: _Group, world: _World) -> bool:
    """Whether a group's root explains more than the incident's: it carries that one, or alone has spoken itself.

    So recovery, in which less and less is in trouble, takes nothing back of what was found out.
    """
    chain = world.carriage.chain(world.carriage.place(incident.root))
    above = {int(world.carriage.objects[each]) for each in chain[1:]}
    spoken = any(member.is_outage for member in incident.members if member.object == incident.root)
    speaks = group.explained is not None and group.explained.own
    return group.root in above or (speaks and not spoken)


def _with_root(by_root: dict[int, list[Incident]], group: _Group, moment_us: int, world: _World) -> set[int]:
    """Open incidents about the group's root, or lately opened about an outage of what carries it."""
    carriage = world.carriage
    chain = [int(carriage.objects[place]) for place in carriage.chain(carriage.place(group.root))]
    found = set()
    for root in chain or [group.root]:
        for incident in by_root.get(root, []):
            security = any(member.security for member in incident.members)
            if security != group.security or (
                security and incident.members[0].problem != group.members[0].problem
            ):
                continue
            lately = moment_us - incident.opened_us <= JOINS_US
            # What comes to light as an outage ends, such as a rate over all of it, belongs to it too.
            outage = any(member.took_along for member in incident.members if member.object == root)
            if root == group.root or (lately and outage and not security):
                found.add(incident.word)
    return found


def _let_go(board: Board, incident: Incident) -> None:
    """Forget a closed incident and its alarms."""
    del board.incidents[incident.word]
    for member in incident.members:
        del board.members[member.alarm_key, member.raised_us]


# -- what is told ------------------------------------------------------------------------------------------------


def _changed(incident: Incident, moment_us: int, world: _World) -> list[dict[str, Any]]:
    """An incident's row if it says anything that was not told before."""
    action = "update" if incident.told else "open"
    row = _row(incident, action, moment_us, world, "")
    said = {name: value for name, value in row.items() if name not in ("time_us", "action")}
    told = digest_of(repr(said))[0] or 1
    if told == incident.told:
        return []
    incident.told = told
    return [row]


def _row(incident: Incident, action: str, moment_us: int, world: _World, ending: str) -> dict[str, Any]:
    """What is known of an incident now; at its end, of everything that it has hit."""
    closing = action == "close"
    members = incident.members if closing else [member for member in incident.members if member.counts]
    members = members or incident.members
    chosen = _cause(incident, members, world)
    if chosen is not None:
        incident.cause, incident.said = chosen.problem, chosen.said
    impact = world.stakes.impact(_affected(members, world))
    return {
        "incident_id": f"{incident.word:016x}",
        "time_us": moment_us,
        "action": action,
        "root_object": incident.root,
        "root_name": world.carriage.names_of(np.array([incident.root], np.uint64))[0],
        "cause": incident.said or _seen_behind(members),
        "why": " ".join(filter(None, [_why(incident, members, world), ending])),
        "objects": impact.objects,
        "alarms": len(incident.members),
        "subscribers": impact.subscribers,
        "micros_per_minute": impact.micros_per_minute,
        "severity": min((member.severity for member in members), default=int(Severity.INDETERMINATE)),
        "opened_us": incident.opened_us,
        "began_us": min(member.since_us for member in _serious(incident.members)),
        "at_risk": impact.at_risk,
        "actor": "",
        "note": None,
    }


def _serious(members: list[Member]) -> list[Member]:
    """Those that are worth an incident; all of them where by now none is."""
    return [member for member in members if member.is_serious] or members


def _cause(incident: Incident, members: list[Member], world: _World) -> Member | None:
    """The alarm on the root that is known to bring most of the others about, or was there first."""
    own = [member for member in members if member.object == incident.root]
    if not own:
        return None
    problems = np.array(sorted({member.problem for member in members}), np.uint64)

    def rank(member: Member) -> tuple[int, int, int, int]:
        strengths = world.causes.strengths(np.full(len(problems), member.problem, np.uint64), problems)
        return (-int(strengths.sum()), not member.is_outage, member.raised_us, member.alarm_key)

    return min(own, key=rank)


def _seen_behind(members: list[Member]) -> str:
    """What most of those behind a root show that has raised no alarm itself; of equals the first by name."""
    showing: dict[str, set[int]] = {}
    for member in members:
        showing.setdefault(member.said, set()).add(member.object)
    said, objects = min(showing.items(), key=lambda each: (-len(each[1]), each[0]))
    return f"{said or 'trouble'} of {len(objects)} behind it"


def _affected(members: list[Member], world: _World) -> np.ndarray[Any, Any]:
    """Objects with alarms, and everything that can only be reached through one that has lost its connection."""
    carriage = world.carriage
    found = {member.object for member in members}
    lost = {
        m.object for m in members if m.is_outage and m.severity == Severity.CRITICAL and m.event_type == LOST
    }
    for place in carriage.places(np.array(sorted(lost), np.uint64)).tolist():
        if place >= 0 and carriage.carries[place]:
            found.update(carriage.objects[carriage.below(place)].tolist())
    return np.array(sorted(found), np.uint64)


def _why(incident: Incident, members: list[Member], world: _World) -> str:
    """Why the root is held to be the cause, in sentences."""
    carriage = world.carriage
    place = carriage.place(incident.root)
    name = carriage.names[place] if place >= 0 else "The object"
    if any(member.security for member in members):
        return f"{name} reports a security event; it is never explained by a failure."
    cells = int(carriage.cells[place]) if place >= 0 else 0
    showing = sorted({member.object for member in members if member.object != incident.root})
    places = carriage.places(np.array(showing, np.uint64)).tolist()
    hanging = [each >= 0 and place in carriage.chain(each) for each in places]
    shown = sum(hangs and bool(carriage.is_cell[each]) for hangs, each in zip(hanging, places, strict=True))
    own = any(member.object == incident.root for member in members)
    if own and shown:
        said = (
            f"{name} raised an alarm itself, and {shown} of the {cells} cells "
            "that can only be reached through it show trouble."
        )
    elif own:
        said = f"{name} raised the alarm itself, and nothing that carries it does."
    elif place >= 0:
        said = (
            f"{shown} of the {cells} cells that can only be reached through {name} show trouble at once; "
            "it has raised no alarm itself, and nothing smaller explains them."
        )
    else:
        said = ""
    beyond = {each for each, hangs in zip(showing, hanging, strict=True) if not hangs}
    return " ".join(filter(None, [said, _known_link(members, beyond, world)]))


def _known_link(members: list[Member], beyond: set[int], world: _World) -> str:
    """What the causal graph says of objects that do not hang on the root: its strongest edge to them, in words."""
    pairs = (
        {
            (one.problem, other.problem): (one.said, other.said)
            for one in members
            for other in members
            if one.object not in beyond and other.object in beyond
        }
        if beyond
        else {}
    )
    if not pairs:
        return ""
    ordered = sorted(pairs)
    strengths = world.causes.strengths(*(np.array(each, np.uint64) for each in zip(*ordered, strict=True)))
    strongest = int(np.argmax(strengths))
    if strengths[strongest] == 0:
        return ""
    cause, effect = pairs[ordered[strongest]]
    return (
        f"Elsewhere: {cause} is known to bring about {effect} ({int(strengths[strongest])} in 1,000 times)."
    )
