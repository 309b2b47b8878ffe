"""What `TorchBackend` makes of stacks whose module lacks or only pretends to have something."""

from types import SimpleNamespace

import pytest
import torch

from bench.backends.base import TorchBackend
from bench.errors import BackendError


class Made(TorchBackend):
    name = "made"
    device_type = "made"
    visible_devices = "MADE_VISIBLE_DEVICES"


class Event:
    """Tells a time that was given to it."""

    def __init__(self, enable_timing=False):
        self.timing = enable_timing

    def record(self):
        pass

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return 1.5


class Untimed(Event):
    def elapsed_time(self, end):
        raise NotImplementedError("elapsed_time")


@pytest.fixture
def module(monkeypatch):
    """``torch.made``, which counts two devices and has nothing else."""
    made = SimpleNamespace(device_count=lambda: 2)
    monkeypatch.setattr(torch, "made", made, raising=False)
    return made


@pytest.mark.parametrize(
    ("said", "indices"),
    [(None, [0, 1]), ("3,1", [3, 1]), ("GPU-a,GPU-b", [0, 1]), ("0,1,2", [0, 1]), ("", [0, 1])],
)
def test_devices_have_their_places_on_the_node(module, monkeypatch, said, indices):
    if said is not None:
        monkeypatch.setenv("MADE_VISIBLE_DEVICES", said)
    found = Made().devices()
    assert [one.index for one in found] == indices
    assert [one.lane for one in found] == [f"made:{index}" for index in indices]


def test_events_that_tell_no_time_are_not_used(module):
    assert Made().event() is None  # nor has PyTorch generic ones for it
    module.Event = Untimed
    assert Made().event() is None
    module.Event = Event
    assert Made().event().timing


def test_what_neither_the_module_nor_pytorch_has_is_named(module):
    with pytest.raises(BackendError, match=r"nor torch\.accelerator has set_device"):
        Made().open(0)
    assert Made().memory_peak(torch.device("cpu")) is None
    assert Made().side(torch.device("cpu")) is None


def test_memory_is_asked_for_where_properties_do_not_say_it(module):
    assert [one.memory for one in Made().devices()] == [0, 0]
    module.mem_get_info = lambda place: (1, 1000 + place)
    assert [one.memory for one in Made().devices()] == [1000, 1001]
