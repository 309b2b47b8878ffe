"""The gate: has a candidate become slower than its baseline? A pure function of what was measured.

Baseline and candidate are measured in *blocks*, side by side in time; a block is the independent
unit, never the single call. With s = 1 where lower is better and -1 where higher is, and x the
median of a side's samples in block k,

    r_k = s · ln(x_candidate,k / x_baseline,k)        r > 0: worse

What all blocks say is the Hodges-Lehmann estimate of r with exact limits of the signed-rank test
(`signed_rank`); the verdict is three-sided, against a margin τ = ln(1 + margin) (`sequential`).
Whatever is not measured, not comparable or not sound is a state of its own and never passes
(`judging`).
"""
