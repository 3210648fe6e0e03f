"""A GPU as pytest's process locks it, waits for it and watches it.

NVML's binding runs against a stub library.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from nvml_stub import GIB, H200, XID_EVENT, gpu, instance, told, world

if TYPE_CHECKING:
    from pathlib import Path

FREE = 140 * GIB
FIND = """
import logging
from pathlib import Path
from harness.devices import cuda, gpu_locks
from harness.devices.finding import find_device
from harness.errors import MachineError
from harness.matrix.settings import GpuSettings

gpu_locks.LOCK_FOLDER = Path({folder!r})
cuda._GIVE_BACK_SECONDS = 0.0

from harness.file_locks import locked as locking

def find(name="NVIDIA H200", wait=0.0, count=1, **more):
    return find_device(GpuSettings(name=name, **more), 0.9, wait, wait, count=count)

def lock_of(uuid):
    return locking(Path({folder!r}) / f"gpu-profile-{{uuid}}.lock", uuid, seconds=0)

def held(device, do=lambda: None):
    with device.hold():
        do()
        return [device.gpu.uuid, *device.notes()]
"""


def ask(tmp_path: Path, script: str, *worlds: list[list[str]], **environment: str) -> list[Any]:
    """Run `script` in the first world, with the helpers above, and return what it printed."""
    made = [world(tmp_path, gpus, name=f"world-{number}") for number, gpus in enumerate(worlds)]
    return told(FIND.format(folder=str(tmp_path)) + script, *made, **environment)


def test_gpu_is_held_by_one_case_at_a_time(tmp_path: Path) -> None:
    """The lock of a physical GPU is taken while a case runs on it, and free afterwards."""
    script = """
def locked():
    try:
        with lock_of("GPU-a"):
            return False
    except MachineError:
        return True

seen = []
tell(held, find(), lambda: seen.append(locked()))
tell(lambda: [*seen, locked()])
"""
    assert [["GPU-a"], [True, False]] == ask(tmp_path, script, [gpu()])


def test_wait_for_another_run_ends_and_names_it(tmp_path: Path) -> None:
    """A GPU that another run uses for too long is the machine's trouble, with what to do."""
    script = """
with lock_of("GPU-a"):
    tell(held, find())
"""
    (answer,) = ask(tmp_path, script, [gpu()])
    assert re.fullmatch(
        r"MachineError: NVIDIA H200 \(GPU-a\): process \d+ \(.*\) has been using it for 0 s and "
        r"more: wait for it or end it, or wait longer \(--gpu-profile-wait\): each GPU runs one "
        "case at a time",
        answer,
    )


def test_lock_is_in_one_place_whatever_tmpdir_is(tmp_path: Path) -> None:
    """Runs with different TMPDIR take the same lock; without that place, TMPDIR's serves."""
    script = """
tell(lambda: str(gpu_locks.lock_path("GPU-a")))
gpu_locks.LOCK_FOLDER = Path("/no/such/folder")
tell(lambda: str(gpu_locks.lock_path("GPU-a")))
"""
    (tmp_path / "mine").mkdir()
    found = ask(tmp_path, script, [gpu()], TMPDIR=str(tmp_path / "mine"))
    assert [
        str(tmp_path / "gpu-profile-GPU-a.lock"),
        str(tmp_path / "mine" / "gpu-profile-GPU-a.lock"),
    ] == found


def test_lock_of_a_simulated_gpu_is_its_worlds(tmp_path: Path) -> None:
    """Simulated GPUs of different worlds have the same UUID, and are different GPUs."""
    script = """
import os
os.environ["GPU_PROFILE_SIMULATED_WORLD"] = "/some/where/world"
tell(lambda: str(gpu_locks.lock_path("GPU-a")))
"""
    assert ["/some/where/gpu-profile-GPU-a.lock"] == ask(tmp_path, script, [gpu()])


def test_link_in_the_place_of_the_lock_is_told(tmp_path: Path) -> None:
    """A link that someone planted among the locks is not followed."""
    (tmp_path / "gpu-profile-GPU-a.lock").symlink_to(tmp_path / "victim")
    (answer,) = ask(tmp_path, "tell(held, find())", [gpu()])
    assert "gpu-profile-GPU-a.lock, cannot be taken (" in answer
    assert not (tmp_path / "victim").exists()


def test_of_several_gpus_alike_a_free_one_is_taken(tmp_path: Path) -> None:
    """While another run holds the first GPU, a case and its processes use the second one."""
    script = """
device = find()
with lock_of("GPU-a"):
    tell(held, device)
tell(lambda: device.environment["CUDA_VISIBLE_DEVICES"])
tell(held, device)
"""
    gpus = [gpu(), gpu(uuid="GPU-b", bus="00000000:08:00.0")]
    assert [["GPU-b"], "GPU-b", ["GPU-a"]] == ask(tmp_path, script, gpus)


def test_whole_gpu_is_not_kept_waiting_by_cases_that_share(tmp_path: Path) -> None:
    """Once a case waits for a GPU that others share, no further one shares it."""
    script = """
import threading
from harness.devices.gpu_locks import lock_gpus, lock_path
from harness.file_locks import is_locked

gpus, part = nvml.visible_gpus(), 1 << 30

def taken(*given):
    held = lock_gpus(gpus, 1, *given)
    told.append(held.gpus[0].uuid)
    return held

told = []
shares = [taken(0, part), taken(0, part)]
waits = threading.Thread(target=lambda: taken(30).release())
waits.start()
turn = lock_path("GPU-a").with_name("gpu-profile-GPU-a-turn.lock")
while not is_locked(turn):
    pass
tell(lambda: taken(0, part))
for held in shares:
    held.release()
waits.join()
taken(0, part)
tell(lambda: told)
"""
    refused, taken = ask(tmp_path, script, [gpu()])
    assert refused.startswith("MachineError: NVIDIA H200 (GPU-a): process ")
    assert 4 * ["GPU-a"] == taken


def test_mig_instances_are_gpus_of_their_own(tmp_path: Path) -> None:
    """Three instances of one kind are three places, each with its lock, and so three workers."""
    kind = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    small = [
        instance(kind, 5 * GIB, uuid=f"MIG-{slot}", ids=f"{7 + slot} 0", slot=slot)
        for slot in range(3)
    ]
    large = instance("NVIDIA A100-SXM4-40GB MIG 2g.10gb", 10 * GIB, uuid="MIG-3", ids="3 0", slot=3)
    script = """
from harness.scheduling.places import Places, place_of
from harness.scheduling.workers import num_workers

places = Places({str(case): place_of(case, lambda _: find("* MIG 1g.5gb")) for case in range(4)})
tell(lambda: [places.num_gpus, places.most_at_once()])
tell(lambda: num_workers(places.num_gpus, places.most_at_once(), []))
first, second = find("* MIG 1g.5gb"), find("* MIG 1g.5gb")
with first.hold(), second.hold():
    tell(lambda: [first.gpu.uuid, second.gpu.uuid])
"""
    card = gpu("NVIDIA A100-SXM4-40GB", 40 * GIB, instances=[*small, large])
    assert [[3, 3], 3, ["MIG-0", "MIG-1"]] == ask(tmp_path, script, [card])


def test_several_gpus_are_held_together(tmp_path: Path) -> None:
    """A case of two GPUs locks both, and shows them to its ranks; afterwards both are free."""
    script = """
def locked(uuid):
    try:
        with lock_of(uuid):
            return False
    except MachineError:
        return True

device = find(count=2)
with device.hold():
    device.settle()
    tell(lambda: [locked(uuid) for uuid in ("GPU-a", "GPU-b", "GPU-c")])
    tell(lambda: device.environment["CUDA_VISIBLE_DEVICES"])
tell(lambda: [device.identity.count, locked("GPU-a"), locked("GPU-b")])
"""
    others = [
        gpu(uuid=f"GPU-{name}", bus=f"00000000:0{place}:00.0")
        for place, name in ((8, "b"), (9, "c"))
    ]
    assert [[True, True, False], "GPU-a,GPU-b", [2, False, False]] == ask(
        tmp_path, script, [gpu(), *others]
    )


def test_several_gpus_of_which_one_is_taken_are_not_held(tmp_path: Path) -> None:
    """All or none: the error names the run that uses one, and the other one is free again."""
    script = """
with lock_of("GPU-b"):
    tell(held, find(count=2))
    with lock_of("GPU-a"):
        tell(lambda: "free")
"""
    gpus = [gpu(), gpu(uuid="GPU-b", bus="00000000:08:00.0")]
    answer, free = ask(tmp_path, script, gpus)
    assert "has been using it for 0 s and more: wait for it or end it" in answer
    assert "free" == free


def test_fewer_gpus_than_devices_is_no_device(tmp_path: Path) -> None:
    """The case is skipped, and the reason has both numbers."""
    (answer,) = ask(tmp_path, "tell(lambda: find(count=4))", [gpu()])
    assert (
        "NoSuchDeviceError: needs 4 GPUs of NVIDIA H200 for trainer.devices: 4, all alike: this "
        "machine has 1 visible"
    ) == answer


def test_gpus_of_another_size_are_not_alike(tmp_path: Path) -> None:
    """A glob that matches GPUs of two sizes means those like the first: a case has one identity."""
    gpus = [
        gpu("NVIDIA A100 80GB", 80 * GIB),
        gpu("NVIDIA A100 40GB", 40 * GIB, uuid="GPU-b", bus="00000000:08:00.0"),
    ]
    script = "tell(lambda: [found.uuid for found in find('NVIDIA A100*').gpus])"
    assert [["GPU-a"]] == ask(tmp_path, script, gpus)


def test_busy_gpu_is_an_error_that_names_who_uses_it(tmp_path: Path) -> None:
    """If others leave less than the limit, a MachineError has the amounts, process and remedy."""
    (answer,) = ask(
        tmp_path,
        "tell(held, find())",
        [gpu(free=20 * GIB, process=[f"compute 999999 {120 * GIB}"])],
    )
    assert re.fullmatch(
        r"MachineError: NVIDIA H200 \(GPU-a\) is busy: 20\.0 GiB are free, and a probe may use "
        r"126\.4 GiB; used by process 999999.* with 120\.0 GiB\. Waited 0 s: end what runs there, "
        r"or wait longer \(--gpu-profile-wait\)",
        answer,
    )


def test_budget_needs_no_more_than_its_share(tmp_path: Path) -> None:
    """An emulated GPU is not busy while the budget's share is free."""
    script = "tell(held, find(budget=24 << 30))\ntell(held, find(budget=23 << 30))"
    busy, fits = ask(tmp_path, script, [gpu(free=21 * GIB, used=119 * GIB)])
    assert "is busy: 21.0 GiB are free, and a probe may use 21.6 GiB; NVML names no process" in busy
    assert ["GPU-a"] == fits


def test_case_waits_until_others_leave_enough(tmp_path: Path) -> None:
    """A waiting case begins as soon as the memory is free, and logs once that it waits."""
    script = """
class Leave(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())
        change()

messages = []
logging.getLogger("harness").addHandler(Leave())
logging.getLogger("harness").setLevel(logging.INFO)
tell(held, find(wait=30.0))
tell(lambda: messages)
"""
    answers = ask(tmp_path, script, [gpu(free=20 * GIB)], [gpu(free=FREE)])
    busy = (
        "NVIDIA H200 (GPU-a) is busy: 20.0 GiB are free, and a probe may use 126.4 GiB; NVML names "
        "no process: it may run outside of this container; waiting up to 30 s"
    )
    assert [["GPU-a"], [busy]] == answers


def test_what_the_driver_keeps_is_not_waited_for(tmp_path: Path) -> None:
    """Memory that the driver reserves is never free, and does not make a GPU busy."""
    script = """
device = find()
device._wanted_bytes = device.gpu.memory_bytes
tell(held, device)
"""
    reserved = 1 * GIB
    assert [["GPU-a"]] == ask(tmp_path, script, [gpu(free=H200 - reserved, reserved=reserved)])


def test_trouble_of_the_gpu_spoils_a_probe(tmp_path: Path) -> None:
    """An Xid of the hardware after a probe is a MachineError with its number and meaning."""
    script = "device = find()\ntell(held, device, lambda: (change(), device.settle()))"
    worlds = [gpu(kinds=XID_EVENT)], [gpu(kinds=XID_EVENT, event=[f"{XID_EVENT} 79 -1"])]
    (answer,) = ask(tmp_path, script, *worlds)
    assert answer.startswith(
        "MachineError: NVIDIA H200 (GPU-a) is in trouble: Xid 79 (GPU has fallen off the bus). "
        "What was measured"
    )


def test_xids_of_the_application_are_its_own(tmp_path: Path) -> None:
    """A probe's illegal access (Xid 31, 43) is a note with each Xid once, and no error."""
    script = "device = find()\ntell(held, device, lambda: (change(), device.settle()))"
    events = [f"{XID_EVENT} {number} -1" for number in (31, 43, 31)]
    note = "the driver reported Xid 31, 43 for a program on the GPU: see the kernel's log"
    assert [["GPU-a", note]] == ask(
        tmp_path, script, [gpu(kinds=XID_EVENT)], [gpu(kinds=XID_EVENT, event=events)]
    )


def test_slow_gpu_is_noted(tmp_path: Path) -> None:
    """A thermal slowdown during a case is a note of its measurement."""
    script = "device = find()\ntell(held, device, lambda: (change(), device.settle()))"
    worlds = [gpu(violation=["1 0"])], [gpu(violation=["1 3200000000"])]
    note = "the GPU was slowed down (thermal slowdown for 3.2 s): samples per second are too low"
    assert [["GPU-a", note]] == ask(tmp_path, script, *worlds)


@pytest.mark.parametrize(("free", "busy"), [(FREE, False), (100 * GIB, True)])
def test_memory_that_does_not_come_back_is_somebody_elses(
    tmp_path: Path, free: int, *, busy: bool
) -> None:
    """Memory that stays in use after a probe is an error only if it leaves less than the limit."""
    script = "device = find()\ntell(held, device, lambda: (change(), device.settle()))"
    (answer,) = ask(tmp_path, script, [gpu(free=H200)], [gpu(free=free, used=H200 - free)])
    assert busy == ("is busy: 100.0 GiB are free" in answer)


def test_budget_above_the_gpus_memory_fits_no_gpu_here(tmp_path: Path) -> None:
    """A GPU cannot emulate a larger one: the reason for the skip has both sizes."""
    (answer,) = ask(tmp_path, "tell(lambda: find(budget=141 << 30))", [gpu()])
    assert (
        "NoSuchDeviceError: needs a GPU with room for a budget of 141.0 GiB: NVIDIA H200 has "
        "140.4 GiB" == answer
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            "PYTORCH_NO_CUDA_MEMORY_CACHING is set: without torch's caching",
        ),
        (
            {
                "PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64",
                "PYTORCH_ALLOC_CONF": "expandable_segments:True",
            },
            (
                "PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:64 and "
                "PYTORCH_ALLOC_CONF=expandable_segments:True are both set"
            ),
        ),
    ],
)
def test_allocator_settings_that_defeat_the_limit_are_refused(
    tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    """Settings are refused that turn the cache and its limit off, or that contradict each other."""
    (answer,) = ask(tmp_path, "tell(find)", [gpu()], **environment)
    assert answer.startswith(f"HarnessError: {message}")


def test_the_same_allocator_setting_twice_is_one(tmp_path: Path) -> None:
    """Both names with one value are no contradiction, and both are settings of the device."""
    both = dict.fromkeys(
        ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"), "expandable_segments:True"
    )
    assert [both] == ask(tmp_path, "tell(lambda: find().memory_settings)", [gpu()], **both)
