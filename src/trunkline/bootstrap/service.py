"""Customers whom the network's incidents hit: told once, told when it is over, and credited by rule.

Between two stores nothing is one transaction, so everything here may be done twice and counts once: the flow that tells
remembers whom it told of what, a credit's name is made of its incident and its subscriber, and an incident is called
served only when all that is durable. After a crash the same incidents are looked at again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from trunkline import topology
from trunkline.bootstrap.network import DAY_US, Network, prints_of
from trunkline.bootstrap.platform import Platform
from trunkline.charging import service
from trunkline.charging.credits import (
    MINUTE_US,
    Credit,
    ServiceError,
    ServiceRules,
    movement_name,
    parse_rules,
)
from trunkline.kernel.identity import name_words
from trunkline.network.incidents.customers import hit
from trunkline.ports import AuditEvent, AuditTrail, Intake, Movement, Refused
from trunkline.records import charging
from trunkline.records.charging import NEVER_S, Cause, RowKind
from trunkline.stores.embedded.reader import EmbeddedReader

log = logging.getLogger("trunkline.service")

RULES = "service.yaml"
CLOSED_DAYS = 2  # an incident that ended longer ago is told to nobody any more
SCAN_EVERY_S = 30.0  # who used which cell is looked up at most so often
AT_ONCE = 500  # movements of one order
SHOWN = 100
RULE_ACTOR = "rule"  # who books by itself
VISITS = {"object": pl.UInt64, "subscriber": pl.UInt64, "first_us": pl.Int64, "last_us": pl.Int64}


def load_service_rules(folder: Path) -> ServiceRules:
    """The rules in a network's folder; the usual ones, which credit nothing, when none were written."""
    path = folder / RULES
    if not path.exists():
        return ServiceRules()
    try:
        return parse_rules(path.read_text(encoding="utf-8"), str(path))
    except (ServiceError, UnicodeDecodeError) as error:
        raise Refused(str(error) if isinstance(error, ServiceError) else f"{path} is not UTF-8.") from error


def visits_of(reader: EmbeddedReader, objects: Sequence[int], from_us: int, until_us: int) -> pl.DataFrame:
    """Who used which of these cells, first and last, within a stretch of time (`VISITS`)."""
    wanted = pl.Series("object", objects, dtype=pl.UInt64).unique()
    parts = []
    for frame in reader.scan(charging.CHARGED, from_us, until_us):
        cells = frame.select(pl.col("cell").cast(pl.String)).drop_nulls().unique()
        places = cells.with_columns(pl.Series("object", name_words(cells["cell"]), dtype=pl.UInt64))
        places = places.filter(pl.col("object").is_in(wanted.implode()))
        if len(places):
            seen = frame.select(pl.col("cell").cast(pl.String), "subscriber", "start_us").join(
                places, on="cell"
            )
            parts.append(_spans(seen, "start_us", "start_us"))
    return _spans(pl.concat(parts), "first_us", "last_us") if parts else pl.DataFrame(schema=VISITS)


def _spans(rows: pl.DataFrame, first: str, last: str) -> pl.DataFrame:
    spans = rows.group_by("object", "subscriber").agg(
        first_us=pl.col(first).min(), last_us=pl.col(last).max()
    )
    return spans.select(list(VISITS))


@dataclass(frozen=True)
class Looked:
    """What one look did: alerts of a beginning, incidents that ended, customers who were credited."""

    told: int = 0
    ended: int = 0
    credited: int = 0


@dataclass
class Service:
    """Tells and credits customers (`ports.ServiceDesk`). One thread looks; any may preview and book."""

    platform: Platform
    watch: Network
    intake: Intake
    reader: EmbeddedReader
    audit: AuditTrail
    _seen: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    _scanned_s: float = -SCAN_EVERY_S

    def __post_init__(self) -> None:
        """Raises `Refused` when the rules hold mistakes; later such a file leaves the rules as they are."""
        self._print = prints_of(self.watch.folder, RULES)
        self._rules = load_service_rules(self.watch.folder)

    @property
    def rules(self) -> ServiceRules:
        """The rules in force; a changed file is seen at the next use."""
        found = prints_of(self.watch.folder, RULES)
        if found != self._print:
            self._print = found
            try:
                self._rules = load_service_rules(self.watch.folder)
            except Refused as error:
                log.warning("rules for customers stay as they were: %s", error)
        return self._rules

    def look(self, *, at_once: bool = False) -> Looked:
        """Tell whoever is hit and was not told, and end what is over; looks at usage at most every half minute."""
        if not at_once and time.monotonic() - self._scanned_s < SCAN_EVERY_S:
            return Looked()
        rules, now_us = self.rules, self._now_us()
        due = [
            row
            for row in self.watch.reader.unserved(now_us - CLOSED_DAYS * DAY_US)
            if row["closed_us"] is not None
            or (_is_told(row, rules, now_us) and self._seen.get(row["incident_id"]) != _print_of(row))
        ]
        if not due:
            return Looked()
        self._scanned_s = time.monotonic()
        told = self._tell(due, rules, now_us)
        ended = [row for row in due if row["closed_us"] is not None]
        credited = sum(self._end(row, rules) for row in ended)
        self._seen |= {row["incident_id"]: _print_of(row) for row in due}
        for row in ended:
            self._seen.pop(row["incident_id"], None)
        return Looked(told, len(ended), credited)

    def _tell(self, due: list[dict[str, Any]], rules: ServiceRules, now_us: int) -> int:
        """Begin: whoever used the cells of an incident and was not told of it."""
        rows = [row for row in due if _is_told(row, rules, now_us)]
        objects = sorted({each for row in rows for each in row["objects"]})
        if not objects:
            return 0
        within_us = rules.telling.within_us
        frame = pl.DataFrame(
            [
                (
                    row["incident_id"],
                    row["objects"],
                    row["began_us"],
                    row["closed_us"] or max(now_us, row["changed_us"]),
                )
                for row in rows
            ],
            schema={
                "incident_id": pl.String,
                "objects": pl.List(pl.UInt64),
                "began_us": pl.Int64,
                "until_us": pl.Int64,
            },
            orient="row",
        )
        from_us, until_us = int(frame["began_us"].min()) - within_us, int(frame["until_us"].max()) + 1  # type: ignore[arg-type]
        found = hit(frame, visits_of(self.reader, objects, from_us, until_us), within_us)
        told = 0
        for row in rows:
            known = set(self.watch.reader.customers(row["incident_id"]))
            mine = found.filter(pl.col("incident_id") == row["incident_id"])["subscriber"].to_list()
            new = [word for word in mine if word not in known]
            if new:
                self._carry(_hits(row, new, service.BEGIN, row["opened_us"]))
                self.watch.store.serve(row["incident_id"], new, _wall_us())
                told += len(new)
        return told

    def _end(self, row: dict[str, Any], rules: ServiceRules) -> int:
        """End: tell all who were told that it is over, and credit them if a rule does so by itself; how many."""
        known = self.watch.reader.customers(row["incident_id"])
        credited = 0
        if known:
            self._carry(_hits(row, known, service.END, row["closed_us"]))
            rule = rules.credit_for(row["cause"] or "", row["severity"], row["closed_us"] - row["began_us"])
            if rule is not None and rule.by_itself:
                try:
                    credited = self.book(row["incident_id"], f"{RULE_ACTOR} {rule.name}", RULE_ACTOR)[
                        "booked"
                    ]
                except Refused as error:  # the rules were changed in this very moment
                    log.warning("incident %s is not credited: %s", row["incident_id"], error)
        self.watch.store.served(row["incident_id"], _wall_us())
        return credited

    def _carry(self, hits: pl.DataFrame) -> None:
        self.platform.engine.carry(topology.SERVICE, hits).result()

    # -- credits -------------------------------------------------------------------------------------------

    def preview(self, incident_id: str) -> dict[str, Any]:
        """What the rules give back for an incident as it stands (`ports.ServiceDesk.preview`)."""
        row, rule, amounts = self._worked_out(incident_id)
        booked = self._booked(incident_id, amounts)
        values = list(amounts.values())
        return {
            "incident_id": incident_id,
            "rule": None if rule is None else rule.name,
            "by_itself": rule is not None and rule.by_itself,
            "over": row["closed_us"] is not None,
            "minutes": _lasted_us(row, self._now_us()) // MINUTE_US,
            "customers": len(self.watch.reader.customers(incident_id)),
            "credited": len(values),
            "booked": sum(status == "booked" for status in booked.values()),
            "total_micros": sum(values),
            "most_micros": max(values, default=0),
            "items": [
                {"subscriber": word, "amount_micros": amount, "status": booked.get(word, "")}
                for word, amount in list(amounts.items())[:SHOWN]
            ],
        }

    def book(self, incident_id: str, actor: str, role: str) -> dict[str, Any]:
        """Book what the preview shows; what is booked already stays so."""
        row, rule, amounts = self._worked_out(incident_id)
        if row["closed_us"] is None:
            raise Refused("The incident is not over yet; what it comes to is not known before.")
        if rule is None:
            raise Refused(f"No rule of {RULES} fits this incident; nothing is given back for it.")
        total = sum(amounts.values())
        self.audit.record(
            AuditEvent(
                _wall_us(), actor, role, "credit_incident", 0,
                f"{incident_id} by {rule.name}: {len(amounts)} customers, {total} micro-units",
            )
        )  # fmt: skip
        counts = dict.fromkeys(("booked", "repeated", "refused"), 0)
        for part in _parts(list(amounts.items()), AT_ONCE):
            orders = [self._movement(row, word, amount) for word, amount in part]
            for said in self.intake.move(orders):
                counts[str(said["status"])] += 1
        return {"incident_id": incident_id, "rule": rule.name, "total_micros": total, **counts}

    def _worked_out(self, incident_id: str) -> tuple[dict[str, Any], Credit | None, dict[int, int]]:
        """The incident, the rule that counts for it, and what each customer is given; nobody gets nothing."""
        found = self.watch.reader.incidents(1, incident_id=incident_id)
        if not found:
            raise Refused("There is no incident of that name.")
        row = found[0]
        lasted_us = _lasted_us(row, self._now_us())
        rule = self.rules.credit_for(row["cause"] or "", row["severity"], lasted_us)
        if rule is None:
            return row, None, {}
        words = self.watch.reader.customers(incident_id)
        plans = pl.Series(
            [self._plan(word, row["began_us"]) if rule.share else "" for word in words], dtype=pl.String
        )
        amounts = zip(words, rule.amounts(plans, lasted_us), strict=True)
        return row, rule, {word: amount for word, amount in amounts if amount > 0}

    def _plan(self, subscriber: int, at_us: int) -> str:
        """The plan that a customer had at a moment; empty when there was none."""
        rows = self.reader.account(subscriber)
        begun = rows[
            (rows["kind"] == RowKind.SUBSCRIPTION)
            & (rows["member"] == 0)
            & (rows["valid_from_s"].astype("i8") * 1_000_000 <= at_us)
        ]
        if not len(begun):
            return ""
        return self.platform.catalogue.plans[int(begun[begun["valid_from_s"].argmax()]["definition"])]

    def _movement(self, row: dict[str, Any], word: int, amount: int) -> Movement:
        catalogue = self.platform.catalogue
        balance = catalogue.balances[catalogue.main_balance]
        name = movement_name(row["incident_id"], word)
        return Movement(name, int(Cause.REFUND), word, balance, amount, row["closed_us"], NEVER_S)

    def _booked(self, incident_id: str, amounts: Mapping[int, int]) -> dict[int, str]:
        names = {movement_name(incident_id, word): word for word in amounts}
        return {names[name]: status for name, (status, _) in self.platform.store.booked(list(names)).items()}

    def _now_us(self) -> int:
        """The data's clock, as far as it is told."""
        counts = self.watch.reader.counts()
        return max(counts["newest_kpi_us"], counts["newest_heat_us"])


def _is_told(row: dict[str, Any], rules: ServiceRules, now_us: int) -> bool:
    """Whether customers are told of an incident as it stands."""
    return row["severity"] <= rules.telling.severity and _lasted_us(row, now_us) >= rules.telling.after_us


def _lasted_us(row: dict[str, Any], now_us: int) -> int:
    """How long an incident lasts, from its beginning to its end or to what the data's clock says."""
    return max(0, int((row["closed_us"] or max(now_us, row["changed_us"])) - row["began_us"]))


def _print_of(row: dict[str, Any]) -> tuple[int, int | None]:
    """What tells whether an incident has changed since it was looked at."""
    return row["changed_us"], row["closed_us"]


def _hits(row: dict[str, Any], words: Sequence[int], action: str, time_us: int) -> pl.DataFrame:
    """One hit a customer (`HITS`)."""
    frame = pl.DataFrame({"subscriber": pl.Series(words, dtype=pl.UInt64)}).with_columns(
        incident_id=pl.lit(row["incident_id"]),
        action=pl.lit(action),
        time_us=pl.lit(time_us),
        severity=pl.lit(row["severity"]),
        minutes=pl.lit((time_us - row["began_us"]) // MINUTE_US),
    )
    return charging.HITS.record.conform(frame)


def _parts(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]


def _wall_us() -> int:
    return time.time_ns() // 1000
