"""The kafka engine put together: the map as a plan, the tables its steps look things up in, and a worker.

Workers keep nothing on their disks. The tariff, and the register of numbers that accounts store, travel in a
compacted topic, so that every worker charges with the same one.
"""

from __future__ import annotations

from pathlib import Path

from trunkline import topology
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings
from trunkline.bootstrap.platform import ACCOUNTS, subscribers_file
from trunkline.charging.subscribers import time_zones_of
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.worker import Work
from trunkline.engines.plan import Plan
from trunkline.kernel.grouped import State
from trunkline.records import charging, usage
from trunkline.settings import Folders
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.table import Table


def plan_of(prefix: str = "trunkline", buckets: int = 12) -> Plan:
    """The map's flows, parted by subscriber."""
    return Plan(
        usage=topology.USAGE,
        accounts=ACCOUNTS,
        orders=(topology.MONEY, topology.SUBSCRIBERS),
        bucket=charging.ACCOUNTS.key,
        named={charging.MOVEMENTS.name: "movement_id"},
        refused=(charging.REFUSED,),
        buckets=buckets,
        prefix=prefix,
    )


def new_held(state: State) -> Table:
    """Where a bucket keeps a state."""
    return Table(state.dtype)


def work_of(server: Server, plan: Plan, folders: Folders, name: str) -> Work:
    mappings = load_mappings(Path(folders.mappings) if folders.mappings else None)
    people = subscribers_file(folders)
    catalogue = load_catalogue(
        folders.data, Path(folders.tariffs) if folders.tariffs else None, Disk(),
        time_zones_of(people.read_bytes() if people else b""),
    )  # fmt: skip
    tables = {usage.MAPPINGS.name: mappings, charging.TARIFFS.name: catalogue}
    return Work(server, plan, tables, mappings.__getitem__, new_held, name)
