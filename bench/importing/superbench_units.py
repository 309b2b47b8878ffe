"""The documented units of SuperBench's metrics (docs/user-tutorial/benchmarks/*.md)."""

from __future__ import annotations

import re

from ..records import Better

Unit = tuple[str, float, Better]
_MS: Unit = ("s", 1e-3, "lower")
_US: Unit = ("s", 1e-6, "lower")
_S: Unit = ("s", 1.0, "lower")
_GB: Unit = ("B/s", 1e9, "higher")
_MB: Unit = ("B/s", 1e6, "higher")
_GFLOPS: Unit = ("FLOP/s", 1e9, "higher")
_TFLOPS: Unit = ("FLOP/s", 1e12, "higher")
_SAMPLES: Unit = ("samples/s", 1.0, "higher")
_NS: Unit = ("s", 1e-9, "lower")
_IOPS: Unit = ("1/s", 1.0, "higher")

_TABLE: tuple[tuple[str, str, Unit], ...] = (
    (r"kernel-launch", r".*_us", _US),
    (r"kernel-launch", r"(?:event|wall)_(?:overhead|time)", _MS),
    (r"kernel-launch", r".*_mkps", ("1/s", 1e6, "higher")),
    (r"gemm-flops", r"(?:.*_flops|F[PT].*|BF16.*|TF32.*)", _GFLOPS),
    (r"gemm-flops", r"(?:.*_iops|INT.*)", ("OP/s", 1e9, "higher")),
    (r".*blaslt-gemm", r".*_flops", _TFLOPS),
    (
        r"(?:pytorch-)?matmul|pytorch-(?:sharding-)?matmul",
        r"(?:no)?sharding(?:_time)?|.*_time",
        _MS,
    ),
    (r"(?:cublas|cudnn)-function", r".*_time", _US),
    (r"tensorrt-inference", r".*_time_(?:mean|\d+)", _MS),
    (r"ort-inference", r".*_time(?:_[\d.]+)?", _MS),
    (r"gpu-burn", r"time", _S),
    (r"cpu-hpl", r"throughput", _GFLOPS),
    (r"cpu-hpl", r"time", _S),
    (r"gpu-hpcg", r".*_gflops(?:_per_process)?", _GFLOPS),
    (r"gpu-hpcg", r".*_bandwidth(?:_per_process)?", _GB),
    (r"gpu-hpcg", r".*_time", _S),
    (r"cpu-stream", r".*_throughput", _MB),
    (r"cpu-stream", r".*_time_(?:avg|min|max)", _S),
    (r"cpu-memory-bw-latency", r".*_lat", _NS),
    (r"cpu-memory-bw-latency", r".*_bw", _MB),
    (r"mem-bw", r"[hd]2[hd]_bw|[HD]2[HD]_Mem_BW", _GB),
    (r"gpu-(?:sm-)?copy-bw", r".*_bw|[dh]to[dh]", _GB),
    (r"gpu-stream", r".*_bw", _GB),
    (r"gpu-stream", r".*_time(?:_(?:avg|min|max))?", _S),
    (r"nvbandwidth", r".*_bw", _GB),
    # Its latencies are left out: documented as us, and printed in ns.
    (r"ib-traffic", r"ib_(?:write|read|send)_bw_.*", _GB),
    (r"ib-traffic", r"ib_(?:write|read|send)_lat_.*", _US),
    (r"disk-benchmark", r".*_iops", _IOPS),
    (r"disk-benchmark", r".*_lat_ns_[\d.]+", _NS),
    (r"(?:[^/]+/)?pytorch-computation-communication-overlap", r".*_(?:time|cost)", _MS),
    (r"(?:[^/]+/)?(?:pytorch-)?dist-inference", r"step_times(?:_[\d.]+)?", _MS),
    (r"ib-loopback", r"ib_(?:write|read|send)_bw_.*", _GB),
    (r"[nr]ccl-bw", r".*_time", _US),
    (r"[nr]ccl-bw", r".*_(?:alg|bus)bw", _GB),
    (r"tcp-connectivity", r".*_time_(?:min|max|avg)", _MS),
    (r"(?:.*-)?(?:model-benchmarks|.*_models)(?:/.*)?|pytorch-.*", r".*step_?time.*", _MS),
    (r"(?:.*-)?(?:model-benchmarks|.*_models)(?:/.*)?|pytorch-.*", r".*throughput.*", _SAMPLES),
    (r"megatron-gpt", r".*_train_step_time", _MS),
    (r"megatron-gpt", r".*_train_throughput", _SAMPLES),
    (r"megatron-gpt", r".*_train_tflops", _TFLOPS),
)
_COMPILED = tuple((re.compile(b), re.compile(m), unit) for b, m, unit in _TABLE)


def unit_of(benchmark: str, metric: str) -> Unit | None:
    """(our unit, how much of it one printed is, direction); None where nobody documents it.

    Args:
        benchmark: Its name without annotation.
        metric: Without run and rank.
    """
    for named, measured, unit in _COMPILED:
        if named.fullmatch(benchmark) and measured.fullmatch(metric):
            return unit
    return None
