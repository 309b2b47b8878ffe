"""Builds the C++ part against the torch that is installed."""

from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

sources = sorted(map(str, Path("csrc").glob("*.cpp")))
# What Python's own flags ask for, symbols for a debugger, takes as long as all else.
flags = ["-O1", "-g0"]
setup(
    ext_modules=[CppExtension("torch_nuomi._C", sources, extra_compile_args=flags)],
    cmdclass={"build_ext": BuildExtension.with_options(no_python_abi_suffix=True)},
)
