"""`trunkline cluster cutover`: going on at a second site, on what a mirror copied there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trunkline import settings
from trunkline.cli.app import AsJson, answer_json, out, table
from trunkline.cli.cluster import cluster
from trunkline.ports import Refused
from trunkline.settings import Kafka

if TYPE_CHECKING:
    from trunkline.engines.kafka.cutover import Site

AGAIN_MINUTES = 60
_MINUTE_MS = 60_000

cutover = typer.Typer(
    no_args_is_help=True, help="Go on at another site, on the topics that a mirror copied there."
)
cluster.add_typer(cutover, name="cutover")


@cutover.command("check")
def check(as_json: AsJson = False) -> None:
    """How the copies on the brokers that the settings name stand; changes nothing. Fails when they cannot be used."""
    from trunkline.bootstrap import sites

    kafka = settings.read(Kafka)
    site, copied = sites.look(kafka)
    _tell(site, sites.network(kafka), copied=copied, as_json=as_json)
    _refuse(site)


@cutover.command("apply")
def apply(
    planned: Annotated[
        bool,
        typer.Option(
            "--planned", help="The other site was drained: nothing may be behind, and nothing is read again."
        ),
    ] = False,
    again: Annotated[
        int,
        typer.Option(
            help="Minutes of the edges that are read again, for what was routed and not copied.", min=0
        ),
    ] = AGAIN_MINUTES,
    as_json: AsJson = False,
) -> None:
    """Let workers go on here. Make sure first that those of the other site are stopped: two sites charge twice."""
    from trunkline.bootstrap import sites

    since_ms = time.time_ns() // 1_000_000 - again * _MINUTE_MS
    kafka = settings.read(Kafka)
    site = sites.move(kafka, since_ms, planned=planned)
    _tell(site, sites.network(kafka), copied=False, as_json=as_json)


def _tell(site: Site, network: str, *, copied: bool, as_json: bool) -> None:
    if as_json:
        answer_json(
            {
                "copied": copied, "network": network, "behind": site.behind, "active": site.active,
                "buckets": [_row(each) for each in site.buckets], "edges": [_row(each) for each in site.edges],
            }
        )  # fmt: skip
        return
    rows = [_row(each) for each in (*site.buckets, *site.edges)]
    headings = {"name": "partition", "position": "goes on at", "behind": "still to carry", "state": "state"}
    table(rows, headings, "There are no topics of ours on these brokers.")
    home = "They are copies, which workers refuse until they are taken over." if copied else "They live here."
    out.print(f"{home} Still to carry: {site.behind:,} messages.", highlight=False)
    if network == "copied":
        out.print(
            "The network's topics are copies, too, and are not taken over. To watch here: stop the mirror, delete"
            " them, and start anew (docs/operating/cluster-network.md, At another site).",
            highlight=False,
        )


def _row(standing: Any) -> dict[str, Any]:  # noqa: ANN401 -- a Standing, which is imported when it is asked for
    return {
        "name": f"{standing.topic}/{standing.partition}", "position": standing.position, "behind": standing.behind,
        "state": "torn" if standing.torn else "whole",
    }  # fmt: skip


def _refuse(site: Site) -> None:
    from trunkline.engines.kafka.cutover import words

    if site.torn:
        raise Refused("\n".join(words(each) for each in site.torn))
