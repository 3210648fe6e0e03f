"""Watches a GPU while a case runs on it: its errors, and what slows it down."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from harness.devices.nvml.binding import answer, open_nvml

if TYPE_CHECKING:
    from collections.abc import Iterator

# After these Xids a measurement cannot be trusted: they are errors of GPU, memory, link or driver.
# The words are NVIDIA's ("Xid errors", catalogue and "Xid error listing"). All other Xids are the
# application's, or accompany one of these.
_XIDS = {
    46: "GPU stopped processing",
    48: "double bit ECC error",
    54: "auxiliary power is not connected to the GPU board",
    61: "internal micro-controller breakpoint",
    62: "internal micro-controller halt",
    63: "ECC page retirement or row remapping recording event",
    64: "ECC page retirement or row remapper recording failure",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    92: "high single-bit ECC error rate",
    94: "contained ECC error",
    95: "uncontained ECC error",
    109: "context switch timeout error",
    110: "security fault error",
    119: "GSP RPC timeout",
    120: "GSP error",
    121: "C2C link error",
    136: "link training failed",
    140: "unrecovered ECC error",
    143: "GPU initialization error",
}
# A flood of events must not keep the caller busy for ever.
_MOST_EVENTS = 1000
_NO_INSTANCE = 0xFFFFFFFF
_NANOSECONDS = 1e9
# A shorter slowdown is not reported.
_LEAST_SECONDS = 0.05
# nvmlMemoryErrorType_t and nvmlEccCounterType_t.
_UNCORRECTED, _SINCE_THE_DRIVER_WAS_LOADED = 1, 0
# nvmlPerfPolicyType_t.
_POLICIES = {"thermal slowdown": 1, "power cap": 0, "board limit": 3, "reliability limit": 5}
# Bits of nvmlClocksEventReasons. The others are normal: an idle GPU, chosen clocks, the software's
# power cap.
_REASONS = {
    "software thermal slowdown": 0x20,
    "hardware thermal slowdown": 0x40,
    "hardware power brake": 0x80,
}
_HARDWARE_SLOWDOWN = 0x08


class HealthWatch:
    """Watches a GPU or MIG instance during a `with` block, and keeps NVML open meanwhile.

    Leaves out silently what NVML has no answer for on this GPU, driver or user. All calls raise
    MachineError when the GPU is lost or has to be reset, and HarnessError with NVML's reason
    otherwise. Not for several threads.
    """

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self._stack = ExitStack()
        self._nvml: Any = None
        self._handle: Any = None
        self._physical: Any = None
        self._gpu_instance: int | None = None
        self._events: Any = None
        self._xids: list[int] = []
        self._new: list[str] = []
        self._ecc_errors: int | None = None
        self._remapping = (False, False)
        self._slowed: dict[str, float] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._nvml = nvml = stack.enter_context(open_nvml(f"{self.uuid} cannot be watched"))
            self._handle = self._physical = nvml.nvmlDeviceGetHandleByUUID(self.uuid)
            if self.uuid.startswith("MIG-"):
                # NVML counts ECC errors by instance; everything else it knows by GPU only.
                self._physical = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self._handle)
                self._gpu_instance = nvml.nvmlDeviceGetGpuInstanceId(self._handle)
            self._register(stack)
            self._ecc_errors = self._count_ecc_errors()
            self._remapping = self._read_remapping()
            self._slowed = dict(self._seconds_slowed())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def trouble(self) -> tuple[str, ...]:
        """Return the errors of the GPU since the last call.

        If there are any, nothing that was measured since can be trusted.
        """
        with open_nvml(f"{self.uuid} cannot be watched"):
            self._read_events()
            new, self._new = self._new, []
            errors, before = self._count_ecc_errors(), self._ecc_errors
            if errors is not None and before is not None and errors > before:
                new.append(f"{errors - before} uncorrected ECC errors")
            self._ecc_errors = errors
            (pending, failed), (was_pending, had_failed) = self._read_remapping(), self._remapping
            new += _remapping_in_words(
                pending=pending and not was_pending, failed=failed and not had_failed
            )
            self._remapping = (pending, failed)
        return tuple(dict.fromkeys(new))

    def standing(self) -> tuple[str, ...]:
        """Return what was wrong before the start: errors since the driver was loaded."""
        errors, (pending, failed) = self._ecc_errors, self._remapping
        counted = [f"{errors} uncorrected ECC errors since the driver was loaded"] if errors else []
        return (*counted, *_remapping_in_words(pending=pending, failed=failed))

    def slowed_now(self) -> tuple[str, ...]:
        """Return the causes of a slowdown at this moment."""
        with open_nvml(f"{self.uuid} cannot be watched"):
            return tuple(self._reasons_now())

    def xids(self) -> tuple[int, ...]:
        """Return all Xids since the start, in their order.

        The application's own (13, 31, 43, …) are among them.
        """
        with open_nvml(f"{self.uuid} cannot be watched"):
            self._read_events()
        return tuple(self._xids)

    def throttled(self) -> str | None:
        """Return the causes of slowdowns since the start: `thermal slowdown for 3.2 s`, say.

        None without a slowdown. Where the driver does not count slowdowns, return the causes of the
        present one.
        """
        with open_nvml(f"{self.uuid} cannot be watched"):
            now = dict(self._seconds_slowed())
            if not now:
                return ", ".join(self._reasons_now()) or None
        since = {policy: seconds - self._slowed.get(policy, 0.0) for policy, seconds in now.items()}
        return (
            ", ".join(
                f"{policy} for {seconds:.1f} s"
                for policy, seconds in since.items()
                if seconds >= _LEAST_SECONDS
            )
            or None
        )

    def _register(self, stack: ExitStack) -> None:
        nvml = self._nvml
        wanted = nvml.nvmlEventTypeXidCriticalError | nvml.nvmlEventTypeDoubleBitEccError
        kinds = wanted & (answer(nvml, nvml.nvmlDeviceGetSupportedEventTypes, self._physical) or 0)
        events = answer(nvml, nvml.nvmlEventSetCreate) if kinds else None
        if events is None:
            return
        stack.callback(nvml.nvmlEventSetFree, events)
        try:
            nvml.nvmlDeviceRegisterEvents(self._physical, kinds, events)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission):
            return
        self._events = events

    def _read_events(self) -> None:
        for event in self._pending_events():
            # The event may be another instance's.
            if self._gpu_instance is not None and event.gpuInstanceId not in (
                self._gpu_instance,
                _NO_INSTANCE,
            ):
                continue
            if event.eventType == self._nvml.nvmlEventTypeDoubleBitEccError:
                self._new.append(_XIDS[48])
                continue
            self._xids.append(event.eventData)
            if event.eventData in _XIDS:
                self._new.append(f"Xid {event.eventData} ({_XIDS[event.eventData]})")

    def _pending_events(self) -> Iterator[Any]:
        if self._events is None:
            return
        for _ in range(_MOST_EVENTS):
            try:
                yield self._nvml.nvmlEventSetWait_v2(self._events, 0)
            except self._nvml.NVMLError_Timeout:
                return

    def _count_ecc_errors(self) -> int | None:
        nvml = self._nvml
        count: int | None = answer(
            nvml,
            nvml.nvmlDeviceGetTotalEccErrors,
            self._handle,
            _UNCORRECTED,
            _SINCE_THE_DRIVER_WAS_LOADED,
        )
        return count

    def _read_remapping(self) -> tuple[bool, bool]:
        """Return whether a row waits for a reset to be remapped, and whether a remapping failed."""
        rows = answer(self._nvml, self._nvml.nvmlDeviceGetRemappedRows, self._physical)
        return (False, False) if rows is None else (bool(rows[2]), bool(rows[3]))

    def _seconds_slowed(self) -> Iterator[tuple[str, float]]:
        for policy, number in _POLICIES.items():
            status = answer(
                self._nvml, self._nvml.nvmlDeviceGetViolationStatus, self._physical, number
            )
            if status is not None:
                yield policy, status.violationTime / _NANOSECONDS

    def _reasons_now(self) -> list[str]:
        nvml = self._nvml
        bits = answer(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons, self._physical)
        if bits is None:  # drivers before R535 know only the older name
            bits = answer(nvml, nvml.nvmlDeviceGetCurrentClocksThrottleReasons, self._physical) or 0
        found = [reason for reason, bit in _REASONS.items() if bits & bit]
        # Where the GPU knows the cause of a hardware slowdown, the cause's bit is set as well.
        return found or (["hardware slowdown"] if bits & _HARDWARE_SLOWDOWN else [])


def _remapping_in_words(*, pending: bool, failed: bool) -> list[str]:
    words = ["a memory row must be remapped, which takes a reset of the GPU"] if pending else []
    return [*words, "remapping a memory row failed"] if failed else words
