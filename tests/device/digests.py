"""With which kernels a task was done: a digest of an operation's code, and the tables' answers.

Both are kept in the record. What is still the same need not be measured again; a change of one
operation, or of one entry of a table, costs the records that it concerns and no others. A word in
a docstring costs none, nor a check of arguments that lets through what was measured.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path

from records import Record

from bench.kernels import arch, space, tuning
from bench.kernels.costs import cost

KERNELS = Path(__file__).parents[2] / "kernels"
ASIDE = ("arguments", "costs", "messages", "space", "tables", "tuning")
"""Modules that are no part of an operation's code, though it imports them: they refuse arguments,
count work or say what tables may hold. What the tables answered stands in the record itself.
Neither is what a package says of itself (``__init__``)."""


@functools.cache
def code(op: str, target: str, root: Path = KERNELS) -> str:
    """Sixteen hex digits of SHA-256 over what the sources of an operation do.

    They are its module and all modules of kernels that this imports, there or inside of functions,
    and those that these import; with the variants that ``target`` has for it. Of each, its lines
    without those that tell people or refuse arguments (`doing`).

    Args:
        op: The operation.
        target: Triton's architecture.
        root: Folder of the kernels.
    """
    whole = hashlib.sha256()
    for name in sources(op, target, root):
        text = (root / f"{name}.py").read_text(encoding="utf-8")
        whole.update(f"{name}.py\n{doing(text)}".encode())
    return whole.hexdigest()[:16]


@functools.cache
def doing(text: str) -> str:
    """The lines of a module without comments, docstrings and what only refuses.

    That are calls of the functions of ``arguments`` of which nothing is taken, and an ``if`` or a
    ``for`` of nothing but these and ``raise``: where nothing was refused, they launched nothing
    and changed nothing. Lines, since other versions of Python write a tree differently.
    """
    tree, dropped = _parsed(text), set[int]()
    checks = {
        one.asname or one.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "arguments"
        for one in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and _aside(node, checks):
            dropped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    kept = (
        line
        for number, line in enumerate(text.split("\n"), start=1)
        if number not in dropped and line.strip() and not line.lstrip().startswith("#")
    )
    return "".join(f"{line}\n" for line in kept)


@functools.cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _aside(node: ast.stmt, checks: Container[str]) -> bool:
    match node:
        case ast.ImportFrom(module="arguments"):
            return True
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id=name))):
            return name in checks
        case ast.If(body=body, orelse=[]) | ast.For(body=body, orelse=[]):
            return all(isinstance(one, ast.Raise) or _aside(one, checks) for one in body)
    return False


def sources(op: str, target: str, root: Path = KERNELS) -> list[str]:
    """The modules that `code` is of, as paths below ``root`` without their suffix."""
    waiting, found = [op, *_variants(op, target)], set[str]()
    while waiting:
        name = waiting.pop()
        if name in found or name in ASIDE or not (root / f"{name}.py").is_file():
            continue
        found.add(name)
        waiting += _imported(name, root)
    return sorted(found)


def _variants(op: str, target: str) -> Iterator[str]:
    """The modules of the architecture's own kernels for an operation: found by name, not import."""
    for key, one in arch.VARIANTS.get(target, {}).items():
        if op in space.SPACES[key].ops:
            yield f"arch/{target}/{one.module}"


def _imported(name: str, root: Path) -> Iterator[str]:
    """What a module may import of ``root`` by relative imports, some of it no modules."""
    place = Path(name).parent
    for node in ast.walk(_parsed((root / f"{name}.py").read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = place
        for _ in range(node.level - 1):
            base = base.parent
        base = base.joinpath(*(node.module or "").split("."))
        # Of a module, or of a package whose modules are named.
        yield base.as_posix()
        yield from ((base / one.name).as_posix() for one in node.names)


def answers(asked: Iterable[tuning.Asked]) -> dict[str, str]:
    """What the tables say to these questions, ``gemm bf16 rows=1 size=4``: ``block_m=64 ...``."""
    found = {}
    for one in asked:
        facts = " ".join(f"{name}={value}" for name, value in sorted(one.facts.items()))
        chosen = tuning.config(one.arch, one.op, one.dtype, **one.facts)
        found[f"{one.op} {one.dtype} {facts}".rstrip()] = _said(chosen)
    return found


def _said(chosen: Mapping[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in chosen.items())


def _answer(target: str, question: str) -> str:
    """What the tables say now. Raises ValueError or KeyError for what they no longer know."""
    key, dtype, *facts = question.split(" ")
    told = {name: int(value) for name, _, value in (one.partition("=") for one in facts)}
    return _said(tuning.config(target, key, dtype, **told))


def holds(record: Record, target: str) -> bool:
    """Whether the kernels as they are now would do what the record is of.

    False for one that does not say what it was done with.
    """
    if not record.code or record.code != code(record.op, target):
        return False
    known = {**record.aside, **record.configs}
    try:
        counted = cost(record.op, record.shape, record.variant, record.dtype)
        now = {question: _answer(target, question) for question in known}
    except (KeyError, ValueError):  # the task, the key or one of its facts is no more
        return False
    if record.status == "right" and (counted.flops, counted.bytes) != (record.flops, record.bytes):
        return False
    return now == known
