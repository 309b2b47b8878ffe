"""What somebody does with a page (filter, sort, open, copy, go to a node); what it never does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
import made_pages
from judged_runs import judged_run


def rows(page, section: str):
    """Rows of the table of a section that are there, opened ones left out."""
    return page.locator(f"#{section} tbody tr:not(.opened)")


def test_a_table_is_filtered_by_words_and_by_state(opened, pages):
    page = opened(pages["gate"]).page
    whole = rows(page, "metrics").count()
    assert whole > 20
    page.locator("#metrics input[type=search]").fill("stream triad bf16")
    found = rows(page, "metrics").all_inner_texts()
    assert 0 < len(found) < whole
    assert all("triad" in one and "bf16" in one for one in found)
    page.locator("#metrics input[type=search]").fill("there is no such metric")
    assert rows(page, "metrics").count() == 0
    page.locator("#metrics input[type=search]").fill("")
    page.locator("#metrics .chip", has_text="REGRESSED").click()
    states = [one.split("\t")[0] for one in rows(page, "metrics").all_inner_texts()]
    assert len(states) == 3
    assert all("REGRESSED" in one for one in states)
    page.locator("#metrics .chip", has_text="REGRESSED").click()
    assert rows(page, "metrics").count() == whole


def test_a_table_is_sorted_by_value_not_by_text(opened, pages):
    page = opened(pages["gate"]).page
    head = page.locator("#metrics thead th", has_text="worse by")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"

    def values():
        said = rows(page, "metrics").locator("td:nth-child(4)").all_inner_texts()
        return [float(re.match(r"[+-][\d.]+", one)[0]) for one in said if one[0] in "+-"]

    rising = values()
    assert rising == sorted(rising)
    assert rising[0] < 0 < rising[-1]
    head.locator("button").click()
    assert values() == rising[::-1]


def test_a_row_opens_with_its_reason(opened, pages):
    page = opened(pages["gate"]).page
    row = rows(page, "metrics").filter(has_text="moe 8x4096")
    assert page.get_by_text("throttled in every block").count() == 0
    row.locator("button.more").click()
    assert page.locator("#metrics tr.opened").get_by_text("throttled in every block").is_visible()
    row.locator("button.more").click()
    assert page.locator("#metrics tr.opened").count() == 0


def test_the_page_of_a_check_says_what_to_do(opened, pages):
    page = opened(pages["check"]).page
    first = rows(page, "checks").first
    assert "FAIL" in first.inner_text()
    first.locator("button.more").click()
    opened_row = page.locator("#checks tr.opened")
    assert "let memory() say" in opened_row.inner_text()
    assert "hengsuan backend check acme --only memory" in opened_row.inner_text()


def test_a_command_is_copied(browser, pages):
    context = browser.new_context(offline=True, permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(pages["verdict"].as_uri())
    box = page.locator(".command:visible").first
    box.locator("button").click()
    assert page.evaluate("navigator.clipboard.readText()") == box.locator("code").inner_text()
    context.close()


def test_a_certification_leads_from_the_verdict_to_the_node(opened, pages):
    page = opened(pages["verdict"]).page
    said = page.locator("#verdict .said").inner_text()
    bad = int(re.match(r"(\d+) of \d+ nodes rejected", said)[1])
    page.locator("#judged .chip", has_text="reject").click()
    assert rows(page, "judged").count() == bad > 0
    rows(page, "judged").first.locator("button.more").click()
    assert "reject:" in page.locator("#judged tr.opened").inner_text()
    assert "hengsuan certify" in page.locator("#judged tr.opened code").inner_text()


def test_a_run_leads_from_a_name_to_the_node(opened, pages):
    one = opened(pages["certified-run"])
    page = one.page
    go = page.locator("#nodes button.go").first
    name = go.inner_text()
    go.press("Enter")  # wherever it is while charts are drawn around it
    panel = page.locator("[data-panel]")
    panel.wait_for(state="visible")
    assert name.partition("/")[0] in panel.inner_text()
    assert panel.locator("tbody tr").count() > 0
    assert one.complaints == []


def test_a_name_leads_to_its_row_where_a_page_has_a_table_of_nodes(opened, pages):
    page = opened(pages["verdict"]).page
    page.evaluate("document.dispatchEvent(new CustomEvent('show-node', { detail: 'gpu-07' }))")
    (shown,) = rows(page, "judged").all_inner_texts()
    assert "gpu-07" in shown
    assert page.locator("#judged table").is_visible()


def test_charts_are_drawn_when_seen_and_drawn_again_in_the_dark(opened, pages):
    one = opened(pages["run"], color_scheme="light")
    chart = one.page.locator("[data-chart]").first
    drawn = chart.locator(".main-svg").first
    chart.scroll_into_view_if_needed()
    drawn.wait_for(state="visible")
    ink = "getComputedStyle(document.querySelector('[data-chart] .xtick text')).fill"
    before = one.page.evaluate(ink)
    one.page.locator("[data-theme-toggle]").click()
    one.until(f"{ink} !== {before!r}")
    assert one.complaints == []


def test_a_column_of_many_nodes_opens_by_mouse_and_by_keyboard(opened, tmp_path):
    one = opened(made_pages.page(made_pages.many_nodes(tmp_path), tmp_path / "many.html"))
    page, box = one.page, one.page.locator("[data-nodes]")
    plot, blocks = box.locator("[data-map]"), box.locator("[data-blocks]")
    plot.scroll_into_view_if_needed()
    plot.locator(".main-svg").first.wait_for(state="visible")
    assert "nodes in a column" in blocks.inner_text()
    columns = "document.querySelector('[data-map]').data[0].x.length"
    whole = page.evaluate(columns)
    search = box.locator("[data-find]")
    search.focus()
    page.keyboard.type("node-00017")
    assert "node-00017" in box.locator("[data-name]").inner_text()
    page.keyboard.press("Enter")
    one.until(f"{columns} < {whole}")
    assert "nodes in a column" not in blocks.inner_text()
    names = page.evaluate("document.querySelector('[data-map]').layout.xaxis.ticktext")
    assert "node-00017" in names
    blocks.locator("button", has_text="all nodes").focus()
    page.keyboard.press("Enter")
    one.until(f"{columns} === {whole}")
    # The same with a mouse, in the midst of the map.
    box.locator("[data-map] .nsewdrag").first.click()
    one.until(f"{columns} < {whole}")
    assert blocks.locator("button", has_text="all nodes").is_visible()
    assert one.complaints == []


def test_compared_runs_have_their_pictures_beside_each_other(opened, pages):
    one = opened(pages["compare-runs"], viewport={"width": 1600, "height": 900})
    page = one.page
    own = opened(pages["run"]).page.locator("main > section")
    sections = {part.get_attribute("id") for part in own.all()}
    shown = {part.get_attribute("id") for part in page.locator("main > section").all()}
    assert sections - shown == {"measurements"}  # which the table of metrics has of all
    maps = page.locator("#nodes [data-map] .main-svg")
    page.locator("#nodes").scroll_into_view_if_needed()
    one.until("document.querySelectorAll('#nodes [data-map]:has(.main-svg)').length === 2")
    assert maps.count() >= 2
    page.locator("#fabric").scroll_into_view_if_needed()
    one.until("document.querySelectorAll('#fabric [data-topology]:has(svg .tile)').length === 2")
    # Each answers for its own run.
    boxes = page.locator("#nodes [data-nodes]").all()
    boxes[1].locator("[data-find]").fill("node-00001")
    assert boxes[1].locator("[data-panel]").is_visible()
    assert not boxes[0].locator("[data-panel]").is_visible()
    assert one.complaints == []


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return made_pages.hostile(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("name", ["gate", "check", "score", "compare", "verdict", "run"])
def test_hostile_names_are_shown_and_never_obeyed(opened, hostile, screenshot, name):
    one = opened(hostile[name], viewport={"width": 1280, "height": 900})
    one.walk()
    page = one.page
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate("document.querySelectorAll('button.more').forEach((one) => one.click())")
    one.walk()
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert page.locator("main style").count() == 0
    assert one.complaints == []
    assert one.asked == []
    shown = page.locator("main").inner_text()
    assert "window.hit = 'script'</script>" in shown
    assert "49" not in page.title()
    assert page.locator("h1").is_visible()
    screenshot(page, f"hostile-{name}")


def test_names_that_scripts_know_are_names(opened, tmp_path):
    """What every object of JavaScript has is no colour, no word and no verdict."""
    names = ("constructor", "toString", "__proto__")
    run = judged_run(tmp_path / "run", *((name, "accept") for name in names))
    one = opened(made_pages.page(run, tmp_path / "run.html"))
    one.walk()
    page, panel = one.page, one.page.locator("[data-panel]")
    for name in names:
        page.locator("[data-find]").fill(name)
        assert name in panel.locator("[data-name]").inner_text()
    shown = page.locator("main").inner_text()
    assert "constructor" in shown
    assert "[native code]" not in page.locator("body").inner_text()
    assert one.complaints == []
