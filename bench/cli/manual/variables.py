"""Environment variables: what each means, and which verbs read it."""

from __future__ import annotations

OURS: dict[str, str] = {
    "HENGSUAN_CONFIG_PATH": "folders that are searched for configuration before all others, "
    "separated as in ``PATH``",
    "HENGSUAN_BACKENDS": "only these backends are asked for devices, as ``a,b``, in this order",
    "HENGSUAN_PROBE_SECONDS": "seconds that a stack may take to load and count its devices",
    "HENGSUAN_CONTAINER": "further words for docker or podman where a side of a gate is an image: "
    "what gives it the devices",
    "HENGSUAN_KEY_PASSPHRASE": "passphrase of a private key, where nobody is there to be asked",
    "HENGSUAN_CONFORMANCE_BACKEND": "the backend that ``pytest --pyargs bench.conformance`` tries",
    "HENGSUAN_STORE": "where runs are pushed when they end, and ``results push`` and ``pull`` go: "
    "``postgresql://...`` or ``sqlite:///...``",
    "HENGSUAN_DEBUG": "1: errors show their traceback, as by ``--debug``",
}
"""What users set."""
OTHERS: dict[str, str] = {
    "XDG_CONFIG_HOME": "instead of ``~/.config``, below which ``hengsuan/`` holds configuration, "
    "trusted keys and tuned tables",
    "RAY_AUTH_MODE": "``token``: Ray's own authentication, for a cluster that others can reach",
    "GLOO_SOCKET_IFNAME": "the network interface of gloo groups, set where Ray is started; a "
    "collective library has a variable of its own",
    "PADDLE_PYTHON": "an interpreter that has PaddlePaddle, for suite ``frameworks``; any variable "
    "can stand in braces in ``program`` of `command`",
    "GITHUB_ACTIONS": "``true``: a gate writes annotations, and a summary to "
    "``GITHUB_STEP_SUMMARY``",
    "TRITON_INTERPRET": "kernels are interpreted, for tests: nothing is compiled or counted",
    "COLUMNS": "width of tables where the output is no terminal",
    "NO_COLOR": "no colours",
}
"""What others define and hengsuan heeds."""

_MEASURE = ("run", "certify", "goodput", "gate pair", "gate bisect", "gate selftest")
_DEVICES = (*_MEASURE, "doctor", "tune", "backend")
_TEXT = ("completion", "deploy", "tokens")
_READ_BY: dict[str, tuple[str, ...]] = {
    "HENGSUAN_BACKENDS": _DEVICES,
    "HENGSUAN_PROBE_SECONDS": _DEVICES,
    "HENGSUAN_CONTAINER": ("gate pair", "gate bisect"),
    "HENGSUAN_KEY_PASSPHRASE": ("certificate keygen", "certificate sign", "submission pack"),
    "HENGSUAN_STORE": ("run", "certify", "results push", "results pull"),
    "RAY_AUTH_MODE": ("run", "certify", "goodput", "doctor"),
    "GLOO_SOCKET_IFNAME": ("run", "certify", "goodput"),
    "PADDLE_PYTHON": ("run",),
    "GITHUB_ACTIONS": ("gate",),
    "TRITON_INTERPRET": (*_MEASURE, "tune"),
    "HENGSUAN_CONFORMANCE_BACKEND": (),
}
"""Verbs, or groups of them, that alone read a variable; what is not here is read by all."""


def read_by(path: str) -> dict[str, str]:
    """The variables that a verb reads, with their meanings.

    Args:
        path: Its words without ``hengsuan``, as ``results show``.
    """
    found = {}
    for name, meaning in (OURS | OTHERS).items():
        verbs = _READ_BY.get(name)
        text = path.split()[0] in _TEXT and name not in ("HENGSUAN_DEBUG",)
        if not text if verbs is None else any(f"{path} ".startswith(f"{one} ") for one in verbs):
            found[name] = meaning.replace("``", "").replace("`", "")
    return found
