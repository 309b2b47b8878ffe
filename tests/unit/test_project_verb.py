"""``hengsuan project``: what it prints, exit codes, sentences for what cannot be projected."""

import json
import os
import re
import subprocess
import sys

import pytest

from bench.configs import load_chip, load_cluster
from bench.configs.cluster import problems

pytestmark = pytest.mark.warm

CLUSTER = """
name: planned
chip: {chip}
nodes: 4
devices: 8
network: {{cluster: {{bandwidth: 2.5e+10}}}}
"""


def hengsuan(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "bench", "project", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "160"},
    )


def planned(tmp_path, chip="sim-a", change=("", "")):
    path = tmp_path / "planned.yaml"
    path.write_text(CLUSTER.format(chip=chip).replace(*change))
    return path


def test_it_projects_in_words_and_as_json(tmp_path):
    path = planned(tmp_path)
    done = hengsuan("llama-8b", "--cluster", path, "--search", "--bottleneck", "--tokens", "1e12")
    assert done.returncode == 0, done.stderr
    for said in ("layout: tp ", "mfu_palm", "runner-up: ", "a tenth more", "typical", "absent: "):
        assert said in done.stdout
    assert " days ± " in done.stdout
    assert "for 1e+12 tokens, if nothing ever fails" in done.stdout
    assert "assumed: the batch: " in done.stdout
    assert "assumed: the tokens: " not in done.stdout
    done = hengsuan("llama-8b", "--cluster", path, "--json")
    found = json.loads(done.stdout)["projection"]
    assert found["fits"]
    assert found["plan"]["dp"] * found["plan"]["tp"] * found["plan"]["pp"] <= 32
    assert found["seconds"] == pytest.approx(sum(found["step"].values()))
    assert found["training"]["energy"] is None
    assert 0 < found["training"]["mfu"] < 1


@pytest.mark.parametrize(("tokens", "days"), [("1e308", r"\d\.\d+e\+\d+"), ("1", r"\d\.\d+e-\d+")])
def test_days_are_said_in_a_few_digits_however_many_they_are(tmp_path, tokens, days):
    done = hengsuan("llama-8b", "--cluster", planned(tmp_path), "--tokens", tokens, "--json")
    assert done.returncode == 0, done.stderr
    made = tmp_path / "projection.json"
    made.write_text(done.stdout)
    page = subprocess.run(
        [sys.executable, "-m", "bench", "report", made, "--lang", "zh", "--output", "-"],
        capture_output=True,
        text=True,
    )
    assert page.returncode == 0, page.stderr
    found = hengsuan("llama-8b", "--cluster", planned(tmp_path), "--tokens", tokens)
    assert re.search(rf" token a day, {days} days ± ", found.stdout), found.stdout
    written = page.stdout
    assert re.search(rf">{days} d<", written)
    assert re.search(rf" token 需 {days} 天 ± \d+%，前提：从不发生故障", written)


def test_a_layout_that_does_not_fit_is_a_finding(tmp_path):
    done = hengsuan("llama-405b", "--cluster", planned(tmp_path), "--layout", "tp=8")
    assert done.returncode == 1
    assert "does not fit: " in done.stdout


def test_it_validates_itself(tmp_path):
    done = hengsuan("--validate", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["missed"] == []
    assert "megatron-2021" in found["errors"]
    words = hengsuan("--validate")
    assert "standard deviation" in words.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say which MODEL"),
        (("tiny",), "say on which --cluster"),
        (("nope", "--cluster", "small"), "unknown model 'nope'"),
        (("tiny", "--cluster", "nope"), "unknown cluster 'nope'"),
        (("tiny", "--cluster", "small", "--dtype", "fp9"), "unknown dtype of a training 'fp9'"),
        (("tiny", "--cluster", "small", "--layout", "tp=3"), "does not divide 16 devices"),
        (("tiny", "--cluster", "small", "--layout", "tp=2,micro=3"), "does not divide"),
        (("tiny", "--cluster", "small", "--calibrate", "nope"), "unknown run 'nope'"),
        (("dense-1t", "--cluster", "small"), "fits at no layout"),
        (("tiny", "--cluster", "small", "--ranks", "2"), "--ranks asks runs alone"),
        (("tiny", "--ranks", "2"), "--ranks needs runs"),
        (("tiny", "--cluster", "small", "--tables", "x.yaml"), "--tables goes with --validate"),
        (("tiny", "--cluster", "small", "--tokens", "-1"), "--tokens must be positive"),
        (("--validate", "tiny", "--batch", "8"), "published runs: leave out MODEL, --batch"),
        (("tiny", "--ranks", "2", "--layout", "tp=2"), "measured: leave out --layout"),
        (("tiny", "--ranks", "2", "--dtype", "bf16"), "measured: leave out --dtype"),
        (("--validate", "--tables", "nope.yaml"), "no such file"),
    ],
)
def test_what_cannot_be_projected_is_said_in_a_sentence(words, message, tmp_path):
    done = hengsuan(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("chip", "change", "message"),
    [
        ("p800", ("", ""), "planned.yaml:3: the datasheet of p800 has no peak in bf16"),
        ("mi300x", ("network: {cluster: {bandwidth: 2.5e+10}}", ""), "'cluster' is unknown"),
        ("sim-a", ("cluster: {b", "rack: {b"), "is no level of this cluster: node, cluster"),
        ("sim-a", ("2.5e+10", "-1"), "must be positive"),
        ("sim-a", ("bandwidth: 2.5e+10", "oversubscription: 0.5"), "is 1 or more"),
    ],
)
def test_a_cluster_of_which_a_figure_is_unknown(tmp_path, chip, change, message):
    done = hengsuan("tiny", "--cluster", planned(tmp_path, chip, change))
    assert done.returncode == 2
    assert message in done.stderr
    assert "planned.yaml:" in done.stderr


def test_runs_are_refused_that_measured_something_else(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "bench", "run", "quick", "--cluster", "small", "--json", "-q"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    name = json.loads(run.stdout)["run"]
    done = hengsuan("tiny", "--cluster", "small", "--calibrate", name, cwd=tmp_path)
    assert done.returncode == 2
    assert "was simulated" in done.stderr
    header = tmp_path / "results" / name / "run.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), "schema": 99}))
    done = hengsuan("tiny", "--cluster", "small", "--calibrate", name, cwd=tmp_path)
    assert done.returncode == 2
    assert "schema" in done.stderr


def test_the_built_in_plan_is_sound():
    cluster = load_cluster("plan-16384")
    assert list(problems(cluster)) == []
    assert load_chip(cluster.chip).simulated
