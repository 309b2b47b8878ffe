"""What a run of the suite ``slices`` comes to: read off its rows, and only off an accelerator's."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from made_runs import case, header

from bench.records import Device, Node

SCRIPT = Path(__file__).parents[1] / "device" / "training.py"
NODE = Node(
    id="n", name="n", machine="n", address="", backend="acme", collectives="",
    devices=(Device(index=0, backend="acme", name="Acme One", memory=1 << 30),),
)  # fmt: skip


def run(folder, speed=110.0, estimate=95.0, **changes):
    """A folder with a matrix product, steps in two ways and the memory of one."""
    made = [
        (case(0, axes={"impl": "torch"}, expected=200.0), 100.0),
        *(
            (case(n, "train", {"ops": ops}, metric, title=f"train {ops}"), value)
            for n, ops, metric, value in (
                (1, "triton", "tokens_per_second", speed),
                (2, "compile", "tokens_per_second", 100.0),
                (3, "triton", "mfu", 0.3),
                (4, "torch", "peak_memory", 100.0),
                (5, "torch", "memory_estimate", estimate),
            )
        ),
    ]
    told = {"nodes": [NODE], "fleet": None, "environment": {"versions": {}}, **changes}
    whole = header(*(one for one, _ in made), groups=1, **told)
    folder.mkdir()
    (folder / "run.json").write_bytes(msgspec.json.encode(whole))
    rows = [[n, 0, 0, 0.0, v, v, v, 1, "ok", -1, "measured", ""] for n, (_, v) in enumerate(made)]
    (folder / "measurements.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return folder


def judged(folder, out):
    words = [sys.executable, str(SCRIPT), str(folder), "--out", str(out)]
    return subprocess.run(words, capture_output=True, text=True)


def verdicts(done):
    return [line.split("|")[-2].strip() for line in done.stdout.splitlines()[2:]]


def test_ratios_stand_beside_their_bounds(tmp_path):
    done = judged(run(tmp_path / "met"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert verdicts(done) == ["met", "met", "met"]
    # 30 % of a datasheet's 200 are 60 of the 100 that a product reached.
    assert [text for text in ("1.100", "0.600", "0.950") if text not in done.stdout] == []
    assert (tmp_path / "acme-one" / "training.md").read_text().count("met |") == 3
    missed = judged(run(tmp_path / "missed", speed=99.0, estimate=120.0), tmp_path)
    assert verdicts(missed) == ["MISSED", "met", "MISSED"]


@pytest.mark.parametrize("provenance", ["stand-in", "simulated"])
def test_what_is_of_no_accelerator_is_refused(tmp_path, provenance):
    done = judged(run(tmp_path / "run", provenance=provenance), tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"is {provenance}: these bounds are of accelerators" in done.stderr
    assert not (tmp_path / "acme-one").exists()


def test_no_run_is_said(tmp_path):
    done = judged(tmp_path / "none", tmp_path)
    assert done.returncode == 2
    assert "holds no run.json" in done.stderr
