"""The network watched, from telemetry to what people look at: a period of all cells, a flood of events, many readers,
and a week.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from websockets.asyncio.client import connect

from bench.figures import Figure, percentile, resident_octets
from bench.operator import folders, prepare
from trunkline.api.heat import HeatBoard, Seen
from trunkline.bootstrap import network as watched
from trunkline.bootstrap.platform import opened
from trunkline.bootstrap.tokens import add_token
from trunkline.engines.embedded.engine import Totals
from trunkline.stores.embedded.network import FOLDER

Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

START_US = 1_767_571_200_000_000  # a Monday
PERIOD_US = 30_000_000
CELLS_A_SITE, SITES_A_ROUTER = 3, 13
AREAS = 50
VIEW = ("h3:6", "PRBUsageDl")
PERIODS = 5  # of which the first are not counted: they compile, and make room for what is remembered
UNCOUNTED = 2
GOAL_PERIOD = "at most 2, on two cores"
GOAL_EVENTS = "at least 50,000"
GOAL_READERS = "at most 1,000"
START = "from trunkline.cli import main; main()"
PATIENCE_S = 120.0
UPDATE_EVERY_S = 2.0

# Twenty counters with what a cell usually counts in half a minute.
COUNTERS = {
    "RRC.ConnEstabAtt": 600, "RRC.ConnEstabSucc": 597, "UECNTX.ConnEstabAtt": 580, "UECNTX.ConnEstabSucc": 578,
    "SM.PDUSessionSetupReq": 180, "SM.PDUSessionSetupSucc": 179, "DRB.EstabAtt": 300, "DRB.EstabSucc": 299,
    "QF.RelActNbr": 2, "QF.SessionTimeQoS": 160_000, "MM.HoExeInterReq": 360, "MM.HoExeInterSucc": 356,
    "RRU.PrbTotDl": 55, "DRB.PdcpSduVolumeDL": 9_000, "DRB.PdcpSduVolumeUL": 1_100, "DRB.UEThpDl": 30_000,
    "DRB.AirIfDelayDl": 150, "DRB.PacketLossRateUl": 240, "RRU.CellUnavailableTime": 0, "L1M.SS-RSRP.Mean": -92,
}  # fmt: skip
_NEVER_MORE = {"RRC.ConnEstabSucc", "UECNTX.ConnEstabSucc", "SM.PDUSessionSetupSucc", "DRB.EstabSucc",
               "MM.HoExeInterSucc"}  # fmt: skip


def write_inventory(folder: Path, cells: int) -> None:
    """Cells on sites, sites on routers, and areas, somewhere between Lisbon and Warsaw."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(11)
    sites = -(-cells // CELLS_A_SITE)
    routers = -(-sites // SITES_A_ROUTER)
    towns = rng.uniform((38, -8), (53, 20), (AREAS, 2))
    area = rng.integers(AREAS, size=sites)
    where = towns[area] + rng.normal(0, 0.4, (sites, 2))
    site = [f"S{number:06d}" for number in range(sites)]
    pl.DataFrame(
        {"site": site, "latitude": where[:, 0].round(5), "longitude": where[:, 1].round(5),
         "area": [f"Area {number}" for number in area.tolist()]}
    ).write_csv(folder / "sites.csv")  # fmt: skip
    of = np.arange(cells) // CELLS_A_SITE
    place = where[of] + rng.normal(0, 0.002, (cells, 2))
    pl.DataFrame(
        {"cell": names(cells), "site": [site[number] for number in of.tolist()], "technology": ["NR"] * cells,
         "latitude": place[:, 0].round(5), "longitude": place[:, 1].round(5)}
    ).write_csv(folder / "cells.csv")  # fmt: skip
    access = [f"AR{number:05d}" for number in range(routers)]
    pl.DataFrame(
        {"router": [*access, "CORE1"], "kind": ["router"] * routers + ["core"]}
    ).write_csv(folder / "routers.csv")  # fmt: skip
    up = [access[number // SITES_A_ROUTER] for number in range(sites)]
    rows = [(f"{one}-{other}", one, other) for one, other in zip(site, up, strict=True)]
    rows += [(f"{router}-CORE1", router, "CORE1") for router in access]
    pl.DataFrame(rows, schema=["link", "from", "to"], orient="row").write_csv(folder / "links.csv")
    pl.DataFrame({"area": [f"Area {number}" for number in range(AREAS)]}).write_csv(folder / "areas.csv")


def names(cells: int) -> list[str]:
    """Names of cells."""
    return [f"N{number:06d}" for number in range(cells)]


def write_period(path: Path, cells: int, number: int, period_us: int = PERIOD_US) -> None:
    """What all cells counted in one period, as an element manager exports it."""
    rng = np.random.default_rng([7, number])
    columns: dict[str, Longs | Floats] = {}
    before = np.zeros(cells, np.int64)
    for name, usual in COUNTERS.items():
        if name in ("RRU.PrbTotDl", "L1M.SS-RSRP.Mean"):
            columns[name] = (usual + rng.normal(0, 2, cells)).round(1)
        elif name in _NEVER_MORE:
            columns[name] = rng.binomial(before, 0.995)
        else:
            columns[name] = before = rng.poisson(usual, cells)
    begin_us = START_US + number * period_us
    pl.DataFrame({"begin_us": begin_us, "end_us": begin_us + period_us}).join(
        pl.DataFrame({"cell": names(cells), "technology": "NR", **columns}), how="cross"
    ).write_csv(path)


@dataclass
class Watch:
    """A network that reads files, and the map that it draws."""

    network: watched.Network
    board: HeatBoard

    def read(self, *files: tuple[Path, str]) -> Totals:
        """Read files (path, mapping) to their end."""
        totals, troubles = watched.ingest_telemetry(self.network, [(*each, "bench") for each in files])
        assert not troubles, troubles
        return totals


@contextmanager
def watching(data: Path, cells: int) -> Iterator[Watch]:
    """A fresh network of so many cells."""
    write_inventory(data / FOLDER / watched.INVENTORY, cells)
    with watched.opened_network(data) as network:
        board = HeatBoard(network.reader)
        board.load()
        network.engine.listeners.append(board.commit)
        network.engine.early_listeners.append(board.ahead)
        yield Watch(network, board)


class Reader:
    """One who looks at the map: what was sent, and when."""

    def __init__(self, board: HeatBoard) -> None:
        """Begin with the whole map."""
        self._board, self._seen = board, board.message(VIEW, Seen())[0]
        self.sent: list[tuple[float, str]] = []

    def look(self, *_told: object) -> None:
        """Take what there is."""
        self._seen, text = self._board.message(VIEW, self._seen)
        if text is not None:
            self.sent.append((time.perf_counter(), text))


def period(work: Path, cells: int) -> list[Figure]:
    """From a file of all cells to what the map's readers are sent."""
    seconds, whole, processor = [], [], []
    with watching(work / "data", cells) as watch:
        reader = Reader(watch.board)
        watch.network.engine.early_listeners.append(reader.look)
        watch.network.engine.listeners.append(reader.look)
        for number in range(PERIODS):
            path = work / f"period-{number}.csv"
            write_period(path, cells, number)
            reader.sent.clear()
            began, used = time.perf_counter(), time.process_time()
            totals = watch.read((path, "cells_csv"))
            assert totals.measured == cells * len(COUNTERS), "every value was measured"
            (pushed, first), *rest = reader.sent
            assert f'"time_us":{START_US + (number + 1) * PERIOD_US}' in first, "the map shows this period"
            assert all('"tiles":[]' in text for _, text in rest), "and nothing of it came later"
            if number >= UNCOUNTED:
                seconds.append(pushed - began)
                whole.append(time.perf_counter() - began)
                processor.append(time.process_time() - used)
    bare = _seconds(lambda: pl.read_csv(path, infer_schema_length=None))
    goal = GOAL_PERIOD if cells == 100_000 else ""
    label = "polars.read_csv of the same file"
    runs = len(seconds)
    return [
        Figure("network_period", statistics.median(seconds), "s from file to map", goal, runs, label, bare),
        Figure("network_period_whole", statistics.median(whole), "s until all of it is durable", "", runs),
        Figure(
            "network_period_processor", statistics.median(processor), "s of processor time", "at most 4", runs
        ),
    ]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# -- events ------------------------------------------------------------------------------------------------------


def events(work: Path, count: int) -> list[Figure]:
    """Syslog, VES and rows of counters, a third each, one period after the other as a busy collector hands them on."""
    periods, streams = 4, 3
    size = count // 3 // (periods * streams)
    seconds, processor = [], []
    with watching(work / "data", max(size, 10)) as watch:
        watch.read(*_period(work, 0, size))  # everything is compiled before the clock runs
        for stream in range(streams):
            parts = range(1 + stream * periods, 1 + (stream + 1) * periods)
            files = [file for part in parts for file in _period(work, part, size)]
            began, used = time.perf_counter(), time.process_time()
            totals = watch.read(*files)
            assert totals.received >= (2 + len(COUNTERS)) * size * periods, totals
            assert totals.received == totals.measured + totals.events, totals
            seconds.append((time.perf_counter() - began) / (3 * size * periods))
            processor.append((time.process_time() - used) / (3 * size * periods))
    told = (work / "ves-0").read_bytes().splitlines()
    bare = _seconds(lambda: [orjson.loads(line) for line in told])
    return [
        Figure("network_events", 1 / statistics.median(seconds), "messages/s", GOAL_EVENTS, len(seconds),
               "orjson.loads of the VES messages alone", len(told) / bare),
        Figure("network_events_processor", 2 / statistics.median(processor), "messages/s of two whole cores",
               GOAL_EVENTS, len(processor)),
    ]  # fmt: skip


def _period(work: Path, part: int, size: int) -> list[tuple[Path, str]]:
    """What comes within one period: a file of each kind, with the mapping that reads it."""
    syslog, ves, rows = (work / f"{kind}-{part}" for kind in ("syslog", "ves", "rows"))
    syslog.write_bytes(b"".join(_syslog(part * size + at) for at in range(size)))
    ves.write_bytes(b"".join(_ves(part * size + at, part) for at in range(size)))
    write_period(rows, size, part)
    return [(syslog, "syslog"), (ves, "ves"), (rows, "cells_csv")]


def _syslog(number: int) -> bytes:
    """Mostly what devices say all day; one of a hundred is news of a port."""
    moment = datetime.fromtimestamp(START_US / 1e6 + number / 10_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    host, port = number % 997, number % 48
    if number % 100:
        said = f"session {number} of user {number % 7919} closed after {number % 600} s"
    else:
        said = f"Interface ge-0/0/{port}, changed state to {'down' if number % 200 else 'up'}"
    return f"<134>1 {moment}Z R{host:04d} sessiond {number % 32768} - - {said}\n".encode()


def _ves(number: int, part: int) -> bytes:
    """Faults that come and go, and heartbeats between them, told while the rows of a part are measured."""
    us = START_US + part * PERIOD_US + number * 100
    header = {
        "domain": "fault" if number % 50 == 0 else "heartbeat", "eventId": f"e{number}", "eventName": "bench",
        "priority": "Normal", "reportingEntityName": "ems", "sequence": number, "sourceName": f"N{number % 900:06d}",
        "startEpochMicrosec": us, "lastEpochMicrosec": us, "version": "4.1", "vesEventListenerVersion": "7.2.1",
    }  # fmt: skip
    event: dict[str, object] = {"commonEventHeader": header}
    if number % 50 == 0:
        event["faultFields"] = {
            "alarmCondition": "fan", "eventSeverity": "MINOR" if number % 100 else "NORMAL", "eventSourceType": "cell",
            "faultFieldsVersion": "4.0", "specificProblem": "fan stands", "vfStatus": "Active",
        }  # fmt: skip
    return orjson.dumps({"event": event}) + b"\n"


# -- readers -----------------------------------------------------------------------------------------------------


def readers(work: Path, count: int, cells: int = 3_000, updates: int = 8) -> list[Figure]:
    """From handing a period in over HTTP to each of many readers of the map having it."""
    data = work / "data"
    prepare(work, 1, 1)
    with opened(folders(work)):
        pass  # the tariff is known before the clock runs
    write_inventory(data / FOLDER / watched.INVENTORY, cells)
    token = add_token(data, "bench", "admin")
    command = [sys.executable, "-c", START, "run", "--data", str(data), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            waits = asyncio.run(_read_along(_address(running), token, work, count, cells, updates))
        finally:
            running.terminate()
            running.wait(PATIENCE_S)
    milli = [1000 * wait for wait in waits]
    runs = len(waits)
    return [
        Figure("network_readers_p99", percentile(milli, 0.99), "ms from POST to reader", GOAL_READERS, runs),
        Figure("network_readers_most", max(milli), "ms from POST to reader", GOAL_READERS, runs),
        Figure("network_readers_p50", percentile(milli, 0.5), "ms from POST to reader", "", runs),
    ]


def _address(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    for line in running.stdout:
        if "The page:" in line:
            return line.split()[-1].rstrip("/")
    raise RuntimeError("the platform did not start")


async def _read_along(url: str, token: str, work: Path, count: int, cells: int, updates: int) -> list[float]:
    """Post a period every two seconds; how long each reader waited for each."""
    known = {"Authorization": f"Bearer {token}"}
    seen: list[dict[int, float]] = [{} for _ in range(count)]
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_follow(url, known, each, stop)) for each in seen]
    posted: dict[int, float] = {}
    async with httpx.AsyncClient(base_url=url, headers=known, timeout=PATIENCE_S) as client:
        for number in range(updates + UNCOUNTED):
            path = work / "period.csv"
            write_period(path, cells, number)
            end_us = START_US + (number + 1) * PERIOD_US
            lines = _as_lines(path)
            posted[end_us] = time.perf_counter()
            answer = await client.post(
                "/api/v1/network/telemetry", params={"mapping": "cells_ndjson"}, content=lines
            )
            answer.raise_for_status()
            end = time.perf_counter() + PATIENCE_S
            while not all(end_us in each for each in seen):
                if time.perf_counter() > end:
                    raise TimeoutError(
                        f"{sum(end_us in each for each in seen)} of {count} readers got an update"
                    )
                await asyncio.sleep(0.05)
            await asyncio.sleep(max(0.0, posted[end_us] + UPDATE_EVERY_S - time.perf_counter()))
    stop.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    counted = list(posted)[UNCOUNTED:]
    return [each[end_us] - posted[end_us] for each in seen for end_us in counted]


def _as_lines(path: Path) -> bytes:
    """A period as an exporter sends it over HTTP, a JSON line a cell."""
    moments = [
        pl.from_epoch(f"{name}_us", time_unit="us").dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias(name)
        for name in ("begin", "end")
    ]
    rows = pl.read_csv(path, infer_schema_length=None)
    return rows.select(*moments, pl.exclude("begin_us", "end_us")).write_ndjson().encode()


async def _follow(url: str, known: dict[str, str], seen: dict[int, float], stop: asyncio.Event) -> None:
    """One reader: which moments of the data it was shown, and when."""
    address = url.replace("http", "ws", 1) + "/api/v1/network/heat"
    async with connect(address, additional_headers=known, proxy=None, max_size=None) as socket:
        await socket.send(orjson.dumps({"layer": VIEW[0], "metric": VIEW[1]}).decode())
        while not stop.is_set():
            said = str(await socket.recv())
            at = said.find('"time_us":')
            moment = said[at + 10 : said.find(",", at)] if at >= 0 else "null"
            if moment != "null":
                seen.setdefault(int(moment), time.perf_counter())


# -- a week ------------------------------------------------------------------------------------------------------


def week(work: Path, cells: int) -> list[Figure]:
    """What a week of periods of five minutes, handed in day by day, adds to memory after the first day."""
    period_us, periods = 300_000_000, 288
    octets = []
    with watching(work / "data", cells) as watch:
        for day in range(7):
            files = []
            for number in range(periods):
                path = work / f"{number}.csv"
                write_period(path, cells, day * periods + number, period_us)
                files.append((path, "cells_csv"))
            for first in range(0, periods, 12):
                watch.read(*files[first : first + 12])
            gc.collect()
            octets.append(resident_octets())
    grown = max(octets[1:]) - octets[0]
    return [
        Figure(
            "network_week_growth",
            float(max(grown, 0)),
            "octets from the first day to the worst",
            "none with time",
        ),
        Figure("network_week_memory", float(octets[-1]), "octets at the end of the week", ""),
    ]
