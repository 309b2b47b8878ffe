"""``--metrics-file`` and ``--metrics-port``: a run for Prometheus, while it goes on and after."""

from __future__ import annotations

import contextlib
import errno
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ..errors import HengsuanError, InfraError, UsageError
from .json_output import tell
from .parameters import Output

if TYPE_CHECKING:
    from ..cluster.executor import Page
    from ..cluster.plan import Plan, Stage
    from ..inventory import Inventory
    from ..records import Header, Status

F = TypeVar("F", bound=Callable[..., Any])
REST = 5.0
"""Seconds between two times that the file is written, at least."""
_SHARE = 0.02
"""Of the driver's time, that writing may take: of a large fleet it is written less often."""

_OPTIONS = (
    click.option(
        "--metrics-file",
        type=Output(dir_okay=False),
        metavar="FILE.prom",
        help="Keep this file for node_exporter's textfile collector.",
    ),
    click.option(
        "--metrics-port",
        metavar="[ADDRESS:]PORT",
        help="Serve metrics there while it measures; on 127.0.0.1 where no address is given.",
    ),
)


def metrics(command: F) -> F:
    """The two options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class Place(NamedTuple):
    """Where metrics are served."""

    address: str
    port: int

    @classmethod
    def of(cls, text: str) -> Place:
        """``9464`` or ``0.0.0.0:9464``. Raises `UsageError`."""
        address, _, port = text.rpartition(":")
        if not (port.isascii() and port.isdigit() and len(port) < 6) or int(port) > 65535:
            raise UsageError(f"--metrics-port {text}: write PORT or ADDRESS:PORT, as 9464")
        return cls(address.strip("[]") or "127.0.0.1", int(port))


class Exported:
    """An observer that keeps a file, and what a port serves, up to date.

    Args:
        file: For the textfile collector; None: none.
    """

    def __init__(self, file: Path | None) -> None:
        from ..report.live_metrics import Live

        self._file, self._live = file, Live()
        self._folder: Path | None = None
        self._done: dict[str, int] = {}
        self._jobs = 0
        self._written, self._rest = 0.0, REST
        self._problem = ""

    def begin(self, header: Header, made: Plan, inventory: Inventory, folder: Path) -> None:
        """Metrics are there from now on. Raises `InfraError` if the file cannot be written."""
        self._folder = folder
        self._live.begin(header)
        self._write(first=True)

    def stage(self, stage: Stage, jobs: int) -> None:
        """A stage begins."""
        self._done, self._jobs = {}, jobs
        self._live.stage(stage.name, jobs)
        self._write()

    def page(self, page: Page) -> None:
        """Something came in, or a second has passed."""
        import msgspec

        from ..telemetry import TelemetryRow

        rows = Counter(row.status for row in page.rows)
        if page.columns is not None:
            rows.update(_by_status(page.columns))
        looks = [msgspec.json.decode(raw, type=TelemetryRow) for raw in page.telemetry]
        lost = sum(event.kind.endswith("-lost") for event in page.events)
        self._live.page(rows, self._progress(page), lost, looks)
        if time.monotonic() - self._written > self._rest:
            self._write()

    def _progress(self, page: Page) -> int | None:
        """Jobs done of the stage; a node counts each group that it takes part in."""
        for one in page.progress:
            if one.node:
                self._done[one.node] = one.done
            else:
                self._done[""] = self._done.get("", 0) + one.done
        return min(self._jobs, max(self._done.values())) if page.progress else None

    def end(self, state: str, counts: Mapping[Status, int]) -> None:
        """Nothing is measured any more."""
        self._live.end()

    def finish(self) -> None:
        """Write the file for the last time, with the results, and the verdict if there is one."""
        self._live.end()  # nobody has said so where the run never began, or broke
        self._write(results=True)

    def collect(self) -> Iterator[Any]:
        """What is served."""
        return iter(self._live.families())

    def _write(self, *, first: bool = False, results: bool = False) -> None:
        if self._file is None or self._folder is None:
            return
        from ..files import replace_file
        from ..report.openmetrics import results as of_run
        from ..report.openmetrics import text
        from ..results import RunReader

        began = time.monotonic()
        families = self._live.families()
        with contextlib.suppress(HengsuanError):  # whoever reads the run says what is wrong there
            families += of_run(RunReader(self._folder)) if results else []
        try:
            # node_exporter is another user.
            replace_file(self._file, text(families, classic=True).encode(), mode=0o644)
        except OSError as error:
            problem = f"cannot write metrics: {error.strerror or error}"
            if first:
                file, self._file = self._file, None
                raise InfraError(
                    problem,
                    where=str(file),
                    hint="name a file in a folder that is there and can be written",
                ) from None
            if problem != self._problem:  # said once: no reason to lose a measurement
                tell(f"warning: {self._file}: {problem}")
            self._problem = problem
        self._written = time.monotonic()
        self._rest = max(REST, (self._written - began) / _SHARE)


@contextlib.contextmanager
def exported(file: Path | None, port: str | None) -> Iterator[Exported | None]:
    """An observer of the run inside, whose results are written at the end; None: nobody asked.

    Raises:
        UsageError: no such address, or somebody else's port.
        InfraError: the file cannot be written.
    """
    if file is None and port is None:
        yield None
        return
    if file is not None and file.suffix != ".prom":
        tell(f"note: {file}: node_exporter reads files named *.prom alone")
    if file is not None and not file.parent.is_dir():
        raise UsageError(f"--metrics-file {file}: there is no folder {file.parent}")
    if file is not None and file.exists() and not file.is_file():
        raise UsageError(f"--metrics-file {file}: something else than a file has this name")
    kept = Exported(file)
    with contextlib.ExitStack() as stack:
        if port is not None:
            stack.callback(_serve(Place.of(port), kept))
        try:
            yield kept
        finally:
            kept.finish()


def _serve(place: Place, kept: Exported) -> Callable[[], None]:
    """Serve in a thread; what ends that."""
    from ..report.metrics_server import MetricsServer

    try:
        server = MetricsServer(place.address, place.port, kept.collect)
    except (OSError, UnicodeError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "somebody else does" if taken else getattr(error, "strerror", None) or error
        raise UsageError(
            f"--metrics-port: cannot serve at {place.address}:{place.port}: {why}",
            hint="choose another port" if taken else "choose an address of this host",
        ) from None
    host = f"[{place.address}]" if ":" in place.address else place.address
    tell(f"metrics at http://{host}:{server.server_port}/metrics")
    server.start()
    return server.stop


def _by_status(columns: Any) -> dict[Status, int]:
    import numpy as np

    from ..records import STATUSES

    counts = np.bincount(columns.status, minlength=len(STATUSES)).tolist()
    return {status: count for status, count in zip(STATUSES, counts, strict=True) if count}
