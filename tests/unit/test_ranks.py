"""What is said of a rank process that died: the innermost frame, not what the handler ends with."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from bench.cluster import listening, ranks
from bench.cluster.rank_main import _sentence
from bench.cluster.ranks import RankLost, RankProcess
from bench.cluster.wire import PROTOCOL, LaunchSpec, Ready, line
from bench.errors import InfraError
from bench.host.processes import ended_by
from bench.workloads.saved import StateError

MODULES = "Extension modules: " + ", ".join(f"vendor.part{number}" for number in range(900))
FAULT = """Fatal Python error: Segmentation fault

Thread 0x00007f0000000001 (most recent call first):
  File "/usr/lib/python3/threading.py", line 331 in wait

Current thread 0x00007f0000000002 (most recent call first):
  File "/opt/bench/workloads/collectives.py", line 280 in refresh
  File "/opt/bench/workloads/runner.py", line 90 in run
"""


NAMELESS = (
    "[W1127 07:05:09.706057038 socket.cpp:207] [c10d] The hostname of the client socket cannot be "
    "retrieved. err=-3"
)
DEAF = """#!{python}
import os, signal, socket, time
link = socket.socket(fileno=int(os.environ["HENGSUAN_CHANNEL"]))
while len(link.recv(1 << 16, socket.MSG_PEEK)) < 2:
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def spec_of(python):
    return LaunchSpec(
        python=python,
        environment={},
        directory=".",
        backend="cpu",
        index=0,
        local=0,
        devices=[0],
        cpus=[0],
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InfraError("became\nshorter", where="/data/set"), "/data/set: became shorter"),
        (StateError("the storage may be full"), "the storage may be full"),
        (ValueError("the driver returned error 719"), "ValueError: the driver returned error 719"),
        (KeyError(), "KeyError"),
        (RuntimeError("not enough memory: 8 GiB"), "out of memory: not enough memory: 8 GiB"),
    ],
)
def test_sentences_of_ours_go_without_the_name_of_their_class(error, said):
    assert _sentence(error) == said


def test_a_rank_that_died_before_it_had_read_all_died_all_the_same(tmp_path):
    """The kernel resets its channel then, where it would close that of one that had."""
    program = tmp_path / "rank"
    program.write_text(DEAF.format(python=sys.executable))
    program.chmod(0o755)

    async def started():
        rank = RankProcess(spec_of(str(program)))
        try:
            await rank.start()
        finally:
            rank.kill()

    with pytest.raises(RankLost, match=r"^crashed with SIGKILL"):
        asyncio.run(started())


BUSY = """#!{python}
import os, socket, time
link = socket.socket(fileno=int(os.environ["HENGSUAN_CHANNEL"]))
link.recv(1 << 16)
for _ in range(50):
    time.sleep(0.1)
link.sendall({ready!r})
time.sleep(60)
"""


@pytest.mark.parametrize("still", [0.0, 6.0])
def test_a_host_that_stands_still_takes_nothing_from_a_ranks_limit(still, tmp_path, monkeypatch):
    """All of it stands still, as when a container is paused: the rank, and who waits for it."""
    monkeypatch.setattr(listening, "GAP", 1.5)
    monkeypatch.setattr(ranks, "START_LIMIT", 8.0 if still else 1.0)
    program = tmp_path / "rank"
    ready = line(Ready(pid=1, protocol=PROTOCOL, versions={"torch": "2.7"}))
    program.write_text(BUSY.format(python=sys.executable, ready=ready))
    program.chmod(0o755)

    async def started():
        rank = RankProcess(spec_of(str(program)))
        asking = asyncio.create_task(rank.start())
        try:
            await asyncio.sleep(0.5)
            if still:
                os.kill(rank.pid, signal.SIGSTOP)
                time.sleep(still)
                os.kill(rank.pid, signal.SIGCONT)
            await asking
        finally:
            rank.kill()
        return rank.versions

    if still:
        assert asyncio.run(started()) == {"torch": "2.7"}
    else:
        with pytest.raises(RankLost, match="no sign of life after 1 s"):
            asyncio.run(started())


def test_a_mapped_file_that_became_shorter_is_said(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 16))
    reader = (
        "import mmap, os, sys; file = open(sys.argv[1], 'r+b'); view = mmap.mmap(file.fileno(), 0);"
        "os.truncate(sys.argv[1], 0); view[0]"
    )
    ended = subprocess.run([sys.executable, "-c", reader, str(path)])
    said = "crashed with SIGBUS (a mapped file became shorter or memory failed)"
    assert ended_by(ended.returncode) == said
    assert ended_by(-9) == "crashed with SIGKILL"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            f"{FAULT}\n{MODULES} (total: 900)\n",
            'in File "/opt/bench/workloads/collectives.py", line',
        ),
        ("warming up\nout of streams\n\n", "it said: out of streams"),
        (f"out of streams\n{NAMELESS}\n", "it said: out of streams"),
        (f"{NAMELESS}\n", ""),
        ("", ""),
    ],
)
def test_the_last_words_of_a_rank(log, said):
    rank = RankProcess(spec_of(""))
    rank._log.write(log.encode())
    words = rank._last_words()
    rank._log.close()
    assert said in words
    assert "Extension modules" not in words
    assert bool(said) == bool(words)
