"""Every way to spread a model over four ranks gives the losses of one process."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import schedules

sys.path.insert(0, str(Path(__file__).parent))
from compositions import (
    DENSE,
    MIXTURE,
    cases,
    descend,
    losses,
    measure,
    scatter_name,
    spread_losses,
)

from bench.kernels.layout import Layout
from bench.workloads.ops import TORCH, _tried_grouped
from bench.workloads.parallel import support


@pytest.fixture(scope="module")
def spread(once):
    return spread_losses(once("compositions", measure))


@pytest.fixture(scope="module")
def alone():
    """In one process, by model and optimizer."""
    pairs = [(shape, step) for shape in (DENSE, MIXTURE) for step in (descend, TORCH.adamw)]
    return {pair: losses(pair[0], Layout(), adamw=pair[1]) for pair in pairs}


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case[0])
def test_losses_are_those_of_one_process(case, spread, alone):
    name, shape, _, _, adamw = case
    wanted = alone[shape, adamw]
    assert wanted[-1] < wanted[0] - 0.1  # there is something that could differ
    assert spread[name] == pytest.approx(wanted, abs=5e-4)


@pytest.mark.parametrize("again", ["selective", "full"])
@pytest.mark.parametrize("shape", [DENSE, MIXTURE], ids=["dense", "mixture"])
def test_recompute_changes_nothing(again, shape, alone):
    # As in a new process, where a block finds out what the library has.
    _tried_grouped.cache_clear()
    assert losses(shape, Layout(), again=again) == pytest.approx(alone[shape, descend], abs=1e-6)


@pytest.fixture
def group():
    """Of this process alone."""
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.parametrize("fails", [True, False])
def test_a_pytorch_that_cannot_let_it_sum_is_told(group, fails, monkeypatch):
    """Where a library takes no mean, or something else for it."""

    def other(tensor, *given, **settings):
        if fails:
            raise RuntimeError("Cannot use ReduceOp.AVG with this")
        tensor.fill_(7)

    host = torch.device("cpu")
    mesh = dist.device_mesh.init_device_mesh("cpu", (1, 1), mesh_dim_names=("copies", "shards"))
    made = SimpleNamespace(weights=mesh, expert_weights=None)
    assert not support.must_sum(made, host)
    assert not support.must_sum(SimpleNamespace(weights=None, expert_weights=None), host)
    for call in ("all_reduce", scatter_name()):
        with monkeypatch.context() as patch:
            patch.setattr(dist, call, other)
            assert support.must_sum(made, host)
            patch.delattr(FSDPModule, "set_force_sum_reduction_for_comms")
            with pytest.raises(NotImplementedError, match=r"it can be let sum from PyTorch 2\.8"):
                support.must_sum(made, host)


def test_a_peer_that_is_lost_while_a_mean_is_tried_is_a_fault(group, monkeypatch):
    def lost(*_, **settings):
        raise RuntimeError("Connection closed by peer [192.0.2.1]:4321")

    mesh = dist.device_mesh.init_device_mesh("cpu", (1,), mesh_dim_names=("shards",))
    monkeypatch.setattr(dist, scatter_name(), lost)
    with pytest.raises(RuntimeError, match="closed by peer"):
        support.must_sum(SimpleNamespace(weights=mesh, expert_weights=None), torch.device("cpu"))


def test_a_pytorch_that_loses_messages_of_a_pipeline_is_told(group, monkeypatch):
    host = torch.device("cpu")
    support.check_pipeline(group, host)
    monkeypatch.delattr(schedules, "_wait_batch_p2p")
    with pytest.raises(NotImplementedError, match=r"waits for the last of them alone"):
        support.check_pipeline(group, host)
