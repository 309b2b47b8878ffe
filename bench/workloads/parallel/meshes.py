"""The groups of ranks that a layout asks for, as device meshes over the process's default group."""

from __future__ import annotations

import math
from typing import Any

import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from ...kernels.layout import Spread


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
        self._made: list[DeviceMesh] = []
        alike = 1 if layout.plain else spread.copies * spread.shards
        dims: dict[str, int] = {}
        if alike > 1:
            dims = {"copies": spread.copies, "shards": spread.shards}
        whole = self._mesh({"pp": layout.pp, **dims, "tp": layout.tp}, keep=tuple(dims)[1:])
        self.weights = _weights(whole) if dims else None
        self.tensor = whole["tp"] if layout.tp > 1 and whole is not None else None
        self.pipeline = whole["pp"].get_group() if layout.pp > 1 and whole is not None else None
        self.context: Any = None
        if layout.cp > 1:
            around = {"outer": spread.ranks // (layout.cp * layout.tp)}
            split = self._mesh({**around, "cp": layout.cp, "tp": layout.tp})
            assert split is not None
            self.context = split["cp"].get_group()
        self.experts = self.expert_weights = None
        if layout.ep > 1:
            few = {"copies": spread.copies, "shards": spread.shards // layout.ep}
            apart = self._mesh({"pp": layout.pp, **few, "ep": layout.ep}, keep=("shards",))
            assert apart is not None
            self.experts, self.expert_weights = apart["ep"], _weights(apart)

    def _mesh(self, dims: dict[str, int], keep: tuple[str, ...] = ()) -> DeviceMesh | None:
        used = {name: size for name, size in dims.items() if size > 1 or name in keep}
        if math.prod(used.values()) == 1:
            return None
        mesh = init_device_mesh(
            self._type, tuple(used.values()), mesh_dim_names=tuple(used.keys())
        )
        self._made.append(mesh)
        return mesh

    def close(self) -> None:
        """Give back the groups: a collective library keeps buffers and connections for each."""
        for mesh in self._made:
            for group in mesh.get_all_groups():
                if group is not dist.group.WORLD:
                    dist.destroy_process_group(group)
        self._made.clear()


def _weights(mesh: DeviceMesh | None) -> DeviceMesh | None:
    if mesh is None:
        return None
    names = mesh.mesh_dim_names or ()
    return mesh["copies", "shards"] if "copies" in names else mesh["shards"]
