"""A bill that was issued stays; what is taken back afterwards stands on the next one, and names its record."""

from __future__ import annotations

from pathlib import Path

from tests.billing import small
from tests.withdrawals.small import cancels, told
from trunkline.api.bills.document import document
from trunkline.kernel.dial import to_key
from trunkline.records.bills import Section


def test_after_the_bill(tmp_path: Path) -> None:
    """The original is billed in October; its reversal is a line of November's bill, to the micro-unit."""
    october = list(small.records(1, 31))
    with small.billing(tmp_path) as (platform, bills):
        small.charge(platform, tmp_path / "october.ndjson", iter(october))
        bills.run(202610)
    original = next(
        line
        for line in october
        if line["type"] == "data" and line["subscriber"] == small.number(4) and "visited_plmn" not in line
    )
    told(tmp_path, [cancels(original)], small.records(1, 2, month=11))
    with small.billing(tmp_path) as (_, bills):
        november = bills.preview(to_key(small.number(4)))
        assert november is not None
        lines = [line for line in november["lines"] if line["section"] == int(Section.CORRECTION)]
    assert [line["name"] for line in lines] == [f"msc {original['id']}"]
    assert lines[0]["amount_micros"] < 0
    texts = [line["text"] for line in document(november, str)["lines"]]
    assert f"taken back: msc {original['id']}" in texts
