"""Re-rating as a clerk does it at the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from typer.testing import CliRunner

from tests.billing.small import number
from tests.rerating.small import charged, corrections, tariff
from trunkline.cli import app


def run(*words: str, code: int = 0) -> str:
    """What a command says; asserts how it ends."""
    answer = CliRunner().invoke(app, ["rerate", *words])
    assert answer.exit_code == code, answer.output or answer.exception
    return answer.stdout


def test_preview_and_book(tmp_path: Path) -> None:
    """A clerk previews, looks at the records, books once under the corrected tariff, and is told so again."""
    charged(tmp_path, right=False, last=20)
    data = ("--data", str(tmp_path / "data"))
    corrected = str(tariff(tmp_path, right=True))
    days = ("--from", "2026-10-05", "--to", "2026-10-12")
    table = tmp_path / "records.csv"
    told = json.loads(run("preview", *days, "--tariffs", corrected, "--csv", str(table), "--json", *data))
    assert told["state"] == "preview"
    assert number(0) not in json.dumps(told)
    rows = list(csv.reader(table.read_text().splitlines()))
    assert len(rows) == told["records_differing"] + 1
    assert {row[3][:10] for row in rows[1:]} <= {f"2026-10-{day:02d}" for day in range(5, 13)}
    name = told["rerate_id"]
    assert json.loads(run("preview", *days, "--tariffs", corrected, "--json", *data))["rerate_id"] == name
    assert name in run("show", name, *data)
    answer = CliRunner().invoke(app, ["rerate", "book", name, *data])
    assert "another tariff" in str(answer.exception)
    done = json.loads(run("book", name, "--tariffs", corrected, "--json", *data))
    assert (done["booked"], done["moved"]) == (told["accounts_differing"], 0)
    assert json.loads(run("book", name, "--json", *data))["booked"] == 0
    assert "booked" in run("list", *data)
    assert len(corrections(tmp_path)) == told["records_differing"]


def test_one_subscriber_or_one_plan(tmp_path: Path) -> None:
    """A selection corrects whom it names and nobody else."""
    charged(tmp_path, right=False, last=20)
    data = ("--data", str(tmp_path / "data"), "--from", "2026-10-01", "--to", "2026-10-31", "--json")
    corrected = ("--tariffs", str(tariff(tmp_path, right=True)))
    everyone = json.loads(run("preview", *corrected, *data))
    one = json.loads(run("preview", "--subscriber", number(0), *corrected, *data))
    assert (one["accounts"], one["accounts_differing"]) == (1, 1)
    saver = json.loads(run("preview", "--plan", "saver", *corrected, *data))
    assert 1 < saver["accounts"] < everyone["accounts"]
    assert {row["plan"].split("@")[0].split()[0] for row in saver["by_plan"]} == {"saver"}
    answer = CliRunner().invoke(app, ["rerate", "preview", "--plan", "none such", *data])
    assert "There is no plan" in str(answer.exception)
