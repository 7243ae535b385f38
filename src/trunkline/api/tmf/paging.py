"""Lists as TM Forum's design guidelines (TMF630) ask for them: paging, `fields`, and filters on any attribute.

A filter is `attribute=value`, nested attributes are joined by dots, several values by commas mean "or", and
`.gt .gte .lt .lte .ne` compare. An attribute inside a list matches when any of the list's members does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from trunkline.api.desk import desk_of
from trunkline.api.exact import ExactResponse
from trunkline.api.problems import Problem

LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX = 50, 1000, 10**6
LIST_QUERY: dict[str, Any] = {  # what every list is asked with, for its description
    "parameters": [
        {
            "name": "fields",
            "in": "query",
            "schema": {"type": "string"},
            "description": "Attributes to return.",
        },
        {"name": "offset", "in": "query", "schema": {"type": "integer", "minimum": 0}},
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000}},
    ]
}
RESERVED = frozenset({"fields", "offset", "limit", "numbers"})
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda left, right: left > right,
    "gte": lambda left, right: left >= right,
    "lt": lambda left, right: left < right,
    "lte": lambda left, right: left <= right,
    "ne": lambda left, right: left != right,
    "eq": lambda left, right: left == right,
}
PERSON = ("relatedParty.id", "logicalResource.id", "partyAccount.id")

Item = dict[str, Any]


@dataclass(frozen=True)
class Filter:
    """One condition on an attribute."""

    path: tuple[str, ...]
    compare: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        """The attribute as it was written."""
        return ".".join(self.path)

    def holds(self, item: Item) -> bool:
        """Whether an item has the attribute as asked."""
        found = [value for value in _reach(item, self.path) if value is not None]
        if self.compare == "ne":
            return all(_compares("ne", value, wanted) for value in found for wanted in self.values)
        return any(_compares(self.compare, value, wanted) for value in found for wanted in self.values)


@dataclass(frozen=True)
class Listing:
    """What a list was asked for."""

    fields: frozenset[str] | None
    offset: int
    limit: int
    numbers: str
    filters: tuple[Filter, ...]

    def matches(self, item: Item) -> bool:
        """Whether an item satisfies every filter."""
        return all(each.holds(item) for each in self.filters)

    def take(self, *names: str) -> tuple[Listing, tuple[str, ...]]:
        """This listing without its equality filters on `names`, and their values; they narrow the reading itself."""
        taken = tuple(
            v for each in self.filters if each.name in names and each.compare == "eq" for v in each.values
        )
        rest = tuple(each for each in self.filters if not (each.name in names and each.compare == "eq"))
        return Listing(self.fields, self.offset, self.limit, self.numbers, rest), taken


@dataclass(frozen=True)
class Found:
    """A page of items, how many there are in all, and whether that count is exact or only "at least"."""

    items: list[Item]
    total: int
    exact: bool


def listing_of(request: Request) -> Listing:
    """What the query asks for; answers 400 where it cannot be understood."""
    said = request.query_params
    filters = [_filter(name, value) for name, value in said.multi_items() if name not in RESERVED]
    return Listing(
        fields=fields_of(request),
        offset=_whole(said.get("offset"), "offset", 0, OFFSET_MAX, 0),
        limit=_whole(said.get("limit"), "limit", 1, LIMIT_MAX, LIMIT_DEFAULT),
        numbers=said.get("numbers", "masked"),
        filters=tuple(filters),
    )


def fields_of(request: Request) -> frozenset[str] | None:
    """The attributes asked for; None for all of them."""
    said = request.query_params.get("fields")
    if said is None:
        return None
    names = frozenset(name.strip() for name in said.split(",") if name.strip())
    return frozenset() if names == {"none"} else names


def chosen(item: Item, fields: frozenset[str] | None) -> Item:
    """An item with only the attributes that were asked for; id and href always stay."""
    if fields is None:
        return item
    tops = {name.partition(".")[0] for name in fields} | {"id", "href"}
    return {name: value for name, value in item.items() if name in tops}


def gather(listing: Listing, items: Iterable[Item], scanned_max: int) -> Found:
    """One page of the items that match, reading on only as far as `scanned_max` items to count them."""
    page: list[Item] = []
    matched = 0
    for scanned, item in enumerate(items):
        if scanned == scanned_max:
            return Found(page, matched, exact=False)
        if listing.matches(item):
            if listing.offset <= matched < listing.offset + listing.limit:
                page.append(item)
            matched += 1
    return Found(page, matched, exact=True)


def answer_list(listing: Listing, found: Found) -> Response:
    """A page with its counts in the headers."""
    headers = {
        "X-Total-Count": str(found.total),
        "X-Result-Count": str(len(found.items)),
        "X-Total-Count-Is": "exact" if found.exact else "at-least",
    }
    return ExactResponse([chosen(item, listing.fields) for item in found.items], headers=headers)


def answer_created(item: Item) -> Response:
    """201 with the absolute address of what was made."""
    return ExactResponse(item, status_code=201, headers={"Location": item["href"]})


def pages(read: Callable[[int, int], Any], size: int = 500) -> Iterator[dict[str, Any]]:
    """Rows of a reader's frames, page after page."""
    offset = 0
    while True:
        frame = read(size, offset)
        yield from frame.iter_rows(named=True)
        if len(frame) < size:
            return
        offset += size


def base_url(request: Request) -> str:
    """The address that other systems see, without a slash at its end."""
    return (desk_of(request).options.public_url or str(request.base_url)).rstrip("/")


def moment_us(text: str) -> int:
    """Microseconds of an ISO 8601 moment; answers 400 when it is none."""
    moment = _moment(text)
    if moment is None:
        raise Problem(400, "bad_time", "A moment is written like 2026-11-21T08:15:30Z.")
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _filter(name: str, value: str) -> Filter:
    path = tuple(name.split("."))
    compare = "eq"
    if len(path) > 1 and path[-1] in COMPARISONS:
        path, compare = path[:-1], path[-1]
    if len(path) > 8 or not all(re.fullmatch(r"@?[A-Za-z][A-Za-z0-9_]*", part) for part in path):
        raise Problem(400, "bad_filter", "A filter is attribute=value; see docs/reference/api.md.")
    return Filter(path, compare, tuple(value.split(",")))


def _whole(said: str | None, name: str, lowest: int, highest: int, default: int) -> int:
    if said is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", said) or not lowest <= int(said) <= highest:
        raise Problem(400, "bad_paging", f"{name} is a whole number from {lowest} to {highest}.")
    return int(said)


def _reach(value: Any, path: tuple[str, ...]) -> Iterator[Any]:  # noqa: ANN401 - JSON is anything
    if isinstance(value, list):
        for each in value:
            yield from _reach(each, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        yield from _reach(value.get(path[0]), path[1:])


def _compares(compare: str, value: Any, wanted: str) -> bool:  # noqa: ANN401
    left, right = _comparable(value, wanted)
    return COMPARISONS[compare](left, right)


def _comparable(value: Any, wanted: str) -> tuple[Any, Any]:  # noqa: ANN401
    """Both sides as numbers, moments or text, whichever both can be."""
    if isinstance(value, bool):
        return str(value).lower(), wanted.lower()
    if isinstance(value, (int, Decimal)):
        try:
            number = Decimal(wanted)
        except InvalidOperation:
            return str(value), wanted
        return (Decimal(value), number) if number.is_finite() else (str(value), wanted)
    left, right = _moment(str(value)), _moment(wanted)
    return (left, right) if left is not None and right is not None else (str(value), wanted)


def _moment(text: str) -> datetime | None:
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
