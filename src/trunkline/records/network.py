"""The network watched: measurements and events of its elements, and what becomes of them up to incidents and tiles.

Every value is a whole number of thousandths of its unit (`value_milli`), every time microseconds UTC. A thing of the
network (cell, router, link, area, slice) travels as `object`, the word of its name (`kernel.identity.name_words`), with
`name` beside it; `bucket` is the digest's highest octet, the key under which what is remembered of objects is kept, so
that a batch of all cells gathers 256 large groups. Counters have the names of TS 28.552, KPIs those of TS 28.554,
severities and event types those of X.733.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import numpy as np
import polars as pl

from trunkline.kernel.columns import Column, Record
from trunkline.kernel.flow import Stream, Table
from trunkline.kernel.grouped import State
from trunkline.kernel.outcomes import Reason

BUCKETS = 256
BUCKET_SHIFT = 56  # bucket = object >> BUCKET_SHIFT
DAYS_REMEMBERED = 2  # identities of events: what comes again later than this is new


class Counting(IntEnum):
    """How a counter counts; the numbers are stored and never reused."""

    DELTA = 1  # what happened in the period
    CUMULATIVE = 2  # since the element started; it may wrap or start again
    GAUGE = 3  # how it stood


class Severity(IntEnum):
    """X.733 8.1.2.3, in its order; the numbers are stored and never reused."""

    CRITICAL = 1
    MAJOR = 2
    MINOR = 3
    WARNING = 4
    INDETERMINATE = 5
    CLEARED = 6


class Scope(IntEnum):
    """What a KPI speaks of; the numbers are stored and never reused."""

    CELL = 1
    AREA = 2
    SLICE = 3
    TECHNOLOGY = 4
    NETWORK = 5


class Flag(IntFlag):
    """What was noticed while a bin was made; the bits are stored and never reused."""

    LATE = 1
    RESET = 2
    WRAPPED = 4
    SKEWED = 8


OBJECT = (
    Column(
        "object", pl.UInt64, "Digest of the name of a cell, router, link, device, area or slice; 0 for none."
    ),
    Column("name", pl.String, "Its name: managed element and cell, where there are both."),
)
BUCKET = Column("bucket", pl.UInt64, "The highest octet of `object`: the key of what is remembered of it.")
COMPONENT = Column(
    "component",
    pl.UInt64,
    "Part of the network that is correlated by itself; 0 while the network is one part.",
)
SERIES = (
    *OBJECT,
    Column("technology", pl.String, "Radio or transport technology: NR, LTE, GSM, IP; empty when unknown."),
    Column("slice", pl.UInt32, "S-NSSAI as in usage (TS 23.003 28.4.2); 0 for none."),
    Column("five_qi", pl.UInt8, "5QI of the QoS flow (TS 23.501 5.7.2.1); 0 for none."),
    Column("counter", pl.String, "The counter's name in TS 28.552, or the device model's."),
)
PERIOD = (
    Column("begin_us", pl.Int64, "When the period began; for a gauge, when it was read.", "us UTC"),
    Column("end_us", pl.Int64, "When the period ended; for a gauge, when it was read.", "us UTC"),
)
VALUE = Column("value_milli", pl.Int64, "The value.", "thousandths of the unit")
TEXT = Column("text", pl.String, "What a person is told, in a sentence.")
TIME = Column("time_us", pl.Int64, "When it was so.", "us UTC")
SINCE = Column("since_us", pl.Int64, "When what it tells of began; null: when it was told.", "us UTC")

PLACE = (
    Column("file", pl.Int32, "The engine's number of the file, spool or listener it came in."),
    Column("line", pl.Int64, "Line of the file, from 1."),
    Column("offset", pl.Int64, "Where the record begins in the file.", "octets"),
    Column("length", pl.Int32, "How long the record is in the file.", "octets"),
    Column("source", pl.String, "The system that sent it."),
)
ARRIVAL = Column("seq", pl.Int64, "Arrival number, given by the engine.")
IDENTITY = (
    Column(
        "identity",
        pl.UInt64,
        "First half of the digest of what names the record: source, object, time, kind.",
    ),
    Column("check", pl.UInt64, "Second half of that digest."),
    Column("payload", pl.UInt64, "Digest of what the record says; another one under one identity conflicts."),
)

TELEMETRY = Stream(
    "network.telemetry",
    Record(
        "Telemetry",
        "A block of whole records (or one whole document) as it came, with its place in its source.",
        (
            Column("file", pl.Int32, "The engine's number of the file, spool or listener."),
            Column("source", pl.String, "Name of the sender, for formats that do not tell it."),
            Column("mapping", pl.String, "Name of the mapping that reads the block."),
            Column("offset", pl.Int64, "Where the block begins in the file.", "octets"),
            Column("line", pl.Int64, "Number of the block's first line, from 1."),
            Column("bytes", pl.Binary, "The block itself.", personal=True),
            Column(
                "header", pl.Binary, "The file's heading, where the format has one; null at its first block."
            ),
            Column("received_us", pl.Int64, "The engine's clock; null: not judged.", "us UTC"),
            Column("newest_us", pl.Int64, "Newest time committed so far; null: not judged.", "us UTC"),
        ),
        ("file", "offset"),
        days_kept=7,
    ),
    key="file",
    text="What base stations, routers, firewalls, devices and customer care send.",
)

MEASURED = Stream(
    "network.measured",
    Record(
        "Measured",
        "One value of one counter of one object in one period, as it was sent.",
        (
            ARRIVAL,
            *PLACE,
            *IDENTITY,
            *SERIES,
            Column("kind", pl.UInt8, "How the counter counts: `Counting`."),
            *PERIOD,
            VALUE,
            BUCKET,
        ),
        ("object", "counter", "slice", "five_qi", "end_us"),
        days_kept=1,
    ),
    key="bucket",
    text="Measurements that could be read.",
)

EVENT = (
    *OBJECT,
    TIME,
    Column("event_type", pl.String, "X.733 8.1.1 (X.736 for security): communicationsAlarm and so on."),
    Column("severity", pl.UInt8, "`Severity`."),
    Column("probable_cause", pl.String, "X.733 8.1.2.1, or the sender's word."),
    Column("specific_problem", pl.String, "What exactly is wrong, in the sender's words."),
    TEXT,
    Column("alarm_key", pl.UInt64, "Digest of what one alarm is: object, event type, cause, problem."),
    Column(
        "subscriber", pl.UInt64, "Who complained, as a dial word, in a care ticket; else 0.", personal=True
    ),
    Column("security", pl.UInt8, "1 for scans, floods, signalling storms; else 0."),
)

EVENTS = Stream(
    "network.events",
    Record(
        "Event",
        "Something that an element or a person reported: a trap, a syslog line, a VES fault, a care ticket.",
        (ARRIVAL, *PLACE, *IDENTITY, *EVENT),
        ("source", "identity"),
        days_kept=35,
    ),
    key="identity",
    text="Events that could be read.",
)

HEARD = Stream(
    "network.heard",
    Record("Heard", "An event that was not heard before.", (ARRIVAL, *PLACE, *IDENTITY, *EVENT),
           ("source", "identity"), days_kept=35),
    key="object",
    text="Events, each once.",
)  # fmt: skip

DUPLICATES = Stream(
    "network.duplicates",
    Record("Duplicate reading", "A measurement or event that came again, the same to the letter.",
           PLACE, ("file", "offset"), days_kept=7),
    key="file",
    text="What came again; counted, not used twice.",
)  # fmt: skip

REJECTED = Stream(
    "network.rejected",
    Record(
        "Rejected telemetry",
        "A record or value that cannot be used as it is, with the first reason in the written order.",
        (
            *PLACE,
            Column("reason", pl.String, "One name out of `REASONS`."),
            Column("detail", pl.String, "What exactly was wrong, without personal data."),
            Column("raw", pl.Binary, "The record as it came, put there by the engine.", personal=True),
        ),
        ("file", "offset"),
        days_kept=35,
    ),
    key="file",
    text="What was set aside; it can be looked at.",
)

HELD = Stream(
    "network.held",
    Record(
        "Held telemetry",
        "A record that broke a step, or says something else than one of the same identity.",
        (
            *PLACE,
            *IDENTITY,
            Column("reason", pl.String, "Why it waits."),
            Column("raw", pl.Binary, "The record as it came, put there by the engine.", personal=True),
        ),
        ("file", "offset"),
        days_kept=35,
    ),
    key="file",
    text="What a person should see.",
)

BINS = Stream(
    "network.bins",
    Record(
        "Bin",
        "What a counter did in one period, whichever way it counts: differences of cumulative ones, gauges as read.",
        (
            *SERIES,
            *PERIOD,
            Column("value_milli", pl.Int64, "The difference or reading; null for the first of a cumulative one.",
                   "thousandths of the unit"),
            Column("flags", pl.UInt8, "`Flag` bits."),
            Column("readings", pl.UInt32, "How many measurements this bin was made of.", "measurements"),
            BUCKET,
        ),
        ("object", "counter", "slice", "five_qi", "end_us"),
        days_kept=1,
    ),
    key="bucket",
    text="Counters brought onto one clock and one manner of counting.",
)  # fmt: skip

ADVANCES = Stream(
    "network.advances",
    Record(
        "Advance",
        "How far a batch lets the objects of one bucket come.",
        (BUCKET, COMPONENT, TIME),
        ("bucket", "time_us"),
        days_kept=1,
    ),
    key="component",
    text="What moves the data's clock.",
)

PULSES = Stream(
    "network.pulses",
    Record(
        "Pulse",
        "Time has come so far for this bucket, whether or not anything arrived for it.",
        (BUCKET, COMPONENT, TIME),
        ("bucket", "time_us"),
        days_kept=1,
    ),
    key="bucket",
    text="The data's own clock: the newest period's end less the lateness that is waited for.",
)

KPIS = Stream(
    "network.kpis",
    Record(
        "KPI",
        "One KPI of one object in one window.",
        (
            *OBJECT,
            Column("scope", pl.UInt8, "What it speaks of: `Scope`."),
            Column("technology", pl.String, "Radio or transport technology; empty when several."),
            Column("slice", pl.UInt32, "S-NSSAI; 0 for all."),
            Column("kpi", pl.String, "The KPI's name in TS 28.554."),
            *PERIOD,
            Column("value_milli", pl.Int64, "The value; null when the denominator is zero.", "thousandths of the unit"),
            Column("numerator_milli", pl.Int64, "What was divided.", "thousandths"),
            Column(
                "denominator_milli",
                pl.Int64,
                "By what it was divided; of a product the fewest that a factor was divided by.",
                "thousandths",
            ),
            Column("missing", pl.UInt16, "Bins of the window that never came.", "bins"),
            BUCKET,
        ),
        ("object", "kpi", "slice", "begin_us"),
        days_kept=35,
    ),
    key="bucket",
    text="Key performance indicators by cell, area, slice and technology.",
)  # fmt: skip

ANOMALIES = Stream(
    "network.anomalies",
    Record(
        "Anomaly",
        "A series that does not do what it is expected to do, or does so again.",
        (
            *OBJECT,
            Column("kpi", pl.String, "The KPI or counter."),
            Column("kind", pl.String, "spike, dip, level_shift, collapse, silence, drift, clock or burn."),
            Column("since_us", pl.Int64, "When it began.", "us UTC"),
            Column("time_us", pl.Int64, "When it was seen, by the data's clock.", "us UTC"),
            Column("score_milli", pl.Int64, "How unusual, from 0 to 1000.", "thousandths"),
            Column("low_milli", pl.Int64, "Lower end of what was expected.", "thousandths of the unit"),
            Column("high_milli", pl.Int64, "Upper end of what was expected.", "thousandths of the unit"),
            Column(
                "seen_milli", pl.Int64, "What was seen; null when nothing was.", "thousandths of the unit"
            ),
            Column("ended", pl.UInt8, "1 when it is over."),
            TEXT,
            BUCKET,
        ),
        ("object", "kpi", "kind", "since_us", "time_us"),
        days_kept=400,
    ),
    key="bucket",
    text="What is unusual or should not be, each with its why.",
)

RISKS = Stream(
    "network.risks",
    Record(
        "Risk",
        "How likely service is interrupted or congested soon.",
        (
            *OBJECT,
            Column("kpi", pl.String, "What points to it."),
            TIME,
            Column("horizon_s", pl.Int32, "How far ahead: 900 or 3600.", "s"),
            Column("probability_milli", pl.Int32, "Calibrated probability, 0 to 1000.", "thousandths"),
            TEXT,
            BUCKET,
        ),
        ("object", "kpi", "horizon_s", "time_us"),
        days_kept=400,
    ),
    key="bucket",
    text="Forecasts that a person should know of.",
)

SIGNALS = Stream(
    "network.signals",
    Record(
        "Signal",
        "What may raise, change or clear an alarm: an event, an anomaly, a risk, or an operator's hand.",
        (
            *EVENT,
            Column("action", pl.String, "raise, clear, ack, unack, comment, update or delete."),
            Column("origin", pl.String, "event, anomaly, risk or operator."),
            Column("actor", pl.String, "Who acted, for an operator's hand; else empty."),
            SINCE,
            COMPONENT,
        ),
        ("alarm_key", "action", "time_us"),
        days_kept=35,
    ),
    key="component",
    text="Everything that concerns alarms, in one form.",
)

ALARMS = Stream(
    "network.alarms",
    Record(
        "Alarm change",
        "A change in the life of an alarm (X.733).",
        (
            Column("alarm_id", pl.String, "Its name, made of its key and when it was first raised."),
            Column("alarm_key", pl.UInt64, "Digest of what the alarm is: object, event type, cause, problem."),
            *OBJECT,
            TIME,
            Column("action", pl.String,
                   "raise, update, clear, ack, unack, comment, suppress or unsuppress."),
            Column("severity", pl.UInt8, "`Severity` from now on."),
            Column("event_type", pl.String, "X.733 8.1.1, X.736 for security."),
            Column("probable_cause", pl.String, "X.733 8.1.2.1, or the sender's word."),
            Column("specific_problem", pl.String, "What exactly is wrong."),
            TEXT,
            Column("actor", pl.String, "Who acted; empty for the platform itself."),
            Column("held_by", pl.String, "The rule that holds it back; empty when none does."),
            Column("root", pl.UInt64, "Object that is held to be the cause; 0 while unknown."),
            Column("security", pl.UInt8, "1 for a security event; else 0."),
            SINCE,
            COMPONENT,
        ),
        ("alarm_id", "time_us", "action"),
        days_kept=400,
    ),
    key="component",
    text="The life of every alarm. A text that is null is as it was when the alarm was raised.",
)  # fmt: skip

ALARM_COUNTS = Stream(
    "network.alarm_counts",
    Record(
        "Alarm arithmetic",
        "What became of all that was raised: raised = active + cleared + deduplicated + suppressed + correlated.",
        (
            COMPONENT,
            Column("raised", pl.Int64, "Raises that were heard.", "raises"),
            Column("active", pl.Int64, "Alarms that stand and are told.", "alarms"),
            Column("cleared", pl.Int64, "Alarms that were told and have ended.", "alarms"),
            Column("deduplicated", pl.Int64, "Raises of an alarm that stood, or came after its clear.", "raises"),
            Column("suppressed", pl.Int64, "Alarms held back by maintenance or flapping, or ended so.", "alarms"),
            Column("correlated", pl.Int64, "Alarms held back by what carries their object, or ended so.", "alarms"),
            Column("unmatched", pl.Int64, "Clears and hands that found no alarm; no raises.", "signals"),
        ),
        ("component",),
        days_kept=400,
    ),
    key="component",
    text="Totals since the beginning; the newest row of a component counts.",
)  # fmt: skip

INCIDENTS = Stream(
    "network.incidents",
    Record(
        "Incident change",
        "A change in the life of an incident: what belongs together, why, and whom it hits.",
        (
            Column("incident_id", pl.String, "Its name, made of its root and when it opened."),
            TIME,
            Column("action", pl.String, "open, update, close, own or note."),
            Column("root_object", pl.UInt64, "Object of the probable root cause."),
            Column("root_name", pl.String, "Its name."),
            Column("cause", pl.String, "Probable cause."),
            Column("why", pl.String, "Why it is held to be the cause, in sentences."),
            Column("objects", pl.List(pl.UInt64), "What is affected."),
            Column("alarms", pl.Int32, "Alarms that belong to it.", "alarms"),
            Column("subscribers", pl.Int64, "Customers who use what is affected.", "subscribers"),
            Column("micros_per_minute", pl.Int64, "What they usually pay there.", "micro-units a minute"),
            Column("severity", pl.UInt8, "Worst `Severity` of its alarms."),
            Column("opened_us", pl.Int64, "When it opened.", "us UTC"),
            Column("began_us", pl.Int64, "When the earliest of its alarms began.", "us UTC"),
            Column(
                "at_risk", pl.String, "Agreements whose error budget it may spend, the most promised first."
            ),
            Column("actor", pl.String, "Who acted; empty for the platform itself."),
            Column("note", pl.String, "What the actor said; null for the platform itself."),
            COMPONENT,
        ),
        ("incident_id", "time_us", "action"),
        days_kept=400,
    ),
    key="component",
    text="Incidents and everything done about them.",
)

HEAT = Stream(
    "network.heat",
    Record(
        "Tile",
        "How one metric stands in one tile of the map.",
        (
            Column("layer", pl.String, "`h3:<resolution>` or `area`."),
            Column("tile", pl.UInt64, "H3 index, or digest of the area's name."),
            Column("metric", pl.String, "A KPI's name, or `severity`."),
            TIME,
            Column(
                "value_milli", pl.Int64, "The value; null when nothing is known.", "thousandths of the unit"
            ),
            Column("severity", pl.UInt8, "Worst active `Severity` in the tile."),
            Column("cells", pl.Int32, "Cells in the tile that it speaks of.", "cells"),
            BUCKET,
        ),
        ("layer", "tile", "metric"),
        days_kept=2,
    ),
    key="bucket",
    text="What the map shows.",
)

MAPPINGS = Table("network.mappings", "How each sender's telemetry is read: a compiled mapping for each name.")
INVENTORY = Table("network.inventory", "Sites, cells, routers, links and areas, and how they hang together.")
FORMULAS = Table("network.formulas", "Counters and the KPIs that are made of them.")
MODELS = Table("network.models", "The detector's one set of parameters.")
ALARM_RULES = Table("network.alarm_rules", "Flap damping, hold-back by topology, maintenance windows.")
CAUSES = Table("network.causes", "The learnt graph of which kind of alarm brings which about.")
WORTH = Table("network.worth", "Subscribers and money a minute of each cell, out of rated usage.")

SEEN = State(
    "network.seen",
    "identity",
    np.dtype([("check", "u8"), ("payload", "u8"), ("day", "i4")]),
    "Identities of events, to know a duplicate from a conflict.",
    days=DAYS_REMEMBERED,
)

ALARMED = State(
    "network.alarmed",
    "component",
    np.dtype(
        [
            ("alarm_key", "u8"), ("object", "u8"), ("held_ref", "u8"),
            ("raised_us", "i8"), ("since_us", "i8"), ("last_us", "i8"), ("cleared_us", "i8"), ("eased_us", "i8"),
            ("held_us", "i8"), ("penalty_us", "i8"), ("damped_until_us", "i8"),
            ("raised", "i8"), ("cleared", "i8"), ("deduplicated", "i8"), ("suppressed", "i8"), ("correlated", "i8"),
            ("unmatched", "i8"), ("penalty", "i4"),
            ("severity", "u1"), ("event_type", "u1"), ("security", "u1"), ("standing", "u1"), ("held", "u1"),
            ("acknowledged", "u1"), ("lone_clear", "u1"),
        ]
    ),
    "Alarms that stand or stood within the last day, what holds them back, and how often they came; key 0 is a sum.",
)  # fmt: skip

CORRELATED = State(
    "network.correlated",
    "component",
    np.dtype(
        [
            ("kind", "u1"), ("action", "u1"), ("incident", "u8"), ("alarm_key", "u8"), ("object", "u8"),
            ("problem", "u8"), ("time_us", "i8"), ("raised_us", "i8"), ("since_us", "i8"), ("cleared_us", "i8"),
            ("told", "u8"),
            ("severity", "u1"), ("event_type", "u1"), ("security", "u1"), ("held", "u1"), ("said", "S64"),
        ]
    ),
    "Open incidents, the alarms that belong to them, and changes of alarms that time has not come to yet.",
)  # fmt: skip

# The written order: a record with several faults is rejected for the one that stands first.
REASONS = (
    Reason("unreadable", "The bytes are not a record of the mapping's format. Correct the sender or the mapping."),
    Reason("too_large", "The record is larger than its format's limit; it was not read."),
    Reason("forbidden_markup", "An XML document declares a type or entities; such documents are refused whole."),
    Reason("not_authentic", "The sender could not prove who it is (SNMPv3 user, digest or cipher, or community)."),
    Reason("unknown_template", "A flow record came before its template. Let the exporter send templates oftener."),
    Reason("unknown_model", "No device model of that name is in the mapping. Add it there."),
    Reason("not_telemetry", "A message that carries neither a measurement nor an event, such as a heartbeat."),
    Reason("missing_object", "The record does not say what it speaks of."),
    Reason("missing_counter", "A value stands without the name of its counter."),
    Reason("bad_time", "The time is missing, impossible or not in the mapping's format."),
    Reason("in_the_future", "The record is further ahead of the clock than its sender's clock may be."),
    Reason("too_late", "The period was closed before the record came."),
    Reason("suspect", "The element itself does not trust the result; the bin counts as missing."),
    Reason("bad_value", "The value is no number, not finite, too large, or outside its range."),
    Reason("bad_severity", "The severity is none of the six of X.733 and the mapping names no other."),
    Reason("conflict", "Another value came before for the same counter, object and period."),
)  # fmt: skip
