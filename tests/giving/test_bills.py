"""What a transfer does to bills: the fee is charged, what changed hands is not, and the bills stay the ledger's."""

from __future__ import annotations

from pathlib import Path

from tests.giving.small import PEOPLE, giving, order, word
from trunkline.bootstrap.bills import FolderBills
from trunkline.records.bills import Section

NEXT_YEAR_US = 1_800_000_000_000_000
SEPTEMBER = 202609


def test_fees_stand_on_the_bill(tmp_path: Path) -> None:
    """A line for all fees of the period; received and handed on count with the top-ups; nothing differs."""
    with giving(tmp_path) as (platform, serving, transfers):
        fees = sum(transfers.transfer(order(f"t{at}", 0, 1, 2_000_000 + at))[0].fee_micros for at in range(3))
        made = FolderBills(
            tmp_path / "data",
            lambda: platform.catalogue,
            platform.engine,
            serving.intake.move,
            lambda: NEXT_YEAR_US,
        )
        assert made.run(SEPTEMBER).bills == PEOPLE
        giver, receiver = (made.bills(word(at), SEPTEMBER, 1)[0] for at in (0, 1))
        lines = [(line["section"], line["uses"], line["amount_micros"]) for line in giver["lines"]]
        assert lines == [(Section.TRANSFER_FEE, 3, fees)]
        assert (giver["total_micros"], giver["ledger_micros"]) == (fees, fees)
        assert receiver["lines"] == []
        assert receiver["paid_micros"] - 6_000_003 == giver["paid_micros"] + 6_000_003
        checked = made.check(None)
        assert (checked.bills, checked.bill_micros, len(checked.differences)) == (PEOPLE, fees, 0)
