"""Copies and conflicts, compared with a dictionary."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tests.rooms.mediation.reading import Mediation
from trunkline.kernel.grouped import Grouped
from trunkline.mediation.deduplicate import deduplicate
from trunkline.records.usage import DECODED, SEEN

RECORDS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 2)), max_size=40)
DAY_US = 86_400_000_000


def usage(records: list[tuple[int, int, int]]) -> pl.DataFrame:
    """Rows with the given (identity, check, payload); few identities, so that halves are shared, too."""
    return DECODED.record.conform(
        pl.DataFrame(
            [{"identity": a * 2**60, "check": b, "payload": c, "start_us": 7 * DAY_US, "line": at}
             for at, (a, b, c) in enumerate(records)],
            schema_overrides={"identity": pl.UInt64, "check": pl.UInt64, "payload": pl.UInt64},
            schema=None if records else DECODED.record.schema,
        )
    )  # fmt: skip


def expected(records: list[tuple[int, int, int]]) -> tuple[list[int], list[int], list[int]]:
    """The same in plain Python: lines that are unique, duplicate, held."""
    known: dict[tuple[int, int], int] = {}
    lines: tuple[list[int], list[int], list[int]] = ([], [], [])
    for line, (identity, check, payload) in enumerate(records):
        if (identity, check) not in known:
            known[identity, check] = payload
            lines[0].append(line)
        else:
            lines[1 if known[identity, check] == payload else 2].append(line)
    return lines


@given(RECORDS, st.integers(1, 40))
def test_as_a_dictionary_does_it_wherever_batches_end(records: list[tuple[int, int, int]], size: int) -> None:
    """Verdicts are those of a dictionary, for any borders of batches."""
    mediation = Mediation()
    found: tuple[list[int], list[int], list[int]] = ([], [], [])
    batch = usage(records)
    for at in range(0, len(records), size):
        outcome = mediation.unique(batch[at : at + size])
        for lines, rows in zip(found, outcome.rows, strict=True):
            lines.extend(rows["line"].to_list())
    assert found == expected(records)


@given(RECORDS)
def test_everything_comes_out_once(records: list[tuple[int, int, int]]) -> None:
    """Rows in are rows out."""
    outcome = Mediation().unique(usage(records))
    assert sum(len(rows) for rows in outcome.rows) == len(records)


def test_only_changed_keys_are_returned_with_their_day() -> None:
    """State comes back for keys that got a record, and only those."""
    mediation = Mediation()
    first = mediation.unique(usage([(1, 1, 1), (2, 1, 1)])).state
    assert first is not None
    assert len(first) == 2
    assert first.rows["day"].tolist() == [7, 7]
    again = mediation.unique(usage([(1, 1, 1), (1, 2, 1)]))
    assert again.state is not None
    assert again.state.keys.tolist() == [2**60]
    assert len(again.state.rows) == 2, "two records that share the first half of their digest"


def test_an_engine_may_leave_out_keys_it_holds_nothing_of() -> None:
    """Keys without rows need not be given."""
    outcome = deduplicate(usage([(3, 1, 1), (3, 1, 1)]), Grouped.empty(SEEN.dtype))
    assert [len(rows) for rows in outcome.rows] == [1, 1, 0]


def test_a_conflict_says_so() -> None:
    """What is held says why."""
    held = Mediation().unique(usage([(1, 1, 1), (1, 1, 2)])).rows[2]
    assert held["reason"].to_list() == ["conflict"]


def test_what_takes_a_record_back_waits() -> None:
    """A cancellation is no usage and no conflict; a copy of it is a duplicate, another content a conflict."""
    rows = usage([(1, 1, 1), (2, 1, 1), (2, 1, 1), (3, 1, 1), (3, 1, 2)]).with_columns(
        pl.Series("action", [0, 1, 1, 2, 2], dtype=pl.UInt8)
    )
    unique, duplicates, held = Mediation().unique(rows).rows
    assert (unique["line"].to_list(), duplicates["line"].to_list()) == ([0], [2])
    assert dict(held.select("line", "reason").iter_rows()) == {1: "cancels", 3: "corrects", 4: "conflict"}
