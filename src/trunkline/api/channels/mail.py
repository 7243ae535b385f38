"""Alerts as mail, handed to the operator's own relay (RFC 5321) over TLS; whoever relays it onward is not our business.

The message's name is made of the delivery's key, so that a repetition is the same message to a mailbox.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from trunkline.charging.delivery import EMAIL
from trunkline.ports import AlertMessage, TryLater, Undeliverable

PATIENCE_S = 20.0
TLS, STARTTLS, PLAIN = "tls", "starttls", "plain"
_NEVER = 500  # an answer of the class 5 is for good (RFC 5321 4.2.1)


@dataclass(frozen=True)
class Relay:
    """Where mail is handed over, and as whom."""

    host: str
    port: int
    security: str  # TLS, STARTTLS or PLAIN
    sender: str
    user: str = ""
    password: str = field(default="", repr=False)


class Mail:
    """One connection a message: alerts are few, and a connection that idles is cut by every relay."""

    name = EMAIL

    def __init__(
        self, relay: Relay, context: Callable[[], ssl.SSLContext] = ssl.create_default_context
    ) -> None:
        """Nothing is connected before `send`."""
        self._relay, self._context = relay, context

    def send(self, message: AlertMessage) -> None:
        """Hand one mail over; see `ports.AlertChannel`."""
        if not message.address:
            raise Undeliverable("there is no address")
        try:
            relay = self._connected()
            try:
                relay.send_message(self._mail(message))
            finally:
                with suppress(OSError, smtplib.SMTPException):  # what was taken stays taken, however we part
                    relay.quit()
                relay.close()
        except smtplib.SMTPRecipientsRefused as error:
            code = next((code for code, _ in error.recipients.values()), 0)
            raise _told(code) from error
        except smtplib.SMTPResponseException as error:
            if isinstance(
                error, smtplib.SMTPAuthenticationError
            ):  # it is the settings' fault, not the message's
                raise TryLater(f"the relay does not let us in ({error.smtp_code})") from error
            raise _told(error.smtp_code) from error
        except smtplib.SMTPNotSupportedError as error:
            raise TryLater("the relay does not offer what the settings ask for") from error
        except (OSError, smtplib.SMTPException) as error:
            raise TryLater(f"no answer ({type(error).__name__})") from error
        except UnicodeError as error:
            raise Undeliverable("the address cannot be written") from error

    def _connected(self) -> smtplib.SMTP:
        relay = self._relay
        if relay.security == TLS:
            line: smtplib.SMTP = smtplib.SMTP_SSL(
                relay.host, relay.port, timeout=PATIENCE_S, context=self._context()
            )
        else:
            line = smtplib.SMTP(relay.host, relay.port, timeout=PATIENCE_S)
        try:
            if relay.security == STARTTLS:
                line.starttls(context=self._context())
            if relay.user:
                line.login(relay.user, relay.password)
        except BaseException:
            line.close()
            raise
        return line

    def _mail(self, message: AlertMessage) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self._relay.sender
        mail["To"] = message.address
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(datetime.fromtimestamp(message.alert["time_us"] // 1_000_000, UTC))
        mail["Message-ID"] = f"<{message.key}@{self._relay.sender.rpartition('@')[2]}>"
        mail["Content-Language"] = message.language
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday notice answers it
        mail["Trunkline-Attempt"] = str(message.attempt)
        mail.set_content(message.text + "\n")
        return mail


def _told(code: int) -> Exception:
    if code >= _NEVER:
        return Undeliverable(f"the relay answered {code}")
    return TryLater(f"the relay answered {code}", reached=True)
