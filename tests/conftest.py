"""What holds for every test: nothing is left out quietly, and a failure can be seen again.

On a desk a test may be left out for want of a server or a right, and the end of the run says so in capitals.
On the build server (CI is set) that is a failure: a green build means that everything was tried.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

CI = bool(os.environ.get("CI"))

# The one reason that is good everywhere: scores on data that is too large or not ours to ship, and stays beside
# the checkout. Tests of promises never depend on it.
OUTSIDE_DATA = "../shared"

# A shared build machine stalls now and then; a stall is no bug. In CI the examples are the same every time, so
# that a red build tells of the change and not of luck; desks go on looking for new ones.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("desk"), derandomize=True, print_blob=True)
settings.load_profile("ci" if CI else "desk")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    where = report.longrepr
    return where[2].removeprefix("Skipped: ") if isinstance(where, tuple) else str(where)


class LeftOut:
    """Remembers every test that did not run, why, and whether that is allowed here."""

    def __init__(self) -> None:
        """Start with none."""
        self.tests: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that skipped itself; an expected failure has run and is not left out."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.tests.append((report.nodeid, _reason(report)))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that skipped itself while it was imported."""
        if report.skipped:
            self.tests.append((report.nodeid, _reason(report)))

    def unforgiven(self) -> list[tuple[str, str]]:
        """What may not be left out on the build server."""
        return [(test, reason) for test, reason in self.tests if OUTSIDE_DATA not in reason]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """On the build server, fail when something was left out."""
        if CI and self.unforgiven() and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say loudly what was left out."""
        if not self.tests:
            return
        terminalreporter.section("LEFT OUT: these tests did not run", sep="!", red=CI, yellow=not CI)
        for test, reason in self.tests:
            terminalreporter.line(f"  {test}: {reason}")
        if CI and self.unforgiven():
            terminalreporter.line(
                "  On the build server nothing may be left out: this run has FAILED.", red=True
            )


def pytest_configure(config: pytest.Config) -> None:
    """Watch for tests that are left out."""
    config.pluginmanager.register(LeftOut(), "left-out")
