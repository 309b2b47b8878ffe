"""A fresh environment with the project's wheel in it; what it needs is borrowed from ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("bench", "kernels", "configs", "pyproject.toml", "README.md", "LICENSE")


def wheel(folder: Path) -> Path:
    """The wheel, built in ``folder`` as a release would be but with the tools that are here.

    From a copy: what an earlier build left in ``build/`` would be packed again. Raises
    `subprocess.CalledProcessError` with what pip says.
    """
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skip)
        else:
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"]
    how = ["--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run([*pip, *how], capture_output=True, text=True, check=True)
    (path,) = folder.glob("*.whl")
    return path


def environment(folder: Path, package: Path) -> Path:
    """Make an environment with this wheel in ``folder``; where its commands are."""
    venv = [sys.executable, "-m", "venv", "--system-site-packages", str(folder)]
    subprocess.run(venv, check=True)
    commands = folder / "bin"
    pip = [commands / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(package)], check=True)
    # A path in a .pth file is searched, but its own .pth files, our checkout's, are not.
    ours = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site(folder) / "borrowed.pth").write_text("".join(f"{path}\n" for path in ours))
    return commands


def site(folder: Path) -> Path:
    """Where an environment has its packages."""
    (found,) = folder.glob("lib/python*/site-packages")
    return found
