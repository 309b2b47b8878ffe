"""What members of a backend must be and give: read once when it is loaded, checked at every call.

What a plugin gets wrong becomes a sentence that names the member, and never a strange error far
from it. What is called inside a timed region (`event`, `synchronize`) is not looked at.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args, get_origin

import msgspec

from ..errors import BackendError
from ..records import Device
from .base import ACCEPTED, Backend, Health, Link, Telemetry

_WORDS: dict[str, tuple[Any, str]] = {
    "device_type": (str, "a device type of PyTorch"),
    "module": (str | None, "a module's name or None"),
    "collectives": (str, "the name of a torch.distributed backend"),
    "visible_devices": (str | None, "an environment variable's name or None"),
    "ray_resource": (str | None, "a resource's name or None"),
    "kubernetes_resource": (str | None, "a resource's name or None"),
    "slurm_gres": (str | None, "a resource's name or None"),
    "stand_in": (bool, "True or False"),
    "dies_per_card": (Annotated[int, msgspec.Meta(ge=1)], "a whole number from 1"),
    "tested": (str, "a text"),
    "triton": (str, "a text"),
    "lacking": (dict[str, str], "reasons by dtype"),
    "tolerances": (dict[str, float], "relative errors by dtype"),
    "kernel_patterns": (dict[str, str], "regular expressions by what they are about"),
    "priority": (int, "a whole number"),
}
"""Attributes: type, and what a sentence says that they take."""

_GIVES: dict[str, tuple[Any, str]] = {
    "present": (str, "a text, empty if devices seem to be here"),
    "devices": (list[Device], "a list of Device"),
    "versions": (dict[str, str], "versions by name"),
    "environment": (dict[str, str], "variables by name"),
    "memory_peak": (int | None, "bytes or None"),
    "telemetry": (Telemetry, "a Telemetry"),
    "health": (Health, "a Health"),
    "links": (list[Link], "a list of Link"),
    "busy": (str, "a text, empty if nobody uses it"),
    "place": (str, "a PCI address, empty if there is none"),
    "cache": (int, "bytes, 0 if unknown"),
    "arch": (str | None, "a Triton target or None"),
    "limit_memory": (str, "a text, empty if the limit holds"),
}
"""Methods: type of what they give, and what a sentence says that it is."""

ASKED = ("present", "versions", "environment", "telemetry", "health", "links", "busy")
"""Methods that need no opened device: drivers and agents ask them, of plugins through `remote`."""


def kind_of(member: str) -> Any:
    """The type of what a method gives."""
    return _GIVES[member][0]


def declared(backend: Backend) -> dict[str, Any]:
    """The attributes of a backend's class, in plain values."""
    found = {member: getattr(backend, member) for member in _WORDS}
    return {key: dict(one) if isinstance(one, Mapping) else one for key, one in found.items()}


def problem_of(cls: Any, path: str, name: str) -> str:
    """Why the class at ``path`` is no backend that this harness can use; empty if it is one."""
    version = getattr(cls, "api_version", None)
    if version not in ACCEPTED:
        spoken = " and ".join(map(str, ACCEPTED))
        return f"speaks version {version} of the backend contract, this harness {spoken}"
    if not (isinstance(cls, type) and issubclass(cls, Backend)):
        return f"{path} is no subclass of bench.backends.base.Backend"
    if cls.name != name:
        return f"{path} calls itself {cls.name!r}; its entry point calls it {name!r}"
    for member, (kind, takes) in _WORDS.items():
        if _unlike(value := getattr(cls, member), kind):
            return f"{member}: got {value!r}, takes {takes}"
    return _bad_tolerance(cls.tolerances) or _bad_pattern(cls.kernel_patterns)


def checked(backend: Backend) -> Backend:
    """The backend, whose methods raise `BackendError` from now on for what they get wrong."""
    for member in _GIVES:
        setattr(backend, member, _checked(backend, member))
    return backend


def _checked(backend: Backend, member: str) -> Callable[..., Any]:
    cls = type(backend)
    kind, takes = _GIVES[member]
    where = f"backend {backend.name}"

    @functools.wraps(getattr(cls, member))
    def asked(*args: Any, **kwargs: Any) -> Any:
        try:
            # Asked of the class each time: what is replaced there is what counts.
            value = getattr(cls, member)(backend, *args, **kwargs)
        except BackendError:
            raise
        except BaseException as error:  # a plugin may raise anything, SystemExit included
            if isinstance(error, KeyboardInterrupt):
                raise
            text = f"{member}() raised {type(error).__name__}: {error}"
            raise BackendError(text, where=where) from error
        if why := _unlike(value, kind) or (member == "devices" and _strange(value, backend.name)):
            raise BackendError(f"{member}() gave {value!r:.100}, takes {takes}: {why}", where=where)
        return value

    return asked


def _unlike(value: Any, kind: Any) -> str:
    """Why a value is not of a kind, its fields included; empty if it is."""
    plain = dict(value) if isinstance(value, Mapping) else value
    try:
        plain = msgspec.to_builtins(plain)
        msgspec.convert(plain, kind)
    except (msgspec.ValidationError, TypeError) as error:
        return str(error)
    return _untyped(value, kind) or _endless(plain)


def _untyped(value: Any, kind: Any) -> str:
    """Where a value only looks like a struct, as a dict of its fields does; empty if it is one."""
    listed = get_origin(kind) is list
    wanted = get_args(kind)[0] if listed else kind
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        for one in value if listed else [value]:
            if not isinstance(one, wanted):
                return f"a {type(one).__name__} is no {wanted.__name__}"
    return ""


def _endless(plain: Any) -> str:
    """Where a number is none, or has no end: no record can hold it."""
    if isinstance(plain, float) and not math.isfinite(plain):
        return f"{plain} is no number"
    items: Any = ()
    if isinstance(plain, dict):
        items = plain.items()
    elif isinstance(plain, (list, tuple)):
        items = enumerate(plain)
    for key, value in items:
        if why := _endless(value):
            return f"{key}: {why}"
    return ""


def _strange(devices: list[Device], name: str) -> str:
    """Why these are not this backend's devices; empty if they are."""
    indices = [device.index for device in devices]
    if min(indices, default=0) < 0 or len(set(indices)) < len(indices):
        return f"indices are {indices}: number the node's devices from 0, each once"
    for device in devices:
        if device.backend != name:
            return f"device {device.index} says backend {device.backend!r}, not {name!r}"
        if device.dies < 1 or device.memory < 0:
            return f"device {device.index} has {device.dies} dies and {device.memory} B of memory"
    return ""


def _bad_tolerance(declared: Mapping[str, float]) -> str:
    """Why these are no tolerances. At 1 a result of noise or of zeros would be right."""
    for dtype, limit in declared.items():
        if not 0 <= limit < 1:
            return f"tolerances: got {limit!r} for {dtype}, takes a number from 0 up to 1"
    return ""


def _bad_pattern(declared: Mapping[str, str]) -> str:
    """Why these are no patterns for the kernel's log."""
    for about, pattern in declared.items():
        try:
            re.compile(pattern)
        except re.error as error:
            return f"kernel_patterns: {about}: {pattern!r} is no regular expression: {error}"
    return ""
