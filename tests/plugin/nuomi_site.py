"""Builds the third-party device and its package, once for its sources and the torch installed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "nuomi"


def built(cache: Path) -> Path:
    """The folder that the package is installed into; built unless it is there.

    Its name has a digest of all that shapes it: sources, torch, Python.
    """
    import torch

    digest = hashlib.sha256(f"{torch.__version__} {sys.version} {platform.machine()}".encode())
    files = sorted(path for path in SOURCES.rglob("*") if path.suffix in KINDS)
    for path in files:
        digest.update(f"{path.relative_to(SOURCES)}\n".encode() + path.read_bytes())
    site = cache / digest.hexdigest()[:16]
    with cache.with_suffix(".lock").open("w") as lock:  # workers of pytest-xdist share it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not site.exists():
            _build(files, cache, site)
    return site


def _build(files: list[Path], cache: Path, site: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as name:
        # Elsewhere: a build leaves folders beside the sources.
        source, target = Path(name, "source"), Path(name, "site")
        for path in files:
            copy = source / path.relative_to(SOURCES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        words = ["install", "--no-build-isolation", "--no-deps", "--no-index", "--target", target]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *words, source],
            env={**os.environ, "MAX_JOBS": str(len(os.sched_getaffinity(0)))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        target.rename(site)
    for other in cache.iterdir():
        if other != site:
            shutil.rmtree(other)


KINDS = (".cpp", ".h", ".py", ".toml", ".yaml")
