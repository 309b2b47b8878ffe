"""A script in a process that has PyTorch already (`forked.Templates.script`)."""

import runpy
import sys
from pathlib import Path

from ending import ended


def main():
    """Run the script that `sys.argv` names behind this module, with the rest as its arguments."""
    del sys.argv[0]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    ended(lambda: runpy.run_path(sys.argv[0], run_name="__main__"))
