"""Where to look first: which cause is told of what was found."""

import pytest

from bench.analysis.certify.causes import explained
from bench.verdicts import Evidence


def one(against, text="slow", metric="", **more):
    return Evidence(verdict="reject", against=against, text=text, metric=metric, **more)


def cause(*found, usual=60.0):
    return explained(found, usual)[0].cause


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("in stage device: gpu0 ecc_uncorrected +3", "failing device memory"),
        ("in stage device: mlu2 ecc +1", "failing device memory"),
        ("in stage device: NVRM: Xid 48, Double Bit ECC Error", "failing device memory"),
        ("in stage device: gpu0 rows_remapped +2", "failing device memory"),
        ("a row of memory could not be remapped: no spare is left", "failing device memory"),
        ("in stage device: gpu0 pages_retired +1", "failing device memory"),
        ("pages of memory wait for a reset to be retired", "failing device memory"),
        ("uncorrected errors of on-chip memory are beyond", "failing device memory"),
        # None of these is memory of a device.
        ("in stage fabric: pcie: AER: Uncorrected (Fatal) error", "driver, library or hardware"),
        ("in stage fabric: memory/mc0 uncorrectable +1", "driver, library or hardware"),
        ("DMAR: [INTR-REMAP] Request device fault", "driver, library or hardware"),
        ("failed: eccl timed out", "driver, library or hardware"),
        ("failed: Out of Memory", "memory held by somebody else"),
        ("device 3 is in use by python", "somebody works on the device"),
    ],
)
def test_what_a_fault_says(text, begins):
    assert cause(one("fault", text)).startswith(begins)


def test_a_setting_unlike_its_fellows_is_no_defect_of_what_it_sets():
    told = one("drift", "device.0.ecc is disabled; 90% of 10 nodes have it", "device.0.ecc")
    assert cause(told).startswith("installed or wired unlike")


@pytest.mark.parametrize(
    ("degrees", "usual", "hot"),
    [(68.0, 60.0, False), (68.5, 60.0, True), (None, 60.0, False), (90.0, None, False)],
)
def test_hot_is_more_than_eight_kelvin_above_the_fleet(degrees, usual, hot):
    seen = {} if degrees is None else {"temperature": degrees}
    slow = one("fleet", metric="gemm 1024 bf16 flops", conditions=seen)
    assert cause(slow, usual=usual).startswith("cooling: the device runs hotter") == hot
    throttled = one("fleet", metric="gemm flops", conditions={**seen, "throttled": "SW limit"})
    said = cause(throttled, usual=usual)
    assert said.startswith("cooling: fans" if hot else "the device throttles")


def test_what_throttles_for_power_lacks_power():
    seen = {"throttled": "Power cap"}
    assert cause(one("fleet", metric="gemm flops", conditions=seen)).startswith("power: supply")
    # A word of the text is no throttling.
    assert cause(one("fleet", "low power", "gemm flops")).startswith("the chip's clock")


@pytest.mark.parametrize("against", ["floor", "datasheet", "fleet", "baseline", "history"])
@pytest.mark.parametrize(
    ("metrics", "begins"),
    [
        (("stream triad bandwidth",), "device memory"),
        (("stream triad bandwidth", "gemm flops"), "the whole device is slow"),
        (("gemm flops", "stream triad bandwidth"), "the whole device is slow"),
        (("gemm flops",), "the chip's clock"),
        (("gemm flops", "transfer h2d bandwidth"), "the chip's clock"),
        (("train tiny compute",), "a straggler"),
        (("train tiny compute", "gemm flops"), "the chip's clock"),
        (("train tiny step_p50",), "the chip's clock"),
        (("transfer h2d bandwidth",), "the link to the host"),
        (("launch add time",), "the host's processor"),
        (("pairs 1GiB bandwidth",), "the node's network card"),
        (("collectives all_reduce busbw",), "links inside the node"),
        (("precision accuracy",), ""),
    ],
)
def test_what_is_slow_beside_what_is_not(against, metrics, begins):
    found = [one(against, metric=metric) for metric in metrics]
    told = cause(*found)
    assert told.startswith(begins) and bool(told) == bool(begins)


def test_a_link_between_two_is_no_card_of_one():
    said = "link between a and b: 20% below"
    assert cause(one("fabric", said, "pairs 1GiB bandwidth")).startswith("the cable")
    assert cause(one("fabric", "20% below", "pairs 1GiB bandwidth")).startswith("the node's")
    assert cause(one("fabric", said, "gemm flops")) == ""


def test_wrong_bits_come_before_everything_and_a_given_cause_stays():
    hot = {"temperature": 95.0, "throttled": "hot"}
    assert cause(one("corruption", conditions=hot)).startswith("a defect of the chip")
    assert cause(one("sanity", conditions=hot)).startswith("wrong results")
    assert cause(one("sanity", cause="known")) == "known"
