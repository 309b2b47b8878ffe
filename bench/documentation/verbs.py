"""The page of commands: what ``--help`` says of every verb, in one place."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from ..cli import VERBS, cli
from .markdown import code, inline, sections, table

WIDTH = 96
"""Columns of blocks that are as ``--help`` prints them."""


def page() -> str:
    """All verbs, in the order of ``hengsuan --help``."""
    groups = dict.fromkeys(who for who, _ in VERBS.values())
    index = [
        "\n".join(
            [f"**{who}**\n"]
            + [
                f"- [{verb}](#hengsuan-{verb}): {inline(text)}"
                for verb, (w, text) in VERBS.items()
                if w == who
            ]
        )
        for who in groups
    ]
    context = click.Context(cli, info_name="hengsuan")
    return sections(
        "# Commands",
        "`hengsuan VERB --help` says the same of what is installed. Exit codes of all verbs are in "
        "[states.md](states.md#exit-codes).",
        *index,
        _options(cli, context),
        *(part for verb in VERBS for part in _command(cli, verb, context)),
    )


def _command(group: click.Group, name: str, parent: click.Context) -> Iterator[str]:
    command = group.get_command(parent, name)
    if command is None or command.hidden:
        return
    context = click.Context(command, info_name=name, parent=parent)
    yield f"## {context.command_path}"
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {pieces}\n```"
    behind = click.HelpFormatter(width=WIDTH)
    command.format_epilog(context, behind)
    # Where help has a section of exit codes, the docstring's sentence is what it was made of.
    codes = "Exit code:" if "Exit codes:" in behind.getvalue() else "\0"
    yield _text(command.help or "", without=codes)
    yield _options(command, context)
    yield f"```text\n{behind.getvalue().strip()}\n```" if behind.getvalue().strip() else ""
    if isinstance(command, click.Group):
        for one in command.list_commands(context):
            yield from _command(command, one, context)


def _text(text: str, without: str) -> str:
    """Help: click's marked blocks keep their lines, all else is prose."""
    made = []
    for block in inspect.cleandoc(text).split("\n\n"):
        if block.startswith(without):
            continue
        kept = block.startswith("\b")
        body = block.lstrip("\b\n")
        made.append(f"```text\n{body}\n```" if kept else inline(body))
    return "\n\n".join(made).replace("\f", "").strip()


def _options(command: click.Command, context: click.Context) -> str:
    found = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        told = record is not None and (record[1] or isinstance(parameter, click.Option))
        if record is not None and told and "--help" not in parameter.opts:
            found.append((code(record[0]), inline(record[1])))
    return table(("option", "meaning"), found)
