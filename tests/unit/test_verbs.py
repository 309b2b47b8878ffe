"""Every verb: what it takes, what its help says, and how much it prints."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import click
import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from verbs import parse, walked

from bench.cli import VERBS, cli
from bench.cli.begun import begun
from bench.cli.manual import PAGES
from bench.cli.manual.variables import OURS, read_by
from bench.cli.verbs import Verb, exit_codes, parted
from bench.records import Header
from bench.report.amount import AMOUNT
from bench.report.terminal import WORST, print_outcome

EVERY = {path: (command, context) for path, command, context in walked()}
NAMES = ("results list", "show suites", "show chips", "show profiles", "backend list")


def hengsuan(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)], capture_output=True, text=True, cwd=cwd
    )


def test_there_are_verbs_to_walk():
    assert len(EVERY) > 40
    assert {path.split()[0] for path in EVERY} == set(VERBS)


@pytest.mark.parametrize("path", EVERY)
def test_a_verb_takes_what_all_take(path):
    command, _ = EVERY[path]
    options = [opt for one in command.params for opt in (*one.opts, *one.secondary_opts)]
    assert [opt for opt, number in Counter(options).items() if number > 1] == []
    assert {"--json", "--quiet", "-q", "--verbose", "-v"} <= set(options), path


@pytest.mark.parametrize("path", EVERY)
def test_help_is_a_page_of_a_manual(path):
    command, context = EVERY[path]
    assert isinstance(command, Verb), f"{path}: declare it with @click.command(cls=Verb, ...)"
    assert path in PAGES, f"{path}: write its page in bench/cli/manual"
    page = PAGES[path]
    assert page.examples
    purpose, said = parted(command.help)
    assert len(purpose) > 20
    codes, _ = exit_codes(said)
    assert {0, 2, 130} <= set(codes)
    context.max_content_width, context.terminal_width = 80, 80
    text = command.get_help(context)
    for part in ("Usage: hengsuan", "Options:", "Examples:", "Exit codes:", "Environment:"):
        assert part in text
    assert ("Files:" in text) == bool(page.files)
    assert all(len(line) <= 80 for line in text.splitlines() if "  hengsuan " not in line)
    for name in page.see:
        assert name in EVERY or name in VERBS, f"{path}: see {name}"


@pytest.mark.parametrize(
    "line", [line for page in PAGES.values() for line in page.examples], ids=lambda line: line[:60]
)
def test_an_example_parses(line):
    parse(line)


def test_an_example_that_is_none_does_not_parse():
    for line in ("hengsuan run --no-such", "hengsuan certificate sign RUN", "hengsuan rum"):
        with pytest.raises(click.UsageError):
            parse(line)


def test_there_is_no_page_of_a_verb_that_there_is_not():
    assert set(PAGES) <= set(EVERY)


def test_all_verbs_fit_one_screen_and_are_grouped_by_who_asks():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    lines = done.stdout.splitlines()
    assert len(lines) <= 23  # of 24: the next prompt must not push the first away
    assert max(map(len, lines)) <= 80
    heads = [line.split()[0] for line in lines[1:-1] if not line.startswith(" ")]
    assert heads == list(dict.fromkeys(who for who, _ in VERBS.values()))
    for verb, (_, text) in VERBS.items():
        assert any(
            line.split()[-len(text.split()) - 1 :] == [verb, *text.split()] for line in lines
        )


def test_every_variable_of_ours_is_in_the_help_of_who_reads_it():
    told = {name for path in EVERY for name in read_by(path)}
    assert set(OURS) - told == {"HENGSUAN_CONFORMANCE_BACKEND"}  # pytest's
    assert "HENGSUAN_STORE" in read_by("results push")
    assert "HENGSUAN_STORE" not in read_by("results show")
    for path in ("run", "completion"):
        command, context = EVERY[path]
        text = command.get_help(context)
        assert all(name in text for name in read_by(path))


def test_a_group_says_of_each_command_what_it_does():
    shown = " ".join(hengsuan("results", "--help").stdout.split())
    for path, (command, _) in EVERY.items():
        if path.startswith("results "):
            first = " ".join(parted(command.help)[0].split("\n\n")[0].split())
            assert first in shown
            assert next(iter(PAGES[path].examples)) in shown


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["cerify"], "certify"),
        (["result", "list"], "results"),
        (["results", "lst"], "list"),
        (["gate", "pare"], "pair"),
        (["certificate", "singn"], "sign"),
    ],
)
def test_a_wrong_verb_is_answered_with_the_near_one(words, near):
    done = hengsuan(*words)
    assert done.returncode == 2
    assert "No such command" in done.stderr
    assert f"Did you mean {near}" in done.stderr
    assert done.stdout == ""


# ---- how much is said ----


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A folder with a simulated run in it, and what measuring it printed with --quiet."""
    folder = tmp_path_factory.mktemp("measured")
    return folder, hengsuan("run", "quick", "--cluster", "small", "-q", cwd=folder)


def test_quiet_is_the_line_of_the_verdict(measured):
    folder, done = measured
    (run,) = (folder / "results").iterdir()
    assert done.returncode == 0
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"run {run.name}: measured, every check held; score ")
    assert line.endswith("(simulated)")


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["certify", "--from", "{run}"], "of 4 nodes rejected"),
        (["results", "show", "{run}"], "run {run}: suite quick"),
        (["results", "roofline", "{run}"], "run {run}, simulated: 1 chips"),
        (["results", "fabric", "{run}"], "run {run}, simulated: 1 fabrics"),
        (["expect", "{run}"], "run {run}: simulated"),
        (["score", "{run}"], "score "),
        (["watch", "{run}"], "run {run}: measured, every check held"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_quiet_is_one_line_of_what_was_found(measured, words, first):
    folder, _ = measured
    (run,) = (folder / "results").iterdir()
    done = hengsuan(*(word.format(run=run.name) for word in words), "--quiet", cwd=folder)
    assert "Traceback" not in done.stderr
    (line,) = done.stdout.splitlines()
    assert first.format(run=run.name) in line


@pytest.mark.parametrize("path", NAMES)
def test_quiet_of_a_list_is_its_names(measured, path):
    folder, _ = measured
    shown = json.loads(hengsuan(*path.split(), "--json", cwd=folder).stdout)
    key = {"results": "id", "backend": "backend"}.get(path.split()[0], path.split()[1][:-1])
    key = "name" if path == "show chips" else key
    names = hengsuan(*path.split(), "-q", cwd=folder).stdout.splitlines()
    assert names == [one[key] for one in shown]
    assert names


def test_json_is_json_however_much_is_said(measured):
    folder, _ = measured
    (run,) = (folder / "results").iterdir()
    for more in ([], ["-q"], ["-v"]):
        done = hengsuan("results", "show", run.name, "--json", *more, cwd=folder)
        assert json.loads(done.stdout)["header"]["id"] == run.name


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["score", "no-such"], 2, "unknown run 'no-such'"),
        (["run", "no-such"], 2, "unknown suite 'no-such'"),
        (["report", "--no-such"], 2, "No such option '--no-such'"),
        (["results", "pull", "--store", "sqlite:////nowhere/runs.db"], 2, "there is no store yet"),
        (["results", "export", "{run}", "/proc/rows.csv"], 4, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_json_too(measured, words, code, said):
    folder, _ = measured
    (run,) = (folder / "results").iterdir()
    words = [word.format(run=run.name) for word in words]
    done = hengsuan(*words, "--json", cwd=folder)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit"] == code
    assert said in found["error"]
    assert set(found) == {"error", "where", "hint", "exit"}
    assert found["error"][:40] in done.stderr  # people read it as before
    assert hengsuan(*words, cwd=folder).stdout == ""


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["deploy", "slurm", "--nodes", "2"], "text"),
        (["deploy", "systemd"], "text"),
        (["deploy", "cronjob", "--nodes", "2", "--image", "stack:1"], "apiVersion"),
        (["deploy", "kubernetes", "--nodes", "2", "--image", "stack:1"], "apiVersion"),
        (["deploy", "dashboard"], "panels"),
        (["deploy", "alerts"], "groups"),
        (["completion", "fish"], "text"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_scripts_and_manifests_are_json_where_that_is_asked_for(words, key):
    found = json.loads(hengsuan(*words, "--json").stdout)
    assert found[key]
    if key == "text":
        assert hengsuan(*words, "--quiet").stdout == found["text"]


def test_what_a_check_can_try_is_json_too():
    found = json.loads(hengsuan("backend", "check", "cpu", "--list", "--json").stdout)
    assert len(found) > 20
    assert all(one["check"] and one["about"] for one in found)


def test_gate_check_takes_a_run_by_its_id(measured):
    folder, _ = measured
    (run,) = (folder / "results").iterdir()
    done = hengsuan("gate", "check", run.name, "--baseline", "results", "--json", cwd=folder)
    assert done.returncode == 3  # there is nothing to compare it with
    assert run.name in str(json.loads(done.stdout))
    done = hengsuan("gate", "check", "no-such", "--baseline", "results", cwd=folder)
    assert (done.returncode, "unknown run 'no-such'" in done.stderr) == (2, True)


def test_quiet_and_verbose_contradict_each_other():
    done = hengsuan("show", "suites", "-q", "-v")
    assert done.returncode == 2
    assert "--quiet and --verbose do not go together" in done.stderr


def test_verbose_leaves_nothing_out(capsys):
    header = Header(id="r", suite="s", started="", executor="local", provenance="measured")
    lost = [f"node-{number}: its agent was lost" for number in range(WORST + 3)]
    for amount, shown in (("usual", WORST), ("all", WORST + 3)):
        before = AMOUNT.set(amount)
        try:
            print_outcome(Console(width=80), header, "results/r", {"ok": 1}, lost)
        finally:
            AMOUNT.reset(before)
        assert capsys.readouterr().out.count("lost: node-") == shown


def test_how_a_run_was_begun_does_not_decide_how_much_is_said_now():
    header = Header(
        id="r",
        suite="quick",
        started="",
        executor="local",
        provenance="measured",
        command=["hengsuan", "run", "quick", "--quiet"],
    )
    assert begun(header) == {"suite": "quick"}
    assert AMOUNT.get() == "usual"


def test_an_amount_lasts_for_one_command():
    command = cli.get_command(click.Context(cli), "run")
    with command.make_context("run", ["quick", "-q"]):
        assert AMOUNT.get() == "verdict"
    assert AMOUNT.get() == "usual"
