"""What certify says: the verdict first, the worst first, and names that are only names."""

import html
import io
import re
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import evidence, judged

from bench.report.certification import print_certification
from bench.report.evidence import verdict_line
from bench.report.markdown import certification_markdown, escape, fenced
from bench.report.plain import plain
from bench.verdicts import NodeVerdict, Waived

HOSTILE = [
    "<script>alert(1)</script>",
    "[red]x[/red]",
    "a|b",
    "a\nb\n# c",
    "`x`",
    "\x1b[2J",
    "@all",
]


def printed(found, width=80, terminal=False, encoding="utf-8"):
    memory = io.BytesIO()
    stream = io.TextIOWrapper(memory, encoding=encoding, errors="replace", write_through=True)
    made = Console(file=stream, width=width, force_terminal=terminal, markup=False, highlight=False)
    print_certification(made, found)
    return memory.getvalue().decode(encoding)


def fleet(rejected=0, inconclusive=0, accepted=0, **changes):
    words = ["reject"] * rejected + ["inconclusive"] * inconclusive + ["accept"] * accepted
    names = [f"gpu-{index:03d}" for index in range(len(words))]
    return judged(*zip(names, words, strict=True), **changes)[1]


def replaced(found, name, **changes):
    """The verdict with other evidence for one node."""
    for place, node in enumerate(found.nodes):
        if node.node == name:
            rest = {"verdict": node.verdict, **changes}
            found.nodes[place] = msgspec.structs.replace(node, evidence=[evidence(**rest)])
    return found


# ---- the terminal ----


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ((3, 2, 507), "3 of 512 nodes rejected, 2 inconclusive, 507 accepted"),
        ((0, 2, 6), "2 of 8 nodes inconclusive, 6 accepted"),
        ((0, 0, 8), "8 of 8 nodes accepted"),
        ((1, 0, 0), "1 of 1 node rejected"),
        ((0, 0, 0), "no nodes were judged"),
    ],
)
def test_the_verdict_comes_first(counts, line):
    found = fleet(*counts)
    assert verdict_line(found) == line
    for width in (60, 80, 160):
        assert printed(found, width).splitlines()[0] == line
    assert certification_markdown(found).startswith(f"## {line}\n")


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_rejected_node_is_shown_with_all_that_a_reader_needs(width):
    found = replaced(fleet(1, 0, 9), "gpu-000", conditions={"temperature": 91.0}, cause="cooling")
    text = printed(found, width)
    for words in (
        "gpu-000", "gemm 8192x8192x8192", "90 TFLOP/s", "100 TFLOP/s", "10.0%", "8.0% to 12.0%",
        "against the fleet", "0.2 % of 511", "measured 7 times", "temperature 91 °C",
        "likely cause: cooling",
    ):  # fmt: skip
        assert words in text, words
    assert "  again: hengsuan certify --nodes gpu-02 --only gemm\n" in text


@pytest.mark.parametrize("width", [80, 120])
def test_lines_are_as_wide_as_the_terminal_but_for_commands(width):
    text = printed(fleet(3, 0, 9), width)
    prose = [line for line in text.splitlines() if line.startswith(" ") and "again" not in line]
    assert prose
    assert max(map(len, prose)) <= width


def test_wrong_results_come_before_slow_ones_and_slow_ones_by_how_slow():
    found = fleet(4, 0, 6)
    replaced(found, "gpu-000", effect=0.05)
    replaced(found, "gpu-001", effect=0.30)
    replaced(found, "gpu-002", against="corruption", metric="", effect=None, text="bits differ")
    replaced(found, "gpu-003", against="fault", metric="", effect=None, text="rank died")
    text = printed(found)
    worst = ["gpu-002", "gpu-003", "gpu-001", "gpu-000"]
    assert re.findall(r"^(gpu-\d+): ", text, re.MULTILINE) == worst
    assert re.findall(r"^ (gpu-\d+) ", text, re.MULTILINE) == worst


def test_a_large_fleet_takes_some_tens_of_lines():
    text = printed(fleet(200, 300, 9500), 120)
    assert len(text.splitlines()) < 100
    assert "and 190 more rejected: gpu-[010-199] (190 nodes)" in text
    assert "inconclusive: gpu-[200-499] (300 nodes): " in text


def test_reasons_that_differ_in_figures_alone_are_one_line():
    found = fleet(0, 3, 0)
    for place, name in enumerate(("gpu-000", "gpu-001", "gpu-002")):
        text = f"the host was contended ({place}.5 % of its time)"
        replaced(found, name, value=None, text=text)
    line = "gpu-[000-002] (3 nodes): for example, the host was contended (0.5 % of its time)\n"
    assert f"inconclusive: {line}" in printed(found, 160)


def test_a_figure_that_is_not_sure_says_what_it_is_of():
    found = fleet(0, 1, 0)
    replaced(found, "gpu-000", device="gpu-000/1", metric="launch add host time", text="1 µs, slow")
    text = printed(found, 160)
    assert "inconclusive: gpu-000: device 1: launch add host time: 1 µs, slow\n" in text


def test_a_pipe_gets_no_colours_and_a_terminal_loses_nothing_without_them():
    found = fleet(1, 1, 1)
    bare = printed(found)
    assert "\x1b" not in bare
    assert re.sub(r"\x1b\[[0-9;]*m", "", printed(found, terminal=True)) == bare


def test_a_locale_without_utf_8_can_show_it():
    assert "?" not in printed(fleet(1, 1, 1), 160, encoding="ascii")


def test_waivers_notes_commands_and_an_early_end_are_shown():
    found = fleet(0, 0, 2, notes=["only 2 nodes"], stopped="the budget of 20m ended")
    waived = Waived(metric="gemm*", finding=evidence(), reason="ticket 1", until="2026-12-31")
    found.nodes[0] = msgspec.structs.replace(found.nodes[0], waived=[waived])
    found.drain = {"slurm": [f"scontrol {i}" for i in range(9)]}
    found.undrain = {"kubernetes": ["kubectl uncordon a"]}
    for text in (printed(found), certification_markdown(found)):
        assert "waived until 2026-12-31" in text
        assert "ticket 1" in text
        assert "only 2 nodes" in text
        assert "stopped early: the budget of 20m ended" in text
        assert "kubectl uncordon a" in text
        assert "scontrol 5" in text
    assert "and 3 more, in verdict.json" in printed(found)


def test_a_node_without_evidence_is_said():
    found = fleet(0, 0, 1)
    found.nodes = [
        NodeVerdict(node="a", verdict="reject"),
        NodeVerdict(node="b", verdict="inconclusive"),
    ]
    for text in (printed(found), printed(found, 120), certification_markdown(found)):
        assert "no evidence is given" in text
        assert "no reason is given" in text


# ---- hostile text ----


def hostile(text):
    """A verdict in which everything that comes from elsewhere is ``text``."""
    found = judged((text, "reject"), (f"{text}2", "inconclusive"), ("ok", "accept"))[1]
    said = {
        "text": text,
        "metric": text,
        "device": text,
        "cause": text,
        "command": text,
        "stage": text,
    }
    for name in (text, f"{text}2"):
        replaced(found, name, conditions={text: text}, **said)
    waived = Waived(metric=text, finding=evidence(**said), reason=text, until=text)
    found.nodes[2] = msgspec.structs.replace(found.nodes[2], waived=[waived])
    return msgspec.structs.replace(
        found, run=text, suite=text, notes=[text], stopped=text, drain={"slurm": [text]}
    )


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("width", [60, 120])
def test_hostile_text_is_text_on_a_terminal(text, width):
    out = printed(hostile(text), width)
    assert "\x1b" not in out
    assert plain(text) in out
    assert plain(text).isprintable()


def outside_code(document):
    """Markdown without its blocks of code."""
    return re.sub(r"^(`{3,})sh\n.*?\n\1$", "", document, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text_in_markdown(text):
    rest = outside_code(certification_markdown(hostile(text)))
    assert set(re.findall(r"<[^>]*>", rest)) <= {
        "<br>", "<details>", "</details>", "<summary>", "</summary>"
    }  # fmt: skip
    assert "@" not in rest
    assert "\x1b" not in rest
    headings = re.findall(r"^#+ .*$", rest, re.MULTILINE)
    assert headings == [
        "## 1 of 3 nodes rejected, 1 inconclusive, 1 accepted", "### Inconclusive", "### Waived",
        "### Notes",
    ]  # fmt: skip
    rows = [line for line in rest.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {6}
    assert not re.search(r"(?<!\\)[`*\[\]]", rest)


@given(st.text(max_size=60))
def test_escaped_text_is_one_line_that_shows_the_text(text):
    out = escape(text)
    assert "\n" not in out
    rest = re.sub(r"\\.|&(?:amp|lt|gt|#64);", "", out)
    assert not re.search(r"[\\`*_\[\]~|#$<>&@]", rest)
    assert html.unescape(re.sub(r"\\(.)", r"\1", out)) == plain(text)


@given(st.lists(st.text(alphabet="`ab\n", max_size=12), min_size=1, max_size=4))
def test_no_line_ends_its_block_of_code(lines):
    first, *body, last = fenced(lines).split("\n")
    assert last == first.removesuffix("sh")
    assert not any(line.strip().startswith(last) for line in body)


def test_markdown_never_grows_beyond_what_services_take():
    found = fleet(6000, 0, 100)
    for place, node in enumerate(found.nodes):
        long = evidence(text="|" * 2000, metric="<" * 500) if place < 6000 else None
        changed = [long] if long else []
        found.nodes[place] = msgspec.structs.replace(node, evidence=changed)
    found.drain = {"slurm": ["scontrol " + "x" * 100] * 5000}
    found.notes = ["n" * 1000] * 2000
    text = certification_markdown(found)
    assert len(text.encode()) <= 900_000
    assert "more, in verdict.json" in text
    assert text.count("<details>") == text.count("</details>")
    small = certification_markdown(found, most=20_000)
    assert len(small.encode()) <= 20_000
    assert "Not everything has room here" in small
    assert small.count("<details>") == small.count("</details>")
