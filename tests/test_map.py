"""The map has no holes: what is read is written by somebody, what is written is read or leaves the house."""

from dataclasses import replace

from trunkline.kernel.flow import Flow, Step, Stream
from trunkline.records import bills, charging, giving, network, network_sums, online, usage, withdrawals
from trunkline.topology import FLOWS as MONEY_FLOWS
from trunkline.topology import NETWORK_FLOWS, SUBSCRIBERS, USAGE

FLOWS = (*MONEY_FLOWS, *NETWORK_FLOWS)
COMES_IN = {
    usage.RAW.name,
    charging.MOVEMENTS.name,
    charging.SUBSCRIBERS.name,
    charging.HITS.name,
    online.REQUESTS.name,
    bills.BILLS.name,
    charging.CORRECTIONS.name,
    charging.RERATES.name,
    withdrawals.WITHDRAWALS.name,
    charging.TRANSFERS.name,
    giving.OFFERS.name,
    network.TELEMETRY.name,
}
GOES_OUT = {
    usage.REJECTED.name,
    usage.DUPLICATES.name,
    usage.HELD.name,
    charging.CHARGED.name,
    charging.ENTRIES.name,
    charging.REFUSED.name,
    withdrawals.NOT_WITHDRAWN.name,
    giving.SIDES.name,
    giving.HANDED.name,
    giving.NOT_HANDED.name,
    online.ANSWERS.name,
    charging.ALERTS.name,
    network.REJECTED.name,
    network.DUPLICATES.name,
    network.HELD.name,
    network.ALARM_COUNTS.name,
    network.HEAT.name,
    network.INCIDENTS.name,
    network_sums.BUDGETS.name,
    network_sums.LATE_PARTS.name,
}

# Spark's own windows sum charged usage; no step of ours does (docs/decisions/0031).
SUMMED_BY_SPARK = {charging.MINUTES.name}


def steps(flows: tuple[Flow, ...]) -> list[Step]:
    """Every step of the flows."""
    return [step for flow in flows for step in flow.steps]


def holes(flows: tuple[Flow, ...]) -> list[str]:
    """What is wrong with the map, in sentences."""
    read = {step.reads.name for step in steps(flows)}
    written = {stream.name for step in steps(flows) for stream in step.writes}
    return [f"{name} is read but nobody writes it" for name in sorted(read - written - COMES_IN)] + [
        f"{name} is written but nobody reads it" for name in sorted(written - read - GOES_OUT)
    ]


def test_the_map_has_no_holes() -> None:
    """Every stream has two ends."""
    assert holes(FLOWS) == []


def test_a_missing_step_is_noticed() -> None:
    """The test above would see it if somebody forgot to rate."""
    forgetful = replace(USAGE, steps=tuple(step for step in USAGE.steps if step.name != "rate"))
    assert "charging.rated is read but nobody writes it" in holes((forgetful, SUBSCRIBERS))


def test_every_stream_is_on_the_map() -> None:
    """A stream that no flow carries would be a promise that nobody keeps."""
    promised = {
        thing.name
        for family in (bills, usage, charging, giving, network, network_sums)
        for thing in vars(family).values()
        if isinstance(thing, Stream)
    }
    carried = {stream.name for step in steps(FLOWS) for stream in (step.reads, *step.writes)}
    assert promised - carried == SUMMED_BY_SPARK


def test_streams_keep_their_own_promises() -> None:
    """A stream is keyed and identified by columns that it has, and says how long it is kept."""
    for stream in {s.name: s for step in steps(FLOWS) for s in (step.reads, *step.writes)}.values():
        columns = set(stream.record.schema)
        assert stream.key in columns, stream.name
        assert set(stream.record.key) <= columns, stream.name
        assert stream.record.days_kept > 0, stream.name
        assert all(column.text.endswith(".") for column in stream.record.columns), stream.name


def test_a_state_has_one_shape() -> None:
    """Steps that share what they remember share its shape and its key, since they share its rows."""
    shapes: dict[str, set[object]] = {}
    for step in steps(FLOWS):
        if step.state:
            shapes.setdefault(step.state.name, set()).add(
                (str(step.state.dtype.descr), step.state.key, step.state.days)
            )
    assert {name: kinds for name, kinds in shapes.items() if len(kinds) > 1} == {}
