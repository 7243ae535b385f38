"""Keeping the house: `status`, `reconcile`, `backup`, `restore`, `retain`, `token`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline import settings
from trunkline.bootstrap import tokens
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.platform import let_go, opened
from trunkline.bootstrap.reconcile import BEGINNING_US, END_US
from trunkline.bootstrap.reconcile import reconcile as reconcile_books
from trunkline.cli.app import (
    DATA,
    AsJson,
    Data,
    EngineName,
    HistoryOf,
    answer_json,
    app,
    out,
    refuse_kafka,
    table,
)
from trunkline.cli.money import since
from trunkline.cli.network import tell_network, told_of_network
from trunkline.kernel import money
from trunkline.ports import Refused
from trunkline.settings import Folders, Keeping
from trunkline.stores.embedded import backup as store_backup
from trunkline.stores.embedded.reader import EmbeddedAudit, EmbeddedReader

token = typer.Typer(no_args_is_help=True, help="Who may use the API: tokens by name and role.")
app.add_typer(token, name="token")


@app.command()
def status(
    data: Data = DATA,
    engine: Annotated[
        EngineName,
        typer.Option(
            envvar="TRUNKLINE_ENGINE",
            help="embedded: the data folder. kafka, spark: the workers of a cluster, by their own words.",
        ),
    ] = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """What was received, what became of it, sizes, and what waits for people; or how a cluster's workers are."""
    if engine is not EngineName.EMBEDDED:
        from trunkline.cli.workers import show_workers

        show_workers(as_json=as_json)
        return
    reader = EmbeddedReader(data)
    told = reader.status()
    watched = told_of_network(data)
    if as_json:
        answer_json(told | {"network": watched})
        return
    currency = load_catalogue(data, None).currency
    rows = [
        each | {"charged": f"{money.to_text(each['charged_micros'])} {currency}"}
        for each in told["accounting"]
    ]
    names = ("source", "received", "rated", "duplicate", "rejected", "held", "charged")
    table(rows, {name: name for name in names}, "Nothing was received yet.")
    out.print(
        f"\n{told['commits']:,} commits, the last {since(told['committed_us'])}; {told['alerts']:,} alerts;"
        f" waiting for people: {told['rejected_open']:,} rejects, {told['held_open']:,} conflicts;"
        f" {told['spool_octets']:,} octets in the spool",
        highlight=False,
    )
    sizes = [
        {"name": name, **each} for part in ("streams", "states", "files") for name, each in told[part].items()
    ]
    table(
        sizes, {"name": "kept", "rows": "rows", "keys": "keys", "records": "records", "octets": "octets"}, ""
    )
    if watched is not None:
        tell_network(watched)


@app.command()
def reconcile(
    data: Data = DATA,
    from_: Annotated[
        str | None, typer.Option("--from", help="First moment of the period, such as 2026-11-01.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="First moment after the period.")] = None,
    mappings: Annotated[Path | None, typer.Option(help="Folder of mapping files of your own.")] = None,
    engine: HistoryOf = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Charge the raw records once more and compare, to the micro-unit; differences by cause."""
    refuse_kafka(engine, "charge history once more")
    moments = _moment(from_, BEGINNING_US), _moment(until, END_US)
    if engine is EngineName.SPARK:
        from trunkline.cli.spark import reconcile_spark

        result = reconcile_spark(settings.read(Folders, data=data, mappings=mappings), *moments)
    else:
        result = reconcile_books(
            EmbeddedReader(data), load_catalogue(data, None), load_mappings(mappings), *moments
        )
        audit = EmbeddedAudit(data)
        audit.add_reconciliation(time.time_ns() // 1000, result)
        audit.close()
    if as_json:
        answer_json(result)
    else:
        _tell(result)
    if result["differences"]:
        raise typer.Exit(7)


def _tell(result: dict[str, Any]) -> None:
    out.print(
        f"{result['records']:,} records compared: {result['differences']:,} differences,"
        f" {money.to_text(result['difference_micros'])} in money; {result['accounts']:,} accounts compared:"
        f" {result['account_differences']:,} balances differ",
        highlight=False,
    )
    rows = [{"cause": cause, **each} for cause, each in result["by_cause"].items() if each["count"]]
    if rows:
        table(rows, {"cause": "cause", "count": "records", "difference_micros": "micro-units"}, "")
        columns = {
            "source": "source",
            "record_id": "id",
            "cause": "cause",
            "difference_micros": "micro-units",
        }
        table(result["examples"][:20], columns, "")


def _moment(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(f"{text} is not a moment such as 2026-11-01 or 2026-11-01T12:00:00Z.") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="Folder to copy into: empty, or not there yet.")],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Copy the data folder as it is at one moment, also while it is written to; the copy is checked."""
    made = store_backup.backup(data, target)
    _tell_backup(made, f"Backed up to {target}", as_json=as_json)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="Folder of a backup.")],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back as a new data folder; it is checked first, and an existing folder is never overwritten."""
    made = store_backup.restore(source, data)
    _tell_backup(made, f"Restored to {data}", as_json=as_json)


def _tell_backup(made: store_backup.BackedUp, done: str, *, as_json: bool) -> None:
    if as_json:
        answer_json(vars(made))
    else:
        out.print(
            f"{done}: commit {made.commit:,}, {made.files:,} files, {made.octets:,} octets.", highlight=False
        )


@app.command()
def retain(
    data: Data = DATA,
    compact: Annotated[
        bool, typer.Option("--compact", help="Also merge files, so that answers come fastest.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let go of what is older than it is kept for (TRUNKLINE_USAGE_DAYS, TRUNKLINE_RAW_DAYS).

    A running platform does so daily.
    """
    with opened(Folders(data=data)) as platform:
        gone = let_go(platform, settings.read(Keeping))
        if compact:
            platform.store.keeper.compact()
    if as_json:
        answer_json(vars(gone))
    else:
        out.print(
            ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in vars(gone).items()),
            highlight=False,
        )


@token.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    role: Annotated[str, typer.Option(help="viewer, care, billing or admin.")] = "viewer",
    data: Data = DATA,
) -> None:
    """Make a token; it is shown once. A running platform knows it after its next start."""
    out.print(tokens.add_token(data, name, role), highlight=False, soft_wrap=True)


@token.command("list")
def list_tokens(data: Data = DATA, as_json: AsJson = False) -> None:
    """Names and roles of the tokens."""
    rows = [{"name": each.name, "role": each.role.name.lower()} for each in tokens.known_tokens(data)]
    if as_json:
        answer_json(rows)
    else:
        table(
            rows,
            {"name": "name", "role": "role"},
            "There is no token yet. Make one: trunkline token add NAME --role care",
        )


@token.command("remove")
def remove_token(name: Annotated[str, typer.Argument(help="Whose it was.")], data: Data = DATA) -> None:
    """Take a token away. A running platform forgets it at its next start."""
    tokens.remove_token(data, name)
    out.print(f"The token of {name} is gone.", highlight=False)
