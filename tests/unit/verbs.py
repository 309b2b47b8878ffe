"""Every verb that there is, and whether a command line is one of ours."""

from __future__ import annotations

import shlex

import click

from bench.cli import cli


def walked(group=cli, above=None):
    """(path, command, context) of every verb that is not hidden, groups left out."""
    context = above or click.Context(cli, info_name="hengsuan")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = click.Context(command, info_name=name, parent=context)
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from walked(command, inner)
        else:
            yield " ".join(inner.command_path.split()[1:]), command, inner


def parse(line):
    """Parse a whole command line as a shell would hand it on; raises click's errors."""
    words = shlex.split(line, comments=True)
    for mark in (">", ">>"):
        words = words[: words.index(mark)] if mark in words else words
    assert words.pop(0) == "hengsuan", line
    command, context = cli, click.Context(cli, info_name="hengsuan")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        context = click.Context(found, info_name=name, parent=context)
        command = found
    with command.make_context(context.info_name, words, parent=context.parent):
        pass
