"""What a call is remembered to be once one of its parts is taken back: as though that part had never come.

The part gives back what it was charged. The other parts stay charged as they were, and the call is under way again with
their length, their sums and their numbers, so that the next part to come, the one in its place most of all, is charged
what the call then comes to. A call that was over is put together again out of its parts' history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from trunkline.charging.calls import APART_US, MOST_OPEN, place_at
from trunkline.charging.corrections import GONE_S, is_reversal
from trunkline.charging.rate import nodes_again, zone_of
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.charging.under_way import (
    BITS,
    CAME,
    CHARGED,
    COVERED,
    END,
    FACTS,
    LAST,
    LIST,
    PLACE,
    PLACED,
    START,
    UNITS,
    UNPLACED_US,
)
from trunkline.charging.vector import vectors
from trunkline.kernel.grouped import Grouped, Rows
from trunkline.kernel.identity import session_keys
from trunkline.records.charging import CORRECTION_CHANGE, RowKind
from trunkline.records.usage import Kind, Report

Part = Mapping[str, Any]  # a row of CHARGED
Changes = dict[int, list[dict[str, Any]]]  # by the record's `seq`, each a `CORRECTION_CHANGE`

SAME_CALL = ("source", "session", "subscriber", "member", "kind", "direction")
_SUMS = ("list_micros", "charged_micros", "allowance_units")
_SAID = ("seq", "part", "report", "start_us", "units", "node", "visited_plmn", *_SUMS, *SAME_CALL)
_SIGNED = 2**63


@dataclass(frozen=True)
class Call:
    """A call of which a part is taken back."""

    key: int  # of its reference, as accounts hold it
    what: int  # its kind + 8 * its direction
    number: int  # which call under its reference
    known: dict[
        int, tuple[int, int]
    ]  # facts as the account holds them: value, end; none when the call was over
    until_now: list[Part]  # all that came of it, the part among them, by their beginning
    others: list[Part]
    as_charged: list[Part]  # those of which the call consisted when it was charged last, by their beginning

    @property
    def begun_us(self) -> int:
        """When it began, as far as is known."""
        return self.known[START][0] if self.known else int(self.until_now[0]["start_us"])

    @property
    def charged_us(self) -> int:
        """With which moment it was charged last: one that was taken back since may have said it."""
        return min(self.begun_us, int(self.as_charged[0]["start_us"]))


def is_part() -> pl.Expr:
    """Whether a charged record is a partial record of a call."""
    return pl.col("report") >= int(Report.PARTIAL)


def parts_beside(usage: pl.DataFrame, of: pl.DataFrame) -> pl.DataFrame:
    """Partial records among `usage` that say the same reference as one of the records `of`, these among them."""
    return usage.filter(is_part()).join(of, on=SAME_CALL, how="semi", nulls_equal=True)


def calls_of(
    originals: pl.DataFrame,
    others: pl.DataFrame,
    corrections: pl.DataFrame,
    accounts: Grouped,
    catalogue: Catalogue,
) -> dict[int, Call]:
    """The calls of those originals (`CHARGED`) that are parts of one, by the originals' `seq`.

    `others` are all other parts under the same references, each once and as its corrections (`CORRECTIONS`) made it.
    """
    parts, rest = (
        frame.filter(is_part()).pipe(_with_nodes, catalogue).select(_SAID).to_dicts()
        for frame in (originals, others)
    )
    gone = dict(corrections.filter(is_reversal()).select("corrects_seq", "seq").iter_rows())
    found = {}
    for part in parts:
        same = [part, *(other for other in rest if all(other[name] == part[name] for name in SAME_CALL))]
        told = next(told for told in _told_apart(same, gone) if part in told.parts)
        found[int(part["seq"])] = _as_held(part, told, accounts)
    several = len({(part["subscriber"], call.key) for part, call in zip(parts, found.values(), strict=True)})
    assert several == len(parts), "parts of one call are taken back one after the other"
    return found


@dataclass
class _Told:
    """A call under a reference as its parts came, and went."""

    parts: list[Part]
    as_charged: list[Part] = field(default_factory=list)  # its parts when the last of them came

    @property
    def begun_us(self) -> int:
        return min(int(part["start_us"]) for part in self.parts)

    @property
    def over(self) -> bool:
        """Whether its last part and all before it came."""
        return len(self.parts) == max(
            (part["part"] for part in self.parts if part["report"] == Report.LAST), default=0
        )

    def is_near(self, part: Part) -> bool:
        ended_us = max(_end_us(each) for each in self.parts)
        return self.begun_us - APART_US <= _end_us(part) and int(part["start_us"]) <= ended_us + APART_US


def _told_apart(parts: Sequence[Part], gone: Mapping[int, int]) -> list[_Told]:
    """The calls under one reference, in whose order parts came and, by `gone`, were taken back."""
    moments = [(int(part["seq"]), part, True) for part in parts]
    moments += [(gone[int(part["seq"])], part, False) for part in parts if int(part["seq"]) in gone]
    calls: list[_Told] = []
    for _, part, came in sorted(moments, key=lambda moment: moment[0]):
        if not came:
            for call in calls:
                call.parts = [each for each in call.parts if each is not part]
            calls = [call for call in calls if call.parts]
            continue
        near = [call for call in calls if not call.over and call.is_near(part)]
        call = min(near, key=lambda call: call.begun_us) if near else _Told([])
        if not near:
            calls.append(call)
        call.parts.append(part)
        call.as_charged = list(call.parts)
    return calls


def _as_held(part: Part, told: _Told, accounts: Grouped) -> Call:
    """A call with what its account remembers of it."""
    key = int(session_keys(str(part["source"]), pl.Series([part["session"]]))[0])
    key -= 2 * _SIGNED if key >= _SIGNED else 0
    what, member = int(part["kind"]) + 8 * int(part["direction"]), int(part["member"] or 0)
    rows = accounts.rows_of(int(part["subscriber"]))
    rows = rows[(rows["kind"] == RowKind.CALL) & (rows["granted"] == key) & (rows["member"] == member)]
    numbers = rows["period"][(rows["flags"] == what) & (rows["definition"] == START)].tolist()
    row, bit = divmod(int(part["part"]) - 1, BITS)
    held = {number: facts for number, facts in _by_number(rows).items() if number in numbers}
    mine = [number for number, facts in held.items() if facts.get(FACTS + row, (0, 0))[0] >> bit & 1]
    under_way = (
        [number for number in mine if held[number][START][0] <= told.begun_us] if not told.over else []
    )
    number = max(under_way, key=lambda each: held[each][START][0], default=0)
    following = min(max(rows["period"].tolist(), default=0) + 1, MOST_OPEN)
    until_now = sorted(told.parts, key=_in_order)
    others = [each for each in until_now if each is not part]
    as_charged = sorted(told.as_charged, key=_in_order)
    return Call(key, what, number or following, held.get(number, {}), until_now, others, as_charged)


def _end_us(part: Part) -> int:
    return int(part["start_us"]) + (int(part["units"]) * 1000 if part["kind"] == Kind.VOICE else 0)


def _in_order(part: Part) -> tuple[int, int]:
    return int(part["start_us"]), int(part["seq"])


def _by_number(rows: Rows) -> dict[int, dict[int, tuple[int, int]]]:
    """Facts of calls by the call's number: value and end of each."""
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for row in rows:
        facts = found.setdefault(int(row["period"]), {})
        facts[int(row["definition"])] = int(row["value"]), int(row["valid_until_s"])
    return found


def _with_nodes(usage: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    return usage.with_columns(pl.Series("node", nodes_again(usage, catalogue), dtype=pl.Int32))


def in_place_of(usage: pl.DataFrame, calls: Mapping[int, Call], catalogue: Catalogue) -> pl.DataFrame:
    """Charged usage with its `node`, `of_call`, and for each part of a call the moment and the place of the call.

    A call is charged by the period and the place with which it began, and so its parts go back there.
    """
    rows = []
    for seq, call in calls.items():
        placed = _placing(call.as_charged) or call.as_charged[0]
        rows.append((seq, call.charged_us, placed["node"], placed["visited_plmn"]))
    known = _with_nodes(usage, catalogue)
    schema = {name: known.schema[name] for name in ("seq", "start_us", "node", "visited_plmn")}
    found = pl.DataFrame(rows, schema=schema, orient="row").with_columns(of_call=pl.lit(value=True))
    joined = known.join(found, on="seq", how="left", suffix="_call", maintain_order="left")
    return joined.with_columns(
        *(pl.coalesce(f"{name}_call", name).alias(name) for name in ("start_us", "node", "visited_plmn")),
        pl.col("of_call").fill_null(value=False),
    )


def remembered(calls: Mapping[int, Call], given_back: Changes, catalogue: Catalogue) -> pl.DataFrame:
    """What is remembered of each call from now on: `seq` of the part and `changes`.

    `given_back` says what the part gives back; where its call was over, what each of the others would.
    """
    rows = []
    for seq, call in calls.items():
        if not call.known and not call.others:
            continue
        changes = list(_facts_put_right(call, catalogue))
        if call.known:
            changes += _taken(call, given_back.get(seq, ()), 1)
        else:
            theirs = [change for other in call.others for change in given_back.get(int(other["seq"]), ())]
            changes += _taken(call, theirs, -1)
        rows.append((seq, changes))
    return pl.DataFrame(rows, schema={"seq": pl.Int64(), "changes": pl.List(CORRECTION_CHANGE)}, orient="row")


def _facts_put_right(call: Call, catalogue: Catalogue) -> Iterable[dict[str, Any]]:
    """What is added to each fact of a call, its beginning first."""
    wanted = _facts(call, catalogue)
    until_s = call.known[START][1] if call.known else wanted[END] // 1_000_000 + 1
    for fact in sorted({*wanted, *call.known}):
        amount = wanted.get(fact, 0) - call.known.get(fact, (0, 0))[0]
        if amount or not call.known:
            flags = call.what if fact < FACTS else 0
            yield _change(
                RowKind.CALL, str(fact), call.number, call.until_now[0]["member"], 0, until_s, flags, amount, call.key
            )  # fmt: skip


def _facts(call: Call, catalogue: Catalogue) -> dict[int, int]:
    """What is known of a call by its other parts alone."""
    others = call.others
    if not others:
        return {fact: call.known[fact][0] for fact in (START, END, PLACED, PLACE)}
    told_us = int(call.until_now[0]["start_us"])
    facts = {
        # Earlier than every part: some of them says when the call began.
        START: call.begun_us if call.begun_us < told_us else int(others[0]["start_us"]),
        END: max(_end_us(part) for part in others),
        PLACED: UNPLACED_US,
        PLACE: 0,
        UNITS: sum(part["units"] for part in others),
        LIST: sum(part["list_micros"] for part in others),
        CHARGED: sum(part["charged_micros"] for part in others),
        COVERED: sum(part["allowance_units"] for part in others),
        LAST: max((part["part"] for part in others if part["report"] == Report.LAST), default=0),
        CAME: len(others),
    }
    placing = _placing(others)
    if placing is not None and placing["node"] >= 0:
        t = vectors(catalogue).t
        place = place_at(t, int(placing["node"]), int(zone_of(t, int(placing["visited_plmn"]))))
        facts |= {PLACED: int(placing["start_us"]), PLACE: int(place)}
    for part in others:
        row, bit = divmod(int(part["part"]) - 1, BITS)
        facts[FACTS + row] = facts.get(FACTS + row, 0) | 1 << bit
    return facts


def _placing(parts: list[Part]) -> Part | None:
    """The part that says where a call went: the earliest in which something was used."""
    return next((part for part in parts if part["units"]), None)


def _taken(call: Call, changes: Iterable[Mapping[str, Any]], sign: int) -> list[dict[str, Any]]:
    """What is added to what a call is remembered to have done to balances and counters."""
    sums: dict[tuple[Any, ...], int] = {}
    for change in changes:
        if change["valid_until_s"] != GONE_S:
            row = tuple(
                change[name] for name in ("kind", "name", "period", "member", "valid_from_s", "valid_until_s")
            )
            sums[row] = sums.get(row, 0) + sign * change["amount"]
    return [
        _change(
            RowKind.TAKEN, name, period, member, from_s, until_s, kind + 8 * call.number, amount, call.key
        )
        for (kind, name, period, member, from_s, until_s), amount in sums.items()
        if amount
    ]


def _change(
    kind: RowKind, name: str, period: int, member: int | None, from_s: int, until_s: int, flags: int, amount: int,
    key: int,
) -> dict[str, Any]:  # fmt: skip
    return {
        "kind": int(kind),
        "name": name,
        "period": period,
        "valid_from_s": from_s,
        "valid_until_s": until_s,
        "other": str(flags),
        "amount": amount,
        "granted": key,
        "member": member or 0,
    }
