"""What readers of formats hand on: measurements, events and rejects, each with the number of the record it stands in.

Readers know formats; this module makes of their rows what the streams promise: identities, words of names, buckets,
times that are judged in one place, and the first reason in the written order for what is set aside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.identity import finish_payload, fold_texts, fold_words, identities, mix, name_words
from trunkline.kernel.outcomes import precedence
from trunkline.kernel.texts import of_series
from trunkline.network.telemetry.lines import NEVER_RECEIVED, Places
from trunkline.network.telemetry.mapping import Column
from trunkline.network.telemetry.numbers import ABSENT, TOO_LARGE, WRONG, thousandths
from trunkline.records.network import BUCKET_SHIFT, EVENTS, MEASURED, REASONS, REJECTED, Severity

Words = npt.NDArray[np.uint64]

RANKS = precedence(REASONS)
EARLIEST_US = 0  # 1970: a missing time often reads so
LATEST_US = 4_102_444_800_000_000  # 2100
NO_MEASURED, NO_EVENTS, NO_REJECTS = (
    MEASURED.record.empty(), EVENTS.record.empty(), REJECTED.record.empty(),
)  # fmt: skip

MEASURED_PART = pl.Schema({
    "record": pl.UInt32, "name": pl.String, "technology": pl.String, "slice": pl.UInt32, "five_qi": pl.UInt8,
    "counter": pl.String, "kind": pl.UInt8, "begin_us": pl.Int64, "end_us": pl.Int64, "value_milli": pl.Int64,
    "object": pl.UInt64, "counter_word": pl.UInt64,
})  # fmt: skip
EVENT_PART = pl.Schema({
    "record": pl.UInt32, "record_id": pl.String, "name": pl.String, "time_us": pl.Int64, "event_type": pl.String,
    "severity": pl.UInt8, "probable_cause": pl.String, "specific_problem": pl.String, "text": pl.String,
    "subscriber": pl.UInt64, "security": pl.UInt8, "alarm": pl.Boolean,
})  # fmt: skip
REJECT_PART = pl.Schema({"record": pl.UInt32, "reason": pl.String, "detail": pl.String})


@dataclass
class Readings:
    """What the records of a run hold, row by row or in whole frames."""

    measured: list[pl.DataFrame] = field(default_factory=list)
    events: list[pl.DataFrame] = field(default_factory=list)
    measured_rows: list[tuple[Any, ...]] = field(default_factory=list)
    event_rows: list[tuple[Any, ...]] = field(default_factory=list)
    rejected: list[pl.DataFrame] = field(default_factory=list)
    rejects: list[tuple[int, str, str]] = field(default_factory=list)

    def value(
        self, record: int, where: tuple[str, str, int, int], counter: tuple[str, int], period: tuple[int, int],
        value: str, factor: tuple[int, int] = (1, 1), span: tuple[int | None, int | None] = (None, None),
    ) -> None:  # fmt: skip
        """One value as text; `where` is name, technology, slice, 5QI; `counter` its name and kind."""
        self.measured_rows.append((record, *where, *counter, *period, value, *factor, *span))

    def event(
        self, record: int, record_id: str, name: str, time_us: int, severity: int, *,
        event_type: str = "communicationsAlarm", cause: str = "", problem: str = "", text: str = "",
        subscriber: int = 0, security: int = 0, alarm: bool = True,
    ) -> None:  # fmt: skip
        """One event; `alarm` says whether it may raise, change or clear one."""
        self.event_rows.append(
            (
                record,
                record_id,
                name,
                time_us,
                event_type,
                severity,
                cause,
                problem,
                text,
                subscriber,
                security,
                alarm,
            )
        )

    def reject(self, record: int, reason: str, detail: str) -> None:
        """Set a record, or one value of it, aside."""
        assert reason in RANKS, reason
        self.rejects.append((record, reason, detail))

    def reject_all(self, records: npt.NDArray[np.integer[Any]], reason: str, detail: str) -> None:
        """Set many aside for one reason."""
        assert reason in RANKS, reason
        rows = pl.DataFrame({"record": pl.Series(records.astype(np.uint32))})
        self.rejected.append(rows.with_columns(reason=pl.lit(reason), detail=pl.lit(detail)))


def finished(
    readings: Readings, places: Places, ahead_us: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The readings as rows of MEASURED, EVENTS and REJECTED; every row of the parts comes out in one of them."""
    _row_values(readings)
    sources = _Sources(places)
    measured = _stacked(readings.measured, MEASURED_PART)
    events = _stacked([*readings.events, _frame(readings.event_rows, EVENT_PART)], EVENT_PART)
    measured = _judge(measured, "end_us", readings, places, ahead_us)
    events = _judge(_received_when_ahead(events, places, ahead_us), "time_us", readings, places, ahead_us)
    rejected = _stacked([*readings.rejected, _frame(readings.rejects, REJECT_PART)], REJECT_PART)
    out = (
        _whole_measured(measured, sources) if len(measured) else NO_MEASURED,
        _whole_events(events, sources) if len(events) else NO_EVENTS,
        REJECTED.record.conform(sources.placed(rejected)) if len(rejected) else NO_REJECTS,
    )
    assert sum(len(rows) for rows in out) == len(measured) + len(events) + len(rejected), "all accounted for"
    return out


class _Sources:
    """Places as columns, and the identity seeds of sources, of which there are few."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.source = pl.Series("source", places.source, dtype=pl.String)

    def words_at(self, rows: pl.DataFrame) -> Words:
        """The word of the source of each row's record."""
        return name_words(self.source)[rows.get_column("record").to_numpy()]

    def placed(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with the place of their record."""
        at = rows.get_column("record").to_numpy()
        one = len(set(self.places.source)) == 1
        return rows.with_columns(
            file=pl.Series(self.places.file[at]),
            line=pl.Series(self.places.line[at]),
            offset=pl.Series(self.places.offset[at]),
            length=pl.Series(self.places.length[at]),
            source=pl.lit(self.places.source[0]) if one else self.source.gather(rows.get_column("record")),
        )


def _stacked(frames: list[pl.DataFrame], schema: pl.Schema) -> pl.DataFrame:
    whole = [frame for frame in frames if len(frame)]
    if not whole:
        return pl.DataFrame(schema=schema)
    return whole[0] if len(whole) == 1 else pl.concat(whole)


def _frame(rows: list[tuple[Any, ...]], schema: pl.Schema) -> pl.DataFrame:
    if not rows:
        return pl.DataFrame(schema=schema)
    columns = zip(schema.items(), zip(*rows, strict=True), strict=True)
    return pl.DataFrame([pl.Series(name, values, dtype) for (name, dtype), values in columns])


_CONVERTED = {"value_milli", "object", "counter_word"}  # what a row's words become
_ROW = pl.Schema({name: kind for name, kind in MEASURED_PART.items() if name not in _CONVERTED} | {
    "value": pl.String(), "numerator": pl.Int64(), "denominator": pl.Int64(), "low": pl.Int64(), "high": pl.Int64(),
})  # fmt: skip


def _row_values(readings: Readings) -> None:
    """Values that came one by one, converted all at once."""
    if not readings.measured_rows:
        return
    frame = _frame(readings.measured_rows, _ROW)
    values, statuses = thousandths(
        frame.get_column("value"),
        frame.get_column("numerator").to_numpy(),
        frame.get_column("denominator").to_numpy(),
    )
    good = judged_values(
        readings, frame.get_column("record").to_numpy(), values, statuses, frame.get_column("kind").to_numpy(),
        lambda at: frame.get_column("counter")[at],
        np.asarray(frame.get_column("low").fill_null(-(2**63)).to_numpy()),
        np.asarray(frame.get_column("high").fill_null(2**63 - 1).to_numpy()),
    )  # fmt: skip
    frame = frame.with_columns(
        value_milli=pl.Series(values),
        object=pl.Series(name_words(frame.get_column("name"))),
        counter_word=pl.Series(name_words(frame.get_column("counter"))),
    ).select(MEASURED_PART.names())
    readings.measured.append(frame if good.all() else frame.filter(pl.Series(good)))
    readings.measured_rows.clear()


def judged_values(
    readings: Readings,
    records: npt.NDArray[Any],
    values: npt.NDArray[np.int64],
    statuses: npt.NDArray[np.uint8],
    kinds: npt.NDArray[Any],
    counter_at: Callable[[int], str],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Which values are good; the others are set aside with what is wrong. Only a gauge may be below zero."""
    bad = (statuses != 0) | (values < low) | (values > high) | ((values < 0) & (kinds != 3))
    for at in np.flatnonzero(bad).tolist():
        status = statuses[at]
        wrong = {ABSENT: "no value", WRONG: "not a number", TOO_LARGE: "too large for 64 bits"}.get(
            int(status)
        )
        if wrong is None:
            wrong = "outside its range" if not low[at] <= values[at] <= high[at] else "a count below zero"
        readings.reject(int(records[at]), "bad_value", f"{counter_at(at)}: {wrong}")
    return np.asarray(~bad)


def _received_when_ahead(events: pl.DataFrame, places: Places, ahead_us: int) -> pl.DataFrame:
    """An event cannot have happened after it was received: a clock that runs ahead is replaced by ours."""
    if not len(events):
        return events
    received = places.received_us[events.get_column("record").to_numpy()]
    times = events.get_column("time_us").to_numpy()
    skewed = (times > received + ahead_us) & (times <= LATEST_US)
    if not skewed.any():
        return events
    return events.with_columns(time_us=pl.Series(np.where(skewed, received, times)))


def _judge(
    rows: pl.DataFrame, column: str, readings: Readings, places: Places, ahead_us: int
) -> pl.DataFrame:
    """Rows whose time is possible; the others are set aside."""
    if not len(rows):
        return rows
    times, records = rows.get_column(column).to_numpy(), rows.get_column("record").to_numpy()
    impossible = (times <= EARLIEST_US) | (times > LATEST_US)
    if column == "end_us":
        impossible |= rows.get_column("begin_us").to_numpy() > times
    received = places.received_us[records] if (places.received_us != NEVER_RECEIVED).any() else None
    ahead = np.zeros(len(rows), np.bool_) if received is None else times - ahead_us > received
    ahead &= ~impossible
    if impossible.any():
        readings.reject_all(records[impossible], "bad_time", f"{column} is missing or impossible")
    if ahead.any():
        readings.reject_all(records[ahead], "in_the_future", "the sender's clock is ahead of ours")
    bad = impossible | ahead
    return rows.filter(pl.Series(~bad)) if bad.any() else rows


def _whole_measured(rows: pl.DataFrame, sources: _Sources) -> pl.DataFrame:
    """Rows of MEASURED: the identity is source, object, counter, slice, 5QI and the period's end."""
    placed = sources.placed(rows)
    objects = rows.get_column("object").to_numpy()
    identity, check, payload = (np.empty(len(rows), np.uint64) for _ in range(3))
    counter, word, five_qi, begin, end, value = (
        rows.get_column(name).to_numpy()
        for name in ("counter_word", "slice", "five_qi", "begin_us", "end_us", "value_milli")
    )
    origins = sources.words_at(rows)
    measured_identity(origins, objects, counter, word, five_qi, begin, end, value, identity, check, payload)
    return MEASURED.record.conform(
        placed.with_columns(
            identity=pl.Series(identity), check=pl.Series(check), payload=pl.Series(payload),
            bucket=pl.Series(objects >> np.uint64(BUCKET_SHIFT)),
        )
    )  # fmt: skip


@nb.njit(nogil=True, cache=True)
def measured_identity(
    origins: Words, objects: Words, counters: Words, slices: npt.NDArray[np.uint32], five_qis: npt.NDArray[np.uint8],
    begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], values: npt.NDArray[np.int64],
    identity: Words, check: Words, payload: Words,
) -> None:  # fmt: skip
    """Both halves of who each measurement is, and the digest of what it says."""
    for i in range(len(objects)):
        flow = (np.uint64(slices[i]) << np.uint64(8)) | np.uint64(five_qis[i])
        word = mix(objects[i] ^ mix(counters[i] + flow * np.uint64(0x9E3779B97F4A7C15)))
        word = mix(word ^ np.uint64(ends[i]))
        identity[i] = mix(word ^ origins[i])
        check[i] = mix(word + (origins[i] ^ np.uint64(0x7472756E6B6C696E)))
        payload[i] = mix(np.uint64(values[i]) ^ mix(np.uint64(begins[i])))


def _whole_events(rows: pl.DataFrame, sources: _Sources) -> pl.DataFrame:
    """Rows of EVENTS: the identity is source and record id; the alarm's key is object, type, cause and problem."""
    placed = sources.placed(rows)
    source = placed.get_column("source")
    identity, check = identities(source, rows.get_column("record_id"))
    objects = name_words(rows.get_column("name"))
    payload = np.zeros(len(rows), np.uint64)
    for number, name in enumerate(("time_us", "severity", "subscriber", "security")):
        fold_words(payload, number, rows.get_column(name).to_numpy())
    texts = ("name", "event_type", "probable_cause", "specific_problem", "text")
    for number, name in enumerate(texts, start=100):
        fold_texts(payload, number, of_series(rows.get_column(name)))
    finish_payload(payload)
    keys = name_words(
        rows.select(pl.concat_str(texts[:4], separator="\x1f", ignore_nulls=True)).to_series()
    )  # fmt: skip
    return EVENTS.record.conform(
        placed.with_columns(
            identity=pl.Series(identity), check=pl.Series(check), payload=pl.Series(payload), object=pl.Series(objects),
            alarm_key=pl.Series(np.where(rows.get_column("alarm").to_numpy(), keys, np.uint64(0))),
        )
    )  # fmt: skip


# -- columns that mappings fill -------------------------------------------------------------------------------


def filled(column: Column, field_of: Callable[[str], str | None]) -> str:
    """One column of one record, by the mapping's words; empty when nothing fills it."""
    if column.single:
        return field_of(column.single) or column.default or ""
    if column.constant is not None:
        return column.constant
    for way in column.ways:
        pieces = [(field_of(text) or "") if is_field else text for text, is_field in way]
        if all(pieces):
            value = "".join(pieces)
            if column.values:
                return column.values.get(value, value if column.default is None else column.default)
            return value
    return column.default or ""


def slice_word(text: str) -> int | None:
    """S-NSSAI as in usage: SST in the top 8 bits, SD in the low 24 (TS 23.003 28.4.2); None when it is none.

    Written as SST or SST-SD with SD in six hexadecimal digits; an SD that is absent is 0xFFFFFF there and 0 here.
    """
    if not text:
        return 0
    sst, _, sd = text.replace("_", "-").replace(".", "-").partition("-")
    if not (sst.isascii() and sst.isdigit() and int(sst) <= 255):
        return None
    if not sd:
        return int(sst) << 24
    try:
        differentiator = int(sd, 16)
    except ValueError:
        return None
    if len(sd) > 6:
        return None
    return int(sst) << 24 | (0 if differentiator == 0xFFFFFF else differentiator)


def number_up_to(text: str, highest: int) -> int | None:
    """A whole number from 0 to `highest`; 0 for an empty text, None when it is none."""
    if not text:
        return 0
    return (
        int(text) if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= highest else None
    )


SEVERITY_WORDS = {
    "critical": 1, "fatal": 1, "emergency": 1, "major": 2, "error": 2, "minor": 3, "warning": 4, "warn": 4,
    "indeterminate": 5, "info": 5, "cleared": 6, "clear": 6, "normal": 6, "ok": 6,
} | {str(int(severity)): int(severity) for severity in Severity}  # fmt: skip


def severity_of(word: str) -> int | None:
    """A severity by its name in X.733 or what senders call it; None when it is unknown."""
    return SEVERITY_WORDS.get(word.strip().lower())
