"""The first page is true: its picture is the map, its commands answer what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.pages import ROOT, answers, assert_answered, blocks, look_like_a_checkout
from trunkline.kernel.flow import Flow
from trunkline.topology import USAGE

README = ROOT / "README.md"


def arrows(flow: Flow) -> set[tuple[str, str]]:
    """Every way into and out of a step."""
    found = {(step.reads.name, step.name) for step in flow.steps}
    return found | {(step.name, stream.name) for step in flow.steps for stream in step.writes}


def test_the_picture_is_the_map() -> None:
    """The arrows of the picture are those of the usage flow, no fewer and no more."""
    (picture,) = re.findall(
        r"^<!-- picture: usage -->\n```mermaid\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL
    )
    names = dict(re.findall(r"(\w+)[\[(]([\w.]+)[\])]", picture))
    drawn = re.findall(r"^ +(\w+)\S* --> (\w+)", picture, re.MULTILINE)
    assert {(names[start], names[end]) for start, end in drawn} == arrows(USAGE)


def test_the_walk_is_true(tmp_path: Path) -> None:
    """Whoever gives the commands of the README sees what it says."""
    look_like_a_checkout(tmp_path)
    told = blocks(README)
    assert told
    assert_answered(told, answers(tmp_path, told))


@pytest.mark.parametrize("path", re.findall(r"^\| (?:\[)?`([\w/.]+)`", README.read_text(), re.MULTILINE))
def test_places_are_there(path: str) -> None:
    """Every place in the table of places exists."""
    assert (ROOT / path).exists()
