"""What of an account is spoken for, and how much it could still pay for: `reservations list`, `release`, `may-use`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.api.people import number_word
from trunkline.bootstrap.catalogues import load_catalogue
from trunkline.bootstrap.views import amount, masked, moment
from trunkline.charging.tariffs import literals
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.cli.app import DATA, AsJson, Data, Full, answer_json, app, out, table
from trunkline.cli.audit import now_us, saw
from trunkline.cli.hand import Url, hand
from trunkline.kernel.dial import to_text
from trunkline.kernel.money import to_micros
from trunkline.ports import NotReserved, Refused
from trunkline.records.charging import Unit
from trunkline.records.online import Hold, WouldUse
from trunkline.records.usage import UNIT_OF_KIND, Kind
from trunkline.stores.embedded.reader import EmbeddedReader

if TYPE_CHECKING:
    from trunkline.bootstrap.reservations import OnlineReservations

reservations = typer.Typer(
    no_args_is_help=True, help="Amounts set apart of an account, and quotas promised to sessions."
)
app.add_typer(reservations, name="reservations")

Number = Annotated[str, typer.Argument(help="The subscriber's number in international form.")]
_UNITS = {"ms": Unit.TIME, "octets": Unit.OCTETS, "events": Unit.EVENTS}


@reservations.command("list")
def list_held(number: Number, data: Data = DATA, full: Full = False, as_json: AsJson = False) -> None:
    """All that is set apart of an account, promised to sessions, or used and not charged yet; the newest first."""
    word, catalogue = _word(number), load_catalogue(data, None)
    owner, member = catalogue.members.account_of(word)
    port = _reading(data, catalogue)
    saw(data, word, "read_reservations", "full" if full else "")
    rows = [_row(each, catalogue, full=full) for each in port.held(owner) if member in (0, each.member)]
    if as_json:
        answer_json(rows)
        return
    names = ("name", "what", "subscriber", "of", "holds", "used", "since", "until")
    table(rows, {name: name for name in names}, "Nothing of this account is set apart or promised.")


@reservations.command("release")
def release(
    number: Number,
    name: Annotated[str, typer.Argument(help="Name of the reservation, as `reservations list` shows it.")],
    data: Data = DATA,
    url: Url = None,
) -> None:
    """Give back what was set apart. A session's quota is its network function's, and ends by itself."""
    word = _word(number)
    if not url:
        saw(data, word, "release", name)
    try:
        with hand(data, url) as writer:
            released = writer.release(word, name)
    except NotReserved as error:
        raise Refused(f"It was not released: {error}") from error
    if not released:
        raise Refused("This subscriber has no such reservation; it may be over already.")
    out.print(f"released: {name}", highlight=False)


@app.command("may-use")
def may_use(
    number: Number,
    units: Annotated[str, typer.Argument(help="How much is wanted: 30m, 1GB, or a number of events.")],
    usage: Annotated[str, typer.Option(help="Kind of usage: voice, sms, data, iot, content.")] = "voice",
    to: Annotated[str, typer.Option(help="Number that is called or written to.")] = "",
    service: Annotated[str, typer.Option(help="Data network, event type or content.")] = "",
    highest_rate: Annotated[
        str | None,
        typer.Option(help="What it may cost at most: 1.00/60s, 0.01/1MB, 0.10/1; left out: anything."),
    ] = None,
    highest_cost: Annotated[
        str | None, typer.Option(help="What the whole may cost at most, such as 5.00; left out: anything.")
    ] = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """How much of a use an account could pay for now, beside all that is promised already. Nothing is promised."""
    word, catalogue = _word(number), load_catalogue(data, None)
    if usage.upper() not in Kind.__members__:
        raise Refused(f"{usage} is no kind of usage. Known are voice, sms, data, iot and content.")
    kind = Kind[usage.upper()]
    called = number_word(to) if to else 0
    if called is None:
        raise Refused(f"{to} is not a number in international form, such as 447700900001.")
    rate_micros, per_units = _rate(highest_rate, kind) if highest_rate else (0, 0)
    use = WouldUse(
        word, int(kind), called, service, _quantity(units, kind), now_us(), rate_micros, per_units,
        _money(highest_cost) if highest_cost else None,
    )  # fmt: skip
    saw(data, word, "ask_may_use", f"{usage} {use.units}")
    granted, reason = _reading(data, catalogue).usable(use)
    if as_json:
        unit = _UNITS[UNIT_OF_KIND[kind]].name.lower()
        answer_json({"usage": usage, "unit": unit, "wanted": use.units, "units": granted, "reason": reason})
        return
    if reason:
        raise Refused(f"It cannot be judged: {reason}.")
    out.print(_text(granted, kind, catalogue), highlight=False)


def _rate(text: str, kind: Kind) -> tuple[int, int]:
    """Money for so many units, written 1.00/60s."""
    price, slash, per = text.partition("/")
    if not slash:
        raise Refused(f"{text} is not a rate; write money for so many units, such as 1.00/60s.")
    return _money(price), _quantity(per, kind)


def _money(text: str) -> int:
    try:
        return to_micros(text)
    except ValueError as error:
        raise Refused(f"{text} is not an amount of money: {error}.") from error


def _quantity(text: str, kind: Kind) -> int:
    fits = {
        "ms": literals.Measure.TIME, "octets": literals.Measure.OCTETS, "events": literals.Measure.BARE
    }[UNIT_OF_KIND[kind]]  # fmt: skip
    try:
        units, measure = literals.quantity(text)
    except ValueError as error:
        raise Refused(f"{error}.") from error
    if measure not in (fits, literals.Measure.BARE) or units < 1:
        raise Refused(f"{text} is not a quantity of {kind.name.lower()}, such as 60s, 1MB or 3.")
    return units


def _row(held: Hold, catalogue: Catalogue, *, full: bool) -> dict[str, Any]:
    who = catalogue.members.words_of(held.owner).get(held.member, held.owner)
    apart = not held.kind

    def text(units: int) -> str:
        return _amount(units, held.balance, catalogue) if apart else _text(units, Kind(held.kind), catalogue)

    return {
        "name": held.name,
        "what": "reservation" if apart else "owed" if held.until_us is None else "quota",
        "subscriber": to_text(who) if full else masked(who),
        "of": held.balance if apart else f"{Kind(held.kind).name.lower()}, group {held.group}",
        "units": held.units,
        "holds": text(held.units) if held.units else "",
        "used": text(held.owed) if held.owed else "",
        "since": moment(held.time_us),
        "until": None if held.until_us is None else moment(held.until_us),
    }


def _amount(units: int, balance: str, catalogue: Catalogue) -> str:
    unit = int(catalogue.tables.balance_unit[catalogue.balances.index(balance)])
    return amount(unit, units, catalogue.currency)


def _text(units: int, kind: Kind, catalogue: Catalogue) -> str:
    return amount(int(_UNITS[UNIT_OF_KIND[kind]]), units, catalogue.currency)


def _reading(data: Path, catalogue: Catalogue) -> OnlineReservations:
    from trunkline.bootstrap.reservations import OnlineReservations

    return OnlineReservations(None, EmbeddedReader(data), lambda: catalogue, now_us)


def _word(number: str) -> int:
    word = number_word(number)
    if word is None:
        raise Refused(f"{number} is not a number in international form, such as 447700900001.")
    return word
