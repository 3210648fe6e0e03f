"""The GPUs of a machine, their memory and processes; NVML's binding runs against a stub library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nvml_stub import GIB, H200, gpu, instance, told, world

if TYPE_CHECKING:
    from pathlib import Path

A100 = "NVIDIA A100-SXM4-40GB"
MIG_GPU = gpu(
    A100,
    40 * GIB,
    uuid="GPU-p",
    instances=[
        instance(
            f"{A100} MIG 1g.5gb",
            5 * GIB,
            uuid="MIG-1",
            ids="7 0",
            slot=0,
            process="compute 12 4096",
        ),
        instance(f"{A100} MIG 3g.20gb", 20 * GIB, uuid="MIG-2", ids="2 0", slot=3),
    ],
)


def uuids(told_gpus: list[dict[str, Any]]) -> list[str]:
    """Return the UUIDs of GPUs that a script printed."""
    return [told_gpu["uuid"] for told_gpu in told_gpus]


def test_a_gpu_is_described(tmp_path: Path) -> None:
    """A GPU has what a profile is matched on, and its names for CUDA and the PCI bus."""
    assert [
        [
            {
                "name": "NVIDIA H200",
                "memory_bytes": H200,
                "uuid": "GPU-a",
                "driver": "580.95.05",
                "pci_bus_id": "00000000:07:00.0",
                "mig": False,
                "parent_uuid": None,
                "instance": None,
            }
        ]
    ] == told("tell(nvml.visible_gpus)", world(tmp_path, [gpu(mode=3)]))


def test_gpus_come_in_the_order_of_the_bus(tmp_path: Path) -> None:
    """The GPUs are sorted by PCI bus id, whatever NVML's order is, and an index counts them so."""
    gpus = [gpu(uuid="GPU-a", bus="00000000:C7:00.0"), gpu(uuid="GPU-b", bus="00000000:07:00.0")]
    script = (
        "tell(nvml.visible_gpus)\nos.environ['CUDA_VISIBLE_DEVICES'] = '1'\ntell(nvml.visible_gpus)"
    )
    both, second = told(script, world(tmp_path, gpus))
    assert ["GPU-b", "GPU-a"] == uuids(both)
    assert ["GPU-a"] == uuids(second)


def test_instances_stand_in_the_place_of_their_gpu(tmp_path: Path) -> None:
    """A MIG instance has its own name, memory and UUID, and names the GPU that it is part of."""
    [[small, large]] = told("tell(nvml.visible_gpus)", world(tmp_path, [MIG_GPU]))
    assert (f"{A100} MIG 1g.5gb", 5 * GIB, "MIG-1", [7, 0]) == (
        small["name"],
        small["memory_bytes"],
        small["uuid"],
        small["instance"],
    )
    assert (True, "GPU-p", "00000000:07:00.0") == (
        large["mig"],
        large["parent_uuid"],
        large["pci_bus_id"],
    )


def test_a_driver_without_mig_has_whole_gpus(tmp_path: Path) -> None:
    """A GPU without MIG, or with a driver that does not know it, is a whole GPU."""
    gpus = [
        gpu(fail="nvmlDeviceGetMigMode 3"),
        gpu(uuid="GPU-b", bus="x", fail="nvmlDeviceGetMigMode 13"),
    ]
    assert ["GPU-a", "GPU-b"] == uuids(told("tell(nvml.visible_gpus)", world(tmp_path, gpus))[0])


def test_a_machine_without_gpus_shows_none(tmp_path: Path) -> None:
    """With a driver and no GPU, the list is empty, and there is no error."""
    assert [[]] == told("tell(nvml.visible_gpus)", world(tmp_path, []))


def test_gpus_kept_from_this_user_are_left_out(tmp_path: Path) -> None:
    """A GPU that the user has no permission for is left out; without any other this is an error."""
    denied = "nvmlDeviceGetHandleByIndex_v2 4"
    some = world(tmp_path, [gpu(fail=denied), gpu(uuid="GPU-b")], name="some")
    every = world(tmp_path, [gpu(fail=denied)], name="every")
    seen, error = told("tell(nvml.visible_gpus); change(); tell(nvml.visible_gpus)", some, every)
    assert ["GPU-b"] == uuids(seen)
    assert (
        "HarnessError: no GPU can be used here: NVML says Insufficient Permissions; "
        "let this user read and write /dev/nvidia*"
    ) == error


def test_a_prohibited_gpu_is_left_out(tmp_path: Path) -> None:
    """A GPU in prohibited mode is left out; without any other the error names the remedy."""
    both = world(tmp_path, [gpu(mode=2), gpu(uuid="GPU-b")], name="both")
    alone = world(tmp_path, [gpu(mode=2)], name="alone")
    seen, error = told("tell(nvml.visible_gpus); change(); tell(nvml.visible_gpus)", both, alone)
    assert ["GPU-b"] == uuids(seen)
    assert (
        "HarnessError: no GPU can be used here: the compute mode of NVIDIA H200 (GPU-a) is "
        "prohibited: allow it with `nvidia-smi -i GPU-a -c 0` as root"
    ) == error


UNTOLD = ["nvmlDeviceGetMemoryInfo_v2 3", "nvmlDeviceGetMemoryInfo 3"]


def test_a_gpu_that_shares_the_hosts_memory_is_refused(tmp_path: Path) -> None:
    """It is recognized by NVML, which gives no memory for it, or else by its name."""
    untold, named = gpu("NVIDIA Next", fail=UNTOLD), gpu("NVIDIA GB10")
    worlds = [world(tmp_path, [untold], name="untold"), world(tmp_path, [named], name="named")]
    assert [
        f"HarnessError: no GPU can be used here: {name} shares the host's memory and pages"
        for name in ("NVIDIA Next", "NVIDIA GB10")
    ] == [
        text.partition(" instead")[0]
        for text in told("tell(nvml.visible_gpus); change(); tell(nvml.visible_gpus)", *worlds)
    ]


ERRORS = {
    "nvmlInitWithFlags 18": (
        "HarnessError RM has detected an NVML/RM version mismatch.; the driver was updated under "
        "its loaded kernel module (nvidia-smi: Driver/library version mismatch): reboot, or reload "
        "the module"
    ),
    "nvmlInitWithFlags 4": (
        "HarnessError Insufficient Permissions; let this user read and write /dev/nvidia*"
    ),
    "nvmlDeviceGetUUID 15": (
        "MachineError GPU is lost; reset it (`nvidia-smi --gpu-reset`) or reboot; the kernel's log "
        "has the Xid"
    ),
    "nvmlDeviceGetHandleByIndex_v2 16": (
        "MachineError GPU requires restart; reset it (`nvidia-smi --gpu-reset`) or reboot"
    ),
    "nvmlDeviceGetCount_v2 999": "HarnessError Unknown Error; see what nvidia-smi says",
    "nvmlDeviceGetName 77": "HarnessError error 77 of the stub; see what nvidia-smi says",
}


def test_errors_are_told_with_nvmls_reason(tmp_path: Path) -> None:
    """An error has NVML's reason and the remedy; it is a MachineError where only a reset helps."""
    worlds = [world(tmp_path, [gpu()], fail=fail, name=fail) for fail in ERRORS]
    told_of = told(
        "tell(nvml.visible_gpus)\nwhile worlds: change(); tell(nvml.visible_gpus)", *worlds
    )
    assert list(ERRORS.values()) == [
        text.replace(": no GPU can be used here: NVML says", "") for text in told_of
    ]


def test_without_a_driver_the_machine_is_explained(tmp_path: Path) -> None:
    """A missing or unloaded driver is the reason only on a machine that has a GPU for it."""
    script = """
from harness.devices.nvml import unsupported_machines as unsupported
unsupported.refusal = lambda: None
tell(nvml.visible_gpus)
unsupported.refusal = lambda: "this machine's GPU is AMD's"
tell(nvml.visible_gpus)
"""
    unloaded = world(tmp_path, [], fail="nvmlInitWithFlags 9")
    begin = "HarnessError: no GPU can be used here: NVML says"
    assert [
        f"{begin} Driver Not Loaded; load the driver's kernel module (`modprobe nvidia`)",
        f"{begin} Driver Not Loaded; this machine's GPU is AMD's",
    ] == told(script, unloaded)
    absent = {**unloaded, "LD_LIBRARY_PATH": str(tmp_path)}
    assert [
        (
            f"{begin} NVML Shared Library Not Found; install NVIDIA's driver; a container gets it "
            "by `--gpus all`"
        ),
        f"{begin} NVML Shared Library Not Found; this machine's GPU is AMD's",
    ] == told(script, absent)


def test_under_wsl_nvml_is_not_even_asked(tmp_path: Path) -> None:
    """WSL is refused without NVML, whose total does not bound a program's memory there."""
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text(
        "5.15-microsoft-standard-WSL2\n", encoding="ascii"
    )
    told_of = told(f"tell(nvml.visible_gpus, Path({str(tmp_path)!r}))", world(tmp_path, [gpu()]))
    assert told_of[0].startswith(
        "HarnessError: no GPU can be used here: this is Windows' Subsystem for Linux"
    )


def test_without_the_binding_it_is_named(tmp_path: Path) -> None:
    """The error names nvidia-ml-py, the package to install."""
    told_of = told(
        "import sys; sys.modules['pynvml'] = None\ntell(nvml.visible_gpus)",
        world(tmp_path, [gpu()]),
    )
    assert told_of[0].startswith("HarnessError: nvidia-ml-py cannot be imported")


def test_sessions_are_closed(tmp_path: Path) -> None:
    """NVML is closed after each call, whether it succeeded or failed."""
    script = """
import pynvml
def left():
    try:
        return pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError_Uninitialized:
        return "closed"
nvml.visible_gpus()
tell(left)
tell(nvml.memory, "GPU-none")
tell(left)
"""
    assert [
        "closed",
        (
            "HarnessError: the memory of GPU-none cannot be read: NVML says Not Found; see what "
            "nvidia-smi says"
        ),
        "closed",
    ] == told(script, world(tmp_path, [gpu()]))


def test_memory_is_told_with_what_the_driver_reserves(tmp_path: Path) -> None:
    """Reserved memory is given for GPUs and instances; NVML's first version counts it as used."""
    gpus = [
        gpu(total=1000, free=600, used=300, reserved=100),
        gpu(
            uuid="GPU-b",
            total=1000,
            free=600,
            used=300,
            reserved=100,
            fail="nvmlDeviceGetMemoryInfo_v2 13",
        ),
        MIG_GPU,
    ]
    assert [
        {"total_bytes": 1000, "free_bytes": 600, "used_bytes": 300, "reserved_bytes": 100},
        {"total_bytes": 1000, "free_bytes": 600, "used_bytes": 400, "reserved_bytes": None},
        {"total_bytes": 20 * GIB, "free_bytes": 20 * GIB, "used_bytes": 0, "reserved_bytes": 0},
    ] == told(
        "for uuid in ('GPU-a', 'GPU-b', 'MIG-2'): tell(nvml.memory, uuid)", world(tmp_path, gpus)
    )


def test_memory_of_the_host_and_of_lost_gpus(tmp_path: Path) -> None:
    """A GPU without memory of its own is a HarnessError, and a lost GPU a MachineError."""
    gpus = [
        gpu("NVIDIA GB10", fail=UNTOLD),
        gpu(uuid="GPU-b", fail="nvmlDeviceGetMemoryInfo_v2 15"),
        gpu(uuid="GPU-c", fail=["nvmlDeviceGetMemoryInfo_v2 13", "nvmlDeviceGetMemoryInfo 15"]),
    ]
    script = "for uuid in ('GPU-a', 'GPU-b', 'GPU-c'): tell(nvml.memory, uuid)"
    shared, *lost = told(script, world(tmp_path, gpus))
    assert shared.startswith("HarnessError: NVIDIA GB10 shares the host's memory")
    assert [
        f"MachineError: the memory of GPU-{gpu} cannot be read: NVML says GPU is lost"
        for gpu in "bc"
    ] == [text.partition(";")[0] for text in lost]


def test_processes_that_compute_and_draw(tmp_path: Path) -> None:
    """Each process is listed once, with its memory if known; an instance lists only its own."""
    drawing = gpu(process=["compute 30 4096", "compute 20 -1", "graphics 30 -1", "graphics 10 512"])
    script = "for uuid in ('GPU-a', 'MIG-1', 'MIG-2'): tell(nvml.processes, uuid, Path('/none'))"
    on_gpu, on_instance, nobody = told(script, world(tmp_path, [drawing, MIG_GPU]))
    assert [(10, 512), (20, None), (30, 4096)] == [
        (one["pid"], one["used_bytes"]) for one in on_gpu
    ]
    assert [12] == [one["pid"] for one in on_instance]
    assert [] == nobody


def test_names_of_processes(tmp_path: Path) -> None:
    """A name is Linux's, else NVML's; in another pid namespace the same id has no name."""
    for folder, namespace in (("host", "pid:[4026531836]"), ("container", "pid:[4026532456]")):
        (tmp_path / folder / "self/ns").mkdir(parents=True)
        (tmp_path / folder / "self/ns/pid").symlink_to(namespace)
        (tmp_path / folder / "10").mkdir()
        (tmp_path / folder / "10/comm").write_text("python3\n", encoding="ascii")
    script = f"""
for folder in ("host", "container"):
    tell(nvml.processes, "GPU-a", Path({str(tmp_path)!r}) / folder)
"""
    in_host, in_container = told(
        script, world(tmp_path, [gpu(process=["compute 10 1", "compute 11 1"])])
    )
    assert ["python3", "/bin/of-11"] == [one["name"] for one in in_host]
    assert [None, None] == [one["name"] for one in in_container]


def test_processes_that_are_not_told_are_none(tmp_path: Path) -> None:
    """The list is empty where the driver cannot or may not give it; a lost GPU is an error."""
    worlds = [
        world(
            tmp_path,
            [
                gpu(
                    process="compute 10 1",
                    fail=[
                        f"nvmlDeviceGet{kind}RunningProcesses_v3 {code}"
                        for kind in ("Compute", "Graphics")
                    ],
                )
            ],
            name=str(code),
        )
        for code in (3, 4, 13, 15)
    ]
    *nobody, lost = told(
        "for n in range(4): tell(nvml.processes, 'GPU-a'); n < 3 and change()", *worlds
    )
    assert [[], [], []] == nobody
    assert lost.startswith(
        "MachineError: the processes on GPU-a cannot be read: NVML says GPU is lost"
    )
