"""Brokers of one's own: what the map asks of them (`cluster prepare`), their schemas, and single events of others."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from trunkline import settings
from trunkline.cli.app import AsJson, FlowName, answer_json, err, out, table
from trunkline.cli.cluster import cluster
from trunkline.ports import Refused
from trunkline.settings import Kafka

if TYPE_CHECKING:
    from trunkline.bootstrap.brokers import Found, Wish
    from trunkline.engines.schemas.shapes import Kind, Schema

schemas = typer.Typer(
    no_args_is_help=True, help="What messages look like: versions, rules, and what may follow."
)
cluster.add_typer(schemas, name="schemas")

For = Annotated[
    list[str] | None,
    typer.Option(
        "--for",
        help="Who has a role, as role=account; may be given several times. Roles: engine, server, reader, exchange,"
        " consumer, and the name of a stream that somebody hands in, such as usage.raw.",
    ),
]
Side = Annotated[
    FlowName,
    typer.Option("--flow", help="Whose topics, rights and schemas: of usage, or of the network."),
]


@cluster.command()
def prepare(
    principals: For = None,
    accounts: Annotated[
        Path | None,
        typer.Option(
            help="Folder for passwords: accounts without one get one, with the settings of a client."
        ),
    ] = None,
    change_settings: Annotated[
        bool,
        typer.Option("--settings", help="Also change settings of topics that are other than they should be."),
    ] = False,
    take_away: Annotated[
        bool, typer.Option("--revoke", help="Also take away rights to our topics that the map does not give.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done; nothing is changed.")
    ] = False,
    flow: Side = FlowName.USAGE,
    as_json: AsJson = False,
) -> None:
    """Make on your brokers what the map asks: topics, rights, schemas and accounts. Done again, it changes nothing."""
    from trunkline.bootstrap import brokers

    wish = brokers.wish_of(settings.read(Kafka), _pairs(principals), network=flow is FlowName.NETWORK)
    if dry_run:
        found = brokers.look(wish, accounts=accounts is not None)
    else:
        found = brokers.prepare(wish, accounts, change_settings=change_settings, take_away=take_away)
    if as_json:
        answer_json({"done": not dry_run, **_plain(found)})
    else:
        _tell(wish, found, done=not dry_run, changed=change_settings, revoked=take_away)
    if found.unfit:
        raise Refused("\n".join(found.unfit))


@cluster.command()
def topics(flow: Side = FlowName.USAGE, as_json: AsJson = False) -> None:
    """The topics that the map asks for, and how those that are there differ. Make them: trunkline cluster prepare."""
    from trunkline.bootstrap import brokers

    wish = brokers.wish_of(settings.read(Kafka), network=flow is FlowName.NETWORK)
    found = brokers.look(wish)
    rows = [
        {
            "name": topic.name, "partitions": topic.partitions, "kept": _kept(topic.settings),
            "state": _state(found, topic.name), "text": topic.text,
        }
        for topic in wish.topics
    ]  # fmt: skip
    if as_json:
        answer_json(rows)
        return
    headings = {"name": "topic", "partitions": "partitions", "kept": "kept", "state": "state", "text": "what"}
    table(rows, headings, "The map asks for no topics.")


@cluster.command()
def rights(principals: For = None, flow: Side = FlowName.USAGE, as_json: AsJson = False) -> None:
    """What each account may do by the map, and whether the brokers know. Grant it: trunkline cluster prepare."""
    from trunkline.bootstrap import brokers

    pairs = _pairs(principals)
    if not pairs:
        raise Refused("Say who has which role, such as --for engine=worker --for usage.raw=mediation.")
    wish = brokers.wish_of(settings.read(Kafka), pairs, network=flow is FlowName.NETWORK)
    found = brokers.look(wish)
    missing = set(found.missing)
    rows = [{**_right(each), "state": "missing" if each in missing else "there"} for each in wish.rights] + [
        {**_right(each), "state": "more than the map gives"} for each in found.surplus
    ]
    if as_json:
        answer_json(rows)
        return
    headings = {"account": "account", "may": "may", "kind": "on", "name": "name", "state": "state"}
    table(rows, headings, "These accounts have no rights.")


@schemas.command("show")
def show(
    subject: Annotated[str, typer.Argument(help="One subject, to see its newest schema whole.")] = "",
    as_json: AsJson = False,
) -> None:
    """Subjects with their versions, rules and numbers; or the newest schema of one."""
    book = _registry().read()
    if subject:
        versions = book.versions(subject)
        if not versions:
            raise Refused(f"There is no subject {subject}. List them: trunkline cluster schemas show")
        answer_json(versions[-1].schema.body)
        return
    rows = [
        {
            "subject": name, "kind": versions[-1].schema.kind.value, "versions": len(versions),
            "number": versions[-1].number, "rule": book.rules[name].value if name in book.rules else "",
        }
        for name in sorted(book.subjects) if (versions := book.versions(name))
    ]  # fmt: skip
    if as_json:
        answer_json(rows)
        return
    headings = {
        "subject": "subject",
        "kind": "kind",
        "versions": "versions",
        "number": "number",
        "rule": "rule",
    }
    table(rows, headings, "There are no schemas yet. Make them: trunkline cluster prepare")


@schemas.command("check")
def check(
    subject: Annotated[
        str, typer.Argument(help="A subject; without one, everything that this version writes.")
    ] = "",
    file: Annotated[
        Path | None, typer.Argument(help="File with the schema that is to follow (Avro or JSON Schema).")
    ] = None,
    flow: Side = FlowName.USAGE,
    as_json: AsJson = False,
) -> None:
    """Whether schemas may follow those in the registry, and what would break. Changes nothing."""
    from trunkline.bootstrap import brokers

    wish = brokers.wish_of(settings.read(Kafka), network=flow is FlowName.NETWORK)
    book = _registry().read()
    if subject and file is not None:
        schema = _schema(file)
        wrong = book.judge(subject, schema)
        state = "there" if book.find(subject, schema) else "; ".join(wrong) or "new"
        found = {subject: state}
    elif subject:
        raise Refused("Name the file with the schema, too.")
    else:
        found = brokers.judged(book, wish.schemas)
    if as_json:
        answer_json(found)
    else:
        table(
            [{"subject": n, "state": s} for n, s in found.items()],
            {"subject": "subject", "state": "state"},
            "",
        )
    broken = [f"{name}: {state}" for name, state in found.items() if state not in ("there", "new")]
    if broken:
        raise Refused("\n".join(broken))


@schemas.command("add")
def add(
    subject: Annotated[str, typer.Argument(help="Subject, such as trunkline.avro.usage.event-value.")],
    file: Annotated[Path, typer.Argument(help="File with the schema (Avro or JSON Schema).")],
    as_json: AsJson = False,
) -> None:
    """Add a producer's schema to a subject, if it may follow; its number goes before each event."""
    from trunkline.engines.kafka.client import Unfit
    from trunkline.engines.kafka.registry import Wanted
    from trunkline.engines.schemas.compatible import Rule

    try:
        numbers = _registry().enter([Wanted(subject, _schema(file), Rule.BACKWARD_TRANSITIVE)])
    except Unfit as error:
        raise Refused(str(error)) from error
    if as_json:
        answer_json({"subject": subject, "id": numbers[subject]})
        return
    out.print(f"{subject} has it as number {numbers[subject]}.", highlight=False)


@schemas.command("rule")
def rule(
    subject: Annotated[str, typer.Argument(help="Subject whose rule is to change.")],
    wanted: Annotated[
        str,
        typer.Argument(
            help="NONE, BACKWARD, FORWARD or FULL; with _TRANSITIVE it is asked of every version."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Let a subject change by another rule from now on."""
    from trunkline.engines.schemas.compatible import Rule

    if wanted.upper() not in list(Rule):
        raise Refused(f"There is no rule {wanted}. Known are: {', '.join(Rule)}.")
    _registry().rule(subject, Rule(wanted.upper()))
    if as_json:
        answer_json({"subject": subject, "rule": wanted.upper()})
        return
    out.print(f"{subject} changes by {wanted.upper()} from now on.", highlight=False)


@cluster.command()
def events(
    name: Annotated[
        str, typer.Option(help="Name of this process, the same after a restart; no two may share one.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Exchange single events with others, framed as Confluent's serializers do, in the formats of `kafka_events`."""
    from trunkline.api.logs import configure
    from trunkline.bootstrap import brokers
    from trunkline.engines.kafka.client import Unfit
    from trunkline.engines.kafka.events import Exchange

    wish = brokers.wish_of(settings.read(Kafka))
    if not wish.doors.kinds:
        raise Refused("Name the formats: TRUNKLINE_KAFKA_EVENTS=avro,json")
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    configure(logging.WARNING)
    exchange = Exchange(wish.server, wish.doors, name or f"{socket.gethostname()}-{os.getpid()}")
    out.print(f"trunkline exchanges events as {exchange.name}.", highlight=False)
    try:
        exchange.run(stop)
    except Unfit as error:
        raise Refused(str(error)) from error
    done = exchange.exchanged
    err.print(
        f"{done.handed_in:,} events came in, {done.handed_out:,} went out, {done.set_aside:,} were set aside.",
        highlight=False,
    )
    if as_json:
        answer_json(vars(done))


def _registry() -> Any:  # noqa: ANN401 -- a Registry, which is imported when it is asked for
    from trunkline.bootstrap.kafka import plan_of, server_of
    from trunkline.engines.kafka.registry import Registry

    kafka = settings.read(Kafka)
    return Registry(server_of(kafka), plan_of(kafka.kafka_prefix, kafka.kafka_buckets))


def _schema(file: Path) -> Schema:
    """A schema out of a file; one with `$schema`, or of JSON Schema's types, is JSON Schema."""
    from trunkline.engines.schemas.frames import decoder
    from trunkline.engines.schemas.shapes import Kind, Schema

    try:
        body = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise Refused(f"{file} is not JSON: {error}") from error
    is_json = isinstance(body, dict) and ("$schema" in body or body.get("type") == "object")
    kind: Kind = Kind.JSON if is_json else Kind.AVRO
    schema = Schema.of(kind, body)
    try:
        decoder(schema)
    except Exception as error:
        raise Refused(f"{file} is no schema of {kind}: {error}") from error
    return schema


def _pairs(told: list[str] | None) -> dict[str, str]:
    pairs = [each.partition("=") for each in told or []]
    wrong = [role for role, mark, account in pairs if not mark or not account]
    if wrong:
        raise Refused(f"Say --for {wrong[0]}=ACCOUNT.")
    return {role: account for role, _, account in pairs}


def _kept(told: dict[str, str]) -> str:
    if told["cleanup.policy"] == "compact":
        return "last of each key"
    ms = int(told["retention.ms"])
    return "for ever" if ms < 0 else f"{ms // 86_400_000} days"


def _state(found: Found, name: str) -> str:
    different = found.topics[name]
    if different is None:
        return "missing"
    return "; ".join(f"{d.what} is {d.found}, not {d.wanted}" for d in different) or "there"


def _right(right: Any) -> dict[str, str]:  # noqa: ANN401 -- a Right, which is imported when it is asked for
    name = f"{right.name}*" if right.prefixed else right.name
    return {
        "account": right.principal,
        "may": right.operation.lower(),
        "kind": right.kind.lower(),
        "name": name,
    }


def _plain(found: Found) -> dict[str, Any]:
    return {
        "topics": {name: _state(found, name) for name in found.topics},
        "accounts": {name: "there" if there else "missing" for name, there in found.accounts.items()},
        "rights": {
            "missing": [_right(each) for each in found.missing],
            "surplus": [_right(each) for each in found.surplus],
        },
        "schemas": found.schemas,
    }


def _tell(wish: Wish, found: Found, *, done: bool, changed: bool, revoked: bool) -> None:
    """What was or would be done, a line each; what is as it should be is only counted."""
    made, would = ("made", "set") if done else ("would make", "would set")
    lines = [f"{made} topic {name}" for name, each in found.topics.items() if each is None]
    lines += [
        f"{would if changed or not done else 'left'} {name}: {_state(found, name)}"
        for name, each in found.topics.items() if each
    ]  # fmt: skip
    lines += [f"{made} account {name}" for name, there in found.accounts.items() if not there]
    lines += [f"{'gave' if done else 'would give'} {_sentence(each)}" for each in found.missing]
    taken = ("took" if revoked else "left") if done else "more than the map gives:"
    lines += [f"{taken} {_sentence(each)}" for each in found.surplus]
    lines += [f"{made} schema {name}" for name, state in found.schemas.items() if state == "new"]
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)
    told = f"{len(wish.topics)} topics, {len(wish.rights)} rights, {len(found.schemas)} schemas"
    out.print(f"{told}: {'as they should be' if not lines else f'{len(lines)} differed'}.", highlight=False)


def _sentence(right: Any) -> str:  # noqa: ANN401 -- as above
    told = _right(right)
    return f"{told['account']}: {told['may']} on {told['kind']} {told['name']}"
