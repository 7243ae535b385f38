"""Pricing what is stored with a tariff that is not in force yet: `whatif`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline import settings
from trunkline.bootstrap.catalogues import load_mappings, tariff_files
from trunkline.bootstrap.views import masked
from trunkline.bootstrap.what_if import FolderWhatIfs, as_csv
from trunkline.charging.what_if import SEGMENTS
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
from trunkline.kernel.dial import to_text
from trunkline.kernel.money import to_text as amount
from trunkline.settings import Folders
from trunkline.stores.embedded.reader import EmbeddedReader

SHOWN = 12
First = Annotated[
    str | None, typer.Option("--from", help="First day, in UTC, such as 2026-11-01; left out: all.")
]
Last = Annotated[
    str | None, typer.Option("--to", help="Last day, in UTC, such as 2026-11-30; left out: all.")
]
Mappings = Annotated[Path | None, typer.Option(help="Folder of mapping files of your own.")]


@app.command("whatif")
def what_if(
    tariffs: Annotated[Path, typer.Option(help="Folder of the draft.")],
    data: Data = DATA,
    first: First = None,
    last: Last = None,
    mappings: Mappings = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the answer to this file, as CSV.")] = None,
    engine: HistoryOf = EngineName.EMBEDDED,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Price what is stored with a draft tariff: who pays more or less, and what comes in. Nothing is booked.

    Usage since the beginning is charged once more by both tariffs, so that allowances stand as they would; days choose
    which of it is compared. The answer is kept, and the page shows it, too.
    """
    refuse_kafka(engine, "charge history once more")
    draft, actor = tariff_files(tariffs), getpass.getuser()
    if engine is EngineName.SPARK:
        from trunkline.cli.spark import what_if_spark

        folders = settings.read(Folders, data=data, mappings=mappings)
        answer = what_if_spark(folders, draft, first, last, actor)
    else:
        studies = FolderWhatIfs(EmbeddedReader(data), load_mappings(mappings))
        answer = studies.run(draft, first, last, actor)
    saw(data, 0, "what_if", f"{answer['id']}{' full' if full else ''}", engine)
    show = to_text if full else masked
    if csv is not None:
        csv.write_text(as_csv(answer, show), encoding="utf-8")
    if as_json:
        answer_json(named(answer, show))
    else:
        _tell(answer, show)


def named(answer: dict[str, Any], show: Any) -> dict[str, Any]:  # noqa: ANN401 -- a function of a dial word
    """The answer with subscribers as they may be seen."""
    return answer | {
        key: [row | {"subscriber": show(row["subscriber"])} for row in answer[key]]
        for key in ("most_more", "most_less")
    }


def _tell(answer: dict[str, Any], show: Any) -> None:  # noqa: ANN401
    currency = answer["currency"]
    out.print(
        f"{answer['records']:,} records of {answer['subscribers']:,} subscribers: {amount(answer['running_micros'])} ->"
        f" {amount(answer['draft_micros'])} {currency}, a difference of {_signed(answer['difference_micros'])}.",
        highlight=False,
    )
    pays = answer["pays"]
    out.print(
        f"{pays['more']['subscribers']:,} pay more ({_signed(pays['more']['difference_micros'])}),"
        f" {pays['less']['subscribers']:,} less ({_signed(pays['less']['difference_micros'])}),"
        f" {pays['same']['subscribers']:,} the same.",
        highlight=False,
    )
    if not answer["ledger"]["agrees"]:
        out.print(
            f"The ledger holds {amount(answer['ledger']['charged_micros'])} {currency} for these days, not what the"
            " tariff in use makes of the kept records: raw records were let go, or the tariff was changed since."
            " `trunkline reconcile` tells which.",
            highlight=False,
        )
    columns = {
        "name": "",
        "records": "records",
        "running": "now",
        "draft": "draft",
        "difference": "difference",
    }
    for segment in SEGMENTS:
        out.print(f"\n[bold]By {segment}[/]")
        table([_row(row) for row in answer["segments"][segment][:SHOWN]], columns, "")
        more = len(answer["segments"][segment]) - SHOWN
        if more > 0:
            out.print(f"and {more:,} more; --csv and --json tell them.", highlight=False)
    out.print("\n[bold]Subscribers by what they would pay[/]")
    bands = [{**row, "difference": _signed(row["difference_micros"])} for row in answer["bands"]]
    table(bands, {"band": currency, "subscribers": "subscribers", "difference": "difference"}, "")
    _tell_people(answer, show)


def _tell_people(answer: dict[str, Any], show: Any) -> None:  # noqa: ANN401
    columns = {
        "who": "subscriber",
        "records": "records",
        "running": "now",
        "draft": "draft",
        "difference": "difference",
    }
    for key, words in (("most_more", "more"), ("most_less", "less")):
        if answer[key]:
            out.print(f"\n[bold]Who would pay most {words}[/]")
            table([_row(row) | {"who": show(row["subscriber"])} for row in answer[key][:SHOWN]], columns, "")
    if answer["refused"]:
        out.print("\n[bold]Records without a price[/]")
        rows = [
            _row(row) | {"now": row["running"] or "priced", "then": row["draft"] or "priced"}
            for row in answer["refused"]
        ]
        table(rows, {"now": "now", "then": "draft", "records": "records", "difference": "difference"}, "")


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return row | {
        "running": amount(row["running_micros"]),
        "draft": amount(row["draft_micros"]),
        "difference": _signed(row["difference_micros"]),
    }


def _signed(micros: int) -> str:
    return f"+{amount(micros)}" if micros > 0 else amount(micros)
