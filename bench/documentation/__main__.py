"""``python -m bench.documentation FOLDER``: write the reference into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from .reference import write

if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference"))
