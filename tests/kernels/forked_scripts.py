"""Scripts of this folder, each in a process forked from one that has PyTorch and Triton.

Importing them takes three seconds of a core, and these tests run fifty scripts. A script has all
that it would have if it were started anew: its words, its output, its exit code, a process that
ends with it. Triton decides as it is imported whether it interprets, so there are two kinds.

    python forked_scripts.py PARENT < REQUESTS        (see `Scripts`)
"""

import contextlib
import ctypes
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
INTERPRETED = 'os.environ["TRITON_INTERPRET"] = "1"'
"""What a script says that wants the interpreter, before it imports anything."""
MODULES = ("torch", "triton", "hypothesis.strategies", "bench.kernels.ops", "bench.kernels.codegen")
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Scripts:
    """Runs one script after the other, in the environment given."""

    def __init__(self, environment):
        self._environment = environment
        self._templates = {}

    def __call__(self, script, *arguments):
        """The finished process of a script, as `subprocess.run` gives it."""
        interprets = INTERPRETED in (HERE / script).read_text()
        words = [str(HERE / script), *arguments]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            told = {"words": words, "out": _path(out), "err": _path(err)}
            try:
                code = self._asked(interprets, told)
            except BaseException:  # a test's limit: what still runs must hold nobody up
                with self._templates.pop(interprets) as template:
                    template.kill()
                raise
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(words, code, out.read(), err.read())

    def _asked(self, interprets, told):
        if interprets not in self._templates:
            more = {"TRITON_INTERPRET": "1"} if interprets else {}
            self._templates[interprets] = subprocess.Popen(
                [sys.executable, __file__, str(os.getpid())],
                env={**self._environment, **more},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        template = self._templates[interprets]
        template.stdin.write(json.dumps(told) + "\n")
        template.stdin.flush()
        code = template.stdout.readline()
        if not code:
            raise RuntimeError("the process that scripts are forked from has ended")
        return int(code)

    def close(self):
        """End the processes that scripts are forked from."""
        for template in self._templates.values():
            with template:
                template.stdin.close()


def _path(file):
    return f"/proc/{os.getpid()}/fd/{file.fileno()}"


def end_with(parent):
    """Die when the process does that this one was made by."""
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def serve():
    """Answer requests with exit codes until there are no more; in a fork, return what to run."""
    end_with(int(sys.argv[1]))
    for name in MODULES:
        importlib.import_module(name)
    parent = os.getpid()
    for line in sys.stdin:
        told = json.loads(line)
        pid = os.fork()
        if not pid:
            end_with(parent)
            for descriptor, path in enumerate((os.devnull, told["out"], told["err"])):
                os.dup2(os.open(path, os.O_RDWR), descriptor)
            return told["words"]
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        words = serve()
        if words:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
