"""The network on the command line: its inventory, what it tells, and a recorded day played again."""

from __future__ import annotations

import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from trunkline import settings
from trunkline.bootstrap import network as watched
from trunkline.bootstrap import replay as played
from trunkline.bootstrap.listening import listeners_told
from trunkline.bootstrap.views import moment
from trunkline.cli.app import DATA, AsJson, Data, answer_json, app, out, table
from trunkline.cli.hand import TOKEN, Url
from trunkline.kernel.identity import name_words
from trunkline.kernel.money import to_text
from trunkline.network.detect.patterns import Patterns, score_all
from trunkline.ports import Refused
from trunkline.records.network import Scope, Severity
from trunkline.settings import Watched
from trunkline.stores.embedded.manifest import NAME as MANIFEST
from trunkline.stores.embedded.network import FOLDER, NetworkReader

network = typer.Typer(no_args_is_help=True, help="The network watched: KPIs, findings, alarms, incidents.")
inventory = typer.Typer(no_args_is_help=True, help="Sites, cells, routers, links and areas.")
app.add_typer(network, name="network")
network.add_typer(inventory, name="inventory")

Lists = Annotated[
    list[Path],
    typer.Argument(help="Files (sites, cells, routers, links, areas; .csv or .geojson) or folders of them."),
]
Limit = Annotated[int, typer.Option(help="How many, newest first.")]
PATIENCE_S = 60
FOREVER_US, EVERY_ROW = 2**62, 2**62
HOUR_US = 3_600_000_000
SERIES_MOST = 500_000  # values of one series that are looked at closer
TOLD_AT = 0.5


def _reader(data: Path) -> NetworkReader:
    return NetworkReader(data / FOLDER)


@inventory.command("check")
def check(lists: Lists, as_json: AsJson = False) -> None:
    """Read lists and tell every mistake with its line; nothing is changed."""
    _told(watched.checked_inventory(watched.inventory_files(lists)), as_json=as_json)


@inventory.command("load")
def load(lists: Lists, data: Data = DATA, as_json: AsJson = False) -> None:
    """Put lists in force, all or nothing; lists not named stay. A running platform takes them within seconds."""
    files = watched.inventory_files(lists)
    (data / FOLDER).mkdir(parents=True, exist_ok=True)
    _told(watched.keep_inventory(data / FOLDER, files), as_json=as_json)


@inventory.command("unlisted")
def unlisted(data: Data = DATA, as_json: AsJson = False) -> None:
    """Who reported within the newest hour and stands in no list, so that it is on no map and in no area's sum."""
    reader = _reader(data)
    newest_us = reader.counts()["newest_kpi_us"]
    told = reader.kpis(None, None, newest_us - HOUR_US, FOREVER_US, EVERY_ROW, Scope.CELL)
    rows = [
        {"name": row["name"], "until": moment(row["end_us"])}
        for row in watched.load_inventory(data / FOLDER).unlisted(told).iter_rows(named=True)
    ]
    if rows and not as_json:
        out.print(f"{len(rows):,} report and stand in no list. Add them to cells.csv: trunkline network inventory load",
                  highlight=False)  # fmt: skip
    _show(
        rows, {"name": "name", "until": "last told of"}, "Everything that reports is listed.", as_json=as_json
    )


def _told(found: Any, *, as_json: bool) -> None:  # noqa: ANN401 -- an inventory
    counts = {name: len(getattr(found, name)) for name in ("areas", "sites", "cells", "routers", "links")}
    if as_json:
        answer_json(counts)
    else:
        out.print(", ".join(f"{count:,} {name}" for name, count in counts.items()), highlight=False)


@network.command("ingest")
def ingest(
    files: Annotated[
        list[Path], typer.Argument(help="Telemetry files; .gz and .zst are unpacked on the way.")
    ],
    mapping: Annotated[str, typer.Option(help="How the files are read, such as pm_xml, cells_csv, syslog.")],
    data: Data = DATA,
    source: Annotated[
        str | None, typer.Option(help="Name of the system they come from. Left out: the mapping's.")
    ] = None,
    mappings: Annotated[Path | None, typer.Option(help="Folder of telemetry mappings of your own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take telemetry files. What was taken before is recognised, so offering a file again counts nothing twice."""
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise Refused(f"No such file: {', '.join(missing)}.")
    chosen = settings.read(Watched, telemetry_mappings=mappings)
    with watched.opened_network(data, chosen) as watch:
        totals, troubles = watched.ingest_telemetry(watch, [(path, mapping, source) for path in files])
    names = ("received", "measured", "events", "duplicate", "rejected", "held")
    result = {name: getattr(totals, name) for name in names}
    if as_json:
        answer_json({**result, "troubles": [str(trouble) for trouble in troubles]})
    else:
        parts = " + ".join(f"{result[name]:,} {name}" for name in names[1:])
        out.print(f"{result['received']:,} received = {parts}", highlight=False)
        for trouble in troubles:
            out.print(str(trouble), highlight=False)
    if troubles:
        raise typer.Exit(6)


@network.command("status")
def status(data: Data = DATA, as_json: AsJson = False) -> None:
    """What was received of the network and what became of it, and what its listeners took and refused."""
    told = told_of_network(data)
    if told is None:
        raise Refused(
            f"{data} watches no network yet. Load an inventory: trunkline network inventory load FOLDER"
        )
    if as_json:
        answer_json(told)
    else:
        tell_network(told)


def told_of_network(data: Path) -> dict[str, Any] | None:
    """How a data folder's network is doing; None when it watches none."""
    if not (data / FOLDER / MANIFEST).exists():
        return None
    reader, names = (
        _reader(data),
        ("source", "received", "measured", "events", "duplicate", "rejected", "held"),
    )
    return {
        **reader.counts(),
        "alarm_counts": reader.alarm_counts(),
        "sources": [{name: getattr(row, name) for name in names} for row in reader.accounting()],
        "heard": listeners_told(data / FOLDER),
    }


def tell_network(told: dict[str, Any]) -> None:
    """The same for people."""
    names = ("source", "received", "measured", "events", "duplicate", "rejected", "held")
    out.print("\nTelemetry:", highlight=False)
    table(told["sources"], {name: name for name in names}, "Nothing was received of the network yet.")
    out.print(
        f"\n{told['alarms_active']:,} alarms stand, {told['incidents_open']:,} incidents are open; the newest KPI is of"
        f" {moment(told['newest_kpi_us']) if told['newest_kpi_us'] else 'never'}; waiting for people:"
        f" {told['rejected']:,} rejects, {told['held']:,} held",
        highlight=False,
    )
    rows = [
        each | {"why": ", ".join(f"{count:,} {reason}" for reason, count in sorted(each["reasons"].items()))}
        for each in told["heard"]["listeners"]
    ]
    if rows:
        columns = {"listener": "listener", "port": "port", "received": "received", "messages": "taken",
                   "refused": "refused", "why": "because of", "unanswered": "not answered"}  # fmt: skip
        out.print(f"\nListeners, as of {moment(told['heard']['time_us'])}:", highlight=False)
        table(rows, columns, "")


@network.command("kpi")
def kpi(
    name: Annotated[str, typer.Argument(help="Name of a cell, area, slice or technology, or `network`.")],
    data: Data = DATA,
    only: Annotated[
        str | None, typer.Option("--kpi", help="Only this KPI, by its name in TS 28.554.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """KPIs of one thing, newest first."""
    word = int(name_words(pl.Series([name]))[0])
    rows = [
        {
            "until": moment(row["end_us"]),
            "kpi": row["kpi"],
            "value": None if row["value_milli"] is None else row["value_milli"] / 1000,
            "missing": row["missing"],
        }
        for row in _reader(data).kpis([word], only, 0, FOREVER_US, limit).iter_rows(named=True)
    ]
    _show(rows, {"until": "until", "kpi": "KPI", "value": "value", "missing": "bins missing"},
          "No KPI of it is known.", as_json=as_json)  # fmt: skip


@network.command("look")
def look(
    name: Annotated[str, typer.Argument(help="Name of a cell, area, slice or technology, or `network`.")],
    only: Annotated[str, typer.Option("--kpi", help="The KPI, by its name in TS 28.554.")],
    data: Data = DATA,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Look closer at one series: what of all that is kept of it looks like nothing before, by a memory of patterns.

    The detector that runs all the time goes by a band of what is expected; this one costs a hundred times as much.
    """
    word = int(name_words(pl.Series([name]))[0])
    kept = _reader(data).kpis([word], only, 0, FOREVER_US, SERIES_MOST)
    series = kept.filter((pl.col("slice") == 0) & pl.col("value_milli").is_not_null())
    series = series.unique("end_us", keep="first", maintain_order=True).sort("end_us")
    if len(series) <= Patterns().learn_points:
        raise Refused(
            f"{len(series):,} values of {only} of {name} are kept; a memory of patterns needs more than"
            f" {Patterns().learn_points}."
        )
    values = series["value_milli"].to_numpy() / 1000
    (scores,) = score_all([values], [series["end_us"].to_numpy()])
    told = series.with_columns(score=pl.Series(scores), value=pl.Series(values)).filter(
        pl.col("score") >= TOLD_AT
    )
    rows = [
        {"until": moment(row["end_us"]), "value": row["value"], "score": round(row["score"], 3)}
        for row in told.reverse().head(limit).iter_rows(named=True)
    ]
    _show(rows, {"until": "until", "value": "value", "score": "how unusual, 0 to 1"},
          f"Of {len(series):,} values none looks like nothing before.", as_json=as_json)  # fmt: skip


@network.command("anomalies")
def anomalies(data: Data = DATA, limit: Limit = 20, as_json: AsJson = False) -> None:
    """What the detector found, newest first, each with its why."""
    rows = [
        {"time": moment(row["time_us"]), "object": row["name"], "kpi": row["kpi"], "kind": row["kind"],
         "ended": bool(row["ended"]), "why": row["text"]}
        for row in _reader(data).anomalies(limit).iter_rows(named=True)
    ]  # fmt: skip
    columns = {
        "time": "seen",
        "object": "object",
        "kpi": "KPI",
        "kind": "kind",
        "ended": "over",
        "why": "why",
    }
    _show(rows, columns, "Nothing unusual was found.", as_json=as_json)


@network.command("alarms")
def alarms(
    data: Data = DATA,
    every: Annotated[bool, typer.Option("--all", help="Also those that are cleared.")] = False,
    security: Annotated[
        bool | None,
        typer.Option("--security/--failures", help="Only security events, or only failures. Left out: both."),
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Alarms as they stand, the worst first."""
    rows = [
        {"severity": Severity(row["severity"]).name.lower(), "object": row["name"], "problem": row["specific_problem"],
         "since": moment(row["raised_us"]), "cleared": moment(row["cleared_us"]) if row["cleared_us"] else None,
         "held_by": row["held_by"] or None, "acked_by": row["acked_by"], "text": row["text"],
         "security": bool(row["security"]), "alarm_id": row["alarm_id"]}
        for row in _reader(data).alarms(limit, active=None if every else True, security=security)
    ]  # fmt: skip
    columns = {
        "severity": "severity",
        "object": "object",
        "since": "since",
        "held_by": "held by",
        "text": "what",
    }
    _show(rows, columns, "No alarm is active.", as_json=as_json)


@network.command("budgets")
def budgets(data: Data = DATA, as_json: AsJson = False) -> None:
    """Agreements with enterprises (agreements.yaml): what is left of each error budget, and how fast it burns."""
    rows = [
        {"severity": Severity(row["severity"]).name.lower(), "agreement": row["name"], "enterprise": row["enterprise"],
         "slice": f"{row['slice'] >> 24}-{row['slice'] & 0xFFFFFF:06x}" if row["slice"] else None, "kpi": row["kpi"],
         "left_percent": row["left_milli"] / 10, "burn_hour": row["fast_milli"] / 1000,
         "burn_six_hours": row["slow_milli"] / 1000, "as_of": moment(row["time_us"]), "text": row["text"]}
        for row in _reader(data).budgets().iter_rows(named=True)
    ]  # fmt: skip
    columns = {"severity": "severity", "agreement": "agreement", "enterprise": "with", "slice": "slice", "kpi": "KPI",
               "left_percent": "% left", "burn_hour": "burns, last hour", "burn_six_hours": "last six"}  # fmt: skip
    _show(
        rows,
        columns,
        "No agreement is written down (agreements.yaml), or nothing was measured yet.",
        as_json=as_json,
    )


@network.command("incidents")
def incidents(
    data: Data = DATA,
    every: Annotated[bool, typer.Option("--all", help="Also those that are closed.")] = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Incidents, those that cost most first."""
    rows = [
        {"severity": Severity(row["severity"]).name.lower(), "root": row["root_name"], "cause": row["cause"],
         "subscribers": row["subscribers"], "money_per_minute": to_text(row["micros_per_minute"]),
         "alarms": row["alarms"], "opened": moment(row["opened_us"]),
         "closed": moment(row["closed_us"]) if row["closed_us"] else None, "owner": row["owner"] or None,
         "why": row["why"], "incident_id": row["incident_id"]}
        for row in _reader(data).incidents(limit, is_open=None if every else True)
    ]  # fmt: skip
    columns = {"severity": "severity", "root": "root", "cause": "cause", "subscribers": "customers",
               "money_per_minute": "money/min", "opened": "opened", "why": "why"}  # fmt: skip
    _show(rows, columns, "No incident is open.", as_json=as_json)


def _show(rows: Iterable[dict[str, Any]], columns: dict[str, str], empty: str, *, as_json: bool) -> None:
    if as_json:
        answer_json(list(rows))
    else:
        table(rows, columns, empty)


@network.command("replay")
def replay(
    folder: Annotated[Path, typer.Argument(help="A day as `trunkline simulate --network` writes it.")],
    speed: Annotated[
        float, typer.Option(help="How many times faster than it happened; 0: as fast as it is taken.")
    ] = 0.0,
    data: Data = DATA,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Play a day of telemetry again, into the data folder or (with --url) into a running platform."""
    stop, began_s = threading.Event(), time.monotonic()
    if url:
        count = played.play(folder, _remote(url.rstrip("/")), speed, stop)
    else:
        with watched.opened_network(data, settings.read(Watched)) as watch:
            count = played.play(folder, played.sender_to(watch), speed, stop)
    result = {"pieces": count, "seconds": round(time.monotonic() - began_s, 3)}
    if as_json:
        answer_json(result)
    else:
        out.print(f"{count:,} periods in {result['seconds']:.1f} s", highlight=False)


def _remote(url: str) -> played.Send:
    if not url.startswith(("http://", "https://")):
        raise Refused(f"{url} is no address. It begins with http:// or https://.")
    headers = {
        "Content-Type": "application/octet-stream",
        "Authorization": f"Bearer {os.environ.get(TOKEN, '')}",
    }

    def send(mapping: str, lines: bytes) -> None:
        path = f"/api/v1/network/telemetry?mapping={mapping}&source=replay"
        while True:
            request = urllib.request.Request(url + path, lines, headers, method="POST")  # noqa: S310 -- checked above
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_S):  # noqa: S310 -- checked above
                    return
            except urllib.error.HTTPError as error:
                if error.code != 429:
                    raise Refused(f"{url} refused it ({error.code}).") from error
                time.sleep(float(error.headers.get("Retry-After", "1")))
            except (urllib.error.URLError, TimeoutError) as error:
                raise Refused(f"{url} does not answer: {error}. Is it the right address?") from error

    return send
