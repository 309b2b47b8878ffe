"""Compiles every tuned configuration for every chip and writes results/reference/codegen.md.

    python .ci/codegen.py [--only OP,...] [--arch ARCH,...]

With the project's own Triton, with the version on which measurements were made, and the pointer
kernels with the oldest one that is promised to work, each in an environment of its own under
``build/``. Nothing is compiled twice: results are kept by digest in codegen.json beside the
table. Needs no accelerator. Exit code 1 if something does not compile, does not fit, spills where
nothing may, or if an entry of a table is never used.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.kernels import codegen, costs, op, ops, tuning  # noqa: E402  (after the path)

REFERENCE = ROOT / "results" / "reference"
MEASURED, FLOOR = "3.6.0", "3.0.0"
"""Triton of the accelerator that figures come from, and the oldest that is promised to work."""
FLOOR_ARCHITECTURES = ("sm_80", "sm_90")
SAVED = 50
"""Compilations between two writes of what is kept."""
SPARE = "(spare)"
"""What the case of a compilation ends in that nothing which is tried launches."""

SHAPES = {
    "attention": [(2, 32, 8, 8192, dim) for dim in (64, 128, 256)],
    "decode_attention": [
        (16, 1, 32, 8, 8192, 16, 64),
        (16, 8, 64, 8, 8192, 16, 128),  # as many rows as a program takes
        (16, 1, 32, 8, 8192, 8192, 128),  # in one piece
        (16, 1, 32, 8, 8192, 16, 256),
        (16, 8, 64, 8, 8192, 64, 256),  # pages of whole tiles
    ],
    "gemm": [
        (8192, 8192, 8192),
        (1024, 1024, 4096),
        (512, 512, 512),
        (64, 4096, 4096),
        (4095, 4095, 4095),  # rows that descriptors cannot hold
    ],
    "gate_up": [(8192, 14336, 4096), (512, 512, 512), (4095, 4095, 4095)],
    "grouped_gemm": [(8, 4096, 4095, 4095)],
}
"""Further shapes, which choose other entries of the tables. Widths are added for row-wise ops."""
WIDTHS = (128, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


@dataclass(frozen=True)
class Wanted:
    """One compilation and what it is for: the operation, variant and dtype of a case."""

    arch: str
    triton: str
    case: str
    kernel: codegen.Kernel

    @cached_property
    def key(self) -> str:
        """What results are kept under; of the source as it is when this is first asked."""
        return f"{self.triton} {self.arch} {self.kernel.digest}"


def shapes(name: str) -> list[tuple[int, ...]]:
    """All shapes that are tried for an operation."""
    spec = costs.SPECS[name]
    found = [*SHAPES.get(name, []), spec.shape, spec.small]
    if spec.extents in (("rows", "width"), ("rows", "vocab")):
        found += [
            (4096, width) for width in (*WIDTHS, 131072)[: 9 if name != "cross_entropy" else 10]
        ]
    return found


def cases(arch: str, only: set[str]) -> Iterator[op.Case]:
    """Every variant and dtype of every operation at every shape that is tried."""
    for name, spec in costs.SPECS.items():
        if only and name not in only:
            continue
        for shape in dict.fromkeys(shapes(name)):
            for variant in spec.variants:
                for dtype in spec.dtypes:
                    if dtype == "fp16" and "bf16" in spec.dtypes:
                        continue  # of the width of bf16, and chosen like it
                    if tuning.lacks(arch, dtype) or tuning.lacks(arch, spec.needs):
                        continue
                    try:
                        yield op.Case(name, shape, dtype, variant, arch)
                    except ValueError:
                        continue  # a variant that this dtype does not have


def launched(arch: str, only: set[str], used: set[tuple[str, int]]) -> dict[codegen.Kernel, str]:
    """Kernel → the first case that launches it; and what entries of an architecture's table would
    launch that fit cases but are behind others for all of them."""
    found: dict[codegen.Kernel, str] = {}
    behind: dict[tuple[str, int], op.Case] = {}
    for case in cases(arch, only):
        known = ops.get(case.op)
        said = f"{case.op} {case.variant} {case.dtype}"
        try:
            with tuning.watching() as asked:
                kernels = codegen.kernels_of(known, case)
        except ValueError:
            continue  # a shape that the kernel refuses
        for kernel in kernels:
            found.setdefault(kernel, said)
        for question in asked:
            for place, entry in enumerate(question.entries()):
                which = question.op, tuning.table(arch)[question.op].index(entry)
                if place == 0:
                    used.add(which)
                else:
                    behind.setdefault(which, case)
    for (name, number), case in behind.items():
        if (name, number) in used:
            continue
        used.add((name, number))
        # Only the one entry's key is forced; all other kernels stay as they were.
        with tuning.forcing(name, tuning.table(arch)[name][number]["config"]):
            for kernel in codegen.kernels_of(ops.get(case.op), case):
                found.setdefault(kernel, f"{case.op} {case.variant} {case.dtype} {SPARE}")
    return found


def environment(version: str) -> list[str]:
    """The Python of an environment that has this Triton and little else."""
    folder = ROOT / "build" / f"triton-{version}"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        wanted = [f"triton=={version}", "setuptools", "pyyaml", "filelock", "numpy<2.4"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
    return [str(python)]


def compile_all(wanted: list[Wanted], python: list[str]) -> Iterator[tuple[Wanted, dict]]:
    """Build on two cores, in processes of their own; a crash of the compiler costs one kernel."""
    share = [wanted[start : start + SAVED] for start in range(0, len(wanted), SAVED)]
    with ThreadPoolExecutor(2) as pool:
        for part in pool.map(lambda mine: list(_compile(mine, python)), share):
            yield from part


def _compile(wanted: list[Wanted], python: list[str]) -> Iterator[tuple[Wanted, dict]]:
    left = list(wanted)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environ.pop("TRITON_INTERPRET", None)
    while left:
        lines = "".join(json.dumps([one.arch, asdict(one.kernel)]) + "\n" for one in left)
        done = subprocess.run(
            [*python, "-m", "bench.kernels.codegen"],
            input=lines, capture_output=True, text=True, env=environ, cwd=ROOT,
        )  # fmt: skip
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        yield from zip(left, answers, strict=False)
        left = left[len(answers) :]
        if left:
            crash = (done.stderr.strip().splitlines() or ["?"])[-1]
            yield left[0], {"error": f"the compiler crashed: {crash}"[:300]}
            left = left[1:]


def main() -> int:
    """The command."""
    import triton

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="operations, comma-separated")
    parser.add_argument("--arch", default=",".join(tuning.targets()))
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    kept_file = REFERENCE / "codegen.json"
    kept = json.loads(kept_file.read_text()) if kept_file.exists() else {}
    own = triton.__version__
    wanted: list[Wanted] = []
    idle: list[str] = []
    pythons = {own: [sys.executable], MEASURED: environment(MEASURED), FLOOR: environment(FLOOR)}
    for arch in arguments.arch.split(","):
        used: set[tuple[str, int]] = set()
        for kernel, case in launched(arch, only, used).items():
            wanted += [Wanted(arch, version, case, kernel) for version in (own, MEASURED)]
        if not only:
            idle += [
                f"{arch}: entry {number + 1} of {name} is never used"
                for name, entries in tuning.table(arch).items()
                if isinstance(entries, list) and entries and isinstance(entries[0], dict)
                for number in range(len(entries))
                if (name, number) not in used
            ]
    for kernel, case in launched("generic", only, set()).items():
        for arch in set(FLOOR_ARCHITECTURES) & set(arguments.arch.split(",")):
            needed = (case.split()[2], costs.SPECS[case.split()[0]].needs)
            if not any(tuning.lacks(arch, dtype) for dtype in needed):
                wanted.append(Wanted(arch, FLOOR, case, kernel))
    keys = [one.key for one in wanted]  # before any source changes
    for version, python in pythons.items():
        fresh = [one for one in wanted if one.triton == version and one.key not in kept]
        sys.stdout.write(f"Triton {version}: {len(fresh)} to compile\n")
        sys.stdout.flush()
        for number, (one, found) in enumerate(compile_all(fresh, python), 1):
            kept[one.key] = found
            if number % SAVED == 0 or number == len(fresh):  # an interrupt costs little
                save(kept_file, kept)
    results = {key: kept[key] for key in keys}
    whole = not only and set(arguments.arch.split(",")) == set(tuning.targets())
    save(kept_file, results if whole else kept)  # what is no longer launched is forgotten
    if whole:
        (REFERENCE / "codegen.md").write_text(table(wanted, results, own), encoding="utf-8")
    problems = idle + [
        f"Triton {one.triton}, {one.arch}, {one.case}, {one.kernel.function}: {problem}"
        for one in wanted
        if (problem := trouble(one, results[one.key]))
    ]
    sys.stdout.write("".join(f"{line}\n" for line in problems))
    sys.stdout.write(f"{len(wanted)} kernels, {len(problems)} problems\n")
    return 1 if problems else 0


def save(file: Path, kept: dict[str, dict]) -> None:
    """Write what is kept, one compilation a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(key)}: {json.dumps(kept[key])}" for key in sorted(kept)]
    fresh = file.with_suffix(".new")
    fresh.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    fresh.replace(file)


def trouble(one: Wanted, found: dict) -> str:
    """What is wrong with a compilation, or nothing."""
    if "error" in found:
        return str(found["error"])
    limit = tuning.targets()[one.arch].shared
    if found["shared"] > limit:
        return f"{found['shared']} bytes of shared memory, {limit} are there"
    name, variant, *_ = one.case.split()
    judged = one.triton != FLOOR and not one.case.endswith(SPARE)
    if judged and found["spills"] and codegen.unspilled(one.arch, name, variant):
        return f"{found['spills']} bytes spilled"
    return ""


def table(wanted: list[Wanted], results: dict[str, dict], own: str) -> str:
    """The Markdown table: one section an architecture, one row a kernel."""
    lines = [
        "# What the compiler makes of the kernels",
        "",
        "Written by `make codegen`; cross-compiled, no accelerator took part. Registers a thread,",
        "bytes of a thread's stack (spills; on gfx spilled registers) and bytes of shared memory,",
        f"with Triton {own} / {MEASURED}. Kernels named `*_tma_*` or `*_paired_*` move tiles by",
        "descriptors.",
        f"{SPARE}: an entry that no shape comes to which is tried, as others of its table fit too.",
        "",
    ]
    for arch in dict.fromkeys(one.arch for one in wanted):
        lines += [
            f"## {arch}",
            "",
            "| used by | kernel | constants | warps, stages | registers | spills | shared | unit |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for one in wanted:
            if one.arch != arch or one.triton != own:
                continue
            measured = one.key.replace(own, MEASURED, 1)
            both = [results[one.key], results.get(measured, {})]
            figures = [
                " / ".join(str(found.get(name, "-")) for found in both)
                for name in ("registers", "spills", "shared")
            ]
            constants = ", ".join(
                f"{name}={value}" for name, _, value in one.kernel.arguments if name.isupper()
            )
            options = dict(one.kernel.options)
            launch = f"{options.get('num_warps', 4)}, {options.get('num_stages', '-')}"
            matrix = both[0].get("matrix") or "-"
            row = [one.case, one.kernel.function, constants, launch, *figures, matrix]
            lines.append(f"| {' | '.join(row)} |")
        lines.append("")
    floor = [one for one in wanted if one.triton == FLOOR]
    good = sum("error" not in results[one.key] for one in floor)
    lines += [
        f"## The floor: Triton {FLOOR}",
        "",
        f"{good} of {len(floor)} pointer kernels compile for {' and '.join(FLOOR_ARCHITECTURES)}.",
        "",
        *(
            f"- {one.arch}, {one.case}, {one.kernel.function}: {results[one.key]['error']}"
            for one in floor
            if "error" in results[one.key]
        ),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    sys.exit(main())
