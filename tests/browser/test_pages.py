"""Every page in a real browser: quiet, offline, readable by day and night, on phone and wall."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_pages import NAMES

WIDTHS = (360, 768, 1280, 1920, 3840)
CONTRASTS = (Path(__file__).parent / "contrasts.js").read_text(encoding="utf-8")
SCROLLED = """[...document.querySelectorAll('main .scroll')]
    .filter((one) => one.scrollWidth > one.parentElement.clientWidth + 1).length"""
"""Tables that are cut off where nobody can scroll."""
WIDE = (Path(__file__).parent / "wide.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_quiet_offline_readable_and_fits_its_window(opened, pages, screenshot, name):
    one = opened(pages[name], color_scheme="light", viewport={"width": 1280, "height": 900})
    page = one.page
    one.walk()
    assert page.locator("h1").inner_text()
    assert page.locator("main > section").count() >= 2
    assert page.evaluate(CONTRASTS) == []
    screenshot(page, f"{name}-light")
    page.emulate_media(color_scheme="dark")
    one.settle()
    assert page.evaluate(CONTRASTS) == []
    screenshot(page, f"{name}-dark")
    charts = page.locator("[data-chart]").count()
    for width in (WIDTHS[0], WIDTHS[2], WIDTHS[-1]) if charts else WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        one.settle()
        assert page.evaluate(WIDE) == [], f"{width} px"
        if width in (WIDTHS[0], WIDTHS[-1]):
            screenshot(page, f"{name}-{width}")
    assert one.complaints == []
    assert one.asked == []


def test_the_contrast_check_can_fail(opened, tmp_path):
    path = tmp_path / "poor.html"
    path.write_text("<!doctype html><link rel=icon href='data:,'><p style='color: #999'>grey")
    assert opened(path).page.evaluate(CONTRASTS)


def test_the_width_check_can_fail(opened, tmp_path):
    path = tmp_path / "wide.html"
    path.write_text("<!doctype html><link rel=icon href='data:,'><div style='width: 200vw'>wide")
    assert opened(path).page.evaluate(WIDE)


def test_a_request_is_noticed_and_forbidden(opened, pages, tmp_path):
    path = tmp_path / "asking.html"
    text = pages["gate"].read_text(encoding="utf-8")
    path.write_text(text.replace("<footer>", "<img src='https://example.com/x.png'><footer>"))
    one = opened(path)
    assert one.asked or any("Content Security Policy" in said for said in one.complaints)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_matters_without_scripts(opened, pages, name):
    one = opened(pages[name], java_script_enabled=False)
    shown = one.page.locator("main").inner_text()
    assert len(shown) > 200
    assert one.page.locator("main > section h2").first.is_visible()
    for table in one.page.locator("table:visible").all():
        assert table.locator("thead th").count() > 0


@pytest.mark.parametrize("name", ["gate", "certified-run"])
def test_a_page_prints_with_all_that_is_folded(opened, pages, name):
    one = opened(pages[name], color_scheme="dark")
    one.page.emulate_media(media="print")
    ground = one.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    assert not one.page.locator("[data-theme-toggle]").is_visible()
    printed = one.page.pdf()
    assert printed.startswith(b"%PDF")
    assert len(printed) > 20_000
    # What was unfolded and made narrow for it is as it was.
    one.page.emulate_media(media="screen")
    assert one.page.locator(":root.printing").count() == 0


def test_a_page_prints_its_charts_and_whole_tables(opened, pages, tmp_path):
    """Though nobody has scrolled to them; by day, and as wide as paper."""
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("pdftotext is not installed (Debian: apt-get install poppler-utils)")
    one = opened(pages["run"], color_scheme="dark", viewport={"width": 1900, "height": 900})
    page = one.page
    assert page.locator(".main-svg").count() == 0  # none is in sight
    (tmp_path / "run.pdf").write_bytes(page.pdf(format="A4"))
    told = subprocess.run([reader, "-layout", tmp_path / "run.pdf", "-"], capture_output=True)
    text = told.stdout.decode()
    for axis in ("FLOP/B", "FLOP/s", "bus bandwidth, B/s"):  # titles of charts, in no table
        assert axis in text, axis
    assert one.complaints == []
    # As wide as A4 within its margins: nothing has to be scrolled, no colour is one of the dark.
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 900})
    assert page.evaluate(SCROLLED) == 0
    bad = "getComputedStyle(document.documentElement).getPropertyValue('--bad').trim()"
    assert page.evaluate(bad) == "#c0282d"


def test_light_and_dark_are_chosen_by_hand(opened, pages):
    page = opened(pages["gate"], color_scheme="light").page
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.locator("[data-theme-toggle]").click()
    after = page.evaluate(ground)
    assert after != before
    page.locator("[data-theme-toggle]").click()
    assert page.evaluate(ground) == before


def test_the_keyboard_reaches_everything(opened, pages):
    page = opened(pages["gate"]).page
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName + document.activeElement.type"))
    assert {"A", "BUTTONbutton", "INPUTsearch"} <= {one.replace("undefined", "") for one in reached}
