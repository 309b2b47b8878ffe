"""Whose fault a group's trouble is."""

import pytest

from bench.analysis.certify.blame import blamed


@pytest.mark.parametrize(
    ("groups", "wrong", "found"),
    [
        ([(0, 1), (0, 3), (0, 3), (2, 3)], [True, True, True, False], [0]),
        ([(0, 1), (0, 2), (0, 3), (4, 5)], [True, True, True, False], [0]),
        # Its partner may be slow with whomever it meets, and the other measurement disturbed.
        ([(0, 1), (0, 3), (2, 3)], [True, True, False], []),
        ([(0, 1), (0, 1), (0, 3), (2, 3)], [True, True, True, False], []),
        ([(0, 1), (2, 3), (1, 2)], [True, False, False], []),
        ([(0, 1), (0, 2), (1, 2)], [True, True, True], []),
        # Who met one other only, however often: the other may be it.
        ([(0, 1), (0, 1), (1, 0), (2, 3)], [True, True, True, False], []),
        ([(0, 1), (0, 1), (0, 3), (0, 3), (2, 3)], [True, True, True, True, False], [0]),
        # The only one that it met is well with others.
        ([(0, 1), (0, 1), (1, 2)], [True, True, False], [0]),
        ([(0, 1), (1, 2), (1, 3)], [True, False, False], []),
        # Once it went well.
        ([(0, 1), (0, 1), (0, 3), (2, 3)], [True, False, True, False], []),
    ],
    ids=[
        "one",
        "three others",
        "disturbed once",
        "disturbed once, often",
        "a link",
        "all",
        "two, often",
        "one of two",
        "partner well",
        "seen once",
        "at times",
    ],
)
def test_who_is_blamed(groups, wrong, found):
    assert blamed(groups, wrong, 6).nonzero()[0].tolist() == found
