"""The fabric on its topology: what is slow is seen, groups open, names are names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
import made_pages
from report_runs import paired, racks

from bench.report.html.fabric import fabric
from bench.report.html.nodes import nodes
from bench.report.html.page import Page
from bench.report.html.render import write
from bench.report.html.source import Source
from bench.results import RunReader

CONTRASTS = (Path(__file__).parent / "contrasts.js").read_text(encoding="utf-8")
WIDE = (Path(__file__).parent / "wide.js").read_text(encoding="utf-8")
RED = """one => {
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.fillStyle = getComputedStyle(one).fill;
  canvas.fillRect(0, 0, 1, 1);
  const [red, green] = canvas.getImageData(0, 0, 1, 1).data;
  return red - green;
}"""
"""How red a box is, of 255."""


def page_of(run, path):
    """A page of the two sections that speak of nodes and their links."""
    source = Source(RunReader(run), {})
    write(Page(title="pairs", badge="measured", sections=[fabric(source), nodes(source)]), path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pages of sixteen nodes in racks and pods that a feed crosses, and of 1,024."""
    folder = tmp_path_factory.mktemp("topology")
    labels = [{**one, "feed": f"f{n % 2}"} for n, one in enumerate(racks(16))]
    small = paired(folder / "small", labels, slow={6: 0.9}, links={(2, 11): 0.8})
    large = paired(folder / "large", racks(1024, 16, 256), slow=dict.fromkeys(range(160, 176), 0.9))
    return {
        name: page_of(run, folder / f"{name}.html")
        for name, run in (("small", small), ("large", large))
    }


def seen(one):
    """The picture, drawn."""
    one.page.evaluate("document.querySelector('[data-topology]').scrollIntoView()")
    one.until("document.querySelector('[data-topology] svg .tile') !== null")
    return one.page.locator("[data-topology]")


def tile(box, name):
    """The box of that name."""
    return box.locator(".tile").filter(has=box.page.get_by_text(name, exact=True))


def test_a_slow_node_and_a_slow_link_are_seen(opened, made, screenshot):
    one = opened(made["small"], color_scheme="light", viewport={"width": 1280, "height": 900})
    box, page = seen(one), one.page
    assert box.locator(".tile").count() == 16
    assert box.locator(".tile.slow .name").all_text_contents() == ["n6"]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        one.settle()
        slow = tile(box, "n6").locator(".ground").evaluate(RED)
        usual = [tile(box, f"n{n}").locator(".ground").evaluate(RED) for n in (0, 5, 11)]
        assert slow > max(usual) + 30
        assert page.evaluate(CONTRASTS) == []
        screenshot(page, f"topology-16-{scheme}")
    (link,) = box.locator(".link").all()
    assert link.get_attribute("aria-label").startswith("slow-link: n2 – n11 −")
    assert "−19." in link.text_content() or "−20." in link.text_content()
    ends = link.locator(".end").all()
    for end, name in zip(ends, ("n2", "n11"), strict=True):
        point, place = end.bounding_box(), tile(box, name).bounding_box()
        middle = point["x"] + point["width"] / 2, point["y"] + point["height"] / 2
        assert place["x"] <= middle[0] <= place["x"] + place["width"]
        assert place["y"] - 2 <= middle[1] <= place["y"] + place["height"] + 2
    tile(box, "n6").hover()
    said = box.locator("[data-tip]").inner_text()
    assert said.startswith("p0 > r1 > n6\n−")
    assert "slow-node: n6" in said
    classes = box.locator(".classes .what").all_text_contents()
    assert "same feed, same pod, same rack" in classes
    assert len(classes) == box.locator(".classes svg").count() > 3
    page.set_viewport_size({"width": 360, "height": 800})
    one.settle()
    assert page.evaluate(WIDE) == []
    assert (one.complaints, one.asked) == ([], [])


def test_metrics_and_labels_that_cross_are_chosen(opened, made):
    one = opened(made["small"])
    box = seen(one)
    assert box.locator(".frame-of .head").all_text_contents() == [
        "p0",
        "r0",
        "r1",
        "p1",
        "r2",
        "r3",
    ]
    assert "−10" in tile(box, "n6").locator(".value").text_content()
    box.locator("[data-case]").select_option(label="pairs of nodes latency, between nodes")
    assert "+11" in tile(box, "n6").locator(".value").text_content()
    assert box.locator("[data-case-name]").inner_text().startswith("pairs of nodes latency")
    box.locator("[data-by]").select_option(label="feed")
    assert box.locator(".frame-of .head").all_text_contents() == ["f0", "f1"]
    assert "pod > rack; feed" in one.page.locator("#fabric").inner_text()
    assert one.complaints == []


def test_groups_open_and_close_by_keys(opened, made):
    one = opened(made["small"])
    box, page = seen(one), one.page
    box.locator("[tabindex='0'][role=button]").focus()
    name = "document.activeElement.querySelector('.head, .name').textContent"
    assert page.evaluate(name) == "p0"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    reached = page.evaluate(name)
    assert reached == "n0"
    assert box.locator("[tabindex='0'][role=button]").count() == 1
    page.keyboard.press("Enter")
    panel = box.locator("[data-panel-of]")
    assert panel.is_visible()
    assert "against the usual pair" in panel.inner_text()
    page.keyboard.press("ArrowUp")
    assert page.evaluate(name) == "r0"
    page.keyboard.press("Enter")
    assert box.locator(".tile").count() == 4
    assert box.locator("[data-path]").inner_text() == "all nodes › p0 › r0"
    assert "slow-link: n2 – n11" in box.locator("[data-rest]").inner_text()
    page.keyboard.press("Escape")
    assert page.evaluate(name) == "r0"
    assert box.locator("[data-path]").inner_text() == "all nodes › p0"
    box.locator("[data-path] button").click()
    assert box.locator(".tile").count() == 16
    assert one.complaints == []


def test_many_nodes_are_shown_by_group_and_open(opened, made, screenshot):
    one = opened(made["large"], color_scheme="light", viewport={"width": 1280, "height": 900})
    box, page = seen(one), one.page
    assert box.locator(".tile").count() == 64
    assert box.locator(".tile .cell").count() == 1024
    slow = tile(box, "r10")
    assert "16 nodes, 16 slow" in slow.text_content()
    assert slow.locator(".ground").evaluate(RED) > tile(box, "r9").locator(".ground").evaluate(RED)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        one.settle()
        screenshot(page, f"topology-1024-{scheme}")
    slow.click()
    assert box.locator(".tile.slow .name").all_text_contents() == [f"n{n}" for n in range(160, 176)]
    assert box.locator("[data-path]").inner_text() == "all nodes › p0 › r10"
    tile(box, "n163").click()
    assert "n163" in box.locator("[data-panel-of] h3").inner_text()
    box.locator("[data-panel-of] button").click()
    assert "n163" in page.locator("[data-nodes] [data-name]").inner_text()
    page.emulate_media(media="print")
    assert box.locator("svg .tile").first.is_visible()
    assert (one.complaints, one.asked) == ([], [])


def test_hostile_labels_are_names(opened, tmp_path):
    names = (*made_pages.HOSTILE, "constructor", "__proto__")
    labels = [{names[0]: names[n // 2], names[3]: names[n // 10], "": "x"} for n in range(20)]
    run = paired(tmp_path, labels, slow={4: 0.8})
    one = opened(page_of(run, tmp_path / "run.html"))
    one.walk()
    box, page = seen(one), one.page
    heads = box.locator(".frame-of .head").all_text_contents()
    assert len(heads) == 12
    assert "constructor" in heads
    box.locator(".frame-of").first.click(position={"x": 20, "y": 8})
    box.locator(".frame-of").first.hover(position={"x": 20, "y": 8})
    assert names[0] in box.locator("[data-tip]").inner_text()
    assert names[0] in box.locator("[data-path]").inner_text()
    assert page.evaluate("window.hit") is None
    assert page.locator("main img, main style").count() == 0
    assert one.complaints == []


def test_nodes_without_labels_stand_in_a_row(opened, tmp_path):
    one = opened(page_of(paired(tmp_path, [{}] * 200), tmp_path / "run.html"))
    box = seen(one)
    first = box.locator(".tile .name").first.text_content()
    assert first == "n0 … n14"
    assert box.locator(".frame-of").count() == 0
    box.locator(".tile").first.click()
    assert box.locator(".tile .name").all_text_contents() == [f"n{n}" for n in range(15)]
    assert "No label groups these nodes" in one.page.locator("#fabric").inner_text()
    assert one.complaints == []
