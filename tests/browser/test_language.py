"""Pages in Chinese: every word of our own is, and nothing that others wrote is changed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
import made_pages
from english_left import english, phrases

CHINESE = re.compile(r"[\u4e00-\u9fff]")
OURS = "main > section > h2, .lead, thead th, .figures dt, .kicker, .contents a"


@pytest.fixture(scope="module")
def chinese(pages):
    return made_pages.chinese(pages["gate"].parent)


NAMES = (*made_pages.DOCUMENTS, "run", "certified-run")
WIDE = (Path(__file__).parent / "wide.js").read_text(encoding="utf-8")
DRAWN = ".xtitle, .ytitle, .legendtext, .annotation-text, .cbtitle, [data-chart] option"


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_our_own_is_chinese(opened, chinese, screenshot, name):
    page = opened(chinese[name], viewport={"width": 1280, "height": 900}).page
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    said = page.locator(OURS).all_text_contents()
    assert len(said) > 5
    assert {text for text in said if english(text)} == set()
    screenshot(page, f"{name}-zh")


@pytest.mark.parametrize("name", made_pages.DOCUMENTS)
def test_a_page_in_chinese_fits_a_phone(opened, chinese, screenshot, name):
    one = opened(chinese[name], viewport={"width": 360, "height": 800})
    one.walk()
    assert one.page.evaluate(WIDE) == []
    assert one.complaints == []
    screenshot(one.page, f"{name}-zh-360")


@pytest.mark.parametrize("name", ["run", "certified-run"])
def test_charts_and_plotly_speak_chinese_on_a_phone_too(opened, chinese, pages, screenshot, name):
    folder = pages["gate"].parent / ("runs" if name == "run" else "certified")
    names = phrases(min(folder.iterdir()))
    one = opened(chinese[name], viewport={"width": 1280, "height": 900})
    one.walk()
    said = one.page.locator(DRAWN).all_text_contents()
    assert len(said) > 20
    assert {text: found for text in said if (found := english(text, names))} == {}
    buttons = one.page.locator(".modebar-btn")
    titles = {buttons.nth(n).get_attribute("data-title") for n in range(buttons.count())}
    assert len(titles) > 4
    assert {title for title in titles if not CHINESE.search(title)} == set()
    one.page.set_viewport_size({"width": 360, "height": 800})
    one.settle()
    assert one.page.evaluate(WIDE) == []
    assert one.complaints == []
    screenshot(one.page, f"{name}-zh-360")


def test_what_a_box_is_told_of_is_chinese(opened, chinese):
    page = opened(chinese["run"], viewport={"width": 1280, "height": 900}).page
    words = page.evaluate("JSON.parse(document.getElementById('words').textContent)")
    other = {word for word in words if not CHINESE.search(words[word])}
    assert len(words) > 40
    assert other == set()
