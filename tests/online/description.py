"""The charging routes as OpenAPI, for fuzzing: the part of TS 32.291 Annex A.2 and TS 29.571 that is read here."""

from __future__ import annotations

from typing import Any

UINT = {"type": "integer", "minimum": 0}
MOMENT = {"type": "string", "format": "date-time"}
TEXT = {"type": "string"}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


UNITS: Any = {
    "time": UINT,
    "totalVolume": UINT,
    "uplinkVolume": UINT,
    "downlinkVolume": UINT,
    "serviceSpecificUnits": UINT,
}
USAGE = _object(
    ("ratingGroup",), ratingGroup=UINT, requestedUnit=_object(**UNITS),
    usedUnitContainer={"type": "array", "items": _object(("localSequenceNumber",), localSequenceNumber=UINT, **UNITS)},
)  # fmt: skip
PLMN = _object(
    ("mcc", "mnc"),
    mcc={"type": "string", "pattern": "^\\d{3}$"},
    mnc={"type": "string", "pattern": "^\\d{2,3}$"},
)
SESSION = _object(
    ("pduSessionInformation",),
    chargingId=UINT,
    userInformation=_object(servedGPSI=TEXT, roamerInOut={"enum": ["IN_BOUND", "OUT_BOUND"]}),
    pduSessionInformation=_object(
        ("pduSessionID", "dnnId"),
        pduSessionID={"type": "integer", "minimum": 0, "maximum": 255},
        dnnId=TEXT,
        networkSlicingInfo=_object(
            ("sNSSAI",),
            sNSSAI=_object(
                ("sst",),
                sst={"type": "integer", "minimum": 0, "maximum": 255},
                sd={"type": "string", "pattern": "^[A-Fa-f0-9]{6}$"},
            ),
        ),
        authorizedQoSInformation=_object((), **{"5qi": {"type": "integer", "minimum": 0, "maximum": 255}}),
        servingCNPlmnId=PLMN,
    ),
)
REQUEST = _object(
    ("nfConsumerIdentification", "invocationTimeStamp", "invocationSequenceNumber"),
    subscriberIdentifier={"enum": ["msisdn-447700900001", "imsi-234150000000001", "nai-somebody@example.org"]},
    nfConsumerIdentification=_object(
        ("nodeFunctionality",), nFName=TEXT, nodeFunctionality={"enum": ["SMF", "SMSF", "AMF"]}
    ),
    invocationTimeStamp=MOMENT,
    invocationSequenceNumber=UINT,
    retransmissionIndicator={"type": "boolean"},
    oneTimeEvent={"type": "boolean"},
    oneTimeEventType={"enum": ["IEC", "PEC"]},
    notifyUri={"type": "string", "format": "uri"},
    multipleUnitUsage={"type": "array", "items": USAGE, "minItems": 0},
    pDUSessionChargingInformation=SESSION,
    sMSChargingInformation=_object(
        originatorInfo=_object(originatorGPSI=TEXT),
        recipientInfo={"type": "array", "items": _object(recipientGPSI=TEXT), "minItems": 0},
    ),
    iMSChargingInformation=_object(
        userSessionID=TEXT,
        callingPartyAddresses={"type": "array", "items": TEXT},
        calledPartyAddress=TEXT,
        roleOfNode={"enum": ["ORIGINATING", "TERMINATING"]},
    ),
)  # fmt: skip
PROBLEM = {"application/problem+json": {"schema": _object(("status", "cause"), status=UINT, cause=TEXT)}}
ERRORS = {
    str(status): {"description": "a problem", "content": PROBLEM} for status in (400, 401, 403, 404, 405, 413)
}
REFERENCE = {
    "name": "ChargingDataRef", "in": "path", "required": True,
    "schema": {"anyOf": [{"type": "string", "pattern": "^[0-9a-f]{16}$"}, {"type": "string", "minLength": 1}]},
}  # fmt: skip


def _post(success: str, **more: Any) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": REQUEST}}}
    return {"post": {"requestBody": body, "responses": {success: {"description": "done"}, **ERRORS}, **more}}


DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.0",
    "info": {"title": "Nchf_ConvergedCharging", "version": "3"},
    "paths": {
        "/chargingdata": _post("201"),
        "/chargingdata/{ChargingDataRef}/update": _post("200", parameters=[REFERENCE]),
        "/chargingdata/{ChargingDataRef}/release": _post("204", parameters=[REFERENCE]),
    },
}
