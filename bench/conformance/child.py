"""In a check's own process: made ready as a rank would be, one check, its outcome in a file."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import traceback
from pathlib import Path

import msgspec

from .. import host
from ..backends.registry import get
from ..cluster.ranks import cpus_of
from ..conformity import Result
from ..errors import HengsuanError
from .checks import Subject, Task, device_checks
from .outcome import Outcome


def main() -> None:
    """Run the check that the file named in ``argv`` tells of."""
    host.die_with_parent()
    faulthandler.enable()
    task = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Task)
    result = _judged(task)
    # Whole or not at all: the other side reads it whatever becomes of this process.
    target = outcome_file(task)
    part = target.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(result))
    part.rename(target)


def outcome_file(task: Task) -> Path:
    """Where a rank's outcome lies."""
    return Path(task.folder) / f"outcome.{task.rank}.json"


def _judged(task: Task) -> Result:
    """The check's outcome. What the plugin raises is a failure of the plugin."""
    try:
        check = device_checks()[task.check]
        if check.ranks:
            _become_rank(task)
        said = check.run(Subject(task, get(task.backend, isolated=True)))
        return Result(check=task.check, verdict="pass", reason=said)
    except Outcome as outcome:
        return Result(
            check=task.check, verdict=outcome.verdict, reason=outcome.reason, hint=outcome.hint
        )
    except HengsuanError as error:
        return Result(check=task.check, verdict="fail", reason=f"{error.message}", hint=error.hint)
    except BaseException as error:  # a plugin may raise anything, SystemExit included
        traceback.print_exc()
        text = " ".join(str(error).split())[:300]
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return Result(
            check=task.check,
            verdict="fail",
            reason=f"raised {type(error).__name__}: {text}",
            hint=f"raised in {frame.filename}:{frame.lineno}, {frame.name}()",
        )


def _become_rank(task: Task) -> None:
    """Environment and cores, before anything counts devices or sizes its threads by them."""
    device = task.devices[task.place]
    claimed = [task.devices[place].index for place in task.claimed]
    # As in the agent, which is bound to nothing: a backend may count cores for this.
    os.environ.update(get(task.backend, isolated=True).environment(claimed, device.index))
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, cpus_of(device.facts, task.place, len(task.devices)))


if __name__ == "__main__":
    main()
