"""Reading the subscribers file: who has which plan from when on, with every mistake told at once.

The file is CSV with a header; only `subscriber` and `plan` are required. Several rows of one subscriber are
its history of plans. A row with an `owner` makes its subscriber a member of the owner's account. Nothing is taken
from a file with mistakes, so it can be corrected and loaded again as a whole.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from io import BytesIO
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

from trunkline.charging.tariffs import amount_in
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.mistakes import Mistake, Mistakes, Place, TariffError, nearest
from trunkline.kernel.identity import dial_words
from trunkline.kernel.money import to_micros
from trunkline.records.charging import SUBSCRIBERS, Unit

COLUMNS = (
    "subscriber", "plan", "from", "payment", "credit_limit", "time_zone", "cycle_day", "balance", "owner", "limits",
)  # fmt: skip
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
        columns |= _sharing(name, table, columns["subscriber"], catalogue, mistakes)
    if table is None or len(mistakes):
        raise SubscribersError(mistakes.sorted())
    frame = pl.DataFrame(columns).with_row_index("seq")
    # Owners first: an account is opened by its owner, however large the file is.
    return SUBSCRIBERS.record.conform(frame.sort(pl.col("member") != 0, maintain_order=True))


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


def members_of_file(name: str, content: bytes) -> list[tuple[int, int]]:
    """Who is a member of whose account by a subscribers file: pairs of dial words (member, owner), in file order.

    Raises `SubscribersError` with every mistake in who shares with whom.
    """
    mistakes = Mistakes()
    table = _table(name, content, mistakes)
    if table is None:
        raise SubscribersError(mistakes.sorted())
    if table["owner"].is_null().all():
        return []
    words = _numbers(name, table["subscriber"], mistakes)
    owners = _owners(name, table, words, mistakes)
    if len(mistakes):
        raise SubscribersError(mistakes.sorted())
    pairs = (
        pl.DataFrame({"member": words, "owner": owners})
        .filter(pl.col("owner") != 0)
        .unique(maintain_order=True)
    )
    return pairs.rows()


def _owners(name: str, table: pl.DataFrame, words: pl.Series, mistakes: Mistakes) -> pl.Series:
    """Dial word of the owner of each row; 0 where a subscriber pays alone. Groups lie no deeper than one level."""
    is_member = table["owner"].is_not_null()
    owners = pl.Series(dial_words(table["owner"].fill_null("").str.strip_prefix("+")))
    owners = owners.set(~is_member, 0)
    rows = pl.DataFrame({"word": words, "owner": owners})
    alone = rows.filter(pl.col("owner") == 0)["word"]
    several = rows.select(pl.col("owner").n_unique().over("word") > 1).to_series()
    found = (
        (is_member & (owners == words), "nobody is a member of the own account; leave `owner` empty"),
        (several, "all rows of a subscriber name the same owner; moving between accounts is not supported"),
        (is_member & ~owners.is_in(alone.implode()) & ~several & (owners != words),
         "the owner needs a row of its own in this file, without an owner"),
    )  # fmt: skip
    for wrong, text in found:
        _tell(name, wrong.arg_true(), "owner", text, mistakes)
    for column in ("payment", "credit_limit", "balance"):
        wrong = is_member & table[column].is_not_null()
        _tell(
            name, wrong.arg_true(), column, f"the owner pays for a member; leave `{column}` empty", mistakes
        )
    return owners


def _sharing(
    name: str, table: pl.DataFrame, words: pl.Series, catalogue: Catalogue, mistakes: Mistakes
) -> dict[str, pl.Series]:
    """The columns of shared accounts: whose account each row belongs to, the member's number, own limits."""
    if not len(catalogue.members) and table["owner"].is_null().all() and table["limits"].is_null().all():
        nothing = pl.repeat(0, len(words), dtype=pl.UInt64, eager=True)
        return {"member": nothing, "number": nothing}
    owners = _owners(name, table, words, mistakes)
    accounts, numbers = (pl.Series(each) for each in catalogue.members.place(words.to_numpy()))
    kept = (numbers != 0) & (accounts != owners)
    _tell(
        name, kept.arg_true(), "owner", "it is a member of another account already; name that owner", mistakes
    )
    unknown = (owners != 0) & (numbers == 0)
    _tell(name, unknown.arg_true(), "owner", "the account has no place for more members", mistakes)
    wrong = table["limits"].is_not_null() & (owners == 0) & ~words.is_in(owners.implode())
    _tell(name, wrong.arg_true(), "limits", "only who shares an account has limits", mistakes)
    known: dict[str, list[dict[str, object]]] = {}
    for text in table["limits"].drop_nulls().unique():
        try:
            known[text] = _limits(text, catalogue)
        except ValueError as error:
            _tell(name, (table["limits"] == text).arg_true(), "limits", str(error), mistakes)
    limits = pl.Series(
        [known.get(text, []) if text else [] for text in table["limits"]],
        dtype=SUBSCRIBERS.record.schema["limits"],
    )
    return {
        "subscriber": accounts,
        "member": numbers,
        "number": words.set(numbers == 0, 0),
        "limits": limits,
    }


def _limits(text: str, catalogue: Catalogue) -> list[dict[str, object]]:
    """Limits as they are written, such as `pool=5GB talk=60m`."""
    found: dict[str, int] = {}
    for part in text.split():
        balance, mark, most = part.partition("=")
        shared = [
            each for at, each in enumerate(catalogue.balances) if each and catalogue.tables.balance_shared[at]
        ]
        if not mark or balance not in shared:
            raise ValueError(
                f'"{part}" is not a limit such as {(shared or ["pool"])[0]}=5GB of a shared balance'
            )
        unit = Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(balance)]))
        found[balance] = amount_in(unit, most)
    return [{"balance": balance, "most": most} for balance, most in found.items()]


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
