"""The page of environment variables."""

from __future__ import annotations

from .markdown import code, inline, sections, table

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
INTERNAL: dict[str, str] = {
    "HENGSUAN_CHANNEL": "the pipe between an agent and a rank process",
    "HENGSUAN_KEEPER": "the pipe to the process that keeps a plugin",
    "HENGSUAN_CONFORMANCE": "marks processes of a check of a backend, so that none is left behind",
}
"""What hengsuan sets for processes of its own."""
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


def page() -> str:
    """All variables."""
    return sections(
        "# Environment variables",
        "A run records all that change what libraries do (`OMP_`, `TORCH_`, `TRITON_`, `RAY_`, "
        "`HENGSUAN_`, of collective libraries, visible devices), but never one whose name says "
        "that it is a secret.",
        "## Of hengsuan",
        _table(OURS),
        "## Of others",
        _table(OTHERS),
        "## For its own processes",
        _table(INTERNAL),
    )


def _table(variables: dict[str, str]) -> str:
    return table(
        ("variable", "meaning"), ((code(k), inline(v)) for k, v in sorted(variables.items()))
    )
