"""Completion in the shells that are installed, asked as somebody asks who presses a key."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.cli.completing import VARIABLE

ROOT = Path(__file__).parents[2]
NEEDS = {
    shell: pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")
    for shell in ("bash", "zsh", "fish")
}
OFFERED = [
    ("hengsuan cert", {"certify", "certificate"}),
    ("hengsuan results ro", {"roofline"}),
    ("hengsuan run qui", {"quick"}),
    ("hengsuan run --suit", set()),
    ("hengsuan run --resu", {"--resume"}),
    ("hengsuan run quick --profile def", {"default"}),
    ("hengsuan run quick --cluster sma", {"small"}),
    ("hengsuan run quick --stand-in ascend-910", {"ascend-910b", "ascend-910c"}),
    ("hengsuan run quick --backend cp", {"cpu"}),
    ("hengsuan gate pair --gate co", {"counts"}),
    ("hengsuan project llama-7", {"llama-70b"}),
    ("hengsuan results show 2026", {"20260102-000000-quick", "20260101-000000-quick"}),
    ("hengsuan results show --out other 2025", {"20251231-000000-other"}),
    ("hengsuan compare 20260101-000000-quick 20260102", {"20260102-000000-quick"}),
    ("hengsuan completion z", {"zsh"}),
]


@pytest.fixture
def here(tmp_path):
    """A folder with runs in it, and ``hengsuan`` of this checkout in the path."""
    for name in ("results/20260101-000000-quick", "results/20260102-000000-quick", "results/none"):
        (tmp_path / name).mkdir(parents=True)
        if not name.endswith("none"):
            (tmp_path / name / "run.json").write_text("{}")
    (tmp_path / "other" / "20251231-000000-other").mkdir(parents=True)
    (tmp_path / "other" / "20251231-000000-other" / "run.json").write_text("{}")
    program = tmp_path / "bin" / "hengsuan"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m bench "$@"\n')
    program.chmod(0o755)
    return tmp_path


def environment(here):
    return {
        "PATH": f"{here / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(here),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }


def asked(here, shell, script):
    done = subprocess.run(
        [shell, *script],
        cwd=here,
        env=environment(here),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@NEEDS["bash"]
def test_bash_offers_what_fits(here):
    """In one shell, through the function that the script makes known."""
    lines = ["source <(hengsuan completion bash)"]
    for line, _ in OFFERED:
        lines += [
            f"COMP_WORDS=({line}) COMP_CWORD={len(line.split()) - 1} COMPREPLY=()",
            "compopt() { :; }",
            '_hengsuan_completion hengsuan; echo "|${COMPREPLY[*]}"',
        ]
    script = "\n".join(lines)
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=here,
        env=environment(here),
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    found = [set(line.removeprefix("|").split()) for line in done.stdout.splitlines()]
    assert found == [wanted for _, wanted in OFFERED]


@NEEDS["fish"]
@pytest.mark.parametrize(("line", "wanted"), [OFFERED[2], OFFERED[6], OFFERED[11]])
def test_fish_offers_what_fits(here, line, wanted):
    script = f"hengsuan completion fish | source; complete -C '{line}'"
    assert asked(here, "fish", ["--no-config", "-c", script]) == wanted


def typed(here, words, keys, wanted, seconds=120.0):
    """What a shell shows on a real terminal when these keys are pressed, until it shows enough."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(here)
        os.execvpe(words[0], words, environment(here))
    shown, end, sent = b"", time.monotonic() + seconds, False
    try:
        while time.monotonic() < end and wanted not in shown:
            if not sent and b"READY" in shown.replace(b"echo", b""):
                os.write(terminal, keys)
                shown, sent = b"", True
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 65536)
    finally:
        os.close(terminal)
        os.kill(child, 9)
        os.waitpid(child, 0)
    return shown


@NEEDS["bash"]
def test_a_key_completes_in_bash(here):
    (here / "rc").write_text(
        "source <(hengsuan completion bash)\nPS1='> '\nbind 'set enable-bracketed-paste off'\n"
        "echo REA''DY\n"
    )
    shown = typed(
        here, ["bash", "--noprofile", "--rcfile", "rc", "-i"], b"hengsuan run qui\t", b"quick"
    )
    assert b"hengsuan run quick" in shown


@NEEDS["zsh"]
def test_a_key_completes_in_zsh(here):
    (here / ".zshrc").write_text(
        "autoload -Uz compinit && compinit -u -D\nsource <(hengsuan completion zsh)\nPS1='> '\n"
        "echo REA''DY\n"
    )
    shown = typed(here, ["zsh", "-i"], b"hengsuan run qui\t", b"quick")
    assert b"quick" in shown


def test_a_shell_that_asks_nonsense_gets_no_traceback(here):
    for instruction in ("bash_complete", "nothing_complete", "bash"):
        done = subprocess.run(
            [sys.executable, "-m", "bench"],
            cwd=here,
            env={**environment(here), VARIABLE: instruction},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert done.stdout + done.stderr == ""


def test_nothing_heavy_is_imported_for_a_word(here):
    script = (
        "import os, sys\n"
        "os.environ.update(COMP_WORDS=sys.argv[1], COMP_CWORD=str(len(sys.argv[1].split()) - 1))\n"
        "os.environ['_HENGSUAN_COMPLETE'] = 'bash_complete'\n"
        "from bench import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = [m for m in ('torch', 'ray', 'triton', 'rich') if m in sys.modules]\n"
        "print(heavy, file=sys.stderr)"
    )
    for line, wanted in OFFERED[2:12]:
        done = subprocess.run(
            [sys.executable, "-c", script, line],
            cwd=here,
            env=environment(here),
            capture_output=True,
            text=True,
        )
        assert done.stderr == "[]\n"
        offered = {part.partition(",")[2] for part in done.stdout.splitlines() if "plain" in part}
        assert offered == wanted
