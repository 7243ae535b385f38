"""Taking usage: `run` (live, with the page), `ingest` (files), `simulate` (a demonstration operator)."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from trunkline import settings
from trunkline.api.logs import configure
from trunkline.bootstrap import demo
from trunkline.bootstrap.network import Network, opened_network
from trunkline.bootstrap.platform import Platform, opened
from trunkline.bootstrap.platform import ingest as ingest_files
from trunkline.bootstrap.warming import warm, warm_network
from trunkline.cli.app import DATA, AsJson, Data, EngineName, FlowName, answer_json, app, err, failed, out
from trunkline.kernel import money
from trunkline.ports import Refused
from trunkline.settings import Delivery, Folders, Http, Keeping, Listening, Online, Watched
from trunkline.simulator import NetworkSettings
from trunkline.simulator import Settings as Simulated
from trunkline.simulator import simulate as write_simulation

if TYPE_CHECKING:
    from trunkline.bootstrap.serve import Serving

Tariffs = Annotated[
    Path | None, typer.Option(help="Folder of the tariff. Left out: the one that the data folder remembers.")
]
Subscribers = Annotated[
    Path | None,
    typer.Option(
        help="Subscribers file (CSV). Left out: subscribers.csv in the tariff's folder or beside it."
    ),
]
Mappings = Annotated[Path | None, typer.Option(help="Folder of mapping files of your own.")]
DEMO_DATA = Path("trunkline-demo")


@app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(help="Usage files; .gz and .zst are unpacked on the way.")],
    data: Data = DATA,
    tariffs: Tariffs = None,
    subscribers: Subscribers = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            help="How the files are read, such as kamailio_log. Left out: trunkline (trunkline_csv for .csv)."
        ),
    ] = None,
    mappings: Mappings = None,
    source: Annotated[
        str | None, typer.Option(help="Name of the system they come from. Left out: the mapping's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Charge usage files. What was charged before is recognised, so offering a file again rates nothing twice."""
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise Refused(f"No such file: {', '.join(missing)}.")
    folders = settings.read(Folders, data=data, tariffs=tariffs, subscribers=subscribers, mappings=mappings)
    began = time.monotonic()
    with opened(folders) as platform, _progress(shown=not as_json) as progress:
        task = progress.add_task("charging", total=sum(path.stat().st_size for path in files))
        done = ingest_files(
            platform, files, mapping, source, lambda totals: progress.update(task, completed=totals.octets)
        )
        currency = platform.catalogue.currency
    result = {**vars(done.totals), "seconds": round(time.monotonic() - began, 3)}
    result["withdrawn"] = vars(done.withdrawn)
    result["troubles"] = [str(trouble) for trouble in done.troubles]
    if as_json:
        answer_json(result)
    else:
        _tell(result, currency)
    if done.troubles:
        for trouble in done.troubles:
            failed(trouble)
        raise typer.Exit(6)


def _tell(result: dict[str, Any], currency: str) -> None:
    out.print(
        f"{result['received']:,} received = {result['rated']:,} rated + {result['duplicate']:,} duplicate"
        f" + {result['rejected']:,} rejected + {result['held']:,} held;"
        f" {money.to_text(result['charged_micros'])} {currency}, {result['alerts']:,} alerts,"
        f" in {result['seconds']:.1f} s",
        highlight=False,
    )
    taken_back = result["withdrawn"]
    if any(taken_back.values()):
        out.print(
            f"Of records that take others back: {taken_back['cancelled']:,} cancelled, {taken_back['corrected']:,}"
            f" corrected, {taken_back['rejected']:,} rejected, {taken_back['waiting']:,} wait for their originals.",
            highlight=False,
        )
    if result["rejected"] or taken_back["rejected"]:
        out.print("See the rejected ones: trunkline rejects list", highlight=False)


def _progress(*, shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not shown or not err.is_terminal,
    )


@app.command()
def run(
    data: Annotated[Path | None, typer.Option(envvar="TRUNKLINE_DATA", help="Data folder.")] = None,
    tariffs: Tariffs = None,
    subscribers: Subscribers = None,
    mappings: Mappings = None,
    watch: Annotated[Path | None, typer.Option(help="Folder whose files are charged as they appear.")] = None,
    watch_mapping: Annotated[str | None, typer.Option(help="How the files of that folder are read.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    hosts: Annotated[
        str | None, typer.Option(help="Further host names to answer to, separated by commas.")
    ] = None,
    demonstration: Annotated[
        bool, typer.Option("--demo", help="Let the demonstration operator's day stream in.")
    ] = False,
    speed: Annotated[float, typer.Option(help="Simulated seconds in one, for --demo.")] = demo.SPEED,
    people: Annotated[int, typer.Option(help="Subscribers of the demonstration operator.")] = 5_000,
    cells: Annotated[int, typer.Option(help="Cells of the demonstration operator.")] = 200,
    engine: Annotated[
        EngineName,
        typer.Option(
            envvar="TRUNKLINE_ENGINE",
            help="embedded: this process and its data folder. kafka: a worker on the topics of a cluster."
            " spark: Spark, on the same topics.",
        ),
    ] = EngineName.EMBEDDED,
    flow: Annotated[
        FlowName,
        typer.Option(
            help="With kafka or spark: usage charges, network watches. Each is carried by workers of its own."
        ),
    ] = FlowName.USAGE,
    once: Annotated[
        bool, typer.Option("--once", help="With spark: take what the topics hold, and end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take usage live (HTTP and a watched folder), charge it in seconds, and serve the page and the API."""
    folder = data or (DEMO_DATA if demonstration else DATA)
    folders = settings.read(
        Folders, data=folder, tariffs=tariffs, subscribers=subscribers, mappings=mappings, watch=watch,
        watch_mapping=watch_mapping,
    )  # fmt: skip
    if engine is not EngineName.EMBEDDED:
        _work(engine, flow, folders, once=once, as_json=as_json)
        return
    if flow is not FlowName.USAGE:
        raise Refused(f"--flow {flow} needs --engine kafka or spark; embedded carries both flows at once.")
    from trunkline.bootstrap import serve

    http = settings.read(Http, host=host, port=port, hosts=hosts)
    configure(logging.WARNING)
    world = None
    if demonstration:
        err.print("Making the demonstration operator …", highlight=False)
        world = demo.prepare(folder, datetime.now(UTC).date(), people, cells)
        folders = Folders(**{**vars(folders), "tariffs": str(folder / demo.FOLDER / "tariffs")})
    with opened(folders) as platform, opened_network(folder, watched := settings.read(Watched)) as network:
        _warm(platform, network)
        serving = serve.prepare(platform, http, settings.read(Keeping), settings.read(Online))
        serve.tell_customers(serving, settings.read(Delivery))
        serve.watch_network(serving, network, watched, settings.read(Listening))
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        others = ()
        if world is not None:
            received = sum(each.received for each in serving.reader.accounting())
            others = (lambda: demo.play(world, serving.intake, serving.stop, received, speed),)  # type: ignore[assignment]
        shown = threading.Thread(target=_show, args=(serving,), name="progress", daemon=True)
        with contextlib.suppress(KeyboardInterrupt):  # being asked to stop is no trouble
            serve.run(serving, lambda link: _started(serving, link, shown), others)


def _warm(platform: Platform, network: Network) -> None:
    """Compile what is compiled once on a machine, before anybody is asked to wait for an answer."""
    err.print("Getting ready (the first time on a machine takes about a minute) …", highlight=False)
    warm(platform.engine.tables)
    warm_network(network.engine.tables)


def _work(engine: EngineName, flow: FlowName, folders: Folders, *, once: bool, as_json: bool) -> None:
    """Be a worker of a cluster; its clients are imported only here."""
    if engine is EngineName.KAFKA:
        from trunkline.cli.kafka import run_kafka, run_network

        (run_network if flow is FlowName.NETWORK else run_kafka)(folders, as_json=as_json)
        return
    from trunkline.cli.spark import run_network as watch_on_spark
    from trunkline.cli.spark import run_spark

    (watch_on_spark if flow is FlowName.NETWORK else run_spark)(folders, once=once, as_json=as_json)


def _started(serving: Serving, link: str, shown: threading.Thread) -> None:
    out.print(f"\n[bold]trunkline[/] is charging. The page: {serving.base_url}/", highlight=False)
    out.print(f"Sign in (once, within the hour): {link}", highlight=False, soft_wrap=True)
    out.print("Stop with Ctrl-C; everything that was accepted is kept.\n", highlight=False)
    shown.start()


def _show(serving: Serving) -> None:
    """A line of figures every few seconds, for whoever watches the terminal."""
    before = 0
    while not serving.stop.wait(5):
        counts = serving.reader.accounting()
        received = sum(each.received for each in counts)
        charged = sum(each.charged_micros for each in counts)
        err.print(
            f"{datetime.now(UTC):%H:%M:%S}  {received:,} records ({(received - before) / 5:,.0f}/s),"
            f" {money.to_text(charged // 10_000 * 10_000)} {serving.platform.catalogue.currency} charged",
            highlight=False,
        )
        before = received


@app.command()
def simulate(
    folder: Annotated[
        Path, typer.Option("--out", help="Folder to write into: cdrs/, tariffs/, subscribers.csv, truth/.")
    ],
    seed: Annotated[int, typer.Option(help="Number from which all chance follows.")] = 1,
    subscribers: Annotated[int, typer.Option(help="People and machines with a number.")] = 5_000,
    cells: Annotated[int, typer.Option(help="Radio cells.")] = 200,
    hours: Annotated[int, typer.Option(help="Length of the simulated time.")] = 24,
    start: Annotated[str, typer.Option(help="First day, such as 2026-11-02.")] = "2026-11-02",
    duplicates: Annotated[float, typer.Option(help="Share of records that come a second time.")] = 0.0,
    late: Annotated[float, typer.Option(help="Share of records that arrive minutes to days late.")] = 0.0,
    corrupt: Annotated[float, typer.Option(help="Share of records whose line is damaged.")] = 0.0,
    conflicts: Annotated[
        float, typer.Option(help="Share of records whose id comes again with another content.")
    ] = 0.0,
    out_of_order: Annotated[float, typer.Option(help="Share of records overtaken by others.")] = 0.0,
    network: Annotated[
        bool,
        typer.Option(
            "--network", help="Also its network: inventory/, pm/, slices/, devices/, events, tickets."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a demonstration operator's usage, tariff and subscribers, with the truth beside them."""
    try:
        chosen = Simulated(
            seed=seed, subscribers=subscribers, cells=cells, hours=hours, start=date.fromisoformat(start),
            duplicates=duplicates, late=late, corrupt=corrupt, conflicts=conflicts, out_of_order=out_of_order,
        )  # fmt: skip
    except ValueError as error:
        raise Refused(str(error)) from error
    with _progress(shown=not as_json) as progress:
        task = progress.add_task("simulating", total=hours)
        summary = write_simulation(
            chosen,
            folder,
            lambda done, _all, _lines: progress.update(task, completed=done),
            NetworkSettings() if network else None,
        )
    if as_json:
        answer_json(summary)
    else:
        out.print(
            f"Wrote {folder}. Charge it: trunkline ingest {folder}/cdrs/* --tariffs {folder}/tariffs",
            highlight=False,
        )
