"""Judges many simulated gates and writes results/reference/gate.md.

    python .ci/gate.py [--gates N] [--first SEED]

Every share with its 95 % limits. Exit code 1 if a limit misses its bound.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "stats")]

from gate_blocks import Machine, ratios  # noqa: E402  (after the path)
from shares import limits, share  # noqa: E402

from bench.analysis.gate.sequential import LOOKS, decide  # noqa: E402

REFERENCE = ROOT / "results" / "reference"
SEED = 5_000_000
"""First seed: far from those that the method was developed on."""
MARGIN = 0.03
NOISES = (0.003, 0.008, 0.025, 0.05)
CHANGES = (0.0, 0.03, 0.05, 0.08, -0.08)


@dataclass(frozen=True)
class Bound:
    """At a noise up to ``noise`` and these changes, ``word`` comes at least or at most so often."""

    changes: tuple[float, ...]
    noise: float
    word: str
    least: float = 0.0
    most: float = 1.0


BOUNDS = (
    Bound((0.0,), 0.05, "REGRESSED", most=0.01),
    Bound((0.0,), 0.008, "PASS", least=0.95),
    Bound((0.0,), 0.025, "PASS", least=0.90),
    Bound((0.05,), 0.008, "REGRESSED", least=0.99),
    Bound((0.08,), 0.025, "REGRESSED", least=0.99),
    Bound((0.05, 0.08), 0.05, "PASS", most=0.01),
)


def one(noise: float, change: float, seed: int) -> tuple[str, int]:
    """The verdict of one gate, and after how many blocks."""
    made = decide(ratios(Machine(noise), change, LOOKS[-1], seed), MARGIN)
    return made.word, made.blocks


def missed(noise: float, change: float, words: Counter[str]) -> list[str]:
    """Bounds whose limits are on the wrong side."""
    found = []
    for bound in BOUNDS:
        if change not in bound.changes or noise > bound.noise:
            continue
        low, high = limits(words[bound.word], words.total())
        if low < bound.least or high > bound.most:
            wanted = f"at least {bound.least}" if bound.least else f"at most {bound.most}"
            said = share(words[bound.word], words.total())
            found.append(
                f"{bound.word} at {noise:.1%} noise, {change:+.0%}: {said}, {wanted} wanted"
            )
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gates", type=int, default=2000, help="of every cell")
    parser.add_argument("--first", type=int, default=SEED, help="the first seed")
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.gates)
    lines, problems = [], []
    with ProcessPoolExecutor(2) as pool:
        for noise in NOISES:
            for change in CHANGES:
                call = partial(one, noise, change)
                found = list(pool.map(call, seeds, chunksize=50))
                words = Counter(word for word, _ in found)
                blocks = sum(blocks for _, blocks in found) / len(found)
                shares = [
                    share(words[word], len(found)) for word in ("REGRESSED", "PASS", "IMPROVED")
                ]
                cells = [f"{noise:.1%}", f"{change:+.0%}", *shares, f"{blocks:.1f}"]
                lines.append("| " + " | ".join(cells) + " |")
                problems += missed(noise, change, words)
                sys.stdout.write(lines[-1] + "\n")
                sys.stdout.flush()
    page = [
        "# How often the gate is right",
        "",
        "Written by `make gate-table`; simulated blocks, judged by the code that judges real ones",
        f"(`bench/analysis/gate`). {arguments.gates:,} gates a line, margin {MARGIN:.0%}, at most",
        f"{LOOKS[-1]} blocks; beside the noise a session effect of 2 %, drift and spikes",
        "(`tests/stats/gate_blocks.py`). Shares with 95 % limits (Clopper-Pearson); the rest is",
        "INCONCLUSIVE. A change above zero is a slowdown.",
        "",
        "| block noise | true change | REGRESSED | PASS | IMPROVED | mean blocks |",
        "|---|---|---|---|---|---|",
        *lines,
        "",
        "## Bounds that the limits miss",
        "",
        *([f"- {line}" for line in problems] or ["None."]),
        "",
    ]
    (REFERENCE / "gate.md").write_text("\n".join(page), encoding="utf-8")
    sys.stdout.write("".join(f"{line}\n" for line in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
