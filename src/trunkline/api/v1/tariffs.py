"""The tariff in force, as a clerk reads it, and the check of one that is to come."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path

from trunkline.api.access import CHECK_TARIFFS, READ_TARIFFS
from trunkline.api.desk import AtDesk, JsonBody, Needs
from trunkline.api.problems import Problem
from trunkline.api.shapes import CheckAnswer, CheckOrder, PlanAnswer, TariffsAnswer
from trunkline.api.v1.overview import Limit, Offset
from trunkline.charging.tariffs.checking import check
from trunkline.charging.tariffs.describing import describe

routes = APIRouter(tags=["tariffs"])


@routes.get(
    "/api/v1/tariffs",
    dependencies=[Depends(Needs(READ_TARIFFS))],
    response_model=TariffsAnswer,
    summary="Plans",
)
def tariffs(desk: AtDesk) -> dict[str, Any]:
    """All plans and their versions."""
    catalogue = desk.catalogue()
    default = catalogue.plans[catalogue.default_plan] if catalogue.default_plan >= 0 else None
    plans = [
        {
            "name": name,
            "versions": [version for version in catalogue.versions if version.startswith(f"{name}@")],
        }
        for name in catalogue.plans
        if name
    ]
    return {
        "fingerprint": catalogue.fingerprint,
        "currency": catalogue.currency,
        "default_plan": default,
        "plans": sorted(plans, key=lambda plan: str(plan["name"])),
    }


@routes.get(
    "/api/v1/tariffs/{plan}",
    dependencies=[Depends(Needs(READ_TARIFFS))],
    response_model=PlanAnswer,
    summary="A plan's prices",
)
def plan(
    desk: AtDesk, plan: Annotated[str, Path(max_length=200)], limit: Limit = 500, offset: Offset = 0
) -> dict[str, Any]:
    """A plan's versions, prices and balances in words."""
    if not plan or plan not in desk.catalogue().plans:
        raise Problem(404, "unknown_plan", "The tariff has no plan of that name; /api/v1/tariffs lists them.")
    if desk.tariff_files is None:
        raise Problem(
            501, "not_here", "This process does not have the tariff's files; run `trunkline tariff show`."
        )
    said = describe(desk.tariff_files(), plan)
    prices = said.prices[offset : offset + limit]
    return {
        "name": plan,
        "currency": desk.catalogue().currency,
        "more_prices": max(0, len(said.prices) - offset - len(prices)),
        "versions": list(said.plans),
        "prices": list(prices),
        "balances": list(said.balances),
        "counters": list(said.counters),
        "schedules": list(said.schedules),
    }


@routes.post(
    "/api/v1/tariffs/check",
    dependencies=[Depends(Needs(CHECK_TARIFFS))],
    response_model=CheckAnswer,
    summary="Check a tariff",
)
def check_tariff(order: Annotated[CheckOrder, Depends(JsonBody(CheckOrder))]) -> dict[str, Any]:
    """All mistakes of the given files with their lines; nothing is put in force."""
    rows = [
        {"file": each.file, "line": each.line, "column": each.column, "text": each.text}
        for each in check(order.files)
    ]
    return {"ok": not rows, "mistakes": rows}
