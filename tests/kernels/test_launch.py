"""Where a launch goes and what it is compiled for. What a device does cannot be seen here."""

import contextlib

import pytest
import torch

from bench.kernels import attention, codegen, decode_attention, launch, op, ops, tuning


def test_a_launch_goes_to_the_device_of_its_arguments(monkeypatch):
    entered = []

    @contextlib.contextmanager
    def guard(index):
        entered.append(index)
        yield

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", guard)
    for index in (1, 0):
        with launch.current(torch.device("cuda", index)):
            pass
    assert entered == [1], "only what is not current already is made so"
    with launch.current(torch.device("cpu")):
        pass


def attended(shape, strides=None, kv_shape=None):
    """Arguments of attention's forward pass that take no memory."""
    strides = strides or torch.empty(shape, device="meta").stride()
    q, k, v, out = (
        torch.empty_strided(one or shape, strides, dtype=torch.bfloat16, device="meta")
        for one in (shape, kv_shape, kv_shape, shape)
    )
    return q, k, v, out, torch.empty(shape[:3], device="meta")


def test_a_stride_of_one_compiles():
    pytest.importorskip("triton", reason="Triton is not installed")
    # Triton's compiler makes a constant of an argument that is one; its interpreter does not.
    with launch.recording() as launches:
        attention.forward(*attended((1, 1, 1, 64), (64, 64, 1, 1)), causal=True, arch="sm_90")
    (kernel,) = map(codegen.describe, launches)
    assert codegen.build(kernel, "sm_90").matrix


ROWS_AHEAD = ("rmsnorm_backward", {"rows": 1, "waves": 3}, (32768, 4096), "bf16", "backward")
BLOCKS_AHEAD = ("stream", {"block": 4096, "waves": 2}, (1 << 28,), "fp32", "copy")


@pytest.mark.parametrize(
    ("name", "ahead"),
    [("rmsnorm", ROWS_AHEAD), ("layernorm", ROWS_AHEAD), ("stream", BLOCKS_AHEAD)],
)
def test_what_is_fetched_ahead_waits_in_shared_memory_and_spills_nothing(name, ahead):
    pytest.importorskip("triton", reason="Triton is not installed")
    key, chosen, shape, dtype, variant = ahead
    with tuning.forcing(key, {**chosen, "num_warps": 8, "num_stages": 4}):
        kernel, *_ = codegen.kernels_of(
            ops.get(name), op.Case(name, shape, dtype, variant, "sm_90")
        )
    built = codegen.build(kernel, "sm_90")
    assert built.shared >= 3 * 16384  # a row of x and dy, or a block, in each buffer
    assert not built.spills


def test_what_attention_cannot_address_is_refused():
    with pytest.raises(ValueError, match="q: batch · heads: got 65536, takes 0 to 65535"):
        attention.forward(*attended((2048, 32, 1, 64)), causal=True)
    long = (1 << 30, 64, 1 << 24, 1)
    with pytest.raises(ValueError, match="q: stride of seq: got 16777216"):
        attention.forward(*attended((1, 1, 2, 64), long), causal=True)


@pytest.mark.parametrize(
    ("slots", "lines", "tiles", "wanted"),
    [
        (528, 512, 512, 1),  # nearly as many programs as there are places
        (528, 4096, 2, 1),
        (528, 8, 1, 1),  # nothing to split
        (528, 8, 2, 2),
        (528, 1, 10_000, 108),  # at most 128, and nearly as good
        (100, 10, 100, 9),  # nine tenths of a wave, nearly as full as the fullest
        (100, 60, 100, 3),  # two waves of 90 % and not one of 60 %
    ],
)
def test_over_how_many_programs_keys_are_split(slots, lines, tiles, wanted):
    assert decode_attention.splits(slots, lines, tiles) == wanted


@pytest.mark.parametrize(("batch", "context"), [(1, 131_072), (3, 5000), (7, 130), (64, 4096)])
def test_all_keys_are_somebodys_share(batch, context):
    """Parts together are as long as the longest sequence, none begins behind its end."""
    pytest.importorskip("triton", reason="Triton is not installed")
    case = op.Case("decode_attention", (batch, 1, 32, 8, context, 16, 128), "bf16", "", "sm_90")
    known = ops.get(case.op)
    inputs = known.inputs(case, op.Fill(torch.device("meta"), 0))
    work = known.implementations["triton"](case, inputs, known.outputs(case, inputs))
    with launch.recording() as launches:
        work()
    lines, parts = launches[0].grid
    names = [one.name for one in launches[0].kernel.params]
    share = launches[0].arguments[names.index("share")]
    assert lines == batch * 8
    assert (parts - 1) * share < context <= parts * share
    assert share % launches[0].options["BLOCK_N"] == 0
    assert len(launches) == (2 if parts > 1 else 1)
    assert lines * parts >= min(0.5 * 132 * 4, lines * context / 64 / 2), "the device is filled"
