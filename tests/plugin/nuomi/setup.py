"""Builds the C++ part against the torch that is installed."""

from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

sources = sorted(map(str, Path("csrc").glob("*.cpp")))
setup(
    ext_modules=[CppExtension("torch_nuomi._C", sources, extra_compile_args=["-O1"])],
    cmdclass={"build_ext": BuildExtension.with_options(no_python_abi_suffix=True)},
)
