"""The layout of a world's file, as sources/world/world.h has it."""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_int32, c_uint32, c_uint64
from typing import ClassVar

MAGIC, VERSION = 0x53475055, 3
MAX_GPUS, MAX_PROCESSES, MAX_FAULTS, MAX_EVENTS, MAX_PEAKS = 32, 512, 64, 256, 1024
TEXT = 96
FILE_TEXT, FUNCTION_TEXT = 256, 64
NO_GPU = -1
WORKSPACE_OF_CUDNN = 2**64 - 1


class RawGpu(ctypes.Structure):
    """`Gpu` of world.h."""

    _fields_: ClassVar = [
        ("name", c_char * TEXT),
        ("uuid", c_char * TEXT),
        ("bus_id", c_char * 32),
        ("foreign_name", c_char * TEXT),
        ("total", c_uint64),
        ("nvml_total", c_uint64),
        ("context", c_uint64),
        ("foreign", c_uint64),
        ("workspace", c_uint64),
        ("peak", c_uint64),
        ("ecc_errors", c_uint64),
        ("slow_reasons", c_uint64),
        ("slow_nanoseconds", c_uint64 * 12),
        ("foreign_pid", c_int32),
        ("major", c_int32),
        ("minor", c_int32),
        ("sm_count", c_int32),
        ("parent", c_int32),
        ("gpu_instance", c_int32),
        ("compute_instance", c_int32),
        ("mig_slot", c_int32),
        ("mig_mode", c_int32),
        ("compute_mode", c_int32),
        ("nvml_error", c_int32),
        ("remap_pending", c_int32),
        ("remap_failed", c_int32),
        ("workspaces_unknown", c_int32),
    ]


class RawProcess(ctypes.Structure):
    """`Process` of world.h."""

    _fields_: ClassVar = [
        ("pid", c_int32),
        ("contexts", c_int32),
        ("started", c_uint64),
        ("leaves", c_uint64),
        ("held", c_uint64 * MAX_GPUS),
    ]


class RawPeak(ctypes.Structure):
    """`Peak` of world.h."""

    _fields_: ClassVar = [
        ("pid", c_int32),
        ("gpu", c_int32),
        ("rank", c_int32),
        ("local_rank", c_int32),
        ("held", c_uint64),
        ("allocated", c_uint64),
        ("refused", c_uint64),
        ("line", c_int32),
        ("phase", c_int32),
        ("file", c_char * FILE_TEXT),
        ("function", c_char * FUNCTION_TEXT),
    ]


class RawFault(ctypes.Structure):
    """`Fault` of world.h."""

    _fields_: ClassVar = [
        ("kind", c_int32),
        ("code", c_int32),
        ("gpu", c_int32),
        ("sticky", c_int32),
        ("each_process", c_int32),
        ("xid", c_int32),
        ("nth", c_uint64),
        ("times", c_uint64),
        ("neighbour", c_uint64),
        ("seen", c_uint64),
    ]


class RawEvent(ctypes.Structure):
    """`Event` of world.h."""

    _fields_: ClassVar = [
        ("type", c_uint64),
        ("data", c_uint64),
        ("gpu", c_int32),
        ("gpu_instance", c_int32),
    ]


class RawWorld(ctypes.Structure):
    """`World` of world.h."""

    _fields_: ClassVar = [
        ("magic", c_uint32),
        ("version", c_uint32),
        ("size", c_uint32),
        ("num_gpus", c_int32),
        ("driver", c_char * 32),
        ("cuda_version", c_int32),
        ("mutex_made", c_int32),
        ("late", c_uint64),
        ("num_faults", c_uint64),
        ("num_events", c_uint64),
        ("num_peaks", c_uint64),
        ("mutex", c_uint64 * 8),
        ("gpus", RawGpu * MAX_GPUS),
        ("faults", RawFault * MAX_FAULTS),
        ("events", RawEvent * MAX_EVENTS),
        ("processes", RawProcess * MAX_PROCESSES),
        ("peaks", RawPeak * MAX_PEAKS),
    ]


SIZE = ctypes.sizeof(RawWorld)
