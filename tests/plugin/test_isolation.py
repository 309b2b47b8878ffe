"""Plugins that hang, crash or spoil their process while their class is imported, and conflicts."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

WORKING = """
    from bench.backends.base import Backend
    from bench.records import Device

    class Made(Backend):
        name = "NAME"
        device_type = "made"
        priority = PRIORITY
        tested = "a bench of ours"

        def present(self):
            return ""

        def devices(self):
            return [Device(index=0, backend=self.name, name="Made One", lane="made:0")]
"""
SPOILT = {
    "hangs": ("import time; time.sleep(600)", "its import did not answer within 15 s"),
    "crashes": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "its import crashed with SIGSEGV",
    ),
    "leaves": ("import os; os._exit(0)", "its import ended without an answer"),
}


@pytest.fixture
def install(tmp_path):
    """Install distributions, each with a module and entry points; gives the environment."""
    site = tmp_path / "site"
    site.mkdir()

    def made(dist, source, *names):
        info = site / f"{dist}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        module = dist.replace("-", "_")
        points = "".join(f"{name} = {module}:Made\n" for name in names)
        (info / "entry_points.txt").write_text(f"[hengsuan.backends]\n{points}")
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        # More than a process needs to start on a busy machine: some of them must answer.
        return {**os.environ, "PYTHONPATH": str(site), "HENGSUAN_PROBE_SECONDS": "15"}

    return made


def working(name, priority=5):
    return WORKING.replace("NAME", name).replace("PRIORITY", str(priority))


def hengsuan(environment, *words):
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def listed(environment):
    done = hengsuan(environment, "backend", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {one["backend"]: one for one in json.loads(done.stdout)}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_class_whose_import_takes_the_process_along_is_listed_with_its_reason(install, kind):
    source, reason = SPOILT[kind]
    install("spoilt", source, "spoilt")
    environment = install("good", working("good"), "good")
    found = listed(environment)
    assert found["spoilt"]["state"] == "unusable"
    assert reason in found["spoilt"]["problem"]
    assert found["good"]["state"] == "present"
    assert found["good"]["tested"] == "a bench of ours"
    assert found["cpu"]["devices"]
    done = hengsuan(environment, "run", "quick", "--dry-run", "--backend", "spoilt")
    assert done.returncode == 4
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_one_that_breaks_torch_breaks_it_for_itself_alone(install):
    source = "import sys\nsys.modules['torch'] = None\n" + textwrap.dedent(
        """
        from bench.backends.base import TorchBackend

        class Made(TorchBackend):
            name = "jealous"
            device_type = "jealous"
            priority = 5

            def present(self):
                return ""
        """
    )
    environment = install("jealous", source, "jealous")
    found = listed(environment)
    assert found["jealous"]["state"] == "absent"
    assert "torch" in found["jealous"]["problem"]
    assert found["cpu"]["state"] == "present"


def test_a_backend_of_pytorch_s_own_that_breaks_its_import_breaks_nothing(install, tmp_path):
    environment = install("good", working("good", priority=2000), "good")
    info = tmp_path / "site" / "autoloaded-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: autoloaded\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[torch.backends]\nbad = autoloaded:start\n")
    (tmp_path / "site" / "autoloaded.py").write_text("raise OSError('libbad.so')\n")
    done = hengsuan(environment, "doctor", "--json")
    assert done.returncode == 0, done.stderr


def test_two_distributions_of_one_name_are_an_error(install):
    install("first", working("twice"), "twice")
    environment = install("second", working("twice"), "twice")
    one = listed(environment)["twice"]
    assert one["state"] == "unusable"
    assert one["origin"] == "first and second"
    assert "uninstall all but one" in one["problem"]
    done = hengsuan(environment, "run", "quick", "--dry-run", "--backend", "twice")
    assert done.returncode == 4
    assert "first and second both give a backend of this name" in done.stderr


def test_two_of_one_priority_that_both_find_devices_are_an_error(install):
    install("first", working("left"), "left")
    environment = install("second", working("right"), "right")
    done = hengsuan(environment, "run", "quick", "--dry-run")
    assert done.returncode != 0
    assert "left and right both find devices here and have one priority (5)" in done.stderr
    assert "--backend left" in done.stderr
    allowed = {**environment, "HENGSUAN_BACKENDS": "right,cpu"}
    done = hengsuan(allowed, "run", "quick", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr


def test_a_plugin_in_place_of_a_built_in_backend_says_so(install):
    environment = install("mine", working("musa"), "musa")
    one = listed(environment)["musa"]
    assert one["origin"] == "mine, in place of the built-in one"
    assert one["devices"] == ["Made One"]


def test_an_allowed_name_that_nobody_has_is_told(install):
    environment = install("good", working("good"), "good")
    found = listed({**environment, "HENGSUAN_BACKENDS": "good,cdua"})
    assert list(found) == ["cdua", "good"]
    assert found["cdua"]["problem"] == "no backend of this name is installed"
