"""The errors and slowdowns of a watched GPU; NVML's binding runs against a stub library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nvml_stub import ECC_EVENT, XID_EVENT, gpu, instance, told, world

if TYPE_CHECKING:
    from pathlib import Path

WATCH = """
while worlds:
    with HealthWatch({uuid!r}) as watch:
        change()
        tell(watch.{call})
        tell(watch.{call})
    if worlds:
        change()
"""


def watched(
    tmp_path: Path, call: str, *changes: tuple[dict[str, Any], dict[str, Any]]
) -> list[tuple[Any, Any]]:
    """Return the answers of two calls for each change of a GPU's facts during a watch."""
    worlds = [
        world(tmp_path, [gpu(**facts)], name=f"{number}-{time}")
        for number, change in enumerate(changes)
        for time, facts in zip(("before", "after"), change, strict=True)
    ]
    answers = told(WATCH.format(uuid="GPU-a", call=call), *worlds)
    return list(zip(answers[::2], answers[1::2], strict=True))


def xid(*numbers: int) -> list[str]:
    """Make events of these Xids, for no MIG instance."""
    return [f"{XID_EVENT} {number} -1" for number in numbers]


def test_a_healthy_gpu_has_no_trouble(tmp_path: Path) -> None:
    """Errors and slowdowns from before the watch do not count."""
    old = {"event": xid(79), "ecc": 3, "remapped": "1 1", "violation": ["1 5000000000"]}
    assert [([], [])] == watched(tmp_path, "trouble", (old, old))
    assert [(None, None)] == watched(tmp_path, "throttled", (old, old))


TOLD_79 = "Xid 79 (GPU has fallen off the bus)"
TROUBLE: list[tuple[dict[str, Any], list[str]]] = [
    ({"event": xid(79)}, [TOLD_79]),
    (
        {"event": xid(63, 48, 63)},
        [
            "Xid 63 (ECC page retirement or row remapping recording event)",
            "Xid 48 (double bit ECC error)",
        ],
    ),
    ({"event": [f"{ECC_EVENT} 0 -1"]}, ["double bit ECC error"]),
    ({"ecc": 2}, ["2 uncorrected ECC errors"]),
    ({"remapped": "1 0"}, ["a memory row must be remapped, which takes a reset of the GPU"]),
    ({"remapped": "0 1"}, ["remapping a memory row failed"]),
]


def test_trouble_is_told_once(tmp_path: Path) -> None:
    """Xids of hardware and driver, ECC errors and row remappings are reported by one call only."""
    assert [(trouble, []) for _, trouble in TROUBLE] == watched(
        tmp_path, "trouble", *(({}, after) for after, _ in TROUBLE)
    )


def test_xids_of_the_application_are_not_the_machines_trouble(tmp_path: Path) -> None:
    """An application's Xids are no trouble; `xids` returns them with all others, at every call."""
    after = {"event": xid(31, 43, 94, 13)}
    assert [(["Xid 94 (contained ECC error)"], [])] == watched(tmp_path, "trouble", ({}, after))
    assert [([31, 43, 94, 13],) * 2] == watched(tmp_path, "xids", ({}, after))


@pytest.mark.parametrize("call", ["trouble", "xids"])
def test_errors_of_another_instance_are_not_told(tmp_path: Path, call: str) -> None:
    """Events of the watched instance and of the whole GPU count; ECC errors are the instance's."""

    def one(name: str, ecc: int, **facts: Any) -> dict[str, str]:
        ours = instance("MIG 1g.5gb", 5, uuid="MIG-1", ids="7 0", slot=0, ecc=ecc)
        return world(tmp_path, [gpu(uuid="GPU-p", ecc=99, instances=[ours], **facts)], name=name)

    events = [
        f"{XID_EVENT} {number} {gpu_instance}"
        for number, gpu_instance in ((94, 8), (95, 7), (79, -1))
    ]
    script = WATCH.format(uuid="MIG-1", call=call)
    told_of = told(script, one("before", 0), one("after", 1, event=events))
    assert {
        "trouble": [
            "Xid 95 (uncontained ECC error)",
            "Xid 79 (GPU has fallen off the bus)",
            "1 uncorrected ECC errors",
        ],
        "xids": [95, 79],
    }[call] == told_of[0]


SLOWED = {
    "1 4200000000": "thermal slowdown for 3.2 s",
    "0 60000000000": "power cap for 60.0 s",
    "1 1010000000": None,
}


def test_slowdowns_are_counted_since_the_start(tmp_path: Path) -> None:
    """Each cause has its seconds since the start; a few milliseconds are not reported."""
    before = {"violation": ["1 1000000000"]}
    changes = [(before, {"violation": [*before["violation"], after]}) for after in SLOWED]
    assert [(slowed, slowed) for slowed in SLOWED.values()] == watched(
        tmp_path, "throttled", *changes
    )


def test_several_causes_of_a_slowdown(tmp_path: Path) -> None:
    """All causes are named, heat first."""
    both = {"violation": ["0 2000000000", "1 1500000000"]}
    slowed = "thermal slowdown for 1.5 s, power cap for 2.0 s"
    assert [(slowed, slowed)] == watched(tmp_path, "throttled", ({"violation": "0 0"}, both))


REASONS = {
    0x1 | 0x2 | 0x4: None,
    0x20: "software thermal slowdown",
    0x8 | 0x40: "hardware thermal slowdown",
    0x80 | 0x20 | 0x8: "software thermal slowdown, hardware power brake",
    0x8: "hardware slowdown",
}


@pytest.mark.parametrize("fail", [[], ["nvmlDeviceGetCurrentClocksEventReasons 13"]])
def test_a_driver_that_does_not_count_tells_the_present(tmp_path: Path, fail: list[str]) -> None:
    """It gives the present reasons, by either name of the call; idling and set clocks are none."""
    changes: list[Any] = [({}, {"reasons": reasons, "fail": fail}) for reasons in REASONS]
    assert [(slowed, slowed) for slowed in REASONS.values()] == watched(
        tmp_path, "throttled", *changes
    )


ASKED = (
    "DeviceGetSupportedEventTypes",
    "EventSetCreate",
    "DeviceRegisterEvents",
    "DeviceGetTotalEccErrors",
    "DeviceGetRemappedRows",
    "DeviceGetViolationStatus",
    "DeviceGetCurrentClocksEventReasons",
    "DeviceGetCurrentClocksThrottleReasons",
)


@pytest.mark.parametrize("code", [3, 4])
@pytest.mark.parametrize(
    ("first", "told_of"),
    [(0, [[], [], None]), (1, [[], [], None]), (2, [[], [], None]), (3, [[TOLD_79], [79], None])],
)
def test_what_is_not_told_is_left_out(
    tmp_path: Path, code: int, first: int, told_of: list[Any]
) -> None:
    """On a consumer GPU, a virtual one or without permission, missing answers are no error."""
    facts = {"fail": [f"nvml{name} {code}" for name in ASKED[first:]], "violation": "1 0"}
    later = {**facts, "event": xid(79), "ecc": 1, "violation": "1 9000000000"}
    worlds = [
        world(tmp_path, [gpu(**these)], name=name) for name, these in (("a", facts), ("b", later))
    ]
    script = """
with HealthWatch("GPU-a") as watch:
    change()
    for call in (watch.trouble, watch.xids, watch.throttled):
        tell(call)
"""
    assert told_of == told(script, *worlds)


def test_a_gpu_without_ecc_has_xids(tmp_path: Path) -> None:
    """A kind of event that the GPU lacks is not registered, because NVML would refuse it."""
    kinds = {"kinds": XID_EVENT}
    assert [([TOLD_79], [])] == watched(tmp_path, "trouble", (kinds, {**kinds, "event": xid(79)}))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        ("trouble", "EventSetWait_v2"),
        ("trouble", "DeviceGetTotalEccErrors"),
        ("trouble", "DeviceGetRemappedRows"),
        ("xids", "EventSetWait_v2"),
        ("throttled", "DeviceGetViolationStatus"),
        ("throttled", "DeviceGetCurrentClocksEventReasons"),
    ],
)
def test_a_gpu_that_is_lost_meanwhile(tmp_path: Path, call: str, name: str) -> None:
    """Every call of the watch raises MachineError when the GPU is lost, each time."""
    [(first, second)] = watched(tmp_path, call, ({}, {"fail": f"nvml{name} 15"}))
    assert first.startswith("MachineError: GPU-a cannot be watched: NVML says GPU is lost; ")
    assert first == second


def test_a_watch_on_no_gpu(tmp_path: Path) -> None:
    """A watch on an unknown GPU fails at its start, with NVML's reason, and leaves NVML closed."""
    script = """
import pynvml
tell(HealthWatch("GPU-none").__enter__)
try:
    pynvml.nvmlDeviceGetCount()
except pynvml.NVMLError_Uninitialized:
    tell(str, "closed")
"""
    assert [
        "HarnessError: GPU-none cannot be watched: NVML says Not Found; see what nvidia-smi says",
        "closed",
    ] == told(script, world(tmp_path, [gpu()]))


def test_a_watch_keeps_nvml_open_for_others(tmp_path: Path) -> None:
    """Calls for memory and processes leave NVML open during a watch, and its end closes it."""
    script = """
import pynvml
with HealthWatch("GPU-a") as watch:
    nvml.memory("GPU-a")
    nvml.processes("GPU-a")
    tell(pynvml.nvmlDeviceGetCount)
    tell(watch.trouble)
try:
    pynvml.nvmlDeviceGetCount()
except pynvml.NVMLError_Uninitialized:
    tell(str, "closed")
"""
    assert [1, [], "closed"] == told(script, world(tmp_path, [gpu()]))
