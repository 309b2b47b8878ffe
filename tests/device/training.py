"""What runs of the suite ``slices`` come to: the project's bounds of training on one device.

    hengsuan run slices
    python tests/device/training.py results/RUN... [--out FOLDER] [--alone | --apart]

Prints a table and writes it as ``<out>/<chip>/training.md``, with the runs' rows beside it in
``training.json``. Runs that lie there already stay as long as something of them is the newest, and
each row says when it was measured; ``--alone`` leaves them out. What is compared was measured in
one run, the newest that has both. Device, driver and compilers must be the same, else ``--apart``
writes beside that folder. A case of the suite without a value says why.

Exit code 2 for bad arguments or what is not of an accelerator, 3 if none of the bounds is in it, 4
if the report cannot be written. A missed bound is printed, and is no exit code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec
from book import beside, other, replace, unwritable
from report import stated, table

from bench.errors import Exit, HengsuanError
from bench.results import RunReader
from bench.units import format_value

ROOT = Path(__file__).parents[2]
FASTER, SHARE, MEMORY = 1.0, 0.5, (0.9, 1.1)
"""Bounds: of Triton's operations over torch.compile, of the matrix products' ceiling that a step
reaches, and of memory estimated over measured."""
AXES = ("ops", "impl", "model", "dtype", "dp", "recompute")
"""Axes that tell the suite's cases apart."""
Line = tuple[str, str, str, str]
"""What, measured, bound, verdict."""


class Row(msgspec.Struct, kw_only=True):
    """A metric of a case, measured in a run that began ``at`` that time, or why it has no value.

    ``expected`` is what the datasheet says.
    """

    benchmark: str
    case: str
    metric: str
    unit: str
    axes: dict[str, Any] = {}
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    at: str = ""
    expected: float | None = None
    why: str = ""


class Training(msgspec.Struct, kw_only=True):
    """All of ``training.json``: of which device, with what, and the rows."""

    environment: dict[str, Any]
    device: str
    rows: list[Row] = []

    def get(self, benchmark: str, metric: str, **axes: Any) -> list[Row]:
        """Rows of a metric's cases with these axes, those with a value; the newest first."""
        found = [
            one
            for one in self.rows
            if (one.benchmark, one.metric) == (benchmark, metric)
            and one.value is not None
            and axes.items() <= one.axes.items()
        ]
        return sorted(found, key=lambda one: one.at, reverse=True)

    def merge(self, rows: Iterable[Row]) -> None:
        """Take a run's rows in. Of a case that has a value in one run, no reason of another stays,
        and no run stays of which nothing is told."""
        new = list(rows)
        times = {one.at for one in new}
        self.rows = [one for one in self.rows if one.at not in times] + new
        measured = {(one.case, one.metric) for one in self.rows if one.value is not None}
        self.rows = [
            one
            for one in self.rows
            if one.value is not None or (one.case, one.metric) not in measured
        ]
        told = {row.at for _, used in _compared(self) for row in used}
        told |= {row.at for used in _beside(self) for row in used}
        told |= {row.at for row in self.newest()}
        self.rows = [one for one in self.rows if one.at in told]

    def newest(self) -> list[Row]:
        """Of every case and metric the newest row."""
        found: dict[tuple[str, str], Row] = {}
        for one in sorted(self.rows, key=lambda one: one.at):
            found[one.case, one.metric] = one
        return list(found.values())


def read(run: Path) -> tuple[dict[str, Any], Any, list[Row]]:
    """What a run was measured with, its first device, and its rows, planned ones without a value
    too. Raises `HengsuanError`, and ValueError for what is of no accelerator."""
    reader = RunReader(run)
    header = reader.header
    if header.provenance != "measured":
        raise ValueError(f"{run} is {header.provenance}: these bounds are of accelerators")
    device = next((one for node in header.nodes for one in node.devices), None)
    if device is None:
        raise ValueError(f"{run} has no device: these bounds are of accelerators")
    versions = header.environment.get("versions", {})
    told = {
        "firmware": device.firmware,
        **{name: versions[name] for name in ("torch", "triton") if name in versions},
    }
    found: dict[int, Any] = {}
    for row in reader.rows():
        if row.case not in found or row.status == "ok":
            found[row.case] = row
    rows = []
    for case in header.cases:
        made = Row(
            benchmark=case.benchmark,
            case=case.title,
            metric=case.metric,
            unit=case.unit,
            axes={key: one for key, one in case.axes.items() if key in AXES},
            at=header.started,
            expected=case.expected,
        )
        one = found.get(case.id)
        if one is not None and one.status == "ok":
            made.value, made.low, made.high, made.n = one.value, one.low, one.high, one.n
        else:
            made.why = "not reached" if one is None else f"{one.status}: {one.reason}"
        rows.append(made)
    return told, device, rows


def lines(found: Training) -> Iterator[Line]:
    """One for each bound that the rows are of, and for each case of memory."""
    yield from (line for line, _ in _compared(found))
    newest = found.newest()
    pairs = {estimate.case: (estimate, peak) for estimate, peak in _beside(found)}
    for one in newest:
        if (one.benchmark, one.metric) != ("train", "memory_estimate") or not _estimated(one):
            continue
        if one.case not in pairs:
            why = one.why or "no peak was measured"
            yield f"{one.case}: memory estimated over measured", why, _bound(*MEMORY), "no figure"
            continue
        estimate, peak = pairs[one.case]
        what = f"{one.case}: memory estimated over {format_value(_value(peak), 'B')}"
        yield _line(what, *(_value(estimate) / _value(peak),) * 3, *MEMORY)


def _beside(found: Training) -> Iterator[tuple[Row, Row]]:
    """Of every case the estimate of its memory and the peak that the same run measured, of the
    newest that has both."""
    peaks = {(one.case, one.at): one for one in found.get("train", "peak_memory")}
    seen = set()
    for one in found.get("train", "memory_estimate"):
        peak = peaks.get((one.case, one.at))
        if peak is not None and peak.value and one.case not in seen:
            seen.add(one.case)
            yield one, peak


def _compared(found: Training) -> Iterator[tuple[Line, list[Row]]]:
    """What stands beside something else that the same run has measured, of the newest that has
    both: the line, and the rows that it is of."""
    products = [one for one in found.get("gemm", "flops") if one.expected]
    fastest: dict[str, Row] = {}
    for one in products:
        if one.at not in fastest or _value(one) > _value(fastest[one.at]):
            fastest[one.at] = one
    than = {
        (_alike(one), one.at): one for one in found.get("train", "tokens_per_second", ops="compile")
    }
    seen = set()
    for one in found.get("train", "tokens_per_second", ops="triton"):
        other_ = than.get((_alike(one), one.at))
        if other_ is not None and one.case not in seen:
            seen.add(one.case)
            (middle, low, high), (than_, least, most) = _spread(one), _spread(other_)
            spread = middle / than_, low / most, high / least
            what = f"{one.case}: tokens a second over torch.compile"
            yield _line(what, *spread, FASTER, None), [one, other_]
    seen = set()
    for one in found.get("train", "mfu", ops="triton"):
        ceiling = fastest.get(one.at)
        if ceiling is not None and ceiling.expected and one.case not in seen:
            seen.add(one.case)
            reached = _value(ceiling)
            factor = ceiling.expected / reached
            what = f"{one.case}: FLOPs a second over those of the fastest product, "
            what += format_value(reached, "FLOP/s")
            share, low, high = (factor * each for each in _spread(one))
            yield _line(what, share, low, high, SHARE, None), [one, ceiling]


def _value(row: Row) -> float:
    assert row.value is not None
    return row.value


def _spread(row: Row) -> tuple[float, float, float]:
    """A value and its interval; of too few samples for one, the value alone."""
    value = _value(row)
    return value, value if row.low is None else row.low, value if row.high is None else row.high


def _alike(row: Row) -> str:
    """What a case is but for who computes it."""
    return str(sorted((key, one) for key, one in row.axes.items() if key != "ops"))


def _estimated(row: Row) -> bool:
    """Whether an estimate is expected: of what torch computes there is one."""
    return row.value is not None or row.axes.get("ops", "torch") == "torch"


def _bound(least: float, most: float | None) -> str:
    return f"≥ {least:.2f}" if most is None else f"{least:.2f} to {most:.2f}"


def _line(
    what: str, value: float, low: float, high: float, least: float, most: float | None
) -> Line:
    met = least <= value <= (most or float("inf"))
    spread = f" [{low:.3f}, {high:.3f}]" if high > low else ""
    return what, f"{value:.3f}{spread}", _bound(least, most), "met" if met else "MISSED"


def begun(folder: Path, now: Training, apart: bool) -> tuple[Path, Training]:
    """What lies in the folder, to be gone on with, and the folder itself, or that beside it.

    Raises ValueError if it does not fit.
    """
    path = folder / "training.json"
    if not path.exists():
        return folder, now
    try:
        before = msgspec.json.decode(path.read_bytes(), type=Training)
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): move it away, or say --alone") from None
    differs = other(
        {"device": before.device, **before.environment}, {"device": now.device, **now.environment}
    )
    if differs and apart:
        return begun(beside(folder, differs), now, False)
    if differs:
        key, (then, here) = next(iter(differs.items()))
        raise ValueError(
            f"{path} was measured with {key} {then!r}, this run with {here!r}: "
            "name another folder with --out, let --apart make one, or say --alone"
        )
    return folder, before


def markdown(found: Training, made: Sequence[str]) -> str:
    """``training.md``."""
    times: dict[str, int] = {}
    for row in found.rows:
        if row.value is not None:
            times[row.at] = times.get(row.at, 0) + 1
    text = [
        f"# Training on {found.device}",
        "",
        "Written by `python tests/device/training.py` from runs of the suite `slices`.",
        "",
        *(f"- {name}: {value}" for name, value in found.environment.items()),
        *(f"- run of {at}: {count} values" for at, count in sorted(times.items())),
        "",
        *stated(found.device),
        *made,
    ]
    return "\n".join(text) + "\n"


def _refuse(why: str, code: int = 2) -> NoReturn:
    sys.stderr.write(why + "\n")
    sys.exit(code)


def main() -> None:
    """Print, write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    take = parser.add_argument
    take("runs", type=Path, nargs="+", metavar="RUN")
    take("--out", type=Path, default=ROOT / "results" / "reference", help="folder of the reports")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--alone", action="store_true", help="without what lies there")
    either.add_argument("--apart", action="store_true", help="beside what was measured elsewhere")
    arguments = parser.parse_args()
    try:
        folder, found = _merged(arguments)
    except (HengsuanError, ValueError) as error:
        _refuse(str(error))
    body = list(lines(found))
    if not body:
        _refuse("none of the bounds of training is in it", 3)
    made = table(("figure", "measured", "bound", ""), body)
    text = msgspec.json.format(msgspec.json.encode(found), indent=1)
    try:
        replace(folder / "training.json", text + b"\n")
        replace(folder / "training.md", markdown(found, made).encode())
    except OSError as error:
        _refuse(str(unwritable(error, folder)), int(Exit.INFRASTRUCTURE))
    sys.stdout.write("\n".join(made) + f"\n\nwritten to {folder}\n")


def _merged(arguments: argparse.Namespace) -> tuple[Path, Training]:
    """The folder of the reports, and all rows: those that lie there, and those of the runs."""
    made = []
    for run in arguments.runs:
        told, device, rows = read(run)
        chip = device.chip or "-".join(device.name.lower().split())
        made.append((chip, Training(environment=told, device=device.name), rows))
    chip, now, _ = made[0]
    folder, found = arguments.out / chip, now
    if not arguments.alone:
        folder, found = begun(folder, now, arguments.apart)
    for run, (_, one, rows) in zip(arguments.runs, made, strict=True):
        if (one.device, one.environment) != (now.device, now.environment):
            raise ValueError(f"{run} is of another device, driver or compiler than the first run")
        found.merge(rows)
    return folder, found


if __name__ == "__main__":
    main()
