"""What NVIDIA GPUs count of their own errors, through NVML (nvml.h, "ECC", "NvLink", "Remap")."""

from __future__ import annotations

from typing import Any

from .base import Health

_LINK_COUNTERS = {"replay": 0, "recovery": 1, "crc_flit_corrected": 2, "crc_data_corrected": 3}
"""nvmlNvLinkErrorCounter_t. A link sends again what arrived with a wrong checksum, so that some of
those are ordinary; that it had to rewind or to train anew is not."""


def ask(nvml: Any, function: str, *arguments: Any) -> Any | None:
    """The function's answer; None where this GPU, driver or package does not support it."""
    try:
        return getattr(nvml, function)(*arguments)
    except (AttributeError, nvml.NVMLError):
        return None


def active_links(nvml: Any, handle: Any) -> list[int]:
    """The NVLinks that are up."""
    most = getattr(nvml, "NVML_NVLINK_MAX_LINKS", 0)
    return [link for link in range(most) if ask(nvml, "nvmlDeviceGetNvLinkState", handle, link)]


def nvml_health(nvml: Any, handle: Any) -> Health:
    """Counters of memory, NVLink and PCI Express; whether memory needs a reset or is used up."""
    errors: dict[str, int | None] = {
        "ecc_corrected": _ecc(nvml, handle, "CORRECTED"),
        "ecc_uncorrected": _ecc(nvml, handle, "UNCORRECTED"),
        "pcie_replay_corrected": ask(nvml, "nvmlDeviceGetPcieReplayCounter", handle),
    }
    problems = []
    remapped = ask(nvml, "nvmlDeviceGetRemappedRows", handle)
    if remapped is not None:
        correctable, uncorrectable, pending, failed = remapped
        errors["rows_remapped"] = int(correctable) + int(uncorrectable)
        if pending:
            problems.append("rows of memory wait for a reset to be remapped")
        if failed:
            problems.append("a row of memory could not be remapped: no spare is left")
    errors["pages_retired"] = _retired(nvml, handle)
    if ask(nvml, "nvmlDeviceGetRetiredPagesPendingStatus", handle):
        problems.append("pages of memory wait for a reset to be retired")
    if _worn(nvml, handle):
        problems.append("uncorrected errors of on-chip memory are beyond the vendor's threshold")
    for link in active_links(nvml, handle):
        for name, counter in _LINK_COUNTERS.items():
            found = ask(nvml, "nvmlDeviceGetNvLinkErrorCounter", handle, link, counter)
            errors[f"nvlink{link}_{name}"] = found
    known = {name: int(count) for name, count in errors.items() if count is not None}
    return Health(errors=known, problem="; ".join(problems))


def _ecc(nvml: Any, handle: Any, kind: str) -> int | None:
    """Memory errors since boot."""
    wanted = getattr(nvml, f"NVML_MEMORY_ERROR_TYPE_{kind}", None)
    since = getattr(nvml, "NVML_VOLATILE_ECC", None)
    found: int | None = ask(nvml, "nvmlDeviceGetTotalEccErrors", handle, wanted, since)
    return found


def _retired(nvml: Any, handle: Any) -> int | None:
    """Pages retired for either cause, on GPUs that retire pages rather than remap rows."""
    found = [ask(nvml, "nvmlDeviceGetRetiredPages", handle, cause) for cause in (0, 1)]
    known = [len(pages) for pages in found if pages is not None]
    return sum(known) if known else None


def _worn(nvml: Any, handle: Any) -> bool:
    status = ask(nvml, "c_nvmlEccSramErrorStatus_v1_t")
    if status is None or ask(nvml, "nvmlDeviceGetSramEccErrorStatus", handle, status) is None:
        return False
    return bool(status.bThresholdExceeded)
