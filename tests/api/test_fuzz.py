"""The whole interface under schemathesis: whatever is sent, nobody gets a 5xx (but an honest 501), in any role."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.billing.small import billing
from tests.delivery.small import desk_of_deliveries
from tests.network.watching import simulated, watch
from tests.page.serve import Served, served
from trunkline.api.access import Role
from trunkline.api.app import PUBLIC, ROUTERS
from trunkline.api.describe import document
from trunkline.simulator import Settings

SMALL = Settings(seed=7, subscribers=300, cells=20, hours=2, start=date(2026, 11, 3))


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """Generated text goes out as it is."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


schema = schemathesis.openapi.from_dict(document(ROUTERS, PUBLIC))


def bounded(examples: int, *phases: Phase) -> settings:
    """The same requests every time, and not too many."""
    return settings(
        max_examples=examples,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real server, so that what is refused before our code is seen, too; it watches a network and makes bills."""
    day = simulated(tmp_path_factory.mktemp("day"), SMALL)
    with (
        watch(tmp_path_factory.mktemp("data"), day / "inventory") as watching,
        billing(tmp_path_factory.mktemp("bills")) as (_, bills),
        desk_of_deliveries(tmp_path_factory.mktemp("deliveries")) as deliveries,
        served(60, period_s=0.5, network=watching.watching, bills=bills, deliveries=deliveries) as world,
    ):
        watching.play(day)
        yield world


def no_mistake_of_ours(_context: Any, response: Any, case: Any) -> None:
    """501 says that something is not built; every other 5xx is our mistake."""
    assert response.status_code < 500 or response.status_code == 501, (
        f"{case.method} {case.path}: {response.text}"
    )


CHECKS = [no_mistake_of_ours, status_code_conformance, content_type_conformance, response_schema_conformance]


@schema.parametrize()
@bounded(10, Phase.explicit, Phase.generate)
def test_nothing_breaks(case: schemathesis.Case[Any], world: Served) -> None:
    """Good and bad requests get past the door and get the answers that the description promises."""
    headers = {"Authorization": f"Bearer {world.tokens[Role.ADMIN]}"}
    case.call_and_validate(base_url=world.url, headers=headers, checks=CHECKS)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.CARE, Role.BILLING])
@schema.parametrize()
@bounded(3, Phase.generate)
def test_nothing_breaks_for_lower_roles(case: schemathesis.Case[Any], role: Role, world: Served) -> None:
    """The same in every other role."""
    headers = {"Authorization": f"Bearer {world.tokens[role]}"}
    case.call_and_validate(base_url=world.url, headers=headers, checks=CHECKS)
