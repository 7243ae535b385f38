"""Bills: `bill preview`, `run`, `list`, `show`, `export`, `check`, `dispute`, `credit`."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline.api.bills.document import document, period_text, summary
from trunkline.api.bills.forms import Form, rendered
from trunkline.api.people import mask, number_word
from trunkline.bootstrap.bill_notes import known_bill
from trunkline.bootstrap.bills import FolderBills
from trunkline.bootstrap.catalogues import load_catalogue
from trunkline.bootstrap.platform import opened
from trunkline.cli.app import (
    DATA,
    AsJson,
    Data,
    EngineName,
    Full,
    HistoryOf,
    answer_json,
    app,
    out,
    refuse_kafka,
    table,
)
from trunkline.cli.audit import saw
from trunkline.cli.hand import TOKEN, Url, ask
from trunkline.kernel import money
from trunkline.kernel.dial import to_text
from trunkline.kernel.money import to_micros
from trunkline.ports import FolderInUse, Refused
from trunkline.settings import Folders, Http, Kafka, Keeping, Spark, read

if TYPE_CHECKING:
    from trunkline.bootstrap.cluster_bills import ClusterBills
    from trunkline.bootstrap.spark_bills import SparkBills

bill = typer.Typer(no_args_is_help=True, help="Bills: preview, run, look at, check, dispute and credit them.")
app.add_typer(bill, name="bill")

Number = Annotated[str, typer.Argument(help="The subscriber's number in international form.")]
BillId = Annotated[str, typer.Argument(help="The bill's name, as `bill list` shows it.")]
Period = Annotated[str | None, typer.Option(help="Month in which the period began, such as 2026-10.")]
Why = Annotated[str, typer.Option("--reason", help="Why, in a sentence; it is kept with the bill.")]
ITEMS_AT_MOST = 100_000
NO_BILLS = "make bills"


@bill.command("preview")
def preview(
    number: Number,
    data: Data = DATA,
    engine: HistoryOf = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """The bill of the running period, as it would be if the period ended with what is known now."""
    word = _word(number)
    with _books(data, engine) as books:
        found = books.preview(word)
    saw(data, word, "preview_bill", "", engine)
    if found is None:
        raise Refused("There is no such subscriber, or its running period is billed already.")
    _show(document(found, _shown(full=full)), as_json=as_json)


@bill.command("run")
def run_bills(
    period: Annotated[str, typer.Option(help="Month in which the period began, such as 2026-10.")],
    data: Data = DATA,
    url: Url = None,
    engine: HistoryOf = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Make the bills of a period that is over. Each is made once: start it again whenever it was interrupted."""
    wanted = _period(period)
    if url:
        answer = ask(url, "/api/v1/bills/runs", {"period": period_text(wanted)})
    elif engine is EngineName.SPARK:
        answer = vars(_of_spark(data).run(wanted))
        saw(data, 0, "run_bills", period, engine)
    else:
        refuse_kafka(engine, NO_BILLS)
        with _writing(data) as bills:
            answer = vars(bills.run(wanted))
        saw(data, 0, "run_bills", period)
    if as_json:
        answer_json(answer)
        return
    out.print(
        f"{answer['bills']:,} bills of {money.to_text(answer['total_micros'])} in all were made;"
        f" {answer['billed']:,} accounts had theirs, {answer['running']:,} periods are not over,"
        f" {answer['behind']:,} wait for an earlier bill, {answer['ahead']:,} begin later.",
        highlight=False,
    )
    if len(answer["payable_micros"]) > 1:
        sums = (f"{money.to_text(micros)} {name}" for name, micros in answer["payable_micros"].items())
        out.print(f"By the currency they are billed in: {', '.join(sums)}.", highlight=False)


@bill.command("list")
def list_bills(
    number: Annotated[
        str | None, typer.Argument(help="The subscriber's number; left out: everybody's.")
    ] = None,
    period: Period = None,
    data: Data = DATA,
    limit: Annotated[int, typer.Option(help="How many at most, the newest period first.")] = 20,
    engine: HistoryOf = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Bills, the newest period first."""
    word = _word(number) if number else None
    with _books(data, engine) as books:
        found = books.bills(word, _period(period) if period else None, limit, lines=False)
    if word is not None or full:
        saw(data, word or 0, "list_bills", "", engine)
    rows = [summary(each, _shown(full=full)) for each in found]
    if as_json:
        answer_json(rows)
        return
    for row in rows:
        row["total"] = f"{money.to_text(row['total_micros'])} {row['currency']}"
        other = row["payable"]
        row["billed_in"] = (
            f"{money.to_text(other['total_micros'])} {other['currency']}" if other["rate"] else ""
        )
    names = ["bill_id", "period", "subscriber", "plan", "state", "total"]
    if any(row["billed_in"] for row in rows):
        names.append("billed_in")
    table(rows, {name: name.replace("_", " ") for name in names}, "There is no bill yet.")


@bill.command("show")
def show(
    bill_id: BillId,
    data: Data = DATA,
    engine: HistoryOf = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """One bill with all its lines, and what was said of it."""
    with _books(data, engine) as books:
        found = _known(books, data, bill_id, "read_bill", engine)
    _show(document(found, _shown(full=full)), as_json=as_json)


@bill.command("export")
def export(
    bill_id: BillId,
    to: Annotated[Path, typer.Argument(help="File to write; what is there already is not overwritten.")],
    form: Annotated[Form, typer.Option("--format", help="json, html or pdf.")] = Form.HTML,
    items: Annotated[bool, typer.Option("--items", help="Tell every use, too.")] = False,
    data: Data = DATA,
    engine: HistoryOf = EngineName.EMBEDDED,
    full: Full = False,
) -> None:
    """Write a bill as a file to hand on: numbers are masked unless `--full` is asked for."""
    with _books(data, engine) as books:
        found = _known(books, data, bill_id, "export_bill", engine)
        uses = books.items(found, ITEMS_AT_MOST) if items else None
    octets = rendered(document(found, _shown(full=full), uses), form)
    try:
        with to.open("xb") as file:
            file.write(octets)
    except FileExistsError as error:
        raise FileExistsError(f"{to} exists already. Name another file.") from error
    out.print(f"Written to {to}: {len(octets):,} octets.", highlight=False)


@bill.command("check")
def check_bills(
    period: Period = None,
    data: Data = DATA,
    engine: HistoryOf = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Whether the sum of bills equals the ledger, bill by bill; ends with exit code 7 where it does not."""
    refuse_kafka(engine, NO_BILLS)
    checking: FolderBills | SparkBills = _of_spark(data) if engine is EngineName.SPARK else _reading(data)
    found = checking.check(_period(period) if period else None)
    answer = {
        "bills": found.bills,
        "bill_micros": found.bill_micros,
        "ledger_micros": found.ledger_micros,
        "differences": found.differences.to_dicts(),
        "currencies": found.currencies.to_dicts(),
    }
    if as_json:
        answer_json(answer)
    else:
        out.print(
            f"{found.bills:,} bills: {money.to_text(found.bill_micros)} on bills,"
            f" {money.to_text(found.ledger_micros)} in the ledger, {len(found.differences):,} differences",
            highlight=False,
        )
        if len(found.currencies) > 1:
            _tell_currencies(found.currencies.to_dicts())
        names = ("bill_id", "what", "bill_micros", "ledger_micros")
        if len(found.differences):
            table(found.differences.head(20).to_dicts(), {name: name.replace("_", " ") for name in names}, "")
    if len(found.differences):
        raise typer.Exit(7)


@bill.command("dispute")
def dispute(
    bill_id: BillId,
    reason: Why,
    data: Data = DATA,
    settled: Annotated[bool, typer.Option("--settled", help="The dispute is over.")] = False,
    url: Url = None,
    engine: HistoryOf = EngineName.EMBEDDED,
) -> None:
    """Write down that a bill is disputed, or that the dispute is settled. It moves no money."""
    if url:
        ask(url, f"/api/v1/bills/{bill_id}/disputes", {"text": reason, "settled": settled})
    else:
        with _books(data, engine) as books:
            _known(books, data, bill_id, "settle_bill" if settled else "dispute_bill", engine)
            books.dispute(bill_id, getpass.getuser(), reason, settled=settled)
    out.print(f"{bill_id}: {'settled' if settled else 'disputed'}", highlight=False)


@bill.command("credit")
def credit(
    bill_id: BillId,
    amount: Annotated[str, typer.Argument(help="How much of it is given back, such as 5.00.")],
    reason: Why,
    data: Data = DATA,
    name: Annotated[
        str | None,
        typer.Option(
            "--id", help="Tells credit notes of the same amount and reason apart; the same is booked once."
        ),
    ] = None,
    url: Url = None,
    engine: HistoryOf = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Give some of a bill back by a credit note: one movement of the ledger that names the bill."""
    try:
        micros = to_micros(amount)
    except ValueError as error:
        raise Refused(f"{amount} is no amount: {error}.") from error
    if url:
        order = {"amount_micros": micros, "text": reason, "name": name}
        answer = ask(url, f"/api/v1/bills/{bill_id}/credits", order)
    else:
        with _ordering(data, engine) as books:
            _known(books, data, bill_id, "credit_bill", engine)
            answer = {"movement_id": books.credit(bill_id, micros, getpass.getuser(), reason, name)}
    if as_json:
        answer_json(answer)
    else:
        out.print(f"{answer['movement_id']}: {amount} was given back", highlight=False)


# -- how ---------------------------------------------------------------------------------------------------


def _word(number: str) -> int:
    word = number_word(number)
    if word is None:
        raise Refused(f"{number} is not a number in international form, such as 447700900001.")
    return word


def _period(text: str) -> int:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise Refused(f"{text} is not a period such as 2026-10.")
    return int(text.replace("-", ""))


def _shown(*, full: bool) -> Callable[[int], str]:
    return to_text if full else lambda word: mask(to_text(word))


def _reading(data: Path) -> FolderBills:
    catalogue = load_catalogue(data, None)
    return FolderBills(data, lambda: catalogue)


@contextmanager
def _books(data: Path, engine: EngineName) -> Iterator[FolderBills | ClusterBills]:
    """The bills of a data folder, or of a cluster that Spark charges."""
    refuse_kafka(engine, NO_BILLS)
    if engine is EngineName.EMBEDDED:
        yield _reading(data)
        return
    from trunkline.cli.cluster_desk import at_cluster

    with at_cluster(data) as desk:
        yield desk.bills()


def _ordering(data: Path, engine: EngineName) -> AbstractContextManager[FolderBills | ClusterBills]:
    """The same, of which money is moved: a data folder is opened by its one writer."""
    return _writing(data) if engine is EngineName.EMBEDDED else _books(data, engine)


def _of_spark(data: Path) -> SparkBills:
    from trunkline.bootstrap.spark_bills import SparkBills

    return SparkBills(read(Folders, data=data), read(Kafka), read(Spark))


@contextmanager
def _writing(data: Path) -> Iterator[FolderBills]:
    """The bills of a folder that nobody else writes to."""
    from trunkline.bootstrap import serve

    try:
        with opened(read(Folders, data=data)) as platform:
            serving = serve.prepare(platform, Http(), Keeping())
            yield FolderBills(data, lambda: platform.catalogue, platform.engine, serving.intake.move)
    except FolderInUse as error:
        raise FolderInUse(
            f"{error} Ask that one: give its address with --url, and a token in {TOKEN}"
            " (trunkline token add NAME --role billing)."
        ) from error


def _known(
    books: FolderBills | ClusterBills, data: Path, bill_id: str, action: str, engine: EngineName
) -> dict[str, Any]:
    """A bill that is there; the look is written down."""
    found = known_bill(books.bill(bill_id), bill_id)
    saw(data, found["subscriber"], action, bill_id, engine)
    return found


def _tell_currencies(rows: list[dict[str, Any]]) -> None:
    """The sums of a check by the currency that bills are to be paid in."""
    amounts = ("bill_micros", "ledger_micros", "payable_micros")
    told = [row | {name: money.to_text(row[name]) for name in amounts} for row in rows]
    titles = {
        "currency": "billed in",
        "bills": "bills",
        "bill_micros": "on bills",
        "ledger_micros": "in the ledger",
    }
    table(told, titles | {"payable_micros": "in that currency"}, "")


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        answer_json(told)
        return
    out.print(
        f"Bill {told['bill_id']} of {told['subscriber']}, plan {told['plan'] or 'none'}, {told['state']}:"
        f" {told['from']} to {told['until']}",
        highlight=False,
    )
    rows = [
        {"what": line["title"], "text": line["text"], "amount": money.to_text(line["amount_micros"])}
        for line in told["lines"]
    ]
    rows.append({"what": "Total", "text": told["currency"], "amount": money.to_text(told["total_micros"])})
    other = told["payable"]
    if other["rate"]:
        amount = money.to_text(other["total_micros"])
        rows.append({"what": f"Total in {other['currency']}", "text": other["text"], "amount": amount})
    table(rows, {"what": "what", "text": "", "amount": "amount"}, "")
    for note in told["notes"]:
        out.print(f"{note['time']}  {note['action']}: {note['text']}", highlight=False, markup=False)
