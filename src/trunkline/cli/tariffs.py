"""Tariffs for the clerk: `tariff check`, `tariff show`, `tariff diff`; and `subscribers load`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.bootstrap.catalogues import remembered_tariff, tariff_files
from trunkline.bootstrap.platform import load_subscribers, opened
from trunkline.charging.tariffs import TariffError, check, compare, describe
from trunkline.cli.app import DATA, AsJson, Data, answer_json, app, out, table
from trunkline.ports import Refused
from trunkline.settings import Folders

tariff = typer.Typer(no_args_is_help=True, help="Check, read and compare tariffs.")
people = typer.Typer(no_args_is_help=True, help="Who has which plan.")
app.add_typer(tariff, name="tariff")
app.add_typer(people, name="subscribers")

Folder = Annotated[Path, typer.Argument(help="Folder of the tariff.")]


@tariff.command("check")
def check_tariff(folder: Folder, as_json: AsJson = False) -> None:
    """All mistakes of a tariff at once, each with its line and what to do."""
    mistakes = check(tariff_files(folder))
    if as_json:
        answer_json([vars(mistake) for mistake in mistakes])
    elif mistakes:
        for mistake in mistakes:
            out.print(str(mistake), highlight=False, soft_wrap=True, markup=False)
    else:
        out.print("The tariff can be used.")
    if mistakes:
        raise typer.Exit(3)


@tariff.command("show")
def show(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the tariff; left out: the one in use.")
    ] = None,
    plan: Annotated[str | None, typer.Option(help="Only this plan.")] = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Plans and prices in words."""
    files = tariff_files(folder) if folder else remembered_tariff(data)
    try:
        told = vars(describe(files, plan))
    except TariffError:
        raise
    except ValueError as error:
        raise Refused(str(error)) from error
    if as_json:
        answer_json(told)
        return
    for section, found in told.items():
        rows = [found] if isinstance(found, dict) else list(found)
        out.print(f"\n[bold]{section.capitalize()}[/]")
        table(rows, {key: key.replace("_", " ") for key in rows[0]} if rows else {}, "none")


@tariff.command("diff")
def diff(before: Folder, after: Folder, as_json: AsJson = False) -> None:
    """What differs between two tariffs, by meaning."""
    changes: list[Any] = list(compare(tariff_files(before), tariff_files(after)))
    if as_json:
        answer_json([vars(change) for change in changes])
        return
    table(
        [vars(change) for change in changes],
        {key: key for key in vars(changes[0])} if changes else {},
        "They mean the same.",
    )


@people.command("load")
def load(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV file: subscriber,plan,from,payment,credit_limit,time_zone,cycle_day,balance."
        ),
    ],
    data: Data = DATA,
    tariffs: Annotated[
        Path | None, typer.Option(help="Folder of the tariff; left out: the one in use.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Open accounts and add subscriptions. Loading the same file again changes nothing."""
    if not file.is_file():
        raise Refused(f"{file} is not a file.")
    with opened(Folders(data=data, tariffs=str(tariffs or ""), subscribers=str(file))) as platform:
        rows = load_subscribers(platform, file.name, file.read_bytes())
    if as_json:
        answer_json({"rows": rows})
    else:
        out.print(f"{rows:,} rows loaded.", highlight=False)
