"""The Triton core: one operation a file, with costs, reference and tuned configurations.

Import it as ``bench.kernels``. Inside, imports are relative or of the standard library, torch,
triton, numpy and yaml; Triton is imported only where a Triton implementation is asked for.
"""
