"""Reading the subscribers file: who has which plan from when on, with every mistake told at once.

The file is CSV with a header; only `subscriber` and `plan` are required. Several rows of one subscriber are
its history of plans. Nothing is taken from a file with mistakes, so it can be corrected and loaded again as
a whole.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from io import BytesIO
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.mistakes import Mistake, Mistakes, Place, TariffError, nearest
from trunkline.kernel.identity import dial_words
from trunkline.kernel.money import to_micros
from trunkline.records.charging import SUBSCRIBERS

COLUMNS = ("subscriber", "plan", "from", "payment", "credit_limit", "time_zone", "cycle_day", "balance")
LAST_CYCLE_DAY = 28  # every month has one
TOLD_AT_MOST = 1000


class SubscribersError(TariffError):
    """The subscribers file cannot be used; `mistakes` are all of them."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__(mistakes)
        self.args = (self.args[0].replace("the tariff has", "the subscribers file has", 1),)


def read_subscribers(name: str, content: bytes, catalogue: Catalogue) -> pl.DataFrame:
    """Subscribers of a CSV file as rows of `records.charging.SUBSCRIBERS`, `seq` = 0 to n - 1 in file order."""
    mistakes = Mistakes()
    table = _table(name, content, mistakes)
    columns: dict[str, pl.Series] = {}
    if table is not None:
        columns = {
            "subscriber": _numbers(name, table["subscriber"], mistakes),
            "plan": _known(
                name, table["plan"], tuple(filter(None, catalogue.plans)), "plan", mistakes, needed=True
            ),
            "from_s": _each(name, table["from"], lambda text: _second(text, catalogue), 0, mistakes),
            "payment": _known(name, table["payment"], ("prepaid", "postpaid"), "payment", mistakes).fill_null(
                "prepaid"
            ),
            "credit_limit_micros": _each(name, table["credit_limit"], to_micros, 0, mistakes),
            "time_zone": _known(
                name, table["time_zone"], tuple(filter(None, catalogue.time_zones)), "time zone", mistakes
            ),
            "cycle_day": _each(name, table["cycle_day"], _cycle_day, catalogue.default_cycle_day, mistakes),
            "balance_micros": _each(name, table["balance"], to_micros, 0, mistakes),
        }
    if table is None or len(mistakes):
        raise SubscribersError(mistakes.sorted())
    frame = pl.DataFrame(columns).with_row_index("seq")
    return SUBSCRIBERS.record.conform(frame)


def time_zones_of(content: bytes) -> set[str]:
    """Time zones that a subscribers file names; empty when it has no such column or is no such file."""
    try:
        table = pl.read_csv(BytesIO(content), infer_schema=False)
    except pl.exceptions.PolarsError:
        return set()
    names = (
        table["time_zone"].drop_nulls().unique()
        if "time_zone" in table.columns
        else pl.Series(dtype=pl.String)
    )
    return {name.strip() for name in names if name.strip() in available_timezones()}


def _table(name: str, content: bytes, mistakes: Mistakes) -> pl.DataFrame | None:
    try:
        table = pl.read_csv(BytesIO(content), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        mistakes.add(Place(name, 1, 1), f"not a CSV file with a header: {error}")
        return None
    for column in table.columns:
        if column not in COLUMNS:
            mistakes.add(Place(name, 1, 1), f'unknown column "{column}"{nearest(column, COLUMNS)}')
    for column in COLUMNS[:2]:
        if column not in table.columns:
            mistakes.add(Place(name, 1, 1), f'the column "{column}" is missing')
    if len(mistakes):
        return None
    absent = [
        pl.lit(None, dtype=pl.String).alias(column) for column in COLUMNS if column not in table.columns
    ]
    return table.with_columns(absent).with_columns(pl.col(COLUMNS).str.strip_chars().replace("", None))


def _tell(name: str, rows: pl.Series, column: str, text: str, mistakes: Mistakes) -> None:
    for row in rows.head(TOLD_AT_MOST):
        mistakes.add(Place(name, int(row) + 2, COLUMNS.index(column) + 1), text)


def _numbers(name: str, column: pl.Series, mistakes: Mistakes) -> pl.Series:
    _tell(name, column.is_null().arg_true(), "subscriber", "the subscriber is missing", mistakes)
    return pl.Series(dial_words(column.str.strip_prefix("+")))


def _known(
    name: str,
    column: pl.Series,
    known: tuple[str, ...],
    what: str,
    mistakes: Mistakes,
    *,
    needed: bool = False,
) -> pl.Series:
    header = {"time zone": "time_zone"}.get(what, what)
    for value in column.unique():
        if value is None:
            if needed:
                _tell(name, column.is_null().arg_true(), header, f"the {what} is missing", mistakes)
        elif value not in known:
            text = f'unknown {what} "{value}"{nearest(value, known)}'
            _tell(name, (column == value).arg_true(), header, text, mistakes)
    return column


def _each(name: str, column: pl.Series, read: object, default: int, mistakes: Mistakes) -> pl.Series:
    """Read each distinct text once: a column has few of them."""
    assert callable(read)
    values: dict[str, int] = {}
    for text in column.drop_nulls().unique():
        try:
            values[text] = read(text)
        except ValueError as error:
            _tell(name, (column == text).arg_true(), column.name, str(error), mistakes)
            values[text] = default
    return column.replace_strict(values, default=default, return_dtype=pl.Int64).fill_null(default)


def _second(text: str, catalogue: Catalogue) -> int:
    """Second (UTC) of a date or a date and time; without an offset it is the operator's own time."""
    zone = ZoneInfo(catalogue.time_zones[catalogue.default_zone])
    try:
        moment = datetime.fromisoformat(text) if len(text) > len("2026-01-01") else None
        moment = moment or datetime.combine(date.fromisoformat(text), datetime.min.time())
    except ValueError as error:
        raise ValueError(f'"{text}" is not a date such as 2026-01-01 or 2026-01-01T08:00:00Z') from error
    second = int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC).timestamp())
    if not 0 <= second < 2**32 - 1:
        raise ValueError(f'"{text}" is not between 1970 and 2106')
    return second


def _cycle_day(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LAST_CYCLE_DAY:
        raise ValueError(f'cycle_day "{text}" is not a day from 1 to {LAST_CYCLE_DAY}')
    return int(text)
