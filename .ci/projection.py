"""Holds projections against published runs and writes results/reference/projection.md.

    python .ci/projection.py

Exit code 1 if a bound is missed.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from bench.analysis.projection.published import published  # noqa: E402  (after the path)
from bench.analysis.projection.validate import missed, validate  # noqa: E402
from bench.report.projection import validation_markdown  # noqa: E402


def main() -> int:
    """Compare, write the page, print what is missed."""
    found = validate(*published())
    problems = missed(found)
    page = ROOT / "results" / "reference" / "projection.md"
    page.write_text(validation_markdown(found, problems), encoding="utf-8")
    sys.stdout.write("".join(f"{line}\n" for line in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
