"""`trunkline delivery`: choices, dead letters, words that are checked, and a backup that is as private."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.delivery.charged import PEOPLE, charged, number
from tests.delivery.receivers import http_receiver
from trunkline.bootstrap.alert_ways import alert_delivery
from trunkline.bootstrap.catalogues import load_catalogue
from trunkline.cli import app
from trunkline.cli.app import failed
from trunkline.settings import Delivery
from trunkline.stores.embedded.deliveries import EmbeddedDeliveries
from trunkline.stores.embedded.reader import EmbeddedReader

ADDRESS = "anna.example@mail.example"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an alert for everybody."""
    return charged(tmp_path_factory.mktemp("charged"))


def said(*words: str) -> str:
    """What a command says; its trouble is raised."""
    done = CliRunner().invoke(app, ["delivery", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def asked(data: Path, *words: str) -> Any:
    """What a command answers as JSON."""
    return json.loads(said(*words, "--data", str(data), "--json"))


def audited(data: Path) -> list[tuple[str, str]]:
    """What was done by hand, and the details that are kept of it."""
    return list(EmbeddedReader(data).audit(1000).select("action", "detail").iter_rows())


def test_choices_by_hand(data: Path) -> None:
    """Kept, shown masked or in full, replaced and forgotten; each is in the audit trail, and no address is."""
    who = number(1)
    said("choices", "set", who, "email", "--address", ADDRESS, "--language", "de", "--data", str(data))
    said(
        "choices",
        "set",
        who,
        "email",
        "--address",
        ADDRESS,
        "--quiet-hours",
        "22:00-07:00",
        "--data",
        str(data),
    )
    (row,) = asked(data, "choices", "show", who)
    assert (row["address"], row["language"], row["quiet_hours"]) == (
        "a\u2022\u2022\u2022@mail.example",
        "",
        "22:00-07:00",
    )
    assert asked(data, "choices", "show", who, "--full")[0]["address"] == ADDRESS
    assert "1 choices" in said("choices", "forget", who, "--data", str(data))
    assert asked(data, "choices", "show", who) == []
    actions = [action for action, _ in audited(data)]
    assert actions.count("choose_delivery") == 2
    assert actions.count("read_choices") == 3
    assert actions.count("forget_delivery") == 1
    assert ADDRESS not in str(audited(data))


def test_choices_of_a_file_are_all_taken_or_none(data: Path, tmp_path: Path) -> None:
    """With a mistake nothing is kept, and its line is told."""
    file = tmp_path / "choices.csv"
    file.write_text(f"subscriber,channel,address\n{number(2)},email,{ADDRESS}\n{number(3)},fax,\n")
    done = CliRunner().invoke(app, ["delivery", "choices", "load", str(file), "--data", str(data)])
    assert done.exception is not None
    assert failed(done.exception) == 3
    assert "choices.csv:3" in str(done.exception)
    assert asked(data, "choices", "show", number(2)) == []
    file.write_text(f"subscriber,channel,address\n{number(2)},email,{ADDRESS}\n{number(3)},sms,\n")
    assert asked(data, "choices", "load", str(file)) == {"choices": 2}
    assert len(asked(data, "choices", "show", number(3))) == 1
    said("choices", "forget", number(2), "--data", str(data))
    said("choices", "forget", number(3), "email", "--data", str(data))
    said("choices", "forget", number(3), "sms", "--data", str(data))


def test_dead_letters_by_hand(data: Path, tmp_path: Path) -> None:
    """Everybody's alert by a gateway that says no to one; the dead letter is listed, offered again and delivered."""
    with http_receiver() as receiver:
        receiver.answer = lambda told: (410 if number(7).encode() in told.body else 200, {})
        settings = Delivery(alert_channels="sms", alert_sms=receiver.url)
        catalogue = load_catalogue(data, None)
        _, life = alert_delivery(
            lambda: EmbeddedDeliveries(data), EmbeddedReader(data), lambda: catalogue, settings
        )
        assert life is not None
        while life.take_up() or life.deliver("sms")[0]:
            pass
        assert asked(data, "status")["states"] == {"sms": {"sent": PEOPLE - 1, "failed": 1}}
        assert "Your balance is below 1.00 EUR: 0.50 EUR left." in receiver.told[0].body.decode()
        (dead,) = asked(data, "dead")
        assert (dead["reason"], dead["subscriber"]) == (
            "answered 410",
            "4915\u2022\u2022\u2022\u2022\u2022\u2022007",
        )
        assert asked(data, "dead", "--full")[0]["subscriber"] == number(7)
        assert "answered 410" in said("list", "--state", "failed", "--data", str(data))
        receiver.answer = lambda _told: (200, {})
        assert asked(data, "retry", str(dead["number"])) == {"again": 1}
        assert asked(data, "retry") == {"again": 0}
        assert life.deliver("sms") == (1, True)
    assert asked(data, "status")["states"] == {"sms": {"sent": PEOPLE}}
    assert "sent" in said("status", "--data", str(data))
    life.ledger.close()


def test_a_backup_keeps_choices_as_private(data: Path, tmp_path: Path) -> None:
    """The ledger goes with the folder, and nobody else may read the copy either."""
    said("choices", "set", number(5), "sms", "--data", str(data))
    done = CliRunner().invoke(app, ["backup", str(tmp_path / "copy"), "--data", str(data)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "copy" / "deliveries.sqlite").stat().st_mode & 0o077 == 0
    assert len(asked(tmp_path / "copy", "choices", "show", number(5))) == 1


def test_words_are_checked(tmp_path: Path) -> None:
    """What can be used is said, and what cannot has its file and line."""
    (tmp_path / "de.yaml").write_text('kinds:\n  allowance: {subject: "{percent}", text: "{value}"}\n')
    assert "de" in said("templates", "check", str(tmp_path))
    (tmp_path / "de.yaml").write_text('kinds:\n  allowance: {subject: "{price}", text: "{value}"}\n')
    done = CliRunner().invoke(app, ["delivery", "templates", "check", str(tmp_path)])
    assert "de.yaml:2" in str(done.exception)


@pytest.mark.parametrize(
    "words",
    [
        ("choices", "set", "nobody", "sms"),
        ("choices", "set", "4915112345001", "pigeon"),
        ("choices", "forget", "4915112345001", "pigeon"),
        ("choices", "load", "nowhere.csv"),
        ("list", "--state", "lost"),
    ],
)
def test_what_cannot_be_is_told_in_words(data: Path, words: tuple[str, ...]) -> None:
    """With the exit code of things that cannot be used."""
    done = CliRunner().invoke(app, ["delivery", *words, "--data", str(data)])
    assert done.exception is not None
    assert failed(done.exception) == 3
