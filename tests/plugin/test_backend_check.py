"""``hengsuan backend new`` and ``backend check``: a package that passes, and what must not pass."""

import difflib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "forking"))
import forked

from bench.conformance import cases
from bench.conformity import Result, exit_of

FILLED = {
    'module = "torch_acme"  # TODO: whose import makes the device type known; None: built in': (
        "module = None\n    stand_in = True"
    ),
    "    # TODO: what torch.cpu cannot say. Each of these may go.\n": """\
    def devices(self):
        return [
            Device(index=i, backend=self.name, name="Acme One", serial=f"A{i}", lane="acme",
                   memory=1 << 32, facts={"cpus": [sorted(os.sched_getaffinity(0))[0]]})
            for i in range(2)
        ]

    def open(self, index):
        import torch

        return torch.device("cpu")

    def synchronize(self, device):
        pass

    def event(self):
        return None

    def side(self, device):
        return None
""",
    'lacking = {}  # TODO: what it cannot do and why: {"fp64": "...", "gemm fp8_e4m3": "..."}': (
        "lacking = {\n"
        '        "tf32": "no such mode",\n'
        '        "layernorm backward": "sums in the gradient\'s own format",\n'
        "    }"
    ),
    "        return Telemetry()": "        return Telemetry(temperature=41.5, power=75.0)",
    "from bench.backends.base import Telemetry, TorchBackend": (
        "import os\n\n"
        "from bench.backends.base import Telemetry, TorchBackend\n"
        "from bench.records import Device"
    ),
}
"""What somebody writes whose chip is a CPU's tensors."""


def hengsuan(*words, environment=None, folder=None):
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)],
        env={**os.environ, **(environment or {})},
        cwd=folder,
        capture_output=True,
        text=True,
    )


def filled(text):
    for todo, done in FILLED.items():
        assert todo in text, todo
        text = text.replace(todo, done)
    return text


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What `backend new` writes, installed as it is into a folder of its own."""
    folder = tmp_path_factory.mktemp("new")
    done = hengsuan("backend", "new", "acme", "--device-type", "cpu", "--out", folder / "acme")
    assert done.returncode == 0, done.stderr
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    how = ["--no-deps", "--no-build-isolation", "--target", folder / "site", folder / "acme"]
    made = subprocess.run([*pip, *map(str, how)], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def plugin(written, tmp_path):
    """Install a changed copy of the filled-in package; gives the environment that sees it."""

    def made(more=""):
        site = tmp_path / "site"
        shutil.copytree(written / "site", site)
        module = site / "hengsuan_acme" / "__init__.py"
        text = filled(module.read_text())
        if more:
            text += "\n\nclass Broken(Acme):\n" + textwrap.indent(textwrap.dedent(more), "    ")
            text += "\n\nAcme = Broken\n"
        module.write_text(text)
        return {"PYTHONPATH": os.pathsep.join([forked.FOLDER, str(site)]), forked.ASKED: "yes"}

    return made


def checked(environment, *only, code=None):
    words = [word for one in only for word in ("--only", one)]
    done = hengsuan("backend", "check", "acme", "--json", "-q", *words, environment=environment)
    assert done.stdout, done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert found["exit"] == done.returncode
    assert code is None or code == done.returncode, found["results"]
    return {one["check"]: one for one in found["results"]}


def test_the_written_package_is_listed_before_anything_is_filled_in(written):
    environment = {"PYTHONPATH": str(written / "site")}
    done = hengsuan("backend", "list", "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    (acme,) = [one for one in json.loads(done.stdout) if one["backend"] == "acme"]
    assert (acme["origin"], acme["state"]) == ("hengsuan-acme", "absent")
    assert "torch_acme is not installed" in acme["problem"]
    shown = hengsuan("show", "chips", environment=environment)
    assert shown.returncode == 0, shown.stderr
    assert "acme" in shown.stdout
    found = checked(environment, "loading", "memory", code=1)
    assert "torch_acme is not installed" in found["loading"]["reason"]
    assert found["memory"]["verdict"] == "skipped"
    assert "torch_acme is not installed" in found["memory"]["reason"]


def test_few_lines_are_to_be_filled_in(written):
    before = (written / "acme" / "hengsuan_acme" / "__init__.py").read_text()
    lines = list(difflib.ndiff(before.splitlines(), filled(before).splitlines()))
    assert sum(line.startswith("+ ") for line in lines) < 50


def test_a_broken_datasheet_is_said_and_stops_its_own_plugin_only(plugin, tmp_path):
    environment = plugin()
    (file,) = (tmp_path / "site" / "hengsuan_acme" / "configs" / "chips").iterdir()
    figure = '{value: 280, source: "acme.example", date: "2026-11-26", status: vendor}'
    file.write_text(f"name: {file.stem}\nvendor: Acme\nmatch: []\nflops:\n  bf16: {figure}\n")
    for words in (("show", "chips"), ("run", "quick", "--only", "launch*", "--executor", "local")):
        done = hengsuan(*words, environment=environment, folder=tmp_path)
        assert done.returncode in (0, 3), done.stderr
        assert f"{file}:5: flops.bf16.value: 280 FLOP/s is no figure of any chip" in done.stderr
    assert "h100" in hengsuan("show", "chips", environment=environment).stdout
    found = checked(environment, "identity", code=1)
    assert "is no figure of any chip" in found["identity"]["reason"]


BRIEF = ("l*", "discovery", "identity", "contract", "memory", "telemetry", "triton")
BRIEF += ("op-softmax", "benchmark-gemm", "benchmark-train")
"""All that the package itself says, and one of each kind that ranks do: `nuomi` passes the rest."""


def test_the_filled_in_package_passes(plugin):
    found = checked(plugin(), *BRIEF, code=0)
    verdicts = {name: one["verdict"] for name, one in found.items()}
    assert verdicts["memory"] == verdicts["triton"] == "unsupported"
    for name in ("discovery", "contract", "op-softmax", "benchmark-train", "telemetry"):
        assert verdicts[name] == "pass", found[name]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["acme", "cpu"])
def test_every_check_passes(plugin, name, tmp_path):
    report = tmp_path / "report.xml"
    words = ("backend", "check", name, "--json", "-q", "--junit", report)
    done = hengsuan(*words, environment=plugin())
    found = json.loads(done.stdout)
    bad = [one for one in found["results"] if one["verdict"] in ("fail", "skipped")]
    assert not bad
    assert done.returncode == 0
    suite = ElementTree.parse(report).getroot()[0]
    assert int(suite.get("tests")) == len(found["results"]) > 60
    assert suite.get("failures") == suite.get("errors") == "0"


DIE = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
OPENS = """
    def open(self, index):
        import atexit, os, signal, subprocess, time
        device = super().open(index)
        {body}
        return device
"""
BROKEN = {
    "moving": (
        "discovery",
        """
        def devices(self):
            import time
            found = super().devices()
            import msgspec
            return [msgspec.structs.replace(one, facts={"now": time.monotonic()}) for one in found]
        """,
        "facts of device 0 was",
    ),
    "twice": (
        "loading",
        "def devices(self):\n    return [super(Broken, self).devices()[0]] * 2",
        "indices are [0, 0]: number the node's devices from 0, each once",
    ),
    "nameless": (
        "identity",
        """
        def devices(self):
            import msgspec
            return [msgspec.structs.replace(one, memory=64) for one in super().devices()]
        """,
        "memory of device 0 is 64",
    ),
    "importing": ("light-import", "import torch", "importing the plugin imported torch"),
    "lying": (
        "memory",
        "def memory_peak(self, device, *, reset=False):\n    return 1 << 20",
        "memory_peak() grew by 0 B when one tensor made it 67108864 B",
    ),
    "milliwatts": (
        "telemetry",
        "def telemetry(self, index):\n    return Telemetry(power=75_000)",
        "power is 75000 W, which no chip has",
    ),
    "hertz": (
        "telemetry",
        "def telemetry(self, index):\n    return Telemetry(clock=1.4e9)",
        "clock is 1.4e+09 MHz",
    ),
    "falling": (
        "health",
        """
        count = 9

        def health(self, index):
            from bench.backends.base import Health
            self.count -= 1
            return Health(errors={"ecc_uncorrected": self.count})
        """,
        "ecc_uncorrected fell between two readings",
    ),
    "gigabytes": (
        "links",
        """
        def links(self):
            from bench.backends.base import Link
            return [Link(a=0, b=1, kind="ACL", bandwidth=56.0)]
        """,
        "a link of 56 B/s",
    ),
    "seconds": (
        "timers",
        """
        class Mark:
            def record(self):
                import time
                self.at = time.perf_counter()

            def elapsed_time(self, end):
                return end.at - self.at

        def event(self):
            return self.Mark()
        """,
        "the host's clock",
    ),
    "coarse": (
        "timers",
        """
        class Mark:
            def record(self):
                import time
                self.at = time.perf_counter() // 0.016 * 16

            def elapsed_time(self, end):
                return end.at - self.at

        def event(self):
            return self.Mark()
        """,
        "small operations in a row took",
    ),
    "unordered": (
        "timers",
        """
        class Mark:
            def record(self):
                import time
                self.at = time.perf_counter() * 1e3

            def elapsed_time(self, end):
                return self.at - end.at

        def event(self):
            return self.Mark()
        """,
        "events are not in order",
    ),
    "crashing": ("random", OPENS.format(body=DIE), "crashed with SIGSEGV; in File"),
    "exiting": ("random", OPENS.format(body="os._exit(7)"), "exited with code 7"),
    "raising": ("random", OPENS.format(body="1 / 0"), "raised ZeroDivisionError"),
    "late-crash": (
        "random",
        OPENS.format(body="atexit.register(os.kill, os.getpid(), signal.SIGSEGV)"),
        "did its work, then crashed with SIGSEGV",
    ),
    "straying": (
        "random",
        OPENS.format(body="subprocess.Popen(['sleep', '100'], start_new_session=True)"),
        "left processes running: sleep",
    ),
    "littering": (
        "clean-up",
        OPENS.format(
            body="os.makedirs('kernel_meta', exist_ok=True); open('/dev/shm/acme-left', 'w')"
        ),
        "left behind in shared memory: acme-left; in working directory: kernel_meta",
    ),
    "astray": (
        "random",
        "def open(self, index):\n    import torch\n    return torch.device('meta')",
        "returned meta, but device_type is 'cpu'",
    ),
    "wrong": (
        "vendor-softmax",
        """
        def implementations(self):
            def softmax(case, inputs, outputs):
                (name,) = outputs
                return lambda: {name: inputs["x"] * 0.5}

            return {"softmax": softmax}
        """,
        "sanity check before measuring failed",
    ),
}


# What one leaves in the memory that all share would be found by checks of other tests.
ALONE = {"littering": pytest.mark.alone}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=ALONE.get(kind, ())) for kind in BROKEN])
def test_a_broken_plugin_fails_for_its_reason(plugin, kind):
    check, source, reason = BROKEN[kind]
    found = checked(plugin(source), check, code=1)
    assert found[check]["verdict"] == "fail"
    assert reason in found[check]["reason"]
    leftover = "/dev/shm/acme-left"
    if os.path.exists(leftover):
        os.unlink(leftover)


def test_what_is_lacking_and_not_declared_is_no_pass(plugin):
    found = checked(plugin("lacking = {}"), "op-gemm", code=3)
    assert found["op-gemm"]["verdict"] == "skipped"
    assert "tf32" in found["op-gemm"]["reason"]
    assert "lacking" in found["op-gemm"]["hint"]


LIMITED = """
    import json
    import msgspec
    from bench.backends.probe import probe
    from bench.conformance.checks import device_checks
    from bench.conformance.process import run_check
    check = msgspec.structs.replace(device_checks()["random"], limit=8.0)
    print(msgspec.json.encode(run_check(check, "acme", probe("acme").devices)).decode())
"""


def test_a_check_that_hangs_ends_at_its_limit(plugin):
    environment = plugin(OPENS.format(body="time.sleep(600)"))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["verdict"] == "fail"
    assert "hung: nothing after 8 s" in found["reason"]


def test_pytest_runs_the_same_checks(plugin, tmp_path):
    words = ["-q", "-p", "no:cacheprovider", "--pyargs", "bench.conformance", "-rA"]
    chosen = ["-k", "loading or health or light-import"]

    def tested(**more):
        return subprocess.run(
            [sys.executable, "-m", "pytest", *words, *(chosen if more else [])],
            env={**os.environ, **plugin_environment, **more},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    plugin_environment = plugin()
    done = tested(HENGSUAN_CONFORMANCE_BACKEND="acme")
    assert done.returncode == 0, done.stdout
    assert "2 passed, 1 skipped" in done.stdout
    assert "not supported (declared): health() counts nothing" in done.stdout
    unnamed = tested()
    assert unnamed.returncode == 1
    assert "set HENGSUAN_CONFORMANCE_BACKEND to the name of the backend" in unnamed.stdout


BAD_NAMES = {
    "Acme": "a backend cannot be called 'Acme'",
    "acme-9": "a backend cannot be called 'acme-9'",
    "class": "a backend cannot be called 'class'",
    "cpu": "there is a backend 'cpu' already",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_cannot_be_is_refused(name, tmp_path):
    done = hengsuan("backend", "new", name, "--out", tmp_path / "new")
    assert done.returncode == 2
    assert BAD_NAMES[name] in done.stderr
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "mine").write_text("precious")
    done = hengsuan("backend", "new", "acme", "--out", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path} is there already" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]
    bad = hengsuan("backend", "new", "acme", "--device-type", "npu:0", "--out", tmp_path / "new")
    assert bad.returncode == 2
    assert "no device type of PyTorch" in bad.stderr


def test_unknown_backends_and_checks_are_usage(tmp_path):
    done = hengsuan("backend", "check", "nobody")
    assert done.returncode == 2
    assert "unknown backend 'nobody'" in done.stderr
    done = hengsuan("backend", "check", "cpu", "--only", "memori")
    assert done.returncode == 2
    assert "unknown check 'memori'" in done.stderr
    assert "did you mean memory" in done.stderr


def test_no_benchmark_is_left_out():
    assert cases.uncovered() == []


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["pass", "unsupported"], 0),
        (["pass", "skipped"], 3),
        (["pass", "skipped", "fail"], 1),
        ([], 3),
    ],
)
def test_only_what_held_is_a_pass(verdicts, code):
    assert exit_of(Result(check="one", verdict=verdict) for verdict in verdicts) == code
