"""What verbs are made of: loaded on use, with help like a manual page, and completed by a shell."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..report.amount import AMOUNT
from .completing import complete

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from .manual import Page

_CODES = {
    0: "done",
    2: "usage or configuration",
    4: "something cannot be read or written, or we crashed",
    130: "interrupted",
}
"""What exit codes mean where a verb says nothing else; a group's commands say their own."""
_EXIT = "Exit code:"


class Verb(click.Command):
    """A command whose help has examples, exit codes, files and what to see (`bench.cli.manual`).

    Its docstring ends with a paragraph ``Exit code: 0 measured; 1 a finding. More of it.``
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        complete(self.params)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click has it; a line that is refused leaves nothing behind of how much it wanted."""
        before = AMOUNT.get()
        try:
            return super().make_context(*args, **kwargs)
        except BaseException:
            AMOUNT.set(before)
            raise

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The purpose; exit codes have a section of their own."""
        purpose, _ = parted(self.help)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(purpose)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What stands behind the options."""
        from .manual.variables import read_by

        page = _page(ctx)
        _examples(formatter, page.examples if page is not None else {})
        codes, rest = exit_codes(parted(self.help)[1])
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in codes.items()])
            if rest:
                formatter.write_text(rest)
        if page is not None and page.files:
            with formatter.section("Files"):
                formatter.write_dl(list(page.files.items()))
        with formatter.section("Environment"):
            formatter.write_dl(list(read_by(" ".join(_path(ctx))).items()))
        if page is not None and page.see:
            formatter.write_paragraph()
            formatter.write_text(f"See also: {', '.join(f'hengsuan {one}' for one in page.see)}")


class Commands(click.Group):
    """A group of verbs: a wrong name is answered with those that are near."""

    command_class = Verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises click's error for a name that there is not."""
        name, names = args[0], self.list_commands(ctx)
        if name in names or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"No such command '{name}'.{hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command with the whole of its first sentence."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, " ".join(parted(one.help)[0].split("\n\n")[0].split()))
            for name, one in found
            if one is not None and not one.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The first example of each command."""
        from .manual import PAGES

        prefix = " ".join(_path(ctx))
        pages = [page for path, page in PAGES.items() if path.startswith(f"{prefix} ")]
        firsts = [next(iter(page.examples.items())) for page in pages if page.examples]
        _examples(formatter, dict(firsts))


class Verbs(Commands):
    """A group whose commands live in modules of this package that are imported on use.

    Args:
        verbs: Name → (who asks, what it does).
        inside: The group's own name in those of its modules: ``backend_`` of `backend_list_verb`.
    """

    def __init__(
        self, *args: Any, verbs: Mapping[str, tuple[str, str]], inside: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.verbs, self.inside = verbs, inside

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of the table."""
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module."""
        if cmd_name not in self.verbs:
            return None
        from importlib import import_module

        module = import_module(f"{__package__}.{self.inside}{cmd_name}_verb")
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs that begin so, without importing any."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=text)
            for name, (_, text) in self.verbs.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs by who asks, without importing any."""
        width = max(map(len, self.verbs))
        for who in dict.fromkeys(who for who, _ in self.verbs.values()):
            with formatter.section(who):
                rows = [(v.ljust(width), text) for v, (w, text) in self.verbs.items() if w == who]
                formatter.write_dl(rows)


class Root(Verbs):
    """All verbs on one screen: what can be asked first, options in a line."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """At most 23 lines of 80 columns: a terminal of 24 has a line for the prompt."""
        formatter.write(f"{inspect.cleandoc(self.help or '')} Try: {ctx.command_path} run quick\n")
        self.format_commands(ctx, formatter)
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        names = ", ".join("/".join(one.opts) for one in options)
        formatter.write(f"Usage: {ctx.command_path} VERB ...; VERB --help; {names}\n")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A line a verb; before the first of them stands who asks."""
        before = ""
        group = max(len(who) for who, _ in self.verbs.values())
        width = max(map(len, self.verbs))
        for name, (who, text) in self.verbs.items():
            head = "" if who == before else who
            formatter.write(f"{head:<{group}}  {name:<{width}}  {text}\n")
            before = who

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: verbs have examples."""


def parted(text: str | None) -> tuple[str, str]:
    """A docstring as its purpose and what it says of exit codes."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    purpose = "\n\n".join(one for one in paragraphs if not one.startswith(_EXIT))
    codes = next((one for one in paragraphs if one.startswith(_EXIT)), "")
    return purpose, " ".join(codes.removeprefix(_EXIT).split())


def exit_codes(said: str) -> tuple[dict[int, str], str]:
    """Every code that a verb ends with, those that all have among them; what else is said of them.

    Raises ValueError for what is not ``0 one; 1 another. More of it.``
    """
    listed, _, rest = said.partition(". ")
    found = {}
    for one in filter(None, listed.rstrip(".").split("; ")):
        code, _, meaning = one.partition(" ")
        found[int(code)] = meaning
    return dict(sorted({**_CODES, **found}.items())), rest


def _examples(formatter: click.HelpFormatter, examples: Mapping[str, str]) -> None:
    """Commands to copy: never folded, what they are for beneath them."""
    if not examples:
        return
    with formatter.section("Examples"):
        for command, why in examples.items():
            formatter.write(f"{'':>{formatter.current_indent}}{command}\n")
            with formatter.indentation(), formatter.indentation():
                formatter.write_text(why)


def _path(ctx: click.Context) -> list[str]:
    """The words of a command, without ``hengsuan`` itself."""
    return ctx.command_path.split()[1:]


def _page(ctx: click.Context) -> Page | None:
    from .manual import PAGES

    return PAGES.get(" ".join(_path(ctx)))
