"""Vouchers: `voucher make`, `list`, `codes`, `activate`, `block`, `unblock`, `show`, `redeem`."""

from __future__ import annotations

import csv as comma
import getpass
import os
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from trunkline.api.people import number_word
from trunkline.bootstrap.views import amount as amount_text
from trunkline.bootstrap.views import moment
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.tariffs.sections import amount_in
from trunkline.cli.app import DATA, AsJson, Data, EngineName, answer_json, app, out, table
from trunkline.cli.audit import now_us
from trunkline.cli.desk import Desk, WorksOn, at
from trunkline.cli.hand import Url
from trunkline.ports import NotRedeemed, Refused, VoucherBatch
from trunkline.records.charging import Unit

voucher = typer.Typer(
    no_args_is_help=True, help="Vouchers: make batches of codes, print, activate and block them, redeem."
)
app.add_typer(voucher, name="voucher")

Batch = Annotated[str, typer.Argument(help="Name of the batch.")]
One = Annotated[
    int | None, typer.Argument(help="Number of one voucher within the batch; left out: the whole batch.")
]
_DATE = "%Y-%m-%d"


@voucher.command("make")
def make(
    batch: Batch,
    size: Annotated[int, typer.Option(help="How many vouchers.")],
    amount: Annotated[str, typer.Option(help="What each is worth: money such as 10.00, or 5GB, 60m, 100.")],
    expires: Annotated[
        str, typer.Option(help="First day (UTC) on which it is no longer redeemed: 2027-12-31.")
    ],
    data: Data = DATA,
    balance: Annotated[str | None, typer.Option(help="Balance to add to; left out: the main one.")] = None,
    valid: Annotated[
        str | None, typer.Option(help="How long what it brings may be used, such as 30d; left out: for ever.")
    ] = None,
    active: Annotated[bool, typer.Option("--active", help="They may be redeemed at once.")] = False,
    engine: WorksOn = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Make a batch of vouchers; the same order again makes nothing."""
    with at(data, engine) as desk:
        order = _order(desk.catalogue(), batch, size, amount, expires, balance, valid, active=active)
        desk.wrote("make_vouchers", f"{batch} {size} {order.balance} {order.amount}")
        new = desk.vouchers().make(order)
    if as_json:
        answer_json({"batch": batch, "size": size, "status": "made" if new else "repeated"})
        return
    out.print(
        f"{'made' if new else 'made before'}: {size:,} vouchers of {amount} to {order.balance}",
        highlight=False,
    )


def _order(
    catalogue: Catalogue,
    batch: str,
    size: int,
    amount: str,
    expires: str,
    balance: str | None,
    valid: str | None,
    *,
    active: bool,
) -> VoucherBatch:
    """What is ordered, in the tariff's units; raises `Refused`."""
    main = catalogue.balances[catalogue.main_balance]
    name = balance or main
    if name not in catalogue.balances or not name:
        raise Refused(f"The tariff has no balance {name}. `trunkline tariff show` lists them.")
    if name == main and valid is not None:
        raise Refused("Money of the main balance has no end; leave --valid out.")
    unit = Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(name)]))
    try:
        worth = amount_in(unit, amount)
        until = datetime.strptime(expires, _DATE).replace(tzinfo=UTC)
        days = None if valid is None else int(valid.removesuffix("d"))
    except ValueError as error:
        raise Refused(f"No vouchers were made: {error}.") from error
    return VoucherBatch(
        batch, name, worth, days, int(until.timestamp()) * 1_000_000, size, "active" if active else "made", now_us(),
        getpass.getuser(),
    )  # fmt: skip


@voucher.command("list")
def list_batches(data: Data = DATA, engine: WorksOn = EngineName.EMBEDDED, as_json: AsJson = False) -> None:
    """All batches, the newest first, and what became of their vouchers."""
    with at(data, engine) as desk:
        catalogue, found = desk.catalogue(), desk.vouchers().batches()
    rows = []
    for batch, counts in found:
        unit = Unit(int(catalogue.tables.balance_unit[catalogue.balances.index(batch.balance)]))
        rows.append(
            {
                "batch": batch.batch, "state": batch.state, "balance": batch.balance, "amount": batch.amount,
                "worth": amount_text(int(unit), batch.amount, catalogue.currency), "expires": moment(batch.expires_us),
                **vars(counts),
            }
        )  # fmt: skip
    if as_json:
        answer_json(rows)
        return
    names = ("batch", "state", "balance", "worth", "expires", "made", "unused", "used", "blocked", "expired")
    table(rows, {name: name for name in names}, "There are no vouchers yet.")


@voucher.command("codes")
def codes(
    batch: Batch,
    to: Annotated[Path, typer.Option("--to", help="File to write, as CSV: number, code. It must not exist.")],
    data: Data = DATA,
    engine: WorksOn = EngineName.EMBEDDED,
) -> None:
    """Write the codes of a batch to a file that only you may read, to be printed. This is written down."""
    with at(data, engine) as desk:
        port = desk.vouchers()
        port.batch(batch)
        desk.wrote("read_voucher_codes", batch)
        try:
            file = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise Refused(f"{to} is there already; name a file that does not exist.") from error
        with open(file, "w", encoding="ascii", newline="") as lines:  # noqa: PTH123 -- it is open, for its owner alone
            writer = comma.writer(lines, lineterminator="\n")
            writer.writerow(("number", "code"))
            writer.writerows(port.codes(batch))
    out.print(f"written to {to}", highlight=False)


@voucher.command("activate")
def activate(batch: Batch, data: Data = DATA, engine: WorksOn = EngineName.EMBEDDED) -> None:
    """Put a batch into circulation."""
    with at(data, engine) as desk:
        _change(desk, batch, None, "activate")


@voucher.command("block")
def block(batch: Batch, number: One = None, data: Data = DATA, engine: WorksOn = EngineName.EMBEDDED) -> None:
    """Take a batch out of circulation, or one voucher, such as one that was lost."""
    with at(data, engine) as desk:
        _change(desk, batch, number, "block")


@voucher.command("unblock")
def unblock(
    batch: Batch, number: One = None, data: Data = DATA, engine: WorksOn = EngineName.EMBEDDED
) -> None:
    """Bring a batch or one voucher back into circulation."""
    with at(data, engine) as desk:
        _change(desk, batch, number, "unblock")


@voucher.command("show")
def show(
    batch: Batch,
    number: Annotated[int, typer.Argument(help="Number of the voucher within the batch.")],
    data: Data = DATA,
    engine: WorksOn = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """What became of one voucher."""
    with at(data, engine) as desk:
        found = desk.vouchers().voucher(batch, number)
        desk.wrote("read_voucher", f"{batch}-{number}")
    used = moment(found.redeemed.time_us) if found.redeemed else None
    if as_json:
        answer_json({"batch": batch, "number": number, "state": found.state, "used_at": used})
        return
    out.print(f"{batch}-{number}: {found.state}{f' since {used}' if used else ''}", highlight=False)


@voucher.command("redeem")
def redeem(
    number: Annotated[str, typer.Argument(help="The subscriber's number in international form.")],
    data: Data = DATA,
    redeem_id: Annotated[
        str | None,
        typer.Option("--id", help="Name of this order: the same name redeems once. Left out: a new name."),
    ] = None,
    url: Url = None,
    engine: WorksOn = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Redeem a voucher for a subscriber. Its code is read from the input, so that no list of processes shows it."""
    word = number_word(number)
    if word is None:
        raise Refused(f"{number} is not a number in international form, such as 447700900001.")
    with at(data, engine) as desk:
        catalogue = desk.catalogue()
        if catalogue.members.account_of(word)[1]:
            raise Refused("A member has no money of its own. Name the owner of the shared account.")
        code = typer.prompt("Code", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
        if not url:
            desk.wrote("redeem_voucher", "", word)
        try:
            with desk.orders(url) as writer:
                answer = writer.redeem(redeem_id or str(uuid.uuid1()), word, code)
        except NotRedeemed as error:
            raise Refused(f"It was not redeemed: {error}") from error
    if as_json:
        answer_json(answer)
        return
    unit = int(catalogue.tables.balance_unit[catalogue.balances.index(answer["balance"])])
    worth = amount_text(unit, answer["amount"], catalogue.currency)
    out.print(f"{answer['status']}: {worth} to {answer['balance']}", highlight=False)


def _change(desk: Desk, batch: str, number: int | None, action: str) -> None:
    port = desk.vouchers()
    port.batch(batch)
    what = batch if number is None else f"{batch}-{number}"
    desk.wrote(f"{action}_vouchers" if number is None else f"{action}_voucher", what)
    port.change(batch, number, action, getpass.getuser())
    done = {"activate": "active", "block": "blocked", "unblock": "no longer blocked"}[action]
    out.print(f"{what} is {done}", highlight=False)
