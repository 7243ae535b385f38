"""A whole operator audited: tariff directory, subscribers file and usage files in, every amount out.

    python -m tests.opinion.audit TARIFFS SUBSCRIBERS FILE...

prints one JSON line for each record, then one for each balance, each alert, and the counts.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.opinion.accounts import Books
from tests.opinion.intake import PARTS, Intake, Refused
from tests.opinion.quantities import micros, units
from tests.opinion.tariff import moment_us, read_directory

EVER_US = 2**62


@dataclass
class Audit:
    """What an auditor hands over."""

    books: Books
    intake: Intake


def audit(
    tariffs: Path, subscribers: Path, files: Iterable[Path], now_us: int = EVER_US, oldest_us: int = 0
) -> Audit:
    """Read, price and charge everything, in the order of the files and their lines."""
    books = Books(read_directory(tariffs))
    enrol(books, subscribers)
    intake = Intake(now_us, oldest_us)
    for use in intake.uses(line for path in files for line in path.read_bytes().split(b"\n")):
        books.charge(use)
    withdraw(books, intake)
    return Audit(books, intake)


def withdraw(books: Books, intake: Intake) -> None:
    """Cancel and correct, in the order of arrival: each original once, and no report of counters anew.

    What corrects may itself be the original of a later one; what waits for nothing that came waits on.
    """
    settled: set[tuple[str, str]] = set()
    waiting = list(intake.withdrawing)
    while True:
        reports = {(record[0], record[1]): dict(said)["report"] for record, said in intake.seen.items()}
        charged = {(v.source, v.record_id) for v in books.verdicts if v.status == "rated"}
        ready = [each for each in waiting if (each.source, each["of"]) in charged]
        if not ready:
            return
        waiting = [each for each in waiting if each not in ready]
        for record in ready:
            original = record.source, record["of"]
            if original in settled or (
                record["action"] == "correct" and reports[original] and reports[original] not in PARTS
            ):
                intake.refused.append(
                    Refused(record.line, "already_corrected" if original in settled else "session_report")
                )
                continue
            settled.add(original)
            books.take_back(*original)
            if record["action"] == "correct":
                books.charge(intake.measured(record))


def enrol(books: Books, path: Path) -> None:
    """Load the subscribers' list."""
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            since = row.get("from") or ""
            books.subscribe(
                row["subscriber"].removeprefix("+"),
                row["plan"],
                moment_us(since, books.tariff.zone) // 1_000_000 if since else 0,
                ZoneInfo(row["time_zone"]) if row.get("time_zone") else None,
                int(row["cycle_day"]) if row.get("cycle_day") else None,
                micros(row.get("balance") or "0"),
                micros(row.get("credit_limit") or "0"),
                (row.get("owner") or "").removeprefix("+") or None,
                _limits(books, row.get("limits") or ""),
            )


def _limits(books: Books, text: str) -> dict[str, int]:
    """What a member may take of shared balances."""
    found = {}
    for part in text.split():
        name, _, most = part.partition("=")
        found[name] = micros(most) if books.tariff.balances[name].unit == "money" else units(most)
    return found


def main(arguments: list[str]) -> int:
    """Print the audit."""
    if len(arguments) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    found = audit(Path(arguments[0]), Path(arguments[1]), [Path(name) for name in arguments[2:]])
    for verdict in found.books.verdicts:
        print(json.dumps(asdict(verdict)))
    for refused in found.intake.refused:
        print(json.dumps(asdict(refused)))
    for subscriber, account in found.books.accounts.items():
        for balance in account.balances:
            print(
                json.dumps(
                    {
                        "subscriber": subscriber,
                        "balance": balance.rule.name,
                        "period": balance.period,
                        "value": balance.value,
                    }
                )
            )
    for alert in found.books.alerts:
        print(json.dumps(asdict(alert)))
    rated = sum(verdict.status == "rated" for verdict in found.books.verdicts)
    counts = {"received": found.intake.received, "rated": rated, "duplicate": found.intake.duplicates}
    counts["held"] = len(found.intake.held)
    counts["rejected"] = len(found.intake.refused) + len(found.books.verdicts) - rated
    print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
