"""The network as its operators see it: heat, KPIs, findings, incidents, maintenance, and telemetry handed in.

Times are microseconds UTC, values thousandths of their unit (`value_milli`), things of the network go by their names;
where a word of 64 bits must be shown it is hexadecimal text, because a browser's numbers end earlier.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import orjson
import polars as pl
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from h3.api.basic_int import cell_to_boundary
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from trunkline import ports
from trunkline.api.access import HAND_IN, OPERATE_NETWORK, PLAN_MAINTENANCE, WATCH_NETWORK
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, Watching, read_body
from trunkline.api.problems import Problem
from trunkline.api.shapes import Order, ReceiptAnswer, RowsAnswer, SaidAnswer
from trunkline.api.v1.overview import Limit, Offset
from trunkline.kernel.identity import name_words
from trunkline.records.network import Scope

routes = APIRouter(tags=["network"])

DAY_US = 86_400_000_000
FOREVER_US = 2**62
ROWS_MAX = 20_000
VES_BODY_OCTETS_MAX = 1 << 20
Name = Annotated[str, Path(min_length=1, max_length=200)]
At = Annotated[int, Query(ge=0, le=FOREVER_US)]
Metric = Annotated[str, Query(max_length=100, description="A KPI's name, or severity.")]
Layer = Annotated[str, Query(max_length=20, description="h3:<resolution>, or area.")]
OfName = Annotated[str | None, Query(alias="object", max_length=200, description="Only of this name.")]
SCOPES = {scope.name.lower(): int(scope) for scope in Scope}


def watching_of(desk: Desk) -> Watching:
    """The network's side of the platform; 501 when this process does not watch one."""
    if desk.network is None:
        raise Problem(501, "no_network", "This process does not watch a network.")
    return desk.network


def shown(rows: Iterable[dict[str, Any]], words: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    """Rows with their words as hexadecimal text."""
    hidden = {"bucket", "component", *words}
    return [
        {
            name: f"{value:016x}" if name in ("object", "root", "root_object", "alarm_key", "tile") else value
            for name, value in row.items()
            if name not in hidden
        }
        for row in rows
    ]


def page_of(frame: pl.DataFrame, limit: int) -> dict[str, Any]:
    """A page of rows that was read with one row more than asked for."""
    return {"items": shown(frame.head(limit).iter_rows(named=True)), "more": len(frame) > limit}


# -- the map ---------------------------------------------------------------------------------------------------


@routes.get(
    "/api/v1/network",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=SaidAnswer,
    summary="How the network is doing",
)
def network(desk: AtDesk) -> dict[str, Any]:
    """Counts, the age of the data, and the accounting of telemetry by source."""
    watching = watching_of(desk)
    sources = [
        {
            name: getattr(row, name)
            for name in ("source", "received", "measured", "events", "duplicate", "rejected", "held")
        }
        for row in watching.reader.accounting()
    ]
    balanced = all(
        row["received"] == row["measured"] + row["events"] + row["duplicate"] + row["rejected"] + row["held"]
        for row in sources
    )
    return {
        "said": {
            "now_us": desk.now_us(),
            **watching.reader.counts(),
            "balanced": balanced,
            "alarm_counts": watching.reader.alarm_counts(),
            "sources": sources,
            "listeners": watching.listeners(),
            "views": [{"layer": layer, "metric": metric} for layer, metric in watching.board.views()],
        }
    }


@routes.get(
    "/api/v1/network/places",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=SaidAnswer,
    summary="Cells, sites and areas",
)
def places(desk: AtDesk) -> dict[str, Any]:
    """The inventory as the map draws it."""
    return {"said": watching_of(desk).intake.places()}


@routes.get(
    "/api/v1/network/heat",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="The map at a moment",
)
def heat(desk: AtDesk, layer: Layer = "h3:6", metric: Metric = "severity", at: At = 0) -> dict[str, Any]:
    """Tiles of one layer and metric as they stood at `at` (microseconds; 0: now). The socket says the same live."""
    watching = watching_of(desk)
    at_us = at or watching.reader.counts()["newest_heat_us"]
    return {"items": shown(watching.reader.tiles(layer, metric, at_us).iter_rows(named=True)), "more": False}


@routes.get(
    "/api/v1/network/shapes",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=SaidAnswer,
    summary="Outlines of tiles",
)
def shapes(desk: AtDesk, layer: Layer = "h3:6") -> dict[str, Any]:
    """GeoJSON of every tile of a layer that has cells, hexagons worked out here."""
    said = watching_of(desk).intake.places()
    if layer == "area":
        features = [
            {"type": "Feature", "id": area["object"], "properties": {"tile": area["object"], "name": area["name"]},
             "geometry": area["outline"]}
            for area in said["areas"]
            if area.get("outline")
        ]  # fmt: skip
        return {"said": {"type": "FeatureCollection", "features": features}}
    tiles = said["tiles"].get(layer)
    if tiles is None:
        known = ", ".join(sorted(said["tiles"]))
        raise Problem(400, "unknown_layer", f"There is no such layer; there are area, {known}.")
    return {"said": {"type": "FeatureCollection", "features": [_hexagon(tile) for tile in tiles]}}


def _hexagon(tile: str) -> dict[str, Any]:
    ring = [[longitude, latitude] for latitude, longitude in cell_to_boundary(int(tile, 16))]
    return {
        "type": "Feature",
        "id": tile,
        "properties": {"tile": tile},
        "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
    }


# -- figures and findings --------------------------------------------------------------------------------------


@routes.get(
    "/api/v1/network/kpis",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="KPIs",
)
def kpis(
    desk: AtDesk,
    names: Annotated[
        list[str] | None, Query(alias="object", max_length=100, description="Names of cells, areas, slices.")
    ] = None,
    kpi: Annotated[str | None, Query(max_length=100, description="The KPI's name in TS 28.554.")] = None,
    scope: Annotated[
        str | None, Query(max_length=20, description="cell, area, slice, technology or network.")
    ] = None,
    from_us: At = 0,
    until_us: At = FOREVER_US,
    limit: Annotated[int, Query(ge=1, le=ROWS_MAX)] = 1000,
) -> dict[str, Any]:
    """KPIs whose window ends in a stretch of time, newest first; without `from_us` the last day that there is."""
    watching = watching_of(desk)
    if scope is not None and scope not in SCOPES:
        raise Problem(400, "bad_scope", f"A scope is one of {', '.join(SCOPES)}.")
    words = None if names is None else [int(word) for word in name_words(pl.Series(names, dtype=pl.String))]
    begin_us = from_us or min(until_us, watching.reader.counts()["newest_kpi_us"]) - DAY_US
    frame = watching.reader.kpis(
        words, kpi, begin_us, until_us, limit + 1, None if scope is None else SCOPES[scope]
    )
    return page_of(frame, limit)


@routes.get(
    "/api/v1/network/expected",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="What was expected of a KPI",
)
def expected(
    desk: AtDesk,
    name: Annotated[
        str, Query(alias="object", max_length=200, description="Name of a cell, area or the like.")
    ],
    kpi: Annotated[str, Query(max_length=100, description="The KPI's name in TS 28.554.")],
    from_us: At = 0,
    until_us: At = FOREVER_US,
) -> dict[str, Any]:
    """The band of each window as the detector would have expected it before; without `from_us` the last day."""
    watching = watching_of(desk)
    until = min(until_us, watching.reader.counts()["newest_kpi_us"] + 1)
    frame = watching.intake.expected(name, kpi, from_us or max(0, until - DAY_US), until)
    return {"items": list(frame.tail(ROWS_MAX).iter_rows(named=True)), "more": len(frame) > ROWS_MAX}


@routes.get(
    "/api/v1/network/anomalies",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="Anomalies",
)
def anomalies(
    desk: AtDesk,
    name: OfName = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> dict[str, Any]:
    """What the detector found, newest first, each with its why."""
    word = None if name is None else int(name_words(pl.Series([name]))[0])
    return page_of(watching_of(desk).reader.anomalies(limit + 1, offset, word), limit)


@routes.get(
    "/api/v1/network/risks",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="Forecasts",
)
def risks(desk: AtDesk, limit: Limit = 100, offset: Offset = 0) -> dict[str, Any]:
    """How likely service is interrupted or congested soon, newest first."""
    return page_of(watching_of(desk).reader.risks(limit + 1, offset), limit)


@routes.get(
    "/api/v1/network/budgets",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="Error budgets",
)
def budgets(desk: AtDesk) -> dict[str, Any]:
    """What is left of the error budget of each agreement, and how fast it burns."""
    rows = watching_of(desk).reader.budgets()
    return {"items": shown(rows.iter_rows(named=True)), "more": False}


@routes.get(
    "/api/v1/network/alarms",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="Alarms",
)
def alarms(
    desk: AtDesk,
    active: Annotated[
        bool | None, Query(description="Only those that are active, or only those cleared.")
    ] = None,
    name: OfName = None,
    security: Annotated[bool | None, Query(description="Only security events, or only others.")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Alarms as they stand, the worst first. TMF642 shows the same and lets you act on them."""
    word = None if name is None else int(name_words(pl.Series([name]))[0])
    rows = watching_of(desk).reader.alarms(limit + 1, offset, active=active, object_=word, security=security)
    return {"items": shown(rows[:limit]), "more": len(rows) > limit}


@routes.get(
    "/api/v1/network/alarms/{alarm_id}",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=SaidAnswer,
    summary="An alarm's life",
)
def alarm(desk: AtDesk, alarm_id: Name) -> dict[str, Any]:
    """How an alarm stands and every change it has seen."""
    reader = watching_of(desk).reader
    found = reader.alarms(1, alarm_id=alarm_id)
    if not found:
        raise Problem(404, "unknown_alarm", "There is no alarm of that name.")
    changes = shown(reader.alarm_changes(alarm_id).iter_rows(named=True))
    return {"said": {**shown(found)[0], "changes_seen": changes}}


# -- incidents -------------------------------------------------------------------------------------------------


class OwnOrder(Order):
    """Who has an incident from now on; empty for nobody."""

    owner: Annotated[str, Field(max_length=100)]


class NoteOrder(Order):
    """What is to be remembered about an incident."""

    text: Annotated[str, Field(min_length=1, max_length=2000)]


@routes.get(
    "/api/v1/network/incidents",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="The incident queue",
)
def incidents(
    desk: AtDesk,
    is_open: Annotated[
        bool | None, Query(alias="open", description="Only open ones, or only closed ones.")
    ] = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> dict[str, Any]:
    """Incidents by money a minute, then customers, then severity; open ones first."""
    rows = watching_of(desk).reader.incidents(limit + 1, offset, is_open=is_open)
    return {"items": [_incident(row) for row in rows[:limit]], "more": len(rows) > limit}


@routes.get(
    "/api/v1/network/incidents/{incident_id}",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=SaidAnswer,
    summary="An incident",
)
def incident(desk: AtDesk, incident_id: Name) -> dict[str, Any]:
    """How an incident stands, its time line, notes, and the alarms of what it affects."""
    watching = watching_of(desk)
    found = _found(watching, incident_id)
    changes = shown(watching.reader.incident_changes(incident_id).drop("objects").iter_rows(named=True))
    affected = set(found["objects"])
    own = [
        row
        for row in watching.reader.alarms(1000, active=None)
        if row["object"] in affected and row["changed_us"] >= found["opened_us"] - 3_600_000_000
    ]
    names = {row["object"]: row["name"] for row in own}
    return {
        "said": {
            **_incident(found),
            "customers_told": len(watching.reader.customers(incident_id)),
            "affected": sorted(watching.intake.names(found["objects"]) or set(names.values())),
            "changes_seen": changes,
            "notes": watching.reader.incident_notes(incident_id),
            "alarms_of_it": shown(own[:200]),
        }
    }


@routes.post(
    "/api/v1/network/incidents/{incident_id}/own",
    status_code=204,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_class=Response,
    summary="Take an incident",
)
def own(
    desk: AtDesk, caller: By, incident_id: Name, order: Annotated[OwnOrder, Depends(JsonBody(OwnOrder))]
) -> Response:
    """Say who has it from now on."""
    return _note(desk, caller, incident_id, "own", order.owner)


@routes.post(
    "/api/v1/network/incidents/{incident_id}/notes",
    status_code=204,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_class=Response,
    summary="Note something about an incident",
)
def note(
    desk: AtDesk, caller: By, incident_id: Name, order: Annotated[NoteOrder, Depends(JsonBody(NoteOrder))]
) -> Response:
    """Remember what was found or done."""
    return _note(desk, caller, incident_id, "note", order.text)


def _found(watching: Watching, incident_id: str) -> dict[str, Any]:
    found = watching.reader.incidents(1, incident_id=incident_id)
    if not found:
        raise Problem(404, "unknown_incident", "There is no incident of that name.")
    return found[0]


def _incident(row: dict[str, Any]) -> dict[str, Any]:
    """An incident with how long it took, by the data's clock, until it was told and until it was over."""
    return shown([row], frozenset({"objects"}))[0] | {
        "affected_count": len(row["objects"]),
        "told_after_us": row["opened_us"] - row["began_us"],
        "repaired_after_us": None if row["closed_us"] is None else row["closed_us"] - row["began_us"],
    }


def _note(desk: Desk, caller: By, incident_id: str, action: str, text: str) -> Response:
    watching = watching_of(desk)
    _found(watching, incident_id)
    desk.saw(caller, f"incident_{action}", detail=incident_id)
    watching.intake.note(ports.IncidentNote(incident_id, desk.now_us(), caller.name, action, text))
    return Response(status_code=204)


# -- maintenance -----------------------------------------------------------------------------------------------


class WindowOrder(Order):
    """A maintenance that is planned: what it touches (names) and when."""

    window_id: Annotated[str, Field(min_length=1, max_length=100)]
    objects: Annotated[list[str], Field(min_length=1, max_length=1000)]
    begin_us: Annotated[int, Field(ge=0, le=FOREVER_US)]
    end_us: Annotated[int, Field(ge=0, le=FOREVER_US)]
    reason: Annotated[str, Field(max_length=500)] = ""

    def window(self, actor: str) -> ports.Maintenance:
        """As the platform knows it."""
        return ports.Maintenance(
            self.window_id, tuple(self.objects), self.begin_us, self.end_us, self.reason, actor
        )


Wanted = Annotated[WindowOrder, Depends(JsonBody(WindowOrder))]


@routes.get(
    "/api/v1/network/maintenance",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=RowsAnswer,
    summary="Maintenance windows",
)
def maintenance(desk: AtDesk) -> dict[str, Any]:
    """What is planned, the latest end first."""
    return {"items": [vars(each) for each in watching_of(desk).intake.maintenance()], "more": False}


@routes.post(
    "/api/v1/network/maintenance/preview",
    dependencies=[Depends(Needs(PLAN_MAINTENANCE))],
    response_model=SaidAnswer,
    summary="Preview a maintenance window",
)
def preview(desk: AtDesk, caller: By, order: Wanted) -> dict[str, Any]:
    """What a window would hold back, following the topology; nothing is planned."""
    return {"said": watching_of(desk).intake.preview(order.window(caller.name))}


@routes.post(
    "/api/v1/network/maintenance",
    status_code=204,
    dependencies=[Depends(Needs(PLAN_MAINTENANCE))],
    response_class=Response,
    summary="Plan a maintenance window",
)
def plan(desk: AtDesk, caller: By, order: Wanted) -> Response:
    """Hold back alerting (never monitoring, never a clear) of what the window touches; replaces one of its name."""
    watching = watching_of(desk)
    desk.saw(caller, "plan_maintenance", detail=order.window_id)
    watching.intake.plan(order.window(caller.name))
    return Response(status_code=204)


@routes.delete(
    "/api/v1/network/maintenance/{window_id}",
    status_code=204,
    dependencies=[Depends(Needs(PLAN_MAINTENANCE))],
    response_class=Response,
    summary="Cancel a maintenance window",
)
def cancel(desk: AtDesk, caller: By, window_id: Name) -> Response:
    """Forget a window."""
    watching = watching_of(desk)
    desk.saw(caller, "cancel_maintenance", detail=window_id)
    watching.intake.cancel(window_id)
    return Response(status_code=204)


# -- telemetry comes in ----------------------------------------------------------------------------------------


@routes.post(
    "/api/v1/network/telemetry",
    status_code=202,
    dependencies=[Depends(Needs(HAND_IN))],
    response_model=ReceiptAnswer,
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
    summary="Hand in telemetry",
)
async def telemetry(
    request: Request,
    desk: AtDesk,
    mapping: Annotated[str, Query(max_length=100, description="Mapping that reads it.")],
    source: Annotated[
        str | None, Query(max_length=100, description="Who sends it; else the mapping's.")
    ] = None,
) -> ports.Receipt:
    """Take whole records in a mapping's format. 202 once they are durable; 429 when the platform is catching up."""
    watching = watching_of(desk)
    body = await read_body(request)
    return await run_in_threadpool(_take, watching, mapping, body, source)


@routes.post(
    "/eventListener/v7",
    status_code=202,
    dependencies=[Depends(Needs(HAND_IN))],
    response_class=Response,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {}}}},
    summary="ONAP VES 7 event",
)
async def ves_event(request: Request, desk: AtDesk) -> Response:
    """One event or measurement of a VES 7 sender."""
    return await _ves(request, desk)


@routes.post(
    "/eventListener/v7/eventBatch",
    status_code=202,
    dependencies=[Depends(Needs(HAND_IN))],
    response_class=Response,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {}}}},
    summary="ONAP VES 7 events",
)
async def ves_events(request: Request, desk: AtDesk) -> Response:
    """A batch of VES 7 events."""
    return await _ves(request, desk)


async def _ves(request: Request, desk: Desk) -> Response:
    """A VES body becomes one line; what is wrong inside of it is told as rejected telemetry."""
    watching = watching_of(desk)
    body = await read_body(request)
    if len(body) > VES_BODY_OCTETS_MAX:
        raise Problem(413, "too_large", f"A VES message may have {VES_BODY_OCTETS_MAX:,} octets.")
    line = body.replace(b"\r", b" ").replace(b"\n", b" ")
    if not line.strip():
        raise Problem(400, "empty", "The body holds no event.")
    if not _is_ves(body):
        raise Problem(400, "not_ves", "The body is no JSON object with `event` or `eventList`.")
    await run_in_threadpool(_take, watching, "ves", line + b"\n", None)
    return Response(status_code=202)


def _is_ves(body: bytes) -> bool:
    """Whether a body is what VES calls an event or a batch; what stands in it is judged when it is decoded."""
    try:
        given = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return False
    return isinstance(given, dict) and (
        isinstance(given.get("event"), dict) or isinstance(given.get("eventList"), list)
    )


def _take(watching: Watching, mapping: str, body: bytes, source: str | None) -> ports.Receipt:
    try:
        return watching.intake.telemetry(mapping, body, source)
    except ports.Refused as error:
        raise Problem(400, "refused", str(error)) from error
