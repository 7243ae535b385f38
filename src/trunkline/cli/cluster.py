"""The servers of the cluster profile on this machine: `cluster up`, `cluster status`, `cluster down`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trunkline import settings
from trunkline.cli.app import AsJson, answer_json, app, err, out, table
from trunkline.ports import Refused
from trunkline.settings import Servers

if TYPE_CHECKING:
    from trunkline.bootstrap.cluster.profile import Cluster

cluster = typer.Typer(
    no_args_is_help=True,
    help="Prepare brokers of your own, or start Kafka, Cassandra and their company on this machine for tests and"
    " demonstrations (not for an operator's money: one machine is one machine).",
)
app.add_typer(cluster, name="cluster")

Folder = Annotated[
    Path | None, typer.Option(help="Folder of the servers: data, configuration, logs, secrets.")
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", help="One of the servers, such as kafka; may be given several times."),
]


@cluster.command()
def up(
    folder: Folder = None,
    only: Only = None,
    racks: Annotated[
        bool, typer.Option("--racks", help="Three Kafka brokers in three racks instead of one.")
    ] = False,
    plaintext: Annotated[
        bool,
        typer.Option(
            "--plaintext", help="Kafka without TLS, passwords and permissions, to measure what they cost."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start what does not run yet: on loopback and free ports, with TLS and generated passwords."""
    from trunkline.bootstrap.cluster.servers import chosen, settings_file

    found = _cluster(folder)
    recipes = chosen(only, racks=racks, secure=not plaintext)
    err.print(
        "For tests and demonstrations. The first start fetches the servers' programs through Maven …",
        highlight=False,
    )
    started = found.up(recipes)
    told = settings_file(found, recipes)
    if as_json:
        answer_json({"started": started, "servers": _standing(found), "settings": str(told)})
        return
    _tell(found)
    out.print(f"\nSettings by which others find them: {told}", highlight=False, soft_wrap=True)
    out.print(f"Passwords and certificates: {found.folder / 'secrets'}", highlight=False, soft_wrap=True)
    out.print("Stop them: trunkline cluster down", highlight=False)


@cluster.command()
def status(folder: Folder = None, as_json: AsJson = False) -> None:
    """Which servers run, and on which ports."""
    found = _cluster(folder)
    if as_json:
        answer_json(_standing(found))
        return
    _tell(found)


@cluster.command()
def connector(
    file: Annotated[
        Path,
        typer.Argument(
            help="A connector's name and configuration (JSON), such as those of examples/connect."
        ),
    ],
    folder: Folder = None,
    chosen: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of it, as name=value; may be given several times."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a connector of Kafka Connect, or change it. Passwords belong into files under the cluster's secrets."""
    from trunkline.bootstrap.cluster.connect import Connect
    from trunkline.bootstrap.cluster.connect import connector as read_connector

    pairs = [each.partition("=") for each in chosen or []]
    wrong = [name for name, mark, _ in pairs if not mark]
    if wrong:
        raise Refused(f"Say {wrong[0]}=value.")
    found = _cluster(folder)
    name, config = read_connector(file, {name: value for name, _, value in pairs})
    recipe, place = Connect(), found.place("connect")
    if not found.runs(recipe.name):
        raise Refused("Kafka Connect does not run. Start it: trunkline cluster up")
    recipe.put(place, name, config)
    if as_json:
        answer_json({"connector": name})
        return
    out.print(f"Connect carries {name}.", highlight=False)


@cluster.command()
def down(folder: Folder = None, only: Only = None, as_json: AsJson = False) -> None:
    """Stop the servers; their data stays for the next start."""
    found = _cluster(folder)
    stopped = found.down(only)
    if as_json:
        answer_json({"stopped": stopped})
        return
    out.print(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing ran.", highlight=False)


def _cluster(folder: Path | None) -> Cluster:
    from trunkline.bootstrap.cluster.profile import Cluster
    from trunkline.bootstrap.cluster.servers import jars_folder

    chosen = settings.read(Servers, cluster_folder=folder)
    return Cluster(chosen.cluster_folder, jars_folder(chosen))


def _standing(found: Cluster) -> list[dict[str, object]]:
    return [vars(each) | {"log": str(each.log)} for each in found.status()]


def _tell(found: Cluster) -> None:
    rows = [
        {
            "name": each.name,
            "runs": "yes" if each.runs else "no",
            "pid": str(each.pid) if each.runs else "",
            "ports": ", ".join(f"{name} {port}" for name, port in each.ports.items()),
        }
        for each in found.status()
    ]
    table(
        rows,
        {"name": "server", "runs": "runs", "pid": "process", "ports": "ports of 127.0.0.1"},
        "No server was started in this folder yet. Start them: trunkline cluster up",
    )
