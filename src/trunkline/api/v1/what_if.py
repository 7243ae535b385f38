"""What-ifs for the page and for scripts: a draft is handed in, priced in the background, and its answer is kept."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, Field

from trunkline.api.access import WHAT_IF
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, wants_full
from trunkline.api.files import as_file
from trunkline.api.problems import Problem
from trunkline.api.shapes import Order, StartedAnswer
from trunkline.api.shown import person
from trunkline.api.studies import Studies
from trunkline.api.v1.overview import Limit, Numbers
from trunkline.charging.tariffs.checking import check
from trunkline.ports import Refused

routes = APIRouter(tags=["tariffs"])

Name = Annotated[str, Path(max_length=40, description="The answer's name, as the list tells it.")]
Day = Annotated[
    str | None, Field(None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="A day in UTC: 2026-11-01.")
]
MISTAKES_TOLD = 5


class WhatIfOrder(Order):
    """Files of a draft by name, as text, and the days whose usage is compared; left out: all that is stored."""

    files: dict[str, str] = Field(max_length=200)
    first: Day = Field(None, alias="from")
    last: Day = Field(None, alias="to")


class WhatIfSummary(BaseModel):
    """A what-if as a list shows it; amounts are micro-units of the currency."""

    id: str
    time_us: int
    actor: str
    from_: str | None = Field(alias="from")
    to: str | None
    currency: str
    records: int
    subscribers: int
    running_micros: int
    draft_micros: int
    difference_micros: int


class WhatIfAnswer(WhatIfSummary):
    """A what-if whole. Every table of it sums to the same money."""

    running_fingerprint: str
    draft_fingerprint: str
    pays: dict[str, dict[str, int]] = Field(description="more, less, same: subscribers and the difference.")
    segments: dict[str, list[dict[str, Any]]] = Field(description="By plan, kind, destination and zone.")
    bands: list[dict[str, Any]] = Field(description="Subscribers by how much more or less they would pay.")
    refused: list[dict[str, Any]] = Field(
        description="Records without a price on either side, with the reasons."
    )
    most_more: list[dict[str, Any]]
    most_less: list[dict[str, Any]]
    ledger: dict[str, Any] = Field(
        description="What the books hold of the period, and whether it is the same."
    )
    seconds: float


class WhatIfsAnswer(BaseModel):
    """What-ifs, the newest first, whether one is under way, and what kept the last from ending well."""

    running: bool
    trouble: str
    items: list[WhatIfSummary]


def studies_of(desk: Desk) -> Studies:
    """The desk's comparisons; 501 where this process has none."""
    if desk.studies is None:
        raise Problem(501, "not_here", "This process compares no tariffs; run `trunkline whatif` beside it.")
    return desk.studies


@routes.get(
    "/api/v1/what-ifs",
    dependencies=[Depends(Needs(WHAT_IF))],
    response_model=WhatIfsAnswer,
    summary="What-ifs",
)
def what_ifs(desk: AtDesk, limit: Limit = 20) -> dict[str, Any]:
    """Answers so far, the newest first."""
    studies = studies_of(desk)
    return {
        "running": studies.background.running,
        "trouble": studies.background.trouble,
        "items": studies.what_ifs.newest(limit),
    }


@routes.post(
    "/api/v1/what-ifs",
    status_code=202,
    dependencies=[Depends(Needs(WHAT_IF))],
    response_model=StartedAnswer,
    summary="Price stored usage with a draft",
)
def start(
    desk: AtDesk, caller: By, order: Annotated[WhatIfOrder, Depends(JsonBody(WhatIfOrder))]
) -> dict[str, bool]:
    """Price what is stored with a draft tariff in the background; nothing is booked, and the list has the answer."""
    studies = studies_of(desk)
    mistakes = check(order.files)
    if mistakes:
        told = "; ".join(str(mistake) for mistake in mistakes[:MISTAKES_TOLD])
        raise Problem(400, "bad_tariff", f"The draft has {len(mistakes):,} mistakes: {told}")
    try:
        studies.what_ifs.check(order.files, order.first, order.last)
    except Refused as error:
        raise Problem(400, "refused", str(error)) from error
    desk.saw(caller, "what_if", detail=f"{order.first or 'beginning'} to {order.last or 'end'}")
    work = studies.what_ifs.run
    if not studies.background.start(lambda: work(order.files, order.first, order.last, caller.name)):
        raise Problem(409, "running", "A comparison is under way; wait for its answer.")
    return {"running": True}


@routes.get(
    "/api/v1/what-ifs/{name}",
    dependencies=[Depends(Needs(WHAT_IF))],
    response_model=WhatIfAnswer,
    summary="One what-if",
)
def what_if(desk: AtDesk, caller: By, name: Name, numbers: Numbers = "masked") -> dict[str, Any]:
    """Who would pay more or less, by how much, and what the records without a price are."""
    full = wants_full(caller, numbers)
    answer = _known(desk, name)
    desk.saw(caller, "read_what_if", detail=f"{name} {numbers}")
    people = {
        key: [row | {"subscriber": person(desk.people, row["subscriber"], full=full)} for row in answer[key]]
        for key in ("most_more", "most_less")
    }
    return answer | people


@routes.get(
    "/api/v1/what-ifs/{name}/file",
    dependencies=[Depends(Needs(WHAT_IF))],
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}}},
    summary="A what-if as CSV",
)
def what_if_file(desk: AtDesk, caller: By, name: Name, numbers: Numbers = "masked") -> Response:
    """One table with a heading; the column `part` says what each row is about."""
    full = wants_full(caller, numbers)
    answer = _known(desk, name)
    desk.saw(caller, "export_what_if", detail=f"{name} {numbers}")
    text = studies_of(desk).what_ifs.table(answer, lambda word: desk.people.show(word, full=full))
    return as_file(text, "text/csv; charset=utf-8", f"what-if-{name}.csv")


def _known(desk: Desk, name: str) -> dict[str, Any]:
    found = studies_of(desk).what_ifs.one(name)
    if found is None:
        raise Problem(404, "unknown_what_if", "There is no such what-if; /api/v1/what-ifs lists them.")
    return found
