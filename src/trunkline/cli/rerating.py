"""Re-rating: `rerate preview`, `list`, `show`, `book`."""

from __future__ import annotations

import csv as comma
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.api.people import number_word
from trunkline.api.rerates import document, rows_of
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings, tariff_files
from trunkline.bootstrap.platform import opened
from trunkline.bootstrap.rerating import FolderRerates
from trunkline.bootstrap.views import masked
from trunkline.bootstrap.what_if import days
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
    table,
)
from trunkline.cli.audit import saw
from trunkline.cli.hand import TOKEN, Url, ask
from trunkline.kernel import money
from trunkline.kernel.dial import to_text
from trunkline.ports import FolderInUse, Refused, Rerates
from trunkline.settings import Folders, read

rerate = typer.Typer(
    no_args_is_help=True,
    help="Put right what a wrong tariff, plan or date charged: preview it, then book it.",
)
app.add_typer(rerate, name="rerate")

Id = Annotated[str, typer.Argument(help="The preview's name, as `rerate list` shows it.")]
Mappings = Annotated[Path | None, typer.Option(help="Folder of mapping files of your own.")]
MOVED = 9


@rerate.command("preview")
def preview(
    first: Annotated[str, typer.Option("--from", help="First day, in UTC, such as 2026-11-01.")],
    last: Annotated[str, typer.Option("--to", help="Last day, in UTC, such as 2026-11-30.")],
    data: Data = DATA,
    subscriber: Annotated[str | None, typer.Option(help="Only this number, in international form.")] = None,
    plan: Annotated[str | None, typer.Option(help="Only subscribers of this plan.")] = None,
    tariffs: Annotated[
        Path | None, typer.Option(help="Folder of a tariff that is not in force yet: to look, not to book.")
    ] = None,
    mappings: Mappings = None,
    engine: HistoryOf = EngineName.EMBEDDED,
    csv: Annotated[
        Path | None, typer.Option(help="Also write every corrected record to this file, as CSV.")
    ] = None,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Charge a period once more and keep the difference to what was charged. Nothing is booked."""
    word = None
    if subscriber is not None:
        word = number_word(subscriber)
        if word is None:
            raise Refused(f"{subscriber} is not a number in international form, such as 447700900001.")
    port = _reading(data, mappings, engine)
    draft = None if tariffs is None else tariff_files(tariffs)
    found = port.preview(*days(first, last), word, plan, draft)
    detail = f"{found['rerate_id']}{' full' if full else ''}"
    saw(data, word or 0, "preview_rerate", detail, engine)
    if csv is not None:
        rows = port.corrections(found["rerate_id"])
        with csv.open("w", encoding="utf-8", newline="") as file:
            for row in rows_of(rows, _shown(full=full)):
                comma.writer(file, lineterminator="\n").writerow(row)
    _show(found, full=full, as_json=as_json)


@rerate.command("list")
def list_rerates(
    data: Data = DATA,
    limit: Annotated[int, typer.Option(help="How many at most, the newest first.")] = 20,
    engine: HistoryOf = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Previews, the newest first, and what was booked of them."""
    found = [document(each, masked) for each in _reading(data, None, engine).rerates(limit)]
    if as_json:
        answer_json(found)
        return
    for row in found:
        row["difference"] = f"{money.to_text(row['difference_micros'])} {row['currency']}"
    same = ("made", "from", "until", "state", "difference")
    columns = {"rerate_id": "id", **{name: name for name in same}, "records_differing": "records"}
    table(found, columns, "There is no preview yet. Make one: trunkline rerate preview --from DAY --to DAY")


@rerate.command("show")
def show(
    rerate_id: Id,
    data: Data = DATA,
    engine: HistoryOf = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """One preview, with what was booked of it."""
    found = _known(_reading(data, None, engine), rerate_id)
    if full:
        saw(data, 0, "read_rerate", f"{rerate_id} full", engine)
    _show(found, full=full, as_json=as_json)


@rerate.command("book")
def book(
    rerate_id: Id,
    data: Data = DATA,
    tariffs: Annotated[
        Path | None, typer.Option(help="Folder of the corrected tariff, which is in force from then on.")
    ] = None,
    engine: HistoryOf = EngineName.EMBEDDED,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Book what a preview shows, each account once: order it again whenever it was interrupted.

    On Spark the query that runs there books it, and this waits for it.

    Accounts that moved since the preview stay as they are; the exit code is then 9, and a new preview finds them.
    """
    if url:
        answer = ask(url, f"/api/v1/rerates/{rerate_id}/bookings", {})
    elif engine is not EngineName.EMBEDDED:
        if tariffs is not None:
            raise Refused(
                "On a cluster the tariff in force is that of the query: start it with --tariffs first (trunkline run)."
            )
        cluster = _reading(data, None, engine)
        _known(cluster, rerate_id)
        saw(data, 0, "book_rerate", rerate_id, engine)
        answer = vars(cluster.book(rerate_id))
    else:
        try:
            with opened(read(Folders, data=data, tariffs=tariffs)) as platform:
                port = FolderRerates(data, lambda: platform.catalogue, platform.mappings, platform.engine)
                _known(port, rerate_id)
                saw(data, 0, "book_rerate", rerate_id)
                answer = vars(port.book(rerate_id))
        except FolderInUse as error:
            raise FolderInUse(
                f"{error} Ask that one: give its address with --url, and a token in {TOKEN}"
                " (trunkline token add NAME --role billing)."
            ) from error
    if as_json:
        answer_json(answer)
    else:
        out.print(
            f"{answer['records']:,} records of {answer['booked']:,} accounts were corrected by"
            f" {money.to_text(answer['micros'])}; {answer['repeated']:,} accounts were booked before,"
            f" {answer['moved']:,} moved since the preview and stay as they are.",
            highlight=False,
        )
    if answer["moved"]:
        raise typer.Exit(MOVED)


def _reading(data: Path, mappings: Path | None, engine: EngineName) -> Rerates:
    if engine is EngineName.KAFKA:
        raise Refused(
            "A cluster's history is charged once more by Spark, where Spark carries the usage (--engine spark);"
            " where workers of the engine kafka do, nothing is previewed yet."
        )
    if engine is EngineName.SPARK:
        from trunkline.cli.spark import rerates_spark

        return rerates_spark(read(Folders, data=data, mappings=mappings))
    catalogue = load_catalogue(data, None)
    return FolderRerates(data, lambda: catalogue, load_mappings(mappings))


def _known(port: Rerates, rerate_id: str) -> dict[str, Any]:
    found = port.rerate(rerate_id)
    if found is None:
        raise Refused(f"There is no preview {rerate_id}. `trunkline rerate list` shows them.")
    return found


def _shown(*, full: bool) -> Callable[[int], str]:
    return to_text if full else masked


def _show(found: dict[str, Any], *, full: bool, as_json: bool) -> None:
    told = document(found, _shown(full=full))
    if as_json:
        answer_json(told)
        return
    currency = told["currency"]
    out.print(
        f"Preview {told['rerate_id']} ({told['state']}), {told['from']} to {told['until']}: of {told['records']:,}"
        f" records of {told['accounts']:,} accounts, {told['records_differing']:,} of"
        f" {told['accounts_differing']:,} differ, by {money.to_text(told['difference_micros'])} {currency}"
        f" ({money.to_text(told['more_micros'])} more, {money.to_text(told['less_micros'])} less).",
        highlight=False,
    )
    for reason, count in told["left_out"].items():
        if count:
            out.print(f"{count:,} accounts are left out: {reason}", highlight=False)
    columns = {"plan": "plan", "records": "records", "accounts": "accounts", "amount": "difference"}
    rows = [{**each, "amount": money.to_text(each["difference_micros"])} for each in told["by_plan"]]
    if rows:
        table(rows, columns, "")
        top = [{**each, "amount": money.to_text(each["difference_micros"])} for each in told["top"]]
        table(top, {"subscriber": "subscriber", "records": "records", "amount": "difference"}, "")
