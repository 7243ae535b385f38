"""How the platform is doing: accounting, status, past reconciliations, who looked at what, and health."""

from __future__ import annotations

import logging
import threading
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from trunkline.api.access import READ_AUDIT, READ_METRICS, RECONCILE, WATCH
from trunkline.api.desk import AtDesk, By, Needs, wants_full
from trunkline.api.problems import Problem
from trunkline.api.shapes import (
    AccountingAnswer,
    AuditAnswer,
    ReconciliationsAnswer,
    SourceAccounting,
    StartedAnswer,
    StatusAnswer,
    WorkersAnswer,
)
from trunkline.api.shown import person
from trunkline.api.workers import seen
from trunkline.ports import Accounting

log = logging.getLogger("trunkline.api")
routes = APIRouter(tags=["platform"])

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Offset = Annotated[int, Query(ge=0, le=10**9, description="How many to pass over.")]
Numbers = Annotated[str, Query(description="masked, or full for roles that may see a person.", max_length=10)]


@routes.get("/healthz", response_class=Response, summary="Is it up?")
def health() -> Response:
    """Nothing but that this process answers; asks for no token and tells nothing."""
    return Response(b"ok\n", media_type="text/plain")


@routes.get(
    "/metrics", dependencies=[Depends(Needs(READ_METRICS))], response_class=Response, summary="Metrics"
)
def metrics(desk: AtDesk) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(desk.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@routes.get(
    "/openapi.json",
    dependencies=[Depends(Needs(READ_METRICS))],
    response_class=Response,
    summary="This description",
)
def description(request: Request) -> Response:
    """The OpenAPI 3 description of this interface."""
    document: Response = request.app.state.description()
    return document


@routes.get(
    "/api/v1/accounting",
    dependencies=[Depends(Needs(WATCH))],
    response_model=AccountingAnswer,
    summary="Accounting",
)
def accounting(desk: AtDesk) -> dict[str, Any]:
    """What became of everything received, per source and in total."""
    return accounting_view(desk.reader.accounting(), desk.catalogue().currency)


def accounting_view(rows: Any, currency: str) -> dict[str, Any]:  # noqa: ANN401 - any sequence of Accounting
    """The accounting line with its check."""
    sources = [_source(row) for row in rows]
    total = SourceAccounting(
        source="",
        **{
            name: sum(getattr(source, name) for source in sources)
            for name in ("received", "rated", "duplicate", "rejected", "held", "charged_micros")
        },
    )
    balanced = all(row.received == row.rated + row.duplicate + row.rejected + row.held for row in sources)
    return {
        "currency": currency,
        "balanced": balanced,
        "total": total.model_dump(),
        "sources": [source.model_dump() for source in sources],
    }


def _source(row: Accounting) -> SourceAccounting:
    return SourceAccounting(
        source=row.source,
        received=row.received,
        rated=row.rated,
        duplicate=row.duplicate,
        rejected=row.rejected,
        held=row.held,
        charged_micros=row.charged_micros,
    )


@routes.get(
    "/api/v1/status", dependencies=[Depends(Needs(WATCH))], response_model=StatusAnswer, summary="Status"
)
def status(desk: AtDesk) -> dict[str, Any]:
    """Files and their positions, counts, sizes, the newest event time, the last commit."""
    return {"status": desk.reader.status()}


@routes.get(
    "/api/v1/workers", dependencies=[Depends(Needs(WATCH))], response_model=WorkersAnswer, summary="Workers"
)
def workers(desk: AtDesk) -> dict[str, Any]:
    """Lag by partition, throughput, size of state, age of the checkpoint and rebalances of each worker of a cluster."""
    return {"items": [seen(worker, desk.now_us()) for worker in desk.workers()]}


class Runs:
    """One reconciliation at a time, in a thread of its own: it may take minutes and must not hold a request."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self._lock.locked()

    def start(self, work: Any) -> bool:  # noqa: ANN401 - any callable
        """Start the work; False when another one is under way."""
        if not self._lock.acquire(blocking=False):
            return False
        threading.Thread(target=self._run, args=(work,), name="reconcile", daemon=True).start()
        return True

    def _run(self, work: Any) -> None:  # noqa: ANN401
        try:
            work()
        except Exception:
            log.exception("the reconciliation failed")
        finally:
            self._lock.release()


@routes.get(
    "/api/v1/reconciliations",
    dependencies=[Depends(Needs(WATCH))],
    response_model=ReconciliationsAnswer,
    summary="Past reconciliations",
)
def reconciliations(desk: AtDesk, request: Request, limit: Limit = 20) -> dict[str, Any]:
    """Results by cause, newest first."""
    return {"running": request.app.state.runs.running, "items": desk.reader.reconciliations(limit)}


@routes.post(
    "/api/v1/reconciliations",
    status_code=202,
    dependencies=[Depends(Needs(RECONCILE))],
    response_model=StartedAnswer,
    summary="Start a reconciliation",
)
def reconcile(desk: AtDesk, caller: By, request: Request) -> dict[str, bool]:
    """Recompute everything from the raw records in the background; its result appears in the list."""
    if desk.reconcile is None:
        raise Problem(501, "not_here", "This process cannot reconcile; run `trunkline reconcile` beside it.")
    desk.saw(caller, "reconcile")
    if not request.app.state.runs.start(desk.reconcile):
        raise Problem(409, "running", "A reconciliation is under way; wait for its result.")
    return {"running": True}


@routes.get(
    "/api/v1/audit",
    dependencies=[Depends(Needs(READ_AUDIT))],
    response_model=AuditAnswer,
    summary="Audit trail",
)
def audit(
    desk: AtDesk, caller: By, limit: Limit = 100, offset: Offset = 0, numbers: Numbers = "masked"
) -> dict[str, Any]:
    """Who looked at and changed whose data, newest first. Reading this is itself written down."""
    full = wants_full(caller, numbers)
    desk.saw(caller, "read_audit", detail=f"limit {limit} offset {offset} {numbers}")
    frame = desk.reader.audit(limit, offset)
    return {
        "items": [
            {
                "time_us": row["time_us"],
                "actor": row["actor"],
                "role": row["role"],
                "action": row["action"],
                "subscriber": person(desk.people, row["subscriber"], full=full)
                if row["subscriber"]
                else None,
                "detail": row["detail"],
            }
            for row in frame.iter_rows(named=True)
        ]
    }
