"""Results of every kind, for the tests of the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bounds_values import BOUNDS
from measurements import range_around

from harness.bounds.measured import judge
from harness.case_names import Scalar, case_id
from harness.lockfile.profiles import LockedProfile
from harness.measurement import DeviceIdentity, LrCurve, Measurement, Probe
from harness.report.case_result import CaseResult

MIB = 1 << 20
CPU = DeviceIdentity("cpu", 256 * MIB)

FITS = Probe(
    471,
    "fits",
    peak_memory_bytes=262_250_000,
    seconds=1.24,
    samples=1413,
    samples_per_second=1180.4,
)
OOM = Probe(
    472, "oom", phase="backward", seconds=1.1, detail="RuntimeError: DefaultCPUAllocator: no memory"
)
ERROR = Probe(
    1,
    "error",
    phase="forward",
    seconds=0.9,
    detail="RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x64 and 128x10)",
    traceback=(
        "Traceback (most recent call last):\n"
        '  File "models.py", line 12, in forward\n'
        "    return self.head(x)\n"
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x64 and 128x10)\n"
    ),
    log=".gpu-profile/resnet18-cpu-256MiB-32/probe-1.log",
)


def axes(
    model: str = "resnet18", gpu: str = "cpu-256MiB", resolution: int = 32
) -> dict[str, Scalar]:
    """Return the axes of a case."""
    return {"model": model, "gpu": gpu, "resolution": resolution}


def measurement(**changes: Any) -> Measurement:
    """Return a measurement of batch 471 and learning rate 3.16e-3, with these changes."""
    where = changes.pop("axes", axes())
    plain = Measurement(
        axes=where,
        device=CPU,
        emulated=True,
        max_batch_size=471,
        bounded_by="memory",
        batch_size=471,
        fingerprint="sha256:aa",
        recipe="sha256:bb",
        memory_limit_bytes=256 * MIB,
        peak_memory_bytes=262_250_000,
        validation_batch_size=471,
        learning_rate=0.00316,
        learning_rates=(0.0031, 0.00316, 0.0034),
        learning_rate_range=range_around(0.00316),
        lr_horizon=40,
        signal_to_noise=21.5,
        samples_per_second=1180.4,
        workload={"module": "models.ResNet18", "num_parameters": 11_173_962},
        made_with={"torch": "2.13.0", "lightning": "2.6.6"},
        probes=(FITS, OOM),
        lr_curves=(LrCurve(0, (1e-6, 1e-5), (2.3, 2.2)),),
        artifacts=("lr_range.png", "lr_range.json"),
        seconds=31.25,
    )
    if "learning_rate" in changes:
        changes.setdefault("learning_rate_range", range_around(changes["learning_rate"]))
    return replace(plain, **changes)


def locked(**changes: Any) -> LockedProfile:
    """Return the profile that locks `measurement(**changes)`."""
    return LockedProfile.from_measurement(measurement(**changes))


def result(
    measured: Measurement | None = None, lock: LockedProfile | None = None, **changes: Any
) -> CaseResult:
    """Return the result of a measured case, judged by the default bounds."""
    measured = measured or measurement()
    verdict = judge(measured, lock, BOUNDS)
    plain = CaseResult(
        case_id=measured.case_id,
        axes=measured.axes,
        status="failed" if verdict.violations else "passed",
        measurement=measured,
        locked=lock,
        violations=verdict.violations,
        improvements=verdict.improvements,
        warnings=verdict.warnings,
        accepted=not verdict.violations,
        update_command=command(measured.case_id),
        seconds=measured.seconds,
    )
    return replace(plain, **changes)


def unmeasured(status: Any, reason: str, **where: Any) -> CaseResult:
    """Return the result of a case that was skipped or could not be run."""
    values = axes(**where)
    return CaseResult(case_id=case_id(values), axes=values, status=status, reason=reason)


def command(case: str) -> str:
    """Return the command that locks a case."""
    test = f"profiles/test_profiles.py::test_gpu_profile[{case}]"
    return f'pytest --gpu-profile --gpu-profile-update "{test}"'


def several() -> list[CaseResult]:
    """Return results of every status, in another order than that of the report."""
    vit = axes(model="vit_tiny")
    return [
        unmeasured("skipped", "no GPU here is an NVIDIA H200", gpu="h200", resolution=224),
        result(lock=locked()),
        result(
            measurement(
                axes=vit,
                max_batch_size=412,
                batch_size=412,
                learning_rate=None,
                lr_refusal="signal-to-noise ratio 2.1 is under 4",
                peak_memory_bytes=230 * MIB,
                probes=(FITS, replace(OOM, batch_size=413)),
            ),
            locked(axes=vit),
        ),
        result(
            measurement(axes=axes(resolution=64), max_batch_size=118, batch_size=112, lr_kept=True)
        ),
        unmeasured("error", "GPU 0 was lost (Xid 79); reset it", model="alexnet"),
    ]
