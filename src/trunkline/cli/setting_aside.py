"""What was set aside: `rejects` to list, export, correct and close; `held` conflicts to decide."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import polars as pl
import typer

from trunkline.api.people import mask_text
from trunkline.cli.app import DATA, AsJson, Data, EngineName, answer_json, app, out, table
from trunkline.cli.desk import Desk, WorksOn, at
from trunkline.cli.hand import Orders, Url
from trunkline.ports import Refused
from trunkline.records.usage import REASONS

rejects = typer.Typer(
    no_args_is_help=True, help="Records that could not be charged: list, export, correct, close."
)
held = typer.Typer(
    no_args_is_help=True, help="Conflicts: a record came again under the same id but says something else."
)
app.add_typer(rejects, name="rejects")
app.add_typer(held, name="held")

TEXTS = {reason.name: reason.text for reason in REASONS}
AT_ONCE = 1000

Reason = Annotated[str | None, typer.Option(help="Only those with this reason.")]
RecordNumber = Annotated[int, typer.Argument(help="The record's number in the list.")]


class Rejecting(Protocol):
    """A reader of what was rejected."""

    def rejects(self, reason: str | None, limit: int, offset: int = 0) -> pl.DataFrame:
        """`ports.Reader.rejects`."""


def assert_known(reason: str | None, texts: Mapping[str, str]) -> None:
    """Refuse a reason that there is not."""
    if reason is not None and reason not in texts:
        raise Refused(f'There is no reason "{reason}". Known are: {", ".join(texts)}.')


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A record that was set aside, by its file's name and with numbers in its octets masked."""
    raw = row.pop("raw") or b""
    path = Path(row["path"]).name if row["path"] else ""
    return row | {"path": path, "raw": mask_text(raw.decode(errors="replace"))}


def print_rejects(rows: list[dict[str, Any]], columns: Mapping[str, str], texts: Mapping[str, str]) -> None:
    """A table of rejects, and what each of their reasons asks of a person."""
    table(rows, dict(columns), "Nothing is rejected.")
    for name in dict.fromkeys(row["reason"] for row in rows):
        out.print(f"{name}: {texts.get(name, '')}", highlight=False)


def export_octets(reader: Rejecting, reason: str | None, to: Path | None) -> None:
    """Write the octets of open rejects, one after the other, to a new file or to standard output."""
    offset = 0
    with to.open("xb") if to else sys.stdout.buffer as target:
        while True:
            found = reader.rejects(reason, AT_ONCE, offset)
            for raw in found["raw"]:
                target.write(raw if (raw or b"").endswith(b"\n") else (raw or b"") + b"\n")
            offset += len(found)
            if len(found) < AT_ONCE:
                break


@rejects.command("list")
def list_rejects(
    data: Data = DATA,
    reason: Reason = None,
    engine: WorksOn = EngineName.EMBEDDED,
    limit: Annotated[int, typer.Option(help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Open rejects with their place and reason; telephone numbers in the bytes are masked."""
    assert_known(reason, TEXTS)
    with at(data, engine) as desk:
        found = desk.reader().rejects(reason, limit)
    rows = [shown(row) for row in found.iter_rows(named=True)]
    if as_json:
        answer_json(rows)
        return
    columns = {
        "number": "number",
        "path": "file",
        "line": "line",
        "reason": "reason",
        "detail": "what was wrong",
    }
    print_rejects(rows, columns, TEXTS)


@rejects.command("export")
def export(
    data: Data = DATA,
    reason: Reason = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="File to write; left out: standard output.")
    ] = None,
    engine: WorksOn = EngineName.EMBEDDED,
) -> None:
    """The original bytes of open rejects, one after the other, to correct in an editor and ingest again."""
    assert_known(reason, TEXTS)
    with at(data, engine) as desk:
        desk.wrote("export_rejects", reason or "all")
        export_octets(desk.reader(), reason, to)


@rejects.command("correct")
def correct(
    number: RecordNumber,
    line: Annotated[
        str | None, typer.Argument(help="The corrected record; left out: read from standard input.")
    ] = None,
    data: Data = DATA,
    url: Url = None,
    engine: WorksOn = EngineName.EMBEDDED,
) -> None:
    """Offer a rejected record again with corrected bytes."""
    content = (line if line is not None else sys.stdin.read()).encode()
    with at(data, engine) as desk, _settling(desk, url, "correct_reject", f"reject {number}") as writer:
        writer.correct(number, content if content.endswith(b"\n") else content + b"\n")
    out.print(
        f"Record {number} was offered again. See what became of it: trunkline usage, trunkline rejects list"
    )


@rejects.command("close")
def close(
    number: RecordNumber, data: Data = DATA, url: Url = None, engine: WorksOn = EngineName.EMBEDDED
) -> None:
    """Close a rejected record for good: it will not be charged."""
    with at(data, engine) as desk, _settling(desk, url, "close_reject", f"reject {number}") as writer:
        writer.close(number)
    out.print(f"Record {number} is closed.")


@held.command("list")
def list_held(
    data: Data = DATA,
    limit: Annotated[int, typer.Option(help="How many.")] = 20,
    engine: WorksOn = EngineName.EMBEDDED,
    as_json: AsJson = False,
) -> None:
    """Records that wait for a decision."""
    with at(data, engine) as desk:
        found = desk.reader().held(limit)
    rows = [shown(row) for row in found.iter_rows(named=True)]
    if as_json:
        answer_json(rows)
        return
    columns = {
        "number": "number",
        "path": "file",
        "line": "line",
        "source": "source",
        "record_id": "id",
        "reason": "reason",
    }
    table(rows, columns, "Nothing is held.")


@held.command("decide")
def decide(
    number: RecordNumber,
    decision: Annotated[
        str, typer.Argument(help="discard: the first record stands; charge: both are usage.")
    ],
    data: Data = DATA,
    url: Url = None,
    engine: WorksOn = EngineName.EMBEDDED,
) -> None:
    """Decide a conflict."""
    with at(data, engine) as desk, _settling(desk, url, "decide_held", f"held {number} {decision}") as writer:
        writer.decide(number, decision)
    out.print(f"Record {number}: {decision}.")


@contextmanager
def _settling(desk: Desk, url: str | None, action: str, detail: str) -> Iterator[Orders]:
    """A hand that settles; who does is written down, by the running platform where it is asked."""
    if not url:
        desk.wrote(action, detail)
    with desk.orders(url) as writer:
        yield writer
