"""What brings about what, and how long incidents take, on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.bootstrap import causes as graphs
from trunkline.bootstrap.views import moment
from trunkline.cli.app import DATA, AsJson, Data, answer_json, out, table
from trunkline.cli.network import Limit, network
from trunkline.network.causes.graph import CausalGraph
from trunkline.network.incidents.measures import means

causes = typer.Typer(no_args_is_help=True, help="Which kind of alarm brings which about.")
network.add_typer(causes, name="causes")


@causes.command("learn")
def learn(
    data: Data = DATA,
    window: Annotated[int, typer.Option(help="Seconds that a cause may lie before its effect.", min=1)] = 300,
    prior: Annotated[
        Path | None,
        typer.Option(help="CSV of edges known to hold or not: cause_name, effect_name, holds."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn the causal graph from all alarms kept, and put it in force; a running platform takes it within seconds."""
    graph = graphs.learnt(data, window, prior)
    path = graphs.put_in_force(data, graph)
    if not as_json:
        out.print(f"{len(graph):,} edges in {path}", highlight=False)
    _show(graph, as_json=as_json)


@causes.command("show")
def show(data: Data = DATA, as_json: AsJson = False) -> None:
    """The causal graph in force, the strongest edges first."""
    _show(graphs.in_force(data), as_json=as_json)


def _show(graph: CausalGraph, *, as_json: bool) -> None:
    rows = graph.to_frame().sort("strength_milli", descending=True).drop("cause", "effect").to_dicts()
    if as_json:
        answer_json(rows)
    else:
        columns = {
            "cause_name": "cause",
            "effect_name": "effect",
            "strength_milli": "effects per 1,000 causes",
        }
        table(rows, columns, "Nothing is known of what brings about what.")


@network.command("measures")
def measures(data: Data = DATA, limit: Limit = 50, as_json: AsJson = False) -> None:
    """How long incidents took to be noticed, to be owned and to be over, and the means of that."""
    measured = graphs.measured(data, limit)
    rows: list[dict[str, Any]] = measured.to_dicts()
    mean = means(measured) if rows else {}
    if as_json:
        answer_json({"incidents": rows, **mean})
        return
    shown = [
        {
            "incident": row["incident_id"],
            "opened": moment(row["opened_us"]),
            **{name: _seconds(row[name]) for name in ("detect_ms", "own_ms", "repair_ms")},
        }
        for row in rows
    ]
    columns = {"incident": "incident", "opened": "opened", "detect_ms": "noticed after s", "own_ms": "owned after s",
               "repair_ms": "over after s"}  # fmt: skip
    table(shown, columns, "There was no incident.")
    if mean:
        told = ", ".join(
            f"{name[:4].upper()} {_seconds(value) or 'not known'}" for name, value in mean.items()
        )
        out.print(f"Means in seconds: {told}", highlight=False)


def _seconds(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else f"{milliseconds / 1000:,.1f}"
