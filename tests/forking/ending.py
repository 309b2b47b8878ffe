"""How a process ends that was forked for a script or a command."""

import atexit
import os
import sys
import threading


def ended(call):
    """Call it, and end as Python does, but for taking down every module.

    In a process that was forked, that would copy the pages of all that it never used: half of what
    a small script takes. Checks of devices are asked for it, and are not ended here.
    """
    code = 0
    try:
        call()
    except SystemExit as told:
        if isinstance(told.code, str):
            print(told.code, file=sys.stderr)
        code = told.code if isinstance(told.code, int) else int(told.code is not None)
    threading._shutdown()
    atexit._run_exitfuncs()
    for one in (sys.stdout, sys.stderr):
        try:
            one.flush()
        except OSError:
            code = 120  # which Python says of it
    os._exit(code)
