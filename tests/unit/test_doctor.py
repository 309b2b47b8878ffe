"""What doctor prints of devices: what is wrong with one is said on the screen too."""

from __future__ import annotations

from bench.backends.answers import Health
from bench.cli import doctor_verb


def test_what_is_wrong_with_a_device_is_said(capsys):
    wrong = "a row of memory could not be remapped: no spare is left"
    device = {"name": "Acme One", "memory": 1 << 30, "chip": None, "in_use_by": ""}
    devices = [
        {**device, "index": index, "health": Health(problem=problem)}
        for index, problem in enumerate(("", wrong))
    ]
    node = dict.fromkeys(("name", "cpu", "cores", "frequency", "governor"), "")
    doctor_verb._print(
        {
            "node": {**node, "memory": 1 << 30, "nice": 0},
            "versions": {"hengsuan": "1"},
            "backends": [{"backend": "acme", "origin": "", "devices": devices, "links": []}],
            "cluster": [],
            "quiet": True,
            "reasons": [],
            "warnings": [],
        }
    )
    said = capsys.readouterr().out
    assert f"acme 1: {wrong}\n" in said
    assert "acme 0: \n" not in said
