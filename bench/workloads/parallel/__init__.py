"""A decoder spread over the ranks of a group, as a `bench.kernels.layout.Layout` says.

`trainer.Trainer` builds it: ``meshes`` makes the groups, ``tensor`` splits matrices, ``experts``
sends tokens to experts of other ranks, ``context`` splits sequences, ``again`` computes activations
a second time. What they exchange goes through the group's collective library.
"""
