"""Charging data requests and responses of 3GPP TS 32.291 clause 6.1.6, said as requests for quota and back.

Who pays is the GPSI where one is given (`msisdn-…`), else the SUPI's digits. A session's name is a digest of what
names it in its network function (TS 32.291 5.2.2.2: its instance, the charging identifier, the time of the request),
so a create request that comes again names the same session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from trunkline.kernel.dial import LONGEST, to_key
from trunkline.kernel.identity import digest_of
from trunkline.ports import QuotaAnswer, QuotaRequest
from trunkline.records.online import Action
from trunkline.records.usage import Direction, Kind

Json = Mapping[str, Any]

UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**63 - 1  # what a signed column holds
GROUPS_MAX = 64
_NUMBER = re.compile(rf"(?:msisdn-|imsi-|tel:|sip:)?\+?(\d{{3,{LONGEST}}})(?:[@;].*)?")


class Invalid(Exception):
    """A request that cannot be read: which attribute, and why."""

    def __init__(self, param: str, reason: str) -> None:
        """Name the attribute by its JSON path."""
        super().__init__(f"{param}: {reason}")
        self.param, self.reason = param, reason


class UnknownUser(Exception):
    """The request names nobody whom we could charge."""


@dataclass(frozen=True)
class Quotas:
    """What is granted where a request does not say how much it wants, and for how long."""

    octets: int
    seconds: int
    events: int
    validity_s: int
    grace_s: int


@dataclass(frozen=True)
class Asked:
    """A request as the platform is asked, and what its answer needs of it."""

    request: QuotaRequest
    kind: Kind
    time: str
    one_time: str  # "IEC", "PEC" or "" for a session


def reference(session: int, place: int | None = None) -> str:
    """The `ChargingDataRef` of a session, which says where it lies if not all lie in one place."""
    return f"{session:016x}" + (f"{place:03x}" if place is not None else "")


def session_of(text: str) -> tuple[int, int | None] | None:
    """The session of a `ChargingDataRef` and where it lies; None when it is none of ours."""
    if not re.fullmatch(r"[0-9a-f]{16}([0-9a-f]{3})?", text):
        return None
    return int(text[:16], 16), int(text[16:], 16) if text[16:] else None


def read(body: object, action: Action, session: int | None, place: int | None, quotas: Quotas) -> Asked:
    """A charging data request; `session` is None where it opens one, else it lies at `place`.

    Usage happened by the network function's clock; promises last by the platform's: when it was asked and until when
    that holds is counted from when the platform hears of it. Raises `Invalid` or `UnknownUser`.
    """
    if not isinstance(body, dict):
        raise Invalid("", "a JSON object is expected")
    consumer = _object(body, "nfConsumerIdentification", required=session is None)
    if session is None and "nodeFunctionality" not in consumer:
        raise Invalid("nfConsumerIdentification.nodeFunctionality", "is missing")
    time = _text(body, "invocationTimeStamp")
    time_us = _moment(time)
    invocation = _whole(body, "invocationSequenceNumber", 2**31 - 2)
    if invocation is None:
        raise Invalid("invocationSequenceNumber", "is missing")
    kind, said = _said(body, time_us)
    if session is None and not said:
        raise Invalid("pDUSessionChargingInformation", "one kind of charging information is needed")
    payer = said.pop("subscriber", 0)
    if session is None and not payer:
        raise UnknownUser
    request = QuotaRequest(
        payer,
        session if session is not None else _named(body, consumer, time),
        invocation,
        int(action),
        session is None,
        0,
        (quotas.validity_s + quotas.grace_s) * 1_000_000,
        _groups(body, kind, quotas, wants=action == Action.RESERVE),
        said,
        place,
    )
    return Asked(request, kind, time, _one_time(body) if session is None else "")


def _one_time(body: Json) -> str:
    if body.get("oneTimeEvent") is not True:
        return ""
    kind = body.get("oneTimeEventType", "IEC")
    if kind not in ("IEC", "PEC"):
        raise Invalid("oneTimeEventType", "IEC or PEC is expected")
    return str(kind)


def _named(body: Json, consumer: Json, time: str) -> int:
    """Digest of what names a session in its network function; never 0."""
    session = _object(body, "pDUSessionChargingInformation")
    call = _object(body, "iMSChargingInformation")
    parts = (
        consumer.get("nFName", consumer.get("nFFqdn", "")),
        body.get("subscriberIdentifier", ""),
        session.get("chargingId", body.get("chargingId", "")),
        _object(session, "pduSessionInformation").get("pduSessionID", ""),
        call.get("userSessionID", ""),
        time,
    )
    return digest_of("\x1f".join(str(part) for part in parts))[0] or 1


def _said(body: Json, time_us: int) -> tuple[Kind, dict[str, Any]]:
    """Who uses what, in the columns of `records.online.REQUESTS`; nothing where the request says none of it."""
    payer = str(body.get("subscriberIdentifier", ""))
    said: dict[str, Any] = {
        "kind": 0, "direction": int(Direction.ORIGINATING), "subscriber": 0, "calling": 0, "called": 0,
        "start_us": time_us, "visited_plmn": 0, "slice": 0, "five_qi": 0, "service": None,
    }  # fmt: skip
    if "pDUSessionChargingInformation" in body:
        kind, gpsi = Kind.DATA, _data(_object(body, "pDUSessionChargingInformation"), said)
    elif "sMSChargingInformation" in body:
        kind, gpsi = Kind.SMS, _message(_object(body, "sMSChargingInformation"), said)
    elif "iMSChargingInformation" in body:
        kind, gpsi = Kind.VOICE, _call(_object(body, "iMSChargingInformation"), said)
    else:
        return _kind_by_units(body), {}
    said["kind"] = int(kind)
    said["subscriber"] = _word(gpsi) or _word(payer)
    if kind != Kind.DATA and said["direction"] == Direction.ORIGINATING:
        said["calling"] = said["calling"] or said["subscriber"]
    return kind, said


def _kind_by_units(body: Json) -> Kind:
    """The kind of a request that only reports units: a session charges one kind, in one unit."""
    for usage in body.get("multipleUnitUsage") or ():
        for units in (_object(usage, "requestedUnit"), *_containers(usage)):
            if "time" in units and not any("olume" in name for name in units):
                return Kind.VOICE
            if "serviceSpecificUnits" in units:
                return Kind.SMS
    return Kind.DATA


def _data(session: Json, said: dict[str, Any]) -> str:
    pdu = _object(session, "pduSessionInformation")
    slice_ = _object(_object(pdu, "networkSlicingInfo"), "sNSSAI")
    if slice_:
        sd = str(slice_.get("sd", "0"))
        if not re.fullmatch(r"[0-9A-Fa-f]{1,6}", sd):
            raise Invalid("pDUSessionChargingInformation.pduSessionInformation.networkSlicingInfo.sNSSAI.sd",
                          "six hexadecimal digits are expected")  # fmt: skip
        said["slice"] = (_whole(slice_, "sst", 255) or 0) << 24 | int(sd, 16)
    qos = _object(pdu, "authorizedQoSInformation")
    said["five_qi"] = _whole(qos, "5qi", 255) or 0
    service = str(pdu.get("dnnId", "")).partition(".mnc")[0]
    said["service"] = service[:64] or None
    user = _object(session, "userInformation")
    if user.get("roamerInOut") in ("OUT_BOUND", "IN_BOUND"):
        said["visited_plmn"] = _plmn(_object(pdu, "servingCNPlmnId"))
    return str(user.get("servedGPSI", ""))


def _message(message: Json, said: dict[str, Any]) -> str:
    sender = _object(message, "originatorInfo")
    receivers = message.get("recipientInfo") or [{}]
    receiver = receivers[0] if isinstance(receivers, list) and isinstance(receivers[0], dict) else {}
    said["called"] = _word(str(receiver.get("recipientGPSI", "")))
    return str(sender.get("originatorGPSI", ""))


def _call(call: Json, said: dict[str, Any]) -> str:
    callers = call.get("callingPartyAddresses") or [""]
    said["calling"] = _word(str(callers[0])) if isinstance(callers, list) else 0
    said["called"] = _word(str(call.get("calledPartyAddress", "")))
    if call.get("roleOfNode", call.get("roleOfIMSNode")) == "TERMINATING":
        said["direction"] = int(Direction.TERMINATING)
        return ""
    return str(callers[0]) if isinstance(callers, list) else ""


def _plmn(plmn: Json) -> int:
    text = f"{plmn.get('mcc', '')}{plmn.get('mnc', '')}"
    return int(text) if re.fullmatch(r"\d{5,6}", text) else 0


def _word(text: str) -> int:
    """Dial word of an address; 0 where it has no number."""
    found = _NUMBER.fullmatch(text)
    return to_key(found.group(1)) if found else 0


def _groups(body: Json, kind: Kind, quotas: Quotas, *, wants: bool) -> Sequence[tuple[int, int, int]]:
    """Rating group, units used and units wanted, of each `multipleUnitUsage`; groups that come twice are summed."""
    usages = body.get("multipleUnitUsage") or []
    if not isinstance(usages, list) or len(usages) > GROUPS_MAX:
        raise Invalid("multipleUnitUsage", f"a list of at most {GROUPS_MAX} is expected")
    found: dict[int, tuple[int, int]] = {}
    for at, usage in enumerate(usages):
        if not isinstance(usage, dict):
            raise Invalid(f"multipleUnitUsage[{at}]", "an object is expected")
        group = _whole(usage, "ratingGroup", UINT32_MAX)
        if group is None:
            raise Invalid(f"multipleUnitUsage[{at}].ratingGroup", "is missing")
        used = sum(_units(container, kind) or 0 for container in _containers(usage))
        wanted = 0
        if wants and "requestedUnit" in usage:
            wanted = _units(_object(usage, "requestedUnit"), kind) or _by_default(kind, quotas)
        before = found.get(group, (0, 0))
        found[group] = before[0] + used, before[1] + wanted
    return [(group, used, wanted) for group, (used, wanted) in found.items()]


def _containers(usage: Json) -> list[Json]:
    """Used unit containers; the name begins with a small letter since Release 16."""
    containers = usage.get("usedUnitContainer", usage.get("UsedUnitContainer")) or []
    if not isinstance(containers, list) or not all(isinstance(each, dict) for each in containers):
        raise Invalid("multipleUnitUsage.usedUnitContainer", "a list of objects is expected")
    return containers


def _units(units: Json, kind: Kind) -> int | None:
    """Units in the kind's own unit; None where none of them are given."""
    if kind == Kind.VOICE:
        seconds = _whole(units, "time", UINT32_MAX)
        return None if seconds is None else seconds * 1000
    if kind == Kind.DATA:
        total = _whole(units, "totalVolume", UINT64_MAX)
        if total is not None:
            return total
        ways = [_whole(units, name, UINT64_MAX) for name in ("uplinkVolume", "downlinkVolume")]
        return None if ways == [None, None] else sum(way or 0 for way in ways)
    return _whole(units, "serviceSpecificUnits", UINT64_MAX)


def _by_default(kind: Kind, quotas: Quotas) -> int:
    return {Kind.VOICE: quotas.seconds * 1000, Kind.DATA: quotas.octets}.get(kind, quotas.events)


def _granted(units: int, kind: Kind) -> dict[str, int]:
    if kind == Kind.VOICE:
        return {"time": units // 1000}  # a second that is not whole cannot be said
    return {"totalVolume" if kind == Kind.DATA else "serviceSpecificUnits": units}


_RESULTS = {
    "unknown_subscriber": "USER_UNKNOWN",
    "no_plan_at_time": "END_USER_SERVICE_DENIED",
    "tariff_not_found": "RATING_FAILED",
    "too_large": "RATING_FAILED",
    "wrong_currency": "RATING_FAILED",
}


def response(asked: Asked, answers: Sequence[QuotaAnswer], quotas: Quotas) -> dict[str, Any]:
    """The charging data response; a group that gets fewer units than it asked for gets its last ones."""
    return {
        "invocationTimeStamp": asked.time,
        "invocationSequenceNumber": asked.request.invocation,
        "multipleUnitInformation": [
            _information(answer, asked.kind, quotas) for answer in answers if answer.wanted or answer.reason
        ],
    }


def _information(answer: QuotaAnswer, kind: Kind, quotas: Quotas) -> dict[str, Any]:
    units = _granted(answer.granted, kind)
    told: dict[str, Any] = {"ratingGroup": answer.group}
    if answer.reason:
        return told | {"resultCode": _RESULTS[answer.reason]}
    if not any(units.values()):
        return told | {"resultCode": "QUOTA_LIMIT_REACHED"}
    told |= {"resultCode": "SUCCESS", "grantedUnit": units, "validityTime": quotas.validity_s}
    if answer.granted < answer.wanted:
        told["finalUnitIndication"] = {"finalUnitAction": "TERMINATE"}
    return told


def _object(body: Json, name: str, *, required: bool = False) -> Json:
    value = body.get(name)
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        raise Invalid(name, "is missing" if value is None else "an object is expected")
    return value


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value or len(value) > 100:
        raise Invalid(name, "is missing" if value is None else "a short text is expected")
    return value


def _whole(body: Json, name: str, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise Invalid(name, f"a whole number from 0 to {most} is expected")
    return value


def _moment(text: str) -> int:
    """Microseconds UTC of an RFC 3339 date-time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("invocationTimeStamp", "an RFC 3339 date-time is expected") from None
    if moment.tzinfo is None or not 1970 <= moment.year < 2100:
        raise Invalid(
            "invocationTimeStamp", "a date-time with its offset from UTC, between 1970 and 2100, is expected"
        )
    moment = moment.astimezone(UTC)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
