"""Alert delivery put together from its settings: channels, words, what is usual; all mistakes are told at the start."""

from __future__ import annotations

import stat
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from trunkline.api.callbacks import Callbacks
from trunkline.api.channels.mail import PLAIN, STARTTLS, TLS, Mail, Relay
from trunkline.api.channels.sms import SmsGateway
from trunkline.api.channels.webhook import Webhook
from trunkline.bootstrap.addresses import is_loopback
from trunkline.bootstrap.alert_delivery import AlertDelivery, DeliveryLedger, LedgerDeliveries
from trunkline.charging.delivery import CHANNELS, EMAIL, HOUR_US, NEVER_QUIET, Usual, parse_kinds, parse_quiet
from trunkline.charging.messages import SHIPPED, MessageError, Templates, joined, parse_language
from trunkline.charging.tariffs.catalogue import Catalogue
from trunkline.ports import AlertChannel, Reader, Refused
from trunkline.settings import Delivery

KEY_LEAST = 32


def load_templates(own: Path | None = None) -> Templates:
    """The shipped words, and those of a folder of one's own over them; raises `Refused` with files and lines."""
    shipped = resources.files("trunkline.charging") / "wordings"
    found = {
        name: parse_language(name, (shipped / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")
        for name in SHIPPED
    }
    if own is None:
        return found
    if not own.is_dir():
        raise Refused(f"{own} is not a folder. Name the folder that holds en.yaml, de.yaml and so on.")
    mistakes, mine = [], {}
    for path in sorted(own.glob("*.yaml")):
        try:
            mine[path.stem] = parse_language(path.stem, path.read_text(encoding="utf-8"), path.name)
        except UnicodeDecodeError:
            mistakes.append(f"{path.name}:1: this is not UTF-8")
        except MessageError as error:
            mistakes.append(str(error))
    if mistakes:
        raise Refused("\n".join(mistakes))
    return joined(found, mine)


def usual_of(chosen: Delivery, templates: Templates) -> Usual:
    """What holds for customers who chose nothing; raises `Refused`."""
    channels = tuple(filter(None, (each.strip() for each in chosen.alert_channels.split(","))))
    wrong = [each for each in channels if each not in CHANNELS or each == EMAIL]
    if wrong:
        raise Refused(
            f"TRUNKLINE_ALERT_CHANNELS: {wrong[0]!r} cannot reach customers who chose nothing; webhook and sms can."
        )
    if chosen.alert_language not in templates:
        known = ", ".join(templates)
        raise Refused(
            f"TRUNKLINE_ALERT_LANGUAGE: there are no words in {chosen.alert_language!r}; there are in {known}."
        )
    if chosen.alert_attempts < 1 or chosen.alert_per_second < 1 or chosen.alert_hours < 0:
        raise Refused(
            "TRUNKLINE_ALERT_ATTEMPTS and TRUNKLINE_ALERT_PER_SECOND are at least 1, TRUNKLINE_ALERT_HOURS at least 0."
        )
    try:
        quiet = parse_quiet(chosen.alert_quiet) if chosen.alert_quiet else NEVER_QUIET
        urgent = parse_kinds(chosen.alert_urgent)
    except ValueError as error:
        raise Refused(f"TRUNKLINE_ALERT_QUIET or TRUNKLINE_ALERT_URGENT: {error}.") from error
    return Usual(channels, chosen.alert_language, quiet, urgent, chosen.alert_hours * HOUR_US)


def channels_of(chosen: Delivery, networks: tuple[str, ...]) -> dict[str, AlertChannel]:
    """The channels that are set up, by name; raises `Refused` for what would not be safe."""
    urls = {
        "TRUNKLINE_ALERT_WEBHOOK": chosen.alert_webhook,
        "TRUNKLINE_ALERT_SMS": chosen.alert_sms,
    }
    for name, url in urls.items():
        if url and not url.startswith(("http://", "https://")):
            raise Refused(f"{name} is an http or https address.")
    callbacks = Callbacks(networks, tuple(filter(None, urls.values())))
    found: list[AlertChannel] = []
    if chosen.alert_webhook or chosen.alert_webhook_key_file:
        if not chosen.alert_webhook_key_file:
            raise Refused(
                "Name the file with the secret that signs webhooks: TRUNKLINE_ALERT_WEBHOOK_KEY_FILE."
            )
        key = secret(chosen.alert_webhook_key_file).encode()
        if len(key) < KEY_LEAST:
            raise Refused(f"The secret in TRUNKLINE_ALERT_WEBHOOK_KEY_FILE has less than {KEY_LEAST} octets.")
        found.append(Webhook(callbacks, chosen.alert_webhook, key))
    if chosen.alert_smtp:
        found.append(Mail(relay_of(chosen)))
    if chosen.alert_sms:
        headers = headers_of(chosen.alert_sms_headers_file)
        try:
            found.append(SmsGateway(callbacks, chosen.alert_sms, chosen.alert_sms_body, headers))
        except ValueError as error:
            raise Refused(f"TRUNKLINE_ALERT_SMS_BODY: {error}.") from error
    return {each.name: each for each in found}


def relay_of(chosen: Delivery) -> Relay:
    """The relay for mail; raises `Refused`."""
    host, _, port = chosen.alert_smtp.rpartition(":")
    security = chosen.alert_smtp_security
    if not host or not port.isdigit():
        raise Refused("TRUNKLINE_ALERT_SMTP is a host and a port, such as mail.example:465.")
    if security not in (TLS, STARTTLS, PLAIN):
        raise Refused(f"TRUNKLINE_ALERT_SMTP_SECURITY is {TLS}, {STARTTLS} or {PLAIN}.")
    if security == PLAIN and not is_loopback(host):
        raise Refused("Mail would leave this machine in cleartext. Choose tls or starttls.")
    if "@" not in chosen.alert_smtp_sender:
        raise Refused("Name whom mail comes from: TRUNKLINE_ALERT_SMTP_SENDER.")
    password = secret(chosen.alert_smtp_password_file) if chosen.alert_smtp_password_file else ""
    if bool(chosen.alert_smtp_user) != bool(password):
        raise Refused("TRUNKLINE_ALERT_SMTP_USER and TRUNKLINE_ALERT_SMTP_PASSWORD_FILE are named together.")
    return Relay(
        host.strip("[]"), int(port), security, chosen.alert_smtp_sender, chosen.alert_smtp_user, password
    )


def headers_of(path: str) -> dict[str, str]:
    """Headers of a file, one a line; raises `Refused` without telling what they are."""
    found = {}
    for number, line in enumerate(secret(path).splitlines() if path else [], 1):
        name, colon, value = line.partition(":")
        if not colon or not name.strip().replace("-", "").isalnum() or not value.strip():
            raise Refused(f"{path}: line {number} is no header such as `Authorization: Bearer …`.")
        found[name.strip()] = value.strip()
    return found


def secret(name: str) -> str:
    """What a file holds that nobody else may read; raises `Refused` without telling what it is."""
    path = Path(name)
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Refused(f"{path} holds a secret and may be read by others. Give it mode 600.")
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8.") from error


def alert_delivery(
    opened: Callable[[], DeliveryLedger],
    reader: Reader,
    catalogue: Callable[[], Catalogue],
    chosen: Delivery,
    networks: tuple[str, ...] = (),
) -> tuple[LedgerDeliveries, AlertDelivery | None]:
    """The ledger for whoever asks, and what delivers; None while no channel is set up. Raises `Refused`.

    The ledger is `opened` when the settings have been found good.
    """
    templates = load_templates(Path(chosen.alert_templates) if chosen.alert_templates else None)
    usual, channels = usual_of(chosen, templates), channels_of(chosen, networks)
    unready = [each for each in usual.channels if each not in channels]
    if unready:
        raise Refused(f"TRUNKLINE_ALERT_CHANNELS names {unready[0]}, which is not set up.")
    ledger = opened()
    desk = LedgerDeliveries(ledger, reader, tuple(channels), tuple(templates))
    if not channels:
        return desk, None
    delivery = AlertDelivery(
        reader, ledger, channels, usual, templates, catalogue, chosen.alert_attempts, chosen.alert_per_second
    )
    return desk, delivery


def deliveries_over(ledger: DeliveryLedger, reader: Reader, chosen: Delivery) -> LedgerDeliveries:
    """A ledger for the command line, beside whoever delivers."""
    templates = load_templates(Path(chosen.alert_templates) if chosen.alert_templates else None)
    channels = [
        name
        for name, is_set in (
            ("webhook", chosen.alert_webhook or chosen.alert_webhook_key_file),
            ("email", chosen.alert_smtp),
            ("sms", chosen.alert_sms),
        )
        if is_set
    ]
    return LedgerDeliveries(ledger, reader, channels, tuple(templates))
