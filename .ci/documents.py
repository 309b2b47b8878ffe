"""Writes all documents anew: the reference from the code, then what shown commands print here.

``--quick`` leaves the outputs of slow commands, which measure this machine, as they are.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.documentation import reference, sessions

ROOT = Path(__file__).parent.parent


def main() -> None:
    """The documents that are named; without names all of them and the reference."""
    named = [Path(name) for name in sys.argv[1:] if name != "--quick"]
    slow = "--quick" not in sys.argv
    if not named:
        reference.write(ROOT / "docs" / "reference")
    for path in named or [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            made = sessions.filled(text, Path(folder), ROOT, slow=slow)
        path.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
