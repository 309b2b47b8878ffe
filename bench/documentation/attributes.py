"""What classes say of their attributes: the string that follows an attribute in the source."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap


def attribute_docs(cls: type) -> dict[str, str]:
    """The docstrings of a class's attributes, its own before those of its bases.

    Python throws these strings away, so they are read from the source.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("bench"):
            found.update(_own(base))
    return found


@functools.cache
def _own(cls: type) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for one, following in zip(tree.body, tree.body[1:], strict=False):
        name = _name(one)
        if name and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            found[name] = inspect.cleandoc(str(following.value.value))
    return found


def _name(statement: ast.stmt) -> str:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return ""
