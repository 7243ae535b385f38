"""The frame of the command line: exit codes, output as text or JSON, and how trouble is told."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from trunkline import __version__
from trunkline.charging.tariffs import TariffError
from trunkline.kernel.mappings import MappingError
from trunkline.ports import DiskFull, FolderDamaged, FolderInUse, NearlyAllRejected, NoAnswer, Refused
from trunkline.settings import SettingsError

EXIT_CODES = {
    0: "Everything went well.",
    1: "Something went wrong that we did not foresee; the message says what.",
    2: "The command was not understood; its --help says how it goes.",
    3: "What was handed in cannot be used (a tariff, a mapping, a file, a number); the message says what to change.",
    4: "Another process writes to the data folder.",
    5: "The disk is full; make room and start again, nothing was lost.",
    6: "Some files were not read to their end; the message names each and why.",
    7: "The reconciliation, or the check of bills, found differences.",
    8: "The data folder is damaged; restore a backup.",
    9: "Some accounts moved since the preview of their re-rating and were not booked; make a new preview.",
    10: "The shadow run is done, and its gate is not passed: the two systems still charge too differently.",
    11: "A server of the cluster does not answer; ask again, an order under the name that the message says.",
}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="""**trunkline**: an operator's usage becomes money, alerts and answers, in seconds.

A first walk: `trunkline simulate --out demo` makes a demonstration operator, `trunkline ingest demo/cdrs/* --tariffs
demo/tariffs` charges its day, `trunkline status`, `trunkline alerts` and `trunkline balance NUMBER` look at it, and
`trunkline reconcile` checks every micro-unit. `trunkline run` serves the page and takes usage live.""",
)
_UNBROKEN = (
    1000  # columns: what another program reads is not broken at the width of a screen that is not there
)
out = Console(width=None if sys.stdout.isatty() else _UNBROKEN)
err = Console(stderr=True, width=None if sys.stderr.isatty() else _UNBROKEN)

AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON, for scripts.")]
Data = Annotated[Path, typer.Option(envvar="TRUNKLINE_DATA", help="Data folder.")]
Full = Annotated[bool, typer.Option("--full", help="Show telephone numbers in full; this is written down.")]
DATA = Path("trunkline-data")


class EngineName(StrEnum):
    """Who carries the flows."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"
    SPARK = "spark"


HistoryOf = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        envvar="TRUNKLINE_ENGINE",
        help="embedded: what the data folder holds. spark: what the topics of a cluster hold, by Spark.",
    ),
]


def refuse_kafka(engine: EngineName, what: str) -> None:
    """Refuse what needs the whole of history, which the engine kafka keeps in topics that it never reads again."""
    if engine is EngineName.KAFKA:
        raise Refused(
            f"Workers of the engine kafka do not {what}. Where Spark carries the usage of the cluster, Spark does"
            " (--engine spark), and so does a data folder for what it holds (--engine embedded)."
        )


class FlowName(StrEnum):
    """Which side of the map a worker of a cluster carries."""

    USAGE = "usage"
    NETWORK = "network"


def _version(*, asked: bool) -> None:
    if asked:
        out.print(f"trunkline {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _version(asked=value), is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Usage becomes money."""


def failed(error: BaseException) -> int:
    """Tell what went wrong and what to do; the exit code."""
    codes: tuple[tuple[type[BaseException], int], ...] = (
        (FolderInUse, 4),
        (DiskFull, 5),
        (NearlyAllRejected, 6),
        (NoAnswer, 11),
        (FolderDamaged, 8),
        (TariffError, 3),
        (MappingError, 3),
        (Refused, 3),
        (SettingsError, 3),
        (FileNotFoundError, 3),
        (FileExistsError, 3),
    )
    code = next((code for kind, code in codes if isinstance(error, kind)), 1)
    text = str(error) if code != 1 else f"{type(error).__name__}: {error}"
    err.print(f"[bold red]trunkline:[/] {_plain(text)}", highlight=False, soft_wrap=True)
    return code


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def answer_json(value: object) -> None:
    """One JSON value on one line."""
    sys.stdout.buffer.write(
        orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY, default=str)
    )
    sys.stdout.flush()


def table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], empty: str) -> None:
    """Rows as a table of `columns` (key to heading), or the sentence that says why there is none."""
    rows = list(rows)
    if not rows:
        out.print(empty, highlight=False)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in columns.items():
        numeric = all(isinstance(row.get(key), int | float | None) for row in rows)
        shown.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(row.get(key)) for key in columns))
    out.print(shown, highlight=False)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:,}" if isinstance(value, int) else _plain(str(value))
