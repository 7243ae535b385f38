"""Webhooks, mail and text messages over real connections: what is taken, tried again, and given up."""

from __future__ import annotations

import json
import ssl
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.delivery.receivers import HttpReceiver, MailReceiver, Told, http_receiver, mail_receiver
from tests.delivery.small import NOON_US, alert
from trunkline.api import callbacks as calling
from trunkline.api.callbacks import Callbacks
from trunkline.api.channels.mail import PLAIN, STARTTLS, TLS, Mail, Relay
from trunkline.api.channels.sms import SmsGateway
from trunkline.api.channels.webhook import Webhook
from trunkline.bootstrap.alert_ways import alert_delivery, channels_of, usual_of
from trunkline.bootstrap.alert_ways import load_templates as templates
from trunkline.ports import AlertChannel, AlertMessage, Refused, TryLater, Undeliverable
from trunkline.settings import Delivery

KEY = b"a secret of forty octets for all tests ."
FACTS = {name: value for name, value in alert(1).items() if name not in ("subscriber", "seq", "number")}


def message(**said: object) -> AlertMessage:
    """A message with all it needs."""
    usual = {
        "key": "00ff.webhook", "attempt": 1, "address": "", "subscriber": "447700900001", "language": "en",
        "subject": "Low: 0.99", "text": "Only 0.99 are left, \u20ac.", "short": 'Only "0.99" & less {id}',
        "alert": FACTS, "now_s": NOON_US // 1_000_000,
    } | said  # fmt: skip
    return AlertMessage(**usual)  # type: ignore[arg-type]


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    """A receiver on loopback."""
    with http_receiver() as state:
        yield state


@pytest.fixture
def relay() -> Iterator[MailReceiver]:
    """A relay on loopback."""
    with mail_receiver() as state:
        yield state


def keyed_digest(key: bytes, said: bytes) -> str:
    """HMAC (RFC 2104) written out: the hash over the key's outer pad and the hash over its inner pad and the text."""
    block = (sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = sha256(bytes(octet ^ 0x36 for octet in block) + said).digest()
    return sha256(bytes(octet ^ 0x5C for octet in block) + inner).hexdigest()


def test_a_webhook_is_a_signed_cloud_event(receiver: HttpReceiver) -> None:
    """CloudEvents 1.0 in structured mode; the signature is HMAC-SHA256 over timestamp and body."""
    Webhook(Callbacks(()), receiver.url, KEY).send(message(attempt=2))
    (told,) = receiver.told
    assert told.headers["content-type"].startswith("application/cloudevents+json")
    assert told.headers["idempotency-key"] == "00ff.webhook"
    assert told.headers["trunkline-attempt"] == "2"
    timestamp = told.headers["trunkline-timestamp"]
    assert timestamp == str(NOON_US // 1_000_000)
    signed = timestamp.encode() + b"." + told.body
    assert told.headers["trunkline-signature"] == f"v1={keyed_digest(KEY, signed)}"
    event = json.loads(told.body)
    assert {name: event[name] for name in ("specversion", "id", "type", "time", "datacontenttype")} == {
        "specversion": "1.0",
        "id": "00ff.webhook",
        "type": "trunkline.CustomerAlert.low_balance.v1",
        "time": "2026-11-18T11:59:00.000Z",
        "datacontenttype": "application/json",
    }
    assert event["source"]
    assert event["data"] | FACTS == event["data"]
    assert event["data"]["subscriber"] == "447700900001"


def test_an_event_is_the_same_at_each_attempt(receiver: HttpReceiver) -> None:
    """What a receiver remembers of the first, it finds in the second."""
    channel = Webhook(Callbacks(()), receiver.url, KEY)
    channel.send(message(attempt=1))
    channel.send(message(attempt=2, now_s=1))
    assert receiver.told[0].body == receiver.told[1].body
    assert receiver.told[0].headers["trunkline-signature"] != receiver.told[1].headers["trunkline-signature"]


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408, 425, 409])
def test_answers_that_ask_for_patience(receiver: HttpReceiver, status: int) -> None:
    """They are tried again, and not before the receiver wants it."""
    receiver.answer = lambda _told: (status, {"Retry-After": "77"})
    with pytest.raises(TryLater, match=str(status)) as caught:
        Webhook(Callbacks(()), receiver.url, KEY).send(message())
    assert (caught.value.retry_after_s, caught.value.reached) == (77, True)


@pytest.mark.parametrize("status", [410, 404, 400, 401, 403, 413, 301, 307])
def test_answers_that_are_for_good(receiver: HttpReceiver, status: int) -> None:
    """Nobody is asked again who said no; a redirection is not followed."""
    receiver.answer = lambda _told: (status, {"Location": receiver.url})
    with pytest.raises(Undeliverable, match=str(status)):
        Webhook(Callbacks(()), receiver.url, KEY).send(message())
    assert len(receiver.told) == 1


def test_a_receiver_that_hangs_is_left(receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while it counts as silent."""
    monkeypatch.setattr(calling, "PATIENCE_S", 0.2)
    receiver.answer = lambda _told: (0, {})
    with pytest.raises(TryLater, match="in time") as caught:
        Webhook(Callbacks(()), receiver.url, KEY).send(message())
    assert not caught.value.reached


def test_a_receiver_that_drips_is_cut_off(receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each octet comes in time and the answer never does: no customer's webhook holds up the others for long."""
    monkeypatch.setattr(calling, "LONGEST_S", 0.3)
    receiver.answer = lambda _told: (-1, {})
    with pytest.raises(TryLater):
        Webhook(Callbacks(()), receiver.url, KEY).send(message())


def test_nobody_answers(receiver: HttpReceiver) -> None:
    """A closed port and a name that leads nowhere are trouble of today; a network that is not ours is for good."""
    channel = Webhook(Callbacks(()), "http://127.0.0.1:1/", KEY)
    with pytest.raises(TryLater):
        channel.send(message())
    with pytest.raises(TryLater):
        channel.send(message(address="http://nowhere.invalid/"))
    with pytest.raises(Undeliverable, match="NOTIFY_NETWORKS"):
        channel.send(message(address="http://192.0.2.1/"))
    channel.send(message(address=receiver.url))
    assert len(receiver.told) == 1


def test_text_messages_as_json(receiver: HttpReceiver) -> None:
    """Values are filled, whatever signs they hold; what stands in a text is not filled again."""
    template = (
        '{"messages": [{"to": "+{to}", "body": "{text}"}], "ref": "{id}", "n": 1, "l": "{language}{x}"}'
    )
    SmsGateway(Callbacks(()), receiver.url, template, {"Authorization": "Bearer x"}).send(message())
    (told,) = receiver.told
    assert json.loads(told.body) == {
        "messages": [{"to": "+447700900001", "body": 'Only "0.99" & less {id}'}],
        "ref": "00ff.webhook",
        "n": 1,
        "l": "en{x}",
    }
    assert told.headers["authorization"] == "Bearer x"
    assert told.headers["idempotency-key"] == "00ff.webhook"


def test_text_messages_as_a_form(receiver: HttpReceiver) -> None:
    """The same as a form; another number than the customer's own when one was chosen."""
    SmsGateway(Callbacks(()), receiver.url, "to={to}&text={text}&try={attempt}").send(
        message(address="4915100000")
    )
    (told,) = receiver.told
    assert told.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(told.body.decode()) == {
        "to": ["4915100000"],
        "text": ['Only "0.99" & less {id}'],
        "try": ["1"],
    }


@pytest.mark.parametrize("template", ['{"to": "{to}"', '{"to": "{to}"}', "to={to}", "hello"])
def test_templates_of_which_no_message_comes(template: str) -> None:
    """They are refused at the start."""
    with pytest.raises(ValueError, match="body of text messages"):
        SmsGateway(Callbacks(()), "http://127.0.0.1/", template)


def mail(relay: MailReceiver, security: str = PLAIN) -> Mail:
    """Mail by a relay."""
    return Mail(Relay("127.0.0.1", relay.port, security, "alerts@operator.example"))


def test_mail_is_handed_over(relay: MailReceiver) -> None:
    """With its words, a name made of the delivery, and a word to robots not to answer."""
    mail(relay).send(message(key="00ff.email", address="a@example.org"))
    (taken,) = relay.mails
    assert relay.recipients == ["a@example.org"]
    assert taken["Subject"] == "Low: 0.99"
    assert taken["Message-ID"] == "<00ff.email@operator.example>"
    assert taken["Auto-Submitted"] == "auto-generated"
    assert taken.get_content().strip() == "Only 0.99 are left, \u20ac."


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
def test_relays_that_say_no_or_later(relay: MailReceiver, command: str) -> None:
    """The class 5 is for good, the class 4 for now, whichever command it answers."""
    relay.refuse = {command: "550 no such mailbox"}
    with pytest.raises(Undeliverable, match="550"):
        mail(relay).send(message(address="a@example.org"))
    relay.refuse = {command: "451 later"}
    with pytest.raises(TryLater, match="451"):
        mail(relay).send(message(address="a@example.org"))
    assert relay.mails == []


def test_a_mail_that_was_taken_stays_taken(relay: MailReceiver) -> None:
    """However rudely the relay parts."""
    relay.refuse = {"QUIT": "421 gone"}
    mail(relay).send(message(address="a@example.org"))
    assert len(relay.mails) == 1


@pytest.mark.parametrize("security", [TLS, STARTTLS])
def test_mail_goes_over_tls_and_the_password_too(tmp_path: Path, security: str) -> None:
    """To a relay whose certificate leads to one that is trusted; another one gets neither mail nor password."""
    certificate, key = made_certificate(tmp_path)
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mine.load_cert_chain(certificate, key)
    with mail_receiver(mine, later=security == STARTTLS) as relay:
        at = Relay("127.0.0.1", relay.port, security, "alerts@operator.example", "me", "the password")
        with pytest.raises(TryLater):
            Mail(at).send(message(address="a@example.org"))
        assert relay.logins == []
        Mail(at, lambda: ssl.create_default_context(cafile=certificate)).send(
            message(address="a@example.org")
        )
        ((line, safe),) = relay.logins
        assert safe
        assert b64decode(line.split()[2]) == b"\0me\0the password"
        assert len(relay.mails) == 1


def made_certificate(folder: Path) -> tuple[str, str]:
    """A certificate for this machine that trusts itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(certificate), str(key)


def test_mail_is_never_sent_without_the_tls_that_was_asked_for(relay: MailReceiver) -> None:
    """A relay that offers none gets nothing, and trouble of settings loses no mail."""
    with pytest.raises(TryLater):
        mail(relay, STARTTLS).send(message(address="a@example.org"))
    relay.port = 1
    with pytest.raises(TryLater, match="no answer"):
        mail(relay).send(message(address="a@example.org"))
    assert relay.mails == []


# -- settings --------------------------------------------------------------------------------------------------


def secret_file(folder: Path, text: str, mode: int = 0o600) -> str:
    """A file with a secret."""
    path = folder / "secret"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alert_webhook": "https://h/"}, "KEY_FILE"),
        ({"alert_webhook": "h"}, "http or https"),
        ({"alert_smtp": "mail"}, "host and a port"),
        ({"alert_smtp": "mail.example:25", "alert_smtp_security": "plain"}, "cleartext"),
        ({"alert_smtp": "mail.example:25", "alert_smtp_security": "no"}, "SECURITY"),
        ({"alert_smtp": "mail.example:465"}, "SENDER"),
        ({"alert_smtp": "m:1", "alert_smtp_sender": "a@b", "alert_smtp_user": "u"}, "together"),
        ({"alert_sms": "http://h/", "alert_sms_body": "x"}, "SMS_BODY"),
    ],
)
def test_settings_that_cannot_be_used(wrong: dict[str, str], said: str) -> None:
    """They are refused at the start, with what to change."""
    with pytest.raises(Refused, match=said):
        channels_of(Delivery(**wrong), ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alert_channels": "email"}, "email"),
        ({"alert_language": "xx"}, "xx"),
        ({"alert_quiet": "late"}, "late"),
        ({"alert_urgent": "weather"}, "weather"),
        ({"alert_attempts": 0}, "ATTEMPTS"),
    ],
)
def test_what_is_usual_is_checked(wrong: dict[str, object], said: str) -> None:
    """The same for what holds for everybody."""
    with pytest.raises(Refused, match=said):
        usual_of(Delivery(**wrong), templates())  # type: ignore[arg-type]


def test_secrets_are_the_owners_and_never_told(tmp_path: Path) -> None:
    """A file that others may read, a short key and a broken header are refused without their content."""
    key = "verysecretword"
    for mode in (0o640, 0o600):
        path = secret_file(tmp_path, key, mode)
        with pytest.raises(Refused) as caught:
            channels_of(Delivery(alert_webhook="https://h.example/", alert_webhook_key_file=path), ())
        assert key not in str(caught.value)
        with pytest.raises(Refused) as caught:
            channels_of(Delivery(alert_sms="https://h.example/", alert_sms_headers_file=path), ())
        assert key not in str(caught.value)
    assert key not in repr(Relay("h", 1, "tls", "a@b", "u", key))


def test_a_trusted_address_is_the_one_of_the_settings_only(tmp_path: Path) -> None:
    """An https address that the settings name needs no network; nothing beside it becomes reachable."""
    found: dict[str, AlertChannel] = channels_of(
        Delivery(
            alert_webhook="https://192.0.2.1/alerts",
            alert_webhook_key_file=secret_file(tmp_path, "k" * 32),
        ),
        (),
    )
    assert list(found) == ["webhook"]
    callbacks = found["webhook"]._callbacks  # type: ignore[attr-defined]
    assert callbacks.allowed("https://192.0.2.1/alerts") == ("192.0.2.1", 443)
    for other in ("https://192.0.2.1/other", "http://192.0.2.1/alerts"):
        with pytest.raises(Exception, match="callback"):
            callbacks.allowed(other)


def test_headers_of_a_gateway(tmp_path: Path, receiver: HttpReceiver) -> None:
    """They are sent as the file has them."""
    path = secret_file(tmp_path, "Authorization: Bearer abc\nX-Account: 7\n")
    found = channels_of(Delivery(alert_sms=receiver.url, alert_sms_headers_file=path), ())
    found["sms"].send(message())
    told: Told = receiver.told[0]
    assert (told.headers["authorization"], told.headers["x-account"]) == ("Bearer abc", "7")


def test_a_usual_channel_must_be_set_up(tmp_path: Path) -> None:
    """Else everybody's alerts would be dead letters."""
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Refused, match="not set up"):
        alert_delivery(lambda: None, None, lambda: None, Delivery(alert_channels="sms"))  # type: ignore[arg-type,return-value]
    assert list(tmp_path.iterdir()) == []
