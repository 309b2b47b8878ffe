"""``python -m bench.documentation FOLDER``: write the reference into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from .reference import write

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.documentation", description="Write the reference into a folder."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/reference"))
    write(parser.parse_args().folder)
