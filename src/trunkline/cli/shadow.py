"""The road from another system: `shadow compare` holds its rated file against what was charged here."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline import settings
from trunkline.bootstrap.catalogues import load_mappings
from trunkline.bootstrap.shadow import (
    FolderShadows,
    differing_csv,
    gate_of,
    mapping_of,
)
from trunkline.bootstrap.views import masked, moment
from trunkline.charging.shadow import MONEY
from trunkline.cli.app import DATA, AsJson, Data, Full, answer_json, app, out, table
from trunkline.cli.audit import saw
from trunkline.cli.what_if import First, Last, Mappings
from trunkline.kernel.dial import to_text
from trunkline.kernel.money import to_text as amount
from trunkline.settings import ShadowGate
from trunkline.stores.embedded.reader import EmbeddedReader

GATE_FAILED = 10
SHOWN = 12
shadow = typer.Typer(no_args_is_help=True, help="Run beside another system until both charge the same.")
app.add_typer(shadow, name="shadow")


@shadow.command("compare")
def compare(
    file: Annotated[Path, typer.Argument(help="Rated file of the other system: plain, .gz or .zst.")],
    mapping: Annotated[
        str,
        typer.Option(
            help="Mapping file that says how it is written (its `amount` is what was charged), or a name."
        ),
    ],
    data: Data = DATA,
    first: First = None,
    last: Last = None,
    source: Annotated[
        str | None, typer.Option(help="Source of its records, where the mapping names none or another.")
    ] = None,
    equal_percent: Annotated[
        str | None,
        typer.Option(
            help="Gate: share of records with equal money, at least, in percent; left out: the setting."
        ),
    ] = None,
    money_per_mille: Annotated[
        str | None,
        typer.Option(
            help="Gate: sum of differences without signs, at most, in thousandths of the other system's money."
        ),
    ] = None,
    mappings: Mappings = None,
    csv: Annotated[
        Path | None, typer.Option(help="Also write every record that differs to this file, as CSV.")
    ] = None,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Compare record by record and bill by bill; differences in money by cause. Exit code 10: the gate is not passed.

    Left out days: those of the file. The comparison is kept, and the page shows it, too.
    """
    wanted = settings.read(
        ShadowGate, shadow_equal_percent=equal_percent, shadow_money_per_mille=money_per_mille
    )
    gate = gate_of(wanted.shadow_equal_percent, wanted.shadow_money_per_mille)
    known = load_mappings(mappings)
    shadows = FolderShadows(EmbeddedReader(data), known)
    person = getpass.getuser()
    answer, found = shadows.run(file, mapping_of(mapping, known), gate, first, last, source, person)
    saw(data, 0, "shadow_compare", f"{answer['id']}{' full' if full else ''}")
    show = to_text if full else masked
    if csv is not None:
        csv.write_text(differing_csv(found, answer["currency"]), encoding="utf-8")
    if as_json:
        bills = [row | {"subscriber": show(row["subscriber"])} for row in answer["bills_most"]]
        answer_json(answer | {"bills_most": bills})
    else:
        _tell(answer, show)
    if not answer["gate"]["passes"]:
        raise typer.Exit(GATE_FAILED)


def _tell(answer: dict[str, Any], show: Callable[[int], str]) -> None:
    counts, sums, currency = answer["counts"], answer["money"], answer["currency"]
    out.print(
        f"{counts['all']:,} records: {counts['equal']:,} equal, {counts['differing']:,} differing,"
        f" {counts['missing_here']:,} missing here, {counts['missing_there']:,} missing there,"
        f" {counts['duplicate_there']:,} copies there.\n"
        f"Here {amount(sums['here_micros'])} {currency}, there {amount(sums['there_micros'])}, difference"
        f" {amount(sums['difference_micros'])}; without signs {amount(sums['absolute_micros'])}.",
        highlight=False,
    )
    for reason, count in answer["unreadable"].items():
        out.print(f"{count:,} rows of {answer['file']} could not be read: {reason}.", highlight=False)
    money = {"records": "records", "here": "here", "there": "there", "difference": "difference"}
    for key, title, columns in (
        ("causes", "By cause", {"cause": "cause", "detail": "detail"}),
        ("lines", "Other prices", {"plan": "plan", "destination": "destination", "cause": "cause"}),
        ("days", "By day", {"day": "day", "equal": "equal"}),
        ("bills_most", "Bills that differ most", {"who": "subscriber", "period": "period"}),
    ):
        if answer[key]:
            out.print(f"\n[bold]{title}[/]")
            table(
                [_row(row, show) for row in answer[key][-SHOWN if key == "days" else None :][:SHOWN]],
                columns | money,
                "",
            )
    _tell_gate(answer)


def _row(row: dict[str, Any], show: Callable[[int], str]) -> dict[str, Any]:
    told = row | {name.removesuffix("_micros"): amount(row[name]) for name in MONEY}
    if "day_us" in row:
        told["day"] = moment(row["day_us"])[:10]
    if "subscriber" in row:
        told["who"] = show(row["subscriber"])
    return told


def _tell_gate(answer: dict[str, Any]) -> None:
    gate, bills = answer["gate"], answer["bills"]
    out.print(
        f"\nBills: {bills['equal']:,} of {bills['compared']:,} equal. Gate: {gate['equal_millionths'] / 10_000:.4f} %"
        f" of records equal (at least {gate['equal_least_millionths'] / 10_000:.4f}),"
        f" {gate['money_millionths'] / 1000:.3f} per mille of money apart (at most"
        f" {gate['money_most_millionths'] / 1000:.3f}): {'passed' if gate['passes'] else 'not passed'}.",
        highlight=False,
    )
