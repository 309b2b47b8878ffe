"""A real PostgreSQL server of a test's own, in a temporary folder, with a password."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "s3cret/pass@word"
"""Characters that a URL has to have encoded."""
ENCODED = "s3cret%2Fpass%40word"


def binaries() -> Path:
    """Where ``initdb`` is, which Debian does not put among the commands; skips where it is not."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3]
    )
    usual = shutil.which("initdb")
    if not found and usual is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return found[-1].parent if found else Path(str(usual)).parent


class Server:
    """A server on a free port of this host alone. It does not run as root: it would refuse to."""

    def __init__(self, folder: Path) -> None:
        self.binaries = binaries()
        self.folder = folder
        self.data = folder / "data"
        self.who = {}
        if os.geteuid() == 0:
            found = pwd.getpwnam("nobody")
            self.who = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
            os.chown(folder, found.pw_uid, found.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secret = folder / "secret"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o644)
        self._do("initdb", "-D", self.data, "-U", "bench", "-A", "scram-sha-256", "--no-sync",
                 "-E", "UTF8", "--locale=C", f"--pwfile={secret}")  # fmt: skip

    def _do(self, name: str, *words: object) -> None:
        command = [str(self.binaries / name), *map(str, words)]
        log = self.folder / "commands.log"
        with log.open("ab") as out:  # not a pipe, which the server would keep open
            done = subprocess.run(command, stdout=out, stderr=out, cwd="/", timeout=60, **self.who)
        if done.returncode:
            raise AssertionError(f"{name}: {log.read_text()}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._do("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-o", options, "-w", "start")

    def stop(self, how: str = "fast") -> None:
        """Stop it: ``fast`` ends its sessions, ``immediate`` as if it was killed."""
        self._do("pg_ctl", "-D", self.data, "-m", how, "-w", "stop")

    def url(self, database: str, password: str = ENCODED, user: str = "bench") -> str:
        """As people give it."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres"):
        """A connection that commits each statement."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="bench", password=PASSWORD, dbname=database,
            autocommit=True, application_name="test",
        )  # fmt: skip


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server that has gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="hengsuan-postgresql-"))
    try:
        server = Server(folder)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):  # a test had stopped it
                server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
