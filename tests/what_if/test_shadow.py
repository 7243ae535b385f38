"""Shadow run: every planted difference is found with its cause and its money, and the gate judges by whole numbers."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.what_if.day import Day
from tests.what_if.old_system import MAPPING, row_of
from trunkline.bootstrap.platform import ingest, opened
from trunkline.bootstrap.shadow import FolderShadows, gate_of
from trunkline.charging.shadow import CAUSES, MONEY
from trunkline.cli.app import app, failed
from trunkline.kernel.dial import to_text as number_of
from trunkline.kernel.mappings import MappingError
from trunkline.kernel.money import to_text
from trunkline.ports import Refused
from trunkline.records.charging import CHARGED
from trunkline.settings import Folders
from trunkline.stores.embedded.reader import EmbeddedReader

REJECTED_HERE = (
    '{"id":"wrong-currency","source":"shop","type":"content","subscriber":"PAYER","start_us":START,"events":1,'
    '"amount":"1.00","currency":"USD"}\n'
)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Old:
    """A data folder, and what an old system would hand over that charges the same."""

    data: Path
    rows: Rows
    mapping: Path

    def file(self, folder: Path, rows: Rows) -> Path:
        """Its rated file."""
        path = folder / "rated.csv.gz"
        path.write_bytes(gzip.compress(pl.DataFrame(rows).write_csv(separator=";").encode()))
        return path

    def compare(self, folder: Path, rows: Rows, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and answer of the command."""
        where = ["--mapping", str(self.mapping), "--data", str(self.data)]
        said = CliRunner().invoke(
            app, ["shadow", "compare", str(self.file(folder, rows)), *where, "--json", *words]
        )
        assert said.exception is None or isinstance(said.exception, SystemExit), said.exception
        answer = json.loads(said.output)
        assert_sums(answer)
        return said.exit_code, answer


def assert_sums(answer: dict[str, Any]) -> None:
    """Every table sums to the same records and money."""
    counts, money = answer["counts"], answer["money"]
    assert counts["all"] == sum(count for name, count in counts.items() if name != "all")
    assert sum(row["records"] for row in answer["causes"]) == counts["all"] - counts["equal"]
    assert sum(row["difference_micros"] for row in answer["causes"]) == money["difference_micros"]
    for name in ("records", "absolute_micros", *MONEY):
        whole = counts["all"] if name == "records" else money[name]
        assert sum(row[name] for row in answer["days"]) == whole, name
    assert money["difference_micros"] == money["here_micros"] - money["there_micros"]


@pytest.fixture(scope="module")
def old(day: Day, tmp_path_factory: pytest.TempPathFactory) -> Old:
    """The day's folder with one record more, which was rejected, and the same charges as an old system tells them."""
    folder = tmp_path_factory.mktemp("old")
    shutil.copytree(day.data, folder / "data")
    charged = pl.concat(list(EmbeddedReader(day.data).scan(CHARGED, -(2**62), 2**62))).sort("seq")
    line = REJECTED_HERE.replace("PAYER", number_of(charged["subscriber"][0]))
    (folder / "more.ndjson").write_text(line.replace("START", str(charged["start_us"][0])))
    with opened(Folders(data=folder / "data")) as platform:
        ingest(platform, [folder / "more.ndjson"], None, None)
    (folder / "old.yaml").write_text(MAPPING)
    return Old(folder / "data", [row_of(row) for row in charged.iter_rows(named=True)], folder / "old.yaml")


def test_the_same_charges_are_equal(old: Old, tmp_path: Path) -> None:
    """A file of the very same charges: every record and bill is equal, and the strictest gate is passed."""
    code, answer = old.compare(tmp_path, old.rows, "--equal-percent", "100", "--money-per-mille", "0")
    assert code == 0
    assert answer["counts"]["equal"] == answer["counts"]["all"] == len(old.rows)
    assert answer["causes"] == answer["examples"] == answer["bills_most"] == []
    assert answer["bills"]["equal"] == answer["bills"]["compared"] > 20
    assert answer["gate"]["passes"]


def changed(row: dict[str, Any], **values: object) -> dict[str, Any]:
    return {**row, **values}


def dearer(row: dict[str, Any], micros: int) -> str:
    """The row's amount and something more."""
    return to_text(row["micros"] + micros)


def test_each_planted_difference_has_its_cause(old: Old, tmp_path: Path) -> None:
    """One difference of each kind: each is found once, under its cause, with its money, and nothing else is."""
    plain = [
        at for at, row in enumerate(old.rows) if not row["covered"] and row["micros"] > 0 and not row["report"]
    ]  # fmt: skip
    voice = [at for at in plain if old.rows[at]["type"] == "voice"]
    covered = next(at for at, row in enumerate(old.rows) if row["covered"] and not row["report"])
    others = iter(at for at in plain if at not in voice[:2])
    rows, here = [dict(row) for row in old.rows], old.rows
    expected: dict[tuple[str, str], int] = {}

    def plant(cause: str, at: int, theirs: int, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        rows[at] = change(rows[at])
        expected[cause, ""] = here[at]["micros"] - theirs

    def more(at: int, micros: int) -> int:
        return int(here[at]["micros"]) + micros

    at = voice[0]
    plant(
        "quantity",
        at,
        more(at, 50_000),
        lambda row: changed(row, ms=row["ms"] + 5000, charged=dearer(row, 50_000)),
    )
    at = voice[1]
    plant(
        "time",
        at,
        more(at, 40_000),
        lambda row: changed(row, start=row["start"] + 2_000_000, charged=dearer(row, 40_000)),
    )
    at = next(others)
    plant("rounding", at, more(at, -9_999), lambda row: changed(row, charged=dearer(row, -9_999)))
    at = next(others)
    plant("tariff", at, more(at, 10_001), lambda row: changed(row, charged=dearer(row, 10_001)))
    at = next(others)
    plant("currency", at, 0, lambda row: changed(row, currency="USD"))
    at = next(others)
    plant(
        "subscriber",
        at,
        more(at, 70_000),
        lambda row: changed(row, payer="4915999999999", charged=dearer(row, 70_000)),
    )
    plant("allowance", covered, more(covered, 30_000), lambda row: changed(row, charged=dearer(row, 30_000)))
    twice, gone = next(others), next(others)
    expected["duplicate_there", ""] = -here[twice]["micros"]
    expected["missing_there", ""] = here[gone]["micros"]
    rows.append(dict(here[twice]))
    stranger = changed(
        here[0], id="never-handed-in", charged="3.00", report="", session="", type="sms", events=1
    )
    rows.append(stranger)
    expected["missing_here", "no_trace"] = -3_000_000
    rows.append(changed(stranger, id="wrong-currency", source="shop", charged="1.00"))
    expected["missing_here", "wrong_currency"] = -1_000_000
    del rows[gone]

    _assert_found(old, tmp_path, rows, expected)
    _assert_listed(old, tmp_path, rows, expected)


def _assert_found(old: Old, tmp_path: Path, rows: Rows, expected: dict[tuple[str, str], int]) -> None:
    """Each cause is told once with its money, in the written order, and the gate is not passed unless it is wide."""
    code, answer = old.compare(tmp_path, rows)
    found = {(row["cause"], row["detail"]): row for row in answer["causes"]}
    assert {key: row["difference_micros"] for key, row in found.items()} == expected
    assert {row["records"] for row in found.values()} == {1}
    names = [cause.name for cause in CAUSES]
    assert [names.index(row["cause"]) for row in answer["causes"]] == sorted(
        names.index(cause) for cause, _ in expected
    )
    assert set(names) - {cause for cause, _ in expected} == {"late"}
    assert code == 10, "half a percent of differences and a strict gate"
    assert answer["gate"]["failed"]
    loose, _ = old.compare(tmp_path, rows, "--equal-percent", "90", "--money-per-mille", "500")
    assert loose == 0


def _assert_listed(old: Old, tmp_path: Path, rows: Rows, expected: dict[tuple[str, str], int]) -> None:
    """The CSV names each differing record once, the page's list has it, and no telephone number stands in either."""
    listed = tmp_path / "differing.csv"
    _, answer = old.compare(tmp_path, rows, "--csv", str(listed))
    table = pl.read_csv(listed, infer_schema=False)
    got = sorted(zip(table["cause"], table["difference"], strict=True))
    assert got == sorted((cause, to_text(micros)) for (cause, _), micros in expected.items())
    assert old.rows[0]["payer"] not in listed.read_text()
    assert all("•" in row["subscriber"] for row in answer["bills_most"])
    kept = FolderShadows(EmbeddedReader(old.data), {})
    assert kept.newest(1)[0]["id"] == answer["id"]
    said = kept.table(kept.newest(1)[0], lambda _word: "somebody")
    assert "somebody" in said
    assert "missing_here wrong_currency" in said
    text = (
        CliRunner()
        .invoke(
            app,
            [
                "shadow",
                "compare",
                str(tmp_path / "rated.csv.gz"),
                "--mapping",
                str(old.mapping),
                "--data",
                str(old.data),
            ],
        )
        .output
    )
    assert "not passed" in text
    assert "no_trace" in text


def test_days_and_unreadable_rows(old: Old, tmp_path: Path) -> None:
    """Days choose what is compared on both sides; rows that cannot be read are counted with their reason."""
    first = min(row["start"] for row in old.rows) // 86_400_000_000 * 86_400_000_000
    day = pl.Series([first]).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d")[0]
    rows = [
        *old.rows,
        changed(old.rows[0], id="no-amount", charged="a lot"),
        changed(old.rows[0], id="", charged="1"),
    ]
    code, answer = old.compare(tmp_path, rows, "--to", day)
    assert code == 0
    assert (
        answer["counts"]["all"]
        == sum(row["start"] < first + 86_400_000_000 for row in old.rows)
        < len(old.rows)
    )
    assert answer["unreadable"] == {"bad_amount": 1, "missing_id": 1}


def test_gates_are_whole_numbers() -> None:
    """Thresholds are millionths, never rounded; what is no threshold is refused with a hint."""
    gate = gate_of("99.9999", "0.001")
    assert (gate.equal_least, gate.money_most) == (999_999, 1)
    for equal, money in (("101", "1"), ("much", "1"), ("99.99999", "1"), ("99", "-1"), ("nan", "0")):
        with pytest.raises(Refused, match="expected"):
            gate_of(equal, money)


def test_what_keeps_a_file_from_being_compared(old: Old, tmp_path: Path) -> None:
    """A missing file, a mapping with mistakes or without an amount, and a file of nothing readable say what to do."""
    rated, empty = old.file(tmp_path, old.rows), tmp_path / "empty.csv"
    empty.write_text("id;charged\n")
    wrong, poor = tmp_path / "wrong.yaml", tmp_path / "poor.yaml"
    wrong.write_text("format: {kind: fax}\n")
    poor.write_text(MAPPING.replace("  amount: charged\n", "").replace("  currency: currency\n", ""))
    mapping = str(old.mapping)
    for words, kind, match in (
        ([str(tmp_path / "nowhere"), "--mapping", mapping], Refused, "not a file"),
        ([str(rated), "--mapping", str(wrong)], MappingError, "fax"),
        ([str(rated), "--mapping", str(poor)], Refused, "no column `amount`"),
        ([str(rated), "--mapping", "no_such"], Refused, "neither a mapping file"),
        ([str(empty), "--mapping", mapping], Refused, "Look at the mapping"),
        ([str(rated), "--mapping", mapping, "--from", "2031-01-01"], Refused, "choose other days"),
        ([str(rated), "--mapping", mapping, "--equal-percent", "all"], Refused, "expected"),
    ):
        error = CliRunner().invoke(app, ["shadow", "compare", *words, "--data", str(old.data)]).exception
        assert isinstance(error, kind), (words, error)
        assert match in str(error)
        assert failed(error) == 3
