"""TMF642 Alarm Management v4 over the network's alarms: create, change, acknowledge, comment, clear, group, be told.

What X.733 makes of an alarm (severity, state, times, acknowledgement) is worked out by the platform from every signal,
an operator's included, so a change here is a signal like any other and is answered when it is durable. What other
systems say beyond that (correlation, affected services, proposed repairs) is kept beside the alarm as they said it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Annotated

import polars as pl
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from trunkline.api.access import OPERATE_NETWORK, WATCH_NETWORK
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs, Watching
from trunkline.api.exact import ExactResponse
from trunkline.api.notices import Notices
from trunkline.api.problems import Problem
from trunkline.api.shown import moment
from trunkline.api.tmf import alarm_shapes as shapes
from trunkline.api.tmf.paging import (
    LIST_QUERY,
    Filter,
    Item,
    answer_created,
    answer_list,
    base_url,
    chosen,
    fields_of,
    gather,
    listing_of,
    moment_us,
)
from trunkline.api.v1.network import watching_of
from trunkline.records.network import SIGNALS, Severity

log = logging.getLogger("trunkline.alarms")

API = "/tmf-api/alarm/v4"
NAME = "alarm"
SCANNED_MAX = 20_000
ALARMS_A_TASK = 1000
TOLD_EVERY_S = 0.5
TOLD_A_TURN = 1000
routes = APIRouter(tags=["TMF642 alarm"])

Id = Annotated[str, Path(max_length=40)]
SEVERITIES = {severity.name.lower(): severity for severity in Severity}
# What a caller says and the platform does not work out itself: kept as it was said.
KEPT = (
    "affectedService", "alarmDetails", "alarmEscalation", "alarmedObjectType", "correlatedAlarm",
    "crossedThresholdInformation", "externalAlarmId", "isRootCause", "parentAlarm", "place",
    "plannedOutageIndicator", "proposedRepairedActions", "reportingSystemId", "serviceAffecting", "sourceSystemId",
    "alarmReportingTime", "comment", "ackSystemId", "clearSystemId",
)  # fmt: skip
TASKS = {
    "ackAlarms": ("ack", "ackedAlarm"),
    "unAckAlarms": ("unack", "unAckedAlarm"),
    "clearAlarms": ("clear", "clearedAlarm"),
    "commentAlarms": ("comment", "commentedAlarm"),
}


# -- alarms ----------------------------------------------------------------------------------------------------


@routes.get(
    f"{API}/alarm",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=list[shapes.Alarm],
    openapi_extra=LIST_QUERY,
    summary="List alarms",
)
def alarms(request: Request, desk: AtDesk) -> Response:
    """Alarms as they stand, the worst first; filters and paging as TMF630 says."""
    listing = listing_of(request)
    found = gather(listing, _items(request, watching_of(desk)), SCANNED_MAX)
    return answer_list(listing, found)


@routes.get(
    f"{API}/alarm/{{id}}",
    dependencies=[Depends(Needs(WATCH_NETWORK))],
    response_model=shapes.Alarm,
    openapi_extra={"parameters": LIST_QUERY["parameters"][:1]},
    summary="Get an alarm",
)
def alarm(request: Request, desk: AtDesk, id: Id) -> Response:  # noqa: A002 - the path's name
    """One alarm."""
    watching = watching_of(desk)
    return ExactResponse(chosen(_one(request, watching, id)[1], fields_of(request)))


@routes.post(
    f"{API}/alarm",
    status_code=201,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_model=shapes.Alarm,
    summary="Create an alarm",
)
def create(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.AlarmCreate, Depends(JsonBody(shapes.AlarmCreate))],
) -> Response:
    """Raise an alarm, or hear again of one that is active: one a thing, type, cause and problem."""
    watching = watching_of(desk)
    said = order.model_dump(by_alias=True, exclude_unset=True)
    if _severity(order.perceived_severity) is Severity.CLEARED or order.state == "cleared":
        raise Problem(
            400, "already_over", "An alarm that is cleared cannot be raised; clear it when it is active."
        )
    desk.saw(caller, "create_alarm", detail=order.alarmed_object.id[:200])
    raised_us = moment_us(order.alarm_raised_time)
    changed = watching.intake.signal(_signals([_raised(order, raised_us)], action="raise", actor=caller.name))
    if not changed:
        raise Problem(
            409, "not_raised", "The alarm was not raised: a rule holds it back, or it is known as over."
        )
    _annotate(watching, changed[0], said)
    if order.ack_state == "acknowledged":
        _act(desk, watching, caller.name, "ack", watching.reader.alarms(1, alarm_id=changed[0]))
    return answer_created(_item(request, watching, watching.reader.alarms(1, alarm_id=changed[0])[0]))


@routes.patch(
    f"{API}/alarm/{{id}}",
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_model=shapes.Alarm,
    summary="Change an alarm",
)
def change(
    request: Request,
    desk: AtDesk,
    caller: By,
    id: Id,  # noqa: A002 - the path's name
    order: Annotated[shapes.AlarmUpdate, Depends(JsonBody(shapes.AlarmUpdate))],
) -> Response:
    """Change severity, state, acknowledgement, or anything that is kept as it was said."""
    watching = watching_of(desk)
    row, _ = _one(request, watching, id)
    desk.saw(caller, "change_alarm", detail=row["alarm_id"])
    _change(desk, watching, caller.name, row, order)
    return ExactResponse(_one(request, watching, id)[1])


def _change(desk: Desk, watching: Watching, actor: str, row: Item, order: shapes.AlarmUpdate) -> None:
    severity = None if order.perceived_severity is None else _severity(order.perceived_severity)
    texts = {
        "probable_cause": order.probable_cause,
        "specific_problem": order.specific_problem,
        "event_type": order.alarm_type,
    }
    for name, value in texts.items():
        if value is not None and value != (row[name] or ""):
            raise Problem(
                400, "is_identity", "Type, cause and problem say which alarm it is; raise another one."
            )
    if order.state == "cleared" or severity is Severity.CLEARED:
        _act(desk, watching, actor, "clear", [row])
    elif row["cleared_us"] is not None and (severity is not None or order.state is not None):
        raise Problem(409, "is_over", "The alarm is cleared and stays so; raise it again instead.")
    elif severity is not None and severity != row["severity"]:
        _act(desk, watching, actor, "update", [{**row, "severity": int(severity)}])
    if order.ack_state is not None:
        wanted = order.ack_state == "acknowledged"
        if wanted != bool(row["acked"]):
            _act(desk, watching, actor, "ack" if wanted else "unack", [row])
    _annotate(watching, row["alarm_id"], order.model_dump(by_alias=True, exclude_unset=True))


@routes.delete(
    f"{API}/alarm/{{id}}",
    status_code=204,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_class=Response,
    summary="Delete an alarm",
)
def delete(request: Request, desk: AtDesk, id: Id) -> Response:  # noqa: A002 - the path's name
    """Answered 409: the life of an alarm is a record and is kept; clear the alarm instead."""
    _one(request, watching_of(desk), id)
    raise Problem(409, "is_kept", "An alarm's life is kept and let go with age; clear the alarm instead.")


def _items(request: Request, watching: Watching) -> Iterator[Item]:
    """Every alarm, page after page."""
    offset = 0
    while True:
        rows = watching.reader.alarms(500, offset)
        yield from _shown(request, watching, rows)
        if len(rows) < 500:
            return
        offset += len(rows)


def _one(request: Request, watching: Watching, name: str) -> tuple[Item, Item]:
    rows = watching.reader.alarms(1, number=int(name)) if name.isdigit() and len(name) < 19 else []
    if not rows:
        raise Problem(404, "not_found", "There is no alarm of that id.")
    return rows[0], _item(request, watching, rows[0])


def _item(request: Request, watching: Watching, row: Item) -> Item:
    return next(_shown(request, watching, [row]))


def _shown(request: Request, watching: Watching, rows: Iterable[Item]) -> Iterator[Item]:
    rows = list(rows)
    said = watching.reader.alarm_attributes([row["alarm_id"] for row in rows])
    root = base_url(request) + API
    for row in rows:
        yield alarm_view(row, said.get(row["alarm_id"], {}), root)


def alarm_view(row: Item, said: Item, root: str) -> Item:
    """An alarm as TMF642 writes it; `said` is what other systems keep beside it."""
    cleared = row["cleared_us"] is not None
    item: Item = {
        "id": row["number"],
        "href": f"{root}/alarm/{row['number']}",
        "@type": "Alarm",
        "externalAlarmId": row["alarm_id"],
        "alarmType": row["event_type"] or "",
        "perceivedSeverity": Severity(row["severity"]).name.lower(),
        "probableCause": row["probable_cause"] or "",
        "specificProblem": row["specific_problem"] or "",
        "alarmDetails": row["text"] or "",
        "alarmedObject": {"id": row["name"] or f"{row['object']:016x}"},
        "alarmedObjectType": "",
        "state": "cleared" if cleared else "updated" if row["changes"] > 1 else "raised",
        "ackState": "acknowledged" if row["acked"] else "unacknowledged",
        "alarmRaisedTime": moment(row["raised_us"]),
        "alarmReportingTime": moment(row["raised_us"]),
        "alarmChangedTime": moment(row["changed_us"]),
        "sourceSystemId": "trunkline",
        "isRootCause": bool(row["root"] and row["root"] == row["object"]),
        "comment": [],
        "correlatedAlarm": [],
        "parentAlarm": [],
    }
    if cleared:
        item |= {"alarmClearedTime": moment(row["cleared_us"]), "clearUserId": row["cleared_by"] or ""}
    if row["acked_by"]:
        item["ackUserId"] = row["acked_by"]
    if row["held_by"]:
        item["plannedOutageIndicator"] = row["held_by"]
    return item | said


def _severity(text: str) -> Severity:
    severity = SEVERITIES.get(text.lower())
    if severity is None:
        raise Problem(400, "bad_severity", f"perceivedSeverity is one of {', '.join(SEVERITIES)}.")
    return severity


def _raised(order: shapes.AlarmCreate, raised_us: int) -> Item:
    return {
        "name": order.alarmed_object.id,
        "time_us": raised_us,
        "event_type": order.alarm_type,
        "severity": int(_severity(order.perceived_severity)),
        "probable_cause": order.probable_cause,
        "specific_problem": order.specific_problem or "",
        "text": order.alarm_details or order.specific_problem or order.probable_cause,
        "security": int(order.alarm_type in shapes.SECURITY_TYPES),
    }


def _signals(rows: list[Item], *, action: str, actor: str) -> pl.DataFrame:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return SIGNALS.record.conform(
        frame.select(set(frame.columns) & set(SIGNALS.record.schema)).with_columns(
            action=pl.lit(action), actor=pl.lit(actor), origin=pl.lit("operator"), component=pl.lit(0)
        )
    )


def _act(
    desk: Desk, watching: Watching, actor: str, action: str, rows: list[Item], text: str | None = None
) -> None:
    """Carry an operator's hand on alarms."""
    now_us = desk.now_us()
    # The clock of the data may be ahead of ours (a simulated day): an order never lies before what it is about.
    signals = [
        {
            **{name: row[name] for name in ("object", "name", "event_type", "severity", "probable_cause",
                                            "specific_problem", "alarm_key", "security")},
            "text": text if text is not None else row["text"],
            "time_us": max(now_us, row["changed_us"]),
        }
        for row in rows
    ]  # fmt: skip
    if signals:
        watching.intake.signal(_signals(signals, action=action, actor=actor))


def _annotate(watching: Watching, alarm_id: str, said: Item) -> None:
    kept = {name: said[name] for name in KEPT if name in said}
    if kept:
        watching.intake.annotate(alarm_id, kept)


# -- tasks -----------------------------------------------------------------------------------------------------


def _matching(watching: Watching, request: Request, patterns: list[Item], named: list[Item]) -> list[Item]:
    """Rows of the alarms that a task's pattern means: every attribute that a pattern names must be equal."""
    conditions = [tuple(_conditions(pattern)) for pattern in (*patterns, *named)]
    if not conditions or not all(conditions):
        raise Problem(
            400, "no_pattern", "Name the alarms: an alarmPattern with at least an id or another attribute."
        )
    found: dict[str, Item] = {}
    offset = 0
    while True:
        rows = watching.reader.alarms(500, offset)
        for row, item in zip(rows, _shown(request, watching, rows), strict=True):
            if any(all(each.holds(item) for each in pattern) for pattern in conditions):
                found[row["alarm_id"]] = row
        if len(rows) < 500:
            break
        offset += len(rows)
    if len(found) > ALARMS_A_TASK:
        raise Problem(
            400, "too_many", f"The pattern means {len(found):,} alarms; a task takes {ALARMS_A_TASK:,}."
        )
    return list(found.values())


def _conditions(pattern: Item, path: tuple[str, ...] = ()) -> Iterator[Filter]:
    for name, value in pattern.items():
        if name.startswith("@"):
            continue
        if isinstance(value, dict):
            yield from _conditions(value, (*path, name))
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, dict):
                    yield from _conditions(each, (*path, name))
        elif value is not None and name != "href":
            yield Filter(
                (*path, name), "eq", (str(value).lower() if isinstance(value, bool) else str(value),)
            )


def _done(
    request: Request, desk: Desk, caller: By, kind: str, order: shapes.Task, text: str | None = None
) -> Response:
    """Carry out a task on every alarm it means; what came of it is kept and can be asked for."""
    watching = watching_of(desk)
    action, field = TASKS[kind]
    said = order.model_dump(by_alias=True, exclude_unset=True)
    rows = _matching(watching, request, said.get("alarmPattern", []), said.get(field, []))
    still = [row for row in rows if _still(row, action)]
    desk.saw(caller, kind, detail=f"{len(rows)} alarms")
    _act(desk, watching, caller.name, action, still, text)
    root = base_url(request) + API
    if action == "comment":
        _add_comments(watching, rows, said["comment"])
    body = said | {
        "state": "done",
        field: [{"id": row["number"], "href": f"{root}/alarm/{row['number']}"} for row in rows],
        "@type": kind[0].upper() + kind[1:],
    }
    return _task_answer(request, watching, kind, desk.now_us(), body)


def _still(row: Item, action: str) -> bool:
    """Whether an alarm is not yet as a task wants it."""
    if action in ("ack", "unack"):
        return bool(row["acked"]) != (action == "ack")
    return action != "clear" or row["cleared_us"] is None


def _add_comments(watching: Watching, rows: list[Item], comment: Item) -> None:
    said = watching.reader.alarm_attributes([row["alarm_id"] for row in rows])
    for row in rows:
        before = said.get(row["alarm_id"], {}).get("comment", [])
        watching.intake.annotate(row["alarm_id"], {"comment": [*before, comment]})


def _task_answer(request: Request, watching: Watching, kind: str, now_us: int, body: Item) -> Response:
    number = watching.intake.add_task(kind, now_us, body)
    return answer_created({"id": str(number), "href": f"{base_url(request)}{API}/{kind}/{number}", **body})


@routes.post(
    f"{API}/ackAlarms",
    status_code=201,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_model=shapes.TaskDone,
    summary="Acknowledge alarms",
)
def ack(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.AckAlarms, Depends(JsonBody(shapes.AckAlarms))],
) -> Response:
    """Acknowledge every alarm that the pattern means."""
    return _done(request, desk, caller, "ackAlarms", order)


@routes.post(
    f"{API}/unAckAlarms",
    status_code=201,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_model=shapes.TaskDone,
    summary="Take acknowledgements back",
)
def unack(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.AckAlarms, Depends(JsonBody(shapes.AckAlarms))],
) -> Response:
    """Take back the acknowledgement of every alarm that the pattern means."""
    return _done(request, desk, caller, "unAckAlarms", order)


@routes.post(
    f"{API}/clearAlarms",
    status_code=201,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_model=shapes.TaskDone,
    summary="Clear alarms",
)
def clear(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.ClearAlarms, Depends(JsonBody(shapes.ClearAlarms))],
) -> Response:
    """Clear every alarm that the pattern means."""
    return _done(request, desk, caller, "clearAlarms", order)


@routes.post(
    f"{API}/commentAlarms",
    status_code=201,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_model=shapes.TaskDone,
    summary="Comment alarms",
)
def comment(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.CommentAlarms, Depends(JsonBody(shapes.CommentAlarms))],
) -> Response:
    """Put a comment to every alarm that the pattern means."""
    return _done(request, desk, caller, "commentAlarms", order, order.comment.comment)


@routes.post(
    f"{API}/groupAlarms",
    status_code=201,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_model=shapes.TaskDone,
    summary="Group alarms under a parent",
)
def group(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.GroupAlarms, Depends(JsonBody(shapes.GroupAlarms))],
) -> Response:
    """Say that alarms belong under a parent alarm; the alarms then name each other."""
    return _grouped(request, desk, caller, "groupAlarms", order)


@routes.post(
    f"{API}/unGroupAlarms",
    status_code=201,
    dependencies=[Depends(Needs(OPERATE_NETWORK))],
    response_model=shapes.TaskDone,
    summary="Take alarms out of their group",
)
def ungroup(
    request: Request,
    desk: AtDesk,
    caller: By,
    order: Annotated[shapes.GroupAlarms, Depends(JsonBody(shapes.GroupAlarms))],
) -> Response:
    """Take alarms out from under their parent."""
    return _grouped(request, desk, caller, "unGroupAlarms", order)


def _grouped(request: Request, desk: Desk, caller: By, kind: str, order: shapes.GroupAlarms) -> Response:
    watching = watching_of(desk)
    said = order.model_dump(by_alias=True, exclude_unset=True)
    parents = _matching(watching, request, [], [said["parentAlarm"]])
    children = _matching(watching, request, [], said["correlatedAlarm"])
    if len(parents) != 1:
        raise Problem(400, "no_parent", f"The parent means {len(parents)} alarms; name one.")
    parent = parents[0]
    children = [row for row in children if row["alarm_id"] != parent["alarm_id"]]
    desk.saw(caller, kind, detail=f"{len(children)} alarms")
    root = base_url(request) + API
    known = watching.reader.alarm_attributes([row["alarm_id"] for row in (parent, *children)])
    grouping = kind == "groupAlarms"
    _link(watching, known, parent, children, "correlatedAlarm", root, grouping=grouping)
    for child in children:
        _link(watching, known, child, [parent], "parentAlarm", root, grouping=grouping)
    body = said | {
        "state": "done",
        "groupedAlarm" if grouping else "unGroupedAlarm": [_reference(row, root) for row in children],
        "@type": kind[0].upper() + kind[1:],
    }
    return _task_answer(request, watching, kind, desk.now_us(), body)


def _link(
    watching: Watching,
    known: dict[str, Item],
    row: Item,
    others: list[Item],
    field: str,
    root: str,
    *,
    grouping: bool,
) -> None:
    """Let an alarm name others, or name them no more."""
    references = [_reference(other, root) for other in others]
    gone = {each["id"] for each in references}
    before = [each for each in known.get(row["alarm_id"], {}).get(field, []) if each.get("id") not in gone]
    watching.intake.annotate(row["alarm_id"], {field: [*before, *references] if grouping else before})


def _reference(row: Item, root: str) -> Item:
    return {"id": row["number"], "href": f"{root}/alarm/{row['number']}", "@referredType": "Alarm"}


def _kept_tasks(kind: str) -> None:
    """Tasks of one kind that were done, and one of them."""

    @routes.get(
        f"{API}/{kind}",
        name=f"list_{kind}",
        dependencies=[Depends(Needs(WATCH_NETWORK))],
        response_model=list[shapes.TaskDone],
        openapi_extra=LIST_QUERY,
        summary=f"List {kind} tasks",
    )
    def listed(request: Request, desk: AtDesk) -> Response:
        watching, listing = watching_of(desk), listing_of(request)
        rows = watching.reader.alarm_tasks(kind, SCANNED_MAX)
        return answer_list(listing, gather(listing, (_task(request, kind, row) for row in rows), SCANNED_MAX))

    @routes.get(
        f"{API}/{kind}/{{id}}",
        name=f"get_{kind}",
        dependencies=[Depends(Needs(WATCH_NETWORK))],
        response_model=shapes.TaskDone,
        summary=f"Get a {kind} task",
    )
    def one(request: Request, desk: AtDesk, id: Id) -> Response:  # noqa: A002 - the path's name
        number = int(id) if id.isdigit() and len(id) < 19 else -1
        rows = watching_of(desk).reader.alarm_tasks(kind, 1, number=number)
        if not rows:
            raise Problem(404, "not_found", "There is no such task.")
        return ExactResponse(chosen(_task(request, kind, rows[0]), fields_of(request)))


def _task(request: Request, kind: str, row: Item) -> Item:
    body = {name: value for name, value in row.items() if name not in ("number", "time_us")}
    return {"id": str(row["number"]), "href": f"{base_url(request)}{API}/{kind}/{row['number']}", **body}


for _kind in (*TASKS, "groupAlarms", "unGroupAlarms"):
    _kept_tasks(_kind)


# -- telling others --------------------------------------------------------------------------------------------


async def tell(notices: Notices, watching: Watching) -> None:
    """Tell registered addresses of alarms as they change, from the moment the application began."""
    after = await asyncio.to_thread(_last, watching)
    while True:
        try:
            after = await asyncio.to_thread(_tell_after, notices, watching, after)
        except Exception:
            log.exception("alarm changes could not be told; trying again")
        await asyncio.sleep(TOLD_EVERY_S)


def _last(watching: Watching) -> int:
    return watching.reader.counts()["alarm_changes"]


def _tell_after(notices: Notices, watching: Watching, after: int) -> int:
    rows = watching.reader.changes_after(after, TOLD_A_TURN)
    for row in rows.iter_rows(named=True):
        _tell_one(notices, watching, row)
        after = row["number"]
    return after


def _tell_one(notices: Notices, watching: Watching, row: Item) -> None:
    kinds = {"raise": "AlarmCreateEvent", "clear": "AlarmStateChangeEvent"}
    kind = kinds.get(row["action"], "AlarmAttributeValueChangeEvent")
    found = watching.reader.alarms(1, alarm_id=row["alarm_id"])
    if not found:
        return
    said = watching.reader.alarm_attributes([row["alarm_id"]]).get(row["alarm_id"], {})
    event = {
        "eventTime": moment(row["time_us"]),
        "event": {"alarm": alarm_view(found[0], said, API)},
    }
    prepared = notices.prepare(NAME, kind, f"alarm:{row['alarm_id']} {row['number']}", 0, event)
    notices.release(prepared)
