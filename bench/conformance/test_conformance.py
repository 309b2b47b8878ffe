"""The same checks as tests: ``pytest --pyargs bench.conformance``.

The environment variable ``HENGSUAN_CONFORMANCE_BACKEND`` names the backend. What it declares not to
have is a skipped test; what could not be tried here fails.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import pytest

from ..conformity import Result
from .suite import Conformance

VARIABLE = "HENGSUAN_CONFORMANCE_BACKEND"


@functools.cache
def _suite() -> Conformance | None:
    name = os.environ.get(VARIABLE)
    return Conformance(name) if name else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for every check of the chosen backend."""
    suite = _suite()
    metafunc.parametrize("check", suite.chosen() if suite else ["no-backend"])


@pytest.fixture(scope="session")
def result(request: pytest.FixtureRequest) -> Callable[[str], Result]:
    """The result of a check; those that were collected are run in order as they are asked for."""
    suite = _suite()
    if suite is None:
        pytest.fail(f"set {VARIABLE} to the name of the backend to be checked", pytrace=False)
    items = [one for one in request.session.items if isinstance(one, pytest.Function)]
    # A backend's own tests may be collected beside these.
    checks = [one for one in items if one.originalname == "test_conforms"]
    mine = [str(one.callspec.params["check"]) for one in checks]
    coming, known = suite.run(mine), dict[str, Result]()

    def of(check: str) -> Result:
        while check not in known:
            found = next(coming)
            known[found.check] = found
        return known[check]

    return of


def test_conforms(check: str, result: Callable[[str], Result]) -> None:
    """The check passes, or the backend declares that it has no such thing."""
    found = result(check)
    text = f"{found.reason}\nhint: {found.hint}" if found.hint else found.reason
    if found.verdict == "unsupported":
        pytest.skip(f"not supported (declared): {text}")
    if found.verdict == "skipped":
        pytest.fail(f"not tried, which is no pass: {text}", pytrace=False)
    if found.verdict == "fail":
        pytest.fail(text, pytrace=False)
