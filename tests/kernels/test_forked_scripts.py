"""What runs the scripts of this folder must not hide that one fails."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from forked_scripts import Scripts

pytest.importorskip("triton", reason="Triton is not installed")


@pytest.fixture(scope="module")
def run():
    found = Scripts({**os.environ, "OMP_NUM_THREADS": "1"})
    yield found
    found.close()


@pytest.mark.parametrize(
    ("text", "code", "out", "err"),
    [
        ("import sys; print(sys.argv[1:], __name__)", 0, "['a', 'b'] __main__\n", ""),
        ("print(1); raise ValueError('why')", 1, "1\n", "ValueError: why\n"),
        ("import sys; sys.exit('said')", 1, "", "said\n"),
        ("import sys; sys.exit(7)", 7, "", ""),
        ("import os; os.kill(os.getpid(), 9)", -9, "", ""),
        ("import sys; print(sys.stdin.read())", 0, "\n", ""),
    ],
)
def test_a_script_ends_as_if_it_were_started_anew(run, tmp_path, text, code, out, err):
    (tmp_path / "script.py").write_text(text)
    done = run(str(tmp_path / "script.py"), "a", "b")
    assert (done.returncode, done.stdout) == (code, out)
    assert done.stderr.endswith(err)
    assert err or not done.stderr


def test_what_triton_is_told_as_it_is_imported_is_what_the_script_says(run, tmp_path):
    compiles = "import triton\ndef f(): pass\nprint(type(triton.jit(f)).__name__)"
    interprets = 'import os\nos.environ["TRITON_INTERPRET"] = "1"\n' + compiles
    for text, kind in ((compiles, "JITFunction"), (interprets, "InterpretedFunction")):
        (tmp_path / "script.py").write_text(text)
        assert run(str(tmp_path / "script.py")).stdout == f"{kind}\n"
