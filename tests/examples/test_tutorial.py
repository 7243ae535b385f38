"""The tutorial is true: every command on its pages is given, in order, and answers what the page says."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from tests.examples.pages import ROOT, SYSTEM_PATH, answers, assert_answered, blocks, look_like_a_checkout

TUTORIAL = ROOT / "docs" / "tutorial"
PAGES = sorted(TUTORIAL.glob("[0-9]*.md"))
PORT = "8450"
# What a page starts besides trunkline, and the packages that bring it on Debian and Ubuntu.
PROGRAMS = {"5-live-calls.md": {"kamailio": "kamailio", "sipp": "sip-tester", "curl": "curl"}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_is_true(page: Path, tmp_path: Path) -> None:
    """Each block of commands succeeds and answers what stands below it."""
    needed = PROGRAMS.get(page.name, {})
    missing = [
        package for program, package in needed.items() if shutil.which(program, path=SYSTEM_PATH) is None
    ]
    if missing:
        pytest.skip(
            f"missing: {' '.join(missing)}; on Debian and Ubuntu: apt-get install {' '.join(missing)}"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    look_like_a_checkout(tmp_path)
    told = blocks(page)
    assert told
    assert_answered(told, answers(tmp_path, told, {PORT: port}))


def test_the_index_names_every_page() -> None:
    """A page that is not in the index is not found."""
    index = (TUTORIAL / "README.md").read_text()
    assert PAGES
    assert [page.name for page in PAGES if f"({page.name})" not in index] == []
