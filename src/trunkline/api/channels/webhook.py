"""Alerts as CloudEvents 1.0 (structured mode, JSON) to a webhook, signed so that a receiver knows whose they are.

The signature is HMAC-SHA256 over the timestamp, a full stop and the body; a receiver recomputes it with the shared key,
refuses a timestamp that is minutes off, and drops an `Idempotency-Key` that it has seen.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from trunkline.api.callbacks import Callbacks
from trunkline.api.channels.answers import hand_over
from trunkline.api.exact import write_json
from trunkline.api.shown import moment
from trunkline.charging.delivery import WEBHOOK, severity
from trunkline.ports import AlertMessage, Undeliverable

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
TIMESTAMP, SIGNATURE = "Trunkline-Timestamp", "Trunkline-Signature"
ATTEMPT, KEY = "Trunkline-Attempt", "Idempotency-Key"
TYPE = "trunkline.CustomerAlert.{kind}.v1"
SOURCE = "/trunkline/charging/alerts"


class Webhook:
    """A receiver of the operator's own, and those that customers chose."""

    name = WEBHOOK

    def __init__(self, callbacks: Callbacks, address: str, key: bytes) -> None:
        """`address` is where alerts go of customers who chose none; the key signs them all."""
        self._callbacks, self._address, self._key = callbacks, address, key

    def send(self, message: AlertMessage) -> None:
        """Post one event; see `ports.AlertChannel`."""
        address = message.address or self._address
        if not address:
            raise Undeliverable("there is no address")
        body = write_json(event(message))
        timestamp = str(message.now_s)
        headers = {
            "Content-Type": CONTENT_TYPE,
            KEY: message.key,
            ATTEMPT: str(message.attempt),
            TIMESTAMP: timestamp,
            SIGNATURE: f"v1={signature(self._key, timestamp, body)}",
        }
        hand_over(self._callbacks, address, body, headers)


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 (RFC 2104, FIPS 180-4) over `timestamp.body`, in hexadecimal."""
    return hmac.new(key, timestamp.encode() + b"." + body, sha256).hexdigest()


def event(message: AlertMessage) -> Mapping[str, Any]:
    """A message as a CloudEvent; the same at each attempt."""
    alert = message.alert
    return {
        "specversion": "1.0",
        "id": message.key,
        "source": SOURCE,
        "type": TYPE.format(kind=alert["kind"]),
        "time": moment(alert["time_us"]),
        "datacontenttype": "application/json",
        "data": {
            **alert,
            "severity": severity(alert["kind"], alert["threshold"]),
            "subscriber": message.subscriber,
            "language": message.language,
            "subject": message.subject,
            "text": message.text,
        },
    }
