"""``hengsuan report``: the page of a run, and its other forms."""

import base64
import csv
import io
import json
import os
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
from judged_runs import judged, judged_run
from report_runs import HOSTILE, simulated, written

from bench.analysis.finding import Finding
from bench.cli import cli
from bench.cli.ending import looking_again
from bench.configs import load_chips
from bench.errors import HengsuanError
from bench.records import Case, Conditions, Row, Samples
from bench.report.evidence import circumstances, verdict_line
from bench.report.html import render
from bench.report.html.conditions import conditions
from bench.report.html.nodes import Grid
from bench.report.html.page import Chart, Column, Commands, Fold, Section, Table, Text
from bench.report.html.run import run_page
from bench.report.html.source import Source
from bench.report.html.training import training
from bench.report.html.why import findings_by_kind
from bench.report.language import chinese
from bench.results import RunReader
from bench.telemetry import TelemetryHeader, TelemetryRow
from bench.verdicts import Certification, NodeVerdict

SLOW = {"kind": "slow", "node": 3, "of": "node", "factor": 0.7}


class Parsed(HTMLParser):
    """Elements with their attributes, and the texts of scripts by type."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str, str]] = []
        self.text = ""
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._script = (dict(attrs).get("type") or "javascript") if tag == "script" else None
        if tag == "script":
            self.scripts.append((self._script, ""))

    def handle_endtag(self, tag):
        self._script = None

    def handle_data(self, data):
        if self._script is None:
            self.text += data
        else:
            kind, text = self.scripts[-1]
            self.scripts[-1] = kind, text + data

    @property
    def data(self):
        """What the scripts read."""
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]


def report(folder, *options):
    done = CliRunner().invoke(cli, ["report", str(folder), *options], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert done.return_value == 0
    return done.stdout


def page_of(folder, *options):
    pytest.importorskip("plotly", reason="plotly is not installed (extra report)")
    report(folder, "--output", str(folder / "page.html"), *options)
    return Parsed((folder / "page.html").read_text(encoding="utf-8"))


@pytest.fixture
def fleet(tmp_path):
    return simulated(tmp_path, "quick", 6, 4, (SLOW,))


def test_a_page_has_its_sections_and_the_verdict_first(fleet):
    found = page_of(fleet)
    ids = [attributes["id"] for tag, attributes in found.elements if tag == "section"]
    wanted = ["verdict", "why", "nodes", "measurements", "roofline", "fabric", "collectives"]
    wanted += ["training", "conditions", "spread", "environment", "provenance"]
    assert ids == wanted
    assert "simulated" in found.text
    # Every case of the run stands in the table of measurements.
    cases = len(RunReader(fleet).header.cases)
    assert cases in [len(one["rows"]) for one in found.data if "rows" in one]


def test_a_page_asks_no_network_for_anything(fleet):
    found = page_of(fleet)
    for tag, attributes in found.elements:
        assert tag not in ("iframe", "object", "embed", "form", "base", "img")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))
    policy = [a["content"] for _, a in found.elements if a.get("http-equiv")]
    assert policy[0].startswith("default-src 'none'")


def test_hostile_names_are_shown_and_never_obeyed(tmp_path):
    usual = page_of(written(tmp_path, ["a", "b", "c"]))
    (tmp_path / "h").mkdir()
    hostile = page_of(written(tmp_path / "h", ["a", HOSTILE, "c\u2028d"], suite=HOSTILE))
    assert [tag for tag, _ in usual.elements] == [tag for tag, _ in hostile.elements]
    assert [kind for kind, _ in usual.scripts] == [kind for kind, _ in hostile.scripts]
    assert HOSTILE in hostile.text
    (nodes,) = (one for one in hostile.data if "names" in one)
    assert f"{HOSTILE}/0" in nodes["names"]


def test_the_slow_node_is_the_worst_of_the_map(fleet):
    source = Source(RunReader(fleet), load_chips())
    grid = Grid(source)
    assert grid.names[0].endswith("/0")
    worst = np.nansum(np.nan_to_num(grid.far) > 5, axis=0)
    assert {grid.names[item].partition("/")[0] for item in np.argsort(-worst)[:4]} == {"node-00003"}
    first = grid.listed().rows[0]
    assert first.cells[0].node.startswith("node-00003/")


def test_many_devices_are_shown_by_node_with_the_worst_of_theirs(tmp_path):
    folder = simulated(tmp_path, "quick", 24, 4, (SLOW,))
    source = Source(RunReader(folder), load_chips())
    grid = Grid(source)
    assert len(grid.names) == 24
    row = next(i for i, case in enumerate(grid.metrics) if case.benchmark == "gemm")
    rows = source.rows[grid.metrics[row].id]
    node = source.columns.group[rows] // 4
    for item in (0, 3, 23):
        values = source.columns.value[rows[node == item]]
        assert grid.value[row, item] == values.min()
        assert values[grid.who[row, item]] == values.min()


def test_who_is_alone_is_compared_with_nobody(tmp_path):
    for devices, shown in ((1, False), (2, True)):
        (tmp_path / str(devices)).mkdir()
        folder = simulated(tmp_path / str(devices), "quick", 1, devices, ())
        page = run_page(Source(RunReader(folder), load_chips()))
        assert ("nodes" in [one.id for one in page.sections]) is shown, devices


def test_own_words_are_all_known_in_chinese(fleet):
    page = run_page(Source(RunReader(fleet), load_chips(), language="zh"))
    said = set()

    def walk(blocks):
        for block in blocks:
            if isinstance(block, Fold):
                walk(block.blocks)
            elif isinstance(block, Table):
                said.update(column.title for column in block.columns)
                said.update(column.about for column in block.columns)
            elif isinstance(block, Chart):
                said.update((block.says, block.title))
            elif isinstance(block, Text) and block.own:
                said.update(block.lines)

    for section in page.sections:
        assert isinstance(section, Section)
        said.update((section.title, section.lead))
        walk(section.blocks)
    same = {"", "α", "β", "n½", "FLOP/B", "p5 – p95"}
    assert {text for text in said if chinese(text) == text} <= same
    assert Column("case").title in said


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (
            {"reject": 2, "inconclusive": 1, "accept": 3},
            "6 个节点中 2 个被拒绝，1 个无法定论，3 个通过",
        ),
        ({"accept": 1}, "1 个节点中 1 个通过"),
        ({}, "没有节点被评判"),
    ],
)
def test_a_verdict_is_said_in_chinese(count, told):
    nodes = [NodeVerdict(node="n", verdict=word) for word, n in count.items() for _ in range(n)]
    made = Certification(
        run="r", suite="s", profile="p", provenance="measured", began="a", finished="b",
        version="1", nodes=nodes, measured=10, retested=1, stopped="no time",
    )  # fmt: skip
    assert chinese(verdict_line(made)) == told
    assert next(map(chinese, circumstances(made))).startswith("实测；套件 s")
    assert all("套件" in line or "复测" in line or "提前" in line
               for line in map(chinese, circumstances(made)))  # fmt: skip


def test_chinese_page_says_so(fleet):
    found = page_of(fleet, "--lang", "zh")
    assert ("html", {"lang": "zh-CN"}) in found.elements
    assert "结论与得分" in found.text


def test_samples_of_who_stands_out_are_drawn(tmp_path):
    folder = written(tmp_path, ["a", "b", "c", "d", "e", "f"])
    lines = [Samples(case, rank, 0, 1, [1e-3, 2e-3]) for case in (0, 1) for rank in range(12)]
    (folder / "samples.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(lines))
    found = page_of(folder)
    assert "samples of who stands out" in found.text
    (chart,) = (
        one
        for one in found.data
        if isinstance(one, list) and one[0]["data"][-1].get("name", "").startswith("f/")
    )
    assert chart[0]["data"][-1]["y"] == [1e-3, 2e-3]


def test_telemetry_is_drawn_over_time(tmp_path):
    folder = written(tmp_path, ["a", "b"])
    device = [(1400.0, 60.0 + node, 400.0, None, 0.5, 0.0, 0.0) for node in (0, 1)]
    rows = [
        TelemetryRow(node, time, [0.1] + [None] * 7, [list(device[node])] * 2)
        for time in (1.0, 2.0, 3.0)
        for node in (0, 1)
    ]
    lines = msgspec.json.Encoder().encode_lines([TelemetryHeader(period=1.0), *rows])
    (folder / "telemetry.jsonl").write_bytes(lines)
    made = conditions(Source(RunReader(folder), load_chips()))
    (chart,) = (b for b in made.blocks if isinstance(b, Chart) and "conditions" in b.title)
    (figure,) = (one for one in chart.figures if "temperature" in one.name)
    band, middle = (drawn(one) for one in figure.data)
    assert band[1].tolist() == [60.0] * 3 + [61.0] * 3, "from the lowest to the highest"
    assert band[0].tolist() == band[0].tolist()[::-1]
    assert set(middle[1].tolist()) <= {60.0, 61.0}


def drawn(line):
    """(x, y) of a line, as plotly reads them; NaN is a gap."""
    return [np.frombuffer(base64.b64decode(line[axis]["bdata"]), "<f4") for axis in "xy"]


def test_it_is_said_of_how_many_values_throttling_is_unknown(tmp_path):
    folder = written(tmp_path, ["a", "b"])
    rows = [
        Row(0, rank, 0, 1.0, 1.0, None, None, 1, "ok", rank % 3, "measured", "")
        for rank in range(4)
    ]
    met = [Conditions(), Conditions(throttled=""), Conditions(throttled="heat", capped=True)]
    (folder / "measurements.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    (folder / "conditions.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(met))
    text = page_of(folder).text
    assert "values of which no device says whether it throttled: 2" in text
    assert "throttled or capped: heat (1), at the power limit (1)" in text
    lines = list(csv.DictReader(io.StringIO(report(folder, "--format", "csv"))))
    assert [one["throttled"] for one in lines] == ["unknown", "", "heat", "unknown"]


def test_a_line_ends_where_nobody_looked(tmp_path):
    folder = written(tmp_path, ["a", "b"])
    looks = [
        TelemetryRow(node, second + node / 2, [0.1 + node] + [None] * 7)
        for second in (*range(10), 70.0, *range(100, 120))
        for node in (0, 1)
    ]
    lines = msgspec.json.Encoder().encode_lines([TelemetryHeader(period=1.0), *looks])
    (folder / "telemetry.jsonl").write_bytes(lines)
    _, verdict = judged(("a", "reject"))
    made = conditions(Source(RunReader(folder), load_chips(), verdict=verdict))
    (chart,) = (b for b in made.blocks if isinstance(b, Chart) and "conditions" in b.title)
    (figure,) = (one for one in chart.figures if "cpu" in one.name)
    for line in figure.data:
        x, y = drawn(line)
        gaps = np.flatnonzero(np.isnan(y))
        assert len(gaps) == 2, line.get("name")
        first, alone, rest = np.split(x, gaps)
        assert first.max() < 11
        assert 69 < alone[1:].min() < alone[1:].max() < 72, "what stands alone is seen"
        assert rest[1:].min() > 99


def test_slow_looks_and_rare_values_are_no_gaps(tmp_path):
    """A tool that takes ten seconds is asked less often than was said."""
    folder = written(tmp_path, ["a"])
    looks = [TelemetryRow(0, 10.0 * place, [0.1] + [None] * 7) for place in range(30)]
    lines = msgspec.json.Encoder().encode_lines([TelemetryHeader(period=1.0), *looks])
    (folder / "telemetry.jsonl").write_bytes(lines)
    made = conditions(Source(RunReader(folder), load_chips()))
    (chart,) = (b for b in made.blocks if isinstance(b, Chart) and "conditions" in b.title)
    (figure,) = (one for one in chart.figures if "cpu" in one.name)
    for line in figure.data:
        assert not np.isnan(drawn(line)[1]).any()


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_a_run_that_was_cut_short_has_a_page_that_says_so(tmp_path, state):
    folder = written(tmp_path, ["a", "b"], state=state)
    rows = folder / "measurements.jsonl"
    rows.write_bytes(rows.read_bytes()[:-20])
    found = page_of(folder)
    assert any(word in found.text for word in ("under way", "interrupted", "failed"))


def test_a_run_without_a_row_has_a_page(tmp_path):
    folder = written(tmp_path, ["a"])
    (folder / "measurements.jsonl").unlink()
    found = page_of(folder)
    assert "nothing was measured" in found.text


def test_a_run_without_nodes_has_a_page(tmp_path):
    folder = written(tmp_path, [], cases=[])
    found = page_of(folder)
    assert "nothing was measured" in found.text


def test_one_node_has_a_page(tmp_path):
    found = page_of(written(tmp_path, ["only"]))
    assert "only/1" in found.text


def test_ten_thousand_nodes_have_a_page(tmp_path):
    suite = (
        "name: s\nstages:\n  - name: device\n    benchmarks:\n"
        "      - gemm: {shape: 1024x1024x1024, dtype: bf16}\n"
    )
    folder = simulated(tmp_path, suite, 10_000, 1)
    found = page_of(folder)
    (nodes,) = (one for one in found.data if "names" in one)
    assert len(nodes["names"]) == 10_000
    assert nodes["block"] == 40
    # Nobody's browser lays out ten thousand rows.
    assert sum(tag == "tr" for tag, _ in found.elements) < 500


def test_without_plotly_the_extra_is_named(tmp_path, monkeypatch):
    folder = written(tmp_path, ["a"])
    monkeypatch.setattr(render, "find_spec", lambda name: None)
    render._plotly.cache_clear()
    with pytest.raises(HengsuanError, match=r"hengsuan\[report\]") as caught:
        report(folder)
    assert caught.value.exit == 2
    assert "gemm" in report(folder, "--format", "md")


def test_what_cannot_be_written_is_a_sentence(tmp_path):
    pytest.importorskip("plotly", reason="plotly is not installed (extra report)")
    folder = written(tmp_path, ["a"])
    (tmp_path / "file").write_text("")
    with pytest.raises(HengsuanError, match="cannot write") as caught:
        report(folder, "--output", str(tmp_path / "file" / "page.html"))
    assert caught.value.exit == 4
    with pytest.raises(HengsuanError, match="No space left") as caught:
        report(folder, "--output", "/dev/full")
    assert caught.value.exit == 4
    assert Path("/dev/full").is_char_device()


def test_a_page_goes_where_a_link_leads(tmp_path):
    pytest.importorskip("plotly", reason="plotly is not installed (extra report)")
    folder = written(tmp_path, ["a"])
    link, page = tmp_path / "latest.html", tmp_path / "pages" / "one.html"
    page.parent.mkdir()
    link.symlink_to(page)
    for _ in range(2):  # not there yet, and there
        report(folder, "--output", str(link))
        assert link.is_symlink()
        assert "<html" in page.read_text()
    loop = tmp_path / "loop.html"
    loop.symlink_to(loop)
    with pytest.raises(HengsuanError, match="cannot write: Too many levels of symbolic links"):
        report(folder, "--output", str(loop))
    assert loop.is_symlink()


@pytest.mark.parametrize("text", ["{", '{"schema": 99}'])
def test_a_verdict_that_cannot_be_read_is_said_and_the_page_written(tmp_path, text):
    folder = written(tmp_path, ["a", "b"])
    (folder / "verdict.json").write_text(text)
    found = page_of(folder)
    assert "verdict.json" in found.text
    assert "a/0" in found.text


def test_a_run_of_another_schema_is_a_sentence(tmp_path):
    folder = written(tmp_path, ["a"], schema=99)
    with pytest.raises(HengsuanError, match="schema 99"):
        report(folder)


def test_lines_are_the_rows_in_full_words(tmp_path):
    folder = written(tmp_path, ["=cmd()", "b"])
    found = list(csv.DictReader(io.StringIO(report(folder, "--format", "csv"))))
    rows = list(RunReader(folder).rows())
    assert len(found) == len(rows)
    for line, row in zip(found, rows, strict=True):
        assert float(line["value"]) == row.value
        assert line["status"] == "ok"
        assert line["provenance"] == "measured"
    assert found[0]["on"] == "'=cmd()/0"
    assert found[0]["unit"] == "FLOP/s"
    assert found[-1]["metric"] == "bandwidth"


def test_junit_has_a_test_case_a_case(tmp_path):
    folder = written(tmp_path, ["a", "b"])
    rows = list(RunReader(folder).rows())
    replace = msgspec.structs.replace
    rows[0] = replace(rows[0], status="invalid", reason="error 1 > 0.1")
    rows = [replace(row, status="contended") if row.case == 1 else row for row in rows]
    path = folder / "measurements.jsonl"
    path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
    (suite,) = ElementTree.fromstring(report(folder, "--format", "junit"))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "1", "1")
    first, second = suite
    assert "error 1 > 0.1" in first.find("failure").text
    assert second.find("skipped") is not None


def test_markdown_shows_names_as_they_are(tmp_path):
    folder = written(tmp_path, ["a", "<b>|`x`"])
    text = report(folder, "--format", "md")
    assert "<b>" not in text
    assert r"&lt;b&gt;\|\`x\`/0" in text
    assert "# 20260101-000000-made" in text
    assert "| gemm" in text


def test_which_file_was_written_is_told(tmp_path):
    pytest.importorskip("plotly", reason="plotly is not installed (extra report)")
    folder = written(tmp_path, ["a"])
    told = json.loads(report(folder, "--json"))
    assert told["file"] == str(folder / "report.html")
    assert told["bytes"] == (folder / "report.html").stat().st_size
    assert report(folder, "--quiet").strip() == told["file"]
    with pytest.raises(HengsuanError, match="which file was written"):
        report(folder, "--json", "--format", "md")


def test_a_run_is_given_as_openmetrics(tmp_path):
    text = report(written(tmp_path, ["a", "b"]), "--format", "openmetrics")
    assert text.endswith("# EOF\n")
    assert 'provenance="measured"' in text


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere another program opens files")
@pytest.mark.parametrize("code", [0, 3])
def test_open_has_the_desktop_show_the_page(tmp_path, code):
    """The desktop's own program, as it is found in PATH: what it prints is no JSON of ours."""
    pytest.importorskip("plotly", reason="plotly is not installed (extra report)")
    folder, opener = written(tmp_path, ["a"]), tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > "{tmp_path}/shown"\necho noise\nexit {code}\n')
    opener.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "report", folder.name, "--out", ".", "--open", "--json"],
        cwd=folder.parent,
        env={**os.environ, "PATH": f"{opener.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    page = folder / "report.html"
    assert (tmp_path / "shown").read_text() == str(page)
    assert folder.parent / json.loads(done.stdout)["file"] == page
    assert ("no browser could be started: open " in done.stderr) == (code != 0)


def test_the_worst_comes_first_and_with_what_looks_at_it_again(tmp_path):
    """As they are typed: the checks of the suite that was run, where it was run."""
    words = ["run", "quick", "--cluster", "small", "--quiet", "--out", str(tmp_path)]
    assert CliRunner().invoke(cli, words).exit_code == 0
    (folder,) = (one for one in tmp_path.iterdir() if (one / "run.json").exists())
    header = RunReader(folder).header
    # As the command line would have recorded it.
    header = msgspec.structs.replace(header, command=["hengsuan", *words])
    again = looking_again(header, folder)
    name = "gemm 8192x8192x8192 bf16 torch"
    found = [
        Finding(kind="skipped", name=name, text="skipped"),
        Finding(kind="contended", name=name, text="contended"),
        Finding(kind="slow-device", name="node-00002/1", text="slow"),
        Finding(kind="drift", name="node-00001", text="other"),
        Finding(kind="invalid", name=name, text="wrong"),
        Finding(kind="invalid", name="no such check", text="wrong"),
    ]
    source = Source(RunReader(folder), load_chips())
    folds = list(findings_by_kind(source, found, again))
    kinds = ["invalid", "slow-device", "drift", "contended", "skipped"]
    assert [one.title.partition(" ")[0] for one in folds] == kinds
    asked = [[c for b in one.blocks if isinstance(b, Commands) for c in b.lines] for one in folds]
    once = f"hengsuan run quick --cluster small --out {tmp_path} --only '{name}'"
    facts = f"hengsuan results facts {folder} --node node-00001"
    assert asked == [[once], [shlex.join(header.command)], [facts], [once], []]
    for line in (once, facts):
        done = CliRunner().invoke(cli, shlex.split(line)[1:], standalone_mode=False)
        assert done.exception is None, line
    newest = max(one for one in tmp_path.iterdir() if (one / "run.json").exists())
    labels = {
        case.short().rpartition(" flops")[0] or case.short()
        for case in RunReader(newest).header.cases
    }
    assert labels == {name}


def test_open_is_of_a_page(tmp_path):
    folder = written(tmp_path, ["a"])
    with pytest.raises(HengsuanError, match="--open shows an HTML file"):
        report(folder, "--open", "--format", "csv")


def test_telemetry_behind_the_last_row_has_its_own_place_in_time(tmp_path):
    """As of a job that never ended: the rest of the run is not what its last moment was."""
    folder = written(tmp_path, ["a"])
    looks = [
        TelemetryRow(0, float(second), [0.1 if second < 3 else 0.9] + [None] * 7)
        for second in range(100)
    ]
    lines = msgspec.json.Encoder().encode_lines([TelemetryHeader(period=1.0), *looks])
    (folder / "telemetry.jsonl").write_bytes(lines)

    def times():
        made = conditions(Source(RunReader(folder), load_chips()))
        (chart,) = (b for b in made.blocks if isinstance(b, Chart) and "conditions" in b.title)
        (figure,) = (one for one in chart.figures if "cpu" in one.name)
        return np.frombuffer(base64.b64decode(figure.data[-1]["x"]["bdata"]), "<f4")

    assert times()[-1] == pytest.approx(99, rel=0.01)
    (folder / "measurements.jsonl").write_bytes(b"")
    assert times()[-1] == pytest.approx(99, rel=0.01), "of a run without a row as well"
    assert "Conditions over time" in page_of(folder).text


def test_a_verdict_of_other_rows_is_no_good_one(tmp_path):
    folder = judged_run(tmp_path / "run", ("gpu-01", "accept"), ("gpu-02", "accept"))
    rows = folder / "measurements.jsonl"

    def told():
        (tone,) = (
            attributes["data-tone"]
            for _, attributes in page_of(folder).elements
            if attributes.get("class") == "verdict"
        )
        return tone, "certify the run again" in report(folder, "--format", "md")

    assert told() == ("good", False)
    rows.write_bytes(rows.read_bytes() + rows.read_bytes().splitlines(keepends=True)[-1])
    assert told() == ("warn", True)


def test_a_verdict_that_cannot_be_read_is_said_in_markdown(tmp_path):
    folder = written(tmp_path, ["a", "b"])
    (folder / "verdict.json").write_text("{")
    assert "verdict.json is damaged" in report(folder, "--format", "md").replace("\\", "")


def test_a_rejected_node_shows_the_device_that_ails(tmp_path):
    folder = written(tmp_path, ["a", "b"])
    devices = [[clock, heat, *[None] * 5] for clock, heat in ((1400.0, 50.0), (900.0, 90.0))]
    looks = [TelemetryRow(0, float(second), [None] * 8, devices) for second in range(2)]
    lines = msgspec.json.Encoder().encode_lines([TelemetryHeader(period=1.0), *looks])
    (folder / "telemetry.jsonl").write_bytes(lines)
    _, verdict = judged(("a", "reject"))
    made = conditions(Source(RunReader(folder), load_chips(), verdict=verdict))
    (chart,) = (b for b in made.blocks if isinstance(b, Chart) and "conditions" in b.title)
    for quantity, worst in (("clock", 900.0), ("temperature", 90.0)):
        (figure,) = (one for one in chart.figures if quantity in one.name)
        line = next(one for one in figure.data if one.get("name") == "a")
        assert set(np.frombuffer(base64.b64decode(line["y"]["bdata"]), "<f4")) == {worst}


def test_the_curve_of_a_simulated_fleet_is_not_called_measured(tmp_path):
    made = training(Source(RunReader(simulated(tmp_path, "scaling", 4, 2)), load_chips()))
    curves = next(one for one in made.blocks if getattr(one, "title", "") == "scaling efficiency")
    names = {one["name"] for figure in curves.figures for one in figure.data if "name" in one}
    assert names == {"simulated", "by the line"}


def test_a_retest_is_no_training_of_the_fleet(tmp_path):
    cases = [
        Case(id=place, stage=stage, benchmark="train", axes={}, scope="device", metric="step_p50",
             unit="s", better="lower", source="0", schedule=0)
        for place, stage in enumerate(("train", "train+1"))
    ]  # fmt: skip
    folder = written(tmp_path, ["a", "b"], cases=cases)
    values = [(0, rank, 1.0) for rank in range(4)] + [(1, 3, 9.0)]
    rows = [
        Row(case, rank, 0, 1.0, value, None, None, 1, "ok", -1, "measured", "")
        for case, rank, value in values
    ]
    (folder / "measurements.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    made = training(Source(RunReader(folder), load_chips()))
    (row,) = next(one.rows for one in made.blocks if isinstance(one, Table))
    assert row.cells[1].sort == 1.0


def test_a_command_to_copy_holds_the_run_and_nothing_else(tmp_path):
    folder = written(tmp_path, ["a"], id="x; touch y")
    assert "hengsuan certify --from 'x; touch y'" in page_of(folder).text
