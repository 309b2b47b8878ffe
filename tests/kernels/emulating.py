"""What scripts that run Gluon kernels of sm_90 under the emulator share."""

import importlib.util
import os
import sys
import tempfile
import types
from pathlib import Path

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import torch

from bench.kernels import op
from bench.kernels.arch.sm_90 import tiles
from bench.kernels.arch.sm_90.jit import ring

sys.path.insert(0, os.path.dirname(__file__))
import gluon_emulator

LIMIT = op.reference.TOLERANCE["fp16"]
SHAPES = [
    # batch, heads, key heads, seq
    (1, 1, 1, 1),
    (1, 2, 1, 130),
    (2, 2, 2, 77),
    (1, 3, 1, 383),
    (1, 1, 1, 640),
]


def emulate(variant, seed=0, kernel=None, programs=1, beside=types.MappingProxyType({})):
    """Make a variant's launches emulate so many programs; the list collects the kernels' names.

    ``beside``: by name, what stands in for plain Triton kernels, given their arguments.
    """
    used = []

    def launch(given, grid, *arguments, num_warps, **constants):
        used.append(given.fn.__name__)
        if given.fn.__name__ in beside:
            beside[given.fn.__name__](arguments)
            return
        assert num_warps == 4
        gluon_emulator.launch(kernel or given, grid, *arguments, seed=seed, **constants)

    variant.launch, tiles.processors = launch, lambda device: programs
    return used


def chosen(block_n, stages, block_m=128, walking=True):
    """A configuration of a variant, whose programs walk blocks or have one each."""
    return {
        "block_m": block_m, "block_n": block_n, "num_warps": 8, "num_stages": stages, "tma": 1,
        "arch_variant": 1, **({"waves": 1} if walking else {}),
    }  # fmt: skip


def given(shape, dim, apart, seed, **heads):
    """Named fp16 tensors of so many heads, the rows of which lie ``apart`` elements apart."""
    fill = op.Fill(torch.device("cpu"), seed)
    found = {
        name: torch.full((shape[0], n, shape[3], dim + apart), float("nan")).half()[..., :dim]
        for name, n in heads.items()
    }
    for one in found.values():
        one.copy_(fill.normal(*one.shape, kind=torch.float16))
    return found


def _copy(module, text, instead, folder):
    """A module anew, with one place of its source changed."""
    path = Path(folder) / f"{module.__name__.rpartition('.')[2]}.py"
    source = Path(module.__file__).read_text(encoding="utf-8")
    path.write_text(source.replace(text, instead), encoding="utf-8")
    name = f"{module.__package__}.broken_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def broken(source, name, text, instead, folder):
    """A kernel with one place changed of its source or, where that is not in it, of `ring`."""
    inside = text in Path(source.__file__).read_text(encoding="utf-8")
    assert inside or text in Path(ring.__file__).read_text(encoding="utf-8"), text
    made = _copy(source, text, instead, folder)
    if not inside:
        changed = vars(_copy(ring, text, instead, folder))
        shared = [one for one in vars(made) if vars(ring).get(one) is vars(made)[one]]
        vars(made).update({one: changed[one] for one in shared if one[:2] != "__"})
    return getattr(made, name)


def refuses(variant, source, name, breaches, error, beside=types.MappingProxyType({}), seeds=3):
    """Every breach is seen, whatever order the partitions run in; ``error`` runs an example."""
    emulate(variant, programs=2, beside=beside)
    assert error() <= LIMIT
    for what, (text, instead) in breaches.items():
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                changed = broken(source, name, text, instead, folder)
                emulate(variant, seed, changed, programs=2, beside=beside)
                try:
                    found = error()
                except gluon_emulator.ProtocolError as said:
                    sys.stdout.write(f"{what}: {said}\n")
                    continue
                assert not found <= LIMIT, f"{what}: not seen with seed {seed}"
                sys.stdout.write(f"{what}: relative error {found:.2g}\n")
