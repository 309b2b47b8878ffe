"""All that waits for an accelerator, in one command, within a budget: what `make device` does.

    python tests/device/all.py [--budget SECONDS] [--out FOLDER] [--only STAGE,...] [--again]
                               [--backend NAME] [--archive FILE] [-- ARGUMENTS OF check.py]
    python tests/device/all.py --take FILE

Stages come in the order of their importance (`stages`) and share the budget: each gets its part of
what is left, and what it does not use goes to those behind it. A stage whose time is over is ended
as by Ctrl-C, and keeps what it has. The same command, given again, goes on: it repeats nothing that
is done, unless code or device have changed since or ``--again`` is said. At the end it says what it
did not get to. What is killed in the middle is gone on with likewise.

``--archive`` keeps all results in one file as well, twice a minute, and begins with what such a
file holds: for a machine that keeps nothing. ``--take`` needs no device: it puts what came back in
a file into the project, where it is looked at and committed.

Exit code: the worst of the stages' (130, 2, 4, 1, 3, 0), 3 where a stage was not finished, and 3
without an accelerator that kernels can be compiled for: nothing is measured in its place.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from archive import STATE, TABLES, contents, unpack
from book import claimed, replace, unwritable
from driving import Driver, State, digest, say, told
from stages import HERE, RESULTS, ROOT, STAGES, Place

from bench.backends.probe import architecture, discover
from bench.errors import Exit, HengsuanError


def take(archive: Path, out: Path, tables: Path) -> int:
    """Put what a machine sent back into the project, and say what it is; the exit code.

    Records of kernels that have changed here since are set aside. Raises ValueError for what is no
    such archive, and as `claimed`.
    """
    held = contents(archive)
    with claimed(out):
        names, refused = unpack(held, out, tables)
    try:
        state = msgspec.json.decode((out / STATE).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{archive} does not say what was done ({error})") from None
    say(f"{state.device}\n" + "\n".join(told(state, [one.name for one in STAGES])))
    codes: list[int] = []
    for name in names:
        if Path(name).name == "kernels.json":
            review = str(HERE / "check.py"), "--review", str(out / Path(name).parent)
            codes.append(subprocess.run([sys.executable, *review], cwd=ROOT).returncode)
    found = [name for name in names if name.startswith(("reference/", f"{TABLES}/"))]
    for why in refused:
        say(f"left out of {tables}: {why}")
    say("look at and commit: " + (", ".join(found) or "nothing, it has no figures"))
    if state.sources != sources():
        say("measured with sources that are not those here: stages would be done anew")
    return int(Exit.worst(codes))


def sources() -> str:
    """A digest of all that a stage measures with, tables left out: a search changes those."""
    folders = [ROOT / name for name in ("bench", "kernels", "configs", "tests/device")]
    found = (path for folder in folders for path in folder.rglob("*"))
    return digest(
        sorted(
            path
            for path in found
            if path.suffix in (".py", ".yaml") and path.parent.name != "tuned"
        )
    )


def seed(out: Path) -> None:
    """Let a folder of its own begin with the reports that the project has, to go on with them."""
    for path in (RESULTS / "reference").glob("*/*.json"):
        mine = out / "reference" / path.parent.name / path.name
        if not mine.exists():
            replace(mine, path.read_bytes())
            shutil.copystat(path, mine)


def opened(path: Path, device: str, again: bool) -> State:
    """What earlier calls did, if it was with these sources on this device."""
    now = State(sources=sources(), device=device)
    try:
        before = msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return now
    return before if (before.sources, before.device) == (now.sources, device) and not again else now


def main() -> None:
    """Parse, look for a device, drive."""
    start = time.monotonic()
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--budget", type=float, default=3600.0, help="seconds for all stages together")
    add("--out", type=Path, default=RESULTS, help="folder of runs and reports")
    add("--only", default="", help="stages, with commas between them")
    add("--again", action="store_true", help="also what was done before")
    add("--backend", help="by default the first that has a device")
    add("--archive", type=Path, help="a file for all results, too; begin with what it holds")
    add("--take", type=Path, metavar="FILE", help="put what such a file holds into the project")
    add("check", nargs="*", help="behind --: further arguments of check.py")
    arguments = parser.parse_args()
    wanted = [word for word in arguments.only.split(",") if word]
    strange = [word for word in wanted if word not in {one.name for one in STAGES}]
    if strange:
        names = ", ".join(one.name for one in STAGES)
        parser.error(f"--only: {', '.join(strange)}: takes some of {names}")
    out, tables = arguments.out.resolve(), ROOT / "kernels" / TABLES
    try:
        if arguments.take:
            sys.exit(take(arguments.take, out, tables))
        found = next((one for one in discover(arguments.backend) if one.devices), None)
        arch = architecture(found.name) if found is not None else None
    except (HengsuanError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(int(getattr(error, "exit", Exit.USAGE)))
    if found is None or arch is None:
        sys.stderr.write("no accelerator here that kernels can be compiled for: nothing is done\n")
        sys.exit(int(Exit.INCONCLUSIVE))
    archive = arguments.archive.resolve() if arguments.archive else None
    device = found.devices[0]
    check = tuple(arguments.check)
    place = Place(out=out, device=device.name, backend=found.name, arch=arch, check=check)
    stages = [one for one in STAGES if not wanted or one.name in wanted]
    try:
        with claimed(out):
            if archive is not None and archive.exists():
                names, refused = unpack(contents(archive), out, tables)
                say("\n".join([f"going on with {len(names)} files of {archive}", *refused]))
            seed(out)
            state = opened(out / STATE, f"{device.name}, {device.firmware}", arguments.again)
            left = arguments.budget - (time.monotonic() - start)  # to find a device takes time, too
            sys.exit(Driver(stages, place, state, left, archive).all())
    except (HengsuanError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(int(getattr(error, "exit", Exit.USAGE)))
    except OSError as error:
        sys.stderr.write(f"{unwritable(error, out)}\n")
        sys.exit(int(Exit.INFRASTRUCTURE))


if __name__ == "__main__":
    main()
