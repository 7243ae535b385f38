"""Working through a mapping's columns: fields of records become whole numbers and texts, faults become marks."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from trunkline.kernel.identity import dial_words_of
from trunkline.kernel.outcomes import precedence
from trunkline.kernel.texts import (
    MISSING,
    PADDING,
    Octets,
    Places,
    Texts,
    numbered,
    of_series,
    padded,
    to_series,
)
from trunkline.mediation import convert, plain
from trunkline.mediation.mapping import NUMBERS, TEXTS, TIMES, VOCABULARIES, Condition, Mapping, Moment, Rule
from trunkline.mediation.records import Records
from trunkline.records.usage import REASONS, REJECTED

Bools = npt.NDArray[np.bool_]
Longs = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Statuses = npt.NDArray[np.uint8]
Read = Callable[[Rule, Texts, Longs, Statuses], None]

RANKS = precedence(REASONS)
FINE = 255
HIGHEST_QUANTITY = 1 << 60
NAMED = ("currency", "cell", "service", "cause")  # texts of which few are different
UNIX_TIMES = {"unix_s": 1_000_000, "unix_ms": 1000, "unix_us": 1}  # what one of them is in us
SENTENCES = {
    "unreadable": "cut short: a field that every record has is missing",
    "not_usage": "a notice of a network element",
    "missing_id": "{} is empty",
    "missing_subscriber": "{} is empty",
    "bad_number": "{} cannot be brought into international form",
    "unknown_kind": "{} is not one of the words known",
    "bad_time": "{} is missing, impossible or not in the mapping's format",
    "in_the_future": "{} is more than a day ahead of the clock",
    "too_old": "{} is before the days remembered",
    "bad_quantity": "{} is missing, negative, finer than its unit or too large",
    "bad_amount": "{} is missing, negative or has more than six decimals",
}


class Marks:
    """For each record the first reason in the written order, and the column it was about."""

    def __init__(self, count: int) -> None:
        self.reasons = np.full(count, FINE, np.uint8)
        self.details = np.zeros(count, np.uint8)
        self.names: list[str] = []

    def note(self, wrong: Bools, reason: str, column: str) -> None:
        """Mark records that have a fault, unless an earlier reason stands there already."""
        if wrong.any():
            if column not in self.names:
                self.names.append(column)
            convert.note(self.reasons, self.details, wrong, RANKS[reason], self.names.index(column))

    def any(self) -> bool:
        """Whether any record has a fault."""
        return bool((self.reasons != FINE).any())

    def good(self) -> pl.Series:
        """Which records have none."""
        return pl.Series(self.reasons == FINE)

    def rejected(self, frame: pl.DataFrame, notes: dict[int, str]) -> pl.DataFrame:
        """The faulty records' places with reason and detail."""
        at = np.flatnonzero(self.reasons != FINE)
        reasons = [REASONS[rank].name for rank in self.reasons[at].tolist()]
        details = [
            notes.get(row) or SENTENCES[reason].format(self.names[detail])
            for row, reason, detail in zip(at.tolist(), reasons, self.details[at].tolist(), strict=True)
        ]
        return REJECTED.record.conform(
            frame[at].with_columns(
                reason=pl.Series(reasons, dtype=pl.String), detail=pl.Series(details, dtype=pl.String)
            )
        )


class Named(NamedTuple):
    """Texts of which few are different, numbered from 1 (0 is no text), and where each number first occurs."""

    texts: Texts
    codes: Longs
    firsts: Longs


class Columns:
    """Reads one column after the other by its rules; each answer has a value for every record."""

    def __init__(self, records: Records, mapping: Mapping, marks: Marks) -> None:
        self.records = records
        self.mapping = mapping
        self.marks = marks
        self.worked_out: dict[str, Longs] = {}
        self.nothing = np.zeros(records.count, np.int64)
        self.never = np.zeros(records.count, np.bool_)
        self.always = np.ones(records.count, np.bool_)
        self.present = np.zeros(len(records.lengths), np.bool_)
        plain.any_there(records.lengths, self.present)
        self.done = jobs_of(mapping).done(records.data, records.starts, records.lengths, self.present)

    # -- the kinds of columns ------------------------------------------------------------------------------

    def words(self, target: str, reason: str) -> Longs:
        """A word out of a closed list, as its number."""

        def read(rule: Rule, texts: Texts, values: Longs, statuses: Statuses) -> None:
            known = vocabulary_of(target, rule)
            octets, ends = word_list(tuple(known))
            codes = np.array(list(known.values()), np.int64)
            convert.words(texts.data, texts.starts, texts.lengths, octets, ends, codes, values, statuses)

        values, _ = self.whole(target, reason, read)
        return values

    def quantity(
        self, target: str, reason: str = "bad_quantity", highest: int = HIGHEST_QUANTITY
    ) -> tuple[Longs, Bools]:
        """A duration in ms, a volume in octets, a count or an amount, and which records have it."""

        def read(rule: Rule, texts: Texts, values: Longs, statuses: Statuses) -> None:
            convert.decimals(
                texts.data, texts.starts, texts.lengths, rule.factor, rule.rounding, values, statuses
            )

        def finish(rule: Rule, _texts: Texts, values: Longs, statuses: Statuses) -> None:
            if rule.divisor > 1:
                self.divide(values, statuses, rule)
            if rule.high is not None and self.present[rule.high]:
                self.add_high(rule.high, values, statuses)
            if rule.zero_unless:
                met = self.always.copy()
                for condition in rule.zero_unless:
                    met &= self.holds(condition)
                values[~met] = 0
            convert.limit(values, statuses, highest)

        return self.whole(target, reason, read, finish)

    @staticmethod
    def divide(values: Longs, statuses: npt.NDArray[np.uint8], rule: Rule) -> None:
        """A unit finer than ours, such as microseconds."""
        rest = values % rule.divisor
        values //= rule.divisor
        if rule.rounding == convert.EXACT:
            statuses[(rest != 0) & (statuses == convert.THERE)] = convert.WRONG
        elif rule.rounding == convert.UP:
            values += rest != 0
        elif rule.rounding == convert.HALF_UP:
            values += 2 * rest >= rule.divisor

    def add_high(self, field: int, values: Longs, statuses: Statuses) -> None:
        """Count the high word of a counter (gigawords)."""
        high, high_statuses = np.zeros_like(values), np.zeros_like(statuses)
        texts = self.field(field)
        convert.decimals(texts.data, texts.starts, texts.lengths, 1, convert.EXACT, high, high_statuses)
        wrong = (high_statuses == convert.WRONG) | (high < 0) | (high >= 1 << 28)
        high[wrong] = 0
        values += high << 32
        statuses[(high > 0) & (statuses == convert.ABSENT)] = convert.THERE
        statuses[wrong] = convert.WRONG

    def time(self, target: str) -> tuple[Longs, Bools]:
        """A time in microseconds UTC, and which records have it."""

        def read(rule: Rule, texts: Texts, values: Longs, statuses: Statuses) -> None:
            assert rule.moment is not None, "a time has a format"
            read_time(rule.moment, texts, values, statuses)

        def finish(rule: Rule, _texts: Texts, values: Longs, statuses: Statuses) -> None:
            assert rule.moment is not None, "a time has a format"
            if rule.moment.plus_us:
                values += np.where(statuses == convert.THERE, rule.moment.plus_us, 0)
            if rule.moment.round_us > 1:
                step = rule.moment.round_us
                values += step // 2
                values -= values % step
            if rule.moment.minus is not None and self.present[rule.moment.minus]:
                less, less_statuses = np.zeros_like(values), np.zeros_like(statuses)
                field = self.field(rule.moment.minus)
                convert.decimals(
                    field.data,
                    field.starts,
                    field.lengths,
                    rule.moment.minus_factor,
                    convert.DOWN,
                    less,
                    less_statuses,
                )
                values -= less
                statuses[(less_statuses == convert.WRONG) & (statuses == convert.THERE)] = convert.WRONG

        return self.whole(target, "bad_time", read, finish)

    def number(self, target: str) -> tuple[Words, Bools]:
        """A telephone number as the dial word of its international form, and which records have one."""
        ways = numbers_of(self.mapping)

        def read(_rule: Rule, texts: Texts, values: Longs, statuses: Statuses) -> None:
            convert.numbers(
                texts.data, texts.starts, texts.lengths, ways.country, ways.prefixes, ways.prefix_ends, ways.national,
                values.view(np.uint64), statuses,
            )  # fmt: skip

        def finish(rule: Rule, texts: Texts, values: Longs, statuses: Statuses) -> None:
            others = np.flatnonzero(statuses == convert.OTHER)
            if len(others) and rule.identity:
                names = Texts(texts.data, texts.starts[others], texts.lengths[others])
                values.view(np.uint64)[others] = dial_words_of(names)
                statuses[others] = convert.THERE
            elif len(others):
                statuses[others] = convert.WRONG

        values, there = self.whole(target, "bad_number", read, finish)
        return values.view(np.uint64), there

    def plmn(self) -> Longs:
        """The visited network as a number; 0 at home."""

        def read(_rule: Rule, texts: Texts, values: Longs, statuses: Statuses) -> None:
            convert.decimals(texts.data, texts.starts, texts.lengths, 1, convert.EXACT, values, statuses)

        def finish(_rule: Rule, texts: Texts, values: Longs, statuses: Statuses) -> None:
            wrong = (statuses == convert.THERE) & ((texts.lengths < 5) | (texts.lengths > 6) | (values < 0))
            statuses[wrong] = convert.WRONG
            for home in self.mapping.home_plmn:
                values[values == home] = 0

        return self.whole("visited_plmn", "bad_quantity", read, finish)[0]

    def slices(self) -> Longs:
        """The slice as a number; 0 for none."""

        def read(_rule: Rule, texts: Texts, values: Longs, statuses: Statuses) -> None:
            convert.slices(texts.data, texts.starts, texts.lengths, values, statuses)

        return self.whole("slice", "bad_quantity", read)[0]

    def sources(self) -> str | Texts:
        """The source of each record: what the record says, else what the engine says, else the mapping's."""
        records = self.records
        names = [name or self.mapping.source for name in records.sources]
        written = self.texts("source")
        if not (written.lengths > 0).any():
            if len(set(names)) == 1:
                return names[0]
            return of_series(pl.Series(names, dtype=pl.String).gather(records.block))
        given = pl.Series(names, dtype=pl.String).gather(records.block)
        return of_series(to_series("source", self.safe(written)).fill_null(given))

    def safe(self, texts: Texts) -> Texts:
        """The texts without those of records that could not be read, which may hold anything."""
        return Texts(
            texts.data, texts.starts, np.where(self.records.unreadable, 0, texts.lengths).astype(np.int32)
        )

    # -- what they are made of -----------------------------------------------------------------------------

    def whole(self, target: str, reason: str, read: Read, finish: Read | None = None) -> tuple[Longs, Bools]:
        """Values by the first rule that finds something, and which records have one; faults are marked.

        `read` converts, unless that is done already, and `finish` does what only some rules ask for.
        """
        values, there = self.nothing, self.never
        for number, rule in enumerate(self.mapping.columns.get(target, ())):
            texts = self.chosen(rule)
            if texts is not None:
                found, statuses = self.converted(target, number, rule, texts, read)
                if finish is not None:
                    finish(rule, texts, found, statuses)
                if not statuses.any():  # the usual case: all records have it, and it is right
                    values, there = (
                        (found, self.always)
                        if there is self.never
                        else (np.where(there, values, found), self.always)
                    )
                    continue
                wrong = statuses == convert.WRONG
                found[wrong] = 0
                if there is not self.never:
                    wrong &= ~there
                    found = np.where(there, values, found)
                self.marks.note(wrong, reason, target)
                values, there = found, there | (statuses != convert.ABSENT)
            if rule.default is not None and there is not self.always:
                values = np.where(there, values, self.default(rule, rule.default, read, finish))
                there = self.always
        return values, there

    def converted(
        self, target: str, number: int, rule: Rule, texts: Texts, read: Read
    ) -> tuple[Longs, Statuses]:
        """Values and statuses of one rule, read here unless they were among the plain ones."""
        done = self.done.get((target, number))
        if done is not None:
            return done.values, done.statuses
        found, statuses = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.uint8)
        read(rule, texts, found, statuses)
        return found, statuses

    @staticmethod
    def default(rule: Rule, text: str, read: Read, finish: Read | None) -> np.int64:
        """The value of a rule's default."""
        one = Texts(*constant_text(text, 1))
        value, status = np.zeros(1, np.int64), np.zeros(1, np.uint8)
        plainly = Rule(values=rule.values, factor=rule.factor, identity=True, moment=rule.moment)
        read(plainly, one, value, status)
        if finish is not None:
            finish(plainly, one, value, status)
        return np.int64(value[0])

    def names(self, target: str) -> Named:
        """A text of each record, of which few are different."""
        done = self.done.get((target, 0))
        if done is not None:
            return Named(self.field(self.mapping.columns[target][0].fields[0]), done.values, done.firsts)
        texts = self.texts(target)
        return Named(texts, *numbered(texts))

    def texts(self, target: str) -> Texts:
        """A text of each record."""
        result: Texts | None = None
        for rule in self.mapping.columns.get(target, ()):
            texts = self.templated(rule) if rule.template else self.chosen(rule)
            if texts is not None and rule.values:
                series = to_series("", self.safe(texts)).replace(dict(rule.values))
                texts = of_series(series)
            if rule.default is not None:
                series = pl.repeat(None, self.records.count, dtype=pl.String, eager=True)
                series = series if texts is None else to_series("", self.safe(texts))
                texts = of_series(series.fill_null(rule.default))
            if texts is not None:
                result = texts if result is None else self.either(result, texts)
        return result if result is not None else Texts(*constant_text("", self.records.count))

    def either(self, first: Texts, second: Texts) -> Texts:
        """The first text where there is one, else the second."""
        return of_series(to_series("", self.safe(first)).fill_null(to_series("", self.safe(second))))

    def chosen(self, rule: Rule) -> Texts | None:
        """The field or constant that a rule names, before it is converted; None when no record has it."""
        records = self.records
        if rule.constant is not None:
            return Texts(*constant_text(rule.constant, records.count))
        fields = [field for field in rule.fields if self.present[field]]
        if not fields:
            return None
        if len(fields) == 1 and not rule.empty:
            texts = self.field(fields[0])
        else:
            starts, lengths = records.starts[fields], records.lengths[fields]
            if rule.empty:
                known, ends = word_list(rule.empty)
                for row in range(len(fields)):
                    convert.blank_out(records.data, starts[row], lengths[row], known, ends)
            into_starts, into_lengths = np.empty(records.count, np.int32), np.empty(records.count, np.int32)
            convert.first_there(
                starts, lengths, np.arange(len(fields), dtype=np.int32), into_starts, into_lengths
            )
            texts = Texts(records.data, into_starts, into_lengths)
        if rule.extract is not None:
            texts = of_series(to_series("", self.safe(texts)).str.extract(rule.extract, 1))
        return texts

    def field(self, field: int) -> Texts:
        """One source field of each record."""
        return Texts(self.records.data, self.records.starts[field], self.records.lengths[field])

    def templated(self, rule: Rule) -> Texts:
        """A text put together of fields, columns and literals; missing when all its fields are empty."""
        count = self.records.count
        pieces: list[Texts] = []
        something = np.zeros(count, np.bool_)
        for part in rule.template:
            if part.field is not None:
                piece = self.field(part.field)
                something |= piece.lengths > 0
            elif part.column:
                piece = printed(self.worked_out[part.column])
            else:
                piece = Texts(*constant_text(part.literal, count))
            pieces.append(piece)
        totals = np.zeros(count, np.int32)
        for piece in pieces:
            convert.joined_lengths(piece.lengths, totals)
        ends = np.cumsum(totals, dtype=np.int32)
        starts = ends - totals
        data = np.empty((int(ends[-1]) if count else 0) + PADDING, np.uint8)
        at = starts.copy()
        for piece in pieces:
            convert.append(piece.data, piece.starts, piece.lengths, data, at)
        return Texts(data, starts, np.where(something, totals, MISSING).astype(np.int32))

    def holds(self, condition: Condition) -> Bools:
        """Which records have one of a condition's values in its field."""
        octets, ends = word_list(condition.values)
        texts = self.field(condition.field)
        values, statuses = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.uint8)
        codes = np.ones(len(condition.values), np.int64)
        convert.words(texts.data, texts.starts, texts.lengths, octets, ends, codes, values, statuses)
        return np.asarray(statuses == convert.THERE)


def vocabulary_of(target: str, rule: Rule) -> dict[str, int]:
    """The words that a rule knows, and what they mean: the column's own and those of the mapping."""
    vocabulary = VOCABULARIES[target]
    return vocabulary | {word: vocabulary[meaning] for word, meaning in rule.values}


def numbers_of(mapping: Mapping) -> plain.Numbers:
    """How a mapping's telephone numbers are written."""
    numbering = mapping.numbering
    country = np.frombuffer(numbering.country_code.encode(), np.uint8)
    national = np.frombuffer(numbering.national_prefix.encode(), np.uint8)
    return plain.Numbers(country, *word_list(numbering.international_prefixes), national)


@lru_cache(maxsize=64)
def jobs_of(mapping: Mapping) -> plain.Jobs:
    """What of a mapping is plain enough to be converted chunk by chunk."""
    jobs = []
    for column, rules in mapping.columns.items():
        for number, rule in enumerate(rules):
            job = job_of(column, number, rule)
            if job is not None and (job.kind != plain.NAME or len(rules) == 1):
                jobs.append(job)
    return plain.Jobs(jobs, numbers_of(mapping))


def job_of(column: str, number: int, rule: Rule) -> plain.Job | None:
    """The job that a rule is, if it reads one field as it lies; None for all others."""
    if len(rule.fields) != 1 or rule.empty or rule.extract is not None or rule.constant is not None:
        return None
    field = rule.fields[0]
    if column in NAMED:
        as_it_is = rule.default is None and not rule.values and not rule.template
        return plain.Job(column, number, plain.NAME, field) if as_it_is else None
    if column in VOCABULARIES:
        words = tuple(vocabulary_of(column, rule).items())
        return plain.Job(column, number, plain.WORD, field, words=words)
    if column in NUMBERS:
        return plain.Job(column, number, plain.NUMBER, field)
    if column in TIMES:
        assert rule.moment is not None, "a time has a format"
        if rule.moment.format == "iso8601":
            return plain.Job(column, number, plain.TIME, field, factor=int(rule.moment.zone != "UTC"))
        factor = UNIX_TIMES.get(rule.moment.format)
        return plain.Job(column, number, plain.DECIMAL, field, factor, convert.DOWN) if factor else None
    if column in TEXTS or column == "slice":
        return None
    return plain.Job(column, number, plain.DECIMAL, field, rule.factor, rule.rounding)


def read_time(moment: Moment, texts: Texts, values: Longs, statuses: Statuses) -> None:
    """Times as microseconds UTC; those without a zone are read in the mapping's."""
    place = (texts.data, texts.starts, texts.lengths)
    factor = UNIX_TIMES.get(moment.format)
    if factor is not None:
        convert.decimals(*place, factor, convert.DOWN, values, statuses)
        return
    if moment.format == "julian_day":
        convert.julian_days(*place, values, statuses)
        return
    local = np.zeros(len(values), np.bool_)
    if moment.format == "iso8601":
        unzoned = convert.iso_times(*place, values, statuses, local)
    else:
        pattern = np.frombuffer(moment.format.encode(), np.uint8)
        zones, ends = word_list(tuple(name for name, _ in moment.zones))
        offsets = np.array([offset for _, offset in moment.zones], np.int64)
        unzoned = convert.pattern_times(*place, pattern, zones, ends, offsets, values, statuses, local)
    if unzoned and moment.zone != "UTC":
        zoned = (
            pl.Series(values[local])
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone(moment.zone, ambiguous="earliest", non_existent="null")
            .dt.epoch("us")
        )
        at = np.flatnonzero(local)
        statuses[at[zoned.is_null().to_numpy()]] = convert.WRONG
        values[at] = zoned.fill_null(0).to_numpy()


def word_list(words: tuple[str, ...]) -> tuple[Octets, Places]:
    """Texts behind each other, and where each ends."""
    octets = [word.encode() for word in words]
    ends = np.cumsum([len(word) for word in octets]).astype(np.int32)
    return np.frombuffer(b"".join(octets) + b"\0", np.uint8), ends


def constant_text(text: str, count: int) -> tuple[Octets, Places, Places]:
    """The same text for each record."""
    octets = text.encode()
    return padded(octets), np.zeros(count, np.int32), np.full(count, len(octets), np.int32)


def printed(values: Longs) -> Texts:
    """Whole numbers as texts."""
    data = np.empty(20 * len(values) + PADDING, np.uint8)
    starts, lengths = np.empty(len(values), np.int32), np.empty(len(values), np.int32)
    convert.print_numbers(values, data, starts, lengths)
    return Texts(data, starts, lengths)
