"""The network's side of a platform put together: its own store and engine, what its steps look up, and its hands.

It lies in the folder `network` of the data folder. The inventory, the formulas, the rules about alarms and the causal
graph are files there, checked as a whole before they replace what is in force; a running platform sees a changed file
within two seconds and needs no restart.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
from ruamel.yaml import YAML

from trunkline import topology
from trunkline.bootstrap.judges import models_of
from trunkline.bootstrap.memory import SpareMemory, keep_freed_memory
from trunkline.engines.embedded.engine import Engine, Settings, Totals
from trunkline.engines.embedded.intake import Spooling
from trunkline.engines.embedded.lanes import Lanes
from trunkline.engines.embedded.sources import LiveSources, NamedFiles
from trunkline.engines.loop import Accounts, Early, tallied
from trunkline.kernel.grouped import State
from trunkline.kernel.identity import name_words
from trunkline.network import formula, heat
from trunkline.network.alarms.maintenance import preview
from trunkline.network.alarms.rules import AlarmRules, RulesError, Window, read_rules
from trunkline.network.alarms.signals import alarm_keys
from trunkline.network.causes.graph import SCHEMA as CAUSES_SCHEMA
from trunkline.network.causes.graph import CausalGraph
from trunkline.network.detect.expected import expected
from trunkline.network.detect.models import Models
from trunkline.network.inventory import RESOLUTIONS, Inventory, InventoryError, read_inventory
from trunkline.network.pulse import pulses_at
from trunkline.network.sla import Agreements, parse_agreements
from trunkline.network.telemetry.mapping import SHIPPED, parse_mapping
from trunkline.network.telemetry.mapping import Mapping as TelemetryMapping
from trunkline.ports import IncidentNote, Maintenance, Receipt, Refused, Settled
from trunkline.records import charging, network, network_sums
from trunkline.settings import Watched
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.network import FOLDER, NetworkReader, NetworkStore
from trunkline.stores.embedded.reader import EmbeddedReader

log = logging.getLogger("trunkline.network")

ACCOUNTS = Accounts(
    rated=network.HEARD,
    duplicate=network.DUPLICATES,
    rejected=network.REJECTED,
    held=network.HELD,
    told=network.ALARMS,
    takes_back=False,
    raw_octets_max=4096,
    advice="does the inventory know what it speaks of",
)
SPARE_OCTETS = 4 << 30  # what a period of a hundred thousand cells needs for a moment, and more
# A period of all cells is one batch: what is remembered of them is asked for once, whatever part of them came.
# And two threads share it: there is no batch behind it that the other core could begin with.
AT_WORK = Settings(batch_records=8_000_000, decoders=2)
LANES = Lanes(
    network.BUCKET.name,
    (network.BUCKETS // 2,),
    travels=(network_sums.PARTS, network_sums.TILE_CHANGES, network_sums.TILE_ALARMS),
)
# The map of KPIs is known when all KPIs are, and half of the work is still to come.
EARLY = Early(heat.fade, network.HEAT)
INVENTORY, FORMULAS, RULES, CAUSES = "inventory", "formulas.yaml", "alarm_rules.json", "causes.csv"
AGREEMENTS = "agreements.yaml"
LISTS = ("sites", "cells", "routers", "links", "areas")
LIST_ENDINGS = (".csv", ".geojson")
LOOK_EVERY_S = 2.0
TILE_NAMES = 3  # of the cells of a tile, for the map
QUIET_S = 30.0  # without telemetry, before the clock goes on by itself
WORTH_EVERY_S = 3600.0
DAY_US, MINUTES_A_DAY = 86_400_000_000, 1440
EXPECTED_FROM_US = 15 * DAY_US  # so much of a series is gone through to tell what was expected,
EXPECTED_VALUES = 200_000  # and not more than this
NO_WORTH = pl.DataFrame(schema={"object": pl.UInt64, "subscribers": pl.Int64, "micros_per_minute": pl.Int64})


@dataclass
class Network:
    """What a process that watches the network has in its hands."""

    folder: Path
    store: NetworkStore
    engine: Engine
    mappings: dict[str, TelemetryMapping]
    reader: NetworkReader
    seen: dict[str, tuple[tuple[str, int, int], ...]] = field(default_factory=dict)

    @property
    def inventory(self) -> Inventory:
        """The inventory in force."""
        inventory: Inventory = self.engine.tables[network.INVENTORY.name]  # type: ignore[assignment]
        return inventory

    @property
    def rules(self) -> AlarmRules:
        """The rules about alarms in force."""
        rules: AlarmRules = self.engine.tables[network.ALARM_RULES.name]  # type: ignore[assignment]
        return rules


def states() -> tuple[State, ...]:
    """Everything that the network's steps remember, each once."""
    found = {
        step.state.name: step.state for flow in topology.NETWORK_FLOWS for step in flow.steps if step.state
    }
    return tuple(found.values())


@contextmanager
def opened_network(data: Path, watched: Watched | None = None, disk: Disk | None = None) -> Iterator[Network]:
    """The network of a data folder, made when there is none. Closed at the end."""
    watched, disk = watched or Watched(), disk or Disk()
    folder = data / FOLDER
    (folder / INVENTORY).mkdir(parents=True, exist_ok=True)
    mappings = load_telemetry_mappings(
        Path(watched.telemetry_mappings) if watched.telemetry_mappings else None
    )
    tables = tables_of(folder, mappings)
    formulas: formula.Formulas = tables[network.FORMULAS.name]  # type: ignore[assignment]
    tables[network.MODELS.name] = models_of(watched.network_judges, (kpi.name for kpi in formulas.kpis))
    keep_freed_memory()
    store = NetworkStore(folder, states(), disk)
    store.keeper.listeners.append(SpareMemory(SPARE_OCTETS))
    try:
        engine = Engine(
            store,
            topology.NETWORK,
            ACCOUNTS,
            tables,
            mappings.__getitem__,
            settings=AT_WORK,
            lanes=LANES,
            early=EARLY,
            count=tallied(network.MEASURED, network.BINS),
        )
        made = Network(folder, store, engine, mappings, NetworkReader(folder))
        made.seen = {
            name: prints_of(folder, name) for name in (INVENTORY, FORMULAS, RULES, CAUSES, AGREEMENTS)
        }
        yield made
    finally:
        store.close()


# -- what the steps look up ------------------------------------------------------------------------------------


def tables_of(folder: Path, mappings: dict[str, TelemetryMapping]) -> dict[str, object]:
    """Everything that the network's steps look things up in, from a network's folder."""
    return {
        network.MAPPINGS.name: mappings,
        network.INVENTORY.name: load_inventory(folder),
        network.FORMULAS.name: load_formulas(folder),
        network.MODELS.name: Models(),
        network.ALARM_RULES.name: load_rules(folder),
        network.CAUSES.name: load_causes(folder),
        network.WORTH.name: NO_WORTH,
        network_sums.AGREEMENTS.name: load_agreements(folder),
    }


def load_telemetry_mappings(own: Path | None = None) -> dict[str, TelemetryMapping]:
    """The shipped mappings, and those of a folder of one's own (which win over a shipped one of the same name)."""
    shipped = resources.files("trunkline.network.telemetry") / "mappings"
    texts = {name: (shipped / f"{name}.yaml").read_text(encoding="utf-8") for name in SHIPPED}
    if own is not None:
        texts |= {path.stem: path.read_text(encoding="utf-8") for path in sorted(own.glob("*.yaml"))}
    return {name: parse_mapping(name, text) for name, text in texts.items()}


def inventory_files(paths: Sequence[Path]) -> dict[str, bytes]:
    """The lists among files and folders by name; raises `Refused` when there is none."""
    found: dict[str, bytes] = {}
    for path in paths:
        if not path.exists():
            raise Refused(f"{path} does not exist. Name a folder or files such as cells.csv.")
        for each in sorted(path.iterdir()) if path.is_dir() else [path]:
            if each.stem in LISTS and each.suffix in LIST_ENDINGS:
                found[each.name] = each.read_bytes()
            elif each == path:
                raise Refused(f"{path} is none of {', '.join(LISTS)} with {' or '.join(LIST_ENDINGS)}.")
    if not found:
        raise Refused(f"There is no list in it: none of {', '.join(LISTS)} with {' or '.join(LIST_ENDINGS)}.")
    return found


def checked_inventory(files: Mapping[str, bytes]) -> Inventory:
    """The inventory that files hold; raises `Refused` with every mistake."""
    try:
        return read_inventory(files)
    except InventoryError as error:
        raise Refused(str(error)) from error


def load_inventory(folder: Path) -> Inventory:
    """The inventory in force in a network's folder; empty when none was loaded."""
    kept = folder / INVENTORY
    return checked_inventory(inventory_files([kept])) if any(kept.iterdir()) else Inventory.empty()


def keep_inventory(folder: Path, files: Mapping[str, bytes], disk: Disk | None = None) -> Inventory:
    """Check lists and keep them as the inventory in force; lists that are not among them stay as they are."""
    kept = folder / INVENTORY
    kept.mkdir(parents=True, exist_ok=True)
    stems = {Path(name).stem for name in files}
    others = {path.name: path.read_bytes() for path in kept.iterdir() if path.stem not in stems}
    inventory = checked_inventory({**others, **files})
    disk = disk or Disk()
    for name, content in files.items():
        for path in kept.iterdir():
            if path.stem == Path(name).stem and path.name != name:
                disk.remove(path)
        _replace(disk, kept / name, content)
    return inventory


def load_formulas(folder: Path) -> formula.Formulas:
    """The operator's own formulas, or the shipped ones."""
    own = folder / FORMULAS
    shipped = resources.files("trunkline.network") / "formulas" / f"{formula.SHIPPED}.yaml"
    text = own.read_text(encoding="utf-8") if own.exists() else shipped.read_text(encoding="utf-8")
    try:
        return formula.parse_formulas(text, str(own) if own.exists() else formula.SHIPPED)
    except formula.FormulaError as error:
        raise Refused(str(error)) from error


def load_rules(folder: Path) -> AlarmRules:
    """The rules about alarms in force; the usual ones when none were written."""
    path = folder / RULES
    if not path.exists():
        return AlarmRules()
    try:
        return read_rules(YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {})
    except RulesError as error:
        raise Refused(f"{path}: {error}") from error


def load_causes(folder: Path) -> CausalGraph:
    """The learnt causal graph; an empty one before anything was learnt."""
    path = folder / CAUSES
    if not path.exists():
        return CausalGraph.empty()
    try:
        return CausalGraph.from_frame(pl.read_csv(path, schema_overrides=CAUSES_SCHEMA))
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise Refused(f"{path} is no causal graph: {error}") from error


def load_agreements(folder: Path) -> Agreements:
    """What service is promised to whom; nothing before it was written down."""
    path = folder / AGREEMENTS
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        return parse_agreements(text, load_formulas(folder), str(path))
    except formula.FormulaError as error:
        raise Refused(str(error)) from error


def worth_of(reader: EmbeddedReader) -> pl.DataFrame:
    """Subscribers and money a minute of each cell, out of the newest day of rated usage (`WORTH`)."""
    until_us = int(reader.status()["newest_us"] or 0) + 1
    parts = [
        frame.filter(pl.col("cell").is_not_null()).group_by("cell").agg(
            pl.col("subscriber").unique(), pl.col("charged_micros").sum()
        )
        for frame in reader.scan(charging.CHARGED, until_us - DAY_US, until_us)
    ]  # fmt: skip
    if not parts:
        return NO_WORTH
    cells = pl.concat(parts).group_by("cell").agg(
        pl.col("subscriber").explode().n_unique().cast(pl.Int64).alias("subscribers"),
        (pl.col("charged_micros").sum() // MINUTES_A_DAY).cast(pl.Int64).alias("micros_per_minute"),  # rounded down
    )  # fmt: skip
    words = pl.Series("object", name_words(cells["cell"]), dtype=pl.UInt64)
    return cells.with_columns(words).select(NO_WORTH.columns).sort("object")


def expected_of(
    reader: NetworkReader, models: Models, name: str, kpi: str, from_us: int, until_us: int
) -> pl.DataFrame:
    """What was expected of a KPI of one thing in a stretch of time (`EXPECTED`), by all that is kept before it."""
    (word,) = name_words(pl.Series([name])).tolist()
    kept = reader.kpis([word], kpi, until_us - EXPECTED_FROM_US, until_us, EXPECTED_VALUES)
    return expected(kept.filter(pl.col("slice") == 0), models).filter(pl.col("end_us") >= from_us)


def refresh(watch: Network) -> list[str]:
    """Put files that have changed in force; the names of the tables that were replaced.

    A file with mistakes is told of in the log, once, and what was in force stays so.
    """
    loads = {
        INVENTORY: (network.INVENTORY, load_inventory),
        FORMULAS: (network.FORMULAS, load_formulas),
        RULES: (network.ALARM_RULES, load_rules),
        CAUSES: (network.CAUSES, load_causes),
        AGREEMENTS: (network_sums.AGREEMENTS, load_agreements),
    }
    replaced = []
    for name, (table, load) in loads.items():
        prints = prints_of(watch.folder, name)
        if prints != watch.seen.get(name):
            watch.seen[name] = prints
            try:
                value = load(watch.folder)
            except Refused as error:
                log.warning("%s stays as it was: %s", table.name, error)
                continue
            watch.engine.replace_table(table.name, value).result()
            replaced.append(table.name)
    return replaced


def prints_of(folder: Path, name: str) -> tuple[tuple[str, int, int], ...]:
    """What tells whether a file, or one of a folder, has changed."""
    path = folder / name
    paths = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
    return tuple((each.name, each.stat().st_mtime_ns, each.stat().st_size) for each in paths)


def _replace(disk: Disk, path: Path, content: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    disk.remove(fresh)
    disk.write(fresh, [content])
    disk.rename(fresh, path)


# -- files and live telemetry ----------------------------------------------------------------------------------


def ingest_telemetry(
    watch: Network, files: Sequence[tuple[Path, str, str | None]]
) -> tuple[Totals, list[Exception]]:
    """Read telemetry files (path, mapping, source) to their end; the totals, and what could not be read."""
    known = []
    for path, mapping, source in files:
        if mapping not in watch.mappings:
            raise Refused(f'There is no mapping "{mapping}". Known are: {", ".join(sorted(watch.mappings))}.')
        known.append((path, mapping, source or watch.mappings[mapping].source))
    named = NamedFiles(watch.store, known, watch.mappings.__getitem__)
    totals = watch.engine.drive(named)
    return totals, named.troubles


def advance(watch: Network, time_us: int) -> None:
    """Let time come to a moment without telemetry: windows close, silence is told, what was held back is judged."""
    watch.engine.carry(topology.TIME, pulses_at(time_us)).result()


@dataclass
class NetworkHands:
    """The embedded network's intake (`ports.NetworkIntake`). Any thread may call."""

    watch: Network
    spooling: Spooling
    _planning: threading.Lock = field(default_factory=threading.Lock)
    _places: tuple[Inventory, dict[str, Any]] | None = None

    def telemetry(self, mapping: str, octets: bytes, source: str | None = None) -> Receipt:
        """Take telemetry for the named mapping; raises `Busy` or `Refused`."""
        return self.spooling.usage(mapping, octets, source)

    def settle_reject(self, number: int, octets: bytes | None, actor: str) -> None:
        """Offer rejected telemetry again with corrected octets, or close it for good when there are none."""
        self.spooling.settle_reject(number, octets, actor)

    def discard(self, number: int, actor: str) -> None:
        """Take a held record off the list: what came first stands."""
        self.watch.store.settle(Settled("held", number, "discard", actor))

    def signal(self, signals: pl.DataFrame) -> list[str]:
        """Carry an operator's hand on alarms; the names of the alarms it changed."""
        objects = pl.Series("object", name_words(signals["name"]), dtype=pl.UInt64)
        rows = signals.with_columns(
            object=pl.when(pl.col("object").fill_null(0) == 0).then(objects).otherwise(pl.col("object")),
            since_us=pl.coalesce("since_us", "time_us"),
            subscriber=pl.col("subscriber").fill_null(0),
        )
        rows = rows.with_columns(
            alarm_key=pl.when(pl.col("alarm_key").fill_null(0) == 0)
            .then(alarm_keys(rows))
            .otherwise(pl.col("alarm_key"))
        )
        carried = self.watch.engine.carry(topology.HANDS, network.SIGNALS.record.conform(rows)).result()
        return carried.rows(network.ALARMS)["alarm_id"].unique(maintain_order=True).to_list()

    def annotate(self, alarm_id: str, attributes: Mapping[str, Any]) -> None:
        """Keep what another system says of an alarm."""
        self.watch.store.annotate(alarm_id, attributes)

    def add_task(self, kind: str, time_us: int, body: Mapping[str, Any]) -> int:
        """Keep a task that somebody ordered on alarms; its number."""
        return self.watch.store.add_task(kind, time_us, body)

    def note(self, note: IncidentNote) -> None:
        """Write down what a person did about an incident."""
        self.watch.store.note(note)

    # -- maintenance ---------------------------------------------------------------------------------------

    def maintenance(self) -> list[Maintenance]:
        """Planned windows, the latest end first."""
        windows = sorted(self.watch.rules.windows, key=lambda window: -window.end_us)
        return [
            Maintenance(each.name, each.objects, each.begin_us, each.end_us, each.reason, each.author)
            for each in windows
        ]

    def preview(self, window: Maintenance) -> dict[str, Any]:
        """What a window would hold back, following the topology."""
        inventory = self.watch.inventory
        known = dict(inventory.names.select("name", "object").iter_rows())
        unknown = sorted(set(window.objects) - set(known))
        if unknown:
            raise Refused(f"The inventory does not know {', '.join(unknown[:20])}.")
        if window.end_us <= window.begin_us:
            raise Refused("A window ends after it begins.")
        would = preview(
            Window(window.window_id, window.objects, window.begin_us, window.end_us),
            inventory,
            self.watch.rules,
            pl.DataFrame(
                [{"object": row["object"]} for row in self.watch.reader.alarms(10_000, active=True)],
                schema={"object": pl.UInt64},
            ),
        )
        cells = would.covered.filter(pl.col("kind") == "cell")
        worth: pl.DataFrame = self.watch.engine.tables[network.WORTH.name]  # type: ignore[assignment]
        hit = worth.filter(pl.col("object").is_in(cells["object"].implode()))
        return {
            "objects": list(window.objects),
            "cells": would.cells,
            "cell_names": cells["name"].head(1000).to_list(),
            "subscribers": int(hit["subscribers"].sum()),
            "micros_per_minute": int(hit["micros_per_minute"].sum()),
            "active_alarms": len(would.alarms),
            "overlapping": would.overlapping,
        }

    def plan(self, window: Maintenance) -> None:
        """Plan a window, or replace the one of the same name."""
        self.preview(window)
        planned = Window(
            window.window_id, window.objects, window.begin_us, window.end_us, window.reason, window.actor
        )
        self._put_in_force(lambda rules: rules.with_window(planned))

    def cancel(self, window_id: str) -> None:
        """Forget a window."""
        try:
            self._put_in_force(lambda rules: rules.without_window(window_id))
        except KeyError:
            raise Refused(f"There is no window {window_id!r}.") from None

    def _put_in_force(self, change: Any) -> None:  # noqa: ANN401 -- rules to rules
        with self._planning:
            rules: AlarmRules = change(self.watch.rules)
            path = self.watch.folder / RULES
            _replace(self.watch.store.disk, path, json.dumps(rules_document(rules), indent=1).encode())
            self.watch.seen[RULES] = prints_of(self.watch.folder, RULES)
            self.watch.engine.replace_table(network.ALARM_RULES.name, rules).result()

    # -- the map -------------------------------------------------------------------------------------------

    def places(self) -> dict[str, Any]:
        """The inventory as the map needs it."""
        inventory = self.watch.inventory
        if self._places is None or self._places[0] is not inventory:
            self._places = inventory, places_of(inventory, self.watch.engine.tables)
        return self._places[1]

    def expected(self, name: str, kpi: str, from_us: int, until_us: int) -> pl.DataFrame:
        """What was expected of a KPI of one thing in a stretch of time."""
        models: Models = self.watch.engine.tables[network.MODELS.name]  # type: ignore[assignment]
        return expected_of(self.watch.reader, models, name, kpi, from_us, until_us)

    def names(self, objects: Sequence[int]) -> list[str]:
        """Names of the objects that the inventory knows."""
        return self.watch.inventory.names.filter(pl.col("object").is_in(list(objects)))["name"].to_list()


def rules_document(rules: AlarmRules) -> dict[str, Any]:
    """Rules as the document that `read_rules` reads."""
    return {
        "damping": vars(rules.damping),
        "hold_back": vars(rules.hold_back),
        "lapse": vars(rules.lapse),
        "findings": {name: int(value) for name, value in vars(rules.findings).items()},
        "windows": [
            {
                "name": each.name,
                "objects": list(each.objects),
                "begin": _moment(each.begin_us),
                "end": _moment(each.end_us),
                "reason": each.reason,
                "author": each.author,
            }
            for each in rules.windows
        ],
    }


def _moment(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000).isoformat()


def _tiles(cells: pl.DataFrame, resolution: int) -> dict[str, dict[str, Any]]:
    """The tiles of a layer that have cells: how many, and what the first of them are called.

    A cell lies in the parents of its finest tile: near an edge not in the one whose outline holds it.
    """
    by_tile = cells.group_by(tile=f"h3_{resolution}").agg(
        count=pl.len(), first=pl.col("name").sort().head(TILE_NAMES)
    )
    return {
        f"{row['tile']:x}": {"count": row["count"], "first": row["first"]}
        for row in by_tile.sort("tile").iter_rows(named=True)
    }


def places_of(inventory: Inventory, tables: Mapping[str, Any]) -> dict[str, Any]:
    """Cells, sites, links and areas for the map, and the tiles of each layer that have cells."""
    formulas: formula.Formulas = tables[network.FORMULAS.name]
    areas = dict(inventory.areas.select("object", "name").iter_rows())
    sites = dict(inventory.sites.select("object", "name").iter_rows())
    names = dict(inventory.names.select("object", "name").iter_rows())
    return {
        "cells": [
            {"name": row["name"], "technology": row["technology"], "latitude": row["latitude"],
             "longitude": row["longitude"], "site": sites.get(row["site"], ""), "area": areas.get(row["area"], "")}
            for row in inventory.cells.iter_rows(named=True)
        ],
        "sites": inventory.sites.select("name", "latitude", "longitude").to_dicts(),
        "routers": inventory.routers.select("name", "kind").to_dicts(),
        "links": [
            {"name": row["name"], "below": names.get(row["below"], ""), "above": names.get(row["above"], "")}
            for row in inventory.links.iter_rows(named=True)
        ],
        "areas": [
            {"name": row["name"], "object": f"{row['object']:x}", "parent": areas.get(row["parent"], ""),
             "outline": inventory.outlines.get(row["name"])}
            for row in inventory.areas.iter_rows(named=True)
        ],
        "tiles": {f"h3:{resolution}": _tiles(inventory.cells, resolution) for resolution in RESOLUTIONS},
        "kpis": [{"name": kpi.name, "text": kpi.text, "unit": kpi.unit} for kpi in formulas.kpis],
    }  # fmt: skip


# -- while it runs ---------------------------------------------------------------------------------------------


@dataclass
class NetworkLife:
    """What goes on beside the engine while a platform runs: changed files, worth of cells, and time itself."""

    watch: Network
    sources: LiveSources
    money: EmbeddedReader
    stop: threading.Event
    after_look: Callable[[], object] = lambda: None  # what else is to be done for what the network tells

    def drive(self) -> None:
        """Carry what comes until asked to stop."""
        self.watch.engine.drive(self.sources, self.stop)

    def keep(self) -> None:
        """Look after tables and time until asked to stop."""
        newest_us, heard_s, worth_s = -1, time.monotonic(), -WORTH_EVERY_S
        while not self.stop.wait(LOOK_EVERY_S):
            refresh(self.watch)
            self.after_look()
            now_s = time.monotonic()
            if now_s - worth_s >= WORTH_EVERY_S:
                worth_s = now_s
                self.watch.engine.replace_table(network.WORTH.name, worth_of(self.money)).result()
                self.watch.store.let_go(time.time_ns() // 1000)
            told_us = self.watch.reader.counts()["newest_kpi_us"]
            if told_us != newest_us:
                newest_us, heard_s = told_us, now_s
            elif newest_us > 0 and now_s - heard_s >= QUIET_S:
                # Nothing came: the data's clock goes on at the pace of ours, so that silence of everybody is told.
                advance(self.watch, newest_us + int((now_s - heard_s) * 1_000_000))
