"""Who is hit by an incident: whoever used one of its cells lately, each once."""

from __future__ import annotations

import polars as pl

from trunkline.network.incidents.customers import hit

HOUR_US = 3_600_000_000
ONE, TWO, THREE = 2**63 + 1, 2, 3
VISITS = pl.DataFrame(
    [
        (ONE, 11, 0, 0),  # long before
        (ONE, 12, 0, 20 * HOUR_US),  # lately, too
        (TWO, 12, 20 * HOUR_US, 20 * HOUR_US),  # on another cell of it
        (TWO, 13, 25 * HOUR_US, 26 * HOUR_US),  # while it lasts
        (TWO, 14, 28 * HOUR_US, 29 * HOUR_US),  # when it is over
        (THREE, 15, 24 * HOUR_US, 24 * HOUR_US),  # elsewhere
    ],
    schema={"object": pl.UInt64, "subscriber": pl.UInt64, "first_us": pl.Int64, "last_us": pl.Int64},
    orient="row",
)


def incident(name: str, objects: list[int], began_h: int, until_h: int) -> pl.DataFrame:
    """One incident."""
    return pl.DataFrame(
        [(name, objects, began_h * HOUR_US, until_h * HOUR_US)],
        schema={
            "incident_id": pl.String,
            "objects": pl.List(pl.UInt64),
            "began_us": pl.Int64,
            "until_us": pl.Int64,
        },
        orient="row",
    )


def test_who_used_a_cell_of_it_lately_is_hit_once() -> None:
    """Before it began or while it lasts, on any of its cells, by each incident."""
    both = pl.concat(
        [incident("a", [ONE, TWO], 24, 27), incident("b", [TWO], 24, 27), incident("c", [], 0, 99)]
    )
    found = hit(both, VISITS, 6 * HOUR_US)
    assert list(found.iter_rows()) == [("a", 12), ("a", 13), ("b", 12), ("b", 13)]


def test_nobody_is_hit_where_nobody_was() -> None:
    """No visits, no incidents: nobody, in the right columns."""
    assert len(hit(incident("a", [ONE], 24, 27), VISITS[:0], HOUR_US)) == 0
    found = hit(incident("a", [], 0, 1)[:0], VISITS, HOUR_US)
    assert (len(found), found.columns) == (0, ["incident_id", "subscriber"])
