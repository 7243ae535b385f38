"""The life of an alarm (ITU-T X.733): raised, changed, acknowledged, cleared; held back when a rule says so.

One alarm of a key stands at a time. A raise of an alarm that stands changes it or is counted as a repetition; a clear
ends it. Three rules may hold an alarm back: a maintenance window over its object or over anything that carries it,
damping when it comes and goes, and an outage of what carries its object. An alarm that is held back is in the list like
any other and names its rule; nobody is called for it. When the rule no longer holds and the alarm still stands, it is
told. Ends are always told. Slight alarms that nobody ends (a customer's complaint, a scan of ports) lapse.

Signals are treated in the order in which they come. What time alone brings about, an alarm's release or lapse, happens
at its own moment, and is done before anything later touches that alarm; so it does not matter where batches end.

Everything that was raised is accounted for at every moment:
raised = active + cleared + deduplicated + suppressed + correlated. An alarm that ends while it is held back stays with
what held it back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.kernel.grouping import locate, order_by_group
from trunkline.network.alarm_words import CARRIED, EVENT_TYPES, FLAPPING, FREE, MAINTENANCE, held_by
from trunkline.network.alarms.rules import SECOND_US, AlarmRules
from trunkline.network.carriage import Carriage, carriage_of
from trunkline.network.inventory import Inventory
from trunkline.records.network import ALARM_COUNTS, ALARMED, ALARMS, Severity

Array = npt.NDArray[Any]

ACTIONS = ("", "raise", "update", "clear", "ack", "unack", "comment", "suppress", "unsuppress", "delete")
RAISE, UPDATE, CLEAR, ACK, UNACK, COMMENT, SUPPRESS, UNSUPPRESS, DELETE = range(1, 10)
REMEMBERED_US = (
    86_400 * SECOND_US
)  # how long an ended alarm is known: to know what comes late, and to acknowledge it

_NEVER = 2**62
_MIX = np.uint64(0x9E3779B97F4A7C15)
_CLEARED = int(Severity.CLEARED)
_MAJOR = int(Severity.MAJOR)
_MINOR = int(Severity.MINOR)
_SUMS = ("raised", "cleared", "deduplicated", "suppressed", "correlated", "unmatched")

_CHANGE = np.dtype(
    [
        ("signal", "i8"), ("alarm_key", "u8"), ("object", "u8"), ("held_ref", "u8"),
        ("time_us", "i8"), ("raised_us", "i8"), ("since_us", "i8"),
        ("action", "u1"), ("severity", "u1"), ("event_type", "u1"), ("security", "u1"), ("held", "u1"),
    ]
)  # fmt: skip


class World(NamedTuple):
    """The tables as the loops read them."""

    carrier: Array
    carries: Array
    objects: Array
    window_objects: Array
    window_first: Array
    window_of: Array
    window_begin_us: Array
    window_end_us: Array
    window_words: Array
    penalty: int
    hold_from: int
    release_at: int
    most: int
    half_life_us: int
    before_us: int
    within_us: int
    grace_us: int
    slight_us: int


class Index(NamedTuple):
    """Where rows are found: by key, and all rows of one object one after the other."""

    by_key: Array
    by_object: Array
    following: Array
    place: Array  # of the row's object in the carriage


class Asked(NamedTuple):
    """The signals as the loops read them."""

    alarm_key: Array
    object: Array
    place: Array
    time_us: Array
    since_us: Array
    action: Array
    severity: Array
    event_type: Array
    security: Array
    lasting: Array  # whether a clear without an alarm is remembered, because the alarm may be on its way


# -- steps ---------------------------------------------------------------------------------------------------


def alarm(signals: pl.DataFrame, alarmed: Grouped, inventory: Inventory, rules: AlarmRules) -> Outcome:
    """Lead `SIGNALS` to `ALARMS` and `ALARM_COUNTS`; state: what stands, what ended lately, and the sums."""
    return _lead(signals, alarmed, inventory, rules)


def release(pulses: pl.DataFrame, alarmed: Grouped, inventory: Inventory, rules: AlarmRules) -> Outcome:
    """Let time pass (`PULSES`): tell what is no longer held back and still stands; forget what ended a day ago."""
    times = pulses.select("component", "time_us").unique().sort("component", "time_us")
    return _lead(times, alarmed, inventory, rules)


def _lead(rows: pl.DataFrame, alarmed: Grouped, inventory: Inventory, rules: AlarmRules) -> Outcome:
    """Signals, or moments when there is no column `alarm_key`, component by component."""
    carriage = carriage_of(inventory)
    world = _world(carriage, rules)
    asked = _asked(rows, carriage)
    order, first = order_by_group(locate(alarmed.keys, rows["component"].to_numpy()), len(alarmed))
    groups, changes, parts = [], [], []
    for number in range(len(alarmed)):
        before = alarmed.rows[alarmed.offsets[number] : alarmed.offsets[number + 1]]
        place = carriage.places(np.ascontiguousarray(before["object"]))
        mine = order[first[number] : first[number + 1]]
        after, changed = _live(before, place, asked, mine, world)
        groups.append(after)
        changes.append(changed)
        parts.append(np.full(len(changed), alarmed.keys[number], np.uint64))
    offsets = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
    state = Grouped(alarmed.keys, offsets, np.concatenate([*groups, np.empty(0, ALARMED.dtype)]))
    changed = np.concatenate([*changes, np.empty(0, _CHANGE)])
    told = _told(rows, changed, np.concatenate([*parts, np.empty(0, np.uint64)]), carriage, rules)
    return Outcome((told, counts(state)), state)


def counts(alarmed: Grouped) -> pl.DataFrame:
    """The arithmetic of each component, out of what is remembered (`ALARM_COUNTS`); asserts that it holds."""
    rows = alarmed.rows
    owner = np.repeat(np.arange(len(alarmed)), np.diff(alarmed.offsets))
    standing, held = rows["standing"] == 1, rows["held"]

    def summed(values: Array) -> Array:
        total = np.zeros(len(alarmed), np.int64)
        np.add.at(total, owner, values)
        return total

    sums = {name: summed(rows[name]) for name in _SUMS}
    sums["active"] = summed(standing & (held == FREE))
    sums["suppressed"] += summed(standing & ((held == MAINTENANCE) | (held == FLAPPING)))
    sums["correlated"] += summed(standing & (held == CARRIED))
    out = sums["active"] + sums["cleared"] + sums["deduplicated"] + sums["suppressed"] + sums["correlated"]
    assert np.array_equal(sums["raised"], out), "every raise is somewhere"
    return ALARM_COUNTS.record.conform(pl.DataFrame({"component": alarmed.keys, **sums}))


def _world(carriage: Carriage, rules: AlarmRules) -> World:
    windows, damping, hold = rules.compiled, rules.damping, rules.hold_back
    return World(
        carriage.carrier,
        carriage.carries,
        carriage.objects,
        windows.objects,
        windows.first,
        windows.of,
        windows.begin_us,
        windows.end_us,
        windows.words,
        damping.penalty,
        damping.hold_from,
        damping.release_at,
        damping.most,
        damping.half_life_s * SECOND_US,
        hold.before_s * SECOND_US,
        hold.within_s * SECOND_US,
        hold.grace_s * SECOND_US,
        rules.lapse.slight_s * SECOND_US,
    )


def _asked(rows: pl.DataFrame, carriage: Carriage) -> Asked:
    time_us = rows["time_us"].to_numpy()
    if "alarm_key" not in rows.columns:
        none = np.empty(0, np.uint8)
        words = np.empty(0, np.uint64)
        return Asked(words, words, np.empty(0, np.int64), time_us, time_us, none, none, none, none, none)
    types = pl.DataFrame({"event_type": EVENT_TYPES, "code": range(len(EVENT_TYPES))})
    actions = pl.DataFrame({"action": ACTIONS, "code": range(len(ACTIONS))})
    since = rows["since_us"] if "since_us" in rows.columns else rows["time_us"]
    objects = rows["object"].fill_null(0).to_numpy()
    action = _coded(rows["action"], actions)
    assert bool((action > 0).all()), "a signal says what it does"
    assert bool((rows["alarm_key"] != 0).all()), "an alarm has a key"
    return Asked(
        rows["alarm_key"].to_numpy(),
        objects,
        carriage.places(objects),
        time_us,
        since.fill_null(rows["time_us"]).to_numpy(),
        action,
        rows["severity"].fill_null(int(Severity.INDETERMINATE)).to_numpy(),
        _coded(rows["event_type"], types),
        rows["security"].fill_null(0).to_numpy(),
        (rows["origin"].fill_null("event") == "event").cast(pl.UInt8).to_numpy(),
    )


def _coded(texts: pl.Series, codes: pl.DataFrame) -> Array:
    """The number of each text; 0 for one that has none."""
    name = codes.columns[0]
    found = texts.rename(name).to_frame().join(codes, on=name, how="left", maintain_order="left")
    return found["code"].fill_null(0).cast(pl.UInt8).to_numpy()


def _told(
    rows: pl.DataFrame, changed: Array, component: Array, carriage: Carriage, rules: AlarmRules
) -> pl.DataFrame:
    """The changes as rows of `ALARMS`; what the signal did not bring along is null: it is as it was."""
    signal = changed["signal"]
    brought = signal >= 0
    names = pl.Series(carriage.names_of(np.ascontiguousarray(changed["object"])), dtype=pl.String)
    types = pl.Series(EVENT_TYPES)[changed["event_type"]]
    frame = pl.DataFrame(
        {
            "alarm_id": alarm_ids(changed["alarm_key"], changed["raised_us"]),
            "alarm_key": changed["alarm_key"],
            "object": changed["object"],
            "time_us": changed["time_us"],
            "action": pl.Series(ACTIONS)[changed["action"]],
            "severity": changed["severity"],
            "held_by": _rules_named(changed, carriage, rules),
            "root": np.where(changed["held"] == CARRIED, changed["held_ref"], np.uint64(0)),
            "security": changed["security"],
            "since_us": changed["since_us"],
            "component": component,
            "name": names,
            "event_type": types,
            "actor": pl.repeat("", len(changed), eager=True),
            "text": pl.select(
                pl.when(pl.lit(pl.Series(~brought & (changed["action"] == CLEAR)))).then(
                    pl.lit(f"taken to be over: not told again for {rules.lapse.slight_s:,} s")
                )
            ).to_series(),
        }
    )
    if "alarm_key" in rows.columns:
        said = rows[np.where(brought, signal, 0)].select(
            "name", "event_type", "probable_cause", "specific_problem", "text", "actor"
        )
        said = said.with_columns(
            pl.when(pl.lit(pl.Series(brought))).then(pl.col(column)).otherwise(None)
            for column in said.columns
        )
        frame = frame.with_columns(
            name=pl.coalesce(said["name"], frame["name"]),
            event_type=pl.coalesce(said["event_type"], frame["event_type"]),
            probable_cause=said["probable_cause"],
            specific_problem=said["specific_problem"],
            text=pl.coalesce(said["text"], frame["text"]),
            actor=said["actor"].fill_null(""),
        )
    return ALARMS.record.conform(frame)


def alarm_ids(keys: Array, raised_us: Array) -> list[str]:
    """An alarm's name: its key, and when it was first raised; the next life of the same key has another."""
    return [f"{key:016x}-{raised:x}" for key, raised in zip(keys.tolist(), raised_us.tolist(), strict=True)]


def key_of(alarm_id: str) -> int:
    """The key of the alarm that is called so; raises `ValueError` for what is no alarm's name."""
    return int(alarm_id.partition("-")[0], 16)


def _rules_named(changed: Array, carriage: Carriage, rules: AlarmRules) -> list[str]:
    """By which rule each is held back: `maintenance:<window>`, `flapping`, `carried_by:<object>`, or nothing."""
    carriers = carriage.names_of(np.ascontiguousarray(changed["held_ref"]))
    windows = rules.window_names
    return [
        held_by(held, windows.get(ref, "ended") if held == MAINTENANCE else carrier or format(ref, "016x"))
        for held, ref, carrier in zip(
            changed["held"].tolist(), changed["held_ref"].tolist(), carriers, strict=True
        )
    ]


# -- loops ---------------------------------------------------------------------------------------------------


@nb.njit(nogil=True, cache=True)
def _slot_of_key(rows: Array, slots: Array, key: int) -> int:
    mask = len(slots) - 1
    slot = nb.int64((nb.uint64(key) * _MIX) >> nb.uint64(32)) & mask
    while slots[slot] >= 0 and rows[slots[slot]].alarm_key != key:
        slot = (slot + 1) & mask
    return slot


@nb.njit(nogil=True, cache=True)
def _slot_of_object(rows: Array, slots: Array, thing: int) -> int:
    mask = len(slots) - 1
    slot = nb.int64((nb.uint64(thing) * _MIX) >> nb.uint64(32)) & mask
    while slots[slot] >= 0 and rows[slots[slot]].object != thing:
        slot = (slot + 1) & mask
    return slot


@nb.njit(nogil=True, cache=True)
def _enter(rows: Array, ix: Index, at: int, place: int) -> None:
    """Make a row findable."""
    ix.by_key[_slot_of_key(rows, ix.by_key, rows[at].alarm_key)] = at
    slot = _slot_of_object(rows, ix.by_object, rows[at].object)
    ix.following[at] = ix.by_object[slot]
    ix.by_object[slot] = at
    ix.place[at] = place


@nb.njit(nogil=True, cache=True)
def _window_over(w: World, thing: int, place: int, time_us: int) -> int:
    """A maintenance window over an object, or over anything that carries it, at a moment; -1 for none."""
    while True:
        at = np.searchsorted(w.window_objects, nb.uint64(thing))
        if at < len(w.window_objects) and w.window_objects[at] == thing:
            for number in range(w.window_first[at], w.window_first[at + 1]):
                window = w.window_of[number]
                if w.window_begin_us[window] <= time_us < w.window_end_us[window]:
                    return window
        if place < 0 or w.carrier[place] < 0:
            return -1
        place = w.carrier[place]
        thing = w.objects[place]


@nb.njit(nogil=True, cache=True)
def _is_outage(row: Any) -> bool:  # noqa: ANN401 -- a row
    """Whether an alarm takes what hangs on its object along: serious, and no matter of quality or security."""
    kind = row.event_type
    serious = row.standing == 1 and row.severity <= _MAJOR and row.security == 0
    return serious and (kind == 1 or kind == 2 or kind == 3 or kind == 5)


@nb.njit(nogil=True, cache=True)
def _is_symptom(row: Any) -> bool:  # noqa: ANN401 -- a row
    """Whether an alarm tells of lost or bad service, which may have its cause elsewhere."""
    return row.security == 0 and (row.event_type == 1 or row.event_type == 4)


@nb.njit(nogil=True, cache=True)
def _outage_over(w: World, rows: Array, ix: Index, at: int) -> tuple[int, int]:
    """The outage nearest to the core that explains an alarm, and until when it does (`_NEVER` while it stands)."""
    found, until_us = nb.int64(-1), nb.int64(-1)
    place = ix.place[at]
    raised_us = rows[at].raised_us
    while place >= 0 and w.carrier[place] >= 0:
        place = w.carrier[place]
        other = ix.by_object[_slot_of_object(rows, ix.by_object, w.objects[place])]
        while other >= 0:
            row = rows[other]
            near = row.raised_us - w.before_us <= raised_us <= row.raised_us + w.within_us
            if near and _is_outage(row):
                found, until_us = other, _NEVER
            elif near and row.eased_us > 0 and row.eased_us + w.grace_us > until_us:
                found, until_us = other, row.eased_us + w.grace_us
            other = ix.following[other]
    return found, until_us


@nb.njit(nogil=True, cache=True)
def _outage_until(w: World, rows: Array, ix: Index, thing: int) -> int:
    """Until when the outages of one object explain what they have begun to explain; one that returns goes on."""
    until_us = nb.int64(0)
    other = ix.by_object[_slot_of_object(rows, ix.by_object, thing)]
    while other >= 0:
        if _is_outage(rows[other]):
            return _NEVER
        if rows[other].eased_us > 0:
            until_us = max(until_us, rows[other].eased_us + w.grace_us)
        other = ix.following[other]
    return until_us


@nb.njit(nogil=True, cache=True)
def _hold(w: World, rows: Array, ix: Index, at: int, time_us: int) -> None:
    """Write into an alarm which rule holds it back at a moment; the first that does, in the order of their numbers."""
    row = rows[at]
    row.held, row.held_ref, row.held_us = FREE, 0, time_us
    window = _window_over(w, row.object, ix.place[at], time_us)
    if window >= 0:
        row.held, row.held_ref = MAINTENANCE, w.window_words[window]
        return
    if row.damped_until_us > time_us:
        row.held = FLAPPING
        return
    if _is_symptom(row):
        found, until_us = _outage_over(w, rows, ix, at)
        if found >= 0 and until_us > time_us:
            row.held, row.held_ref = CARRIED, rows[found].object


@nb.njit(nogil=True, cache=True)
def _held_until(w: World, rows: Array, ix: Index, at: int, now_us: int) -> int:
    """When the rule that holds an alarm back ends, looking no further than `now_us`."""
    row = rows[at]
    if row.held == FLAPPING:
        return row.damped_until_us
    if row.held == CARRIED:
        return _outage_until(w, rows, ix, row.held_ref)
    end_us = row.held_us
    while end_us <= now_us:
        window = _window_over(w, row.object, ix.place[at], end_us)
        if window < 0:
            return now_us if end_us == row.held_us else end_us  # the operator has taken the window away
        end_us = w.window_end_us[window]
    return end_us


@nb.njit(nogil=True, cache=True)
def _write(changes: Array, count: int, rows: Array, at: int, signal: int, action: int, time_us: int) -> int:
    """Append a change of an alarm as it stands now."""
    row, change = rows[at], changes[count]
    change.signal, change.action, change.time_us = signal, action, time_us
    change.alarm_key, change.object = row.alarm_key, row.object
    change.raised_us, change.since_us = row.raised_us, row.since_us
    change.severity = _CLEARED if action == CLEAR else row.severity
    change.event_type, change.security = row.event_type, row.security
    change.held, change.held_ref = row.held, row.held_ref
    return count + 1


@nb.njit(nogil=True, cache=True)
def _catch_up(
    w: World, rows: Array, ix: Index, at: int, now_us: int, changes: Array, count: int
) -> tuple[Array, int]:
    """Do what time has brought about for one alarm up to a moment: let it go over to another rule or none, or lapse."""
    row = rows[at]
    if row.standing == 0:
        return changes, count
    lapses_us = row.last_us + w.slight_us if row.severity > _MINOR else nb.int64(_NEVER)
    until_us = min(now_us, lapses_us)
    while row.held != FREE:
        end_us = max(_held_until(w, rows, ix, at, until_us), row.held_us)
        if end_us > until_us:
            break
        _hold(w, rows, ix, at, end_us)
        changes = _room(changes, count, 1)
        action = UNSUPPRESS if row.held == FREE else SUPPRESS
        count = _write(changes, count, rows, at, -1, action, end_us)
    if lapses_us <= now_us:
        changes = _room(changes, count, 1)
        count = _write(changes, count, rows, at, -1, CLEAR, lapses_us)
        _end(row, lapses_us, was_outage=False)
    return changes, count


@nb.njit(nogil=True, cache=True)
def _room(changes: Array, count: int, more: int) -> Array:
    """The changes, with room for more of them."""
    if count + more <= len(changes):
        return changes
    larger = np.empty(2 * len(changes) + more, _CHANGE)
    larger[:count] = changes[:count]
    return larger


@nb.njit(nogil=True, cache=True)
def _faded(w: World, penalty: int, elapsed_us: int) -> int:
    """What is left of a penalty: halved each half-life, in a straight line between; each halving rounds down."""
    if elapsed_us <= 0:
        return penalty
    halvings = elapsed_us // w.half_life_us
    if halvings > 40:
        return 0
    penalty >>= halvings
    rest_us = elapsed_us - halvings * w.half_life_us
    return penalty - penalty * rest_us // (2 * w.half_life_us)


@nb.njit(nogil=True, cache=True)
def _fading_us(w: World, penalty: int) -> int:
    """How long until a penalty has faded to the figure at which an alarm is released; rounded up."""
    elapsed_us = nb.int64(0)
    while penalty >> 1 >= w.release_at and penalty > w.release_at:
        penalty >>= 1
        elapsed_us += w.half_life_us
    if penalty > w.release_at:
        elapsed_us += -(-2 * w.half_life_us * (penalty - w.release_at) // penalty)
    return elapsed_us


@nb.njit(nogil=True, cache=True)
def _damp(w: World, row: Any, time_us: int) -> None:  # noqa: ANN401 -- a row
    """Charge an alarm for coming back."""
    left = _faded(w, nb.int64(row.penalty), time_us - row.penalty_us)
    left = min(left + w.penalty, w.most)
    row.penalty, row.penalty_us = left, max(time_us, row.penalty_us)
    if left >= w.hold_from or (row.damped_until_us > time_us and left > w.release_at):
        row.damped_until_us = time_us + _fading_us(w, left)


@nb.njit(nogil=True, cache=True)
def _end(row: Any, time_us: int, was_outage: bool) -> None:  # noqa: ANN401 -- a row
    """End an alarm, and count it where it stood."""
    if row.held == FREE:
        row.cleared += 1
    elif row.held == CARRIED:
        row.correlated += 1
    else:
        row.suppressed += 1
    row.standing = 0
    row.cleared_us = time_us
    row.lone_clear = 0
    if was_outage:
        row.eased_us = time_us


@nb.njit(nogil=True, cache=True)
def _hangs_on(w: World, place: int, carrier: int) -> bool:
    while place >= 0:
        place = w.carrier[place]
        if place == carrier:
            return True
    return False


@nb.njit(nogil=True, cache=True)
def _let_hanging_catch_up(
    w: World, rows: Array, ix: Index, at: int, written: int, time_us: int, changes: Array, count: int
) -> tuple[Array, int]:
    """Before an outage begins or ends, do what time has brought about for what hangs on its object."""
    place = ix.place[at]
    if place >= 0 and w.carries[place]:
        for other in range(1, written):
            if rows[other].held != FREE and other != at and _hangs_on(w, ix.place[other], place):
                changes, count = _catch_up(w, rows, ix, other, time_us, changes, count)
    return changes, count


@nb.njit(nogil=True, cache=True)
def _stand(
    w: World, rows: Array, ix: Index, at: int, written: int, severity: int, time_us: int, action: int, signal: int,
    changes: Array, count: int,
) -> tuple[Array, int]:  # fmt: skip
    """Let an alarm stand with a severity; a new outage holds back what hangs on it and was raised about that time."""
    row = rows[at]
    was_outage = _is_outage(row)
    row.standing, row.severity = 1, severity
    if action == RAISE:
        _hold(w, rows, ix, at, time_us)
    changes = _room(changes, count, 1)
    count = _write(changes, count, rows, at, signal, action, time_us)
    is_outage = _is_outage(row)
    if was_outage and not is_outage:
        row.eased_us = time_us
    place = ix.place[at]
    if was_outage or not is_outage or place < 0 or not w.carries[place]:
        return changes, count
    for other in range(1, written):
        child = rows[other]
        if child.standing == 0 or child.held != FREE or not _is_symptom(child):
            continue
        if _hangs_on(w, ix.place[other], place):
            found, until_us = _outage_over(w, rows, ix, other)
            if found >= 0 and until_us > time_us:
                child.held, child.held_ref, child.held_us = CARRIED, rows[found].object, time_us
                changes = _room(changes, count, 1)
                count = _write(changes, count, rows, other, -1, SUPPRESS, time_us)
    return changes, count


@nb.njit(nogil=True, cache=True)
def _live(before: Array, place: Array, asked: Asked, mine: Array, w: World) -> tuple[Array, Array]:
    """One component's alarms through its signals, or through moments; rows ascend by key, the sums first."""
    most = len(before) + len(mine) + 1
    rows = np.zeros(most, before.dtype)
    size = nb.int64(16)
    while size < 2 * most:
        size *= 2
    ix = Index(
        np.full(size, -1, np.int64),
        np.full(size, -1, np.int64),
        np.full(most, -1, np.int64),
        np.full(most, -1, np.int64),
    )
    written = nb.int64(1)  # row 0 is the sum
    for at in range(len(before)):
        if before[at].alarm_key == 0:
            rows[0] = before[at]
            continue
        rows[written] = before[at]
        _enter(rows, ix, written, place[at])
        written += 1
    changes = np.empty(max(64, 2 * len(mine)), _CHANGE)
    count = nb.int64(0)
    if len(asked.alarm_key) == 0:
        now_us = asked.time_us[mine[0]] if len(mine) else nb.int64(0)
        for number in range(len(mine)):
            now_us = max(now_us, asked.time_us[mine[number]])
            for at in range(1, written):
                changes, count = _catch_up(w, rows, ix, at, now_us, changes, count)
        return _kept(rows[:written], now_us), changes[:count].copy()
    for number in range(len(mine)):
        signal = mine[number]
        written, changes, count = _take(asked, signal, w, rows, ix, written, changes, count)
    return _kept(rows[:written], -_NEVER), changes[:count].copy()


@nb.njit(nogil=True, cache=True)
def _kept(rows: Array, now_us: int) -> Array:
    """Rows ascending by key, without those that ended a day before `now_us`, whose figures join the sum."""
    kept = np.empty(len(rows), np.bool_)
    for at in range(len(rows)):
        row = rows[at]
        newest_us = max(row.cleared_us, row.last_us)
        kept[at] = at == 0 or row.standing == 1 or newest_us > now_us - REMEMBERED_US
        if not kept[at]:
            rows[0].raised += row.raised
            rows[0].cleared += row.cleared
            rows[0].deduplicated += row.deduplicated
            rows[0].suppressed += row.suppressed
            rows[0].correlated += row.correlated
            rows[0].unmatched += row.unmatched
    places = np.flatnonzero(kept)
    keys = np.empty(len(places), np.uint64)
    for number in range(len(places)):
        keys[number] = rows[places[number]].alarm_key
    order = np.argsort(keys)
    remaining = np.empty(len(places), rows.dtype)
    for number in range(len(places)):
        remaining[number] = rows[places[order[number]]]
    return remaining


@nb.njit(nogil=True, cache=True)
def _take(
    asked: Asked, signal: int, w: World, rows: Array, ix: Index, written: int, changes: Array, count: int
) -> tuple[int, Array, int]:
    """One signal."""
    time_us, action, severity = asked.time_us[signal], asked.action[signal], asked.severity[signal]
    if action == DELETE or (action == RAISE and severity == _CLEARED):
        action = nb.uint8(CLEAR)
    at = ix.by_key[_slot_of_key(rows, ix.by_key, asked.alarm_key[signal])]
    changes = _room(changes, count, 4)
    if at < 0:
        if action != RAISE and not (action == CLEAR and asked.lasting[signal]):
            rows[0].unmatched += 1
            return written, changes, count
        at = written
        rows[at].alarm_key, rows[at].object = asked.alarm_key[signal], asked.object[signal]
        _enter(rows, ix, at, asked.place[signal])
        written += 1
    changes, count = _catch_up(w, rows, ix, at, time_us, changes, count)
    changes = _room(changes, count, 4)
    row = rows[at]
    was_outage = _is_outage(row)
    fresh = row.standing == 0 and row.eased_us > 0  # a new life forgets when the outage before it began
    may_begin = action in (RAISE, UPDATE) and not was_outage and (severity <= _MAJOR or fresh)
    may_end = was_outage and (action == CLEAR or severity != row.severity)
    if may_begin or may_end:
        changes, count = _let_hanging_catch_up(w, rows, ix, at, written, time_us, changes, count)
    if action == RAISE:
        row.raised += 1
        late = row.standing == 0 and row.cleared_us > time_us
        if late and row.lone_clear == 0:
            row.deduplicated += 1
            return written, changes, count
        if row.standing == 1:
            row.deduplicated += 1
            if time_us < row.last_us:
                return written, changes, count
            row.last_us = time_us
            if severity == row.severity:
                return written, changes, count
            new_action = UPDATE
        else:
            if row.raised_us > 0 and not late:
                _damp(w, row, time_us)
            row.raised_us, row.last_us = time_us, time_us
            row.since_us = asked.since_us[signal]
            row.event_type, row.security = asked.event_type[signal], asked.security[signal]
            row.acknowledged = 0
            new_action = RAISE
        changes, count = _stand(
            w, rows, ix, at, written, severity, time_us, new_action, signal, changes, count
        )
        if late:  # its end came before it
            changes = _room(changes, count, 1)
            count = _write(changes, count, rows, at, signal, CLEAR, row.cleared_us)
            _end(row, row.cleared_us, _is_outage(row))
        return written, changes, count
    by_hand = not asked.lasting[signal]
    if action == CLEAR and row.standing == 1 and (by_hand or time_us >= row.last_us):
        count = _write(changes, count, rows, at, signal, CLEAR, time_us)
        _end(row, time_us, was_outage)
        return written, changes, count
    if action == CLEAR:
        row.unmatched += 1
        if row.standing == 0 and asked.lasting[signal] and time_us > row.cleared_us:
            row.cleared_us, row.lone_clear = time_us, 1
        return written, changes, count
    known = row.raised_us > 0
    if known and action == UPDATE and row.standing == 1 and severity < _CLEARED:
        changes, count = _stand(w, rows, ix, at, written, severity, time_us, UPDATE, signal, changes, count)
    elif known and ((action == ACK and row.acknowledged == 0) or (action == UNACK and row.acknowledged == 1)):
        row.acknowledged = 1 if action == ACK else 0
        count = _write(changes, count, rows, at, signal, action, time_us)
    elif known and action == COMMENT:
        count = _write(changes, count, rows, at, signal, action, time_us)
    else:
        row.unmatched += 1
    return written, changes, count
