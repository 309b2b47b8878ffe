"""Verbs that read runs, and what can be named."""

from __future__ import annotations

from .pages import CONFIGURATION, RUNS, STORE, Page


def _shown(kind: str, about: str) -> Page:
    return Page(
        {
            f"hengsuan show {kind}": about,
            f"hengsuan show {kind} --json": "the same for a program",
            f"hengsuan show {kind} --quiet": "names alone",
        },
        CONFIGURATION,
        ("show config", "run"),
    )


PAGES = {
    "results list": Page(
        {
            "hengsuan results list": "runs in ./results",
            "hengsuan results list --out /shared/results --quiet": "ids alone, of another folder",
            "hengsuan results list --node gpu-07 --since 30d": "with this node, of a month",
        },
        {**RUNS, "results/.index.json": "what a list says of each; made anew where it is missing"},
        ("results show", "results diff", "watch"),
    ),
    "results diff": Page(
        {
            "hengsuan results diff RUN_A RUN_B": "what changed around the runs, and in them",
            "hengsuan results diff RUN_A RUN_B --verbose": "every metric",
        },
        RUNS,
        ("compare", "gate check", "results trend"),
    ),
    "results trend": Page(
        {
            "hengsuan results trend 'gemm flops'": "metrics with these words, over all runs",
            "hengsuan results trend 'gemm * flops' --node gpu-07": "of one node",
            "hengsuan results trend bandwidth --chip h200-sxm --json": "for a program",
        },
        RUNS,
        ("gate history", "results diff"),
    ),
    "results prune": Page(
        {
            "hengsuan results prune --keep 20 --older 90 --dry-run": "what would go, what stays",
            "hengsuan results prune --older 365 --yes": "without a question, as from cron",
        },
        {**RUNS, "results/RUN/certificates.json": "certificates of the run: it stays"},
        ("results list", "results export"),
    ),
    "results export": Page(
        {
            "hengsuan results export RUN RUN runs.tar.gz": "their folders, for another place",
            "hengsuan results export RUN rows.csv": "every row in full words",
        },
        RUNS,
        ("results push", "submission pack"),
    ),
    "results push": Page(
        {
            "hengsuan results push": "all that ended and is not there, to HENGSUAN_STORE",
            "hengsuan results push RUN --store sqlite:///runs.db": "one, to a file",
        },
        {**RUNS, **STORE},
        ("results pull", "results list"),
    ),
    "results pull": Page(
        {
            "hengsuan results pull --since 7d": "what others pushed in a week",
            "hengsuan results pull RUN --out other": "one, into another folder",
        },
        {**RUNS, **STORE},
        ("results push", "results list"),
    ),
    "results show": Page(
        {
            "hengsuan results show RUN": "every case: median, worst, expectation, reasons",
            "hengsuan results show RUN --rows --json": "every row, an object a line",
        },
        RUNS,
        ("expect", "results roofline", "results fabric"),
    ),
    "results roofline": Page(
        {"hengsuan results roofline RUN": "how near each case comes to the chip's limits"},
        RUNS,
        ("results show", "expect", "show chips"),
    ),
    "results links": Page(
        {"hengsuan results links RUN": "of every collective over several sizes"},
        RUNS,
        ("results fabric", "run"),
    ),
    "results scaling": Page(
        {"hengsuan results scaling RUN --to 1024": "and what 1024 devices would give"},
        RUNS,
        ("project", "results links"),
    ),
    "results fabric": Page(
        {
            "hengsuan results fabric RUN": "by bandwidth",
            "hengsuan results fabric RUN --metric latency": "by latency",
        },
        RUNS,
        ("results links", "certify"),
    ),
    "results facts": Page(
        {
            "hengsuan results facts RUN": "nodes unlike their neighbours, errors counted",
            "hengsuan results facts RUN --node gpu-07": "all that one node says of itself",
        },
        RUNS,
        ("certify", "doctor"),
    ),
    "import": Page(
        {
            "hengsuan import nccl-tests logs/gpu-01.log logs/gpu-02.log": "nodes as the logs name "
            "them; of one day, one run",
            "hengsuan import osu job.out --node gpu-[01-02] --ranks 16": "the log does not say who "
            "took part",
            "hengsuan import superbench results-summary.jsonl --device h100-sxm": "and held "
            "against that datasheet",
            "hengsuan import pytest-benchmark benchmark.json --time 2026-11-24": "of that day",
        },
        RUNS,
        ("results show", "certify", "score"),
    ),
    "report": Page(
        {
            "hengsuan report RUN --open": "write report.html beside the run, and show it",
            "hengsuan report RUN --output page.html --lang zh": "elsewhere, in Chinese",
            "hengsuan report RUN --format csv --output rows.csv": "every row in full words",
            "hengsuan report RUN --format junit --output run.xml": "a test case a case",
            "hengsuan report gate.json": "the page of a gate, beside its file",
        },
        {"results/RUN/report.html": "the page: one file that asks no network for anything"},
        ("certify", "results show", "score", "expect"),
    ),
    "expect": Page(
        {
            "hengsuan expect RUN": "is this normal?",
            "hengsuan expect RUN --only 'gemm *'": "of matrix products alone",
        },
        RUNS,
        ("results show", "results roofline", "score"),
    ),
    "score": Page(
        {
            "hengsuan score RUN": "a cluster by category",
            "hengsuan score RUN RUN --system system.yaml --lang zh": "several runs of one system",
        },
        {**RUNS, **CONFIGURATION},
        ("compare", "expect", "project"),
    ),
    "compare": Page(
        {
            "hengsuan compare RUN_A RUN_B+RUN_C": "two systems, the second measured in two runs",
            "hengsuan compare RUN_A RUN_B --html FILE.html": "their pages, side by side",
        },
        RUNS,
        ("score", "gate check"),
    ),
    "project": Page(
        {
            "hengsuan project dense-1t --cluster plan-16384 --search": "the best layout, and why",
            "hengsuan project llama-70b --cluster plan-16384 --calibrate RUN": "as measured",
            "hengsuan project tiny --ranks 2 --calibrate RUN": "from one rank's step",
            "hengsuan project --validate": "against published training runs",
        },
        CONFIGURATION,
        ("score", "show clusters"),
    ),
    "show benchmarks": Page(
        {
            "hengsuan show benchmarks": "what can be measured",
            "hengsuan show benchmarks gemm train": "axes with defaults, metrics and units of two",
            "hengsuan show benchmarks --json": "all of it for a program",
            "hengsuan show benchmarks --quiet": "names alone",
        },
        CONFIGURATION,
        ("show derived", "run"),
    ),
    "show derived": _shown("derived", "metrics that are computed of others"),
    "show suites": _shown("suites", "what `run` and `certify` take"),
    "show chips": _shown("chips", "datasheets; disputed figures are marked"),
    "show profiles": _shown("profiles", "what scores and verdicts are made by"),
    "show gates": _shown("gates", "what `gate` judges by, and by how much"),
    "show editions": _shown("editions", "what submissions can be for"),
    "show clusters": _shown("clusters", "fleets to simulate, and faults to give them"),
    "show config": Page(
        {"hengsuan show config": "which file each name is read from"},
        CONFIGURATION,
        ("show suites",),
    ),
    "show schema": Page(
        {
            "hengsuan show schema": "JSON schemas of all files",
            "hengsuan show schema run.json": "of one",
        },
        RUNS,
        ("results show",),
    ),
}
