"""What if: both sides agree with the books and with the second opinion, and every table sums to the same money."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.opinion.audit import audit
from tests.what_if.day import CHEAPER, DEARER, NOW_US, UNPRICED, Day
from trunkline.bootstrap.catalogues import load_catalogue, load_mappings, tariff_files
from trunkline.bootstrap.reconcile import reconcile
from trunkline.bootstrap.what_if import FolderWhatIfs, days, what_if
from trunkline.charging.tariffs import TariffError
from trunkline.charging.what_if import BANDS, SEGMENTS, SIDES
from trunkline.cli.app import app, failed
from trunkline.kernel.dial import to_key
from trunkline.kernel.money import to_text
from trunkline.ports import Refused
from trunkline.records.charging import CHARGED
from trunkline.stores.embedded.reader import EmbeddedReader


def answered(day: Day, draft: Path, first: str | None = None, last: str | None = None) -> dict[str, Any]:
    """The answer for a draft, after its sums were checked."""
    answer = what_if(EmbeddedReader(day.data), tariff_files(draft), load_mappings(), *days(first, last))
    whole = {side: answer[side] for side in SIDES}
    for segment in SEGMENTS:
        rows = answer["segments"][segment]
        assert {side: sum(row[side] for row in rows) for side in SIDES} == whole, segment
        assert sum(row["records"] for row in rows) == answer["records"], segment
    assert [row["band"] for row in answer["bands"]] == list(BANDS)
    for table in (answer["bands"], answer["pays"].values()):
        assert sum(row["subscribers"] for row in table) == answer["subscribers"]
        assert sum(row["difference_micros"] for row in table) == answer["difference_micros"]
    return answer


def test_an_unchanged_draft_differs_by_nothing(day: Day) -> None:
    """The tariff in use as a draft: zero in every table, and the running side is what the ledger holds."""
    answer = answered(day, day.tariffs)
    assert answer["records"] > 2000
    assert answer["running_micros"] == answer["draft_micros"] > 0
    assert answer["pays"]["more"]["subscribers"] == answer["pays"]["less"]["subscribers"] == 0
    assert answer["most_more"] == answer["most_less"] == []
    assert all(row["difference_micros"] == 0 for segment in SEGMENTS for row in answer["segments"][segment])
    assert answer["ledger"] == {
        "records": answer["records"],
        "charged_micros": answer["running_micros"],
        "agrees": True,
    }
    again = reconcile(EmbeddedReader(day.data), load_catalogue(day.data, None), load_mappings())
    assert (again["differences"], again["records"]) == (0, answer["records"])


def by_subscriber(day: Day, tariffs: Path) -> tuple[dict[int, int], dict[str, int], int]:
    """What the auditor charges under a tariff: by subscriber, by plan, and how many records have no price."""
    found = audit(tariffs, day.subscribers, day.files, NOW_US)
    people: dict[int, int] = defaultdict(int)
    plans: dict[str, int] = defaultdict(int)
    unpriced = 0
    for verdict in found.books.verdicts:
        if verdict.status == "rated":
            people[to_key(verdict.subscriber)] += verdict.charged_micros
            plans[verdict.plan.partition("@")[0]] += verdict.charged_micros
        else:
            unpriced += 1
    return people, plans, unpriced


def test_a_changed_draft_agrees_with_the_second_opinion(day: Day, tmp_path: Path) -> None:
    """Prices changed, and one taken away: an auditor who prices the day by both finds the same differences."""
    draft = day.draft(tmp_path / "draft", DEARER, CHEAPER, UNPRICED)
    answer = answered(day, draft)
    running, running_plans, refused_before = by_subscriber(day, day.tariffs)
    drafted, drafted_plans, refused_after = by_subscriber(day, draft)
    assert (answer["running_micros"], answer["draft_micros"]) == (
        sum(running.values()),
        sum(drafted.values()),
    )
    between = {word: drafted.get(word, 0) - micros for word, micros in running.items()}
    for name, sign in (("more", 1), ("less", -1)):
        mine = [micros for micros in between.values() if micros * sign > 0]
        assert answer["pays"][name] == {"subscribers": len(mine), "difference_micros": sum(mine)}
        assert mine, "a draft that changes nobody's bill tries nothing"
    for row in (*answer["most_more"], *answer["most_less"]):
        assert row["difference_micros"] == between[row["subscriber"]]
    for row in answer["segments"]["plan"]:
        assert row["running_micros"] == running_plans[row["name"]], row
        assert row["draft_micros"] == drafted_plans[row["name"]], row
    (lost,) = answer["refused"]
    assert (lost["running"], lost["draft"]) == ("", "tariff_not_found")
    assert lost["records"] == refused_after - refused_before > 0


def test_days_choose_what_is_compared(day: Day, tmp_path: Path) -> None:
    """Days that share no moment sum to the whole; days without usage are refused with a way on."""
    draft = day.draft(tmp_path / "draft", DEARER)
    whole = answered(day, draft)
    moments = pl.concat(list(EmbeddedReader(day.data).scan(CHARGED, -(2**62), 2**62)))["start_us"].sort()
    first, last = (datetime.fromtimestamp(us / 1e6, UTC).date() for us in (moments[0], moments[-1]))
    assert first != last, "the day lies within one day of UTC"
    early = answered(day, draft, None, first.isoformat())
    late = what_if(
        EmbeddedReader(day.data),
        tariff_files(draft),
        load_mappings(),
        days(None, first.isoformat())[1],
        days(None, last.isoformat())[1],
    )
    for name in ("records", *SIDES):
        assert early[name] + late[name] == whole[name], name
    with pytest.raises(Refused, match="choose other days"):
        answered(day, draft, "2031-01-01", None)
    with pytest.raises(Refused, match="before it begins"):
        days("2026-11-02", "2026-11-01")
    with pytest.raises(Refused, match="is not a day"):
        days("yesterday", None)


def test_nothing_is_booked(day: Day, tmp_path: Path) -> None:
    """After a what-if the ledger, the remembered tariff and the register are what they were."""
    register = (day.data / "catalogue" / "register.json").read_bytes()
    tariff = (day.data / "catalogue" / "tariff.json").read_bytes()
    before = EmbeddedReader(day.data).status()
    draft = day.draft(tmp_path / "draft", DEARER, ("plan: young", "plan: very_young"))
    answer = answered(day, draft)
    assert {row["draft"] for row in answer["refused"]} == {"tariff_not_found"}
    assert EmbeddedReader(day.data).status() == before
    assert (day.data / "catalogue" / "register.json").read_bytes() == register
    assert (day.data / "catalogue" / "tariff.json").read_bytes() == tariff


def test_the_command(day: Day, tmp_path: Path) -> None:
    """`trunkline whatif` tells, writes CSV and keeps its answer; numbers are masked unless asked for in full."""
    draft = day.draft(tmp_path / "draft", DEARER)
    file = tmp_path / "answer.csv"
    words = ["whatif", "--tariffs", str(draft), "--data", str(day.data), "--csv", str(file)]
    said = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    rows = pl.read_csv(file, infer_schema=False)
    assert rows.filter(pl.col("part") == "total")["difference"].to_list() == [
        to_text(said["difference_micros"])
    ]
    shown = rows.filter(pl.col("part") == "subscriber")["name"].to_list()
    assert shown
    assert all("•" in name for name in shown)
    assert all("•" in row["subscriber"] for row in said["most_more"])
    full = json.loads(CliRunner().invoke(app, [*words, "--json", "--full"]).output)
    assert all(row["subscriber"].isdigit() for row in full["most_more"])
    kept = FolderWhatIfs(EmbeddedReader(day.data), load_mappings())
    assert full["id"] == said["id"], "the same question has one answer"
    assert kept.newest(10)[0]["id"] == said["id"]
    assert _changed(kept.one(said["id"])) == _changed(said)
    assert kept.one("../../manifest") is None
    assert (day.data / "answers").stat().st_mode & 0o077 == 0, "it names subscribers"
    text = CliRunner().invoke(app, words).output
    assert "By destination" in text
    assert "pay more" in text
    assert EmbeddedReader(day.data).audit(1)["action"].to_list() == ["what_if"]


def _changed(answer: Mapping[str, Any] | None) -> dict[str, Any]:
    assert answer is not None
    return {key: answer[key] for key in ("segments", "bands", "pays", "difference_micros")}


def test_what_keeps_a_draft_from_being_compared(day: Day, tmp_path: Path) -> None:
    """A draft with mistakes names them, one in another currency is refused, and a folder without data says so."""
    broken = day.draft(tmp_path / "broken", ('price: "0.05"', 'price: "cheap"'))
    foreign = day.draft(tmp_path / "foreign", ("currency: EUR", "currency: USD"))
    for words, kind, match in (
        (["--tariffs", str(broken), "--data", str(day.data)], TariffError, "cheap"),
        (["--tariffs", str(foreign), "--data", str(day.data)], Refused, "two currencies"),
        (["--tariffs", str(day.tariffs), "--data", str(tmp_path)], FileNotFoundError, "holds no data"),
        (["--tariffs", str(tmp_path / "nowhere"), "--data", str(day.data)], Refused, "not a folder"),
    ):
        error = CliRunner().invoke(app, ["whatif", *words]).exception
        assert isinstance(error, kind), error
        assert match in str(error)
        assert failed(error) == 3
