"""What travels between the steps that add up: parts of the KPIs of areas and slices, changes of tiles, error budgets.

Cells are spread over many buckets, and an area's cells over all of them. So each batch first adds up what it has for an
area, and only these few sums travel to where the area's own bucket is kept; the same holds for the tiles of the map.
"""

from __future__ import annotations

import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.flow import Stream, Table
from trunkline.records.network import BUCKET, OBJECT, PERIOD, TEXT, TIME

_SUMS = (
    Column("numerator_milli", pl.Int64, "What they add to the numerator.", "thousandths"),
    Column("denominator_milli", pl.Int64, "What they add to the denominator.", "thousandths"),
)

_PART = Record(
    "Part",
    "What some cells add to one KPI of one area, technology, slice or the whole network in one window.",
    (
        OBJECT[0],
        Column("slice", pl.UInt32, "S-NSSAI; 0 for all."),
        Column("kpi", pl.String, "The KPI's name."),
        *PERIOD,
        *_SUMS,
        Column(
            "missing", pl.Int32, "Bins that never came, in windows that have a value without them.", "bins"
        ),
        Column("cells", pl.Int32, "Cells that it was added up from.", "cells"),
        BUCKET,
    ),
    ("object", "slice", "kpi", "end_us"),
    days_kept=1,
)

PARTS = Stream("network.parts", _PART, key="bucket", text="What the cells of a batch add to larger things.")

LATE_PARTS = Stream(
    "network.late_parts",
    _PART,
    key="bucket",
    text="Parts of windows that were closed for good: in the KPIs of their cells, but not in those of larger things.",
)

_TILE_CHANGE = Record(
    "Tile change",
    "By how much the cells of a batch change the sums of one metric in one tile.",
    (
        Column("layer", pl.String, "`h3:<resolution>` or `area`."),
        Column("tile", pl.UInt64, "H3 index, or digest of the area's name."),
        Column("metric", pl.String, "A KPI's name, or `severity`."),
        TIME,
        Column("numerator", pl.Int64, "Change of the sum of numerators, or of packed counts of alarms."),
        Column("denominator", pl.Int64, "Change of the sum of denominators, or of packed counts of alarms."),
        Column("cells", pl.Int32, "Change of the number of cells or objects.", "cells"),
        BUCKET,
    ),
    ("layer", "tile", "metric", "time_us"),
    days_kept=1,
)

TILE_CHANGES = Stream(
    "network.tile_changes",
    _TILE_CHANGE,
    key="bucket",
    text="Differences that KPIs make, on their way to the tiles of the map.",
)

TILE_ALARMS = Stream(
    "network.tile_alarms",
    _TILE_CHANGE,
    key="bucket",
    text="Differences that alarms make, on their way to the tiles of the map.",
)

BUDGETS = Stream(
    "network.budgets",
    Record(
        "Error budget",
        "How an agreement stands after a window: what of its budget is left, and how fast it burns.",
        (
            *OBJECT,
            Column("enterprise", pl.String, "Whom the service is promised to."),
            Column("slice", pl.UInt32, "S-NSSAI it is promised on; 0 for none."),
            Column("kpi", pl.String, "The KPI that is promised."),
            TIME,
            Column("good_milli", pl.Int64, "What was as promised in the budget's period.", "thousandths"),
            Column("bad_milli", pl.Int64, "What was not.", "thousandths"),
            Column(
                "left_milli",
                pl.Int64,
                "What is left of the budget; below 0 when it is overspent.",
                "thousandths",
            ),
            Column(
                "fast_milli", pl.Int64, "Burn rate of the last hour: 1000 spends the budget in its period."
            ),
            Column("slow_milli", pl.Int64, "Burn rate of the last six hours."),
            Column("severity", pl.UInt8, "`Severity` of how it burns; 6 (cleared) while all is well."),
            TEXT,
            BUCKET,
        ),
        ("object", "time_us"),
        days_kept=400,
    ),
    key="bucket",
    text="Agreements with enterprises, and how they stand.",
)

AGREEMENTS = Table(
    "network.agreements", "What service is promised to whom: a KPI, a mark, a share and a period."
)
