"""A command goes on in a process that has imported what verbs import (`forked.commands`).

Python imports this module when it starts, which is all that this process does of the command: what
it was told, its streams and its signals are handed on, and it ends as the other one does.
"""

import os
import sys


def handed(name, words):
    """Have it done by a process of the template of that name; never returns."""
    import json
    import signal
    import socket

    asked = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    asked.connect(f"\0{name}")
    told = {
        "module": "commands",
        "words": words,
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "channel": None,
        "cores": sorted(os.sched_getaffinity(0)),
    }
    socket.send_fds(asked, [json.dumps(told).encode()], [1, 2, 0])
    pid = json.loads(asked.recv(1000))["pid"]
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, lambda number, _: os.kill(pid, number))
    code = json.loads(asked.recv(1000))["code"]
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def words_of(begun):
    """What a command is told; None if it is none of ours."""
    if begun[1:3] == ["-m", "bench"]:
        return begun[3:]
    return begun[2:] if os.path.basename(begun[1] if begun[1:] else "") == "hengsuan" else None


def seen(environment):
    """What Python reads of an environment when it starts."""
    return repr(
        sorted(
            one
            for one in environment.items()
            if one[0] != "PYTHONPATH" and one[0].startswith(("PYTHON", "LC_", "LANG"))
        )
    )


template, _, like = os.environ.get("COMMANDS_TEMPLATE", "").partition(" ")
if template and like == seen(os.environ) and (found := words_of(sys.orig_argv)) is not None:
    handed(template, found)
