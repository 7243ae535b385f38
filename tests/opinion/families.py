"""Simulated families made to share: one account a household, its allowances for all of them."""

from __future__ import annotations

import csv
from pathlib import Path

SHARED = {
    "family_minutes": "shared: true, member_limit: 400m, ",
    "data_12gb": "shared: true, member_limit: 5GB, grant_per_member: 1GB, ",
}
MOST = 5


def share(tariffs: Path, subscribers: Path) -> int:
    """Mark the family plan's allowances as shared and make neighbours on that plan members of one account; how many."""
    balances = tariffs / "balances.yaml"
    text = balances.read_text()
    for name, said in SHARED.items():
        assert f"  {name}: {{" in text, name
        text = text.replace(f"  {name}: {{", f"  {name}: {{{said}")
    balances.write_text(text)
    with subscribers.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    owner, size, members = "", 0, 0
    for row in rows:
        row["owner"], row["limits"] = "", ""
        if row["plan"] != "family" or size == MOST:
            owner, size = "", 0
        if row["plan"] != "family":
            continue
        if owner:
            members += 1
            row |= {"owner": owner, "payment": "", "credit_limit": "", "balance": ""}
            row["limits"] = "data_12gb=30MB" if members % 2 else ""
        else:
            owner = row["subscriber"]
        size += 1
    with subscribers.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return members
