"""What people and machines do in one hour: calls, messages, data sessions, meter readings and purchases.

One row is one record that a switch will write, in whole numbers only; `schema.py` says how a row is printed.
Records of usage that began in the hour may end, and so be written, in a later one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from trunkline.simulator import country as places
from trunkline.simulator.country import Country, Floats, Ints, Truths, make_country
from trunkline.simulator.lines import MISSING
from trunkline.simulator.network_usage import Outage, possible
from trunkline.simulator.people import Friends, People, Role, make_friends, make_people
from trunkline.simulator.rhythm import (
    CONTENT,
    DATA,
    DAY_S,
    SMS,
    VOICE,
    Hour,
    cells_at,
    hour_of,
    mix,
    start_of,
    uses_within,
)
from trunkline.simulator.schema import (
    CAUSES,
    COLUMNS,
    DIRECTIONS,
    PURCHASES,
    REPORTS,
    SERVICES,
    SLICES,
    TYPES,
)
from trunkline.simulator.settings import Purpose, Settings, chance

INTERIM_MS = 900_000
CALL_MS_MOST = 4 * 3_600_000
SESSION_MS_MOST = 8 * 3_600_000
SESSION_OCTETS_MOST = 20_000_000_000

# Short and special numbers: share of the calls to them, number, digits drawn behind it, and the longest call in s.
SPECIALS = (
    (0.55, places.VOICEMAIL, 0, 180),
    (0.32, places.FREEPHONE_BASE, 6, 2_400),
    (0.06, places.DIRECTORY, 0, 240),
    (0.05, places.PREMIUM_BASE, 6, 1_200),
    (0.02, places.EMERGENCY, 0, 600),
)


@dataclass(frozen=True)
class World:
    """Everything that stays the same from hour to hour."""

    settings: Settings
    country: Country
    people: People
    friends: Friends
    start_us: int
    outages: tuple[Outage, ...] = ()

    def hour(self, number: int) -> Hour:
        """One of the simulation's hours."""
        return hour_of(number, self.start_us, self.country.time_zone)


def make_world(settings: Settings) -> World:
    """The country, its people and their friendships."""
    country = make_country(settings)
    people = make_people(settings, country)
    return World(
        settings, country, people, make_friends(settings, people), start_of(settings, country.time_zone)
    )


def usage_of(world: World, hour: Hour) -> pl.DataFrame:
    """All records of usage that begins in the hour, each kind numbered by when it ends."""
    kinds = (
        (_voice, Purpose.VOICE),
        (_sms, Purpose.SMS),
        (_data, Purpose.DATA),
        (_iot, Purpose.IOT),
        (_content, Purpose.CONTENT),
    )
    frames = [make(world, hour, chance(world.settings.seed, purpose, hour.number)) for make, purpose in kinds]
    frames = [possible(frame, kind, world.outages) for kind, frame in zip(TYPES, frames, strict=True)]
    return pl.concat([_numbered(frame, kind, hour) for kind, frame in enumerate(frames)])


def _numbered(frame: pl.DataFrame, kind: int, hour: Hour) -> pl.DataFrame:
    ordered = frame.sort("end_us", maintain_order=True)
    return ordered.with_columns(
        type=pl.lit(kind, pl.Int64),
        hour=pl.lit(hour.number, pl.Int64),
        n=pl.int_range(len(ordered), dtype=pl.Int64),
    ).select(COLUMNS)


def _rows(length: int, **columns: Ints | int) -> pl.DataFrame:
    """A frame with every column; those that are not given are missing."""
    return pl.DataFrame(
        [
            pl.Series(name, np.broadcast_to(np.asarray(columns.get(name, MISSING), np.int64), length))
            for name in COLUMNS
        ]
    )


def _is_away(world: World, who: Ints, start_us: Ints) -> Truths:
    since_us = start_us - world.start_us
    return (since_us >= world.people.away_from_us[who]) & (since_us < world.people.away_until_us[who])


def _place(
    world: World, hour: Hour, who: Ints, start_us: Ints, away: Truths | None = None
) -> dict[str, Ints]:
    """The payer's number, and the cell at home or the visited network abroad."""
    away = _is_away(world, who, start_us) if away is None else away
    cell = cells_at(world.people, who, hour.local_s + (start_us - hour.start_us) // 1_000_000)
    return {
        "subscriber": world.people.number[who],
        "cell": np.where(away, MISSING, cell),
        "visited_plmn": np.where(away, world.people.away_plmn[who], MISSING),
    }


def _number(world: World, party: Ints) -> Ints:
    """The number of a person, or of a partner outside."""
    inside = party < world.friends.outside_first
    mine = world.people.number[np.where(inside, party, 0)]
    outside = world.friends.outside_number[np.where(inside, 0, party - world.friends.outside_first)]
    return np.where(inside, mine, outside)


# -- calls ---------------------------------------------------------------------------------------------------


def _voice(world: World, hour: Hour, rng: np.random.Generator) -> pl.DataFrame:
    """Calls between people and their partners; one of five is not answered, and half of those are tried again."""
    who, into_ms = uses_within(hour, world.people, VOICE, world.people.talks, rng)
    partner = world.friends.choose(who, rng)
    cause = rng.choice(len(CAUSES), len(who), p=[0.79, 0.12, 0.07, 0.02])
    again = (
        (cause >= CAUSES.index("no_answer")) & (cause <= CAUSES.index("busy")) & (rng.random(len(who)) < 0.5)
    )
    start_us = hour.start_us + into_ms * 1000
    retried_us = start_us[again] + rng.integers(40_000, 600_000, int(again.sum())) * 1000
    who, partner = np.concatenate([who, who[again]]), np.concatenate([partner, partner[again]])
    start_us = np.concatenate([start_us, retried_us])
    cause = np.concatenate([cause, np.zeros(len(retried_us), np.int64)])
    duration_ms = _call_lengths(world, who, partner, cause, rng)
    special, longest_ms = _special_numbers(len(who), rng)
    duration_ms = np.minimum(duration_ms, longest_ms)
    return _call_records(world, hour, who, partner, special, start_us, duration_ms, cause, rng)


def _call_lengths(world: World, who: Ints, partner: Ints, cause: Ints, rng: np.random.Generator) -> Ints:
    """Log-normal, half of them under a minute; the family and the retired talk longer."""
    people = world.people
    known = np.minimum(partner, len(people) - 1)
    close = (partner < people.humans) & (people.household[known] == people.household[who])
    typical_ms = 55_000 * np.where(people.role[who] == Role.RETIRED, 1.5, 1.0) * np.where(close, 0.8, 1.0)
    length_ms = np.clip(typical_ms * rng.lognormal(0, 1.25, len(who)), 1_000, CALL_MS_MOST)
    talked = (cause == CAUSES.index("normal")) | (cause == CAUSES.index("radio_lost"))
    return np.where(talked, length_ms, 0).astype(np.int64)


def _special_numbers(length: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """The special number that four of a hundred calls go to, missing for the others, and how long they can be."""
    share, number, digits, longest_s = (np.array(column) for column in zip(*SPECIALS, strict=True))
    which = rng.choice(len(number), length, p=share)
    drawn = number[which] + rng.integers(0, 500, length) * (digits[which] > 0)
    special = rng.random(length) < 0.04
    return np.where(special, drawn, MISSING), np.where(special, longest_s[which] * 1000, CALL_MS_MOST)


def _call_records(
    world: World,
    hour: Hour,
    who: Ints,
    partner: Ints,
    special: Ints,
    start_us: Ints,
    duration_ms: Ints,
    cause: Ints,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """A record for each end of the call that is ours; the called end's only when it was answered."""
    ordinary = special == MISSING
    turned = ordinary & (rng.random(len(who)) < 0.5)
    caller, callee = np.where(turned, partner, who), np.where(turned, who, partner)
    called = np.where(ordinary, _number(world, callee), special)
    calling = _number(world, caller)
    ours = caller < world.people.humans
    theirs = ordinary & (callee < world.people.humans) & (duration_ms > 0)
    both = []
    for direction, payer, rows in (("originating", caller, ours), ("terminating", callee, theirs)):
        at_us = start_us[rows]
        both.append(
            _rows(
                len(at_us),
                direction=DIRECTIONS.index(direction),
                calling=calling[rows],
                called=called[rows],
                start_us=at_us,
                duration_ms=duration_ms[rows],
                cause=cause[rows],
                units=duration_ms[rows],
                end_us=at_us + duration_ms[rows] * 1000,
                **_place(world, hour, payer[rows], at_us),
            )
        )
    return pl.concat(both)


# -- messages ------------------------------------------------------------------------------------------------


def _sms(world: World, hour: Hour, rng: np.random.Generator) -> pl.DataFrame:
    """Conversations: a message is often answered within a minute, and the answer again."""
    who, into_ms = uses_within(hour, world.people, SMS, world.people.texts, rng)
    partner = world.friends.choose(who, rng)
    messages = np.minimum(rng.geometric(0.55, len(who)), 12)
    first = np.repeat(np.cumsum(messages) - messages, messages)
    turn = np.arange(len(first)) - first
    pause_ms = np.where(turn == 0, 0, 4_000 + rng.exponential(45_000, len(first))).astype(np.int64)
    passed_ms = np.cumsum(pause_ms)
    passed_ms -= passed_ms[first]
    start_us = hour.start_us + (np.repeat(into_ms, messages) + passed_ms) * 1000
    opened_by_partner = np.repeat(rng.random(len(who)) < 0.5, messages)
    who, partner = np.repeat(who, messages), np.repeat(partner, messages)
    turned = opened_by_partner ^ (turn % 2 == 1)
    sender, receiver = np.where(turned, partner, who), np.where(turned, who, partner)
    both = []
    for direction, payer in (("originating", sender), ("terminating", receiver)):
        rows = payer < world.people.humans
        both.append(
            _rows(
                int(rows.sum()),
                direction=DIRECTIONS.index(direction),
                calling=_number(world, sender[rows]),
                called=_number(world, receiver[rows]),
                start_us=start_us[rows],
                units=1,
                end_us=start_us[rows],
                **_place(world, hour, payer[rows], start_us[rows]),
            )
        )
    return pl.concat(both)


# -- data ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sessions:
    """Data sessions before they are cut into reports, one row each."""

    who: Ints
    began_us: Ints
    lasts_ms: Ints
    octets_up: Floats
    octets_down: Floats
    bend: Floats  # below one: most is used early; above: late
    abroad: Truths
    service: Ints
    network_slice: Ints
    five_qi: Ints


def _data(world: World, hour: Hour, rng: np.random.Generator) -> pl.DataFrame:
    """Sessions that report at their start, every quarter of an hour and at their stop, with cumulative counters.

    Visited networks send one complete record instead, as they do between operators.
    """
    people = world.people
    who, into_ms = uses_within(hour, people, DATA, people.surfs, rng)
    robot = people.role[who] == Role.ROBOT
    lasts_ms = np.clip(rng.lognormal(np.log(480_000), 1.3, len(who)), 4_000, SESSION_MS_MOST)
    octets = rng.lognormal(np.log(3_000_000), 2.0, len(who)) * np.where(robot, 0.1, 1.0)
    octets = np.clip(octets, 200, SESSION_OCTETS_MOST)
    up_share = np.where(robot, 0.8, rng.beta(1.5, 11, len(who)))
    service, network_slice, five_qi = _services(people, who, rng)
    began_us = hour.start_us + into_ms * 1000
    sessions = Sessions(
        who=who,
        began_us=began_us,
        lasts_ms=np.where(robot, 2_400_000 + lasts_ms / 10, lasts_ms).astype(np.int64),
        octets_up=octets * up_share,
        octets_down=octets * (1 - up_share),
        bend=rng.uniform(0.6, 1.6, len(who)),
        abroad=_is_away(world, who, began_us),
        service=service,
        network_slice=network_slice,
        five_qi=five_qi,
    )
    return _reports(world, hour, sessions)


def _reports(world: World, hour: Hour, sessions: Sessions) -> pl.DataFrame:
    """Start, interims and stop of each session at home; one row for each session abroad."""
    interims = np.where(sessions.abroad, 0, (sessions.lasts_ms - 1) // INTERIM_MS)
    reports = np.where(sessions.abroad, 1, interims + 2)
    of = np.repeat(np.arange(len(reports)), reports)
    turn = np.arange(len(of)) - np.repeat(np.cumsum(reports) - reports, reports)
    last, abroad, began_us = turn == reports[of] - 1, sessions.abroad[of], sessions.began_us[of]
    elapsed_ms = np.where(last, sessions.lasts_ms[of], turn * INTERIM_MS)
    part = (elapsed_ms / sessions.lasts_ms[of]) ** sessions.bend[of]
    up = np.floor(part * sessions.octets_up[of]).astype(np.int64)
    down = np.floor(part * sessions.octets_down[of]).astype(np.int64)
    stretches = np.where(abroad, 0, np.where(last, interims[of], np.maximum(turn - 1, 0)))
    start_us = began_us + stretches * INTERIM_MS * 1000
    report = np.where(
        last, REPORTS.index("stop"), np.where(turn == 0, REPORTS.index("start"), REPORTS.index("interim"))
    )

    def at_home(values: Ints | int) -> Ints:
        return np.where(abroad, MISSING, values)

    return _rows(
        len(of),
        start_us=start_us,
        duration_ms=elapsed_ms,
        octets_up=up,
        octets_down=down,
        service=sessions.service[of],
        slice=at_home(sessions.network_slice[of]),
        five_qi=at_home(sessions.five_qi[of]),
        session_hour=at_home(hour.number),
        session_n=at_home(of),
        report=at_home(report),
        session_start_us=at_home(began_us),
        units=np.where(turn == 0, up + down, np.diff(up + down, prepend=0)),
        end_us=began_us + elapsed_ms * 1000,
        **_place(world, hour, sessions.who[of], start_us, abroad),
    )


def _services(people: People, who: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """The data network, slice and 5QI of each session: robots, offices and players have slices of their own."""
    role = people.role[who]
    robot = role == Role.ROBOT
    office = (role == Role.BUSINESS) & (rng.random(len(who)) < 0.6)
    play = (role == Role.STUDENT) & (rng.random(len(who)) < 0.12)
    of_slice = [robot, office, play]
    services = [SERVICES.index(name) for name in ("factory", "corporate", "gaming")]
    service = np.select(of_slice, services, SERVICES.index("internet"))
    network_slice = np.select(
        of_slice, [SLICES.index(s) for s in ("2-000010", "1-000001", "1-000047")], MISSING
    )
    five_qi = np.select(of_slice, [82, np.where(rng.random(len(who)) < 0.8, 9, 7), 80], MISSING)
    return service, network_slice, five_qi


# -- things and purchases ------------------------------------------------------------------------------------


def _iot(world: World, hour: Hour, rng: np.random.Generator) -> pl.DataFrame:
    """Meters report every hour at their own minute, vehicles every ten minutes of the working day."""
    people = world.people
    meters = np.flatnonzero(people.role == Role.METER)
    vehicles = np.flatnonzero(people.role == Role.VEHICLE)
    meter_ms = mix(meters, np.full(len(meters), 11)) % 3_598_000 + rng.integers(0, 2_000, len(meters))
    alarm = rng.random(len(meters)) < 0.002
    meter_service = np.where(alarm, SERVICES.index("meter.alarm"), SERVICES.index("meter.read"))
    who = np.repeat(vehicles, 6)
    vehicle_ms = np.tile(np.arange(6), len(vehicles)) * 600_000 + mix(who, np.full(len(who), 13)) % 590_000
    driving = _drives(people, who, hour.local_s + vehicle_ms // 1000)
    who = np.concatenate([meters, who[driving]])
    into_ms = np.concatenate([meter_ms, vehicle_ms[driving]])
    service = np.concatenate([meter_service, np.full(int(driving.sum()), SERVICES.index("vehicle.position"))])
    start_us = hour.start_us + into_ms * 1000
    return _rows(
        len(who),
        start_us=start_us,
        service=service,
        units=1,
        end_us=start_us,
        **_place(world, hour, who, start_us),
    )


def _drives(people: People, who: Ints, local_s: Ints) -> Truths:
    """Vehicles are on the road in their working hours, Mondays to Saturdays."""
    into = local_s % DAY_S - people.works_from_s[who]
    return (into >= 0) & (into < people.works_for_s[who]) & ((local_s // DAY_S + 3) % 7 < 6)


def _content(world: World, hour: Hour, rng: np.random.Generator) -> pl.DataFrame:
    """Purchases on the phone bill; the record brings its price."""
    who, into_ms = uses_within(hour, world.people, CONTENT, world.people.surfs, rng)
    share = np.array([share for _, _, share in PURCHASES])
    which = rng.choice(len(PURCHASES), len(who), p=share)
    start_us = hour.start_us + into_ms * 1000
    return _rows(
        len(who),
        start_us=start_us,
        service=np.array([SERVICES.index(category) for category, _, _ in PURCHASES], np.int64)[which],
        amount=which,
        units=1,
        end_us=start_us,
        **_place(world, hour, who, start_us),
    )
