"""What is installed is what is in the repository: a mapping or a page left out of the wheel shows only at a user's."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_holds_everything_under_src(tmp_path: Path) -> None:
    """Every file of src/trunkline that is or would be committed is in the wheel; and the licence."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "."],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    copy = tmp_path / "checkout"  # a build leaves traces in its folder
    for name in filter(None, listed.split("\0")):
        if name.startswith(("src/", "requirements/")) or "/" not in name:
            if not (ROOT / name).is_file():
                continue
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(tmp_path),
            copy,
        ],
        check=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
        timeout=120,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(copy / "src").as_posix()
        for path in (copy / "src" / "trunkline").rglob("*")
        if path.is_file()
    }
    assert sorted(wanted - held) == []
    assert any(name.endswith("licenses/LICENSE") for name in held)
