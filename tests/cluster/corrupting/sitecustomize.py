"""Makes a node's ranks defective: put this folder first on the PYTHONPATH of what starts them.

Python imports this module when it starts. In a rank process it waits for torch and lets one
product in so many come out with one bit of one element flipped, as a defective multiplier does.

``HENGSUAN_TEST_FLIPS``: the share of products, 0.02 by default; ``HENGSUAN_TEST_FLIPS_SEED``:
which. Products in fp64 stay right, for by them the harness judges, not the device.

``HENGSUAN_TEST_LATE``: seconds that the last rank of every group needs more for an embedding.
"""

import importlib.abc
import importlib.machinery
import os
import random
import sys
import time


def _flipping(product, share, draw):
    """``product``, with the lowest bit of one element flipped in a share of its calls."""

    def broken(*operands, **options):
        import torch

        result = product(*operands, **options)
        if draw.random() < share and result.dtype in (torch.float32, torch.bfloat16):
            kind = torch.int32 if result.dtype is torch.float32 else torch.int16
            with torch.no_grad():
                flat = result.detach().view(kind).view(-1)
                flat[draw.randrange(flat.numel())] ^= 1
        return result

    return broken


def _dawdling(forward, seconds):
    """``forward``, later by so many seconds on the last rank of a group."""

    def late(*given, **options):
        import torch.distributed as dist

        if dist.is_initialized() and dist.get_rank() == dist.get_world_size() - 1:
            time.sleep(seconds)
        return forward(*given, **options)

    return late


class _Torch(importlib.abc.MetaPathFinder):
    """Finds torch as all others do, and breaks it once it is loaded."""

    def find_spec(self, name, path, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def loaded(module):
            load(module)
            share = float(os.environ.get("HENGSUAN_TEST_FLIPS", "0.02"))
            draw = random.Random(int(os.environ.get("HENGSUAN_TEST_FLIPS_SEED", "1")))
            module.mm = _flipping(module.mm, share, draw)
            if late := float(os.environ.get("HENGSUAN_TEST_LATE", "0")):
                embedding = module.nn.Embedding
                embedding.forward = _dawdling(embedding.forward, late)

        spec.loader.exec_module = loaded
        return spec


if "bench.cluster.rank_main" in sys.orig_argv:
    sys.meta_path.insert(0, _Torch())
