"""Imported under Triton's interpreter, of which this replaces what is wrong or slow.

Its conversion to fp8 rounds ties up and cuts subnormals off; chips round to even. At every launch
and every call of a kernel's function it searches the language for what to replace and replaces it
again: once is enough where nothing is compiled, and half of the time.
"""

import functools

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

FP8 = {
    "fp8e4nv": torch.float8_e4m3fn,
    "fp8e5": torch.float8_e5m2,
    "fp8e4b8": torch.float8_e4m3fnuz,
    "fp8e5b16": torch.float8_e5m2fnuz,
}
_convert, _patch = interpreter._convert_float, interpreter._patch_lang
_scalar_of = functools.cache(interpreter._get_np_dtype)
_patched = set()


def rounded(values, given, wanted, mode):
    """fp32 to fp8 by torch; all else as the interpreter does it."""
    if str(given) != "fp32" or str(wanted) not in FP8:
        return _convert(values, given, wanted, mode)
    made = torch.from_numpy(values.copy()).to(FP8[str(wanted)])
    return made.view(torch.uint8).numpy().reshape(values.shape)


class Kept:
    """What has been replaced stays."""

    def restore(self):
        pass


def patched(fn):
    """The modules of the language that a kernel's text names, replaced when first seen."""
    seen = frozenset(id(one) for one in fn.__globals__.values() if one is tl or one is tl.core)
    if seen not in _patched:
        _patch(fn)
        _patched.add(seen)
    return Kept()


def scalar_of(given):
    """NumPy's type for elements of a type, of which the interpreter makes a table at each call."""
    scalar = given.scalar
    return np.dtype(np.uint64) if scalar.is_ptr() else _scalar_of(scalar)


interpreter._convert_float = rounded
interpreter._patch_lang = patched
interpreter._get_np_dtype = scalar_of
