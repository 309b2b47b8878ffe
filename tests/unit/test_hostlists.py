"""Lists of hosts: written out, and written short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.hostlists import SEPARATOR, compress, expand


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["gpu-01", "gpu-02", "gpu-03", "gpu-07"], "gpu-[01-03,07]"),
        (["n9", "n10", "n11"], "n[9-11]"),
        (["n09", "n10", "n9"], "n[9,09-10]"),
        (["a1.west", "a2.west", "a3.east"], "a[1-2].west,a3.east"),
        (["login", "gpu-1"], "login,gpu-1"),
        (["node", "node1", "node2"], "node,node[1-2]"),
        (["rack1-node5", "rack1-node6", "rack2-node5"], "rack1-node[5-6],rack2-node5"),
        (["b", "a", "b"], "b,a"),
        (["n098", "n099", "n100"], "n[098-100]"),
        (["9" * 5000 + "1", "9" * 5000 + "2"], f"{'9' * 4983}[{'9' * 17}1-{'9' * 17}2]"),
        (["n٣", "n٤"], "n٣,n٤"),
        ([], ""),
    ],
)
def test_names_become_ranges(names, text):
    assert compress(names) == text


NAMES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["gpu-", "n", "rack2-n", ""]),
    st.from_regex(r"[0-9]{1,4}", fullmatch=True),
    st.sampled_from(["", "-ib", ".west", ".dc1.example"]),
)


@given(st.lists(NAMES, max_size=40))
def test_a_list_stands_for_exactly_its_names(names):
    items = SEPARATOR.split(compress(names)) if names else []
    found = [name for item in items for name in expand(item)]
    assert sorted(found) == sorted(set(names))


@pytest.mark.parametrize(
    "text", ["a[1-", "a[x]", "a[3-1]", "a]", "a[1-9999999]", "a[]", f"a[1-{'9' * 5000}]"]
)
def test_brackets_without_ranges_are_refused(text):
    with pytest.raises(ValueError, match="range"):
        expand(text)
