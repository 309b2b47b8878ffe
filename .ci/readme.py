"""Writes the README's generated blocks anew: what its commands print on this machine.

A block stands between ``<!-- output: COMMAND -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"(<!-- output: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def output(command: str) -> str:
    """What the command prints on stdout, run in an empty folder."""
    words = shlex.split(command)
    words[0] = str(Path(sys.executable).with_name(words[0]))
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            words,
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "110", "NO_COLOR": "1"},
        )
    if done.returncode not in (0, 1, 3):  # a finding is what some blocks show
        raise SystemExit(f"{command}: exit code {done.returncode}")
    lines = [line.rstrip() for line in done.stdout.strip("\n").splitlines()]
    return "```text\n" + "\n".join(lines).strip("\n") + "\n```\n"


def main() -> None:
    """Rewrite README.md in place."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    made = BLOCK.sub(lambda found: found[1] + output(found[2]) + found[3], text)
    path.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
