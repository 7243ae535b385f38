"""`trunkline network …` as a person uses it: each command once for what it is good for, and once for its mistakes."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.network.cells import inventory
from tests.simulation.network_days import CELLS, prepared
from trunkline.cli.app import app, failed
from trunkline.ports import Refused

PRB = "PRBUsageDl"
AGREEMENT = "campus: {enterprise: Example Ltd, area: network, kpi: PRBUsageDl, mark: 99, share: 90}\n"


def run(*words: str, given: str | None = None) -> str:
    """What a command prints; its trouble is raised."""
    answer = CliRunner().invoke(app, ["network", *words], input=given)
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return answer.output


def ask(*words: str) -> Any:
    """What a command answers to a script."""
    return json.loads(run(*words, "--json"))


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lists of a small network."""
    folder = tmp_path_factory.mktemp("lists")
    for name, content in inventory(CELLS).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, lists: Path) -> Path:
    """A data folder after a short day, put in by commands."""
    folder = tmp_path_factory.mktemp("data")
    at = ("--data", str(folder))
    assert ask("inventory", "load", str(lists), *at)["cells"] == CELLS
    (folder / "network" / "agreements.yaml").write_text(AGREEMENT)
    for path, mapping, source in prepared(tmp_path_factory.mktemp("day")):
        said = ask("ingest", str(path), "--mapping", mapping, "--source", source, *at)
        assert said["received"] == sum(
            said[name] for name in ("measured", "events", "duplicate", "rejected", "held")
        )
    return folder


def test_what_the_network_tells_can_be_asked_for(data: Path) -> None:
    """KPIs, findings, alarms, incidents, how all is doing: for people as text, for scripts as JSON."""
    at = ("--data", str(data))
    told = ask("status", *at)
    assert {row["source"] for row in told["sources"]} == {"ran", "elements"}
    counts = told["alarm_counts"]
    assert counts["raised"] == sum(
        counts[n] for n in ("active", "cleared", "deduplicated", "suppressed", "correlated")
    )
    assert "elements" in run("status", *at)
    kpis = ask("kpi", "C1", "--kpi", PRB, *at)
    assert {row["kpi"] for row in kpis} == {PRB}
    assert PRB in run("kpi", "C1", *at)
    assert "No KPI of it is known." in run("kpi", "nobody", *at)
    every = ask("alarms", "--all", *at)
    assert {"fan", "scan"} <= {row["problem"] for row in every}
    assert len(ask("alarms", *at)) < len(every)
    assert "scan" in run("alarms", "--all", *at)
    assert isinstance(ask("anomalies", *at), list)
    run("anomalies", *at)
    assert {row["problem"] for row in ask("alarms", "--all", "--security", *at)} == {"scan"}
    assert "scan" not in {row["problem"] for row in ask("alarms", "--all", "--failures", *at)}
    assert ask("incidents", "--all", *at)
    (budget,) = ask("budgets", *at)
    assert (budget["agreement"], budget["enterprise"], budget["severity"]) == (
        "campus",
        "Example Ltd",
        "cleared",
    )
    assert budget["left_percent"] <= 100
    assert "Example Ltd" in run("budgets", *at)
    run("incidents", *at)
    assert "MTTD" in run("measures", *at)


def test_who_reports_and_stands_in_no_list_is_named(data: Path, lists: Path, tmp_path: Path) -> None:
    """A cell that a new list left out goes on being measured, and is told as one that nobody listed."""
    mine = tmp_path / "mine"
    shutil.copytree(data, mine)
    at = ("--data", str(mine))
    assert ask("inventory", "unlisted", *at) == []
    assert "Everything that reports is listed." in run("inventory", "unlisted", *at)
    *kept, last = (lists / "cells.csv").read_text().splitlines(keepends=True)
    shorter = tmp_path / "cells.csv"
    shorter.write_text("".join(kept))
    assert ask("inventory", "load", str(shorter), *at)["cells"] == CELLS - 1
    (told,) = ask("inventory", "unlisted", *at)
    name = last.split(",")[0]
    assert told["name"] == name
    assert told["until"] == ask("kpi", name, *at)[0]["until"]
    assert name in run("inventory", "unlisted", *at)


def test_telemetry_that_was_set_aside_is_settled(data: Path, tmp_path: Path) -> None:
    """Listed, exported as it came, corrected, closed."""
    at = ("--data", str(data))
    (reject,) = ask("rejects", "list", *at)
    assert (reject["reason"], reject["mapping"]) == ("bad_value", "cells_ndjson")
    assert "outside its range" in run("rejects", "list", "--reason", "bad_value", *at)
    run("rejects", "export", "--out", str(tmp_path / "out"), *at)
    line = (tmp_path / "out").read_text()
    assert json.loads(line)["RRU.PrbTotDl"] == -3
    number = str(reject["number"])
    run("rejects", "correct", number, "this is no record", *at)
    (again,) = ask("rejects", "list", *at)
    assert (again["reason"], again["source"]) == ("unreadable", "ran")
    run("rejects", "correct", str(again["number"]), *at, given=line.replace("-3", "33"))
    left = ask("rejects", "list", *at)
    assert {row["reason"] for row in left} <= {
        "too_late"
    }  # its window may be closed by now; nothing is made up
    for row in left:
        run("rejects", "close", str(row["number"]), *at)
    assert "Nothing is rejected." in run("rejects", "list", *at)
    assert "Nothing is held." in run("held", "list", *at)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("inventory", "check", "LISTS/nowhere"), "does not exist"),
        (("inventory", "check", "EMPTY"), "no list in it"),
        (("inventory", "check", "WRONG/links.csv"), "nowhere"),
        (("ingest", "LISTS/nowhere", "--mapping", "syslog"), "No such file"),
        (("ingest", "LISTS/cells.csv", "--mapping", "unheard_of"), "no mapping"),
        (("kpi", "C1"), "holds no data"),
        (("status",), "watches no network"),
        (("look", "C1", "--kpi", PRB), "holds no data"),
        (("replay", "EMPTY"), "holds no pm"),
        (("replay", "LISTS", "--url", "nowhere"), "no address"),
        (("rejects", "list", "--reason", "whim"), "no reason"),
        (("rejects", "close", "7"), "no rejected record"),
        (("rejects", "close", "7", "--url", "http://127.0.0.1:9"), "does not answer"),
        (("held", "discard", "7"), "unknown or settled"),
        (("credits", "x", "--url", "ftp://there"), "no address"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_sentence(
    words: tuple[str, ...], said: str, lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do about it and an exit code that scripts can go by, and nothing is written."""
    wrong = tmp_path / "wrong"
    (tmp_path / "empty").mkdir()
    wrong.mkdir()
    (wrong / "links.csv").write_text("link,from,to\nl1,nowhere,S1\n")
    folders = {"LISTS": str(lists), "EMPTY": str(tmp_path / "empty"), "WRONG": str(wrong)}
    for name, path in folders.items():
        words = tuple(word.replace(name, path) for word in words)
    at = () if words[0] == "inventory" else ("--data", str(tmp_path / "data"))
    with pytest.raises((Refused, FileNotFoundError), match=said) as caught:
        run(*words, *at)
    assert failed(caught.value) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_closer_look_finds_what_was_never_seen(data: Path, lists: Path, tmp_path: Path) -> None:
    """A memory of patterns over what is kept of a series; too little of it is said so."""
    with pytest.raises(Refused, match="needs more than 150"):
        run("look", "C1", "--kpi", PRB, "--data", str(data))
    at, odd = ("--data", str(tmp_path / "data")), 380
    values = [30 + 10 * (number % 12 < 6) + 50 * (number in (odd, odd + 1)) for number in range(400)]
    moments = [datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=5 * number) for number in range(401)]
    rows = [
        {
            "cell": "C1",
            "technology": "NR",
            "begin": begin.isoformat(),
            "end": end.isoformat(),
            "RRU.PrbTotDl": value,
        }
        for value, begin, end in zip(values, moments[:-1], moments[1:], strict=True)
    ]
    path = tmp_path / "day.ndjson"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ask("inventory", "load", str(lists), *at)
    ask("ingest", str(path), "--mapping", "cells_ndjson", *at)
    found = {row["until"]: row["score"] for row in ask("look", "C1", "--kpi", PRB, *at)}
    told = {
        moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for moment in moments[odd + 1 : odd + 4]
    }
    assert max(found.values()) == max(found.get(moment, 0.0) for moment in told) >= 0.5
    assert "how unusual" in run("look", "C1", "--kpi", PRB, *at)
