"""A third-party device for the tests: a package of its own, built and installed once."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

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
    if site.exists():
        return site
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
    return site


KINDS = (".cpp", ".h", ".py", ".toml", ".yaml")


@pytest.fixture(scope="session")
def site(request):
    """Where the device's package is installed."""
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler to build the device with (Debian: g++)")
    return built(request.config.cache.mkdir("nuomi"))


@pytest.fixture
def nuomi(site):
    """The environment of a process that finds the device, as if it were installed."""
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def hengsuan(nuomi):
    """Calls ``hengsuan WORDS`` beside the device, ``environment`` added; gives what it did."""

    def call(*words, **environment):
        return subprocess.run(
            [sys.executable, "-m", "bench", *map(str, words)],
            env={**nuomi, **environment},
            capture_output=True,
            text=True,
        )

    return call
