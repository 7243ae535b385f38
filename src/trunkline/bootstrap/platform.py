"""A platform put together: the store of a data folder, the engine over it, and the tables its steps look
things up in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trunkline import topology
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.memory import SpareMemory, keep_freed_memory
from trunkline.bootstrap.withdrawals import AT_ONCE, Withdrawals, Withdrawn
from trunkline.charging.subscribers import members_of_file, read_subscribers, time_zones_of
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.engines.embedded.engine import Engine, Totals
from trunkline.engines.embedded.sources import NamedFiles
from trunkline.engines.loop import Accounts
from trunkline.kernel.grouped import State
from trunkline.mediation.mapping import Mapping
from trunkline.ports import Refused
from trunkline.records import charging, usage
from trunkline.settings import Folders, Keeping
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.retention import LetGo, retain
from trunkline.stores.embedded.store import Store

ACCOUNTS = Accounts(
    rated=charging.CHARGED,
    duplicate=usage.DUPLICATES,
    rejected=usage.REJECTED,
    held=usage.HELD,
    told=charging.ALERTS,
)
BY_ENDING = {".csv": "trunkline_csv"}
PACKED = (".gz", ".zst")
SUBSCRIBERS_AT_ONCE = 500_000


@dataclass(frozen=True)
class Platform:
    """What a process that writes has in its hands."""

    folders: Folders
    store: Store
    engine: Engine
    catalogue: Catalogue
    mappings: dict[str, Mapping]


def states() -> tuple[State, ...]:
    """Everything that the map's steps remember, each once."""
    found = {step.state.name: step.state for flow in topology.FLOWS for step in flow.steps if step.state}
    return tuple(found.values())


@contextmanager
def opened(folders: Folders, disk: Disk | None = None) -> Iterator[Platform]:
    """A platform on its data folder; subscribers are loaded when a file of them is there. Closed at the end."""
    keep_freed_memory()
    mappings = load_mappings(Path(folders.mappings) if folders.mappings else None)
    disk = disk or Disk()
    folders.data.mkdir(parents=True, exist_ok=True)
    store = Store(folders.data, states(), disk)
    store.keeper.listeners.append(SpareMemory())
    try:
        tariffs = Path(folders.tariffs) if folders.tariffs else None
        people = subscribers_file(folders)
        content = people.read_bytes() if people else b""
        catalogue = catalogue_for(folders.data, tariffs, disk, people, content, store)
        tables: dict[str, Any] = {
            usage.MAPPINGS.name: mappings,
            usage.MEMBERS.name: catalogue.members,
            charging.TARIFFS.name: catalogue,
        }
        engine = Engine(store, topology.USAGE, ACCOUNTS, tables, mappings.__getitem__)
        platform = Platform(folders, store, engine, catalogue, mappings)
        if people:
            load_subscribers(platform, people.name, content)
        yield platform
    finally:
        store.close()


def catalogue_for(
    data: Path,
    tariffs: Path | None,
    disk: Disk,
    people: Path | None,
    content: bytes,
    store: Store | None = None,
) -> Catalogue:
    """The tariff to charge by, with the time zones and members that a subscribers file brings.

    Numbers of members are given for good, so a file that names some is judged as a whole before.
    """
    zones = time_zones_of(content)
    pairs = members_of_file(people.name, content) if people else []
    if people and pairs:
        read_subscribers(people.name, content, load_catalogue(data, tariffs, None, zones, pairs))
        if store is not None:
            _refuse_accounts_of_their_own(store, pairs)
    return load_catalogue(data, tariffs, disk, zones, pairs)


def _refuse_accounts_of_their_own(store: Store, pairs: Sequence[tuple[int, int]]) -> None:
    """Who has used an account alone cannot become a member: what is on it would be out of reach."""
    words = np.unique(np.array([word for word, _ in pairs], np.uint64))
    held = store.gather(charging.ACCOUNTS, words)
    alone = int(np.count_nonzero(np.diff(held.offsets)))
    if alone:
        raise Refused(
            f"{alone:,} of the members that the subscribers file names have accounts of their own already. Only new"
            " subscribers can join an account; take the `owner` out of their rows."
        )


def subscribers_file(folders: Folders) -> Path | None:
    """The subscribers file that was named, or the one in the tariff's folder or beside it."""
    if folders.subscribers:
        path = Path(folders.subscribers)
        if not path.is_file():
            raise Refused(f"{path} is not a file. Name the CSV file of subscribers.")
        return path
    if not folders.tariffs:
        return None
    tariffs = Path(folders.tariffs)
    for path in (tariffs / "subscribers.csv", tariffs.parent / "subscribers.csv"):
        if path.is_file():
            return path
    return None


def load_subscribers(platform: Platform, name: str, content: bytes) -> int:
    """Open the accounts of a subscribers file; how many rows it has. What is there already stays as it is."""
    rows = read_subscribers(name, content, platform.catalogue)
    for part in rows.iter_slices(SUBSCRIBERS_AT_ONCE):
        platform.engine.carry(topology.SUBSCRIBERS, part).result()
    return len(rows)


def chosen_mapping(platform: Platform, path: Path, mapping: str | None) -> str:
    """The mapping that was named, or the one that a file's ending suggests."""
    name = mapping
    if name is None:
        endings = [ending for ending in path.suffixes if ending not in PACKED]
        name = BY_ENDING.get(endings[-1] if endings else "", "trunkline")
    if name not in platform.mappings:
        known = ", ".join(sorted(platform.mappings))
        raise Refused(
            f'There is no mapping "{name}". Known are: {known}. A mapping of your own goes into --mappings.'
        )
    return name


@dataclass(frozen=True)
class Ingested:
    """What one `ingest` did, and the files that could not be read to their end."""

    totals: Totals
    troubles: list[Exception]
    withdrawn: Withdrawn


def ingest(
    platform: Platform,
    paths: Sequence[Path],
    mapping: str | None,
    source: str | None,
    progress: Callable[[Totals], None] | None = None,
) -> Ingested:
    """Read files to their end; returns when everything is durable."""
    files = []
    for path in paths:
        name = chosen_mapping(platform, path, mapping)
        files.append((path, name, source or platform.mappings[name].source))
    named = NamedFiles(platform.store, files, platform.mappings.__getitem__)
    totals = platform.engine.drive(named, progress=progress)
    return Ingested(totals, named.troubles, withdrawals(platform).settle())


def withdrawals(platform: Platform, at_once: int = AT_ONCE) -> Withdrawals:
    """What settles records that cancel or correct others; at most so many in one commit."""
    folder = platform.folders.data
    return Withdrawals(folder, platform.engine, lambda: platform.catalogue, platform.mappings, at_once)


def let_go(platform: Platform, keeping: Keeping) -> LetGo:
    """Let go of what is older than it is kept for."""
    days = dict.fromkeys(
        (charging.CHARGED.name, charging.ENTRIES.name, charging.ALERTS.name), keeping.usage_days
    )
    return retain(platform.store, time.time_ns() // 1000, days | {usage.RAW.name: keeping.raw_days})
