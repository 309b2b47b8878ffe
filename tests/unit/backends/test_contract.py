"""Every member of a backend that raises, gives None or another type: a sentence each."""

import types

import pytest

from bench.backends import contract
from bench.backends.base import Backend, Health, Link, Telemetry, TorchBackend
from bench.backends.cpu import Cpu
from bench.errors import BackendError
from bench.records import Device

PATH = "acme:Acme"


def made(**members):
    return type("Acme", (TorchBackend,), {"name": "acme", "device_type": "acme", **members})


def test_every_member_of_the_contract_is_known_to_it():
    """What is not checked is called inside a timed region, or gives what has no type of ours."""
    free = {
        "load",
        "open",
        "synchronize",
        "event",
        "side",
        "implementations",
        "functions",
        "release",
    }
    methods = {
        name for name, value in vars(Backend).items() if isinstance(value, types.FunctionType)
    }
    assert methods == set(contract._GIVES) | free
    attributes = set(Backend.__annotations__)
    assert attributes == set(contract._WORDS) | {"api_version", "name"}


@pytest.mark.parametrize("member", contract._WORDS)
@pytest.mark.parametrize("value", [object(), 3.5, ["x"]])
def test_an_attribute_of_another_type(member, value):
    if member == "tolerances" and value == 3.5:
        value = None
    problem = contract.problem_of(made(**{member: value}), PATH, "acme")
    assert problem.startswith(f"{member}: got ")
    assert ", takes " in problem


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [
        ("dies_per_card", 0, "dies_per_card: got 0, takes a whole number from 1"),
        ("dies_per_card", True, "dies_per_card: got True, takes a whole number from 1"),
        ("lacking", {"fp8": None}, "lacking: got {'fp8': None}, takes reasons by dtype"),
        ("tested", None, "tested: got None, takes a text"),
        ("triton", None, "triton: got None, takes a text"),
        (
            "tolerances",
            {"bf16": 1.0},
            "tolerances: got 1.0 for bf16, takes a number from 0 up to 1",
        ),
        (
            "kernel_patterns",
            {"driver": "("},
            "kernel_patterns: driver: '(' is no regular expression",
        ),
        ("api_version", 3, "speaks version 3 of the backend contract, this harness 1 and 2"),
    ],
)
def test_an_attribute_out_of_its_bounds(member, value, said):
    assert said in contract.problem_of(made(**{member: value}), PATH, "acme")


def test_both_versions_are_spoken():
    for version in (1, 2):
        assert contract.problem_of(made(api_version=version), PATH, "acme") == ""


ARGUMENTS = {
    "environment": ([0], 0),
    "memory_peak": (None,),
    "telemetry": (0,),
    "health": (0,),
    "busy": (0,),
    "place": (None,),
    "cache": (None,),
    "arch": (None,),
    "limit_memory": (None, 1),
}
MAY_BE_NONE = {"memory_peak", "arch"}


def raising(*_):
    raise RuntimeError("the driver is gone")


@pytest.mark.parametrize("member", contract._GIVES)
def test_a_method_that_raises(member):
    backend = contract.checked(made(**{member: raising})())
    with pytest.raises(BackendError) as caught:
        getattr(backend, member)(*ARGUMENTS.get(member, ()))
    assert caught.value.message == f"{member}() raised RuntimeError: the driver is gone"
    assert caught.value.where == "backend acme"


@pytest.mark.parametrize("member", contract._GIVES)
@pytest.mark.parametrize("value", [None, object(), 1.5])
def test_a_method_that_gives_another_type(member, value):
    if value is None and member in MAY_BE_NONE:
        value = ["none"]
    backend = contract.checked(made(**{member: lambda *_: value})())
    with pytest.raises(BackendError, match=rf"{member}\(\) gave .*, takes "):
        getattr(backend, member)(*ARGUMENTS.get(member, ()))


@pytest.mark.parametrize(
    ("member", "value", "why"),
    [
        ("telemetry", Telemetry(temperature="hot"), "temperature"),
        ("telemetry", {"clock": "fast"}, "clock"),
        ("health", Health(errors={"ecc": "many"}), "errors"),
        ("links", [Link(a=0, b="one", kind="X")], "b"),
        ("links", [(0, 1)], "object"),
        ("devices", [Device(index=0, backend="acme", name=None)], "name"),
        ("devices", [Device(index=0, backend="acme", name="x", facts={"a": object()})], "object"),
    ],
)
def test_a_field_of_another_type(member, value, why):
    backend = contract.checked(made(**{member: lambda *_: value})())
    with pytest.raises(BackendError, match=why):
        getattr(backend, member)(*ARGUMENTS.get(member, ()))


def test_what_is_right_passes_unchanged():
    good = Telemetry(clock=1500, temperature=40.5)
    links = [Link(a=0, b=1, kind="NV18", bandwidth=9e11)]
    backend = contract.checked(made(telemetry=lambda *_: good, links=lambda *_: links)())
    assert backend.telemetry(0) is good
    assert backend.links() is links
    assert contract.checked(Cpu()).devices()


def test_an_error_of_the_contract_s_own_is_told_as_it_is():
    def absent(self):
        raise BackendError("no device file", hint="load the driver")

    backend = contract.checked(made(devices=absent)())
    with pytest.raises(BackendError, match=r"^backend acme: no device file|^no device file"):
        backend.devices()
