"""The groups of ranks that a layout asks for, as device meshes over the process's default group."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ...kernels.layout import Spread

_numbers = itertools.count()


class Meshes:
    """Meshes over one order of ranks; a dimension of one rank is left out.

    - ``weights``: over which weights are copied and shared: one dimension of those that share
      them, behind one of copies if there are several. None: nobody else has any, or a plain
      data-parallel group does without a mesh.
    - ``tensor``, ``experts``: of one dimension each.
    - ``expert_weights``: as ``weights``, of the weights of experts.
    - ``context``, ``pipeline``: process groups.

    Every rank of the group makes them at the same time: a collective call.
    """

    def __init__(self, spread: Spread, device_type: str) -> None:
        layout, self._type = spread.layout, device_type
        # PyTorch keeps for good how it treated tensors on a mesh, by its extents and names, with
        # the groups that it had. One that is made anew, over other groups, needs other names.
        self._number = next(_numbers)
        self._made: list[DeviceMesh] = []
        alike = 1 if layout.plain else spread.copies * spread.shards
        dims = {"copies": spread.copies, "shards": spread.shards} if alike > 1 else {}
        whole = self._mesh({"pp": layout.pp, **dims, "tp": layout.tp}, keep=tuple(dims)[1:])
        self.weights = self._of(whole, "copies", "shards")
        self.tensor = self._of(whole, "tp")
        pipeline = self._of(whole, "pp")
        self.pipeline: Any = None if pipeline is None else pipeline.get_group()
        around = spread.ranks // (layout.cp * layout.tp)
        parts = {"around": around, "cp": layout.cp, "tp": layout.tp} if layout.cp > 1 else {}
        context = self._of(self._mesh(parts), "cp")
        self.context: Any = None if context is None else context.get_group()
        few = {"copies": spread.copies, "shards": spread.shards // layout.ep, "ep": layout.ep}
        apart = {"pp": layout.pp, **few} if layout.ep > 1 else {}
        split = self._mesh(apart, keep=tuple(apart)[2:3])
        self.experts = self._of(split, "ep")
        self.expert_weights = self._of(split, "copies", "shards")

    def _mesh(self, dims: dict[str, int], keep: tuple[str, ...] = ()) -> DeviceMesh | None:
        """A mesh of those dimensions that have several ranks, or are to be kept."""
        used = {name: size for name, size in dims.items() if size > 1 or name in keep}
        if math.prod(used.values()) == 1:
            return None
        names = tuple(map(self._name, used))
        mesh = init_device_mesh(self._type, tuple(used.values()), mesh_dim_names=names)
        self._made.append(mesh)
        return mesh

    def _name(self, name: str) -> str:
        return f"{name}{self._number}"

    def _of(self, mesh: DeviceMesh | None, *names: str) -> DeviceMesh | None:
        """The part of a mesh along those of these dimensions that it has; None: it has none."""
        there = mesh.mesh_dim_names or () if mesh is not None else ()
        found = tuple(name for name in map(self._name, names) if name in there)
        return mesh[found] if mesh is not None and found else None

    def close(self) -> None:
        """Give back the groups: a collective library keeps buffers and connections for each."""
        for mesh in self._made:
            for group in mesh.get_all_groups():
                if group is not dist.group.WORLD:
                    dist.destroy_process_group(group)
        self._made.clear()
