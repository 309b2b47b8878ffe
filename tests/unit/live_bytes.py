"""Bytes of all tensors that live, counted as they are made and let go of."""

import weakref
from collections import deque

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.kernels import launch


class Live(TorchDispatchMode):
    """While it is entered: ``now``, bytes of the storages made since, and ``most`` of them."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self._sizes = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                self._count(one.untyped_storage())
        return made

    def _count(self, storage):
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            weakref.finalize(storage, self._gone, key)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)

    def _gone(self, key):
        self.now -= self._sizes.pop(key)


def without_launches(monkeypatch):
    """Kernels compute nothing: what tensors they are given shows on any machine."""
    monkeypatch.setattr(launch, "_recorded", deque(maxlen=0))
