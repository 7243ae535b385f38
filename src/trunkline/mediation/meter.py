"""Metering: how many units each record adds.

A call, a message and an event say it themselves, and so does a part of a call (a partial record). A session reports
counters that only grow: a report adds what its counters exceed the highest that the session has reported before. So a
late interim adds nothing that a later one has told already, and a missing start or stop loses nothing.

A session is its name at its gateway and the time when it began. Gateways count their names from the
beginning again after a restart; the same name with another beginning is another session. Beginnings that
differ by no more than a minute are the same one told by different clocks.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.grouped import Grouped
from trunkline.mediation.deduplicate import fill, place
from trunkline.records.usage import METERED, SESSIONS, Kind, Report

Words = npt.NDArray[np.uint64]
Longs = npt.NDArray[np.int64]
Octets = npt.NDArray[np.uint8]

DAY_US = 86_400_000_000
SAME_START_US = 60_000_000

_VOICE, _DATA = int(Kind.VOICE), int(Kind.DATA)
_STOP = int(Report.STOP)


def meter(batch: pl.DataFrame, sessions: Grouped) -> Outcome:
    """Add `units` to each record; the state returned holds the sessions that a report touched."""
    units = batch.select(
        pl.when(pl.col("kind") == Kind.VOICE)
        .then("duration_ms")
        .when(pl.col("kind") == Kind.DATA)
        .then(pl.col("octets_up") + pl.col("octets_down"))
        .otherwise("events")
        .alias("units")
    )["units"]
    keys = batch["session_key"].to_numpy()
    reports = np.flatnonzero(keys)
    if len(reports):  # a partial record tells its own part and no counter
        reports = reports[batch["report"].to_numpy()[reports] < Report.PARTIAL]
    if len(reports) == 0:
        return Outcome((METERED.record.conform(batch.with_columns(units)),), Grouped.empty(SESSIONS.dtype))
    added, start_us, state = _meter_reports(batch[reports] if len(reports) < len(batch) else batch, sessions)
    all_units, all_starts = units.to_numpy(writable=True), batch["start_us"].to_numpy(writable=True)
    all_units[reports] = added
    all_starts[reports] = start_us
    metered = batch.with_columns(pl.Series("units", all_units), pl.Series("start_us", all_starts))
    return Outcome((METERED.record.conform(metered),), state)


def _meter_reports(batch: pl.DataFrame, sessions: Grouped) -> tuple[Longs, Longs, Grouped]:
    """Units and beginning of the stretch of each report, in order of arrival, and the sessions touched."""
    keys = batch["session_key"].to_numpy()
    wanted = np.unique(keys)
    units, starts = np.empty(len(batch), np.int64), np.empty(len(batch), np.int64)
    old = sessions.rows
    columns = {
        name: np.concatenate([old[name], np.zeros(len(batch), old.dtype[name])])
        for name in old.dtype.names or ()
    }
    head, following = np.full(len(wanted), -1, np.int64), np.full(len(old) + len(batch), -1, np.int64)
    _chain(sessions.keys, sessions.offsets, wanted, head, following)
    used = _add_up(
        keys, wanted, batch["kind"].to_numpy(), batch["report"].to_numpy(),
        batch["start_us"].to_numpy(), batch["session_start_us"].to_numpy(), batch["duration_ms"].to_numpy(),
        batch["octets_up"].to_numpy(), batch["octets_down"].to_numpy(), batch["events"].to_numpy(),
        columns["start_us"], columns["last_us"], columns["octets_up"], columns["octets_down"],
        columns["duration_ms"], columns["stopped"], head, following, len(old), units, starts,
    )  # fmt: skip
    columns["day"][:] = columns["last_us"] // DAY_US
    offsets, take = np.zeros(len(wanted) + 1, np.int64), np.empty(used, np.int64)
    total = _walk(head, following, offsets, take)
    rows = np.empty(total, SESSIONS.dtype)
    for name, values in columns.items():
        rows[name] = values[take[:total]]
    return units, starts, Grouped(wanted, offsets, rows)


@nb.njit(nogil=True, cache=True)
def _chain(keys: Words, offsets: Longs, wanted: Words, head: Longs, following: Longs) -> None:
    """Link the rows of each wanted key; both lists of keys ascend."""
    at = 0
    for key in range(len(keys)):
        while at < len(wanted) and wanted[at] < keys[key]:
            at += 1
        if at == len(wanted):
            return
        if wanted[at] != keys[key] or offsets[key] == offsets[key + 1]:
            continue
        head[at] = offsets[key]
        for row in range(offsets[key], offsets[key + 1] - 1):
            following[row] = row + 1


@nb.njit(nogil=True, cache=True)
def _add_up(
    keys: Words,
    wanted: Words,
    kind: Octets,
    report: Octets,
    time_us: Longs,
    session_start_us: Longs,
    duration_ms: Longs,
    octets_up: Longs,
    octets_down: Longs,
    events: Longs,
    row_start_us: Longs,
    row_last_us: Longs,
    row_up: Longs,
    row_down: Longs,
    row_duration_ms: Longs,
    row_stopped: Octets,
    head: Longs,
    following: Longs,
    used: int,
    units: Longs,
    starts: Longs,
) -> int:
    """The loop over reports in order of arrival; returns how many session rows there are now."""
    room = 16
    while room < 2 * len(wanted):
        room *= 2
    slots = np.full(room, -1, np.int32)
    fill(wanted, slots)
    for i in range(len(keys)):
        key = place(keys[i], wanted, slots)
        last, row = -1, head[key]
        while row >= 0 and abs(row_start_us[row] - session_start_us[i]) > SAME_START_US:
            last, row = row, following[row]
        if row < 0:
            row = used
            used += 1
            if last < 0:
                head[key] = row
            else:
                following[last] = row
            row_start_us[row] = session_start_us[i]
            row_last_us[row] = session_start_us[i]
        up = max(octets_up[i] - row_up[row], 0)
        down = max(octets_down[i] - row_down[row], 0)
        longer_ms = max(duration_ms[i] - row_duration_ms[row], 0)
        row_up[row] += up
        row_down[row] += down
        row_duration_ms[row] += longer_ms
        if kind[i] == _VOICE:
            units[i] = longer_ms
        elif kind[i] == _DATA:
            units[i] = up + down
        else:
            units[i] = events[i]
        starts[i] = min(row_last_us[row], time_us[i])
        row_last_us[row] = max(row_last_us[row], time_us[i])
        if report[i] == _STOP:
            row_stopped[row] = 1
    return used


@nb.njit(nogil=True, cache=True)
def _walk(head: Longs, following: Longs, offsets: Longs, take: Longs) -> int:
    """The rows of each key behind each other."""
    at = 0
    for key in range(len(head)):
        row = head[key]
        while row >= 0:
            take[at] = row
            at += 1
            row = following[row]
        offsets[key + 1] = at
    return at
