"""Training while real processes are killed: found, started anew, restored, accounted for."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import forked
from drivers import hengsuan
from runs import local_executor, rows_of, run, suite

from bench.campaigns.goodput import Goodput, Wanted
from bench.cluster.engine import execute
from bench.cluster.plan import Strike
from bench.results import RunReader
from bench.workloads.attempts import read_log

pytestmark = pytest.mark.forked
PARTS = ("productive", "saving", "lost_work", "detection", "relaunch", "restoring")
AT_ONCE = 0.02
"""Seconds behind its order in which no attempt can have formed its group."""


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Ranks that are started again and again have from the start what a training imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(forked.MORE, forked.TRAINING)
        yield


class Scripted(Goodput):
    """The campaign, with failures of one's choice by number of the attempt: (rank, whole node).

    ``before``: called with the number of an attempt before it is ordered.
    """

    def __init__(self, wanted, strikes, before=lambda number: None):
        self.said = []
        super().__init__(wanted, self.said.append)
        self._strikes, self._before = strikes, before

    def _after(self, number):
        return AT_ONCE if number in self._strikes else None

    def _strike(self, number, nodes, there):
        self._before(number)
        if number not in self._strikes:
            return None
        rank, whole = self._strikes[number]
        return Strike(after=AT_ONCE, rank=rank, whole_node=whole)


def trained(campaign, executor, folder):
    """(how the run finished, the last attempt's row of goodput, its values by metric)."""
    finished = execute(
        campaign.suite,
        executor,
        folder,
        "run",
        chips={},
        command=["test"],
        environment={},
        campaign=campaign,
        revive=True,
    )
    rows = rows_of(finished.folder)
    last = rows["resumable", "goodput"][-1]
    found = {metric: got[-1].value for (_, metric), got in rows.items()}
    assert last.status == "ok", (last.reason, campaign.stopped, campaign.said)
    assert sum(found[name] for name in PARTS) == pytest.approx(found["total"], rel=1e-3)
    assert found["goodput"] == pytest.approx(found["productive"] / found["total"])
    assert 0 < found["goodput"] < 1
    return finished, last, found


def log_of(place, attempt):
    return place / "hengsuan-goodput-k" / f"attempt-{attempt:05d}.jsonl"


def when_logged(path, act, what="begun", behind=""):
    """Call ``act`` in a thread when the log has a line, behind one of another kind if need be."""

    def wait():
        stop = time.monotonic() + 150
        while time.monotonic() < stop:
            kinds = [one.what for one in read_log(path)]
            if what in (kinds[kinds.index(behind) :] if behind in kinds else kinds * (not behind)):
                act()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_failures_strike_in_a_step_while_processes_start_and_while_a_checkpoint_is_read(
    tmp_path, mode
):
    place = tmp_path / "checkpoints"
    place.mkdir()
    executor = local_executor()
    threads = []
    whole = "saved" if mode == "sync" else "landed"

    def kill(rank):
        return lambda: os.kill(executor.hub._agent._ranks[rank].pid, signal.SIGKILL)

    def before(number):
        if number == 1:
            threads.append(when_logged(log_of(place, 0), kill(1), "step", behind=whole))
        if number == 3:  # it waits for a writer of its latest checkpoint's name
            latest = log_of(place, 0).with_name("latest.json")
            latest.rename(latest.with_suffix(".kept"))
            os.mkfifo(latest)

            def act():
                kill(0)()
                latest.with_suffix(".kept").replace(latest)

            threads.append(when_logged(log_of(place, 2), act))

    wanted = Wanted(
        model="tiny",
        batch=1,
        dp="fsdp",
        mode=mode,
        path=str(place),
        key="k",
        work=3.0,
        interval=0.1,
    )
    campaign = Scripted(wanted, {2: (0, False), 4: (1, True)}, before)
    finished, last, found = trained(campaign, executor, tmp_path / "runs")
    for thread in threads:
        thread.join()
    # A whole node's failure is one failure; three struck before the training went on.
    assert (found["failures"], found["interrupted"]) == (4, 3)
    assert found["lost_work"] > 0
    assert min(found[name] for name in PARTS) >= 0
    assert "losses differ by at most 0" in (last.reason or "losses differ by at most 0")
    assert [stage["name"] for stage in finished.header.stages][-1] == "attempt-5"
    reasons = [row.reason for row in rows_of(finished.folder)["resumable", "goodput"][1:-1]]
    assert len(reasons) == 4
    assert all("crashed with SIGKILL" in reason for reason in reasons), reasons
    assert list(place.iterdir()) == []


@pytest.fixture
def cluster():
    """A head that only manages, and two nodes."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        made = Cluster()
        made.add_node(num_cpus=0, include_dashboard=False, object_store_memory=80_000_000)
        made.nodes = [
            made.add_node(num_cpus=1, wait=False, object_store_memory=80_000_000) for _ in range(2)
        ]
        made.wait_for_nodes()
        yield made
        made.shutdown()


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_a_node_that_is_back_goes_on_and_one_that_is_gone_is_done_without(cluster, tmp_path):
    """First all processes of a node die, its agent too; then one is lost with its raylet."""
    from bench.cluster.agent import AgentSpec, new_token
    from bench.cluster.agents import AgentExecutor
    from bench.cluster.ray_hub import RayHub

    place = tmp_path / "checkpoints"
    place.mkdir()
    executor = AgentExecutor(
        RayHub(AgentSpec(token=new_token(), backend="cpu"), cluster.address), {}
    )
    threads = []

    def lose():
        victim = executor.hub._places[1]["NodeID"]
        (node,) = [one for one in cluster.nodes if one.node_id == victim]
        cluster.remove_node(node, allow_graceful=False)

    def before(number):
        if number == 2:
            threads.append(when_logged(log_of(place, 1), lose, "step", behind="saved"))

    wanted = Wanted(model="tiny", batch=1, path=str(place), key="k", work=3.0, interval=0.5)
    campaign = Scripted(wanted, {1: (0, True)}, before)
    finished, last, found = trained(campaign, executor, tmp_path / "runs")
    for thread in threads:
        thread.join()
    header = finished.header
    kinds = [one["kind"] for one in header.events if one["kind"].startswith("agent-")]
    assert kinds == ["agent-lost", "agent-back", "agent-lost"]
    # The first struck before anything was trained.
    assert (found["failures"], found["interrupted"]) == (1, 0)
    assert found["detection"] > 0
    ranks = [
        header.schedules[case.schedule].arguments.get("nodes")
        for case in header.cases
        if case.metric == "goodput"
    ]
    assert ranks == [None, None, None, [0]], ranks
    assert "without node" in campaign.said[-1]
    assert not last.reason or "done again" in last.reason
    assert list(place.iterdir()) == []


@pytest.mark.alone
@pytest.mark.timeout(120)
def test_a_training_that_its_cluster_interrupts_again_and_again_is_given_up(tmp_path):
    place = tmp_path / "checkpoints"
    place.mkdir()
    executor = local_executor()
    threads = []

    def before(number):
        act = lambda: os.kill(executor.hub._agent._ranks[0].pid, signal.SIGKILL)  # noqa: E731
        threads.append(when_logged(log_of(place, number - 1), act, "step"))

    wanted = Wanted(model="tiny", batch=1, path=str(place), key="k", work=3.0, interval=1.0)
    campaign = Scripted(wanted, {}, before)
    execute(
        campaign.suite,
        executor,
        tmp_path / "runs",
        "run",
        chips={},
        command=["test"],
        environment={},
        campaign=campaign,
        revive=True,
    )
    for thread in threads:
        thread.join()
    assert campaign.stopped.startswith(
        "3 failures in a row that nobody asked for, the last: rank 0"
    )


@pytest.mark.alone
def test_a_training_that_nobody_interrupts_has_no_losses(tmp_path):
    axes = {"model": "tiny", "batch": 1, "path": str(tmp_path), "steps": 12, "every": 4}
    made = suite([("resumable", axes, {"over": "all"})], limit=60.0)
    _, rows = run(made, local_executor(), tmp_path / "runs")
    found = {metric: got[0].value for (_, metric), got in rows.items()}
    (row,) = rows["resumable", "goodput"]
    assert row.status == "ok", row.reason
    assert found["failures"] == found["lost_work"] == found["detection"] == 0
    assert found["productive"] + found["saving"] == pytest.approx(found["total"], rel=1e-6)
    assert [one.name for one in tmp_path.iterdir()] == ["runs"]


def goodput(*words, timeout=150):
    return subprocess.run(
        [*hengsuan(), "goodput", "--executor", "local", "--backend", "cpu", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_the_verb_kills_at_random_and_compares_with_the_optimum(tmp_path):
    place = tmp_path / "checkpoints"
    place.mkdir()
    words = (
        "--path",
        place,
        "--out",
        tmp_path / "runs",
        "--model",
        "tiny",
        "--batch",
        "1",
        "--json",
    )
    # The first failure strikes after 0.39 of the mean, the second after 3.2.
    done = goodput("--work", "8s", "--mtbf", "12s", "--seed", "8", *words, timeout=270)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit"] == 0, done.stderr
    account = found["goodput"]
    assert account["failures"] >= 1
    assert "of timing" not in done.stderr  # of which nothing is known beforehand
    assert done.stderr.count("attempt ") == account["failures"] + 1
    assert 0 < account["goodput"] < 1
    lost = sum(account["losses"].values())
    assert account["productive"] + lost == pytest.approx(account["total"], rel=1e-6)
    assert account["young"] > account["daly"] > 0
    assert account["interval"] == pytest.approx(account["every"] * account["step"])
    assert 0 < account["expected"] < 1
    header = RunReader(found["folder"]).header
    assert [one["name"] for one in header.stages][:2] == ["calibration", "attempt-1"]
    assert list(place.iterdir()) == []


def saved(tmp_path):
    """A training that has saved: its driver, its place, and what names its latest checkpoint."""
    place = tmp_path / "checkpoints"
    place.mkdir()
    words = ("--work", "60s", "--mtbf", "1h", "--interval", "100ms", "--model", "tiny", "--json")
    command = [*hengsuan(), "goodput", "--executor", "local", "--backend", "cpu", *words]
    driver = subprocess.Popen(
        [*command, "--path", place, "--out", tmp_path / "runs"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stop = time.monotonic() + 100
    while (
        not (latest := list(place.glob("hengsuan-goodput-*/latest.json")))
        and time.monotonic() < stop
    ):
        time.sleep(0.02)
    return driver, place, latest[0]


def disturbed(tmp_path, act):
    """A training with which something happens when it has saved: what it said, and its place."""
    driver, place, latest = saved(tmp_path)
    act(driver, latest)
    out, said = driver.communicate(timeout=100)
    found = json.loads(out)
    assert found["exit"] == driver.returncode, said
    return found, place


@pytest.mark.timeout(300)
def test_a_training_that_is_interrupted_leaves_nothing_on_the_storage(tmp_path):
    found, place = disturbed(tmp_path, lambda driver, latest: driver.send_signal(signal.SIGINT))
    assert (found["exit"], found["left"]) == (130, "")
    assert list(place.iterdir()) == []


@pytest.mark.timeout(300)
def test_a_training_that_cannot_go_on_says_what_it_leaves(tmp_path):
    def taken(driver, latest):
        """Its place, again and again: whoever is about to write it has written it before."""
        while driver.poll() is None:
            with contextlib.suppress(OSError):
                latest.unlink()
            with contextlib.suppress(OSError):
                latest.mkdir()
            time.sleep(0.01)

    found, place = disturbed(tmp_path, taken)
    assert found["exit"] == 4
    assert "cannot be written to" in found["problem"]
    assert found["problem"].endswith("Is a directory")
    (left,) = place.iterdir()
    assert found["left"] == str(left)


@pytest.mark.timeout(300)
def test_what_a_killed_driver_leaves_the_next_one_removes_and_says(tmp_path):
    driver, place, _ = saved(tmp_path)
    driver.kill()
    driver.communicate()
    (left,) = place.glob("hengsuan-goodput-*[!k]")
    assert left.is_dir()
    # It gets no further than that: no node is called so.
    done = goodput("--path", place, "--out", tmp_path / "runs", "--nodes", "nowhere")
    assert done.returncode == 2, done.stderr
    assert f"removed {left}, left by a training whose driver was killed\n" in done.stderr
    assert list(place.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
@pytest.mark.timeout(300)
def test_results_that_cannot_be_written_leave_nothing_untold(tmp_path):
    small, place = tmp_path / "small", tmp_path / "checkpoints"
    small.mkdir()
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.decode().strip()}")
    threads = []

    def fill():
        """All of it, and what is given back as well."""
        stop = time.monotonic() + 100
        while time.monotonic() < stop and not list(place.glob("hengsuan-goodput-*/latest.json")):
            time.sleep(0.02)
        with contextlib.suppress(OSError), (small / "fill").open("wb", buffering=0) as file:
            while threads:
                with contextlib.suppress(OSError):
                    file.write(bytes(1 << 12))
                time.sleep(0.0005)

    try:
        threads.append(threading.Thread(target=fill))
        threads[0].start()
        done = goodput(
            *("--path", place, "--out", small, "--model", "tiny", "--batch", "1"),
            *("--work", "10m", "--mtbf", "4s", "--interval", "100ms"),
        )
        thread = threads.pop()
        thread.join()
    finally:
        threads.clear()
        subprocess.run(["umount", str(small)], check=True)
    assert done.returncode == 4, done.stderr
    assert "No space left on device" in done.stderr
    assert "--resume" not in done.stderr
    (left,) = place.iterdir()
    assert f"its checkpoints and logs are left in {left}: " in done.stderr


def test_what_cannot_be_is_a_sentence(tmp_path):
    for words, code, why in (
        (("--cluster", "small"), 2, "a simulated fleet has none"),
        (("--work", "0s"), 2, "--work must be positive"),
        (("--seed", "-1", "--out", tmp_path), 2, "--seed must not be negative, but is -1"),
        (("--path", tmp_path / "absent", "--out", tmp_path, "-q"), 3, "no such directory"),
    ):
        done = subprocess.run(
            [*hengsuan(), "goodput", *map(str, words)]
            + ([] if "--cluster" in words else ["--executor", "local", "--backend", "cpu"]),
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        assert why in done.stderr
        assert "Traceback" not in done.stderr
