"""SNMP notifications: v1, v2c and v3 traps and informs (RFC 1157, 3416, 3412) become events by the mapping's rules.

A trap knows no time of day, only how long its agent has been up, so it happened when it was received. What a rule does
not name is kept as an event that raises no alarm. A community is no proof of anything (RFC 3584): it is only compared
when communities are configured; a v3 message must be what its security level says, or it is set aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from asn1crypto.parser import parse  # type: ignore[import-untyped]  # it carries no types

from trunkline.kernel.envelope import octets_of
from trunkline.network.telemetry.lines import NEVER_RECEIVED, Lines
from trunkline.network.telemetry.mapping import Mapping, Meaning, User
from trunkline.network.telemetry.readings import Readings, filled
from trunkline.network.telemetry.syslog import meant
from trunkline.network.telemetry.usm import NotAuthentic, check, deciphered
from trunkline.records.network import Severity

_UNIVERSAL, _APPLICATION, _CONTEXT = 0, 1, 2
_INTEGER, _OCTETS, _OID, _SEQUENCE = 2, 4, 6, 16
_TRAP_V1, _INFORM, _TRAP_V2 = 4, 6, 7
_TRAP_OID, _TRAP_ADDRESS = "1.3.6.1.6.3.1.1.4.1.0", "1.3.6.1.6.3.18.1.3.0"
_GENERIC = "1.3.6.1.6.3.1.1.5"  # RFC 3584 3.1: generic trap n is snmpTraps.(n + 1)
_ENTERPRISE_SPECIFIC = 6
_AUTH, _PRIV = 1, 2  # msgFlags, RFC 3412 6.4
_USM = 3
_MOST_VARBINDS = 256
_LONGEST_OID = 128
_COLUMNS = {  # of IF-MIB (RFC 2863): what people call the thing
    "1.3.6.1.2.1.2.2.1.1": "ifIndex", "1.3.6.1.2.1.2.2.1.2": "ifDescr", "1.3.6.1.2.1.2.2.1.7": "ifAdminStatus",
    "1.3.6.1.2.1.2.2.1.8": "ifOperStatus", "1.3.6.1.2.1.31.1.1.1.1": "ifName", "1.3.6.1.2.1.31.1.1.1.18": "ifAlias",
}  # fmt: skip


class Garbled(ValueError):
    """The octets are no SNMP message."""


@dataclass(frozen=True)
class Value:
    """One BER value and where its contents begin in the message."""

    kind: int
    tag: int
    contents: bytes
    at: int


@dataclass(frozen=True)
class Trap:
    """A notification: what it is called, whom it speaks of, and what it brings."""

    oid: str
    agent: str
    varbinds: tuple[tuple[str, str], ...]
    name: str  # request id and uptime: what tells one notification from the next


def read_traps(lines: Lines, mapping: Mapping, readings: Readings) -> None:
    """Read each line as one datagram of a listener, or as a datagram in base64."""
    rules = [(re.compile(meaning.match), meaning) for meaning in mapping.meanings]
    received = lines.places.received_us.tolist()
    for record, message in enumerate(lines.messages):
        if record in lines.done:
            continue
        try:
            (datagram,) = octets_of(message)
            trap = notification(datagram, mapping.users, mapping.communities)
        except NotAuthentic as fault:
            readings.reject(record, "not_authentic", str(fault))
            continue
        except ValueError as fault:
            readings.reject(record, "unreadable", str(fault) if isinstance(fault, Garbled) else "not base64")
            continue
        _read(record, trap, lines.peers[record], received[record], mapping, rules, readings)


def _read(
    record: int, trap: Trap, peer: str, received_us: int, mapping: Mapping,
    rules: list[tuple[re.Pattern[str], Meaning]], readings: Readings,
) -> None:  # fmt: skip
    """One notification."""
    fields = {"agent": trap.agent or peer, "peer": peer, "oid": trap.oid}
    fields |= {name: value for oid, value in trap.varbinds for name in (_column(oid),) if name}
    fields["varbinds"] = "; ".join(value for _, value in trap.varbinds)
    host = filled(mapping.object, fields.get) or fields["agent"]
    if not host:
        readings.reject(record, "missing_object", "the trap names no agent, and came in no envelope")
        return
    if received_us == NEVER_RECEIVED:
        readings.reject(record, "bad_time", "a trap has no time of its own, and it came in no envelope")
        return
    record_id = f"{host}\x1f{trap.oid}\x1f{trap.name}\x1f{fields['varbinds']}"
    for pattern, meaning in rules:
        if pattern.search(trap.oid):
            name, cause, problem = meant(meaning, fields | {"host": host})
            readings.event(
                record, record_id, name or host, received_us, meaning.severity or int(Severity.INDETERMINATE),
                event_type=meaning.event_type, cause=cause, problem=problem, text=fields["varbinds"],
                security=meaning.security, alarm=meaning.alarm,
            )  # fmt: skip
            return
    readings.event(
        record, record_id, host, received_us, int(Severity.INDETERMINATE), cause="snmpTrap", problem=trap.oid,
        text=fields["varbinds"], alarm=False,
    )  # fmt: skip


def _column(oid: str) -> str | None:
    """The name of an interface's column, without its index."""
    return _COLUMNS.get(oid.rpartition(".")[0])


# -- messages -------------------------------------------------------------------------------------------------


def notification(message: bytes, users: tuple[User, ...], communities: tuple[str, ...]) -> Trap:
    """The notification in a datagram; raises `Garbled` or `NotAuthentic`."""
    whole = _one(message, 0, len(message))
    if (whole.kind, whole.tag) != (_UNIVERSAL, _SEQUENCE):
        raise Garbled("not an SNMP message")
    parts = _members(message, whole)
    version = _number(next(parts, None))
    if version == 3:
        return _of_v3(message, parts, users)
    if version not in (0, 1):
        raise Garbled("the SNMP version is none of 1, 2c, 3")
    community = _octets(next(parts, None))
    if communities and community.decode(errors="replace") not in communities:
        raise NotAuthentic("the community is none that is configured")
    return _of_pdu(message, next(parts, None))


def _of_v3(message: bytes, parts: Iterator[Value], users: tuple[User, ...]) -> Trap:
    """A v3 message (RFC 3412 6, RFC 3414 2.4): authenticated and deciphered as its flags say."""
    header = _members(message, _sequence(next(parts, None)))
    _number(next(header, None))
    _number(next(header, None))
    flags = (_octets(next(header, None)) or b"\0")[0]
    if _number(next(header, None)) != _USM:
        raise Garbled("the security model is not USM")
    parameters = next(parts, None)
    outside = _octets(parameters)
    assert parameters is not None, "its octets were read"
    inside = _members(message, _sequence(_one(message, parameters.at, parameters.at + len(outside))))
    engine = _octets(next(inside, None))
    boots, seconds = _number(next(inside, None)), _number(next(inside, None))
    name = _octets(next(inside, None)).decode(errors="replace")
    digest = next(inside, None)
    given, salt = _octets(digest), _octets(next(inside, None))
    user = next((one for one in users if one.name == name and one.engine in (b"", engine)), None)
    if user is None:
        raise NotAuthentic("no such SNMPv3 user is configured")
    if bool(user.auth) != bool(flags & _AUTH) or bool(user.privacy) != bool(flags & _PRIV):
        raise NotAuthentic("the message's security level is not the user's")
    if not (0 <= boots < 2**31 and 0 <= seconds < 2**31):
        raise Garbled("engine boots or time are out of range")
    if flags & _AUTH:
        assert digest is not None, "its octets were read"
        check(user, engine, message, given, digest.at)
    scoped = next(parts, None)
    if flags & _PRIV:
        message = deciphered(user, engine, boots, seconds, salt, _octets(scoped))
        scoped = _one(message, 0, len(message))
    members = _members(message, _sequence(scoped))
    _octets(next(members, None))
    _octets(next(members, None))
    return _of_pdu(message, next(members, None))


def _of_pdu(message: bytes, pdu: Value | None) -> Trap:
    """The PDU of a notification; anything else is no telemetry of ours."""
    if pdu is None or pdu.kind != _CONTEXT:
        raise Garbled("the message holds no PDU")
    members = _members(message, pdu)
    if pdu.tag == _TRAP_V1:  # RFC 1157 4.1.6
        enterprise = _oid(next(members, None))
        address = next(members, None)
        generic, specific = _number(next(members, None)), _number(next(members, None))
        uptime = _number(next(members, None))
        oid = f"{enterprise}.0.{specific}" if generic == _ENTERPRISE_SPECIFIC else f"{_GENERIC}.{generic + 1}"
        agent = ".".join(map(str, address.contents)) if address and len(address.contents) == 4 else ""
        agent = "" if agent == "0.0.0.0" else agent  # noqa: S104 -- the agent names no address
        return Trap(oid, agent, _varbinds(message, next(members, None)), f"{uptime}")
    if pdu.tag not in (_TRAP_V2, _INFORM):
        raise Garbled("the PDU is no notification")
    request = _number(next(members, None))
    _number(next(members, None))
    _number(next(members, None))
    varbinds = _varbinds(message, next(members, None))
    known = dict(varbinds)
    if _TRAP_OID not in known:
        raise Garbled("the notification lacks snmpTrapOID")
    rest = tuple((oid, value) for oid, value in varbinds[2:] if oid != _TRAP_ADDRESS)
    uptime_text = varbinds[0][1] if varbinds else ""
    return Trap(known[_TRAP_OID], known.get(_TRAP_ADDRESS, ""), rest, f"{request} {uptime_text}")


def _varbinds(message: bytes, given: Value | None) -> tuple[tuple[str, str], ...]:
    """The variables of a PDU, with their values as text."""
    found: list[tuple[str, str]] = []
    for pair in _members(message, _sequence(given)):
        members = _members(message, _sequence(pair))
        oid, value = _oid(next(members, None)), next(members, None)
        if value is None or len(found) == _MOST_VARBINDS:
            raise Garbled("a variable without a value, or too many variables")
        found.append((oid, _shown(value)))
    return tuple(found)


# -- BER ------------------------------------------------------------------------------------------------------


def _one(message: bytes, begin: int, end: int) -> Value:
    """The value that begins at an octet; what stands behind it up to `end` is not looked at."""
    try:
        kind, _method, tag, header, contents, trailer = parse(message[begin:end])
    except ValueError:
        raise Garbled("not BER") from None
    if trailer:
        raise Garbled("a length that is not known beforehand")  # RFC 3417 8 forbids it
    return Value(kind, tag, contents, begin + len(header))


def _members(message: bytes, value: Value) -> Iterator[Value]:
    """The values within a value."""
    at, end = value.at, value.at + len(value.contents)
    while at < end:
        member = _one(message, at, end)
        yield member
        at = member.at + len(member.contents)


def _sequence(value: Value | None) -> Value:
    if value is None or (value.kind, value.tag) != (_UNIVERSAL, _SEQUENCE):
        raise Garbled("a sequence is missing")
    return value


def _number(value: Value | None) -> int:
    if value is None or value.kind == _CONTEXT or not 0 < len(value.contents) <= 9:
        raise Garbled("a number is missing")
    if value.tag != _INTEGER and value.kind == _UNIVERSAL:
        raise Garbled("a number is missing")
    return int.from_bytes(value.contents, "big", signed=value.kind == _UNIVERSAL)


def _octets(value: Value | None) -> bytes:
    if value is None or (value.kind, value.tag) != (_UNIVERSAL, _OCTETS):
        raise Garbled("octets are missing")
    return value.contents


def _oid(value: Value | None) -> str:
    if value is None or (value.kind, value.tag) != (_UNIVERSAL, _OID):
        raise Garbled("an object identifier is missing")
    return _dotted(value.contents)


def _dotted(contents: bytes) -> str:
    """An object identifier as people write it (X.690 8.19)."""
    if not contents or contents[-1] & 0x80 or len(contents) > _LONGEST_OID:
        raise Garbled("an object identifier is cut short or too long")
    arcs, arc = [], 0
    for octet in contents:
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def _shown(value: Value) -> str:
    """A variable's value as text (SMIv2, RFC 2578 7.1)."""
    if value.kind == _UNIVERSAL:
        if value.tag == _INTEGER:
            return str(_number(value))
        if value.tag == _OID:
            return _dotted(value.contents)
        if value.tag == _OCTETS:
            text = value.contents.decode(errors="replace")
            return text if text.isprintable() else value.contents.hex(":")
        return ""
    if value.kind == _APPLICATION:
        if value.tag == 0 and len(value.contents) == 4:
            return ".".join(map(str, value.contents))
        if value.tag in (1, 2, 3, 6):  # Counter32, Gauge32, TimeTicks, Counter64
            return str(_number(value))
        return value.contents.hex(":")
    return ""  # noSuchObject, noSuchInstance, endOfMibView
