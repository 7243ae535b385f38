"""A draft becomes the tariff: `tariff publish`, `tariff rollback`, `tariff history`."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer

from trunkline.bootstrap import publishing
from trunkline.bootstrap.catalogues import tariff_files
from trunkline.bootstrap.views import moment
from trunkline.cli.app import DATA, AsJson, Data, answer_json, out, table
from trunkline.cli.tariffs import Folder, tariff


@tariff.command("publish")
def publish(
    folder: Folder,
    data: Data = DATA,
    effective: Annotated[
        str | None,
        typer.Option(
            help="Refuse the draft if anything that holds before this day changes, such as 2026-12-01."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Charge by a draft from the next start on. It is checked first; the tariff of before is kept, to go back to.

    No other process may charge meanwhile. A platform that is started with --tariffs takes that folder's tariff instead.
    """
    _tell(publishing.publish(data, tariff_files(folder), effective, getpass.getuser()), as_json=as_json)


@tariff.command("rollback")
def rollback(
    data: Data = DATA,
    to: Annotated[
        str | None, typer.Option(help="Beginning of the fingerprint to go back to; left out: the one before.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Charge by a tariff that was in use before. What was charged meanwhile stays; re-rating puts it right."""
    _tell(publishing.roll_back(data, to, getpass.getuser()), as_json=as_json)


@tariff.command("history")
def history(data: Data = DATA, as_json: AsJson = False) -> None:
    """What was published and rolled back, by whom, newest first."""
    found = publishing.history(data)[::-1]
    if as_json:
        answer_json(found)
        return
    rows = [
        each | {"time": moment(each["time_us"]), "from": each["before"][:12], "to": each["after"][:12]}
        for each in found
    ]
    columns = {
        "time": "time",
        "actor": "by",
        "action": "what",
        "from": "from",
        "to": "to",
        "effective": "effective",
    }
    table(rows, columns, "Nothing was published yet; the tariff came with --tariffs.")


def _tell(entry: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        answer_json(entry)
        return
    out.print(
        f"The tariff in use is {entry['after'][:12]} now; {entry['before'][:12]} is kept."
        " `trunkline tariff rollback` goes back.",
        highlight=False,
    )
