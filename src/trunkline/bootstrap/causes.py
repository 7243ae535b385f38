"""Learning the causal graph from the alarms that a platform has kept, and putting it in force.

Learning takes seconds and is done beside the stream, as often as an operator likes. The graph is a CSV file in the
network's folder that people can read and edit; a running platform takes a changed one within seconds.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from trunkline.bootstrap.network import CAUSES, load_causes, load_inventory
from trunkline.kernel.identity import name_words
from trunkline.network.causes.graph import CausalGraph, problem_names
from trunkline.network.causes.learn import Learning, learn
from trunkline.network.incidents.measures import measures
from trunkline.ports import Refused
from trunkline.stores.embedded.disk import Disk
from trunkline.stores.embedded.network import FOLDER, NetworkReader

MOST = 2**31
PRIOR = ("cause_name", "effect_name", "holds")


def learnt(data: Path, window_s: int, prior: Path | None = None) -> CausalGraph:
    """The graph that explains the alarms kept in a data folder; `prior` is a CSV of edges known to hold or not to."""
    raised = NetworkReader(data / FOLDER).listed("alarm_changes", 0, MOST, where="action = 'raise'")
    names = problem_names(raised).alias("problem_name")
    alarms = raised.select("time_us", "object").with_columns(
        names, pl.Series("problem", name_words(names), pl.UInt64)
    )
    upward = load_inventory(data / FOLDER).upward.rename({"below": "object", "above": "neighbour"})
    return learn(alarms, upward, read_prior(prior) if prior else None, Learning(window_s=window_s))


def read_prior(path: Path) -> pl.DataFrame:
    """Edges known beforehand, by the names of their problems; raises `Refused` for another kind of file."""
    try:
        rows = pl.read_csv(path, schema_overrides={"holds": pl.Boolean})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Refused(f"{path} cannot be read: {error}") from error
    if not set(PRIOR) <= set(rows.columns):
        raise Refused(f"{path} needs the columns {', '.join(PRIOR)}; holds is true or false.")
    return rows.select(
        pl.Series("cause", name_words(rows["cause_name"]), pl.UInt64),
        pl.Series("effect", name_words(rows["effect_name"]), pl.UInt64),
        "holds",
    )


def put_in_force(data: Path, graph: CausalGraph, disk: Disk | None = None) -> Path:
    """Write the graph where the platform looks for it; the file is whole at every moment."""
    disk, path = disk or Disk(), data / FOLDER / CAUSES
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    disk.remove(fresh)
    disk.write(fresh, [graph.to_frame().write_csv().encode()])
    disk.rename(fresh, path)
    return path


def in_force(data: Path) -> CausalGraph:
    """The graph that a platform of this folder uses."""
    return load_causes(data / FOLDER)


def measured(data: Path, limit: int) -> pl.DataFrame:
    """How long the newest incidents took to be noticed, owned and over (`measures`), newest first."""
    reader = NetworkReader(data / FOLDER)
    named = [row["incident_id"] for row in reader.incidents(limit, is_open=None)]
    changes = [reader.incident_changes(name) for name in named]
    notes = [note for name in named for note in reader.incident_notes(name)]
    if not changes:
        return pl.DataFrame()
    frame = pl.DataFrame(notes) if notes else None
    return measures(pl.concat(changes), frame).reverse()
