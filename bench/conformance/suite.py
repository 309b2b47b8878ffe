"""All checks of a plugin, in order; chosen by name or pattern, run one after the other."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterator, Sequence

import msgspec

from ..backends.base import Backend
from ..backends.probe import Probe, architecture, probe
from ..backends.registry import get
from ..conformity import Result
from ..errors import BackendError, unknown
from ..records import Device
from .cases import Stages, parts
from .checks import device_checks
from .measured import run_part
from .process import run_check


class Listed(msgspec.Struct, frozen=True):
    """A check by name, and what it is about."""

    name: str
    about: str


_ABOUT = {
    "op": "against fp64 in every variant and dtype",
    "vendor": "the plugin's own implementation against fp64",
    "triton": "every kernel against fp64 in each variant, in its first dtype",
    "collective": "every value that every rank finds, in the backend's own library",
    "benchmark": "a short run",
}


class Conformance:
    """The checks of one backend on this node.

    Raises `UsageError` if nothing answers to the name. A plugin that is there and cannot be
    loaded, or whose devices cannot be asked for, fails the check ``loading``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        start = time.monotonic()
        self.backend: Backend | None = None
        self.devices: list[Device] = []
        self._parts: dict[str, Stages] = {}
        problem = self._load()
        self.loading = Result(
            check="loading",
            verdict="fail" if problem else "pass",
            reason=problem or f"{len(self.devices)} device(s)",
            hint="`hengsuan doctor` says what is here" if problem else "",
            seconds=round(time.monotonic() - start, 3),
        )

    def _load(self) -> str:
        """Load the plugin and find its devices; why not, in words."""
        try:
            self.backend = get(self.name)
            found: Probe = probe(self.name)
            if not found.devices:
                return found.problem or "no device"
            self.devices = found.devices
            self._parts = parts(self.backend)
        except BackendError as error:
            return error.message
        return ""

    def listing(self) -> list[Listed]:
        """All checks, in the order in which they are run."""
        found = [Listed("loading", "the plugin is loaded and has a device")]
        found += [Listed(one.name, one.about) for one in device_checks().values()]
        for stages in (self._parts or parts(Backend())).values():
            for check in stages:
                kind, _, what = check.partition("-")
                found.append(Listed(check, f"{what or kind}: {_ABOUT[kind]}"))
        return found

    def chosen(self, patterns: Sequence[str] = ()) -> list[str]:
        """Names of the checks that fit any pattern (all without one).

        Raises `UsageError` for a pattern that fits none.
        """
        every = [one.name for one in self.listing()]
        for pattern in patterns:
            if not fnmatch.filter(every, pattern):
                raise unknown("check", pattern, every)
        if not patterns:
            return every
        return [name for name in every if any(fnmatch.fnmatchcase(name, one) for one in patterns)]

    def run(self, checks: Sequence[str]) -> Iterator[Result]:
        """A result for each of these checks, as they come."""
        if "loading" in checks:
            yield self.loading
        rest = [name for name in checks if name != "loading"]
        if self.backend is None or not self.devices:
            why = f"there is no device to try it on: {self.loading.reason}"
            for name in rest:
                yield Result(check=name, verdict="skipped", reason=why)
            return
        for check in device_checks().values():
            if check.name in rest:
                yield run_check(check, self.name, self.devices)
        for stages in self._parts.values():
            wanted = {name: entries for name, entries in stages.items() if name in rest}
            if why := self._no_triton() if "triton" in wanted else "":
                yield Result(check="triton", verdict="unsupported", reason=why)
            elif wanted:
                yield from run_part(self.backend, len(self.devices), wanted)

    def _no_triton(self) -> str:
        """Why there are no Triton kernels for these devices, as the backend says; empty if any."""
        assert self.backend is not None
        if self.backend.triton:
            return self.backend.triton
        try:
            return "" if architecture(self.name) else "arch() is None: no Triton target"
        except BackendError:
            return ""  # the run itself says what is wrong
