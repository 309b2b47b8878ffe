"""A port that tells metrics. Whatever is asked of it, and by however many, the run goes on."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client.exposition import make_wsgi_app
from prometheus_client.metrics_core import Metric

from .openmetrics import Served

CONNECTIONS = 8
"""That are open at once; each takes a thread and a descriptor of the process that measures."""
PATIENCE = 10.0
"""Seconds for which who says nothing, or does not read, is waited for."""
SHARE = 0.1
"""Of one core that answering may take: requests wait for their turn, one at a time."""


class MetricsServer(ThreadingMixIn, WSGIServer):
    """Answers with what ``give`` gives at that moment, in the format that is asked for.

    Args:
        address: Where it listens: a name or an address of this host.
        port: 0: any that is free; then ``server_port`` says which.
        give: Called in threads of its own.

    Raises:
        OSError: there is no such address, or somebody else has the port.
        UnicodeError: the address is no name that hosts can have.
    """

    daemon_threads = True

    def __init__(self, address: str, port: int, give: Callable[[], Iterable[Metric]]) -> None:
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._turn = threading.Lock()
        self._rested = 0.0
        self._answer: Callable[..., Iterable[bytes]] = make_wsgi_app(Served(give))
        infos = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, where = infos[0][0], infos[0][4]
        super().__init__((str(where[0]), port), _Handler)
        self.set_app(self._in_turn)

    def start(self) -> None:
        """Answer from now on, in a thread."""
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Answer no more, and give the port back."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread where there is room; who has none is hung up on, and asks again."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of who left or sent nonsense: this terminal shows a run."""

    def _in_turn(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        with self._turn:
            time.sleep(max(0.0, self._rested - time.monotonic()))
            began = time.thread_time()
            try:
                return self._answer(environ, start_response)
            finally:
                took = time.thread_time() - began
                self._rested = time.monotonic() + took * (1 / SHARE - 1)


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Nothing: this terminal shows a run."""

    def get_stderr(self) -> Any:
        """Where tracebacks of requests that make no sense go: nowhere."""
        return io.StringIO()
