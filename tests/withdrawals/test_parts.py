"""A part of a long call is taken back in a real data folder, and the call is looked at meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from tests.billing.small import number
from tests.rerating.small import balances
from tests.withdrawals.small import Said, cancels, corrects, told
from tests.withdrawals.test_withdrawals import agrees, taken
from trunkline.cli import app


def part(at: int, minutes: int, *, last: bool = False) -> Said:
    """A part of a call over midnight, ten minutes behind the one before."""
    begun = 23 * 60 + 45 + 10 * (at - 1)
    return {
        "id": f"long/{at}", "source": "msc", "type": "voice", "subscriber": number(1), "called": "33123456789",
        "start": f"2026-10-{12 + begun // 1440:02d}T{begun // 60 % 24:02d}:{begun % 60:02d}:00Z", "session": "long",
        "duration_ms": 60_000 * minutes, "part": at, "report": "last" if last else "partial",
    }  # fmt: skip


def under_way(folder: Path, *words: str) -> list[dict[str, object]]:
    """What `trunkline calls` tells."""
    answer = CliRunner().invoke(app, ["calls", "--json", "--data", str(folder / "data"), *words])
    assert answer.exit_code == 0, answer.output or answer.exception
    found: list[dict[str, object]] = json.loads(answer.stdout)
    return found


def test_a_part_of_a_call_that_was_over(tmp_path: Path) -> None:
    """Cancelled, the call has a gap; told anew, it is over again and costs what it would have from the beginning."""
    parts = [part(1, 10), part(2, 10), part(3, 5, last=True)]
    right = [part(1, 10), part(2, 4), part(3, 5, last=True)]
    told(tmp_path / "right", right)
    (_, done) = told(tmp_path / "wrong", parts, [cancels(parts[1])])
    assert done.withdrawn.cancelled == 1
    agrees(tmp_path / "wrong")
    (row,) = under_way(tmp_path / "wrong", "--missing")
    assert (row["parts"], row["missing"], row["kind"]) == (2, "2", "voice")
    assert number(1) not in json.dumps(row)
    assert under_way(tmp_path / "wrong", "--full")[0]["subscriber"] == number(1)
    assert under_way(tmp_path / "wrong", "--offset", "1") == []
    told(tmp_path / "wrong", [{**right[1], "id": "long/2 anew"}])
    agrees(tmp_path / "wrong")
    assert under_way(tmp_path / "wrong") == []
    assert balances(tmp_path / "wrong") == balances(tmp_path / "right")
    assert sum(taken(tmp_path / "wrong").values()) == sum(taken(tmp_path / "right").values())


def test_a_corrected_part(tmp_path: Path) -> None:
    """In one commit the wrong part goes and the right one comes, and two wrong ones of a call come right one by one."""
    parts = [part(1, 10), part(2, 10), part(3, 5, last=True)]
    told(tmp_path / "right", [part(1, 2), part(2, 4), part(3, 5, last=True)])
    better = [corrects(parts[0], duration_ms=120_000), corrects(parts[1], duration_ms=240_000)]
    (_, done) = told(tmp_path / "wrong", parts, better)
    assert done.withdrawn.corrected == len(better)
    agrees(tmp_path / "wrong")
    assert under_way(tmp_path / "wrong") == []
    assert balances(tmp_path / "wrong") == balances(tmp_path / "right")
