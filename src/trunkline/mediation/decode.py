"""Decoding and validating: blocks of bytes become rows of usage, or are set aside with one reason.

Every record of a block comes out somewhere, with its place in its file. The mapping says where things lie and
how they are written; this module works through its columns, and notes for each record the first reason in
the written order why it cannot be charged.
"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.flow import Outcome
from trunkline.kernel.identity import (
    finish_payload,
    fold_names,
    fold_texts,
    fold_words,
    identities,
    session_keys,
)
from trunkline.kernel.members import NOBODY, Members
from trunkline.kernel.texts import Texts, categories, to_categories, to_series
from trunkline.mediation import convert
from trunkline.mediation.columns import Columns, Marks, Named
from trunkline.mediation.mapping import Mapping
from trunkline.mediation.records import Records, find_records
from trunkline.records.usage import DAYS_REMEMBERED, DECODED, REJECTED, Action, Kind, Report


def _native(dtype: pl.DataType) -> type[np.generic] | None:
    """The numpy type of a column of whole numbers."""
    return getattr(np, str(dtype).lower(), None) if dtype.is_integer() else None


SCHEMA = DECODED.record.schema
NO_USAGE, NO_REJECTS = DECODED.record.empty(), REJECTED.record.empty()
NOTHING = pl.Series([None], dtype=pl.String)  # of one row: it stands for a column in which nothing is said
NATIVE = {name: _native(dtype) for name, dtype in SCHEMA.items()}
WORKED_OUT = {  # what a template may name, and where it is found
    "kind": "kind", "report": "report", "direction": "direction", "start": "start_us", "duration": "duration_ms",
    "session_start": "session_start_us", "octets_up": "octets_up", "octets_down": "octets_down",
    "events": "events", "part": "part", "amount": "amount_micros", "visited_plmn": "visited_plmn", "slice": "slice",
    "five_qi": "five_qi",
}  # fmt: skip
DAY_US = 86_400_000_000
MOST_PARTS = 65_535
EARLIEST_US = 0  # 1970: no record of any use is older, and a missing date often reads so

Bools = npt.NDArray[np.bool_]


def decode(blocks: pl.DataFrame, mappings: Dict[str, Mapping], members: Members = NOBODY) -> Outcome:
    """Read blocks (`RAW`) by their mappings into `DECODED` and `REJECTED`, in the order of arrival.

    What a member of a shared account used comes out under the account's owner, who is the key from here on.
    """
    decoded, rejected = [NO_USAGE], [NO_REJECTS]
    for mapping, part in _runs(blocks, mappings):
        records = find_records(part, mapping)
        if records.count:
            good, bad = _decode_records(records, mapping)
            assert len(good) + len(bad) == records.count, "every record comes out somewhere"
            decoded.append(good)
            rejected.append(bad)
    return Outcome((_placed(_stacked(decoded), members), _stacked(rejected)))


def _placed(frame: pl.DataFrame, members: Members) -> pl.DataFrame:
    """Usage under the account that it is taken from."""
    if not len(members) or not len(frame):
        return frame
    subscriber, member = members.place(frame["subscriber"].to_numpy())
    return frame.with_columns(subscriber=pl.Series(subscriber), member=pl.Series(member))


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One frame of several; the first is empty and only there for its schema."""
    return frames[1] if len(frames) == 2 else pl.concat(frames)


def _runs(blocks: pl.DataFrame, mappings: Dict[str, Mapping]) -> list[tuple[Mapping, pl.DataFrame]]:
    """Neighbouring blocks of one mapping together, so that many small ones cost no more than a large one."""
    names = blocks["mapping"].to_list()
    runs = []
    begin = 0
    for at in range(1, len(names) + 1):
        alone = at < len(names) and mappings[names[at]].format.header
        if at == len(names) or names[at] != names[begin] or alone:
            runs.append((mappings[names[begin]], blocks[begin:at]))
            begin = at
    return runs


def _decode_records(records: Records, mapping: Mapping) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Convert and judge all records of a run."""
    marks = Marks(records.count)
    columns = Columns(records, mapping, marks)
    _judge_form(records, mapping, columns, marks)
    whole = _whole_numbers(records, columns, marks)
    columns.worked_out = {short: whole[name] for short, name in WORKED_OUT.items()}

    record_id, source = columns.texts("record_id"), columns.sources()
    marks.note(record_id.lengths <= 0, "missing_id", "record_id")
    identity, check = identities(source, record_id)
    outside = whole["report"] == Report.NONE
    session = columns.texts("session")
    marks.note(~outside & (session.lengths <= 0), "missing_id", "session")
    session = Texts(session.data, session.starts, np.where(outside, 0, session.lengths).astype(np.int32))
    texts: dict[str, Texts | Named] = {
        "currency": columns.names("currency"), "cell": columns.names("cell"),
        "service": columns.names("service"), "session": session, "cause": columns.names("cause"),
    }  # fmt: skip
    plain = whole["action"] == Action.NONE
    if not plain.all():
        of = columns.texts("of")
        marks.note(~plain & (of.lengths <= 0), "missing_original", "of")
        texts["of"] = Texts(of.data, of.starts, np.where(plain, 0, of.lengths).astype(np.int32))

    session_start_us = _where(whole["session_start_us"], outside)
    whole["session_start_us"] = np.where(outside, 0, whole["session_start_us"])
    values = {
        "file": records.file, "line": records.line, "offset": records.offset, "length": records.length,
        "source": source, "record_id": record_id, "identity": identity, "check": check,
        "payload": _payload(records.count, whole, texts), "of": NOTHING, **whole, **texts,
        "session_start_us": session_start_us,
        "session_key": columns.nothing if outside.all() else session_keys(source, session),
        "member": np.zeros(records.count, np.uint16),
    }  # fmt: skip
    frame = _frame(values, records.count)
    if not marks.any():
        return frame, NO_REJECTS
    return frame.filter(marks.good()), marks.rejected(frame, records.notes)


def _whole_numbers(records: Records, columns: Columns, marks: Marks) -> dict[str, npt.NDArray[Any]]:
    """All columns that are whole numbers, judged; outside sessions the session's beginning means nothing."""
    kind, report = columns.words("kind", "unknown_kind"), columns.words("report", "unknown_kind")
    part = columns.quantity("part", highest=MOST_PARTS)[0]
    if part.any():  # a numbered record of which nobody says that more will follow is the last of its call
        report = np.where((report == Report.NONE) & (part > 0), Report.LAST, report)
    marks.note((report >= Report.PARTIAL) & (part == 0), "bad_quantity", "part")
    direction, action = columns.words("direction", "unknown_kind"), columns.words("action", "unknown_kind")
    marks.note(kind == 0, "unknown_kind", "kind")
    subscriber, has_subscriber = columns.number("subscriber")
    marks.note(~has_subscriber, "missing_subscriber", "subscriber")

    duration_ms, has_duration = columns.quantity("duration")
    start_us, has_start = columns.time("start")
    session_start_us, has_session_start = columns.time("session_start")
    _judge_times(records, marks, start_us, has_start)
    session_start_us = _session_starts(
        marks, report, start_us, session_start_us, has_session_start, duration_ms, has_duration
    )

    up, has_up = columns.quantity("octets_up")
    down, has_down = columns.quantity("octets_down")
    events, has_events = columns.quantity("events")
    amount, has_amount = columns.quantity("amount", "bad_amount")
    takes_back = action == Action.CANCEL  # it says which use it was, and need not say how much
    marks.note((kind == Kind.CONTENT) & ~has_amount & ~takes_back, "bad_amount", "amount")
    counted = (report != Report.START) & ~takes_back
    return {
        "kind": kind, "direction": direction, "report": report, "subscriber": subscriber,
        "calling": columns.number("calling")[0], "called": columns.number("called")[0], "start_us": start_us,
        "duration_ms": duration_ms, "octets_up": up, "octets_down": down,
        "events": _judge_quantities(marks, kind, counted, has_duration, has_up | has_down, events, has_events),
        "amount_micros": amount, "visited_plmn": columns.plmn(), "slice": columns.slices(),
        "five_qi": columns.quantity("five_qi", highest=255)[0], "session_start_us": session_start_us,
        "action": action, "part": np.where(report >= Report.PARTIAL, part, 0) if part.any() else part,
    }  # fmt: skip


def _frame(columns: Dict[str, object], count: int) -> pl.DataFrame:
    """Usage as a frame: texts handed over as they lie, numbers in the width that the record promises."""
    series = []
    for name, dtype in SCHEMA.items():
        values = columns[name]
        if isinstance(values, Named):
            series.append(categories(name, *values))
        elif isinstance(values, Texts):
            handed_over = to_categories if dtype == pl.Categorical else to_series
            series.append(handed_over(name, values))
        elif isinstance(values, str):
            series.append(pl.Series(name, [values], dtype=dtype).new_from_index(0, count))
        elif values is NOTHING:
            series.append(NOTHING.alias(name).new_from_index(0, count))
        elif isinstance(values, pl.Series):
            series.append(values.alias(name))
        else:
            assert isinstance(values, np.ndarray), name
            series.append(pl.Series(name, values.astype(NATIVE[name], copy=False)))
    return pl.DataFrame(series)


def _where(values: convert.Longs, absent: Bools) -> pl.Series:
    """A column that is null where it has no meaning."""
    if absent.all():
        return pl.Series([None], dtype=pl.Int64).new_from_index(0, len(values))
    series = pl.Series(values)
    return series.set(pl.Series(absent), None) if absent.any() else series


def _judge_form(records: Records, mapping: Mapping, columns: Columns, marks: Marks) -> None:
    """Whether the bytes are a record at all, and one of usage."""
    marks.note(records.unreadable, "unreadable", "record")
    for field in mapping.required:
        marks.note((records.lengths[field] < 0) & ~records.no_mark, "unreadable", "record")
    marks.note(records.no_mark, "not_usage", "record")
    for condition in mapping.not_usage:
        marks.note(columns.holds(condition), "not_usage", "record")


def _judge_times(records: Records, marks: Marks, start_us: convert.Longs, has_start: Bools) -> None:
    """A record begins at some time, which is not too far off on either side."""
    marks.note(~has_start | (start_us < EARLIEST_US), "bad_time", "start")
    if records.received_us is not None:
        marks.note(start_us > records.received_us + DAY_US, "in_the_future", "start")
    if records.newest_us is not None:
        marks.note(start_us < records.newest_us - DAYS_REMEMBERED * DAY_US, "too_old", "start")


def _session_starts(
    marks: Marks,
    report: convert.Longs,
    start_us: convert.Longs,
    session_start_us: convert.Longs,
    has_session_start: Bools,
    duration_ms: convert.Longs,
    has_duration: Bools,
) -> convert.Longs:
    """When each session began: as written, or the time of its start report, or report time less duration."""
    in_session = report != Report.NONE
    if not in_session.any():
        return session_start_us
    first = ~has_session_start & ((report == Report.START) | (report >= Report.PARTIAL))
    counted = ~has_session_start & ~first & has_duration
    marks.note(in_session & ~has_session_start & ~first & ~counted, "bad_time", "session_start")
    worked_out = np.where(first, start_us, np.where(counted, start_us - duration_ms * 1000, session_start_us))
    marks.note(in_session & (worked_out < EARLIEST_US), "bad_time", "session_start")
    return worked_out


def _judge_quantities(
    marks: Marks,
    kind: convert.Longs,
    counted: Bools,
    has_duration: Bools,
    has_volume: Bools,
    events: convert.Longs,
    has_events: Bools,
) -> convert.Longs:
    """What is `counted` says how much it was; a session's start need not. Messages count one unless said."""
    marks.note((kind == Kind.VOICE) & ~has_duration & counted, "bad_quantity", "duration")
    marks.note((kind == Kind.DATA) & ~has_volume & counted, "bad_quantity", "octets_up")
    one = (kind == Kind.SMS) | (kind == Kind.IOT) | (kind == Kind.CONTENT)
    return np.where(one & ~has_events, 1, events)


def _payload(
    count: int, whole: dict[str, npt.NDArray[Any]], texts: dict[str, Texts | Named]
) -> npt.NDArray[np.uint64]:
    """Digest of what each record says, without its name and place."""
    payload = np.zeros(count, np.uint64)
    for number, (name, values) in enumerate(whole.items()):
        assert name in SCHEMA, name
        if values.any():
            fold_words(payload, number, values)
    for number, text in enumerate(texts.values(), start=100):
        if isinstance(text, Named):
            if len(text.firsts) > 1:
                fold_names(payload, number, *text)
        elif (text.lengths > 0).any():
            fold_texts(payload, number, text)
    finish_payload(payload)
    return payload
