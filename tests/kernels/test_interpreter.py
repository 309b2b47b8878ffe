"""Kernels against fp64 under Triton's interpreter, each in a process of its own.

The interpreter is chosen when Triton is imported; this session may need the compiler.
"""

import pytest

from bench.kernels.costs import SPECS

pytest.importorskip("triton", reason="Triton is not installed")


def passes(done):
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all examples passed" in done.stdout


@pytest.mark.script("interpreted.py")
@pytest.mark.parametrize("op", SPECS)
def test_interpreted_kernels_agree_with_fp64(op, scripts):
    passes(scripts("interpreted.py", op))


@pytest.mark.script("differentiated.py")
def test_gradients_agree_with_fp64_and_finite_differences(scripts):
    passes(scripts("differentiated.py"))


@pytest.mark.script("degenerate.py")
def test_empty_and_single_elements(scripts):
    passes(scripts("degenerate.py"))


@pytest.mark.script("far.py")
def test_offsets_pass_31_bits(scripts):
    passes(scripts("far.py"))


@pytest.mark.script("extremes.py")
def test_values_and_labels_at_the_ends_of_their_range(scripts):
    passes(scripts("extremes.py"))


@pytest.mark.script("hostile.py")
def test_hostile_data(scripts):
    passes(scripts("hostile.py"))


@pytest.mark.script("generated.py")
def test_generated_text_is_that_of_the_librarys_operations(scripts):
    passes(scripts("generated.py"))


@pytest.mark.script("places.py")
def test_results_in_place_of_what_they_are_made_of(scripts):
    passes(scripts("places.py"))
