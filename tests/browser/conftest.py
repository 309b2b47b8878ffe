"""A real Chromium, driven by Playwright, and the pages that it opens.

Both are looked for and never fetched: Debian's package ``chromium``, and ``playwright`` of the
extra ``dev``. Screenshots go into ``results/screenshots`` for a person to look at.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import made_pages

TALLEST = 4000
"""Pixels of a page, from its top, that a picture shows."""
PATIENCE = 60_000
"""Milliseconds that a page is waited for: a figure of its own says how fast it is."""
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
WALK = (Path(__file__).parent / "walk.js").read_text(encoding="utf-8")
SCREENSHOTS = Path(__file__).parents[2] / "results" / "screenshots"


def chromium() -> str | None:
    """Where the system's browser is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
    """One browser for the tests of a file: while it is open, Playwright's event loop is the running
    one, and a worker may be given tests of other folders next, which run loops of their own."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    where = chromium()
    if where is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        # Nobody's settings and no sandbox: tests run as root in containers as well.
        made = playwright.chromium.launch(
            executable_path=where, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield made
        made.close()


class Opened:
    """A page in a context of its own: what it asked of networks, and what it complained of."""

    def __init__(self, context, path: Path) -> None:
        self.page = context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", self._request)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())

    def _request(self, request) -> None:
        # The page itself, and what stands in it, is no network.
        own = request.url.startswith(("data:", "blob:"))
        if not own and not (request.url.startswith("file:") and request.is_navigation_request()):
            self.asked.append(request.url)

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def walk(self) -> None:
        """Scroll through all of it, so that what is drawn when it is seen is drawn."""
        self.page.evaluate(WALK)
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked to be drawn is, and the layout has followed."""
        self.page.evaluate(SETTLED)
        self.until(
            "[...document.querySelectorAll('[data-chart] .plot')]"
            ".every((one) => one.querySelector('.main-svg') || !one.offsetParent)"
        )

    def until(self, holds: str) -> None:
        """Ask from here until an expression holds: the page lets no text be run as code in it."""
        end = time.monotonic() + PATIENCE / 1e3
        while not self.page.evaluate(holds):
            assert time.monotonic() < end, holds
            self.page.wait_for_timeout(20)


@pytest.fixture
def opened(browser):
    """Call with a file and what the context is (``color_scheme``, ``viewport``, ...)."""
    with contextlib.ExitStack() as stack:

        def call(path: Path, **how) -> Opened:
            context = browser.new_context(offline=True, **how)
            context.set_default_timeout(PATIENCE)
            stack.callback(context.close)
            return Opened(context, path)

        yield call


@pytest.fixture(scope="session")
def pages(once) -> dict[str, Path]:
    """Every kind of page by name, made from real documents by the command itself."""
    return made_pages.paths(once("pages", made_pages.make))


@pytest.fixture
def screenshot(request):
    """Call with a page and what it shows: a picture for a person to look at."""

    def call(page, name: str) -> None:
        with contextlib.suppress(OSError):  # a folder that is not ours to write
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            width = page.viewport_size["width"]
            tall = page.evaluate("document.documentElement.scrollHeight")
            part = {"x": 0, "y": 0, "width": width, "height": min(tall, TALLEST)}
            page.screenshot(
                path=SCREENSHOTS / f"{name}.png", full_page=True, clip=part, timeout=PATIENCE
            )

    return call
