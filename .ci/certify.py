"""Certifies many simulated fleets and writes results/reference/certify.md.

    python .ci/certify.py [--fleets N] [--only CASE,...] [--first SEED]

Every figure with its 95 % limits. Cases that are not run keep what certify.json beside the table
has of them, as long as it is of the same source. Exit code 1 if a limit misses its bound.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "stats")]

from cell_fleets import NOISES, Bins, Fleet, Outcome, with_rules  # noqa: E402  (after the path)
from shares import limits, share  # noqa: E402

REFERENCE = ROOT / "results" / "reference"
PACKAGE = ROOT / "bench" / "analysis" / "certify"
CORE = [
    PACKAGE / f"{name}.py"
    for name in (
        "__init__",
        "cells",
        "components",
        "evidence",
        "layout",
        "modes",
        "population",
        "screen",
        "sequential",
    )
]
"""What decides; the rest of the package makes cells of runs and words of decisions."""
SEED = 1_000_000
"""First seed: far from those that the method was developed on."""
HARDER = tuple(2**0.5 * noise for noise in NOISES)


@dataclass(frozen=True)
class Case:
    """Fleets of one kind: how they are made, and the share of re-tests."""

    kind: str
    says: str
    fleet: dict
    retest: float = 0.0
    share: float = 1.0  # of the fleets asked for: some are dear
    recall: float = 0.0  # bound


FAULTS = {"units": 512, "metrics": 200, "bad": 51}
HEALTHY = {"units": 1024, "metrics": 60}
SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
BOUNDS = {0.0: 0.71, 0.1: 0.94, 0.3: 0.97}
FURTHER = {
    "drift": ("sessions drift by one noise", {"drift": 1.0}),
    "spread": ("30 % of the variance is of the units", {"spread": 0.3}),
    "tails": ("noise of Student's t 5", {"tails": 5}),
    "bins": ("a fifth of the units is a slower bin, 5 %", {"bins": Bins(0.2)}),
}


def cases() -> dict[str, Case]:
    """All of them, by name."""
    found = {}
    for extra in SHARES:
        text = f"{extra:.0%} extra"
        found[f"faults-{extra}"] = Case("faults", text, FAULTS, extra, 0.25, BOUNDS.get(extra, 0))
    for extra in SHARES:
        fleet = dict(**FAULTS, noises=HARDER)
        found[f"harder-{extra}"] = Case(
            "harder", f"{extra:.0%} extra", fleet, extra, 0.25, BOUNDS.get(extra, 0)
        )
    for name, (says, changes) in FURTHER.items():
        found[f"further-{name}"] = Case("further", says, {**FAULTS, **changes}, 0.1, 0.1)
    for name, says, changes in (
        ("normal", "normal noise", {}),
        ("t5", "noise of Student's t 5", {"tails": 5}),
        ("t3", "noise of Student's t 3", {"tails": 3}),
        ("both", "t 5, units differ, sessions drift", {"tails": 5, "spread": 0.3, "drift": 1.0}),
    ):
        for extra in (0.0, 0.1):
            text = f"{says}, {'one shot' if extra == 0 else f'{extra:.0%} extra'}"
            found[f"healthy-{name}-{extra}"] = Case("healthy", text, {**HEALTHY, **changes}, extra)
    for units in (8, 16, 64):
        fleet = {"units": units, "metrics": 60, "tails": 5}
        found[f"small-{units}"] = Case("healthy", f"{units} units, t 5, 10 % extra", fleet, 0.1)
    for part in (0.1, 0.3, 0.5):
        for shown in (1.0, 0.1):
            fleet = {"units": 512, "metrics": 60, "bins": Bins(part, 0.05, shown)}
            text = f"{part:.0%} of 512 units slower by 5 % in {shown:.0%} of the metrics"
            found[f"bins-{part}-{shown}"] = Case("bins", f"{text}, 10 % extra", fleet, 0.1)
    fleet = {"units": 64, "metrics": 60, "bins": Bins(0.1)}
    found["bins-small"] = Case("bins", "10 % of 64 units slower by 5 %, 10 % extra", fleet, 0.1)
    return found


def one(job: tuple[str, int]) -> Outcome:
    """Certify one fleet."""
    case = cases()[job[0]]
    return Fleet(job[1], **case.fleet).outcome(with_rules(retest=case.retest))


def digest() -> str:
    """Of all code that the figures depend on; comments and docstrings are no code."""
    found = hashlib.sha256()
    for file in [*CORE, ROOT / "tests" / "stats" / "cell_fleets.py"]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(getattr(node, "body", None), list):
                node.body = [one for one in node.body if not _text(one)]
        found.update(ast.dump(tree).encode())
    return found.hexdigest()[:16]


def _text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def run(name: str, fleets: int, first: int, pool: ProcessPoolExecutor) -> dict:
    """Sums over fleets of one case."""
    outcomes = list(pool.map(one, [(name, first + number) for number in range(fleets)]))
    found, wrong, bad, left, extra = (np.array(column) for column in zip(*outcomes, strict=True))
    return {
        "fleets": fleets,
        "found": int(found.sum()),
        "wrong": int(wrong.sum()),
        "bad": int(bad.sum()),
        "hurt": int(np.count_nonzero(wrong)),
        "left": float(left.mean()),
        "extra": float(extra.mean()),
        "most": float(extra.max()),
    }


def rows(kind: str, results: dict[str, dict]) -> list[str]:
    """The lines of one table."""
    lines = []
    for name, case in cases().items():
        if case.kind != kind or name not in results:
            continue
        r = results[name]
        if kind in ("healthy", "bins"):
            line = [case.says, r["fleets"], share(r["hurt"], r["fleets"]), f"{r['extra']:.1%}"]
        else:
            said = r["found"] + r["wrong"]
            line = [case.says, r["fleets"], share(r["found"], r["bad"])]
            line += [f"{case.recall:.2f}" if case.recall else "", share(r["found"], said)]
            line += [f"{r['extra']:.1%}", f"{r['left']:.1f}"]
        lines.append("| " + " | ".join(str(cell) for cell in line) + " |")
    return lines


def missed(results: dict[str, dict]) -> list[str]:
    """Which limits miss their bounds."""
    found = []
    for name, case in cases().items():
        r = results.get(name)
        if r is None:
            continue
        if case.kind in ("healthy", "bins"):
            if limits(r["hurt"], r["fleets"])[1] > 0.015:
                found.append(f"{name}: {share(r['hurt'], r['fleets'])} of fleets, 0.015 allowed")
        else:
            if limits(r["found"], r["bad"])[0] < case.recall:
                found.append(f"{name}: recall {share(r['found'], r['bad'])}, {case.recall} wanted")
            if limits(r["found"], r["found"] + r["wrong"])[0] < 0.99:
                said = share(r["found"], r["found"] + r["wrong"])
                found.append(f"{name}: precision {said}, 0.99 wanted")
    return found


def table(results: dict[str, dict]) -> str:
    """The page."""
    rejected = [
        "| fleet | fleets | with a healthy unit rejected | extra measuring |",
        "|---|---|---|---|",
    ]
    recall = [
        "| re-test | fleets | recall | bound | precision | extra measuring | suspects left |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(
        [
            "# How often certify is right",
            "",
            "Written by `make certify-table`; simulated cells, decided by the code that decides",
            "real ones (`bench/analysis/certify`). Shares with 95 % limits (Clopper-Pearson);",
            f"seeds from {SEED:,} on, the method was developed on others. Controls count as extra",
            "measuring. Suspects left are inconclusive, neither found nor wrong.",
            "",
            "## Faults: 512 nodes × 200 metrics, 51 nodes with one metric down by 4 to 25 %",
            "",
            "Noise of 0.2, 0.5, 1, 2 or 3 %, drawn for each metric.",
            "",
            *recall,
            *rows("faults", results),
            "",
            "## The same with the square root of two times the noise",
            "",
            *recall,
            *rows("harder", results),
            "",
            "## The same with one thing more, re-tests of 10 %",
            "",
            *recall,
            *rows("further", results),
            "",
            "## No faults: 1,024 nodes, 60 metrics",
            "",
            *rejected,
            *rows("healthy", results),
            "",
            "## No faults, two bins of chips",
            "",
            *rejected,
            *rows("bins", results),
            "",
            "## Bounds that the limits miss",
            "",
            *([f"- {line}" for line in missed(results)] or ["None."]),
            "",
        ]
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--fleets", type=int, default=2000, help="of every kind; a quarter of dear ones"
    )
    parser.add_argument("--only", default="", help="beginnings of names of cases, comma-separated")
    parser.add_argument("--first", type=int, default=SEED, help="the first seed")
    arguments = parser.parse_args()
    file, now = REFERENCE / "certify.json", digest()
    kept = json.loads(file.read_text()) if file.exists() else {}
    results = {name: r for name, r in kept.items() if r["source"] == now and name in cases()}
    only = arguments.only.split(",")
    with ProcessPoolExecutor(2) as pool:
        for name, case in cases().items():
            if not any(f"{name}-".startswith(f"{one}-" if one else "") for one in only):
                continue
            fleets = max(round(arguments.fleets * case.share), 1)
            results[name] = {"source": now, **run(name, fleets, arguments.first, pool)}
            sys.stdout.write(f"{name}: {json.dumps(results[name])}\n")
            sys.stdout.flush()
            lines = [f"{json.dumps(one)}: {json.dumps(results[one])}" for one in sorted(results)]
            file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
            (REFERENCE / "certify.md").write_text(table(results), encoding="utf-8")
    problems = missed(results)
    sys.stdout.write("".join(f"{line}\n" for line in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
