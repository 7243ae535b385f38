"""Work for people: rejected records to correct or close, and conflicts to decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response, StreamingResponse

from trunkline.api.access import SETTLE, WATCH
from trunkline.api.desk import AtDesk, By, Desk, JsonBody, Needs
from trunkline.api.exact import write_json
from trunkline.api.problems import Problem
from trunkline.api.shapes import CorrectOrder, DecideOrder, HeldAnswer, ReasonsAnswer, RejectsAnswer
from trunkline.api.shown import raw_text, usage_rows
from trunkline.api.v1.overview import Limit, Offset
from trunkline.charging.movements import MOVEMENT_REASONS
from trunkline.records.usage import REASONS

routes = APIRouter(tags=["rejects and conflicts"])

Number = Annotated[int, Path(ge=0, le=2**62, description="The record's number in the list.")]
WithRaw = Annotated[bool, Query(description="Also show the records as they came; this is written down.")]
RejectsOf = Callable[[str | None, int, int], pl.DataFrame]  # reason, limit, offset: a reader's `rejects`
COUNTED = 10_000
EXPORTED_A_TURN = 1000
TEXT_OF = {reason.name: reason.text for reason in (*REASONS, *MOVEMENT_REASONS)}


def may_show(desk: Desk, caller: By, what: str, *, raw: bool) -> None:
    """Let nobody see records as they came who may not, and write down who did."""
    if not raw:
        return
    if not caller.may(SETTLE):
        raise Problem(
            403, "not_allowed", f"Records as they came need the role {SETTLE.role.name.lower()} or higher."
        )
    desk.saw(caller, f"read_{what}_raw")


@routes.get(
    "/api/v1/rejects",
    dependencies=[Depends(Needs(WATCH))],
    response_model=RejectsAnswer,
    summary="Rejected records",
)
def rejects(
    desk: AtDesk,
    caller: By,
    reason: Annotated[str | None, Query(max_length=60, description="Only those with this reason.")] = None,
    limit: Limit = 50,
    offset: Offset = 0,
    raw: WithRaw = False,  # noqa: FBT002 - a query parameter
) -> dict[str, Any]:
    """Rejected and not yet settled records."""
    may_show(desk, caller, "rejects", raw=raw)
    frame = desk.reader.rejects(reason, limit + 1, offset)
    rows = [reject_shown(row, raw=raw) for row in frame.head(limit).iter_rows(named=True)]
    return {"items": rows, "more": len(frame) > limit}


def reject_shown(row: dict[str, Any], *, raw: bool) -> dict[str, Any]:
    """A rejected record of whichever kind, with its octets where they may be seen."""
    return {
        "number": row["number"],
        "file": row["file"],
        "path": row["path"] or "",
        "line": row["line"],
        "source": row["source"] or "",
        "mapping": row["mapping"] or "",
        "reason": row["reason"],
        "detail": row["detail"] or "",
        "raw": raw_text(row["raw"]) if raw else None,
    }


def counted_by_reason(rejects_of: RejectsOf, texts: dict[str, str]) -> dict[str, Any]:
    """How many open rejects there are for each reason, most first; `complete` unless there are too many to count."""
    frame = rejects_of(None, COUNTED, 0)
    items = [
        {"reason": name, "text": texts.get(name, ""), "count": count}
        for name, count in Counter(frame["reason"].to_list()).most_common()
    ]
    return {"complete": len(frame) < COUNTED, "items": items}


def exported(rejects_of: RejectsOf, reason: str | None, file_name: str) -> StreamingResponse:
    """All open rejects with the records as they came, one JSON object a line."""

    def lines() -> Iterator[bytes]:
        offset = 0
        while True:
            frame = rejects_of(reason, EXPORTED_A_TURN, offset)
            for row in frame.iter_rows(named=True):
                yield write_json(reject_shown(row, raw=True)) + b"\n"
            if len(frame) < EXPORTED_A_TURN:
                return
            offset += len(frame)

    return StreamingResponse(
        lines(),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": f'attachment; filename="{file_name}"'},
    )


@routes.get(
    "/api/v1/rejects/reasons",
    dependencies=[Depends(Needs(WATCH))],
    response_model=ReasonsAnswer,
    summary="Rejects by reason",
)
def reasons(desk: AtDesk) -> dict[str, Any]:
    """How many open rejects there are for each reason, most first."""
    return counted_by_reason(desk.reader.rejects, TEXT_OF)


@routes.get(
    "/api/v1/rejects/export",
    dependencies=[Depends(Needs(SETTLE))],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}},
    summary="Export rejected records",
)
def export(
    desk: AtDesk, caller: By, reason: Annotated[str | None, Query(max_length=60)] = None
) -> StreamingResponse:
    """All open rejects with the records as they came, one JSON object a line."""
    desk.saw(caller, "export_rejects", detail=reason or "all")
    return exported(desk.reader.rejects, reason, "rejects.ndjson")


@routes.post(
    "/api/v1/rejects/{number}/correct",
    status_code=204,
    dependencies=[Depends(Needs(SETTLE))],
    response_class=Response,
    summary="Correct a rejected record and offer it again",
)
def correct(
    desk: AtDesk, caller: By, number: Number, order: Annotated[CorrectOrder, Depends(JsonBody(CorrectOrder))]
) -> Response:
    """Offer the corrected text again, through the mapping that read it first."""
    text = order.text.strip("\r\n")
    if not text.strip() or "\n" in text:
        raise Problem(400, "not_one_record", "A correction is one record on one line.")
    desk.saw(caller, "correct_reject", detail=f"reject {number}")
    desk.intake.settle_reject(number, text.encode() + b"\n", caller.name)
    return Response(status_code=204)


@routes.post(
    "/api/v1/rejects/{number}/close",
    status_code=204,
    dependencies=[Depends(Needs(SETTLE))],
    response_class=Response,
    summary="Close a rejected record for good",
)
def close(desk: AtDesk, caller: By, number: Number) -> Response:
    """Take it off the list; its bytes stay in the store, and it stays counted as rejected."""
    desk.saw(caller, "close_reject", detail=f"reject {number}")
    desk.intake.settle_reject(number, None, caller.name)
    return Response(status_code=204)


@routes.get(
    "/api/v1/held", dependencies=[Depends(Needs(WATCH))], response_model=HeldAnswer, summary="Conflicts"
)
def held(
    desk: AtDesk,
    caller: By,
    limit: Limit = 50,
    offset: Offset = 0,
    raw: WithRaw = False,  # noqa: FBT002 - a query parameter
) -> dict[str, Any]:
    """Records whose identity was used before by a record that says something else."""
    may_show(desk, caller, "held", raw=raw)
    frame = desk.reader.held(limit + 1, offset)
    items = [
        {
            "number": row["number"],
            "file": row["file"],
            "path": row["path"] or "",
            "line": row["line"],
            "source": row["source"] or "",
            "record_id": row["record_id"],
            "reason": row["reason"] or "",
            "raw": raw_text(row["raw"]) if raw else None,
            "first": _first(desk, row) if raw else None,
        }
        for row in frame.head(limit).iter_rows(named=True)
    ]
    return {"currency": desk.catalogue().currency, "items": items, "more": len(frame) > limit}


def _first(desk: Desk, row: dict[str, Any]) -> dict[str, Any] | None:
    """What was charged under the identity before."""
    rows = desk.reader.usage_record(row["source"] or "", row["record_id"])
    return usage_rows(rows.head(1), desk.people, full=False, whereabouts=False)[0] if len(rows) else None


@routes.post(
    "/api/v1/held/{number}/decide",
    status_code=204,
    dependencies=[Depends(Needs(SETTLE))],
    response_class=Response,
    summary="Decide a conflict",
)
def decide(
    desk: AtDesk, caller: By, number: Number, order: Annotated[DecideOrder, Depends(JsonBody(DecideOrder))]
) -> Response:
    """Discard the second record, or charge it as usage of its own."""
    desk.saw(caller, "decide_held", detail=f"held {number} {order.decision}")
    desk.intake.settle_held(number, order.decision, caller.name)
    return Response(status_code=204)
