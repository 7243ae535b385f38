"""The project's own habits, kept by a test: what a reviewer would otherwise have to say again and again."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "trunkline").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TOOLS = sorted([*(ROOT / "scripts").rglob("*.py"), *(ROOT / "bench").rglob("*.py")])

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 900

# Compiled loops may be longer: numba cannot cut them up without a price, and they read from top to bottom.
KERNEL_DECORATORS = {"njit", "jit", "vectorize", "guvectorize"}

# path::function and why it may outgrow the limit. An entry that is no longer needed fails.
LONG_FUNCTIONS: dict[str, str] = {}

# path and why it may outgrow the limit.
LONG_FILES: dict[str, str] = {}

NAMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "base", "tools"}

NOTES_TO_SELF = re.compile(r"\b(TOD[O]|FIXM[E]|HAC[K])\b|(#|//).*\bXX[X]\b|raise NotImplementedErro[r]")

# The installer of each machine knows where its packages come from; a file that knows too is wrong elsewhere.
REGISTRIES = re.compile(
    r"pypi\.or[g]|pythonhosted\.or[g]|npmjs\.or[g]|npmjs\.co[m]|repo1?\.maven|maven\.apache\.or[g]|"
    r"deb\.debian\.or[g]|crates\.i[o]|proxy\.golang\.or[g]|--(extra-)?index-ur[l]|--find-link[s]"
)
MACHINE_PATHS = re.compile(r"(?<![\w.:/~*{}\]])/(?:work|root|home|Users)/\w")

# The files speak of the product and its trade, never of how or by whom they came to be written.
MAKING_OF = re.compile(
    r"\b(claud[e]|anthropi[c]|opena[i]|chatgp[t]|copilo[t]|language mode[l]s?|(ai|coding) assistan[t]s?|"
    r"(working|coding|work|developer's) sessio[n]s?|co-authored-b[y])\b",
    re.IGNORECASE,
)

VENDORED = "src/trunkline/api/page/vendor/"


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Every text file that is or would be committed, with its path."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    for name in sorted(filter(None, listed.decode().split("\0"))):
        path = ROOT / name
        if not path.is_file() or name.startswith(VENDORED):
            continue
        content = path.read_bytes()
        if b"\0" not in content[:8000]:
            yield name, content.decode("utf-8", errors="replace")


def lines_matching(pattern: re.Pattern[str], names_to_skip: tuple[str, ...] = ()) -> list[str]:
    """Every line of a tracked text that the pattern is found in, as path:line: text."""
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in tracked_texts()
        if not name.startswith(names_to_skip)
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def short(path: Path) -> str:
    """The path as it is written in this file's lists."""
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, methods and nested ones included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_kernel(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether numba compiles it."""
    names = (ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in function.decorator_list)
    return any(name.rpartition(".")[2] in KERNEL_DECORATORS for name in names)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of code from `def` to the end, without the docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_every_module_says_why_it_exists() -> None:
    """A module begins with a sentence; only an empty __init__.py has nothing to say."""
    silent = [
        short(path)
        for path in [*SOURCES, *TOOLS]
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_every_test_states_its_promise() -> None:
    """A test's docstring is the promise in a sentence."""
    silent = [
        f"{short(path)}::{function.name}"
        for path in TESTS
        for function in functions(path)
        if function.name.startswith("test_") and ast.get_docstring(function) is None
    ]
    assert silent == []


def test_no_file_is_named_for_nothing() -> None:
    """A file is named for a thing; a drawer for odds and ends grows until nobody finds anything in it."""
    assert [short(path) for path in [*SOURCES, *TESTS, *TOOLS] if path.stem in NAMELESS] == []


def test_functions_fit_the_screen() -> None:
    """A function outside the compiled loops stays under the limit, or is listed with a reason."""
    long = {
        f"{short(path)}::{function.name}": length(function)
        for path in [*SOURCES, *TESTS, *TOOLS]
        for function in functions(path)
        if length(function) > FUNCTION_LINES_MAX and not is_kernel(function)
    }
    assert {name: lines for name, lines in long.items() if name not in LONG_FUNCTIONS} == {}
    assert [name for name in LONG_FUNCTIONS if name not in long] == [], "no longer needed"


def test_files_can_be_read_in_one_sitting() -> None:
    """A file stays under the limit, or is listed with a reason; the page's scripts and styles too."""
    page = [
        path
        for path in (ROOT / "src").rglob("*")
        if path.suffix in {".js", ".mjs", ".css", ".html"} and VENDORED not in short(path)
    ]
    long = {
        short(path): lines
        for path in [*SOURCES, *TESTS, *TOOLS, *page]
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert {name: lines for name, lines in long.items() if name not in LONG_FILES} == {}
    assert [name for name in LONG_FILES if name not in long] == [], "no longer needed"


def test_no_notes_to_self() -> None:
    """What is not done is an issue, not a line in the source."""
    elsewhere = (
        "docs/",
        "tests/",
        "scripts/",
        "CHANGELOG",
        "CONTRIBUTING",
        "pyproject",
        "requirements/",
        "LICENSE",
    )
    assert lines_matching(NOTES_TO_SELF, elsewhere) == []


def test_no_address_of_a_package_registry() -> None:
    """Packages are asked for by name."""
    assert lines_matching(REGISTRIES) == []


def test_no_path_of_one_machine() -> None:
    """Nothing points to a place that only one machine has."""
    assert lines_matching(MACHINE_PATHS) == []


def test_files_speak_of_the_product() -> None:
    """A reader is told what a thing does and why, not how it came to be written."""
    assert lines_matching(MAKING_OF) == []


def test_nothing_is_random() -> None:
    """Ids come from the record's key and chance from a seed, in tests too, so that a failure can be seen again."""
    drawn = re.compile(r"\buuid4\b|default_rng\(\)|\brandom\.Random\(\)|\bos\.urandom\b")
    allowed = ("pyproject.toml", "docs/", "tests/test_tidy.py")
    assert lines_matching(drawn, allowed) == []


def test_tests_wait_for_what_they_expect() -> None:
    """No test sleeps: tests/waiting.py waits for the thing itself; a stand-in server may pace what it sends."""
    sleepers = [
        f"{short(path)}:{node.lineno}"
        for path in TESTS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) in {"time.sleep", "sleep"}
            or (ast.unparse(node.func) == "asyncio.sleep" and path.stem.startswith("test_"))
        )
    ]
    assert sleepers == []


def test_every_import_is_a_declared_dependency() -> None:
    """What src imports stands in a list of requirements: a package that only came along may go again."""
    lists = "".join((ROOT / "requirements" / f"{name}.in").read_text() for name in ("base", "cluster"))
    declared = re.findall(r"^[a-z][\w.-]*", lists, re.MULTILINE)
    mine = {re.sub(r"[-_.]+", "-", name).lower() for name in declared}
    providers = importlib.metadata.packages_distributions()
    undeclared = {
        f"{short(path)}: {top}"
        for path in SOURCES
        for top in _imported(path)
        if top not in sys.stdlib_module_names
        and top != "trunkline"
        and not {re.sub(r"[-_.]+", "-", name).lower() for name in providers.get(top, ())} & mine
    }
    assert undeclared == set()


def _imported(path: Path) -> Iterator[str]:
    """The first word of each module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_pins_are_hashed_and_name_no_place(lock: Path) -> None:
    """Every pinned package carries hashes; no line names an index, an address or a path."""
    text = lock.read_text()
    assert not re.search(r"https?://|file:|(?<!\w)/\w|^-[a-z]|--(?!hash=)", text, re.MULTILINE)
    for requirement in re.split(r"\n(?=[a-z])", text.strip()):
        assert re.match(r"[a-z][\w.-]*==[\w.]+", requirement), requirement[:80]
        assert "--hash=sha256:" in requirement, requirement[:80]
