"""What sessions used, written as records: each says what the row said, and nothing that it did not say."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from trunkline.bootstrap.online import SOURCE, usage_lines
from trunkline.kernel.dial import LONGEST, SYMBOLS, to_key, to_text, to_texts
from trunkline.kernel.members import Members
from trunkline.records.online import ASKED
from trunkline.records.usage import Direction, Kind

OWNERS, SECOND = ("447700900001", "447700900002"), "447700900009"
MEMBERS = Members.of([(to_key(SECOND), to_key(OWNERS[0]), 1)])
UNITS = {Kind.VOICE: "duration_ms", Kind.DATA: "octets_down"}
NUMBERS = st.text(SYMBOLS, max_size=LONGEST) | st.text(min_size=LONGEST + 1, max_size=40)
ROWS = st.fixed_dictionaries(
    {
        "session": st.integers(1, 2**64 - 1),
        "group": st.integers(0, 2**32 - 1),
        "invocation": st.integers(0, 2**31 - 1),
        "kind": st.sampled_from([int(kind) for kind in Kind]),
        "direction": st.sampled_from([int(direction) for direction in Direction]),
        "calling": st.none() | NUMBERS.map(to_key),
        "called": st.none() | NUMBERS.map(to_key),
        "start_us": st.integers(0, 2**52),
        "visited_plmn": st.none() | st.integers(0, 999_999),
        "slice": st.none() | st.integers(0, 2**32 - 1),
        "five_qi": st.none() | st.integers(0, 255),
        "service": st.none() | st.text(min_size=1, max_size=20),
        "units": st.integers(0, 2**40),
        "who": st.sampled_from([(OWNERS[0], 0), (OWNERS[0], 1), (OWNERS[1], 0)]),
    }
)


@given(st.lists(NUMBERS))
def test_many_words_read_as_each_of_them_does(numbers: list[str]) -> None:
    """`to_texts` is `to_text` of each."""
    words = [to_key(number) for number in numbers]
    assert to_texts(np.array(words, np.uint64)).tolist() == [to_text(word) for word in words]


@given(st.lists(ROWS, max_size=6))
def test_a_record_says_what_was_used(rows: list[dict[str, Any]]) -> None:
    """Each line, field by field; what is unknown is null, and units stand under the name of their kind alone."""
    charged = [{**row, "subscriber": to_key(row["who"][0]), "member": row["who"][1]} for row in rows]
    kept = {name: dtype for name, dtype in ASKED.record.schema.items() if rows and name in charged[0]}
    columns = pl.DataFrame(charged or None, schema=kept or ASKED.record.schema)
    records = [orjson.loads(line) for line in usage_lines(columns, MEMBERS).splitlines()]
    assert len(records) == len(rows)
    for row, record in zip(rows, records, strict=True):
        owner, member = row["who"]
        kind = Kind(row["kind"])
        said = {name: value for name, value in record.items() if value is not None}
        expected = {
            "id": f"{row['session']:016x}-{row['group']}-{row['invocation']}",
            "source": SOURCE,
            "type": kind.name.lower(),
            "subscriber": SECOND if member else owner,
            "direction": Direction(row["direction"]).name.lower(),
            "calling": to_text(row["calling"] or 0),
            "called": to_text(row["called"] or 0),
            "start_us": row["start_us"],
            UNITS.get(kind, "events"): row["units"],
            "visited_plmn": str(row["visited_plmn"] or ""),
            "snssai": f"{row['slice']:08x}" if row["slice"] else "",
            "five_qi": row["five_qi"] or "",
            "service": row["service"] or "",
        }
        assert said == {name: value for name, value in expected.items() if value != ""}
