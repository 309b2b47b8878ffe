"""Verbs that gate, sign and hand in."""

from __future__ import annotations

from .pages import RUNS, Page

_REPORTS = {
    "gate.json": "all that was judged, in the folder of --out",
    "gate.xml, gate.md": "the same for services and people",
}
_STORE = {"~/.config/hengsuan/trust": "keys that count, and what was revoked"}

PAGES = {
    "gate pair": Page(
        {
            "hengsuan gate pair --baseline git:HEAD~1": "this tree against the commit before",
            "hengsuan gate pair --candidate var:NCCL_ALGO=Ring --budget 10m": "a variable",
            "hengsuan gate pair --baseline git:HEAD~1 --gate counts --executor local": "without "
            "an accelerator: what the compiler makes of kernels",
        },
        _REPORTS,
        ("gate selftest", "gate bisect", "gate check"),
    ),
    "gate check": Page(
        {"hengsuan gate check results/RUN --baseline results": "against earlier runs here"},
        {**_REPORTS, **RUNS},
        ("gate pair", "gate history"),
    ),
    "gate history": Page(
        {"hengsuan gate history results --last 50": "since which of 50 runs is what slower"},
        RUNS,
        ("gate check", "results list"),
    ),
    "gate bisect": Page(
        {"hengsuan gate bisect v1 HEAD": "the first slower revision after v1"},
        see=("gate pair",),
    ),
    "gate selftest": Page(
        {"hengsuan gate selftest --executor local": "before the first gate on a machine"},
        see=("gate pair",),
    ),
    "certificate keygen": Page(
        {"hengsuan certificate keygen ops.key": "ops.key and ops.key.pub"},
        see=("certificate sign", "certificate trust"),
    ),
    "certificate sign": Page(
        {"hengsuan certificate sign RUN --key ops.key --out certificates": "of accepted nodes"},
        {"results/RUN/verdict.json": "what `certify` found"},
        ("certify", "certificate verify"),
    ),
    "certificate verify": Page(
        {
            "hengsuan certificate verify certificates --here": "is it of this machine, and valid?",
            "hengsuan certificate verify node.certificate.json --run RUN": "of these results?",
        },
        _STORE,
        ("certificate show", "certificate trust"),
    ),
    "certificate show": Page(
        {"hengsuan certificate show node.certificate.json": "what it says"},
        see=("certificate verify",),
    ),
    "certificate trust": Page(
        {
            "hengsuan certificate trust ops.key.pub --name operations": "from now on",
            "hengsuan certificate trust": "which keys count",
        },
        _STORE,
        ("certificate revoke", "certificate verify"),
    ),
    "certificate revoke": Page(
        {"hengsuan certificate revoke operations --reason 'key was lost'": "all that it signed"},
        _STORE,
        ("certificate trust",),
    ),
    "submission pack": Page(
        {"hengsuan submission pack RUN --system system.yaml --key acme.key": "RUN.tar, signed"},
        {**RUNS, "RUN.tar": "all that was measured and declared"},
        ("submission verify", "show editions"),
    ),
    "submission verify": Page(
        {"hengsuan submission verify acme.tar": "does it hold by every rule?"},
        _STORE,
        ("submission show", "certificate trust"),
    ),
    "submission show": Page(
        {"hengsuan submission show acme.tar": "what it says of itself"},
        see=("submission verify",),
    ),
}
