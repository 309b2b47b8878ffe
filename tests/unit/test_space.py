"""What is declared of keys is what operations ask for; candidates obey arithmetic."""

import pytest

from bench.errors import UsageError
from bench.kernels import space, tables, tuning
from bench.kernels.candidates import THREADS, candidates
from bench.kernels.costs import SPECS

GEMM = {
    "size": 1 << 26,
    "rows": 8192,
    "turned": 0,
    "turned_a": 0,
    "aligned": 1,
    "m": 8192,
    "n": 8192,
    "k": 8192,
}
HEADS = {"head_dim": 128, "causal": 1, "seq": 8192}


@pytest.fixture(scope="module")
def asked():
    """(operation, what it asked the tables for) of every operation, variant and kind of dtype."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("triton", reason="Triton is not installed")
    from bench.campaigns.entries import chosen_cases, questions

    cases = chosen_cases([], [], ["small"], weak=True)
    return [(case.op, question) for case in cases for question in questions("sm_90", case)]


def test_every_key_is_declared_as_operations_ask_for_it(asked):
    for op, question in asked:
        declared = space.SPACES[question.op]
        assert op in declared.ops
        assert set(question.facts) == set(declared.facts), question.op
    assert {question.op for _, question in asked} == set(space.SPACES)
    assert {op for op, _ in asked} == set(SPECS)


def test_entries_gather_the_cases_that_ask_for_them():
    pytest.importorskip("triton", reason="Triton is not installed")
    from bench.campaigns.entries import chosen_cases, entries

    cases = chosen_cases(["gemm"], ["bf16"], ["4096x4096x4096", "64x64x64"], weak=False)
    large, small = entries("sm_90", cases)
    assert (large.owner, small.owner) == ("sm_90", "generic")
    entry = tuning.table("sm_90")["gemm"][large.number]
    assert (entry["min_size"], entry["min_aligned"]) == (1 << 22, 1)
    # A bias tells the table nothing: layouts do.
    assert [use.axes["variant"] for use in large.uses] == ["nn", "nt", "tn"]
    assert space.parse(large.candidates[0], ["gemm"])[1] == entry["config"]
    only = ["gemm block_m=64 block_n=64 block_k=64 group_m=8"]
    assert entries("sm_90", cases, only)[0].candidates[1:] == only
    with pytest.raises(UsageError, match="gemm has no constant 'blok'"):
        entries("sm_90", cases, ["gemm blok=1"])


def test_a_tuned_entry_changes_one_answer_and_no_other():
    pytest.importorskip("triton", reason="Triton is not installed")
    from bench.campaigns.entries import Present, chosen_cases, entries

    cases = chosen_cases(["softmax", "gemm"], ["bf16"], [], weak=False)
    found = {one.key: one for one in entries("sm_100", cases)}
    softmax, gemm = found["softmax"], found["gemm"]
    assert (softmax.owner, gemm.owner) == ("generic", "sm_100")
    pairs = [(softmax, "softmax rows=2 num_warps=2"), (gemm, gemm.candidates[5])]
    made = Present.read("sm_100").changed(pairs)
    assert tables.check(made) == ""
    before, generic = tuning.table("sm_100"), tuning.table("generic")
    assert made["compiler"] == before["compiler"]
    assert [one.get("max_width") for one in made["softmax"]] == [1024, 16384, None]
    assert made["softmax"][1]["config"] == {"rows": 2, "num_warps": 2}
    assert made["softmax"][0] == generic["softmax"][0]
    new, old = made["gemm"].pop(gemm.number), before["gemm"][gemm.number]
    assert new == {**old, "config": new["config"]}
    assert new != old
    assert made["gemm"] == [one for one in before["gemm"] if one is not old]
    assert "softmax" not in before  # the table that kernels use is untouched


def test_a_table_remembers_what_was_tuned_before():
    pytest.importorskip("triton", reason="Triton is not installed")
    from bench.campaigns.entries import chosen_cases, entries
    from bench.campaigns.made import Made, header

    gemm, softmax = (
        entries("sm_90", chosen_cases([op], ["bf16"], [], weak=False))[0]
        for op in ("gemm", "softmax")
    )
    first = Made("Chip A", "3.6", "2026-01-02", ["hengsuan", "tune", "--config", "a b"])
    again = Made("Chip B", "3.7", "2026-02-03", ["hengsuan", "tune"])
    one = header("sm_90", [first.line(gemm), first.line(softmax)], ["Untuned.", ""])
    two = header("sm_90", [again.line(gemm)], one)
    assert [line for line in two if "Chip A" in line] == [first.line(softmax)]
    assert [line for line in two if "Chip B" in line] == [again.line(gemm)]
    assert "by `hengsuan tune --config 'a b'`" in first.line(gemm)
    assert two[-1] == "Untuned."
    assert len(two) == len(set(two)) == 5


@pytest.mark.parametrize("arch", [*tuning.architectures(), "unheard_of"])
@pytest.mark.parametrize(("key", "facts"), [("gemm", GEMM), ("attention", HEADS)])
def test_candidates_fit_the_arithmetic(arch, key, facts):
    found = candidates(arch, key, "bf16", facts)
    assert found == candidates(arch, key, "bf16", dict(facts))
    asked = {name: facts[name] for name in space.SPACES[key].facts}
    assert found[0] == tuning.config(arch, key, "bf16", **asked)
    assert len({space.spell(key, one) for one in found}) == len(found) > 10
    target, declared = tuning.targets().get(arch), space.SPACES[key]
    for one in found:
        assert space.problem(key, one) == ""
        threads = one["num_warps"] * (target.target[2] if target else 32)
        assert threads <= THREADS
        assert declared.held(one, facts) <= 255 * threads
        if target:
            assert declared.shared(one, facts, 2) <= target.shared
    described = any(one.get("tma") for one in found)
    assert described == (arch in ("sm_90", "sm_100"))


def test_unaligned_rows_have_no_descriptors():
    odd = {**GEMM, "aligned": 0}
    assert not any(one.get("tma") for one in candidates("sm_90", "gemm", "bf16", odd))


def test_key_blocks_hold_whole_query_blocks():
    found = candidates("sm_90", "attention_key_value", "bf16", HEADS)
    assert all(one["block_n"] % one["block_m"] == 0 for one in found)


def test_tiles_are_no_larger_than_the_matrix():
    small = {**GEMM, "size": 32 * 32, "rows": 32, "m": 32, "n": 32, "k": 32}
    for one in candidates("generic", "gemm", "fp16", small)[1:]:
        assert max(one["block_m"], one["block_n"], one["block_k"]) <= 32


@pytest.mark.parametrize("key", ["softmax", "softmax_backward", "cross_entropy"])
def test_rows_are_held_or_walked(key):
    found = candidates("generic", key, "fp32", {"width": 2048})
    walked = [one for one in found[1:] if one.get("block", 4096) < 2048]
    held = [one for one in found[1:] if one.get("rows") or one.get("block") == 2048]
    assert walked
    assert held
    assert len(walked) + len(held) == len(found) - 1


def test_only_what_walks_blocks_fetches_them_ahead():
    found = candidates("sm_90", "stream", "fp32", {"size": 1 << 28})
    ahead = [one for one in found if one.get("num_stages", 1) > 1]
    assert ahead
    assert all(one["waves"] for one in ahead)
    assert any(one.get("waves") for one in found if one not in ahead)
