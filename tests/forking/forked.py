"""Processes forked from one that has PyTorch already: importing it takes each more than a second
and a half of a core, and these tests start them by the hundred.

`Templates` is what `bench.cluster.ranks` and `bench.conformance.process` have for the module
`subprocess`: in the test's own process by a fixture, in what tests start by `sitecustomize`. A
rank, or a check of a device, does all that one does which is started anew, but for the import: it
has its own session, directory, environment, channel, log and cores, and dies with who asked for it.
So do scripts that a test asks `Templates` to run, and where `ASKED` is set the processes in which
backends are asked.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

FOLDER = str(Path(__file__).parent)
"""What has this first on its PYTHONPATH forks what it starts (`sitecustomize`)."""
CHANNELS = ("HENGSUAN_CHANNEL", "HENGSUAN_KEEPER")
"""Variables that tell a process which descriptor its channel is."""
OWNER = "HENGSUAN_TEST_TEMPLATES"
"""Whose templates these are: the process of the tests, with which they end."""
MARK = "HENGSUAN_TEST"
"""Variable by which a worker's processes are told from others' (`processes` of `tests/cluster`)."""
MORE = "HENGSUAN_TEST_IMPORTED"
"""Variable: names, with spaces between them, of modules that a template has besides PyTorch."""
TRAINING = "torch.distributed.checkpoint bench.workloads.parallel.trainer"
"""What is imported for a training: nearly as dear as PyTorch itself, and few need it."""
SCRIPTED = "scripted"
SERVING = str(Path(__file__).with_name("serving.py"))
"""What a template runs."""
WORKER = str(Path(__file__).parents[1] / "device" / "worker.py")
COMMANDS = "commands"
WARM = str(Path(__file__).parent / "warm")
"""Commands of what has this first on its PYTHONPATH, and `COMMANDED`, are forked (`commands`)."""
COMMANDED = "COMMANDS_TEMPLATE"
"""Variable: the template of commands, and what Python reads of the environment when it starts."""
ASKED = "HENGSUAN_TEST_ASKED"
"""Variable: the processes that hold a backend for others are forked, too."""
RANK = "bench.cluster.rank_main"
CHECK = "bench.conformance.child"
MODULES = (RANK, CHECK, "bench.backends.isolated", "bench.backends.remote")
FRESH = ("light-import",)
"""Checks that look at what their process has imported."""
OWN = (*CHANNELS, "HENGSUAN_CONFORMANCE", "TMPDIR", "PYTEST_CURRENT_TEST")
"""Variables that a template must not have: they tell whose a process is, or what it may fill."""
SEEN = (
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "TORCH",
    "PYTORCH",
    "CUDA",
    "LD_",
    "MALLOC_",
    "TRITON",
    "HENGSUAN_TEST",
)
"""Variables, by their beginnings, that PyTorch or a test's own `sitecustomize` may read as it is
imported."""
NAME = "forked-"
"""What the kernel calls a process that was forked begins so, and ends with the process id of who
asked for it: its command line and its parent are the template's."""
MOST = 1 << 17
"""Bytes of a message: it has an environment."""


def owner():
    """The process id of whoever owns the templates of this process: workers of pytest-xdist, whose
    parent it is, share them."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def shaping(module, environment):
    """All by which the template of a module differs from that of others, as text."""
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    return json.dumps(
        [
            environment[OWNER],
            sys.executable,
            module,
            importlib.import_module("bench").__file__,
            sorted(
                (name, value if name != MARK else len(value))
                for name, value in environment.items()
                if name.startswith(SEEN)
            ),
            # What Python itself imports from there may change all else.
            [path for path in paths if Path(path, "sitecustomize.py").exists()],
        ]
    )


def commands():
    """The variables of whoever gives commands that are forked from a process which has imported
    what verbs import: half of what most take, where they are given by the hundred."""
    environment = {OWNER: str(owner()), **os.environ}
    template = Template(COMMANDS, environment)
    template.close()
    like = runpy.run_path(f"{WARM}/sitecustomize.py")["seen"](environment)
    path = os.pathsep.join(filter(None, [WARM, os.environ.get("PYTHONPATH")]))
    return {COMMANDED: f"{template.name} {like}", "PYTHONPATH": path}


class Template:
    """The way to a process that has a module, and forks one that runs it when asked.

    Whoever asks for it first starts it; all of a test session share it.
    """

    def __init__(self, module, environment):
        digest = hashlib.sha256(shaping(module, environment).encode()).hexdigest()[:16]
        self.name = name = f"hengsuan-test-{environment[OWNER]}-{digest}"
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.connect(f"\0{name}")
        except ConnectionRefusedError:
            with Path(tempfile.gettempdir(), f"{name}.log").open("ab") as log:
                words = [sys.executable, SERVING, name, environment[OWNER], module]
                subprocess.run(
                    words,
                    env={key: environment[key] for key in environment if key not in OWN},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    check=True,
                )
            self._socket.connect(f"\0{name}")

    def fork(self, module, words, environment, directory, descriptors):
        """The process id of a new one: its words, its log and, if it has one, its channel."""
        given = [str(one) for one in descriptors[2:]]
        told = {
            "module": module,
            "words": words,
            "environment": environment,
            "directory": str(directory),
            "channel": next((name for name in CHANNELS if environment.get(name) in given), None),
            "cores": sorted(os.sched_getaffinity(0)),
        }
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(told).encode()], descriptors)
            while not (pid := self._read()):
                pass
        return pid

    def ended(self, pid):
        """The exit code of one as `subprocess` gives it; None while it runs."""
        with self._lock:
            while pid not in self._ended and select.select([self._socket], [], [], 0)[0]:
                self._read()
            return self._ended.get(pid)

    def _read(self):
        """What it says next: the process id of one that has begun, or None of one that ended."""
        said = json.loads(self._socket.recv(MOST) or b'{"gone": true}')
        if "gone" in said:
            raise RuntimeError("the template of processes ended; its log says why")
        if "code" in said:
            self._ended[said["pid"]] = said["code"]
            return None
        return said["pid"]

    def close(self):
        """End every process that is left of those that were asked for here."""
        self._socket.close()


class Forked:
    """A process as `subprocess.Popen` shows one, as far as it is asked."""

    def __init__(self, template, module, words, environment, directory, descriptors):
        self._template, self._words = template, words
        self.pid = template.fork(module, words, environment, directory, descriptors)

    def poll(self):
        """Its exit code, if it has ended."""
        return self._template.ended(self.pid)

    def wait(self, timeout=None):
        """Its exit code. Raises `subprocess.TimeoutExpired`."""
        stop = time.monotonic() + (timeout or float("inf"))
        while (code := self.poll()) is None:
            if time.monotonic() > stop:
                raise subprocess.TimeoutExpired(self._words, timeout)
            time.sleep(0.005)
        return code


def _check(task):
    """Which check of a device the file of a task tells of."""
    return json.loads(Path(task).read_bytes())["check"]


class Templates:
    """The module `subprocess` for one that starts ranks or checks, whose ``Popen`` forks them."""

    def __init__(self):
        self._lock = threading.Lock()
        self._made = {}

    def __getattr__(self, name):
        return getattr(subprocess, name)

    def Popen(self, command, *, env, stdout, stderr, cwd=None, pass_fds=(), **more):
        """A process; the rest of what `subprocess.Popen` is told is what a template does anyway.

        What is not one of `MODULES`, run by this Python, is started as everywhere, as is a check
        in `FRESH`.
        """
        start, words = list(command[:3]), list(command[3:])
        module = start[-1]
        known = module in MODULES and start == [sys.executable, "-m", module]
        if start[:2] == [sys.executable, WORKER]:
            return self._worker(list(command[1:]), env, stderr)
        if not known or (module == CHECK and _check(words[0]) in FRESH):
            return subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                **more,
            )
        env = {OWNER: str(owner()), **env}
        with open(os.devnull, "wb") as nobody:
            out = nobody if stdout == subprocess.DEVNULL else stdout
            err = out if stderr == subprocess.STDOUT else stderr
            given = [out.fileno(), err.fileno(), *pass_fds]
            # Any of them is forked from what a rank is: all but PyTorch is little.
            template = self._template(RANK, env)
            return Forked(template, module, words, env, cwd or os.getcwd(), given)

    def _worker(self, words, env, stderr):
        """A script that is told what to do by its standard input, and answers."""
        env = {OWNER: str(owner()), **env}
        (told, tell), (hear, say) = os.pipe(), os.pipe()
        given = [say, stderr.fileno(), told]
        made = Forked(self._template(RANK, env), SCRIPTED, words, env, os.getcwd(), given)
        os.close(told)
        os.close(say)
        made.stdin, made.stdout = os.fdopen(tell, "wb"), os.fdopen(hear, "rb")
        return made

    def script(self, words, env):
        """Run a Python script with its arguments to its end, as `subprocess.run` would: text of
        both streams, the working directory of this process."""
        env = {OWNER: str(owner()), **env}
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            given = [out.fileno(), err.fileno()]
            template = self._template(SCRIPTED, env)
            code = Forked(template, SCRIPTED, words, env, os.getcwd(), given).wait()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(words, code, out.read(), err.read())

    def _template(self, module, env):
        with self._lock:
            key = shaping(module, env)
            template = self._made.get(key) or Template(module, env)
            self._made[key] = template
        return template

    def close(self):
        """End every process that is left."""
        while self._made:
            self._made.popitem()[1].close()
