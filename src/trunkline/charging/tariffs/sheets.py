"""Reading rate sheets and destination sheets: CSV as it comes from a partner or a spreadsheet."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar

from trunkline.charging.tariffs import literals
from trunkline.charging.tariffs.literals import Measure
from trunkline.charging.tariffs.mistakes import Place, nearest
from trunkline.charging.tariffs.reader import Reader
from trunkline.charging.tariffs.source import Scalar, Sheet, SheetRow
from trunkline.charging.tariffs.tariff import (
    ANY,
    Destination,
    Named,
    Rate,
    RateRounding,
    SheetPrice,
    Slot,
    Tier,
)

T = TypeVar("T")
PRICE_COLUMNS = (
    "destination",
    "prefix",
    "price",
    "per",
    "first",
    "next",
    "connect_fee",
    "min_charge",
    "max_cost",
    "end_at_cost",
)
PRICE_NEEDED = PRICE_COLUMNS[:4]
PLACE_COLUMNS = ("destination", "prefix")
Terms = tuple[str, str, str, str, str]


def find_sheet(sheets: dict[str, Sheet], name: str, beside: str) -> str | None:
    """The file that a sheet's name means: as written, or in the folder of the file that names it."""
    folder = beside.rpartition("/")[0]
    for candidate in (
        name,
        f"{folder}/{name}",
        name.removeprefix("./"),
        f"{folder}/{name.removeprefix('./')}",
    ):
        if candidate in sheets:
            return candidate
    return None


def read_destination_sheet(reader: Reader, sheet: Sheet) -> list[Destination]:
    """Destinations by name; rows of one name add up."""
    found: dict[str, Destination] = {}
    if not columns_fit(reader, sheet, PLACE_COLUMNS, PLACE_COLUMNS):
        return []
    for row in sheet.rows:
        place = Place(sheet.name, row.line, 1)
        name = _destination(reader, place, row)
        prefixes = tuple(Named(place, each) for each in _prefixes(reader, place, row))
        before = found.get(name)
        found[name] = Destination(
            before.place if before else place, name, (before.prefixes if before else ()) + prefixes
        )
    return list(found.values())


def read_price_sheet(
    reader: Reader, sheet: Sheet, rounding: RateRounding
) -> tuple[list[SheetPrice], dict[str, Rate]]:
    """The priced rows and the rates that they need; rows with the same terms share one rate."""
    prices: list[SheetPrice] = []
    rates: dict[Terms, Rate | None] = {}
    if not columns_fit(reader, sheet, PRICE_COLUMNS, PRICE_NEEDED):
        return [], {}
    lines: dict[str, int] = {}
    for row in sheet.rows:
        place = Place(sheet.name, row.line, 1)
        cells = row.cells
        prefixes = _prefixes(reader, place, row)
        for each in prefixes:
            if each in lines:
                reader.mistakes.add(
                    place, f"prefix {each} is priced in line {lines[each]} already; remove one of the two"
                )
            lines.setdefault(each, row.line)
        terms = (
            cells["price"],
            cells["per"],
            cells.get("first", ""),
            cells.get("next", ""),
            cells.get("connect_fee", ""),
        )
        if rates.get(terms) is None:
            rates[terms] = _rate(reader, place, sheet.name, terms, rounding)
        rate = rates[terms]
        prices.append(
            SheetPrice(
                place,
                _destination(reader, place, row),
                prefixes,
                rate.name if rate else "",
                _cell(reader, place, "min_charge", cells.get("min_charge", ""), 0),
                _cell(reader, place, "max_cost", cells.get("max_cost", ""), -1),
                _cell(reader, place, "end_at_cost", cells.get("end_at_cost", ""), -1),
            )
        )
    return prices, {rate.name: rate for rate in rates.values() if rate}


def columns_fit(reader: Reader, sheet: Sheet, known: tuple[str, ...], needed: tuple[str, ...]) -> bool:
    """Whether the first line names the columns; without it no row can be read."""
    place = Place(sheet.name, 1, 1)
    before = len(reader.mistakes)
    for column in sheet.columns:
        if column not in known:
            reader.mistakes.add(place, f'a sheet has no column "{column}"{nearest(column, known)}')
    missing = [column for column in needed if column not in sheet.columns]
    if missing:
        reader.mistakes.add(place, f"the first line names the columns; missing: {', '.join(missing)}")
    twice = sorted({column for column in sheet.columns if sheet.columns.count(column) > 1})
    if twice:
        reader.mistakes.add(place, f"column named twice: {', '.join(twice)}")
    return len(reader.mistakes) == before


def _destination(reader: Reader, place: Place, row: SheetRow) -> str:
    name = row.cells["destination"]
    if not name or name == ANY:
        reader.mistakes.add(place, f'"{name}" cannot name a destination; write what people call the place')
    return name


def _prefixes(reader: Reader, place: Place, row: SheetRow) -> tuple[str, ...]:
    """The prefixes of a row, several separated by |."""
    found = (
        reader.parse(Scalar(place, part.strip()), literals.prefix) for part in row.cells["prefix"].split("|")
    )
    return tuple(dict.fromkeys(each for each in found if each is not None))


def _cell(reader: Reader, place: Place, column: str, text: str, default: int) -> int:
    """An amount in a column that may be empty."""
    if not text:
        return default
    try:
        return literals.amount(text)
    except ValueError as error:
        reader.mistakes.add(place, f"{column}: {error}")
        return default


def _rate(reader: Reader, place: Place, sheet: str, terms: Terms, rounding: RateRounding) -> Rate | None:
    """The rate that a row's terms describe, or None after a mistake."""
    before = len(reader.mistakes)
    price_text, per_text, first_text, next_text, fee_text = terms
    try:
        price = literals.price(price_text)
    except ValueError as error:
        reader.mistakes.add(place, f"price: {error}")
        price = Fraction(0)
    quantities = []
    for column, text in (
        ("per", per_text),
        ("first", first_text or per_text),
        ("next", next_text or first_text or per_text),
    ):
        try:
            quantities.append(literals.quantity(text))
            if quantities[-1][0] < 1:
                reader.mistakes.add(place, f'{column}: "{text}" must be more than nothing')
        except ValueError as error:
            reader.mistakes.add(place, f"{column}: {error}")
    fee = _cell(reader, place, "connect_fee", fee_text, 0)
    measures = {measure for _, measure in quantities}
    if len(measures) > 1:
        reader.mistakes.add(
            place, "per, first and next are written in different units; write all as 60s, or all as 1MB"
        )
    if len(reader.mistakes) > before:
        return None
    (per, measure), (first, _), (following, _) = quantities
    slots: tuple[Slot, ...] = (Slot(place, 0, price, per, first),)
    if following != first:
        slots += (Slot(place, first, price, per, following),)
    increments = first_text if following == first else f"{first_text or per_text}/{next_text}"
    steps, once = f" by {increments}" if increments else "", f" + {fee_text}" if fee else ""
    name = f"{sheet}: {price_text} per {per_text}{steps}{once}"
    return Rate(
        place,
        name,
        (Tier(place, 0, slots),),
        fee=fee,
        rounding=rounding,
        measure=measure,
        tier_measure=Measure.BARE,
    )
