"""Looking at money and moving it: `balance`, `usage`, `topup`, `transfer`, `alerts`."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer

from trunkline.api.people import number_word
from trunkline.bootstrap import views
from trunkline.charging.sharing import concerning
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.cli.app import DATA, AsJson, Data, EngineName, Full, answer_json, app, out, table
from trunkline.cli.desk import WorksOn, at
from trunkline.cli.hand import Url
from trunkline.kernel.money import to_micros, to_text
from trunkline.ports import Movement, NotTransferred, Reader, Refused, Transfer
from trunkline.records.charging import NEVER_S, Cause, Unit

Number = Annotated[str, typer.Argument(help="The subscriber's number in international form.")]
FOREVER_US = 2**62
LOOK_EVERY_S = 1.0


def _word(number: str) -> int:
    word = number_word(number)
    if word is None:
        raise Refused(f"{number} is not a number in international form, such as 447700900001.")
    return word


@app.command()
def balance(
    number: Number, data: Data = DATA, engine: WorksOn = EngineName.EMBEDDED, as_json: AsJson = False
) -> None:
    """What a subscriber has: plan, balances, allowances, counters."""
    word = _word(number)
    with at(data, engine) as desk:
        catalogue = desk.catalogue()
        owner, member = catalogue.members.account_of(word)
        rows = concerning(desk.reader().account(owner), member, catalogue)
        desk.wrote("read_balances", "", word)
    if not len(rows):
        raise Refused("There is no such subscriber. Is the number whole, with its country code?")
    shown = views.account_rows(rows, catalogue, catalogue.members.words_of(owner))
    if as_json:
        answer_json(shown)
        return
    columns = {"kind": "what", "name": "name", "text": "has", "valid_from": "from", "valid_until": "until"}
    table(shown, columns, "")


@app.command()
def usage(
    number: Annotated[
        str | None, typer.Argument(help="The subscriber's number; left out: everybody's newest.")
    ] = None,
    data: Data = DATA,
    limit: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
    engine: WorksOn = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """What was used and what it cost, newest first."""
    word = _word(number) if number else None
    with at(data, engine) as desk:
        catalogue, reader = desk.catalogue(), desk.reader()
        owner, member = catalogue.members.account_of(word) if word is not None else (None, 0)
        found = reader.usage(owner, -FOREVER_US, FOREVER_US, limit, 0, member or None)
        corrections = reader.corrections_of(found)
        if word is not None or full:
            desk.wrote("read_usage", "", word or 0)
    rows = views.usage_rows(found, corrections, catalogue.currency, full=full)
    if as_json:
        answer_json(rows)
        return
    columns = {
        "start": "start",
        "kind": "kind",
        "other": "with",
        "destination": "to",
        "used": "used",
        "charged": "charged",
    }
    if any(row["remark"] for row in rows):
        columns["remark"] = "remark"
    table(rows, columns, "Nothing was used yet.")


@app.command()
def topup(
    number: Number,
    amount: Annotated[
        str, typer.Argument(help="How much: money such as 10.00, or whole units (ms, octets, events).")
    ],
    data: Data = DATA,
    balance_name: Annotated[
        str | None, typer.Option("--balance", help="Balance to add to; left out: the main one.")
    ] = None,
    movement_id: Annotated[
        str | None,
        typer.Option("--id", help="Name of this top-up: the same name is booked once. Left out: a new name."),
    ] = None,
    url: Url = None,
    engine: WorksOn = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Add money or units to a balance."""
    with at(data, engine) as desk:
        catalogue = desk.catalogue()
        name = balance_name or catalogue.balances[catalogue.main_balance]
        if catalogue.members.account_of(_word(number))[1]:
            raise Refused("A member has no money of its own. Name the owner of the shared account.")
        movement = Movement(
            movement_id or str(uuid.uuid1()), int(Cause.TOPUP), _word(number), name, _units(amount, name, catalogue),
            time.time_ns() // 1000, NEVER_S,
        )  # fmt: skip
        with desk.orders(url) as writer:
            answer = writer.move(movement)
    if as_json:
        answer_json(answer)
    if answer.get("status") == "refused":
        raise Refused(f"The top-up was refused: {answer['reason']}.")
    if not as_json:
        out.print(f"{answer.get('status', 'booked')}: {amount} to {name}", highlight=False)


@app.command()
def transfer(
    giver: Annotated[str, typer.Argument(help="Number of the subscriber who gives.")],
    receiver: Annotated[str, typer.Argument(help="Number of the subscriber who receives.")],
    amount: Annotated[
        str, typer.Argument(help="How much the receiver gets: money such as 10.00, or whole units.")
    ],
    data: Data = DATA,
    balance_name: Annotated[
        str | None, typer.Option("--balance", help="Balance to hand on from; left out: the main one.")
    ] = None,
    transfer_id: Annotated[
        str | None,
        typer.Option(
            "--id", help="Name of this transfer: the same name is booked once. Left out: a new name."
        ),
    ] = None,
    url: Url = None,
    engine: WorksOn = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Hand money or units on from one subscriber to another, as the tariff allows; both at one moment, or neither."""
    with at(data, engine) as desk:
        catalogue = desk.catalogue()
        name = balance_name or catalogue.balances[catalogue.main_balance]
        order = Transfer(
            transfer_id or str(uuid.uuid1()), _word(giver), _word(receiver), name, _units(amount, name, catalogue),
            time.time_ns() // 1000,
        )  # fmt: skip
        if not url:
            desk.wrote("transfer_out", "", order.giver)
            desk.wrote("transfer_in", "", order.receiver)
        try:
            with desk.orders(url) as writer:
                answer = writer.transfer(order)
        except NotTransferred as error:
            raise Refused(f"It was not transferred: {error}") from error
    if as_json:
        answer_json(answer)
        return
    fee = f", for a fee of {to_text(answer['fee_micros'])}" if answer["fee_micros"] else ""
    out.print(f"{answer['status']}: {amount} of {name} handed on{fee}", highlight=False)


def _units(amount: str, name: str, catalogue: Catalogue) -> int:
    known = name in catalogue.balances
    try:
        if known and catalogue.tables.balance_unit[catalogue.balances.index(name)] != Unit.MONEY:
            return int(amount)
        return to_micros(amount)
    except ValueError as error:
        raise Refused(f"{amount} cannot be added to {name}: {error}.") from error


@app.command()
def alerts(
    data: Data = DATA,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on, telling each alert as it comes.")
    ] = False,
    limit: Annotated[int, typer.Option(help="How many of the newest.")] = 20,
    engine: WorksOn = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """What customers are told: allowances nearly used, balances low, spend caps."""
    with at(data, engine) as desk:
        reader, catalogue = desk.reader(), desk.catalogue()
        after = max(0, reader.status()["alerts"] - limit)
        if full:
            desk.wrote("read_alerts")
        rows = views.alert_rows(reader.alerts(after, limit), catalogue, full=full)
        if follow:
            _follow(reader, catalogue, rows, after, full=full, as_json=as_json)
    if as_json:
        answer_json(rows)
        return
    columns = {"time": "time", "subscriber": "subscriber", "text": "alert"}
    table(rows, columns, "No threshold was crossed yet.")


def _follow(
    reader: Reader, catalogue: Catalogue, rows: list[dict[str, Any]], after: int, *, full: bool, as_json: bool
) -> NoReturn:
    """Tell each alert as it comes, beginning with these, until somebody stops it."""
    while True:
        for row in rows:
            if as_json:
                answer_json(row)
            else:
                out.print(f"{row['time']}  {row['subscriber']}  {row['text']}", highlight=False)
        after = max([after, *(row["number"] for row in rows)])
        if not rows:
            time.sleep(LOOK_EVERY_S)
        rows = views.alert_rows(reader.alerts(after, 1000), catalogue, full=full)


def since(moment_us: int) -> str:
    """How long ago a moment was, for people."""
    seconds = max(0, int(datetime.now(UTC).timestamp() - moment_us / 1e6))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60:,} min ago"
