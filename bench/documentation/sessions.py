"""Commands that a document shows: run in its order, and what they print written into it.

Comments, which nobody sees who reads the document, say what is to be done with the block of code
behind them:

- ``<!-- file: mine.yaml -->``: it is put into this file;
- ``<!-- run -->``: it is run by bash and ends with 0. ``<!-- run exit=1 says="2 rejected" -->``:
  with this code, and with these words in what it prints (``says`` several times).
  ``<!-- run slow ... -->``: tests leave it out;
- ``<!-- output -->`` up to ``<!-- end -->``: what the last one printed stands there: on standard
  output, and of errors, or where that is nothing, on the other. ``<!-- output first=9 -->``: the
  first lines of it. ``<!-- output docs/some.svg -->``: as a picture in this file, which the text in
  between shows.

All of a document happens in one folder, which is empty at first and is the home as well.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import Exit

WIDTH = 110
"""Columns of what is shown."""
_MARK = re.compile(
    r"<!-- (?P<what>file:|run|output)(?P<words>[^\n]*?) -->\n(?P<body>.*?)"
    r"(?=<!-- (?:file:|run|output)|\Z)",
    re.DOTALL,
)
_FENCE = re.compile(r"```[a-z]*\n(?P<code>.*?)```", re.DOTALL)
_END = "<!-- end -->"
ERRORS = {int(Exit.USAGE), int(Exit.INFRASTRUCTURE)}
"""Exit codes of which the reason is what is to be seen."""


@dataclass(frozen=True)
class Step:
    """A block that is run.

    Attributes:
        code: What bash gets.
        exit: With which code it must end.
        says: What must be in its output.
        slow: Whether tests leave it out.
        line: Where it stands in the document.
    """

    code: str
    exit: int = 0
    says: tuple[str, ...] = ()
    slow: bool = False
    line: int = 0

    def problem(self, code: int, output: str) -> str:
        """What is not as the document says, in a sentence; empty if all is."""
        if code != self.exit:
            return f"line {self.line}: exit code {code} instead of {self.exit}:\n{output}"
        lacking = [words for words in self.says if words not in output]
        return f"line {self.line}: does not say {lacking}:\n{output}" if lacking else ""


def steps(text: str) -> Iterator[tuple[re.Match[str], Step | None]]:
    """The marks of a document in their order; with a step where they are of one."""
    for found in _MARK.finditer(text):
        yield found, _step(found, text) if found["what"] == "run" else None


def _step(found: re.Match[str], text: str) -> Step:
    step = Step(_code(found), line=text.count("\n", 0, found.start()) + 1)
    for word in shlex.split(found["words"]):
        key, _, given = word.partition("=")
        if key == "exit":
            step = replace(step, exit=int(given))
        elif key == "says":
            step = replace(step, says=(*step.says, given))
        elif word == "slow":
            step = replace(step, slow=True)
        else:
            raise ValueError(f"line {step.line}: what is {word!r}?")
    return step


def _code(found: re.Match[str]) -> str:
    fence = _FENCE.search(found["body"])
    if fence is None:
        raise ValueError(f"no block of code behind {found[0].splitlines()[0]}")
    return fence["code"]


def play(
    text: str,
    folder: Path,
    *,
    slow: bool = True,
    colour: bool = False,
    done: Callable[[Step, int, str], None] = lambda *_: None,
) -> dict[int, str]:
    """Do what a document says, in ``folder``; by an output's place, what was printed.

    Args:
        text: The document.
        folder: An empty one.
        slow: Whether slow steps are run as well.
        colour: Whether commands print in colour.
        done: Is told of each step, its exit code and what it printed.
    """
    printed: str | None = None
    outputs = {}
    for found, step in steps(text):
        if step is not None:
            if step.slow and not slow:
                printed = None
                continue
            code, printed = _run(step.code, folder, colour)
            done(step, code, printed)
        elif found["what"] == "file:":
            path = folder / found["words"].strip()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_code(found), encoding="utf-8")
        elif found["what"] == "output" and printed is not None:
            outputs[found.start()] = printed
    return outputs


def _run(code: str, folder: Path, colour: bool) -> tuple[int, str]:
    surroundings = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HENGSUAN_", "GITHUB_", "NO_COLOR", "FORCE_COLOR"))
    }
    surroundings |= {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": str(WIDTH),
        ("FORCE_COLOR" if colour else "NO_COLOR"): "1",
    }
    done = subprocess.run(
        ["bash", "-e", "-c", code],
        cwd=folder,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    errors = done.stderr if done.returncode in ERRORS or not done.stdout.strip() else ""
    return done.returncode, (done.stdout + errors).replace(str(folder), ".")


def filled(text: str, folder: Path, root: Path, *, slow: bool = True) -> str:
    """A document with its outputs anew.

    Args:
        text: The document.
        folder: An empty folder, in which its commands run.
        root: Where pictures are, by the paths that it names.
        slow: Whether slow steps are run; else their outputs stay.

    Raises:
        SystemExit: a command did not do what the document says of it.
    """

    def done(step: Step, code: int, output: str) -> None:
        if problem := step.problem(code, output):
            raise SystemExit(problem)

    pictures = any(_shown(found)[0] for found, _ in _outputs(text))
    outputs = play(text, folder, slow=slow, colour=pictures, done=done)
    parts, last = [], 0
    for found, _ in _outputs(text):
        end = text.index(_END, found.start("body"))
        if found.start() not in outputs:
            continue
        printed = outputs[found.start()]
        picture, first = _shown(found)
        if picture:
            draw("\n".join(printed.splitlines()[:first]), root / picture)
            continue
        parts += [text[last : found.start("body")], _fenced(plain(printed), first)]
        last = end
    return "".join((*parts, text[last:]))


def _outputs(text: str) -> Iterator[tuple[re.Match[str], None]]:
    return ((found, None) for found, _ in steps(text) if found["what"] == "output")


def _shown(found: re.Match[str]) -> tuple[str, int | None]:
    """The picture that an output is drawn into, if it is, and how many of its lines are shown."""
    picture, first = "", None
    for word in found["words"].split():
        if word.startswith("first="):
            first = int(word.removeprefix("first="))
        else:
            picture = word
    return picture, first


def plain(output: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", output)


def _fenced(output: str, first: int | None) -> str:
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    shown = "\n".join(lines[:first]).strip("\n")
    return f"```text\n{shown}\n{'...' + chr(10) if lines[len(lines[:first]) :] else ''}```\n"


def draw(output: str, path: Path) -> None:
    """What was printed, in colour, as an SVG of a terminal that needs no font from elsewhere."""
    from rich.console import Console
    from rich.text import Text

    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere)
        console.print(Text.from_ansi(output.strip("\n")), soft_wrap=False)
    picture = console.export_svg(title="hengsuan", unique_id="hengsuan")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL), encoding="utf-8"
    )
