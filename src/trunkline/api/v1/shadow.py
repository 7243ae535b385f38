"""Shadow runs for the page and for scripts: comparisons that `trunkline shadow compare` has made and kept."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, Field

from trunkline.api.access import WHAT_IF
from trunkline.api.desk import AtDesk, By, Desk, Needs, wants_full
from trunkline.api.files import as_file
from trunkline.api.problems import Problem
from trunkline.api.shown import person
from trunkline.api.v1.overview import Limit, Numbers
from trunkline.api.v1.what_if import studies_of

routes = APIRouter(tags=["shadow runs"])

Name = Annotated[str, Path(max_length=40, description="The comparison's name, as the list tells it.")]


class ShadowSummary(BaseModel):
    """A comparison as a list shows it; amounts are micro-units of the currency."""

    id: str
    time_us: int
    actor: str
    file: str
    from_: str | None = Field(alias="from")
    to: str | None
    currency: str
    counts: dict[str, int] = Field(
        description="Records by what became of them; `all` is the sum of the others."
    )
    money: dict[str, int] = Field(
        description="Sums here, there, of differences, and of these without their signs."
    )
    gate: dict[str, Any] = Field(
        description="Whether it passes, the shares in millionths and their thresholds."
    )


class ShadowAnswer(ShadowSummary):
    """A comparison whole."""

    unreadable: dict[str, int] = Field(description="Rows of the other system's file that could not be read.")
    causes: list[dict[str, Any]]
    lines: list[dict[str, Any]] = Field(description="Plans and destinations whose prices differ most.")
    days: list[dict[str, Any]] = Field(description="The trend, day by day of UTC.")
    bills: dict[str, int] = Field(description="Sums by subscriber and month: how many are equal.")
    bills_most: list[dict[str, Any]]
    examples: list[dict[str, Any]] = Field(description="Records that differ most.")
    seconds: float


class ShadowsAnswer(BaseModel):
    """Comparisons, the newest first."""

    items: list[ShadowSummary]


@routes.get(
    "/api/v1/shadows",
    dependencies=[Depends(Needs(WHAT_IF))],
    response_model=ShadowsAnswer,
    summary="Shadow runs",
)
def shadows(desk: AtDesk, limit: Limit = 20) -> dict[str, Any]:
    """Comparisons with another system's charges, the newest first."""
    return {"items": studies_of(desk).shadows.newest(limit)}


@routes.get(
    "/api/v1/shadows/{name}",
    dependencies=[Depends(Needs(WHAT_IF))],
    response_model=ShadowAnswer,
    summary="One shadow run",
)
def shadow(desk: AtDesk, caller: By, name: Name, numbers: Numbers = "masked") -> dict[str, Any]:
    """Differences by cause, day, tariff line and bill, and whether the gate is passed."""
    full = wants_full(caller, numbers)
    answer = _known(desk, name)
    desk.saw(caller, "read_shadow", detail=f"{name} {numbers}")
    bills = [
        row | {"subscriber": person(desk.people, row["subscriber"], full=full)}
        for row in answer["bills_most"]
    ]
    return answer | {"bills_most": bills}


@routes.get(
    "/api/v1/shadows/{name}/file",
    dependencies=[Depends(Needs(WHAT_IF))],
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}},
    summary="A shadow run as CSV",
)
def shadow_file(desk: AtDesk, caller: By, name: Name, numbers: Numbers = "masked") -> Response:
    """One table with a heading; the column `part` says what each row is about."""
    full = wants_full(caller, numbers)
    answer = _known(desk, name)
    desk.saw(caller, "export_shadow", detail=f"{name} {numbers}")
    text = studies_of(desk).shadows.table(answer, lambda word: desk.people.show(word, full=full))
    return as_file(text, "text/csv; charset=utf-8", f"shadow-{name}.csv")


def _known(desk: Desk, name: str) -> dict[str, Any]:
    found = studies_of(desk).shadows.one(name)
    if found is None:
        raise Problem(404, "unknown_shadow", "There is no such comparison; /api/v1/shadows lists them.")
    return found
