"""Programs that train, or pretend to: real processes, and every way in which they go wrong."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from gloo_ranks import context, outcomes, several

from bench import configs
from bench.cluster.planning import SETUP_LIMIT
from bench.errors import UsageError
from bench.host import guard, process_tree
from bench.host.contention import _own_cpu_seconds
from bench.timing import Rule
from bench.workloads.base import Facts, make, title_of
from bench.workloads.expansion import expand
from bench.workloads.program import Program, ProgramFailed
from bench.workloads.rendezvous import COMMANDS
from bench.workloads.reports import Reports
from bench.workloads.runner import run

TRAINER = Path(__file__).with_name("trainer.py")
RULE = Rule(budget=0.5, precision=0.5, min_samples=5)


def axes(mode, folder="", **more):
    program = f"{{python}} {TRAINER} {mode} {{rank}} {{ranks}} {folder}"
    return {"program": program, "deadline": "30s", **more}


def alone(mode, folder="", rule=RULE, **more):
    """Outcome of one rank, without a group; nothing of the program is left."""
    before = set(process_tree(os.getpid()))
    outcome = run(make("command", axes(mode, folder, **more)), context(0, 1), rule)
    assert set(process_tree(os.getpid())) <= before
    return outcome


def failure(mode, folder="", **more):
    """What a failing program's rank raises."""
    with pytest.raises(ProgramFailed) as caught:
        alone(mode, folder, **more)
    return str(caught.value)


def values(outcome):
    return {value.metric: value for value in outcome.values}


def gone(pid):
    stop = time.monotonic() + 60
    while time.monotonic() < stop:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_an_endless_program_is_measured_and_ended():
    outcome = alone("endless")
    assert outcome.status == "ok", outcome.reason
    found = values(outcome)
    seconds = np.array(outcome.seconds)
    assert found["step_p50"].value == pytest.approx(np.median(seconds))
    assert found["step_p50"].value >= 0.01  # it sleeps that long
    assert found["tokens_per_second"].value == pytest.approx(np.median(100 / seconds))
    assert found["tokens"].value == 100
    assert found["start"].value > 0
    assert "mfu" not in found
    assert "claimed" not in found
    assert outcome.reason.startswith("toy 1.0; loss fell from 6 to ")
    assert outcome.timer == "lines"


@pytest.mark.alone  # steps that a busy reader finds in one piece are one
def test_a_program_that_ends_gives_all_its_steps_but_the_warm_up():
    outcome = alone("finite", rule=Rule(budget=30.0, precision=0.0), warmup_steps=5)
    assert outcome.status == "ok", outcome.reason
    assert outcome.stopped == "ended"
    assert len(outcome.seconds) == 25


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("nothing", r"ended having reported no steps; it said: usage: train what\?$"),
        ("few", r"ended having reported 4 steps; 3 of warm-up and 3 more are needed"),
        ("crash", r"exited with code 1; it said: .*RuntimeError: device 3 fell off the bus$"),
        ("segfault", r"crashed with SIGSEGV; it printed nothing but reports$"),
        ("list", r"ended having reported no steps; it said: \[\{\"hengsuan\": \"hello\"\}\]$"),
    ],
)
def test_a_program_that_fails_is_told_of_with_its_last_words(mode, said):
    # On a busy machine a budget would be over before the program has failed.
    assert re.search(said, failure(mode, rule=Rule(budget=30.0, precision=1e-9, min_samples=5)))


@pytest.mark.parametrize(
    ("mode", "deadline", "said"),
    [
        ("silent", 2, "no steps were reported within the deadline of 2 s; it printed nothing"),
        # What has no line end yet is what a program said last.
        ("unended", 6, "within the deadline of 6 s; it said: no line end no line end"),
        # Which its steps must come before, on however busy a machine.
        ("hang", 10, "2 steps were reported within the deadline of 10 s; 3 of warm-up and 1 more"),
    ],
)
def test_a_program_that_does_not_get_there_is_ended_at_its_deadline(mode, deadline, said):
    began = time.monotonic()
    assert said in failure(mode, deadline=f"{deadline}s")
    assert time.monotonic() - began < 60  # not of the program's hour


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("other-rank", "a program says that it is rank 1, and was launched as rank 0 of 1"),
        ("other-ranks", "rank 0 says that it is one of 2, and is of 1"),
        ("no-hello", "rank 0 reported before it said hello"),
        ("nan", "rank 0 reported loss nan in step 8"),
        ("rising", "loss went from 6.0000 to "),
        ("backwards", "rank 0 reported step 7 after step 10"),
        ("broken-json", "printed a report that cannot be read (Unterminated string"),
        ("wrong-type", "printed a report that cannot be read (Expected `int`, got `str`"),
        ("uneven", "steps of unequal tokens have no common rate"),
        ("miscounted", "rank 0 says that it reported 25 steps, not 20"),
        ("no-done", "rank 0 ended without saying done"),
    ],
)
def test_what_is_reported_wrongly_is_no_figure(mode, said):
    # Two go on without end; of others a busy machine's budget would be over before they said it.
    budget = 1.0 if mode in ("rising", "uneven") else 30.0
    outcome = alone(mode, rule=Rule(budget=budget, precision=0.0))
    assert outcome.status == "invalid"
    assert outcome.values == []
    assert said in outcome.reason


def test_a_program_that_lies_about_its_time_is_seen():
    outcome = alone("liar")
    assert outcome.status == "ok"
    found = values(outcome)
    assert found["claimed"].value == pytest.approx(0.001)
    assert found["step_p50"].value >= 0.01
    assert "the program claims 1 ms a step, and its lines come every" in outcome.reason


def test_steps_that_come_in_one_piece_are_a_mean_of_each_other():
    outcome = alone("burst", rule=Rule(budget=1.0, precision=0.0))
    assert outcome.status == "ok", outcome.reason
    assert 5 <= len(outcome.seconds) < 20  # of a hundred steps and more
    assert all(one > 0.001 for one in outcome.seconds)  # lines of one piece come at once


def test_tokens_that_the_suite_gives_are_held_against_the_program():
    assert alone("endless", tokens=100).status == "ok"
    wrong = alone("endless", tokens_per_device=7)
    assert wrong.reason.endswith("the program reports 100 tokens a step, the suite says 7")


def test_output_without_end_is_forgotten():
    import resource

    alone("gigabyte", 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = alone("gigabyte", 500)
    assert outcome.status == "ok", outcome.reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10  # KiB


@pytest.mark.parametrize(
    ("mode", "more", "note"),
    [
        ("children", {"rule": Rule(budget=30.0, precision=0.0)}, "it left 1 process behind"),
        ("stubborn", {}, "toy 1.0"),
    ],
)
def test_nothing_that_it_started_outlives_it(tmp_path, mode, more, note):
    outcome = alone(mode, tmp_path, **more)
    assert outcome.status == "ok", outcome.reason
    assert note in outcome.reason
    assert gone(int((tmp_path / "child0").read_text()))


def test_a_report_longer_than_what_is_kept_of_a_line_is_still_one():
    reports = Reports([0], 1, 0, None)
    text = (
        "import json, time\n"
        "hello = dict(hengsuan='hello', framework='x', version='1', rank=0, ranks=1)\n"
        "print(json.dumps({**hello, 'environment': 'x' * 300_000}), flush=True)\n"
        "print('y' * 300_000 + 'the end', end='', flush=True)\n"
    )
    program = Program([sys.executable, "-c", text], os.environ, "", [], reports.take)
    stop = time.monotonic() + 60
    while not program.ended and time.monotonic() < stop:
        time.sleep(0.01)
    program.end()
    assert not reports.problem
    assert reports.spoken
    assert program.last_words().endswith("the end")


def test_nothing_outlives_a_rank_that_is_killed(tmp_path):
    """The rank gets no chance to clean up, and the program's child has a session of its own."""
    script = (
        f"import sys; sys.path.insert(0, {str(TRAINER.parent)!r})\n"
        "from test_command import *\n"
        f"alone('stubborn', {str(tmp_path)!r}, rule=Rule(budget=60.0, precision=0.0))\n"
    )
    rank = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    stop = time.monotonic() + 60
    while not (tmp_path / "child0").exists() or not (tmp_path / "child0").read_text():
        assert rank.poll() is None
        assert time.monotonic() < stop
        time.sleep(0.05)
    tree = process_tree(rank.pid)[1:]
    assert len(tree) == 3  # guard, program, its child
    os.killpg(rank.pid, signal.SIGKILL)
    rank.wait()
    assert all(map(gone, tree))


def test_a_guard_that_is_killed_is_told_of():
    program = Program([sys.executable, "-c", "import time; time.sleep(60)"], os.environ, "", [],
                      lambda lines, now: None)  # fmt: skip
    stop = time.monotonic() + 60
    while len(tree := process_tree(program._guard.pid)) < 2 and time.monotonic() < stop:
        time.sleep(0.01)
    program._guard.kill()
    assert all(map(gone, tree))
    program.end()
    assert program.how() == "was lost: the process that guards it was killed"


def test_the_program_is_no_shell_word_and_what_is_not_there_is_said(tmp_path):
    canary = tmp_path / "canary"
    quoted = f"{{python}} {TRAINER} endless 0 1 '$(touch {canary})' ; touch {canary}"
    assert run(make("command", {"program": quoted}), context(0, 1), RULE).status == "ok"
    assert not canary.exists()
    for program, said in (
        ("no-such-program train", "there is no program 'no-such-program' on this node"),
        (f"{canary} train", "on this node is no program that can be run"),
    ):
        with pytest.raises(ProgramFailed, match=said):
            run(make("command", {"program": program}), context(0, 1), RULE)
    with pytest.raises(ProgramFailed, match="there is no directory 'nowhere' on this node"):
        run(make("command", axes("endless", directory="nowhere")), context(0, 1), RULE)


def test_a_variable_that_is_not_set_here_skips_the_case():
    outcome = run(make("command", {"program": "{NO_SUCH_PYTHON} x.py"}), context(0, 1), RULE)
    assert outcome.status == "skipped"
    assert outcome.reason == "the environment variable NO_SUCH_PYTHON is not set on this node"


PATTERN = (
    r"iteration +(?P<step>\d+)/ *\d+ \| loss: (?P<loss>\S+) \| elapsed \(ms\): "
    r"(?P<milliseconds>\S+) \|"
)


def test_a_program_that_cannot_be_changed_is_read_by_a_pattern():
    """Every tenth step is reported; what it claims is of each of the ten."""
    outcome = alone("pattern", pattern=PATTERN, tokens=50, warmup_steps=20)
    assert outcome.status == "ok", outcome.reason
    found = values(outcome)
    assert 0.001 <= found["step_p50"].value < 0.01
    assert found["claimed"].value == pytest.approx(0.001)
    rates = 50 / np.array(outcome.seconds)
    assert found["tokens_per_second"].value == pytest.approx(np.median(rates))
    assert "toy" not in outcome.reason


def test_a_pattern_reads_standard_error_and_progress_bars():
    outcome = alone("pattern-stderr", pattern=r"(?P<step>\d+)it, loss=(?P<loss>\w+)")
    assert outcome.reason.endswith("rank 0 reported loss nan in step 1")
    outcome = alone("pattern-stderr", pattern=r"(?P<step>\d+)it")
    assert outcome.status == "ok"
    assert "no loss was reported" in outcome.reason
    assert "tokens_per_second" not in values(outcome)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"program": " "}, "program is empty"),
        ({"program": "python 'x"}, "program cannot be split into words: No closing quotation"),
        ({"program": "x {rnak}"}, "unknown name in braces 'rnak'"),
        ({"environment": "A"}, "environment holds 'A', which is no NAME=VALUE"),
        ({"pattern": "(?P<step>"}, "pattern is no regular expression"),
        ({"pattern": "(?P<stp>1)"}, "pattern has an unknown group 'stp'"),
        ({"pattern": "step"}, "pattern has no group 'step'"),
        ({"tokens": 5, "tokens_per_device": 5}, "give one"),
        ({"model": "tiny"}, "give both"),
        ({"model": "tyni", "dtype": "fp32"}, "unknown model 'tyni'"),
        ({"warmup_steps": -1}, "cannot be negative"),
        ({"deadline": "soon"}, "is not a duration"),
        ({"kind": "horovod"}, "unknown kind of command 'horovod'"),
    ],
)
def test_what_a_suite_gets_wrong_is_told_before_anything_starts(more, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        make("command", more)


def test_braces_that_are_no_names_are_left_alone():
    given = "x --json '{\"a\": {rank}}' {}"
    assert make("command", {"program": given}).program == given


def test_the_title_says_what_it_is_called_and_the_deadline_is_respected():
    bench = make("command", {"label": "mine", "model": "tiny", "dtype": "bf16", "kind": "paddle"})
    assert title_of(bench) == "command mine tiny bf16"
    assert bench.patience() > bench.deadline
    assert make("command", {"deadline": "1h"}).patience() > SETUP_LIMIT
    (only,) = expand(type(bench), {"program": "python ../train.py"})  # no sweep of sizes
    assert only["program"] == "python ../train.py"


def test_utilisation_is_computed_as_of_train():
    chip = configs.load_chip("sim-a")
    bench = make("command", {"model": "tiny", "dtype": "bf16", "tokens_per_device": 256})
    train = make("train", {"model": "tiny", "dtype": "bf16", "batch": 4})
    seconds = np.array([1e-3, 2e-3])
    facts = Facts(chip=chip, ranks=4)
    mine = {one.metric: one for one in map(_named, bench.derived(seconds, facts, {}))}
    theirs = {one.metric: one for one in map(_named, train.derived(seconds, facts, {}))}
    for name in ("tokens_per_second", "mfu", "mfu_palm", "step_p50", "step_p99"):
        assert np.allclose(mine[name].value, theirs[name].value)
    said = bench.expected(facts)
    for name in ("tokens_per_second", "mfu", "mfu_palm", "step_p50"):
        assert said[name] == pytest.approx(train.expected(facts)[name])
    (rate,) = [
        one for one in make("command", {}).derived(seconds, facts, {"tokens": 100.0})
        if one.name == "tokens_per_second"
    ]  # fmt: skip
    assert rate.samples.tolist() == [1e5, 5e4]


def _named(metric):
    from types import SimpleNamespace

    kept = metric.value if metric.samples is None else metric.samples
    return SimpleNamespace(metric=metric.name, value=np.asarray(kept))


WANTED = {
    ("torch", "device"): {"RANK": "{}", "LOCAL_RANK": "{}", "WORLD_SIZE": "2"},
    ("torch", "node"): {"PET_NNODES": "1", "PET_NPROC_PER_NODE": "2", "PET_NODE_RANK": "0"},
    ("paddle", "device"): {"PADDLE_TRAINER_ID": "{}", "PADDLE_TRAINERS_NUM": "2"},
    ("paddle", "node"): {"PADDLE_NNODES": "1", "PADDLE_RANK": "0", "PADDLE_NPROC_PER_NODE": "2"},
    ("mindspore", "device"): {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "MS_NODE_ID": "{}"},
    ("mindspore", "node"): {},
    ("mpi", "device"): {"OMPI_COMM_WORLD_RANK": "{}", "OMPI_COMM_WORLD_SIZE": "2"},
    ("mpi", "node"): {},
}


def test_two_ranks_are_told_where_they_are_in_every_dialect(tmp_path):
    jobs = []
    for kind, launch in WANTED:
        folder = tmp_path / f"{kind}-{launch}"
        folder.mkdir()
        given = axes("environment", folder, kind=kind, launch=launch)
        given["environment"] = "'OWN=a b' ENDS={endpoints}"
        if launch == "node":  # one launcher, which starts both ranks
            given["program"] = (
                "{python} -c 'import subprocess, sys; made = [subprocess.Popen([sys.executable, "
                f'"{TRAINER}", "environment", rank, "2", "{folder}"]) for rank in "01"]; '
                "[one.wait() for one in made]'"
            )
        jobs.append(("command", given, None))
    found = several(jobs, rule=RULE)
    for ((kind, launch), wanted), ranks in zip(WANTED.items(), found, strict=True):
        assert {one.status for one in ranks} == {"ok"}, ranks[0].reason
        assert ranks[0].seconds == ranks[1].seconds  # those of rank 0
        folder = tmp_path / f"{kind}-{launch}"
        first, second = (environment(folder / f"environment{rank}") for rank in "01")
        assert first["OWN"] == second["OWN"] == "a b"
        assert first["ENDS"] == second["ENDS"]
        ends = first["ENDS"].split(",")
        assert len(set(ends)) == 2
        assert "TORCH_DEVICE_BACKEND_AUTOLOAD" not in first
        for rank, one in enumerate((first, second)):
            assert {name: text.format(rank) for name, text in wanted.items()}.items() <= one.items()
            if (kind, launch) == ("paddle", "device"):
                assert one["PADDLE_TRAINER_ENDPOINTS"].split(",") == ends
                assert one["PADDLE_CURRENT_ENDPOINT"] == ends[rank]
        if kind in ("torch", "mpi"):
            assert first["MASTER_PORT"] == second["MASTER_PORT"]
    scheduler = environment(tmp_path / "mindspore-device" / "scheduler0")  # beside rank 0 only
    worker = environment(tmp_path / "mindspore-device" / "environment1")
    for name in ("MS_SCHED_HOST", "MS_SCHED_PORT", "MS_WORKER_NUM"):
        assert scheduler[name] == worker[name]
    assert not (tmp_path / "mindspore-device" / "scheduler1").exists()


def environment(path):
    return dict(word.split("=", 1) for word in path.read_text().split("\0") if word)


def test_a_program_that_crashes_on_one_rank_ends_all():
    with pytest.raises(Exception, match=r"device 3 fell off the bus|of another rank failed"):
        outcomes("command", axes("crash-one"), rule=RULE)


def test_the_last_rank_may_be_the_one_that_counts():
    first, second = outcomes("command", axes("endless", counted="last"), rule=RULE)
    assert first.status == "ok", first.reason
    assert first.seconds == second.seconds
    assert values(first)["tokens"].value == 200


@pytest.mark.parametrize("name", ["mindspore", "megatron"])
def test_the_examples_of_other_launchers_can_be_planned(name):
    suite = configs.load_suite(COMMANDS / f"{name}.yaml")
    for entry in suite.stages[0].entries:
        bench = make(entry.benchmark, entry.axes)
        assert bench.label in (name, "msrun")
    megatron = (
        b" [2026-01-01 00:00:00.000000] iteration       10/     200 | consumed samples:       2560 "
        b"| elapsed time per iteration (ms): 5123.4 | learning rate: 1.000000E-04 | global batch "
        b"size:   256 | lm loss: 1.094321E+01 | loss scale: 1.0 | grad norm: 1.234 | number of "
        b"skipped iterations:   0 | number of nan iterations:   0 |"
    )
    lossmonitor = b"epoch: 1 step: 10, loss is 2.4686084"
    from bench.workloads.reports import compiled

    reports = Reports([0], 1, 0, compiled(bench.pattern))
    reports.take([b"nothing", megatron if name == "megatron" else lossmonitor], 1.0)
    assert reports.problem == ""
    (step,) = reports.steps
    assert step.step == 10
    assert step.loss == pytest.approx(10.94321 if name == "megatron" else 2.4686084)
    if name == "megatron":
        assert step.seconds == pytest.approx(5.1234)


def test_what_a_running_program_uses_of_a_core_is_its_owners():
    spin = "import time\nstop = time.monotonic() + 1\nwhile time.monotonic() < stop: pass\n"
    before = _own_cpu_seconds()
    program = Program([sys.executable, "-c", spin + "time.sleep(60)"], os.environ, "", [],
                      lambda lines, now: None)  # fmt: skip
    time.sleep(1.5)
    running = _own_cpu_seconds() - before
    program.end()
    ended = _own_cpu_seconds() - before
    assert running > 0.1
    assert ended >= running - 0.05


def test_the_guard_needs_nothing_of_the_package():
    text = Path(guard.__file__).read_text()
    assert "from ." not in text
    assert "import bench" not in text
