"""Calls that are told in parts and not over: `calls`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from trunkline.api.under_way import calls_after
from trunkline.bootstrap import views
from trunkline.bootstrap.catalogues import load_catalogue
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.under_way import OpenCall
from trunkline.cli.app import DATA, AsJson, Data, Full, answer_json, app, table
from trunkline.cli.audit import saw
from trunkline.kernel.dial import to_text
from trunkline.kernel.money import to_text as money_text
from trunkline.records.usage import Kind
from trunkline.stores.embedded.reader import EmbeddedReader


@app.command("calls")
def calls(
    data: Data = DATA,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only those of which parts are missing.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="How many to pass over.")] = 0,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Calls that are told in parts and not over, of all accounts: what came of each, and what is missing."""
    reader, catalogue = EmbeddedReader(data), load_catalogue(data, None)
    if full:
        saw(data, 0, "read_calls", "full")
    found = itertools.islice(_every(reader, missing=missing), offset, offset + limit)
    rows = [_row(owner, call, catalogue, full=full) for owner, call in found]
    if as_json:
        answer_json(rows)
        return
    names = ("subscriber", "kind", "begun", "until", "used", "charged", "parts", "missing")
    table(rows, {name: name for name in names}, "No call is under way or misses a part.")


def _every(reader: EmbeddedReader, *, missing: bool) -> Iterator[tuple[int, OpenCall]]:
    after: int | None = 0
    while after is not None:
        found, after = calls_after(reader, after, 1000, only_missing=missing)
        yield from found


def _row(owner: int, call: OpenCall, catalogue: Catalogue, *, full: bool) -> dict[str, Any]:
    word = catalogue.members.words_of(owner).get(call.member, owner)
    return {
        "subscriber": to_text(word) if full else views.masked(word),
        "kind": Kind(call.kind).name.lower(),
        "begun": views.moment(call.begun_us),
        "until": views.moment(call.ended_us),
        "used": views.used(call, catalogue.currency),
        "charged": f"{money_text(call.charged_micros)} {catalogue.currency}",
        "parts": call.parts,
        "missing": ", ".join(map(str, call.missing)),
    }
