"""What people do about telemetry that was set aside, and for customers whom an incident hits."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline import settings
from trunkline.api.people import mask
from trunkline.bootstrap.network import Network, NetworkHands, opened_network
from trunkline.bootstrap.platform import opened
from trunkline.bootstrap.service import Service
from trunkline.cli.app import DATA, AsJson, Data, answer_json, out, table
from trunkline.cli.hand import TOKEN, Url, ask
from trunkline.cli.network import network
from trunkline.cli.setting_aside import (
    Reason,
    RecordNumber,
    assert_known,
    export_octets,
    print_rejects,
    shown,
)
from trunkline.engines.embedded.intake import Spooling
from trunkline.engines.embedded.sources import LiveSources
from trunkline.kernel.dial import to_text
from trunkline.kernel.money import to_text as money_text
from trunkline.ports import FolderInUse
from trunkline.records.network import REASONS
from trunkline.settings import Folders, Http, Keeping, Watched
from trunkline.stores.embedded.network import FOLDER, NetworkReader

rejects = typer.Typer(
    no_args_is_help=True, help="Telemetry that could not be used: list, export, correct, close."
)
held = typer.Typer(
    no_args_is_help=True, help="Telemetry that says something else than before: list, discard."
)
network.add_typer(rejects, name="rejects")
network.add_typer(held, name="held")

TEXTS = {reason.name: reason.text for reason in REASONS}
OPERATOR = "operator"

IncidentName = Annotated[
    str, typer.Argument(help="The incident's name; `trunkline network incidents --json` tells it.")
]
Limit = Annotated[int, typer.Option(help="How many.")]


def _reader(data: Path) -> NetworkReader:
    return NetworkReader(data / FOLDER)


# -- set aside ---------------------------------------------------------------------------------------------------


@rejects.command("list")
def list_rejects(
    data: Data = DATA, reason: Reason = None, limit: Limit = 20, as_json: AsJson = False
) -> None:
    """Open rejected telemetry with its place and reason; telephone numbers in the bytes are masked."""
    assert_known(reason, TEXTS)
    rows = [shown(row) for row in _reader(data).rejects(reason, limit).iter_rows(named=True)]
    if as_json:
        answer_json(rows)
        return
    columns = {"number": "number", "path": "file", "line": "line", "source": "source", "reason": "reason",
               "detail": "what was wrong"}  # fmt: skip
    print_rejects(rows, columns, TEXTS)


@rejects.command("export")
def export(
    data: Data = DATA,
    reason: Reason = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="File to write; left out: standard output.")
    ] = None,
) -> None:
    """The original bytes of open rejects, one after the other, to correct in an editor and ingest again."""
    assert_known(reason, TEXTS)
    export_octets(_reader(data), reason, to)


@rejects.command("correct")
def correct(
    number: RecordNumber,
    record: Annotated[
        str | None, typer.Argument(help="The corrected record; left out: read from standard input.")
    ] = None,
    data: Data = DATA,
    url: Url = None,
) -> None:
    """Offer rejected telemetry again with corrected bytes. What of it was taken before counts once."""
    content = (record if record is not None else sys.stdin.read()).rstrip("\n") + "\n"
    if url:
        ask(url, f"/api/v1/network/rejects/{number}/correct", {"text": content})
    else:
        with _hands(data) as (watch, hands, sources):
            hands.settle_reject(number, content.encode(), OPERATOR)
            watch.engine.drive(sources)
    out.print(f"Record {number} was offered again. If it is still wrong, it comes back with a new number.")


@rejects.command("close")
def close(number: RecordNumber, data: Data = DATA, url: Url = None) -> None:
    """Close rejected telemetry for good."""
    if url:
        ask(url, f"/api/v1/network/rejects/{number}/close", {})
    else:
        with _hands(data) as (_, hands, _sources):
            hands.settle_reject(number, None, OPERATOR)
    out.print(f"Record {number} is closed.")


@held.command("list")
def list_held(data: Data = DATA, limit: Limit = 20, as_json: AsJson = False) -> None:
    """Events that say something else than one of the same identity, and records that broke a step."""
    rows = [shown(row) for row in _reader(data).held(limit).iter_rows(named=True)]
    if as_json:
        answer_json(rows)
        return
    columns = {"number": "number", "path": "file", "line": "line", "source": "source", "reason": "reason"}
    table(rows, columns, "Nothing is held.")


@held.command("discard")
def discard(number: RecordNumber, data: Data = DATA, url: Url = None) -> None:
    """Take a held record off the list: what came first stands."""
    if url:
        ask(url, f"/api/v1/network/held/{number}/discard", {})
    else:
        with _hands(data) as (_, hands, _sources):
            hands.discard(number, OPERATOR)
    out.print(f"Record {number} is discarded.")


@contextmanager
def _hands(data: Path) -> Iterator[tuple[Network, NetworkHands, LiveSources]]:
    """Hands on a network that nobody else writes to."""
    try:
        with opened_network(data, settings.read(Watched)) as watch:
            sources = LiveSources(
                watch.store, watch.store.disk, (), watch.mappings.__getitem__, forever=False
            )
            yield watch, NetworkHands(watch, Spooling(watch.engine, sources)), sources
    except FolderInUse as error:
        raise FolderInUse(
            f"{error} Ask that one: give its address with --url, and a token in {TOKEN}."
        ) from error


# -- customers ---------------------------------------------------------------------------------------------------


@contextmanager
def _service(data: Path) -> Iterator[Service]:
    from trunkline.bootstrap import serve

    try:
        with (
            opened(settings.read(Folders, data=data)) as platform,
            opened_network(data, settings.read(Watched)) as watch,
        ):
            serving = serve.prepare(platform, Http(), Keeping())
            yield Service(platform, watch, serving.intake, serving.reader, serving.audit)
    except FolderInUse as error:
        raise FolderInUse(
            f"{error} A running platform tells customers by itself; for credits give its address with --url, and a"
            f" token in {TOKEN} (trunkline token add NAME --role billing)."
        ) from error


@network.command("customers")
def customers(data: Data = DATA, as_json: AsJson = False) -> None:
    """Tell customers whom an incident hits, and those whose trouble is over. A running platform does so by itself."""
    with _service(data) as service:
        looked = service.look(at_once=True)
    if as_json:
        answer_json(vars(looked))
    else:
        out.print(
            f"{looked.told:,} customers were told of trouble; {looked.ended:,} incidents are over and told so;"
            f" {looked.credited:,} customers were credited.",
            highlight=False,
        )


@network.command("credits")
def credits_of(
    incident: IncidentName,
    book: Annotated[bool, typer.Option("--book", help="Book them; without it they are only shown.")] = False,
    data: Data = DATA,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """What the rules (service.yaml) give back to the customers of an incident. Booking again moves nothing."""
    if url:
        path = f"/api/v1/network/incidents/{incident}/credits"
        said = ask(url, path, {} if book else None)["said"]
    else:
        with _service(data) as service:
            said = service.book(incident, OPERATOR, OPERATOR) if book else service.preview(incident)
    if as_json:
        answer_json(said | {"items": [_masked(row) for row in said.get("items", [])]})
    elif book:
        out.print(
            f"{said['booked']:,} credits are booked, {said['repeated']:,} were before, {said['refused']:,} are refused;"
            f" {money_text(said['total_micros'])} in all, by the rule {said['rule']!r}.",
            highlight=False,
        )
    else:
        _tell_preview(said)


def _tell_preview(said: dict[str, Any]) -> None:
    if said["rule"] is None:
        out.print(
            f"No rule fits this incident: its {said['customers']:,} customers are given nothing.",
            highlight=False,
        )
        return
    out.print(
        f"{said['minutes']:,} min, {said['customers']:,} customers told; the rule {said['rule']!r} credits"
        f" {said['credited']:,} of them with {money_text(said['total_micros'])} in all, the most"
        f" {money_text(said['most_micros'])}; {said['booked']:,} are booked.",
        highlight=False,
    )
    if not said["over"]:
        out.print("The incident is not over yet: this is what it comes to so far.", highlight=False)
    rows = [_masked(row) | {"amount": money_text(row["amount_micros"])} for row in said["items"]]
    table(rows, {"subscriber": "customer", "amount": "amount", "status": "status"}, "")


def _masked(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the customer's number masked; a remote one is masked already."""
    word = row["subscriber"]
    return row | {"subscriber": mask(to_text(word)) if isinstance(word, int) else word["number"]}
