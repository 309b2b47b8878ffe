"""What README and CONTRIBUTING tell people to type works."""

import re
import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import RULE, context

from bench.cli import cli
from bench.cluster.plan import plan
from bench.configs import load_chips, suite_from_text
from bench.inventory import Inventory
from bench.records import DeviceGroup
from bench.workloads.runner import run

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands():
    """Every command line of the README that begins with ``hengsuan``."""
    inline = re.findall(r"`(hengsuan [^`]+)`", README)
    shell = [line.split("#")[0] for block in blocks(README, "sh") for line in block.splitlines()]
    return sorted({one.strip() for one in (*inline, *shell) if one.startswith("hengsuan ")})


def test_the_readme_has_commands():
    assert len(commands()) >= 8


@pytest.mark.parametrize("line", commands())
def test_commands_are_ones_that_there_are(line):
    words = shlex.split(line)[1:]
    group, context_ = cli, cli.make_context("hengsuan", list(words), resilient_parsing=True)
    while hasattr(group, "get_command"):
        name = next((word for word in words if not word.startswith("-")), None)
        assert name is not None, line
        command = group.get_command(context_, name)
        assert command is not None, f"{line}: no command {name}"
        words = words[words.index(name) + 1 :]
        group = command
    group.make_context("x", list(words), resilient_parsing=True)
    known = {option for parameter in group.params for option in parameter.opts}
    for word in words:
        if word.startswith("-"):
            assert word.split("=")[0] in known, f"{line}: no option {word}"


def test_generated_blocks_are_filled():
    found = re.findall(
        r"<!-- output: (.+?) -->\n```text\n(.*?)```\n<!-- end -->", README, re.DOTALL
    )
    assert len(found) == 4
    for command, text in found:
        if "certify" in command:
            assert "rejected" in text
            assert "scontrol update" in text
        elif "gate" in command:
            assert "gate counts passed" in text
            assert "compared exactly" in text
        else:
            assert "overall score" in text
            assert "results in" in text


def test_the_example_suite_can_be_planned():
    (text,) = (one for one in blocks(README, "yaml") if "stages:" in one)
    suite = suite_from_text(text, "README.md")
    inventory = Inventory(fleet=DeviceGroup(count=3, devices=2, chip="sim-a"))
    made = plan(suite, inventory, load_chips())
    assert {case.benchmark for case in made.cases} == {"gemm", "stream", "collectives", "pairs"}


def test_the_example_backend_keeps_the_contract():
    from bench.backends.base import API_VERSION, Backend

    space = {}
    exec(blocks(README, "python")[0], space)
    made = space["Acme"]()
    assert isinstance(made, Backend)
    assert made.api_version == API_VERSION
    assert "torch_acme" in made.present()
    assert made.environment([0, 1], 1) == {"ACME_VISIBLE_DEVICES": "0,1"}


def test_the_example_benchmark_measures():
    space = {"__name__": "example"}
    (text,) = blocks(CONTRIBUTING, "python")
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
    from bench.configs import Chip, Figure, load_facility, load_profile

    (text,) = (one for one in blocks(README, "yaml") if "device_hours" in one)
    path = tmp_path / "SYSTEM.yaml"
    path.write_text(text, encoding="utf-8")
    figure = Figure(value=1e14, source="s", date="2026-11-01", status="vendor")
    chips = {"acme-9": Chip(name="acme-9", vendor="Acme", flops={"bf16": figure})}
    lines = [one for each in load_profile("gbt-46346").categories.values() for one in each]
    found = load_facility(path, chips, set(required_by(lines)))
    assert found.chips[0].origin == "self-reliant"
