"""The build server's rule that no test is left out quietly is itself tested: a rule that does not bite is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPED = 'import pytest\n\ndef test_one(): pass\n\ndef test_two(): pytest.skip("{reason}")\n'
SKIPPED_WHOLE = 'import pytest\n\npytest.skip("{reason}", allow_module_level=True)\n'


def outcome(folder: Path, test: str, *, ci: bool) -> tuple[int, str]:
    """The exit status and output of a run of one test file under the project's own conftest."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_inner.py").write_text("def test_fine(): pass\n")
    (folder / "test_it.py").write_text(test)
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | (
        {"CI": "true"} if ci else {}
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return run.returncode, run.stdout


@pytest.mark.parametrize(
    ("ci", "test", "reason", "status"),
    [
        (False, SKIPPED, "no kamailio", 0),
        (True, SKIPPED, "no kamailio", 1),
        (True, SKIPPED_WHOLE, "no kamailio", 1),
        (True, SKIPPED, "../shared is not beside this checkout", 0),
    ],
)
def test_leaving_out_is_loud_and_in_ci_a_failure(
    tmp_path: Path, *, ci: bool, test: str, reason: str, status: int
) -> None:
    """A skipped test is named with its reason; on the build server it fails the run, unless the data is not ours."""
    returncode, output = outcome(tmp_path, test.format(reason=reason), ci=ci)
    assert returncode == status, output
    assert "LEFT OUT" in output
    assert reason in output
