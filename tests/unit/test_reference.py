"""The reference says what the code says: nothing is missing in it, and it is not an old one."""

import re
from pathlib import Path

import click
import pytest

from bench.analysis.derived import DERIVED
from bench.cli import VERBS, cli
from bench.configs.search import BUILT_IN
from bench.documentation import formats, markdown, reference, structs, variables
from bench.documentation.attributes import attribute_docs
from bench.documentation.benchmarks import built_in
from bench.documentation.configurations import STRUCTS
from bench.workloads.base import axis_fields

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages():
    return reference.pages()


def test_the_reference_is_what_the_code_says(pages):
    folder = ROOT / "docs" / "reference"
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    stale = [name for name in pages | there if pages.get(name) != there.get(name)]
    assert not stale, "`make docs` writes them anew"


def test_writing_removes_what_is_no_page(tmp_path):
    (tmp_path / "old.md").write_text("old")
    reference.write(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {*reference.PAGES, "README.md"}


def test_every_axis_is_told_of():
    lacking = [
        f"{name}.{axis}"
        for name, cls in built_in().items()
        for axis in axis_fields(cls)
        if not attribute_docs(cls).get(axis)
    ]
    assert not lacking


def test_every_metric_is_told_of():
    measures = [(name, one) for name, cls in built_in().items() for one in cls.measures]
    assert len(measures) > 100
    assert not [f"{name} {one.name}" for name, one in measures if not one.about]
    # What is a ratio is one of something.
    ratios = [(name, one) for name, one in measures if one.unit == "ratio"]
    assert not [f"{name} {one.name}" for name, one in ratios if not one.formula]
    assert all(one.about for one in DERIVED.values())


def test_every_field_of_a_file_is_told_of():
    roots = [*STRUCTS, *(one for _, structs in formats.FILES.values() for one in structs)]
    held = structs.held(roots)
    assert len(held) > 25
    lacking = {one.__name__: structs.undescribed(one) for one in held}
    assert not {name: fields for name, fields in lacking.items() if fields}


def test_schemas_and_the_page_of_files_know_the_same():
    from click.testing import CliRunner

    said = CliRunner().invoke(cli, ["show", "schema"], standalone_mode=False)
    shown = set(re.findall(r'^ ? ?"([a-z]+\.jsonl?)": \{', said.output, re.MULTILINE))
    assert shown, said.output[:200]
    assert shown <= {*formats.FILES, "certificate.json"}


def every_command(group, context, path=()):
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if not command.hidden:
            yield (*path, name), command
            if isinstance(command, click.Group):
                yield from every_command(command, context, (*path, name))


def test_every_command_and_option_is_there(pages):
    context = click.Context(cli, info_name="hengsuan")
    found = dict(every_command(cli, context))
    assert {path[0] for path in found} == set(VERBS)
    for path, command in found.items():
        head = f"\n## hengsuan {' '.join(path)}\n"
        assert head in pages["commands.md"], path
        section = pages["commands.md"].split(head)[1].split("\n## ")[0]
        for option in (one for one in command.params if isinstance(one, click.Option)):
            if not option.hidden:
                assert option.opts[0] in section, f"{path}: {option.opts[0]}"


def test_every_built_in_file_is_listed(pages):
    for kind in ("suites", "profiles", "gates", "clusters", "models", "editions", "chips"):
        for path in (BUILT_IN / kind).glob("*.yaml"):
            assert f"`{path.stem}`" in pages["configurations.md"], path


def test_every_variable_of_ours_is_told_of():
    known = variables.OURS.keys() | variables.INTERNAL.keys()
    found = {
        name
        for path in (ROOT / "bench").rglob("*.py")
        if "documentation" not in path.parts and "data" not in path.parts
        for name in re.findall(r"\bHENGSUAN_[A-Z_]+\b", path.read_text(encoding="utf-8"))
    }
    assert found == known


def test_docstrings_become_markdown():
    text = "First ``a|b``,\n`c`.\n\nA file::\n\n    x: 1\n\n    y: 2\n\nBehind: 2 * 3."
    made = markdown.prose(text)
    assert made == (
        "First `a|b`,\n`c`.\n\nA file:\n\n```yaml\nx: 1\n\ny: 2\n```\n\nBehind: 2 \\* 3."
    )
    assert markdown.table(("a",), [("x|y",)]) == "| a |\n|---|\n| x\\|y |"
    assert markdown.table(("a",), []) == ""
