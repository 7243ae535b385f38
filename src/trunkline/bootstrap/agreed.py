"""The tariff that a cluster's workers have agreed on, and whose account everybody uses, for those who do not charge.

Workers charge by the version with which they began. Doors and whoever answers people outlive many versions, so these
follow them: a member that came today is found in the account that pays for it without anybody being started again.
"""

from __future__ import annotations

import threading

from trunkline.charging.tariffs import compile_catalogue
from trunkline.charging.tariffs.catalogue import Catalogue, Register
from trunkline.engines.kafka.client import Server
from trunkline.engines.kafka.shared import Body, followed, latest
from trunkline.engines.plan import Plan
from trunkline.ports import Refused

NEEDS_WORKERS = (
    "The cluster knows no tariff yet. Start a worker: trunkline run --engine kafka --tariffs FOLDER"
)


class Agreed:
    """The version that holds now; any thread may ask."""

    def __init__(self, server: Server, plan: Plan) -> None:
        """Read what holds; raises `Refused` when there is nothing yet. Later versions come with `follow`."""
        self._server, self._group, self._topic = server, f"{plan.prefix}.follower", plan.catalogue
        body = latest(server, self._group, self._topic)
        if body is None:
            raise Refused(NEEDS_WORKERS)
        self._holds = body, _compiled(body)

    def catalogue(self) -> Catalogue:
        """The tariff."""
        return self._holds[1]

    def files(self) -> dict[str, str]:
        """Its files."""
        return dict(self._holds[0]["files"])

    def follow(self, stop: threading.Event) -> None:
        """Take up new versions until told to stop."""
        for body in followed(self._server, self._group, self._topic, stop):
            if body["version"] > self._holds[0]["version"]:
                self._holds = body, _compiled(body)


def _compiled(body: Body) -> Catalogue:
    return compile_catalogue(body["files"], Register(**body["register"]))[0]
