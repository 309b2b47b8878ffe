"""Documents as commands write them, and the pages that ``hengsuan report`` makes of them."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from judged_runs import evidence, judged, judged_run

from bench.analysis.comparison import compare
from bench.analysis.scores import Category, MetricScore, Scorecard
from bench.cli import cli
from bench.conformity import Conformity, Result
from bench.gates import GateReport, Judged, write_gate
from bench.report.pages.comparison import SideBySide
from bench.report.pages.score import Scores
from bench.verdicts import Certification, write_verdict

DOCUMENTS = ("gate", "verdict", "score", "project", "validate", "compare", "check")
NAMES = ("run", "certified-run", "compare-runs", *DOCUMENTS)
HOSTILE = (
    "<script>window.hit = 'script'</script>",
    '"><img src=x onerror="window.hit = \'image\'">',
    "</script><script>window.hit = 'end'</script>",
    "'-(window.hit='quote')-'",
    "<!--<script>",
    "{{ 7 * 7 }} ${7 * 7}",
    "\u2028window.hit = 'separator'\u2029 \u202e\x00",
    "]]></style><style>*{display:none}</style>",
)
"""Names that are no names: each would do something if a page obeyed it."""


def hengsuan(*words: object) -> str:
    """What the command printed; whatever it found is no error here."""
    done = CliRunner().invoke(cli, list(map(str, words)), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def page(source: object, path: Path, *words: object) -> Path:
    """The page of a run or a file."""
    hengsuan("report", source, "--output", path, *words)
    assert path.stat().st_size > 5000
    return path


FLEET = """\
name: rack
chip: sim-a
nodes: 10
devices: 2
seed: 3
typical: {"*.error": 1e-3, launch.time: 6e-6, train.peak_memory: 2e10, "*.repetitions": 500}
faults:
  - {kind: slow-memory, node: 7, device: 0, factor: 0.8}
  - {kind: contended-host, node: 3}
"""


def paths(folder: Path) -> dict[str, Path]:
    """By name: the pages that `make` put into a folder."""
    return {name: folder / f"{name}.html" for name in NAMES}


def make(folder: Path) -> None:
    """A page of each kind."""
    runs = folder / "runs"
    for _ in range(2):
        hengsuan("run", "quick", "--cluster", "small", "--quiet", "--out", runs)
    run, other = sorted(runs.iterdir())
    (folder / "rack.yaml").write_text(FLEET, encoding="utf-8")
    where = ("--cluster", folder / "rack.yaml", "--quiet", "--out", folder / "certified")
    hengsuan("certify", *where)
    (certified,) = (folder / "certified").iterdir()
    cluster = ("--cluster", "plan-16384")
    files = {
        "score": hengsuan("score", run, "--json"),
        "project": hengsuan("project", "dense-1t", *cluster, "--bottleneck", "--json"),
        "validate": hengsuan("project", "--validate", "--json"),
        "compare": hengsuan("compare", run, other, "--json"),
        "check": msgspec.json.encode(check()).decode(),
        "gate": msgspec.json.encode(gate()).decode(),
        "verdict": msgspec.json.encode(verdict()).decode(),
    }
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
        page(folder / f"{name}.json", folder / f"{name}.html")
    page(run, folder / "run.html")
    page(certified, folder / "certified-run.html")
    hengsuan("compare", run, other, "--html", folder / "compare-runs.html")


def many_nodes(folder: Path) -> Path:
    """A run of more nodes than a map has columns for."""
    suite, cluster = folder / "small.yaml", folder / "many.yaml"
    suite.write_text(
        "name: small\nstages:\n  - name: device\n    benchmarks:\n"
        "      - stream: {op: [copy, triad], size: 1GiB}\n",
        encoding="utf-8",
    )
    cluster.write_text("name: many\nchip: sim-a\nnodes: 600\ndevices: 1\nseed: 1\n")
    where = ("--cluster", cluster, "--quiet", "--out", folder / "many")
    hengsuan("run", suite, *where)
    (run,) = (one for one in (folder / "many").iterdir() if one.is_dir())
    return run


def chinese(folder: Path) -> dict[str, Path]:
    """By name: pages in Chinese of the files and runs of a folder that `make` filled."""
    (certified,), run = (folder / "certified").iterdir(), min((folder / "runs").iterdir())
    given = {name: folder / f"{name}.json" for name in DOCUMENTS}
    given |= {"run": run, "certified-run": certified}
    return {
        name: page(source, folder / f"{name}-zh.html", "--lang", "zh")
        for name, source in given.items()
    }


def verdict() -> Certification:
    """A certification with every verdict, and what to type."""
    names = [(f"gpu-{number:02d}", "accept") for number in range(1, 21)]
    for bad, word in ((3, "reject"), (7, "reject"), (11, "inconclusive"), (12, "inconclusive")):
        names[bad - 1] = (f"gpu-{bad:02d}", word)
    _, found = judged(*names)
    found.notes = ["2 of 20 nodes are rejected: more than 5 %, so no drain commands are given"]
    found.drain = {"slurm": ["scontrol update nodename=gpu-[03,07] state=drain reason=slow"]}
    return found


def changed(name: str, state: str, change: float, width: float = 0.02, **more) -> Judged:
    """A metric of a gate with figures."""
    return Judged(
        name=name, state=state, unit="s", better="lower", margin=0.05, change=change,
        low=change - width, high=change + width, blocks=20, noise=0.01, caught=0.07,
        baseline=1.2e-3, candidate=1.2e-3 * (1 + change), **more,
    )  # fmt: skip


def gate(names: tuple[str, ...] = ()) -> GateReport:
    """A gate with every state, or with these names in it."""
    bare = {"unit": "s", "better": "lower", "margin": 0.05}
    judged = [
        changed("gemm 8192x8192x8192 bf16 time", "REGRESSED", 0.31, where="gpu-07/3"),
        changed("attention 16x32x4096 causal bf16 time", "REGRESSED", 0.083),
        changed("all_reduce 64MiB fp32 over group time", "INCONCLUSIVE", 0.04, 0.05,
                reason="40 blocks were not enough for a margin of 5 %"),
        changed("softmax 8192x8192 fp32 time", "IMPROVED", -0.22),
        Judged(name="counts gemm registers", state="REGRESSED", exact=True, change=0.25,
               baseline=128, candidate=160, reason="from 128 to 160",
               **{**bare, "unit": "count", "margin": 0.0}),
        Judged(name="rope 4096x128 bf16 time", state="MISSING", **bare,
               reason="the candidate has not measured it"),
        Judged(name="moe 8x4096 bf16 time", state="INVALID", **bare,
               reason="throttled in every block of the candidate"),
        *(changed(f"stream {op} {size} {dtype} time", "PASS", 0.0007 * place - 0.01)
          for place, (op, size, dtype) in enumerate(
              (op, size, dtype) for op in ("copy", "scale", "add", "triad")
              for size in ("64MiB", "256MiB", "1GiB") for dtype in ("fp32", "bf16"))),
        *(changed(name, "REGRESSED", 0.1 + 0.01 * place, where=name, reason=name)
          for place, name in enumerate(names)),
    ]  # fmt: skip
    return GateReport(
        gate=names[0] if names else "kernels", how="pair",
        baseline=names[1] if names else "git:HEAD~1", candidate="this tree",
        created="2026-11-26T12:00:00+00:00", alpha=0.01, provenance="measured",
        devices=list(names[:2]) or ["acme-1"], judged=judged,
        notes=list(names) or ["two blocks were left out: other work ran on the cores"],
    )  # fmt: skip


def check(names: tuple[str, ...] = ()) -> Conformity:
    """What came of checking a backend, with every verdict, or with these names in it."""
    results = [
        Result(check="loading", verdict="pass", reason="2 device(s)", seconds=0.4),
        Result(check="memory", verdict="fail", reason="memory_allocated does not grow",
               hint="let memory() say what the allocator holds", seconds=1.2),
        Result(check="collective-all_reduce", verdict="skipped", reason="needs 2 devices"),
        Result(check="op-fp64", verdict="unsupported", reason="no unit computes it"),
        *(Result(check=f"op-{n}", verdict="pass", reason="within its tolerance", seconds=0.1 * n)
          for n in range(12)),
        *(Result(check=name, verdict="fail", reason=name, hint=name) for name in names),
    ]  # fmt: skip
    return Conformity.of(names[0] if names else "acme", list(names) or ["Acme One"], results)


def hostile(folder: Path) -> dict[str, Path]:
    """By name: pages of documents whose every name is one of `HOSTILE`."""
    folder.mkdir(exist_ok=True)
    write_gate(folder / "gate.json", gate(HOSTILE))
    (folder / "check.json").write_bytes(msgspec.json.encode(check(HOSTILE)))
    (folder / "score.json").write_bytes(msgspec.json.encode(Scores(exit=0, scorecards=[card()])))
    (folder / "compare.json").write_bytes(msgspec.json.encode(compared()))
    verdicts = [(name.replace("/", "|"), "reject") for name in HOSTILE]
    _, found = judged(*verdicts)
    said = {"text": HOSTILE[0], "cause": HOSTILE[1], "command": HOSTILE[2], "metric": HOSTILE[3]}
    for node in found.nodes:
        node.evidence[:] = [evidence(**said)]
    found.notes = list(HOSTILE)
    found.drain = {HOSTILE[0]: list(HOSTILE)}
    run = judged_run(folder / "run", *verdicts)
    write_verdict(run, found)
    names = ("gate", "check", "score", "compare")
    pages = {name: page(folder / f"{name}.json", folder / f"{name}.html") for name in names}
    pages["verdict"] = page(run / "verdict.json", folder / "verdict.html")
    pages["run"] = page(run, folder / "run.html")
    return pages


def compared() -> SideBySide:
    """Two systems whose every text is hostile."""
    found = compare([card("one"), card("two")], {})
    return SideBySide(exit=0, profile=HOSTILE[0], provenance=HOSTILE[1], comparison=found)


def card(run: str = HOSTILE[2]) -> Scorecard:
    """A scorecard whose every text is hostile."""
    metrics = [
        MetricScore(
            name=name, metric=name, unit="FLOP/s", achieved=1e12, low=0.9e12, high=1.1e12,
            reference=2e12, reference_from=name, efficiency=0.5, efficiency_low=0.45,
            efficiency_high=0.55, detail=name, title=name, title_zh=name, run=name, gain=0.1,
        )
        for name in HOSTILE
    ]  # fmt: skip
    absent = MetricScore(name=HOSTILE[0], metric=HOSTILE[1], absent=HOSTILE[2], clause=HOSTILE[3])
    category = Category(
        name=HOSTILE[0], score=50.0, coverage=1.0, metrics=[*metrics, absent], low=45.0, high=55.0
    )
    return Scorecard(
        run=run, suite=HOSTILE[3], profile=HOSTILE[4], provenance="measured", kinds=list(HOSTILE),
        overall=50.0, coverage=1.0, categories=[category], findings=[], note=HOSTILE[5],
        chain=metrics[:2],
    )  # fmt: skip
