"""The subscribers: who lives and works where, who belongs together, who knows whom, and which plan each has.

People come first, family by family and city by city, so that neighbours in number are neighbours in life;
machines come last. Phone numbers are shuffled, so that none of this shows in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from trunkline.simulator import country as places
from trunkline.simulator.country import Country, Floats, Ints
from trunkline.simulator.settings import Purpose, Settings, chance

NUMBER_STRIDE = 61_803_399  # has no factor in common with the range, so that every number comes up once
NUMBER_RANGE = 100_000_000
OUTSIDERS_LEAST = 2_000
FRIENDS_MOST = 80
INSIDE_SHARE = (
    0.14  # of the partners somebody chooses; with the family, half of all calls stay in the network
)
LEISURE_CELLS = 3
HOUR_US = 3_600_000_000


class Role(IntEnum):
    """How somebody's days go; decides the daily curve, the plan and what is used."""

    WORKER = 0
    STUDENT = 1
    RETIRED = 2
    SHIFT = 3
    BUSINESS = 4
    METER = 5
    VEHICLE = 6
    ROBOT = 7


PEOPLE_SHARES = (0.50, 0.19, 0.16, 0.08, 0.07)
MACHINE_SHARES = (0.80, 0.15, 0.05)

PLANS = (
    "payg", "young", "smart_s", "smart_m", "smart_l", "family", "business", "business_global",
    "iot_meter", "iot_fleet", "iot_slice",
)  # fmt: skip
PREPAID_PLANS = ("payg", "young")


@dataclass(frozen=True)
class People:
    """One row a subscriber; `humans` of them are people, the others machines."""

    humans: int
    number: Ints
    role: Ints
    household: Ints
    city: Ints
    home: Ints  # cells
    work: Ints
    way: Ints  # a cell passed between home and work
    leisure: Ints  # [person, n]
    works_from_s: Ints  # local seconds of the day
    works_for_s: Ints  # 0 for those who stay at home
    later_h: Ints  # by how many hours this person's day is later than usual
    talks: Floats  # multiples of the usual number of calls, messages, sessions
    texts: Floats
    surfs: Floats
    plan: Ints
    next_plan: Ints  # the plan that follows on `changes_day`, or the same one
    changes_day: Ints  # days after the first; -1 for those who stay
    away_from_us: Ints  # microseconds since the simulation's start
    away_until_us: Ints
    away_plmn: Ints

    def __len__(self) -> int:
        """People and machines."""
        return len(self.number)


@dataclass(frozen=True)
class Friends:
    """Whom each person knows: a weighted graph, row by row; partners from `outside_first` on have no row."""

    first: Ints  # where a person's partners begin; one more entry than people
    partner: npt.NDArray[np.int32]
    reach: Floats  # running sum of the weights, over all rows
    outside_number: Ints  # numbers of those who are not our subscribers
    outside_first: int

    def choose(self, who: Ints, rng: np.random.Generator) -> Ints:
        """One partner for each of `who`, by weight."""
        below = np.where(self.first[who] > 0, self.reach[self.first[who] - 1], 0.0)
        above = self.reach[self.first[who + 1] - 1]
        at = np.searchsorted(self.reach, below + rng.random(len(who)) * (above - below), side="right")
        return self.partner[np.clip(at, self.first[who], self.first[who + 1] - 1)].astype(np.int64)


def number_of(order: Ints, humans: int) -> Ints:
    """Phone numbers by place in the population: shuffled within the range of people or of machines."""
    return np.where(order < humans, places.SUBSCRIBERS_BASE, places.MACHINES_BASE) + _shuffled(order)


def _shuffled(order: Ints) -> Ints:
    """Every number of the range once before any comes twice, in an order that shows no neighbours."""
    return (order + 1) * NUMBER_STRIDE % NUMBER_RANGE


def make_people(settings: Settings, country: Country) -> People:
    """Everybody, machines last."""
    rng = chance(settings.seed, Purpose.PEOPLE)
    count = settings.subscribers
    humans = count - int(count * settings.machines)
    role = np.concatenate(
        [rng.choice(5, humans, p=PEOPLE_SHARES), 5 + rng.choice(3, count - humans, p=MACHINE_SHARES)]
    ).astype(np.int64)
    household = _households(humans, count, rng)
    city = _cities_of(household, country, rng)
    home = _cell_in(city, country, rng.random(household[-1] + 1)[household])
    work_city = _work_cities(city, country, rng)
    work = np.where(
        np.isin(role, (Role.RETIRED, Role.METER)), home, _cell_in(work_city, country, rng.random(count))
    )
    works_from_s, works_for_s = _working_hours(role, rng)
    talks, texts, surfs = (rng.lognormal(-sigma * sigma / 2, sigma, count) for sigma in (0.8, 0.9, 1.1))
    plan = _plans(role, household, talks, surfs, rng)
    next_plan, changes_day = _plan_changes(settings, role, plan, rng)
    away_from_us, away_until_us, away_plmn = _travels(settings, humans, rng)
    return People(
        humans=humans,
        number=number_of(np.arange(count), humans),
        role=role,
        household=household,
        city=city,
        home=home,
        work=work,
        way=_cells_between(home, work, country, rng),
        leisure=np.stack([_cell_in(city, country, rng.random(count)) for _ in range(LEISURE_CELLS)], axis=1),
        works_from_s=works_from_s,
        works_for_s=works_for_s,
        later_h=np.where(role >= Role.METER, 0, rng.choice([-1, 0, 1, 2], count, p=[0.22, 0.45, 0.23, 0.10])),
        talks=talks,
        texts=texts,
        surfs=surfs,
        plan=plan,
        next_plan=next_plan,
        changes_day=changes_day,
        away_from_us=away_from_us,
        away_until_us=away_until_us,
        away_plmn=away_plmn,
    )


def _households(humans: int, count: int, rng: np.random.Generator) -> Ints:
    """Families of one to five; every machine is a household of its own."""
    sizes = rng.choice([1, 2, 3, 4, 5], humans, p=[0.40, 0.33, 0.13, 0.10, 0.04])
    of_human = np.repeat(np.arange(humans), sizes)[:humans]
    families = int(of_human[-1]) + 1 if humans else 0
    return np.concatenate([of_human, families + np.arange(count - humans)])


def _cities_of(household: Ints, country: Country, rng: np.random.Generator) -> Ints:
    """A city for each household, by population; in rising order, so that neighbours live together."""
    share = country.city_population / country.city_population.sum()
    return np.sort(rng.choice(len(share), household[-1] + 1, p=share))[household].astype(np.int64)


def _cell_in(city: Ints, country: Country, where: Floats) -> Ints:
    """A cell of the city; `where` is a number from 0 to 1. Cities without a cell borrow the capital's."""
    count = country.city_cell_count[city]
    cell = country.city_cell_first[city] + np.floor(where * count).astype(np.int64)
    return np.where(count > 0, cell, np.floor(where * country.city_cell_count[0]).astype(np.int64))


def _work_cities(city: Ints, country: Country, rng: np.random.Generator) -> Ints:
    """Four of five work in their own city; the others in a near one, the larger the likelier."""
    near = country.city_near
    pull = country.city_population[near] / (1.0 + np.arange(near.shape[1]))
    pull[:, 0] = 0.0
    reach = np.cumsum(pull, axis=1) / np.maximum(pull.sum(axis=1, keepdims=True), 1e-9)
    choice = (rng.random(len(city))[:, None] > reach[city]).sum(axis=1)
    elsewhere = near[city, np.minimum(choice, near.shape[1] - 1)]
    return np.where(rng.random(len(city)) < 0.8, city, elsewhere)


def _cells_between(home: Ints, work: Ints, country: Country, rng: np.random.Generator) -> Ints:
    """A cell on the way to work: of a few cells of both cities, the one nearest to the middle."""
    middle_latitude = (country.cell_latitude[home] + country.cell_latitude[work]) / 2
    middle_longitude = (country.cell_longitude[home] + country.cell_longitude[work]) / 2
    best, nearest = home.copy(), np.full(len(home), np.inf)
    for end in (home, work, home, work, home, work):
        candidate = _cell_in(country.cell_city[end], country, rng.random(len(home)))
        distance = np.hypot(
            country.cell_latitude[candidate] - middle_latitude,
            0.64 * (country.cell_longitude[candidate] - middle_longitude),
        )
        closer = distance < nearest
        best, nearest = np.where(closer, candidate, best), np.minimum(distance, nearest)
    return best


def _working_hours(role: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """From when and for how long each is away from home on a working day, in local seconds."""
    usual = np.array([8.2, 8.5, 10.0, 6.0, 8.0, 0.0, 7.0, 0.0])[role]
    begins = usual + rng.normal(0, 0.8, len(role))
    begins = np.where(role == Role.SHIFT, rng.choice([6.0, 14.0, 22.0], len(role)), begins)
    lasts = np.array([8.5, 6.5, 0.0, 8.0, 9.5, 0.0, 9.0, 0.0])[role]
    return (np.clip(begins, 0, 23.9) * 3600).astype(np.int64), (lasts * 3600).astype(np.int64)


def _plans(role: Ints, household: Ints, talks: Floats, surfs: Floats, rng: np.random.Generator) -> Ints:
    """Small users pay as they go, large ones by the month, some families and all businesses have their own plans."""
    use = talks + 2 * surfs + rng.normal(0, 0.5, len(role))
    plan = np.select(
        [use < 1.2, use < 2.4, use < 4.5],
        [PLANS.index(p) for p in ("payg", "smart_s", "smart_m")],
        PLANS.index("smart_l"),
    )
    plan = np.where((role == Role.STUDENT) & (use < 4.0), PLANS.index("young"), plan)
    size = np.bincount(household)[household]
    plan = np.where((size >= 3) & (household % 5 < 3), PLANS.index("family"), plan)
    for of_role, name in (
        (Role.BUSINESS, "business"),
        (Role.METER, "iot_meter"),
        (Role.VEHICLE, "iot_fleet"),
        (Role.ROBOT, "iot_slice"),
    ):
        plan = np.where(role == of_role, PLANS.index(name), plan)
    return np.where(
        (role == Role.BUSINESS) & (rng.random(len(role)) < 0.3), PLANS.index("business_global"), plan
    )


def _plan_changes(settings: Settings, role: Ints, plan: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Three of a hundred change to another of the plans for people within the simulated days."""
    days = max(1, settings.hours // 24)
    changes = (rng.random(len(role)) < 0.03) & (role < Role.BUSINESS) & (plan != PLANS.index("family"))
    other = rng.choice([PLANS.index(p) for p in ("smart_s", "smart_m", "smart_l")], len(role))
    changes &= other != plan
    return np.where(changes, other, plan), np.where(changes, rng.integers(0, days, len(role)), -1)


def _travels(settings: Settings, humans: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """When each is abroad and where; most never are."""
    count = settings.subscribers
    begins = rng.uniform(-72, settings.hours, count)
    lasts = np.clip(rng.lognormal(np.log(72), 0.7, count), 12, 500)
    plmns = np.array([plmn for plmn, _ in places.VISITED], np.int64)
    weights = np.array([weight for _, weight in places.VISITED], np.float64)
    plmn = plmns[rng.choice(len(plmns), count, p=weights / weights.sum())]
    goes = (rng.random(count) < settings.roamers) & (np.arange(count) < humans)
    begins_us = (begins * HOUR_US).astype(np.int64)
    until_us = np.where(goes, begins_us + (lasts * HOUR_US).astype(np.int64), begins_us)
    return begins_us, until_us, plmn


def make_friends(settings: Settings, people: People) -> Friends:
    """The graph of who calls whom: few partners for most, many for some, and a favourite or two for everyone."""
    rng = chance(settings.seed, Purpose.FRIENDS)
    humans = people.humans
    outside_number = _outsiders(max(OUTSIDERS_LEAST, 2 * humans), people, rng)
    degree = np.minimum(5 + rng.pareto(1.6, humans) * 4, FRIENDS_MOST).astype(np.int64)
    who = np.repeat(np.arange(humans), degree)
    partner = np.where(
        rng.random(len(who)) < INSIDE_SHARE,
        _friends_inside(who, people, rng),
        humans + _friends_outside(who, people, len(outside_number), rng),
    )
    family_who, family_partner = _family_pairs(people)
    weight = np.concatenate([rng.lognormal(0, 1.2, len(who)), rng.lognormal(0.7, 0.8, len(family_who))])
    who, partner = np.concatenate([who, family_who]), np.concatenate([partner, family_partner])
    inside = partner < humans  # friendship is mutual
    who, partner = np.concatenate([who, partner[inside]]), np.concatenate([partner, who[inside]])
    weight = np.concatenate([weight, weight[inside]])
    other = who != partner
    who, partner, weight = who[other], partner[other], weight[other]
    who, partner, weight = _with_somebody(who, partner, weight, humans)
    order = np.argsort(who, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(who, minlength=humans))])
    return Friends(first, partner[order].astype(np.int32), np.cumsum(weight[order]), outside_number, humans)


def _friends_inside(who: Ints, people: People, rng: np.random.Generator) -> Ints:
    """Three of four live around the corner, the others anywhere."""
    near = who + np.round(rng.laplace(0, 25, len(who))).astype(np.int64)
    far = rng.integers(0, people.humans, len(who))
    inside = (near >= 0) & (near < people.humans) & (rng.random(len(who)) < 0.75)
    return np.where(inside, near, far)


def _outside_borders(count: int) -> tuple[int, int, int]:
    """Outsiders are businesses, then other operators' mobiles, then fixed lines, then people abroad."""
    return max(1, count // 50), int(count * 0.60), int(count * 0.85)


def _friends_outside(who: Ints, people: People, count: int, rng: np.random.Generator) -> Ints:
    """Mobiles and fixed lines of the neighbourhood, a few businesses that many call, and people abroad."""
    mobile, fixed, abroad = _outside_borders(count)
    emigrated = (np.arange(people.humans) * 7919 % 100 < 8)[who]
    kind = rng.random(len(who))
    kind = np.where(emigrated & (rng.random(len(who)) < 0.5), 1.0, kind)
    around = who / max(1, people.humans) + rng.laplace(0, 20, len(who)) / max(1, people.humans)
    around -= np.floor(around)

    def within(first: int, last: int, where: Floats) -> Ints:
        return first + np.minimum((where * (last - first)).astype(np.int64), last - first - 1)

    return np.select(
        [kind < 0.17, kind < 0.72, kind < 0.95],
        [
            within(0, mobile, rng.random(len(who)) ** 3),
            within(mobile, fixed, around),
            within(fixed, abroad, around),
        ],
        within(abroad, count, around),
    )


def _outsiders(count: int, people: People, rng: np.random.Generator) -> Ints:
    """Numbers of those who are not our subscribers, by `_outside_borders`."""
    mobile, fixed, abroad = _outside_borders(count)
    order = np.arange(count)
    shuffled = _shuffled(order)
    city = people.city[
        np.minimum((order - fixed).clip(0) * people.humans // max(1, abroad - fixed), len(people) - 1)
    ]
    prefix, digits, share = (np.array(column, np.int64) for column in zip(*places.ABROAD, strict=True))
    land = rng.choice(len(prefix), count, p=share / share.sum())
    return np.select(
        [order < mobile, order < fixed, order < abroad],
        [
            places.HUB_BASE + shuffled,
            np.array(places.OTHER_MOBILE_BASES)[order % 2] + shuffled,
            places.FIXED_BASE + city % 100 * 1_000_000 + shuffled % 1_000_000,
        ],
        prefix[land] * 10 ** digits[land] + shuffled % 10 ** digits[land],
    )


def _family_pairs(people: People) -> tuple[Ints, Ints]:
    """Each person with the one to three that follow in the same household."""
    household = people.household[: people.humans]
    order = np.arange(people.humans)
    pairs = [(order[:-k][household[:-k] == household[k:]], k) for k in (1, 2, 3) if people.humans > k]
    who = np.concatenate([first for first, _ in pairs]) if pairs else order[:0]
    partner = np.concatenate([first + k for first, k in pairs]) if pairs else order[:0]
    return who, partner


def _with_somebody(who: Ints, partner: Ints, weight: Floats, humans: int) -> tuple[Ints, Ints, Floats]:
    """Nobody is left without a partner: the lonely call the first business."""
    lonely = np.flatnonzero(np.bincount(who, minlength=humans) == 0)
    return (
        np.concatenate([who, lonely]),
        np.concatenate([partner, np.full(len(lonely), humans)]),
        np.concatenate([weight, np.ones(len(lonely))]),
    )
