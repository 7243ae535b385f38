"""A real Chromium on the page of a real server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Playwright, Route, expect, sync_playwright

from tests.page.serve import Served, served
from trunkline.api.access import Role

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="package")
def driver() -> Iterator[Playwright]:
    """What drives browsers, once; on a busy machine they are slow to show what they were told.

    As long as it lives it keeps an event loop in this thread, and no other can run beside it: it ends with this folder.
    """
    expect.set_options(timeout=30_000)
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; on Debian and Ubuntu: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="package")
def browser(driver: Playwright) -> Iterator[Browser]:
    """One browser for all tests of the page."""
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def world() -> Iterator[Served]:
    """One server a module; tests use people and records of their own."""
    with served(200) as world:
        yield world


class Opened:
    """A page, and everything that went wrong in it."""

    def __init__(self, page: Page, world: Served) -> None:
        self.page = page
        self.world = world
        self.wrong: list[str] = []
        self.abroad: list[str] = []
        page.on(
            "console", lambda message: self.wrong.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.route("**/*", self._at_home)
        page.set_default_timeout(30_000)

    def _at_home(self, route: Route) -> None:
        """The page works without the internet: any request to elsewhere is noted and stopped."""
        if route.request.url.startswith((self.world.url, "data:")):
            route.continue_()
        else:
            self.abroad.append(route.request.url)
            route.abort()

    def go(self, view: str) -> None:
        """Open a view by its address."""
        self.page.evaluate("view => { location.hash = '#/' + view; }", view)

    def sign_in(self, role: Role = Role.ADMIN) -> None:
        """By a fresh link."""
        self.page.goto(self.world.link(role))
        self.page.wait_for_selector("#pulse[data-state=live]")


@pytest.fixture
def opened(browser: Browser, world: Served) -> Iterator[Opened]:
    """A fresh visitor; nothing may go wrong in the page or leave the machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    opened = Opened(context.new_page(), world)
    yield opened
    context.close()
    assert not opened.wrong, opened.wrong
    assert not opened.abroad, opened.abroad
