"""What a number format can carry: the accuracy that a matrix product in it may reach. No torch.

Errors are relative, root mean square over the result (Frobenius norms); bits are -log₂ of them.
Rounding errors are taken as independent and uniform within half a unit in the last place, the
usual model of analyses that do not want the worst case (Higham & Mary, A New Approach to
Probabilistic Rounding Error Analysis, 2019).
"""

from __future__ import annotations

import math

from .costs import output_dtype

SIGNIFICAND = {
    "fp64": 53,
    "fp32": 24,
    "tf32": 11,
    "fp16": 11,
    "bf16": 8,
    "fp8_e4m3": 4,
    "fp8_e5m2": 3,
}
"""Bits of the significand, the hidden one included (IEEE 754; Micikevicius et al., FP8 Formats for
Deep Learning, 2022; tf32 has fp16's significand)."""

INTEGER_SCALE = 32.0
"""Standard deviation of the integers that products of int8 are measured on (`op.Fill.normal`)."""


def rounding_error(bits: int) -> float:
    """Relative error of rounding once to a significand of ``bits``: √(2·ln 2 / 9) · 2⁻ᵇⁱᵗˢ.

    The error is uniform in half a unit either way, so its square is unit² / 12 on average, and
    unit = 2¹⁻ᵇⁱᵗˢ of a significand of 1. Significands m of a result are spread as 1 / (m · ln 2)
    over [1, 2) (Hamming, On the Distribution of Numbers, 1970), whose mean square is 3 / (2·ln 2).
    """
    return float(math.sqrt(2 * math.log(2) / 9) * 2.0**-bits)


def product_bits(dtype: str, k: int, distribution: str = "normal") -> float:
    """Effective bits of C = A · B in a format, K terms a sum, done as well as the format allows.

    Operands are rounded to the format (that matters for tf32, whose operands come in fp32), the
    terms are added one after the other in fp32, and the sum is rounded once to the format of the
    result (`costs.output_dtype`). The three errors are independent, their squares add:

    - the result: that of one rounding;
    - the sum: K / 2 roundings of fp32, since partial sums grow as a random walk;
    - operands: two roundings a term, which average out where the terms share their sign: terms
      of mean μ² and mean square s² reduce their square by 1 + (K - 1)·μ⁴ / s² (9 / 16 for numbers
      from [0, 1), 0 for those of mean zero).

    Sums of int8 are exact in int32. What an exact result carries is its size in units, the step of
    a rounding to integers: 32² · √K · √12.

    Args:
        dtype: Format of A and B: one of `SIGNIFICAND`, or int8.
        k: Terms of a sum.
        distribution: Of the operands' values (`op.DISTRIBUTIONS`).
    """
    if dtype == "int8":
        return math.log2(INTEGER_SCALE**2 * math.sqrt(12 * k))
    kept = "fp32" if dtype == "tf32" else output_dtype(dtype)
    squares = rounding_error(SIGNIFICAND[kept]) ** 2
    squares += rounding_error(SIGNIFICAND["fp32"]) ** 2 * k / 2
    if dtype == "tf32":
        averaging = 1 + (k - 1) * (9 / 16 if distribution == "uniform" else 0.0)
        squares += 2 * rounding_error(SIGNIFICAND["tf32"]) ** 2 / averaging
    return -math.log2(math.sqrt(squares))
