"""Chinese is whole: no page, Markdown or table of a run or document is left in English."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
import made_pages
from english_left import english, phrases, shown
from report_runs import written
from sentences import SLOT, sentences, untold
from stored_runs import Runs

import bench
from bench.analysis.subject import Run
from bench.cli import backend_check_verb, cli
from bench.configs.cluster import KINDS
from bench.ledger import LEDGER, PART_MEANING, Ledger, Spent, suspicion
from bench.report.chinese import TABLES
from bench.report.gate.terminal import print_gate
from bench.report.gate.words import label
from bench.report.html.provenance import flattened
from bench.report.language import SPOKEN, chinese, prose
from bench.report.terminal import console
from bench.results import RunReader
from bench.telemetry import DEVICE, NODE, TelemetryHeader, TelemetryRow
from bench.verdicts import write_verdict

FAULTS = """\
name: every-fault
chip: sim-a
nodes: 16
devices: 2
seed: 3
typical: {"*.error": 1e-3, launch.time: 6e-6, train.peak_memory: 2e10, "*.repetitions": 500}
labels: {rack: 4}
facts: {drivers: {accelerator: "5.2.1"}}
faults:
  - {kind: slow, node: 1, factor: 0.8}
  - {kind: slow-chip, node: 2, device: 1}
  - {kind: hot-chip, node: 3, device: 0}
  - {kind: slow-memory, node: 4, device: 0}
  - {kind: bad-nic, node: 5}
  - {kind: bad-cable, count: 1}
  - {kind: flapping-link, node: 7, repeats: 0.5}
  - {kind: corrupting-chip, node: 8, device: 1}
  - {kind: dying-node, node: 9, after: 10}
  - {kind: contended-host, node: 10}
  - {kind: wrong, node: 11}
  - {kind: crash, node: 12}
  - {kind: drift, node: 13, facts: {drivers: {accelerator: "5.1.9"}}}
  - {kind: bin, share: 0.2, factor: 0.97}
"""
SUITE = """\
name: forms
rule: {precision: 0.02, budget: 100ms, warmup: 10ms}
stages:
  - name: device
    benchmarks:
      - gemm: {shape: 4096x4096x4096, dtype: [fp32, bf16], impl: [torch, triton]}
      - stream: {op: [copy, triad], size: 1GiB, dtype: fp32, impl: torch}
  - name: node
    benchmarks:
      - collectives: {op: [all_reduce, barrier], size: 1KiB..16MiB x32, over: node}
      - train: {model: small, dtype: bf16, over: growing}
      - train: {model: small, dtype: bf16, over: growing, batch: 64, batch_of: group}
  - name: fabric
    benchmarks:
      - pairs: {size: 64MiB, of: node, schedule: sample, matchings: 3}
      - incast: {size: 1MiB, over: all}
      - overlap: {op: all_reduce, size: 16MiB, dtype: bf16, over: node}
"""


def hengsuan(*words: object) -> str:
    done = CliRunner().invoke(cli, list(map(str, words)), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Runs by name: every fault, forms of communication and scaling, and one with a bad day."""
    folder = tmp_path_factory.mktemp("chinese")
    (folder / "faults.yaml").write_text(FAULTS, encoding="utf-8")
    (folder / "forms.yaml").write_text(SUITE, encoding="utf-8")
    hengsuan("certify", "--cluster", folder / "faults.yaml", "--quiet", "--out", folder / "faults")
    where = ("--cluster", "small", "--quiet", "--out")
    hengsuan("run", folder / "forms.yaml", *where, folder / "forms")
    hengsuan("run", "quick", *where, folder / "quick")
    made = {name: next((folder / name).iterdir()) for name in ("faults", "forms", "quick")}
    made["day"] = bad_day(folder)
    # Node 2 is well again, and node 14 is slow.
    other = FAULTS.replace("kind: slow-chip, node: 2", "kind: slow-chip, node: 14")
    (folder / "again.yaml").write_text(other, encoding="utf-8")
    hengsuan("certify", "--cluster", folder / "again.yaml", "--quiet", "--out", folder / "again")
    made["again"] = next((folder / "again").iterdir())
    return made


def bad_day(folder: Path) -> Path:
    """A run that was cut short, with telemetry, and all that hosts have to say of themselves."""
    told = [
        ("counters", "a", {"changes": {"eth0 rx_errors": 12}, "text": ""}),
        ("kernel-log", "a", {"text": "mce: [Hardware Error]: CPU 3"}),
        ("device", "b", {"text": "0: ecc_uncorrected 2"}),
        ("agent-lost", "b", {"text": "its agent did not answer for 30 s"}),
        ("warning", "", {"text": "node c is not measured: no device"}),
    ]
    events = [
        {"time": 1.0, "kind": kind, "node": node, "stage": "device", **more}
        for kind, node, more in told
    ]
    run = written(
        folder, ["a", "b", "c"], events=events, state="interrupted", finished="", environment={}
    )
    node = TelemetryRow(0, 1.0, [0.5] * len(NODE), [[1.0] * len(DEVICE)] * 2)
    lines = msgspec.json.Encoder().encode_lines([TelemetryHeader(period=1.0), node])
    (run / "telemetry.jsonl").write_bytes(lines)
    (run / LEDGER).write_bytes(msgspec.json.Encoder().encode_lines(ledgers()))
    return run


def ledgers() -> list[Ledger]:
    """Of jobs whose time went into every part, with everything that can be said of it."""
    usual = {"timed": 0.04, "hidden": 0.0, "met": 0.0, "count": 1}
    each = dict.fromkeys(PART_MEANING, 0.5)
    ways = ({"hidden": 0.03}, {"met": 0.03}, {"behind": 1.0})
    doubts = [
        suspicion(
            [
                Spent(whole=1.0, parts={"samples": 0.4}, **usual | way),
                Spent(whole=1.0, parts={}, **usual),
            ]
        )
        for way in ways
    ]
    doubts.append(suspicion([Spent(whole=1.0, parts={}, **usual)], passed=2.0))
    assert all(doubts)
    return [
        Ledger(0, group, 0, 0, sum(each.values()), each, said=doubt)
        for group, doubt in enumerate(doubts)
    ] + [Ledger(1, 0, 0, 0, sum(each.values()), each, said=doubts[0])]


def named(run: Path) -> set[str]:
    """What is a name in a run's page, besides what the run calls its cases."""
    return phrases(run) | set(hosts(run))


def hosts(run: Path) -> list[str]:
    header = RunReader(run).header
    told = [text for pair in flattened(header.environment) for text in pair]
    texts = [str(event["text"]) for event in header.events if event["kind"] != "warning"]
    devices = [one for node in header.nodes for one in (node.name, *(d.name for d in node.devices))]
    backends = [node.backend for node in header.nodes]
    backends += [header.fleet.backend] if header.fleet is not None else []
    kinds = Run(header, RunReader(run).columns(), {}).kinds
    return [*told, *texts, *devices, *backends, *kinds, *PROFILES]


def left(texts, names) -> str:
    """Texts in which English is left, the words of each behind it."""
    kept = Names(names)
    parts = dict.fromkeys(part for text in texts for part in text.split(" · "))
    found = {text: words for text in parts if (words := english(text, kept))}
    return "\n".join(f"{text}  ← {' '.join(words)}" for text, words in found.items())


class Names(list):
    """Names, the longest first, in which looking for one takes no time."""

    def __init__(self, names) -> None:
        super().__init__(sorted(map(str, names), key=len, reverse=True))
        self._held = set(self)

    def __contains__(self, name: object) -> bool:
        return name in self._held


PROFILES = ("cluster", "certify", "default", "shanghai-2026", "gbt-46346")
RUNS = ("faults", "forms", "quick", "day")


@pytest.mark.parametrize("name", RUNS)
def test_a_page_of_a_run(runs, tmp_path, name):
    hengsuan("report", runs[name], "--output", tmp_path / "x.html", "--lang", "zh")
    texts = shown((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert len(texts) > 100
    assert left(texts, named(runs[name])) == ""


@pytest.mark.parametrize("name", ["faults", "day"])
def test_markdown_of_a_run(runs, name):
    text = hengsuan("report", runs[name], "--format", "md", "--lang", "zh")
    assert "结论" in text or "测量" in text
    assert left(plainly(text), named(runs[name])) == ""


def plainly(text: str) -> list[str]:
    """Lines and cells of Markdown or a table, without fenced commands."""
    text = re.sub(r"(`{3,}).*?\1", "", text, flags=re.DOTALL)
    text = re.sub(r"\\(.)", r"\1", text.replace("&#64;", "@"))
    parts = re.split(r"<br>|</?\w+>|\n|\s\|\s| {2,}|[│┃]", text)
    return [part.strip("|#-* ") for part in parts]


@pytest.mark.parametrize(
    ("verb", "more"),
    [
        ("score", ()),
        ("score", ("--profile", "shanghai-2026")),
        ("score", ("--profile", "gbt-46346")),
        ("expect", ()),
        ("compare", ()),
    ],
)
def test_terminals(runs, verb, more):
    given = [runs["quick"], runs["forms"]][: 2 if verb == "compare" else 1]
    text = hengsuan(verb, *given, *more, "--lang", "zh")
    names = set().union(*map(named, given))
    assert left(plainly(text), names) == ""


@pytest.mark.parametrize(
    "words",
    [
        ("results", "list"),
        ("results", "show", "faults"),
        ("results", "show", "day"),
        ("results", "show", "forms", "--rows"),
        ("results", "roofline", "quick"),
        ("results", "fabric", "faults"),
        ("results", "links", "forms"),
        ("results", "scaling", "forms"),
        ("results", "facts", "faults"),
        ("results", "diff", "faults", "again", "--verbose"),
        ("results", "diff", "forms", "quick"),
        ("results", "prune", "--keep", "1", "--dry-run", "--out", "FOLDER"),
        ("compare", "faults", "again"),
        ("certify", "--from", "faults"),
        ("watch", "forms"),
        ("run", "SUITE", "--cluster", "small", "--out", "NEW"),
    ],
    ids=" ".join,
)
def test_what_is_printed_of_runs(runs, tmp_path, words):
    places = {"FOLDER": runs["forms"].parent, "NEW": tmp_path, "SUITE": "quick"}
    given = [runs.get(word, places.get(word, word)) for word in words]
    if words == ("results", "list"):
        given += ["--out", runs["faults"].parent]
    text = hengsuan(*given, "--lang", "zh")
    known = set().union(*(named(run) for run in runs.values()))
    assert re.search("[\u4e00-\u9fff]", text)
    printed = [line for line in plainly(text) if not line.startswith("hengsuan ")]
    assert (
        left(
            printed,
            known
            | {
                "sim",
                "forms → quick",
                "group over node",
                "group over all",
                *(run.parent.name for run in runs.values()),
            },
        )
        == ""
    )


def test_what_is_printed_of_many_runs(tmp_path):
    made = Runs(tmp_path)
    made.runs(8)
    made.runs(6, by=1.2, environment={"driver_1": "550.2"})
    made.run(state="running")
    names = {*(f"run-{number:03d}" for number in range(20)), "gemm", "launch", "quick"}
    names |= {"gemm flops", "launch time", "acme-1", str(tmp_path)}
    for words in (
        ("gate", "history", tmp_path),
        ("gate", "history", tmp_path, "--last", "3"),
        ("results", "trend", "gemm", "--out", tmp_path),
        ("results", "trend", "*", "--node", "gpu-0", "--out", tmp_path),
        ("results", "list", "--out", tmp_path),
        ("results", "list", "--suite", "none", "--out", tmp_path),
        ("results", "prune", "--keep", "3", "--dry-run", "--out", tmp_path),
        ("results", "diff", "run-000", "run-010", "--out", tmp_path),
    ):
        text = hengsuan(*words, "--lang", "zh")
        assert re.search("[\u4e00-\u9fff]", text), words
        assert left(plainly(text), names) == "", words


LISTS = ("benchmarks", "derived", "suites", "chips", "profiles", "gates", "editions", "clusters")
NAMED = (
    "benchmark", "metric", "unit", "suite", "stages", "chip", "vendor", "profile", "gate",
    "margins", "edition", "cluster", "fault", "needs", "usually", "backend", "name",
)  # fmt: skip
"""Keys of what lists print as JSON whose values are the same in every language."""


@pytest.mark.parametrize(
    "words",
    [*(("show", one) for one in LISTS), ("show", "config"), ("backend", "list"), ("doctor",)],
    ids=" ".join,
)
def test_what_there_is(words):
    text = hengsuan(*words, "--lang", "zh")
    told = msgspec.json.decode(hengsuan(*words, "--json"))
    assert re.search("[\u4e00-\u9fff]", text)
    names = set(_values(told, NAMED))
    names |= {one.replace(" exactly", "（精确）") for one in _values(told, ("margins",))}
    if words == ("show", "config"):  # whose kinds are names of folders
        names |= {*_values(told, ("kind", "file", "folder"))}
    if words == ("doctor",):
        names |= {", ".join(f"{name} {text}" for name, text in told["versions"].items())}
        names |= set(_values(told, ("cpu",)))
    assert left(plainly(text), names) == ""


def _values(told: object, keys: Collection[str]) -> Iterator[str]:
    """Texts that stand under these keys of what was decoded, however deep."""
    for one in told.values() if isinstance(told, dict) else told if isinstance(told, list) else ():
        yield from _values(one, keys)
    if isinstance(told, dict):
        yield from (told[key] for key in keys if isinstance(told.get(key), str))


@pytest.mark.parametrize("kind", ["gate", "check"])
def test_what_a_gate_and_a_check_print(monkeypatch, capsys, kind):
    monkeypatch.setenv("COLUMNS", "400")  # no cell is folded
    spoken = SPOKEN.set("zh")
    made = getattr(made_pages, kind)()
    try:
        if kind == "gate":
            print_gate(console(), made)
        else:
            backend_check_verb._print(made)
    finally:
        SPOKEN.reset(spoken)
    if kind == "gate":
        names = {text for one in made.judged for text in (label(one), one.name)}
    else:  # a hint that is made up, as none of ours is
        names = {text for one in made.results for text in (one.check, f"{one.check}: {one.hint}")}
    text = capsys.readouterr().out
    assert re.search("[\u4e00-\u9fff]", text)
    assert left(plainly(text), names) == ""


def test_metrics_say_which_way_is_better_and_names_stay():
    text = hengsuan("show", "benchmarks", "train", "--lang", "zh")
    assert "tokens_per_second [token/s] 越高越好" in text
    assert "compute [s] 越低越好（每个进程）" in text
    assert "model=tiny, batch=4" in text
    assert "higher" not in text
    as_json = hengsuan("show", "benchmarks", "train", "--json", "--lang", "zh")
    assert as_json == hengsuan("show", "benchmarks", "train", "--json")


@pytest.mark.parametrize(
    "kind", ["score", "compare", "project", "validate", "gate", "check", "verdict"]
)
def test_pages_of_documents(runs, tmp_path, kind):
    file = tmp_path / f"{kind}.json"
    names: set[str] = named(runs["quick"]) | named(runs["forms"])
    if kind == "verdict":
        made = made_pages.verdict()
        write_verdict(tmp_path, made)
        held = [one for node in made.nodes for one in node.evidence]
        names |= {text for one in held for text in (one.text, one.cause, one.metric)}
        names |= {made.run, made.suite, made.profile, *made.notes}
    elif kind in ("gate", "check"):
        made = getattr(made_pages, kind)()
        file.write_bytes(msgspec.json.encode(made))
        if kind == "gate":
            names |= {text for one in made.judged for text in (label(one), one.name)}
        else:
            names |= {*made.devices, *(one.check for one in made.results)}
    else:
        words = {
            "score": ["score", runs["quick"]],
            "compare": ["compare", runs["quick"], runs["forms"]],
            "project": ["project", "dense-1t", "--cluster", "plan-16384", "--bottleneck"],
            "validate": ["project", "--validate"],
        }[kind]
        file.write_text(hengsuan(*words, "--json"), encoding="utf-8")
        if kind == "validate":
            names |= {one["name"] for one in msgspec.json.decode(file.read_bytes())["rows"]}
    hengsuan("report", file, "--output", tmp_path / "x.html", "--lang", "zh")
    assert left(shown((tmp_path / "x.html").read_text(encoding="utf-8")), names) == ""


def test_a_page_of_a_comparison_with_the_runs_beside(runs, tmp_path):
    given = runs["quick"], runs["forms"]
    hengsuan("compare", *given, "--html", tmp_path / "x.html", "--lang", "zh")
    names = named(given[0]) | named(given[1])
    texts = shown((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert left((text.removeprefix("A：").removeprefix("B：") for text in texts), names) == ""


def test_every_kind_of_fault_is_among_the_faults():
    assert {kind for kind in KINDS if f"kind: {kind}," not in FAULTS} == set()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a, b: memory", ["memory"]),
        ("节点 gpu-07 的 `a b` 为 12 GB/s，MFU 40%", []),
        ("gpu-07/3 all_reduce eth0.mtu --max-drain=5%", []),
        ("wait 等待", ["wait"]),
    ],
)
def test_english_is_found(text, told):
    assert english(text) == told


BENCH = Path(bench.__file__).parent
ROOMS = ("report/html", "report/pages", "analysis", "workloads", "conformance")
FILES = (
    "report/evidence.py", "report/markdown.py", "report/run/markdown.py", "report/room.py",
    "report/score.py", "report/comparison.py", "report/expectation.py", "report/gate/words.py",
    "host/contention.py", "host/processes.py", "cluster/lead.py", "cluster/party.py",
    "cluster/ranks.py", "cluster/simulated/executor.py", "campaigns/certify.py",
    "ledger.py", "report/spending.py",
    "verdicts.py", "records.py", "gates.py", "conformity.py", "identity.py", "store/prune.py",
    "report/terminal.py", "report/certification.py", "report/screen.py", "report/picture.py",
    "report/slowest.py", "report/watched.py", "report/runs.py", "report/trend.py",
    "report/facts.py", "report/fabric.py", "report/links.py", "report/scaling.py",
    "report/roofline.py", "report/gate_history.py", "report/judgements.py",
    "report/cases.py", "cli/judged.py",
    "cli/ending.py", "cli/results_verb.py", "cli/history.py", "cli/storing.py", "cli/live.py",
    "cli/watch_verb.py", "cli/doctor_verb.py", "cli/show_verb.py", "cli/backend_list_verb.py",
    "cli/backend_check_verb.py", "cli/gate_pair_verb.py", "cli/gate_check_verb.py",
    "cli/gate_selftest_verb.py", "cli/gate_bisect_verb.py", "report/gate/terminal.py",
    "report/gate/outputs.py", "campaigns/pair.py", "campaigns/selftests.py", "cluster/exposure.py",
    "backends/isolated.py", "backends/registry.py", "backends/tools.py",
    "backends/cpu.py", "backends/cuda.py", "backends/nvml.py", "backends/enflame.py",
    "backends/ascend.py",
)  # fmt: skip
NEVER_SAID = {
    "analysis/projection/published.py": "what is wrong with a file",
    "analysis/projection/machine.py": "what is wrong with a cluster's file",
    "analysis/projection/plan.py": "what is wrong with a layout",
    "conformance/suite.py": "what a check is, for --help",
    "conformance/cases.py": "what a check is, for --help",
    "conformance/test_conformance.py": "for pytest",
    "verdicts.py": "for the reference",
    "records.py": "for the reference, but for the states, which pages show",
    "workloads/counts.py": "for the reference",
    "workloads/steps.py": "for the reference",
}
"""Modules some of whose sentences no report in Chinese shows, and why."""
CODE = (
    "dict[",
    "recompute: full, ",
    "one way of eight bytes",
    "there and back of eight bytes",
    "hengsuan results",
    "Store of a team",
    "hengsuan certif",
    "env:FOLDER|",
    "except Exception as error",
    "NVRM: (?:Xid",
    "nvidia-nvswitch|",
)
"""Texts that are no sentences of a report: types, settings, what the reference says."""


def test_every_sentence_in_the_source_has_its_chinese():
    files = [file for room in ROOMS for file in sorted((BENCH / room).rglob("*.py"))]
    files += [BENCH / name for name in FILES]
    seen, missing = 0, []
    for file in files:
        name = str(file.relative_to(BENCH))
        for line, text in sentences(file):
            seen += 1
            if name not in NEVER_SAID and not any(one in text for one in CODE):
                missing += [f"{name}:{line}: {part}" for part in untold(text)]
    assert seen > 500
    assert "\n".join(missing) == ""


def test_the_table_holds_together():
    keys = Counter(key for table in TABLES for key in table)
    assert [key for key, count in keys.items() if count > 1] == []
    for table in TABLES:
        for key, told in table.items():
            slots = len(SLOT.findall(key))
            if slots:
                marks = [f"<{number}>" for number in range(slots)]
                assert "{" not in told.format(*marks).replace("%{x}", ""), key
            assert told.strip(), key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gpu-1: no value was measured; not reached", "gpu-1：没有测量值；未执行到"),
        ("the suite quick does not measure it", "套件 quick 未测量此项"),
        ("not measured: compute, memory", "未测量：计算、内存"),
        ("waited for a <b>; or more", "waited for a <b>; or more"),
        (
            "quick on 1 node(s), 2 device(s) (cpu; stand-in), at most 3.6 s of timing → a/b",
            "quick，1 个节点、2 个设备（cpu；代替设备），计时至多 3.6 s → a/b",
        ),
        (
            "goodput on 1 node(s), 2 device(s) (cpu; stand-in) → a/b",
            "goodput，1 个节点、2 个设备（cpu；代替设备）→ a/b",
        ),
        ("((((" * 900, "((((" * 900),
        ("not measured: " * 280, None),
    ],
)
def test_parts_are_said_and_what_is_unknown_stays(text, told):
    assert chinese(text) == told if told is not None else chinese(text)


def test_a_name_alone_is_no_word():
    assert prose("memory") == "memory"
    assert chinese("memory") != "memory"
