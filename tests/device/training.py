"""What a run of the suite ``slices`` comes to: the project's bounds of training on one device.

    hengsuan run slices
    python tests/device/training.py results/RUN [--out FOLDER]

Prints a table and writes it as ``<out>/<chip>/training.md``, with the run's rows beside it. Exit
code 2 if the run has nothing of it, or is not of an accelerator. A missed bound is printed, and is
no exit code.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[2]))

from report import table

from bench.errors import HengsuanError
from bench.results import RunReader
from bench.units import format_value

ROOT = Path(__file__).parents[2]
FASTER, SHARE, MEMORY = 1.0, 0.5, (0.9, 1.1)
"""Bounds: of Triton's operations over torch.compile, of the matrix products' ceiling that a step
reaches, and of memory estimated over measured."""


class Found:
    """The valid values of a run."""

    def __init__(self, run: Path) -> None:
        reader = RunReader(run)
        self.header = reader.header
        self.values: dict[int, Any] = {row.case: row for row in reader.rows() if row.status == "ok"}

    def get(self, benchmark: str, metric: str, **axes: Any) -> list[tuple[str, Any]]:
        """Titles and rows of a metric's cases with these axes."""
        return [
            (case.title, self.values[case.id])
            for case in self.header.cases
            if case.benchmark == benchmark
            and case.metric == metric
            and case.id in self.values
            and axes.items() <= case.axes.items()
        ]


def rows(found: Found) -> list[tuple[str, str, str, str]]:
    """What, measured, bound, verdict; one for each bound that the run has the values of."""
    made = []
    ours, theirs = (
        _one(found.get("train", "tokens_per_second", ops=ops)) for ops in ("triton", "compile")
    )
    if ours and theirs:
        (title, ours), (_, theirs) = ours, theirs
        value = ours.value / theirs.value
        low, high = ours.low / theirs.high, ours.high / theirs.low
        made.append(
            _row(f"{title}: tokens a second over torch.compile", value, low, high, FASTER, None)
        )
    ceiling = max((row.value for _, row in found.get("gemm", "flops")), default=None)
    share = _one(found.get("train", "mfu", ops="triton"))
    peak = _peak(found)
    if share and ceiling and peak:
        title, row = share
        factor = peak / ceiling
        low, high = factor * row.low, factor * row.high
        what = f"{title}: FLOPs a second over those of the fastest product, "
        made.append(
            _row(what + format_value(ceiling, "FLOP/s"), factor * row.value, low, high, SHARE, None)
        )
    taken = dict(found.get("train", "peak_memory"))
    for title, row in found.get("train", "memory_estimate"):
        if title in taken:
            value = row.value / taken[title].value
            what = f"{title}: memory estimated over {format_value(taken[title].value, 'B')}"
            made.append(_row(what, value, value, value, *MEMORY))
    return made


def _one(found: list[Any]) -> Any:
    return found[0] if found else None


def _peak(found: Found) -> float | None:
    """FLOPs a second that ``mfu`` is a share of."""
    expected = [
        case.expected for case in found.header.cases if case.benchmark == "gemm" and case.expected
    ]
    return max(expected, default=None)


def _row(
    what: str, value: float, low: float, high: float, least: float, most: float | None
) -> tuple[str, str, str, str]:
    bound = f"≥ {least:.2f}" if most is None else f"{least:.2f} to {most:.2f}"
    met = least <= value <= (most or float("inf"))
    spread = f" [{low:.3f}, {high:.3f}]" if high > low else ""
    return what, f"{value:.3f}{spread}", bound, "met" if met else "MISSED"


def _refuse(why: str) -> NoReturn:
    sys.stderr.write(why + "\n")
    sys.exit(2)


def main() -> None:
    """Print, write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reference")
    arguments = parser.parse_args()
    try:
        found = Found(arguments.run)
    except HengsuanError as error:
        _refuse(str(error))
    if found.header.provenance != "measured":
        _refuse(f"{arguments.run} is {found.header.provenance}: these bounds are of accelerators")
    made = rows(found)
    if not made:
        _refuse(f"{arguments.run}: none of the bounds of training is in it")
    lines = table(("figure", "measured", "bound", ""), made)
    sys.stdout.write("\n".join(lines) + "\n")
    device = found.header.nodes[0].devices[0]
    folder = arguments.out / (device.chip or "-".join(device.name.lower().split()))
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "provenance": found.header.provenance,
        "started": found.header.started,
        "firmware": device.firmware,
        **found.header.environment["versions"],
    }
    text = [
        f"# Training on {device.name}",
        "",
        "Written by `python tests/device/training.py` from a run of the suite `slices`.",
        "",
        *(f"- {name}: {value}" for name, value in told.items()),
        "",
        *lines,
    ]
    (folder / "training.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    cases = {case.id: case for case in found.header.cases}
    kept = [
        {"case": cases[one].title, "metric": cases[one].metric, "unit": cases[one].unit,
         "value": row.value, "low": row.low, "high": row.high, "n": row.n}
        for one, row in found.values.items()
    ]  # fmt: skip
    whole = {"environment": told, "device": device.name, "rows": kept}
    (folder / "training.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
