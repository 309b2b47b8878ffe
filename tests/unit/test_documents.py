"""What documents tell people to type works, what they show was printed, and their links lead on."""

import os
import re
import shlex
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import RULE, context

from bench.cli import cli
from bench.cluster.planning import plan
from bench.configs import load_chips, suite_from_text
from bench.documentation import modules, sessions
from bench.inventory import Inventory
from bench.records import DeviceGroup
from bench.workloads.runner import run

pytestmark = pytest.mark.warm

ROOT = Path(__file__).parents[2]
WRITTEN = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md"))]
"""By hand; but for what commands print."""
LINKED = [*WRITTEN, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "reference").glob("*.md"))]


def text_of(path):
    return path.read_text(encoding="utf-8")


def blocks(path, language):
    return re.findall(rf"```{language}\n(.*?)```", text_of(path), re.DOTALL)


def name_of(path):
    return str(path.relative_to(ROOT))


def commands():
    """Every command line of the documents that begins with ``hengsuan``, and where it stands."""
    found = {}
    for path in (*WRITTEN, ROOT / "CONTRIBUTING.md"):
        inline = re.findall(r"`(hengsuan [^`\n]+)`", text_of(path))
        shell = [line.split(" #")[0] for block in blocks(path, "sh") for line in block.splitlines()]
        for one in (*inline, *shell):
            for part in re.split(r"; (?:do )?|\$\(|\|", one):
                if re.match(r"hengsuan \S", part.strip()):
                    found[re.split(r" > |[;)]", part.strip())[0].strip()] = path
    return sorted(found)


def test_the_documents_have_commands():
    assert len(commands()) >= 50


@pytest.mark.parametrize("line", commands())
def test_commands_are_ones_that_there_are(line):
    words = shlex.split(line)[1:]
    group, context_ = cli, cli.make_context("hengsuan", list(words), resilient_parsing=True)
    while hasattr(group, "get_command"):
        name = next((word for word in words if not word.startswith("-")), None)
        assert name is not None, line
        if name.isupper():  # VERB: any of them
            return
        command = group.get_command(context_, name)
        assert command is not None, f"{line}: no command {name}"
        words = words[words.index(name) + 1 :]
        group = command
        if hasattr(group, "get_command") and not words:
            return  # a group by itself, as in a sentence about it
    group.make_context("x", list(words), resilient_parsing=True)
    known = {option for parameter in group.params for option in parameter.opts}
    known |= {"-h", "--help"}
    for word in words:
        if word.startswith("-") and word != "-":  # which is standard input
            assert word.split("=")[0] in known, f"{line}: no option {word}"


SESSIONS = [path for path in WRITTEN if list(sessions.steps(text_of(path)))]


@pytest.mark.timeout(600)  # dozens of processes, on cores that others use as well
@pytest.mark.parametrize("path", SESSIONS, ids=name_of)
def test_what_is_shown_happens(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    problems, done = [], []

    def told(step, code, output):
        done.append(step)
        if problem := step.problem(code, sessions.plain(output)):
            problems.append(problem)

    sessions.play(text_of(path), tmp_path, slow=False, done=told)
    assert not problems, "\n".join(problems)
    assert done or all(step is None or step.slow for _, step in sessions.steps(text_of(path)))


@pytest.mark.parametrize("path", SESSIONS, ids=name_of)
def test_what_is_shown_was_printed(path):
    """Outputs are filled, with the words that the commands before them must say."""
    step, shown = None, 0
    for found, one in sessions.steps(text_of(path)):
        step = one or step
        if found["what"] == "output" and ".svg" not in found["words"]:
            shown += 1
            assert found["body"].startswith("```text\n"), step
            for words in step.says:
                assert words in found["body"], f"{name_of(path)}:{step.line} lacks {words!r}"
    pictures = re.findall(r"<!-- output (\S+\.svg)", text_of(path))
    assert shown + len(pictures) == len(re.findall(r"^<!-- output", text_of(path), re.MULTILINE))
    for picture in pictures:
        assert "hengsuan-matrix" in text_of(ROOT / picture)


def test_a_session_sees_what_is_not_so(tmp_path):
    text = '<!-- file: a/b.txt -->\n```text\nhere\n```\n<!-- run exit=3 says="here" -->\n```sh\n'
    text += "cat a/b.txt; exit 3\n```\n<!-- output -->\nold\n<!-- end -->\nbehind\n"
    found = []
    outputs = sessions.play(text, tmp_path, done=lambda *what: found.append(what))
    ((step, code, output),) = found
    assert (code, output.strip()) == (3, "here")
    assert not step.problem(code, output)
    assert "exit code 0 instead of 3" in step.problem(0, output)
    assert "does not say ['here']" in step.problem(3, "gone")
    assert list(outputs.values()) == [output]
    (tmp_path / "other").mkdir()
    filled = sessions.filled(text, tmp_path / "other", tmp_path)
    assert "<!-- output -->\n```text\nhere\n```\n<!-- end -->\nbehind\n" in filled
    assert "old" not in filled
    with pytest.raises(SystemExit, match="exit code 3 instead of 0"):
        sessions.filled(text.replace(" exit=3", ""), tmp_path / "other", tmp_path)
    with pytest.raises(ValueError, match="no block of code"):
        list(sessions.steps("<!-- run -->\nnothing\n"))


def test_a_picture_needs_nothing_from_elsewhere(tmp_path):
    sessions.draw("\x1b[31mred <words>\x1b[0m and plain", tmp_path / "some.svg")
    made = text_of(tmp_path / "some.svg")
    assert "&lt;words&gt;" in made
    assert "url(" not in made.replace("url(#", "")


def anchors(path):
    """The headings of a file as GitHub links to them."""
    made = re.sub(r"```.*?```", "", text_of(path), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", made, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in plain}


@pytest.mark.parametrize("path", LINKED, ids=name_of)
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text_of(path), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        assert there.exists(), f"{name_of(path)}: no {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{name_of(path)}: no {target}"


def test_both_readmes_say_the_same():
    """The same questions with the same commands, the same sessions, the same places to go on to."""
    english, chinese = (text_of(ROOT / name) for name in ("README.md", "README.zh.md"))

    def asked(text):
        rows = re.findall(r"^\| .*`hengsuan .*\|$", text, re.MULTILINE)
        return sorted(command for row in rows for command in re.findall(r"`(hengsuan [^`]+)`", row))

    def linked(text):
        found = re.findall(r"\]\(([^)#]+)\)", text)
        return {one for one in found if not one.startswith(("README", "http"))}

    assert asked(english) == asked(chinese)
    assert len(asked(english)) > 8
    assert linked(chinese) == linked(english)
    codes = [re.findall(r"^\| (\d+) \|", text, re.MULTILINE) for text in (english, chinese)]
    assert codes[0] == codes[1] == ["0", "1", "2", "3", "4", "130"]
    for command in ("make bench", "make test", "certify --sim sim-rack-16", "run quick --cluster"):
        assert command in english
        assert command in chinese


@pytest.mark.parametrize("path", [*WRITTEN, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_make_has_what_documents_ask_of_it(path):
    makefile = text_of(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z-]+)(?: [a-z-]+)*:", makefile, re.MULTILINE))
    known = set(re.findall(r"\$\((?:or |subst [^)]*\$\(comma\), ,\$\()?([A-Z]+)\b", makefile))
    inline = re.findall(r"`make ([^`]+)`", text_of(path))
    shell = [line for block in blocks(path, "sh") for line in block.splitlines()]
    typed = [line.split(" #")[0][5:] for line in shell if line.startswith("make ")]
    for target, *given in map(str.split, (*inline, *typed)):
        assert target in targets, f"{name_of(path)}: make {target}"
        for word in given:
            assert word.split("=")[0] in known, f"{name_of(path)}: make {target} {word}"


def test_contributing_names_what_there_is():
    """Folders and modules exist, the floors are those that lint holds, no folder is left out."""
    text = text_of(ROOT / "CONTRIBUTING.md")
    named = re.findall(r"`([\w.]+/[\w./*<>-]+)`", text)
    assert len(named) > 60
    roots = (ROOT, ROOT / "bench", ROOT / "kernels")
    for one in named:
        pattern = re.sub(r"<[^>]*>|[A-Z]{2,}\b", "*", one).rstrip("/")
        assert any(next(root.glob(pattern), None) for root in roots), f"no {one}"
    (drawn,) = re.findall(r"<!-- floors -->\n```text\n(.*?)```", text, re.DOTALL)
    project = text_of(ROOT / "pyproject.toml")
    (layers,) = re.findall(r'type = "layers"\nlayers = \[\n(.*?)\]', project, re.DOTALL)
    held = [re.findall(r"bench\.(\w+)", line) for line in layers.splitlines()]
    assert [line.split(" · ") for line in drawn.splitlines()] == held
    house = text[text.index("## The house") : text.index("## Documents")]
    rows = re.findall(r"^\| (`[^|]*) \| [^|]* \| ([^|]*?) ?\|$", house, re.MULTILINE)
    told = set()
    for place, begin in rows:
        found = {one.rstrip("/").removesuffix("/*.py") for one in re.findall(r"`(.*?)`", place)}
        told |= found
        for module in re.findall(r"`([\w/.]+\.py)`", begin):
            assert any((ROOT / one / module).exists() for one in found), f"{place}: no {module}"
    folders = {name for name, folder in modules.folders() if len(list(folder.glob("*.py"))) > 1}
    assert not {one for one in folders if one not in told and not one.startswith("kernels/")}


def test_the_readme_is_short():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 400


def example(language, words):
    """The block of this language, of all documents, that holds these words."""
    found = [one for path in WRITTEN for one in blocks(path, language) if words in one]
    assert len(found) == 1, f"{len(found)} blocks hold {words!r}"
    return found[0]


def test_the_example_suite_can_be_planned():
    suite = suite_from_text(example("yaml", "schedule: sample"), "measuring.md")
    inventory = Inventory(fleet=DeviceGroup(count=3, devices=2, chip="sim-a"))
    made = plan(suite, inventory, load_chips())
    assert {case.benchmark for case in made.cases} == {"gemm", "stream", "collectives", "pairs"}


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_entries_of_a_suite_that_are_shown_can_be_planned(path):
    inventory = Inventory(fleet=DeviceGroup(count=18, devices=8, chip="h200-sxm"))
    for block in blocks(path, "yaml"):
        if block.lstrip().startswith("- "):
            entries = indent(dedent(block), "      ")
            text = f"name: shown\nstages:\n  - name: one\n    benchmarks:\n{entries}"
            assert plan(suite_from_text(text, name_of(path)), inventory, load_chips()).cases


def test_the_example_backend_keeps_the_contract():
    from bench.backends.base import API_VERSION, Backend

    space = {}
    exec(example("python", "class Acme"), space)
    made = space["Acme"]()
    assert isinstance(made, Backend)
    assert made.api_version == API_VERSION
    assert "torch_acme" in made.present()
    assert made.environment([0, 1], 1) == {"ACME_VISIBLE_DEVICES": "0,1"}


def test_the_example_benchmark_measures():
    space = {"__name__": "example"}
    (text,) = blocks(ROOT / "CONTRIBUTING.md", "python")
    sys.modules["example"] = type(sys)("example")
    try:
        exec(text, space)
        outcome = run(space["Norm"](elements=1000), context(0, 1), RULE)
    finally:
        del sys.modules["example"]
        from bench.workloads import base

        base._REGISTRY.pop("norm", None)
    assert outcome.status == "ok", outcome.reason
    assert outcome.values[0].value > 0


def test_the_example_system_is_one(tmp_path):
    from bench.analysis.lines import required_by
    from bench.configs import load_facility, load_profile

    path = tmp_path / "SYSTEM.yaml"
    path.write_text(example("yaml", "device_hours"), encoding="utf-8")
    lines = [one for each in load_profile("gbt-46346").categories.values() for one in each]
    found = load_facility(path, load_chips(), set(required_by(lines)))
    assert found.chips[0].origin == "self-reliant"
