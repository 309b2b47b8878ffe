"""What the host says of itself, and that contention is seen when it is there."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import host
from bench.host import contention
from bench.host.contention import foreign

SPIN = (
    "import os, time\nos.sched_setaffinity(0, [int(__import__('sys').argv[1])])\nwhile True: pass"
)


@given(st.sets(st.integers(0, 300)))
def test_lists_of_cores_round_trip(cpus):
    assert host.expand(host.compact(cpus)) == sorted(cpus)


def test_lists_are_written_as_the_kernel_writes_them():
    assert host.compact([3, 0, 1, 2, 7]) == "0-3,7"
    assert host.compact([]) == ""


def test_identity_and_size():
    assert host.machine_id() == host.machine_id() != ""
    assert host.hostname()
    assert host.memory_total() > 1 << 27
    assert host.memory_available() > 0
    cores = [cpu for cpus in host.numa_nodes().values() for cpu in cpus]
    assert sorted(cores) == sorted(os.sched_getaffinity(0))


def busy_loop(seconds):
    stop = time.monotonic() + seconds
    count = 0
    while time.monotonic() < stop:
        count += 1
    return count


@pytest.fixture
def core():
    """This process on one core alone, as a rank is."""
    before = os.sched_getaffinity(0)
    chosen = max(before)
    os.sched_setaffinity(0, [chosen])
    yield chosen
    os.sched_setaffinity(0, before)


def test_work_of_others_on_the_same_core_is_contention(core):
    # Nobody's child: what this process has started would be its own work.
    start = ["sh", "-c", '"$0" -c "$1" "$2" >/dev/null & echo $!', sys.executable, SPIN, str(core)]
    other = int(subprocess.check_output(start))
    try:
        time.sleep(0.3)
        watch = host.Contention.begin([core])
        busy_loop(1.0)
        usage = watch.end()
    finally:
        os.kill(other, signal.SIGKILL)
    # Two loops share one core: each waits for, and sees the other use, about half of the time.
    assert usage.foreign > 0.2
    assert usage.waited > 0.2
    assert "of the measured time" in usage.contended()


def test_own_threads_are_not_contention(core):
    import threading

    watch = host.Contention.begin([core])
    threads = [threading.Thread(target=busy_loop, args=(0.6,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    usage = watch.end()
    # Each thread waited half of the time for the other. What is left is what others caused,
    # should this machine be busy.
    assert usage.waited <= usage.foreign + usage.stolen + 0.2 * usage.interval


WAITING = """
import time
from bench import host

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

waited, begun = host.waits(), time.monotonic()
burn(0.5)
print(time.monotonic() - begun, waited())
"""


BRIEF = """
import threading, time, torch
from bench import host

def helper():
    while True:
        time.sleep(0.002)
        sum(range(2000))

threading.Thread(target=helper, daemon=True).start()
one = torch.ones(512, 512)
left = []
until = time.perf_counter() + 8
while time.perf_counter() < until:
    begun = time.perf_counter()
    waited, ran = host.waits(), time.thread_time()
    one @ one
    ran = time.thread_time() - ran
    lost = waited()
    left.append(time.perf_counter() - begun - lost - ran)
print(min(left))
"""


@contextlib.contextmanager
def neighbours(count):
    """So many processes that never rest, on the cores of this one."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


@pytest.mark.alone  # it takes all cores from whoever runs beside
def test_no_wait_is_longer_than_the_time_in_which_nothing_ran():
    """Not by the waits of a thread beside, nor by what had begun before it was watched."""
    with neighbours(1 + len(os.sched_getaffinity(0))):
        said = subprocess.run([sys.executable, "-c", BRIEF], capture_output=True, text=True)
    assert not said.stderr
    assert float(said.stdout) >= 0


def test_what_a_process_waits_for_its_core_is_told(core):
    with neighbours(3):
        said = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True)
    assert not said.stderr
    wall, waited = map(float, said.stdout.split())
    # Four share the core, and it had half a second of it; whoever else wants it makes both longer.
    assert waited > 0.2
    assert waited == pytest.approx(wall - 0.5, rel=0.2)


@pytest.mark.parametrize(
    ("busy", "idle", "own", "others"),
    [
        (0.58, 0.50, 0.50, 0.0),  # ticks that fell where a waiting rank happened to run
        (0.42, 0.50, 0.50, 0.0),
        (0.80, 0.20, 0.50, 0.3),  # somebody else's work
        (0.80, 0.30, 0.50, 0.2),  # at most what the core was not idle
        (1.00, 0.00, 1.00, 0.0),
    ],
)
def test_others_have_used_what_was_neither_idle_nor_ones_own(busy, idle, own, others):
    assert foreign(1.0, busy, idle, own) == pytest.approx(others)


def test_seconds_of_cores_are_ticks_of_the_kernel(monkeypatch):
    """Columns of ``/proc/stat``: user nice system idle iowait irq softirq steal guest ..."""
    lines = ["cpu  9 9 9 9 9 9 9 9 9 9", "cpu0 1 2 4 8 16 32 64 128 1 0"]
    lines += ["cpu1 1000 0 0 0 0 0 0 0 0 0", "cpu12 100 0 0 200 0 0 0 300 0 0", "intr 1 2"]
    monkeypatch.setattr(contention, "read", lambda path: "\n".join(lines))
    busy, idle, stolen = contention._cpu_seconds({0, 12})
    found = [round(seconds / contention.TICK, 6) for seconds in (busy, idle, stolen)]
    assert found == [107, 224, 428]


def test_what_happened_on_cores_is_what_grew(monkeypatch):
    """Two cores for ten seconds, of which the hypervisor took one and four were idle."""

    def says(name, *values):
        told = iter(values)
        monkeypatch.setattr(contention, name, lambda *_: next(told))

    says("_cpu_seconds", (100.0, 50.0, 7.0), (114.0, 54.0, 8.0))
    says("_own_cpu_seconds", 30.0, 39.0)
    # Of nine seconds that this process ran one thread had six, and waited eight: three of
    # them for its siblings.
    says("_schedule", {"1": (20.0, 1.0)}, {"1": (26.0, 9.0), "2": (3.0, 3.0)})
    clock = iter([1000.0, 1010.0])
    monkeypatch.setattr(contention, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    usage = contention.Contention([0, 1]).end()
    assert (usage.interval, usage.cores, usage.stolen, usage.idle) == (10.0, 2, 1.0, 4.0)
    assert usage.waited == 5.0
    # Fourteen seconds were sampled as used, and own work was nine of them.
    assert usage.foreign == 5.0


def test_of_a_quiet_host_shares_are_of_all_its_cores(monkeypatch):
    def after(**seconds):
        usage = contention.Usage(10.0, 4, waited=0.0, **{"stolen": 0.0, "foreign": 0.0, **seconds})
        watch = SimpleNamespace(end=lambda: usage)
        monkeypatch.setattr(contention.Contention, "begin", lambda: watch)
        monkeypatch.setattr(contention, "governor", lambda cores: "performance")
        return host.quietness(0.0)

    assert after(foreign=0.8, stolen=0.8).quiet  # 2 % of forty seconds
    assert after(foreign=4.0).reasons == ["other processes use 10.0% of its cores"]
    assert after(stolen=2.0).reasons == ["the hypervisor takes 5.0% of its cores"]


def test_shares_below_the_limit_and_within_a_tick_are_quiet():
    assert host.Usage(1.0, 2, 0.01, 0.0, 0.01).contended() == ""
    assert host.Usage(0.05, 1, 0.0, 0.0, 0.02).contended() == ""
    assert "hypervisor" in host.Usage(1.0, 1, 0.0, 0.1, 0.0).contended()
    assert "waited" in host.Usage(1.0, 1, 0.1, 0.0, 0.0).contended()
    # One core that somebody else owns holds up a rank of any size.
    for cores in (1, 2, 64):
        assert "used 100.0%" in host.Usage(1.0, cores, 0.0, 0.0, 1.0).contended()
    assert host.Usage(0.0, 1, 1.0, 1.0, 1.0).contended() == ""
    # A daemon on one of many idle cores takes none from anybody; work on a share of them does.
    assert host.Usage(6.0, 16, 0.0, 0.0, 0.3, idle=85.0).contended() == ""
    assert "used 40.0%" in host.Usage(6.0, 16, 0.0, 0.0, 2.4, idle=85.0).contended()
    assert "used 5.0%" in host.Usage(6.0, 2, 0.0, 0.0, 0.3, idle=5.0).contended()


def test_a_child_dies_with_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'from bench import host; "
        "host.die_with_parent(); print(1, flush=True); import time; time.sleep(60)'], "
        "stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert child in host.process_tree(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    stop = time.monotonic() + 50
    while time.monotonic() < stop and host.process_name(child):
        time.sleep(0.05)
    assert host.process_name(child) == ""


def test_memory_of_a_process_tree():
    child = subprocess.Popen(
        [sys.executable, "-c", "b = bytearray(64 << 20); print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    child.stdout.readline()
    try:
        assert host.pss_tree(child.pid) >= 64 << 20
    finally:
        child.communicate("\n")


def test_quietness_gives_reasons_exactly_when_it_is_not_quiet():
    found = host.quietness(0.2)
    assert found.quiet == (not found.reasons)
