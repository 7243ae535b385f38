"""Commands that ask for history never look into the data folder instead of a cluster: they work there, or refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from trunkline.cli import app
from trunkline.ports import Refused

BILL = "202610-adcff9ad377fc15f41cc"
BILLS = (
    ("bill", "preview", "4915112345000"),
    ("bill", "list"),
    ("bill", "show", BILL),
    ("bill", "dispute", BILL, "--reason", "calls"),
    ("bill", "credit", BILL, "1.00", "--reason", "goodwill"),
    ("bill", "check"),
    ("bill", "run", "--period", "2026-10"),
)
HISTORY = (("reconcile",),)


def asked(words: tuple[str, ...], folder: Path) -> None:
    """A command over a data folder."""
    CliRunner().invoke(app, [*words, "--data", str(folder)], catch_exceptions=False)


@pytest.mark.parametrize("words", [*BILLS, *HISTORY], ids=" ".join)
@pytest.mark.parametrize("how", ["by the environment", "by an option"])
def test_kafka_is_refused(
    words: tuple[str, ...], how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of the engine kafka keep no history that could be gone through: each command says who does."""
    if how == "by the environment":
        monkeypatch.setenv("TRUNKLINE_ENGINE", "kafka")
    else:
        words = (*words, "--engine", "kafka")
    with pytest.raises(Refused, match=r"engine kafka do not .*--engine spark"):
        asked(words, tmp_path)


def test_what_if_is_refused_on_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its draft is read."""
    monkeypatch.setenv("TRUNKLINE_ENGINE", "kafka")
    with pytest.raises(Refused, match="engine kafka do not"):
        asked(("whatif", "--tariffs", str(tmp_path)), tmp_path)


@pytest.mark.parametrize("words", BILLS, ids=" ".join)
def test_a_folder_that_is_not_there_has_no_bills(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Spark the folder of the bills must be there: else a wrong name would say that there is no bill."""
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install trunkline[cluster]")
    monkeypatch.setenv("TRUNKLINE_ENGINE", "spark")
    monkeypatch.setenv("TRUNKLINE_SPARK_CHECKPOINT", str(tmp_path / "nowhere"))
    with pytest.raises(Refused, match="TRUNKLINE_SPARK_CHECKPOINT"):
        asked(words, tmp_path)
