"""Pages in Chinese: every word of our own is, and nothing that others wrote is changed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import made_pages

CHINESE = re.compile(r"[\u4e00-\u9fff]")
OURS = "main > section > h2, .lead, thead th, .figures dt, .kicker, .contents a"
SAME = re.compile(r"[A-Z_]+\d*|mfu|[\W\d_]*")
"""What is the same in every language."""


@pytest.fixture(scope="module")
def chinese(pages):
    return made_pages.chinese(pages["gate"].parent)


@pytest.mark.parametrize("name", made_pages.DOCUMENTS)
def test_every_word_of_our_own_is_chinese(opened, chinese, screenshot, name):
    page = opened(chinese[name], viewport={"width": 1280, "height": 900}).page
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    said = page.locator(OURS).all_text_contents()
    assert len(said) > 5
    other = {
        one.strip() for one in said if not CHINESE.search(one) and not SAME.fullmatch(one.strip())
    }
    assert other == set()
    screenshot(page, f"{name}-zh")
